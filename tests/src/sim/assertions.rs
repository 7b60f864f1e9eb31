//! What must hold of every answer and between any two steps.

use std::sync::Arc;

use serde_json::{Value, json};

use super::fill::fill;
use super::host::{Auth, SimHost};
use super::keys;
use super::model::{Model, Status};
use super::rng::Rng;
use crate::memory::Rows;
use crate::world::{View, leaves};

/// What a push must be answered.
#[derive(Debug, PartialEq)]
pub enum Expected {
    Accepted,
    Replayed,
    Refused(u16, &'static str),
    /// Whether the tag is right can no longer be said.
    AcceptedOrEpochChanged,
}

impl Model {
    /// The checks of a push in their order: token, device, replay, place in the history, block.
    pub fn expected(&self, host: &SimHost, auth: &Auth, body: &Arc<Value>) -> Expected {
        let device = body["device_id"].as_str().unwrap_or_default();
        if let Auth::Token(token) = auth {
            let last_seen =
                host.rows().and_then(|rows| rows.devices.get(device)).map_or(0, |row| row.last_seen);
            let is_idle = host.now.saturating_sub(last_seen) > host.policy.token_idle_days * 86_400_000;
            if self.tokens.get(device) != Some(token) || is_idle {
                return Expected::Refused(401, "unauthorized");
            }
        }
        if self.devices.get(device) == Some(&true) {
            return Expected::Refused(403, "device_revoked");
        }
        if let Some((last, is_same)) = self.recorded_push(device, body) {
            let push_no = body["push_no"].as_u64().unwrap_or_default();
            match push_no.cmp(&last) {
                std::cmp::Ordering::Less => return Expected::Refused(409, "stale_push"),
                std::cmp::Ordering::Equal if is_same => return Expected::Replayed,
                std::cmp::Ordering::Equal => return Expected::Refused(409, "device_forked"),
                std::cmp::Ordering::Greater => {}
            }
        }
        let seq = body["seq"].as_u64().unwrap_or_default();
        if let (Some(said), Some(epoch)) = (body["epoch"].as_str(), &self.epoch)
            && said != epoch
        {
            return Expected::Refused(409, "epoch_changed");
        }
        if seq > self.seq {
            return Expected::Refused(409, "seq_ahead");
        }
        let tag = body["tag"].as_str();
        let is_wrong = tag.is_some_and(|tag| self.tags.get(&seq).is_some_and(|known| known != tag));
        if is_wrong && (seq >= self.floor || seq == 0) {
            return Expected::Refused(409, "epoch_changed");
        }
        let is_blocked = !self.is_lww()
            && !self.blocks_file()
            && self.conflicts.values().any(|open| open.mine_device == device);
        match (is_blocked, is_wrong || (tag.is_some() && !self.tags.contains_key(&seq))) {
            (true, false) => Expected::Refused(409, "conflicts_unresolved"),
            (false, false) => Expected::Accepted,
            (_, true) => Expected::AcceptedOrEpochChanged,
        }
    }

    /// The changes of a push's reply: with them a device that stood at its seq has what head has.
    pub fn check_changes(&mut self, host: &mut SimHost, body: &Value, reply: &Value) {
        let (seq, changes) = (body["seq"].as_u64().unwrap_or_default(), &reply["changes"]);
        let reason = if seq < self.floor {
            Some("pruned")
        } else if seq > self.seq {
            Some("seq_ahead")
        } else if self.seq - seq > host.policy.snapshot_threshold {
            Some("behind_threshold")
        } else {
            None
        };
        if let Some(reason) = reason {
            assert_eq!((&changes["kind"], &changes["reason"]), (&json!("behind"), &json!(reason)));
            self.coverage.hit(&format!("changes behind {reason}"));
            return;
        }
        assert_eq!(
            (&changes["kind"], &changes["since_seq"], &changes["seq"]),
            (&json!("delta"), &json!(seq), &json!(self.seq))
        );
        self.check_point(changes);
        self.coverage.hit("changes delta");
        self.note_contents(&changes["state"], "changes");
        let before = Arc::clone(&self.states[&seq]);
        let mut view = (*before).clone();
        let mut sent = Vec::new();
        for (key, state) in leaves(&body["state"]) {
            let mine = self.mine_of(&key, &state);
            sent.extend(mine.clone().flatten());
            let status = Status::of(&reply["results"], &key);
            if matches!(status, Status::Applied | Status::Unchanged | Status::Merged) {
                match mine {
                    Some(mine) => keys::set_document(&mut view, &key, mine.map(|mine| mine.to_vec())),
                    None => view.apply(&state),
                }
            }
        }
        let sent: Vec<&Vec<u8>> = sent.iter().map(|mine| &**mine).collect();
        let overlaid = view.clone();
        let state = fill(host, &changes["state"], &[&before, &overlaid], &sent)
            .expect("every content of a reply is to be had");
        view.apply_reply(&state);
        keys::assert_same(&view, self.head(), "what a device has after the changes of its push");
    }

