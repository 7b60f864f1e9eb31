//! PROTOCOL section 4: what a push is, what it answers, and what is refused whole.

use std::thread;

use nself_sync_tests::world::World;
use serde_json::{Value, json};

use crate::case::{FILE_BLOCK, THRESHOLD_5};

crate::cases![
    first_push_registers_the_device_and_only_it_gives_a_token,
    push_of_the_plugin_page_works_as_shown,
    reply_has_every_part,
    seq_counts_each_push_that_changes_something_by_one,
    push_that_changes_nothing_makes_no_seq,
    empty_first_push_registers_at_seq_0,
    full_state_every_few_seconds_makes_no_seq,
    push_with_only_a_conflict_makes_a_seq,
    push_is_also_a_pull,
    changes_leave_out_what_this_push_wrote,
    changes_carry_a_value_that_was_merged_otherwise,
    changes_too_far_behind_say_so_and_the_push_counts.config(THRESHOLD_5),
    pushes_of_two_devices_at_once_both_count,
    sixteen_pushes_at_once_lose_nothing,
    push_is_all_there_or_not_for_a_reader_at_any_time,
    conflicts_open_counts_all_of_the_users.config(FILE_BLOCK),
];

fn first_push_registers_the_device_and_only_it_gives_a_token(world: &World) {
    let mut a = world.device("desktop-a");
    let first = a.push(json!({"active_file": "x"}));
    assert!(
        first.value["sync_token"].as_str().is_some_and(|token| token.starts_with("nst_")),
        "{}",
        first.value
    );
    assert!(world.listed("desktop-a").is_some());
    let second = a.push(json!({"active_file": "y"}));
    assert!(second.value.get("sync_token").is_none(), "a token only when registering: {}", second.value);
    let mut b = world.device("mobile-b");
    assert!(b.push(json!({})).value["sync_token"].is_string());
}

fn push_of_the_plugin_page_works_as_shown(world: &World) {
    let state = json!({"open_session_id": "s1", "active_file": "src/main.rs", "env_encrypted": "c2VhbGVk"});
    let response = world.push_raw(&json!({"device_id": "desktop-abc123", "seq": 0, "state": state}));
    assert_eq!(response.status, 200, "{}", response.show());
    assert_eq!(response.json()["seq"], 1);
    assert_eq!(world.snapshot()["state"], state);
}

fn reply_has_every_part(world: &World) {
    let reply = world.device("desktop-a").push(json!({"active_file": "x"})).value;
    assert_eq!(reply["seq"], 1);
    assert!(reply["epoch"].as_str().is_some_and(|epoch| !epoch.is_empty()), "{reply}");
    assert_tag(&reply["tag"]);
    assert!(reply["results"].is_object(), "{reply}");
    assert_eq!(reply["conflicts"], json!([]));
    assert_eq!(reply["conflicts_open"], 0);
    let changes = &reply["changes"];
    assert_eq!(changes["kind"], "delta");
    assert_eq!(changes["since_seq"], 0);
    assert_eq!(
        (&changes["seq"], &changes["epoch"], &changes["tag"]),
        (&reply["seq"], &reply["epoch"], &reply["tag"])
    );
    assert!(reply["policy"]["push_interval_ms"].is_u64(), "{reply}");
}

/// A tag is 16 hex digits.
pub fn assert_tag(tag: &Value) {
    let is_tag = |tag: &str| tag.len() == 16 && tag.bytes().all(|byte| byte.is_ascii_hexdigit());
    assert!(tag.as_str().is_some_and(is_tag), "a tag is 16 hex digits: {tag}");
}

fn seq_counts_each_push_that_changes_something_by_one(world: &World) {
    let (mut a, mut b) = (world.device("desktop-a"), world.device("mobile-b"));
    for expected in 1..=6 {
        let device = if expected % 2 == 0 { &mut a } else { &mut b };
        let state = json!({
            "active_file": format!("f{expected}"), "cursor": {"line": expected},
            "sessions": {"s1": {"title": format!("t{expected}"), "status": "running"}},
            "files": {"f": {"content": format!("{expected}\n")}},
        });
        device.pull();
        assert_eq!(device.push(state).seq(), expected, "one seq for a push, whatever it carries");
    }
    assert_eq!(world.head(), 6);
}

