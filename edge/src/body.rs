//! Request bodies: plain or gzip, read as they come and refused as soon as they are over the limit.

use crate::gzip;
use crate::reply::Refusal;
use futures_util::StreamExt;
use nself_sync_engine::error::Reject;
use worker::Request;

/// What this host reads, as a 415 tells it.
const ENCODINGS: &str = "gzip";

/// What is read and dropped of a body that is refused.
const DROPPED_BYTES_MAX: usize = 16 << 20;

/// The whole body, decompressed: at most `max` bytes, and no more than that is ever held, nor of what was sent.
pub async fn read(request: &mut Request, max: usize) -> Result<Vec<u8>, Refusal> {
    let encoding = request.headers().get("content-encoding")?.unwrap_or_default();
    match encoding.trim().to_ascii_lowercase().as_str() {
        "" | "identity" => sent(request, max).await?.ok_or(Reject::BodyTooLarge { max }.into()),
        "gzip" | "x-gzip" => {
            // What does not compress grows a little.
            let body = sent(request, max + max / 1024 + 1024).await?;
            gzip::decompress(&body.ok_or(Reject::BodyTooLarge { max })?, max).map_err(|problem| match problem
            {
                gzip::Problem::TooLarge => Reject::BodyTooLarge { max }.into(),
                gzip::Problem::Broken => malformed("the body is not what its Content-Encoding says"),
            })
        }
        _ => Err(Reject::UnsupportedEncoding(ENCODINGS).into()),
    }
}

/// The body as it was sent; nothing if it is longer than `max` bytes.
async fn sent(request: &mut Request, max: usize) -> Result<Option<Vec<u8>>, Refusal> {
    let mut body = Some(Vec::new());
    // A request without a body has no stream.
    let Ok(mut stream) = request.stream() else { return Ok(body) };
    let mut length = 0;
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|_| malformed("the body ended early"))?;
        length += chunk.len();
        // A client that still sends would not see why nobody reads: what is refused is read for a while and dropped.
        if length > max + DROPPED_BYTES_MAX {
            break;
        }
        body = body.filter(|_| length <= max);
        if let Some(body) = &mut body {
            body.extend_from_slice(&chunk);
        }
    }
    Ok(body.filter(|_| length <= max))
}

fn malformed(why: &str) -> Refusal {
    Reject::MalformedJson(why.to_owned()).into()
}
