-- Trainings that are refused: each says what was found, what was expected and what to do, and leaves nothing.
\set ECHO none
\i fixtures/start.sql
\i fixtures/data.sql
\t on
\set ECHO all

-- Arguments ---------------------------------------------------------------------------------------------------

-- case: unknown algorithm
SELECT regexp_replace(expect($$SELECT damson.train('m', 'homes', 'price', 'linaer')$$), 'There are: .*?\.', 'There are: ... .');
-- case: empty algorithm
SELECT regexp_replace(expect($$SELECT damson.train('m', 'homes', 'price', '')$$), 'There are: .*?\.', 'There are: ... .');
-- case: unknown target
SELECT expect($$SELECT damson.train('m', 'homes', 'prize', 'linear')$$);
-- case: unknown feature
SELECT expect($$SELECT damson.train('m', 'homes', 'price', 'linear', features => '{sqft,roms}')$$);
-- case: unknown weight column
SELECT expect($$SELECT damson.train('m', 'homes', 'price', 'linear', weight => 'wgt')$$);
-- case: unknown time column
SELECT expect($$SELECT damson.train('m', 'homes', 'price', 'linear', split => 'time', time_column => 'sold')$$);
-- case: a column in the wrong case
SELECT expect($$SELECT damson.train('m', 'homes', 'Price', 'linear')$$);
-- case: unknown parameter
SELECT expect($$SELECT damson.train('m', 'homes', 'price', 'ridge', params => '{"alpa": 1}')$$);
-- case: parameter out of range
SELECT expect($$SELECT damson.train('m', 'homes', 'price', 'ridge', params => '{"alpha": -1}')$$);
-- case: parameter of the wrong type
SELECT expect($$SELECT damson.train('m', 'homes', 'price', 'ridge', params => '{"alpha": "strong"}')$$);
-- case: parameters that are not JSON
SELECT expect($$SELECT damson.train('m', 'homes', 'price', 'ridge', params => 'alpha=1')$$);
-- case: parameters that are no object
SELECT expect($$SELECT damson.train('m', 'homes', 'price', 'ridge', params => '[1]')$$);
-- case: unknown option of preprocess
SELECT expect($$SELECT damson.train('m', 'homes', 'price', 'ridge', preprocess => '{"scaling": "standard"}')$$);
-- case: unknown choice of an option
SELECT expect($$SELECT damson.train('m', 'homes', 'price', 'ridge', preprocess => '{"scale": "minmax"}')$$);
-- case: native missing values where the algorithm knows none
SELECT expect($$SELECT damson.train('m', 'homes', 'price', 'ridge', preprocess => '{"missing": "native"}')$$);
-- case: options for a column that is no feature
SELECT expect($$SELECT damson.train('m', 'homes', 'price', 'ridge', preprocess => '{"columns": {"sqm": {"scale": "none"}}}')$$);
-- case: unknown option for a column
SELECT expect($$SELECT damson.train('m', 'homes', 'price', 'ridge', preprocess => '{"columns": {"sqft": {"image": 1}}}')$$);
-- case: unknown part of a date
SELECT expect($$SELECT damson.train('m', 'customers', 'churned', 'logistic', preprocess => '{"dates": ["century"]}')$$);
-- case: unknown task
SELECT expect($$SELECT damson.train('m', 'homes', 'price', 'linear', task => 'guessing')$$);
-- case: a task that the algorithm does not do
SELECT expect($$SELECT damson.train('m', 'homes', 'price', 'linear', task => 'classification')$$);
-- case: no target where one is needed
SELECT expect($$SELECT damson.train('m', 'homes', algorithm => 'linear')$$);
-- case: a target where none is taken
SELECT expect($$SELECT damson.train('m', 'homes', 'price', 'kmeans')$$);
-- case: unknown split
SELECT expect($$SELECT damson.train('m', 'homes', 'price', 'linear', split => 'half')$$);
-- case: test_size out of range
SELECT expect($$SELECT damson.train('m', 'homes', 'price', 'linear', test_size => 1)$$);
-- case: test_size NaN
SELECT expect($$SELECT damson.train('m', 'homes', 'price', 'linear', test_size => 'NaN')$$);
-- case: split by time without a time column
SELECT expect($$SELECT damson.train('m', 'homes', 'price', 'linear', split => 'time')$$);
-- case: split by a column that is no time
SELECT expect($$SELECT damson.train('m', 'homes', 'price', 'linear', split => 'time', time_column => 'zip')$$);
-- case: a stratified split of a regression
SELECT expect($$SELECT damson.train('m', 'homes', 'price', 'linear', split => 'stratified')$$);
-- case: a negative number of folds
SELECT expect($$SELECT damson.train('m', 'homes', 'price', 'linear', folds => -3)$$);
-- case: one fold
SELECT expect($$SELECT damson.train('m', 'homes', 'price', 'linear', folds => 1)$$);
-- case: folds and a split at once
SELECT expect($$SELECT damson.train('m', 'homes', 'price', 'linear', folds => 5, split => 'random')$$);
-- case: more folds than rows
SELECT expect($$SELECT damson.train('m', 'SELECT * FROM homes LIMIT 3', 'price', 'linear', folds => 5)$$);
-- case: no features
SELECT expect($$SELECT damson.train('m', 'homes', 'price', 'linear', features => '{}')$$);
-- case: a feature named twice
SELECT expect($$SELECT damson.train('m', 'homes', 'price', 'linear', features => '{sqft,sqft}')$$);
-- case: NULL among the features
SELECT expect($$SELECT damson.train('m', 'homes', 'price', 'linear', features => '{sqft,NULL}')$$);
-- case: the target among the features
SELECT expect($$SELECT damson.train('m', 'homes', 'price', 'linear', features => '{sqft,price}')$$);
-- case: the target alone in the source
SELECT expect($$SELECT damson.train('m', 'SELECT price FROM homes', 'price', 'linear')$$);
-- case: NULL for the model's name
SELECT expect($$SELECT damson.train(NULL, 'homes', 'price', 'linear')$$);
-- case: NULL for the source
SELECT expect($$SELECT damson.train('m', NULL, 'price', 'linear')$$);
-- case: an empty name
SELECT expect($$SELECT damson.train('', 'homes', 'price', 'linear')$$);
-- case: a name with an alias in it
SELECT expect($$SELECT damson.train('m@champion', 'homes', 'price', 'linear')$$);
-- case: a name that ends with a blank
SELECT expect($$SELECT damson.train('m ', 'homes', 'price', 'linear')$$);
-- case: a name of 200 letters
SELECT expect($$SELECT damson.train(repeat('m', 200), 'homes', 'price', 'linear')$$);

