-- What every snapshot of a user has to carry: the rows of scalars and of documents at head, without contents.
ALTER TABLE np_sync_heads ADD COLUMN state_bytes BIGINT NOT NULL DEFAULT 0;
UPDATE np_sync_heads AS h SET state_bytes = (
        SELECT coalesce(sum(64 + octet_length(s.key) + coalesce(octet_length(s.value::text), 0)), 0)
        FROM np_sync_state AS s
        WHERE s.source_account_id = h.source_account_id AND s.user_id = h.user_id)
    + (SELECT coalesce(sum(64 + octet_length(f.key)), 0)
        FROM np_sync_files AS f
        WHERE f.source_account_id = h.source_account_id AND f.user_id = h.user_id);
