//! The client: a device's own copy, edited offline and kept the same as the host's. Without IO: it is polled.
//!
//! What the user sees is three layers, the upper hiding the lower: edits that wait, the push in flight, and what the
//! host has. Whoever drives it does, after every call: take the writes ([`Replica::take_writes`]), store them in one
//! transaction, say so ([`Replica::written`]); send what [`Replica::poll_request`] gives and bring back the reply
//! ([`Replica::handle_reply`]) or that none came ([`Replica::handle_failure`]); show what [`Replica::poll_event`]
//! tells; and call again at [`Replica::poll_timeout`]. Time is an argument, in milliseconds since 1970; jitter too.
//!
//! A push is stored before it is sent, and sent again as it is until it is answered: nothing else of the host's is
//! applied before. An edit leaves the upper layers only when the host has it, has kept it in a conflict, or
//! has put it into the history; or when the user reverts it.

use crate::ids::{Hash, Millis, Platform, SEQ_MAX, Seq};
use crate::policy::{ConflictBlock, Policy, Strategy};
use crate::state::{Document, State};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

mod arrive;
mod conflict;
mod edit;
mod event;
mod journal;
mod push;
mod reply;
mod request;
mod settle;
mod view;
mod write;

pub use conflict::{Conflict, Side};
use edit::{Edits, Waiting};
pub use event::{Activity, Event, Status};
pub use journal::{Batch, CorruptJournal};
pub use request::{Auth, Kind, Request};

/// Between the first edit after a rest and its push, as a share of the push interval: what is typed at once goes at once.
const FIRST_PUSH_SHARE: u64 = 10;

/// Push intervals between pulls of a device that changes nothing, without and with a live connection.
const PULL_INTERVALS: (u64, u64) = (3, 60);

/// The wait after the first failure, and the longest.
const RETRY_MS: (u64, u64) = (1000, 300_000);

/// Contents that are fetched at once.
const FETCHES_MAX: usize = 6;

/// An edit that cannot be one. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The code that a host would give: `invalid_path`, `invalid_key`, `plaintext_env`.
    pub code: &'static str,
    /// The changed key.
    pub key: String,
    /// What is wrong, and what is allowed.
    pub problem: &'static str,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.problem)
    }
}

impl std::error::Error for Refused {}

/// Why an edit does not go out: the host rejected it, or would.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// As the protocol names it: `file_too_large` and the like.
    pub code: String,
    /// For a person.
    pub detail: String,
}

/// A place in the host's history.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Place {
    seq: Seq,
    /// `None`: not known any more.
    tag: Option<String>,
}

/// Who this device is to the host.
#[derive(Debug, Clone)]
struct Identity {
    device_id: String,
    /// Whom it was before: what it left in conflicts is still its own.
    former: BTreeSet<String>,
    platform: Platform,
    is_registered: bool,
    token: Option<String>,
    push_no: u64,
}

/// A push that is stored, sent, and not settled.
#[derive(Debug)]
struct Flight {
    push_no: u64,
    body: String,
    carried: Edits,
    /// The batch of writes that holds it; no request before that is written.
    batch: u64,
    /// Its answer, while what it told is still to come by a pull or by contents.
    outcomes: Option<settle::Outcomes>,
}

/// What keeps it from asking anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stuck {
    /// The user has to sign in.
    SignIn,
    /// It needs another device id.
    Identity,
}

/// What a push takes along. A host that is full takes removals, and may take what adds nothing: one edit that it has no room
/// for must not hold up the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Takes {
    Removals,
    /// Besides, edits of what the host has.
    Known,
    All,
}

/// See the module.
#[derive(Debug)]
pub struct Replica {
    identity: Identity,
    /// What the host had at `at`.
    host: State,
    /// When each of the host's scalars was written, as far as this device knows.
    times: BTreeMap<String, Millis>,
    at: Place,
    epoch: Option<String>,
    policy: Policy,
    policy_json: Value,
    edits: Edits,
    /// Scalars whose write lost, what it was and what won, until it is acknowledged.
    superseded: BTreeMap<String, (Value, Value)>,
    /// Edits of another tab that do not merge with what is here: they follow once that is settled.
    waiting: BTreeMap<u64, Waiting>,
    flight: Option<Flight>,
    arrival: Option<arrive::Arrival>,
    conflicts: Vec<Conflict>,
    conflicts_are_stale: bool,
    /// The host was restored, and its list of conflicts not seen since.
    is_restored: bool,
    /// Conflicts of this device's own that the host does not list any more, until it is sure why.
    parted: Vec<Conflict>,
    resolutions: VecDeque<request::Resolution>,
    journal: journal::Dirty,
    events: VecDeque<Event>,
    told_status: Option<(Status, usize)>,
    sent: Option<request::Sent>,
    next_id: u64,
    is_online: bool,
    is_live: bool,
    stuck: Option<Stuck>,
    /// Another copy has to be had before anything is pushed.
    must_pull: bool,
    dirty_at: Option<Millis>,
    pushed_at: Option<Millis>,
    pull_at: Millis,
    failures: u32,
    retry_at: Millis,
    /// The user is served by another host.
    is_moved: bool,
    /// Changed keys of one push at most, after one that was too large.
    keys_max: usize,
    /// What the next push takes along.
    takes: Takes,
    /// No push before.
    push_after: Millis,
}

