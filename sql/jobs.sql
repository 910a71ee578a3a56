-- Work that goes on by itself: a durable queue, schedules that fill it, and pipelines, whose steps are jobs that wait
-- for each other. src/catalog/queue.rs tells how a job moves from state to state.

CREATE TABLE damson_catalog.jobs (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind          text NOT NULL,
    about         text,
    command       jsonb NOT NULL,
    settings      jsonb NOT NULL,
    role          regrole NOT NULL,
    state         text NOT NULL CHECK (state IN (
        'blocked', 'waiting', 'running', 'succeeded', 'failed', 'cancelled', 'skipped')),
    priority      bigint NOT NULL,
    due           timestamptz NOT NULL,
    timeout       float8,
    retries       bigint NOT NULL,
    attempt       bigint NOT NULL DEFAULT 0,
    failures      bigint NOT NULL DEFAULT 0,
    interruptions bigint NOT NULL DEFAULT 0,
    pid           integer,
    submitted     timestamptz NOT NULL DEFAULT clock_timestamp(),
    started       timestamptz,
    finished      timestamptz,
    result        jsonb,
    sqlstate      text,
    error         text,
    schedule      bigint,
    pipeline_run  bigint,
    step          text,
    after         text[]
);
CREATE INDEX jobs_alive ON damson_catalog.jobs (state) WHERE state IN ('blocked', 'waiting', 'running');
CREATE INDEX jobs_of_pipeline ON damson_catalog.jobs (pipeline_run) WHERE pipeline_run IS NOT NULL;
COMMENT ON TABLE damson_catalog.jobs IS 'The queue: one row a job, also those that have ended';
COMMENT ON COLUMN damson_catalog.jobs.settings IS 'The settings in force where it was submitted, set again where it runs';
COMMENT ON COLUMN damson_catalog.jobs.attempt IS
    'Counts the starts. Only the worker of the newest one may end the job, so that none ends it twice';
COMMENT ON COLUMN damson_catalog.jobs.failures IS 'Starts that ended in an error of the job''s own';
COMMENT ON COLUMN damson_catalog.jobs.interruptions IS 'Starts that ended with their worker: a crash, a shutdown';
COMMENT ON COLUMN damson_catalog.jobs.after IS 'The steps of its pipeline that must have succeeded before it';

