-- What there is: tables of real data, loaded a moment ago, and the extension.
\dt

-- 1. A table: thirty measurements of a tumour. Train a boosting model; a fifth of the rows is held out to measure it.
CREATE VIEW tumours AS
SELECT mean_radius, mean_texture, mean_smoothness, mean_concavity, worst_radius, worst_texture, worst_concave_points,
       diagnosis
FROM breast_cancer WHERE part = 'train';

SELECT model, version, task, train_rows, test_rows, metric, round(value::numeric, 4) AS value
FROM damson.train('tumour', 'tumours', target => 'diagnosis',
                  params => '{"trees": 50}');

-- The first version is in production at once. A row is scored by its columns' names; others are ignored.
SELECT id, diagnosis, damson.classify('tumour', b) AS predicted,
       round(damson.probability('tumour', 'malignant', b)::numeric, 3) AS malignant
FROM breast_cancer b WHERE part = 'test' ORDER BY id LIMIT 5;

-- How good is it on rows that it never saw?
SELECT metric, round(value::numeric, 4) AS value
FROM damson.evaluate('tumour', $$SELECT * FROM breast_cancer WHERE part = 'test'$$);

-- 2. Images are rows like any other: raw bytes, 8x8 of them here. Train a convolutional network.
SELECT id, digit, length(image) AS bytes FROM digits ORDER BY id LIMIT 2;

SELECT model, version, algorithm, train_rows, test_rows, metric, round(value::numeric, 4) AS value
FROM damson.train('digit', $$SELECT image, digit FROM digits WHERE part = 'train'$$, target => 'digit',
                  algorithm => 'cnn', preprocess => '{"image": [8, 8, 1]}');

-- Score the rest: how many of each digit does it get right?
SELECT digit, count(*) AS images, count(*) FILTER (WHERE damson.classify('digit', image) = digit::text) AS correct
FROM digits WHERE part = 'test' GROUP BY digit ORDER BY digit;

-- 3. What the catalog knows.
SELECT name, task, algorithm, production, newest FROM damson.models;
SELECT * FROM damson.describe('tumour') LIMIT 12;

-- 4. A second version, with more trees. It is stored, not yet in production.
SELECT version, metric, round(value::numeric, 4) AS value
FROM damson.train('tumour', 'tumours', target => 'diagnosis',
                  params => '{"trees": 300, "learning_rate": 0.05}', seed => 1);

SELECT version, aliases, algorithm, metric, round(value::numeric, 4) AS value, bytes FROM damson.versions
WHERE model = 'tumour';

-- Deploying is a transaction like any other: nobody else sees it before COMMIT ...
BEGIN;
CALL damson.deploy('tumour', version => 2);
SELECT model, alias, version, previous FROM damson.aliases WHERE model = 'tumour';
-- ... and ROLLBACK takes it back.
ROLLBACK;
SELECT model, alias, version, previous FROM damson.aliases WHERE model = 'tumour';

CALL damson.deploy('tumour', version => 2);
CALL damson.rollback('tumour');
SELECT alias, version, action FROM damson.deployments WHERE model = 'tumour';

-- Any version can be asked by its number, whatever is in production.
SELECT round(avg(abs(damson.probability('tumour@1', 'malignant', b)
                   - damson.probability('tumour@2', 'malignant', b)))::numeric, 4) AS mean_difference
FROM breast_cancer b;

-- 5. Every training is a run, with its data's fingerprint, its rounds and its seconds.
SELECT run, model, version, algorithm, status, train_rows, seconds FROM damson.runs;
SELECT round, round(value::numeric, 4) AS train_loss FROM damson.metrics
WHERE model = 'digit' AND metric = 'train_loss' ORDER BY round LIMIT 5;
