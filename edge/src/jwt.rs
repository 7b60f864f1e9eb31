//! Users' tokens: their signatures, by WebCrypto.

use crate::caller::Proof;
use crate::config::Config;
use crate::pem;
use crate::reply::{self, Refusal};
use futures_util::StreamExt;
use js_sys::{Array, Object, Reflect, Uint8Array};
use nself_sync_engine::call::Caller;
use nself_sync_engine::error::Reject;
use nself_sync_engine::ids::Millis;
use nself_sync_engine::jwt::{Algorithm, Keys, Token};
use nself_sync_engine::token;
use serde_json::Value;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{CryptoKey, SubtleCrypto, WorkerGlobalScope};
use worker::{AbortController, Context, Date, Delay, Fetch, Request, RequestInit, RequestRedirect};

/// Older keys of a key set are fetched anew.
const FRESH_MS: Millis = 600_000;
/// Older keys are used no more, also where no newer ones can be had.
const USABLE_MS: Millis = 3_600_000;
/// The least time between two fetches.
const RETRY_MS: Millis = 10_000;
/// The longest that a fetch takes.
const FETCH_MAX: Duration = Duration::from_secs(5);
/// How long a request that waits for a fetch sleeps between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// The largest key set.
const BYTES_MAX: usize = 1 << 20;

/// A key with the one algorithm that it is for.
struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    key: CryptoKey,
}

type KeyRing = Rc<Vec<Key>>;

#[derive(Default)]
struct Fetched {
    keys: Option<(KeyRing, Millis)>,
    tried: Option<Millis>,
    /// Until when a request of this isolate fetches, at the longest.
    fetching_until: Option<Millis>,
}

thread_local! {
    /// The configured key, or those last fetched: of this isolate, whose configuration never changes.
    static KEYS: RefCell<Fetched> = RefCell::default();
}

/// The caller by this token: of a user's token verified, of a device's what it claims.
pub async fn authenticate(text: &str, config: &Config, context: &Context) -> Result<Proof, Refusal> {
    if token::is_sync_token(text) {
        let caller = token::parse(text).ok_or(Reject::Unauthorized("the sync token is malformed"))?;
        return Ok(Proof { caller, until: None });
    }
    let read = Token::parse(text).map_err(Reject::Unauthorized)?;
    let keys = keys(&read, config, context).await?;
    let kid = read.kid.as_deref();
    let is_meant = |key: &&Key| match (key.id.as_deref(), kid) {
        (Some(id), Some(kid)) => id == kid,
        (None, _) | (_, None) => true,
    };
    let fitting: Vec<&Key> =
        keys.iter().filter(|key| key.algorithm == read.algorithm).filter(is_meant).collect();
    if fitting.is_empty() {
        let is_one = !matches!(config.secret.keys, Keys::At(..));
        return Err(Reject::Unauthorized(match is_one {
            true => "the token is of another algorithm",
            false => "no key of the key set fits the token",
        })
        .into());
    }
    let signature = read.signature_bytes().map_err(Reject::Unauthorized)?;
    for key in fitting {
        if key.signed(read.signed.as_bytes(), &signature).await {
            let verified =
                read.verified(&config.secret, Date::now().as_millis()).map_err(Reject::Unauthorized)?;
            return Ok(Proof { caller: Caller::User(verified.user), until: Some(verified.until) });
        }
    }
    Err(Reject::Unauthorized("the token's signature is not valid").into())
}

