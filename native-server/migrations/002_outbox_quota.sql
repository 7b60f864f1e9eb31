-- Events on their way to a webhook, recorded in the transaction of what they tell of. In the order of (seq, no).
CREATE TABLE np_sync_outbox (
    source_account_id TEXT COLLATE "C" NOT NULL DEFAULT 'primary',
    user_id TEXT COLLATE "C" NOT NULL,
    seq BIGINT NOT NULL,
    no INTEGER NOT NULL,
    id TEXT NOT NULL,
    event_type TEXT NOT NULL,
    payload JSON NOT NULL,
    recorded_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (source_account_id, user_id, seq, no)
);

-- Whose events wait: when they are next tried, up to which seq they are recorded, and the failures in a row. Who takes a
-- user's turn moves due_at into the future, so that no other process takes it meanwhile.
CREATE TABLE np_sync_deliveries (
    source_account_id TEXT COLLATE "C" NOT NULL DEFAULT 'primary',
    user_id TEXT COLLATE "C" NOT NULL,
    due_at TIMESTAMPTZ NOT NULL,
    seq BIGINT NOT NULL,
    failures BIGINT NOT NULL,
    failed_at TIMESTAMPTZ,
    PRIMARY KEY (source_account_id, user_id)
) WITH (fillfactor = 50);

-- The one index that no user leads: who is due is asked for all of them.
CREATE INDEX idx_np_sync_deliveries_due ON np_sync_deliveries (due_at);

-- Events that could not be delivered, until the retention is over.
CREATE TABLE np_sync_dead_letters (
    source_account_id TEXT COLLATE "C" NOT NULL DEFAULT 'primary',
    user_id TEXT COLLATE "C" NOT NULL,
    seq BIGINT NOT NULL,
    no INTEGER NOT NULL,
    id TEXT NOT NULL,
    event_type TEXT NOT NULL,
    payload JSON NOT NULL,
    recorded_at TIMESTAMPTZ NOT NULL,
    dead_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (source_account_id, user_id, seq, no)
);

DO $$
DECLARE
    name TEXT;
BEGIN
    FOREACH name IN ARRAY ARRAY['outbox', 'deliveries', 'dead_letters']
    LOOP
        EXECUTE format('ALTER TABLE np_sync_%s ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY np_sync_%s_own ON np_sync_%s
            USING (source_account_id = current_setting(''app.source_account_id'', true)
                AND user_id = current_setting(''app.current_user_id'', true))', name, name);
    END LOOP;
END
$$;

-- What a user stores, for the quota: contents, values, the sides of conflicts, and the keys of each.
ALTER TABLE np_sync_heads ADD COLUMN bytes BIGINT NOT NULL DEFAULT 0;
UPDATE np_sync_heads AS h SET bytes = (
        SELECT coalesce(sum(octet_length(c.data) + CASE WHEN c.part = 1 THEN octet_length(c.key) ELSE 0 END), 0)
        FROM np_sync_contents AS c
        WHERE c.source_account_id = h.source_account_id AND c.user_id = h.user_id)
    + (SELECT coalesce(sum(octet_length(v.key) + coalesce(octet_length(v.value::text), 0)), 0)
        FROM np_sync_versions AS v
        WHERE v.source_account_id = h.source_account_id AND v.user_id = h.user_id)
    + (SELECT coalesce(sum(coalesce(x.base_size, 0) + coalesce(x.mine_size, 0) + coalesce(x.theirs_size, 0)), 0)
        FROM np_sync_conflicts AS x
        WHERE x.source_account_id = h.source_account_id AND x.user_id = h.user_id);
