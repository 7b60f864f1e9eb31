//! PostgreSQL: pushes of many users in one transaction, reads beside them.
//!
//! What writes goes to a few workers, each with a connection of its own, which group it ([`batch`]); what reads takes a
//! connection of a pool and sees one point in time. Both run exchanges the same way ([`lockstep`]): rows are loaded and
//! written for all users of a batch with one statement a table ([`load`], [`apply`]). Nothing is only in memory, so that
//! any number of servers may work on one data base.

mod apply;
mod batch;
mod connection;
mod load;
mod lockstep;
mod migrate;
mod outbox;
mod prune;
mod queue;
mod relay;
mod row;
mod status;
mod transfer;
mod url;

#[cfg(test)]
mod tests;

use super::{Claim, Failure, Levels, Migrations, Status, now};
use crate::live::Hub;
use anyhow::{Result, anyhow};
use batch::{Turn, Worker};
use connection::{Connector, Kind, Lease, Pool, kind};
use lockstep::{Access, Entrant, Outcome, Trouble};
use nself_sync_engine::call::{Call, Caller, Reply};
use nself_sync_engine::commit::Touch;
use nself_sync_engine::exchange::Exchange;
use nself_sync_engine::ids::{Fresh, Seq, User};
use nself_sync_engine::outbox::{Dead, End};
use nself_sync_engine::policy::Policy;
use nself_sync_engine::push::Mine;
use nself_sync_engine::retention::Pruned;
use nself_sync_engine::transfer::Imported;
use queue::{Job, Queue};
use relay::{Relay, Told};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
pub use transfer::Snapshot;

/// Batches that are under way at once: one is decided while the other waits for the disk. More would be smaller ones.
const WORKERS: usize = 2;

/// How often a read is tried: a connection may have gone stale since the last.
const READ_TRIES: u32 = 2;

/// How long the last notices to other servers may take.
const RELAY_CLOSE_MAX: Duration = Duration::from_millis(500);

/// The store on a PostgreSQL server.
pub struct Postgres {
    policy: Arc<Policy>,
    connector: Arc<Connector>,
    pool: Pool,
    queue: Arc<Queue>,
    workers: Vec<JoinHandle<()>>,
    relay: Arc<Relay>,
    following: Mutex<Option<JoinHandle<()>>>,
}

impl Postgres {
    /// Reads the URL. Connections are made when they are needed.
    pub async fn open(url: &str, policy: Arc<Policy>) -> Result<Postgres> {
        let (config, tls) = url::parse(url)?;
        let connector = Arc::new(Connector::new(config, tls));
        let pool = Pool::new(Arc::clone(&connector));
        let (queue, turn) = (Arc::new(Queue::default()), Turn::default());
        let relay = Arc::new(Relay::new()?);
        let work = |_| {
            let worker = Worker::new(Arc::clone(&connector), Arc::clone(&policy), Arc::clone(&relay));
            tokio::spawn(worker.work(Arc::clone(&queue), Arc::clone(&turn)))
        };
        let workers = (0..WORKERS).map(work).collect();
        Ok(Postgres { policy, connector, pool, queue, workers, relay, following: Mutex::default() })
    }

    /// See [`super::Store::hub`].
    pub fn hub(&self) -> &Arc<Hub> {
        self.relay.hub()
    }

    /// See [`super::Store::follow`].
    pub fn follow(&self) {
        let following = Arc::clone(&self.relay).run(Arc::clone(&self.connector));
        *self.following.lock().unwrap_or_else(PoisonError::into_inner) = Some(tokio::spawn(following));
    }

    /// See [`super::Store::call`].
    pub async fn call(&self, caller: Caller, call: Call) -> Result<Reply, Failure> {
        if !call.writes() {
            return self.read(caller, call).await;
        }
        let (answer, answered) = oneshot::channel();
        self.queue.add(Job { caller, call, answer })?;
        answered.await.map_err(|_| anyhow!("the store is closed"))?
    }

    async fn read(&self, caller: Caller, call: Call) -> Result<Reply, Failure> {
        let mut tries = 0;
        loop {
            tries += 1;
            match self.try_read(&caller, &call).await {
                Ok(Outcome::Reply(reply, ..)) => return Ok(reply),
                Ok(Outcome::Reject(reject)) => return Err(Failure::Reject(reject)),
                Ok(Outcome::NoHead) => {
                    return Err(Failure::Store(anyhow!("a user's head is made, and missing again")));
                }
                Err(Trouble::Broken(what)) => return Err(Failure::Broken(anyhow!("stored data: {what}"))),
                Err(Trouble::Away(error)) => return Err(Failure::Store(error)),
                Err(Trouble::Sql { error, .. }) => {
                    let kind = kind(&error);
                    let error = anyhow::Error::from(error).context("PostgreSQL");
                    match kind {
                        Kind::Lost | Kind::Again if tries < READ_TRIES => {}
                        Kind::Data => return Err(Failure::Broken(error)),
                        Kind::Lost | Kind::Again | Kind::Away => return Err(Failure::Store(error)),
                    }
                }
            }
        }
    }

    /// One transaction that reads; where the user has no head yet, one that makes it, and another.
    async fn try_read(&self, caller: &Caller, call: &Call) -> Result<Outcome, Trouble> {
        let mut lease = self.pool.get().await.map_err(Trouble::Away)?;
        let mut outcome = self.read_once(&mut lease, caller, call).await?;
        if matches!(outcome, Outcome::NoHead) {
            let users = vec![caller.user().clone()];
            batch::make_heads(&mut lease.connection, users).await.map_err(Trouble::Away)?;
            outcome = self.read_once(&mut lease, caller, call).await?;
        }
        if let Outcome::Reply(_, Some(touch), _) = &mut outcome {
            let touch = [(caller.user().clone(), touch.clone())];
            touch_device(&mut lease, &touch).await;
        }
        lease.keep();
        Ok(outcome)
    }

