//! Whether what is stored of a user is sound: every invariant that can be seen in the rows, without changing one.
//!
//! The rows come in the order of a transfer's stream, once each. Judging one may need others ([`Verify::questions`]), which
//! a host loads a few questions at a time, so that memory is bounded by the largest rows. Beside that the state hash adds up.

use crate::history::Corrupt;
use crate::ids::{Hash, Seq, Tag, User};
use crate::key::{self, Key};
use crate::slice::{Conflict, Delta, Device, Document, Head, Pushed, Scalar, Scope, Segment, Side, Slice};
use crate::transfer::{Place, Record, StateHash};
use serde_json::{Map, Value};

/// Something that is not as it must be: the table, which row (by seq, device or id, never by path), and what is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding(pub String);

/// What is to be known of further rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// The rows.
    pub scope: Scope,
    ask: Ask,
}

#[derive(Debug, Clone, PartialEq)]
enum Ask {
    /// Is the newest version of this scalar what head has?
    Scalar(String, Scalar),
    /// Is this document what head says, and found by its hash?
    Document(String, Document),
    /// Is what a delta says of this scalar in its history?
    Value(String, Seq, Value),
    /// Is the content that a delta names in the document's history, and found by its hash?
    Content(String, Seq, Hash),
    /// Is an entry or document removed at this seq?
    Removal(String, Seq),
    /// Is what a device pushed, and what did not become a version, found by its hash?
    Aside(String, Seq, Hash),
    /// Is there something where this says?
    Located(String, Seq),
    /// Is the base of this device's next push to be had?
    Base(String, String, Pushed),
}

/// See the module.
#[derive(Debug)]
pub struct Verify {
    head: Head,
    hash: StateHash,
    seq: Seq,
    tag: Tag,
    conflicts_open: u64,
    bytes: usize,
    state_bytes: usize,
    findings: Vec<Finding>,
}

impl Verify {
    /// Begins with the user's head.
    pub fn begin(user: &User, head: &Head) -> Verify {
        let mut verify = Verify {
            head: head.clone(),
            hash: StateHash::begin(user, head),
            seq: head.floor,
            tag: head.floor_tag,
            conflicts_open: 0,
            bytes: 0,
            state_bytes: 0,
            findings: Vec::new(),
        };
        verify.check(head.floor <= head.seq, || format!("np_sync_heads: floor {} is above seq", head.floor));
        verify
    }

    /// After which rows the next ones are to be read.
    pub fn place(&self) -> Place {
        self.hash.place()
    }

    /// What was found since this was asked last.
    pub fn take_findings(&mut self) -> Vec<Finding> {
        std::mem::take(&mut self.findings)
    }

    /// Takes in the next row, looks at what can be seen in it alone, and says what is to be known beside.
    pub fn questions(&mut self, record: &Record) -> Vec<Question> {
        self.hash.add(record);
        self.bytes = self.bytes.saturating_add(record.bytes());
        self.state_bytes = self.state_bytes.saturating_add(record.state_bytes());
        match record {
            Record::User(..) | Record::End(..) | Record::Version(_) => Vec::new(),
            Record::Device(device) => self.device(device),
            Record::Scalar(key, scalar) => self.scalar(key, scalar),
            Record::Document(key, document) => self.document(key, document),
            Record::Delta(delta) => self.delta(delta),
            Record::Segment(segment) => self.segment(segment),
            Record::Located(located) if located.seq <= self.head.floor => Vec::new(),
            Record::Located(located) => {
                let segments = [(located.key.clone(), located.seq)].into();
                let ask = Ask::Located(located.key.clone(), located.seq);
                vec![Question { scope: Scope { segments, ..Scope::default() }, ask }]
            }
            Record::Pushed(device_id, key, pushed) => {
                let mut scope = Scope { devices: [device_id.clone()].into(), ..Scope::default() };
                if is_document(key) && pushed.hash.is_some() {
                    scope.segments = [(key.clone(), pushed.at)].into();
                }
                vec![Question { scope, ask: Ask::Base(device_id.clone(), key.clone(), *pushed) }]
            }
            Record::Conflict(conflict) => self.conflict(conflict),
        }
    }

