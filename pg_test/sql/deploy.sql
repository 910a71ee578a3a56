-- Versions, aliases and what a name means: within transactions, savepoints, prepared statements and loops.
\set ECHO none
\i fixtures/start.sql
-- Version n predicts n.
SELECT count(*) FROM generate_series(1, 4) n, damson.train('m', format('SELECT i AS x, %s AS y FROM generate_series(1, 9) i', n), 'y', 'linear', task => 'regression', split => 'none');
CREATE FUNCTION now_is(model text DEFAULT 'm') RETURNS int LANGUAGE sql STABLE AS 'SELECT round(damson.predict(model, 1)::numeric)::int';
\set ECHO all

-- case: the first version is deployed at once, later ones are not
SELECT alias, version, previous, action FROM damson.aliases;
SELECT now_is(), now_is('m@production'), now_is('m@1'), now_is('m@4');
-- case: deploy a version
CALL damson.deploy('m', version => 3);
SELECT now_is();
-- case: deploy the newest
CALL damson.deploy('m');
SELECT now_is();
-- case: deploy what is deployed
CALL damson.deploy('m', 4);
-- case: other aliases
CALL damson.deploy('m', 2, 'champion');
CALL damson.deploy('m', alias => 'the next one');
SELECT now_is('m@champion'), now_is('m@the next one'), now_is();
SELECT alias, version, previous, action FROM damson.aliases;
-- case: roll back, and once more
CALL damson.rollback('m');
SELECT now_is();
CALL damson.rollback('m');
SELECT now_is();
-- case: nothing is left to roll back to
SELECT expect($$CALL damson.rollback('m')$$);
SELECT expect($$CALL damson.rollback('m', 'champion')$$);
-- case: the history only grows
SELECT alias, version, action FROM damson.deployments;
-- case: a rollback of the transaction takes a deploy back
BEGIN;
CALL damson.deploy('m', 2);
SELECT now_is();
ROLLBACK;
SELECT now_is();
-- case: a rollback to a savepoint takes back what came after it
BEGIN;
CALL damson.deploy('m', 2);
SAVEPOINT s;
CALL damson.deploy('m', 3);
SELECT now_is();
ROLLBACK TO s;
SELECT now_is();
SAVEPOINT t;
CALL damson.deploy('m', 4);
RELEASE t;
SELECT now_is();
ROLLBACK TO s;
SELECT now_is();
COMMIT;
SELECT now_is();
-- case: an error after a deploy takes it back
BEGIN;
CALL damson.deploy('m', 4);
SELECT 1 / 0;
COMMIT;
SELECT now_is();
-- case: an exception block takes it back
DO $$
BEGIN
    BEGIN
        CALL damson.deploy('m', 4);
        RAISE NOTICE 'inside: %', now_is();
        RAISE EXCEPTION 'no';
    EXCEPTION WHEN raise_exception THEN
        RAISE NOTICE 'outside: %', now_is();
    END;
END $$;
-- case: a loop that scores follows the deploys in it
DO $$
DECLARE seen int[] := '{}';
BEGIN
    FOR v IN 1..4 LOOP
        CALL damson.deploy('m', v);
        seen := seen || round(damson.predict('m', 1)::numeric)::int;
    END LOOP;
    RAISE NOTICE 'seen: %', seen;
END $$;
-- case: a loop with transactions of its own
CREATE PROCEDURE go() LANGUAGE plpgsql AS $$
DECLARE seen int[] := '{}';
BEGIN
    FOR v IN 1..4 LOOP
        CALL damson.deploy('m', v);
        IF v % 2 = 0 THEN ROLLBACK; ELSE COMMIT; END IF;
        seen := seen || round(damson.predict('m', 1)::numeric)::int;
    END LOOP;
    RAISE NOTICE 'seen: %', seen;