CREATE TABLE damson_catalog.schedules (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name      text COLLATE "C" NOT NULL UNIQUE CHECK (name <> ''),
    role      regrole NOT NULL,
    cron      text NOT NULL,
    time_zone text NOT NULL,
    command   jsonb NOT NULL,
    settings  jsonb NOT NULL,
    priority  bigint NOT NULL,
    timeout   float8,
    retries   bigint NOT NULL,
    next_due  timestamptz,
    last_job  bigint,
    created   timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE damson_catalog.schedules IS 'Commands that become jobs again and again';
COMMENT ON COLUMN damson_catalog.schedules.next_due IS 'When it makes its next job; NULL when its times never come';

CREATE TABLE damson_catalog.pipelines (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name       text COLLATE "C" NOT NULL UNIQUE CHECK (name <> ''),
    role       regrole NOT NULL,
    definition jsonb NOT NULL,
    changed    timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE damson_catalog.pipelines IS 'Steps that follow each other';

CREATE TABLE damson_catalog.pipeline_runs (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    pipeline   bigint NOT NULL,
    parameters jsonb NOT NULL,
    role       regrole NOT NULL,
    started    timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE damson_catalog.pipeline_runs IS 'One row a run of a pipeline; its steps are jobs';

CREATE FUNCTION damson_catalog.look_after() RETURNS boolean
LANGUAGE c STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'look_after_wrapper';
COMMENT ON FUNCTION damson_catalog.look_after() IS
'Starts the launcher of jobs where work was left lying, as after a restart of the server; always true';

CREATE VIEW damson.jobs WITH (security_barrier) AS
SELECT j.id AS job, j.kind, j.about, j.state, j.role, j.priority, j.attempt, j.submitted::timestamptz(0),
       CASE WHEN j.state = 'waiting' THEN j.due::timestamptz(0) END AS due, j.started::timestamptz(0),
       pg_catalog.round(EXTRACT(EPOCH FROM coalesce(j.finished, CASE WHEN j.state = 'running'
           THEN pg_catalog.clock_timestamp() END) - j.started)::numeric, 3) AS seconds,
       j.result, j.sqlstate, j.error, j.pid, s.name AS schedule, p.name AS pipeline, j.pipeline_run AS run, j.step,
       j.command::text AS command
FROM damson_catalog.jobs j
LEFT JOIN damson_catalog.schedules s ON s.id = j.schedule
LEFT JOIN damson_catalog.pipeline_runs r ON r.id = j.pipeline_run
LEFT JOIN damson_catalog.pipelines p ON p.id = r.pipeline
WHERE pg_catalog.pg_has_role(j.role::oid, 'USAGE') AND (SELECT damson_catalog.look_after())
ORDER BY j.id;
COMMENT ON VIEW damson.jobs IS
'The jobs of your roles: those that wait, run and have ended.
state is blocked (by other steps of its pipeline), waiting, running, succeeded, failed, cancelled or skipped. attempt counts
its starts. result is what it gave, as JSON; of SQL that is the first row. Ended jobs are kept for damson.keep_jobs days.
Example: SELECT job, kind, about, state, seconds, error FROM damson.jobs WHERE state <> ''succeeded'';';

CREATE VIEW damson.schedules WITH (security_barrier) AS
SELECT s.name, s.cron, s.time_zone, s.role, s.next_due::timestamptz(0), s.last_job, j.state AS last_state,
       j.finished::timestamptz(0) AS last_finished, j.error AS last_error, coalesce(s.command ->> 'sql', (s.command ->> 'kind') || ' ' || (s.command ->> 'about')) AS command
FROM damson_catalog.schedules s
LEFT JOIN damson_catalog.jobs j ON j.id = s.last_job
WHERE pg_catalog.pg_has_role(s.role::oid, 'USAGE') AND (SELECT damson_catalog.look_after())
ORDER BY s.name;
COMMENT ON VIEW damson.schedules IS
'The schedules of your roles, when they are due next, and how their last job ended.
Example: SELECT name, cron, next_due, last_state, last_error FROM damson.schedules;';

CREATE VIEW damson.pipelines WITH (security_barrier) AS
SELECT p.name, r.id AS run, s.state, s.steps, s.error, p.role, r.parameters, r.started::timestamptz(0), s.seconds
FROM damson_catalog.pipelines p
LEFT JOIN damson_catalog.pipeline_runs r ON r.pipeline = p.id
LEFT JOIN LATERAL (
    SELECT CASE WHEN pg_catalog.bool_or(j.state IN ('running', 'waiting', 'blocked')) THEN 'running'
                WHEN pg_catalog.bool_or(j.state = 'failed') THEN 'failed'
                WHEN pg_catalog.bool_or(j.state = 'cancelled') THEN 'cancelled'
                ELSE 'succeeded' END AS state,
           pg_catalog.string_agg(j.step || ' ' || CASE WHEN j.state = 'succeeded' THEN 'ok' ELSE j.state END,
               ', ' ORDER BY j.id) AS steps,
           pg_catalog.string_agg(j.step || ': ' || j.error, '; ' ORDER BY j.id) AS error,
           pg_catalog.round(EXTRACT(EPOCH FROM pg_catalog.max(coalesce(j.finished, pg_catalog.clock_timestamp()))
               - r.started)::numeric, 3) AS seconds
    FROM damson_catalog.jobs j WHERE j.pipeline_run = r.id) s ON true
WHERE pg_catalog.pg_has_role(p.role::oid, 'USAGE') AND (SELECT damson_catalog.look_after())
ORDER BY p.name, r.id;
COMMENT ON VIEW damson.pipelines IS
'The pipelines of your roles and their runs: one line a run, with the state of each step.
Example: SELECT name, run, state, steps, error FROM damson.pipelines;';

CREATE VIEW damson.steps WITH (security_barrier) AS
SELECT p.name AS pipeline, j.pipeline_run AS run, j.step, j.kind, j.state, j.after, j.id AS job, j.attempt,
       j.started::timestamptz(0), pg_catalog.round(EXTRACT(EPOCH FROM j.finished - j.started)::numeric, 3) AS seconds,
       j.result, j.error
FROM damson_catalog.jobs j
JOIN damson_catalog.pipeline_runs r ON r.id = j.pipeline_run
JOIN damson_catalog.pipelines p ON p.id = r.pipeline
WHERE pg_catalog.pg_has_role(j.role::oid, 'USAGE')
ORDER BY j.pipeline_run, j.id;
COMMENT ON VIEW damson.steps IS
'The steps of the runs of pipelines, each with its state, its result and its error.
Example: SELECT step, state, seconds, error FROM damson.steps WHERE pipeline = ''nightly'' ORDER BY job;';

REVOKE ALL ON damson_catalog.jobs, damson_catalog.schedules, damson_catalog.pipelines, damson_catalog.pipeline_runs,
    damson.jobs, damson.schedules, damson.pipelines, damson.steps FROM PUBLIC;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA damson_catalog FROM PUBLIC;
GRANT SELECT ON damson.jobs, damson.schedules, damson.pipelines, damson.steps TO PUBLIC;

SELECT pg_catalog.pg_extension_config_dump('damson_catalog.jobs', '');
SELECT pg_catalog.pg_extension_config_dump('damson_catalog.schedules', '');
SELECT pg_catalog.pg_extension_config_dump('damson_catalog.pipelines', '');
SELECT pg_catalog.pg_extension_config_dump('damson_catalog.pipeline_runs', '');
SELECT pg_catalog.pg_extension_config_dump('damson_catalog.jobs_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('damson_catalog.schedules_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('damson_catalog.pipelines_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('damson_catalog.pipeline_runs_id_seq', '');
