//! PROTOCOL section 10: hints over a WebSocket. What they say is checked by the pull that they ask for.

pub mod connection;

use std::time::{Duration, Instant};

use nself_sync_tests::hosts::postgres::Stop;
use nself_sync_tests::hosts::{JWT_KEY, Request};
use nself_sync_tests::world::{Device, World, assert_problem, id_of, jwt, now_s};
use serde_json::{Value, json};
use tungstenite::Message;

use crate::case::Config;
use crate::durability::native;
use crate::servers::{on_own_cluster, sibling};
use connection::{Live, SOON, open, refused, request, try_with};

crate::cases![
    push_reaches_the_other_device_and_not_its_own.http(),
    conflict_and_its_resolution_are_told.http(),
    many_keys_are_not_listed.http(),
    token_may_be_a_subprotocol_and_is_not_logged.native().config(TALKATIVE),
    connection_without_a_good_token_is_refused_before_the_upgrade.http(),
    request_that_is_no_websocket_is_told_so.http(),
    removal_closes_the_connection.http(),
    replaced_token_closes_the_connection.http(),
    expired_token_closes_the_connection.http(),
    client_that_missed_messages_loses_nothing.http(),
    connections_are_capped_by_device_and_by_user.http(),
    client_that_talks_does_no_harm.http(),
    user_who_is_moved_away_is_told_why_the_connection_ends.native(),
    erased_users_connections_end.native(),
    new_epoch_is_told_to_who_listens.native(),
    sigterm_closes_live_connections_and_ends_in_time.native(),
    two_servers_on_one_database_hear_each_other.native().only("postgres"),
    postgres_that_was_away_is_followed_by_a_pull.native().only("postgres"),
];

const TALKATIVE: Config = &[("LOG_LEVEL", "debug")];

fn push_reaches_the_other_device_and_not_its_own(world: &World) {
    let (mut a, mut b) = world.two_devices(json!({"n": 0}));
    let (mut of_a, mut of_b) = (Live::of(&a), Live::of(&b));
    let reply = a.push(json!({"n": 1, "files": {"web/f": {"content": "text\n"}}}));
    let message = of_b.message();
    let id = message["id"].as_str().expect("an event has an id");
    assert!(!id.is_empty());
    let mut expected = json!({
        "event": "sync.state.updated", "id": id, "user_id": world.user, "device_id": a.id,
        "seq": reply.value["seq"], "keys": ["files/web/f", "n"],
    });
    assert_eq!(message, expected);
    of_a.stays_quiet();
    b.pull();
    assert_eq!(b.view, world.view());
    b.push(json!({"sessions": {"s1": {"status": "x"}}}));
    expected = of_a.message();
    assert_eq!((&expected["device_id"], &expected["keys"]), (&json!(b.id), &json!(["sessions/s1/status"])));
    a.push(json!({"n": 1}));
    of_b.stays_quiet();
}

fn conflict_and_its_resolution_are_told(world: &World) {
    let (mut a, mut b) = world.two_devices(json!({"files": {"dir/f": {"content": "base\n"}}}));
    let (mut of_a, mut of_b) = (Live::of(&a), Live::of(&b));
    a.push(json!({"files": {"dir/f": {"content": "theirs\n"}}}));
    of_b.event("sync.state.updated");
    assert_eq!(b.push(json!({"files": {"dir/f": {"content": "mine\n"}}})).status("files/dir/f"), "conflict");
    assert_eq!(of_a.event("sync.state.updated")["keys"], json!([]), "a conflict changes nothing at head");
    let conflict = world.only_conflict();
    let message = of_a.event("sync.conflict.created");
    let id = message["id"].as_str().expect("an event has an id");
    let expected = json!({
        "event": "sync.conflict.created", "id": id, "user_id": world.user, "conflict_id": id_of(&conflict),
        "file_path": "dir/f", "device_ids": [b.id, a.id],
    });
    assert_eq!(message, expected);
    of_b.stays_quiet();
    world.resolved(&conflict, json!({"resolution": "mine", "device_id": a.id}));
    assert_eq!(of_b.event("sync.state.updated")["keys"], json!(["files/dir/f"]));
    let message = of_b.event("sync.conflict.resolved");
    let id = message["id"].as_str().expect("an event has an id");
    let expected = json!({
        "event": "sync.conflict.resolved", "id": id, "user_id": world.user, "conflict_id": id_of(&conflict),
        "resolution": "mine", "device_id": a.id,
    });
    assert_eq!(message, expected);
    of_a.stays_quiet();
    world.assert_converged(&mut [&mut a, &mut b]);
}

