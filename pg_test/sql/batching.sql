-- Scoring in batches: the same rows and the same errors as row by row, whatever the plan.
\set ECHO none
\i fixtures/start.sql
\i fixtures/data.sql
\i fixtures/images.sql
SELECT count(*) FROM damson.train('side', 'pictures', 'side', 'cnn', preprocess => '{"image": [8, 8, 1]}', params => '{"epochs": 2}');
SELECT count(*) FROM damson.train('price', 'homes', 'price', 'cnn', features => '{sqft,rooms}', params => '{"architecture": "mlp", "epochs": 2}');
SELECT count(*) FROM damson.train('line', 'homes', 'price', 'linear', features => '{sqft,rooms}');
CREATE TABLE many AS SELECT g * 1000 + id AS id, CASE WHEN (g + id) % 7 > 0 THEN g END AS part, image, side FROM pictures, generate_series(0, 9) g ORDER BY 1;
-- The 50th picture is a byte short.
CREATE TABLE bad AS SELECT id, CASE WHEN id = 50 THEN substr(image, 2) ELSE image END AS image, side FROM pictures ORDER BY id;
ANALYZE;

-- What a query gives: its rows, up to its error.
CREATE FUNCTION outcome(query text, batches text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    line record; found text := ''; state text; message text; detail text; hint text;
BEGIN
    PERFORM set_config('damson.batch_scoring', batches, true);
    FOR line IN EXECUTE query LOOP
        found := found || line::text || E'\n';
    END LOOP;
    RETURN found;
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RETURN found || state || ': ' || concat_ws(' / ', message, nullif(detail, ''), nullif(hint, ''));
END $$;
-- How many nodes of its plan score in batches, and how many rows they score.
CREATE FUNCTION nodes(query text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE plan json;
BEGIN
    EXECUTE 'EXPLAIN (COSTS OFF, FORMAT JSON) ' || query INTO plan;
    RETURN count(*) FROM regexp_matches(plan::text, '"Damson Batch"', 'g');
END $$;
CREATE FUNCTION scored(query text) RETURNS numeric LANGUAGE plpgsql AS $$
DECLARE plan json;
BEGIN
    EXECUTE 'EXPLAIN (ANALYZE, COSTS OFF, FORMAT JSON) ' || query INTO plan;
    RETURN sum(m[1]::numeric) FROM regexp_matches(plan::text, '"Rows Scored": (\d+)', 'g') m;
END $$;
CREATE FUNCTION same(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    batched text := outcome(query, 'on'); single text := outcome(query, 'off');
BEGIN
    PERFORM set_config('damson.batch_scoring', 'on', true);
    RETURN CASE WHEN batched = single THEN 'same ' ELSE E'DIFFERENT\n' || left(batched, 300) || E'\n----\n' || left(single, 300) || E'\n' END ||
        (SELECT count(*) FROM regexp_matches(single, E'\n', 'g')) || ' rows, ' || nodes(query) || ' nodes' ||
        coalesce(E'\n  ' || substring(single FROM '(\w{5}: .*)$'), '');
END $$;
\t on
\set ECHO all

-- case: what EXPLAIN shows
EXPLAIN (COSTS OFF) SELECT id, damson.classify('side', image) FROM many;
EXPLAIN (COSTS OFF, VERBOSE) SELECT id, upper(damson.classify('side', image)) FROM many WHERE id > 5;
SET damson.batch_scoring = off;
EXPLAIN (COSTS OFF) SELECT id, damson.classify('side', image) FROM many;
RESET damson.batch_scoring;
-- case: a linear model scores a row faster than a node hands it on
SELECT same($$SELECT id, damson.predict('line', sqft, rooms) FROM homes$$);
-- case: every function of scores
SELECT same($$SELECT id, damson.classify('side', image), damson.probability('side', 'left', image), damson.probabilities('side', image) FROM many$$);
SELECT same($$SELECT id, damson.predict('price', sqft, rooms), damson.predict('price', h), damson.predict('price', ARRAY[sqft, rooms]), damson.predict('price', to_jsonb(h)) FROM homes h$$);
-- case: a class by column
SELECT same($$SELECT id, damson.probability('side', side, image) FROM many$$);
-- case: nested expressions
SELECT same($$SELECT round(damson.predict('price', sqft, rooms)::numeric, 3) + id, damson.predict('price', sqft, rooms) IS NULL, ARRAY[damson.predict('price', rooms, sqft)] FROM homes$$);
SELECT same($$SELECT damson.probabilities('side', image)->>'left' FROM many$$);
-- case: nothing but the score, and constant features
SELECT same($$SELECT damson.classify('side', image) FROM many$$);
SELECT same($$SELECT damson.predict('price', 1000, 3) FROM homes$$);
SELECT same($$SELECT count(*), min(p) FROM (SELECT damson.predict('price', 1000, 3) AS p FROM homes OFFSET 0) x$$);
-- case: VARIADIC
SELECT same($$SELECT damson.predict('price', VARIADIC ARRAY[sqft, rooms]) FROM homes$$);
-- case: one row without a table is left alone
SELECT same($$SELECT damson.predict('price', 1000, 3)$$);

-- Filters, order, bounds --------------------------------------------------------------------------------------

-- case: a filter, before others and after them
SELECT same($$SELECT id FROM many WHERE damson.classify('side', image) = 'left' AND id % 3 = 0$$);
SELECT same($$SELECT id, damson.classify('side', image) FROM many WHERE id % 3 = 0 AND damson.probability('side', 'left', image) > 0.5 AND part > 2$$);
-- case: a filter takes rows out before the target list's calls
SELECT same($$SELECT id, damson.predict('price', 1, length(image)) FROM bad WHERE damson.predict('price', 1, length(image)) > -1e9 AND damson.predict('price', id, 2) > -1e9$$);
SELECT same($$SELECT damson.classify('side', image) FROM bad WHERE length(image) = 64$$);
SELECT scored($$SELECT damson.classify('side', image) FROM many WHERE damson.probability('side', 'left', image) > 2$$);
-- case: ORDER BY
SELECT same($$SELECT id FROM many ORDER BY damson.probability('side', 'left', image), id$$);
SELECT same($$SELECT id, damson.classify('side', image) FROM many ORDER BY 2, 1 DESC$$);
-- case: LIMIT scores no row more
SELECT same($$SELECT id, damson.classify('side', image) FROM many LIMIT 10$$), scored($$SELECT id, damson.classify('side', image) FROM many LIMIT 10$$);
SELECT scored($$SELECT damson.classify('side', image) FROM many LIMIT 100 OFFSET 30$$);
SELECT scored($$SELECT damson.classify('side', image) FROM many LIMIT (SELECT 20)$$);
SELECT same($$SELECT damson.classify('side', image) FROM many LIMIT 0$$);
-- case: LIMIT after ORDER BY
SELECT same($$SELECT id, damson.classify('side', image) FROM many ORDER BY id DESC LIMIT 10$$), scored($$SELECT id, damson.classify('side', image) FROM many ORDER BY id DESC LIMIT 10$$);
-- case: LIMIT behind a filter reads little ahead
SELECT same($$SELECT id FROM many WHERE damson.probability('side', 'left', image) >= 0 LIMIT 10$$), scored($$SELECT id FROM many WHERE damson.probability('side', 'left', image) >= 0 LIMIT 10$$) < 50 AS few;
-- case: EXISTS
SELECT same($$SELECT EXISTS (SELECT FROM many WHERE damson.classify('side', image) = 'left')$$);

-- Guards ------------------------------------------------------------------------------------------------------

-- case: what a guard excludes is not scored
SELECT same($$SELECT id, CASE WHEN length(image) = 64 THEN damson.classify('side', image) END FROM bad$$);
SELECT same($$SELECT id, CASE damson.classify('side', image) WHEN 'left' THEN 1 ELSE 2 END FROM many$$);
SELECT same($$SELECT id, length(image) = 64 AND damson.classify('side', image) = 'left' FROM bad$$);
SELECT same($$SELECT id FROM bad WHERE length(image) <> 64 OR damson.classify('side', image) = 'left'$$);
-- case: first operands are evaluated for every row
SELECT same($$SELECT coalesce(damson.predict('price', sqft, rooms), 1 / (id - id)) FROM homes$$);
SELECT same($$SELECT damson.predict('price', sqft, rooms) > 200 OR id = 1 FROM homes$$);
SELECT same($$SELECT coalesce(side, damson.classify('side', image)) FROM bad$$);
-- case: arguments that are volatile are left alone
SELECT same($$SELECT damson.predict('price', sqft, rooms + random() * 0) FROM homes$$);
CREATE SEQUENCE counted;
SELECT same($$SELECT damson.predict('price', sqft, nextval('counted') * 0) FROM homes LIMIT 3$$);
SELECT last_value FROM counted;
-- case: a model by column is left alone
SELECT same($$SELECT damson.predict(m, sqft, rooms) FROM homes, (VALUES ('price'), ('line')) v(m)$$);

-- NULL and errors ---------------------------------------------------------------------------------------------

-- case: NULL
SELECT same($$SELECT id, damson.predict('price', nullif(sqft, 1017), rooms), damson.predict('price', CASE WHEN id % 2 = 0 THEN h END), damson.probability('side', CASE WHEN id % 2 = 0 THEN 'left' END, (SELECT image FROM pictures WHERE id = 1)) FROM homes h$$);
SELECT same($$SELECT damson.predict(NULL, sqft) FROM homes$$);
-- case: an image of another size: rows before it are answered
SELECT same($$SELECT id, damson.classify('side', image) FROM bad$$);
SELECT same($$SELECT id, damson.classify('side', image) FROM bad LIMIT 49$$);
SELECT same($$SELECT id, damson.classify('side', image) FROM bad LIMIT 50$$);
SELECT same($$SELECT id, damson.classify('side', image) FROM bad WHERE damson.classify('side', image) <> 'x' LIMIT 49$$);
-- case: a NULL image
SELECT same($$SELECT id, damson.classify('side', CASE WHEN id <> 40 THEN image END) FROM pictures$$);
-- case: an image that is none
SELECT same($$SELECT id, damson.classify('side', sha256(image)) FROM pictures$$);
-- case: an error of an argument
SELECT same($$SELECT id, damson.predict('price', sqft / (id - 30), rooms) FROM homes LIMIT 29$$);
SELECT same($$SELECT id FROM homes WHERE damson.predict('price', sqft / (id - 30), rooms) > -1e9 LIMIT 29$$);
-- case: values that the network cannot take
SELECT same($$SELECT id, damson.predict('price', CASE id WHEN 20 THEN 'Infinity'::float8 ELSE sqft END, rooms) FROM homes$$);
-- case: no such model, class, column, count or type
SELECT same($$SELECT damson.predict('nobody', sqft) FROM homes$$);
SELECT same($$SELECT damson.probability('side', CASE id WHEN 5 THEN 'up' ELSE 'left' END, image) FROM pictures$$);
SELECT same($$SELECT damson.predict('price', p) FROM pictures p$$);
SELECT same($$SELECT damson.predict('price', sqft) FROM homes$$);
SELECT same($$SELECT damson.predict('price', sqft, zip) FROM homes$$);
SELECT same($$SELECT damson.classify('price', sqft, rooms) FROM homes$$);
SELECT same($$SELECT damson.predict_lower('price', sqft, rooms) FROM homes$$);

-- Plans -------------------------------------------------------------------------------------------------------

-- case: joins
SELECT same($$SELECT p.id, h.id, damson.classify('side', p.image), damson.predict('price', h.sqft, p.id) FROM pictures p JOIN homes h USING (id)$$);
SELECT same($$SELECT p.id, damson.predict('price', h.sqft, p.id) FROM pictures p LEFT JOIN homes h ON h.id = p.id + 100$$);
SELECT same($$SELECT p.id FROM pictures p JOIN homes h ON p.id = h.id AND damson.predict('price', h.sqft, p.id) > 150 WHERE damson.classify('side', p.image) = 'left'$$);
SELECT same($$SELECT count(*) FROM homes h LEFT JOIN pictures p ON p.id = h.id AND damson.predict('price', h.sqft, p.id) > 150$$);
-- case: a nested loop runs its inner side again and again
SET enable_hashjoin = off;
SET enable_mergejoin = off;
SELECT same($$SELECT h.id, x.k FROM homes h, LATERAL (SELECT damson.predict('price', h.sqft, p.id) AS k FROM pictures p WHERE p.id <= h.id % 5 OFFSET 0) x WHERE h.id < 40$$);
SELECT same($$SELECT h.id, x.k FROM homes h, LATERAL (SELECT damson.predict('price', h.sqft, p.id) AS k FROM pictures p LIMIT h.id % 5) x WHERE h.id < 40$$);
SELECT same($$SELECT h.id, (SELECT max(damson.predict('price', h.sqft, p.id)) FROM pictures p WHERE p.id < h.id % 9) FROM homes h$$);
RESET enable_hashjoin;
RESET enable_mergejoin;
-- case: a merge join marks places in its inner side
SET enable_hashjoin = off;
SET enable_nestloop = off;
CREATE TABLE sides AS SELECT side AS k, id FROM pictures;
SELECT same($$SELECT s.id, x.id FROM sides s JOIN (SELECT id, damson.classify('side', image) AS k FROM pictures OFFSET 0) x USING (k) WHERE s.id < 10 ORDER BY 1, 2$$);
CREATE INDEX ON homes (id);
SELECT same($$SELECT a.id, x.p FROM generate_series(1, 50) a(id) JOIN (SELECT id, damson.predict('price', sqft, rooms) AS p FROM homes ORDER BY id OFFSET 0) x USING (id)$$);
RESET enable_hashjoin;
RESET enable_nestloop;
-- case: aggregates
SELECT same($$SELECT sum(damson.predict('price', sqft, rooms)), count(*), max(zip), avg(damson.predict('price', rooms, sqft)) FROM homes$$);
SELECT same($$SELECT zip, avg(damson.predict('price', sqft, rooms)) FROM homes GROUP BY zip HAVING max(damson.predict('price', sqft, rooms)) > 10 ORDER BY zip$$);
SELECT same($$SELECT damson.classify('side', image), count(*) FROM many GROUP BY 1 ORDER BY 1$$);
SELECT same($$SELECT count(*) FILTER (WHERE damson.classify('side', image) = 'left'), count(damson.classify('side', image)) FROM many$$);
SELECT same($$SELECT count(*) FILTER (WHERE damson.classify('side', image) = 'left'), count(damson.classify('side', image)) FILTER (WHERE length(image) = 64) FROM bad$$);
SELECT same($$SELECT zip, damson.predict('price', avg(sqft)::float8, 3) FROM homes GROUP BY zip HAVING damson.predict('price', max(sqft), 2) > 0 ORDER BY 1$$);
SELECT same($$SELECT zip, rooms, sum(damson.predict('price', sqft, rooms)) FROM homes GROUP BY GROUPING SETS ((zip), (rooms), ()) ORDER BY 1, 2$$);
SELECT same($$SELECT string_agg(damson.classify('side', image), ',' ORDER BY id) FROM pictures$$);
SET enable_hashagg = off;
SELECT same($$SELECT zip, avg(damson.predict('price', sqft, rooms)) FROM homes GROUP BY zip$$);
RESET enable_hashagg;
-- case: windows
SELECT same($$SELECT id, rank() OVER (ORDER BY damson.predict('price', sqft, rooms)), damson.predict('price', sqft, rooms), lag(damson.predict('price', sqft, rooms)) OVER (ORDER BY id) FROM homes$$);
SELECT same($$SELECT damson.predict('price', sum(sqft) OVER (ORDER BY id), rooms) FROM homes$$);
-- case: subqueries, common table expressions, unions, values, functions, DISTINCT
SELECT same($$WITH s AS MATERIALIZED (SELECT id, damson.classify('side', image) AS k FROM many) SELECT k, count(*) FROM s GROUP BY k ORDER BY k$$);
SELECT same($$SELECT * FROM (SELECT id, damson.classify('side', image) AS k FROM pictures UNION ALL SELECT id, damson.classify('side', image) FROM many) u ORDER BY 1$$);
SELECT same($$SELECT damson.predict('price', a, b) FROM (VALUES (1, 2), (3, NULL), (5, 6)) v(a, b)$$);
SELECT same($$SELECT damson.predict('price', g, 2) FROM generate_series(1, 100) g$$);
SELECT same($$SELECT DISTINCT damson.classify('side', image) FROM many ORDER BY 1$$);
SELECT same($$SELECT id, damson.predict('price', sqft, (SELECT max(rooms) FROM homes)), damson.predict('price', sqft, (SELECT count(*) FROM pictures p WHERE p.id < h.rooms)) FROM homes h$$);
SELECT same($$SELECT id, (SELECT min(p.id) FROM pictures p WHERE p.id > h.id), damson.predict('price', sqft, rooms) FROM homes h$$);
SELECT same($$SELECT generate_series(1, 2), damson.predict('price', sqft, rooms) FROM homes$$);
-- case: partitions, inheritance and indexes
CREATE TABLE parted (id int, part int, image bytea) PARTITION BY LIST (part);
CREATE TABLE parted_0 PARTITION OF parted FOR VALUES IN (0, 2, 4, 6, 8);
CREATE TABLE parted_1 PARTITION OF parted DEFAULT;
INSERT INTO parted SELECT id, part, image FROM many;
CREATE INDEX ON parted (id);
ANALYZE parted;
SELECT same($$SELECT id, damson.classify('side', image), tableoid::regclass FROM parted$$);
SELECT same($$SELECT id, damson.classify('side', image) FROM parted WHERE id < 100 ORDER BY id$$);
-- case: views, security barriers, row-level security
CREATE VIEW scored_view AS SELECT id, side, damson.classify('side', image) AS k FROM many;
SELECT same($$SELECT id, k FROM scored_view WHERE side = 'left' AND k = 'left'$$);
CREATE FUNCTION peek(bytea) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS $$BEGIN IF length($1) <> 64 THEN RAISE 'peeked at %', length($1); END IF; RETURN true; END$$;
CREATE VIEW barrier WITH (security_barrier) AS SELECT id, image FROM bad WHERE damson.predict('price', length(image), 64) <> damson.predict('price', 63, 64);
SELECT same($$SELECT id FROM barrier WHERE peek(image)$$);
CREATE ROLE damson_reader;
GRANT SELECT ON bad, pictures TO damson_reader;
CALL damson.grant_model('side', 'damson_reader');
CALL damson.grant_model('price', 'damson_reader');
ALTER TABLE bad ENABLE ROW LEVEL SECURITY;
CREATE POLICY whole ON bad FOR SELECT TO damson_reader USING (damson.predict('price', length(image), 64) <> damson.predict('price', 63, 64));
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO damson_reader;
SET ROLE damson_reader;
SELECT same($$SELECT id, damson.classify('side', image) FROM bad WHERE peek(image)$$);
SELECT same($$SELECT damson.predict('line', id, id) FROM pictures$$);
RESET ROLE;
ALTER TABLE bad DISABLE ROW LEVEL SECURITY;
DROP POLICY whole ON bad;

-- Statements --------------------------------------------------------------------------------------------------

-- case: INSERT ... SELECT, CREATE TABLE AS, UPDATE, DELETE, COPY
CREATE TABLE target AS SELECT id, damson.classify('side', image) AS k FROM many;
CREATE TABLE other (n serial, id int, k text DEFAULT 'none');
INSERT INTO other (id, k) SELECT id, damson.classify('side', image) FROM many;
SELECT count(*), bool_and(t.k = o.k), bool_and(o.k = damson.classify('side', m.image)) FROM target t JOIN other o USING (id) JOIN many m USING (id);
UPDATE homes SET price = damson.predict('price', sqft, rooms);
SELECT bool_and(price = damson.predict('price', sqft, rooms)) FROM homes;
UPDATE homes h SET price = 0 FROM pictures p WHERE p.id = h.id AND damson.classify('side', p.image) = 'left';
SELECT count(*) = (SELECT count(*) FROM pictures WHERE damson.classify('side', image) = 'left') FROM homes WHERE price = 0;
WITH gone AS (DELETE FROM other WHERE id IN (SELECT id FROM many WHERE damson.classify('side', image) = 'left') RETURNING k) SELECT DISTINCT k FROM gone;
COPY (SELECT id, damson.classify('side', image) = k FROM many JOIN target USING (id) WHERE id <= 3 ORDER BY id) TO STDOUT;
-- case: SELECT FOR UPDATE
SELECT same($$SELECT id, damson.classify('side', image) FROM many WHERE id < 30 FOR UPDATE$$);
-- case: prepared statements, with plans of their own and generic ones
SET plan_cache_mode = force_generic_plan;
PREPARE ask(text, int) AS SELECT count(*), sum(damson.predict($1, sqft, rooms)) > 0 FROM homes WHERE id < $2;
EXPLAIN (COSTS OFF) EXECUTE ask('price', 100);
EXECUTE ask('price', 100);
EXECUTE ask('line', 100);
EXECUTE ask(NULL, 100);
PREPARE bounded(int) AS SELECT damson.classify('side', image) IS NULL FROM bad LIMIT $1;
EXECUTE bounded(2);
SELECT expect('EXECUTE bounded(50)');
RESET plan_cache_mode;
-- case: a plan is made anew when the model becomes one of another kind
SET plan_cache_mode = force_generic_plan;
PREPARE kept AS SELECT variance(damson.predict('price', sqft, rooms)) > 0 FROM homes;
EXPLAIN (COSTS OFF) EXECUTE kept;
SELECT count(*) FROM damson.train('price', 'SELECT sqft, rooms, id::float8 AS y FROM homes', 'y', 'linear');
CALL damson.deploy('price', version => 2);
EXPLAIN (COSTS OFF) EXECUTE kept;
EXECUTE kept;
CALL damson.rollback('price');
EXPLAIN (COSTS OFF) EXECUTE kept;
EXECUTE kept;
RESET plan_cache_mode;
-- case: cursors, forwards and backwards
BEGIN;
DECLARE c SCROLL CURSOR FOR SELECT id, damson.classify('side', image) IS NOT NULL FROM bad;
FETCH 3 FROM c;
MOVE 17 FROM c;
FETCH 2 FROM c;
FETCH BACKWARD 3 FROM c;
FETCH ABSOLUTE 40 FROM c;
FETCH RELATIVE -35 FROM c;
FETCH FIRST FROM c;
FETCH BACKWARD 2 FROM c;
FETCH 2 FROM c;
COMMIT;
BEGIN;
DECLARE c CURSOR FOR SELECT id FROM pictures WHERE damson.classify('side', image) = 'left';
MOVE FORWARD ALL FROM c;
FETCH BACKWARD 2 FROM c;
FETCH FORWARD 3 FROM c;
MOVE BACKWARD ALL FROM c;
FETCH 2 FROM c;
COMMIT;
-- case: a cursor comes to an error when it comes to its row
BEGIN;
DECLARE c CURSOR FOR SELECT id, damson.classify('side', image) IS NOT NULL FROM bad;
MOVE 48 FROM c;
FETCH 1 FROM c;
SAVEPOINT s;
FETCH 1 FROM c;
ROLLBACK;
BEGIN;
DECLARE c CURSOR FOR SELECT id, damson.predict('price', 100 / (id - 20), id) IS NULL FROM pictures;
MOVE 18 FROM c;
FETCH 1 FROM c;
ROLLBACK;
-- case: WHERE CURRENT OF a cursor FOR UPDATE
BEGIN;
DECLARE c CURSOR FOR SELECT id, damson.classify('side', image) FROM many FOR UPDATE;
MOVE 5 FROM c;
UPDATE many SET part = -1 WHERE CURRENT OF c RETURNING id;
ROLLBACK;
-- case: PL/pgSQL, and functions that the planner takes apart
CREATE FUNCTION side_of(many) RETURNS text LANGUAGE sql STABLE AS $$SELECT damson.classify('side', $1.image)$$;
SELECT same($$SELECT id, side_of(m) FROM many m$$);
DO $$
DECLARE line record; n int := 0;
BEGIN
    FOR line IN SELECT id, damson.classify('side', image) AS k FROM bad LOOP
        n := n + 1;
        EXIT WHEN n = 49;
    END LOOP;
    RAISE NOTICE '% rows', n;
END $$;
-- case: in parallel
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SET max_parallel_workers_per_gather = 2;
ALTER TABLE many SET (parallel_workers = 2);
EXPLAIN (COSTS OFF) SELECT id, damson.classify('side', image) FROM many;
SELECT same($$SELECT * FROM (SELECT id, damson.classify('side', image) FROM many OFFSET 0) x ORDER BY 1$$);
SELECT same($$SELECT damson.classify('side', image) AS k, count(*), sum(id) FROM many GROUP BY 1 ORDER BY 1$$);
SELECT same($$SELECT round(sum(damson.probability('side', 'left', image))::numeric, 6) FROM many$$);
