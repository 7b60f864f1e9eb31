//! What a call reads. A [`Scope`] names rows, a host loads exactly these into a [`Slice`]; neither
//! knows how rows are stored. Keys are changed keys as text (`active_file`, `sessions/s1/status`,
//! `files/web/src/main.rs`), so that one ordering and one prefix rule serve every store.

use crate::ids::{Hash, Millis, Platform, Seq, Tag};
use crate::scalar::value_bytes;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The newest point of a user's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Random id of this history.
    pub epoch: String,
    /// The newest seq.
    pub seq: Seq,
    /// The tag at `seq`.
    pub tag: Tag,
    /// History up to and including this seq is pruned; a delta can start here, not before.
    pub floor: Seq,
    /// The tag at `floor`.
    pub floor_tag: Tag,
    /// Open conflicts of the user.
    pub conflicts_open: u64,
    /// Whether the user is served here. An operator's to change: no commit does.
    pub standing: Standing,
    /// What the user stores, in bytes: the contents and values of the history, deflated where they are, the sides of
    /// conflicts, and the keys of each.
    pub bytes: u64,
    /// What every snapshot has to carry, in bytes: the rows of scalars and of documents at head, without contents.
    pub state_bytes: u64,
}

/// Whether a user's calls are answered where its rows are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Standing {
    /// They are.
    #[default]
    Served,
    /// Not yet: the rows are coming in.
    Importing,
    /// Not any more: the rows were given to another host.
    Moved,
}

impl Standing {
    /// The number to store.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The standing of a stored number.
    pub fn from_code(code: u8) -> Option<Standing> {
        [Standing::Served, Standing::Importing, Standing::Moved].get(usize::from(code)).copied()
    }
}

impl Head {
    /// The head of a user of whom nothing is stored yet.
    pub fn new(epoch: String) -> Head {
        let tag = Tag::initial(&epoch);
        Head {
            epoch,
            seq: 0,
            tag,
            floor: 0,
            floor_tag: tag,
            conflicts_open: 0,
            standing: Standing::Served,
            bytes: 0,
            state_bytes: 0,
        }
    }

    /// The same history under another epoch: whoever knows it from before finds that it is another. Tags stay those of the
    /// deltas they were made of; only seq 0, which has none, has its tag of the epoch.
    pub fn with_epoch(&self, epoch: String) -> Head {
        match self.seq {
            0 => {
                let Head { standing, bytes, state_bytes, .. } = *self;
                Head { standing, bytes, state_bytes, ..Head::new(epoch) }
            }
            _ => Head { epoch, ..self.clone() },
        }
    }
}

/// A device, registered or removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Chosen by the client.
    pub device_id: String,
    /// What it runs on.
    pub platform: Platform,
    /// When it registered.
    pub created_at: Millis,
    /// When it last called; written at most once a minute.
    pub last_seen: Millis,
    /// The seq it last said to have applied.
    pub seq: Seq,
    /// When it was removed: it stays so.
    pub removed_at: Option<Millis>,
    /// SHA-256 of its sync token's secret.
    pub sync_token: Option<Hash>,
    /// Its last recorded push, for replay.
    pub last_push: Option<LastPush>,
}

/// The last push of a device that was answered 200, so that a retry gets the same answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastPush {
    /// The device's own counter.
    pub push_no: u64,
    /// Hash of the body as JSON (key order does not matter).
    pub body: Hash,
    /// The seq it was answered.
    pub seq: Seq,
    /// The tag at that seq.
    pub tag: Tag,
    /// Whether it registered the device.
    pub registered: bool,
    /// The `results` it was answered, as JSON text.
    pub results: String,
}

/// A scalar at head: a top-level key, a field of an entry, or (value `None`, key of an entry) an entry's removal.
#[derive(Debug, Clone, PartialEq)]
pub struct Scalar {
    /// `None`: removed.
    pub value: Option<Value>,
    /// When it was last written, in seqs.
    pub seq: Seq,
    /// By which device.
    pub device_id: String,
    /// When, by the writer's clock but never later than the host's at arrival.
    pub changed_at: Millis,
}

/// A document at head. Its content is in the [`Segment`] that holds `seq`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// `None`: removed.
    pub hash: Option<Hash>,
    /// In bytes; 0 when removed.
    pub size: usize,
    /// When it was last changed, in seqs.
    pub seq: Seq,
    /// By which device.
    pub device_id: String,
}

/// What a row at head counts for beside its key and value; the stores' SQL that counts anew says the same.
const ROW_BYTES: usize = 64;

impl Scalar {
    /// What the row adds to [`Head::state_bytes`].
    pub fn state_bytes(&self, key: &str) -> usize {
        ROW_BYTES + key.len() + self.value.as_ref().map_or(0, value_bytes)
    }
}

