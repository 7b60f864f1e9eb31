//! Documents: three-way merge. The table of PROTOCOL section 4, row by row.

use crate::decide::Context;
use crate::history::{At, Corrupt, Tail};
use crate::ids::{Hash, Seq};
use crate::policy::{ConflictBlock, Strategy};
use crate::push::{BaseHash, DocumentPush, Mine, Outcome, Rejection};
use crate::slice::Document;
use crate::text::{self, Merge};
use std::collections::BTreeSet;

/// What is to be done with a document, decided.
#[derive(Debug, PartialEq)]
pub(crate) enum Decision {
    /// Nothing.
    Leave,
    /// A new version: content, or `None` for a removal.
    Write(Option<Vec<u8>>),
    /// A merge's result; `None`: it is what head is already. What was pushed is kept beside it.
    Merge(Option<Vec<u8>>),
    /// Head stays; both sides and the base are kept in a conflict.
    Conflict { base: Option<Vec<u8>> },
}

/// A decided document.
pub(crate) struct Decided {
    pub(crate) decision: Decision,
    pub(crate) outcome: Outcome,
    /// The pushed content in full.
    pub(crate) mine: Option<Vec<u8>>,
    /// Hash of the pushed content, and where it is found if it is not new.
    pub(crate) mine_hash: Option<Hash>,
    pub(crate) mine_at: Option<Seq>,
}

/// A document as it is met: its row, unless its page has just returned, and the end of its history.
pub(crate) struct Met<'a> {
    pub(crate) row: Option<&'a Document>,
    pub(crate) hash: Option<Hash>,
    pub(crate) tail: &'a Tail,
}

/// What the pushed content was made from.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Base {
    /// This version, or `None`: there was no document. The seq is where its content is found.
    Known(Option<Hash>, Seq),
    /// A version that nobody knows any more: a `base_hash`, or the device's seq, older than the history.
    Lost,
    /// None, as the device says itself.
    None,
}

/// The segments that deciding the pushed documents needs: (key, seq).
pub(crate) fn needs(context: &Context<'_>) -> BTreeSet<(String, Seq)> {
    let (slice, since) = (context.slice, context.push.seq);
    let mut needs = BTreeSet::new();
    for (key, pushed) in &context.push.documents {
        let row = slice.documents.get(key);
        let head = row.and_then(|row| row.hash);
        if matches!(&pushed.mine, Mine::Content(content) if head == Some(Hash::of(content))) {
            continue; // equals head: nothing to read
        }
        needs.insert((key.clone(), context.head.seq));
        let mut hashes = BTreeSet::new();
        if let Mine::Patch { base, .. } = pushed.mine {
            hashes.insert(base);
        }
        match pushed.base {
            BaseHash::Of(base) => drop(hashes.insert(base)),
            BaseHash::Null => {}
            BaseHash::Unsaid => match slice.pushed.get(key).filter(|pushed| pushed.seq > since) {
                Some(pushed) => drop(needs.insert((key.clone(), pushed.at))),
                None if row.is_some_and(|row| row.seq > since) => drop(needs.insert((key.clone(), since))),
                None => {}
            },
        }
        hashes.retain(|hash| Some(*hash) != head);
        let pushed_before =
            slice.pushed.get(key).filter(|p| p.hash.is_some_and(|hash| hashes.contains(&hash)));
        needs.extend(pushed_before.map(|pushed| (key.clone(), pushed.at)));
        let located = slice.located.iter().filter(|located| {
            located.key == *key && hashes.iter().any(|hash| hash.prefix() == located.prefix)
        });
        needs.extend(located.map(|located| (key.clone(), located.seq)));
    }
    needs
}

