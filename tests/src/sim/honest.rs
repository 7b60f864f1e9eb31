//! An honest client: one push in flight, settled by retry; it applies what replies tell, pulls, and pushes only what it
//! changed, saying what it made it from.

mod push;
mod take;

pub use take::Need;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use super::host::Auth;
use super::keys;
use super::rng::Rng;
use super::texts::{self, Mint};
use crate::world::View;

/// What kind of client it is.
#[derive(Debug, Clone)]
pub struct Traits {
    /// Says `base_hash`, and so may edit while a push is in flight and pull while edits wait.
    pub says_base: bool,
    /// Says `changed_at`.
    pub says_time: bool,
    /// Takes and sends patches.
    pub patches: bool,
    /// Its clock is wrong by this much.
    pub skew_ms: i64,
    /// Pushes under the user's token for ever.
    pub keeps_jwt: bool,
    /// Keeps retrying a push that was refused for a conflict, rather than giving it up.
    pub keeps_refused: bool,
}

/// A push on its way.
#[derive(Debug, Clone)]
pub(super) struct Flight {
    pub(super) body: Arc<Value>,
    /// Contents sent, by key; `None`: a removal.
    documents: BTreeMap<String, Option<Vec<u8>>>,
    /// When it is sent again.
    pub(super) retry_at: u64,
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Honest {
    /// Its device id.
    pub id: String,
    /// What it shows to the host.
    pub auth: Auth,
    /// What kind of client it is.
    pub traits: Traits,
    /// The seq of the last reply whose changes it has applied.
    pub seq: u64,
    /// As last received.
    pub epoch: Option<String>,
    tag: Option<String>,
    /// The state at `seq`, as it knows it.
    pub server: View,
    /// What its user sees.
    pub local: View,
    /// Documents that its user edited, with what was edited.
    bases: BTreeMap<String, Option<Vec<u8>>>,
    /// Of these, those that are offered after a restore.
    offered: BTreeSet<String>,
    /// Of these, those of which the host asked for the content in full.
    in_full: BTreeSet<String>,
    /// Scalars and fields that its user changed, with the time.
    dirty: BTreeMap<String, u64>,
    /// Entries that its user removed, with the time and the content that they had.
    removed: BTreeMap<String, (u64, Option<Vec<u8>>)>,
    pub(super) push_no: u64,
    pub(super) flight: Option<Flight>,
    /// It was told to pull, and pushes nothing before.
    pub(super) must_pull: bool,
    /// The number of its pull on the way.
    pub(super) pulling: Option<u64>,
    learned_at: u64,
}

impl Honest {
    /// A client that has never spoken to the host.
    pub fn new(id: String, traits: Traits) -> Honest {
        Honest {
            id,
            auth: Auth::Jwt,
            traits,
            seq: 0,
            epoch: None,
            tag: None,
            server: View::default(),
            local: View::default(),
            bases: BTreeMap::new(),
            offered: BTreeSet::new(),
            in_full: BTreeSet::new(),
            dirty: BTreeMap::new(),
            removed: BTreeMap::new(),
            push_no: 0,
            flight: None,
            must_pull: false,
            pulling: None,
            learned_at: 0,
        }
    }

    /// Its own clock.
    fn clock(&self, now: u64) -> u64 {
        now.saturating_add_signed(self.traits.skew_ms)
    }

    /// Whether anything of its user's is not at the host yet.
    pub fn has_work(&self) -> bool {
        self.flight.is_some()
            || self.epoch.is_none()
            || !(self.bases.is_empty() && self.dirty.is_empty() && self.removed.is_empty())
    }

    /// It becomes another device: the old one was removed, or its id is used by another machine as well.
    pub fn become_another(&mut self, id: String) {
        self.id = id;
        self.auth = Auth::Jwt;
        self.push_no = 0;
        self.flight = None;
    }

    /// Its user writes a document of that many lines, which was not there.
    pub fn write(&mut self, rng: &mut Rng, mint: &mut Mint, key: &str, lines: usize) {
        let content = texts::of_lines(rng, mint, lines);
        self.bases.insert(key.to_owned(), None);
        keys::set_document(&mut self.local, key, Some(content));
    }

