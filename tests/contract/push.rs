//! PROTOCOL section 4: what a push is, what it answers, and what is refused whole.

use std::thread;

use nself_sync_tests::world::{Reply, View, World, assert_problem, sha256_hex};
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
    unknown_fields_of_a_body_are_ignored,
    missing_fields_are_400_and_named,
    wrong_types_are_400_and_named,
    impossible_seqs_are_400,
    refused_body_changes_nothing,
    one_bad_item_never_fails_the_others,
    file_of_513_kb_is_rejected_alone,
    whole_collection_as_null_is_rejected_alone,
    entries_that_are_no_objects_are_rejected_alone,
    documents_without_content_are_rejected_alone,
    base64_that_is_not_is_rejected_alone,
    scalar_of_64_kib_passes_and_one_byte_more_is_rejected,
    field_of_an_entry_has_the_same_limit_as_a_scalar,
    plaintext_env_is_refused_whole,
    ten_thousand_keys_pass_and_one_more_is_413,
    fields_of_entries_count_as_keys,
    hundred_devices_pass_and_one_more_is_403,
    push_is_also_a_pull,
    changes_leave_out_what_this_push_wrote,
    changes_carry_a_value_that_was_merged_otherwise,
    changes_too_far_behind_say_so_and_the_push_counts.config(THRESHOLD_5),
    device_ids_of_1_to_128_bytes_work_and_others_are_400,
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

fn unknown_fields_of_a_body_are_ignored(world: &World) {
    let body = json!({
        "device_id": "desktop-a", "seq": 0, "state": {"active_file": "x"}, "client_version": "9.9", "extra": {"a": [1]},
    });
    assert_eq!(world.push_raw(&body).status, 200);
    assert_eq!(world.snapshot()["state"], json!({"active_file": "x"}));
}

fn good_body() -> Value {
    json!({"device_id": "desktop-a", "seq": 0, "state": {"active_file": "x"}})
}

fn assert_names(world: &World, body: &Value, field: &str) {
    let response = world.push_raw(body);
    assert_problem(&response, 400, "invalid_field");
    let detail = response.json()["detail"].as_str().unwrap_or_default().to_owned();
    assert!(detail.contains(field), "400 names {field}: {detail}");
}

fn missing_fields_are_400_and_named(world: &World) {
    for field in ["device_id", "seq", "state"] {
        let mut body = good_body();
        body.as_object_mut().expect("an object").remove(field);
        assert_names(world, &body, field);
    }
}

fn wrong_types_are_400_and_named(world: &World) {
    let wrong = [
        ("device_id", json!(5)),
        ("device_id", json!(null)),
        ("seq", json!("0")),
        ("seq", json!(null)),
        ("state", json!([])),
        ("state", json!("{}")),
        ("state", json!(null)),
        ("epoch", json!(7)),
        ("tag", json!({})),
        ("push_no", json!("1")),
        ("push_no", json!(-1)),
        ("push_no", json!(1.5)),
        ("platform", json!(5)),
        ("changed_at", json!(5)),
        ("changed_at", json!({"active_file": "yesterday"})),
        ("patches", json!("yes")),
    ];
    for (field, value) in wrong {
        let mut body = good_body();
        body[field] = value;
        assert_names(world, &body, field);
    }
    assert_eq!(world.head(), 0);
}

fn impossible_seqs_are_400(world: &World) {
    for seq in [json!(-1), json!(0.5), json!(1u64 << 60), json!(1u64 << 53), json!(1e300)] {
        let mut body = good_body();
        body["seq"] = seq;
        assert_names(world, &body, "seq");
    }
}

fn refused_body_changes_nothing(world: &World) {
    let body = json!({"device_id": "desktop-a", "seq": -1, "state": {"active_file": "x", "files": {"f": {"content": ""}}}});
    assert_eq!(world.push_raw(&body).status, 400);
    assert_eq!(world.head(), 0);
    assert!(world.devices().is_empty());
}

