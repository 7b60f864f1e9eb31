//! A document's history: segments of a keyframe and the patches that follow it, so that storing a
//! keystroke costs the bytes of a keystroke, and rebuilding any version one keyframe and one pack.
//!
//! A pack is a header byte (what the keyframe was when the segment began) and entries:
//!
//! ```text
//! varint  seq − start
//! u8      cause, +128 when the version is a removal
//! aside:  hash (32 bytes), varint created_at, varint length, device id
//! content: varint length, patch against the chain's content so far
//! ```
//!
//! A version advances the chain; an aside (what a device pushed that never was head) is a patch on the
//! content of its moment and does not. A removal keeps the chain's content: what comes back is diffed
//! against it. A new segment begins when the pack has grown to the size of its content (within
//! [`PACK_BYTES`]) or to [`PACK_ENTRIES_MAX`] entries: so history costs at most about twice its patches,
//! and a rebuild at most a few times its content.

use crate::commit::SegmentWrite;
use crate::ids::{Hash, Millis, Seq};
use crate::slice::{Cause, Segment};
use crate::text::Patch;
use std::ops::RangeInclusive;

/// The sizes between which a pack is closed, bytes.
pub const PACK_BYTES: RangeInclusive<usize> = 2 << 10..=32 << 10;

/// The most entries of a pack.
pub const PACK_ENTRIES_MAX: usize = 1024;

const KEYFRAME_LEVEL: u8 = 6;
const REMOVED_BIT: u8 = 128;

/// Stored history that cannot be read: damage, or a bug. Says where, never content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Corrupt(pub String);

/// A document at a point of its history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum At {
    /// Not there yet.
    Absent,
    /// Removed.
    Removed,
    /// Its content.
    Content(Vec<u8>),
}

/// One entry of a pack, as a history shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The seq it carries.
    pub seq: Seq,
    /// Why it is there.
    pub cause: Cause,
    /// Whether it is a removal.
    pub removed: bool,
    /// What only asides carry themselves; a version's are in its delta.
    pub aside: Option<Aside>,
    patch: Patch,
}

/// Where an aside came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aside {
    /// Its content's hash.
    pub hash: Hash,
    /// When it arrived.
    pub created_at: Millis,
    /// Which device pushed it.
    pub device_id: String,
}

#[derive(Clone, Copy, PartialEq)]
enum Carried {
    Nothing = 0,
    Content = 1,
    Removal = 2,
}

impl Segment {
    /// The document as it was at `seq`, which must lie in this segment.
    pub fn at(&self, seq: Seq) -> Result<At, Corrupt> {
        let (carried, entries) = self.read()?;
        let mut present = match carried {
            Carried::Nothing => At::Absent,
            Carried::Removal => At::Removed,
            Carried::Content => At::Content(Vec::new()),
        };
        let mut patches = Vec::new();
        for entry in entries.into_iter().take_while(|entry| entry.seq <= seq) {
            if entry.cause.is_version() {
                present = if entry.removed { At::Removed } else { At::Content(Vec::new()) };
                patches.push(entry.patch);
            }
        }
        match present {
            At::Content(_) => Ok(At::Content(self.rebuild(patches)?)),
            At::Absent | At::Removed => Ok(present),
        }
    }

    /// The content with `hash` among the versions and asides at `seq`.
    pub fn content(&self, seq: Seq, hash: Hash) -> Result<Option<Vec<u8>>, Corrupt> {
        let (_, entries) = self.read()?;
        let mut patches = Vec::new();
        let mut last = None;
        for entry in entries.into_iter().take_while(|entry| entry.seq <= seq) {
            match entry.aside {
                Some(aside) if aside.hash == hash => {
                    patches.push(entry.patch);
                    return self.verified(patches, hash);
                }
                Some(_) => {}
                None => {
                    patches.push(entry.patch);
                    last = Some(patches.len());
                }
            }
        }
        patches.truncate(last.unwrap_or_default());
        self.verified(patches, hash)
    }

    /// The entries, oldest first.
    pub fn entries(&self) -> Result<Vec<Entry>, Corrupt> {
        self.read().map(|(_, entries)| entries)
    }

    fn verified(&self, patches: Vec<Patch>, hash: Hash) -> Result<Option<Vec<u8>>, Corrupt> {
        let content = self.rebuild(patches)?;
        Ok(Some(content).filter(|content| Hash::of(content) == hash))
    }

    fn rebuild(&self, patches: Vec<Patch>) -> Result<Vec<u8>, Corrupt> {
        let keyframe = inflate(&self.keyframe).ok_or_else(|| self.corrupt("keyframe"))?;
        if patches.is_empty() {
            return Ok(keyframe);
        }
        let patch = Patch::compose_all(patches).map_err(|error| self.corrupt(&error.to_string()))?;
        patch.apply(&keyframe).map_err(|error| self.corrupt(&error.to_string()))
    }

