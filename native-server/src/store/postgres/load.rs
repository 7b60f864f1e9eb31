//! Scopes → slices, of all members of a batch with one statement a table.
//!
//! A statement takes lists: which member asks (`i`, so that a row finds its way back), the member's account and user,
//! and what is asked for. Account and user lead every condition.

mod sql;

use super::connection::{Connection, Param, Request};
use super::row::{self, Damage, signed};
use anyhow::{Context, Result};
use nself_sync_engine::ids::User;
use nself_sync_engine::slice::{ConflictScope, Located, Scope, Segment, Slice};
use sql::{
    ALL_DEVICES, ASKED, CONFLICTS, CONFLICTS_BRIEF, DELTAS, ENTRIES, HASHES, SEGMENTS, VALUES_AT, VERSIONS,
    WHOLE_FILES, WHOLE_STATE,
};
pub(super) use sql::{HEADS, HEADS_LOCKED, state_bytes};
use std::collections::BTreeSet;
use tokio_postgres::Row;

/// A member's wish.
pub(super) struct Wish<'a> {
    pub(super) member: usize,
    pub(super) user: &'a User,
    pub(super) scope: &'a Scope,
}

/// A request, and where its rows go. A row's first column is the member.
pub(super) struct Load<'a> {
    pub(super) request: Request<'a>,
    pub(super) take: Take,
}

pub(super) type Take = fn(&Row, &mut Slice) -> Result<(), Damage>;

/// The lists that lead a statement's parameters.
#[derive(Default)]
pub(super) struct Users<'a> {
    i: Vec<i32>,
    account: Vec<&'a str>,
    user: Vec<&'a str>,
}

impl<'a> Users<'a> {
    /// Adds a member, unless its user can have no rows: PostgreSQL takes no NUL, not even to say that there is none.
    pub(super) fn add(&mut self, member: usize, user: &'a User) -> bool {
        let stored = is_storable(&user.account) && is_storable(&user.id);
        if stored {
            self.i.push(i32::try_from(member).unwrap_or(i32::MAX));
            self.account.push(&user.account);
            self.user.push(&user.id);
        }
        stored
    }

    pub(super) fn is_empty(&self) -> bool {
        self.i.is_empty()
    }

    pub(super) fn params(self, more: Vec<Param<'a>>) -> Vec<Param<'a>> {
        let mut params: Vec<Param<'a>> = vec![Box::new(self.i), Box::new(self.account), Box::new(self.user)];
        params.extend(more);
        params
    }
}

/// The same with keys.
#[derive(Default)]
struct Keys<'a> {
    users: Users<'a>,
    key: Vec<&'a str>,
}

impl<'a> Keys<'a> {
    fn add(&mut self, wish: &Wish<'a>, key: &'a str) -> bool {
        let stored = is_storable(key) && self.users.add(wish.member, wish.user);
        if stored {
            self.key.push(key);
        }
        stored
    }
}

/// The lists of [`ASKED`].
#[derive(Default)]
struct Asked<'a> {
    device: Vec<Option<&'a str>>,
    counted: Vec<bool>,
    seq: Vec<Option<i64>>,
    blocker: Vec<Option<&'a str>>,
    key: Vec<Option<&'a str>>,
    scalar: Vec<bool>,
    document: Vec<bool>,
    pusher: Vec<Option<&'a str>>,
}

/// The device whose open conflicts are asked for.
fn blocker(scope: &ConflictScope) -> Option<&str> {
    match scope {
        ConflictScope::OpenOf(device_id) => Some(device_id.as_str()).filter(|id| is_storable(id)),
        ConflictScope::None | ConflictScope::OpenBrief | ConflictScope::Ids(_) => None,
    }
}

/// Whether PostgreSQL takes it at all.
fn is_storable(text: &str) -> bool {
    !text.contains('\0')
}

