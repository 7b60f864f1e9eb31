//! The memory store: one user's rows in ordered maps. The twin of the SQL stores, for the simulation and as the
//! fastest host of the contract suite. What it does not share with them is SQL; what it shares is the engine.

mod apply;
mod load;
mod prune;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use nself_sync_engine::call::{Call, Caller, Reply};
use nself_sync_engine::exchange::{Exchange, Halt, Step};
use nself_sync_engine::ids::{Fresh, Millis, Seq, User};
use nself_sync_engine::policy::Policy;
use nself_sync_engine::slice::{
    Conflict, Delta, Device, Document, Head, Pushed, Scalar, Segment, Slice, Version,
};

/// All rows of one user. Large rows are shared, so that a copy of the whole is cheap.
#[derive(Debug, Clone, PartialEq)]
pub struct Rows {
    /// The newest point of the history.
    pub head: Head,
    /// By id, also removed ones.
    pub devices: BTreeMap<String, Device>,
    /// Scalars at head by key, also removed ones.
    pub scalars: BTreeMap<String, Arc<Scalar>>,
    /// Documents at head by key, also removed ones.
    pub documents: BTreeMap<String, Arc<Document>>,
    /// The deltas above the floor.
    pub deltas: BTreeMap<Seq, Arc<Delta>>,
    /// Scalars' history by key, seq and number.
    pub versions: BTreeMap<(String, Seq, u32), Arc<Version>>,
    /// Documents' history by key and start.
    pub segments: BTreeMap<(String, Seq), Arc<Segment>>,
    /// Where contents are: prefix of the hash, seq, key.
    pub located: BTreeSet<(i64, Seq, String)>,
    /// What each device last pushed, by device and key.
    pub pushed: BTreeMap<(String, String), Pushed>,
    /// By id, also resolved ones.
    pub conflicts: BTreeMap<String, Arc<Conflict>>,
}

impl Rows {
    /// A user of whom only the head is there.
    pub fn new(head: Head) -> Rows {
        Rows {
            head,
            devices: BTreeMap::new(),
            scalars: BTreeMap::new(),
            documents: BTreeMap::new(),
            deltas: BTreeMap::new(),
            versions: BTreeMap::new(),
            segments: BTreeMap::new(),
            located: BTreeSet::new(),
            pushed: BTreeMap::new(),
            conflicts: BTreeMap::new(),
        }
    }
}

impl Rows {
    /// What the user stores, counted.
    pub fn bytes(&self) -> u64 {
        let segments = self.segments.values().map(|one| one.keyframe.len() + one.key.len() + one.pack.len());
        let value = |version: &Version| version.value.as_ref().map_or(0, |value| value.to_string().len());
        let versions = self.versions.values().map(|version| version.key.len() + value(version));
        let sides = self.conflicts.values().flat_map(|one| [&one.base, &one.mine, &one.theirs]);
        let sides = sides.flatten().map(|side| side.size);
        segments.chain(versions).chain(sides).map(|bytes| bytes as u64).sum()
    }

    /// What every snapshot has to carry, counted.
    pub fn state_bytes(&self) -> u64 {
        let scalars = self.scalars.iter().map(|(key, row)| row.state_bytes(key));
        let documents = self.documents.keys().map(|key| Document::state_bytes(key));
        scalars.chain(documents).map(|bytes| bytes as u64).sum()
    }
}

/// Where a host dies in a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crash {
    /// It lives.
    Never,
    /// After the decision, before anything is written: nothing happened.
    BeforeApply,
    /// After the commit, before the reply: it happened, and nobody was told.
    BeforeReply,
}

/// Why a call has no reply.
#[derive(Debug)]
pub enum Failure {
    /// The engine said no; nothing was written.
    Halt(Halt),
    /// The host died; what it would have answered, where the call had happened by then.
    Crashed(Option<Box<Reply>>),
}

/// The rows of all users.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Memory {
    users: BTreeMap<User, Rows>,
}

impl Memory {
    /// One user's rows, once there are any.
    pub fn rows(&self, user: &User) -> Option<&Rows> {
        self.users.get(user)
    }

    /// The same, to damage or to restore.
    pub fn rows_mut(&mut self, user: &User) -> Option<&mut Rows> {
        self.users.get_mut(user)
    }

    /// Runs a call to its reply: begin, load, decide, apply, commit. All of it happens, or nothing.
    ///
    /// # Errors
    /// [`Failure`]: nothing was written, unless the host crashed just before the reply.
    pub fn call(
        &mut self,
        caller: Caller,
        call: Call,
        setting: (Arc<Policy>, Millis, Fresh),
        crash: Crash,
    ) -> Result<Reply, Failure> {
        let (policy, now, fresh) = setting;
        let mut exchange = Exchange::new(caller, call, policy, now, fresh);
        let user = exchange.caller().user().clone();
        let found = self.users.get(&user);
        let is_new = found.is_none();
        let mut rows = match (found, exchange.epoch_if_new()) {
            (Some(_), _) | (None, None) => None,
            (None, Some(epoch)) => Some(Rows::new(Head::new(epoch))),
        };
        let first = exchange.first();
        let mut slice = match found.or(rows.as_ref()) {
            Some(rows) => Slice { head: Some(rows.head.clone()), ..rows.load(&first) },
            None => Slice::default(), // the engine finds the token invalid
        };
        let reply = loop {
            let empty = Slice::default();
            match exchange.next(std::mem::replace(&mut slice, empty)).map_err(Failure::Halt)? {
                Step::Load(scope) => {
                    let rows = rows.as_ref().or(self.users.get(&user));
                    slice = rows.map(|rows| rows.load(&scope)).unwrap_or_default();
                }
                Step::Commit(commit) => {
                    let written = rows.get_or_insert_with(|| self.users[&user].clone());
                    written.apply(&commit);
                }
                Step::Reply(reply, touch) => {
                    if let Some(touch) = touch.filter(|_| !is_new) {
                        rows.get_or_insert_with(|| self.users[&user].clone()).touch(&touch);
                    }
                    break reply;
                }
            }
        };
        if crash == Crash::BeforeApply {
            return Err(Failure::Crashed(None));
        }
        if let Some(rows) = rows {
            self.users.insert(user, rows);
        }
        match crash {
            Crash::BeforeReply => Err(Failure::Crashed(Some(Box::new(reply)))),
            Crash::Never | Crash::BeforeApply => Ok(reply),
        }
    }

    /// Prunes every user's history, as `nself_sync_engine::retention` says.
    pub fn prune(&mut self, policy: &Policy, now: Millis) {
        for rows in self.users.values_mut() {
            rows.prune(policy, now);
        }
    }
}
