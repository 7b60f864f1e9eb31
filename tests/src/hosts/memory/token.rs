//! The users' tokens, as far as cases without HTTP need them: HS256 with the suite's key.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use nself_sync_engine::ids::User;
use serde_json::Value;
use sha2::Sha256;

/// Verifies tokens.
pub(super) struct Verifier {
    key: String,
}

impl Verifier {
    /// By `HASURA_GRAPHQL_JWT_SECRET`: JSON of type HS256, or the key itself.
    pub(super) fn new(secret: &str) -> Result<Self> {
        if !secret.trim_start().starts_with('{') {
            return Ok(Self { key: secret.to_owned() });
        }
        let secret: Value = serde_json::from_str(secret).context("HASURA_GRAPHQL_JWT_SECRET")?;
        ensure!(secret["type"] == "HS256", "the memory host knows HS256 only");
        Ok(Self { key: secret["key"].as_str().context("HASURA_GRAPHQL_JWT_SECRET has no key")?.to_owned() })
    }

    /// Who the token says it is, if it is genuine and in time.
    pub(super) fn verify(&self, token: &str) -> Result<User, &'static str> {
        let malformed = "the token is malformed";
        let (message, signature) = token.rsplit_once('.').ok_or(malformed)?;
        let (header, claims) = message.split_once('.').ok_or(malformed)?;
        if part(header).ok_or(malformed)?["alg"] != "HS256" {
            return Err("the token is of another algorithm");
        }
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| malformed)?;
        let mut mac =
            <Hmac<Sha256> as KeyInit>::new_from_slice(self.key.as_bytes()).map_err(|_| malformed)?;
        mac.update(message.as_bytes());
        mac.verify_slice(&signature).map_err(|_| "the token's signature is not valid")?;
        let claims = part(claims).ok_or(malformed)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        match (claims["exp"].as_u64(), claims["nbf"].as_u64()) {
            (None, _) => Err("the token lacks a required claim"),
            (Some(exp), _) if exp <= now => Err("the token has expired"),
            (_, Some(nbf)) if nbf > now => Err("the token is not valid yet"),
            (Some(_), _) => user(&claims).ok_or(malformed),
        }
    }
}

fn part(part: &str) -> Option<Value> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

fn user(claims: &Value) -> Option<User> {
    let hasura = &claims["https://hasura.io/jwt/claims"];
    let id = hasura.get("x-hasura-user-id").or(claims.get("sub"))?.as_str()?;
    let account = hasura.get("x-hasura-source-account-id").map_or(Some("primary"), Value::as_str)?;
    Some(User { account: account.to_owned(), id: id.to_owned() })
}
