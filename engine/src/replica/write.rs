//! What the user does.

use super::edit::{Base, DocumentEdit, Removal, ScalarEdit, Waiting};
use super::{Event, Refused, Replica, arrive, earlier};
use crate::ids::{Millis, Seq};
use crate::key::{self, Key};
use crate::state::{Document, is_reserved};
use crate::wire::normalize;
use serde_json::Value;

impl Replica {
    /// Writes a scalar or a field; null removes it.
    ///
    /// # Errors
    /// [`Refused`] where `key` names neither.
    pub fn set(&mut self, key: &str, mut value: Value, now: Millis) -> Result<(), Refused> {
        let entry = match Key::parse(key) {
            Some(Key::Scalar(_)) if key == "env" => {
                return Err(refused("plaintext_env", key, "variables are sealed: write env_encrypted"));
            }
            Some(Key::Scalar(_)) => None,
            Some(Key::Field(entry, field)) if !is_reserved(entry, field) => Some(entry),
            _ => return Err(refused("invalid_key", key, "allowed is the name of a scalar or of a field")),
        };
        normalize(&mut value);
        let value = Some(value).filter(|value| !value.is_null());
        if self.get(key) == value.as_ref() {
            self.try_again(key, now);
            return Ok(());
        }
        let stale = self.edits.scalars.get(key).and_then(|edit| edit.stale);
        let is_after_removal = entry.is_some_and(|entry| self.edits.removals.contains_key(entry));
        self.journal.mark('e', 's', key);
        if stale.is_none() && !is_after_removal && self.scalar_beneath(key) == value.as_ref() {
            self.edits.scalars.remove(key);
        } else {
            let edit = ScalarEdit { value, at: now, stale, rejected: None };
            self.edits.scalars.insert(key.to_owned(), edit);
        }
        self.touched(now);
        Ok(())
    }

    /// Writes the content of a file or page.
    ///
    /// # Errors
    /// [`Refused`] where `key` names neither.
    pub fn write(&mut self, key: &str, content: Vec<u8>, now: Millis) -> Result<(), Refused> {
        check_document(key)?;
        if self.content(key) == Some(&content) {
            self.try_again(key, now);
            return Ok(());
        }
        let before = self.edits.documents.get(key);
        let base = before.map_or(Base::Below, |edit| edit.base.clone());
        let in_full = before.is_some_and(|edit| edit.in_full);
        let is_after_removal = self.edits.removals.contains_key(key);
        let is_reverted = base == Base::Below && !is_after_removal;
        self.journal.mark('e', 'd', key);
        if is_reverted && self.content_beneath(key) == Some(&content) {
            self.edits.documents.remove(key);
        } else {
            let edit = DocumentEdit { in_full, ..DocumentEdit::new(Some(content), base, now) };
            self.edits.documents.insert(key.to_owned(), edit);
        }
        self.touched(now);
        Ok(())
    }

    /// An edit made elsewhere on this device (another tab), with what it was made from: merged onto what is here.
    /// What does not merge waits until what is here is settled, and then becomes a conflict that the host keeps.
    ///
    /// # Errors
    /// As [`Replica::write`].
    pub fn write_onto(
        &mut self,
        key: &str,
        base: Option<&[u8]>,
        content: Option<Vec<u8>>,
        now: Millis,
    ) -> Result<(), Refused> {
        check_document(key)?;
        let here = self.content(key);
        if here == base || here == content.as_deref() {
            return match content {
                Some(content) => self.write(key, content, now),
                None => self.remove(key, now),
            };
        }
        match (here, &content) {
            // Removed there, edited here: it stays.
            (Some(_), None) => Ok(()),
            (_, Some(content)) => {
                if let Some(merged) = arrive::merge(base, content, here) {
                    return self.write(key, merged, now);
                }
                let base = base.map(|base| Document::new(base.to_vec()));
                self.wait(key.to_owned(), base, content.clone(), now);
                Ok(())
            }
            (None, None) => Ok(()),
        }
    }

    /// An edit that follows the one that is there.
    pub(super) fn wait(&mut self, key: String, base: Option<Document>, content: Vec<u8>, at: Millis) {
        let no = self.waiting.keys().next_back().map_or(0, |no| no + 1);
        self.waiting.insert(no, Waiting { key, base, content, at });
        self.journal.mark_waiting(no);
        self.touched(at);
    }

    /// [`Replica::set`] on another tab, at which this device stood at `seen`.
    ///
    /// # Errors
    /// As [`Replica::set`].
    pub fn set_from(&mut self, key: &str, value: Value, seen: Seq, now: Millis) -> Result<(), Refused> {
        self.set(key, value, now)?;
        if let Some(edit) = self.edits.scalars.get_mut(key).filter(|_| seen < self.at.seq) {
            edit.stale = earlier(edit.stale, Some(seen));
        }
        Ok(())
    }

