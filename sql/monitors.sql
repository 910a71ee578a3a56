-- Monitors: what watches models by itself, what it measured, and what it raised. A monitor is a row here and a schedule
-- (sql/jobs.sql), whose jobs run it as the role that made it. History is kept when a monitor is dropped, and goes with
-- its model.

CREATE TABLE damson_drift.monitors (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name           text COLLATE "C" NOT NULL UNIQUE CHECK (name <> ''),
    role           regrole NOT NULL,
    model          bigint NOT NULL,
    which          text COLLATE "C" NOT NULL,
    source         text NOT NULL,
    search_path    text NOT NULL,
    time_column    text,
    window_size    text,
    time_zone      text NOT NULL,
    thresholds     jsonb NOT NULL,
    action         text NOT NULL CHECK (action IN ('alert', 'retrain', 'promote')),
    on_alert       text[],
    retrain_source text,
    gate           text,
    changed        timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE damson_drift.monitors IS 'What watches models by itself';
COMMENT ON COLUMN damson_drift.monitors.role IS 'Who made it: it runs as this role, with the rights that the role has then';
COMMENT ON COLUMN damson_drift.monitors.which IS 'The alias or the number of the version that is watched';
COMMENT ON COLUMN damson_drift.monitors.on_alert IS 'Schema and name of a function that takes jsonb';

CREATE TABLE damson_drift.measurements (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    monitor      text COLLATE "C" NOT NULL,
    model        bigint NOT NULL,
    version      bigint NOT NULL,
    role         regrole NOT NULL,
    candidate    boolean NOT NULL,
    window_from  timestamptz,
    window_until timestamptz,
    row_count    bigint NOT NULL,
    state        text NOT NULL CHECK (state IN ('silent', 'alarm', 'too few rows')),
    drift_share  float8,
    culprits     text[] NOT NULL,
    seconds      float8 NOT NULL,
    measured     timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX measurements_of_version ON damson_drift.measurements (version, id);
CREATE INDEX measurements_of_monitor ON damson_drift.measurements (monitor, id);
CREATE INDEX measurements_of_model ON damson_drift.measurements (model);
COMMENT ON TABLE damson_drift.measurements IS 'One row a window that a monitor looked at';
COMMENT ON COLUMN damson_drift.measurements.candidate IS
    'Whether it is of a version that was to become what the monitor watches: such raise no alert';

CREATE TABLE damson_drift.findings (
    measurement    bigint NOT NULL,
    place          integer NOT NULL,
    name           text COLLATE "C" NOT NULL,
    role           text NOT NULL,
    method         text NOT NULL,
    statistic      float8,
    p_value        float8,
    threshold      float8,
    significance   float8,
    missing_before float8,
    missing_now    float8,
    drifted        boolean NOT NULL,
    PRIMARY KEY (measurement, place)
);
COMMENT ON TABLE damson_drift.findings IS 'What was found of each column and metric of a window';

CREATE TABLE damson_drift.alerts (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    monitor      text COLLATE "C" NOT NULL,
    model        bigint NOT NULL,
    measurement  bigint,
    role         regrole NOT NULL,
    action       text NOT NULL,
    message      text NOT NULL,
    pipeline_run bigint,
    call_job     bigint,
    raised       timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX alerts_of_monitor ON damson_drift.alerts (monitor, id);
CREATE INDEX alerts_of_model ON damson_drift.alerts (model);
COMMENT ON TABLE damson_drift.alerts IS 'The alarms that monitors raised';
COMMENT ON COLUMN damson_drift.alerts.measurement IS 'What raised it; NULL where the monitor itself failed';
COMMENT ON COLUMN damson_drift.alerts.pipeline_run IS 'The run that trains anew; NULL where none was started';

CREATE VIEW damson.monitors WITH (security_barrier) AS
SELECT m.name AS monitor, d.name || CASE m.which WHEN 'production' THEN '' ELSE '@' || m.which END AS model, s.cron,
       m.window_size AS "window", m.action, CASE WHEN j.state = 'failed' THEN 'failed' ELSE coalesce(q.state, 'never ran') END AS state,
       pg_catalog.round(q.drift_share::numeric, 3) AS drift_share, q.measured::timestamptz(0) AS last_run,
       s.next_due::timestamptz(0), CASE WHEN j.state = 'failed' THEN j.error END AS error, m.role, m.source, m.thresholds
FROM damson_drift.monitors m
JOIN damson_catalog.models d ON d.id = m.model
LEFT JOIN damson_catalog.schedules s ON s.name = 'monitor ' || m.name AND s.role = m.role
LEFT JOIN damson_catalog.jobs j ON j.id = s.last_job
LEFT JOIN LATERAL (
    SELECT q.state, q.drift_share, q.measured FROM damson_drift.measurements q
    WHERE q.monitor = m.name AND q.model = m.model AND q.role = m.role AND NOT q.candidate ORDER BY q.id DESC LIMIT 1) q ON true
WHERE pg_catalog.pg_has_role(m.role::oid, 'USAGE') AND (SELECT damson_catalog.look_after())
ORDER BY m.name;
COMMENT ON VIEW damson.monitors IS
'The monitors of your roles, what they saw last and when they look again.
state is silent, alarm, too few rows, failed (error says why) or never ran. drift_share is that of the last window.
Example: SELECT monitor, model, "window", action, state, drift_share, next_due FROM damson.monitors;';

CREATE VIEW damson.drift_history WITH (security_barrier) AS
SELECT q.id AS run, q.monitor, d.name AS model, v.version, q.window_from::timestamptz(0), q.window_until::timestamptz(0),
       q.row_count AS rows, pg_catalog.round(q.drift_share::numeric, 3) AS drift_share, q.state,
       pg_catalog.array_to_string(q.culprits, ', ') AS culprits, q.candidate, q.measured::timestamptz(0), q.role,
       pg_catalog.round(q.seconds::numeric, 3) AS seconds
FROM damson_drift.measurements q
JOIN damson_catalog.models d ON d.id = q.model
JOIN damson_catalog.versions v ON v.id = q.version
WHERE pg_catalog.pg_has_role(q.role::oid, 'USAGE')
ORDER BY q.id;
COMMENT ON VIEW damson.drift_history IS
'Every window that the monitors of your roles looked at: one row a run.
drift_share is the share of features that drifted; the gate of a deployment knows that of the newest run of a version.
culprits are the columns that drifted and the metrics beyond their limits. candidate says that a new version was measured
before it went live: then no alert is raised.
Example: SELECT run, version, window_until, rows, drift_share, state, culprits FROM damson.drift_history WHERE monitor = ''churn'';';

CREATE VIEW damson.drift_findings WITH (security_barrier) AS
SELECT f.measurement AS run, q.monitor, v.version, f.name AS "column", f.role, f.method, f.statistic, f.p_value, f.threshold,
       f.significance, f.missing_before, f.missing_now, f.drifted
FROM damson_drift.findings f
JOIN damson_drift.measurements q ON q.id = f.measurement
JOIN damson_catalog.versions v ON v.id = q.version
WHERE pg_catalog.pg_has_role(q.role::oid, 'USAGE')
ORDER BY f.measurement, f.place;
COMMENT ON VIEW damson.drift_findings IS
'What the monitors of your roles found of each column and metric.
method, statistic, p_value and threshold are as in damson.drift. significance is the p-value that the rows of the window
and of the training are alike, values or what is missing, after the correction for all columns of the window. A
metric has its value as statistic and its limit as threshold.
Example: SELECT "column", method, statistic, threshold, significance, drifted FROM damson.drift_findings WHERE run = 12;';

CREATE VIEW damson.alerts WITH (security_barrier) AS
SELECT a.id AS alert, a.raised::timestamptz(0), a.monitor, d.name AS model, v.version, a.message,
       CASE WHEN a.action = 'alert' OR a.measurement IS NULL THEN NULL
            WHEN a.pipeline_run IS NULL THEN 'an earlier retraining goes on'
            WHEN p.steps IS NULL THEN 'retrained'
            WHEN p.broken IS NOT NULL THEN p.broken
            WHEN p.going IS NOT NULL THEN 'retraining, step ' || p.going
            ELSE 'version ' || p.version || ' is ' || p.alias END AS outcome,
       c.state AS call_state, a.action, a.measurement AS run, a.pipeline_run, a.call_job, a.role
FROM damson_drift.alerts a
JOIN damson_catalog.models d ON d.id = a.model
LEFT JOIN damson_drift.measurements q ON q.id = a.measurement
LEFT JOIN damson_catalog.versions v ON v.id = q.version
LEFT JOIN damson_catalog.jobs c ON c.id = a.call_job
LEFT JOIN LATERAL (
    SELECT pg_catalog.count(*) AS steps,
           (pg_catalog.array_agg(j.step ORDER BY j.id) FILTER (WHERE j.state IN ('blocked', 'waiting', 'running')))[1] AS going,
           pg_catalog.min('step ' || j.step || CASE j.state WHEN 'failed' THEN ': ' || coalesce(pg_catalog.split_part(j.error, E'\n', 1), 'failed')
               ELSE ' was ' || j.state END) FILTER (WHERE j.state IN ('failed', 'cancelled')) AS broken,
           pg_catalog.max(j.result ->> 'version') FILTER (WHERE j.step = 'fit') AS version,
           coalesce(pg_catalog.max(j.result ->> 'alias') FILTER (WHERE j.step = 'promote'), 'challenger') AS alias
    FROM damson_catalog.jobs j WHERE j.pipeline_run = a.pipeline_run HAVING pg_catalog.count(*) > 0) p ON true
WHERE pg_catalog.pg_has_role(a.role::oid, 'USAGE')
ORDER BY a.id;
COMMENT ON VIEW damson.alerts IS
'The alarms that the monitors of your roles raised, and what came of them.
A monitor that failed as a job raises one too, without a version. outcome tells how far a retraining is, why it ended, or which version came of it, as long as its jobs are kept
(damson.keep_jobs). call_state is the state of the job that calls the monitor''s function.
Example: SELECT alert, raised, model, message, outcome FROM damson.alerts ORDER BY alert DESC LIMIT 10;';

REVOKE ALL ON ALL TABLES IN SCHEMA damson_drift FROM PUBLIC;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA damson_drift FROM PUBLIC;
REVOKE ALL ON damson.monitors, damson.drift_history, damson.drift_findings, damson.alerts FROM PUBLIC;
GRANT SELECT ON damson.monitors, damson.drift_history, damson.drift_findings, damson.alerts TO PUBLIC;

SELECT pg_catalog.pg_extension_config_dump('damson_drift.monitors', '');
SELECT pg_catalog.pg_extension_config_dump('damson_drift.measurements', '');
SELECT pg_catalog.pg_extension_config_dump('damson_drift.findings', '');
SELECT pg_catalog.pg_extension_config_dump('damson_drift.alerts', '');
SELECT pg_catalog.pg_extension_config_dump('damson_drift.monitors_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('damson_drift.measurements_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('damson_drift.alerts_id_seq', '');
