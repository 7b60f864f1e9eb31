//! What it asks the host, and when.

use super::{Activity, FIRST_PUSH_SHARE, PULL_INTERVALS, Replica, SEQ_MAX, Stuck};
use crate::ids::{Hash, Millis};
use crate::wire::document_content;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value, json};

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
        // A push is a pull as well, and what others wrote must not come beneath an edit that could have gone before.
        let is_due = |due: Millis| due <= now || self.pull_at <= now;
        if self.push_due().is_some_and(is_due) && self.take_off() {
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
        Some(after_edit.max(after_push).max(self.push_after))
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
        self.pull_at = self.pull_at.min(self.next_pull(now));
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
    /// *theirs* that the user saw (inner `None`: that it was gone). [`super::Event::Resolved`] tells whether it was accepted.
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

    pub(super) fn failed(&mut self, now: Millis, jitter: f64, at_least: Option<Millis>, detail: &str) {
        if now < self.retry_at {
            return; // one of several at once
        }
        let (first, longest) = super::RETRY_MS;
        let whole = first.saturating_mul(1 << self.failures.min(10)).min(longest);
        let wait = whole / 2 + (whole as f64 / 2.0 * jitter.clamp(0.0, 1.0)) as Millis;
        self.failures = self.failures.saturating_add(1);
        self.retry_at = now.saturating_add(wait.max(at_least.unwrap_or(0))).min(SEQ_MAX);
        self.happened(Activity::Failure, Vec::new(), (0, 0), now, detail);
    }
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}
