//! How often who may call: a user, by a bucket that refills; an address that fails to authenticate, by counting.

#[cfg(test)]
mod tests;

use crate::config::Addresses;
use axum::http::HeaderMap;
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use ipnet::{IpNet, Ipv6Net};
use nself_sync_engine::error::Reject;
use nself_sync_engine::ids::User;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const MINUTE: Duration = Duration::from_secs(60);

/// Addresses that are remembered; beyond, those whose minute is over are forgotten, or all.
const ADDRESSES_MAX: usize = 100_000;

/// See the module.
pub struct Limits {
    users: Option<DefaultKeyedRateLimiter<User>>,
    failures_max: u32,
    failures: Mutex<HashMap<IpAddr, Failures>>,
    proxies: Vec<IpNet>,
}

/// Failed authentications within a minute.
struct Failures {
    since: Instant,
    count: u32,
}

impl Limits {
    /// So many requests of a user a minute; 0: any number.
    pub(super) fn new(rate_per_min: u32, addresses: &Addresses) -> Limits {
        let quota = NonZeroU32::new(rate_per_min).map(Quota::per_minute);
        Limits {
            users: quota.map(RateLimiter::keyed),
            failures_max: addresses.failures_per_min,
            failures: Mutex::default(),
            proxies: addresses.proxies.clone(),
        }
    }

    /// Counts a request of this user.
    pub(super) fn check_user(&self, user: &User) -> Result<(), Reject> {
        let Some(users) = &self.users else { return Ok(()) };
        let not_yet =
            |until: governor::NotUntil<_>| limited(until.wait_time_from(DefaultClock::default().now()));
        users.check_key(user).map_err(not_yet)
    }

    /// The address that a request is counted for; none where that is nobody's in particular: a proxy that is not known as
    /// one would have all its clients be taken for one.
    pub(super) fn address(&self, headers: &HeaderMap, peer: Option<&SocketAddr>) -> Option<IpAddr> {
        let mut address = peer?.ip().to_canonical();
        let fields = headers.get_all("x-forwarded-for").iter().rev();
        let words = fields.flat_map(|field| field.to_str().unwrap_or_default().rsplit(','));
        // From the nearest on: each is what the one before it says.
        for word in words {
            if !self.proxies.iter().any(|proxy| proxy.contains(&address)) {
                break;
            }
            address = word.trim().parse::<IpAddr>().ok()?.to_canonical();
        }
        Some(address).filter(is_public).map(network)
    }

    /// Whether this address may try.
    pub(super) fn check_address(&self, address: Option<IpAddr>) -> Result<(), Reject> {
        let Some(address) = address.filter(|_| self.failures_max > 0) else { return Ok(()) };
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(Failures { since, count }) = failures.get(&address) else { return Ok(()) };
        match MINUTE.checked_sub(since.elapsed()) {
            Some(rest) if *count >= self.failures_max => Err(limited(rest)),
            Some(_) | None => Ok(()),
        }
    }

    /// It has failed.
    pub(super) fn failed(&self, address: Option<IpAddr>) {
        let Some(address) = address.filter(|_| self.failures_max > 0) else { return };
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() >= ADDRESSES_MAX {
            failures.retain(|_, failures| failures.since.elapsed() < MINUTE);
        }
        if failures.len() >= ADDRESSES_MAX {
            failures.clear();
        }
        let of = failures.entry(address).or_insert(Failures { since: Instant::now(), count: 0 });
        if of.since.elapsed() >= MINUTE {
            *of = Failures { since: Instant::now(), count: 0 };
        }
        of.count = of.count.saturating_add(1);
    }

    /// Forgets users whose bucket is full again.
    pub fn forget(&self) {
        if let Some(users) = &self.users {
            users.retain_recent();
            users.shrink_to_fit();
        }
    }
}

fn limited(wait: Duration) -> Reject {
    Reject::RateLimited { retry_after_s: wait.as_secs() + 1 }
}

/// Of IPv6 the network that one customer has whole.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => Ipv6Net::new(v6, 64).map_or(address, |net| net.network().into()),
    }
}

fn is_public(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !(v4.is_loopback() || v4.is_private() || v4.is_link_local()),
        IpAddr::V6(v6) => !(v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local()),
    }
}
