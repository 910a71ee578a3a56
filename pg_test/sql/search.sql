-- Searches for parameters and algorithms: every method, what is recorded, resuming, errors.
\set ECHO none
\i fixtures/start.sql
\i fixtures/data.sql
-- A leaderboard without what the clock and the processor decide.
CREATE TYPE board_row AS (rank bigint, trial bigint, params jsonb, resource bigint, metric text, value numeric, std numeric, status text, error text);
CREATE FUNCTION shown(t record) RETURNS board_row LANGUAGE plpgsql AS $$
BEGIN RETURN (t.rank, t.trial, t.params::jsonb, t.resource, t.metric, round(t.value::numeric, 2), round(t.std::numeric, 2), t.status, t.error)::board_row; END $$;
\set ECHO all

-- Methods -----------------------------------------------------------------------------------------------------

-- case: a grid, and the version that it makes
SELECT (shown(t)).* FROM damson.search('price', 'homes', target => 'price', algorithm => 'ridge', space => '{"alpha": [0.1, 10, 1000]}', method => 'grid') t;
SELECT version, algorithm, metric, round(value::numeric, 2) AS value, aliases FROM damson.versions WHERE model = 'price';
SELECT value FROM damson.describe('price') WHERE property IN ('train rows', 'params.alpha');
SELECT split, metric, round(value::numeric, 2) AS value FROM damson.metrics WHERE model = 'price' AND (metric = 'rmse' OR split LIKE 'selection%');
SELECT round(damson.predict('price', h)::numeric) AS price FROM homes h WHERE id = 7;
-- case: options of preprocessing are searched as parameters are, and a default is in both
SELECT (shown(t)).* FROM damson.search('price', 'homes', target => 'price', algorithm => 'linear', method => 'grid', features => '{sqft,rooms,zip}',
    space => '{"preprocess.categories": ["dummy", "target", "ordinal"], "fit_intercept": [true, false]}') t;
-- case: by chance, by the estimator, by halving, by hyperband: the same again is the same
CREATE TABLE found (method text, turn int, board jsonb);
INSERT INTO found SELECT m, n, (SELECT jsonb_agg(to_jsonb(t) - 'seconds') FROM damson.search('churn_' || m, 'customers', target => 'churned', algorithm => 'logistic', method => m, trials => 14, features => '{age,spend,plan,tenure}') t)
FROM unnest(ARRAY['random', 'tpe', 'halving', 'hyperband']) m, generate_series(1, 2) n;
SELECT a.method, jsonb_array_length(a.board) AS trials, a.board = b.board AS same FROM found a JOIN found b USING (method) WHERE a.turn = 1 AND b.turn = 2 ORDER BY 1;
SELECT method, array_agg(DISTINCT (l->>'resource')::int) AS resources FROM found, jsonb_array_elements(board) l GROUP BY 1 ORDER BY 1;
-- case: trees as the resource of halving
SELECT resource, count(*) AS trials FROM damson.search('trees', 'customers', target => 'churned', features => '{age,spend,plan,tenure}', params => '{"trees": 27}',
    space => '{"learning_rate": {"float": [0.02, 0.5], "log": true}, "min_data_in_leaf": [5, 20]}', method => 'halving', resource => 'trees', trials => 9) GROUP BY 1 ORDER BY 1;
SELECT value FROM damson.describe('trees') WHERE property = 'params.n_estimators';
-- case: clusters, by a metric that is named
SELECT (shown(t)).* FROM damson.search('groups', 'flowers', algorithm => 'kmeans', features => '{petal,sepal}', space => '{"n_clusters": {"int": [2, 4]}}', method => 'grid', metric => 'silhouette') t;
-- case: another metric and task
SELECT rank, params, metric, status FROM damson.search('rank', 'SELECT sqft, rooms, (id % 3) AS grade FROM homes', target => 'grade', task => 'regression', algorithm => 'ridge', space => '{"alpha": [1]}', metric => 'mae');
-- case: class weights and row weights have their part
SELECT count(*) FROM damson.search('weighted', 'SELECT age, spend, tenure, churned, 1 + id % 3 AS w FROM customers', target => 'churned', algorithm => 'logistic', weight => 'w', class_weight => 'balanced', trials => 3);

-- What is honest ----------------------------------------------------------------------------------------------

