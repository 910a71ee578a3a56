-- Models as results of an aggregate: damson.fit and damson.fit_with, and scoring with the text that they give.
\set ECHO none
\i fixtures/start.sql
\i fixtures/data.sql
CREATE TABLE sales AS
SELECT g AS id, (ARRAY['north', 'south', NULL, 'west'])[1 + g % 4] AS region, date '2024-01-01' + g AS day,
    (g * 37 % 101)::float8 AS x, (g * 53 % 97)::int AS z, (ARRAY['a', 'b'])[1 + g % 2] AS kind,
    ((1 + g % 4) * (g * 37 % 101) + 2 * (g * 53 % 97) + 5)::float8 AS y, g * 37 % 101 > 50 AS high,
    (ARRAY['low', 'middle', 'high'])[1 + (g * 37 % 101) / 34] AS level
FROM generate_series(1, 400) g;
CREATE FUNCTION shown(text) RETURNS text LANGUAGE sql AS $$ SELECT left($1, 7) || CASE WHEN $1 ~ '^damson:[A-Za-z0-9+/]+$' THEN '...' END $$;
\set ECHO all

-- Fitting -----------------------------------------------------------------------------------------------------

-- case: a model a region
CREATE TABLE fitted AS SELECT region, damson.fit('linear', y, x, z ORDER BY id) AS model FROM sales GROUP BY region;
SELECT region, shown(model), round(damson.predict(model, 10, 1)::numeric, 3) AS predicted FROM fitted ORDER BY region;
-- case: scored with the rows of each region
SELECT count(*), max(abs(s.y - damson.predict(f.model, s.x, s.z))) < 1e-6 AS exact FROM sales s JOIN fitted f ON f.region IS NOT DISTINCT FROM s.region;
-- case: the same rows in the same order give the same text, on any number of threads
SET damson.threads = 1;
SELECT count(*) FROM fitted f JOIN (SELECT region, damson.fit('linear', y, x, z ORDER BY id) AS model FROM sales GROUP BY region) g USING (model);
RESET damson.threads;
-- case: without GROUP BY, with FILTER, with DISTINCT
SELECT round(damson.predict(damson.fit('linear', y, x, z) FILTER (WHERE region = 'south'), 10, 1)::numeric, 3) AS predicted FROM sales;
SELECT round(damson.predict(damson.fit('linear', DISTINCT_Y, x), 10)::numeric, 3) AS predicted FROM (SELECT DISTINCT x, 3 * x AS DISTINCT_Y FROM sales) s;
-- case: with parameters
SELECT round(damson.predict(damson.fit_with('ridge', '{"alpha": 1e9}', y, x, z), 10, 1)::numeric) = round(avg(y)::numeric) AS shrunk FROM sales;
-- case: every kind of feature
SELECT damson.predict(damson.fit('boosting', y, x, z, kind, high, day, ARRAY[x, z], z::numeric), 10, 1, 'a', false, '2024-05-01'::date, ARRAY[10, 1], 1) IS NOT NULL AS predicted FROM sales;
-- case: classes
SELECT damson.classify(damson.fit('logistic', high, x, z), 90, 1) AS label, damson.probability(damson.fit('logistic', high, x, z), 'true', 90, 1) > 0.9 AS likely FROM sales;
SELECT damson.classify(damson.fit('multinomial', level, x), 50) AS label, (damson.probabilities(damson.fit('multinomial', level, x), 50) ->> 'middle')::float8 > 0.5 AS likely FROM sales;
-- case: whole numbers are regressed on, however few they are
SELECT damson.predict(damson.fit('boosting', (x > 50)::int, x), 90) > 0.9 AS predicted FROM sales;
-- case: rows without a target are left out
SELECT damson.predict(damson.fit('linear', CASE WHEN id % 3 = 0 THEN 2 * x END, x), 4)::numeric(9, 3) AS predicted FROM sales;
-- case: no rows, or none with a target, give NULL
SELECT damson.fit('linear', y, x) IS NULL AS none FROM sales WHERE false;
SELECT damson.fit('linear', NULLIF(y, y), x) IS NULL AS none FROM sales;
SELECT damson.predict(damson.fit('linear', y, x), 3) IS NULL AS none FROM sales WHERE false;
-- case: one array as the features
SELECT damson.predict(damson.fit('linear', 2 * x, ARRAY[x, z]), ARRAY[4, 1])::numeric(9, 3) AS predicted FROM sales;
SELECT damson.predict(damson.fit('linear', 2 * x, VARIADIC ARRAY[x, z]), VARIADIC ARRAY[4, 1])::numeric(9, 3) AS predicted FROM sales;
-- case: by name of the features
SELECT damson.predict(model, '{"x1": 10, "x2": 1}'::jsonb)::numeric(9, 3) AS predicted FROM fitted WHERE region = 'south';
SELECT damson.predict(model, f)::numeric(9, 3) AS predicted FROM (SELECT 10 AS x1, 1 AS x2) f, fitted WHERE region = 'south';
-- case: over a window
SELECT DISTINCT region, damson.predict(damson.fit('linear', y, x, z) OVER (PARTITION BY region), 10, 1)::numeric(9, 3) AS predicted FROM sales ORDER BY region;
-- case: rows that are collected by parallel workers
SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; SET max_parallel_workers_per_gather = 2;
ALTER TABLE sales SET (parallel_workers = 2);
EXPLAIN (COSTS off) SELECT damson.fit('linear', y, x, z, kind, day) FROM sales;
SELECT damson.predict(damson.fit('linear', y - (1 + id % 4) * x, z, kind, ARRAY[x, id % 5]), 10, 'a', ARRAY[3, 10])::numeric(9, 3) AS predicted FROM sales;
SELECT region, damson.predict(damson.fit('linear', y, x, z), 10, 1)::numeric(9, 3) AS predicted FROM sales GROUP BY region ORDER BY region;
RESET parallel_setup_cost; RESET parallel_tuple_cost; RESET min_parallel_table_scan_size; RESET max_parallel_workers_per_gather;
-- case: described and evaluated like any model
SELECT * FROM damson.describe((SELECT model FROM fitted WHERE region = 'south')) WHERE property ~ '^(target|feature)';
SELECT metric, value::numeric(9, 3) AS value FROM damson.evaluate((SELECT model FROM fitted WHERE region = 'south'), 'SELECT y, x AS x1, z AS x2 FROM sales WHERE region = ''south''') WHERE metric = 'r2';
-- case: a text that is stored out of line
ALTER TABLE fitted ALTER model SET STORAGE external;
UPDATE fitted SET model = model;
SELECT region, round(damson.predict(model, 10, 1)::numeric, 3) AS predicted FROM fitted ORDER BY region;

