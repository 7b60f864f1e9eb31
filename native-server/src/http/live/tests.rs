use crate::http::serve;
use crate::http::tests::{Server, server};
use nself_sync_engine::event::{Event, News, What};
use nself_sync_engine::ids::User;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::{Instant, sleep, timeout};

/// A connection of Ann's device `d`, after its handshake, with little room for what it does not read.
async fn connect(server: &Server) -> TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(serve(listener, server.router.clone(), std::future::pending()));
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut client = socket.connect(addr).await.unwrap();
    let request = format!(
        "GET /sync/live?device_id=d HTTP/1.1\r\nHost: x\r\nAuthorization: {}\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
        server.bearer()
    );
    client.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
    client
}

/// A frame of the server: its opcode and what it carries.
async fn frame(client: &mut TcpStream) -> (u8, Vec<u8>) {
    let opcode = client.read_u8().await.unwrap() & 0x0f;
    let length = match client.read_u8().await.unwrap() {
        126 => usize::from(client.read_u16().await.unwrap()),
        length => usize::from(length),
    };
    let mut carried = vec![0; length];
    client.read_exact(&mut carried).await.unwrap();
    (opcode, carried)
}

/// The code of a close frame.
fn code(carried: &[u8]) -> u16 {
    carried.first_chunk().map_or(1005, |code| u16::from_be_bytes(*code))
}

#[tokio::test]
async fn a_client_that_does_not_answer_is_closed_and_one_that_does_is_not() {
    let server = server(&[]).await;
    let mut client = connect(&server).await;
    // Nothing is to be read while the clock runs ahead of the store.
    sleep(Duration::from_millis(50)).await;
    tokio::time::pause();
    let begun = Instant::now();
    for _ in 0..4 {
        assert_eq!(frame(&mut client).await, (9, Vec::new()));
        client.write_all(&[0x8a, 0x80, 0, 0, 0, 0]).await.unwrap();
    }
    assert_eq!(frame(&mut client).await, (9, Vec::new()));
    let (opcode, carried) = frame(&mut client).await;
    assert_eq!((opcode, code(&carried)), (8, 4408));
    assert!((175..190).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    // It does not answer to that either: the connection ends all the same.
    let mut rest = Vec::new();
    timeout(Duration::from_secs(10), client.read_to_end(&mut rest)).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_slow_reader_is_told_to_pull_and_then_what_comes() {
    let server = server(&[]).await;
    let mut client = connect(&server).await;
    let user = User { account: "primary".into(), id: "ann".into() };
    let told = |seq: u64| {
        let what = What::StateUpdated { seq, keys: vec!["k".repeat(4000)] };
        let events = vec![Event { id: seq.to_string(), by: "desktop".into(), what }];
        server.hub.tell(&user, &News { events, ended: None });
    };
    for seq in 1..=5_000 {
        told(seq);
        if seq % 10 == 0 {
            tokio::task::yield_now().await;
        }
    }
    let mut messages = 0;
    loop {
        let (opcode, carried) = timeout(Duration::from_secs(5), frame(&mut client)).await.expect("a message");
        assert_eq!(opcode, 1);
        messages += 1;
        if carried == br#"{"event":"sync.pull"}"# {
            break;
        }
    }
    assert!(messages < 5_000, "{messages}");
    told(5_001);
    let (_, carried) = frame(&mut client).await;
    assert!(String::from_utf8(carried).unwrap().contains(r#""seq":5001"#));
}
