-- Scoring: every function, every form of features, every type.
\set ECHO none
\i fixtures/start.sql
\i fixtures/data.sql
SELECT count(*) FROM damson.train('price', 'homes', 'price', 'linear', features => '{sqft,rooms,zip}', split => 'none');
SELECT count(*) FROM damson.train('size', 'homes', 'price', 'linear', features => '{sqft,rooms}', split => 'none');
SELECT count(*) FROM damson.train('churn', 'customers', 'churned', 'logistic', features => '{age,spend,plan,active,joined,seen,region,tenure}', split => 'none');
SELECT count(*) FROM damson.train('kind', 'flowers', 'species', 'multinomial', features => '{petal,sepal}', split => 'none');
SELECT count(*) FROM damson.train('kind_v', 'flowers', 'species', 'multinomial', features => '{both_parts}', split => 'none');
SELECT count(*) FROM damson.train('groups', 'flowers', algorithm => 'kmeans', features => '{petal,sepal}', params => '{"n_clusters": 3}');
\set ECHO all

-- case: predict by row, scalars and jsonb is one number
SELECT count(*) AS rows, count(DISTINCT round(p::numeric, 9)) AS values, bool_and(abs(p - s) < 1e-9 AND abs(p - j) < 1e-9) AS same, bool_and(abs(p - price) < 12) AS close
FROM (SELECT price, damson.predict('price', h) AS p, damson.predict('price', sqft, rooms, zip) AS s, damson.predict('price', to_jsonb(h)) AS j FROM homes h) x;
-- case: predict by arrays of every number
SELECT round(damson.predict('size', '{1000,3}'::float4[])::numeric, 6) = round(damson.predict('size', 1000, 3)::numeric, 6) AS float4,
       damson.predict('size', '{1000,3}'::float8[]) = damson.predict('size', 1000, 3) AS float8,
       damson.predict('size', '{1000,3}'::int2[]) = damson.predict('size', 1000, 3) AS int2,
       damson.predict('size', '{1000,3}'::int4[]) = damson.predict('size', 1000, 3) AS int4,
       damson.predict('size', '{1000,3}'::int8[]) = damson.predict('size', 1000, 3) AS int8, damson.predict('size', ARRAY[1000.0, 3]) = damson.predict('size', 1000, 3) AS numeric;
-- case: json is as good as jsonb
SELECT damson.predict('size', '{"sqft": 1000, "rooms": 3}'::json) = damson.predict('size', 1000, 3) AS same;
-- case: an array literal of decimals is numeric[]
SELECT damson.predict('size', ARRAY[1000.0, 3.0]) = damson.predict('size', ARRAY[1000, 3]) AS same, damson.predict('size', ARRAY[1000.0, NULL]) = damson.predict('size', 1000, NULL) AS missing;
-- case: VARIADIC passes an array too
SELECT damson.predict('size', VARIADIC '{1000,3}'::float8[]) = damson.predict('size', 1000, 3) AS same;
-- case: scalars of other number types
SELECT count(DISTINCT p) FROM (VALUES (damson.predict('size', 1000::int2, 3::int8)), (damson.predict('size', 1000::numeric, 3::float4)), (damson.predict('size', 1000.0, 3.0)), (damson.predict('size', 1000::amount, 3))) v(p);
-- case: a literal without a type is text where text is wanted
SELECT damson.predict('price', 1000, 3, 'z1') = damson.predict('price', 1000, 3, 'z1'::text) AS text, damson.predict('price', 1000, 3, 'z1'::varchar) = damson.predict('price', 1000, 3, 'z1'::char(7)) AS padded;
-- case: classify, probability and probabilities agree
SELECT count(*) AS rows, sum((k = churned)::int) > 200 AS good, bool_and((p > 0.5) = (k = 'yes')) AS likeliest,
       bool_and(abs(p + n - 1) < 1e-12) AS adds_up, bool_and((ps->>'yes')::float8 = p AND (ps->>'no')::float8 = n) AS document, min((SELECT count(*) FROM jsonb_object_keys(ps))) AS classes
