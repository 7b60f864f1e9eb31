//! PROTOCOL section 4, the checks before the items: replay, epoch, seq, tag, block, and their order.

use std::thread;

use nself_sync_tests::world::{Device, Reply, World, assert_problem};
use serde_json::{Value, json};

crate::cases![
    retry_of_a_lost_reply_gets_the_original_answer,
    retry_is_marked_as_a_replay.http(),
    retry_does_nothing_again,
    retry_with_other_white_space_and_key_order_is_the_same_push,
    retry_gets_fresh_changes_with_their_own_seq,
    retry_repeats_every_result,
    retry_of_the_push_that_made_a_conflict_is_answered_not_blocked,
    retry_after_the_conflict_was_resolved_lists_none,
    same_push_sent_twice_at_once_counts_once,
    first_push_sent_twice_at_once_registers_once,
    same_number_with_another_body_is_409_device_forked,
    lower_number_is_409_stale_push,
    numbers_may_have_gaps,
    refused_push_is_not_recorded_for_replay,
    numbers_of_two_devices_are_their_own,
    seq_above_head_is_409_and_nothing_is_applied,
    another_epoch_is_409_and_nothing_is_applied,
    another_tag_is_409_and_nothing_is_applied,
    tag_of_seq_0_is_checked,
    tag_of_an_older_seq_is_checked,
    devices_recover_together_after_a_restore,
    replay_comes_before_epoch_and_seq,
    revoked_device_comes_before_replay,
    seq_ahead_comes_before_the_block,
    block_comes_before_the_items,
];

fn retry_of_a_lost_reply_gets_the_original_answer(world: &World) {
    let mut a = world.device("desktop-a");
    a.push(json!({"active_file": "x"}));
    let body = a.body(json!({"active_file": "y", "bad/key": 1}));
    let lost = a.send(&body).json();
    let reply = Reply::of(&a.send(&body));
    for name in ["seq", "results", "epoch", "tag", "conflicts"] {
        assert_eq!(reply.value[name], lost[name], "{name}");
    }
}

fn retry_is_marked_as_a_replay(world: &World) {
    let mut a = world.device("desktop-a");
    a.push(json!({"active_file": "x"}));
    let body = a.body(json!({"active_file": "y"}));
    assert!(!Reply::of(&a.send(&body)).replayed);
    assert!(Reply::of(&a.send(&body)).replayed);
    assert!(Reply::of(&a.send(&body)).replayed, "as often as it is sent");
}

fn retry_does_nothing_again(world: &World) {
    let (mut a, mut b) = world.two_devices(json!({"active_file": "x"}));
    let body = a.body(json!({"active_file": "a"}));
    a.send(&body);
    b.pull();
    b.push(json!({"active_file": "b"}));
    let head = world.head();
    assert_eq!(a.push_body(&body).seq(), head - 1);
    assert_eq!(world.head(), head);
    assert_eq!(world.scalar("active_file"), "b", "the retry does not write again");
    assert_eq!(a.view.scalars["active_file"], "b", "and its changes bring what happened since");
}

