//! Calls that write, grouped: what has queued up while one batch was decided is the next batch.
//!
//! A few workers take turns: a worker's turn lasts until its COMMIT is sent, and while it waits for the disk the next
//! batch is decided. So batches are as large as the load makes them, and the disk is never waited for twice in a row.
//! Within this process nobody waits for the lock on a head, see [`super::queue`]; other processes do, until COMMIT.

use super::apply;
use super::connection::{Connection, Connector, Kind, kind};
use super::lockstep::{self, Access, Outcome, Trouble};
use super::queue::{Job, Queue};
use super::relay::Relay;
use super::{Failure, entrant};
use crate::log;
use anyhow::{Result, anyhow};
use futures_util::FutureExt;
use nself_sync_engine::ids::User;
use nself_sync_engine::policy::Policy;
use nself_sync_engine::slice::Head;
use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedMutexGuard;

/// How long a batch may take in all, above what PostgreSQL is given for one statement.
const BATCH_TIMEOUT: Duration = Duration::from_secs(40);

/// How often a batch is tried whose transaction met another one.
const TRIES_MAX: u32 = 4;

/// Jobs to be run together.
struct Batch {
    jobs: Vec<Job>,
    tries: u32,
}

/// Why a batch did not run.
enum Stop {
    /// The connection was lost during COMMIT: what was done nobody knows.
    Unsure(anyhow::Error),
    /// PostgreSQL cannot be reached, or ended in the middle.
    Away(anyhow::Error),
    /// The connection was lost before COMMIT: nothing was done, and another connection may do.
    Lost(anyhow::Error),
    /// Another transaction was in the way.
    Again(anyhow::Error),
    /// Something in one of the calls, or in what is stored for it.
    Broken(anyhow::Error),
}

/// The right to take a batch and to decide it.
pub(super) type Turn = Arc<tokio::sync::Mutex<()>>;

/// Writes one batch after the other.
pub(super) struct Worker {
    connector: Arc<Connector>,
    policy: Arc<Policy>,
    relay: Arc<Relay>,
    connection: Option<Connection>,
}

impl Worker {
    pub(super) fn new(connector: Arc<Connector>, policy: Arc<Policy>, relay: Arc<Relay>) -> Worker {
        Worker { connector, policy, relay, connection: None }
    }

    /// Works until the queue is closed and empty.
    pub(super) async fn work(mut self, queue: Arc<Queue>, turn: Turn) {
        loop {
            let turn = Arc::clone(&turn).lock_owned().await;
            let Some(jobs) = queue.take().await else { return };
            let users = jobs.iter().map(|job| job.caller.user().clone()).collect();
            self.settle(jobs, turn).await;
            queue.release(users);
        }
    }

    /// Brings each job to its end.
    async fn settle(&mut self, jobs: Vec<Job>, turn: OwnedMutexGuard<()>) {
        // A further try needs no turn: it is rare, and its users are nobody else's meanwhile.
        let mut turn = Some(turn);
        let mut batches = VecDeque::from([Batch { jobs, tries: 0 }]);
        while let Some(mut batch) = batches.pop_front() {
            // Whose client hung up before anything began need not begin.
            batch.jobs.retain(|job| !job.answer.is_closed());
            if batch.jobs.is_empty() {
                continue;
            }
            match self.attempt(&batch.jobs, turn.take()).await {
                Ok(outcomes) => batches.extend(self.answer(batch, outcomes).await),
                Err(Stop::Lost(_)) if batch.tries == 0 => batches.push_front(Batch { tries: 1, ..batch }),
                Err(Stop::Again(_)) if batch.tries < TRIES_MAX => {
                    batches.push_front(Batch { tries: batch.tries + 1, ..batch });
                }
                Err(Stop::Broken(_)) if batch.jobs.len() > 1 => {
                    // One of them is at fault: each alone, so that the others are not.
                    batches.extend(batch.jobs.into_iter().map(|job| Batch { jobs: vec![job], tries: 0 }));
                }
                Err(Stop::Broken(error)) => fail(batch.jobs, &error, Failure::Broken),
                Err(Stop::Unsure(error)) => {
                    batch.jobs.iter().for_each(|job| self.relay.must_pull(job.caller.user()));
                    fail(batch.jobs, &error, Failure::Store);
                }
                Err(Stop::Away(error) | Stop::Lost(error) | Stop::Again(error)) => {
                    fail(batch.jobs, &error, Failure::Store);
                }
            }
        }
    }

