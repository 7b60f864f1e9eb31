//! What a device lacks: a delta from its seq, or a snapshot. A push's reply carries the same, so both go
//! through [`Delivery`], which asks for rows until it can render.

use crate::commit::Touch;
use crate::exchange::Progress;
use crate::history::{At, Corrupt};
use crate::ids::{Hash, Millis, Seq, Tag};
use crate::key::{self, Key};
use crate::policy::Policy;
use crate::scalar::{is_hidden, value_hash};
use crate::slice::{Device, Document, Head, Scalar, Scope, Slice};
use crate::text::{self, Patch};
use crate::wire::document_content;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

mod flow;
pub(crate) use flow::PullFlow;

/// `GET /sync/pull`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PullQuery {
    /// The seq of the last reply whose changes the client has applied.
    pub since: Option<Seq>,
    /// The epoch it last received.
    pub epoch: Option<String>,
    /// The tag it last received.
    pub tag: Option<Tag>,
    /// The pulling device.
    pub device_id: Option<String>,
    /// Whether documents may be patches.
    pub patches: bool,
    /// Documents by hash and size only.
    pub meta: bool,
    /// A snapshot in any case: the client knows of `since`, and does not hold the state there.
    pub snapshot: bool,
    /// The `If-None-Match` header.
    pub if_none_match: Option<String>,
}

/// Why a snapshot is sent, or, in a push's reply, why the device is to pull one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// No since_seq.
    Initial,
    /// The client wants one.
    Asked,
    /// Too many versions behind.
    BehindThreshold,
    /// Older than the retained history.
    Pruned,
    /// Newer than head.
    SeqAhead,
    /// Epoch or tag are of another history.
    EpochChanged,
}

impl Reason {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Initial => "initial",
            Reason::Asked => "asked",
            Reason::BehindThreshold => "behind_threshold",
            Reason::Pruned => "pruned",
            Reason::SeqAhead => "seq_ahead",
            Reason::EpochChanged => "epoch_changed",
        }
    }
}

/// Where a client says that it is.
pub(crate) struct Position<'a> {
    pub(crate) seq: Seq,
    pub(crate) epoch: Option<&'a str>,
    pub(crate) tag: Option<Tag>,
}

impl Position<'_> {
    /// Whether this is a point of this history, as far as it is retained.
    pub(crate) fn check(&self, head: &Head, slice: &Slice) -> Option<Reason> {
        if self.epoch.is_some_and(|epoch| epoch != head.epoch) {
            Some(Reason::EpochChanged)
        } else if self.seq > head.seq {
            Some(Reason::SeqAhead)
        } else if self.tag.is_some_and(|tag| tag_at(head, slice, self.seq).is_some_and(|at| at != tag)) {
            Some(Reason::EpochChanged)
        } else {
            None
        }
    }
}

fn tag_at(head: &Head, slice: &Slice, seq: Seq) -> Option<Tag> {
    if seq == head.seq {
        Some(head.tag)
    } else if seq == 0 {
        Some(Tag::initial(&head.epoch))
    } else if seq == head.floor {
        Some(head.floor_tag)
    } else {
        slice.deltas.get(&seq).map(|delta| delta.tag)
    }
}

/// What a push carried, so that its reply need not send it back.
#[derive(Debug, Clone, Default)]
pub(crate) struct Carried {
    /// Hash of what was carried for each key, `None`: a removal, and of documents the seq where its content is
    /// found. Head's value of these keys goes out where it is another, however old it is.
    pub(crate) values: BTreeMap<String, (Option<Hash>, Seq)>,
    /// Keys whose pushed value is not head: superseded, or in a conflict. Head's value of these goes out always,
    /// of an entry all of it.
    pub(crate) lost: BTreeSet<String>,
    /// Whether head is this very push's seq, so that its delta tells nothing new.
    pub(crate) is_head: bool,
}

/// A delta or a snapshot in the making.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    since: Seq,
    /// `None`: a delta.
    snapshot: Option<Reason>,
    /// The client has the documents of `since`, and may get patches or bare hashes for them.
    patches: bool,
    meta: bool,
    carried: Carried,
    stage: Stage,
    /// The rows of the keys that deltas name, or that the push carried.
    touched: Scope,
    slice: Slice,
    inline: BTreeSet<String>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Stage {
    Begin,
    Deltas,
    Rows,
    Contents,
}

