-- Decision trees, forests and isolation forests: training, out-of-bag metrics, description, scores, bad parameters.
\set ECHO none
\i fixtures/start.sql
\i fixtures/data.sql
\set ECHO all

-- case: the algorithms and their parameters
SELECT name, tasks, version FROM damson.algorithms() WHERE name IN ('decision_tree', 'random_forest', 'extra_trees', 'isolation_forest') ORDER BY name;
SELECT a.name AS algorithm, p.name, p.type, p."default", p.range FROM damson.algorithms() a, damson.parameters(a.name) p WHERE a.name IN ('decision_tree', 'random_forest', 'isolation_forest');
SELECT a.name, p.name, p."default" FROM damson.algorithms() a, damson.parameters(a.name) p WHERE a.name = 'extra_trees' AND p.name = 'bootstrap';

-- case: a tree of classes
SELECT task, algorithm, metric, round(value::numeric, 3) AS value FROM damson.train('kind', 'flowers', 'species', 'decision_tree', features => '{petal,sepal}', split => 'none');
SELECT property, value FROM damson.describe('kind') WHERE property IN ('trees', 'leaves', 'depth') ORDER BY 1;
SELECT damson.classify('kind', f), count(*), sum((damson.classify('kind', f) = species)::int) AS right FROM flowers f GROUP BY 1 ORDER BY 1;
-- case: a forest of numbers, with missing values and categories, and what it left out
SELECT task, algorithm FROM damson.train('price', 'SELECT sqft, rooms, CASE WHEN id % 9 <> 0 THEN zip END AS zip, price FROM homes', 'price', 'random_forest', params => '{"n_estimators": 50, "oob_score": true}', split => 'none', seed => 7);
SELECT split, metric, value BETWEEN 0.9 AND 1 AS good FROM damson.metrics WHERE model = 'price' AND metric = 'r2' ORDER BY 1;
SELECT split, metric FROM damson.metrics WHERE model = 'price' AND split = 'oob' ORDER BY 2;
SELECT property FROM damson.describe('price') WHERE property ~ '^(oob|trees|depth|leaves|importance)' ORDER BY 1;
SELECT bool_and(abs(damson.predict('price', sqft, rooms, zip) - price) < 60) FROM homes;
SELECT damson.predict('price', 1000, 3, 'no such zip') IS NOT NULL, damson.predict('price', NULL, NULL, NULL) IS NOT NULL;
-- case: the same seed gives the same model
SELECT count(*) FROM damson.train('price2', 'SELECT sqft, rooms, CASE WHEN id % 9 <> 0 THEN zip END AS zip, price FROM homes', 'price', 'random_forest', params => '{"n_estimators": 50, "oob_score": true}', split => 'none', seed => 7);
SELECT bool_and(damson.predict('price', sqft, rooms, zip) = damson.predict('price2', sqft, rooms, zip)) FROM homes;
-- case: extra trees of two classes
SELECT task, metric, value > 0.5 AS learnt FROM damson.train('churn', 'customers', 'churned', 'extra_trees', features => '{age,tenure,spend,plan,active}', params => '{"max_features": 0.5, "min_samples_leaf": 3}', split => 'stratified');
SELECT count(*), bool_and(damson.probability('churn', 'yes', c) BETWEEN 0 AND 1) FROM customers c;
-- case: weights
SELECT algorithm FROM damson.train('heavy', 'SELECT petal, sepal, species, 1 + id % 3 AS w FROM flowers', 'species', 'random_forest', weight => 'w', params => '{"n_estimators": 20, "oob_score": true}', split => 'none');
SELECT split, metric, round(value::numeric, 1) AS value FROM damson.metrics WHERE model = 'heavy' AND metric = 'accuracy' ORDER BY 1;
-- case: anomalies
SELECT task, algorithm FROM damson.train('strange', 'SELECT sqft, rooms, zip FROM homes', algorithm => 'isolation_forest', params => '{"contamination": 0.05}', split => 'none');
SELECT property FROM damson.describe('strange') WHERE property IN ('trees', 'leaves', 'rows a tree', 'threshold') ORDER BY 1;
SELECT bool_and(damson.predict('strange', sqft, rooms, zip) BETWEEN 0.3 AND 0.8) AS usual, damson.predict('strange', 100000, 90, 'nowhere') > percentile_cont(0.95) WITHIN GROUP (ORDER BY damson.predict('strange', sqft, rooms, zip)) AS strange FROM homes;
-- case: bad parameters
SELECT expect($$SELECT damson.train('m', 'homes', 'price', 'random_forest', params => '{"max_features": "half"}')$$);
SELECT expect($$SELECT damson.train('m', 'homes', 'price', 'random_forest', params => '{"criterion": "gini"}')$$);
SELECT expect($$SELECT damson.train('m', 'homes', 'price', 'random_forest', params => '{"max_depth": 0}')$$);
SELECT expect($$SELECT damson.train('m', 'homes', 'price', 'extra_trees', params => '{"oob_score": true}')$$);
SELECT expect($$SELECT damson.train('m', 'homes', 'price', 'random_forest', params => '{"max_samples": 2.5}')$$);
SELECT expect($$SELECT damson.train('m', 'homes', 'price', 'decision_tree', params => '{"n_estimators": 10}')$$);
SELECT expect($$SELECT damson.train('m', 'homes', 'price', 'isolation_forest')$$);
SELECT expect($$SELECT damson.train('m', 'homes', algorithm => 'isolation_forest', params => '{"max_samples": 10.5}', split => 'none')$$);
SELECT expect($$SELECT damson.train('m', 'homes', algorithm => 'random_forest', split => 'none')$$);
SELECT expect($$SELECT damson.train('m', 'SELECT sqft, ''a'' AS kind FROM homes', 'kind', 'decision_tree')$$);
