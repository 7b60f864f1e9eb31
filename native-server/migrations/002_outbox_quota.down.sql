-- Undoes 002_outbox_quota.sql: events that were not delivered are lost.
ALTER TABLE np_sync_heads DROP COLUMN IF EXISTS bytes;
DROP TABLE IF EXISTS np_sync_dead_letters, np_sync_deliveries, np_sync_outbox;
DELETE FROM schema_migrations WHERE filename = '002_outbox_quota.sql';
