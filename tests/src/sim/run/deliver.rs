//! Messages arrive.

use std::sync::Arc;

use nself_sync_engine::call::Call;
use serde_json::Value;

use super::Run;
use crate::sim::assertions::Expected;
use crate::sim::honest::Need;
use crate::sim::host::{Answer, Auth, Request};
use crate::sim::net::Message;
use crate::sim::plan::Client;

impl Run {
    /// Delivers what is due.
    pub(super) fn deliver_all(&mut self) {
        while let Some(message) = self.net.arrive(self.host.now) {
            match message {
                Message::Push { client, auth, body, number } => {
                    self.deliver_push(client, &auth, body, number)
                }
                Message::Pull { client, auth, query, number } => {
                    let request = Request::Pull(query.clone());
                    let answer = self.host.call(&auth, &request, crate::memory::Crash::Never).0;
                    let answer = answer.expect("a host that does not crash answers");
                    self.say(|_| format!("pull {query}: {} {}", answer.status, short(&answer.body)));
                    if let Some(reason) = answer.body["reason"].as_str() {
                        self.model.coverage.hit(&format!("pull snapshot {reason}"));
                    }
                    let message = Message::Pulled { client, answer, number };
                    self.net.send(&mut self.rng, self.host.now, message);
                }
                Message::Pushed { client, body, answer, number } => match &mut self.clients[client] {
                    Client::Device(_) => self.answer_device(client, number, &answer),
                    Client::Honest(honest) => {
                        let need = honest.take_push(&mut self.host, &body, &answer);
                        self.serve(client, need);
                    }
                    Client::Naive(_) => {}
                },
                Message::Pulled { client, answer, number } => match &mut self.clients[client] {
                    Client::Device(_) => self.answer_device(client, number, &answer),
                    Client::Honest(honest) => {
                        let need = honest.take_pull(&mut self.host, number, &answer);
                        self.serve(client, need);
                    }
                    Client::Naive(_) => {}
                },
            }
        }
    }

    fn deliver_push(&mut self, client: usize, auth: &Auth, body: Arc<Value>, number: u64) {
        let expected = self.model.expected(&self.host, auth, &body);
        let before = self.host.rows().cloned();
        let crash = self.crash();
        let (answer, is_told) = self.host.call(auth, &Request::Push(Arc::clone(&body)), crash);
        let Some(answer) = answer else {
            self.say(|_| format!("push {body}: crash"));
            return self.note_crash(crash, before.as_ref());
        };
        self.say(|_| format!("push {body}: {} {}", answer.status, short(&answer.body)));
        if crash == crate::memory::Crash::BeforeReply && answer.status == 200 {
            self.model.coverage.hit("crash before reply");
        }
        self.check_answer(auth, &body, &answer, &expected);
        match answer.status {
            200 if answer.replayed => {
                let (now, mut was) = (self.host.rows().cloned(), before);
                for rows in [now.as_ref(), was.as_ref()] {
                    assert!(rows.is_some(), "a replay has something to replay");
                }
                let device = body["device_id"].as_str().unwrap_or_default();
                let (now, was) = (now.expect("checked"), was.as_mut().expect("checked"));
                if let (Some(is), Some(was)) = (now.devices.get(device), was.devices.get_mut(device)) {
                    // A new token, and that it was seen.
                    was.sync_token = is.sync_token;
                    was.last_seen = is.last_seen;
                }
                assert!(now == *was, "a replay does nothing again");
            }
            200 => {}
            _ => assert_eq!(self.host.rows(), before.as_ref(), "a refused push leaves no trace"),
        }
        if is_told {
            self.net.send(&mut self.rng, self.host.now, Message::Pushed { client, body, answer, number });
        }
    }

    fn check_answer(&mut self, auth: &Auth, body: &Arc<Value>, answer: &Answer, expected: &Expected) {
        let is = (answer.status, answer.code());
        match (expected, is) {
            (Expected::Replayed, (200, _)) => {
                self.model.replay(body, answer, *auth == Auth::Jwt);
                self.model.check_changes(&mut self.host, body, &answer.body);
            }
            (Expected::Accepted | Expected::AcceptedOrEpochChanged, (200, _)) => {
                assert!(!answer.replayed, "nothing to replay: {body}");
                let gone = self.model.own_tokens_gone(body);
                self.released.extend(gone);
                let rows = self.host.rows().expect("a push is stored");
                self.model.push(body, answer, rows, self.host.now);
                self.model.check_changes(&mut self.host, body, &answer.body);
            }
            (Expected::Refused(status, code), is) => {
                assert_eq!(is, (*status, *code), "{body}: {}", answer.body);
                self.model.coverage.hit(&match *code {
                    "conflicts_unresolved" => "blocked device".to_owned(),
                    code => format!("push {code}"),
                });
            }
            (Expected::AcceptedOrEpochChanged, (409, "epoch_changed" | "conflicts_unresolved")) => {}
            (expected, is) => panic!("{body}: {expected:?} expected, got {is:?} {}", answer.body),
        }
    }

    fn answer_device(&mut self, client: usize, number: u64, answer: &Answer) {
        let now = self.host.now;
        let Client::Device(device) = &mut self.clients[client] else { return };
        device.take(&mut self.rng, number, answer, now);
        self.serve_device(client);
        self.poll(client);
    }

    /// A device that needs another id gets one.
    pub(super) fn serve_device(&mut self, client: usize) {
        let now = self.host.now;
        let Client::Device(device) = &mut self.clients[client] else { return };
        self.model.tokens.extend(device.new_token.take());
        if device.needs_identity() {
            self.devices_made += 1;
            let id = format!("mobile-new-{}", self.devices_made);
            device.replica.renew(&id, now);
            self.say(|_| format!("client {client} becomes {id}"));
        }
    }

    /// Does for a client what only its user can.
    fn serve(&mut self, client: usize, need: Need) {
        match need {
            Need::Nothing => {}
            Need::SignIn => self.sign_in(client),
            Need::NewId => {
                self.devices_made += 1;
                let id = format!("desktop-new-{}", self.devices_made);
                self.say(|_| format!("client {client} becomes {id}"));
                if let Client::Honest(honest) = &mut self.clients[client] {
                    honest.become_another(id);
                }
            }
        }
    }

    /// A new token for the device, or, where the host does not know it (any more), the user's own.
    fn sign_in(&mut self, client: usize) {
        let Client::Honest(honest) = &mut self.clients[client] else { return };
        let id = honest.id.clone();
        let answer = self.host.ask(&Request::Plain(Call::NewToken(id.clone())));
        match answer.body["sync_token"].as_str() {
            Some(token) => {
                honest.auth = Auth::Token(token.to_owned());
                self.model.tokens.insert(id, token.to_owned());
            }
            None => {
                assert_eq!(answer.status, 404, "{}", answer.body);
                honest.auth = Auth::Jwt;
            }
        }
        if let Some(body) = honest.push_again(self.host.now) {
            // At once: of two machines with one id each ends the other's token.
            let message = Message::Push { client, auth: honest.auth.clone(), body, number: 0 };
            self.net.send(&mut self.rng, self.host.now, message);
        } else {
            self.pull(client);
        }
    }
}

/// A reply without its policy.
fn short(body: &Value) -> String {
    let mut body = body.clone();
    if let Some(body) = body.as_object_mut() {
        body.remove("policy");
    }
    body.to_string()
}
