//! A push from its checks to its reply: replay, place in history, block, items, commit, what the device lacks.

use crate::call::{Caller, Reply};
use crate::commit::Commit;
use crate::conflict::{ConflictList, brief};
use crate::decide::{self, Context};
use crate::device;
use crate::error::Reject;
use crate::event::Ended;
use crate::exchange::{Halt, Progress, Setting, Step, device_of, head};
use crate::history::Corrupt;
use crate::ids::Seq;
use crate::policy::{ConflictBlock, Strategy};
use crate::pull::{Carried, Delivery, Position, Reason};
use crate::push::{EntryPush, Outcome, Push};
use crate::slice::{Head, LastPush, Scope, Slice};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// See the module.
pub(crate) struct PushFlow {
    push: Push,
    slice: Slice,
    stage: Stage,
}

enum Stage {
    Check,
    Items,
    Committed(Box<Answer>),
    Conflicts(Box<Answer>, Box<ConflictList>),
    Deliver(Box<Answer>, Option<Box<Delivery>>),
}

/// What the reply says beside what the device lacks.
struct Answer {
    head: Head,
    /// The seq this push was answered first; of a replay not that of head.
    seq: Seq,
    tag: crate::ids::Tag,
    results: Value,
    sync_token: Option<String>,
    conflicts: Vec<Value>,
    conflict_ids: BTreeSet<String>,
    carried: Carried,
    replayed: bool,
}

impl PushFlow {
    pub(crate) fn new(push: Push) -> PushFlow {
        PushFlow { push, slice: Slice::default(), stage: Stage::Check }
    }

    pub(crate) fn first(&self) -> Scope {
        self.push.scope()
    }

    pub(crate) fn next(&mut self, setting: &Setting, loaded: Slice) -> Result<Step, Halt> {
        match std::mem::replace(&mut self.stage, Stage::Check) {
            Stage::Check => {
                self.slice.extend(loaded);
                self.check(setting)
            }
            Stage::Items => {
                self.slice.extend(loaded);
                self.decide(setting)
            }
            Stage::Committed(answer) => self.after(setting, answer),
            Stage::Conflicts(mut answer, mut list) => match list.next(&setting.policy, loaded)? {
                Progress::Load(scope) => {
                    self.stage = Stage::Conflicts(answer, list);
                    Ok(Step::Load(scope))
                }
                Progress::Done(conflicts) => {
                    answer.conflicts = conflicts;
                    self.deliver(setting, answer)
                }
            },
            Stage::Deliver(answer, None) => Ok(self.reply(setting, &answer, None)),
            Stage::Deliver(answer, Some(mut delivery)) => {
                match delivery.next(&answer.head, loaded, &setting.policy)? {
                    Progress::Load(scope) => {
                        self.stage = Stage::Deliver(answer, Some(delivery));
                        Ok(Step::Load(scope))
                    }
                    Progress::Done(state) => Ok(self.reply(setting, &answer, Some(state))),
                }
            }
        }
    }

    /// Token → device → replay → epoch, seq, tag → block. The token was first of all.
    fn check(&mut self, setting: &Setting) -> Result<Step, Halt> {
        let push = &self.push;
        device::check_device_id(&setting.caller, Some(&push.device_id))?;
        let head = head(&self.slice)?;
        let device = device_of(&self.slice, Some(&push.device_id));
        match device {
            Some(device) if device.removed_at.is_some() => return Err(Reject::DeviceRevoked.into()),
            Some(_) => {}
            None if self.slice.devices_count >= setting.policy.devices_max => {
                return Err(Reject::TooManyDevices { max: setting.policy.devices_max }.into());
            }
            None => {}
        }
        if let Some((last, (push_no, body))) = device.and_then(|d| d.last_push.as_ref()).zip(push.push_no) {
            match push_no.cmp(&last.push_no) {
                std::cmp::Ordering::Less => return Err(Reject::StalePush { last: last.push_no }.into()),
                std::cmp::Ordering::Equal if body != last.body => return Err(Reject::DeviceForked.into()),
                std::cmp::Ordering::Equal => return self.replay(setting),
                std::cmp::Ordering::Greater => {}
            }
        }
        let position = Position { seq: push.seq, epoch: push.epoch.as_deref(), tag: push.tag };
        match position.check(head, &self.slice) {
            Some(Reason::SeqAhead) => return Err(Reject::SeqAhead { head: head.seq }.into()),
            Some(_) => return Err(Reject::EpochChanged.into()),
            None => {}
        }
        let blocks = setting.policy.strategy == Strategy::Merge
            && setting.policy.conflict_block == ConflictBlock::Device
            && !self.slice.conflicts.is_empty();
        if blocks {
            let briefs = self.slice.conflicts.values().map(brief).collect();
            return Err(Reject::ConflictsUnresolved(briefs).into());
        }
        let scope = decide::needs(&context(push, &self.slice, head, setting));
        let keys: BTreeSet<&str> = scope.segments.iter().map(|(key, _)| key.as_str()).collect();
        let sizes = keys.into_iter().filter_map(|key| self.slice.documents.get(key)).map(|row| row.size);
        let (bytes, max) = (sizes.fold(0, usize::saturating_add), setting.policy.touched_bytes_max);
        if bytes > max {
            return Err(Reject::TooMuchTouched { bytes, max }.into());
        }
        self.stage = Stage::Items;
        if scope == Scope::default() { self.decide(setting) } else { Ok(Step::Load(scope)) }
    }