    /// Takes in the rows of a question.
    pub fn answer(&mut self, question: &Question, slice: &Slice) {
        match &question.ask {
            Ask::Scalar(key, scalar) => {
                let newest = slice.values_at.get(&(key.clone(), self.head.seq));
                let is_same = newest.is_some_and(|v| (v.seq, &v.value) == (scalar.seq, &scalar.value));
                let seq = scalar.seq;
                self.check(is_same, || {
                    format!("np_sync_state, seq {seq}: its newest version is another, or gone")
                });
            }
            Ask::Document(key, row) => self.answer_document(key, row, slice),
            Ask::Value(key, seq, value) => {
                let version = slice.values_at.get(&(key.clone(), *seq)).filter(|found| found.seq == *seq);
                let is_same =
                    version.is_some_and(|version| version.value.as_ref().unwrap_or(&Value::Null) == value);
                self.check(is_same, || {
                    format!("np_sync_versions, seq {seq}: not what its delta says, or gone")
                });
            }
            Ask::Content(key, seq, hash) => {
                let there = has_content(slice, key, *seq, *hash);
                self.check_content("np_sync_contents", *seq, "content of a version", there);
                self.check_place(slice, key, *seq, *hash);
            }
            Ask::Removal(key, seq) => {
                let value = slice.values_at.get(&(key.clone(), *seq)).filter(|found| found.seq == *seq);
                let is_value = value.is_some_and(|version| version.value.is_none());
                let entries = slice.segment(key, *seq).map(Segment::entries).transpose();
                let is_document = entries.is_ok_and(|entries| {
                    entries.into_iter().flatten().any(|entry| entry.seq == *seq && entry.removed)
                });
                self.check(is_value || is_document, || {
                    format!(
                        "np_sync_versions, np_sync_contents, seq {seq}: a removal in its delta is not there"
                    )
                });
            }
            Ask::Aside(key, seq, hash) => self.check_place(slice, key, *seq, *hash),
            Ask::Located(key, seq) => {
                let entries = slice.segment(key, *seq).map(Segment::entries).transpose();
                let is_there =
                    entries.is_ok_and(|entries| entries.into_iter().flatten().any(|entry| entry.seq == *seq));
                self.check(is_there, || format!("np_sync_hashes, seq {seq}: there is no content"));
            }
            Ask::Base(device_id, key, pushed) => {
                let device = slice.devices.get(device_id);
                let is_live = device.is_some_and(|device| device.removed_at.is_none());
                self.check(is_live, || {
                    format!("np_sync_pushed, device {device_id}: it is not there, or removed")
                });
                if let Some(hash) = pushed.hash.filter(|_| is_document(key)) {
                    let there = has_content(slice, key, pushed.at, hash);
                    let what = format!("base of device {device_id}");
                    self.check_content("np_sync_pushed", pushed.seq, &what, there);
                }
            }
        }
    }

    /// After the last row: what only all of them show. The state hash.
    pub fn finish(&mut self) -> Hash {
        let (seq, tag, open) = (self.seq, self.tag, self.conflicts_open);
        let head = self.head.clone();
        self.check(seq == head.seq, || {
            format!("np_sync_deltas: they end at seq {seq}, head is {}", head.seq)
        });
        self.check(tag == head.tag || seq != head.seq, || {
            format!("np_sync_heads: its tag is not that of delta {seq}")
        });
        self.check(open == head.conflicts_open, || {
            format!("np_sync_heads: conflicts_open is {}, there are {open}", head.conflicts_open)
        });
        let bytes = self.bytes as u64;
        self.check(bytes == head.bytes, || {
            format!("np_sync_heads: bytes is {}, counted are {bytes}", head.bytes)
        });
        let state_bytes = self.state_bytes as u64;
        self.check(state_bytes == head.state_bytes, || {
            format!("np_sync_heads: state_bytes is {}, counted are {state_bytes}", head.state_bytes)
        });
        self.hash.get()
    }

    fn check(&mut self, is_sound: bool, finding: impl FnOnce() -> String) {
        if !is_sound {
            self.findings.push(Finding(finding()));
        }
    }

