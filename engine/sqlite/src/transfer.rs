//! One user's rows out of this store and into it, as `nself_sync_engine::transfer` says, in transactions of the host's.

use crate::row::{Row, signed};
use crate::{Error, Param, Sql, apply, find};
use nself_sync_engine::error::Reject;
use nself_sync_engine::ids::{Hash, User};
use nself_sync_engine::slice::{ConflictScope, Head, Located, Scope, Slice, Standing};
use nself_sync_engine::transfer::{self, Imported, Place, Progress, Record, StateHash, commits};

/// Rows of a kind that is small, and of one that may not be, that are read at once.
const SMALL_MAX: i64 = 256;
const LARGE_MAX: i64 = 16;

/// A page of an export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Whole lines, about [`transfer::PAGE_BYTES`]; one of them may be larger.
    pub lines: String,
    /// Where the next page begins; `None`: this is the last.
    pub next: Option<String>,
    /// Of which point in time it is. Pages go together where this is the same.
    pub at: String,
}

/// A page of the user's stream, from its beginning or from where another ended. It only reads.
///
/// # Errors
/// [`Reject::NotFound`] where nothing is stored of the user, [`Reject::Transfer`] while it is being imported,
/// [`Reject::InvalidField`] `cursor`.
pub fn export_page<S: Sql>(sql: &mut S, user: &User, cursor: Option<&str>) -> Result<Page, Error<S::Error>> {
    let (user_no, head) = known(sql, user)?;
    transfer::may_export(&head).map_err(Error::Reject)?;
    let progress = match cursor {
        None => None,
        Some(text) => Some(Progress::from_text(text).ok_or_else(|| Error::Reject(invalid_cursor()))?),
    };
    let mut page = transfer::Page::begin(progress, user, &head);
    while page.add(&Reader { sql, user_no }.after(&page.place())?) {}
    let writes = "SELECT writes FROM np_sync_heads WHERE user_no = ?1";
    let rows = sql.exec(writes, &[Param::Integer(user_no)]).map_err(Error::Sql)?;
    let writes = rows.first().map(|row| row.integer(0)).transpose()?.unwrap_or_default();
    let Head { epoch, seq, floor, .. } = head;
    let at = format!("{epoch}/{seq}/{floor}/{writes}");
    let (lines, end) = page.finish();
    Ok(Page { lines, next: end.err().map(|progress| progress.to_text()), at })
}

/// From here on every call of the user is answered `moved`. Where it is so already nothing changes. To be durable before the
/// first row is read for the copy.
///
/// # Errors
/// As [`export_page`].
pub fn mark_moved<S: Sql>(sql: &mut S, user: &User) -> Result<(), Error<S::Error>> {
    let (user_no, head) = known(sql, user)?;
    transfer::may_export(&head).map_err(Error::Reject)?;
    set_standing(sql, user_no, Standing::Moved)
}

/// The user is served here again, as before [`mark_moved`].
///
/// # Errors
/// [`Reject::NotFound`] where nothing is stored of the user, [`Reject::Transfer`] where it was not moved.
pub fn undo_move<S: Sql>(sql: &mut S, user: &User) -> Result<(), Error<S::Error>> {
    let (user_no, head) = known(sql, user)?;
    transfer::may_undo_move(&head).map_err(Error::Reject)?;
    set_standing(sql, user_no, Standing::Served)
}

/// Takes in lines of a stream, each ended by a line feed; `first` is the number of the first of them, from 1. The first line of
/// all begins anew, whatever came in before; lines that are in already are passed over, so that a batch can be sent again.
/// The user is served once the last line is in and what is stored was found to be what was sent.
///
/// # Errors
/// [`Reject::InvalidField`] names the line and the field, [`Reject::Transfer`] says why nothing can come in. Nothing of the
/// batch is to be committed then; what came before stays, unserved, until the stream begins anew or the user is erased.
pub fn import<S: Sql>(
    sql: &mut S,
    user: &User,
    first: u64,
    lines: &str,
) -> Result<Imported, Error<S::Error>> {
    let (mut progress, skip) = match first {
        1 => (Progress::default(), 0),
        _ => under_way(sql, user, first)?,
    };
    let mut records = Vec::new();
    for line in lines.lines().skip(skip) {
        records.push(progress.read(line).map_err(Error::Reject)?);
    }
    if let Some(Record::User(whose, head)) = records.first() {
        begin(sql, user, whose, head)?;
    }
    let imported = Imported { lines: progress.lines, is_done: progress.is_done() };
    let end = match records.last() {
        Some(Record::End(_, hash)) => Some(*hash),
        Some(_) => None,
        None => return Ok(imported),
    };
    let (user_no, _) = known(sql, user)?;
    for commit in commits(records) {
        apply::apply(sql, user_no, &commit)?;
    }
    let update = "UPDATE np_sync_heads SET import_progress = ?2 WHERE user_no = ?1";
    sql.exec(update, &[Param::Integer(user_no), Param::Text(&progress.to_text())]).map_err(Error::Sql)?;
    if let Some(hash) = end {
        if state_hash(sql, user)? != hash {
            return Err(Error::Reject(transfer::differs()));
        }
        set_standing(sql, user_no, Standing::Served)?;
    }
    Ok(imported)
}

