//! Deciding a push: its items one by one into a draft, the draft into a commit.

use crate::commit::Commit;
use crate::document::{self, Decision, Met};
use crate::event;
use crate::history::{Aside, Corrupt, Tail};
use crate::ids::{Fresh, Hash, Millis, Seq};
use crate::key::{self, Key};
use crate::policy::Policy;
use crate::push::{EntryPush, Mine, Outcome, Push};
use crate::scalar::{self, EntryFate};
use crate::slice::{
    Cause, Conflict, Delta, Document, Head, Located, Pushed, Scalar, Scope, Side, Slice, Version,
};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// All that a decision may depend on.
pub(crate) struct Context<'a> {
    pub(crate) push: &'a Push,
    pub(crate) slice: &'a Slice,
    pub(crate) head: &'a Head,
    pub(crate) policy: &'a Policy,
    pub(crate) now: Millis,
    pub(crate) fresh: Fresh,
}

/// A scalar to write; its seq is known once all items are decided.
pub(crate) struct Write {
    pub(crate) value: Option<Value>,
    pub(crate) device_id: String,
    pub(crate) changed_at: Millis,
}

/// What the items of a push came to.
#[derive(Default)]
pub(crate) struct Draft {
    outcomes: BTreeMap<String, Outcome>,
    writes: BTreeMap<String, Write>,
    removals_dropped: Vec<String>,
    losers: Vec<(String, Option<Value>)>,
    pushed: BTreeMap<String, (Option<Hash>, Option<Seq>)>,
    documents: Vec<DocumentDraft>,
}

struct DocumentDraft {
    key: String,
    tail: Tail,
    /// The new version and why, if any.
    version: Option<(Option<Vec<u8>>, Cause)>,
    /// What is kept beside the versions, if anything.
    aside: Option<(Vec<u8>, Cause)>,
    conflict: Option<Conflict>,
}

impl Draft {
    pub(crate) fn write(&mut self, key: &str, write: Write) {
        self.writes.insert(key.to_owned(), write);
    }

    pub(crate) fn lost(&mut self, key: &str, value: Option<Value>) {
        self.losers.push((key.to_owned(), value));
    }

    pub(crate) fn pushed(&mut self, key: &str, hash: Option<Hash>, at: Seq) {
        self.pushed.insert(key.to_owned(), (hash, Some(at)));
    }

    pub(crate) fn outcome(&mut self, key: &str, outcome: Outcome) {
        self.outcomes.insert(key.to_owned(), outcome);
    }

    pub(crate) fn drop_removal(&mut self, entry: &str) {
        self.removals_dropped.push(entry.to_owned());
    }
}

/// The further rows that deciding needs, once the rows of [`Push::scope`] are there.
pub(crate) fn needs(context: &Context<'_>) -> Scope {
    let mut segments = document::needs(context);
    for (entry, pushed) in &context.push.entries {
        let has_document = context.slice.documents.contains_key(entry);
        if has_document && matches!(pushed, EntryPush::Fields(_)) && context.slice.scalars.contains_key(entry)
        {
            segments.insert((entry.clone(), context.head.seq)); // the page may return
        }
    }
    Scope { values_at: scalar::needs(context), segments, ..Scope::default() }
}

/// Decides every item of the push.
pub(crate) fn decide(context: &Context<'_>) -> Result<Draft, Corrupt> {
    let mut draft = Draft::default();
    for (key, rejection) in &context.push.rejected {
        draft.outcome(key, Outcome::Rejected(rejection.clone()));
    }
    for (key, value) in &context.push.scalars {
        scalar::decide(context, &mut draft, key, value.as_ref());
    }
    let mut returned = BTreeSet::new();
    for (entry, pushed) in &context.push.entries {
        match pushed {
            EntryPush::Removed => remove_entry(context, &mut draft, entry)?,
            EntryPush::Fields(fields) => {
                let fate = scalar::decide_fields(context, &mut draft, entry, fields);
                if fate == EntryFate::Returns && content_went_with(context, entry) {
                    returned.insert(entry.as_str());
                }
            }
        }
    }
    for entry in &returned {
        if !context.push.documents.contains_key(*entry) {
            let tail = context.tail(entry)?;
            let content = Some(tail.current().to_vec());
            draft.documents.push(DocumentDraft::version(entry, tail, content, Cause::Push));
        }
    }
    for (key, pushed) in &context.push.documents {
        if pushed.mine == Mine::Removed && key::collection(key) == key::PAGES {
            continue; // decided with its entry
        }
        decide_document(context, &mut draft, key, returned.contains(key.as_str()))?;
    }
    Ok(draft)
}

/// Whether a page's content was removed together with it, and not before.
fn content_went_with(context: &Context<'_>, entry: &str) -> bool {
    let document = context.slice.documents.get(entry).filter(|row| row.hash.is_none());
    let removal = context.slice.scalars.get(entry);
    document.zip(removal).is_some_and(|(document, removal)| document.seq == removal.seq)
}

