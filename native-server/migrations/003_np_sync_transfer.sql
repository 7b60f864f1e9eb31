-- Whether a user is served here. 0: yes; 1: an import is under way, import_progress says how far; 2: moved to another host.
ALTER TABLE np_sync_heads ADD COLUMN standing SMALLINT NOT NULL DEFAULT 0;
ALTER TABLE np_sync_heads ADD COLUMN import_progress TEXT;
