//! The simulation: devices, a network, a host that crashes, and a model that knows what must hold. Without IO and
//! without a clock: the same seed gives the same run.

mod assertions;
mod coverage;
mod device;
mod fill;
mod honest;
mod host;
mod keys;
mod model;
mod naive;
mod net;
mod plan;
mod rng;
mod run;
mod texts;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

pub use coverage::{Coverage, REQUIRED};

/// Steps of a run unless said otherwise.
pub const STEPS: usize = 120;

/// One run. Panics where something does not hold.
pub fn run(seed: u64, steps: usize, verbose: bool) -> Coverage {
    run::Run::new(seed, verbose).finish(steps)
}

/// Many runs.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What they hit, all together.
    pub coverage: Coverage,
    /// The seeds that failed, each with what it said.
    pub failed: Vec<(u64, String)>,
}

/// Runs the seeds from `first`, `count` of them, on so many threads; stops early after some failures.
pub fn run_many(first: u64, count: u64, steps: usize, threads: usize) -> Outcome {
    let (next, outcome) = (AtomicU64::new(first), Mutex::new(Outcome::default()));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut coverage = Coverage::default();
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let failures = outcome.lock().expect("no holder panics").failed.len();
                    if seed >= first + count || failures >= 10 {
                        break;
                    }
                    match catch_unwind(AssertUnwindSafe(|| run(seed, steps, false))) {
                        Ok(hit) => coverage.add(&hit),
                        Err(panic) => {
                            let said = panic.downcast_ref::<String>().cloned();
                            let said =
                                said.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                            let failure = (seed, said.unwrap_or_default());
                            outcome.lock().expect("no holder panics").failed.push(failure);
                        }
                    }
                }
                outcome.lock().expect("no holder panics").coverage.add(&coverage);
            });
        }
    });
    outcome.into_inner().expect("no holder panics")
}
