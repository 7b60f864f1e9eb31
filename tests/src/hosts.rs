//! A host is anything that answers the sync protocol: the memory host, the native server on SQLite or PostgreSQL, the edge.
//!
//! A case sees a host only through [`Host`], so the same case runs on each of them.

pub mod edge;
pub mod keeper;
pub mod memory;
pub mod native;
pub mod postgres;
mod secrets;

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Result;
use serde_json::Value;

/// What a case sends. Header names are compared without case.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// GET, POST, DELETE, …
    pub method: String,
    /// The path with the query, percent-encoded by the caller.
    pub path: String,
    /// Header fields in the order they are sent.
    pub headers: Vec<(String, String)>,
    /// The body as it goes over the wire.
    pub body: Vec<u8>,
}

impl Request {
    /// A request without headers and body.
    pub fn new(method: &str, path: &str) -> Self {
        Self { method: method.to_owned(), path: path.to_owned(), ..Self::default() }
    }

    /// Adds a header field.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets `Authorization: Bearer …`.
    pub fn bearer(self, token: &str) -> Self {
        self.header("Authorization", &format!("Bearer {token}"))
    }

    /// Sets a JSON body.
    pub fn json(self, body: &Value) -> Self {
        self.header("Content-Type", "application/json").bytes(body.to_string())
    }

    /// Sets the body as it is.
    pub fn bytes(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }
}

/// What a host answered.
#[derive(Clone, Debug)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// Header fields as received.
    pub headers: Vec<(String, String)>,
    /// The body as received: still compressed where the host compressed it.
    pub body: Vec<u8>,
}

impl Response {
    /// The first header field of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(have, _)| have.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// All values of a header field, as one comma-separated lower-case list.
    pub fn header_list(&self, name: &str) -> String {
        let values: Vec<&str> = self
            .headers
            .iter()
            .filter(|(have, _)| have.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
            .collect();
        values.join(", ").to_lowercase()
    }

    /// The body as JSON; panics, saying what came instead.
    pub fn json(&self) -> Value {
        match serde_json::from_slice(&self.body) {
            Ok(value) => value,
            Err(error) => panic!("the body is not JSON ({error}): {}", self.show()),
        }
    }

    /// The body as text, invalid bytes replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The `code` of a problem, empty where the body has none.
    pub fn code(&self) -> String {
        let body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        body["code"].as_str().unwrap_or_default().to_owned()
    }

    /// Status and the beginning of the body, for messages.
    pub fn show(&self) -> String {
        let text = self.text();
        let end = text.char_indices().nth(600).map_or(text.len(), |(at, _)| at);
        format!("{} {}", self.status, &text[..end])
    }
}

/// A running host.
pub trait Host: Send + Sync {
    /// `memory`, `sqlite`, `postgres`, `edge`.
    fn name(&self) -> &str;

    /// One request, one answer; panics where no answer came.
    fn call(&self, request: Request) -> Response {
        let what = format!("{} {}", request.method, request.path);
        match self.try_call(request) {
            Ok(response) => response,
            Err(error) => panic!("{what}: no answer from {}: {error:#}", self.name()),
        }
    }

    /// One request; an error where the connection broke before an answer came.
    fn try_call(&self, request: Request) -> Result<Response>;

    /// Whether there is real HTTP between the case and the host.
    fn is_http(&self) -> bool {
        true
    }

    /// Time passes: afterwards everything stored is that much older. Only for cases that have the host to themselves.
    fn advance(&self, ms: u64);

    /// Runs the host's pruning to its end.
    fn prune(&self);

    /// Where it listens; `None`: it is not HTTP.
    fn addr(&self) -> Option<SocketAddr> {
        None
    }

    /// The workerd behind the host.
    fn edge(&self) -> Option<&edge::EdgeHost> {
        None
    }

    /// The process behind the host, for the cases that kill it, talk raw TCP, or read its log.
    fn native(&self) -> Option<&native::NativeHost> {
        None
    }

    /// Ends the host in the orderly way; an error where it did not end well.
    fn stop(&self) -> Result<()> {
        Ok(())
    }
}

/// A variable with this value is not set at all.
pub const UNSET: &str = "<unset>";

/// Starts hosts of one kind.
pub trait Launch: Send + Sync {
    /// `memory`, `sqlite`, `postgres`, `edge`.
    fn name(&self) -> &str;

    /// A fresh host, empty, with these environment variables over the suite's defaults ([`default_vars`]).
    /// The error of a host that refused to start contains what it printed.
    fn start(&self, vars: &[(&str, &str)]) -> Result<Arc<dyn Host>>;
}

/// The key of the suite's own tokens.
pub const JWT_KEY: &str = "contract-suite-key-0123456789abcdef-0123456789abcdef";

/// What every host gets unless a case says otherwise.
pub fn default_vars() -> Vec<(String, String)> {
    vec![
        ("HASURA_GRAPHQL_JWT_SECRET".into(), format!(r#"{{"type":"HS256","key":"{JWT_KEY}"}}"#)),
        ("PLUGIN_SYNC_RATE_PER_MIN".into(), "0".into()),
        ("LOG_LEVEL".into(), "debug".into()),
    ]
}

/// The defaults with `vars` over them; without those that are [`UNSET`].
pub fn merged_vars(vars: &[(&str, &str)]) -> Vec<(String, String)> {
    let mut all = default_vars();
    for (name, value) in vars {
        all.retain(|(have, _)| have != name);
        all.push(((*name).to_owned(), (*value).to_owned()));
    }
    all.retain(|(_, value)| value != UNSET);
    all
}
