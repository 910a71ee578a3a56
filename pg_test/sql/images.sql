-- Images: raw bytes of a declared shape, PNG and JPEG, for networks and as pixels for other algorithms; and bad ones.
\set ECHO none
\i fixtures/start.sql
\i fixtures/images.sql
\set ECHO all

-- case: a network learns from raw images
SELECT model, algorithm, task, train_rows, test_rows, metric, value > 0.9 AS good
FROM damson.train('side', 'pictures', 'side', 'cnn', preprocess => '{"image": [8, 8, 1]}', params => '{"epochs": 3, "batch_size": 16}');
-- case: it scores raw images, rows and PNGs
SELECT count(*), count(*) FILTER (WHERE damson.classify('side', image) = side) > 110 AS good, bool_and(damson.classify('side', image) = damson.classify('side', p)) AS same FROM pictures p;
SELECT name, damson.classify('side', file) FROM files WHERE name IN ('left', 'right');
SELECT name, damson.classify('side', f) FROM (SELECT name, file AS image FROM files WHERE name IN ('left', 'right')) f;
-- case: colours are made grey for a model of grey images
SELECT damson.classify('side', file) IN ('left', 'right') AS scored FROM files WHERE name = 'colour';
-- case: pixels are numbers for other algorithms
SELECT model, algorithm, metric, value > 0.9 AS good FROM damson.train('pixels', 'pictures', 'side', 'logistic', features => '{image}', preprocess => '{"image": [8, 8, 1]}');
SELECT name, damson.classify('pixels', file) FROM files WHERE name IN ('left', 'right');
-- case: PNGs tell their shape
SELECT model, train_rows FROM damson.train('of_files', 'SELECT f.name, f.file FROM files f, generate_series(1, 10) WHERE f.name IN (''left'', ''right'')', 'name', 'cnn', split => 'none', params => '{"epochs": 1}');
SELECT damson.classify('of_files', image) IN ('left', 'right') AS scored FROM pictures LIMIT 1;
-- case: channels first
SELECT model, train_rows FROM damson.train('chw', 'SELECT image || image || image AS image, side FROM pictures', 'side', 'cnn', preprocess => '{"image": [8, 8, 3], "image_layout": "chw"}', params => '{"epochs": 1}');
-- case: evaluate
SELECT metric, value > 0.8 AS good FROM damson.evaluate('side', 'pictures') WHERE metric = 'accuracy';

-- Training on bad ones ----------------------------------------------------------------------------------------

