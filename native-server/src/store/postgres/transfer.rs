//! One user's rows out of this store and into it, as `nself_sync_engine::transfer` says.

mod read;
mod sql;

use super::apply::{self, Packs, Write};
use super::connection::{Connection, Lease, Param, Request};
use super::load;
use super::prune;
use super::relay;
use super::row::{self, signed};
use crate::store::Failure;
use anyhow::Result;
use nself_sync_engine::error::Reject;
use nself_sync_engine::ids::{Hash, User};
use nself_sync_engine::slice::{Head, Scope, Slice, Standing};
use nself_sync_engine::transfer::{self, Imported, Place, Progress, Record, StateHash};
use read::rows_after;

/// A read of one point in time.
pub struct Snapshot<'a> {
    lease: Lease<'a>,
}

impl<'a> Snapshot<'a> {
    pub(super) async fn begin(mut lease: Lease<'a>) -> Result<Snapshot<'a>> {
        let begin =
            [Request::plain("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"), Request::plain(sql::SESSION)];
        lease.connection.send(&begin).await?;
        Ok(Snapshot { lease })
    }

    /// See [`crate::store::Snapshot::head`].
    pub async fn head(&mut self, user: &User) -> Result<Option<Head>> {
        head(&mut self.lease.connection, user, sql::HEAD).await
    }

    /// See [`crate::store::Snapshot::rows_after`].
    pub async fn rows_after(&mut self, user: &User, place: &Place) -> Result<Vec<Record>> {
        rows_after(&mut self.lease.connection, user, place).await
    }

    /// See [`crate::store::Snapshot::load`].
    pub async fn load(&mut self, user: &User, scopes: &[&Scope]) -> Result<Vec<Slice>> {
        load::load_all(&mut self.lease.connection, user, scopes).await
    }

    /// See [`crate::store::Snapshot::users`].
    pub async fn users(&mut self, after: Option<&User>, limit: u32) -> Result<Vec<User>> {
        let (account, id) = after.map_or(("", ""), |user| (user.account.as_str(), user.id.as_str()));
        let params: Vec<Param<'_>> = vec![Box::new(account), Box::new(id), Box::new(i64::from(limit))];
        let rows = self.lease.connection.ask(sql::USERS, params).await?;
        rows.iter().map(|row| Ok(User { account: row.try_get(0)?, id: row.try_get(1)? })).collect()
    }

    /// Ends the transaction.
    pub async fn end(mut self) -> Result<()> {
        self.lease.connection.ask("COMMIT", Vec::new()).await?;
        self.lease.keep();
        Ok(())
    }
}

/// Takes in lines of a stream, see [`nself_sync_sqlite::import`], in a transaction of its own.
pub(super) async fn import(
    mut lease: Lease<'_>,
    user: &User,
    first: u64,
    lines: &str,
) -> Result<Imported, Failure> {
    begin(&mut lease).await?;
    let imported = import_lines(&mut lease.connection, user, first, lines).await?;
    commit(lease).await?;
    Ok(imported)
}

async fn import_lines(
    connection: &mut Connection,
    user: &User,
    first: u64,
    lines: &str,
) -> Result<Imported, Failure> {
    let stored = head(connection, user, sql::HEAD_LOCKED).await?;
    let (mut progress, skip) = match first {
        1 => (Progress::default(), 0),
        _ => {
            let rows = connection.ask(sql::PROGRESS, params(user)).await.map_err(anyhow::Error::from)?;
            let text: Option<&str> = match rows.first() {
                Some(row) => row.try_get(0).map_err(anyhow::Error::from)?,
                None => None,
            };
            transfer::resume(text, first)?
        }
    };
    let mut records = Vec::new();
    for line in lines.lines().skip(skip) {
        records.push(progress.read(line)?);
    }
    if let Some(Record::User(whose, head)) = records.first() {
        begin_import(connection, user, stored.as_ref(), whose, head).await?;
    }
    let imported = Imported { lines: progress.lines, is_done: progress.is_done() };
    let end = match records.last() {
        Some(Record::End(_, hash)) => Some(*hash),
        Some(_) => None,
        None => return Ok(imported),
    };
    let (commits, packs) = (transfer::commits(records), Packs::new());
    let writes: Vec<Write<'_>> = commits.iter().map(|commit| Write { user, commit, packs: &packs }).collect();
    let mut requests = apply::writes(&writes);
    let mut noted = params(user);
    noted.push(Box::new(progress.to_text()));
    requests.push(Request::new(sql::NOTE_PROGRESS, noted));
    connection.send(&requests).await.map_err(anyhow::Error::from)?;
    if let Some(hash) = end {
        if state_hash(connection, user).await? != hash {
            return Err(transfer::differs().into());
        }
        connection.ask(prune::COUNT_BYTES, params(user)).await.map_err(anyhow::Error::from)?;
        set_standing(connection, user, Standing::Served).await?;
    }
    Ok(imported)
}

/// Makes the user's head, in place of what may be replaced.
async fn begin_import(
    connection: &mut Connection,
    user: &User,
    stored: Option<&Head>,
    whose: &User,
    head: &Head,
) -> Result<(), Failure> {
    transfer::is_of(user, whose)?;
    let rows = connection.ask(sql::COUNT_DEVICES, params(user)).await.map_err(anyhow::Error::from)?;
    let devices: i64 = match rows.first() {
        Some(row) => row.try_get(0).map_err(anyhow::Error::from)?,
        None => 0,
    };
    transfer::may_import(stored, usize::try_from(devices).unwrap_or(usize::MAX), head)?;
    // Events of the same history may still be on their way; those of another would stand in the way of new ones.
    let is_other = stored.is_some_and(|stored| stored.epoch != head.epoch);
    delete(connection, user, sql::DROP_ROWS).await?;
    delete(connection, user, if is_other { sql::DROP_EVENTS } else { &[] }).await?;
    let mut more = params(user);
    let standing = i16::from(Standing::Importing.code());
    more.extend([Box::new(&head.epoch) as Param<'_>, Box::new(signed(head.seq)), Box::new(&head.tag.0[..])]);
    more.extend([Box::new(signed(head.floor)) as Param<'_>, Box::new(&head.floor_tag.0[..])]);
    more.extend([Box::new(signed(head.conflicts_open)) as Param<'_>, Box::new(standing)]);
    connection.ask(sql::NEW_HEAD, more).await.map_err(anyhow::Error::from)?;
    Ok(())
}

/// See [`nself_sync_sqlite::mark_moved`]. `notice` is what the servers hear with the commit, here and below.
pub(super) async fn mark_moved(lease: Lease<'_>, user: &User, notice: String) -> Result<(), Failure> {
    change_standing(lease, user, transfer::may_export, Standing::Moved, Some(notice)).await
}

/// See [`nself_sync_sqlite::undo_move`].
pub(super) async fn undo_move(lease: Lease<'_>, user: &User) -> Result<(), Failure> {
    change_standing(lease, user, transfer::may_undo_move, Standing::Served, None).await
}

async fn change_standing(
    mut lease: Lease<'_>,
    user: &User,
    may: fn(&Head) -> Result<(), Reject>,
    standing: Standing,
    notice: Option<String>,
) -> Result<(), Failure> {
    begin(&mut lease).await?;
    let stored = head(&mut lease.connection, user, sql::HEAD_LOCKED).await?;
    may(&stored.ok_or(Reject::NotFound("user"))?)?;
    set_standing(&mut lease.connection, user, standing).await?;
    if let Some(notice) = notice {
        announce(&mut lease.connection, notice).await?;
    }
    commit(lease).await
}

/// See [`nself_sync_sqlite::rotate_epoch`].
pub(super) async fn rotate_epoch(
    mut lease: Lease<'_>,
    user: &User,
    epoch: String,
    notice: String,
) -> Result<(), Failure> {
    begin(&mut lease).await?;
    let stored = head(&mut lease.connection, user, sql::HEAD_LOCKED).await?;
    let stored = stored.ok_or(Reject::NotFound("user"))?;
    transfer::may_change_epoch(&stored)?;
    let head = stored.with_epoch(epoch);
    let mut more = params(user);
    more.push(Box::new(head.epoch));
    more.extend([Box::new(&head.tag.0[..]) as Param<'_>, Box::new(&head.floor_tag.0[..])]);
    lease.connection.ask(sql::SET_EPOCH, more).await.map_err(anyhow::Error::from)?;
    announce(&mut lease.connection, notice).await?;
    commit(lease).await
}

/// See [`nself_sync_sqlite::erase`].
pub(super) async fn erase(mut lease: Lease<'_>, user: &User, notice: String) -> Result<bool, Failure> {
    begin(&mut lease).await?;
    let was_there = head(&mut lease.connection, user, sql::HEAD_LOCKED).await?.is_some();
    for statements in [sql::DROP_ROWS, sql::DROP_EVENTS] {
        delete(&mut lease.connection, user, statements).await?;
    }
    announce(&mut lease.connection, notice).await?;
    commit(lease).await?;
    Ok(was_there)
}

async fn delete(connection: &mut Connection, user: &User, statements: &[&'static str]) -> Result<()> {
    let requests: Vec<Request<'_>> =
        statements.iter().map(|delete| Request::new(delete, params(user))).collect();
    connection.send(&requests).await?;
    Ok(())
}

async fn announce(connection: &mut Connection, notice: String) -> Result<()> {
    connection.ask(relay::ANNOUNCE, vec![Box::new(notice)]).await?;
    Ok(())
}

async fn begin(lease: &mut Lease<'_>) -> Result<()> {
    lease.connection.ask("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE", Vec::new()).await?;
    Ok(())
}

/// A lease that is dropped before takes its transaction with it.
async fn commit(mut lease: Lease<'_>) -> Result<(), Failure> {
    lease.connection.ask("COMMIT", Vec::new()).await.map_err(anyhow::Error::from)?;
    lease.keep();
    Ok(())
}

fn params(user: &User) -> Vec<Param<'_>> {
    vec![Box::new(&user.account), Box::new(&user.id)]
}

async fn head(connection: &mut Connection, user: &User, sql: &'static str) -> Result<Option<Head>> {
    let rows = connection.ask(sql, params(user)).await?;
    Ok(rows.first().map(|row| row::head(row, 0)).transpose()?)
}

async fn set_standing(connection: &mut Connection, user: &User, standing: Standing) -> Result<()> {
    let mut more = params(user);
    more.push(Box::new(i16::from(standing.code())));
    connection.ask(sql::SET_STANDING, more).await?;
    Ok(())
}

async fn state_hash(connection: &mut Connection, user: &User) -> Result<Hash, Failure> {
    let head = head(connection, user, sql::HEAD).await?.ok_or(Reject::NotFound("user"))?;
    let mut hash = StateHash::begin(user, &head);
    loop {
        let records = rows_after(connection, user, &hash.place()).await?;
        if records.is_empty() {
            return Ok(hash.get());
        }
        records.iter().for_each(|record| hash.add(record));
    }
}
