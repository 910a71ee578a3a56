-- Generalised linear models: families, penalties, offsets, standard errors, and what damson.coefficients shows of them.
\set ECHO none
\i fixtures/start.sql
\i fixtures/data.sql
-- Counts by arithmetic alone: three rows in four are small, and the clinic says more than the age.
CREATE TABLE visits AS
SELECT i AS id, 20 + i * 37 % 50 AS age, i * 13 % 7 / 2.0 AS severity, 'c' || i % 12 AS clinic, 1 + i % 3 AS months,
       (1 + i % 3) * (1 + i * 13 % 7 / 2 + i * 7919 % 5)::int AS n, (0.5 + i * 7919 % 97 / 10.0 + i * 13 % 7)::float8 AS cost,
       ln(1 + i % 3) AS exposure, (ARRAY['1 low', '2 middle', '3 high'])[1 + (i * 13 % 7 + i * 7919 % 5) / 4] AS grade
FROM generate_series(1, 360) i;
-- What is shown of a model: six digits, whatever the machine.
CREATE FUNCTION shown(model text) RETURNS TABLE (class text, term text, estimate text, std_error text, statistic text, p_value text, lower text, upper text)
LANGUAGE sql AS $$
SELECT class, term, to_char(estimate, 'FM9990.00000'), to_char(std_error, 'FM9990.00000'), to_char(statistic, 'FM9990.0000'),
    to_char(p_value, 'FM0.00000'), to_char(lower, 'FM9990.0000'), to_char(upper, 'FM9990.0000') FROM damson.coefficients(model) $$;
\set ECHO all

