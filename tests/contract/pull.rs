//! PROTOCOL section 5: deltas and snapshots.

use std::thread::sleep;
use std::time::{Duration, Instant};

use nself_sync_tests::hosts::Request;
use nself_sync_tests::world::{View, World, assert_problem, encode, sha256_hex};
use serde_json::{Value, json};

use crate::case::{FILE_BLOCK, LWW, THRESHOLD_5};
use crate::push::assert_tag;

crate::cases![
    fresh_user_has_an_empty_snapshot_with_epoch_and_tag,
    epoch_is_made_once_and_differs_between_users,
    pull_without_a_seq_is_the_initial_snapshot,
    delta_holds_each_changed_key_once_with_its_value_at_head,
    delta_holds_null_for_what_is_gone,
    delta_names_a_key_that_is_back_at_its_old_value,
    delta_holds_the_devices_own_writes,
    delta_from_head_is_empty,
    delta_applied_to_any_older_state_gives_the_snapshot,
    under_lww_delta_applied_to_any_older_state_gives_the_snapshot.config(LWW),
    with_open_conflicts_delta_applied_to_any_older_state_gives_the_snapshot.config(FILE_BLOCK),
    exactly_at_the_threshold_is_a_delta_and_one_more_a_snapshot.config(THRESHOLD_5),
    threshold_is_100_by_default,
    seq_above_head_gets_a_snapshot,
    another_epoch_gets_a_snapshot,
    another_tag_gets_a_snapshot,
    right_epoch_and_tag_get_a_delta,
    snapshot_that_is_asked_for_is_one,
    snapshot_that_is_asked_for_says_that_the_history_is_another,
    pull_without_epoch_and_tag_gets_a_delta,
    tag_of_a_pull_is_the_tag_of_the_push,
    histories_that_differ_have_different_tags,
    impossible_queries_are_400_and_named,
    pull_says_how_many_conflicts_are_open,
    pull_with_a_device_id_touches_last_seen.own(),
    pull_with_meta_gives_no_content,
    etag_answers_304_until_something_changes.http(),
    etag_is_weak_and_differs_with_the_query.http(),
    etag_of_one_user_is_not_another_users.http(),
    more_than_the_reply_limit_comes_by_hash,
];

fn fresh_user_has_an_empty_snapshot_with_epoch_and_tag(world: &World) {
    let reply = world.snapshot();
    assert_eq!(
        (&reply["seq"], &reply["state"], &reply["reason"]),
        (&json!(0), &json!({}), &json!("initial"))
    );
    assert_tag(&reply["tag"]);
    assert!(reply["epoch"].as_str().is_some_and(|epoch| !epoch.is_empty()), "{reply}");
    assert_eq!(reply["conflicts_open"], 0);
    assert!(reply["policy"].is_object());
}

fn epoch_is_made_once_and_differs_between_users(world: &World) {
    let first = world.snapshot();
    let pushed = world.device("desktop-a").push(json!({"n": 1})).value;
    let later = world.snapshot();
    assert_eq!((&first["epoch"], &pushed["epoch"]), (&later["epoch"], &later["epoch"]));
    assert_ne!(world.another_user().snapshot()["epoch"], first["epoch"]);
}

fn pull_without_a_seq_is_the_initial_snapshot(world: &World) {
    let state = json!({"active_file": "x", "sessions": {"s": {"t": 1}}});
    world.device("desktop-a").push(state.clone());
    let reply = world.snapshot();
    assert_eq!((&reply["reason"], &reply["seq"], &reply["state"]), (&json!("initial"), &json!(1), &state));
}

fn delta_holds_each_changed_key_once_with_its_value_at_head(world: &World) {
    let (mut a, mut b) = world.two_devices(
        json!({"same": 1, "n": 0, "sessions": {"s": {"x": 0, "y": 0}}, "files": {"f": {"content": "0\n"}}}),
    );
    for n in 1..=3 {
        a.push(json!({"n": n, "sessions": {"s": {"x": n}}, "files": {"g": {"content": format!("{n}\n")}}}));
    }
    let since = b.seq;
    let reply = b.pull();
    assert_eq!(
        (&reply["kind"], &reply["since_seq"], &reply["seq"]),
        (&json!("delta"), &json!(since), &json!(since + 3))
    );
    assert!(reply.get("reason").is_none(), "{reply}");
    let mut state = reply["state"].clone();
    let entry = state["files"]["g"].take();
    assert_eq!(state, json!({"n": 3, "sessions": {"s": {"x": 3}}, "files": {"g": null}}));
    assert_eq!((&entry["content"], &entry["hash"]), (&json!("3\n"), &json!(sha256_hex(b"3\n"))));
}

