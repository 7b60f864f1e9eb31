//! The state document as a client holds it, and what changes it: [`State`] and [`Delta`].
//!
//! Both are kept flat, by changed key, as everywhere in the engine: a scalar each for top-level keys and for
//! fields of sessions and pages, a document each for files and contents of pages. A session or page
//! is there when it has a field or a content, so an empty one cannot be. JSON has the shape of the protocol's
//! state document: [`State::parse`], [`State::render`], [`Delta::parse`], [`Delta::render`].
//!
//! A `State` is always complete: each document has its content, and a content always has the hash it goes by. What a delta
//! gives by hash or as a patch only is looked for in the state it is applied to; what is not found there
//! is told ([`Missing`]) before anything is changed, for the client to fetch and [`Delta::supply`].

use crate::ids::{Hash, Seq};
use crate::key::{self, Key};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;

mod delta;
mod json;

pub use delta::{Body, Change, Delta};

/// A user's state at one point, complete.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct State {
    /// By changed key: top-level scalars and fields. Never null.
    scalars: BTreeMap<String, Value>,
    /// By changed key: files and contents of pages.
    documents: BTreeMap<String, Document>,
}

/// A document with its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    content: Vec<u8>,
    hash: Hash,
    /// When it was last changed; `None`: by this device, and not yet said by a host.
    seq: Option<Seq>,
}

impl Document {
    /// A document of which no host has said a seq.
    pub fn new(content: Vec<u8>) -> Document {
        Document { hash: Hash::of(&content), content, seq: None }
    }

    /// A document whose hash was computed before.
    pub(crate) fn known(content: Vec<u8>, hash: Hash, seq: Option<Seq>) -> Document {
        Document { content, hash, seq }
    }

    /// The bytes.
    pub fn content(&self) -> &[u8] {
        &self.content
    }

    /// SHA-256 of the bytes.
    pub fn hash(&self) -> Hash {
        self.hash
    }

    /// When it was last changed, as far as a host has said.
    pub fn seq(&self) -> Option<Seq> {
        self.seq
    }
}

/// Documents in full, by changed key; `None`: removed.
pub(crate) type Resolved = BTreeMap<String, Option<Document>>;

/// JSON that is not a state or a delta. Says which key, and never what it held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    /// The changed key, or the name that stands where one should.
    pub key: String,
    /// What is wrong.
    pub problem: &'static str,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.problem)
    }
}

impl std::error::Error for Malformed {}

/// Contents that a delta names by hash and that are not at hand; nothing was applied. A client fetches them
/// (`GET /sync/files/<hash>`), gives them to [`Delta::supply`], and applies again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// The hash of what is missing, by changed key.
    pub contents: BTreeMap<String, Hash>,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "contents of {} document(s) are not at hand", self.contents.len())
    }
}

impl std::error::Error for Missing {}

impl State {
    /// A scalar by its changed key (`active_file`, `sessions/s1/status`).
    pub fn scalar(&self, key: &str) -> Option<&Value> {
        self.scalars.get(key)
    }

    /// A document by its changed key (`files/src/main.rs`, `context_pages/p1`).
    pub fn document(&self, key: &str) -> Option<&Document> {
        self.documents.get(key)
    }

