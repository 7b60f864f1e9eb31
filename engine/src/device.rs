//! Devices: who may call as one, the list, removal, a new token.

use crate::call::{Body, Caller, Reply};
use crate::commit::{Commit, Touch};
use crate::error::Reject;
use crate::event::{Ended, News};
use crate::exchange::{Setting, Step};
use crate::ids::{Hash, Platform};
use crate::policy::DAY_MS;
use crate::pull::touch_device;
use crate::slice::{ConflictScope, Device, Head, Scope, Slice};
use crate::token;
use crate::wire::timestamp;
use serde_json::json;
use std::collections::BTreeMap;

/// Checks a device's token against its row; a user's was checked by the host. A removed device, a
/// replaced or an idle token, and a user of whom nothing is stored are all the same to the caller.
pub(crate) fn authorize(
    setting: &Setting,
    head: Option<&Head>,
    devices: &BTreeMap<String, Device>,
) -> Result<Option<Touch>, Reject> {
    let Caller::Device { device_id, secret, .. } = &setting.caller else {
        return Ok(None);
    };
    let device = head.and(devices.get(device_id)).filter(|device| device.removed_at.is_none());
    let idle_ms_max = setting.policy.token_idle_days.saturating_mul(DAY_MS);
    let is_valid = device.is_some_and(|device| {
        device.sync_token.is_some_and(|hash| token::same(&hash, secret))
            && setting.now.saturating_sub(device.last_seen) <= idle_ms_max
    });
    if !is_valid {
        return Err(Reject::TOKEN_INVALID);
    }
    Ok(touch_device(device, None, setting.now, &setting.policy))
}

/// A sync token goes with its own device only.
pub(crate) fn check_device_id(caller: &Caller, device_id: Option<&str>) -> Result<(), Reject> {
    match (caller.device_id(), device_id) {
        (Some(own), Some(other)) if own != other => Err(Reject::DeviceMismatch),
        _ => Ok(()),
    }
}

fn user_only(caller: &Caller) -> Result<(), Reject> {
    match caller {
        Caller::User(_) => Ok(()),
        Caller::Device { .. } => Err(Reject::UserTokenRequired),
    }
}

/// A device as it registers. Its token is `fresh`'s.
pub(crate) fn register(setting: &Setting, device_id: &str, platform: Platform) -> Device {
    Device {
        device_id: device_id.to_owned(),
        platform,
        created_at: setting.now,
        last_seen: setting.now,
        seq: 0,
        removed_at: None,
        sync_token: None,
        last_push: None,
    }
}

/// Gives a device a new token and ends the old one.
pub(crate) fn issue_token(setting: &Setting, device: &mut Device) -> String {
    let secret = setting.fresh.derive("sync token");
    device.sync_token = Some(Hash::of(&secret));
    token::render(setting.caller.user(), &device.device_id, &secret)
}

/// What the list reads: the devices, and the open conflicts, which block theirs.
pub(crate) fn list_scope() -> Scope {
    Scope { all_devices: true, conflicts: ConflictScope::OpenBrief, ..Scope::default() }
}

pub(crate) fn list(setting: &Setting, slice: &Slice) -> Result<Step, Reject> {
    user_only(&setting.caller)?;
    let blocking: Vec<&str> = slice.conflicts.values().map(|open| open.mine_device_id.as_str()).collect();
    let devices = slice.devices.values().filter(|device| device.removed_at.is_none()).map(|device| {
        json!({
            "device_id": device.device_id,
            "platform": device.platform.as_str(),
            "last_seen": timestamp(device.last_seen),
            "created_at": timestamp(device.created_at),
            "seq": device.seq,
            "blocked": blocking.contains(&device.device_id.as_str()),
        })
    });
    let body = json!({ "devices": devices.collect::<Vec<_>>() });
    Ok(Step::Reply(Reply::json(body), None))
}

/// Whether a device may listen. One that is not registered yet may, under the user's own token.
pub(crate) fn listen(setting: &Setting, slice: &Slice, id: &str) -> Result<Step, Reject> {
    check_device_id(&setting.caller, Some(id))?;
    match slice.devices.get(id) {
        Some(device) if device.removed_at.is_some() => Err(Reject::DeviceRevoked),
        Some(_) | None => {
            Ok(Step::Reply(Reply { status: 204, headers: Vec::new(), body: Body::Empty }, None))
        }
    }
}

pub(crate) fn remove(setting: &Setting, slice: &Slice, id: &str) -> Result<(Commit, Reply), Reject> {
    check_device_id(&setting.caller, Some(id))?;
    let device = live(slice, id)?;
    let removed_at = Some(setting.now);
    let device = Device { removed_at, sync_token: None, last_push: None, ..device.clone() };
    let news = ended(Ended::Removed(id.to_owned()));
    let commit = Commit { device: Some(device), forget_pushed: true, news, ..Commit::default() };
    Ok((commit, Reply { status: 204, headers: Vec::new(), body: Body::Empty }))
}

pub(crate) fn new_token(setting: &Setting, slice: &Slice, id: &str) -> Result<(Commit, Reply), Reject> {
    user_only(&setting.caller)?;
    let mut device = live(slice, id)?.clone();
    let sync_token = issue_token(setting, &mut device);
    device.last_seen = setting.now; // the new token is not idle
    let reply = Reply::json(json!({ "device_id": id, "sync_token": sync_token }));
    Ok((
        Commit { device: Some(device), news: ended(Ended::Replaced(id.to_owned())), ..Commit::default() },
        reply,
    ))
}

/// Nothing but that.
pub(crate) fn ended(ended: Ended) -> News {
    News { ended: Some(ended), ..News::default() }
}

fn live<'a>(slice: &'a Slice, id: &str) -> Result<&'a Device, Reject> {
    let device = slice.devices.get(id).filter(|device| device.removed_at.is_none());
    device.ok_or(Reject::NotFound("device"))
}
