//! Live connections of a second device of each user.

use crate::bench::fleet::{user_id, user_number};
use crate::server::Server;
use anyhow::{Context, Result, anyhow};
use serde_json::Value;
use std::net::{Shutdown, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::Instant;
use tungstenite::client::IntoClientRequest;
use tungstenite::protocol::WebSocketConfig;
use tungstenite::{Message, WebSocket};

/// Not the device that pushes: that one gets no hints of its own pushes.
const DEVICE: &str = "tablet-bench";

/// A hint that came.
pub struct Hint {
    pub user: usize,
    pub seq: u64,
    pub at: Instant,
}

/// One connection of each user, with a thread that reads it.
pub struct Listeners {
    streams: Vec<TcpStream>,
    threads: Vec<JoinHandle<Result<Vec<Hint>>>>,
}

/// A live connection with this token.
pub fn connect(server: &Server, token: &str) -> Result<WebSocket<TcpStream>> {
    let addr = server.addr();
    let mut request = format!("ws://{addr}/sync/live?device_id={DEVICE}").into_client_request()?;
    request.headers_mut().insert("authorization", format!("Bearer {token}").parse()?);
    let stream = TcpStream::connect(addr)?;
    stream.set_nodelay(true)?;
    // By default a connection has 128 KiB to read into.
    let config = WebSocketConfig::default().read_buffer_size(4 << 10);
    let (socket, _) = tungstenite::client::client_with_config(request, stream, Some(config))
        .map_err(|error| anyhow!("a live connection: {error}"))?;
    Ok(socket)
}

impl Listeners {
    /// Connects so many users.
    pub fn open(server: &Server, users: usize) -> Result<Listeners> {
        let (mut streams, mut threads) = (Vec::new(), Vec::new());
        for user in 0..users {
            let socket = connect(server, &server.jwt(&user_id(user))?)?;
            streams.push(socket.get_ref().try_clone()?);
            threads.push(thread::spawn(move || listen(socket)));
        }
        Ok(Listeners { streams, threads })
    }

    /// All that came until now.
    pub fn close(self) -> Result<Vec<Hint>> {
        for stream in &self.streams {
            stream.shutdown(Shutdown::Both)?;
        }
        let hints = self.threads.into_iter().map(|thread| thread.join().map_err(|_| anyhow!("a panic"))?);
        Ok(hints.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
    }
}

/// Until the connection ends. What else than hints of a seq comes says to pull, and is no hint's time.
fn listen(mut socket: WebSocket<TcpStream>) -> Result<Vec<Hint>> {
    let mut hints = Vec::new();
    while let Ok(message) = socket.read() {
        let at = Instant::now();
        let Message::Text(text) = message else { continue };
        let message: Value = serde_json::from_str(&text)?;
        if let Some(seq) = message["seq"].as_u64() {
            let user = user_number(message["user_id"].as_str().context("a hint has a user")?)?;
            hints.push(Hint { user, seq, at });
        }
    }
    Ok(hints)
}
