use crate::call::Call;
use crate::decide::{self, Context};
use crate::ids::{Fresh, Hash, Millis, Seq, Tag};
use crate::policy::Policy;
use crate::push::Push;
use crate::scalar::value_hash;
use crate::slice::{Cause, Head, Pushed, Scalar, Slice, Version};
use crate::wire;
use serde_json::{Value, json};

const NOW: Millis = 10_000;
const HEAD: Seq = 9;

/// Head's rows, and one push of device `me` upon them.
struct Case {
    slice: Slice,
    seq: Seq,
    floor: Seq,
    changed_at: Value,
}

/// What a push came to.
struct Came {
    outcomes: Vec<(String, &'static str)>,
    /// Head's values after it: what was written.
    written: Vec<(String, Value)>,
    /// Values that lost and are in the history.
    lost: Vec<(String, Value)>,
    changed: bool,
}

impl Came {
    fn status(&self, key: &str) -> &'static str {
        self.outcomes.iter().find(|(name, _)| name == key).expect("an outcome").1
    }
}

impl Case {
    /// A push from seq 5, unless said otherwise.
    fn new() -> Case {
        Case { slice: Slice::default(), seq: 5, floor: 0, changed_at: json!({}) }
    }

    /// Head's last write of a key; null: removed.
    fn head(mut self, key: &str, value: Value, seq: Seq, device: &str, changed_at: Millis) -> Case {
        let value = Some(value).filter(|value| !value.is_null());
        let row = Scalar { value, seq, device_id: device.to_owned(), changed_at };
        self.slice.scalars.insert(key.to_owned(), row);
        self
    }

    /// The version that stood at the push's seq.
    fn at_seq(mut self, key: &str, value: Value, seq: Seq) -> Case {
        let version = Version {
            key: key.to_owned(),
            seq,
            no: 0,
            cause: Cause::Push,
            device_id: "other".to_owned(),
            created_at: 0,
            value: Some(value).filter(|value| !value.is_null()),
        };
        self.slice.values_at.insert((key.to_owned(), self.seq), version);
        self
    }

    /// What the device pushed and has not seen answered.
    fn pushed(mut self, key: &str, value: Value, seq: Seq) -> Case {
        let hash = value_hash(Some(&value).filter(|value| !value.is_null()));
        self.slice.pushed.insert(key.to_owned(), Pushed { seq, at: seq, hash });
        self
    }

    fn changed_at(mut self, key: &str, at: Millis) -> Case {
        self.changed_at[key] = json!(at);
        self
    }

    fn floor(mut self, floor: Seq) -> Case {
        self.floor = floor;
        self
    }

    fn push(self, state: Value) -> Came {
        let policy = Policy::default();
        let body =
            json!({ "device_id": "me", "seq": self.seq, "state": state, "changed_at": self.changed_at });
        let push: Push = match wire::push(body.to_string().as_bytes(), &policy).expect("a push") {
            Call::Push(push) => *push,
            other => panic!("{other:?}"),
        };
        let tag = Tag::default();
        let head = Head { seq: HEAD, floor: self.floor, tag, ..Head::new("e".to_owned()) };
        let context = Context {
            push: &push,
            slice: &self.slice,
            head: &head,
            policy: &policy,
            now: NOW,
            fresh: Fresh([0; 32]),
        };
        let (commit, outcomes) = decide::decide(&context).expect("readable").into_commit(&context);
        let value = |value: Option<Value>| value.unwrap_or(Value::Null);
        let lost = commit.versions.iter().filter(|version| version.cause == Cause::Superseded);
        Came {
            outcomes: outcomes.iter().map(|(key, outcome)| (key.clone(), word(outcome))).collect(),
            lost: lost.map(|version| (version.key.clone(), value(version.value.clone()))).collect(),
            written: commit.scalars.into_iter().map(|(key, row)| (key, value(row.value))).collect(),
            changed: commit.delta.is_some(),
        }
    }
}

fn word(outcome: &crate::push::Outcome) -> &'static str {
    use crate::push::Outcome;
    match outcome {
        Outcome::Applied => "applied",
        Outcome::Unchanged => "unchanged",
        Outcome::Merged(_) => "merged",
        Outcome::Superseded => "superseded",
        Outcome::Conflict(_) => "conflict",
        Outcome::Blocked => "blocked",
        Outcome::Rejected(_) => "rejected",
    }
}

/// `n` is "theirs" at head, by `other` at seq 7, after the device's seq, at its clock's 5000.
fn concurrent() -> Case {
    Case::new().head("n", json!("theirs"), 7, "other", 5000).at_seq("n", json!("old"), 3)
}

