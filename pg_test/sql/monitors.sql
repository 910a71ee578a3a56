\i fixtures/start.sql
-- No worker starts a job here: what the verbs do to the tables is shown, and what they refuse.
DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET damson.max_jobs = 0', current_database()); END $$;
\i fixtures/data.sql
CREATE TABLE visits AS
SELECT timestamp '2026-01-01' + i * interval '1 hour' AS at, i * 37 % 101 / 10.0 AS x, 'k' || i * 7 % 3 AS kind,
       CASE WHEN i % 10 <> 0 THEN i * 53 % 97 / 9.0 END AS gaps, 3 * (i * 37 % 101) / 10.0 + i * 7 % 3 AS y
FROM generate_series(0, 1999) i;
-- From 10 March on x is shifted, and gaps are everywhere.
UPDATE visits SET x = x + 6, gaps = NULL WHERE at >= '2026-03-10';
SELECT version FROM damson.train('visit', $$SELECT x, kind, gaps, y FROM visits WHERE at < '2026-02-01'$$, 'y', 'ridge', split => 'none');
SELECT version FROM damson.train('visit', $$SELECT x, kind, gaps, y FROM visits$$, 'y', 'ridge', split => 'none');
-- case: a monitor is a row and a schedule
CALL damson.monitor('visit', 'visits', schedule => '30 5 * * *', time_column => 'at', window_size => '10 days');
SELECT monitor, model, cron, "window", action, state, drift_share, role, source, thresholds FROM damson.monitors;
SELECT name, cron, time_zone, role FROM damson.schedules;
SELECT kind, about, command FROM damson_catalog.schedules, LATERAL (SELECT command ->> 'kind' AS kind, command ->> 'about' AS about) c;
-- case: it is silent over windows like the training's, whenever they are
SELECT state, rows, drift_share, culprits, alert FROM damson.run_monitor('visit', until => '2026-01-25');
SELECT state, rows, drift_share, culprits, alert FROM damson.run_monitor('visit', until => '2026-03-01');
-- case: what drifted is told, and the tables tell it again
SELECT * FROM damson.run_monitor('visit', until => '2026-03-20 12:00');
SELECT run, monitor, model, version, window_from AT TIME ZONE 'UTC' AS "from", window_until AT TIME ZONE 'UTC' AS until, rows, drift_share, state, culprits, candidate FROM damson.drift_history;
SELECT "column", role, method, round(statistic::numeric, 4) AS statistic, threshold, significance < 0.01 AS significant, round(missing_before::numeric, 2) AS before, missing_now AS now, drifted FROM damson.drift_findings WHERE run = 3;
SELECT alert, monitor, model, version, message, outcome, call_state FROM damson.alerts;
SELECT monitor, state, drift_share FROM damson.monitors;
-- case: another version is measured without an alert
SELECT version, state, drift_share, alert FROM damson.run_monitor('visit', until => '2026-03-20 12:00', version => 2);
SELECT monitor, state, drift_share FROM damson.monitors;
SELECT count(*) FROM damson.alerts;
-- case: a window of few rows is not judged
SELECT state, rows, drift_share, culprits FROM damson.run_monitor('visit', until => '2026-01-02');
SELECT state, rows FROM damson.run_monitor('visit', until => '2020-01-02');
-- case: the clock of a window is the monitor's
CALL damson.monitor('visit', 'visits', schedule => NULL, time_column => 'at', window_size => '2 days', time_zone => 'Asia/Tokyo', name => 'tokyo');
SELECT rows FROM damson.run_monitor('tokyo', until => '2026-02-10 06:00');
SELECT rows FROM damson.run_monitor('tokyo', until => '2026-02-10 06:00+00');
SELECT window_from AT TIME ZONE 'Asia/Tokyo' AS "from", window_until AT TIME ZONE 'Asia/Tokyo' AS until FROM damson.drift_history WHERE monitor = 'tokyo';
SELECT count(*) FROM damson.schedules;
CALL damson.monitor('visit', 'SELECT at::date AS day, x, kind, gaps FROM visits -- by day', NULL, 'day', '2 days', name => 'tokyo', time_zone => 'Asia/Tokyo');
SELECT rows FROM damson.run_monitor('tokyo', until => '2026-02-10 06:00');
CALL damson.drop_monitor('tokyo');
-- case: thresholds choose columns, methods, rates and limits of metrics
CALL damson.monitor('visit', 'visits', NULL, 'at', '10 days', '{"columns": ["kind"]}', name => 'other');
SELECT state, drift_share, culprits FROM damson.run_monitor('other', until => '2026-03-20');
CALL damson.monitor('visit', 'visits', NULL, 'at', '10 days', '{"drift_share": 1, "predictions": false, "columns": ["x", "kind", "gaps"]}', name => 'other');
SELECT state, round(drift_share::numeric, 3) AS share, culprits FROM damson.run_monitor('other', until => '2026-03-20');
CALL damson.monitor('visit', 'visits', NULL, 'at', '10 days', '{"columns": ["kind"], "metrics": {"rmse": 0.5, "r2": 0.1}}', name => 'other');
SELECT state, culprits FROM damson.run_monitor('other', until => '2026-01-20');
SELECT state, culprits FROM damson.run_monitor('other', until => '2026-03-20');
SELECT "column", role, statistic > threshold AS above, threshold, drifted FROM damson.drift_findings WHERE run = (SELECT max(run) FROM damson.drift_history) AND role = 'metric' ORDER BY 1;
-- case: a function is called by a job, and told all
CREATE TABLE told (what jsonb);
CREATE FUNCTION tell(alert jsonb) RETURNS void LANGUAGE sql AS 'INSERT INTO told VALUES (alert)';
CALL damson.monitor('visit', 'visits', NULL, 'at', '10 days', on_alert => 'tell', name => 'caller');
SELECT alert FROM damson.run_monitor('caller', until => '2026-03-20');
SELECT kind, about, state, command FROM damson.jobs ORDER BY job DESC LIMIT 1;
CALL damson.call_on_alert(3);
SELECT what - '{raised}'::text[] AS what FROM told;
SELECT expect($$CALL damson.call_on_alert(1)$$);
SELECT expect($$CALL damson.call_on_alert(99)$$);
-- case: retraining is a pipeline, and one at a time
CALL damson.monitor('visit', 'visits', NULL, 'at', '10 days', action => 'promote', gate => 'rmse < 10 and drift_share < 0.1', name => 'caller',
    retrain_source => 'SELECT x, kind, gaps, y FROM visits WHERE at >= ${parameters.from}::timestamptz AND at < ${parameters.until}::timestamptz');