-- Sources -----------------------------------------------------------------------------------------------------

-- case: unknown relation
SELECT expect($$SELECT damson.train('m', 'hoems', 'price', 'linear')$$);
-- case: a query with a mistake
SELECT expect($$SELECT damson.train('m', 'SELECT sqft FRM homes', 'price', 'linear')$$);
-- case: an unknown column in the query
SELECT expect($$SELECT damson.train('m', 'SELECT sqm FROM homes', 'price', 'linear')$$);
-- case: an empty source
SELECT expect($$SELECT damson.train('m', ' ', 'price', 'linear')$$);
-- case: a semicolon alone
SELECT expect($$SELECT damson.train('m', 'SELECT ;', 'price', 'linear')$$);
-- case: two statements
SELECT expect($$SELECT damson.train('m', 'SELECT * FROM homes; DELETE FROM homes', 'price', 'linear')$$);
-- case: a statement that writes
SELECT expect($$SELECT damson.train('m', 'DELETE FROM homes RETURNING *', 'price', 'linear')$$);
-- case: a query that writes in its WITH
SELECT expect($$SELECT damson.train('m', 'WITH d AS (DELETE FROM homes RETURNING *) SELECT * FROM d', 'price', 'linear')$$);
-- case: SELECT INTO
SELECT expect($$SELECT damson.train('m', 'SELECT * INTO copy FROM homes', 'price', 'linear')$$);
-- case: SELECT FOR UPDATE
SELECT expect($$SELECT damson.train('m', 'SELECT * FROM homes FOR UPDATE', 'price', 'linear')$$);
-- case: a query that calls a function that writes
CREATE FUNCTION writes() RETURNS float8 LANGUAGE sql VOLATILE AS 'DELETE FROM homes WHERE id = 1 RETURNING price';
SELECT expect($$SELECT damson.train('m', 'SELECT *, writes() FROM homes', 'price', 'linear')$$);
-- case: a query that advances a sequence
CREATE SEQUENCE s;
SELECT expect($$SELECT damson.train('m', 'SELECT *, nextval(''s'') AS n FROM homes', 'price', 'linear')$$);
-- case: a query that trains
SELECT expect($$SELECT damson.train('m', 'SELECT h.*, t.version FROM homes h, damson.train(''n'', ''homes'', ''price'', ''linear'') t', 'price', 'linear')$$);
-- case: a statement that is no query
SELECT expect($$SELECT damson.train('m', 'DROP TABLE homes', 'price', 'linear')$$);
-- case: a source with a parameter
SELECT expect($$SELECT damson.train('m', 'SELECT * FROM homes WHERE id > $1', 'price', 'linear')$$);
-- case: a source that fails half way
SELECT expect($$SELECT damson.train('m', 'SELECT *, 1 / (id - 200) AS broken FROM homes', 'price', 'linear')$$);
-- case: a source that runs out of time half way
BEGIN;
SET LOCAL statement_timeout = 200;
SELECT count(*) FROM damson.train('m', 'SELECT *, pg_sleep(0.01)::text AS nap FROM homes', 'price', 'linear');
ROLLBACK;
-- case: two columns of one name
SELECT expect($$SELECT damson.train('m', 'SELECT a.*, b.* FROM homes a JOIN homes b USING (id)', 'price', 'linear')$$);
-- case: zero rows
SELECT expect($$SELECT damson.train('m', 'SELECT * FROM homes WHERE false', 'price', 'linear')$$);
-- case: one row and a hold-out
SELECT expect($$SELECT damson.train('m', 'SELECT * FROM homes LIMIT 1', 'price', 'linear')$$);
-- case: zero columns
SELECT expect($$SELECT damson.train('m', 'SELECT FROM homes', 'price', 'linear')$$);
-- case: the rows are all still there
SELECT count(*), to_regclass('copy') FROM homes;

