//! `cargo xtask bench [merge|decide|pull|push|live|replay|edge|all] [TRACE]`: measures, prints a table, writes JSON.
#![allow(clippy::print_stdout)]

use anyhow::{Result, bail};
use nself_sync_tests::bench::{Figure, decide, edge, live, merge, push, table};
use nself_sync_tests::replay::{Target, one_writer, run_id};
use nself_sync_tests::server::{Server, Start};
use nself_sync_tests::trace::Trace;
use nself_sync_tests::work::Work;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Where the figures are written.
const JSON: &str = "target/bench.json";

/// The trace that the replay's bytes are measured on, where there is one.
const TRACE: &str = "../shared/traces/rustcode.json.gz";

/// What a push may cost beside what changed in it, stored or sent, in bytes.
const OVERHEAD_MAX: u64 = 200;

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let what = args.next().unwrap_or_else(|| "all".to_owned());
    let trace = args.next().map_or_else(|| PathBuf::from(TRACE), PathBuf::from);
    let mut figures = Vec::new();
    let all = what == "all";
    if !["all", "merge", "decide", "pull", "push", "live", "replay", "edge"].contains(&what.as_str()) {
        bail!("{what}: allowed are merge, decide, pull, push, live, replay, edge, all");
    }
    for (name, measure) in [
        ("merge", (|_| Ok(merge::run())) as fn(&Path) -> Result<Vec<Figure>>),
        ("decide", |_| Ok(decide::run(true))),
        ("pull", |_| Ok(decide::run(false))),
        ("push", |_| push::run()),
        ("live", |_| live::run()),
        ("replay", replay),
        ("edge", |_| edge::run()),
    ] {
        if all || what == name {
            println!("measuring {name} …");
            figures.extend(measure(&trace)?);
        }
    }
    println!("\n{}", table(&figures));
    std::fs::create_dir_all("target")?;
    std::fs::write(JSON, Value::from_iter(figures.iter().map(Figure::to_json)).to_string())?;
    println!("written to {JSON}");
    Ok(())
}

/// The bytes of a whole trace, up and at rest.
fn replay(trace: &Path) -> Result<Vec<Figure>> {
    if !trace.exists() {
        println!("no trace at {}: the replay is left out (name one as the second argument)", trace.display());
        return Ok(Vec::new());
    }
    let work = Work::of_trace(&trace.display().to_string(), Trace::read(trace)?, 5000);
    let server = Server::start(&Start::default())?;
    let run = run_id();
    let jwt = server.jwt(&format!("bench-{run}"))?;
    let report = one_writer(work, &Target { url: server.url.clone(), jwt, run })?;
    let stored = server.stop()?;
    let allowed = (report.changed_bytes + OVERHEAD_MAX * report.pushes) as f64;
    let (stored, up) = (stored as f64, report.up_wire_bytes as f64);
    Ok(vec![
        Figure::new("replay: pushes", report.pushes as f64, "pushes"),
        Figure::new("replay: bytes that changed + 200 a push", allowed, "bytes"),
        Figure::new("replay: stored", stored, "bytes"),
        Figure::new("replay: stored to allowed", stored / allowed, "ratio").at_most(1.0),
        Figure::new("replay: sent up, before compression", report.up_bytes as f64, "bytes"),
        Figure::new("replay: sent up, on the wire", up, "bytes"),
        Figure::new("replay: sent up to allowed", up / allowed, "ratio"),
    ])
}