fn delta_holds_null_for_what_is_gone(world: &World) {
    let (mut a, mut b) = world.two_devices(json!({
        "n": 0, "sessions": {"s": {"x": 0, "y": 0}, "t": {"x": 0}}, "files": {"f": {"content": "0\n"}},
        "context_pages": {"p": {"content": "0\n", "title": "t"}, "q": {"title": "t"}},
    }));
    let gone = json!({
        "n": null, "sessions": {"s": {"x": null}, "t": null}, "files": {"f": null},
        "context_pages": {"p": null, "q": {"title": null}},
    });
    a.push(gone);
    let want = json!({
        "n": null, "sessions": {"s": {"x": null}, "t": null}, "files": {"f": null}, "context_pages": {"p": null, "q": null},
    });
    assert_eq!(b.pull()["state"], want);
    assert_eq!(b.view, world.view());
}

fn delta_names_a_key_that_is_back_at_its_old_value(world: &World) {
    let (mut a, mut b) = world.two_devices(json!({"n": 0, "files": {"f": {"content": "0\n"}}}));
    for n in ["1", "0"] {
        a.push(
            json!({"n": n.parse::<u64>().expect("a number"), "files": {"f": {"content": format!("{n}\n")}}}),
        );
    }
    let reply = b.pull();
    assert_eq!(reply["state"]["n"], 0);
    assert_eq!(reply["state"]["files"]["f"]["content"], "0\n");
    a.push(json!({"new": 1}));
    a.push(json!({"new": null}));
    let reply = b.pull();
    assert_eq!(reply["state"], json!({"new": null}), "also what came and went");
}

fn delta_holds_the_devices_own_writes(world: &World) {
    let (mut a, _) = world.two_devices(json!({"n": 0}));
    let body = a.body(json!({"n": 1, "files": {"f": {"content": "1\n"}}}));
    a.send(&body);
    let reply = a.pull();
    assert_eq!((&reply["state"]["n"], &reply["state"]["files"]["f"]["content"]), (&json!(1), &json!("1\n")));
    assert_eq!(a.view, world.view(), "a device that lost the reply to its write learns of it");
}

fn delta_from_head_is_empty(world: &World) {
    let (mut a, _) = world.two_devices(json!({"n": 0}));
    let reply = a.pull();
    assert_eq!((&reply["kind"], &reply["state"]), (&json!("delta"), &json!({})));
    assert_eq!(reply["seq"], reply["since_seq"]);
}

fn delta_applied_to_any_older_state_gives_the_snapshot(world: &World) {
    let (mut a, mut b) = world.two_devices(json!({"n": 0}));
    let mut states: Vec<(Value, View)> = vec![(json!({"seq": 0}), View::default())];
    let mut random = 42u64;
    let mut next = move |below: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    };
    for round in 0..45 {
        let device = if next(2) == 0 { &mut a } else { &mut b };
        let (id, field) = (&format!("s{}", next(3)), &format!("x{}", next(3)));
        let text = format!("{}\n{}\n{}\n", next(3), round, next(3));
        let state = match next(9) {
            0 => json!({format!("k{}", next(4)): round}),
            1 => json!({format!("k{}", next(4)): null}),
            2 => json!({"sessions": {id: {field: round}}}),
            3 => json!({"sessions": {id: {field: null}}}),
            4 => json!({"sessions": {id: null}, "context_pages": {id: {field: round}}}),
            5 => json!({"files": {id: {"content": text}}}),
            6 => json!({"files": {id: null}}),
            7 => json!({"context_pages": {id: {"content": text, field: round}}}),
            _ => json!({"context_pages": {id: null}}),
        };
        let response = device.try_push(state);
        assert!(matches!(response.status, 200 | 409), "{}", response.show());
        if response.status == 409 {
            for conflict in world.conflicts() {
                let which = if next(2) == 0 { "mine" } else { "theirs" };
                world.resolved(&conflict, json!({"resolution": which}));
            }
        }
        let snapshot = world.snapshot();
        if snapshot["seq"] != states.last().expect("one").0["seq"] {
            let view = View::of_snapshot(&snapshot["state"]);
            states.push((snapshot, view));
        }
    }
    let head = world.view();
    for (snapshot, view) in states {
        let reply = world.get_json(&format!("/sync/pull?since_seq={}", snapshot["seq"]));
        assert_eq!(reply["kind"], "delta", "{reply}");
        let mut view = view;
        view.apply_reply(&reply["state"]);
        assert_eq!(view, head, "the delta from {}: {}", snapshot["seq"], reply["state"]);
    }
    world.assert_converged(&mut [&mut a, &mut b]);
}

