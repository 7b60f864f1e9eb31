//! Events that wait to be delivered. Servers on one data base share the users: who takes a user's turn moves its due time
//! beyond the turn's end, in one statement that skips what another takes at that moment, so that no transaction stays open
//! while a webhook hangs; a server that dies leaves its turns to others when that time has come.

use super::connection::{Connection, Param, Pool, Request};
use super::row::{self, Time, signed};
use crate::store::{Claim, Levels, Whose};
use anyhow::{Context, Result, anyhow};
use nself_sync_engine::ids::{Seq, User};
use nself_sync_engine::outbox::{Backlog, Dead, End, Failures, Place, Recorded, TURN_MAX, Turn};
use std::time::Duration;
use tokio_postgres::Row;

/// Not waited for on the disk, where pushes wait for theirs: should PostgreSQL crash and forget it, an event is sent again, under
/// its key.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE";
const UNHURRIED: &str = "SET LOCAL synchronous_commit = off";

/// For how long a turn is one process's: more than the longest turn.
const LEASE_MS: i64 = 60_000;

/// Takes the turns that are due, at most $1, for $2 ms; each with its oldest $3 events.
const CLAIM: &str = "WITH due AS (
        SELECT source_account_id, user_id FROM np_sync_deliveries WHERE due_at <= now()
        ORDER BY due_at LIMIT $1 FOR UPDATE SKIP LOCKED),
    claimed AS (
        UPDATE np_sync_deliveries AS d SET due_at = now() + $2::int8 * interval '1 millisecond' FROM due
        WHERE d.source_account_id = due.source_account_id AND d.user_id = due.user_id
        RETURNING d.source_account_id, d.user_id, d.seq, d.failures, d.failed_at)
    SELECT c.source_account_id, c.user_id, c.seq, c.failures, c.failed_at,
        o.seq, o.no, o.id, o.event_type, o.payload::text, o.recorded_at
    FROM claimed AS c LEFT JOIN LATERAL (
        SELECT * FROM np_sync_outbox AS o
        WHERE o.source_account_id = c.source_account_id AND o.user_id = c.user_id
        ORDER BY o.seq, o.no LIMIT $3) AS o ON true
    ORDER BY c.source_account_id, c.user_id, o.seq, o.no";

/// The milliseconds until the next turn is due.
const NEXT: &str = "SELECT ceil(extract(epoch FROM due_at - now()) * 1000)::int8 FROM np_sync_deliveries
    ORDER BY due_at LIMIT 1";

const BURY: &str = "WITH gone AS (DELETE FROM np_sync_outbox AS o
        USING (SELECT unnest($3::int8[]) AS seq, unnest($4::int4[]) AS no, unnest($5::text[]) AS id) AS u
        WHERE o.source_account_id = $1 AND o.user_id = $2 AND o.seq = u.seq AND o.no = u.no AND o.id = u.id
        RETURNING o.*),
    buried AS (INSERT INTO np_sync_dead_letters SELECT gone.*, now() FROM gone ON CONFLICT DO NOTHING)
    SELECT count(*) FROM gone";

const BURY_STALE: &str = "WITH gone AS (DELETE FROM np_sync_outbox AS o
        WHERE o.source_account_id = $1 AND o.user_id = $2 AND o.recorded_at <= $3 RETURNING o.*),
    buried AS (INSERT INTO np_sync_dead_letters SELECT gone.*, now() FROM gone ON CONFLICT DO NOTHING)
    SELECT count(*) FROM gone";

const DONE: &str = "DELETE FROM np_sync_outbox AS o
    USING (SELECT unnest($3::int8[]) AS seq, unnest($4::int4[]) AS no, unnest($5::text[]) AS id) AS u
    WHERE o.source_account_id = $1 AND o.user_id = $2 AND o.seq = u.seq AND o.no = u.no AND o.id = u.id";

/// $3 is the seq of the row when the turn was taken. A push that records more while this runs holds the row, and has
/// changed its seq once this has waited for it: what it records this cannot see.
const NONE_LEFT: &str = "DELETE FROM np_sync_deliveries AS d
    WHERE d.source_account_id = $1 AND d.user_id = $2 AND d.seq = $3 AND NOT EXISTS (
        SELECT 1 FROM np_sync_outbox AS o WHERE o.source_account_id = $1 AND o.user_id = $2)";

const WAIT: &str = "UPDATE np_sync_deliveries
    SET due_at = now() + $3::int8 * interval '1 millisecond', failures = $4, failed_at = $5
    WHERE source_account_id = $1 AND user_id = $2";

