-- What a version was made of: columns through views, fingerprints, summaries, membership; up and down; privileges.
\set ECHO none
\i fixtures/start.sql
SET client_min_messages = warning;
DROP ROLE IF EXISTS damson_maker, damson_other;
CREATE ROLE damson_maker;
CREATE ROLE damson_other;
CREATE TABLE clients AS
SELECT i AS id, 20 + i * 7 % 50 AS age, 'r' || i % 3 AS region, (i % 7)::int2 AS segment, i % 5 = 0 AS gone, i * 1.5 AS unread
FROM generate_series(1, 400) i;
CREATE TABLE orders AS
SELECT i AS id, 1 + i % 400 AS client, (i * 7 % 100)::float8 AS amount, date '2024-01-01' + i % 300 AS day, i % 9 AS channel
FROM generate_series(1, 2000) i;
CREATE SCHEMA deep;
CREATE VIEW deep.first AS SELECT c.id, c.age * 2 AS age2, c.region, c.gone, c.unread FROM clients c WHERE c.segment < 5;
CREATE VIEW deep.second AS SELECT v.id AS client_id, v.age2 + 1 AS a, v.region, CASE WHEN v.gone THEN 'yes' ELSE 'no' END AS gone, v.unread
FROM deep.first v;
RESET client_min_messages;
\set ECHO all

-- What was read ------------------------------------------------------------------------------------------------

-- case: columns are found through two levels of views, a CTE, a join and a subquery, and where they go
SELECT model, version FROM damson.train('left', $$
    WITH spent AS (SELECT client, sum(amount) AS total, max(day) AS last_day FROM orders GROUP BY client)
    SELECT d.a, d.region, d.gone, s.total,
        (SELECT count(*) FROM orders o WHERE o.client = d.client_id AND o.channel > 3) AS busy
    FROM deep.second d JOIN spent s ON s.client = d.client_id$$, 'gone', 'logistic');
SELECT relation, kind, "column", type, output, role FROM damson.lineage_columns WHERE model = 'left';
-- case: with features, only what these and the target need is read
SELECT version FROM damson.train('left', 'deep.second', 'gone', 'logistic', features => '{a}');
SELECT relation, "column", output, role FROM damson.lineage_columns WHERE model = 'left' AND version = 2 AND "column" IS NOT NULL;
-- case: set operations, window functions, LATERAL, recursion, VALUES and functions
CREATE FUNCTION bonus(x float8) RETURNS float8 LANGUAGE sql IMMUTABLE AS 'SELECT x + 1';
SELECT version FROM damson.train('odd', $$
    WITH RECURSIVE steps(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM steps WHERE n < 3),
    both_parts AS (SELECT age AS x, id AS k FROM clients UNION ALL SELECT amount::int, channel FROM orders)
    SELECT b.x, bonus(l.amount) AS y, rank() OVER (PARTITION BY l.day ORDER BY l.id) AS z, v.w
    FROM both_parts b
    CROSS JOIN LATERAL (SELECT o.* FROM orders o WHERE o.id = b.k LIMIT 1) l
    JOIN steps ON steps.n = 1 + b.k % 3
    JOIN (VALUES (1, 2.0), (2, 3.0), (3, 4.0)) v(n, w) USING (n)$$, 'y', 'linear');
SELECT relation, kind, "column", output, role FROM damson.lineage_columns WHERE model = 'odd';
-- case: row-level security is a condition
ALTER TABLE clients ENABLE ROW LEVEL SECURITY;
CREATE POLICY of_segment ON clients USING (segment <> 6);
GRANT SELECT ON clients TO damson_maker;
GRANT USAGE, CREATE ON SCHEMA public TO damson_maker, damson_other;
SET ROLE damson_maker;
SELECT version FROM damson.train('mine', 'SELECT id, age, gone FROM clients', 'gone', 'logistic', features => '{age}', key_column => 'id');
SELECT relation, "column", output, role FROM damson.lineage_columns WHERE model = 'mine';
RESET ROLE;
-- case: a version knows its rows, its snapshot, its code, who and when
SELECT version, source_rows, train_rows + test_rows = source_rows AS all_used, snapshot ~ '^\d+:\d+:' AS has_snapshot,
    seed, params ->> 'penalty' AS penalty, code_version = damson.version() AS this_code, build ~ '^[0-9a-f]{16}$' AS has_build,
    libraries ? 'faer' AND libraries ? 'PostgreSQL' AS has_libraries, role = current_user::regrole AS by_me, finished > started AS took_time
