//! A user's rows in the order of a transfer's stream.

use super::super::connection::{Connection, Param};
use super::super::load;
use super::super::row::{self, signed};
use super::{params, sql};
use anyhow::Result;
use nself_sync_engine::ids::User;
use nself_sync_engine::slice::{ConflictScope, Located, Scope};
use nself_sync_engine::transfer::{Place, Record};
use tokio_postgres::Row;

/// Rows of a kind that is small, that may not be, and that are large, which are read at once.
const SMALL_MAX: i64 = 256;
const LARGE_MAX: i64 = 16;
const HUGE_MAX: i64 = 1;

/// The first rows there are after a place, kind by kind.
pub(super) async fn rows_after(
    connection: &mut Connection,
    user: &User,
    place: &Place,
) -> Result<Vec<Record>> {
    let mut reader = Reader { connection, user };
    let none = String::new;
    if let Place::Device(id) = place.clone().max(Place::Device(none())) {
        let read = |row: &Row| Ok(Record::Device(row::device(row, 0)?));
        let records = reader.rows(sql::DEVICES, vec![Box::new(id), Box::new(LARGE_MAX)], read).await?;
        if !records.is_empty() {
            return Ok(records);
        }
    }
    if let Place::Scalar(key) = place.clone().max(Place::Scalar(none())) {
        let read = |row: &Row| row::scalar(row, 0).map(|(key, row)| Record::Scalar(key, row));
        let records = reader.rows(sql::SCALARS, vec![Box::new(key), Box::new(LARGE_MAX)], read).await?;
        if !records.is_empty() {
            return Ok(records);
        }
    }
    if let Place::Document(key) = place.clone().max(Place::Document(none())) {
        let read = |row: &Row| row::document(row, 0).map(|(key, row)| Record::Document(key, row));
        let records = reader.rows(sql::DOCUMENTS, vec![Box::new(key), Box::new(SMALL_MAX)], read).await?;
        if !records.is_empty() {
            return Ok(records);
        }
    }
    if let Place::Delta(seq) = place.clone().max(Place::Delta(0)) {
        let more: Vec<Param<'_>> = vec![Box::new(signed(seq)), Box::new(LARGE_MAX)];
        let records = reader.rows(sql::DELTAS, more, |row| row::delta(row, 0).map(Record::Delta)).await?;
        if !records.is_empty() {
            return Ok(records);
        }
    }
    if let Place::Version(key, seq, no) = place.clone().max(Place::Version(none(), 0, 0)) {
        let more: Vec<Param<'_>> = vec![
            Box::new(key),
            Box::new(signed(seq)),
            Box::new(i32::try_from(no).unwrap_or(i32::MAX)),
            Box::new(LARGE_MAX),
        ];
        let read = |row: &Row| row::version(row, 0).map(Record::Version);
        let records = reader.rows(sql::VERSIONS, more, read).await?;
        if !records.is_empty() {
            return Ok(records);
        }
    }
    if let Place::Segment(key, start) = place.clone().max(Place::Segment(none(), 0)) {
        let records = reader.segments(key, signed(start)).await?;
        if !records.is_empty() {
            return Ok(records);
        }
    }
    if let Place::Located(prefix, seq, key) = place.clone().max(Place::Located(i64::MIN, 0, none())) {
        let more: Vec<Param<'_>> =
            vec![Box::new(prefix), Box::new(signed(seq)), Box::new(key), Box::new(SMALL_MAX)];
        let read = |row: &Row| {
            let (seq, key) = (row::number(row, 1)?, row::text(row, 2)?);
            Ok(Record::Located(Located { prefix: row.try_get(0)?, seq, key }))
        };
        let records = reader.rows(sql::LOCATED, more, read).await?;
        if !records.is_empty() {
            return Ok(records);
        }
    }
    if let Place::Pushed(device_id, key) = place.clone().max(Place::Pushed(none(), none())) {
        let more: Vec<Param<'_>> = vec![Box::new(device_id), Box::new(key), Box::new(SMALL_MAX)];
        let read = |row: &Row| {
            let (key, pushed) = row::pushed(row, 1)?;
            Ok(Record::Pushed(row::text(row, 0)?, key, pushed))
        };
        let records = reader.rows(sql::PUSHED, more, read).await?;
        if !records.is_empty() {
            return Ok(records);
        }
    }
    match place.clone().max(Place::Conflict(none())) {
        Place::Conflict(id) => reader.conflicts(id).await,
        _ => Ok(Vec::new()),
    }
}

struct Reader<'a> {
    connection: &'a mut Connection,
    user: &'a User,
}

impl Reader<'_> {
    async fn rows(
        &mut self,
        sql: &'static str,
        more: Vec<Param<'_>>,
        read: fn(&Row) -> Result<Record, row::Damage>,
    ) -> Result<Vec<Record>> {
        let mut all = params(self.user);
        all.extend(more);
        let rows = self.connection.ask(sql, all).await?;
        Ok(rows.iter().map(read).collect::<Result<_, _>>()?)
    }

    async fn segments(&mut self, key: String, start: i64) -> Result<Vec<Record>> {
        let mut all = params(self.user);
        all.extend([Box::new(key) as Param<'_>, Box::new(start), Box::new(HUGE_MAX)]);
        let mut scope = Scope::default();
        for row in self.connection.ask(sql::SEGMENTS, all).await? {
            scope.segments.insert((row::text(&row, 0)?, row::number(&row, 1)?));
        }
        let slice = load::load(self.connection, self.user, &scope).await?;
        Ok(slice.segments.into_values().map(Record::Segment).collect())
    }

    async fn conflicts(&mut self, id: String) -> Result<Vec<Record>> {
        let mut all = params(self.user);
        all.extend([Box::new(id) as Param<'_>, Box::new(HUGE_MAX)]);
        let rows = self.connection.ask(sql::CONFLICTS, all).await?;
        let ids = rows.iter().map(|row| row::text(row, 0)).collect::<Result<_, _>>()?;
        let scope = Scope { conflicts: ConflictScope::Ids(ids), ..Scope::default() };
        let slice = load::load(self.connection, self.user, &scope).await?;
        Ok(slice.conflicts.into_values().map(Record::Conflict).collect())
    }
}
