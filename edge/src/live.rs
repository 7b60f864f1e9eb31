//! `GET /sync/live`: WebSockets that sleep with the object. What each needs to know is attached to it.

use crate::caller::Proof;
use nself_sync_engine::error::Reject;
use nself_sync_engine::event::{Ended, News};
use nself_sync_engine::ids::{Millis, User};
use nself_sync_engine::wire;
use serde_json::{Value, json};
use worker::{Headers, Response, Result, State, WebSocket, WebSocketPair};

/// The version as a WebSocket's subprotocol.
pub const PROTOCOL_WORD: &str = "nself-sync.v1";

/// Connections of one device and of one user.
const DEVICE_MAX: usize = 8;
const USER_MAX: usize = 64;

/// The largest message of a client: none is expected.
pub const MESSAGE_BYTES_MAX: usize = 4 << 10;

/// Close codes; ours are by the HTTP status that the same has.
pub const POLICY: u16 = 1008;
const TOKEN_ENDED: u16 = 4401;
const DEVICE_REMOVED: u16 = 4403;
const USER_MOVED: u16 = 4410;

/// The connections of one object.
pub struct Connections<'a>(pub &'a State);

/// What is attached to a connection.
pub struct Attached {
    socket: WebSocket,
    device_id: String,
    /// Who opened it.
    pub proof: Proof,
}

impl Connections<'_> {
    /// All of them.
    pub fn all(&self) -> Vec<Attached> {
        let of = |socket: WebSocket| {
            let text: String = socket.deserialize_attachment().ok().flatten()?;
            let attached: Value = serde_json::from_str(&text).ok()?;
            let device_id = attached.get(0)?.as_str()?.to_owned();
            Some(Attached { socket, device_id, proof: Proof::of(attached.get(1)?)? })
        };
        // Those that are closing are still among them.
        let is_open = |socket: &WebSocket| socket.as_ref().ready_state() == web_sys::WebSocket::OPEN;
        self.0.get_websockets().into_iter().filter(is_open).filter_map(of).collect()
    }

    /// Whether one more of this device may be.
    pub fn has_room(&self, device_id: &str) -> std::result::Result<(), Reject> {
        let open = self.all();
        let of_device = open.iter().filter(|attached| attached.device_id == device_id).count();
        match (of_device, open.len()) {
            (DEVICE_MAX.., _) => Err(Reject::TooManyConnections { max: DEVICE_MAX }),
            (_, USER_MAX..) => Err(Reject::TooManyConnections { max: USER_MAX }),
            (_, _) => Ok(()),
        }
    }

    /// Accepts a connection; the response hands its other end to the client.
    pub fn accept(&self, device_id: &str, proof: &Proof, is_offered: bool) -> Result<Response> {
        let pair = WebSocketPair::new()?;
        self.0.accept_web_socket(&pair.server);
        pair.server.serialize_attachment(json!([device_id, proof.to_json()]).to_string())?;
        let headers = Headers::new();
        if is_offered {
            headers.set("sec-websocket-protocol", PROTOCOL_WORD)?;
        }
        Ok(Response::from_websocket(pair.client)?.with_headers(headers))
    }

    /// Tells a durable commit's news; events not to the device that made them. Returns those whose token was replaced.
    pub fn tell(&self, user: &User, news: &News, now: Millis) -> Vec<Attached> {
        if *news == News::default() {
            return Vec::new();
        }
        let mut open = self.unexpired(now);
        for event in &news.events {
            let message = wire::event(event, user).to_string();
            for attached in open.iter().filter(|attached| attached.device_id != event.by) {
                attached.send(&message);
            }
        }
        match &news.ended {
            Some(Ended::Removed(id)) => {
                open.iter().filter(|one| one.device_id == *id).for_each(Attached::removed);
                Vec::new()
            }
            Some(Ended::Replaced(id)) => {
                open.retain(|one| one.device_id == *id);
                open
            }
            None => Vec::new(),
        }
    }

    /// Closes those whose token has ended, and says when the next one does.
    pub fn expire(&self, now: Millis) -> Option<Millis> {
        self.unexpired(now).iter().filter_map(|attached| attached.proof.until).min()
    }

    /// Those whose token has not ended; closes the others.
    fn unexpired(&self, now: Millis) -> Vec<Attached> {
        let lives = |attached: &Attached| attached.proof.until.is_none_or(|until| until > now);
        let (open, expired): (Vec<_>, Vec<_>) = self.all().into_iter().partition(lives);
        expired.iter().for_each(|attached| attached.close(TOKEN_ENDED, "the token has expired"));
        open
    }
}

impl Attached {
    /// The device that listens.
    pub fn device_id(&self) -> &str {
        &self.device_id
    }

    fn send(&self, message: &str) {
        // A connection that broke is told nothing: it pulls when it is back.
        let _ = self.socket.send_with_str(message);
    }

    fn removed(&self) {
        self.close(DEVICE_REMOVED, "the device was removed");
    }

    /// Ends it: its token is nobody's any more.
    pub fn ended(&self) {
        self.close(TOKEN_ENDED, "the token is not valid any more");
    }

    /// Ends it by what its token turned out to be.
    pub fn refused(&self, reject: &Reject) {
        match reject {
            Reject::DeviceRevoked => self.removed(),
            Reject::Moved => self.close(USER_MOVED, "the user was moved to another host"),
            _ => self.ended(),
        }
    }

    fn close(&self, code: u16, reason: &str) {
        let _ = self.socket.close(Some(code), Some(reason));
    }
}