    /// Its user does something. Gives the tokens of lines that were taken out.
    pub fn edit(&mut self, rng: &mut Rng, mint: &mut Mint, now: u64, bytes_max: usize) -> BTreeSet<u64> {
        if self.flight.is_some() && !self.traits.says_base {
            return BTreeSet::new();
        }
        match rng.below(20) {
            0..=9 => self.edit_document(rng, mint, bytes_max),
            10 => self.remove_document(rng),
            11..=13 => {
                let key = (*rng.pick(&keys::SCALARS)).to_owned();
                self.edit_scalar(rng, mint, key, now)
            }
            14..=17 => {
                let key = format!("{}/{}", rng.pick(&keys::ENTRIES), rng.pick(&keys::FIELDS));
                self.edit_scalar(rng, mint, key, now)
            }
            _ => self.remove_entry(rng, now),
        }
    }

    fn edit_document(&mut self, rng: &mut Rng, mint: &mut Mint, bytes_max: usize) -> BTreeSet<u64> {
        let pages = keys::ENTRIES.iter().filter(|entry| keys::is_page(entry));
        let all: Vec<&str> = keys::FILES.iter().chain(pages).copied().collect();
        let key = *rng.pick(&all);
        if self.removed.contains_key(key) {
            return BTreeSet::new();
        }
        let before = keys::document(&self.local, key).cloned();
        let after = match &before {
            Some(before) => texts::edited(rng, mint, before, bytes_max),
            None => texts::fresh(rng, mint, bytes_max),
        };
        let base = keys::document(&self.server, key).cloned();
        self.bases.entry(key.to_owned()).or_insert(base);
        let kept = texts::tokens(&after);
        keys::set_document(&mut self.local, key, Some(after));
        let had = before.map(|before| texts::tokens(&before)).unwrap_or_default();
        had.difference(&kept).copied().collect()
    }

    /// Only what it has seen as it is at its seq: a removal cannot say what it was made from.
    fn remove_document(&mut self, rng: &mut Rng) -> BTreeSet<u64> {
        let key = *rng.pick(&keys::FILES);
        let server = keys::document(&self.server, key).cloned();
        let is_plain = self.bases.get(key).is_none_or(|base| *base == server);
        let Some(before) =
            keys::document(&self.local, key).cloned().filter(|_| is_plain && self.flight.is_none())
        else {
            return BTreeSet::new();
        };
        self.bases.entry(key.to_owned()).or_insert(server);
        keys::set_document(&mut self.local, key, None);
        texts::tokens(&before)
    }

    fn edit_scalar(&mut self, rng: &mut Rng, mint: &mut Mint, key: String, now: u64) -> BTreeSet<u64> {
        if keys::entry_of(&key).is_some_and(|entry| self.removed.contains_key(entry)) {
            return BTreeSet::new();
        }
        let value = (!rng.percent(12)).then(|| texts::value(rng, mint, &key));
        keys::set_scalar(&mut self.local, &key, value);
        self.dirty.insert(key, self.clock(now));
        BTreeSet::new()
    }

    fn remove_entry(&mut self, rng: &mut Rng, now: u64) -> BTreeSet<u64> {
        let entry = *rng.pick(&keys::ENTRIES);
        let is_dirty = self.bases.contains_key(entry) || self.flight.is_some();
        if is_dirty || !keys::has_entry(&self.server, entry) {
            return BTreeSet::new();
        }
        let before =
            keys::document(&self.local, entry).map(|content| texts::tokens(content)).unwrap_or_default();
        keys::remove_entry(&mut self.local, entry);
        self.dirty.retain(|key, _| keys::entry_of(key) != Some(entry));
        let seen = keys::document(&self.server, entry).cloned();
        self.removed.insert(entry.to_owned(), (self.clock(now), seen));
        before
    }
}

impl std::fmt::Display for Honest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Honest { id, seq, push_no, must_pull, pulling, .. } = self;
        write!(f, "{id} at seq {seq}, push {push_no}, must pull: {must_pull}, pulling: {pulling:?}, ")?;
        let documents: Vec<_> = self.bases.keys().collect();
        let flight = self.flight.is_some();
        write!(
            f,
            "in flight: {flight}, waiting: {documents:?} {:?} {:?}",
            self.dirty.keys(),
            self.removed.keys()
        )
    }
}
