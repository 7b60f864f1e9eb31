//! Patches: what changed between two contents, to the byte.
//!
//! A patch is a list of operations, each `skip` bytes copied from the base, `delete` bytes dropped, `insert`
//! put there; the rest of the base is copied. That is PROTOCOL's `[skip, delete, "insert"]`. Composition is that of
//! operational transformation's component lists (skip, delete, insert over one base), see [`Patch::compose`].

use std::fmt;
use std::ops::Range;

use super::diff::{cut, matches};

mod code;
mod compose;

/// What leads from one content to another. See [`Patch::apply`].
///
/// Equality is that of the operations: two patches may do the same and differ. What [`Patch::diff`] and
/// [`Patch::compose`] return has no empty operation and no two that touch; what was decoded is kept as it came.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Patch {
    ops: Vec<Op>,
}

/// One operation of a [`Patch`]. Lengths are in bytes of the base.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Op {
    /// How many bytes of the base are copied first.
    pub skip: usize,
    /// How many bytes of the base are then dropped.
    pub delete: usize,
    /// What is then put in their place.
    pub insert: Vec<u8>,
}

/// Why a patch cannot be read or applied. `op` counts the operations from 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PatchError {
    /// The operation reaches past the end of the base, which has `base_bytes`.
    PastEnd {
        /// The operation.
        op: usize,
        /// The base's length in bytes.
        base_bytes: usize,
    },
    /// The operation cuts a character of the base in two, at `offset` bytes.
    NotCharBoundary {
        /// The operation.
        op: usize,
        /// Where in the base, in bytes.
        offset: usize,
    },
    /// The operation inserts bytes that are not UTF-8 into a text.
    NotText {
        /// The operation.
        op: usize,
    },
    /// Lengths that add up to more than can be addressed.
    TooLarge {
        /// The operation.
        op: usize,
    },
    /// The encoded form ends in the middle of an operation.
    Truncated {
        /// The operation.
        op: usize,
    },
    /// The JSON form is not a list of `[skip, delete, "insert"]`.
    NotTriples,
    /// An element of the JSON form is not `[skip, delete, "insert"]`.
    NotATriple {
        /// The operation.
        op: usize,
    },
    /// A number of the JSON form is not a whole number from 0 to 2^53.
    NotALength {
        /// The operation.
        op: usize,
    },
}

impl fmt::Display for PatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PatchError::PastEnd { op, base_bytes } => {
                write!(f, "patch operation {op} reaches past the end of the base ({base_bytes} bytes)")
            }
            PatchError::NotCharBoundary { op, offset } => {
                write!(f, "patch operation {op} cuts a character of the base in two, at byte {offset}")
            }
            PatchError::NotText { op } => write!(f, "patch operation {op} inserts bytes that are not UTF-8"),
            PatchError::TooLarge { op } => write!(f, "the lengths of patch operation {op} are too large"),
            PatchError::Truncated { op } => write!(f, "the patch ends in the middle of operation {op}"),
            PatchError::NotTriples => write!(f, "a patch is a list of [skip, delete, \"insert\"]"),
            PatchError::NotATriple { op } => {
                write!(f, "patch operation {op} is not [skip, delete, \"insert\"]")
            }
            PatchError::NotALength { op } => {
                write!(f, "patch operation {op}: skip and delete are whole numbers from 0 to 2^53")
            }
        }
    }
}

impl std::error::Error for PatchError {}

impl Patch {
    /// The patch that leads from `base` to `target`, trimmed to the bytes that changed: small, not minimal.
    ///
    /// Where both are UTF-8, so is every insert, and offsets fall between characters. Time is bounded by the
    /// sizes, never by their product.
    pub fn diff(base: &[u8], target: &[u8]) -> Patch {
        let mut ops = Vec::new();
        let (mut base_done, mut target_done, mut skip) = (0, 0, 0);
        let mut change = |skip: usize, old: Range<usize>, new: Range<usize>| {
            if !old.is_empty() || !new.is_empty() {
                ops.push(Op { skip, delete: old.len(), insert: cut(target, new).to_vec() });
            }
        };
        for m in matches(base, target) {
            change(skip, base_done..m.base, target_done..m.target);
            (base_done, target_done, skip) = (m.base + m.len, m.target + m.len, m.len);
        }
        change(skip, base_done..base.len(), target_done..target.len());
        Patch { ops }
    }

