//! Live connections on which nothing happens but pings.

use super::listen::connect;
use super::start;
use crate::bench::Figure;
use crate::bench::connection::{cpu_time, resident_bytes};
use crate::bench::fleet::{in_parallel, user_id};
use crate::server::Server;
use anyhow::{Result, bail, ensure};
use rustix::process::{Resource, getrlimit, setrlimit};
use std::io::ErrorKind;
use std::net::TcpStream;
use std::ops::Range;
use std::thread;
use std::time::{Duration, Instant};
use tungstenite::{Error, Message, WebSocket};

const CONNECTIONS: usize = 5000;
const AT_ONCE: usize = 16;

/// Files that a process has open besides.
const OTHER_FILES: u64 = 500;

/// More than the 30 s after which the server sends a ping.
const IDLE: Duration = Duration::from_secs(32);
const SWEEP: Duration = Duration::from_secs(1);

/// 5,000 users, a connection each.
pub fn run() -> Result<Vec<Figure>> {
    raise_open_files()?;
    let server = start(None, &[])?;
    // The first ones make what the server has only one of.
    let _first = connect_all(&server, 0..100)?;
    let before = resident_bytes(server.pid())?;
    let began = Instant::now();
    let mut sockets = connect_all(&server, 100..100 + CONNECTIONS)?;
    let connected = began.elapsed();
    let (cpu, began) = (cpu_time(server.pid())?, Instant::now());
    let mut pings = 0;
    while began.elapsed() < IDLE {
        for socket in &mut sockets {
            pings += answer_pings(socket)?;
        }
        thread::sleep(SWEEP);
    }
    let cpu = (cpu_time(server.pid())? - cpu).as_secs_f64() / began.elapsed().as_secs_f64();
    let bytes = resident_bytes(server.pid())? - before;
    ensure!(pings >= CONNECTIONS, "{pings} pings in {IDLE:?} on {CONNECTIONS} connections");
    drop(sockets);
    server.stop()?;
    Ok(vec![
        Figure::new("5,000 idle connections: until all are open", connected.as_secs_f64(), "s"),
        Figure::new("resident, for each", bytes as f64 / CONNECTIONS as f64 / 1024.0, "KiB"),
        Figure::new("CPU, of one core", cpu * 100.0, "%"),
    ])
}

fn connect_all(server: &Server, users: Range<usize>) -> Result<Vec<WebSocket<TcpStream>>> {
    let sockets = in_parallel(0..AT_ONCE, |nth, _| {
        let users = users.clone().skip(nth).step_by(AT_ONCE);
        let sockets = users.map(|user| {
            let socket = connect(server, &server.jwt(&user_id(user))?)?;
            socket.get_ref().set_nonblocking(true)?;
            Ok(socket)
        });
        sockets.collect::<Result<Vec<_>>>()
    })?;
    Ok(sockets.into_iter().flatten().collect())
}

/// Reads what is there, which is answered as it is read. How many pings there were.
fn answer_pings(socket: &mut WebSocket<TcpStream>) -> Result<usize> {
    let mut pings = 0;
    loop {
        match socket.read() {
            Ok(Message::Ping(_)) => pings += 1,
            Ok(message) => bail!("a connection on which nothing happens got {message:?}"),
            Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => return Ok(pings),
            Err(error) => return Err(error.into()),
        }
    }
}

/// This process and the server, which inherits it, have a file for each connection.
fn raise_open_files() -> Result<()> {
    let needed = CONNECTIONS as u64 + OTHER_FILES;
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < needed) {
        limit.current = limit.maximum;
        setrlimit(Resource::Nofile, limit)?;
    }
    ensure!(
        limit.current.is_none_or(|current| current >= needed),
        "the limit of open files (ulimit -Hn) is {:?}, at least {needed} are needed",
        limit.maximum
    );
    Ok(())
}
