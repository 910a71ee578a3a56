-- Evaluation: intervals, slices, weights, curves, tables, fairness.
\set ECHO none
\i fixtures/start.sql
\i fixtures/data.sql
SELECT count(*) FROM damson.train('churn', 'customers', target => 'churned', algorithm => 'logistic', features => '{age,plan,tenure}') \g /dev/null
SELECT count(*) FROM damson.train('price', 'homes', target => 'price', algorithm => 'linear', features => '{sqft,rooms}') \g /dev/null
SELECT count(*) FROM damson.train('kind', 'flowers', target => 'species', algorithm => 'multinomial', features => '{petal}') \g /dev/null
SELECT count(*) FROM damson.train('groups', 'flowers', algorithm => 'kmeans', features => '{petal,sepal}', params => '{"k": 3}') \g /dev/null
\set ECHO all

-- Evaluate ----------------------------------------------------------------------------------------------------

-- case: metrics with their intervals
SELECT metric, lower <= value AND value <= upper AS within, slice, rows FROM damson.evaluate('churn', 'customers') ORDER BY 1;
SELECT metric, lower <= value AND value <= upper AS within, rows FROM damson.evaluate('price', 'homes') ORDER BY 1;
SELECT metric, lower <= value AND value <= upper AS within, rows FROM damson.evaluate('kind', 'flowers') ORDER BY 1;
SELECT bool_and(lower IS NULL AND upper IS NULL) AS none, count(*) > 0 AS measured FROM damson.evaluate('groups', 'flowers');
-- case: more confidence is wider
SELECT bool_and(b.upper - b.lower > a.upper - a.lower) AS wider
FROM damson.evaluate('churn', 'customers') a JOIN damson.evaluate('churn', 'customers', confidence => 0.999) b USING (metric) WHERE metric IN ('auc', 'accuracy', 'f1');
-- case: by slice, with a missing value
SELECT slice, rows, value BETWEEN 0 AND 1 AS measured FROM damson.evaluate('churn', $$SELECT *, nullif(plan::text, 'pro') AS part FROM customers$$, slice_by => 'part') WHERE metric = 'accuracy';
SELECT slice, rows FROM damson.evaluate('churn', 'customers', slice_by => 'active') WHERE metric = 'auc';
-- case: a weight of two counts as two rows
SELECT max(abs(a.value - b.value)) < 1e-9 AS same
FROM damson.evaluate('churn', 'SELECT *, 1 + id % 2 AS w FROM customers', weight => 'w') a
JOIN damson.evaluate('churn', 'SELECT * FROM customers UNION ALL SELECT * FROM customers WHERE id % 2 = 1') b USING (metric);
-- case: errors
SELECT expect($$SELECT damson.evaluate('churn', 'customers', slice_by => 'nope')$$);
SELECT expect($$SELECT damson.evaluate('churn', 'customers', slice_by => 'id')$$);
SELECT expect($$SELECT damson.evaluate('churn', 'customers', slice_by => 'joined')$$);
SELECT expect($$SELECT damson.evaluate('churn', 'customers', weight => 'nope')$$);
SELECT expect($$SELECT damson.evaluate('churn', 'SELECT *, 0 AS w FROM customers', weight => 'w')$$);
SELECT expect($$SELECT damson.evaluate('churn', 'customers', confidence => 1)$$);
SELECT expect($$SELECT damson.evaluate('groups', 'flowers', slice_by => 'species')$$);

-- Curves ------------------------------------------------------------------------------------------------------

-- case: ROC from no row to all rows, thinned
SELECT count(*) <= 200 AS bounded, min(fpr), max(fpr), min(tpr), max(tpr), max(threshold) FROM damson.roc('churn', 'customers');
SELECT count(*) <= 5 AS bounded, min(fpr), max(fpr) FROM damson.roc('churn', 'customers', points => 5);
SELECT abs(a.area - e.value) < 1e-9 AS same
FROM (SELECT sum((fpr - before) * (tpr + height) / 2) AS area FROM (SELECT fpr, tpr, lag(fpr) OVER w AS before, lag(tpr) OVER w AS height
        FROM damson.roc('churn', 'customers', points => 100000) WINDOW w AS (ORDER BY threshold DESC)) p) a, damson.evaluate('churn', 'customers') e WHERE e.metric = 'auc';
