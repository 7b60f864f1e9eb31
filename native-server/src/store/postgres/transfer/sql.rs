//! The statements of one user's transfer: $1 is the account, $2 the user.

use crate::store::postgres::load::state_bytes;

/// A reader of this transaction may be slow: a pipe, a network.
pub(super) const SESSION: &str = "SELECT set_config('idle_in_transaction_session_timeout', '10min', true)";

/// Users after one ($1 and $2).
pub(super) const USERS: &str = "SELECT source_account_id, user_id FROM np_sync_heads
    WHERE (source_account_id, user_id) > ($1, $2) ORDER BY source_account_id, user_id LIMIT $3";

macro_rules! head {
    ($end:literal) => {
        concat!(
            "SELECT epoch, seq, tag, floor, floor_tag, conflicts_open, standing, bytes, ",
            state_bytes!("h"),
            " FROM np_sync_heads AS h WHERE source_account_id = $1 AND user_id = $2",
            $end
        )
    };
}
pub(super) const HEAD: &str = head!("");
pub(super) const HEAD_LOCKED: &str = head!(" FOR UPDATE");
pub(super) const NEW_HEAD: &str =
    "INSERT INTO np_sync_heads (source_account_id, user_id, epoch, seq, tag, floor,
        floor_tag, conflicts_open, standing)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
pub(super) const SET_STANDING: &str =
    "UPDATE np_sync_heads SET standing = $3 WHERE source_account_id = $1 AND user_id = $2";
pub(super) const SET_EPOCH: &str = "UPDATE np_sync_heads SET epoch = $3, tag = $4, floor_tag = $5
    WHERE source_account_id = $1 AND user_id = $2";
pub(super) const PROGRESS: &str =
    "SELECT import_progress FROM np_sync_heads WHERE source_account_id = $1 AND user_id = $2";
pub(super) const NOTE_PROGRESS: &str =
    "UPDATE np_sync_heads SET import_progress = $3 WHERE source_account_id = $1 AND user_id = $2";
pub(super) const COUNT_DEVICES: &str =
    "SELECT count(*) FROM np_sync_devices WHERE source_account_id = $1 AND user_id = $2";

/// What a stream has all of, and the head.
pub(super) const DROP_ROWS: &[&str] = &[
    "DELETE FROM np_sync_heads WHERE source_account_id = $1 AND user_id = $2",
    "DELETE FROM np_sync_devices WHERE source_account_id = $1 AND user_id = $2",
    "DELETE FROM np_sync_state WHERE source_account_id = $1 AND user_id = $2",
    "DELETE FROM np_sync_files WHERE source_account_id = $1 AND user_id = $2",
    "DELETE FROM np_sync_deltas WHERE source_account_id = $1 AND user_id = $2",
    "DELETE FROM np_sync_versions WHERE source_account_id = $1 AND user_id = $2",
    "DELETE FROM np_sync_contents WHERE source_account_id = $1 AND user_id = $2",
    "DELETE FROM np_sync_hashes WHERE source_account_id = $1 AND user_id = $2",
    "DELETE FROM np_sync_pushed WHERE source_account_id = $1 AND user_id = $2",
    "DELETE FROM np_sync_conflicts WHERE source_account_id = $1 AND user_id = $2",
];

/// What stays with the host that it happened at.
pub(super) const DROP_EVENTS: &[&str] = &[
    "DELETE FROM np_sync_outbox WHERE source_account_id = $1 AND user_id = $2",
    "DELETE FROM np_sync_deliveries WHERE source_account_id = $1 AND user_id = $2",
    "DELETE FROM np_sync_dead_letters WHERE source_account_id = $1 AND user_id = $2",
];

pub(super) const DEVICES: &str =
    "SELECT device_id, platform, created_at, last_seen, seq, removed_at, sync_token,
        push_no, push_body, push_seq, push_tag, push_registered, push_results
    FROM np_sync_devices WHERE source_account_id = $1 AND user_id = $2 AND device_id > $3
    ORDER BY device_id LIMIT $4";

pub(super) const SCALARS: &str = "SELECT key, value::text, seq, device_id, changed_at
    FROM np_sync_state WHERE source_account_id = $1 AND user_id = $2 AND key > $3 ORDER BY key LIMIT $4";

pub(super) const DOCUMENTS: &str = "SELECT key, hash, size, seq, device_id
    FROM np_sync_files WHERE source_account_id = $1 AND user_id = $2 AND key > $3 ORDER BY key LIMIT $4";

pub(super) const DELTAS: &str = "SELECT seq, device_id, created_at, tag, diff::text
    FROM np_sync_deltas WHERE source_account_id = $1 AND user_id = $2 AND seq > $3 ORDER BY seq LIMIT $4";

pub(super) const VERSIONS: &str = "SELECT key, seq, no, cause, device_id, created_at, value::text
    FROM np_sync_versions WHERE source_account_id = $1 AND user_id = $2 AND (key, seq, no) > ($3, $4, $5)
    ORDER BY key, seq, no LIMIT $6";

pub(super) const SEGMENTS: &str = "SELECT key, start FROM np_sync_contents
    WHERE source_account_id = $1 AND user_id = $2 AND (key, start) > ($3, $4) ORDER BY key, start LIMIT $5";

pub(super) const LOCATED: &str = "SELECT prefix, seq, key FROM np_sync_hashes
    WHERE source_account_id = $1 AND user_id = $2 AND (prefix, seq, key) > ($3, $4, $5)
    ORDER BY prefix, seq, key LIMIT $6";

pub(super) const PUSHED: &str = "SELECT device_id, key, seq, at, hash FROM np_sync_pushed
    WHERE source_account_id = $1 AND user_id = $2 AND (device_id, key) > ($3, $4)
    ORDER BY device_id, key LIMIT $5";

pub(super) const CONFLICTS: &str = "SELECT id FROM np_sync_conflicts
    WHERE source_account_id = $1 AND user_id = $2 AND id > $3 ORDER BY id LIMIT $4";