    /// What the patch makes of `base`. Allocates once, the length of the result.
    ///
    /// # Errors
    /// [`PatchError::PastEnd`] where the patch does not fit `base`. That it fits does not prove that it was
    /// made for it: compare hashes.
    pub fn apply(&self, base: &[u8]) -> Result<Vec<u8>, PatchError> {
        let mut result = Vec::with_capacity(self.result_bytes(base.len())?);
        let mut done = 0;
        for op in &self.ops {
            let kept = done + op.skip;
            result.extend_from_slice(cut(base, done..kept));
            result.extend_from_slice(&op.insert);
            done = kept + op.delete;
        }
        result.extend_from_slice(cut(base, done..base.len()));
        Ok(result)
    }

    /// [`Patch::apply`] for text.
    ///
    /// # Errors
    /// As for bytes, and [`PatchError::NotCharBoundary`], [`PatchError::NotText`] where the result might not be
    /// UTF-8.
    pub fn apply_text(&self, base: &str) -> Result<String, PatchError> {
        let mut result = String::with_capacity(self.result_bytes(base.len())?);
        let mut done = 0;
        for (index, op) in self.ops.iter().enumerate() {
            let kept = done + op.skip;
            let boundary = |offset| PatchError::NotCharBoundary { op: index, offset };
            result.push_str(base.get(done..kept).ok_or_else(|| boundary(kept))?);
            result.push_str(std::str::from_utf8(&op.insert).map_err(|_| PatchError::NotText { op: index })?);
            done = kept + op.delete;
            if !base.is_char_boundary(done) {
                return Err(boundary(done));
            }
        }
        result.push_str(base.get(done..).unwrap_or_default());
        Ok(result)
    }

    /// The patch back: `patch.invert(a)` applied to `patch.apply(a)` gives `a`.
    ///
    /// # Errors
    /// As [`Patch::apply`].
    pub fn invert(&self, base: &[u8]) -> Result<Patch, PatchError> {
        self.result_bytes(base.len())?;
        let mut done = 0;
        let mut back = |op: &Op| {
            let deleted = done + op.skip..done + op.skip + op.delete;
            done = deleted.end;
            Op { skip: op.skip, delete: op.insert.len(), insert: cut(base, deleted).to_vec() }
        };
        Ok(Patch { ops: self.ops.iter().map(&mut back).collect() })
    }

    /// Whether the patch changes nothing, by its operations. (Deleting a letter and inserting the same counts as a
    /// change.)
    pub fn is_empty(&self) -> bool {
        self.ops.iter().all(|op| op.delete == 0 && op.insert.is_empty())
    }

    /// The operations, in order.
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }

    /// Length in bytes of what the patch makes of a base of `base_bytes`. After it, no sum of the patch's lengths
    /// overflows or reaches past the base.
    fn result_bytes(&self, base_bytes: usize) -> Result<usize, PatchError> {
        let (mut left, mut result) = (base_bytes, 0_usize);
        for (index, op) in self.ops.iter().enumerate() {
            left = (left.checked_sub(op.skip))
                .and_then(|left| left.checked_sub(op.delete))
                .ok_or(PatchError::PastEnd { op: index, base_bytes })?;
            result = (result.checked_add(op.skip))
                .and_then(|sum| sum.checked_add(op.insert.len()))
                .ok_or(PatchError::TooLarge { op: index })?;
        }
        result.checked_add(left).ok_or(PatchError::TooLarge { op: self.ops.len() })
    }
}

#[cfg(test)]
#[path = "patch_tests.rs"]
mod tests;
