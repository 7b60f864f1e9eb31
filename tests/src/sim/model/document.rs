//! Documents, by the table.

use std::sync::Arc;

use nself_sync_engine::text::{Merge, is_text, merge};

use super::{Bytes, Carried, Model, same};
use crate::sim::model::leaf::Base;
use crate::sim::model::push::Pushing;

/// What is done with a document.
#[derive(Debug, Clone)]
pub(super) enum Verdict {
    Unchanged,
    Write,
    /// With the result.
    Merge(Bytes),
    /// With the base.
    Conflict(Option<Bytes>),
}

/// What the device made its content from.
#[derive(Debug, Clone)]
pub(super) enum From {
    Known(Option<Bytes>),
    /// A `base_hash` that nobody knows.
    Lost,
    /// None.
    Nothing,
}

impl Model {
    /// What the device's base may be: one, or two where it may have been pruned.
    pub(super) fn bases(
        &self,
        push: &Pushing<'_>,
        key: &str,
        base: &Base,
        head: Option<&Bytes>,
    ) -> Vec<From> {
        match base {
            Base::Null => vec![From::Nothing],
            Base::Hash(hash) => {
                let is = |bytes: &Bytes| crate::world::sha256_hex(bytes) == *hash;
                if let Some(equal) = head.filter(|bytes| is(bytes)) {
                    return vec![From::Known(Some(Arc::clone(equal)))];
                }
                match self.content_by_hash(key, hash) {
                    None => vec![From::Lost],
                    Some(known) if known.live_at >= self.cutoff => {
                        vec![From::Known(Some(Arc::clone(&known.bytes)))]
                    }
                    Some(known) => vec![From::Known(Some(Arc::clone(&known.bytes))), From::Lost],
                }
            }
            Base::Unsaid => {
                if let Some((carried, _)) = self.pushed_unseen(push, key) {
                    return vec![From::Known(match carried {
                        Carried::Content(content) => Some(Arc::clone(content)),
                        Carried::Removal | Carried::Scalar(_) => None,
                    })];
                }
                let last = self.versions.get(key).and_then(|versions| versions.last());
                match last {
                    None => vec![From::Known(None)],
                    Some(last) if last.seq <= push.seq => vec![From::Known(head.cloned())],
                    Some(_) if push.seq < self.floor => vec![From::Lost], // that version is pruned
                    Some(_) => {
                        let mut versions = self.versions[key].iter();
                        let at = versions.rfind(|version| version.seq <= push.seq);
                        vec![From::Known(at.and_then(|version| version.content.clone()))]
                    }
                }
            }
        }
    }

    /// What the device last pushed of a document, where its seq says that it has not seen the answer.
    fn pushed_unseen(&self, push: &Pushing<'_>, key: &str) -> Option<&(Carried, u64)> {
        let pushed = self.pushed.get(&(push.device.to_owned(), key.to_owned()));
        pushed.filter(|(_, seq)| *seq > push.seq)
    }

    /// The row of the table that holds, and its verdict.
    pub(super) fn table(
        &self,
        from: &From,
        mine: Option<&Bytes>,
        head: Option<&Bytes>,
        base_said: bool,
        was_known: bool,
    ) -> (Verdict, String) {
        let strategy = if self.is_lww() { "lww" } else { "merge" };
        let (verdict, row) = self.row(from, mine, head, base_said, was_known);
        let verdict = match verdict {
            Verdict::Merge(_) | Verdict::Conflict(_) if self.is_lww() => Verdict::Write,
            verdict => verdict,
        };
        (verdict, format!("document {row} ({strategy})"))
    }

    /// The row by the strategy `merge`.
    fn row(
        &self,
        from: &From,
        mine: Option<&Bytes>,
        head: Option<&Bytes>,
        base_said: bool,
        was_known: bool,
    ) -> (Verdict, &'static str) {
        let From::Known(base) = from else {
            return match (head, mine) {
                (None, None) => (Verdict::Unchanged, "absent, no base known, removed"),
                (None, Some(_)) if matches!(from, From::Lost) => {
                    (Verdict::Conflict(None), "absent, unknown base_hash")
                }
                (None, Some(_)) => (Verdict::Write, "absent, no base known"),
                (Some(_), _) if same(head, mine) => {
                    (Verdict::Unchanged, "exists, equals mine, no base known")
                }
                (Some(_), _) => (Verdict::Conflict(None), "exists, differs, no base known"),
            };
        };
        let base = base.as_ref();
        if same(head, base) {
            return match (base, mine) {
                _ if same(mine, base) && base.is_some() => (Verdict::Unchanged, "same, same"),
                (None, None) => (Verdict::Unchanged, "absent, removed"),
                (None, Some(_)) if was_known || base_said => (Verdict::Write, "absent and known so, new"),
                (None, Some(_)) => (Verdict::Write, "absent, never known, new"),
                (Some(_), None) => (Verdict::Write, "same, deleted"),
                (Some(_), Some(_)) => (Verdict::Write, "same, changed"),
            };
        }
        if same(mine, base) {
            return match head {
                None => (Verdict::Unchanged, "deleted, same"),
                Some(_) => (Verdict::Unchanged, "changed, same"),
            };
        }
        if same(mine, head) {
            return match head {
                None => (Verdict::Unchanged, "deleted, deleted"),
                Some(_) if base.is_none() => (Verdict::Unchanged, "exists, equals mine, no base known"),
                Some(_) => (Verdict::Unchanged, "changed, equal to mine"),
            };
        }
        match (base, mine, head) {
            (_, None, _) => (Verdict::Conflict(base.cloned()), "changed, deleted"),
            (_, Some(_), None) => (Verdict::Conflict(base.cloned()), "deleted, changed"),
            (None, Some(_), Some(_)) => (Verdict::Conflict(None), "exists, differs, add against add"),
            (Some(base), Some(mine), Some(head)) => self.three_way(base, mine, head),
        }
    }

    fn three_way(&self, base: &Bytes, mine: &Bytes, head: &Bytes) -> (Verdict, &'static str) {
        let conflict = || Verdict::Conflict(Some(Arc::clone(base)));
        if ![base, mine, head].into_iter().all(|side| is_text(side)) {
            return (conflict(), "changed, changed, binary");
        }
        match merge(base, mine, head) {
            Merge::Clean(merged) if merged.len() > self.policy.file_bytes_max && merged != **head => {
                (conflict(), "changed, changed, merge too large")
            }
            Merge::Clean(merged) => (Verdict::Merge(Arc::new(merged)), "changed, changed, merged"),
            Merge::Conflict => (conflict(), "changed, changed, conflict"),
        }
    }
}