-- Columns -----------------------------------------------------------------------------------------------------

-- case: a column of a type that cannot be learnt from
SELECT expect($$SELECT damson.train('m', 'SELECT sqft, price, point(sqft, rooms) AS spot FROM homes', 'price', 'linear')$$);
-- case: jsonb is no column to learn from
SELECT expect($$SELECT damson.train('m', 'SELECT price, to_jsonb(h) AS j FROM homes h', 'price', 'linear')$$);
-- case: a row is no column to learn from
SELECT expect($$SELECT damson.train('m', 'SELECT price, h FROM homes h', 'price', 'linear')$$);
-- case: text arrays are no column to learn from
SELECT expect($$SELECT damson.train('m', 'SELECT price, ARRAY[zip] AS zips FROM homes h', 'price', 'linear')$$);
-- case: an interval
SELECT expect($$SELECT damson.train('m', 'SELECT price, sqft * interval ''1 day'' AS age FROM homes', 'price', 'linear')$$);
-- case: a type that cannot be learnt from does not matter where it is not a feature
SELECT train_rows, test_rows FROM damson.train('fine', 'SELECT sqft, price, point(sqft, rooms) AS spot FROM homes', 'price', 'linear', features => '{sqft}');
-- case: an infinite feature
SELECT expect($$SELECT damson.train('m', 'SELECT price, CASE WHEN id = 7 THEN ''Infinity''::float8 ELSE sqft END AS sqft FROM homes', 'price', 'linear')$$);
-- case: an infinite date
SELECT expect($$SELECT damson.train('m', 'SELECT churned, CASE WHEN id = 7 THEN ''infinity'' ELSE joined END AS joined FROM customers', 'churned', 'logistic')$$);
-- case: an infinite feature of boosting is split on like other numbers
SELECT algorithm, train_rows FROM damson.train('fine', 'SELECT price, CASE WHEN id = 7 THEN ''Infinity''::float8 ELSE sqft END AS sqft FROM homes', 'price', 'boosting', params => '{"trees": 2}');
-- case: an infinite numeric
SELECT expect($$SELECT damson.train('m', 'SELECT price, CASE WHEN id = 7 THEN ''-Infinity''::numeric ELSE sqft END AS sqft FROM homes', 'price', 'linear')$$);
-- case: a missing feature where the options say error
SELECT expect($$SELECT damson.train('m', 'customers', 'churned', 'logistic', features => '{tenure,age}', preprocess => '{"missing": "error"}')$$);
-- case: a NaN feature where the options say error
SELECT expect($$SELECT damson.train('m', 'SELECT price, CASE WHEN id = 7 THEN ''NaN''::float4 ELSE sqft END AS sqft FROM homes', 'price', 'linear', preprocess => '{"missing": "error"}')$$);
-- case: arrays of uneven length
SELECT expect($$SELECT damson.train('m', 'SELECT price, array_fill(1.5::float4, ARRAY[1 + id % 3]) AS v FROM homes ORDER BY id', 'price', 'linear')$$);
-- case: an empty array
SELECT expect($$SELECT damson.train('m', 'SELECT price, ''{}''::float4[] AS v FROM homes', 'price', 'linear')$$);
-- case: NULL labels
SELECT expect($$SELECT damson.train('m', 'SELECT sqft, CASE WHEN id % 10 > 0 THEN price END AS price FROM homes', 'price', 'linear')$$);
-- case: NULL labels of text
SELECT expect($$SELECT damson.train('m', 'SELECT age, nullif(churned, ''no'') AS churned FROM customers', 'churned', 'logistic')$$);
-- case: a NaN label
SELECT expect($$SELECT damson.train('m', 'SELECT sqft, CASE WHEN id = 7 THEN ''NaN'' ELSE price END AS price FROM homes', 'price', 'linear')$$);
-- case: an infinite label
SELECT expect($$SELECT damson.train('m', 'SELECT sqft, CASE WHEN id = 7 THEN ''-Infinity'' ELSE price END AS price FROM homes', 'price', 'linear')$$);
-- case: a text target of a regression
SELECT expect($$SELECT damson.train('m', 'homes', 'zip', 'linear')$$);
-- case: a date as target
SELECT expect($$SELECT damson.train('m', 'customers', 'joined', 'logistic')$$);
-- case: an array as target
SELECT expect($$SELECT damson.train('m', 'flowers', 'both_parts', 'linear')$$);
-- case: one class
SELECT expect($$SELECT damson.train('m', 'SELECT * FROM customers WHERE churned = ''yes''', 'churned', 'logistic')$$);
-- case: one class among the training rows
SELECT expect($$SELECT damson.train('m', 'SELECT id, age, id = 240 AS last FROM customers', 'last', 'logistic', split => 'time', time_column => 'id')$$);
-- case: a class for each row
SELECT expect($$SELECT damson.train('m', 'SELECT i AS x, md5(i::text) AS label FROM generate_series(1, 1200) i', 'label', 'multinomial')$$);
-- case: three classes for an algorithm of two
SELECT expect($$SELECT damson.train('m', 'flowers', 'species', 'logistic')$$);
-- case: a weight of zero
SELECT expect($$SELECT damson.train('m', 'SELECT sqft, price, id % 3 AS w FROM homes ORDER BY id', 'price', 'linear', weight => 'w')$$);
-- case: a weight that is NULL
SELECT expect($$SELECT damson.train('m', 'SELECT sqft, price, nullif(id, 7) AS w FROM homes ORDER BY id', 'price', 'linear', weight => 'w')$$);
-- case: a weight that is no number
SELECT expect($$SELECT damson.train('m', 'homes', 'price', 'linear', weight => 'zip')$$);
-- case: a time that is NULL
SELECT expect($$SELECT damson.train('m', 'SELECT sqft, price, nullif(id, 7) AS t FROM homes', 'price', 'linear', split => 'time', time_column => 't')$$);
-- case: text with a value a row makes too many features
SELECT expect($$SELECT damson.train('m', 'SELECT i AS y, md5(i::text) AS a, i::text AS b FROM generate_series(1, 66000) i', 'y', 'linear', task => 'regression', preprocess => '{"max_categories": 65534}')$$);

