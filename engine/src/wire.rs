//! JSON in and out. Bodies and queries become calls here, and here alone is chosen which status and code
//! a [`Reject`] has.

use crate::call::Call;
use crate::conflict::{Resolution, Resolve, Seen};
use crate::error::Reject;
use crate::ids::{Hash, Millis, SEQ_MAX, Seq, Tag};
use crate::lookup::{FileQuery, HistoryQuery};
use crate::policy::Policy;
use crate::pull::PullQuery;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};
use std::borrow::Cow;

mod live;
mod problem;
mod push;
mod route;
pub use live::{event, live, must_pull};
pub(crate) use live::{name, payload};
pub use problem::{Problem, busy, detail, internal, misconfigured, problem, unavailable};
pub use push::push;
pub use route::{Route, bearer};

/// The newest protocol version that this engine speaks; a request without the header speaks 1.
pub const PROTOCOL: &str = "1";

/// What a host answers, as an OpenAPI 3.1 document, for `GET /openapi.json`.
pub const OPENAPI: &str = include_str!("../../docs/openapi.json");

/// The most versions in one page of a history, and how many when not asked for.
const HISTORY_LIMIT: (usize, usize) = (200, 50);

/// Checks the header `Nself-Sync-Protocol`.
pub fn protocol_version(header: Option<&str>) -> Result<(), Reject> {
    match header.map(str::trim) {
        None | Some(PROTOCOL) => Ok(()),
        Some(_) => Err(Reject::UnsupportedProtocol),
    }
}

/// Reads a JSON object: UTF-8, not nested too deep. Whole floats become integers, so that equal values are equal.
fn object(body: &[u8], policy: &Policy) -> Result<Map<String, Value>, Reject> {
    let malformed = |detail: String| Reject::MalformedJson(detail);
    let (count, depth) = measure(body);
    if depth > policy.json_depth_max {
        return Err(malformed(format!("the body nests deeper than {}", policy.json_depth_max)));
    }
    if count > policy.json_values_max {
        return Err(Reject::TooManyKeys { count, max: policy.json_values_max });
    }
    let text =
        std::str::from_utf8(body).map_err(|error| malformed(format!("the body is not UTF-8: {error}")))?;
    let mut value: Value = serde_json::from_str(text)
        .map_err(|error| malformed(format!("the body is not JSON: {}", place(&error))))?;
    normalize(&mut value);
    match value {
        Value::Object(object) => Ok(object),
        _ => Err(malformed("the body is not a JSON object".to_owned())),
    }
}

/// How many values a JSON text has at most (brackets, braces and commas outside strings), and how deep it nests:
/// known before memory is taken for any of them.
fn measure(body: &[u8]) -> (usize, usize) {
    let (mut values, mut depth, mut deepest) = (0, 0_usize, 0);
    let (mut in_string, mut escaped) = (false, false);
    for byte in body {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' | b'[' => {
                values += 1;
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b',' => values += 1,
            _ => {}
        }
    }
    (values, deepest)
}

/// Where JSON went wrong and how, without a piece of it.
fn place(error: &serde_json::Error) -> String {
    let kind = match error.classify() {
        serde_json::error::Category::Eof => "it ends early",
        _ if error.to_string().starts_with("recursion limit") => "it nests too deep",
        _ => "a syntax error",
    };
    format!("{kind} at line {} column {}", error.line(), error.column())
}

/// Whole floats become integers, at every depth.
pub(crate) fn normalize(value: &mut Value) {
    match value {
        Value::Null | Value::Bool(_) | Value::String(_) => {}
        Value::Number(number) => {
            if let Some(float) = number.as_f64().filter(|_| number.is_f64())
                && float.fract() == 0.0
                && float.abs() <= SEQ_MAX as f64
            {
                *number = (float as i64).into();
            }
        }
        Value::Array(items) => items.iter_mut().for_each(normalize),
        Value::Object(members) => members.values_mut().for_each(normalize),
    }
}

fn invalid(field: &str, detail: impl Into<String>) -> Reject {
    Reject::InvalidField { field: field.to_owned(), detail: detail.into() }
}

