use super::*;
use axum::body::Bytes;
use axum::http::HeaderValue;
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body::Frame;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

const MAX: usize = 64 << 10;

/// Zeros without an end and without a length, counted as they are read.
struct Endless(Arc<AtomicUsize>);

impl HttpBody for Endless {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.fetch_add(4096, Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[0; 4096])))))
    }
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

async fn decoded(encoding: &'static str, body: impl Into<Body>) -> Result<Vec<u8>, Reject> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding));
    whole(&headers, body.into()).await
}

async fn whole(headers: &HeaderMap, body: Body) -> Result<Vec<u8>, Reject> {
    match read(headers, body, MAX, Budget::new(MAX).hold()).await {
        Ok(content) => Ok(content.bytes),
        Err(Refusal::Reject(reject)) => Err(reject),
        Err(other) => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_body_arrives_in_every_encoding_that_is_read() {
    let text: Vec<u8> = (0..MAX).map(|i| (i * i % 251) as u8).collect();
    assert_eq!(whole(&HeaderMap::new(), text.clone().into()).await.unwrap(), text);
    assert_eq!(decoded("identity", text.clone()).await.unwrap(), text);
    assert_eq!(decoded("GZIP", gzip(&text)).await.unwrap(), text);
    assert_eq!(decoded("zstd", zstd::encode_all(text.as_slice(), 3).unwrap()).await.unwrap(), text);
}

#[tokio::test]
async fn gzip_of_two_members_is_one_body() {
    let both = [gzip(b"{\"a\":"), gzip(b"1}")].concat();
    assert_eq!(decoded("gzip", both).await.unwrap(), b"{\"a\":1}");
}

#[tokio::test]
async fn one_byte_over_the_limit_is_refused_in_every_encoding() {
    let text = vec![b'a'; MAX + 1];
    let too_large = Err(Reject::BodyTooLarge { max: MAX });
    assert_eq!(decoded("identity", text.clone()).await, too_large);
    assert_eq!(decoded("gzip", gzip(&text)).await, too_large);
    assert_eq!(decoded("zstd", zstd::encode_all(text.as_slice(), 3).unwrap()).await, too_large);
}

#[tokio::test]
async fn a_bomb_is_refused_without_being_unpacked() {
    let bomb = gzip(&vec![0; 50 << 20]);
    assert!(bomb.len() < MAX);
    assert_eq!(decoded("gzip", bomb).await, Err(Reject::BodyTooLarge { max: MAX }));
}

#[tokio::test]
async fn a_body_without_a_length_is_refused_where_it_passes_the_limit() {
    let read_so_far = Arc::new(AtomicUsize::new(0));
    let body = Body::new(Endless(Arc::clone(&read_so_far)));
    assert_eq!(decoded("identity", body).await, Err(Reject::BodyTooLarge { max: MAX }));
    assert!(read_so_far.load(Ordering::Relaxed) <= MAX + 4096);
}

#[tokio::test]
async fn compressed_bytes_that_unpack_to_nothing_are_bounded_too() {
    // Empty gzip members, one after the other.
    let nothing = gzip(b"").repeat(10_000);
    assert_eq!(decoded("gzip", nothing).await, Err(Reject::BodyTooLarge { max: MAX }));
}

#[tokio::test]
async fn other_encodings_and_two_at_once_are_415() {
    let unsupported = Err(Reject::UnsupportedEncoding("gzip, zstd"));
    assert_eq!(decoded("br", "{}").await, unsupported);
    assert_eq!(decoded("gzip, gzip", "{}").await, unsupported);
    let mut twice = HeaderMap::new();
    twice.append(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    twice.append(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    assert_eq!(whole(&twice, "{}".into()).await, unsupported);
}

#[tokio::test]
async fn broken_and_cut_off_gzip_is_a_malformed_body() {
    let whole = gzip(b"{\"a\": 1}");
    let cut = whole[..whole.len() - 4].to_vec();
    let broken = b"{\"a\": 1}".to_vec();
    for body in [cut, broken] {
        assert!(matches!(decoded("gzip", body).await, Err(Reject::MalformedJson(_))));
    }
}

#[tokio::test]
async fn what_bodies_hold_together_is_bounded_and_comes_free() {
    let budget = Budget(Arc::new(Semaphore::new(100)));
    let body = |length: usize| Body::from(vec![b' '; length]);
    let headers = HeaderMap::new();
    let first = read(&headers, body(60), MAX, budget.hold()).await.unwrap();
    assert!(matches!(read(&headers, body(41), MAX, budget.hold()).await, Err(Refusal::Busy)));
    let second = read(&headers, body(40), MAX, budget.hold()).await.unwrap();
    assert!(matches!(read(&headers, body(1), MAX, budget.hold()).await, Err(Refusal::Busy)));
    drop(first);
    assert!(read(&headers, body(60), MAX, budget.hold()).await.is_ok());
    drop(second);
    let mut zipped = HeaderMap::new();
    zipped.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    let bomb = Body::from(gzip(&[b' '; 101]));
    assert!(
        matches!(read(&zipped, bomb, MAX, budget.hold()).await, Err(Refusal::Busy)),
        "it counts unpacked"
    );
    assert!(read(&headers, body(100), MAX, budget.hold()).await.is_ok(), "who is refused holds nothing");
}

/// A piece, and then the next after a while.
struct Slow {
    pieces: usize,
    bytes: usize,
    pause: Duration,
    next: Pin<Box<tokio::time::Sleep>>,
}

impl Slow {
    fn new(pieces: usize, bytes: usize, pause: Duration) -> Slow {
        Slow { pieces, bytes, pause, next: Box::pin(tokio::time::sleep(Duration::ZERO)) }
    }
}

impl HttpBody for Slow {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.pieces == 0 {
            return Poll::Ready(None);
        }
        std::task::ready!(self.next.as_mut().poll(cx));
        let due = Instant::now() + self.pause;
        self.next.as_mut().reset(due);
        self.pieces -= 1;
        Poll::Ready(Some(Ok(Frame::data(vec![b' '; self.bytes].into()))))
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_body_is_read_as_long_as_it_keeps_its_pace() {
    let s = Duration::from_secs;
    let arrives = async |slow| whole(&HeaderMap::new(), Body::new(slow)).await.map(|bytes| bytes.len());
    assert_eq!(arrives(Slow::new(4, 16 << 10, s(8))).await, Ok(MAX), "24 s for 64 KiB");
    assert_eq!(arrives(Slow::new(2, 1, s(29))).await, Ok(2));
    assert_eq!(arrives(Slow::new(2, 1, s(31))).await, Err(Reject::SlowBody), "nothing for 31 s");
    assert_eq!(arrives(Slow::new(100, 1, s(1))).await, Err(Reject::SlowBody), "a byte a second");
}
