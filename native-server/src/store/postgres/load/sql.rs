//! The statements that load. `i` is the member of the batch that asks.
//!
//! LATERAL and OFFSET 0 fence the planner in: each wish is looked up by index. Left to itself it would read a table from
//! end to end that was small when it planned, and that plan is kept. The lists are unnested side by side in SELECT: in
//! FROM the server would make a table of each.

/// Columns, lists beside those of member, account and user, and what is selected for each of their rows.
macro_rules! each {
    ($columns:expr, ($($lists:literal)?), $select:expr) => {
        concat!(
            "SELECT u.i, ",
            $columns,
            " FROM (SELECT unnest($1::int4[]) AS i, unnest($2::text[]) AS account, unnest($3::text[]) AS usr",
            $($lists,)?
            ") AS u CROSS JOIN LATERAL (",
            $select,
            ") AS r"
        )
    };
}

macro_rules! state {
    ($lists:tt, $and:literal) => {
        each!(
            "r.key, r.value::text, r.seq, r.device_id, r.changed_at",
            $lists,
            concat!(
                "SELECT * FROM np_sync_state AS s WHERE s.source_account_id = u.account AND s.user_id = u.usr",
                $and,
                " OFFSET 0"
            )
        )
    };
}

macro_rules! device_columns {
    () => {
        "d.device_id, d.platform, d.created_at, d.last_seen, d.seq, d.removed_at, d.sync_token, d.push_no,
         d.push_body, d.push_seq, d.push_tag, d.push_registered, d.push_results"
    };
}

/// Of a conflict, with its contents or with null in place of these.
macro_rules! conflict_columns {
    ($base:literal, $mine:literal, $theirs:literal) => {
        concat!(
            "r.id, r.collection, r.file_path, r.base_hash, r.base_size, ",
            $base,
            ", r.mine_hash, r.mine_size, ",
            $mine,
            ", r.theirs_hash, r.theirs_size, ",
            $theirs,
            ", r.mine_device_id, r.theirs_device_id, r.seq, r.created_at, r.resolved_at, r.resolution, r.resolved_by"
        )
    };
}

macro_rules! conflicts {
    ($columns:expr, $lists:tt, $and:literal) => {
        each!(
            $columns,
            $lists,
            concat!(
                "SELECT * FROM np_sync_conflicts AS c
                 WHERE c.source_account_id = u.account AND c.user_id = u.usr AND ",
                $and,
                " OFFSET 0"
            )
        )
    };
}

