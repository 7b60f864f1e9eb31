//! The peace at the end: everybody is online, nobody edits, the network is kind. Everything that waits gets through,
//! every conflict can be resolved, and everybody holds the same.

use serde_json::{Value, json};

use super::Run;
use crate::sim::keys;
use crate::sim::plan::Client;

/// Rounds in which every client may send one thing, until which all must be quiet.
const ROUNDS_MAX: usize = 80;

impl Run {
    /// Everybody starts from the same few documents.
    pub(super) fn share(&mut self) {
        let weather = (self.net.lost_percent, self.net.twice_percent, self.net.delay_ms_max);
        let crash_percent = std::mem::take(&mut self.weather.crash_percent);
        (self.net.lost_percent, self.net.twice_percent, self.net.delay_ms_max) = (0, 0, 50);
        if let Client::Honest(first) = &mut self.clients[0] {
            for key in ["files/src/a.rs", "files/c.txt", "context_pages/p1"] {
                let lines = (self.host.policy.file_bytes_max / 12).min(9);
                first.write(&mut self.rng, &mut self.mint, key, lines);
            }
        }
        for client in 0..self.clients.len() {
            self.push(client);
            self.deliver_until_quiet();
            self.host.now += 5000;
            if let Client::Naive(naive) = &mut self.clients[client]
                && self.rng.percent(50)
            {
                naive.reload(&mut self.host);
            }
            self.pull(client);
            self.deliver_until_quiet();
        }
        (self.net.lost_percent, self.net.twice_percent, self.net.delay_ms_max) = weather;
        self.weather.crash_percent = crash_percent;
    }

    pub(super) fn settle(&mut self) {
        self.say(|_| "peace".to_owned());
        (self.net.lost_percent, self.net.twice_percent, self.net.delay_ms_max) = (0, 0, 50);
        self.weather.crash_percent = 0;
        self.weather.mischief = false;
        self.online_at.fill(0);
        for client in &mut self.clients {
            if let Client::Device(device) = client {
                device.calm();
            }
        }
        let mut quiet = 0;
        for _ in 0..ROUNDS_MAX {
            let seq = self.model.seq;
            self.revert_rejected();
            self.round();
            let is_busy = self.clients.iter().any(|client| waits(client).is_some());
            quiet = if is_busy || !self.model.conflicts.is_empty() || seq != self.model.seq {
                0
            } else {
                quiet + 1
            };
            if quiet == 2 {
                return self.check_peace();
            }
        }
        let waiting: Vec<String> = self.clients.iter().filter_map(waits).collect();
        panic!(
            "after {ROUNDS_MAX} rounds of peace something still waits: {waiting:?} {:?}",
            self.model.conflicts
        );
    }

    fn revert_rejected(&mut self) {
        for client in &mut self.clients {
            if let Client::Device(device) = client {
                self.released.extend(device.revert_rejected(&mut self.rng));
            }
        }
    }

    fn round(&mut self) {
        for client in 0..self.clients.len() {
            self.host.now += 5000;
            self.push(client);
            self.deliver_until_quiet();
            self.host.now += 5000;
            self.pull(client);
            self.deliver_until_quiet();
        }
        // Every conflict can be resolved by who looks at it as it is now, one after the other.
        let listed = self.host.conflicts();
        self.model.check_conflicts(&listed);
        for id in listed.iter().filter_map(|one| one["id"].as_str()) {
            let now = self.host.conflicts();
            let one = now.iter().find(|one| one["id"] == id).expect("it is still open");
            let theirs = one["theirs"].get("hash").cloned().unwrap_or(Value::Null);
            let resolution = ["mine", "theirs"][self.rng.below(2)];
            let status = self.resolve(id, json!({ "resolution": resolution, "theirs_hash": theirs }));
            assert_eq!(status, 200, "a conflict as it is shown can be resolved");
        }
    }

    fn deliver_until_quiet(&mut self) {
        while let Some(at) = self.net.next_at() {
            self.host.now = self.host.now.max(at);
            self.deliver_all();
        }
    }

    fn check_peace(&mut self) {
        for client in 0..self.clients.len() {
            self.pull(client);
            self.deliver_until_quiet();
        }
        self.revert_rejected();
        for client in &self.clients {
            match client {
                Client::Honest(honest) => {
                    assert!(!honest.has_work(), "{} has got rid of its edits", honest.id);
                    keys::assert_same(&honest.local, self.model.head(), &format!("what {} holds", honest.id));
                }
                Client::Device(device) => {
                    let id = device.replica.device_id();
                    assert!(!device.has_work(), "{id} has got rid of its edits");
                    keys::assert_same(&device.view(), self.model.head(), &format!("what {id} holds"));
                    self.model.expect_tokens(&device.wrote);
                }
                Client::Naive(_) => {}
            }
        }
        self.model.check_pull(&mut self.host, &mut self.rng);
        self.model.check_contents(&mut self.host, None);
        self.model.check_superseded(&mut self.host);
        self.check_all_rows();
    }
}

/// What a client still waits for.
fn waits(client: &Client) -> Option<String> {
    match client {
        Client::Honest(honest) if honest.has_work() || honest.must_pull => Some(honest.to_string()),
        Client::Device(device) if device.has_work() => {
            let replica = &device.replica;
            let (id, status) = (replica.device_id(), replica.status());
            Some(format!("{id} at seq {}, {status:?}, waiting: {:?}", replica.seq(), replica.pending()))
        }
        Client::Device(_) | Client::Honest(_) | Client::Naive(_) => None,
    }
}
