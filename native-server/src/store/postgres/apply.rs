//! Commits → rows, of all members of a round with one statement a table.

mod sql;

use super::connection::{Param, Request};
use super::row::{Time, signed};
use nself_sync_engine::commit::{Commit, Touch};
use nself_sync_engine::ids::{Hash, Seq, User};
use nself_sync_engine::key;
use nself_sync_engine::slice::{Head, Side};
use std::collections::{BTreeMap, HashMap};

/// A pack is stored in pieces of this many bytes: it only ever grows at its end, and only its last piece is rewritten.
const PIECE_BYTES: usize = 1024;

/// The parts of a segment: the keyframe, and the first piece of the pack, from which the others count down.
const PART_KEYFRAME: i32 = 1;
const PART_PACK: i32 = 0;

/// The bytes of the packs that a member has loaded, by document and start.
pub(super) type Packs = HashMap<(String, Seq), usize>;

/// A commit to write.
pub(super) struct Write<'a> {
    pub(super) user: &'a User,
    pub(super) commit: &'a Commit,
    pub(super) packs: &'a Packs,
}

/// The lists of a statement's parameters: account and user, then whatever columns the statement has.
struct Rows<'a> {
    account: Vec<&'a str>,
    user: Vec<&'a str>,
}

impl<'a> Rows<'a> {
    fn new() -> Rows<'a> {
        Rows { account: Vec::new(), user: Vec::new() }
    }

    fn add(&mut self, user: &'a User) {
        self.account.push(&user.account);
        self.user.push(&user.id);
    }

    fn request(self, requests: &mut Vec<Request<'a>>, sql: &'static str, more: Vec<Param<'a>>) {
        if !self.account.is_empty() {
            let mut params: Vec<Param<'a>> = vec![Box::new(self.account), Box::new(self.user)];
            params.extend(more);
            requests.push(Request::new(sql, params));
        }
    }
}

macro_rules! params {
    ($($list:expr),* $(,)?) => { vec![$(Box::new($list) as Param<'_>),*] };
}

/// The statements that make new users' heads, unless another was faster. In the order in which heads are locked.
pub(super) fn new_heads(heads: &[(User, Head)]) -> Vec<Request<'_>> {
    let sorted: BTreeMap<&User, &Head> = heads.iter().map(|(user, head)| (user, head)).collect();
    let mut requests = Vec::new();
    put_heads(sorted.into_iter(), sql::NEW_HEADS, &mut requests);
    requests
}

fn heads<'a>(writes: &'a [Write<'a>], requests: &mut Vec<Request<'a>>) {
    let changed = writes.iter().filter_map(|write| write.commit.head.as_ref().map(|head| (write.user, head)));
    put_heads(changed, sql::HEADS, requests);
}

fn put_heads<'a>(
    heads: impl Iterator<Item = (&'a User, &'a Head)>,
    sql: &'static str,
    requests: &mut Vec<Request<'a>>,
) {
    let mut rows = Rows::new();
    let (mut epoch, mut seq, mut tag): (Vec<&str>, Vec<i64>, Vec<&[u8]>) = Default::default();
    let (mut floor, mut floor_tag): (Vec<i64>, Vec<&[u8]>) = Default::default();
    let (mut open, mut bytes, mut state): (Vec<i64>, Vec<i64>, Vec<i64>) = Default::default();
    for (user, head) in heads {
        rows.add(user);
        epoch.push(&head.epoch);
        seq.push(signed(head.seq));
        tag.push(&head.tag.0);
        floor.push(signed(head.floor));
        floor_tag.push(&head.floor_tag.0);
        open.push(signed(head.conflicts_open));
        bytes.push(signed(head.bytes));
        state.push(signed(head.state_bytes));
    }
    rows.request(requests, sql, params![epoch, seq, tag, floor, floor_tag, open, bytes, state]);
}

/// The statements for devices' `last_seen` and seq.
pub(super) fn touches<'a>(touches: &'a [(User, Touch)]) -> Vec<Request<'a>> {
    let mut rows = Rows::new();
    let (mut device, mut last_seen, mut seq): (Vec<&str>, Vec<Time>, Vec<i64>) = Default::default();
    for (user, touch) in touches {
        rows.add(user);
        device.push(&touch.device_id);
        last_seen.push(Time(touch.last_seen));
        seq.push(signed(touch.seq));
    }
    let mut requests = Vec::new();
    rows.request(&mut requests, sql::TOUCH, params![device, last_seen, seq]);
    requests
}

