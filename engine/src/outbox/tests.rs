use super::*;
use crate::event::{Event, What};
use crate::slice::Delta;

fn recorded(seq: Seq) -> Recorded {
    let (place, id) = (Place { seq, no: 0 }, format!("id-{seq}"));
    let (event_type, payload) = ("sync.state.updated".to_owned(), r#"{"seq":1}"#.to_owned());
    Recorded { place, id, event_type, payload, recorded_at: 0 }
}

fn turn(events: u64, failures: Failures) -> Turn {
    Turn::new((1..=events).map(recorded).collect(), failures)
}

fn named(seq: Seq) -> (Place, String) {
    (recorded(seq).place, recorded(seq).id)
}

#[test]
fn delivered_events_are_done_and_end_the_failures() {
    let mut turn = turn(2, Failures { count: 7, since: Some(5) });
    turn.take(Answer::Delivered, 10, 0);
    assert_eq!(turn.next().map(|event| event.place), Some(named(2).0));
    turn.take(Answer::Delivered, 11, 0);
    assert!(turn.next().is_none());
    assert_eq!(turn.end(), End { done: vec![named(1), named(2)], ..End::default() });
}

#[test]
fn failure_ends_the_turn_and_nothing_overtakes() {
    let mut turn = turn(3, Failures::default());
    turn.take(Answer::Delivered, 10, 0);
    turn.take(Answer::Later(None), 11, 0);
    assert!(turn.next().is_none(), "the third waits for the second");
    turn.take(Answer::Delivered, 12, 0);
    let failures = Failures { count: 1, since: Some(11) };
    assert_eq!(turn.end(), End { done: vec![named(1)], failures, wait_ms: 500, ..End::default() });
}

#[test]
fn refused_event_is_set_aside_and_the_next_one_goes() {
    let mut turn = turn(2, Failures::default());
    turn.take(Answer::Refused, 10, 0);
    turn.take(Answer::Delivered, 11, 0);
    assert_eq!(turn.end(), End { done: vec![named(1), named(2)], dead: vec![named(1)], ..End::default() });
}

#[test]
fn event_tried_for_a_day_is_given_up_with_all_that_is_as_old() {
    let failing = Failures { count: 90, since: Some(1000) };
    let mut early = turn(2, failing);
    early.take(Answer::Later(None), 1000 + TRIED_MS - 1, 0);
    assert_eq!((early.end.done.len(), early.end.stale), (0, None));
    let mut late = turn(2, failing);
    late.take(Answer::Later(None), 1000 + TRIED_MS, 0);
    let end = late.end();
    assert_eq!((&end.done, &end.dead, end.stale), (&vec![named(1)], &vec![named(1)], Some(1000)));
    assert_eq!(end.failures, Failures { count: 91, since: None }, "the next has its own day");
    assert!(end.wait_ms >= BACK_OFF_MS_MAX / 2, "and the target is not hammered: {}", end.wait_ms);
}

#[test]
fn waits_double_up_to_a_bound_and_are_spread() {
    let waits: Vec<u64> = [1, 2, 3, 10, 11, 1000, u32::MAX].map(|n| back_off_ms(n, u32::MAX)).to_vec();
    assert_eq!(waits, [1000, 2000, 4000, 512_000, 900_000, 900_000, 900_000]);
    assert_eq!((back_off_ms(3, 0), back_off_ms(3, u32::MAX / 2)), (2000, 2999));
}

#[test]
fn retry_after_is_waited_for_but_not_for_ever() {
    let wait = |answer| {
        let mut turn = turn(1, Failures::default());
        turn.take(answer, 0, 0);
        turn.end().wait_ms
    };
    assert_eq!(wait(Answer::of(429, Some("30"))), 30_000);
    assert_eq!(wait(Answer::of(503, Some("0"))), 500);
    assert_eq!(wait(Answer::of(503, Some("Wed, 21 Oct 2015 07:28:00 GMT"))), 500);
    assert_eq!(wait(Answer::of(429, Some("99999999999"))), RETRY_AFTER_S_MAX * 1000);
}

#[test]
fn status_says_whether_trying_again_helps() {
    for status in [200, 202, 204] {
        assert_eq!(Answer::of(status, None), Answer::Delivered, "{status}");
    }
    for status in [400, 409, 413, 422] {
        assert_eq!(Answer::of(status, None), Answer::Refused, "{status}");
    }
    for status in [301, 302, 307, 401, 403, 404, 408, 425, 429, 500, 502, 503, 504] {
        assert_eq!(Answer::of(status, None), Answer::Later(None), "{status}");
    }
}

#[test]
fn turn_without_events_changes_nothing() {
    let failures = Failures { count: 3, since: Some(1) };
    let mut turn = turn(0, failures);
    turn.take(Answer::Later(None), 10, 0);
    assert_eq!(turn.end(), End { failures, ..End::default() });
}

#[test]
fn events_of_a_commit_are_recorded_in_order_with_the_payload_of_the_live_message() {
    let mut commit = Commit::default();
    let user = User { account: "primary".into(), id: "u\"1".into() };
    assert!(record(&commit, &user, 5).is_empty());
    let what = What::StateUpdated { seq: 4, keys: vec!["n".into()] };
    let updated = Event { id: "t-4".into(), by: "d1".into(), what };
    let (conflict_id, resolution) = ("c1".into(), "mine".into());
    let what = What::ConflictResolved { conflict_id, resolution };
    let resolved = Event { id: "c1-resolved".into(), by: String::new(), what };
    commit.news.events = vec![updated.clone(), resolved];
    let tag = crate::ids::Tag::initial("e");
    commit.delta = Some(Delta { seq: 4, device_id: "d1".into(), created_at: 5, tag, diff: "{}".into() });
    let recorded = record(&commit, &user, 5);
    assert_eq!(recorded[0].place, Place { seq: 4, no: 0 });
    assert_eq!(recorded[1].place, Place { seq: 4, no: 1 });
    let body: Value = serde_json::from_str(&recorded[0].body()).unwrap();
    let payload = json!({ "user_id": "u\"1", "device_id": "d1", "seq": 4, "keys": ["n"] });
    let expected =
        json!({ "event_type": "sync.state.updated", "idempotency_key": "t-4", "payload": payload });
    assert_eq!(body, expected);
    let mut message = wire::event(&updated, &user);
    for name in ["event", "id"] {
        message.as_object_mut().unwrap().remove(name);
    }
    assert_eq!(message, payload, "and what live connections are told");
    let body: Value = serde_json::from_str(&recorded[1].body()).unwrap();
    let payload = json!({ "user_id": "u\"1", "conflict_id": "c1", "resolution": "mine", "device_id": null });
    assert_eq!((&body["event_type"], &body["payload"]), (&json!("sync.conflict.resolved"), &payload));
}
