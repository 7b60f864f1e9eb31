//! Errors as problem documents (RFC 9457): the one place that chooses a status and a code.

use super::{PROTOCOL, put};
use crate::error::{ConflictBrief, Reject};
use crate::ids::Hash;
use serde_json::{Value, json};

/// An error as `application/problem+json`.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// The HTTP status.
    pub status: u16,
    /// Further headers, names in lower case.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Value,
}

/// The error that a rejected call is answered.
pub fn problem(reject: &Reject, request_id: &str) -> Problem {
    let (status, code, title) = classify(reject);
    let retryable = matches!(
        reject,
        Reject::SlowBody | Reject::TooManyConnections { .. } | Reject::RateLimited { .. } | Reject::Importing
    );
    let mut problem = render(status, code, title, &detail(reject), request_id, retryable);
    match reject {
        Reject::ConflictsUnresolved(conflicts) => {
            put(&mut problem.body, "conflicts", conflicts.iter().map(render_brief).collect());
        }
        Reject::ConflictMoved { theirs } => put(&mut problem.body, "theirs_hash", json!(theirs)),
        Reject::ConflictResolved { device_id, at, resolution } => {
            put(
                &mut problem.body,
                "resolved",
                json!({ "device_id": device_id, "at": at, "resolution": resolution }),
            );
        }
        Reject::SeqAhead { head } => put(&mut problem.body, "head", json!(head)),
        Reject::StalePush { last } => put(&mut problem.body, "push_no", json!(last)),
        Reject::InvalidField { field, .. } => put(&mut problem.body, "field", json!(field)),
        Reject::MethodNotAllowed(allow) => problem.headers.push(("allow", (*allow).to_owned())),
        Reject::UnsupportedEncoding(accept) => {
            problem.headers.push(("accept-encoding", (*accept).to_owned()))
        }
        Reject::UnsupportedProtocol => problem.headers.push(("nself-sync-protocol", PROTOCOL.to_owned())),
        Reject::Unauthorized(_) => problem.headers.push(("www-authenticate", "Bearer".to_owned())),
        // What is left of the body would be taken for the next request.
        Reject::SlowBody => problem.headers.push(("connection", "close".to_owned())),
        Reject::MalformedJson(_) | Reject::PlaintextEnv | Reject::TooManyKeys { .. } => {}
        Reject::TooMuchTouched { .. } | Reject::BodyTooLarge { .. } | Reject::DeviceMismatch => {}
        Reject::DeviceRevoked | Reject::UserTokenRequired | Reject::TooManyDevices { .. } => {}
        Reject::UpgradeRequired => problem.headers.push(("upgrade", "websocket".to_owned())),
        Reject::TooManyConnections { .. } => problem.headers.push(("retry-after", "60".to_owned())),
        Reject::Importing => problem.headers.push(("retry-after", "5".to_owned())),
        Reject::Moved | Reject::Transfer(_) => {}
        Reject::NotFound(_) | Reject::DeviceForked | Reject::EpochChanged => {}
        Reject::RateLimited { retry_after_s } => {
            problem.headers.push(("retry-after", retry_after_s.to_string()))
        }
        Reject::InvalidResolution | Reject::ContentRequired | Reject::QuotaExceeded { .. } => {}
    }
    problem
}

/// The store does not answer: 503, to be tried again.
pub fn unavailable(request_id: &str) -> Problem {
    let detail = "the store does not answer; nothing was changed, or it will be found by a retry";
    let mut problem = render(503, "store_unavailable", "Service unavailable", detail, request_id, true);
    problem.headers.push(("retry-after", "2".to_owned()));
    problem
}

/// The host's configuration is not valid: 503, until somebody mends it.
pub fn misconfigured(request_id: &str) -> Problem {
    let detail = "the configuration of the server is not valid; its log says what is allowed";
    let mut problem = render(503, "misconfigured", "Service unavailable", detail, request_id, true);
    problem.headers.push(("retry-after", "60".to_owned()));
    problem
}

/// The host has as much to do as it takes on: 503, to be tried again.
pub fn busy(request_id: &str) -> Problem {
    let mut problem = render(503, "busy", "Service unavailable", "too much at once", request_id, true);
    problem.headers.push(("retry-after", "1".to_owned()));
    problem
}

/// A bug or damaged data: 500.
pub fn internal(request_id: &str) -> Problem {
    let detail = "an error of the server; its log has it under this request id";
    render(500, "internal", "Internal server error", detail, request_id, false)
}

fn render(status: u16, code: &str, title: &str, detail: &str, request_id: &str, retryable: bool) -> Problem {
    let body = json!({
        "type": format!("urn:nself-sync:problem:{code}"), "title": title, "status": status,
        "detail": detail, "code": code, "request_id": request_id, "retryable": retryable,
    });
    Problem { status, headers: Vec::new(), body }
}

fn render_brief(brief: &ConflictBrief) -> Value {
    let side = |side: &Option<(Hash, usize)>| match side {
        Some((hash, size)) => json!({ "hash": hash, "size": size }),
        None => Value::Null,
    };
    json!({
        "id": brief.id,
        "collection": crate::key::collection(&brief.key),
        "file_path": crate::key::within(&brief.key),
        "base": side(&brief.base), "mine": side(&brief.mine), "theirs": side(&brief.theirs),
    })
}

