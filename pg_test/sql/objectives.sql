-- Boosting: objectives, rules of growth, rankings.
\set ECHO none
\i fixtures/start.sql
\i fixtures/data.sql
CREATE TABLE answers AS SELECT (i / 12)::int AS query, (i * 37 % 101)::float8 AS match, (i * 53 % 97)::float8 AS age,
    least(3, (i * 37 % 101) / 30) AS relevance FROM generate_series(0, 959) i;
CREATE TABLE visits AS SELECT i % 10 AS day, (i * 7 % 13)::float8 AS heat, (i * 31 % 5 + i % 10)::int AS count, i % 4 = 0 AS fair
    FROM generate_series(1, 800) i;
\set ECHO all

-- Objectives --------------------------------------------------------------------------------------------------

-- case: counts under a log link are predicted above 0
SELECT algorithm, task, metric FROM damson.train('counts', 'visits', target => 'count', task => 'regression', params => '{"objective": "poisson", "trees": 20}');
SELECT min(damson.predict('counts', v)) > 0 AS positive, abs(avg(damson.predict('counts', v)) - avg(count)) < 0.1 AS unbiased FROM visits v;
-- case: a quantile lies above its share of the rows
SELECT count(*) FROM damson.train('high', 'visits', target => 'heat', features => '{day}', split => 'none', params => '{"objective": "quantile", "alpha": 0.8, "trees": 30}');
SELECT round(avg((heat <= damson.predict('high', v))::int), 1) AS share FROM visits v;
-- case: each objective trains on threads as in an aggregate
SELECT count(*) FROM unnest('{regression,regression_l1,huber,quantile,poisson,tweedie}'::text[]) o, damson.train('t_' || o, 'visits', target => 'count', task => 'regression', split => 'none', params => format('{"objective": "%s", "trees": 4}', o)) t;
SET damson.runner = 'aggregate';
SELECT count(*) FROM unnest('{regression,regression_l1,huber,quantile,poisson,tweedie}'::text[]) o, damson.train('a_' || o, 'visits', target => 'count', task => 'regression', split => 'none', params => format('{"objective": "%s", "trees": 4}', o)) t;
RESET damson.runner;
SELECT o, bool_and(damson.predict('t_' || o, v) = damson.predict('a_' || o, v)) AS same FROM unnest('{regression,regression_l1,huber,quantile,poisson,tweedie}'::text[]) o, visits v GROUP BY o ORDER BY o;
-- case: what was minimised is described
SELECT property, value FROM damson.describe('high') WHERE property = 'objective';
-- case: predictions rise with a feature that they must rise with
SELECT count(*) FROM damson.train('rising', 'visits', target => 'count', task => 'regression', params => '{"monotone_constraints": {"heat": 1}, "trees": 30}');
SELECT bool_and(up) AS rises FROM (SELECT damson.predict('rising', d, h, false) >= lag(damson.predict('rising', d, h, false), 1, 0) OVER (PARTITION BY d ORDER BY h) AS up FROM generate_series(0, 9) d, generate_series(0, 13) h) r;

-- Rankings ----------------------------------------------------------------------------------------------------

-- case: rows are ranked within their query, whole queries are held out
SELECT task, train_rows % 12 AS parted, test_rows, metric, value > 0.95 AS good FROM damson.train('search', 'answers', target => 'relevance', task => 'ranking', group_column => 'query', params => '{"trees": 20}');
SELECT metric FROM damson.evaluate('search', 'answers');
SELECT bool_and(value > 0.95) AS good FROM damson.evaluate('search', 'answers');
SELECT corr(damson.predict('search', a), match) > 0.8 AS follows FROM answers a;
-- case: a ranking is cross-validated by queries
SELECT metric, value > 0.9 AS good FROM damson.train('folded', 'answers', target => 'relevance', task => 'ranking', group_column => 'query', folds => 3, params => '{"trees": 5}');

-- Errors ------------------------------------------------------------------------------------------------------

-- case: a ranking without groups
SELECT expect($$SELECT damson.train('m', 'answers', target => 'relevance', task => 'ranking')$$);
-- case: a ranking in an aggregate
SET damson.runner = 'aggregate';
SELECT expect($$SELECT damson.train('m', 'answers', target => 'relevance', task => 'ranking', group_column => 'query', split => 'none')$$);
RESET damson.runner;
-- case: targets that an objective has no loss for
SELECT expect($$SELECT damson.train('m', 'SELECT day, heat, count - 20 AS count FROM visits', target => 'count', task => 'regression', params => '{"objective": "poisson"}')$$);
SELECT expect($$SELECT damson.train('m', 'SELECT day, heat, 0.0::float8 AS count FROM visits', target => 'count', params => '{"objective": "gamma"}')$$);
SELECT expect($$SELECT damson.train('m', 'SELECT query, match, relevance - 1.5 AS relevance FROM answers', target => 'relevance', task => 'ranking', group_column => 'query')$$);
-- case: objectives of another task
SELECT expect($$SELECT damson.train('m', 'visits', target => 'fair', params => '{"objective": "poisson"}')$$);
SELECT expect($$SELECT damson.train('m', 'visits', target => 'heat', params => '{"objective": "binary"}')$$);
SELECT expect($$SELECT damson.train('m', 'visits', target => 'heat', params => '{"objective": "l2"}')$$);
-- case: constraints on what is no feature, or has no order
SELECT expect($$SELECT damson.train('m', 'visits', target => 'heat', params => '{"monotone_constraints": {"heat": 1}}')$$);
SELECT expect($$SELECT damson.train('m', 'visits', target => 'heat', params => '{"monotone_constraints": {"day": 2}}')$$);
SELECT expect($$SELECT damson.train('m', 'customers', target => 'churned', features => '{age,plan}', params => '{"monotone_constraints": {"plan": 1}}')$$);
SELECT expect($$SELECT damson.train('m', 'visits', target => 'heat', params => '{"interaction_constraints": [["day", "noon"]]}')$$);
-- case: parameters that exclude each other
SELECT expect($$SELECT damson.train('m', 'visits', target => 'fair', params => '{"is_unbalance": true, "scale_pos_weight": 2}')$$);
SELECT expect($$SELECT damson.train('m', 'visits', target => 'heat', params => '{"scale_pos_weight": 2}')$$);
SELECT expect($$SELECT damson.train('m', 'visits', target => 'heat', params => '{"data_sample_strategy": "goss", "bagging_fraction": 0.5}')$$);
SELECT expect($$SELECT damson.train('m', 'visits', target => 'heat', params => '{"objective": "quantile", "alpha": 1}')$$);
