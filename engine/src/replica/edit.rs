//! Edits that no host has settled.

use super::Rejected;
use crate::ids::{Millis, Seq};
use crate::key::Key;
use crate::state::Document;
use serde_json::Value;
use std::collections::BTreeMap;

/// A scalar's new value.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ScalarEdit {
    /// `None`: it is removed.
    pub(super) value: Option<Value>,
    pub(super) at: Millis,
    /// The seq of the device when others' write arrived beneath.
    pub(super) stale: Option<Seq>,
    pub(super) rejected: Option<Rejected>,
}

/// A document's new content.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct DocumentEdit {
    /// `None`: it is removed.
    pub(super) content: Option<Vec<u8>>,
    pub(super) base: Base,
    pub(super) at: Millis,
    /// The host asked for the content: no patch.
    pub(super) in_full: bool,
    pub(super) rejected: Option<Rejected>,
}

impl DocumentEdit {
    pub(super) fn new(content: Option<Vec<u8>>, base: Base, at: Millis) -> DocumentEdit {
        DocumentEdit { content, base, at, in_full: false, rejected: None }
    }
}

/// What an edit was made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Base {
    /// What the layers beneath hold.
    Below,
    /// Something else, with which what is beneath does not merge; `None`: nothing.
    Kept(Option<Document>),
}

/// A session's or page's removal.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Removal {
    pub(super) at: Millis,
    pub(super) stale: Option<Seq>,
    pub(super) rejected: Option<Rejected>,
}

/// See [`super::Replica::write_onto`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) key: String,
    pub(super) base: Option<Document>,
    pub(super) content: Vec<u8>,
    pub(super) at: Millis,
}

/// One layer: by changed key; an entry's removal comes before its fields and content.
#[derive(Debug, Clone, Default)]
pub(super) struct Edits {
    pub(super) scalars: BTreeMap<String, ScalarEdit>,
    pub(super) documents: BTreeMap<String, DocumentEdit>,
    pub(super) removals: BTreeMap<String, Removal>,
}

impl Edits {
    /// What this layer says of a scalar; outer `None`: nothing, inner: that it is gone.
    pub(super) fn scalar(&self, key: &str) -> Option<Option<&Value>> {
        if let Some(edit) = self.scalars.get(key) {
            return Some(edit.value.as_ref());
        }
        self.removals.contains_key(entry_of(key)?).then_some(None)
    }

    /// What this layer says of a document; outer `None`: nothing, inner: that it is gone.
    pub(super) fn content(&self, key: &str) -> Option<Option<&[u8]>> {
        match self.documents.get(key) {
            Some(edit) => Some(edit.content.as_deref()),
            None => self.removals.contains_key(key).then_some(None),
        }
    }

    /// The keys of an entry's edited fields.
    pub(super) fn fields(&self, entry: &str) -> Vec<String> {
        let after = format!("{entry}0"); // '0' follows '/'
        self.scalars.range(format!("{entry}/")..after).map(|(key, _)| key.clone()).collect()
    }

    /// The keys of what was not rejected.
    pub(super) fn open(&self) -> impl Iterator<Item = &str> {
        let scalars = self.scalars.iter().filter(|(_, edit)| edit.rejected.is_none()).map(|(key, _)| key);
        let documents = self.documents.iter().filter(|(_, edit)| edit.rejected.is_none()).map(|(key, _)| key);
        let removals = self.removals.iter().filter(|(_, edit)| edit.rejected.is_none()).map(|(key, _)| key);
        scalars.chain(documents).chain(removals).map(String::as_str)
    }

    /// What was rejected, and why.
    pub(super) fn rejected(&self) -> Vec<(&str, &Rejected)> {
        let scalars = self.scalars.iter().map(|(key, edit)| (key, &edit.rejected));
        let documents = self.documents.iter().map(|(key, edit)| (key, &edit.rejected));
        let removals = self.removals.iter().map(|(key, edit)| (key, &edit.rejected));
        let all = scalars.chain(documents).chain(removals);
        all.filter_map(|(key, rejected)| Some((key.as_str(), rejected.as_ref()?))).collect()
    }

    /// The history is another: a write that others' has overtaken was made before all of it.
    pub(super) fn forget_places(&mut self) {
        let scalars = self.scalars.values_mut().filter_map(|edit| edit.stale.as_mut());
        let removals = self.removals.values_mut().filter_map(|edit| edit.stale.as_mut());
        scalars.chain(removals).for_each(|stale| *stale = 0);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.scalars.is_empty() && self.documents.is_empty() && self.removals.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.scalars.len() + self.documents.len() + self.removals.len()
    }

    /// The changed keys, each once.
    pub(super) fn keys(&self) -> Vec<String> {
        let documents = self.documents.keys().filter(|key| !self.removals.contains_key(*key));
        self.scalars.keys().chain(documents).chain(self.removals.keys()).cloned().collect()
    }
}

/// The session or page that a field belongs to.
pub(super) fn entry_of(key: &str) -> Option<&str> {
    match Key::parse(key) {
        Some(Key::Field(entry, _)) => Some(entry),
        Some(Key::Scalar(_) | Key::Entry(_) | Key::File(_)) | None => None,
    }
}
