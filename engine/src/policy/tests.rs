use super::*;

fn set(name: &str, value: &str) -> Result<Policy, String> {
    let mut policy = Policy::default();
    policy.set(name, value).map_err(|error| error.to_string())?;
    Ok(policy)
}

#[test]
fn the_defaults_are_those_of_the_plugin_page() {
    let policy = Policy::default();
    assert_eq!((policy.push_interval_ms, policy.strategy), (5000, Strategy::Merge));
    assert_eq!(
        (policy.file_bytes_max, policy.snapshot_threshold, policy.retention_days),
        (512 << 10, 100, 30)
    );
    assert_eq!((policy.conflict_block, policy.body_bytes_max), (ConflictBlock::Device, 8192 << 10));
    assert_eq!(
        (policy.keys_max, policy.scalar_bytes_max, policy.env_bytes_max),
        (10_000, 64 << 10, 256 << 10)
    );
    assert_eq!((policy.devices_max, policy.json_depth_max, policy.token_idle_days), (100, 100, 90));
    assert_eq!((policy.rate_per_min, policy.quota_bytes), (1200, 2048 << 20));
}

#[test]
fn each_variable_sets_its_own_limit() {
    type Change = fn(&mut Policy);
    let cases: [(&str, &str, Change); 12] = [
        ("PLUGIN_SYNC_PUSH_INTERVAL_MS", "250", |policy| policy.push_interval_ms = 250),
        ("PLUGIN_SYNC_CONFLICT_STRATEGY", "lww", |policy| policy.strategy = Strategy::Lww),
        ("PLUGIN_SYNC_CONFLICT_STRATEGY", " merge ", |policy| policy.strategy = Strategy::Merge),
        ("PLUGIN_SYNC_MAX_FILE_SIZE_KB", "1", |policy| policy.file_bytes_max = 1024),
        ("PLUGIN_SYNC_SNAPSHOT_THRESHOLD", "1", |policy| policy.snapshot_threshold = 1),
        ("PLUGIN_SYNC_RETENTION_DAYS", "3650", |policy| policy.retention_days = 3650),
        ("PLUGIN_SYNC_CONFLICT_BLOCK", "file", |policy| policy.conflict_block = ConflictBlock::File),
        ("PLUGIN_SYNC_MAX_BODY_KB", "64", |policy| policy.body_bytes_max = 64 << 10),
        ("PLUGIN_SYNC_TOKEN_IDLE_DAYS", "7", |policy| policy.token_idle_days = 7),
        ("PLUGIN_SYNC_RATE_PER_MIN", "60", |policy| policy.rate_per_min = 60),
        ("PLUGIN_SYNC_RATE_PER_MIN", "0", |policy| policy.rate_per_min = 0),
        ("PLUGIN_SYNC_QUOTA_MB", "1", |policy| policy.quota_bytes = 1 << 20),
    ];
    for (name, value, change) in cases {
        let mut expected = Policy::default();
        change(&mut expected);
        assert_eq!(set(name, value), Ok(expected), "{name}");
    }
}

#[test]
fn a_value_that_is_not_allowed_is_one_line_with_name_value_and_range() {
    let error = set("PLUGIN_SYNC_PUSH_INTERVAL_MS", "5s").expect_err("no number");
    assert_eq!(error, "PLUGIN_SYNC_PUSH_INTERVAL_MS=5s: allowed is a whole number from 100 to 3600000");
    let error = set("PLUGIN_SYNC_CONFLICT_STRATEGY", "mine").expect_err("no strategy");
    assert_eq!(error, "PLUGIN_SYNC_CONFLICT_STRATEGY=mine: allowed is merge or lww");
    for name in Policy::VARIABLES {
        let zero_is_off = name == "PLUGIN_SYNC_RATE_PER_MIN";
        let zero = Some("0").filter(|_| !zero_is_off);
        for value in ["", "-1", "1.5", "18446744073709551616", "none"].into_iter().chain(zero) {
            let error = set(name, value).expect_err(name);
            assert!(
                error.starts_with(&format!("{name}={value}: allowed is ")) && !error.contains('\n'),
                "{error}"
            );
        }
    }
    assert!(set("PLUGIN_SYNC_OTHER", "1").is_err());
}

#[test]
fn clients_are_told_what_the_protocol_lists() {
    let told = Policy::default().to_json();
    let names: Vec<&str> = told.as_object().expect("an object").keys().map(String::as_str).collect();
    let listed = [
        "body_bytes_max",
        "conflict_block",
        "conflict_strategy",
        "file_bytes_max",
        "keys_max",
        "push_interval_ms",
        "reply_bytes_max",
        "retention_days",
        "snapshot_threshold",
    ];
    assert_eq!(names, listed);
    assert_eq!((&told["conflict_strategy"], &told["conflict_block"]), (&"merge".into(), &"device".into()));
}