-- case: rows held out of the whole search
SELECT count(*), max(resource) FROM damson.search('held', 'customers', target => 'churned', algorithm => 'logistic', features => '{age,spend,tenure}', space => '{"C": [0.01, 1, 100]}', method => 'grid', split => 'stratified', test_size => 0.25);
SELECT rank, trial, algorithm, params, metric, value IS NOT NULL AS value, honest IS NOT NULL AS honest, status, limited FROM damson.leaderboard WHERE model = 'held';
SELECT split, count(*) FROM damson.metrics WHERE model = 'held' AND round IS NULL GROUP BY 1 ORDER BY 1;
-- case: the whole search in outer folds
SELECT count(*) FROM damson.search('nested', 'homes', target => 'price', algorithm => 'ridge', space => '{"alpha": [0.1, 1000]}', method => 'grid', outer_folds => 3);
SELECT rank, params, round(value::numeric, 1) AS value, round(honest::numeric, 1) AS honest FROM damson.leaderboard WHERE model = 'nested';
SELECT split FROM damson.metrics WHERE model = 'nested' AND metric = 'rmse' ORDER BY 1;

-- What is recorded --------------------------------------------------------------------------------------------

-- case: a trial that fails is recorded, and the search goes on
SELECT (shown(t)).* FROM damson.search('some', 'flowers', target => 'species', algorithm => 'multinomial', features => '{petal,sepal}', method => 'grid',
    space => '{"preprocess.columns": [{}, {"nowhere": {"scale": "none"}}]}') t;
SELECT trial, params, preprocess, status, error, reused FROM damson.trials WHERE model = 'some';
-- case: the run has the arguments, and is one run
SELECT r.version, r.algorithm, r.status, r.arguments->'space' AS space, r.arguments->>'method' AS method FROM damson.runs r WHERE model = 'held';
-- case: a version without a search has no trials
SELECT count(*) FROM damson.train('plain', 'homes', target => 'price', algorithm => 'linear');
SELECT count(*) FROM damson.trials WHERE model = 'plain';
-- case: resuming does not repeat
SELECT count(*) FROM damson.search('again', 'homes', target => 'price', algorithm => 'ridge', trials => 12);
SELECT count(*) FROM damson.search('again', 'homes', target => 'price', algorithm => 'ridge', trials => 20, resume => true);
SELECT count(*) FROM damson.search('whole', 'homes', target => 'price', algorithm => 'ridge', trials => 20);
SELECT version, count(*) AS trials, count(*) FILTER (WHERE reused) AS reused FROM damson.trials WHERE model = 'again' GROUP BY 1 ORDER BY 1;
SELECT count(*) AS differ FROM damson.trials a JOIN damson.trials w USING (trial) WHERE a.model = 'again' AND a.version = 2 AND w.model = 'whole' AND (a.params, a.value, a.std) IS DISTINCT FROM (w.params, w.value, w.std);
-- case: a time limit that is not reached changes nothing
SELECT count(*) FROM damson.search('limited', 'homes', target => 'price', algorithm => 'ridge', trials => 3, time_limit => 600);
SELECT DISTINCT limited FROM damson.leaderboard WHERE model = 'limited';
-- case: a rollback takes all of it back
BEGIN;
SELECT count(*) FROM damson.search('gone', 'homes', target => 'price', algorithm => 'ridge', trials => 3);
SELECT count(*) FROM damson.trials WHERE model = 'gone';
ROLLBACK;
SELECT count(*) FROM damson.trials WHERE model = 'gone';
-- case: a dropped model takes its trials with it
CALL damson.drop_model('held');
SELECT count(*) FROM damson.trials WHERE model = 'held';
SELECT count(*) AS orphans FROM damson_catalog.trials t WHERE NOT EXISTS (SELECT FROM damson_catalog.runs r WHERE r.id = t.run);
SELECT count(*) AS orphans FROM damson_catalog.searches t WHERE NOT EXISTS (SELECT FROM damson_catalog.runs r WHERE r.id = t.run);

-- Over algorithms ---------------------------------------------------------------------------------------------