fn under_lww_delta_applied_to_any_older_state_gives_the_snapshot(world: &World) {
    delta_applied_to_any_older_state_gives_the_snapshot(world);
}

fn with_open_conflicts_delta_applied_to_any_older_state_gives_the_snapshot(world: &World) {
    delta_applied_to_any_older_state_gives_the_snapshot(world);
}

fn kind_since(world: &World, since: u64) -> (String, Value) {
    let reply = world.get_json(&format!("/sync/pull?since_seq={since}"));
    (reply["kind"].as_str().expect("a kind").to_owned(), reply["reason"].clone())
}

fn exactly_at_the_threshold_is_a_delta_and_one_more_a_snapshot(world: &World) {
    let (mut a, mut b) = world.two_devices(json!({"n": 0}));
    for n in 1..=6 {
        a.push(json!({"n": n}));
    }
    assert_eq!(kind_since(world, 2).0, "delta");
    assert_eq!(kind_since(world, 1), ("snapshot".into(), json!("behind_threshold")));
    b.pull();
    assert_eq!(b.view, world.view());
}

fn threshold_is_100_by_default(world: &World) {
    let mut a = world.device("desktop-a");
    for n in 1..=102 {
        a.push(json!({"n": n}));
    }
    assert_eq!(kind_since(world, 2).0, "delta");
    assert_eq!(kind_since(world, 1), ("snapshot".into(), json!("behind_threshold")));
}

fn seq_above_head_gets_a_snapshot(world: &World) {
    world.device("desktop-a").push(json!({"n": 1}));
    assert_eq!(kind_since(world, 2), ("snapshot".into(), json!("seq_ahead")));
    assert_eq!(kind_since(world, (1 << 53) - 1), ("snapshot".into(), json!("seq_ahead")));
}

fn another_epoch_gets_a_snapshot(world: &World) {
    let mut a = world.device("desktop-a");
    a.push(json!({"n": 1}));
    a.epoch = Some("another".into());
    let reply = a.pull();
    assert_eq!((&reply["kind"], &reply["reason"]), (&json!("snapshot"), &json!("epoch_changed")));
    assert_eq!(a.pull()["kind"], "delta", "with the new epoch it goes on");
}

fn snapshot_that_is_asked_for_is_one(world: &World) {
    let mut a = world.device("desktop-a");
    a.push(json!({"n": 1, "files": {"a.rs": {"content": "a"}}}));
    let path = format!("{}&snapshot=1&patches=1", a.pull_path());
    let reply = a.get(&path).json();
    assert_eq!((&reply["kind"], &reply["reason"]), (&json!("snapshot"), &json!("asked")));
    assert_eq!(reply["state"]["files"]["a.rs"]["content"], "a", "contents as well, whatever it may have");
    assert_eq!(reply["state"], world.snapshot()["state"]);
}

fn snapshot_that_is_asked_for_says_that_the_history_is_another(world: &World) {
    let mut a = world.device("desktop-a");
    a.push(json!({"n": 1}));
    a.tag = Some("0123456789abcdef".into());
    let reply = a.get(&format!("{}&snapshot=1", a.pull_path())).json();
    assert_eq!((&reply["kind"], &reply["reason"]), (&json!("snapshot"), &json!("epoch_changed")));
}

