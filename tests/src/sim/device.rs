//! The engine's own client: a [`Replica`] with a journal that keeps what was written, a user who edits, and a machine that
//! dies without warning.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use nself_sync_engine::call::Call;
use nself_sync_engine::ids::Platform;
use nself_sync_engine::replica::{Auth as Whose, Event, Kind, Replica, Request as Asked, Status};
use serde_json::Value;

use super::host::{Answer, Auth, Request, SimHost};
use super::keys;
use super::rng::Rng;
use super::texts::{self, Mint};
use crate::world::View;

/// How long an answer is waited for.
const PATIENCE_MS: u64 = 4000;

/// What it sends over the network; the rest it asks at once.
pub enum Sends {
    /// A push.
    Push(u64, Auth, Arc<Value>),
    /// A pull.
    Pull(u64, Auth, String),
}

/// See the module.
pub struct Device {
    /// The client.
    pub replica: Replica,
    /// What is durable on its machine.
    journal: BTreeMap<String, Vec<u8>>,
    /// Its clock is wrong by this much.
    skew_ms: i64,
    /// Of a hundred batches so many are lost with the machine.
    dies_percent: usize,
    /// Of a hundred small requests so many get no answer.
    lost_percent: usize,
    /// The request on its way, and until when it is waited for.
    waits: Option<(u64, u64)>,
    /// How often it was started: an answer reaches no later life.
    life: u64,
    /// A sync token that the host made, and for which device.
    pub new_token: Option<(String, String)>,
    /// Lines that its user wrote and was told are kept.
    pub wrote: BTreeMap<u64, String>,
    /// The same, not yet durable.
    writes: BTreeMap<u64, String>,
}

impl Device {
    /// A device that has never spoken to the host.
    pub fn new(id: &str, skew_ms: i64, dies_percent: usize) -> Device {
        let replica = Replica::open(id, Platform::Desktop, []).expect("an empty journal is a good one");
        let (journal, wrote, writes) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Device {
            replica,
            journal,
            skew_ms,
            dies_percent,
            lost_percent: 3,
            waits: None,
            life: 0,
            new_token: None,
            wrote,
            writes,
        }
    }

    /// From now on nothing fails.
    pub fn calm(&mut self) {
        (self.dies_percent, self.lost_percent) = (0, 0);
    }

    /// Another machine with the same disk.
    pub fn copy(&self) -> Device {
        let mut copy = Device::new("nobody", self.skew_ms, self.dies_percent);
        copy.journal = self.journal.clone();
        copy.reopen(self.replica.device_id());
        copy
    }

    fn clock(&self, now: u64) -> u64 {
        now.saturating_add_signed(self.skew_ms)
    }

    fn reopen(&mut self, id: &str) {
        let records = self.journal.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
        self.replica = Replica::open(id, Platform::Desktop, records).expect("what was written can be read");
        self.waits = None;
        self.life += 1;
        self.writes.clear();
    }

    /// What its user sees.
    pub fn view(&self) -> View {
        let mut view = View::default();
        for key in self.replica.keys("") {
            if let Some(content) = self.replica.content(&key) {
                keys::set_document(&mut view, &key, Some(content.to_vec()));
            }
            if let Some(value) = self.replica.get(&key) {
                keys::set_scalar(&mut view, &key, Some(value.clone()));
            }
        }
        view
    }

    /// Whether anything of its user's is not at the host yet, or it knows that it lacks something.
    pub fn has_work(&self) -> bool {
        self.replica.status() != Status::Synced
    }

    /// Its user does something. Gives the tokens of lines that were taken out.
    pub fn edit(&mut self, rng: &mut Rng, mint: &mut Mint, now: u64, bytes_max: usize) -> BTreeSet<u64> {
        let at = self.clock(now);
        let gone = match rng.below(20) {
            0..=9 => self.edit_document(rng, mint, at, bytes_max),
            10 => self.remove(keys::FILES[rng.below(4)], at),
            11..=13 => {
                let key = *rng.pick(&keys::SCALARS);
                self.set(rng, mint, key, at)
            }
            14..=17 => {
                let key = format!("{}/{}", rng.pick(&keys::ENTRIES), rng.pick(&keys::FIELDS));
                self.set(rng, mint, &key, at)
            }
            18 => self.edit_in_another_tab(rng, mint, at, bytes_max),
            _ => self.remove(keys::ENTRIES[rng.below(4)], at),
        };
        self.persist(rng);
        gone
    }