impl Document {
    /// What a row adds to [`Head::state_bytes`].
    pub fn state_bytes(key: &str) -> usize {
        ROW_BYTES + key.len()
    }
}

/// What a device last pushed for a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pushed {
    /// Head after that push: once the device says this seq, the row has served.
    pub seq: Seq,
    /// Where its content is found: of a document the seq of the version or aside with that hash; of a scalar head's
    /// seq when it was kept as one that lost, else 0.
    pub at: Seq,
    /// Hash of the content, or of the scalar's JSON text; `None`: a removal.
    pub hash: Option<Hash>,
}

/// Why a version is in the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Pushed and applied.
    Push,
    /// The result of a three-way merge.
    Merge,
    /// A conflict's resolution.
    Resolve,
    /// Pushed, and lost or merged: never head.
    Superseded,
    /// Pushed and kept in a conflict: never head.
    Conflict,
}

impl Cause {
    /// All of them; the index is what is stored. Both stores' SQL knows that up to 2 they are versions.
    pub const ALL: [Cause; 5] =
        [Cause::Push, Cause::Merge, Cause::Resolve, Cause::Superseded, Cause::Conflict];

    /// The word shown in a history.
    pub fn as_str(self) -> &'static str {
        match self {
            Cause::Push => "push",
            Cause::Merge => "merge",
            Cause::Resolve => "resolve",
            Cause::Superseded => "superseded",
            Cause::Conflict => "conflict",
        }
    }

    /// The cause of a stored number.
    pub fn from_code(code: u8) -> Option<Cause> {
        Cause::ALL.get(usize::from(code)).copied()
    }

    /// The number to store.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// Whether the content became a version, i.e. was head once.
    pub fn is_version(self) -> bool {
        match self {
            Cause::Push | Cause::Merge | Cause::Resolve => true,
            Cause::Superseded | Cause::Conflict => false,
        }
    }
}

/// A scalar's value in the history.
#[derive(Debug, Clone, PartialEq)]
pub struct Version {
    /// The changed key.
    pub key: String,
    /// The seq it was written at; of a superseded one head's seq after its push.
    pub seq: Seq,
    /// Counts the versions of a key at one seq, from 0; given by the store.
    pub no: u32,
    /// Why it is here.
    pub cause: Cause,
    /// By which device.
    pub device_id: String,
    /// When it arrived.
    pub created_at: Millis,
    /// `None`: a removal.
    pub value: Option<Value>,
}

/// A delta as stored: what one seq changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delta {
    /// Its seq.
    pub seq: Seq,
    /// The device that made it.
    pub device_id: String,
    /// When.
    pub created_at: Millis,
    /// The tag at `seq`.
    pub tag: Tag,
    /// What changed, as JSON text in the state's shape; in place of a content stands its hash in base64url, the
    /// content is in the segments.
    pub diff: String,
}

/// A stretch of a document's history: a keyframe and the patches that follow it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// The document.
    pub key: String,
    /// The seq of the first change in it.
    pub start: Seq,
    /// The content that the patches start from, deflated where that is smaller.
    pub keyframe: Vec<u8>,
    /// The changes, see [`crate::history`].
    pub pack: Vec<u8>,
}

/// Where a content with a certain hash is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// [`Hash::prefix`] of the hash looked for, which others may share.
    pub prefix: i64,
    /// The document.
    pub key: String,
    /// The seq of the version or aside.
    pub seq: Seq,
}

/// One side of a conflict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Side {
    /// Its hash.
    pub hash: Hash,
    /// In bytes.
    pub size: usize,
    /// Its content; empty where only the open conflicts of a device were asked for.
    pub content: Vec<u8>,
}

impl Side {
    /// The side with this content.
    pub fn new(content: Vec<u8>) -> Side {
        let hash = Hash::of(&content);
        Side { hash, size: content.len(), content }
    }
}

/// A conflict, with all that it is about, so that nothing else need be kept for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// Random.
    pub id: String,
    /// The document.
    pub key: String,
    /// What both started from; `None`: absent or not known.
    pub base: Option<Side>,
    /// What the device pushed; `None`: a removal.
    pub mine: Option<Side>,
    /// What it met; `None`: a removal.
    pub theirs: Option<Side>,
    /// The device that made the conflict and is blocked by it.
    pub mine_device_id: String,
    /// The device that had written *theirs*.
    pub theirs_device_id: String,
    /// The seq that made it.
    pub seq: Seq,
    /// When.
    pub created_at: Millis,
    /// How it was resolved.
    pub resolved: Option<Resolved>,
}

/// How a conflict was resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// When.
    pub at: Millis,
    /// mine, theirs or merged.
    pub resolution: String,
    /// By which device, where it is known.
    pub device_id: Option<String>,
}

