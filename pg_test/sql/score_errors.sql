-- Scorings and evaluations that are refused.
\set ECHO none
\i fixtures/start.sql
\i fixtures/data.sql
SELECT count(*) FROM damson.train('price', 'homes', 'price', 'linear', features => '{sqft,rooms,zip}', split => 'none');
SELECT count(*) FROM damson.train('size', 'homes', 'price', 'linear', features => '{sqft,rooms}', split => 'none');
SELECT count(*) FROM damson.train('strict', 'homes', 'price', 'linear', features => '{sqft,rooms,zip}', split => 'none', preprocess => '{"missing": "error", "unseen": "error"}');
SELECT count(*) FROM damson.train('churn', 'customers', 'churned', 'logistic', features => '{age,plan,active,joined}', split => 'none');
SELECT count(*) FROM damson.train('kind_v', 'flowers', 'species', 'multinomial', features => '{both_parts}', split => 'none');
SELECT count(*) FROM damson.train('groups', 'flowers', algorithm => 'kmeans', features => '{petal,sepal}', params => '{"n_clusters": 3}');
\t on
\set ECHO all

-- Models ------------------------------------------------------------------------------------------------------

-- case: unknown model
SELECT expect($$SELECT damson.predict('prize', 1, 2)$$);
-- case: unknown version
SELECT expect($$SELECT damson.predict('size@7', 1, 2)$$);
-- case: version 0
SELECT expect($$SELECT damson.predict('size@0', 1, 2)$$);
-- case: a version beyond all numbers
SELECT expect($$SELECT damson.predict('size@99999999999999999999', 1, 2)$$);
-- case: unknown alias
SELECT expect($$SELECT damson.predict('size@champion', 1, 2)$$);
-- case: empty alias
SELECT expect($$SELECT damson.predict('size@', 1, 2)$$);
-- case: empty name
SELECT expect($$SELECT damson.predict('', 1, 2)$$);
-- case: two signs
SELECT expect($$SELECT damson.predict('size@1@2', 1, 2)$$);
-- case: a name in other case
SELECT expect($$SELECT damson.predict('Size', 1, 2)$$);
-- case: a name that tries to be SQL
SELECT expect($$SELECT damson.predict('size''; DROP TABLE homes; --', 1, 2)$$);
-- case: the third row's model is unknown
SELECT expect($$SELECT damson.predict(CASE id WHEN 3 THEN 'sise' ELSE 'size' END, sqft, rooms) FROM (SELECT * FROM homes ORDER BY id LIMIT 5) h$$);

-- The verb and the task ---------------------------------------------------------------------------------------

-- case: predict with a classifier
SELECT expect($$SELECT damson.predict('churn', c) FROM customers c$$);
-- case: classify with a regression
SELECT expect($$SELECT damson.classify('price', h) FROM homes h$$);
-- case: probability with a regression
SELECT expect($$SELECT damson.probability('price', 'yes', h) FROM homes h$$);
-- case: probabilities with clusters
SELECT expect($$SELECT damson.probabilities('groups', f) FROM flowers f$$);
-- case: unknown class
SELECT expect($$SELECT damson.probability('churn', 'maybe', c) FROM customers c$$);
-- case: the class left out
SELECT expect($$SELECT damson.probability('churn', c) FROM customers c$$);

-- Features ----------------------------------------------------------------------------------------------------

