-- Reports and plots: what is on a page, what is refused. How they look is tested in a browser (tests/test_report.py).
\set ECHO none
\i fixtures/start.sql
\i fixtures/data.sql
SELECT count(*) FROM damson.train('churn', 'customers', target => 'churned', algorithm => 'logistic', features => '{age,plan,tenure,joined}', params => '{"max_iter": 200}') \g /dev/null
SELECT count(*) FROM damson.train('price', 'homes', target => 'price', algorithm => 'boosting', features => '{sqft,rooms,zip}', params => '{"trees": 20}') \g /dev/null
SELECT count(*) FROM damson.train('kind', 'flowers', target => 'species', algorithm => 'multinomial', features => '{petal,sepal}', folds => 3) \g /dev/null
SELECT count(*) FROM damson.train('whole', 'customers', target => 'churned', algorithm => 'naive_bayes', features => '{age,plan}', split => 'none') \g /dev/null
SELECT count(*) FROM damson.train('groups', 'flowers', algorithm => 'kmeans', features => '{petal,sepal}', params => '{"k": 3}') \g /dev/null
SELECT count(*) FROM damson.train('zips', 'homes', target => 'price', algorithm => 'ridge', features => '{sqft,rooms}', group_by => '{zip}') \g /dev/null
SELECT count(*) FROM damson.score_into('scores', 'churn', 'customers', key => '{id}') \g /dev/null
-- The sections of a page, by their headings.
CREATE FUNCTION headings(page text) RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(m[1], ', ') FROM regexp_matches(page, '<h[23]>([^<]*)</h[23]>', 'g') m $$;
\set ECHO all

-- Pages -------------------------------------------------------------------------------------------------------

-- case: a page is one file that runs and fetches nothing
SELECT left(page, 15), right(page, 7), length(page) < 2000000 AS small, page ~* '<script|<img|<link|<iframe|@import|url\(' AS more,
       (SELECT string_agg(DISTINCT m[1], ' ') FROM regexp_matches(page, '(https?://[^"< ]*)', 'g') m) AS named
FROM damson.report('churn') page;
-- case: a classification
SELECT headings(damson.report('churn'));
-- case: a regression with rounds
SELECT headings(damson.report('price'));
-- case: several classes, in cross-validation
SELECT headings(damson.report('kind'));
-- case: without rows to measure on, the page says so
SELECT headings(page), page LIKE '%No rows were held out%' AS says, page LIKE '%Curves need rows%' AS asks FROM damson.report('whole') page;
-- case: with a source, they are measured
SELECT headings(page), page LIKE '%No rows were held out%' AS says, page LIKE '%240%rows of the source%' AS measured FROM damson.report('whole', 'customers') page;
-- case: clusters, and a model a group
SELECT headings(damson.report('groups'));
SELECT page LIKE '%silhouette%' AS measured FROM damson.report('groups', 'flowers') page;
SELECT headings(damson.report('zips'));
-- case: a model given as text
SELECT headings(damson.report(damson.fit('ridge', price, sqft, rooms))) FROM homes;
-- case: parameters that were given are marked
SELECT count(*) FROM regexp_matches(damson.report('churn'), '<span class="tag">given</span>', 'g');
-- case: the same page every time
SELECT regexp_replace(damson.report('churn'), 'on \d{4}-\d\d-\d\d [^<]*\.', '') = regexp_replace(damson.report('churn'), 'on \d{4}-\d\d-\d\d [^<]*\.', '') AS same;
-- case: lineage shows tables that were read and filled
SELECT page LIKE '%public.customers%' AS reads, page LIKE '%public.scores%' AS fills FROM damson.report('churn') page;
-- case: figures go with their version
SELECT count(*) FROM damson_catalog.figures;
SELECT max(length(bytes)) < 10000 AS small FROM damson_catalog.figures;
CALL damson.drop_model('kind');
SELECT count(*) FROM damson_catalog.figures;

-- Drift -------------------------------------------------------------------------------------------------------

