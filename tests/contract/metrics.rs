//! What operators and their tools ask: health, readiness, version, metrics.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use nself_sync_tests::hosts::postgres::Stop;
use nself_sync_tests::hosts::{Request, Response};
use nself_sync_tests::world::{World, assert_problem};
use serde_json::json;

use crate::live::connection::Live;
use crate::servers::on_own_cluster;
use crate::webhooks::deliver_to;
use nself_sync_tests::target::{Target, status};

crate::cases![
    values_follow_what_happens.native(),
    nobody_is_named.native(),
    dashboard_asks_for_metrics_and_labels_that_there_are.native().only("sqlite"),
    outbox_is_seen_to_fill_and_to_empty.native(),
    healthy_server_says_so_on_every_route.native(),
    postgres_away_is_not_ready_but_alive.native().only("postgres"),
];

fn ask(world: &World, path: &str) -> Response {
    world.send(Request::new("GET", path))
}

/// The values of all series, by name and labels as they are written.
struct Scrape(BTreeMap<String, f64>);

impl Scrape {
    fn of(world: &World) -> Self {
        let response = ask(world, "/metrics");
        assert_eq!(response.status, 200, "{}", response.show());
        let content_type = response.header("content-type").expect("a type");
        assert!(content_type.starts_with("application/openmetrics-text; version=1.0.0"), "{content_type}");
        let text = response.text();
        assert!(text.ends_with("# EOF\n"), "{text}");
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let series = lines.map(|line| line.rsplit_once(' ').expect("a series and its value"));
        Self(series.map(|(name, value)| (name.to_owned(), value.parse().expect("a number"))).collect())
    }

    /// 0 where there is no such series yet.
    fn get(&self, series: &str) -> f64 {
        self.0.get(series).copied().unwrap_or_default()
    }

