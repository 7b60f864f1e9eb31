//! How much there is in the data base.

use super::connection::Lease;
use super::row::{self, Time};
use crate::store::Status;
use anyhow::{Context, Result};

/// Tables are counted from end to end.
const SESSION: &str =
    "SELECT set_config('enable_seqscan', 'on', true), set_config('statement_timeout', '10min', true)";

const USERS: &str =
    "SELECT count(*), count(*) FILTER (WHERE standing = 2), count(*) FILTER (WHERE standing = 1),
    coalesce(sum(conflicts_open), 0)::int8 FROM np_sync_heads";

const DEVICES: &str = "SELECT count(*) FROM np_sync_devices WHERE removed_at IS NULL";

const BYTES: &str = "SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::int8 FROM pg_class AS c
    WHERE c.relnamespace = 'np_sync'::regnamespace AND c.relkind IN ('r', 'p')";

/// The first of each user is the oldest.
const OLDEST: &str = "SELECT min((SELECT d.created_at FROM np_sync_deltas AS d
        WHERE d.source_account_id = h.source_account_id AND d.user_id = h.user_id
        ORDER BY d.source_account_id, d.user_id, d.seq LIMIT 1))
    FROM np_sync_heads AS h";

const EVENTS: &str = "SELECT count(*), (SELECT count(*) FROM np_sync_dead_letters) FROM np_sync_outbox";

pub(super) async fn status(mut lease: Lease<'_>) -> Result<Status> {
    let connection = &mut lease.connection;
    let mut status = Status::default();
    connection.ask("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", Vec::new()).await?;
    connection.ask(SESSION, Vec::new()).await?;
    for row in connection.ask(USERS, Vec::new()).await? {
        (status.users, status.moved) = (row::number(&row, 0)?, row::number(&row, 1)?);
        (status.importing, status.conflicts_open) = (row::number(&row, 2)?, row::number(&row, 3)?);
    }
    for (sql, count) in [(DEVICES, &mut status.devices), (BYTES, &mut status.bytes)] {
        let rows = connection.ask(sql, Vec::new()).await?;
        *count = row::number(rows.first().context("a count without a row")?, 0)?;
    }
    for row in connection.ask(OLDEST, Vec::new()).await? {
        status.oldest_delta = row.try_get::<_, Option<Time>>(0)?.map(|time| time.0);
    }
    for row in connection.ask(EVENTS, Vec::new()).await? {
        (status.events, status.dead_letters) = (row::number(&row, 0)?, row::number(&row, 1)?);
    }
    connection.ask("COMMIT", Vec::new()).await?;
    lease.keep();
    Ok(status)
}
