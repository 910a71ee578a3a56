-- What users can look at. The views read as the extension's owner and show what the current role owns or was
-- granted; they are security barriers, so that no function in a WHERE clause sees a row before it is allowed.

CREATE VIEW damson_catalog.visible WITH (security_barrier) AS
SELECT m.id, owned
FROM damson_catalog.models m
CROSS JOIN LATERAL (SELECT pg_catalog.pg_has_role(m.owner::oid, 'USAGE') AS owned) o
WHERE owned OR EXISTS (
    SELECT FROM damson_catalog.grants g
    WHERE g.model = m.id AND (g.grantee = 0::regrole OR pg_catalog.pg_has_role(g.grantee::oid, 'USAGE')));
REVOKE ALL ON damson_catalog.visible FROM PUBLIC;
COMMENT ON VIEW damson_catalog.visible IS 'The models that the current role may know of, and whether it owns them';

CREATE VIEW damson.models WITH (security_barrier) AS
SELECT m.name, m.task, p.algorithm, p.version AS production, m.last_version AS newest, m.owner,
       m.created::timestamptz(0), m.description
FROM damson_catalog.models m
JOIN damson_catalog.visible s ON s.id = m.id
LEFT JOIN damson_catalog.aliases a ON a.model = m.id AND a.alias = 'production'
LEFT JOIN damson_catalog.versions p ON p.id = a.version
ORDER BY m.name;
COMMENT ON VIEW damson.models IS
'The models that you own or were granted.
production is the version that a bare model name means; newest is the last one trained.
Example: SELECT name, task, production FROM damson.models;';

CREATE VIEW damson.versions WITH (security_barrier) AS
SELECT m.name AS model, v.version,
       (SELECT pg_catalog.string_agg(a.alias, ', ' ORDER BY a.alias)
        FROM damson_catalog.aliases a WHERE a.version = v.id) AS aliases,
       v.algorithm, v.target, v.metric, v.metric_value AS value, v.artifact_size AS bytes,
       v.created::timestamptz(0), v.created_by,
       (SELECT pm.name || '@' || pv.version
        FROM damson_catalog.versions pv
        JOIN damson_catalog.models pm ON pm.id = pv.model
        JOIN damson_catalog.visible ps ON ps.id = pm.id
        WHERE pv.id = v.parent) AS parent,
       v.expired::timestamptz(0)
FROM damson_catalog.versions v
JOIN damson_catalog.models m ON m.id = v.model
JOIN damson_catalog.visible s ON s.id = m.id
ORDER BY m.name, v.version;
COMMENT ON VIEW damson.versions IS
'The trained versions of each model, with the aliases that point at them.
metric and value are the version''s headline measure; damson.metrics has all of them. parent is the version that the
training went on from (init_model), as long as it is there and yours to see. expired is when the model''s policy removed
the version''s artifact.
Example: SELECT version, aliases, metric, value FROM damson.versions WHERE model = ''churn'';';

CREATE VIEW damson.aliases WITH (security_barrier) AS
SELECT m.name AS model, a.alias, v.version, pv.version AS previous, d.action, d.role, d.at::timestamptz(0)
FROM damson_catalog.aliases a
JOIN damson_catalog.models m ON m.id = a.model
JOIN damson_catalog.visible s ON s.id = m.id
JOIN damson_catalog.versions v ON v.id = a.version
JOIN damson_catalog.deployments d ON d.id = a.deployment
LEFT JOIN damson_catalog.deployments p ON p.id = d.previous
LEFT JOIN damson_catalog.versions pv ON pv.id = p.version
ORDER BY m.name, a.alias;
COMMENT ON VIEW damson.aliases IS
'Which version each alias means now, who pointed it there and when.
previous is the version that damson.rollback would go back to.
Example: SELECT * FROM damson.aliases WHERE model = ''churn'';';

CREATE VIEW damson.deployments WITH (security_barrier) AS
SELECT m.name AS model, d.alias, v.version, d.action, d.role, d.at
FROM damson_catalog.deployments d
JOIN damson_catalog.models m ON m.id = d.model
JOIN damson_catalog.visible s ON s.id = m.id
JOIN damson_catalog.versions v ON v.id = d.version
ORDER BY d.id;
COMMENT ON VIEW damson.deployments IS
'The history of every alias: what was deployed or rolled back, by whom and when.
Example: SELECT * FROM damson.deployments WHERE model = ''churn'';';

CREATE VIEW damson.runs WITH (security_barrier) AS
SELECT r.id AS run, m.name AS model, v.version, r.algorithm, r.status, r.train_rows, r.test_rows,
       pg_catalog.round(EXTRACT(EPOCH FROM r.finished - r.started)::numeric, 3) AS seconds,
       r.started::timestamptz(0), r.role, r.seed, r.timings, r.fingerprint, r.code_version,
       CASE WHEN s.owned THEN r.source END AS source, r.arguments, r.warnings
