//! Who calls, and the ids in the path.

use super::Shared;
use super::error::Refusal;
use crate::jwt::{self, Denied};
use axum::extract::{FromRequestParts, Path};
use axum::http::header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName};
use nself_sync_engine::call::Caller;
use nself_sync_engine::error::Reject;
use nself_sync_engine::{token, wire};
use tokio::time::Instant;

/// The version as a WebSocket's subprotocol.
pub(super) const PROTOCOL_WORD: &str = "nself-sync.v1";

const PROTOCOL: HeaderName = HeaderName::from_static("nself-sync-protocol");

/// The caller: of a user's token verified, of a device's sync token what it claims (its secret is checked by the store,
/// with the device's row). The protocol's version is looked at first, since it says what everything else means.
pub(super) struct Authenticated(pub(super) Caller);

impl FromRequestParts<Shared> for Authenticated {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &Shared) -> Result<Authenticated, Refusal> {
        wire::protocol_version(parts.headers.get(PROTOCOL).map(|value| value.to_str().unwrap_or_default()))?;
        let token = bearer(&parts.headers)?;
        Ok(Authenticated(authenticate(token, app).await?.0))
    }
}

/// The caller by this token, and when it ends, where it says so.
async fn authenticate(token: &str, app: &Shared) -> Result<(Caller, Option<Instant>), Refusal> {
    if token::is_sync_token(token) {
        let caller = token::parse(token).ok_or(Reject::Unauthorized("the sync token is malformed"))?;
        return Ok((caller, None));
    }
    match app.verifier.verify(token).await {
        Ok(verified) => Ok((Caller::User(verified.user), Some(jwt::instant(verified.until)))),
        Err(Denied::Token(reason)) => Err(Reject::Unauthorized(reason).into()),
        Err(Denied::KeysAway(error)) => Err(Refusal::Unavailable(error)),
    }
}

/// The caller of a WebSocket, proven. A browser can set no header there: its token may be one of the subprotocols.
pub(super) struct Listening {
    pub(super) caller: Caller,
    /// When its token ends.
    pub(super) until: Option<Instant>,
}

impl FromRequestParts<Shared> for Listening {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &Shared) -> Result<Listening, Refusal> {
        wire::protocol_version(parts.headers.get(PROTOCOL).map(|value| value.to_str().unwrap_or_default()))?;
        let offered = parts.headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
        let offered: Vec<&str> =
            offered.flat_map(|field| field.to_str().unwrap_or_default().split(',')).map(str::trim).collect();
        let mut tokens = offered.iter().filter_map(|word| word.strip_prefix("bearer."));
        let token = match (tokens.next(), tokens.next(), parts.headers.contains_key(AUTHORIZATION)) {
            (None, None, _) => bearer(&parts.headers)?,
            (Some(token), None, false) => token,
            (..) => return Err(Reject::Unauthorized("one token is required, not several").into()),
        };
        let (caller, until) = authenticate(token, app).await?;
        app.prove(&caller).await?;
        if !offered.is_empty() && !offered.contains(&PROTOCOL_WORD) {
            return Err(Reject::UnsupportedProtocol.into());
        }
        Ok(Listening { caller, until })
    }
}

/// The caller of a request with a body. A device's token is checked before any of the body is read, or anybody could have
/// the server hold one; the store checks again, in the transaction.
pub(super) struct Proven(pub(super) Caller);

impl FromRequestParts<Shared> for Proven {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &Shared) -> Result<Proven, Refusal> {
        let Authenticated(caller) = Authenticated::from_request_parts(parts, app).await?;
        app.prove(&caller).await?;
        Ok(Proven(caller))
    }
}

/// The one bearer token of a request.
fn bearer(headers: &HeaderMap) -> Result<&str, Reject> {
    wire::bearer(headers.get_all(AUTHORIZATION).iter().map(|field| field.to_str().unwrap_or_default()))
}

/// The id in a path, percent-decoded. What can be no id names nothing.
pub(super) struct Id(pub(super) String);

impl FromRequestParts<Shared> for Id {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &Shared) -> Result<Id, Refusal> {
        match Path::<String>::from_request_parts(parts, app).await {
            Ok(Path(id)) if !id.chars().any(char::is_control) => Ok(Id(id)),
            Ok(_) | Err(_) => Err(Reject::NotFound("route").into()),
        }
    }
}
