//! PROTOCOL section 4, scalars: last write wins, and what counts as a write.

use nself_sync_tests::world::{Device, Reply, World};
use serde_json::{Value, json};

crate::cases![
    any_json_value_comes_back_as_it_was,
    nulls_inside_a_value_stay,
    key_order_inside_a_value_does_not_matter,
    null_removes_a_scalar,
    unknown_keys_are_kept_as_they_are,
    equal_value_is_unchanged_even_when_concurrent,
    write_after_what_it_replaces_wins_with_any_clock,
    devices_own_write_is_no_rival,
    later_changed_at_wins_among_concurrent_writes,
    earlier_changed_at_loses_and_is_told_what_won,
    equal_changed_at_lets_the_later_arrival_win,
    write_without_a_clock_counts_as_now,
    clock_in_the_future_counts_as_now,
    clock_in_the_future_is_not_remembered,
    clock_of_2001_never_locks_a_device_out,
    write_made_before_others_arrived_is_concurrent_with_them,
    write_seen_later_than_the_push_is_seen_by_the_push,
    removal_made_before_others_arrived_is_concurrent_with_them,
    removal_is_a_write_like_any_other,
    write_against_a_removal_follows_the_clocks,
    superseded_value_comes_back_however_old,
    both_values_stay_in_the_history,
    full_state_from_an_old_seq_does_not_revert_others,
    full_state_that_ignores_replies_does_not_revert_others,
    naive_device_still_writes_what_it_changed,
    naive_device_does_not_repeat_a_write_that_lost,
    value_set_back_on_purpose_after_seeing_the_other_is_a_write,
    changed_at_makes_an_old_value_a_write,
    absent_key_in_full_state_is_not_a_removal,
    removal_of_what_was_not_there_is_not_a_write,
];

/// `a` wrote n=1 at client time 2000, which `b` has not seen.
fn concurrent(world: &World) -> (Device, Device) {
    let (mut a, b) = world.two_devices(json!({"n": 0}));
    assert_eq!(a.push_at(json!({"n": 1}), json!({"n": 2000})).status("n"), "applied");
    (a, b)
}

fn any_json_value_comes_back_as_it_was(world: &World) {
    let state = json!({
        "t": true, "f": false, "zero": 0, "minus": -7, "big": 9_007_199_254_740_993u64, "float": 0.1, "tiny": 5e-324,
        "huge": 1.7976931348623157e308, "empty": "", "text": "ü😀\u{2028}\\\"\n", "list": [1, [2, []], {}], "object": {},
        "deep": {"a": {"b": [{"c": null}]}},
    });
    world.device("desktop-a").push(state.clone());
    assert_eq!(world.snapshot()["state"], state);
}

fn nulls_inside_a_value_stay(world: &World) {
    let value = json!({"line": null, "cols": [null, 1]});
    let (_, b) = world.two_devices(json!({"cursor": value, "sessions": {"s": {"at": value}}}));
    assert_eq!(b.view.scalars["cursor"], value);
    assert_eq!(b.view.sessions["s"]["at"], value);
}

