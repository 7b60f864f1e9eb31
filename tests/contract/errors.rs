//! PROTOCOL section 9: how a host says no.

use nself_sync_tests::hosts::Request;
use nself_sync_tests::world::{World, assert_problem, assert_problem_shape};
use serde_json::json;

use crate::auth::ROUTES;

crate::cases![
    every_kind_of_error_is_a_whole_problem,
    errors_are_problem_json_and_not_stored.http(),
    client_errors_are_not_retryable,
    request_id_is_echoed.http(),
    request_id_is_made_where_there_is_none.http(),
    request_id_that_is_no_plain_text_is_replaced.http(),
    what_is_not_json_is_400,
    what_is_json_but_no_object_is_400,
    invalid_utf8_is_400,
    json_nested_10000_deep_is_400,
    json_nested_20_deep_is_fine,
    nul_and_lone_surrogates_do_no_harm,
    unknown_route_is_404,
    wrong_method_is_405_with_allow.http(),
    unknown_protocol_version_is_426.http(),
    protocol_version_1_is_welcome.http(),
    errors_never_carry_content_or_tokens,
    log_never_carries_content_tokens_or_sealed_bytes.native().config(&[("LOG_LEVEL", "debug")]),
];

fn push_text(world: &World, body: impl Into<Vec<u8>>) -> nself_sync_tests::hosts::Response {
    world.send(
        Request::new("POST", "/sync/push")
            .bearer(&world.jwt())
            .header("Content-Type", "application/json")
            .bytes(body),
    )
}

fn every_kind_of_error_is_a_whole_problem(world: &World) {
    let mut a = world.device("desktop-a");
    a.push(json!({"n": 1}));
    let errors = [
        (401, world.send(Request::new("GET", "/sync/pull"))),
        (400, push_text(world, *b"{")),
        (400, world.get("/sync/pull?since_seq=x")),
        (403, a.get("/sync/devices")),
        (404, world.get("/sync/nothing")),
        (404, world.delete("/sync/devices/nobody")),
        (409, a.send(&json!({"device_id": a.id, "seq": 99, "state": {}}))),
        (422, a.send(&json!({"device_id": a.id, "seq": 1, "state": {"env": 1}}))),
    ];
    for (status, response) in errors {
        assert_eq!(response.status, status, "{}", response.show());
        assert_problem_shape(&response);
        assert!(!response.code().is_empty(), "{}", response.show());
    }
}

fn errors_are_problem_json_and_not_stored(world: &World) {
    let errors = [
        world.send(Request::new("GET", "/sync/pull")),
        push_text(world, *b"{"),
        world.get("/sync/nothing"),
        world.get("/nothing"),
        world.send(Request::new("PUT", "/sync/push").bearer(&world.jwt()).bytes(*b"{}")),
    ];
    for response in errors {
        assert!(
            response.header_list("Content-Type").starts_with("application/problem+json"),
            "{:?}",
            response.headers
        );
        assert!(response.header_list("Cache-Control").contains("no-store"), "{:?}", response.headers);
        let id = response.header("X-Request-Id").expect("every answer has its request id").to_owned();
        assert_eq!(response.json()["request_id"], id, "the body names it as well");
    }
}

fn client_errors_are_not_retryable(world: &World) {
    for response in [world.get("/sync/nothing"), push_text(world, *b"{"), world.get("/sync/pull?since_seq=x")]
    {
        assert_eq!(response.json()["retryable"], false, "{}", response.show());
    }
}

fn request_id_is_echoed(world: &World) {
    for id in ["abc-123", &"x".repeat(128), "with space ~!@#$%^&*()"] {
        for path in ["/sync/pull", "/sync/nothing", "/health"] {
            let response =
                world.send(Request::new("GET", path).bearer(&world.jwt()).header("X-Request-Id", id));
            assert_eq!(response.header("X-Request-Id"), Some(id), "{path}");
        }
    }
}

fn request_id_is_made_where_there_is_none(world: &World) {
    let (first, second) = (world.get("/sync/pull"), world.get("/sync/pull"));
    let (first, second) = (first.header("X-Request-Id"), second.header("X-Request-Id"));
    assert!(first.is_some_and(|id| id.len() >= 8) && first != second, "{first:?} {second:?}");
}