    fn check_content(&mut self, table: &str, seq: Seq, what: &str, there: Result<bool, Corrupt>) {
        match there {
            Ok(true) => {}
            Ok(false) => {
                self.check(false, || format!("{table}, seq {seq}: the {what} is not there, or another"))
            }
            Err(Corrupt(error)) => self.check(false, || format!("{table}, seq {seq}: the {what}: {error}")),
        }
    }

    fn check_place(&mut self, slice: &Slice, key: &str, seq: Seq, hash: Hash) {
        let is_here = |prefix: i64, at: &str, found: Seq| (prefix, at, found) == (hash.prefix(), key, seq);
        let is_found = slice.located.iter().any(|located| is_here(located.prefix, &located.key, located.seq));
        self.check(is_found, || format!("np_sync_hashes, seq {seq}: a content is not found by its hash"));
    }

    fn check_seq(&mut self, table: &str, seq: Seq) {
        let head = self.head.seq;
        self.check(seq <= head, || format!("{table}, seq {seq}: it is above head, {head}"));
    }

    fn device(&mut self, device: &Device) -> Vec<Question> {
        self.check_seq("np_sync_devices", device.seq);
        let id = &device.device_id;
        let has_rights = device.removed_at.is_some() && device.sync_token.is_some();
        self.check(!has_rights, || format!("np_sync_devices, device {id}: it is removed and has a token"));
        if let Some(last) = &device.last_push {
            self.check_seq("np_sync_devices", last.seq);
            let is_json = serde_json::from_str::<Map<String, Value>>(&last.results).is_ok();
            self.check(is_json, || format!("np_sync_devices, device {id}: push_results are not JSON"));
        }
        Vec::new()
    }

    fn scalar(&mut self, key: &str, scalar: &Scalar) -> Vec<Question> {
        self.check_seq("np_sync_state", scalar.seq);
        let values_at = [(key.to_owned(), self.head.seq)].into();
        let ask = Ask::Scalar(key.to_owned(), scalar.clone());
        vec![Question { scope: Scope { values_at, ..Scope::default() }, ask }]
    }

    fn document(&mut self, key: &str, row: &Document) -> Vec<Question> {
        self.check_seq("np_sync_files", row.seq);
        let (segments, hashes) = ([(key.to_owned(), row.seq)].into(), row.hash.into_iter().collect());
        let ask = Ask::Document(key.to_owned(), row.clone());
        vec![Question { scope: Scope { segments, hashes, ..Scope::default() }, ask }]
    }

    fn answer_document(&mut self, key: &str, row: &Document, slice: &Slice) {
        let seq = row.seq;
        let Some(hash) = row.hash else {
            // Its history may be pruned.
            let at = slice.segment(key, seq).map(|segment| segment.at(seq)).transpose();
            let is_content = matches!(at, Ok(Some(crate::history::At::Content(_))));
            self.check(!is_content, || {
                format!("np_sync_files, seq {seq}: removed, and its history has a content")
            });
            return;
        };
        let content = slice.segment(key, seq).map(|segment| segment.content(seq, hash)).transpose();
        let size = content.as_ref().ok().and_then(|content| content.iter().flatten().next().map(Vec::len));
        let there = content.map(|content| content.flatten().is_some());
        self.check_content("np_sync_files", seq, "content of a document", there);
        let is_sized = size.is_none_or(|size| size == row.size);
        self.check(is_sized, || format!("np_sync_files, seq {seq}: size is not that of its content"));
        self.check_place(slice, key, seq, hash);
    }

    fn delta(&mut self, delta: &Delta) -> Vec<Question> {
        let (seq, before) = (delta.seq, self.seq);
        self.check(seq == before.saturating_add(1), || {
            format!("np_sync_deltas, seq {seq}: the one before it is {before}, so that some are missing")
        });
        let tag = self.tag.next(seq, &delta.device_id, delta.created_at, &delta.diff);
        // Where one is missing this says nothing more.
        let follows = seq != before.saturating_add(1) || tag == delta.tag;
        self.check(follows, || {
            format!("np_sync_deltas, seq {seq}: its tag does not follow from the one before")
        });
        (self.seq, self.tag) = (seq, delta.tag);
        match serde_json::from_str::<Map<String, Value>>(&delta.diff) {
            Ok(diff) => changes(&diff).into_iter().map(|(key, value)| change(key, value, seq)).collect(),
            Err(_) => {
                self.check(false, || format!("np_sync_deltas, seq {seq}: it is not JSON"));
                Vec::new()
            }
        }
    }

