use super::*;
use crate::push::{BaseHash, EntryPush, Mine, Push};
use serde_json::json;

mod openapi;
mod problems;

fn policy() -> Policy {
    Policy::default()
}

fn read(body: &Value) -> Result<Push, Reject> {
    read_text(&body.to_string())
}

fn read_text(body: &str) -> Result<Push, Reject> {
    match push(body.as_bytes(), &policy())? {
        Call::Push(push) => Ok(*push),
        other => panic!("{other:?}"),
    }
}

fn state(state: Value) -> Push {
    read(&json!({ "device_id": "web-1", "seq": 4, "state": state })).expect("a push")
}

/// The rejected items: key and code.
fn rejected(push: &Push) -> Vec<(&str, &str)> {
    push.rejected.iter().map(|(key, rejection)| (key.as_str(), rejection.code)).collect()
}

fn field_of(reject: Reject) -> String {
    match reject {
        Reject::InvalidField { field, .. } => field,
        other => panic!("{other:?}"),
    }
}

#[test]
fn objects_are_written_sorted_so_that_equal_values_have_equal_text() {
    // A feature of serde_json, switched on by any crate of the build, would end this.
    let value: Value = serde_json::from_str(r#"{"b":1,"a":{"d":2,"c":3}}"#).expect("JSON");
    assert_eq!(value.to_string(), r#"{"a":{"c":3,"d":2},"b":1}"#);
}

#[test]
fn a_wrong_type_is_refused_with_the_name_of_its_field() {
    let cases = [
        ("device_id", json!(5)),
        ("device_id", json!("")),
        ("device_id", json!("a\n")),
        ("device_id", json!("d".repeat(129))),
        ("device_id", Value::Null),
        ("seq", json!(-1)),
        ("seq", json!(1.5)),
        ("seq", json!(1_u64 << 60)),
        ("seq", json!("4")),
        ("seq", Value::Null),
        ("state", json!([])),
        ("state", Value::Null),
        ("epoch", json!(1)),
        ("tag", json!("12")),
        ("tag", json!(12)),
        ("push_no", json!(-1)),
        ("push_no", json!("1")),
        ("platform", json!([])),
        ("changed_at", json!([])),
        ("changed_at", json!({ "a": "now" })),
        ("patches", json!("yes")),
    ];
    for (field, value) in cases {
        let mut body = json!({ "device_id": "web-1", "seq": 4, "state": {} });
        body[field] = value.clone();
        let reject = read(&body).expect_err(field);
        assert_eq!(field_of(reject), field, "{value}");
    }
    for field in ["device_id", "seq", "state"] {
        let mut body = json!({ "device_id": "web-1", "seq": 4, "state": {} });
        body.as_object_mut().expect("an object").remove(field);
        assert_eq!(field_of(read(&body).expect_err(field)), field);
    }
}

#[test]
fn what_is_not_json_is_told_by_its_place_and_never_shown() {
    let deep = "[".repeat(10_000);
    for body in ["", "{", "[1]", "\"secret\"", r#"{"a":secret}"#, &deep, "{}x"] {
        let Err(Reject::MalformedJson(detail)) = read_text(body) else { panic!("{body}") };
        assert!(!detail.contains("secret"), "{detail}");
    }
    assert!(matches!(push(b"{\"a\":\"\xFF\"}", &policy()), Err(Reject::MalformedJson(_))));
}

#[test]
fn json_may_nest_so_deep_and_no_deeper() {
    let body = |depth: usize| {
        let (open, close) = ("[".repeat(depth), "]".repeat(depth));
        format!(r#"{{"device_id":"web-1","seq":0,"state":{{"deep":{open}{close}}}}}"#)
    };
    // The body and its state are two.
    assert!(read_text(&body(98)).is_ok());
    assert!(matches!(read_text(&body(99)), Err(Reject::MalformedJson(_))));
    assert!(matches!(read_text(&body(5_000)), Err(Reject::MalformedJson(_))));
}

#[test]
fn equal_numbers_are_equal_values() {
    let number = |text: &str| {
        let push = read_text(&format!(r#"{{"device_id":"web-1","seq":0,"state":{{"n":[{text}]}}}}"#));
        push.expect("a push").scalars["n"].clone().expect("a value").to_string()
    };
    for text in ["5", "5.0", "5e0", "0.5e1", "50e-1"] {
        assert_eq!(number(text), "[5]", "{text}");
    }
    assert_eq!((number("-0.0").as_str(), number("0").as_str()), ("[0]", "[0]"));
    assert_eq!(number("1e15"), number("1000000000000000"));
    assert_eq!(number("1.25"), "[1.25]");
    assert_eq!(number("9007199254740993"), "[9007199254740993]");
    assert_eq!(number("0.1"), "[0.1]");
}

#[test]
fn a_push_is_the_same_whatever_the_order_of_its_members() {
    let one = read_text(r#"{"device_id":"web-1","seq":1.0,"push_no":7,"state":{"a":{"x":1,"y":2}}}"#);
    let two = read_text(r#"{"state":{"a":{"y":2,"x":1}},"push_no":7,"seq":1,"device_id":"web-1"}"#);
    assert_eq!(one.expect("a push").push_no, two.expect("a push").push_no);
    let other = read_text(r#"{"device_id":"web-1","seq":1,"push_no":7,"state":{"a":{"x":1,"y":3}}}"#);
    assert_ne!(
        other.expect("a push").push_no,
        read(&json!({"device_id":"web-1","seq":1,"push_no":7,"state":{}})).expect("a push").push_no
    );
}

#[test]
fn unknown_members_are_ignored_and_optional_ones_may_be_null() {
    let push = read(&json!({
        "device_id": "web-1", "seq": 0, "state": {}, "more": [1], "epoch": null, "tag": null, "push_no": null,
        "changed_at": null, "patches": null, "platform": null,
    }));
    assert_eq!(push.expect("a push").push_no, None);
}

#[test]
fn a_wrong_clock_is_a_time_all_the_same() {
    let push = read(&json!({
        "device_id": "web-1", "seq": 0, "state": {}, "changed_at": { "a": -5, "b": 12.9, "c": 1e300 },
    }));
    let times = push.expect("a push").changed_at;
    assert_eq!((times["a"], times["b"], times["c"]), (0, 12, SEQ_MAX));
}

#[test]
fn plaintext_variables_are_refused_whatever_their_value() {
    for env in [json!({ "KEY": "v" }), json!("x"), Value::Null] {
        let body = json!({ "device_id": "web-1", "seq": 0, "state": { "env": env, "n": 1 } });
        assert_eq!(read(&body).map(|_| ()), Err(Reject::PlaintextEnv));
    }
}

#[test]
fn a_push_with_too_many_keys_is_refused_whole() {
    let small = Policy { keys_max: 4, ..policy() };
    let body = |state: Value| json!({ "device_id": "web-1", "seq": 0, "state": state }).to_string();
    let four = json!({ "n": 1, "files": { "a": null }, "sessions": { "s": { "x": 1, "y": 2 } } });
    assert!(push(body(four).as_bytes(), &small).is_ok());
    let five = json!({ "n": 1, "files": { "a": null }, "sessions": { "s": { "x": 1, "y": 2 }, "t": null } });
    let reject = push(body(five).as_bytes(), &small).expect_err("five keys");
    assert_eq!(reject, Reject::TooManyKeys { count: 5, max: 4 });
}

#[test]
fn one_bad_item_leaves_the_others_and_says_why() {
    let push = state(json!({
        "n": 1, "a/b": 1, "": 2, "big": "x".repeat(65 << 10),
        "env_encrypted": { "v": 1, "wraps": [] },
        "files": {
            "ok": { "content": "x" }, "../up": { "content": "x" }, "nothing": {}, "null": { "content": null },
            "base64": { "content_base64": "*" }, "text": "x", "patch": { "patch": [] },
            "hash": { "content": "x", "base_hash": "12" },
        },
        "sessions": { "s1": { "title": "t", "a\nb": 1 }, "s/2": { "x": 1 }, "s3": 5 },
        "context_pages": { "p1": { "title": "t", "content": null } },
    }));
    let expected = [
        ("", "invalid_key"),
        ("a/b", "invalid_key"),
        ("big", "scalar_too_large"),
        ("context_pages/p1", "invalid_entry"),
        ("env_encrypted", "invalid_box"),
        ("files/../up", "invalid_path"),
        ("files/base64", "invalid_base64"),
        ("files/hash", "invalid_entry"),
        ("files/nothing", "invalid_entry"),
        ("files/null", "invalid_entry"),
        ("files/patch", "invalid_entry"),
        ("files/text", "invalid_entry"),
        ("sessions/s/2", "invalid_key"),
        ("sessions/s1/a\nb", "invalid_key"),
        ("sessions/s3", "invalid_entry"),
    ];
    assert_eq!(rejected(&push), expected);
    assert_eq!(push.scalars, [("n".to_owned(), Some(json!(1)))].into());
    assert_eq!(push.documents.keys().collect::<Vec<_>>(), ["files/ok"]);
    assert_eq!(push.entries.keys().collect::<Vec<_>>(), ["context_pages/p1", "sessions/s1"]);
}

#[test]
fn a_whole_collection_is_neither_removed_nor_replaced() {
    let push = state(json!({ "files": null, "sessions": [], "context_pages": "x", "n": 1 }));
    let all = [("context_pages", "invalid_entry"), ("files", "invalid_entry"), ("sessions", "invalid_entry")];
    assert_eq!(rejected(&push), all);
    assert!(push.scalars.contains_key("n"));
}

#[test]
fn null_removes_scalars_fields_entries_and_documents() {
    let push = state(json!({
        "n": null, "sessions": { "s": null, "t": { "x": null } }, "context_pages": { "p": null }, "files": { "f": null },
    }));
    assert_eq!(push.scalars["n"], None);
    assert_eq!(push.entries["sessions/s"], EntryPush::Removed);
    assert_eq!(push.entries["sessions/t"], EntryPush::Fields([("x".to_owned(), None)].into()));
    assert_eq!(
        (&push.entries["context_pages/p"], &push.documents["context_pages/p"].mine),
        (&EntryPush::Removed, &Mine::Removed)
    );
    assert_eq!(push.documents["files/f"].mine, Mine::Removed);
}

#[test]
fn what_only_hosts_make_of_a_document_is_ignored() {
    let hash = Hash::of(b"x").to_string();
    let push = state(json!({
        "context_pages": { "p": { "content": "x", "hash": "wrong", "size": -1, "seq": "?", "title": "t" } },
        "files": { "f": { "content": "x", "size": [], "mode": 7, "base_hash": hash } },
        "sessions": { "s": { "content": "a field", "hash": "too" } },
    }));
    assert!(push.rejected.is_empty(), "{:?}", push.rejected);
    let EntryPush::Fields(fields) = &push.entries["context_pages/p"] else { panic!("fields") };
    assert_eq!(fields.keys().collect::<Vec<_>>(), ["title"]);
    assert_eq!(push.documents["context_pages/p"].base, BaseHash::Unsaid);
    assert_eq!(push.documents["files/f"].base, BaseHash::Of(Hash::of(b"x")));
    let EntryPush::Fields(fields) = &push.entries["sessions/s"] else { panic!("fields") };
    assert_eq!(fields.len(), 2);
}

#[test]
fn the_size_of_a_scalar_is_that_of_its_compact_json() {
    let max = policy().scalar_bytes_max;
    let fits = |value: Value| rejected(&state(json!({ "n": value }))).is_empty();
    assert!(fits(json!("x".repeat(max - 2))) && !fits(json!("x".repeat(max - 1))));
    assert!(fits(json!("\n".repeat(max / 2 - 1))) && !fits(json!("\n".repeat(max / 2))));
    assert!(!fits(json!(["x".repeat(max - 3)])));
    // A box may be larger.
    let sealed = json!({ "v": 1, "wraps": [{ "kid": "k" }], "ct": "x".repeat(max) });
    assert!(rejected(&state(json!({ "env_encrypted": sealed }))).is_empty());
    assert!(rejected(&state(json!({ "env_encrypted": "a plain string" }))).is_empty());
}

#[test]
fn a_pull_is_read_from_its_query() {
    let Ok(Call::Pull(query)) =
        pull("since_seq=41&epoch=e%20f&tag=0123456789abcdef&patches=1&files=meta&x=y", None)
    else {
        panic!("a pull");
    };
    assert_eq!(
        (query.since, query.epoch.as_deref(), query.patches, query.meta),
        (Some(41), Some("e f"), true, true)
    );
    let wrong = [
        ("since_seq=-1", "since_seq"),
        ("since_seq=9007199254740992", "since_seq"),
        ("since_seq=", "since_seq"),
        ("tag=xyz", "tag"),
        ("patches=maybe", "patches"),
        ("files=all", "files"),
        ("device_id=", "device_id"),
        ("epoch=%FF", "query"),
    ];
    for (text, field) in wrong {
        assert_eq!(field_of(pull(text, None).expect_err(text)), field, "{text}");
    }
}

#[test]
fn a_history_is_asked_for_by_a_changed_key() {
    let Ok(Call::History(query)) = history("key=files/a+b%2Fc.rs&limit=0&cursor=12.3") else {
        panic!("a history")
    };
    assert_eq!((query.key.as_str(), query.limit, query.cursor), ("files/a b/c.rs", 1, Some((12, 3))));
    let wrong =
        [("", "key"), ("key=files/../a", "key"), ("key=n&limit=201", "limit"), ("key=n&cursor=12", "cursor")];
    for (text, field) in wrong {
        assert_eq!(field_of(history(text).expect_err(text)), field, "{text}");
    }
    assert_eq!(field_of(file("12", None).expect_err("short")), "hash");
}

#[test]
fn a_resolution_says_what_it_wants() {
    let hash = Hash::of(b"x");
    let read = |body: Value| resolve("c1", body.to_string().as_bytes(), &policy());
    let seen = |body: Value| match read(body) {
        Ok(Call::Resolve(resolve)) => resolve.theirs,
        other => panic!("{other:?}"),
    };
    assert_eq!(seen(json!({ "resolution": "mine" })), Seen::Made);
    assert_eq!(seen(json!({ "resolution": "mine", "theirs_hash": null })), Seen::Hash(None));
    assert_eq!(seen(json!({ "resolution": "mine", "theirs_hash": hash })), Seen::Hash(Some(hash)));
    for unknown in [json!({}), json!({ "resolution": "ours" }), json!({ "resolution": 1 })] {
        assert_eq!(read(unknown).map(|_| ()), Err(Reject::InvalidResolution));
    }
    assert_eq!(read(json!({ "resolution": "merged" })).map(|_| ()), Err(Reject::ContentRequired));
    let wrong = [
        (json!({ "resolution": "merged", "content": 5 }), "content"),
        (json!({ "resolution": "merged", "content_base64": "*" }), "content_base64"),
        (json!({ "resolution": "mine", "theirs_hash": "12" }), "theirs_hash"),
        (json!({ "resolution": "mine", "force": "yes" }), "force"),
        (json!({ "resolution": "mine", "device_id": "" }), "device_id"),
    ];
    for (body, field) in wrong {
        assert_eq!(field_of(read(body).expect_err(field)), field);
    }
}

#[test]
fn only_version_1_of_the_protocol_is_spoken() {
    assert_eq!(protocol_version(None), Ok(()));
    assert_eq!(protocol_version(Some(" 1 ")), Ok(()));
    for header in ["2", "", "1.0", "one"] {
        assert_eq!(protocol_version(Some(header)), Err(Reject::UnsupportedProtocol));
    }
}

#[test]
fn times_are_rfc_3339_in_utc() {
    assert_eq!(timestamp(0), "1970-01-01T00:00:00.000Z");
    assert_eq!(timestamp(1_763_815_000_123), "2025-11-22T12:36:40.123Z");
}

#[test]
fn text_goes_out_as_content_and_bytes_as_base64() {
    let shown = |content: &[u8]| document_content(content.to_vec());
    assert_eq!(shown("é\r\n".as_bytes()), ("content".to_owned(), json!("é\r\n")));
    assert_eq!(shown(b""), ("content".to_owned(), json!("")));
    assert_eq!(shown(b"a\0"), ("content_base64".to_owned(), json!("YQA=")));
    assert_eq!(shown(b"\xFF"), ("content_base64".to_owned(), json!("/w==")));
}
