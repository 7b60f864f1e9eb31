//! A user's Durable Object: the state in its SQLite, the calls one after the other.

use crate::admin::{self, Command, Order};
use crate::caller::{self, Proof};
use crate::config::Config;
use crate::live::{Attached, Connections, MESSAGE_BYTES_MAX, POLICY};
use crate::reply::{self, Refusal};
use crate::sql::{Rows, Storage};
use nself_sync_engine::call::{Call, Caller, Reply};
use nself_sync_engine::error::Reject;
use nself_sync_engine::exchange::Exchange;
use nself_sync_engine::ids::{Fresh, Millis};
use nself_sync_engine::policy::InvalidVariable;
use nself_sync_engine::rate::Bucket;
use nself_sync_engine::wire::{self, Route};
use nself_sync_sqlite::{self as store, MIGRATIONS};
use serde_json::json;
use std::cell::Cell;
use std::rc::Rc;
use worker::{
    Date, DurableObject, Env, Request, Response, Result, ScheduledTime, State, WebSocket,
    WebSocketIncomingMessage, durable_object,
};

/// How long after a write its user's history is looked through for what is older than the retention.
const PRUNE_AFTER_MS: Millis = 24 * 60 * 60 * 1000;

/// When an alarm that failed rings again: a wrong configuration, or storage that is away, may be mended by then.
const ALARM_AGAIN_MS: Millis = 15 * 60 * 1000;

/// One user's state.
#[durable_object]
pub struct UserObject {
    state: State,
    env: Env,
    /// The user's requests. An object that is evicted had none for a while.
    requests: Cell<Bucket>,
    /// The schema was found, or made, that of this program, which does not change while the object is awake.
    is_current: Cell<bool>,
}

impl DurableObject for UserObject {
    fn new(state: State, env: Env) -> Self {
        UserObject { state, env, requests: Cell::default(), is_current: Cell::default() }
    }

    async fn fetch(&self, mut request: Request) -> Result<Response> {
        let request_id = reply::request_id(request.headers());
        match self.answer(&mut request).await {
            Ok(response) => Ok(response),
            Err(refusal) => refusal.render(&request_id),
        }
    }

