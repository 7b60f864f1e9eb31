//! How often a user may call, for a host that has one user in memory at a time. Others have a library for many.

use crate::error::Reject;
use crate::ids::Millis;

/// What a bucket refills in.
const MINUTE_US: u64 = 60_000_000;

/// A bucket of requests that refills steadily: a minute's requests fit into it, and so may come at once.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bucket {
    /// When it is full again, in microseconds since 1970.
    full_at_us: u64,
}

impl Bucket {
    /// Whether one request more may come at `now`, of so many a minute; 0: any number.
    ///
    /// # Errors
    /// [`Reject::RateLimited`] says when.
    pub fn check(&self, per_min: u32, now: Millis) -> Result<(), Reject> {
        let Some(cost_us) = MINUTE_US.checked_div(per_min.into()) else { return Ok(()) };
        let missing_us = self.full_at_us.saturating_sub(now.saturating_mul(1000));
        match missing_us.saturating_add(cost_us).checked_sub(MINUTE_US) {
            None | Some(0) => Ok(()),
            Some(over_us) => Err(Reject::RateLimited { retry_after_s: over_us.div_ceil(1_000_000) }),
        }
    }

    /// Counts one that came.
    pub fn take(&mut self, per_min: u32, now: Millis) {
        let cost_us = MINUTE_US.checked_div(per_min.into()).unwrap_or(0);
        self.full_at_us = self.full_at_us.max(now.saturating_mul(1000)).saturating_add(cost_us);
    }
}

#[cfg(test)]
mod tests;
