//! What a host was sent and has sent that its log must not have: tokens, contents, sealed bytes, values, paths, queries.

use std::collections::BTreeSet;
use std::sync::Mutex;

use anyhow::{Result, ensure};
use serde_json::Value;

use super::{Request, Response};

/// Shorter texts might stand in a log by chance.
const CHARS_MIN: usize = 16;

/// Of longer ones this much is looked for.
const CHARS_MAX: usize = 64;

/// So many are remembered of a host: they are looked for one by one.
const COUNT_MAX: usize = 4000;

/// All that was met.
#[derive(Default)]
pub struct Secrets(Mutex<BTreeSet<String>>);

impl Secrets {
    /// Remembers what an exchange carried.
    pub fn met(&self, request: &Request, response: Option<&Response>) {
        for (name, value) in &request.headers {
            if name.eq_ignore_ascii_case("authorization") {
                self.add(value.rsplit(' ').next().unwrap_or_default());
            }
        }
        if let Some((_, query)) = request.path.split_once('?') {
            self.add(query);
        }
        for body in [Some(&request.body), response.map(|response| &response.body)].into_iter().flatten() {
            if let Ok(Value::Object(body)) = serde_json::from_slice(body) {
                let told =
                    ["state", "changes", "conflicts", "content", "content_base64", "sync_token", "versions"];
                told.iter().filter_map(|name| body.get(*name)).for_each(|value| self.add_all(value));
            }
        }
    }

    fn add_all(&self, value: &Value) {
        match value {
            Value::String(text) => text.lines().for_each(|line| self.add(line)),
            Value::Array(items) => items.iter().for_each(|item| self.add_all(item)),
            Value::Object(members) => members.iter().for_each(|(name, value)| {
                // A path. Others are names of this protocol, or short.
                if name.contains('/') {
                    self.add(name);
                }
                // Hashes, ids and epochs may be logged.
                if !["hash", "base_hash", "id", "epoch", "tag", "device_id", "created_at"]
                    .contains(&name.as_str())
                {
                    self.add_all(value);
                }
            }),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn add(&self, text: &str) {
        let text: String = text.chars().take(CHARS_MAX).collect();
        // One letter over and over is in request ids as well.
        let is_one_letter = text.chars().collect::<BTreeSet<_>>().len() < 2;
        let mut met = self.0.lock().expect("no holder panics");
        if text.chars().count() >= CHARS_MIN && !is_one_letter && met.len() < COUNT_MAX {
            met.insert(text);
        }
    }

    /// An error with the first of it that stands in this log.
    pub fn check(&self, log: &str) -> Result<()> {
        for secret in self.0.lock().expect("no holder panics").iter() {
            // In a line of JSON quotes and the like are escaped.
            let escaped = Value::from(secret.as_str()).to_string();
            let is_logged = log.contains(secret.as_str()) || log.contains(escaped.trim_matches('"'));
            ensure!(!is_logged, "the log has what only the user may see: {secret}");
        }
        Ok(())
    }
}
