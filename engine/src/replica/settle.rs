//! What became of a push.

use super::edit::Edits;
use super::event::{Activity, Event};
use super::{Place, Rejected, Replica};
use crate::ids::{Hash, Millis};
use crate::state::{Document, Resolved};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// What a host did with a pushed item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is the host's value, or was already, or is in it.
    Accepted,
    /// A later write won.
    Superseded,
    /// It is kept in a conflict.
    Conflict,
    /// It waits for a conflict to be resolved.
    Blocked,
    /// The host did not take it.
    Rejected,
}

/// The answer to a push, item by item.
#[derive(Debug)]
pub(super) struct Outcomes {
    /// Those that were not plainly applied.
    results: Map<String, Value>,
    /// Head after it.
    pub(super) at: Place,
}

impl Outcomes {
    pub(super) fn read(reply: &Map<String, Value>, at: Place) -> Outcomes {
        let results = reply.get("results").and_then(Value::as_object).cloned().unwrap_or_default();
        Outcomes { results, at }
    }

    fn of(&self, key: &str) -> Outcome {
        let status = self.results.get(key).and_then(|result| result.get("status")).and_then(Value::as_str);
        match status {
            None | Some("applied" | "unchanged" | "merged") => Outcome::Accepted,
            Some("superseded") => Outcome::Superseded,
            Some("conflict") => Outcome::Conflict,
            Some("blocked") => Outcome::Blocked,
            Some(_) => Outcome::Rejected,
        }
    }

    fn why(&self, key: &str) -> Rejected {
        let text = |name: &str| {
            let text = self.results.get(key).and_then(|result| result.get(name)).and_then(Value::as_str);
            text.unwrap_or_default().to_owned()
        };
        Rejected { code: text("code"), detail: text("detail") }
    }

    /// The keys with that status.
    fn keys(&self, status: &str) -> Vec<String> {
        let is_it = |result: &Value| result.get("status").and_then(Value::as_str) == Some(status);
        self.results.iter().filter(|(_, result)| is_it(result)).map(|(key, _)| key.clone()).collect()
    }
}

impl Replica {
    /// The documents that the push in flight carried, as the host read them: the bases of its reply's patches. And those
    /// of them that are the host's now.
    pub(super) fn pushed_documents(&self) -> (Resolved, Resolved) {
        let (mut pushed, mut accepted) = (BTreeMap::new(), BTreeMap::new());
        let Some((flight, outcomes)) =
            self.flight.as_ref().and_then(|flight| Some((flight, flight.outcomes.as_ref()?)))
        else {
            return (pushed, accepted);
        };
        for (key, edit) in &flight.carried.documents {
            let document = edit
                .content
                .as_ref()
                .map(|content| Document::known(content.clone(), Hash::of(content), Some(outcomes.at.seq)));
            match outcomes.of(key) {
                Outcome::Accepted => drop(accepted.insert(key.clone(), document.clone())),
                Outcome::Conflict => {}
                Outcome::Superseded | Outcome::Blocked | Outcome::Rejected => continue,
            }
            pushed.insert(key.clone(), document);
        }
        (pushed, accepted)
    }

    /// Before what a reply tells is applied: the host's copy gets what it accepted.
    pub(super) fn accept(&mut self, accepted: Resolved) {
        for (key, document) in accepted {
            self.host.put_document(&key, document);
        }
        let Some(flight) = &self.flight else { return };
        let Some(outcomes) = &flight.outcomes else { return };
        let is_accepted = |key: &String| outcomes.of(key) == Outcome::Accepted;
        for entry in flight.carried.removals.keys().filter(|key| is_accepted(key)) {
            self.host.remove_entry(entry);
        }
        for (key, edit) in flight.carried.scalars.iter().filter(|(key, _)| is_accepted(key)) {
            self.host.put_scalar(key, edit.value.clone());
        }
    }

    /// Before what a reply tells is applied: what the host did not take is an edit again, on what it was made from.
    pub(super) fn hand_back(&mut self) {
        let Some(flight) = &mut self.flight else { return };
        let Some(outcomes) = &flight.outcomes else { return };
        let is_refused = |key: &String| matches!(outcomes.of(key), Outcome::Blocked | Outcome::Rejected);
        let carried = &mut flight.carried;
        let back = Edits {
            scalars: carried.scalars.extract_if(.., |key, _| is_refused(key)).collect(),
            documents: carried.documents.extract_if(.., |key, _| is_refused(key)).collect(),
            removals: carried.removals.extract_if(.., |key, _| is_refused(key)).collect(),
        };
        let why: BTreeMap<String, Rejected> = back
            .keys()
            .into_iter()
            .filter(|key| outcomes.of(key) == Outcome::Rejected)
            .map(|key| (key.clone(), outcomes.why(&key)))
            .collect();
        self.journal.mark_edits('x', &back);
        let edited: Vec<String> = self.edits.keys();
        self.put_back(back);
        for (key, why) in why {
            let asks_for_content = why.code == "base_unknown";
            match self.edits.documents.get_mut(&key) {
                Some(edit) if asks_for_content && !edit.in_full => edit.in_full = true,
                _ if edited.contains(&key) => {} // edited since: it is tried again
                _ => self.reject(&key, &why.code, &why.detail),
            }
        }
    }

    /// After what the reply tells was applied: the push is settled, and what came of its items is told.
    pub(super) fn settle(&mut self, now: Millis) {
        let Some(flight) = self.flight.take() else { return };
        self.journal.mark_flight(&flight.carried);
        let Some(outcomes) = flight.outcomes else { return };
        for (key, edit) in flight.carried.scalars {
            if outcomes.of(&key) == Outcome::Superseded {
                let theirs = self.host.scalar(&key).cloned().unwrap_or(Value::Null);
                let mine = edit.value.unwrap_or(Value::Null);
                self.journal.mark_superseded(&key);
                self.superseded.insert(key.clone(), (mine.clone(), theirs.clone()));
                self.events.push_back(Event::Superseded { key, mine, theirs });
            }
        }
        for key in flight.carried.removals.into_keys() {
            if outcomes.of(&key) == Outcome::Superseded {
                self.events.push_back(Event::Superseded { key, mine: Value::Null, theirs: Value::Null });
            }
        }
        // A full reply leaves contents out. Until the conflict is resolved this device keeps what it pushed.
        for (key, edit) in &flight.carried.documents {
            for conflict in self.conflicts.iter_mut().filter(|conflict| conflict.key == *key) {
                conflict.remember(edit.content.as_deref().unwrap_or_default());
                self.journal.mark_conflicts();
            }
        }
        for (what, status) in [(Activity::Merge, "merged"), (Activity::Conflict, "conflict")] {
            let keys = outcomes.keys(status);
            if !keys.is_empty() {
                self.happened(what, keys, (0, 0), now, "");
            }
        }
        if self.has_edits() {
            self.touched(now);
        }
    }
}