#[test]
fn what_is_head_already_is_no_write() {
    let came = concurrent().push(json!({ "n": "theirs" }));
    assert_eq!((came.status("n"), came.changed), ("unchanged", false));
    let came = concurrent().changed_at("n", 9_000).push(json!({ "n": "theirs" }));
    assert_eq!(came.status("n"), "unchanged");
}

#[test]
fn repeating_what_stood_at_the_devices_seq_reverts_nobody() {
    let came = concurrent().push(json!({ "n": "old" }));
    assert_eq!((came.status("n"), came.changed), ("unchanged", false));
    // With a clock it is a write.
    let came = concurrent().changed_at("n", 9_000).push(json!({ "n": "old" }));
    assert_eq!(came.status("n"), "applied");
}

#[test]
fn repeating_what_the_device_pushed_last_reverts_nobody() {
    let repeats = || concurrent().pushed("n", json!("mine"), 6);
    assert_eq!(repeats().push(json!({ "n": "mine" })).status("n"), "unchanged");
    // Its base is then that push, no longer the value at its seq.
    assert_eq!(repeats().push(json!({ "n": "old" })).status("n"), "applied");
    // A push that its seq says is answered is past.
    let answered = concurrent().pushed("n", json!("mine"), 5);
    assert_eq!(answered.push(json!({ "n": "mine" })).status("n"), "applied");
}

#[test]
fn removing_what_one_never_had_is_no_write() {
    let came = Case::new().head("n", json!("theirs"), 7, "other", 5000).push(json!({ "n": null }));
    assert_eq!(came.status("n"), "unchanged");
    // Unless history no longer tells what it had.
    let pruned = Case::new().floor(6).head("n", json!("theirs"), 7, "other", 5000);
    assert_eq!(pruned.push(json!({ "n": null })).status("n"), "applied");
}

#[test]
fn a_write_that_follows_what_it_replaces_wins_whatever_its_clock() {
    let seen = Case::new().head("n", json!("theirs"), 5, "other", 5000).changed_at("n", 1);
    let came = seen.push(json!({ "n": "mine" }));
    assert_eq!((came.status("n"), came.written), ("applied", vec![("n".to_owned(), json!("mine"))]));
    let own = Case::new().head("n", json!("before"), 8, "me", 5000).changed_at("n", 1);
    assert_eq!(own.push(json!({ "n": "mine" })).status("n"), "applied");
}

#[test]
fn of_concurrent_writes_the_later_clock_wins() {
    assert_eq!(concurrent().changed_at("n", 5001).push(json!({ "n": "mine" })).status("n"), "applied");
    let came = concurrent().changed_at("n", 4999).push(json!({ "n": "mine" }));
    assert_eq!((came.status("n"), came.changed), ("superseded", false));
    assert_eq!(came.lost, [("n".to_owned(), json!("mine"))]);
}

#[test]
fn at_equal_clocks_the_later_arrival_wins() {
    assert_eq!(concurrent().changed_at("n", 5000).push(json!({ "n": "mine" })).status("n"), "applied");
}

#[test]
fn a_write_without_clock_is_of_now_and_none_is_of_the_future() {
    assert_eq!(concurrent().push(json!({ "n": "mine" })).status("n"), "applied");
    let late = || Case::new().head("n", json!("theirs"), 7, "other", NOW).at_seq("n", json!("old"), 3);
    assert_eq!(late().changed_at("n", NOW + 99).push(json!({ "n": "mine" })).status("n"), "applied");
    assert_eq!(late().changed_at("n", NOW - 1).push(json!({ "n": "mine" })).status("n"), "superseded");
}

#[test]
fn a_value_that_lost_again_and_again_is_in_the_history_once() {
    let again = concurrent().pushed("n", json!("mine"), 6).changed_at("n", 4000);
    let came = again.push(json!({ "n": "mine" }));
    assert_eq!((came.status("n"), came.lost.len()), ("superseded", 0));
}

fn sealed(ct: &str) -> Value {
    json!({ "v": 1, "wraps": [{ "kid": "k" }], "ct": ct })
}

#[test]
fn a_sealed_box_is_never_written_over_one_that_was_not_seen() {
    let theirs = |value: Value| Case::new().head(ENV, value, 7, "other", 1).at_seq(ENV, sealed("old"), 3);
    const ENV: &str = "env_encrypted";
    let late = |case: Case, value: Value| case.changed_at(ENV, NOW).push(json!({ ENV: value }));
    assert_eq!(late(theirs(sealed("theirs")), sealed("mine")).status(ENV), "superseded");
    assert_eq!(late(theirs(sealed("theirs")), json!("plain")).status(ENV), "superseded");
    assert_eq!(late(theirs(json!("plain")), sealed("mine")).status(ENV), "superseded");
    assert_eq!(late(theirs(sealed("theirs")), Value::Null).status(ENV), "superseded");
    assert_eq!(late(theirs(json!("plain")), json!("another")).status(ENV), "applied");
    let seen = Case::new().head(ENV, sealed("theirs"), 5, "other", NOW);
    assert_eq!(seen.push(json!({ ENV: sealed("mine") })).status(ENV), "applied");
}

