//! `damson.monitor`, and what is done with monitors.

use crate::catalog::monitors::{self, Wanted};
use crate::catalog::reference::Reference;
use crate::pg::datum::Text;
use crate::pg::error::answer;
use crate::pg::monitoring;
use pgrx::prelude::*;

#[pg_extern(sql = r#"
CREATE PROCEDURE damson.monitor(
    model text,
    source text,
    schedule text DEFAULT '@daily',
    time_column text DEFAULT NULL,
    window_size text DEFAULT NULL,
    thresholds text DEFAULT '{}',
    action text DEFAULT 'alert',
    on_alert text DEFAULT NULL,
    retrain_source text DEFAULT NULL,
    gate text DEFAULT NULL,
    name text DEFAULT NULL,
    time_zone text DEFAULT 'UTC')
LANGUAGE c
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
COMMENT ON PROCEDURE damson.monitor(text, text, text, text, text, text, text, text, text, text, text, text) IS
'Watches a model: compares the rows of a window again and again with those that it was trained on.
model is name or name@alias: what that means at the time of a run is watched. source is a relation''s name or a SELECT;
with time_column, a date or timestamp of it, and window_size, an interval such as ''7 days'', each run looks at the rows of
that long until now, else at all. schedule is cron syntax as of damson.schedule, on the clock of time_zone; NULL for
none. A name that is taken (the model''s name by default) is changed.
thresholds is JSON. A column has drifted when damson.drift says so, by method and threshold or its defaults, and chance
does not explain it: two samples'' tests (Kolmogorov-Smirnov, chi-square), of values and of what is missing, refuse that
both are alike, corrected for all of them by Holm''s method. An alarm is raised when the target or the predictions
drifted, or at least a share drift_share (0.1) of the features. So a window whose rows are drawn independently from what
the training saw raises a false alarm with a probability of at most false_positive_rate (0.01). Rows that depend on each
other or on the season drift truly: take windows that cover the season, or columns, an array, without what goes by the
clock. A window of fewer than min_rows (30) is not judged. predictions (true) says whether the model''s predictions are
compared. metrics has limits, {"metrics": {"auc": 0.8, "log_loss": 0.5}}: a metric that is worse, by more than its
interval explains, raises an alarm too; then both families have half of the rate, and the source needs the target.
action is alert; retrain, which trains as the version was trained, on retrain_source or its source, and points alias
challenger at what comes of it; or promote, which measures that on the same window and deploys it behind gate, as of
damson.deploy. In retrain_source, ${parameters.from} and ${parameters.until} are the ends of the window.
Alerts are in damson.alerts, are told by NOTIFY on channel damson_alert, and on_alert is called with each, a function of
yours that takes jsonb. A run is a job as your role, with the rights that it has then.
Example: CALL damson.monitor(''churn'', ''customers'', schedule => ''0 6 * * *'', time_column => ''seen'', window_size => ''7 days'', action => ''retrain'');';
"#)]
#[allow(clippy::too_many_arguments)] // They are those of the SQL procedure.
fn monitor(
    model: Text,
    source: Text,
    schedule: Option<Text>,
    time_column: Option<Text>,
    window_size: Option<Text>,
    thresholds: Option<Text>,
    action: Option<Text>,
    on_alert: Option<Text>,
    retrain_source: Option<Text>,
    gate: Option<Text>,
    name: Option<Text>,
    time_zone: Option<Text>,
) {
    answer(|| {
        let default = Reference::parse(&model)?.model;
        monitoring::make(&Wanted {
            name: name.as_deref().unwrap_or(default),
            model: &model,
            source: &source,
            schedule: schedule.as_deref(),
            time_column: time_column.as_deref(),
            window_size: window_size.as_deref(),
            time_zone: time_zone.as_deref().unwrap_or("UTC"),
            thresholds: thresholds.as_deref().unwrap_or("{}"),
            action: action.as_deref().unwrap_or("alert"),
            on_alert: on_alert.as_deref(),
            retrain_source: retrain_source.as_deref(),
            gate: gate.as_deref(),
        })
    })
}

#[pg_extern(sql = r#"
CREATE FUNCTION damson.run_monitor(name text, until text DEFAULT NULL, version bigint DEFAULT NULL)
RETURNS TABLE (
    monitor text, model text, version bigint, "rows" bigint, drift_share double precision, state text, culprits text,
    alert bigint, pipeline_run bigint)
LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE ROWS 1
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
COMMENT ON FUNCTION damson.run_monitor IS
'Runs a monitor now, as its schedule does.
until, a time, ends the window in place of now: to look back. version measures another version of the model; that raises
no alert. It reads and calls what the monitor''s role chose, so only that role runs it. state is silent, alarm or too few
rows.
Example: SELECT state, drift_share, culprits FROM damson.run_monitor(''churn'', until => ''2026-02-01'');';
"#)]
#[allow(clippy::type_complexity)] // It is the SQL function's result.
fn run_monitor(
    name: Text,
    until: Option<Text>,
    version: Option<i64>,
) -> TableIterator<
    'static,
    (
        name!(monitor, Text),
        name!(model, Text),
        name!(version, i64),
        name!(rows, i64),
        name!(drift_share, Option<f64>),
        name!(state, Text),
        name!(culprits, Text),
        name!(alert, Option<i64>),
        name!(pipeline_run, Option<i64>),
    ),
> {
    let found = answer(|| monitoring::run(&name, until.as_deref(), version));
    TableIterator::once((
        name,
        found.model.into(),
        found.version,
        found.rows,
        found.drift_share,
        found.state.into(),
        found.culprits.join(", ").into(),
        found.alert,
        found.pipeline_run,
    ))
}

#[pg_extern(sql = r#"
CREATE PROCEDURE damson.drop_monitor(name text, missing_ok boolean DEFAULT false)
LANGUAGE c
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
COMMENT ON PROCEDURE damson.drop_monitor(text, boolean) IS
'Drops a monitor with its schedule; its history and its alerts stay as long as the model.
With missing_ok, a monitor that does not exist is a notice and not an error. What it has begun goes on.
Example: CALL damson.drop_monitor(''churn'');';
"#)]
fn drop_monitor(name: Text, missing_ok: Option<bool>) {
    answer(|| {
        if !monitors::remove(&name, missing_ok.unwrap_or(false))? {
            notice!("monitor \"{}\" does not exist, skipping", &*name);
        }
        Ok(())
    })
}

#[pg_extern(sql = r#"
CREATE PROCEDURE damson.call_on_alert(alert bigint)
LANGUAGE c
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
COMMENT ON PROCEDURE damson.call_on_alert(bigint) IS
'Calls the function of a monitor with one of its alerts: what a job does by itself for each.
The function gets the alert as jsonb: alert, monitor, model, version, message, drift_share, culprits, rows, window_from,
window_until, action, pipeline_run, raised. It must belong to the monitor''s role, to a member of it or to a superuser, or
be SECURITY DEFINER, whenever it is called: another owner could make it do what he likes with the role''s rights.
Example: CALL damson.call_on_alert(17);';
"#)]
fn call_on_alert(alert: i64) {
    answer(|| monitoring::call_on_alert(alert))
}
