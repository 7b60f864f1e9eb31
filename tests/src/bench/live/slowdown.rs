//! Pushes with nothing beside them, with listeners, and with a webhook.

use super::listen::Listeners;
use super::outbox::await_empty;
use super::{RATE, WEBHOOK, start};
use crate::bench::fleet::{Fleet, Push};
use crate::bench::{Figure, percentile};
use crate::hosts::postgres::Cluster;
use crate::server::Server;
use crate::target::Target;
use anyhow::Result;
use std::time::{Duration, Instant};

const USERS: usize = 50;
const ROUNDS: usize = 5;
const NORMAL: Duration = Duration::from_secs(2);
const FLAT_OUT: Duration = Duration::from_secs(1);

/// How much slower is slower.
const SLOWER_MAX: f64 = 1.05;

/// A server that is pushed to, with what is beside it.
struct Case {
    what: &'static str,
    servers: Vec<Server>,
    fleet: Fleet,
    listeners: Option<Listeners>,
    rounds: Vec<Round>,
}

/// What a case came to while the others rested.
struct Round {
    /// At the normal load.
    p50_ms: f64,
    /// Flat out.
    pushes_per_s: f64,
}

/// On both stores. On PostgreSQL the listeners are at another process.
pub fn run(cluster: &Cluster) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    let target = Target::start();
    let webhook = [(WEBHOOK, &*target.url())];
    figures.extend(store(
        "SQLite",
        vec![
            Case::open("nothing", vec![start(None, &[])?], false)?,
            Case::open("listeners", vec![start(None, &[])?], true)?,
            Case::open("a webhook", vec![start(None, &webhook)?], false)?,
        ],
    )?);
    let (bare, heard, told) =
        (cluster.create_database()?, cluster.create_database()?, cluster.create_database()?);
    figures.extend(store(
        "PostgreSQL",
        vec![
            Case::open("nothing", vec![start(Some(&bare), &[])?], false)?,
            Case::open("listeners", vec![start(Some(&heard), &[])?, start(Some(&heard), &[])?], true)?,
            Case::open("a webhook", vec![start(Some(&told), &webhook)?], false)?,
        ],
    )?);
    Ok(figures)
}

/// The cases in turn, each round in another order; of each the median over the rounds, against the first case of that round.
fn store(name: &str, mut cases: Vec<Case>) -> Result<Vec<Figure>> {
    let count = cases.len();
    for round in 0..ROUNDS {
        for nth in 0..count {
            cases[(round + nth) % count].round()?;
        }
    }
    let mut figures = Vec::new();
    let median = |numbers: Vec<f64>| percentile(numbers, 0.5);
    for case in &cases {
        let figure = |of: &str, value: f64, unit| {
            Figure::new(format!("{name}, beside {}: {of}", case.what), value, unit)
        };
        let p50s = case.rounds.iter().map(|round| round.p50_ms);
        let rates = case.rounds.iter().map(|round| round.pushes_per_s);
        figures.push(figure("push at 200/s, p50", median(p50s.clone().collect()), "ms"));
        figures.push(figure("pushes flat out", median(rates.clone().collect()), "pushes/s"));
        if case.what != cases[0].what {
            let alone = &cases[0].rounds;
            let slower = p50s.zip(alone).map(|(p50, alone)| p50 / alone.p50_ms).collect();
            figures.push(figure("p50 to that beside nothing", median(slower), "ratio").at_most(SLOWER_MAX));
            let slower = rates.zip(alone).map(|(rate, alone)| alone.pushes_per_s / rate).collect();
            figures.push(figure("pushes flat out, beside nothing to these", median(slower), "ratio"));
        }
    }
    for case in cases {
        case.end()?;
    }
    Ok(figures)
}

impl Case {
    fn open(what: &'static str, servers: Vec<Server>, listened: bool) -> Result<Case> {
        let fleet = Fleet::open(&servers[0], USERS)?;
        let listeners =
            if listened { Some(Listeners::open(&servers[servers.len() - 1], USERS)?) } else { None };
        Ok(Case { what, servers, fleet, listeners, rounds: Vec::new() })
    }

    fn round(&mut self) -> Result<()> {
        let pushes = self.fleet.at_rate(RATE, NORMAL)?;
        let p50_ms = percentile(pushes.iter().map(Push::round_trip_ms).collect(), 0.5);
        let began = Instant::now();
        let count = self.fleet.flat_out(FLAT_OUT)?.len();
        let pushes_per_s = count as f64 / began.elapsed().as_secs_f64();
        self.rounds.push(Round { p50_ms, pushes_per_s });
        // Else what is left is delivered beside the next case.
        await_empty(&self.servers[0])
    }

    fn end(self) -> Result<()> {
        if let Some(listeners) = self.listeners {
            listeners.close()?;
        }
        self.servers.into_iter().try_for_each(|server| server.stop().map(drop))
    }
}
