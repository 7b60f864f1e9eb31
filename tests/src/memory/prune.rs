//! Pruning, as `nself_sync_engine::retention` says it.

use std::collections::{BTreeMap, BTreeSet};

use nself_sync_engine::ids::{Millis, Seq};
use nself_sync_engine::policy::Policy;
use nself_sync_engine::retention::cutoff;

use nself_sync_engine::commit::Commit;

use super::Rows;
use super::load::fields_of;

impl Rows {
    /// Drops what is older than the retention and is needed by nothing.
    pub fn prune(&mut self, policy: &Policy, now: Millis) {
        self.drop_old(policy, now);
        self.head.bytes = self.bytes();
        self.head.state_bytes = self.state_bytes();
    }

    fn drop_old(&mut self, policy: &Policy, now: Millis) {
        let cutoff = cutoff(policy, now);
        self.conflicts.retain(|_, conflict| conflict.resolved.as_ref().is_none_or(|done| done.at >= cutoff));
        let old = self.deltas.values().take_while(|delta| delta.created_at < cutoff);
        let Some((floor, floor_tag)) = old.last().map(|delta| (delta.seq, delta.tag)) else { return };
        self.head.floor = floor;
        self.head.floor_tag = floor_tag;
        let devices = &self.devices;
        self.pushed.retain(|(id, _), pushed| devices.get(id).is_none_or(|device| pushed.seq > device.seq));
        self.deltas.retain(|seq, _| *seq > floor);
        self.prune_versions(floor, cutoff);
        self.prune_segments(floor);
        self.trim_segments(floor);
        self.prune_tombstones(floor);
        let segments = &self.segments;
        self.located.retain(|(_, seq, key)| {
            *seq > floor || segments.range((key.clone(), 0)..=(key.clone(), *seq)).next().is_some()
        });
    }

    /// The newest of each key that was head once stays, whatever its age: it is the value until the next.
    fn prune_versions(&mut self, floor: Seq, cutoff: Millis) {
        let was_head =
            self.versions.values().filter(|version| version.cause.is_version() && version.seq <= floor);
        let mut newest = BTreeMap::new();
        for version in was_head {
            newest.insert(version.key.clone(), version.seq); // in the order of seqs
        }
        self.versions.retain(|(key, seq, _), version| {
            let is_old = if version.cause.is_version() {
                newest.get(key).is_some_and(|newest| seq < newest)
            } else {
                version.created_at < cutoff
            };
            *seq > floor || !is_old
        });
    }

    /// Segments whose successor begins at or before the floor, but those that hold what a device last pushed.
    fn prune_segments(&mut self, floor: Seq) {
        let holding = |key: &str, seq: Seq| {
            self.segments.range((key.to_owned(), 0)..=(key.to_owned(), seq)).last().map(|(at, _)| at.clone())
        };
        let pushed = self.pushed.iter().filter(|(_, pushed)| pushed.hash.is_some());
        let needed: BTreeSet<_> = pushed.filter_map(|((_, key), pushed)| holding(key, pushed.at)).collect();
        let has_successor = |key: &str, start: Seq| {
            self.segments.range((key.to_owned(), start + 1)..=(key.to_owned(), floor)).next().is_some()
        };
        let dropped: Vec<_> = (self.segments.keys())
            .filter(|at| at.1 < floor && has_successor(&at.0, at.1) && !needed.contains(at))
            .cloned()
            .collect();
        for at in dropped {
            self.segments.remove(&at);
        }
    }

    /// Forgets, within segments, what the documents were before the floor.
    fn trim_segments(&mut self, floor: Seq) {
        let holding: BTreeMap<String, Seq> =
            self.segments.keys().filter(|(_, start)| *start <= floor).cloned().collect();
        for (key, start) in holding {
            let at = (key.clone(), start);
            let trimmed = self.segments[&at].trim(floor).expect("a stored segment can be read");
            let Some(trimmed) = trimmed else { continue };
            let is_needed = self.pushed.iter().any(|((_, of), pushed)| {
                let is_old = *of == key && (start..=floor).contains(&pushed.at);
                let is_lost = pushed.hash != trimmed.first || pushed.at < trimmed.segment.start;
                is_old && pushed.hash.is_some() && is_lost
            });
            if is_needed {
                continue;
            }
            self.segments.remove(&at);
            let first = (trimmed.first.map(|hash| hash.prefix()), trimmed.segment.start);
            self.located
                .retain(|(prefix, seq, of)| *of != key || *seq > floor || (Some(*prefix), *seq) == first);
            self.apply(&Commit { segments: vec![trimmed.segment], ..Commit::default() });
        }
    }

    fn prune_tombstones(&mut self, floor: Seq) {
        let gone = self.scalars.iter().filter(|(_, row)| row.value.is_none() && row.seq <= floor);
        let gone: Vec<_> = gone.map(|(key, row)| (key.clone(), row.seq)).collect();
        for (key, seq) in gone {
            self.scalars.remove(&key);
            let hidden = self.scalars.range(fields_of(&key)).filter(|(_, row)| row.seq <= seq);
            let hidden: Vec<_> = hidden.map(|(key, _)| key.clone()).collect();
            for key in hidden {
                self.scalars.remove(&key);
            }
        }
        let scalars = &self.scalars;
        self.versions.retain(|(key, seq, _), version| {
            *seq > floor || !version.cause.is_version() || scalars.contains_key(key)
        });
        let pushed = self.pushed.iter().filter(|(_, pushed)| pushed.hash.is_some());
        let mut needed: BTreeSet<String> = pushed.map(|((_, key), _)| key.clone()).collect();
        needed.extend(self.located.iter().filter(|(_, seq, _)| *seq > floor).map(|(_, _, key)| key.clone()));
        let gone = self.documents.iter().filter(|(_, row)| row.hash.is_none() && row.seq <= floor);
        let gone: BTreeSet<_> =
            gone.map(|(key, _)| key.clone()).filter(|key| !needed.contains(key)).collect();
        self.documents.retain(|key, _| !gone.contains(key));
        let documents = &self.documents;
        self.segments.retain(|(key, _), _| documents.contains_key(key) || needed.contains(key));
        self.located.retain(|(_, _, key)| !gone.contains(key));
    }
}
