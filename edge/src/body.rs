//! Request bodies: plain or gzip, read as they come and refused as soon as they are over the limit.

use crate::reply::Refusal;
use flate2::write::MultiGzDecoder;
use futures_util::StreamExt;
use nself_sync_engine::error::Reject;
use std::io::{self, Write};
use worker::Request;

/// What this host reads, as a 415 tells it.
const ENCODINGS: &str = "gzip";

/// What is read and dropped of a body that is refused.
const DROPPED_BYTES_MAX: usize = 16 << 20;

/// The whole body, decompressed: at most `max` bytes, and no more than that is ever held.
pub async fn read(request: &mut Request, max: usize) -> Result<Vec<u8>, Refusal> {
    let encoding = request.headers().get("content-encoding")?.unwrap_or_default();
    let capped = Capped { bytes: Vec::new(), max, is_over: false };
    let mut decoder = match encoding.trim().to_ascii_lowercase().as_str() {
        "" | "identity" => Decoder::Plain(capped),
        "gzip" | "x-gzip" => Decoder::Gzip(Box::new(MultiGzDecoder::new(capped))),
        _ => return Err(Reject::UnsupportedEncoding(ENCODINGS).into()),
    };
    // What does not compress grows a little.
    let sent_max = max + max / 1024 + 1024;
    let mut sent = 0;
    let mut refused = None;
    // A request without a body has no stream.
    let Ok(mut stream) = request.stream() else { return decoder.finish() };
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|_| Reject::MalformedJson("the body ended early".to_owned()))?;
        sent += chunk.len();
        // A client that still sends would not see why nobody reads: what is refused is read for a while and dropped.
        if refused.is_some() && sent > sent_max + DROPPED_BYTES_MAX {
            break;
        }
        if refused.is_none() && sent > sent_max {
            refused = Some(Reject::BodyTooLarge { max }.into());
        }
        if refused.is_none() {
            refused = decoder.write(&chunk).err();
        }
    }
    refused.map_or_else(|| decoder.finish(), Err)
}

enum Decoder {
    Plain(Capped),
    Gzip(Box<MultiGzDecoder<Capped>>),
}

impl Decoder {
    fn write(&mut self, data: &[u8]) -> Result<(), Refusal> {
        let written = match self {
            Decoder::Plain(capped) => capped.write_all(data),
            Decoder::Gzip(decoder) => decoder.write_all(data),
        };
        written.map_err(|_| self.problem())
    }

    fn finish(mut self) -> Result<Vec<u8>, Refusal> {
        if let Decoder::Gzip(decoder) = &mut self {
            decoder.try_finish().map_err(|_| self.problem())?;
        }
        Ok(std::mem::take(&mut self.capped_mut().bytes))
    }

    fn problem(&mut self) -> Refusal {
        let capped = self.capped_mut();
        match capped.is_over {
            true => Reject::BodyTooLarge { max: capped.max }.into(),
            false => {
                Reject::MalformedJson("the body is not what its Content-Encoding says".to_owned()).into()
            }
        }
    }

    fn capped_mut(&mut self) -> &mut Capped {
        match self {
            Decoder::Plain(capped) => capped,
            Decoder::Gzip(decoder) => decoder.get_mut(),
        }
    }
}

/// Takes `max` bytes and not one more.
struct Capped {
    bytes: Vec<u8>,
    max: usize,
    is_over: bool,
}

impl Write for Capped {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if data.len() > self.max - self.bytes.len() {
            self.is_over = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