fn decide_document(
    context: &Context<'_>,
    draft: &mut Draft,
    key: &str,
    returned: bool,
) -> Result<Option<Outcome>, Corrupt> {
    let Some(pushed) = context.push.documents.get(key) else { return Ok(None) };
    let row = context.slice.documents.get(key);
    let tail = context.tail(key)?;
    let hash = if returned { Some(Hash::of(tail.current())) } else { row.and_then(|row| row.hash) };
    let decided = document::decide(context, key, pushed, &Met { row, hash, tail: &tail })?;
    let outcome = decided.outcome.clone();
    if !matches!(outcome, Outcome::Blocked | Outcome::Rejected(_)) {
        draft.pushed.insert(key.to_owned(), (decided.mine_hash, decided.mine_at));
    }
    let back = returned.then(|| (Some(tail.current().to_vec()), Cause::Push));
    let theirs = hash.map(|_| Side::new(tail.current().to_vec()));
    let mut document =
        DocumentDraft { key: key.to_owned(), tail, version: back, aside: None, conflict: None };
    match decided.decision {
        Decision::Leave => {}
        Decision::Write(content) => document.version = Some((content, Cause::Push)),
        // Pushed again and merged into what head is already: it is kept once.
        Decision::Merge(None) if context.was_just_pushed(key, decided.mine_hash) => {
            draft.pushed.remove(key);
        }
        Decision::Merge(merged) => {
            document.aside = decided
                .mine
                .filter(|mine| merged.as_ref() != Some(mine))
                .map(|mine| (mine, Cause::Superseded));
            if let Some(merged) = merged {
                document.version = Some((Some(merged), Cause::Merge));
            }
        }
        Decision::Conflict { base } => {
            document.aside = decided.mine.clone().map(|mine| (mine, Cause::Conflict));
            document.conflict = Some(Conflict {
                id: context.fresh.id(&format!("conflict {key}")),
                key: key.to_owned(),
                base: base.map(Side::new),
                mine: decided.mine.map(Side::new),
                theirs,
                mine_device_id: context.push.device_id.clone(),
                theirs_device_id: row.map(|row| row.device_id.clone()).unwrap_or_default(),
                seq: 0,
                created_at: context.now,
                resolved: None,
            });
        }
    }
    draft.documents.push(document);
    draft.outcome(key, outcome.clone());
    Ok(Some(outcome))
}

/// Removes a session, or a page with its content: by the document table first, then by its fields.
fn remove_entry(context: &Context<'_>, draft: &mut Draft, entry: &str) -> Result<(), Corrupt> {
    let has_content = context.slice.documents.get(entry).is_some_and(|row| row.hash.is_some());
    let before = draft.documents.len();
    let by_content = decide_document(context, draft, entry, false)?;
    match by_content {
        Some(Outcome::Conflict(_) | Outcome::Blocked | Outcome::Rejected(_)) => return Ok(()),
        // The device's base has no such content, or head's has changed since: it is not removed.
        Some(Outcome::Unchanged) if has_content => return Ok(()),
        Some(_) | None => {}
    }
    let outcome = scalar::removal_outcome(context, entry, has_content);
    if outcome == Outcome::Superseded {
        draft.documents.truncate(before); // the page stays whole
    }
    scalar::settle_removal(context, draft, entry, outcome);
    Ok(())
}

impl Context<'_> {
    /// Whether the device pushed this very content last, and nothing has changed since.
    fn was_just_pushed(&self, key: &str, hash: Option<Hash>) -> bool {
        self.slice.pushed.get(key).is_some_and(|last| last.hash == hash && last.seq == self.head.seq)
    }

    fn tail(&self, key: &str) -> Result<Tail, Corrupt> {
        Tail::open(key, self.slice.segment(key, self.head.seq))
    }
}

impl DocumentDraft {
    fn version(key: &str, tail: Tail, content: Option<Vec<u8>>, cause: Cause) -> DocumentDraft {
        DocumentDraft {
            key: key.to_owned(),
            tail,
            version: Some((content, cause)),
            aside: None,
            conflict: None,
        }
    }
}

impl Draft {
    fn changes_anything(&self) -> bool {
        !self.writes.is_empty()
            || !self.removals_dropped.is_empty()
            || self.documents.iter().any(|document| document.version.is_some() || document.conflict.is_some())
    }

