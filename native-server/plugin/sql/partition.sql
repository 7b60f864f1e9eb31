-- Hash-partitions the tables by (source_account_id, user_id), which every statement of the server names: each touches one
-- partition. For data bases whose tables have outgrown one index's cache, or one disk.
--
--   psql "$ADMIN_URL" -v ON_ERROR_STOP=1 [-v partitions=16] -f sql/partition.sql       with all servers stopped
--
-- Rows are copied, so it takes their space once more until it is done. Grants are not: run sql/roles.sql afterwards.
\if :{?partitions} \else \set partitions 16 \endif

BEGIN;
SET LOCAL search_path TO np_sync;
SELECT set_config('np_sync.partitions', :'partitions', true);

DO $$
DECLARE
    partitions CONSTANT INTEGER := current_setting('np_sync.partitions');
    of RECORD;
    later TEXT[];
    statement TEXT;
BEGIN
    -- Tables that are not led by the two columns stay whole.
    FOR of IN
        SELECT c.oid, c.relname AS name, coalesce(' WITH (' || array_to_string(c.reloptions, ', ') || ')', '') AS options
        FROM pg_class AS c JOIN pg_index AS i ON i.indrelid = c.oid AND i.indisprimary
        WHERE c.relnamespace = 'np_sync'::regnamespace AND c.relkind = 'r' AND NOT c.relispartition
            AND pg_get_indexdef(i.indexrelid) LIKE '%(source\_account\_id, user\_id%'
    LOOP
        -- What has a name, or names the table, is made anew once the old one is gone.
        later := ARRAY(
            SELECT format('ALTER TABLE %I ADD CONSTRAINT %I %s', of.name, conname, pg_get_constraintdef(oid))
            FROM pg_constraint WHERE conrelid = of.oid AND contype IN ('p', 'u')
        ) || ARRAY(
            SELECT pg_get_indexdef(indexrelid) FROM pg_index
            WHERE indrelid = of.oid AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)
        ) || ARRAY(
            SELECT format('CREATE POLICY %I ON %I AS %s FOR %s TO %s', policyname, of.name, permissive, cmd,
                    (SELECT string_agg(quote_ident(role), ', ') FROM unnest(roles) AS role))
                || coalesce(' USING (' || qual || ')', '') || coalesce(' WITH CHECK (' || with_check || ')', '')
            FROM pg_policies WHERE schemaname = 'np_sync' AND tablename = of.name
        ) || ARRAY[format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', of.name)];
        EXECUTE format('ALTER TABLE %I RENAME TO %I', of.name, of.name || '_whole');
        EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING STORAGE INCLUDING CONSTRAINTS
            INCLUDING GENERATED INCLUDING IDENTITY) PARTITION BY HASH (source_account_id, user_id)',
            of.name, of.name || '_whole');
        FOR n IN 0 .. partitions - 1 LOOP
            EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES WITH (MODULUS %s, REMAINDER %s)%s',
                of.name || '_' || n, of.name, partitions, n, of.options);
            EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', of.name || '_' || n);
        END LOOP;
        EXECUTE format('INSERT INTO %I SELECT * FROM %I', of.name, of.name || '_whole');
        EXECUTE format('DROP TABLE %I', of.name || '_whole');
        FOREACH statement IN ARRAY later LOOP
            EXECUTE statement;
        END LOOP;
    END LOOP;
END
$$;

COMMIT;
