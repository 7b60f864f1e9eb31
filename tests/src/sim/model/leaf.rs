//! A changed key of a pushed state, as the request has it.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::Bytes;
use crate::sim::keys;

/// What a push says of a document's base.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Base {
    Unsaid,
    Null,
    Hash(String),
}

/// A pushed document as the request has it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Pushed {
    Removed,
    Content(Bytes, Base),
    Patch { patch: Value, base: String },
}

/// The document of a leaf, if it is one's.
pub(super) fn document_of(key: &str, state: &Value) -> Option<Pushed> {
    let (collection, id) = key.split_once('/')?;
    if keys::entry_of(key).is_some() || collection == "sessions" {
        return None;
    }
    let entry = state.get(collection)?.get(id)?;
    if entry.is_null() {
        return (collection == "files").then_some(Pushed::Removed);
    }
    let base = match entry.get("base_hash") {
        None => Base::Unsaid,
        Some(Value::Null) => Base::Null,
        Some(hash) => Base::Hash(hash.as_str().unwrap_or_default().to_owned()),
    };
    if let Some(text) = entry["content"].as_str() {
        return Some(Pushed::Content(Arc::new(text.as_bytes().to_vec()), base));
    }
    if let Some(encoded) = entry["content_base64"].as_str() {
        return Some(Pushed::Content(Arc::new(STANDARD.decode(encoded).unwrap_or_default()), base));
    }
    let base = entry["base_hash"].as_str()?.to_owned();
    Some(Pushed::Patch { patch: entry.get("patch")?.clone(), base })
}

/// The value of a scalar's or field's leaf; `None`: it is removed.
pub(super) fn value_of<'v>(key: &str, state: &'v Value) -> Option<&'v Value> {
    key.split('/').try_fold(state, |at, part| at.get(part)).filter(|value| !value.is_null())
}

/// Whether a leaf removes a session or page.
pub(super) fn state_is_removal(key: &str, state: &Value) -> bool {
    let Some((collection, id)) = key.split_once('/') else { return false };
    !id.contains('/') && state[collection][id].is_null()
}
