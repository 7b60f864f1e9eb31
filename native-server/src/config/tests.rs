use super::*;
use std::collections::HashMap;

const KEY: &str = "0123456789abcdef0123456789abcdef";

fn read(variables: &[(&str, &str)]) -> Result<Config, InvalidVariable> {
    let variables: HashMap<&str, &str> = variables.iter().copied().collect();
    Config::read(|name| variables.get(name).map(|value| (*value).to_owned()))
}

fn refusal(variables: &[(&str, &str)]) -> String {
    read(variables).err().expect("this configuration is refused").0
}

#[test]
fn nothing_configured_is_sqlite_on_loopback() {
    let config = read(&[]).unwrap();
    assert_eq!((config.bind.to_string().as_str(), config.port), ("127.0.0.1", 3829));
    assert_eq!(config.data_dir, PathBuf::from("./nself-sync-data"));
    assert!(config.database_url.is_none() && config.secret.is_none());
    assert_eq!((config.cors, config.log_level), (Origins::None, LevelFilter::INFO));
    assert_eq!(*config.policy, Policy::default());
}

#[test]
fn an_empty_variable_counts_as_not_set() {
    let config =
        read(&[("PORT", ""), ("DATABASE_URL", " "), ("LOG_LEVEL", ""), ("HASURA_GRAPHQL_JWT_SECRET", "")]);
    assert_eq!(config.unwrap().port, 3829);
}

#[test]
fn each_variable_arrives() {
    let config = read(&[
        ("PORT", "0"),
        ("PLUGIN_SYNC_BIND", "::"),
        ("DATABASE_URL", "postgresql://u:p%40ss@db/sync?sslmode=require"),
        ("PLUGIN_SYNC_DATA_DIR", "/data"),
        ("HASURA_GRAPHQL_JWT_SECRET", KEY),
        ("PLUGIN_SYNC_RETENTION_DAYS", "7"),
        ("PLUGIN_SYNC_CORS_ORIGINS", "https://a.example, http://localhost:5173/,tauri://localhost"),
        ("LOG_LEVEL", "Debug"),
    ])
    .unwrap();
    assert_eq!((config.port, config.bind.to_string().as_str()), (0, "::"));
    assert_eq!(config.database_url.as_deref(), Some("postgresql://u:p%40ss@db/sync?sslmode=require"));
    assert_eq!((config.data_dir, config.policy.retention_days), (PathBuf::from("/data"), 7));
    assert!(config.secret.is_some());
    let origins = ["https://a.example", "http://localhost:5173", "tauri://localhost"].map(str::to_owned);
    assert_eq!(config.cors, Origins::Listed(origins.to_vec()));
    assert_eq!(config.log_level, LevelFilter::DEBUG);
}

#[test]
fn a_bad_value_is_one_line_with_name_value_and_what_is_allowed() {
    for (name, value) in [
        ("PORT", "65536"),
        ("PORT", "-1"),
        ("PORT", "http"),
        ("PLUGIN_SYNC_BIND", "localhost"),
        ("LOG_LEVEL", "loud"),
        ("LOG_LEVEL", "3"),
        ("PLUGIN_SYNC_CORS_ORIGINS", "https://a.example/path"),
        ("PLUGIN_SYNC_CORS_ORIGINS", "*,https://a.example"),
        ("PLUGIN_SYNC_CORS_ORIGINS", "https://*.example"),
        ("PLUGIN_SYNC_MAX_FILE_SIZE_KB", "0"),
        ("PLUGIN_SYNC_CONFLICT_STRATEGY", "theirs"),
    ] {
        let line = refusal(&[(name, value)]);
        assert!(line.starts_with(&format!("{name}={value}: allowed is ")), "{line}");
        assert_eq!(line.lines().count(), 1);
    }
}

#[test]
fn a_file_that_no_push_could_carry_is_refused() {
    let sizes = |file, body| [("PLUGIN_SYNC_MAX_FILE_SIZE_KB", file), ("PLUGIN_SYNC_MAX_BODY_KB", body)];
    for (file, body) in [("512", "512"), ("8193", "8192")] {
        let line = refusal(&sizes(file, body));
        assert!(line.starts_with(&format!("PLUGIN_SYNC_MAX_FILE_SIZE_KB={file}: allowed is ")), "{line}");
        assert!(
            line.contains(&format!("PLUGIN_SYNC_MAX_BODY_KB={body}")) && line.lines().count() == 1,
            "{line}"
        );
    }
    assert!(refusal(&[("PLUGIN_SYNC_MAX_BODY_KB", "256")]).contains("FILE_SIZE_KB=512"), "also a default");
    assert!(read(&sizes("511", "512")).is_ok());
}

