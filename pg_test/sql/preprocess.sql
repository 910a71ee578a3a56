-- Preprocessing: what each option does, seen from the scores; it is stored with the model.
\set ECHO none
\i fixtures/start.sql
\i fixtures/data.sql
CREATE FUNCTION shown(x float8) RETURNS numeric LANGUAGE sql IMMUTABLE AS 'SELECT round(x::numeric, 3)';
-- y follows x; where x is missing it is 100. The colour moves it; red is the most frequent.
CREATE TABLE d AS
SELECT CASE WHEN i % 10 <> 0 THEN i % 7 END AS x, (ARRAY['red', 'red', 'blue', 'red', 'green'])[1 + i % 5] AS colour,
       CASE WHEN i % 10 = 0 THEN 100 ELSE i % 7 * 2.0 END + (ARRAY[0, 0, 10, 0, 20])[1 + i % 5] AS y
FROM generate_series(1, 350) i;
\set ECHO all

-- case: missing numbers become the mean, or zero
SELECT count(*) FROM unnest(ARRAY['mean', 'zero', 'auto']) o, damson.train('missing_' || o, 'SELECT x, y FROM d', 'y', 'linear', split => 'none', preprocess => format('{"missing": "%s"}', o));
SELECT damson.predict('missing_mean', NULL) = damson.predict('missing_mean', (SELECT avg(x) FROM d)) AS mean, damson.predict('missing_zero', NULL) = damson.predict('missing_zero', 0) AS zero, damson.predict('missing_auto', NULL) = damson.predict('missing_mean', NULL) AS auto;
-- case: a feature that says what was missing
SELECT count(*) FROM damson.train('indicated', 'd', 'y', 'linear', split => 'none', preprocess => '{"missing_indicator": true}');
SELECT shown(damson.predict('indicated', NULL, 'red')) AS missing, shown(damson.predict('indicated', 3, 'red')) AS three, shown(damson.predict('indicated', '{"x": null, "colour": "green"}'::jsonb)) AS green;
-- case: every way to encode categories gets the colours right
SELECT count(*) FROM unnest(ARRAY['onehot', 'dummy', 'auto', 'ordinal', 'target']) o, damson.train('cat_' || o, 'SELECT * FROM d WHERE x IS NOT NULL', 'y', 'linear', split => 'none', preprocess => format('{"categories": "%s"}', o)) t;
SELECT o, shown(damson.predict('cat_' || o, 3, 'red')) AS red, shown(damson.predict('cat_' || o, 3, 'blue')) AS blue, damson.predict('cat_' || o, 3, 'pink') IS NOT NULL AS unseen FROM unnest(ARRAY['onehot', 'dummy', 'auto', 'ordinal']) o;
SELECT damson.predict('cat_target', 3, 'green') > damson.predict('cat_target', 3, 'blue') AND damson.predict('cat_target', 3, 'blue') > damson.predict('cat_target', 3, 'red') AS target;
-- case: rare categories share one, and unseen ones go there
SELECT count(*) FROM damson.train('rare', 'SELECT * FROM d WHERE x IS NOT NULL', 'y', 'linear', split => 'none', preprocess => '{"min_frequency": 100}');
SELECT damson.predict('rare', 3, 'blue') = damson.predict('rare', 3, 'green') AS shared, damson.predict('rare', 3, 'blue') = damson.predict('rare', 3, 'pink') AS unseen, damson.predict('rare', 3, 'blue') = damson.predict('rare', 3, 'red') AS frequent;
-- case: the most frequent categories are kept
SELECT count(*) FROM damson.train('few', 'SELECT * FROM d WHERE x IS NOT NULL', 'y', 'linear', split => 'none', preprocess => '{"max_categories": 1}');
SELECT damson.predict('few', 3, 'blue') = damson.predict('few', 3, 'green') AS shared, damson.predict('few', 3, 'blue') = damson.predict('few', 3, 'red') AS frequent;
-- case: a category that is NULL in training has its own feature
SELECT count(*) FROM damson.train('null_colour', 'SELECT nullif(colour, ''green'') AS colour, y FROM d WHERE x = 3', 'y', 'linear', split => 'none');
SELECT shown(damson.predict('null_colour', NULL::text)) AS null_colour, shown(damson.predict('null_colour', 'red')) AS red;
-- case: options for single columns
SELECT count(*) FROM damson.train('single', 'd', 'y', 'ridge', split => 'none', preprocess => '{"missing": "zero", "columns": {"x": {"missing": "error"}, "colour": {"categories": "ordinal", "unseen": "error"}}}');
SELECT expect($$SELECT damson.predict('single', NULL, 'red')$$);
SELECT count(*) FROM damson.train('single', 'SELECT coalesce(x, 1) AS x, colour, y FROM d', 'y', 'ridge', split => 'none', preprocess => '{"missing": "zero", "columns": {"x": {"missing": "error"}, "colour": {"categories": "ordinal", "unseen": "error"}}}');
SELECT expect($$SELECT damson.predict('single', NULL, 'red')$$);
SELECT expect($$SELECT damson.predict('single', 1, 'pink')$$);
-- case: scaling does not change what a linear model says, and it changes what a ridge says
SELECT count(*) FROM unnest(ARRAY['standard', 'none']) o, unnest(ARRAY['linear', 'ridge']) a, damson.train(a || '_' || o, 'SELECT sqft, rooms, price FROM homes', 'price', a, split => 'none', params => CASE a WHEN 'ridge' THEN '{"alpha": 50}' ELSE '{}' END, preprocess => format('{"scale": "%s"}', o));
SELECT shown(damson.predict('linear_standard', 1000, 3)) = shown(damson.predict('linear_none', 1000, 3)) AS linear, shown(damson.predict('ridge_standard', 1000, 3)) = shown(damson.predict('ridge_none', 1000, 3)) AS ridge;
-- case: dates become parts
SELECT count(*) FROM damson.train('weekly', 'SELECT day, extract(isodow FROM day)::float8 AS y FROM (SELECT date ''2024-01-01'' + i AS day FROM generate_series(1, 400) i) x', 'y', 'linear', split => 'none', preprocess => '{"dates": ["weekday"]}');
SELECT shown(damson.predict('weekly', date '2026-11-20')) AS friday, shown(damson.predict('weekly', timestamp '2026-11-22 23:59')) AS sunday, shown(damson.predict('weekly', '{"day": "1999-12-27"}'::jsonb)) AS monday;
SELECT count(*) FROM damson.train('hourly', 'SELECT at, extract(hour FROM at)::float8 AS y FROM (SELECT timestamptz ''2024-01-01 00:30+00'' + i * interval ''1 hour'' AS at FROM generate_series(1, 400) i) x', 'y', 'linear', split => 'none', preprocess => '{"dates": ["hour", "days"]}');
SELECT shown(damson.predict('hourly', timestamptz '2024-01-05 15:59:59+02')) AS thirteen;
-- case: vectors are numbers, each with its own scale
SELECT count(*) FROM damson.train('vector', 'SELECT ARRAY[i, 1000 * (i % 3)]::float8[] AS v, i + i % 3 AS y FROM generate_series(1, 60) i', 'y', 'ridge', task => 'regression', split => 'none', params => '{"alpha": 0}');
SELECT shown(damson.predict('vector', ARRAY[10.0, 2000]::float8[])) AS twelve, shown(damson.predict('vector', '{"v": [10, 2000]}'::jsonb)) AS json;
-- case: enums, uuids, booleans and char(n) are categories, and trailing blanks do not matter
SELECT count(*) FROM damson.train('kinds', 'SELECT plan, region, active, churned::char(9) AS padded, id::float8 AS y FROM customers', 'y', 'linear', split => 'none');
SELECT property, value FROM damson.describe('kinds') WHERE property LIKE 'feature%' ORDER BY 1;
SELECT bool_and(damson.predict('kinds', plan, region, active, churned) = damson.predict('kinds', plan::text, region::text, active, churned::char(20))) AS same FROM customers;
-- case: boosting keeps missing values and categories as they are
SELECT count(*) FROM damson.train('native', 'd', 'y', 'boosting', split => 'none', params => '{"trees": 60, "min_data_in_leaf": 3}');
SELECT abs(damson.predict('native', NULL, 'red') - 100) < 5 AS missing, abs(damson.predict('native', 3, 'blue') - 16) < 3 AS blue, damson.predict('native', 3, 'pink') IS NOT NULL AS unseen;
-- case: the options are stored with all defaults
SELECT property, value FROM damson.describe('single') WHERE property LIKE 'preprocess%' ORDER BY 1;
-- case: scoring applies what training learnt, not what the new rows are like
SELECT count(DISTINCT shown(p)) FROM (SELECT damson.predict('missing_mean', NULL) AS p UNION ALL SELECT damson.predict('missing_mean', x) FROM (VALUES (NULL::int), (NULL)) v(x)) u;
