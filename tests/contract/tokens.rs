//! PROTOCOL section 3: the sync tokens of devices.

use nself_sync_tests::hosts::Request;
use nself_sync_tests::world::{World, assert_problem, encode};
use serde_json::{Value, json};

use crate::auth::{assert_unauthorized, pull_as};

crate::cases![
    sync_token_pushes_pulls_and_reads_as_its_device,
    sync_token_resolves_a_conflict_as_its_device,
    sync_token_with_another_device_id_is_403,
    sync_token_on_a_user_only_route_is_403,
    sync_token_removes_its_own_device_and_no_other,
    new_sync_token_ends_the_old_one,
    sync_token_for_an_unknown_device_is_404,
    replay_of_the_registering_push_gives_a_working_token,
    sync_token_of_a_removed_device_is_dead_at_once,
    removed_device_id_stays_removed,
    made_up_sync_tokens_are_401_and_store_nothing,
    secret_of_one_user_does_not_open_another,
    sync_token_unused_for_90_days_ends.own(),
    sync_token_in_use_lives_on.own(),
    idle_days_of_sync_tokens_are_configurable.own().config(&[("PLUGIN_SYNC_TOKEN_IDLE_DAYS", "2")]),
];

const DAY_MS: u64 = 86_400_000;

fn sync_token_pushes_pulls_and_reads_as_its_device(world: &World) {
    let mut a = world.device("desktop-a");
    let reply = a.push(json!({"active_file": "x", "files": {"f": {"content": "text\n"}}}));
    let token =
        reply.value["sync_token"].as_str().expect("the registering push gives a sync token").to_owned();
    let (route, secret) =
        token.strip_prefix("nst_").and_then(|rest| rest.split_once('.')).expect("nst_<route>.<secret>");
    let is_base64url =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    assert!(is_base64url(route) && is_base64url(secret) && secret.len() == 43, "32 random bytes: {token}");
    assert_eq!(a.token, Some(token));
    a.push(json!({"active_file": "y"}));
    a.pull();
    for path in ["/sync/conflicts", "/sync/history?key=active_file"] {
        assert_eq!(a.get(path).status, 200, "a sync token may GET {path}");
    }
    let hash = nself_sync_tests::world::sha256_hex(b"text\n");
    assert_eq!(a.get(&format!("/sync/files/{hash}")).body, b"text\n");
    let plain = a.get("/sync/pull?since_seq=0");
    assert_eq!(plain.status, 200, "without a device_id it is the token's: {}", plain.show());
}

fn sync_token_resolves_a_conflict_as_its_device(world: &World) {
    let (mut a, mut b) = world.two_devices(json!({"files": {"f": {"content": "base\n"}}}));
    a.push(json!({"files": {"f": {"content": "theirs\n"}}}));
    b.push(json!({"files": {"f": {"content": "mine\n"}}}));
    let conflict = world.only_conflict();
    let path = format!("/sync/conflicts/{}/resolve", encode(nself_sync_tests::world::id_of(&conflict)));
    let send = |body: Value| world.send(Request::new("POST", &path).bearer(&b.auth()).json(&body));
    let other = send(json!({"resolution": "mine", "device_id": a.id}));
    assert_problem(&other, 403, "device_mismatch");
    assert_eq!(send(json!({"resolution": "mine", "device_id": b.id})).status, 200);
}

fn sync_token_with_another_device_id_is_403(world: &World) {
    let (mut a, b) = world.two_devices(json!({"active_file": "x"}));
    let before = world.head();
    let mut body = a.body(json!({"active_file": "y"}));
    body["device_id"] = json!(b.id);
    assert_problem(&a.send(&body), 403, "device_mismatch");
    body["device_id"] = json!("desktop-new");
    assert_problem(&a.send(&body), 403, "device_mismatch");
    assert_problem(&a.get("/sync/pull?device_id=mobile-b"), 403, "device_mismatch");
    assert_eq!(world.head(), before);
    assert_eq!(world.devices().len(), 2, "nothing was registered");
}

fn sync_token_on_a_user_only_route_is_403(world: &World) {
    let mut a = world.device("desktop-a");
    a.push(json!({"active_file": "x"}));
    let request = Request::new("POST", "/sync/devices/desktop-a/token").bearer(&a.auth()).json(&json!({}));
    assert_problem(&world.send(request), 403, "user_token_required");
    assert_problem(&a.get("/sync/devices"), 403, "user_token_required");
}

fn sync_token_removes_its_own_device_and_no_other(world: &World) {
    let (a, b) = world.two_devices(json!({"active_file": "x"}));
    let delete = |path: &str| world.send(Request::new("DELETE", path).bearer(&a.auth()));
    let response = delete("/sync/devices/mobile-b");
    assert_eq!(response.status, 403, "{}", response.show());
    assert_eq!(delete("/sync/devices/desktop-a").status, 204);
    assert_eq!(a.get("/sync/pull").status, 401);
    assert_eq!(b.get("/sync/pull").status, 200);
    let left: Vec<Value> = world.devices().iter().map(|device| device["device_id"].clone()).collect();
    assert_eq!(left, [json!("mobile-b")]);
}

