//! Sessions and pages: their fields, their removal, their return.

use std::collections::BTreeMap;

use serde_json::Value;

use super::leaf::{Base, Pushed, value_of};
use super::push::{Draft, Pushing, Status};
use super::{Bytes, Carried, Model, Written};
use crate::sim::keys;

impl Model {
    /// Decides the pushed fields of all entries. Gives the pages that return, with the content they had.
    pub(super) fn push_fields(
        &mut self,
        push: &Pushing<'_>,
        leaves: &[(String, Value)],
        draft: &mut Draft,
    ) -> BTreeMap<String, Option<Bytes>> {
        let mut entries: BTreeMap<&str, Vec<(&str, Option<&Value>)>> = BTreeMap::new();
        for (key, state) in leaves {
            if let Some(entry) = keys::entry_of(key).filter(|_| push.status(key) != Status::Rejected) {
                entries.entry(entry).or_default().push((key, value_of(key, state)));
            }
        }
        let mut returned = BTreeMap::new();
        for (entry, fields) in entries {
            let Some(removal) = self.unseen_removal(push, entry) else {
                for (key, value) in fields {
                    let ways = self.scalar_ways(push, key, value, self.last_write(key));
                    self.settle_scalar(push, key, value, ways, draft);
                }
                continue;
            };
            if self.push_fields_of_removed(push, entry, &fields, &removal, draft) {
                let content = self.removed_with(entry, &removal);
                let is_there = self.head_content(entry).is_some();
                if let Some(content) = content.filter(|_| !is_there) {
                    self.coverage.hit("page returns with its content");
                    keys::set_document(&mut draft.view, entry, Some(content.to_vec()));
                    draft.versions.push((entry.to_owned(), Some(std::sync::Arc::clone(&content))));
                    returned.insert(entry.to_owned(), Some(content));
                }
            }
        }
        returned
    }

    /// The removal of an entry without live fields, where it is concurrent with this push.
    fn unseen_removal(&self, push: &Pushing<'_>, entry: &str) -> Option<Written> {
        let removal = self.removals.get(entry)?;
        let is_gone = keys::fields(self.head(), entry).is_empty();
        let is_seen = removal.seq <= push.seen_fields(entry) || removal.device == push.device;
        (is_gone && !is_seen).then(|| removal.clone())
    }

    /// The content that a page had when it was removed.
    fn removed_with(&self, entry: &str, removal: &Written) -> Option<Bytes> {
        let versions = self.versions.get(entry)?;
        let at =
            versions.iter().position(|version| version.seq == removal.seq && version.content.is_none())?;
        versions.get(at.checked_sub(1)?)?.content.clone()
    }

    /// Field writes against the removal of their entry: whether the entry returns.
    fn push_fields_of_removed(
        &mut self,
        push: &Pushing<'_>,
        entry: &str,
        fields: &[(&str, Option<&Value>)],
        removal: &Written,
        draft: &mut Draft,
    ) -> bool {
        let mut writes = Vec::new();
        for (key, value) in fields {
            let ways = self.scalar_ways(push, key, *value, Some(removal));
            let is_no_write = match ways[..] {
                [(Status::Unchanged, _)] => true,
                [(Status::Unchanged, _), ..] => push.removal_stays(entry),
                _ => false,
            };
            if is_no_write {
                self.settle_scalar(push, key, *value, ways, draft);
            } else {
                writes.push((*key, *value));
            }
        }
        let Some(latest) = writes.iter().map(|(key, _)| push.changed_at(key)).max() else { return false };
        if latest < removal.changed_at {
            for (key, value) in writes {
                let ways = vec![(Status::Superseded, "entry field write loses against its removal")];
                self.settle_scalar(push, key, value, ways, draft);
            }
            return false;
        }
        self.coverage.hit("entry field write brings it back");
        draft.removals.push((entry.to_owned(), None));
        let prefix = format!("{entry}/");
        let hidden = self.writes.iter().filter(|(key, row)| key.starts_with(&prefix) && row.value.is_some());
        for (key, row) in hidden {
            keys::set_scalar(&mut draft.view, key, row.value.clone());
            draft.writes.push((key.clone(), Written { seq: self.seq + 1, ..row.clone() }));
        }
        for (key, value) in writes {
            let ways = self.scalar_ways(push, key, value, self.writes.get(key));
            self.settle_scalar(push, key, value, ways, draft);
        }
        true
    }

