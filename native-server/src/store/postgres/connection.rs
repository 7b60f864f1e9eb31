//! Connections: made on demand, their statements prepared once, requests sent without waiting in between.

use crate::log;
use anyhow::{Context, Result, bail};
use futures_util::future::try_join_all;
use std::borrow::Cow;
use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{AsyncMessage, Client, Config, Error, Row, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;

/// The session of every connection. All access is by primary key from a list of keys, so one plan is right whatever the
/// tables' size, and planning anew, or scanning a table that was small when the plan was made, is never wanted.
const SESSION: &str = "SET search_path TO np_sync;
    SET plan_cache_mode TO force_generic_plan;
    SET enable_seqscan TO off;
    SET enable_bitmapscan TO off;
    SET enable_hashjoin TO off;
    SET enable_mergejoin TO off;
    SET enable_material TO off;
    SET enable_memoize TO off;
    SET jit TO off;
    SET statement_timeout TO '30s';
    SET idle_in_transaction_session_timeout TO '30s';
    SET tcp_keepalives_idle TO 15;
    SET tcp_keepalives_interval TO 5;
    SET tcp_keepalives_count TO 3";

/// How long after a failed connect nobody tries again, at first and at most.
const BACK_OFF: Duration = Duration::from_millis(50);
const BACK_OFF_MAX: Duration = Duration::from_millis(500);

/// Connections for reads, pruning and health that are open at once; who finds none waits.
const POOL_MAX: usize = 6;

/// A statement and its parameters.
pub(super) struct Request<'a> {
    /// Where two requests have the same text, they share the prepared statement.
    sql: Cow<'static, str>,
    params: Vec<Param<'a>>,
}

/// A parameter.
pub(super) type Param<'a> = Box<dyn ToSql + Sync + Send + 'a>;

