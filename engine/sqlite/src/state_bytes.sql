-- What every snapshot of a user has to carry: the rows of scalars and of documents at head, without contents.
ALTER TABLE np_sync_heads ADD COLUMN state_bytes INTEGER NOT NULL DEFAULT 0;
UPDATE np_sync_heads SET state_bytes = (
        SELECT coalesce(sum(64 + length(CAST(s.key AS BLOB)) + coalesce(length(CAST(s.value AS BLOB)), 0)), 0)
        FROM np_sync_state AS s WHERE s.user_no = np_sync_heads.user_no)
    + (SELECT coalesce(sum(64 + length(CAST(f.key AS BLOB))), 0)
        FROM np_sync_files AS f WHERE f.user_no = np_sync_heads.user_no);
