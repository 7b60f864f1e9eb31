//! The statements that write. Lists are unnested side by side in SELECT: in FROM the server would make a table of each.

pub(super) const NEW_HEADS: &str = "INSERT INTO np_sync_heads
        (source_account_id, user_id, epoch, seq, tag, floor, floor_tag, conflicts_open, bytes, state_bytes,
        state_seq)
    SELECT unnest($1::text[]), unnest($2::text[]), unnest($3::text[]), unnest($4::int8[]),
        unnest($5::bytea[]), unnest($6::int8[]), unnest($7::bytea[]), unnest($8::int8[]), unnest($9::int8[]),
        unnest($10::int8[]), unnest($4::int8[])
    ON CONFLICT DO NOTHING";

/// Heads are there, and locked: this finds them by index, whatever the planner thinks of the table's size.
pub(super) const HEADS: &str = "INSERT INTO np_sync_heads AS h
        (source_account_id, user_id, epoch, seq, tag, floor, floor_tag, conflicts_open, bytes, state_bytes,
        state_seq)
    SELECT unnest($1::text[]), unnest($2::text[]), unnest($3::text[]), unnest($4::int8[]),
        unnest($5::bytea[]), unnest($6::int8[]), unnest($7::bytea[]), unnest($8::int8[]), unnest($9::int8[]),
        unnest($10::int8[]), unnest($4::int8[])
    ON CONFLICT (source_account_id, user_id) DO UPDATE SET
        seq = excluded.seq, tag = excluded.tag, conflicts_open = excluded.conflicts_open,
        bytes = excluded.bytes, state_bytes = excluded.state_bytes, state_seq = excluded.seq";

pub(super) const DEVICES: &str = "INSERT INTO np_sync_devices
        (source_account_id, user_id, device_id, platform, created_at, last_seen, seq, removed_at, sync_token,
         push_no, push_body, push_seq, push_tag, push_registered, push_results)
    SELECT unnest($1::text[]), unnest($2::text[]), unnest($3::text[]), unnest($4::text[]),
        unnest($5::timestamptz[]), unnest($6::timestamptz[]), unnest($7::int8[]),
        unnest($8::timestamptz[]), unnest($9::bytea[]), unnest($10::int8[]), unnest($11::bytea[]),
        unnest($12::int8[]), unnest($13::bytea[]), unnest($14::bool[]), unnest($15::text[])
    ON CONFLICT (source_account_id, user_id, device_id) DO UPDATE SET
        last_seen = excluded.last_seen, seq = excluded.seq, removed_at = excluded.removed_at,
        sync_token = excluded.sync_token, push_no = excluded.push_no, push_body = excluded.push_body,
        push_seq = excluded.push_seq, push_tag = excluded.push_tag, push_registered = excluded.push_registered,
        push_results = excluded.push_results";

pub(super) const TOUCH: &str = "UPDATE np_sync_devices AS d
    SET last_seen = greatest(d.last_seen, u.last_seen), seq = greatest(d.seq, u.seq)
    FROM (SELECT unnest($1::text[]) AS account, unnest($2::text[]) AS usr, unnest($3::text[]) AS device,
        unnest($4::timestamptz[]) AS last_seen, unnest($5::int8[]) AS seq) AS u
    WHERE d.source_account_id = u.account AND d.user_id = u.usr AND d.device_id = u.device AND d.removed_at IS NULL";

pub(super) const FORGET: &str = "DELETE FROM np_sync_pushed AS p
    USING (SELECT unnest($1::text[]) AS account, unnest($2::text[]) AS usr, unnest($3::text[]) AS device) AS u
    WHERE p.source_account_id = u.account AND p.user_id = u.usr AND p.device_id = u.device";

pub(super) const PUSHED: &str = "INSERT INTO np_sync_pushed
        (source_account_id, user_id, device_id, key, seq, at, hash)
    SELECT unnest($1::text[]), unnest($2::text[]), unnest($3::text[]), unnest($4::text[]), unnest($5::int8[]),
        unnest($6::int8[]), unnest($7::bytea[])
    ON CONFLICT (source_account_id, user_id, device_id, key) DO UPDATE SET
        seq = excluded.seq, at = excluded.at, hash = excluded.hash";

pub(super) const DELTAS: &str = "INSERT INTO np_sync_deltas
        (source_account_id, user_id, seq, device_id, created_at, tag, diff)
    SELECT u.account, u.usr, u.seq, u.device, u.at, u.tag, u.diff::json
    FROM (SELECT unnest($1::text[]) AS account, unnest($2::text[]) AS usr, unnest($3::int8[]) AS seq,
        unnest($4::text[]) AS device, unnest($5::timestamptz[]) AS at, unnest($6::bytea[]) AS tag,
        unnest($7::text[]) AS diff) AS u";

pub(super) const STATE_DROP: &str = "DELETE FROM np_sync_state AS s
    USING (SELECT unnest($1::text[]) AS account, unnest($2::text[]) AS usr, unnest($3::text[]) AS key) AS u
    WHERE s.source_account_id = u.account AND s.user_id = u.usr AND s.key = u.key";

pub(super) const STATE: &str = "INSERT INTO np_sync_state
        (source_account_id, user_id, key, value, seq, device_id, changed_at)
    SELECT u.account, u.usr, u.key, u.value::json, u.seq, u.device, u.at
    FROM (SELECT unnest($1::text[]) AS account, unnest($2::text[]) AS usr, unnest($3::text[]) AS key,
        unnest($4::text[]) AS value, unnest($5::int8[]) AS seq, unnest($6::text[]) AS device,
        unnest($7::timestamptz[]) AS at) AS u
    ON CONFLICT (source_account_id, user_id, key) DO UPDATE SET
        value = excluded.value, seq = excluded.seq, device_id = excluded.device_id, changed_at = excluded.changed_at";