fn request_id_that_is_no_plain_text_is_replaced(world: &World) {
    for id in [&"x".repeat(129), "ü", "tab\there"] {
        let response =
            world.send(Request::new("GET", "/sync/pull").bearer(&world.jwt()).header("X-Request-Id", id));
        assert!(response.status == 200 || response.status == 400, "{id:?}: {}", response.show());
        let given = response.header("X-Request-Id").unwrap_or_default();
        assert!(given != id && given.is_ascii() && given.len() <= 128, "{id:?} gives {given:?}");
    }
}

fn what_is_not_json_is_400(world: &World) {
    for body in [
        "",
        " ",
        "{",
        "x",
        "{\"device_id\":}",
        "{}{}",
        "{\"a\":NaN}",
        "{'a':1}",
        "{\"seq\":01}",
        "{\"device_id\":\"a\",}",
        "\u{feff}{",
    ] {
        assert_problem(&push_text(world, body), 400, "malformed_json");
    }
    assert!(world.devices().is_empty());
}

fn what_is_json_but_no_object_is_400(world: &World) {
    for body in ["[]", "null", "\"x\"", "5", "true", "[{\"device_id\":\"desktop-a\",\"seq\":0,\"state\":{}}]"]
    {
        let response = push_text(world, body);
        assert_eq!(response.status, 400, "{body}: {}", response.show());
        assert!(
            matches!(response.code().as_str(), "malformed_json" | "invalid_field"),
            "{}",
            response.show()
        );
    }
}

fn invalid_utf8_is_400(world: &World) {
    for text in [&b"\xff"[..], b"\xc3\x28", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80"] {
        let body = [b"{\"device_id\":\"desktop-a\",\"seq\":0,\"state\":{\"n\":\"", text, b"\"}}"].concat();
        assert_problem(&push_text(world, body), 400, "malformed_json");
    }
    assert_eq!(world.head(), 0);
}

fn json_nested_10000_deep_is_400(world: &World) {
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let nested = format!("{}1{}", open.repeat(10_000), close.repeat(10_000));
        let body = format!("{{\"device_id\":\"desktop-a\",\"seq\":0,\"state\":{{\"n\":{nested}}}}}");
        assert_problem(&push_text(world, body), 400, "malformed_json");
        assert_problem(&push_text(world, open.repeat(500_000)), 400, "malformed_json");
        let ignored =
            format!("{{\"device_id\":\"desktop-a\",\"seq\":0,\"state\":{{}},\"unknown\":{nested}}}");
        assert_problem(&push_text(world, ignored), 400, "malformed_json");
    }
    assert_eq!(world.head(), 0, "and the host goes on");
}

fn json_nested_20_deep_is_fine(world: &World) {
    let nested = format!("{}1{}", "[".repeat(20), "]".repeat(20));
    let response =
        push_text(world, format!("{{\"device_id\":\"desktop-a\",\"seq\":0,\"state\":{{\"n\":{nested}}}}}"));
    assert_eq!(response.status, 200, "{}", response.show());
    assert_eq!(world.scalar("n").to_string(), nested);
}

fn nul_and_lone_surrogates_do_no_harm(world: &World) {
    let push = |no: u64, text: &str| {
        push_text(
            world,
            format!(
                "{{\"device_id\":\"desktop-a\",\"seq\":0,\"push_no\":{no},\"state\":{{\"n\":\"{text}\"}}}}"
            ),
        )
    };
    let nul = push(1, "a\\u0000b");
    assert_eq!(nul.status, 200, "PostgreSQL refuses NUL in text; a host must not: {}", nul.show());
    assert_eq!(world.scalar("n"), "a\u{0}b");
    let lone = push(2, "\\ud800");
    assert!(matches!(lone.status, 200 | 400), "{}", lone.show());
    world.snapshot();
    let mut a = world.device("desktop-c");
    a.push(json!({"sessions": {"s": {"t": "\u{0}"}}, "files": {"f": {"content": "\u{0}"}}}));
    assert_eq!(world.view().sessions["s"]["t"], "\u{0}");
    assert_eq!(world.history("n").last().expect("the first version")["value"], "a\u{0}b");
}

fn unknown_route_is_404(world: &World) {
    for path in [
        "/sync/nothing",
        "/sync",
        "/sync/pushx",
        "/sync/push/x",
        "/sync/conflicts/x",
        "/sync/devices/x/y/z",
        "/nothing",
        "//sync/pull",
    ] {
        assert_problem(&world.get(path), 404, "not_found");
    }
}

