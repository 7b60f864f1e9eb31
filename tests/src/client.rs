//! A small, honest client of the sync protocol: a device with its own copy of the state, over real HTTP.
//!
//! It registers with the user's JWT, drops it for the sync token, keeps what it edited until the host has taken
//! it, sends patches where they are smaller, and applies what comes back. Nothing here knows how a host works.

mod http;
mod state;

pub use http::{Http, Problem, Traffic};
pub use state::{Holdings, Rejection};

use crate::world::encode;
use anyhow::{Context, Result, bail};
use base64::prelude::{BASE64_STANDARD, Engine};
use nself_sync_engine::ids::Hash;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// One device of a user.
pub struct Device {
    /// Its `device_id`.
    pub id: String,
    /// What it holds; edit it here, then [`Device::push`].
    pub holds: Holdings,
    http: Http,
    cursor: Cursor,
    push_no: u64,
    policy: Value,
}

/// Where in the user's history the device is, as last told by the host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cursor {
    /// The seq whose changes are applied.
    pub seq: u64,
    epoch: Option<String>,
    tag: Option<String>,
}

/// How a device caught up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CaughtUp {
    /// By what changed since the given seq.
    Delta {
        /// The seq the device had.
        since_seq: u64,
    },
    /// By all of it.
    Snapshot {
        /// Why, in the protocol's word.
        reason: String,
    },
}

/// What became of a push.
#[derive(Debug, Default)]
pub struct Pushed {
    /// The status of each pushed key that was not plainly applied.
    pub results: BTreeMap<String, String>,
    /// The conflicts the push made.
    pub conflicts: Vec<Conflict>,
    /// What was refused, and why.
    pub rejected: Vec<Rejection>,
    /// How the device caught up: a push is also a pull.
    pub caught_up: Option<CaughtUp>,
}

impl Pushed {
    /// How many keys have this status.
    pub fn count(&self, status: &str) -> u64 {
        self.results.values().filter(|have| *have == status).count() as u64
    }
}

/// A conflict as the host lists it; a text that is gone is `None`.
#[derive(Debug, Clone)]
pub struct Conflict {
    /// Its id.
    pub id: String,
    /// The document, as a changed key (`files/a.rs`).
    pub key: String,
    /// What both started from.
    pub base: Option<Vec<u8>>,
    /// What the pushing device wrote.
    pub mine: Option<Vec<u8>>,
    /// What head has.
    pub theirs: Option<Vec<u8>>,
    /// The device that pushed *mine*.
    pub mine_device_id: String,
}

impl Device {
    /// Registers the device with the user's JWT and takes over the state there is.
    pub fn register(url: &str, jwt: &str, id: &str) -> Result<Device> {
        let http = Http::new(url, jwt);
        let mut device = Device {
            id: id.to_owned(),
            holds: Holdings::default(),
            http,
            cursor: Cursor::default(),
            push_no: 0,
            policy: Value::Null,
        };
        device.push()?;
        Ok(device)
    }

    /// Bytes sent and received so far.
    pub fn traffic(&self) -> &Traffic {
        &self.http.traffic
    }

    /// Where in the history the device is.
    pub fn cursor(&self) -> &Cursor {
        &self.cursor
    }

    /// A number of the policy as the host last told it.
    pub fn policy(&self, name: &str) -> Option<u64> {
        self.policy[name].as_u64()
    }

    /// Pushes every edit, and applies what the reply brings; documents the host cannot patch go again in full.
    /// A [`Problem`] comes back as the error; the edits stay.
    pub fn push(&mut self) -> Result<Pushed> {
        let mut pushed = self.push_once()?;
        if self.holds.needs_full_push() {
            let again = self.push_once()?;
            pushed.results.extend(again.results);
            pushed.conflicts.extend(again.conflicts);
            pushed.rejected.extend(again.rejected);
        }
        Ok(pushed)
    }

    fn push_once(&mut self) -> Result<Pushed> {
        self.push_no += 1;
        let mut body = json!({
            "device_id": self.id,
            "seq": self.cursor.seq,
            "state": self.holds.state_to_push(),
            "push_no": self.push_no,
            "patches": true,
        });
        if let (Some(epoch), Some(tag)) = (&self.cursor.epoch, &self.cursor.tag) {
            body["epoch"] = json!(epoch);
            body["tag"] = json!(tag);
        }
        let changed_at = self.holds.changed_at();
        if !changed_at.is_empty() {
            body["changed_at"] = json!(changed_at);
        }
        let reply = self.http.post("/sync/push", &body)?;
        if let Some(token) = reply["sync_token"].as_str() {
            self.http.set_token(token);
        }
        let mut pushed = Pushed { rejected: self.holds.settle(&reply["results"])?, ..Pushed::default() };
        for (key, result) in reply["results"].as_object().into_iter().flatten() {
            let status = result["status"].as_str().context("a result without a status")?;
            pushed.results.insert(key.clone(), status.to_owned());
        }
        for conflict in reply["conflicts"].as_array().into_iter().flatten() {
            pushed.conflicts.push(self.conflict(conflict)?);
        }
        self.policy = reply["policy"].clone();
        pushed.caught_up = Some(self.take(&reply["changes"])?);
        Ok(pushed)
    }

