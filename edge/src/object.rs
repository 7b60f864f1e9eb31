//! A user's Durable Object: the state in its SQLite, the calls one after the other.

use crate::caller::{self, Proof};
use crate::config::Config;
use crate::live::{Connections, MESSAGE_BYTES_MAX, POLICY};
use crate::reply::{self, Refusal};
use crate::sql::Storage;
use nself_sync_engine::call::{Call, Caller, Reply};
use nself_sync_engine::exchange::Exchange;
use nself_sync_engine::ids::{Fresh, Millis};
use nself_sync_engine::wire::{self, Route};
use nself_sync_sqlite::{self as store, MIGRATIONS};
use serde_json::json;
use std::rc::Rc;
use worker::{
    Date, DurableObject, Env, Request, Response, Result, ScheduledTime, State, WebSocket,
    WebSocketIncomingMessage, durable_object,
};

/// How long after a write its user's history is looked through for what is older than the retention.
const PRUNE_AFTER_MS: Millis = 24 * 60 * 60 * 1000;

/// One user's state.
#[durable_object]
pub struct UserObject {
    state: State,
    env: Env,
}

impl DurableObject for UserObject {
    fn new(state: State, env: Env) -> Self {
        UserObject { state, env }
    }

    async fn fetch(&self, mut request: Request) -> Result<Response> {
        let request_id = reply::request_id(request.headers());
        match self.answer(&mut request).await {
            Ok(response) => Ok(response),
            Err(refusal) => refusal.render(&request_id),
        }
    }

    async fn alarm(&self) -> Result<Response> {
        match self.wake().await {
            Ok(()) => Response::empty(),
            // The runtime tries again, later and later.
            Err(refusal) => Err(format!("the alarm failed: {refusal:?}").into()),
        }
    }

    async fn websocket_message(&self, socket: WebSocket, message: WebSocketIncomingMessage) -> Result<()> {
        let length = match &message {
            WebSocketIncomingMessage::String(text) => text.len(),
            WebSocketIncomingMessage::Binary(bytes) => bytes.len(),
        };
        match length > MESSAGE_BYTES_MAX {
            true => socket.close(Some(POLICY), Some("too large, or no frame")),
            false => Ok(()),
        }
    }

    async fn websocket_close(&self, socket: WebSocket, code: usize, _: String, _: bool) -> Result<()> {
        // 1005 and 1006 say that there was no code, and cannot be sent.
        let code = u16::try_from(code).ok().filter(|code| !matches!(code, 1005 | 1006 | 1015));
        let _ = socket.close(code.or(Some(1000)), Some(""));
        Ok(())
    }

    async fn websocket_error(&self, _: WebSocket, _: worker::Error) -> Result<()> {
        Ok(())
    }
}

/// Why a transaction did not come to its end.
enum Failed {
    Reject(nself_sync_engine::error::Reject),
    Corrupt(String),
    Storage(worker::Error),
    /// The data base is of a newer version of this program.
    Newer,
}

impl From<worker::Error> for Failed {
    fn from(error: worker::Error) -> Failed {
        Failed::Storage(error)
    }
}

impl From<store::Error<worker::Error>> for Failed {
    fn from(error: store::Error<worker::Error>) -> Failed {
        match error {
            store::Error::Reject(reject) => Failed::Reject(reject),
            store::Error::Corrupt(corrupt) => Failed::Corrupt(corrupt.0),
            store::Error::Sql(error) => Failed::Storage(error),
        }
    }
}

impl From<Failed> for Refusal {
    fn from(failed: Failed) -> Refusal {
        match failed {
            Failed::Reject(reject) => Refusal::Reject(reject),
            Failed::Storage(error) => Refusal::Failed(error),
            Failed::Corrupt(what) => {
                reply::log("error", "stored data cannot be read", "", &what);
                Refusal::Broken
            }
            Failed::Newer => {
                reply::log("error", "the data base is of a newer version", "", "");
                Refusal::Unavailable
            }
        }
    }
}

impl UserObject {
    async fn answer(&self, request: &mut Request) -> std::result::Result<Response, Refusal> {
        let (path, query) = crate::target(request);
        let route = Route::of(request.method().as_ref(), &path)?;
        if route == Route::Health {
            return self.health();
        }
        let config = Config::of(&self.env).map_err(|_| Refusal::Unavailable)?;
        let proof = request.headers().get(caller::HEADER)?.and_then(|text| serde_json::from_str(&text).ok());
        let proof = proof.as_ref().and_then(Proof::of).ok_or(Refusal::Broken)?;
        if route == Route::Live {
            let device_id = wire::live(&query, &proof.caller, &config.policy)?;
            let connections = Connections(&self.state);
            connections.has_room(&device_id)?;
            self.call(proof.caller.clone(), Call::Live(device_id.clone()), &config).await?;
            let is_offered = request.headers().has("sec-websocket-protocol")?;
            let accepted = connections.accept(&device_id, &proof, is_offered)?;
            self.wake_by(proof.until).await?;
            return Ok(accepted);
        }
        let if_none_match = request.headers().get("if-none-match")?;
        let body = if route.has_body() { request.bytes().await? } else { Vec::new() };
        let call = route.call(&query, if_none_match.as_deref(), &body, &config.policy)?;
        Ok(reply::render(self.call(proof.caller, call, &config).await?)?)
    }

