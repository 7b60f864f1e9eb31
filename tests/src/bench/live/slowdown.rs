//! Pushes with nothing beside them, with listeners, and with a webhook.

use super::listen::Listeners;
use super::outbox::await_empty;
use super::{RATE, WEBHOOK, start};
use crate::bench::connection::cpu_time_with_children;
use crate::bench::fleet::{Fleet, Push};
use crate::bench::{Figure, percentile};
use crate::hosts::postgres::Cluster;
use crate::server::Server;
use crate::target::Target;
use anyhow::{Context, Result};
use std::time::{Duration, Instant};

const USERS: usize = 50;

/// Short and many: what else the machine does changes more slowly than from one case to the next.
const NORMAL: (usize, Duration) = (24, Duration::from_millis(500));
const FLAT_OUT: (usize, Duration) = (8, Duration::from_millis(500));

/// How much slower is slower.
const SLOWER_MAX: f64 = 1.05;

/// A server that is pushed to, with what is beside it.
struct Case {
    what: &'static str,
    servers: Vec<Server>,
    fleet: Fleet,
    listeners: Option<Listeners>,
    /// What works for it.
    pids: Vec<u32>,
    /// The median round trip of each round at the normal load, in milliseconds.
    p50s: Vec<f64>,
    /// Pushes a second of each round flat out.
    rates: Vec<f64>,
    /// CPU of the servers and PostgreSQL for each of those pushes, in microseconds.
    cpus: Vec<f64>,
}

/// On both stores. On PostgreSQL the listeners are at another process.
pub fn run(cluster: &Cluster) -> Result<Vec<Figure>> {
    let target = Target::start();
    let webhook = [(WEBHOOK, &*target.url())];
    let on_sqlite = store(
        "SQLite",
        vec![
            Case::open("nothing", vec![start(None, &[])?], None)?,
            Case::open("listeners", vec![start(None, &[])?], None)?.listened()?,
            Case::open("a webhook", vec![start(None, &webhook)?], None)?,
        ],
    )?;
    let pid = Some(cluster.pid().context("PostgreSQL runs")?);
    let (bare, heard, told) =
        (cluster.create_database()?, cluster.create_database()?, cluster.create_database()?);
    let two = vec![start(Some(&heard), &[])?, start(Some(&heard), &[])?];
    let on_postgres = store(
        "PostgreSQL",
        vec![
            Case::open("nothing", vec![start(Some(&bare), &[])?], pid)?,
            Case::open("listeners", two, pid)?.listened()?,
            Case::open("a webhook", vec![start(Some(&told), &webhook)?], pid)?,
        ],
    )?;
    Ok([on_sqlite, on_postgres].concat())
}

/// The cases in turn, each round in another order; of each the median over the rounds, against the first case of that round.
fn store(name: &str, mut cases: Vec<Case>) -> Result<Vec<Figure>> {
    in_turn(&mut cases, NORMAL, Case::normal)?;
    in_turn(&mut cases, FLAT_OUT, Case::flat_out)?;
    let median = |numbers: &[f64]| percentile(numbers.to_vec(), 0.5);
    let of_each = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a / b).collect::<Vec<_>>();
    let mut figures = Vec::new();
    for case in &cases {
        let beside = |of: &str| format!("{name}, beside {}: {of}", case.what);
        figures.push(Figure::new(beside("push at 200/s, p50"), median(&case.p50s), "ms"));
        figures.push(Figure::new(beside("pushes flat out"), median(&case.rates), "pushes/s"));
        figures.push(Figure::new(beside("CPU of a push, flat out"), median(&case.cpus), "us"));
        let alone = &cases[0];
        if case.what != alone.what {
            let p50 = median(&of_each(&case.p50s, &alone.p50s));
            let flat_out = median(&of_each(&alone.rates, &case.rates));
            figures.push(Figure::new(beside("p50 to that beside nothing"), p50, "ratio").at_most(SLOWER_MAX));
            figures.push(Figure::new(beside("flat out, beside nothing to these"), flat_out, "ratio"));
        }
    }
    for case in cases {
        case.end()?;
    }
    Ok(figures)
}

fn in_turn(
    cases: &mut [Case],
    (rounds, time): (usize, Duration),
    run: impl Fn(&mut Case, Duration) -> Result<()>,
) -> Result<()> {
    let count = cases.len();
    for round in 0..rounds {
        for nth in 0..count {
            run(&mut cases[(round + nth) % count], time)?;
        }
    }
    Ok(())
}

impl Case {
    /// Pushes go to the first of these servers, listeners to the last.
    fn open(what: &'static str, servers: Vec<Server>, cluster: Option<u32>) -> Result<Case> {
        let fleet = Fleet::open(&servers[0], USERS)?;
        let pids = servers.iter().map(Server::pid).chain(cluster).collect();
        let (p50s, rates, cpus) = (Vec::new(), Vec::new(), Vec::new());
        Ok(Case { what, servers, fleet, listeners: None, pids, p50s, rates, cpus })
    }

    fn listened(self) -> Result<Case> {
        let listeners = Listeners::open(&self.servers[self.servers.len() - 1], USERS)?;
        Ok(Case { listeners: Some(listeners), ..self })
    }

    fn cpu_time(&self) -> Result<Duration> {
        self.pids.iter().map(|pid| cpu_time_with_children(*pid)).sum()
    }

    fn normal(&mut self, time: Duration) -> Result<()> {
        let pushes = self.fleet.at_rate(RATE, time)?;
        self.p50s.push(percentile(pushes.iter().map(Push::round_trip_ms).collect(), 0.5));
        Ok(())
    }

    fn flat_out(&mut self, time: Duration) -> Result<()> {
        let (cpu, began) = (self.cpu_time()?, Instant::now());
        let count = self.fleet.flat_out(time)?.len() as f64;
        self.rates.push(count / began.elapsed().as_secs_f64());
        // What is left is this case's as well, and would else be delivered beside the next.
        await_empty(&self.servers[0])?;
        self.cpus.push(self.cpu_time()?.saturating_sub(cpu).as_secs_f64() * 1e6 / count);
        Ok(())
    }

    fn end(self) -> Result<()> {
        if let Some(listeners) = self.listeners {
            listeners.close()?;
        }
        self.servers.into_iter().try_for_each(|server| server.stop().map(drop))
    }
}
