-- The tables of nself-sync, in the schema np_sync (the runner makes it, and names it in search_path).
--
-- (source_account_id, user_id) leads every primary key and every index: nothing crosses users, so it is the distribution
-- key where the data base is sharded. No foreign keys: a user's rows are written under that user's locked head. Keys order
-- by their bytes (COLLATE "C"): the fields of an entry are a range. Contents and hashes are bytes, JSON is kept as it was
-- written (json, not jsonb). Rows that are rewritten all the time leave room on their page, so that no index changes.

-- The newest point of each user's history. Locked by every exchange that writes.
CREATE TABLE np_sync_heads (
    source_account_id TEXT COLLATE "C" NOT NULL DEFAULT 'primary',
    user_id TEXT COLLATE "C" NOT NULL,
    epoch TEXT NOT NULL,
    seq BIGINT NOT NULL,
    tag BYTEA NOT NULL,
    floor BIGINT NOT NULL,
    floor_tag BYTEA NOT NULL,
    conflicts_open BIGINT NOT NULL,
    PRIMARY KEY (source_account_id, user_id)
) WITH (fillfactor = 50);

-- Devices, also removed ones. sync_token is the SHA-256 of the token's secret.
CREATE TABLE np_sync_devices (
    source_account_id TEXT COLLATE "C" NOT NULL DEFAULT 'primary',
    user_id TEXT COLLATE "C" NOT NULL,
    device_id TEXT COLLATE "C" NOT NULL,
    platform TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    last_seen TIMESTAMPTZ NOT NULL,
    seq BIGINT NOT NULL,
    removed_at TIMESTAMPTZ,
    sync_token BYTEA,
    push_no BIGINT,
    push_body BYTEA,
    push_seq BIGINT,
    push_tag BYTEA,
    push_registered BOOLEAN,
    push_results TEXT,
    PRIMARY KEY (source_account_id, user_id, device_id)
) WITH (fillfactor = 60);

-- The latest state by key: top-level scalars, fields, and (value null, key of an entry) removals.
CREATE TABLE np_sync_state (
    source_account_id TEXT COLLATE "C" NOT NULL DEFAULT 'primary',
    user_id TEXT COLLATE "C" NOT NULL,
    key TEXT COLLATE "C" NOT NULL,
    value JSON,
    seq BIGINT NOT NULL,
    device_id TEXT COLLATE "C" NOT NULL,
    changed_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (source_account_id, user_id, key)
) WITH (fillfactor = 70);

-- Documents at head; hash null: removed. The content is in np_sync_contents.
CREATE TABLE np_sync_files (
    source_account_id TEXT COLLATE "C" NOT NULL DEFAULT 'primary',
    user_id TEXT COLLATE "C" NOT NULL,
    key TEXT COLLATE "C" NOT NULL,
    hash BYTEA,
    size BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    device_id TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (source_account_id, user_id, key)
) WITH (fillfactor = 70);

-- What each seq changed, in the state's shape; documents by hash and size.
CREATE TABLE np_sync_deltas (
    source_account_id TEXT COLLATE "C" NOT NULL DEFAULT 'primary',
    user_id TEXT COLLATE "C" NOT NULL,
    seq BIGINT NOT NULL,
    device_id TEXT COLLATE "C" NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    tag BYTEA NOT NULL,
    diff JSON NOT NULL,
    PRIMARY KEY (source_account_id, user_id, seq)
);

-- The history of scalars. cause: 0 push, 1 merge, 2 resolve, 3 superseded, 4 conflict.
CREATE TABLE np_sync_versions (
    source_account_id TEXT COLLATE "C" NOT NULL DEFAULT 'primary',
    user_id TEXT COLLATE "C" NOT NULL,
    key TEXT COLLATE "C" NOT NULL,
    seq BIGINT NOT NULL,
    no INTEGER NOT NULL,
    cause SMALLINT NOT NULL,
    device_id TEXT COLLATE "C" NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    value JSON,
    PRIMARY KEY (source_account_id, user_id, key, seq, no)
);

-- The history of documents in segments: part 1 is the keyframe, parts 0, -1, … are the pack in pieces of a fixed size,
-- of which only the last is rewritten. What is large is deflated already.
CREATE TABLE np_sync_contents (
    source_account_id TEXT COLLATE "C" NOT NULL DEFAULT 'primary',
    user_id TEXT COLLATE "C" NOT NULL,
    key TEXT COLLATE "C" NOT NULL,
    start BIGINT NOT NULL,
    part INTEGER NOT NULL,
    data BYTEA NOT NULL,
    PRIMARY KEY (source_account_id, user_id, key, start, part)
) WITH (fillfactor = 80);
ALTER TABLE np_sync_contents ALTER COLUMN data SET STORAGE EXTERNAL;

-- Where contents are, by the first six bytes of their hash.
CREATE TABLE np_sync_hashes (
    source_account_id TEXT COLLATE "C" NOT NULL DEFAULT 'primary',
    user_id TEXT COLLATE "C" NOT NULL,
    prefix BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    key TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (source_account_id, user_id, prefix, seq, key)
);

-- What each device last pushed for a key.
CREATE TABLE np_sync_pushed (
    source_account_id TEXT COLLATE "C" NOT NULL DEFAULT 'primary',
    user_id TEXT COLLATE "C" NOT NULL,
    device_id TEXT COLLATE "C" NOT NULL,
    key TEXT COLLATE "C" NOT NULL,
    seq BIGINT NOT NULL,
    at BIGINT NOT NULL,
    hash BYTEA,
    PRIMARY KEY (source_account_id, user_id, device_id, key)
) WITH (fillfactor = 70);

-- Conflicts with all that they are about, until they are resolved and the retention is over.
CREATE TABLE np_sync_conflicts (
    source_account_id TEXT COLLATE "C" NOT NULL DEFAULT 'primary',
    user_id TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    collection TEXT COLLATE "C" NOT NULL,
    file_path TEXT COLLATE "C" NOT NULL,
    base_hash BYTEA,
    base_size BIGINT,
    base BYTEA,
    mine_hash BYTEA,
    mine_size BIGINT,
    mine BYTEA,
    theirs_hash BYTEA,
    theirs_size BIGINT,
    theirs BYTEA,
    mine_device_id TEXT COLLATE "C" NOT NULL,
    theirs_device_id TEXT COLLATE "C" NOT NULL,
    seq BIGINT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    resolved_at TIMESTAMPTZ,
    resolution TEXT,
    resolved_by TEXT COLLATE "C",
    PRIMARY KEY (source_account_id, user_id, id)
);
CREATE INDEX idx_np_sync_conflicts_open ON np_sync_conflicts (source_account_id, user_id, mine_device_id)
    WHERE resolved_at IS NULL;
CREATE INDEX idx_np_sync_conflicts_resolved ON np_sync_conflicts (source_account_id, user_id, resolved_at)
    WHERE resolved_at IS NOT NULL;

-- Roles without BYPASSRLS that do not own the tables see the rows of the account and user they say. The server says both
-- in every statement.
DO $$
DECLARE
    name TEXT;
BEGIN
    FOREACH name IN ARRAY ARRAY['heads', 'devices', 'state', 'files', 'deltas', 'versions', 'contents', 'hashes',
        'pushed', 'conflicts']
    LOOP
        EXECUTE format('ALTER TABLE np_sync_%s ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY np_sync_%s_own ON np_sync_%s
            USING (source_account_id = current_setting(''app.source_account_id'', true)
                AND user_id = current_setting(''app.current_user_id'', true))', name, name);
    END LOOP;
END
$$;