-- case: errors, tests and intervals of least squares
SELECT count(*) FROM damson.train('line', 'visits', 'cost', 'linear', features => '{age,severity}', split => 'none');
SELECT * FROM shown('line');
SELECT property, round(value::numeric, 4) FROM damson.describe('line') WHERE property IN ('r2', 'adjusted r2', 'aic', 'f statistic', 'residual df');
-- case: the coefficients are for the columns as they are, also where preprocessing standardised them
SELECT count(*) FROM damson.train('line', 'visits', 'cost', 'linear', features => '{age,severity}', split => 'none', preprocess => '{"scale": "standard"}');
SELECT count(*) FROM shown('line@1') a JOIN shown('line@2') b USING (term, estimate, std_error, statistic, p_value, lower, upper);
-- case: robust and clustered errors, and another level
SELECT count(*) FROM damson.train('robust', 'visits', 'cost', 'linear', features => '{age,severity}', split => 'none', params => '{"cov_type": "HC3"}');
SELECT term, estimate, std_error FROM shown('robust');
SELECT count(*) FROM damson.train('clustered', 'visits', 'cost', 'linear', features => '{age,severity}', split => 'none', group_column => 'clinic', params => '{"cov_type": "cluster", "confidence_level": 0.9}');
SELECT term, std_error, lower, upper FROM shown('clustered');
-- case: counts with an exposure
SELECT count(*) FROM damson.train('counts', 'visits', 'n', 'poisson', task => 'regression', features => '{age,severity}', offset_column => 'exposure', split => 'none');
SELECT * FROM shown('counts');
SELECT count(*) FROM damson.train('spread', 'visits', 'n', 'negative_binomial', task => 'regression', features => '{severity}', split => 'none', params => '{"dispersion": 0.5}');
SELECT term, estimate, std_error FROM shown('spread');
-- case: evaluation adds the offset, as training did
SELECT metric, round(value::numeric, 6) = (SELECT round(m.value::numeric, 6) FROM damson.metrics m WHERE m.model = 'counts' AND m.metric = 'rmse' AND m.split = 'train') AS same
FROM damson.evaluate('counts', 'visits') WHERE metric = 'rmse';
-- case: amounts
SELECT count(*) FROM damson.train('amounts', 'visits', 'cost', 'gamma', features => '{age,severity}', split => 'none');
SELECT term, estimate, p_value FROM shown('amounts');
SELECT count(*) FROM damson.train('claims', 'visits', 'cost', 'tweedie', features => '{severity}', split => 'none', params => '{"power": 1.3, "link": "identity"}');
SELECT term, estimate, std_error FROM shown('claims');
-- case: two classes
SELECT count(*) FROM damson.train('churn', 'customers', 'churned', 'logistic', features => '{age,spend}', split => 'none', params => '{"penalty": "none", "cov_type": "HC0"}');
SELECT term, estimate, std_error, p_value FROM shown('churn');
SELECT count(*) FROM damson.train('probit', 'customers', 'churned', 'glm', features => '{age,spend}', split => 'none', params => '{"link": "probit"}');
SELECT term, estimate, std_error FROM shown('probit');
-- case: several classes are compared with the first
SELECT count(*) FROM damson.train('grades', 'visits', 'grade', 'multinomial', features => '{age,severity}', split => 'none', params => '{"penalty": "none"}');
SELECT class, term, estimate, std_error FROM shown('grades');
-- case: ordered classes have thresholds
SELECT count(*) FROM damson.train('ordered', 'visits', 'grade', 'ordinal', features => '{age,severity}', split => 'none');
SELECT class, term, estimate, std_error FROM shown('ordered');
SELECT damson.classify('ordered', 30, 0.0), damson.classify('ordered', 30, 3.0);
-- case: a penalty leaves no errors
SELECT count(*) FROM damson.train('shrunk', 'visits', 'cost', 'ridge', features => '{age,severity}', split => 'none');
SELECT * FROM shown('shrunk');
-- case: a path, and what it chose
SELECT count(*) FROM damson.train('chosen', 'visits', 'cost', 'lasso', features => '{age,severity,months}', split => 'none', params => '{"criterion": "bic", "n_alphas": 20}');
SELECT property, round(value::numeric, 4) FROM damson.describe('chosen') WHERE property IN ('alpha', 'bic', 'nonzero coefficients');
SELECT metric, count(*) FROM damson.metrics WHERE model = 'chosen' AND round IS NOT NULL GROUP BY 1 ORDER BY 1;
-- case: medians, and lines that outliers do not bend
SELECT count(*) FROM damson.train('middle', 'visits', 'cost', 'quantile', features => '{age,severity}', split => 'none', params => '{"quantile": 0.9}');
SELECT term, estimate, std_error FROM shown('middle');
SELECT count(*) FROM damson.train('bounded', 'visits', 'cost', 'huber', features => '{age,severity}', split => 'none');
SELECT term, estimate FROM shown('bounded');
-- case: a column that says nothing new is named, and has no error
SELECT count(*) FROM damson.train('twice', 'SELECT age, 2 * age AS age2, cost FROM visits', 'cost', 'linear', split => 'none');
SELECT * FROM shown('twice');
-- case: targets that a family does not have
SELECT expect($$SELECT * FROM damson.train('e', 'SELECT age, n - 3 AS n FROM visits', 'n', 'poisson', task => 'regression')$$);
SELECT expect($$SELECT * FROM damson.train('e', 'SELECT age, cost - 0.5 AS cost FROM visits UNION ALL SELECT 1, 0', 'cost', 'gamma', split => 'none')$$);
-- case: links, penalties and errors that do not go together
SELECT expect($$SELECT * FROM damson.train('e', 'visits', 'cost', 'gamma', features => '{age}', params => '{"link": "probit"}')$$);
SELECT expect($$SELECT * FROM damson.train('e', 'visits', 'cost', 'gamma', features => '{age}', params => '{"alpha": 1, "cov_type": "HC0"}')$$);
SELECT expect($$SELECT * FROM damson.train('e', 'visits', 'cost', 'gamma', features => '{age}', params => '{"cov_type": "cluster"}')$$);
SELECT expect($$SELECT * FROM damson.train('e', 'visits', 'cost', 'lasso', features => '{age}', params => '{"alphas": [1, -1]}')$$);
SELECT expect($$SELECT * FROM damson.train('e', 'visits', 'grade', 'glm', features => '{age}')$$);
-- case: an offset that is missing
SELECT expect($$SELECT * FROM damson.train('e', 'SELECT age, n, nullif(exposure, 0) AS exposure FROM visits', 'n', 'poisson', task => 'regression', offset_column => 'exposure')$$);
SELECT expect($$SELECT * FROM damson.train('e', 'visits', 'grade', 'multinomial', features => '{age}', offset_column => 'exposure')$$);
-- case: models without coefficients, and models that are not there
SELECT count(*) FROM damson.train('trees', 'visits', 'cost', 'boosting', features => '{age}', params => '{"trees": 2}', split => 'none');
SELECT expect($$SELECT damson.coefficients('trees')$$);
SELECT expect($$SELECT damson.coefficients('nothing')$$);
SELECT count(*) FROM damson.coefficients(NULL);
