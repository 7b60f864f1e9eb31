//! PROTOCOL section 9: nothing that lost is out of reach.

use nself_sync_tests::hosts::Request;
use nself_sync_tests::world::{World, assert_problem, encode, sha256_hex};
use serde_json::{Value, json};

use crate::case::LWW;

crate::cases![
    scalar_versions_come_newest_first_with_their_values,
    document_versions_come_with_hashes_whose_bytes_can_be_had,
    fields_and_pages_have_a_history_of_their_own,
    every_loser_of_a_busy_day_is_reachable,
    under_lww_every_text_is_reachable.config(LWW),
    superseded_version_carries_the_seq_of_head_at_that_time,
    conflict_and_resolution_are_in_the_history,
    pages_of_versions_join_without_gap_or_repeat,
    pages_stay_right_while_others_write,
    limit_is_honoured,
    impossible_queries_are_400,
    key_without_versions_is_an_empty_list,
    key_may_be_any_path,
    unknown_and_malformed_hashes_are_404,
    file_bytes_are_exact_and_not_cached_publicly.http(),
    file_bytes_are_never_a_page_for_a_browser.http(),
    file_bytes_that_the_client_has_are_not_sent_again.http(),
];

fn scalar_versions_come_newest_first_with_their_values(world: &World) {
    let (mut a, mut b) = world.two_devices(json!({"n": 0}));
    a.push(json!({"n": {"x": 1}}));
    b.pull();
    b.push(json!({"n": null}));
    a.pull();
    a.push(json!({"n": 3}));
    let versions = world.history("n");
    let values: Vec<&Value> = versions.iter().map(|version| &version["value"]).collect();
    assert_eq!(values, [&json!(3), &json!(null), &json!({"x": 1}), &json!(0)]);
    let seqs: Vec<u64> = versions.iter().map(|version| version["seq"].as_u64().expect("a seq")).collect();
    assert_eq!(seqs, [4, 3, 2, 1]);
    let devices: Vec<&Value> = versions.iter().map(|version| &version["device_id"]).collect();
    assert_eq!(devices, ["desktop-a", "mobile-b", "desktop-a", "desktop-a"]);
    for version in &versions {
        assert_eq!(version["cause"], "push");
        crate::devices::assert_time(&version["created_at"]);
    }
}

fn document_versions_come_with_hashes_whose_bytes_can_be_had(world: &World) {
    let mut a = world.device("desktop-a");
    let texts = ["first\n", "second\n", "third\n"];
    for text in texts {
        a.push(json!({"files": {"f": {"content": text}}}));
    }
    let versions = world.history("files/f");
    assert_eq!(versions.len(), 3, "{versions:?}");
    for (version, text) in versions.iter().zip(texts.iter().rev()) {
        assert_eq!(version["hash"], sha256_hex(text.as_bytes()));
        assert!(world.reachable(text.as_bytes()));
    }
}

fn fields_and_pages_have_a_history_of_their_own(world: &World) {
    let mut a = world.device("desktop-a");
    for n in 0..2 {
        a.push(json!({
            "sessions": {"s": {"title": n, "same": 1}}, "context_pages": {"p": {"title": n, "content": format!("{n}\n")}},
        }));
    }
    for (key, count) in [
        ("sessions/s/title", 2),
        ("sessions/s/same", 1),
        ("context_pages/p/title", 2),
        ("context_pages/p", 2),
    ] {
        assert_eq!(world.history(key).len(), count, "{key}: {:?}", world.history(key));
    }
    assert!(world.history("context_pages/p")[0]["hash"].is_string());
    assert_eq!(world.history("context_pages/p/title")[0]["value"], 1);
}

fn every_loser_of_a_busy_day_is_reachable(world: &World) {
    let mut pushed = Vec::new();
    let (mut a, mut b) = world.two_devices(json!({"files": {"f": {"content": "0\n\n\n0\n"}}}));
    for round in 0..8 {
        for (device, line) in [(&mut a, 0), (&mut b, if round % 2 == 0 { 3 } else { 0 })] {
            let mut lines = ["a".to_owned(), String::new(), String::new(), "b".to_owned()];
            lines[line] = format!("{} {round}", device.id);
            let text = lines.join("\n") + "\n";
            let response = device.try_push(json!({"files": {"f": {"content": text}}}));
            if response.status == 200 {
                pushed.push(text);
            } else {
                assert_problem(&response, 409, "conflicts_unresolved");
                let conflict = world.conflicts()[0].clone();
                world.resolve(
                    &conflict,
                    json!({"resolution": if round % 2 == 0 { "mine" } else { "theirs" }}),
                );
            }
        }
    }
    for text in &pushed {
        assert!(world.reachable(text.as_bytes()), "{text:?} was taken and must be somewhere");
    }
    let hashes: Vec<Value> = world.history("files/f").iter().map(|version| version["hash"].clone()).collect();
    for text in &pushed {
        assert!(hashes.contains(&json!(sha256_hex(text.as_bytes()))), "{text:?} is in the history");
    }
}

