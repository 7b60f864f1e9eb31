//! The replica at rest: records by key, each written when what it holds changes and no other.
//!
//! | Record | Holds |
//! |---|---|
//! | `meta` | identity, place in the host's history, policy |
//! | `flight` | the push that is not settled, to the byte |
//! | `conflicts` | the open ones |
//! | `hs/<key>`, `hd/<key>` | the host's scalars and documents |
//! | `es/`, `ed/`, `er/<key>` | edits: scalars, documents, removals |
//! | `xs/`, `xd/`, `xr/<key>` | the same, of the push in flight |
//! | `u/<key>` | scalars whose write lost, until it is acknowledged |
//! | `w/<n>` | edits that follow others |
//!
//! A record is a line of JSON, then bytes: a document's content, and what it was made from.

use super::edit::{Base, DocumentEdit, Edits, Removal, ScalarEdit, Waiting};
use super::reply::PROXY;
use super::{Conflict, Flight, Place, Rejected, Replica};
use crate::ids::{Hash, Platform, Seq};
use crate::state::Document;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::fmt;

/// The version of the records.
const VERSION: u64 = 1;

/// Records that cannot be read: damaged, or of a newer version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CorruptJournal {
    /// The record.
    pub record: String,
    /// What is wrong with it, never what it holds.
    pub problem: &'static str,
}

impl fmt::Display for CorruptJournal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "journal record {}: {}", self.record, self.problem)
    }
}

impl std::error::Error for CorruptJournal {}

/// Writes that belong together: all of them or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// To be given to [`Replica::written`].
    pub no: u64,
    /// Records; `None`: deleted.
    pub writes: Vec<(String, Option<Vec<u8>>)>,
}

/// Records to write, and how far they are.
#[derive(Debug, Default)]
pub(super) struct Dirty {
    names: BTreeSet<String>,
    taken: u64,
    written: u64,
}

impl Dirty {
    pub(super) fn mark(&mut self, layer: char, kind: char, key: &str) {
        self.names.insert(format!("{layer}{kind}/{key}"));
    }

    pub(super) fn mark_superseded(&mut self, key: &str) {
        self.names.insert(format!("u/{key}"));
    }

    pub(super) fn mark_waiting(&mut self, no: u64) {
        self.names.insert(format!("w/{no}"));
    }

    pub(super) fn mark_meta(&mut self) {
        self.names.insert("meta".to_owned());
    }

    pub(super) fn mark_conflicts(&mut self) {
        self.names.insert("conflicts".to_owned());
    }

    /// The flight and what it carries.
    pub(super) fn mark_flight(&mut self, carried: &Edits) {
        self.names.insert("flight".to_owned());
        self.mark_edits('x', carried);
    }

    pub(super) fn mark_edits(&mut self, layer: char, edits: &Edits) {
        edits.scalars.keys().for_each(|key| self.mark(layer, 's', key));
        edits.documents.keys().for_each(|key| self.mark(layer, 'd', key));
        edits.removals.keys().for_each(|key| self.mark(layer, 'r', key));
    }
}

impl Replica {
    /// What has to be stored by now; `None`: nothing. Every batch is to be written, in order.
    pub fn take_writes(&mut self) -> Option<Batch> {
        if self.journal.names.is_empty() {
            return None;
        }
        self.journal.taken += 1;
        let no = self.journal.taken;
        let names = std::mem::take(&mut self.journal.names);
        if let Some(flight) = self.flight.as_mut().filter(|_| names.contains("flight")) {
            flight.batch = no;
        }
        let writes =
            names.into_iter().map(|name| (self.record(&name), name)).map(|(value, name)| (name, value));
        Some(Batch { no, writes: writes.collect() })
    }

    /// The batch of that number is durable, and all before it.
    pub fn written(&mut self, no: u64) {
        self.journal.written = self.journal.written.max(no);
    }

    /// Whether the push in flight is durable.
    pub(super) fn is_flight_written(&self, flight: &Flight) -> bool {
        flight.batch <= self.journal.written
    }

    /// A record as it is to be now; `None`: there is none.
    fn record(&self, name: &str) -> Option<Vec<u8>> {
        match name.split_once('/') {
            None => self.single(name),
            Some((place, key)) => self.keyed(place, key),
        }
    }

