//! Reading a push. What cannot be read as a push fails whole; an item that cannot be read is rejected alone.

use super::{base64, device_id, epoch, flag, invalid, kind, object, tag, text, whole};
use crate::call::Call;
use crate::error::Reject;
use crate::ids::{Hash, Platform, SEQ_MAX, Seq};
use crate::key::{self, FILES, NAME_BYTES_MAX, PAGES, RESERVED};
use crate::policy::Policy;
use crate::push::{BaseHash, DocumentPush, EntryPush, Mine, Push, Rejection};
use crate::scalar::value_bytes;
use crate::text::Patch;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Reads the body of `POST /sync/push`.
pub fn push(body: &[u8], policy: &Policy) -> Result<Call, Reject> {
    let mut object = object(body, policy)?;
    let state = match object.get("state") {
        Some(Value::Object(state)) if state.contains_key("env") => return Err(Reject::PlaintextEnv),
        Some(Value::Object(_)) => object.get("state"),
        Some(other) => return Err(invalid("state", format!("it is {}, allowed is an object", kind(other)))),
        None => return Err(invalid("state", "it is missing; allowed is an object")),
    };
    let count = state.and_then(Value::as_object).map_or(0, count_keys);
    if count > policy.keys_max {
        return Err(Reject::TooManyKeys { count, max: policy.keys_max });
    }
    let id = text(&object, "device_id")?.ok_or_else(|| invalid("device_id", "it is missing"))?;
    let id = device_id(policy, id)?;
    let seq = object.get("seq").ok_or_else(|| invalid("seq", "it is missing"))?;
    let seq = whole("seq", seq)?;
    let push_no = match object.get("push_no") {
        None | Some(Value::Null) => None,
        Some(number) => Some((whole("push_no", number)?, body_hash(&object))),
    };
    let mut push = Push {
        platform: Platform::of(text(&object, "platform")?, &id),
        device_id: id,
        seq,
        epoch: epoch(&object)?,
        tag: tag(text(&object, "tag")?)?,
        push_no,
        changed_at: changed_at(&object)?,
        seen: seen(&object)?,
        patches: flag(&object, "patches")?,
        scalars: BTreeMap::new(),
        entries: BTreeMap::new(),
        documents: BTreeMap::new(),
        rejected: BTreeMap::new(),
    };
    if let Some(Value::Object(state)) = object.remove("state") {
        for (name, value) in state {
            let read = match (name.as_str(), value) {
                (FILES, Value::Object(files)) => {
                    read_files(&mut push, files);
                    Ok(())
                }
                (collection, Value::Object(entries)) if key::is_collection(collection) => {
                    read_entries(&mut push, policy, collection, entries);
                    Ok(())
                }
                (collection, _) if key::is_collection(collection) => {
                    Err(Rejection::new("invalid_entry", "a collection is an object of entries"))
                }
                (_, value) => read_scalar(policy, &name, value)
                    .map(|value| drop(push.scalars.insert(name.clone(), value))),
            };
            if let Err(rejection) = read {
                push.rejected.insert(name, rejection);
            }
        }
    }
    Ok(Call::Push(Box::new(push)))
}

/// Two bodies are the same push when they are equal as JSON: objects are sorted here, numbers made alike.
fn body_hash(object: &Map<String, Value>) -> Hash {
    Hash::of(serde_json::to_string(object).unwrap_or_default().as_bytes())
}

fn count_keys(state: &Map<String, Value>) -> usize {
    let of = |(name, value): (&String, &Value)| match value {
        Value::Object(entries) if name == FILES => entries.len(),
        Value::Object(entries) if key::is_collection(name) => {
            entries.values().map(|entry| entry.as_object().map_or(1, |fields| fields.len().max(1))).sum()
        }
        _ => 1,
    };
    state.iter().map(of).sum()
}

fn changed_at(object: &Map<String, Value>) -> Result<BTreeMap<String, u64>, Reject> {
    let field = "changed_at";
    match object.get(field) {
        None | Some(Value::Null) => Ok(BTreeMap::new()),
        Some(Value::Object(times)) => times
            .iter()
            .map(|(key, time)| {
                // A clock before 1970 or with fractions is a wrong clock, not a wrong request.
                let time = match time.as_f64() {
                    Some(time) => time.clamp(0.0, SEQ_MAX as f64) as u64,
                    None => return Err(invalid(field, "a time is a number of milliseconds since 1970")),
                };
                Ok((key.clone(), time))
            })
            .collect(),
        Some(other) => Err(invalid(field, format!("it is {}, allowed is an object", kind(other)))),
    }
}

fn seen(object: &Map<String, Value>) -> Result<BTreeMap<String, Seq>, Reject> {
    match object.get("seen") {
        None | Some(Value::Null) => Ok(BTreeMap::new()),
        Some(Value::Object(places)) => {
            places.iter().map(|(key, seq)| Ok((key.clone(), whole("seen", seq)?))).collect()
        }
        Some(other) => Err(invalid("seen", format!("it is {}, allowed is an object", kind(other)))),
    }
}

fn invalid_name() -> Rejection {
    let detail = format!("a key has 1 to {NAME_BYTES_MAX} bytes, no `/` and no control character");
    Rejection::new("invalid_key", detail)
}

/// A scalar's value; `None`: it is removed.
fn read_scalar(policy: &Policy, name: &str, value: Value) -> Result<Option<Value>, Rejection> {
    if !key::is_name(name) {
        return Err(invalid_name());
    }
    let is_env = name == key::ENV;
    if is_env && value.is_object() && !is_box(&value) {
        let detail = "a sealed box has an integer v and a non-empty array wraps";
        return Err(Rejection::new("invalid_box", detail));
    }
    sized(if is_env { policy.env_bytes_max } else { policy.scalar_bytes_max }, value)
}