    async fn alarm(&self) -> Result<Response> {
        // First, since the runtime tries a few times and then never again, and events wait for no request: whatever becomes of
        // this alarm, there is a next one.
        let (storage, again) = (self.state.storage(), now() + ALARM_AGAIN_MS);
        storage.set_alarm(time(again)).await?;
        match self.wake().await {
            Ok(next) => {
                // A request may have set an earlier one meanwhile, which may be later than the next.
                let set = storage.get_alarm().await?.map(|set| set as Millis);
                match next.into_iter().chain(set.filter(|set| *set != again)).min() {
                    Some(next) => storage.set_alarm(time(next)).await?,
                    None => storage.delete_alarm().await?,
                }
            }
            Err(refusal) => reply::log("error", "the alarm failed", "", &format!("{refusal:?}")),
        }
        Response::empty()
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

impl From<store::Error<worker::Error>> for Refusal {
    fn from(error: store::Error<worker::Error>) -> Refusal {
        match error {
            store::Error::Reject(reject) => Refusal::Reject(reject),
            store::Error::Corrupt(corrupt) => Refusal::Broken(corrupt.0),
            store::Error::Sql(error) => Refusal::Failed(error),
        }
    }
}

impl From<InvalidVariable> for Refusal {
    fn from(problem: InvalidVariable) -> Refusal {
        Refusal::Misconfigured(problem.0)
    }
}

impl UserObject {
    async fn answer(&self, request: &mut Request) -> std::result::Result<Response, Refusal> {
        let (path, query) = crate::target(request);
        if path.starts_with(admin::PREFIX) {
            let order = Order::of(&request.inner().method(), &path, &query)?;
            return self.obey(order, request).await;
        }
        let route = Route::of(&request.inner().method(), &path)?;
        if route == Route::Health {
            return self.health();
        }
        let config = Config::of(&self.env)?;
        let proof = request.headers().get(caller::HEADER)?.and_then(|text| serde_json::from_str(&text).ok());
        let proof = proof.as_ref().and_then(Proof::of);
        let proof = proof.ok_or_else(|| Refusal::Broken("no caller".to_owned()))?;
        let if_none_match = request.headers().get("if-none-match")?;
        let is_offered = request.headers().has("sec-websocket-protocol")?;
        let body = if route.has_body() { request.bytes().await? } else { Vec::new() };
        let (per_min, before) = (config.policy.rate_per_min, self.requests.get());
        if let Err(limited) = before.check(per_min, now()) {
            // Who is not the user is told so, and no more.
            self.call(proof.caller, Call::Config, &config).await?;
            return Err(limited.into());
        }
        // Nothing is waited for from the check to the end of the call's transaction: requests that come at once are counted one
        // by one.
        let mut requests = before;
        requests.take(per_min, now());
        self.requests.set(requests);
        let answered = match route {
            Route::Live => self.listen(&query, proof, is_offered, &config).await,
            _ => {
                let call = route.call(&query, if_none_match.as_deref(), &body, &config.policy)?;
                self.call(proof.caller, call, &config).await.and_then(|reply| Ok(reply::render(reply)?))
            }
        };
        // Who does not prove to be the user does not use up what the user may; during an import nobody's token is looked at.
        if matches!(answered, Err(Refusal::Reject(Reject::Unauthorized(_) | Reject::Importing))) {
            self.requests.set(before);
        }
        answered
    }

    /// Accepts a live connection of a caller who may have one.
    async fn listen(
        &self,
        query: &str,
        proof: Proof,
        is_offered: bool,
        config: &Rc<Config>,
    ) -> std::result::Result<Response, Refusal> {
        let device_id = wire::live(query, &proof.caller, &config.policy)?;
        let connections = Connections(&self.state);
        self.call(proof.caller.clone(), Call::Live(device_id.clone()), config).await?;
        connections.has_room(&device_id)?;
        let accepted = connections.accept(&device_id, &proof, is_offered)?;
        self.wake_by(proof.until).await?;
        Ok(accepted)
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
        let is_current = self.is_current.get();
        let storage = Storage::of(&self.state)?;
        let delivers = is_write && config.webhook.is_some();
        let (mut called, due) = storage.transaction(move |sql| {
            if !is_current {
                match exchange.epoch_if_new() {
                    Some(_) => migrate(sql)?,
                    // A device's token makes nothing.
                    None if !is_made(sql)? => return Err(Refusal::Reject(Reject::TOKEN_INVALID)),
                    None => {}
                }
            }
            let user = exchange.caller().user().clone();
            let called = store::call(sql, exchange)?;
            if let Some(touch) = &called.touch {
                store::touch(sql, &user, touch)?;
            }
            // Also of a retry: the first try may have ended before it set the alarm.
            let waiting = if delivers { store::outbox::waiting(sql, 1)?.pop() } else { None };
            Ok::<_, Refusal>((called, waiting.map(|waiting| waiting.due_at)))
        })?;
        let Rows { read, written } = storage.rows();
        self.is_current.set(true);
        called.reply.headers.push(("nself-sync-rows", format!("read={read}, written={written}")));
        let connections = Connections(&self.state);
        self.prove(connections.tell(&user, &called.news, now()), config).await?;
        if is_write {
            // What is to be delivered is so at once, by the alarm: then no answer waits for it.
            self.wake_by(Some(due.unwrap_or(now() + PRUNE_AFTER_MS))).await?;
        }
        Ok(called.reply)
    }

    /// Looks whether the tokens of these connections are still good, and closes those whose are not.
    async fn prove(&self, attached: Vec<Attached>, config: &Rc<Config>) -> std::result::Result<(), Refusal> {
        for attached in attached {
            let call = Call::Live(attached.device_id().to_owned());
            let proved = Box::pin(self.call(attached.proof.caller.clone(), call, config)).await;
            if let Err(Refusal::Reject(reject)) = proved {
                attached.refused(&reject);
            }
        }
        Ok(())
    }

    /// Does what an operator commands.
    async fn obey(&self, order: Order, request: &mut Request) -> std::result::Result<Response, Refusal> {
        let config = Config::of(&self.env)?;
        let storage = Storage::of(&self.state)?;
        let Order { command, user, cursor, moves, line } = order;
        match command {
            Command::Export => {
                let whose = user.clone();
                if moves {
                    storage.transaction(move |sql| known(sql, |sql| store::mark_moved(sql, &whose)))?;
                    self.prove(Connections(&self.state).all(), &config).await?;
                }
                let page = storage.transaction(move |sql| {
                    known(sql, |sql| store::export_page(sql, &user, cursor.as_deref()))
                })?;
                Ok(reply::lines(page)?)
            }
            Command::Import => {
                let lines = String::from_utf8(request.bytes().await?);
                let lines = lines.map_err(|_| Reject::MalformedJson("the lines are not UTF-8".to_owned()))?;
                let max = config.policy.state_bytes_max;
                let imported = storage.transaction(move |sql| {
                    migrate(sql)?;
                    let imported = store::import(sql, &user, line, &lines)?;
                    let head = if imported.is_done { store::stored_head(sql, &user)? } else { None };
                    match head.map(|head| head.state_bytes) {
                        Some(bytes) if bytes > max => Err(too_large(bytes, max)),
                        Some(_) | None => Ok(imported),
                    }
                })?;
                self.wake_by(Some(now() + PRUNE_AFTER_MS)).await?;
                Ok(reply::render(Reply::json(json!({ "lines": imported.lines })))?)
            }
            Command::UndoMove => {
                storage.transaction(move |sql| known(sql, |sql| store::undo_move(sql, &user)))?;
                Ok(Response::empty()?.with_status(204))
            }
            Command::Erase => {
                let is_erased = storage.transaction(move |sql| known(sql, |sql| store::erase(sql, &user)))?;
                // Not asked for by whom: a call by the user's own token would begin a history anew.
                Connections(&self.state).all().iter().for_each(Attached::ended);
                match is_erased {
                    true => Ok(Response::empty()?.with_status(204)),
                    false => Err(Reject::NotFound("user").into()),
                }
            }
            Command::Prune => {
                while self.prune(&config)? {}
                Ok(Response::empty()?.with_status(204))
            }
        }
    }

    /// Sees to it that the alarm rings by then.
    async fn wake_by(&self, at: Option<Millis>) -> std::result::Result<(), Refusal> {
        let (Some(at), storage) = (at, self.state.storage()) else { return Ok(()) };
        let is_set = storage.get_alarm().await?.is_some_and(|set| set as f64 <= at as f64);
        if !is_set {
            storage.set_alarm(time(at)).await?;
        }
        Ok(())
    }

    /// What the alarm is for: events to deliver, tokens of connections that end, and history older than the retention.
    /// Says when the next is due, if anything is left that an alarm is for.
    async fn wake(&self) -> std::result::Result<Option<Millis>, Refusal> {
        let config = Config::of(&self.env)?;
        Connections(&self.state).expire(now());
        let delivered = self.deliver(&config).await;
        let prune = match self.prune(&config)? {
            true => Some(now()),
            false => self.prune_due(&config)?.map(|due| due.max(now() + PRUNE_AFTER_MS)),
        };
        let expires = Connections(&self.state).expire(now());
        Ok([delivered?, expires, prune].into_iter().flatten().min())
    }

    /// Sends a turn of the events that are due, and says when the next are.
    async fn deliver(&self, config: &Rc<Config>) -> std::result::Result<Option<Millis>, Refusal> {
        let Some(webhook) = &config.webhook else { return Ok(None) };
        let storage = Storage::of(&self.state)?;
        let waiting = |sql: &mut Storage| -> std::result::Result<_, Refusal> {
            if !is_made(sql)? {
                return Ok(None);
            }
            Ok(store::outbox::waiting(sql, 1)?.pop())
        };
        let Some(whose) = storage.transaction(waiting)? else { return Ok(None) };
        if whose.due_at > now() {
            return Ok(Some(whose.due_at));
        }
        let mut turn = storage.transaction(move |sql| Ok::<_, Refusal>(store::outbox::turn(sql, &whose)?))?;
        while let Some(event) = turn.next() {
            let answer = webhook.send(event).await;
            turn.take(answer, now(), getrandom::u32().unwrap_or_default());
        }
        let end = turn.end();
        match (whose.failures.count, end.failures.count) {
            (0, 1..) => {
                reply::log("warn", "the webhook does not take events", "", "they are kept, and tried again")
            }
            (1.., 0) => reply::log("info", "the webhook takes events again", "", ""),
            (_, _) => {}
        }
        let dead = storage.transaction(move |sql| {
            Ok::<_, Refusal>(store::outbox::settle(sql, whose.user_no, &end, now())?)
        })?;
        if dead > 0 {
            reply::log("warn", "events were set aside as dead letters", "", &dead.to_string());
        }
        Ok(storage.transaction(waiting)?.map(|whose| whose.due_at))
    }

    /// Prunes one batch. Says whether there is more to do.
    fn prune(&self, config: &Rc<Config>) -> std::result::Result<bool, Refusal> {
        let policy = config.policy.clone();
        Storage::of(&self.state)?.transaction(move |sql| {
            if !is_made(sql)? {
                return Ok(false);
            }
            let mut is_left = false;
            for user_no in store::users(sql, 0, 1)? {
                is_left |= store::prune_user(sql, user_no, &policy, now())?.1;
            }
            Ok(is_left)
        })
    }

    /// When something of the user's history will be older than the retention.
    fn prune_due(&self, config: &Rc<Config>) -> std::result::Result<Option<Millis>, Refusal> {
        let policy = config.policy.clone();
        Storage::of(&self.state)?.transaction(move |sql| {
            if !is_made(sql)? {
                return Ok(None);
            }
            match store::users(sql, 0, 1)?.first() {
                Some(user_no) => Ok(store::prune_due(sql, *user_no, &policy)?),
                None => Ok(None),
            }
        })
    }

    fn health(&self) -> std::result::Result<Response, Refusal> {
        let is_there =
            |sql: &mut Storage| -> std::result::Result<i64, Refusal> { Ok(store::schema_version(sql)?) };
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

/// Does something about a user whom this object knows; what it does not know it writes nothing for.
fn known<T>(
    sql: &mut Storage,
    work: impl FnOnce(&mut Storage) -> std::result::Result<T, store::Error<worker::Error>>,
) -> std::result::Result<T, Refusal> {
    match is_made(sql)? {
        false => Err(Refusal::Reject(Reject::NotFound("user"))),
        true => Ok(work(sql)?),
    }
}

/// Why a user cannot come here.
fn too_large(bytes: u64, max: u64) -> Refusal {
    let what =
        format!("a snapshot of this user carries {bytes} bytes beside its contents, allowed here are {max}");
    Reject::Transfer(what).into()
}

/// Brings the schema of an object that has one up to date. Says whether it has.
fn is_made(sql: &mut Storage) -> std::result::Result<bool, Refusal> {
    if store::schema_version(sql)? == 0 {
        return Ok(false);
    }
    migrate(sql).map(|()| true)
}

/// Brings the object's schema up to date.
fn migrate(sql: &mut Storage) -> std::result::Result<(), Refusal> {
    use nself_sync_sqlite::Sql;
    let has = store::schema_version(sql)?;
    if MIGRATIONS.last().is_some_and(|(newest, _)| has > *newest) {
        return Err(Refusal::Newer);
    }
    for (version, statements) in MIGRATIONS.iter().filter(|(version, _)| *version > has) {
        sql.exec(statements, &[])?;
        store::set_schema_version(sql, *version)?;
    }
    Ok(())
}

fn time(at: Millis) -> ScheduledTime {
    ScheduledTime::new(js_sys::Date::new(&(at as f64).into()))
}

fn now() -> Millis {
    Date::now().as_millis()
}