\t on
-- case: raw images without a shape
SELECT expect($$SELECT damson.train('n', 'pictures', 'side', 'cnn')$$);
-- case: a shape that does not fit
SELECT expect($$SELECT damson.train('n', 'pictures', 'side', 'cnn', preprocess => '{"image": [9, 8, 1]}')$$);
-- case: a shape that is none
SELECT expect($$SELECT damson.train('n', 'pictures', 'side', 'cnn', preprocess => '{"image": [8, 8]}')$$);
SELECT expect($$SELECT damson.train('n', 'pictures', 'side', 'cnn', preprocess => '{"image": "8x8"}')$$);
SELECT expect($$SELECT damson.train('n', 'pictures', 'side', 'cnn', preprocess => '{"image": [0, 8, 1]}')$$);
-- case: one raw image is a byte short
SELECT expect($$SELECT damson.train('n', 'SELECT side, CASE WHEN id = 7 THEN substr(image, 2) ELSE image END AS image FROM pictures ORDER BY id', 'side', 'cnn', preprocess => '{"image": [8, 8, 1]}')$$);
-- case: a 0-byte image
SELECT expect($$SELECT damson.train('n', 'SELECT side, CASE WHEN id = 7 THEN ''''::bytea ELSE image END AS image FROM pictures ORDER BY id', 'side', 'cnn', preprocess => '{"image": [8, 8, 1]}')$$);
-- case: only 0-byte images
SELECT expect($$SELECT damson.train('n', 'SELECT side, ''''::bytea AS image FROM pictures', 'side', 'cnn')$$);
-- case: a NULL image
SELECT expect($$SELECT damson.train('n', 'SELECT side, CASE WHEN id <> 7 THEN image END AS image FROM pictures ORDER BY id', 'side', 'cnn', preprocess => '{"image": [8, 8, 1]}')$$);
-- case: a truncated PNG
SELECT expect($$SELECT damson.train('n', 'SELECT name, CASE WHEN i = 7 THEN substr(file, 1, 50) ELSE file END AS file FROM files, generate_series(1, 20) i WHERE name IN (''left'', ''right'') ORDER BY i, name', 'name', 'cnn')$$);
-- case: PNGs of two sizes
SELECT expect($$SELECT damson.train('n', 'SELECT f.* FROM files f, generate_series(1, 9) i WHERE name IN (''left'', ''small'') ORDER BY i, name', 'name', 'cnn')$$);
-- case: bytes that are no image
SELECT expect($$SELECT damson.train('n', 'SELECT side, sha256(image) AS image FROM pictures', 'side', 'cnn')$$);
-- case: two image columns
SELECT expect($$SELECT damson.train('n', 'SELECT side, image, image AS second FROM pictures', 'side', 'cnn', preprocess => '{"image": [8, 8, 1]}')$$);
-- case: an image and a number, both asked for
SELECT expect($$SELECT damson.train('n', 'pictures', 'side', 'cnn', features => '{id,image}', preprocess => '{"image": [8, 8, 1]}')$$);
-- case: a network on text
SELECT expect($$SELECT damson.train('n', 'SELECT side, side AS copy, id FROM pictures', 'id', 'cnn', params => '{"epochs": 1}')$$);
-- case: bytea as target
SELECT expect($$SELECT damson.train('n', 'pictures', 'image', 'cnn')$$);

-- Scoring bad ones --------------------------------------------------------------------------------------------

-- case: a 0-byte image
SELECT expect($$SELECT damson.classify('side', ''::bytea)$$);
-- case: a byte too few, and too many
SELECT expect($$SELECT damson.classify('side', substr(image, 2)) FROM pictures$$);
SELECT expect($$SELECT damson.classify('side', image || '\x00') FROM pictures$$);
-- case: a NULL image
SELECT expect($$SELECT damson.classify('side', NULL::bytea)$$);
-- case: a PNG of another size
SELECT expect($$SELECT damson.classify('side', file) FROM files WHERE name = 'small'$$);
-- case: a PNG that claims to be huge
SELECT expect($$SELECT damson.classify('side', file) FROM files WHERE name = 'huge'$$);
-- case: a PNG without its last half
SELECT expect($$SELECT damson.classify('side', substr(file, 1, length(file) / 2)) FROM files WHERE name = 'left'$$);
-- case: a JPEG that ends after its first marker
SELECT expect($$SELECT damson.classify('side', '\xffd8ffe000104a464946'::bytea)$$);
-- case: base64 text for an image
SELECT expect($$SELECT damson.classify('side', encode(image, 'base64')) FROM pictures$$);
-- case: an image in a document
SELECT expect($$SELECT damson.classify('side', to_jsonb(p)) FROM pictures p$$);
-- case: a truncated PNG of every length is refused, or shows its pixels, and never more
SELECT state, count(*) FROM files, generate_series(0, length(file) - 1) n, left(expect(format('SELECT damson.classify(''side'', decode(''%s'', ''hex''))', encode(substr(file, 1, n), 'hex'))), 5) state
WHERE name = 'left' AND n <> 64 GROUP BY 1 ORDER BY 1;
-- case: a PNG with any byte changed is refused or scored, and never more
SELECT bool_and(state IN ('no er', '22000')) FROM files, generate_series(0, length(file) - 1) n, left(expect(format('SELECT damson.classify(''side'', decode(''%s'', ''hex''))', encode(set_byte(file, n, get_byte(file, n) # 255), 'hex'))), 5) state
WHERE name = 'left';
