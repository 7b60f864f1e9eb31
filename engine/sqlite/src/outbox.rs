//! Events that wait to be delivered, and how that stands. In the host's transaction, as all else.

use crate::row::signed;
use crate::{Error, Param, Row, Sql, find};
use nself_sync_engine::ids::{Millis, User};
use nself_sync_engine::outbox::{Backlog, Dead, End, Failures, Place, Recorded, TURN_MAX, Turn};

/// Somebody whose events wait.
#[derive(Debug, Clone, Copy)]
pub struct Waiting {
    /// Whose.
    pub user_no: i64,
    /// When the next turn is due.
    pub due_at: Millis,
    /// How the target did so far.
    pub failures: Failures,
}

/// Who waits, the earliest due first, at most `limit`.
pub fn waiting<S: Sql>(sql: &mut S, limit: usize) -> Result<Vec<Waiting>, Error<S::Error>> {
    let select =
        "SELECT user_no, due_at, failures, failed_at FROM np_sync_deliveries ORDER BY due_at LIMIT ?1";
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = sql.exec(select, &[Param::Integer(limit)]).map_err(Error::Sql)?;
    let waiting = rows.iter().map(|row| {
        let count = u32::try_from(row.number(2)?).unwrap_or(u32::MAX);
        let failures = Failures { count, since: row.maybe_number(3)? };
        Ok(Waiting { user_no: row.integer(0)?, due_at: row.number(1)?, failures })
    });
    waiting.collect()
}

/// The turn of one who waits.
pub fn turn<S: Sql>(sql: &mut S, whose: &Waiting) -> Result<Turn, Error<S::Error>> {
    Ok(Turn::new(oldest(sql, whose.user_no)?, whose.failures))
}

fn oldest<S: Sql>(sql: &mut S, user_no: i64) -> Result<Vec<Recorded>, Error<S::Error>> {
    let select = "SELECT seq, no, id, event_type, payload, recorded_at FROM np_sync_outbox WHERE user_no = ?1
        ORDER BY seq, no LIMIT ?2";
    let params = [Param::Integer(user_no), Param::Integer(TURN_MAX as i64)];
    let mut events = Vec::new();
    for row in sql.exec(select, &params).map_err(Error::Sql)? {
        let no = u32::try_from(row.number(1)?).unwrap_or(u32::MAX);
        events.push(Recorded {
            place: Place { seq: row.number(0)?, no },
            id: row.text(2)?,
            event_type: row.text(3)?,
            payload: row.text(4)?,
            recorded_at: row.number(5)?,
        });
    }
    Ok(events)
}

/// Stores what a turn came to. Says how many events were set aside.
pub fn settle<S: Sql>(sql: &mut S, user_no: i64, end: &End, now: Millis) -> Result<u64, Error<S::Error>> {
    let user = Param::Integer(user_no);
    let mut dead = 0;
    for (place, id) in &end.dead {
        let copy = "INSERT OR IGNORE INTO np_sync_dead_letters
            (user_no, seq, no, id, event_type, payload, recorded_at, dead_at)
            SELECT user_no, seq, no, id, event_type, payload, recorded_at, ?4 FROM np_sync_outbox
            WHERE user_no = ?1 AND seq = ?2 AND no = ?3 AND id = ?5 RETURNING 1";
        let params = [user, number(place.seq), Param::Integer(place.no.into()), number(now), Param::Text(id)];
        dead += sql.exec(copy, &params).map_err(Error::Sql)?.len();
    }
    for (place, id) in &end.done {
        let delete = "DELETE FROM np_sync_outbox WHERE user_no = ?1 AND seq = ?2 AND no = ?3 AND id = ?4";
        let params = [user, number(place.seq), Param::Integer(place.no.into()), Param::Text(id)];
        sql.exec(delete, &params).map_err(Error::Sql)?;
    }
    if let Some(stale) = end.stale {
        let copy = "INSERT OR IGNORE INTO np_sync_dead_letters
            (user_no, seq, no, id, event_type, payload, recorded_at, dead_at)
            SELECT user_no, seq, no, id, event_type, payload, recorded_at, ?3 FROM np_sync_outbox
            WHERE user_no = ?1 AND recorded_at <= ?2 RETURNING 1";
        dead += sql.exec(copy, &[user, number(stale), number(now)]).map_err(Error::Sql)?.len();
        let delete = "DELETE FROM np_sync_outbox WHERE user_no = ?1 AND recorded_at <= ?2";
        sql.exec(delete, &[user, number(stale)]).map_err(Error::Sql)?;
    }
    let Failures { count, since } = end.failures;
    let update =
        "UPDATE np_sync_deliveries SET due_at = ?2, failures = ?3, failed_at = ?4 WHERE user_no = ?1";
    let params = [
        user,
        number(now.saturating_add(end.wait_ms)),
        Param::Integer(count.into()),
        since.map_or(Param::Null, number),
    ];
    sql.exec(update, &params).map_err(Error::Sql)?;
    let none_left = "DELETE FROM np_sync_deliveries WHERE user_no = ?1
        AND NOT EXISTS (SELECT 1 FROM np_sync_outbox WHERE user_no = ?1)";
    sql.exec(none_left, &[user]).map_err(Error::Sql)?;
    Ok(dead as u64)
}

