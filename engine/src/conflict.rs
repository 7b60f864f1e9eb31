//! Conflicts: the list; and their resolution, in [`resolve`].

use crate::error::ConflictBrief;
use crate::exchange::Progress;
use crate::history::{At, Corrupt};
use crate::ids::{Hash, Seq};
use crate::key;
use crate::policy::Policy;
use crate::slice::{Conflict, ConflictScope, Scope, Side, Slice};
use crate::wire::{document_content, timestamp};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

mod resolve;
pub(crate) use resolve::ResolveFlow;
pub use resolve::{Resolution, Resolve, Seen};

/// What an error may show of a conflict.
pub(crate) fn brief(conflict: &Conflict) -> ConflictBrief {
    let side = |side: &Option<Side>| side.as_ref().map(|side| (side.hash, side.size));
    ConflictBrief {
        id: conflict.id.clone(),
        key: conflict.key.clone(),
        base: side(&conflict.base),
        mine: side(&conflict.mine),
        theirs: side(&conflict.theirs),
    }
}

/// Conflicts being read and rendered: theirs as head is now. Contents are loaded only as far as they are inlined.
pub(crate) struct ConflictList {
    /// Only these, where given.
    only: Option<BTreeSet<String>>,
    slice: Slice,
    inline: BTreeSet<String>,
    stage: ListStage,
}

#[derive(Debug, Clone, Copy)]
enum ListStage {
    Briefs,
    Heads,
    Contents,
    Moved,
}

impl ConflictList {
    /// All open conflicts.
    pub(crate) fn open() -> ConflictList {
        let (slice, inline) = (Slice::default(), BTreeSet::new());
        ConflictList { only: None, slice, inline, stage: ListStage::Briefs }
    }

    /// These, as far as they are still open.
    pub(crate) fn of(ids: BTreeSet<String>) -> ConflictList {
        ConflictList { only: Some(ids), ..ConflictList::open() }
    }

    pub(crate) fn first(&self) -> Scope {
        Scope { conflicts: ConflictScope::OpenBrief, ..Scope::default() }
    }

    /// Oldest first.
    fn listed(&self) -> Vec<&Conflict> {
        let only = self.only.as_ref();
        let is_listed = |open: &&Conflict| only.is_none_or(|only| only.contains(&open.id));
        let mut listed: Vec<&Conflict> = self.slice.conflicts.values().filter(is_listed).collect();
        listed.sort_by_key(|conflict| (conflict.seq, &conflict.id));
        listed
    }

    /// What to load next, or the conflicts.
    pub(crate) fn next(&mut self, policy: &Policy, loaded: Slice) -> Result<Progress<Vec<Value>>, Corrupt> {
        self.slice.extend(loaded);
        loop {
            let scope = match self.stage {
                ListStage::Briefs => {
                    self.stage = ListStage::Heads;
                    let documents = self.listed().into_iter().map(|conflict| conflict.key.clone());
                    Scope { documents: documents.collect(), ..Scope::default() }
                }
                ListStage::Heads => {
                    self.stage = ListStage::Contents;
                    self.inline = self.inlined(policy);
                    let conflicts = match self.inline.is_empty() {
                        true => ConflictScope::None,
                        false => ConflictScope::Ids(self.inline.clone()),
                    };
                    Scope { conflicts, ..Scope::default() }
                }
                ListStage::Contents => {
                    self.stage = ListStage::Moved;
                    Scope { segments: self.moved(), ..Scope::default() }
                }
                ListStage::Moved => {
                    let rendered = self.listed().into_iter().map(|conflict| self.render(conflict));
                    return rendered.collect::<Result<Vec<_>, _>>().map(Progress::Done);
                }
            };
            if scope != Scope::default() {
                return Ok(Progress::Load(scope));
            }
        }
    }

    /// The oldest conflicts whose contents fit into one reply.
    fn inlined(&self, policy: &Policy) -> BTreeSet<String> {
        let mut bytes = 0_usize;
        let fits = |conflict: &&Conflict| {
            let sides = [&conflict.base, &conflict.mine, &conflict.theirs].into_iter().flatten();
            let head = self.slice.documents.get(&conflict.key).map_or(0, |row| row.size);
            bytes = sides.map(|side| side.size).fold(bytes.saturating_add(head), usize::saturating_add);
            bytes <= policy.reply_bytes_max
        };
        self.listed().into_iter().take_while(fits).map(|conflict| conflict.id.clone()).collect()
    }

    /// The heads to inline that are not what their conflict was made with.
    fn moved(&self) -> BTreeSet<(String, Seq)> {
        let inlined = self.listed().into_iter().filter(|conflict| self.inline.contains(&conflict.id));
        let moved = inlined.filter_map(|conflict| {
            let row = self.slice.documents.get(&conflict.key)?;
            let made_with = conflict.theirs.as_ref().map(|theirs| theirs.hash);
            (row.hash.is_some() && row.hash != made_with).then(|| (conflict.key.clone(), row.seq))
        });
        moved.collect()
    }

    fn render(&self, conflict: &Conflict) -> Result<Value, Corrupt> {
        let inline = self.inline.contains(&conflict.id);
        let row = self.slice.documents.get(&conflict.key);
        let theirs = match (row, &conflict.theirs) {
            (Some(row), Some(theirs)) if row.hash == Some(theirs.hash) => Some(theirs.clone()),
            (Some(row), _) => match row.hash {
                Some(hash) if inline => Some(head_side(&self.slice, &conflict.key, row.seq, hash)?),
                Some(hash) => Some(Side { hash, size: row.size, content: Vec::new() }),
                None => None,
            },
            (None, _) => None,
        };
        let side = |side: Option<&Side>| side.map_or(Value::Null, |side| render_side(side, inline));
        let theirs_device_id = row.map_or(&conflict.theirs_device_id, |row| &row.device_id);
        Ok(json!({
            "id": conflict.id,
            "file_path": key::within(&conflict.key),
            "collection": key::collection(&conflict.key),
            "base": side(conflict.base.as_ref()),
            "mine": side(conflict.mine.as_ref()),
            "theirs": side(theirs.as_ref()),
            "mine_device_id": conflict.mine_device_id,
            "theirs_device_id": theirs_device_id,
            "seq": conflict.seq,
            "created_at": timestamp(conflict.created_at),
        }))
    }
}

fn head_side(slice: &Slice, key: &str, seq: Seq, hash: Hash) -> Result<Side, Corrupt> {
    match slice.segment(key, seq).map(|segment| segment.at(seq)).transpose()? {
        Some(At::Content(content)) if Hash::of(&content) == hash => Ok(Side::new(content)),
        Some(_) | None => Err(Corrupt(format!("the document with hash {hash} has no content"))),
    }
}

/// A document entry: content, unless the reply is full, hash and size.
fn render_side(side: &Side, inline: bool) -> Value {
    let mut entry = Map::new();
    if inline {
        entry.extend([document_content(side.content.clone())]);
    }
    entry.insert("hash".into(), json!(side.hash));
    entry.insert("size".into(), json!(side.size));
    Value::Object(entry)
}
