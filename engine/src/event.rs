//! What others are to be told of a commit, as data of that commit: a host sends it to who listens once the commit is
//! durable. Ids and key names only.

use crate::commit::Commit;
use crate::ids::Seq;
use crate::key;
use crate::slice::Delta;
use serde_json::{Map, Value};

/// The most keys that an event lists, and their bytes together: beyond, it lists none, and who hears of it pulls.
const KEYS_MAX: usize = 100;
const KEYS_BYTES_MAX: usize = 4096;

/// What a commit tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct News {
    /// In the order in which they happened.
    pub events: Vec<Event>,
    /// What is to be closed where a device has it open.
    pub ended: Option<Ended>,
}

/// Why what a device has open ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// This device was removed, for ever.
    Removed(String),
    /// This device has a new token: what was opened with the old one.
    Replaced(String),
}

/// Something that happened to a user's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The same wherever and whenever the event is told.
    pub id: String,
    /// The device whose doing it is; empty where none is known.
    pub by: String,
    /// What it is.
    pub what: What,
}

/// The kinds of events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A new seq.
    StateUpdated {
        /// Which.
        seq: Seq,
        /// The changed keys, or none where they are too many to list.
        keys: Vec<String>,
    },
    /// A conflict was made.
    ConflictCreated {
        /// Which.
        conflict_id: String,
        /// The path, or a page's id.
        file_path: String,
        /// Whose *mine* and whose *theirs* it is about.
        device_ids: [String; 2],
    },
    /// A conflict is resolved.
    ConflictResolved {
        /// Which.
        conflict_id: String,
        /// mine, theirs, merged.
        resolution: String,
    },
}

impl Event {
    /// A new seq, where nothing more is known of it.
    pub fn updated(id: String, by: String, seq: Seq) -> Event {
        Event { id, by, what: What::StateUpdated { seq, keys: Vec::new() } }
    }
}

/// The events of a commit that makes this delta; `diff` is the delta's.
pub(crate) fn of(commit: &Commit, delta: &Delta, diff: &Map<String, Value>) -> Vec<Event> {
    let event = |id: String, what: What| Event { id, by: delta.device_id.clone(), what };
    let what = What::StateUpdated { seq: delta.seq, keys: keys(diff) };
    let mut events = vec![event(format!("{}-{}", delta.tag, delta.seq), what)];
    events.extend(commit.resolved.iter().map(|(id, resolved)| {
        let (conflict_id, resolution) = (id.clone(), resolved.resolution.clone());
        event(format!("{id}-resolved"), What::ConflictResolved { conflict_id, resolution })
    }));
    events.extend(commit.conflicts.iter().map(|conflict| {
        let what = What::ConflictCreated {
            conflict_id: conflict.id.clone(),
            file_path: key::within(&conflict.key).to_owned(),
            device_ids: [conflict.mine_device_id.clone(), conflict.theirs_device_id.clone()],
        };
        event(format!("{}-created", conflict.id), what)
    }));
    events
}

/// The changed keys of a diff; none where they are too many.
fn keys(diff: &Map<String, Value>) -> Vec<String> {
    let (mut keys, mut bytes) = (Vec::new(), 0);
    for key in diff.iter().flat_map(|(name, value)| keys_of(name, value)) {
        bytes += key.len();
        if keys.len() == KEYS_MAX || bytes > KEYS_BYTES_MAX {
            return Vec::new();
        }
        keys.push(key);
    }
    keys
}

fn keys_of<'a>(name: &'a str, value: &'a Value) -> Box<dyn Iterator<Item = String> + 'a> {
    let entries = match value {
        Value::Object(entries) if key::is_collection(name) => entries,
        _ => return Box::new(std::iter::once(name.to_owned())),
    };
    Box::new(entries.iter().flat_map(move |(id, entry)| {
        let whole = format!("{name}/{id}");
        match entry {
            Value::Object(fields) if name != key::FILES => {
                fields.keys().map(|field| field_key(name, &whole, field)).collect()
            }
            _ => vec![whole],
        }
    }))
}

/// A page's content is named as the page.
fn field_key(collection: &str, entry: &str, field: &str) -> String {
    match (collection, field) {
        (key::PAGES, "content") => entry.to_owned(),
        _ => format!("{entry}/{field}"),
    }
}

#[cfg(test)]
mod tests;
