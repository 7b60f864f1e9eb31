//! The statements that prune one user: $1 is the account, $2 the user.

/// Statements here look at all of a user's rows: plans by what is there, for this transaction.
pub(super) const SESSION: &str = "SELECT set_config('plan_cache_mode', 'force_custom_plan', true),
    set_config('enable_hashjoin', 'on', true), set_config('enable_material', 'on', true)";

/// Users after one, and whether they are served here and have a delta, a resolved conflict or an event from before a time.
pub(super) const USERS: &str = "SELECT h.source_account_id, h.user_id, h.standing = 0 AND (
        coalesce((SELECT d.created_at FROM np_sync_deltas AS d
            WHERE d.source_account_id = h.source_account_id AND d.user_id = h.user_id
            ORDER BY d.source_account_id, d.user_id, d.seq LIMIT 1) < $3, false)
        OR EXISTS (SELECT 1 FROM np_sync_conflicts AS c
            WHERE c.source_account_id = h.source_account_id AND c.user_id = h.user_id AND c.resolved_at < $3)
        OR EXISTS (SELECT 1 FROM np_sync_dead_letters AS l
            WHERE l.source_account_id = h.source_account_id AND l.user_id = h.user_id AND l.dead_at < $3)
        OR EXISTS (SELECT 1 FROM np_sync_outbox AS o
            WHERE o.source_account_id = h.source_account_id AND o.user_id = h.user_id AND o.recorded_at < $3))
    FROM (SELECT source_account_id, user_id, standing FROM np_sync_heads WHERE (source_account_id, user_id) > ($1, $2)
        ORDER BY source_account_id, user_id LIMIT $4) AS h
    ORDER BY h.source_account_id, h.user_id";

pub(super) const LOCK: &str =
    "SELECT 1 FROM np_sync_heads WHERE source_account_id = $1 AND user_id = $2 AND standing = 0 FOR UPDATE";

/// What the user stores, counted anew. Sizes cost no reading of what they are of.
pub(in crate::store::postgres) const BYTES: &str = "UPDATE np_sync_heads SET bytes = (
        SELECT coalesce(sum(octet_length(data) + CASE WHEN part = 1 THEN octet_length(key) ELSE 0 END), 0)
        FROM np_sync_contents WHERE source_account_id = $1 AND user_id = $2)
    + (SELECT coalesce(sum(octet_length(key) + coalesce(octet_length(value::text), 0)), 0)
        FROM np_sync_versions WHERE source_account_id = $1 AND user_id = $2)
    + (SELECT coalesce(sum(coalesce(base_size, 0) + coalesce(mine_size, 0) + coalesce(theirs_size, 0)), 0)
        FROM np_sync_conflicts WHERE source_account_id = $1 AND user_id = $2),
    state_seq = seq, state_bytes = (
        SELECT coalesce(sum(64 + octet_length(key) + coalesce(octet_length(value::text), 0)), 0)
        FROM np_sync_state WHERE source_account_id = $1 AND user_id = $2)
    + (SELECT coalesce(sum(64 + octet_length(key)), 0)
        FROM np_sync_files WHERE source_account_id = $1 AND user_id = $2)
    WHERE source_account_id = $1 AND user_id = $2";

pub(super) const DEAD_LETTERS: &str = "DELETE FROM np_sync_dead_letters
    WHERE source_account_id = $1 AND user_id = $2 AND dead_at < $3";

/// What nobody has delivered: no webhook is configured any more.
pub(super) const OUTBOX: &str = "DELETE FROM np_sync_outbox
    WHERE source_account_id = $1 AND user_id = $2 AND recorded_at < $3";

pub(super) const CONFLICTS: &str = "WITH gone AS (DELETE FROM np_sync_conflicts
        WHERE source_account_id = $1 AND user_id = $2 AND resolved_at < $3 RETURNING 1)
    SELECT count(*) FROM gone";