    /// Asks for what changed since this device last heard.
    pub fn pull(&mut self) -> Result<CaughtUp> {
        let Cursor { seq, epoch, tag } = &self.cursor;
        let mut query = format!("?device_id={}&since_seq={seq}&patches=1", encode(&self.id));
        if let (Some(epoch), Some(tag)) = (epoch, tag) {
            query += &format!("&epoch={}&tag={}", encode(epoch), encode(tag));
        }
        let reply = self.http.get(&format!("/sync/pull{query}"))?;
        self.take(&reply)
    }

    /// The user's open conflicts.
    pub fn conflicts(&mut self) -> Result<Vec<Conflict>> {
        let reply = self.http.get("/sync/conflicts")?;
        reply["conflicts"]
            .as_array()
            .context("no list of conflicts")?
            .iter()
            .map(|it| self.conflict(it))
            .collect()
    }

    /// Ends a conflict with a text that somebody made of both, seen against the conflict's *theirs*; then catches
    /// up. Any device may resolve any conflict of its user.
    pub fn resolve(&mut self, conflict: &Conflict, merged: &[u8]) -> Result<CaughtUp> {
        let mut body = match std::str::from_utf8(merged) {
            Ok(text) => json!({ "content": text }),
            Err(_) => json!({ "content_base64": BASE64_STANDARD.encode(merged) }),
        };
        body["resolution"] = json!("merged");
        body["device_id"] = json!(self.id);
        body["theirs_hash"] = json!(conflict.theirs.as_ref().map(|theirs| Hash::of(theirs)));
        self.http.post(&format!("/sync/conflicts/{}/resolve", conflict.id), &body)?;
        self.pull()
    }

    /// Applies a delta or a snapshot; where the reply says that the device is too far behind for it, pulls.
    fn take(&mut self, changes: &Value) -> Result<CaughtUp> {
        let caught_up = match changes["kind"].as_str().unwrap_or("delta") {
            "delta" => CaughtUp::Delta { since_seq: self.cursor.seq },
            "snapshot" => CaughtUp::Snapshot { reason: reason(changes) },
            "behind" => return self.pull(),
            other => bail!("changes of an unknown kind: {other}"),
        };
        let is_snapshot = matches!(caught_up, CaughtUp::Snapshot { .. });
        let state = changes["state"].as_object().context("changes without a state")?;
        let http = &mut self.http;
        self.holds.apply(state, is_snapshot, &mut |hash| http.get_bytes(&format!("/sync/files/{hash}")))?;
        self.cursor.seq = changes["seq"].as_u64().context("changes without a seq")?;
        self.cursor.epoch = Some(changes["epoch"].as_str().context("changes without an epoch")?.to_owned());
        self.cursor.tag = Some(changes["tag"].as_str().context("changes without a tag")?.to_owned());
        Ok(caught_up)
    }

    fn conflict(&mut self, listed: &Value) -> Result<Conflict> {
        let text = |name: &str| -> Result<String> {
            let text = listed[name].as_str().with_context(|| format!("a conflict without {name}"))?;
            Ok(text.to_owned())
        };
        let mut side = |name: &str| -> Result<Option<Vec<u8>>> {
            match state::inline_bytes(&listed[name])? {
                Some(bytes) => Ok(Some(bytes)),
                None if listed[name].is_null() => Ok(None),
                None => {
                    let hash = listed[name]["hash"].as_str().context("a document without a hash")?;
                    self.http.get_bytes(&format!("/sync/files/{hash}")).map(Some)
                }
            }
        };
        Ok(Conflict {
            base: side("base")?,
            mine: side("mine")?,
            theirs: side("theirs")?,
            id: text("id")?,
            key: format!("{}/{}", text("collection")?, text("file_path")?),
            mine_device_id: text("mine_device_id")?,
        })
    }
}

fn reason(changes: &Value) -> String {
    changes["reason"].as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests;