    fn single(&self, name: &str) -> Option<Vec<u8>> {
        match name {
            "meta" => {
                let identity = &self.identity;
                let head = json!({
                    "v": VERSION, "device_id": identity.device_id, "former": identity.former, "platform": identity.platform.as_str(),
                    "registered": identity.is_registered, "token": identity.token, "push_no": identity.push_no,
                    "seq": self.at.seq, "tag": self.at.tag, "epoch": self.epoch, "policy": self.policy_json,
                    "restored": self.is_restored,
                });
                Some(encode(&head, &[]))
            }
            "flight" => {
                let flight = self.flight.as_ref()?;
                Some(encode(&json!({ "push_no": flight.push_no }), &[flight.body.as_bytes()]))
            }
            "conflicts" if !self.conflicts.is_empty() || !self.parted.is_empty() => {
                let list = |list: &[Conflict]| list.iter().map(|one| one.json.clone()).collect::<Value>();
                let head = json!({ "open": list(&self.conflicts), "parted": list(&self.parted) });
                Some(encode(&head, &[]))
            }
            _ => None,
        }
    }

    fn keyed(&self, place: &str, key: &str) -> Option<Vec<u8>> {
        let carried = || self.flight.as_ref().map(|flight| &flight.carried);
        match place {
            "hs" => {
                let head = json!({ "value": self.host.scalar(key)?, "at": self.times.get(key) });
                Some(encode(&head, &[]))
            }
            "hd" => {
                let document = self.host.document(key)?;
                let head = json!({ "hash": document.hash(), "seq": document.seq() });
                Some(encode(&head, &[document.content()]))
            }
            "es" => Some(scalar_record(self.edits.scalars.get(key)?)),
            "ed" => Some(document_record(self.edits.documents.get(key)?)),
            "er" => Some(removal_record(self.edits.removals.get(key)?)),
            "xs" => Some(scalar_record(carried()?.scalars.get(key)?)),
            "xd" => Some(document_record(carried()?.documents.get(key)?)),
            "xr" => Some(removal_record(carried()?.removals.get(key)?)),
            "u" => {
                let (mine, theirs) = self.superseded.get(key)?;
                Some(encode(&json!({ "mine": mine, "theirs": theirs }), &[]))
            }
            "w" => {
                let Waiting { key, base, content, at } = self.waiting.get(&key.parse().ok()?)?;
                let base = base.as_ref();
                let head = json!({
                    "key": key, "at": at, "size": content.len(), "base": base.map(Document::hash),
                });
                Some(encode(&head, &[content, base.map_or(&[], Document::content)]))
            }
            _ => None,
        }
    }

    /// Takes a record in; `None`: it is gone. An unknown record is let be: a later version of this code wrote it.
    pub(super) fn load_record(&mut self, name: &str, value: Option<&[u8]>) -> Result<(), CorruptJournal> {
        let record = value.map(Record::decode).transpose();
        record
            .and_then(|record| match name.split_once('/') {
                None => self.load_single(name, record),
                Some((place, key)) => self.load_keyed(place, key, record),
            })
            .map_err(|problem| CorruptJournal { record: name.to_owned(), problem })
    }