/// Decides one pushed document.
pub(crate) fn decide(
    context: &Context<'_>,
    key: &str,
    pushed: &DocumentPush,
    met: &Met<'_>,
) -> Result<Decided, Corrupt> {
    let by_file = context.policy.conflict_block == ConflictBlock::File;
    let has_open = context.slice.conflicts.values().any(|open| open.key == key);
    if by_file && has_open && context.policy.strategy == Strategy::Merge {
        return Ok(Decided::left(Outcome::Blocked));
    }
    let mine = match context.mine(key, pushed, met)? {
        Ok(mine) => mine,
        Err(rejection) => return Ok(Decided::left(Outcome::Rejected(rejection))),
    };
    let mine_hash = mine.as_deref().map(Hash::of);
    let base = context.base(key, pushed, met)?;
    let decision = context.table(key, base, met, mine.as_deref(), mine_hash)?;
    let outcome = match &decision {
        Decision::Leave => Outcome::Unchanged,
        Decision::Write(_) => Outcome::Applied,
        Decision::Merge(Some(merged)) => Outcome::Merged(Hash::of(merged)),
        Decision::Merge(None) => Outcome::Merged(Hash::of(met.tail.current())),
        Decision::Conflict { .. } => Outcome::Conflict(context.fresh.id(&format!("conflict {key}"))),
    };
    let head_seq = met.row.map(|row| row.seq);
    let mine_at = match (decision == Decision::Leave, base) {
        (false, _) => None,
        (true, Base::Known(hash, at)) if hash == mine_hash && met.hash != mine_hash => Some(at),
        (true, _) => head_seq,
    };
    Ok(Decided { decision, outcome, mine, mine_hash, mine_at })
}

impl Decided {
    fn left(outcome: Outcome) -> Decided {
        Decided { decision: Decision::Leave, outcome, mine: None, mine_hash: None, mine_at: None }
    }
}

