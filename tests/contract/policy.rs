//! PROTOCOL section 8: what clients are told, and what an operator may set.

use nself_sync_tests::hosts::UNSET;
use nself_sync_tests::world::World;
use serde_json::{Value, json};

use crate::case::{Config, FILE_BLOCK, SMALL};

crate::cases![
    defaults_are_those_of_the_documentation,
    config_pull_and_push_tell_the_same_policy,
    every_variable_shows_in_the_policy.config(CHANGED),
    conflict_block_shows_in_the_policy.config(FILE_BLOCK),
    file_limit_follows_its_variable.config(SMALL),
    empty_variable_is_its_default.config(EMPTY),
    variable_that_does_not_parse_stops_the_start_with_one_line,
    variable_out_of_range_stops_the_start_with_one_line,
    start_without_a_secret_is_refused.native(),
    short_secret_is_refused.native(),
    malformed_secret_is_refused_and_not_printed.native(),
    unknown_command_and_flag_are_refused.native(),
    token_command_mints_a_token_that_works.native(),
    healthcheck_command_says_whether_it_runs.native(),
    migrate_command_can_be_run_again.native(),
];

const CHANGED: Config = &[
    ("PLUGIN_SYNC_PUSH_INTERVAL_MS", "2500"),
    ("PLUGIN_SYNC_CONFLICT_STRATEGY", "lww"),
    ("PLUGIN_SYNC_MAX_FILE_SIZE_KB", "64"),
    ("PLUGIN_SYNC_SNAPSHOT_THRESHOLD", "7"),
    ("PLUGIN_SYNC_RETENTION_DAYS", "3"),
    ("PLUGIN_SYNC_MAX_BODY_KB", "1024"),
];
const EMPTY: Config = &[("PLUGIN_SYNC_PUSH_INTERVAL_MS", ""), ("PLUGIN_SYNC_CONFLICT_STRATEGY", "")];

fn policy(world: &World) -> Value {
    world.get_json("/sync/config")["policy"].clone()
}

fn defaults_are_those_of_the_documentation(world: &World) {
    let policy = policy(world);
    let mut want = json!({
        "push_interval_ms": 5000, "conflict_strategy": "merge", "conflict_block": "device", "file_bytes_max": 512 * 1024,
        "body_bytes_max": 8192 * 1024, "reply_bytes_max": 8 << 20, "keys_max": 10_000, "snapshot_threshold": 100, "retention_days": 30,
    });
    if world.host.name() == "edge" {
        want["body_bytes_max"] = json!(4096 * 1024);
        want["reply_bytes_max"] = json!(4 << 20);
    }
    for (name, value) in want.as_object().expect("an object") {
        assert_eq!(policy[name], *value, "{name}");
    }
}

fn config_pull_and_push_tell_the_same_policy(world: &World) {
    let told = policy(world);
    let mut a = world.device("desktop-a");
    assert_eq!(a.push(json!({"n": 1})).value["policy"], told);
    assert_eq!(a.pull()["policy"], told);
    assert_eq!(world.snapshot()["policy"], told);
}

fn every_variable_shows_in_the_policy(world: &World) {
    let policy = policy(world);
    let want = json!({
        "push_interval_ms": 2500, "conflict_strategy": "lww", "file_bytes_max": 65_536, "snapshot_threshold": 7, "retention_days": 3,
        "body_bytes_max": 1_048_576,
    });
    for (name, value) in want.as_object().expect("an object") {
        assert_eq!(policy[name], *value, "{name}");
    }
}

fn conflict_block_shows_in_the_policy(world: &World) {
    assert_eq!(policy(world)["conflict_block"], "file");
}

fn file_limit_follows_its_variable(world: &World) {
    let mut a = world.device("desktop-a");
    let reply = a
        .push(json!({"files": {"at": {"content": "x".repeat(1024)}, "over": {"content": "x".repeat(1025)}}}));
    assert_eq!(reply.status("files/at"), "applied");
    assert_eq!(reply.rejected("files/over"), "file_too_large");
}

fn empty_variable_is_its_default(world: &World) {
    let policy = policy(world);
    assert_eq!((&policy["push_interval_ms"], &policy["conflict_strategy"]), (&json!(5000), &json!("merge")));
}

fn assert_refused(world: &World, name: &str, value: &str) {
    match world.launch.start(&[(name, value)]) {
        Ok(_) => panic!("{name}={value} starts"),
        Err(error) => {
            let text = format!("{error:#}");
            let named = |line: &&str| line.contains(name) && line.contains(value);
            assert_eq!(
                text.lines().filter(named).count(),
                1,
                "one line names the variable and its value: {text}"
            );
            assert!(!text.contains("panicked"), "{text}");
        }
    }
}

