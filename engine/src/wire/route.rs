//! The routes of a host without a router of its own.

use super::{file, history, pull, push, resolve};
use crate::call::Call;
use crate::error::Reject;
use crate::policy::Policy;
use std::borrow::Cow;

/// What a method and a path ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// `POST /sync/push`
    Push,
    /// `GET /sync/pull`
    Pull,
    /// `GET /sync/devices`
    Devices,
    /// `DELETE /sync/devices/:id`
    RemoveDevice(String),
    /// `POST /sync/devices/:id/token`
    NewToken(String),
    /// `GET /sync/conflicts`
    Conflicts,
    /// `POST /sync/conflicts/:id/resolve`
    Resolve(String),
    /// `GET /sync/history`
    History,
    /// `GET /sync/files/:hash`
    File(String),
    /// `GET /sync/live`
    Live,
    /// `GET /sync/config`
    Config,
    /// `GET /health`
    Health,
}

impl Route {
    /// The route of a path, which may be percent-encoded, and a method.
    ///
    /// # Errors
    /// There is no such route, or it is for other methods.
    pub fn of(method: &str, path: &str) -> Result<Route, Reject> {
        let parts = path.strip_prefix('/').unwrap_or(path).split('/').map(decode);
        let parts = parts.collect::<Option<Vec<_>>>().ok_or(Reject::NotFound("route"))?;
        let parts: Vec<&str> = parts.iter().map(Cow::as_ref).collect();
        let route = match *parts.as_slice() {
            ["health"] => Route::Health,
            ["sync", "push"] => Route::Push,
            ["sync", "pull"] => Route::Pull,
            ["sync", "devices"] => Route::Devices,
            ["sync", "devices", id] if !id.is_empty() => Route::RemoveDevice(id.to_owned()),
            ["sync", "devices", id, "token"] if !id.is_empty() => Route::NewToken(id.to_owned()),
            ["sync", "conflicts"] => Route::Conflicts,
            ["sync", "conflicts", id, "resolve"] if !id.is_empty() => Route::Resolve(id.to_owned()),
            ["sync", "history"] => Route::History,
            ["sync", "files", hash] if !hash.is_empty() => Route::File(hash.to_owned()),
            ["sync", "live"] => Route::Live,
            ["sync", "config"] => Route::Config,
            _ => return Err(Reject::NotFound("route")),
        };
        let methods = route.methods();
        match methods.split(", ").any(|one| one == method) {
            true => Ok(route),
            false => Err(Reject::MethodNotAllowed(methods)),
        }
    }

    /// The methods that it is for, as `Allow` names them.
    fn methods(&self) -> &'static str {
        match self {
            Route::Push | Route::NewToken(_) | Route::Resolve(_) => "POST",
            Route::RemoveDevice(_) => "DELETE",
            Route::Live => "GET",
            Route::Pull | Route::Devices | Route::Conflicts | Route::History | Route::File(_) => "GET, HEAD",
            Route::Config | Route::Health => "GET, HEAD",
        }
    }

    /// Whether its request has a body that is read.
    pub fn has_body(&self) -> bool {
        matches!(self, Route::Push | Route::Resolve(_))
    }

    /// The call of a request; [`Route::Live`] and [`Route::Health`] are the host's and no route of this.
    ///
    /// # Errors
    /// What the request's fault is.
    pub fn call(
        &self,
        query: &str,
        if_none_match: Option<&str>,
        body: &[u8],
        policy: &Policy,
    ) -> Result<Call, Reject> {
        match self {
            Route::Push => push(body, policy),
            Route::Pull => pull(query, if_none_match),
            Route::Devices => Ok(Call::Devices),
            Route::RemoveDevice(id) => Ok(Call::RemoveDevice(id.clone())),
            Route::NewToken(id) => Ok(Call::NewToken(id.clone())),
            Route::Conflicts => Ok(Call::Conflicts),
            Route::Resolve(id) => resolve(id, body, policy),
            Route::History => history(query),
            Route::File(hash) => file(hash, if_none_match),
            Route::Config => Ok(Call::Config),
            Route::Live | Route::Health => Err(Reject::NotFound("route")),
        }
    }
}

/// A segment of a path. What can be no id names nothing.
fn decode(part: &str) -> Option<Cow<'_, str>> {
    let text = percent_encoding::percent_decode_str(part).decode_utf8().ok()?;
    (!text.chars().any(char::is_control)).then_some(text)
}

/// The one bearer token among the `Authorization` fields of a request. Two fields are none: which would count is anybody's
/// guess.
///
/// # Errors
/// There is none.
pub fn bearer<'a>(mut fields: impl Iterator<Item = &'a str>) -> Result<&'a str, Reject> {
    let (Some(field), None) = (fields.next(), fields.next()) else {
        return Err(Reject::Unauthorized("an Authorization header with a bearer token is required"));
    };
    match field.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") && !token.trim().is_empty() => {
            Ok(token.trim())
        }
        Some(_) | None => Err(Reject::Unauthorized("the Authorization header is not a bearer token")),
    }
}