pub(super) const FILES: &str = "INSERT INTO np_sync_files
        (source_account_id, user_id, key, hash, size, seq, device_id)
    SELECT unnest($1::text[]), unnest($2::text[]), unnest($3::text[]), unnest($4::bytea[]),
        unnest($5::int8[]), unnest($6::int8[]), unnest($7::text[])
    ON CONFLICT (source_account_id, user_id, key) DO UPDATE SET
        hash = excluded.hash, size = excluded.size, seq = excluded.seq, device_id = excluded.device_id";

pub(super) const VERSIONS: &str = "INSERT INTO np_sync_versions
        (source_account_id, user_id, key, seq, no, cause, device_id, created_at, value)
    SELECT u.account, u.usr, u.key, u.seq, u.nth + coalesce((SELECT max(v.no) + 1 FROM np_sync_versions AS v
            WHERE v.source_account_id = u.account AND v.user_id = u.usr AND v.key = u.key AND v.seq = u.seq), 0),
        u.cause, u.device, u.at, u.value::json
    FROM (SELECT unnest($1::text[]) AS account, unnest($2::text[]) AS usr, unnest($3::text[]) AS key,
        unnest($4::int8[]) AS seq, unnest($5::int4[]) AS nth, unnest($6::int2[]) AS cause,
        unnest($7::text[]) AS device, unnest($8::timestamptz[]) AS at, unnest($9::text[]) AS value) AS u";

/// With numbers of another store.
pub(super) const VERSIONS_NUMBERED: &str = "INSERT INTO np_sync_versions
        (source_account_id, user_id, key, seq, no, cause, device_id, created_at, value)
    SELECT u.account, u.usr, u.key, u.seq, u.no, u.cause, u.device, u.at, u.value::json
    FROM (SELECT unnest($1::text[]) AS account, unnest($2::text[]) AS usr, unnest($3::text[]) AS key,
        unnest($4::int8[]) AS seq, unnest($5::int4[]) AS no, unnest($6::int2[]) AS cause,
        unnest($7::text[]) AS device, unnest($8::timestamptz[]) AS at, unnest($9::text[]) AS value) AS u";

pub(super) const CONTENTS: &str = "INSERT INTO np_sync_contents
        (source_account_id, user_id, key, start, part, data)
    SELECT unnest($1::text[]), unnest($2::text[]), unnest($3::text[]), unnest($4::int8[]), unnest($5::int4[]),
        unnest($6::bytea[])
    ON CONFLICT (source_account_id, user_id, key, start, part) DO UPDATE SET data = excluded.data";

pub(super) const HASHES: &str = "INSERT INTO np_sync_hashes (source_account_id, user_id, prefix, seq, key)
    SELECT unnest($1::text[]), unnest($2::text[]), unnest($3::int8[]), unnest($4::int8[]), unnest($5::text[])
    ON CONFLICT DO NOTHING";

pub(super) const CONFLICTS: &str = "INSERT INTO np_sync_conflicts
        (source_account_id, user_id, id, collection, file_path, base_hash, base_size, base, mine_hash, mine_size,
         mine, theirs_hash, theirs_size, theirs, mine_device_id, theirs_device_id, seq, created_at, resolved_at,
         resolution, resolved_by)
    SELECT unnest($1::text[]), unnest($2::text[]), unnest($3::text[]), unnest($4::text[]), unnest($5::text[]),
        unnest($6::bytea[]), unnest($7::int8[]), unnest($8::bytea[]), unnest($9::bytea[]),
        unnest($10::int8[]), unnest($11::bytea[]), unnest($12::bytea[]), unnest($13::int8[]),
        unnest($14::bytea[]), unnest($15::text[]), unnest($16::text[]), unnest($17::int8[]),
        unnest($18::timestamptz[]), unnest($19::timestamptz[]), unnest($20::text[]), unnest($21::text[])";

pub(super) const OUTBOX: &str = "INSERT INTO np_sync_outbox
        (source_account_id, user_id, seq, no, id, event_type, payload, recorded_at)
    SELECT u.account, u.usr, u.seq, u.no, u.id, u.event_type, u.payload::json, u.at
    FROM (SELECT unnest($1::text[]) AS account, unnest($2::text[]) AS usr, unnest($3::int8[]) AS seq,
        unnest($4::int4[]) AS no, unnest($5::text[]) AS id, unnest($6::text[]) AS event_type,
        unnest($7::text[]) AS payload, unnest($8::timestamptz[]) AS at) AS u";

pub(super) const DELIVERIES: &str = "INSERT INTO np_sync_deliveries
        (source_account_id, user_id, due_at, seq, failures)
    SELECT unnest($1::text[]), unnest($2::text[]), now(), unnest($3::int8[]), 0
    ON CONFLICT (source_account_id, user_id) DO UPDATE SET seq = excluded.seq";

pub(super) const RESOLVED: &str = "UPDATE np_sync_conflicts AS c
    SET resolved_at = u.at, resolution = u.resolution, resolved_by = u.device
    FROM (SELECT unnest($1::text[]) AS account, unnest($2::text[]) AS usr, unnest($3::text[]) AS id,
        unnest($4::timestamptz[]) AS at, unnest($5::text[]) AS resolution, unnest($6::text[]) AS device) AS u
    WHERE c.source_account_id = u.account AND c.user_id = u.usr AND c.id = u.id AND c.resolved_at IS NULL";
