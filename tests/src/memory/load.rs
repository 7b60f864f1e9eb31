//! Scope → Slice.

use std::ops::Bound;

use nself_sync_engine::ids::Seq;
use nself_sync_engine::slice::{Conflict, ConflictScope, Located, Scope, Side, Slice, Version};

use super::Rows;

/// Few, so that calls have to ask again.
const DELTAS_MAX: usize = 3;

impl Rows {
    /// Loads exactly the rows that `scope` names. The head is the caller's to add.
    pub fn load(&self, scope: &Scope) -> Slice {
        let mut slice = Slice::default();
        self.load_devices(scope, &mut slice);
        self.load_state(scope, &mut slice);
        self.load_history(scope, &mut slice);
        self.load_contents(scope, &mut slice);
        let conflicts =
            self.conflicts.values().filter_map(|conflict| load_conflict(&scope.conflicts, conflict));
        slice.conflicts = conflicts.map(|conflict| (conflict.id.clone(), conflict)).collect();
        slice
    }

    fn load_devices(&self, scope: &Scope, slice: &mut Slice) {
        if scope.all_devices {
            let live = self.devices.iter().filter(|(_, device)| device.removed_at.is_none());
            slice.devices.extend(live.map(|(id, device)| (id.clone(), device.clone())));
        }
        for id in &scope.devices {
            slice.devices.extend(self.devices.get(id).map(|device| (id.clone(), device.clone())));
        }
        if scope.count_devices && scope.devices.iter().any(|id| !self.devices.contains_key(id)) {
            slice.devices_count = self.devices.values().filter(|device| device.removed_at.is_none()).count();
        }
    }

    fn load_state(&self, scope: &Scope, slice: &mut Slice) {
        if scope.whole_state {
            let documents = self.documents.iter().filter(|(_, row)| row.hash.is_some());
            slice.documents = documents.map(|(key, row)| (key.clone(), (**row).clone())).collect();
            slice.scalars = self.scalars.iter().map(|(key, row)| (key.clone(), (**row).clone())).collect();
        }
        for key in scope.scalars.iter().chain(&scope.entries) {
            slice.scalars.extend(self.scalars.get(key).map(|row| (key.clone(), (**row).clone())));
        }
        for entry in &scope.entries {
            let fields = self.scalars.range(fields_of(entry));
            slice.scalars.extend(fields.map(|(key, row)| (key.clone(), (**row).clone())));
        }
        for key in &scope.documents {
            slice.documents.extend(self.documents.get(key).map(|row| (key.clone(), (**row).clone())));
        }
        if let Some(device_id) = &scope.pushed_by {
            for key in &scope.pushed_keys {
                let pushed = self.pushed.get(&(device_id.clone(), key.clone()));
                slice.pushed.extend(pushed.map(|pushed| (key.clone(), *pushed)));
            }
        }
    }

    fn load_history(&self, scope: &Scope, slice: &mut Slice) {
        if let Some((after, upto)) = scope.deltas.filter(|(after, upto)| after < upto) {
            let deltas = self.deltas.range((Bound::Excluded(after), Bound::Included(upto)));
            slice.deltas.extend(deltas.take(DELTAS_MAX).map(|(seq, delta)| (*seq, (**delta).clone())));
        }
        for seq in &scope.deltas_at {
            slice.deltas.extend(self.deltas.get(seq).map(|delta| (*seq, (**delta).clone())));
        }
        for (key, seq) in &scope.values_at {
            let found = self.versions_of(key, *seq).rfind(|version| version.cause.is_version());
            slice.values_at.extend(found.map(|version| ((key.clone(), *seq), version.clone())));
        }
        if let Some(page) = &scope.versions {
            let before = page.before.unwrap_or((Seq::MAX, u32::MAX));
            let versions = self.versions_of(&page.key, before.0).rev();
            let older = versions.filter(|version| (version.seq, version.no) < before);
            slice.versions = older.take(page.limit).cloned().collect();
        }
    }

    /// The versions of a key up to and including those of `seq`, oldest first.
    fn versions_of<'a>(&'a self, key: &str, seq: Seq) -> impl DoubleEndedIterator<Item = &'a Version> + 'a {
        let range = (key.to_owned(), 0, 0)..=(key.to_owned(), seq, u32::MAX);
        self.versions.range(range).map(|(_, version)| &**version)
    }

    fn load_contents(&self, scope: &Scope, slice: &mut Slice) {
        for hash in &scope.hashes {
            let prefix = hash.prefix();
            let places = self.located.range((prefix, 0, String::new())..(prefix, Seq::MAX, String::new()));
            let newest_first = places.rev();
            slice.located.extend(newest_first.map(|(prefix, seq, key)| Located {
                prefix: *prefix,
                key: key.clone(),
                seq: *seq,
            }));
        }
        for (key, seq) in &scope.segments {
            let upto = self.segments.range((key.clone(), 0)..=(key.clone(), *seq));
            let holding = upto.last().map(|(at, segment)| (at.clone(), (**segment).clone()));
            slice.segments.extend(holding);
        }
    }
}

/// The range of the keys of an entry's fields: they follow its key and a slash.
pub(super) fn fields_of(entry: &str) -> std::ops::Range<String> {
    format!("{entry}/")..format!("{entry}0")
}

fn load_conflict(scope: &ConflictScope, conflict: &Conflict) -> Option<Conflict> {
    let is_open = conflict.resolved.is_none();
    let (wanted, brief) = match scope {
        ConflictScope::None => (false, true),
        ConflictScope::OpenOf(device_id) => (is_open && conflict.mine_device_id == *device_id, true),
        ConflictScope::OpenBrief => (is_open, true),
        ConflictScope::Ids(ids) => (ids.contains(&conflict.id), false),
    };
    let mut conflict = conflict.clone();
    if brief {
        for side in [&mut conflict.base, &mut conflict.mine, &mut conflict.theirs] {
            *side = side.take().map(|side| Side { content: Vec::new(), ..side });
        }
    }
    wanted.then_some(conflict)
}