    fn read(&self) -> Result<(Carried, Vec<Entry>), Corrupt> {
        let mut reader = Reader(&self.pack);
        let parsed = reader.carried().and_then(|carried| {
            let mut entries = Vec::new();
            while !reader.0.is_empty() {
                entries.push(reader.entry(self.start)?);
            }
            Some((carried, entries))
        });
        parsed.ok_or_else(|| self.corrupt("pack"))
    }

    fn corrupt(&self, what: &str) -> Corrupt {
        Corrupt(format!("segment {} of a document: {what}", self.start))
    }
}

/// A segment that begins later: what its history was up to a seq is forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trimmed {
    /// In place of the old one.
    pub segment: SegmentWrite,
    /// The hash of the version that stands at its beginning; `None`: there is none, or a removal.
    pub first: Option<Hash>,
}

impl Segment {
    /// The segment without its entries up to `floor`, but with what the document was there. `None`: there is
    /// nothing to forget.
    pub fn trim(&self, floor: Seq) -> Result<Option<Trimmed>, Corrupt> {
        let (mut carried, entries) = self.read()?;
        let mut start = self.start;
        let (old, kept): (Vec<Entry>, Vec<Entry>) = entries.into_iter().partition(|entry| entry.seq <= floor);
        // A document's first segment begins with its first content.
        let is_first = |entry: &Entry| entry.aside.is_none() && entry.patch.is_empty();
        let forgets = old.len() > 1 || old.iter().any(|entry| !is_first(entry));
        let mut patches = Vec::new();
        for entry in old.into_iter().filter(|entry| entry.cause.is_version()) {
            carried = if entry.removed { Carried::Removal } else { Carried::Content };
            start = entry.seq;
            patches.push(entry.patch);
        }
        if !forgets {
            return Ok(None);
        }
        let content = self.rebuild(patches)?;
        let first = (carried == Carried::Content).then(|| Hash::of(&content));
        let mut open = Open::begin(start, carried as u8, &content);
        for entry in kept {
            open.entry(entry.seq, entry.cause.code() | if entry.removed { REMOVED_BIT } else { 0 });
            entry.aside.iter().for_each(|aside| open.from(aside));
            open.patch(&entry.patch);
        }
        let Open { start, keyframe, pack, .. } = open;
        let key = self.key.clone();
        Ok(Some(Trimmed { segment: SegmentWrite { key, start, keyframe, pack, stored: 0 }, first }))
    }
}

/// The end of a document's history, to append to.
#[derive(Debug, Clone)]
pub struct Tail {
    key: String,
    current: Vec<u8>,
    carried: u8,
    open: Option<Open>,
}

#[derive(Debug, Clone)]
struct Open {
    start: Seq,
    keyframe: Option<Vec<u8>>,
    pack: Vec<u8>,
    stored: usize,
    entries: usize,
    last: Seq,
    changed: bool,
}

impl Tail {
    /// Opens the newest segment of `key`, or none when it has no history.
    pub fn open(key: &str, segment: Option<&Segment>) -> Result<Tail, Corrupt> {
        let Some(segment) = segment else {
            return Ok(Tail { key: key.to_owned(), current: Vec::new(), carried: 0, open: None });
        };
        let (carried, entries) = segment.read()?;
        let last = entries.last().map_or(segment.start, |entry| entry.seq);
        let count = entries.len();
        let newest = entries.iter().rfind(|entry| entry.cause.is_version()).map(|entry| entry.removed);
        let carried = match newest {
            Some(true) => Carried::Removal,
            Some(false) => Carried::Content,
            None => carried,
        };
        let patches = entries.into_iter().filter(|entry| entry.cause.is_version()).map(|e| e.patch);
        let current = segment.rebuild(patches.collect())?;
        let open = Open {
            start: segment.start,
            keyframe: None,
            pack: segment.pack.clone(),
            stored: segment.pack.len(),
            entries: count,
            last,
            changed: false,
        };
        Ok(Tail { key: key.to_owned(), current, carried: carried as u8, open: Some(open) })
    }

    /// The newest content, also of a document that is removed by now.
    pub fn current(&self) -> &[u8] {
        &self.current
    }