    async fn read_once(
        &self,
        lease: &mut Lease<'_>,
        caller: &Caller,
        call: &Call,
    ) -> Result<Outcome, Trouble> {
        let entrant = entrant(caller.clone(), call.clone(), &self.policy).map_err(Trouble::Away)?;
        let outcomes = lockstep::run(&mut lease.connection, vec![entrant], Access::Read, || ()).await?;
        outcomes.into_iter().next().ok_or_else(|| Trouble::Broken("a read without an outcome".to_owned()))
    }

    /// See [`super::Store::migrate`].
    pub async fn migrate(&self) -> Result<()> {
        migrate::migrate(&self.connector).await
    }

    /// See [`super::Store::health`].
    pub async fn health(&self) -> Result<Migrations> {
        let mut lease = self.pool.get().await?;
        let migrations = migrate::health(&mut lease.connection).await?;
        lease.keep();
        Ok(migrations)
    }

    /// See [`super::Store::prune`].
    pub async fn prune(&self) -> Result<Pruned> {
        prune::prune(&self.pool, &self.policy).await
    }

    /// See [`super::Store::levels`].
    pub async fn levels(&self) -> Result<Levels> {
        let mut lease = self.pool.get().await?;
        let levels = outbox::levels(&mut lease.connection).await?;
        lease.keep();
        Ok(levels)
    }

    /// See [`super::Store::claim`].
    pub async fn claim(&self, limit: usize) -> Result<(Vec<Claim>, Option<Duration>)> {
        outbox::claim(&self.pool, limit).await
    }

    /// See [`super::Store::settle`].
    pub async fn settle(&self, ends: Vec<(User, Seq, End)>) -> Result<u64> {
        outbox::settle(&self.pool, ends).await
    }

    /// See [`super::Store::dead_letters`].
    pub async fn dead_letters(&self, after: Option<&User>, limit: u32) -> Result<Vec<Dead>> {
        outbox::dead(&self.pool, after, limit).await
    }

    /// See [`super::Store::requeue`].
    pub async fn requeue(&self, user: &User) -> Result<u64> {
        outbox::requeue(&self.pool, user).await
    }

    /// See [`super::Store::snapshot`].
    pub async fn snapshot(&self) -> Result<Snapshot<'_>> {
        Snapshot::begin(self.pool.get().await?).await
    }

    /// See [`super::Reader::status`].
    pub async fn status(&self) -> Result<Status> {
        status::status(self.pool.get().await?).await
    }

    /// See [`super::Store::import`].
    pub async fn import(&self, user: &User, first: u64, lines: &str) -> Result<Imported, Failure> {
        transfer::import(self.pool.get().await?, user, first, lines).await
    }

    /// See [`super::Store::mark_moved`].
    pub async fn mark_moved(&self, user: &User) -> Result<(), Failure> {
        let notice = self.relay.notice(Some(user), Told::Moved);
        transfer::mark_moved(self.pool.get().await?, user, notice).await
    }

    /// See [`super::Store::undo_move`].
    pub async fn undo_move(&self, user: &User) -> Result<(), Failure> {
        transfer::undo_move(self.pool.get().await?, user).await
    }

    /// See [`super::Store::rotate_epoch`].
    pub async fn rotate_epoch(&self, user: &User) -> Result<(), Failure> {
        let notice = self.relay.notice(Some(user), Told::Pull);
        transfer::rotate_epoch(self.pool.get().await?, user, fresh()?.epoch(), notice).await
    }

    /// See [`super::Store::erase`].
    pub async fn erase(&self, user: &User) -> Result<bool, Failure> {
        let notice = self.relay.notice(Some(user), Told::Erased);
        transfer::erase(self.pool.get().await?, user, notice).await
    }

    /// See [`super::Store::close`]. What is queued is done first.
    pub async fn close(self) {
        self.queue.close();
        for worker in self.workers {
            // Its end is all that is waited for.
            let _ = worker.await;
        }
        self.relay.close();
        let following = self.following.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(mut following) = following {
            // What waits is sent where PostgreSQL takes it; nobody waits until it does.
            if tokio::time::timeout(RELAY_CLOSE_MAX, &mut following).await.is_err() {
                following.abort();
            }
        }
    }
}

/// A device's last_seen may be lost.
async fn touch_device(lease: &mut Lease<'_>, touch: &[(User, Touch)]) {
    if let Err(error) = lease.connection.send(&apply::touches(touch)).await {
        tracing::debug!(error = error.to_string(), "a device's last_seen was not written");
    }
}

fn entrant(caller: Caller, call: Call, policy: &Arc<Policy>) -> Result<Entrant> {
    let bytes = bytes(&call);
    let exchange = Exchange::new(caller, call, Arc::clone(policy), now()?, fresh()?);
    Ok(Entrant { exchange, bytes })
}

/// The bytes of contents that a call carries.
fn bytes(call: &Call) -> usize {
    let Call::Push(push) = call else { return 0 };
    let bytes = push.documents.values().map(|document| match &document.mine {
        Mine::Content(content) => content.len(),
        Mine::Removed | Mine::Patch { .. } => 0,
    });
    bytes.sum()
}

fn fresh() -> Result<Fresh> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| anyhow!("random bytes: {error}"))?;
    Ok(Fresh(bytes))
}
