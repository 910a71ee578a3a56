-- Naive Bayes, and dummy baselines.
\set ECHO none
\i fixtures/start.sql
\i fixtures/data.sql
SET extra_float_digits = 0;
\t on
\set ECHO all

-- case: numbers and categories side by side
SELECT model, version, algorithm, task, train_rows, metric, value > 0.6 AS good FROM damson.train('churn', 'customers', 'churned', 'naive_bayes', features => '{age, spend, plan, active, tenure}', split => 'none');
SELECT property, value FROM damson.describe('churn') WHERE property ~ '^priors|^plan:';
SELECT avg((damson.classify('churn', c) = churned)::int) > 0.6 AS right, bool_and(damson.probability('churn', 'yes', c) BETWEEN 0 AND 1) AS shares FROM customers c;
-- case: NULL is left out; nothing known gives the priors
SELECT damson.probability('churn', 'yes', NULL, NULL, NULL, NULL, NULL) = avg((churned = 'yes')::int) AS priors FROM customers;
SELECT damson.probability('churn', 'yes', 30, NULL, 'no such plan', NULL, NULL) = damson.probability('churn', 'yes', 30, NULL, NULL, NULL, NULL) AS unseen;
-- case: counts, yes and no
SELECT value > 0.5 FROM damson.train('counts', 'flowers', 'species', 'naive_bayes', features => '{petal, sepal}', params => '{"distribution": "multinomial"}', split => 'none');
SELECT value > 0.5 FROM damson.train('yes_or_no', 'flowers', 'species', 'naive_bayes', features => '{petal, sepal}', params => '{"distribution": "bernoulli", "binarize": 1}', split => 'none');
-- case: wrong data and parameters
SELECT expect($$SELECT damson.train('m', 'SELECT (petal - 1)::int AS less, species FROM flowers', 'species', 'naive_bayes', params => '{"distribution": "multinomial"}', split => 'none')$$);
SELECT expect($$SELECT damson.train('m', 'flowers', 'species', 'naive_bayes', params => '{"distribution": "poisson"}')$$);
SELECT expect($$SELECT damson.train('m', 'flowers', 'species', 'naive_bayes', params => '{"var_smoothing": 0}')$$);
SELECT expect($$SELECT damson.train('m', 'flowers', 'species', 'naive_bayes', params => '{"priors": [0.5, 0.5]}')$$);
SELECT expect($$SELECT damson.train('m', 'homes', 'price', 'naive_bayes', task => 'regression')$$);
-- case: baselines of a regression
SELECT count(*) FROM damson.train('mean', 'homes', 'price', 'dummy', split => 'none');
SELECT count(*) FROM damson.train('median', 'homes', 'price', 'dummy', params => '{"strategy": "median"}', split => 'none');
SELECT count(*) FROM damson.train('tenth', 'homes', 'price', 'dummy', params => '{"strategy": "quantile", "quantile": 0.1}', split => 'none');
SELECT abs(avg(damson.predict('mean', h)) - avg(price)) < 1e-9 AS mean, abs(avg(damson.predict('median', h)) - percentile_cont(0.5) WITHIN GROUP (ORDER BY price)) < 1e-9 AS median,
    abs(avg(damson.predict('tenth', h)) - percentile_cont(0.1) WITHIN GROUP (ORDER BY price)) < 1e-9 AS tenth FROM homes h;
-- case: baselines of a classification
SELECT count(*) FROM damson.train('shares', 'flowers', 'species', 'dummy', split => 'none');
SELECT count(*) FROM damson.train('most', 'customers', 'churned', 'dummy', params => '{"strategy": "most_frequent"}', split => 'none');
SELECT damson.probabilities('shares', f) FROM flowers f LIMIT 1;
SELECT damson.classify('most', c) = (SELECT mode() WITHIN GROUP (ORDER BY churned) FROM customers) AS most FROM customers c LIMIT 1;
-- case: strategies of another task
SELECT expect($$SELECT damson.train('m', 'flowers', 'species', 'dummy', params => '{"strategy": "median"}')$$);
SELECT expect($$SELECT damson.train('m', 'homes', 'price', 'dummy', params => '{"strategy": "prior"}')$$);
SELECT expect($$SELECT damson.train('m', 'homes', 'price', 'dummy', params => '{"strategy": "constant"}')$$);
SELECT expect($$SELECT damson.train('m', 'flowers', 'species', 'dummy', params => '{"strategy": "constant", "constant": 3}')$$);