fn push_that_changes_nothing_makes_no_seq(world: &World) {
    let state = json!({
        "active_file": "x", "sessions": {"s1": {"title": "t"}}, "files": {"f": {"content": "1\n"}},
        "context_pages": {"p1": {"title": "t", "content": "1\n"}},
    });
    let mut a = world.device("desktop-a");
    assert_eq!(a.push(state.clone()).seq(), 1);
    let again = a.push(state);
    assert_eq!(again.seq(), 1);
    for key in ["active_file", "sessions/s1/title", "files/f", "context_pages/p1", "context_pages/p1/title"] {
        assert_eq!(again.status(key), "unchanged", "{key}: {}", again.value);
    }
    let nothing = json!({
        "gone": null, "sessions": {"s9": null, "s1": {"no_field": null}}, "files": {"gone": null},
        "context_pages": {"p9": null},
    });
    assert_eq!(a.push(nothing).seq(), 1, "removing what is not there changes nothing");
    assert_eq!(a.push(json!({"sessions": {}, "files": {}, "context_pages": {}})).seq(), 1);
    assert_eq!(a.push(json!({})).seq(), 1);
}

fn empty_first_push_registers_at_seq_0(world: &World) {
    let reply = world.device("desktop-a").push(json!({}));
    assert_eq!(reply.seq(), 0);
    assert!(reply.value["sync_token"].is_string());
    assert_tag(&reply.value["tag"]);
    assert_eq!(reply.changes().len(), 0);
    assert!(world.listed("desktop-a").is_some());
}

fn full_state_every_few_seconds_makes_no_seq(world: &World) {
    let state = json!({
        "active_file": "x", "cursor": {"line": 1, "col": 2},
        "sessions": {"s1": {"title": "t", "status": "running"}}, "files": {"f": {"content": "1\n"}},
    });
    let (mut a, mut b) = (world.device("desktop-a").naive(), world.device("mobile-b"));
    a.push(state.clone());
    b.push(json!({"sessions": {"s2": {"title": "other"}}}));
    for _ in 0..5 {
        assert_eq!(a.push(state.clone()).seq(), 2);
    }
    assert_eq!(world.head(), 2);
}

fn push_with_only_a_conflict_makes_a_seq(world: &World) {
    let (mut a, mut b) = world.two_devices(json!({"files": {"f": {"content": "base\n"}}}));
    a.push(json!({"files": {"f": {"content": "theirs\n"}}}));
    let head = world.head();
    let reply = b.push(json!({"files": {"f": {"content": "mine\n"}}}));
    assert_eq!(reply.status("files/f"), "conflict");
    assert_eq!(reply.seq(), head + 1);
    assert_eq!(world.head(), head + 1);
}

fn push_is_also_a_pull(world: &World) {
    let (mut a, mut b) =
        world.two_devices(json!({"active_file": "x", "gone": 1, "files": {"f": {"content": "1\n"}}}));
    a.push(json!({"active_file": "y", "gone": null, "files": {"f": {"content": "2\n"}, "g": {"content": "g\n"}}}));
    let since = b.seq;
    let reply = b.push(json!({"cursor": 5}));
    assert_eq!(reply.value["changes"]["since_seq"], since);
    assert_eq!(reply.change("active_file"), Some(&json!("y")));
    assert_eq!(reply.change("gone"), Some(&json!(null)));
    assert_eq!(reply.entry("files", "f").expect("the changed file")["content"], "2\n");
    assert_eq!(reply.entry("files", "g").expect("the new file")["content"], "g\n");
    assert_eq!(b.seq, world.head());
    assert_eq!(b.view, world.view());
}

fn changes_leave_out_what_this_push_wrote(world: &World) {
    let mut a = world.device("desktop-a");
    let state = json!({
        "active_file": "x", "gone": null, "sessions": {"s1": {"title": "t"}}, "files": {"f": {"content": "1\n"}},
        "context_pages": {"p": {"title": "t", "content": "1\n"}},
    });
    assert_eq!(a.push(state.clone()).value["changes"]["state"], json!({}));
    assert_eq!(a.push(state).value["changes"]["state"], json!({}), "also when it was unchanged");
    assert_eq!(
        a.push(json!({"sessions": {"s1": null}, "files": {"f": null}})).value["changes"]["state"],
        json!({})
    );
}

fn changes_carry_a_value_that_was_merged_otherwise(world: &World) {
    let (mut a, mut b) = world.two_devices(json!({"files": {"f": {"content": "1\n2\n3\n4\n5\n"}}}));
    a.push(json!({"files": {"f": {"content": "one\n2\n3\n4\n5\n"}}}));
    let reply = b.push(json!({"files": {"f": {"content": "1\n2\n3\n4\nfive\n"}}}));
    assert_eq!(reply.status("files/f"), "merged");
    assert_eq!(reply.entry("files", "f").expect("the merged text")["content"], "one\n2\n3\n4\nfive\n");
    assert_eq!(b.view, world.view());
}

