//! Changed keys on a [`View`], and a view as the state that a client sends.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::world::View;

/// Files by path.
pub const FILES: [&str; 4] = ["files/src/a.rs", "files/src/b.rs", "files/c.txt", "files/d.bin"];
/// Sessions and pages.
pub const ENTRIES: [&str; 4] = ["sessions/s1", "sessions/s2", "context_pages/p1", "context_pages/p2"];
/// Top-level scalars.
pub const SCALARS: [&str; 4] = ["active_file", "cursor", "theme", "env_encrypted"];
/// Fields of an entry.
pub const FIELDS: [&str; 2] = ["title", "status"];

/// Whether an entry's key is a page's.
pub fn is_page(key: &str) -> bool {
    key.starts_with("context_pages/")
}

/// The entry of a field's key.
pub fn entry_of(key: &str) -> Option<&str> {
    let (entry, _) = key.rsplit_once('/')?;
    (!key.starts_with("files/") && entry.contains('/')).then_some(entry)
}

/// A scalar or a field.
pub fn scalar<'v>(view: &'v View, key: &str) -> Option<&'v Value> {
    let parts: Vec<&str> = key.split('/').collect();
    match parts[..] {
        [key] => view.scalars.get(key),
        ["sessions", id, field] => view.sessions.get(id)?.get(field),
        ["context_pages", id, field] => view.pages.get(id)?.fields.get(field),
        _ => None,
    }
}

/// A document's bytes.
pub fn document<'v>(view: &'v View, key: &str) -> Option<&'v Vec<u8>> {
    match key.split_once('/')? {
        ("files", path) => view.files.get(path),
        ("context_pages", id) => view.pages.get(id)?.content.as_ref(),
        _ => None,
    }
}

/// The fields that an entry has.
pub fn fields(view: &View, entry: &str) -> Vec<String> {
    let fields = match entry.split_once('/') {
        Some(("sessions", id)) => view.sessions.get(id),
        Some((_, id)) => view.pages.get(id).map(|page| &page.fields),
        None => None,
    };
    fields.into_iter().flatten().map(|(field, _)| format!("{entry}/{field}")).collect()
}

/// Whether a session or page is there.
pub fn has_entry(view: &View, entry: &str) -> bool {
    !fields(view, entry).is_empty() || document(view, entry).is_some()
}

/// Sets or removes a scalar or field.
pub fn set_scalar(view: &mut View, key: &str, value: Option<Value>) {
    view.apply(&leaf(key, value.unwrap_or(Value::Null)));
}

/// Sets or removes a document.
pub fn set_document(view: &mut View, key: &str, content: Option<Vec<u8>>) {
    let entry = match content {
        Some(content) => Value::Object(Map::from_iter([content_member(&content)])),
        None if is_page(key) => json!({ "content": null }),
        None => Value::Null,
    };
    view.apply(&leaf(key, entry));
}

/// Removes a session or a page with all it has.
pub fn remove_entry(view: &mut View, entry: &str) {
    view.apply(&leaf(entry, Value::Null));
}

/// A state that holds this one key.
pub fn leaf(key: &str, value: Value) -> Value {
    let mut state = json!({});
    put(&mut state, key, value);
    state
}

/// Puts a changed key into a state.
pub fn put(state: &mut Value, key: &str, value: Value) {
    let parts: Vec<&str> = match key.split_once('/') {
        Some(("files", path)) => vec!["files", path],
        _ => key.split('/').collect(),
    };
    let mut at = state;
    let (last, path) = parts.split_last().expect("a key has a part");
    for part in path {
        at = &mut at[*part];
        if !at.is_object() {
            *at = json!({});
        }
    }
    match (&mut at[*last], value) {
        (Value::Object(have), Value::Object(more)) if key.matches('/').count() == 1 => have.extend(more),
        (slot, value) => *slot = value,
    }
}

/// A content as a member of its entry.
pub fn content_member(content: &[u8]) -> (String, Value) {
    match std::str::from_utf8(content) {
        Ok(text) if !text.contains('\0') => ("content".to_owned(), json!(text)),
        _ => ("content_base64".to_owned(), json!(STANDARD.encode(content))),
    }
}

/// All of a view, as a client sends it that always sends all.
pub fn full_state(view: &View) -> Value {
    let mut state = json!({});
    for (key, value) in &view.scalars {
        put(&mut state, key, value.clone());
    }
    for (id, fields) in &view.sessions {
        put(&mut state, &format!("sessions/{id}"), json!(fields));
    }
    for (path, content) in &view.files {
        put(&mut state, &format!("files/{path}"), Value::Object(Map::from_iter([content_member(content)])));
    }
    for (id, page) in &view.pages {
        let mut members: Map<String, Value> = page.fields.clone().into_iter().collect();
        members.extend(page.content.as_deref().map(content_member));
        put(&mut state, &format!("context_pages/{id}"), Value::Object(members));
    }
    state
}

/// Asserts that two views are the same, showing where they are not.
#[track_caller]
pub fn assert_same(is: &View, must: &View, what: &str) {
    if is == must {
        return;
    }
    let (is, must) = (full_state(is), full_state(must));
    let all: std::collections::BTreeMap<_, _> =
        crate::world::leaves(&is).into_iter().map(|(key, _)| (key, ())).collect();
    let others = crate::world::leaves(&must).into_iter().map(|(key, _)| (key, ()));
    let find = |state: &Value, key: &str| {
        crate::world::leaves(state).into_iter().find(|(have, _)| have == key).map(|(_, value)| value)
    };
    let keys = all.into_iter().chain(others).collect::<std::collections::BTreeMap<_, _>>();
    let differ = keys.keys().filter(|key| find(&is, key) != find(&must, key));
    let shown: Vec<String> = differ
        .map(|key| {
            format!(
                "\n  {key}: is {:?}, must be {:?}",
                find(&is, key).map(|v| v.to_string()),
                find(&must, key).map(|v| v.to_string())
            )
        })
        .collect();
    panic!("{what}:{}", shown.concat());
}
