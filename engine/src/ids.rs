//! The small values that name things, validated where they enter.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Serialize, Serializer};
use sha2::{Digest, Sha256};
use std::fmt;

/// A per-user counter: 0 before anything, then gapless, at most [`SEQ_MAX`].
pub type Seq = u64;

/// The largest seq, and the largest integer a JSON number carries exactly: 2^53 − 1.
pub const SEQ_MAX: Seq = (1 << 53) - 1;

/// Milliseconds since 1970-01-01T00:00:00Z.
pub type Millis = u64;

/// Whose state it is. Both parts come from the token, never from a body.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct User {
    /// The application within one installation, `primary` unless the token says otherwise.
    pub account: String,
    /// The user's id.
    pub id: String,
}

/// SHA-256 of a content's bytes, written as 64 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// The hash of `bytes`.
    pub fn of(bytes: &[u8]) -> Hash {
        Hash(Sha256::digest(bytes).into())
    }

    /// Reads 64 hex digits, either case.
    pub fn parse(hex: &str) -> Option<Hash> {
        parse_hex(hex).map(Hash)
    }

    /// 43 characters of base64url: how stored deltas, which are many, name contents.
    pub fn to_base64(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// Reads [`Hash::to_base64`].
    pub fn from_base64(text: &str) -> Option<Hash> {
        URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok().map(Hash)
    }

    /// The first six bytes as an integer, what the index of contents is keyed by: a store's driver may be JavaScript, which
    /// has no integers beyond 2^53.
    pub fn prefix(&self) -> i64 {
        let [a, b, c, d, e, f, ..] = self.0;
        i64::from_be_bytes([0, 0, a, b, c, d, e, f])
    }
}

/// A hash chained over the deltas up to a seq, written as 16 hex digits: two histories that differ
/// have different tags from there on.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Tag(pub [u8; 8]);

impl Tag {
    /// The tag of seq 0.
    pub fn initial(epoch: &str) -> Tag {
        Tag::from_digest(Sha256::digest(epoch.as_bytes()).into())
    }

    /// The tag of the delta that follows this one.
    pub fn next(&self, seq: Seq, device_id: &str, created_at: Millis, diff: &str) -> Tag {
        let mut hasher = Sha256::new();
        hasher.update(self.0);
        hasher.update(seq.to_be_bytes());
        hasher.update(created_at.to_be_bytes());
        hasher.update((device_id.len() as u64).to_be_bytes());
        hasher.update(device_id.as_bytes());
        hasher.update(diff.as_bytes());
        Tag::from_digest(hasher.finalize().into())
    }

    /// Reads 16 hex digits, either case.
    pub fn parse(hex: &str) -> Option<Tag> {
        parse_hex(hex).map(Tag)
    }

    fn from_digest([a, b, c, d, e, f, g, h, ..]: [u8; 32]) -> Tag {
        Tag([a, b, c, d, e, f, g, h])
    }
}

fn parse_hex<const N: usize>(hex: &str) -> Option<[u8; N]> {
    let mut out = [0; N];
    if hex.len() != N * 2 {
        return None;
    }
    for (byte, pair) in out.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
        let digit = |c: &u8| char::from(*c).to_digit(16);
        let [high, low] = pair else { return None };
        *byte = u8::try_from(digit(high)? * 16 + digit(low)?).ok()?;
    }
    Some(out)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hash({self})")
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tag({self})")
    }
}

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Tag {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What a device runs on, as the plugin page has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Platform {
    /// macOS, Windows, Linux.
    Desktop,
    /// iOS, Android.
    Mobile,
    /// A browser.
    Web,
    /// Neither said by the client nor to be read off the device id.
    Unknown,
}

impl Platform {
    /// The platform of a client's own word, else of the device id's prefix.
    pub fn of(word: Option<&str>, device_id: &str) -> Platform {
        let prefix = device_id.split(['-', '_', ':', '.']).next().unwrap_or_default();
        let named = word.map(Platform::named).unwrap_or(Platform::Unknown);
        if named == Platform::Unknown { Platform::named(prefix) } else { named }
    }

    fn named(word: &str) -> Platform {
        match word.to_ascii_lowercase().as_str() {
            "desktop" | "macos" | "windows" | "linux" => Platform::Desktop,
            "mobile" | "ios" | "android" => Platform::Mobile,
            "web" => Platform::Web,
            _ => Platform::Unknown,
        }
    }

    /// The word stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Platform::Desktop => "desktop",
            Platform::Mobile => "mobile",
            Platform::Web => "web",
            Platform::Unknown => "unknown",
        }
    }
}

/// Random bytes that the host made for one call: a new epoch, a new sync token and conflict ids are
/// derived from them, each under a name of its own.
#[derive(Clone, Copy)]
pub struct Fresh(pub [u8; 32]);

impl Fresh {
    /// 32 bytes for the use named `label`; of different labels nothing follows from one another.
    pub fn derive(&self, label: &str) -> [u8; 32] {
        let mut hasher = Sha256::new();
        hasher.update(b"nself-sync ");
        hasher.update(self.0);
        hasher.update(label.as_bytes());
        hasher.finalize().into()
    }

    /// A new epoch: 32 hex digits.
    pub fn epoch(&self) -> String {
        self.id("epoch")
    }

    /// A new identifier: 32 hex digits.
    pub fn id(&self, label: &str) -> String {
        let mut id = hex(&self.derive(label));
        id.truncate(32);
        id
    }
}

#[cfg(test)]
mod tests;