    /// [`Replica::remove`] on another tab, at which this device stood at `seen`, and of the content that was seen there. A
    /// content that is another by now stays.
    ///
    /// # Errors
    /// As [`Replica::remove`].
    pub fn remove_from(
        &mut self,
        key: &str,
        base: Option<&[u8]>,
        seen: Seq,
        now: Millis,
    ) -> Result<(), Refused> {
        if self.content(key).is_some() && self.content(key) != base {
            return Ok(());
        }
        self.remove(key, now)?;
        if let Some(removal) = self.edits.removals.get_mut(key).filter(|_| seen < self.at.seq) {
            removal.stale = earlier(removal.stale, Some(seen));
        }
        Ok(())
    }

    /// Removes a file, a session or a page with all it has.
    ///
    /// # Errors
    /// [`Refused`] where `key` names none.
    pub fn remove(&mut self, key: &str, now: Millis) -> Result<(), Refused> {
        match Key::parse(key) {
            Some(Key::File(_)) => self.remove_file(key, now),
            Some(Key::Entry(_)) => self.remove_entry(key, now),
            Some(Key::Scalar(_) | Key::Field(..)) | None => {
                return Err(refused("invalid_key", key, "allowed is a file, a session or a page"));
            }
        }
        Ok(())
    }

    fn remove_file(&mut self, key: &str, now: Millis) {
        if self.content(key).is_none() {
            return;
        }
        self.journal.mark('e', 'd', key);
        // What the host has by now is not what the user saw and removes: it comes back, to be looked at.
        let was_seen = self.edits.documents.remove(key).is_none_or(|edit| edit.base == Base::Below);
        if self.content_beneath(key).is_some() {
            if was_seen {
                let removal = DocumentEdit::new(None, Base::Below, now);
                self.edits.documents.insert(key.to_owned(), removal);
            } else {
                self.events.push_back(Event::Change { keys: vec![key.to_owned()] });
            }
        }
        self.touched(now);
    }

    fn remove_entry(&mut self, entry: &str, now: Millis) {
        if !self.has(entry) {
            return;
        }
        let mut stale = None;
        for field in self.edits.fields(entry) {
            self.journal.mark('e', 's', &field);
            let seen = self.edits.scalars.remove(&field).and_then(|edit| edit.stale);
            stale = earlier(stale, seen);
        }
        self.journal.mark('e', 'd', entry);
        let was_seen = self.edits.documents.remove(entry).is_none_or(|edit| edit.base == Base::Below);
        if self.has_beneath(entry) {
            if was_seen {
                self.journal.mark('e', 'r', entry);
                let before = self.edits.removals.get(entry).and_then(|removal| removal.stale);
                let removal = Removal { at: now, stale: earlier(stale, before), rejected: None };
                self.edits.removals.insert(entry.to_owned(), removal);
            } else {
                self.events.push_back(Event::Change { keys: vec![entry.to_owned()] });
            }
        }
        self.touched(now);
    }

    /// Who was told of a write that lost has done what there was to do.
    pub fn acknowledge(&mut self, key: &str) {
        if self.superseded.remove(key).is_some() {
            self.journal.mark_superseded(key);
        }
    }

    /// A rejected edit that is made again goes out again.
    fn try_again(&mut self, key: &str, now: Millis) {
        let scalar = self.edits.scalars.get_mut(key).and_then(|edit| edit.rejected.take());
        let document = self.edits.documents.get_mut(key).and_then(|edit| edit.rejected.take());
        if scalar.or(document).is_some() {
            self.journal.mark('e', 's', key);
            self.journal.mark('e', 'd', key);
            self.touched(now);
        }
    }

    /// Takes back an edit that the host rejected: what the host has is seen again.
    pub fn revert(&mut self, key: &str) {
        let (scalar, document) = (self.edits.scalars.get(key), self.edits.documents.get(key));
        let is_rejected = scalar.is_some_and(|edit| edit.rejected.is_some())
            || document.is_some_and(|edit| edit.rejected.is_some())
            || self.edits.removals.get(key).is_some_and(|edit| edit.rejected.is_some());
        if is_rejected {
            self.edits.scalars.remove(key);
            self.edits.documents.remove(key);
            self.edits.removals.remove(key);
            ['s', 'd', 'r'].into_iter().for_each(|kind| self.journal.mark('e', kind, key));
            self.changed(vec![key.to_owned()]);
        }
    }
}

fn refused(code: &'static str, key: &str, problem: &'static str) -> Refused {
    Refused { code, key: key.to_owned(), problem }
}

pub(super) fn check_document(key: &str) -> Result<(), Refused> {
    match Key::parse(key) {
        Some(Key::File(_)) => Ok(()),
        Some(Key::Entry(entry)) if key::collection(entry) == key::PAGES => Ok(()),
        _ => match key.strip_prefix("files/").and_then(key::path_problem) {
            Some(problem) => Err(refused("invalid_path", key, problem)),
            None => Err(refused("invalid_key", key, "allowed is a file or a page")),
        },
    }
}