/// The statements for all commits, in the order in which they must run.
pub(super) fn writes<'a>(writes: &'a [Write<'a>]) -> Vec<Request<'a>> {
    let mut inserts = Vec::new();
    heads(writes, &mut inserts);
    devices(writes, &mut inserts);
    pushed(writes, &mut inserts);
    deltas(writes, &mut inserts);
    scalars(writes, &mut inserts);
    documents(writes, &mut inserts);
    versions(writes, false, &mut inserts);
    versions(writes, true, &mut inserts);
    contents(writes, &mut inserts);
    hashes(writes, &mut inserts);
    conflicts(writes, &mut inserts);
    outbox(writes, &mut inserts);
    let mut requests = Vec::new();
    forgotten(writes, &mut requests);
    scalars_dropped(writes, &mut requests);
    resolved(writes, &mut requests);
    requests.extend(Request::together(inserts));
    requests
}

fn devices<'a>(writes: &'a [Write<'a>], requests: &mut Vec<Request<'a>>) {
    let mut rows = Rows::new();
    let (mut id, mut platform): (Vec<&str>, Vec<&str>) = Default::default();
    let (mut created_at, mut last_seen, mut seq): (Vec<Time>, Vec<Time>, Vec<i64>) = Default::default();
    let (mut removed_at, mut token): (Vec<Option<Time>>, Vec<Option<&[u8]>>) = Default::default();
    let mut last = LastPushes::default();
    for Write { user, commit, .. } in writes {
        let Some(device) = &commit.device else { continue };
        rows.add(user);
        id.push(&device.device_id);
        platform.push(device.platform.as_str());
        created_at.push(Time(device.created_at));
        last_seen.push(Time(device.last_seen));
        seq.push(signed(device.seq));
        removed_at.push(device.removed_at.map(Time));
        token.push(maybe_hash(&device.sync_token));
        last.no.push(device.last_push.as_ref().map(|push| signed(push.push_no)));
        last.body.push(device.last_push.as_ref().map(|push| &push.body.0[..]));
        last.seq.push(device.last_push.as_ref().map(|push| signed(push.seq)));
        last.tag.push(device.last_push.as_ref().map(|push| &push.tag.0[..]));
        last.registered.push(device.last_push.as_ref().map(|push| push.registered));
        last.results.push(device.last_push.as_ref().map(|push| push.results.as_str()));
    }
    let LastPushes { no, body, seq: at, tag, registered, results } = last;
    let more = params![
        id, platform, created_at, last_seen, seq, removed_at, token, no, body, at, tag, registered, results
    ];
    rows.request(requests, sql::DEVICES, more);
}

fn forgotten<'a>(writes: &'a [Write<'a>], requests: &mut Vec<Request<'a>>) {
    let (mut rows, mut id): (Rows<'a>, Vec<&str>) = (Rows::new(), Vec::new());
    for Write { user, commit, .. } in writes.iter().filter(|write| write.commit.forget_pushed) {
        let Some(device) = &commit.device else { continue };
        rows.add(user);
        id.push(&device.device_id);
    }
    rows.request(requests, sql::FORGET, params![id]);
}

#[derive(Default)]
struct LastPushes<'a> {
    no: Vec<Option<i64>>,
    body: Vec<Option<&'a [u8]>>,
    seq: Vec<Option<i64>>,
    tag: Vec<Option<&'a [u8]>>,
    registered: Vec<Option<bool>>,
    results: Vec<Option<&'a str>>,
}

fn pushed<'a>(writes: &'a [Write<'a>], requests: &mut Vec<Request<'a>>) {
    let mut rows = Rows::new();
    let (mut device, mut keys): (Vec<&str>, Vec<&str>) = Default::default();
    let (mut seq, mut at): (Vec<i64>, Vec<i64>) = Default::default();
    let mut hash: Vec<Option<&[u8]>> = Vec::new();
    for Write { user, commit, .. } in writes {
        for (key, pushed) in &commit.pushed {
            rows.add(user);
            device.push(&commit.pushed_by);
            keys.push(key);
            seq.push(signed(pushed.seq));
            at.push(signed(pushed.at));
            hash.push(maybe_hash(&pushed.hash));
        }
    }
    rows.request(requests, sql::PUSHED, params![device, keys, seq, at, hash]);
}

fn deltas<'a>(writes: &'a [Write<'a>], requests: &mut Vec<Request<'a>>) {
    let mut rows = Rows::new();
    let (mut seq, mut device, mut created_at): (Vec<i64>, Vec<&str>, Vec<Time>) = Default::default();
    let (mut tag, mut diff): (Vec<&[u8]>, Vec<&str>) = Default::default();
    for Write { user, commit, .. } in writes {
        let Some(delta) = &commit.delta else { continue };
        rows.add(user);
        seq.push(signed(delta.seq));
        device.push(&delta.device_id);
        created_at.push(Time(delta.created_at));
        tag.push(&delta.tag.0);
        diff.push(&delta.diff);
    }
    rows.request(requests, sql::DELTAS, params![seq, device, created_at, tag, diff]);
}

fn scalars<'a>(writes: &'a [Write<'a>], requests: &mut Vec<Request<'a>>) {
    let mut rows = Rows::new();
    let (mut keys, mut device): (Vec<&str>, Vec<&str>) = Default::default();
    let (mut value, mut seq, mut changed_at): (Vec<Option<String>>, Vec<i64>, Vec<Time>) = Default::default();
    for Write { user, commit, .. } in writes {
        for (key, scalar) in &commit.scalars {
            rows.add(user);
            keys.push(key);
            value.push(scalar.value.as_ref().map(serde_json::Value::to_string));
            seq.push(signed(scalar.seq));
            device.push(&scalar.device_id);
            changed_at.push(Time(scalar.changed_at));
        }
    }
    rows.request(requests, sql::STATE, params![keys, value, seq, device, changed_at]);
}

fn scalars_dropped<'a>(writes: &'a [Write<'a>], requests: &mut Vec<Request<'a>>) {
    let (mut rows, mut keys): (Rows<'a>, Vec<&str>) = (Rows::new(), Vec::new());
    for Write { user, commit, .. } in writes {
        for key in &commit.scalars_dropped {
            rows.add(user);
            keys.push(key);
        }
    }
    rows.request(requests, sql::STATE_DROP, params![keys]);
}

fn documents<'a>(writes: &'a [Write<'a>], requests: &mut Vec<Request<'a>>) {
    let mut rows = Rows::new();
    let (mut keys, mut size): (Vec<&str>, Vec<i64>) = Default::default();
    let mut hash: Vec<Option<&[u8]>> = Vec::new();
    let (mut seq, mut device): (Vec<i64>, Vec<&str>) = Default::default();
    for Write { user, commit, .. } in writes {
        for (key, document) in &commit.documents {
            rows.add(user);
            keys.push(key);
            hash.push(maybe_hash(&document.hash));
            size.push(signed(document.size as u64));
            seq.push(signed(document.seq));
            device.push(&document.device_id);
        }
    }
    rows.request(requests, sql::FILES, params![keys, hash, size, seq, device]);
}

/// Of the commits whose versions have their `no` already, or of the others: there it counts on from what is stored of the same
/// key and seq, and within the commit.
fn versions<'a>(writes: &'a [Write<'a>], is_numbered: bool, requests: &mut Vec<Request<'a>>) {
    let mut rows = Rows::new();
    let (mut keys, mut seq, mut nth): (Vec<&str>, Vec<i64>, Vec<i32>) = Default::default();
    let (mut cause, mut device, mut created_at): (Vec<i16>, Vec<&str>, Vec<Time>) = Default::default();
    let mut value: Vec<Option<String>> = Vec::new();
    for Write { user, commit, .. } in writes.iter().filter(|w| w.commit.versions_numbered == is_numbered) {
        let mut counts: HashMap<(&str, Seq), i32> = HashMap::new();
        for version in &commit.versions {
            let count = counts.entry((&version.key, version.seq)).or_default();
            rows.add(user);
            keys.push(&version.key);
            seq.push(signed(version.seq));
            nth.push(if is_numbered { i32::try_from(version.no).unwrap_or(i32::MAX) } else { *count });
            cause.push(version.cause.code().into());
            device.push(&version.device_id);
            created_at.push(Time(version.created_at));
            value.push(version.value.as_ref().map(serde_json::Value::to_string));
            *count += 1;
        }
    }
    let sql = if is_numbered { sql::VERSIONS_NUMBERED } else { sql::VERSIONS };
    rows.request(requests, sql, params![keys, seq, nth, cause, device, created_at, value]);
}

fn contents<'a>(writes: &'a [Write<'a>], requests: &mut Vec<Request<'a>>) {
    let mut rows = Rows::new();
    let (mut keys, mut start): (Vec<&str>, Vec<i64>) = Default::default();
    let (mut parts, mut data): (Vec<i32>, Vec<&[u8]>) = Default::default();
    let mut add = |user: &'a User, key: &'a str, at: Seq, part: i32, bytes: &'a [u8]| {
        rows.add(user);
        keys.push(key);
        start.push(signed(at));
        parts.push(part);
        data.push(bytes);
    };
    for Write { user, commit, packs } in writes {
        for segment in &commit.segments {
            let stored = match &segment.keyframe {
                Some(keyframe) => {
                    add(user, &segment.key, segment.start, PART_KEYFRAME, keyframe);
                    0
                }
                None => packs.get(&(segment.key.clone(), segment.start)).copied().unwrap_or_default(),
            };
            let pieces = segment.pack.chunks(PIECE_BYTES).zip((i32::MIN..=PART_PACK).rev());
            for (piece, part) in pieces.skip(stored / PIECE_BYTES) {
                add(user, &segment.key, segment.start, part, piece);
            }
        }
    }
    rows.request(requests, sql::CONTENTS, params![keys, start, parts, data]);
}

fn hashes<'a>(writes: &'a [Write<'a>], requests: &mut Vec<Request<'a>>) {
    let mut rows = Rows::new();
    let (mut prefix, mut seqs, mut keys): (Vec<i64>, Vec<i64>, Vec<&str>) = Default::default();
    for Write { user, commit, .. } in writes {
        for located in &commit.located {
            rows.add(user);
            prefix.push(located.prefix);
            seqs.push(signed(located.seq));
            keys.push(&located.key);
        }
    }
    rows.request(requests, sql::HASHES, params![prefix, seqs, keys]);
}

#[derive(Default)]
struct Sides<'a> {
    hash: Vec<Option<&'a [u8]>>,
    size: Vec<Option<i64>>,
    content: Vec<Option<&'a [u8]>>,
}

