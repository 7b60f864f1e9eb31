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
