-- Trainings that go on from a model: on threads and in the aggregate, what is recorded, what is refused.
\set ECHO none
\i fixtures/start.sql
\i fixtures/data.sql
CREATE FUNCTION sha(model text, version bigint) RETURNS text LANGUAGE sql AS
    'SELECT v.artifact_sha256 FROM damson_catalog.versions v JOIN damson_catalog.models m ON m.id = v.model WHERE m.name = $1 AND v.version = $2';
CREATE FUNCTION fact(model text, fact text) RETURNS text LANGUAGE sql AS
    'SELECT d.value FROM damson.describe($1) d WHERE d.property = $2';
CREATE VIEW newer AS SELECT i AS id, 700 + (i * 617) % 2000 AS sqft, (1 + i % 5)::int2 AS rooms, 'z' || i * 3 % 6 AS zip,
       (70 + 0.2 * (400 + (i * 617) % 2000) + 15 * (1 + i % 5) + i * 29 % 11)::float8 AS price FROM generate_series(1, 300) i;
\t on
\set ECHO all

-- case: half the rounds and half again are all of them, bit for bit
SELECT version, algorithm, train_rows FROM damson.train('whole', 'customers', 'churned', params => '{"trees": 20}', features => '{age,spend,plan,tenure}', split => 'none');
SELECT version FROM damson.train('half', 'customers', 'churned', params => '{"trees": 10}', features => '{age,spend,plan,tenure}', split => 'none');
SELECT version FROM damson.train('half', 'customers', 'churned', params => '{"trees": 10}', split => 'none', init_model => 'half');
SELECT bool_and(damson.probability('half@2', 'yes', c) = damson.probability('whole', 'yes', c)) AS same FROM customers c;
-- case: on other rows, by name, alias and version; the features are the model's
SELECT version FROM damson.train('price', 'homes', 'price', params => '{"trees": 10}', features => '{rooms,sqft,zip}', split => 'none');
SELECT version, train_rows FROM damson.train('price', 'newer', 'price', params => '{"trees": 5}', split => 'none', init_model => 'price');
CALL damson.deploy('price', 2, 'fresh');
SELECT version FROM damson.train('price', 'newer', 'price', params => '{"trees": 5}', split => 'none', init_model => 'price@fresh');
SELECT version FROM damson.train('other', 'newer', 'price', params => '{"trees": 5}', split => 'random', init_model => 'price@3');
SELECT v.model, v.version, v.parent, r.arguments ->> 'init_model' AS init_model
FROM damson.versions v JOIN damson.runs r USING (model, version) WHERE v.model IN ('price', 'other') ORDER BY 1, 2;
SELECT features FROM damson_catalog.versions WHERE parent IS NOT NULL AND target = 'price';
SELECT d.* FROM damson.describe('other') d WHERE d.property IN ('trees', 'rounds trained');
-- case: the parent is told to whoever may see it, and as long as it is there
CALL damson.drop_model('price');
SELECT model, version, parent FROM damson.versions WHERE model = 'other';
-- case: threads and the aggregate agree, and trainings repeat
SELECT version FROM damson.train('first', 'homes', 'price', params => '{"trees": 4}', features => '{rooms,sqft,zip}', split => 'none');
SELECT version FROM damson.train('on', 'newer', 'price', params => '{"trees": 6}', split => 'none', init_model => 'first', seed => 5);
SET damson.threads = 1;
SELECT version FROM damson.train('on', 'newer', 'price', params => '{"trees": 6}', split => 'none', init_model => 'first', seed => 5);
SET damson.runner = aggregate;
SELECT version FROM damson.train('on', 'newer', 'price', params => '{"trees": 6}', split => 'none', init_model => 'first', seed => 5);
RESET damson.runner;
RESET damson.threads;
SELECT sha('on', 1) = sha('on', 2) AS repeats,
       (SELECT bool_and(damson.predict('on@1', n) = damson.predict('on@3', n)) FROM newer n) AS aggregate_agrees;
-- case: a model that damson.fit gave
SELECT version FROM damson.train('fitted', 'newer', 'price', params => '{"trees": 3}', split => 'none', features => '{x1,x2}',
    init_model => (SELECT damson.fit_with('boosting', '{"trees": 4}', price, sqft, rooms) FROM homes));
