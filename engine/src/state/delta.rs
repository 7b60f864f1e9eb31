//! What leads from one state to another.

use super::{Document, State, fields};
use crate::ids::{Hash, Seq};
use crate::key::{self, Key};
use crate::text::{self, Patch};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What a patch costs beside its operations: the base's hash and two names.
const PATCH_OVERHEAD: usize = 96;

/// A change of state: entries that go whole, then values and documents by changed key.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Delta {
    /// Sessions and pages that are removed with all they have, before what else the delta says of them.
    pub(super) removed: BTreeSet<String>,
    /// Scalars and fields; `None`: removed.
    pub(super) scalars: BTreeMap<String, Option<Value>>,
    /// Files and contents of pages; `None`: removed.
    pub(super) documents: BTreeMap<String, Option<Change>>,
}

/// What a document becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// SHA-256 of its content.
    pub hash: Hash,
    /// Of its content, in bytes.
    pub size: usize,
    /// When it was changed, as far as a host has said.
    pub seq: Option<Seq>,
    /// How the content is told.
    pub body: Body,
}

/// How a document's content is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// In full; its hash is the change's.
    Content(Vec<u8>),
    /// As what changed since the content with the hash `base`.
    Patch {
        /// The operations.
        patch: Patch,
        /// Hash of what they apply to.
        base: Hash,
    },
    /// By its hash alone: whoever does not hold it fetches it.
    Hash,
}

impl Change {
    fn of(document: &Document) -> Change {
        Change {
            hash: document.hash,
            size: document.content.len(),
            seq: document.seq,
            body: Body::Content(document.content.clone()),
        }
    }

    /// The content in full, by what is held of the document; `None`: it cannot be known from that.
    pub(super) fn content(&self, held: Option<&Document>) -> Option<Vec<u8>> {
        match &self.body {
            Body::Content(content) => Some(content.clone()),
            Body::Patch { .. } | Body::Hash if held.is_some_and(|held| held.hash == self.hash) => {
                held.map(|held| held.content.clone())
            }
            Body::Patch { patch, base } => {
                let held = held.filter(|held| held.hash == *base)?;
                patch.apply(&held.content).ok().filter(|content| Hash::of(content) == self.hash)
            }
            Body::Hash => None,
        }
    }

    /// What `first` and then this change make of a document; `None`: `first` removed it.
    fn after(self, first: Option<Change>) -> Change {
        let Some(first) = first else { return self };
        let size = self.size;
        let seq = self.seq.or(first.seq.filter(|_| self.hash == first.hash));
        match self.body {
            Body::Content(_) => Change { seq, ..self },
            Body::Hash | Body::Patch { .. } if self.hash == first.hash => Change { seq, ..first },
            Body::Patch { ref patch, base } if base == first.hash => {
                let body = match first.body {
                    Body::Content(content) => {
                        let content = patch.apply(&content).ok();
                        content.filter(|content| Hash::of(content) == self.hash).map(Body::Content)
                    }
                    Body::Patch { patch: before, base } => {
                        before.compose(patch).ok().map(|patch| Body::Patch { patch, base })
                    }
                    Body::Hash => Some(Body::Patch { patch: patch.clone(), base }),
                };
                Change { hash: self.hash, size, seq, body: body.unwrap_or(Body::Hash) }
            }
            Body::Hash | Body::Patch { .. } => self,
        }
    }
}

