//! One device, as the simplest client that obeys PROTOCOL would be.

use serde_json::{Map, Value, json};

use super::view::{View, leaves};
use super::{World, encode};
use crate::hosts::{Request, Response};

/// A device of the world's user.
#[derive(Clone)]
pub struct Device {
    /// Whose it is.
    pub world: World,
    /// Its device_id.
    pub id: String,
    /// Its sync token, once registered; before, and where emptied by a case, it uses the user's token.
    pub token: Option<String>,
    /// The seq of the last reply that it applied.
    pub seq: u64,
    /// As last received.
    pub epoch: Option<String>,
    /// As last received.
    pub tag: Option<String>,
    /// Its counter of pushes.
    pub push_no: u64,
    /// It sends only what the plugin page shows (device_id, seq, state) and ignores what comes back.
    pub naive: bool,
    /// What it holds.
    pub view: View,
}

impl Device {
    pub(super) fn new(world: World, device_id: &str) -> Self {
        Self {
            world,
            id: device_id.to_owned(),
            token: None,
            seq: 0,
            epoch: None,
            tag: None,
            push_no: 0,
            naive: false,
            view: View::default(),
        }
    }

    /// The same as a client that ignores replies and always pushes from the seq it has.
    pub fn naive(mut self) -> Self {
        self.naive = true;
        self
    }

    /// The token it uses now.
    pub fn auth(&self) -> String {
        self.token.clone().unwrap_or_else(|| self.world.jwt())
    }

    /// The body of its next push; counts `push_no` up.
    pub fn body(&mut self, state: Value) -> Value {
        if self.naive {
            return json!({"device_id": self.id, "seq": self.seq, "state": state});
        }
        self.push_no += 1;
        let mut body =
            json!({"device_id": self.id, "seq": self.seq, "state": state, "push_no": self.push_no});
        if let (Some(epoch), Some(tag)) = (&self.epoch, &self.tag) {
            body["epoch"] = json!(epoch);
            body["tag"] = json!(tag);
        }
        body
    }

    /// Sends a push body as it is; nothing is taken from the answer.
    pub fn send(&self, body: &Value) -> Response {
        self.world.send(Request::new("POST", "/sync/push").bearer(&self.auth()).json(body))
    }

    /// Sends a push body, and takes in a 200.
    pub fn send_and_take(&mut self, body: &Value) -> Response {
        let response = self.send(body);
        if response.status == 200 {
            self.take_in(body, &response);
        }
        response
    }

    /// Takes in the 200 to a push of this body.
    pub fn take_in(&mut self, body: &Value, response: &Response) {
        self.take(body, &Reply::of(response));
    }

    /// Pushes, expecting 200.
    pub fn push(&mut self, state: Value) -> Reply {
        let body = self.body(state);
        self.push_body(&body)
    }

    /// Pushes with the client's clock for some of the changed keys, expecting 200.
    pub fn push_at(&mut self, state: Value, changed_at: Value) -> Reply {
        let mut body = self.body(state);
        body["changed_at"] = changed_at;
        self.push_body(&body)
    }

    /// Pushes this body, expecting 200.
    pub fn push_body(&mut self, body: &Value) -> Reply {
        let response = self.send_and_take(body);
        assert_eq!(response.status, 200, "{} pushes {}: {}", self.id, cut(body), response.show());
        Reply::of(&response)
    }

    /// Pushes, whatever the answer is; a 200 is taken in.
    pub fn try_push(&mut self, state: Value) -> Response {
        let body = self.body(state);
        self.send_and_take(&body)
    }

    fn take(&mut self, body: &Value, reply: &Reply) {
        if let Some(token) = reply.value["sync_token"].as_str() {
            self.token = Some(token.to_owned());
        }
        if self.naive {
            return;
        }
        for (key, state) in leaves(&body["state"]) {
            if matches!(reply.status(&key), "applied" | "unchanged" | "merged") {
                self.view.apply(&state);
            }
        }
        let changes = &reply.value["changes"];
        if changes["kind"] != "behind" {
            self.view.apply_reply(&changes["state"]);
            self.stand_at(changes);
        }
    }

    fn stand_at(&mut self, reply: &Value) {
        self.seq = reply["seq"].as_u64().unwrap_or_else(|| panic!("a reply has its seq: {reply}"));
        self.epoch = Some(reply["epoch"].as_str().expect("a reply has its epoch").to_owned());
        self.tag = Some(reply["tag"].as_str().expect("a reply has its tag").to_owned());
    }

