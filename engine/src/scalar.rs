//! Scalars: the last write wins, and only truly concurrent writes are compared by clocks.
//!
//! The three rules, for a value V pushed for K from seq S by device D, K last written at K.seq by W:
//! 1. V is K's value, or (no `changed_at` given) what D had before: not a write, `unchanged`.
//! 2. K.seq ≤ S, or W is D: the write follows what it replaces, and wins.
//! 3. Else they are concurrent: the later `changed_at` wins, at equality the later arrival.
//!
//! An entry's removal is a row of its own under the entry's key. It hides the fields written at or
//! before it, which stay stored, so that a concurrent write that wins brings the whole entry back.

use crate::decide::{Context, Draft, Write};
use crate::ids::{Hash, Millis, Seq};
use crate::key;
use crate::push::{EntryPush, Outcome};
use crate::slice::Scalar;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};

/// A scalar's last write; of a field the removal of its entry, where that came later.
#[derive(Clone, Copy)]
struct Last<'a> {
    value: Option<&'a Value>,
    row: Option<&'a Scalar>,
}

impl<'a> Last<'a> {
    fn of(row: Option<&'a Scalar>) -> Last<'a> {
        Last { value: row.and_then(|row| row.value.as_ref()), row }
    }

    fn of_field(row: Option<&'a Scalar>, removal: Option<&'a Scalar>) -> Last<'a> {
        match removal {
            Some(removal) if row.is_none_or(|row| is_hidden(row, removal)) => Last::of(Some(removal)),
            Some(_) | None => Last::of(row),
        }
    }

    fn seq(self) -> Seq {
        self.row.map_or(0, |row| row.seq)
    }
}

/// Whether an entry's removal hides this row of one of its fields.
pub(crate) fn is_hidden(row: &Scalar, removal: &Scalar) -> bool {
    row.seq <= removal.seq
}

/// The hash by which pushed scalar values are compared. Equal JSON values have equal text: objects are
/// sorted, and the wire has made whole floats integers.
pub(crate) fn value_hash(value: Option<&Value>) -> Option<Hash> {
    value.map(|value| Hash::of(value.to_string().as_bytes()))
}

/// The bytes of a value as JSON, which its limits and the quota are in. The text is not made for it.
pub(crate) fn value_bytes(value: &Value) -> usize {
    struct Count(usize);
    impl fmt::Write for Count {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0 += text.len();
            Ok(())
        }
    }
    let mut count = Count(0);
    // Counting does not fail.
    let _ = write!(count, "{value}");
    count.0
}

/// The versions that deciding the pushed scalars needs: (key, seq).
pub(crate) fn needs(context: &Context<'_>) -> BTreeSet<(String, Seq)> {
    let mut needs = BTreeSet::new();
    let since = context.push.seq;
    for (key, value) in &context.push.scalars {
        let last = Last::of(context.slice.scalars.get(key));
        if last.value != value.as_ref() && context.base_is_history(key, None, last) {
            needs.insert((key.clone(), since));
        }
    }
    for (entry, pushed) in &context.push.entries {
        let removal = context.slice.scalars.get(entry);
        match pushed {
            EntryPush::Removed => {
                let newer = context.slice.entry(entry).filter(|(_, row)| row.seq > since);
                needs.extend(newer.map(|(key, _)| (key.to_owned(), since)));
                needs.insert((entry.clone(), since));
            }
            EntryPush::Fields(fields) => {
                for (field, value) in fields {
                    let key = format!("{entry}/{field}");
                    let last = Last::of_field(context.slice.scalars.get(&key), removal);
                    if last.value != value.as_ref() && context.base_is_history(&key, Some(entry), last) {
                        needs.insert((key, since));
                        needs.insert((entry.clone(), since));
                    }
                }
            }
        }
    }
    needs
}

