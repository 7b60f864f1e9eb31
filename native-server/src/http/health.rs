//! Whether the server is well, for who runs it. Without a token: they say nothing of users.

use super::error::Refusal;
use super::{App, Shared, reply};
use crate::log;
use crate::store::{self, Migrations};
use anyhow::anyhow;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use nself_sync_engine::call::Reply;
use serde_json::json;
use std::time::Duration;
use tokio::time::timeout;

/// How long the store may take to say that it is there.
const STORE_MAX: Duration = Duration::from_secs(3);

type Answer = Result<Response, Refusal>;

impl App {
    async fn migrations(&self) -> Result<Migrations, Refusal> {
        let asked = timeout(STORE_MAX, self.store.health()).await;
        asked.map_err(anyhow::Error::from).flatten().map_err(Refusal::unavailable)
    }
}

/// `GET /health`: the server and its store.
pub(super) async fn health(State(app): State<Shared>) -> Answer {
    let migrations = app.migrations().await?;
    Ok(reply::render(Reply::json(json!({
        "status": "ok",
        "version": env!("CARGO_PKG_VERSION"),
        "store": app.store.kind(),
        "migrations": { "applied": migrations.applied, "expected": migrations.expected },
    }))))
}

/// `GET /healthz`: this process lives. What is away elsewhere is not mended by restarting it.
pub(super) async fn healthz() -> Response {
    reply::render(Reply::json(json!({ "status": "ok" })))
}

/// `GET /readyz`: it may be sent requests, since its store is there and has the schema.
pub(super) async fn readyz(State(app): State<Shared>) -> Answer {
    let Migrations { applied, expected } = app.migrations().await?;
    // More is a newer version's work, beside which this one goes on serving.
    if applied < expected {
        return Err(Refusal::unavailable(anyhow!("{applied} of {expected} migrations are applied")));
    }
    Ok(reply::render(Reply::json(json!({ "status": "ready" }))))
}

/// `GET /version`
pub(super) async fn version() -> Response {
    let version = env!("CARGO_PKG_VERSION");
    reply::render(Reply::json(json!({ "plugin": "sync", "version": version, "protocol": 1 })))
}

/// `GET /metrics`. Where the store is away what it counts stays as it was.
pub(super) async fn metrics(State(app): State<Shared>) -> Answer {
    let levels = timeout(STORE_MAX, app.store.levels()).await.map_err(anyhow::Error::from).flatten();
    match levels.and_then(|levels| Ok((levels, store::now()?))) {
        Ok((levels, now)) => app.metrics.set_levels(&levels, now),
        Err(error) => tracing::warn!(error = log::causes(&error), "metrics without what the store counts"),
    }
    app.metrics.set_live_connections(app.store.hub().count());
    let text = app.metrics.text().map_err(|error| Refusal::unavailable(error.into()))?;
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(CONTENT_TYPE, content_type), (CACHE_CONTROL, "no-store")], text).into_response())
}
