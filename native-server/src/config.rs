//! The configuration: every variable by name, read once at the start.

#[cfg(test)]
mod tests;

use crate::jwt::{self, Secret};
use crate::outbox::Webhook;
use axum::http::Uri;
use ipnet::IpNet;
use nself_sync_engine::policy::{InvalidVariable, Origins, Policy};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;
use tracing::level_filters::LevelFilter;

/// A variable of the environment, also a flag of the same name.
pub struct Variable {
    /// As in the environment.
    pub name: &'static str,
    /// What stands for its value in `--help`.
    pub value: &'static str,
    /// What it does, with its default.
    pub help: &'static str,
}

const fn variable(name: &'static str, value: &'static str, help: &'static str) -> Variable {
    Variable { name, value, help }
}

/// All that the server reads.
pub const VARIABLES: [Variable; 22] = [
    variable("PORT", "0-65535", "Where to listen; 0 takes a free port [default: 3829]"),
    variable("PLUGIN_SYNC_BIND", "IP", "On which address [default: 127.0.0.1]"),
    variable("DATABASE_URL", "URL", "postgres://…; unset: SQLite in PLUGIN_SYNC_DATA_DIR"),
    variable("PLUGIN_SYNC_DATA_DIR", "PATH", "The folder of SQLite [default: ./nself-sync-data]"),
    variable(
        "HASURA_GRAPHQL_JWT_SECRET",
        "JSON|KEY",
        "What verifies the users' tokens: {\"type\": \"HS256|RS256|ES256\", \"key\": …} or {\"jwk_url\": …}, or a bare HS256 key",
    ),
    variable(
        "PLUGIN_SYNC_CORS_ORIGINS",
        "ORIGINS",
        "Comma-separated origins of browsers, or * [default: none]",
    ),
    variable(
        "PLUGIN_WEBHOOKS_INTERNAL_URL",
        "URL",
        "The webhooks plugin, which events are sent to; unset: no events are recorded",
    ),
    variable("PLUGIN_INTERNAL_SECRET", "SECRET", "What the webhooks plugin knows this plugin by"),
    variable("LOG_LEVEL", "LEVEL", "error, warn, info, debug, trace or off [default: info]"),
    variable("PLUGIN_SYNC_PUSH_INTERVAL_MS", "MS", "How often clients push [default: 5000]"),
    variable(
        "PLUGIN_SYNC_CONFLICT_STRATEGY",
        "merge|lww",
        "How concurrent edits are decided [default: merge]",
    ),
    variable("PLUGIN_SYNC_CONFLICT_BLOCK", "device|file", "What an open conflict blocks [default: device]"),
    variable("PLUGIN_SYNC_MAX_FILE_SIZE_KB", "KIB", "The largest document [default: 512]"),
    variable("PLUGIN_SYNC_MAX_BODY_KB", "KIB", "The largest request body, decompressed [default: 8192]"),
    variable(
        "PLUGIN_SYNC_SNAPSHOT_THRESHOLD",
        "N",
        "Versions behind at which a pull is whole [default: 100]",
    ),
    variable("PLUGIN_SYNC_RETENTION_DAYS", "DAYS", "How long history is kept [default: 30]"),
    variable("PLUGIN_SYNC_TOKEN_IDLE_DAYS", "DAYS", "After how long unused a sync token ends [default: 90]"),
    variable(
        "PLUGIN_SYNC_ADMIN_TOKEN",
        "TOKEN",
        "What an edge host takes operators' commands by: export, import and erase with --url",
    ),
    variable(
        "PLUGIN_SYNC_RATE_PER_MIN",
        "N",
        "Requests of one user, and at once; 0: any number [default: 1200]",
    ),
    variable(
        "PLUGIN_SYNC_AUTH_FAILURES_PER_MIN",
        "N",
        "Failed authentications of one public address; 0: any number [default: 600]",
    ),
    variable(
        "PLUGIN_SYNC_TRUSTED_PROXIES",
        "NETWORKS",
        "Comma-separated addresses of proxies whose X-Forwarded-For counts, such as 172.16.0.0/12 [default: none]",
    ),
    variable("PLUGIN_SYNC_QUOTA_MB", "MIB", "What one user may store, history and all [default: 2048]"),
];

const ORIGINS: &str = "PLUGIN_SYNC_CORS_ORIGINS";

/// How addresses are known and limited.
pub struct Addresses {
    /// Failed authentications a minute; 0: any number.
    pub failures_per_min: u32,
    /// Whose `X-Forwarded-For` counts.
    pub proxies: Vec<IpNet>,
}

/// What the operator chose.
pub struct Config {
    /// The address to listen on.
    pub bind: IpAddr,
    /// The port; 0 takes a free one.
    pub port: u16,
    /// PostgreSQL; `None`: SQLite in `data_dir`.
    pub database_url: Option<String>,
    /// The folder of SQLite.
    pub data_dir: PathBuf,
    /// What verifies tokens. `serve` needs one unless `--dev`.
    pub secret: Option<Secret>,
    /// Limits and choices of the engine.
    pub policy: Arc<Policy>,
    /// See [`Origins`].
    pub cors: Origins,
    /// How addresses are known and limited.
    pub addresses: Addresses,
    /// Where events are sent.
    pub webhook: Option<Webhook>,
    /// What is logged.
    pub log_level: LevelFilter,
    /// What operators' commands show to an edge host. The server itself takes none.
    pub admin_token: Option<String>,
}