impl Context<'_> {
    /// The pushed content in full; `None`: a removal.
    fn mine(
        &self,
        key: &str,
        pushed: &DocumentPush,
        met: &Met<'_>,
    ) -> Result<Result<Option<Vec<u8>>, Rejection>, Corrupt> {
        let content = match &pushed.mine {
            Mine::Removed => return Ok(Ok(None)),
            Mine::Content(content) => content.clone(),
            Mine::Patch { patch, base, result } => {
                let unknown = |detail: &str| Ok(Err(Rejection::new("base_unknown", detail)));
                let Some(base) = self.content(key, *base, met)? else {
                    return unknown("the content that base_hash names is not known: push the content");
                };
                let applied = match std::str::from_utf8(&base) {
                    Ok(text) => patch.apply_text(text).map(String::into_bytes),
                    Err(_) => patch.apply(&base),
                };
                match applied {
                    Ok(content) if result.is_none_or(|hash| hash == Hash::of(&content)) => content,
                    Ok(_) => return unknown("the patch gives a content with another hash: push the content"),
                    Err(error) => return unknown(&format!("{error}: push the content")),
                }
            }
        };
        let max = self.policy.file_bytes_max;
        if content.len() > max {
            let detail = format!("it has {} bytes, allowed are {max}", content.len());
            return Ok(Err(Rejection::new("file_too_large", detail)));
        }
        Ok(Ok(Some(content)))
    }

    fn base(&self, key: &str, pushed: &DocumentPush, met: &Met<'_>) -> Result<Base, Corrupt> {
        let since = self.push.seq;
        let head = |row: &Document| Base::Known(met.hash, row.seq);
        match pushed.base {
            BaseHash::Null => Ok(Base::None),
            BaseHash::Of(hash) if met.hash == Some(hash) => Ok(met.row.map_or(Base::Lost, head)),
            BaseHash::Of(hash) => {
                let found = self.places(key, hash).find_map(|at| match self.content_at(key, at, hash) {
                    Ok(content) => content.map(|_| Ok(at)),
                    Err(error) => Some(Err(error)),
                });
                Ok(found.transpose()?.map_or(Base::Lost, |at| Base::Known(Some(hash), at)))
            }
            BaseHash::Unsaid => {
                if let Some(last) = self.slice.pushed.get(key).filter(|last| last.seq > since) {
                    return Ok(Base::Known(last.hash, last.at));
                }
                match met.row {
                    None => Ok(Base::Known(None, 0)),
                    Some(row) if row.seq <= since => Ok(head(row)),
                    Some(_) if since < self.head.floor => Ok(Base::Lost), // that version is pruned
                    Some(_) => match self.slice.segment(key, since).map(|s| s.at(since)).transpose()? {
                        Some(At::Content(content)) => Ok(Base::Known(Some(Hash::of(&content)), since)),
                        Some(At::Removed | At::Absent) | None => Ok(Base::Known(None, 0)),
                    },
                }
            }
        }
    }

    fn table(
        &self,
        key: &str,
        base: Base,
        met: &Met<'_>,
        mine: Option<&[u8]>,
        mine_hash: Option<Hash>,
    ) -> Result<Decision, Corrupt> {
        let lww = self.policy.strategy == Strategy::Lww;
        let write = || Ok(Decision::Write(mine.map(<[u8]>::to_vec)));
        let conflict = |base| Ok(Decision::Conflict { base });
        match base {
            Base::Known(base, _) if base == mine_hash => Ok(Decision::Leave),
            Base::Known(base, _) if base == met.hash => write(),
            Base::Known(..) | Base::Lost | Base::None if met.hash == mine_hash => Ok(Decision::Leave),
            Base::Known(..) | Base::Lost | Base::None if lww => write(),
            Base::Known(base, at) => {
                if met.hash.is_some_and(|hash| hash != Hash::of(met.tail.current())) {
                    return Err(Corrupt("a document at head".to_owned()));
                }
                let known = match base {
                    Some(hash) => self.version(key, at, hash, met)?,
                    None => None,
                };
                match (known, mine, met.hash) {
                    (Some(base), Some(mine), Some(_)) => self.three_way(base, mine, met.tail.current()),
                    (base, _, _) => conflict(base),
                }
            }
            Base::None if met.hash.is_none() => write(),
            Base::Lost | Base::None => conflict(None),
        }
    }

    fn three_way(&self, base: Vec<u8>, mine: &[u8], theirs: &[u8]) -> Result<Decision, Corrupt> {
        if ![&base, mine, theirs].into_iter().all(text::is_text) {
            return Ok(Decision::Conflict { base: Some(base) });
        }
        Ok(match text::merge(&base, mine, theirs) {
            Merge::Clean(merged) if merged == theirs => Decision::Merge(None),
            Merge::Clean(merged) if merged.len() <= self.policy.file_bytes_max => {
                Decision::Merge(Some(merged))
            }
            Merge::Clean(_) | Merge::Conflict => Decision::Conflict { base: Some(base) },
        })
    }

    /// A retained content of this document by hash: head, what the device last pushed, or of its history.
    fn content(&self, key: &str, hash: Hash, met: &Met<'_>) -> Result<Option<Vec<u8>>, Corrupt> {
        if met.hash == Some(hash) {
            return Ok(Some(met.tail.current().to_vec()));
        }
        for at in self.places(key, hash) {
            if let Some(content) = self.content_at(key, at, hash)? {
                return Ok(Some(content));
            }
        }
        Ok(None)
    }

    fn version(&self, key: &str, at: Seq, hash: Hash, met: &Met<'_>) -> Result<Option<Vec<u8>>, Corrupt> {
        if met.hash == Some(hash) {
            return Ok(Some(met.tail.current().to_vec()));
        }
        if let Some(content) = self.content_at(key, at, hash)? {
            return Ok(Some(content));
        }
        // The base is the document at a seq between two versions of it.
        match self.slice.segment(key, at).map(|segment| segment.at(at)).transpose()? {
            Some(At::Content(content)) if Hash::of(&content) == hash => Ok(Some(content)),
            Some(_) | None => Ok(None),
        }
    }

    fn places(&self, key: &str, hash: Hash) -> impl Iterator<Item = Seq> {
        let pushed = self.slice.pushed.get(key).filter(|pushed| pushed.hash == Some(hash));
        let located = self.slice.located.iter().filter(move |at| at.key == key && at.prefix == hash.prefix());
        pushed.map(|pushed| pushed.at).into_iter().chain(located.map(|located| located.seq))
    }

    fn content_at(&self, key: &str, at: Seq, hash: Hash) -> Result<Option<Vec<u8>>, Corrupt> {
        match self.slice.segment(key, at) {
            Some(segment) => segment.content(at, hash),
            None => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests;