    fn decide(&mut self, setting: &Setting) -> Result<Step, Halt> {
        let before = head(&self.slice)?;
        let context = context(&self.push, &self.slice, before, setting);
        let (mut commit, outcomes) = decide::decide(&context)?.into_commit(&context);
        let head = commit.head.clone().unwrap_or_else(|| before.clone());
        let policy = &setting.policy;
        for (of, was, is, max) in [
            ("are stored", before.bytes, head.bytes, policy.quota_bytes),
            (
                "of what a snapshot carries are at head",
                before.state_bytes,
                head.state_bytes,
                policy.state_bytes_max,
            ),
        ] {
            if is > max.max(was) && !self.push.only_removes() {
                return Err(Reject::QuotaExceeded { of, bytes: was, max }.into());
            }
        }
        let results = render_results(&outcomes);
        let mut carried = self.carried(|key| match outcomes.get(key) {
            Some(Outcome::Rejected(_) | Outcome::Blocked) | None => None,
            Some(_) => {
                let written = commit.pushed.binary_search_by(|(pushed, _)| pushed.as_str().cmp(key));
                let pushed = written.ok().and_then(|at| commit.pushed.get(at)).map(|(_, row)| row);
                pushed.or_else(|| self.slice.pushed.get(key)).map(|row| (row.hash, row.at))
            }
        });
        carried.lost = lost(&results);
        carried.is_head = commit.delta.is_some();
        let sync_token = self.device_row(setting, &mut commit, &head, &results);
        let conflict_ids = commit.conflicts.iter().map(|conflict| conflict.id.clone()).collect();
        let answer = Answer {
            seq: head.seq,
            tag: head.tag,
            head,
            results,
            sync_token,
            conflicts: Vec::new(),
            conflict_ids,
            carried,
            replayed: false,
        };
        self.commit(setting, commit, answer)
    }

    fn commit(&mut self, setting: &Setting, commit: Commit, answer: Answer) -> Result<Step, Halt> {
        if is_empty(&commit) {
            return self.after(setting, Box::new(answer));
        }
        self.stage = Stage::Committed(Box::new(answer));
        Ok(Step::Commit(Box::new(commit)))
    }

    /// The device's row where it is new or tells something new, and its token where it registers.
    fn device_row(
        &self,
        setting: &Setting,
        commit: &mut Commit,
        head: &Head,
        results: &Value,
    ) -> Option<String> {
        let push = &self.push;
        let known = device_of(&self.slice, Some(&push.device_id));
        let mut device =
            known.cloned().unwrap_or_else(|| device::register(setting, &push.device_id, push.platform));
        let registers = known.is_none();
        let sync_token = registers.then(|| device::issue_token(setting, &mut device));
        let due = setting.now.saturating_sub(device.last_seen) >= setting.policy.last_seen_interval_ms;
        if due || push.push_no.is_some() {
            device.last_seen = setting.now;
        }
        device.seq = push.seq;
        if let Some((push_no, body)) = push.push_no {
            let results = results.to_string();
            let (seq, tag) = (head.seq, head.tag);
            device.last_push = Some(LastPush { push_no, body, seq, tag, registered: registers, results });
        }
        if known != Some(&device) {
            commit.device = Some(device);
        }
        sync_token
    }

    /// The same answer again, with fresh changes, and nothing done again; but a lost token is given anew.
    fn replay(&mut self, setting: &Setting) -> Result<Step, Halt> {
        let corrupt = || Corrupt("a device's last push".to_owned());
        let device = device_of(&self.slice, Some(&self.push.device_id)).ok_or_else(corrupt)?;
        let last = device.last_push.as_ref().ok_or_else(corrupt)?;
        let results: Value = serde_json::from_str(&last.results).map_err(|_| corrupt())?;
        let mut carried = self.carried(|key| {
            let status = results.get(key).and_then(|result| result.get("status"));
            let left = matches!(status.and_then(Value::as_str), Some("rejected" | "blocked"));
            self.slice.pushed.get(key).filter(|_| !left).map(|row| (row.hash, row.at))
        });
        carried.lost = lost(&results);
        let mut commit = Commit::default();
        let mut sync_token = None;
        if last.registered && matches!(setting.caller, Caller::User(_)) {
            let mut device = device.clone();
            sync_token = Some(device::issue_token(setting, &mut device));
            commit.device = Some(device);
            commit.news = device::ended(Ended::Replaced(self.push.device_id.clone()));
        }
        let ids = results.as_object().into_iter().flat_map(Map::values);
        let conflict_ids = ids.filter_map(|result| result.get("conflict_id")?.as_str().map(str::to_owned));
        let answer = Answer {
            head: head(&self.slice)?.clone(),
            seq: last.seq,
            tag: last.tag,
            conflicts: Vec::new(),
            conflict_ids: conflict_ids.collect(),
            results,
            sync_token,
            carried,
            replayed: true,
        };
        self.commit(setting, commit, answer)
    }

