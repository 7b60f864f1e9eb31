//! One user's rows out of this store and into it, as `nself_sync_engine::transfer` says, in transactions of the host's.

mod read;

use crate::{Error, Param, Sql, apply, find};
use nself_sync_engine::error::Reject;
use nself_sync_engine::ids::{Hash, User};
use nself_sync_engine::slice::{Head, Scope, Slice, Standing};
use nself_sync_engine::transfer::{self, Imported, Place, Progress, Record, StateHash, commits};
use read::Reader;

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
        crate::count_bytes(sql, user_no)?;
        set_standing(sql, user_no, Standing::Served)?;
    }
    Ok(imported)
}

/// Gives the user's history another epoch, after a restore: every device then offers what it has.
///
/// # Errors
/// [`Reject::NotFound`] where nothing is stored of the user, [`Reject::Transfer`] where it is not served here.
pub fn rotate_epoch<S: Sql>(sql: &mut S, user: &User, epoch: String) -> Result<(), Error<S::Error>> {
    let (user_no, head) = known(sql, user)?;
    transfer::may_change_epoch(&head).map_err(Error::Reject)?;
    let head = head.with_epoch(epoch);
    let update = "UPDATE np_sync_heads SET epoch = ?2, tag = ?3, floor_tag = ?4, writes = writes + 1
        WHERE user_no = ?1";
    let params = [
        Param::Integer(user_no),
        Param::Text(&head.epoch),
        Param::Blob(&head.tag.0),
        Param::Blob(&head.floor_tag.0),
    ];
    sql.exec(update, &params).map(drop).map_err(Error::Sql)
}

/// What a stream has all of.
const DROP_ROWS: [&str; 10] = [
    "DELETE FROM np_sync_devices WHERE user_no = ?1",
    "DELETE FROM np_sync_state WHERE user_no = ?1",
    "DELETE FROM np_sync_files WHERE user_no = ?1",
    "DELETE FROM np_sync_deltas WHERE user_no = ?1",
    "DELETE FROM np_sync_versions WHERE user_no = ?1",
    "DELETE FROM np_sync_contents WHERE user_no = ?1",
    "DELETE FROM np_sync_hashes WHERE user_no = ?1",
    "DELETE FROM np_sync_pushed WHERE user_no = ?1",
    "DELETE FROM np_sync_conflicts WHERE user_no = ?1",
    "DELETE FROM np_sync_pieces WHERE user_no = ?1",
];

/// What stays with the host that it happened at.
const DROP_EVENTS: [&str; 3] = [
    "DELETE FROM np_sync_outbox WHERE user_no = ?1",
    "DELETE FROM np_sync_deliveries WHERE user_no = ?1",
    "DELETE FROM np_sync_dead_letters WHERE user_no = ?1",
];

/// Drops everything of a user, also that it was moved. Says whether there was anything.
pub fn erase<S: Sql>(sql: &mut S, user: &User) -> Result<bool, Error<S::Error>> {
    let Some((user_no, _)) = find(sql, user)? else { return Ok(false) };
    let head = ["DELETE FROM np_sync_heads WHERE user_no = ?1"];
    for delete in DROP_ROWS.iter().chain(&DROP_EVENTS).chain(&head) {
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
    let importing = Head { standing: Standing::Importing, ..head.clone() };
    let Some((user_no, stored)) = find(sql, user)? else {
        transfer::may_import(None, 0, head).map_err(Error::Reject)?;
        apply::make_head(sql, user, &importing)?;
        return Ok(());
    };
    let count = "SELECT count(*) FROM np_sync_devices WHERE user_no = ?1";
    let mut devices = 0;
    for row in sql.exec(count, &[Param::Integer(user_no)]).map_err(Error::Sql)? {
        devices = usize::try_from(row.number(0)?).unwrap_or(usize::MAX);
    }
    transfer::may_import(Some(&stored), devices, head).map_err(Error::Reject)?;
    // Events of the same history may still be on their way; those of another would stand in the way of new ones.
    let events: &[_] = if stored.epoch == head.epoch { &[] } else { &DROP_EVENTS };
    for delete in DROP_ROWS.iter().chain(events) {
        sql.exec(delete, &[Param::Integer(user_no)]).map_err(Error::Sql)?;
    }
    apply::replace_head(sql, user_no, &importing)
}
