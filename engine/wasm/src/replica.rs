//! The replica.

use crate::border::{bytes, from_js, object, thrown, to_js};
use js_sys::{Array, Uint8Array};
use nself_sync_engine::ids::{Hash, Millis, Platform, Seq};
use nself_sync_engine::replica::{self, Auth, Conflict, CorruptJournal, Event, Kind, Refused};
use nself_sync_engine::text::is_text;
use serde_json::Value;
use wasm_bindgen::prelude::*;

#[wasm_bindgen(typescript_custom_section)]
const TYPES: &str = r#"
import type {
  Conflict, JournalBatch, JournalRecord, Json, Platform, Policy, Rejected, ReplicaEvent, ReplicaStatus, Request,
  Resolution,
} from "./types.js";
"#;

#[wasm_bindgen]
extern "C" {
    /// A record of the journal.
    #[wasm_bindgen(typescript_type = "JournalRecord")]
    pub type Record;
    #[wasm_bindgen(method, getter)]
    fn key(this: &Record) -> String;
    #[wasm_bindgen(method, getter)]
    fn value(this: &Record) -> Vec<u8>;
}

/// The client as a state machine: `engine/src/replica.rs` says how it is driven. Times are milliseconds since 1970.
#[wasm_bindgen]
pub struct Replica(replica::Replica);

#[wasm_bindgen]
impl Replica {
    /// A replica from its journal's records; throws `corrupt_journal`.
    pub fn open(
        #[wasm_bindgen(js_name = deviceId)] device_id: &str,
        #[wasm_bindgen(unchecked_param_type = "Platform")] platform: &str,
        records: Vec<Record>,
    ) -> Result<Replica, JsValue> {
        let platform = match Platform::of(Some(platform), "") {
            Platform::Unknown => return Err(thrown("invalid_platform", "allowed are desktop, mobile, web")),
            platform => platform,
        };
        let records: Vec<_> = records.iter().map(|one| (one.key(), one.value())).collect();
        let records = records.iter().map(|(key, value)| (key.as_str(), value.as_slice()));
        replica::Replica::open(device_id, platform, records).map(Replica).map_err(corrupt)
    }

    /// Takes over what the journal says of these records by now, and that others are gone; throws `corrupt_journal`.
    pub fn refresh(&mut self, records: Vec<Record>, removed: Vec<String>) -> Result<(), JsValue> {
        let records: Vec<_> = records.iter().map(|one| (one.key(), one.value())).collect();
        let removed = removed.iter().map(|key| (key.as_str(), None));
        let records = records.iter().map(|(key, value)| (key.as_str(), Some(value.as_slice())));
        self.0.refresh(records.chain(removed)).map_err(corrupt)
    }

    /// Writes a scalar or a field; null removes it.
    pub fn set(
        &mut self,
        key: &str,
        #[wasm_bindgen(unchecked_param_type = "Json")] value: &JsValue,
        now: f64,
    ) -> Result<(), JsValue> {
        self.0.set(key, from_js(value)?, now as Millis).map_err(refused)
    }

    /// Writes the content of a file or page.
    pub fn write(
        &mut self,
        key: &str,
        #[wasm_bindgen(unchecked_param_type = "string | Uint8Array")] content: &JsValue,
        now: f64,
    ) -> Result<(), JsValue> {
        self.0.write(key, bytes(content), now as Millis).map_err(refused)
    }

    /// An edit made on another tab, with what it was made from: merged onto what is here.
    #[wasm_bindgen(js_name = writeOnto)]
    pub fn write_onto(
        &mut self,
        key: &str,
        #[wasm_bindgen(unchecked_param_type = "Uint8Array | null")] base: Option<Vec<u8>>,
        #[wasm_bindgen(unchecked_param_type = "Uint8Array | null")] content: Option<Vec<u8>>,
        now: f64,
    ) -> Result<(), JsValue> {
        self.0.write_onto(key, base.as_deref(), content, now as Millis).map_err(refused)
    }

    /// Removes a file, a session or a page with all it has.
    pub fn remove(&mut self, key: &str, now: f64) -> Result<(), JsValue> {
        self.0.remove(key, now as Millis).map_err(refused)
    }

