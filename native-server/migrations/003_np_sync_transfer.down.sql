-- Undoes 003_np_sync_transfer.sql. Users that were moved away are served again, and so are those whose import did not end:
-- look for them first (SELECT user_id FROM np_sync_heads WHERE standing <> 0).
ALTER TABLE np_sync_heads DROP COLUMN import_progress, DROP COLUMN standing;
DELETE FROM schema_migrations WHERE filename = '003_np_sync_transfer.sql';
