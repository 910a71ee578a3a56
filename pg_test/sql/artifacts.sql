-- Damaged artifacts: an error that says so, never a crash, whatever byte is wrong.
\set ECHO none
\i fixtures/start.sql
\i fixtures/data.sql
\i fixtures/images.sql
SELECT count(*) FROM damson.train('linear', 'SELECT sqft, zip, price FROM homes', 'price', 'linear', split => 'none');
SELECT count(*) FROM damson.train('logistic', 'SELECT age, plan, joined, churned FROM customers', 'churned', 'logistic', split => 'none');
SELECT count(*) FROM damson.train('kmeans', 'SELECT petal, sepal FROM flowers', algorithm => 'kmeans', params => '{"n_clusters": 3}');
SELECT count(*) FROM damson.train('boosting', 'SELECT sqft, zip, price FROM homes', 'price', 'boosting', params => '{"trees": 2, "num_leaves": 4}', split => 'none');
SELECT count(*) FROM damson.train('cnn', 'pictures', 'side', 'cnn', preprocess => '{"image": [8, 8, 1]}', params => '{"epochs": 1}', split => 'none');
CREATE TABLE whole AS SELECT m.name, v.id, a.bytes, v.artifact_sha256 AS sha FROM damson_catalog.models m JOIN damson_catalog.versions v ON v.model = m.id JOIN damson_catalog.artifacts a ON a.version = v.id;
-- Nothing is kept between two scorings.
SET damson.cache_memory = 0;
CREATE TABLE call_of (name text, score text);
INSERT INTO call_of VALUES
    ('linear', 'SELECT damson.predict(''linear'', 1000, ''z1''), damson.predict(''linear'', 1000, NULL)'),
    ('logistic', 'SELECT damson.probabilities(''logistic'', 30, ''plus''::text, date ''2024-05-05''), damson.classify(''logistic'', NULL, NULL, NULL)'),
    ('kmeans', 'SELECT damson.predict(''kmeans'', 1.0, 2.0), damson.predict(''kmeans'', NULL, 2.0)'),
    ('boosting', 'SELECT damson.predict(''boosting'', 1000, ''z1''), damson.predict(''boosting'', 9999, ''zz''), damson.predict(''boosting'', NULL, NULL)'),
    ('cnn', 'SELECT damson.classify(''cnn'', image) FROM pictures');
-- Puts other bytes in the place of an artifact, with or without a fitting SHA-256 in the catalog, loads it, and where
-- that went well scores with it. "odd" is what should never be: a fault of the extension itself, or one that has no class.
CREATE FUNCTION state_of(model text, damaged bytea, honest boolean) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    UPDATE damson_catalog.artifacts a SET bytes = damaged FROM whole w WHERE w.name = state_of.model AND a.version = w.id;
    UPDATE damson_catalog.versions v SET artifact_size = length(damaged), artifact_sha256 = CASE WHEN honest THEN w.sha ELSE encode(sha256(damaged), 'hex') END
    FROM whole w WHERE w.name = state_of.model AND v.id = w.id;
    PERFORM count(*) FROM damson.describe(state_of.model);
    BEGIN
        EXECUTE (SELECT score FROM call_of c WHERE c.name = state_of.model);
        RETURN 'scored';
    EXCEPTION WHEN OTHERS THEN
        -- The call may not fit any more: another type, another column, other classes.
        RETURN CASE WHEN SQLSTATE IN ('42804', '42703', '22000', '22004', '22023', '0A000') THEN 'refused' ELSE 'odd ' || SQLSTATE || SQLERRM END;
    END;
EXCEPTION WHEN OTHERS THEN
    RETURN CASE WHEN SQLSTATE IN ('42704', '0A000') THEN 'unknown' WHEN SQLSTATE = 'XX001' THEN 'XX001' ELSE 'odd ' || SQLSTATE || SQLERRM END;
