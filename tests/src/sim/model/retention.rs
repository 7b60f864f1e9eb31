//! What must still be there, and what may be forgotten.

use serde_json::{Value, json};

use super::{Carried, Model};
use crate::sim::host::SimHost;
use crate::sim::rng::Rng;
use crate::world::sha256_hex;

impl Model {
    /// The host pruned. Checks how far, and forgets what the host may have forgotten.
    pub fn prune(&mut self, host: &SimHost) {
        let Some(rows) = host.rows() else { return };
        let cutoff = host.now.saturating_sub(self.policy.retention_days * 24 * 60 * 60 * 1000);
        self.cutoff = self.cutoff.max(cutoff);
        let floor = self.times.iter().take_while(|(_, at)| **at < cutoff).last().map_or(0, |(seq, _)| *seq);
        assert_eq!(
            rows.head.floor,
            floor.max(self.floor),
            "what is older than the retention is pruned, no more"
        );
        if floor <= self.floor {
            return;
        }
        self.coverage.hit("prune");
        self.floor = floor;
        self.states.retain(|seq, _| *seq >= floor);
        let seq_of = |device: &str| rows.devices.get(device).map_or(0, |device| device.seq);
        self.pushed.retain(|(device, _), (_, seq)| *seq > seq_of(device));
        let gone: Vec<String> = (self.removals.iter())
            .filter(|(_, row)| row.seq <= floor)
            .map(|(entry, _)| entry.clone())
            .collect();
        for entry in gone {
            let removal = self.removals.remove(&entry).expect("it was there");
            let prefix = format!("{entry}/");
            self.writes.retain(|key, row| !key.starts_with(&prefix) || row.seq > removal.seq);
        }
        self.writes.retain(|_, row| row.value.is_some() || row.seq > floor);
        let pushed = &self.pushed;
        let needed = |key: &str| {
            pushed.iter().any(|((_, of), (carried, _))| of == key && matches!(carried, Carried::Content(_)))
        };
        self.versions.retain(|key, versions| {
            let last = versions.last().expect("a document has a version");
            last.content.is_some() || last.seq > floor || needed(key)
        });
        self.superseded.retain(|(_, _, at)| *at >= cutoff);
    }

    /// Whether a content must be reachable.
    fn is_due(&self, key: &str, hash: &str) -> bool {
        let known = &self.contents[&(key.to_owned(), hash.to_owned())];
        known.live_at >= self.cutoff || self.head_content(key).is_some_and(|head| sha256_hex(&head) == hash)
    }

    /// Looks for some of the accepted contents (`None`: for all): by their hash, and in the history of their document.
    pub fn check_contents(&self, host: &mut SimHost, some: Option<&mut Rng>) {
        let all: Vec<_> = self.contents.keys().collect();
        let looked_for: Vec<_> = match some {
            Some(_) if all.is_empty() => Vec::new(),
            Some(rng) => (0..2).map(|_| *rng.pick(&all)).collect(),
            None => all,
        };
        for (key, hash) in looked_for {
            if !self.is_due(key, hash) {
                continue;
            }
            let known = &self.contents[&(key.clone(), hash.clone())];
            let found = host.file(hash);
            assert!(
                found.is_some(),
                "a content of {key} ({hash}), accepted and within the retention, is not reachable: {known:?}"
            );
            assert_eq!(found.as_deref(), Some(&**known.bytes), "/sync/files/{hash} gives other bytes");
            if known.listed_at >= self.cutoff {
                let history = host.history(key);
                let is_listed = history.iter().any(|version| version["hash"] == json!(hash));
                assert!(
                    is_listed,
                    "a content of {key} ({hash}, {known:?}) is not in its history: {history:?}"
                );
            }
        }
    }

    /// Looks for the scalars that lost: both values stay in the history.
    pub fn check_superseded(&self, host: &mut SimHost) {
        for (key, value, _) in self.superseded.iter().rev().take(5) {
            let history = host.history(key);
            let value = value.clone().unwrap_or(Value::Null);
            let is_there = history.iter().any(|version| version["value"] == value);
            assert!(
                is_there || is_page_removal(key, &value),
                "{key} = {value} lost and is not in the history"
            );
        }
    }
}

/// A page's removal that lost is in no history of scalars: the page's key is that of its document.
fn is_page_removal(key: &str, value: &Value) -> bool {
    value.is_null() && key.starts_with("context_pages/") && key.matches('/').count() == 1
}
