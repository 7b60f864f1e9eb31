use super::*;
use axum::http::HeaderValue;

fn limits(rate_per_min: u32, failures_per_min: u32, proxies: &[&str]) -> Limits {
    let proxies = proxies.iter().map(|net| net.parse().unwrap()).collect();
    Limits::new(rate_per_min, &Addresses { failures_per_min, proxies })
}

fn address(limits: &Limits, peer: &str, forwarded: &[&str]) -> Option<String> {
    let mut headers = HeaderMap::new();
    for field in forwarded {
        headers.append("x-forwarded-for", HeaderValue::from_str(field).unwrap());
    }
    let peer = SocketAddr::new(peer.parse().unwrap(), 1);
    limits.address(&headers, Some(&peer)).map(|address| address.to_string())
}

fn user(id: &str) -> User {
    User { account: "a".into(), id: id.into() }
}

#[test]
fn forwarded_for_counts_from_trusted_proxies_only() {
    let none = limits(0, 1, &[]);
    assert_eq!(address(&none, "203.0.113.7", &["198.51.100.1"]), Some("203.0.113.7".into()));
    let trusting = limits(0, 1, &["172.16.0.0/12", "198.51.100.9/32"]);
    assert_eq!(address(&trusting, "203.0.113.7", &["198.51.100.1"]), Some("203.0.113.7".into()));
    assert_eq!(address(&trusting, "172.18.0.2", &["198.51.100.1"]), Some("198.51.100.1".into()));
    let chain = ["1.2.3.4, 198.51.100.1", "198.51.100.9"];
    assert_eq!(address(&trusting, "172.18.0.2", &chain), Some("198.51.100.1".into()), "the client may lie");
    assert_eq!(address(&trusting, "172.18.0.2", &["198.51.100.1, nonsense"]), None);
    assert_eq!(address(&trusting, "::ffff:172.18.0.2", &["198.51.100.1"]), Some("198.51.100.1".into()));
}

#[test]
fn an_address_that_may_be_a_proxys_is_nobodys() {
    let none = limits(0, 1, &[]);
    for peer in ["127.0.0.1", "10.1.2.3", "172.18.0.2", "192.168.1.1", "::1", "fd00::1", "fe80::1"] {
        assert_eq!(address(&none, peer, &[]), None, "{peer}");
    }
    assert_eq!(address(&none, "2001:db8:1:2:3:4:5:6", &[]), Some("2001:db8:1:2::".into()));
}

#[test]
fn failures_of_an_address_end_in_a_wait() {
    let limits = limits(0, 2, &[]);
    let (bad, good) = (Some("203.0.113.7".parse().unwrap()), Some("203.0.113.8".parse().unwrap()));
    for _ in 0..2 {
        assert_eq!(limits.check_address(bad), Ok(()));
        limits.failed(bad);
    }
    let refused = limits.check_address(bad).unwrap_err();
    assert!(matches!(refused, Reject::RateLimited { retry_after_s: 1..=60 }), "{refused:?}");
    assert_eq!((limits.check_address(good), limits.check_address(None)), (Ok(()), Ok(())));
}

#[test]
fn zero_switches_each_limit_off() {
    let limits = limits(0, 0, &[]);
    let address = Some("203.0.113.7".parse().unwrap());
    for _ in 0..10_000 {
        limits.failed(address);
        assert_eq!((limits.check_address(address), limits.check_user(&user("u"))), (Ok(()), Ok(())));
    }
}

#[test]
fn users_are_counted_each_for_themselves_and_forgotten_in_time() {
    let limits = limits(3, 0, &[]);
    for _ in 0..3 {
        assert_eq!(limits.check_user(&user("u")), Ok(()));
    }
    assert_eq!(limits.check_user(&user("u")), Err(Reject::RateLimited { retry_after_s: 20 }));
    assert_eq!(limits.check_user(&user("v")), Ok(()));
    limits.forget();
    assert!(limits.check_user(&user("u")).is_err(), "not while it counts");
}
