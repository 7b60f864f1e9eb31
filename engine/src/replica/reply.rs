//! What the host answers.

use super::arrive::Arrival;
use super::event::{Activity, Event};
use super::request::Kind;
use super::settle::Outcomes;
use super::{Place, Replica, Stuck, Takes};
use crate::ids::{Hash, Millis, SEQ_MAX};
use crate::policy::{ConflictBlock, Policy, Strategy};
use crate::state::Delta;
use serde_json::{Map, Value};

impl Replica {
    /// The reply to a request: status, body, what it says of when to retry, and a number from 0 to 1 by which the next
    /// try is spread. A reply that was not asked for, or to a request that was given up, is ignored.
    pub fn handle_reply(
        &mut self,
        id: u64,
        (status, body): (u16, &[u8]),
        retry_after: Option<Millis>,
        now: Millis,
        jitter: f64,
    ) {
        if self.arrival.as_mut().is_some_and(|arrival| arrival.asked.remove(&id).is_some()) {
            return self.take_content(status, body, now, (retry_after, jitter));
        }
        let Some(sent) = self.sent.take_if(|sent| sent.id == id) else { return };
        let json = serde_json::from_slice(body).ok();
        let Some(Value::Object(reply)) = json else {
            // Of a proxy in between, which has limits as well.
            return match (status, sent.kind) {
                (413, Kind::Push) => self.push_less(PROXY, now, jitter),
                (_, kind) => self.failed_at(kind, now, jitter, retry_after, NOT_THE_PROTOCOL),
            };
        };
        let code = reply.get("code").and_then(Value::as_str).unwrap_or_default().to_owned();
        if status == 200 {
            let bytes = (sent.up, body.len());
            let is_read = match sent.kind {
                Kind::Push => self.take_push(&reply, bytes, now),
                Kind::Pull => self.take_pull(&reply, bytes, now),
                Kind::Conflicts => self.take_conflicts(&reply, now),
                Kind::Resolve => self.take_resolution(None, now),
                Kind::Token => self.take_token(&reply),
                Kind::Content => None,
            };
            match is_read {
                // What it tells is not had before its contents are.
                Some(()) if self.arrival.is_some() => {}
                Some(()) => self.is_answered(),
                None => self.failed_at(sent.kind, now, jitter, retry_after, NOT_THE_PROTOCOL),
            }
            return;
        }
        self.is_moved &= code == "moved";
        let is_host = reply.get("type").and_then(Value::as_str).is_some_and(|kind| kind.starts_with(PROBLEM));
        match (status, code.as_str(), sent.kind) {
            (401, ..) | (403, "device_mismatch" | "user_token_required", _) => self.sign_in(sent.kind),
            (403, "device_revoked", _) => self.needs_identity("revoked"),
            // The operator, or the name in front of the hosts, brings it to the other one: there all goes on as it stands.
            (410, "moved", kind) => {
                self.is_moved = true;
                self.failed_at(kind, now, jitter, Some(MOVED_MS), &code);
            }
            (409, "device_forked" | "stale_push", _) => self.needs_identity("forked"),
            (404, _, Kind::Token) => {
                // The host does not know this device (any more): it registers.
                self.identity.is_registered = false;
                self.journal.mark_meta();
            }
            (409, "seq_ahead" | "epoch_changed", Kind::Push) => {
                self.land();
                self.must_pull = true;
            }
            (409, "conflicts_unresolved", Kind::Push) => {
                self.land();
                self.conflicts_are_stale = true;
                self.is_blocked_by_host(&reply);
            }
            (413, _, Kind::Push) => self.push_less(if is_host { &code } else { PROXY }, now, jitter),
            (400 | 422, _, Kind::Push) if is_host => self.push_less(&code, now, jitter),
            (507, _, Kind::Push) => {
                self.land();
                self.takes = Takes::Removals;
                self.push_after = now.saturating_add(FULL_MS);
                self.failed(now, jitter, retry_after, &code);
            }
            (400..=499, _, Kind::Resolve) if status != 429 && is_host => {
                // Its own answer was lost.
                let by = reply.get("resolved").and_then(|resolved| resolved.get("device_id"));
                let is_own = by.and_then(Value::as_str) == Some(&self.identity.device_id);
                let _ = self.take_resolution(Some(code).filter(|_| !is_own), now);
            }
            (_, _, kind) => self.failed_at(kind, now, jitter, retry_after, &code),
        }
    }

    /// No reply came: no network, a time-out, or something that is not this host.
    pub fn handle_failure(&mut self, id: u64, now: Millis, jitter: f64) {
        if self.arrival.as_mut().is_some_and(|arrival| arrival.asked.remove(&id).is_some()) {
            self.failed_at(Kind::Content, now, jitter, None, "no answer");
        } else if let Some(sent) = self.sent.take_if(|sent| sent.id == id) {
            self.failed_at(sent.kind, now, jitter, None, "no answer");
        }
    }

