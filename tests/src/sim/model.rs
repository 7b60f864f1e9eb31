//! The reference model: what the host must hold and answer, by the plainest reading of PROTOCOL. It shares the
//! three-way merge with the engine, which has vectors of its own, and nothing else.

mod document;
mod entry;
mod leaf;
mod push;
mod resolve;
mod retention;
mod scalar;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use nself_sync_engine::policy::Policy;
use serde_json::Value;

pub use push::Status;

use super::coverage::Coverage;
use super::texts::tokens;
use crate::world::{View, sha256_hex};

/// The bytes of a document.
pub type Bytes = Arc<Vec<u8>>;

/// A scalar's last write.
#[derive(Debug, Clone, PartialEq)]
pub struct Written {
    value: Option<Value>,
    seq: u64,
    device: String,
    changed_at: u64,
}

/// A document's version.
#[derive(Debug, Clone)]
struct Version {
    seq: u64,
    content: Option<Bytes>,
    device: String,
}

/// What a device last pushed for a key.
#[derive(Debug, Clone, PartialEq)]
enum Carried {
    Removal,
    Scalar(Option<Value>),
    Content(Bytes),
}

/// An open conflict.
#[derive(Debug, Clone)]
pub struct OpenConflict {
    /// The document.
    pub key: String,
    base: Option<Bytes>,
    mine: Option<Bytes>,
    theirs: Option<Bytes>,
    /// Whom it blocks.
    pub mine_device: String,
}

/// A content that was accepted.
#[derive(Debug, Clone)]
struct Content {
    bytes: Bytes,
    /// When it was last head, or pushed where it never was head.
    live_at: u64,
    /// When it last got a place in the history.
    listed_at: u64,
}

/// A device's last recorded push.
#[derive(Debug, Clone)]
struct Recorded {
    push_no: u64,
    body: Arc<Value>,
    seq: u64,
    tag: Value,
    results: Value,
    registered: bool,
}

/// See the module.
#[derive(Clone)]
pub struct Model {
    policy: Arc<Policy>,
    /// Head.
    pub seq: u64,
    /// The epoch, once a reply told it.
    pub epoch: Option<String>,
    /// Tags by seq, as replies told them.
    pub tags: BTreeMap<u64, String>,
    /// The state at each retained seq.
    pub states: BTreeMap<u64, Arc<View>>,
    /// History up to here is pruned.
    pub floor: u64,
    cutoff: u64,
    times: BTreeMap<u64, u64>,
    writes: BTreeMap<String, Written>,
    removals: BTreeMap<String, Written>,
    versions: BTreeMap<String, Vec<Version>>,
    pushed: BTreeMap<(String, String), (Carried, u64)>,
    recorded: BTreeMap<String, Recorded>,
    /// The valid token of each device.
    pub tokens: BTreeMap<String, String>,
    /// Devices, and whether they were removed.
    pub devices: BTreeMap<String, bool>,
    /// By id.
    pub conflicts: BTreeMap<String, OpenConflict>,
    /// Resolved ones, with the time.
    resolved: BTreeMap<String, u64>,
    contents: BTreeMap<(String, String), Content>,
    superseded: Vec<(String, Option<Value>, u64)>,
    accepted: BTreeMap<u64, String>,
    /// What was hit.
    pub coverage: Coverage,
}

impl Model {
    /// Of a user of whom nothing is stored yet.
    pub fn new(policy: Arc<Policy>) -> Model {
        Model {
            policy,
            seq: 0,
            epoch: None,
            tags: BTreeMap::new(),
            states: BTreeMap::from([(0, Arc::new(View::default()))]),
            floor: 0,
            cutoff: 0,
            times: BTreeMap::new(),
            writes: BTreeMap::new(),
            removals: BTreeMap::new(),
            versions: BTreeMap::new(),
            pushed: BTreeMap::new(),
            recorded: BTreeMap::new(),
            tokens: BTreeMap::new(),
            devices: BTreeMap::new(),
            conflicts: BTreeMap::new(),
            resolved: BTreeMap::new(),
            contents: BTreeMap::new(),
            superseded: Vec::new(),
            accepted: BTreeMap::new(),
            coverage: Coverage::default(),
        }
    }

    /// The state at head.
    pub fn head(&self) -> &View {
        &self.states[&self.seq]
    }

    /// Whether the strategy is lww.
    pub fn is_lww(&self) -> bool {
        self.policy.strategy == nself_sync_engine::policy::Strategy::Lww
    }

    /// Whether a conflict blocks only its document.
    pub fn blocks_file(&self) -> bool {
        self.policy.conflict_block == nself_sync_engine::policy::ConflictBlock::File
    }

