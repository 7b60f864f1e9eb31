//! From a push to the hint on another device of the user, on the same process and on another one.

use super::listen::Listeners;
use super::{RATE, start};
use crate::bench::fleet::{Fleet, Push};
use crate::bench::{Figure, percentile};
use crate::hosts::postgres::Cluster;
use crate::server::Server;
use anyhow::{Context, Result, ensure};
use std::collections::HashMap;
use std::thread;
use std::time::{Duration, Instant};

const USERS: usize = 50;
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_millis(2500);
const LAST_HINTS: Duration = Duration::from_secs(1);

const P50_MS_MAX: f64 = 5.0;
const P99_MS_MAX: f64 = 25.0;

/// A fleet on the first of these servers, and listeners on the last.
struct Case {
    name: &'static str,
    servers: Vec<Server>,
    fleet: Fleet,
    listeners: Listeners,
    rounds: Vec<Vec<Push>>,
}

/// The median of the rounds' percentiles: what else the machine does at a time concerns one round, of one case.
pub fn run(cluster: &Cluster) -> Result<Vec<Figure>> {
    let (one, two) = (cluster.create_database()?, cluster.create_database()?);
    let mut cases = vec![
        Case::open("SQLite", vec![start(None, &[])?])?,
        Case::open("PostgreSQL", vec![start(Some(&one), &[])?])?,
        Case::open("two on PostgreSQL", vec![start(Some(&two), &[])?, start(Some(&two), &[])?])?,
    ];
    for _ in 0..ROUNDS {
        for case in &mut cases {
            case.rounds.push(case.fleet.at_rate(RATE, ROUND)?);
        }
    }
    thread::sleep(LAST_HINTS);
    let figures = cases.into_iter().map(Case::figures).collect::<Result<Vec<_>>>()?;
    Ok(figures.concat())
}

impl Case {
    fn open(name: &'static str, servers: Vec<Server>) -> Result<Case> {
        let fleet = Fleet::open(&servers[0], USERS)?;
        let listeners = Listeners::open(&servers[servers.len() - 1], USERS)?;
        Ok(Case { name, servers, fleet, listeners, rounds: Vec::new() })
    }

    fn figures(self) -> Result<Vec<Figure>> {
        let hints = self.listeners.close()?;
        let came: HashMap<(usize, u64), Instant> =
            hints.into_iter().map(|hint| ((hint.user, hint.seq), hint.at)).collect();
        for server in self.servers {
            server.stop()?;
        }
        let (mut pushes, mut hints, mut shares) = (Vec::new(), Vec::new(), Vec::new());
        for round in &self.rounds {
            ensure!(!round.is_empty(), "no pushes");
            pushes.push(round.iter().map(Push::round_trip_ms).collect::<Vec<_>>());
            let ms = |push: &Push| {
                let at = came.get(&(push.user, push.seq)).context("a push without a hint")?;
                Ok((*at - push.sent).as_secs_f64() * 1e3)
            };
            let times = round.iter().map(ms).collect::<Result<Vec<f64>>>()?;
            let share = times.iter().zip(round).map(|(hint, push)| hint - push.round_trip_ms());
            shares.push(share.collect::<Vec<_>>());
            hints.push(times);
        }
        let median = |rounds: &[Vec<f64>], part: f64| {
            percentile(rounds.iter().map(|round| percentile(round.clone(), part)).collect(), 0.5)
        };
        let figure = |what: &str, value: f64| Figure::new(format!("{}: {what}", self.name), value, "ms");
        let longest = hints.iter().flatten().copied().fold(0.0, f64::max);
        Ok(vec![
            figure("push to its own answer, p50", median(&pushes, 0.5)),
            figure("push to its own answer, p99", median(&pushes, 0.99)),
            figure("push to hint, p50", median(&hints, 0.5)).at_most(P50_MS_MAX),
            figure("push to hint, p99", median(&hints, 0.99)).at_most(P99_MS_MAX),
            figure("push to hint, longest", longest),
            figure("hint after the answer, p50", median(&shares, 0.5)),
        ])
    }
}
