//! Where the state lives: SQLite in a folder, or PostgreSQL.
//!
//! Both do the same with a call: begin, load what the call's scope names, let the engine decide, apply what it decided,
//! commit, reply. An enum and not a trait: there are two, and the differences between them are the point of having both.

mod postgres;
mod sqlite;

#[cfg(test)]
pub use sqlite::Connection;

use crate::config::Config;
use crate::live::Hub;
use anyhow::Context;
use nself_sync_engine::call::{Call, Caller, Reply};
use nself_sync_engine::error::Reject;
use nself_sync_engine::ids::{Millis, Seq, User};
use nself_sync_engine::outbox::{Backlog, Dead, End, Turn};
use nself_sync_engine::retention::Pruned;
use nself_sync_engine::slice::{Head, Scope, Slice};
use nself_sync_engine::transfer::{Imported, Place, Record};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::task::block_in_place;

/// Why a call has no reply.
#[derive(Debug)]
pub enum Failure {
    /// The caller's fault.
    Reject(Reject),
    /// As many calls wait as may. Nothing of the call was done.
    Busy,
    /// The store is away. Nothing of the call was done, or all of it and only the answer is missing: a retry with the
    /// same `push_no` tells.
    Store(anyhow::Error),
    /// What is stored cannot be read, or a bug: a retry would not help. Nothing of the call was done.
    Broken(anyhow::Error),
}

impl From<Reject> for Failure {
    fn from(reject: Reject) -> Failure {
        Failure::Reject(reject)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Failure {
        Failure::Store(error)
    }
}

/// How far the schema is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Migrations {
    /// Applied to this store; more than expected: by a newer version.
    pub applied: usize,
    /// Known to this program.
    pub expected: usize,
}

/// What the store holds at a moment, of all users.
#[derive(Debug, Clone, Copy, Default)]
pub struct Levels {
    /// Conflicts that wait for a decision.
    pub conflicts_open: u64,
    /// Events that wait.
    pub backlog: Backlog,
}

/// How much there is of everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// Users, whatever their standing.
    pub users: u64,
    /// Of these, who were moved to another host.
    pub moved: u64,
    /// Of these, whose import has not come to its end.
    pub importing: u64,
    /// Devices that were not removed.
    pub devices: u64,
    /// Conflicts that wait for a decision.
    pub conflicts_open: u64,
    /// On disk, with indexes and what is free.
    pub bytes: u64,
    /// When the oldest delta was made.
    pub oldest_delta: Option<Millis>,
    /// Events that wait to be delivered.
    pub events: u64,
    /// Events that could not be delivered.
    pub dead_letters: u64,
}

/// A user's turn to have events delivered, taken from all other processes for a minute.
#[derive(Debug)]
pub struct Claim {
    /// Whose.
    pub whose: Whose,
    /// The events, to be sent in order.
    pub turn: Turn,
}

/// Whose turn it is, as the store knows it.
#[derive(Debug, Clone)]
pub enum Whose {
    /// SQLite's number of the user.
    Number(i64),
    /// The user, and up to which seq events were recorded when the turn was taken.
    User {
        /// Who.
        user: User,
        /// The seq.
        seq: Seq,
    },
}

/// An open store. Shared by all requests; each method may be called by many at once.
pub enum Store {
    /// Embedded SQLite.
    Sqlite(sqlite::Sqlite),
    /// PostgreSQL 14 or newer.
    Postgres(postgres::Postgres),
}

/// A store that nothing is written to.
pub enum Reader {
    /// The file of embedded SQLite.
    Sqlite(PathBuf),
    /// PostgreSQL.
    Postgres(Box<postgres::Postgres>),
}

impl Reader {
    /// Opens the configured store, which must be there, with the schema that this program knows.
    pub async fn open(config: &Config) -> anyhow::Result<Reader> {
        let (reader, migrations) = match &config.database_url {
            None => {
                let path = sqlite::path(&config.data_dir);
                let migrations = sqlite::Snapshot::begin(&path)?.migrations()?;
                (Reader::Sqlite(path), migrations)
            }
            Some(url) => {
                let store = postgres::Postgres::open(url, Arc::clone(&config.policy)).await?;
                let migrations = store.health().await?;
                (Reader::Postgres(Box::new(store)), migrations)
            }
        };
        let Migrations { applied, expected } = migrations;
        anyhow::ensure!(
            applied >= expected,
            "the schema has {applied} of {expected} migrations: nself-sync migrate brings it up to date"
        );
        anyhow::ensure!(
            applied == expected,
            "the data base is of a newer version: it has {applied} migrations, this program knows {expected}"
        );
        Ok(reader)
    }

    /// How much there is of everything.
    pub async fn status(&self) -> anyhow::Result<Status> {
        match self {
            Reader::Sqlite(path) => block_in_place(|| sqlite::Snapshot::begin(path)?.status()),
            Reader::Postgres(store) => store.status().await,
        }
    }

    /// How far the schema is.
    pub async fn migrations(&self) -> anyhow::Result<Migrations> {
        match self {
            Reader::Sqlite(path) => block_in_place(|| sqlite::Snapshot::begin(path)?.migrations()),
            Reader::Postgres(store) => store.health().await,
        }
    }

