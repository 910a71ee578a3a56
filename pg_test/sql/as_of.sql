-- What production was at a time: name@2026-01-31.
\set ECHO none
\i fixtures/start.sql
SET timezone = 'UTC';
-- Version n predicts n.
SELECT count(*) FROM generate_series(1, 4) n, damson.train('m', format('SELECT i AS x, %s AS y FROM generate_series(1, 9) i', n), 'y', 'linear', task => 'regression', split => 'none');
CALL damson.deploy('m', 2);
CALL damson.deploy('m', 3);
CALL damson.rollback('m');
CALL damson.deploy('m', 4, 'champion');
-- As if on these days.
UPDATE damson_catalog.deployments d SET at = v.at FROM (VALUES
    (1, timestamptz '2026-01-10 08:00+00'), (2, '2026-01-20 12:00+00'), (3, '2026-01-20 18:00+00'), (4, '2026-01-31 23:30+00')) v(n, at)
WHERE d.id = (SELECT id FROM damson_catalog.deployments ORDER BY id OFFSET v.n - 1 LIMIT 1);
CREATE FUNCTION was(moment text) RETURNS int LANGUAGE sql STABLE AS $$SELECT round(damson.predict('m@' || moment, 1)::numeric)::int$$;
\set ECHO all

SELECT at, alias, version, action FROM damson.deployments WHERE alias = 'production';
-- case: a day means what was production at its end
SELECT was('2026-01-10'), was('2026-01-19'), was('2026-01-20'), was('2026-01-30'), was('2026-01-31'), was('2026-02-01');
-- case: before the first deployment there was nothing
SELECT expect($$SELECT damson.predict('m@2026-01-09', 1)$$);
SELECT expect($$SELECT damson.predict('m@2026-01-10 07:59:59.999999', 1)$$);
-- case: a time means what was production then
SELECT was('2026-01-10 08:00'), was('2026-01-20 11:59:59'), was('2026-01-20 12:00'), was('2026-01-20T17:59Z'), was('2026-01-20 18:00:00.000000');
SELECT was('2026-01-20 13:00+02:00'), was('2026-01-20 07:30-05'), was('2026-01-31 23:30+00');
-- case: days and times are those of the session's time zone, in prepared statements too
PREPARE q AS SELECT was('2026-01-31'), was('2026-01-20 12:30');
EXECUTE q;
SET timezone = 'America/New_York';
EXECUTE q;
SET timezone = 'Pacific/Kiritimati';
EXECUTE q;
SET timezone = 'UTC';
EXECUTE q;
-- case: and within one function whose expression stays the same
CREATE FUNCTION zones() RETURNS text LANGUAGE plpgsql AS $$
DECLARE found text := ''; zone text;
BEGIN
    FOREACH zone IN ARRAY '{UTC,Pacific/Kiritimati,UTC,America/New_York}'::text[] LOOP
        PERFORM set_config('timezone', zone, false);
        found := found || round(damson.predict('m@2026-01-31', 1.0)::numeric) || ' ';
    END LOOP;
    RETURN found;
END $$;
SELECT zones();
SELECT zones();
SET timezone = 'UTC';
-- case: a day that is not over, and times to come, have no answer yet
SELECT expect(format($$SELECT damson.predict('m@%s', 1)$$, current_date)) ~ '^22023: the day [0-9-]+ is not over\n  hint: A day means the version that was production at its end';
SELECT expect($$SELECT damson.predict('m@9999-12-31', 1)$$);
SELECT expect($$SELECT damson.predict('m@9999-12-31 23:59', 1)$$);
-- case: what is no day
SELECT expect($$SELECT damson.predict('m@2026-02-30', 1)$$);
SELECT expect($$SELECT damson.predict('m@2026-01-31 25:00', 1)$$);
SELECT expect($$SELECT damson.predict('m@2026-01-31; DROP TABLE x', 1)$$);
SELECT expect($$SELECT damson.predict('nothing@2026-01-31', 1)$$);
-- case: an alias cannot look like a day
SELECT expect($$CALL damson.deploy('m', 1, '2026-01-31')$$);
SELECT expect($$CALL damson.deploy('m', 1, '2026-01-31 late')$$);
CALL damson.deploy('m', 1, '2026-Q1');
SELECT was('2026-Q1');
-- case: all that takes a model takes a day
SELECT value FROM damson.describe('m@2026-01-20') WHERE property = 'version';
SELECT metric, round(value::numeric, 6) AS value FROM damson.evaluate('m@2026-01-20', 'SELECT i AS x, 3 AS y FROM generate_series(1, 9) i') WHERE metric = 'rmse';
SELECT version FROM damson.score_into('scores', 'm@2026-01-10', 'SELECT 1 AS x');
-- case: a later deployment does not change the past
CALL damson.deploy('m', 3);
SELECT was('2026-01-20'), was('2026-01-31');
-- case: in a transaction that deploys, too
BEGIN;
CALL damson.deploy('m', 1);
SELECT was('2026-01-31'), round(damson.predict('m', 1)::numeric);
ROLLBACK;
-- case: a procedure may commit in between
DO $$ BEGIN
    CALL damson.deploy('m', 1);
    COMMIT;
    CALL damson.deploy('m', 2);
    ROLLBACK;
    CALL damson.deploy('m', 4);
    COMMIT;
END $$;
SELECT action, version FROM damson.deployments WHERE alias = 'production' AND at > now() - interval '1 min' ORDER BY at DESC LIMIT 2;
-- case: deployments have the time of their commit
BEGIN;
CALL damson.deploy('m', 3);
SELECT pg_sleep(0.3);
SAVEPOINT s;
CALL damson.deploy('m', 2);
ROLLBACK TO s;
CALL damson.deploy('m', 1);
SET TRANSACTION READ ONLY;
COMMIT;
SELECT version, at - lag(at) OVER (ORDER BY id) = interval '0' AS with_the_one_before, at > now() - interval '20 s' AS just_now
FROM (SELECT d.id, v.version, d.at FROM damson_catalog.deployments d JOIN damson_catalog.versions v ON v.id = d.version) d ORDER BY id DESC LIMIT 2;
