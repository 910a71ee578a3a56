-- A share of the keys for a challenger, and challengers in the shadow.
\set ECHO none
\i fixtures/start.sql
\i fixtures/data.sql
SELECT count(*) FROM generate_series(1, 3) n, damson.train('m', format('SELECT i AS x, %s AS y FROM generate_series(1, 9) i', n), 'y', 'linear', task => 'regression', split => 'none');
SET client_min_messages = warning;
DROP ROLE IF EXISTS damson_stranger;
CREATE ROLE damson_stranger;
RESET client_min_messages;
\set ECHO all

-- case: without a canary all keys go to production
SELECT damson.route('m', i::text), count(*) FROM generate_series(1, 1000) i GROUP BY 1;
-- case: a canary needs an alias, a share, and an owner
SELECT expect($$CALL damson.canary('m', 0.1)$$);
CALL damson.deploy('m', 2, 'challenger');
SELECT expect($$CALL damson.canary('m', 1.1)$$);
SELECT expect($$CALL damson.canary('m', -0.1)$$);
SELECT expect($$CALL damson.canary('m', 'NaN')$$);
SELECT expect($$CALL damson.canary('m', NULL)$$);
SELECT expect($$CALL damson.canary('m', 0.1, 'production')$$);
SELECT expect($$CALL damson.canary('nothing', 0.1)$$);
-- case: a share of the keys goes to it
CALL damson.canary('m', 0.1);
SELECT model, canary, canary_share FROM damson.policies;
SELECT damson.route('m', i::text), count(*) BETWEEN 900 AND 1100 OR count(*) > 8900 AS about FROM generate_series(1, 10000) i GROUP BY 1 ORDER BY 1;
SELECT round(damson.predict(damson.route('m', i::text), 1)::numeric) AS score, count(*) > 900 AS many FROM generate_series(1, 10000) i GROUP BY 1 ORDER BY 1;
-- case: keys that went there stay there while it grows
CREATE TABLE before AS SELECT i AS key, damson.route('m', i::text) AS went FROM generate_series(1, 2000) i;
CALL damson.canary('m', 0.5);
SELECT count(*) FROM before b WHERE went = 'm@challenger' AND damson.route('m', key::text) <> went;
CALL damson.canary('m', 1);
SELECT damson.route('m', i::text), count(*) FROM generate_series(1, 1000) i GROUP BY 1;
-- case: it follows its alias, and is part of its transaction
BEGIN;
CALL damson.deploy('m', 3, 'challenger');
SELECT round(damson.predict(damson.route('m', 'k'), 1)::numeric);
CALL damson.canary('m', 0);
SELECT round(damson.predict(damson.route('m', 'k'), 1)::numeric);
ROLLBACK;
SELECT round(damson.predict(damson.route('m', 'k'), 1)::numeric);
-- case: what a canary serves must meet the model's rules, whenever it is deployed
CALL damson.set_policy('m', gate => 'train.rmse < 0.5 and production.train.rmse < 1');
CALL damson.deploy('m', 3, 'challenger');
CALL damson.set_policy('m', gate => 'train.rmse > 0.5');
SELECT split_part(expect($$CALL damson.deploy('m', 2, 'challenger')$$), E'\n', 1);
SELECT split_part(expect($$CALL damson.rollback('m', 'challenger')$$), E'\n', 1);
SELECT split_part(expect($$CALL damson.canary('m', 0.2)$$), E'\n', 1);
CALL damson.canary('m', 0);
CALL damson.deploy('m', 2, 'challenger');
SELECT split_part(expect($$CALL damson.canary('m', 0.2)$$), E'\n', 1);
CALL damson.set_policy('m', gate => '');
-- case: promotion ends it
CALL damson.canary('m', 0.2);
CALL damson.promote('m');
SELECT count(*) FROM damson.policies;
SELECT damson.route('m', i::text), count(*) FROM generate_series(1, 1000) i GROUP BY 1;
-- case: NULL keys, names that are none, and models of others
SELECT damson.route('m', NULL);
SELECT expect($$SELECT damson.route('nothing', 'k')$$);
SELECT expect($$SELECT damson.route('m@1', 'k')$$);
SET ROLE damson_stranger;
SELECT expect($$SELECT damson.route('m', 'k')$$);
SELECT expect($$CALL damson.canary('m', 0.2)$$);
SELECT expect($$SELECT * FROM damson.shadow('m', 'SELECT 1 AS x')$$);
SELECT count(*) FROM damson.policies;
RESET ROLE;
CALL damson.grant_model('m', 'damson_stranger');
SET ROLE damson_stranger;
SELECT damson.route('m', 'k');
SELECT expect($$CALL damson.canary('m', 0.2)$$);
RESET ROLE;

