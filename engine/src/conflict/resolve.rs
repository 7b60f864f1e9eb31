//! Resolving a conflict.

use super::render_side;
use crate::call::Reply;
use crate::commit::Commit;
use crate::decide::{append_delta, count_bytes, write_version};
use crate::device::check_device_id;
use crate::error::Reject;
use crate::exchange::{Halt, Progress, Setting, head};
use crate::history::{Aside, Corrupt, Tail};
use crate::ids::{Hash, Seq};
use crate::key;
use crate::scalar::is_hidden;
use crate::slice::{
    Cause, Conflict, ConflictScope, Document, Head, Located, Resolved, Scalar, Scope, Side, Slice, Version,
};
use crate::text::{self, Merge};
use crate::wire::timestamp;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// How a person decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolution {
    /// What the device had pushed.
    Mine,
    /// What it met.
    Theirs,
    /// A content of their own making.
    Merged,
}

impl Resolution {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Resolution::Mine => "mine",
            Resolution::Theirs => "theirs",
            Resolution::Merged => "merged",
        }
    }
}

/// Which *theirs* the person saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// The one the conflict was made with.
    Made,
    /// The content with this hash; `None`: that it is gone.
    Hash(Option<Hash>),
}

/// `POST /sync/conflicts/:id/resolve`.
#[derive(Debug, Clone)]
pub struct Resolve {
    /// The conflict.
    pub id: String,
    /// How.
    pub resolution: Resolution,
    /// The content of a merged resolution.
    pub content: Option<Vec<u8>>,
    /// The resolving device.
    pub device_id: Option<String>,
    /// See [`Seen`].
    pub theirs: Seen,
    /// Whether to become head even over what nobody saw, which is then kept as a conflict of its writer.
    pub force: bool,
}

/// A resolution from its rows to its commit.
pub(crate) struct ResolveFlow {
    resolve: Resolve,
    slice: Slice,
    stage: ResolveStage,
}

enum ResolveStage {
    Conflict,
    Document,
}

/// What becomes head.
enum Target {
    /// Head as it is.
    Stays,
    /// This; `forced`: over a head that was not seen.
    Becomes { content: Option<Vec<u8>>, merged: bool, forced: bool },
}

impl ResolveFlow {
    pub(crate) fn new(resolve: Resolve) -> ResolveFlow {
        ResolveFlow { resolve, slice: Slice::default(), stage: ResolveStage::Conflict }
    }

    pub(crate) fn first(&self) -> Scope {
        let mut scope =
            Scope { conflicts: ConflictScope::Ids([self.resolve.id.clone()].into()), ..Scope::default() };
        if let Seen::Hash(Some(hash)) = self.resolve.theirs {
            scope.hashes.insert(hash);
        }
        scope
    }

    /// What to load next, or the commit and the reply.
    pub(crate) fn next(
        &mut self,
        setting: &Setting,
        loaded: Slice,
    ) -> Result<Progress<(Box<Commit>, Reply)>, Halt> {
        self.slice.extend(loaded);
        check_device_id(&setting.caller, self.resolve.device_id.as_deref())?;
        let conflict = self.slice.conflicts.get(&self.resolve.id).ok_or(Reject::NotFound("conflict"))?;
        if let Some(resolved) = &conflict.resolved {
            return Err(Reject::ConflictResolved {
                device_id: resolved.device_id.clone(),
                at: timestamp(resolved.at),
                resolution: resolved.resolution.clone(),
            }
            .into());
        }
        if let ResolveStage::Conflict = self.stage {
            self.stage = ResolveStage::Document;
            let head_seq = head(&self.slice)?.seq;
            let key = conflict.key.clone();
            let located = self.slice.located.iter().filter(|located| located.key == key);
            let mut segments: BTreeSet<_> = located.map(|located| (key.clone(), located.seq)).collect();
            segments.insert((key.clone(), head_seq));
            let entries = BTreeSet::from_iter((key::collection(&key) == key::PAGES).then(|| key.clone()));
            let documents = BTreeSet::from([key]);
            return Ok(Progress::Load(Scope { documents, segments, entries, ..Scope::default() }));
        }
        self.decide(setting, head(&self.slice)?, conflict).map(Progress::Done)
    }

