-- Who may do what: owners, members, grants, row-level security, the catalog's own tables, search paths.
\set ECHO none
\i fixtures/start.sql
\i fixtures/data.sql
-- Roles are the whole server's: this file makes its own and drops them at its end.
SET client_min_messages = warning;
DROP ROLE IF EXISTS damson_ann, damson_bob, damson_team, damson_guest;
RESET client_min_messages;
CREATE ROLE damson_ann;
CREATE ROLE damson_bob;
CREATE ROLE damson_team;
CREATE ROLE damson_guest;
GRANT damson_team TO damson_bob;
GRANT CREATE, USAGE ON SCHEMA public TO damson_ann, damson_bob, damson_guest;
CREATE FUNCTION as_role(role text, statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('SET LOCAL ROLE %I', role);
    RETURN expect(statement);
END $$;
CREATE TABLE secrets AS SELECT i AS x, i * 2.0 AS y, CASE WHEN i % 2 = 0 THEN 'damson_ann' ELSE 'damson_bob' END AS keeper FROM generate_series(1, 100) i;
ALTER TABLE secrets ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON secrets USING (keeper = current_user);
GRANT SELECT ON secrets TO damson_ann, damson_bob;
CREATE TABLE hidden AS SELECT i AS x, i * 3.0 AS y FROM generate_series(1, 100) i;
\set ECHO all

-- Training ----------------------------------------------------------------------------------------------------

-- case: one trains on what one may read
SET ROLE damson_ann;
CREATE TABLE ann_data AS SELECT i AS x, i * 2.0 AS y FROM generate_series(1, 100) i;
SELECT model, version, train_rows + test_rows AS rows FROM damson.train('ann_model', 'ann_data', 'y', 'linear');
RESET ROLE;
-- case: the owner is the role that trained
SELECT name, owner FROM damson.models;
\t on
-- case: one cannot train on a table that one may not read
SET ROLE damson_ann;
SELECT expect($$SELECT damson.train('n', 'hidden', 'y', 'linear')$$);
-- case: nor on a column that one may not read
RESET ROLE;
GRANT SELECT (x) ON hidden TO damson_ann;
SET ROLE damson_ann;
SELECT expect($$SELECT damson.train('n', 'SELECT x, y FROM hidden', 'y', 'linear')$$);
-- case: nor evaluate on one
SELECT expect($$SELECT damson.evaluate('ann_model', 'hidden')$$);
-- case: row-level security hides rows from training
SELECT train_rows FROM damson.train('ann_secrets', 'secrets', 'y', 'linear', features => '{x}', split => 'none');
RESET ROLE;
SELECT train_rows FROM damson.train('all_secrets', 'secrets', 'y', 'linear', features => '{x}', split => 'none');
-- case: with row_security off the server refuses, rather than show all rows
SET ROLE damson_ann;
SET row_security = off;
SELECT expect($$SELECT damson.train('n', 'secrets', 'y', 'linear', features => '{x}')$$);
RESET row_security;
-- case: a view of the owner's shows what it shows
RESET ROLE;
CREATE VIEW window_on_hidden AS SELECT x, y FROM hidden WHERE x <= 40;
GRANT SELECT ON window_on_hidden TO damson_ann;
SET ROLE damson_ann;
SELECT train_rows FROM damson.train('ann_window', 'window_on_hidden', 'y', 'linear', split => 'none');
-- case: a SECURITY DEFINER function trains with its owner's rights
RESET ROLE;
CREATE FUNCTION train_hidden() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS $$SELECT train_rows FROM damson.train('hidden_model', 'SELECT * FROM public.hidden', 'y', 'linear', split => 'none')$$;
SET ROLE damson_ann;
SELECT train_hidden();
SELECT expect($$SELECT damson.predict('hidden_model', 1)$$);
RESET ROLE;
SELECT name, owner = current_user::regrole AS is_mine FROM damson.models WHERE name = 'hidden_model';
-- Others' models ----------------------------------------------------------------------------------------------

-- case: another can neither score nor look
SET ROLE damson_bob;
SELECT expect($$SELECT damson.predict('ann_model', 1)$$);
SELECT expect($$SELECT damson.predict('ann_model@1', 1)$$);
SELECT expect($$SELECT damson.evaluate('ann_model', 'secrets')$$);
SELECT expect($$SELECT damson.describe('ann_model')$$);
SELECT count(*) FROM damson.models;
SELECT (SELECT count(*) FROM damson.versions) + (SELECT count(*) FROM damson.aliases) + (SELECT count(*) FROM damson.runs) + (SELECT count(*) FROM damson.metrics) + (SELECT count(*) FROM damson.deployments);
-- case: nor train, deploy, roll back, rename, drop, grant
SELECT expect($$SELECT damson.train('ann_model', 'secrets', 'y', 'linear', features => '{x}')$$);
SELECT expect($$CALL damson.deploy('ann_model', 1)$$);
SELECT expect($$CALL damson.rollback('ann_model')$$);
SELECT expect($$CALL damson.rename_model('ann_model', 'bobs')$$);
SELECT expect($$CALL damson.drop_model('ann_model')$$);
SELECT expect($$CALL damson.grant_model('ann_model', 'damson_bob')$$);
SELECT expect($$CALL damson.revoke_model('ann_model', 'damson_ann')$$);
-- case: nor take its name
SELECT expect($$CALL damson.rename_model('ann_model', 'ann_model')$$);
-- case: a grant to a role serves its members
SET ROLE damson_ann;
CALL damson.grant_model('ann_model', 'damson_team');
SET ROLE damson_bob;
SELECT round(damson.predict('ann_model', 1)::numeric);
SELECT name, owner FROM damson.models;
SELECT run, source FROM damson.runs WHERE model = 'ann_model' AND source IS NOT NULL;
SELECT property FROM damson.describe('ann_model') WHERE property IN ('source', 'owner', 'granted to');
-- case: it gives no more than scoring
SELECT expect($$CALL damson.deploy('ann_model', 1)$$);
SELECT expect($$CALL damson.grant_model('ann_model', 'damson_guest')$$);
-- case: nor does it serve others
SET ROLE damson_guest;
SELECT expect($$SELECT damson.predict('ann_model', 1)$$);
-- case: the statement that was prepared before a revoke is refused after it
SET ROLE damson_bob;
PREPARE q AS SELECT round(damson.predict('ann_model', 1)::numeric);
EXECUTE q;
SET ROLE damson_ann;
CALL damson.revoke_model('ann_model', 'damson_team');
SET ROLE damson_bob;
SELECT expect('EXECUTE q');
-- case: a loop that changes its role in between is checked for each
RESET ROLE;
DO $$
DECLARE state text := '';
BEGIN
    FOR i IN 1..4 LOOP
        EXECUTE CASE WHEN i % 2 = 1 THEN 'SET LOCAL ROLE damson_ann' ELSE 'SET LOCAL ROLE damson_bob' END;
        BEGIN
            PERFORM damson.predict('ann_model', 1);
            state := state || ' allowed';
        EXCEPTION WHEN insufficient_privilege THEN
            state := state || ' denied';
        END;
    END LOOP;
    RAISE NOTICE '%', state;
END $$;
-- case: public is everybody
SET ROLE damson_ann;
CALL damson.grant_model('ann_model', 'public');
SET ROLE damson_guest;
SELECT round(damson.predict('ann_model', 1)::numeric);
SET ROLE damson_ann;
SELECT value FROM damson.describe('ann_model') WHERE property = 'granted to';
CALL damson.revoke_model('ann_model', 'public');
CALL damson.revoke_model('ann_model', 'public');
SET ROLE damson_guest;
SELECT expect($$SELECT damson.predict('ann_model', 1)$$);
-- case: a grant is part of its transaction
RESET ROLE;
BEGIN;
CALL damson.grant_model('ann_model', 'damson_guest');
SET LOCAL ROLE damson_guest;
SELECT round(damson.predict('ann_model', 1)::numeric);
ROLLBACK;
SET ROLE damson_guest;
SELECT expect($$SELECT damson.predict('ann_model', 1)$$);
-- case: members of the owner own
RESET ROLE;
GRANT damson_ann TO damson_bob;
SET ROLE damson_bob;
SELECT round(damson.predict('ann_model', 1)::numeric);
SELECT version FROM damson.train('ann_model', 'SELECT x, y FROM secrets', 'y', 'linear');
CALL damson.deploy('ann_model', 2);
RESET ROLE;
REVOKE damson_ann FROM damson_bob;
SELECT name, owner FROM damson.models WHERE name = 'ann_model';
-- case: bad grants
SELECT expect($$CALL damson.grant_model('ann_model', 'damson_nobody')$$);
SELECT expect($$CALL damson.grant_model('ann_model', 'damson_bob', 'train')$$);
SELECT expect($$CALL damson.grant_model('nothing', 'damson_bob')$$);
SELECT expect($$CALL damson.grant_model('ann_model', NULL)$$);
SELECT expect($$CALL damson.revoke_model('ann_model', 'damson_nobody')$$);

-- The catalog -------------------------------------------------------------------------------------------------

-- case: nobody writes or reads the catalog's tables
SET ROLE damson_ann;
SELECT expect('INSERT INTO damson_catalog.models (name, owner, task) VALUES (''x'', 0, ''regression'')');
SELECT expect('UPDATE damson_catalog.models SET owner = ''damson_ann''::regrole');
SELECT expect('DELETE FROM damson_catalog.versions');
SELECT expect('INSERT INTO damson_catalog.grants SELECT id, 0, ''predict'', 0 FROM damson_catalog.models');
SELECT expect('SELECT bytes FROM damson_catalog.artifacts');
SELECT expect('SELECT nextval(''damson_catalog.models_id_seq'')');
SELECT expect('TRUNCATE damson_catalog.aliases');
SELECT expect('SELECT * FROM damson_catalog.visible');
SELECT expect('UPDATE damson.models SET owner = ''damson_ann''::regrole');
SELECT expect('DELETE FROM damson.versions');
SELECT expect('CREATE TABLE damson.mine (a int)');
SELECT expect('CREATE FUNCTION damson.predict(text) RETURNS int LANGUAGE sql AS ''SELECT 1''');
-- case: a source cannot read the catalog either
SELECT expect($$SELECT damson.train('n', 'SELECT id, version AS y FROM damson_catalog.versions', 'y', 'linear')$$);
-- case: a function in a WHERE clause sees no row before it is allowed
CREATE FUNCTION peek(text) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS $$ BEGIN RAISE NOTICE 'seen: %', $1; RETURN true; END $$;
SELECT name FROM damson.models WHERE peek(name);
-- case: planted operators and functions are never called by the catalog's statements
RESET ROLE;
CREATE SCHEMA traps AUTHORIZATION damson_ann;
SET ROLE damson_ann;
CREATE FUNCTION traps.eq(text, text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'trap as %', current_user; RETURN true; END $$;
CREATE OPERATOR traps.= (LEFTARG = text, RIGHTARG = text, FUNCTION = traps.eq);
CREATE FUNCTION traps.now() RETURNS timestamptz LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'trap as %', current_user; RETURN 'epoch'; END $$;
CREATE FUNCTION traps.sha256(bytea) RETURNS bytea LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'trap as %', current_user; RETURN $1; END $$;
CREATE TEMP TABLE models AS SELECT 1 AS id;
SET search_path = traps, pg_temp, pg_catalog, public;
SELECT version FROM damson.train('ann_model', 'public.ann_data', 'y', 'linear');
CALL damson.deploy('ann_model', 3);
SELECT pg_catalog.round(damson.predict('ann_model', 1)::numeric);
SELECT pg_catalog.count(*) > 5 FROM damson.describe('ann_model');
RESET search_path;
-- case: a trigger or rule cannot be put on the catalog
SELECT expect('CREATE TRIGGER t AFTER INSERT ON damson_catalog.models EXECUTE FUNCTION suppress_redundant_updates_trigger()');
SELECT expect('CREATE RULE r AS ON INSERT TO damson_catalog.models DO ALSO NOTHING');
-- case: settings of the extension are the user's own
SET damson.threads = 1;
RESET damson.threads;
RESET ROLE;

-- case: a model whose owner is dropped is the superuser's to use
CREATE ROLE damson_leaver;
GRANT CREATE, USAGE ON SCHEMA public TO damson_leaver;
SET ROLE damson_leaver;
SELECT version FROM damson.train('orphan', 'SELECT i AS x, i * 2.0 AS y FROM generate_series(1, 9) i', 'y', 'linear', split => 'none');
RESET ROLE;
DROP OWNED BY damson_leaver;
SELECT expect('DROP ROLE damson_leaver');
SELECT round(damson.predict('orphan', 1)::numeric);
SELECT name, owner IS NOT NULL FROM damson.models WHERE name = 'orphan';
CALL damson.drop_model('orphan');

\set ECHO none
SET client_min_messages = warning;
DROP OWNED BY damson_ann, damson_bob, damson_team, damson_guest CASCADE;
DROP ROLE damson_ann, damson_bob, damson_team, damson_guest;