fn key_order_inside_a_value_does_not_matter(world: &World) {
    let mut a = world.device("desktop-a");
    let push = |no: u64, cursor: &str| {
        let body =
            format!(r#"{{"device_id":"desktop-a","seq":0,"push_no":{no},"state":{{"cursor":{cursor}}}}}"#);
        world
            .send(
                nself_sync_tests::hosts::Request::new("POST", "/sync/push").bearer(&world.jwt()).bytes(body),
            )
            .json()
    };
    assert_eq!(push(1, r#"{"line":1,"at":{"x":1,"y":2}}"#)["seq"], 1);
    let again = push(2, r#"{"at":{"y":2,"x":1},"line":1}"#);
    assert_eq!((&again["seq"], &again["results"]["cursor"]["status"]), (&json!(1), &json!("unchanged")));
    a.pull();
}

fn null_removes_a_scalar(world: &World) {
    let (mut a, mut b) = world.two_devices(json!({"n": 1, "m": 2}));
    assert_eq!(a.push(json!({"n": null})).status("n"), "applied");
    assert_eq!(b.pull()["state"], json!({"n": null}));
    assert_eq!(world.snapshot()["state"], json!({"m": 2}));
}

fn unknown_keys_are_kept_as_they_are(world: &World) {
    let state = json!({
        "projectPath": "/a", "project_path": "/b", "__proto__": {"x": 1}, "constructor": "c", "schema.version": 7, "Ünï cödé": 1,
        "sessions": {"s1": {"repoPath": "/a", "STATUS": "Waiting…", "custom": {"deep": [1]}}},
    });
    let (_, b) = world.two_devices(state.clone());
    assert_eq!(world.snapshot()["state"], state);
    assert_eq!(b.view, world.view());
}

fn equal_value_is_unchanged_even_when_concurrent(world: &World) {
    let (_, mut b) = concurrent(world);
    let head = world.head();
    let reply = b.push_at(json!({"n": 1}), json!({"n": 9000}));
    assert_eq!(reply.status("n"), "unchanged");
    assert_eq!(reply.seq(), head);
}

fn write_after_what_it_replaces_wins_with_any_clock(world: &World) {
    let (_, mut b) = concurrent(world);
    b.pull();
    assert_eq!(b.push_at(json!({"n": 2}), json!({"n": 1})).status("n"), "applied");
    assert_eq!(world.scalar("n"), 2);
}

fn devices_own_write_is_no_rival(world: &World) {
    let (mut a, _) = world.two_devices(json!({"n": 0}));
    let old = a.clone();
    a.push_at(json!({"n": 1}), json!({"n": 2000}));
    let mut late = old;
    late.push_no = a.push_no;
    assert_eq!(late.push_at(json!({"n": 2}), json!({"n": 1000})).status("n"), "applied");
    assert_eq!(world.scalar("n"), 2);
}

fn later_changed_at_wins_among_concurrent_writes(world: &World) {
    let (mut a, mut b) = concurrent(world);
    let reply = b.push_at(json!({"n": 2}), json!({"n": 3000}));
    assert_eq!(reply.status("n"), "applied");
    assert_eq!(reply.change("n"), None, "what the device wrote it need not be told");
    assert_eq!(world.scalar("n"), 2);
    world.assert_converged(&mut [&mut a, &mut b]);
}

fn earlier_changed_at_loses_and_is_told_what_won(world: &World) {
    let (mut a, mut b) = concurrent(world);
    let reply = b.push_at(json!({"n": 2}), json!({"n": 1000}));
    assert_eq!(reply.status("n"), "superseded");
    assert_eq!(reply.change("n"), Some(&json!(1)));
    assert_eq!(world.scalar("n"), 1);
    world.assert_converged(&mut [&mut a, &mut b]);
}

fn equal_changed_at_lets_the_later_arrival_win(world: &World) {
    let (_, mut b) = concurrent(world);
    assert_eq!(b.push_at(json!({"n": 2}), json!({"n": 2000})).status("n"), "applied");
    assert_eq!(world.scalar("n"), 2);
}

fn write_without_a_clock_counts_as_now(world: &World) {
    let (_, mut b) = concurrent(world);
    assert_eq!(b.push(json!({"n": 2})).status("n"), "applied", "arrival is later than client time 2000");
    let (mut a, mut b) = world.another_user().two_devices(json!({"n": 0}));
    a.push(json!({"n": 1}));
    assert_eq!(b.push_at(json!({"n": 2}), json!({"n": 2000})).status("n"), "superseded");
}

fn clock_in_the_future_counts_as_now(world: &World) {
    let (mut a, mut b) = world.two_devices(json!({"n": 0}));
    a.push_at(json!({"n": 1}), json!({"n": 9_000_000_000_000_000u64}));
    assert_eq!(b.push(json!({"n": 2})).status("n"), "applied", "a clock in the future does not win for ever");
    assert_eq!(world.scalar("n"), 2);
}

fn clock_in_the_future_is_not_remembered(world: &World) {
    let (mut a, mut b) = world.two_devices(json!({"n": 0}));
    a.push_at(json!({"n": 1}), json!({"n": 9_000_000_000_000_000u64}));
    assert_eq!(b.push_at(json!({"n": 2}), json!({"n": 9_000_000_000_000_000u64})).status("n"), "applied");
    a.pull();
    assert_eq!(a.push_at(json!({"n": 3}), json!({"n": 1})).status("n"), "applied");
}

fn clock_of_2001_never_locks_a_device_out(world: &World) {
    let (mut a, mut b) = world.two_devices(json!({"n": 0}));
    for n in 1..=4 {
        a.pull();
        a.push(json!({"n": n}));
        b.pull();
        let reply = b.push_at(json!({"n": n * 100}), json!({"n": 1_000_000_000_000u64}));
        assert_eq!(reply.status("n"), "applied");
    }
    assert_eq!(world.scalar("n"), 400);
}

/// A wrote n at client time 2000; B had changed n before, and learns of A's write before it pushes its own.
fn late(world: &World, changed_at: u64, seen: Value) -> Reply {
    let (_, mut b) = concurrent(world);
    let stood = b.seq;
    b.pull();
    assert!(b.seq > stood);
    let mut body = b.body(json!({"n": 7}));
    body["changed_at"] = json!({"n": changed_at});
    body["seen"] = if seen.is_null() { json!({"n": stood}) } else { seen };
    b.push_body(&body)
}

fn write_made_before_others_arrived_is_concurrent_with_them(world: &World) {
    assert_eq!(late(world, 1000, Value::Null).status("n"), "superseded");
    assert_eq!(world.scalar("n"), 1);
    assert_eq!(late(&world.another_user(), 3000, Value::Null).status("n"), "applied");
}

fn write_seen_later_than_the_push_is_seen_by_the_push(world: &World) {
    assert_eq!(late(world, 1000, json!({"n": 1_000_000})).status("n"), "applied");
    assert_eq!(late(&world.another_user(), 1000, json!({"m": 0})).status("n"), "applied");
}

fn removal_made_before_others_arrived_is_concurrent_with_them(world: &World) {
    let (mut a, mut b) = world.two_devices(json!({"sessions": {"s": {"title": "x"}}}));
    let stood = b.seq;
    let later = json!({"sessions/s/title": 2000});
    assert_eq!(
        a.push_at(json!({"sessions": {"s": {"title": "y"}}}), later).status("sessions/s/title"),
        "applied"
    );
    b.pull();
    let mut body = b.body(json!({"sessions": {"s": null}}));
    body["changed_at"] = json!({"sessions/s": 1000});
    body["seen"] = json!({"sessions/s": stood});
    assert_eq!(b.push_body(&body).status("sessions/s"), "superseded");
    assert_eq!(world.snapshot()["state"]["sessions"]["s"]["title"], "y");
}

fn removal_is_a_write_like_any_other(world: &World) {
    let (_, mut b) = concurrent(world);
    let mut early = b.clone();
    assert_eq!(early.push_at(json!({"n": null}), json!({"n": 1000})).status("n"), "superseded");
    assert_eq!(world.scalar("n"), 1);
    b.push_no = early.push_no;
    assert_eq!(b.push_at(json!({"n": null}), json!({"n": 3000})).status("n"), "applied");
    assert_eq!(world.scalar("n"), json!(null));
}

fn write_against_a_removal_follows_the_clocks(world: &World) {
    let (mut a, mut b) = world.two_devices(json!({"n": 0}));
    a.push_at(json!({"n": null}), json!({"n": 2000}));
    let mut early = b.clone();
    let reply = early.push_at(json!({"n": 1}), json!({"n": 1000}));
    assert_eq!((reply.status("n"), reply.change("n")), ("superseded", Some(&json!(null))));
    assert!(world.view().scalars.is_empty());
    b.push_no = early.push_no;
    assert_eq!(b.push_at(json!({"n": 1}), json!({"n": 3000})).status("n"), "applied");
    assert_eq!(world.scalar("n"), 1);
}

fn superseded_value_comes_back_however_old(world: &World) {
    let (mut a, mut b) = concurrent(world);
    let old = b.clone();
    for n in 0..5 {
        a.push(json!({"other": n}));
    }
    let lost = b.push_at(json!({"n": 2}), json!({"n": 1000}));
    assert_eq!(lost.status("n"), "superseded");
    let body = json!({
        "device_id": b.id, "seq": b.seq, "epoch": b.epoch, "tag": b.tag, "push_no": 900, "state": {"n": 3},
        "changed_at": {"n": 500},
    });
    assert_eq!(Reply::of(&b.send(&body)).status("n"), "applied", "it follows what it has seen now");
    // A device that did not take the reply in asks again from where it was.
    let mut stuck = world.device("web-c");
    stuck.push(json!({}));
    let (seq, tag) = (old.seq, old.tag.clone());
    let body = json!({
        "device_id": "web-c", "seq": seq, "epoch": old.epoch, "tag": tag, "push_no": 7, "state": {"n": 4},
        "changed_at": {"n": 100},
    });
    let reply = Reply::of(&stuck.send(&body));
    assert_eq!((reply.status("n"), reply.change("n")), ("superseded", Some(&json!(3))));
}

fn both_values_stay_in_the_history(world: &World) {
    let (_, mut b) = concurrent(world);
    b.push_at(json!({"n": "lost"}), json!({"n": 1000}));
    let versions = world.history("n");
    let has = |value: Value| versions.iter().any(|version| version["value"] == value);
    assert!(has(json!(1)) && has(json!("lost")), "{versions:?}");
    let lost = versions.iter().find(|version| version["value"] == "lost").expect("the version that lost");
    assert_eq!((&lost["cause"], &lost["device_id"]), (&json!("superseded"), &json!(b.id)));
}

fn full_state_from_an_old_seq_does_not_revert_others(world: &World) {
    let (mut a, mut b) = world.two_devices(json!({"n": 0, "m": 0}));
    a.push(json!({"n": 1}));
    let reply = b.push(json!({"n": 0, "m": 5}));
    assert_eq!((reply.status("n"), reply.status("m")), ("unchanged", "applied"));
    assert_eq!(reply.change("n"), Some(&json!(1)));
    assert_eq!(world.snapshot()["state"], json!({"n": 1, "m": 5}));
}

fn full_state_that_ignores_replies_does_not_revert_others(world: &World) {
    let mut a = world.device("desktop-a").naive();
    a.push(json!({"n": 1, "m": 1}));
    let mut b = world.device("mobile-b");
    b.pull();
    b.push(json!({"n": 2}));
    for _ in 0..3 {
        assert_eq!(a.push(json!({"n": 1, "m": 1})).status("n"), "unchanged");
    }
    assert_eq!(world.scalar("n"), 2);
}

fn naive_device_still_writes_what_it_changed(world: &World) {
    let mut a = world.device("desktop-a").naive();
    a.push(json!({"n": 1, "m": 1}));
    let mut b = world.device("mobile-b");
    b.pull();
    b.push(json!({"n": 2}));
    let reply = a.push(json!({"n": 1, "m": 7}));
    assert_eq!((reply.status("n"), reply.status("m")), ("unchanged", "applied"));
    assert_eq!(a.push(json!({"n": 3, "m": 7})).status("n"), "applied", "a later arrival");
    assert_eq!(world.snapshot()["state"], json!({"n": 3, "m": 7}));
}

fn naive_device_does_not_repeat_a_write_that_lost(world: &World) {
    let (_, b) = concurrent(world);
    let mut b = b.naive();
    assert_eq!(b.push_at(json!({"n": 9}), json!({"n": 1000})).status("n"), "superseded");
    assert_eq!(
        b.push(json!({"n": 9})).status("n"),
        "unchanged",
        "it is what the device last pushed, whatever came of it"
    );
    assert_eq!(world.scalar("n"), 1);
}

fn value_set_back_on_purpose_after_seeing_the_other_is_a_write(world: &World) {
    let (mut a, mut b) = world.two_devices(json!({"n": 1}));
    b.push(json!({"n": 2}));
    a.pull();
    assert_eq!(a.push(json!({"n": 1})).status("n"), "applied");
    assert_eq!(world.scalar("n"), 1);
}

fn changed_at_makes_an_old_value_a_write(world: &World) {
    let (mut a, mut b) = world.two_devices(json!({"n": 0}));
    a.push_at(json!({"n": 1}), json!({"n": 2000}));
    assert_eq!(
        b.push_at(json!({"n": 0}), json!({"n": 3000})).status("n"),
        "applied",
        "set back at a later time"
    );
    assert_eq!(world.scalar("n"), 0);
}

fn absent_key_in_full_state_is_not_a_removal(world: &World) {
    let (mut a, mut b) = world.two_devices(json!({"n": 1}));
    a.push(json!({"new": 1, "sessions": {"s": {"t": 1}}, "files": {"f": {"content": "1"}}}));
    b.push(json!({"n": 2}));
    let view = world.view();
    assert_eq!((view.scalars.len(), view.sessions.len(), view.files.len()), (2, 1, 1));
}

fn removal_of_what_was_not_there_is_not_a_write(world: &World) {
    let (mut a, mut b) = world.two_devices(json!({"n": 0}));
    a.push(json!({"new": 1}));
    let reply = b.push(json!({"new": null}));
    assert_eq!(reply.status("new"), "unchanged", "the device never had it: null is its base");
    assert_eq!(world.scalar("new"), 1);
    assert_eq!(b.view.scalars["new"], 1);
}