    fn decide(
        &self,
        setting: &Setting,
        head: &Head,
        conflict: &Conflict,
    ) -> Result<(Box<Commit>, Reply), Halt> {
        let key = &conflict.key;
        let row = self.slice.documents.get(key);
        let head_hash = row.and_then(|row| row.hash);
        let tail = Tail::open(key, self.slice.segment(key, head.seq))?;
        let theirs = head_hash.map(|_| Side::new(tail.current().to_vec()));
        if theirs.as_ref().map(|side| side.hash) != head_hash {
            return Err(Corrupt(format!("the document of conflict {}", conflict.id)).into());
        }
        let seen = self.seen(conflict, &theirs)?;
        let wanted = match self.resolve.resolution {
            Resolution::Mine => conflict.mine.clone(),
            Resolution::Theirs => seen.clone(),
            Resolution::Merged => self.resolve.content.clone().map(Side::new),
        };
        let target = self.target(&theirs, &seen, wanted.clone())?;
        check_size(setting, conflict, &target)?;
        let seq = head.seq + 1;
        let device_id = setting.caller.device_id().or(self.resolve.device_id.as_deref());
        let mut resolution = Resolving {
            setting,
            slice: &self.slice,
            seq,
            device_id: device_id.unwrap_or_default(),
            key,
            tail,
            commit: Commit::default(),
            diff: Map::new(),
        };
        let (mut opened, mut file) = (0, theirs.as_ref().map(|side| render_side(side, true)));
        if let Target::Becomes { content, merged, forced } = target {
            if let Some(wanted) = wanted.filter(|_| merged) {
                resolution.keep(&wanted);
            }
            if let (true, Some(row), Some(lost)) = (forced, row, &theirs) {
                resolution.conflict_of_head(row, lost, seen, content.clone());
                opened = 1;
            }
            file = content.clone().map(|content| render_side(&Side::new(content), true));
            resolution.write(content);
        }
        let commit = resolution.into_commit(head, conflict, self.resolve.resolution, opened);
        let after = commit.head.as_ref().unwrap_or(head);
        let reply = json!({
            "seq": after.seq, "epoch": after.epoch, "tag": after.tag,
            "resolution": self.resolve.resolution.as_str(),
            "file": file.unwrap_or(Value::Null),
        });
        Ok((Box::new(commit), Reply::json(reply)))
    }

    /// The *theirs* that the person saw.
    fn seen(&self, conflict: &Conflict, theirs: &Option<Side>) -> Result<Option<Side>, Halt> {
        let hash = match self.resolve.theirs {
            Seen::Made => return Ok(conflict.theirs.clone()),
            Seen::Hash(None) => return Ok(None),
            Seen::Hash(Some(hash)) => hash,
        };
        let near = [&conflict.theirs, theirs, &conflict.mine, &conflict.base].into_iter().flatten();
        if let Some(side) = near.into_iter().find(|side| side.hash == hash) {
            return Ok(Some(side.clone()));
        }
        for located in self.slice.located.iter().filter(|located| located.key == conflict.key) {
            let segment = self.slice.segment(&located.key, located.seq);
            let content = segment.map(|s| s.content(located.seq, hash)).transpose()?.flatten();
            if let Some(content) = content {
                return Ok(Some(Side::new(content)));
            }
        }
        Err(Reject::ConflictMoved { theirs: theirs.as_ref().map(|side| side.hash) }.into())
    }

    fn target(
        &self,
        theirs: &Option<Side>,
        seen: &Option<Side>,
        wanted: Option<Side>,
    ) -> Result<Target, Reject> {
        let hash = |side: &Option<Side>| side.as_ref().map(|side| side.hash);
        if hash(&wanted) == hash(theirs) || hash(&wanted) == hash(seen) {
            return Ok(Target::Stays); // it says what head says, or asks for nothing that the seen text had not
        }
        let content = wanted.map(|side| side.content);
        if hash(theirs) == hash(seen) {
            return Ok(Target::Becomes { content, merged: false, forced: false });
        }
        if let (Some(seen), Some(wanted), Some(theirs)) = (seen, &content, theirs) {
            let all_text =
                [&seen.content, wanted, &theirs.content].into_iter().all(|side| text::is_text(side));
            if let (true, Merge::Clean(merged)) =
                (all_text, text::merge(&seen.content, wanted, &theirs.content))
            {
                return Ok(Target::Becomes { content: Some(merged), merged: true, forced: false });
            }
        }
        if self.resolve.force {
            return Ok(Target::Becomes { content, merged: false, forced: true });
        }
        Err(Reject::ConflictMoved { theirs: hash(theirs) })
    }
}

