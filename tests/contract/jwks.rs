//! PROTOCOL section 3: users' tokens by keys at a URL.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nself_sync_tests::world::{World, assert_problem, jwt};
use serde_json::json;

use crate::auth::pull_as;

crate::cases![
    keys_are_fetched_once_for_all_who_come_at_once.http(),
    made_up_key_ids_cause_no_fetches.http(),
    who_goes_away_while_keys_are_fetched_locks_nobody_out.http(),
    redirect_is_not_followed.http(),
    keys_that_cannot_be_had_are_503.http(),
];

const RS256: &str = include_str!("keys/rs256.jwt");
const ES256: &str = include_str!("keys/es256.jwt");
const KEYS: &str = include_str!("keys/jwks.json");

/// How long the keys take to come.
const SLOW: Duration = Duration::from_millis(300);

/// Where keys are; it listens until the run ends.
struct KeySet {
    addr: SocketAddr,
    asked: Arc<AtomicUsize>,
}

impl KeySet {
    /// Answers every request with this head (but for its length) and body.
    fn start(head: String, body: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let set = Self { addr: listener.local_addr().expect("it listens"), asked: Arc::default() };
        let asked = Arc::clone(&set.asked);
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let request = BufReader::new(&stream).lines().map_while(Result::ok);
                request.take_while(|line| !line.is_empty()).for_each(drop);
                asked.fetch_add(1, Ordering::Relaxed);
                thread::sleep(SLOW);
                let length = body.len();
                let answer = format!("{head}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
                drop(stream.write_all(answer.as_bytes()));
            }
        });
        set
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    fn url(&self) -> String {
        format!("http://{}/jwks.json", self.addr)
    }
}

/// The same host, but that users' tokens are verified by the keys at `url`.
fn at(world: &World, url: &str) -> World {
    let secret = json!({ "jwk_url": url }).to_string();
    world.on(world.launch.start(&[("HASURA_GRAPHQL_JWT_SECRET", &secret)]).expect("it starts"))
}

fn ok() -> String {
    "HTTP/1.1 200 OK\r\nContent-Type: application/json".to_owned()
}

fn keys_are_fetched_once_for_all_who_come_at_once(world: &World) {
    let keys = KeySet::start(ok(), KEYS);
    let world = at(world, &keys.url());
    let statuses: Vec<u16> = thread::scope(|scope| {
        let ask = |index: usize| {
            let (world, token) = (&world, if index.is_multiple_of(2) { RS256 } else { ES256 });
            scope.spawn(move || pull_as(world, token.trim()).status)
        };
        let threads: Vec<_> = (0..8).map(ask).collect();
        threads.into_iter().map(|thread| thread.join().expect("an answer")).collect()
    });
    assert_eq!(statuses, [200; 8]);
    assert_eq!(keys.asked(), 1);
    let forged = pull_as(&world, &jwt::tampered(RS256.trim(), &world.claims()));
    assert_problem(&forged, 401, "unauthorized");
}

fn made_up_key_ids_cause_no_fetches(world: &World) {
    let keys = KeySet::start(ok(), KEYS);
    let world = at(world, &keys.url());
    for n in 0..5 {
        let header = json!({ "alg": "RS256", "typ": "JWT", "kid": format!("made-up-{n}") }).to_string();
        let (_, rest) = RS256.trim().split_once('.').expect("three parts");
        let forged = format!("{}.{rest}", URL_SAFE_NO_PAD.encode(header));
        assert_problem(&pull_as(&world, &forged), 401, "unauthorized");
    }
    assert_eq!(pull_as(&world, RS256.trim()).status, 200);
    assert_eq!(keys.asked(), 1);
}

fn who_goes_away_while_keys_are_fetched_locks_nobody_out(world: &World) {
    let keys = KeySet::start(ok(), KEYS);
    let world = at(world, &keys.url());
    let mut stream = TcpStream::connect(world.host.addr().expect("it listens")).expect("it listens");
    let token = RS256.trim();
    // The first answer is not read, so that the connection is reset: that its client only closes it no host sees at once.
    let openapi = "GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n";
    let pull = format!("GET /sync/pull HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n");
    stream.write_all((openapi.to_owned() + &pull).as_bytes()).expect("it listens");
    while keys.asked() == 0 {
        thread::sleep(Duration::from_millis(5));
    }
    drop(stream);
    thread::sleep(SLOW / 3);
    assert_eq!(pull_as(&world, token).status, 200);
}

fn redirect_is_not_followed(world: &World) {
    let elsewhere = KeySet::start(ok(), KEYS);
    let keys = KeySet::start(format!("HTTP/1.1 302 Found\r\nLocation: {}", elsewhere.url()), "");
    let world = at(world, &keys.url());
    assert_problem(&pull_as(&world, RS256.trim()), 503, "store_unavailable");
    assert_eq!((keys.asked(), elsewhere.asked()), (1, 0));
}

fn keys_that_cannot_be_had_are_503(world: &World) {
    let keys = KeySet::start("HTTP/1.1 500 x".to_owned(), "");
    let world = at(world, &keys.url());
    for _ in 0..3 {
        assert_problem(&pull_as(&world, RS256.trim()), 503, "store_unavailable");
    }
    assert_eq!(keys.asked(), 1, "it is not asked again at once");
}
