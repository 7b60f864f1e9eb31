use super::{Trace, Views};

/// Two people: the first writes `ab`, then both go on without seeing each other, then the second sees both.
const TWO: &str = r#"{"kind": "concurrent", "endContent": "Xaéb!Y", "numAgents": 2, "txns": [
    {"parents": [], "agent": 0, "time": "2023-11-22T03:57:32+00:00", "patches": [[0, 0, "ab"]]},
    {"parents": [0], "agent": 0, "time": "2023-11-22T03:57:40+00:00", "patches": [[1, 0, "é"]]},
    {"parents": [0], "agent": 1, "time": "2023-11-22T03:57:33+00:00", "patches": [[2, 0, "Z"], [2, 1, "Y"]]},
    {"parents": [1, 2], "agent": 1, "time": "2023-11-22T03:57:41+00:00", "patches": [[0, 0, "X"], [4, 0, "!"]]}]}"#;

#[test]
fn a_transaction_applies_to_the_merge_of_its_parents() {
    let trace = Trace::parse(TWO.as_bytes()).unwrap();
    assert_eq!((trace.writers, trace.windows(5_000)), (2, vec![0..1, 1..4]));
    let end = trace.end.clone();
    let mut views = Views::new(trace);
    assert_eq!(views.play(0..1).unwrap()[0].after, "ab");
    let bursts = views.play(1..4).unwrap();
    let seen: Vec<_> = bursts.iter().map(|burst| (burst.writer, &*burst.before, &*burst.after)).collect();
    assert_eq!(seen, [(1, "ab", "abY"), (0, "ab", "aéb"), (1, "aébY", "Xaéb!Y")]);
    views.settle().unwrap();
    assert_eq!([views.text(0), views.text(1)], [end.clone(), end]);
}

#[test]
fn a_first_timestamp_of_1970_is_the_time_of_the_next() {
    let json = r#"{"startContent": "", "endContent": "ab", "txns": [
        {"timestamp": "1970-01-01T00:00:00.000Z", "patches": [[0, 0, "a"]]},
        {"timestamp": "2020-09-10T04:23:15.000Z", "patches": [[1, 0, "b"]]}]}"#;
    assert_eq!(Trace::parse(json.as_bytes()).unwrap().windows(5_000), vec![0..2]);
}

#[test]
fn a_splice_past_the_end_is_an_error() {
    let json = r#"{"endContent": "", "txns": [{"time": "2020-09-10T04:23:15Z", "patches": [[3, 1, "a"]]}]}"#;
    let trace = Trace::parse(json.as_bytes()).unwrap();
    assert!(Views::new(trace).play(0..1).is_err());
}
