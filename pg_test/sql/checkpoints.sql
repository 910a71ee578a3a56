-- Going on from a checkpoint: what refuses, and what says so. Crashes and cancels are in tests/test_checkpoints.py.
\set ECHO none
\i fixtures/start.sql
CREATE TABLE points AS SELECT sin(i) AS a, cos(i) AS b, sin(i) * cos(i) > 0 AS y FROM generate_series(1, 400) i;
\t on
\set ECHO all

-- case: nothing is kept of a training that committed
SET damson.checkpoint_interval = 0;
SELECT version, algorithm FROM damson.train('m', 'points', 'y', 'cnn', '{"architecture": "mlp", "epochs": 3}');
SELECT count(*) FROM damson.checkpoints;

-- case: resume without a checkpoint begins anew, and says so
SELECT version FROM damson.train('m', 'points', 'y', 'cnn', '{"architecture": "mlp", "epochs": 3}', resume => true);

-- case: both are the same model
SELECT count(DISTINCT artifact_sha256) FROM damson_catalog.versions;

-- case: a checkpoint of a training that was rolled back
BEGIN;
SELECT version FROM damson.train('m', 'points', 'y', 'cnn', '{"architecture": "mlp", "epochs": 5}');
ROLLBACK;
SELECT model, algorithm, epoch, role::text = current_user AS mine, params::jsonb -> 'epochs' AS epochs FROM damson.checkpoints;

-- case: other arguments do not find it
SELECT version FROM damson.train('m', 'points', 'y', 'cnn', '{"architecture": "mlp", "epochs": 6}', resume => true);

-- case: the same do
SELECT version FROM damson.train('m', 'points', 'y', 'cnn', '{"architecture": "mlp", "epochs": 5}', resume => true);
SELECT count(*) FROM damson.checkpoints;
SELECT q.round, q.metric FROM damson.metrics q WHERE q.model = 'm' AND q.version = 4 AND q.round IS NOT NULL AND q.metric = 'train_loss' ORDER BY 1;

-- case: what keeps none refuses
SELECT expect($$SELECT * FROM damson.train('b', 'points', 'y', resume => true)$$);
SELECT expect($$SELECT * FROM damson.train('b', 'points', 'y', 'auto', resume => true)$$);
SELECT expect($$SELECT * FROM damson.train('b', 'points', 'a', 'cnn', group_by => '{y}', resume => true)$$);
SELECT expect($$SELECT * FROM damson.train('b', 'points', 'y', resume => true, wait => false)$$);
SET damson.runner = aggregate;
SELECT expect($$SELECT * FROM damson.train('b', 'points', 'y', 'cnn', '{"architecture": "mlp"}', resume => true)$$);
RESET damson.runner;
SET damson.keep_checkpoints = 0;
SELECT expect($$SELECT * FROM damson.train('b', 'points', 'y', 'cnn', '{"architecture": "mlp"}', resume => true)$$);
RESET damson.keep_checkpoints;
