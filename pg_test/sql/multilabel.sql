-- Sets of labels: targets that are arrays of text, on images and on tables.
\set ECHO none
\i fixtures/start.sql
-- 8x8 pixels, each quarter bright or dark by a bit of the number: a row has the labels of its bright halves, or none.
CREATE TABLE photos AS
SELECT i AS id, (SELECT string_agg(decode(lpad(to_hex(CASE WHEN (p / 8 < 4 AND i & 1 > 0) OR (p % 8 < 4 AND i & 2 > 0) THEN 170 ELSE 20 END
              + (i * 31 + p * 17) % 60), 2, '0'), 'hex'), '' ORDER BY p) FROM generate_series(0, 63) p) AS image,
       CASE i & 3 WHEN 0 THEN '{}' WHEN 1 THEN '{top}' WHEN 2 THEN '{left}' WHEN 3 THEN '{top,left,top}' END::text[] AS tags
FROM generate_series(1, 240) i;
CREATE TABLE songs AS SELECT i AS id, sin(i)::real AS a, cos(i * 3)::real AS b,
    array_remove(ARRAY[CASE WHEN sin(i) > 0 THEN 'loud' END, CASE WHEN cos(i * 3) > 0.3 THEN 'fast' END], NULL) AS style
FROM generate_series(1, 500) i;
CREATE FUNCTION fact(model text, fact text) RETURNS text LANGUAGE sql AS
    'SELECT d.value FROM damson.describe($1) d WHERE d.property = $2';
\t on
\set ECHO all

-- case: a network learns them from images
SELECT version, task, metric, value > 0.97 AS good FROM damson.train('photos', 'photos', 'tags', 'cnn', '{"architecture": "cnn_small", "epochs": 12, "dropout": 0}',
    features => '{image}', preprocess => '{"image": [8, 8, 1]}', seed => 1);
SELECT p.id, damson.labels('photos', p.image), damson.probability('photos', 'top', p.image) > 0.5 AS top,
    (SELECT string_agg(k, ' ') FROM jsonb_object_keys(damson.probabilities('photos', p.image)) k) AS of FROM photos p WHERE p.id <= 4 ORDER BY 1;
SELECT count(*) = 240 AS right FROM photos p WHERE damson.labels('photos', p.image) = ARRAY(SELECT DISTINCT unnest(p.tags) ORDER BY 1);
SELECT count(*) AS tops FROM photos p WHERE damson.labels('photos', p) @> '{top}';
SELECT fact('photos', 'task'), fact('photos', 'target'), fact('photos', 'classes'), fact('photos', 'train_accuracy')::float > 0.9 AS learnt;
-- case: batches, and the same answers row by row
EXPLAIN (COSTS OFF) SELECT damson.labels('photos', image) FROM photos;
CREATE TABLE batched AS SELECT id, damson.labels('photos', image) AS labels, damson.probabilities('photos', image) AS p FROM photos;
SET damson.batch_scoring = off;
SELECT count(*) AS others FROM photos p JOIN batched b USING (id)
WHERE damson.labels('photos', p.image) IS DISTINCT FROM b.labels OR damson.probabilities('photos', p.image) IS DISTINCT FROM b.p;
RESET damson.batch_scoring;
-- case: a missing image and a missing model
SELECT expect($$SELECT damson.labels('photos', NULL::bytea)$$);
SELECT damson.labels(NULL, image) AS none FROM photos LIMIT 1;

-- case: tables, with weights of labels and a threshold
SELECT version, task, train_rows, test_rows, metric, value > 0.9 AS good FROM damson.train('songs', 'SELECT a, b, style FROM songs', 'style', 'cnn',
    '{"architecture": "mlp", "epochs": 30}', class_weight => 'balanced', threshold => '0.6', seed => 1);
SELECT d.property, round(d.value::numeric, 2) AS value FROM damson.describe('songs') d WHERE d.property LIKE 'class weight%' OR d.property LIKE 'threshold%' ORDER BY 1;
SELECT damson.labels('songs', 0.9, 0.9), damson.labels('songs', -0.9, -0.9), damson.labels('songs', '{"a": 0.9, "b": -0.9}'::jsonb);
SELECT bool_and((damson.labels('songs', s) @> '{loud}') = (damson.probability('songs', 'loud', s) >= 0.6)) AS by_threshold FROM songs s;
SELECT version FROM damson.train('songs', 'SELECT a, b, style FROM songs', 'style', 'cnn',
    '{"architecture": "mlp", "epochs": 2, "loss": "focal", "focal_gamma": 1.5, "early_stopping": true}', class_weight => '{"fast": 3}');
