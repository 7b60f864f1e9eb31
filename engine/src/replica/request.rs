//! What it asks the host, and when.

use super::edit::{Base, DocumentEdit, Edits, entry_of};
use super::{Activity, Event};
use super::{FIRST_PUSH_SHARE, Flight, PULL_INTERVALS, Platform, Rejected, Replica, SEQ_MAX, Stuck, hash_of};
use crate::ids::{Hash, Millis};
use crate::key::{self, FILES};
use crate::state::Document;
use crate::text::{Patch, is_text};
use crate::wire::document_content;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value, json};

/// What a patch costs beside its operations: hashes and names.
const PATCH_OVERHEAD: usize = 180;

/// What a push's body may have beside its items, in bytes.
const BODY_OVERHEAD: usize = 4096;

/// Documents that one push may name, in bytes on the host: half of what the host would rebuild.
const TOUCHED_BYTES_MAX: usize = 32 << 20;

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `POST /sync/push`
    Push,
    /// `GET /sync/pull`
    Pull,
    /// `GET /sync/files/<hash>`: its reply is bytes.
    Content,
    /// `GET /sync/conflicts`
    Conflicts,
    /// `POST /sync/conflicts/<id>/resolve`
    Resolve,
    /// `POST /sync/devices/<id>/token`
    Token,
}

/// Whose token a request carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Auth {
    /// The user's own.
    User,
    /// This device's.
    Device(String),
}

/// Something to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// To be given back with the reply.
    pub id: u64,
    /// What it is for.
    pub kind: Kind,
    /// The path, with its query.
    pub path: String,
    /// JSON, of a POST.
    pub body: Option<String>,
    /// Whose token.
    pub auth: Auth,
}

/// A request that was sent.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) id: u64,
    pub(super) kind: Kind,
    pub(super) up: usize,
}

/// A conflict's resolution, to be sent.
#[derive(Debug)]
pub(super) struct Resolution {
    pub(super) id: String,
    pub(super) body: String,
}

impl Replica {
    /// The next request, if one is due. At most one is on its way, but for contents.
    pub fn poll_request(&mut self, now: Millis) -> Option<Request> {
        if !self.is_online || self.stuck.is_some() || now < self.retry_at {
            return None;
        }
        if self.sent.is_some() {
            return None;
        }
        if self.identity.is_registered && self.identity.token.is_none() {
            let path = format!("/sync/devices/{}/token", encoded(&self.identity.device_id));
            return Some(self.ask(Kind::Token, path, Some("{}".to_owned())));
        }
        if self.arrival.is_some() {
            return self.next_content();
        }
        if self.flight.as_ref().is_some_and(|flight| flight.outcomes.is_none()) {
            return self.send_flight(now);
        }
        if self.must_pull {
            return Some(self.pull(now));
        }
        if let Some(resolution) = self.resolutions.front() {
            let path = format!("/sync/conflicts/{}/resolve", encoded(&resolution.id));
            let body = resolution.body.clone();
            return Some(self.ask(Kind::Resolve, path, Some(body)));
        }
        if self.push_due().is_some_and(|at| at <= now) && self.take_off() {
            return self.send_flight(now);
        }
        if self.conflicts_are_stale && self.identity.is_registered {
            return Some(self.ask(Kind::Conflicts, "/sync/conflicts".to_owned(), None));
        }
        (self.identity.is_registered && self.pull_at <= now).then(|| self.pull(now))
    }

    /// When to poll again, if nothing happens before.
    pub fn poll_timeout(&self) -> Option<Millis> {
        if !self.is_online || self.stuck.is_some() || self.sent.is_some() {
            return None;
        }
        if let Some(arrival) = &self.arrival {
            return arrival.next_missing().map(|_| self.retry_at);
        }
        if let Some(flight) = self.flight.as_ref().filter(|flight| flight.outcomes.is_none()) {
            return self.is_flight_written(flight).then_some(self.retry_at);
        }
        let needs_token = self.identity.is_registered && self.identity.token.is_none();
        let asks = self.conflicts_are_stale && self.identity.is_registered;
        let has_more = needs_token || asks || self.must_pull || !self.resolutions.is_empty();
        let due = if has_more { 0 } else { self.push_due().unwrap_or(Millis::MAX).min(self.pull_at) };
        Some(due.max(self.retry_at))
    }