FROM damson.lineage WHERE model = 'left';
-- case: and the version that it went on from
SELECT version FROM damson.train('grown', 'SELECT age, gone FROM clients', 'gone', 'boosting', params => '{"trees": 3}');
SELECT version FROM damson.train('grown', 'SELECT age, gone FROM clients', 'gone', 'boosting', params => '{"trees": 2}', init_model => 'grown');
SELECT version, parent FROM damson.lineage WHERE model = 'grown';
SELECT depth, kind, name, version, "column", "usage", "of" FROM damson.upstream('grown@2') WHERE depth = 1;
SELECT what, same FROM damson.reproduce('grown@2') WHERE what IN ('artifact', 'init_model') OR NOT same;
-- case: a rolled back training leaves no lineage
BEGIN;
SELECT version FROM damson.train('gone', 'clients', 'gone', 'logistic', features => '{age}');
ROLLBACK;
SELECT count(*) FROM damson.lineage WHERE model = 'gone';
SELECT count(*) FROM damson_lineage.reads q WHERE NOT EXISTS (SELECT FROM damson_catalog.versions v WHERE v.id = q.version);

-- Fingerprints -------------------------------------------------------------------------------------------------

-- case: VACUUM FULL and CLUSTER change no fingerprint; an update and back changes the order at most
CREATE TABLE points AS SELECT i AS id, sin(i)::float8 AS x, (i * 31 % 17)::int8 AS k, 't' || i % 4 AS t, sin(i) * 3 + i % 2 AS y FROM generate_series(1, 500) i;
CREATE FUNCTION trained() RETURNS bigint LANGUAGE sql AS $$SELECT version FROM damson.train('p', 'points', 'y', 'linear', split => 'none')$$;
SELECT trained();
VACUUM FULL points;
SELECT trained();
CREATE INDEX points_by_x ON points (x);
CLUSTER points USING points_by_x;
SELECT trained();
UPDATE points SET x = x + 1 WHERE id = 250;
UPDATE points SET x = x - 1 WHERE id = 250;
SELECT trained();
-- case: one bit of one row changes it
UPDATE points SET x = float8send_next.v FROM (SELECT x + 2 ^ -52 * CASE WHEN abs(x) >= 0.5 THEN 0.5 ELSE 0.25 END AS v FROM points WHERE id = 77) float8send_next WHERE id = 77;
SELECT trained();
UPDATE points SET k = k + 9007199254740993 WHERE id = 5;
SELECT trained();
UPDATE points SET k = k + 1 WHERE id = 5;
SELECT trained();
UPDATE points SET t = 't9' WHERE id = 6;
SELECT trained();
SELECT version, fingerprint = first_value(fingerprint) OVER w AS same_rows, row_order = first_value(row_order) OVER w AS same_order,
    count(*) OVER (PARTITION BY fingerprint) AS versions_with_it
FROM damson.lineage WHERE model = 'p' WINDOW w AS (ORDER BY version) ORDER BY version;

-- Columns ------------------------------------------------------------------------------------------------------

-- case: columns are summed up
CREATE TABLE kinds AS SELECT i AS id, CASE WHEN i % 10 <> 0 THEN i END AS n, i % 3 = 0 AS b, CASE WHEN i % 4 = 0 THEN 'often' ELSE 'k' || i % 50 END AS t,
    date '2024-01-01' + i AS d, ARRAY[i, -i]::float4[] AS v, i * 2.0 AS y FROM generate_series(1, 200) i;
SELECT version FROM damson.train('kinds', 'kinds', 'y', 'linear', key_column => 'id');
SELECT "column", role, kind, missing, distinct_values AS distinct, round(mean::numeric, 3) AS mean, round(std::numeric, 3) AS std, min, max, top, top_rows
FROM damson.training_columns WHERE model = 'kinds';