fn wrong_method_is_405_with_allow(world: &World) {
    for (method, path) in ROUTES {
        for wrong in ["GET", "POST", "DELETE", "PUT", "PATCH", "PROPFIND"] {
            if wrong == *method {
                continue;
            }
            let request = Request::new(wrong, path).bearer(&world.jwt());
            let request =
                if matches!(wrong, "GET" | "DELETE" | "PROPFIND") { request } else { request.bytes(*b"{}") };
            let response = world.send(request);
            assert_problem(&response, 405, "method_not_allowed");
            let allow = response.header_list("Allow");
            assert!(allow.contains(&method.to_lowercase()), "{wrong} {path}: Allow: {allow}");
        }
    }
}

fn unknown_protocol_version_is_426(world: &World) {
    for version in ["2", "0", "x", "1.5"] {
        for path in ["/sync/pull", "/sync/devices"] {
            let request =
                Request::new("GET", path).bearer(&world.jwt()).header("Nself-Sync-Protocol", version);
            assert_problem(&world.send(request), 426, "unsupported_protocol");
        }
    }
    let body = json!({"device_id": "desktop-a", "seq": 0, "state": {"n": 1}});
    let request = Request::new("POST", "/sync/push")
        .bearer(&world.jwt())
        .header("Nself-Sync-Protocol", "2")
        .json(&body);
    assert_problem(&world.send(request), 426, "unsupported_protocol");
    assert_eq!(world.head(), 0);
}

fn protocol_version_1_is_welcome(world: &World) {
    let request = Request::new("GET", "/sync/pull").bearer(&world.jwt()).header("Nself-Sync-Protocol", "1");
    assert_eq!(world.send(request).status, 200);
}

fn errors_never_carry_content_or_tokens(world: &World) {
    let mut a = world.device("desktop-a");
    a.push(json!({"n": 1}));
    let secret = "hunter2-very-secret";
    let responses = [
        a.send(&json!({"device_id": "desktop-a", "seq": -1, "state": {"n": secret}})),
        a.send(&json!({"device_id": "desktop-a", "seq": 99, "state": {"files": {"f": {"content": secret}}}})),
        a.send(&json!({"device_id": "desktop-a", "seq": 1, "state": {"env": {"KEY": secret}}})),
        push_text(world, format!("{{\"state\": {{\"n\": \"{secret}\"")),
        push_text(world, format!("{{\"device_id\": \"d\", \"seq\": \"{secret}\", \"state\": {{}}}}")),
        world.send(Request::new("GET", "/sync/pull").bearer(secret)),
        world.send(Request::new("GET", "/sync/pull").bearer(&format!("nst_{secret}.{secret}"))),
    ];
    for response in responses {
        assert!(response.status >= 400, "{}", response.show());
        let text = response.text();
        assert!(!text.contains(secret) && !text.contains(&a.auth()), "{}", response.show());
    }
}

fn log_never_carries_content_tokens_or_sealed_bytes(world: &World) {
    let native = world.host.native().expect("a native host");
    let secret = "hunter2-very-secret";
    let sealed = json!({"v": 1, "wraps": [{"kid": secret}], "ct": secret});
    let mut a = world.device("desktop-a");
    a.push(json!({"n": secret, "env_encrypted": sealed, "files": {"f": {"content": secret}}}));
    a.send(&json!({"device_id": "desktop-a", "seq": 1, "state": {"env": {"KEY": secret}}}));
    push_text(world, format!("{{\"state\": {{\"n\": \"{secret}\""));
    world.send(Request::new("GET", "/sync/pull").bearer(&format!("nst_{secret}.{secret}")));
    world.get("/sync/history?key=n");
    native.shut_down().expect("an orderly stop");
    let log = native.log();
    assert!(!log.is_empty(), "it logs something");
    for hidden in [secret, &a.auth(), &world.jwt()] {
        assert!(!log.contains(hidden), "the log carries {hidden}");
    }
    for line in log.lines().filter(|line| !line.is_empty()) {
        let line: Result<serde_json::Value, _> = serde_json::from_str(line);
        assert!(line.is_ok_and(|line| line.is_object()), "not on a terminal a log line is JSON: {log}");
    }
}