FROM (SELECT churned, damson.classify('churn', c) AS k, damson.probability('churn', 'yes', c) AS p, damson.probability('churn', 'no', c) AS n, damson.probabilities('churn', c) AS ps FROM customers c) x;
-- case: three classes
SELECT species, damson.classify('kind', f), round(damson.probability('kind', species, petal, sepal)::numeric, 2) > 0.8 AS sure, (SELECT string_agg(k, ',' ORDER BY k) FROM jsonb_object_keys(damson.probabilities('kind', ARRAY[petal, sepal])) k) FROM flowers f ORDER BY id LIMIT 3;
-- case: a model of one array column
SELECT count(*) AS rows, bool_and(damson.classify('kind_v', f) = species) AS row, bool_and(damson.classify('kind_v', both_parts) = species) AS float4,
       bool_and(damson.classify('kind_v', both_parts::float8[]) = species) AS float8, bool_and(damson.classify('kind_v', to_jsonb(f)) = species) AS json FROM flowers f;
-- case: clusters have numbers
SELECT species, count(DISTINCT damson.predict('groups', f)), min(damson.predict('groups', f)) BETWEEN 0 AND 2 AS in_range FROM flowers f GROUP BY 1 ORDER BY 1;
-- case: rows of other shapes bind by name: more columns, another order, subqueries, joins
SELECT bool_and(damson.predict('price', h) = damson.predict('price', x)) AS subquery, bool_and(damson.predict('price', h) = damson.predict('price', y)) AS join
FROM homes h JOIN (SELECT zip, 'noise' AS noise, rooms, sqft, id FROM homes) x USING (id) JOIN LATERAL (SELECT h.zip::varchar, h.sqft::numeric, h.rooms::float4) y ON true;
-- case: rows of composite types, domains over them, views, dropped columns
CREATE TYPE home AS (zip text, rooms int, sqft float8);
CREATE DOMAIN good_home AS home CHECK ((VALUE).sqft > 0);
CREATE VIEW v AS SELECT sqft, zip, rooms, id FROM homes;
CREATE TABLE dropped (a int, sqft int, b text, zip text, c int, rooms int);
INSERT INTO dropped VALUES (1, 1000, 'b', 'z1', 5, 3);
ALTER TABLE dropped DROP COLUMN a, DROP COLUMN b, ADD COLUMN d int DEFAULT 4;
SELECT damson.predict('price', ('z1', 3, 1000)::home) = damson.predict('price', 1000, 3, 'z1') AS composite, damson.predict('price', ('z1', 3, 1000)::home::good_home) = damson.predict('price', 1000, 3, 'z1') AS domain;
SELECT bool_and(damson.predict('price', v) = damson.predict('price', h)) AS view FROM v JOIN homes h USING (id);
SELECT damson.predict('price', x) = damson.predict('price', 1000, 3, 'z1') AS dropped FROM dropped x;
-- case: rows that change shape from one to the next
SELECT count(DISTINCT damson.predict('price', r)) FROM (SELECT h::text AS t, CASE WHEN id % 2 = 0 THEN jsonb_populate_record(NULL::home, to_jsonb(h)) END AS r FROM homes h LIMIT 8) x;
-- case: inherited children are rows too
CREATE TABLE parent (sqft int, rooms int, zip text);
CREATE TABLE child (extra text) INHERITS (parent);
INSERT INTO parent VALUES (1000, 3, 'z1');
INSERT INTO child VALUES (1000, 3, 'z1', 'x');
SELECT count(*), count(DISTINCT damson.predict('price', p)) FROM parent p;
-- case: every type of column by position
SELECT bool_and(damson.probability('churn', 'yes', age, spend, plan, active, joined, seen, region, tenure) = damson.probability('churn', 'yes', c)) AS exact,
       bool_and(damson.probability('churn', 'yes', age::int8, spend::float8, plan::text, active::int, joined::timestamp, seen::timestamp, region::text, tenure::float8) = damson.probability('churn', 'yes', c)) AS cast,
       bool_and(abs(damson.probability('churn', 'yes', to_jsonb(c)) - damson.probability('churn', 'yes', c)) < 1e-5) AS json FROM customers c;
