//! Events as live messages and as payloads, and the query of the request that asks for them.

use super::{device_id, invalid, parameters, put};
use crate::call::Caller;
use crate::error::Reject;
use crate::event::{Event, What};
use crate::ids::User;
use crate::policy::Policy;
use serde_json::{Value, json};

/// The device that `GET /sync/live` is for: the query's. A device's token names it as well.
pub fn live(query: &str, caller: &Caller, policy: &Policy) -> Result<String, Reject> {
    let given = parameters(query)?.into_iter().rfind(|(name, _)| name == "device_id").map(|(_, id)| id);
    let id = given.as_deref().or(caller.device_id());
    let id = id.ok_or_else(|| invalid("device_id", "it is required with the user's token"))?;
    device_id(policy, id)
}

/// An event as its message.
pub fn event(event: &Event, user: &User) -> Value {
    let mut message = payload(event, user);
    put(&mut message, "event", json!(name(event)));
    put(&mut message, "id", json!(event.id));
    message
}

/// What kind of event it is.
pub(crate) fn name(event: &Event) -> &'static str {
    match event.what {
        What::StateUpdated { .. } => "sync.state.updated",
        What::ConflictCreated { .. } => "sync.conflict.created",
        What::ConflictResolved { .. } => "sync.conflict.resolved",
    }
}

/// What it says: ids and key names only.
pub(crate) fn payload(event: &Event, user: &User) -> Value {
    let user_id = &user.id;
    let by = Some(&event.by).filter(|by| !by.is_empty());
    match &event.what {
        What::StateUpdated { seq, keys } => {
            json!({ "user_id": user_id, "device_id": by, "seq": seq, "keys": keys })
        }
        What::ConflictCreated { conflict_id, file_path, device_ids } => json!({
            "user_id": user_id, "conflict_id": conflict_id, "file_path": file_path, "device_ids": device_ids,
        }),
        What::ConflictResolved { conflict_id, resolution } => json!({
            "user_id": user_id, "conflict_id": conflict_id, "resolution": resolution, "device_id": by,
        }),
    }
}

/// The message in place of such as are not told one by one.
pub fn must_pull() -> Value {
    json!({ "event": "sync.pull" })
}
