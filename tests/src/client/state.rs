//! What a device holds: documents and scalars, each as last agreed with the host and as edited since.

use anyhow::{Context, Result, ensure};
use base64::prelude::{BASE64_STANDARD, Engine};
use nself_sync_engine::ids::Hash;
use nself_sync_engine::text::{Patch, is_text};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{SystemTime, UNIX_EPOCH};

/// The collections whose entries are, or have, documents.
const DOCUMENTS: [&str; 2] = ["files", "context_pages"];
/// What belongs to a document's content rather than to a page's own fields.
const CONTENT_FIELDS: [&str; 7] = ["content", "content_base64", "patch", "base_hash", "hash", "size", "seq"];

/// Documents and scalars by changed key (`files/a.rs`, `sessions/s1/status`).
#[derive(Default)]
pub struct Holdings {
    documents: BTreeMap<String, Document>,
    scalars: BTreeMap<String, Value>,
    /// Scalar writes the host has not taken yet, and when they were made.
    writes: BTreeMap<String, (Value, u64)>,
}

#[derive(Default)]
struct Document {
    local: Option<Vec<u8>>,
    /// What the host is known to have, and to know that this device has.
    synced: Option<Version>,
    /// What `synced` was before the last push: the host may send a patch to either.
    previous: Option<Version>,
    /// The host asked for the content instead of a patch.
    wants_content: bool,
    /// The host refused this very text; it waits for another edit.
    is_refused: bool,
}

#[derive(Clone)]
struct Version {
    bytes: Vec<u8>,
    hash: Hash,
}

/// An item the host would not take.
#[derive(Debug)]
pub struct Rejection {
    /// The changed key.
    pub key: String,
    /// The protocol's code, such as `file_too_large`.
    pub code: String,
}

impl Document {
    fn is_edited(&self) -> bool {
        self.local.as_deref() != self.synced.as_ref().map(|synced| synced.bytes.as_slice())
    }

    fn is_to_push(&self) -> bool {
        self.is_edited() && !self.is_refused
    }

    fn version(&self, hash: Hash) -> Option<&Version> {
        [&self.synced, &self.previous].into_iter().flatten().find(|version| version.hash == hash)
    }

    /// The entry as pushed: a patch where that is smaller than the content.
    fn render(&self) -> Value {
        let Some(local) = &self.local else { return Value::Null };
        let mut entry = match (std::str::from_utf8(local), is_text(local)) {
            (Ok(text), true) => json!({ "content": text }),
            _ => json!({ "content_base64": BASE64_STANDARD.encode(local) }),
        };
        let Some(synced) = &self.synced else { return entry };
        if !self.wants_content && is_text(local) && is_text(&synced.bytes) {
            let patch = Patch::diff(&synced.bytes, local);
            if patch.json_len() < local.len()
                && let Some(patch) = patch.to_json()
            {
                entry = json!({ "patch": patch });
            }
        }
        entry["base_hash"] = json!(synced.hash);
        entry
    }
}

impl Holdings {
    /// A document's content as this device sees it.
    pub fn document(&self, key: &str) -> Option<&[u8]> {
        self.documents.get(key)?.local.as_deref()
    }

    /// A document as last agreed with the host.
    pub fn synced(&self, key: &str) -> Option<&[u8]> {
        Some(&self.documents.get(key)?.synced.as_ref()?.bytes)
    }

    /// Every document there is, as this device sees it.
    pub fn documents(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.documents.iter().filter_map(|(key, document)| Some((key.as_str(), document.local.as_deref()?)))
    }

    /// A scalar's value as this device sees it.
    pub fn scalar(&self, key: &str) -> Option<&Value> {
        self.scalars.get(key)
    }

    /// Edits a document; `None` removes it.
    pub fn edit(&mut self, key: &str, content: Option<Vec<u8>>) {
        let document = self.documents.entry(key.to_owned()).or_default();
        document.local = content;
        document.is_refused = false;
    }

