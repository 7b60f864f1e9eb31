//! Scopes → slices, of all members of a batch with one statement a table.
//!
//! A statement takes lists: which member asks (`i`, so that a row finds its way back), the member's account and user,
//! and what is asked for. Account and user lead every condition.

mod sql;

use super::connection::{Param, Request};
use super::row::{self, Damage, signed};
use nself_sync_engine::ids::User;
use nself_sync_engine::slice::{ConflictScope, Located, Scope, Segment, Slice};
use sql::{
    ALL_DEVICES, CONFLICTS, CONFLICTS_BRIEF, CONFLICTS_OF, CONFLICTS_OPEN, DELTAS, DEVICES, ENTRIES, FILES,
    HASHES, PUSHED, SEGMENTS, STATE, VALUES_AT, VERSIONS, WHOLE_FILES, WHOLE_STATE,
};
pub(super) use sql::{HEADS, HEADS_LOCKED};
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

/// Whether PostgreSQL takes it at all.
fn is_storable(text: &str) -> bool {
    !text.contains('\0')
}

/// The statements for all wishes. What nobody wishes is not asked.
pub(super) fn loads<'a>(wishes: &[Wish<'a>]) -> Vec<Load<'a>> {
    let mut loads = Loads { wishes, loads: Vec::new() };
    loads.devices();
    loads.state();
    loads.pushed();
    loads.deltas();
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

    fn devices(&mut self) {
        let (mut keys, mut counted) = (Keys::default(), Vec::new());
        for wish in self.wishes {
            for device_id in &wish.scope.devices {
                if keys.add(wish, device_id) {
                    counted.push(wish.scope.count_devices);
                }
            }
        }
        self.add(DEVICES, keys.users, vec![Box::new(keys.key), Box::new(counted)], take_device);
        self.whole(ALL_DEVICES, |scope| scope.all_devices, take_device);
    }

    fn state(&mut self) {
        self.whole(WHOLE_STATE, |scope| scope.whole_state, take_scalar);
        self.whole(WHOLE_FILES, |scope| scope.whole_state, take_document);
        let keys = |scope: &'a Scope| scope.scalars.union(&scope.entries).map(String::as_str).collect();
        self.keyed(STATE, keys, take_scalar);
        self.keyed(ENTRIES, |scope| scope.entries.iter().map(String::as_str).collect(), take_scalar);
        self.keyed(FILES, |scope| scope.documents.iter().map(String::as_str).collect(), take_document);
    }

    fn pushed(&mut self) {
        let (mut keys, mut devices) = (Keys::default(), Vec::new());
        for wish in self.wishes {
            let Some(device_id) = wish.scope.pushed_by.as_deref().filter(|id| is_storable(id)) else {
                continue;
            };
            for key in &wish.scope.pushed_keys {
                if keys.add(wish, key) {
                    devices.push(device_id);
                }
            }
        }
        self.add(PUSHED, keys.users, vec![Box::new(keys.key), Box::new(devices)], |row, slice| {
            let (key, pushed) = row::pushed(row, 1)?;
            slice.pushed.insert(key, pushed);
            Ok(())
        });
    }

    fn deltas(&mut self) {
        let (mut users, mut above, mut upto) = (Users::default(), Vec::new(), Vec::new());
        for wish in self.wishes {
            let single = wish.scope.deltas_at.iter().filter(|seq| **seq > 0).map(|seq| (seq - 1, *seq));
            for (first, last) in wish.scope.deltas.into_iter().chain(single) {
                if users.add(wish.member, wish.user) {
                    above.push(signed(first));
                    upto.push(signed(last));
                }
            }
        }
        self.add(DELTAS, users, vec![Box::new(above), Box::new(upto)], |row, slice| {
            let delta = row::delta(row, 1)?;
            slice.deltas.insert(delta.seq, delta);
            Ok(())
        });
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
        let of = move |scope: &'a Scope| match conflicts(scope) {
            ConflictScope::OpenOf(device_id) => vec![device_id.as_str()],
            ConflictScope::None | ConflictScope::OpenBrief | ConflictScope::Open | ConflictScope::Ids(_) => {
                Vec::new()
            }
        };
        let ids = move |scope: &'a Scope| match conflicts(scope) {
            ConflictScope::Ids(ids) => ids.iter().map(String::as_str).collect(),
            ConflictScope::None
            | ConflictScope::OpenBrief
            | ConflictScope::Open
            | ConflictScope::OpenOf(_) => Vec::new(),
        };
        self.keyed(CONFLICTS_OF, of, take_conflict);
        self.keyed(CONFLICTS, ids, take_conflict);
        self.whole(
            CONFLICTS_BRIEF,
            move |scope| *conflicts(scope) == ConflictScope::OpenBrief,
            take_conflict,
        );
        self.whole(CONFLICTS_OPEN, move |scope| *conflicts(scope) == ConflictScope::Open, take_conflict);
    }
}

/// Puts a head's row into its slice.
pub(super) fn take_head(row: &Row, slice: &mut Slice) -> Result<(), Damage> {
    slice.head = Some(row::head(row, 1)?);
    Ok(())
}

fn take_device(row: &Row, slice: &mut Slice) -> Result<(), Damage> {
    if let Some(count) = row::maybe_number(row, 1)? {
        slice.devices_count = usize::try_from(count).unwrap_or(usize::MAX);
    }
    if row.try_get::<_, Option<&str>>(2)?.is_some() {
        let device = row::device(row, 2)?;
        slice.devices.insert(device.device_id.clone(), device);
    }
    Ok(())
}

fn take_scalar(row: &Row, slice: &mut Slice) -> Result<(), Damage> {
    let (key, scalar) = row::scalar(row, 1)?;
    slice.scalars.insert(key, scalar);
    Ok(())
}

fn take_document(row: &Row, slice: &mut Slice) -> Result<(), Damage> {
    let (key, document) = row::document(row, 1)?;
    slice.documents.insert(key, document);
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

fn take_conflict(row: &Row, slice: &mut Slice) -> Result<(), Damage> {
    let conflict = row::conflict(row, 1)?;
    slice.conflicts.insert(conflict.id.clone(), conflict);
    Ok(())
}
