//! Columns to and from the engine's values.

use bytes::BytesMut;
use nself_sync_engine::ids::{Hash, Millis, Platform, Tag};
use nself_sync_engine::slice::{
    Cause, Conflict, Delta, Device, Document, Head, LastPush, Pushed, Resolved, Scalar, Side, Standing,
    Version,
};
use std::error::Error;
use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, accepts, to_sql_checked};

/// A row that is not as the schema says, or holds what was never written.
#[derive(Debug)]
pub(super) struct Damage(pub(super) String);

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "stored data: {}", self.0)
    }
}

impl Error for Damage {}

impl From<tokio_postgres::Error> for Damage {
    fn from(error: tokio_postgres::Error) -> Damage {
        Damage(format!("{:#}", anyhow::Error::from(error)))
    }
}

pub(super) fn broken(damage: Damage) -> anyhow::Error {
    anyhow::anyhow!("stored data: {}", damage.0)
}

type Read<T> = Result<T, Damage>;

/// Integers beyond i64 do not occur: seqs and times end at 2^53.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A time as TIMESTAMPTZ, exact to the millisecond. A microsecond that somebody else wrote is cut off.
#[derive(Debug, Clone, Copy)]
pub(super) struct Time(pub(super) Millis);

/// 2000-01-01T00:00:00Z, from which PostgreSQL counts microseconds.
const EPOCH_2000_MS: i64 = 946_684_800_000;

impl ToSql for Time {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        (signed(self.0) - EPOCH_2000_MS).checked_mul(1000).ok_or("a time out of range")?.to_sql(ty, out)
    }

    accepts!(TIMESTAMPTZ);
    to_sql_checked!();
}

impl<'a> FromSql<'a> for Time {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Time, Box<dyn Error + Sync + Send>> {
        let ms = i64::from_sql(ty, raw)?.div_euclid(1000).saturating_add(EPOCH_2000_MS);
        Ok(Time(u64::try_from(ms).unwrap_or(0)))
    }

    accepts!(TIMESTAMPTZ);
}

fn damage(column: usize) -> Damage {
    Damage(format!("column {column} of a row"))
}

/// A BIGINT that is not negative.
pub(super) fn number(row: &Row, column: usize) -> Read<u64> {
    maybe_number(row, column)?.ok_or_else(|| damage(column))
}

pub(super) fn maybe_number(row: &Row, column: usize) -> Read<Option<u64>> {
    let number: Option<i64> = row.try_get(column)?;
    number.map(|number| u64::try_from(number).map_err(|_| damage(column))).transpose()
}

pub(super) fn text(row: &Row, column: usize) -> Read<String> {
    Ok(row.try_get(column)?)
}

pub(super) fn time(row: &Row, column: usize) -> Read<Millis> {
    Ok(row.try_get::<_, Time>(column)?.0)
}

pub(super) fn maybe_time(row: &Row, column: usize) -> Read<Option<Millis>> {
    Ok(row.try_get::<_, Option<Time>>(column)?.map(|time| time.0))
}

pub(super) fn tag(row: &Row, column: usize) -> Read<Tag> {
    let bytes: &[u8] = row.try_get(column)?;
    bytes.try_into().map(Tag).map_err(|_| damage(column))
}

fn hash(row: &Row, column: usize) -> Read<Option<Hash>> {
    let bytes: Option<&[u8]> = row.try_get(column)?;
    bytes.map(|bytes| bytes.try_into().map(Hash).map_err(|_| damage(column))).transpose()
}

pub(super) fn some_hash(row: &Row, column: usize) -> Read<Hash> {
    hash(row, column)?.ok_or_else(|| damage(column))
}

fn json(row: &Row, column: usize) -> Read<Option<serde_json::Value>> {
    let text: Option<&str> = row.try_get(column)?;
    text.map(|text| serde_json::from_str(text).map_err(|_| damage(column))).transpose()
}

/// Whether a column has any value.
pub(super) fn is_there(row: &Row, column: usize) -> Read<bool> {
    Ok(row.try_get::<_, Option<Any>>(column)?.is_some())
}

/// Any value of any type.
struct Any;

