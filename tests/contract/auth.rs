//! PROTOCOL section 3: who may do what.

use nself_sync_tests::hosts::{JWT_KEY, Request, Response};
use nself_sync_tests::world::{World, assert_problem, encode, jwt, now_s};
use serde_json::{Value, json};

use crate::case::Config;

crate::cases![
    without_a_token_every_route_is_401,
    what_is_not_a_bearer_token_is_401,
    health_needs_no_token,
    expired_token_is_401.http(),
    token_that_is_not_valid_yet_is_401.http(),
    token_without_expiry_is_401.http(),
    alg_none_is_401.http(),
    token_of_another_algorithm_is_401.http(),
    token_signed_with_another_key_is_401.http(),
    tampered_claims_are_401.http(),
    token_without_a_user_is_401.http(),
    user_comes_from_the_hasura_claim_before_sub,
    sub_is_the_user_where_there_is_no_hasura_claim,
    accounts_of_one_installation_do_not_see_each_other,
    missing_account_claim_is_the_primary_account,
    users_do_not_see_each_other,
    x_hasura_headers_are_never_trusted.http(),
    odd_user_ids_work_and_stay_apart,
    audience_and_issuer_are_honoured_where_configured.http().config(AUD_ISS),
    raw_key_string_is_a_secret_too.http().config(RAW_KEY),
    rs256_tokens_work_and_hs256_forged_with_the_public_key_does_not.http().config(RS256),
    es256_tokens_work_and_hs256_forged_with_the_public_key_does_not.http().config(ES256),
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

const AUD_ISS: Config = &[(
    "HASURA_GRAPHQL_JWT_SECRET",
    r#"{"type":"HS256","key":"contract-suite-key-0123456789abcdef-0123456789abcdef","audience":"nself","issuer":"https://auth.example"}"#,
)];
const RAW_KEY: Config = &[("HASURA_GRAPHQL_JWT_SECRET", JWT_KEY)];
const RS256_KEY: &str = include_str!("keys/rs256.pub.pem");
const ES256_KEY: &str = include_str!("keys/es256.pub.pem");
const RS256: Config = &[(
    "HASURA_GRAPHQL_JWT_SECRET",
    concat!(r#"{"type":"RS256","key":""#, include_str!("keys/rs256.pub.json"), r#""}"#),
)];
const ES256: Config = &[(
    "HASURA_GRAPHQL_JWT_SECRET",
    concat!(r#"{"type":"ES256","key":""#, include_str!("keys/es256.pub.json"), r#""}"#),
)];

/// Every route of PROTOCOL that needs a token.
pub const ROUTES: &[(&str, &str)] = &[
    ("POST", "/sync/push"),
    ("GET", "/sync/pull"),
    ("GET", "/sync/devices"),
    ("DELETE", "/sync/devices/desktop-a"),
    ("POST", "/sync/devices/desktop-a/token"),
    ("GET", "/sync/conflicts"),
    ("POST", "/sync/conflicts/c1/resolve"),
    ("GET", "/sync/config"),
    ("GET", "/sync/history?key=active_file"),
    ("GET", "/sync/files/0000000000000000000000000000000000000000000000000000000000000000"),
];

fn pull_as(world: &World, token: &str) -> Response {
    world.send(Request::new("GET", "/sync/pull").bearer(token))
}

fn assert_unauthorized(response: &Response) {
    assert_problem(response, 401, "unauthorized");
    let challenge = response.header("WWW-Authenticate");
    assert!(
        challenge.is_some_and(|value| value.starts_with("Bearer")),
        "401 says how to sign in: {challenge:?}"
    );
}

fn without_a_token_every_route_is_401(world: &World) {
    for (method, path) in ROUTES {
        let request = Request::new(method, path).header("Content-Type", "application/json").bytes(*b"{}");
        let request = if *method == "POST" { request } else { Request::new(method, path) };
        assert_unauthorized(&world.send(request));
    }
}

fn what_is_not_a_bearer_token_is_401(world: &World) {
    for value in
        ["Bearer", "Bearer ", "Bearer x", "Bearer a.b.c", "Bearer nst_", "Bearer nst_a.b", "Basic dTpw", "x"]
    {
        let response = world.send(Request::new("GET", "/sync/pull").header("Authorization", value));
        assert_eq!(response.status, 401, "Authorization: {value}: {}", response.show());
    }
    let basic = format!("Basic {}", world.jwt());
    let response = world.send(Request::new("GET", "/sync/pull").header("Authorization", &basic));
    assert_unauthorized(&response);
}

fn health_needs_no_token(world: &World) {
    let response = world.send(Request::new("GET", "/health"));
    assert_eq!(response.status, 200, "{}", response.show());
    assert_eq!(response.json()["status"], "ok");
}

fn expired_token_is_401(world: &World) {
    let mut claims = world.claims();
    claims["exp"] = json!(now_s() - 3600);
    assert_unauthorized(&pull_as(world, &jwt::hs256(JWT_KEY, &claims)));
}

fn token_that_is_not_valid_yet_is_401(world: &World) {
    let mut claims = world.claims();
    claims["nbf"] = json!(now_s() + 3600);
    assert_unauthorized(&pull_as(world, &jwt::hs256(JWT_KEY, &claims)));
    claims["nbf"] = json!(now_s() - 3600);
    assert_eq!(pull_as(world, &jwt::hs256(JWT_KEY, &claims)).status, 200, "nbf in the past is no obstacle");
}

fn token_without_expiry_is_401(world: &World) {
    let mut claims = world.claims();
    claims.as_object_mut().expect("an object").remove("exp");
    assert_unauthorized(&pull_as(world, &jwt::hs256(JWT_KEY, &claims)));
}

fn alg_none_is_401(world: &World) {
    assert_unauthorized(&pull_as(world, &jwt::signed("none", JWT_KEY, &world.claims())));
    assert_unauthorized(&pull_as(world, &jwt::signed("None", JWT_KEY, &world.claims())));
}

fn token_of_another_algorithm_is_401(world: &World) {
    assert_unauthorized(&pull_as(world, &jwt::signed("HS512", JWT_KEY, &world.claims())));
}

fn token_signed_with_another_key_is_401(world: &World) {
    assert_unauthorized(&pull_as(
        world,
        &jwt::hs256("another-key-0123456789abcdef-0123456789", &world.claims()),
    ));
}

fn tampered_claims_are_401(world: &World) {
    let token = jwt::tampered(&world.jwt(), &world.another_user().claims());
    assert_unauthorized(&pull_as(world, &token));
}

fn token_without_a_user_is_401(world: &World) {
    let exp = now_s() + 3600;
    assert_unauthorized(&pull_as(world, &jwt::hs256(JWT_KEY, &json!({"exp": exp}))));
    assert_unauthorized(&pull_as(world, &jwt::hs256(JWT_KEY, &json!({"exp": exp, "sub": ""}))));
}

fn scalar_seen_with(world: &World, claims: &Value) -> Value {
    let response = pull_as(world, &jwt::hs256(JWT_KEY, claims));
    assert_eq!(response.status, 200, "{}", response.show());
    response.json()["state"]["active_file"].clone()
}

fn user_comes_from_the_hasura_claim_before_sub(world: &World) {
    world.device("desktop-a").push(json!({"active_file": "mine"}));
    let mut claims = world.claims();
    claims["sub"] = json!(world.another_user().user);
    assert_eq!(scalar_seen_with(world, &claims), "mine");
}

fn sub_is_the_user_where_there_is_no_hasura_claim(world: &World) {
    world.device("desktop-a").push(json!({"active_file": "mine"}));
    assert_eq!(scalar_seen_with(world, &json!({"sub": world.user, "exp": now_s() + 315_360_000})), "mine");
}

fn accounts_of_one_installation_do_not_see_each_other(world: &World) {
    let mut other = world.clone();
    other.account = Some("second-app".into());
    let mut a = world.device("desktop-a");
    a.push(json!({"active_file": "first", "files": {"f": {"content": "first\n"}}}));
    other.device("desktop-a").push(json!({"active_file": "second"}));
    assert_eq!(world.scalar("active_file"), "first");
    assert_eq!(other.scalar("active_file"), "second");
    assert_eq!(other.devices().len(), 1, "each account has its own device of that name");
    assert!(!other.reachable(b"first\n"), "contents do not cross accounts");
    assert_eq!(other.delete("/sync/devices/desktop-a").status, 204);
    assert_eq!(
        a.try_push(json!({"active_file": "still"})).status,
        200,
        "the other account's device is another"
    );
}

fn missing_account_claim_is_the_primary_account(world: &World) {
    world.device("desktop-a").push(json!({"active_file": "mine"}));
    let mut primary = world.clone();
    primary.account = Some("primary".into());
    assert_eq!(primary.scalar("active_file"), "mine");
}

fn users_do_not_see_each_other(world: &World) {
    let other = world.another_user();
    let (mut a, mut b) = world.two_devices(json!({"files": {"f": {"content": "base\n"}}}));
    a.push(json!({"files": {"f": {"content": "theirs\n"}}}));
    b.push(json!({"files": {"f": {"content": "mine\n"}}}));
    let conflict = world.only_conflict();
    assert_eq!(other.snapshot()["state"], json!({}));
    assert_eq!(other.head(), 0);
    assert!(other.devices().is_empty() && other.conflicts().is_empty());
    assert!(other.history("files/f").is_empty());
    for content in ["base\n", "theirs\n", "mine\n"] {
        assert!(!other.reachable(content.as_bytes()), "another user's content by its hash");
    }
    assert_problem(&other.resolve(&conflict, json!({"resolution": "mine"})), 404, "not_found");
    assert_problem(&other.delete("/sync/devices/desktop-a"), 404, "not_found");
    assert_eq!(world.conflicts().len(), 1);
}

fn x_hasura_headers_are_never_trusted(world: &World) {
    let victim = world.another_user();
    victim.device("desktop-a").push(json!({"active_file": "secret"}));
    let request = Request::new("GET", "/sync/pull")
        .bearer(&world.jwt())
        .header("X-Hasura-User-Id", &victim.user)
        .header("X-Hasura-Role", "admin");
    assert_eq!(world.send(request).json()["state"], json!({}));
    let request = Request::new("GET", "/sync/pull").header("X-Hasura-User-Id", &victim.user);
    assert_unauthorized(&world.send(request));
}

fn odd_user_ids_work_and_stay_apart(world: &World) {
    for (index, odd) in ["/a", "/a/b", " ü|é%2F", "'; --", "\"x\""].iter().enumerate() {
        let mut user = world.clone();
        user.user = format!("{}{odd}", world.user);
        let mut device = user.device("desktop-a");
        device.push(json!({"n": index}));
        device.push(json!({"again": true}));
        assert_eq!(user.scalar("n"), json!(index), "user id {:?}", user.user);
    }
    assert_eq!(world.head(), 0);
}

fn audience_and_issuer_are_honoured_where_configured(world: &World) {
    let with = |aud: Value, iss: Value| {
        let mut claims = world.claims();
        for (name, value) in [("aud", aud), ("iss", iss)] {
            if !value.is_null() {
                claims[name] = value;
            }
        }
        pull_as(world, &jwt::hs256(JWT_KEY, &claims)).status
    };
    let iss = json!("https://auth.example");
    assert_eq!(with(json!("nself"), iss.clone()), 200);
    assert_eq!(with(json!(["other", "nself"]), iss.clone()), 200, "one of several audiences");
    assert_eq!(with(json!("other"), iss.clone()), 401, "another audience");
    assert_eq!(with(Value::Null, iss), 401, "no audience");
    assert_eq!(with(json!("nself"), json!("https://evil.example")), 401, "another issuer");
    assert_eq!(with(json!("nself"), Value::Null), 401, "no issuer");
}

fn raw_key_string_is_a_secret_too(world: &World) {
    world.device("desktop-a").push(json!({"active_file": "x"}));
    assert_unauthorized(&pull_as(
        world,
        &jwt::hs256("another-key-0123456789abcdef-0123456789", &world.claims()),
    ));
}

fn rs256_tokens_work_and_hs256_forged_with_the_public_key_does_not(world: &World) {
    assert_asymmetric(world, include_str!("keys/rs256.jwt"), RS256_KEY);
}

fn es256_tokens_work_and_hs256_forged_with_the_public_key_does_not(world: &World) {
    assert_asymmetric(world, include_str!("keys/es256.jwt"), ES256_KEY);
}

fn assert_asymmetric(world: &World, token: &str, public_key: &str) {
    let response = pull_as(world, token.trim());
    assert_eq!(response.status, 200, "{}", response.show());
    for key in [public_key, public_key.trim_end(), JWT_KEY] {
        assert_unauthorized(&pull_as(world, &jwt::hs256(key, &world.claims())));
    }
    assert_unauthorized(&pull_as(world, &jwt::signed("none", "", &world.claims())));
    assert_unauthorized(&pull_as(world, &jwt::tampered(token.trim(), &world.claims())));
}

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

const DAY_MS: u64 = 86_400_000;

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
