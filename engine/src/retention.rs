//! Pruning: how far a user's history may be forgotten, and what must stay.
//!
//! A store moves the floor of one user at a time: it asks for the newest delta older than the retention
//! ([`cutoff`]), and drops, in one transaction with the new floor, in this order:
//!
//! 1. of what devices last pushed, the rows that their device's seq says have served;
//! 2. deltas up to the floor;
//! 3. scalars' versions up to the floor, but the newest of each key that was not superseded: it is the value
//!    at every seq from there to the next;
//! 4. segments whose successor begins at or before the floor, but those that hold what a device last
//!    pushed; with each the places of its contents;
//! 5. in segments that hold more than one content up to the floor, the entries before it
//!    ([`crate::history::Segment::trim`]), unless a device last
//!    pushed one of these contents;
//! 6. values of keys that are gone, and contents that were only ever in a conflict;
//! 7. tombstones up to the floor: scalars (with the fields an entry's removal hides), documents with all
//!    their segments unless a device last pushed a content of theirs, or an aside of theirs is younger;
//! 8. resolved conflicts older than the retention. Open ones carry all that they are about.
//!
//! What head is stays: its segment has no successor.

use crate::ids::Millis;
use crate::policy::{DAY_MS, Policy};

/// Deltas made before this may be pruned.
pub fn cutoff(policy: &Policy, now: Millis) -> Millis {
    now.saturating_sub(policy.retention_days.saturating_mul(DAY_MS))
}

/// When a delta made at `made` may be pruned.
pub fn due(policy: &Policy, made: Millis) -> Millis {
    made.saturating_add(policy.retention_days.saturating_mul(DAY_MS)).saturating_add(1)
}

/// What a pruning dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pruned {
    /// Users whose floor moved.
    pub users: u64,
    /// Deltas.
    pub deltas: u64,
    /// Versions of scalars.
    pub versions: u64,
    /// Segments of documents.
    pub segments: u64,
    /// Removed scalars and documents.
    pub tombstones: u64,
    /// Resolved conflicts.
    pub conflicts: u64,
}

impl Pruned {
    /// Whether nothing was dropped.
    pub fn is_empty(&self) -> bool {
        *self == Pruned::default()
    }
}

impl std::fmt::Display for Pruned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Pruned { users, deltas, versions, segments, tombstones, conflicts } = self;
        write!(
            f,
            "{deltas} deltas, {versions} versions of values, {segments} of documents, {tombstones} removals and \
             {conflicts} resolved conflicts of {users} users"
        )
    }
}

impl std::ops::AddAssign for Pruned {
    fn add_assign(&mut self, other: Pruned) {
        self.users += other.users;
        self.deltas += other.deltas;
        self.versions += other.versions;
        self.segments += other.segments;
        self.tombstones += other.tombstones;
        self.conflicts += other.conflicts;
    }
}