    /// Writes a scalar; null removes it.
    pub fn set(&mut self, key: &str, value: Value) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
        put(&mut self.scalars, key, &value);
        self.writes.insert(key.to_owned(), (value, u64::try_from(now).unwrap_or(u64::MAX)));
    }

    /// Whether there is anything to push.
    pub fn is_edited(&self) -> bool {
        !self.writes.is_empty() || self.documents.values().any(Document::is_to_push)
    }

    /// Everything edited since the host last took it.
    pub(super) fn state_to_push(&self) -> Value {
        let documents = self.documents.iter().filter(|(_, document)| document.is_to_push());
        let documents = documents.map(|(key, document)| (key, document.render()));
        let scalars = self.writes.iter().map(|(key, (value, _))| (key, value.clone()));
        let mut state = json!({});
        for (key, value) in documents.chain(scalars) {
            let place = match key.split_once('/') {
                Some((collection, rest)) if collection == "files" => &mut state[collection][rest],
                Some((collection, rest)) => match (rest.split_once('/'), &value) {
                    (Some((id, field)), _) => &mut state[collection][id][field],
                    // A page's content joins the fields set beside it.
                    (None, Value::Object(content)) => {
                        for (name, value) in content {
                            state[collection][rest][name] = value.clone();
                        }
                        continue;
                    }
                    (None, _) => &mut state[collection][rest],
                },
                None => &mut state[key],
            };
            *place = value;
        }
        state
    }

    /// When each pushed scalar was written.
    pub(super) fn changed_at(&self) -> BTreeMap<&str, u64> {
        self.writes.iter().map(|(key, (_, at))| (key.as_str(), *at)).collect()
    }

    /// Whether the host asked for the content of something it was sent a patch of.
    pub(super) fn needs_full_push(&self) -> bool {
        self.documents.values().any(|document| document.wants_content)
    }

    /// Takes in the results of the push just made from [`Holdings::state_to_push`].
    pub(super) fn settle(&mut self, results: &Value) -> Result<Vec<Rejection>> {
        let mut rejected = Vec::new();
        for (key, document) in self.documents.iter_mut().filter(|(_, document)| document.is_to_push()) {
            let result = &results[key];
            match result["status"].as_str().unwrap_or("applied") {
                "rejected" if result["code"] == "base_unknown" && !document.wants_content => {
                    document.wants_content = true;
                    continue;
                }
                "rejected" => {
                    document.is_refused = true;
                    let code = result["code"].as_str().context("a rejection without a code")?.to_owned();
                    rejected.push(Rejection { key: key.clone(), code });
                }
                "blocked" => {}
                _ => {
                    let pushed =
                        document.local.clone().map(|bytes| Version { hash: Hash::of(&bytes), bytes });
                    document.previous = std::mem::replace(&mut document.synced, pushed);
                }
            }
            document.wants_content = false;
        }
        for key in std::mem::take(&mut self.writes).into_keys() {
            if let Some(code) = results[&key]["code"].as_str() {
                rejected.push(Rejection { code: code.to_owned(), key });
            }
        }
        Ok(rejected)
    }

    /// Applies a delta or a snapshot. What this device edited meanwhile stays, on the base it was edited from.
    /// `fetch` gets a content by its hash.
    pub(super) fn apply(
        &mut self,
        state: &Map<String, Value>,
        is_snapshot: bool,
        fetch: &mut dyn FnMut(&str) -> Result<Vec<u8>>,
    ) -> Result<()> {
        let mut seen = BTreeSet::new();
        for (name, value) in state {
            let is_collection = name == "sessions" || DOCUMENTS.contains(&name.as_str());
            let Some(entries) = value.as_object().filter(|_| is_collection) else {
                self.take_scalar(name, value);
                seen.insert(name.clone());
                continue;
            };
            for (id, entry) in entries {
                let key = format!("{name}/{id}");
                self.take_entry(&key, entry, fetch).with_context(|| key.clone())?;
                seen.extend(
                    entry.as_object().into_iter().flat_map(Map::keys).map(|field| format!("{key}/{field}")),
                );
                seen.insert(key);
            }
        }
        if is_snapshot {
            self.scalars.retain(|key, _| seen.contains(key) || self.writes.contains_key(key));
            self.documents.retain(|key, document| seen.contains(key) || document.is_edited());
        }
        self.documents.retain(|_, document| document.local.is_some() || document.synced.is_some());
        Ok(())
    }

    fn take_entry(
        &mut self,
        key: &str,
        entry: &Value,
        fetch: &mut dyn FnMut(&str) -> Result<Vec<u8>>,
    ) -> Result<()> {
        let is_document = !key.starts_with("sessions/");
        let Some(fields) = entry.as_object() else {
            let inside = format!("{key}/");
            self.scalars.retain(|scalar, _| !scalar.starts_with(&inside) || self.writes.contains_key(scalar));
            if is_document {
                self.take_document(key, None);
            }
            return Ok(());
        };
        for (field, value) in fields {
            if !is_document || !CONTENT_FIELDS.contains(&field.as_str()) {
                self.take_scalar(&format!("{key}/{field}"), value);
            }
        }
        if is_document && fields.get("content").is_some_and(Value::is_null) {
            self.take_document(key, None);
        } else if is_document && fields.contains_key("hash") {
            let version = self.received(key, entry, fetch)?;
            self.take_document(key, Some(version));
        }
        Ok(())
    }

    fn take_scalar(&mut self, key: &str, value: &Value) {
        if !self.writes.contains_key(key) {
            put(&mut self.scalars, key, value);
        }
    }

    fn take_document(&mut self, key: &str, version: Option<Version>) {
        let document = self.documents.entry(key.to_owned()).or_default();
        if !document.is_edited() {
            document.local = version.as_ref().map(|version| version.bytes.clone());
            document.synced = version;
            document.previous = None;
        }
    }

    /// The content an entry stands for, whatever form it came in; its hash is checked.
    fn received(
        &self,
        key: &str,
        entry: &Value,
        fetch: &mut dyn FnMut(&str) -> Result<Vec<u8>>,
    ) -> Result<Version> {
        let hex = entry["hash"].as_str().context("a document without a hash")?;
        let hash = Hash::parse(hex).context("a hash that is none")?;
        let held = |hash| self.documents.get(key)?.version(hash);
        let base = entry["base_hash"].as_str().and_then(Hash::parse).and_then(held);
        let bytes = match (inline_bytes(entry)?, entry.get("patch"), base) {
            (Some(bytes), _, _) => bytes,
            (None, Some(patch), Some(base)) => Patch::from_json(patch)?.apply(&base.bytes)?,
            (None, None, _) if held(hash).is_some() => {
                held(hash).map(|held| held.bytes.clone()).unwrap_or_default()
            }
            (None, _, _) => fetch(hex)?,
        };
        ensure!(Hash::of(&bytes) == hash, "the content does not have the hash it came with");
        Ok(Version { bytes, hash })
    }
}

/// The content of a document entry that carries it.
pub(super) fn inline_bytes(entry: &Value) -> Result<Option<Vec<u8>>> {
    match (entry["content"].as_str(), entry["content_base64"].as_str()) {
        (Some(text), _) => Ok(Some(text.as_bytes().to_vec())),
        (None, Some(base64)) => Ok(Some(BASE64_STANDARD.decode(base64)?)),
        (None, None) => Ok(None),
    }
}

fn put(scalars: &mut BTreeMap<String, Value>, key: &str, value: &Value) {
    match value {
        Value::Null => scalars.remove(key),
        value => scalars.insert(key.to_owned(), value.clone()),
    };
}
