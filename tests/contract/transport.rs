//! PROTOCOL section 9 and issue 2: compression, limits, connections, browsers. Only where there is real HTTP.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use flate2::{Compression, Crc, GzBuilder};
use nself_sync_tests::hosts::{Request, Response};
use nself_sync_tests::world::{World, assert_problem};
use serde_json::{Value, json};

use crate::case::{Config, SMALL};

crate::cases![
    health_has_the_body_that_nself_expects.http(),
    gzip_request_body_is_taken.http(),
    gzip_of_several_members_with_names_is_one_body.http(),
    body_that_is_not_gzip_is_400.http(),
    gzip_bomb_is_413_and_the_host_goes_on.http(),
    gzip_body_just_over_the_limit_is_413.http().config(SMALL),
    unknown_encodings_are_415_and_say_what_is_possible.http(),
    zstd_is_taken_or_415.http(),
    replies_come_compressed_where_asked_for.http(),
    replies_come_plain_where_nothing_is_asked_for.http(),
    data_is_private_and_varies.http(),
    body_over_the_limit_is_413.http().config(SMALL),
    body_at_the_limit_is_taken.http().config(SMALL),
    body_over_the_limit_is_refused_before_it_is_read.native().config(SMALL),
    forged_sync_token_is_refused_before_its_body.native(),
    chunked_body_over_the_limit_is_413.native().config(SMALL),
    chunked_body_within_the_limit_is_taken.native(),
    connection_is_kept_alive.native(),
    client_that_goes_away_in_the_middle_changes_nothing.native(),
    slow_client_does_not_hold_up_others.native(),
    garbage_on_the_socket_does_no_harm.native(),
    content_type_of_a_plain_fetch_is_welcome.http(),
    preflight_of_a_configured_origin_is_answered.http().config(CORS),
    other_origins_get_no_permission.http().config(CORS),
    without_configuration_no_origin_gets_permission.http(),
    head_and_unknown_queries_do_no_harm.http(),
    openapi_is_for_everybody.native().only("sqlite"),
];

const CORS: Config = &[("PLUGIN_SYNC_CORS_ORIGINS", "https://clawde.example,http://localhost:5173")];

fn push(world: &World, headers: &[(&str, &str)], body: Vec<u8>) -> Response {
    let mut request =
        Request::new("POST", "/sync/push").bearer(&world.jwt()).header("Content-Type", "application/json");
    for (name, value) in headers {
        request = request.header(name, value);
    }
    world.send(request.bytes(body))
}

fn body_of(state: Value) -> String {
    json!({"device_id": "desktop-a", "seq": 0, "state": state}).to_string()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).expect("memory takes it");
    encoder.finish().expect("memory takes it")
}

fn health_has_the_body_that_nself_expects(world: &World) {
    let response = world.send(Request::new("GET", "/health"));
    assert_eq!(response.status, 200);
    let body = response.json();
    assert_eq!(body["status"], "ok");
    assert!(body["version"].as_str().is_some_and(|version| version.split('.').count() == 3), "{body}");
    let store = if world.host.name() == "edge" { "durable-object" } else { world.host.name() };
    assert_eq!(body["store"], store);
    let (applied, expected) = (&body["migrations"]["applied"], &body["migrations"]["expected"]);
    assert!(applied.as_u64().is_some_and(|applied| applied > 0) && applied == expected, "{body}");
    assert!(response.body.len() < 1 << 20);
}

fn gzip_request_body_is_taken(world: &World) {
    let body = gzip(body_of(json!({"files": {"f": {"content": "text\n".repeat(1000)}}})).as_bytes());
    assert_eq!(push(world, &[("Content-Encoding", "gzip")], body).status, 200);
    assert_eq!(world.file("f").map(|text| text.len()), Some(5000));
}

