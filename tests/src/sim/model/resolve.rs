//! What a resolution must come to.

use std::collections::BTreeSet;
use std::sync::Arc;

use nself_sync_engine::text::{Merge, is_text, merge};
use serde_json::{Value, json};

use super::{Bytes, Model, OpenConflict, Written, same};
use crate::sim::host::Answer;
use crate::sim::keys;
use crate::sim::texts::tokens;
use crate::world::sha256_hex;

/// A resolution that was taken.
struct Becomes<'a> {
    content: Option<&'a Bytes>,
    head: Option<&'a Bytes>,
    seen: Option<Bytes>,
    merged: bool,
    forced: bool,
}

enum Target {
    Stays,
    Becomes { content: Option<Bytes>, merged: bool, forced: bool },
    Moved,
}

impl Model {
    /// Takes in an answered resolution and checks it. Gives the tokens that the person decided to leave out.
    pub fn resolve(&mut self, id: &str, body: &Value, answer: &Answer, now: u64) -> BTreeSet<u64> {
        let Some(conflict) = self.conflicts.get(id).cloned() else {
            let is_kept = self.resolved.get(id).is_some_and(|at| *at >= self.cutoff);
            let expected = if is_kept { (409, "conflict_resolved") } else { (404, "not_found") };
            assert_eq!((answer.status, answer.code()), expected, "resolving {id} again");
            self.coverage.hit(&format!("resolve {}", answer.code()));
            return BTreeSet::new();
        };
        let (key, head) = (&conflict.key, self.head_content(&conflict.key));
        let mut seen = self.seen(&conflict, body, head.as_ref());
        if answer.status == 409 && self.is_perhaps_pruned(&conflict, body) {
            seen = None;
        }
        let wanted = match body["resolution"].as_str() {
            Some("mine") => conflict.mine.clone(),
            Some("theirs") => seen.clone().flatten(),
            _ => Some(Arc::new(body["content"].as_str().unwrap_or_default().as_bytes().to_vec())),
        };
        let target = match &seen {
            None => Target::Moved,
            Some(seen) => target(&wanted, seen.as_ref(), head.as_ref(), body["force"] == true),
        };
        let (content, merged, forced) = match target {
            Target::Moved => {
                assert_eq!((answer.status, answer.code()), (409, "conflict_moved"), "{key}: {}", answer.body);
                assert_eq!(answer.body["theirs_hash"], json!(head.map(|head| sha256_hex(&head))));
                self.coverage.hit("resolve conflict_moved");
                return BTreeSet::new();
            }
            Target::Stays => (head.clone(), false, false),
            Target::Becomes { content, merged, forced } => (content, merged, forced),
        };
        if content.as_ref().is_some_and(|content| content.len() > self.largest(&conflict))
            && !same(content.as_ref(), head.as_ref())
        {
            assert_eq!((answer.status, answer.code()), (400, "invalid_field"), "{key}: {}", answer.body);
            self.coverage.hit("resolve too large");
            return BTreeSet::new();
        }
        assert_eq!(answer.status, 200, "resolving {key} with {body}: {}", answer.body);
        self.coverage.hit(&format!("resolve {}", body["resolution"].as_str().unwrap_or_default()));
        let becomes = Becomes {
            content: content.as_ref(),
            head: head.as_ref(),
            seen: seen.clone().flatten(),
            merged,
            forced,
        };
        self.note_resolution(id, &conflict, body, becomes, now);
        if merged {
            self.coverage.hit("resolve merged onto a moved head");
            let wanted = wanted.clone().expect("what merges is there");
            self.accept_tokens(&conflict.key, &wanted);
            self.keep(&conflict.key, &wanted, now);
        }
        assert_eq!(answer.body["file"]["hash"], json!(content.as_ref().map(|content| sha256_hex(content))));
        self.check_point(&answer.body);
        let saw = [&conflict.base, &conflict.mine, &conflict.theirs, &seen.flatten()];
        let mut gone: BTreeSet<u64> = saw.into_iter().flatten().flat_map(|side| tokens(side)).collect();
        gone.retain(|token| !content.as_ref().is_some_and(|content| tokens(content).contains(token)));
        gone
    }

    /// The *theirs* that the person saw; outer `None`: nobody knows it.
    fn seen(&self, conflict: &OpenConflict, body: &Value, head: Option<&Bytes>) -> Option<Option<Bytes>> {
        match body.get("theirs_hash") {
            None => Some(conflict.theirs.clone()),
            Some(Value::Null) => Some(None),
            Some(hash) => {
                let hash = hash.as_str().unwrap_or_default();
                let near = [head, conflict.theirs.as_ref(), conflict.mine.as_ref(), conflict.base.as_ref()];
                let near = near.into_iter().flatten().find(|side| sha256_hex(side) == hash).cloned();
                let known =
                    || self.content_by_hash(&conflict.key, hash).map(|known| Arc::clone(&known.bytes));
                near.or_else(known).map(Some)
            }
        }
    }

    /// The largest content of a resolution: as a document's, or as the sides that were taken before a limit was lowered.
    fn largest(&self, conflict: &OpenConflict) -> usize {
        let sides = [&conflict.base, &conflict.mine, &conflict.theirs].into_iter().flatten();
        sides.map(|side| side.len()).fold(self.policy.file_bytes_max, usize::max)
    }

