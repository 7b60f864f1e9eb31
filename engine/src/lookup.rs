//! What lost and what was: a key's history, and contents by hash.

use crate::call::{Body, Reply};
use crate::error::Reject;
use crate::exchange::{Halt, Step, head};
use crate::history::{Corrupt, Entry};
use crate::ids::{Hash, Millis, Seq};
use crate::key::{self, Key};
use crate::slice::{Conflict, ConflictScope, Scope, Slice, VersionScope};
use crate::wire::{put, timestamp};
use serde_json::{Value, json};

/// `GET /sync/history`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryQuery {
    /// The changed key.
    pub key: String,
    /// Versions a page.
    pub limit: usize,
    /// Where the page begins: before this seq, or after so many versions of it were shown.
    pub cursor: Option<(Seq, u32)>,
}

/// `GET /sync/files/:hash`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileQuery {
    /// The content's hash.
    pub hash: Hash,
    /// The `If-None-Match` header.
    pub if_none_match: Option<String>,
}

/// A history being read.
pub(crate) struct HistoryFlow {
    query: HistoryQuery,
    slice: Slice,
    entries: Vec<Entry>,
    stage: Stage,
}

enum Stage {
    Begin,
    Scalars,
    /// Reading segments backwards; one was asked for.
    Segments,
    Deltas,
}

impl HistoryFlow {
    pub(crate) fn new(query: HistoryQuery) -> HistoryFlow {
        HistoryFlow { query, slice: Slice::default(), entries: Vec::new(), stage: Stage::Begin }
    }

    pub(crate) fn first(&self) -> Scope {
        Scope::default()
    }

    pub(crate) fn next(&mut self, loaded: Slice) -> Result<Step, Halt> {
        self.slice.extend(loaded);
        match self.stage {
            Stage::Begin => {
                let key = &self.query.key;
                let is_document = match Key::parse(key) {
                    Some(Key::File(_)) => true,
                    Some(Key::Entry(entry)) => key::collection(entry) == key::PAGES,
                    Some(Key::Scalar(_) | Key::Field(..)) | None => false,
                };
                if is_document {
                    return self.segments(self.query.cursor.map_or(head(&self.slice)?.seq, |(seq, _)| seq));
                }
                self.stage = Stage::Scalars;
                let (key, before) = (key.clone(), self.query.cursor);
                let versions = VersionScope { key, before, limit: self.query.limit + 1 };
                Ok(Step::Load(Scope { versions: Some(versions), ..Scope::default() }))
            }
            Stage::Scalars => Ok(self.scalars()),
            Stage::Segments => self.more_entries(),
            Stage::Deltas => self.documents(),
        }
    }

    fn scalars(&self) -> Step {
        let mut versions = self.slice.versions.clone();
        let more = versions.len() > self.query.limit;
        versions.truncate(self.query.limit);
        let next = versions.last().filter(|_| more).map(|last| format!("{}.{}", last.seq, last.no));
        let rendered = versions.into_iter().map(|version| {
            let mut json =
                render(version.seq, &version.device_id, version.created_at, version.cause.as_str());
            put(&mut json, "value", version.value.unwrap_or(Value::Null));
            json
        });
        page(rendered.collect(), next)
    }

    fn segments(&mut self, seq: Seq) -> Result<Step, Halt> {
        self.stage = Stage::Segments;
        Ok(Step::Load(Scope { segments: [(self.query.key.clone(), seq)].into(), ..Scope::default() }))
    }

    /// Takes the entries of a segment, newest first, and asks for the one before it while the page is not full.
    fn more_entries(&mut self) -> Result<Step, Halt> {
        let cursor = self.query.cursor;
        let segment = std::mem::take(&mut self.slice.segments).into_values().next();
        if let Some(segment) = &segment {
            let mut shown = cursor.map_or(0, |(_, shown)| shown);
            for entry in segment.entries()?.into_iter().rev() {
                match cursor {
                    Some((at, _)) if entry.seq > at => {}
                    Some((at, _)) if entry.seq == at && shown > 0 => shown -= 1,
                    _ => self.entries.push(entry),
                }
            }
        }
        if let Some(segment) = segment.filter(|segment| segment.start > 1)
            && self.entries.len() <= self.query.limit
        {
            return self.segments(segment.start - 1);
        }
        self.stage = Stage::Deltas;
        self.entries.truncate(self.query.limit + 1);
        let seqs = self.entries.iter().filter(|entry| entry.aside.is_none()).map(|entry| entry.seq);
        Ok(Step::Load(Scope { deltas_at: seqs.collect(), ..Scope::default() }))
    }

