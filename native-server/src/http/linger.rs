//! A request refused before its body was read (401, 413): the client is still sending. Were the connection closed at
//! once, it would see a reset instead of the answer, and never learn that its token has expired. So what it still sends
//! is read and thrown away for a while, beside the answer.

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::header::EXPECT;
use axum::middleware::Next;
use axum::response::Response;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// How long is read on, and how much.
const LINGER: Duration = Duration::from_secs(5);
const LINGER_BYTES_MAX: usize = 32 << 20;

/// The middleware.
pub(super) async fn linger(request: Request, next: Next) -> Response {
    // Who waits for leave to send has sent nothing, and reading would give that leave.
    let waits = request.headers().contains_key(EXPECT);
    next.run(match waits {
        true => request,
        false => request.map(|body| Body::new(Lingering(Some(body)))),
    })
    .await
}

/// A body that is read on when dropped before its end.
struct Lingering(Option<Body>);

impl HttpBody for Lingering {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Some(body) = &mut self.0 else { return Poll::Ready(None) };
        let polled = Pin::new(body).poll_frame(cx);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.0 = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map(HttpBody::size_hint).unwrap_or_default()
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        if let Some(body) = self.0.take().filter(|body| !body.is_end_stream()) {
            tokio::spawn(tokio::time::timeout(LINGER, read_on(body)));
        }
    }
}

async fn read_on(mut body: Body) {
    let mut bytes = 0;
    while let Some(Ok(frame)) = body.frame().await {
        bytes += frame.data_ref().map_or(0, Bytes::len);
        if bytes > LINGER_BYTES_MAX {
            return;
        }
    }
}
