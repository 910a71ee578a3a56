-- Trainings that succeed: every kind of source, target, task, split and role.
\set ECHO none
\i fixtures/start.sql
\i fixtures/data.sql
-- What train returns, in figures that no kind of processor changes.
CREATE TYPE outcome AS (model text, version bigint, algorithm text, task text, train_rows bigint, test_rows bigint, metric text, value numeric);
CREATE FUNCTION shown(t record) RETURNS outcome LANGUAGE plpgsql AS $$
BEGIN RETURN (t.model, t.version, t.algorithm, t.task, t.train_rows, t.test_rows, t.metric, round(t.value::numeric, 2))::outcome; END $$;
\set ECHO all

-- Sources -----------------------------------------------------------------------------------------------------

-- case: a table
SELECT (shown(t)).* FROM damson.train('price', 'homes', 'price', 'linear') t;
-- case: a table with its schema, and a second version
SELECT (shown(t)).* FROM damson.train('price', 'public.homes', target => 'price', algorithm => 'linear') t;
-- case: a SELECT
SELECT (shown(t)).* FROM damson.train('price', 'SELECT sqft, rooms, price FROM homes WHERE id > 40', target => 'price', algorithm => 'linear') t;
-- case: a query that begins with a comment and ends with a semicolon
SELECT (shown(t)).* FROM damson.train('price', E'-- all homes\n/* but small ones */ SELECT * FROM homes WHERE sqft > 500;', target => 'price', algorithm => 'linear') t;
-- case: WITH, VALUES and TABLE
SELECT (shown(t)).* FROM damson.train('price', 'WITH h AS (SELECT * FROM homes) TABLE h', target => 'price', algorithm => 'linear') t;
SELECT (shown(t)).* FROM damson.train('values', 'VALUES (1, 2.0), (2, 3.9), (3, 6.1), (4, 8.0)', target => 'column2', algorithm => 'linear', split => 'none') t;
-- case: a view, a materialized view, a partitioned table, a temporary one
CREATE VIEW v AS SELECT sqft, rooms, price FROM homes;
CREATE MATERIALIZED VIEW mv AS SELECT * FROM v;
CREATE TABLE p (LIKE homes) PARTITION BY LIST (rooms);
CREATE TABLE p_few PARTITION OF p FOR VALUES IN (1, 2, 3);
CREATE TABLE p_many PARTITION OF p DEFAULT;
INSERT INTO p TABLE homes;
CREATE TEMP TABLE t AS TABLE homes;
SELECT (shown(t)).* FROM unnest(ARRAY['v', 'mv', 'p', 't']) s, damson.train('of_' || s, s, target => 'price', algorithm => 'linear') t;
-- case: names with quotes, capitals, blanks and other letters
CREATE SCHEMA "My Data";
CREATE TABLE "My Data"."Böse ""Tabelle""" AS SELECT sqft AS "Größe in m²", rooms AS "select", price AS "the ""price""" FROM homes;
SELECT (shown(t)).* FROM damson.train('O''Brien "&" Söhne; DROP TABLE homes', '"My Data"."Böse ""Tabelle"""', target => 'the "price"', algorithm => 'linear', features => '{select,"Größe in m²"}') t;
SELECT round(damson.predict('O''Brien "&" Söhne; DROP TABLE homes', x)::numeric) AS row, round(damson.predict('O''Brien "&" Söhne; DROP TABLE homes', 3, 1000)::numeric) AS scalars
FROM (SELECT 1000 AS "Größe in m²", 3 AS "select") x;
-- case: a table named like a keyword
CREATE TABLE "values" AS TABLE homes;
SELECT (shown(t)).* FROM damson.train('of_values', '"values"', target => 'price', algorithm => 'linear') t;
-- case: the search path finds the source
SET search_path = "My Data", public;
SELECT (shown(t)).* FROM damson.train('of_path', '"Böse ""Tabelle"""', target => 'the "price"', algorithm => 'linear') t;
RESET search_path;
-- case: a set-returning source in a loop trains a version a turn
DO $$ BEGIN FOR i IN 1..3 LOOP PERFORM damson.train('looped', format('SELECT * FROM homes WHERE rooms <> %s', i), 'price', 'linear'); END LOOP; END $$;
SELECT version, train_rows + test_rows AS rows FROM damson.runs WHERE model = 'looped';

-- Targets and tasks -------------------------------------------------------------------------------------------

