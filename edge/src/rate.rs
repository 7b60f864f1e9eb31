//! How often a user may call: a bucket that refills, in the memory of the user's object, which all of the user's requests
//! come to. An object that slept begins with a full one, as one that nobody called for a while has.

use nself_sync_engine::error::Reject;
use nself_sync_engine::ids::Millis;
use std::cell::Cell;

const MINUTE_US: u64 = 60_000_000;

/// When the bucket will be full again, in microseconds.
#[derive(Default)]
pub struct Rate(Cell<u64>);

impl Rate {
    /// Whether one more request may be, of so many a minute and as many at once; 0: any number.
    pub fn check(&self, per_min: u32, now: Millis) -> Result<(), Reject> {
        if per_min == 0 {
            return Ok(());
        }
        let each_us = MINUTE_US / u64::from(per_min);
        // One more is to fit into the minute that the whole bucket is worth.
        let late_us = (self.0.get().max(now * 1000) + each_us).saturating_sub(now * 1000 + MINUTE_US);
        match late_us {
            0 => Ok(()),
            _ => Err(Reject::RateLimited { retry_after_s: late_us.div_ceil(1_000_000) }),
        }
    }

    /// Counts a request that was its user's.
    pub fn count(&self, per_min: u32, now: Millis) {
        if per_min > 0 {
            self.0.set(self.0.get().max(now * 1000) + MINUTE_US / u64::from(per_min));
        }
    }
}