fn many_keys_are_not_listed(world: &World) {
    let (mut a, b) = world.two_devices(json!({"n": 0}));
    let mut of_b = Live::of(&b);
    let push = |count: usize| (0..count).map(|n| (format!("k{n}"), json!(count))).collect::<Value>();
    a.push(push(100));
    assert_eq!(of_b.message()["keys"].as_array().map(Vec::len), Some(100));
    a.push(push(101));
    assert_eq!(of_b.message()["keys"], json!([]));
}

fn token_may_be_a_subprotocol_and_is_not_logged(world: &World) {
    let (mut a, b) = world.two_devices(json!({"n": 0}));
    let mut n = 0;
    for token in [b.auth(), world.jwt()] {
        let bearer = format!("bearer.{token}");
        let query = format!("?device_id={}", b.id);
        let request = request(world, &query, None, &["nself-sync.v1", &bearer]);
        let Ok((mut live, chosen)) = open(world, request) else { panic!("not let in") };
        assert_eq!(chosen.as_deref(), Some("nself-sync.v1"));
        n += 1;
        a.push(json!({ "n": n }));
        live.event("sync.state.updated");
        let log = native(world).log();
        assert!(log.contains("/sync/live") && !log.contains(&token), "{log}");
    }
}

fn connection_without_a_good_token_is_refused_before_the_upgrade(world: &World) {
    let (a, b) = world.two_devices(json!({"n": 0}));
    let own = format!("?device_id={}", a.id);
    let jwt = world.jwt();
    let expired = {
        let mut claims = world.claims();
        claims["exp"] = json!(now_s() - 60);
        jwt::hs256(JWT_KEY, &claims)
    };
    for token in [None, Some("nst_x"), Some("a.b.c"), Some(expired.as_str())] {
        assert_problem(&refused(world, request(world, &own, token, &[])), 401, "unauthorized");
    }
    for bearer in ["bearer.", "bearer.a.b.c", &format!("bearer.{expired}")] {
        let request = request(world, &own, None, &["nself-sync.v1", bearer]);
        assert_problem(&refused(world, request), 401, "unauthorized");
    }
    let bearer = format!("bearer.{jwt}");
    let twice = request(world, &own, Some(&jwt), &["nself-sync.v1", &bearer]);
    assert_problem(&refused(world, twice), 401, "unauthorized");
    let later = request(world, &own, None, &["nself-sync.v2", &bearer]);
    assert_problem(&refused(world, later), 426, "unsupported_protocol");
    let foreign = request(world, &format!("?device_id={}", b.id), a.token.as_deref(), &[]);
    assert_problem(&refused(world, foreign), 403, "device_mismatch");
    assert_problem(&refused(world, request(world, "", Some(&jwt), &[])), 400, "invalid_field");
    assert!(
        open(world, request(world, "", a.token.as_deref(), &[])).is_ok(),
        "a sync token says which device"
    );
    assert_eq!(world.delete("/sync/devices/desktop-a").status, 204);
    assert_problem(&refused(world, request(world, &own, Some(&jwt), &[])), 403, "device_revoked");
    assert_problem(&refused(world, request(world, &own, a.token.as_deref(), &[])), 401, "unauthorized");
}

fn request_that_is_no_websocket_is_told_so(world: &World) {
    let answer = world.get("/sync/live?device_id=desktop-a");
    assert_problem(&answer, 426, "upgrade_required");
    // Between a runtime and its clients this header is the runtime's.
    if world.host.edge().is_none() {
        assert_eq!(answer.header("Upgrade"), Some("websocket"));
    }
    assert_problem(&world.post("/sync/live", &json!({})), 405, "method_not_allowed");
}

fn removal_closes_the_connection(world: &World) {
    let (a, mut b) = world.two_devices(json!({"n": 0}));
    let (mut by_token, mut by_jwt) = (Live::of(&a), Live::with(world, &a.id, &world.jwt()));
    let mut other = Live::of(&b);
    assert_eq!(world.delete("/sync/devices/desktop-a").status, 204);
    by_token.is_closed(4403);
    by_jwt.is_closed(4403);
    other.stays_quiet();
    b.push(json!({"n": 1}));
}

fn replaced_token_closes_the_connection(world: &World) {
    let (mut a, mut b) = world.two_devices(json!({"n": 0}));
    let (mut old, mut by_jwt) = (Live::of(&a), Live::with(world, &a.id, &world.jwt()));
    let reply = world.post("/sync/devices/desktop-a/token", &json!({}));
    a.token = reply.json()["sync_token"].as_str().map(str::to_owned);
    old.is_closed(4401);
    let mut new = Live::of(&a);
    b.push(json!({"n": 1}));
    for live in [&mut new, &mut by_jwt] {
        live.event("sync.state.updated");
    }
}

