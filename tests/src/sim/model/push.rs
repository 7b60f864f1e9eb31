//! What a push must come to, key by key, and what it leaves behind.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::document::Verdict;
use super::leaf::{Base, Pushed, document_of, state_is_removal, value_of};
use super::{Bytes, Carried, Model, OpenConflict, Recorded, Written};
use crate::memory::Rows;
use crate::sim::host::Answer;
use crate::sim::keys;
use crate::sim::texts::tokens;
use crate::world::{View, apply_patch, leaves, sha256_hex};

/// What became of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Applied,
    Unchanged,
    Merged,
    Superseded,
    Conflict,
    Blocked,
    Rejected,
}

impl Status {
    /// In a reply's results; a key that is not there was applied.
    pub fn of(results: &Value, key: &str) -> Status {
        match results.get(key).map(|result| result["status"].as_str().unwrap_or_default()) {
            None | Some("applied") => Status::Applied,
            Some("unchanged") => Status::Unchanged,
            Some("merged") => Status::Merged,
            Some("superseded") => Status::Superseded,
            Some("conflict") => Status::Conflict,
            Some("blocked") => Status::Blocked,
            Some("rejected") => Status::Rejected,
            Some(other) => panic!("{key}: status {other}"),
        }
    }
}

/// A push being taken in.
pub(super) struct Pushing<'a> {
    pub(super) device: &'a str,
    pub(super) seq: u64,
    pub(super) now: u64,
    body: &'a Value,
    results: &'a Value,
    rows: &'a Rows,
}

impl Pushing<'_> {
    pub(super) fn has_changed_at(&self, key: &str) -> bool {
        self.body["changed_at"].get(key).is_some()
    }

    /// By the client's clock, but never later than now.
    pub(super) fn changed_at(&self, key: &str) -> u64 {
        let said = self.body["changed_at"].get(key).and_then(Value::as_u64);
        said.map_or(self.now, |said| said.min(self.now))
    }

    /// Where the device stood when it wrote a key.
    pub(super) fn seen(&self, key: &str) -> u64 {
        self.body["seen"].get(key).and_then(Value::as_u64).map_or(self.seq, |seen| seen.min(self.seq))
    }

    /// The same of the first of an entry's fields.
    pub(super) fn seen_fields(&self, entry: &str) -> u64 {
        let places = self.body["seen"].as_object().into_iter().flatten();
        let fields = places.filter(|(key, _)| keys::entry_of(key) == Some(entry));
        fields.map(|(key, _)| self.seen(key)).min().unwrap_or(self.seq)
    }

    pub(super) fn status(&self, key: &str) -> Status {
        Status::of(self.results, key)
    }

    /// Whether an entry's removal outlived the push: looked up where the device's base is pruned, so that either is right.
    pub(super) fn removal_stays(&self, entry: &str) -> bool {
        self.rows.scalars.get(entry).is_some_and(|row| row.value.is_none())
    }
}

/// What the items of a push do.
pub(super) struct Draft {
    pub(super) view: View,
    pub(super) writes: Vec<(String, Written)>,
    pub(super) removals: Vec<(String, Option<Written>)>,
    pub(super) versions: Vec<(String, Option<Bytes>)>,
    pub(super) kept: Vec<(String, Bytes)>,
    pub(super) pushed: BTreeMap<String, Carried>,
    pub(super) superseded: Vec<(String, Option<Value>)>,
    pub(super) conflicts: Vec<(String, OpenConflict)>,
}

impl Draft {
    /// The version that this push makes; one that only returned with its page was never seen.
    fn add_version(&mut self, key: &str, content: Option<Bytes>) {
        self.versions.retain(|(of, _)| of != key);
        self.versions.push((key.to_owned(), content));
    }
}

