-- Tables filled with scores: every mode, new rows alone, every task, and what goes wrong.
\set ECHO none
\i fixtures/start.sql
\i fixtures/data.sql
SELECT version FROM damson.train('price', 'homes', 'price', 'linear', features => '{sqft,rooms,zip}');
SELECT version FROM damson.train('species', 'flowers', 'species', 'boosting', features => '{petal,sepal}');
SELECT version FROM damson.train('shape', 'SELECT petal, sepal FROM flowers', algorithm => 'pca');
SELECT version FROM damson.train('clusters', 'SELECT petal, sepal FROM flowers', algorithm => 'kmeans');
\set ECHO all
-- case: a table is made, with all columns of the source
SELECT model, version, table_name, created, "rows" FROM damson.score_into('all_homes', 'price', 'homes');
\d all_homes
SELECT count(*), bool_and(prediction = damson.predict('price', a.sqft, a.rooms, a.zip)) AS same, count(DISTINCT model_version) AS versions FROM all_homes a;
-- case: insert adds
SELECT created, "rows" FROM damson.score_into('all_homes', 'price', 'homes');
SELECT count(*) FROM all_homes;
-- case: replace leaves only the new rows
SELECT created, "rows" FROM damson.score_into('all_homes', 'price', 'SELECT * FROM homes WHERE id <= 10', mode => 'replace');
SELECT count(*) FROM all_homes;
-- case: merge updates rows that are there, and adds others
SELECT created, "rows" FROM damson.score_into('merged', 'price', 'SELECT * FROM homes WHERE id <= 100', mode => 'merge', key => '{id}', columns => '{zip}');
\d merged
CREATE TABLE first_scores AS SELECT * FROM merged;
SELECT version FROM damson.train('price', 'homes', 'price', 'boosting', features => '{sqft,rooms,zip}');
CALL damson.deploy('price', 2);
SELECT version, "rows" FROM damson.score_into('merged', 'price', 'SELECT * FROM homes WHERE id > 50', mode => 'merge', key => '{id}', columns => '{zip}');
SELECT model_version, count(*), min(id), max(id) FROM merged GROUP BY 1 ORDER BY 1;
-- case: incremental goes on where it was
SELECT "rows" FROM damson.score_into('new_homes', 'price', 'SELECT * FROM homes WHERE id <= 100', incremental => 'id');
SELECT "rows" FROM damson.score_into('new_homes', 'price', 'homes', incremental => 'id');
SELECT "rows" FROM damson.score_into('new_homes', 'price', 'homes', incremental => 'id');
SELECT count(*), count(DISTINCT id) FROM new_homes;
-- case: by a time column, in merge mode
CREATE TABLE visits AS SELECT i % 5 AS id, 1000 + i * 10 AS sqft, 3 AS rooms, 'z1' AS zip, timestamp '2024-01-01' + i * interval '1 hour' AS seen FROM generate_series(1, 20) i;
SELECT "rows" FROM damson.score_into('last_visit', 'price', 'SELECT DISTINCT ON (id) * FROM visits ORDER BY id, seen DESC', mode => 'merge', key => '{id}', incremental => 'seen');
INSERT INTO visits VALUES (2, 900, 2, 'z2', '2024-02-01');
SELECT "rows" FROM damson.score_into('last_visit', 'price', 'SELECT DISTINCT ON (id) * FROM visits ORDER BY id, seen DESC', mode => 'merge', key => '{id}', incremental => 'seen');
SELECT id, seen FROM last_visit ORDER BY id;
-- case: each task fills what it gives
SELECT "rows" FROM damson.score_into('kinds', 'species', 'flowers', key => '{id}');
SELECT bool_and(prediction = damson.classify('species', f.petal, f.sepal)), bool_and(probability = damson.probability('species', k.prediction, f.petal, f.sepal)) FROM kinds k JOIN flowers f USING (id);
SELECT "rows" FROM damson.score_into('shapes', 'shape', 'flowers', key => '{id}');
SELECT pg_typeof(prediction), cardinality(prediction) FROM shapes LIMIT 1;
SELECT "rows" FROM damson.score_into('groups', 'clusters', 'flowers', key => '{id}');
SELECT pg_typeof(prediction) FROM groups LIMIT 1;
-- case: names that want quotes, comments and semicolons
CREATE SCHEMA "Odd one";
SELECT table_name, "rows" FROM damson.score_into('"Odd one"."The ""scores"""', 'price', 'SELECT h.*, 1 AS "a "" b" FROM homes h -- all of them;', columns => '{id,"a \" b"}');
SELECT count(*), sum("a "" b") FROM "Odd one"."The ""scores""";
SELECT "rows" FROM damson.score_into('semicolon', 'price', 'SELECT * FROM homes; ', key => '{id}');
-- case: what was filled, by which version, is a view
SELECT relation, model, version, mode, filled_rows, outputs, incremental, finished >= started AS in_time FROM damson.filled_tables;
-- case: a filling that is rolled back was none
BEGIN;
SELECT "rows" FROM damson.score_into('undone', 'price', 'homes');
ROLLBACK;
SELECT to_regclass('undone') IS NULL AS gone, count(*) FILTER (WHERE relation LIKE '%undone') AS told FROM damson.filled_tables;
\t on
-- Errors
SELECT expect($$SELECT damson.score_into('t', 'price', 'homes', mode => 'append')$$);
SELECT expect($$SELECT damson.score_into('t', 'price', 'homes', mode => 'merge')$$);
SELECT expect($$SELECT damson.score_into('t', 'price', 'homes', mode => 'replace', incremental => 'id')$$);
SELECT expect($$SELECT damson.score_into('t', 'price', 'homes', key => '{nothing}')$$);
SELECT expect($$SELECT damson.score_into('t', 'price', 'homes', key => '{NULL}')$$);
SELECT expect($$SELECT damson.score_into('t', 'price', 'SELECT *, 1 AS prediction FROM homes')$$);
SELECT expect($$SELECT damson.score_into('t', 'price', 'SELECT id, id FROM homes')$$);
SELECT expect($$SELECT damson.score_into('t; DROP TABLE homes', 'price', 'homes')$$);
SELECT expect($$SELECT damson.score_into('t', 'price', 'SELECT 1) AS x; DELETE FROM homes; SELECT (1')$$);
SELECT expect($$SELECT damson.score_into('t', 'price', 'DELETE FROM homes')$$);
SELECT expect($$SELECT damson.score_into('t', 'no_such', 'homes')$$);
SELECT expect($$SELECT damson.score_into('t', NULL, 'homes')$$);
SELECT expect($$SELECT damson.score_into('new_homes', 'price', 'homes', mode => 'merge', key => '{id}')$$);
SELECT expect($$SELECT damson.score_into('merged', 'price', 'SELECT * FROM homes UNION ALL SELECT * FROM homes', mode => 'merge', key => '{id}', columns => '{zip}')$$);
SELECT expect($$SELECT damson.score_into('species_scores', 'species', 'homes')$$);
SELECT expect(format('SELECT damson.score_into(%L, %L, %L)', 't', (SELECT damson.fit('linear', price, sqft) FROM homes), 'homes'));
SELECT to_regclass('t') IS NULL AS nothing_was_made, count(*) = 240 AS homes_are_there FROM homes;