/// Drops everything of a user, also that it was moved. Says whether there was anything.
pub fn erase<S: Sql>(sql: &mut S, user: &User) -> Result<bool, Error<S::Error>> {
    let Some((user_no, _)) = find(sql, user)? else { return Ok(false) };
    for delete in [
        "DELETE FROM np_sync_heads WHERE user_no = ?1",
        "DELETE FROM np_sync_devices WHERE user_no = ?1",
        "DELETE FROM np_sync_state WHERE user_no = ?1",
        "DELETE FROM np_sync_files WHERE user_no = ?1",
        "DELETE FROM np_sync_deltas WHERE user_no = ?1",
        "DELETE FROM np_sync_versions WHERE user_no = ?1",
        "DELETE FROM np_sync_contents WHERE user_no = ?1",
        "DELETE FROM np_sync_hashes WHERE user_no = ?1",
        "DELETE FROM np_sync_pushed WHERE user_no = ?1",
        "DELETE FROM np_sync_conflicts WHERE user_no = ?1",
    ] {
        sql.exec(delete, &[Param::Integer(user_no)]).map_err(Error::Sql)?;
    }
    Ok(true)
}

/// The user's state hash: the same wherever its rows are the same.
///
/// # Errors
/// [`Reject::NotFound`] where nothing is stored of the user.
pub fn state_hash<S: Sql>(sql: &mut S, user: &User) -> Result<Hash, Error<S::Error>> {
    let (user_no, head) = known(sql, user)?;
    let mut hash = StateHash::begin(user, &head);
    loop {
        let records = Reader { sql, user_no }.after(&hash.place())?;
        if records.is_empty() {
            return Ok(hash.get());
        }
        records.iter().for_each(|record| hash.add(record));
    }
}

/// The user's head, where there is one.
pub fn stored_head<S: Sql>(sql: &mut S, user: &User) -> Result<Option<Head>, Error<S::Error>> {
    Ok(find(sql, user)?.map(|(_, head)| head))
}

/// The users after one, by account and id, at most `limit`.
pub fn named_users<S: Sql>(
    sql: &mut S,
    after: Option<&User>,
    limit: u32,
) -> Result<Vec<User>, Error<S::Error>> {
    let select = "SELECT source_account_id, user_id FROM np_sync_heads
        WHERE (source_account_id, user_id) > (?1, ?2) ORDER BY source_account_id, user_id LIMIT ?3";
    let (account, id) = after.map_or(("", ""), |user| (user.account.as_str(), user.id.as_str()));
    let params = [Param::Text(account), Param::Text(id), Param::Integer(limit.into())];
    let rows = sql.exec(select, &params).map_err(Error::Sql)?;
    rows.iter().map(|row| Ok(User { account: row.text(0)?, id: row.text(1)? })).collect()
}

/// The next rows after a place, so many that memory is bounded; none: there are no more.
pub fn rows_after<S: Sql>(sql: &mut S, user: &User, place: &Place) -> Result<Vec<Record>, Error<S::Error>> {
    let (user_no, _) = known(sql, user)?;
    Reader { sql, user_no }.after(place)
}

/// The rows of the user that a scope names.
pub fn load<S: Sql>(sql: &mut S, user: &User, scope: &Scope) -> Result<Slice, Error<S::Error>> {
    let (user_no, _) = known(sql, user)?;
    crate::load::load(sql, user_no, scope)
}

fn known<S: Sql>(sql: &mut S, user: &User) -> Result<(i64, Head), Error<S::Error>> {
    find(sql, user)?.ok_or(Error::Reject(Reject::NotFound("user")))
}

fn invalid_cursor() -> Reject {
    let detail = "allowed is what the page before said";
    Reject::InvalidField { field: "cursor".to_owned(), detail: detail.to_owned() }
}

fn set_standing<S: Sql>(sql: &mut S, user_no: i64, standing: Standing) -> Result<(), Error<S::Error>> {
    let update = "UPDATE np_sync_heads SET standing = ?2 WHERE user_no = ?1";
    let params = [Param::Integer(user_no), Param::Integer(standing.code().into())];
    sql.exec(update, &params).map(drop).map_err(Error::Sql)
}

/// How far the user's import is, and how many of the lines from `first` on are in.
fn under_way<S: Sql>(sql: &mut S, user: &User, first: u64) -> Result<(Progress, usize), Error<S::Error>> {
    let select = "SELECT import_progress FROM np_sync_heads WHERE source_account_id = ?1 AND user_id = ?2";
    let rows = sql.exec(select, &[Param::Text(&user.account), Param::Text(&user.id)]).map_err(Error::Sql)?;
    let text = rows.first().map(|row| row.maybe_text(0)).transpose()?.flatten();
    transfer::resume(text.as_deref(), first).map_err(Error::Reject)
}

/// Makes the user's head, in place of what may be replaced.
fn begin<S: Sql>(sql: &mut S, user: &User, whose: &User, head: &Head) -> Result<(), Error<S::Error>> {
    transfer::is_of(user, whose).map_err(Error::Reject)?;
    let stored = find(sql, user)?;
    let mut devices = 0;
    if let Some((user_no, _)) = &stored {
        let count = "SELECT count(*) FROM np_sync_devices WHERE user_no = ?1";
        for row in sql.exec(count, &[Param::Integer(*user_no)]).map_err(Error::Sql)? {
            devices = usize::try_from(row.number(0)?).unwrap_or(usize::MAX);
        }
    }
    let stored = stored.map(|(_, stored)| stored);
    transfer::may_import(stored.as_ref(), devices, head).map_err(Error::Reject)?;
    erase(sql, user)?;
    apply::make_head(sql, user, &Head { standing: Standing::Importing, ..head.clone() })?;
    Ok(())
}

/// Reads rows in the stream's order. What may be large is loaded one by one, by its key.
struct Reader<'a, S: Sql> {
    sql: &'a mut S,
    user_no: i64,
}

impl<S: Sql> Reader<'_, S> {
    fn after(&mut self, place: &Place) -> Result<Vec<Record>, Error<S::Error>> {
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
