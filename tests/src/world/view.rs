//! What a client holds, by the plainest reading of PROTOCOL sections 2 and 5. Deliberately not the engine's code.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

/// Names of a document entry that are not fields.
const RESERVED: [&str; 7] = ["content", "content_base64", "patch", "hash", "size", "seq", "base_hash"];

/// A client's copy of the state.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct View {
    /// Top-level keys other than the collections.
    pub scalars: BTreeMap<String, Value>,
    /// Fields by session.
    pub sessions: BTreeMap<String, BTreeMap<String, Value>>,
    /// Bytes by path.
    pub files: BTreeMap<String, Vec<u8>>,
    /// Pages by id.
    pub pages: BTreeMap<String, Page>,
}

/// A context page.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// Its document.
    pub content: Option<Vec<u8>>,
    /// Its other fields.
    pub fields: BTreeMap<String, Value>,
}

impl View {
    /// A snapshot as the host gave it; nothing in it may be null or empty.
    pub fn of_snapshot(state: &Value) -> Self {
        for (key, value) in object(state, "a snapshot's state") {
            assert!(!value.is_null(), "a snapshot holds no null: {key} in {state}");
            if is_collection(key) {
                for (id, entry) in object(value, key) {
                    assert!(entry.as_object().is_some_and(|entry| !entry.is_empty()), "{key}/{id}: {entry}");
                }
            }
        }
        let mut view = Self::default();
        view.apply_reply(state);
        view
    }

    /// Applies a state that came from the host: its documents carry hash, size and seq, and they are right.
    pub fn apply_reply(&mut self, state: &Value) {
        for (collection, documents) in
            [("files", state.get("files")), ("context_pages", state.get("context_pages"))]
        {
            for (id, entry) in documents.and_then(Value::as_object).into_iter().flatten() {
                check_reply_document(&format!("{collection}/{id}"), entry);
            }
        }
        self.apply(state);
    }

    /// Applies a delta, or a pushed state.
    pub fn apply(&mut self, state: &Value) {
        for (key, value) in object(state, "a state") {
            match key.as_str() {
                "sessions" => {
                    for (id, entry) in object(value, key) {
                        apply_fields(self.sessions.entry(id.clone()).or_default(), entry, &[]);
                    }
                    self.sessions.retain(|_, fields| !fields.is_empty());
                }
                "files" => {
                    for (path, entry) in object(value, key) {
                        match document(entry, self.files.get(path), &format!("files/{path}")) {
                            Change::Gone => drop(self.files.remove(path)),
                            Change::Bytes(bytes) => drop(self.files.insert(path.clone(), bytes)),
                            Change::Untouched => panic!("files/{path}: an entry without content: {entry}"),
                        }
                    }
                }
                "context_pages" => {
                    for (id, entry) in object(value, key) {
                        self.apply_page(id, entry);
                    }
                }
                _ if value.is_null() => drop(self.scalars.remove(key)),
                _ => drop(self.scalars.insert(key.clone(), value.clone())),
            }
        }
    }

    fn apply_page(&mut self, id: &str, entry: &Value) {
        let page = self.pages.entry(id.to_owned()).or_default();
        if entry.is_null() {
            *page = Page::default();
        } else {
            match document(entry, page.content.as_ref(), &format!("context_pages/{id}")) {
                Change::Gone => page.content = None,
                Change::Bytes(bytes) => page.content = Some(bytes),
                Change::Untouched => {}
            }
            apply_fields(&mut page.fields, entry, &RESERVED);
        }
        if *page == Page::default() {
            self.pages.remove(id);
        }
    }
}

/// A pushed state taken apart: each changed key with the state that carries only it.
pub fn leaves(state: &Value) -> Vec<(String, Value)> {
    let mut out = Vec::new();
    for (key, value) in object(state, "a state") {
        if !is_collection(key) || !value.is_object() {
            out.push((key.clone(), json!({key: value})));
            continue;
        }
        for (id, entry) in object(value, key) {
            let whole = format!("{key}/{id}");
            match entry.as_object() {
                Some(fields) if key != "files" => {
                    let reserved = if key == "context_pages" { &RESERVED[..] } else { &[] };
                    let (content, rest): (Map<String, Value>, Map<String, Value>) = fields
                        .iter()
                        .map(|(name, value)| (name.clone(), value.clone()))
                        .partition(|(name, _)| reserved.contains(&name.as_str()));
                    if !content.is_empty() {
                        out.push((whole.clone(), json!({key: {id: content}})));
                    }
                    for (field, value) in rest {
                        out.push((format!("{whole}/{field}"), json!({key: {id: {field: value}}})));
                    }
                }
                _ => out.push((whole, json!({key: {id: entry}}))),
            }
        }
    }
    out
}