    /// When the next push is due; `None`: there is none to make.
    fn push_due(&self) -> Option<Millis> {
        if !self.identity.is_registered {
            return Some(0);
        }
        if self.is_blocked() || !self.can_push() {
            return None;
        }
        let interval = self.policy.push_interval_ms;
        let after_edit = self.dirty_at.unwrap_or(0).saturating_add(interval / FIRST_PUSH_SHARE);
        let after_push = self.pushed_at.map_or(0, |at| at.saturating_add(interval));
        Some(after_edit.max(after_push))
    }

    /// Whether an edit could go out: of a document in a conflict of this device's own none can.
    fn can_push(&self) -> bool {
        let is_held = |key: &str| self.edits.documents.contains_key(key) && self.is_document_blocked(key);
        !self.waiting.is_empty() || self.edits.open().any(|key| !is_held(key))
    }

    /// Pushes what there is without waiting for the interval.
    pub fn flush(&mut self, now: Millis) {
        self.pushed_at = None;
        self.dirty_at = self.dirty_at.map(|_| 0);
        self.retry_at = self.retry_at.min(now);
    }

    /// Pulls now: something may have happened.
    pub fn wake(&mut self, now: Millis) {
        self.pull_at = self.pull_at.min(now);
        self.retry_at = self.retry_at.min(now);
    }

    /// Whether there is a network. Nothing is asked while there is none.
    pub fn set_online(&mut self, is_online: bool, now: Millis) {
        if is_online && !self.is_online {
            self.wake(now);
        }
        self.is_online = is_online;
    }

    /// Whether the host's hints arrive, so that pulls are hardly needed.
    pub fn set_live(&mut self, is_live: bool, now: Millis) {
        if is_live && !self.is_live {
            self.wake(now); // what happened before it
        }
        self.is_live = is_live;
    }

    /// The user's token can be had, again or for the first time.
    pub fn signed_in(&mut self, now: Millis) {
        if self.stuck == Some(Stuck::SignIn) {
            self.stuck = None;
        }
        self.wake(now);
    }

    /// Becomes another device, with all edits that are not settled.
    pub fn renew(&mut self, device_id: &str, now: Millis) {
        self.land();
        let former = std::mem::replace(&mut self.identity.device_id, device_id.to_owned());
        self.identity.former.insert(former);
        self.identity.is_registered = false;
        self.identity.token = None;
        self.identity.push_no = 0;
        self.stuck = None;
        self.sent = None;
        self.journal.mark_meta();
        self.wake(now);
    }

    /// Resolves a conflict: with its id, how (`mine`, `theirs`, `merged`), what was merged, and the hash of the
    /// *theirs* that the user saw (inner `None`: that it was gone). [`Event::Resolved`] tells whether it was accepted.
    pub fn resolve(
        &mut self,
        id: &str,
        how: &str,
        content: Option<Vec<u8>>,
        theirs: Option<Option<Hash>>,
        force: bool,
    ) {
        let mut body = Map::from_iter([
            ("resolution".to_owned(), json!(how)),
            ("device_id".to_owned(), json!(self.identity.device_id)),
            ("force".to_owned(), json!(force)),
        ]);
        body.extend(content.map(document_content));
        body.extend(theirs.map(|hash| ("theirs_hash".to_owned(), json!(hash))));
        let body = Value::Object(body).to_string();
        self.resolutions.push_back(Resolution { id: id.to_owned(), body });
    }

    fn ask(&mut self, kind: Kind, path: String, body: Option<String>) -> Request {
        let id = self.next_id;
        self.next_id += 1;
        self.sent = Some(Sent { id, kind, up: body.as_ref().map_or(0, String::len) });
        let auth = match &self.identity.token {
            Some(token) if kind != Kind::Token => Auth::Device(token.clone()),
            Some(_) | None => Auth::User,
        };
        Request { id, kind, path, body, auth }
    }

