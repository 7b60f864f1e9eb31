//! What a seed decides beforehand: the policy, the clients, the weather.

use nself_sync_engine::policy::{ConflictBlock, Policy, Strategy};

use super::device::Device;
use super::honest::{Honest, Traits};
use super::naive::Naive;
use super::net::Net;
use super::rng::Rng;

/// A client of any kind.
pub enum Client {
    /// The engine's own.
    Device(Box<Device>),
    Honest(Box<Honest>),
    Naive(Naive),
}

/// What may happen to a run's host.
#[derive(Debug, Clone)]
pub struct Weather {
    /// Of a hundred calls so many crash.
    pub crash_percent: usize,
    /// Whether backups are taken and restored.
    pub restores: bool,
    /// Whether time jumps by days, and history is pruned.
    pub prunes: bool,
    /// Whether devices are removed and duplicated.
    pub upheaval: bool,
    /// Whether clients send items that are wrong.
    pub mischief: bool,
}

/// The policy of a seed.
pub fn policy(rng: &mut Rng) -> Policy {
    let defaults = Policy::default();
    Policy {
        strategy: if rng.percent(70) { Strategy::Merge } else { Strategy::Lww },
        conflict_block: if rng.percent(60) { ConflictBlock::Device } else { ConflictBlock::File },
        snapshot_threshold: *rng.pick(&[3, 10, 100]),
        file_bytes_max: *rng.pick(&[60, 120, 400, 2000]),
        scalar_bytes_max: 400,
        reply_bytes_max: *rng.pick(&[50, 8 << 20, 8 << 20]),
        retention_days: *rng.pick(&[1, 30]),
        ..defaults
    }
}

/// The clients of a seed.
pub fn clients(rng: &mut Rng) -> Vec<Client> {
    let devices = rng.below(4);
    let honest = usize::from(devices == 0) + rng.below(3);
    let naive = rng.below(3);
    let mut clients: Vec<Client> = (0..honest)
        .map(|number| {
            let traits = Traits {
                says_base: rng.percent(60),
                says_time: rng.percent(60),
                patches: rng.percent(50),
                skew_ms: *rng.pick(&[0, 0, 500, -60_000, 3 * 86_400_000, -700_000_000_000]),
                keeps_jwt: rng.percent(25),
                keeps_refused: rng.percent(50),
            };
            Client::Honest(Box::new(Honest::new(format!("desktop-{number}"), traits)))
        })
        .collect();
    clients.extend((0..devices).map(|number| {
        let skew_ms = *rng.pick(&[0, 0, 500, -60_000, 3 * 86_400_000]);
        let dies_percent = *rng.pick(&[0, 2]);
        Client::Device(Box::new(Device::new(&format!("mobile-{number}"), skew_ms, dies_percent)))
    }));
    clients.extend((0..naive).map(|number| Client::Naive(Naive::new(format!("web-{number}")))));
    clients
}

/// The network of a seed.
pub fn net(rng: &mut Rng) -> Net {
    let mut net = Net::default();
    net.lost_percent = *rng.pick(&[0, 5, 20]);
    net.twice_percent = *rng.pick(&[0, 5, 20]);
    net.delay_ms_max = *rng.pick(&[50, 1000, 6000]);
    net
}

/// The weather of a seed.
pub fn weather(rng: &mut Rng) -> Weather {
    Weather {
        crash_percent: *rng.pick(&[0, 3, 10]),
        restores: rng.percent(20),
        prunes: rng.percent(40),
        upheaval: rng.percent(30),
        mischief: rng.percent(50),
    }
}
