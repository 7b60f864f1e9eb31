//! Events on their way to a webhook that answers at once: a backlog, and then what pushes add at a normal load.

use super::{RATE, WEBHOOK, start};
use crate::bench::fleet::{Fleet, Push, in_parallel, user_number};
use crate::bench::{Figure, percentile};
use crate::hosts::postgres::Cluster;
use crate::server::Server;
use crate::target::{Target, taken};
use anyhow::{Context, Result, ensure};
use serde_json::json;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

const USERS: usize = 200;

/// How long events pile up; the server waits 10 s for an answer.
const FILL: Duration = Duration::from_secs(3);
const DRAIN_MAX: Duration = Duration::from_secs(60);

/// How long none must come twice.
const QUIET: Duration = Duration::from_millis(300);

const BARE: Duration = Duration::from_secs(2);
const BESIDE: Duration = Duration::from_secs(6);
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// As many as a server delivers at once.
const SENDERS: usize = 16;

/// SQLite, PostgreSQL, two servers on one PostgreSQL; and the bare limit.
pub fn run(cluster: &Cluster) -> Result<Vec<Figure>> {
    let bare = bare()?;
    let mut figures = vec![Figure::new("webhook: posts by 16 bare clients", bare, "events/s")];
    let (one, two) = (cluster.create_database()?, cluster.create_database()?);
    for (name, urls) in [
        ("SQLite", vec![None]),
        ("PostgreSQL", vec![Some(&one)]),
        ("two on PostgreSQL", vec![Some(&two), Some(&two)]),
    ] {
        figures.extend(case(name, &urls, bare)?);
    }
    Ok(figures)
}

/// What the target takes from clients that do nothing else, in events a second.
fn bare() -> Result<f64> {
    let target = Target::start();
    let body = json!({
        "event_type": "sync.state.updated", "idempotency_key": "0123456789abcdef0123456789abcdef",
        "payload": { "user_id": "bench-100", "device_id": "desktop-bench", "seq": 100, "keys": ["cursor"] },
    });
    let (body, began) = (body.to_string(), Instant::now());
    in_parallel(0..SENDERS, |_, _| {
        let agent = ureq::Agent::new_with_defaults();
        while began.elapsed() < BARE {
            agent.post(target.url()).send(&body)?.body_mut().read_to_vec()?;
        }
        Ok(())
    })?;
    Ok(target.count() as f64 / began.elapsed().as_secs_f64())
}

fn case(name: &str, urls: &[Option<&String>], bare: f64) -> Result<Vec<Figure>> {
    let target = Target::start();
    let webhook = target.url();
    let servers = urls.iter().map(|url| start(*url, &[(WEBHOOK, &webhook)])).collect::<Result<Vec<_>>>()?;
    // The first events hang, and with them all that the servers deliver at once; the others pile up.
    let gate = Arc::new(Mutex::new(()));
    let shut = gate.lock().unwrap_or_else(PoisonError::into_inner);
    let at_gate = Arc::clone(&gate);
    target.answer(move |_| {
        drop(at_gate.lock());
        taken()
    });
    let mut fleet = Fleet::open(&servers[0], USERS)?;
    let mut events = USERS + fleet.flat_out(FILL)?.len();
    let (opened, backlog) = (Instant::now(), events - target.count());
    drop(shut);
    await_count(&target, events)?;
    let drained = backlog as f64 / opened.elapsed().as_secs_f64();

    // Until that is noted as well.
    await_empty(&servers[0])?;
    let (pushes, depth, age) = beside(&servers[0], &mut fleet)?;
    events += pushes.len();
    await_count(&target, events)?;
    thread::sleep(QUIET);
    let mut took = HashMap::new();
    for got in target.got() {
        took.insert((user_number(got.user())?, got.seq()), got.at);
    }
    ensure!(took.len() == events, "{} events were delivered of {events}", took.len());
    let twice = target.count() - events;
    let delays = pushes.iter().map(|push| {
        let at = took.get(&(push.user, push.seq)).context("a push without an event")?;
        Ok((*at - push.sent).as_secs_f64() * 1e3)
    });
    let delays = delays.collect::<Result<Vec<f64>>>()?;
    for server in servers {
        server.stop()?;
    }
    let figure = |what: &str, value: f64, unit| Figure::new(format!("outbox, {name}: {what}"), value, unit);
    Ok(vec![
        figure("backlog", backlog as f64, "events"),
        figure("delivered from it", drained, "events/s").at_least(f64::from(RATE)),
        figure("to the bare clients", drained / bare, "ratio"),
        figure("beside 200 pushes/s, push to webhook, p50", percentile(delays.clone(), 0.5), "ms"),
        figure("the same, p99", percentile(delays, 0.99), "ms"),
        figure("most that waited", depth, "events"),
        figure("the oldest of them", age, "s"),
        figure("delivered twice", twice as f64, "events").at_most(0.0),
    ])
}

fn await_count(target: &Target, count: usize) -> Result<()> {
    let deadline = Instant::now() + DRAIN_MAX;
    while target.count() < count {
        ensure!(Instant::now() < deadline, "{} of {count} events within {DRAIN_MAX:?}", target.count());
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Waits until a server has delivered everything.
pub fn await_empty(server: &Server) -> Result<()> {
    let deadline = Instant::now() + DRAIN_MAX;
    while metric(server, "nself_sync_outbox_depth")? > 0.0 {
        ensure!(Instant::now() < deadline, "events wait after {DRAIN_MAX:?}");
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// Pushes at the normal load; meanwhile the largest depth and age that the server says.
fn beside(server: &Server, fleet: &mut Fleet) -> Result<(Vec<Push>, f64, f64)> {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let levels = scope.spawn(|| {
            let (mut depth, mut age) = (0.0, 0.0);
            while !is_over.load(Ordering::Relaxed) {
                depth = f64::max(depth, metric(server, "nself_sync_outbox_depth")?);
                age = f64::max(age, metric(server, "nself_sync_outbox_oldest_age_seconds")?);
                thread::sleep(LOOK_EVERY);
            }
            Ok((depth, age))
        });
        let pushes = fleet.at_rate(RATE, BESIDE);
        is_over.store(true, Ordering::Relaxed);
        let levels: Result<(f64, f64)> = levels.join().map_err(|_| anyhow::anyhow!("a panic"))?;
        let (depth, age) = levels?;
        Ok((pushes?, depth, age))
    })
}

/// What a server says of a metric without labels.
fn metric(server: &Server, name: &str) -> Result<f64> {
    let text = ureq::get(format!("{}/metrics", server.url)).call()?.body_mut().read_to_string()?;
    let number = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    Ok(number.with_context(|| format!("no {name}"))?.parse()?)
}
