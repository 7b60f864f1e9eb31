//! Changed keys: `active_file`, `sessions/s1/status`, `sessions/s1`, `files/web/src/main.rs`,
//! `context_pages/p1`, `context_pages/p1/title`. Everywhere in the engine a key is this text.

use serde_json::{Map, Value};

/// The collection of file documents; its entries are keyed by path.
pub const FILES: &str = "files";
/// The collection of sessions; its entries have fields only.
pub const SESSIONS: &str = "sessions";
/// The collection of context pages; its entries have fields and are a document.
pub const PAGES: &str = "context_pages";
/// The scalar that holds the sealed environment variables.
pub const ENV: &str = "env_encrypted";

/// The longest path, in bytes.
pub const PATH_BYTES_MAX: usize = 1024;
/// The longest key, id or field name, in bytes.
pub const NAME_BYTES_MAX: usize = 256;

/// Names of a page that are its content or reserved, never fields.
pub const RESERVED: [&str; 7] = ["content", "content_base64", "patch", "hash", "size", "seq", "base_hash"];

/// What a changed key names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key<'a> {
    /// A top-level scalar.
    Scalar(&'a str),
    /// A field of a session or page: the entry's key, the field's name.
    Field(&'a str, &'a str),
    /// A session, or a page as a whole and its content.
    Entry(&'a str),
    /// A file.
    File(&'a str),
}

impl<'a> Key<'a> {
    /// Reads a changed key; `None` where it is none.
    pub fn parse(key: &'a str) -> Option<Key<'a>> {
        let Some((collection, rest)) = key.split_once('/') else {
            return (is_name(key) && !is_collection(key)).then_some(Key::Scalar(key));
        };
        match collection {
            FILES => path_problem(rest).is_none().then_some(Key::File(key)),
            SESSIONS | PAGES => match rest.split_once('/') {
                None => is_name(rest).then_some(Key::Entry(key)),
                Some((id, field)) if is_name(id) && is_name(field) => {
                    key.get(..collection.len() + 1 + id.len()).map(|entry| Key::Field(entry, field))
                }
                Some(_) => None,
            },
            _ => None,
        }
    }
}

/// Whether a top-level key of the state is a collection.
pub fn is_collection(key: &str) -> bool {
    matches!(key, FILES | SESSIONS | PAGES)
}

/// The collection of a key that is in one.
pub fn collection(key: &str) -> &str {
    key.split_once('/').map_or("", |(collection, _)| collection)
}

/// The path or id within the collection.
pub fn within(key: &str) -> &str {
    key.split_once('/').map_or(key, |(_, rest)| rest)
}

/// Whether a key, id or field name may be used: 1 to 256 bytes, no `/`, no control character.
pub fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= NAME_BYTES_MAX && !name.contains(|c: char| c == '/' || c.is_control())
}

/// What is wrong with a path, if anything.
pub fn path_problem(path: &str) -> Option<&'static str> {
    let drive = path.as_bytes().get(1) == Some(&b':') && path.starts_with(|c: char| c.is_ascii_alphabetic());
    if path.len() > PATH_BYTES_MAX {
        Some("a path has at most 1024 bytes")
    } else if path.contains('\\') || path.contains(char::is_control) {
        Some("a path has no backslash and no control character")
    } else if drive {
        Some("a path has no drive letter")
    } else if path.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
        Some("a path is relative, and no segment of it is empty, `.` or `..`")
    } else {
        None
    }
}

/// Sets what `key` names in a state-shaped object, making the objects on the way.
pub fn set(state: &mut Map<String, Value>, key: &str, value: Value) {
    let (first, rest) = match Key::parse(key) {
        Some(Key::Field(entry, field)) => (entry, Some(field)),
        Some(Key::Scalar(_) | Key::Entry(_) | Key::File(_)) | None => (key, None),
    };
    let (mut object, name) = match first.split_once('/') {
        Some((collection, id)) => (child(state, collection), id),
        None => (Some(state), first),
    };
    let name = match rest {
        Some(field) => {
            object = object.and_then(|object| child(object, name));
            field
        }
        None => name,
    };
    if let Some(object) = object {
        object.insert(name.to_owned(), value);
    }
}

fn child<'a>(object: &'a mut Map<String, Value>, name: &str) -> Option<&'a mut Map<String, Value>> {
    let slot = object.entry(name).or_insert_with(|| Value::Object(Map::new()));
    if !slot.is_object() {
        *slot = Value::Object(Map::new());
    }
    slot.as_object_mut()
}

#[cfg(test)]
mod tests;
