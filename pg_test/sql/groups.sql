-- One model a group: damson.train with group_by, scoring by the group's columns, damson.groups.
\set ECHO none
\i fixtures/start.sql
\i fixtures/data.sql
CREATE TABLE sales AS
SELECT g AS id, (ARRAY['north', 'south', NULL, 'west'])[1 + g % 4] AS region, g % 2 AS year, g % 2 = 0 AS even,
    (g * 37 % 101)::float8 AS x, (g * 53 % 97)::float8 AS z,
    (1 + g % 4) * (g * 37 % 101) + (g * 53 % 97) + 0.25 * (g * 7 % 5) AS y,
    CASE WHEN g % 4 = 0 THEN 'low' WHEN g * 37 % 101 > 60 THEN 'high' WHEN g * 37 % 101 > 30 AND g % 4 = 1 THEN 'middle' ELSE 'low' END AS level
FROM generate_series(1, 400) g;
ALTER TABLE sales ALTER y TYPE float8;
CREATE TYPE outcome AS (model text, version bigint, algorithm text, task text, train_rows bigint, test_rows bigint, metric text, value numeric);
CREATE FUNCTION shown(t record) RETURNS outcome LANGUAGE plpgsql AS $$
BEGIN RETURN (t.model, t.version, t.algorithm, t.task, t.train_rows, t.test_rows, t.metric, round(t.value::numeric, 2))::outcome; END $$;
\set ECHO all

-- Training ----------------------------------------------------------------------------------------------------

-- case: a model a region, NULL among them
SELECT (shown(t)).* FROM damson.train('sales', 'sales', 'y', 'linear', features => '{x,z}', group_by => '{region}') t;
SELECT group_key, train_rows, test_rows, metric, value < 1 AS good, left_out FROM damson.groups('sales');
-- case: what describe says
SELECT * FROM damson.describe('sales') WHERE property ~ '^(group|feature|unknown)';
-- case: the features alone are the version's features; the arguments are the run's
SELECT v.features FROM damson_catalog.versions v JOIN damson_catalog.models m ON m.id = v.model WHERE m.name = 'sales';
SELECT arguments -> 'group_by' AS group_by FROM damson.runs WHERE model = 'sales';
-- case: columns of the group are no features by themselves
SELECT (shown(t)).* FROM damson.train('two', 'SELECT region, year, even, x, z, y FROM sales', 'y', 'ridge', group_by => '{region,even}') t;
SELECT group_key, train_rows + test_rows AS rows FROM damson.groups('two');
-- case: without a split
SELECT (shown(t)).* FROM damson.train('year', 'sales', 'y', 'linear', features => '{x,z}', group_by => '{year}', split => 'none') t;
-- case: by cross-validation
SELECT (shown(t)).* FROM damson.train('cv', 'sales', 'y', 'linear', features => '{x,z}', group_by => '{region}', folds => 4) t;
-- case: clusters of each group
SELECT (shown(t)).* FROM damson.train('clusters', 'sales', algorithm => 'kmeans', features => '{x,z}', group_by => '{region}', params => '{"n_clusters": 2}') t;
-- case: groups of one class are left out, with one warning
SELECT (shown(t)).* FROM damson.train('level', 'sales', 'level', 'multinomial', features => '{x,z}', group_by => '{region}', unknown_group => 'null') t;
SELECT group_key, train_rows, test_rows, metric, value IS NULL AS none, left_out FROM damson.groups('level');
-- case: the same bytes again, on any number of threads
SET damson.threads = 1;
SELECT (shown(t)).* FROM damson.train('sales', 'sales', 'y', 'linear', features => '{x,z}', group_by => '{region}') t;
RESET damson.threads;
SELECT count(DISTINCT v.artifact_sha256) FROM damson_catalog.versions v JOIN damson_catalog.models m ON m.id = v.model WHERE m.name = 'sales';

-- Scoring -----------------------------------------------------------------------------------------------------