fn one_bad_item_never_fails_the_others(world: &World) {
    let mut a = world.device("desktop-a");
    let reply = a.push(json!({
        "active_file": "good", "big": "x".repeat(70_000), "bad/key": 1, "env_encrypted": {"v": "not a box"},
        "sessions": {"s1": {"title": "good", "big": "x".repeat(70_000)}, "s2": 5},
        "files": {
            "good.rs": {"content": "good\n"}, "../bad.rs": {"content": "bad\n"}, "big.rs": {"content": "x".repeat(513 * 1024)},
            "bin": {"content_base64": "%%%"}, "patched": {"patch": [[0, 1, "x"]], "base_hash": sha256_hex(b"?")},
        },
    }));
    let expected = [
        ("big", "scalar_too_large"),
        ("bad/key", "invalid_key"),
        ("env_encrypted", "invalid_box"),
        ("sessions/s1/big", "scalar_too_large"),
        ("sessions/s2", "invalid_entry"),
        ("files/../bad.rs", "invalid_path"),
        ("files/big.rs", "file_too_large"),
        ("files/bin", "invalid_base64"),
        ("files/patched", "base_unknown"),
    ];
    for (key, code) in expected {
        assert_eq!(reply.rejected(key), code, "{key}");
    }
    assert_eq!(reply.seq(), 1);
    let good = json!({"active_file": "good", "sessions": {"s1": {"title": "good"}}, "files": {"good.rs": {"content": "good\n"}}});
    let mut want = View::default();
    want.apply(&good);
    assert_eq!(world.view(), want, "the rest is applied, and only it");
}

fn file_of_513_kb_is_rejected_alone(world: &World) {
    let mut a = world.device("desktop-a");
    let at_limit = "x".repeat(512 * 1024);
    let reply = a.push(json!({"files": {
        "over": {"content": format!("{at_limit}y")}, "at": {"content": at_limit}, "small": {"content": "small\n"},
    }}));
    assert_eq!(reply.rejected("files/over"), "file_too_large");
    let files = world.view().files;
    assert_eq!(files.keys().collect::<Vec<_>>(), ["at", "small"]);
    assert_eq!(files["at"].len(), 512 * 1024);
}

fn whole_collection_as_null_is_rejected_alone(world: &World) {
    for collection in ["sessions", "files", "context_pages"] {
        let world = world.another_user();
        let mut a = world.device("desktop-a");
        a.push(json!({"sessions": {"s": {"t": 1}}, "files": {"f": {"content": "1"}}, "context_pages": {"p": {"t": 1}}}));
        let before = world.view();
        let reply = a.push(json!({collection: null, "active_file": "x"}));
        assert_eq!(reply.status(collection), "rejected", "{}", reply.value);
        let mut want = before;
        want.scalars.insert("active_file".into(), json!("x"));
        assert_eq!(world.view(), want, "{collection}: null removes nothing");
    }
}

fn entries_that_are_no_objects_are_rejected_alone(world: &World) {
    let mut a = world.device("desktop-a");
    let reply = a.push(json!({
        "sessions": {"n": 5, "l": [], "t": "x", "b": true, "good": {"title": "t"}},
        "files": {"n": 5, "l": [{"content": "x"}], "t": "text", "good": {"content": "t"}},
        "context_pages": {"n": 5, "l": [], "t": "text", "good": {"title": "t"}},
    }));
    for collection in ["sessions", "files", "context_pages"] {
        for id in ["n", "l", "t"] {
            assert_eq!(reply.rejected(&format!("{collection}/{id}")), "invalid_entry");
        }
    }
    let view = world.view();
    assert_eq!((view.sessions.len(), view.files.len(), view.pages.len()), (1, 1, 1));
}

fn documents_without_content_are_rejected_alone(world: &World) {
    let mut a = world.device("desktop-a");
    a.push(
        json!({"files": {"f": {"content": "1\n"}}, "context_pages": {"p": {"content": "1\n", "title": "t"}}}),
    );
    let before = world.view();
    let reply = a.push(json!({
        "files": {"f": {"content": null}, "g": {}, "h": {"mode": 7}, "i": {"content": 5}},
        "context_pages": {"p": {"content": null}},
    }));
    for key in ["files/f", "files/g", "files/h", "files/i", "context_pages/p"] {
        assert_eq!(reply.status(key), "rejected", "{key}: {}", reply.value);
    }
    assert_eq!(world.view(), before, "nothing is removed by an entry without content");
}

fn base64_that_is_not_is_rejected_alone(world: &World) {
    let mut a = world.device("desktop-a");
    let reply = a.push(json!({"files": {
        "1": {"content_base64": "!!!!"}, "2": {"content_base64": "AAA=AAA="}, "3": {"content_base64": "A"},
        "good": {"content_base64": "AAEC/w=="}, "4": {"content_base64": "AA EC"},
    }}));
    for key in ["files/1", "files/2", "files/3", "files/4"] {
        assert_eq!(reply.rejected(key), "invalid_base64", "{key}");
    }
    assert_eq!(world.view().files["good"], [0, 1, 2, 255]);
}

