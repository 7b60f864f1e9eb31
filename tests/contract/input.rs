//! PROTOCOL sections 2 and 4: what cannot be read as a push, and the one bad item that never fails the others.

use nself_sync_tests::world::{Reply, View, World, assert_problem, sha256_hex};
use serde_json::{Value, json};

crate::cases![
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
    device_ids_of_1_to_128_bytes_work_and_others_are_400,
];

fn good_body() -> Value {
    json!({"device_id": "desktop-a", "seq": 0, "state": {"active_file": "x"}})
}

fn assert_names(world: &World, body: &Value, field: &str) {
    let response = world.push_raw(body);
    assert_problem(&response, 400, "invalid_field");
    let detail = response.json()["detail"].as_str().unwrap_or_default().to_owned();
    assert!(detail.contains(field), "400 names {field}: {detail}");
}

fn numbered(count: usize) -> Value {
    Value::Object((0..count).map(|index| (format!("k{index}"), json!(index))).collect())
}

fn unknown_fields_of_a_body_are_ignored(world: &World) {
    let body = json!({
        "device_id": "desktop-a", "seq": 0, "state": {"active_file": "x"}, "client_version": "9.9", "extra": {"a": [1]},
    });
    assert_eq!(world.push_raw(&body).status, 200);
    assert_eq!(world.snapshot()["state"], json!({"active_file": "x"}));
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