impl Delivery {
    pub(crate) fn delta(since: Seq, patches: bool, meta: bool, carried: Carried) -> Delivery {
        let mut touched = Scope::default();
        carried.values.keys().for_each(|key| touch(&mut touched, key));
        let (stage, slice, inline) = (Stage::Begin, Slice::default(), BTreeSet::new());
        Delivery { since, snapshot: None, patches, meta, carried, stage, touched, slice, inline }
    }

    /// A snapshot; `since`: the client's documents are those of this seq, if it says so and asks for patches.
    pub(crate) fn snapshot(reason: Reason, since: Option<Seq>, meta: bool) -> Delivery {
        let delivery = Delivery::delta(since.unwrap_or(0), since.is_some(), meta, Carried::default());
        Delivery { snapshot: Some(reason), ..delivery }
    }

    /// Why it is a snapshot; `None`: it is a delta.
    pub(crate) fn reason(&self) -> Option<Reason> {
        self.snapshot
    }

    /// Takes in what was loaded and says what is next. All loads of a delivery see one point in time.
    /// What to load next, or the state to deliver.
    pub(crate) fn next(
        &mut self,
        head: &Head,
        more: Slice,
        policy: &Policy,
    ) -> Result<Progress<Map<String, Value>>, Corrupt> {
        self.slice.extend(more);
        loop {
            let scope = match self.stage {
                Stage::Begin if self.snapshot.is_some() => {
                    self.stage = Stage::Rows;
                    Scope { whole_state: true, ..Scope::default() }
                }
                Stage::Begin => {
                    self.stage = Stage::Deltas;
                    // The one delta after `since` may be the push's own: it tells nothing new.
                    let nothing_new = head.seq == self.since
                        || (self.carried.is_head && head.seq.checked_sub(1) == Some(self.since));
                    Scope { deltas: (!nothing_new).then_some((self.since, head.seq)), ..Scope::default() }
                }
                Stage::Deltas => match self.take_deltas().filter(|last| *last < head.seq) {
                    Some(last) => Scope { deltas: Some((last, head.seq)), ..Scope::default() },
                    None => {
                        self.stage = Stage::Rows;
                        std::mem::take(&mut self.touched)
                    }
                },
                Stage::Rows => {
                    self.stage = Stage::Contents;
                    self.contents(head, policy)
                }
                Stage::Contents => return self.render(head).map(Progress::Done),
            };
            if scope != Scope::default() {
                return Ok(Progress::Load(scope));
            }
        }
    }

    /// Notes the rows of all keys that the loaded deltas name, and lets go of these. Says which was the last.
    fn take_deltas(&mut self) -> Option<Seq> {
        let (deltas, scope) = (std::mem::take(&mut self.slice.deltas), &mut self.touched);
        for delta in deltas.values() {
            // Only the names are read, whatever the size of the values.
            let diff: BTreeMap<String, &RawValue> = serde_json::from_str(&delta.diff).unwrap_or_default();
            for (name, value) in diff {
                if key::is_collection(&name) {
                    let entries: BTreeMap<String, IgnoredAny> =
                        serde_json::from_str(value.get()).unwrap_or_default();
                    entries.keys().for_each(|id| touch(scope, &format!("{name}/{id}")));
                } else {
                    touch(scope, &name);
                }
            }
        }
        deltas.last_key_value().map(|(seq, _)| *seq)
    }

    /// The contents to inline, in the order of their keys, until the reply is full.
    fn contents(&mut self, head: &Head, policy: &Policy) -> Scope {
        let mut scope = Scope::default();
        let (mut bytes, mut patched) = (0_usize, 0);
        // How large bases are is not known beforehand: as large as a document may be, if it comes to the worst. What is not
        // looked at for patches goes out in full.
        let patched_max = policy.touched_bytes_max / policy.file_bytes_max.max(1);
        for (key, row) in &self.slice.documents {
            let known = self.patches && self.snapshot.is_some() && row.seq <= self.since;
            if self.meta || row.hash.is_none() || known || !self.wants_document(key, row) {
                continue;
            }
            bytes = bytes.saturating_add(row.size);
            if bytes > policy.reply_bytes_max {
                break;
            }
            self.inline.insert(key.clone());
            scope.segments.insert((key.clone(), head.seq));
            let base = self.carried.values.get(key).map_or(self.since, |(_, at)| *at);
            if self.patches && base > 0 && patched < patched_max {
                patched += 1;
                scope.segments.insert((key.clone(), base));
            }
        }
        scope
    }