-- case: metrics
SELECT metric, value BETWEEN 0 AND 1 AS fits, lower < upper AS interval FROM damson.evaluate('songs@1', 'SELECT a, b, style FROM songs') ORDER BY 1;
SELECT metric, value > 0.9 AS good FROM damson.evaluate('songs@1', 'SELECT a, b, style, a > 0 AS half FROM songs', slice_by => 'half') WHERE metric = 'f1_micro';
SELECT expect($$SELECT * FROM damson.evaluate('songs', 'SELECT a, b, array_append(style, ''sad'') AS style FROM songs')$$);
SELECT expect($$SELECT * FROM damson.evaluate('songs', 'SELECT a, b, ''loud'' AS style FROM songs')$$);
SELECT expect($$SELECT * FROM damson.confusion('songs', 'SELECT a, b, style FROM songs')$$);
-- case: curves of a label by itself
SELECT count(*) > 2 AS points, min(tpr) AS from, max(tpr) AS to FROM damson.roc('songs@1', 'SELECT a, b, style FROM songs', class => 'loud');
SELECT count(*) > 2 AS points FROM damson.pr_curve('songs@1', 'SELECT a, b, style FROM songs', class => 'fast');
SELECT sum(rows) FROM damson.lift('songs@1', 'SELECT a, b, style FROM songs', class => 'fast');
SELECT sum(rows) FROM damson.calibration('songs@1', 'SELECT a, b, style FROM songs', class => 'fast');
SELECT expect($$SELECT * FROM damson.roc('songs', 'SELECT a, b, style FROM songs')$$);
SELECT expect($$SELECT * FROM damson.roc('songs', 'SELECT a, b, style FROM songs', class => 'sad')$$);
SELECT left(damson.plot('songs@1', 'roc'), 10) AS begins;
SELECT expect($$SELECT damson.plot('songs@1', 'confusion')$$);
-- case: folds
SELECT metric, value > 0.8 AS good FROM damson.train('folded', 'SELECT a, b, style FROM songs', 'style', 'cnn', '{"architecture": "mlp", "epochs": 20}', split => 'none', folds => 3);

-- case: drift, importance, two versions side by side, and what a table is filled with
SELECT d."column", d.role, d.method, d.drifted FROM damson.drift('songs@1', 'SELECT a, b, style FROM songs') d ORDER BY 2, 1;
SELECT d."column", d.drifted FROM damson.drift('songs@1', 'SELECT a, b, ''{loud}''::text[] AS style FROM songs', columns => '{style}') d WHERE d."column" = 'style';
SELECT count(*) AS inputs FROM damson.importance('songs@1', source => 'SELECT a, b, style FROM songs');
SELECT s.metric, s.champion IS NULL AS of_both FROM damson.shadow('songs', 'SELECT a, b, style FROM songs', challenger => '2', champion => '1', target => 'style') s WHERE s.metric IN ('agreement', 'share of loud', 'f1_micro', 'largest_difference') ORDER BY 1;
SELECT table_name, rows FROM damson.score_into('styled', 'songs@1', 'songs', columns => '{id}');
SELECT * FROM (SELECT id, prediction, (probabilities -> 'loud')::float > 0.6 AS loud FROM styled ORDER BY id LIMIT 2) s;
SELECT damson.create_scorer('songs', name => 'style_of');
SELECT pg_get_function_result('style_of'::regproc), style_of(0.9, 0.9);
SELECT metric, lower < value AND value < upper AS inside, degraded FROM damson.performance_drift('songs@1', 'SELECT a, b, style FROM songs') WHERE metric IN ('hamming_loss', 'f1_micro') ORDER BY 1;
SELECT degraded FROM damson.performance_drift('songs@1', 'SELECT a, b, ''{loud}''::text[] AS style FROM songs') WHERE metric = 'f1_micro';
SELECT count(*) > 0 AS changed FROM damson.concept_drift('songs@1', 'SELECT id, a, b, CASE WHEN id > 250 THEN ''{}'' ELSE style END AS style FROM songs', 'id');
-- case: lineage, the training again, and the report
SELECT c."column", c.role, c.kind, c.missing, c.distinct_values, c.top FROM damson.training_columns c WHERE c.model = 'songs' AND c.version = 1 ORDER BY 1;
SELECT bool_and(r.same) AS same FROM damson.reproduce('songs@1') r;
SELECT length(damson.report('songs@1')) > 1000 AS there, damson.report('songs@1') LIKE '%hamming_loss%' AS measured,
    damson.report('songs@1') LIKE '%ROC curve%' AS drawn;
SELECT damson.report('songs@1', 'SELECT a, b, style FROM songs') LIKE '%f1_samples%' AS measured_again;
-- case: deployment by a gate on their metrics
SELECT expect($$CALL damson.deploy('songs', 2, gate => 'hamming_loss < 0.0001')$$);

