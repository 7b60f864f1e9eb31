-- Two roles in place of a superuser: an owner, which migrates, and an app role, which reads and writes rows and can do
-- nothing else, in this schema or another.
--
--   psql "$ADMIN_URL" -v ON_ERROR_STOP=1 -f sql/roles.sql       as a superuser, or the owner of data base and tables
--   psql "$ADMIN_URL" -c '\password np_sync_owner' -c '\password np_sync_app'
--   DATABASE_URL=postgres://np_sync_owner:… nself-sync migrate
--   psql "$ADMIN_URL" -v ON_ERROR_STOP=1 -f sql/roles.sql       again: the tables are there now
--   DATABASE_URL=postgres://np_sync_app:… nself-sync serve
--
-- After an upgrade with new migrations: the last three again. It may be run at any time. Other names of the roles:
-- -v owner=… -v app=….
\if :{?owner} \else \set owner np_sync_owner \endif
\if :{?app} \else \set app np_sync_app \endif

SET client_min_messages = warning;
BEGIN;

SELECT format('CREATE ROLE %I LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS', name)
FROM unnest(ARRAY[:'owner', :'app']) AS name
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name)
\gexec

SELECT format('GRANT CONNECT ON DATABASE %I TO %I, %I', current_database(), :'owner', :'app')
\gexec

-- What a superuser has made before goes over to the owner.
CREATE SCHEMA IF NOT EXISTS np_sync;
ALTER SCHEMA np_sync OWNER TO :"owner";
SELECT format('ALTER TABLE np_sync.%I OWNER TO %I', relname, :'owner')
FROM pg_class
WHERE relnamespace = 'np_sync'::regnamespace AND relkind IN ('r', 'p')
\gexec

-- Rows of every table but the ledger of migrations, which is only read.
GRANT USAGE ON SCHEMA np_sync TO :"app";
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA np_sync TO :"app";
SELECT format('REVOKE INSERT, UPDATE, DELETE ON np_sync.schema_migrations FROM %I', :'app')
WHERE to_regclass('np_sync.schema_migrations') IS NOT NULL
\gexec
GRANT USAGE ON ALL SEQUENCES IN SCHEMA np_sync TO :"app";

-- A batch has the rows of many users in one statement, so the session cannot name the one whose rows it may see. The app
-- role sees all rows of these tables, by a policy of its own and not by BYPASSRLS, which would hold for every table of the
-- data base and takes a superuser to give.
SELECT format('DROP POLICY IF EXISTS np_sync_app ON np_sync.%I', relname),
    format('CREATE POLICY np_sync_app ON np_sync.%I TO %I USING (true) WITH CHECK (true)', relname, :'app')
FROM pg_class
WHERE relnamespace = 'np_sync'::regnamespace AND relkind IN ('r', 'p') AND relrowsecurity
\gexec

COMMIT;
