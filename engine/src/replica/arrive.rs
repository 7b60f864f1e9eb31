//! What arrives from the host, and the edits that it arrives beneath.

use super::edit::{Base, DocumentEdit, ScalarEdit, entry_of};
use super::event::Activity;
use super::write::check_document;
use super::{FETCHES_MAX, Place, Replica, earlier};
use crate::ids::{Hash, Millis, Seq};
use crate::state::{Delta, Document, Resolved};
use crate::text::{self, Merge, is_text};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// A delta or snapshot.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) delta: Delta,
    /// A snapshot: what it does not name is gone.
    pub(super) is_whole: bool,
    /// The history is another from here on: what this device has may be the only copy.
    pub(super) is_other: bool,
    pub(super) at: Place,
    pub(super) epoch: Option<String>,
    /// Contents that have to be fetched.
    pub(super) missing: BTreeMap<String, Hash>,
    /// Those on their way, by request.
    pub(super) asked: BTreeMap<u64, Hash>,
    pub(super) what: Activity,
    pub(super) bytes: (usize, usize),
}

impl Arrival {
    /// A content to ask for.
    pub(super) fn next_missing(&self) -> Option<Hash> {
        if self.asked.len() >= FETCHES_MAX {
            return None;
        }
        self.missing.values().find(|hash| !self.asked.values().any(|asked| asked == *hash)).copied()
    }
}

impl Replica {
    /// Applies it, once all contents are at hand.
    pub(super) fn arrive(&mut self, mut arrival: Arrival, now: Millis) {
        self.part_from_conflicts(arrival.is_other, now);
        if arrival.is_other {
            self.land(); // what was pushed went into a history that is gone
            self.edits.forget_places();
            self.journal.mark_edits('e', &self.edits);
        }
        let (pushed, accepted) = self.pushed_documents();
        match self.host.resolve(&arrival.delta, &pushed) {
            Ok(resolved) => {
                self.hand_back();
                self.apply(arrival, resolved, accepted, now);
            }
            Err(missing) => {
                arrival.missing = missing.contents;
                self.arrival = Some(arrival);
            }
        }
    }

    fn apply(&mut self, arrival: Arrival, resolved: Resolved, accepted: Resolved, now: Millis) {
        let keys = self.touched_keys(&arrival);
        let before = self.seen_before(&keys);
        let stood = if arrival.is_other { 0 } else { self.at.seq };
        let documents = self.beneath(&keys, arrival.is_other);
        let had_entries = self.edited_entries();

        if !arrival.is_whole {
            self.accept(accepted);
        }
        if arrival.is_whole {
            self.host = crate::state::State::default();
        }
        self.host.put_delta(&arrival.delta, resolved);
        for key in &keys {
            if before.documents.get(key).copied().flatten() != self.host.document(key).map(version) {
                self.journal.mark('h', 'd', key);
            }
            if before.host.get(key).and_then(Option::as_ref) != self.host.scalar(key) {
                self.journal.mark('h', 's', key);
                let carried = self.flight.as_ref().and_then(|flight| flight.carried.scalars.get(key));
                let own =
                    carried.filter(|edit| edit.value.as_ref() == self.host.scalar(key)).map(|edit| edit.at);
                match self.host.scalar(key) {
                    Some(_) => drop(self.times.insert(key.clone(), own.unwrap_or(now))),
                    None => drop(self.times.remove(key)),
                }
            }
        }
        (self.at, self.epoch) = (arrival.at.clone(), arrival.epoch.clone());
        self.journal.mark_meta();

        let removed: BTreeSet<String> =
            had_entries.into_iter().filter(|entry| !self.host.has_entry(entry)).collect();
        self.rebase_scalars(&keys, &before, stood, &removed);
        self.rebase_removals(&keys, &before, &documents, stood);
        let mut merged = Vec::new();
        for (key, old) in &documents {
            if arrival.is_other {
                self.keep_document(key, old.as_ref(), now);
            } else if self.rebase_document(key, old.as_ref()) {
                merged.push(key.clone());
            }
        }
        if arrival.is_other {
            self.keep_scalars(&before, now);
        }
        let sent = self.flight.as_ref().map(|flight| flight.carried.keys()).unwrap_or_default();
        self.settle(now);
        let changed = keys.iter().filter(|key| self.is_changed(key, &before));
        let changed: Vec<String> = changed.cloned().collect();
        match arrival.what {
            Activity::Push => {
                self.happened(Activity::Push, sent, arrival.bytes, now, "");
                if !changed.is_empty() {
                    self.happened(Activity::Pull, changed.clone(), (0, 0), now, "");
                }
            }
            what if !changed.is_empty() || arrival.bytes != (0, 0) => {
                self.happened(what, changed.clone(), arrival.bytes, now, "");
            }
            _ => {}
        }
        if !merged.is_empty() {
            self.happened(Activity::Merge, merged, (0, 0), now, "");
        }
        self.changed(changed);
    }

