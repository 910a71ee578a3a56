-- Drift: what a training remembers, rows beside it, two relations, the planner's statistics, quality, performance.
\set ECHO none
\i fixtures/start.sql
\i fixtures/data.sql
SET extra_float_digits = 0;
\set ECHO all

-- case: a training remembers features, target and predictions, in its own transaction
SELECT version, train_rows, test_rows FROM damson.train('homes', 'homes', target => 'price', algorithm => 'linear', features => '{sqft,rooms,zip}');
SELECT "column", role, kind, rows, missing, "distinct", round(mean::numeric, 3) AS mean, min, median, max FROM damson.baselines WHERE model = 'homes' AND role <> 'prediction';
SELECT "column", role, kind, rows, missing FROM damson.baselines WHERE model = 'homes' AND role = 'prediction';
BEGIN;
SELECT version FROM damson.train('homes', 'homes', target => 'price', algorithm => 'linear', features => '{sqft,rooms,zip}');
SELECT version, count(*) FROM damson.baselines WHERE model = 'homes' GROUP BY 1 ORDER BY 1;
ROLLBACK;
SELECT version, count(*) FROM damson.baselines WHERE model = 'homes' GROUP BY 1 ORDER BY 1;
-- case: the same rows have not drifted; up to 1000 rows the defaults are tests
SELECT "column", role, method, round(statistic::numeric, 6) AS statistic, round(p_value::numeric, 6) AS p_value, threshold, drifted, error FROM damson.drift('homes', 'homes', predictions => false);
SELECT "column", role, method, drifted FROM damson.drift('homes', 'homes') WHERE role = 'prediction';
-- case: others have
SELECT "column", role, method, p_value < 1e-6 AS sure, drifted FROM damson.drift('homes', $$SELECT sqft * 2 AS sqft, rooms, 'z' || id % 2 AS zip, price FROM homes$$);
-- case: the baseline of few rows is exact: the same numbers as from the rows
SELECT d."column", d.statistic = b.statistic AS same_statistic, d.p_value IS NOT DISTINCT FROM b.p_value AS same_p, d.drifted = b.drifted AS same_verdict
FROM damson.drift('homes', 'SELECT * FROM homes WHERE id > 150', predictions => false) d
JOIN damson.drift_between('SELECT sqft, rooms, zip, price FROM homes', 'SELECT sqft, rooms, zip, price FROM homes WHERE id > 150') b USING ("column") WHERE d.role = 'feature' OR d.role = 'target';
-- case: methods by name, by column, with thresholds
SELECT "column", method, threshold FROM damson.drift('homes', 'homes', method => 'psi', predictions => false);
SELECT "column", method, threshold FROM damson.drift('homes', 'homes', method => 'wasserstein', threshold => 0.3, predictions => false);
SELECT "column", method, threshold FROM damson.drift('homes', 'homes', method => '{"sqft": "ed", "rooms": {"method": "chisquare", "threshold": 0.001}}', predictions => false);
SELECT "column", role, method FROM damson.drift('homes', 'homes', columns => '{zip,prediction}');
SELECT method, count(*) FROM (VALUES ('ks'), ('wasserstein'), ('jensenshannon'), ('psi'), ('kl_div'), ('hellinger'), ('t_test'), ('mannw'), ('anderson'), ('cramer_von_mises'), ('ed')) m(m),
    damson.drift_between('SELECT price FROM homes WHERE id <= 120', 'SELECT price FROM homes WHERE id > 120', method => m) WHERE role = 'column' GROUP BY 1 ORDER BY 1;
SELECT method, drifted FROM (VALUES ('chisquare'), ('z'), ('TVD'), ('hellinger')) m(m),
    damson.drift_between('SELECT zip FROM homes WHERE id <= 120', 'SELECT zip FROM homes WHERE id > 120', method => m) WHERE role = 'column' ORDER BY 1;