impl FromSql<'_> for Any {
    fn from_sql(_: &Type, _: &[u8]) -> Result<Any, Box<dyn Error + Sync + Send>> {
        Ok(Any)
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// From `at`: epoch, seq, tag, floor, floor_tag, conflicts_open, standing, bytes, state_bytes
pub(super) fn head(row: &Row, at: usize) -> Read<Head> {
    let standing = u8::try_from(row.try_get::<_, i16>(at + 6)?).ok().and_then(Standing::from_code);
    Ok(Head {
        epoch: text(row, at)?,
        seq: number(row, at + 1)?,
        tag: tag(row, at + 2)?,
        floor: number(row, at + 3)?,
        floor_tag: tag(row, at + 4)?,
        conflicts_open: number(row, at + 5)?,
        standing: standing.ok_or_else(|| damage(at + 6))?,
        bytes: number(row, at + 7)?,
        state_bytes: number(row, at + 8)?,
    })
}

/// From `at`: device_id, platform, created_at, last_seen, seq, removed_at, sync_token, push_no, push_body, push_seq,
/// push_tag, push_registered, push_results
pub(super) fn device(row: &Row, at: usize) -> Read<Device> {
    let last_push = match maybe_number(row, at + 7)? {
        None => None,
        Some(push_no) => Some(LastPush {
            push_no,
            body: some_hash(row, at + 8)?,
            seq: number(row, at + 9)?,
            tag: tag(row, at + 10)?,
            registered: row.try_get(at + 11)?,
            results: text(row, at + 12)?,
        }),
    };
    let platform: &str = row.try_get(at + 1)?;
    Ok(Device {
        device_id: text(row, at)?,
        platform: Platform::of(Some(platform), ""),
        created_at: time(row, at + 2)?,
        last_seen: time(row, at + 3)?,
        seq: number(row, at + 4)?,
        removed_at: maybe_time(row, at + 5)?,
        sync_token: hash(row, at + 6)?,
        last_push,
    })
}

/// From `at`: key, value, seq, device_id, changed_at
pub(super) fn scalar(row: &Row, at: usize) -> Read<(String, Scalar)> {
    let scalar = Scalar {
        value: json(row, at + 1)?,
        seq: number(row, at + 2)?,
        device_id: text(row, at + 3)?,
        changed_at: time(row, at + 4)?,
    };
    Ok((text(row, at)?, scalar))
}

/// From `at`: key, hash, size, seq, device_id
pub(super) fn document(row: &Row, at: usize) -> Read<(String, Document)> {
    let document = Document {
        hash: hash(row, at + 1)?,
        size: usize::try_from(number(row, at + 2)?).map_err(|_| damage(at + 2))?,
        seq: number(row, at + 3)?,
        device_id: text(row, at + 4)?,
    };
    Ok((text(row, at)?, document))
}

/// From `at`: key, seq, at, hash
pub(super) fn pushed(row: &Row, at: usize) -> Read<(String, Pushed)> {
    let pushed = Pushed { seq: number(row, at + 1)?, at: number(row, at + 2)?, hash: hash(row, at + 3)? };
    Ok((text(row, at)?, pushed))
}

/// From `at`: seq, device_id, created_at, tag, diff
pub(super) fn delta(row: &Row, at: usize) -> Read<Delta> {
    Ok(Delta {
        seq: number(row, at)?,
        device_id: text(row, at + 1)?,
        created_at: time(row, at + 2)?,
        tag: tag(row, at + 3)?,
        diff: text(row, at + 4)?,
    })
}

/// From `at`: key, seq, no, cause, device_id, created_at, value
pub(super) fn version(row: &Row, at: usize) -> Read<Version> {
    let cause: i16 = row.try_get(at + 3)?;
    let cause = u8::try_from(cause).ok().and_then(Cause::from_code);
    Ok(Version {
        key: text(row, at)?,
        seq: number(row, at + 1)?,
        no: u32::try_from(row.try_get::<_, i32>(at + 2)?).map_err(|_| damage(at + 2))?,
        cause: cause.ok_or_else(|| damage(at + 3))?,
        device_id: text(row, at + 4)?,
        created_at: time(row, at + 5)?,
        value: json(row, at + 6)?,
    })
}

fn side(row: &Row, at: usize) -> Read<Option<Side>> {
    let Some(hash) = hash(row, at)? else { return Ok(None) };
    let size = usize::try_from(number(row, at + 1)?).map_err(|_| damage(at + 1))?;
    let content: Option<Vec<u8>> = row.try_get(at + 2)?;
    Ok(Some(Side { hash, size, content: content.unwrap_or_default() }))
}

/// From `at`: id, collection, file_path, (hash, size, content) of base, mine, theirs, mine_device_id,
/// theirs_device_id, seq, created_at, resolved_at, resolution, resolved_by
pub(super) fn conflict(row: &Row, at: usize) -> Read<Conflict> {
    let resolved = match maybe_time(row, at + 16)? {
        None => None,
        Some(time) => {
            Some(Resolved { at: time, resolution: text(row, at + 17)?, device_id: row.try_get(at + 18)? })
        }
    };
    Ok(Conflict {
        id: text(row, at)?,
        key: format!("{}/{}", text(row, at + 1)?, text(row, at + 2)?),
        base: side(row, at + 3)?,
        mine: side(row, at + 6)?,
        theirs: side(row, at + 9)?,
        mine_device_id: text(row, at + 12)?,
        theirs_device_id: text(row, at + 13)?,
        seq: number(row, at + 14)?,
        created_at: time(row, at + 15)?,
        resolved,
    })
}