/// Puts a member into an object that was just made.
pub(crate) fn put(object: &mut Value, name: &str, value: Value) {
    if let Some(members) = object.as_object_mut() {
        members.insert(name.to_owned(), value);
    }
}

/// What a value is, for an error: its kind, never itself.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number of another kind",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// A member as text; absent or null: `None`.
fn text<'a>(object: &'a Map<String, Value>, field: &str) -> Result<Option<&'a str>, Reject> {
    match object.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(invalid(field, format!("it is {}, allowed is a string", kind(other)))),
    }
}

fn flag(object: &Map<String, Value>, field: &str) -> Result<bool, Reject> {
    match object.get(field) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(other) => Err(invalid(field, format!("it is {}, allowed is true or false", kind(other)))),
    }
}

fn whole(field: &str, value: &Value) -> Result<u64, Reject> {
    value.as_u64().filter(|number| *number <= SEQ_MAX).ok_or_else(|| {
        invalid(field, format!("it is {}, allowed is a whole number from 0 to 2^53 - 1", kind(value)))
    })
}

fn epoch(object: &Map<String, Value>) -> Result<Option<String>, Reject> {
    Ok(text(object, "epoch")?.map(str::to_owned))
}

fn tag(text: Option<&str>) -> Result<Option<Tag>, Reject> {
    text.map(|text| Tag::parse(text).ok_or_else(|| invalid("tag", "allowed are 16 hex digits"))).transpose()
}

fn device_id(policy: &Policy, id: &str) -> Result<String, Reject> {
    let max = policy.device_id_bytes_max;
    // Whoever resolves URLs takes "." and ".." out of a path, percent-encoded or not: such a device could not be removed.
    let fits = (1..=max).contains(&id.len()) && !id.contains(char::is_control) && !matches!(id, "." | "..");
    let detail = || format!("allowed are 1 to {max} bytes without control characters, other than . and ..");
    fits.then(|| id.to_owned()).ok_or_else(|| invalid("device_id", detail()))
}

/// Standard base64, padded; `None`: it is none.
pub fn base64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

/// Reads the body of `POST /sync/conflicts/:id/resolve`.
pub fn resolve(id: &str, body: &[u8], policy: &Policy) -> Result<Call, Reject> {
    let object = object(body, policy)?;
    let resolution = match object.get("resolution") {
        Some(Value::String(word)) => match word.as_str() {
            "mine" => Resolution::Mine,
            "theirs" => Resolution::Theirs,
            "merged" => Resolution::Merged,
            _ => return Err(Reject::InvalidResolution),
        },
        Some(_) | None => return Err(Reject::InvalidResolution),
    };
    let content = match (text(&object, "content")?, text(&object, "content_base64")?) {
        (Some(content), _) => Some(content.as_bytes().to_vec()),
        (None, Some(encoded)) => {
            Some(base64(encoded).ok_or_else(|| invalid("content_base64", "it is not base64"))?)
        }
        (None, None) => None,
    };
    if resolution == Resolution::Merged && content.is_none() {
        return Err(Reject::ContentRequired);
    }
    let theirs = match object.get("theirs_hash") {
        None => Seen::Made,
        Some(Value::Null) => Seen::Hash(None),
        Some(_) => Seen::Hash(hash(text(&object, "theirs_hash")?, "theirs_hash")?),
    };
    let device_id = text(&object, "device_id")?.map(|id| device_id(policy, id)).transpose()?;
    let force = flag(&object, "force")?;
    let id = id.to_owned();
    Ok(Call::Resolve(Box::new(Resolve { id, resolution, content, device_id, theirs, force })))
}

fn hash(text: Option<&str>, field: &str) -> Result<Option<Hash>, Reject> {
    text.map(|text| Hash::parse(text).ok_or_else(|| invalid(field, "allowed are 64 hex digits"))).transpose()
}