impl<'a> Sides<'a> {
    fn add(&mut self, side: &'a Option<Side>) {
        self.hash.push(side.as_ref().map(|side| &side.hash.0[..]));
        self.size.push(side.as_ref().map(|side| signed(side.content.len() as u64)));
        self.content.push(side.as_ref().map(|side| &side.content[..]));
    }
}

fn conflicts<'a>(writes: &'a [Write<'a>], requests: &mut Vec<Request<'a>>) {
    let mut rows = Rows::new();
    let (mut id, mut collection, mut path): (Vec<&str>, Vec<&str>, Vec<&str>) = Default::default();
    let (mut base, mut mine, mut theirs): (Sides<'_>, Sides<'_>, Sides<'_>) = Default::default();
    let (mut mine_device, mut theirs_device): (Vec<&str>, Vec<&str>) = Default::default();
    let (mut seq, mut created_at): (Vec<i64>, Vec<Time>) = Default::default();
    let mut resolved_at: Vec<Option<Time>> = Vec::new();
    let (mut resolution, mut resolved_by): (Vec<Option<&str>>, Vec<Option<&str>>) = Default::default();
    for Write { user, commit, .. } in writes {
        for conflict in &commit.conflicts {
            rows.add(user);
            id.push(&conflict.id);
            collection.push(key::collection(&conflict.key));
            path.push(key::within(&conflict.key));
            base.add(&conflict.base);
            mine.add(&conflict.mine);
            theirs.add(&conflict.theirs);
            mine_device.push(&conflict.mine_device_id);
            theirs_device.push(&conflict.theirs_device_id);
            seq.push(signed(conflict.seq));
            created_at.push(Time(conflict.created_at));
            let resolved = conflict.resolved.as_ref();
            resolved_at.push(resolved.map(|how| Time(how.at)));
            resolution.push(resolved.map(|how| how.resolution.as_str()));
            resolved_by.push(resolved.and_then(|how| how.device_id.as_deref()));
        }
    }
    let mut more = params![id, collection, path];
    for sides in [base, mine, theirs] {
        more.extend(params![sides.hash, sides.size, sides.content]);
    }
    more.extend(params![mine_device, theirs_device, seq, created_at, resolved_at, resolution, resolved_by]);
    rows.request(requests, sql::CONFLICTS, more);
}

fn outbox<'a>(writes: &'a [Write<'a>], requests: &mut Vec<Request<'a>>) {
    let (mut rows, mut users) = (Rows::new(), Rows::new());
    let (mut seq, mut no, mut id): (Vec<i64>, Vec<i32>, Vec<&str>) = Default::default();
    let (mut event_type, mut payload): (Vec<&str>, Vec<&str>) = Default::default();
    let (mut recorded_at, mut newest): (Vec<Time>, Vec<i64>) = Default::default();
    for Write { user, commit, .. } in writes {
        for event in &commit.outbox {
            rows.add(user);
            seq.push(signed(event.place.seq));
            no.push(i32::try_from(event.place.no).unwrap_or(i32::MAX));
            id.push(&event.id);
            event_type.push(&event.event_type);
            payload.push(&event.payload);
            recorded_at.push(Time(event.recorded_at));
        }
        if let Some(last) = commit.outbox.last() {
            users.add(user);
            newest.push(signed(last.place.seq));
        }
    }
    rows.request(requests, sql::OUTBOX, params![seq, no, id, event_type, payload, recorded_at]);
    users.request(requests, sql::DELIVERIES, params![newest]);
}

fn resolved<'a>(writes: &'a [Write<'a>], requests: &mut Vec<Request<'a>>) {
    let mut rows = Rows::new();
    let (mut ids, mut at): (Vec<&str>, Vec<Time>) = Default::default();
    let (mut resolution, mut by): (Vec<&str>, Vec<Option<&str>>) = Default::default();
    for Write { user, commit, .. } in writes {
        let Some((id, how)) = &commit.resolved else { continue };
        rows.add(user);
        ids.push(id);
        at.push(Time(how.at));
        resolution.push(&how.resolution);
        by.push(how.device_id.as_deref());
    }
    rows.request(requests, sql::RESOLVED, params![ids, at, resolution, by]);
}

fn maybe_hash(hash: &Option<Hash>) -> Option<&[u8]> {
    hash.as_ref().map(|hash| &hash.0[..])
}
