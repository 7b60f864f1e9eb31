//! Refusals become problem documents (RFC 9457) in one place; which status each has is chosen in the engine's `wire`.

use super::observe::RequestId;
use super::reply;
use crate::log;
use crate::metrics::Metrics;
use crate::store::Failure;
use axum::Extension;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use nself_sync_engine::error::Reject;
use nself_sync_engine::wire;
use std::any::Any;
use std::sync::Arc;

/// Why a request has no reply.
#[derive(Debug, Clone)]
pub(super) enum Refusal {
    /// The caller's fault.
    Reject(Reject),
    /// As much is under way as this server takes on.
    Busy,
    /// Something that the server needs is away.
    Unavailable(Arc<anyhow::Error>),
    /// What the store holds cannot be read, or a bug.
    Broken(Arc<anyhow::Error>),
    /// A bug that was logged where it happened.
    Panic,
}

impl Refusal {
    pub(super) fn unavailable(error: anyhow::Error) -> Refusal {
        Refusal::Unavailable(Arc::new(error))
    }
}

impl From<Reject> for Refusal {
    fn from(reject: Reject) -> Refusal {
        Refusal::Reject(reject)
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Refusal {
        match failure {
            Failure::Reject(reject) => Refusal::Reject(reject),
            Failure::Busy => Refusal::Busy,
            Failure::Store(error) => Refusal::unavailable(error),
            Failure::Broken(error) => Refusal::Broken(Arc::new(error)),
        }
    }
}

/// The refusal travels as an extension to [`render`], which knows the request's id.
impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = StatusCode::INTERNAL_SERVER_ERROR.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

fn tell(id: &RequestId, error: &anyhow::Error, message: &str) {
    tracing::error!(request_id = id.as_str(), error = log::causes(error), "{message}");
}

/// A handler panicked. It is logged by the panic hook, where the place is known.
pub(super) fn panicked(_: Box<dyn Any + Send>) -> Response {
    Refusal::Panic.into_response()
}

/// The middleware that writes refusals out, and logs what is not the caller's fault.
pub(super) async fn render(
    State(metrics): State<Arc<Metrics>>,
    Extension(id): Extension<RequestId>,
    request: Request,
    next: Next,
) -> Response {
    let mut response = next.run(request).await;
    let Some(refusal) = response.extensions_mut().remove::<Refusal>() else { return response };
    let problem = match &refusal {
        Refusal::Reject(reject) => wire::problem(reject, id.as_str()),
        Refusal::Busy => {
            tracing::warn!(request_id = id.as_str(), "too much at once");
            wire::busy(id.as_str())
        }
        Refusal::Unavailable(error) => {
            tell(&id, error, "the store or the key set is away");
            wire::unavailable(id.as_str())
        }
        Refusal::Broken(error) => {
            tell(&id, error, "a request failed");
            wire::internal(id.as_str())
        }
        Refusal::Panic => wire::internal(id.as_str()),
    };
    metrics.refused(problem.body["code"].as_str().unwrap_or_default());
    let mut response = Response::new(Body::from(problem.body.to_string()));
    *response.status_mut() = reply::status(problem.status);
    reply::add(response.headers_mut(), problem.headers);
    let fixed = [(CONTENT_TYPE, "application/problem+json"), (CACHE_CONTROL, "no-store")];
    for (name, value) in fixed {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