END $$;
-- The artifact with a checksum of its own that fits: what somebody could write who wants to do harm.
CREATE FUNCTION sealed(body bytea) RETURNS bytea LANGUAGE sql IMMUTABLE AS 'SELECT body || sha256(body)';
CREATE FUNCTION flips(model text, seal boolean, honest boolean, pattern int) RETURNS TABLE (state text, bytes bigint) LANGUAGE plpgsql AS $$
DECLARE whole_bytes bytea; body bytea;
BEGIN
    SELECT w.bytes INTO whole_bytes FROM whole w WHERE w.name = model;
    body := CASE WHEN seal THEN substr(whole_bytes, 1, length(whole_bytes) - 32) ELSE whole_bytes END;
    RETURN QUERY
    SELECT s, count(*) FROM generate_series(0, length(body) - 1) n,
        LATERAL (SELECT set_byte(body, n, get_byte(body, n) # pattern) AS changed) c,
        LATERAL state_of(model, CASE WHEN seal THEN sealed(changed) ELSE changed END, honest) s
    GROUP BY 1 ORDER BY 1;
END $$;
\set ECHO all

-- case: all of them are whole
SELECT name, state_of(name, bytes, true) FROM whole ORDER BY name;
-- case: how a damaged artifact is told
UPDATE damson_catalog.artifacts a SET bytes = set_byte(a.bytes, 100, get_byte(a.bytes, 100) # 1) FROM whole w WHERE w.name = 'linear' AND a.version = w.id;
SELECT regexp_replace(expect($$SELECT damson.predict('linear', 1000, 'z1')$$), '[0-9a-f]{64}', '...', 'g') AS expect;
-- case: every byte of a small one flipped in turn, as a disk would
SELECT state, bytes > 500 AS all_of_them FROM flips('linear', false, true, 255);
SELECT state, bytes > 500 AS all_of_them FROM flips('kmeans', false, true, 1);
-- case: the same with a fitting checksum in the catalog: the artifact has one of its own
SELECT state FROM flips('linear', false, false, 255);
SELECT state FROM flips('kmeans', false, false, 1);
-- case: the same with both checksums made to fit: what is read is checked, or is a number like others
SELECT string_agg(state, E'\n') FILTER (WHERE state LIKE 'odd%') AS odd, max(bytes) FILTER (WHERE state = 'XX001') > 10 AS some_told, sum(bytes) > 450 AS all_of_them FROM flips('linear', true, false, 255);
SELECT string_agg(state, E'\n') FILTER (WHERE state LIKE 'odd%') AS odd, max(bytes) FILTER (WHERE state = 'XX001') > 10 AS some_told, sum(bytes) > 450 AS all_of_them FROM flips('logistic', true, false, 128);
SELECT string_agg(state, E'\n') FILTER (WHERE state LIKE 'odd%') AS odd, max(bytes) FILTER (WHERE state = 'XX001') > 10 AS some_told, sum(bytes) > 450 AS all_of_them FROM flips('kmeans', true, false, 255);
SELECT string_agg(state, E'\n') FILTER (WHERE state LIKE 'odd%') AS odd, max(bytes) FILTER (WHERE state = 'XX001') > 10 AS some_told, sum(bytes) > 450 AS all_of_them FROM flips('boosting', true, false, 255);
SELECT string_agg(state, E'\n') FILTER (WHERE state LIKE 'odd%') AS odd, max(bytes) FILTER (WHERE state = 'XX001') > 10 AS some_told, sum(bytes) > 450 AS all_of_them FROM flips('boosting', true, false, 1);
-- case: cut off after every byte
SELECT s.state, count(*) > 450 AS all_of_them FROM whole w, generate_series(0, length(w.bytes) - 1) n, state_of(w.name, substr(w.bytes, 1, n), false) s(state) WHERE w.name = 'linear' GROUP BY 1;
SELECT s.state, count(*) > 450 AS all_of_them FROM whole w, generate_series(0, length(w.bytes) - 33) n, state_of(w.name, sealed(substr(w.bytes, 1, n)), false) s(state) WHERE w.name = 'linear' GROUP BY 1;
-- case: empty, too long, or of another kind
SELECT state_of('linear', '', false), state_of('linear', bytes || '\x00', false) AS longer, state_of('linear', sealed(substr(bytes, 1, length(bytes) - 32) || '\x00'), false) AS sealed_longer, state_of('linear', repeat('x', 1000)::bytea, false) AS text FROM whole WHERE name = 'linear';
-- case: lengths beyond all memory
SELECT state_of('linear', sealed(overlay(substr(bytes, 1, length(bytes) - 32) PLACING '\xffffffffffffffff' FROM 9)), false), state_of('linear', sealed(overlay(substr(bytes, 1, length(bytes) - 32) PLACING '\xffffffffffffff7f' FROM 9)), false) FROM whole WHERE name = 'linear';
-- case: another model's artifact is what it is
SELECT state_of('linear', (SELECT bytes FROM whole WHERE name = 'kmeans'), false);
-- case: the chunk is missing
DELETE FROM damson_catalog.artifacts a USING whole w WHERE w.name = 'linear' AND a.version = w.id;
SELECT regexp_replace(expect($$SELECT damson.predict('linear', 1000, 'z1')$$), 'expected \d+', 'expected N') AS expect;
-- case: put back, it scores again
INSERT INTO damson_catalog.artifacts (version, chunk, bytes) SELECT id, 0, bytes FROM whole WHERE name = 'linear';
SELECT state_of(name, bytes, true) FROM whole WHERE name = 'linear';
SELECT damson.predict('linear', 1000, 'z1') > 0 AS scored;
-- case: a network, of which some hundred bytes are flipped in turn, behind fitting checksums
SELECT string_agg(s, E'\n') FILTER (WHERE s LIKE 'odd%') AS odd, count(*) > 300 AS many FROM whole w, LATERAL (SELECT substr(w.bytes, 1, length(w.bytes) - 32) AS body) b,
    LATERAL (SELECT generate_series(0, 299) UNION SELECT generate_series(300, length(w.bytes) - 33, length(w.bytes) / 60)) n(n), state_of('cnn', sealed(set_byte(b.body, n, get_byte(b.body, n) # 255)), false) s WHERE w.name = 'cnn';