fn gzip_of_several_members_with_names_is_one_body(world: &World) {
    let text = "several members\n".repeat(5000);
    let body = body_of(json!({"files": {"f": {"content": text}}}));
    let (first, second) = body.split_at(body.len() / 2);
    let member = |text: &str| {
        let header = GzBuilder::new().filename("body.json").comment("what is pushed").extra("extra");
        let mut encoder = header.write(Vec::new(), Compression::fast());
        encoder.write_all(text.as_bytes()).expect("memory takes it");
        encoder.finish().expect("memory takes it")
    };
    // A header with its own checksum, which flate2 does not write; of nothing, as a stored block.
    let mut checked = vec![0x1f, 0x8b, 8, 1 << 1, 0, 0, 0, 0, 0, 255];
    let mut crc = Crc::new();
    crc.update(&checked);
    checked.extend(&crc.sum().to_le_bytes()[..2]);
    checked.extend([1, 0, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0]);
    let members = [member(first), checked, member(second)].concat();
    assert_eq!(push(world, &[("Content-Encoding", "gzip")], members).status, 200);
    assert_eq!(world.file("f"), Some(text));
}

fn body_that_is_not_gzip_is_400(world: &World) {
    let good = gzip(body_of(json!({"n": 1})).as_bytes());
    let altered = |from_end: usize| {
        let mut body = good.clone();
        let at = body.len() - from_end;
        body[at] ^= 1;
        body
    };
    let cut = |from_end: usize| good[..good.len() - from_end].to_vec();
    let (checksum, length, mut reserved) = (altered(8), altered(4), good.clone());
    reserved[3] |= 1 << 5;
    let garbage = [good.as_slice(), b"and more"].concat();
    for body in [
        b"{}".to_vec(),
        b"\x1f\x8b".to_vec(),
        cut(1),
        cut(9),
        checksum,
        length,
        reserved,
        garbage,
        Vec::new(),
    ] {
        let response = push(world, &[("Content-Encoding", "gzip")], body);
        assert_eq!(response.status, 400, "{}", response.show());
    }
    assert_eq!(world.head(), 0);
}

