//! Users' own tokens: JWTs of HS256, RS256 or ES256. Everything about them but the signature itself, which each host checks
//! with what it has for that.
//!
//! The algorithm is the configured key's, never the token's choice. `exp` is required, `nbf` is honoured, `aud` and
//! `iss` are where they are configured, all with [`LEEWAY_S`] for clocks that differ.

mod secret;

pub use secret::{Grant, Keys, Secret};

use crate::ids::{Millis, SEQ_MAX, User};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

/// By how many seconds the clocks of who issues tokens and of a host may differ.
const LEEWAY_S: u64 = 5;

/// The account of a token that names none.
const ACCOUNT: &str = "primary";

/// The longest user or account id.
const ID_BYTES_MAX: usize = 256;

/// The longest token that is looked at.
const TOKEN_BYTES_MAX: usize = 16 << 10;

const MALFORMED: &str = "the token is malformed";
const LACKING: &str = "the token lacks a required claim";

/// What a token proves nothing for, without anything of the token.
pub type Denied = &'static str;

/// How a token is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC with SHA-256.
    Hs256,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
}

impl Algorithm {
    /// As tokens and key sets name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Algorithm::Hs256 => "HS256",
            Algorithm::Rs256 => "RS256",
            Algorithm::Es256 => "ES256",
        }
    }

    /// By its name.
    pub fn of(name: &str) -> Option<Algorithm> {
        [Algorithm::Hs256, Algorithm::Rs256, Algorithm::Es256].into_iter().find(|one| one.as_str() == name)
    }
}

/// A token, read but not verified.
#[derive(Debug)]
pub struct Token<'a> {
    /// How it says to be signed.
    pub algorithm: Algorithm,
    /// The id of the key that it says to be signed with.
    pub kid: Option<String>,
    /// What is signed.
    pub signed: &'a str,
    /// The signature, as base64url.
    pub signature: &'a str,
    claims: Map<String, Value>,
}

/// What a genuine token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Whose it is.
    pub user: User,
    /// When it ends by the host's clock, the leeway included.
    pub until: Millis,
}

impl<'a> Token<'a> {
    /// Reads a compact JWS.
    ///
    /// # Errors
    /// Why it can be none of ours.
    pub fn parse(text: &'a str) -> Result<Token<'a>, Denied> {
        if text.len() > TOKEN_BYTES_MAX {
            return Err("the token is too long");
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(MALFORMED)?;
        let (header, claims) =
            signed.split_once('.').filter(|(_, claims)| !claims.contains('.')).ok_or(MALFORMED)?;
        let header = object(header)?;
        let algorithm = header.get("alg").and_then(Value::as_str).ok_or(MALFORMED)?;
        // What a critical header asks for is not known here, so that it cannot be fulfilled (RFC 7515 §4.1.11).
        if header.contains_key("crit") {
            return Err(MALFORMED);
        }
        Ok(Token {
            algorithm: Algorithm::of(algorithm).ok_or("the token is of another algorithm")?,
            kid: header.get("kid").and_then(Value::as_str).map(str::to_owned),
            signed,
            signature,
            claims: object(claims)?,
        })
    }

    /// The signature's bytes; those of ES256 are r and s.
    ///
    /// # Errors
    /// It is not base64url.
    pub fn signature_bytes(&self) -> Result<Vec<u8>, Denied> {
        URL_SAFE_NO_PAD.decode(self.signature).map_err(|_| MALFORMED)
    }

    /// What it says, once its signature is known to be genuine.
    ///
    /// # Errors
    /// It is not in time, or not meant for this host.
    pub fn verified(&self, secret: &Secret, now: Millis) -> Result<Verified, Denied> {
        let now_s = now / 1000;
        let exp = time(&self.claims, "exp").ok().flatten().ok_or(LACKING)?;
        let ends_s = exp.saturating_add(LEEWAY_S);
        if ends_s <= now_s {
            return Err("the token has expired");
        }
        if time(&self.claims, "nbf")?.is_some_and(|nbf| nbf > now_s + LEEWAY_S) {
            return Err("the token is not valid yet");
        }
        let names = |claim: &str| match self.claims.get(claim) {
            None | Some(Value::Null) => Err(LACKING),
            Some(Value::String(one)) => Ok(vec![one.as_str()]),
            Some(Value::Array(many)) => Ok(many.iter().filter_map(Value::as_str).collect()),
            Some(_) => Err(MALFORMED),
        };
        if !secret.audience.is_empty() {
            let meant = names("aud")?;
            if !secret.audience.iter().any(|audience| meant.contains(&audience.as_str())) {
                return Err("the token is for another audience");
            }
        }
        if let Some(issuer) = &secret.issuer
            && !names("iss")?.contains(&issuer.as_str())
        {
            return Err("the token is of another issuer");
        }
        let user = user(&self.claims, &secret.namespace)?;
        Ok(Verified { user, until: ends_s.saturating_mul(1000).min(SEQ_MAX) })
    }
}

fn object(part: &str) -> Result<Map<String, Value>, Denied> {
    let json = URL_SAFE_NO_PAD.decode(part).map_err(|_| MALFORMED)?;
    serde_json::from_slice(&json).map_err(|_| MALFORMED)
}

/// A claim that is a time, in whole seconds since 1970.
fn time(claims: &Map<String, Value>, name: &str) -> Result<Option<u64>, Denied> {
    match claims.get(name) {
        None => Ok(None),
        Some(Value::Number(number)) => match number.as_u64() {
            Some(seconds) => Ok(Some(seconds)),
            // A fraction, or before 1970: the cast ends at the bounds.
            None => Ok(Some(number.as_f64().unwrap_or_default() as u64)),
        },
        Some(_) => Err(MALFORMED),
    }
}

fn user(claims: &Map<String, Value>, namespace: &str) -> Result<User, Denied> {
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
