-- Numbers that a training reads again rather than hold: damson.held_numbers.
\set SHOW_CONTEXT never
SET damson.progress = off;
CREATE TABLE many AS SELECT i AS id,
    CASE WHEN i % 17 <> 3 THEN sin(i * 0.37)::real END AS a,
    CASE WHEN i % 19 = 4 THEN 'NaN' WHEN i % 1013 = 5 THEN 'Infinity' ELSE exp(cos(i * 0.11)) END AS b,
    (i % 3 * 1.1)::real AS few, 7.25::real AS constant, NULL::float8 AS nothing, i % 90 AS whole,
    CASE i % 4 WHEN 0 THEN 'red' WHEN 1 THEN 'green' ELSE 'blue' END AS colour,
    (sin(i * 0.37) + cos(i * 0.11) + i % 3 > 1)::int AS y
FROM generate_series(1, 50000) i;
-- Trains with so much held; gives the version, and how often the table was read.
CREATE FUNCTION trained(held text, source text, arguments text DEFAULT '',
    params text DEFAULT '{"n_estimators": 8, "num_leaves": 15}', OUT version bigint, OUT readings bigint)
LANGUAGE plpgsql AS $$
DECLARE before bigint := pg_stat_get_xact_numscans('many'::regclass);
BEGIN
    PERFORM set_config('damson.held_numbers', held, true);
    EXECUTE format('SELECT version FROM damson.train(''m'', %L, target => ''y'', params => %L%s)', source, params, arguments)
        INTO version;
    readings := pg_stat_get_xact_numscans('many'::regclass) - before;
END $$;
-- Trains twice, holding nothing and everything; whether all that is stored is the same.
CREATE FUNCTION same(source text, arguments text DEFAULT '') RETURNS text LANGUAGE plpgsql AS $$
DECLARE again record; held record; ids bigint[];
BEGIN
    again := trained('0', source, arguments);
    held := trained('1TB', source, arguments);
    SELECT array_agg(v.id ORDER BY v.id) INTO ids FROM damson_catalog.versions v
    WHERE v.model = (SELECT id FROM damson_catalog.models WHERE name = 'm') AND v.version IN (again.version, held.version);
    RETURN concat_ws(', ', CASE WHEN again.readings > 2 THEN 'read again' ELSE 'read once' END,
        CASE WHEN held.readings = 1 THEN 'held' ELSE 'not held' END,
        (SELECT CASE WHEN count(DISTINCT artifact_sha256) = 1 THEN 'one artifact' ELSE 'two artifacts' END
            FROM damson_catalog.versions WHERE id = ANY (ids)),
        (SELECT CASE WHEN count(DISTINCT x) = 1 THEN 'one baseline' ELSE 'two baselines' END FROM
            (SELECT string_agg(md5((to_jsonb(b) - 'version')::text), ' ' ORDER BY position) AS x
             FROM damson_drift.baselines b WHERE version = ANY (ids) GROUP BY version) t));
END $$;
-- case: what is stored does not depend on it
SELECT same('SELECT a, b, few, constant, nothing, whole, colour, y FROM many');
SELECT same('SELECT a, b, few, constant, nothing, whole, colour, y FROM many', ', split => ''none''');
SELECT same('SELECT * FROM many ORDER BY id DESC', ', features => ''{b,few,a}'', key_column => ''id''');
SELECT same('SELECT a, b, exp(few) AS w, whole, y FROM many WHERE a IS NOT NULL', ', weight => ''w'', split => ''time'', time_column => ''a''');
SET damson.threads = 1;
SELECT same('SELECT a, b, few, constant, nothing, whole, colour, y FROM many');
RESET damson.threads;
-- case: rows that are few are held
SELECT readings FROM trained('32MB', 'SELECT a, b, y FROM many');
-- case: sources that may give other rows are read once
SELECT readings FROM trained('0', 'SELECT a, b, few, y FROM many');
SELECT readings FROM trained('0', 'SELECT a, b, random() AS r, y FROM many');
SELECT readings FROM trained('0', 'SELECT a, b, y FROM (SELECT * FROM many WHERE random() < 2) s');
SELECT readings <= 1 AS once FROM trained('0', 'SELECT a, b, y FROM many TABLESAMPLE BERNOULLI (90)');
-- case: trainings that need the numbers themselves read them once
SELECT readings FROM trained('0', 'SELECT a, b, few, y FROM many', ', folds => 2');
SELECT readings FROM trained('0', 'SELECT a, few, y FROM many', ', algorithm => ''random_forest''', '{"n_estimators": 2, "max_depth": 3}');
SELECT readings FROM trained('0', 'SELECT a, few, y FROM many', ', preprocess => ''{"missing": "mean"}''');
SELECT readings FROM trained('0', 'SELECT a, b, few, y FROM many', ', group_by => ''{few}''');
SELECT readings FROM trained('0', 'SELECT a, b, few, y FROM many', ', calibration => ''isotonic''');
-- case: a source that breaks its word is noticed, and its rows are held
CREATE FUNCTION moment() RETURNS real LANGUAGE sql STABLE AS 'SELECT extract(microseconds FROM clock_timestamp())::real';
SELECT version IS NOT NULL AS trained FROM trained('0', 'SELECT a, b, few + moment() AS liar, y FROM many');
CREATE FUNCTION fails() RETURNS real LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF pg_stat_get_xact_numscans('many'::regclass) > 2 THEN RAISE EXCEPTION 'the third reading fails'; END IF;
    RETURN 1;
END $$;
-- case: what goes wrong in a later reading is told
SELECT version FROM trained('0', 'SELECT a, b, few + fails() AS f, y FROM many');
SELECT count(*) AS threads FROM damson.progress;
-- case: memory counts what is held
CREATE TABLE more AS SELECT x.* FROM many x, generate_series(1, 8);
SET damson.max_memory = '26MB';
SELECT trained.version > 0 AS trained FROM trained('1MB', 'SELECT a, b, few, constant, nothing, y FROM more');
SELECT version FROM trained('1TB', 'SELECT a, b, few, constant, nothing, y FROM more');
