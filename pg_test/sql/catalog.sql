-- Models, versions, aliases, grants: what the verbs of the catalog do and refuse.
\set SHOW_CONTEXT never
CREATE TABLE flowers AS
    SELECT i::float8 AS x, i % 7 AS z, CASE WHEN i % 7 < 3 THEN 'no' ELSE 'yes' END AS label, i * 0.5 AS y
    FROM generate_series(1, 500) i;
GRANT SELECT ON flowers TO PUBLIC;
-- Runs a statement that must fail; gives SQLSTATE, message and hint.
CREATE FUNCTION failure(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE message text; hint text;
BEGIN
    EXECUTE statement;
    RETURN 'it did not fail';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT;
    RETURN concat_ws(' | ', SQLSTATE, message, CASE WHEN length(hint) > 0 THEN hint END);
END $$;
CREATE FUNCTION means(reference text) RETURNS text LANGUAGE sql AS
$$ SELECT value FROM damson.describe(reference) WHERE property = 'version' $$;
-- case: the first version makes the model and is deployed, the second is not
SELECT model, version, algorithm, task, train_rows, test_rows, metric
FROM damson.train('m', 'flowers', target => 'label', algorithm => 'logistic', description => 'a test');
SELECT model, version FROM damson.train('m', 'SELECT x, z, label FROM flowers', target => 'label',
    algorithm => 'logistic', params => '{"C": 0.5}', seed => 7, split => 'stratified');
SELECT version FROM damson.train('m', 'flowers', target => 'label', algorithm => 'logistic',
    features => ARRAY['z', 'x'], folds => 3);
SELECT name, task, algorithm, production, newest, owner, description FROM damson.models;
SELECT model, version, aliases, algorithm, target, metric FROM damson.versions;
-- case: runs keep what they were asked and what they measured
SELECT model, version, status, train_rows, test_rows, seed, source, arguments -> 'params' AS params, role,
    length(fingerprint) AS fingerprint, code_version = damson.version() AS same_code
FROM damson.runs;
SELECT version, split, count(*) > 5 AS several FROM damson.metrics WHERE round IS NULL GROUP BY version, split ORDER BY 1, 2;
-- case: a model is described
SELECT * FROM damson.describe('m@3') WHERE property ~ '^(model|version|aliases|description|task|owner|params.C|target|classes|feature .|train rows)$';
-- case: a name that was never given
SELECT failure($$ SELECT damson.describe('nobody') $$);
SELECT failure($$ SELECT damson.describe('m@9') $$);
SELECT failure($$ SELECT damson.describe('m@champion') $$);
SELECT failure($$ CALL damson.deploy('nobody') $$);
SELECT failure($$ CALL damson.deploy('m', 9) $$);
SELECT failure($$ CALL damson.rollback('m', 'champion') $$);
SELECT failure($$ CALL damson.grant_model('m', 'nobody') $$);
SELECT split_part(failure($$ SELECT damson.parameters('nothing') $$), ' | ', 2) AS failure;
-- case: names that cannot be
SELECT failure($$ SELECT damson.train('', 'flowers') $$);
SELECT failure($$ SELECT damson.train('a@b', 'flowers', target => 'label', algorithm => 'logistic') $$);
SELECT failure($$ SELECT damson.train(' m', 'flowers', target => 'label', algorithm => 'logistic') $$);
SELECT failure($$ SELECT damson.train(E'a\nb', 'flowers', target => 'label', algorithm => 'logistic') $$);
SELECT failure(format('SELECT damson.train(%L, ''flowers'', target => ''label'', algorithm => ''logistic'')', repeat('x', 129)));
SELECT failure($$ SELECT damson.describe('m@0') $$);
SELECT failure($$ SELECT damson.describe('m@99999999999999999999') $$);
SELECT failure($$ SELECT damson.describe('m@a@b') $$);
SELECT failure($$ SELECT damson.describe('m@') $$);
SELECT failure($$ CALL damson.deploy('m@2') $$);
SELECT failure($$ CALL damson.deploy('m', 2, '17') $$);
-- case: NULL where a value is needed
SELECT failure($$ SELECT damson.train(NULL, 'flowers') $$);
SELECT failure($$ SELECT damson.train('m', NULL) $$);
SELECT failure($$ CALL damson.deploy(NULL) $$);
SELECT failure($$ CALL damson.rename_model('m', NULL) $$);
-- case: arguments of train that cannot be
SELECT failure($$ SELECT damson.train('m', 'flowers', target => 'label', algorithm => 'logistic', task => 'guessing') $$);
SELECT failure($$ SELECT damson.train('m', 'flowers', target => 'label', algorithm => 'logistic', split => 'fair') $$);
SELECT failure($$ SELECT damson.train('m', 'flowers', target => 'label', algorithm => 'logistic', folds => -1) $$);
SELECT failure($$ SELECT damson.train('m', 'flowers', target => 'label', algorithm => 'logistic', features => ARRAY['x', NULL]) $$);
SELECT failure($$ SELECT damson.train('m', 'flowers', target => 'y', algorithm => 'ridge') $$);
-- case: a failed training burns no number and leaves nothing
SELECT newest, (SELECT count(*) FROM damson.runs) AS runs FROM damson.models WHERE name = 'm';
-- case: deploy and roll back, step by step
CALL damson.deploy('m');
SELECT means('m'), means('m@production'), means('m@1');
CALL damson.deploy('m', version => 2);
CALL damson.deploy('m', 2, 'champion');
CALL damson.deploy('m', 2, 'champion');
SELECT model, alias, version, previous, action FROM damson.aliases;
CALL damson.rollback('m');
CALL damson.rollback('m');
SELECT failure($$ CALL damson.rollback('m') $$);
SELECT failure($$ CALL damson.rollback('m', alias => 'champion') $$);
SELECT alias, version, action, role FROM damson.deployments;
-- case: a deploy belongs to its transaction and savepoint
BEGIN;
CALL damson.deploy('m', 2);
SAVEPOINT s;
CALL damson.deploy('m', 3);
SELECT means('m');
ROLLBACK TO s;
SELECT means('m');
ROLLBACK;
SELECT means('m');
-- case: nothing changes in a read-only transaction
BEGIN READ ONLY;
SELECT means('m');
SELECT failure($$ CALL damson.deploy('m', 2) $$);
SELECT failure($$ SELECT damson.train('m', 'flowers', target => 'label', algorithm => 'logistic') $$);
COMMIT;
-- case: rename, drop, and any text as a name
CALL damson.grant_model('m', 'public');
CALL damson.rename_model('m', 'O''Hara "the" größte %s');
SELECT means('O''Hara "the" größte %s@champion');
SELECT failure($$ SELECT damson.describe('m') $$);
SELECT version FROM damson.train('m', 'flowers', target => 'y', algorithm => 'ridge');
SELECT failure($$ CALL damson.rename_model('m', 'O''Hara "the" größte %s') $$);
CALL damson.drop_model('O''Hara "the" größte %s');
CALL damson.drop_model('gone', missing_ok => true);
SELECT failure($$ CALL damson.drop_model('gone') $$);
SELECT name FROM damson.models;
SELECT (SELECT count(*) FROM damson_catalog.models) AS models, (SELECT count(*) FROM damson_catalog.runs) AS runs,
    (SELECT count(*) FROM damson_catalog.versions) AS versions, (SELECT count(*) FROM damson_catalog.artifacts) AS artifacts,
    (SELECT count(*) FROM damson_catalog.aliases) AS aliases, (SELECT count(*) FROM damson_catalog.deployments) AS deployments,
    (SELECT count(DISTINCT run) FROM damson_catalog.metrics) AS measured, (SELECT count(*) FROM damson_catalog.grants) AS grants;
-- case: another role sees and may nothing
CREATE ROLE regress_ann;
CREATE ROLE "regress_Bob";
CREATE ROLE regress_team ROLE "regress_Bob";
SET ROLE regress_ann;
SELECT version FROM damson.train('hers', 'flowers', target => 'y', algorithm => 'ridge');
SET ROLE "regress_Bob";
SELECT (SELECT count(*) FROM damson.models) + (SELECT count(*) FROM damson.versions) + (SELECT count(*) FROM damson.runs)
    + (SELECT count(*) FROM damson.aliases) + (SELECT count(*) FROM damson.metrics)
    + (SELECT count(*) FROM damson.deployments) AS seen;
SELECT failure($$ SELECT damson.describe('hers') $$);
SELECT failure($$ SELECT damson.evaluate('hers', 'flowers') $$);
SELECT failure($$ SELECT damson.train('hers', 'flowers', target => 'y', algorithm => 'ridge') $$);
SELECT failure($$ CALL damson.deploy('hers') $$);
SELECT failure($$ CALL damson.rollback('hers') $$);
SELECT failure($$ CALL damson.drop_model('hers', true) $$);
SELECT failure($$ CALL damson.rename_model('hers', 'mine') $$);
SELECT failure($$ CALL damson.grant_model('hers', 'regress_Bob') $$);
SELECT failure($$ CALL damson.revoke_model('hers', 'regress_Bob') $$);
-- case: nobody writes or reads the tables by hand
SELECT failure($$ TABLE damson_catalog.models $$);
SELECT failure($$ TABLE damson_catalog.visible $$);
SELECT failure($$ DELETE FROM damson_catalog.grants $$);
SELECT failure($$ SELECT nextval('damson_catalog.models_id_seq') $$);
SELECT failure($$ DELETE FROM damson.models $$);
-- case: a grant lets a role use a model, and no more
SET ROLE regress_ann;
CALL damson.grant_model('hers', 'regress_Bob');
CALL damson.grant_model('hers', 'regress_Bob');
SELECT failure($$ CALL damson.grant_model('hers', 'regress_Bob', 'deploy') $$);
SET ROLE "regress_Bob";
SELECT means('hers'), (SELECT count(*) FROM damson.evaluate('hers', 'flowers')) > 0 AS measured;
SELECT name, owner FROM damson.models;
SELECT source IS NULL AS hidden FROM damson.runs;
SELECT property, value FROM damson.describe('hers') WHERE property IN ('granted to', 'source');
SELECT failure($$ CALL damson.deploy('hers') $$);
SET ROLE regress_ann;
CALL damson.revoke_model('hers', 'regress_Bob');
CALL damson.revoke_model('hers', 'regress_Bob');
SET ROLE "regress_Bob";
SELECT failure($$ SELECT damson.describe('hers') $$);
-- case: a grant to a group, and to everybody
SET ROLE regress_ann;
CALL damson.grant_model('hers', 'regress_team');
SET ROLE "regress_Bob";
SELECT means('hers');
SET ROLE regress_ann;
CALL damson.revoke_model('hers', 'regress_team');
CALL damson.grant_model('hers', 'public');
SET ROLE "regress_Bob";
SELECT means('hers');
-- case: a member of the owner is an owner
RESET ROLE;
GRANT regress_ann TO "regress_Bob";
SET ROLE "regress_Bob";
CALL damson.deploy('hers', alias => 'bobs');
SELECT alias, role FROM damson.aliases;
-- case: no operator, function or table of a user's is ever run or read by the catalog's statements
RESET ROLE;
REVOKE regress_ann FROM "regress_Bob";
CREATE SCHEMA evil AUTHORIZATION "regress_Bob";
SET ROLE regress_ann;
CALL damson.revoke_model('hers', 'public');
SET ROLE "regress_Bob";
CREATE FUNCTION evil.is(text, text) RETURNS boolean LANGUAGE plpgsql AS
$$ BEGIN RAISE NOTICE 'evil runs as %', current_user; RETURN true; END $$;
CREATE OPERATOR evil.= (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.is);
CREATE FUNCTION evil.pg_has_role(oid, oid, text) RETURNS boolean LANGUAGE sql AS 'SELECT true';
CREATE TEMP TABLE models (name text);
SET search_path = evil, pg_temp, pg_catalog, public;
SELECT failure($$ SELECT damson.describe('hers') $$);
SELECT failure($$ CALL damson.deploy('hers') $$);
SELECT count(*) FROM damson.models;
SHOW search_path;
SELECT current_user;
RESET search_path;
RESET ROLE;
DROP SCHEMA evil CASCADE;
DROP TABLE pg_temp.models;
DROP ROLE regress_ann, "regress_Bob", regress_team;
-- case: a model whose owner is gone stays in the hands of superusers
SELECT name, owner::text ~ '^\d+$' AS nobodys FROM damson.models WHERE name = 'hers';
CALL damson.drop_model('hers');