    fn edit_document(&mut self, rng: &mut Rng, mint: &mut Mint, at: u64, bytes_max: usize) -> BTreeSet<u64> {
        let key = a_document(rng);
        let before = self.replica.content(key).map(<[u8]>::to_vec);
        let after = match &before {
            Some(before) => texts::edited(rng, mint, before, bytes_max),
            None => texts::fresh(rng, mint, bytes_max),
        };
        self.replica.write(key, after.clone(), at).expect("a good key");
        assert_eq!(self.replica.content(key), Some(after.as_slice()), "what is written is seen");
        self.note(key, before.as_deref(), &after)
    }

    /// A tab that has not heard of the last edits yet.
    fn edit_in_another_tab(
        &mut self,
        rng: &mut Rng,
        mint: &mut Mint,
        at: u64,
        bytes_max: usize,
    ) -> BTreeSet<u64> {
        let key = a_document(rng);
        let Some(before) = self.replica.content(key).map(<[u8]>::to_vec) else { return BTreeSet::new() };
        let (here, there) =
            (texts::edited(rng, mint, &before, bytes_max), texts::edited(rng, mint, &before, bytes_max));
        self.replica.write(key, here.clone(), at).expect("a good key");
        let mut gone = self.note(key, Some(&before), &here);
        self.replica.write_onto(key, Some(&before), Some(there.clone()), at).expect("a good key");
        gone.extend(self.note(key, Some(&before), &there));
        gone
    }

    fn note(&mut self, key: &str, before: Option<&[u8]>, after: &[u8]) -> BTreeSet<u64> {
        let (had, has) = (before.map(texts::tokens).unwrap_or_default(), texts::tokens(after));
        self.writes.extend(has.difference(&had).map(|token| (*token, key.to_owned())));
        had.difference(&has).copied().collect()
    }

    fn remove(&mut self, key: &str, at: u64) -> BTreeSet<u64> {
        let before = self.replica.content(key).map(texts::tokens).unwrap_or_default();
        self.replica.remove(key, at).expect("a good key");
        before
    }

    fn set(&mut self, rng: &mut Rng, mint: &mut Mint, key: &str, at: u64) -> BTreeSet<u64> {
        let value = (!rng.percent(12)).then(|| texts::value(rng, mint, key));
        self.replica.set(key, value.clone().unwrap_or(Value::Null), at).expect("a good key");
        assert_eq!(self.replica.get(key), value.as_ref(), "what is set is seen");
        BTreeSet::new()
    }

    /// Its user takes back what the host rejected. Gives the tokens of lines that are gone by that.
    pub fn revert_rejected(&mut self, rng: &mut Rng) -> BTreeSet<u64> {
        let keys: Vec<String> = self.replica.rejected().into_iter().map(|(key, _)| key.to_owned()).collect();
        let mut gone = BTreeSet::new();
        for key in keys {
            gone.extend(self.replica.content(&key).map(texts::tokens).unwrap_or_default());
            self.replica.revert(&key);
        }
        self.persist(rng);
        gone
    }

    /// Writes down what is to be, or dies before it could.
    fn persist(&mut self, rng: &mut Rng) {
        let Some(batch) = self.replica.take_writes() else { return };
        if rng.percent(self.dies_percent) {
            let id = self.replica.device_id().to_owned();
            return self.reopen(&id);
        }
        for (name, value) in batch.writes {
            match value {
                Some(value) => drop(self.journal.insert(name, value)),
                None => drop(self.journal.remove(&name)),
            }
        }
        self.replica.written(batch.no);
        self.wrote.append(&mut self.writes);
        if rng.percent(2) {
            let view = self.view();
            let id = self.replica.device_id().to_owned();
            self.reopen(&id);
            keys::assert_same(&self.view(), &view, "what a restarted device shows");
        }
    }

