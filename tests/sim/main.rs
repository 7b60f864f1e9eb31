//! The simulation's seeds of CI. A failing one is named, with the command that tells it step by step.

use std::fmt::Write as _;

use nself_sync_tests::sim::{STEPS, run_many};

const SEEDS: u64 = 1000;

#[test]
fn every_seed_holds_and_together_they_hit_every_rule() {
    // The failures are told below, without a backtrace each.
    std::panic::set_hook(Box::new(|_| {}));
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let outcome = run_many(0, SEEDS, STEPS, threads);
    let _ = std::panic::take_hook();
    let mut report = String::new();
    for (seed, said) in &outcome.failed {
        let said: String = said.chars().take(1000).collect();
        let _ = writeln!(report, "seed {seed}: {said}");
        let _ = writeln!(report, "  cargo run -p nself-sync-tests --bin sim -- --seed {seed} -v\n");
    }
    assert!(outcome.failed.is_empty(), "{} seeds failed:\n{report}", outcome.failed.len());
    let missing = outcome.coverage.missing();
    assert!(missing.is_empty(), "no seed hit: {missing:#?}");
}
