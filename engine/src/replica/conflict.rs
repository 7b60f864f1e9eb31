//! The user's conflicts, as far as this device knows them.

use super::event::{Activity, Event};
use super::{Identity, Replica};
use crate::ids::{Hash, Millis};
use crate::key::{FILES, PAGES};
use crate::state::Document;
use crate::wire::document_content;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

/// A conflict that is open.
#[derive(Debug, Clone, PartialEq)]
pub struct Conflict {
    /// What it is resolved by.
    pub id: String,
    /// The document.
    pub key: String,
    /// Whose *mine* is.
    pub mine_device_id: String,
    /// As the host gave it.
    pub json: Value,
}

/// One of a conflict's three contents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Side {
    /// SHA-256 of the content.
    pub hash: Hash,
    /// `None`: the reply was full, and it has to be fetched.
    pub content: Option<Vec<u8>>,
}

impl Conflict {
    fn read(json: &Value) -> Option<Conflict> {
        let text = |name: &str| json.get(name).and_then(Value::as_str);
        let collection = text("collection").filter(|collection| [FILES, PAGES].contains(collection))?;
        Some(Conflict {
            id: text("id")?.to_owned(),
            key: format!("{collection}/{}", text("file_path")?),
            mine_device_id: text("mine_device_id")?.to_owned(),
            json: json.clone(),
        })
    }

    /// Reads a list of them.
    pub(super) fn list(json: &Value) -> Option<Vec<Conflict>> {
        json.as_array()?.iter().map(Conflict::read).collect()
    }

    /// Takes in the content of *mine*, where it is that and not there.
    pub(super) fn remember(&mut self, content: &[u8]) {
        if self.side("mine").is_some_and(|mine| mine.content.is_none() && mine.hash == Hash::of(content))
            && let Some(mine) = self.json.get_mut("mine").and_then(Value::as_object_mut)
        {
            mine.extend([document_content(content.to_vec())]);
        }
    }

    /// `base`, `mine` or `theirs`; `None`: the document is absent there.
    pub fn side(&self, name: &str) -> Option<Side> {
        let side = self.json.get(name)?.as_object()?;
        let hash = side.get("hash").and_then(Value::as_str).and_then(Hash::parse)?;
        let content = match (side.get("content"), side.get("content_base64")) {
            (Some(Value::String(text)), _) => Some(text.clone().into_bytes()),
            (_, Some(Value::String(encoded))) => STANDARD.decode(encoded).ok(),
            _ => None,
        };
        Some(Side { hash, content })
    }
}

impl Replica {
    pub(super) fn take_conflicts(&mut self, reply: &Map<String, Value>, now: Millis) -> Option<()> {
        let conflicts = Conflict::list(reply.get("conflicts")?)?;
        self.know_conflicts(conflicts, now);
        Some(())
    }

    /// The whole list. Those of this device that are not in it any more were resolved, or the host was restored: where that
    /// is not known yet, its next answer with a place tells.
    fn know_conflicts(&mut self, conflicts: Vec<Conflict>, now: Millis) {
        self.conflicts_are_stale = false;
        let Identity { device_id, former, .. } = &self.identity;
        let is_gone = |one: &&Conflict| {
            (one.mine_device_id == *device_id || former.contains(&one.mine_device_id))
                && !conflicts.iter().any(|other| other.id == one.id)
        };
        let gone: Vec<Conflict> = self.conflicts.iter().filter(is_gone).cloned().collect();
        self.parted.extend(gone);
        self.pull_at = if self.parted.is_empty() { self.pull_at } else { 0 };
        self.set_conflicts(conflicts);
        if std::mem::take(&mut self.is_restored) {
            self.part_from_conflicts(true, now);
            self.journal.mark_meta();
        }
    }

    /// The host's history is still this device's, or another: what this device had in conflicts that are gone by that is
    /// offered again, for it may be the only copy.
    pub(super) fn part_from_conflicts(&mut self, is_other: bool, now: Millis) {
        if self.parted.is_empty() {
            return;
        }
        self.journal.mark_conflicts();
        for one in std::mem::take(&mut self.parted) {
            if let Some(content) = one.side("mine").and_then(|mine| mine.content).filter(|_| is_other) {
                let base = one.side("base").and_then(|base| base.content);
                self.wait(one.key, base.map(Document::new), content, now);
            }
        }
    }

    pub(super) fn take_resolution(&mut self, code: Option<String>, now: Millis) -> Option<()> {
        let resolution = self.resolutions.pop_front()?;
        self.pull_at = self.pull_at.min(now);
        if code.is_none() {
            let gone = self.conflicts.iter().filter(|conflict| conflict.id == resolution.id);
            let keys = gone.map(|conflict| conflict.key.clone()).collect();
            let mut conflicts = self.conflicts.clone();
            conflicts.retain(|conflict| conflict.id != resolution.id);
            self.know_conflicts(conflicts, now);
            self.happened(Activity::Resolve, keys, (resolution.body.len(), 0), now, "");
        }
        self.conflicts_are_stale = true;
        self.events.push_back(Event::Resolved { id: resolution.id, code });
        Some(())
    }

    /// Until the list is had, the ids that the refusal names are enough to know that this device is blocked.
    pub(super) fn is_blocked_by_host(&mut self, reply: &Map<String, Value>) {
        let Some(Value::Array(briefs)) = reply.get("conflicts") else { return };
        let mine = Value::from(self.identity.device_id.clone());
        let briefs: Vec<Value> = briefs
            .iter()
            .cloned()
            .map(|mut brief| {
                if let Some(brief) = brief.as_object_mut() {
                    brief.insert("mine_device_id".to_owned(), mine.clone());
                }
                brief
            })
            .collect();
        self.add_conflicts(&briefs);
    }

    pub(super) fn add_conflicts(&mut self, list: &[Value]) {
        let mut conflicts = self.conflicts.clone();
        for conflict in list.iter().filter_map(Conflict::read) {
            if !conflicts.iter().any(|known| known.id == conflict.id) {
                conflicts.push(conflict);
            }
        }
        self.set_conflicts(conflicts);
    }

    fn set_conflicts(&mut self, mut conflicts: Vec<Conflict>) {
        for conflict in &mut conflicts {
            let known = self.conflicts.iter().find(|known| known.id == conflict.id);
            if let Some(content) = known.and_then(|known| known.side("mine")?.content) {
                conflict.remember(&content);
            }
        }
        if conflicts != self.conflicts {
            self.conflicts = conflicts;
            self.journal.mark_conflicts();
            self.events.push_back(Event::Conflicts(self.conflicts.clone()));
        }
    }

    /// By the number of open conflicts it is known whether the list is as it was.
    pub(super) fn count_conflicts(&mut self, reply: &Map<String, Value>, has_moved: bool, now: Millis) {
        let count = reply.get("conflicts_open").and_then(Value::as_u64).unwrap_or(0);
        if count == 0 {
            self.know_conflicts(Vec::new(), now);
        } else if has_moved || count != self.conflicts.len() as u64 {
            self.conflicts_are_stale = true;
        }
    }
}
