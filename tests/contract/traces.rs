//! Traces to an OpenTelemetry collector, where the standard variables name one.

use std::thread;
use std::time::Duration;

use nself_sync_tests::hosts::Request;
use nself_sync_tests::world::World;
use serde_json::json;

use crate::durability::native;
use nself_sync_tests::target::{Got, Target};

crate::cases![
    collector_gets_a_span_of_each_call_with_its_request_id.native(),
    spans_say_nothing_of_users.native(),
    last_spans_are_sent_at_the_end.native(),
    collector_that_is_away_disturbs_nobody.native(),
    nothing_is_sent_where_it_is_switched_off.native(),
    protocol_that_is_not_spoken_stops_the_start.native(),
];

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const DELAY: &str = "OTEL_BSP_SCHEDULE_DELAY";

fn trace_to(world: &World, url: &str, vars: &[(&str, &str)]) {
    let mut all = vec![(ENDPOINT, url), (DELAY, "50")];
    all.extend(vars.iter().copied());
    native(world).restart_with(&all).expect("it starts with a collector");
}

/// Whether these bytes came, in whatever request.
fn has(got: &[Got], bytes: &[u8]) -> bool {
    got.iter().any(|got| got.bytes.windows(bytes.len()).any(|window| window == bytes))
}

fn collector_gets_a_span_of_each_call_with_its_request_id(world: &World) {
    let collector = Target::start();
    trace_to(world, &collector.url(), &[("OTEL_EXPORTER_OTLP_HEADERS", "x-key=of%20mine")]);
    let trace_id = "0af7651916cd43dd8448eb211c80319c";
    let push = Request::new("POST", "/sync/push")
        .bearer(&world.jwt())
        .header("X-Request-Id", "request-of-this-case")
        .header("traceparent", &format!("00-{trace_id}-b7ad6b7169203331-01"))
        .json(&json!({"device_id": "desktop-a", "seq": 0, "state": {"n": 1}}));
    assert_eq!(world.send(push).status, 200);
    world.send(Request::new("GET", "/health"));
    collector.wait_for("the spans arrive", || has(&collector.got(), b"request-of-this-case"));
    let got = collector.got();
    assert_eq!(got[0].line, "POST /v1/traces HTTP/1.1");
    assert_eq!(got[0].header("content-type"), Some("application/x-protobuf"));
    assert_eq!(got[0].header("x-key"), Some("of mine"));
    for text in ["POST /sync/push", "store push", "nself-sync", "http.response.status_code"] {
        assert!(has(&got, text.as_bytes()), "{text}");
    }
    let trace_id: Vec<u8> =
        (0..32).step_by(2).map(|at| u8::from_str_radix(&trace_id[at..at + 2], 16).expect("hex")).collect();
    assert!(has(&got, &trace_id), "the caller's trace goes on");
    assert!(!has(&got, b"/health"), "health checks are no calls");
}

fn spans_say_nothing_of_users(world: &World) {
    let collector = Target::start();
    trace_to(world, &collector.url(), &[("LOG_LEVEL", "trace"), ("OTEL_SERVICE_NAME", "sync-of-this-case")]);
    let mut device = world.device("desktop-secret");
    device.push(json!({"files": {"private/path.rs": {"content": "content-of-it"}}}));
    world.get("/sync/history?key=files%2Fprivate%2Fpath.rs");
    world.delete("/sync/devices/desktop-secret");
    collector.wait_for("the last arrives", || has(&collector.got(), b"DELETE /sync/devices/{id}"));
    let got = collector.got();
    assert!(has(&got, b"sync-of-this-case"), "the service has the name that it was given");
    for secret in [&*world.user, "desktop-secret", "private", "content-of-it", "Bearer"] {
        assert!(!has(&got, secret.as_bytes()), "{secret} is in the traces");
    }
}

fn last_spans_are_sent_at_the_end(world: &World) {
    let collector = Target::start();
    trace_to(world, &collector.url(), &[(DELAY, "3600000")]);
    world.device("desktop-a").push(json!({"n": 1}));
    assert!(collector.got().is_empty());
    native(world).shut_down().expect("exit 0");
    assert!(has(&collector.got(), b"POST /sync/push"));
    native(world).resume().expect("it starts again");
}

fn collector_that_is_away_disturbs_nobody(world: &World) {
    for hangs in [false, true] {
        let collector = Target::start();
        collector.answer(|_| None);
        let url = if hangs { collector.url() } else { "http://127.0.0.1:1".to_owned() };
        trace_to(world, &url, &[]);
        let mut device = world.another_user().device("desktop-a");
        for n in 0..5 {
            device.push(json!({ "n": n }));
            thread::sleep(Duration::from_millis(60));
        }
        native(world).shut_down().expect("exit 0 within 10 s");
        native(world).resume().expect("it starts again");
    }
}

fn nothing_is_sent_where_it_is_switched_off(world: &World) {
    let collector = Target::start();
    for (disabled, exporter) in [("true", ""), ("", "none")] {
        let vars = [("OTEL_SDK_DISABLED", disabled), ("OTEL_TRACES_EXPORTER", exporter)];
        trace_to(world, &collector.url(), &vars);
        world.another_user().device("desktop-a").push(json!({"n": 1}));
    }
    native(world).shut_down().expect("exit 0");
    assert!(collector.got().is_empty());
    native(world).resume().expect("it starts again");
}

fn protocol_that_is_not_spoken_stops_the_start(world: &World) {
    let vars = [(ENDPOINT, "http://127.0.0.1:1"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")];
    let Err(error) = world.launch.start(&vars) else { panic!("it starts") };
    let text = format!("{error:#}");
    assert!(text.contains("OTEL_EXPORTER_OTLP_PROTOCOL=grpc: allowed is http/protobuf"), "{text}");
}
