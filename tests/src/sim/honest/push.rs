//! What it sends.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{Flight, Honest};
use crate::sim::keys;
use crate::sim::rng::Rng;
use crate::world::{encode, sha256_hex};

/// How long it waits for an answer.
const PATIENCE_MS: u64 = 4000;

impl Honest {
    /// The body to send now: of the push in flight again, or of a new one. `None`: there is nothing to push.
    pub fn push(&mut self, rng: &mut Rng, now: u64, mischief: bool) -> Option<Arc<Value>> {
        if self.flight.is_some() {
            return self.push_again(now);
        }
        if self.must_pull {
            return None;
        }
        let (mut state, mut times, mut documents) = (json!({}), Map::new(), BTreeMap::new());
        self.put_documents(rng, &mut state, &mut documents);
        self.put_scalars(&mut state, &mut times);
        if mischief {
            self.put_mischief(rng, &mut state);
        }
        if state == json!({}) && self.epoch.is_some() {
            return None;
        }
        self.push_no += 1;
        let mut body = json!({
            "device_id": self.id, "seq": self.seq, "state": state, "push_no": self.push_no, "patches": self.traits.patches,
        });
        if let (Some(epoch), Some(tag)) = (&self.epoch, &self.tag) {
            body["epoch"] = json!(epoch);
            body["tag"] = json!(tag);
        }
        if self.traits.says_time && !times.is_empty() {
            body["changed_at"] = Value::Object(times);
        }
        let body = Arc::new(body);
        self.flight = Some(Flight { body: Arc::clone(&body), documents, retry_at: now + PATIENCE_MS });
        Some(body)
    }

    /// The body of the push in flight.
    pub fn push_again(&mut self, now: u64) -> Option<Arc<Value>> {
        let flight = self.flight.as_mut()?;
        flight.retry_at = now + PATIENCE_MS;
        Some(Arc::clone(&flight.body))
    }

    fn put_documents(
        &mut self,
        rng: &mut Rng,
        state: &mut Value,
        sent: &mut BTreeMap<String, Option<Vec<u8>>>,
    ) {
        for (key, base) in self.bases.clone() {
            let mine = keys::document(&self.local, &key).cloned();
            let server = keys::document(&self.server, &key).cloned();
            let is_offered = self.offered.contains(&key);
            let is_plain = base == server;
            let is_back = mine == base && !is_offered;
            let needs_base = !is_plain && (mine.is_none() || !self.traits.says_base) && !is_offered;
            let needs_reload = is_back || needs_base;
            if needs_reload || (is_offered && mine.is_none()) {
                self.bases.remove(&key);
                self.offered.remove(&key);
                keys::set_document(&mut self.local, &key, server);
                continue;
            }
            let entry = match &mine {
                None => Value::Null,
                Some(mine) => Value::Object(self.document(rng, &key, mine, base.as_deref(), is_plain)),
            };
            keys::put(state, &key, entry);
            sent.insert(key, mine);
        }
    }

    fn document(
        &self,
        rng: &mut Rng,
        key: &str,
        mine: &[u8],
        base: Option<&[u8]>,
        is_plain: bool,
    ) -> Map<String, Value> {
        let mut members = Map::from_iter([keys::content_member(mine)]);
        if self.offered.contains(key) {
            members.insert("base_hash".to_owned(), Value::Null);
            return members;
        }
        if !self.traits.says_base {
            return members;
        }
        match base {
            None if is_plain => {}
            None => drop(members.insert("base_hash".to_owned(), Value::Null)),
            Some(base) => {
                let may_patch = self.traits.patches && !self.in_full.contains(key) && rng.percent(60);
                if let Some(patch) = patch(base, mine).filter(|_| may_patch) {
                    members = Map::from_iter([("patch".to_owned(), patch)]);
                    members.insert("hash".to_owned(), json!(sha256_hex(mine)));
                }
                members.insert("base_hash".to_owned(), json!(sha256_hex(base)));
            }
        }
        members
    }

    fn put_scalars(&mut self, state: &mut Value, times: &mut Map<String, Value>) {
        let (local, server) = (&self.local, &self.server);
        self.dirty.retain(|key, _| keys::scalar(local, key) != keys::scalar(server, key));
        self.removed.retain(|entry, _| keys::has_entry(server, entry));
        for (key, at) in &self.dirty {
            keys::put(state, key, keys::scalar(local, key).cloned().unwrap_or(Value::Null));
            times.insert(key.clone(), json!(at));
        }
        for (entry, (at, _)) in &self.removed {
            keys::put(state, entry, Value::Null);
            times.insert(entry.clone(), json!(at));
        }
    }

    /// Items that must be rejected alone, or of a base that nobody knows.
    fn put_mischief(&self, rng: &mut Rng, state: &mut Value) {
        let nobody = sha256_hex(&rng.bits().to_be_bytes());
        let (key, value) = match rng.below(8) {
            0 => ("files/a/../b", json!({ "content": "x" })),
            1 => ("files/e.bin", json!({ "content_base64": "!not base64!" })),
            2 if !self.dirty.contains_key("env_encrypted") => ("env_encrypted", json!({ "x": 1 })),
            3 => ("notes", json!("n".repeat(5000))),
            4 => ("files/e.txt", json!({ "patch": [[0, 0, "x"]], "base_hash": nobody })),
            5 => ("files/e.txt", json!({ "content": "e\n", "base_hash": nobody })),
            6 => ("files/f.txt", json!({ "content": null })),
            _ => ("files/f.txt", Value::Null),
        };
        keys::put(state, key, value);
    }

    /// The query of its next pull.
    pub fn pull_query(&self, with_patches: bool) -> String {
        let mut query = format!("device_id={}", encode(&self.id));
        if let (Some(epoch), Some(tag)) = (&self.epoch, &self.tag) {
            query += &format!("&since_seq={}&epoch={epoch}&tag={tag}", self.seq);
            if with_patches && self.traits.patches {
                query += "&patches=1";
            }
        }
        query
    }
}

/// One operation between the common ends, on character boundaries; `None` of what is not text.
fn patch(base: &[u8], mine: &[u8]) -> Option<Value> {
    let (base, mine) = (std::str::from_utf8(base).ok()?, std::str::from_utf8(mine).ok()?);
    if base.contains('\0') || mine.contains('\0') {
        return None;
    }
    let same = base.char_indices().zip(mine.chars()).take_while(|((_, a), b)| a == b);
    let skip = same.last().map_or(0, |((at, char), _)| at + char.len_utf8());
    let ends = base[skip..].chars().rev().zip(mine[skip..].chars().rev()).take_while(|(a, b)| a == b);
    let end: usize = ends.map(|(char, _)| char.len_utf8()).sum();
    Some(json!([[skip, base.len() - skip - end, &mine[skip..mine.len() - end]]]))
}
