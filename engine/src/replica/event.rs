//! What the user is told.

use super::{Conflict, Rejected, Replica};
use crate::ids::{Millis, Seq};
use serde_json::Value;

/// How it stands with the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Edits wait for the next push.
    Pending,
    /// A push is on its way, or the first copy is.
    Syncing,
    /// The host has everything, durably.
    Synced,
    /// The host is not reached. Edits are kept.
    Offline,
    /// A conflict has to be resolved before this device pushes again.
    Blocked,
    /// The user has to sign in.
    Unauthorised,
    /// The host says that another one serves this user. Edits are kept, and it is asked again now and then.
    Moved,
}

impl Status {
    /// One word.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Pending => "pending",
            Status::Syncing => "syncing",
            Status::Synced => "synced",
            Status::Offline => "offline",
            Status::Blocked => "blocked",
            Status::Unauthorised => "unauthorised",
            Status::Moved => "moved",
        }
    }
}

/// What was done, for a person who looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activity {
    /// Edits went to the host.
    Push,
    /// Others' edits came.
    Pull,
    /// A whole copy came.
    Snapshot,
    /// Two edits were merged, here or by the host.
    Merge,
    /// Two edits did not merge.
    Conflict,
    /// A conflict was resolved.
    Resolve,
    /// The host did not answer, or not as it should.
    Failure,
}

impl Activity {
    /// One word.
    pub fn as_str(self) -> &'static str {
        match self {
            Activity::Push => "push",
            Activity::Pull => "pull",
            Activity::Snapshot => "snapshot",
            Activity::Merge => "merge",
            Activity::Conflict => "conflict",
            Activity::Resolve => "resolve",
            Activity::Failure => "failure",
        }
    }
}

/// Something happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// What the user sees is another, and not by an edit of this replica's caller.
    Change {
        /// The changed keys.
        keys: Vec<String>,
    },
    /// The open conflicts, all of them, as they are now.
    Conflicts(Vec<Conflict>),
    /// See [`Status`].
    Status {
        /// What it is now.
        status: Status,
        /// Edits that the host does not have yet.
        pending: usize,
    },
    /// The host does not take an edit. It stays, and goes out again when it is edited.
    Rejected {
        /// The changed key.
        key: String,
        /// Why.
        why: Rejected,
    },
    /// A scalar's write lost to a later one. It is in the history.
    Superseded {
        /// The changed key.
        key: String,
        /// What lost.
        mine: Value,
        /// What is there.
        theirs: Value,
    },
    /// A resolution was accepted, or not.
    Resolved {
        /// The conflict.
        id: String,
        /// The host's code; `None`: accepted.
        code: Option<String>,
    },
    /// This device needs another id: see [`Replica::renew`].
    Identity {
        /// `forked`: another machine uses the id as well; `revoked`: the device was removed.
        reason: &'static str,
    },
    /// The user has to sign in: see [`Replica::signed_in`].
    SignIn,
    /// For the list of what happened.
    Activity {
        /// What.
        what: Activity,
        /// Of a push what it carried, else the changed keys.
        keys: Vec<String>,
        /// Bytes sent, of the body as JSON.
        up: usize,
        /// Bytes received, of the body as JSON.
        down: usize,
        /// Where the device stands now.
        seq: Seq,
        /// When.
        at: Millis,
        /// A code, where there is one.
        detail: String,
    },
}

impl Replica {
    /// What happened and was not told yet.
    pub fn poll_event(&mut self) -> Option<Event> {
        if let Some(event) = self.events.pop_front() {
            return Some(event);
        }
        let now = (self.status(), self.pending_count());
        if self.told_status == Some(now) {
            return None;
        }
        self.told_status = Some(now);
        Some(Event::Status { status: now.0, pending: now.1 })
    }

    pub(super) fn changed(&mut self, keys: Vec<String>) {
        if !keys.is_empty() {
            self.events.push_back(Event::Change { keys });
        }
    }

    pub(super) fn happened(
        &mut self,
        what: Activity,
        keys: Vec<String>,
        (up, down): (usize, usize),
        at: Millis,
        detail: &str,
    ) {
        let (seq, detail) = (self.at.seq, detail.to_owned());
        self.events.push_back(Event::Activity { what, keys, up, down, seq, at, detail });
    }
}