/// Which conflicts a call reads.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ConflictScope {
    /// None.
    #[default]
    None,
    /// The open ones that this device made, without contents.
    OpenOf(String),
    /// All open ones, without contents.
    OpenBrief,
    /// These, open or resolved.
    Ids(BTreeSet<String>),
}

/// A page of a key's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionScope {
    /// The changed key of a scalar.
    pub key: String,
    /// Only versions before this one, in (seq, no); `None`: from the newest.
    pub before: Option<(Seq, u32)>,
    /// How many at most.
    pub limit: usize,
}

/// Rows to read. What is empty is not read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scope {
    /// Devices by id.
    pub devices: BTreeSet<String>,
    /// Every device of the user.
    pub all_devices: bool,
    /// Only count devices that are not removed.
    pub count_devices: bool,
    /// Scalars by key.
    pub scalars: BTreeSet<String>,
    /// Every scalar of these entries (`sessions/s1`): its fields and its removal.
    pub entries: BTreeSet<String>,
    /// Documents by key.
    pub documents: BTreeSet<String>,
    /// Every scalar, removed ones too, and every document that is not removed.
    pub whole_state: bool,
    /// What this device last pushed for the keys above and in `pushed_keys`.
    pub pushed_by: Option<String>,
    /// The keys looked up for `pushed_by`.
    pub pushed_keys: BTreeSet<String>,
    /// Deltas with seq above the first and up to the second: one at least, where there is one, and then as many of the next
    /// as the store has room for. What is left is asked for again.
    pub deltas: Option<(Seq, Seq)>,
    /// Deltas at these seqs.
    pub deltas_at: BTreeSet<Seq>,
    /// The newest version of a scalar, not superseded, at or before a seq.
    pub values_at: BTreeSet<(String, Seq)>,
    /// The segment of a document that holds a seq: the one with the greatest start at or before it.
    pub segments: BTreeSet<(String, Seq)>,
    /// Where contents with these hashes are.
    pub hashes: BTreeSet<Hash>,
    /// Conflicts.
    pub conflicts: ConflictScope,
    /// A page of a scalar's history.
    pub versions: Option<VersionScope>,
}

/// The rows that were asked for. A row that does not exist is absent.
#[derive(Debug, Clone, Default)]
pub struct Slice {
    /// The user's head; a host makes and stores it at first contact.
    pub head: Option<Head>,
    /// Devices by id.
    pub devices: BTreeMap<String, Device>,
    /// Devices that are not removed, where counted.
    pub devices_count: usize,
    /// Scalars by key.
    pub scalars: BTreeMap<String, Scalar>,
    /// Documents by key.
    pub documents: BTreeMap<String, Document>,
    /// What the device last pushed, by key.
    pub pushed: BTreeMap<String, Pushed>,
    /// Deltas by seq.
    pub deltas: BTreeMap<Seq, Delta>,
    /// Answers to `values_at`: the version found.
    pub values_at: BTreeMap<(String, Seq), Version>,
    /// Segments by document and start.
    pub segments: BTreeMap<(String, Seq), Segment>,
    /// Places of contents.
    pub located: Vec<Located>,
    /// Conflicts by id.
    pub conflicts: BTreeMap<String, Conflict>,
    /// A page of history, newest first.
    pub versions: Vec<Version>,
}

impl Slice {
    /// Adds what a further load brought.
    pub fn extend(&mut self, more: Slice) {
        if more.head.is_some() {
            self.head = more.head;
        }
        self.devices.extend(more.devices);
        self.devices_count = self.devices_count.max(more.devices_count);
        self.scalars.extend(more.scalars);
        self.documents.extend(more.documents);
        self.pushed.extend(more.pushed);
        self.deltas.extend(more.deltas);
        self.values_at.extend(more.values_at);
        self.segments.extend(more.segments);
        self.located.extend(more.located);
        self.conflicts.extend(more.conflicts);
        self.versions.extend(more.versions);
    }

    /// The segment that holds `seq` of `key`, if loaded.
    pub fn segment(&self, key: &str, seq: Seq) -> Option<&Segment> {
        let range = (key.to_owned(), 0)..=(key.to_owned(), seq);
        self.segments.range(range).next_back().map(|(_, segment)| segment)
    }

    /// The loaded rows of an entry: its removal under its own key, and its fields.
    pub fn entry<'a>(&'a self, entry: &'a str) -> impl Iterator<Item = (&'a str, &'a Scalar)> {
        let fields = format!("{entry}/");
        let after = format!("{entry}0"); // '0' follows '/'
        self.scalars.range(fields..after).map(|(key, scalar)| (key.as_str(), scalar))
    }
}