const DEAD: &str = "SELECT source_account_id, user_id, count(*), min(recorded_at), max(dead_at)
    FROM np_sync_dead_letters WHERE (source_account_id, user_id) > ($1, $2)
    GROUP BY source_account_id, user_id ORDER BY source_account_id, user_id LIMIT $3";

/// The seq of a row that waits already becomes one that no push has (2^53 and more), so that a turn that is under way does not
/// take it for done with (see [`NONE_LEFT`]). When it is due stays: it may be somebody's turn.
const REQUEUE: &str = "WITH gone AS (
        DELETE FROM np_sync_dead_letters WHERE source_account_id = $1 AND user_id = $2 RETURNING *),
    back AS (
        INSERT INTO np_sync_outbox (source_account_id, user_id, seq, no, id, event_type, payload, recorded_at)
        SELECT source_account_id, user_id, seq, no, id, event_type, payload, now() FROM gone ON CONFLICT DO NOTHING),
    due AS (
        INSERT INTO np_sync_deliveries AS d (source_account_id, user_id, due_at, seq, failures)
        SELECT DISTINCT source_account_id, user_id, now(), 9007199254740992, 0 FROM gone
        ON CONFLICT (source_account_id, user_id) DO UPDATE SET seq = greatest(excluded.seq, d.seq + 1))
    SELECT count(*) FROM gone";

const LEVELS: &str = "SELECT (SELECT count(*) FROM np_sync_conflicts WHERE resolved_at IS NULL),
    count(*), min(recorded_at), (SELECT count(*) FROM np_sync_dead_letters) FROM np_sync_outbox";

/// Takes turns that are due, at most so many. Says as well how long it is until the next is.
pub(super) async fn claim(pool: &Pool, limit: usize) -> Result<(Vec<Claim>, Option<Duration>)> {
    let mut lease = pool.get().await?;
    let limit = i64::try_from(limit)?;
    let claim: Vec<Param<'_>> = vec![Box::new(limit), Box::new(LEASE_MS), Box::new(i64::try_from(TURN_MAX)?)];
    let requests = [
        Request::plain(BEGIN),
        Request::plain(UNHURRIED),
        Request::new(CLAIM, claim),
        Request::plain(NEXT),
        Request::plain("COMMIT"),
    ];
    let rows = lease.connection.send(&requests).await.context("PostgreSQL: the outbox")?;
    drop(requests);
    lease.keep();
    let [_, _, claimed, next, _] = &rows[..] else {
        return Err(anyhow!("the outbox: {} answers", rows.len()));
    };
    let next: Option<i64> = next.first().map(|row| row.try_get(0)).transpose()?;
    let next = next.map(|ms| Duration::from_millis(u64::try_from(ms).unwrap_or(0)));
    Ok((claims(claimed).map_err(row::broken)?, next))
}

/// The rows of a user follow one another.
fn claims(rows: &[Row]) -> Result<Vec<Claim>, row::Damage> {
    let mut claims = Vec::new();
    let same = |a: &Row, b: &Row| matches!((user(a), user(b)), (Ok(a), Ok(b)) if a == b);
    for rows in rows.chunk_by(same) {
        let Some(first) = rows.first() else { continue };
        let count = u32::try_from(row::number(first, 3)?).unwrap_or(u32::MAX);
        let failures = Failures { count, since: row::maybe_time(first, 4)? };
        let whose = Whose::User { user: user(first)?, seq: row::number(first, 2)? };
        let mut events = Vec::new();
        for row in rows {
            events.extend(event(row)?);
        }
        claims.push(Claim { whose, turn: Turn::new(events, failures) });
    }
    Ok(claims)
}

fn user(row: &Row) -> Result<User, row::Damage> {
    Ok(User { account: row::text(row, 0)?, id: row::text(row, 1)? })
}

/// None where the user has none.
fn event(row: &Row) -> Result<Option<Recorded>, row::Damage> {
    let Some(seq) = row::maybe_number(row, 5)? else { return Ok(None) };
    let no: i32 = row.try_get(6)?;
    Ok(Some(Recorded {
        place: Place { seq, no: u32::try_from(no).unwrap_or(0) },
        id: row::text(row, 7)?,
        event_type: row::text(row, 8)?,
        payload: row::text(row, 9)?,
        recorded_at: row::time(row, 10)?,
    }))
}

