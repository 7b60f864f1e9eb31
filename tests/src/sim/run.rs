//! One run: transitions, each followed by the assertions.

mod deliver;
mod settle;

use std::collections::BTreeSet;

use nself_sync_engine::call::Call;
use nself_sync_engine::slice::Head;
use serde_json::json;

use super::assertions::check_rows;
use super::coverage::Coverage;
use super::device::Sends;
use super::host::{Auth, Request, SimHost};
use super::model::Model;
use super::naive::Person;
use super::net::{Message, Net};
use super::plan::{self, Client, Weather};
use super::rng::Rng;
use super::texts::Mint;
use crate::memory::{Crash, Rows};

/// A backup: what was stored, and what the model knew then.
struct Backup {
    rows: Rows,
    model: Model,
}

/// See the module.
pub struct Run {
    rng: Rng,
    host: SimHost,
    model: Model,
    net: Net,
    weather: Weather,
    clients: Vec<Client>,
    online_at: Vec<u64>,
    person: Person,
    mint: Mint,
    /// Tokens of lines that somebody who saw them took out.
    released: BTreeSet<u64>,
    tokens_hold: bool,
    backup: Option<Backup>,
    devices_made: u64,
    pulls: u64,
    verbose: bool,
}

impl Run {
    /// The run of a seed, before its first step.
    pub fn new(seed: u64, verbose: bool) -> Run {
        let mut rng = Rng::new(seed);
        let host = SimHost::new(seed, plan::policy(&mut rng));
        let model = Model::new(host.policy.clone());
        let (clients, net, weather) = (plan::clients(&mut rng), plan::net(&mut rng), plan::weather(&mut rng));
        let mut run = Run {
            rng,
            host,
            model,
            net,
            weather,
            online_at: vec![0; clients.len()],
            clients,
            person: Person::default(),
            mint: Mint::default(),
            released: BTreeSet::new(),
            tokens_hold: true,
            backup: None,
            devices_made: 0,
            pulls: 0,
            verbose,
        };
        run.say(|run| format!("{:?} {:?}", run.host.policy, run.weather));
        run
    }

    /// All steps, and the peace after them.
    pub fn finish(mut self, steps: usize) -> Coverage {
        if self.rng.percent(70) {
            self.share();
        }
        for _ in 0..steps {
            self.step();
        }
        self.settle();
        self.model.coverage
    }

    fn say(&mut self, line: impl Fn(&Run) -> String) {
        if self.verbose {
            eprintln!("{} #{} {}", self.host.now - 1_700_000_000_000, self.model.seq, line(self));
        }
    }

    fn step(&mut self) {
        self.host.now += self.rng.ms(700);
        self.deliver_all();
        let client = self.rng.below(self.clients.len());
        match self.rng.below(100) {
            0..=35 => self.edit(client),
            36..=63 => self.push(client),
            64..=71 => self.pull(client),
            72..=81 => self.person_looks(),
            82..=87 => self.person_decides(),
            88..=91 => self.check_some(),
            92..=93 => self.go_offline(client),
            94..=95 if self.weather.prunes => self.prune(),
            96..=97 if self.weather.restores => self.back_up_or_restore(),
            98..=99 if self.weather.upheaval => self.upheave(client),
            _ => {}
        }
    }

    fn is_offline(&self, client: usize) -> bool {
        self.online_at[client] > self.host.now
    }

    fn go_offline(&mut self, client: usize) {
        let ms = self.rng.ms(60_000);
        self.online_at[client] = self.host.now + ms;
    }

    fn edit(&mut self, client: usize) {
        let (now, bytes_max) = (self.host.now, self.host.policy.file_bytes_max);
        let gone = match &mut self.clients[client] {
            Client::Device(device) => device.edit(&mut self.rng, &mut self.mint, now, bytes_max),
            Client::Honest(honest) => honest.edit(&mut self.rng, &mut self.mint, now, bytes_max),
            Client::Naive(naive) => naive.edit(&mut self.rng, &mut self.mint, bytes_max),
        };
        self.released.extend(gone);
    }

