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

use crate::ids::{Hash, Millis, SEQ_MAX, Seq};
use crate::key::{self, Key};
use crate::policy::{ConflictBlock, Policy, Strategy};
use crate::state::{Document, State, is_reserved};
use crate::wire::normalize;
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

pub use conflict::{Conflict, Side};
use edit::{Base, DocumentEdit, Edits, Removal, ScalarEdit, Waiting};
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

/// What kind of device it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Platform {
    /// A desktop program.
    Desktop,
    /// A phone or tablet.
    Mobile,
    /// A browser.
    Web,
}

impl Platform {
    /// As the protocol names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Platform::Desktop => "desktop",
            Platform::Mobile => "mobile",
            Platform::Web => "web",
        }
    }

    /// Reads [`Platform::as_str`].
    pub fn parse(name: &str) -> Option<Platform> {
        [Platform::Desktop, Platform::Mobile, Platform::Web].into_iter().find(|one| one.as_str() == name)
    }
}

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
    /// Changed keys of one push at most, after one that was too large.
    keys_max: usize,
    /// The next push carries removals only: the host is full.
    takes_removals_only: bool,
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
            retry_at: 0,
            keys_max: usize::MAX,
            takes_removals_only: false,
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

    /// Writes a scalar or a field; null removes it.
    ///
    /// # Errors
    /// [`Refused`] where `key` names neither.
    pub fn set(&mut self, key: &str, mut value: Value, now: Millis) -> Result<(), Refused> {
        let entry = match Key::parse(key) {
            Some(Key::Scalar(_)) if key == "env" => {
                return Err(refused("plaintext_env", key, "variables are sealed: write env_encrypted"));
            }
            Some(Key::Scalar(_)) => None,
            Some(Key::Field(entry, field)) if !is_reserved(entry, field) => Some(entry),
            _ => return Err(refused("invalid_key", key, "allowed is the name of a scalar or of a field")),
        };
        normalize(&mut value);
        let value = Some(value).filter(|value| !value.is_null());
        if self.get(key) == value.as_ref() {
            self.try_again(key, now);
            return Ok(());
        }
        let stale = self.edits.scalars.get(key).and_then(|edit| edit.stale);
        let is_after_removal = entry.is_some_and(|entry| self.edits.removals.contains_key(entry));
        self.journal.mark('e', 's', key);
        if stale.is_none() && !is_after_removal && self.scalar_beneath(key) == value.as_ref() {
            self.edits.scalars.remove(key);
        } else {
            let edit = ScalarEdit { value, at: now, stale, rejected: None };
            self.edits.scalars.insert(key.to_owned(), edit);
        }
        self.touched(now);
        Ok(())
    }

    /// Writes the content of a file or page.
    ///
    /// # Errors
    /// [`Refused`] where `key` names neither.
    pub fn write(&mut self, key: &str, content: Vec<u8>, now: Millis) -> Result<(), Refused> {
        check_document(key)?;
        if self.content(key) == Some(&content) {
            self.try_again(key, now);
            return Ok(());
        }
        let before = self.edits.documents.get(key);
        let base = before.map_or(Base::Below, |edit| edit.base.clone());
        let in_full = before.is_some_and(|edit| edit.in_full);
        let is_after_removal = self.edits.removals.contains_key(key);
        let is_reverted = base == Base::Below && !is_after_removal;
        self.journal.mark('e', 'd', key);
        if is_reverted && self.content_beneath(key) == Some(&content) {
            self.edits.documents.remove(key);
        } else {
            let edit = DocumentEdit { in_full, ..DocumentEdit::new(Some(content), base, now) };
            self.edits.documents.insert(key.to_owned(), edit);
        }
        self.touched(now);
        Ok(())
    }

    /// An edit made elsewhere on this device (another tab), with what it was made from: merged onto what is here.
    /// What does not merge waits until what is here is settled, and then becomes a conflict that the host keeps.
    ///
    /// # Errors
    /// As [`Replica::write`].
    pub fn write_onto(
        &mut self,
        key: &str,
        base: Option<&[u8]>,
        content: Option<Vec<u8>>,
        now: Millis,
    ) -> Result<(), Refused> {
        check_document(key)?;
        let here = self.content(key);
        if here == base || here == content.as_deref() {
            return match content {
                Some(content) => self.write(key, content, now),
                None => self.remove(key, now),
            };
        }
        match (here, &content) {
            // Removed there, edited here: it stays.
            (Some(_), None) => Ok(()),
            (_, Some(content)) => {
                if let Some(merged) = arrive::merge(base, content, here) {
                    return self.write(key, merged, now);
                }
                let base = base.map(|base| Document::new(base.to_vec()));
                self.wait(key.to_owned(), base, content.clone(), now);
                Ok(())
            }
            (None, None) => Ok(()),
        }
    }

    /// An edit that follows the one that is there.
    fn wait(&mut self, key: String, base: Option<Document>, content: Vec<u8>, at: Millis) {
        let no = self.waiting.keys().next_back().map_or(0, |no| no + 1);
        self.waiting.insert(no, Waiting { key, base, content, at });
        self.journal.mark_waiting(no);
        self.touched(at);
    }

    /// [`Replica::set`] on another tab, at which this device stood at `seen`.
    ///
    /// # Errors
    /// As [`Replica::set`].
    pub fn set_from(&mut self, key: &str, value: Value, seen: Seq, now: Millis) -> Result<(), Refused> {
        self.set(key, value, now)?;
        if let Some(edit) = self.edits.scalars.get_mut(key).filter(|_| seen < self.at.seq) {
            edit.stale = earlier(edit.stale, Some(seen));
        }
        Ok(())
    }

    /// [`Replica::remove`] on another tab, at which this device stood at `seen`, and of the content that was seen there. A
    /// content that is another by now stays.
    ///
    /// # Errors
    /// As [`Replica::remove`].
    pub fn remove_from(
        &mut self,
        key: &str,
        base: Option<&[u8]>,
        seen: Seq,
        now: Millis,
    ) -> Result<(), Refused> {
        if self.content(key).is_some() && self.content(key) != base {
            return Ok(());
        }
        self.remove(key, now)?;
        if let Some(removal) = self.edits.removals.get_mut(key).filter(|_| seen < self.at.seq) {
            removal.stale = earlier(removal.stale, Some(seen));
        }
        Ok(())
    }

    /// Removes a file, a session or a page with all it has.
    ///
    /// # Errors
    /// [`Refused`] where `key` names none.
    pub fn remove(&mut self, key: &str, now: Millis) -> Result<(), Refused> {
        match Key::parse(key) {
            Some(Key::File(_)) => self.remove_file(key, now),
            Some(Key::Entry(_)) => self.remove_entry(key, now),
            Some(Key::Scalar(_) | Key::Field(..)) | None => {
                return Err(refused("invalid_key", key, "allowed is a file, a session or a page"));
            }
        }
        Ok(())
    }

    fn remove_file(&mut self, key: &str, now: Millis) {
        if self.content(key).is_none() {
            return;
        }
        self.journal.mark('e', 'd', key);
        // What the host has by now is not what the user saw and removes: it comes back, to be looked at.
        let was_seen = self.edits.documents.remove(key).is_none_or(|edit| edit.base == Base::Below);
        if self.content_beneath(key).is_some() {
            if was_seen {
                let removal = DocumentEdit::new(None, Base::Below, now);
                self.edits.documents.insert(key.to_owned(), removal);
            } else {
                self.events.push_back(Event::Change { keys: vec![key.to_owned()] });
            }
        }
        self.touched(now);
    }

    fn remove_entry(&mut self, entry: &str, now: Millis) {
        if !self.has(entry) {
            return;
        }
        let mut stale = None;
        for field in self.edits.fields(entry) {
            self.journal.mark('e', 's', &field);
            let seen = self.edits.scalars.remove(&field).and_then(|edit| edit.stale);
            stale = earlier(stale, seen);
        }
        self.journal.mark('e', 'd', entry);
        let was_seen = self.edits.documents.remove(entry).is_none_or(|edit| edit.base == Base::Below);
        if self.has_beneath(entry) {
            if was_seen {
                self.journal.mark('e', 'r', entry);
                let before = self.edits.removals.get(entry).and_then(|removal| removal.stale);
                let removal = Removal { at: now, stale: earlier(stale, before), rejected: None };
                self.edits.removals.insert(entry.to_owned(), removal);
            } else {
                self.events.push_back(Event::Change { keys: vec![entry.to_owned()] });
            }
        }
        self.touched(now);
    }

    /// Who was told of a write that lost has done what there was to do.
    pub fn acknowledge(&mut self, key: &str) {
        if self.superseded.remove(key).is_some() {
            self.journal.mark_superseded(key);
        }
    }

    /// A rejected edit that is made again goes out again.
    fn try_again(&mut self, key: &str, now: Millis) {
        let scalar = self.edits.scalars.get_mut(key).and_then(|edit| edit.rejected.take());
        let document = self.edits.documents.get_mut(key).and_then(|edit| edit.rejected.take());
        if scalar.or(document).is_some() {
            self.journal.mark('e', 's', key);
            self.journal.mark('e', 'd', key);
            self.touched(now);
        }
    }

    /// Takes back an edit that the host rejected: what the host has is seen again.
    pub fn revert(&mut self, key: &str) {
        let (scalar, document) = (self.edits.scalars.get(key), self.edits.documents.get(key));
        let is_rejected = scalar.is_some_and(|edit| edit.rejected.is_some())
            || document.is_some_and(|edit| edit.rejected.is_some())
            || self.edits.removals.get(key).is_some_and(|edit| edit.rejected.is_some());
        if is_rejected {
            self.edits.scalars.remove(key);
            self.edits.documents.remove(key);
            self.edits.removals.remove(key);
            ['s', 'd', 'r'].into_iter().for_each(|kind| self.journal.mark('e', kind, key));
            self.changed(vec![key.to_owned()]);
        }
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

fn refused(code: &'static str, key: &str, problem: &'static str) -> Refused {
    Refused { code, key: key.to_owned(), problem }
}

fn check_document(key: &str) -> Result<(), Refused> {
    match Key::parse(key) {
        Some(Key::File(_)) => Ok(()),
        Some(Key::Entry(entry)) if key::collection(entry) == key::PAGES => Ok(()),
        _ => match key.strip_prefix("files/").and_then(key::path_problem) {
            Some(problem) => Err(refused("invalid_path", key, problem)),
            None => Err(refused("invalid_key", key, "allowed is a file or a page")),
        },
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
