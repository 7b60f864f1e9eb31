//! The memory host: the engine over [`crate::memory`], without HTTP in between. Routes as the native server's.

mod token;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Result, anyhow};
use nself_sync_engine::call::{Body, Caller, Reply};
use nself_sync_engine::error::Reject;
use nself_sync_engine::exchange::Halt;
use nself_sync_engine::ids::{Fresh, Hash};
use nself_sync_engine::policy::Policy;
use nself_sync_engine::wire::Route;
use nself_sync_engine::{token as sync_token, wire};

use serde_json::json;

use super::{Host, Launch, Request, Response, merged_vars};
use crate::memory::{Crash, Failure, Memory};
use token::Verifier;

/// Starts memory hosts.
pub struct LaunchMemory;

impl Launch for LaunchMemory {
    fn name(&self) -> &str {
        "memory"
    }

    fn start(&self, vars: &[(&str, &str)]) -> Result<Arc<dyn Host>> {
        let vars = merged_vars(vars);
        let get = |name: &str| {
            let found = vars.iter().find(|(have, _)| have == name).map(|(_, value)| value.as_str());
            found.filter(|value| !value.trim().is_empty())
        };
        let mut policy = Policy::default();
        for name in Policy::VARIABLES {
            if let Some(value) = get(name) {
                policy.set(name, value).map_err(|error| anyhow!("{error}"))?;
            }
        }
        let secret =
            get("HASURA_GRAPHQL_JWT_SECRET").ok_or_else(|| anyhow!("no HASURA_GRAPHQL_JWT_SECRET"))?;
        Ok(Arc::new(MemoryHost {
            memory: Mutex::default(),
            policy: Arc::new(policy),
            verifier: Verifier::new(secret)?,
            advanced_ms: AtomicU64::new(0),
            calls: AtomicU64::new(0),
        }))
    }
}

/// A running memory host.
pub struct MemoryHost {
    memory: Mutex<Memory>,
    policy: Arc<Policy>,
    verifier: Verifier,
    advanced_ms: AtomicU64,
    calls: AtomicU64,
}

impl Host for MemoryHost {
    fn name(&self) -> &str {
        "memory"
    }

    fn try_call(&self, request: Request) -> Result<Response> {
        let request_id = format!("memory-{}", self.calls.load(Ordering::Relaxed));
        let answer = match self.answer(&request) {
            Ok(reply) => render(reply),
            Err(Failure::Halt(Halt::Reject(reject))) => refuse(wire::problem(&reject, &request_id)),
            Err(Failure::Halt(Halt::Corrupt(corrupt))) => {
                eprintln!("{} {}: {}", request.method, request.path, corrupt.0);
                refuse(wire::internal(&request_id))
            }
            Err(Failure::Crashed(_)) => return Err(anyhow!("the host crashed")),
        };
        Ok(answer)
    }

    fn is_http(&self) -> bool {
        false
    }

    fn advance(&self, ms: u64) {
        self.advanced_ms.fetch_add(ms, Ordering::Relaxed);
    }

    fn prune(&self) {
        let now = self.now();
        self.memory.lock().expect("no holder panics").prune(&self.policy, now);
    }
}

impl MemoryHost {
    /// The wall clock, and the time that [`Host::advance`] added.
    fn now(&self) -> u64 {
        wall() + self.advanced_ms.load(Ordering::Relaxed)
    }

    fn answer(&self, request: &Request) -> Result<Reply, Failure> {
        let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        let route = Route::of(&request.method, path)?;
        if route == Route::Health {
            let migrations = json!({ "applied": 0, "expected": 0 });
            let version = env!("CARGO_PKG_VERSION");
            let body =
                json!({ "status": "ok", "version": version, "store": "memory", "migrations": migrations });
            return Ok(Reply::json(body));
        }
        let caller = self.caller(request)?;
        if route.has_body() && request.body.len() > self.policy.body_bytes_max {
            return Err(Reject::BodyTooLarge { max: self.policy.body_bytes_max }.into());
        }
        let call = route.call(query, header(request, "If-None-Match"), &request.body, &self.policy)?;
        let setting = (Arc::clone(&self.policy), self.now(), self.fresh());
        self.memory.lock().expect("no holder panics").call(caller, call, setting, Crash::Never)
    }

    fn caller(&self, request: &Request) -> Result<Caller, Reject> {
        wire::protocol_version(header(request, "Nself-Sync-Protocol"))?;
        let fields = (request.headers.iter()).filter(|(name, _)| name.eq_ignore_ascii_case("Authorization"));
        let token = wire::bearer(fields.map(|(_, value)| value.as_str()))?;
        if sync_token::is_sync_token(token) {
            return sync_token::parse(token).ok_or(Reject::Unauthorized("the sync token is malformed"));
        }
        self.verifier.verify(token, wall()).map(Caller::User).map_err(Reject::Unauthorized)
    }

    /// Not secret, but never the same: nobody attacks a memory host.
    fn fresh(&self) -> Fresh {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        let host: *const MemoryHost = self;
        Fresh(Hash::of(format!("{host:p} {call}").as_bytes()).0)
    }
}

fn wall() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    u64::try_from(since).unwrap_or(u64::MAX)
}

impl From<Reject> for Failure {
    fn from(reject: Reject) -> Failure {
        Failure::Halt(Halt::Reject(reject))
    }
}

fn header<'r>(request: &'r Request, name: &str) -> Option<&'r str> {
    request.headers.iter().find(|(have, _)| have.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

fn render(reply: Reply) -> Response {
    let (body, content_type) = match reply.body {
        Body::Empty => (Vec::new(), None),
        Body::Json(value) => (value.to_string().into_bytes(), Some("application/json")),
        Body::Bytes(bytes) => (bytes, Some("application/octet-stream")),
    };
    let mut headers = vec![
        ("cache-control".to_owned(), "private, no-cache".to_owned()),
        ("vary".to_owned(), "Accept-Encoding, Authorization".to_owned()),
    ];
    headers.extend(content_type.map(|value| ("content-type".to_owned(), value.to_owned())));
    headers.extend(reply.headers.into_iter().map(|(name, value)| (name.to_owned(), value)));
    Response { status: reply.status, headers, body }
}

fn refuse(problem: wire::Problem) -> Response {
    let mut headers = vec![
        ("content-type".to_owned(), "application/problem+json".to_owned()),
        ("cache-control".to_owned(), "no-store".to_owned()),
    ];
    headers.extend(problem.headers.into_iter().map(|(name, value)| (name.to_owned(), value)));
    Response { status: problem.status, headers, body: problem.body.to_string().into_bytes() }
}
