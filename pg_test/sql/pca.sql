-- Principal components, and damson.embed.
\set ECHO none
\i fixtures/start.sql
\i fixtures/data.sql
SET extra_float_digits = 0;
CREATE FUNCTION near(x real[], y real[]) RETURNS boolean LANGUAGE sql AS $$
    SELECT cardinality(x) = cardinality(y) AND bool_and(abs(a - b) < 1e-4) FROM unnest(x, y) AS v(a, b) $$;
\t on
\set ECHO all

-- case: train
SELECT model, version, algorithm, task, train_rows, test_rows, metric, round(value::numeric, 6) FROM damson.train('shape', 'flowers', algorithm => 'pca', features => '{petal, sepal}');
SELECT round(value::numeric, 6) > 0.9 FROM damson.train('shape1', 'flowers', algorithm => 'pca', features => '{petal, sepal}', params => '{"n_components": 1}');
SELECT metric, value >= 0.9 FROM damson.train('homes_shape', 'homes', algorithm => 'pca', features => '{sqft, rooms, zip}', params => '{"n_components": 0.9, "whiten": true}', preprocess => '{"scale": "standard"}');
-- case: describe
SELECT property, value FROM damson.describe('shape1') WHERE property ~ '^component|^whiten|^explained' AND property !~ 'loadings';
-- case: all ways to give features
SELECT bool_and(near(damson.embed('shape', f), damson.embed('shape', petal, sepal))) AS row_and_values,
    bool_and(near(damson.embed('shape', f), damson.embed('shape', ARRAY[petal, sepal]))) AS array,
    bool_and(near(damson.embed('shape', f), damson.embed('shape', both_parts))) AS stored,
    bool_and(near(damson.embed('shape', f), damson.embed('shape', to_jsonb(f)))) AS json,
    bool_and(cardinality(damson.embed('shape', f)) = 2) AS two, pg_typeof(min(damson.embed('shape', f))) FROM flowers f;
SELECT bool_and(near(damson.embed('homes_shape', h), damson.embed('homes_shape', sqft, rooms, zip))) FROM homes h;
-- case: components are uncorrelated, have mean 0, and the variance that the model says
SELECT abs(avg(e[1])) < 1e-4 AS centred, abs(corr(e[1], e[2])) < 1e-4 AS uncorrelated FROM (SELECT damson.embed('shape', f) AS e FROM flowers f) x;
SELECT abs(variance(e[1]) - 1) < 1e-4 AS white FROM (SELECT damson.embed('homes_shape', h) AS e FROM homes h) x;
SELECT abs((SELECT variance(e[1]) FROM (SELECT damson.embed('shape1', f) AS e FROM flowers f) x) - (SELECT value::float8 FROM damson.describe('shape1') WHERE property = 'component 1: explained_variance')) < 1e-4;
-- case: evaluate
SELECT metric, round(value::numeric, 4) FROM damson.evaluate('shape', 'flowers') WHERE metric = 'explained_variance';
-- case: NULL
SELECT damson.embed('shape', NULL, 1.0) IS NOT NULL AS feature, damson.embed(NULL, 1.0, 1.0) AS model, damson.embed('shape', NULL::flowers) AS row, damson.embed('shape', NULL::real[]) AS array, damson.embed('shape', NULL::jsonb) AS json;
-- case: another verb
SELECT expect($$SELECT damson.predict('shape', 1, 1)$$);
SELECT expect($$SELECT damson.classify('shape', 1, 1)$$);
SELECT count(*) FROM damson.train('kind', 'flowers', 'species', 'naive_bayes', features => '{petal, sepal}', split => 'none');
SELECT expect($$SELECT damson.embed('kind', 1, 1)$$);
SELECT count(*) FROM damson.train('groups', 'flowers', algorithm => 'kmeans', features => '{petal, sepal}', params => '{"n_clusters": 3}');
SELECT expect($$SELECT damson.embed('groups', 1, 1)$$);
-- case: a value that is too large
SELECT expect($$SELECT damson.embed('shape', 1, 'Infinity'::float8)$$);
-- case: wrong parameters
SELECT expect($$SELECT damson.train('m', 'flowers', algorithm => 'pca', features => '{petal, sepal}', params => '{"n_components": 3}')$$);
SELECT expect($$SELECT damson.train('m', 'flowers', algorithm => 'pca', features => '{petal, sepal}', params => '{"n_components": 0}')$$);
SELECT expect($$SELECT damson.train('m', 'flowers', algorithm => 'pca', features => '{petal, sepal}', params => '{"n_components": "mle"}')$$);
SELECT expect($$SELECT damson.train('m', 'flowers', algorithm => 'pca', features => '{petal, sepal}', params => '{"n_components": 0.9, "svd_solver": "randomized"}')$$);
-- case: a target, one row, no rows
SELECT expect($$SELECT damson.train('m', 'flowers', 'species', 'pca')$$);
SELECT expect($$SELECT damson.train('m', 'SELECT petal FROM flowers LIMIT 1', algorithm => 'pca')$$);
SELECT expect($$SELECT damson.train('m', 'SELECT petal FROM flowers LIMIT 0', algorithm => 'pca')$$);
