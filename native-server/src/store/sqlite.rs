//! Embedded SQLite: one writer thread that groups commits, readers beside it.
//!
//! Every push waits for the disk once, but not alone: the writer takes all calls that queued up while it
//! wrote, each in a savepoint of its own, and commits them together. Nothing is answered before.

mod connection;
mod others;
mod status;
#[cfg(test)]
mod tests;
mod writer;

use super::{Claim, Failure, Levels, Migrations, Status, Whose, now};
use crate::live::Hub;
use anyhow::{Context, Result, anyhow};
pub use connection::Connection;
use nself_sync_engine::call::{Call, Caller, Reply};
use nself_sync_engine::exchange::Exchange;
use nself_sync_engine::ids::{Fresh, User};
use nself_sync_engine::outbox::{Dead, End};
use nself_sync_engine::policy::Policy;
use nself_sync_engine::retention::Pruned;
use nself_sync_engine::slice::{Head, Scope, Slice};
use nself_sync_engine::transfer::{Imported, Place, Record};
use nself_sync_sqlite as store;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, oneshot};
use writer::{Job, Writer, after_commit};

/// Reads at once; a further one waits.
const READERS_MAX: usize = 4;

/// Users whose history is pruned before others are looked for.
const PRUNE_USERS: u32 = 100;

/// The store in a folder.
pub struct Sqlite {
    path: PathBuf,
    policy: Arc<Policy>,
    hub: Arc<Hub>,
    writer: Writer,
    readers: Arc<Mutex<Vec<Connection>>>,
    reading: Arc<Semaphore>,
    /// Whose events are being delivered.
    claimed: Arc<Mutex<BTreeSet<i64>>>,
}

impl Sqlite {
    /// Opens or makes the data base in `data_dir`, which is made as well, for its owner only.
    pub async fn open(data_dir: &Path, policy: Arc<Policy>) -> Result<Sqlite> {
        let path = path(data_dir);
        make_folder(data_dir).with_context(|| format!("PLUGIN_SYNC_DATA_DIR={}", data_dir.display()))?;
        let connection = Connection::open(&path).with_context(|| path.display().to_string())?;
        let hub = Arc::new(Hub::default());
        let writer = Writer::start(connection, Arc::clone(&hub))?;
        let readers = Arc::new(Mutex::new(Vec::new()));
        let reading = Arc::new(Semaphore::new(READERS_MAX));
        Ok(Sqlite { path, policy, hub, writer, readers, reading, claimed: Arc::default() })
    }

    /// See [`super::Store::hub`].
    pub fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    /// See [`super::Store::call`].
    pub async fn call(&self, caller: Caller, call: Call) -> Result<Reply, Failure> {
        let exchange = Exchange::new(caller, call, Arc::clone(&self.policy), now()?, fresh()?);
        let exchange = if exchange.writes() {
            exchange
        } else {
            match self.read(exchange).await? {
                Ok(reply) => return Ok(reply),
                Err(exchange) => *exchange,
            }
        };
        let (answer, answered) = oneshot::channel();
        self.writer.send(Job::Call(Box::new(exchange), answer))?;
        answered.await.map_err(|_| stopped())?
    }

    /// A call that only reads; it comes back where its user is not known yet, so that something is to be written.
    async fn read(&self, exchange: Exchange) -> Result<Result<Reply, Box<Exchange>>, Failure> {
        let user = exchange.caller().user().clone();
        let whose = user.clone();
        let read = self.with_reader(move |connection| {
            connection.run("BEGIN").context("a read")?;
            let read = match store::is_known(connection, &user) {
                Ok(false) if exchange.epoch_if_new().is_some() => Ok(Err(Box::new(exchange))),
                Ok(_) => store::call(connection, exchange).map(Ok),
                Err(error) => Err(error),
            };
            connection.run("COMMIT").context("a read")?;
            read.map_err(failure)
        });
        match read.await? {
            Ok(store::Called { reply, touch, .. }) => {
                if let Some(touch) = touch {
                    self.writer.send(Job::Touch(whose, touch))?;
                }
                Ok(Ok(reply))
            }
            Err(exchange) => Ok(Err(exchange)),
        }
    }

