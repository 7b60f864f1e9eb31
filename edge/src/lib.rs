//! The edge: the engine on Cloudflare's runtime.
//!
//! ```text
//! request → worker: authenticate, read, refuse what needs no state → the user's object: one transaction → reply
//! ```
//!
//! The worker has no state. Whatever it forwards goes to the Durable Object of the user that the token names, which holds
//! that user's state in its SQLite, through the same SQL as the native server on SQLite.

mod admin;
mod body;
mod caller;
mod config;
mod gzip;
mod jwt;
mod live;
mod object;
mod pem;
mod reply;
mod sql;
mod webhook;

use admin::{Command, Order};
use caller::Proof;
use config::Config;
use nself_sync_engine::error::Reject;
use nself_sync_engine::ids::User;
use nself_sync_engine::wire::{self, Route};
use reply::Refusal;
use std::rc::Rc;
use worker::{Context, Env, Headers, Method, Request, RequestInit, Response, Result, event};

/// The binding of the objects, as in `wrangler.toml`.
const OBJECTS: &str = "USERS";

#[event(fetch)]
async fn fetch(request: Request, env: Env, context: Context) -> Result<Response> {
    let request_id = reply::request_id(request.headers());
    let answered = match Config::of(&env) {
        Ok(config) => {
            let origin = request.headers().get("origin")?;
            let answered = match config.preflight(&request)? {
                Some(response) => Ok(response),
                None => answer(request, &env, &context, &config, &request_id).await,
            };
            let response = answered.or_else(|refusal| refusal.render(&request_id))?;
            let mut headers = reply::copied(response.headers())?;
            config.allow(origin.as_deref(), &mut headers)?;
            response.with_headers(headers)
        }
        Err(problem) => Refusal::Misconfigured(problem.0).render(&request_id)?,
    };
    let headers = reply::copied(answered.headers())?;
    headers.set("x-request-id", &request_id)?;
    Ok(answered.with_headers(headers))
}

async fn answer(
    mut request: Request,
    env: &Env,
    context: &Context,
    config: &Rc<Config>,
    id: &str,
) -> Result<Response, Refusal> {
    let (path, query) = target(&request);
    let method = request.method();
    let headers = request.headers().clone();
    if path.starts_with(admin::PREFIX) {
        admin::authenticate(headers.get("authorization")?.as_deref(), config)?;
        let order = Order::of(&request.inner().method(), &path, &query)?;
        let body = match order.command {
            Command::Import => Some(body::read(&mut request, admin::BATCH_BYTES_MAX).await?),
            _ => None,
        };
        let to = format!("https://object{path}?{query}");
        let forwarded = Headers::new();
        forwarded.set("x-request-id", id)?;
        return forward(env, &object_of(&order.user), &method, &to, forwarded, body).await;
    }
    if path == "/openapi.json" {
        return match method {
            Method::Get | Method::Head => reply::openapi(&accepted(&headers)?, &method),
            _ => Err(Reject::MethodNotAllowed("GET, HEAD").into()),
        };
    }
    let route = Route::of(&request.inner().method(), &path)?;
    let accepted = accepted(&headers)?;
    if route == Route::Health {
        let asked = forward(env, HEALTH, &method, "https://object/health", Headers::new(), None).await?;
        return reply::compressed(asked, &accepted, &method);
    }
    let proof = authenticate(&route, &headers, config, context).await?;
    let if_none_match = headers.get("if-none-match")?;
    let body = match route.has_body() {
        true => Some(body::read(&mut request, config.policy.body_bytes_max).await?),
        false => None,
    };
    // Read here as well: what is refused without state wakes no object.
    if route == Route::Live {
        wire::live(&query, &proof.caller, &config.policy)?;
        if headers.get("upgrade")?.is_none_or(|upgrade| !upgrade.eq_ignore_ascii_case("websocket")) {
            return Err(Reject::UpgradeRequired.into());
        }
    } else {
        let bytes = body.as_deref().unwrap_or_default();
        route.call(&query, if_none_match.as_deref(), bytes, &config.policy)?;
    }
    let forwarded = Headers::new();
    forwarded.set(caller::HEADER, &proof.to_json().to_string())?;
    forwarded.set("x-request-id", id)?;
    for name in ["if-none-match", "upgrade", "sec-websocket-protocol"] {
        if let Some(value) = headers.get(name)? {
            forwarded.set(name, &value)?;
        }
    }
    let to = format!("https://object{path}?{query}");
    let reply = forward(env, &object_of(proof.caller.user()), &method, &to, forwarded, body).await?;
    match reply.status_code() {
        101 => Ok(reply),
        _ => reply::compressed(reply, &accepted, &method),
    }
}

/// Path and query of a request as they were sent, percent-encoded by the runtime where they had to be.
fn target(request: &Request) -> (String, String) {
    let url = request.inner().url();
    let url = url.split_once('#').map_or(url.as_str(), |(url, _)| url);
    (request.path(), url.split_once('?').map(|(_, query)| query.to_owned()).unwrap_or_default())
}

fn accepted(headers: &Headers) -> Result<String> {
    Ok(headers.get("accept-encoding")?.unwrap_or_default())
}

/// The object that says whether objects and their storage work: no user's name is empty.
const HEALTH: &str = "health";

/// An object's name: account and user, each with its length, so that no two users have one.
fn object_of(user: &User) -> String {
    format!("{}:{}{}:{}", user.account.len(), user.account, user.id.len(), user.id)
}

async fn forward(
    env: &Env,
    name: &str,
    method: &Method,
    url: &str,
    headers: Headers,
    body: Option<Vec<u8>>,
) -> Result<Response, Refusal> {
    let mut init = RequestInit::new();
    init.with_method(method.clone()).with_headers(headers);
    if let Some(body) = body {
        init.with_body(Some(js_sys::Uint8Array::from(body.as_slice()).into()));
    }
    let stub = env.durable_object(OBJECTS)?.get_by_name(name)?;
    Ok(stub.fetch_with_request(Request::new_with_init(url, &init)?).await?)
}

async fn authenticate(
    route: &Route,
    headers: &Headers,
    config: &Rc<Config>,
    context: &Context,
) -> Result<Proof, Refusal> {
    wire::protocol_version(headers.get("nself-sync-protocol")?.as_deref())?;
    let authorization = headers.get("authorization")?;
    let offered = headers.get("sec-websocket-protocol")?.unwrap_or_default();
    let offered: Vec<&str> = offered.split(',').map(str::trim).filter(|word| !word.is_empty()).collect();
    let mut tokens = offered.iter().filter_map(|word| word.strip_prefix("bearer."));
    let several = || Reject::Unauthorized("one token is required, not several");
    let token = match (route, tokens.next(), tokens.next(), &authorization) {
        (Route::Live, Some(token), None, None) => token,
        (Route::Live, Some(_), _, _) => return Err(several().into()),
        // The runtime joins fields of one name by a comma, which no token has.
        (_, _, _, Some(field)) if field.contains(',') => {
            return Err(wire::bearer(field.split(',')).err().unwrap_or_else(several).into());
        }
        (_, _, _, field) => wire::bearer(field.iter().map(String::as_str))?,
    };
    let proof = jwt::authenticate(token, config, context).await?;
    if *route == Route::Live && !offered.is_empty() && !offered.contains(&live::PROTOCOL_WORD) {
        return Err(Reject::UnsupportedProtocol.into());
    }
    Ok(proof)
}
