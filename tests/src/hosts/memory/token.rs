//! The users' tokens, as far as cases without HTTP need them: HS256 with the suite's key.

use anyhow::{Result, anyhow, ensure};
use hmac::{Hmac, KeyInit, Mac};
use nself_sync_engine::ids::{Millis, User};
use nself_sync_engine::jwt::{Algorithm, Denied, Keys, Secret, Token};
use sha2::Sha256;

/// Verifies tokens.
pub(super) struct Verifier(Secret);

impl Verifier {
    /// By `HASURA_GRAPHQL_JWT_SECRET`.
    pub(super) fn new(secret: &str) -> Result<Self> {
        let secret = Secret::parse(secret).map_err(|allowed| anyhow!("allowed is {allowed}"))?;
        ensure!(matches!(secret.keys, Keys::Hs256(_)), "the memory host knows HS256 only");
        Ok(Self(secret))
    }

    /// Who the token says it is, if it is genuine and in time.
    pub(super) fn verify(&self, token: &str, now: Millis) -> Result<User, Denied> {
        let token = Token::parse(token)?;
        let Keys::Hs256(key) = &self.0.keys else { return Err("no key") };
        if token.algorithm != Algorithm::Hs256 {
            return Err("the token is of another algorithm");
        }
        let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key).map_err(|_| "no key")?;
        mac.update(token.signed.as_bytes());
        mac.verify_slice(&token.signature_bytes()?).map_err(|_| "the token's signature is not valid")?;
        token.verified(&self.0, now).map(|verified| verified.user)
    }
}
