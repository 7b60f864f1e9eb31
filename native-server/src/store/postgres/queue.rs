//! Calls that wait to be written, and whose users are being written for.

use super::Failure;
use nself_sync_engine::call::{Call, Caller, Reply};
use nself_sync_engine::ids::User;
use std::collections::{BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, oneshot};

/// Calls of one batch.
const BATCH_MAX: usize = 64;

/// Calls that wait until others are turned away.
pub(super) const WAITING_MAX: usize = 1024;

/// How often all other tasks had their turn without a call coming out of it, until a batch begins.
const QUIET_MAX: u32 = 16;

/// A call, and who waits for its end.
pub(super) struct Job {
    pub(super) caller: Caller,
    pub(super) call: Call,
    pub(super) answer: oneshot::Sender<Result<Reply, Failure>>,
}

/// The queue that all workers take from.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// Something that may be taken has come, or nothing will come any more.
    changed: Notify,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Job>,
    busy: BTreeSet<User>,
    closed: bool,
}

impl Queue {
    /// Puts a call at the end, unless as many wait as may.
    pub(super) fn add(&self, job: Job) -> Result<(), Failure> {
        let mut state = self.state();
        if state.waiting.len() >= WAITING_MAX {
            // Whose client hung up waits for nothing.
            state.waiting.retain(|job| !job.answer.is_closed());
        }
        if state.waiting.len() >= WAITING_MAX {
            return Err(Failure::Busy);
        }
        state.waiting.push_back(job);
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    /// Lets nothing more in; what waits is still taken.
    pub(super) fn close(&self) {
        self.state().closed = true;
        self.changed.notify_one();
    }

    /// The next batch: of each user the oldest call, and of none for whom a batch is under way: it would wait for the
    /// lock on the head, and all of the batch with it. Waits until there is one; `None`: there will be none. Only one
    /// worker may wait here at a time.
    pub(super) async fn take(&self) -> Option<Vec<Job>> {
        loop {
            self.linger().await;
            if let Some(taken) = self.state().take() {
                return taken;
            }
            self.changed.notified().await;
        }
    }

    /// Where there are several, lets those come that are on their way: a batch costs about the same whatever its size.
    async fn linger(&self) {
        let (mut count, is_crowd) = {
            let state = self.state();
            (state.waiting.len(), state.waiting.len() > 1 || !state.busy.is_empty())
        };
        let mut quiet = 0;
        while is_crowd && (1..BATCH_MAX).contains(&count) && quiet < QUIET_MAX {
            tokio::task::yield_now().await;
            let now = self.state().waiting.len();
            quiet = if now > count { 0 } else { quiet + 1 };
            count = now;
        }
    }

    /// A batch of these users is over.
    pub(super) fn release(&self, users: Vec<User>) {
        let mut state = self.state();
        for user in &users {
            state.busy.remove(user);
        }
        drop(state);
        self.changed.notify_one();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// `None`: nothing that may be taken now. `Some(None)`: never again.
    fn take(&mut self) -> Option<Option<Vec<Job>>> {
        let (mut batch, mut rest) = (Vec::new(), VecDeque::new());
        for job in self.waiting.drain(..) {
            if batch.len() < BATCH_MAX && self.busy.insert(job.caller.user().clone()) {
                batch.push(job);
            } else {
                rest.push_back(job);
            }
        }
        self.waiting = rest;
        if batch.is_empty() {
            return (self.closed && self.waiting.is_empty()).then_some(None);
        }
        // Heads are locked in this order, whoever locks.
        batch.sort_by(|a, b| a.caller.user().cmp(b.caller.user()));
        Some(Some(batch))
    }
}
