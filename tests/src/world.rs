//! The world of one contract case: a user that nobody else has, its devices, and what a person would check.

mod device;
pub mod jwt;
mod view;

pub use device::{Device, Reply};
pub use view::{View, apply_patch, leaves, sha256_hex};

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::hosts::{Host, JWT_KEY, Launch, Request, Response};

/// One user on one host. Cloned, it is the same user.
#[derive(Clone)]
pub struct World {
    /// The host under test.
    pub host: Arc<dyn Host>,
    /// Starts further hosts of the same kind.
    pub launch: Arc<dyn Launch>,
    /// The user's id.
    pub user: String,
    /// The account claim of its tokens, where one is given.
    pub account: Option<String>,
}

impl World {
    /// A user that did not exist before.
    pub fn new(host: Arc<dyn Host>, launch: Arc<dyn Launch>) -> Self {
        static USERS: AtomicU64 = AtomicU64::new(0);
        let started = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        let user = format!("user-{started:x}-{}", USERS.fetch_add(1, Ordering::Relaxed));
        Self { host, launch, user, account: None }
    }

    /// Another fresh user of the same host.
    pub fn another_user(&self) -> Self {
        Self::new(Arc::clone(&self.host), Arc::clone(&self.launch))
    }

    /// The same user through another host.
    pub fn on(&self, host: Arc<dyn Host>) -> Self {
        Self { host, ..self.clone() }
    }

    /// A valid token of this user.
    pub fn jwt(&self) -> String {
        jwt::hs256(JWT_KEY, &self.claims())
    }

    /// The claims of [`World::jwt`]: valid for ten years, so that advanced time does not end it.
    pub fn claims(&self) -> Value {
        let mut hasura = json!({
            "x-hasura-user-id": self.user, "x-hasura-default-role": "user", "x-hasura-allowed-roles": ["user"],
        });
        if let Some(account) = &self.account {
            hasura["x-hasura-source-account-id"] = json!(account);
        }
        json!({ "sub": self.user, "exp": now_s() + 315_360_000, "https://hasura.io/jwt/claims": hasura })
    }

    /// A device of this user, not registered yet.
    pub fn device(&self, device_id: &str) -> Device {
        Device::new(self.clone(), device_id)
    }

    /// Devices `desktop-a` and `mobile-b`, registered, both having seen `state`, which the first pushed.
    pub fn two_devices(&self, state: Value) -> (Device, Device) {
        let (mut a, mut b) = (self.device("desktop-a"), self.device("mobile-b"));
        a.push(state);
        b.push(json!({}));
        b.pull();
        a.pull();
        (a, b)
    }

    /// A request as it is.
    pub fn send(&self, request: Request) -> Response {
        self.host.call(request)
    }

    /// GET with the user's token.
    pub fn get(&self, path: &str) -> Response {
        self.send(Request::new("GET", path).bearer(&self.jwt()))
    }

    /// GET with the user's token, of which 200 is expected.
    pub fn get_json(&self, path: &str) -> Value {
        let response = self.get(path);
        assert_eq!(response.status, 200, "GET {path}: {}", response.show());
        response.json()
    }

    /// POST of JSON with the user's token.
    pub fn post(&self, path: &str, body: &Value) -> Response {
        self.send(Request::new("POST", path).bearer(&self.jwt()).json(body))
    }

    /// DELETE with the user's token.
    pub fn delete(&self, path: &str) -> Response {
        self.send(Request::new("DELETE", path).bearer(&self.jwt()))
    }

    /// A push body sent as it is, with the user's token.
    pub fn push_raw(&self, body: &Value) -> Response {
        self.post("/sync/push", body)
    }

    /// The whole state as a fresh client gets it.
    pub fn snapshot(&self) -> Value {
        let reply = self.get_json("/sync/pull");
        assert_eq!(reply["kind"], "snapshot", "a pull without since_seq is a snapshot: {reply}");
        reply
    }

    /// The state of [`World::snapshot`] in comparable form.
    pub fn view(&self) -> View {
        View::of_snapshot(&self.snapshot()["state"])
    }

    /// The newest seq.
    pub fn head(&self) -> u64 {
        self.snapshot()["seq"].as_u64().expect("seq is a number")
    }