/// Applies `[[skip, delete, "insert"], …]` to bytes, counting as PROTOCOL section 5 says; panics where it does not fit.
pub fn apply_patch(base: &[u8], patch: &Value) -> Vec<u8> {
    let (mut out, mut at) = (Vec::new(), 0);
    for triple in patch.as_array().unwrap_or_else(|| panic!("a patch is a list: {patch}")) {
        let number = |index: usize| {
            let number =
                triple[index].as_u64().unwrap_or_else(|| panic!("a patch's offset is a number: {triple}"));
            usize::try_from(number).expect("an offset fits")
        };
        let (skip, delete) = (number(0), number(1));
        assert!(at + skip + delete <= base.len(), "{triple} goes past the end of its base");
        out.extend_from_slice(&base[at..at + skip]);
        out.extend_from_slice(triple[2].as_str().unwrap_or_else(|| panic!("no insert: {triple}")).as_bytes());
        at += skip + delete;
    }
    out.extend_from_slice(&base[at..]);
    out
}

/// SHA-256 in lower-case hex.
pub fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

enum Change {
    Gone,
    Bytes(Vec<u8>),
    Untouched,
}

fn document(entry: &Value, have: Option<&Vec<u8>>, what: &str) -> Change {
    if entry.is_null() {
        return Change::Gone;
    }
    let entry = object(entry, what);
    if let Some(content) = entry.get("content") {
        return match content {
            Value::Null => Change::Gone,
            Value::String(text) => Change::Bytes(text.clone().into_bytes()),
            _ => panic!("{what}: content is text or null: {content}"),
        };
    }
    if let Some(content) = entry.get("content_base64") {
        let bytes = STANDARD.decode(content.as_str().unwrap_or_default());
        return Change::Bytes(bytes.unwrap_or_else(|error| panic!("{what}: {error}: {content}")));
    }
    if let Some(patch) = entry.get("patch") {
        let base = have.unwrap_or_else(|| panic!("{what}: a patch of a document that is not there"));
        assert_eq!(entry.get("base_hash"), Some(&json!(sha256_hex(base))), "{what}: a patch of another base");
        let bytes = apply_patch(base, patch);
        if let Some(hash) = entry.get("hash") {
            assert_eq!(*hash, json!(sha256_hex(&bytes)), "{what}: the patch gives another text");
        }
        return Change::Bytes(bytes);
    }
    if let (Some(hash), Some(have)) = (entry.get("hash"), have) {
        assert_eq!(*hash, json!(sha256_hex(have)), "{what}: only a hash, and of something else");
        return Change::Bytes(have.clone());
    }
    Change::Untouched
}

fn apply_fields(fields: &mut BTreeMap<String, Value>, entry: &Value, reserved: &[&str]) {
    let Some(entry) = entry.as_object() else {
        assert!(entry.is_null(), "an entry is an object or null: {entry}");
        fields.clear();
        return;
    };
    for (name, value) in entry.iter().filter(|(name, _)| !reserved.contains(&name.as_str())) {
        if value.is_null() {
            fields.remove(name);
        } else {
            fields.insert(name.clone(), value.clone());
        }
    }
}

/// Text goes out as text; hash, size and seq are there and right.
fn check_reply_document(what: &str, entry: &Value) {
    let bytes = match (entry.get("content"), entry.get("content_base64")) {
        (Some(Value::String(text)), None) => {
            assert!(!text.contains('\0'), "{what}: content with NUL is binary");
            text.clone().into_bytes()
        }
        (None, Some(Value::String(encoded))) => {
            let bytes = STANDARD.decode(encoded).unwrap_or_else(|error| panic!("{what}: {error}"));
            let is_text = !bytes.contains(&0) && std::str::from_utf8(&bytes).is_ok();
            assert!(!is_text, "{what}: text goes out as content");
            bytes
        }
        _ => return,
    };
    assert_eq!(entry["hash"], json!(sha256_hex(&bytes)), "{what}: the hash of the content");
    assert_eq!(entry["size"], json!(bytes.len()), "{what}: the size of the content");
    assert!(entry["seq"].is_u64(), "{what}: the seq of its last change: {entry}");
}

fn is_collection(key: &str) -> bool {
    matches!(key, "sessions" | "files" | "context_pages")
}

fn object<'v>(value: &'v Value, what: &str) -> &'v Map<String, Value> {
    value.as_object().unwrap_or_else(|| panic!("{what} is an object: {value}"))
}
