//! What one server process commits, told to the others of the same data base: LISTEN and NOTIFY.
//!
//! NOTIFY takes a lock of the whole instance until its transaction ends, so it is never part of a push: notices are
//! gathered and sent after the commit, on a connection of their own. They carry ids only, since any role may LISTEN: who
//! hears one tells its connections that there is a new seq, and they pull. Operators' commands, which no server runs, tell
//! of theirs in the transaction itself: it holds that lock at its commit only.

#[cfg(test)]
mod tests;

use super::connection::Connector;
use crate::live::{End, Hub};
use crate::log;
use anyhow::{Context, Result, anyhow, bail};
use nself_sync_engine::event::{Ended, Event, News, What};
use nself_sync_engine::ids::{Seq, User};
use serde::{Deserialize, Serialize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{interval, sleep, timeout};
use tokio_postgres::{Client, Statement};

const LISTEN: &str = "LISTEN np_sync_live";
/// One notice, as part of an operator's transaction: it is told with the commit, or not at all.
pub(super) const ANNOUNCE: &str = "SELECT pg_notify('np_sync_live', $1)";
const SEND: &str = "SELECT pg_notify('np_sync_live', notice) FROM unnest($1::text[]) AS notice";

/// Notices that wait for PostgreSQL; beyond, one that everybody is to pull takes their place.
const WAITING_MAX: usize = 4096;

/// How long PostgreSQL may take for a statement, and how often it is asked whether it is there.
const ANSWER_MAX: Duration = Duration::from_secs(10);
const BEAT: Duration = Duration::from_secs(30);

/// How long notices are gathered after the last were sent: the first goes out at once, and under load a transaction has many.
const GATHER: Duration = Duration::from_millis(2);

/// The wait after a failure, at first and at most.
const BACK_OFF: Duration = Duration::from_millis(100);
const BACK_OFF_MAX: Duration = Duration::from_secs(1);

/// Tells this process's connections, and the other processes.
pub(super) struct Relay {
    hub: Arc<Hub>,
    /// This process, which has told its own connections already.
    origin: String,
    waiting: Mutex<Waiting>,
    changed: Notify,
}

#[derive(Default)]
struct Waiting {
    notices: Vec<String>,
    closed: bool,
}

/// What is sent: at most some 1.5 KB of the 8,000 bytes that PostgreSQL takes.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Notice {
    origin: String,
    /// Account and user; `None`: all.
    user: Option<(String, String)>,
    told: Told,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Told {
    Updated { id: String, by: String, seq: Seq },
    Removed(String),
    Replaced(String),
    Moved,
    Erased,
    Pull,
}

impl Relay {
    pub(super) fn new() -> Result<Relay> {
        let origin = getrandom::u64().map_err(|error| anyhow!("random bytes: {error}"))?;
        let (hub, waiting, changed) = (Arc::default(), Mutex::default(), Notify::new());
        Ok(Relay { hub, origin: format!("{origin:016x}"), waiting, changed })
    }

    pub(super) fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    /// A durable commit's news. A conflict and its end come with a seq, which is all that other processes are told.
    pub(super) fn tell(&self, user: &User, news: &News) {
        self.hub.tell(user, news);
        for event in &news.events {
            if let What::StateUpdated { seq, .. } = event.what {
                self.send(Some(user), Told::Updated { id: event.id.clone(), by: event.by.clone(), seq });
            }
        }
        match &news.ended {
            Some(Ended::Removed(id)) => self.send(Some(user), Told::Removed(id.clone())),
            Some(Ended::Replaced(id)) => self.send(Some(user), Told::Replaced(id.clone())),
            None => {}
        }
    }

    /// Something may have been committed for this user.
    pub(super) fn must_pull(&self, user: &User) {
        self.hub.must_pull(user);
        self.send(Some(user), Told::Pull);
    }

    fn send(&self, user: Option<&User>, told: Told) {
        let mut waiting = self.waiting();
        if waiting.notices.len() >= WAITING_MAX {
            waiting.notices = vec![self.notice(None, Told::Pull)];
        } else {
            waiting.notices.push(self.notice(user, told));
        }
        drop(waiting);
        self.changed.notify_one();
    }

    /// What other processes hear.
    pub(super) fn notice(&self, user: Option<&User>, told: Told) -> String {
        let user = user.map(|user| (user.account.clone(), user.id.clone()));
        // What has only strings and numbers in it is always JSON.
        serde_json::to_string(&Notice { origin: self.origin.clone(), user, told }).unwrap_or_default()
    }

    /// A notice of any process. One that cannot be read is of a newer version: something happened.
    fn hear(&self, payload: &str) {
        let Ok(notice) = serde_json::from_str::<Notice>(payload) else { return self.hub.must_look() };
        if notice.origin == self.origin {
            return;
        }
        let Some((account, id)) = notice.user else { return self.hub.must_look() };
        let user = User { account, id };
        let news = match notice.told {
            Told::Updated { id, by, seq } => {
                News { events: vec![Event::updated(id, by, seq)], ..News::default() }
            }
            Told::Removed(id) => News { ended: Some(Ended::Removed(id)), ..News::default() },
            Told::Replaced(id) => News { ended: Some(Ended::Replaced(id)), ..News::default() },
            Told::Moved => return self.hub.end(&user, End::Moved),
            Told::Erased => return self.hub.end(&user, End::Erased),
            Told::Pull => return self.hub.must_pull(&user),
        };
        self.hub.tell(&user, &news);
    }

    /// Sends and hears until it is closed, whatever becomes of the connection.
    pub(super) async fn run(self: Arc<Relay>, connector: Arc<Connector>) {
        let mut pause = BACK_OFF;
        while !self.waiting().closed {
            let mut listened = false;
            let Err(error) = Arc::clone(&self).session(&connector, &mut listened).await else { return };
            if listened {
                pause = BACK_OFF;
            }
            tracing::warn!(error = log::causes(&error), "other servers are not heard");
            sleep(pause).await;
            pause = (pause * 2).min(BACK_OFF_MAX);
        }
    }

    /// One connection, to its end.
    async fn session(self: Arc<Relay>, connector: &Connector, listened: &mut bool) -> Result<()> {
        let hearing = Arc::clone(&self);
        let connecting = connector.connect_listening(move |payload| hearing.hear(payload));
        let (client, mut driver) = timeout(ANSWER_MAX, connecting).await??;
        let statement = timeout(ANSWER_MAX, begin(&client)).await??;
        *listened = true;
        // What was missed before.
        self.hub.must_look();
        let mut beat = interval(BEAT);
        loop {
            let sent = self.flush(&client, &statement).await?;
            if self.waiting().closed {
                return Ok(());
            }
            if sent {
                sleep(GATHER).await;
            }
            tokio::select! {
                () = self.changed.notified() => {}
                _ = beat.tick() => timeout(ANSWER_MAX, client.batch_execute("")).await??,
                _ = &mut driver => bail!("PostgreSQL has closed the connection"),
            }
        }
    }

    /// Sends what waits, and says whether anything did. What could not be sent is sent again: who hears it twice pulls twice.
    async fn flush(&self, client: &Client, statement: &Statement) -> Result<bool> {
        let notices = std::mem::take(&mut self.waiting().notices);
        if notices.is_empty() {
            return Ok(false);
        }
        let sent = timeout(ANSWER_MAX, client.execute(statement, &[&notices])).await;
        if !matches!(sent, Ok(Ok(_))) {
            let mut waiting = self.waiting();
            let later = std::mem::replace(&mut waiting.notices, notices);
            waiting.notices.extend(later);
        }
        sent?.context("PostgreSQL: NOTIFY").map(|_| true)
    }

    /// Sends what waits, if it can, and ends.
    pub(super) fn close(&self) {
        self.waiting().closed = true;
        self.changed.notify_one();
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn begin(client: &Client) -> Result<Statement> {
    client.batch_execute(LISTEN).await.context("PostgreSQL: LISTEN")?;
    client.prepare(SEND).await.context("PostgreSQL: NOTIFY")
}