-- case: the time zone of the session does not matter for rows
BEGIN;
SET LOCAL timezone = 'Asia/Tokyo';
SELECT bool_and(damson.probability('churn', 'yes', age, spend, plan, active, joined, seen, region, tenure) = damson.probability('churn', 'yes', c)) FROM customers c;
COMMIT;
-- case: NULL for the model, the class, the row, the array or the document gives NULL
SELECT damson.predict(NULL, 1000, 3), damson.classify(NULL, 1), damson.probability('churn', NULL, c) AS class, damson.predict('price', NULL::homes) AS row, damson.predict('size', NULL::float8[]) AS array, damson.predict('price', NULL::jsonb) AS json, damson.probabilities(NULL, 1) FROM customers c LIMIT 1;
-- case: a NULL feature is a missing value: the mean, or its own category
SELECT damson.predict('size', NULL::int, 3) = damson.predict('size', (SELECT avg(sqft) FROM homes), 3) AS mean, damson.predict('size', '{NULL,3}'::float4[]) = damson.predict('size', NULL, 3) AS array, damson.predict('size', 'NaN'::float8, 3) = damson.predict('size', NULL, 3) AS nan,
       damson.predict('price', '{"sqft": null, "rooms": 3, "zip": null}'::jsonb) = damson.predict('price', NULL, 3, NULL) AS json, damson.predict('price', 1000, 3, NULL) IS NOT NULL AS category;