impl Replica {
    /// A replica from what its journal holds; of an empty one, a device that has never spoken to the host.
    ///
    /// # Errors
    /// [`CorruptJournal`]: records that are damaged, or of a newer version.
    pub fn open<'a>(
        device_id: &str,
        platform: Platform,
        records: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    ) -> Result<Replica, CorruptJournal> {
        let mut replica = Replica {
            identity: Identity {
                device_id: device_id.to_owned(),
                former: BTreeSet::new(),
                platform,
                is_registered: false,
                token: None,
                push_no: 0,
            },
            host: State::default(),
            times: BTreeMap::new(),
            at: Place::default(),
            epoch: None,
            policy: Policy::default(),
            policy_json: Value::Null,
            edits: Edits::default(),
            superseded: BTreeMap::new(),
            waiting: BTreeMap::new(),
            flight: None,
            arrival: None,
            conflicts: Vec::new(),
            conflicts_are_stale: false,
            is_restored: false,
            parted: Vec::new(),
            resolutions: VecDeque::new(),
            journal: journal::Dirty::default(),
            events: VecDeque::new(),
            told_status: None,
            sent: None,
            next_id: 1,
            is_online: true,
            is_live: false,
            stuck: None,
            must_pull: false,
            dirty_at: None,
            pushed_at: None,
            pull_at: 0,
            failures: 0,
            is_moved: false,
            retry_at: 0,
            keys_max: usize::MAX,
            takes: Takes::All,
            push_after: 0,
        };
        for (name, value) in records {
            replica.load_record(name, Some(value))?;
        }
        if replica.has_edits() {
            replica.dirty_at = Some(0);
        }
        Ok(replica)
    }

    /// Takes over what the journal says of these records by now; `None`: that there is none. For a tab that follows
    /// the one that owns the replica.
    ///
    /// # Errors
    /// As [`Replica::open`].
    pub fn refresh<'a>(
        &mut self,
        records: impl IntoIterator<Item = (&'a str, Option<&'a [u8]>)>,
    ) -> Result<(), CorruptJournal> {
        for (name, value) in records {
            self.load_record(name, value)?;
        }
        Ok(())
    }

    /// Whether a conflict of its own keeps it from pushing.
    fn is_blocked(&self) -> bool {
        self.policy.strategy == Strategy::Merge
            && self.policy.conflict_block == ConflictBlock::Device
            && self.conflicts.iter().any(|conflict| conflict.mine_device_id == self.identity.device_id)
    }

    /// Whether a conflict keeps a document from being pushed: where conflicts block by file, anybody's, else of its own.
    fn is_document_blocked(&self, key: &str) -> bool {
        let is_file = self.policy.conflict_block == ConflictBlock::File;
        let counts = |conflict: &Conflict| is_file || conflict.mine_device_id == self.identity.device_id;
        self.policy.strategy == Strategy::Merge
            && self.conflicts.iter().any(|conflict| conflict.key == key && counts(conflict))
    }

    /// Whether anything waits to be pushed that could be.
    fn has_edits(&self) -> bool {
        !self.waiting.is_empty() || self.edits.open().next().is_some()
    }

    fn touched(&mut self, now: Millis) {
        self.dirty_at.get_or_insert(now);
    }
}

/// The earlier of two places, where there is one.
fn earlier(one: Option<Seq>, other: Option<Seq>) -> Option<Seq> {
    [one, other].into_iter().flatten().min()
}

/// The hash of what an edit was made from.
fn hash_of(document: Option<&Document>) -> Option<Hash> {
    document.map(Document::hash)
}

#[cfg(test)]
mod tests;
