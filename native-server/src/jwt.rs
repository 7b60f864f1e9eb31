//! The users' own tokens, as `nself_sync_engine::jwt` reads them: here their signatures are checked and made.

mod jwks;
#[cfg(test)]
mod tests;

pub use nself_sync_engine::jwt::{Grant, Secret, Verified};

use anyhow::{Context, bail};
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk};
use jsonwebtoken::{DecodingKey, EncodingKey, Header, crypto};
use jwks::KeySet;
use nself_sync_engine::ids::Millis;
use nself_sync_engine::jwt::{Algorithm, Keys, Token};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::Instant;

const YEAR: Duration = Duration::from_secs(365 * 86_400);

/// Why a token proves nothing.
#[derive(Debug)]
pub enum Denied {
    /// The token's fault; why, without anything of the token.
    Token(&'static str),
    /// The key set could not be had, so no token can be told from another.
    KeysAway(Arc<anyhow::Error>),
}

/// Reads `HASURA_GRAPHQL_JWT_SECRET`, the key in it as well. The error says what is allowed and holds nothing of the value.
pub fn parse(text: &str) -> Result<Secret, String> {
    let secret = Secret::parse(text)?;
    if let Keys::Public(algorithm, pem) = &secret.keys {
        let allowed = || format!("for {} the public key or certificate as PEM", algorithm.as_str());
        public_key(*algorithm, pem).map_err(|_| allowed())?;
    }
    Ok(secret)
}

/// A secret that nobody else knows.
pub fn random() -> anyhow::Result<Secret> {
    let mut key = vec![0; 32];
    getrandom::fill(&mut key).context("no randomness")?;
    Ok(Secret::hs256(key))
}

/// A token that this secret's verifier accepts. Only HS256 keys can sign: of the others it is the public half.
pub fn mint(secret: &Secret, grant: &Grant) -> anyhow::Result<String> {
    let Keys::Hs256(key) = &secret.keys else {
        bail!("RS256 and ES256 tokens need the private key, which only who issues tokens has: sign in there");
    };
    let (header, key) = (Header::new(jsonwebtoken::Algorithm::HS256), EncodingKey::from_secret(key));
    jsonwebtoken::encode(&header, &secret.claims(grant, now()), &key).context("the token")
}

fn now() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis::try_from(since.as_millis()).unwrap_or(Millis::MAX)
}

/// A time of the clock, for who waits for it. Later than a year is as good as a year: no connection lasts that long.
pub fn instant(at: Millis) -> Instant {
    Instant::now() + Duration::from_millis(at.saturating_sub(now())).min(YEAR)
}

fn public_key(algorithm: Algorithm, pem: &str) -> jsonwebtoken::errors::Result<DecodingKey> {
    match algorithm {
        Algorithm::Es256 => DecodingKey::from_ec_pem(pem.as_bytes()),
        Algorithm::Hs256 | Algorithm::Rs256 => DecodingKey::from_rsa_pem(pem.as_bytes()),
    }
}

/// A key with the one algorithm that it is for.
struct Key {
    /// The id that a token's header may name; `None`: any.
    id: Option<String>,
    algorithm: Algorithm,
    decoding: DecodingKey,
}

impl Key {
    /// A key of a key set, if it is one for signatures of an algorithm that is allowed.
    fn of(jwk: &Jwk, allowed: Option<Algorithm>) -> Option<Key> {
        let algorithm = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => Algorithm::Rs256,
            AlgorithmParameters::EllipticCurve(curve) if curve.curve == EllipticCurve::P256 => {
                Algorithm::Es256
            }
            // Symmetric keys have no business at a URL, other curves are not of the protocol.
            _ => return None,
        };
        let is_named = jwk.common.key_algorithm.is_none_or(|named| named.to_string() == algorithm.as_str());
        let is_allowed = allowed.is_none_or(|allowed| allowed == algorithm);
        let decoding = DecodingKey::from_jwk(jwk).ok()?;
        (is_named && is_allowed).then(|| Key { id: jwk.common.key_id.clone(), algorithm, decoding })
    }

    /// Whether a token that names this key id may be of this key. Sets whose keys or tokens carry no id exist.
    fn is_meant(&self, kid: Option<&str>) -> bool {
        match (self.id.as_deref(), kid) {
            (Some(id), Some(kid)) => id == kid,
            (None, _) | (_, None) => true,
        }
    }

    fn signed(&self, token: &Token<'_>) -> bool {
        let algorithm = match self.algorithm {
            Algorithm::Hs256 => jsonwebtoken::Algorithm::HS256,
            Algorithm::Rs256 => jsonwebtoken::Algorithm::RS256,
            Algorithm::Es256 => jsonwebtoken::Algorithm::ES256,
        };
        let genuine = crypto::verify(token.signature, token.signed.as_bytes(), &self.decoding, algorithm);
        genuine.unwrap_or(false)
    }
}

enum KeyRing {
    One(Box<Key>),
    Set(KeySet),
}

/// Verifies tokens.
pub struct Verifier {
    keys: KeyRing,
    secret: Secret,
}

impl Verifier {
    /// A verifier by the configured secret. No IO: a key set is fetched with the first token.
    ///
    /// # Errors
    /// The secret's key cannot be read, which [`parse`] tells before.
    pub fn new(secret: &Secret) -> anyhow::Result<Verifier> {
        let one = |algorithm, decoding| KeyRing::One(Box::new(Key { id: None, algorithm, decoding }));
        let keys = match &secret.keys {
            Keys::Hs256(key) => one(Algorithm::Hs256, DecodingKey::from_secret(key)),
            Keys::Public(algorithm, pem) => one(*algorithm, public_key(*algorithm, pem).context("the key")?),
            Keys::At(url, algorithm) => KeyRing::Set(KeySet::new(url, *algorithm)),
        };
        Ok(Verifier { keys, secret: secret.clone() })
    }

    /// What the token says, if it is genuine, in time and meant for this server.
    pub async fn verify(&self, token: &str) -> Result<Verified, Denied> {
        let token = Token::parse(token).map_err(Denied::Token)?;
        let is_genuine = match &self.keys {
            KeyRing::One(key) if key.algorithm != token.algorithm => {
                return Err(Denied::Token("the token is of another algorithm"));
            }
            KeyRing::One(key) => key.signed(&token),
            KeyRing::Set(set) => {
                let kid = token.kid.as_deref();
                let keys = set.keys(kid).await.map_err(Denied::KeysAway)?;
                let mut fitting = keys
                    .iter()
                    .filter(|key| key.algorithm == token.algorithm && key.is_meant(kid))
                    .peekable();
                if fitting.peek().is_none() {
                    return Err(Denied::Token("no key of the key set fits the token"));
                }
                fitting.any(|key| key.signed(&token))
            }
        };
        match is_genuine {
            true => token.verified(&self.secret, now()).map_err(Denied::Token),
            false => Err(Denied::Token("the token's signature is not valid")),
        }
    }
}
