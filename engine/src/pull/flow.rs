//! A pull from its checks to its reply.

use crate::call::Reply;
use crate::device::check_device_id;
use crate::exchange::{Halt, Progress, Setting, Step, device_of, head};
use crate::ids::{Hash, Seq};
use crate::pull::{Carried, Delivery, Position, PullQuery, Reason, touch_device};
use crate::slice::{Head, Scope, Slice};
use serde_json::{Map, Value, json};

/// See the module.
pub(crate) struct PullFlow {
    query: PullQuery,
    slice: Slice,
    delivery: Option<Delivery>,
}

impl PullFlow {
    pub(crate) fn new(query: PullQuery) -> PullFlow {
        PullFlow { query, slice: Slice::default(), delivery: None }
    }

    pub(crate) fn first(&self) -> Scope {
        Scope {
            devices: self.query.device_id.iter().cloned().collect(),
            deltas_at: self.query.since.into_iter().collect(),
            ..Scope::default()
        }
    }

    pub(crate) fn next(&mut self, setting: &Setting, loaded: Slice) -> Result<Step, Halt> {
        let loaded = match &self.delivery {
            Some(_) => loaded,
            None => {
                self.slice.extend(loaded);
                check_device_id(&setting.caller, self.query.device_id.as_deref())?;
                let head = head(&self.slice)?;
                let etag = self.etag(setting, head);
                if let Some(reply) = Reply::not_modified(self.query.if_none_match.as_deref(), etag) {
                    return Ok(self.reply(setting, reply));
                }
                self.delivery = Some(self.plan(setting, head));
                Slice::default()
            }
        };
        let head = head(&self.slice)?.clone();
        let Some(delivery) = &mut self.delivery else { return Ok(Step::Load(Scope::default())) };
        match delivery.next(&head, loaded, &setting.policy)? {
            Progress::Load(scope) => Ok(Step::Load(scope)),
            Progress::Done(state) => {
                let mut reply = Reply::json(self.body(setting, &head, state));
                reply.headers.push(("etag", self.etag(setting, &head)));
                Ok(self.reply(setting, reply))
            }
        }
    }

    fn plan(&self, setting: &Setting, head: &Head) -> Delivery {
        let query = &self.query;
        let Some(since) = query.since else {
            return Delivery::snapshot(Reason::Initial, None, query.meta);
        };
        let position = Position { seq: since, epoch: query.epoch.as_deref(), tag: query.tag };
        let base = query.patches.then_some(since);
        match position.check(head, &self.slice) {
            Some(reason) => Delivery::snapshot(reason, None, query.meta),
            None if query.snapshot => Delivery::snapshot(Reason::Asked, None, query.meta),
            None if since < head.floor => Delivery::snapshot(Reason::Pruned, base, query.meta),
            None if head.seq - since > setting.policy.snapshot_threshold => {
                Delivery::snapshot(Reason::BehindThreshold, base, query.meta)
            }
            None => Delivery::delta(since, query.patches, query.meta, Carried::default()),
        }
    }

    fn body(&self, setting: &Setting, head: &Head, state: Map<String, Value>) -> Value {
        let mut body = json!({
            "kind": "delta", "seq": head.seq, "epoch": head.epoch, "tag": head.tag,
            "state": state, "conflicts_open": head.conflicts_open, "policy": setting.policy.to_json(),
        });
        let reason = self.delivery.as_ref().and_then(Delivery::reason);
        if let Some(object) = body.as_object_mut() {
            match reason {
                None => drop(object.insert("since_seq".into(), json!(self.query.since))),
                Some(reason) => {
                    object.insert("kind".into(), json!("snapshot"));
                    object.insert("reason".into(), json!(reason.as_str()));
                }
            }
        }
        body
    }

    /// Weak: over epoch, seq, the query, and the policy, which a new configuration may have changed.
    fn etag(&self, setting: &Setting, head: &Head) -> String {
        let query = PullQuery { if_none_match: None, ..self.query.clone() };
        let mut query = Hash::of(format!("{query:?}{}", setting.policy.to_json()).as_bytes()).to_string();
        query.truncate(16);
        format!("W/\"{}.{}.{query}\"", head.epoch, head.seq)
    }

    fn reply(&self, setting: &Setting, reply: Reply) -> Step {
        let id = setting.caller.device_id().or(self.query.device_id.as_deref());
        let device = device_of(&self.slice, id);
        // A position of another history is not something that the device has applied here, and who asks for all
        // of it has not applied it.
        let is_here = |since: &Seq| {
            let position = Position { seq: *since, epoch: self.query.epoch.as_deref(), tag: self.query.tag };
            self.slice.head.as_ref().is_some_and(|head| position.check(head, &self.slice).is_none())
        };
        let applied = self.query.since.filter(|since| !self.query.snapshot && is_here(since));
        Step::Reply(reply, touch_device(device, applied, setting.now, &setting.policy))
    }
}
