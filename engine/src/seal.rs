//! Sealed environment variables, the boxes in `env_encrypted`: docs/protocol.md, section 11. A random data key seals
//! the variables; each secret of the user wraps that key. Keys, nonces and salts are the caller's random bytes, each
//! used once.

mod recovery;
mod wrap;

pub use recovery::recovery_code;
pub use wrap::{Fresh, Secret};

use crate::key;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt;
use zeroize::Zeroizing;

/// What a box holds, by name.
pub type Variables = BTreeMap<String, String>;

/// A key of 32 bytes, wiped when it is dropped.
pub type Key = Zeroizing<[u8; 32]>;

/// The nonce of a seal or a wrap.
pub type Nonce = [u8; 24];

const VERSION: u64 = 1;
const ALG: &str = "xchacha20poly1305";

/// The wraps of a box; each may cost an Argon2id.
const WRAPS_MAX: usize = 16;

/// The variables as JSON: a box with all its wraps is so within `Policy::env_bytes_max`.
const VARIABLES_BYTES_MAX: usize = 180 * 1024;

/// Why a box was not opened, or not changed. Nothing secret is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SealError {
    /// No object with the fields of a box.
    NotABox,
    /// A box of another version.
    UnknownVersion,
    /// Another cipher, or another cost of Argon2id.
    UnknownAlg,
    /// No wrap for this kind of secret, or not under this key id.
    NoWrap,
    /// Another secret or another user's box; a wrap that is damaged looks the same.
    WrongKey,
    /// The secret is right, or no secret could be: bytes have changed.
    Damaged,
    /// A secret that none can be; what it has to be.
    InvalidSecret(&'static str),
    /// A key id is a name: 1 to 256 bytes, no `/`, no control character.
    InvalidKid,
    /// Without its last wrap nobody could open the box.
    LastWrap,
    /// More than 16 wraps.
    TooManyWraps,
    /// More than 180 KiB of variables.
    TooLarge,
}

impl SealError {
    /// The error's name for programs.
    pub fn code(self) -> &'static str {
        match self {
            SealError::NotABox => "not_a_box",
            SealError::UnknownVersion => "unknown_version",
            SealError::UnknownAlg => "unknown_alg",
            SealError::NoWrap => "no_wrap",
            SealError::WrongKey => "wrong_key",
            SealError::Damaged => "damaged",
            SealError::InvalidSecret(_) => "invalid_secret",
            SealError::InvalidKid => "invalid_kid",
            SealError::LastWrap => "last_wrap",
            SealError::TooManyWraps => "too_many_wraps",
            SealError::TooLarge => "too_large",
        }
    }
}

impl fmt::Display for SealError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SealError::NotABox => "this is no sealed box",
            SealError::UnknownVersion => "the box is of a version that this client does not know",
            SealError::UnknownAlg => "the box is sealed in a way that this client does not know",
            SealError::NoWrap => "the box cannot be opened with this kind of secret",
            SealError::WrongKey => "the secret does not open the box",
            SealError::Damaged => "the box is damaged",
            SealError::InvalidSecret(problem) => problem,
            SealError::InvalidKid => "a key id has 1 to 256 bytes, no `/` and no control character",
            SealError::LastWrap => "nobody could open the box without its last wrap",
            SealError::TooManyWraps => "a box has at most 16 wraps",
            SealError::TooLarge => "the variables have at most 180 KiB",
        })
    }
}

impl std::error::Error for SealError {}

/// A box while it is open. It has no `Debug`: all of it is secret but its wraps.
pub struct OpenBox {
    user: String,
    key: Key,
    variables: Variables,
    /// As they stand in the box, those of kinds that this version does not know as well.
    wraps: Vec<Value>,
    nonce: Nonce,
    sealed: Vec<u8>,
}

impl OpenBox {
    /// A new box of this user (the id in its token), with one wrap.
    pub fn new(
        user: &str,
        variables: Variables,
        key: Key,
        nonce: Nonce,
        kid: &str,
        secret: &Secret<'_>,
        fresh: &Fresh,
    ) -> Result<OpenBox, SealError> {
        let sealed = seal(user, &key, &nonce, &variables)?;
        let user = user.to_owned();
        let mut open = OpenBox { user, key, variables, wraps: Vec::new(), nonce, sealed };
        open.add_wrap(kid, secret, fresh)?;
        Ok(open)
    }

