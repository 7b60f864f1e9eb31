//! What operators see at `/metrics`. Routes as templates, no users, no devices, no paths: the number of series is fixed.

use crate::store::Levels;
use nself_sync_engine::call::{Body, Call, Reply};
use nself_sync_engine::ids::Millis;
use nself_sync_engine::key;
use nself_sync_engine::retention::Pruned;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, LabelSetEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Metric, Registry};
use std::fmt;
use std::time::Duration;

/// Seconds: half a millisecond, doubled up to 8 s.
fn histogram() -> Histogram {
    Histogram::new(exponential_buckets(0.0005, 2.0, 15))
}

type Histograms<const N: usize> = Family<Labels<N>, Histogram, fn() -> Histogram>;

/// Names and values.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Labels<const N: usize>([(&'static str, String); N]);

impl<const N: usize> EncodeLabelSet for Labels<N> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        for label in &self.0 {
            prometheus_client::encoding::EncodeLabel::encode(label, encoder.encode_label())?;
        }
        Ok(())
    }
}

fn labels<const N: usize>(labels: [(&'static str, &str); N]) -> Labels<N> {
    Labels(labels.map(|(name, value)| (name, value.to_owned())))
}

/// All of this process's metrics.
pub struct Metrics {
    registry: Registry,
    requests: Family<Labels<3>, Counter>,
    durations: Histograms<2>,
    /// Requests that have no answer yet.
    pub in_flight: Gauge,
    errors: Family<Labels<1>, Counter>,
    pushes: Counter,
    documents: Family<Labels<1>, Counter>,
    store_calls: Histograms<2>,
    /// Bytes of request bodies, as they came.
    pub bytes_in: Counter,
    /// Bytes of reply bodies, as they went out.
    pub bytes_out: Counter,
    pruned: Family<Labels<1>, Counter>,
    /// Events that were set aside.
    pub outbox_dead: Counter,
    conflicts_open: Gauge,
    outbox_depth: Gauge,
    outbox_oldest_age_s: Gauge<f64, std::sync::atomic::AtomicU64>,
    dead_letters: Gauge,
    live_connections: Gauge,
}

impl Metrics {
    /// All of them, at nothing.
    pub fn new() -> Metrics {
        let mut registry = Registry::default();
        let plugin = registry.sub_registry_with_prefix("nself_plugin");
        let plugin = plugin.sub_registry_with_label(("plugin".into(), "sync".into()));
        let build: Family<Labels<1>, Gauge> =
            add(plugin, "build_info", "The version that runs", Family::default());
        build.get_or_create(&labels([("version", env!("CARGO_PKG_VERSION"))])).set(1);
        let requests = add(plugin, "requests", "Answered requests", Family::default());
        let durations = Family::new_with_constructor(histogram as fn() -> Histogram);
        let durations = add(plugin, "request_duration_seconds", "How long answers took", durations);
        let in_flight = add(plugin, "in_flight_requests", "Requests without an answer yet", Gauge::default());
        let errors = add(plugin, "errors", "Refused requests by the code of the answer", Family::default());
        let sync = registry.sub_registry_with_prefix("nself_sync");
        let bytes: Family<Labels<1>, Counter> =
            add(sync, "bytes", "Bytes of bodies, compressed as they were sent", Family::default());
        let direction = |word| bytes.get_or_create_owned(&labels([("direction", word)]));
        let (bytes_in, bytes_out) = (direction("in"), direction("out"));
        let store_calls = Family::new_with_constructor(histogram as fn() -> Histogram);
        Metrics {
            requests,
            durations,
            in_flight,
            errors,
            pushes: add(sync, "pushes", "Pushes that were taken in, without replays", Counter::default()),
            documents: add(sync, "documents", "Pushed documents by what became of them", Family::default()),
            store_calls: add(sync, "store_seconds", "How long the store took", store_calls),
            bytes_in,
            bytes_out,
            pruned: add(sync, "pruned", "What pruning removed", Family::default()),
            outbox_dead: add(sync, "outbox_dead", "Events set aside as dead letters", Counter::default()),
            conflicts_open: add(sync, "conflicts_open", "Open conflicts of all users", Gauge::default()),
            outbox_depth: add(sync, "outbox_depth", "Events that wait to be delivered", Gauge::default()),
            outbox_oldest_age_s: add(
                sync,
                "outbox_oldest_age_seconds",
                "How long the oldest of them has waited",
                Gauge::default(),
            ),
            dead_letters: add(sync, "dead_letters", "Events set aside that are kept", Gauge::default()),
            live_connections: add(sync, "live_connections", "Open live connections", Gauge::default()),
            registry,
        }
    }

    /// A request was answered.
    pub fn answered(&self, route: &str, method: &str, status: u16, took: Duration) {
        // Anybody can make up a method.
        let known = ["GET", "HEAD", "POST", "DELETE", "OPTIONS"];
        let method = known.into_iter().find(|known| *known == method).unwrap_or("other");
        let of = labels([("route", route), ("method", method), ("status", &status.to_string())]);
        self.requests.get_or_create(&of).inc();
        let of = labels([("route", route), ("method", method)]);
        self.durations.get_or_create(&of).observe(took.as_secs_f64());
    }

    /// A request was refused with this code.
    pub fn refused(&self, code: &str) {
        self.errors.get_or_create(&labels([("kind", code)])).inc();
    }

    /// The store has answered a call, or failed to.
    pub fn called(&self, store: &str, call: &str, took: Duration) {
        let of = labels([("store", store), ("call", call)]);
        self.store_calls.get_or_create(&of).observe(took.as_secs_f64());
    }

    /// A push of so many documents was answered. A replay was counted before.
    pub fn pushed(&self, documents: usize, reply: &Reply) {
        let is_replay = reply.headers.iter().any(|(name, _)| *name == "idempotency-replayed");
        let Body::Json(body) = &reply.body else { return };
        if is_replay || reply.status != 200 {
            return;
        }
        self.pushes.inc();
        let results = body.get("results").and_then(|results| results.as_object());
        let mut applied = documents;
        for (_, result) in results.into_iter().flatten().filter(|(key, _)| is_document(key)) {
            let Some(outcome) = result.get("status").and_then(|status| status.as_str()) else { continue };
            self.documents.get_or_create(&labels([("outcome", outcome)])).inc();
            applied = applied.saturating_sub(1);
        }
        self.documents.get_or_create(&labels([("outcome", "applied")])).inc_by(applied as u64);
    }

    /// What a pruning removed.
    pub fn pruned(&self, pruned: &Pruned) {
        let Pruned { users: _, deltas, versions, segments, tombstones, conflicts } = *pruned;
        let kinds = [
            ("deltas", deltas),
            ("versions", versions),
            ("segments", segments),
            ("tombstones", tombstones),
            ("conflicts", conflicts),
        ];
        for (kind, count) in kinds {
            self.pruned.get_or_create(&labels([("kind", kind)])).inc_by(count);
        }
    }

    /// What is counted when it is asked for.
    pub fn set_levels(&self, levels: &Levels, now: Millis) {
        self.conflicts_open.set(signed(levels.conflicts_open));
        self.outbox_depth.set(signed(levels.backlog.depth));
        self.dead_letters.set(signed(levels.backlog.dead));
        let age_ms = levels.backlog.oldest_at.map_or(0, |oldest| now.saturating_sub(oldest));
        self.outbox_oldest_age_s.set(age_ms as f64 / 1000.0);
    }

    /// How many listen.
    pub fn set_live_connections(&self, count: usize) {
        self.live_connections.set(signed(count as u64));
    }

    /// All of it, as OpenMetrics text.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// How many documents a push names; `None`: the call is none.
pub fn documents(call: &Call) -> Option<usize> {
    let Call::Push(push) = call else { return None };
    let rejected = push.rejected.iter().filter(|(key, _)| is_document(key));
    Some(push.documents.len() + rejected.count())
}

/// Files, and pages' contents.
fn is_document(key: &str) -> bool {
    match key::collection(key) {
        key::FILES => true,
        key::PAGES => !key::within(key).contains('/'),
        _ => false,
    }
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn add<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M {
    registry.register(name, help, metric.clone());
    metric
}

#[cfg(test)]
mod tests;