/// The statements for all wishes. What nobody wishes is not asked.
pub(super) fn loads<'a>(wishes: &[Wish<'a>]) -> Vec<Load<'a>> {
    let mut loads = Loads { wishes, loads: Vec::new() };
    loads.asked();
    loads.ranges();
    loads.versions();
    loads.contents();
    loads.conflicts();
    loads.loads
}

struct Loads<'a, 'w> {
    wishes: &'w [Wish<'a>],
    loads: Vec<Load<'a>>,
}

impl<'a> Loads<'a, '_> {
    fn add(&mut self, sql: &'static str, users: Users<'a>, more: Vec<Param<'a>>, take: Take) {
        if !users.is_empty() {
            self.loads.push(Load { request: Request::new(sql, users.params(more)), take });
        }
    }

    fn keyed(&mut self, sql: &'static str, of: impl Fn(&'a Scope) -> Vec<&'a str>, take: Take) {
        let mut keys = Keys::default();
        for wish in self.wishes {
            for key in of(wish.scope) {
                keys.add(wish, key);
            }
        }
        self.add(sql, keys.users, vec![Box::new(keys.key)], take);
    }

    fn whole(&mut self, sql: &'static str, of: impl Fn(&'a Scope) -> bool, take: Take) {
        let mut users = Users::default();
        for wish in self.wishes.iter().filter(|wish| of(wish.scope)) {
            users.add(wish.member, wish.user);
        }
        self.add(sql, users, Vec::new(), take);
    }

    /// What [`ASKED`] answers. A wish's lists lie side by side: a row has the next of each.
    fn asked(&mut self) {
        let (mut users, mut asked) = (Users::default(), Asked::default());
        for wish in self.wishes {
            let scope = wish.scope;
            let pusher = scope.pushed_by.as_deref().filter(|id| is_storable(id));
            let pushed = scope.pushed_keys.iter().filter(|_| pusher.is_some());
            let keys: BTreeSet<&str> = (scope.scalars.iter().chain(&scope.entries))
                .chain(scope.documents.iter().chain(pushed))
                .map(String::as_str)
                .filter(|key| is_storable(key))
                .collect();
            let mut keys = keys.into_iter();
            let mut devices = scope.devices.iter().map(String::as_str).filter(|id| is_storable(id));
            let mut seqs = scope.deltas_at.iter().filter(|seq| **seq > 0);
            let mut blocker = blocker(&scope.conflicts);
            loop {
                let (device, seq, blocker, key) = (devices.next(), seqs.next(), blocker.take(), keys.next());
                let is_over = (device, seq, blocker, key) == (None, None, None, None);
                if is_over || !users.add(wish.member, wish.user) {
                    break;
                }
                let is_in = |set: &BTreeSet<String>| key.is_some_and(|key| set.contains(key));
                asked.device.push(device);
                asked.counted.push(scope.count_devices && device.is_some());
                asked.seq.push(seq.map(|seq| signed(*seq)));
                asked.blocker.push(blocker);
                asked.key.push(key);
                asked.scalar.push(is_in(&scope.scalars) || is_in(&scope.entries));
                asked.document.push(is_in(&scope.documents));
                asked.pusher.push(pusher.filter(|_| is_in(&scope.pushed_keys)));
            }
        }
        let Asked { device, counted, seq, blocker, key, scalar, document, pusher } = asked;
        let more: Vec<Param<'a>> = vec![
            Box::new(device),
            Box::new(counted),
            Box::new(seq),
            Box::new(blocker),
            Box::new(key),
            Box::new(scalar),
            Box::new(document),
            Box::new(pusher),
        ];
        self.add(ASKED, users, more, take_asked);
    }

    fn ranges(&mut self) {
        self.whole(ALL_DEVICES, |scope| scope.all_devices, |row, slice| take_device(row, 1, slice));
        let (mut users, mut above, mut upto) = (Users::default(), Vec::new(), Vec::new());
        for wish in self.wishes {
            let Some((first, last)) = wish.scope.deltas else { continue };
            if users.add(wish.member, wish.user) {
                above.push(signed(first));
                upto.push(signed(last));
            }
        }
        self.add(DELTAS, users, vec![Box::new(above), Box::new(upto)], |row, slice| {
            take_delta(row, 1, slice)
        });
        self.whole(WHOLE_STATE, |scope| scope.whole_state, |row, slice| take_scalar(row, 1, slice));
        self.whole(WHOLE_FILES, |scope| scope.whole_state, |row, slice| take_document(row, 1, slice));
        let entries = |scope: &'a Scope| scope.entries.iter().map(String::as_str).collect();
        self.keyed(ENTRIES, entries, |row, slice| take_scalar(row, 1, slice));
    }

    fn versions(&mut self) {
        let (mut keys, mut seqs) = (Keys::default(), Vec::new());
        for wish in self.wishes {
            for (key, seq) in &wish.scope.values_at {
                if keys.add(wish, key) {
                    seqs.push(signed(*seq));
                }
            }
        }
        self.add(VALUES_AT, keys.users, vec![Box::new(keys.key), Box::new(seqs)], |row, slice| {
            let (at, version) = (row::number(row, 1)?, row::version(row, 2)?);
            slice.values_at.insert((version.key.clone(), at), version);
            Ok(())
        });
        let (mut keys, mut seqs, mut nos, mut most) = (Keys::default(), Vec::new(), Vec::new(), Vec::new());
        for wish in self.wishes {
            let Some(page) = &wish.scope.versions else { continue };
            if keys.add(wish, &page.key) {
                let (seq, no) = page.before.unwrap_or((u64::MAX, u32::MAX));
                seqs.push(signed(seq));
                nos.push(i32::try_from(no).unwrap_or(i32::MAX));
                most.push(i64::try_from(page.limit).unwrap_or(i64::MAX));
            }
        }
        let more: Vec<Param<'a>> = vec![Box::new(keys.key), Box::new(seqs), Box::new(nos), Box::new(most)];
        self.add(VERSIONS, keys.users, more, |row, slice| {
            slice.versions.push(row::version(row, 1)?);
            Ok(())
        });
    }

    fn contents(&mut self) {
        let (mut users, mut prefixes) = (Users::default(), Vec::new());
        for wish in self.wishes {
            for hash in &wish.scope.hashes {
                if users.add(wish.member, wish.user) {
                    prefixes.push(hash.prefix());
                }
            }
        }
        self.add(HASHES, users, vec![Box::new(prefixes)], |row, slice| {
            let (key, seq) = (row::text(row, 2)?, row::number(row, 3)?);
            slice.located.push(Located { prefix: row.try_get(1)?, key, seq });
            Ok(())
        });
        let (mut keys, mut seqs) = (Keys::default(), Vec::new());
        for wish in self.wishes {
            for (key, seq) in &wish.scope.segments {
                if keys.add(wish, key) {
                    seqs.push(signed(*seq));
                }
            }
        }
        self.add(SEGMENTS, keys.users, vec![Box::new(keys.key), Box::new(seqs)], take_part);
    }

    fn conflicts(&mut self) {
        let conflicts = |scope: &'a Scope| &scope.conflicts;
        let ids = move |scope: &'a Scope| match conflicts(scope) {
            ConflictScope::Ids(ids) => ids.iter().map(String::as_str).collect(),
            ConflictScope::None | ConflictScope::OpenBrief | ConflictScope::OpenOf(_) => Vec::new(),
        };
        let take: Take = |row, slice| take_conflict(row, 1, slice);
        self.keyed(CONFLICTS, ids, take);
        self.whole(CONFLICTS_BRIEF, move |scope| *conflicts(scope) == ConflictScope::OpenBrief, take);
    }
}