fn scalar_of_64_kib_passes_and_one_byte_more_is_rejected(world: &World) {
    let mut a = world.device("desktop-a");
    // The two quotes count: it is the size as compact JSON.
    let at = "x".repeat(65_534);
    let reply = a.push(json!({"at": at, "over": format!("{at}y")}));
    assert_eq!(reply.status("at"), "applied");
    assert_eq!(reply.rejected("over"), "scalar_too_large");
    let body = format!(
        r#"{{"device_id": "desktop-a", "seq": 1, "push_no": 99, "state": {{"spaced": [1,{}2]}}}}"#,
        " ".repeat(70_000)
    );
    let request = nself_sync_tests::hosts::Request::new("POST", "/sync/push").bearer(&a.auth()).bytes(body);
    let reply = Reply::of(&world.send(request));
    assert_eq!(reply.status("spaced"), "applied", "white space does not count: {}", reply.value);
}

fn field_of_an_entry_has_the_same_limit_as_a_scalar(world: &World) {
    let mut a = world.device("desktop-a");
    let at = "x".repeat(65_534);
    let reply = a.push(json!({
        "sessions": {"s": {"at": at, "over": format!("{at}y")}}, "context_pages": {"p": {"at": at, "over": format!("{at}y")}},
    }));
    assert_eq!(reply.rejected("sessions/s/over"), "scalar_too_large");
    assert_eq!(reply.rejected("context_pages/p/over"), "scalar_too_large");
    let view = world.view();
    assert_eq!((view.sessions["s"].len(), view.pages["p"].fields.len()), (1, 1));
}

fn plaintext_env_is_refused_whole(world: &World) {
    for env in
        [json!({"API_KEY": "sk-secret"}), json!({}), json!(null), json!("A=1"), json!([]), json!(false)]
    {
        let response = world.push_raw(
            &json!({"device_id": "desktop-a", "seq": 0, "state": {"env": env, "active_file": "x"}}),
        );
        assert_problem(&response, 422, "plaintext_env");
        assert!(!response.text().contains("sk-secret"), "an error never carries the secret");
    }
    assert_eq!(world.head(), 0);
    let mut a = world.device("desktop-a");
    a.push(
        json!({"sessions": {"s1": {"env": "a session's field of that name is its own"}}, "environment": 1}),
    );
    assert_eq!(world.view().sessions["s1"].len(), 1);
}

fn numbered(count: usize) -> Value {
    Value::Object((0..count).map(|index| (format!("k{index}"), json!(index))).collect())
}

fn ten_thousand_keys_pass_and_one_more_is_413(world: &World) {
    let mut a = world.device("desktop-a");
    assert_problem(&a.try_push(numbered(10_001)), 413, "too_many_keys");
    assert_eq!(world.head(), 0);
    assert_eq!(a.push(numbered(10_000)).seq(), 1);
    assert_eq!(world.view().scalars.len(), 10_000);
}

fn fields_of_entries_count_as_keys(world: &World) {
    let mut a = world.device("desktop-a");
    assert_problem(&a.try_push(json!({"sessions": {"s1": numbered(10_001)}})), 413, "too_many_keys");
    assert_eq!(world.head(), 0);
}

fn hundred_devices_pass_and_one_more_is_403(world: &World) {
    for index in 0..100 {
        world.device(&format!("desktop-{index}")).push(json!({"n": index}));
    }
    let mut last = world.device("desktop-100");
    assert_problem(&last.try_push(json!({"n": 100})), 403, "too_many_devices");
    assert_eq!(world.scalar("n"), 99);
    assert_eq!(world.delete("/sync/devices/desktop-7").status, 204);
    last.push(json!({"n": 100}));
    assert_eq!(world.scalar("n"), 100, "a removed device makes room");
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

fn device_ids_of_1_to_128_bytes_work_and_others_are_400(world: &World) {
    for good in
        ["x".to_owned(), "d".repeat(128), "01J9ZK3V5E8Q4R7T2W6Y0ABCDE".into(), "Tablet Ünï/1 %".into()]
    {
        world.device(&good).push(json!({"from": good}));
        assert!(world.listed(&good).is_some(), "{good}");
    }
    for bad in [String::new(), "d".repeat(129), "é".repeat(65)] {
        let mut body = good_body();
        body["device_id"] = json!(bad);
        assert_names(world, &body, "device_id");
    }
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