async fn keys(token: &Token<'_>, config: &Config, context: &Context) -> Result<KeyRing, Refusal> {
    let now = Date::now().as_millis();
    let kept = KEYS.with_borrow(|fetched| fetched.keys.clone());
    let (url, allowed, known) = match (&config.secret.keys, kept) {
        (Keys::Hs256(_) | Keys::Public(..), Some((keys, _))) => return Ok(keys),
        (Keys::Hs256(bytes), None) => return one(Key::hmac(bytes).await?, now),
        (Keys::Public(algorithm, pem), None) => {
            let spki = pem::public_key(pem, *algorithm).ok_or(Refusal::Unavailable)?;
            return one(Key::public(*algorithm, &spki).await?, now);
        }
        (Keys::At(url, allowed), Some((keys, at))) => {
            let kid = token.kid.as_deref();
            let is_known =
                keys.iter().any(|key| kid.is_none() || key.id.is_none() || key.id.as_deref() == kid);
            if is_known && now < at + FRESH_MS {
                return Ok(keys);
            }
            (url, *allowed, Some(keys).filter(|_| is_known && now < at + USABLE_MS))
        }
        (Keys::At(url, allowed), None) => (url, *allowed, None),
    };
    let is_due = KEYS.with_borrow(|fetched| fetched.tried.is_none_or(|tried| now >= tried + RETRY_MS));
    if is_due {
        let fetching_until = Some(now + FETCH_MAX.as_millis() as Millis);
        KEYS.with_borrow_mut(|fetched| (fetched.tried, fetched.fetching_until) = (Some(now), fetching_until));
        let url = url.to_owned();
        // Whoever goes away ends the request, which must not take along what all others wait for.
        context.wait_until(async move {
            let fetched = fetch(&url, allowed).await;
            KEYS.with_borrow_mut(|fetched| fetched.fetching_until = None);
            match fetched {
                Ok(keys) => KEYS.with_borrow_mut(|fetched| fetched.keys = Some((Rc::new(keys), now))),
                Err(problem) => reply::log("warn", "the key set could not be fetched", "", &problem),
            }
        });
    }
    // Older ones, of which this is one, do meanwhile.
    if let Some(keys) = known {
        return Ok(keys);
    }
    fetched().await;
    let kept = KEYS.with_borrow(|fetched| fetched.keys.clone());
    kept.filter(|(_, at)| now < at + USABLE_MS).map(|(keys, _)| keys).ok_or(Refusal::Unavailable)
}

/// Waits while a request of this isolate fetches. The promise of another one cannot be waited for; what came of it can.
async fn fetched() {
    let is_under_way = || {
        KEYS.with_borrow(|fetched| {
            fetched.fetching_until.is_some_and(|until| Date::now().as_millis() < until)
        })
    };
    while is_under_way() {
        Delay::from(LOOK_AGAIN).await;
    }
}

fn one(key: Key, now: Millis) -> Result<KeyRing, Refusal> {
    let keys = Rc::new(vec![key]);
    KEYS.with_borrow_mut(|fetched| fetched.keys = Some((Rc::clone(&keys), now)));
    Ok(keys)
}

/// The keys at a URL. A redirect is not followed: it could lead anywhere.
async fn fetch(url: &str, allowed: Option<Algorithm>) -> Result<Vec<Key>, String> {
    let mut init = RequestInit::new();
    init.with_redirect(RequestRedirect::Manual);
    let request = Request::new_with_init(url, &init).map_err(|error| error.to_string())?;
    let controller = AbortController::default();
    let signal = controller.signal();
    let fetching = async {
        let mut response =
            Fetch::Request(request).send_with_signal(&signal).await.map_err(|e| e.to_string())?;
        if response.status_code() != 200 {
            return Err(format!("jwk_url answered {}", response.status_code()));
        }
        let (mut text, mut stream) = (Vec::new(), response.stream().map_err(|error| error.to_string())?);
        while let Some(chunk) = stream.next().await {
            text.extend(chunk.map_err(|error| error.to_string())?);
            if text.len() > BYTES_MAX {
                return Err("jwk_url answered too much".to_owned());
            }
        }
        Ok(text)
    };
    let late = async {
        Delay::from(FETCH_MAX).await;
        Err("jwk_url did not answer in time".to_owned())
    };
    let (fetching, late) = (std::pin::pin!(fetching), std::pin::pin!(late));
    let text = futures_util::future::select(fetching, late).await.factor_first().0;
    if text.is_err() {
        controller.abort();
    }
    let set: Value = serde_json::from_slice(&text?).map_err(|_| "jwk_url answered no key set".to_owned())?;
    let mut keys = Vec::new();
    for jwk in set["keys"].as_array().into_iter().flatten() {
        keys.extend(Key::of(jwk, allowed).await);
    }
    if keys.is_empty() {
        Err("jwk_url has no key of an algorithm that is allowed".to_owned())
    } else {
        Ok(keys)
    }
}