fn expired_token_closes_the_connection(world: &World) {
    let mut claims = world.claims();
    // The clocks may differ by five seconds.
    claims["exp"] = json!(now_s() - 3);
    let mut live = Live::with(world, "desktop-a", &jwt::hs256(JWT_KEY, &claims));
    live.stays_quiet();
    live.is_closed(4401);
}

fn client_that_missed_messages_loses_nothing(world: &World) {
    let (mut a, mut b) = world.two_devices(json!({"n": 0}));
    drop(Live::of(&b));
    for n in 1..4 {
        a.push(json!({ "n": n }));
    }
    let mut of_b = Live::of(&b);
    of_b.stays_quiet();
    b.pull();
    assert_eq!(b.view, world.view());
    a.push(json!({"n": 4}));
    assert_eq!(of_b.message()["seq"], world.head());
}

fn connections_are_capped_by_device_and_by_user(world: &World) {
    let jwt = world.jwt();
    let mut all: Vec<Live> = Vec::new();
    for device in 0..8 {
        let id = format!("desktop-{device}");
        all.extend((0..8).map(|_| Live::with(world, &id, &jwt)));
        let Err(answer) = try_with(world, &id, &jwt) else { panic!("a ninth") };
        assert_problem(&answer, 429, "too_many_connections");
        assert!(answer.header("Retry-After").is_some());
    }
    let Err(answer) = try_with(world, "desktop-8", &jwt) else { panic!("a sixty-fifth") };
    assert_problem(&answer, 429, "too_many_connections");
    let other = world.another_user();
    Live::with(&other, "desktop-8", &other.jwt());
    all.pop();
    let deadline = Instant::now() + SOON;
    while let Err(answer) = try_with(world, "desktop-8", &jwt) {
        assert!(Instant::now() < deadline, "a place that was left is free: {}", answer.show());
    }
}

fn client_that_talks_does_no_harm(world: &World) {
    let (mut a, b) = world.two_devices(json!({"n": 0}));
    let mut of_b = Live::of(&b);
    for message in [Message::text("garbage"), Message::binary(vec![0, 255]), Message::Ping(vec![1].into())] {
        of_b.socket.send(message).expect("it is taken");
    }
    a.push(json!({"n": 1}));
    of_b.event("sync.state.updated");
    let mut loud = Live::of(&b);
    // The server need not read it to its end.
    let _ = loud.socket.send(Message::binary(vec![0; 1 << 20]));
    let started = Instant::now();
    while loud.socket.read().is_ok() {}
    assert!(started.elapsed() < SOON, "it ends, it is not waited for");
    a.push(json!({"n": 2}));
    of_b.event("sync.state.updated");
}

/// A user with two devices, one by its own token and one by the user's, and somebody else, all listening; on PostgreSQL at another
/// server than the one that is called. Commands run in a process of their own.
struct Listening {
    world: World,
    other: Option<World>,
    devices: [Device; 2],
    of_user: [Live; 2],
    stranger: Live,
    stranger_device: Device,
}

impl Listening {
    fn at(world: &World) -> Listening {
        let other = (world.host.name() == "postgres").then(|| sibling(world));
        let there = other.as_ref().unwrap_or(world);
        let devices = <[Device; 2]>::from(world.two_devices(json!({"n": 0})));
        let of_user = [
            Live::with(there, &devices[0].id, &devices[0].auth()),
            Live::with(there, &devices[1].id, &world.jwt()),
        ];
        let mut stranger_device = world.another_user().device("desktop-a");
        stranger_device.push(json!({"n": 0}));
        let stranger = Live::with(there, &stranger_device.id, &stranger_device.auth());
        let mut listening =
            Listening { world: world.clone(), other, devices, of_user, stranger, stranger_device };
        listening.settle();
        listening
    }

    /// A command has been there before, so that what is told is this one's.
    fn settle(&mut self) {
        self.command(&["rotate-epoch", "--all"]);
        let Listening { of_user, stranger, .. } = self;
        for live in of_user.iter_mut().chain([stranger]) {
            assert_eq!(live.message(), json!({"event": "sync.pull"}));
        }
    }

    fn command(&self, args: &[&str]) {
        let (status, text) = native(&self.world).run(args).expect("it runs");
        assert!(status.success(), "{args:?}: {text}");
    }