/// A resolution is as large as a document may be, or as the sides that were taken before a limit was lowered.
fn check_size(setting: &Setting, conflict: &Conflict, target: &Target) -> Result<(), Reject> {
    let sides = [&conflict.base, &conflict.mine, &conflict.theirs].into_iter().flatten();
    let max = sides.map(|side| side.size).fold(setting.policy.file_bytes_max, usize::max);
    match target {
        Target::Becomes { content: Some(content), .. } if content.len() > max => Err(Reject::InvalidField {
            field: "content".to_owned(),
            detail: format!("it has {} bytes, allowed are {max}", content.len()),
        }),
        Target::Becomes { .. } | Target::Stays => Ok(()),
    }
}

/// The rows of a resolution in the making.
struct Resolving<'a> {
    setting: &'a Setting,
    slice: &'a Slice,
    seq: Seq,
    device_id: &'a str,
    key: &'a str,
    tail: Tail,
    commit: Commit,
    diff: Map<String, Value>,
}

impl Resolving<'_> {
    /// Keeps the text of a resolution that was merged onto a moved head.
    fn keep(&mut self, wanted: &Side) {
        let from =
            Aside { hash: wanted.hash, created_at: self.setting.now, device_id: self.device_id.to_owned() };
        self.tail.aside(self.seq, Cause::Superseded, &wanted.content, &from);
        let (prefix, key) = (wanted.hash.prefix(), self.key.to_owned());
        self.commit.located.push(Located { prefix, key, seq: self.seq });
    }

    /// Keeps what head was as a conflict of the device that wrote it.
    fn conflict_of_head(&mut self, row: &Document, lost: &Side, base: Option<Side>, now: Option<Vec<u8>>) {
        self.commit.conflicts.push(Conflict {
            id: self.setting.fresh.id(&format!("conflict {}", self.key)),
            key: self.key.to_owned(),
            base,
            mine: Some(Side::new(lost.content.clone())),
            theirs: now.map(Side::new),
            mine_device_id: row.device_id.clone(),
            theirs_device_id: self.device_id.to_owned(),
            seq: self.seq,
            created_at: self.setting.now,
            resolved: None,
        });
    }

    fn write(&mut self, content: Option<Vec<u8>>) {
        if key::collection(self.key) == key::PAGES {
            self.write_fields(content.is_some());
        }
        let (commit, diff, tail) = (&mut self.commit, &mut self.diff, &mut self.tail);
        write_version(commit, diff, tail, self.key, self.seq, self.device_id, content, Cause::Resolve);
    }

    /// A page that comes back comes with its fields; one that goes goes whole.
    fn write_fields(&mut self, lives: bool) {
        let removal = self.slice.scalars.get(self.key);
        if !lives {
            let row = self.scalar(None, self.device_id.to_owned(), self.setting.now);
            self.put(self.key.to_owned(), row);
            return;
        }
        let Some(removal) = removal else { return };
        let fields: Vec<_> = self.slice.entry(self.key).collect();
        if !fields.iter().all(|(_, row)| row.value.is_none() || is_hidden(row, removal)) {
            return;
        }
        self.commit.scalars_dropped.push(self.key.to_owned());
        for (key, row) in fields.into_iter().filter(|(_, row)| row.value.is_some()) {
            let row = self.scalar(row.value.clone(), row.device_id.clone(), row.changed_at);
            self.put(key.to_owned(), row);
        }
    }

    fn scalar(&self, value: Option<Value>, device_id: String, changed_at: u64) -> Scalar {
        Scalar { value, seq: self.seq, device_id, changed_at }
    }

    fn put(&mut self, key: String, row: Scalar) {
        key::set(&mut self.diff, &key, row.value.clone().unwrap_or(Value::Null));
        self.commit.versions.push(Version {
            key: key.clone(),
            seq: self.seq,
            no: 0,
            cause: Cause::Resolve,
            device_id: self.device_id.to_owned(),
            created_at: self.setting.now,
            value: row.value.clone(),
        });
        self.commit.scalars.push((key, row));
    }

    fn into_commit(self, head: &Head, conflict: &Conflict, resolution: Resolution, opened: u64) -> Commit {
        let Resolving { setting, slice, seq, device_id, tail, mut commit, diff, .. } = self;
        commit.segments.extend(tail.into_write());
        let resolved = Resolved {
            at: setting.now,
            resolution: resolution.as_str().to_owned(),
            device_id: Some(device_id.to_owned()).filter(|id| !id.is_empty()),
        };
        commit.resolved = Some((conflict.id.clone(), resolved));
        let before = Head { conflicts_open: head.conflicts_open.saturating_sub(1), ..head.clone() };
        append_delta(&mut commit, &before, seq, device_id, setting.now, diff, opened);
        count_bytes(&mut commit, head, slice);
        commit
    }
}