impl Model {
    /// Takes in a push that was answered 200 and is no replay, and checks its reply.
    pub fn push(&mut self, body: &Arc<Value>, answer: &Answer, rows: &Rows, now: u64) {
        let device = body["device_id"].as_str().expect("a push names its device");
        let seq = body["seq"].as_u64().expect("a push has a seq");
        let results = &answer.body["results"];
        let push = Pushing { device, seq, now, body, results, rows };
        let mut draft = Draft {
            view: self.head().clone(),
            writes: Vec::new(),
            removals: Vec::new(),
            versions: Vec::new(),
            kept: Vec::new(),
            pushed: BTreeMap::new(),
            superseded: Vec::new(),
            conflicts: Vec::new(),
        };
        let leaves = leaves(&body["state"]);
        let returned = self.push_fields(&push, &leaves, &mut draft);
        for (key, state) in &leaves {
            if results[key]["status"] == "rejected" {
                self.check_rejection(&push, key, state);
                continue;
            }
            let back = returned.get(key);
            if let Some(document) = document_of(key, state) {
                self.push_document(&push, key, &document, back, &mut draft);
            } else if keys::entry_of(key).is_none() && !key.contains('/') {
                let ways = self.scalar_ways(&push, key, value_of(key, state), self.last_write(key));
                self.settle_scalar(&push, key, value_of(key, state), ways, &mut draft);
            } else if state_is_removal(key, state) {
                self.push_removal(&push, key, &mut draft);
            }
        }
        self.finish(&push, draft, body, answer);
    }

