-- Versions that a policy does not keep.
\set ECHO none
\i fixtures/start.sql
-- Version n predicts n.
CREATE FUNCTION fit(n int) RETURNS bigint LANGUAGE sql AS $$
SELECT version FROM damson.train('m', format('SELECT i AS x, %s AS y FROM generate_series(1, 9) i', n), 'y', 'linear', task => 'regression', split => 'none') $$;
SELECT count(fit(n)) FROM generate_series(1, 6) n;
CREATE VIEW kept AS SELECT string_agg(version::text, ' ' ORDER BY version) AS kept FROM damson.versions WHERE model = 'm' AND expired IS NULL;
\set ECHO all

-- case: without a policy all are kept
SELECT * FROM damson.expire_versions();
SELECT * FROM kept;
-- case: the newest, what aliases mean and what a rollback would bring back are always kept
CALL damson.deploy('m', 3);
CALL damson.deploy('m', 2, 'champion');
CALL damson.set_policy('m', keep_versions => 1);
SELECT * FROM kept;
SELECT version, expired IS NOT NULL AS expired, bytes > 0 AS bytes FROM damson.versions WHERE model = 'm';
SELECT count(DISTINCT version) FROM damson_catalog.artifacts;
-- case: a version that expired is an error that says so, wherever it is named
SELECT regexp_replace(expect($$SELECT damson.predict('m@4', 1)$$), 'at \d{4}.*?\n', E'at TIME\n');
SELECT split_part(expect($$CALL damson.deploy('m', 4)$$), ' at ', 1);
SELECT split_part(expect($$SELECT damson.describe('m@4')$$), ' at ', 1);
SELECT split_part(expect($$SELECT damson.train('m', 'SELECT i AS x, 4 AS y FROM generate_series(1, 9) i', 'y', 'boosting', init_model => 'm@5')$$), ' at ', 1);
SELECT split_part(expect($$SELECT * FROM damson.shadow('m', 'SELECT 1 AS x', '5')$$), ' at ', 1);
-- case: all else of it stays
SELECT count(*) > 0 AS metrics FROM damson.metrics WHERE model = 'm' AND version = 4;
SELECT count(*) FROM damson.baselines WHERE model = 'm' AND version = 4;
-- case: training expires what is too old then
SELECT fit(7);
SELECT * FROM kept;
-- case: so does a deployment, and what a rollback brings back is there
CALL damson.deploy('m', 7);
CALL damson.rollback('m');
SELECT round(damson.predict('m', 1)::numeric);
-- case: a rollback beyond that says that it cannot
CALL damson.deploy('m', 2);
CALL damson.deploy('m', 7);
CALL damson.deploy('m', 2, 'champion');
SELECT * FROM kept;
CALL damson.rollback('m');
SELECT split_part(expect($$CALL damson.rollback('m')$$), ' at ', 1);
SELECT * FROM kept;
-- case: a rollback of the transaction brings artifacts back
CALL damson.set_policy('m', keep_versions => 0);
SELECT fit(8);
SELECT fit(9);
BEGIN;
CALL damson.set_policy('m', keep_versions => 1);
SELECT * FROM kept;
SELECT split_part(expect($$SELECT damson.predict('m@8', 1)$$), ' at ', 1);
ROLLBACK;
SELECT * FROM kept;
SELECT round(damson.predict('m@8', 1)::numeric);
-- case: days count from when the last alias left a version
CALL damson.deploy('m', 8);
CALL damson.deploy('m', 9);
CALL damson.deploy('m', 8);
CALL damson.deploy('m', 7);
UPDATE damson_catalog.versions SET created = now() - interval '100 days';
CALL damson.set_policy('m', keep_days => 30);
SELECT * FROM kept;
SELECT fit(10);
SELECT fit(11);
UPDATE damson_catalog.versions SET created = now() - interval '100 days';
UPDATE damson_catalog.deployments SET at = at - interval '40 days';
SELECT model, version, bytes > 0 AS bytes FROM damson.expire_versions('m');
SELECT * FROM kept;
-- case: a version is kept by any limit
CALL damson.set_policy('m', keep_versions => 0, keep_days => 0);
SELECT fit(12);
SELECT fit(13);
UPDATE damson_catalog.versions SET created = now() - interval '100 days';
CALL damson.set_policy('m', keep_versions => 3, keep_days => 30);
SELECT * FROM kept;
CALL damson.set_policy('m', keep_versions => 2);
SELECT * FROM kept;
-- case: what production was on a day whose version expired
UPDATE damson_catalog.deployments d SET at = timestamptz '2026-01-10 12:00+00' FROM damson_catalog.versions v WHERE v.id = d.version AND v.version = 1;
SET timezone = 'UTC';
SELECT split_part(expect($$SELECT damson.predict('m@2026-01-10', 1)$$), ' at ', 1);
-- case: what went on from a version that expired cannot be trained again, and says why
SELECT version FROM damson.train('g', 'SELECT i AS x, i % 7 AS y FROM generate_series(1, 90) i', 'y', 'boosting', params => '{"trees": 3}', split => 'none', task => 'regression');
SELECT version FROM damson.train('g', 'SELECT i AS x, i % 7 AS y FROM generate_series(1, 90) i', 'y', 'boosting', params => '{"trees": 3}', split => 'none', task => 'regression', init_model => 'g@1');
CALL damson.deploy('g', 2);
SELECT same FROM damson.reproduce('g@2') WHERE what = 'artifact';
SELECT version FROM damson.train('g', 'SELECT i AS x, i % 7 AS y FROM generate_series(1, 90) i', 'y', 'boosting', params => '{"trees": 3}', split => 'none', task => 'regression');
CALL damson.deploy('g', 3);
CALL damson.set_policy('g', keep_versions => 1);
SELECT round(damson.predict('g@2', 1)::numeric, 1) = round(damson.predict('g@2', 1)::numeric, 1) AS scores;
SELECT what, recorded IS NOT NULL AS recorded, found, same FROM damson.reproduce('g@2');
-- case: of models that are not there or not one's own
SELECT expect($$SELECT damson.expire_versions('nothing')$$);
SELECT action, details FROM damson.audit WHERE action = 'expire';