    /// All keys that may have another value afterwards, in the host's copy or in what the user sees.
    fn touched_keys(&self, arrival: &Arrival) -> BTreeSet<String> {
        let mut keys: BTreeSet<String> = arrival.delta.keys().into_iter().map(str::to_owned).collect();
        for entry in keys.clone() {
            keys.extend(self.all_fields(&entry));
        }
        if let Some(flight) = &self.flight {
            for key in flight.carried.keys() {
                keys.extend(self.all_fields(&key));
                keys.insert(key);
            }
        }
        if arrival.is_whole {
            keys.extend(self.host.scalars().map(|(key, _)| key.to_owned()));
            keys.extend(self.host.documents().map(|(key, _)| key.to_owned()));
            keys.extend(self.edits.keys());
        }
        keys
    }

    fn seen_before(&self, keys: &BTreeSet<String>) -> Before {
        let mut before = Before::default();
        for key in keys {
            before.host.insert(key.clone(), self.host.scalar(key).cloned());
            before.documents.insert(key.clone(), self.host.document(key).map(version));
            before.beneath.insert(key.clone(), self.scalar_beneath(key).cloned());
            before.scalars.insert(key.clone(), self.get(key).cloned());
            before.contents.insert(key.clone(), self.content_hash(key));
            before.times.extend(self.times.get_key_value(key).map(|(key, at)| (key.clone(), *at)));
        }
        before
    }

    /// What lies beneath the edits of these documents; `is_all`: of those without an edit as well.
    fn beneath(&self, keys: &BTreeSet<String>, is_all: bool) -> BTreeMap<String, Option<Document>> {
        let carried = |key: &str| self.flight.as_ref().and_then(|flight| flight.carried.content(key));
        let document = |key: &str| match carried(key) {
            Some(content) => content.map(|content| Document::new(content.to_vec())),
            None => self.host.document(key).cloned(),
        };
        let is_one =
            |key: &&String| check_document(key).is_ok() && (is_all || self.edits.content(key).is_some());
        keys.iter().filter(is_one).map(|key| (key.clone(), document(key))).collect()
    }

    /// Entries that there are beneath the edits of their fields.
    fn edited_entries(&self) -> BTreeSet<String> {
        let entries = self.edits.scalars.keys().filter_map(|key| entry_of(key));
        entries.filter(|entry| self.has_beneath(entry)).map(str::to_owned).collect()
    }

    /// A write that others' arrives beneath was made before it: the host decides between them by their times.
    fn rebase_scalars(
        &mut self,
        keys: &BTreeSet<String>,
        before: &Before,
        stood: Seq,
        removed: &BTreeSet<String>,
    ) {
        let fields: Vec<String> = removed.iter().flat_map(|entry| self.edits.fields(entry)).collect();
        for key in keys.iter().chain(&fields) {
            let host = self.host.scalar(key);
            let Some(edit) = self.edits.scalars.get_mut(key) else { continue };
            let is_removed = entry_of(key).is_some_and(|entry| removed.contains(entry));
            if edit.value.as_ref() == host && !is_removed {
                self.edits.scalars.remove(key);
            } else if is_removed || before.beneath.get(key).is_some_and(|old| old.as_ref() != host) {
                overtake(&mut edit.stale, stood);
            } else {
                continue;
            }
            self.journal.mark('e', 's', key);
        }
    }

    /// What the user removed was what was seen then: a content that is another by now stays. Fields are the host's to
    /// decide.
    fn rebase_removals(
        &mut self,
        keys: &BTreeSet<String>,
        before: &Before,
        documents: &BTreeMap<String, Option<Document>>,
        stood: Seq,
    ) {
        let entries: Vec<String> = self.edits.removals.keys().cloned().collect();
        for entry in entries {
            let old = documents.get(&entry).and_then(Option::as_ref).map(Document::hash);
            let new = self.host.document(&entry).map(Document::hash);
            let is_other = documents.contains_key(&entry) && old != new && new.is_some();
            if is_other || !self.host.has_entry(&entry) {
                self.edits.removals.remove(&entry);
                self.journal.mark('e', 'r', &entry);
                continue;
            }
            let is_written = |field: &&String| {
                entry_of(field) == Some(&entry)
                    && before.beneath.get(*field).is_some_and(|old| old.as_ref() != self.host.scalar(field))
            };
            if keys.iter().any(|field| is_written(&field))
                && let Some(removal) = self.edits.removals.get_mut(&entry)
            {
                overtake(&mut removal.stale, stood);
                self.journal.mark('e', 'r', &entry);
            }
        }
    }