    fn ends(mut self, code: u16) {
        self.of_user.iter_mut().for_each(|live| live.is_closed(code));
        self.stranger.stays_quiet();
        if let Some(other) = self.other {
            other.host.stop().expect("exit 0");
        }
    }
}

fn user_who_is_moved_away_is_told_why_the_connection_ends(world: &World) {
    let listening = Listening::at(world);
    listening.command(&["export", "--user", &world.user, "--move", "--output", "x"]);
    assert_problem(&listening.devices[0].get("/sync/pull"), 410, "moved");
    listening.ends(4410);
}

fn erased_users_connections_end(world: &World) {
    let listening = Listening::at(world);
    listening.command(&["erase", "--user", &world.user, "--yes", &world.user]);
    listening.ends(4401);
    let users = native(world).number("SELECT count(*) FROM np_sync_heads").expect("a number");
    assert_eq!(users, 1, "who listened does not bring the user back");
}

fn new_epoch_is_told_to_who_listens(world: &World) {
    let mut listening = Listening::at(world);
    listening.command(&["rotate-epoch", "--user", &world.user]);
    for live in &mut listening.of_user {
        assert_eq!(live.message(), json!({"event": "sync.pull"}));
    }
    listening.stranger.stays_quiet();
    // The server's own commits are nobody else's.
    listening.stranger_device.try_push(json!({"n": 1}));
    listening.of_user.iter_mut().for_each(Live::stays_quiet);
    if let Some(other) = listening.other {
        other.host.stop().expect("exit 0");
    }
}

fn sigterm_closes_live_connections_and_ends_in_time(world: &World) {
    let (a, b) = world.two_devices(json!({"n": 0}));
    let (mut of_a, deaf) = (Live::of(&a), Live::of(&b));
    native(world).terminate();
    of_a.is_closed(1001);
    native(world).wait_for_exit().expect("exit 0 within 10 s, though one does not answer");
    assert!(native(world).log().contains("stopped"), "in order");
    drop(deaf);
    native(world).resume().expect("it starts again");
    Live::of(&a);
}

fn two_servers_on_one_database_hear_each_other(world: &World) {
    let other = sibling(world);
    let (mut a, mut b) = world.two_devices(json!({"n": 0}));
    b.world = other.clone();
    let (mut of_a, mut of_b) = (Live::of(&a), Live::of(&b));
    let mut stranger = Live::with(&other.another_user(), "desktop-a", &other.another_user().jwt());
    for n in 1..4 {
        let seq = a.push(json!({ "n": n })).value["seq"].clone();
        let message = of_b.event("sync.state.updated");
        let expected = json!({
            "event": "sync.state.updated", "id": message["id"], "user_id": world.user, "device_id": a.id,
            "seq": seq, "keys": [],
        });
        assert_eq!(message, expected);
        b.pull();
        b.push(json!({ "n": -n }));
        assert_eq!(of_a.event("sync.state.updated")["device_id"], b.id);
        a.pull();
    }
    for live in [&mut of_a, &mut of_b, &mut stranger] {
        live.stays_quiet();
    }
    let reply = world.post("/sync/devices/mobile-b/token", &json!({}));
    of_b.is_closed(4401);
    b.token = reply.json()["sync_token"].as_str().map(str::to_owned);
    let mut of_b = Live::of(&b);
    assert_eq!(world.delete("/sync/devices/mobile-b").status, 204);
    of_b.is_closed(4403);
    other.host.stop().expect("exit 0");
}

/// The servers find PostgreSQL again by themselves, each in its time.
fn until_back(world: &World, device: &Device) {
    let pull = Request::new("GET", "/sync/pull").bearer(&device.auth());
    let deadline = Instant::now() + Duration::from_secs(15);
    while world.send(pull.clone()).status != 200 {
        assert!(Instant::now() < deadline, "PostgreSQL is back, and is not found");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn postgres_that_was_away_is_followed_by_a_pull(world: &World) {
    let (cluster, world) = on_own_cluster(world);
    let other = sibling(&world);
    let (mut a, mut b) = world.two_devices(json!({"n": 0}));
    b.world = other.clone();
    let mut of_b = Live::of(&b);
    cluster.stop(Stop::Fast);
    cluster.resume().expect("PostgreSQL comes back");
    assert_eq!(of_b.next(Duration::from_secs(15)).message(), json!({"event": "sync.pull"}));
    until_back(&world, &a);
    a.push(json!({"n": 1}));
    of_b.event("sync.state.updated");
    other.host.stop().expect("exit 0");
    world.host.stop().expect("exit 0");
}