    /// Versions are looked at by their deltas.
    fn segment(&mut self, segment: &Segment) -> Vec<Question> {
        let start = segment.start;
        let mut questions = Vec::new();
        let entries = match segment.entries() {
            Ok(entries) => entries,
            Err(Corrupt(error)) => {
                self.check(false, || format!("np_sync_contents: {error}"));
                return questions;
            }
        };
        let last = entries.last().map_or(start, |entry| entry.seq);
        if let Err(Corrupt(error)) = segment.at(last) {
            self.check(false, || format!("np_sync_contents: {error}"));
        }
        for entry in entries {
            self.check_seq("np_sync_contents", entry.seq);
            let Some(aside) = entry.aside else { continue };
            let there = segment.content(entry.seq, aside.hash).map(|content| content.is_some());
            self.check_content("np_sync_contents", entry.seq, "content of what lost or merged", there);
            if entry.seq > self.head.floor {
                let ask = Ask::Aside(segment.key.clone(), entry.seq, aside.hash);
                let scope = Scope { hashes: [aside.hash].into(), ..Scope::default() };
                questions.push(Question { scope, ask });
            }
        }
        questions
    }

    fn conflict(&mut self, conflict: &Conflict) -> Vec<Question> {
        self.check_seq("np_sync_conflicts", conflict.seq);
        self.conflicts_open += u64::from(conflict.resolved.is_none());
        let sides = [("base", &conflict.base), ("mine", &conflict.mine), ("theirs", &conflict.theirs)];
        for (name, side) in sides {
            let is_whole = side.as_ref().is_none_or(is_whole);
            self.check(is_whole, || {
                format!(
                    "np_sync_conflicts, id {}: the content of {name} is not there, or another",
                    conflict.id
                )
            });
        }
        Vec::new()
    }
}

fn is_whole(side: &Side) -> bool {
    side.size == side.content.len() && side.hash == Hash::of(&side.content)
}

fn is_document(key: &str) -> bool {
    match Key::parse(key) {
        Some(Key::File(_)) => true,
        Some(Key::Entry(entry)) => key::collection(entry) == key::PAGES,
        Some(Key::Scalar(_) | Key::Field(..)) | None => false,
    }
}

fn has_content(slice: &Slice, key: &str, seq: Seq, hash: Hash) -> Result<bool, Corrupt> {
    let content = slice.segment(key, seq).map(|segment| segment.content(seq, hash)).transpose()?;
    Ok(content.flatten().is_some())
}

/// What a delta changed: keys with their values, documents with their hash as text, removals as null.
fn changes(diff: &Map<String, Value>) -> Vec<(String, &Value)> {
    let mut changes = Vec::new();
    for (name, value) in diff {
        let Some(entries) = value.as_object().filter(|_| key::is_collection(name)) else {
            changes.push((name.clone(), value));
            continue;
        };
        for (id, entry) in entries {
            let whole = format!("{name}/{id}");
            match entry.as_object().filter(|_| name != key::FILES) {
                None => changes.push((whole, entry)),
                Some(fields) => changes.extend(fields.iter().map(|(field, value)| match field.as_str() {
                    "content" if name == key::PAGES => (whole.clone(), value),
                    _ => (format!("{whole}/{field}"), value),
                })),
            }
        }
    }
    changes
}

fn change(key: String, value: &Value, seq: Seq) -> Question {
    let (at, mut scope) = ((key.clone(), seq), Scope::default());
    let hash = value.as_str().filter(|_| is_document(&key)).and_then(Hash::from_base64);
    let is_entry = matches!(Key::parse(&key), Some(Key::Entry(_) | Key::File(_)));
    let ask = match hash {
        Some(hash) => {
            (scope.segments, scope.hashes) = ([at].into(), [hash].into());
            Ask::Content(key, seq, hash)
        }
        None if is_entry && value.is_null() => {
            (scope.values_at, scope.segments) = ([at.clone()].into(), [at].into());
            Ask::Removal(key, seq)
        }
        None => {
            scope.values_at = [at].into();
            Ask::Value(key, seq, value.clone())
        }
    };
    Question { scope, ask }
}
