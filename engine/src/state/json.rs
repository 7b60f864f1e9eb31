//! States and deltas as JSON in the shape of the state document.

use super::{Body, Change, Delta, Document, Malformed, State, is_reserved, malformed};
use crate::ids::{Hash, SEQ_MAX};
use crate::key::{self, FILES, Key, PAGES};
use crate::text::Patch;
use crate::wire::document_content;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

impl State {
    /// Reads a complete state. Nulls, empty entries and empty collections are as if they were not there.
    ///
    /// # Errors
    /// As [`Delta::parse`], and where a document does not carry its content.
    pub fn parse(state: &Map<String, Value>) -> Result<State, Malformed> {
        let delta = Delta::parse(state)?;
        let mut read = State::default();
        let without = |missing: super::Missing| {
            let key = missing.contents.into_keys().next().unwrap_or_default();
            Malformed { key, problem: "a document of a state has its content" }
        };
        read.apply(&delta).map_err(without)?;
        Ok(read)
    }

    /// As the protocol shows it: text as `content`, bytes as `content_base64`, with `hash`, `size` and, where
    /// known, `seq`.
    pub fn render(&self) -> Map<String, Value> {
        let mut state = Map::new();
        for (key, value) in self.scalars() {
            key::set(&mut state, key, value.clone());
        }
        for (key, document) in self.documents() {
            let Document { content, hash, seq } = document;
            let body = Body::Content(content.clone());
            let change = Change { hash: *hash, size: content.len(), seq: *seq, body };
            set_document(&mut state, key, &change);
        }
        state
    }
}

impl Delta {
    /// Reads the `state` of a delta or snapshot, as a host's reply has it.
    ///
    /// # Errors
    /// [`Malformed`]: not the shape of the protocol, an invalid key, or a content that has not the hash given with it.
    pub fn parse(state: &Map<String, Value>) -> Result<Delta, Malformed> {
        let mut delta = Delta::default();
        for (name, value) in state {
            if !key::is_collection(name) {
                if !key::is_name(name) {
                    return Err(malformed(name, INVALID_KEY));
                }
                delta.scalars.insert(name.clone(), not_null(value));
                continue;
            }
            let entries = value.as_object().ok_or_else(|| malformed(name, "a collection is an object"))?;
            for (id, entry) in entries {
                delta.read_entry(name, &format!("{name}/{id}"), entry)?;
            }
        }
        Ok(delta)
    }

    fn read_entry(&mut self, collection: &str, key: &str, entry: &Value) -> Result<(), Malformed> {
        if !matches!(Key::parse(key), Some(Key::Entry(_) | Key::File(_))) {
            return Err(malformed(key, INVALID_KEY));
        }
        let is_file = collection == FILES;
        let members = match entry {
            Value::Object(members) => members,
            Value::Null if is_file => {
                self.documents.insert(key.to_owned(), None);
                return Ok(());
            }
            Value::Null => {
                self.removed.insert(key.to_owned());
                return Ok(());
            }
            _ => return Err(malformed(key, "an entry is an object or null")),
        };
        if collection == FILES || collection == PAGES {
            let document = read_document(key, members)?;
            if is_file && !matches!(document, Some(Some(_))) {
                return Err(malformed(key, "a file has a content or a hash"));
            }
            self.documents.extend(document.map(|document| (key.to_owned(), document)));
        }
        if is_file {
            return Ok(());
        }
        for (field, value) in members.iter().filter(|(field, _)| !is_reserved(key, field)) {
            if !key::is_name(field) {
                return Err(malformed(&format!("{key}/{field}"), INVALID_KEY));
            }
            self.scalars.insert(format!("{key}/{field}"), not_null(value));
        }
        Ok(())
    }