/// Reads the query of `GET /sync/pull` and its `If-None-Match` header.
pub fn pull(query: &str, if_none_match: Option<&str>) -> Result<Call, Reject> {
    let mut pull = PullQuery { if_none_match: if_none_match.map(str::to_owned), ..PullQuery::default() };
    for (name, value) in parameters(query)? {
        match name.as_str() {
            "since_seq" => pull.since = Some(number("since_seq", &value, SEQ_MAX)?),
            "epoch" => pull.epoch = Some(value),
            "tag" => pull.tag = tag(Some(&value))?,
            "device_id" => pull.device_id = Some(device_id(&Policy::default(), &value)?),
            "patches" => pull.patches = switch("patches", &value)?,
            "snapshot" => pull.snapshot = switch("snapshot", &value)?,
            "files" if value == "meta" => pull.meta = true,
            "files" => return Err(invalid("files", "allowed is meta")),
            _ => {}
        }
    }
    Ok(Call::Pull(pull))
}

/// Reads the query of `GET /sync/history`.
pub fn history(query: &str) -> Result<Call, Reject> {
    let (max, usual) = HISTORY_LIMIT;
    let mut history = HistoryQuery { key: String::new(), limit: usual, cursor: None };
    for (name, value) in parameters(query)? {
        match name.as_str() {
            "key" => history.key = value,
            "limit" => {
                let limit = number("limit", &value, max as u64)?;
                history.limit = usize::try_from(limit).unwrap_or(usual).max(1);
            }
            "cursor" => {
                let cursor = value.split_once('.').and_then(|(seq, shown)| {
                    Some((seq.parse().ok().filter(|seq: &Seq| *seq <= SEQ_MAX)?, shown.parse().ok()?))
                });
                history.cursor = Some(cursor.ok_or_else(|| invalid("cursor", "allowed is a reply's next"))?);
            }
            _ => {}
        }
    }
    if crate::key::Key::parse(&history.key).is_none() {
        return Err(invalid("key", "allowed is a changed key, as files/src/main.rs or sessions/s1/status"));
    }
    Ok(Call::History(history))
}

/// Reads the path of `GET /sync/files/:hash` and its `If-None-Match` header.
pub fn file(hash: &str, if_none_match: Option<&str>) -> Result<Call, Reject> {
    let hash = Hash::parse(hash).ok_or_else(|| invalid("hash", "allowed are 64 hex digits"))?;
    Ok(Call::File(FileQuery { hash, if_none_match: if_none_match.map(str::to_owned) }))
}

fn number(field: &str, text: &str, max: u64) -> Result<u64, Reject> {
    let number = text.parse().ok().filter(|number| *number <= max);
    number.ok_or_else(|| invalid(field, format!("allowed is a whole number from 0 to {max}")))
}

fn switch(field: &str, text: &str) -> Result<bool, Reject> {
    match text {
        "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        _ => Err(invalid(field, "allowed are 1 and 0")),
    }
}

/// The parameters of a query, decoded.
///
/// # Errors
/// It is not percent-encoded UTF-8.
pub fn parameters(query: &str) -> Result<Vec<(String, String)>, Reject> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let decode = |text: &str| -> Result<String, Reject> {
        let spaced = text.replace('+', " ");
        let decoded = percent_encoding::percent_decode_str(&spaced).decode_utf8();
        decoded.map(Cow::into_owned).map_err(|_| invalid("query", "it is not percent-encoded UTF-8"))
    };
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(name)?, decode(value)?))
        })
        .collect()
}

/// A time as RFC 3339 in UTC, to the millisecond.
pub fn timestamp(ms: Millis) -> String {
    let ms = i64::try_from(ms).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(ms).map(|at| format!("{at:.3}")).unwrap_or_default()
}

/// A document's content as a member of its entry: text as `content`, bytes as `content_base64`.
pub fn document_content(content: Vec<u8>) -> (String, Value) {
    match String::from_utf8(content) {
        Ok(text) if !text.contains('\0') => ("content".to_owned(), Value::String(text)),
        Ok(text) => ("content_base64".to_owned(), Value::String(STANDARD.encode(text))),
        Err(bytes) => ("content_base64".to_owned(), Value::String(STANDARD.encode(bytes.as_bytes()))),
    }
}

#[cfg(test)]
mod tests;
