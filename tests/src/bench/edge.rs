//! Pushes of one changed file in workerd, on a state of 10 and of 5,000 files: how long they take, and how many rows they
//! read and write as the runtime counts them.

use super::Figure;
use crate::hosts::Launch;
use crate::hosts::edge::Edge;
use crate::world::{Device, World};
use anyhow::Result;
use serde_json::{Map, json};
use std::sync::Arc;
use std::time::{Duration, Instant};

const FILES: [usize; 2] = [10, 5000];
const BATCH: usize = 500;
const PUSHES: usize = 400;

/// What the pushes on one state came to.
struct Measured {
    times: Vec<Duration>,
    rows: Vec<(u64, u64)>,
}

/// All figures of the edge.
pub fn run() -> Result<Vec<Figure>> {
    let launch: Arc<dyn Launch> = Arc::new(Edge);
    let host = launch.start(&[])?;
    let mut states: Vec<(Device, Measured)> = Vec::new();
    for files in FILES {
        let mut device = World::new(Arc::clone(&host), Arc::clone(&launch)).device("desktop-bench");
        let all: Vec<usize> = (0..files).collect();
        for batch in all.chunks(BATCH) {
            let files = batch.iter().map(|n| (path(*n), json!({ "content": content(*n, 0) })));
            device.push(json!({ "files": files.collect::<Map<_, _>>() }));
        }
        states.push((device, Measured { times: Vec::new(), rows: Vec::new() }));
    }
    // In turn, so that what else the machine does concerns both.
    for n in 1..=PUSHES {
        for (device, measured) in &mut states {
            let body = device.body(json!({ "files": { path(3): { "content": content(3, n) } } }));
            let began = Instant::now();
            let answer = device.send(&body);
            measured.times.push(began.elapsed());
            measured.rows.push(rows(answer.header("nself-sync-rows").unwrap_or_default()));
            device.take_in(&body, &answer);
        }
    }
    host.stop()?;
    let mut figures = Vec::new();
    let mut medians = Vec::new();
    for (files, (_, mut measured)) in FILES.into_iter().zip(states) {
        measured.times.sort();
        let at = |part: usize| measured.times[measured.times.len() * part / 100].as_secs_f64() * 1e3;
        medians.push(at(50));
        figures.push(Figure::new(format!("edge: push, {files} files, p50"), at(50), "ms"));
        figures.push(Figure::new(format!("edge: push, {files} files, p99"), at(99), "ms"));
        // Every so often a push begins a new segment of its file's history.
        let mean = |of: fn(&(u64, u64)) -> u64| {
            measured.rows.iter().map(of).sum::<u64>() as f64 / measured.rows.len() as f64
        };
        let (read, written) = (mean(|rows| rows.0), mean(|rows| rows.1));
        let name = |what: &str| format!("edge: rows {what} by a push, {files} files");
        figures.push(Figure::new(name("read"), read, "rows").at_most(10.0));
        figures.push(Figure::new(name("written"), written, "rows").at_most(8.0));
    }
    let flat = medians[1] / medians[0];
    figures.push(Figure::new("edge: 5,000 to 10 files, p50", flat, "ratio").at_most(1.5));
    Ok(figures)
}

fn path(n: usize) -> String {
    format!("src/{n}.rs")
}

fn content(n: usize, version: usize) -> String {
    format!("fn f{n}() -> usize {{\n    {version}\n}}\n")
}

/// `read=8, written=6`
fn rows(header: &str) -> (u64, u64) {
    let of = |name: &str| {
        let part = header.split(", ").find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
        part.and_then(|number| number.parse().ok()).unwrap_or(u64::MAX)
    };
    (of("read"), of("written"))
}
