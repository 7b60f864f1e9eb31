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

/// The caller, proven: by the signature of a user's token, by the row of a sync token's device. Before any of the body is
/// read, or anybody could have the server hold one; the store checks again, in the transaction. The protocol's version is
/// looked at first, since it says what everything else means.
pub(super) struct Authenticated(pub(super) Caller);

impl FromRequestParts<Shared> for Authenticated {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &Shared) -> Result<Authenticated, Refusal> {
        wire::protocol_version(parts.headers.get(PROTOCOL).map(|value| value.to_str().unwrap_or_default()))?;
        let token = bearer(&parts.headers);
        Ok(Authenticated(authenticate(token, parts, app).await?.0))
    }
}

/// The caller by this token, and when it ends, where it says so. Within the limits: of an address while nobody is proven,
/// then of the user.
async fn authenticate(
    token: Result<&str, Reject>,
    parts: &Parts,
    app: &Shared,
) -> Result<(Caller, Option<Instant>), Refusal> {
    let address = app.limits.address(&parts.headers, parts.extensions.get());
    app.limits.check_address(address)?;
    let proven = async { prove(token?, app).await }.await;
    if matches!(proven, Err(Refusal::Reject(Reject::Unauthorized(_)))) {
        app.limits.failed(address);
    }
    let (caller, until) = proven?;
    app.limits.check_user(caller.user())?;
    Ok((caller, until))
}

async fn prove(token: &str, app: &Shared) -> Result<(Caller, Option<Instant>), Refusal> {
    if token::is_sync_token(token) {
        let caller = token::parse(token).ok_or(Reject::Unauthorized("the sync token is malformed"))?;
        app.prove(&caller).await?;
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
            (None, None, _) => bearer(&parts.headers),
            (Some(token), None, false) => Ok(token),
            (..) => Err(Reject::Unauthorized("one token is required, not several")),
        };
        let (caller, until) = authenticate(token, parts, app).await?;
        if !offered.is_empty() && !offered.contains(&PROTOCOL_WORD) {
            return Err(Reject::UnsupportedProtocol.into());
        }
        Ok(Listening { caller, until })
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
