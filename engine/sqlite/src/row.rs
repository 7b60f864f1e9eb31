//! Rows to the engine's values.

use crate::Value;
use nself_sync_engine::ids::{Hash, Platform, Tag};
use nself_sync_engine::slice::{
    Cause, Conflict, Delta, Device, Document, Head, LastPush, Pushed, Resolved, Scalar, Side, Standing,
    Version,
};

/// A row's columns, in the order of the statement.
#[derive(Debug, Clone, PartialEq)]
pub struct Row(pub Vec<Value>);

/// A column that is not what the schema says.
#[derive(Debug)]
pub struct Damage(pub String);

/// Integers beyond i64 do not occur: seqs and times end at 2^53.
pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

impl Row {
    fn get(&self, column: usize) -> &Value {
        self.0.get(column).unwrap_or(&Value::Null)
    }

    fn damage(column: usize) -> Damage {
        Damage(format!("column {column} of a row"))
    }

    /// An INTEGER column.
    pub fn integer(&self, column: usize) -> Result<i64, Damage> {
        match self.get(column) {
            Value::Integer(number) => Ok(*number),
            _ => Err(Row::damage(column)),
        }
    }

    pub(crate) fn number(&self, column: usize) -> Result<u64, Damage> {
        u64::try_from(self.integer(column)?).map_err(|_| Row::damage(column))
    }

    pub(crate) fn maybe_number(&self, column: usize) -> Result<Option<u64>, Damage> {
        if *self.get(column) == Value::Null { Ok(None) } else { self.number(column).map(Some) }
    }

    /// A TEXT column.
    pub fn text(&self, column: usize) -> Result<String, Damage> {
        self.maybe_text(column)?.ok_or_else(|| Row::damage(column))
    }

    pub(crate) fn maybe_text(&self, column: usize) -> Result<Option<String>, Damage> {
        match self.get(column) {
            Value::Text(text) => Ok(Some(text.clone())),
            Value::Null => Ok(None),
            _ => Err(Row::damage(column)),
        }
    }

    pub(crate) fn blob(&mut self, column: usize) -> Result<Vec<u8>, Damage> {
        self.maybe_blob(column)?.ok_or_else(|| Row::damage(column))
    }

    /// How long a BLOB column is.
    pub(crate) fn blob_len(&self, column: usize) -> Result<usize, Damage> {
        match self.get(column) {
            Value::Blob(bytes) => Ok(bytes.len()),
            _ => Err(Row::damage(column)),
        }
    }

    fn maybe_blob(&mut self, column: usize) -> Result<Option<Vec<u8>>, Damage> {
        match self.0.get_mut(column) {
            Some(Value::Blob(bytes)) => Ok(Some(std::mem::take(bytes))),
            Some(Value::Null) => Ok(None),
            _ => Err(Row::damage(column)),
        }
    }

    fn tag(&self, column: usize) -> Result<Tag, Damage> {
        match self.get(column) {
            Value::Blob(bytes) => bytes.as_slice().try_into().map(Tag).map_err(|_| Row::damage(column)),
            _ => Err(Row::damage(column)),
        }
    }

    fn hash(&self, column: usize) -> Result<Option<Hash>, Damage> {
        match self.get(column) {
            Value::Blob(bytes) => {
                bytes.as_slice().try_into().map(|bytes| Some(Hash(bytes))).map_err(|_| Row::damage(column))
            }
            Value::Null => Ok(None),
            _ => Err(Row::damage(column)),
        }
    }

    fn json(&self, column: usize) -> Result<Option<serde_json::Value>, Damage> {
        let text = self.maybe_text(column)?;
        text.map(|text| serde_json::from_str(&text).map_err(|_| Row::damage(column))).transpose()
    }

    /// user_no, epoch, seq, tag, floor, floor_tag, conflicts_open, standing, bytes, state_bytes
    pub(crate) fn head(&self) -> Result<Head, Damage> {
        let standing = u8::try_from(self.number(7)?).ok().and_then(Standing::from_code);
        Ok(Head {
            epoch: self.text(1)?,
            seq: self.number(2)?,
            tag: self.tag(3)?,
            floor: self.number(4)?,
            floor_tag: self.tag(5)?,
            conflicts_open: self.number(6)?,
            standing: standing.ok_or_else(|| Row::damage(7))?,
            bytes: self.number(8)?,
            state_bytes: self.number(9)?,
        })
    }

