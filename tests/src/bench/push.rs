//! Pushes a second through HTTP: 16 connections, 200 users. On PostgreSQL against pgbench, which runs the least
//! that a push must do (lock a head, insert a delta of 200 bytes, move the head) on the same cluster in the same run.

use super::Figure;
use super::connection::{Connection, resident_bytes};
use crate::hosts::postgres::Cluster;
use crate::server::{Server, Start};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const CONNECTIONS: usize = 16;
const USERS: usize = 200;
const RUN: Duration = Duration::from_secs(8);
const RESIDENT_MIB_MAX: f64 = 64.0;

/// SQLite, PostgreSQL, pgbench.
pub fn run() -> Result<Vec<Figure>> {
    let cluster = Cluster::start()?;
    let url = cluster.create_database()?;
    let (sqlite, resident) = pushes(&Start::default())?;
    let (postgres, resident_postgres) =
        pushes(&Start { database_url: Some(url.clone()), ..Start::default() })?;
    let pgbench = cluster.pgbench(crate::hosts::postgres::database_name(&url), CONNECTIONS, RUN)?;
    Ok(vec![
        Figure::new("pushes on SQLite", sqlite, "pushes/s"),
        Figure::new("pushes on PostgreSQL", postgres, "pushes/s"),
        Figure::new("pgbench, the least a push must do", pgbench, "tx/s"),
        Figure::new("PostgreSQL to pgbench", postgres / pgbench, "ratio").at_least(1.0),
        Figure::new("SQLite to PostgreSQL", sqlite / postgres, "ratio").at_least(3.0),
        Figure::new("resident after 200 users, SQLite", resident, "MiB").at_most(RESIDENT_MIB_MAX),
        Figure::new("resident after 200 users, PostgreSQL", resident_postgres, "MiB")
            .at_most(RESIDENT_MIB_MAX),
    ])
}

/// Pushes a second, and the server's resident memory afterwards, in MiB.
fn pushes(start: &Start) -> Result<(f64, f64)> {
    let server = Server::start(start)?;
    let addr = server.url.trim_start_matches("http://").to_owned();
    let stop = AtomicBool::new(false);
    let count = AtomicU64::new(0);
    let jwts: Vec<String> =
        (0..USERS).map(|user| server.jwt(&format!("bench-{user}"))).collect::<Result<_>>()?;
    let began = thread::scope(|scope| -> Result<Duration> {
        let workers: Vec<_> = (0..CONNECTIONS)
            .map(|worker| {
                let (addr, stop, count) = (&addr, &stop, &count);
                let jwts: Vec<&String> = jwts.iter().skip(worker).step_by(CONNECTIONS).collect();
                scope.spawn(move || work(addr, &jwts, stop, count))
            })
            .collect();
        thread::sleep(Duration::from_secs(2)); // every user has registered
        let (began, before) = (Instant::now(), count.load(Ordering::Relaxed));
        thread::sleep(RUN);
        let pushed = count.load(Ordering::Relaxed) - before;
        let took = began.elapsed();
        stop.store(true, Ordering::Relaxed);
        for worker in workers {
            worker.join().map_err(|_| anyhow::anyhow!("a worker panicked"))??;
        }
        count.store(pushed, Ordering::Relaxed);
        Ok(took)
    })?;
    let resident = resident_bytes(server.pid())? as f64 / f64::from(1 << 20);
    let rate = count.load(Ordering::Relaxed) as f64 / began.as_secs_f64();
    server.stop()?;
    Ok((rate, resident))
}

struct Pusher {
    device_id: String,
    token: String,
    push_no: u64,
    seq: u64,
    epoch: String,
    tag: String,
}

/// One connection, its users in turn: each push changes one key.
fn work(addr: &str, jwts: &[&String], stop: &AtomicBool, count: &AtomicU64) -> Result<()> {
    let mut connection = Connection::open(addr)?;
    let mut pushers = Vec::new();
    for jwt in jwts {
        let mut pusher = Pusher {
            device_id: "desktop-bench".into(),
            token: (*jwt).clone(),
            push_no: 0,
            seq: 0,
            epoch: String::new(),
            tag: String::new(),
        };
        let reply = pusher.push(&mut connection)?;
        pusher.token = reply["sync_token"].as_str().context("a sync token")?.to_owned();
        pushers.push(pusher);
    }
    while !stop.load(Ordering::Relaxed) {
        for pusher in &mut pushers {
            let before = pusher.seq;
            pusher.push(&mut connection)?;
            ensure!(pusher.seq == before + 1, "each push makes a seq");
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
    Ok(())
}

impl Pusher {
    fn push(&mut self, connection: &mut Connection) -> Result<Value> {
        self.push_no += 1;
        let mut body = json!({
            "device_id": self.device_id, "seq": self.seq, "push_no": self.push_no,
            "state": { "cursor": { "line": self.push_no, "col": 7 } },
        });
        if !self.epoch.is_empty() {
            body["epoch"] = json!(self.epoch);
            body["tag"] = json!(self.tag);
        }
        let reply: Value =
            serde_json::from_slice(&connection.post("/sync/push", &self.token, &body.to_string())?)?;
        let changes = &reply["changes"];
        self.seq = changes["seq"].as_u64().context("a seq")?;
        self.epoch = changes["epoch"].as_str().context("an epoch")?.to_owned();
        self.tag = changes["tag"].as_str().context("a tag")?.to_owned();
        Ok(reply)
    }
}
