//! The store of nself-sync on any synchronous SQLite: schema and SQL over the one function [`Sql::exec`].
//!
//! Written for the narrowest host: at most a handful of bound parameters a statement (lists go in as JSON
//! arrays), rows under 2 MB (contents are cut into pieces), no BEGIN of its own: the host opens the
//! transaction around [`call`], [`prune_user`] and the others, and ends it. Every statement is led by the
//! user's number, which comes from the token alone.

use nself_sync_engine::call::Reply;
use nself_sync_engine::commit::Touch;
use nself_sync_engine::error::Reject;
use nself_sync_engine::event::News;
use nself_sync_engine::exchange::{Exchange, Halt, Step};
use nself_sync_engine::history::Corrupt;
use nself_sync_engine::ids::User;
use nself_sync_engine::slice::{Head, Slice};

mod apply;
mod load;
pub mod outbox;
mod pieces;
mod prune;
mod row;
mod transfer;

pub use prune::{count_bytes, prune_due, prune_user, users};
pub use row::{Damage, Row};
pub use transfer::{
    Page, erase, export_page, import, load, mark_moved, named_users, rotate_epoch, rows_after, state_hash,
    stored_head, undo_move,
};

/// A parameter to bind.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Param<'a> {
    /// NULL
    Null,
    /// INTEGER
    Integer(i64),
    /// TEXT
    Text(&'a str),
    /// BLOB
    Blob(&'a [u8]),
}

/// A value read.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// NULL
    Null,
    /// INTEGER
    Integer(i64),
    /// TEXT
    Text(String),
    /// BLOB
    Blob(Vec<u8>),
}

/// A synchronous SQLite: a connection, or a Durable Object's storage.
pub trait Sql {
    /// What the host's SQLite fails with.
    type Error;

    /// Runs one statement and returns all its rows.
    fn exec(&mut self, sql: &'static str, params: &[Param<'_>]) -> Result<Vec<Row>, Self::Error>;
}

/// The statements that make the schema, one by one: (version, SQL). A host runs those above what
/// [`schema_version`] says, in one transaction, and then [`set_schema_version`].
pub const MIGRATIONS: &[(i64, &str)] =
    &[(1, include_str!("schema.sql")), (2, include_str!("state_bytes.sql"))];

/// The schema that the data base has; 0: none.
pub fn schema_version<S: Sql>(sql: &mut S) -> Result<i64, Error<S::Error>> {
    let has = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'np_sync_schema'";
    if sql.exec(has, &[]).map_err(Error::Sql)?.into_iter().next().map(|row| row.integer(0)).transpose()?
        == Some(0)
    {
        return Ok(0);
    }
    let rows = sql.exec("SELECT version FROM np_sync_schema", &[]).map_err(Error::Sql)?;
    Ok(rows.first().map(|row| row.integer(0)).transpose()?.unwrap_or(0))
}

/// Notes the schema that the data base has now.
pub fn set_schema_version<S: Sql>(sql: &mut S, version: i64) -> Result<(), Error<S::Error>> {
    for statement in
        ["CREATE TABLE IF NOT EXISTS np_sync_schema (version INTEGER NOT NULL)", "DELETE FROM np_sync_schema"]
    {
        sql.exec(statement, &[]).map_err(Error::Sql)?;
    }
    let insert = "INSERT INTO np_sync_schema (version) VALUES (?1)";
    sql.exec(insert, &[Param::Integer(version)]).map_err(Error::Sql)?;
    Ok(())
}

/// Why a call failed. Whatever it is, the host rolls the transaction back.
#[derive(Debug)]
pub enum Error<E> {
    /// The caller's fault.
    Reject(Reject),
    /// What is stored cannot be read.
    Corrupt(Corrupt),
    /// SQLite's error.
    Sql(E),
}

impl<E> From<Damage> for Error<E> {
    fn from(damage: Damage) -> Error<E> {
        Error::Corrupt(Corrupt(damage.0))
    }
}

