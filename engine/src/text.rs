//! Texts: the line diff, the patch that is stored and sent, and the three-way merge.
//!
//! Everything here works on bytes and knows nothing of documents: whether two versions may be
//! merged at all (both are text, within the size limit) is decided by the caller with [`is_text`].

pub mod diff;
pub mod merge;
pub mod patch;

pub use merge::{Merge, merge};
pub use patch::{Patch, PatchError};

/// Whether `bytes` are text in the sense of the protocol: valid UTF-8 without NUL.
pub fn is_text(bytes: &[u8]) -> bool {
    !bytes.contains(&0) && std::str::from_utf8(bytes).is_ok()
}
