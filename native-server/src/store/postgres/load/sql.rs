//! The statements that load. `i` is the member of the batch that asks.

macro_rules! heads {
    ($end:literal) => {
        concat!(
            "SELECT u.i, h.epoch, h.seq, h.tag, h.floor, h.floor_tag, h.conflicts_open
             FROM unnest($1::int4[], $2::text[], $3::text[]) AS u (i, account, usr)
             JOIN np_sync_heads AS h ON h.source_account_id = u.account AND h.user_id = u.usr",
            $end
        )
    };
}

macro_rules! devices {
    ($count:literal, $of:literal) => {
        concat!(
            "SELECT u.i, ", $count, ", d.device_id, d.platform, d.created_at, d.last_seen, d.seq, d.removed_at,
             d.sync_token, d.push_no, d.push_body, d.push_seq, d.push_tag, d.push_registered, d.push_results FROM ",
            $of
        )
    };
}

/// Scalars of the users, or of the keys.
macro_rules! state {
    ($key:literal, $keys:literal, $and:literal) => {
        concat!(
            "SELECT u.i, s.key, s.value::text, s.seq, s.device_id, s.changed_at
             FROM unnest($1::int4[], $2::text[], $3::text[]", $keys, ") AS u (i, account, usr", $key, ")
             JOIN np_sync_state AS s ON s.source_account_id = u.account AND s.user_id = u.usr",
            $and
        )
    };
}

macro_rules! files {
    ($key:literal, $keys:literal, $and:literal) => {
        concat!(
            "SELECT u.i, f.key, f.hash, f.size, f.seq, f.device_id
             FROM unnest($1::int4[], $2::text[], $3::text[]", $keys, ") AS u (i, account, usr", $key, ")
             JOIN np_sync_files AS f ON f.source_account_id = u.account AND f.user_id = u.usr",
            $and
        )
    };
}

/// Conflicts with their contents, or with null in place of these.
macro_rules! conflicts {
    ($base:literal, $mine:literal, $theirs:literal, $key:literal, $keys:literal, $and:literal) => {
        concat!(
            "SELECT u.i, c.id, c.collection, c.file_path, c.base_hash, c.base_size, ", $base, ", c.mine_hash,
             c.mine_size, ", $mine, ", c.theirs_hash, c.theirs_size, ", $theirs, ", c.mine_device_id,
             c.theirs_device_id, c.seq, c.created_at, c.resolved_at, c.resolution, c.resolved_by
             FROM unnest($1::int4[], $2::text[], $3::text[]", $keys, ") AS u (i, account, usr", $key, ")
             JOIN np_sync_conflicts AS c ON c.source_account_id = u.account AND c.user_id = u.usr",
            $and
        )
    };
}

/// Locked in one order, whoever locks.
pub(in super::super) const HEADS_LOCKED: &str = heads!(" ORDER BY h.source_account_id, h.user_id FOR UPDATE OF h");
pub(in super::super) const HEADS: &str = heads!("");

/// The user's devices are counted where the one asked for is new.
pub(super) const DEVICES: &str = devices!(
    "CASE WHEN d.device_id IS NULL AND u.counted THEN (SELECT count(*) FROM np_sync_devices AS n
        WHERE n.source_account_id = u.account AND n.user_id = u.usr AND n.removed_at IS NULL) END",
    "unnest($1::int4[], $2::text[], $3::text[], $4::text[], $5::bool[]) AS u (i, account, usr, key, counted)
     LEFT JOIN np_sync_devices AS d
     ON d.source_account_id = u.account AND d.user_id = u.usr AND d.device_id = u.key"
);
pub(super) const ALL_DEVICES: &str = devices!(
    "NULL::int8",
    "unnest($1::int4[], $2::text[], $3::text[]) AS u (i, account, usr)
     JOIN np_sync_devices AS d ON d.source_account_id = u.account AND d.user_id = u.usr"
);

pub(super) const STATE: &str = state!(", key", ", $4::text[]", " AND s.key = u.key");
/// The fields of an entry follow its key and a slash; '0' is the character after '/'.
pub(super) const ENTRIES: &str =
    state!(", key", ", $4::text[]", " AND s.key > u.key || '/' AND s.key < u.key || '0'");
pub(super) const WHOLE_STATE: &str = state!("", "", "");

pub(super) const FILES: &str = files!(", key", ", $4::text[]", " AND f.key = u.key");
pub(super) const WHOLE_FILES: &str = files!("", "", " AND f.hash IS NOT NULL");