-- case: auto registers the winner under its own name
SELECT model, version, algorithm <> 'auto' AS own_name, task, train_rows, test_rows, metric, value < 20 AS good FROM damson.train('any', 'homes', target => 'price', algorithm => 'auto', params => '{"time_limit": null, "trials": 12}');
SELECT count(*) AS trials, count(DISTINCT algorithm) > 2 AS several, bool_or(limited) AS limited, count(honest) AS honest FROM damson.leaderboard WHERE model = 'any';
SELECT l.algorithm = v.algorithm AS winner_first FROM damson.leaderboard l JOIN damson.versions v USING (model, version) WHERE l.model = 'any' AND rank = 1;
-- case: of named algorithms, by a named metric, in given folds
SELECT algorithm, train_rows, test_rows, metric FROM damson.train('some_of', 'flowers', target => 'species', features => '{petal,sepal}', algorithm => 'auto', folds => 2, params => '{"algorithms": ["multinomial"], "metric": "log_loss", "trials": 4}');
SELECT DISTINCT algorithm, metric FROM damson.leaderboard WHERE model = 'some_of';
-- case: what bounds it
SELECT name, type, "default", range FROM damson.parameters('auto');

-- Rights ------------------------------------------------------------------------------------------------------

-- case: others see no trials of a model that is not theirs, nor may search for it
CREATE ROLE stranger;
GRANT SELECT ON homes TO stranger;
SET ROLE stranger;
SELECT count(*) FROM damson.trials;
SELECT count(*) FROM damson.leaderboard;
SELECT expect($$SELECT * FROM damson.search('price', 'homes', target => 'price', algorithm => 'ridge')$$);
SELECT expect($$SELECT * FROM damson_catalog.trials$$);
RESET ROLE;
-- case: who may predict sees them
CALL damson.grant_model('price', 'stranger');
SET ROLE stranger;
SELECT count(*) FROM damson.trials WHERE model = 'price' AND version = 1;
RESET ROLE;
REVOKE SELECT ON homes FROM stranger;
CALL damson.revoke_model('price', 'stranger');
DROP ROLE stranger;

-- Errors ------------------------------------------------------------------------------------------------------

