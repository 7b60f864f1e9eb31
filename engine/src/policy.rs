//! Every limit and every choice of the operator, by name. A `Policy` is read from the configuration
//! once; the engine knows no other number.

mod origins;

pub use origins::Origins;

use crate::ids::Millis;
use serde_json::{Value, json};

/// How concurrent document edits are decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// Three-way; what does not merge becomes a conflict.
    Merge,
    /// The last write wins; what lost stays in the history.
    Lww,
}

/// What an unresolved conflict keeps its device from pushing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConflictBlock {
    /// Everything.
    Device,
    /// The document in conflict.
    File,
}

/// The limits and choices of a host. Sizes in bytes, times in milliseconds unless the name says otherwise.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// How often clients push; told to them.
    pub push_interval_ms: u64,
    /// See [`Strategy`].
    pub strategy: Strategy,
    /// See [`ConflictBlock`].
    pub conflict_block: ConflictBlock,
    /// The largest document.
    pub file_bytes_max: usize,
    /// The largest request body, after decompression.
    pub body_bytes_max: usize,
    /// Contents inlined in one reply, together.
    pub reply_bytes_max: usize,
    /// Changed keys of one push.
    pub keys_max: usize,
    /// A scalar, as compact JSON.
    pub scalar_bytes_max: usize,
    /// `env_encrypted`, as compact JSON.
    pub env_bytes_max: usize,
    /// Devices of one user that are not removed.
    pub devices_max: usize,
    /// A device id.
    pub device_id_bytes_max: usize,
    /// Values in the JSON of a request, keys and commas counted: what bounds the memory that reading it takes.
    pub json_values_max: usize,
    /// The stored documents that one push may have rebuilt, together.
    pub touched_bytes_max: usize,
    /// How deep JSON in a request may nest.
    pub json_depth_max: usize,
    /// Versions behind at which a pull answers a snapshot.
    pub snapshot_threshold: u64,
    /// How long history is kept.
    pub retention_days: u64,
    /// After how many days unused a sync token ends.
    pub token_idle_days: u64,
    /// How often at most a device's `last_seen` is written.
    pub last_seen_interval_ms: u64,
    /// Requests of one user a minute, and at once; 0: any number.
    pub rate_per_min: u32,
    /// What one user may store, history and all.
    pub quota_bytes: u64,
    /// What every snapshot has to carry, as [`crate::slice::Head::state_bytes`] counts it.
    pub state_bytes_max: u64,
    /// Whether events are recorded for delivery: a webhook is configured.
    pub webhook: bool,
}

/// One day.
pub const DAY_MS: Millis = 24 * 60 * 60 * 1000;

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            push_interval_ms: 5000,
            strategy: Strategy::Merge,
            conflict_block: ConflictBlock::Device,
            file_bytes_max: 512 << 10,
            body_bytes_max: 8 << 20,
            reply_bytes_max: 8 << 20,
            keys_max: 10_000,
            scalar_bytes_max: 64 << 10,
            env_bytes_max: 256 << 10,
            devices_max: 100,
            device_id_bytes_max: 128,
            json_values_max: 160_000,
            touched_bytes_max: 64 << 20,
            json_depth_max: 100,
            snapshot_threshold: 100,
            retention_days: 30,
            token_idle_days: 90,
            last_seen_interval_ms: 60_000,
            rate_per_min: 1200,
            quota_bytes: 2048 << 20,
            state_bytes_max: 64 << 20,
            webhook: false,
        }
    }
}

/// A variable that does not parse or is out of range: one line that names it, its value and what is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidVariable(pub String);

impl std::fmt::Display for InvalidVariable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InvalidVariable {}

impl Policy {
    /// The variables that [`Policy::set`] takes.
    pub const VARIABLES: [&'static str; 10] = [
        "PLUGIN_SYNC_PUSH_INTERVAL_MS",
        "PLUGIN_SYNC_CONFLICT_STRATEGY",
        "PLUGIN_SYNC_MAX_FILE_SIZE_KB",
        "PLUGIN_SYNC_SNAPSHOT_THRESHOLD",
        "PLUGIN_SYNC_RETENTION_DAYS",
        "PLUGIN_SYNC_CONFLICT_BLOCK",
        "PLUGIN_SYNC_MAX_BODY_KB",
        "PLUGIN_SYNC_TOKEN_IDLE_DAYS",
        "PLUGIN_SYNC_RATE_PER_MIN",
        "PLUGIN_SYNC_QUOTA_MB",
    ];

