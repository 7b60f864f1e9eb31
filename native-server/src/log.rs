//! Logs on stderr: readable on a terminal, else one JSON object a line. Never tokens, bodies, paths of files or query
//! values: whoever logs names what happened, the route's template and the request's id.

use crate::http;
use crate::traces::Traces;
use serde_json::{Map, Value};
use std::fmt;
use std::io::IsTerminal;
use tokio_postgres::error::DbError;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{FilterExt, Targets, filter_fn};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

/// An error and all that caused it, in one line. Of what PostgreSQL says: code, message and constraint. Its detail quotes
/// rows, with the users' ids and paths.
pub fn causes(error: &anyhow::Error) -> String {
    let mut causes = Vec::new();
    for cause in error.chain() {
        match cause.downcast_ref::<DbError>() {
            Some(error) => causes.push(database_error(error)),
            None => causes.push(cause.to_string()),
        }
    }
    causes.join(": ")
}

fn database_error(error: &DbError) -> String {
    let constraint = error.constraint().map(|name| format!(" ({name})")).unwrap_or_default();
    format!("{} {}{constraint}", error.code().code(), error.message())
}

/// Starts logging, once a process; a panic is logged from then on by its place alone, since the message of one may
/// hold what it was about.
///
/// Spans are for `traces` alone.
pub fn start(level: LevelFilter, traces: Option<&Traces>) {
    // The libraries below are heard from where something is wrong.
    let targets = Targets::new().with_target("nself_sync", level).with_default(level.min(LevelFilter::WARN));
    let is_line = targets.and(filter_fn(|of| of.is_event()));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let spans = traces.map(|traces| tracing_opentelemetry::layer().with_tracer(traces.tracer()));
    let is_span = filter_fn(|of| of.is_span() && of.target().starts_with("nself_sync"));
    let registry = tracing_subscriber::registry().with(spans.with_filter(is_span));
    // Fails where a test has started it before.
    let _ = match std::io::stderr().is_terminal() {
        true => registry.with(lines.with_target(false).with_filter(is_line)).try_init(),
        false => registry.with(lines.event_format(JsonLines).with_filter(is_line)).try_init(),
    };
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, request_id = http::current_request_id(), "panic");
    }));
}

struct JsonLines;

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        let level = match *event.metadata().level() {
            Level::ERROR => "error",
            Level::WARN => "warn",
            Level::INFO => "info",
            Level::DEBUG => "debug",
            Level::TRACE => "trace",
        };
        let mut line = Line(Map::new());
        let fixed = [
            ("time", time.as_str()),
            ("level", level),
            ("plugin", "sync"),
            ("version", env!("CARGO_PKG_VERSION")),
        ];
        for (name, value) in fixed {
            line.0.insert(name.to_owned(), value.into());
        }
        event.record(&mut line);
        writeln!(out, "{}", Value::Object(line.0))
    }
}

struct Line(Map<String, Value>);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}").into());
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.into());
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().to_owned(), value.into());
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().to_owned(), value.into());
    }
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.insert(field.name().to_owned(), value.into());
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}