fn sized(max: usize, value: Value) -> Result<Option<Value>, Rejection> {
    if value.is_null() {
        return Ok(None);
    }
    let size = value_bytes(&value);
    if size > max {
        let detail = format!("it has {size} bytes as JSON, allowed are {max}");
        return Err(Rejection::new("scalar_too_large", detail));
    }
    Ok(Some(value))
}

fn is_box(value: &Value) -> bool {
    let has_version = value.get("v").is_some_and(|v| v.is_u64() || v.is_i64());
    has_version && value.get("wraps").and_then(Value::as_array).is_some_and(|wraps| !wraps.is_empty())
}

fn read_files(push: &mut Push, files: Map<String, Value>) {
    for (path, value) in files {
        let key = format!("{FILES}/{path}");
        let read = match (key::path_problem(&path), value) {
            (Some(problem), _) => Err(Rejection::new("invalid_path", problem)),
            (None, Value::Null) => Ok(DocumentPush { mine: Mine::Removed, base: BaseHash::Unsaid }),
            (None, Value::Object(mut entry)) => read_document(&mut entry).and_then(|document| {
                let missing = "a file has content, content_base64 or patch, or is null";
                document.ok_or_else(|| Rejection::new("invalid_entry", missing))
            }),
            (None, other) => Err(Rejection::new(
                "invalid_entry",
                format!("it is {}, allowed is an object or null", kind(&other)),
            )),
        };
        match read {
            Ok(document) => drop(push.documents.insert(key, document)),
            Err(rejection) => drop(push.rejected.insert(key, rejection)),
        }
    }
}

/// The content of an entry, if it has any; its members are taken out.
fn read_document(entry: &mut Map<String, Value>) -> Result<Option<DocumentPush>, Rejection> {
    let wrong = |detail: &str| Rejection::new("invalid_entry", detail);
    let base = match entry.get("base_hash") {
        None => BaseHash::Unsaid,
        Some(Value::Null) => BaseHash::Null,
        Some(Value::String(hex)) => BaseHash::Of(
            Hash::parse(hex).ok_or_else(|| wrong("base_hash: allowed are 64 hex digits or null"))?,
        ),
        Some(_) => return Err(wrong("base_hash: allowed are 64 hex digits or null")),
    };
    let mine = match (entry.remove("content"), entry.remove("content_base64"), entry.remove("patch")) {
        (Some(Value::String(content)), _, _) => Mine::Content(content.into_bytes()),
        (Some(_), _, _) => return Err(wrong("content: allowed is a string; an entry is removed by null")),
        (None, Some(Value::String(encoded)), _) => Mine::Content(
            base64(&encoded)
                .ok_or_else(|| Rejection::new("invalid_base64", "content_base64 is not base64"))?,
        ),
        (None, Some(_), _) => return Err(wrong("content_base64: allowed is a string")),
        (None, None, Some(patch)) => {
            let patch = Patch::from_json(&patch).map_err(|error| wrong(&error.to_string()))?;
            let BaseHash::Of(base) = base else { return Err(wrong("a patch needs base_hash")) };
            let result = match entry.get("hash") {
                Some(Value::String(hex)) => {
                    Some(Hash::parse(hex).ok_or_else(|| wrong("hash: allowed are 64 hex digits"))?)
                }
                Some(_) | None => None,
            };
            Mine::Patch { patch, base, result }
        }
        (None, None, None) => return Ok(None),
    };
    Ok(Some(DocumentPush { mine, base }))
}

fn read_entries(push: &mut Push, policy: &Policy, collection: &str, entries: Map<String, Value>) {
    for (id, value) in entries {
        let key = format!("{collection}/{id}");
        let wrong = match value {
            _ if !key::is_name(&id) => invalid_name(),
            Value::Null => {
                if collection == PAGES {
                    let removed = DocumentPush { mine: Mine::Removed, base: BaseHash::Unsaid };
                    push.documents.insert(key.clone(), removed);
                }
                push.entries.insert(key, EntryPush::Removed);
                continue;
            }
            Value::Object(fields) => {
                read_fields(push, policy, collection, &key, fields);
                continue;
            }
            other => {
                let detail = format!("it is {}, allowed is an object or null", kind(&other));
                Rejection::new("invalid_entry", detail)
            }
        };
        push.rejected.insert(key, wrong);
    }
}

fn read_fields(
    push: &mut Push,
    policy: &Policy,
    collection: &str,
    entry: &str,
    mut fields: Map<String, Value>,
) {
    if collection == PAGES {
        match read_document(&mut fields) {
            Ok(Some(document)) => drop(push.documents.insert(entry.to_owned(), document)),
            Ok(None) => {}
            Err(rejection) => drop(push.rejected.insert(entry.to_owned(), rejection)),
        }
        fields.retain(|field, _| !RESERVED.contains(&field.as_str()));
    }
    let mut read = BTreeMap::new();
    for (field, value) in fields {
        let scalar =
            if key::is_name(&field) { sized(policy.scalar_bytes_max, value) } else { Err(invalid_name()) };
        match scalar {
            Ok(value) => drop(read.insert(field, value)),
            Err(rejection) => drop(push.rejected.insert(format!("{entry}/{field}"), rejection)),
        }
    }
    if !read.is_empty() {
        push.entries.insert(entry.to_owned(), EntryPush::Fields(read));
    }
}
