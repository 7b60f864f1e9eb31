//! The schema: files in lexical order, each in a transaction of its own, noted in a ledger.

use super::connection::{Connection, Connector};
use crate::store::Migrations;
use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

/// In lexical order.
const FILES: &[(&str, &str)] = &[
    ("001_np_sync.sql", include_str!("../../../migrations/001_np_sync.sql")),
    ("002_outbox_quota.sql", include_str!("../../../migrations/002_outbox_quota.sql")),
    ("003_np_sync_transfer.sql", include_str!("../../../migrations/003_np_sync_transfer.sql")),
    ("004_state_bytes.sql", include_str!("../../../migrations/004_state_bytes.sql")),
];

/// The oldest server that is known to do, as `server_version_num`, and as people say it.
const VERSION_MIN: (i32, &str) = (140_000, "14");

const LEDGER: &str = "CREATE TABLE np_sync.schema_migrations (
    filename TEXT PRIMARY KEY,
    checksum TEXT NOT NULL,
    applied_at TIMESTAMPTZ NOT NULL DEFAULT now()
)";

/// Applies what is missing. Processes that start together do so one after the other.
pub(super) async fn migrate(connector: &Connector) -> Result<()> {
    let client = connector.connect_plain().await?;
    check_server(&client).await?;
    client
        .batch_execute(
            "SET statement_timeout TO '10min'; SELECT pg_advisory_lock(hashtext('np_sync.schema_migrations'))",
        )
        .await
        .context("PostgreSQL: the lock on the migrations")?;
    let ran = run(&client).await;
    let ran = match ran {
        Ok(()) => check_role(&client).await,
        Err(error) => Err(error),
    };
    // The lock would end with the connection as well, a little later.
    client.batch_execute("SELECT pg_advisory_unlock(hashtext('np_sync.schema_migrations'))").await.ok();
    ran
}

/// Asks the server how far the schema is.
pub(super) async fn health(connection: &mut Connection) -> Result<Migrations> {
    let expected = FILES.len();
    match connection.ask("SELECT count(*) FROM np_sync.schema_migrations", Vec::new()).await {
        Ok(rows) => {
            let count: i64 = rows.first().context("PostgreSQL: no count")?.try_get(0)?;
            Ok(Migrations { applied: usize::try_from(count)?, expected })
        }
        Err(error) if is_missing(&error) => Ok(Migrations { applied: 0, expected }),
        Err(error) => Err(error).context("PostgreSQL"),
    }
}

fn is_missing(error: &tokio_postgres::Error) -> bool {
    error.code().is_some_and(|code| [SqlState::UNDEFINED_TABLE, SqlState::INVALID_SCHEMA_NAME].contains(code))
}

async fn check_server(client: &Client) -> Result<()> {
    let select = "SELECT current_setting('server_version_num')::int4, current_setting('server_version'),
        current_setting('server_encoding')";
    let row = client.query_one(select, &[]).await.context("PostgreSQL")?;
    let (number, version, encoding): (i32, String, String) =
        (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    if number < VERSION_MIN.0 {
        bail!("PostgreSQL {version} is too old: {} or newer is needed", VERSION_MIN.1);
    }
    if encoding != "UTF8" {
        bail!("the data base's encoding is {encoding}: UTF8 is needed");
    }
    Ok(())
}

/// A role that row security is for would see no row and could write none, unless a policy of its own gives it all of
/// them (plugin/sql/roles.sql): the policies of the migrations are for Hasura's sessions, one user each.
async fn check_role(client: &Client) -> Result<()> {
    let select = "SELECT current_user::text, min(c.relname)::text
        FROM pg_class AS c
        WHERE c.relnamespace = 'np_sync'::regnamespace AND c.relkind IN ('r', 'p') AND row_security_active(c.oid)
            AND NOT EXISTS (
                SELECT FROM pg_policy AS p
                WHERE p.polrelid = c.oid AND p.polpermissive AND p.polcmd = '*'
                    AND EXISTS (SELECT FROM unnest(p.polroles) AS role WHERE role = 0 OR pg_has_role(role, 'USAGE'))
                    AND pg_get_expr(p.polqual, c.oid) = 'true'
                    AND coalesce(pg_get_expr(p.polwithcheck, c.oid), 'true') = 'true'
            )";
    let row = client.query_one(select, &[]).await.context("PostgreSQL: row security")?;
    let (role, hidden): (String, Option<String>) = (row.try_get(0)?, row.try_get(1)?);
    if let Some(table) = hidden {
        bail!(
            "DATABASE_URL: the role {role} neither owns {table} nor has BYPASSRLS or a policy for all of its rows: row security would hide them from it (the plugin's sql/roles.sql makes a role that works)"
        );
    }
    Ok(())
}

async fn run(client: &Client) -> Result<()> {
    // Without rights to make what is there already.
    let there =
        "SELECT to_regnamespace('np_sync') IS NOT NULL, to_regclass('np_sync.schema_migrations') IS NOT NULL";
    let row = client.query_one(there, &[]).await.context("PostgreSQL")?;
    if !row.try_get(0)? {
        client.batch_execute("CREATE SCHEMA np_sync").await.context("PostgreSQL: the schema np_sync")?;
    }
    if !row.try_get(1)? {
        client.batch_execute(LEDGER).await.context("PostgreSQL: the ledger of migrations")?;
    }
    let rows = client.query("SELECT filename, checksum FROM np_sync.schema_migrations", &[]).await;
    let mut applied = BTreeMap::new();
    for row in rows.context("PostgreSQL: the ledger of migrations")? {
        applied.insert(row.try_get::<_, String>(0)?, row.try_get::<_, String>(1)?);
    }
    check_ledger(&applied)?;
    for (name, sql) in FILES.iter().filter(|(name, _)| !applied.contains_key(*name)) {
        apply(client, name, sql).await.with_context(|| format!("migration {name}"))?;
        tracing::info!(migration = name, "applied");
    }
    Ok(())
}

/// What was applied is what this program has, unchanged, and nothing more.
fn check_ledger(applied: &BTreeMap<String, String>) -> Result<()> {
    for (name, noted) in applied {
        let Some((_, sql)) = FILES.iter().find(|(file, _)| file == name) else {
            bail!(
                "the data base is of a newer version: migration {name} is applied, which this program does not know"
            );
        };
        if *noted != checksum(sql) {
            bail!(
                "migration {name} has changed since it was applied: its checksum is not the one in the ledger"
            );
        }
    }
    Ok(())
}

async fn apply(client: &Client, name: &str, sql: &str) -> Result<()> {
    let begin = "BEGIN; SET LOCAL lock_timeout TO '5s'; SET LOCAL statement_timeout TO '60s';
        SET LOCAL search_path TO np_sync";
    let insert = "INSERT INTO np_sync.schema_migrations (filename, checksum) VALUES ($1, $2)";
    let done = async {
        client.batch_execute(begin).await?;
        client.batch_execute(sql).await?;
        client.execute(insert, &[&name, &checksum(sql)]).await?;
        client.batch_execute("COMMIT").await
    };
    let done = done.await;
    if done.is_err() {
        client.batch_execute("ROLLBACK").await.ok();
    }
    Ok(done?)
}

fn checksum(sql: &str) -> String {
    Sha256::digest(sql.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}