    /// Decides one call in one transaction, and tells who listens. The runtime sends no answer before it is durable.
    async fn call(
        &self,
        caller: Caller,
        call: Call,
        config: &Rc<Config>,
    ) -> std::result::Result<Reply, Refusal> {
        let mut fresh = [0; 32];
        getrandom::fill(&mut fresh).map_err(|_| Refusal::Unavailable)?;
        let (user, is_write) = (caller.user().clone(), call.writes());
        let exchange = Exchange::new(caller, call, config.policy.clone(), now(), Fresh(fresh));
        let called = Storage::of(&self.state)?.transaction(move |sql| {
            if exchange.epoch_if_new().is_some() {
                migrate(sql)?;
            }
            let user = exchange.caller().user().clone();
            let called = store::call(sql, exchange)?;
            if let Some(touch) = &called.touch {
                store::touch(sql, &user, touch)?;
            }
            Ok::<_, Failed>(called)
        })?;
        for attached in Connections(&self.state).tell(&user, &called.news) {
            let call = Call::Live(attached.device_id().to_owned());
            let proved = Box::pin(self.call(attached.proof.caller.clone(), call, config)).await;
            if let Err(Refusal::Reject(reject)) = proved {
                attached.refused(&reject);
            }
        }
        if is_write {
            self.wake_by(Some(now() + PRUNE_AFTER_MS)).await?;
        }
        Ok(called.reply)
    }

    /// Sees to it that the alarm rings by then.
    async fn wake_by(&self, at: Option<Millis>) -> std::result::Result<(), Refusal> {
        let (Some(at), storage) = (at, self.state.storage()) else { return Ok(()) };
        let is_set = storage.get_alarm().await?.is_some_and(|set| set as f64 <= at as f64);
        if !is_set {
            storage.set_alarm(ScheduledTime::new(js_sys::Date::new(&(at as f64).into()))).await?;
        }
        Ok(())
    }

    /// What the alarm is for: tokens of connections that end, and history that is older than the retention.
    async fn wake(&self) -> std::result::Result<(), Refusal> {
        let config = Config::of(&self.env).map_err(|_| Refusal::Unavailable)?;
        let expires = Connections(&self.state).expire(now());
        let policy = config.policy.clone();
        let is_left = Storage::of(&self.state)?.transaction(move |sql| {
            if store::schema_version(sql)? == 0 {
                return Ok(false);
            }
            migrate(sql)?;
            let mut is_left = false;
            for user_no in store::users(sql, 0, 1)? {
                is_left |= store::prune_user(sql, user_no, &policy, now())?.1;
            }
            Ok::<_, Failed>(is_left)
        })?;
        let prune = now() + if is_left { 0 } else { PRUNE_AFTER_MS };
        self.wake_by(Some(expires.map_or(prune, |expires| expires.min(prune)))).await
    }

    fn health(&self) -> std::result::Result<Response, Refusal> {
        let is_there =
            |sql: &mut Storage| -> std::result::Result<i64, Failed> { Ok(store::schema_version(sql)?) };
        Storage::of(&self.state)?.transaction(is_there)?;
        let count = MIGRATIONS.len();
        Ok(reply::render(Reply::json(json!({
            "status": "ok",
            "version": env!("CARGO_PKG_VERSION"),
            "store": "durable-object",
            // An object brings its own schema up to date with its first call.
            "migrations": { "applied": count, "expected": count },
        })))?)
    }
}

/// Brings the object's schema up to date.
fn migrate(sql: &mut Storage) -> std::result::Result<(), Failed> {
    use nself_sync_sqlite::Sql;
    let has = store::schema_version(sql)?;
    if MIGRATIONS.last().is_some_and(|(newest, _)| has > *newest) {
        return Err(Failed::Newer);
    }
    for (version, statements) in MIGRATIONS.iter().filter(|(version, _)| *version > has) {
        sql.exec(statements, &[])?;
        store::set_schema_version(sql, *version)?;
    }
    Ok(())
}

fn now() -> Millis {
    Date::now().as_millis()
}
