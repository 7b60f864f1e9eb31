//! Events on their way to a webhook: recorded with the commit that they tell of, delivered at least once, in order per user.
//!
//! A host stores what a commit has in its outbox, and then gives each user whose events are due a [`Turn`]: it sends what
//! [`Turn::next`] says, tells [`Turn::take`] what came of it, and stores [`Turn::end`]. Nothing of a user's goes out while an
//! earlier event of that user waits.

use crate::commit::Commit;
use crate::ids::{Millis, Seq, User};
use crate::policy::DAY_MS;
use crate::wire;
use serde_json::{Value, json};
use std::collections::VecDeque;

/// Events of one turn, at most.
pub const TURN_MAX: usize = 32;

/// For how long an event is tried. Then it is set aside, and all of the user's that are older than that: for a target that
/// does not answer nothing piles up without bound.
pub const TRIED_MS: Millis = DAY_MS;

/// The wait after the first failure, which doubles with each, and the longest.
const BACK_OFF_MS: u64 = 1000;
const BACK_OFF_MS_MAX: u64 = 15 * 60 * 1000;

/// The longest wait that a target may ask for.
const RETRY_AFTER_S_MAX: u64 = 3600;

/// An event as it is stored until it is delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Its place among the user's events.
    pub place: Place,
    /// The event's id: the key by which a target knows one that it has.
    pub id: String,
    /// `sync.state.updated`, …
    pub event_type: String,
    /// JSON text.
    pub payload: String,
    /// When.
    pub recorded_at: Millis,
}

/// Events are in the order of the seqs that they tell of; a seq may have several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The seq.
    pub seq: Seq,
    /// Which of its events, from 0.
    pub no: u32,
}

/// The events of a commit, as they are stored.
pub(crate) fn record(commit: &Commit, user: &User, now: Millis) -> Vec<Recorded> {
    let Some(delta) = &commit.delta else { return Vec::new() };
    let events = commit.news.events.iter().zip(0..);
    let recorded = events.map(|(event, no)| Recorded {
        place: Place { seq: delta.seq, no },
        id: event.id.clone(),
        event_type: wire::name(event).to_owned(),
        payload: wire::payload(event, user).to_string(),
        recorded_at: now,
    });
    recorded.collect()
}

impl Recorded {
    /// The body of `POST /v1/dispatch`.
    pub fn body(&self) -> String {
        let payload: Value = serde_json::from_str(&self.payload).unwrap_or_default();
        json!({ "event_type": self.event_type, "payload": payload, "idempotency_key": self.id }).to_string()
    }
}

/// What came of sending an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The target has it.
    Delivered,
    /// The target will not take this event, however often it comes.
    Refused,
    /// It may be taken later; not before so many seconds where the target says so.
    Later(Option<u64>),
}

impl Answer {
    /// What an HTTP status means. Refused is only what concerns this very event; what a wrong address or secret is answered
    /// (401, 403, 404), the operator can mend, and a redirect is never followed: its target would get the secret.
    pub fn of(status: u16, retry_after: Option<&str>) -> Answer {
        match status {
            200..=299 => Answer::Delivered,
            400 | 409 | 410 | 413 | 415 | 422 => Answer::Refused,
            _ => Answer::Later(retry_after.and_then(|text| text.trim().parse().ok())),
        }
    }
}

/// The failures in a row of a user's deliveries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Failures {
    /// How many.
    pub count: u32,
    /// When the first was.
    pub since: Option<Millis>,
}

/// One user's turn: the oldest events, sent one after the other until one fails.
#[derive(Debug)]
pub struct Turn {
    events: VecDeque<Recorded>,
    end: End,
    has_failed: bool,
}

/// What a turn came to, to be stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct End {
    /// The events that are done with, in their order, each with its id: an operator may have put others in their places
    /// meanwhile, those of a new history.
    pub done: Vec<(Place, String)>,
    /// Those of them that are set aside as dead letters.
    pub dead: Vec<(Place, String)>,
    /// What was recorded before is set aside as well.
    pub stale: Option<Millis>,
    /// How the target does.
    pub failures: Failures,
    /// How long until the user's next turn.
    pub wait_ms: u64,
}

impl Turn {
    /// A turn of these events, the oldest first, after these failures.
    pub fn new(events: Vec<Recorded>, failures: Failures) -> Turn {
        let end = End { failures, ..End::default() };
        Turn { events: events.into(), end, has_failed: false }
    }

    /// The event to send.
    pub fn next(&self) -> Option<&Recorded> {
        self.events.front().filter(|_| !self.has_failed)
    }

    /// What came of sending it; `random` spreads the next tries of many users.
    pub fn take(&mut self, answer: Answer, now: Millis, random: u32) {
        let Some(sent) = self.next().map(|event| (event.place, event.id.clone())) else { return };
        let retry_after_s = match answer {
            Answer::Delivered => return self.pass(sent),
            Answer::Refused => {
                self.end.dead.push(sent.clone());
                return self.pass(sent);
            }
            Answer::Later(retry_after_s) => retry_after_s.unwrap_or(0).min(RETRY_AFTER_S_MAX),
        };
        self.has_failed = true;
        let Failures { count, since } = &mut self.end.failures;
        *count = count.saturating_add(1);
        self.end.wait_ms = back_off_ms(*count, random).max(retry_after_s * 1000);
        if now.saturating_sub(*since.get_or_insert(now)) >= TRIED_MS {
            *since = None;
            self.end.dead.push(sent.clone());
            self.end.done.push(sent);
            self.end.stale = Some(now.saturating_sub(TRIED_MS));
        }
    }

    fn pass(&mut self, sent: (Place, String)) {
        self.events.pop_front();
        self.end.done.push(sent);
        self.end.failures = Failures::default();
    }

    /// What is to be stored, also of a turn that is broken off.
    pub fn end(self) -> End {
        self.end
    }
}

/// Between the half of the doubled wait and all of it.
fn back_off_ms(count: u32, random: u32) -> u64 {
    let doublings = count.saturating_sub(1).min(16);
    let half = (BACK_OFF_MS << doublings).min(BACK_OFF_MS_MAX) / 2;
    half + half * u64::from(random) / u64::from(u32::MAX)
}

/// A user whose events were set aside as dead letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dead {
    /// Whose.
    pub user: User,
    /// How many.
    pub events: u64,
    /// When the oldest of them was recorded.
    pub oldest_at: Millis,
    /// When the last of them was set aside.
    pub newest_dead_at: Millis,
}

/// What waits to be delivered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Events.
    pub depth: u64,
    /// When the oldest was recorded.
    pub oldest_at: Option<Millis>,
    /// Dead letters that are kept.
    pub dead: u64,
}

#[cfg(test)]
mod tests;
