-- Statistics beside the models: summaries, correlations, tests, samples.
\set ECHO none
\i fixtures/start.sql
\i fixtures/data.sql
SET extra_float_digits = 0;
\set ECHO all

-- case: summaries agree with the server's own aggregates
SELECT "column", type, rows, missing, "distinct", top, top_rows FROM damson.summarize('SELECT id, sqft, zip, price FROM homes');
SELECT abs(s.mean - h.mean) < 1e-9 * h.mean AS mean, abs(s.std - h.std) < 1e-9 * h.std AS std, s.min = h.min AS min, s.median = h.median AS median,
    s.q25 = h.q25 AS q25, s.max = h.max AS max
FROM damson.summarize('SELECT price FROM homes') s,
    (SELECT avg(price) AS mean, stddev_samp(price) AS std, min(price), max(price),
        percentile_cont(0.5) WITHIN GROUP (ORDER BY price) AS median, percentile_cont(0.25) WITHIN GROUP (ORDER BY price) AS q25 FROM homes) h;
-- case: columns of NULLs, booleans, dates
SELECT "column", type, missing, "distinct", mean, top FROM damson.summarize('SELECT NULL::float8 AS n, i > 1 AS b, DATE ''2026-01-01'' + i AS d FROM generate_series(1, 4) i');
-- case: correlations agree with the server's own
SELECT column1, column2, abs(correlation - (SELECT corr(sqft, price) FROM homes)) < 1e-12 AS same, p_value < 0.001 AS sure, rows FROM damson.correlation('homes', '{sqft,price}');
SELECT count(*) FROM damson.correlation('SELECT sqft, rooms, price FROM homes', method => 'kendall');
SELECT correlation = 1 AS one FROM damson.correlation('SELECT i, exp(i / 10.0) AS e FROM generate_series(1, 50) i', method => 'spearman');
-- case: tests
SELECT measure, round(value::numeric, 6) AS value FROM damson.statistical_test('welch', 'SELECT i AS x, i % 2 = 0 AS g FROM generate_series(1, 30) i', 'x', 'g');
SELECT measure, round(value::numeric, 6) AS value FROM damson.statistical_test('chi_square', 'SELECT i % 3 AS a, i % 4 AS b FROM generate_series(1, 100) i', 'a', 'b');
SELECT measure, round(value::numeric, 6) AS value FROM damson.statistical_test('ks', 'SELECT i AS x, i > 12 AS g FROM generate_series(1, 30) i', 'x', 'g') WHERE measure = 'statistic';
SELECT count(*) FROM damson.statistical_test('anova', 'homes', 'price', 'zip');
SELECT measure FROM damson.statistical_test('mann_whitney', 'SELECT price, rooms > 2 AS large FROM homes', 'price', 'large') LIMIT 2;
-- case: samples repeat, keep shares, or balance
SELECT count(*), count(DISTINCT id) FROM damson.sample(NULL::homes, 'homes', 60);
SELECT (SELECT sum(id) FROM damson.sample(NULL::homes, 'homes', 60)) = (SELECT sum(id) FROM damson.sample(NULL::homes, 'SELECT * FROM homes ORDER BY id DESC', 60)) AS repeats,
    (SELECT sum(id) FROM damson.sample(NULL::homes, 'homes', 60)) = (SELECT sum(id) FROM damson.sample(NULL::homes, 'homes', 60, seed => 1)) AS other_seed;
SELECT rooms > 1 AS large, count(*) FROM damson.sample(NULL::homes, 'homes', 60, group_column => 'rooms') GROUP BY 1 ORDER BY 1;
SELECT min(n), max(n) FROM (SELECT count(*) AS n FROM damson.sample(NULL::homes, 'homes', 60, group_column => 'zip', balanced => true) GROUP BY zip) s;
SELECT count(*) FROM damson.sample(NULL::homes, 'homes', 1000);

-- case: what cannot be
SELECT expect($$SELECT damson.summarize('nowhere')$$);
SELECT expect($$SELECT damson.correlation('SELECT zip FROM homes')$$);
SELECT expect($$SELECT damson.correlation('homes', method => 'guess')$$);
SELECT expect($$SELECT damson.statistical_test('guess', 'homes', 'price', 'zip')$$);
SELECT expect($$SELECT damson.statistical_test('t', 'homes', 'price', 'zip')$$);
SELECT expect($$SELECT damson.statistical_test('t', 'homes', 'zip', 'rooms')$$);
SELECT expect($$SELECT damson.statistical_test('t', 'SELECT * FROM homes WHERE false', 'price', 'zip')$$);
SELECT expect($$SELECT damson.statistical_test('chi_square', 'homes', 'price', 'nowhere')$$);
SELECT expect($$SELECT damson.sample(NULL::homes, 'homes', 0)$$);
SELECT expect($$SELECT damson.sample(NULL::homes, 'homes', 10, balanced => true)$$);
SELECT expect($$SELECT damson.sample(NULL::homes, 'homes', 10, group_column => 'nowhere')$$);
SELECT expect($$SELECT damson.sample(NULL::flowers, 'homes', 10)$$);