    /// Appends a version: new content, or a removal.
    pub fn version(&mut self, seq: Seq, cause: Cause, content: Option<&[u8]>) {
        let patch = content.map(|content| Patch::diff(&self.current, content));
        let fresh = self.open.is_none();
        let open = self.room(seq, content);
        open.entry(seq, cause.code() | if content.is_none() { REMOVED_BIT } else { 0 });
        match patch {
            _ if fresh => open.patch(&Patch::default()),
            Some(patch) => open.patch(&patch),
            None => open.patch(&Patch::default()),
        }
        self.carried = if content.is_some() { Carried::Content } else { Carried::Removal } as u8;
        if let Some(content) = content {
            self.current = content.to_vec();
        }
    }

    /// Appends what a device pushed that does not become a version.
    pub fn aside(&mut self, seq: Seq, cause: Cause, content: &[u8], from: &Aside) {
        let patch = Patch::diff(&self.current, content);
        let open = self.room(seq, None);
        open.entry(seq, cause.code());
        open.from(from);
        open.patch(&patch);
    }

    /// The segment to write, where something was appended.
    pub fn into_write(self) -> Option<SegmentWrite> {
        let open = self.open.filter(|open| open.changed)?;
        let Open { start, keyframe, pack, stored, .. } = open;
        Some(SegmentWrite { key: self.key, start, keyframe, pack, stored })
    }

    /// The open segment, or a new one where the open one is full. A document's first segment starts
    /// from its first content, so that this is deflated as well.
    fn room(&mut self, seq: Seq, first: Option<&[u8]>) -> &mut Open {
        let full = |open: &Open| {
            let bytes_max = self.current.len().clamp(*PACK_BYTES.start(), *PACK_BYTES.end());
            seq > open.last && (open.pack.len() >= bytes_max || open.entries >= PACK_ENTRIES_MAX)
        };
        let open = match self.open.take() {
            Some(open) if !full(&open) => open,
            Some(_) => Open::begin(seq, self.carried, &self.current),
            None => Open::begin(seq, self.carried, first.unwrap_or_default()),
        };
        self.open.insert(open)
    }
}

impl Open {
    fn begin(start: Seq, carried: u8, keyframe: &[u8]) -> Open {
        let (keyframe, pack) = (Some(deflate(keyframe)), vec![carried]);
        Open { start, keyframe, pack, stored: 0, entries: 0, last: start, changed: true }
    }

    fn from(&mut self, aside: &Aside) {
        self.pack.extend_from_slice(&aside.hash.0);
        put_varint(&mut self.pack, aside.created_at);
        put_bytes(&mut self.pack, aside.device_id.as_bytes());
    }

    fn entry(&mut self, seq: Seq, code: u8) {
        put_varint(&mut self.pack, seq.saturating_sub(self.start));
        self.pack.push(code);
        self.entries += 1;
        self.last = seq;
        self.changed = true;
    }

    fn patch(&mut self, patch: &Patch) {
        let mut bytes = Vec::new();
        patch.encode(&mut bytes);
        put_bytes(&mut self.pack, &bytes);
    }
}

fn deflate(content: &[u8]) -> Vec<u8> {
    let mut deflated = vec![1];
    deflated.extend(miniz_oxide::deflate::compress_to_vec(content, KEYFRAME_LEVEL));
    if deflated.len() <= content.len() {
        return deflated;
    }
    let mut plain = vec![0];
    plain.extend_from_slice(content);
    plain
}

fn inflate(keyframe: &[u8]) -> Option<Vec<u8>> {
    match keyframe.split_first()? {
        (0, plain) => Some(plain.to_vec()),
        (1, deflated) => miniz_oxide::inflate::decompress_to_vec(deflated).ok(),
        _ => None,
    }
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 128 {
        out.push((value & 127) as u8 | 128);
        value >>= 7;
    }
    out.push(value as u8);
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn carried(&mut self) -> Option<Carried> {
        [Carried::Nothing, Carried::Content, Carried::Removal].get(usize::from(self.byte()?)).copied()
    }

    fn entry(&mut self, start: Seq) -> Option<Entry> {
        let seq = start.checked_add(self.varint()?)?;
        let code = self.byte()?;
        let cause = Cause::from_code(code & !REMOVED_BIT)?;
        let aside = if cause.is_version() { None } else { Some(self.aside()?) };
        let patch = Patch::decode(self.bytes()?).ok()?;
        Some(Entry { seq, cause, removed: code & REMOVED_BIT != 0, aside, patch })
    }

    fn aside(&mut self) -> Option<Aside> {
        let hash = Hash(self.take(32)?.try_into().ok()?);
        let created_at = self.varint()?;
        let device_id = String::from_utf8(self.bytes()?.to_vec()).ok()?;
        Some(Aside { hash, created_at, device_id })
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 127).checked_shl(shift)?;
            if byte < 128 {
                return Some(value);
            }
        }
        None
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.varint()?).ok()?;
        self.take(length)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }
}

#[cfg(test)]
mod tests;