fn changes_too_far_behind_say_so_and_the_push_counts(world: &World) {
    let (mut a, mut b) = world.two_devices(json!({"n": 0}));
    for n in 1..=4 {
        a.push(json!({"n": n}));
    }
    let mut at_limit = b.clone();
    at_limit.push_no += 50;
    assert_eq!(
        at_limit.push(json!({"cursor": 1})).value["changes"]["kind"],
        "delta",
        "5 behind with its own is not more than 5"
    );
    b.push_no += 60;
    let reply = b.push(json!({"cursor": 2}));
    assert_eq!(reply.value["changes"]["kind"], "behind", "{}", reply.value);
    assert_eq!(reply.value["changes"]["reason"], "behind_threshold");
    assert_eq!(reply.status("cursor"), "applied");
    let pull = b.pull();
    assert_eq!((&pull["kind"], &pull["reason"]), (&json!("snapshot"), &json!("behind_threshold")));
    assert_eq!(b.view.scalars["cursor"], 2);
    assert_eq!(b.view, world.view());
}

fn pushes_of_two_devices_at_once_both_count(world: &World) {
    let (mut a, mut b) = world.two_devices(json!({"files": {"f": {"content": "1\n2\n3\n4\n5\n"}}}));
    let head = world.head();
    let (first, second) = thread::scope(|scope| {
        let first = scope
            .spawn(|| a.push(json!({"from_a": 1, "files": {"f": {"content": "one\n2\n3\n4\n5\n"}}})).seq());
        let second = scope
            .spawn(|| b.push(json!({"from_b": 1, "files": {"f": {"content": "1\n2\n3\n4\nfive\n"}}})).seq());
        (first.join().expect("a pushes"), second.join().expect("b pushes"))
    });
    assert_eq!(first.min(second), head + 1);
    assert_eq!(first.max(second), head + 2);
    assert_eq!(world.file("f").as_deref(), Some("one\n2\n3\n4\nfive\n"));
    world.assert_converged(&mut [&mut a, &mut b]);
}

fn sixteen_pushes_at_once_lose_nothing(world: &World) {
    let mut devices: Vec<_> = (0..8).map(|index| world.device(&format!("desktop-{index}"))).collect();
    let mut seqs: Vec<u64> = thread::scope(|scope| {
        let running: Vec<_> = devices
            .iter_mut()
            .enumerate()
            .map(|(index, device)| {
                scope.spawn(move || {
                    let first = device.push(json!({format!("k{index}-0"): 1, "shared": index})).seq();
                    let second = device.push(json!({format!("k{index}-1"): 1, "shared": index + 100})).seq();
                    [first, second]
                })
            })
            .collect();
        running.into_iter().flat_map(|thread| thread.join().expect("a device pushes")).collect()
    });
    seqs.sort_unstable();
    assert_eq!(seqs, (1..=16).collect::<Vec<u64>>(), "each push has its own seq, without a gap");
    assert_eq!(world.view().scalars.len(), 17, "every key is there");
    let mut all: Vec<_> = devices.iter_mut().collect();
    world.assert_converged(&mut all);
}

fn push_is_all_there_or_not_for_a_reader_at_any_time(world: &World) {
    let mut writer = world.device("desktop-a");
    writer.push(json!({"left": 0, "sessions": {"s": {"n": 0}}, "files": {"f": {"content": "0"}}}));
    thread::scope(|scope| {
        let writing = scope.spawn(move || {
            for n in 1..=25 {
                writer.push(json!({"left": n, "sessions": {"s": {"n": n}}, "files": {"f": {"content": n.to_string()}}}));
            }
        });
        while !writing.is_finished() {
            let reply = world.snapshot();
            let (state, seq) = (&reply["state"], reply["seq"].as_u64().expect("a seq"));
            assert_eq!(state["left"], seq - 1, "the state is that of its seq");
            assert_eq!(state["sessions"]["s"]["n"], state["left"]);
            assert_eq!(state["files"]["f"]["content"], state["left"].to_string());
        }
        writing.join().expect("the writer pushes");
    });
}

fn conflicts_open_counts_all_of_the_users(world: &World) {
    let (mut a, mut b) =
        world.two_devices(json!({"files": {"f": {"content": "1\n"}, "g": {"content": "1\n"}}}));
    a.push(json!({"files": {"f": {"content": "a\n"}, "g": {"content": "a\n"}}}));
    let since = b.clone();
    let first = b.push(json!({"files": {"f": {"content": "b\n"}}}));
    assert_eq!((first.conflicts().len(), &first.value["conflicts_open"]), (1, &json!(1)));
    let mut body = b.body(json!({"files": {"g": {"content": "b\n"}}}));
    body["seq"] = json!(since.seq);
    body["tag"] = json!(since.tag);
    let second = b.push_body(&body);
    assert_eq!((second.conflicts().len(), &second.value["conflicts_open"]), (1, &json!(2)));
    assert_eq!(a.push(json!({"cursor": 1})).value["conflicts_open"], 2, "also those of other devices");
    assert_eq!(a.pull()["conflicts_open"], 2);
}