-- case: by name, by position (the group first), by key
SELECT s.region, round(damson.predict('sales', s)::numeric) AS by_name, round(damson.predict('sales', s.region, s.x, s.z)::numeric) AS by_position,
    round(damson.predict('sales', to_jsonb(s))::numeric) AS by_key, round(y::numeric) AS y
FROM sales s WHERE id IN (1, 2, 3, 4) ORDER BY id;
-- case: two columns, a boolean among them
SELECT round(damson.predict('two', 'south', false, 0, 10, 0)::numeric) AS predicted;
-- case: a group that is a number, as scalars and in an array
SELECT round(damson.predict('year', 1, 10, 0)::numeric) = round(damson.predict('year', ARRAY[1, 10, 0])::numeric) AS same;
-- case: a literal NULL is the group of NULL
SELECT round(damson.predict('sales', NULL, 10, 0)::numeric) AS predicted;
-- case: a group with two of three classes
SELECT damson.classify('level', 'west', 90, 5), damson.probability('level', 'middle', NULL, 90, 5),
    damson.probabilities('level', NULL, 90, 5) ->> 'middle' AS middle;
-- case: groups without a model give NULL by policy
SELECT damson.classify('level', 'north', 1, 5) IS NULL AS left_out, damson.classify('level', 'east', 1, 5) IS NULL AS unknown,
    damson.probability('level', 'low', 'east', 1, 5) IS NULL AS p, damson.probabilities('level', 'east', 1, 5) IS NULL AS ps;
-- case: a model of all rows for groups without one
SELECT (shown(t)).* FROM damson.train('anyhow', 'sales', 'y', 'linear', features => '{x,z}', group_by => '{region}', unknown_group => 'global', split => 'none') t;
SELECT (shown(t)).* FROM damson.train('all', 'sales', 'y', 'linear', features => '{x,z}', split => 'none') t;
SELECT round((damson.predict('anyhow', 'east', 10, 5) - damson.predict('all', 10, 5))::numeric, 6) AS difference;
-- case: evaluation, on rows of known groups alone when the policy is NULL
SELECT metric, round(value::numeric, 2) AS value FROM damson.evaluate('level', 'SELECT coalesce(region, ''east'') AS region, x, z, level FROM sales') WHERE metric = 'accuracy';
SELECT metric, round(value::numeric, 2) AS value FROM damson.evaluate('sales', 'sales') WHERE metric = 'r2';

-- Rights ------------------------------------------------------------------------------------------------------

-- case: groups are shown to those who may score
CREATE ROLE groups_reader;
SET ROLE groups_reader;
SELECT expect($$SELECT * FROM damson.groups('sales')$$);
SELECT expect($$SELECT damson.predict('sales', 'north', 1, 2)$$);
RESET ROLE;
CALL damson.grant_model('sales', 'groups_reader');
SET ROLE groups_reader;
SELECT count(*) FROM damson.groups('sales');
SELECT round(damson.predict('sales', 'north', 10, 0)::numeric) AS predicted;
RESET ROLE;

-- Refused -----------------------------------------------------------------------------------------------------