fn under_lww_every_text_is_reachable(world: &World) {
    every_loser_of_a_busy_day_is_reachable(world);
}

fn superseded_version_carries_the_seq_of_head_at_that_time(world: &World) {
    let (mut a, mut b) = world.two_devices(json!({"n": 0}));
    a.push_at(json!({"n": 1}), json!({"n": 2000}));
    let head = world.head();
    b.push_at(json!({"n": "lost"}), json!({"n": 1000}));
    let after = world.head();
    let lost = world.history("n").into_iter().find(|version| version["value"] == "lost").expect("what lost");
    assert_eq!(lost["cause"], "superseded");
    assert!(lost["seq"] == head || lost["seq"] == after, "{lost}: head was {head}, then {after}");
}

fn conflict_and_resolution_are_in_the_history(world: &World) {
    let (mut a, mut b) = world.two_devices(json!({"files": {"f": {"content": "base\n"}}}));
    a.push(json!({"files": {"f": {"content": "theirs\n"}}}));
    b.push(json!({"files": {"f": {"content": "mine\n"}}}));
    let cause = |text: &str| {
        let hash = sha256_hex(text.as_bytes());
        let versions = world.history("files/f");
        let causes: Vec<Value> = versions
            .iter()
            .filter(|version| version["hash"] == hash)
            .map(|version| version["cause"].clone())
            .collect();
        causes
    };
    assert_eq!(cause("mine\n"), [json!("conflict")]);
    world.resolved(&world.only_conflict(), json!({"resolution": "mine", "device_id": a.id}));
    assert!(cause("mine\n").contains(&json!("resolve")), "{:?}", world.history("files/f"));
    assert_eq!(cause("theirs\n"), [json!("push")]);
}

fn page(world: &World, key: &str, limit: u64, cursor: &Value) -> Value {
    let cursor = match cursor {
        Value::Null => String::new(),
        Value::String(cursor) => format!("&cursor={}", encode(cursor)),
        cursor => format!("&cursor={cursor}"),
    };
    world.get_json(&format!("/sync/history?key={}&limit={limit}{cursor}", encode(key)))
}

fn pages_of_versions_join_without_gap_or_repeat(world: &World) {
    let (mut a, mut b) = world.two_devices(json!({"n": 0}));
    for n in 1..=12 {
        a.push_at(json!({"n": n}), json!({"n": 5000}));
        // Losers carry the seq of a winner: a cursor by seq alone would skip or repeat one.
        b.push_at(json!({"n": format!("lost {n}")}), json!({"n": 1000}));
        b.seq = 1;
        b.tag = None;
        b.epoch = None;
    }
    for limit in [1, 2, 5, 7] {
        let (mut values, mut cursor) = (Vec::new(), Value::Null);
        loop {
            let page = page(world, "n", limit, &cursor);
            values.extend(
                page["versions"].as_array().expect("versions").iter().map(|version| version["value"].clone()),
            );
            cursor = page["next"].clone();
            if cursor.is_null() || values.len() > 100 {
                break;
            }
        }
        let mut unique: Vec<String> = values.iter().map(Value::to_string).collect();
        unique.sort();
        unique.dedup();
        assert_eq!((values.len(), unique.len()), (25, 25), "limit {limit}: {values:?}");
    }
}

fn pages_stay_right_while_others_write(world: &World) {
    let mut a = world.device("desktop-a");
    for n in 0..10 {
        a.push(json!({"n": n}));
    }
    let first = page(world, "n", 4, &Value::Null);
    for n in 10..15 {
        a.push(json!({"n": n}));
    }
    let second = page(world, "n", 4, &first["next"]);
    let values = |page: &Value| -> Vec<Value> {
        page["versions"]
            .as_array()
            .expect("versions")
            .iter()
            .map(|version| version["value"].clone())
            .collect()
    };
    assert_eq!(values(&first), [9, 8, 7, 6]);
    assert_eq!(values(&second), [5, 4, 3, 2]);
}

