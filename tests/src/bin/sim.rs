//! `cargo run -p nself-sync-tests --bin sim -- --seed N`: one seed of the simulation, told step by step;
//! `--seeds N`: many.

use std::process::ExitCode;

use clap::Parser;
use nself_sync_tests::sim::{STEPS, run, run_many};

#[derive(Parser)]
struct Args {
    /// Runs this seed alone.
    #[arg(long)]
    seed: Option<u64>,
    /// Runs so many seeds.
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Steps of each.
    #[arg(long, default_value_t = STEPS)]
    steps: usize,
    /// Threads.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Tells every request and answer of a seed.
    #[arg(short, long)]
    verbose: bool,
    /// Tells how often what was hit.
    #[arg(long)]
    coverage: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if let Some(seed) = args.seed {
        let coverage = run(seed, args.steps, args.verbose);
        eprintln!("{coverage}seed {seed} holds");
        return ExitCode::SUCCESS;
    }
    std::panic::set_hook(Box::new(|_| {}));
    let outcome = run_many(args.first, args.seeds, args.steps, args.threads);
    if args.coverage {
        eprint!("{}", outcome.coverage);
    }
    for (seed, said) in &outcome.failed {
        let said: String = said.chars().take(600).collect();
        eprintln!("seed {seed}: {said}\n");
    }
    for name in outcome.coverage.missing() {
        eprintln!("never hit: {name}");
    }
    match outcome.failed.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
