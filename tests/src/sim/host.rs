//! The system under test: the memory store behind the wire's functions, its clock and its random bytes the simulation's.

use std::sync::Arc;

use nself_sync_engine::call::{Body, Call, Caller, Reply};
use nself_sync_engine::error::Reject;
use nself_sync_engine::exchange::Halt;
use nself_sync_engine::ids::{Fresh, Hash, Millis, User};
use nself_sync_engine::policy::Policy;
use nself_sync_engine::{token, wire};
use serde_json::{Value, json};

use crate::memory::{Crash, Failure, Memory, Rows};

/// Whose token a request carries.
#[derive(Debug, Clone, PartialEq)]
pub enum Auth {
    /// The user's own.
    Jwt,
    /// A device's.
    Token(String),
}

/// A request.
#[derive(Debug, Clone)]
pub enum Request {
    /// `POST /sync/push` with this body.
    Push(Arc<Value>),
    /// `GET /sync/pull` with this query.
    Pull(String),
    /// `POST /sync/conflicts/:id/resolve`
    Resolve(String, Value),
    /// Anything that has no body.
    Plain(Call),
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The JSON body; of bytes null.
    pub body: Value,
    /// The bytes of a document.
    pub bytes: Vec<u8>,
    /// Whether it is marked as a replay.
    pub replayed: bool,
}

impl Answer {
    /// The code of a problem.
    pub fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }
}

/// One user's host.
pub struct SimHost {
    /// The store.
    pub memory: Memory,
    /// The limits.
    pub policy: Arc<Policy>,
    /// The host's clock.
    pub now: Millis,
    user: User,
    seed: u64,
    calls: u64,
}

impl SimHost {
    /// An empty host.
    pub fn new(seed: u64, policy: Policy) -> SimHost {
        let user = User { account: "primary".to_owned(), id: "u1".to_owned() };
        let (memory, policy) = (Memory::default(), Arc::new(policy));
        SimHost { memory, policy, now: 1_700_000_000_000, user, seed, calls: 0 }
    }

    /// The user's rows, once there are any.
    pub fn rows(&self) -> Option<&Rows> {
        self.memory.rows(&self.user)
    }

    /// Puts older rows in place of the present ones.
    pub fn restore(&mut self, rows: Rows) {
        *self.memory.rows_mut(&self.user).expect("there are rows to replace") = rows;
    }

    /// A request to its answer. The second is `None` where nobody was told: the first then is what happened, if
    /// anything did.
    pub fn call(&mut self, auth: &Auth, request: &Request, crash: Crash) -> (Option<Answer>, bool) {
        self.calls += 1;
        let fresh = Fresh(Hash::of(format!("{} {}", self.seed, self.calls).as_bytes()).0);
        let answered = self.caller(auth).and_then(|caller| Ok((caller, self.read(request)?)));
        let answered =
            answered.map_err(|reject| Failure::Halt(Halt::Reject(reject))).and_then(|(caller, call)| {
                self.memory.call(caller, call, (Arc::clone(&self.policy), self.now, fresh), crash)
            });
        match answered {
            Ok(reply) => (Some(answer(reply)), true),
            Err(Failure::Crashed(reply)) => (reply.map(|reply| answer(*reply)), false),
            Err(Failure::Halt(Halt::Reject(reject))) => {
                let problem = wire::problem(&reject, "sim");
                let (status, body) = (problem.status, problem.body);
                (Some(Answer { status, body, bytes: Vec::new(), replayed: false }), true)
            }
            Err(Failure::Halt(Halt::Corrupt(corrupt))) => {
                panic!("the engine cannot read what it stored: {}", corrupt.0)
            }
        }
    }

    /// A call by the user that does not crash.
    pub fn ask(&mut self, request: &Request) -> Answer {
        self.call(&Auth::Jwt, request, Crash::Never).0.expect("a host that does not crash answers")
    }

    /// The bytes with this hash, if they can be had.
    pub fn file(&mut self, hash: &str) -> Option<Vec<u8>> {
        let call = wire::file(hash, None).expect("a hash is 64 hex digits");
        let answer = self.ask(&Request::Plain(call));
        match answer.status {
            200 => Some(answer.bytes),
            404 => None,
            status => panic!("GET /sync/files/{hash}: {status} {}", answer.body),
        }
    }

    /// A pull by the user.
    pub fn pull(&mut self, query: &str) -> Value {
        let answer = self.ask(&Request::Pull(query.to_owned()));
        assert_eq!(answer.status, 200, "GET /sync/pull?{query}: {}", answer.body);
        answer.body
    }

    /// The open conflicts, as listed.
    pub fn conflicts(&mut self) -> Vec<Value> {
        let answer = self.ask(&Request::Plain(Call::Conflicts));
        answer.body["conflicts"].as_array().expect("a list of conflicts").clone()
    }

    /// All versions of a key, newest first.
    pub fn history(&mut self, key: &str) -> Vec<Value> {
        let (mut versions, mut cursor) = (Vec::new(), String::new());
        loop {
            let key = crate::world::encode(key);
            let call = wire::history(&format!("key={key}&limit=7{cursor}")).expect("a good query");
            let page = self.ask(&Request::Plain(call)).body;
            versions.extend(page["versions"].as_array().expect("a page has versions").iter().cloned());
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return versions,
            }
            assert!(versions.len() < 10_000, "the pages of {key} do not end");
        }
    }

    fn caller(&self, auth: &Auth) -> Result<Caller, Reject> {
        match auth {
            Auth::Jwt => Ok(Caller::User(self.user.clone())),
            Auth::Token(text) => token::parse(text).ok_or(Reject::Unauthorized("malformed")),
        }
    }

    fn read(&self, request: &Request) -> Result<Call, Reject> {
        match request {
            Request::Push(body) => wire::push(body.to_string().as_bytes(), &self.policy),
            Request::Pull(query) => wire::pull(query, None),
            Request::Resolve(id, body) => wire::resolve(id, body.to_string().as_bytes(), &self.policy),
            Request::Plain(call) => Ok(call.clone()),
        }
    }
}

fn answer(reply: Reply) -> Answer {
    let replayed = reply.headers.iter().any(|(name, _)| *name == "idempotency-replayed");
    let (body, bytes) = match reply.body {
        Body::Empty => (json!(null), Vec::new()),
        Body::Json(body) => (body, Vec::new()),
        Body::Bytes(bytes) => (json!(null), bytes),
    };
    Answer { status: reply.status, body, bytes, replayed }
}