SELECT alert, pipeline_run FROM damson.run_monitor('caller', until => '2026-03-20');
SELECT step, kind, state, after FROM damson.steps;
SELECT step, command FROM damson.jobs WHERE step IS NOT NULL ORDER BY job;
SELECT name, parameters FROM damson.pipelines;
SELECT alert, pipeline_run FROM damson.run_monitor('caller', until => '2026-03-21');
SELECT alert, message, outcome FROM damson.alerts WHERE monitor = 'caller';
-- case: what is no monitor is refused
SELECT expect($$CALL damson.monitor('none', 'visits')$$);
SELECT expect($$CALL damson.monitor('visit', 'nowhere')$$);
SELECT expect($$CALL damson.monitor('visit', 'SELECT x, kind FROM visits')$$);
SELECT expect($$CALL damson.monitor('visit', 'visits', '61 * * * *')$$);
SELECT expect($$CALL damson.monitor('visit', 'visits', time_column => 'at')$$);
SELECT expect($$CALL damson.monitor('visit', 'visits', window_size => '1 day')$$);
SELECT expect($$CALL damson.monitor('visit', 'visits', time_column => 'when', window_size => '1 day')$$);
SELECT expect($$CALL damson.monitor('visit', 'visits', time_column => 'x', window_size => '1 day')$$);
SELECT expect($$CALL damson.monitor('visit', 'visits', time_column => 'at', window_size => 'one')$$);
SELECT expect($$CALL damson.monitor('visit', 'visits', time_column => 'at', window_size => '-1 day')$$);
SELECT expect($$CALL damson.monitor('visit', 'visits', time_column => 'at', window_size => '1 day', time_zone => 'Nowhere')$$);
SELECT expect($$CALL damson.monitor('visit', 'visits', thresholds => '{"alpha": 1}')$$);
SELECT expect($$CALL damson.monitor('visit', 'visits', thresholds => 'low')$$);
SELECT expect($$CALL damson.monitor('visit', 'visits', action => 'panic')$$);
SELECT expect($$CALL damson.monitor('visit', 'visits', action => 'promote')$$);
SELECT expect($$CALL damson.monitor('visit', 'visits', action => 'promote', gate => 'rmse')$$);
SELECT expect($$CALL damson.monitor('visit', 'visits', gate => 'rmse < 1')$$);
SELECT expect($$CALL damson.monitor('visit', 'visits', retrain_source => 'visits')$$);
SELECT expect($$CALL damson.monitor('visit@2', 'visits', action => 'retrain')$$);
SELECT expect($$CALL damson.monitor('visit', 'visits', on_alert => 'nothing')$$);
SELECT expect($$CALL damson.monitor('visit', 'visits', on_alert => 'tell(jsonb); DROP TABLE told; --')$$);
SELECT expect($$CALL damson.monitor('visit', 'visits', name => 'a@b')$$);
SELECT expect($$CALL damson.monitor(NULL, 'visits')$$);
SELECT expect($$SELECT damson.run_monitor('nobody')$$);
SELECT expect($$SELECT damson.run_monitor('visit', until => 'soon')$$);
SELECT expect($$SELECT damson.run_monitor('visit', version => 9)$$);
SELECT expect($$CALL damson.drop_monitor('nobody')$$);
CALL damson.drop_monitor('nobody', missing_ok => true);
-- case: history outlives the monitor, and goes with the model
CALL damson.drop_monitor('visit');
SELECT count(*) FROM damson.schedules;
SELECT monitor, count(*) FROM damson.drift_history GROUP BY 1 ORDER BY 1;
CALL damson.monitor('visit', 'visits');
CALL damson.drop_model('visit');
SELECT (SELECT count(*) FROM damson.monitors), (SELECT count(*) FROM damson.schedules), (SELECT count(*) FROM damson.drift_history),
    (SELECT count(*) FROM damson_drift.findings), (SELECT count(*) FROM damson.alerts);
