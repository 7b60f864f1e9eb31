//! PROTOCOL sections 8 and 9: how often who may call, how large a head may be, how long a store may take.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nself_sync_tests::hosts::{Request, Response};
use nself_sync_tests::world::{World, assert_problem};
use serde_json::json;

use crate::case::Config;
use crate::durability::native;

crate::cases![
    user_beyond_the_rate_is_told_when_to_come_again.http().config(SLOW),
    tokens_of_one_user_count_together_and_forged_ones_do_not.http().config(SLOW),
    address_that_fails_to_authenticate_has_to_wait.native().config(FEW_FAILURES),
    forwarded_address_counts_from_a_trusted_proxy_only.native().config(STRICT),
    head_is_bounded.native(),
    store_that_hangs_is_not_waited_for.native().only("postgres"),
];

/// A request every two seconds, after 30 at once.
const SLOW: Config = &[("PLUGIN_SYNC_RATE_PER_MIN", "30")];
const FEW_FAILURES: Config =
    &[("PLUGIN_SYNC_AUTH_FAILURES_PER_MIN", "5"), ("PLUGIN_SYNC_TRUSTED_PROXIES", "127.0.0.0/8")];
const STRICT: Config = &[("PLUGIN_SYNC_AUTH_FAILURES_PER_MIN", "1")];

fn retry_after(response: &Response) -> u64 {
    assert_problem(response, 429, "rate_limited");
    assert_eq!(response.json()["retryable"], true);
    let seconds = response.header("Retry-After").and_then(|value| value.parse().ok());
    seconds.unwrap_or_else(|| panic!("429 says when to come again: {:?}", response.headers))
}

fn user_beyond_the_rate_is_told_when_to_come_again(world: &World) {
    for n in 0..30 {
        assert_eq!(world.get("/sync/config").status, 200, "{n}");
    }
    let refused = world.push_raw(&json!({"device_id": "desktop-a", "seq": 0, "state": {"n": 1}}));
    let seconds = retry_after(&refused);
    assert!((1..=2).contains(&seconds), "{seconds}");
    assert_eq!(world.another_user().get("/sync/config").status, 200, "others are not concerned");
    assert_eq!(world.send(Request::new("GET", "/health")).status, 200);
    thread::sleep(Duration::from_secs(seconds));
    assert_eq!(world.head(), 0, "it may call again, and nothing was applied");
}

fn tokens_of_one_user_count_together_and_forged_ones_do_not(world: &World) {
    let mut device = world.device("desktop-a");
    device.push(json!({"n": 1}));
    let token = device.token.clone().expect("a sync token");
    let (route, secret) = token.split_once('.').expect("a route and a secret");
    let forged = format!("{route}.{}{}", if secret.starts_with('A') { "B" } else { "A" }, &secret[1..]);
    let ask = |token: &str| world.send(Request::new("GET", "/sync/pull").bearer(token));
    for _ in 0..40 {
        assert_eq!(ask(&forged).status, 401, "who is not the user does not use up what it may");
    }
    for n in 0..29 {
        let token = if n % 2 == 0 { token.clone() } else { world.jwt() };
        assert_eq!(ask(&token).status, 200, "{n}");
    }
    retry_after(&ask(&token));
    retry_after(&ask(&world.jwt()));
}

fn from(world: &World, address: Option<&str>, token: &str) -> Response {
    let request = Request::new("GET", "/sync/config").bearer(token);
    world.send(match address {
        Some(address) => request.header("X-Forwarded-For", address),
        None => request,
    })
}

fn address_that_fails_to_authenticate_has_to_wait(world: &World) {
    let bad = Some("203.0.113.7");
    for _ in 0..5 {
        assert_eq!(from(world, bad, "no-token").status, 401);
    }
    let seconds = retry_after(&from(world, bad, "no-token"));
    assert!((1..=60).contains(&seconds), "{seconds}");
    retry_after(&from(world, bad, &world.jwt()));
    assert_eq!(from(world, Some("203.0.113.8"), &world.jwt()).status, 200, "another address");
    for _ in 0..10 {
        assert_eq!(from(world, None, "no-token").status, 401, "the proxy itself is no client");
    }
    assert_eq!(from(world, Some("203.0.113.8"), "no-token").status, 401);
}