    fn push(&mut self, client: usize) {
        if self.is_offline(client) {
            return;
        }
        let now = self.host.now;
        let mischief = self.weather.mischief && self.rng.percent(6);
        let (auth, body) = match &mut self.clients[client] {
            Client::Device(_) => return self.poll(client),
            Client::Honest(honest) => {
                if honest.flight.as_ref().is_some_and(|flight| flight.retry_at > now) {
                    return;
                }
                (honest.auth.clone(), honest.push(&mut self.rng, now, mischief))
            }
            Client::Naive(naive) => {
                if self.rng.percent(3) && self.host.rows().is_some() {
                    naive.reload(&mut self.host);
                }
                (Auth::Jwt, Some(naive.push()))
            }
        };
        if let Some(body) = body {
            let message = Message::Push { client, auth, body, number: 0 };
            self.net.send(&mut self.rng, now, message);
        }
    }

    /// Lets a device send what it wants to.
    fn poll(&mut self, client: usize) {
        let now = self.host.now;
        let Client::Device(device) = &mut self.clients[client] else { return };
        match device.poll(&mut self.rng, &mut self.host) {
            Some(Sends::Push(number, auth, body)) => {
                self.net.send(&mut self.rng, now, Message::Push { client, auth, body, number });
            }
            Some(Sends::Pull(number, auth, query)) => {
                self.net.send(&mut self.rng, now, Message::Pull { client, auth, query, number });
            }
            None => {}
        }
        self.serve_device(client);
    }

    fn pull(&mut self, client: usize) {
        let offline = self.is_offline(client);
        if let Client::Device(device) = &mut self.clients[client] {
            device.wake(self.host.now);
            if !offline {
                self.poll(client);
            }
            return;
        }
        let Client::Honest(honest) = &mut self.clients[client] else { return };
        let is_known = honest.epoch.is_some() && (honest.traits.says_base || !honest.has_work());
        let may_pull = honest.must_pull || is_known;
        if offline || honest.flight.is_some() || !may_pull {
            return;
        }
        self.pulls += 1;
        honest.pulling = Some(self.pulls);
        let query = honest.pull_query(self.rng.percent(70));
        let message = Message::Pull { client, auth: honest.auth.clone(), query, number: self.pulls };
        self.net.send(&mut self.rng, self.host.now, message);
    }

    fn person_looks(&mut self) {
        if self.host.rows().is_none() {
            return;
        }
        let listed = self.host.conflicts();
        self.model.check_conflicts(&listed);
        let device = format!("desktop-{}", self.rng.below(2));
        self.person.look(&mut self.rng, &listed, &device);
    }

    fn person_decides(&mut self) {
        let Some((id, body)) = self.person.decide(&mut self.rng) else { return };
        self.resolve(&id, body);
    }

    fn check_some(&mut self) {
        if self.host.rows().is_none() {
            return;
        }
        self.model.check_pull(&mut self.host, &mut self.rng);
        self.model.check_contents(&mut self.host, Some(&mut self.rng));
        self.check_all_rows();
        if self.weather.mischief {
            self.check_plaintext_env();
        }
    }

    fn check_all_rows(&mut self) {
        if let Some(rows) = self.host.rows() {
            check_rows(rows);
            if self.tokens_hold {
                self.model.check_tokens(&self.released);
            }
        }
    }

    fn check_plaintext_env(&mut self) {
        let before = self.host.rows().cloned();
        let body = json!({ "device_id": "x", "seq": 0, "state": { "env": "A=1", "n": 1 } });
        let answer = self.host.ask(&Request::Push(body.into()));
        assert_eq!((answer.status, answer.code()), (422, "plaintext_env"));
        assert_eq!(self.host.rows(), before.as_ref(), "a refused push leaves no trace");
        self.model.coverage.hit("push plaintext_env");
    }

    /// Time passes, and the host prunes.
    fn prune(&mut self) {
        let days = *self.rng.pick(&[0, 1, 2, 20, 40]);
        let ms = days * 86_400_000 + self.rng.ms(86_400_000);
        self.host.now += ms;
        let (policy, now) = (self.host.policy.clone(), self.host.now);
        self.host.memory.prune(&policy, now);
        self.say(|_| format!("prune after {days} days"));
        self.model.prune(&self.host);
        if self.host.rows().is_some() {
            self.model.check_contents(&mut self.host, Some(&mut self.rng));
        }
    }

