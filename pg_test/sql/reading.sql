-- Many rows are stored and looked at on a second thread while the server goes on: what is read and recorded is the same.
\set ECHO none
\i fixtures/start.sql
-- More rows than are stored without a second thread, of every kind that is; NULLs come late.
CREATE TABLE many AS
SELECT i AS id, sin(i)::real AS f4, CASE WHEN i % 17 <> 0 THEN sqrt(i) END AS f8, (i % 300)::smallint AS i2,
       CASE WHEN i <> 70003 THEN i * 31 % 977 END AS i4, i::bigint << 33 AS i8, (i % 7)::numeric / 3 AS n,
       CASE WHEN i % 5 <> 3 THEN i % 2 = 0 END AS b, CASE WHEN i % 11 <> 4 THEN 't' || (i / 2000) END AS t,
       date '2020-01-01' + i % 900 AS d, CASE WHEN i % 19 <> 7 THEN timestamp '2021-03-04' + i * interval '1 second' END AS ts,
       sin(i) + i % 300 AS y
FROM generate_series(1, 150001) i;
-- What a training on so many threads records: hashes of the artifact, the rows, the columns and the baseline.
CREATE FUNCTION recorded(threads int, source text, more text DEFAULT '')
RETURNS TABLE (artifact text, fingerprint text, row_order text, columns text, baseline text) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('damson.threads', threads::text, true);
    EXECUTE format('SELECT damson.train(''same'', %L, ''y'', ''linear''%s)', source, more);
    RETURN QUERY
    SELECT l.artifact_sha256, l.fingerprint, l.row_order,
        (SELECT md5(string_agg(c::text, chr(10) ORDER BY c."column")) FROM damson.training_columns c WHERE c.model = 'same'),
        (SELECT md5(string_agg(b.name || b.role || md5(b.sketch), chr(10) ORDER BY b.position)) FROM damson_drift.baselines b
            JOIN damson_catalog.versions v ON v.id = b.version JOIN damson_catalog.models m ON m.id = v.model WHERE m.name = 'same')
    FROM damson.lineage l WHERE l.model = 'same';
    CALL damson.drop_model('same');
END $$;
-- Whether one, two and four threads record the same.
CREATE FUNCTION same(source text, more text DEFAULT '') RETURNS text LANGUAGE sql AS $$
    SELECT count(DISTINCT (artifact, fingerprint, row_order, columns, baseline)) || ' of ' || count(*) || ', '
        || count(*) FILTER (WHERE artifact IS NULL OR fingerprint IS NULL OR row_order IS NULL OR columns IS NULL OR baseline IS NULL)
        || ' without all'
    FROM unnest('{1,2,4}'::int[]) threads, recorded(threads, source, more) $$;
-- What goes wrong on so many threads.
CREATE FUNCTION failure(threads int, source text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE message text;
BEGIN
    PERFORM set_config('damson.threads', threads::text, true);
    EXECUTE format('SELECT damson.train(''same'', %L, ''y'', ''linear'')', source);
    RETURN 'it did not fail';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS message = MESSAGE_TEXT;
    RETURN SQLSTATE || ' ' || message;
END $$;
CREATE FUNCTION failures(source text) RETURNS SETOF text LANGUAGE sql AS
    $$ SELECT DISTINCT failure(threads, source) FROM unnest('{1,2,4}'::int[]) threads $$;
\t on
\set ECHO all
-- case: every kind of column, with NULLs that come late
SET client_min_messages = error;
SELECT same('many');
-- case: some columns, by name
SELECT same('many', $$, features => '{f4,i4,t}', key_column => 'id'$$);
-- case: rows parted by time, and a weight
SELECT same('SELECT f4, f8, i2, ts, d, 1 + i2 AS w, y FROM many', $$, split => 'time', time_column => 'd', weight => 'w'$$);
-- case: as many rows as a stage, a block and the second thread's first ask for, and one more or less
SELECT rows, same('SELECT f4, i4, t, y FROM many LIMIT ' || rows)
FROM unnest('{32767,32768,32769,34815,34816,34817,36864,131072,131073}'::int[]) rows;
-- case: arrays and byte strings beside them, which are not handed on
SELECT same('SELECT ARRAY[f4, i2]::real[] AS v, t, y FROM many LIMIT 60000');
-- case: a time that cannot be held, by the first row that has one, wherever it is noticed
SELECT failures('SELECT CASE WHEN id >= 50001 THEN timestamp ''infinity'' ELSE ts END AS ts, y FROM many');
SELECT failures('SELECT CASE WHEN id = 149999 THEN date ''-infinity'' ELSE d END AS d, y FROM many');
SELECT failures('SELECT CASE WHEN id = 40001 THEN date ''infinity'' ELSE d END AS d,
    CASE WHEN id < 40010 THEN ARRAY[1, 2] ELSE ARRAY[1] END AS v, y FROM many');
SELECT failures('SELECT CASE WHEN id = 40011 THEN date ''infinity'' ELSE d END AS d,
    CASE WHEN id < 40010 THEN ARRAY[1, 2] ELSE ARRAY[1] END AS v, y FROM many');
-- case: the server's own error in the midst of rows
SELECT failures('SELECT f4, 1 / (90000 - id) AS x, y FROM many');
SELECT same('SELECT f4, y FROM many LIMIT 40000');
-- case: more rows than may be held
SET damson.max_memory = '2MB';
SELECT failures('SELECT f8, i8, y FROM many');
RESET damson.max_memory;
