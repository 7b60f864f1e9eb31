//! Calls that write, grouped: a worker takes what has queued up while it was writing and commits it together.
//!
//! A user always goes to the same worker, and into a batch only once, so that within this process nobody waits for a
//! lock. Other processes are kept out by the lock on the head, until the batch is committed.

use super::apply;
use super::connection::{Connection, Connector, Kind, kind};
use super::lockstep::{self, Access, Entrant, Outcome, Trouble};
use super::{Failure, entrant};
use anyhow::{Result, anyhow};
use futures_util::FutureExt;
use nself_sync_engine::call::{Call, Caller, Reply};
use nself_sync_engine::ids::User;
use nself_sync_engine::policy::Policy;
use nself_sync_engine::slice::Head;
use std::collections::{BTreeSet, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Calls of one batch.
const BATCH_MAX: usize = 64;

/// How long a batch may take in all, above what PostgreSQL is given for one statement.
const BATCH_TIMEOUT: Duration = Duration::from_secs(40);

/// How often a batch is tried whose transaction met another one.
const TRIES_MAX: u32 = 4;

/// Calls that wait for a worker; whoever comes then waits to be let in.
pub(super) const QUEUE_MAX: usize = 1024;

/// A call, and who waits for its end.
pub(super) struct Job {
    pub(super) caller: Caller,
    pub(super) call: Call,
    pub(super) answer: oneshot::Sender<Result<Reply, Failure>>,
}

/// Jobs to be run together.
struct Batch {
    jobs: Vec<Job>,
    tries: u32,
}

/// Why a batch did not run.
enum Stop {
    /// PostgreSQL cannot be reached, or ended in the middle.
    Away(anyhow::Error),
    /// The connection was lost before COMMIT: nothing was done, and another connection may do.
    Lost(anyhow::Error),
    /// Another transaction was in the way.
    Again(anyhow::Error),
    /// Something in one of the calls, or in what is stored for it.
    Broken(anyhow::Error),
}

/// Writes for a share of the users, one batch after the other.
pub(super) struct Worker {
    connector: Arc<Connector>,
    policy: Arc<Policy>,
    connection: Option<Connection>,
}

impl Worker {
    pub(super) fn new(connector: Arc<Connector>, policy: Arc<Policy>) -> Worker {
        Worker { connector, policy, connection: None }
    }

    /// Works until the queue is closed and empty.
    pub(super) async fn work(mut self, mut queue: mpsc::Receiver<Job>) {
        let mut waiting = VecDeque::new();
        loop {
            if waiting.is_empty() {
                let Some(job) = queue.recv().await else { return };
                waiting.push_back(job);
            }
            while waiting.len() < QUEUE_MAX {
                let Ok(job) = queue.try_recv() else { break };
                waiting.push_back(job);
            }
            self.settle(take(&mut waiting)).await;
        }
    }

    /// Brings each job to its end.
    async fn settle(&mut self, jobs: Vec<Job>) {
        let mut batches = VecDeque::from([Batch { jobs, tries: 0 }]);
        while let Some(mut batch) = batches.pop_front() {
            // Whose client hung up before anything began need not begin.
            batch.jobs.retain(|job| !job.answer.is_closed());
            if batch.jobs.is_empty() {
                continue;
            }
            match self.attempt(&batch.jobs).await {
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
                Outcome::Reply(reply, _) => Ok(reply),
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
    async fn attempt(&mut self, jobs: &[Job]) -> Result<Vec<Outcome>, Stop> {
        let mut entrants = Vec::new();
        for job in jobs {
            let entrant = entrant(job.caller.clone(), job.call.clone(), &self.policy).map_err(Stop::Away)?;
            entrants.push(entrant);
        }
        let mut connection = self.take_connection().await.map_err(Stop::Away)?;
        let run = AssertUnwindSafe(run(&mut connection, entrants)).catch_unwind();
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

async fn run(connection: &mut Connection, entrants: Vec<Entrant>) -> Result<Vec<Outcome>, Trouble> {
    lockstep::run(connection, entrants, Access::Write).await
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
        // Whether it was committed nobody knows; the client's retry will find out.
        Kind::Lost if committing => Stop::Away(error),
        Kind::Lost => Stop::Lost(error),
        Kind::Again => Stop::Again(error),
        Kind::Away => Stop::Away(error),
        Kind::Data => Stop::Broken(error),
    }
}

/// Takes the next batch off the queue: of each user the oldest.
fn take(waiting: &mut VecDeque<Job>) -> Vec<Job> {
    let (mut batch, mut rest, mut users) = (Vec::new(), VecDeque::new(), BTreeSet::new());
    for job in waiting.drain(..) {
        if batch.len() < BATCH_MAX && users.insert(job.caller.user().clone()) {
            batch.push(job);
        } else {
            rest.push_back(job);
        }
    }
    *waiting = rest;
    // Heads are locked in this order, whoever locks.
    batch.sort_by(|a, b| a.caller.user().cmp(b.caller.user()));
    batch
}

fn fail(jobs: Vec<Job>, error: &anyhow::Error, failure: impl Fn(anyhow::Error) -> Failure) {
    for job in jobs {
        let _ = job.answer.send(Err(failure(anyhow!("{error:#}"))));
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