FROM damson_catalog.runs r
JOIN damson_catalog.models m ON m.id = r.model
JOIN damson_catalog.visible s ON s.id = m.id
LEFT JOIN damson_catalog.versions v ON v.run = r.id
ORDER BY r.id;
COMMENT ON VIEW damson.runs IS
'The trainings: arguments, status, times, rows, data fingerprint and code version.
The source''s text is shown to the model''s owner only: it may hold values.
Example: SELECT run, model, version, status, train_rows, seconds FROM damson.runs;';

CREATE VIEW damson.metrics WITH (security_barrier) AS
SELECT m.name AS model, v.version, q.split, q.round, q.name AS metric, q.value, q.run
FROM damson_catalog.metrics q
JOIN damson_catalog.runs r ON r.id = q.run
JOIN damson_catalog.models m ON m.id = r.model
JOIN damson_catalog.visible s ON s.id = m.id
LEFT JOIN damson_catalog.versions v ON v.run = q.run
ORDER BY q.run, q.round NULLS LAST, q.split, q.name;
COMMENT ON VIEW damson.metrics IS
'What each training measured: by round, and for the finished model (round is NULL).
Example: SELECT round, value FROM damson.metrics WHERE model = ''churn'' AND metric = ''train_loss'';';

CREATE VIEW damson.trials WITH (security_barrier) AS
SELECT m.name AS model, v.version, t.run, t.trial, t.algorithm, t.params, t.preprocess, t.resource, q.metric,
       t.value, t.std, t.seconds, t.status, t.error, t.reused
FROM damson_catalog.trials t
JOIN damson_catalog.searches q ON q.run = t.run
JOIN damson_catalog.runs r ON r.id = t.run
JOIN damson_catalog.models m ON m.id = r.model
JOIN damson_catalog.visible s ON s.id = m.id
LEFT JOIN damson_catalog.versions v ON v.run = t.run
ORDER BY t.run, t.trial;
COMMENT ON VIEW damson.trials IS
'What damson.search, and damson.train with algorithm auto, tried: one row a trial, also of those that failed.
value is the mean of the metric over the folds, std its deviation. resource is the rows that a trial could use, or the
value of the resource parameter. A trial that reused the outcome of the same trial before it took no time.
Example: SELECT trial, params, value, status, error FROM damson.trials WHERE model = ''churn'';';

CREATE VIEW damson.leaderboard WITH (security_barrier) AS
SELECT t.model, t.version,
       pg_catalog.row_number() OVER (
           PARTITION BY t.run
           ORDER BY t.value IS NULL, t.resource DESC, CASE WHEN q.larger_is_better THEN -t.value ELSE t.value END, t.trial
       ) AS rank,
       t.trial, t.algorithm, t.params, t.resource, t.metric, t.value, t.std,
       CASE WHEN t.trial = q.best THEN (
           SELECT x.value FROM damson_catalog.metrics x
           WHERE x.run = t.run AND x.name = t.metric AND x.split IN ('test', 'nested') AND x.round IS NULL
       ) END AS honest,
       t.seconds, t.status, q.limited
FROM damson.trials t
JOIN damson_catalog.searches q ON q.run = t.run
ORDER BY t.model, t.run, rank;
COMMENT ON VIEW damson.leaderboard IS
'The trials of each search from the best to the worst; rank 1 became the version.
value is what the choice was made by, so that of the winner flatters it. honest is its value on rows that had no part
in the choice: those that a split held out, or outer folds; NULL where there were none. Trials with less of the resource
rank below those with more. limited says that a time limit ended the search: another run may try other trials.
Example: SELECT rank, algorithm, params, value, honest FROM damson.leaderboard WHERE model = ''churn'';';

-- Working backends write their progress into application_name, which everybody may see of everybody:
-- 'damson: train churn, tree 40/100'.
CREATE VIEW damson.progress WITH (security_barrier) AS
SELECT a.pid, a.usename AS role, w.words[1] AS work, w.words[2] AS model, w.words[4] AS step,
       w.words[5]::bigint AS done, w.words[6]::bigint AS total,
       pg_catalog.round(100.0 * w.words[5]::bigint / NULLIF(w.words[6]::bigint, 0), 1) AS percent,
       pg_catalog.date_trunc('second', pg_catalog.clock_timestamp() - a.query_start) AS elapsed
FROM pg_catalog.pg_stat_activity a
CROSS JOIN LATERAL (SELECT pg_catalog.regexp_match(
    a.application_name, '^damson: (\w+) (.*?)(, (\w.*) (\d{1,15})/(\d{1,15}))?$') AS words) w
WHERE a.datname = pg_catalog.current_database() AND w.words IS NOT NULL
ORDER BY a.pid;
COMMENT ON VIEW damson.progress IS
'The trainings and evaluations that run now in this database, and how far they are.
elapsed shows for your own sessions and to members of pg_read_all_stats.
Example: SELECT model, step, done, total, percent FROM damson.progress;';

REVOKE ALL ON damson.models, damson.versions, damson.aliases, damson.deployments, damson.runs, damson.metrics,
    damson.trials, damson.leaderboard, damson.progress
    FROM PUBLIC;
GRANT SELECT ON damson.models, damson.versions, damson.aliases, damson.deployments, damson.runs, damson.metrics,
    damson.trials, damson.leaderboard, damson.progress
    TO PUBLIC;
