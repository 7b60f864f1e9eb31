//! Making a push of the edits that wait, and taking back one that came to nothing.

use super::edit::{Base, DocumentEdit, Edits, entry_of};
use super::{Event, Flight, Rejected, Replica, Takes, earlier, hash_of};
use crate::ids::Hash;
use crate::key::{self, FILES};
use crate::scalar::value_bytes;
use crate::state::Document;
use crate::text::{Patch, is_text};
use crate::wire::document_content;
use serde_json::{Map, Value, json};

/// What a patch costs beside its operations: hashes and names.
const PATCH_OVERHEAD: usize = 180;

/// What a push's body may have beside its items, in bytes.
const BODY_OVERHEAD: usize = 4096;

/// Documents that one push may name, in bytes on the host: half of what the host would rebuild.
const TOUCHED_BYTES_MAX: usize = 32 << 20;

impl Replica {
    /// Makes a push of what waits, within the host's limits. Says whether there is one.
    pub(super) fn take_off(&mut self) -> bool {
        self.bring_up_waiting();
        let (mut state, mut carried) = (Map::new(), Edits::default());
        let mut room = Room {
            bytes: self.policy.body_bytes_max.saturating_sub(BODY_OVERHEAD),
            keys: self.policy.keys_max.min(self.keys_max),
            touched: TOUCHED_BYTES_MAX,
        };
        loop {
            self.load_removals(&mut room, &mut state, &mut carried);
            self.load_scalars(&mut room, &mut state, &mut carried);
            self.load_documents(&mut room, &mut state, &mut carried);
            let took = self.takes;
            self.takes = if took == Takes::Removals { Takes::Known } else { Takes::All };
            if took == Takes::All || !carried.is_empty() || !self.identity.is_registered {
                break;
            }
        }
        if carried.is_empty() && self.identity.is_registered {
            if !self.has_edits() {
                self.dirty_at = None;
            }
            return false;
        }
        self.identity.push_no += 1;
        let (times, seen) = (times(&carried).collect(), seen(&carried).collect());
        let mut body = Map::from_iter([
            ("device_id".to_owned(), json!(self.identity.device_id)),
            ("platform".to_owned(), json!(self.identity.platform.as_str())),
            ("seq".to_owned(), json!(self.at.seq)),
            ("push_no".to_owned(), json!(self.identity.push_no)),
            ("state".to_owned(), Value::Object(state)),
            ("changed_at".to_owned(), Value::Object(times)),
            ("seen".to_owned(), Value::Object(seen)),
            ("patches".to_owned(), Value::Bool(true)),
        ]);
        body.extend(self.epoch.clone().map(|epoch| ("epoch".to_owned(), json!(epoch))));
        body.extend(self.at.tag.clone().map(|tag| ("tag".to_owned(), json!(tag))));
        let body = Value::Object(body).to_string();
        self.journal.mark_meta();
        self.journal.mark_flight(&carried);
        self.journal.mark_edits('e', &carried);
        let push_no = self.identity.push_no;
        self.flight = Some(Flight { push_no, body, carried, batch: u64::MAX, outcomes: None });
        self.dirty_at = self.has_edits().then_some(0);
        true
    }

    fn load_removals(&mut self, room: &mut Room, state: &mut Map<String, Value>, carried: &mut Edits) {
        let open = self.edits.removals.iter().filter(|(_, edit)| edit.rejected.is_none());
        let keys: Vec<String> = open.map(|(key, _)| key.clone()).collect();
        for key in keys {
            if !room.take(key.len() + 64, 0) {
                return;
            }
            key::set(state, &key, Value::Null);
            carried.removals.extend(self.edits.removals.remove_entry(&key));
        }
        let files = self.edits.documents.iter();
        let files: Vec<String> =
            files.filter(|(_, edit)| edit.content.is_none()).map(|(key, _)| key.clone()).collect();
        for key in files {
            if self.is_document_held(&key) {
                continue;
            }
            if !room.take(key.len() + 16, 0) {
                return;
            }
            key::set(state, &key, Value::Null);
            carried.documents.extend(self.edits.documents.remove_entry(&key));
        }
    }

