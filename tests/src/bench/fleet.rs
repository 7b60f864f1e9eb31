//! Devices of many users that push over a few connections: as fast as they are answered, or so many a second.

use super::connection::Connection;
use crate::server::Server;
use anyhow::{Context, Result, anyhow, ensure};
use serde_json::{Value, json};
use std::thread;
use std::time::{Duration, Instant};

/// How many it pushes over.
pub const CONNECTIONS: usize = 16;

/// The device that pushes, of each user.
const DEVICE: &str = "desktop-bench";

/// Devices, one of each user, shared out among connections.
pub struct Fleet {
    workers: Vec<Worker>,
}

/// One connection, whose users push in turn.
struct Worker {
    connection: Connection,
    pushers: Vec<Pusher>,
    turn: usize,
}

/// A device; each of its pushes changes one key.
struct Pusher {
    user: usize,
    token: String,
    push_no: u64,
    seq: u64,
    epoch: String,
    tag: String,
}

/// A push that was answered 200.
#[derive(Debug, Clone, Copy)]
pub struct Push {
    /// Whose, as a number from 0.
    pub user: usize,
    /// The seq that it made.
    pub seq: u64,
    /// Just before its first byte went out.
    pub sent: Instant,
    /// Just after the answer's last byte came in.
    pub answered: Instant,
}

impl Push {
    /// From sent to answered, in milliseconds.
    pub fn round_trip_ms(&self) -> f64 {
        (self.answered - self.sent).as_secs_f64() * 1e3
    }
}

/// The id of a user by number.
pub fn user_id(user: usize) -> String {
    format!("bench-{user}")
}

/// The number in it.
pub fn user_number(id: &str) -> Result<usize> {
    id.strip_prefix("bench-").and_then(|number| number.parse().ok()).context("a user of the bench's")
}

/// Runs `work` on all of these at once, each on a thread of its own.
pub fn in_parallel<I: Send, T: Send>(
    items: impl IntoIterator<Item = I>,
    work: impl Fn(usize, I) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    thread::scope(|scope| {
        let work = &work;
        let items = items.into_iter().enumerate();
        let threads: Vec<_> = items.map(|(nth, item)| scope.spawn(move || work(nth, item))).collect();
        let ended =
            threads.into_iter().map(|thread| thread.join().map_err(|_| anyhow!("a thread panicked"))?);
        ended.collect()
    })
}

impl Fleet {
    /// Connects, and registers a device of each of so many users.
    pub fn open(server: &Server, users: usize) -> Result<Fleet> {
        let workers = in_parallel(0..CONNECTIONS, |worker, _| {
            let mut connection = Connection::open(server.addr())?;
            let users = (worker..users).step_by(CONNECTIONS);
            let pushers = users.map(|user| Pusher::register(user, server, &mut connection));
            let pushers = pushers.collect::<Result<_>>()?;
            Ok(Worker { connection, pushers, turn: 0 })
        })?;
        Ok(Fleet { workers })
    }

    /// Every connection pushes as soon as it was answered.
    pub fn flat_out(&mut self, time: Duration) -> Result<Vec<Push>> {
        let until = Instant::now() + time;
        let pushes = in_parallel(&mut self.workers, |_, worker| {
            let mut pushes = Vec::new();
            while Instant::now() < until {
                pushes.push(worker.push()?);
            }
            Ok(pushes)
        })?;
        Ok(pushes.concat())
    }

    /// So many pushes a second, the next whether or not the one before is answered: it has another connection.
    pub fn at_rate(&mut self, per_s: u32, time: Duration) -> Result<Vec<Push>> {
        let began = Instant::now();
        let planned = time.as_millis() as u32 * per_s / 1000;
        let pushes = in_parallel(&mut self.workers, |first, worker| {
            let mut pushes = Vec::new();
            for nth in (first as u32..planned).step_by(CONNECTIONS) {
                let due = began + Duration::from_secs(1) * nth / per_s;
                thread::sleep(due.saturating_duration_since(Instant::now()));
                pushes.push(worker.push()?);
            }
            Ok(pushes)
        })?;
        Ok(pushes.concat())
    }
}

impl Worker {
    fn push(&mut self) -> Result<Push> {
        self.turn = (self.turn + 1) % self.pushers.len();
        self.pushers[self.turn].push(&mut self.connection)
    }
}

impl Pusher {
    fn register(user: usize, server: &Server, connection: &mut Connection) -> Result<Pusher> {
        let jwt = server.jwt(&user_id(user))?;
        let (epoch, tag) = (String::new(), String::new());
        let mut pusher = Pusher { user, token: jwt, push_no: 0, seq: 0, epoch, tag };
        let body = pusher.body();
        let reply = pusher.take_in(&connection.post("/sync/push", &pusher.token, &body)?)?;
        pusher.token = reply["sync_token"].as_str().context("a sync token")?.to_owned();
        Ok(pusher)
    }

    fn push(&mut self, connection: &mut Connection) -> Result<Push> {
        let (before, body) = (self.seq, self.body());
        let sent = Instant::now();
        let reply = connection.post("/sync/push", &self.token, &body)?;
        let answered = Instant::now();
        self.take_in(&reply)?;
        ensure!(self.seq == before + 1, "each push makes a seq");
        Ok(Push { user: self.user, seq: self.seq, sent, answered })
    }

    fn body(&mut self) -> String {
        self.push_no += 1;
        let mut body = json!({
            "device_id": DEVICE, "seq": self.seq, "push_no": self.push_no,
            "state": { "cursor": { "line": self.push_no, "col": 7 } },
        });
        if !self.epoch.is_empty() {
            body["epoch"] = json!(self.epoch);
            body["tag"] = json!(self.tag);
        }
        body.to_string()
    }

    fn take_in(&mut self, reply: &[u8]) -> Result<Value> {
        let reply: Value = serde_json::from_slice(reply)?;
        let changes = &reply["changes"];
        self.seq = changes["seq"].as_u64().context("a seq")?;
        self.epoch = changes["epoch"].as_str().context("an epoch")?.to_owned();
        self.tag = changes["tag"].as_str().context("a tag")?.to_owned();
        Ok(reply)
    }
}