-- case: a row of NULLs is a row
SELECT damson.predict('size', h) = damson.predict('size', NULL, NULL) FROM (SELECT NULL::int AS sqft, NULL::int AS rooms) h;
-- case: an unseen category is scored as what is rare
SELECT damson.predict('price', 1000, 3, 'z99') IS NOT NULL AS scored, damson.predict('price', 1000, 3, 'z99') = damson.predict('price', 1000, 3, 'another') AS same;
-- case: the model by a column
SELECT count(*), count(DISTINCT p) FROM (SELECT damson.predict(CASE id % 2 WHEN 0 THEN 'size' ELSE 'size@1' END, sqft, rooms) AS p FROM homes) x;
-- case: more models by a column than a call site keeps
DO $$ BEGIN FOR i IN 1..70 LOOP PERFORM damson.train('many' || i, format('SELECT sqft, %s AS y FROM homes LIMIT 9', i), 'y', 'linear', task => 'regression', split => 'none'); END LOOP; END $$;
SELECT count(*), bool_and(round(p::numeric, 6) = i) AS right FROM (SELECT i, damson.predict('many' || i, 10) AS p FROM generate_series(1, 70) i, generate_series(1, 3)) x;
-- case: a cache with no memory still scores
SET damson.cache_memory = 0;
SELECT count(*), bool_and(round(p::numeric, 6) = i) AS right FROM (SELECT i, damson.predict('many' || i, 10) AS p FROM generate_series(1, 70) i) x;
RESET damson.cache_memory;
-- case: in WHERE, ORDER BY, GROUP BY, aggregates, windows and CASE
SELECT count(*) FILTER (WHERE damson.classify('churn', c) = 'yes') > 0 AS filter FROM customers c WHERE damson.probability('churn', 'yes', c) > 0.5;
SELECT id FROM homes h ORDER BY damson.predict('price', h) DESC LIMIT 1;
SELECT damson.classify('kind', f) AS kind, count(*) FROM flowers f GROUP BY 1 ORDER BY 1;
SELECT rank() OVER (ORDER BY damson.predict('price', h)) FROM homes h ORDER BY sqft, rooms LIMIT 1;
SELECT sum(CASE WHEN id < 3 THEN damson.predict('price', h) END) > 0 AS some FROM homes h;
-- case: in a view, a generated value, a function, a trigger
CREATE VIEW scored AS SELECT h.id, damson.predict('price', h) AS predicted FROM homes h;
SELECT count(predicted) FROM scored;
CREATE FUNCTION worth(sqft int, rooms int) RETURNS float8 LANGUAGE sql STABLE AS 'SELECT damson.predict(''size'', sqft, rooms)';
SELECT worth(1000, 3) = damson.predict('size', 1000, 3) AS same;
CREATE TABLE offers (sqft int, rooms int, zip text, guess float8);
CREATE FUNCTION guess() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.guess := damson.predict('price', NEW); RETURN NEW; END $$;
CREATE TRIGGER guess BEFORE INSERT ON offers FOR EACH ROW EXECUTE FUNCTION guess();
INSERT INTO offers VALUES (1000, 3, 'z1'), (1100, 3, 'z2');
SELECT guess = damson.predict('price', o) AS same FROM offers o;
-- case: it is not immutable, so no index and no generated column takes it
CREATE INDEX ON homes (damson.predict('size', sqft, rooms));
ALTER TABLE homes ADD COLUMN g float8 GENERATED ALWAYS AS (damson.predict('size', sqft, rooms)) STORED;
-- case: a read-only transaction scores
BEGIN READ ONLY;
SELECT count(damson.predict('price', h)) FROM homes h;
SELECT count(*) FROM damson.evaluate('price', 'homes');
COMMIT;
-- case: a prepared statement, with a generic plan too
PREPARE q(text, int, int) AS SELECT damson.predict($1, $2, $3) = damson.predict('size', $2, $3) AS same;
EXECUTE q('size', 1000, 3);
SET plan_cache_mode = force_generic_plan;
EXECUTE q('size@1', 900, 2);
EXECUTE q('size@production', 900, 2);
RESET plan_cache_mode;
-- case: a cursor
BEGIN;
DECLARE c CURSOR FOR SELECT damson.predict('price', h) IS NOT NULL AS scored FROM homes h ORDER BY id;
FETCH 2 FROM c;
MOVE 100 IN c;
FETCH 1 FROM c;
COMMIT;
-- case: parallel workers give the same
CREATE TABLE before AS SELECT id, damson.predict('price', h) AS p FROM homes h;
CREATE TABLE many AS SELECT h.* FROM homes h, generate_series(1, 100);
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SET max_parallel_workers_per_gather = 2;
CREATE FUNCTION is_parallel(query text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE line text; found boolean := false;
BEGIN FOR line IN EXECUTE 'EXPLAIN ' || query LOOP found := found OR line LIKE '%Gather%'; END LOOP; RETURN found; END $$;
SELECT is_parallel('SELECT sum(damson.predict(''price'', m)) FROM many m') AS is_parallel;
SELECT count(*), count(*) FILTER (WHERE damson.predict('price', m) = b.p AND damson.predict('price', sqft, rooms, zip) = b.p) AS same FROM many m JOIN before b USING (id);
SELECT count(damson.classify('churn', c)) FROM customers c;
-- case: a parallel worker's error is the session's
SELECT expect($$SELECT sum(damson.predict('nothing', m)) FROM many m$$);
RESET parallel_setup_cost;
RESET parallel_tuple_cost;
RESET min_parallel_table_scan_size;
RESET max_parallel_workers_per_gather;
-- case: evaluate measures other rows
SELECT metric, round(value::numeric, 1) AS value FROM damson.evaluate('price', 'homes') WHERE metric IN ('r2', 'rmse') ORDER BY 1;
SELECT metric, value > 0.8 AS good FROM damson.evaluate('churn@1', 'SELECT * FROM customers WHERE age > 30') WHERE metric IN ('accuracy', 'auc') ORDER BY 1;
SELECT metric, value > 0.9 AS good FROM damson.evaluate('kind@production', 'flowers') WHERE metric = 'accuracy';
SELECT count(*) > 0 AS measured FROM damson.evaluate('groups', 'flowers');
-- case: evaluate with answers of another name
SELECT metric, round(value::numeric, 1) AS value FROM damson.evaluate('size', 'SELECT sqft, rooms, price AS truth FROM homes', target => 'truth') WHERE metric = 'r2';