    /// The same on another tab, at which the device stood at `seen`.
    #[wasm_bindgen(js_name = setFrom)]
    pub fn set_from(
        &mut self,
        key: &str,
        #[wasm_bindgen(unchecked_param_type = "Json")] value: &JsValue,
        seen: f64,
        now: f64,
    ) -> Result<(), JsValue> {
        self.0.set_from(key, from_js(value)?, seen as Seq, now as Millis).map_err(refused)
    }

    /// A removal on another tab, at which the device stood at `seen`, and of the content that was seen there.
    #[wasm_bindgen(js_name = removeFrom)]
    pub fn remove_from(
        &mut self,
        key: &str,
        #[wasm_bindgen(unchecked_param_type = "Uint8Array | null")] base: Option<Vec<u8>>,
        seen: f64,
        now: f64,
    ) -> Result<(), JsValue> {
        self.0.remove_from(key, base.as_deref(), seen as Seq, now as Millis).map_err(refused)
    }

    /// Scalars whose write lost, until they are acknowledged.
    #[wasm_bindgen(unchecked_return_type = "{ key: string; mine: Json; theirs: Json }[]")]
    pub fn superseded(&self) -> Array {
        let one = |(key, mine, theirs): (&str, &Value, &Value)| {
            object([("key", key.into()), ("mine", to_js(mine)), ("theirs", to_js(theirs))])
        };
        self.0.superseded().map(one).collect()
    }

    /// Who was told of a write that lost has done what there was to do.
    pub fn acknowledge(&mut self, key: &str) {
        self.0.acknowledge(key);
    }

    /// Takes back an edit that the host rejected.
    pub fn revert(&mut self, key: &str) {
        self.0.revert(key);
    }

    /// A scalar or field.
    #[wasm_bindgen(unchecked_return_type = "Json | undefined")]
    pub fn get(&self, key: &str) -> JsValue {
        self.0.get(key).map(to_js).unwrap_or_default()
    }

    /// A document's content; `undefined` where it is no text.
    pub fn text(&self, key: &str) -> Option<String> {
        let content = self.0.content(key).filter(|content| is_text(content))?;
        String::from_utf8(content.to_vec()).ok()
    }

    /// A document's content.
    pub fn bytes(&self, key: &str) -> Option<Uint8Array> {
        self.0.content(key).map(Uint8Array::from)
    }

    /// The changed keys of what there is, those that begin with `prefix`.
    pub fn keys(&self, prefix: &str) -> Vec<String> {
        self.0.keys(prefix)
    }

    /// Whether there is such a scalar, field, document, session or page.
    pub fn has(&self, key: &str) -> bool {
        self.0.has(key)
    }

    /// What to tell the user.
    #[wasm_bindgen(unchecked_return_type = "ReplicaStatus")]
    pub fn status(&self) -> String {
        self.0.status().as_str().to_owned()
    }

    /// The keys of edits that are not durable on the host yet.
    pub fn pending(&self) -> Vec<String> {
        self.0.pending().into_iter().map(str::to_owned).collect()
    }

    /// How many edits are not durable on the host yet.
    #[wasm_bindgen(js_name = pendingCount)]
    pub fn pending_count(&self) -> usize {
        self.0.pending_count()
    }

    /// The open conflicts.
    #[wasm_bindgen(unchecked_return_type = "Conflict[]")]
    pub fn conflicts(&self) -> Array {
        self.0.conflicts().iter().map(conflict).collect()
    }

    /// What the host would not take.
    #[wasm_bindgen(unchecked_return_type = "Rejected[]")]
    pub fn rejected(&self) -> Array {
        let rejected = self.0.rejected().into_iter();
        let rejected = rejected.map(|(key, why)| {
            object([("key", key.into()), ("code", (&why.code).into()), ("detail", (&why.detail).into())])
        });
        rejected.collect()
    }

    /// Its id to the host.
    #[wasm_bindgen(js_name = deviceId)]
    pub fn device_id(&self) -> String {
        self.0.device_id().to_owned()
    }