    /// The query of its next pull.
    pub fn pull_path(&self) -> String {
        let device_id = encode(&self.id);
        match (&self.epoch, &self.tag) {
            (Some(epoch), Some(tag)) => format!(
                "/sync/pull?since_seq={}&epoch={}&tag={}&device_id={device_id}",
                self.seq,
                encode(epoch),
                encode(tag)
            ),
            _ => format!("/sync/pull?device_id={device_id}"),
        }
    }

    /// Pulls and takes in what came; gives the reply.
    pub fn pull(&mut self) -> Value {
        self.pull_with("")
    }

    /// Pulls with more in the query (`&patches=1`).
    pub fn pull_with(&mut self, more: &str) -> Value {
        let path = self.pull_path() + more;
        let response = self.get(&path);
        assert_eq!(response.status, 200, "{} pulls {path}: {}", self.id, response.show());
        let reply = response.json();
        match reply["kind"].as_str() {
            Some("delta") => self.view.apply_reply(&reply["state"]),
            Some("snapshot") if more.contains("patches") => {
                // Unchanged documents come as their hash only: they are taken from what is there.
                let mut view = View {
                    files: self.view.files.clone(),
                    pages: self.view.pages.clone(),
                    ..View::default()
                };
                view.apply_reply(&reply["state"]);
                let named = |collection: &str, id: &String| reply["state"][collection].get(id).is_some();
                view.files.retain(|path, _| named("files", path));
                view.pages.retain(|id, _| named("context_pages", id));
                self.view = view;
            }
            Some("snapshot") => self.view = View::of_snapshot(&reply["state"]),
            _ => panic!("a pull is a delta or a snapshot: {reply}"),
        }
        self.stand_at(&reply);
        reply
    }

    /// GET with its token.
    pub fn get(&self, path: &str) -> Response {
        self.world.send(Request::new("GET", path).bearer(&self.auth()))
    }
}

/// A push's 200.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The body.
    pub value: Value,
    /// Whether the host said that this is a replay.
    pub replayed: bool,
}

impl Reply {
    /// Takes a response that is a 200.
    pub fn of(response: &Response) -> Self {
        let replayed = response.header("Idempotency-Replayed").is_some_and(|value| value == "true");
        Self { value: response.json(), replayed }
    }

    /// The seq of the push.
    pub fn seq(&self) -> u64 {
        self.value["seq"].as_u64().unwrap_or_else(|| panic!("a push's reply has its seq: {}", self.value))
    }

    /// What became of a key; a key that is not in the results was plainly applied.
    pub fn status(&self, key: &str) -> &str {
        match self.value["results"].get(key) {
            None => "applied",
            Some(result) => {
                result["status"].as_str().unwrap_or_else(|| panic!("a result has its status: {result}"))
            }
        }
    }

    /// The code of a rejected key.
    pub fn rejected(&self, key: &str) -> &str {
        assert_eq!(self.status(key), "rejected", "{key}: {}", self.value["results"]);
        let result = &self.value["results"][key];
        assert!(result["detail"].is_string(), "a rejected key says why: {result}");
        result["code"].as_str().unwrap_or_else(|| panic!("a rejected key has its code: {result}"))
    }

    /// The state of `changes`, which is not "behind".
    pub fn changes(&self) -> &Map<String, Value> {
        self.value["changes"]["state"]
            .as_object()
            .unwrap_or_else(|| panic!("a push's reply has changes: {}", self.value))
    }

    /// A scalar in `changes`; `None` where it is not there.
    pub fn change(&self, key: &str) -> Option<&Value> {
        self.changes().get(key)
    }

    /// The entry of a document or session in `changes`; `None` where it is not there.
    pub fn entry(&self, collection: &str, id: &str) -> Option<&Value> {
        self.changes().get(collection).and_then(|entries| entries.get(id))
    }

    /// The conflicts of this push that are open.
    pub fn conflicts(&self) -> &[Value] {
        self.value["conflicts"].as_array().unwrap_or_else(|| panic!("no list of conflicts: {}", self.value))
    }
}

fn cut(body: &Value) -> String {
    body.to_string().chars().take(300).collect()
}
