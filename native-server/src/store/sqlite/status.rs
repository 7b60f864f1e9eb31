//! How much there is in the data base.

use super::connection::Connection;
use crate::store::Status;
use anyhow::{Result, anyhow};
use nself_sync_sqlite::{Row, Sql};

const USERS: &str = "SELECT count(*), coalesce(sum(standing = 2), 0), coalesce(sum(standing = 1), 0),
    coalesce(sum(conflicts_open), 0) FROM np_sync_heads";

const DEVICES: &str = "SELECT count(*) FROM np_sync_devices WHERE removed_at IS NULL";

const BYTES: &str = "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()";

/// The first of each user is the oldest; -1: there is none.
const OLDEST: &str = "SELECT coalesce(min((SELECT d.created_at FROM np_sync_deltas AS d
    WHERE d.user_no = h.user_no ORDER BY d.seq LIMIT 1)), -1) FROM np_sync_heads AS h";

const EVENTS: &str = "SELECT count(*), (SELECT count(*) FROM np_sync_dead_letters) FROM np_sync_outbox";

pub(super) fn status(connection: &mut Connection) -> Result<Status> {
    let users = one(connection, USERS)?;
    let events = one(connection, EVENTS)?;
    Ok(Status {
        users: number(&users, 0)?,
        moved: number(&users, 1)?,
        importing: number(&users, 2)?,
        devices: number(&one(connection, DEVICES)?, 0)?,
        conflicts_open: number(&users, 3)?,
        bytes: number(&one(connection, BYTES)?, 0)?,
        oldest_delta: number(&one(connection, OLDEST)?, 0).ok(),
        events: number(&events, 0)?,
        dead_letters: number(&events, 1)?,
    })
}

fn one(connection: &mut Connection, sql: &'static str) -> Result<Row> {
    connection.exec(sql, &[])?.into_iter().next().ok_or_else(|| anyhow!("a count without a row"))
}

/// Not negative.
fn number(row: &Row, column: usize) -> Result<u64> {
    let number = row.integer(column).map_err(|damage| anyhow!("{}", damage.0))?;
    Ok(u64::try_from(number)?)
}