impl Context<'_> {
    /// What the device last pushed for a scalar, if the device's seq says that it has not seen an answer.
    /// Outer `None`: nothing such; inner `None`: a removal.
    fn unanswered(&self, key: &str, entry: Option<&str>) -> Option<Option<Hash>> {
        let removal = entry.and_then(|entry| self.slice.pushed.get(entry)).filter(|p| p.hash.is_none());
        let pushed = [self.slice.pushed.get(key), removal].into_iter().flatten();
        let newest = pushed.filter(|pushed| pushed.seq > self.push.seq).max_by_key(|pushed| pushed.seq)?;
        Some(newest.hash)
    }

    fn base_is_history(&self, key: &str, entry: Option<&str>, last: Last<'_>) -> bool {
        !self.push.changed_at.contains_key(key)
            && last.seq() > self.push.seq
            && self.unanswered(key, entry).is_none()
    }

    /// Rule 1: whether a pushed value is no write at all.
    fn is_no_write(&self, key: &str, entry: Option<&str>, value: Option<&Value>, last: Last<'_>) -> bool {
        if value == last.value {
            return true;
        }
        if self.push.changed_at.contains_key(key) {
            return false;
        }
        if let Some(hash) = self.unanswered(key, entry) {
            return hash == value_hash(value);
        }
        if last.seq() <= self.push.seq {
            return false; // the base is the last write, compared above
        }
        self.value_at_seq(key, entry).is_some_and(|base| base == value)
    }

    /// The value at the device's seq; outer `None`: no longer known.
    fn value_at_seq(&self, key: &str, entry: Option<&str>) -> Option<Option<&Value>> {
        let at = |key: &str| self.slice.values_at.get(&(key.to_owned(), self.push.seq));
        let newest = [at(key), entry.and_then(at)].into_iter().flatten().max_by_key(|version| version.seq);
        match newest {
            Some(version) => Some(version.value.as_ref()),
            None => (self.push.seq >= self.head.floor).then_some(None),
        }
    }

    /// When a pushed key was changed: by the client's clock, never later than now; now where not said.
    fn changed_at(&self, key: &str) -> Millis {
        self.push.changed_at.get(key).map_or(self.now, |at| *at.min(&self.now))
    }

    /// Rule 2: whether the write of `key` follows what it replaces.
    fn follows(&self, key: &str, row: &Scalar) -> bool {
        row.seq <= self.seen(key) || row.device_id == self.push.device_id
    }

    /// Where the device stood when it wrote a key.
    fn seen(&self, key: &str) -> Seq {
        self.push.seen.get(key).map_or(self.push.seq, |seen| *seen.min(&self.push.seq))
    }
}

/// Decides a top-level scalar.
pub(crate) fn decide(context: &Context<'_>, draft: &mut Draft, key: &str, value: Option<&Value>) {
    let last = Last::of(context.slice.scalars.get(key));
    let outcome = outcome(context, key, None, value, last);
    settle(context, draft, key, value, outcome);
}

fn outcome(
    context: &Context<'_>,
    key: &str,
    entry: Option<&str>,
    value: Option<&Value>,
    last: Last<'_>,
) -> Outcome {
    if context.is_no_write(key, entry, value, last) {
        return Outcome::Unchanged;
    }
    let Some(row) = last.row else { return Outcome::Applied };
    let is_box = |value: Option<&Value>| value.is_some_and(Value::is_object);
    if context.follows(key, row) {
        Outcome::Applied
    } else if key == key::ENV && (is_box(value) || is_box(last.value)) {
        Outcome::Superseded // sealed: compare-and-set
    } else if context.changed_at(key) >= row.changed_at {
        Outcome::Applied
    } else {
        Outcome::Superseded
    }
}

fn settle(context: &Context<'_>, draft: &mut Draft, key: &str, value: Option<&Value>, outcome: Outcome) {
    let hash = value_hash(value);
    // A value that lost and is pushed again is in the history once, as long as it is there.
    let before = context.slice.pushed.get(key);
    let kept = before.filter(|last| last.hash == hash && last.at > context.head.floor).map(|last| last.at);
    let lost_at = kept.unwrap_or(context.head.seq);
    match outcome {
        Outcome::Applied => draft.write(key, Write { value: value.cloned(), ..context.write(key) }),
        Outcome::Superseded if kept.is_some() => {}
        Outcome::Superseded => draft.lost(key, value.cloned()),
        Outcome::Unchanged
        | Outcome::Merged(_)
        | Outcome::Conflict(_)
        | Outcome::Blocked
        | Outcome::Rejected(_) => {}
    }
    draft.pushed(key, hash, if outcome == Outcome::Superseded { lost_at } else { 0 });
    draft.outcome(key, outcome);
}

impl Context<'_> {
    fn write(&self, key: &str) -> Write {
        Write { value: None, device_id: self.push.device_id.clone(), changed_at: self.changed_at(key) }
    }
}

/// What became of the pushed fields of an entry.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum EntryFate {
    /// As stored.
    Stays,
    /// It was removed, and is back with all it had.
    Returns,
}