    /// The seq of the last reply whose changes it has applied.
    pub fn seq(&self) -> f64 {
        self.0.seq() as f64
    }

    /// What the host allows, as it told it last.
    #[wasm_bindgen(unchecked_return_type = "Policy | undefined")]
    pub fn policy(&self) -> JsValue {
        Some(self.0.policy()).filter(|policy| !policy.is_null()).map(to_js).unwrap_or_default()
    }

    /// What is to be stored, in one transaction, before anything else is done.
    #[wasm_bindgen(js_name = takeWrites, unchecked_return_type = "JournalBatch | undefined")]
    pub fn take_writes(&mut self) -> JsValue {
        let Some(batch) = self.0.take_writes() else { return JsValue::UNDEFINED };
        let writes = batch.writes.into_iter().map(|(key, value)| {
            let value = value.map_or(JsValue::NULL, |value| Uint8Array::from(&*value).into());
            object([("key", key.into()), ("value", value)])
        });
        object([("no", (batch.no as f64).into()), ("writes", writes.collect::<Array>().into())])
    }

    /// That the batch is stored.
    pub fn written(&mut self, no: f64) {
        self.0.written(no as u64);
    }

    /// What is to be sent now, if anything is.
    #[wasm_bindgen(js_name = pollRequest, unchecked_return_type = "Request | undefined")]
    pub fn poll_request(&mut self, now: f64) -> JsValue {
        let Some(request) = self.0.poll_request(now as Millis) else { return JsValue::UNDEFINED };
        let (kind, method) = match request.kind {
            Kind::Push => ("push", "POST"),
            Kind::Pull => ("pull", "GET"),
            Kind::Content => ("content", "GET"),
            Kind::Conflicts => ("conflicts", "GET"),
            Kind::Resolve => ("resolve", "POST"),
            Kind::Token => ("token", "POST"),
        };
        let (auth, token) = match request.auth {
            Auth::User => ("user", JsValue::NULL),
            Auth::Device(token) => ("device", token.into()),
        };
        object([
            ("id", (request.id as f64).into()),
            ("kind", kind.into()),
            ("method", method.into()),
            ("path", request.path.into()),
            ("body", request.body.map_or(JsValue::NULL, JsValue::from)),
            ("auth", auth.into()),
            ("token", token),
        ])
    }

    /// The reply to a request; `jitter` is random, from 0 up to 1.
    #[wasm_bindgen(js_name = handleReply)]
    pub fn handle_reply(
        &mut self,
        id: f64,
        status: u16,
        body: &[u8],
        #[wasm_bindgen(js_name = retryAfterMs)] retry_after_ms: Option<f64>,
        now: f64,
        jitter: f64,
    ) {
        let retry_after = retry_after_ms.map(|wait| wait as Millis);
        self.0.handle_reply(id as u64, (status, body), retry_after, now as Millis, jitter);
    }

    /// That no reply came.
    #[wasm_bindgen(js_name = handleFailure)]
    pub fn handle_failure(&mut self, id: f64, now: f64, jitter: f64) {
        self.0.handle_failure(id as u64, now as Millis, jitter);
    }

    /// What happened and was not told yet.
    #[wasm_bindgen(js_name = pollEvent, unchecked_return_type = "ReplicaEvent | undefined")]
    pub fn poll_event(&mut self) -> JsValue {
        self.0.poll_event().map(event).unwrap_or_default()
    }

    /// When to ask `pollRequest` again, if nothing happens before.
    #[wasm_bindgen(js_name = pollTimeout)]
    pub fn poll_timeout(&self) -> Option<f64> {
        self.0.poll_timeout().map(|at| at as f64)
    }

    /// Whether there is a network.
    #[wasm_bindgen(js_name = setOnline)]
    pub fn set_online(&mut self, online: bool, now: f64) {
        self.0.set_online(online, now as Millis);
    }

    /// Whether the host's live hints arrive.
    #[wasm_bindgen(js_name = setLive)]
    pub fn set_live(&mut self, live: bool, now: f64) {
        self.0.set_live(live, now as Millis);
    }

