//! The engine's replies as HTTP responses.

use axum::body::Body as HttpBody;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, VARY, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use nself_sync_engine::call::{Body, Reply};

/// A reply with what this host adds to each.
pub(super) fn render(reply: Reply) -> Response {
    let (body, content_type) = match reply.body {
        Body::Empty => (HttpBody::empty(), None),
        Body::Json(value) => (HttpBody::from(value.to_string()), Some("application/json")),
        Body::Bytes(bytes) => (HttpBody::from(bytes), Some("application/octet-stream")),
    };
    let mut response = Response::new(body);
    *response.status_mut() = status(reply.status);
    let fixed = [
        (CACHE_CONTROL, Some("private, no-cache")),
        (VARY, Some("Accept-Encoding, Authorization")),
        // Contents are users' bytes: no browser is to take them for a page.
        (X_CONTENT_TYPE_OPTIONS, Some("nosniff")),
        (CONTENT_TYPE, content_type),
    ];
    for (name, value) in fixed {
        if let Some(value) = value {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
    }
    add(response.headers_mut(), reply.headers);
    response
}

/// The engine's status; of none it knows, which it never makes, 500.
pub(super) fn status(number: u16) -> StatusCode {
    StatusCode::from_u16(number).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// Sets the engine's headers.
pub(super) fn add(headers: &mut HeaderMap, added: Vec<(&'static str, String)>) {
    for (name, value) in added {
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(&value)) {
            headers.insert(name, value);
        }
    }
}