/// Whose events were set aside, after one by account and id, at most `limit` users.
pub fn dead<S: Sql>(sql: &mut S, after: Option<&User>, limit: u32) -> Result<Vec<Dead>, Error<S::Error>> {
    let select = "SELECT h.source_account_id, h.user_id, count(*), min(d.recorded_at), max(d.dead_at)
        FROM np_sync_dead_letters AS d JOIN np_sync_heads AS h ON h.user_no = d.user_no
        WHERE (h.source_account_id, h.user_id) > (?1, ?2)
        GROUP BY h.source_account_id, h.user_id ORDER BY h.source_account_id, h.user_id LIMIT ?3";
    let (account, id) = after.map_or(("", ""), |user| (user.account.as_str(), user.id.as_str()));
    let params = [Param::Text(account), Param::Text(id), Param::Integer(limit.into())];
    let read = |row: &Row| {
        let user = User { account: row.text(0)?, id: row.text(1)? };
        Ok(Dead { user, events: row.number(2)?, oldest_at: row.number(3)?, newest_dead_at: row.number(4)? })
    };
    sql.exec(select, &params).map_err(Error::Sql)?.iter().map(read).collect()
}

/// Puts what was set aside of a user back among what waits, as if it were recorded now. Says how many events.
pub fn requeue<S: Sql>(sql: &mut S, user: &User, now: Millis) -> Result<u64, Error<S::Error>> {
    let Some((user_no, _)) = find(sql, user)? else { return Ok(0) };
    let (user, now) = (Param::Integer(user_no), number(now));
    let copy = "INSERT OR IGNORE INTO np_sync_outbox (user_no, seq, no, id, event_type, payload, recorded_at)
        SELECT user_no, seq, no, id, event_type, payload, ?2 FROM np_sync_dead_letters WHERE user_no = ?1";
    sql.exec(copy, &[user, now]).map_err(Error::Sql)?;
    let delete = "DELETE FROM np_sync_dead_letters WHERE user_no = ?1 RETURNING 1";
    let count = sql.exec(delete, &[user]).map_err(Error::Sql)?.len();
    if count > 0 {
        let insert =
            "INSERT OR IGNORE INTO np_sync_deliveries (user_no, due_at, failures) VALUES (?1, ?2, 0)";
        sql.exec(insert, &[user, now]).map_err(Error::Sql)?;
    }
    Ok(count as u64)
}

/// What waits, of all users.
pub fn backlog<S: Sql>(sql: &mut S) -> Result<Backlog, Error<S::Error>> {
    let select = "SELECT count(*), min(recorded_at), (SELECT count(*) FROM np_sync_dead_letters)
        FROM np_sync_outbox";
    let rows = sql.exec(select, &[]).map_err(Error::Sql)?;
    let Some(row) = rows.first() else { return Ok(Backlog::default()) };
    Ok(Backlog { depth: row.number(0)?, oldest_at: row.maybe_number(1)?, dead: row.number(2)? })
}

fn number(number: u64) -> Param<'static> {
    Param::Integer(signed(number))
}
