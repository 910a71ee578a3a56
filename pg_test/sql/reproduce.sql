-- Versions trained again from what was recorded: the same bytes, or the cause why not.
\set ECHO none
\i fixtures/start.sql
\i fixtures/data.sql
SET client_min_messages = error;
CREATE FUNCTION same_on(threads int, model text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE found text;
BEGIN
    PERFORM set_config('damson.threads', threads::text, true);
    SELECT CASE WHEN bool_and(same) FILTER (WHERE what = 'artifact') THEN 'identical' ELSE 'differs' END
        || coalesce(': ' || string_agg(what, ', ') FILTER (WHERE NOT same AND what <> 'artifact'), '')
    INTO found FROM damson.reproduce(model);
    RETURN found;
END $$;
CREATE FUNCTION trained(algorithm text, tasks text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    SET LOCAL damson.threads = 2;
    IF algorithm IN ('poisson', 'negative_binomial') THEN
        PERFORM damson.train(algorithm, 'SELECT sqft, zip, price, rooms FROM homes', 'rooms', algorithm, task => 'regression', seed => 5);
    ELSIF algorithm = 'cnn' THEN
        PERFORM damson.train(algorithm, 'SELECT petal, sepal, species FROM flowers', 'species', algorithm, params => '{"architecture": "mlp", "epochs": 3}', seed => 5);
    ELSIF tasks LIKE '%regression%' THEN
        PERFORM damson.train(algorithm, 'SELECT sqft, rooms, zip, price FROM homes', 'price', algorithm, seed => 5);
    ELSIF algorithm = 'logistic' THEN
        PERFORM damson.train(algorithm, 'SELECT age, spend, plan, churned FROM customers', 'churned', algorithm, seed => 5);
    ELSIF tasks LIKE '%classification%' THEN
        PERFORM damson.train(algorithm, 'SELECT petal, sepal, species FROM flowers', 'species', algorithm, seed => 5);
    ELSE
        PERFORM damson.train(algorithm, 'SELECT petal, sepal FROM flowers', algorithm => algorithm, seed => 5);
    END IF;
    RETURN algorithm;
END $$;
\set ECHO all
-- case: every algorithm, on one thread and on three
SELECT a.name, same_on(1, t.model) AS on_one_thread, same_on(3, t.model) AS on_three
FROM damson.algorithms() a, LATERAL (SELECT trained(a.name, a.tasks) AS model OFFSET 0) t ORDER BY a.name;
-- case: every way to train
SELECT version FROM damson.train('ways', 'customers', 'churned', 'boosting', features => '{age,spend,plan,tenure}', folds => 3, class_weight => 'balanced', params => '{"trees": 7}');
SELECT version FROM damson.train('ways', 'customers', 'churned', 'logistic', features => '{age,spend,region}', threshold => '{"cost": {"fp": 1, "fn": 4}}', calibration => 'sigmoid', split => 'stratified', test_size => 0.3);
SELECT version FROM damson.train('ways', 'SELECT age, spend, seen, churned FROM customers', 'churned', 'logistic', split => 'time', time_column => 'seen', conformal => 0.9);
SELECT version FROM damson.train('ways', 'customers', 'churned', 'random_forest', features => '{age,spend}', group_by => '{plan}', unknown_group => 'global', key_column => 'id', seed => -7);
SELECT version FROM damson.train('ways', 'SELECT age, spend, joined, churned, 1 + age % 3 AS w FROM customers', 'churned', 'logistic', preprocess => '{"missing_indicator": true, "columns": {"age": {"scale": "standard"}}}', weight => 'w');
SET damson.runner = 'aggregate';
SELECT version FROM damson.train('ways', 'customers', 'churned', 'logistic', features => '{age,spend}', split => 'none');
RESET damson.runner;
SELECT count(*) > 1 AS searched FROM damson.search('ways', 'SELECT age, spend, plan, churned FROM customers', 'churned', 'boosting', space => '{"num_leaves": [3, 5], "trees": [4, 8], "preprocess.categories": ["native", "target"]}', method => 'grid', split => 'random');
SELECT version FROM damson.train('ways', 'SELECT age, spend, plan, churned FROM customers', 'churned', 'auto', params => '{"time_limit": null, "trials": 6}');
SELECT v.version, v.algorithm, same_on(1, 'ways@' || v.version) AS found FROM damson.versions v WHERE v.model = 'ways' ORDER BY v.version;
-- case: it says what it compared, and registers nothing
SELECT what, same FROM damson.reproduce('ways@3');
SELECT count(*) FROM damson.versions WHERE model = 'ways';
-- case: the search path and the time zone of then count
CREATE SCHEMA elsewhere;
CREATE TABLE elsewhere.homes AS SELECT * FROM homes LIMIT 50;
SET search_path = elsewhere, public;
SELECT version FROM damson.train('there', 'SELECT sqft, price FROM homes', 'price', 'linear');
RESET search_path;
SELECT same_on(1, 'there');

-- What changed -------------------------------------------------------------------------------------------------

SELECT version FROM damson.train('m', 'SELECT sqft, rooms, zip, price FROM homes', 'price', 'boosting', params => '{"trees": 10}');
-- case: one value of one row
BEGIN;
UPDATE homes SET sqft = sqft + 1 WHERE id = 17;
SELECT same_on(2, 'm');
ROLLBACK;
-- case: a row more
BEGIN;
INSERT INTO homes SELECT * FROM homes WHERE id = 3;
SELECT same_on(2, 'm');
SELECT what, recorded, found FROM damson.reproduce('m') WHERE what = 'rows';
ROLLBACK;
-- case: the same rows in another order
BEGIN;
CREATE TABLE sorted AS SELECT * FROM homes ORDER BY price;
DELETE FROM homes;
INSERT INTO homes SELECT * FROM sorted;
SELECT same_on(2, 'm');
ROLLBACK;
-- case: a parameter
BEGIN;
UPDATE damson_lineage.origins SET recipe = jsonb_set(recipe, '{params}', to_jsonb(replace(recipe ->> 'params', '"n_estimators":10', '"n_estimators":11')))
WHERE version = (SELECT v.id FROM damson_catalog.versions v JOIN damson_catalog.models m ON m.id = v.model WHERE m.name = 'm');
SELECT what, recorded, found FROM damson.reproduce('m') WHERE NOT same AND what <> 'artifact';
SELECT same_on(2, 'm');
ROLLBACK;
-- case: an option of preprocessing, and the seed
BEGIN;
UPDATE damson_lineage.origins SET recipe = jsonb_set(jsonb_set(recipe, '{seed}', '99'), '{preprocess}', to_jsonb(replace(recipe ->> 'preprocess', '"min_frequency":1', '"min_frequency":2')))
WHERE version = (SELECT v.id FROM damson_catalog.versions v JOIN damson_catalog.models m ON m.id = v.model WHERE m.name = 'm');
SELECT what, recorded, found FROM damson.reproduce('m') WHERE NOT same AND what LIKE ANY ('{seed,preprocess%}');
ROLLBACK;
-- case: the code
BEGIN;
UPDATE damson_lineage.origins SET build = '0123456789abcdef', libraries = jsonb_set(libraries, '{faer}', '"0.1.0"')
WHERE version = (SELECT v.id FROM damson_catalog.versions v JOIN damson_catalog.models m ON m.id = v.model WHERE m.name = 'm');
SELECT same_on(2, 'm');
ROLLBACK;
SET damson.protect_sources = off;
-- case: a column's type
BEGIN;
ALTER TABLE homes ALTER sqft TYPE float8 USING sqft + 0.5;
SELECT same_on(2, 'm');
SELECT what, recorded, found FROM damson.reproduce('m') WHERE what LIKE 'table%';
ROLLBACK;
-- case: a column that is gone, a table that is gone: nothing is trained, and the cause is named
BEGIN;
ALTER TABLE homes DROP COLUMN zip;
SELECT what, recorded IS NOT NULL AS was_there, found, same FROM damson.reproduce('m');
DROP TABLE homes;
SELECT what, recorded IS NOT NULL AS was_there, found, same FROM damson.reproduce('m');
ROLLBACK;
\t on
-- Errors
SELECT expect($$SELECT damson.reproduce('no_such_model')$$);
SELECT expect($$SELECT damson.reproduce('m@7')$$);
BEGIN;
DELETE FROM homes;
SELECT expect($$SELECT damson.reproduce('m')$$);
ROLLBACK;
SELECT expect(format('SELECT damson.reproduce(%L)', (SELECT damson.fit('linear', price, sqft) FROM homes)));
