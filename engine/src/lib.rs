//! The rules of nself-sync, without IO: no clock, no randomness, no async, no storage.
//!
//! ```text
//! wire (JSON) → Call → Exchange ⇄ store (Scope → Slice, Commit) → Reply → wire
//! ```
//!
//! A host reads a request with [`wire`], runs an [`exchange::Exchange`] against its store inside one
//! transaction, and sends the reply. What a key may be is in [`key`], the rules for scalars in `scalar`, for
//! documents in `document`, their history in [`history`], what a device lacks in [`pull`].

#![cfg_attr(
    not(test),
    warn(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)
)]

pub mod call;
pub mod commit;
pub mod conflict;
mod decide;
mod device;
mod document;
pub mod error;
pub mod event;
pub mod exchange;
pub mod history;
pub mod ids;
pub mod jwt;
pub mod key;
pub mod lookup;
pub mod outbox;
pub mod policy;
pub mod pull;
pub mod push;
pub mod rate;
pub mod replica;
pub mod retention;
mod scalar;
pub mod seal;
pub mod slice;
pub mod state;
pub mod text;
pub mod token;
pub mod transfer;
pub mod verify;
pub mod wire;