-- case: the other class
SELECT abs(sum(CASE WHEN class = 'yes' THEN rows ELSE -rows END)) = 0 AS same
FROM unnest(ARRAY['yes', 'no']) AS class, LATERAL (SELECT count(*) AS rows FROM damson.roc('churn', 'customers', class => class, points => 100000)) c;
-- case: precision and recall end where no row is called
SELECT count(*) <= 200 AS bounded, max(recall), count(*) FILTER (WHERE threshold IS NULL AND "precision" = 1 AND recall = 0) AS last FROM damson.pr_curve('churn', 'customers');
-- case: calibration
SELECT count(*) <= 5 AS bounded, sum(rows) AS rows, bool_and(predicted BETWEEN (bin - 1) / 5.0 AND bin / 5.0) AS inside FROM damson.calibration('churn', 'customers', bins => 5);
SELECT sum(rows) AS rows, max(rows) - min(rows) < 12 AS even FROM damson.calibration('churn', 'customers', bins => 4, strategy => 'quantile');
-- case: confusion adds up
SELECT sum(rows) AS rows, sum(weight) AS weight, sum(rows) FILTER (WHERE actual = 'yes') AS yes FROM damson.confusion('churn', 'customers');
SELECT sum(weight) AS weight FROM damson.confusion('churn', 'SELECT *, 2 AS w FROM customers', weight => 'w');
-- case: lift ends at one
SELECT count(*) <= 10 AS bounded, sum(rows) AS rows, sum(captured) AS captured, round(max(gain)::numeric, 9) AS gain, round(min(cumulative_lift)::numeric, 9) AS last FROM damson.lift('churn', 'customers');
-- case: several classes
SELECT count(*) > 2 AS curve FROM damson.roc('kind', 'flowers', class => 'rose');
SELECT expect($$SELECT damson.roc('kind', 'flowers')$$);
SELECT expect($$SELECT damson.roc('kind', 'flowers', class => 'tulip')$$);
-- case: residuals, and the row that they are of
SELECT count(*), bool_and(abs(actual - predicted - residual) < 1e-9) AS sums, round(stddev(standardised)::numeric, 6) AS deviation FROM damson.residuals('price', 'homes');
SELECT bool_and(r.actual = h.price AND abs(r.predicted - damson.predict('price', h)) < 1e-9) AS found FROM damson.residuals('price', 'homes', key => 'id') r JOIN homes h ON h.id = r.key::int;
-- case: errors
SELECT expect($$SELECT damson.roc('price', 'homes')$$);
SELECT expect($$SELECT damson.confusion('price', 'homes')$$);
SELECT expect($$SELECT damson.pr_curve('groups', 'flowers')$$);
SELECT expect($$SELECT damson.residuals('churn', 'customers')$$);
SELECT expect($$SELECT damson.residuals('groups', 'flowers')$$);
SELECT expect($$SELECT damson.roc('churn', $q$SELECT * FROM customers WHERE churned = 'no'$q$)$$);
SELECT expect($$SELECT damson.lift('churn', 'customers', bins => 0)$$);
SELECT expect($$SELECT damson.roc('churn', 'customers', points => 1)$$);
SELECT expect($$SELECT damson.calibration('churn', 'customers', strategy => 'equal')$$);
SELECT expect($$SELECT damson.roc('nobody', 'customers')$$);

-- Fairness ----------------------------------------------------------------------------------------------------

-- case: by group, and between the groups
SELECT measure, "group", rows, value BETWEEN 0 AND 1 AS share FROM damson.fairness('churn', 'customers', group_column => 'plan', class => 'yes');
SELECT abs(f.value - (max(s.rate) - min(s.rate))) < 1e-9 AS same
FROM damson.fairness('churn', 'customers', group_column => 'plan') f, (SELECT avg((damson.classify('churn', c) = 'yes')::int)::float8 AS rate FROM customers c GROUP BY plan) s
WHERE f.measure = 'demographic_parity_difference' GROUP BY f.value;
-- case: errors
SELECT expect($$SELECT damson.fairness('churn', 'customers')$$);
SELECT expect($$SELECT damson.fairness('churn', $q$SELECT *, nullif(plan::text, 'pro') AS part FROM customers$q$, group_column => 'part')$$);
SELECT expect($$SELECT damson.fairness('churn', $q$SELECT *, 1 AS part FROM customers$q$, group_column => 'part')$$);
SELECT expect($$SELECT damson.fairness('price', 'homes', group_column => 'zip')$$);

-- Rights ------------------------------------------------------------------------------------------------------

-- case: the source is read with the caller's rights
CREATE ROLE decide_reader;
CREATE TABLE hidden AS TABLE customers;
REVOKE ALL ON hidden FROM PUBLIC;
CALL damson.grant_model('churn', 'decide_reader');
GRANT USAGE ON SCHEMA public TO decide_reader;
GRANT SELECT ON customers TO decide_reader;
SET ROLE decide_reader;
SELECT count(*) > 0 AS curve FROM damson.roc('churn', 'customers');
SELECT expect($$SELECT damson.roc('churn', 'hidden')$$);
SELECT expect($$SELECT damson.residuals('price', 'customers')$$);
RESET ROLE;
DROP OWNED BY decide_reader;
DROP ROLE decide_reader;