-- case: numbers of every type are regressed on
SELECT (shown(t)).* FROM unnest(ARRAY['float4', 'float8', 'numeric', 'int2', 'int4', 'int8', 'amount']) n,
    damson.train('as_' || n, format('SELECT sqft, rooms, price::%s AS price FROM homes', n), target => 'price', algorithm => 'ridge') t;
-- case: booleans, text, enums, uuids, char(n) and few whole numbers are classes
SELECT (shown(t)).*
FROM (VALUES ('boolean', 'species = ''rose'''), ('text', 'species'), ('name', 'species::name'), ('char', 'upper(species)::char(9)'),
             ('enum', '(ARRAY[''basic'', ''plus'', ''pro''])[1 + id % 3]::plan'), ('uuid', 'md5((id % 3)::text)::uuid'),
             ('int', '10 - id % 3'), ('bigint', '9 + id % 3::bigint')) k(name, label),
    damson.train('class_' || k.name, format('SELECT petal, sepal, %s AS label FROM flowers', k.label), target => 'label',
        algorithm => CASE k.name WHEN 'boolean' THEN 'logistic' ELSE 'multinomial' END) t;
SELECT m.name, v.classes FROM damson_catalog.versions v JOIN damson_catalog.models m ON m.id = v.model WHERE m.name LIKE 'class%' ORDER BY 1;
-- case: the task decides where the type leaves it open
SELECT (shown(t)).* FROM damson.train('open', 'SELECT petal, sepal, id % 3 AS n FROM flowers', 'n', 'boosting', task => 'regression', params => '{"trees": 5}') t;
SELECT (shown(t)).* FROM damson.train('shut', 'SELECT petal, sepal, id % 3 AS n FROM flowers', 'n', 'boosting', task => 'classification', params => '{"trees": 5}') t;
SELECT (shown(t)).* FROM damson.train('shut', 'SELECT petal, sepal, (id % 3)::float8 AS n FROM flowers', 'n', 'boosting', task => 'classification', params => '{"trees": 5}') t;
-- case: each algorithm on the task that it is for
SELECT (shown(t)).* FROM damson.train('b_reg', 'homes', 'price', params => '{"trees": 20}') t;
SELECT (shown(t)).* FROM damson.train('b_two', 'customers', 'churned', params => '{"trees": 20}') t;
SELECT (shown(t)).* FROM damson.train('b_three', 'flowers', 'species', params => '{"trees": 5}') t;
SELECT (shown(t)).* FROM damson.train('linear', 'homes', 'price', 'linear') t;
SELECT (shown(t)).* FROM damson.train('ridge', 'homes', 'price', 'ridge') t;
SELECT (shown(t)).* FROM damson.train('logistic', 'customers', 'churned', 'logistic') t;
SELECT (shown(t)).* FROM damson.train('multinomial', 'flowers', 'species', 'multinomial', features => '{petal,sepal}') t;
SELECT (shown(t)).* FROM damson.train('groups', 'flowers', algorithm => 'kmeans', params => '{"n_clusters": 3}', features => '{petal,sepal}') t;

-- Splits, folds, roles ----------------------------------------------------------------------------------------

-- case: each split, and its share
SELECT (shown(t)).* FROM (VALUES ('random', 0.25), ('stratified', 0.1), ('none', 0.3)) s(split, size),
    damson.train('split_' || s.split, 'flowers', 'species', 'multinomial', features => '{petal,sepal}', split => s.split, test_size => s.size) t;
-- case: a split by time tests the latest rows
SELECT (shown(t)).* FROM (VALUES ('joined'), ('seen'), ('id')) c(name),
    damson.train('time_' || c.name, 'customers', 'churned', 'logistic', split => 'time', time_column => c.name, test_size => 0.5) t;