    fn documents(&self, outcome: &str) -> f64 {
        self.get(&format!(r#"nself_sync_documents_total{{outcome="{outcome}"}}"#))
    }

    fn requests(&self, method: &str, route: &str, status: u16) -> f64 {
        self.get(&format!(
            r#"nself_plugin_requests_total{{plugin="sync",route="{route}",method="{method}",status="{status}"}}"#
        ))
    }
}

fn values_follow_what_happens(world: &World) {
    let file = |first: &str, last: &str| json!({"content": format!("{first}\n2\n3\n4\n{last}\n")});
    let (mut a, mut b) = world.two_devices(json!({"files": {"f": file("1", "5"), "g": file("1", "5")}}));
    let before = Scrape::of(world);
    assert_eq!((before.documents("applied"), before.get("nself_sync_pushes_total")), (2.0, 2.0));
    a.push(json!({"files": {"f": file("one", "5"), "g": file("a", "5")}}));
    b.push(json!({"n": 1, "files": {"f": file("1", "five"), "g": file("b", "5"), "../x": file("", "")}}));
    let live = Live::of(&a);
    assert_eq!(ask(world, "/sync/pull").status, 401);
    assert_eq!(ask(world, "/nowhere/at-all").status, 404);
    let now = Scrape::of(world);
    let outcomes = ["applied", "merged", "conflict", "rejected"].map(|outcome| now.documents(outcome));
    assert_eq!(outcomes, [4.0, 1.0, 1.0, 1.0]);
    assert_eq!((now.get("nself_sync_pushes_total"), now.get("nself_sync_conflicts_open")), (4.0, 1.0));
    assert_eq!(now.get("nself_sync_live_connections"), 1.0);
    let pushes = now.requests("POST", "/sync/push", 200) - before.requests("POST", "/sync/push", 200);
    assert_eq!(pushes, 2.0);
    assert_eq!((now.requests("GET", "/sync/pull", 401), now.requests("GET", "unmatched", 404)), (1.0, 1.0));
    assert_eq!(now.get(r#"nself_plugin_errors_total{plugin="sync",kind="unauthorized"}"#), 1.0);
    assert_eq!(now.get(r#"nself_plugin_errors_total{plugin="sync",kind="not_found"}"#), 1.0);
    let took = |what: &str| {
        let of = format!(r#"{{store="{}",call="push"}}"#, world.host.name());
        now.get(&format!("nself_sync_store_seconds_{what}{of}"))
    };
    assert_eq!(took("count"), 4.0);
    assert!(took("sum") > 0.0 && took("sum") < 60.0, "{}", took("sum"));
    let duration =
        r#"nself_plugin_request_duration_seconds_count{plugin="sync",route="/sync/push",method="POST"}"#;
    assert_eq!(now.get(duration), 4.0);
    assert_eq!(now.get(r#"nself_plugin_in_flight_requests{plugin="sync"}"#), 1.0, "this scrape alone");
    let bytes = |scrape: &Scrape, direction: &str| {
        scrape.get(&format!(r#"nself_sync_bytes_total{{direction="{direction}"}}"#))
    };
    assert!(bytes(&now, "in") > bytes(&before, "in") + 100.0, "{}", bytes(&now, "in"));
    assert!(bytes(&now, "out") > bytes(&before, "out") + 100.0, "{}", bytes(&now, "out"));
    let version = ask(world, "/version").json()["version"].as_str().expect("a version").to_owned();
    let build = format!(r#"nself_plugin_build_info{{plugin="sync",version="{version}"}}"#);
    assert_eq!(now.get(&build), 1.0, "{build}");
    drop(live);
    let deadline = Instant::now() + Duration::from_secs(5);
    while Scrape::of(world).get("nself_sync_live_connections") > 0.0 {
        assert!(Instant::now() < deadline, "a connection that is gone is not counted");
        thread::sleep(Duration::from_millis(20));
    }
}

fn nobody_is_named(world: &World) {
    let mut device = world.device("desktop-secret");
    device.push(json!({"files": {"private/path.rs": {"content": "x"}}}));
    world.get("/sync/history?key=files%2Fprivate%2Fpath.rs");
    world.delete("/sync/devices/desktop-secret");
    let text = ask(world, "/metrics").text();
    for secret in [&*world.user, "desktop-secret", "private", "path.rs"] {
        assert!(!text.contains(secret), "{secret} is in the metrics");
    }
    assert!(text.contains(r#"route="/sync/devices/{id}""#), "routes are templates: {text}");
}

fn outbox_is_seen_to_fill_and_to_empty(world: &World) {
    let target = Target::start();
    target.answer(|_| status(503));
    deliver_to(world, &target);
    let mut device = world.device("desktop-a");
    for n in 0..3 {
        device.push(json!({ "n": n }));
    }
    thread::sleep(Duration::from_millis(50));
    let full = Scrape::of(world);
    assert_eq!(full.get("nself_sync_outbox_depth"), 3.0);
    let age = full.get("nself_sync_outbox_oldest_age_seconds");
    assert!((0.05..30.0).contains(&age), "{age}");
    target.answer(|body| status(if body["payload"]["seq"] == 2 { 400 } else { 202 }));
    target.takes(2);
    let deadline = Instant::now() + Duration::from_secs(5);
    let empty = loop {
        let scrape = Scrape::of(world);
        if scrape.get("nself_sync_outbox_depth") == 0.0 || Instant::now() > deadline {
            break scrape;
        }
        thread::sleep(Duration::from_millis(20));
    };
    let values = ["outbox_depth", "outbox_oldest_age_seconds", "outbox_dead_total", "dead_letters"];
    let values = values.map(|name| empty.get(&format!("nself_sync_{name}")));
    assert_eq!(values, [0.0, 0.0, 1.0, 1.0]);
}

fn healthy_server_says_so_on_every_route(world: &World) {
    let json = |path: &str| {
        let response = ask(world, path);
        assert_eq!(response.status, 200, "{path}: {}", response.show());
        assert_eq!(world.send(Request::new("HEAD", path)).status, 200, "HEAD {path}");
        assert_problem(&world.send(Request::new("POST", path)), 405, "method_not_allowed");
        response.json()
    };
    assert_eq!((json("/healthz"), json("/readyz")), (json!({"status": "ok"}), json!({"status": "ready"})));
    let version = json("/version");
    assert_eq!((&version["plugin"], &version["protocol"]), (&json!("sync"), &json!(1)));
    assert_eq!(version["version"], json("/health")["version"]);
}

fn postgres_away_is_not_ready_but_alive(world: &World) {
    let (cluster, world) = on_own_cluster(world);
    assert_eq!(ask(&world, "/readyz").status, 200);
    cluster.stop(Stop::Fast);
    assert_problem(&ask(&world, "/readyz"), 503, "store_unavailable");
    assert_eq!((ask(&world, "/healthz").status, ask(&world, "/version").status), (200, 200));
    let scrape = Scrape::of(&world);
    assert_eq!(scrape.requests("GET", "/readyz", 503), 1.0, "what the process counts is there all the same");
    cluster.resume().expect("PostgreSQL comes back");
    let deadline = Instant::now() + Duration::from_secs(15);
    while ask(&world, "/readyz").status != 200 {
        assert!(Instant::now() < deadline, "it is ready again");
        thread::sleep(Duration::from_millis(100));
    }
    world.host.stop().expect("exit 0");
}

/// What `native-server/plugin/grafana/nself-sync.json` asks for.
fn dashboard_asks_for_metrics_and_labels_that_there_are(world: &World) {
    world.device("desktop-a").push(json!({"files": {"f": {"content": "text\n"}}}));
    assert_eq!(ask(world, "/sync/pull").status, 401);
    let told = ask(world, "/metrics").text();
    let dashboard = include_str!("../../native-server/plugin/grafana/nself-sync.json");
    let is_part = |c: char| c.is_ascii_lowercase() || c == '_';
    let words = dashboard.split(|c| !is_part(c)).filter(|word| word.starts_with("nself_"));
    // What counts by kind is there once something of a kind is; pruning has done nothing yet.
    let ours: Vec<&str> = words.filter(|word| *word != "nself_sync_pruned_total").collect();
    assert!(ours.len() > 20, "{ours:?}");
    for word in ours {
        let name = word.trim_end_matches("_total").trim_end_matches("_bucket");
        assert!(told.contains(&format!("# TYPE {name} ")), "{word} is not in /metrics: {told}");
    }
    for series in [
        "nself_plugin_requests_total{plugin=\"sync\",route=\"/sync/push\"",
        "nself_plugin_request_duration_seconds_bucket{",
        "nself_sync_bytes_total{direction=",
        "nself_sync_documents_total{outcome=",
        "nself_sync_store_seconds_bucket{",
    ] {
        assert!(told.contains(series), "{series}: {told}");
    }
}