/// Stores what turns came to, all in one transaction. Says how many events were set aside.
pub(super) async fn settle(pool: &Pool, mut ends: Vec<(User, Seq, End)>) -> Result<u64> {
    // In the order in which pushes lock the same rows.
    ends.sort_by(|a, b| a.0.cmp(&b.0));
    let mut lease = pool.get().await?;
    let mut requests = vec![Request::plain(BEGIN), Request::plain(UNHURRIED)];
    let mut counts = Vec::new();
    for (user, seq, end) in &ends {
        let mut add = |sql: &'static str, more: Vec<Param<'static>>| {
            let mut params: Vec<Param<'_>> = vec![Box::new(&user.account), Box::new(&user.id)];
            params.extend(more);
            requests.push(Request::new(sql, params));
            requests.len() - 1
        };
        if !end.dead.is_empty() {
            counts.push(add(BURY, named(&end.dead)));
        }
        if !end.done.is_empty() {
            add(DONE, named(&end.done));
        }
        if let Some(stale) = end.stale {
            counts.push(add(BURY_STALE, vec![Box::new(Time(stale))]));
        }
        add(NONE_LEFT, vec![Box::new(signed(*seq))]);
        let Failures { count, since } = end.failures;
        let wait_ms = i64::try_from(end.wait_ms)?;
        add(WAIT, vec![Box::new(wait_ms), Box::new(i64::from(count)), Box::new(since.map(Time))]);
    }
    requests.push(Request::plain("COMMIT"));
    let rows = lease.connection.send(&requests).await.context("PostgreSQL: the outbox")?;
    drop(requests);
    lease.keep();
    let mut dead = 0;
    for row in counts.into_iter().filter_map(|at| rows.get(at)?.first()) {
        dead += row::number(row, 0).map_err(row::broken)?;
    }
    Ok(dead)
}

/// Whose events were set aside, after one by account and id, at most `limit` users.
pub(super) async fn dead(pool: &Pool, after: Option<&User>, limit: u32) -> Result<Vec<Dead>> {
    let mut lease = pool.get().await?;
    let (account, id) = after.map_or(("", ""), |user| (user.account.as_str(), user.id.as_str()));
    let params: Vec<Param<'_>> = vec![Box::new(account), Box::new(id), Box::new(i64::from(limit))];
    let rows = lease.connection.ask(DEAD, params).await.context("PostgreSQL: dead letters")?;
    lease.keep();
    let read = |row: &Row| -> Result<Dead, row::Damage> {
        let (events, oldest_at, newest_dead_at) =
            (row::number(row, 2)?, row::time(row, 3)?, row::time(row, 4)?);
        Ok(Dead { user: user(row)?, events, oldest_at, newest_dead_at })
    };
    rows.iter().map(read).collect::<Result<_, _>>().map_err(row::broken)
}

/// See [`nself_sync_sqlite::outbox::requeue`].
pub(super) async fn requeue(pool: &Pool, user: &User) -> Result<u64> {
    let mut lease = pool.get().await?;
    let params: Vec<Param<'_>> = vec![Box::new(&user.account), Box::new(&user.id)];
    let rows = lease.connection.ask(REQUEUE, params).await.context("PostgreSQL: dead letters")?;
    lease.keep();
    row::number(rows.first().context("no count")?, 0).map_err(row::broken)
}

/// Their seqs, numbers and ids.
fn named(events: &[(Place, String)]) -> Vec<Param<'static>> {
    let seqs: Vec<i64> = events.iter().map(|(place, _)| signed(place.seq)).collect();
    let nos: Vec<i32> = events.iter().map(|(place, _)| i32::try_from(place.no).unwrap_or(i32::MAX)).collect();
    let ids: Vec<String> = events.iter().map(|(_, id)| id.clone()).collect();
    vec![Box::new(seqs), Box::new(nos), Box::new(ids)]
}

/// What waits, of all users.
pub(super) async fn levels(connection: &mut Connection) -> Result<Levels> {
    let rows = connection.ask(LEVELS, Vec::new()).await.context("PostgreSQL")?;
    let row = rows.first().context("no count")?;
    let read = || {
        let (conflicts_open, depth, dead) =
            (row::number(row, 0)?, row::number(row, 1)?, row::number(row, 3)?);
        let backlog = Backlog { depth, oldest_at: row::maybe_time(row, 2)?, dead };
        Ok(Levels { conflicts_open, backlog })
    };
    read().map_err(row::broken)
}
