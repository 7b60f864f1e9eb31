-- One data base, many users: user_no stands for (source_account_id, user_id) and leads every key.
-- Times are milliseconds since 1970, hashes and tags are bytes, JSON is text.

-- standing: 0 served here, 1 an import is under way (import_progress: how far), 2 moved to another host. writes counts what
-- was written of the user, so that two reads can tell whether they saw the same.
CREATE TABLE np_sync_heads (
    user_no INTEGER PRIMARY KEY,
    source_account_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    epoch TEXT NOT NULL,
    seq INTEGER NOT NULL,
    tag BLOB NOT NULL,
    floor INTEGER NOT NULL,
    floor_tag BLOB NOT NULL,
    conflicts_open INTEGER NOT NULL,
    standing INTEGER NOT NULL DEFAULT 0,
    import_progress TEXT,
    writes INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL,
    UNIQUE (source_account_id, user_id)
);

CREATE TABLE np_sync_devices (
    user_no INTEGER NOT NULL,
    device_id TEXT NOT NULL,
    platform TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    last_seen INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    removed_at INTEGER,
    sync_token BLOB, -- SHA-256 of the secret
    push_no INTEGER,
    push_body BLOB,
    push_seq INTEGER,
    push_tag BLOB,
    push_registered INTEGER,
    push_results TEXT, -- null: none, or in pieces
    PRIMARY KEY (user_no, device_id)
) WITHOUT ROWID;

-- The latest state by key: top-level scalars, fields, and (value null, key of an entry) removals.
CREATE TABLE np_sync_state (
    user_no INTEGER NOT NULL,
    key TEXT NOT NULL,
    value TEXT,
    seq INTEGER NOT NULL,
    device_id TEXT NOT NULL,
    changed_at INTEGER NOT NULL,
    PRIMARY KEY (user_no, key)
) WITHOUT ROWID;

-- Documents at head; hash null: removed.
CREATE TABLE np_sync_files (
    user_no INTEGER NOT NULL,
    key TEXT NOT NULL,
    hash BLOB,
    size INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    device_id TEXT NOT NULL,
    PRIMARY KEY (user_no, key)
) WITHOUT ROWID;

CREATE TABLE np_sync_deltas (
    user_no INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    device_id TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    tag BLOB NOT NULL,
    diff TEXT, -- null: in pieces
    PRIMARY KEY (user_no, seq)
) WITHOUT ROWID;

-- The history of scalars.
CREATE TABLE np_sync_versions (
    user_no INTEGER NOT NULL,
    key TEXT NOT NULL,
    seq INTEGER NOT NULL,
    no INTEGER NOT NULL,
    cause INTEGER NOT NULL,
    device_id TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    value TEXT,
    PRIMARY KEY (user_no, key, seq, no)
) WITHOUT ROWID;

-- The history of documents in segments: parts 0, -1, … are the pack in pieces, 1, 2, … the keyframe.
CREATE TABLE np_sync_contents (
    user_no INTEGER NOT NULL,
    key TEXT NOT NULL,
    start INTEGER NOT NULL,
    part INTEGER NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (user_no, key, start, part)
);

-- Where contents are, by the first six bytes of their hash.
CREATE TABLE np_sync_hashes (
    user_no INTEGER NOT NULL,
    prefix INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    key TEXT NOT NULL,
    PRIMARY KEY (user_no, prefix, seq, key)
) WITHOUT ROWID;

-- What each device last pushed for a key.
CREATE TABLE np_sync_pushed (
    user_no INTEGER NOT NULL,
    device_id TEXT NOT NULL,
    key TEXT NOT NULL,
    seq INTEGER NOT NULL,
    at INTEGER NOT NULL,
    hash BLOB,
    PRIMARY KEY (user_no, device_id, key)
) WITHOUT ROWID;

CREATE TABLE np_sync_conflicts (
    user_no INTEGER NOT NULL,
    id TEXT NOT NULL,
    collection TEXT NOT NULL,
    file_path TEXT NOT NULL,
    base_hash BLOB,
    base_size INTEGER,
    base BLOB,
    mine_hash BLOB,
    mine_size INTEGER,
    mine BLOB,
    theirs_hash BLOB,
    theirs_size INTEGER,
    theirs BLOB,
    mine_device_id TEXT NOT NULL,
    theirs_device_id TEXT NOT NULL,
    seq INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    resolved_at INTEGER,
    resolution TEXT,
    resolved_by TEXT,
    PRIMARY KEY (user_no, id)
);

-- What is too large for its row: a delta's diff, a push's results, a conflict's base, mine, theirs.
CREATE TABLE np_sync_pieces (
    user_no INTEGER NOT NULL,
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    part INTEGER NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (user_no, kind, id, part)
);

CREATE INDEX idx_np_sync_conflicts_open ON np_sync_conflicts (user_no, mine_device_id)
WHERE resolved_at IS NULL;

-- Events to deliver, in the order of (seq, no).
CREATE TABLE np_sync_outbox (
    user_no INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    no INTEGER NOT NULL,
    id TEXT NOT NULL,
    event_type TEXT NOT NULL,
    payload TEXT NOT NULL,
    recorded_at INTEGER NOT NULL,
    PRIMARY KEY (user_no, seq, no)
) WITHOUT ROWID;

-- Whose events wait: when they are next tried, and the failures in a row.
CREATE TABLE np_sync_deliveries (
    user_no INTEGER PRIMARY KEY,
    due_at INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    failed_at INTEGER -- the first of them
);

CREATE INDEX idx_np_sync_deliveries_due ON np_sync_deliveries (due_at);

-- Events that could not be delivered, until the retention is over.
CREATE TABLE np_sync_dead_letters (
    user_no INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    no INTEGER NOT NULL,
    id TEXT NOT NULL,
    event_type TEXT NOT NULL,
    payload TEXT NOT NULL,
    recorded_at INTEGER NOT NULL,
    dead_at INTEGER NOT NULL,
    PRIMARY KEY (user_no, seq, no)
) WITHOUT ROWID;