    /// As the protocol shows it, objects to be applied one after the other: one, but two where an entry is removed
    /// and made anew, which one object cannot say (only squashed deltas do that).
    pub fn render(&self) -> Vec<Map<String, Value>> {
        let (mut first, mut last) = (Map::new(), Map::new());
        for entry in &self.removed {
            let returns =
                self.documents.contains_key(entry) || super::fields(&self.scalars, entry).next().is_some();
            key::set(if returns { &mut first } else { &mut last }, entry, Value::Null);
        }
        for (key, value) in &self.scalars {
            key::set(&mut last, key, value.clone().unwrap_or(Value::Null));
        }
        for (key, change) in &self.documents {
            match change {
                Some(change) => set_document(&mut last, key, change),
                None if key::collection(key) == PAGES => {
                    key::set(&mut last, &format!("{key}/content"), Value::Null);
                }
                None => key::set(&mut last, key, Value::Null),
            }
        }
        [first, last].into_iter().filter(|object| !object.is_empty()).collect()
    }
}

const INVALID_KEY: &str = "it is no valid key";

fn not_null(value: &Value) -> Option<Value> {
    Some(value).filter(|value| !value.is_null()).cloned()
}

/// A document of an entry; outer `None`: the entry says nothing of it, inner: it is removed.
fn read_document(key: &str, members: &Map<String, Value>) -> Result<Option<Option<Change>>, Malformed> {
    let hash_of = |name: &str| match members.get(name) {
        None => Ok(None),
        Some(value) => match value.as_str().and_then(Hash::parse) {
            Some(hash) => Ok(Some(hash)),
            None => Err(malformed(key, "a hash is 64 hex digits")),
        },
    };
    let number = |name: &str| match members.get(name) {
        None => Ok(None),
        Some(value) => match value.as_u64().filter(|number| *number <= SEQ_MAX) {
            Some(number) => Ok(Some(number)),
            None => Err(malformed(key, "size and seq are whole numbers from 0 to 2^53 - 1")),
        },
    };
    let (hash, seq, size) = (hash_of("hash")?, number("seq")?, number("size")?);
    let content = match (members.get("content"), members.get("content_base64")) {
        (Some(Value::Null), None) => return Ok(Some(None)),
        (Some(Value::String(content)), None) => Some(content.as_bytes().to_vec()),
        (None, Some(Value::String(encoded))) => {
            Some(STANDARD.decode(encoded).map_err(|_| malformed(key, "content_base64 is not base64"))?)
        }
        (None, None) => None,
        _ => return Err(malformed(key, "a document has one content, a text or base64")),
    };
    if let Some(content) = content {
        let of_content = Hash::of(&content);
        if hash.is_some_and(|hash| hash != of_content) {
            return Err(malformed(key, "the content has another hash"));
        }
        let (size, body) = (content.len(), Body::Content(content));
        return Ok(Some(Some(Change { hash: of_content, size, seq, body })));
    }
    let body = match members.get("patch") {
        Some(patch) => {
            let patch = Patch::from_json(patch).map_err(|_| malformed(key, "the patch is none"))?;
            let base = hash_of("base_hash")?.ok_or_else(|| malformed(key, "a patch has a base_hash"))?;
            Body::Patch { patch, base }
        }
        None => Body::Hash,
    };
    let Some(hash) = hash else {
        return match body {
            Body::Patch { .. } => Err(malformed(key, "a patch has the hash of its result")),
            Body::Content(_) | Body::Hash => Ok(None),
        };
    };
    let size = usize::try_from(size.unwrap_or_default()).unwrap_or(usize::MAX);
    Ok(Some(Some(Change { hash, size, seq, body })))
}

fn set_document(state: &mut Map<String, Value>, key: &str, change: &Change) {
    let mut members = Map::new();
    match &change.body {
        Body::Content(content) => members.extend([document_content(content.clone())]),
        Body::Patch { patch, base } => {
            // A patch that no JSON can say is told by its hash, and its content fetched.
            if let Some(patch) = patch.to_json() {
                members.insert("patch".to_owned(), patch);
                members.insert("base_hash".to_owned(), json!(base));
            }
        }
        Body::Hash => {}
    }
    members.insert("hash".to_owned(), json!(change.hash));
    members.insert("size".to_owned(), json!(change.size));
    members.extend(change.seq.map(|seq| ("seq".to_owned(), json!(seq))));
    if key::collection(key) == FILES {
        return key::set(state, key, Value::Object(members));
    }
    for (name, value) in members {
        key::set(state, &format!("{key}/{name}"), value);
    }
}
