-- From scores to decisions: class weights.
\set ECHO none
\i fixtures/start.sql
\i fixtures/data.sql
\set ECHO all

-- Class weights -----------------------------------------------------------------------------------------------

-- case: a class that weighs more is found more often
SELECT count(*) FROM damson.train('plain', 'customers', target => 'churned', algorithm => 'logistic', features => '{age,plan,tenure}');
SELECT count(*) FROM damson.train('heavy', 'customers', target => 'churned', algorithm => 'logistic', features => '{age,plan,tenure}', class_weight => '{"yes": 9}');
SELECT count(*) FILTER (WHERE damson.classify('heavy', c) = 'yes') > count(*) FILTER (WHERE damson.classify('plain', c) = 'yes') AS more FROM customers c;
-- case: balanced, on threads and in an aggregate
SELECT count(*) FROM damson.train('even', 'customers', target => 'churned', split => 'none', class_weight => 'balanced', params => '{"trees": 10}');
SET damson.runner = 'aggregate';
SELECT count(*) FROM damson.train('even_too', 'customers', target => 'churned', split => 'none', class_weight => 'balanced', params => '{"trees": 10}');
RESET damson.runner;
SELECT count(*) FILTER (WHERE abs(damson.probability('even', 'yes', c) - damson.probability('even_too', 'yes', c)) > 1e-9) AS differ FROM customers c;
-- case: the run keeps what was asked
SELECT model, arguments->'class_weight' AS class_weight FROM damson.runs WHERE model IN ('heavy', 'even') ORDER BY 1;
-- case: a class that the target does not have
SELECT expect($$SELECT damson.train('m', 'customers', target => 'churned', class_weight => '{"maybe": 2}')$$);
-- case: weights that are none
SELECT expect($$SELECT damson.train('m', 'customers', target => 'churned', class_weight => '{"yes": 0}')$$);
SELECT expect($$SELECT damson.train('m', 'customers', target => 'churned', class_weight => '{"yes": "a lot"}')$$);
SELECT expect($$SELECT damson.train('m', 'customers', target => 'churned', class_weight => 'balance')$$);
-- case: class weights of a regression, and without a target
SELECT expect($$SELECT damson.train('m', 'homes', target => 'price', class_weight => 'balanced')$$);
SELECT expect($$SELECT damson.train('m', 'homes', algorithm => 'kmeans', features => '{sqft}', class_weight => 'balanced')$$);