-- case: an unknown group
SELECT expect($$SELECT damson.predict('sales', 'east', 1, 2)$$);
-- case: a group that was left out
SELECT (shown(t)).* FROM damson.train('strict', 'sales', 'level', 'multinomial', features => '{x,z}', group_by => '{region}', split => 'none') t;
SELECT expect($$SELECT damson.classify('strict', 'north', 1, 2)$$);
SELECT expect($$SELECT damson.classify('strict', region, x, z) FROM sales$$);
SELECT expect($$SELECT * FROM damson.evaluate('strict', 'sales')$$);
-- case: the group's column is missing, or of another type
SELECT expect($$SELECT damson.predict('sales', 1, 2)$$);
SELECT expect($$SELECT damson.predict('sales', 7, 1, 2)$$);
SELECT expect($$SELECT damson.predict('sales', s) FROM (SELECT x, z FROM sales) s$$);
SELECT expect($$SELECT damson.predict('sales', '{"region": 3, "x": 1, "z": 2}'::jsonb)$$);
SELECT expect($$SELECT * FROM damson.evaluate('sales', 'SELECT x, z, y FROM sales')$$);
-- case: an unknown column, a column named twice, no column, a NULL
SELECT expect($$SELECT * FROM damson.train('bad', 'sales', 'y', 'linear', group_by => '{regio}')$$);
SELECT expect($$SELECT * FROM damson.train('bad', 'sales', 'y', 'linear', group_by => '{region,region}')$$);
SELECT expect($$SELECT * FROM damson.train('bad', 'sales', 'y', 'linear', group_by => '{}')$$);
SELECT expect($$SELECT * FROM damson.train('bad', 'sales', 'y', 'linear', group_by => '{NULL}')$$);
-- case: a column that is something else already
SELECT expect($$SELECT * FROM damson.train('bad', 'sales', 'y', 'linear', group_by => '{y}')$$);
SELECT expect($$SELECT * FROM damson.train('bad', 'sales', 'y', 'linear', group_by => '{x}', features => '{x,z}')$$);
-- case: a column of arrays
SELECT expect($$SELECT * FROM damson.train('bad', 'SELECT ARRAY[x, z] AS both_x, x, y FROM sales', 'y', 'linear', group_by => '{both_x}')$$);
-- case: numbers too large to be told apart
SELECT expect($$SELECT * FROM damson.train('bad', 'SELECT 9007199254740993 + id AS big, x, y FROM sales', 'y', 'linear', group_by => '{big}')$$);
-- case: an unknown policy, a policy without groups
SELECT expect($$SELECT * FROM damson.train('bad', 'sales', 'y', 'linear', group_by => '{region}', unknown_group => 'guess')$$);
SELECT expect($$SELECT * FROM damson.train('bad', 'sales', 'y', 'linear', unknown_group => 'null')$$);
-- case: too many groups
SELECT expect($$SELECT * FROM damson.train('bad', 'SELECT g, g::float8 AS x, g::float8 AS y FROM generate_series(1, 100001) g', 'y', 'linear', group_by => '{g}')$$);
-- case: no group can be trained
SELECT expect($$SELECT * FROM damson.train('bad', 'sales', 'even', 'logistic', features => '{x,z}', group_by => '{year}')$$);
-- case: too little memory
SET damson.max_memory = '1MB';
SELECT expect($$SELECT * FROM damson.train('bad', 'SELECT g % 9 AS k, g::float8 AS x, g::float8 AS y FROM generate_series(1, 60000) g', 'y', 'linear', group_by => '{k}')$$);
RESET damson.max_memory;
-- case: the aggregate does not deal rows to groups
SET damson.runner = 'aggregate';
SELECT expect($$SELECT * FROM damson.train('bad', 'sales', 'y', 'linear', group_by => '{region}', split => 'none')$$);
-- case: but it takes offsets and groups of dependent rows
SELECT (shown(t)).* FROM damson.train('rolled', 'SELECT x, z, y, id % 7 AS cluster FROM sales', 'y', 'linear', group_column => 'cluster', split => 'none') t;
SELECT (shown(t)).* FROM damson.train('rolled', 'SELECT x, z, y, 0.5 * x AS base FROM sales', 'y', 'linear', offset_column => 'base', split => 'none') t;
SELECT expect($$SELECT * FROM damson.train('rolled', 'SELECT x, z, y, NULLIF(id % 7, 3) AS cluster FROM sales', 'y', 'linear', group_column => 'cluster', split => 'none')$$);
SELECT expect($$SELECT * FROM damson.train('rolled', 'SELECT x, z, y, NULL::float8 AS base FROM sales', 'y', 'linear', offset_column => 'base', split => 'none')$$);
RESET damson.runner;
-- case: a model without groups has none to show
SELECT expect($$SELECT * FROM damson.groups('all')$$);
SELECT expect($$SELECT * FROM damson.groups('nothing')$$);
-- case: nothing is left of what was refused
SELECT count(*) FROM damson.models WHERE name = 'bad';

DROP OWNED BY groups_reader;
DROP ROLE groups_reader;
