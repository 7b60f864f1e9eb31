-- Undoes 001_np_sync.sql, with all that was stored. The schema and the ledger stay.
DROP TABLE IF EXISTS np_sync_conflicts, np_sync_pushed, np_sync_hashes, np_sync_contents, np_sync_versions,
    np_sync_deltas, np_sync_files, np_sync_state, np_sync_devices, np_sync_heads;
DELETE FROM schema_migrations WHERE filename = '001_np_sync.sql';