    /// Answers all jobs; those whose user has no head yet get one, and come back to be run.
    async fn answer(&mut self, batch: Batch, outcomes: Vec<Outcome>) -> Option<Batch> {
        let mut headless = Vec::new();
        for (job, outcome) in batch.jobs.into_iter().zip(outcomes) {
            let answer = match outcome {
                Outcome::Reply(reply, _, news) => {
                    self.relay.tell(job.caller.user(), &news);
                    Ok(reply)
                }
                Outcome::Reject(reject) => Err(Failure::Reject(reject)),
                Outcome::NoHead => {
                    headless.push(job);
                    continue;
                }
            };
            // Nobody waits any more: the call is done all the same.
            let _ = job.answer.send(answer);
        }
        if headless.is_empty() {
            return None;
        }
        let users = headless.iter().map(|job| job.caller.user().clone()).collect();
        let made = match batch.tries {
            TRIES_MAX.. => Err(anyhow!("a user's head is made, and missing again")),
            _ => self.make_heads(users).await,
        };
        match made {
            Ok(()) => Some(Batch { jobs: headless, tries: batch.tries + 1 }),
            Err(error) => {
                fail(headless, &error, Failure::Store);
                None
            }
        }
    }

    async fn make_heads(&mut self, users: Vec<User>) -> Result<()> {
        let mut connection = self.take_connection().await?;
        make_heads(&mut connection, users).await?;
        self.connection = Some(connection);
        Ok(())
    }

    async fn take_connection(&mut self) -> Result<Connection> {
        match self.connection.take().filter(|connection| !connection.is_closed()) {
            Some(connection) => Ok(connection),
            None => self.connector.connect().await,
        }
    }

    /// One transaction of all these jobs. The connection is kept only where it is good for the next.
    async fn attempt(
        &mut self,
        jobs: &[Job],
        turn: Option<OwnedMutexGuard<()>>,
    ) -> Result<Vec<Outcome>, Stop> {
        let mut entrants = Vec::new();
        for job in jobs {
            let entrant = entrant(job.caller.clone(), job.call.clone(), &self.policy).map_err(Stop::Away)?;
            entrants.push(entrant);
        }
        let mut connection = self.take_connection().await.map_err(Stop::Away)?;
        let run =
            AssertUnwindSafe(lockstep::run(&mut connection, entrants, Access::Write, move || drop(turn)))
                .catch_unwind();
        let ran = match tokio::time::timeout(BATCH_TIMEOUT, run).await {
            Ok(Ok(ran)) => ran,
            // It is logged where it happened.
            Ok(Err(_panic)) => return Err(Stop::Broken(anyhow!("a panic in a batch of {}", jobs.len()))),
            Err(_) => return Err(Stop::Away(anyhow!("PostgreSQL did not answer in time"))),
        };
        let stop = match ran {
            Ok(outcomes) => {
                self.connection = Some(connection);
                return Ok(outcomes);
            }
            Err(trouble) => stop(trouble),
        };
        let is_usable = matches!(stop, Stop::Again(_) | Stop::Broken(_));
        if is_usable && connection.roll_back().await {
            self.connection = Some(connection);
        }
        Err(stop)
    }
}

fn stop(trouble: Trouble) -> Stop {
    let (error, committing) = match trouble {
        Trouble::Broken(what) => return Stop::Broken(anyhow!("stored data: {what}")),
        Trouble::Away(error) => return Stop::Away(error),
        Trouble::Sql { error, committing } => (error, committing),
    };
    let kind = kind(&error);
    let error = anyhow::Error::from(error).context("PostgreSQL");
    match kind {
        // The client's retry will find out.
        Kind::Lost if committing => Stop::Unsure(error),
        Kind::Lost => Stop::Lost(error),
        Kind::Again => Stop::Again(error),
        Kind::Away => Stop::Away(error),
        Kind::Data => Stop::Broken(error),
    }
}

fn fail(jobs: Vec<Job>, error: &anyhow::Error, failure: impl Fn(anyhow::Error) -> Failure) {
    for job in jobs {
        let _ = job.answer.send(Err(failure(anyhow!(log::causes(error)))));
    }
}

/// Makes the heads of users whom nothing is stored of, unless somebody was faster.
pub(super) async fn make_heads(connection: &mut Connection, users: Vec<User>) -> Result<()> {
    let mut heads = Vec::new();
    for user in users {
        heads.push((user, Head::new(super::fresh()?.epoch())));
    }
    connection.send(&apply::new_heads(&heads)).await?;
    Ok(())
}
