//! What is counted while a request is under way, also where its client hangs up.

use crate::metrics::Metrics;
use axum::body::{Body, Bytes, HttpBody};
use http_body::{Frame, SizeHint};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// Counts as in flight until it is dropped.
pub(super) struct InFlight(Gauge);

impl InFlight {
    pub(super) fn of(metrics: &Metrics) -> InFlight {
        metrics.in_flight.inc();
        InFlight(metrics.in_flight.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// A body whose bytes are counted as they go by.
pub(super) struct Counted {
    body: Body,
    bytes: Counter,
}

impl Counted {
    pub(super) fn body(body: Body, bytes: &Counter) -> Body {
        match body.is_end_stream() {
            true => body,
            false => Body::new(Counted { body, bytes: bytes.clone() }),
        }
    }
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame {
            self.bytes.inc_by(frame.data_ref().map_or(0, Bytes::len) as u64);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
