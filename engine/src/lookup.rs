//! What lost and what was: a key's history, and contents by hash.

use crate::call::{Body, Reply};
use crate::error::Reject;
use crate::exchange::{Halt, Step, head};
use crate::history::{Corrupt, Entry};
use crate::ids::{Hash, Millis, Seq};
use crate::key::{self, Key};
use crate::slice::{ConflictScope, Scope, Slice, VersionScope};
use crate::wire::timestamp;
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
    /// Reading segments backwards; this one was asked for.
    Segments(Seq),
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
            Stage::Segments(seq) => self.more_entries(seq),
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
            json["value"] = version.value.unwrap_or(Value::Null);
            json
        });
        page(rendered.collect(), next)
    }

    fn segments(&mut self, seq: Seq) -> Result<Step, Halt> {
        self.stage = Stage::Segments(seq);
        Ok(Step::Load(Scope { segments: [(self.query.key.clone(), seq)].into(), ..Scope::default() }))
    }

    /// Takes the entries of a segment, newest first, and asks for the one before it while the page is not full.
    fn more_entries(&mut self, seq: Seq) -> Result<Step, Halt> {
        let cursor = self.query.cursor;
        let segment = self.slice.segment(&self.query.key, seq).cloned();
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
                json["hash"] = json!(aside.hash);
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
            json["hash"] = json!(hash.filter(|_| !entry.removed).and_then(Hash::from_base64));
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
        body["next"] = json!(next);
    }
    Step::Reply(Reply::json(body), None)
}

/// A content being looked for.
pub(crate) struct FileFlow {
    query: FileQuery,
    slice: Slice,
    stage: u8,
}

impl FileFlow {
    pub(crate) fn new(query: FileQuery) -> FileFlow {
        FileFlow { query, slice: Slice::default(), stage: 0 }
    }

    pub(crate) fn first(&self) -> Scope {
        Scope { hashes: [self.query.hash].into(), ..Scope::default() }
    }

    /// By the index of contents first; what only a conflict keeps is looked for there.
    pub(crate) fn next(&mut self, loaded: Slice) -> Result<Step, Halt> {
        self.slice.extend(loaded);
        self.stage += 1;
        let hash = self.query.hash;
        match self.stage {
            1 => {
                let segments = self.slice.located.iter().map(|at| (at.key.clone(), at.seq)).collect();
                Ok(Step::Load(Scope { segments, ..Scope::default() }))
            }
            2 => {
                for at in &self.slice.located {
                    let segment = self.slice.segment(&at.key, at.seq);
                    let content = segment.map(|segment| segment.content(at.seq, hash)).transpose()?.flatten();
                    if let Some(content) = content {
                        return Ok(self.reply(content));
                    }
                }
                Ok(Step::Load(Scope { conflicts: ConflictScope::Open, ..Scope::default() }))
            }
            _ => {
                let conflicts = std::mem::take(&mut self.slice.conflicts);
                let sides = conflicts.into_values().flat_map(|c| [c.base, c.mine, c.theirs]).flatten();
                let found = sides.into_iter().find(|side| side.hash == hash);
                found.map(|side| self.reply(side.content)).ok_or(Reject::NotFound("content").into())
            }
        }
    }

    fn reply(&self, content: Vec<u8>) -> Step {
        let headers = vec![("etag", format!("\"{}\"", self.query.hash))];
        Step::Reply(Reply { status: 200, headers, body: Body::Bytes(content) }, None)
    }
}
