//! A box's data key, wrapped once per secret.

use super::{Key, Nonce, SealError, bound, bytes, cipher, recovery};
use crate::wire::put;
use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::XNonce;
use chacha20poly1305::aead::{Aead, Payload};
use hkdf::Hkdf;
use serde_json::{Value, json};
use sha2::Sha256;
use zeroize::Zeroizing;

/// Memory in KiB, passes and lanes of Argon2id: the second recommendation of RFC 9106. Other costs in a box are
/// refused, or a host could ask for any amount of work.
const ARGON2_COST: [u32; 3] = [64 * 1024, 3, 4];

/// What is stretched by HKDF has the entropy of a key already.
const AUTH_BYTES_MIN: usize = 16;

/// What opens a box.
pub enum Secret<'a> {
    /// The user's long-lived auth secret, of 16 bytes or more.
    Auth(&'a [u8]),
    /// A passphrase, in Unicode's form NFKC.
    Passphrase(&'a str),
    /// A [`recovery_code`](super::recovery_code), as the user types it.
    Recovery(&'a str),
}

/// The random bytes of one wrap.
pub struct Fresh {
    /// Of the key that wraps.
    pub salt: [u8; 16],
    /// Of the wrap.
    pub nonce: Nonce,
}

impl Secret<'_> {
    fn kdf(&self) -> &'static str {
        match self {
            Secret::Auth(_) => "hkdf-sha256",
            Secret::Passphrase(_) => "argon2id",
            Secret::Recovery(_) => "recovery-hkdf-sha256",
        }
    }

    /// The key that wraps.
    fn stretch(&self, salt: &[u8; 16]) -> Result<Key, SealError> {
        match self {
            Secret::Auth(secret) if secret.len() < AUTH_BYTES_MIN => {
                Err(SealError::InvalidSecret("an auth secret has 16 bytes or more"))
            }
            Secret::Auth(secret) => expand(secret, salt, self.kdf()),
            Secret::Recovery(code) => expand(&*recovery::parse(code)?, salt, self.kdf()),
            Secret::Passphrase("") => Err(SealError::InvalidSecret("a passphrase is not empty")),
            Secret::Passphrase(passphrase) => {
                let too_long = |_| SealError::InvalidSecret("the passphrase is too long");
                let [memory_kib, passes, lanes] = ARGON2_COST;
                let params = Params::new(memory_kib, passes, lanes, Some(32)).map_err(too_long)?;
                let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
                let mut key = Key::default();
                argon2.hash_password_into(passphrase.as_bytes(), salt, &mut *key).map_err(too_long)?;
                Ok(key)
            }
        }
    }
}

fn expand(secret: &[u8], salt: &[u8; 16], info: &str) -> Result<Key, SealError> {
    let mut key = Key::default();
    let expanded = Hkdf::<Sha256>::new(Some(salt), secret).expand(info.as_bytes(), &mut *key);
    expanded.map_err(|_| SealError::InvalidSecret("the secret cannot be stretched"))?;
    Ok(key)
}

/// A wrap's key id.
pub(super) fn kid(wrap: &Value) -> Option<&str> {
    wrap.get("kid").and_then(Value::as_str)
}

/// The data key wrapped by this secret.
pub(super) fn make(
    user: &str,
    data_key: &Key,
    kid: &str,
    secret: &Secret<'_>,
    fresh: &Fresh,
) -> Result<Value, SealError> {
    let payload = Payload { msg: data_key.as_slice(), aad: &bound(secret.kdf(), kid, user) };
    let sealed = cipher(&secret.stretch(&fresh.salt)?).encrypt(&XNonce::from(fresh.nonce), payload);
    let mut wrap = json!({
        "kid": kid,
        "kdf": secret.kdf(),
        "salt": STANDARD.encode(fresh.salt),
        "nonce": STANDARD.encode(fresh.nonce),
        "ct": STANDARD.encode(sealed.map_err(|_| SealError::TooLarge)?),
    });
    if matches!(secret, Secret::Passphrase(_)) {
        let [memory_kib, passes, lanes] = ARGON2_COST;
        put(&mut wrap, "m", json!(memory_kib));
        put(&mut wrap, "t", json!(passes));
        put(&mut wrap, "p", json!(lanes));
    }
    Ok(wrap)
}

/// The data key by the first wrap that this secret opens.
pub(super) fn open_any(
    wraps: &[Value],
    user: &str,
    secret: &Secret<'_>,
    key_id: Option<&str>,
) -> Result<Key, SealError> {
    let is_kind = |wrap: &Value| wrap.get("kdf").and_then(Value::as_str) == Some(secret.kdf());
    let mut failure = SealError::NoWrap;
    for wrap in wraps.iter().filter(|wrap| is_kind(wrap)) {
        match kid(wrap) {
            Some(kid) if key_id.is_none_or(|key_id| key_id == kid) => match open(wrap, kid, user, secret) {
                Ok(key) => return Ok(key),
                Err(why) => failure = why,
            },
            Some(_) | None => {}
        }
    }
    Err(failure)
}

fn open(wrap: &Value, kid: &str, user: &str, secret: &Secret<'_>) -> Result<Key, SealError> {
    let text = |name: &str| wrap.get(name).and_then(Value::as_str).ok_or(SealError::Damaged);
    if matches!(secret, Secret::Passphrase(_)) {
        let cost = ["m", "t", "p"].map(|name| wrap.get(name).and_then(Value::as_u64));
        if cost != ARGON2_COST.map(|cost| Some(cost.into())) {
            return Err(SealError::UnknownAlg);
        }
    }
    let (salt, nonce) = (bytes(text("salt")?)?, bytes::<24>(text("nonce")?)?);
    let sealed: [u8; 48] = bytes(text("ct")?)?;
    let payload = Payload { msg: &sealed, aad: &bound(secret.kdf(), kid, user) };
    let opened = cipher(&secret.stretch(&salt)?).decrypt(&XNonce::from(nonce), payload);
    let opened = Zeroizing::new(opened.map_err(|_| SealError::WrongKey)?);
    let key = <[u8; 32]>::try_from(opened.as_slice()).map_err(|_| SealError::Damaged)?;
    Ok(Zeroizing::new(key))
}