impl<'a> Request<'a> {
    pub(super) fn new(sql: &'static str, params: Vec<Param<'a>>) -> Request<'a> {
        Request { sql: Cow::Borrowed(sql), params }
    }

    /// A statement without parameters.
    pub(super) fn plain(sql: &'static str) -> Request<'static> {
        Request::new(sql, Vec::new())
    }

    #[cfg(test)]
    pub(super) fn sql(&self) -> &str {
        &self.sql
    }

    #[cfg(test)]
    pub(super) fn params(&self) -> usize {
        self.params.len()
    }

    /// Several inserts in one statement: each statement costs the server about as much as several rows do. They see the
    /// same snapshot and run in no particular order, so that none may concern another's rows.
    pub(super) fn together(inserts: Vec<Request<'a>>) -> Option<Request<'a>> {
        if inserts.len() < 2 {
            return inserts.into_iter().next();
        }
        let (mut sql, mut params) = (String::new(), Vec::new());
        for (n, insert) in inserts.into_iter().enumerate() {
            sql.push_str(&format!("{} w{n} AS (", if n == 0 { "WITH" } else { "," }));
            renumber(&insert.sql, params.len(), &mut sql);
            sql.push(')');
            params.extend(insert.params);
        }
        sql.push_str(" SELECT 1");
        Some(Request { sql: Cow::Owned(sql), params })
    }
}

/// Appends `sql` with every `$n` moved up by `by`.
fn renumber(sql: &str, by: usize, out: &mut String) {
    let mut pieces = sql.split('$');
    out.push_str(pieces.next().unwrap_or_default());
    for piece in pieces {
        let digits = piece.find(|c: char| !c.is_ascii_digit()).unwrap_or(piece.len());
        let (number, rest) = piece.split_at(digits);
        out.push_str(&format!("${}{rest}", number.parse::<usize>().unwrap_or_default() + by));
    }
}

/// A connection and its prepared statements.
pub(super) struct Connection {
    client: Client,
    statements: HashMap<Cow<'static, str>, Statement>,
}

impl Connection {
    /// Sends all requests at once, in this order, and returns their rows. After the first error nothing later counts.
    pub(super) async fn send(&mut self, requests: &[Request<'_>]) -> Result<Vec<Vec<Row>>, Error> {
        self.prepare(requests).await?;
        let (client, statements) = (&self.client, &self.statements);
        try_join_all(requests.iter().map(|request| async move {
            let params: Vec<&(dyn ToSql + Sync)> =
                request.params.iter().map(|param| &**param as &(dyn ToSql + Sync)).collect();
            match statements.get(&request.sql) {
                Some(statement) => client.query(statement, &params).await,
                None => client.query(&*request.sql, &params).await,
            }
        }))
        .await
    }

    /// One request.
    pub(super) async fn ask(&mut self, sql: &'static str, params: Vec<Param<'_>>) -> Result<Vec<Row>, Error> {
        let rows = self.send(&[Request::new(sql, params)]).await?;
        Ok(rows.into_iter().next().unwrap_or_default())
    }

    /// Ends a transaction that failed; whether the connection is good for another.
    pub(super) async fn roll_back(&mut self) -> bool {
        !self.client.is_closed() && self.ask("ROLLBACK", Vec::new()).await.is_ok()
    }

    /// Whether the server has ended it, as far as is known.
    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    async fn prepare(&mut self, requests: &[Request<'_>]) -> Result<(), Error> {
        let missing =
            requests.iter().map(|request| &request.sql).filter(|sql| !self.statements.contains_key(*sql));
        let missing: Vec<Cow<'static, str>> = missing.cloned().collect();
        if missing.is_empty() {
            return Ok(());
        }
        let prepared = try_join_all(missing.iter().map(|sql| self.client.prepare(sql))).await?;
        self.statements.extend(missing.into_iter().zip(prepared));
        Ok(())
    }
}

/// Makes connections.
pub(super) struct Connector {
    config: Config,
    tls: MakeRustlsConnect,
    gate: Mutex<Gate>,
}

/// After a failure: until when nobody tries, how long that is, and why.
#[derive(Default, Clone)]
struct Gate {
    until: Option<Instant>,
    pause: Duration,
    error: String,
}

impl Connector {
    pub(super) fn new(config: Config, tls: MakeRustlsConnect) -> Connector {
        Connector { config, tls, gate: Mutex::default() }
    }

    /// A new connection. Right after one could not be made this fails at once, for the same reason: who waits in a
    /// queue learns it soon, and a server that comes back is not met by everybody at once.
    pub(super) async fn connect(&self) -> Result<Connection> {
        let gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if gate.until.is_some_and(|until| Instant::now() < until) {
            bail!("{}", gate.error);
        }
        let connected = self.connect_now().await;
        let mut gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        *gate = match &connected {
            Ok(_) => Gate::default(),
            Err(error) => {
                let pause = (gate.pause * 2).clamp(BACK_OFF, BACK_OFF_MAX);
                Gate { until: Some(Instant::now() + pause), pause, error: log::causes(error) }
            }
        };
        connected
    }

    /// A bare connection; each notification that comes is `heard`. The task ends with the connection.
    pub(super) async fn connect_listening(
        &self,
        heard: impl Fn(&str) + Send + 'static,
    ) -> Result<(Client, JoinHandle<()>)> {
        let (client, mut connection) = self.config.connect(self.tls.clone()).await.context("PostgreSQL")?;
        let driver = tokio::spawn(async move {
            while let Some(Ok(message)) = poll_fn(|cx| connection.poll_message(cx)).await {
                if let AsyncMessage::Notification(notification) = message {
                    heard(notification.payload());
                }
            }
        });
        Ok((client, driver))
    }

    /// A bare connection, with the server's own settings.
    pub(super) async fn connect_plain(&self) -> Result<Client> {
        let (client, connection) = self.config.connect(self.tls.clone()).await.context("PostgreSQL")?;
        // Ends with the client, or with the server: who has the client notices.
        tokio::spawn(connection);
        Ok(client)
    }

    async fn connect_now(&self) -> Result<Connection> {
        let client = self.connect_plain().await?;
        client.batch_execute(SESSION).await.context("PostgreSQL: the session")?;
        Ok(Connection { client, statements: HashMap::new() })
    }
}

/// A few connections that are kept.
pub(super) struct Pool {
    connector: Arc<Connector>,
    idle: Mutex<Vec<Connection>>,
    permits: Semaphore,
}

/// A connection taken from the pool. Dropped, it is closed: whoever is done in order gives it back by [`Lease::keep`].
pub(super) struct Lease<'a> {
    pub(super) connection: Connection,
    pool: &'a Pool,
    _permit: SemaphorePermit<'a>,
}

impl Pool {
    pub(super) fn new(connector: Arc<Connector>) -> Pool {
        Pool { connector, idle: Mutex::default(), permits: Semaphore::new(POOL_MAX) }
    }

    pub(super) async fn get(&self) -> Result<Lease<'_>> {
        let permit = self.permits.acquire().await.context("the store is closed")?;
        let idle = {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            idle.retain(|connection| !connection.is_closed());
            idle.pop()
        };
        let connection = match idle {
            Some(connection) => connection,
            None => self.connector.connect().await?,
        };
        Ok(Lease { connection, pool: self, _permit: permit })
    }
}

impl Lease<'_> {
    /// Gives the connection back. No transaction may be open on it.
    pub(super) fn keep(self) {
        if !self.connection.is_closed() {
            self.pool.idle.lock().unwrap_or_else(PoisonError::into_inner).push(self.connection);
        }
    }
}

/// What an error means for what was under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The connection is gone, or good for nothing more.
    Lost,
    /// Another transaction was in the way: the same again may succeed.
    Again,
    /// The server cannot do anything of the kind at the moment.
    Away,
    /// Something in these rows or statements.
    Data,
}

pub(super) fn kind(error: &Error) -> Kind {
    let Some(state) = error.code() else {
        // Without the server's word: the connection, or a value that cannot be read or sent.
        let is_io = error.is_closed() || error.as_db_error().is_none() && is_io(error);
        return if is_io { Kind::Lost } else { Kind::Data };
    };
    let again = [
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::LOCK_NOT_AVAILABLE,
        SqlState::IN_FAILED_SQL_TRANSACTION,
    ];
    // A standby after a failover, statements that a pooler or a migration took away, a transaction that sat too long.
    let lost = [
        SqlState::READ_ONLY_SQL_TRANSACTION,
        SqlState::INVALID_SQL_STATEMENT_NAME,
        SqlState::FEATURE_NOT_SUPPORTED,
        SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
    ];
    if again.contains(state) {
        return Kind::Again;
    }
    if lost.contains(state) {
        return Kind::Lost;
    }
    match (state.code().get(..2), state.code()) {
        (_, "57014") => Kind::Away, // statement_timeout
        (Some("08" | "57"), _) => Kind::Lost,
        (Some("53" | "58" | "28" | "3D"), _) => Kind::Away,
        _ => Kind::Data,
    }
}

fn is_io(error: &Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        if error.is::<std::io::Error>() {
            return true;
        }
        source = error.source();
    }
    false
}