-- case: no features
SELECT expect($$SELECT damson.predict('size')$$);
-- case: too few scalars
SELECT expect($$SELECT damson.predict('price', 1000, 3)$$);
-- case: too many scalars
SELECT expect($$SELECT damson.predict('size', 1000, 3, 'z1')$$);
-- case: one scalar
SELECT expect($$SELECT damson.predict('size', 1000)$$);
-- case: text where a number is expected
SELECT expect($$SELECT damson.predict('size', '1000'::text, 3)$$);
-- case: a literal without a type where a number is expected
SELECT expect($$SELECT damson.predict('size', '1000', 3)$$);
-- case: a number where text is expected
SELECT expect($$SELECT damson.predict('price', 1000, 3, 4)$$);
-- case: a number where a date is expected
SELECT expect($$SELECT damson.classify('churn', 30, 'plus'::plan, true, 20240101)$$);
-- case: a type that no model reads
SELECT expect($$SELECT damson.predict('size', 1000, point(1, 2))$$);
-- case: an array too short
SELECT expect($$SELECT damson.predict('size', '{1000}'::float4[])$$);
-- case: an array too long
SELECT expect($$SELECT damson.predict('size', '{1000,3,4}'::float8[])$$);
-- case: an empty array
SELECT expect($$SELECT damson.predict('size', '{}'::float8[])$$);
-- case: an array of texts
SELECT expect($$SELECT damson.predict('size', '{1000,3}'::text[])$$);
-- case: an array for a model that reads text
SELECT expect($$SELECT damson.predict('price', '{1000,3,1}'::float8[])$$);
-- case: an array of the wrong length for an array column
SELECT expect($$SELECT damson.classify('kind_v', '{1,2,3}'::float4[])$$);
-- case: a scalar for an array column
SELECT expect($$SELECT damson.classify('kind_v', 1)$$);
-- case: a row without a column
SELECT expect($$SELECT damson.predict('price', x) FROM (SELECT sqft, rooms FROM homes) x$$);
-- case: a row without names
SELECT expect($$SELECT damson.predict('size', ROW(1000, 3))$$);
-- case: a row with a column of another type
SELECT expect($$SELECT damson.predict('price', x) FROM (SELECT sqft, rooms, 5 AS zip FROM homes) x$$);
-- case: a row and something else
SELECT expect($$SELECT damson.predict('price', h, 3) FROM homes h$$);
-- case: a document without a key
SELECT expect($$SELECT damson.predict('price', '{"sqft": 1000, "rooms": 3}'::jsonb)$$);
-- case: a document with a value of another type
SELECT expect($$SELECT damson.predict('price', '{"sqft": "big", "rooms": 3, "zip": "z1"}'::jsonb)$$);
-- case: a document with an object for a value
SELECT expect($$SELECT damson.predict('price', '{"sqft": {"a": 1}, "rooms": 3, "zip": "z1"}'::jsonb)$$);
-- case: a document that is no object
SELECT expect($$SELECT damson.predict('price', '[1000, 3, "z1"]'::jsonb)$$);
-- case: a date in a document that is none
SELECT expect($$SELECT damson.classify('churn', '{"age": 30, "plan": "plus", "active": true, "joined": "yesteryear"}'::jsonb)$$);
-- case: an infinite date in a document
SELECT expect($$SELECT damson.classify('churn', '{"age": 30, "plan": "plus", "active": true, "joined": "infinity"}'::jsonb)$$);
-- case: jsonb as text
SELECT expect($$SELECT damson.predict('size', '{"sqft": 1000, "rooms": 3}')$$);
-- case: an infinite number
SELECT expect($$SELECT damson.predict('size', 'Infinity'::float8, 3)$$);
-- case: an infinite number in an array
SELECT expect($$SELECT damson.predict('size', '{1000,-Infinity}'::float4[])$$);
-- case: an infinite date
SELECT expect($$SELECT damson.classify('churn', 30, 'plus'::plan, true, 'infinity'::date)$$);
-- case: an unseen category where the model refuses them
SELECT expect($$SELECT damson.predict('strict', 1000, 3, 'z99')$$);
-- case: a missing number where the model refuses them
SELECT expect($$SELECT damson.predict('strict', NULL::int, 3, 'z1')$$);
-- case: a NaN where the model refuses them
SELECT expect($$SELECT damson.predict('strict', 'NaN'::float8, 3, 'z1')$$);
-- case: a category that is NULL where the model refuses what it did not see
SELECT expect($$SELECT damson.predict('strict', 1000, 3, NULL::text)$$);
-- case: the model as a number
SELECT expect($$SELECT damson.predict(7, 1000, 3)$$);
-- case: a good row after all these
SELECT damson.predict('size', 1000, 3) IS NOT NULL;

-- Evaluations -------------------------------------------------------------------------------------------------

-- case: evaluate an unknown model
SELECT expect($$SELECT damson.evaluate('prize', 'homes')$$);
-- case: evaluate on a relation that is not there
SELECT expect($$SELECT damson.evaluate('price', 'hoems')$$);
-- case: evaluate without the target
SELECT expect($$SELECT damson.evaluate('price', 'SELECT sqft, rooms, zip FROM homes')$$);
-- case: evaluate without a feature
SELECT expect($$SELECT damson.evaluate('price', 'SELECT sqft, rooms, price FROM homes')$$);
-- case: evaluate with a feature of another type
SELECT expect($$SELECT damson.evaluate('price', 'SELECT sqft::text AS sqft, rooms, zip, price FROM homes')$$);
-- case: evaluate on no rows
SELECT expect($$SELECT damson.evaluate('price', 'SELECT * FROM homes WHERE false')$$);
-- case: evaluate with NULL answers
SELECT expect($$SELECT damson.evaluate('price', 'SELECT sqft, rooms, zip, nullif(price, price) AS price FROM homes')$$);
-- case: evaluate with a class that the model does not know
SELECT expect($$SELECT damson.evaluate('churn', 'SELECT age, plan, active, joined, ''perhaps''::text AS churned FROM customers')$$);
-- case: evaluate with an answer of another type
SELECT expect($$SELECT damson.evaluate('price', 'SELECT sqft, rooms, zip, zip AS price FROM homes')$$);
-- case: evaluate by a statement that writes
SELECT expect($$SELECT damson.evaluate('price', 'DELETE FROM homes RETURNING *')$$);
-- case: evaluate with an unseen category where the model refuses them
SELECT expect($$SELECT damson.evaluate('strict', 'SELECT sqft, rooms, ''z99''::text AS zip, price FROM homes')$$);
-- case: evaluate NULL
SELECT expect($$SELECT damson.evaluate(NULL, 'homes')$$);