END $$;
CALL go();
-- case: a prepared statement follows
SET plan_cache_mode = force_generic_plan;
PREPARE q AS SELECT round(damson.predict('m', 1)::numeric) AS now;
EXECUTE q;
CALL damson.deploy('m', 2);
EXECUTE q;
BEGIN;
CALL damson.deploy('m', 4);
EXECUTE q;
ROLLBACK;
EXECUTE q;
RESET plan_cache_mode;
-- case: one statement sees one version, even when a function in it deploys
CREATE FUNCTION deploys(v int) RETURNS int LANGUAGE plpgsql VOLATILE AS $$ BEGIN CALL damson.deploy('m', v); RETURN v; END $$;
SELECT deploys(1);
SELECT array_agg(DISTINCT p) AS seen FROM (SELECT round(damson.predict('m', i)::numeric) AS p, CASE WHEN i = 500 THEN deploys(3) END FROM generate_series(1, 1000) i) x;
SELECT now_is();
-- case: an open cursor keeps its version
CALL damson.deploy('m', 1);
BEGIN;
DECLARE c CURSOR FOR SELECT round(damson.predict('m', i)::numeric) AS p FROM generate_series(1, 9) i;
FETCH 1 FROM c;
CALL damson.deploy('m', 2);
FETCH 1 FROM c;
SELECT now_is();
COMMIT;
-- case: under REPEATABLE READ one sees one's own deploys
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT now_is();
CALL damson.deploy('m', 3);
SELECT now_is();
ROLLBACK;
SELECT now_is();
-- case: a read-only transaction cannot deploy, train or roll back
BEGIN READ ONLY;
SAVEPOINT s;
CALL damson.deploy('m', 3);
ROLLBACK TO s;
SELECT damson.train('m', 'SELECT 1 AS x, 2.0 AS y', 'y', 'linear', split => 'none');
ROLLBACK TO s;
CALL damson.rollback('m');
ROLLBACK;
-- case: a training that is rolled back leaves nothing and burns no number
BEGIN;
SELECT model, version FROM damson.train('m', 'SELECT i AS x, 5 AS y FROM generate_series(1, 9) i', 'y', 'linear', task => 'regression', split => 'none');
SELECT now_is('m@5');
ROLLBACK;
SELECT expect($$SELECT now_is('m@5')$$);
SELECT model, version FROM damson.train('m', 'SELECT i AS x, 5 AS y FROM generate_series(1, 9) i', 'y', 'linear', task => 'regression', split => 'none');
SELECT now_is('m@5');
-- case: a new model that is rolled back to a savepoint leaves nothing
BEGIN;
SAVEPOINT s;
SELECT model, version FROM damson.train('fleeting', 'SELECT i AS x, 5 AS y FROM generate_series(1, 9) i', 'y', 'linear', task => 'regression', split => 'none');
ROLLBACK TO s;
SELECT expect($$SELECT now_is('fleeting')$$);
COMMIT;
SELECT name FROM damson.models;
SELECT (SELECT count(*) FROM damson_catalog.versions) = (SELECT count(*) FROM damson_catalog.artifacts) AS artifacts, (SELECT count(*) FROM damson_catalog.versions) = (SELECT count(*) FROM damson_catalog.runs) AS runs;
-- case: two models in one transaction
BEGIN;
SELECT model, version FROM damson.train('left', 'SELECT i AS x, 7 AS y FROM generate_series(1, 9) i', 'y', 'linear', task => 'regression', split => 'none');
CALL damson.deploy('m', 5);
COMMIT;
SELECT now_is('left'), now_is();
-- case: a version for another task is refused before it is trained
SELECT expect($$SELECT damson.train('m', 'SELECT i AS x, i > 5 AS y FROM generate_series(1, 9) i', 'y', 'logistic', split => 'none')$$);

-- Bad deploys -------------------------------------------------------------------------------------------------

\t on
-- case: unknown model
SELECT expect($$CALL damson.deploy('n', 1)$$);
SELECT expect($$CALL damson.rollback('n')$$);
-- case: unknown version
SELECT expect($$CALL damson.deploy('m', 99)$$);
SELECT expect($$CALL damson.deploy('m', 0)$$);
-- case: an alias that would be a version
SELECT expect($$CALL damson.deploy('m', 1, '7')$$);
-- case: an alias with a sign
SELECT expect($$CALL damson.deploy('m', 1, 'a@b')$$);
-- case: an empty alias
SELECT expect($$CALL damson.deploy('m', 1, '')$$);
-- case: a model with an alias
SELECT expect($$CALL damson.deploy('m@champion', 1)$$);
-- case: NULL for the model
SELECT expect($$CALL damson.deploy(NULL, 1)$$);
SELECT expect($$CALL damson.rollback(NULL)$$);
-- case: roll back an alias that is not there
SELECT expect($$CALL damson.rollback('m', 'nobody')$$);

-- Names -------------------------------------------------------------------------------------------------------

-- case: rename, and score at once by the new name
CALL damson.rename_model('left', 'right');
SELECT now_is('right');
SELECT expect($$SELECT now_is('left')$$);
-- case: rename to a name that is taken, impossible, or the same
SELECT expect($$CALL damson.rename_model('right', 'm')$$);
SELECT expect($$CALL damson.rename_model('right', 'a@b')$$);
SELECT expect($$CALL damson.rename_model('right', NULL)$$);
SELECT expect($$CALL damson.rename_model('right', 'right')$$);
SELECT expect($$CALL damson.rename_model('left', 'up')$$);
-- case: swap two names
BEGIN;
CALL damson.rename_model('right', 'tmp');
CALL damson.rename_model('m', 'right');
CALL damson.rename_model('tmp', 'm');
SELECT now_is('m'), now_is('right');
ROLLBACK;
SELECT now_is('m'), now_is('right');
-- case: drop, with the scoring of it in the same transaction
BEGIN;
CALL damson.drop_model('right');
SELECT expect($$SELECT now_is('right')$$);
ROLLBACK;
SELECT now_is('right');
CALL damson.drop_model('right');
SELECT expect($$SELECT now_is('right')$$);
-- case: drop what is not there
SELECT expect($$CALL damson.drop_model('right')$$);
CALL damson.drop_model('right', missing_ok => true);
SELECT expect($$CALL damson.drop_model(NULL)$$);
-- case: a name that was dropped starts again at version 1
SELECT model, version FROM damson.train('right', 'SELECT i AS x, 8 AS y FROM generate_series(1, 9) i', 'y', 'linear', task => 'regression', split => 'none');
SELECT now_is('right');
-- case: dropping leaves no rows behind
CALL damson.drop_model('right');
CALL damson.drop_model('m');
SELECT (SELECT count(*) FROM damson_catalog.models), (SELECT count(*) FROM damson_catalog.versions), (SELECT count(*) FROM damson_catalog.artifacts), (SELECT count(*) FROM damson_catalog.runs), (SELECT count(*) FROM damson_catalog.metrics), (SELECT count(*) FROM damson_catalog.aliases), (SELECT count(*) FROM damson_catalog.deployments), (SELECT count(*) FROM damson_catalog.grants);