-- case: the dataset drifts with the share of its features
SELECT statistic, threshold, drifted FROM damson.drift('homes', 'SELECT sqft * 3 AS sqft, rooms, zip, price FROM homes', drift_share => 0.3, predictions => false) WHERE role = 'dataset';
SELECT round(statistic::numeric, 6) AS statistic, threshold, drifted FROM damson.drift('homes', 'SELECT sqft * 3 AS sqft, rooms, zip, price FROM homes', predictions => false) WHERE role = 'dataset';
-- case: 1000 and 1001 rows, 2 and 5 and 6 values, constant, all missing, infinite
CREATE VIEW made AS SELECT i, (i * 7919 % 1009)::float8 AS x, (i % 2)::float8 AS two, i % 5 AS five, i % 6 AS six, 7 AS constant, NULL::float8 AS nothing,
    CASE WHEN i % 10 = 0 THEN float8 'Infinity' ELSE i % 30 END AS infinite, 'k' || i % 2 AS two_labels, i % 3 = 0 AS truth, date '2026-01-01' + i % 400 AS day FROM generate_series(1, 1001) i;
SELECT a."column", a.method AS up_to_1000, b.method AS above, a.drifted OR b.drifted AS drifted
FROM damson.drift_between('SELECT * FROM made WHERE i <= 1000', 'made') a JOIN damson.drift_between('made', 'made') b USING ("column");
SELECT "column", method, statistic, drifted FROM damson.drift_between('SELECT nothing, constant FROM made', 'SELECT 1.0::float8 AS nothing, constant FROM made');
-- case: hostile column names
CREATE TABLE "hostile ""table""" AS SELECT i AS "a "" b; DROP TABLE homes", '<script>' || i % 2 AS "<img src=x>", i * 1.5 AS "$1", i % 7 AS y FROM generate_series(1, 60) i;
SELECT version FROM damson.train('hostile', '"hostile ""table"""', target => 'y', algorithm => 'linear', task => 'regression');
ANALYZE "hostile ""table""";
SELECT "column", role, method, drifted FROM damson.drift('hostile', '"hostile ""table"""');
SELECT "column", role, method, drifted FROM damson.drift_quick('hostile', '"hostile ""table"""');
-- case: a classification remembers labels, decisions and probabilities
SELECT version FROM damson.train('churn', 'customers', target => 'churned', algorithm => 'logistic', features => '{age,spend,plan,active,joined,seen,region,tenure}');
SELECT "column", role, kind, rows, missing, "distinct" FROM damson.baselines WHERE model = 'churn';
SELECT "column", role, method, drifted FROM damson.drift('churn', 'customers');
SELECT "column", role, method, drifted FROM damson.drift('churn', $$SELECT age, spend + 80 AS spend, plan, active, joined, seen, region, tenure FROM customers$$) WHERE role <> 'feature';
-- case: other kinds of models
SELECT version FROM damson.train('clusters', 'flowers', algorithm => 'kmeans', params => '{"n_clusters": 3}', features => '{petal,sepal}');
SELECT "column", role, kind, "distinct" FROM damson.baselines WHERE model = 'clusters';
SELECT version FROM damson.train('vectors', 'flowers', target => 'species', algorithm => 'multinomial', features => '{both_parts}');
SELECT "column", role, method, drifted FROM damson.drift('vectors', 'flowers');
SELECT version FROM damson.train('axes', 'flowers', algorithm => 'pca', features => '{petal,sepal}');
SELECT "column", role FROM damson.baselines WHERE model = 'axes';
SELECT version FROM damson.train('by_zip', 'homes', target => 'price', algorithm => 'linear', features => '{sqft,rooms}', group_by => '{zip}');
SELECT "column", role, method, drifted FROM damson.drift('by_zip', 'homes');
SELECT "column", role, drifted FROM damson.drift('by_zip', $$SELECT sqft, rooms, CASE WHEN id % 2 = 0 THEN 'moon' ELSE zip END AS zip FROM homes$$);
SET damson.runner = 'aggregate';
SELECT version FROM damson.train('in_rounds', 'homes', target => 'price', algorithm => 'linear', features => '{sqft,rooms,zip}', split => 'none');
RESET damson.runner;
SELECT a."column", a.role, a.rows = b.rows AND a.missing = b.missing AND a."distinct" = b."distinct" AND a.min = b.min AND a.max = b.max AND a.median = b.median AND abs(a.mean - b.mean) < 1e-9 AS as_on_threads
FROM damson.baselines a LEFT JOIN damson.baselines b ON b.model = 'homes' AND b."column" = a."column" WHERE a.model = 'in_rounds';
SELECT count(*) FROM damson.search('searched', 'homes', target => 'price', algorithm => 'elastic_net', features => '{sqft,rooms,zip}', trials => 2);
SELECT count(*) FROM damson.baselines WHERE model = 'searched';

