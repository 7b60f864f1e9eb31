//! Commit → rows.

use std::sync::Arc;

use nself_sync_engine::commit::{Commit, SegmentWrite, Touch};
use nself_sync_engine::slice::{Conflict, Device, Head, Segment, Version};

use super::Rows;

impl Rows {
    /// Writes all rows of a commit.
    pub fn apply(&mut self, commit: &Commit) {
        if let Some(head) = &commit.head {
            // The floor is pruning's alone.
            let Head { floor, floor_tag, .. } = self.head;
            self.head = Head { floor, floor_tag, ..head.clone() };
        }
        if let Some(device) = &commit.device {
            self.put_device(device);
            if commit.forget_pushed {
                self.pushed.retain(|(device_id, _), _| *device_id != device.device_id);
            }
        }
        for (key, pushed) in &commit.pushed {
            self.pushed.insert((commit.pushed_by.clone(), key.clone()), *pushed);
        }
        if let Some(delta) = &commit.delta {
            let before = self.deltas.insert(delta.seq, Arc::new(delta.clone()));
            assert!(before.is_none(), "delta {} was there already", delta.seq);
        }
        for key in &commit.scalars_dropped {
            self.scalars.remove(key);
        }
        for (key, scalar) in &commit.scalars {
            self.scalars.insert(key.clone(), Arc::new(scalar.clone()));
        }
        for (key, document) in &commit.documents {
            self.documents.insert(key.clone(), Arc::new(document.clone()));
        }
        for version in &commit.versions {
            self.put_version(version, commit.versions_numbered);
        }
        for segment in &commit.segments {
            self.put_segment(segment);
        }
        for located in &commit.located {
            self.located.insert((located.prefix, located.seq, located.key.clone()));
        }
        for conflict in &commit.conflicts {
            let before = self.conflicts.insert(conflict.id.clone(), Arc::new(conflict.clone()));
            assert!(before.is_none(), "conflict {} was there already", conflict.id);
        }
        if let Some((id, resolved)) = &commit.resolved {
            let conflict = self.conflicts.get_mut(id).filter(|conflict| conflict.resolved.is_none());
            let conflict = conflict.unwrap_or_else(|| panic!("no open conflict {id} to resolve"));
            *conflict = Arc::new(Conflict { resolved: Some(resolved.clone()), ..(**conflict).clone() });
        }
    }

    /// Writes a device's `last_seen` and seq.
    pub fn touch(&mut self, touch: &Touch) {
        let device = self.devices.get_mut(&touch.device_id).filter(|device| device.removed_at.is_none());
        if let Some(device) = device {
            device.last_seen = device.last_seen.max(touch.last_seen);
            device.seq = device.seq.max(touch.seq);
        }
    }

    /// What it runs on and when it registered stay as they were.
    fn put_device(&mut self, device: &Device) {
        let device = match self.devices.get(&device.device_id) {
            Some(known) => {
                Device { platform: known.platform, created_at: known.created_at, ..device.clone() }
            }
            None => device.clone(),
        };
        self.devices.insert(device.device_id.clone(), device);
    }

    fn put_version(&mut self, version: &Version, is_numbered: bool) {
        let (key, seq) = (version.key.clone(), version.seq);
        let of_seq = self.versions.range((key.clone(), seq, 0)..=(key.clone(), seq, u32::MAX));
        let next = of_seq.last().map_or(0, |((_, _, no), _)| no + 1);
        let no = if is_numbered { version.no } else { next };
        self.versions.insert((key, seq, no), Arc::new(Version { no, ..version.clone() }));
    }

    fn put_segment(&mut self, write: &SegmentWrite) {
        let at = (write.key.clone(), write.start);
        let keyframe = match (&write.keyframe, self.segments.get(&at)) {
            (Some(keyframe), _) => keyframe.clone(),
            (None, Some(stored)) => stored.keyframe.clone(),
            (None, None) => panic!("a pack without a keyframe at {} of a document", write.start),
        };
        let (key, start, pack) = (write.key.clone(), write.start, write.pack.clone());
        self.segments.insert(at, Arc::new(Segment { key, start, keyframe, pack }));
    }
}
