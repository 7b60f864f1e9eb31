//! `GET /sync/live`: a WebSocket that says when something changed. Its client says nothing.

#[cfg(test)]
mod tests;

use super::auth::{Listening, PROTOCOL_WORD};
use super::error::Refusal;
use super::{App, Shared};
use crate::live::{End, Next, Seat};
use crate::store::Failure;
use axum::body::Bytes;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{RawQuery, State};
use axum::response::Response;
use nself_sync_engine::call::{Call, Caller};
use nself_sync_engine::error::Reject;
use nself_sync_engine::wire;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, interval_at, sleep_until, timeout};

/// How often a client is asked whether it is there. One that has not answered by the next time is not.
const PING_EVERY: Duration = Duration::from_secs(30);

/// How long a message may wait for a client to read, and a client's answer to the end.
const SEND_MAX: Duration = Duration::from_secs(30);
const CLOSE_MAX: Duration = Duration::from_secs(2);

/// The largest message of a client: none is expected.
const MESSAGE_BYTES_MAX: usize = 4 << 10;

/// What a connection reads and writes at once, and so what an idle one costs.
const BUFFER_BYTES: usize = 4 << 10;

/// Codes of our own, by the HTTP status that the same has.
const TOKEN_ENDED: u16 = 4401;
const DEVICE_REMOVED: u16 = 4403;
const USER_MOVED: u16 = 4410;
const NO_ANSWER: u16 = 4408;
const NOT_VALID: (u16, &str) = (TOKEN_ENDED, "the token is not valid any more");

pub(super) async fn live(
    State(app): State<Shared>,
    Listening { caller, until }: Listening,
    RawQuery(query): RawQuery,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Refusal> {
    let device_id = wire::live(query.as_deref().unwrap_or_default(), &caller, &app.policy)?;
    let upgrade = upgrade.map_err(|_| Reject::UpgradeRequired)?;
    // Before it is looked at: what ends the device from here on ends the connection.
    let joined = app.store.hub().join(caller.user(), &device_id);
    let seat = joined.map_err(|max| Reject::TooManyConnections { max })?;
    let connection = Connection { app, caller, device_id, seat, until };
    connection.prove().await?;
    Ok(upgrade
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(0)
        .max_message_size(MESSAGE_BYTES_MAX)
        .max_frame_size(MESSAGE_BYTES_MAX)
        .protocols([PROTOCOL_WORD])
        .on_upgrade(|socket| connection.serve(socket)))
}

struct Connection {
    app: Arc<App>,
    caller: Caller,
    device_id: String,
    seat: Seat,
    /// When its token ends.
    until: Option<Instant>,
}

impl Connection {
    async fn prove(&self) -> Result<(), Failure> {
        let call = Call::Live(self.device_id.clone());
        self.app.call(self.caller.clone(), call).await.map(drop)
    }

    async fn serve(self, mut socket: WebSocket) {
        let Some((code, reason)) = self.run(&mut socket).await else { return };
        let close = CloseFrame { code, reason: reason.into() };
        let closing = async {
            socket.send(Message::Close(Some(close))).await.ok()?;
            // Until the client has said so, too: else it might never read why.
            while socket.recv().await?.is_ok() {}
            Some(())
        };
        // A client that does not answer is left without one.
        let _ = timeout(CLOSE_MAX, closing).await;
    }

    /// Until the connection is to be closed, and why; `None`: the client has closed it.
    async fn run(&self, socket: &mut WebSocket) -> Option<(u16, &'static str)> {
        let mut ping = interval_at(Instant::now() + PING_EVERY, PING_EVERY);
        let mut is_there = true;
        loop {
            let message = tokio::select! {
                received = socket.recv() => match received? {
                    Ok(Message::Close(_)) => return None,
                    // A connection that broke takes no answer.
                    Err(_) => return Some((close_code::POLICY, "too large, or no frame")),
                    Ok(Message::Ping(_) | Message::Pong(_) | Message::Text(_) | Message::Binary(_)) => {
                        is_there = true;
                        continue;
                    }
                },
                next = self.seat.next() => match next {
                    Next::Message(text) => Message::Text(text),
                    Next::Prove => match self.prove().await {
                        Ok(()) => continue,
                        Err(failure) => return Some(closed_by(&failure)),
                    },
                    Next::End(end) => return Some(ended(end)),
                },
                _ = ping.tick() => {
                    if !std::mem::take(&mut is_there) {
                        return Some((NO_ANSWER, "no pong came"));
                    }
                    Message::Ping(Bytes::new())
                }
                () = expiry(self.until) => return Some((TOKEN_ENDED, "the token has expired")),
            };
            tokio::select! {
                sent = timeout(SEND_MAX, socket.send(message)) => match sent {
                    Ok(sent) => sent.ok()?,
                    Err(_) => return Some((NO_ANSWER, "nothing is read")),
                },
                end = self.seat.ended() => return Some(ended(end)),
            }
        }
    }
}

async fn expiry(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => std::future::pending().await,
    }
}

fn ended(end: End) -> (u16, &'static str) {
    match end {
        End::Removed => (DEVICE_REMOVED, "the device was removed"),
        End::Moved => (USER_MOVED, "the user was moved to another host"),
        End::Erased => NOT_VALID,
        End::Stopping => (close_code::AWAY, "the server stops"),
    }
}

/// A token that could not be looked at is looked at again when the client comes back.
fn closed_by(failure: &Failure) -> (u16, &'static str) {
    match failure {
        Failure::Reject(Reject::DeviceRevoked) => ended(End::Removed),
        Failure::Reject(Reject::Moved) => ended(End::Moved),
        Failure::Reject(_) => NOT_VALID,
        Failure::Busy | Failure::Store(_) | Failure::Broken(_) => (close_code::AGAIN, "try again later"),
    }
}