impl Config {
    /// Reads every variable through `get`; an empty value counts as not set (compose files pass those).
    /// The error is one line with the variable, its value where that is no secret, and what is allowed.
    pub fn read(get: impl Fn(&str) -> Option<String>) -> Result<Config, InvalidVariable> {
        let get = |name: &str| get(name).filter(|value| !value.trim().is_empty());
        let mut policy = Policy::default();
        for name in Policy::VARIABLES {
            if let Some(value) = get(name) {
                policy.set(name, &value)?;
            }
        }
        policy.check()?;
        let webhook = webhook(&get)?;
        policy.webhook = webhook.is_some();
        Ok(Config {
            bind: or(get("PLUGIN_SYNC_BIND"), IpAddr::V4(Ipv4Addr::LOCALHOST), bind)?,
            port: or(get("PORT"), 3829, port)?,
            database_url: or(get("DATABASE_URL"), None, |url| database_url(url).map(Some))?,
            data_dir: get("PLUGIN_SYNC_DATA_DIR").unwrap_or_else(|| "./nself-sync-data".into()).into(),
            secret: or(get("HASURA_GRAPHQL_JWT_SECRET"), None, |text| secret(text).map(Some))?,
            policy: Arc::new(policy),
            cors: or(get(ORIGINS), Origins::None, |text| Origins::parse(ORIGINS, text))?,
            addresses: Addresses {
                failures_per_min: or(get("PLUGIN_SYNC_AUTH_FAILURES_PER_MIN"), 600, failures_per_min)?,
                proxies: or(get("PLUGIN_SYNC_TRUSTED_PROXIES"), Vec::new(), proxies)?,
            },
            webhook,
            log_level: or(get("LOG_LEVEL"), LevelFilter::INFO, log_level)?,
            admin_token: get("PLUGIN_SYNC_ADMIN_TOKEN"),
        })
    }
}

/// The names among `set` that look like the plugin's own and are none: typing errors, most likely.
pub fn unknown<'a>(set: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let known = |name: &str| VARIABLES.iter().any(|variable| variable.name == name);
    set.filter(|name| name.starts_with("PLUGIN_SYNC_") && !known(name)).collect()
}

fn or<T>(
    value: Option<String>,
    default: T,
    parse: impl FnOnce(&str) -> Result<T, InvalidVariable>,
) -> Result<T, InvalidVariable> {
    value.map_or(Ok(default), |text| parse(&text))
}

fn invalid(name: &str, value: &str, allowed: &str) -> InvalidVariable {
    InvalidVariable(format!("{name}={value}: allowed is {allowed}"))
}

fn port(text: &str) -> Result<u16, InvalidVariable> {
    text.trim().parse().map_err(|_| invalid("PORT", text, "a whole number from 0 to 65535"))
}

fn bind(text: &str) -> Result<IpAddr, InvalidVariable> {
    text.trim().parse().map_err(|_| invalid("PLUGIN_SYNC_BIND", text, "an IPv4 or IPv6 address"))
}

fn database_url(text: &str) -> Result<String, InvalidVariable> {
    let url = text.trim();
    if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        return Ok(url.to_owned());
    }
    // The value is not shown: it may hold a password.
    Err(invalid("DATABASE_URL", "…", "a URL that begins with postgres:// or postgresql://"))
}

fn secret(text: &str) -> Result<Secret, InvalidVariable> {
    jwt::parse(text).map_err(|problem| invalid("HASURA_GRAPHQL_JWT_SECRET", "…", &problem))
}

/// The secret without a URL means nothing: other plugins have it as well.
fn webhook(get: &impl Fn(&str) -> Option<String>) -> Result<Option<Webhook>, InvalidVariable> {
    let Some(url) = get("PLUGIN_WEBHOOKS_INTERNAL_URL") else { return Ok(None) };
    let url = url.trim().trim_end_matches('/');
    let parsed = url.parse::<Uri>().ok().filter(|uri| {
        let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
        is_http && uri.query().is_none() && uri.authority().is_some_and(|host| !host.as_str().contains('@'))
    });
    if parsed.is_none() {
        // Not shown, as it may hold a password.
        let allowed = "a URL that begins with http:// or https://, without user, password and query";
        return Err(invalid("PLUGIN_WEBHOOKS_INTERNAL_URL", "…", allowed));
    }
    let secret = get("PLUGIN_INTERNAL_SECRET").map(|secret| secret.trim().to_owned());
    if secret.as_ref().is_some_and(|secret| !secret.bytes().all(|c| c.is_ascii_graphic())) {
        return Err(invalid("PLUGIN_INTERNAL_SECRET", "…", "printable ASCII without spaces"));
    }
    Ok(Some(Webhook { url: url.to_owned(), secret }))
}

fn log_level(text: &str) -> Result<LevelFilter, InvalidVariable> {
    let words = ["off", "error", "warn", "info", "debug", "trace"];
    let word = text.trim().to_ascii_lowercase();
    let level = words.contains(&word.as_str()).then(|| word.parse().ok()).flatten();
    level.ok_or_else(|| invalid("LOG_LEVEL", text, "error, warn, info, debug, trace or off"))
}

fn failures_per_min(text: &str) -> Result<u32, InvalidVariable> {
    let number = text.trim().parse().ok().filter(|number| *number <= 1_000_000);
    let allowed = "a whole number from 0 to 1000000";
    number.ok_or_else(|| invalid("PLUGIN_SYNC_AUTH_FAILURES_PER_MIN", text, allowed))
}

/// Networks, or single addresses.
fn proxies(text: &str) -> Result<Vec<IpNet>, InvalidVariable> {
    let network = |word: &str| word.parse().ok().or_else(|| word.parse::<IpAddr>().ok().map(IpNet::from));
    let networks = text.split(',').map(str::trim).filter(|word| !word.is_empty()).map(network);
    let allowed = "comma-separated addresses or networks such as 172.16.0.0/12";
    networks.collect::<Option<_>>().ok_or_else(|| invalid("PLUGIN_SYNC_TRUSTED_PROXIES", text, allowed))
}