    /// Whether the *theirs* that the person saw may be forgotten by now.
    fn is_perhaps_pruned(&self, conflict: &OpenConflict, body: &Value) -> bool {
        let hash = body["theirs_hash"].as_str().unwrap_or_default();
        self.content_by_hash(&conflict.key, hash).is_some_and(|known| known.live_at < self.cutoff)
    }

    fn note_resolution(
        &mut self,
        id: &str,
        conflict: &OpenConflict,
        body: &Value,
        becomes: Becomes<'_>,
        now: u64,
    ) {
        let Becomes { content, head, seen, merged, forced } = becomes;
        let key = &conflict.key;
        let device = body["device_id"].as_str().unwrap_or_default();
        let seq = self.seq + 1;
        let mut view = self.head().clone();
        self.conflicts.remove(id);
        self.resolved.insert(id.to_owned(), now);
        if !same(content, head) || merged {
            if forced && let Some(lost) = head {
                self.coverage.hit("resolve forced");
                let open = OpenConflict {
                    key: key.clone(),
                    base: seen,
                    mine: Some(Arc::clone(lost)),
                    theirs: content.cloned(),
                    mine_device: self.writer(key).unwrap_or_default().to_owned(),
                };
                self.conflicts.insert("forced".to_owned(), open); // renamed when it is listed
            }
            if keys::is_page(key) {
                self.resolve_fields(key, content.is_some(), (seq, device, now), &mut view);
            }
            keys::set_document(&mut view, key, content.map(|content| content.to_vec()));
            if let Some(content) = content {
                self.accept_tokens(key, content);
            }
            self.add_version(key, seq, content.cloned(), device, now);
        }
        self.advance(true, view, now);
    }

    /// A page that comes back comes with its fields; one that goes goes whole.
    fn resolve_fields(
        &mut self,
        page: &str,
        lives: bool,
        at: (u64, &str, u64),
        view: &mut crate::world::View,
    ) {
        let (seq, device, now) = at;
        if !lives {
            keys::remove_entry(view, page);
            let removal = Written { value: None, seq, device: device.to_owned(), changed_at: now };
            self.removals.insert(page.to_owned(), removal);
            return;
        }
        if !keys::fields(view, page).is_empty() || !self.removals.contains_key(page) {
            return;
        }
        self.removals.remove(page);
        let prefix = format!("{page}/");
        for (key, row) in self.writes.iter_mut() {
            if key.starts_with(&prefix) && row.value.is_some() {
                keys::set_scalar(view, key, row.value.clone());
                row.seq = seq;
            }
        }
    }

    /// Gives a conflict that a forced resolution made its id, and checks that the list is that of the open ones.
    pub fn check_conflicts(&mut self, listed: &[Value]) {
        if let Some(open) = self.conflicts.remove("forced") {
            let news: Vec<_> = listed.iter().filter_map(|one| one["id"].as_str()).collect();
            let new = news.into_iter().find(|id| !self.conflicts.contains_key(*id));
            self.conflicts.insert(new.expect("a forced resolution makes a conflict").to_owned(), open);
        }
        let ids: BTreeSet<&str> = listed.iter().filter_map(|one| one["id"].as_str()).collect();
        let open: BTreeSet<&str> = self.conflicts.keys().map(String::as_str).collect();
        assert_eq!(ids, open, "the list of conflicts is that of the open ones");
        for one in listed {
            let known = &self.conflicts[one["id"].as_str().unwrap_or_default()];
            let key = format!(
                "{}/{}",
                one["collection"].as_str().unwrap_or(""),
                one["file_path"].as_str().unwrap_or("")
            );
            assert_eq!(
                (&key, one["mine_device_id"].as_str()),
                (&known.key, Some(known.mine_device.as_str()))
            );
            let hash = |side: Option<&Bytes>| json!(side.map(|side| sha256_hex(side)));
            let theirs = self.head_content(&key);
            assert_eq!(
                one["mine"].get("hash").cloned().unwrap_or_default(),
                hash(known.mine.as_ref()),
                "mine of {key}"
            );
            assert_eq!(
                one["theirs"].get("hash").cloned().unwrap_or_default(),
                hash(theirs.as_ref()),
                "theirs of {key}"
            );
        }
    }
}

fn target(wanted: &Option<Bytes>, seen: Option<&Bytes>, head: Option<&Bytes>, force: bool) -> Target {
    let wanted = wanted.as_ref();
    if same(wanted, head) || same(wanted, seen) {
        return Target::Stays; // it says what head says, or asks for nothing that the seen text had not
    }
    let content = wanted.cloned();
    if same(head, seen) {
        return Target::Becomes { content, merged: false, forced: false };
    }
    if let (Some(seen), Some(wanted), Some(head)) = (seen, wanted, head)
        && [seen, wanted, head].into_iter().all(|side| is_text(side))
        && let Merge::Clean(merged) = merge(seen, wanted, head)
    {
        return Target::Becomes { content: Some(Arc::new(merged)), merged: true, forced: false };
    }
    match force {
        true => Target::Becomes { content, merged: false, forced: true },
        false => Target::Moved,
    }
}
