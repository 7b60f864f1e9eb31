//! The one that writes: a thread that takes queued jobs in batches, a transaction each batch.

use super::connection::Connection;
use super::others::Others;
use super::{failure, store};
use crate::live::Hub;
use crate::store::Failure;
use anyhow::{Context, Result, anyhow};
use nself_sync_engine::call::Reply;
use nself_sync_engine::commit::Touch;
use nself_sync_engine::event::News;
use nself_sync_engine::exchange::Exchange;
use nself_sync_engine::ids::User;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Jobs in one transaction.
const BATCH_MAX: usize = 128;

/// Jobs that wait until calls are turned away.
const WAITING_MAX: usize = 1024;

/// How often it is looked at what other processes did.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Something to do in a transaction.
pub enum Job {
    /// A call; its reply goes out after the commit.
    Call(Box<Exchange>, oneshot::Sender<Result<Reply, Failure>>),
    /// A device was seen.
    Touch(User, Touch),
    /// Anything else; says whether what it did is to stay, and what to do once it does.
    Work(Work),
}

impl Job {
    /// Whether its client hung up before it began: then it need not begin.
    fn is_abandoned(&self) -> bool {
        matches!(self, Job::Call(_, answer) if answer.is_closed())
    }
}

/// What [`Job::Work`] does.
pub type Work = Box<dyn FnOnce(&mut Connection) -> (bool, Answer) + Send>;

/// Tells whoever waits for a job, once the transaction that it was in has ended.
pub type Answer = Box<dyn FnOnce(&Result<()>) + Send>;

/// The handle of the thread.
pub struct Writer {
    jobs: Mutex<Option<Sender<Job>>>,
    waiting: Arc<AtomicUsize>,
    thread: JoinHandle<()>,
}

impl Writer {
    /// Starts the thread. What it commits is told to `hub`.
    pub fn start(connection: Connection, hub: Arc<Hub>) -> Result<Writer> {
        let (jobs, queue) = channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let waiting_there = Arc::clone(&waiting);
        let thread = std::thread::Builder::new()
            .name("sqlite-writer".to_owned())
            .spawn(move || write(connection, &queue, &waiting_there, &hub))
            .context("the writer's thread")?;
        Ok(Writer { jobs: Mutex::new(Some(jobs)), waiting, thread })
    }

    /// Queues a job. Where as many wait as may, a call is turned away and a touch forgotten; the server's own work waits.
    pub fn send(&self, job: Job) -> Result<(), Failure> {
        if self.waiting.load(Ordering::Relaxed) >= WAITING_MAX {
            match &job {
                Job::Call(..) => return Err(Failure::Busy),
                Job::Touch(..) => return Ok(()),
                Job::Work(_) => {}
            }
        }
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let sent = jobs.as_ref().and_then(|jobs| jobs.send(job).ok());
        sent.ok_or_else(|| Failure::Store(anyhow!("the writer has stopped")))
    }

    /// Ends after what is queued.
    pub async fn stop(self) {
        drop(self.jobs);
        let joined = tokio::task::spawn_blocking(move || self.thread.join()).await;
        if !matches!(joined, Ok(Ok(()))) {
            tracing::error!("the writer's thread panicked");
        }
    }
}

fn write(mut connection: Connection, queue: &Receiver<Job>, waiting: &AtomicUsize, hub: &Arc<Hub>) {
    let (mut others, mut look_at) = (Others::default(), Instant::now());
    loop {
        if look_at <= Instant::now() {
            if let Err(error) = others.look(&mut connection, hub) {
                tracing::warn!(error = format!("{error:#}"), "what other processes did is not seen");
            }
            look_at = Instant::now() + LOOK_EVERY;
        }
        let first = match queue.recv_timeout(look_at.saturating_duration_since(Instant::now())) {
            Ok(first) => first,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => break,
        };
        let mut batch = vec![first];
        batch.extend(queue.try_iter().take(BATCH_MAX - 1));
        waiting.fetch_sub(batch.len(), Ordering::Relaxed);
        let (mut answers, mut told) = (Vec::new(), Vec::new());
        let written = transaction(&mut connection, batch, &mut answers, &mut told);
        connection.end();
        if let Err(error) = &written {
            tracing::error!(error = format!("{error:#}"), "a transaction failed");
        }
        if written.is_ok() {
            told.iter().for_each(|(user, news)| hub.tell(user, news));
        }
        for answer in answers {
            answer(&written);
        }
    }
    if let Err(error) = connection.checkpoint() {
        tracing::warn!(error = error.to_string(), "the log was not emptied");
    }
}

/// Waits with a result until the transaction has ended; where it failed, the result is that.
pub fn after_commit<T: Send + 'static, E: From<anyhow::Error> + Send + 'static>(
    answer: oneshot::Sender<Result<T, E>>,
    result: Result<T, E>,
) -> Answer {
    Box::new(move |written| {
        let result = match written {
            Ok(()) => result,
            Err(error) => Err(anyhow!("{error:#}").into()),
        };
        let _ = answer.send(result); // who asked has hung up: it is done all the same
    })
}

/// A panic fails one call, not the thread that all calls need.
fn call(connection: &mut Connection, exchange: Exchange) -> Result<store::Called, Failure> {
    let caught = catch_unwind(AssertUnwindSafe(|| store::call(connection, exchange)));
    let called = caught.map_err(|_| Failure::Broken(anyhow!("a panic while deciding a call")))?;
    called.map_err(failure)
}

fn transaction(
    connection: &mut Connection,
    batch: Vec<Job>,
    answers: &mut Vec<Answer>,
    told: &mut Vec<(User, News)>,
) -> Result<()> {
    let begun = connection.run("BEGIN IMMEDIATE").context("begin");
    for job in batch {
        if job.is_abandoned() {
            continue;
        }
        if begun.is_ok() {
            connection.run("SAVEPOINT job")?;
        }
        let keep = match job {
            Job::Call(_, answer) if begun.is_err() => {
                answers.push(after_commit(answer, Err(Failure::Store(anyhow!("no transaction")))));
                continue;
            }
            Job::Call(exchange, answer) => {
                let user = exchange.caller().user().clone();
                let called = call(connection, *exchange);
                let keep = called.is_ok();
                let reply = called.map(|called| {
                    told.push((user, called.news));
                    called.reply
                });
                answers.push(after_commit(answer, reply));
                keep
            }
            // Whoever waits for work learns from its channel that it was dropped.
            Job::Touch(..) | Job::Work(_) if begun.is_err() => continue,
            Job::Touch(user, touch) => store::touch(connection, &user, &touch).is_ok(),
            Job::Work(work) => {
                let (keep, answer) = work(connection);
                answers.push(answer);
                keep
            }
        };
        if !keep {
            connection.run("ROLLBACK TO job")?;
        }
        connection.run("RELEASE job")?;
    }
    begun?;
    Ok(connection.run("COMMIT")?)
}

#[cfg(test)]
mod tests;