/// One user's rows, in the transaction that is open.
pub(super) async fn load(connection: &mut Connection, user: &User, scope: &Scope) -> Result<Slice> {
    Ok(load_all(connection, user, &[scope]).await?.pop().unwrap_or_default())
}

/// The same of several scopes at once: a slice for each.
pub(super) async fn load_all(
    connection: &mut Connection,
    user: &User,
    scopes: &[&Scope],
) -> Result<Vec<Slice>> {
    let numbered = scopes.iter().enumerate();
    let wishes: Vec<Wish<'_>> = numbered.map(|(member, scope)| Wish { member, user, scope }).collect();
    let (mut requests, mut takes) = (Vec::new(), Vec::new());
    for load in loads(&wishes) {
        requests.push(load.request);
        takes.push(load.take);
    }
    let mut slices: Vec<Slice> = scopes.iter().map(|_| Slice::default()).collect();
    for (rows, take) in connection.send(&requests).await?.iter().zip(takes) {
        for row in rows {
            let member: i32 = row.try_get(0)?;
            let slice = usize::try_from(member).ok().and_then(|member| slices.get_mut(member));
            take(row, slice.with_context(|| format!("rows of scope {member}"))?)?;
        }
    }
    Ok(slices)
}

/// Puts a head's row into its slice.
pub(super) fn take_head(row: &Row, slice: &mut Slice) -> Result<(), Damage> {
    slice.head = Some(row::head(row, 1)?);
    Ok(())
}