-- Limits ------------------------------------------------------------------------------------------------------

-- case: 1,600 columns are learnt from, or refused with a reason
SELECT train_rows, test_rows FROM damson.train('wide',
    (SELECT 'SELECT ' || string_agg(format('(i * %s %% 101)::float4 AS c%s', c + 1, c), ', ') || ' FROM generate_series(1, 300) i' FROM generate_series(1, 1600) c),
    'c1', 'ridge');
-- case: a query of more columns than the server can give
SELECT expect($$SELECT damson.train('m', (SELECT 'SELECT ' || string_agg('i AS c' || c, ', ') || ' FROM generate_series(1, 9) i' FROM generate_series(1, 1665) c), 'c1', 'ridge')$$);
-- case: more memory than allowed, for the rows
SET damson.max_memory = '1MB';
SELECT expect($$SELECT damson.train('m', 'SELECT i AS x, i * 2.0 AS y FROM generate_series(1, 200000) i', 'y', 'linear')$$);
-- case: more memory than allowed, for the training
SET damson.max_memory = '2MB';
SET damson.threads = 1;
SELECT expect($$SELECT damson.train('m', 'SELECT i AS x, (i / 7)::text AS t, i * 2.0 AS y FROM generate_series(1, 20000) i', 'y', 'ridge', preprocess => '{"max_categories": 3000}')$$);
RESET damson.max_memory;
RESET damson.threads;
-- case: an unknown setting
SET damson.max_memry = 1;
-- case: a setting out of range
SET damson.threads = -1;

-- case: nothing was left by all that was refused; the other two are from above
SELECT name FROM damson.models;
SELECT count(*) FROM damson_catalog.runs;
SELECT count(*) FROM damson_catalog.artifacts;
