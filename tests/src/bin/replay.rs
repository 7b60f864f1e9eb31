//! `cargo xtask replay [FILE]`: real work through a server, over HTTP, with two or three devices.
#![allow(clippy::print_stdout)]

use anyhow::{Context, Result, bail};
use clap::Parser;
use nself_sync_tests::replay::{Report, Target, one_writer, run_id, together};
use nself_sync_tests::server::{Server, Start};
use nself_sync_tests::trace::Trace;
use nself_sync_tests::work::Work;
use std::path::PathBuf;

/// Drives a server with a recorded editing trace; without one with this repository's git history, or with work made
/// from a seed.
#[derive(Parser)]
struct Args {
    /// A trace, .json or .json.gz
    file: Option<PathBuf>,
    /// What a client waits between two pushes, in milliseconds
    #[arg(long, env = "PLUGIN_SYNC_PUSH_INTERVAL_MS", default_value_t = 5000)]
    interval_ms: u64,
    /// Stops after so many pushes (for the concurrent kind: windows)
    #[arg(long, default_value_t = usize::MAX, hide_default_value = true)]
    pushes: usize,
    /// How many commits of the git history, the newest
    #[arg(long, default_value_t = 500)]
    commits: usize,
    /// Work made from this seed, 1,000 pushes unless --pushes says otherwise
    #[arg(long, conflicts_with = "file")]
    seed: Option<u64>,
    /// A server that is running already
    #[arg(long, requires = "token")]
    url: Option<String>,
    /// A user's JWT for it
    #[arg(long)]
    token: Option<String>,
    /// Stores in this PostgreSQL database instead of SQLite
    #[arg(long, value_name = "URL", conflicts_with = "url")]
    postgres: Option<String>,
    /// Writes the sums to this file
    #[arg(long, value_name = "PATH")]
    json: Option<PathBuf>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let run = run_id();
    let report = match (&args.url, &args.token) {
        (Some(url), Some(token)) => replay(&args, &Target { url: url.clone(), jwt: token.clone(), run })?,
        _ => {
            let server = Server::start(&Start { database_url: args.postgres.clone(), ..Start::default() })?;
            let jwt = server.jwt(&format!("replay-{run}"))?;
            let mut report = replay(&args, &Target { url: server.url.clone(), jwt, run })?;
            let stored_bytes = server.stop()?;
            report.stored_bytes = args.postgres.is_none().then_some(stored_bytes);
            report
        }
    };
    println!("{}\n{report}", report.work);
    if let Some(path) = &args.json {
        report.write_json(path)?;
    }
    Ok(())
}

fn replay(args: &Args, target: &Target) -> Result<Report> {
    let work = match (&args.file, args.seed) {
        (Some(path), _) => {
            let trace = Trace::read(path)?;
            let title = path.file_name().context("the trace has no name")?.to_string_lossy().into_owned();
            match trace.writers {
                0 => bail!("nobody wrote in {title}"),
                1 => Work::of_trace(&title, trace, args.interval_ms),
                _ => return together(&title, trace, args.interval_ms, args.pushes, target),
            }
        }
        (None, Some(seed)) => Work::of_seed(seed, args.pushes.min(1_000)),
        (None, None) => match Work::of_history(args.commits)? {
            Some(history) => history,
            None => Work::of_seed(1, args.pushes.min(1_000)),
        },
    };
    one_writer(work.first(args.pushes), target)
}