fn limit_is_honoured(world: &World) {
    let mut a = world.device("desktop-a");
    for n in 0..5 {
        a.push(json!({"n": n}));
    }
    let reply = page(world, "n", 3, &Value::Null);
    assert_eq!(reply["versions"].as_array().map(Vec::len), Some(3));
    assert!(!reply["next"].is_null());
    let all = page(world, "n", 5, &Value::Null);
    assert_eq!(all["versions"].as_array().map(Vec::len), Some(5));
}

fn impossible_queries_are_400(world: &World) {
    for query in ["key=n&limit=abc", "key=n&limit=-1", "key=n&limit=1.5", ""] {
        let response = world.get(&format!("/sync/history?{query}"));
        assert_problem(&response, 400, "invalid_field");
    }
}

fn key_without_versions_is_an_empty_list(world: &World) {
    world.device("desktop-a").push(json!({"n": 1}));
    for key in ["never", "files/never", "sessions/s/x"] {
        let reply = world.get_json(&format!("/sync/history?key={}", encode(key)));
        assert_eq!(reply["versions"], json!([]), "{key}");
        assert!(reply.get("next").is_none_or(Value::is_null));
    }
}

fn key_may_be_any_path(world: &World) {
    let mut a = world.device("desktop-a");
    for path in ["web/src/main.rs", "with space/ü+%41&x=1#.txt", "a"] {
        a.push(json!({"files": {path: {"content": "x\n"}}}));
        assert_eq!(world.history(&format!("files/{path}")).len(), 1, "{path}");
    }
}

fn unknown_and_malformed_hashes_are_404(world: &World) {
    assert_problem(
        &world.get(&format!("/sync/files/{}", sha256_hex(b"nobody knows this"))),
        404,
        "not_found",
    );
    for hash in ["x", "..", "%2e%2e%2fetc%2fpasswd", "ABC", "%00", &"f".repeat(5000)] {
        let response = world.get(&format!("/sync/files/{hash}"));
        assert!(matches!(response.status, 400 | 404 | 414), "{hash}: {}", response.show());
    }
}

fn file_bytes_are_exact_and_not_cached_publicly(world: &World) {
    let mut a = world.device("desktop-a");
    let text = "\u{feff}<script>alert(1)</script>\r\nno newline";
    a.push(json!({"files": {"f": {"content": text}}}));
    let response = world.get(&format!("/sync/files/{}", sha256_hex(text.as_bytes())));
    assert_eq!(response.body, text.as_bytes());
    let cache = response.header_list("Cache-Control");
    assert!(cache.contains("private") && !cache.contains("public"), "{cache}");
    assert!(response.header_list("Vary").contains("authorization"), "{:?}", response.headers);
}

fn file_bytes_are_never_a_page_for_a_browser(world: &World) {
    let mut a = world.device("desktop-a");
    let text = "<html><script>alert(document.domain)</script></html>";
    a.push(json!({"files": {"f": {"content": text}}}));
    let request =
        Request::new("GET", &format!("/sync/files/{}", sha256_hex(text.as_bytes()))).bearer(&world.jwt());
    let response = world.send(request);
    let kind = response.header_list("Content-Type");
    assert!(!kind.contains("html") && !kind.contains("javascript") && !kind.contains("svg"), "{kind}");
    assert_eq!(
        response.header_list("X-Content-Type-Options"),
        "nosniff",
        "a browser must not guess: {:?}",
        response.headers
    );
}

fn file_bytes_that_the_client_has_are_not_sent_again(world: &World) {
    world.device("desktop-a").push(json!({"files": {"f": {"content": "text"}}}));
    let path = format!("/sync/files/{}", sha256_hex(b"text"));
    let ask = |path: &str, tag: &str| {
        world.send(Request::new("GET", path).bearer(&world.jwt()).header("If-None-Match", tag))
    };
    let etag = world.get(&path).header("ETag").expect("an ETag").to_owned();
    let again = ask(&path, &etag);
    assert_eq!((again.status, again.body.len(), again.header("ETag")), (304, 0, Some(etag.as_str())));
    assert_eq!(ask(&path, "W/\"other\"").status, 200);
    let unknown = format!("/sync/files/{}", sha256_hex(b"nobody knows this"));
    assert_eq!(ask(&unknown, "*").status, 404, "what is not there is not unchanged");
}
