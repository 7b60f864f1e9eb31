//! What a call writes: rows in full, so that a store only puts them where they belong. Applied in one
//! transaction, all or nothing.

use crate::event::News;
use crate::ids::{Millis, Seq};
use crate::outbox::Recorded;
use crate::scalar::value_bytes;
use crate::slice::{
    Conflict, Delta, Device, Document, Head, Located, Pushed, Resolved, Scalar, Segment, Slice, Version,
};

/// The rows to write. What is empty is not written.
#[derive(Debug, Clone, Default)]
pub struct Commit {
    /// The new head, where it changed.
    pub head: Option<Head>,
    /// The calling device's row, new or changed.
    pub device: Option<Device>,
    /// Removed device: besides the row, what it last pushed is forgotten.
    pub forget_pushed: bool,
    /// The delta of this seq.
    pub delta: Option<Delta>,
    /// Scalars at head, to insert or replace.
    pub scalars: Vec<(String, Scalar)>,
    /// Scalars at head to delete: an entry's removal that was overruled.
    pub scalars_dropped: Vec<String>,
    /// Documents at head, to insert or replace.
    pub documents: Vec<(String, Document)>,
    /// The pushing device.
    pub pushed_by: String,
    /// What it last pushed, to insert or replace.
    pub pushed: Vec<(String, Pushed)>,
    /// Scalars' versions to add to the history; the store counts `no`.
    pub versions: Vec<Version>,
    /// The versions have their `no` already: they come from another store.
    pub versions_numbered: bool,
    /// Segments to write.
    pub segments: Vec<SegmentWrite>,
    /// Contents to find by hash.
    pub located: Vec<Located>,
    /// New conflicts, resolved ones where they come from another store.
    pub conflicts: Vec<Conflict>,
    /// A conflict that is now resolved.
    pub resolved: Option<(String, Resolved)>,
    /// The events to deliver; none where no webhook is configured.
    pub outbox: Vec<Recorded>,
    /// Not rows: what others are to be told once this is durable.
    pub news: News,
}

/// A segment that is new (with a keyframe) or got further changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentWrite {
    /// The document.
    pub key: String,
    /// The seq of the first change in it.
    pub start: Seq,
    /// `None`: as stored.
    pub keyframe: Option<Vec<u8>>,
    /// The changes, in full.
    pub pack: Vec<u8>,
    /// Bytes of the changes that are stored already.
    pub stored: usize,
}

impl Commit {
    /// By how much it raises [`Head::bytes`].
    pub(crate) fn added_bytes(&self) -> u64 {
        let segments = self.segments.iter().map(|segment| {
            let keyframe = segment.keyframe.as_ref();
            let whole = keyframe.map_or(0, |keyframe| keyframe.len() + segment.key.len());
            whole + segment.pack.len().saturating_sub(segment.stored)
        });
        let versions = self.versions.iter().map(|version| {
            let value = version.value.as_ref();
            version.key.len() + value.map_or(0, value_bytes)
        });
        let sides = self.conflicts.iter().flat_map(|one| [&one.base, &one.mine, &one.theirs]);
        let sides = sides.flatten().map(|side| side.size);
        segments.chain(versions).chain(sides).map(|bytes| bytes as u64).sum()
    }

    /// What [`Head::state_bytes`] is after it; `slice` has the rows that it replaces.
    pub(crate) fn state_bytes(&self, before: u64, slice: &Slice) -> u64 {
        let scalar = |key: &String| slice.scalars.get(key).map_or(0, |row| row.state_bytes(key));
        let document = |key: &String| slice.documents.get(key).map_or(0, |_| Document::state_bytes(key));
        let written = self.scalars.iter().map(|(key, row)| row.state_bytes(key));
        let written = written.chain(self.documents.iter().map(|(key, _)| Document::state_bytes(key)));
        let replaced = self.scalars.iter().map(|(key, _)| key).chain(&self.scalars_dropped).map(scalar);
        let replaced = replaced.chain(self.documents.iter().map(|(key, _)| document(key)));
        let (written, replaced): (usize, usize) = (written.sum(), replaced.sum());
        before.saturating_add(written as u64).saturating_sub(replaced as u64)
    }
}

impl From<Segment> for SegmentWrite {
    fn from(segment: Segment) -> SegmentWrite {
        let Segment { key, start, keyframe, pack } = segment;
        SegmentWrite { key, start, keyframe: Some(keyframe), pack, stored: 0 }
    }
}

/// A device's `last_seen` and seq, written beside the call, at most once a minute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Touch {
    /// Which device.
    pub device_id: String,
    /// When.
    pub last_seen: Millis,
    /// The seq it said to have applied.
    pub seq: Seq,
}
