//! Every request has an id, which its answer carries, one line in the log, and is counted.

use super::measure::{Counted, InFlight};
use crate::metrics::Metrics;
use crate::traces;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;
use tracing::{Instrument, Span, field};
use tracing_opentelemetry::OpenTelemetrySpanExt;

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest id that is taken over from a client.
const REQUEST_ID_BYTES_MAX: usize = 128;

tokio::task_local! {
    /// The request that the current task is about.
    static CURRENT: RequestId;
}

/// The id of the request that the current task is about, for who logs far from it; empty where there is none.
pub fn current_request_id() -> String {
    CURRENT.try_with(|id| id.as_str().to_owned()).unwrap_or_default()
}

/// The client's `X-Request-Id`, or one of ours.
#[derive(Debug, Clone)]
pub(super) struct RequestId(HeaderValue);

impl RequestId {
    fn of(headers: &HeaderMap) -> RequestId {
        let is_fit = |id: &&HeaderValue| {
            (1..=REQUEST_ID_BYTES_MAX).contains(&id.len())
                && id.as_bytes().iter().all(|c| (b' '..=b'~').contains(c))
        };
        headers.get(X_REQUEST_ID).filter(is_fit).cloned().map(RequestId).unwrap_or_else(RequestId::fresh)
    }

    /// A prefix of the process and a number: unique, and cheap.
    fn fresh() -> RequestId {
        static PREFIX: OnceLock<u64> = OnceLock::new();
        static COUNT: AtomicU64 = AtomicU64::new(0);
        // An id is not a secret: without randomness the process id tells processes apart.
        let prefix =
            PREFIX.get_or_init(|| getrandom::u64().unwrap_or_else(|_| u64::from(std::process::id())));
        let id = format!("{prefix:016x}-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        RequestId(HeaderValue::from_str(&id).unwrap_or(HeaderValue::from_static("-")))
    }

    /// As text.
    pub(super) fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }
}

/// The middleware.
pub(super) async fn observe(
    State(metrics): State<Arc<Metrics>>,
    mut request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let in_flight = InFlight::of(&metrics);
    let id = RequestId::of(request.headers());
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    request.extensions_mut().insert(id.clone());
    let span = span(&request, &id);
    let request = request.map(|body| Counted::body(body, &metrics.bytes_in));
    let response = CURRENT.scope(id.clone(), next.run(request)).instrument(span.clone()).await;
    let mut response = response.map(|body| Counted::body(body, &metrics.bytes_out));
    drop(in_flight);
    let status = response.status().as_u16();
    let (method, route) = (method.as_str(), route.as_ref().map_or("unmatched", MatchedPath::as_str));
    span.record("http.response.status_code", status);
    if status >= 500 {
        span.record("otel.status_code", "ERROR");
    }
    metrics.answered(route, method, status, started.elapsed());
    let ms = started.elapsed().as_micros() as f64 / 1000.0;
    let request_id = id.as_str();
    match status {
        ..400 => tracing::debug!(method, route, status, ms, request_id, "request"),
        400.. => tracing::info!(method, route, status, ms, request_id, "request"),
    }
    response.headers_mut().insert(X_REQUEST_ID, id.0);
    response
}

/// What a trace says of a call: nothing of who calls or of what.
fn span(request: &Request, id: &RequestId) -> Span {
    let route = request.extensions().get::<MatchedPath>().map_or("unmatched", MatchedPath::as_str);
    if !route.starts_with("/sync/") {
        return Span::none();
    }
    let method = request.method().as_str();
    let span = tracing::info_span!(
        "request",
        otel.name = format!("{method} {route}"),
        otel.kind = "server",
        otel.status_code = field::Empty,
        http.request.method = method,
        http.route = route,
        http.response.status_code = field::Empty,
        request_id = id.as_str(),
    );
    if !span.is_disabled() {
        // Fails where the span has begun, which it has not.
        let _ = span.set_parent(traces::parent(request.headers()));
    }
    span
}
