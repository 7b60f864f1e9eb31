//! A live connection, as a client has it.

use std::io::{ErrorKind, Read};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use nself_sync_tests::hosts::Response;
use nself_sync_tests::world::{Device, World, encode};
use serde_json::Value;
use tungstenite::client::IntoClientRequest;
use tungstenite::handshake::client::Request;
use tungstenite::{Error, HandshakeError, Message, WebSocket};

/// How long a message may take, and how long none must come.
pub const SOON: Duration = Duration::from_secs(5);
const QUIET: Duration = Duration::from_millis(300);

/// An open live connection.
pub struct Live {
    pub socket: WebSocket<TcpStream>,
}

/// What came.
#[derive(Debug)]
pub enum Came {
    Message(Value),
    Closed(u16),
    Nothing,
}

fn addr(world: &World) -> SocketAddr {
    world.host.addr().expect("a host with HTTP")
}

/// The request for a connection.
pub fn request(world: &World, query: &str, token: Option<&str>, protocols: &[&str]) -> Request {
    let url = format!("ws://{}/sync/live{query}", addr(world));
    let mut request = url.into_client_request().expect("a request");
    let mut set = |name: &'static str, value: String| {
        request.headers_mut().insert(name, value.parse().expect("a header"));
    };
    if let Some(token) = token {
        set("authorization", format!("Bearer {token}"));
    }
    if !protocols.is_empty() {
        set("sec-websocket-protocol", protocols.join(", "));
    }
    request
}

/// The connection and the subprotocol that was chosen, or the answer in its place.
pub fn open(world: &World, request: Request) -> Result<(Live, Option<String>), Response> {
    let stream = TcpStream::connect(addr(world)).expect("it listens");
    stream.set_read_timeout(Some(SOON)).expect("a timeout");
    let mut rest = stream.try_clone().expect("a second handle");
    match tungstenite::client(request, stream) {
        Ok((socket, response)) => {
            let chosen = response.headers().get("sec-websocket-protocol");
            Ok((Live { socket }, chosen.map(|word| word.to_str().expect("text").to_owned())))
        }
        Err(HandshakeError::Failure(Error::Http(response))) => {
            let headers = response.headers().iter();
            let headers =
                headers.map(|(name, value)| (name.to_string(), value.to_str().expect("text").to_owned()));
            let (status, mut body) =
                (response.status().as_u16(), response.body().clone().unwrap_or_default());
            let refusal = Response { status, headers: headers.collect(), body: Vec::new() };
            // What did not come together with the head.
            let length: usize =
                refusal.header("content-length").expect("a length").parse().expect("a number");
            let mut lacking = vec![0; length - body.len()];
            rest.read_exact(&mut lacking).expect("the whole body");
            body.extend(lacking);
            Err(Response { body, ..refusal })
        }
        Err(error) => panic!("no answer to the handshake: {error}"),
    }
}

/// A connection with this token.
pub fn try_with(world: &World, device_id: &str, token: &str) -> Result<Live, Response> {
    let request = request(world, &format!("?device_id={}", encode(device_id)), Some(token), &[]);
    open(world, request).map(|(live, _)| live)
}

/// The answer in place of a connection.
pub fn refused(world: &World, request: Request) -> Response {
    match open(world, request) {
        Ok(_) => panic!("let in"),
        Err(answer) => answer,
    }
}

impl Came {
    pub fn message(self) -> Value {
        match self {
            Came::Message(message) => message,
            Came::Closed(_) | Came::Nothing => panic!("no message: {self:?}"),
        }
    }
}

impl Live {
    /// Of a registered device, by its own token.
    pub fn of(device: &Device) -> Live {
        Live::with(&device.world, &device.id, &device.auth())
    }

    pub fn with(world: &World, device_id: &str, token: &str) -> Live {
        try_with(world, device_id, token).unwrap_or_else(|answer| panic!("not let in: {}", answer.show()))
    }

    pub fn next(&mut self, max: Duration) -> Came {
        let deadline = Instant::now() + max;
        loop {
            let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            self.socket.get_ref().set_read_timeout(Some(left)).expect("a timeout");
            match self.socket.read() {
                Ok(Message::Text(text)) => return Came::Message(serde_json::from_str(&text).expect("JSON")),
                Ok(Message::Close(frame)) => {
                    return Came::Closed(frame.map_or(1005, |frame| frame.code.into()));
                }
                Ok(_) => {}
                Err(Error::Io(error))
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    return Came::Nothing;
                }
                Err(error) => panic!("the connection broke: {error}"),
            }
        }
    }

    /// The next message.
    pub fn message(&mut self) -> Value {
        self.next(SOON).message()
    }

    /// The next message is of this event, which is its own.
    pub fn event(&mut self, event: &str) -> Value {
        let message = self.message();
        assert_eq!(message["event"], event, "{message}");
        message
    }

    /// No message comes.
    pub fn stays_quiet(&mut self) {
        let came = self.next(QUIET);
        assert!(matches!(came, Came::Nothing), "{came:?}");
    }

    /// It is closed, with this code.
    pub fn is_closed(&mut self, code: u16) {
        match self.next(SOON) {
            Came::Closed(closed) => assert_eq!(closed, code),
            other => panic!("not closed: {other:?}"),
        }
    }
}