-- case: the planner's statistics say the same without reading the table
CREATE TABLE before AS SELECT (i * 7919 % 10007 / 10.0)::float8 AS x, i * 31 % 977 AS n, 'c' || i * 17 % 5 AS c, i % 3 = 0 AS b, timestamptz '2026-01-01 00:00+00' + i * interval '1 minute' AS seen, i % 11 AS y FROM generate_series(1, 5000) i;
CREATE TABLE now_same AS SELECT * FROM before;
CREATE TABLE now_shifted AS SELECT x + 400 AS x, n, CASE WHEN c IN ('c1', 'c2') THEN 'c0' ELSE c END AS c, b, seen + interval '60 days' AS seen, y FROM before;
ANALYZE now_same;
ANALYZE now_shifted;
SELECT version FROM damson.train('watched', 'before', target => 'y', algorithm => 'linear', task => 'regression');
SELECT q."column", q.method, q.drifted, q.drifted = d.drifted AS agrees, q.error FROM damson.drift_quick('watched', 'now_same') q JOIN damson.drift('watched', 'now_same') d USING ("column") WHERE q.role = d.role;
SELECT q."column", q.method, q.drifted, q.drifted = d.drifted AS agrees FROM damson.drift_quick('watched', 'now_shifted') q JOIN damson.drift('watched', 'now_shifted') d USING ("column") WHERE q.role = d.role;
SELECT drifted FROM damson.drift_quick('watched', 'now_shifted') WHERE role = 'dataset';

-- case: quality, with a model and without
SELECT "column", "check", rows, round(share::numeric, 4) AS share, problem, detail FROM damson.data_quality($$SELECT CASE WHEN i < 40 THEN NULL ELSE i END AS a, 'same' AS s, i % 2 AS d, NULL::text AS e FROM generate_series(1, 100) i$$);
SELECT "column", "check", rows, round(baseline::numeric, 4) AS baseline, problem, detail FROM damson.data_quality($$SELECT sqft * 10 AS sqft, 3 AS rooms, CASE WHEN id % 4 = 0 THEN 'moon' WHEN id % 4 = 1 THEN zip END AS zip FROM homes$$, model => 'homes');
SELECT "column", "check", rows, problem FROM damson.data_quality('SELECT sqft, rooms, zip, price FROM homes WHERE id <= 100', model => 'homes');

-- case: performance, then and now
SELECT metric, value BETWEEN lower AND upper AS inside, degraded FROM damson.performance_drift('homes', 'homes') WHERE metric IN ('rmse', 'mae', 'r2') ORDER BY 1;
SELECT metric, change > 0 AS larger, degraded FROM damson.performance_drift('homes', 'SELECT sqft, rooms, zip, price * 1.5 AS price FROM homes') WHERE metric IN ('rmse', 'mae') ORDER BY 1;
SELECT count(*) > 3 AS metrics, bool_or(degraded) FROM damson.performance_drift('churn', $$SELECT age, spend, plan, active, joined, seen, region, tenure, CASE churned WHEN 'yes' THEN 'no' ELSE 'yes' END AS churned FROM customers$$);

-- case: a concept that changes is noticed, one that stays is not
CREATE VIEW answered AS SELECT i, timestamp '2026-01-01 00:00' + i * interval '1 minute' AS at, 400 + (i * 617) % 2000 AS sqft, 1 + i % 5 AS rooms, 'z' || i * 7 % 4 AS zip,
    (50 + 0.2 * (400 + (i * 617) % 2000) + 15 * (1 + i % 5) + 20 * (i * 7 % 4) + i * 29 % 11 + CASE WHEN i > 1500 THEN 60 ELSE 0 END)::float8 AS price FROM generate_series(1, 3000) i;
