//! The replayer, as `cargo xtask replay --url` runs it: work as people do it, with several devices. It ends with an
//! error where one of them, or one that joins only then, holds something else.

use nself_sync_tests::replay::{Report, Target, one_writer, run_id, together};
use nself_sync_tests::trace::Trace;
use nself_sync_tests::work::{TRACE_KEY, Work};
use nself_sync_tests::world::World;
use serde_json::{Value, json};

crate::cases![
    work_on_many_files_is_the_same_on_every_device.http(),
    text_of_one_writer_ends_as_its_trace_does.http(),
    text_of_two_who_write_at_once_is_the_same_on_every_device.http(),
];

const INTERVAL_MS: u64 = 5_000;

/// The host, and the user of this case.
fn target(world: &World) -> Target {
    let addr = world.host.addr().expect("the host is HTTP");
    Target { url: format!("http://{addr}"), jwt: world.jwt(), run: run_id() }
}

/// What the devices agreed on, as the host has it.
fn text(world: &World) -> String {
    let path = TRACE_KEY.strip_prefix("files/").expect("a file");
    world.file(path).expect("the text")
}

fn assert_nothing_refused(report: &Report, world: &World) {
    assert_eq!(report.rejected, 0);
    assert_eq!(world.conflicts(), Vec::<Value>::new());
    assert_eq!(world.devices().len(), report.devices);
}

fn work_on_many_files_is_the_same_on_every_device(world: &World) {
    let report = one_writer(Work::of_seed(4, 40), &target(world)).expect("every device holds the same");
    assert_eq!((report.pushes, report.pulls, report.documents), (40, 40, 8));
    assert_eq!(world.head(), 40, "a push that changes something is a step");
    assert_nothing_refused(&report, world);
}

/// A transaction of a trace, `window` pushes after its beginning.
fn txn(window: usize, agent: usize, parents: &[usize], splices: &Value) -> Value {
    let time = format!("2023-11-22T03:{:02}:{:02}Z", window * 5 / 60, window * 5 % 60);
    json!({"agent": agent, "parents": parents, "time": time, "patches": splices})
}

fn text_of_one_writer_ends_as_its_trace_does(world: &World) {
    let (mut letters, mut txns) = (Vec::new(), Vec::new());
    for window in 0..30usize {
        // A line goes into the middle of what is there; every third time the first letter goes.
        let (at, gone) = (letters.len() / 2, usize::from(window % 3 == 2));
        let line = format!("é {window:02}.\n");
        letters.splice(at..at, line.chars());
        letters.drain(..gone);
        let before: Vec<usize> = window.checked_sub(1).into_iter().collect();
        txns.push(txn(window, 0, &before, &json!([[at, 0, line], [0, gone, ""]])));
    }
    let end = String::from_iter(letters);
    let trace =
        Trace::parse(json!({"endContent": end, "txns": txns}).to_string().as_bytes()).expect("a trace");
    let work = Work::of_trace("one writer", trace, INTERVAL_MS);
    let report = one_writer(work, &target(world)).expect("every device holds the trace's end");
    assert_eq!((report.pushes, report.is_trace_end), (30, Some(true)));
    assert_eq!(text(world), end);
    assert_nothing_refused(&report, world);
}

/// Two of them in a text of twenty lines: in one window at its two ends, in the next in the same line.
fn text_of_two_who_write_at_once_is_the_same_on_every_device(world: &World) {
    const LINE: usize = 6;
    const ROUNDS: usize = 10;
    let start: String = (0..20).map(|line| format!("-{line:04}\n")).collect();
    let (mut length, mut words, mut txns) = (start.len(), Vec::new(), Vec::new());
    txns.push(txn(0, 0, &[], &json!([[0, 0, start]])));
    for round in 1..=ROUNDS {
        let seen = if round == 1 { vec![0] } else { vec![2 * round - 3, 2 * round - 2] };
        let middle = length / 2 / LINE * LINE + 1;
        let places = if round % 2 == 1 { [0, length] } else { [middle, middle] };
        for (agent, place) in places.into_iter().enumerate() {
            let word = format!("{}{round:04}\n", ["a", "b"][agent]);
            txns.push(txn(round, agent, &seen, &json!([[place, 0, word]])));
            words.push(word);
            length += LINE;
        }
    }
    // Whose word is first in the middle is the replayer's to say: the end is not known here.
    let trace =
        Trace::parse(json!({"endContent": "", "txns": txns}).to_string().as_bytes()).expect("a trace");
    let report = together("two writers", trace, INTERVAL_MS, usize::MAX, &target(world))
        .expect("both devices and a late one hold the same");
    assert!(
        report.merges > 0 && report.conflicts > 0,
        "{} merges, {} conflicts",
        report.merges,
        report.conflicts
    );
    let text = text(world);
    assert_eq!(text.chars().count(), length, "{text}");
    for word in words {
        assert!(text.contains(word.trim_end()), "{word} is lost: {text}");
    }
    assert_nothing_refused(&report, world);
}
