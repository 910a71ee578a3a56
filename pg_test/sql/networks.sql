-- Networks in SQL beyond training: layers' values, weights in and out, categories, early stopping.
\set ECHO none
\i fixtures/start.sql
CREATE TABLE towns AS SELECT i AS id, sin(i) AS a, 'town ' || i * 7 % 30 AS town, cos(i * 3) AS b,
    CASE WHEN (i * 7 % 30) % 3 = 0 THEN 'up' ELSE 'down' END AS label FROM generate_series(1, 600) i;
CREATE FUNCTION fact(model text, fact text) RETURNS text LANGUAGE sql AS
    'SELECT d.value FROM damson.describe($1) d WHERE d.property = $2';
\t on
\set ECHO all

-- case: categories are embedded where they are left to the network
SELECT version, metric, value > 0.95 AS good FROM damson.train('towns', 'SELECT a, town, b, label FROM towns', 'label', 'cnn',
    '{"architecture": "mlp", "epochs": 30, "embedding_dim": 4}', preprocess => '{"categories": "native"}');
SELECT d.property, d.value FROM damson.describe('towns') d WHERE d.property LIKE 'layer %' OR d.property = 'parameters';
-- case: a town that nobody knows is answered
SELECT damson.classify('towns', 0.1, 'atlantis', 0.2) IN ('up', 'down') AS answered, damson.classify('towns', 0.1, NULL::text, 0.2) IS NOT NULL AS missing;
-- case: what the layers give
SELECT array_length(damson.embed('towns', t), 1) AS last, array_length(damson.embed_layer('towns', '0', t), 1) AS first,
    array_length(damson.embed_layer('towns', '8', t), 1) AS outputs FROM towns t LIMIT 2;
SELECT damson.embed_layer('towns', '0', 0.25, 'town 3', -0.5) = damson.embed_layer('towns', '0', 0.25, 'town 3', -0.5) AS same;
-- case: the layer by a column, and NULL
SELECT l.layer, array_length(damson.embed_layer('towns', l.layer, 0.25, 'town 3', -0.5), 1) FROM (VALUES ('0'), ('2'), ('5'), (NULL)) l(layer);
-- case: layers that there are not, and models without any
SELECT expect($$SELECT damson.embed_layer('towns', 'head', 0.25, 'town 3', -0.5)$$);
SELECT version FROM damson.train('line', 'SELECT a, b, label FROM towns', 'label', 'logistic');
SELECT expect($$SELECT damson.embed('line', 0.1, 0.2)$$);
SELECT expect($$SELECT damson.embed_layer('line', '0', 0.1, 0.2)$$);
SELECT expect($$SELECT damson.export_weights('line')$$);
SELECT expect($$SELECT damson.import_weights('line', 'x')$$);

-- case: weights out and into a new version
SELECT length(damson.export_weights('towns')) > 1000 AS there;
SELECT damson.import_weights('towns', damson.export_weights('towns@1'), description => 'the same again');
SELECT v.version, v.metric, v.parent FROM damson.versions v WHERE v.model = 'towns' ORDER BY 1;
SELECT bool_and(damson.probability('towns@1', 'up', t) = damson.probability('towns@2', 'up', t)) AS same FROM towns t;
SELECT fact('towns@2', 'weights'), fact('towns@2', 'epochs');
SELECT r.source, r.train_rows, r.arguments ->> 'weights_of' AS weights_of FROM damson.runs r WHERE r.model = 'towns' ORDER BY r.run DESC LIMIT 1;
SELECT a.action, a.details ->> 'from' AS template FROM damson.audit a WHERE a.model = 'towns' AND a.action = 'import_weights';
CALL damson.deploy('towns', 2);
SELECT metric, value > 0.9 AS good FROM damson.evaluate('towns', 'SELECT a, town, b, label FROM towns') WHERE metric = 'accuracy';
SELECT count(*) > 2 AS drift FROM damson.drift('towns', 'SELECT a, town, b, label FROM towns');
SELECT expect($$SELECT * FROM damson.reproduce('towns@2')$$);

-- case: weights that are none
SELECT expect($$SELECT damson.import_weights('towns', '\x00')$$);
SELECT expect($$SELECT damson.import_weights('towns', NULL)$$);
SELECT expect($$SELECT damson.import_weights('nothing', '\x00')$$);
SELECT expect($$SELECT damson.export_weights('towns@9')$$);

-- case: rows held out end a training early
SELECT version FROM damson.train('early', 'SELECT a, town, b, label FROM towns', 'label', 'cnn',
    '{"architecture": "mlp", "epochs": 200, "early_stopping": true, "n_iter_no_change": 3, "tol": 0.01, "schedule": "constant"}');
SELECT fact('early', 'epochs')::int < 200 AS early, fact('early', 'best_epoch')::int < fact('early', 'epochs')::int AS best_came_before;
SELECT q.metric, count(*) = fact('early', 'epochs')::int AS each_epoch FROM damson.metrics q
    WHERE q.model = 'early' AND q.round IS NOT NULL GROUP BY 1 ORDER BY 1;

-- case: what does not fit
SELECT expect($$SELECT damson.train('x', 'SELECT a, town, label FROM towns', 'label', 'cnn', '{"layers": [{"type": "relu"}]}', preprocess => '{"categories": "native"}')$$);
SELECT expect($$SELECT damson.train('x', 'SELECT a, label FROM towns', 'label', 'cnn', '{"layers": [{"type": "embedding"}]}')$$);
SELECT expect($$SELECT damson.train('x', 'SELECT a, label FROM towns', 'label', 'cnn', '{"architecture": "mlp", "early_stopping": true, "validation_fraction": 2}')$$);
SELECT expect($$SELECT damson.train('x', 'SELECT a, town, label FROM towns', 'label', 'cnn', '{"architecture": "mlp", "mixup": 1}', preprocess => '{"categories": "native"}')$$);