-- case: the time column is no feature
SELECT value FROM damson.describe('time_id') WHERE property = 'feature 1';
-- case: folds measure, then all rows are fitted
SELECT (shown(t)).* FROM damson.train('folded', 'customers', 'churned', 'logistic', folds => 5) t;
SELECT split, metric, round(value::numeric, 2) AS value FROM damson.metrics WHERE model = 'folded' AND metric IN ('auc', 'accuracy') ORDER BY 1, 2;
-- case: weights count, and are no feature
SELECT (shown(t)).* FROM damson.train('weighed', 'SELECT sqft, price, CASE WHEN rooms = 1 THEN 1000 ELSE 0.001 END AS w FROM homes', 'price', 'linear', weight => 'w', split => 'none') t;
SELECT round(damson.predict('weighed', 1000)::numeric, 0) AS small_home, damson.predict('weighed', 1000) < damson.predict('price@3', 1000, 5) AS is_less FROM homes LIMIT 1;
-- case: the order of features is the order of scalars
SELECT (shown(t)).* FROM damson.train('ordered', 'homes', 'price', 'linear', features => '{rooms,sqft}') t;
SELECT property, value FROM damson.describe('ordered') WHERE property LIKE 'feature%';
-- case: the same seed gives the same model, another seed another split
SELECT count(*) FROM unnest(ARRAY[7, 7, -7]) s, damson.train('seeds', 'homes', 'price', 'linear', seed => s) t;
SELECT r.seed, count(*) AS trainings, count(DISTINCT v.artifact_sha256) AS artifacts, count(DISTINCT r.fingerprint) AS fingerprints FROM damson_catalog.runs r JOIN damson_catalog.versions v ON v.run = r.id JOIN damson_catalog.models m ON m.id = r.model WHERE m.name = 'seeds' GROUP BY ROLLUP (1) ORDER BY 1;

-- Hard data ---------------------------------------------------------------------------------------------------

-- case: constant columns and columns that are NULL throughout
SELECT (shown(t)).* FROM unnest(ARRAY['linear', 'ridge', 'boosting']) a,
    damson.train('flat_' || a, 'SELECT sqft, price, 5 AS five, ''x''::text AS x, NULL::float8 AS nothing, NULL::text AS no_text FROM homes', 'price', a) t;
-- case: a target that is constant
SELECT (shown(t)).* FROM unnest(ARRAY['linear', 'ridge', 'boosting']) a, damson.train('still_' || a, 'SELECT sqft, 3.5 AS y FROM homes', 'y', a) t;
SELECT round(damson.predict('still_' || a, 10)::numeric, 6) FROM unnest(ARRAY['linear', 'ridge', 'boosting']) a;
-- case: one row
SELECT (shown(t)).* FROM unnest(ARRAY['linear', 'ridge', 'boosting']) a, damson.train('one_' || a, 'SELECT sqft, price FROM homes LIMIT 1', 'price', a, split => 'none') t;
-- case: NaN among the features
SELECT (shown(t)).* FROM unnest(ARRAY['linear', 'ridge', 'boosting']) a,
    damson.train('nan_' || a, 'SELECT CASE WHEN id % 7 = 0 THEN ''NaN''::float8 ELSE sqft END AS sqft, price FROM homes', 'price', a) t;
-- case: identical columns
SELECT (shown(t)).* FROM damson.train('twins', 'SELECT sqft AS a, sqft AS b, price FROM homes', 'price', 'linear') t;
-- case: numbers at the ends of their types
CREATE TABLE ends AS SELECT i::float8 AS y, CASE WHEN i % 2 = 0 THEN 9223372036854775807 ELSE -9223372036854775807 - 1 END AS big, 1e300::float8 * i AS huge, 1e-300::float8 * i AS tiny FROM generate_series(1, 50) i;
SELECT (shown(t)).* FROM damson.train('ends', 'ends', 'y', 'boosting', split => 'none') t;
SELECT (shown(t)).* FROM damson.train('ends', 'ends', 'y', 'ridge', split => 'none', features => '{big,tiny}') t;
SELECT expect($$SELECT damson.train('ends', 'ends', 'y', 'ridge')$$);
-- case: infinite numbers of a source that boosting takes
SELECT (shown(t)).* FROM damson.train('infinite', 'SELECT y, CASE WHEN y < 25 THEN ''-Infinity''::float8 ELSE ''Infinity'' END AS x FROM ends', 'y', 'boosting', split => 'none', params => '{"trees": 100}') t;
SELECT round(damson.predict('infinite', '-Infinity'::float8)::numeric, 1) AS low, round(damson.predict('infinite', 'Infinity'::float8)::numeric, 1) AS high;
-- case: classes that are perfectly separable warn, or not, but train
SELECT (shown(t)).* FROM damson.train('apart', 'SELECT i AS x, i > 50 AS y FROM generate_series(1, 100) i', 'y', 'logistic', split => 'none') t;
-- case: training that does not converge warns
SELECT (shown(t)).* FROM damson.train('hasty', 'customers', 'churned', 'logistic', params => '{"max_iter": 1}') t;
SELECT status, warnings FROM damson.runs WHERE model = 'hasty';
