//! HTTP as a client speaks it: one kept-alive connection, gzip both ways, patience with a busy host; every byte of a
//! body is counted.

use anyhow::{Context, Result, bail};
use flate2::Compression;
use flate2::read::{GzDecoder, GzEncoder};
use serde_json::Value;
use std::fmt;
use std::io::Read;
use std::ops::AddAssign;
use std::time::Duration;

/// Bodies below this many bytes are sent as they are: gzip's own header is most of what it would save.
const GZIP_BYTES_MIN: usize = 256;
const REPLY_BYTES_MAX: u64 = 256 << 20;
const TRIES_MAX: u32 = 6;

/// Bytes of request and reply bodies; headers are not counted.
#[derive(Debug, Clone, Copy, Default)]
pub struct Traffic {
    /// How many requests were answered.
    pub requests: u64,
    /// Request bodies as on the wire, compressed where that was smaller.
    pub up_bytes: u64,
    /// The same before compression.
    pub up_plain_bytes: u64,
    /// Reply bodies as on the wire.
    pub down_bytes: u64,
    /// The same after decompression.
    pub down_plain_bytes: u64,
}

impl AddAssign for Traffic {
    fn add_assign(&mut self, other: Traffic) {
        self.requests += other.requests;
        self.up_bytes += other.up_bytes;
        self.up_plain_bytes += other.up_plain_bytes;
        self.down_bytes += other.down_bytes;
        self.down_plain_bytes += other.down_plain_bytes;
    }
}

/// A refusal (`application/problem+json`).
#[derive(Debug)]
pub struct Problem {
    /// The HTTP status.
    pub status: u16,
    /// The protocol's code, such as `conflicts_unresolved`.
    pub code: String,
    detail: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.status, self.code, self.detail)
    }
}

impl std::error::Error for Problem {}

/// One user's connection to a host.
pub struct Http {
    /// What went over it.
    pub traffic: Traffic,
    agent: ureq::Agent,
    url: String,
    token: String,
}

impl Http {
    /// A connection to `url` (`http://host:port`) with a bearer token.
    pub fn new(url: &str, token: &str) -> Http {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(60)))
            .accept_encoding("gzip")
            .build();
        Http {
            traffic: Traffic::default(),
            agent: config.into(),
            url: url.trim_end_matches('/').to_owned(),
            token: token.to_owned(),
        }
    }

    /// Uses another token from now on.
    pub fn set_token(&mut self, token: &str) {
        self.token = token.to_owned();
    }

    /// GET, answered in JSON.
    pub fn get(&mut self, path: &str) -> Result<Value> {
        let bytes = self.get_bytes(path)?;
        serde_json::from_slice(&bytes).with_context(|| format!("the reply to GET {path}"))
    }

    /// GET of bytes.
    pub fn get_bytes(&mut self, path: &str) -> Result<Vec<u8>> {
        self.patiently("GET", path, None)
    }

    /// POST of JSON, answered in JSON.
    pub fn post(&mut self, path: &str, body: &Value) -> Result<Value> {
        let bytes = self.patiently("POST", path, Some(&serde_json::to_vec(body)?))?;
        serde_json::from_slice(&bytes).with_context(|| format!("the reply to POST {path}"))
    }

    /// Sends the same request again while the host is away or busy: a push carries its number, so it is never
    /// done twice.
    fn patiently(&mut self, method: &str, path: &str, body: Option<&[u8]>) -> Result<Vec<u8>> {
        let mut failures = 0;
        loop {
            let error = match self.once(method, path, body) {
                Ok(Reply::Done(bytes)) => return Ok(bytes),
                Ok(Reply::Refused(problem)) => return Err(problem.into()),
                Ok(Reply::Later(wait)) => {
                    std::thread::sleep(wait);
                    continue;
                }
                Err(error) => error,
            };
            failures += 1;
            if failures == TRIES_MAX {
                return Err(error.context(format!("{method} {}{path}", self.url)));
            }
            std::thread::sleep(Duration::from_millis(50 << failures));
        }
    }

    fn once(&mut self, method: &str, path: &str, body: Option<&[u8]>) -> Result<Reply> {
        let mut request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url))
            .header("Authorization", format!("Bearer {}", self.token));
        let mut sent_bytes = 0;
        let mut response = match body {
            None => self.agent.run(request.body(())?)?,
            Some(plain) => {
                request = request.header("Content-Type", "application/json");
                let packed = gzip(plain)?;
                let sent = if packed.len() < plain.len() {
                    request = request.header("Content-Encoding", "gzip");
                    packed
                } else {
                    plain.to_vec()
                };
                sent_bytes = sent.len();
                self.agent.run(request.body(sent)?)?
            }
        };
        let status = response.status().as_u16();
        let header = |name: &str| Some(response.headers().get(name)?.to_str().ok()?.to_owned());
        let (encoding, wait) = (header("Content-Encoding"), header("Retry-After"));
        let received = response.body_mut().with_config().limit(REPLY_BYTES_MAX).read_to_vec()?;
        let received_bytes = received.len();
        let plain = match encoding.as_deref() {
            Some("gzip") => gunzip(&received)?,
            None | Some("identity") => received,
            Some(other) => bail!("the host answered in {other}, which was not asked for"),
        };
        self.traffic += Traffic {
            requests: 1,
            up_bytes: sent_bytes as u64,
            up_plain_bytes: body.map_or(0, <[u8]>::len) as u64,
            down_bytes: received_bytes as u64,
            down_plain_bytes: plain.len() as u64,
        };
        reply(status, wait, plain)
    }
}

enum Reply {
    Done(Vec<u8>),
    Later(Duration),
    Refused(Problem),
}

fn reply(status: u16, wait: Option<String>, body: Vec<u8>) -> Result<Reply> {
    if (200..300).contains(&status) {
        return Ok(Reply::Done(body));
    }
    let json: Value = serde_json::from_slice(&body).unwrap_or_default();
    let text = |name: &str| json[name].as_str().unwrap_or_default().to_owned();
    let problem = Problem { status, code: text("code"), detail: text("detail") };
    match status {
        429 => Ok(Reply::Later(Duration::from_secs(wait.and_then(|wait| wait.parse().ok()).unwrap_or(1)))),
        500.. => Err(problem.into()),
        _ => Ok(Reply::Refused(problem)),
    }
}

/// The bytes compressed, or as they are where they are too few.
fn gzip(plain: &[u8]) -> Result<Vec<u8>> {
    if plain.len() < GZIP_BYTES_MIN {
        return Ok(plain.to_vec());
    }
    let mut packed = Vec::new();
    GzEncoder::new(plain, Compression::default()).read_to_end(&mut packed)?;
    Ok(packed)
}

fn gunzip(packed: &[u8]) -> Result<Vec<u8>> {
    let mut plain = Vec::new();
    GzDecoder::new(packed).read_to_end(&mut plain).context("the reply's gzip")?;
    Ok(plain)
}