impl Delta {
    /// What leads from `from` to `to`: nothing that is the same in both, each document in full that has other
    /// bytes. Of a session or page that is gone, only that. A document whose seq `to` does not know is the same
    /// when its bytes are.
    pub fn diff(from: &State, to: &State) -> Delta {
        let mut delta = Delta::default();
        for (key, value) in to.scalars.iter().filter(|(key, value)| from.scalars.get(*key) != Some(*value)) {
            delta.scalars.insert(key.clone(), Some(value.clone()));
        }
        for key in from.scalars.keys().filter(|key| !to.scalars.contains_key(*key)) {
            match Key::parse(key) {
                Some(Key::Field(entry, _)) if !to.has_entry(entry) => {
                    delta.removed.insert(entry.to_owned());
                }
                Some(Key::Field(..) | Key::Scalar(_) | Key::Entry(_) | Key::File(_)) | None => {
                    delta.scalars.insert(key.clone(), None);
                }
            }
        }
        for (key, document) in to.documents.iter() {
            let change = match from.documents.get(key) {
                Some(before) if before.hash == document.hash => {
                    if document.seq.is_none() || document.seq == before.seq {
                        continue;
                    }
                    Change { body: Body::Hash, ..Change::of(document) }
                }
                Some(_) | None => Change::of(document),
            };
            delta.documents.insert(key.clone(), Some(change));
        }
        for key in from.documents.keys().filter(|key| !to.documents.contains_key(*key)) {
            if key::collection(key) == key::PAGES && !to.has_entry(key) {
                delta.removed.insert(key.clone());
            } else {
                delta.documents.insert(key.clone(), None);
            }
        }
        delta
    }

    /// The same delta with texts as patches on what `from` holds, where that is smaller.
    pub fn patched(mut self, from: &State) -> Delta {
        for (key, change) in &mut self.documents {
            let Some((change, held)) = change.as_mut().zip(from.documents.get(key)) else { continue };
            let Body::Content(content) = &change.body else { continue };
            if text::is_text(&held.content) && text::is_text(content) {
                let patch = Patch::diff(&held.content, content);
                if patch.json_len() + PATCH_OVERHEAD < content.len() {
                    change.body = Body::Patch { patch, base: held.hash };
                }
            }
        }
        self
    }

    /// One delta for this one and then `next`: applied where both could be, it gives what both give. Nothing that
    /// `next` overwrites is left of this one.
    pub fn squash(mut self, next: Delta) -> Delta {
        for entry in &next.removed {
            let gone: Vec<String> = fields(&self.scalars, entry).map(str::to_owned).collect();
            for key in gone {
                self.scalars.remove(&key);
            }
            self.documents.remove(entry);
        }
        self.removed.extend(next.removed);
        self.scalars.extend(next.scalars);
        for (key, change) in next.documents {
            let first = self.documents.remove(&key).flatten();
            self.documents.insert(key, change.map(|change| change.after(first)));
        }
        self.forget_told_removals();
        self
    }

    /// A field or content that goes with its entry need not be told.
    fn forget_told_removals(&mut self) {
        let removed = &self.removed;
        self.scalars.retain(|key, value| {
            let is_told = match Key::parse(key) {
                Some(Key::Field(entry, _)) => removed.contains(entry),
                Some(Key::Scalar(_) | Key::Entry(_) | Key::File(_)) | None => false,
            };
            value.is_some() || !is_told
        });
        self.documents.retain(|key, change| change.is_some() || !removed.contains(key));
    }

    /// Takes in a content that was [`Missing`](super::Missing): each document with its hash is then told in full. Says
    /// whether there was one.
    pub fn supply(&mut self, content: &[u8]) -> bool {
        let hash = Hash::of(content);
        let changes = self.documents.values_mut().flatten().filter(|change| change.hash == hash);
        let mut was_named = false;
        for change in changes {
            change.body = Body::Content(content.to_vec());
            change.size = content.len();
            was_named = true;
        }
        was_named
    }

    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.removed.is_empty() && self.scalars.is_empty() && self.documents.is_empty()
    }

    /// The changed keys: scalars, documents, and entries that are removed.
    pub fn keys(&self) -> BTreeSet<&str> {
        let scalars = self.scalars.keys().chain(self.documents.keys());
        scalars.chain(&self.removed).map(String::as_str).collect()
    }

    /// What a document becomes; outer `None`: it is not in this delta, inner: it is removed.
    pub fn document(&self, key: &str) -> Option<Option<&Change>> {
        self.documents.get(key).map(Option::as_ref)
    }

    /// What a scalar becomes; outer `None`: it is not in this delta, inner: it is removed.
    pub fn scalar(&self, key: &str) -> Option<Option<&Value>> {
        self.scalars.get(key).map(Option::as_ref)
    }
}