-- Refused -----------------------------------------------------------------------------------------------------

-- case: an algorithm without a target, none, one that is not there
SELECT left(expect($$SELECT damson.fit('lineer', y, x) FROM sales$$), 37) AS expect;
SELECT expect($$SELECT damson.fit('kmeans', y, x) FROM sales$$);
SELECT expect($$SELECT damson.fit(NULL, y, x) FROM sales$$);
-- case: parameters that the algorithm does not take
SELECT expect($$SELECT damson.fit_with('ridge', '{"alfa": 1}', y, x) FROM sales$$);
SELECT expect($$SELECT damson.fit_with('ridge', '{"alpha": -1}', y, x) FROM sales$$);
SELECT expect($$SELECT damson.fit_with('ridge', 'alpha', y, x) FROM sales$$);
-- case: the algorithm varies from row to row
SELECT expect($$SELECT damson.fit(CASE WHEN id < 200 THEN 'linear' ELSE 'ridge' END, y, x) FROM sales$$);
-- case: no features
SELECT expect($$SELECT damson.fit('linear', y) FROM sales$$);
-- case: types that cannot be learnt from
SELECT expect($$SELECT damson.fit('linear', y, now() - now()) FROM sales$$);
SELECT expect($$SELECT damson.fit('linear', y, 'text') FROM sales$$);
SELECT expect($$SELECT damson.fit('linear', s, x) FROM sales s$$);
-- case: a target of another type than the algorithm wants
SELECT expect($$SELECT damson.fit('linear', kind, x) FROM sales$$);
SELECT expect($$SELECT damson.fit('linear', day, x) FROM sales$$);
-- case: one class
SELECT expect($$SELECT damson.fit('logistic', true, x) FROM sales$$);
-- case: infinity
SELECT expect($$SELECT damson.fit('linear', 'Infinity'::float8, x) FROM sales$$);
-- case: arrays of two lengths
SELECT expect($$SELECT damson.fit('linear', y, CASE WHEN id = 7 THEN ARRAY[1.0] ELSE ARRAY[1.0, 2.0] END) FROM sales$$);
-- case: more rows than there is memory for
SET damson.max_memory = '1MB';
SELECT expect($$SELECT damson.fit('linear', g, g, g, g, g, g, g, g) FROM generate_series(1, 100000) g$$);
SELECT expect($$SELECT count(m) FROM (SELECT damson.fit('linear', g, g, g, g, g, g, g, g) AS m FROM generate_series(1, 100000) g GROUP BY g % 100) s$$);
RESET damson.max_memory;
-- case: texts that are no models
SELECT expect($$SELECT damson.predict('damson:', 1, 2)$$);
SELECT expect($$SELECT damson.predict('damson:AAAA', 1, 2)$$);
SELECT expect($$SELECT damson.predict('damson:%%%', 1, 2)$$);
SELECT expect($$SELECT damson.predict(left(model, 200), 1, 2) FROM fitted$$);
SELECT expect($$SELECT damson.predict(overlay(model PLACING 'AAAA' FROM 100), 1, 2) FROM fitted$$);
SELECT split_part(expect($$SELECT damson.predict(model || 'A', 1, 2) FROM fitted$$), ':', 1) AS state;
SELECT expect($$SELECT damson.predict(model || 'AAAA', 1, 2) FROM fitted$$);
-- case: another number of features, another type, another question
SELECT expect($$SELECT damson.predict(model, 1) FROM fitted$$);
SELECT expect($$SELECT damson.predict(model, 1, 'two'::text) FROM fitted$$);
SELECT expect($$SELECT damson.classify(model, 1, 2) FROM fitted$$);
-- case: verbs that change models do not take texts
SELECT expect($$SELECT * FROM damson.train('damson:mine', 'sales', 'y', 'linear')$$);
SELECT regexp_replace(expect(format('CALL damson.deploy(%L, version => 1)', model)), '"damson:.*has \d+ bytes', '"damson:..." has N bytes') AS expect FROM fitted WHERE region = 'south';
-- case: parts of the aggregate take a state that no SQL expression has
SELECT proname, 'internal'::regtype = ANY (proargtypes) AS internal FROM pg_proc WHERE pronamespace = 'damson_catalog'::regnamespace AND proname LIKE 'fit\_%' ORDER BY 1;