    fn back_up_or_restore(&mut self) {
        match self.backup.take() {
            None => {
                let rows = self.host.rows().cloned();
                self.backup = rows.map(|rows| Backup { rows, model: self.model.clone() });
            }
            Some(Backup { mut rows, mut model }) => {
                let is_announced = self.rng.percent(50);
                model.coverage = std::mem::take(&mut self.model.coverage);
                if is_announced {
                    rows.head.epoch = format!("epoch-{}", self.rng.bits());
                    if rows.head.seq == 0 {
                        rows.head = Head::new(rows.head.epoch); // the tag of 0 is the epoch's
                    }
                    model.epoch = Some(rows.head.epoch.clone());
                    model.tags.remove(&0);
                }
                model.coverage.hit(if is_announced {
                    "restore with a new epoch"
                } else {
                    "restore unannounced"
                });
                self.model = model;
                self.host.restore(rows);
                self.person.forget();
                // Who says a seq of the history that is gone, and no tag, or one of a seq that is pruned by then, cannot be
                // told from others.
                let says_old_seq = |client: &Client| matches!(client, Client::Naive(naive) if naive.seq > 0);
                let is_told = !self.weather.prunes || is_announced;
                self.tokens_hold &= is_told && !self.clients.iter().any(says_old_seq);
                self.say(|run| format!("restore to {}, announced: {is_announced}", run.model.seq));
            }
        }
    }

    /// A device is removed, or copied to another machine with its id.
    fn upheave(&mut self, client: usize) {
        if let Client::Device(device) = &self.clients[client]
            && self.rng.percent(40)
            && self.clients.len() < 6
        {
            let copy = Client::Device(Box::new(device.copy()));
            self.say(|_| format!("client {client} is copied"));
            self.clients.push(copy);
            self.online_at.push(0);
            return;
        }
        let honest = match &self.clients[client] {
            Client::Honest(honest) => honest,
            Client::Device(device) => return self.remove_device(device.replica.device_id().to_owned()),
            Client::Naive(_) => return,
        };
        if self.rng.percent(40) && self.clients.len() < 6 {
            let copy = honest.clone();
            self.say(|_| format!("{} is copied", copy.id));
            self.clients.push(Client::Honest(copy));
            self.online_at.push(0);
            return;
        }
        self.remove_device(honest.id.clone());
    }

    fn remove_device(&mut self, id: String) {
        if self.model.devices.get(&id) == Some(&false) {
            let answer = self.host.ask(&Request::Plain(Call::RemoveDevice(id.clone())));
            assert_eq!(answer.status, 204, "{}", answer.body);
            self.model.remove_device(&id);
            self.say(|_| format!("{id} is removed"));
        }
    }

    /// Resolves, and checks what came of it.
    fn resolve(&mut self, id: &str, body: serde_json::Value) -> u16 {
        let crash = self.crash();
        let before = self.host.rows().cloned();
        let request = Request::Resolve(id.to_owned(), body.clone());
        let (answer, _) = self.host.call(&Auth::Jwt, &request, crash);
        self.note_crash(crash, before.as_ref());
        let Some(answer) = answer else { return 0 };
        self.say(|_| format!("resolve {id} {body}: {} {}", answer.status, answer.body));
        let gone = self.model.resolve(id, &body, &answer, self.host.now);
        self.released.extend(gone);
        if answer.status != 200 {
            assert_eq!(self.host.rows(), before.as_ref(), "a refused resolution leaves no trace");
        }
        let listed = self.host.conflicts();
        self.model.check_conflicts(&listed);
        answer.status
    }

    fn crash(&mut self) -> Crash {
        match self.rng.percent(self.weather.crash_percent) {
            false => Crash::Never,
            true if self.rng.percent(50) => Crash::BeforeApply,
            true => Crash::BeforeReply,
        }
    }

    fn note_crash(&mut self, crash: Crash, before: Option<&Rows>) {
        match crash {
            Crash::Never => {}
            Crash::BeforeApply => {
                assert_eq!(self.host.rows(), before, "a crash before the commit leaves no trace");
                self.model.coverage.hit("crash before apply");
            }
            Crash::BeforeReply => self.model.coverage.hit("crash before reply"),
        }
    }
}
