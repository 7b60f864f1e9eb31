//! Who calls, as the worker tells the object.

use nself_sync_engine::call::Caller;
use nself_sync_engine::ids::{Hash, Millis, User};
use serde_json::{Value, json};

/// The header that carries it. Only the worker reaches an object, so what it says is believed.
pub const HEADER: &str = "nself-sync-caller";

/// A caller, and when the token ends, where it says so.
pub struct Proof {
    /// Of a user's token verified; of a device's what it claims.
    pub caller: Caller,
    /// By the host's clock.
    pub until: Option<Millis>,
}

impl Proof {
    /// As the header, and as what a WebSocket keeps.
    pub fn to_json(&self) -> Value {
        let user = self.caller.user();
        let (device, secret) = match &self.caller {
            Caller::User(_) => (None, None),
            Caller::Device { device_id, secret, .. } => (Some(device_id), Some(secret.to_string())),
        };
        // Escaped to ASCII by `percent`, since a header takes nothing else.
        json!([percent(&user.account), percent(&user.id), device.map(|id| percent(id)), secret, self.until])
    }

    /// Back from JSON; `None`: it is none of ours.
    pub fn of(json: &Value) -> Option<Proof> {
        let text = |index: usize| json.get(index)?.as_str().and_then(unpercent);
        let user = User { account: text(0)?, id: text(1)? };
        let caller = match (text(2), text(3)) {
            (Some(device_id), Some(secret)) => {
                Caller::Device { user, device_id, secret: Hash::parse(&secret)? }
            }
            (_, _) => Caller::User(user),
        };
        Some(Proof { caller, until: json.get(4).and_then(Value::as_u64) })
    }
}

fn percent(text: &str) -> String {
    js_sys::encode_uri_component(text).into()
}

fn unpercent(text: &str) -> Option<String> {
    js_sys::decode_uri_component(text).ok().map(Into::into)
}
