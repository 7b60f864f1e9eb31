//! What it makes of answers.

use serde_json::{Value, json};

use super::Honest;
use crate::sim::fill::fill;
use crate::sim::host::{Answer, Auth, SimHost};
use crate::sim::keys;
use crate::sim::model::Status;
use crate::world::{View, leaves};

/// What the client needs of who plays its user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    Nothing,
    /// A new token, under the user's.
    SignIn,
    /// A new device id.
    NewId,
}

impl Honest {
    /// Takes in the answer to a push. An answer to another push than the one in flight is ignored.
    pub fn take_push(&mut self, host: &mut SimHost, body: &Value, answer: &Answer) -> Need {
        if self.flight.as_ref().is_none_or(|flight| *flight.body != *body) {
            return Need::Nothing;
        }
        match (answer.status, answer.code()) {
            (200, _) => self.take_200(host, &answer.body),
            (401, _) => return Need::SignIn,
            (403, "device_revoked") | (409, "stale_push" | "device_forked") => return Need::NewId,
            (409, "seq_ahead" | "epoch_changed") => {
                self.flight = None;
                self.must_pull = true;
            }
            (409, "conflicts_unresolved") => {
                if !self.traits.keeps_refused {
                    self.flight = None;
                }
            }
            (status, code) => panic!("{} pushes {body}: {status} {code} {}", self.id, answer.body),
        }
        Need::Nothing
    }

    fn take_200(&mut self, host: &mut SimHost, reply: &Value) {
        let flight = self.flight.take().expect("a push is in flight");
        if let Some(token) = reply["sync_token"].as_str().filter(|_| !self.traits.keeps_jwt) {
            self.auth = Auth::Token(token.to_owned());
        }
        let before = self.server.clone();
        for (key, state) in leaves(&flight.body["state"]) {
            let status = Status::of(&reply["results"], &key);
            let sent = flight.documents.get(&key);
            if matches!(status, Status::Applied | Status::Unchanged | Status::Merged) {
                match sent {
                    Some(content) => keys::set_document(&mut self.server, &key, content.clone()),
                    None => self.server.apply(&state),
                }
            }
            match sent {
                Some(content) => {
                    self.settle_document(&key, status, &reply["results"][&key], content.as_ref())
                }
                None => self.settle_scalar(&key, status, &state),
            }
        }
        let changes = &reply["changes"];
        let sent: Vec<&Vec<u8>> = flight.documents.values().flatten().collect();
        let views = [&before, &self.server];
        let state =
            (changes["kind"] == "delta").then(|| fill(host, &changes["state"], &views, &sent)).flatten();
        match state {
            Some(state) => {
                self.server.apply_reply(&state);
                self.stand_at(changes, host.now);
            }
            None => {
                // Too far behind, or a content is gone since: it stays where it was, and pulls.
                self.server = before;
                self.must_pull = true;
            }
        }
        self.reconcile();
    }

    fn settle_document(&mut self, key: &str, status: Status, result: &Value, sent: Option<&Vec<u8>>) {
        let local = keys::document(&self.local, key).cloned();
        let code = result["code"].as_str();
        match status {
            Status::Blocked => {}
            Status::Rejected if code == Some("base_unknown") => drop(self.in_full.insert(key.to_owned())),
            // Edited further: what was sent is what that was made from.
            _ if local.as_ref() != sent && status != Status::Rejected => {
                self.bases.insert(key.to_owned(), sent.cloned());
                self.offered.remove(key);
            }
            _ => {
                self.bases.remove(key);
                self.offered.remove(key);
                self.in_full.remove(key);
            }
        }
    }

    fn settle_scalar(&mut self, key: &str, status: Status, state: &Value) {
        if status == Status::Blocked {
            return;
        }
        if self.removed.remove(key).is_none() && self.dirty.contains_key(key) {
            if status == Status::Rejected {
                self.dirty.remove(key);
                return;
            }
            let mut sent = View::default();
            sent.apply(state);
            if keys::scalar(&sent, key) == keys::scalar(&self.local, key) {
                self.dirty.remove(key);
            }
        }
    }

    /// Takes in the answer to its pull of that number.
    pub fn take_pull(&mut self, host: &mut SimHost, number: u64, answer: &Answer) -> Need {
        if self.pulling != Some(number) {
            return Need::Nothing;
        }
        self.pulling = None;
        if answer.status == 401 {
            return Need::SignIn;
        }
        assert_eq!(answer.status, 200, "{} pulls: {}", self.id, answer.body);
        let reply = &answer.body;
        let is_delta = reply["kind"] == "delta";
        if self.flight.is_some() || (is_delta && reply["since_seq"] != json!(self.seq)) {
            return Need::Nothing;
        }
        let Some(state) = fill(host, &reply["state"], &[&self.server, &self.local], &[]) else {
            return Need::Nothing; // the host has moved on since
        };
        let is_other = self.epoch.as_ref().is_some_and(|epoch| reply["epoch"] != json!(epoch))
            || matches!(reply["reason"].as_str(), Some("seq_ahead" | "epoch_changed"));
        if is_delta {
            self.server.apply_reply(&state);
        } else {
            self.server = View::of_snapshot(&state);
        }
        self.stand_at(reply, host.now);
        self.must_pull = false;
        if is_other {
            self.offer_all();
        }
        self.reconcile();
        Need::Nothing
    }

    fn stand_at(&mut self, reply: &Value, now: u64) {
        self.seq = reply["seq"].as_u64().expect("a reply has its seq");
        self.epoch = reply["epoch"].as_str().map(str::to_owned);
        self.tag = reply["tag"].as_str().map(str::to_owned);
        self.learned_at = self.clock(now);
    }

    /// After a restore the devices hold the only copies: every value of its own that differs is offered again.
    fn offer_all(&mut self) {
        for (key, _) in leaves(&keys::full_state(&self.local)) {
            if let Some(mine) = keys::document(&self.local, &key) {
                if keys::document(&self.server, &key) != Some(mine) {
                    self.bases.insert(key.clone(), None);
                    self.offered.insert(key);
                }
            } else if keys::scalar(&self.local, &key) != keys::scalar(&self.server, &key) {
                self.dirty.entry(key).or_insert(self.learned_at);
            }
        }
    }

    /// What its user sees is what the host has, but for what its user changed.
    fn reconcile(&mut self) {
        let local = std::mem::replace(&mut self.local, self.server.clone());
        if !self.traits.says_base {
            let (server, offered) = (&self.server, &self.offered);
            let moved = |key: &str, base: &Option<Vec<u8>>| keys::document(server, key) != base.as_ref();
            self.bases.retain(|key, base| offered.contains(key) || !moved(key, base));
        }
        for key in self.dirty.keys() {
            keys::set_scalar(&mut self.local, key, keys::scalar(&local, key).cloned());
        }
        // What its user removed was the page as it was then, not what others have made of it.
        let server = &self.server;
        self.removed.retain(|entry, (_, seen)| {
            keys::has_entry(server, entry) && keys::document(server, entry) == seen.as_ref()
        });
        for entry in self.removed.keys() {
            keys::remove_entry(&mut self.local, entry);
        }
        for key in self.bases.keys() {
            keys::set_document(&mut self.local, key, keys::document(&local, key).cloned());
        }
    }
}