fn another_tag_gets_a_snapshot(world: &World) {
    let mut a = world.device("desktop-a");
    a.push(json!({"n": 1}));
    a.tag = Some("0123456789abcdef".into());
    let reply = a.pull();
    assert_eq!((&reply["kind"], &reply["reason"]), (&json!("snapshot"), &json!("epoch_changed")));
    assert_eq!(a.pull()["kind"], "delta");
}

fn right_epoch_and_tag_get_a_delta(world: &World) {
    let (mut a, mut b) = world.two_devices(json!({"n": 0}));
    for n in 1..=3 {
        a.push(json!({"n": n}));
        assert_eq!(b.clone().pull()["kind"], "delta", "tags of older seqs are known");
    }
    let reply = b.pull();
    assert_eq!(reply["tag"].as_str(), a.tag.as_deref());
}

fn pull_without_epoch_and_tag_gets_a_delta(world: &World) {
    let mut a = world.device("desktop-a");
    a.push(json!({"n": 1}));
    assert_eq!(kind_since(world, 0).0, "delta");
    assert_eq!(kind_since(world, 1).0, "delta");
}

fn tag_of_a_pull_is_the_tag_of_the_push(world: &World) {
    let mut a = world.device("desktop-a");
    let zero = world.snapshot()["tag"].clone();
    let pushed = a.push(json!({"n": 1})).value;
    let pulled = world.snapshot();
    assert_eq!((&pushed["tag"], &pushed["epoch"]), (&pulled["tag"], &pulled["epoch"]));
    assert_ne!(pushed["tag"], zero);
    let same = a.push(json!({"n": 1})).value;
    assert_eq!(same["tag"], pushed["tag"], "the same seq has the same tag");
}

fn histories_that_differ_have_different_tags(world: &World) {
    let other = world.another_user();
    world.device("desktop-a").push(json!({"n": 1}));
    other.device("desktop-a").push(json!({"n": 2}));
    assert_ne!(world.snapshot()["tag"], other.snapshot()["tag"]);
}

fn impossible_queries_are_400_and_named(world: &World) {
    for since in [
        "abc",
        "-1",
        "1.5",
        "9007199254740992",
        "1e3",
        "0x10",
        "1152921504606846976",
        "99999999999999999999999",
    ] {
        let response = world.get(&format!("/sync/pull?since_seq={since}"));
        assert_problem(&response, 400, "invalid_field");
        assert!(
            response.json()["detail"].as_str().is_some_and(|detail| detail.contains("since_seq")),
            "{}",
            response.show()
        );
    }
}

fn pull_says_how_many_conflicts_are_open(world: &World) {
    let (mut a, mut b) = world.two_devices(json!({"files": {"f": {"content": "base\n"}}}));
    a.push(json!({"files": {"f": {"content": "theirs\n"}}}));
    b.push(json!({"files": {"f": {"content": "mine\n"}}}));
    assert_eq!(a.pull()["conflicts_open"], 1);
    world.resolved(&world.only_conflict(), json!({"resolution": "mine"}));
    assert_eq!(a.pull()["conflicts_open"], 0);
}

fn pull_with_a_device_id_touches_last_seen(world: &World) {
    let mut a = world.device("desktop-a");
    a.push(json!({"n": 1}));
    world.host.advance(600_000);
    let before = world.listed("desktop-a").expect("the device");
    a.pull();
    // It is no part of the answer: a host may write it a moment later.
    let deadline = Instant::now() + Duration::from_secs(3);
    loop {
        let after = world.listed("desktop-a").expect("the device");
        let (before, after) = (before["last_seen"].as_str(), after["last_seen"].as_str());
        if before.is_some() && before < after {
            return;
        }
        assert!(Instant::now() < deadline, "{before:?} {after:?}");
        sleep(Duration::from_millis(50));
    }
}