    /// A document's edit onto what arrived beneath it. Says whether something was merged.
    fn rebase_document(&mut self, key: &str, old: Option<&Document>) -> bool {
        let file_bytes_max = self.policy.file_bytes_max;
        let new = self.host.document(key);
        let Some(edit) = self.edits.documents.get_mut(key) else { return false };
        let is_same = old.map(Document::hash) == new.map(Document::hash);
        let base = match &edit.base {
            Base::Below if is_same => return false,
            Base::Below => old.cloned(),
            Base::Kept(kept) => kept.clone(),
        };
        self.journal.mark('e', 'd', key);
        let there = new.map(Document::content);
        match &edit.content {
            // Gone already; or another by now, and then it stays.
            None => drop(self.edits.documents.remove(key)),
            Some(mine) if Some(mine.as_slice()) == there => drop(self.edits.documents.remove(key)),
            Some(mine) => {
                let content = base.as_ref().map(Document::content);
                let merged = merge(content, mine, there).filter(|merged| merged.len() <= file_bytes_max);
                match merged {
                    Some(merged) if Some(merged.as_slice()) == there => {
                        self.edits.documents.remove(key);
                        return true;
                    }
                    Some(merged) => {
                        *edit = DocumentEdit { content: Some(merged), base: Base::Below, ..edit.clone() };
                        return true;
                    }
                    None => edit.base = Base::Kept(base),
                }
            }
        }
        false
    }

    /// The host's history is another: a document that differs from what it has now is offered, by no base, for it may be
    /// the only copy; an edit keeps the base that it had.
    fn keep_document(&mut self, key: &str, old: Option<&Document>, now: Millis) {
        let new = self.host.document(key);
        if old.map(Document::hash) == new.map(Document::hash) {
            return;
        }
        self.journal.mark('e', 'd', key);
        match self.edits.documents.get_mut(key) {
            Some(edit) if edit.content.is_none() => drop(self.edits.documents.remove(key)),
            Some(edit) if edit.base == Base::Below => edit.base = Base::Kept(old.cloned()),
            // The edit was not made from it.
            Some(_) => {
                if let Some(old) = old {
                    self.wait(key.to_owned(), None, old.content().to_vec(), now);
                }
            }
            None => {
                if let Some(old) = old.filter(|_| !self.edits.removals.contains_key(key)) {
                    let edit = DocumentEdit::new(Some(old.content().to_vec()), Base::Kept(None), now);
                    self.edits.documents.insert(key.to_owned(), edit);
                }
            }
        }
    }

    /// The same for scalars, each with the time at which it was written.
    fn keep_scalars(&mut self, before: &Before, now: Millis) {
        for (key, old) in &before.beneath {
            let Some(old) = old.as_ref().filter(|old| self.host.scalar(key) != Some(*old)) else { continue };
            let is_removed = entry_of(key).is_some_and(|entry| self.edits.removals.contains_key(entry));
            if is_removed || self.edits.scalars.contains_key(key) {
                continue;
            }
            let at = before.times.get(key).copied().unwrap_or(now);
            let edit = ScalarEdit { value: Some(old.clone()), at, stale: Some(0), rejected: None };
            self.journal.mark('e', 's', key);
            self.edits.scalars.insert(key.clone(), edit);
        }
    }

    fn is_changed(&self, key: &str, before: &Before) -> bool {
        before.scalars.get(key).and_then(Option::as_ref) != self.get(key)
            || before.contents.get(key).copied().flatten() != self.content_hash(key)
    }

    /// The hash of what the user sees, mostly without computing it.
    fn content_hash(&self, key: &str) -> Option<Hash> {
        let carried = self.flight.as_ref().and_then(|flight| flight.carried.content(key));
        match self.edits.content(key).or(carried) {
            Some(content) => content.map(Hash::of),
            None => self.host.document(key).map(Document::hash),
        }
    }
}

/// Others' write arrived where the device stood; the first that did counts, and place 0 is before any.
fn overtake(stale: &mut Option<Seq>, stood: Seq) {
    *stale = earlier(*stale, Some(stood));
}

/// What a document's record says.
fn version(document: &Document) -> (Hash, Option<Seq>) {
    (document.hash(), document.seq())
}

/// What was, by key.
#[derive(Default)]
struct Before {
    /// In the host's copy.
    host: BTreeMap<String, Option<Value>>,
    documents: BTreeMap<String, Option<(Hash, Option<Seq>)>>,
    /// When its scalars were written.
    times: BTreeMap<String, Millis>,
    /// Beneath the edits.
    beneath: BTreeMap<String, Option<Value>>,
    /// As the user saw it.
    scalars: BTreeMap<String, Option<Value>>,
    contents: BTreeMap<String, Option<Hash>>,
}

/// Merges what `mine` and `theirs` made of `base`; `None`: it takes a person, or the host.
pub(super) fn merge(base: Option<&[u8]>, mine: &[u8], theirs: Option<&[u8]>) -> Option<Vec<u8>> {
    if theirs == base {
        return Some(mine.to_vec());
    }
    let (base, theirs) = (base?, theirs?);
    if ![base, mine, theirs].into_iter().all(is_text) {
        return None;
    }
    match text::merge(base, mine, theirs) {
        Merge::Clean(merged) => Some(merged),
        Merge::Conflict => None,
    }
}
