-- Images that damson.max_memory leaves no room: trained on from a temporary file, to the very model of a training in memory.
\set ECHO none
\i fixtures/start.sql
SET damson.threads = 2;
SET work_mem = '100MB'; -- The server keeps the rows of a function in memory, too.
-- 2,600 images of 96 x 96 pixels, 23,961,600 bytes in all, bright on the left or on the right.
CREATE TABLE scans AS SELECT i AS id, CASE WHEN i % 2 = 0 THEN 'left' ELSE 'right' END AS side, i % 3 AS ward, decode(repeat(
        repeat(to_hex(90 + i * 31 % 60 + 60 * (1 - i % 2)), 48) || repeat(to_hex(90 + i * 17 % 60 + 60 * (i % 2)), 48), 96), 'hex') AS image
    FROM generate_series(1, 2600) i;
ANALYZE scans;
-- The planner expects ten rows of it.
CREATE FUNCTION surprise() RETURNS SETOF scans LANGUAGE plpgsql STABLE ROWS 10 AS 'BEGIN RETURN QUERY SELECT * FROM scans ORDER BY id; END';
CREATE FUNCTION learn(model text, more text DEFAULT '', source text DEFAULT 'SELECT side, image FROM scans ORDER BY id',
    arguments text DEFAULT '') RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format($q$SELECT damson.train(%L, %L, 'side', 'cnn', '{"layers": [{"type": "conv2d", "filters": 4, "kernel_size": 8, "stride": 16},
        {"type": "relu"}, {"type": "flatten"}], "epochs": 2, "batch_size": 8%s}', preprocess => '{"image": [96, 96, 1]}'%s)$q$,
        model, source, more, arguments);
    RETURN (SELECT v.artifact_sha256 FROM damson_catalog.versions v JOIN damson_catalog.models m ON m.id = v.model
        WHERE m.name = $1 ORDER BY v.version DESC LIMIT 1);
END $$;
CREATE TABLE hashes (name text, hash text);
\t on
\set ECHO all

-- case: in memory, without a file
SET temp_file_limit = 0;
INSERT INTO hashes VALUES ('plain', learn('plain')), ('stopped', learn('stopped', ', "early_stopping": true')),
    ('folds', learn('folds', '', arguments => ', folds => 3')), ('mixed', learn('mixed', ', "mixup": 0.4, "augment": "crop", "ema_decay": 0.9')),
    ('calibrated', learn('calibrated', arguments => $$, calibration => 'sigmoid', calibration_size => 0.2$$)),
    ('on', learn('on', arguments => $$, init_model => 'plain@1'$$)),
    ('wards', learn('wards', source => 'SELECT side, image, ward FROM scans ORDER BY id', arguments => $$, group_by => '{ward}'$$)),
    ('surprise', learn('surprise', source => 'SELECT side, image FROM surprise()'));

-- case: there is no room for them, and no file is allowed
SET damson.max_memory = '20MB';
SELECT expect($$SELECT learn('plain')$$);
SELECT expect($$SELECT learn('surprise', source => 'SELECT side, image FROM surprise()')$$);
SET temp_file_limit = '10MB';
SELECT expect($$SELECT learn('plain')$$);
SELECT count(*) AS versions FROM damson.versions WHERE model IN ('plain', 'surprise');
SELECT count(*) AS files FROM pg_ls_tmpdir();

-- case: the same models from a file, on any number of threads
RESET temp_file_limit;
SELECT name, learn(name) = hash AS same FROM hashes WHERE name = 'plain';
SET damson.threads = 1;
SELECT name, learn(name) = hash AS same FROM hashes WHERE name = 'plain';
SET damson.threads = 4;
SELECT name, learn(name) = hash AS same FROM hashes WHERE name = 'plain';
SET damson.threads = 2;
-- case: with rows held out to stop by
SELECT name, learn(name, ', "early_stopping": true') = hash AS same FROM hashes WHERE name = 'stopped';
-- case: with folds
SELECT name, learn(name, '', arguments => ', folds => 3') = hash AS same FROM hashes WHERE name = 'folds';
-- case: with images that are moved and mixed
SELECT name, learn(name, ', "mixup": 0.4, "augment": "crop", "ema_decay": 0.9') = hash AS same FROM hashes WHERE name = 'mixed';
-- case: with calibrated answers
SELECT name, learn(name, arguments => $$, calibration => 'sigmoid', calibration_size => 0.2$$) = hash AS same FROM hashes WHERE name = 'calibrated';
-- case: on from a model
SELECT name, learn(name, arguments => $$, init_model => 'plain@1'$$) = hash AS same FROM hashes WHERE name = 'on';
-- case: more rows than the planner expects
SELECT name, learn(name, source => 'SELECT side, image FROM surprise()') = hash AS same FROM hashes WHERE name = 'surprise';
-- case: metrics and what the rows were like are the same too
WITH v AS (SELECT v.* FROM damson_catalog.versions v JOIN damson_catalog.models m ON m.id = v.model WHERE m.name = 'plain')
SELECT count(*) > 5 AS some, count(*) FILTER (WHERE a.value IS DISTINCT FROM b.value) AS others FROM damson_catalog.metrics a
    JOIN damson_catalog.metrics b ON (b.split, b.name) = (a.split, a.name) AND b.round IS NOT DISTINCT FROM a.round
    WHERE a.run = (SELECT v.run FROM v WHERE v.version = 1) AND b.run = (SELECT v.run FROM v WHERE v.version = 2);
SELECT bool_and(same) AS same FROM damson.reproduce('plain@1') WHERE what <> 'library';
-- case: a model a ward
SET damson.threads = 1;
SELECT name, learn(name, source => 'SELECT side, image, ward FROM scans ORDER BY id', arguments => $$, group_by => '{ward}'$$) = hash AS same FROM hashes WHERE name = 'wards';
SELECT count(*) AS files FROM pg_ls_tmpdir();

-- case: a network that has no room itself is refused before a row is kept
SELECT expect($$SELECT damson.train('n', 'SELECT side, image FROM scans', 'side', 'cnn', '{"architecture": "lenet"}', preprocess => '{"image": [96, 96, 1]}')$$) ~ '^53200: training needs about \d+ MiB, and damson.max_memory allows 20 MiB\s+detail: Of it .*a batch on its way \d+ MiB' AS refused;
-- case: one image is a byte short
SELECT expect($$SELECT learn('n', source => 'SELECT side, CASE WHEN id = 2107 THEN substr(image, 2) ELSE image END AS image FROM scans ORDER BY id')$$);
-- case: one is missing
SELECT expect($$SELECT learn('n', source => 'SELECT side, CASE WHEN id <> 7 THEN image END AS image FROM scans ORDER BY id')$$);
SELECT count(*) AS files FROM pg_ls_tmpdir();