SELECT row > 1500 AND row < 1600 AS soon, at, round(mean_before::numeric) AS before, round(mean_after::numeric) AS after FROM damson.concept_drift('homes', 'SELECT * FROM answered ORDER BY at DESC', order_by => 'at');
SELECT count(*) FROM damson.concept_drift('homes', 'SELECT * FROM answered WHERE i <= 1500', order_by => 'i');
SELECT row > 1500 AND row < 1600 AS soon FROM damson.concept_drift('homes', 'answered', order_by => 'i', method => 'page_hinkley');
SELECT row, at FROM damson.change_points('SELECT i, CASE WHEN i > 500 THEN 1.0 ELSE 0.0 END AS x FROM generate_series(1, 1000) i', 'x', order_by => 'i', params => '{"clock": 1}');

-- case: what goes with the model
CALL damson.drop_model('churn');
SELECT count(*) FROM damson_drift.baselines b WHERE NOT EXISTS (SELECT FROM damson_catalog.versions v WHERE v.id = b.version);
SELECT count(*) FROM damson.baselines WHERE model = 'churn';

-- case: what cannot be
SELECT expect($$SELECT damson.drift('nothing', 'homes')$$);
SELECT expect($$SELECT damson.drift('homes@7', 'homes')$$);
SELECT expect($$SELECT damson.drift('homes', 'nowhere')$$);
SELECT expect($$SELECT damson.drift('homes', 'SELECT sqft FROM homes')$$);
SELECT expect($$SELECT damson.drift('homes', 'SELECT * FROM homes WHERE false')$$);
SELECT expect($$SELECT damson.drift('homes', $q$SELECT 'a' || sqft AS sqft, rooms, zip FROM homes$q$, predictions => false)$$);
SELECT expect($$SELECT damson.drift('homes', 'homes', method => 'guess')$$);
SELECT expect($$SELECT damson.drift('homes', 'homes', method => '{"zip": "ks"}')$$);
SELECT expect($$SELECT damson.drift('homes', 'homes', method => '{"nowhere": "ks"}')$$);
SELECT expect($$SELECT damson.drift('homes', 'homes', method => '{"sqft": 7}')$$);
SELECT expect($$SELECT damson.drift('homes', 'homes', method => '{')$$);
SELECT expect($$SELECT damson.drift('homes', 'homes', threshold => -1)$$);
SELECT expect($$SELECT damson.drift('homes', 'homes', columns => '{nowhere}')$$);
SELECT expect($$SELECT damson.drift('homes', 'homes', columns => '{NULL}')$$);
SELECT expect($$SELECT damson.drift('homes', 'homes', drift_share => 2)$$);
SELECT expect($$SELECT damson.drift_between('SELECT 1 AS a', 'SELECT 1 AS b')$$);
SELECT expect($$SELECT damson.drift_between('SELECT 1 AS a', $q$SELECT 'x' AS a$q$)$$);
SELECT expect($$SELECT damson.drift_quick('watched', 'nowhere')$$);
SELECT expect($$SELECT damson.drift_quick('watched', 'made')$$);
SELECT expect($$SELECT damson.drift_quick('watched', 'now_same', method => 'ks')$$);
SELECT expect($$SELECT damson.data_quality('SELECT * FROM homes WHERE false')$$);
SELECT expect($$SELECT damson.concept_drift('homes', 'answered', order_by => 'zip')$$);
SELECT expect($$SELECT damson.concept_drift('homes', 'answered', order_by => 'i', method => 'guess')$$);
SELECT expect($$SELECT damson.concept_drift('homes', 'answered', order_by => 'i', params => '{"clock": 0}')$$);
SELECT expect($$SELECT damson.concept_drift('clusters', 'flowers', order_by => 'id')$$);
SELECT expect($$SELECT damson.change_points('homes', 'zip', order_by => 'id')$$);
UPDATE damson_drift.baselines SET sketch = set_byte(sketch, 0, 9) WHERE name = 'sqft' AND version = (SELECT min(version) FROM damson_drift.baselines);
SELECT expect($$SELECT damson.drift('homes', 'homes')$$);
DELETE FROM damson_drift.baselines;
SELECT expect($$SELECT damson.drift('homes', 'homes')$$);