fn classify(reject: &Reject) -> (u16, &'static str, &'static str) {
    match reject {
        Reject::MalformedJson(_) => (400, "malformed_json", "Malformed JSON"),
        Reject::InvalidField { .. } => (400, "invalid_field", "Invalid field"),
        Reject::InvalidResolution => (400, "invalid_resolution", "Invalid resolution"),
        Reject::ContentRequired => (400, "content_required", "Content required"),
        Reject::Unauthorized(_) => (401, "unauthorized", "Unauthorized"),
        Reject::DeviceMismatch => (403, "device_mismatch", "Another device's id"),
        Reject::DeviceRevoked => (403, "device_revoked", "Device removed"),
        Reject::UserTokenRequired => (403, "user_token_required", "The user's token is required"),
        Reject::TooManyDevices { .. } => (403, "too_many_devices", "Too many devices"),
        Reject::NotFound(_) => (404, "not_found", "Not found"),
        Reject::MethodNotAllowed(_) => (405, "method_not_allowed", "Method not allowed"),
        Reject::SlowBody => (408, "request_timeout", "Request timeout"),
        Reject::DeviceForked => (409, "device_forked", "Two devices share one id"),
        Reject::StalePush { .. } => (409, "stale_push", "Stale push"),
        Reject::SeqAhead { .. } => (409, "seq_ahead", "Seq ahead of head"),
        Reject::EpochChanged => (409, "epoch_changed", "Another history"),
        Reject::ConflictsUnresolved(_) => (409, "conflicts_unresolved", "Conflicts unresolved"),
        Reject::ConflictMoved { .. } => (409, "conflict_moved", "The document has moved on"),
        Reject::ConflictResolved { .. } => (409, "conflict_resolved", "Resolved already"),
        Reject::Transfer(_) => (409, "transfer_refused", "Export or import refused"),
        Reject::Moved => (410, "moved", "The user was moved to another host"),
        Reject::BodyTooLarge { .. } => (413, "body_too_large", "Body too large"),
        Reject::TooManyKeys { .. } => (413, "too_many_keys", "Too many keys"),
        Reject::TooMuchTouched { .. } => (413, "push_too_large", "Too much for one push"),
        Reject::UnsupportedEncoding(_) => (415, "unsupported_encoding", "Unsupported content encoding"),
        Reject::PlaintextEnv => (422, "plaintext_env", "Plaintext environment variables"),
        Reject::UnsupportedProtocol => (426, "unsupported_protocol", "Unsupported protocol version"),
        Reject::UpgradeRequired => (426, "upgrade_required", "Upgrade required"),
        Reject::TooManyConnections { .. } => (429, "too_many_connections", "Too many live connections"),
        Reject::Importing => (503, "importing", "The user is being moved here"),
        Reject::RateLimited { .. } => (429, "rate_limited", "Too many requests"),
        Reject::QuotaExceeded { .. } => (507, "quota_exceeded", "Quota exceeded"),
    }
}

/// What is wrong, in a sentence.
pub fn detail(reject: &Reject) -> String {
    match reject {
        Reject::MalformedJson(detail) => detail.clone(),
        Reject::InvalidField { field, detail } => format!("{field}: {detail}"),
        Reject::PlaintextEnv => "env is never taken: seal it into env_encrypted on the client".into(),
        Reject::TooManyKeys { count, max } => {
            format!("the body has {count} keys or values, allowed are {max}")
        }
        Reject::TooMuchTouched { bytes, max } => {
            format!(
                "the documents it names have {bytes} bytes together, allowed are {max}: push fewer at once"
            )
        }
        Reject::BodyTooLarge { max } => format!("a body has at most {max} bytes, decompressed"),
        Reject::SlowBody => "the body came too slowly".into(),
        Reject::UnsupportedEncoding(accept) => format!("Content-Encoding: allowed are {accept}"),
        Reject::UnsupportedProtocol => format!("Nself-Sync-Protocol: allowed is {PROTOCOL}"),
        Reject::UpgradeRequired => "this is a WebSocket".into(),
        Reject::TooManyConnections { max } => format!("allowed are {max} live connections"),
        Reject::Unauthorized(detail) => (*detail).to_owned(),
        Reject::DeviceMismatch => "device_id: the sync token is another device's".into(),
        Reject::DeviceRevoked => "device_id: this device was removed; register under a new id".into(),
        Reject::UserTokenRequired => "this takes the user's own token, not a device's sync token".into(),
        Reject::TooManyDevices { max } => format!("a user has at most {max} devices; remove one first"),
        Reject::NotFound(what) => format!("no such {what}"),
        Reject::MethodNotAllowed(allow) => format!("allowed are {allow}"),
        Reject::Moved => "this user is served by another host now; what was pushed here is there".into(),
        Reject::Importing => "this user is being moved to this host, which takes a moment".into(),
        Reject::Transfer(why) => why.clone(),
        Reject::DeviceForked => "push_no: this number was used for another push; take a new device_id".into(),
        Reject::StalePush { last } => format!("push_no: the last one recorded is {last}"),
        Reject::SeqAhead { head } => format!("seq: head is {head}; pull the snapshot"),
        Reject::EpochChanged => "epoch or tag are of another history; pull the snapshot".into(),
        Reject::ConflictsUnresolved(conflicts) => {
            format!("this device has {} unresolved conflict(s); resolve them first", conflicts.len())
        }
        Reject::ConflictMoved { .. } => {
            "theirs_hash: the document is another by now, and the resolution does not merge onto it".into()
        }
        Reject::ConflictResolved { at, resolution, .. } => format!("resolved as {resolution} at {at}"),
        Reject::InvalidResolution => "resolution: allowed are mine, theirs, merged".into(),
        Reject::RateLimited { retry_after_s } => {
            format!("too many requests; come again in {retry_after_s} s")
        }
        Reject::QuotaExceeded { of, bytes, max } => {
            format!("{bytes} of {max} bytes {of}; only removals are taken")
        }
        Reject::ContentRequired => "content or content_base64 is required with merged".into(),
    }
}