    fn render(&self, head: &Head) -> Result<Map<String, Value>, Corrupt> {
        let mut state = Map::new();
        for (key, row) in &self.slice.scalars {
            match Key::parse(key) {
                Some(Key::Scalar(_)) => {
                    if self.wants(key, row.seq, value_hash(row.value.as_ref())) {
                        put(&mut state, key, row.value.clone(), self.snapshot.is_some());
                    }
                }
                Some(Key::Field(entry, _)) => self.render_field(&mut state, entry, key, row),
                Some(Key::Entry(_) | Key::File(_)) | None => {}
            }
        }
        for (key, row) in &self.slice.documents {
            self.render_document(&mut state, head, key, row)?;
        }
        if self.snapshot.is_none() {
            self.render_gone(&mut state);
        }
        Ok(state)
    }

    fn render_field(&self, state: &mut Map<String, Value>, entry: &str, key: &str, row: &Scalar) {
        if !self.exists(entry) {
            return;
        }
        let removal = self.slice.scalars.get(entry).filter(|removal| is_hidden(row, removal));
        let (value, seq) = match removal {
            Some(removal) => (None, removal.seq),
            None => (row.value.as_ref(), row.seq),
        };
        if self.wants(key, seq, value_hash(value)) {
            put(state, key, value.cloned(), self.snapshot.is_some());
        }
    }

    fn render_document(
        &self,
        state: &mut Map<String, Value>,
        head: &Head,
        key: &str,
        row: &Document,
    ) -> Result<(), Corrupt> {
        if !self.wants_document(key, row) {
            return Ok(());
        }
        let is_page = key::collection(key) == key::PAGES;
        let Some(hash) = row.hash else {
            if is_page && self.exists(key) {
                key::set(state, &format!("{key}/content"), Value::Null);
            } else if !is_page {
                put(state, key, None, self.snapshot.is_some());
            }
            return Ok(());
        };
        let mut members = Map::new();
        if self.inline.contains(key) {
            let content = self.content(key, head.seq, hash)?;
            match self.patch(key, &content)? {
                Some(patch) => members.extend(patch),
                None => members.extend([document_content(content)]),
            }
        }
        members.insert("hash".into(), json!(hash));
        members.insert("size".into(), json!(row.size));
        members.insert("seq".into(), json!(row.seq));
        if is_page {
            for (name, value) in members {
                key::set(state, &format!("{key}/{name}"), value);
            }
        } else {
            key::set(state, key, Value::Object(members));
        }
        Ok(())
    }

    /// Entries that are gone, and were not before or not by the device's own doing.
    fn render_gone(&self, state: &mut Map<String, Value>) {
        let of_rows = self.slice.scalars.keys().chain(self.slice.documents.keys());
        let entries: BTreeSet<&str> = of_rows
            .filter_map(|key| match Key::parse(key) {
                Some(Key::Field(entry, _) | Key::Entry(entry)) => Some(entry),
                Some(Key::Scalar(_) | Key::File(_)) | None => None,
            })
            .filter(|entry| !self.exists(entry))
            .collect();
        for entry in entries {
            let newest = (self.slice.entry(entry).map(|(_, row)| row.seq))
                .chain(self.slice.scalars.get(entry).map(|row| row.seq))
                .chain(self.slice.documents.get(entry).map(|row| row.seq))
                .max();
            let carried = self.carried.values.get(entry);
            let forced =
                self.carried.values.keys().any(|key| {
                    key == entry || key.strip_prefix(entry).is_some_and(|rest| rest.starts_with('/'))
                });
            let is_own =
                carried.is_some_and(|(hash, _)| hash.is_none()) && !self.carried.lost.contains(entry);
            if !is_own && (forced || newest.is_some_and(|seq| seq > self.since)) {
                key::set(state, entry, Value::Null);
            }
        }
    }

    /// Whether a session or page has any field or content at head.
    fn exists(&self, entry: &str) -> bool {
        let removal = self.slice.scalars.get(entry);
        let is_live =
            |row: &Scalar| row.value.is_some() && removal.is_none_or(|removal| !is_hidden(row, removal));
        self.slice.entry(entry).any(|(_, row)| is_live(row))
            || self.slice.documents.get(entry).is_some_and(|row| row.hash.is_some())
    }