    fn load_single(&mut self, name: &str, record: Option<Record<'_>>) -> Result<(), &'static str> {
        match (name, record) {
            ("meta", Some(record)) => {
                if record.number("v")? > VERSION {
                    return Err("it is of a newer version");
                }
                self.identity.device_id = record.text("device_id")?.to_owned();
                let former = record.head.get("former").and_then(Value::as_array).into_iter().flatten();
                self.identity.former = former.filter_map(|id| Some(id.as_str()?.to_owned())).collect();
                self.identity.platform = Platform::of(record.text("platform").ok(), "");
                self.identity.is_registered = record.head.get("registered") == Some(&Value::Bool(true));
                self.identity.token = record.text("token").ok().map(str::to_owned);
                self.identity.push_no = record.number("push_no")?;
                self.at =
                    Place { seq: record.number("seq")?, tag: record.text("tag").ok().map(str::to_owned) };
                self.epoch = record.text("epoch").ok().map(str::to_owned);
                self.is_restored = record.head.get("restored") == Some(&Value::Bool(true));
                self.conflicts_are_stale |= self.is_restored;
                let policy = record.head.get("policy").cloned().unwrap_or_default();
                self.read_policy(&policy);
            }
            ("flight", None) => self.flight = None,
            ("flight", Some(record)) => {
                let body = std::str::from_utf8(record.bytes).map_err(|_| WRONG)?.to_owned();
                let push_no = record.number("push_no")?;
                let carried = self.flight.take().map(|flight| flight.carried).unwrap_or_default();
                self.flight = Some(Flight { push_no, body, carried, batch: 0, outcomes: None });
            }
            ("conflicts", None) => {
                self.conflicts.clear();
                self.parted.clear();
            }
            ("conflicts", Some(record)) => {
                let list = |name: &str| record.head.get(name).and_then(Conflict::list).ok_or(WRONG);
                (self.conflicts, self.parted) = (list("open")?, list("parted")?);
            }
            _ => {}
        }
        Ok(())
    }

    fn load_keyed(&mut self, place: &str, key: &str, record: Option<Record<'_>>) -> Result<(), &'static str> {
        match place {
            "hs" => {
                let value = record.as_ref().map(|record| record.head.get("value").cloned().ok_or(WRONG));
                let at = record.as_ref().and_then(|record| record.number("at").ok());
                self.host.put_scalar(key, value.transpose()?);
                match at {
                    Some(at) => drop(self.times.insert(key.to_owned(), at)),
                    None => drop(self.times.remove(key)),
                }
            }
            "hd" => {
                let read = |record: Record<'_>| -> Result<Document, &'static str> {
                    let hash = record.text("hash").ok().and_then(Hash::parse).ok_or(WRONG)?;
                    Ok(Document::known(record.bytes.to_vec(), hash, record.number("seq").ok()))
                };
                self.host.put_document(key, record.map(read).transpose()?);
            }
            "es" | "ed" | "er" => load_edit(&mut self.edits, place, key, record)?,
            "xs" | "xd" | "xr" => {
                // Records come by name: those of what it carries after `flight`, which sorts before them.
                if let Some(flight) = self.flight.as_mut() {
                    load_edit(&mut flight.carried, place, key, record)?;
                }
            }
            "u" => match record {
                None => drop(self.superseded.remove(key)),
                Some(record) => {
                    let side = |name: &str| record.head.get(name).cloned().ok_or(WRONG);
                    self.superseded.insert(key.to_owned(), (side("mine")?, side("theirs")?));
                }
            },
            "w" => {
                let no = key.parse().map_err(|_| WRONG)?;
                match record {
                    None => drop(self.waiting.remove(&no)),
                    Some(record) => drop(self.waiting.insert(no, read_waiting(&record)?)),
                }
            }
            _ => {}
        }
        Ok(())
    }
}

const WRONG: &str = "it is damaged";

struct Record<'a> {
    head: Value,
    bytes: &'a [u8],
}

impl<'a> Record<'a> {
    fn decode(value: &'a [u8]) -> Result<Record<'a>, &'static str> {
        let end = value.iter().position(|byte| *byte == b'\n').ok_or(WRONG)?;
        let (head, bytes) = value.split_at_checked(end).ok_or(WRONG)?;
        let head = serde_json::from_slice(head).map_err(|_| WRONG)?;
        Ok(Record { head, bytes: bytes.get(1..).unwrap_or_default() })
    }

    fn number(&self, name: &str) -> Result<u64, &'static str> {
        self.head.get(name).and_then(Value::as_u64).ok_or(WRONG)
    }

    fn text(&self, name: &str) -> Result<&str, &'static str> {
        self.head.get(name).and_then(Value::as_str).ok_or(WRONG)
    }

    fn stale(&self) -> Option<Seq> {
        self.head.get("stale")?.as_u64()
    }

    fn rejected(&self) -> Option<Rejected> {
        let rejected = self.head.get("rejected")?;
        let text = |name: &str| Some(rejected.get(name)?.as_str()?.to_owned());
        Some(Rejected { code: text("code")?, detail: text("detail")? }).filter(|why| why.code != PROXY)
    }

    /// The content, and what follows it.
    fn halves(&self) -> Result<(&'a [u8], &'a [u8]), &'static str> {
        let size = usize::try_from(self.number("size")?).map_err(|_| WRONG)?;
        self.bytes.split_at_checked(size).ok_or(WRONG)
    }

    /// What a document was made from, where its hash is named.
    fn base(&self, content: &[u8]) -> Option<Document> {
        let hash = self.head.get("base").and_then(Value::as_str).and_then(Hash::parse)?;
        Some(Document::known(content.to_vec(), hash, None))
    }
}