fn gzip_bomb_is_413_and_the_host_goes_on(world: &World) {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(br#"{"device_id":"desktop-a","seq":0,"state":{"n":""#).expect("memory takes it");
    let chunk = vec![b'x'; 1 << 20];
    for _ in 0..512 {
        encoder.write_all(&chunk).expect("memory takes it");
    }
    encoder.write_all(br#""}}"#).expect("memory takes it");
    let bomb = encoder.finish().expect("memory takes it");
    assert!(bomb.len() < 1 << 20);
    assert_problem(&push(world, &[("Content-Encoding", "gzip")], bomb), 413, "body_too_large");
    let twice = gzip(&gzip(body_of(json!({"n": 1})).as_bytes()));
    let response = push(world, &[("Content-Encoding", "gzip, gzip")], twice);
    assert!(matches!(response.status, 200 | 400 | 415), "{}", response.show());
    assert_eq!(push(world, &[], body_of(json!({"n": 1})).into()).status, 200);
}

fn gzip_body_just_over_the_limit_is_413(world: &World) {
    let over = body_of(json!({"n": "x".repeat(64 * 1024)}));
    assert_problem(
        &push(world, &[("Content-Encoding", "gzip")], gzip(over.as_bytes())),
        413,
        "body_too_large",
    );
    assert_eq!(world.head(), 0);
}

fn unknown_encodings_are_415_and_say_what_is_possible(world: &World) {
    for encoding in ["compress", "x", "aes128gcm"] {
        let response = push(world, &[("Content-Encoding", encoding)], body_of(json!({"n": 1})).into());
        assert_problem(&response, 415, "unsupported_encoding");
        assert!(response.header_list("Accept-Encoding").contains("gzip"), "{:?}", response.headers);
    }
    assert_eq!(push(world, &[("Content-Encoding", "identity")], body_of(json!({"n": 1})).into()).status, 200);
}

fn zstd_is_taken_or_415(world: &World) {
    // A zstd frame of one raw block.
    let body = body_of(json!({"n": 1}));
    let size = u8::try_from(body.len()).expect("short");
    let block = (u32::from(size) << 3 | 1).to_le_bytes();
    let frame = [&[0x28, 0xb5, 0x2f, 0xfd, 0x20, size][..], &block[..3], body.as_bytes()].concat();
    let response = push(world, &[("Content-Encoding", "zstd")], frame);
    if response.status == 415 {
        assert!(!response.header_list("Accept-Encoding").is_empty(), "{:?}", response.headers);
    } else {
        assert_eq!(response.status, 200, "{}", response.show());
        assert_eq!(world.scalar("n"), 1);
    }
}

fn pull_with(world: &World, accept: &str) -> Response {
    world.send(Request::new("GET", "/sync/pull").bearer(&world.jwt()).header("Accept-Encoding", accept))
}

fn replies_come_compressed_where_asked_for(world: &World) {
    let text = "compressible text\n".repeat(2000);
    world.device("desktop-a").push(json!({"files": {"f": {"content": text}}}));
    let gzipped = pull_with(world, "gzip");
    assert_eq!(gzipped.header("Content-Encoding"), Some("gzip"));
    let mut plain = Vec::new();
    GzDecoder::new(&gzipped.body[..]).read_to_end(&mut plain).expect("gzip");
    let body: Value = serde_json::from_slice(&plain).expect("JSON");
    assert_eq!(body["state"]["files"]["f"]["content"], text);
    assert!(gzipped.body.len() * 5 < plain.len());
    let brotli = pull_with(world, "br");
    assert_eq!(brotli.header("Content-Encoding"), Some("br"));
    let mut decoded = Vec::new();
    brotli_decompressor::BrotliDecompress(&mut &brotli.body[..], &mut decoded).expect("brotli");
    let body: Value = serde_json::from_slice(&decoded).expect("JSON");
    assert_eq!(body["state"]["files"]["f"]["content"], text);
    for refused in ["gzip;q=0", "identity", "lzma"] {
        assert!(
            pull_with(world, refused).header("Content-Encoding").is_none_or(|value| value == "identity"),
            "{refused}"
        );
    }
}

fn replies_come_plain_where_nothing_is_asked_for(world: &World) {
    world.device("desktop-a").push(json!({"files": {"f": {"content": "text\n".repeat(2000)}}}));
    let response = world.get("/sync/pull");
    assert_eq!(response.header("Content-Encoding"), None);
    assert_eq!(response.json()["kind"], "snapshot");
}

fn data_is_private_and_varies(world: &World) {
    let mut a = world.device("desktop-a");
    let pushed = a.try_push(json!({"n": 1}));
    for response in
        [pushed, world.get("/sync/pull"), world.get("/sync/devices"), world.get("/sync/conflicts")]
    {
        assert_eq!(response.status, 200);
        let cache = response.header_list("Cache-Control");
        assert!(cache.contains("private") && cache.contains("no-cache"), "{:?}", response.headers);
        let vary = response.header_list("Vary");
        assert!(vary.contains("accept-encoding") && vary.contains("authorization"), "{:?}", response.headers);
        assert!(
            response.header_list("Content-Type").starts_with("application/json"),
            "{:?}",
            response.headers
        );
    }
}

fn body_of_size(size: usize) -> String {
    let empty = body_of(json!({"files": {"f": {"content": ""}}, "n": 1})).len();
    let body = body_of(json!({"files": {"f": {"content": "x".repeat(size - empty)}}, "n": 1}));
    assert_eq!(body.len(), size);
    body
}

fn body_over_the_limit_is_413(world: &World) {
    let response = push(world, &[], body_of_size(64 * 1024 + 1).into());
    assert_problem(&response, 413, "body_too_large");
    assert_eq!(world.head(), 0);
}

fn body_at_the_limit_is_taken(world: &World) {
    let response = push(world, &[], body_of_size(64 * 1024).into());
    assert_eq!(response.status, 200, "{}", response.show());
    assert_eq!(world.scalar("n"), 1, "the file is too large and rejected, the rest applied");
}

/// Sends bytes on a fresh connection and reads until `enough` or the end.
fn raw(world: &World, bytes: &[u8], enough: impl Fn(&str) -> bool) -> String {
    let mut stream = connect(world);
    // A host may answer and close before it has read all.
    let _ = stream.write_all(bytes);
    read_until(&mut stream, enough)
}

fn connect(world: &World) -> TcpStream {
    let addr = world.host.native().expect("a native host").address();
    let stream = TcpStream::connect(addr).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    stream.set_write_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    stream
}

fn read_until(stream: &mut TcpStream, enough: impl Fn(&str) -> bool) -> String {
    let (mut text, mut buffer) = (String::new(), [0; 4096]);
    while !enough(&text) {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(count) => text.push_str(&String::from_utf8_lossy(&buffer[..count])),
        }
    }
    text
}

fn push_head(world: &World, length: &str) -> String {
    format!(
        "POST /sync/push HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n{length}\r\n\r\n",
        world.jwt()
    )
}

fn body_over_the_limit_is_refused_before_it_is_read(world: &World) {
    let head = push_head(world, "Content-Length: 1000000000");
    let answer = raw(world, format!("{head}{{").as_bytes(), |text| text.contains("\r\n\r\n"));
    assert!(answer.starts_with("HTTP/1.1 413"), "the host does not wait for a gigabyte: {answer}");
    let head = push_head(world, "Content-Length: 1000000000\r\nExpect: 100-continue");
    let answer = raw(world, head.as_bytes(), |text| text.contains("\r\n\r\n"));
    assert!(answer.starts_with("HTTP/1.1 413"), "nor invite it: {answer}");
}

fn forged_sync_token_is_refused_before_its_body(world: &World) {
    let mut device = world.device("desktop-a");
    device.push(json!({"n": 1}));
    let token = device.token.clone().expect("registered");
    let (route, _) = token.split_once('.').expect("two parts");
    let forged = format!("{route}.{}", "A".repeat(43));
    let head = format!(
        "POST /sync/push HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {forged}\r\nContent-Length: 100\r\n\r\n"
    );
    let answer = raw(world, head.as_bytes(), |text| text.contains("\r\n\r\n"));
    assert!(answer.starts_with("HTTP/1.1 401"), "the host does not wait for the body: {answer}");
}

fn chunked_body_over_the_limit_is_413(world: &World) {
    let mut bytes = push_head(world, "Transfer-Encoding: chunked").into_bytes();
    bytes.extend_from_slice(b"5\r\n{\"a\":\r\n");
    for _ in 0..40 {
        bytes.extend_from_slice(format!("1000\r\n{}\r\n", " ".repeat(4096)).as_bytes());
    }
    let answer = raw(world, &bytes, |text| text.contains("\r\n\r\n"));
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert_eq!(world.head(), 0);
}

fn chunked_body_within_the_limit_is_taken(world: &World) {
    let body = body_of(json!({"n": 1}));
    let (first, second) = body.split_at(10);
    let bytes = format!(
        "{}{:x}\r\n{first}\r\n{:x}\r\n{second}\r\n0\r\n\r\n",
        push_head(world, "Transfer-Encoding: chunked"),
        first.len(),
        second.len()
    );
    let answer = raw(world, bytes.as_bytes(), |text| text.contains("\r\n\r\n"));
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(world.scalar("n"), 1);
}

fn connection_is_kept_alive(world: &World) {
    let mut stream = connect(world);
    for _ in 0..3 {
        stream.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n").expect("the connection stays open");
        let answer = read_until(&mut stream, |text| {
            text.contains("\"status\":\"ok\"") || text.contains("\"status\": \"ok\"")
        });
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

fn client_that_goes_away_in_the_middle_changes_nothing(world: &World) {
    let body = body_of(json!({"n": 1}));
    for _ in 0..20 {
        let mut stream = connect(world);
        let head = push_head(world, &format!("Content-Length: {}", body.len()));
        stream.write_all(head.as_bytes()).expect("it listens");
        stream.write_all(&body.as_bytes()[..body.len() - 1]).expect("it listens");
        drop(stream);
    }
    assert_eq!(world.head(), 0);
    assert!(world.devices().is_empty());
    assert_eq!(push(world, &[], body.into()).status, 200);
}

fn slow_client_does_not_hold_up_others(world: &World) {
    let mut slow: Vec<TcpStream> = (0..64).map(|_| connect(world)).collect();
    for stream in &mut slow {
        stream.write_all(push_head(world, "Content-Length: 100").as_bytes()).expect("it listens");
        stream.write_all(b"{").expect("it listens");
    }
    let started = Instant::now();
    world.device("desktop-a").push(json!({"n": 1}));
    assert!(started.elapsed() < Duration::from_secs(10), "their time, 30 s, is not waited for");
}

fn garbage_on_the_socket_does_no_harm(world: &World) {
    for bytes in [
        &b"\0\0\0\0"[..],
        b"GET\r\n\r\n",
        b"GET /sync/pull HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01",
        &[b'x'; 200_000],
    ] {
        raw(world, bytes, |text| !text.is_empty());
    }
    let long = format!("GET /sync/pull?x={} HTTP/1.1\r\nHost: x\r\n\r\n", "y".repeat(1_000_000));
    raw(world, long.as_bytes(), |text| !text.is_empty());
    assert_eq!(world.send(Request::new("GET", "/health")).status, 200);
}

fn content_type_of_a_plain_fetch_is_welcome(world: &World) {
    // The plugin page's client sends a string without a header: a browser then says text/plain.
    for (no, kind) in [Some("text/plain;charset=UTF-8"), Some("application/json; charset=utf-8"), None]
        .into_iter()
        .enumerate()
    {
        let body =
            json!({"device_id": "desktop-a", "seq": 0, "state": {format!("n{no}"): 1}, "push_no": no + 1});
        let request = Request::new("POST", "/sync/push").bearer(&world.jwt());
        let request = if let Some(kind) = kind { request.header("Content-Type", kind) } else { request };
        let response = world.send(request.bytes(body.to_string()));
        assert_eq!(response.status, 200, "{kind:?}: {}", response.show());
    }
}

fn preflight(world: &World, origin: &str, method: &str) -> Response {
    world.send(
        Request::new("OPTIONS", "/sync/push")
            .header("Origin", origin)
            .header("Access-Control-Request-Method", method)
            .header(
                "Access-Control-Request-Headers",
                "authorization,content-type,content-encoding,nself-sync-protocol",
            ),
    )
}

fn preflight_of_a_configured_origin_is_answered(world: &World) {
    for origin in ["https://clawde.example", "http://localhost:5173"] {
        let response = preflight(world, origin, "POST");
        assert!(matches!(response.status, 200 | 204), "{}", response.show());
        assert_eq!(response.header("Access-Control-Allow-Origin"), Some(origin));
        let headers = response.header_list("Access-Control-Allow-Headers");
        for name in ["authorization", "content-type", "content-encoding", "nself-sync-protocol"] {
            assert!(headers.contains(name) || headers == "*", "{name} in {headers}");
        }
        let methods = response.header_list("Access-Control-Allow-Methods");
        assert!(methods.contains("post") && methods.contains("delete"), "{methods}");
        let answer =
            world.send(Request::new("GET", "/sync/pull").bearer(&world.jwt()).header("Origin", origin));
        assert_eq!((answer.status, answer.header("Access-Control-Allow-Origin")), (200, Some(origin)));
        assert!(answer.header_list("Vary").contains("origin"), "{:?}", answer.headers);
        let error = world.send(Request::new("GET", "/sync/pull").header("Origin", origin));
        assert_eq!(
            (error.status, error.header("Access-Control-Allow-Origin")),
            (401, Some(origin)),
            "a page may read errors too"
        );
    }
}

fn other_origins_get_no_permission(world: &World) {
    for origin in
        ["https://evil.example", "https://clawde.example.evil.example", "http://clawde.example", "null"]
    {
        assert_eq!(preflight(world, origin, "POST").header("Access-Control-Allow-Origin"), None, "{origin}");
        let answer =
            world.send(Request::new("GET", "/sync/pull").bearer(&world.jwt()).header("Origin", origin));
        assert_eq!(answer.header("Access-Control-Allow-Origin"), None, "{origin}");
    }
}

fn without_configuration_no_origin_gets_permission(world: &World) {
    let answer = world.send(
        Request::new("GET", "/sync/pull").bearer(&world.jwt()).header("Origin", "https://clawde.example"),
    );
    assert_eq!((answer.status, answer.header("Access-Control-Allow-Origin")), (200, None));
}

fn head_and_unknown_queries_do_no_harm(world: &World) {
    let response = world.send(Request::new("HEAD", "/health"));
    assert!(matches!(response.status, 200 | 405), "{}", response.status);
    assert!(response.body.is_empty());
    for path in ["/sync/pull?", "/sync/pull?unknown=1&&=", "/sync/pull?x=%ff%fe", "/sync/devices?a=b"] {
        let response = world.get(path);
        assert!(matches!(response.status, 200 | 400), "{path}: {}", response.show());
    }
}

fn openapi_is_for_everybody(world: &World) {
    let answer = world.send(Request::new("GET", "/openapi.json"));
    assert_eq!((answer.status, answer.header("Content-Type")), (200, Some("application/json")));
    assert_eq!(answer.json()["openapi"], "3.1.0");
    let health = world.send(Request::new("GET", "/health")).json();
    assert_eq!(answer.json()["info"]["version"], health["version"]);
}
