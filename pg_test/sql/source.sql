-- Sources: which queries are read, which types, and what is refused.
\set SHOW_CONTEXT never
-- Runs a statement that must fail; gives SQLSTATE, message and hint.
CREATE FUNCTION failure(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE message text; hint text;
BEGIN
    EXECUTE statement;
    RETURN 'it did not fail';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT;
    RETURN concat_ws(' | ', SQLSTATE, message, CASE WHEN length(hint) > 0 THEN hint END);
END $$;
-- Trains a line on a source whose target is y, and gives what went wrong.
CREATE FUNCTION refused(source text, features text[] DEFAULT NULL) RETURNS text LANGUAGE sql AS
$$ SELECT failure(format('SELECT damson.train(''m'', %L, target => ''y'', algorithm => ''linear'', features => %L)', source, features)) $$;
-- Trains a line; gives the rows and columns that it learnt from, and whether it fits exactly.
CREATE FUNCTION learnt(source text, features text[] DEFAULT NULL)
RETURNS TABLE (rows bigint, reads text, exact boolean) LANGUAGE plpgsql AS $$
DECLARE v bigint; r bigint; e float8;
BEGIN
    SELECT t.version, t.train_rows INTO v, r FROM damson.train('m', source, target => 'y', algorithm => 'linear',
        features => features, split => 'none') t;
    EXECUTE format('SELECT max(abs(y - damson.predict(%L, s))) FROM (%s) s', 'm@' || v,
        CASE WHEN source ~* '^\s*(select|with|values|table)\s' THEN source ELSE 'SELECT * FROM ' || source END) INTO e;
    RETURN QUERY SELECT r, string_agg(value, ' | ' ORDER BY property), coalesce(e < 1e-6, false)
    FROM damson.describe('m@' || v) WHERE property LIKE 'feature %';
END $$;
CREATE TABLE plain AS SELECT i AS id, i % 10 AS x, 2.0 * (i % 10) + 1 AS y FROM generate_series(1, 600) i;
CREATE SCHEMA "Odd ""one";
CREATE TABLE "Odd ""one"."My Rows" AS SELECT * FROM plain;
-- case: a relation by name, in any spelling that SQL has
SELECT * FROM learnt('plain', '{x}');
SELECT * FROM learnt('PLAIN', '{x}');
SELECT * FROM learnt('public."plain"', '{x}');
SELECT * FROM learnt('"Odd ""one"."My Rows"', '{x}');
-- case: a query of any kind that reads
SELECT * FROM learnt('SELECT x, y FROM plain');
SELECT * FROM learnt('WITH q AS (SELECT * FROM plain) SELECT x, y FROM q WHERE id > 100');
SELECT refused('VALUES (1, 3.0), (2, 5.0)');
SELECT refused('TABLE plain', '{nosuch}');
SELECT * FROM learnt('SELECT column1 AS x, column2 AS y FROM (VALUES (1, 3.0), (2, 5.0), (3, 7.0)) v');
SELECT * FROM learnt(E'select x, y -- the rest is noise\nfrom plain', NULL);
-- case: every type of number
SELECT * FROM learnt('SELECT (x > 4) AS b, x::int2 AS i2, (x * x)::int4 AS i4, (x ^ 3)::int8 AS i8, (x % 3)::real AS f4,
    (x % 4)::float8 AS f8, (x % 5)::numeric AS n, (x > 4)::int + x + x * x + (x ^ 3) + x % 3 + 2 * (x % 4) + 3 * (x % 5) AS y FROM plain');
-- case: every type of text
CREATE TYPE mood AS ENUM ('sad', 'ok', 'great');
CREATE DOMAIN word AS varchar(20);
SELECT * FROM learnt('SELECT (''{sad,ok,great}''::text[])[1 + x % 3]::mood AS e, (x % 4)::text AS t, (x % 5)::char(5) AS c,
    md5((x % 2)::text)::uuid AS u, (''w'' || x % 7)::word AS w, (x % 3 + x % 4 + x % 5 + x % 2 + x % 7)::float8 AS y FROM plain');
-- case: dates and times
SELECT * FROM learnt('SELECT date ''2024-01-01'' + x AS d, x::float8 AS y FROM plain');
SELECT * FROM learnt('SELECT timestamp ''2024-01-01'' + x * interval ''1 day'' AS d, x::float8 AS y FROM plain');
-- case: arrays, of one length
SELECT * FROM learnt('SELECT ARRAY[x, x % 3, x % 4]::real[] AS v, ARRAY[id % 2, id % 5]::int[] AS w, (x + 2 * (x % 3) + id % 2)::float8 AS y FROM plain');
-- case: rows with NULLs before, between and after stored columns that are read in one piece
CREATE TABLE holes (a int, b float8, c real, y float8);
INSERT INTO holes SELECT i % 7, i % 11, i % 13, i % 7 + 2 * (i % 11) + 3 * (i % 13) FROM generate_series(1, 1000) i;
SELECT * FROM learnt('holes');
ALTER TABLE holes DROP COLUMN b;
ALTER TABLE holes ADD COLUMN d int DEFAULT 4;
INSERT INTO holes SELECT i % 7, i % 13, i % 7 + 3 * (i % 13), 4 FROM generate_series(1, 1000) i;
SELECT * FROM learnt('SELECT a, c, d, y - 2 * ((y - a - 3 * c) / 2) AS y FROM holes');
INSERT INTO holes SELECT NULL, 1, 2, NULL FROM generate_series(1, 300);
SELECT rows FROM learnt('holes');
-- case: other columns may be of any type when the features are named
SELECT * FROM learnt('SELECT x, y, ''{}''::jsonb AS j, interval ''1 day'' AS k FROM plain', '{x}');
-- case: not a name, not a query
SELECT refused('');
SELECT refused('   ');
SELECT refused('nosuch');
SELECT refused('nosuch.plain');
SELECT refused('My Rows');
SELECT refused('1plain');
SELECT refused('a.b.c.d');
SELECT refused('"plain');
SELECT refused('selec x, y from plain');
SELECT refused('SELECT x, y FROM');
SELECT refused('SELECT $1 AS y');
-- case: a source that writes, in every way
SELECT refused('DELETE FROM plain');
SELECT refused('WITH q AS (SELECT 1) DELETE FROM plain');
SELECT refused('  drop table plain');
SELECT refused('SELECT x, y FROM plain; DROP TABLE plain');
SELECT refused('SELECT x, y INTO other FROM plain');
SELECT refused('WITH gone AS (DELETE FROM plain RETURNING x, y) SELECT * FROM gone');
SELECT refused('SELECT x, y FROM plain FOR UPDATE');
CREATE FUNCTION writes(x int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN DELETE FROM plain; RETURN x; END $$;
SELECT refused('SELECT writes(x) AS x, y FROM plain');
CREATE SEQUENCE counter;
SELECT refused('SELECT nextval(''counter'') AS x, y FROM plain');
SELECT refused('EXPLAIN SELECT 1');
SELECT count(*) FROM plain;
SHOW transaction_read_only;
-- case: a source that fails half way leaves nothing behind
SELECT refused('SELECT CASE WHEN id = 400 THEN 1 / (id - 400) ELSE x END AS x, y FROM plain');
SELECT * FROM learnt('plain', '{x}');
-- case: columns that are not there, or twice
SELECT refused('plain', '{nosuch}');
SELECT refused('SELECT x FROM plain');
SELECT refused('SELECT x, x + 1 AS x, y FROM plain');
-- case: types that cannot be learnt from come with what would do
SELECT refused('SELECT y, ''{}''::jsonb AS j FROM plain');
SELECT refused('SELECT y, interval ''1 day'' AS "the span" FROM plain');
SELECT refused('SELECT y, ARRAY[''a'']::text[] AS v FROM plain');
SELECT refused('SELECT y, x::money AS v FROM plain');
SELECT refused('SELECT y, point(x, x) AS p FROM plain');
SELECT refused('SELECT y, ''127.0.0.1''::inet AS p FROM plain');
-- case: arrays of uneven length, empty ones, none at all
SELECT refused('SELECT CASE WHEN id < 300 THEN ARRAY[1, 2] ELSE ARRAY[1] END AS v, y FROM plain ORDER BY id');
SELECT refused('SELECT ARRAY[]::real[] AS v, y FROM plain');
SELECT refused('SELECT NULL::real[] AS v, y FROM plain');
-- case: times without an end
SELECT refused('SELECT CASE WHEN id = 299 THEN date ''infinity'' ELSE date ''2024-01-01'' END AS d, y FROM plain ORDER BY id');
SELECT refused('SELECT timestamp ''-infinity'' AS d, y FROM plain');
SELECT refused('SELECT date ''5874000-01-01'' AS d, y FROM plain');
-- case: no more memory than allowed
SET damson.max_memory = '1MB';
SELECT regexp_replace(failure($$ SELECT damson.train('m', 'SELECT i AS x, i::float8 AS y FROM generate_series(1, 1000000) i',
    target => 'y', algorithm => 'linear') $$), '[0-9]+ rows', 'N rows');
RESET damson.max_memory;
-- case: 1,600 columns
SELECT failure(format('SELECT damson.train(''m'', ''SELECT y, %s FROM plain WHERE id < 50'', target => ''y'', algorithm => ''ridge'')',
    string_agg('x AS c' || i, ', '))) FROM generate_series(1, 1599) i;
-- case: settings
SELECT name, unit, min_val, max_val, boot_val, short_desc FROM pg_settings WHERE name LIKE 'damson.%' ORDER BY 1;
SET damson.threads = -1;