/// The newest of the oldest deltas before which, up to a number of them, all are old.
pub(super) const FLOOR: &str = "SELECT o.seq, o.tag FROM (
        SELECT d.seq, d.tag, bool_and(d.created_at < $3) OVER (ORDER BY d.seq) AS is_old
        FROM (SELECT seq, tag, created_at FROM np_sync_deltas
            WHERE source_account_id = $1 AND user_id = $2 ORDER BY seq LIMIT $4) AS d) AS o
    WHERE o.is_old ORDER BY o.seq DESC LIMIT 1";

pub(super) const HEAD: &str = "UPDATE np_sync_heads SET floor = $3, floor_tag = $4
    WHERE source_account_id = $1 AND user_id = $2";

/// Of what devices last pushed, the rows that their device's seq says have served.
pub(super) const SERVED: &str = "DELETE FROM np_sync_pushed AS p USING np_sync_devices AS d
    WHERE p.source_account_id = $1 AND p.user_id = $2
    AND d.source_account_id = $1 AND d.user_id = $2 AND d.device_id = p.device_id AND p.seq <= d.seq";

pub(super) const DELTAS: &str = "WITH gone AS (DELETE FROM np_sync_deltas
        WHERE source_account_id = $1 AND user_id = $2 AND seq <= $3 RETURNING 1)
    SELECT count(*) FROM gone";

/// The newest of each key that was head once stays, whatever its age: it is the value until the next.
pub(super) const VERSIONS: &str = "WITH gone AS (DELETE FROM np_sync_versions AS o
        WHERE o.source_account_id = $1 AND o.user_id = $2 AND o.seq <= $3 AND (
            (o.cause > 2 AND o.created_at < $4) OR (o.cause <= 2 AND EXISTS (
                SELECT 1 FROM np_sync_versions AS v
                WHERE v.source_account_id = $1 AND v.user_id = $2 AND v.key = o.key
                AND v.seq > o.seq AND v.seq <= $3 AND v.cause <= 2))) RETURNING 1)
    SELECT count(*) FROM gone";

pub(super) const SEGMENTS: &str = "WITH gone AS (DELETE FROM np_sync_contents AS c
        WHERE c.source_account_id = $1 AND c.user_id = $2 AND c.start < $3 AND EXISTS (
            SELECT 1 FROM np_sync_contents AS n
            WHERE n.source_account_id = $1 AND n.user_id = $2 AND n.key = c.key
            AND n.start > c.start AND n.start <= $3)
        AND NOT EXISTS (
            SELECT 1 FROM np_sync_pushed AS p
            WHERE p.source_account_id = $1 AND p.user_id = $2 AND p.key = c.key
            AND p.hash IS NOT NULL AND p.at >= c.start AND p.at < (
                SELECT min(n.start) FROM np_sync_contents AS n
                WHERE n.source_account_id = $1 AND n.user_id = $2 AND n.key = c.key AND n.start > c.start))
        RETURNING c.part)
    SELECT count(*) FILTER (WHERE part = 0) FROM gone";

pub(super) const REMOVED_STATE: &str = "DELETE FROM np_sync_state
    WHERE source_account_id = $1 AND user_id = $2 AND seq <= $3 AND value IS NULL RETURNING key, seq";

/// The fields that an entry's removal hid.
pub(super) const HIDDEN_STATE: &str = "DELETE FROM np_sync_state AS s
    USING unnest($3::text[], $4::int8[]) AS u (key, seq)
    WHERE s.source_account_id = $1 AND s.user_id = $2
    AND s.key > u.key || '/' AND s.key < u.key || '0' AND s.seq <= u.seq";

/// What a removed key had been: of no use to anybody from here on.
pub(super) const REMOVED_VERSIONS: &str = "DELETE FROM np_sync_versions AS v
    WHERE v.source_account_id = $1 AND v.user_id = $2 AND v.seq <= $3 AND v.cause <= 2 AND NOT EXISTS (
        SELECT 1 FROM np_sync_state AS s
        WHERE s.source_account_id = $1 AND s.user_id = $2 AND s.key = v.key)";