/// Puts the columns from one on into a slice.
type TakeAt = fn(&Row, usize, &mut Slice) -> Result<(), Damage>;

/// The columns of [`ASKED`] begin at 1: count, 2: device, 15: delta, 20: conflict, 39: scalar, 44: document, 49: pushed.
fn take_asked(row: &Row, slice: &mut Slice) -> Result<(), Damage> {
    if let Some(count) = row::maybe_number(row, 1)? {
        slice.devices_count = usize::try_from(count).unwrap_or(usize::MAX);
    }
    let takes: [(usize, TakeAt); 6] = [
        (2, take_device),
        (15, take_delta),
        (20, take_conflict),
        (39, take_scalar),
        (44, take_document),
        (49, take_pushed),
    ];
    for (at, take) in takes {
        if row::is_there(row, at)? {
            take(row, at, slice)?;
        }
    }
    Ok(())
}

fn take_pushed(row: &Row, at: usize, slice: &mut Slice) -> Result<(), Damage> {
    let (key, pushed) = row::pushed(row, at)?;
    slice.pushed.insert(key, pushed);
    Ok(())
}

fn take_device(row: &Row, at: usize, slice: &mut Slice) -> Result<(), Damage> {
    let device = row::device(row, at)?;
    slice.devices.insert(device.device_id.clone(), device);
    Ok(())
}

fn take_delta(row: &Row, at: usize, slice: &mut Slice) -> Result<(), Damage> {
    let delta = row::delta(row, at)?;
    slice.deltas.insert(delta.seq, delta);
    Ok(())
}

fn take_scalar(row: &Row, at: usize, slice: &mut Slice) -> Result<(), Damage> {
    let (key, scalar) = row::scalar(row, at)?;
    slice.scalars.insert(key, scalar);
    Ok(())
}

fn take_document(row: &Row, at: usize, slice: &mut Slice) -> Result<(), Damage> {
    let (key, document) = row::document(row, at)?;
    slice.documents.insert(key, document);
    Ok(())
}

fn take_conflict(row: &Row, at: usize, slice: &mut Slice) -> Result<(), Damage> {
    let conflict = row::conflict(row, at)?;
    slice.conflicts.insert(conflict.id.clone(), conflict);
    Ok(())
}

fn take_part(row: &Row, slice: &mut Slice) -> Result<(), Damage> {
    let (key, start) = (row::text(row, 1)?, row::number(row, 2)?);
    let (part, data): (i32, &[u8]) = (row.try_get(3)?, row.try_get(4)?);
    let segment = slice.segments.entry((key.clone(), start)).or_insert_with(|| {
        let (keyframe, pack) = (Vec::new(), Vec::new());
        Segment { key, start, keyframe, pack }
    });
    if part > 0 { &mut segment.keyframe } else { &mut segment.pack }.extend_from_slice(data);
    Ok(())
}