    fn load_scalars(&mut self, room: &mut Room, state: &mut Map<String, Value>, carried: &mut Edits) {
        let keys: Vec<String> = self.edits.scalars.keys().cloned().collect();
        for key in keys {
            let comes_later =
                |entry: &str| self.is_removal_first(entry) || carried.removals.contains_key(entry);
            let Some(edit) = self.edits.scalars.get(&key) else { continue };
            let is_taken = match self.takes {
                Takes::Removals => edit.value.is_none(),
                Takes::Known => edit.value.is_none() || self.host.scalar(&key).is_some(),
                Takes::All => true,
            };
            if !is_taken || edit.rejected.is_some() || entry_of(&key).is_some_and(comes_later) {
                continue;
            }
            let value = edit.value.clone().unwrap_or(Value::Null);
            let bytes = value_bytes(&value);
            let max = if key == key::ENV { self.policy.env_bytes_max } else { self.policy.scalar_bytes_max };
            if bytes > max {
                let detail = format!("it has {bytes} bytes as JSON, allowed are {max}");
                self.reject(&key, "scalar_too_large", &detail);
                continue;
            }
            if !room.take(bytes + 2 * key.len() + 32, 0) {
                return;
            }
            key::set(state, &key, value);
            carried.scalars.extend(self.edits.scalars.remove_entry(&key));
        }
    }

    fn load_documents(&mut self, room: &mut Room, state: &mut Map<String, Value>, carried: &mut Edits) {
        let documents = self.edits.documents.iter().filter(|(_, edit)| edit.content.is_some());
        let keys: Vec<String> = documents.map(|(key, _)| key.clone()).collect();
        for key in keys {
            let comes_later = self.is_removal_first(&key) || carried.removals.contains_key(&key);
            let is_taken = match self.takes {
                Takes::Removals => false,
                Takes::Known => self.host.document(&key).is_some(),
                Takes::All => true,
            };
            if !is_taken || comes_later || self.is_document_held(&key) {
                continue;
            }
            let Some(edit) = self.edits.documents.get(&key) else { continue };
            let (size, max) = (edit.content.as_ref().map_or(0, Vec::len), self.policy.file_bytes_max);
            if size > max {
                let detail = format!("it has {size} bytes, allowed are {max}");
                self.reject(&key, "file_too_large", &detail);
                continue;
            }
            let members = members(edit, self.host.document(&key));
            let bytes: usize = members.values().map(value_bytes).sum();
            if bytes + key.len() + 256 > self.policy.body_bytes_max.saturating_sub(BODY_OVERHEAD) {
                self.reject(&key, "file_too_large", "as JSON it is larger than a request may be");
                continue;
            }
            let touched = self.host.document(&key).map_or(0, |document| document.content().len());
            if !room.take(bytes + key.len() + 256, touched) {
                return;
            }
            match key::collection(&key) {
                FILES => key::set(state, &key, Value::Object(members)),
                _ => members
                    .into_iter()
                    .for_each(|(name, value)| key::set(state, &format!("{key}/{name}"), value)),
            }
            carried.documents.extend(self.edits.documents.remove_entry(&key));
        }
    }

    /// Whether an entry's removal has to go before what was written after it.
    fn is_removal_first(&self, entry: &str) -> bool {
        self.edits.removals.get(entry).is_some_and(|removal| removal.rejected.is_none())
    }

    /// Whether a document's edit has to stay for now.
    fn is_document_held(&self, key: &str) -> bool {
        let is_rejected = self.edits.documents.get(key).is_some_and(|edit| edit.rejected.is_some());
        is_rejected || self.is_document_blocked(key)
    }

    pub(super) fn reject(&mut self, key: &str, code: &str, detail: &str) {
        let why = Rejected { code: code.to_owned(), detail: detail.to_owned() };
        let kind = if let Some(edit) = self.edits.scalars.get_mut(key) {
            edit.rejected = Some(why.clone());
            's'
        } else if let Some(edit) = self.edits.documents.get_mut(key) {
            edit.rejected = Some(why.clone());
            'd'
        } else if let Some(edit) = self.edits.removals.get_mut(key) {
            edit.rejected = Some(why.clone());
            'r'
        } else {
            return;
        };
        self.journal.mark('e', kind, key);
        self.events.push_back(Event::Rejected { key: key.to_owned(), why });
    }