    fn documents(&mut self) -> Result<Step, Halt> {
        let more = self.entries.len() > self.query.limit;
        self.entries.truncate(self.query.limit);
        let next = self.entries.last().filter(|_| more).map(|last| {
            let before = self.query.cursor.filter(|(seq, _)| *seq == last.seq).map_or(0, |(_, shown)| shown);
            let shown = self.entries.iter().filter(|entry| entry.seq == last.seq).count();
            format!("{}.{}", last.seq, before as usize + shown)
        });
        let mut versions = Vec::new();
        for entry in &self.entries {
            let cause = entry.cause.as_str();
            if let Some(aside) = &entry.aside {
                let mut json = render(entry.seq, &aside.device_id, aside.created_at, cause);
                put(&mut json, "hash", json!(aside.hash));
                versions.push(json);
                continue;
            }
            let Some(delta) = self.slice.deltas.get(&entry.seq) else { continue }; // pruned
            let diff: Value = serde_json::from_str(&delta.diff)
                .map_err(|_| Corrupt(format!("the diff of delta {}", entry.seq)))?;
            let (collection, id) = (key::collection(&self.query.key), key::within(&self.query.key));
            let changed = diff.get(collection).and_then(|entries| entries.get(id));
            let hash = changed.and_then(|changed| changed.get("content").unwrap_or(changed).as_str());
            let mut json = render(entry.seq, &delta.device_id, delta.created_at, cause);
            put(&mut json, "hash", json!(hash.filter(|_| !entry.removed).and_then(Hash::from_base64)));
            versions.push(json);
        }
        Ok(page(versions, next))
    }
}

fn render(seq: Seq, device_id: &str, created_at: Millis, cause: &str) -> Value {
    let device_id = Some(device_id).filter(|id| !id.is_empty());
    json!({ "seq": seq, "device_id": device_id, "created_at": timestamp(created_at), "cause": cause })
}

fn page(versions: Vec<Value>, next: Option<String>) -> Step {
    let mut body = json!({ "versions": versions });
    if let Some(next) = next {
        put(&mut body, "next", json!(next));
    }
    Step::Reply(Reply::json(body), None)
}

/// A content being looked for: at its places, newest first and one at a time, then in the open conflicts.
pub(crate) struct FileFlow {
    query: FileQuery,
    places: Vec<(String, Seq)>,
    stage: FileStage,
}

enum FileStage {
    Places,
    Place(String, Seq),
    Conflicts,
    Conflict,
}

impl FileFlow {
    pub(crate) fn new(query: FileQuery) -> FileFlow {
        FileFlow { query, places: Vec::new(), stage: FileStage::Places }
    }

    pub(crate) fn first(&self) -> Scope {
        Scope { hashes: [self.query.hash].into(), ..Scope::default() }
    }

    pub(crate) fn next(&mut self, loaded: Slice) -> Result<Step, Halt> {
        let hash = self.query.hash;
        let sides = |open: Conflict| [open.base, open.mine, open.theirs].into_iter().flatten();
        match &self.stage {
            FileStage::Places => {
                self.places = loaded.located.into_iter().map(|at| (at.key, at.seq)).collect();
                self.places.sort_by_key(|(_, seq)| *seq);
                Ok(self.next_place())
            }
            FileStage::Place(key, seq) => {
                let segment = loaded.segment(key, *seq);
                match segment.map(|segment| segment.content(*seq, hash)).transpose()?.flatten() {
                    Some(content) => Ok(self.reply(content)),
                    None => Ok(self.next_place()),
                }
            }
            FileStage::Conflicts => {
                let mut briefs = loaded.conflicts.into_iter();
                let found = briefs.find(|(_, open)| sides(open.clone()).any(|side| side.hash == hash));
                let (id, _) = found.ok_or(Reject::NotFound("content"))?;
                self.stage = FileStage::Conflict;
                Ok(Step::Load(Scope { conflicts: ConflictScope::Ids([id].into()), ..Scope::default() }))
            }
            FileStage::Conflict => {
                let found = loaded.conflicts.into_values().flat_map(sides).find(|side| side.hash == hash);
                found.map(|side| self.reply(side.content)).ok_or(Reject::NotFound("content").into())
            }
        }
    }

    fn next_place(&mut self) -> Step {
        let Some((key, seq)) = self.places.pop() else {
            self.stage = FileStage::Conflicts;
            return Step::Load(Scope { conflicts: ConflictScope::OpenBrief, ..Scope::default() });
        };
        self.stage = FileStage::Place(key.clone(), seq);
        Step::Load(Scope { segments: [(key, seq)].into(), ..Scope::default() })
    }

    fn reply(&self, content: Vec<u8>) -> Step {
        let etag = format!("W/\"{}\"", self.query.hash);
        let not_modified = Reply::not_modified(self.query.if_none_match.as_deref(), etag.clone());
        let whole = || Reply { status: 200, headers: vec![("etag", etag)], body: Body::Bytes(content) };
        Step::Reply(not_modified.unwrap_or_else(whole), None)
    }
}