SELECT version FROM damson.train('fitted', 'SELECT price, sqft AS x1, rooms AS x2 FROM newer', 'price', params => '{"trees": 3}', split => 'none',
    init_model => (SELECT damson.fit_with('boosting', '{"trees": 4}', price, sqft, rooms) FROM homes));
SELECT v.parent, r.arguments ->> 'init_model' FROM damson.versions v JOIN damson.runs r USING (model, version) WHERE v.model = 'fitted';
-- case: no such model, version or alias
SELECT expect($$SELECT damson.train('m', 'newer', 'price', init_model => 'none')$$);
SELECT expect($$SELECT damson.train('m', 'newer', 'price', init_model => 'first@7')$$);
SELECT expect($$SELECT damson.train('m', 'newer', 'price', init_model => 'first@champion')$$);
SELECT expect($$SELECT damson.train('m', 'newer', 'price', init_model => 'damson:abc')$$);
-- case: another algorithm
SELECT expect($$SELECT damson.train('m', 'newer', 'price', 'ridge', init_model => 'first')$$);
SELECT expect($$SELECT damson.train('m', 'newer', 'price', 'auto', init_model => 'first')$$);
SELECT version FROM damson.train('line', 'homes', 'price', 'ridge');
SELECT expect($$SELECT damson.train('m', 'newer', 'price', init_model => 'line')$$);
-- case: another objective
SELECT expect($$SELECT damson.train('m', 'newer', 'price', params => '{"objective": "huber"}', split => 'none', init_model => 'first')$$);
-- case: other features
SELECT expect($$SELECT damson.train('m', 'newer', 'price', features => '{sqft,rooms}', init_model => 'first')$$);
SELECT expect($$SELECT damson.train('m', 'SELECT price, sqft, rooms FROM newer', 'price', init_model => 'first')$$);
SELECT expect($$SELECT damson.train('m', 'SELECT price, sqft, rooms, 1 AS zip FROM newer', 'price', init_model => 'first')$$);
SET damson.runner = aggregate;
SELECT expect($$SELECT damson.train('m', 'SELECT price, sqft, rooms, 1 AS zip FROM newer', 'price', split => 'none', init_model => 'first')$$);
RESET damson.runner;
-- case: other preprocessing
SELECT expect($$SELECT damson.train('m', 'newer', 'price', preprocess => '{"missing_indicator": true}', init_model => 'first')$$);
-- case: another task or class
SELECT expect($$SELECT damson.train('m', 'newer', 'price', task => 'classification', init_model => 'first')$$);
SELECT expect($$SELECT damson.train('m', 'newer', 'zip', init_model => 'first')$$);
SELECT expect($$SELECT damson.train('m', 'SELECT age, spend, plan, tenure, ''maybe'' AS churned FROM customers', 'churned', init_model => 'half')$$);
-- case: models by group
SELECT expect($$SELECT damson.train('m', 'newer', 'price', group_by => '{zip}', init_model => 'first')$$);
SELECT models FROM (SELECT damson.train('by', 'homes', 'price', group_by => '{zip}', params => '{"trees": 2}', split => 'none')) t, LATERAL (SELECT 1 AS models) m;
SELECT expect($$SELECT damson.train('m', 'homes', 'price', init_model => 'by')$$);
-- case: another owner's model; a grant to score is not enough
CREATE ROLE damson_init_bob;
GRANT SELECT ON homes, newer TO damson_init_bob;
CALL damson.grant_model('first', 'damson_init_bob');
SET ROLE damson_init_bob;
SELECT expect($$SELECT damson.train('bobs', 'newer', 'price', init_model => 'first')$$);
SELECT expect($$SELECT damson.train('bobs', 'newer', 'price', init_model => 'half')$$);
RESET ROLE;
SELECT count(*) FROM damson.models WHERE name IN ('m', 'bobs');
DROP OWNED BY damson_init_bob;
CALL damson.revoke_model('first', 'damson_init_bob');
DROP ROLE damson_init_bob;
