//! A push: what it carries, which rows it needs, and its results. Scalars are decided in
//! [`crate::scalar`], documents in [`crate::document`], their sum in [`crate::decide`].

use crate::ids::{Hash, Millis, Platform, Seq, Tag};
use crate::key;
use crate::slice::{ConflictScope, Scope};
use crate::text::Patch;
use serde_json::Value;
use std::collections::BTreeMap;

pub(crate) mod flow;

/// A push that could be read. Items that could not are in `rejected`; the others go on without them.
#[derive(Debug, Clone)]
pub struct Push {
    /// The pushing device.
    pub device_id: String,
    /// The seq of the last reply whose changes the device has applied.
    pub seq: Seq,
    /// The epoch it last received.
    pub epoch: Option<String>,
    /// The tag it last received.
    pub tag: Option<Tag>,
    /// The device's own counter, and the body's hash as JSON: a retry has both the same.
    pub push_no: Option<(u64, Hash)>,
    /// What the device runs on.
    pub platform: Platform,
    /// The client's clock at each change, by changed key.
    pub changed_at: BTreeMap<String, Millis>,
    /// Where the device stood when it wrote a scalar, by changed key, where that was before `seq`.
    pub seen: BTreeMap<String, Seq>,
    /// Whether documents in the reply may be patches.
    pub patches: bool,
    /// Top-level scalars; `None` removes.
    pub scalars: BTreeMap<String, Option<Value>>,
    /// Sessions and pages by key (`sessions/s1`).
    pub entries: BTreeMap<String, EntryPush>,
    /// Files, and contents or removals of pages, by key.
    pub documents: BTreeMap<String, DocumentPush>,
    /// Items that could not be read, by key.
    pub rejected: BTreeMap<String, Rejection>,
}

impl Push {
    /// Whether it only removes, so that it goes through where the user may store no more.
    pub(crate) fn only_removes(&self) -> bool {
        self.scalars.values().all(Option::is_none)
            && self.entries.values().all(|entry| match entry {
                EntryPush::Removed => true,
                EntryPush::Fields(fields) => fields.values().all(Option::is_none),
            })
            && self.documents.values().all(|document| document.mine == Mine::Removed)
    }
}

/// What a push says of a session or page.
#[derive(Debug, Clone, PartialEq)]
pub enum EntryPush {
    /// It is removed.
    Removed,
    /// These fields are written; `None` removes.
    Fields(BTreeMap<String, Option<Value>>),
}

/// What a push says of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentPush {
    /// What the device made of it.
    pub mine: Mine,
    /// What it made that from, where it says so.
    pub base: BaseHash,
}

/// A pushed document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mine {
    /// It is removed.
    Removed,
    /// Its content in full.
    Content(Vec<u8>),
    /// Its content as a patch on the content with the hash `base`; the result has the hash `result`.
    Patch {
        /// The operations.
        patch: Patch,
        /// Hash of what they apply to.
        base: Hash,
        /// Hash of what must come out.
        result: Option<Hash>,
    },
}

/// The `base_hash` of a pushed document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BaseHash {
    /// Not said.
    Unsaid,
    /// `null`: the device has no base.
    Null,
    /// The content with this hash.
    Of(Hash),
}

/// Why an item is rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// One of the codes of rejected items.
    pub code: &'static str,
    /// The problem and what is allowed.
    pub detail: String,
}

impl Rejection {
    /// A rejection with this code and detail.
    pub fn new(code: &'static str, detail: impl Into<String>) -> Rejection {
        Rejection { code, detail: detail.into() }
    }
}

/// What became of a pushed key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is head now.
    Applied,
    /// Head stays, nothing was lost.
    Unchanged,
    /// It and what others wrote are both in head, whose hash this is.
    Merged(Hash),
    /// A scalar write that lost.
    Superseded,
    /// Kept in a new conflict with this id.
    Conflict(String),
    /// Not looked at: the document has an open conflict of this device.
    Blocked,
    /// Not applied; the client keeps it and shows it.
    Rejected(Rejection),
}

impl Push {
    /// The rows that a push reads first; which these are the request alone determines.
    pub fn scope(&self) -> Scope {
        let mut scope = Scope {
            devices: [self.device_id.clone()].into(),
            count_devices: true,
            scalars: self.scalars.keys().cloned().collect(),
            entries: self.entries.keys().cloned().collect(),
            documents: self.documents.keys().cloned().collect(),
            pushed_by: Some(self.device_id.clone()),
            deltas_at: [self.seq].into(),
            conflicts: ConflictScope::OpenOf(self.device_id.clone()),
            ..Scope::default()
        };
        for (entry, pushed) in &self.entries {
            // A page's removal, and the return of one, concern its content as well.
            if key::collection(entry) == key::PAGES {
                scope.documents.insert(entry.clone());
            }
            if let EntryPush::Fields(fields) = pushed {
                scope.pushed_keys.extend(fields.keys().map(|field| format!("{entry}/{field}")));
            }
        }
        scope.pushed_keys.extend(self.scalars.keys().cloned());
        scope.pushed_keys.extend(self.entries.keys().cloned());
        scope.pushed_keys.extend(self.documents.keys().cloned());
        for document in self.documents.values() {
            if let Mine::Patch { base, .. } = document.mine {
                scope.hashes.insert(base);
            }
            if let BaseHash::Of(base) = document.base {
                scope.hashes.insert(base);
            }
        }
        scope
    }
}