pub(super) const PUSHED: &str = "SELECT u.i, p.key, p.seq, p.at, p.hash
    FROM unnest($1::int4[], $2::text[], $3::text[], $4::text[], $5::text[]) AS u (i, account, usr, key, device)
    JOIN np_sync_pushed AS p
    ON p.source_account_id = u.account AND p.user_id = u.usr AND p.device_id = u.device AND p.key = u.key";

pub(super) const DELTAS: &str = "SELECT u.i, d.seq, d.device_id, d.created_at, d.tag, d.diff::text
    FROM unnest($1::int4[], $2::text[], $3::text[], $4::int8[], $5::int8[]) AS u (i, account, usr, above, upto)
    JOIN np_sync_deltas AS d
    ON d.source_account_id = u.account AND d.user_id = u.usr AND d.seq > u.above AND d.seq <= u.upto";

/// Causes above 2 were never head.
pub(super) const VALUES_AT: &str = "SELECT u.i, u.at, v.key, v.seq, v.no, v.cause, v.device_id, v.created_at, v.value::text
    FROM unnest($1::int4[], $2::text[], $3::text[], $4::text[], $5::int8[]) AS u (i, account, usr, key, at)
    CROSS JOIN LATERAL (SELECT * FROM np_sync_versions AS n
        WHERE n.source_account_id = u.account AND n.user_id = u.usr AND n.key = u.key
        AND n.seq <= u.at AND n.cause <= 2 ORDER BY n.seq DESC, n.no DESC LIMIT 1) AS v";

pub(super) const VERSIONS: &str = "SELECT u.i, v.key, v.seq, v.no, v.cause, v.device_id, v.created_at, v.value::text
    FROM unnest($1::int4[], $2::text[], $3::text[], $4::text[], $5::int8[], $6::int4[], $7::int8[])
        AS u (i, account, usr, key, seq, no, most)
    CROSS JOIN LATERAL (SELECT * FROM np_sync_versions AS n
        WHERE n.source_account_id = u.account AND n.user_id = u.usr AND n.key = u.key
        AND (n.seq, n.no) < (u.seq, u.no) ORDER BY n.seq DESC, n.no DESC LIMIT u.most) AS v
    ORDER BY v.seq DESC, v.no DESC";

/// The keyframe first, then the pieces of the pack. Two seqs may lie in one segment.
pub(super) const SEGMENTS: &str = "SELECT u.i, c.key, c.start, c.part, c.data
    FROM (SELECT DISTINCT w.i, w.account, w.usr, w.key, n.start
        FROM unnest($1::int4[], $2::text[], $3::text[], $4::text[], $5::int8[]) AS w (i, account, usr, key, at)
        CROSS JOIN LATERAL (SELECT m.start FROM np_sync_contents AS m
            WHERE m.source_account_id = w.account AND m.user_id = w.usr AND m.key = w.key AND m.start <= w.at
            ORDER BY m.start DESC LIMIT 1) AS n) AS u
    JOIN np_sync_contents AS c
    ON c.source_account_id = u.account AND c.user_id = u.usr AND c.key = u.key AND c.start = u.start
    ORDER BY c.part DESC";

pub(super) const HASHES: &str = "SELECT u.i, h.prefix, h.key, h.seq
    FROM unnest($1::int4[], $2::text[], $3::text[], $4::int8[]) AS u (i, account, usr, prefix)
    JOIN np_sync_hashes AS h
    ON h.source_account_id = u.account AND h.user_id = u.usr AND h.prefix = u.prefix ORDER BY h.seq DESC";

pub(super) const CONFLICTS_OF: &str = conflicts!(
    "NULL::bytea", "NULL::bytea", "NULL::bytea", ", key", ", $4::text[]",
    " AND c.resolved_at IS NULL AND c.mine_device_id = u.key"
);
pub(super) const CONFLICTS_BRIEF: &str =
    conflicts!("NULL::bytea", "NULL::bytea", "NULL::bytea", "", "", " AND c.resolved_at IS NULL");
pub(super) const CONFLICTS_OPEN: &str =
    conflicts!("c.base", "c.mine", "c.theirs", "", "", " AND c.resolved_at IS NULL");
pub(super) const CONFLICTS: &str =
    conflicts!("c.base", "c.mine", "c.theirs", ", key", ", $4::text[]", " AND c.id = u.key");
