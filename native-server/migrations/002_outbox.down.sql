-- Undoes 002_outbox.sql: events that were not delivered are lost.
DROP TABLE IF EXISTS np_sync_dead_letters, np_sync_deliveries, np_sync_outbox;
DELETE FROM schema_migrations WHERE filename = '002_outbox.sql';