    /// Decides the removal of an entry.
    pub(super) fn push_removal(&mut self, push: &Pushing<'_>, entry: &str, draft: &mut Draft) {
        let status = push.status(entry);
        let has_content = self.head_content(entry).is_some();
        let (view, versions) = (draft.view.clone(), draft.versions.len());
        if keys::is_page(entry) {
            let by_content = self.push_document_removal(push, entry, has_content, draft);
            if matches!(by_content, Status::Conflict | Status::Blocked) {
                self.coverage.hit("entry page removal is a conflict or blocked");
                return;
            }
            if by_content == Status::Unchanged && has_content {
                self.coverage.hit("entry page removal of what it never had");
                draft.pushed.insert(entry.to_owned(), Carried::Removal);
                return;
            }
        }
        let ways = self.removal_ways(push, entry, has_content);
        let way = ways.iter().find(|(expected, _)| *expected == status);
        let Some((_, rule)) = way else { panic!("{entry} removed: is {status:?}, must be one of {ways:?}") };
        self.coverage.hit(rule);
        match status {
            Status::Applied => {
                keys::remove_entry(&mut draft.view, entry);
                draft.removals.push((entry.to_owned(), Some(push.written(self.seq + 1, entry, None))));
            }
            Status::Superseded => {
                // The page stays whole.
                draft.view = view;
                draft.versions.truncate(versions);
                draft.superseded.push((entry.to_owned(), None));
            }
            _ => {}
        }
        draft.pushed.insert(entry.to_owned(), Carried::Removal);
    }

    /// A page's removal by its content alone. What the reply says of it may come from its fields.
    fn push_document_removal(
        &mut self,
        push: &Pushing<'_>,
        entry: &str,
        has_content: bool,
        draft: &mut Draft,
    ) -> Status {
        let status = push.status(entry);
        if matches!(status, Status::Conflict | Status::Blocked) || !has_content {
            if has_content || status == Status::Blocked {
                return self.push_document(push, entry, &Pushed::Removed, None, draft);
            }
            return Status::Unchanged;
        }
        let (bases, head) = self.removal_bases(push, entry);
        let expected: Vec<Status> = bases
            .iter()
            .map(|from| match self.table(from, None, head.as_ref(), false, true).0 {
                super::document::Verdict::Unchanged => Status::Unchanged,
                super::document::Verdict::Write => Status::Applied,
                super::document::Verdict::Merge(_) | super::document::Verdict::Conflict(_) => {
                    Status::Conflict
                }
            })
            .collect();
        let by_content = match status {
            Status::Unchanged => Status::Unchanged,
            _ => Status::Applied, // and perhaps superseded by its fields
        };
        assert!(
            expected.contains(&by_content),
            "{entry} removed: its content says {expected:?}, it is {status:?}"
        );
        if by_content == Status::Applied {
            draft.versions.push((entry.to_owned(), None));
        }
        by_content
    }

    fn removal_bases(&self, push: &Pushing<'_>, entry: &str) -> (Vec<super::document::From>, Option<Bytes>) {
        let head = self.head_content(entry);
        (self.bases(push, entry, &Base::Unsaid, head.as_ref()), head)
    }

    /// What may become of an entry's removal by its fields.
    fn removal_ways(
        &self,
        push: &Pushing<'_>,
        entry: &str,
        has_content: bool,
    ) -> Vec<(Status, &'static str)> {
        let live = keys::fields(self.head(), entry);
        if live.is_empty() {
            return match has_content {
                true => vec![(Status::Applied, "entry removal of a page without fields")],
                false => vec![(Status::Unchanged, "entry removal of nothing")],
            };
        }
        let mut ways = Vec::new();
        if !has_content && !push.has_changed_at(entry) {
            match self.never_had(push, entry, &live) {
                Some(true) => return vec![(Status::Unchanged, "entry removal of what it never had")],
                Some(false) => {}
                None => ways.push((Status::Unchanged, "entry removal of what it never had, perhaps")),
            }
        }
        let unseen = live
            .iter()
            .filter_map(|key| self.writes.get(key))
            .filter(|row| row.seq > push.seen(entry) && row.device != push.device);
        let removed_at = push.changed_at(entry);
        ways.push(match unseen.map(|row| row.changed_at).max() {
            None => (Status::Applied, "entry removal of what it saw"),
            Some(latest) if removed_at < latest => (Status::Superseded, "entry removal loses"),
            Some(_) => (Status::Applied, "entry removal wins"),
        });
        ways
    }

    /// Whether the device's base had none of the live fields; `None`: it is pruned.
    fn never_had(&self, push: &Pushing<'_>, entry: &str, live: &[String]) -> Option<bool> {
        let pushed = self.pushed.get(&(push.device.to_owned(), entry.to_owned()));
        if let Some((carried, _)) = pushed.filter(|(_, seq)| *seq > push.seq) {
            return Some(*carried == Carried::Removal);
        }
        let all_new = live.iter().all(|key| self.writes.get(key).is_some_and(|row| row.seq > push.seq));
        if !all_new {
            return Some(false);
        }
        let state = self.states.get(&push.seq).filter(|_| push.seq >= self.floor)?;
        Some(live.iter().all(|key| keys::scalar(state, key).is_none()))
    }
}