impl Key {
    async fn hmac(bytes: &[u8]) -> Result<Key, Refusal> {
        let algorithm = Algorithm::Hs256;
        let key = import("raw", &Uint8Array::from(bytes), algorithm).await?;
        Ok(Key { id: None, algorithm, key })
    }

    async fn public(algorithm: Algorithm, spki: &[u8]) -> Result<Key, Refusal> {
        Ok(Key { id: None, algorithm, key: import("spki", &Uint8Array::from(spki), algorithm).await? })
    }

    /// A key of a key set, if it is one for signatures of an algorithm that is allowed.
    async fn of(jwk: &Value, allowed: Option<Algorithm>) -> Option<Key> {
        let text = |name: &str| jwk.get(name).and_then(Value::as_str);
        let algorithm = match (text("kty")?, text("crv")) {
            ("RSA", _) => Algorithm::Rs256,
            ("EC", Some("P-256")) => Algorithm::Es256,
            // Symmetric keys have no business at a URL, other curves are not of the protocol.
            _ => return None,
        };
        let is_named = text("alg").is_none_or(|named| named == algorithm.as_str());
        if !is_named || allowed.is_some_and(|allowed| allowed != algorithm) {
            return None;
        }
        let object: Object = js_sys::JSON::parse(&jwk.to_string()).ok()?.unchecked_into();
        let key = import("jwk", &object, algorithm).await.ok()?;
        Some(Key { id: text("kid").map(str::to_owned), algorithm, key })
    }

    async fn signed(&self, signed: &[u8], signature: &[u8]) -> bool {
        let name = parameters(self.algorithm);
        let verify = || {
            let (signature, signed) = (Uint8Array::from(signature), Uint8Array::from(signed));
            let verify = Reflect::get(subtle()?.as_ref(), &"verify".into())?;
            let arguments = Array::of4(&name, &self.key, &signature, &signed);
            verify.unchecked_into::<js_sys::Function>().apply(subtle()?.as_ref(), &arguments)
        };
        let Ok(verified) = verify() else { return false };
        JsFuture::from(js_sys::Promise::resolve(&verified)).await.is_ok_and(|genuine| genuine.is_truthy())
    }
}

fn subtle() -> Result<SubtleCrypto, JsValue> {
    Ok(js_sys::global().unchecked_into::<WorkerGlobalScope>().crypto()?.subtle())
}

async fn import(format: &str, key: &Object, algorithm: Algorithm) -> Result<CryptoKey, Refusal> {
    let imported = || {
        let usages = Array::of1(&"verify".into());
        subtle()?.import_key_with_object(format, key, &parameters(algorithm), false, &usages)
    };
    let imported = imported().map_err(worker::Error::from)?;
    Ok(JsFuture::from(imported).await.map_err(worker::Error::from)?.unchecked_into())
}

/// What WebCrypto calls the algorithm.
fn parameters(algorithm: Algorithm) -> Object {
    let name = match algorithm {
        Algorithm::Hs256 => "HMAC",
        Algorithm::Rs256 => "RSASSA-PKCS1-v1_5",
        Algorithm::Es256 => "ECDSA",
    };
    let parameters = Object::new();
    for (key, value) in [("name", name), ("hash", "SHA-256"), ("namedCurve", "P-256")] {
        // Of an object that was just made.
        let _ = Reflect::set(&parameters, &key.into(), &value.into());
    }
    parameters
}