-- case: rows of today beside those of the training
SELECT headings(page), length(page) < 2000000 AS small FROM damson.drift_report('churn', 'SELECT age + 40 AS age, plan, tenure, joined, churned FROM customers') page;
SELECT page LIKE '%has drifted%' AS drifted FROM damson.drift_report('churn', 'SELECT age + 40 AS age, plan, tenure, joined + 900 AS joined, churned FROM customers') page;
-- case: two relations
SELECT headings(damson.drift_report_between('SELECT sqft, zip FROM homes', 'SELECT sqft * 2 AS sqft, zip FROM homes'));
-- case: some columns
SELECT headings(damson.drift_report('churn', 'customers', columns => '{age}', method => 'psi'));
-- case: errors
SELECT expect($$SELECT damson.drift_report('churn', 'customers', method => 'nope')$$);
SELECT expect($$SELECT damson.drift_report('churn', 'homes')$$);
SELECT expect($$SELECT damson.drift_report('churn', 'customers', drift_share => 2)$$);
SELECT expect($$SELECT damson.drift_report_between('customers', 'SELECT 1 AS one')$$);
SELECT expect($$SELECT damson.drift_report(damson.fit('ridge', price, sqft, rooms), 'homes') FROM homes$$);

-- Plots -------------------------------------------------------------------------------------------------------

-- case: those of a classification
SELECT name, left(damson.plot('churn', name), 40) AS begins, damson.plot('churn', name) = damson.plot('churn', name) AS same
FROM unnest('{roc,pr,calibration,gain,lift,probabilities,confusion,importance,lineage}'::text[]) name;
SELECT name, left(damson.plot('churn', name, 'customers'), 10) AS begins FROM unnest('{roc,pr,calibration,gain,lift,probabilities,confusion,importance}'::text[]) name;
-- case: those of a regression
SELECT name, left(damson.plot('price', name), 10) AS begins FROM unnest('{predictions,residuals,errors,importance,learning_curve}'::text[]) name;
-- case: a column, then, and then and now
SELECT length(damson.plot('churn', 'distribution', column_name => 'age')) < length(damson.plot('churn', 'distribution', 'customers', column_name => 'age')) AS two;
SELECT damson.plot('churn', 'distribution', column_name => 'joined') LIKE '%2024-0%' AS dates;
SELECT left(damson.plot('churn', 'distribution', column_name => 'prediction'), 10) AS begins;
-- case: the other class
SELECT damson.plot('churn', 'roc', 'customers', class => 'no') LIKE '%no · 0.%' AS other;
-- case: errors
SELECT expect($$SELECT damson.plot('churn', 'pie')$$);
SELECT expect($$SELECT damson.plot('churn', 'residuals')$$);
SELECT expect($$SELECT damson.plot('price', 'roc')$$);
SELECT expect($$SELECT damson.plot('price', 'confusion', 'homes')$$);
SELECT expect($$SELECT damson.plot('whole', 'learning_curve')$$);
SELECT expect($$SELECT damson.plot('whole', 'roc')$$);
SELECT expect($$SELECT damson.plot('groups', 'roc', 'flowers')$$);
SELECT expect($$SELECT damson.plot('groups', 'importance')$$);
SELECT expect($$SELECT damson.plot('churn', 'distribution')$$);
SELECT expect($$SELECT damson.plot('churn', 'distribution', column_name => 'nope')$$);
SELECT expect($$SELECT damson.plot('churn', 'roc', class => 'no')$$);
SELECT expect($$SELECT damson.plot('churn', 'roc', class => 'nope')$$);
SELECT expect($$SELECT damson.plot('churn', 'roc', 'SELECT * FROM customers WHERE churned = ''yes''')$$);
SELECT expect($$SELECT damson.report('nobody')$$);
SELECT expect($$SELECT damson.report('churn', 'nowhere')$$);
SELECT expect($$SELECT damson.report('churn@9')$$);
SELECT expect($$SELECT damson.report('churn', 'homes')$$);
-- case: damaged figures are refused
UPDATE damson_catalog.figures SET bytes = '\x00';
SELECT expect($$SELECT damson.report('churn')$$);
SELECT expect($$SELECT damson.plot('churn', 'roc')$$);