    /// Runs `work` on a connection of its own, so many at once and no more, also when those who asked are gone.
    async fn with_reader<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let permit = Arc::clone(&self.reading).acquire_owned().await.context("the store is closed")?;
        let (path, readers) = (self.path.clone(), Arc::clone(&self.readers));
        let done = tokio::task::spawn_blocking(move || {
            let idle = readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let mut connection = match idle {
                Some(connection) => connection,
                None => Connection::open(&path).context("a read")?,
            };
            let done = work(&mut connection);
            connection.end();
            readers.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
            drop(permit);
            done
        });
        done.await.context("a read")?
    }

    /// See [`super::Store::migrate`].
    pub async fn migrate(&self) -> Result<()> {
        self.with_writer(|connection| {
            let has = store::schema_version(connection).map_err(text)?;
            let newest = store::MIGRATIONS.last().map_or(0, |(version, _)| *version);
            if has > newest {
                return Err(anyhow!(
                    "the data base is of a newer version: it has schema {has}, this program knows {newest}"
                ));
            }
            for (version, sql) in store::MIGRATIONS.iter().filter(|(version, _)| *version > has) {
                connection.run_all(sql)?;
                store::set_schema_version(connection, *version).map_err(text)?;
            }
            Ok(())
        })
        .await
    }

    /// See [`super::Store::health`].
    pub async fn health(&self) -> Result<Migrations> {
        let version = self.with_reader(|connection| store::schema_version(connection).map_err(failure));
        Ok(migrations(version.await.map_err(reason)?))
    }

    /// See [`super::Store::prune`]. A batch is a job of its own, so that pushes go on between two.
    pub async fn prune(&self) -> Result<Pruned> {
        let mut total = Pruned::default();
        let mut after = 0;
        loop {
            let users = self
                .with_writer(move |connection| store::users(connection, after, PRUNE_USERS).map_err(text))
                .await?;
            let Some(last) = users.last() else { return Ok(total) };
            after = *last;
            for user_no in users {
                let mut more = true;
                while more {
                    let (policy, now) = (Arc::clone(&self.policy), now()?);
                    let batch = self.with_writer(move |connection| {
                        store::prune_user(connection, user_no, &policy, now).map_err(text)
                    });
                    let pruned;
                    (pruned, more) = batch.await?;
                    total += pruned;
                }
            }
        }
    }

    /// See [`super::Store::levels`].
    pub async fn levels(&self) -> Result<Levels> {
        let read = self.with_reader(|connection| {
            let conflicts_open = store::conflicts_open(connection).map_err(failure)?;
            let backlog = store::outbox::backlog(connection).map_err(failure)?;
            Ok(Levels { conflicts_open, backlog })
        });
        read.await.map_err(reason)
    }

    /// See [`super::Store::claim`]. There is no other process: who is claimed is remembered here alone.
    pub async fn claim(&self, limit: usize) -> Result<(Vec<Claim>, Option<Duration>)> {
        let (claimed, now) = (Arc::clone(&self.claimed), now()?);
        let read = self.with_reader(move |connection| {
            let mut claimed = claimed.lock().unwrap_or_else(PoisonError::into_inner);
            connection.run("BEGIN").context("a read")?;
            let waiting = store::outbox::waiting(connection, claimed.len() + limit + 1).map_err(failure)?;
            let (mut claims, mut next) = (Vec::new(), None);
            for whose in waiting.into_iter().filter(|whose| !claimed.contains(&whose.user_no)) {
                if whose.due_at > now || claims.len() == limit {
                    next = Some(Duration::from_millis(whose.due_at.saturating_sub(now)));
                    break;
                }
                let turn = store::outbox::turn(connection, &whose).map_err(failure)?;
                claims.push(Claim { whose: Whose::Number(whose.user_no), turn });
            }
            connection.run("COMMIT").context("a read")?;
            let numbers = claims.iter().filter_map(|claim| match claim.whose {
                Whose::Number(user_no) => Some(user_no),
                Whose::User { .. } => None,
            });
            claimed.extend(numbers);
            Ok((claims, next))
        });
        read.await.map_err(reason)
    }

    /// See [`super::Store::settle`].
    pub async fn settle(&self, ends: Vec<(i64, End)>) -> Result<u64> {
        let numbers: Vec<i64> = ends.iter().map(|(user_no, _)| *user_no).collect();
        let now = now()?;
        let settled = self.with_writer(move |connection| {
            let mut dead = 0;
            for (user_no, end) in &ends {
                dead += store::outbox::settle(connection, *user_no, end, now).map_err(text)?;
            }
            Ok(dead)
        });
        let settled = settled.await;
        let mut claimed = self.claimed.lock().unwrap_or_else(PoisonError::into_inner);
        claimed.retain(|user_no| !numbers.contains(user_no));
        settled
    }

    /// See [`super::Store::dead_letters`].
    pub async fn dead_letters(&self, after: Option<&User>, limit: u32) -> Result<Vec<Dead>> {
        let after = after.cloned();
        let read = self.with_reader(move |connection| {
            store::outbox::dead(connection, after.as_ref(), limit).map_err(failure)
        });
        read.await.map_err(reason)
    }

    /// See [`super::Store::requeue`].
    pub async fn requeue(&self, user: &User) -> Result<u64> {
        let (user, now) = (user.clone(), now()?);
        self.with_writer(move |connection| store::outbox::requeue(connection, &user, now).map_err(text)).await
    }

    /// See [`super::Store::snapshot`].
    pub fn snapshot(&self) -> Result<Snapshot> {
        Snapshot::begin(&self.path)
    }

    /// See [`super::Store::import`].
    pub async fn import(&self, user: &User, first: u64, lines: &str) -> Result<Imported, Failure> {
        let (user, lines) = (user.clone(), lines.to_owned());
        self.change(move |connection| store::import(connection, &user, first, &lines)).await
    }

    /// See [`super::Store::mark_moved`].
    pub async fn mark_moved(&self, user: &User) -> Result<(), Failure> {
        let user = user.clone();
        self.change(move |connection| store::mark_moved(connection, &user)).await
    }

    /// See [`super::Store::undo_move`].
    pub async fn undo_move(&self, user: &User) -> Result<(), Failure> {
        let user = user.clone();
        self.change(move |connection| store::undo_move(connection, &user)).await
    }

    /// See [`super::Store::rotate_epoch`].
    pub async fn rotate_epoch(&self, user: &User) -> Result<(), Failure> {
        let (user, epoch) = (user.clone(), fresh()?.epoch());
        self.change(move |connection| store::rotate_epoch(connection, &user, epoch)).await
    }

    /// See [`super::Store::erase`].
    pub async fn erase(&self, user: &User) -> Result<bool, Failure> {
        let user = user.clone();
        self.change(move |connection| store::erase(connection, &user)).await
    }

    /// See [`super::Store::close`].
    pub async fn close(self) {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.writer.stop().await;
    }

    /// The same for what an operator may be refused.
    async fn change<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, store::Error<rusqlite::Error>> + Send + 'static,
    ) -> Result<T, Failure> {
        self.with_writer(move |connection| work(connection).map_err(failure)).await
    }

    /// Runs `work` in the writer's transaction.
    async fn with_writer<T: Send + 'static, E: From<anyhow::Error> + Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E> {
        let (answer, answered) = oneshot::channel();
        let work = Box::new(move |connection: &mut Connection| {
            let done = work(connection);
            (done.is_ok(), after_commit(answer, done))
        });
        self.writer.send(Job::Work(work)).map_err(reason)?;
        answered.await.map_err(|_| stopped())?
    }
}