    fn note_contents(&mut self, state: &Value, what: &str) {
        for collection in ["files", "context_pages"] {
            for entry in state[collection].as_object().into_iter().flatten().map(|(_, entry)| entry) {
                let has = |name: &str| entry.get(name).is_some();
                if has("patch") {
                    self.coverage.hit(&format!("{what} delta with a patch"));
                } else if has("hash") && !has("content") && !has("content_base64") {
                    self.coverage.hit(&format!("{what} by hash only"));
                }
            }
        }
    }

    /// delta(N → head) applied to the state at N is the snapshot at head.
    pub fn check_pull(&mut self, host: &mut SimHost, rng: &mut Rng) {
        let snapshot = host.pull("");
        assert_eq!((&snapshot["kind"], &snapshot["reason"]), (&json!("snapshot"), &json!("initial")));
        self.coverage.hit("pull snapshot initial");
        self.check_point(&snapshot);
        let state = fill(host, &snapshot["state"], &[], &[]).expect("every content of a reply is to be had");
        keys::assert_same(&View::of_snapshot(&state), self.head(), "the snapshot");
        assert_eq!(
            (&snapshot["seq"], &snapshot["conflicts_open"]),
            (&json!(self.seq), &json!(self.conflicts.len()))
        );
        let known: Vec<u64> = self.states.keys().copied().collect();
        let since = *rng.pick(&known);
        let patches = if rng.percent(50) { "&patches=1" } else { "" };
        let reply = host.pull(&format!("since_seq={since}{patches}"));
        self.check_point(&reply);
        let before = Arc::clone(&self.states[&since]);
        let state =
            fill(host, &reply["state"], &[&before], &[]).expect("every content of a reply is to be had");
        let mut view = (*before).clone();
        if self.seq - since > host.policy.snapshot_threshold {
            assert_eq!(reply["reason"], "behind_threshold", "from {since} to {}", self.seq);
            self.coverage.hit("pull snapshot behind_threshold");
            view = View::of_snapshot(&state);
        } else {
            assert_eq!((&reply["kind"], &reply["since_seq"]), (&json!("delta"), &json!(since)));
            self.coverage.hit("pull delta");
            self.note_contents(&reply["state"], "pull");
            view.apply_reply(&state);
        }
        keys::assert_same(&view, self.head(), &format!("the state after the delta from {since}"));
    }
}

/// What is stored fits together: seqs without a gap, each tag from the one before.
pub fn check_rows(rows: &Rows) {
    let mut tag = rows.head.floor_tag;
    let mut seq = rows.head.floor;
    for delta in rows.deltas.values() {
        assert_eq!(delta.seq, seq + 1, "no gap in the deltas");
        if seq > 0 {
            let chained = tag.next(delta.seq, &delta.device_id, delta.created_at, &delta.diff);
            assert_eq!(delta.tag, chained, "the tag of {}", delta.seq);
        }
        (seq, tag) = (delta.seq, delta.tag);
    }
    assert_eq!(rows.head.seq, seq.max(rows.head.floor), "head is the last delta");
    assert!(rows.deltas.is_empty() || rows.head.tag == tag, "head's tag is the last delta's");
    let open = rows.conflicts.values().filter(|conflict| conflict.resolved.is_none()).count();
    assert_eq!(rows.head.conflicts_open, open as u64, "conflicts_open counts the open ones");
    assert_eq!(rows.head.bytes, rows.bytes(), "bytes counts what is stored");
    assert_eq!(rows.head.state_bytes, rows.state_bytes(), "state_bytes counts what is at head");
}
