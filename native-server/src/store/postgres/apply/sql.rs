//! The statements that write.

pub(super) const NEW_HEADS: &str = "INSERT INTO np_sync_heads
        (source_account_id, user_id, epoch, seq, tag, floor, floor_tag, conflicts_open)
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::int8[], $5::bytea[], $6::int8[], $7::bytea[],
        $8::int8[])
    ON CONFLICT DO NOTHING";

/// Heads are there, and locked: this finds them by index, whatever the planner thinks of the table's size.
pub(super) const HEADS: &str = "INSERT INTO np_sync_heads AS h
        (source_account_id, user_id, epoch, seq, tag, floor, floor_tag, conflicts_open)
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::int8[], $5::bytea[], $6::int8[], $7::bytea[],
        $8::int8[])
    ON CONFLICT (source_account_id, user_id) DO UPDATE SET
        seq = excluded.seq, tag = excluded.tag, conflicts_open = excluded.conflicts_open";

pub(super) const DEVICES: &str = "INSERT INTO np_sync_devices
        (source_account_id, user_id, device_id, platform, created_at, last_seen, seq, removed_at, sync_token,
         push_no, push_body, push_seq, push_tag, push_registered, push_results)
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::timestamptz[],
        $7::int8[], $8::timestamptz[], $9::bytea[], $10::int8[], $11::bytea[], $12::int8[], $13::bytea[],
        $14::bool[], $15::text[])
    ON CONFLICT (source_account_id, user_id, device_id) DO UPDATE SET
        last_seen = excluded.last_seen, seq = excluded.seq, removed_at = excluded.removed_at,
        sync_token = excluded.sync_token, push_no = excluded.push_no, push_body = excluded.push_body,
        push_seq = excluded.push_seq, push_tag = excluded.push_tag, push_registered = excluded.push_registered,
        push_results = excluded.push_results";

pub(super) const TOUCH: &str = "UPDATE np_sync_devices AS d
    SET last_seen = greatest(d.last_seen, u.last_seen), seq = greatest(d.seq, u.seq)
    FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::int8[])
        AS u (account, usr, device, last_seen, seq)
    WHERE d.source_account_id = u.account AND d.user_id = u.usr AND d.device_id = u.device AND d.removed_at IS NULL";

pub(super) const FORGET: &str = "DELETE FROM np_sync_pushed AS p
    USING unnest($1::text[], $2::text[], $3::text[]) AS u (account, usr, device)
    WHERE p.source_account_id = u.account AND p.user_id = u.usr AND p.device_id = u.device";

pub(super) const PUSHED: &str = "INSERT INTO np_sync_pushed
        (source_account_id, user_id, device_id, key, seq, at, hash)
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::int8[], $6::int8[], $7::bytea[])
    ON CONFLICT (source_account_id, user_id, device_id, key) DO UPDATE SET
        seq = excluded.seq, at = excluded.at, hash = excluded.hash";

pub(super) const DELTAS: &str = "INSERT INTO np_sync_deltas
        (source_account_id, user_id, seq, device_id, created_at, tag, diff)
    SELECT u.account, u.usr, u.seq, u.device, u.at, u.tag, u.diff::json
    FROM unnest($1::text[], $2::text[], $3::int8[], $4::text[], $5::timestamptz[], $6::bytea[], $7::text[])
        AS u (account, usr, seq, device, at, tag, diff)";

pub(super) const STATE_DROP: &str = "DELETE FROM np_sync_state AS s
    USING unnest($1::text[], $2::text[], $3::text[]) AS u (account, usr, key)
    WHERE s.source_account_id = u.account AND s.user_id = u.usr AND s.key = u.key";

pub(super) const STATE: &str = "INSERT INTO np_sync_state
        (source_account_id, user_id, key, value, seq, device_id, changed_at)
    SELECT u.account, u.usr, u.key, u.value::json, u.seq, u.device, u.at
    FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::int8[], $6::text[], $7::timestamptz[])
        AS u (account, usr, key, value, seq, device, at)
    ON CONFLICT (source_account_id, user_id, key) DO UPDATE SET
        value = excluded.value, seq = excluded.seq, device_id = excluded.device_id, changed_at = excluded.changed_at";

pub(super) const FILES: &str = "INSERT INTO np_sync_files
        (source_account_id, user_id, key, hash, size, seq, device_id)
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bytea[], $5::int8[], $6::int8[], $7::text[])
    ON CONFLICT (source_account_id, user_id, key) DO UPDATE SET
        hash = excluded.hash, size = excluded.size, seq = excluded.seq, device_id = excluded.device_id";

pub(super) const VERSIONS: &str = "INSERT INTO np_sync_versions
        (source_account_id, user_id, key, seq, no, cause, device_id, created_at, value)
    SELECT u.account, u.usr, u.key, u.seq, u.nth + coalesce((SELECT max(v.no) + 1 FROM np_sync_versions AS v
            WHERE v.source_account_id = u.account AND v.user_id = u.usr AND v.key = u.key AND v.seq = u.seq), 0),
        u.cause, u.device, u.at, u.value::json
    FROM unnest($1::text[], $2::text[], $3::text[], $4::int8[], $5::int4[], $6::int2[], $7::text[],
        $8::timestamptz[], $9::text[]) AS u (account, usr, key, seq, nth, cause, device, at, value)";

pub(super) const CONTENTS: &str = "INSERT INTO np_sync_contents
        (source_account_id, user_id, key, start, part, data)
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::int8[], $5::int4[], $6::bytea[])
    ON CONFLICT (source_account_id, user_id, key, start, part) DO UPDATE SET data = excluded.data";

pub(super) const HASHES: &str = "INSERT INTO np_sync_hashes (source_account_id, user_id, prefix, seq, key)
    SELECT * FROM unnest($1::text[], $2::text[], $3::int8[], $4::int8[], $5::text[])
    ON CONFLICT DO NOTHING";

pub(super) const CONFLICTS: &str = "INSERT INTO np_sync_conflicts
        (source_account_id, user_id, id, collection, file_path, base_hash, base_size, base, mine_hash, mine_size,
         mine, theirs_hash, theirs_size, theirs, mine_device_id, theirs_device_id, seq, created_at)
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bytea[], $7::int8[],
        $8::bytea[], $9::bytea[], $10::int8[], $11::bytea[], $12::bytea[], $13::int8[], $14::bytea[], $15::text[],
        $16::text[], $17::int8[], $18::timestamptz[])";

pub(super) const RESOLVED: &str = "UPDATE np_sync_conflicts AS c
    SET resolved_at = u.at, resolution = u.resolution, resolved_by = u.device
    FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::text[], $6::text[])
        AS u (account, usr, id, at, resolution, device)
    WHERE c.source_account_id = u.account AND c.user_id = u.usr AND c.id = u.id AND c.resolved_at IS NULL";