    /// Edits of other tabs whose turn it is.
    fn bring_up_waiting(&mut self) {
        let is_free =
            |key: &str| !self.edits.documents.contains_key(key) && !self.edits.removals.contains_key(key);
        let Some((&no, _)) = self.waiting.iter().find(|(_, waiting)| is_free(&waiting.key)) else { return };
        let Some(waiting) = self.waiting.remove(&no) else { return };
        self.journal.mark_waiting(no);
        self.journal.mark('e', 'd', &waiting.key);
        self.changed(vec![waiting.key.clone()]);
        let edit = DocumentEdit::new(Some(waiting.content), Base::Kept(waiting.base), waiting.at);
        self.edits.documents.insert(waiting.key, edit);
    }

    /// Puts what the flight carries back among the edits: nothing of it was applied. What was edited since is newer, and
    /// was made from what the older was made from.
    pub(super) fn land(&mut self) {
        let Some(flight) = self.flight.take() else { return };
        self.journal.mark_flight(&flight.carried);
        self.arrival = None;
        self.put_back(flight.carried);
        self.touched(0);
    }

    /// Edits become the topmost layer again, but where there are newer ones: these then were made from what the older
    /// were made from.
    pub(super) fn put_back(&mut self, older: Edits) {
        self.journal.mark_edits('e', &older);
        for (key, edit) in older.removals {
            self.edits.removals.entry(key).or_insert(edit);
        }
        for (key, edit) in older.scalars {
            let is_removed = entry_of(&key).is_some_and(|entry| self.edits.removals.contains_key(entry));
            match self.edits.scalars.get_mut(&key) {
                Some(newer) => newer.stale = earlier(newer.stale, edit.stale),
                None if is_removed => {}
                None => drop(self.edits.scalars.insert(key, edit)),
            }
        }
        for (key, edit) in older.documents {
            if self.edits.removals.contains_key(&key) {
                continue;
            }
            match self.edits.documents.get_mut(&key) {
                // What was removed was never at the host: what the host has comes back.
                Some(newer) if newer.content.is_none() && edit.base != Base::Below => {
                    self.edits.documents.remove(&key);
                    self.changed(vec![key]);
                }
                Some(newer) if newer.base == Base::Below => newer.base = edit.base,
                Some(_) => {}
                None => drop(self.edits.documents.insert(key, edit)),
            }
        }
    }
}

/// What a push still has room for.
struct Room {
    bytes: usize,
    keys: usize,
    touched: usize,
}

impl Room {
    fn take(&mut self, bytes: usize, touched: usize) -> bool {
        let is_first = self.touched == TOUCHED_BYTES_MAX;
        if self.keys == 0 || bytes > self.bytes || (touched > self.touched && !is_first) {
            return false;
        }
        self.keys -= 1;
        self.bytes -= bytes;
        self.touched = self.touched.saturating_sub(touched);
        true
    }
}

/// A document as a push says it: what it was made from, and as a patch of that where this is smaller.
fn members(edit: &DocumentEdit, held: Option<&Document>) -> Map<String, Value> {
    let base = match &edit.base {
        Base::Below => held,
        Base::Kept(kept) => kept.as_ref(),
    };
    let content = edit.content.as_deref().unwrap_or_default();
    let mut members = Map::new();
    members.insert("base_hash".to_owned(), json!(hash_of(base)));
    let base = base.filter(|base| !edit.in_full && is_text(base.content()) && is_text(content));
    let patch = base.map(|base| Patch::diff(base.content(), content));
    let patch = patch.filter(|patch| patch.json_len() + PATCH_OVERHEAD < content.len());
    match patch.and_then(|patch| patch.to_json()) {
        Some(patch) => {
            members.insert("patch".to_owned(), patch);
            members.insert("hash".to_owned(), json!(Hash::of(content)));
        }
        None => members.extend([document_content(content.to_vec())]),
    }
    members
}

/// When each key was changed.
fn times(carried: &Edits) -> impl Iterator<Item = (String, Value)> {
    let scalars = carried.scalars.iter().map(|(key, edit)| (key.clone(), json!(edit.at)));
    let removals = carried.removals.iter().map(|(key, edit)| (key.clone(), json!(edit.at)));
    scalars.chain(removals)
}

/// Where the device stood when each was written that others' write has overtaken.
fn seen(carried: &Edits) -> impl Iterator<Item = (String, Value)> {
    let scalars = carried.scalars.iter().map(|(key, edit)| (key, edit.stale));
    let removals = carried.removals.iter().map(|(key, edit)| (key, edit.stale));
    scalars.chain(removals).filter_map(|(key, stale)| Some((key.clone(), json!(stale?))))
}