/// A read of one point in time, on a connection of its own.
pub struct Snapshot(Connection);

impl Snapshot {
    /// Of the data base in this file, which must be there.
    pub fn begin(path: &Path) -> Result<Snapshot> {
        let mut connection = Connection::open_to_read(path).with_context(|| path.display().to_string())?;
        connection.run("BEGIN")?;
        Ok(Snapshot(connection))
    }

    /// See [`super::Store::health`].
    pub fn migrations(&mut self) -> Result<Migrations> {
        Ok(migrations(store::schema_version(&mut self.0).map_err(text)?))
    }

    /// See [`super::Reader::status`].
    pub fn status(&mut self) -> Result<Status> {
        status::status(&mut self.0)
    }

    /// See [`super::Snapshot::head`].
    pub fn head(&mut self, user: &User) -> Result<Option<Head>> {
        store::stored_head(&mut self.0, user).map_err(text)
    }

    /// See [`super::Snapshot::rows_after`].
    pub fn rows_after(&mut self, user: &User, place: &Place) -> Result<Vec<Record>> {
        store::rows_after(&mut self.0, user, place).map_err(text)
    }

    /// See [`super::Snapshot::load`]: of one scope.
    pub fn load(&mut self, user: &User, scope: &Scope) -> Result<Slice> {
        store::load(&mut self.0, user, scope).map_err(text)
    }

    /// See [`super::Snapshot::users`].
    pub fn users(&mut self, after: Option<&User>, limit: u32) -> Result<Vec<User>> {
        store::named_users(&mut self.0, after, limit).map_err(text)
    }
}

/// The data base of a folder.
pub fn path(data_dir: &Path) -> PathBuf {
    data_dir.join("nself-sync.sqlite")
}

fn migrations(applied: i64) -> Migrations {
    let known = store::MIGRATIONS.iter().filter(|(version, _)| *version <= applied).count();
    let newest = store::MIGRATIONS.last().map_or(0, |(version, _)| *version);
    let unknown = usize::try_from(applied - newest).unwrap_or(0);
    Migrations { applied: known + unknown, expected: store::MIGRATIONS.len() }
}

fn stopped() -> anyhow::Error {
    anyhow!("the writer has stopped")
}

fn failure(error: store::Error<rusqlite::Error>) -> Failure {
    match error {
        store::Error::Reject(reject) => Failure::Reject(reject),
        store::Error::Corrupt(corrupt) => Failure::Broken(anyhow!("stored data: {}", corrupt.0)),
        store::Error::Sql(error) => Failure::Store(error.into()),
    }
}

fn text(error: store::Error<rusqlite::Error>) -> anyhow::Error {
    reason(failure(error))
}

fn reason(failure: Failure) -> anyhow::Error {
    match failure {
        Failure::Reject(reject) => anyhow!("{reject:?}"),
        Failure::Busy => anyhow!("too much at once"),
        Failure::Store(error) | Failure::Broken(error) => error,
    }
}

fn make_folder(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

fn fresh() -> Result<Fresh> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| anyhow!("random bytes: {error}"))?;
    Ok(Fresh(bytes))
}
