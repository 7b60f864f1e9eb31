//! What can be asked of a host, and what it answers: the typed middle between the wire and the store.

use crate::conflict::Resolve;
use crate::ids::{Hash, User};
use crate::lookup::{FileQuery, HistoryQuery};
use crate::pull::PullQuery;
use crate::push::Push;
use serde_json::Value;

/// Who calls, as the token proves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// A user by the JWT, whose signature and times the host has checked. May do everything for that user.
    User(User),
    /// A device by its sync token. The secret is checked against the device's row, together with the rest
    /// of the call, so that a removed device's token is dead at once.
    Device {
        /// Whose device.
        user: User,
        /// Which.
        device_id: String,
        /// SHA-256 of the token's secret.
        secret: Hash,
    },
}

impl Caller {
    /// Whose state is meant.
    pub fn user(&self) -> &User {
        match self {
            Caller::User(user) | Caller::Device { user, .. } => user,
        }
    }

    /// The device that the token names.
    pub fn device_id(&self) -> Option<&str> {
        match self {
            Caller::User(_) => None,
            Caller::Device { device_id, .. } => Some(device_id),
        }
    }
}

/// One request, read and checked as far as it can be without state.
#[derive(Debug, Clone)]
pub enum Call {
    /// `POST /sync/push`
    Push(Box<Push>),
    /// `GET /sync/pull`
    Pull(PullQuery),
    /// `GET /sync/devices`
    Devices,
    /// `DELETE /sync/devices/:id`
    RemoveDevice(String),
    /// `POST /sync/devices/:id/token`
    NewToken(String),
    /// `GET /sync/conflicts`
    Conflicts,
    /// `POST /sync/conflicts/:id/resolve`
    Resolve(Box<Resolve>),
    /// `GET /sync/config`
    Config,
    /// `GET /sync/live`: whether this device may listen.
    Live(String),
    /// `GET /sync/history`
    History(HistoryQuery),
    /// `GET /sync/files/:hash`
    File(FileQuery),
}

impl Call {
    /// What it is called in metrics and traces.
    pub fn name(&self) -> &'static str {
        match self {
            Call::Push(_) => "push",
            Call::Pull(_) => "pull",
            Call::Devices => "devices",
            Call::RemoveDevice(_) => "remove_device",
            Call::NewToken(_) => "new_token",
            Call::Conflicts => "conflicts",
            Call::Resolve(_) => "resolve",
            Call::Config => "config",
            Call::Live(_) => "live",
            Call::History(_) => "history",
            Call::File(_) => "file",
        }
    }

    /// Whether the call may write, so that it needs the user's head locked.
    pub fn writes(&self) -> bool {
        match self {
            Call::Push(_) | Call::RemoveDevice(_) | Call::NewToken(_) | Call::Resolve(_) => true,
            Call::Pull(_) | Call::Devices | Call::Conflicts => false,
            Call::Config | Call::Live(_) | Call::History(_) | Call::File(_) => false,
        }
    }
}

/// A reply: what the host sends, but for what it adds to every reply (request id, compression, CORS).
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// Further headers, names in lower case.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Body,
}

/// A reply's body.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// Nothing (204, 304).
    Empty,
    /// `application/json`
    Json(Value),
    /// `application/octet-stream`
    Bytes(Vec<u8>),
}

impl Reply {
    /// 200 with a JSON body.
    pub fn json(body: Value) -> Reply {
        Reply { status: 200, headers: Vec::new(), body: Body::Json(body) }
    }

    /// 304 where a header `If-None-Match` names this tag, compared weakly.
    pub(crate) fn not_modified(if_none_match: Option<&str>, etag: String) -> Option<Reply> {
        let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
        let is_named = |tag: &str| tag.trim() == "*" || opaque(tag) == opaque(&etag);
        if_none_match?.split(',').any(is_named).then(|| Reply {
            status: 304,
            headers: vec![("etag", etag)],
            body: Body::Empty,
        })
    }
}
