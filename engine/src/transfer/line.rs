//! A record as a line of JSON, and back: every field by name, none more, none less.

use super::{FORMAT, Record, VERSION};
use crate::error::Reject;
use crate::ids::{Hash, Platform, SEQ_MAX, Tag, User};
use crate::slice::{
    Cause, Conflict, Delta, Device, Document, Head, LastPush, Located, Pushed, Resolved, Scalar, Segment,
    Side, Standing, Version,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

pub(super) fn render(record: &Record) -> Value {
    match record {
        Record::User(user, head) => json!({
            "record": "user", "format": FORMAT, "version": VERSION, "account": user.account, "user": user.id,
            "epoch": head.epoch, "seq": head.seq, "tag": head.tag, "floor": head.floor,
            "floor_tag": head.floor_tag, "conflicts_open": head.conflicts_open,
        }),
        Record::Device(device) => json!({
            "record": "device", "device_id": device.device_id, "platform": device.platform.as_str(),
            "created_at": device.created_at, "last_seen": device.last_seen, "seq": device.seq,
            "removed_at": device.removed_at, "sync_token": device.sync_token,
            "last_push": device.last_push.as_ref().map(|last| json!({
                "push_no": last.push_no, "body": last.body, "seq": last.seq, "tag": last.tag,
                "registered": last.registered, "results": last.results,
            })),
        }),
        Record::Scalar(key, row) => json!({
            "record": "scalar", "key": key, "value": row.value, "seq": row.seq, "device_id": row.device_id,
            "changed_at": row.changed_at,
        }),
        Record::Document(key, row) => json!({
            "record": "document", "key": key, "hash": row.hash, "size": row.size, "seq": row.seq,
            "device_id": row.device_id,
        }),
        Record::Delta(row) => json!({
            "record": "delta", "seq": row.seq, "device_id": row.device_id, "created_at": row.created_at,
            "tag": row.tag, "diff": row.diff,
        }),
        Record::Version(row) => json!({
            "record": "version", "key": row.key, "seq": row.seq, "no": row.no, "cause": row.cause.as_str(),
            "device_id": row.device_id, "created_at": row.created_at, "value": row.value,
        }),
        Record::Segment(row) => json!({
            "record": "segment", "key": row.key, "start": row.start, "keyframe": STANDARD.encode(&row.keyframe),
            "pack": STANDARD.encode(&row.pack),
        }),
        Record::Located(row) => json!({
            "record": "located", "prefix": format!("{:016x}", row.prefix), "seq": row.seq, "key": row.key,
        }),
        Record::Pushed(device_id, key, row) => json!({
            "record": "pushed", "device_id": device_id, "key": key, "seq": row.seq, "at": row.at,
            "hash": row.hash,
        }),
        Record::Conflict(row) => json!({
            "record": "conflict", "id": row.id, "key": row.key, "base": render_side(&row.base),
            "mine": render_side(&row.mine), "theirs": render_side(&row.theirs),
            "mine_device_id": row.mine_device_id, "theirs_device_id": row.theirs_device_id, "seq": row.seq,
            "created_at": row.created_at,
            "resolved": row.resolved.as_ref().map(|how| json!({
                "at": how.at, "resolution": how.resolution, "device_id": how.device_id,
            })),
        }),
        Record::End(lines, hash) => json!({ "record": "end", "lines": lines, "sha256": hash }),
    }
}

fn render_side(side: &Option<Side>) -> Value {
    match side {
        Some(side) => json!({ "hash": side.hash, "content": STANDARD.encode(&side.content) }),
        None => Value::Null,
    }
}

/// What is wrong with a field of a line.
pub(super) fn invalid(line: u64, field: &str, detail: &str) -> Reject {
    Reject::InvalidField { field: format!("line {line}: {field}"), detail: detail.to_owned() }
}

/// Reads the line with this number, from 1.
pub(super) fn parse(line: &str, number: u64) -> Result<Record, Reject> {
    let (map, within) = match serde_json::from_str(line) {
        Ok(Value::Object(map)) => (map, String::new()),
        Ok(_) | Err(_) => return Err(invalid(number, "record", "the line is not a JSON object")),
    };
    let mut fields = Fields { line: number, within, map };
    let kind = fields.text("record")?;
    let record = match kind.as_str() {
        "user" => user(&mut fields)?,
        "device" => device(&mut fields)?,
        "scalar" => Record::Scalar(
            fields.text("key")?,
            Scalar {
                value: fields.json("value")?,
                seq: fields.number("seq")?,
                device_id: fields.text("device_id")?,
                changed_at: fields.number("changed_at")?,
            },
        ),
        "document" => Record::Document(
            fields.text("key")?,
            Document {
                hash: fields.maybe_hash("hash")?,
                size: fields.size("size")?,
                seq: fields.number("seq")?,
                device_id: fields.text("device_id")?,
            },
        ),
        "delta" => Record::Delta(Delta {
            seq: fields.number("seq")?,
            device_id: fields.text("device_id")?,
            created_at: fields.number("created_at")?,
            tag: fields.tag("tag")?,
            diff: fields.json_text("diff")?,
        }),
        "version" => Record::Version(version(&mut fields)?),
        "segment" => Record::Segment(Segment {
            key: fields.text("key")?,
            start: fields.number("start")?,
            keyframe: fields.bytes("keyframe")?,
            pack: fields.bytes("pack")?,
        }),
        "located" => Record::Located(Located {
            prefix: fields.prefix("prefix")?,
            key: fields.text("key")?,
            seq: fields.number("seq")?,
        }),
        "pushed" => Record::Pushed(
            fields.text("device_id")?,
            fields.text("key")?,
            Pushed { seq: fields.number("seq")?, at: fields.number("at")?, hash: fields.maybe_hash("hash")? },
        ),
        "conflict" => Record::Conflict(conflict(&mut fields)?),
        "end" => Record::End(fields.number("lines")?, fields.hash("sha256")?),
        _ => return Err(fields.wrong("record", "no kind of record that is known")),
    };
    fields.end()?;
    Ok(record)
}

fn user(fields: &mut Fields) -> Result<Record, Reject> {
    if fields.text("format")? != FORMAT {
        return Err(fields.wrong("format", &format!("allowed is {FORMAT}")));
    }
    let version = fields.number("version")?;
    if version != VERSION {
        return Err(fields.wrong("version", &format!("{version} is not known, allowed is {VERSION}")));
    }
    let user = User { account: fields.text("account")?, id: fields.text("user")? };
    let head = Head {
        epoch: fields.text("epoch")?,
        seq: fields.number("seq")?,
        tag: fields.tag("tag")?,
        floor: fields.number("floor")?,
        floor_tag: fields.tag("floor_tag")?,
        conflicts_open: fields.number("conflicts_open")?,
        standing: Standing::Served,
        // Counted by the store, once all rows are in.
        bytes: 0,
        state_bytes: 0,
    };
    if head.floor > head.seq {
        return Err(fields.wrong("floor", "it is not above seq"));
    }
    Ok(Record::User(user, head))
}

fn device(fields: &mut Fields) -> Result<Record, Reject> {
    let last_push = match fields.object("last_push")? {
        None => None,
        Some(mut last) => {
            let last_push = LastPush {
                push_no: last.number("push_no")?,
                body: last.hash("body")?,
                seq: last.number("seq")?,
                tag: last.tag("tag")?,
                registered: last.boolean("registered")?,
                results: last.json_text("results")?,
            };
            last.end()?;
            Some(last_push)
        }
    };
    Ok(Record::Device(Device {
        device_id: fields.text("device_id")?,
        platform: fields.platform("platform")?,
        created_at: fields.number("created_at")?,
        last_seen: fields.number("last_seen")?,
        seq: fields.number("seq")?,
        removed_at: fields.maybe_number("removed_at")?,
        sync_token: fields.maybe_hash("sync_token")?,
        last_push,
    }))
}

fn version(fields: &mut Fields) -> Result<Version, Reject> {
    Ok(Version {
        key: fields.text("key")?,
        seq: fields.number("seq")?,
        no: fields.small("no")?,
        cause: fields.cause("cause")?,
        device_id: fields.text("device_id")?,
        created_at: fields.number("created_at")?,
        value: fields.json("value")?,
    })
}

fn conflict(fields: &mut Fields) -> Result<Conflict, Reject> {
    let resolved = match fields.object("resolved")? {
        None => None,
        Some(mut how) => {
            let resolved = Resolved {
                at: how.number("at")?,
                resolution: how.text("resolution")?,
                device_id: how.maybe_text("device_id")?,
            };
            how.end()?;
            Some(resolved)
        }
    };
    let key = fields.text("key")?;
    if !key.contains('/') {
        return Err(fields.wrong("key", "allowed is a collection, / and what is in it"));
    }
    Ok(Conflict {
        id: fields.text("id")?,
        key,
        base: fields.side("base")?,
        mine: fields.side("mine")?,
        theirs: fields.side("theirs")?,
        mine_device_id: fields.text("mine_device_id")?,
        theirs_device_id: fields.text("theirs_device_id")?,
        seq: fields.number("seq")?,
        created_at: fields.number("created_at")?,
        resolved,
    })
}

/// The fields of an object that are not read yet.
struct Fields {
    line: u64,
    /// The name of the object within its line, with a dot; empty: it is the line.
    within: String,
    map: Map<String, Value>,
}

impl Fields {
    fn wrong(&self, field: &str, detail: &str) -> Reject {
        invalid(self.line, &format!("{}{field}", self.within), detail)
    }

    fn take(&mut self, field: &str) -> Result<Value, Reject> {
        self.map.remove(field).ok_or_else(|| self.wrong(field, "it is missing"))
    }

    /// Where a field is neither null nor what is allowed.
    fn maybe<T>(
        &mut self,
        field: &str,
        allowed: &str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<Option<T>, Reject> {
        match self.take(field)? {
            Value::Null => Ok(None),
            value => match read(&value) {
                Some(read) => Ok(Some(read)),
                None => Err(self.wrong(field, &format!("allowed is {allowed}"))),
            },
        }
    }

    fn some<T>(
        &mut self,
        field: &str,
        allowed: &str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<T, Reject> {
        let read = self.maybe(field, allowed, read)?;
        read.ok_or_else(|| self.wrong(field, &format!("allowed is {allowed}")))
    }

    fn maybe_text(&mut self, field: &str) -> Result<Option<String>, Reject> {
        self.maybe(field, TEXT, text)
    }

    fn text(&mut self, field: &str) -> Result<String, Reject> {
        self.some(field, TEXT, text)
    }

    fn maybe_number(&mut self, field: &str) -> Result<Option<u64>, Reject> {
        self.maybe(field, NUMBER, number)
    }

    fn number(&mut self, field: &str) -> Result<u64, Reject> {
        self.some(field, NUMBER, number)
    }

    fn small(&mut self, field: &str) -> Result<u32, Reject> {
        let small = |value: &Value| value.as_u64().and_then(|number| i32::try_from(number).ok());
        self.some(field, "a whole number below 2^31", small).map(i32::unsigned_abs)
    }

    fn size(&mut self, field: &str) -> Result<usize, Reject> {
        let size = |value: &Value| number(value).and_then(|number| usize::try_from(number).ok());
        self.some(field, "a number of bytes", size)
    }

    fn boolean(&mut self, field: &str) -> Result<bool, Reject> {
        self.some(field, "true or false", Value::as_bool)
    }

    fn maybe_hash(&mut self, field: &str) -> Result<Option<Hash>, Reject> {
        self.maybe(field, HASH, hash)
    }

    fn hash(&mut self, field: &str) -> Result<Hash, Reject> {
        self.some(field, HASH, hash)
    }

    fn tag(&mut self, field: &str) -> Result<Tag, Reject> {
        self.some(field, "16 hex digits", |value| Tag::parse(value.as_str()?))
    }

    fn prefix(&mut self, field: &str) -> Result<i64, Reject> {
        let prefix = |value: &Value| Some(i64::from_be_bytes(Tag::parse(value.as_str()?)?.0));
        self.some(field, "16 hex digits", prefix)
    }

    fn bytes(&mut self, field: &str) -> Result<Vec<u8>, Reject> {
        self.some(field, "base64", |value| STANDARD.decode(value.as_str()?).ok())
    }

    /// A value that is not null, or none.
    fn json(&mut self, field: &str) -> Result<Option<Value>, Reject> {
        Ok(Some(self.take(field)?).filter(|value| !value.is_null()))
    }

    /// A text that is JSON itself: an object.
    fn json_text(&mut self, field: &str) -> Result<String, Reject> {
        let json = |value: &Value| {
            let text = value.as_str()?;
            serde_json::from_str::<Map<String, Value>>(text).ok().map(|_| text.to_owned())
        };
        self.some(field, "a JSON object as text", json)
    }

    fn platform(&mut self, field: &str) -> Result<Platform, Reject> {
        let platform = |value: &Value| {
            let word = value.as_str()?;
            Some(Platform::of(Some(word), "")).filter(|platform| platform.as_str() == word)
        };
        self.some(field, "desktop, mobile, web or unknown", platform)
    }

    fn cause(&mut self, field: &str) -> Result<Cause, Reject> {
        let cause =
            |value: &Value| Cause::ALL.into_iter().find(|cause| value.as_str() == Some(cause.as_str()));
        self.some(field, "push, merge, resolve, superseded or conflict", cause)
    }

    fn object(&mut self, field: &str) -> Result<Option<Fields>, Reject> {
        let within = format!("{}{field}.", self.within);
        match self.take(field)? {
            Value::Null => Ok(None),
            Value::Object(map) => Ok(Some(Fields { line: self.line, within, map })),
            _ => Err(self.wrong(field, "allowed is an object or null")),
        }
    }

    fn side(&mut self, field: &str) -> Result<Option<Side>, Reject> {
        let Some(mut side) = self.object(field)? else { return Ok(None) };
        let (hash, content) = (side.hash("hash")?, side.bytes("content")?);
        side.end()?;
        Ok(Some(Side { hash, size: content.len(), content }))
    }

    /// Nothing more is there.
    fn end(self) -> Result<(), Reject> {
        match self.map.keys().next() {
            Some(field) => Err(self.wrong(field, "no such field in this record")),
            None => Ok(()),
        }
    }
}

const TEXT: &str = "text without NUL";
const NUMBER: &str = "a whole number from 0 to 2^53 - 1";
const HASH: &str = "64 hex digits";

fn text(value: &Value) -> Option<String> {
    value.as_str().filter(|text| !text.contains('\0')).map(str::to_owned)
}

fn number(value: &Value) -> Option<u64> {
    value.as_u64().filter(|number| *number <= SEQ_MAX)
}

fn hash(value: &Value) -> Option<Hash> {
    Hash::parse(value.as_str()?)
}