    /// device_id, platform, created_at, last_seen, seq, removed_at, sync_token, push_no, push_body, push_seq,
    /// push_tag, push_registered, push_results
    pub(crate) fn device(&self) -> Result<Device, Damage> {
        let last_push = match self.maybe_number(7)? {
            None => None,
            Some(push_no) => Some(LastPush {
                push_no,
                body: self.hash(8)?.ok_or_else(|| Row::damage(8))?,
                seq: self.number(9)?,
                tag: self.tag(10)?,
                registered: self.integer(11)? != 0,
                results: self.maybe_text(12)?.unwrap_or_default(),
            }),
        };
        let device_id = self.text(0)?;
        Ok(Device {
            platform: Platform::of(Some(&self.text(1)?), ""),
            device_id,
            created_at: self.number(2)?,
            last_seen: self.number(3)?,
            seq: self.number(4)?,
            removed_at: self.maybe_number(5)?,
            sync_token: self.hash(6)?,
            last_push,
        })
    }

    /// key, value, seq, device_id, changed_at
    pub(crate) fn scalar(&self) -> Result<(String, Scalar), Damage> {
        let scalar = Scalar {
            value: self.json(1)?,
            seq: self.number(2)?,
            device_id: self.text(3)?,
            changed_at: self.number(4)?,
        };
        Ok((self.text(0)?, scalar))
    }

    /// key, hash, size, seq, device_id
    pub(crate) fn document(&self) -> Result<(String, Document), Damage> {
        let document = Document {
            hash: self.hash(1)?,
            size: usize::try_from(self.number(2)?).map_err(|_| Row::damage(2))?,
            seq: self.number(3)?,
            device_id: self.text(4)?,
        };
        Ok((self.text(0)?, document))
    }

    /// key, seq, at, hash
    pub(crate) fn pushed(&self) -> Result<(String, Pushed), Damage> {
        Ok((self.text(0)?, Pushed { seq: self.number(1)?, at: self.number(2)?, hash: self.hash(3)? }))
    }

    /// seq, device_id, created_at, tag, diff
    pub(crate) fn delta(&self) -> Result<Delta, Damage> {
        Ok(Delta {
            seq: self.number(0)?,
            device_id: self.text(1)?,
            created_at: self.number(2)?,
            tag: self.tag(3)?,
            diff: self.maybe_text(4)?.unwrap_or_default(),
        })
    }

    /// key, seq, no, cause, device_id, created_at, value
    pub(crate) fn version(&self) -> Result<Version, Damage> {
        let cause = u8::try_from(self.number(3)?).ok().and_then(Cause::from_code);
        Ok(Version {
            key: self.text(0)?,
            seq: self.number(1)?,
            no: u32::try_from(self.number(2)?).map_err(|_| Row::damage(2))?,
            cause: cause.ok_or_else(|| Row::damage(3))?,
            device_id: self.text(4)?,
            created_at: self.number(5)?,
            value: self.json(6)?,
        })
    }

    fn side(&mut self, column: usize) -> Result<Option<Side>, Damage> {
        let Some(hash) = self.hash(column)? else { return Ok(None) };
        let size = usize::try_from(self.number(column + 1)?).map_err(|_| Row::damage(column + 1))?;
        Ok(Some(Side { hash, size, content: self.maybe_blob(column + 2)?.unwrap_or_default() }))
    }

    /// id, collection, file_path, (hash, size, content) of base, mine, theirs, mine_device_id,
    /// theirs_device_id, seq, created_at, resolved_at, resolution, resolved_by
    pub(crate) fn conflict(&mut self) -> Result<Conflict, Damage> {
        let resolved = match self.maybe_number(16)? {
            None => None,
            Some(at) => Some(Resolved { at, resolution: self.text(17)?, device_id: self.maybe_text(18)? }),
        };
        Ok(Conflict {
            id: self.text(0)?,
            key: format!("{}/{}", self.text(1)?, self.text(2)?),
            base: self.side(3)?,
            mine: self.side(6)?,
            theirs: self.side(9)?,
            mine_device_id: self.text(12)?,
            theirs_device_id: self.text(13)?,
            seq: self.number(14)?,
            created_at: self.number(15)?,
            resolved,
        })
    }
}
