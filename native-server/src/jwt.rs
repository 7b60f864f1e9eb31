//! The users' own tokens: JWTs of HS256, RS256 or ES256.
//!
//! The algorithm is the configured key's, never the token's choice. `exp` is required, `nbf` is honoured, `aud` and
//! `iss` are where they are configured, all with [`LEEWAY_S`] for clocks that differ.

mod jwks;
mod secret;
#[cfg(test)]
mod tests;

pub use secret::{Grant, Secret};

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{DecodingKey, Validation, decode, decode_header};
use jwks::KeySet;
use nself_sync_engine::ids::User;
use serde_json::{Map, Value};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::Instant;

/// By how many seconds the clocks of who issues tokens and of this server may differ.
const LEEWAY_S: u64 = 5;

const YEAR_S: f64 = 365.0 * 86_400.0;

/// The account of a token that names none.
const ACCOUNT: &str = "primary";

/// The longest user or account id.
const ID_BYTES_MAX: usize = 256;

/// The longest token that is looked at.
const TOKEN_BYTES_MAX: usize = 16 << 10;

/// What a genuine token says.
#[derive(Debug, PartialEq, Eq)]
pub struct Verified {
    /// Whose it is.
    pub user: User,
    /// When it ends, also for this server's clock.
    pub until: Instant,
}

/// Why a token proves nothing.
#[derive(Debug)]
pub enum Denied {
    /// The token's fault; why, without anything of the token.
    Token(&'static str),
    /// The key set could not be had, so no token can be told from another.
    KeysAway(Arc<anyhow::Error>),
}

/// A key with the one algorithm that it is for, and what else its tokens must fulfil.
struct Key {
    /// The id that a token's header may name; `None`: any.
    id: Option<String>,
    decoding: DecodingKey,
    validation: Validation,
}

enum Keys {
    One(Box<Key>),
    Set(KeySet),
}

/// Verifies tokens.
pub struct Verifier {
    keys: Keys,
    namespace: String,
}

impl Verifier {
    /// A verifier by the configured secret. No IO: a key set is fetched with the first token.
    pub fn new(secret: &Secret) -> Verifier {
        let keys = match secret.jwk_url() {
            Some(url) => Keys::Set(KeySet::new(url, secret.clone())),
            None => Keys::One(Box::new(secret.key())),
        };
        Verifier { keys, namespace: secret.namespace().to_owned() }
    }

    /// What the token says, if it is genuine, in time and meant for this server.
    pub async fn verify(&self, token: &str) -> Result<Verified, Denied> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Denied::Token("the token is too long"));
        }
        // Also refuses `alg: none`, which is no algorithm of the library.
        let header = decode_header(token).map_err(|_| Denied::Token("the token is malformed"))?;
        match &self.keys {
            Keys::One(key) => self.read(token, key),
            Keys::Set(set) => {
                let keys = set.keys(header.kid.as_deref()).await.map_err(Denied::KeysAway)?;
                let fits = |key: &&Key| {
                    key.validation.algorithms.contains(&header.alg) && is_meant(key, header.kid.as_deref())
                };
                let tried = keys.iter().filter(fits).map(|key| self.read(token, key));
                best(tried).unwrap_or(Err(Denied::Token("no key of the key set fits the token")))
            }
        }
    }

    fn read(&self, token: &str, key: &Key) -> Result<Verified, Denied> {
        let claims = decode::<Map<String, Value>>(token, &key.decoding, &key.validation)
            .map_err(|error| Denied::Token(reason(error.kind())))?
            .claims;
        let user = user(&claims, &self.namespace).map_err(Denied::Token)?;
        Ok(Verified { user, until: until(&claims) })
    }
}

/// Whether a token that names this key id may be of this key. Sets whose keys or tokens carry no id exist.
fn is_meant(key: &Key, kid: Option<&str>) -> bool {
    match (key.id.as_deref(), kid) {
        (Some(id), Some(kid)) => id == kid,
        (None, _) | (_, None) => true,
    }
}

/// The first success, else the last failure: `None` of nothing.
fn best(results: impl Iterator<Item = Result<Verified, Denied>>) -> Option<Result<Verified, Denied>> {
    let mut last = None;
    for result in results {
        let found = result.is_ok();
        last = Some(result);
        if found {
            break;
        }
    }
    last
}

fn reason(kind: &ErrorKind) -> &'static str {
    match kind {
        ErrorKind::ExpiredSignature => "the token has expired",
        ErrorKind::ImmatureSignature => "the token is not valid yet",
        ErrorKind::InvalidAudience => "the token is for another audience",
        ErrorKind::InvalidIssuer => "the token is of another issuer",
        ErrorKind::MissingRequiredClaim(_) => "the token lacks a required claim",
        ErrorKind::InvalidAlgorithm => "the token is of another algorithm",
        ErrorKind::InvalidSignature => "the token's signature is not valid",
        // The library's list is open.
        _ => "the token is malformed",
    }
}

/// When the claims end. Later than a year is as good as a year: no connection lasts that long.
fn until(claims: &Map<String, Value>) -> Instant {
    let end_s = claims.get("exp").and_then(Value::as_f64).unwrap_or_default() + LEEWAY_S as f64;
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    Instant::now() + Duration::from_secs_f64((end_s - now_s).clamp(0.0, YEAR_S))
}

fn user(claims: &Map<String, Value>, namespace: &str) -> Result<User, &'static str> {
    let parsed: Value;
    let hasura = match claims.get(namespace) {
        None => None,
        Some(Value::Object(hasura)) => Some(hasura),
        // Hasura's claims_format `stringified_json`.
        Some(Value::String(text)) => {
            parsed = serde_json::from_str(text).map_err(|_| "the token's claims are malformed")?;
            Some(parsed.as_object().ok_or("the token's claims are malformed")?)
        }
        Some(_) => return Err("the token's claims are malformed"),
    };
    let claim = |name: &str| hasura.and_then(|hasura| hasura.get(name));
    let id = claim("x-hasura-user-id").or_else(|| claims.get("sub")).ok_or("the token names no user")?;
    let account = match claim("x-hasura-source-account-id") {
        None => ACCOUNT.to_owned(),
        Some(account) => identifier(account).ok_or("the token's account is not valid")?,
    };
    Ok(User { account, id: identifier(id).ok_or("the token's user id is not valid")? })
}

/// An id as it may be stored: what PostgreSQL would refuse, or nobody could read, is none.
fn identifier(value: &Value) -> Option<String> {
    let id = value.as_str()?;
    let fits = (1..=ID_BYTES_MAX).contains(&id.len()) && !id.chars().any(char::is_control);
    fits.then(|| id.to_owned())
}