-- Keys ---------------------------------------------------------------------------------------------------------

-- case: every training row is known by its key, and few others
SELECT count(*) FILTER (WHERE damson.used_row('kinds', k.id::text)) BETWEEN 160 AND 163 AS of_training,
    (SELECT count(*) FROM generate_series(1000, 20999) i WHERE damson.used_row('kinds', i::text)) < 60 AS of_others FROM kinds k;
SELECT round(key_error_rate::numeric, 3) < 0.002 AS rare, key_column FROM damson.lineage WHERE model = 'kinds';
-- case: a key is not a feature
SELECT value FROM damson.describe('kinds') WHERE property LIKE 'feature%';
\t on
-- case: keys must be there, unique or not, and of a type that has names
SELECT expect($$SELECT damson.train('k', 'SELECT n, y FROM kinds', 'y', 'linear', features => '{y}', key_column => 'n')$$);
SELECT expect($$SELECT damson.train('k', 'SELECT n, id, y FROM kinds', 'y', 'linear', features => '{id}', key_column => 'n')$$);
SELECT expect($$SELECT damson.train('k', 'SELECT b, id, y FROM kinds', 'y', 'linear', key_column => 'b')$$);
SELECT expect($$SELECT damson.train('k', 'SELECT id, y FROM kinds', 'y', 'linear', key_column => 'nothing')$$);
SELECT expect($$SELECT damson.used_row('left', '1')$$);
SELECT expect($$SELECT damson.used_row('kinds', 'one')$$);
SET damson.runner = 'aggregate';
SELECT expect($$SELECT damson.train('k', 'SELECT id, n, y FROM kinds', 'y', 'linear', split => 'none', key_column => 'id')$$);
-- case: training in an aggregate has a lineage too, but for the order of its rows
SELECT version FROM damson.train('folded', 'SELECT x, t, y FROM points', 'y', 'linear', split => 'none');
RESET damson.runner;
\t off
SELECT source_rows, row_order, runner FROM damson.lineage WHERE model = 'folded';
SELECT "column", role, kind, missing, round(mean::numeric, 3) AS mean, top FROM damson.training_columns WHERE model = 'folded';

-- Searches -----------------------------------------------------------------------------------------------------

-- case: the winner of a search has a lineage as any version
SELECT count(*) > 0 AS found FROM damson.search('searched', 'SELECT x, k, y FROM points', 'y', 'ridge', trials => 3, key_column => 'k');
SELECT relation, "column", role FROM damson.lineage_columns WHERE model = 'searched' AND "column" IS NOT NULL;

-- Up and down --------------------------------------------------------------------------------------------------

-- case: a table that a model filled leads to what that model was made of
SELECT model, version, created, "rows" FROM damson.score_into('scores', 'left', 'SELECT d.*, 1.0 AS total, 2 AS busy FROM deep.second d', key => '{client_id}', columns => '{region}');
SELECT version FROM damson.train('next', 'SELECT s.probability, c.age, c.gone FROM scores s JOIN clients c ON c.id = s.client_id', 'gone', 'logistic');
SELECT depth, kind, name, version, "column", "usage", "of" FROM damson.upstream('next') WHERE "usage" <> 'rows';
-- case: down from a table, and from one of its columns
SELECT depth, kind, name, version, "column", "usage", "of" FROM damson.downstream('orders') WHERE "usage" <> 'rows';
SELECT depth, kind, name, version, "column", "usage", "of" FROM damson.downstream('clients', 'region');
-- case: what nothing reads leads nowhere
SELECT count(*) FROM damson.downstream('clients', 'unread');
-- case: a circle ends: a model of the table that it fills
SELECT version FROM damson.train('circle', 'SELECT id, age AS x, age * 2.0 AS y FROM clients', 'y', 'linear', features => '{x}');
SELECT "rows" FROM damson.score_into('rounds', 'circle', 'SELECT id, age AS x FROM clients', key => '{id}', mode => 'merge', columns => '{x}');
SELECT version FROM damson.train('circle', 'SELECT id, x, prediction AS y FROM rounds', 'y', 'linear', features => '{x}');
SELECT "rows" FROM damson.score_into('rounds', 'circle@2', 'SELECT id, x FROM rounds', key => '{id}', mode => 'merge', columns => '{x}');
SELECT depth, kind, name, version, "column" FROM damson.upstream('circle@2') WHERE "usage" NOT IN ('rows', 'condition');
SELECT DISTINCT kind, name, version FROM damson.downstream('rounds') ORDER BY 1, 2, 3;
\t on
SELECT expect($$SELECT * FROM damson.downstream('no_such_table')$$);
SELECT expect($$SELECT * FROM damson.upstream('no_such_model')$$);
SELECT expect(format('SELECT * FROM damson.upstream(%L)', (SELECT damson.fit('linear', y, x) FROM points)));

