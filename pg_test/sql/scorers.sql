\i fixtures/start.sql
\i fixtures/data.sql
SELECT version FROM damson.train('churn', 'SELECT age, spend, plan, active, joined, tenure, churned FROM customers', 'churned', 'logistic');
SELECT version FROM damson.train('price', 'SELECT sqft, rooms, zip, price FROM homes', 'price', 'ridge');
SELECT version FROM damson.train('price', 'SELECT zip, sqft, price FROM homes', 'price', 'ridge');
SELECT version FROM damson.train('parts', 'SELECT petal, sepal FROM flowers', algorithm => 'pca', params => '{"n_components": 1}');
-- case: a function has the columns of the model, with their names and types
SELECT damson.create_scorer('price');
SELECT damson.create_scorer('churn');
SELECT damson.create_scorer('churn', name => 'churn_risk', class => 'yes');
SELECT damson.create_scorer('churn', name => 'public.churn_all', verb => 'probabilities');
SELECT damson.create_scorer('parts', name => '"The Parts"');
SELECT damson.create_scorer('price@2', name => 'price_two');
SELECT p.oid::regprocedure, p.proargnames, p.prorettype::regtype, p.provolatile, p.proparallel FROM pg_proc p
WHERE p.pronamespace = 'public'::regnamespace AND obj_description(p.oid, 'pg_proc') LIKE 'Scores%' ORDER BY p.oid;
SELECT obj_description('churn_risk'::regproc), obj_description('churn_risk_row'::regtype);
SELECT * FROM damson.scorers;
-- case: it scores as the model does
SELECT count(*) FILTER (WHERE price(sqft, rooms, zip) = damson.predict('price', h)) = count(*) AS same FROM homes h;
SELECT count(*) FILTER (WHERE churn(age, spend, plan::text, active, joined, tenure) = damson.classify('churn', c)) = count(*) AS same FROM customers c;
SELECT count(*) FILTER (WHERE churn_risk(age, spend, plan::text, active, joined, tenure) = damson.probability('churn', 'yes', c)) = count(*) AS same FROM customers c;
SELECT count(*) FILTER (WHERE churn_all(age, spend, plan::text, active, joined, tenure) = damson.probabilities('churn', c)) = count(*) AS same FROM customers c;
SELECT count(*) FILTER (WHERE "The Parts"(petal, sepal) = damson.embed('parts', f)) = count(*) AS same FROM flowers f;
SELECT price(zip => 'z1', sqft => 900, rooms => NULL) IS NOT NULL AS named_and_missing;
-- It is inlined: the server calls the model itself.
EXPLAIN (VERBOSE, COSTS OFF) SELECT price(sqft, rooms, zip) FROM homes;
-- case: it follows its alias, with its grants, to versions with other columns
CREATE ROLE scorers_reader;
REVOKE ALL ON FUNCTION price(int, smallint, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION price(int, smallint, text) TO scorers_reader;
CALL damson.deploy('price', 2);
SELECT p.oid::regprocedure, p.proargnames, p.proacl FROM pg_proc p WHERE p.proname = 'price';
SELECT count(*) FILTER (WHERE price(zip, sqft) = damson.predict('price', h)) = count(*) AS same FROM homes h;
BEGIN;
CALL damson.rollback('price');
SELECT 'price'::regproc::regprocedure;
ROLLBACK;
SELECT 'price'::regproc::regprocedure;
DROP FUNCTION price(text, int);
CALL damson.rollback('price');
SELECT damson.create_scorer('price');
SELECT damson.create_scorer('price');
-- case: what depends on it is not dropped
CREATE VIEW valued AS SELECT id, price(sqft, rooms, zip) FROM homes;
SELECT expect($$CALL damson.deploy('price', 2)$$);
SELECT version FROM damson.aliases WHERE model = 'price';
CALL damson.rename_model('price', 'value');
SELECT count(*) FROM valued;
CALL damson.rename_model('value', 'price');
SELECT expect($$CALL damson.drop_model('price')$$);
DROP VIEW valued;
CALL damson.deploy('price', 2);
-- case: a view shows rows with their scores
SELECT damson.create_scored_view('churn_today', 'churn', 'customers', columns => '{id, region}');
SELECT damson.create_scored_view('"Priced"', 'price@2', 'SELECT id, zip, sqft FROM homes;');
\d churn_today
\d "Priced"
SELECT count(*) FILTER (WHERE t.prediction = damson.classify('churn', c) AND t.probability = damson.probability('churn', t.prediction, c)) = count(*) AS same
FROM churn_today t JOIN customers c USING (id);
SELECT model, alias, kind, object FROM damson.scorers ORDER BY object COLLATE "C";
SELECT expect($$CALL damson.rename_model('churn', 'leave')$$);
-- case: what cannot be made is refused
SELECT expect($$SELECT damson.create_scorer('none')$$);
SELECT expect($$SELECT damson.create_scorer('price', verb => 'classify')$$);
SELECT expect($$SELECT damson.create_scorer('churn', verb => 'predict')$$);
SELECT expect($$SELECT damson.create_scorer('churn', verb => 'drop')$$);
SELECT expect($$SELECT damson.create_scorer('churn', verb => 'probability')$$);
SELECT expect($$SELECT damson.create_scorer('churn', class => 'maybe')$$);
SELECT expect($$SELECT damson.create_scorer('churn', verb => 'classify', class => 'yes')$$);
SELECT expect($$SELECT damson.create_scorer('price', name => 'a.b.c')$$);
SELECT expect($$SELECT damson.create_scorer('price', name => 'nowhere.score')$$);
SELECT expect($$SELECT damson.create_scorer('price', name => 'x); DROP TABLE homes; --')$$);
SELECT expect(format('SELECT damson.create_scorer(%L, name => %L)', 'price', repeat('x', 60)));
SELECT expect($$SELECT damson.create_scored_view('v', 'price', 'SELECT id FROM homes')$$);
SELECT expect($$SELECT damson.create_scored_view('v', 'price', 'homes', columns => '{nothing}')$$);
SELECT expect($$SELECT damson.create_scored_view('v', 'price', 'SELECT zip, sqft, 1 AS prediction FROM homes')$$);
SELECT expect($$SELECT damson.create_scored_view('churn_today', 'churn', 'customers')$$);
SELECT expect($$SELECT damson.create_scored_view('v', 'price', 'SELECT * FROM homes) s; DROP TABLE homes; --')$$);
-- case: they are dropped with the model
CALL damson.drop_model('churn');
CALL damson.drop_model('price');
CALL damson.drop_model('parts');
SELECT count(*) FROM damson.scorers;
SELECT p.proname FROM pg_proc p WHERE p.pronamespace = 'public'::regnamespace AND p.proname <> 'expect';
SELECT t.typname FROM pg_type t WHERE t.typnamespace = 'public'::regnamespace AND t.typname LIKE '%\_row';
DROP ROLE scorers_reader;