    fn wants_document(&self, key: &str, row: &Document) -> bool {
        self.wants(key, row.seq, row.hash)
    }

    fn wants(&self, key: &str, seq: Seq, hash: Option<Hash>) -> bool {
        let entry = match Key::parse(key) {
            Some(Key::Field(entry, _)) => entry,
            Some(Key::Scalar(_) | Key::Entry(_) | Key::File(_)) | None => key,
        };
        // An entry that the device removed and that is there all the same: it has none of it any more.
        let is_removal = |(hash, _): &(Option<Hash>, Seq)| hash.is_none();
        let stays = self.carried.values.get(entry).is_some_and(is_removal) && self.exists(entry);
        if stays || self.carried.lost.contains(key) || self.carried.lost.contains(entry) {
            return true;
        }
        match self.carried.values.get(key) {
            Some((carried, _)) => *carried != hash,
            None => self.snapshot.is_some() || seq > self.since,
        }
    }

    fn content(&self, key: &str, seq: Seq, hash: Hash) -> Result<Vec<u8>, Corrupt> {
        let segment = self.slice.segment(key, seq);
        match segment.map(|segment| segment.at(seq)).transpose()? {
            Some(At::Content(content)) if Hash::of(&content) == hash => Ok(content),
            Some(_) | None => Err(Corrupt(format!("the document with hash {hash} has no content"))),
        }
    }

    /// The content as a patch on what the client has of it, where that is known and smaller.
    fn patch(&self, key: &str, content: &[u8]) -> Result<Option<Map<String, Value>>, Corrupt> {
        if !self.patches {
            return Ok(None);
        }
        let Some(base) = self.patch_base(key)? else { return Ok(None) };
        if !text::is_text(&base) || !text::is_text(content) {
            return Ok(None);
        }
        let patch = Patch::diff(&base, content);
        let smaller = patch.json_len() + PATCH_OVERHEAD < content.len();
        let json = patch.to_json().filter(|_| smaller);
        Ok(json.map(|json| {
            let base_hash = json!(Hash::of(&base));
            Map::from_iter([("patch".to_owned(), json), ("base_hash".to_owned(), base_hash)])
        }))
    }
}

impl Delivery {
    /// What the client surely has: what it just pushed, else the document at its seq.
    fn patch_base(&self, key: &str) -> Result<Option<Vec<u8>>, Corrupt> {
        if let Some((hash, at)) = self.carried.values.get(key) {
            let Some((hash, segment)) = hash.zip(self.slice.segment(key, *at)) else { return Ok(None) };
            return segment.content(*at, hash);
        }
        match self.slice.segment(key, self.since).map(|s| s.at(self.since)).transpose()? {
            Some(At::Content(base)) => Ok(Some(base)),
            Some(At::Absent | At::Removed) | None => Ok(None),
        }
    }
}

/// What a patch costs beside its operations: the base's hash and two names.
const PATCH_OVERHEAD: usize = 96;

fn touch(scope: &mut Scope, key: &str) {
    match Key::parse(key) {
        Some(Key::Scalar(_)) => drop(scope.scalars.insert(key.to_owned())),
        Some(Key::File(_)) => drop(scope.documents.insert(key.to_owned())),
        Some(Key::Entry(entry) | Key::Field(entry, _)) => {
            scope.entries.insert(entry.to_owned());
            if key::collection(entry) == key::PAGES {
                scope.documents.insert(entry.to_owned());
            }
        }
        None => {}
    }
}

/// Puts a value at head; what is gone is null in a delta, and not in a snapshot at all.
fn put(state: &mut Map<String, Value>, key: &str, value: Option<Value>, snapshot: bool) {
    if value.is_some() || !snapshot {
        key::set(state, key, value.unwrap_or(Value::Null));
    }
}

/// A device's row as of this call, where it is time to write it.
pub(crate) fn touch_device(
    device: Option<&Device>,
    seq: Option<Seq>,
    now: Millis,
    policy: &Policy,
) -> Option<Touch> {
    let device = device.filter(|device| device.removed_at.is_none())?;
    let due = now.saturating_sub(device.last_seen) >= policy.last_seen_interval_ms;
    let seq = seq.unwrap_or(device.seq);
    due.then(|| Touch { device_id: device.device_id.clone(), last_seen: now, seq })
}
