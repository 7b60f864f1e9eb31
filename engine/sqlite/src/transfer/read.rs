//! A user's rows in the order of a transfer's stream.

use crate::row::{Row, signed};
use crate::{Error, Param, Sql};
use nself_sync_engine::slice::{ConflictScope, Located, Scope, Slice};
use nself_sync_engine::transfer::{Place, Record};

/// Rows of a kind that is small, and of one that may not be, that are read at once.
const SMALL_MAX: i64 = 256;
const LARGE_MAX: i64 = 16;

/// Reads rows in the stream's order. What may be large is loaded one by one, by its key.
pub(super) struct Reader<'a, S: Sql> {
    pub(super) sql: &'a mut S,
    pub(super) user_no: i64,
}

impl<S: Sql> Reader<'_, S> {
    /// The next ones after a place, of one kind; none: there are no more of any kind.
    pub(super) fn after(&mut self, place: &Place) -> Result<Vec<Record>, Error<S::Error>> {
        let kinds = [
            Reader::devices,
            Reader::scalars,
            Reader::documents,
            Reader::deltas,
            Reader::versions,
            Reader::segments,
            Reader::located,
            Reader::pushed,
            Reader::conflicts,
        ];
        for kind in kinds {
            let records = kind(self, place)?;
            if !records.is_empty() {
                return Ok(records);
            }
        }
        Ok(Vec::new())
    }

    fn rows(&mut self, sql: &'static str, params: &[Param<'_>]) -> Result<Vec<Row>, Error<S::Error>> {
        let mut all = vec![Param::Integer(self.user_no)];
        all.extend_from_slice(params);
        self.sql.exec(sql, &all).map_err(Error::Sql)
    }

    fn load(&mut self, scope: Scope) -> Result<Slice, Error<S::Error>> {
        crate::load::load(self.sql, self.user_no, &scope)
    }

    fn devices(&mut self, place: &Place) -> Result<Vec<Record>, Error<S::Error>> {
        let Place::Device(after) = place.clone().max(Place::Device(String::new())) else {
            return Ok(Vec::new());
        };
        let select = "SELECT device_id FROM np_sync_devices WHERE user_no = ?1 AND device_id > ?2
            ORDER BY device_id LIMIT 1";
        let mut records = Vec::new();
        for row in self.rows(select, &[Param::Text(&after)])? {
            let slice = self.load(Scope { devices: [row.text(0)?].into(), ..Scope::default() })?;
            records.extend(slice.devices.into_values().map(Record::Device));
        }
        Ok(records)
    }

    fn scalars(&mut self, place: &Place) -> Result<Vec<Record>, Error<S::Error>> {
        let Place::Scalar(after) = place.clone().max(Place::Scalar(String::new())) else {
            return Ok(Vec::new());
        };
        let select = "SELECT key, value, seq, device_id, changed_at FROM np_sync_state
            WHERE user_no = ?1 AND key > ?2 ORDER BY key LIMIT ?3";
        let rows = self.rows(select, &[Param::Text(&after), Param::Integer(LARGE_MAX)])?;
        let record = |row: Row| row.scalar().map(|(key, scalar)| Record::Scalar(key, scalar));
        Ok(rows.into_iter().map(record).collect::<Result<_, _>>()?)
    }

    fn documents(&mut self, place: &Place) -> Result<Vec<Record>, Error<S::Error>> {
        let Place::Document(after) = place.clone().max(Place::Document(String::new())) else {
            return Ok(Vec::new());
        };
        let select = "SELECT key, hash, size, seq, device_id FROM np_sync_files
            WHERE user_no = ?1 AND key > ?2 ORDER BY key LIMIT ?3";
        let rows = self.rows(select, &[Param::Text(&after), Param::Integer(SMALL_MAX)])?;
        let record = |row: Row| row.document().map(|(key, document)| Record::Document(key, document));
        Ok(rows.into_iter().map(record).collect::<Result<_, _>>()?)
    }

    fn deltas(&mut self, place: &Place) -> Result<Vec<Record>, Error<S::Error>> {
        let Place::Delta(after) = place.clone().max(Place::Delta(0)) else { return Ok(Vec::new()) };
        let select = "SELECT seq FROM np_sync_deltas WHERE user_no = ?1 AND seq > ?2 ORDER BY seq LIMIT 1";
        let mut records = Vec::new();
        for row in self.rows(select, &[Param::Integer(signed(after))])? {
            let slice = self.load(Scope { deltas_at: [row.number(0)?].into(), ..Scope::default() })?;
            records.extend(slice.deltas.into_values().map(Record::Delta));
        }
        Ok(records)
    }

    fn versions(&mut self, place: &Place) -> Result<Vec<Record>, Error<S::Error>> {
        let Place::Version(key, seq, no) = place.clone().max(Place::Version(String::new(), 0, 0)) else {
            return Ok(Vec::new());
        };
        let select = "SELECT key, seq, no, cause, device_id, created_at, value FROM np_sync_versions
            WHERE user_no = ?1 AND (key, seq, no) > (?2, ?3, ?4) ORDER BY key, seq, no LIMIT ?5";
        let rows = self.rows(
            select,
            &[
                Param::Text(&key),
                Param::Integer(signed(seq)),
                Param::Integer(no.into()),
                Param::Integer(LARGE_MAX),
            ],
        )?;
        Ok(rows.iter().map(|row| row.version().map(Record::Version)).collect::<Result<_, _>>()?)
    }

    fn segments(&mut self, place: &Place) -> Result<Vec<Record>, Error<S::Error>> {
        let Place::Segment(key, start) = place.clone().max(Place::Segment(String::new(), 0)) else {
            return Ok(Vec::new());
        };
        let select = "SELECT key, start FROM np_sync_contents WHERE user_no = ?1 AND (key, start) > (?2, ?3)
            ORDER BY key, start LIMIT 1";
        let mut records = Vec::new();
        for row in self.rows(select, &[Param::Text(&key), Param::Integer(signed(start))])? {
            let segments = [(row.text(0)?, row.number(1)?)].into();
            let slice = self.load(Scope { segments, ..Scope::default() })?;
            records.extend(slice.segments.into_values().map(Record::Segment));
        }
        Ok(records)
    }

    fn located(&mut self, place: &Place) -> Result<Vec<Record>, Error<S::Error>> {
        let first = Place::Located(i64::MIN, 0, String::new());
        let Place::Located(prefix, seq, key) = place.clone().max(first) else { return Ok(Vec::new()) };
        let select = "SELECT prefix, seq, key FROM np_sync_hashes
            WHERE user_no = ?1 AND (prefix, seq, key) > (?2, ?3, ?4) ORDER BY prefix, seq, key LIMIT ?5";
        let rows = self.rows(
            select,
            &[
                Param::Integer(prefix),
                Param::Integer(signed(seq)),
                Param::Text(&key),
                Param::Integer(SMALL_MAX),
            ],
        )?;
        let mut records = Vec::new();
        for row in rows {
            let located = Located { prefix: row.integer(0)?, seq: row.number(1)?, key: row.text(2)? };
            records.push(Record::Located(located));
        }
        Ok(records)
    }

    fn pushed(&mut self, place: &Place) -> Result<Vec<Record>, Error<S::Error>> {
        let first = Place::Pushed(String::new(), String::new());
        let Place::Pushed(device_id, key) = place.clone().max(first) else { return Ok(Vec::new()) };
        let select = "SELECT key, seq, at, hash, device_id FROM np_sync_pushed
            WHERE user_no = ?1 AND (device_id, key) > (?2, ?3) ORDER BY device_id, key LIMIT ?4";
        let params = [Param::Text(&device_id), Param::Text(&key), Param::Integer(SMALL_MAX)];
        let mut records = Vec::new();
        for row in self.rows(select, &params)? {
            let (key, pushed) = row.pushed()?;
            records.push(Record::Pushed(row.text(4)?, key, pushed));
        }
        Ok(records)
    }

    fn conflicts(&mut self, place: &Place) -> Result<Vec<Record>, Error<S::Error>> {
        let Place::Conflict(after) = place.clone().max(Place::Conflict(String::new())) else {
            return Ok(Vec::new());
        };
        let select = "SELECT id FROM np_sync_conflicts WHERE user_no = ?1 AND id > ?2 ORDER BY id LIMIT 1";
        let mut records = Vec::new();
        for row in self.rows(select, &[Param::Text(&after)])? {
            let conflicts = ConflictScope::Ids([row.text(0)?].into());
            let slice = self.load(Scope { conflicts, ..Scope::default() })?;
            records.extend(slice.conflicts.into_values().map(Record::Conflict));
        }
        Ok(records)
    }
}
