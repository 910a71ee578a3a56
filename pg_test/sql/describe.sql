-- What there is to look at: algorithms, parameters, models, versions, runs, metrics; and what is unstable of it.
\set ECHO none
\i fixtures/start.sql
\i fixtures/data.sql
\set ECHO all

-- case: the algorithms
SELECT name, tasks, version FROM damson.algorithms() WHERE name IN ('linear', 'ridge', 'logistic', 'multinomial', 'boosting', 'kmeans', 'cnn') ORDER BY name;
SELECT count(*) FROM damson.algorithms() WHERE summary !~ '^[A-Z].*\.$';
-- case: the parameters of each
SELECT a.name AS algorithm, p.name, p.type, p."default", p.range FROM damson.algorithms() a, damson.parameters(a.name) p WHERE a.name IN ('linear', 'ridge', 'logistic', 'multinomial');
SELECT a.name, p.name, p.meaning FROM damson.algorithms() a, damson.parameters(a.name) p WHERE p.meaning !~ '^[A-Z].*\.$';
-- case: the options of preprocessing
SELECT name, type, "default", range FROM damson.parameters('preprocess');
-- case: parameters of what is not there
SELECT regexp_replace(expect($$SELECT damson.parameters('bosting')$$), 'There are: .*?\.', 'There are: ... .');
SELECT count(*) FROM damson.parameters(NULL);
-- case: each default is one that the algorithm takes
SELECT a.name, (SELECT t.task FROM damson.train('d_' || a.name, CASE WHEN a.tasks LIKE 'regression%' THEN 'SELECT sqft, rooms, price AS y FROM homes' ELSE 'SELECT age, tenure, churned AS y FROM customers' END,
    CASE WHEN a.tasks <> 'clustering' THEN 'y' END, a.name, params => (SELECT jsonb_object_agg(p.name, CASE WHEN p.type = 'text' OR p."default" ~ '^k-means' THEN to_jsonb(p."default") ELSE p."default"::jsonb END)::text FROM damson.parameters(a.name) p WHERE p."default" IS NOT NULL),
    features => CASE WHEN a.tasks = 'clustering' THEN '{age,tenure}'::text[] END) t) FROM damson.algorithms() a WHERE a.name IN ('linear', 'ridge', 'logistic', 'multinomial', 'kmeans') ORDER BY 1;

-- case: describe a regression
SELECT count(*) FROM damson.train('price', 'homes', 'price', 'linear', features => '{sqft,rooms}', description => 'What a home is worth', seed => 7);
SELECT property, CASE WHEN value ~ '^-?\d+\.\d+$' THEN round(value::numeric, 1)::text ELSE value END AS value FROM damson.describe('price')
WHERE property !~ '^(trained at|trained by|owner|seconds|artifact|code version|data fingerprint|preprocess|params|algorithm version|log lik|aic|bic|deviance|null dev|scale|r2|adjusted|f )' ORDER BY 1;
-- case: describe a classification
SELECT count(*) FROM damson.train('kind', 'flowers', 'species', 'multinomial', features => '{petal,sepal}', split => 'none');
SELECT property, value FROM damson.describe('kind') WHERE property IN ('classes', 'target', 'task', 'train rows', 'test rows', 'feature 1', 'feature 2') ORDER BY 1;
-- case: describe a version, an alias, and what is not there
SELECT count(*) > 10 FROM damson.describe('price@1');
SELECT count(*) > 10 FROM damson.describe('price@production');
SELECT expect($$SELECT damson.describe('price@2')$$);
SELECT count(*) FROM damson.describe(NULL);
-- case: the views
CALL damson.deploy('price', 1, 'champion');
SELECT name, task, algorithm, production, newest, description FROM damson.models WHERE name IN ('price', 'kind');
SELECT model, version, aliases, algorithm, target, metric, bytes > 100 AS has_bytes FROM damson.versions WHERE model IN ('price', 'kind');
SELECT model, alias, version, previous, action FROM damson.aliases WHERE model = 'price';
SELECT model, version, algorithm, status, train_rows, test_rows, seed, source, arguments, warnings FROM damson.runs WHERE model = 'price';
SELECT split, round, metric, round(value::numeric, 2) AS value FROM damson.metrics WHERE model = 'price' AND metric IN ('r2', 'rmse');
-- case: a description stays until another is given
SELECT count(*) FROM damson.train('price', 'homes', 'price', 'linear', features => '{sqft,rooms}');
SELECT description FROM damson.models WHERE name = 'price';
SELECT count(*) FROM damson.train('price', 'homes', 'price', 'linear', features => '{sqft,rooms}', description => 'The worth of homes');
SELECT description FROM damson.models WHERE name = 'price';
-- case: everything public has a comment, and every function an example
SELECT p.oid::regprocedure FROM pg_proc p WHERE pronamespace = 'damson'::regnamespace AND coalesce(obj_description(p.oid, 'pg_proc'), '') !~ 'Example: ';
SELECT c.oid::regclass FROM pg_class c WHERE relnamespace = 'damson'::regnamespace AND relkind = 'v' AND coalesce(obj_description(c.oid, 'pg_class'), '') !~ 'Example: ';
-- case: the scoring functions are stable, parallel safe, and bound to their library
SELECT proname, provolatile, proparallel, proisstrict FROM pg_proc WHERE pronamespace = 'damson'::regnamespace AND proname IN ('predict', 'classify', 'probability', 'probabilities', 'train', 'evaluate') ORDER BY 1;
-- case: no two functions share a name
SELECT proname FROM pg_proc WHERE pronamespace = 'damson'::regnamespace GROUP BY 1 HAVING count(*) > 1;