    /// All scalars, by changed key.
    pub fn scalars(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.scalars.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// All documents, by changed key.
    pub fn documents(&self) -> impl Iterator<Item = (&str, &Document)> {
        self.documents.iter().map(|(key, document)| (key.as_str(), document))
    }

    /// Whether a session or page (`sessions/s1`) has any field or content.
    pub fn has_entry(&self, entry: &str) -> bool {
        self.documents.contains_key(entry) || fields(&self.scalars, entry).next().is_some()
    }

    /// Writes a scalar; null removes it.
    ///
    /// # Errors
    /// [`Malformed`] where `key` does not name a top-level scalar or a field.
    pub fn set(&mut self, key: &str, value: Value) -> Result<(), Malformed> {
        match Key::parse(key) {
            Some(Key::Field(entry, field)) if is_reserved(entry, field) => Err(malformed(key, NOT_A_FIELD)),
            Some(Key::Scalar(_) | Key::Field(..)) => {
                put(&mut self.scalars, key, Some(value).filter(|value| !value.is_null()));
                Ok(())
            }
            Some(Key::Entry(_) | Key::File(_)) | None => Err(malformed(key, "it names no scalar")),
        }
    }

    /// Writes a document's content; `None` removes it. Of a page, its fields stay.
    ///
    /// # Errors
    /// [`Malformed`] where `key` does not name a file or a page.
    pub fn write(&mut self, key: &str, content: Option<Vec<u8>>) -> Result<(), Malformed> {
        if !is_document(key) {
            return Err(malformed(key, "it names no document"));
        }
        put(&mut self.documents, key, content.map(Document::new));
        Ok(())
    }

    /// Removes a session or page with all it has.
    pub fn remove_entry(&mut self, entry: &str) {
        let gone: Vec<String> = fields(&self.scalars, entry).map(str::to_owned).collect();
        for key in gone {
            self.scalars.remove(&key);
        }
        self.documents.remove(entry);
    }

    /// Applies a delta, all of it or nothing.
    ///
    /// A document given by its hash alone, or by a patch that leads to that hash, keeps the content where
    /// the held one has that hash; else a patch is applied where its base is the held content and the result has
    /// the hash.
    ///
    /// # Errors
    /// [`Missing`]: contents that the delta does not carry and this state does not hold.
    pub fn apply(&mut self, delta: &Delta) -> Result<(), Missing> {
        let documents = self.resolve(delta, &BTreeMap::new())?;
        self.put_delta(delta, documents);
        Ok(())
    }

    /// Becomes a snapshot, which is a delta from nothing: what it does not name is gone. What it gives by hash or
    /// patch only is taken from this state, as by [`State::apply`].
    ///
    /// # Errors
    /// As [`State::apply`].
    pub fn reset(&mut self, snapshot: &Delta) -> Result<(), Missing> {
        let documents = self.resolve(snapshot, &BTreeMap::new())?;
        *self = State::default();
        self.put_delta(snapshot, documents);
        Ok(())
    }

    /// Applies a delta whose documents [`State::resolve`] gave.
    pub(crate) fn put_delta(&mut self, delta: &Delta, documents: Resolved) {
        for entry in &delta.removed {
            self.remove_entry(entry);
        }
        for (key, value) in &delta.scalars {
            put(&mut self.scalars, key, value.clone());
        }
        for (key, document) in documents {
            put(&mut self.documents, &key, document);
        }
    }

    /// Writes a document as it is; `None` removes it.
    pub(crate) fn put_document(&mut self, key: &str, document: Option<Document>) {
        put(&mut self.documents, key, document);
    }

    /// Writes a scalar under a key that is known to name one; `None` removes it.
    pub(crate) fn put_scalar(&mut self, key: &str, value: Option<Value>) {
        put(&mut self.scalars, key, value);
    }

    /// The keys of an entry's fields.
    pub(crate) fn fields<'a>(&'a self, entry: &str) -> impl Iterator<Item = &'a str> {
        fields(&self.scalars, entry)
    }

    /// The documents of a delta in full, from what is held: first of `pushed`, then of this state.
    pub(crate) fn resolve(&self, delta: &Delta, pushed: &Resolved) -> Result<Resolved, Missing> {
        let mut documents = BTreeMap::new();
        let mut contents = BTreeMap::new();
        for (key, change) in &delta.documents {
            let Some(change) = change else {
                documents.insert(key.clone(), None);
                continue;
            };
            let (first, second) = (pushed.get(key).and_then(Option::as_ref), self.documents.get(key));
            match change.content(first).or_else(|| change.content(second)) {
                Some(content) => {
                    let held = second.filter(|held| held.hash == change.hash);
                    let seq = change.seq.or(held.and_then(|held| held.seq));
                    let document = Document { content, hash: change.hash, seq };
                    documents.insert(key.clone(), Some(document));
                }
                None => drop(contents.insert(key.clone(), change.hash)),
            }
        }
        if contents.is_empty() { Ok(documents) } else { Err(Missing { contents }) }
    }
}

const NOT_A_FIELD: &str = "a reserved name is no field";

fn malformed(key: &str, problem: &'static str) -> Malformed {
    Malformed { key: key.to_owned(), problem }
}

/// Whether a field's name is the page's content or reserved.
pub(crate) fn is_reserved(entry: &str, field: &str) -> bool {
    key::collection(entry) == key::PAGES && key::RESERVED.contains(&field)
}

/// Whether a changed key names what has content.
fn is_document(key: &str) -> bool {
    match Key::parse(key) {
        Some(Key::File(_)) => true,
        Some(Key::Entry(entry)) => key::collection(entry) == key::PAGES,
        Some(Key::Scalar(_) | Key::Field(..)) | None => false,
    }
}

fn put<V>(map: &mut BTreeMap<String, V>, key: &str, value: Option<V>) {
    match value {
        Some(value) => drop(map.insert(key.to_owned(), value)),
        None => drop(map.remove(key)),
    }
}

/// The keys of an entry's fields.
fn fields<'a, V>(scalars: &'a BTreeMap<String, V>, entry: &str) -> impl Iterator<Item = &'a str> {
    let after = format!("{entry}0"); // '0' follows '/'
    scalars.range(format!("{entry}/")..after).map(|(key, _)| key.as_str())
}

#[cfg(test)]
mod tests;
