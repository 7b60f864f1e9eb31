//! Documents of a reply in full: patches applied to what the client has, bare hashes looked up or fetched.

use serde_json::{Map, Value, json};

use super::host::SimHost;
use super::keys;
use crate::world::{View, apply_patch, sha256_hex};

/// A reply's state with every document's content, as a client gets it that looks at what it has first. `None`: one is
/// not to be had.
pub fn fill(host: &mut SimHost, state: &Value, views: &[&View], contents: &[&Vec<u8>]) -> Option<Value> {
    let mut state = state.clone();
    for collection in ["files", "context_pages"] {
        let Some(entries) = state.get_mut(collection).and_then(Value::as_object_mut) else { continue };
        for (id, entry) in entries.iter_mut() {
            let key = format!("{collection}/{id}");
            let of_views = views.iter().filter_map(|view| keys::document(view, &key));
            let have: Vec<&Vec<u8>> = of_views.chain(contents.iter().copied()).collect();
            if let Some(entry) = entry.as_object_mut() {
                fill_entry(host, &key, entry, &have)?;
            }
        }
    }
    Some(state)
}

fn fill_entry(
    host: &mut SimHost,
    key: &str,
    entry: &mut Map<String, Value>,
    have: &[&Vec<u8>],
) -> Option<()> {
    let Some(hash) = entry.get("hash").and_then(Value::as_str).map(str::to_owned) else { return Some(()) };
    if entry.contains_key("content") || entry.contains_key("content_base64") {
        return Some(());
    }
    let by_hash = |hash: &str| have.iter().find(|content| sha256_hex(content) == hash);
    let content = match entry.remove("patch") {
        Some(patch) => {
            let base = entry.remove("base_hash");
            let base_hash = base.as_ref().and_then(Value::as_str).unwrap_or_default();
            let base = by_hash(base_hash)
                .unwrap_or_else(|| panic!("{key}: a patch of {base_hash}, which it does not have"));
            apply_patch(base, &patch)
        }
        None => match by_hash(&hash) {
            Some(content) => (*content).clone(),
            None => host.file(&hash)?,
        },
    };
    assert_eq!(sha256_hex(&content), hash, "{key}: its content");
    assert_eq!(entry.get("size"), Some(&json!(content.len())), "{key}: its size");
    entry.extend([keys::content_member(&content)]);
    Some(())
}
