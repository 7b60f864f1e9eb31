//! A client as the plugin page shows it: device_id, seq and state, nothing else; it pushes all it has, again and again,
//! from the seq that it once had, and looks at no answer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};

use super::host::SimHost;
use super::keys;
use super::rng::Rng;
use super::texts::{self, Mint};
use crate::world::View;

/// See the module.
#[derive(Debug, Clone)]
pub struct Naive {
    /// Its device id.
    pub id: String,
    /// The seq that it says.
    pub seq: u64,
    /// What its user sees.
    pub local: View,
    /// What its user removed, which it goes on saying.
    gone: BTreeSet<String>,
}

impl Naive {
    /// A client that has never spoken to the host.
    pub fn new(id: String) -> Naive {
        Naive { id, seq: 0, local: View::default(), gone: BTreeSet::new() }
    }

    /// It is started anew and shows what the host has.
    pub fn reload(&mut self, host: &mut SimHost) {
        let reply = host.pull("");
        let state = super::fill::fill(host, &reply["state"], &[], &[])
            .expect("every content of a reply is to be had");
        self.local = View::of_snapshot(&state);
        self.seq = reply["seq"].as_u64().expect("a reply has its seq");
        self.gone.clear();
    }

    /// Its user does something. Gives the tokens of lines that were taken out.
    pub fn edit(&mut self, rng: &mut Rng, mint: &mut Mint, bytes_max: usize) -> BTreeSet<u64> {
        let documents: Vec<&str> =
            keys::FILES.iter().copied().chain(["context_pages/p1", "context_pages/p2"]).collect();
        let key = *rng.pick(&documents);
        let before = keys::document(&self.local, key).cloned();
        let had = before.as_deref().map(texts::tokens).unwrap_or_default();
        let mut kept = BTreeSet::new();
        match rng.below(10) {
            0..=5 => {
                let after = match &before {
                    Some(before) => texts::edited(rng, mint, before, bytes_max),
                    None => texts::fresh(rng, mint, bytes_max),
                };
                kept = texts::tokens(&after);
                keys::set_document(&mut self.local, key, Some(after));
                self.gone.remove(key);
            }
            6 if before.is_some() && rng.percent(40) => {
                match keys::is_page(key) {
                    true => keys::remove_entry(&mut self.local, key),
                    false => keys::set_document(&mut self.local, key, None),
                }
                self.gone.insert(key.to_owned());
            }
            7 => {
                let key = *rng.pick(&keys::SCALARS);
                keys::set_scalar(&mut self.local, key, Some(texts::value(rng, mint, key)));
                return BTreeSet::new();
            }
            _ => {
                let entry = *rng.pick(&keys::ENTRIES);
                let key = format!("{entry}/{}", rng.pick(&keys::FIELDS));
                let value = texts::value(rng, mint, &key);
                keys::set_scalar(&mut self.local, &key, Some(value));
                self.gone.remove(entry);
                return BTreeSet::new();
            }
        }
        had.difference(&kept).copied().collect()
    }

    /// All it has.
    pub fn push(&self) -> Arc<Value> {
        let mut state = keys::full_state(&self.local);
        for key in &self.gone {
            keys::put(&mut state, key, Value::Null);
        }
        Arc::new(json!({ "device_id": self.id, "seq": self.seq, "state": state }))
    }
}

/// A person who resolves conflicts, some time after having looked at them.
#[derive(Debug, Clone, Default)]
pub struct Person {
    decided: BTreeMap<String, Value>,
}

impl Person {
    /// Looks at one conflict of the list and makes up their mind.
    pub fn look(&mut self, rng: &mut Rng, listed: &[Value], device: &str) {
        if listed.is_empty() {
            return;
        }
        let one = rng.pick(listed);
        if self.decided.contains_key(one["id"].as_str().unwrap_or_default()) && rng.percent(80) {
            return; // it stays with what was seen first
        }
        let mut body =
            json!({ "resolution": (["mine", "theirs", "merged"][rng.below(3)]), "device_id": device });
        if body["resolution"] == "merged" {
            body["content"] = json!(both(&one["mine"], &one["theirs"]));
        }
        if !rng.percent(20) {
            body["theirs_hash"] = one["theirs"].get("hash").cloned().unwrap_or_default();
        }
        if rng.percent(40) {
            body["force"] = json!(true);
        }
        self.decided.insert(one["id"].as_str().unwrap_or_default().to_owned(), body);
    }

    /// A decision to carry out; it may be said again later.
    pub fn decide(&mut self, rng: &mut Rng) -> Option<(String, Value)> {
        let (id, body) = self.decided.iter().next().map(|(id, body)| (id.clone(), body.clone()))?;
        if !rng.percent(5) {
            self.decided.remove(&id);
        }
        Some((id, body))
    }

    /// Forgets what was decided.
    pub fn forget(&mut self) {
        self.decided.clear();
    }
}

/// The lines of both texts.
fn both(mine: &Value, theirs: &Value) -> String {
    let text = |side: &Value| side["content"].as_str().unwrap_or_default().to_owned();
    let (mine, theirs) = (text(mine), text(theirs));
    let mut merged = theirs.clone();
    for line in mine.lines().filter(|line| !theirs.lines().any(|have| have == *line)) {
        if !merged.is_empty() && !merged.ends_with('\n') {
            merged.push('\n');
        }
        merged.push_str(line);
        merged.push('\n');
    }
    merged
}