    /// Pulls now: something may have happened.
    pub fn wake(&mut self, now: f64) {
        self.0.wake(now as Millis);
    }

    /// Pushes now.
    pub fn flush(&mut self, now: f64) {
        self.0.flush(now as Millis);
    }

    /// The user's token can be had.
    #[wasm_bindgen(js_name = signedIn)]
    pub fn signed_in(&mut self, now: f64) {
        self.0.signed_in(now as Millis);
    }

    /// Becomes another device, with all edits that are not settled.
    pub fn renew(&mut self, #[wasm_bindgen(js_name = deviceId)] device_id: &str, now: f64) {
        self.0.renew(device_id, now as Millis);
    }

    /// Resolves a conflict. `theirsHash` is the *theirs* that the user saw, null where it was gone.
    pub fn resolve(
        &mut self,
        id: &str,
        #[wasm_bindgen(unchecked_param_type = "Resolution")] resolution: &str,
        #[wasm_bindgen(unchecked_param_type = "Uint8Array | undefined")] content: Option<Vec<u8>>,
        #[wasm_bindgen(js_name = theirsHash, unchecked_param_type = "string | null | undefined")]
        theirs_hash: &JsValue,
        force: bool,
    ) -> Result<(), JsValue> {
        let hash = |text: String| {
            Hash::parse(&text).ok_or_else(|| thrown("invalid_hash", "a hash is 64 hexadecimal digits"))
        };
        let theirs = match theirs_hash.as_string() {
            Some(text) => Some(Some(hash(text)?)),
            None => theirs_hash.is_null().then_some(None),
        };
        self.0.resolve(id, resolution, content, theirs, force);
        Ok(())
    }
}

fn refused(error: Refused) -> JsValue {
    thrown(error.code, &error.to_string())
}

fn corrupt(error: CorruptJournal) -> JsValue {
    thrown("corrupt_journal", &error.to_string())
}

fn conflict(conflict: &Conflict) -> JsValue {
    let field = |name: &str| conflict.json.get(name).map_or(JsValue::NULL, to_js);
    object([
        ("id", (&conflict.id).into()),
        ("key", (&conflict.key).into()),
        ("base", field("base")),
        ("mine", field("mine")),
        ("theirs", field("theirs")),
        ("mineDevice", field("mine_device_id")),
        ("theirsDevice", field("theirs_device_id")),
        ("seq", field("seq")),
        ("createdAt", field("created_at")),
    ])
}

fn event(event: Event) -> JsValue {
    let keys = |keys: Vec<String>| -> JsValue { keys.into() };
    match event {
        Event::Change { keys: changed } => object([("type", "change".into()), ("keys", keys(changed))]),
        Event::Conflicts(open) => {
            let open: Array = open.iter().map(conflict).collect();
            object([("type", "conflicts".into()), ("conflicts", open.into())])
        }
        Event::Status { status, pending } => object([
            ("type", "status".into()),
            ("status", status.as_str().into()),
            ("pending", pending.into()),
        ]),
        Event::Rejected { key, why } => object([
            ("type", "rejected".into()),
            ("key", key.into()),
            ("code", why.code.into()),
            ("detail", why.detail.into()),
        ]),
        Event::Superseded { key, mine, theirs } => object([
            ("type", "superseded".into()),
            ("key", key.into()),
            ("mine", to_js(&mine)),
            ("theirs", to_js(&theirs)),
        ]),
        Event::Resolved { id, code } => object([
            ("type", "resolved".into()),
            ("id", id.into()),
            ("code", code.map_or(JsValue::NULL, JsValue::from)),
        ]),
        Event::Identity { reason } => object([("type", "identity".into()), ("reason", reason.into())]),
        Event::SignIn => object([("type", "sign_in".into())]),
        Event::Activity { what, keys: named, up, down, seq, at, detail } => object([
            ("type", "activity".into()),
            ("kind", what.as_str().into()),
            ("keys", keys(named)),
            ("up", up.into()),
            ("down", down.into()),
            ("seq", (seq as f64).into()),
            ("at", (at as f64).into()),
            ("detail", detail.into()),
        ]),
    }
}
