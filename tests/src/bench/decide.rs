//! What the engine costs as the state grows: it must not.

use super::{Figure, MEASURE};
use crate::memory::{Crash, Memory};
use nself_sync_engine::call::{Call, Caller};
use nself_sync_engine::exchange::{Exchange, Step};
use nself_sync_engine::ids::{Fresh, User};
use nself_sync_engine::policy::Policy;
use nself_sync_engine::slice::Slice;
use nself_sync_engine::wire;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Files in the state.
const SIZES: [usize; 3] = [10, 1_000, 10_000];

/// How much slower the largest state may be than the smallest.
const FLAT: f64 = 1.5;

const NOW: u64 = 1_763_815_000_000;

/// A state to push to and to pull from.
struct State {
    files: usize,
    memory: Memory,
    /// Head, and the seq before its last change.
    head: u64,
    before: u64,
    times_us: Vec<f64>,
}

/// The time inside the engine for a one-key push, or for a pull of one changed key. The sizes take turns, so that
/// what else the machine does meets them alike.
pub fn run(pushes: bool) -> Vec<Figure> {
    let name = if pushes { "decide a one-key push" } else { "pull one changed key" };
    let caller = Caller::User(User { account: "primary".into(), id: "bench".into() });
    let policy = Arc::new(Policy::default());
    let mut states = SIZES.map(|files| state(files, &caller, &policy));
    let began = Instant::now();
    while began.elapsed() < MEASURE * 3 {
        for state in &mut states {
            let call = if pushes {
                let content = format!("fn f{}() {{}}\n", state.times_us.len());
                call(state.head, json!({ "files": { "src/7.rs": { "content": content } } }), &policy)
            } else {
                wire::pull(&format!("since_seq={}", state.before), None).expect("a query")
            };
            let exchange = Exchange::new(caller.clone(), call, Arc::clone(&policy), NOW, Fresh([7; 32]));
            state.times_us.push(inside(&state.memory, exchange).as_nanos() as f64 / 1000.0);
        }
    }
    let medians = states.map(|mut state| {
        state.times_us.sort_by(f64::total_cmp);
        (state.files, state.times_us[state.times_us.len() / 2])
    });
    let mut figures: Vec<Figure> =
        medians.iter().map(|(files, us)| Figure::new(format!("{name}, {files} files"), *us, "µs")).collect();
    let [(_, small), .., (_, large)] = medians;
    figures.push(Figure::new(format!("{name}: largest to smallest"), large / small, "ratio").at_most(FLAT));
    figures
}

/// A state of so many files, one of them changed last.
fn state(files: usize, caller: &Caller, policy: &Arc<Policy>) -> State {
    let mut memory = Memory::default();
    let mut before = 0;
    for from in (0..files).step_by(5_000) {
        let entries = (from..files.min(from + 5_000))
            .map(|n| (format!("src/{n}.rs"), json!({ "content": format!("fn f{n}() {{}}\n") })));
        let state = json!({ "files": Value::Object(entries.collect()) });
        before = push(&mut memory, caller, policy, before, state);
    }
    let changed = json!({ "files": { "src/3.rs": { "content": "fn g() {}\n" } } });
    let head = push(&mut memory, caller, policy, before, changed);
    State { files, memory, head, before, times_us: Vec::new() }
}

fn call(seq: u64, state: Value, policy: &Policy) -> Call {
    let body = json!({ "device_id": "desktop-bench", "seq": seq, "state": state });
    wire::push(body.to_string().as_bytes(), policy).expect("a push")
}

fn push(memory: &mut Memory, caller: &Caller, policy: &Arc<Policy>, seq: u64, state: Value) -> u64 {
    let setting = (Arc::clone(policy), NOW, Fresh([seq as u8; 32]));
    let call = call(seq, state, policy);
    assert!(memory.call(caller.clone(), call, setting, Crash::Never).is_ok(), "it pushes");
    memory.rows(caller.user()).map_or(0, |rows| rows.head.seq)
}

/// The time in the engine until the commit, or the reply where there is none. Nothing is applied.
fn inside(memory: &Memory, mut exchange: Exchange) -> Duration {
    let rows = memory.rows(exchange.caller().user()).expect("the user was made");
    let first = exchange.first();
    let mut slice = Slice { head: Some(rows.head.clone()), ..rows.load(&first) };
    let mut spent = Duration::ZERO;
    loop {
        let start = Instant::now();
        let step = exchange.next(std::mem::take(&mut slice));
        spent += start.elapsed();
        match step.expect("nothing is rejected") {
            Step::Load(scope) => slice = rows.load(&scope),
            Step::Commit(_) | Step::Reply(..) => return spent,
        }
    }
}