/// Contents that were only ever in a conflict.
pub(super) const STRAY_CONTENTS: &str = "DELETE FROM np_sync_contents AS c
    WHERE c.source_account_id = $1 AND c.user_id = $2 AND NOT EXISTS (
        SELECT 1 FROM np_sync_files AS f
        WHERE f.source_account_id = $1 AND f.user_id = $2 AND f.key = c.key)
    AND NOT EXISTS (
        SELECT 1 FROM np_sync_hashes AS h
        WHERE h.source_account_id = $1 AND h.user_id = $2 AND h.key = c.key AND h.seq > $3)
    AND NOT EXISTS (
        SELECT 1 FROM np_sync_pushed AS p
        WHERE p.source_account_id = $1 AND p.user_id = $2 AND p.key = c.key AND p.hash IS NOT NULL)";

pub(super) const REMOVED_FILES: &str = "DELETE FROM np_sync_files AS f
    WHERE f.source_account_id = $1 AND f.user_id = $2 AND f.seq <= $3 AND f.hash IS NULL AND NOT EXISTS (
        SELECT 1 FROM np_sync_pushed AS p
        WHERE p.source_account_id = $1 AND p.user_id = $2 AND p.key = f.key AND p.hash IS NOT NULL)
    AND NOT EXISTS (
        SELECT 1 FROM np_sync_hashes AS h
        WHERE h.source_account_id = $1 AND h.user_id = $2 AND h.key = f.key AND h.seq > $3)
    RETURNING f.key";

pub(super) const REMOVED_CONTENTS: &str = "DELETE FROM np_sync_contents
    WHERE source_account_id = $1 AND user_id = $2 AND key = ANY ($3)";

pub(super) const REMOVED_HASHES: &str = "DELETE FROM np_sync_hashes
    WHERE source_account_id = $1 AND user_id = $2 AND key = ANY ($3)";

/// Documents with more than one content up to the floor.
pub(super) const TRIM_KEYS: &str = "SELECT key FROM np_sync_hashes
    WHERE source_account_id = $1 AND user_id = $2 AND seq <= $3 GROUP BY key HAVING count(*) > 1";

/// Which of their contents devices last pushed.
pub(super) const TRIM_NEEDED: &str = "SELECT key, hash, at FROM np_sync_pushed
    WHERE source_account_id = $1 AND user_id = $2 AND at <= $3 AND key = ANY ($4) AND hash IS NOT NULL";

pub(super) const TRIM_CONTENTS: &str = "DELETE FROM np_sync_contents AS c
    USING unnest($3::text[], $4::int8[]) AS u (key, start)
    WHERE c.source_account_id = $1 AND c.user_id = $2 AND c.key = u.key AND c.start = u.start";

/// The places up to the floor, but that of the version that stands at each segment's new beginning.
pub(super) const TRIM_HASHES: &str = "DELETE FROM np_sync_hashes AS h
    USING unnest($3::text[], $5::int8[], $6::int8[]) AS u (key, seq, prefix)
    WHERE h.source_account_id = $1 AND h.user_id = $2 AND h.key = u.key AND h.seq <= $4
    AND NOT (h.seq = u.seq AND h.prefix IS NOT DISTINCT FROM u.prefix)";

/// The places whose segment is gone.
pub(super) const HASHES: &str = "DELETE FROM np_sync_hashes AS h
    WHERE h.source_account_id = $1 AND h.user_id = $2 AND h.seq <= $3 AND NOT EXISTS (
        SELECT 1 FROM np_sync_contents AS c
        WHERE c.source_account_id = $1 AND c.user_id = $2 AND c.key = h.key AND c.start <= h.seq)";