-- In the shadow ------------------------------------------------------------------------------------------------

-- case: numbers of two versions
CALL damson.deploy('m', 3, 'challenger');
SELECT metric, round(champion::numeric, 6) AS champion, round(challenger::numeric, 6) AS challenger, round(value::numeric, 6) AS value, rows
FROM damson.shadow('m', 'SELECT i AS x FROM generate_series(1, 5) i');
-- case: with the true answers, whose metrics are better
SELECT metric, round(champion::numeric, 6) AS champion, round(challenger::numeric, 6) AS challenger, round(value::numeric, 6) AS value
FROM damson.shadow('m', 'SELECT i AS x, 3 AS y FROM generate_series(1, 5) i', target => 'y') WHERE metric IN ('mae', 'rmse');
-- case: any two versions, the same one too
SELECT metric, value FROM damson.shadow('m', 'SELECT i AS x FROM generate_series(1, 5) i', challenger => '1', champion => '1');
-- case: classes
SELECT version FROM damson.train('churn', 'customers', 'churned', 'logistic', features => '{age}', split => 'none');
SELECT version FROM damson.train('churn', 'customers', 'churned', 'logistic', features => '{age,spend}', split => 'none');
SELECT metric, round(champion::numeric, 3) AS champion, round(challenger::numeric, 3) AS challenger, round(value::numeric, 3) AS value, rows
FROM damson.shadow('churn', 'customers', challenger => '2', target => 'churned') ORDER BY metric;
-- case: it agrees with what the scoring functions say
SELECT avg((damson.classify('churn@1', c) = damson.classify('churn@2', c))::int) = (SELECT value FROM damson.shadow('churn', 'customers', '2') WHERE metric = 'agreement') AS same
FROM customers c;
SELECT abs(avg(abs(damson.probability('churn@1', 'yes', c) - damson.probability('churn@2', 'yes', c)))
    - (SELECT value FROM damson.shadow('churn', 'customers', '2') WHERE metric = 'mean_absolute_difference')) < 1e-12 AS same
FROM customers c;
-- case: what cannot be compared
SELECT expect($$SELECT * FROM damson.shadow('churn', 'customers')$$);
SELECT expect($$SELECT * FROM damson.shadow('churn@1', 'customers', '2')$$);
SELECT expect($$SELECT * FROM damson.shadow('churn', 'SELECT * FROM customers WHERE false', '2')$$);
SELECT expect($$SELECT * FROM damson.shadow('churn', 'SELECT age FROM customers', '2')$$);
SELECT expect($$SELECT * FROM damson.shadow('churn', 'DELETE FROM customers RETURNING *', '2')$$);
SELECT expect($$SELECT * FROM damson.shadow('churn', NULL, '2')$$);
SELECT version FROM damson.train('kinds', 'flowers', algorithm => 'kmeans', features => '{petal,sepal}', params => '{"n_clusters": 3}');
SELECT expect($$SELECT * FROM damson.shadow('kinds', 'flowers', '1')$$);
\set ECHO none
SET client_min_messages = warning;
DROP OWNED BY damson_stranger;
DROP ROLE damson_stranger;