fn pull_with_meta_gives_no_content(world: &World) {
    let (mut a, b) = world.two_devices(json!({"n": 1}));
    a.push(json!({
        "files": {"f": {"content": "x\n"}, "g": {"content_base64": "AAE="}}, "context_pages": {"p": {"content": "y\n", "title": "t"}},
    }));
    let snapshot = world.get_json("/sync/pull?files=meta");
    let delta = b.get(&(b.pull_path() + "&files=meta")).json();
    assert_eq!((&snapshot["kind"], &delta["kind"]), (&json!("snapshot"), &json!("delta")));
    for reply in [snapshot, delta] {
        for (entry, content) in [("f", &b"x\n"[..]), ("g", &b"\0\x01"[..])] {
            let entry = reply["state"]["files"][entry].as_object().expect("an entry").clone();
            assert!(!entry.contains_key("content") && !entry.contains_key("content_base64"), "{entry:?}");
            assert_eq!((&entry["hash"], &entry["size"]), (&json!(sha256_hex(content)), &json!(2)));
        }
    }
}

fn etag_answers_304_until_something_changes(world: &World) {
    let mut a = world.device("desktop-a");
    a.push(json!({"n": 1}));
    for path in ["/sync/pull", "/sync/pull?since_seq=0"] {
        let etag = world.get(path).header("ETag").expect("an ETag").to_owned();
        let again = |etag: &str| {
            world.send(Request::new("GET", path).bearer(&world.jwt()).header("If-None-Match", etag))
        };
        let not_modified = again(&etag);
        assert_eq!((not_modified.status, not_modified.body.len()), (304, 0), "{path}");
        assert_eq!(again("W/\"other\"").status, 200);
        assert_eq!(again(&format!("W/\"other\", {etag}")).status, 304, "one of several");
        a.push(json!({"n": path}));
        let changed = again(&etag);
        assert_eq!(changed.status, 200);
        assert_ne!(changed.header("ETag"), Some(etag.as_str()));
    }
}

fn etag_is_weak_and_differs_with_the_query(world: &World) {
    let mut a = world.device("desktop-a");
    a.push(json!({"n": 1}));
    let etag = |path: &str| world.get(path).header("ETag").expect("an ETag").to_owned();
    let etags = [
        etag("/sync/pull"),
        etag("/sync/pull?since_seq=0"),
        etag("/sync/pull?since_seq=1"),
        etag("/sync/pull?files=meta"),
    ];
    for (index, one) in etags.iter().enumerate() {
        assert!(one.starts_with("W/\""), "{one}");
        assert!(!etags[..index].contains(one), "another query, another answer: {etags:?}");
    }
}

fn etag_of_one_user_is_not_another_users(world: &World) {
    let other = world.another_user();
    world.device("desktop-a").push(json!({"n": 1}));
    other.device("desktop-a").push(json!({"n": 2}));
    let etag = world.get("/sync/pull").header("ETag").expect("an ETag").to_owned();
    let response =
        other.send(Request::new("GET", "/sync/pull").bearer(&other.jwt()).header("If-None-Match", &etag));
    assert_eq!(response.status, 200);
    assert_eq!(response.json()["state"]["n"], 2);
}

fn more_than_the_reply_limit_comes_by_hash(world: &World) {
    let mut a = world.device("desktop-a");
    let limit =
        world.get_json("/sync/config")["policy"]["reply_bytes_max"].as_u64().expect("reply_bytes_max");
    let size = 512 * 1024;
    let count = limit / size + 3;
    let text = |index: u64| format!("{index:04}").repeat(usize::try_from(size / 4).expect("it fits"));
    let first = a.clone();
    for index in 0..count {
        a.push(json!({"files": {format!("f{index}"): {"content": text(index)}}}));
    }
    for path in ["/sync/pull".to_owned(), format!("/sync/pull?since_seq={}", first.seq)] {
        let reply = world.get_json(&path);
        let files = reply["state"]["files"].as_object().expect("files").clone();
        assert_eq!(files.len() as u64, count, "every file is named");
        let inline: u64 =
            files.values().filter_map(|entry| entry["content"].as_str()).map(|text| text.len() as u64).sum();
        assert!(inline <= limit, "{inline} bytes inline");
        assert!(inline + size > limit, "as much as fits is inline: {inline}");
        let by_hash = files.iter().filter(|(_, entry)| entry.get("content").is_none());
        for (path, entry) in by_hash {
            let hash = entry["hash"].as_str().expect("a hash");
            assert_eq!(entry["size"], size);
            let index: u64 = path[1..].parse().expect("a number");
            assert_eq!(world.get(&format!("/sync/files/{}", encode(hash))).body, text(index).into_bytes());
        }
    }
}
