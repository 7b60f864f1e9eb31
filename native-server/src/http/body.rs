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

/// What this host reads, as a 415 tells it.
const ENCODINGS: &str = "gzip, zstd";

/// The largest window of a zstd frame, as a power of two: what RFC 8878 asks decoders to support.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// The whole body of a request, decompressed.
pub(super) struct Content(pub(super) Vec<u8>);

impl FromRequest<Shared> for Content {
    type Rejection = Refusal;

    async fn from_request(request: Request, app: &Shared) -> Result<Content, Refusal> {
        let (parts, body) = request.into_parts();
        Ok(Content(read(&parts.headers, body, app.policy.body_bytes_max).await?))
    }
}

/// At most `max` bytes after decompression, and no more than that is ever held. A body that says beforehand that it is
/// longer is refused unread.
async fn read(headers: &HeaderMap, mut body: Body, max: usize) -> Result<Vec<u8>, Reject> {
    let mut decoder = Decoder::of(headers, max)?;
    // What does not compress grows a little: gzip by 5 bytes in 16 KiB, zstd by less.
    let sent_max = max + max / 1024 + 1024;
    if HttpBody::size_hint(&body).lower() > sent_max as u64 {
        return Err(Reject::BodyTooLarge { max });
    }
    let mut sent = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Reject::MalformedJson("the body ended early".to_owned()))?;
        let Ok(data) = frame.into_data() else { continue };
        sent += data.len();
        if sent > sent_max {
            return Err(Reject::BodyTooLarge { max });
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
    fn of(headers: &HeaderMap, max: usize) -> Result<Decoder, Reject> {
        let capped = Capped { bytes: Vec::new(), max, over: false };
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

    fn write(&mut self, data: &[u8]) -> Result<(), Reject> {
        let written = match self {
            Decoder::Plain(capped) => capped.write_all(data),
            Decoder::Gzip(decoder) => decoder.write_all(data),
            Decoder::Zstd(decoder) => decoder.write_all(data),
        };
        written.map_err(|_| self.problem())
    }

    fn finish(mut self) -> Result<Vec<u8>, Reject> {
        let finished = match &mut self {
            Decoder::Plain(_) => Ok(()),
            Decoder::Gzip(decoder) => decoder.try_finish(),
            Decoder::Zstd(decoder) => decoder.flush(),
        };
        finished.map_err(|_| self.problem())?;
        Ok(std::mem::take(&mut self.capped_mut().bytes))
    }

    fn problem(&mut self) -> Reject {
        let capped = self.capped_mut();
        match capped.over {
            true => Reject::BodyTooLarge { max: capped.max },
            false => Reject::MalformedJson("the body is not what its Content-Encoding says".to_owned()),
        }
    }

    fn capped_mut(&mut self) -> &mut Capped {
        match self {
            Decoder::Plain(capped) => capped,
            Decoder::Gzip(decoder) => decoder.get_mut(),
            Decoder::Zstd(decoder) => decoder.get_mut(),
        }
    }
}

/// Takes `max` bytes and not one more.
struct Capped {
    bytes: Vec<u8>,
    max: usize,
    over: bool,
}

impl Write for Capped {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if data.len() > self.max - self.bytes.len() {
            self.over = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