-- case: going on from a model knows its labels alone
SELECT version FROM damson.train('songs', 'SELECT a, b, style FROM songs WHERE NOT ''fast'' = ANY (style)', 'style', 'cnn', '{"architecture": "mlp", "epochs": 1}', init_model => 'songs@1');
SELECT fact('songs@3', 'classes');
SELECT expect($$SELECT damson.train('songs', 'SELECT a, b, array_append(style, ''sad'') AS style FROM songs', 'style', 'cnn', '{"architecture": "mlp", "epochs": 1}', init_model => 'songs@1')$$);

-- case: what is no set of labels
SELECT expect($$SELECT damson.train('x', 'SELECT a, b, NULLIF(style, ''{}'') AS style FROM songs', 'style', 'cnn', '{"architecture": "mlp"}')$$);
SELECT expect($$SELECT damson.train('x', 'SELECT a, b, style || NULL::text AS style FROM songs', 'style', 'cnn', '{"architecture": "mlp"}')$$);
SELECT expect($$SELECT damson.train('x', 'SELECT a, b, ''{}''::text[] AS style FROM songs', 'style', 'cnn', '{"architecture": "mlp"}')$$);
SELECT expect($$SELECT damson.train('x', 'SELECT a, b, ARRAY[id::text, (-id)::text, (id * 1000)::text] AS style FROM songs', 'style', 'cnn', '{"architecture": "mlp"}')$$);
SELECT expect($$SELECT damson.train('x', 'SELECT a, b, ''loud'' AS style FROM songs', 'style', 'cnn', '{"architecture": "mlp"}', task => 'multilabel')$$);
SELECT expect($$SELECT damson.train('x', 'SELECT a, b, style FROM songs', 'style', 'cnn', '{"architecture": "mlp"}', task => 'classification')$$);
-- case: labels as a feature
SELECT expect($$SELECT damson.train('x', 'SELECT a, b > 0 AS b, style FROM songs', 'b', 'logistic')$$);
SELECT expect($$SELECT damson.fit('linear', style, a) FROM songs$$);
-- case: who does not learn them
SELECT expect($$SELECT damson.train('x', 'SELECT a, b, style FROM songs', 'style')$$);
SELECT expect($$SELECT damson.train('x', 'SELECT a, b, style FROM songs', 'style', 'logistic')$$);
SELECT expect($$SELECT damson.train('x', 'SELECT a, b, style FROM songs', 'style', 'auto')$$);
-- case: what does not go with them
SELECT expect(format($$SELECT damson.train('x', 'SELECT a, b, style, id %% 2 AS g FROM songs', 'style', 'cnn', '{"architecture": "mlp", "epochs": 1}', %s)$$, more))
FROM unnest(ARRAY['split => ''stratified''', 'calibration => ''sigmoid''', 'conformal => 0.9', 'threshold => ''f1''', 'threshold => ''{"at": 0.2, "positive": "loud"}''',
    'class_weight => ''{"sad": 2}''', 'group_by => ''{g}''']) more;
SELECT expect($$SELECT damson.train('x', 'SELECT a, b, style FROM songs', 'style', 'cnn', '{"architecture": "mlp", "loss": "cross_entropy"}')$$);
SELECT expect($$SELECT damson.train('x', 'SELECT a, b FROM songs', 'b', 'cnn', '{"architecture": "mlp", "loss": "binary_cross_entropy"}')$$);
-- case: scorers of other tasks
SELECT expect($$SELECT damson.classify('songs', 0.1, 0.2)$$);
SELECT expect($$SELECT damson.predict('songs', 0.1, 0.2)$$);
SELECT expect($$SELECT damson.probability('songs', 'sad', 0.1, 0.2)$$);
SELECT expect($$SELECT damson.explain('songs', 0.1, 0.2)$$);
SELECT version FROM damson.train('plain', 'SELECT a, b > 0 AS b FROM songs', 'b', 'logistic');
SELECT expect($$SELECT damson.labels('plain', 0.1)$$);
-- case: the aggregate does not take them
SET damson.runner = 'aggregate';
SELECT expect($$SELECT damson.train('x', 'SELECT a, b, style FROM songs', 'style', 'cnn', '{"architecture": "mlp"}')$$);
RESET damson.runner;
-- case: one label, and one that all rows have
SELECT version, metric, value > 0.9 AS good FROM damson.train('one', 'SELECT a, b, CASE WHEN a > 0 THEN ''{x}'' ELSE ''{}'' END::text[] AS y FROM songs', 'y', 'cnn', '{"architecture": "mlp", "epochs": 20}');
SELECT damson.labels('one', 0.9, 0), damson.labels('one', -0.9, 0);
SELECT version FROM damson.train('all', 'SELECT a, b, ARRAY[''x''] || style AS y FROM songs', 'y', 'cnn', '{"architecture": "mlp", "epochs": 20}', class_weight => 'balanced');
SELECT bool_and(damson.labels('all', s) @> '{x}') AS all FROM songs s;