/// As the head has it, or, where it does not have it as of its seq, counted.
macro_rules! state_bytes {
    ($head:literal) => {
        concat!(
            "CASE WHEN ",
            $head,
            ".state_seq = ",
            $head,
            ".seq THEN ",
            $head,
            ".state_bytes ELSE
             (SELECT coalesce(sum(64 + octet_length(s.key) + coalesce(octet_length(s.value::text), 0)), 0)
                FROM np_sync_state AS s
                WHERE s.source_account_id = ",
            $head,
            ".source_account_id AND s.user_id = ",
            $head,
            ".user_id)
             + (SELECT coalesce(sum(64 + octet_length(f.key)), 0)
                FROM np_sync_files AS f
                WHERE f.source_account_id = ",
            $head,
            ".source_account_id AND f.user_id = ",
            $head,
            ".user_id) END"
        )
    };
}
pub(in super::super) use state_bytes;

macro_rules! heads {
    ($end:literal) => {
        each!(
            concat!(
                "r.epoch, r.seq, r.tag, r.floor, r.floor_tag, r.conflicts_open, r.standing, r.bytes, ",
                state_bytes!("r")
            ),
            (),
            concat!(
                "SELECT * FROM np_sync_heads AS h WHERE h.source_account_id = u.account AND h.user_id = u.usr",
                $end
            )
        )
    };
}

/// Locks in the order of the list.
pub(in super::super) const HEADS_LOCKED: &str = heads!(" FOR UPDATE");
pub(in super::super) const HEADS: &str = heads!(" OFFSET 0");

/// What nearly every call asks for, in one: a device (the user's devices are counted where it is new), a delta, the open
/// conflicts that a device made; and of a key its scalar, its document, and what a device last pushed for it.
pub(super) const ASKED: &str = concat!(
    "SELECT u.i, CASE WHEN u.counted AND d.device_id IS NULL THEN (SELECT count(*) FROM np_sync_devices AS n
        WHERE n.source_account_id = u.account AND n.user_id = u.usr AND n.removed_at IS NULL) END, ",
    device_columns!(),
    ", e.seq, e.device_id, e.created_at, e.tag, e.diff::text, ",
    conflict_columns!("NULL::bytea", "NULL::bytea", "NULL::bytea"),
    ", s.key, s.value::text, s.seq, s.device_id, s.changed_at, f.key, f.hash, f.size, f.seq, f.device_id,
       p.key, p.seq, p.at, p.hash
     FROM (SELECT unnest($1::int4[]) AS i, unnest($2::text[]) AS account, unnest($3::text[]) AS usr,
        unnest($4::text[]) AS device, unnest($5::bool[]) AS counted, unnest($6::int8[]) AS at,
        unnest($7::text[]) AS blocker, unnest($8::text[]) AS key, unnest($9::bool[]) AS scalar,
        unnest($10::bool[]) AS document, unnest($11::text[]) AS pusher) AS u
     LEFT JOIN LATERAL (SELECT * FROM np_sync_devices AS n
        WHERE n.source_account_id = u.account AND n.user_id = u.usr AND n.device_id = u.device OFFSET 0) AS d ON true
     LEFT JOIN LATERAL (SELECT * FROM np_sync_deltas AS n
        WHERE n.source_account_id = u.account AND n.user_id = u.usr AND n.seq = u.at OFFSET 0) AS e ON true
     LEFT JOIN LATERAL (SELECT * FROM np_sync_state AS n WHERE u.scalar
        AND n.source_account_id = u.account AND n.user_id = u.usr AND n.key = u.key OFFSET 0) AS s ON true
     LEFT JOIN LATERAL (SELECT * FROM np_sync_files AS n WHERE u.document
        AND n.source_account_id = u.account AND n.user_id = u.usr AND n.key = u.key OFFSET 0) AS f ON true
     LEFT JOIN LATERAL (SELECT * FROM np_sync_pushed AS n WHERE n.source_account_id = u.account
        AND n.user_id = u.usr AND n.device_id = u.pusher AND n.key = u.key OFFSET 0) AS p ON true
     LEFT JOIN LATERAL (SELECT * FROM np_sync_conflicts AS n
        WHERE n.source_account_id = u.account AND n.user_id = u.usr AND n.mine_device_id = u.blocker
        AND n.resolved_at IS NULL OFFSET 0) AS r ON true"
);
pub(super) const ALL_DEVICES: &str = concat!(
    "SELECT u.i, ",
    device_columns!(),
    " FROM (SELECT unnest($1::int4[]) AS i, unnest($2::text[]) AS account, unnest($3::text[]) AS usr) AS u
     CROSS JOIN LATERAL (SELECT * FROM np_sync_devices AS s
        WHERE s.source_account_id = u.account AND s.user_id = u.usr AND s.removed_at IS NULL OFFSET 0) AS d"
);

/// The fields of an entry follow its key and a slash; '0' is the character after '/'.
pub(super) const ENTRIES: &str =
    state!((", unnest($4::text[]) AS key"), " AND s.key > u.key || '/' AND s.key < u.key || '0'");
pub(super) const WHOLE_STATE: &str = state!((), "");

pub(super) const WHOLE_FILES: &str = each!(
    "r.key, r.hash, r.size, r.seq, r.device_id",
    (),
    "SELECT * FROM np_sync_files AS f
     WHERE f.source_account_id = u.account AND f.user_id = u.usr AND f.hash IS NOT NULL OFFSET 0"
);

pub(super) const DELTAS: &str = each!(
    "r.seq, r.device_id, r.created_at, r.tag, r.diff::text",
    (", unnest($4::int8[]) AS above, unnest($5::int8[]) AS upto"),
    "SELECT * FROM np_sync_deltas AS d WHERE d.source_account_id = u.account AND d.user_id = u.usr
     AND d.seq > u.above AND d.seq <= u.upto ORDER BY d.seq LIMIT 16"
);

/// Causes above 2 were never head.
pub(super) const VALUES_AT: &str = each!(
    "u.at, r.key, r.seq, r.no, r.cause, r.device_id, r.created_at, r.value::text",
    (", unnest($4::text[]) AS key, unnest($5::int8[]) AS at"),
    "SELECT * FROM np_sync_versions AS v
     WHERE v.source_account_id = u.account AND v.user_id = u.usr AND v.key = u.key
     AND v.seq <= u.at AND v.cause <= 2 ORDER BY v.seq DESC, v.no DESC LIMIT 1"
);

pub(super) const VERSIONS: &str = concat!(
    each!(
        "r.key, r.seq, r.no, r.cause, r.device_id, r.created_at, r.value::text",
        (", unnest($4::text[]) AS key, unnest($5::int8[]) AS seq, unnest($6::int4[]) AS no, unnest($7::int8[]) AS most"),
        "SELECT * FROM np_sync_versions AS v
         WHERE v.source_account_id = u.account AND v.user_id = u.usr AND v.key = u.key
         AND (v.seq, v.no) < (u.seq, u.no) ORDER BY v.seq DESC, v.no DESC LIMIT u.most"
    ),
    " ORDER BY r.seq DESC, r.no DESC"
);

/// The keyframe first, then the pieces of the pack. Two seqs may lie in one segment.
pub(super) const SEGMENTS: &str = "SELECT u.i, r.key, r.start, r.part, r.data
    FROM (SELECT DISTINCT w.i, w.account, w.usr, w.key, n.start
        FROM (SELECT unnest($1::int4[]) AS i, unnest($2::text[]) AS account, unnest($3::text[]) AS usr,
        unnest($4::text[]) AS key, unnest($5::int8[]) AS at) AS w
        CROSS JOIN LATERAL (SELECT m.start FROM np_sync_contents AS m
            WHERE m.source_account_id = w.account AND m.user_id = w.usr AND m.key = w.key AND m.start <= w.at
            ORDER BY m.start DESC LIMIT 1) AS n) AS u
    CROSS JOIN LATERAL (SELECT * FROM np_sync_contents AS c
        WHERE c.source_account_id = u.account AND c.user_id = u.usr AND c.key = u.key AND c.start = u.start
        OFFSET 0) AS r
    ORDER BY r.part DESC";

pub(super) const HASHES: &str = concat!(
    each!(
        "r.prefix, r.key, r.seq",
        (", unnest($4::int8[]) AS prefix"),
        "SELECT * FROM np_sync_hashes AS h
         WHERE h.source_account_id = u.account AND h.user_id = u.usr AND h.prefix = u.prefix OFFSET 0"
    ),
    " ORDER BY r.seq DESC"
);

pub(super) const CONFLICTS_BRIEF: &str =
    conflicts!(conflict_columns!("NULL::bytea", "NULL::bytea", "NULL::bytea"), (), "c.resolved_at IS NULL");
pub(super) const CONFLICTS: &str = conflicts!(
    conflict_columns!("r.base", "r.mine", "r.theirs"),
    (", unnest($4::text[]) AS key"),
    "c.id = u.key"
);
