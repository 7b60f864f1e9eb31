use super::*;

/// How many of these times are let in.
fn let_in(bucket: &mut Bucket, per_min: u32, times: impl Iterator<Item = Millis>) -> usize {
    let mut count = 0;
    for now in times {
        if bucket.check(per_min, now).is_ok() {
            bucket.take(per_min, now);
            count += 1;
        }
    }
    count
}

#[test]
fn a_minutes_requests_come_at_once_and_then_one_by_one() {
    let mut bucket = Bucket::default();
    assert_eq!(let_in(&mut bucket, 30, std::iter::repeat_n(1_000_000, 100)), 30);
    assert_eq!(bucket.check(30, 1_000_000), Err(Reject::RateLimited { retry_after_s: 2 }));
    assert_eq!(bucket.check(30, 1_001_999), Err(Reject::RateLimited { retry_after_s: 1 }));
    assert_eq!(let_in(&mut bucket, 30, std::iter::repeat_n(1_002_000, 100)), 1);
    assert_eq!(let_in(&mut bucket, 30, std::iter::repeat_n(2_000_000, 100)), 30, "it is full again");
}

#[test]
fn steady_requests_at_the_rate_are_never_refused() {
    let mut bucket = Bucket::default();
    assert_eq!(let_in(&mut bucket, 1200, (0..10_000).map(|n| n * 50)), 10_000);
}

#[test]
fn zero_is_any_number_and_a_clock_may_be_wrong() {
    assert_eq!(let_in(&mut Bucket::default(), 0, std::iter::repeat_n(5, 5000)), 5000);
    let mut bucket = Bucket::default();
    bucket.take(60, Millis::MAX);
    assert!(matches!(bucket.check(60, 0), Err(Reject::RateLimited { .. })));
}