fn encode(head: &Value, parts: &[&[u8]]) -> Vec<u8> {
    let mut record = head.to_string().into_bytes();
    record.push(b'\n');
    parts.iter().for_each(|part| record.extend_from_slice(part));
    record
}

fn put_why(head: &mut Map<String, Value>, stale: Option<Seq>, rejected: Option<&Rejected>) {
    if let Some(stale) = stale {
        head.insert("stale".to_owned(), json!(stale));
    }
    if let Some(rejected) = rejected {
        let rejected = json!({ "code": rejected.code, "detail": rejected.detail });
        head.insert("rejected".to_owned(), rejected);
    }
}

fn scalar_record(edit: &ScalarEdit) -> Vec<u8> {
    let mut head = Map::from_iter([("at".to_owned(), json!(edit.at))]);
    head.extend(edit.value.clone().map(|value| ("value".to_owned(), value)));
    put_why(&mut head, edit.stale, edit.rejected.as_ref());
    encode(&Value::Object(head), &[])
}

fn removal_record(edit: &Removal) -> Vec<u8> {
    let mut head = Map::from_iter([("at".to_owned(), json!(edit.at))]);
    put_why(&mut head, edit.stale, edit.rejected.as_ref());
    encode(&Value::Object(head), &[])
}

fn document_record(edit: &DocumentEdit) -> Vec<u8> {
    let content = edit.content.as_deref();
    let mut head = Map::from_iter([
        ("at".to_owned(), json!(edit.at)),
        ("in_full".to_owned(), json!(edit.in_full)),
        ("size".to_owned(), json!(content.unwrap_or_default().len())),
        ("removed".to_owned(), json!(content.is_none())),
    ]);
    let mut base: &[u8] = &[];
    if let Base::Kept(kept) = &edit.base {
        head.insert("base".to_owned(), json!(kept.as_ref().map(Document::hash)));
        base = kept.as_ref().map_or(&[], Document::content);
    }
    put_why(&mut head, None, edit.rejected.as_ref());
    encode(&Value::Object(head), &[content.unwrap_or_default(), base])
}

fn load_edit(
    edits: &mut Edits,
    place: &str,
    key: &str,
    record: Option<Record<'_>>,
) -> Result<(), &'static str> {
    let Some(record) = record else {
        match place.get(1..) {
            Some("s") => drop(edits.scalars.remove(key)),
            Some("d") => drop(edits.documents.remove(key)),
            _ => drop(edits.removals.remove(key)),
        }
        return Ok(());
    };
    let (at, rejected, stale) = (record.number("at")?, record.rejected(), record.stale());
    match place.get(1..) {
        Some("s") => {
            let value = record.head.get("value").cloned();
            edits.scalars.insert(key.to_owned(), ScalarEdit { value, at, stale, rejected });
        }
        Some("d") => {
            let (content, base) = record.halves()?;
            let is_removed = record.head.get("removed") == Some(&Value::Bool(true));
            let base = match record.head.get("base") {
                None => Base::Below,
                Some(_) => Base::Kept(record.base(base)),
            };
            let in_full = record.head.get("in_full") == Some(&Value::Bool(true));
            let content = (!is_removed).then(|| content.to_vec());
            edits.documents.insert(key.to_owned(), DocumentEdit { content, base, at, in_full, rejected });
        }
        _ => drop(edits.removals.insert(key.to_owned(), Removal { at, stale, rejected })),
    }
    Ok(())
}

fn read_waiting(record: &Record<'_>) -> Result<Waiting, &'static str> {
    let (content, base) = record.halves()?;
    let (key, at) = (record.text("key")?.to_owned(), record.number("at")?);
    Ok(Waiting { key, base: record.base(base), content: content.to_vec(), at })
}
