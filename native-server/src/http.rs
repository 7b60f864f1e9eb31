//! HTTP: the routes, and what every request passes on its way to them.
//!
//! From the outside in: [`observe`] (request id, log line), compression, CORS, [`error::render`] (a refusal becomes a
//! problem document), panics caught, [`linger`] (a refused body), then the handler in [`routes`].

mod auth;
mod body;
mod connections;
mod demo;
mod error;
mod health;
mod limits;
mod linger;
mod live;
mod measure;
mod observe;
mod reply;
mod routes;
#[cfg(test)]
mod tests;
mod tokens;

pub use connections::serve;
pub use observe::current_request_id;

use crate::config::Config;
use crate::jwt::Verifier;
use crate::metrics::{self, Metrics};
use crate::store::{Failure, Store};
use anyhow::anyhow;
use axum::Router;
use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::middleware::{from_fn, from_fn_with_state};
use body::Budget;
use limits::Limits;
use nself_sync_engine::call::{Call, Caller, Reply};
use nself_sync_engine::policy::{Origins, Policy};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokens::Tokens;
use tokio::time::timeout;
use tower_http::CompressionLevel;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::SizeAbove;
use tower_http::cors::{AllowOrigin, CorsLayer};
use tracing::Instrument;

/// Smaller replies are sent as they are: compressing them costs more than it saves.
const COMPRESSED_BYTES_MIN: u64 = 512;

/// How long the store may take for a call.
const CALL_MAX: Duration = Duration::from_secs(30);

/// What the handlers share.
pub struct App {
    /// Where the state is.
    pub store: Store,
    /// What operators see.
    pub metrics: Arc<Metrics>,
    verifier: Verifier,
    policy: Arc<Policy>,
    tokens: Tokens,
    bodies: Budget,
    /// How often who may call.
    pub limits: Limits,
}

impl App {
    /// A server on this store.
    pub fn new(store: Store, verifier: Verifier, config: &Config) -> App {
        let policy = Arc::clone(&config.policy);
        let limits = Limits::new(policy.rate_per_min, &config.addresses);
        let bodies = Budget::new(policy.body_bytes_max);
        let metrics = Arc::new(Metrics::new());
        App { store, metrics, verifier, policy, tokens: Tokens::default(), bodies, limits }
    }

    /// See [`Store::call`]; measured.
    async fn call(&self, caller: Caller, call: Call) -> Result<Reply, Failure> {
        let (started, name, documents) = (Instant::now(), call.name(), metrics::documents(&call));
        let span =
            tracing::info_span!("store", otel.name = format!("store {name}"), store = self.store.kind());
        let called = timeout(CALL_MAX, self.store.call(caller, call)).instrument(span).await;
        let called =
            called.unwrap_or_else(|_| Err(Failure::Store(anyhow!("the store did not answer in time"))));
        self.metrics.called(self.store.kind(), name, started.elapsed());
        if let (Ok(reply), Some(documents)) = (&called, documents) {
            self.metrics.pushed(documents, reply);
        }
        called
    }
}

type Shared = Arc<App>;

/// All of the server's routes, and where there is one the demo's page.
pub fn router(app: Shared, origins: &Origins, demo: Option<&Path>) -> Router {
    let metrics = Arc::clone(&app.metrics);
    let routes = routes::routes().with_state(app);
    layers(
        match demo {
            Some(folder) => routes.merge(demo::routes(folder)),
            None => routes,
        },
        origins,
        metrics,
    )
}

fn layers(routes: Router, origins: &Origins, metrics: Arc<Metrics>) -> Router {
    // brotli at 1 and gzip at 1: a reply is compressed once, for one client, while that client waits.
    let level = CompressionLevel::Precise(1);
    let compression =
        CompressionLayer::new().quality(level).compress_when(SizeAbove::new(COMPRESSED_BYTES_MIN));
    let routes = routes
        .layer(from_fn(linger::linger))
        .layer(CatchPanicLayer::custom(error::panicked))
        .layer(from_fn_with_state(Arc::clone(&metrics), error::render));
    let routes = match cors(origins) {
        Some(cors) => routes.layer(cors),
        None => routes,
    };
    routes.layer(compression).layer(from_fn_with_state(metrics, observe::observe))
}

fn cors(origins: &Origins) -> Option<CorsLayer> {
    let allowed = match origins {
        Origins::None => return None,
        Origins::Any => AllowOrigin::any(),
        Origins::Listed(list) => {
            AllowOrigin::list(list.iter().filter_map(|one| HeaderValue::from_str(one).ok()))
        }
    };
    let name = HeaderName::from_static;
    Some(
        CorsLayer::new()
            .allow_origin(allowed)
            .allow_methods([Method::GET, Method::HEAD, Method::POST, Method::DELETE])
            .allow_headers([
                header::AUTHORIZATION,
                header::CONTENT_TYPE,
                header::CONTENT_ENCODING,
                header::IF_NONE_MATCH,
                name("nself-sync-protocol"),
                name("x-request-id"),
            ])
            .expose_headers([
                header::ETAG,
                header::RETRY_AFTER,
                name("idempotency-replayed"),
                name("x-request-id"),
            ])
            .max_age(Duration::from_secs(3600)),
    )
}