    /// The text of a file at head; `None` where the file is not there.
    pub fn file(&self, path: &str) -> Option<String> {
        self.view().files.get(path).map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    }

    /// A scalar at head, null where there is none.
    pub fn scalar(&self, key: &str) -> Value {
        self.snapshot()["state"][key].clone()
    }

    /// The open conflicts.
    pub fn conflicts(&self) -> Vec<Value> {
        let reply = self.get_json("/sync/conflicts");
        reply["conflicts"].as_array().unwrap_or_else(|| panic!("no list of conflicts: {reply}")).clone()
    }

    /// The only open conflict.
    pub fn only_conflict(&self) -> Value {
        let conflicts = self.conflicts();
        assert_eq!(conflicts.len(), 1, "exactly one open conflict: {conflicts:?}");
        conflicts[0].clone()
    }

    /// Resolves with the user's token.
    pub fn resolve(&self, conflict: &Value, body: Value) -> Response {
        self.post(&format!("/sync/conflicts/{}/resolve", encode(id_of(conflict))), &body)
    }

    /// Resolves, expecting 200.
    pub fn resolved(&self, conflict: &Value, body: Value) -> Value {
        let response = self.resolve(conflict, body.clone());
        assert_eq!(response.status, 200, "resolve {body}: {}", response.show());
        response.json()
    }

    /// The registered devices.
    pub fn devices(&self) -> Vec<Value> {
        let reply = self.get_json("/sync/devices");
        reply["devices"].as_array().unwrap_or_else(|| panic!("no list of devices: {reply}")).clone()
    }

    /// One registered device.
    pub fn listed(&self, device_id: &str) -> Option<Value> {
        self.devices().into_iter().find(|device| device["device_id"] == device_id)
    }

    /// All versions of a key, newest first, over all pages.
    pub fn history(&self, key: &str) -> Vec<Value> {
        let mut versions = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = self.get_json(&format!("/sync/history?key={}{cursor}", encode(key)));
            versions
                .extend(page["versions"].as_array().unwrap_or_else(|| panic!("no versions: {page}")).clone());
            match &page["next"] {
                Value::Null => return versions,
                Value::String(next) => cursor = format!("&cursor={}", encode(next)),
                next => cursor = format!("&cursor={next}"),
            }
            assert!(versions.len() < 100_000, "the pages of {key} do not end");
        }
    }

    /// Whether these bytes can still be had by their hash.
    pub fn reachable(&self, content: &[u8]) -> bool {
        let response = self.get(&format!("/sync/files/{}", sha256_hex(content)));
        match response.status {
            200 => {
                assert_eq!(response.body, content, "GET /sync/files/<hash> gives other bytes");
                true
            }
            404 => false,
            _ => panic!("GET /sync/files/<hash>: {}", response.show()),
        }
    }

    /// All devices pull, and hold the same as a fresh client gets.
    pub fn assert_converged(&self, devices: &mut [&mut Device]) {
        for device in devices.iter_mut() {
            device.pull();
        }
        let view = self.view();
        for device in devices {
            assert_eq!(device.view, view, "{} does not hold what a fresh client gets", device.id);
        }
    }
}

/// The id of a conflict.
pub fn id_of(conflict: &Value) -> &str {
    conflict["id"].as_str().unwrap_or_else(|| panic!("a conflict's id is a string: {conflict}"))
}

/// Seconds since 1970.
pub fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Percent-encodes all but unreserved characters.
pub fn encode(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// Asserts an error's status and code, and that it is a whole problem document.
pub fn assert_problem(response: &Response, status: u16, code: &str) {
    assert_eq!(response.status, status, "expected {status} {code}: {}", response.show());
    assert_eq!(response.code(), code, "expected {status} {code}: {}", response.show());
    assert_problem_shape(response);
}

/// Asserts the shape of PROTOCOL section 9 that every error has.
pub fn assert_problem_shape(response: &Response) {
    let body = response.json();
    assert_eq!(body["status"], response.status, "the body's status is the response's: {body}");
    for name in ["type", "title", "detail", "code", "request_id"] {
        assert!(body[name].is_string(), "a problem has {name}: {body}");
    }
    assert!(body["retryable"].is_boolean(), "a problem says whether it is retryable: {body}");
}