    /// The rows to write, and the outcomes. The device's own row is added by the caller.
    pub(crate) fn into_commit(self, context: &Context<'_>) -> (Commit, BTreeMap<String, Outcome>) {
        let changes = self.changes_anything();
        let seq = if changes { context.head.seq + 1 } else { context.head.seq };
        let mut commit = Commit { scalars_dropped: self.removals_dropped, ..Commit::default() };
        let mut diff = Map::new();
        let device_id = &context.push.device_id;
        commit.pushed_by.clone_from(device_id);
        for (key, write) in self.writes {
            let value = write.value.clone().unwrap_or(Value::Null);
            key::set(&mut diff, &key, value);
            let (value, changed_at) = (write.value, write.changed_at);
            let row = Scalar { value, seq, device_id: write.device_id, changed_at };
            commit.versions.push(context.past(&key, seq, Cause::Push, row.value.clone()));
            commit.scalars.push((key, row));
        }
        for (key, value) in self.losers {
            commit.versions.push(context.past(&key, seq, Cause::Superseded, value));
        }
        let mut opened = 0;
        for document in self.documents {
            opened += u64::from(document.conflict.is_some());
            document.into_rows(context, seq, &mut commit, &mut diff);
        }
        for (key, (hash, at)) in self.pushed {
            let pushed = Pushed { seq, at: at.unwrap_or(seq), hash };
            if context.slice.pushed.get(&key) != Some(&pushed) {
                commit.pushed.push((key, pushed));
            }
        }
        if changes {
            append_delta(&mut commit, context.head, seq, device_id, context.now, diff, opened);
        }
        count_bytes(&mut commit, context.head, context.slice);
        (commit, self.outcomes)
    }
}

/// Puts the delta of `seq`, the head that follows it and the events into a commit that is complete but for them.
pub(crate) fn append_delta(
    commit: &mut Commit,
    head: &Head,
    seq: Seq,
    device_id: &str,
    now: Millis,
    diff: Map<String, Value>,
    opened: u64,
) {
    let text = serde_json::to_string(&diff).unwrap_or_default();
    let tag = head.tag.next(seq, device_id, now, &text);
    let delta = Delta { seq, device_id: device_id.to_owned(), created_at: now, tag, diff: text };
    commit.news.events = event::of(commit, &delta, &diff);
    commit.delta = Some(delta);
    let conflicts_open = head.conflicts_open.saturating_add(opened);
    commit.head = Some(Head { seq, tag, conflicts_open, ..head.clone() });
}

/// Counts what the user stores after a commit that is complete; `slice` has the rows that it replaces.
pub(crate) fn count_bytes(commit: &mut Commit, before: &Head, slice: &Slice) {
    let bytes = before.bytes.saturating_add(commit.added_bytes());
    let state_bytes = commit.state_bytes(before.state_bytes, slice);
    if (bytes, state_bytes) != (before.bytes, before.state_bytes) {
        let head = commit.head.get_or_insert_with(|| before.clone());
        (head.bytes, head.state_bytes) = (bytes, state_bytes);
    }
}

impl Context<'_> {
    fn past(&self, key: &str, seq: Seq, cause: Cause, value: Option<Value>) -> Version {
        Version {
            key: key.to_owned(),
            seq,
            no: 0,
            cause,
            device_id: self.push.device_id.clone(),
            created_at: self.now,
            value,
        }
    }
}

impl DocumentDraft {
    fn into_rows(
        mut self,
        context: &Context<'_>,
        seq: Seq,
        commit: &mut Commit,
        diff: &mut Map<String, Value>,
    ) {
        let device_id = &context.push.device_id;
        if let Some((content, cause)) = self.aside {
            let hash = Hash::of(&content);
            let from = Aside { hash, created_at: context.now, device_id: device_id.clone() };
            self.tail.aside(seq, cause, &content, &from);
            commit.located.push(Located { prefix: hash.prefix(), key: self.key.clone(), seq });
        }
        if let Some((content, cause)) = self.version {
            write_version(commit, diff, &mut self.tail, &self.key, seq, device_id, content, cause);
        }
        if let Some(conflict) = self.conflict {
            commit.conflicts.push(Conflict { seq, ..conflict });
        }
        commit.segments.extend(self.tail.into_write());
    }
}

/// Puts a document's new version into a commit and its delta.
#[expect(clippy::too_many_arguments, reason = "two sinks and the version's own facts")]
pub(crate) fn write_version(
    commit: &mut Commit,
    diff: &mut Map<String, Value>,
    tail: &mut Tail,
    key: &str,
    seq: Seq,
    device_id: &str,
    content: Option<Vec<u8>>,
    cause: Cause,
) {
    tail.version(seq, cause, content.as_deref());
    let hash = content.as_deref().map(Hash::of);
    let size = content.as_ref().map_or(0, Vec::len);
    note_document(diff, key, hash);
    commit.located.extend(hash.map(|hash| Located { prefix: hash.prefix(), key: key.to_owned(), seq }));
    let row = Document { hash, size, seq, device_id: device_id.to_owned() };
    commit.documents.push((key.to_owned(), row));
}

/// Notes a document's new version in a delta: a file is its hash, a page has its hash as `content`.
fn note_document(diff: &mut Map<String, Value>, key: &str, hash: Option<Hash>) {
    let hash = hash.map(|hash| hash.to_base64());
    match (Key::parse(key), hash) {
        (Some(Key::Entry(_)), Some(hash)) => key::set(diff, &format!("{key}/content"), json!(hash)),
        (_, hash) => key::set(diff, key, json!(hash)),
    }
}