fn variable_that_does_not_parse_stops_the_start_with_one_line(world: &World) {
    let numbers = [
        "PLUGIN_SYNC_PUSH_INTERVAL_MS",
        "PLUGIN_SYNC_MAX_FILE_SIZE_KB",
        "PLUGIN_SYNC_SNAPSHOT_THRESHOLD",
        "PLUGIN_SYNC_RETENTION_DAYS",
        "PLUGIN_SYNC_MAX_BODY_KB",
    ];
    for name in numbers {
        assert_refused(world, name, "twelve");
    }
    assert_refused(world, "PLUGIN_SYNC_PUSH_INTERVAL_MS", "5s");
    assert_refused(world, "PLUGIN_SYNC_CONFLICT_STRATEGY", "newest");
    assert_refused(world, "PLUGIN_SYNC_CONFLICT_BLOCK", "user");
}

fn variable_out_of_range_stops_the_start_with_one_line(world: &World) {
    for name in ["PLUGIN_SYNC_MAX_FILE_SIZE_KB", "PLUGIN_SYNC_RETENTION_DAYS", "PLUGIN_SYNC_MAX_BODY_KB"] {
        assert_refused(world, name, "-3");
        assert_refused(world, name, "99999999999999999999");
    }
}

fn refused_with(world: &World, vars: &[(&str, &str)]) -> String {
    match world.launch.start(vars) {
        Ok(_) => panic!("it starts with {vars:?}"),
        Err(error) => format!("{error:#}"),
    }
}

fn start_without_a_secret_is_refused(world: &World) {
    let text = refused_with(world, &[("HASURA_GRAPHQL_JWT_SECRET", UNSET)]);
    assert!(
        text.contains("HASURA_GRAPHQL_JWT_SECRET") && text.contains("--dev"),
        "it says what to do: {text}"
    );
}

fn short_secret_is_refused(world: &World) {
    let key = "x".repeat(31);
    for secret in [key.clone(), format!(r#"{{"type":"HS256","key":"{key}"}}"#)] {
        let text = refused_with(world, &[("HASURA_GRAPHQL_JWT_SECRET", &secret)]);
        assert!(text.contains("HASURA_GRAPHQL_JWT_SECRET") && text.contains("32"), "{text}");
        assert!(!text.contains(&key), "a secret is not printed: {text}");
    }
}

fn malformed_secret_is_refused_and_not_printed(world: &World) {
    let key = "correct-horse-battery-staple-0123456789";
    let secrets = [
        format!(r#"{{"type":"HS257","key":"{key}"}}"#),
        format!(r#"{{"type":"HS256","key":"{key}""#),
        format!(r#"{{"type":"RS256","key":"{key}"}}"#),
        r#"{"type":"HS256"}"#.to_owned(),
    ];
    for secret in secrets {
        let text = refused_with(world, &[("HASURA_GRAPHQL_JWT_SECRET", &secret)]);
        assert!(text.contains("HASURA_GRAPHQL_JWT_SECRET"), "{text}");
        assert!(!text.contains(key) && !text.contains("panicked"), "{text}");
    }
}

fn unknown_command_and_flag_are_refused(world: &World) {
    let native = world.host.native().expect("a native host");
    for args in [["frobnicate"], ["--frobnicate"]] {
        let (status, text) = native.run(&args).expect("it runs");
        assert!(!status.success() && text.contains("frobnicate"), "{args:?}: {text}");
    }
}

fn token_command_mints_a_token_that_works(world: &World) {
    let native = world.host.native().expect("a native host");
    let (status, text) = native.run(&["token"]).expect("it runs");
    assert!(status.success(), "{text}");
    let token = text.split_whitespace().find(|word| word.split('.').count() == 3 && word.starts_with("ey"));
    let token = token.unwrap_or_else(|| panic!("no token in {text}"));
    let request = nself_sync_tests::hosts::Request::new("GET", "/sync/pull").bearer(token);
    assert_eq!(world.send(request).status, 200);
}

fn healthcheck_command_says_whether_it_runs(world: &World) {
    let native = world.host.native().expect("a native host");
    let port = native.address().port().to_string();
    let check = || native.run_with(&["healthcheck"], &[("PORT", &port)]).expect("it runs");
    let (status, text) = check();
    assert_eq!(status.code(), Some(0), "{text}");
    native.shut_down().expect("an orderly stop");
    let (status, _) = check();
    assert_ne!(status.code(), Some(0), "nothing listens any more");
    native.resume().expect("it starts again");
}

fn migrate_command_can_be_run_again(world: &World) {
    let native = world.host.native().expect("a native host");
    world.device("desktop-a").push(json!({"n": 1}));
    for _ in 0..2 {
        let (status, text) = native.run(&["migrate"]).expect("it runs");
        assert!(status.success(), "{text}");
    }
    assert_eq!(world.scalar("n"), 1);
}
