-- Scoring: all ways to give features, and what is refused.
\set SHOW_CONTEXT never
SET extra_float_digits = 0;
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
CREATE TABLE homes AS
    SELECT i AS id, (i % 17)::float8 AS a, (i % 13)::real AS b, i % 7 AS c, (ARRAY['red', 'green', 'blue'])[1 + i % 3] AS color,
        i % 2 = 0 AS flag, date '2024-01-01' + i % 50 AS day, ARRAY[i % 5, i % 11]::real[] AS v
    FROM generate_series(1, 1000) i;
ALTER TABLE homes ADD COLUMN y float8, ADD COLUMN kind text;
UPDATE homes SET y = 2 * a - b + c + CASE WHEN color = 'red' THEN 5 ELSE 0 END + v[1],
    kind = CASE WHEN a + c > 14 THEN 'large "one"' WHEN a + c > 8 THEN 'middle' ELSE 'small' END;
SELECT model FROM damson.train('three', 'SELECT a, b, c, 2 * a - b + c AS y FROM homes', target => 'y', algorithm => 'linear');
SELECT model FROM damson.train('mixed', 'homes', target => 'y', algorithm => 'linear', features => '{a, b, c, color, flag, v}');
SELECT model FROM damson.train('vector', 'SELECT v, v[1] + 2 * v[2] AS y FROM homes', target => 'y', algorithm => 'linear');
SELECT model FROM damson.train('dated', 'SELECT day, (day - date ''2024-01-01'')::float8 AS y FROM homes', target => 'y', algorithm => 'linear');
SELECT model FROM damson.train('kinds', 'homes', target => 'kind', algorithm => 'multinomial', features => '{a, c, color}');
CREATE FUNCTION near(x float8, y float8) RETURNS boolean LANGUAGE sql AS $$ SELECT abs(x - y) < 1e-5 * (1 + abs(y)) $$;
-- case: a row, values, arrays and documents give the same
SELECT bool_and(near(damson.predict('three', h), 2 * a - b + c)) AS row,
    bool_and(near(damson.predict('three', a, b, c), 2 * a - b + c)) AS values,
    bool_and(near(damson.predict('three', ARRAY[a, b, c]), 2 * a - b + c)) AS float8s,
    bool_and(near(damson.predict('three', ARRAY[a, b, c]::real[]), 2 * a - b + c)) AS reals,
    bool_and(near(damson.predict('three', ARRAY[a, b, c]::int[]), 2 * a - b + c)) AS ints,
    bool_and(near(damson.predict('three', VARIADIC ARRAY[a, b, c]), 2 * a - b + c)) AS variadic,
    bool_and(near(damson.predict('three', to_jsonb(h)), 2 * a - b + c)) AS jsonb,
    bool_and(near(damson.predict('three', row_to_json(h)), 2 * a - b + c)) AS json
FROM homes h;
SELECT bool_and(near(damson.predict('mixed', h), y)) AS row, bool_and(near(damson.predict('mixed', a, b, c, color, flag, v), y)) AS values,
    bool_and(near(damson.predict('mixed', to_jsonb(h)), y)) AS jsonb
FROM homes h;
SELECT bool_and(near(damson.predict('vector', v), v[1] + 2 * v[2])) AS reals, bool_and(near(damson.predict('vector', v::float8[]), v[1] + 2 * v[2])) AS float8s,
    bool_and(near(damson.predict('vector', h), v[1] + 2 * v[2])) AS row, bool_and(near(damson.predict('vector', to_jsonb(h)), v[1] + 2 * v[2])) AS jsonb
FROM homes h;
SELECT bool_and(near(damson.predict('dated', h), day - date '2024-01-01')) AS row, bool_and(near(damson.predict('dated', day), day - date '2024-01-01')) AS value,
    bool_and(near(damson.predict('dated', day::timestamp), day - date '2024-01-01')) AS timestamp,
    bool_and(near(damson.predict('dated', to_jsonb(h)), day - date '2024-01-01')) AS jsonb
FROM homes h;
-- case: a row is bound by name, whatever the order and whatever else it has
SELECT bool_and(near(damson.predict('three', q), 2 * a - b + c)) FROM (SELECT 'x' AS other, c, b, a FROM homes) q;
SELECT bool_and(near(damson.predict('three', q), 2 * a - b + c)) FROM (SELECT c::numeric, b::int8, a::int2 FROM homes) q;
-- case: classes
SELECT bool_and(damson.classify('kinds', h) = (SELECT key FROM jsonb_each_text(damson.probabilities('kinds', h)) ORDER BY value::float8 DESC LIMIT 1)) AS likeliest,
    bool_and(near(damson.probability('kinds', 'middle', h), (damson.probabilities('kinds', h) ->> 'middle')::float8)) AS same,
    bool_and(near((SELECT sum(value::float8) FROM jsonb_each_text(damson.probabilities('kinds', h))), 1)) AS sum,
    avg((damson.classify('kinds', h) = kind)::int) > 0.9 AS right
FROM homes h;
SELECT jsonb_object_keys(damson.probabilities('kinds', 1, 2, 'red'));
SELECT damson.classify('kinds', 16, 6, 'red'), damson.classify('kinds', 0, 0, 'red'::varchar), damson.classify('kinds', 0, 0, 'red'::char(9));
-- case: NULL is a missing value, but NULL as the model or the whole input gives NULL
SELECT damson.predict('three', NULL, 1, 1) IS NOT NULL AS literal, damson.predict('three', NULL::float8, 1, 1) IS NOT NULL AS value,
    damson.predict('three', ARRAY[NULL, 1, 1]::real[]) = damson.predict('three', NULL, 1, 1) AS element,
    damson.predict('three', '{"a": null, "b": 1, "c": 1}'::jsonb) = damson.predict('three', NULL, 1, 1) AS key,
    damson.classify('kinds', 1, 1, NULL) IS NOT NULL AS text;
