//! A device's sync token: `nst_<route>.<secret>`, both base64url. The route names account, user and
//! device, so that a host finds whom to ask; only the secret's SHA-256 is kept.

use crate::call::Caller;
use crate::ids::{Hash, User};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

const PREFIX: &str = "nst_";

/// The longest account, user or device id that a token carries.
const PART_BYTES_MAX: usize = 256;

/// Whether a bearer token means to be a sync token rather than a JWT.
pub fn is_sync_token(token: &str) -> bool {
    token.starts_with(PREFIX)
}

/// The caller that a sync token claims to be. The claim is checked against the device's row.
pub fn parse(token: &str) -> Option<Caller> {
    let (route, secret) = token.strip_prefix(PREFIX)?.split_once('.')?;
    let secret: [u8; 32] = URL_SAFE_NO_PAD.decode(secret).ok()?.try_into().ok()?;
    let route = URL_SAFE_NO_PAD.decode(route).ok()?;
    let (account, rest) = take(&route)?;
    let (id, rest) = take(rest)?;
    let (device_id, rest) = take(rest)?;
    let user = User { account, id };
    rest.is_empty().then(|| Caller::Device { user, device_id, secret: Hash::of(&secret) })
}

/// The token of a device with this secret.
pub fn render(user: &User, device_id: &str, secret: &[u8; 32]) -> String {
    let mut route = Vec::new();
    for part in [&user.account, &user.id, device_id] {
        route.extend_from_slice(&(part.len() as u16).to_be_bytes());
        route.extend_from_slice(part.as_bytes());
    }
    format!("{PREFIX}{}.{}", URL_SAFE_NO_PAD.encode(route), URL_SAFE_NO_PAD.encode(secret))
}

/// Whether two hashes are the same, in a time that does not depend on where they differ.
pub fn same(a: &Hash, b: &Hash) -> bool {
    a.0.iter().zip(b.0).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

fn take(route: &[u8]) -> Option<(String, &[u8])> {
    let (length, rest) = route.split_first_chunk::<2>()?;
    let (part, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    let part = String::from_utf8(part.to_vec()).ok()?;
    let fits = (1..=PART_BYTES_MAX).contains(&part.len()) && !part.contains(char::is_control);
    fits.then_some((part, rest))
}

#[cfg(test)]
mod tests;
