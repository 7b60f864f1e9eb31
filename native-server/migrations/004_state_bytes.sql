-- What every snapshot of a user has to carry (the rows of scalars and of documents at head, without contents) as of state_seq:
-- where that is not the head's seq nobody has counted it yet, or a server did not that runs beside from the version before. Whoever
-- loads the head then counts: no row is looked at here, however many there are.
ALTER TABLE np_sync_heads ADD COLUMN state_bytes BIGINT, ADD COLUMN state_seq BIGINT;