-- Exports ------------------------------------------------------------------------------------------------------

-- case: OpenLineage has an event for the training, and one for each table
SELECT event -> 'job' ->> 'name' AS job, event ->> 'eventType' AS type, event -> 'outputs' -> 0 ->> 'name' AS output,
    (SELECT string_agg(i ->> 'name', ', ' ORDER BY i ->> 'name') FROM jsonb_array_elements(event -> 'inputs') i) AS inputs,
    (SELECT string_agg(key, ', ' ORDER BY key) FROM jsonb_each(event -> 'outputs' -> 0 -> 'facets' -> 'columnLineage' -> 'fields')) AS columns
FROM damson.openlineage('left', 'postgres://here:5432') AS o(event);
-- case: DataHub has what it calls them
SELECT p ->> 'entityType' AS entity, p ->> 'aspectName' AS aspect FROM jsonb_array_elements(damson.datahub('left')) p;

-- Rights -------------------------------------------------------------------------------------------------------

-- case: another role sees nothing of it
SET ROLE damson_other;
SELECT count(*) FROM damson.lineage;
SELECT count(*) FROM damson.lineage_columns;
SELECT count(*) FROM damson.training_columns;
SELECT count(*) FROM damson.filled_tables;
SELECT count(*) FROM damson.downstream('clients');
SELECT expect($$SELECT * FROM damson.upstream('mine')$$);
SELECT expect($$SELECT * FROM damson.reproduce('mine')$$);
SELECT expect($$SELECT damson.used_row('mine', '1')$$);
SELECT expect($$SELECT damson.openlineage('mine')$$);
SELECT expect($$SELECT damson.datahub('mine')$$);
SELECT expect($$SELECT * FROM damson_lineage.origins$$);
SELECT expect($$SELECT damson.score_into('s', 'mine', 'SELECT 1 AS age')$$);
RESET ROLE;
-- case: who may use a model sees what it was made of, but no values, no source and no rows
SET ROLE damson_maker;
CALL damson.grant_model('mine', 'damson_other');
SET ROLE damson_other;
SELECT model, source IS NULL AS no_source, source_rows > 0 AS rows FROM damson.lineage;
SELECT count(*) FROM damson.lineage_columns;
SELECT count(*) FROM damson.training_columns;
SELECT count(*) > 0 FROM damson.upstream('mine');
SELECT name, version FROM damson.downstream('clients') GROUP BY 1, 2;
SELECT event -> 'job' -> 'facets' ? 'sql' AS has_sql FROM damson.openlineage('mine') AS o(event);
SELECT expect($$SELECT * FROM damson.reproduce('mine')$$);
SELECT expect($$SELECT damson.used_row('mine', '1')$$);
RESET ROLE;
-- case: a dropped model takes its lineage with it
CALL damson.drop_model('left');
SELECT count(*) FROM damson.lineage WHERE model = 'left';
SELECT count(*) FROM damson_lineage.fills f WHERE NOT EXISTS (SELECT FROM damson_catalog.versions v WHERE v.id = f.version);
SELECT count(*) FROM damson_lineage.reads q WHERE q.version IS NOT NULL AND NOT EXISTS (SELECT FROM damson_catalog.versions v WHERE v.id = q.version);
\set ECHO none
SET damson.protect_sources = off;
CALL damson.drop_model('mine');
REVOKE ALL ON SCHEMA public FROM damson_maker, damson_other;
REVOKE ALL ON clients FROM damson_maker;
DROP ROLE damson_maker, damson_other;
