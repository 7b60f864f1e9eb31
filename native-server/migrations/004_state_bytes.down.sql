-- Undoes 004_state_bytes.sql.
ALTER TABLE np_sync_heads DROP COLUMN IF EXISTS state_bytes, DROP COLUMN IF EXISTS state_seq;
DELETE FROM schema_migrations WHERE filename = '004_state_bytes.sql';
