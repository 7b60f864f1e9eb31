//! Tokens signed by hand, so that wrong ones can be made as well.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::{Sha256, Sha512};

/// A token as the suite's hosts accept it.
pub fn hs256(key: &str, claims: &Value) -> String {
    signed("HS256", key, claims)
}

/// HS256 or HS512 with that key; `none` leaves the signature empty.
pub fn signed(alg: &str, key: &str, claims: &Value) -> String {
    let message = format!("{}.{}", part(&json!({"alg": alg, "typ": "JWT"})), part(claims));
    let signature = match alg {
        "HS256" => mac::<Hmac<Sha256>>(key, &message),
        "HS512" => mac::<Hmac<Sha512>>(key, &message),
        _ => Vec::new(),
    };
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// The same token with other claims under the old signature.
pub fn tampered(token: &str, claims: &Value) -> String {
    let mut parts = token.split('.');
    let (header, _, signature) = (parts.next(), parts.next(), parts.next());
    format!("{}.{}.{}", header.unwrap_or_default(), part(claims), signature.unwrap_or_default())
}

fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn mac<M: Mac + KeyInit>(key: &str, message: &str) -> Vec<u8> {
    let mut mac = <M as KeyInit>::new_from_slice(key.as_bytes()).expect("HMAC takes a key of any length");
    mac.update(message.as_bytes());
    mac.finalize().into_bytes().to_vec()
}