    /// The writer of a document's head.
    fn writer(&self, key: &str) -> Option<&str> {
        self.versions.get(key)?.last().map(|version| version.device.as_str())
    }

    fn head_content(&self, key: &str) -> Option<Bytes> {
        self.versions.get(key)?.last()?.content.clone()
    }

    fn content_by_hash(&self, key: &str, hash: &str) -> Option<&Content> {
        self.contents.get(&(key.to_owned(), hash.to_owned()))
    }

    /// Remembers a content: it must be reachable until the retention has passed.
    fn keep(&mut self, key: &str, content: &Bytes, now: u64) {
        let at = (key.to_owned(), sha256_hex(content));
        let known = self.contents.entry(at).or_insert_with(|| Content {
            bytes: Arc::clone(content),
            live_at: now,
            listed_at: now,
        });
        known.live_at = known.live_at.max(now);
        known.listed_at = known.listed_at.max(now);
    }

    /// Adds a version of a document; the one before was head until now.
    fn add_version(&mut self, key: &str, seq: u64, content: Option<Bytes>, device: &str, now: u64) {
        if let Some(before) = self.head_content(key) {
            let at = (key.to_owned(), sha256_hex(&before));
            if let Some(known) = self.contents.get_mut(&at) {
                known.live_at = known.live_at.max(now);
            }
        }
        if let Some(content) = &content {
            self.keep(key, content, now);
        }
        let version = Version { seq, content, device: device.to_owned() };
        self.versions.entry(key.to_owned()).or_default().push(version);
    }

    /// Tokens of accepted contents, which may only go by the hand of someone who had seen them.
    fn accept_tokens(&mut self, key: &str, content: &[u8]) {
        self.accepted.extend(tokens(content).into_iter().map(|token| (token, key.to_owned())));
    }

    /// Moves head on, where something changed, and takes in what the reply says of it.
    fn advance(&mut self, changed: bool, view: View, now: u64) {
        if changed {
            self.seq += 1;
            self.times.insert(self.seq, now);
            self.states.insert(self.seq, Arc::new(view));
        } else {
            assert_eq!(&view, self.head(), "nothing changes, yet something does");
        }
    }

    /// Checks seq, epoch and tag of a reply that tells a point of the history.
    pub fn check_point(&mut self, reply: &Value) {
        let epoch = reply["epoch"].as_str().expect("a reply has its epoch");
        let known = self.epoch.get_or_insert_with(|| epoch.to_owned());
        assert_eq!(known, epoch, "the epoch changes only after a restore");
        let (seq, tag) = (reply["seq"].as_u64().expect("a seq"), reply["tag"].as_str().expect("a tag"));
        let known = self.tags.entry(seq).or_insert_with(|| tag.to_owned());
        assert_eq!(known, tag, "one tag at seq {seq}");
    }

    /// A device was removed: its token is dead, and what it last pushed forgotten.
    pub fn remove_device(&mut self, device: &str) {
        self.devices.insert(device.to_owned(), true);
        self.tokens.remove(device);
        self.recorded.remove(device);
        self.pushed.retain(|(of, _), _| of != device);
        self.coverage.hit("device removed");
    }

    /// Lines that somebody wrote and was told are kept count as accepted ones.
    pub fn expect_tokens(&mut self, wrote: &BTreeMap<u64, String>) {
        self.accepted.extend(wrote.iter().map(|(token, key)| (*token, key.clone())));
    }

    /// Every accepted token whose line nobody took out is at head or in an open conflict.
    pub fn check_tokens(&self, released: &BTreeSet<u64>) {
        if self.is_lww() {
            return;
        }
        let mut there = BTreeSet::new();
        for versions in self.versions.values() {
            there.extend(
                versions.last().and_then(|last| last.content.as_deref()).into_iter().flat_map(|c| tokens(c)),
            );
        }
        for conflict in self.conflicts.values() {
            let sides = [&conflict.mine, &conflict.theirs, &conflict.base];
            there.extend(sides.into_iter().flatten().flat_map(|side| tokens(side)));
        }
        for (token, key) in &self.accepted {
            let is_there = there.contains(token) || released.contains(token);
            assert!(
                is_there,
                "line <{token}> of {key} was accepted, is gone, and nobody who saw it took it out"
            );
        }
    }
}

/// Equal contents, of which `None` is none.
fn same(a: Option<&Bytes>, b: Option<&Bytes>) -> bool {
    a.map(|a| a.as_slice()) == b.map(|b| b.as_slice())
}