/// A session with two fields of seq 2, removed at seq 7 by `other` at its clock's 5000.
fn removed() -> Case {
    Case::new()
        .head("sessions/s/title", json!("t"), 2, "other", 100)
        .head("sessions/s/status", json!("s"), 2, "other", 100)
        .head("sessions/s", Value::Null, 7, "other", 5000)
}

#[test]
fn a_field_written_after_its_entrys_removal_brings_all_of_it_back() {
    let came = removed()
        .changed_at("sessions/s/title", 5001)
        .push(json!({ "sessions": { "s": { "title": "new" } } }));
    assert_eq!(came.status("sessions/s/title"), "applied");
    let back = [("sessions/s/status".to_owned(), json!("s")), ("sessions/s/title".to_owned(), json!("new"))];
    assert_eq!(came.written, back);
}

#[test]
fn a_field_written_before_its_entrys_removal_is_gone_with_it() {
    let came = removed()
        .changed_at("sessions/s/title", 4999)
        .push(json!({ "sessions": { "s": { "title": "new" } } }));
    assert_eq!((came.status("sessions/s/title"), came.changed), ("superseded", false));
    assert_eq!(came.lost, [("sessions/s/title".to_owned(), json!("new"))]);
}

#[test]
fn a_field_never_had_is_removed_with_its_entry_too() {
    let came =
        removed().changed_at("sessions/s/new", 4999).push(json!({ "sessions": { "s": { "new": 1 } } }));
    assert_eq!(came.status("sessions/s/new"), "superseded");
}

#[test]
fn an_entry_whose_removal_was_seen_is_made_anew_without_its_old_fields() {
    let seen = Case { seq: 7, ..removed() };
    let came = seen.push(json!({ "sessions": { "s": { "title": "new" } } }));
    assert_eq!(came.written, [("sessions/s/title".to_owned(), json!("new"))]);
}

#[test]
fn repeating_the_fields_of_a_removed_entry_does_not_bring_it_back() {
    let stood =
        removed().at_seq("sessions/s/title", json!("t"), 2).at_seq("sessions/s/status", json!("s"), 2);
    let came = stood.push(json!({ "sessions": { "s": { "title": "t", "status": "s" } } }));
    assert_eq!((came.status("sessions/s/title"), came.changed), ("unchanged", false));
}

/// A session that the device knows, one of whose fields `other` wrote since.
fn written_since() -> Case {
    Case::new()
        .head("sessions/s/title", json!("t"), 2, "other", 100)
        .head("sessions/s/status", json!("new"), 7, "other", 5000)
        .at_seq("sessions/s/title", json!("t"), 2)
        .at_seq("sessions/s/status", json!("s"), 2)
}

#[test]
fn a_removal_is_a_write_of_every_field_and_loses_to_a_later_one() {
    let remove = |at| written_since().changed_at("sessions/s", at).push(json!({ "sessions": { "s": null } }));
    assert_eq!(remove(4999).status("sessions/s"), "superseded");
    assert_eq!(remove(5000).status("sessions/s"), "applied");
    assert_eq!(remove(5000).written, [("sessions/s".to_owned(), Value::Null)]);
}

#[test]
fn removing_an_entry_that_is_not_there_is_no_write() {
    let came = Case::new().push(json!({ "sessions": { "s": null } }));
    assert_eq!((came.status("sessions/s"), came.changed), ("unchanged", false));
    let came = removed().push(json!({ "sessions": { "s": null } }));
    assert_eq!(came.status("sessions/s"), "unchanged");
    // Made by others since: this device had none to remove.
    let made = Case::new().head("sessions/s/title", json!("t"), 7, "other", 100);
    assert_eq!(made.push(json!({ "sessions": { "s": null } })).status("sessions/s"), "unchanged");
}

#[test]
fn equal_values_have_equal_hashes() {
    let value = |text: &str| value_hash(Some(&serde_json::from_str(text).expect("JSON")));
    assert_eq!(value(r#"{"a":1,"b":[2]}"#), value(r#" {"b": [2], "a": 1}"#));
    assert_ne!(value("1"), value("\"1\""));
    assert_eq!(value_hash(None), None::<Hash>);
}