    /// Opens `env_encrypted` with a secret: by the wrap with this key id, or by whichever of its kind opens.
    pub fn open(
        user: &str,
        value: &Value,
        secret: &Secret<'_>,
        kid: Option<&str>,
    ) -> Result<OpenBox, SealError> {
        let text = |name: &str| value.get(name).and_then(Value::as_str).ok_or(SealError::NotABox);
        let wraps = value.get("wraps").and_then(Value::as_array).ok_or(SealError::NotABox)?;
        match value.get("v").filter(|v| v.is_u64() || v.is_i64()) {
            None => return Err(SealError::NotABox),
            Some(version) if version.as_u64() != Some(VERSION) => return Err(SealError::UnknownVersion),
            Some(_) if text("alg")? != ALG => return Err(SealError::UnknownAlg),
            Some(_) if wraps.is_empty() || wraps.len() > WRAPS_MAX => return Err(SealError::NotABox),
            Some(_) => {}
        }
        let nonce = bytes(text("nonce")?)?;
        let sealed = STANDARD.decode(text("ct")?).map_err(|_| SealError::Damaged)?;
        let key = wrap::open_any(wraps, user, secret, kid)?;
        let variables = unseal(user, &key, &nonce, &sealed)?;
        Ok(OpenBox { user: user.to_owned(), key, variables, wraps: wraps.clone(), nonce, sealed })
    }

    /// What is in it.
    pub fn variables(&self) -> &Variables {
        &self.variables
    }

    /// Seals other variables, under the same key: every wrap goes on opening the box.
    pub fn replace(&mut self, variables: Variables, nonce: Nonce) -> Result<(), SealError> {
        self.sealed = seal(&self.user, &self.key, &nonce, &variables)?;
        self.nonce = nonce;
        self.variables = variables;
        Ok(())
    }

    /// The key ids of its wraps.
    pub fn kids(&self) -> impl Iterator<Item = &str> {
        self.wraps.iter().filter_map(wrap::kid)
    }

    /// Lets one more secret open the box, or another in place of the one with this key id.
    pub fn add_wrap(&mut self, kid: &str, secret: &Secret<'_>, fresh: &Fresh) -> Result<(), SealError> {
        if !key::is_name(kid) {
            return Err(SealError::InvalidKid);
        }
        let others = self.wraps.iter().filter(|wrap| wrap::kid(wrap) != Some(kid)).count();
        if others >= WRAPS_MAX {
            return Err(SealError::TooManyWraps);
        }
        let added = wrap::make(&self.user, &self.key, kid, secret, fresh)?;
        self.wraps.retain(|wrap| wrap::kid(wrap) != Some(kid));
        self.wraps.push(added);
        Ok(())
    }

    /// Ends what a wrap opens, from the next box on. Whoever has opened the box with it may still hold the data key:
    /// against them seal a new one.
    pub fn remove_wrap(&mut self, kid: &str) -> Result<(), SealError> {
        let others = self.kids().filter(|other| *other != kid).count();
        if others == self.wraps.len() {
            return Err(SealError::NoWrap);
        }
        if others == 0 {
            return Err(SealError::LastWrap);
        }
        self.wraps.retain(|wrap| wrap::kid(wrap) != Some(kid));
        Ok(())
    }

    /// The value of `env_encrypted`.
    pub fn render(&self) -> Value {
        json!({
            "v": VERSION,
            "alg": ALG,
            "wraps": self.wraps,
            "nonce": STANDARD.encode(self.nonce),
            "ct": STANDARD.encode(&self.sealed),
        })
    }
}

fn seal(user: &str, key: &Key, nonce: &Nonce, variables: &Variables) -> Result<Vec<u8>, SealError> {
    let text = Zeroizing::new(json!(variables).to_string());
    if text.len() > VARIABLES_BYTES_MAX {
        return Err(SealError::TooLarge);
    }
    let payload = Payload { msg: text.as_bytes(), aad: &bound("box", "", user) };
    cipher(key).encrypt(&XNonce::from(*nonce), payload).map_err(|_| SealError::TooLarge)
}

fn unseal(user: &str, key: &Key, nonce: &Nonce, sealed: &[u8]) -> Result<Variables, SealError> {
    let payload = Payload { msg: sealed, aad: &bound("box", "", user) };
    let text = cipher(key).decrypt(&XNonce::from(*nonce), payload).map_err(|_| SealError::Damaged)?;
    serde_json::from_slice(&Zeroizing::new(text)).map_err(|_| SealError::Damaged)
}

fn cipher(key: &Key) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new((&**key).into())
}

/// What is authenticated besides: version, purpose, key id (no control character is in one), user.
fn bound(purpose: &str, kid: &str, user: &str) -> Vec<u8> {
    format!("nself-sync env {VERSION} {ALG} {purpose}\0{kid}\0{user}").into_bytes()
}

fn bytes<const N: usize>(text: &str) -> Result<[u8; N], SealError> {
    let bytes = STANDARD.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or(SealError::Damaged)
}

#[cfg(test)]
mod tests;