    /// The keys that this push carried, with what `of` knows of each.
    fn carried(&self, of: impl Fn(&str) -> Option<(Option<crate::ids::Hash>, Seq)>) -> Carried {
        let push = &self.push;
        let fields = push.entries.iter().flat_map(|(entry, pushed)| match pushed {
            EntryPush::Removed => vec![entry.clone()],
            EntryPush::Fields(fields) => fields.keys().map(|field| format!("{entry}/{field}")).collect(),
        });
        let keys = push.scalars.keys().chain(push.documents.keys()).cloned().chain(fields);
        let values = keys.filter_map(|key| of(&key).map(|carried| (key, carried)));
        Carried { values: values.collect(), ..Carried::default() }
    }

    fn after(&mut self, setting: &Setting, answer: Box<Answer>) -> Result<Step, Halt> {
        if answer.conflict_ids.is_empty() {
            return self.deliver(setting, answer);
        }
        let list = ConflictList::of(answer.conflict_ids.clone());
        let scope = list.first();
        self.stage = Stage::Conflicts(answer, Box::new(list));
        Ok(Step::Load(scope))
    }

    fn deliver(&mut self, setting: &Setting, mut answer: Box<Answer>) -> Result<Step, Halt> {
        let carried = std::mem::take(&mut answer.carried);
        let delivery = self
            .behind(setting, &answer.head)
            .is_none()
            .then(|| Box::new(Delivery::delta(self.push.seq, self.push.patches, false, carried)));
        self.stage = Stage::Deliver(answer, delivery);
        self.next(setting, Slice::default())
    }

    /// Why a pull would answer a snapshot, if it would.
    fn behind(&self, setting: &Setting, head: &Head) -> Option<Reason> {
        let since = self.push.seq;
        if since < head.floor {
            Some(Reason::Pruned)
        } else if since > head.seq {
            Some(Reason::SeqAhead) // a replay after a restore
        } else if head.seq - since > setting.policy.snapshot_threshold {
            Some(Reason::BehindThreshold)
        } else {
            None
        }
    }

    fn reply(&self, setting: &Setting, answer: &Answer, state: Option<Map<String, Value>>) -> Step {
        let head = &answer.head;
        let changes = match (state, self.behind(setting, head)) {
            (Some(state), _) => json!({
                "kind": "delta", "since_seq": self.push.seq, "seq": head.seq,
                "epoch": head.epoch, "tag": head.tag, "state": state,
            }),
            (None, reason) => json!({ "kind": "behind", "reason": reason.map(Reason::as_str) }),
        };
        let mut body = json!({
            "seq": answer.seq, "epoch": head.epoch, "tag": answer.tag,
            "results": answer.results,
            "conflicts": answer.conflicts, "conflicts_open": head.conflicts_open,
            "changes": changes, "policy": setting.policy.to_json(),
        });
        if let (Some(token), Some(body)) = (&answer.sync_token, body.as_object_mut()) {
            body.insert("sync_token".into(), json!(token));
        }
        let mut reply = Reply::json(body);
        if answer.replayed {
            reply.headers.push(("idempotency-replayed", "true".to_owned()));
        }
        Step::Reply(reply, None)
    }
}

fn context<'a>(push: &'a Push, slice: &'a Slice, head: &'a Head, setting: &'a Setting) -> Context<'a> {
    Context { push, slice, head, policy: &setting.policy, now: setting.now, fresh: setting.fresh }
}

/// The keys of a push whose value lost, by its results.
fn lost(results: &Value) -> BTreeSet<String> {
    let results = results.as_object().into_iter().flatten();
    let is_lost = |result: &Value| {
        matches!(result.get("status").and_then(Value::as_str), Some("superseded" | "conflict"))
    };
    results.filter(|(_, result)| is_lost(result)).map(|(key, _)| key.clone()).collect()
}

fn is_empty(commit: &Commit) -> bool {
    let Commit { head, device, delta, pushed, versions, segments, .. } = commit;
    head.is_none()
        && device.is_none()
        && delta.is_none()
        && pushed.is_empty()
        && versions.is_empty()
        && segments.is_empty()
}

/// The `results` of a push: every key that was not plainly applied.
fn render_results(outcomes: &BTreeMap<String, Outcome>) -> Value {
    let results = outcomes.iter().filter_map(|(key, outcome)| {
        let result = match outcome {
            Outcome::Applied => return None,
            Outcome::Unchanged => json!({ "status": "unchanged" }),
            Outcome::Merged(hash) => json!({ "status": "merged", "hash": hash }),
            Outcome::Superseded => json!({ "status": "superseded" }),
            Outcome::Conflict(id) => json!({ "status": "conflict", "conflict_id": id }),
            Outcome::Blocked => json!({ "status": "blocked" }),
            Outcome::Rejected(rejection) => {
                json!({ "status": "rejected", "code": rejection.code, "detail": rejection.detail })
            }
        };
        Some((key.clone(), result))
    });
    Value::Object(results.collect())
}
