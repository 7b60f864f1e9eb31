//! What the user sees.

use super::edit::Edits;
use super::{Conflict, Rejected, Replica, Status};
use crate::ids::Seq;
use crate::key::Key;
use crate::state::Document;
use serde_json::Value;
use std::collections::BTreeSet;

impl Replica {
    /// A scalar or field as the user sees it.
    pub fn get(&self, key: &str) -> Option<&Value> {
        if let Some(said) = self.edits.scalar(key) {
            return said;
        }
        self.scalar_beneath(key)
    }

    /// A document's content as the user sees it.
    pub fn content(&self, key: &str) -> Option<&[u8]> {
        if let Some(said) = self.edits.content(key) {
            return said;
        }
        self.content_beneath(key)
    }

    /// Whether there is such a scalar, field, document, session or page.
    pub fn has(&self, key: &str) -> bool {
        match Key::parse(key) {
            Some(Key::Scalar(_) | Key::Field(..)) => self.get(key).is_some(),
            Some(Key::File(_)) => self.content(key).is_some(),
            Some(Key::Entry(_)) => {
                self.content(key).is_some()
                    || self.all_fields(key).iter().any(|field| self.get(field).is_some())
            }
            None => false,
        }
    }

    /// The changed keys of what there is, those that begin with `prefix`: scalars, fields and documents.
    pub fn keys(&self, prefix: &str) -> Vec<String> {
        let carried = self.flight.as_ref().map(|flight| &flight.carried);
        let layers = [Some(&self.edits), carried].into_iter().flatten();
        let mut scalars: BTreeSet<&str> = self.host.scalars().map(|(key, _)| key).collect();
        let mut documents: BTreeSet<&str> = self.host.documents().map(|(key, _)| key).collect();
        for layer in layers {
            scalars.extend(layer.scalars.keys().map(String::as_str));
            documents.extend(layer.documents.keys().map(String::as_str));
        }
        scalars.retain(|key| key.starts_with(prefix) && self.get(key).is_some());
        documents.retain(|key| key.starts_with(prefix) && self.content(key).is_some());
        scalars.union(&documents).map(|key| (*key).to_owned()).collect()
    }

    /// The open conflicts of the user, as far as known.
    pub fn conflicts(&self) -> &[Conflict] {
        &self.conflicts
    }

    /// What the host would not take, by key.
    pub fn rejected(&self) -> Vec<(&str, &Rejected)> {
        self.edits.rejected()
    }

    /// Scalars whose write lost, each with what it was and what won, until [`Replica::acknowledge`].
    pub fn superseded(&self) -> impl Iterator<Item = (&str, &Value, &Value)> {
        self.superseded.iter().map(|(key, (mine, theirs))| (key.as_str(), mine, theirs))
    }

    /// The keys of edits that are not durable on the host yet, but for those that it rejected.
    pub fn pending(&self) -> BTreeSet<&str> {
        let carried = self.flight.as_ref().map(|flight| &flight.carried);
        let layers = [Some(&self.edits), carried].into_iter().flatten();
        let waiting = self.waiting.values().map(|waiting| waiting.key.as_str());
        layers.flat_map(Edits::open).chain(waiting).collect()
    }

    /// How many edits are not durable on the host yet, but for those that it rejected.
    pub fn pending_count(&self) -> usize {
        let carried = self.flight.as_ref().map_or(0, |flight| flight.carried.len());
        self.edits.open().count() + carried + self.waiting.len()
    }

    /// Its id to the host.
    pub fn device_id(&self) -> &str {
        &self.identity.device_id
    }

    /// The seq of the last reply whose changes it has applied.
    pub fn seq(&self) -> Seq {
        self.at.seq
    }

    /// What the host allows, as it told it last; null before.
    pub fn policy(&self) -> &Value {
        &self.policy_json
    }

    /// What to tell the user.
    pub fn status(&self) -> Status {
        if self.stuck.is_some() {
            Status::Unauthorised
        } else if self.is_moved && self.is_online {
            Status::Moved
        } else if !self.is_online || self.failures > 0 {
            Status::Offline
        } else if self.is_blocked() {
            Status::Blocked
        } else if self.flight.is_some() || self.epoch.is_none() || self.must_pull {
            Status::Syncing
        } else if self.has_edits() {
            Status::Pending
        } else {
            Status::Synced
        }
    }

    pub(super) fn scalar_beneath(&self, key: &str) -> Option<&Value> {
        match self.flight.as_ref().and_then(|flight| flight.carried.scalar(key)) {
            Some(said) => said,
            None => self.host.scalar(key),
        }
    }

    pub(super) fn content_beneath(&self, key: &str) -> Option<&[u8]> {
        match self.flight.as_ref().and_then(|flight| flight.carried.content(key)) {
            Some(said) => said,
            None => self.host.document(key).map(Document::content),
        }
    }

    pub(super) fn has_beneath(&self, entry: &str) -> bool {
        let has_field = |field: &String| self.scalar_beneath(field).is_some();
        self.content_beneath(entry).is_some() || self.all_fields(entry).iter().any(has_field)
    }

    /// The keys of an entry's fields in any layer.
    pub(super) fn all_fields(&self, entry: &str) -> BTreeSet<String> {
        let mut fields: BTreeSet<String> = self.host.fields(entry).map(str::to_owned).collect();
        fields.extend(self.edits.fields(entry));
        fields.extend(self.flight.iter().flat_map(|flight| flight.carried.fields(entry)));
        fields
    }
}