/// Decides pushed fields of a session or page.
pub(crate) fn decide_fields(
    context: &Context<'_>,
    draft: &mut Draft,
    entry: &str,
    fields: &BTreeMap<String, Option<Value>>,
) -> EntryFate {
    let rows = &context.slice.scalars;
    let keys = fields.iter().map(|(field, value)| (format!("{entry}/{field}"), value.as_ref()));
    let keys: Vec<(String, Option<&Value>)> = keys.collect();
    let removal = rows.get(entry);
    if let Some(removal) = removal.filter(|removal| is_gone(context, entry, removal))
        && keys.iter().any(|(key, _)| !context.follows(key, removal))
    {
        return decide_return(context, draft, entry, keys, removal);
    }
    for (key, value) in keys {
        let last = Last::of_field(rows.get(&key), removal);
        let outcome = outcome(context, &key, Some(entry), value, last);
        settle(context, draft, &key, value, outcome);
    }
    EntryFate::Stays
}

fn is_gone(context: &Context<'_>, entry: &str, removal: &Scalar) -> bool {
    context.slice.entry(entry).all(|(_, row)| row.value.is_none() || is_hidden(row, removal))
}

/// Field writes that are concurrent with the removal of their entry: decided for the entry as a whole.
fn decide_return(
    context: &Context<'_>,
    draft: &mut Draft,
    entry: &str,
    keys: Vec<(String, Option<&Value>)>,
    removal: &Scalar,
) -> EntryFate {
    let gone = Last::of(Some(removal));
    let (no_writes, writes): (Vec<_>, Vec<_>) =
        keys.into_iter().partition(|(key, value)| context.is_no_write(key, Some(entry), *value, gone));
    for (key, value) in no_writes {
        settle(context, draft, &key, value, Outcome::Unchanged);
    }
    let Some(latest) = writes.iter().map(|(key, _)| context.changed_at(key)).max() else {
        return EntryFate::Stays;
    };
    if latest < removal.changed_at {
        for (key, value) in writes {
            settle(context, draft, &key, value, Outcome::Superseded);
        }
        return EntryFate::Stays;
    }
    draft.drop_removal(entry);
    for (key, row) in context.slice.entry(entry).filter(|(_, row)| row.value.is_some()) {
        let had =
            Write { value: row.value.clone(), device_id: row.device_id.clone(), changed_at: row.changed_at };
        draft.write(key, had);
    }
    for (key, value) in writes {
        let last = Last::of(context.slice.scalars.get(&key));
        let outcome = outcome(context, &key, Some(entry), value, last);
        settle(context, draft, &key, value, outcome);
    }
    EntryFate::Returns
}

/// Decides the removal of an entry by its fields: `Applied`, `Unchanged` or `Superseded`. Whether a page
/// also goes by its content is for the caller to say; `has_content`: it has some, so that it exists.
pub(crate) fn removal_outcome(context: &Context<'_>, entry: &str, has_content: bool) -> Outcome {
    let since = context.push.seq;
    let removal = context.slice.scalars.get(entry);
    let is_live =
        |row: &Scalar| row.value.is_some() && removal.is_none_or(|removal| !is_hidden(row, removal));
    let live: Vec<(&str, &Scalar)> = context.slice.entry(entry).filter(|(_, row)| is_live(row)).collect();
    if live.is_empty() {
        return if has_content { Outcome::Applied } else { Outcome::Unchanged };
    }
    if !context.push.changed_at.contains_key(entry) && !has_content {
        // Rule 1 for a removal: the device had no such entry to remove.
        let absent = match context.unanswered(entry, None) {
            Some(pushed) => pushed.is_none(),
            None => live.iter().all(|(key, row)| {
                row.seq > since && context.value_at_seq(key, Some(entry)).is_some_and(|value| value.is_none())
            }),
        };
        if absent {
            return Outcome::Unchanged;
        }
    }
    let concurrent = live.iter().filter(|(_, row)| !context.follows(entry, row));
    match concurrent.map(|(_, row)| row.changed_at).max() {
        Some(latest) if context.changed_at(entry) < latest => Outcome::Superseded,
        Some(_) | None => Outcome::Applied,
    }
}

/// Puts an entry's removal, decided, into the draft.
pub(crate) fn settle_removal(context: &Context<'_>, draft: &mut Draft, entry: &str, outcome: Outcome) {
    settle(context, draft, entry, None, outcome);
}

#[cfg(test)]
mod tests;