    fn is_answered(&mut self) {
        (self.failures, self.retry_at, self.is_moved) = (0, 0, false);
    }

    fn failed_at(&mut self, kind: Kind, now: Millis, jitter: f64, at_least: Option<Millis>, detail: &str) {
        match kind {
            Kind::Pull => self.pull_at = now,
            // One content that cannot be had must not hold up what this device has to tell.
            Kind::Content if self.failures >= CONTENT_FAILURES_MAX && self.flight.is_none() => {
                self.arrival = None;
                self.pull_at = now.saturating_add(self.policy.push_interval_ms);
            }
            _ => {}
        }
        self.failed(now, jitter, at_least, detail);
    }

    fn take_push(&mut self, reply: &Map<String, Value>, bytes: (usize, usize), now: Millis) -> Option<()> {
        let at = place_of(reply)?;
        let epoch = reply.get("epoch")?.as_str()?.to_owned();
        let changes = reply.get("changes")?.as_object()?;
        let is_behind = changes.get("kind").and_then(Value::as_str) == Some("behind");
        let arrival = if is_behind { None } else { Some(read_arrival(changes, Activity::Push, bytes)?) };
        if let Some(token) = reply.get("sync_token").and_then(Value::as_str) {
            self.identity.token = Some(token.to_owned());
        }
        self.identity.is_registered = true;
        self.journal.mark_meta();
        self.keys_max = usize::MAX;
        self.take_policy(reply.get("policy").unwrap_or(&Value::Null));
        if let Some(Value::Array(conflicts)) = reply.get("conflicts") {
            self.add_conflicts(conflicts);
        }
        self.count_conflicts(reply, true, now);
        self.flight.as_mut()?.outcomes = Some(Outcomes::read(reply, at));
        self.epoch.get_or_insert(epoch);
        match arrival {
            Some(arrival) => self.arrive(arrival, now),
            None => self.must_pull = true,
        }
        Some(())
    }

    fn take_pull(&mut self, reply: &Map<String, Value>, bytes: (usize, usize), now: Millis) -> Option<()> {
        let is_asked = self.flight.as_ref().is_some_and(|flight| flight.outcomes.is_some());
        let is_whole = match reply.get("kind")?.as_str()? {
            "delta" if is_asked => return None, // a host that does not know snapshot=1
            "delta" => false,
            "snapshot" => true,
            _ => return None,
        };
        let what = if is_whole { Activity::Snapshot } else { Activity::Pull };
        let mut arrival = read_arrival(reply, what, bytes)?;
        let reason = reply.get("reason").and_then(Value::as_str);
        arrival.is_whole = is_whole;
        arrival.is_other = is_whole
            && self.epoch.is_some()
            && (matches!(reason, Some("seq_ahead" | "epoch_changed")) || arrival.epoch != self.epoch);
        if !is_whole && arrival.at.seq == self.at.seq && arrival.delta.is_empty() {
            arrival.bytes = (0, 0); // nothing to tell of
        }
        self.is_restored |= arrival.is_other;
        let has_moved = arrival.at.seq != self.at.seq || arrival.is_other;
        self.take_policy(reply.get("policy").unwrap_or(&Value::Null));
        self.count_conflicts(reply, has_moved, now);
        self.must_pull = false;
        self.arrive(arrival, now);
        Some(())
    }

    fn take_content(
        &mut self,
        status: u16,
        body: &[u8],
        now: Millis,
        (retry_after, jitter): (Option<Millis>, f64),
    ) {
        let Some(mut arrival) = self.arrival.take() else { return };
        match status {
            200 if arrival.delta.supply(body) => {
                let hash = Hash::of(body);
                arrival.missing.retain(|_, missing| *missing != hash);
                match arrival.missing.is_empty() {
                    true => {
                        self.is_answered();
                        self.arrive(arrival, now);
                    }
                    false => self.arrival = Some(arrival),
                }
            }
            // Gone since: the host has moved on, and so what it told is asked for anew.
            404 => {
                self.must_pull = true;
                self.failed(now, jitter, retry_after, "a content was gone");
            }
            401 => {
                self.arrival = Some(arrival);
                self.sign_in(Kind::Content);
            }
            _ => {
                self.arrival = Some(arrival);
                self.failed_at(Kind::Content, now, jitter, retry_after, "a content was not to be had");
            }
        }
    }

    fn take_token(&mut self, reply: &Map<String, Value>) -> Option<()> {
        self.identity.token = Some(reply.get("sync_token")?.as_str()?.to_owned());
        self.journal.mark_meta();
        Some(())
    }

