//! The configuration: variables and secrets of `wrangler.toml`, of the same names as the native server's.

use crate::webhook::Webhook;
use nself_sync_engine::jwt::{Keys, Secret};
use nself_sync_engine::policy::{InvalidVariable, Origins, Policy};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use worker::{Env, Headers, Method, Request, Response, Result};

const SECRET: &str = "HASURA_GRAPHQL_JWT_SECRET";
const ORIGINS: &str = "PLUGIN_SYNC_CORS_ORIGINS";
const ADMIN_TOKEN: &str = "PLUGIN_SYNC_ADMIN_TOKEN";
const WEBHOOK: &str = "PLUGIN_WEBHOOKS_INTERNAL_URL";

/// A shorter one could be guessed.
const ADMIN_TOKEN_BYTES_MIN: usize = 32;

/// What an isolate of 128 MB answers and takes at once, where nothing else is configured.
const BODY_BYTES: usize = 4 << 20;
const REPLY_BYTES: usize = 4 << 20;
const JSON_VALUES: usize = 80_000;
const TOUCHED_BYTES: usize = 16 << 20;
const STATE_BYTES: u64 = 8 << 20;

/// What it can be made to.
const BODY_BYTES_MAX: usize = 8 << 20;
const FILE_BYTES_MAX: usize = 4 << 20;

/// What the operator chose.
pub struct Config {
    /// Limits and choices of the engine.
    pub policy: Arc<Policy>,
    /// What verifies users' tokens.
    pub secret: Secret,
    /// What operators' commands are known by.
    pub admin_token: Option<String>,
    /// Where events are sent.
    pub webhook: Option<Webhook>,
    origins: Origins,
}

thread_local! {
    /// Of this isolate, whose variables never change.
    static READ: RefCell<Option<std::result::Result<Rc<Config>, InvalidVariable>>> = const { RefCell::new(None) };
}

impl Config {
    /// Read once an isolate.
    ///
    /// # Errors
    /// One line with the variable, its value where that is no secret, and what is allowed.
    pub fn of(env: &Env) -> std::result::Result<Rc<Config>, InvalidVariable> {
        READ.with_borrow_mut(|read| read.get_or_insert_with(|| Config::read(env).map(Rc::new)).clone())
    }

    fn read(env: &Env) -> std::result::Result<Config, InvalidVariable> {
        let get = |name: &str| -> Option<String> {
            let value = js_sys::Reflect::get(env, &name.into()).ok()?.as_string();
            value.filter(|value| !value.trim().is_empty())
        };
        let mut policy = Policy {
            body_bytes_max: BODY_BYTES,
            reply_bytes_max: REPLY_BYTES,
            json_values_max: JSON_VALUES,
            touched_bytes_max: TOUCHED_BYTES,
            state_bytes_max: STATE_BYTES,
            ..Policy::default()
        };
        for name in Policy::VARIABLES {
            if let Some(value) = get(name) {
                policy.set(name, &value)?;
            }
        }
        policy.check()?;
        for (name, bytes, max) in [
            ("PLUGIN_SYNC_MAX_BODY_KB", policy.body_bytes_max, BODY_BYTES_MAX),
            ("PLUGIN_SYNC_MAX_FILE_SIZE_KB", policy.file_bytes_max, FILE_BYTES_MAX),
        ] {
            if bytes > max {
                let (kib, max) = (bytes >> 10, max >> 10);
                let allowed = format!("{name}={kib}: allowed on the edge is a whole number from 1 to {max}");
                return Err(InvalidVariable(allowed));
            }
        }
        let secret = get(SECRET).ok_or_else(|| InvalidVariable(format!("{SECRET} is not set")))?;
        let refused = |allowed: String| InvalidVariable(format!("{SECRET}=…: allowed is {allowed}"));
        let secret = Secret::parse(&secret).map_err(refused)?;
        if let Keys::Public(algorithm, pem) = &secret.keys {
            let allowed = format!("for {} the public key or certificate as PEM", algorithm.as_str());
            crate::pem::public_key(pem, *algorithm).ok_or_else(|| refused(allowed))?;
        }
        let origins = get(ORIGINS).map_or(Ok(Origins::None), |text| Origins::parse(ORIGINS, &text))?;
        let admin_token = get(ADMIN_TOKEN).map(|token| token.trim().to_owned());
        if admin_token.as_ref().is_some_and(|token| token.len() < ADMIN_TOKEN_BYTES_MIN) {
            let allowed = format!("allowed are {ADMIN_TOKEN_BYTES_MIN} bytes or more");
            return Err(InvalidVariable(format!("{ADMIN_TOKEN}=…: {allowed}")));
        }
        let webhook = get(WEBHOOK).map(|url| webhook(&url, get("PLUGIN_INTERNAL_SECRET"))).transpose()?;
        policy.webhook = webhook.is_some();
        Ok(Config { policy: Arc::new(policy), secret, admin_token, webhook, origins })
    }

    /// The answer to a browser that asks whether it may ask, where it is one and any origin may.
    pub fn preflight(&self, request: &Request) -> Result<Option<Response>> {
        let headers = request.headers();
        let asks = request.method() == Method::Options && headers.has("access-control-request-method")?;
        if !asks || self.origins == Origins::None {
            return Ok(None);
        }
        let answer = Headers::new();
        answer.set("access-control-allow-methods", "GET,HEAD,POST,DELETE")?;
        answer.set("access-control-allow-headers", ALLOWED_HEADERS)?;
        answer.set("access-control-max-age", "3600")?;
        Ok(Some(Response::empty()?.with_status(200).with_headers(answer)))
    }

    /// Adds what lets the page of that origin read the answer.
    pub fn allow(&self, origin: Option<&str>, headers: &mut Headers) -> Result<()> {
        let allowed = match (&self.origins, origin) {
            (Origins::None, _) => return Ok(()),
            (Origins::Any, _) => "*",
            (Origins::Listed(list), Some(origin)) if list.iter().any(|one| one == origin) => origin,
            (Origins::Listed(_), _) => return headers.append("vary", "Origin"),
        };
        headers.set("access-control-allow-origin", allowed)?;
        headers.set("access-control-expose-headers", EXPOSED_HEADERS)?;
        if allowed != "*" {
            headers.append("vary", "Origin")?;
        }
        Ok(())
    }
}

fn webhook(url: &str, secret: Option<String>) -> std::result::Result<Webhook, InvalidVariable> {
    let url = url.trim().trim_end_matches('/');
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://")).unwrap_or_default();
    if rest.is_empty() || rest.contains(['@', '?', '#']) {
        // Not shown, as it may hold a password.
        let allowed = "a URL that begins with http:// or https://, without user, password and query";
        return Err(InvalidVariable(format!("{WEBHOOK}=…: allowed is {allowed}")));
    }
    Ok(Webhook { url: url.to_owned(), secret: secret.map(|secret| secret.trim().to_owned()) })
}

const ALLOWED_HEADERS: &str =
    "authorization,content-type,content-encoding,if-none-match,nself-sync-protocol,x-request-id";
const EXPOSED_HEADERS: &str = "etag,retry-after,idempotency-replayed,x-request-id";