/// What a call came to.
pub struct Called {
    /// What the caller is answered.
    pub reply: Reply,
    /// Of one that only read.
    pub touch: Option<Touch>,
    /// What others are to be told.
    pub news: News,
}

/// Runs a call to its reply. The host has opened a transaction, one that may write where
/// [`Exchange::writes`]; a touch that comes back is for [`touch`], in that transaction or a later one, the news are to be
/// told once it is durable.
pub fn call<S: Sql>(sql: &mut S, mut exchange: Exchange) -> Result<Called, Error<S::Error>> {
    let mut news = News::default();
    let epoch = exchange.epoch_if_new();
    let user = exchange.caller().user().clone();
    let found = find(sql, &user)?;
    let mut slice = Slice::default();
    let user_no = match (found, epoch) {
        (Some((user_no, head)), _) => {
            slice = load::load(sql, user_no, &exchange.first_at(&head))?;
            slice.head = Some(head);
            user_no
        }
        (None, Some(epoch)) => {
            let head = Head::new(epoch);
            let user_no = apply::make_head(sql, &user, &head)?;
            slice.head = Some(head);
            user_no
        }
        (None, None) => 0, // no rows: the engine finds the token invalid
    };
    loop {
        match exchange.next(std::mem::take(&mut slice)) {
            Ok(Step::Load(scope)) => slice = load::load(sql, user_no, &scope)?,
            Ok(Step::Commit(commit)) => {
                apply::apply(sql, user_no, &commit)?;
                news = commit.news;
            }
            Ok(Step::Reply(reply, touch)) => return Ok(Called { reply, touch, news }),
            Err(Halt::Reject(reject)) => return Err(Error::Reject(reject)),
            Err(Halt::Corrupt(corrupt)) => return Err(Error::Corrupt(corrupt)),
        }
    }
}

/// Whether the user's head is stored, so that a call that only reads can run in a transaction that only reads.
pub fn is_known<S: Sql>(sql: &mut S, user: &User) -> Result<bool, Error<S::Error>> {
    find(sql, user).map(|found| found.is_some())
}

/// Open conflicts of all users.
pub fn conflicts_open<S: Sql>(sql: &mut S) -> Result<u64, Error<S::Error>> {
    let select = "SELECT count(*) FROM np_sync_conflicts WHERE resolved_at IS NULL";
    let rows = sql.exec(select, &[]).map_err(Error::Sql)?;
    Ok(rows.first().map(|row| row.number(0)).transpose()?.unwrap_or(0))
}

fn find<S: Sql>(sql: &mut S, user: &User) -> Result<Option<(i64, Head)>, Error<S::Error>> {
    let select =
        "SELECT user_no, epoch, seq, tag, floor, floor_tag, conflicts_open, standing, bytes, state_bytes
        FROM np_sync_heads WHERE source_account_id = ?1 AND user_id = ?2";
    let rows = sql.exec(select, &[Param::Text(&user.account), Param::Text(&user.id)]).map_err(Error::Sql)?;
    let Some(row) = rows.into_iter().next() else { return Ok(None) };
    Ok(Some((row.integer(0)?, row.head()?)))
}

/// Writes a device's `last_seen` and seq.
pub fn touch<S: Sql>(sql: &mut S, user: &User, touch: &Touch) -> Result<(), Error<S::Error>> {
    let Some((user_no, _)) = find(sql, user)? else { return Ok(()) };
    let update = "UPDATE np_sync_devices SET last_seen = max(last_seen, ?3), seq = max(seq, ?4)
        WHERE user_no = ?1 AND device_id = ?2 AND removed_at IS NULL";
    let params = [
        Param::Integer(user_no),
        Param::Text(&touch.device_id),
        Param::Integer(row::signed(touch.last_seen)),
        Param::Integer(row::signed(touch.seq)),
    ];
    sql.exec(update, &params).map_err(Error::Sql)?;
    Ok(())
}
