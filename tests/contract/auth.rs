//! PROTOCOL section 3: who may do what.

use nself_sync_tests::hosts::{JWT_KEY, Request, Response};
use nself_sync_tests::world::{World, assert_problem, jwt, now_s};
use serde_json::{Value, json};

use crate::case::Config;

crate::cases![
    without_a_token_every_route_is_401,
    what_is_not_a_bearer_token_is_401,
    health_needs_no_token.http(),
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

pub fn pull_as(world: &World, token: &str) -> Response {
    world.send(Request::new("GET", "/sync/pull").bearer(token))
}

pub fn assert_unauthorized(response: &Response) {
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