fn forwarded_address_counts_from_a_trusted_proxy_only(world: &World) {
    for _ in 0..5 {
        assert_eq!(from(world, Some("203.0.113.7"), "no-token").status, 401);
    }
    assert_eq!(from(world, Some("203.0.113.7"), &world.jwt()).status, 200);
}

/// The status of a request with this head.
fn status_of(world: &World, head: &str) -> u16 {
    let mut stream = TcpStream::connect(native(world).address()).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    // It may be refused before it is sent to its end.
    let _ = stream.write_all(format!("GET /health HTTP/1.1\r\nHost: x\r\n{head}\r\n").as_bytes());
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).expect("an answer");
    String::from_utf8_lossy(&answer[9..]).parse().expect("a status")
}

fn head_is_bounded(world: &World) {
    let field = |bytes: usize| format!("X-Long: {}\r\n", "x".repeat(bytes));
    let fields = |count: usize| (0..count).map(|n| format!("X-{n}: 1\r\n")).collect::<String>();
    assert_eq!((status_of(world, &field(30_000)), status_of(world, &fields(90))), (200, 200));
    assert_eq!((status_of(world, &field(200_000)), status_of(world, &fields(200))), (431, 431));
}

/// Passes bytes on until it is told to hold them back, as a network does that has lost its way.
struct Wire {
    addr: String,
    is_cut: Arc<AtomicBool>,
}

impl Wire {
    fn to(target: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let addr = listener.local_addr().expect("its address").to_string();
        let is_cut = Arc::new(AtomicBool::new(false));
        let cut = Arc::clone(&is_cut);
        thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let Ok(far) = TcpStream::connect(&target) else { continue };
                for (from, to) in [(&near, &far), (&far, &near)] {
                    let (from, to) = (from.try_clone().expect("a socket"), to.try_clone().expect("a socket"));
                    let cut = Arc::clone(&cut);
                    thread::spawn(move || pass(from, to, &cut));
                }
            }
        });
        Self { addr, is_cut }
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, is_cut: &AtomicBool) {
    let mut buffer = [0; 16 << 10];
    while let Ok(count) = from.read(&mut buffer) {
        while is_cut.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(20));
        }
        if count == 0 || to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Both);
}

fn store_that_hangs_is_not_waited_for(world: &World) {
    let url = native(world).database_url().expect("PostgreSQL").to_owned();
    let (user, rest) = url.rsplit_once('@').expect("a URL with a user");
    let (addr, database) = rest.split_once('/').expect("a URL with a database");
    let wire = Wire::to(addr.to_owned());
    let through = format!("{user}@{}/{database}", wire.addr);
    native(world).restart_with(&[("DATABASE_URL", &through)]).expect("it starts through the wire");
    let mut device = world.device("desktop-a");
    device.push(json!({"n": 1}));
    wire.is_cut.store(true, Ordering::Relaxed);
    let started = Instant::now();
    let body = device.body(json!({"n": 2}));
    let (push, pull) = thread::scope(|scope| {
        let push = scope.spawn(|| device.send(&body));
        let pull = scope.spawn(|| world.get("/sync/pull"));
        (push.join().expect("an answer"), pull.join().expect("an answer"))
    });
    for response in [push, pull] {
        assert_problem(&response, 503, "store_unavailable");
    }
    let took = started.elapsed();
    assert!((Duration::from_secs(5)..Duration::from_secs(33)).contains(&took), "{took:?}");
    wire.is_cut.store(false, Ordering::Relaxed);
    let deadline = Instant::now() + Duration::from_secs(60);
    while device.send(&body).status != 200 {
        assert!(Instant::now() < deadline, "it works again");
        thread::sleep(Duration::from_millis(500));
    }
    assert_eq!((world.scalar("n"), world.head()), (json!(2), 2), "the push was done once");
}
