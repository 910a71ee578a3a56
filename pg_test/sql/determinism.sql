-- The same rows, parameters and seed give the same bytes, on however many threads.
\set ECHO none
\i fixtures/start.sql
\i fixtures/data.sql
\i fixtures/images.sql
-- Enough rows for several blocks and threads, with everything that preprocessing knows.
CREATE TABLE big AS
SELECT (i * 7919 % 10007 / 100.0)::float8 AS a, (i * 104729 % 9973 / 7.0)::float4 AS b, CASE WHEN i % 13 <> 0 THEN i * 31 % 977 END AS c,
       't' || (i * i) % 41 AS t, date '2020-01-01' + i % 2000 AS d, i % 3 = 0 AS e, ARRAY[sin(i), cos(i)]::float4[] AS v,
       (i * 7919 % 10007 / 100.0 + i * 31 % 977 / 10.0 + (i * i) % 41) AS y
FROM generate_series(1, 20000) i;
CREATE TABLE big_classes AS SELECT a, b, c, t, d, e, v, CASE WHEN y < 60 THEN 'low' WHEN y < 110 THEN 'mid' ELSE 'top' END AS y FROM big;
CREATE VIEW big_two AS SELECT a, b, c, t, d, e, v, y < 90 AS y FROM big;
CREATE FUNCTION sha(model text, version bigint) RETURNS text LANGUAGE sql AS
    'SELECT v.artifact_sha256 FROM damson_catalog.versions v JOIN damson_catalog.models m ON m.id = v.model WHERE m.name = $1 AND v.version = $2';
-- How many different artifacts a training gives on 1, 2, 4 and 7 threads, and how many trainings there were.
CREATE FUNCTION artifacts(call text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE threads int; made record; shas text[] := '{}';
BEGIN
    FOREACH threads IN ARRAY ARRAY[1, 2, 4, 7] LOOP
        PERFORM set_config('damson.threads', threads::text, true);
        EXECUTE 'SELECT model, version FROM damson.train(''same'', ' || call || ')' INTO made;
        shas := shas || sha(made.model, made.version);
    END LOOP;
    CALL damson.drop_model('same');
    RETURN format('%s artifact(s) of %s trainings', (SELECT count(DISTINCT s) FROM unnest(shas) s), cardinality(shas));
END $$;
\t on
\set ECHO all

-- case: linear
SELECT artifacts($$'big', 'y', 'linear'$$);
-- case: ridge
SELECT artifacts($$'big', 'y', 'ridge', preprocess => '{"categories": "target", "missing_indicator": true}'$$);
-- case: logistic
SELECT artifacts($$'big_two', 'y', 'logistic'$$);
-- case: multinomial
SELECT artifacts($$'big_classes', 'y', 'multinomial'$$);
-- case: boosting, regression
SELECT artifacts($$'big', 'y', 'boosting', params => '{"trees": 8}'$$);
-- case: boosting, two classes, with samples of rows and columns
SELECT artifacts($$'big_two', 'y', 'boosting', params => '{"trees": 8, "feature_fraction": 0.5, "bagging_fraction": 0.5}'$$);
-- case: boosting, three classes, with early stopping
SELECT artifacts($$'big_classes', 'y', 'boosting', params => '{"trees": 4, "early_stopping_round": 2}'$$);
-- case: kmeans
SELECT artifacts($$'SELECT a, b, c, t, v FROM big', algorithm => 'kmeans', params => '{"n_clusters": 5, "max_iter": 10}'$$);
-- case: cnn
SELECT artifacts($$'pictures', 'side', 'cnn', preprocess => '{"image": [8, 8, 1]}', params => '{"epochs": 2, "batch_size": 16}'$$);
-- case: folds and a stratified split
SELECT artifacts($$'big_two', 'y', 'logistic', folds => 3$$);
SELECT artifacts($$'big_classes', 'y', 'multinomial', split => 'stratified'$$);
-- case: a scan in parallel workers, or one that starts amid the table, would give other orders of rows: neither is used
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SET synchronize_seqscans = on;
SELECT artifacts($$'SELECT * FROM big', 'y', 'ridge'$$);
RESET ALL;
SET damson.progress = off;
-- case: the fingerprint does not depend on the order of rows, and tells other rows
SELECT count(*) FROM unnest(ARRAY['homes', 'SELECT * FROM homes ORDER BY id DESC', 'SELECT * FROM homes WHERE id > 1']) s, damson.train('prints', s, 'price', 'linear', split => 'none');
SELECT version, fingerprint = first_value(fingerprint) OVER (ORDER BY version) AS same FROM damson.runs WHERE model = 'prints' ORDER BY 1;