    /// Sets one variable from its text; a name that is not of [`Policy::VARIABLES`] is an error as well.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), InvalidVariable> {
        let number = |min: u64, max: u64| match value.trim().parse::<u64>() {
            Ok(n) if (min..=max).contains(&n) => Ok(n),
            _ => {
                Err(InvalidVariable(format!("{name}={value}: allowed is a whole number from {min} to {max}")))
            }
        };
        let kib = |max: u64| number(1, max).map(|n| usize::try_from(n << 10).unwrap_or(usize::MAX));
        let word = |allowed: &str| InvalidVariable(format!("{name}={value}: allowed is {allowed}"));
        match name {
            "PLUGIN_SYNC_PUSH_INTERVAL_MS" => self.push_interval_ms = number(100, 3_600_000)?,
            "PLUGIN_SYNC_CONFLICT_STRATEGY" => {
                self.strategy = match value.trim() {
                    "merge" => Strategy::Merge,
                    "lww" => Strategy::Lww,
                    _ => return Err(word("merge or lww")),
                }
            }
            "PLUGIN_SYNC_CONFLICT_BLOCK" => {
                self.conflict_block = match value.trim() {
                    "device" => ConflictBlock::Device,
                    "file" => ConflictBlock::File,
                    _ => return Err(word("device or file")),
                }
            }
            "PLUGIN_SYNC_MAX_FILE_SIZE_KB" => self.file_bytes_max = kib(16 << 10)?,
            "PLUGIN_SYNC_MAX_BODY_KB" => self.body_bytes_max = kib(64 << 10)?,
            "PLUGIN_SYNC_SNAPSHOT_THRESHOLD" => self.snapshot_threshold = number(1, 100_000)?,
            "PLUGIN_SYNC_RETENTION_DAYS" => self.retention_days = number(1, 3650)?,
            "PLUGIN_SYNC_TOKEN_IDLE_DAYS" => self.token_idle_days = number(1, 3650)?,
            "PLUGIN_SYNC_RATE_PER_MIN" => {
                self.rate_per_min = u32::try_from(number(0, 1_000_000)?).unwrap_or(u32::MAX)
            }
            "PLUGIN_SYNC_QUOTA_MB" => self.quota_bytes = number(1, 1 << 24)? << 20,
            _ => return Err(InvalidVariable(format!("{name}: unknown variable"))),
        }
        Ok(())
    }

    /// What single variables cannot tell: a document that no push could carry is refused at start.
    pub fn check(&self) -> Result<(), InvalidVariable> {
        let (file_kb, body_kb) = (self.file_bytes_max >> 10, self.body_bytes_max >> 10);
        if file_kb < body_kb {
            return Ok(());
        }
        Err(InvalidVariable(format!(
            "PLUGIN_SYNC_MAX_FILE_SIZE_KB={file_kb}: allowed is less than PLUGIN_SYNC_MAX_BODY_KB={body_kb}, \
             or no push could carry such a file"
        )))
    }

    /// What clients are told.
    pub fn to_json(&self) -> Value {
        json!({
            "push_interval_ms": self.push_interval_ms,
            "conflict_strategy": match self.strategy { Strategy::Merge => "merge", Strategy::Lww => "lww" },
            "conflict_block": match self.conflict_block { ConflictBlock::Device => "device", ConflictBlock::File => "file" },
            "file_bytes_max": self.file_bytes_max,
            "body_bytes_max": self.body_bytes_max,
            "reply_bytes_max": self.reply_bytes_max,
            "keys_max": self.keys_max,
            "snapshot_threshold": self.snapshot_threshold,
            "retention_days": self.retention_days,
        })
    }
}

#[cfg(test)]
mod tests;