    fn next_content(&mut self) -> Option<Request> {
        let hash = self.arrival.as_ref()?.next_missing()?;
        let request = self.ask(Kind::Content, format!("/sync/files/{hash}"), None);
        self.sent = None; // several at once
        self.arrival.as_mut()?.asked.insert(request.id, hash);
        Some(request)
    }

    fn pull(&mut self, now: Millis) -> Request {
        let device_id = encoded(&self.identity.device_id);
        let mut path = format!("/sync/pull?device_id={device_id}&patches=1");
        // After a push whose reply did not tell what is new: all of it, from the history that the push is in.
        let pushed = self.flight.as_ref().and_then(|flight| flight.outcomes.as_ref());
        let at = pushed.map_or(&self.at, |outcomes| &outcomes.at);
        if let (Some(epoch), Some(tag)) = (&self.epoch, &at.tag) {
            path += &format!("&since_seq={}&epoch={}&tag={tag}", at.seq, encoded(epoch));
        }
        if pushed.is_some() {
            path += "&snapshot=1";
        }
        self.pull_at = self.next_pull(now);
        self.ask(Kind::Pull, path, None)
    }

    pub(super) fn next_pull(&self, now: Millis) -> Millis {
        let (plain, live) = PULL_INTERVALS;
        now.saturating_add(self.policy.push_interval_ms.saturating_mul(if self.is_live {
            live
        } else {
            plain
        }))
    }

    fn send_flight(&mut self, now: Millis) -> Option<Request> {
        let flight = self.flight.as_ref().filter(|flight| self.is_flight_written(flight))?;
        let body = flight.body.clone();
        self.pushed_at = Some(now);
        self.pull_at = self.next_pull(now);
        Some(self.ask(Kind::Push, "/sync/push".to_owned(), Some(body)))
    }

    /// Makes a push of what waits, within the host's limits. Says whether there is one.
    fn take_off(&mut self) -> bool {
        self.bring_up_waiting();
        let (mut state, mut carried) = (Map::new(), Edits::default());
        let mut room = Room {
            bytes: self.policy.body_bytes_max.saturating_sub(BODY_OVERHEAD),
            keys: self.policy.keys_max.min(self.keys_max),
            touched: TOUCHED_BYTES_MAX,
        };
        self.load_removals(&mut room, &mut state, &mut carried);
        if !self.is_full {
            self.load_scalars(&mut room, &mut state, &mut carried);
            self.load_documents(&mut room, &mut state, &mut carried);
        }
        self.is_full = false;
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
            ("platform".to_owned(), json!(Platform::as_str(self.identity.platform))),
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
                |entry: &str| self.edits.removals.contains_key(entry) || carried.removals.contains_key(entry);
            let Some(edit) = self.edits.scalars.get(&key) else { continue };
            if edit.rejected.is_some() || entry_of(&key).is_some_and(comes_later) {
                continue;
            }
            let value = edit.value.clone().unwrap_or(Value::Null);
            let bytes = value.to_string().len();
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
            let comes_later = self.edits.removals.contains_key(&key) || carried.removals.contains_key(&key);
            if comes_later || self.is_document_held(&key) {
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
            let bytes: usize = members.values().map(|value| value.to_string().len()).sum();
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
                Some(newer) => newer.stale = edit.stale.or_else(|| newer.stale.take()),
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

    pub(super) fn failed(&mut self, now: Millis, jitter: f64, at_least: Option<Millis>, detail: &str) {
        let (first, longest) = super::RETRY_MS;
        let whole = first.saturating_mul(1 << self.failures.min(10)).min(longest);
        let wait = whole / 2 + (whole as f64 / 2.0 * jitter.clamp(0.0, 1.0)) as Millis;
        self.failures = self.failures.saturating_add(1);
        self.retry_at = now.saturating_add(wait.max(at_least.unwrap_or(0))).min(SEQ_MAX);
        self.happened(Activity::Failure, Vec::new(), (0, 0), now, detail);
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

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}