    /// See [`Store::kind`].
    pub fn kind(&self) -> &'static str {
        match self {
            Reader::Sqlite(_) => "sqlite",
            Reader::Postgres(_) => "postgres",
        }
    }

    /// See [`Store::snapshot`].
    pub async fn snapshot(&self) -> anyhow::Result<Snapshot<'_>> {
        match self {
            Reader::Sqlite(path) => Ok(Snapshot::Sqlite(sqlite::Snapshot::begin(path)?)),
            Reader::Postgres(store) => Ok(Snapshot::Postgres(store.snapshot().await?)),
        }
    }

    /// See [`Store::close`].
    pub async fn close(self) {
        match self {
            Reader::Sqlite(_) => {}
            Reader::Postgres(store) => store.close().await,
        }
    }
}

/// All that is stored, read at one point in time, whoever writes meanwhile.
pub enum Snapshot<'a> {
    /// Of embedded SQLite. Reads hold up the thread, not the runtime.
    Sqlite(sqlite::Snapshot),
    /// Of PostgreSQL.
    Postgres(postgres::Snapshot<'a>),
}

impl Snapshot<'_> {
    /// The user's head, where anything is stored of the user.
    pub async fn head(&mut self, user: &User) -> anyhow::Result<Option<Head>> {
        match self {
            Snapshot::Sqlite(snapshot) => block_in_place(|| snapshot.head(user)),
            Snapshot::Postgres(snapshot) => snapshot.head(user).await,
        }
    }

    /// The user's next rows after a place in the stream, so many that memory is bounded; none: there are no more.
    pub async fn rows_after(&mut self, user: &User, place: &Place) -> anyhow::Result<Vec<Record>> {
        match self {
            Snapshot::Sqlite(snapshot) => block_in_place(|| snapshot.rows_after(user, place)),
            Snapshot::Postgres(snapshot) => snapshot.rows_after(user, place).await,
        }
    }

    /// Exactly the user's rows that each scope names, a slice for each.
    pub async fn load(&mut self, user: &User, scopes: &[&Scope]) -> anyhow::Result<Vec<Slice>> {
        match self {
            Snapshot::Sqlite(snapshot) => {
                block_in_place(|| scopes.iter().map(|scope| snapshot.load(user, scope)).collect())
            }
            Snapshot::Postgres(snapshot) => snapshot.load(user, scopes).await,
        }
    }

    /// The users after one, by account and id, at most `limit`.
    pub async fn users(&mut self, after: Option<&User>, limit: u32) -> anyhow::Result<Vec<User>> {
        match self {
            Snapshot::Sqlite(snapshot) => block_in_place(|| snapshot.users(after, limit)),
            Snapshot::Postgres(snapshot) => snapshot.users(after, limit).await,
        }
    }

    /// Lets go of it. One that is dropped is ended as well, with its connection.
    pub async fn end(self) -> anyhow::Result<()> {
        match self {
            Snapshot::Sqlite(_) => Ok(()),
            Snapshot::Postgres(snapshot) => snapshot.end().await,
        }
    }
}

impl Store {
    /// Opens the configured store; the schema may be missing or old until [`Store::migrate`].
    pub async fn open(config: &Config) -> anyhow::Result<Store> {
        match &config.database_url {
            None => {
                Ok(Store::Sqlite(sqlite::Sqlite::open(&config.data_dir, Arc::clone(&config.policy)).await?))
            }
            Some(url) => {
                Ok(Store::Postgres(postgres::Postgres::open(url, Arc::clone(&config.policy)).await?))
            }
        }
    }

    /// Whether there is something to open; of PostgreSQL only opening it tells.
    pub fn is_there(config: &Config) -> bool {
        config.database_url.is_some() || sqlite::path(&config.data_dir).is_file()
    }

    /// Decides one call in one atomic transaction and replies after it is durable.
    ///
    /// The future may be dropped at any point, as it is when a client hangs up: the call is then done whole or not at all.
    pub async fn call(&self, caller: Caller, call: Call) -> Result<Reply, Failure> {
        match self {
            Store::Sqlite(store) => store.call(caller, call).await,
            Store::Postgres(store) => store.call(caller, call).await,
        }
    }

    /// The live connections that hear of what is committed.
    pub fn hub(&self) -> &Arc<Hub> {
        match self {
            Store::Sqlite(store) => store.hub(),
            Store::Postgres(store) => store.hub(),
        }
    }

    /// Begins to hear of what other processes commit, where there may be some, and to tell them.
    pub fn follow(&self) {
        match self {
            Store::Sqlite(_) => {}
            Store::Postgres(store) => store.follow(),
        }
    }

    /// Brings the schema up to date. Several processes may start at once.
    pub async fn migrate(&self) -> anyhow::Result<()> {
        match self {
            Store::Sqlite(store) => store.migrate().await,
            Store::Postgres(store) => store.migrate().await,
        }
    }