fn retry_with_other_white_space_and_key_order_is_the_same_push(world: &World) {
    let mut a = world.device("desktop-a");
    let token = a.push(json!({})).value["sync_token"].as_str().expect("a token").to_owned();
    let send = |body: &str| {
        world.send(nself_sync_tests::hosts::Request::new("POST", "/sync/push").bearer(&token).bytes(body))
    };
    let first = send(r#"{"device_id":"desktop-a","seq":0,"push_no":5,"state":{"a":{"x":1,"y":2},"b":1}}"#);
    let again = send(
        r#"{ "state": {"b": 1, "a": {"y": 2, "x": 1}}, "push_no": 5, "seq": 0, "device_id": "desktop-a" }"#,
    );
    assert_eq!(again.status, 200, "{}", again.show());
    assert_eq!(again.json()["seq"], first.json()["seq"]);
}

fn retry_gets_fresh_changes_with_their_own_seq(world: &World) {
    let (mut a, mut b) = world.two_devices(json!({"active_file": "x"}));
    let body = a.body(json!({"cursor": 1}));
    let recorded = Reply::of(&a.send(&body)).seq();
    b.push(json!({"from_b": 1}));
    b.push(json!({"from_b": 2}));
    let reply = a.push_body(&body);
    assert_eq!(reply.seq(), recorded, "the recorded seq");
    let changes = &reply.value["changes"];
    assert_eq!(changes["seq"], recorded + 2, "changes go on to head");
    assert_ne!(changes["tag"], reply.value["tag"]);
    assert_eq!(changes["state"]["from_b"], 2);
    assert_eq!(a.seq, world.head());
    assert_eq!(a.view, world.view());
    assert_eq!(a.pull()["kind"], "delta", "what it stored is right");
}

fn retry_repeats_every_result(world: &World) {
    let (mut a, mut b) = world.two_devices(json!({"n": 0, "files": {"f": {"content": "1\n2\n3\n4\n5\n"}}}));
    a.push_at(json!({"n": 1, "files": {"f": {"content": "one\n2\n3\n4\n5\n"}}}), json!({"n": 2000}));
    let mut body = b.body(json!({"n": 2, "same": null, "../": 1, "files": {
        "f": {"content": "1\n2\n3\n4\nfive\n"}, "../x": {"content": ""},
    }}));
    body["changed_at"] = json!({"n": 1000});
    let lost = Reply::of(&b.send(&body));
    let reply = b.push_body(&body);
    assert_eq!(lost.status("n"), "superseded");
    assert_eq!(lost.status("files/f"), "merged");
    assert_eq!(lost.rejected("files/../x"), "invalid_path");
    assert_eq!(reply.value["results"], lost.value["results"]);
    assert_eq!(reply.change("n"), Some(&json!(1)), "the value that won comes again");
    assert_eq!(b.view, world.view());
}

/// `b` has pushed into a conflict with `a` and lost the reply; the body of that push.
fn lost_conflict(world: &World) -> (Device, Device, Value) {
    let (mut a, mut b) = world.two_devices(json!({"files": {"f": {"content": "base\n"}}}));
    a.push(json!({"files": {"f": {"content": "theirs\n"}}}));
    let body = b.body(json!({"files": {"f": {"content": "mine\n"}}, "cursor": 1}));
    assert_eq!(b.send(&body).status, 200);
    (a, b, body)
}

fn retry_of_the_push_that_made_a_conflict_is_answered_not_blocked(world: &World) {
    let (_, mut b, body) = lost_conflict(world);
    let reply = b.push_body(&body);
    assert_eq!(reply.status("files/f"), "conflict");
    assert_eq!(reply.conflicts().len(), 1);
    assert_eq!(reply.entry("files", "f").expect("theirs")["content"], "theirs\n");
    assert_eq!(world.conflicts().len(), 1, "no second conflict");
}

fn retry_after_the_conflict_was_resolved_lists_none(world: &World) {
    let (_, mut b, body) = lost_conflict(world);
    world.resolved(&world.only_conflict(), json!({"resolution": "mine"}));
    let reply = b.push_body(&body);
    assert_eq!(reply.conflicts().len(), 0);
    assert_eq!(reply.value["conflicts_open"], 0);
    assert_eq!(b.view, world.view());
    assert_eq!(b.view.files["f"], b"mine\n");
}

fn same_push_sent_twice_at_once_counts_once(world: &World) {
    let mut a = world.device("desktop-a");
    a.push(json!({"n": 0}));
    for n in 1..=5 {
        let body = a.body(json!({"n": n, "files": {"f": {"content": format!("{n}\n")}}}));
        let (first, second) = thread::scope(|scope| {
            let (first, second) = (scope.spawn(|| a.send(&body)), scope.spawn(|| a.send(&body)));
            (first.join().expect("it pushes"), second.join().expect("it pushes"))
        });
        assert_eq!((first.status, second.status), (200, 200), "{} {}", first.show(), second.show());
        assert_eq!(first.json()["seq"], second.json()["seq"]);
        a.push_body(&body);
        assert_eq!(a.seq, n + 1);
    }
}

fn first_push_sent_twice_at_once_registers_once(world: &World) {
    let mut a = world.device("desktop-a");
    let body = a.body(json!({"n": 1}));
    let statuses = thread::scope(|scope| {
        let (first, second) = (scope.spawn(|| a.send(&body).status), scope.spawn(|| a.send(&body).status));
        [first.join().expect("it pushes"), second.join().expect("it pushes")]
    });
    assert_eq!(statuses, [200, 200]);
    assert_eq!(world.head(), 1);
    assert_eq!(world.devices().len(), 1);
    a.push_body(&body);
    a.push(json!({"n": 2}));
}

fn same_number_with_another_body_is_409_device_forked(world: &World) {
    let mut a = world.device("desktop-a");
    a.push(json!({"n": 1}));
    let mut twin = a.clone();
    a.push(json!({"n": 2}));
    assert_problem(&twin.try_push(json!({"n": 3})), 409, "device_forked");
    assert_eq!(world.scalar("n"), 2);
    a.push(json!({"n": 4}));
}

fn lower_number_is_409_stale_push(world: &World) {
    let mut a = world.device("desktop-a");
    a.push(json!({"n": 1}));
    let late = a.body(json!({"n": 2}));
    a.push(json!({"n": 3}));
    assert_problem(&a.send(&late), 409, "stale_push");
    assert_eq!(world.scalar("n"), 3, "a push that arrives late changes nothing");
}

fn numbers_may_have_gaps(world: &World) {
    let mut a = world.device("desktop-a");
    a.push_no = 1_000_000;
    a.push(json!({"n": 1}));
    a.push_no += 41;
    assert_eq!(a.push(json!({"n": 2})).seq(), 2);
}

fn refused_push_is_not_recorded_for_replay(world: &World) {
    let mut a = world.device("desktop-a");
    a.push(json!({"n": 1}));
    let mut body = a.body(json!({"n": 2}));
    for (name, value, status) in [
        ("seq", json!(77), 409),
        ("epoch", json!("another"), 409),
        ("state", json!({"env": {}}), 422),
        ("seq", json!(-1), 400),
    ] {
        let mut wrong = body.clone();
        wrong[name] = value;
        assert_eq!(a.send(&wrong).status, status);
    }
    body["state"]["n"] = json!(3);
    a.push_body(&body);
    assert_eq!(world.scalar("n"), 3, "the number was not used up");
}

fn numbers_of_two_devices_are_their_own(world: &World) {
    let (mut a, mut b) = (world.device("desktop-a"), world.device("mobile-b"));
    a.push_no = 500;
    a.push(json!({"a": 1}));
    assert_eq!(b.push(json!({"b": 1})).seq(), 2);
    assert_eq!(a.push(json!({"a": 2})).seq(), 3);
}

fn assert_refused(world: &World, device: &Device, body: &Value, code: &str) {
    let before = world.snapshot();
    assert_problem(&device.send(body), 409, code);
    assert_eq!(world.snapshot()["state"], before["state"], "nothing is applied");
    assert_eq!(world.head(), before["seq"].as_u64().expect("a seq"));
}

fn seq_above_head_is_409_and_nothing_is_applied(world: &World) {
    let mut a = world.device("desktop-a");
    a.push(json!({"n": 1}));
    let mut body = a.body(json!({"n": 2, "other": 1}));
    body["seq"] = json!(2);
    body.as_object_mut().expect("an object").remove("tag");
    assert_refused(world, &a, &body, "seq_ahead");
    body["seq"] = json!((1u64 << 53) - 1);
    assert_refused(world, &a, &body, "seq_ahead");
}

fn another_epoch_is_409_and_nothing_is_applied(world: &World) {
    let mut a = world.device("desktop-a");
    a.push(json!({"n": 1}));
    let mut body = a.body(json!({"n": 2}));
    body["epoch"] = world.another_user().snapshot()["epoch"].clone();
    assert_refused(world, &a, &body, "epoch_changed");
    body["epoch"] = json!("");
    assert_refused(world, &a, &body, "epoch_changed");
}

fn wrong_tag(tag: &Value) -> Value {
    let tag = tag.as_str().expect("a tag");
    json!(if tag.starts_with('0') { tag.replacen('0', "1", 1) } else { format!("0{}", &tag[1..]) })
}

fn another_tag_is_409_and_nothing_is_applied(world: &World) {
    let mut a = world.device("desktop-a");
    a.push(json!({"n": 1}));
    let mut body = a.body(json!({"n": 2}));
    body["tag"] = wrong_tag(&body["tag"]);
    assert_refused(world, &a, &body, "epoch_changed");
}

fn tag_of_seq_0_is_checked(world: &World) {
    let mut a = world.device("desktop-a");
    a.push(json!({}));
    assert_eq!(a.seq, 0);
    let mut body = a.body(json!({"n": 1}));
    body["tag"] = wrong_tag(&body["tag"]);
    assert_refused(world, &a, &body, "epoch_changed");
    a.push(json!({"n": 2}));
}

fn tag_of_an_older_seq_is_checked(world: &World) {
    let (mut a, mut b) = world.two_devices(json!({"n": 0}));
    for n in 1..=3 {
        a.push(json!({"n": n}));
    }
    let mut body = b.body(json!({"b": 1}));
    let right = body["tag"].clone();
    body["tag"] = wrong_tag(&right);
    assert_refused(world, &b, &body, "epoch_changed");
    body["tag"] = json!(a.tag);
    assert_refused(world, &b, &body, "epoch_changed");
    body["tag"] = right;
    b.push_body(&body);
    assert_eq!(b.view, world.view());
}

/// The host lost what the devices hold, as after a restore of an old backup: here they come from another host's user.
fn devices_recover_together_after_a_restore(world: &World) {
    let before = world.another_user();
    let (old_a, old_b) = before.two_devices(json!({
        "active_file": "x",
        "files": {"same": {"content": "same\n"}, "newer": {"content": "edited\n"}, "only": {"content": "only here\n"}},
    }));
    world
        .device("restored")
        .push(json!({"files": {"same": {"content": "same\n"}, "newer": {"content": "old\n"}}}));
    for old in [&old_a, &old_b] {
        let mut device = world.device(&format!("{}-again", old.id));
        device.push(json!({}));
        (device.seq, device.epoch, device.tag) = (old.seq, old.epoch.clone(), old.tag.clone());
        let refused = device.try_push(json!({"cursor": 1}));
        assert_eq!(refused.status, 409, "{}", refused.show());
        assert!(matches!(refused.code().as_str(), "epoch_changed" | "seq_ahead"), "{}", refused.show());
        let snapshot = device.pull();
        assert_eq!(snapshot["kind"], "snapshot");
        assert!(matches!(snapshot["reason"].as_str(), Some("epoch_changed" | "seq_ahead")), "{snapshot}");
        let reply = device.push_at(
            json!({"active_file": "x", "files": {
                "same": {"content": "same\n", "base_hash": null}, "newer": {"content": "edited\n", "base_hash": null},
                "only": {"content": "only here\n", "base_hash": null},
            }}),
            json!({"active_file": 1_700_000_000_000u64}),
        );
        assert_eq!(reply.status("files/same"), "unchanged");
        assert_eq!(reply.status("files/newer"), "conflict", "never guess an empty base");
        assert_ne!(reply.status("files/only"), "conflict", "what nobody has is simply added");
    }
    assert_eq!(world.file("only").as_deref(), Some("only here\n"));
    assert_eq!(world.file("newer").as_deref(), Some("old\n"));
    assert_eq!(world.scalar("active_file"), "x");
    assert!(world.conflicts().iter().all(|conflict| conflict["mine"]["content"] == "edited\n"));
}

fn replay_comes_before_epoch_and_seq(world: &World) {
    let mut a = world.device("desktop-a");
    let first = a.body(json!({"n": 1}));
    a.push_body(&first);
    let mut other = first.clone();
    other["seq"] = json!(99);
    assert_problem(&a.send(&other), 409, "device_forked");
    other["push_no"] = json!(0);
    assert_problem(&a.send(&other), 409, "stale_push");
}

fn revoked_device_comes_before_replay(world: &World) {
    let mut a = world.device("desktop-a");
    let body = a.body(json!({"n": 1}));
    a.push_body(&body);
    assert_eq!(world.delete("/sync/devices/desktop-a").status, 204);
    assert_problem(&world.push_raw(&body), 403, "device_revoked");
}

fn seq_ahead_comes_before_the_block(world: &World) {
    let (_, mut b, body) = lost_conflict(world);
    b.push_body(&body);
    let mut ahead = b.body(json!({"n": 1}));
    ahead["seq"] = json!(b.seq + 1);
    ahead.as_object_mut().expect("an object").remove("tag");
    assert_problem(&b.send(&ahead), 409, "seq_ahead");
    let mut epoch = b.body(json!({"n": 1}));
    epoch["epoch"] = json!("another");
    assert_problem(&b.send(&epoch), 409, "epoch_changed");
}

fn block_comes_before_the_items(world: &World) {
    let (_, mut b, body) = lost_conflict(world);
    b.push_body(&body);
    let response = b.try_push(json!({"files": {"../bad": {"content": ""}}, "n": 1}));
    assert_problem(&response, 409, "conflicts_unresolved");
}