fn new_sync_token_ends_the_old_one(world: &World) {
    let mut a = world.device("desktop-a");
    a.push(json!({"active_file": "x"}));
    let old = a.auth();
    let response = world.post("/sync/devices/desktop-a/token", &json!({}));
    assert_eq!(response.status, 200, "{}", response.show());
    let body = response.json();
    assert_eq!(body["device_id"], "desktop-a");
    a.token = Some(body["sync_token"].as_str().expect("a sync_token").to_owned());
    assert_ne!(a.auth(), old);
    a.push(json!({"active_file": "y"}));
    assert_unauthorized(&pull_as(world, &old));
}

fn sync_token_for_an_unknown_device_is_404(world: &World) {
    assert_problem(&world.post("/sync/devices/desktop-a/token", &json!({})), 404, "not_found");
    assert!(world.devices().is_empty(), "asking for a token registers nothing");
}

fn replay_of_the_registering_push_gives_a_working_token(world: &World) {
    let mut a = world.device("desktop-a");
    let body = a.body(json!({"active_file": "x"}));
    let lost = world.push_raw(&body).json();
    let response = world.push_raw(&body);
    assert_eq!(response.status, 200, "{}", response.show());
    let token = response.json()["sync_token"].as_str().expect("a new sync token").to_owned();
    assert_ne!(json!(token), lost["sync_token"]);
    assert_eq!(pull_as(world, &token).status, 200);
}

fn sync_token_of_a_removed_device_is_dead_at_once(world: &World) {
    let mut a = world.device("desktop-a");
    a.push(json!({"active_file": "x"}));
    let removed = world.delete("/sync/devices/desktop-a");
    assert_eq!((removed.status, removed.body.len()), (204, 0), "{}", removed.show());
    assert_unauthorized(&a.get("/sync/pull"));
    assert_unauthorized(&a.get("/sync/conflicts"));
    assert_unauthorized(&a.try_push(json!({"active_file": "y"})));
    assert_eq!(world.scalar("active_file"), "x");
}

fn removed_device_id_stays_removed(world: &World) {
    let mut a = world.device("desktop-a");
    let first = a.body(json!({"active_file": "x"}));
    a.push_body(&first);
    assert_eq!(world.delete("/sync/devices/desktop-a").status, 204);
    a.token = None;
    assert_problem(&a.try_push(json!({"active_file": "y"})), 403, "device_revoked");
    assert_problem(&a.send(&first), 403, "device_revoked");
    let token = world.post("/sync/devices/desktop-a/token", &json!({}));
    assert_ne!(token.status, 200, "no token for a removed device: {}", token.show());
    assert_eq!(world.scalar("active_file"), "x");
    world.device("desktop-a2").push(json!({"active_file": "z"}));
    assert_eq!(world.scalar("active_file"), "z");
}

fn made_up_sync_tokens_are_401_and_store_nothing(world: &World) {
    let mut a = world.device("desktop-a");
    a.push(json!({"active_file": "x"}));
    let token = a.auth();
    let (route, _) = token.split_once('.').expect("a route and a secret");
    for secret in ["", "x", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "=="] {
        let response = pull_as(world, &format!("{route}.{secret}"));
        assert_eq!(response.status, 401, "{secret:?}: {}", response.show());
    }
    let longer = format!("{token}A");
    assert_unauthorized(&pull_as(world, &longer));
    assert_eq!(world.devices().len(), 1);
}

fn secret_of_one_user_does_not_open_another(world: &World) {
    let other = world.another_user();
    let (mut a, mut b) = (world.device("desktop-a"), other.device("desktop-a"));
    a.push(json!({"active_file": "a"}));
    b.push(json!({"active_file": "b"}));
    let (token_a, token_b) = (a.auth(), b.auth());
    let (route_b, _) = token_b.split_once('.').expect("a route and a secret");
    let (_, secret_a) = token_a.split_once('.').expect("a route and a secret");
    assert_unauthorized(&pull_as(world, &format!("{route_b}.{secret_a}")));
}

fn sync_token_unused_for_90_days_ends(world: &World) {
    let mut a = world.device("desktop-a");
    a.push(json!({"active_file": "x"}));
    world.host.advance(89 * DAY_MS);
    let mut still = a.clone();
    still.pull();
    world.host.advance(91 * DAY_MS);
    assert_unauthorized(&a.get("/sync/pull"));
    assert_unauthorized(&a.try_push(json!({"active_file": "y"})));
    let response = world.post("/sync/devices/desktop-a/token", &json!({}));
    assert_eq!(response.status, 200, "the user signs in again: {}", response.show());
    a.token = response.json()["sync_token"].as_str().map(str::to_owned);
    a.pull();
    a.push(json!({"active_file": "y"}));
    assert_eq!(world.scalar("active_file"), "y");
}

fn sync_token_in_use_lives_on(world: &World) {
    let mut a = world.device("desktop-a");
    a.push(json!({"active_file": "0"}));
    for round in 1..=3 {
        world.host.advance(60 * DAY_MS);
        a.pull();
        a.push(json!({"active_file": round.to_string()}));
    }
    assert_eq!(world.scalar("active_file"), "3");
}

fn idle_days_of_sync_tokens_are_configurable(world: &World) {
    let mut a = world.device("desktop-a");
    a.push(json!({"active_file": "x"}));
    world.host.advance(DAY_MS);
    a.pull();
    world.host.advance(3 * DAY_MS);
    assert_unauthorized(&a.get("/sync/pull"));
}