    /// Chooses the way that the host went, and notes it.
    pub(super) fn settle_scalar(
        &mut self,
        push: &Pushing<'_>,
        key: &str,
        value: Option<&Value>,
        ways: Vec<(Status, &'static str)>,
        draft: &mut Draft,
    ) {
        let status = push.status(key);
        let way = ways.iter().find(|(expected, _)| *expected == status);
        let Some((_, rule)) = way else {
            panic!("{key} = {value:?}: is {status:?}, must be one of {ways:?}")
        };
        self.coverage.hit(rule);
        if status == Status::Applied {
            keys::set_scalar(&mut draft.view, key, value.cloned());
            draft.writes.push((key.to_owned(), push.written(self.seq + 1, key, value)));
        }
        if status == Status::Superseded {
            draft.superseded.push((key.to_owned(), value.cloned()));
        }
        draft.pushed.insert(key.to_owned(), Carried::Scalar(value.cloned()));
    }

    fn check_rejection(&mut self, push: &Pushing<'_>, key: &str, state: &Value) {
        let code = push.results[key]["code"].as_str().unwrap_or_default();
        self.coverage.hit(&format!("rejected {code}"));
        let document = document_of(key, state);
        let is_right = match (code, &document) {
            ("base_unknown", Some(Pushed::Patch { base, .. })) => {
                self.content_by_hash(key, base).is_none_or(|known| known.live_at < self.cutoff)
            }
            ("file_too_large", Some(pushed)) => {
                let content = self.mine(key, pushed).flatten();
                content.is_some_and(|content| content.len() > self.policy.file_bytes_max)
            }
            ("invalid_path", _) => key.contains(".."),
            ("invalid_base64", _) => state.to_string().contains("!not base64!"),
            ("invalid_box", _) => key == "env_encrypted",
            ("scalar_too_large", _) => state.to_string().len() > self.policy.scalar_bytes_max,
            ("invalid_entry", _) => state.to_string().contains("\"content\":null") || !state[key].is_object(),
            _ => false,
        };
        assert!(is_right, "{key} is rejected as {code}, which it is not: {state}");
    }

    /// The pushed content; the outer `None`: its patch's base is not known.
    fn mine(&self, key: &str, pushed: &Pushed) -> Option<Option<Bytes>> {
        match pushed {
            Pushed::Removed => Some(None),
            Pushed::Content(content, _) => Some(Some(Arc::clone(content))),
            Pushed::Patch { patch, base } => {
                let base = self.content_by_hash(key, base)?;
                Some(Some(Arc::new(apply_patch(&base.bytes, patch))))
            }
        }
    }

    /// Decides a document. `back`: its page has just returned with this content.
    pub(super) fn push_document(
        &mut self,
        push: &Pushing<'_>,
        key: &str,
        pushed: &Pushed,
        back: Option<&Option<Bytes>>,
        draft: &mut Draft,
    ) -> Status {
        let status = push.status(key);
        let is_blocked = self.blocks_file()
            && !self.is_lww()
            && self.conflicts.values().any(|open| open.blocks(push.device, key));
        assert_eq!(status == Status::Blocked, is_blocked, "{key}: is {status:?}; blocked: {is_blocked}");
        if is_blocked {
            self.coverage.hit("blocked file");
            return status;
        }
        let mine = self
            .mine(key, pushed)
            .unwrap_or_else(|| panic!("{key}: a patch of an unknown base is {status:?}"));
        assert!(
            mine.as_ref().is_none_or(|mine| mine.len() <= self.policy.file_bytes_max),
            "{key}: too large"
        );
        if matches!(pushed, Pushed::Patch { .. }) {
            self.coverage.hit("patch push");
        }
        let base = match pushed {
            Pushed::Removed => Base::Unsaid,
            Pushed::Content(_, base) => base.clone(),
            Pushed::Patch { base, .. } => Base::Hash(base.clone()),
        };
        let head = back.cloned().flatten().or_else(|| self.head_content(key));
        let was_known = self.versions.contains_key(key);
        let base_said = base != Base::Unsaid;
        let bases = self.bases(push, key, &base, head.as_ref());
        let ways: Vec<_> = bases
            .iter()
            .map(|from| self.table(from, mine.as_ref(), head.as_ref(), base_said, was_known))
            .collect();
        let way = ways.iter().find(|(verdict, _)| verdict.status() == status);
        let Some((verdict, row)) = way else {
            panic!("{key}: is {status:?}, must be {ways:?}; bases {bases:?}, mine {mine:?}, head {head:?}");
        };
        self.coverage.hit(row);
        self.note_document(push, key, mine, head, verdict.clone(), draft);
        status
    }

    fn note_document(
        &mut self,
        push: &Pushing<'_>,
        key: &str,
        mine: Option<Bytes>,
        head: Option<Bytes>,
        verdict: Verdict,
        draft: &mut Draft,
    ) {
        draft.pushed.insert(key.to_owned(), mine.clone().map_or(Carried::Removal, Carried::Content));
        match verdict {
            Verdict::Unchanged => {}
            Verdict::Write => {
                keys::set_document(&mut draft.view, key, mine.as_deref().cloned());
                draft.add_version(key, mine);
            }
            Verdict::Merge(merged) => {
                let hash = &push.results[key]["hash"];
                assert_eq!(*hash, json!(sha256_hex(&merged)), "{key}: the hash of what was merged");
                draft.kept.extend(mine.map(|mine| (key.to_owned(), mine)));
                if Some(&merged) != head.as_ref() {
                    keys::set_document(&mut draft.view, key, Some(merged.to_vec()));
                    draft.add_version(key, Some(merged));
                }
            }
            Verdict::Conflict(base) => {
                let id = push.results[key]["conflict_id"].as_str().expect("a conflict has its id").to_owned();
                draft.kept.extend(mine.clone().map(|mine| (key.to_owned(), mine)));
                let (key, mine_device) = (key.to_owned(), push.device.to_owned());
                draft.conflicts.push((id, OpenConflict { key, base, mine, theirs: head, mine_device }));
            }
        }
    }

    fn finish(&mut self, push: &Pushing<'_>, draft: Draft, body: &Arc<Value>, answer: &Answer) {
        let (device, now) = (push.device, push.now);
        let changed = !draft.writes.is_empty()
            || !draft.removals.is_empty()
            || !draft.versions.is_empty()
            || !draft.conflicts.is_empty();
        let before = self.seq;
        self.advance(changed, draft.view, now);
        let seq = self.seq;
        assert_eq!(answer.body["seq"], seq, "a push that changes {changed} at {before}");
        for (key, written) in draft.writes {
            self.writes.insert(key, written);
        }
        for (entry, removal) in draft.removals {
            match removal {
                Some(removal) => drop(self.removals.insert(entry, removal)),
                None => drop(self.removals.remove(&entry)),
            }
        }
        for (key, content) in draft.versions {
            if let Some(content) = &content {
                self.accept_tokens(&key, content);
            }
            self.add_version(&key, seq, content, device, now);
        }
        for (key, content) in draft.kept {
            self.accept_tokens(&key, &content);
            self.keep(&key, &content, now);
        }
        for (key, carried) in draft.pushed {
            self.pushed.insert((device.to_owned(), key), (carried, seq));
        }
        self.superseded.extend(draft.superseded.into_iter().map(|(key, value)| (key, value, now)));
        self.conflicts.extend(draft.conflicts);
        let registered = self.devices.insert(device.to_owned(), false).is_none();
        assert_eq!(
            answer.body.get("sync_token").is_some(),
            registered,
            "a token comes with the registration"
        );
        if let Some(token) = answer.body["sync_token"].as_str() {
            self.tokens.insert(device.to_owned(), token.to_owned());
        }
        if let Some(push_no) = body["push_no"].as_u64() {
            let (results, tag) = (push.results.clone(), answer.body["tag"].clone());
            let recorded = Recorded { push_no, body: Arc::clone(body), seq, tag, results, registered };
            self.recorded.insert(device.to_owned(), recorded);
        }
        self.check_point(&answer.body);
        assert_eq!(answer.body["conflicts_open"], self.conflicts.len(), "conflicts_open");
    }

    /// A device's last recorded push: its number, and whether this is the same.
    pub fn recorded_push(&self, device: &str, body: &Value) -> Option<(u64, bool)> {
        body["push_no"].as_u64()?;
        let recorded = self.recorded.get(device)?;
        Some((recorded.push_no, *recorded.body == *body))
    }

    /// Checks a replay: the same answer again, but for the changes; a registration's under the user's token gives
    /// a new token.
    pub fn replay(&mut self, body: &Value, answer: &Answer, by_user: bool) {
        let device = body["device_id"].as_str().unwrap_or_default();
        let recorded = &self.recorded[device];
        let again = (&answer.body["seq"], &answer.body["tag"], &answer.body["results"]);
        assert_eq!(again, (&json!(recorded.seq), &recorded.tag, &recorded.results), "a replay says the same");
        assert!(answer.replayed, "a replay is marked");
        let token = answer.body["sync_token"].as_str();
        assert_eq!(token.is_some(), recorded.registered && by_user, "a registration's replay gives a token");
        if let Some(token) = token {
            self.tokens.insert(device.to_owned(), token.to_owned());
            self.coverage.hit("push replay registers again");
        }
        assert_eq!(answer.body["conflicts_open"], self.conflicts.len(), "conflicts_open");
        self.coverage.hit("push replay");
    }

    /// The content of a leaf that is a document's; the outer `None`: it is none.
    pub fn mine_of(&self, key: &str, state: &Value) -> Option<Option<Bytes>> {
        self.mine(key, &document_of(key, state)?)
    }

    /// The tokens that the device itself takes out with a push that names no base: what it pushed before is its own.
    pub fn own_tokens_gone(&self, body: &Value) -> Vec<u64> {
        let device = body["device_id"].as_str().unwrap_or_default();
        let mut gone = Vec::new();
        for (key, state) in leaves(&body["state"]) {
            let pushed = self.pushed.get(&(device.to_owned(), key.clone()));
            let Some((Carried::Content(before), at)) = pushed else { continue };
            if body.get("push_no").is_some() && body["seq"].as_u64() >= Some(*at) {
                continue; // it has seen what became of it
            }
            let now = match document_of(&key, &state) {
                Some(Pushed::Content(content, _)) => tokens(&content),
                Some(Pushed::Removed) => Default::default(),
                None if state_is_removal(&key, &state) => Default::default(),
                Some(Pushed::Patch { .. }) | None => continue,
            };
            gone.extend(tokens(before).difference(&now));
        }
        gone
    }
}

impl Pushing<'_> {
    pub(super) fn written(&self, seq: u64, key: &str, value: Option<&Value>) -> Written {
        let (value, device) = (value.cloned(), self.device.to_owned());
        Written { value, seq, device, changed_at: self.changed_at(key) }
    }
}

impl OpenConflict {
    fn blocks(&self, device: &str, key: &str) -> bool {
        self.mine_device == device && self.key == key
    }
}

impl Verdict {
    fn status(&self) -> Status {
        match self {
            Verdict::Unchanged => Status::Unchanged,
            Verdict::Write => Status::Applied,
            Verdict::Merge(_) => Status::Merged,
            Verdict::Conflict(_) => Status::Conflict,
        }
    }
}
