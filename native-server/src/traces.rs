//! Traces to an OpenTelemetry collector, where the standard OTEL_* variables name one. Else no span is ever made.

use anyhow::{Context, Result, bail};
use async_trait::async_trait;
use axum::http::HeaderMap;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::TracerProvider;
use opentelemetry::{Context as Parent, KeyValue};
use opentelemetry_http::{Bytes, HeaderExtractor, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use std::env::var;
use std::time::Duration;

/// How long the collector may take for a batch, and for the last one.
const EXPORT_MAX: Duration = Duration::from_secs(10);
const LAST_MAX: Duration = Duration::from_millis(800);

/// The export, until it is stopped.
pub struct Traces(SdkTracerProvider);

impl Traces {
    /// The export that the environment asks for. The crates of OpenTelemetry read the other variables themselves.
    pub fn from_env() -> Result<Option<Traces>> {
        let get = |name: &str| var(name).ok().filter(|value| !value.trim().is_empty());
        let endpoints = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
        let is_off = get("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"))
            || get("OTEL_TRACES_EXPORTER").is_some_and(|value| value == "none")
            || endpoints.iter().all(|name| get(name).is_none());
        if is_off {
            return Ok(None);
        }
        for name in ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"] {
            if let Some(protocol) = get(name).filter(|protocol| protocol != "http/protobuf") {
                bail!("{name}={protocol}: allowed is http/protobuf");
            }
        }
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Client::new())
            .with_protocol(Protocol::HttpBinary)
            .build()
            .context("OTEL_EXPORTER_OTLP_*")?;
        let mut resource =
            Resource::builder().with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
        let attributes = get("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
        if get("OTEL_SERVICE_NAME").is_none() && !attributes.contains("service.name=") {
            resource = resource.with_service_name("nself-sync");
        }
        let provider = SdkTracerProvider::builder();
        Ok(Some(Traces(provider.with_batch_exporter(exporter).with_resource(resource.build()).build())))
    }

    /// What makes spans.
    pub fn tracer(&self) -> SdkTracer {
        self.0.tracer("nself-sync")
    }

    /// Sends what waits, if the collector takes it.
    pub async fn stop(self) {
        let stopped = tokio::task::spawn_blocking(move || self.0.shutdown_with_timeout(LAST_MAX)).await;
        if !matches!(stopped, Ok(Ok(()))) {
            tracing::warn!("the last traces were not sent");
        }
    }
}

/// The span of the caller's that a request belongs to.
pub fn parent(headers: &HeaderMap) -> Parent {
    TraceContextPropagator::new().extract(&HeaderExtractor(headers))
}

/// The HTTP client that is here anyway. It blocks: batches are sent by a thread of their own.
#[derive(Debug)]
struct Client(ureq::Agent);

impl Client {
    fn new() -> Client {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(EXPORT_MAX))
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .build();
        Client(ureq::Agent::new_with_config(config))
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (parts, body) = request.into_parts();
        let response = self.0.run(Request::from_parts(parts, body.to_vec()))?;
        let (parts, mut body) = response.into_parts();
        Ok(Response::from_parts(parts, body.read_to_vec()?.into()))
    }
}
