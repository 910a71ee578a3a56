-- Explanations, importance, partial dependence.
\set ECHO none
\i fixtures/start.sql
\i fixtures/data.sql
\set ECHO all

-- case: the parts sum to the score, and the score is the prediction
SELECT model, version FROM damson.train('price', 'SELECT sqft, rooms, zip, price FROM homes', 'price', 'boosting', split => 'none');
SELECT count(*) AS rows, bool_and(abs((e->>'score')::float8 - p) < 1e-6 * abs(p)) AS is_prediction,
    bool_and(abs((e->>'base')::float8 + parts - (e->>'score')::float8) < 1e-6 * abs(p)) AS sums
FROM homes h, LATERAL (SELECT damson.explain('price', h) AS e, damson.predict('price', h) AS p) s,
    LATERAL (SELECT sum(value::float8) AS parts FROM jsonb_each_text(e->'contributions')) c;
-- case: by values, by array of columns, by json; a NULL feature is a missing value
SELECT jsonb_object_keys(damson.explain('price', 1000, 3, 'z1')->'contributions') AS key ORDER BY 1;
SELECT damson.explain('price', '{"sqft": 1000, "rooms": 3, "zip": "z1"}'::jsonb) = damson.explain('price', 1000, 3, 'z1') AS same;
SELECT damson.explain('price', NULL, 3, 'z1') IS NULL AS is_null, damson.explain(NULL, 1000, 3, 'z1') IS NULL AS no_model;
-- case: classes
SELECT model FROM damson.train('dear', 'SELECT sqft, rooms, zip, price > 300 AS dear FROM homes', 'dear', 'boosting', split => 'none');
SELECT damson.explain('dear', 1000, 3, 'z1')->>'class' AS class,
    abs((damson.explain('dear', 1000, 3, 'z1')->>'score')::float8 - ln(p / (1 - p))) < 1e-6 AS log_odds
FROM damson.probability('dear', 'true', 1000, 3, 'z1') p;
-- case: importance of the model itself
SELECT sum(importance)::numeric(9, 6), count(*), count(deviation) FROM damson.importance('price');
SELECT bool_and(importance = trunc(importance)) AS whole FROM damson.importance('price', method => 'split');
-- case: importance on rows
SELECT feature IN ('sqft', 'rooms', 'zip') AS known, importance > 0 AS positive, deviation >= 0 AS spread
FROM damson.importance('price', 'homes', repeats => 2) LIMIT 1;
-- case: partial dependence
SELECT count(*), bool_and(number IS NULL) AS texts FROM damson.partial_dependence('price', 'homes', 'zip');
SELECT count(*) BETWEEN 5 AND 7 AS points, bool_and(average > 0) AS positive FROM damson.partial_dependence('price', 'homes', 'sqft', points => 7);
SELECT bool_and(average BETWEEN 0 AND 1) AS probability FROM damson.partial_dependence('dear', 'homes', 'sqft', class => 'true');

-- case: an algorithm without explanations
SELECT model FROM damson.train('parts', 'SELECT sqft, rooms FROM homes', algorithm => 'kmeans', params => '{"n_clusters": 2}');
SELECT expect($$SELECT damson.explain('parts', 1000, 3)$$);
-- case: importance that the algorithm does not have
SELECT expect($$SELECT damson.importance('parts', method => 'split')$$);
-- case: importance with a source that is not wanted, or without one that is
SELECT expect($$SELECT damson.importance('price', 'homes', method => 'gain')$$);
SELECT expect($$SELECT damson.importance('price', method => 'permutation')$$);
-- case: an unknown method, impossible numbers
SELECT expect($$SELECT damson.importance('price', method => 'guess')$$);
SELECT expect($$SELECT damson.importance('price', 'homes', repeats => 0)$$);
SELECT expect($$SELECT damson.partial_dependence('price', 'homes', 'sqft', points => 1)$$);
-- case: a column that the model does not read
SELECT expect($$SELECT damson.partial_dependence('price', 'homes', 'price')$$);
-- case: a class that the model does not have
SELECT expect($$SELECT damson.partial_dependence('dear', 'homes', 'sqft', class => 'maybe')$$);
SELECT expect($$SELECT damson.partial_dependence('price', 'homes', 'sqft', class => 'maybe')$$);
-- case: no rows
SELECT expect($$SELECT damson.importance('price', 'SELECT * FROM homes WHERE false')$$);