    /// Asks the store itself, so that an answer means that it works.
    pub async fn health(&self) -> anyhow::Result<Migrations> {
        match self {
            Store::Sqlite(store) => store.health().await,
            Store::Postgres(store) => store.health().await,
        }
    }

    /// Removes what is older than the retention, in bounded batches, until nothing is left to remove.
    pub async fn prune(&self) -> anyhow::Result<Pruned> {
        match self {
            Store::Sqlite(store) => store.prune().await,
            Store::Postgres(store) => store.prune().await,
        }
    }

    /// Counts what waits.
    pub async fn levels(&self) -> anyhow::Result<Levels> {
        match self {
            Store::Sqlite(store) => store.levels().await,
            Store::Postgres(store) => store.levels().await,
        }
    }

    /// Takes the turns of users whose events are due, at most so many, and says how long it is until the next is due. Each is
    /// to be given back to [`Store::settle`].
    pub async fn claim(&self, limit: usize) -> anyhow::Result<(Vec<Claim>, Option<Duration>)> {
        match self {
            Store::Sqlite(store) => store.claim(limit).await,
            Store::Postgres(store) => store.claim(limit).await,
        }
    }

    /// Stores what turns came to. Says how many events were set aside as dead letters.
    pub async fn settle(&self, ends: Vec<(Whose, End)>) -> anyhow::Result<u64> {
        match self {
            Store::Sqlite(store) => {
                let number = |(whose, end)| match whose {
                    Whose::Number(user_no) => Some((user_no, end)),
                    Whose::User { .. } => None,
                };
                store.settle(ends.into_iter().filter_map(number).collect()).await
            }
            Store::Postgres(store) => {
                let user = |(whose, end)| match whose {
                    Whose::User { user, seq } => Some((user, seq, end)),
                    Whose::Number(_) => None,
                };
                store.settle(ends.into_iter().filter_map(user).collect()).await
            }
        }
    }

    /// Whose events were set aside as dead letters, after one by account and id, at most `limit` users.
    pub async fn dead_letters(&self, after: Option<&User>, limit: u32) -> anyhow::Result<Vec<Dead>> {
        match self {
            Store::Sqlite(store) => store.dead_letters(after, limit).await,
            Store::Postgres(store) => store.dead_letters(after, limit).await,
        }
    }

    /// Puts a user's dead letters back among the events that wait, before them. Says how many.
    pub async fn requeue(&self, user: &User) -> anyhow::Result<u64> {
        match self {
            Store::Sqlite(store) => store.requeue(user).await,
            Store::Postgres(store) => store.requeue(user).await,
        }
    }

    /// All that is stored, read at one point in time.
    pub async fn snapshot(&self) -> anyhow::Result<Snapshot<'_>> {
        match self {
            Store::Sqlite(store) => Ok(Snapshot::Sqlite(store.snapshot()?)),
            Store::Postgres(store) => Ok(Snapshot::Postgres(store.snapshot().await?)),
        }
    }

    /// Takes in lines of a user's stream, the first of which has the number `first`: see [`nself_sync_sqlite::import`].
    pub async fn import(&self, user: &User, first: u64, lines: &str) -> Result<Imported, Failure> {
        match self {
            Store::Sqlite(store) => store.import(user, first, lines).await,
            Store::Postgres(store) => store.import(user, first, lines).await,
        }
    }

    /// Once this is durable every call of the user is answered `moved`, by all processes.
    pub async fn mark_moved(&self, user: &User) -> Result<(), Failure> {
        match self {
            Store::Sqlite(store) => store.mark_moved(user).await,
            Store::Postgres(store) => store.mark_moved(user).await,
        }
    }

    /// A user who was moved away is served again.
    pub async fn undo_move(&self, user: &User) -> Result<(), Failure> {
        match self {
            Store::Sqlite(store) => store.undo_move(user).await,
            Store::Postgres(store) => store.undo_move(user).await,
        }
    }

    /// Gives the user's history another epoch: see [`nself_sync_sqlite::rotate_epoch`].
    pub async fn rotate_epoch(&self, user: &User) -> Result<(), Failure> {
        match self {
            Store::Sqlite(store) => store.rotate_epoch(user).await,
            Store::Postgres(store) => store.rotate_epoch(user).await,
        }
    }

    /// Drops everything of a user. Says whether there was anything.
    pub async fn erase(&self, user: &User) -> Result<bool, Failure> {
        match self {
            Store::Sqlite(store) => store.erase(user).await,
            Store::Postgres(store) => store.erase(user).await,
        }
    }

    /// Ends it in order: what was acknowledged is in the files, no lock is left.
    pub async fn close(self) {
        match self {
            Store::Sqlite(store) => store.close().await,
            Store::Postgres(store) => store.close().await,
        }
    }

    /// `sqlite` or `postgres`.
    pub fn kind(&self) -> &'static str {
        match self {
            Store::Sqlite(_) => "sqlite",
            Store::Postgres(_) => "postgres",
        }
    }
}

/// The time. An error where the clock is before 1970.
pub fn now() -> anyhow::Result<Millis> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
    Ok(u64::try_from(since.as_millis())?)
}
