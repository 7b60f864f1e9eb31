//! One handler a route: read the request through `wire`, ask the store, send the reply.

#[cfg(test)]
mod tests;

use super::auth::{Authenticated, Id};
use super::body::Content;
use super::error::Refusal;
use super::live::live;
use super::{App, Shared, health, reply};
use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, post};
use nself_sync_engine::call::{Call, Caller};
use nself_sync_engine::error::Reject;
use nself_sync_engine::wire;

type Answer = Result<Response, Refusal>;

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/sync/push", only("POST", post(push)))
        .route("/sync/pull", only("GET, HEAD", get(pull)))
        .route("/sync/devices", only("GET, HEAD", get(devices)))
        .route("/sync/devices/{id}", only("DELETE", delete(remove_device)))
        .route("/sync/devices/{id}/token", only("POST", post(new_token)))
        .route("/sync/conflicts", only("GET, HEAD", get(conflicts)))
        .route("/sync/conflicts/{id}/resolve", only("POST", post(resolve)))
        .route("/sync/history", only("GET, HEAD", get(history)))
        .route("/sync/files/{hash}", only("GET, HEAD", get(file)))
        .route("/sync/live", only("GET", get(live)))
        .route("/sync/config", only("GET, HEAD", get(config)))
        .route("/health", only("GET, HEAD", get(health::health)))
        .route("/healthz", only("GET, HEAD", get(health::healthz)))
        .route("/readyz", only("GET, HEAD", get(health::readyz)))
        .route("/version", only("GET, HEAD", get(health::version)))
        .route("/metrics", only("GET, HEAD", get(health::metrics)))
        .route("/openapi.json", only("GET, HEAD", get(openapi)))
        .fallback(async || Refusal::from(Reject::NotFound("route")))
}

fn only(allowed: &'static str, route: MethodRouter<Shared>) -> MethodRouter<Shared> {
    route.fallback(async move || Refusal::from(Reject::MethodNotAllowed(allowed)))
}

impl App {
    async fn answer(&self, caller: Caller, call: Call) -> Answer {
        Ok(reply::render(self.call(caller, call).await?))
    }
}

async fn push(State(app): State<Shared>, Authenticated(caller): Authenticated, content: Content) -> Answer {
    app.answer(caller, wire::push(&content.bytes, &app.policy)?).await
}

async fn pull(
    State(app): State<Shared>,
    Authenticated(caller): Authenticated,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Answer {
    let query = query.as_deref().unwrap_or_default();
    app.answer(caller, wire::pull(query, if_none_match(&headers))?).await
}

fn if_none_match(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok())
}

async fn devices(State(app): State<Shared>, Authenticated(caller): Authenticated) -> Answer {
    app.answer(caller, Call::Devices).await
}

async fn remove_device(
    State(app): State<Shared>,
    Authenticated(caller): Authenticated,
    Id(id): Id,
) -> Answer {
    app.answer(caller, Call::RemoveDevice(id)).await
}

async fn new_token(State(app): State<Shared>, Authenticated(caller): Authenticated, Id(id): Id) -> Answer {
    app.answer(caller, Call::NewToken(id)).await
}

async fn conflicts(State(app): State<Shared>, Authenticated(caller): Authenticated) -> Answer {
    app.answer(caller, Call::Conflicts).await
}

async fn resolve(
    State(app): State<Shared>,
    Authenticated(caller): Authenticated,
    Id(id): Id,
    content: Content,
) -> Answer {
    app.answer(caller, wire::resolve(&id, &content.bytes, &app.policy)?).await
}

async fn history(
    State(app): State<Shared>,
    Authenticated(caller): Authenticated,
    RawQuery(query): RawQuery,
) -> Answer {
    app.answer(caller, wire::history(query.as_deref().unwrap_or_default())?).await
}

async fn file(
    State(app): State<Shared>,
    Authenticated(caller): Authenticated,
    Id(hash): Id,
    headers: HeaderMap,
) -> Answer {
    app.answer(caller, wire::file(&hash, if_none_match(&headers))?).await
}

async fn config(State(app): State<Shared>, Authenticated(caller): Authenticated) -> Answer {
    app.answer(caller, Call::Config).await
}

async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-cache")], wire::OPENAPI)
        .into_response()
}