    /// Lets it ask what it wants to ask now.
    pub fn poll(&mut self, rng: &mut Rng, host: &mut SimHost) -> Option<Sends> {
        let now = self.clock(host.now);
        if let Some((id, until)) = self.waits
            && until <= host.now
        {
            self.waits = None;
            self.replica.handle_failure(id, now, 0.5);
        }
        for _ in 0..100 {
            self.persist(rng);
            let asked = match self.replica.poll_request(now) {
                Some(asked) => asked,
                None => {
                    self.persist(rng);
                    self.replica.poll_request(now)?
                }
            };
            let auth = match &asked.auth {
                Whose::User => Auth::Jwt,
                Whose::Device(token) => Auth::Token(token.clone()),
            };
            match asked.kind {
                Kind::Push => {
                    self.waits = Some((asked.id, host.now + PATIENCE_MS));
                    let body = asked.body.as_deref().and_then(|body| serde_json::from_str(body).ok());
                    let body: Value = body.expect("a push has JSON");
                    return Some(Sends::Push(asked.id + (self.life << 32), auth, Arc::new(body)));
                }
                Kind::Pull => {
                    self.waits = Some((asked.id, host.now + PATIENCE_MS));
                    let (_, query) = asked.path.split_once('?').expect("a pull has a query");
                    return Some(Sends::Pull(asked.id + (self.life << 32), auth, query.to_owned()));
                }
                Kind::Content | Kind::Conflicts | Kind::Token | Kind::Resolve => {
                    self.ask(rng, host, &auth, &asked);
                }
            }
        }
        panic!("it asks for ever");
    }

    /// Asks what has no effect on anything but itself.
    fn ask(&mut self, rng: &mut Rng, host: &mut SimHost, auth: &Auth, asked: &Asked) {
        if rng.percent(self.lost_percent) {
            return self.replica.handle_failure(asked.id, self.clock(host.now), 0.5);
        }
        let call = match asked.kind {
            Kind::Content => {
                let hash = asked.path.rsplit('/').next().expect("a path has a hash");
                nself_sync_engine::wire::file(hash, None).expect("a hash is 64 hex digits")
            }
            Kind::Conflicts => Call::Conflicts,
            _ => Call::NewToken(self.replica.device_id().to_owned()),
        };
        let answer = host.call(auth, &Request::Plain(call), crate::memory::Crash::Never).0;
        let answer = answer.expect("a host that does not crash answers");
        if let Some(token) = answer.body["sync_token"].as_str() {
            self.new_token = Some((self.replica.device_id().to_owned(), token.to_owned()));
        }
        self.take(rng, asked.id + (self.life << 32), &answer, host.now);
    }

    /// An answer came.
    pub fn take(&mut self, rng: &mut Rng, number: u64, answer: &Answer, now: u64) {
        let Some(id) = number.checked_sub(self.life << 32).filter(|id| *id < 1 << 32) else { return };
        if self.waits.is_some_and(|(waits, _)| waits == id) {
            self.waits = None;
        }
        let json = answer.body.to_string().into_bytes();
        let body = if answer.bytes.is_empty() && !answer.body.is_null() { &json } else { &answer.bytes };
        self.replica.handle_reply(id, (answer.status, body), None, self.clock(now), 0.5);
        self.persist(rng);
    }

    /// It looks for news now.
    pub fn wake(&mut self, now: u64) {
        let now = self.clock(now);
        self.replica.wake(now);
        self.replica.flush(now);
    }

    /// Whether it was told that it needs another device id.
    pub fn needs_identity(&mut self) -> bool {
        let mut needs = false;
        while let Some(event) = self.replica.poll_event() {
            needs |= matches!(event, Event::Identity { .. });
            assert!(!matches!(event, Event::SignIn), "the user's token is always good");
        }
        needs
    }
}

fn a_document(rng: &mut Rng) -> &'static str {
    let pages = keys::ENTRIES.iter().filter(|entry| keys::is_page(entry));
    let all: Vec<&str> = keys::FILES.iter().chain(pages).copied().collect();
    all[rng.below(all.len())]
}