SELECT damson.predict(NULL, 1, 1, 1), damson.predict('three', NULL::homes), damson.predict('three', NULL::real[]), damson.predict('three', NULL::jsonb),
    damson.probability('kinds', NULL, 1, 1, 'red'), damson.classify(NULL, 1);
-- case: a category that training never saw
SELECT damson.classify('kinds', 1, 1, 'violet') IS NOT NULL AS answered;
-- case: the wrong number of values
SELECT failure($$ SELECT damson.predict('three', 1, 2) $$);
SELECT failure($$ SELECT damson.predict('three', 1, 2, 3, 4) $$);
SELECT failure($$ SELECT damson.predict('three', ARRAY[1, 2]) $$);
SELECT failure($$ SELECT damson.predict('three', ARRAY[]::real[]) $$);
SELECT failure($$ SELECT damson.predict('vector', ARRAY[1, 2, 3]) $$);
SELECT failure($$ SELECT damson.predict('mixed', ARRAY[1, 2, 3, 4, 5, 6]) $$);
-- case: values of another type
SELECT failure($$ SELECT damson.predict('three', 1, 2, 'three'::text) $$);
SELECT failure($$ SELECT damson.predict('three', 1, 2, 'three') $$);
SELECT failure($$ SELECT damson.predict('three', 1, 2, ARRAY[3]) $$);
SELECT failure($$ SELECT damson.predict('three', 1, 2, point(1, 2)) $$);
SELECT failure($$ SELECT damson.classify('kinds', 1, 2, 3) $$);
SELECT failure($$ SELECT damson.predict('dated', 1) $$);
SELECT failure($$ SELECT damson.predict('three', q) FROM (SELECT 1 AS a, 2 AS b, '3'::text AS c) q $$);
-- case: a row that lacks a column, or names
SELECT failure($$ SELECT damson.predict('three', q) FROM (SELECT 1 AS a, 2 AS b) q $$);
SELECT failure($$ SELECT damson.predict('three', ROW(1, 2, 3)) $$);
-- case: documents that do not fit
SELECT failure($$ SELECT damson.predict('three', '{"a": 1, "b": 2}'::jsonb) $$);
SELECT failure($$ SELECT damson.predict('three', '{"a": 1, "b": 2, "c": "3"}'::jsonb) $$);
SELECT failure($$ SELECT damson.predict('three', '[1, 2, 3]'::jsonb) $$);
SELECT failure($$ SELECT damson.predict('vector', '{"v": [1, "x"]}'::jsonb) $$);
SELECT failure($$ SELECT damson.predict('dated', '{"day": "yesterdayish"}'::jsonb) $$);
-- case: values that are no numbers
SELECT failure($$ SELECT damson.predict('three', 'infinity'::float8, 1, 1) $$);
SELECT damson.predict('three', 'NaN'::float8, 1, 1) = damson.predict('three', NULL, 1, 1) AS nan_is_missing;
SELECT failure($$ SELECT damson.predict('dated', date 'infinity') $$);
-- case: the question that the model does not answer
SELECT failure($$ SELECT damson.predict('kinds', 1, 1, 'red') $$);
SELECT failure($$ SELECT damson.classify('three', 1, 1, 1) $$);
SELECT failure($$ SELECT damson.probabilities('three', 1, 1, 1) $$);
SELECT failure($$ SELECT damson.probability('kinds', 'huge', 1, 1, 'red') $$);
-- case: models that are not there
SELECT failure($$ SELECT damson.predict('nobody', 1) $$);
SELECT failure($$ SELECT damson.predict('three@9', 1, 1, 1) $$);
SELECT failure($$ SELECT damson.predict('three@champion', 1, 1, 1) $$);
SELECT failure($$ SELECT damson.predict('', 1) $$);
-- case: the model named by a column
SELECT m, near(damson.predict(m, 1, 2, 3), 3) FROM (VALUES ('three'), ('three@production'), ('three@1'), (NULL), ('three')) t (m);
-- case: in PL/pgSQL, where a call site lives on, the deployed version counts
CREATE FUNCTION scored(h homes) RETURNS float8 LANGUAGE plpgsql AS $$ BEGIN RETURN damson.predict('three', h); END $$;
SELECT near(scored(h), 2 * a - b + c) FROM homes h WHERE id = 5;
SELECT version FROM damson.train('three', 'SELECT a, b, c, 100 + a AS y FROM homes', target => 'y', algorithm => 'linear');
SELECT near(scored(h), 2 * a - b + c) FROM homes h WHERE id = 5;
BEGIN;
CALL damson.deploy('three', 2);
SELECT near(scored(h), 100 + a) FROM homes h WHERE id = 5;
ROLLBACK;
SELECT near(scored(h), 2 * a - b + c) FROM homes h WHERE id = 5;
-- case: a row type that changes under a call site
BEGIN;
ALTER TABLE homes ADD COLUMN more int;
SELECT near(scored(h), 2 * a - b + c) FROM homes h WHERE id = 5;
ALTER TABLE homes DROP COLUMN b;
SELECT failure($$ SELECT scored(h) FROM homes h WHERE id = 5 $$);
ROLLBACK;
-- case: parallel workers score
SET max_parallel_workers_per_gather = 2;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
EXPLAIN (COSTS OFF) SELECT sum(damson.predict('three', a, b, c)) FROM homes;
SELECT near(sum(damson.predict('three', a, b, c)), sum(2 * a - b + c)) FROM homes;
SELECT near(sum(damson.predict('mixed', h)), sum(y)) FROM homes h;
SELECT failure($$ SELECT sum(damson.predict('mixed', a)) FROM homes h $$);