#[test]
fn a_refused_secret_is_not_printed() {
    for secret in ["hunter2", r#"{"type":"HS256","key":"hunter2"}"#, r#"{"key":"hunter2"#] {
        let line = refusal(&[("HASURA_GRAPHQL_JWT_SECRET", secret)]);
        assert!(
            line.starts_with("HASURA_GRAPHQL_JWT_SECRET=…: allowed is ") && !line.contains("hunter2"),
            "{line}"
        );
    }
    let line = refusal(&[("DATABASE_URL", "mysql://root:hunter2@db/sync")]);
    assert!(line.contains("postgres://") && !line.contains("hunter2"), "{line}");
}

#[test]
fn webhook_is_a_plain_url_and_turns_the_recording_on() {
    assert!(!read(&[("PLUGIN_INTERNAL_SECRET", "s")]).unwrap().policy.webhook, "a secret alone is none");
    let config = read(&[("PLUGIN_WEBHOOKS_INTERNAL_URL", "http://webhooks:3060/")]).unwrap();
    assert_eq!(config.webhook, Some(Webhook { url: "http://webhooks:3060".into(), secret: None }));
    assert!(config.policy.webhook);
    for url in [
        "webhooks:3060",
        "ftp://webhooks",
        "http://",
        "http://u:hunter2@webhooks",
        "http://webhooks/?x=hunter2",
    ] {
        let line = refusal(&[("PLUGIN_WEBHOOKS_INTERNAL_URL", url)]);
        assert!(line.starts_with("PLUGIN_WEBHOOKS_INTERNAL_URL=…: allowed is "), "{line}");
        assert!(!line.contains("hunter2"), "{line}");
    }
    let url = ("PLUGIN_WEBHOOKS_INTERNAL_URL", "http://webhooks");
    let line = refusal(&[url, ("PLUGIN_INTERNAL_SECRET", "hunter2\n hunter2")]);
    assert!(line.starts_with("PLUGIN_INTERNAL_SECRET=…: allowed is ") && !line.contains("hunter2"), "{line}");
}

#[test]
fn misspelt_variables_are_named_and_those_of_the_plugin_are_not() {
    let set = ["PLUGIN_SYNC_RETENTION_DAY", "PLUGIN_SYNC_BIND", "PLUGIN_SYNC_RATE_PER_MIN", "PATH"];
    assert_eq!(unknown(set.into_iter()), ["PLUGIN_SYNC_RETENTION_DAY"]);
}

#[test]
fn every_variable_of_the_policy_is_a_flag() {
    for name in Policy::VARIABLES {
        assert!(VARIABLES.iter().any(|variable| variable.name == name), "{name}");
    }
}

/// What the plugin's files name beside [`VARIABLES`].
const OTHERS: [&str; 3] = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_HEADERS", "OTEL_SERVICE_NAME"];

#[test]
fn the_plugins_example_has_every_variable_and_no_other() {
    let example = include_str!("../../plugin/.env.example");
    let is_name = |text: &str| text.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
    let lines = example.lines().map(|line| line.trim_start_matches("# "));
    let names =
        lines.filter_map(|line| line.split_once('=')).map(|(name, _)| name).filter(|name| is_name(name));
    let mut named: Vec<&str> = names.collect();
    named.sort_unstable();
    let mut known: Vec<&str> = VARIABLES.iter().map(|variable| variable.name).collect();
    known.extend(OTHERS);
    known.sort_unstable();
    assert_eq!(named, known);
}

#[test]
fn the_plugins_example_shows_the_defaults() {
    let example = include_str!("../../plugin/.env.example");
    for variable in &VARIABLES {
        let shown = example.lines().find_map(|line| line.strip_prefix(&format!("# {}=", variable.name)));
        let default = variable.help.split_once("[default: ").map(|(_, rest)| rest.trim_end_matches(']'));
        if let (Some(shown), Some(default)) = (shown, default) {
            let default = if default == "none" { "" } else { default };
            assert_eq!(shown, default, "{}", variable.name);
        }
    }
}
