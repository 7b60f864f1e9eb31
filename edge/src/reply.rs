//! The engine's replies and refusals as responses.

use nself_sync_engine::call::{Body, Reply};
use nself_sync_engine::error::Reject;
use nself_sync_engine::wire;
use nself_sync_sqlite as store;
use serde_json::json;
use worker::{Headers, Method, Response, Result};

/// Smaller replies are sent as they are: compressing them costs more than it saves.
const COMPRESSED_BYTES_MIN: u64 = 512;

/// The longest id that is taken over from a client.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// Why a request has no reply.
#[derive(Debug)]
pub enum Refusal {
    /// The caller's fault.
    Reject(Reject),
    /// Something that the host needs is away.
    Unavailable,
    /// What is stored cannot be read, or what the worker says; what it is, for the log.
    Broken(String),
    /// The data base is of a newer version of this program.
    Newer,
    /// The configuration is not valid; the line that says what is allowed, for the log.
    Misconfigured(String),
    /// The runtime failed.
    Failed(worker::Error),
}

impl From<Reject> for Refusal {
    fn from(reject: Reject) -> Refusal {
        Refusal::Reject(reject)
    }
}

impl From<worker::Error> for Refusal {
    fn from(error: worker::Error) -> Refusal {
        Refusal::Failed(error)
    }
}

impl Refusal {
    /// The problem document.
    pub fn render(self, request_id: &str) -> Result<Response> {
        let problem = match self {
            Refusal::Reject(reject) => wire::problem(&reject, request_id),
            Refusal::Unavailable => wire::unavailable(request_id),
            Refusal::Broken(what) => {
                log("error", "what is stored cannot be read", request_id, &what);
                wire::internal(request_id)
            }
            Refusal::Newer => {
                log("error", "the data base is of a newer version", request_id, "");
                wire::unavailable(request_id)
            }
            Refusal::Misconfigured(line) => {
                log("error", "the configuration is not valid", request_id, &line);
                wire::misconfigured(request_id)
            }
            Refusal::Failed(error) => {
                log("error", "the runtime failed", request_id, &error.to_string());
                wire::unavailable(request_id)
            }
        };
        let headers = Headers::new();
        headers.set("content-type", "application/problem+json")?;
        headers.set("cache-control", "no-store")?;
        for (name, value) in problem.headers {
            headers.set(name, &value)?;
        }
        let body = Response::from_bytes(problem.body.to_string().into_bytes())?;
        Ok(body.with_status(problem.status).with_headers(headers))
    }
}

/// A reply with what this host adds to each.
pub fn render(reply: Reply) -> Result<Response> {
    let (body, content_type) = match reply.body {
        Body::Empty => (None, None),
        Body::Json(value) => (Some(value.to_string().into_bytes()), Some("application/json")),
        Body::Bytes(bytes) => (Some(bytes), Some("application/octet-stream")),
    };
    let headers = Headers::new();
    headers.set("cache-control", "private, no-cache")?;
    headers.set("vary", "Accept-Encoding, Authorization")?;
    // Contents are users' bytes: no browser is to take them for a page.
    headers.set("x-content-type-options", "nosniff")?;
    if let Some(content_type) = content_type {
        headers.set("content-type", content_type)?;
    }
    for (name, value) in reply.headers {
        headers.set(name, &value)?;
    }
    let response = match body {
        Some(body) => {
            headers.set("content-length", &body.len().to_string())?;
            Response::from_bytes(body)?
        }
        None => Response::empty()?,
    };
    Ok(response.with_status(reply.status).with_headers(headers))
}

/// What this host answers to what, for who has no token yet as well.
pub fn openapi(accepted: &str, method: &Method) -> std::result::Result<Response, Refusal> {
    let headers = Headers::new();
    headers.set("content-type", "application/json")?;
    headers.set("content-length", &wire::OPENAPI.len().to_string())?;
    headers.set("vary", "Accept-Encoding")?;
    let document = Response::from_bytes(wire::OPENAPI.as_bytes().to_vec())?.with_headers(headers);
    compressed(document, accepted, method)
}

/// The object's response as the client gets it: compressed by the runtime where that is accepted and worth it.
pub fn compressed(
    response: Response,
    accepted: &str,
    method: &Method,
) -> std::result::Result<Response, Refusal> {
    let headers = copied(response.headers())?;
    let length = headers.get("content-length")?.and_then(|length| length.parse::<u64>().ok());
    if *method != Method::Head
        && length.is_some_and(|length| length >= COMPRESSED_BYTES_MIN)
        && let Some(encoding) = encoding(accepted)
    {
        headers.set("content-encoding", encoding)?;
        headers.delete("content-length")?;
    }
    Ok(response.with_headers(headers))
}

/// Headers that can be changed, which those of an object's response cannot.
pub fn copied(headers: &Headers) -> Result<Headers> {
    let copied = Headers::new();
    for (name, value) in headers.entries() {
        copied.set(&name, &value)?;
    }
    Ok(copied)
}

/// brotli before gzip, of those that are accepted.
fn encoding(accepted: &str) -> Option<&'static str> {
    let is_accepted = |name: &str| {
        accepted.split(',').any(|one| {
            let (word, quality) = one.split_once(';').unwrap_or((one, ""));
            let is_named = word.trim().eq_ignore_ascii_case(name) || word.trim() == "*";
            // q=0, however many zeros: not acceptable.
            let is_zero = |quality: &str| quality.bytes().all(|c| matches!(c, b'0' | b'.' | b' '));
            is_named && !quality.trim().strip_prefix("q=").is_some_and(is_zero)
        })
    };
    ["br", "gzip"].into_iter().find(|name| is_accepted(name))
}

/// A page of a user's stream.
pub fn lines(page: store::Page) -> Result<Response> {
    let headers = Headers::new();
    headers.set("content-type", "application/x-ndjson")?;
    headers.set("cache-control", "no-store")?;
    headers.set("nself-sync-at", &page.at)?;
    if let Some(next) = page.next {
        headers.set("nself-sync-next", &next)?;
    }
    Ok(Response::from_bytes(page.lines.into_bytes())?.with_headers(headers))
}

/// The client's `X-Request-Id`, or one of ours.
pub fn request_id(headers: &Headers) -> String {
    let is_fit = |id: &String| {
        (1..=REQUEST_ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(|c| (b' '..=b'~').contains(&c))
    };
    let given = headers.get("x-request-id").ok().flatten().filter(is_fit);
    given.unwrap_or_else(|| format!("{:016x}", getrandom::u64().unwrap_or_default()))
}

/// One line of the log, as the native server's: no content, token, path or query is ever in it.
pub fn log(level: &str, message: &str, request_id: &str, error: &str) {
    let version = env!("CARGO_PKG_VERSION");
    let line = json!({
        "level": level, "plugin": "sync", "version": version,
        "message": message, "request_id": request_id, "error": error,
    });
    worker::console_log!("{line}");
}
