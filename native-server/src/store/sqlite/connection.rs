//! rusqlite as the SQL that the store is written over.

use nself_sync_sqlite::{Param, Row, Sql, Value};
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Error, Result, ToSql};
use std::path::Path;

/// Pages that a connection keeps in memory, in KiB: what many users' pushes touch again and again.
const CACHE_KIB: i64 = 16 << 10;

/// Pages in the log before they are moved into the file: each is then written there once, however often it changed.
const WAL_PAGES: i64 = 4000;

/// How long another process may hold the data base.
const BUSY_MAX: std::time::Duration = std::time::Duration::from_secs(10);

/// One connection: WAL, durable at every commit.
pub struct Connection(rusqlite::Connection);

impl Connection {
    /// Opens or makes the file.
    pub fn open(path: &Path) -> Result<Connection> {
        let connection = rusqlite::Connection::open(path)?;
        connection.busy_timeout(BUSY_MAX)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
        connection.pragma_update(None, "wal_autocheckpoint", WAL_PAGES)?;
        connection.set_prepared_statement_cache_capacity(128);
        Ok(Connection(connection))
    }

    /// Opens a file that is there, and writes nothing to it.
    pub fn open_to_read(path: &Path) -> Result<Connection> {
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY | rusqlite::OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = rusqlite::Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(BUSY_MAX)?;
        connection.set_prepared_statement_cache_capacity(128);
        Ok(Connection(connection))
    }

    /// Runs one statement without parameters and rows.
    pub fn run(&mut self, sql: &'static str) -> Result<()> {
        self.0.prepare_cached(sql)?.execute([]).map(drop)
    }

    /// Runs several statements, without parameters and rows.
    pub fn run_all(&mut self, sql: &str) -> Result<()> {
        self.0.execute_batch(sql)
    }

    /// Rolls back what is still open: after an error in a transaction.
    pub fn end(&mut self) {
        if !self.0.is_autocommit()
            && let Err(error) = self.0.execute_batch("ROLLBACK")
        {
            tracing::error!(error = error.to_string(), "a transaction stays open");
        }
    }

    /// Another number where a connection other than this one has committed since.
    pub fn data_version(&mut self) -> Result<i64> {
        self.0.query_row("PRAGMA data_version", [], |row| row.get(0))
    }

    /// Moves what the log holds into the file, as far as no reader needs it, and empties the log.
    pub fn checkpoint(&mut self) -> Result<()> {
        self.0.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
    }
}

/// A parameter as rusqlite takes it.
pub struct Bound<'a>(pub Param<'a>);

impl ToSql for Bound<'_> {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self.0 {
            Param::Null => ValueRef::Null,
            Param::Integer(number) => ValueRef::Integer(number),
            Param::Text(text) => ValueRef::Text(text.as_bytes()),
            Param::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

impl Sql for Connection {
    type Error = Error;

    fn exec(&mut self, sql: &'static str, params: &[Param<'_>]) -> Result<Vec<Row>> {
        let mut statement = self.0.prepare_cached(sql)?;
        let columns = statement.column_count();
        let params = rusqlite::params_from_iter(params.iter().map(|param| Bound(*param)));
        statement.query_map(params, |row| read(row, columns))?.collect()
    }
}

/// The values of a row.
pub fn read(row: &rusqlite::Row<'_>, columns: usize) -> Result<Row> {
    let values = (0..columns).map(|column| value(row.get_ref(column)?));
    values.collect::<Result<_>>().map(Row)
}

fn value(value: ValueRef<'_>) -> Result<Value> {
    Ok(match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => Value::Integer(number),
        ValueRef::Real(_) => return Err(Error::InvalidQuery), // the schema has none
        ValueRef::Text(text) => Value::Text(String::from_utf8_lossy(text).into_owned()),
        ValueRef::Blob(bytes) => Value::Blob(bytes.to_vec()),
    })
}