-- case: parameters that the algorithm does not have, or not so
SELECT split_part(expect($$SELECT * FROM damson.search('m', 'homes', target => 'price', space => '{"num_leafs": [3]}')$$), E'\n', 1) AS expect;
SELECT expect($$SELECT * FROM damson.search('m', 'homes', target => 'price', space => '{"num_leaves": {"int": [1, 31]}}')$$);
SELECT expect($$SELECT * FROM damson.search('m', 'homes', target => 'price', space => '{"num_leaves": {"float": [2, 31]}}')$$);
SELECT split_part(expect($$SELECT * FROM damson.search('m', 'homes', target => 'price', space => '{"preprocess.scaling": ["none"]}')$$), E'\n', 1) AS expect;
-- case: ranges that are none
SELECT expect($$SELECT * FROM damson.search('m', 'homes', target => 'price', space => '{"num_leaves": {"int": [31, 3]}}')$$);
SELECT expect($$SELECT * FROM damson.search('m', 'homes', target => 'price', space => '{"lambda_l2": {"float": [0, 3], "log": true}}')$$);
SELECT expect($$SELECT * FROM damson.search('m', 'homes', target => 'price', space => '{"num_leaves": {"from": 3, "to": 5}}')$$);
SELECT expect($$SELECT * FROM damson.search('m', 'homes', target => 'price', space => '{"num_leaves": []}')$$);
SELECT expect($$SELECT * FROM damson.search('m', 'homes', target => 'price', space => '{}')$$);
SELECT expect($$SELECT * FROM damson.search('m', 'homes', target => 'price', space => 'num_leaves')$$);
-- case: a grid that is too large
SELECT expect($$SELECT * FROM damson.search('m', 'homes', target => 'price', method => 'grid', space => '{"num_leaves": {"int": [2, 201], "points": 200}, "max_bin": {"int": [2, 101], "points": 100}}')$$);
SELECT expect($$SELECT * FROM damson.search('m', 'homes', target => 'price', method => 'grid', trials => 2, space => '{"num_leaves": [3, 5, 7]}')$$);
-- case: counts and limits out of range
SELECT expect($$SELECT * FROM damson.search('m', 'homes', target => 'price', trials => 0)$$);
SELECT expect($$SELECT * FROM damson.search('m', 'homes', target => 'price', trials => -3)$$);
SELECT expect($$SELECT * FROM damson.search('m', 'homes', target => 'price', time_limit => -1)$$);
SELECT expect($$SELECT * FROM damson.search('m', 'homes', target => 'price', folds => 1)$$);
SELECT expect($$SELECT * FROM damson.search('m', 'homes', target => 'price', outer_folds => 3, split => 'random')$$);
SELECT expect($$SELECT * FROM damson.search('m', 'homes', target => 'price', factor => 1)$$);
-- case: no such method, algorithm, metric, resource, default space
SELECT expect($$SELECT * FROM damson.search('m', 'homes', target => 'price', method => 'bayes')$$);
SELECT split_part(expect($$SELECT * FROM damson.search('m', 'homes', target => 'price', algorithm => 'bosting')$$), E'\n', 1) AS expect;
SELECT split_part(expect($$SELECT * FROM damson.search('m', 'homes', target => 'price', metric => 'auc')$$), E'\n', 1) AS expect;
SELECT expect($$SELECT * FROM damson.search('m', 'homes', target => 'price', method => 'halving', resource => 'learning_rate')$$);
SELECT expect($$SELECT * FROM damson.search('m', 'homes', target => 'price', resource => 'trees')$$);
SELECT expect($$SELECT * FROM damson.search('m', 'homes', target => 'price', algorithm => 'linear')$$);
-- case: fixed and searched at once
SELECT expect($$SELECT * FROM damson.search('m', 'homes', target => 'price', params => '{"max_leaf_nodes": 3}', space => '{"num_leaves": [3, 5]}')$$);
-- case: without a target a metric must be named, and nothing can be held out
SELECT expect($$SELECT * FROM damson.search('m', 'homes', algorithm => 'kmeans', features => '{sqft}')$$);
SELECT expect($$SELECT * FROM damson.search('m', 'homes', algorithm => 'kmeans', features => '{sqft}', metric => 'silhouette', split => 'random')$$);
SELECT expect($$SELECT * FROM damson.search('m', 'homes', algorithm => 'ridge')$$);
-- case: all trials failed
SELECT expect($$SELECT * FROM damson.search('m', 'homes', target => 'price', algorithm => 'ridge', method => 'grid', space => '{"preprocess.columns": [{"a": {"scale": "none"}}, {"b": {"scale": "none"}}]}')$$);
-- case: too few rows for the folds, none at all
SELECT expect($$SELECT * FROM damson.search('m', 'SELECT * FROM homes LIMIT 2', target => 'price', algorithm => 'ridge')$$);
SELECT expect($$SELECT * FROM damson.search('m', 'SELECT * FROM homes LIMIT 0', target => 'price', algorithm => 'ridge')$$);
-- case: nothing to resume, and rows that changed
SELECT expect($$SELECT * FROM damson.search('again', 'homes', target => 'price', algorithm => 'ridge', seed => 3, resume => true)$$);
CREATE TABLE few AS SELECT * FROM homes WHERE id < 100;
SELECT count(*) FROM damson.search('few', 'few', target => 'price', algorithm => 'ridge', trials => 2);
DELETE FROM few WHERE id = 7;
SELECT expect($$SELECT * FROM damson.search('few', 'few', target => 'price', algorithm => 'ridge', trials => 4, resume => true)$$);
-- case: by aggregate
SET damson.runner = 'aggregate';
SELECT expect($$SELECT * FROM damson.search('m', 'homes', target => 'price', algorithm => 'ridge')$$);
SELECT expect($$SELECT * FROM damson.train('m', 'homes', target => 'price', algorithm => 'auto')$$);
RESET damson.runner;
-- case: a model of another task
SELECT expect($$SELECT * FROM damson.search('price', 'flowers', target => 'species', algorithm => 'boosting')$$);
-- case: wishes that auto does not know
SELECT split_part(expect($$SELECT * FROM damson.train('m', 'homes', target => 'price', algorithm => 'auto', params => '{"trees": 3}')$$), E'\n', 1) AS expect;
SELECT expect($$SELECT * FROM damson.train('m', 'homes', target => 'price', algorithm => 'auto', params => '{"algorithms": ["kmeans"]}')$$);
SELECT expect($$SELECT * FROM damson.train('m', 'homes', algorithm => 'auto')$$);
SELECT count(*) FROM damson.models WHERE name = 'm';
