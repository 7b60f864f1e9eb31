//! Request bodies: plain, gzip or zstd, read as they come and refused as soon as they are over the limit.

#[cfg(test)]
mod tests;

use super::Shared;
use super::error::Refusal;
use axum::body::{Body, HttpBody};
use axum::extract::{FromRequest, Request};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_ENCODING;
use flate2::write::MultiGzDecoder;
use http_body_util::BodyExt;
use nself_sync_engine::error::Reject;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

/// What this host reads, as a 415 tells it.
const ENCODINGS: &str = "gzip, zstd";

/// The largest window of a zstd frame, as a power of two: what RFC 8878 asks decoders to support.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// What request bodies may hold together: what is beyond is told to come again.
const HELD_BYTES_MAX: usize = 64 << 20;

/// How far a body may be behind its pace: slower ones are not waited for.
const BEHIND_MAX: Duration = Duration::from_secs(30);
const PACE_BYTES_PER_S: f64 = 16.0 * 1024.0;

/// The whole body of a request, decompressed. It counts as held until it is dropped.
pub(super) struct Content {
    pub(super) bytes: Vec<u8>,
    _held: Held,
}

impl FromRequest<Shared> for Content {
    type Rejection = Refusal;

    async fn from_request(request: Request, app: &Shared) -> Result<Content, Refusal> {
        let (parts, body) = request.into_parts();
        read(&parts.headers, body, app.policy.body_bytes_max, app.bodies.hold()).await
    }
}

/// What all bodies may hold.
pub(super) struct Budget(Arc<Semaphore>);

impl Budget {
    /// One body always fits.
    pub(super) fn new(body_bytes_max: usize) -> Budget {
        Budget(Arc::new(Semaphore::new(body_bytes_max.max(HELD_BYTES_MAX))))
    }

    fn hold(&self) -> Held {
        Held { budget: Arc::clone(&self.0), permit: None }
    }
}

/// What one body holds of it.
struct Held {
    budget: Arc<Semaphore>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Held {
    /// Whether so many bytes more may be held. Nobody waits: two that each hold a part would wait for one another.
    fn grow(&mut self, bytes: usize) -> bool {
        let count = u32::try_from(bytes).unwrap_or(u32::MAX);
        let Ok(more) = Arc::clone(&self.budget).try_acquire_many_owned(count) else { return false };
        match &mut self.permit {
            Some(permit) => permit.merge(more),
            None => self.permit = Some(more),
        }
        true
    }
}

/// At most `max` bytes after decompression, and no more than that is ever held. A body that says beforehand that it is
/// longer is refused unread.
async fn read(headers: &HeaderMap, mut body: Body, max: usize, held: Held) -> Result<Content, Refusal> {
    let mut decoder = Decoder::of(headers, max, held)?;
    // What does not compress grows a little: gzip by 5 bytes in 16 KiB, zstd by less.
    let sent_max = max + max / 1024 + 1024;
    if HttpBody::size_hint(&body).lower() > sent_max as u64 {
        return Err(Reject::BodyTooLarge { max }.into());
    }
    let (begun, mut sent) = (Instant::now(), 0);
    loop {
        let due = begun + BEHIND_MAX + Duration::from_secs_f64(sent as f64 / PACE_BYTES_PER_S);
        let frame = timeout_at(due, body.frame()).await.map_err(|_| Reject::SlowBody)?;
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|_| Reject::MalformedJson("the body ended early".to_owned()))?;
        let Ok(data) = frame.into_data() else { continue };
        sent += data.len();
        if sent > sent_max {
            return Err(Reject::BodyTooLarge { max }.into());
        }
        decoder.write(&data)?;
    }
    decoder.finish()
}

enum Decoder {
    Plain(Capped),
    Gzip(MultiGzDecoder<Capped>),
    Zstd(zstd::stream::write::Decoder<'static, Capped>),
}

impl Decoder {
    fn of(headers: &HeaderMap, max: usize, held: Held) -> Result<Decoder, Reject> {
        let capped = Capped { bytes: Vec::new(), max, held, problem: None };
        let mut fields = headers.get_all(CONTENT_ENCODING).iter();
        let (first, second) = (fields.next(), fields.next());
        let name = first.map(|field| field.to_str().unwrap_or("?").trim().to_ascii_lowercase());
        match (name.as_deref(), second) {
            (None | Some("" | "identity"), None) => Ok(Decoder::Plain(capped)),
            (Some("gzip" | "x-gzip"), None) => Ok(Decoder::Gzip(MultiGzDecoder::new(capped))),
            (Some("zstd"), None) => {
                let broken = |_| Reject::UnsupportedEncoding("gzip");
                let mut decoder = zstd::stream::write::Decoder::new(capped).map_err(broken)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(broken)?;
                Ok(Decoder::Zstd(decoder))
            }
            (Some(_), None) | (_, Some(_)) => Err(Reject::UnsupportedEncoding(ENCODINGS)),
        }
    }

    fn write(&mut self, data: &[u8]) -> Result<(), Refusal> {
        let written = match self {
            Decoder::Plain(capped) => capped.write_all(data),
            Decoder::Gzip(decoder) => decoder.write_all(data),
            Decoder::Zstd(decoder) => decoder.write_all(data),
        };
        written.map_err(|_| self.problem())
    }

    fn finish(mut self) -> Result<Content, Refusal> {
        let finished = match &mut self {
            Decoder::Plain(_) => Ok(()),
            Decoder::Gzip(decoder) => decoder.try_finish(),
            Decoder::Zstd(decoder) => decoder.flush(),
        };
        finished.map_err(|_| self.problem())?;
        let capped = self.capped_mut();
        let held = Held { budget: Arc::clone(&capped.held.budget), permit: capped.held.permit.take() };
        Ok(Content { bytes: std::mem::take(&mut capped.bytes), _held: held })
    }

    fn problem(&mut self) -> Refusal {
        let encoding = || Reject::MalformedJson("the body is not what its Content-Encoding says".to_owned());
        self.capped_mut().problem.take().unwrap_or_else(|| encoding().into())
    }

    fn capped_mut(&mut self) -> &mut Capped {
        match self {
            Decoder::Plain(capped) => capped,
            Decoder::Gzip(decoder) => decoder.get_mut(),
            Decoder::Zstd(decoder) => decoder.get_mut(),
        }
    }
}

/// Takes `max` bytes and not one more, and none that would be too much together with what other bodies hold.
struct Capped {
    bytes: Vec<u8>,
    max: usize,
    held: Held,
    /// Why it takes no more.
    problem: Option<Refusal>,
}

impl Write for Capped {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if data.len() > self.max - self.bytes.len() {
            self.problem = Some(Reject::BodyTooLarge { max: self.max }.into());
        } else if !self.held.grow(data.len()) {
            self.problem = Some(Refusal::Busy);
        } else {
            self.bytes.extend_from_slice(data);
            return Ok(data.len());
        }
        Err(io::ErrorKind::FileTooLarge.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