    fn take_policy(&mut self, told: &Value) {
        if told.is_object() && *told != self.policy_json {
            self.read_policy(told);
            self.journal.mark_meta();
            self.forgive();
        }
    }

    pub(super) fn read_policy(&mut self, told: &Value) {
        let number = |name: &str, default: usize| {
            told.get(name)
                .and_then(Value::as_u64)
                .and_then(|number| usize::try_from(number).ok())
                .unwrap_or(default)
        };
        let word = |name: &str| told.get(name).and_then(Value::as_str);
        let plain = Policy::default();
        self.policy = Policy {
            push_interval_ms: told
                .get("push_interval_ms")
                .and_then(Value::as_u64)
                .unwrap_or(plain.push_interval_ms),
            strategy: if word("conflict_strategy") == Some("lww") { Strategy::Lww } else { Strategy::Merge },
            conflict_block: match word("conflict_block") {
                Some("file") => ConflictBlock::File,
                Some(_) | None => ConflictBlock::Device,
            },
            file_bytes_max: number("file_bytes_max", plain.file_bytes_max),
            body_bytes_max: number("body_bytes_max", plain.body_bytes_max),
            keys_max: number("keys_max", plain.keys_max),
            ..plain
        };
        self.policy_json = told.clone();
    }

    /// Another limit: what was too large may go out now.
    fn forgive(&mut self) {
        let is_size = |code: &str| matches!(code, "file_too_large" | "scalar_too_large");
        for (key, edit) in &mut self.edits.documents {
            if edit.rejected.take_if(|why| is_size(&why.code)).is_some() {
                self.journal.mark('e', 'd', key);
            }
        }
        for (key, edit) in &mut self.edits.scalars {
            if edit.rejected.take_if(|why| is_size(&why.code)).is_some() {
                self.journal.mark('e', 's', key);
            }
        }
    }

    fn sign_in(&mut self, kind: Kind) {
        let was_device = kind != Kind::Token && self.identity.is_registered;
        if was_device {
            self.identity.token = None;
            self.journal.mark_meta();
            return; // a new one, under the user's token
        }
        self.stuck = Some(Stuck::SignIn);
        self.events.push_back(Event::SignIn);
    }

    fn needs_identity(&mut self, reason: &'static str) {
        self.stuck = Some(Stuck::Identity);
        self.events.push_back(Event::Identity { reason });
    }

    /// The host did not take a push as a whole: half as many items, until the one that it is about is known.
    fn push_less(&mut self, code: &str, now: Millis, jitter: f64) {
        let Some(flight) = &self.flight else { return };
        let (count, keys) = (flight.carried.len(), flight.carried.keys());
        self.land();
        if count == 0 || self.keys_max != usize::MAX {
            self.failed(now, jitter, None, code);
        }
        self.pushed_at = None;
        self.keys_max = (count / 2).max(1);
        if count > 1 {
            return;
        }
        self.keys_max = usize::MAX;
        for key in keys {
            match self.edits.documents.get_mut(&key).filter(|edit| !edit.in_full) {
                // As a patch it has more values, as a content more bytes.
                Some(edit) => edit.in_full = true,
                None => self.reject(&key, code, "the host does not take it"),
            }
        }
    }
}

/// How the host's own refusals begin.
const PROBLEM: &str = "urn:nself-sync:problem:";

/// The code of an edit that something on the way to the host did not take. It is tried again at the next start.
pub(super) const PROXY: &str = "request_too_large";

const NOT_THE_PROTOCOL: &str = "the answer is not the protocol's";

/// Contents that fail one after the other before others things go first.
const CONTENT_FAILURES_MAX: u32 = 3;

/// How long a host that the user was moved away from is left alone.
const MOVED_MS: Millis = 60_000;

/// How long a host that is full is left alone.
const FULL_MS: Millis = 60_000;

fn place_of(reply: &Map<String, Value>) -> Option<Place> {
    let seq = reply.get("seq")?.as_u64().filter(|seq| *seq <= SEQ_MAX)?;
    Some(Place { seq, tag: Some(reply.get("tag")?.as_str()?.to_owned()) })
}

/// `None`: it is not as the protocol has it.
fn read_arrival(reply: &Map<String, Value>, what: Activity, bytes: (usize, usize)) -> Option<Arrival> {
    let delta = Delta::parse(reply.get("state")?.as_object()?).ok()?;
    let text = |name: &str| reply.get(name).and_then(Value::as_str).map(str::to_owned);
    Some(Arrival {
        delta,
        is_whole: false,
        is_other: false,
        at: place_of(reply)?,
        epoch: Some(text("epoch")?),
        missing: Default::default(),
        asked: Default::default(),
        what,
        bytes,
    })
}
