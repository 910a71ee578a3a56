//! Alarms that monitors raised, and what is done about them: a note to who listens, a job that calls a function, a
//! pipeline that trains anew. Tables and views are in `sql/monitors.sql`.

use super::measurements::Measured;
use super::monitors::{Monitor, PREFIX, of_another, only};
use super::queue::{self, Terms, Work};
use super::{models, read, write};
use crate::pg::datum::{Jsonb, TextArray};
use crate::pg::error::{Code, Error, Result};
use crate::pg::role::current_user;
use crate::pg::spi;
use pgrx::pg_sys::Oid;
use serde_json::{Value, json};

/// Raises an alert, and does what the monitor is to do. Gives its number and that of the run that trains anew.
///
/// # Errors
/// Those of the queue; 42704 and 42501 where the model is gone or not the current user's any more.
pub fn raise(measured: &Measured, measurement: i64, message: &str) -> Result<(i64, Option<i64>)> {
    let monitor = measured.monitor;
    let run = match monitor.action.as_str() {
        "alert" => None,
        _ if retrains(monitor)? => None,
        _ => Some(retrain(measured)?),
    };
    let alert = insert(monitor, Some(measurement), message, run)?;
    Ok((alert, run))
}

/// Raises an alert for a monitor that failed as a job, which undid all that it had found: nobody else would tell. Of
/// other roles' monitors it says nothing.
///
/// # Errors
/// Those of the queue.
pub fn failed(job: i64, monitor: &str, message: &str) -> Result<()> {
    let ended = "SELECT j.state = 'failed' FROM damson_catalog.jobs j WHERE j.id = $1";
    if !only(write(ended, &[job.into()])?)?.get::<bool>(0)? {
        return Ok(());
    }
    let Ok(monitor) = super::monitors::find(monitor) else { return Ok(()) };
    let first = message.lines().next().unwrap_or_default();
    insert(&monitor, None, &format!("the monitor failed: {first}"), None).map(drop)
}

/// Writes an alert and tells of it. Gives its number.
fn insert(monitor: &Monitor, measurement: Option<i64>, message: &str, run: Option<i64>) -> Result<i64> {
    let sql =
        "INSERT INTO damson_drift.alerts (monitor, model, measurement, role, action, message, pipeline_run)
        VALUES ($1, $2, $3, $4::regrole, $5, $6, $7) RETURNING id";
    let params = [
        (&monitor.name).into(),
        monitor.model.into(),
        measurement.into(),
        current_user().into(),
        (&monitor.action).into(),
        message.into(),
        run.into(),
    ];
    let alert: i64 = only(write(sql, &params)?)?.get(0)?;
    if monitor.calls {
        // A job of its own: what it does wrong undoes no measurement, and it is tried again.
        let command = json!({ "with": { "alert": alert } });
        let work = Work { kind: "call_on_alert", about: Some(&monitor.name), command: &command };
        let job = queue::submit(&work, Terms { retries: 3, ..Terms::default() })?;
        write("UPDATE damson_drift.alerts SET call_job = $2 WHERE id = $1", &[alert.into(), job.into()])?;
    }
    // Everybody can listen: who may know more reads damson.alerts.
    let note = json!({ "alert": alert, "monitor": monitor.name }).to_string();
    spi::execute("SELECT FROM pg_catalog.pg_notify('damson_alert', $1)", &[(&note).into()])?;
    Ok(alert)
}

/// Whether an earlier retraining of the monitor goes on.
fn retrains(monitor: &Monitor) -> Result<bool> {
    let sql = "SELECT EXISTS (SELECT FROM damson_catalog.jobs j
        JOIN damson_drift.alerts a ON a.pipeline_run = j.pipeline_run
        WHERE a.monitor = $1 AND a.model = $2 AND j.state IN ('blocked', 'waiting', 'running'))";
    only(write(sql, &[(&monitor.name).into(), monitor.model.into()])?)?.get(0)
}

/// The arguments of damson.train that a run may have been called with.
const ARGUMENTS: [&str; 23] = [
    "target",
    "algorithm",
    "params",
    "preprocess",
    "features",
    "weight",
    "task",
    "split",
    "test_size",
    "time_column",
    "offset_column",
    "group_column",
    "class_weight",
    "threshold",
    "calibration",
    "conformal",
    "calibration_size",
    "group_by",
    "unknown_group",
    "folds",
    "seed",
    "key_column",
    "init_model",
];

/// Starts a pipeline that trains the watched version anew, points `challenger` at what comes of it and, where the monitor
/// promotes, measures that on the same window and deploys it behind the gate. Gives the run's number.
fn retrain(measured: &Measured) -> Result<i64> {
    let monitor = measured.monitor;
    let sql = "SELECT r.source, r.arguments::text, EXISTS (SELECT FROM damson_catalog.searches s WHERE s.run = r.id),
            v.algorithm, v.params::text, v.preprocess::text
        FROM damson_catalog.versions v
        JOIN damson_catalog.runs r ON r.id = v.run
        JOIN damson_catalog.models m ON m.id = v.model
        WHERE v.id = $1 AND pg_catalog.pg_has_role($2, m.owner::oid, 'USAGE')";
    let row = write(sql, &[measured.version.id.into(), current_user().into()])?.one()?;
    let row = row.ok_or_else(|| models::denied("train", &monitor.model_name))?;
    let given: Value = serde_json::from_str(&row.get::<String>(1)?)
        .map_err(|e| Error::internal(format!("the arguments of a run are damaged: {e}")))?;
    let mut with = json!({
        "model": monitor.model_name,
        "source": match &monitor.retrain_source { Some(source) => source.clone(), None => row.get(0)? },
    });
    for name in ARGUMENTS {
        if !given[name].is_null() {
            with[name] = given[name].clone();
        }
    }
    if row.get::<bool>(2)? {
        // What a search chose is trained; searching again is somebody's decision.
        for (name, at) in [("algorithm", 3), ("params", 4), ("preprocess", 5)] {
            with[name] = row.get::<String>(at)?.into();
        }
        with["folds"] = Value::Null;
    }
    let model = &monitor.model_name;
    let deploy = |alias: &str| json!({ "model": model, "version": "${fit.version}", "alias": alias });
    let mut steps = vec![
        json!({ "name": "fit", "do": "train", "with": with, "retries": 2 }),
        json!({ "name": "challenger", "do": "deploy", "with": deploy("challenger") }),
    ];
    if monitor.action == "promote" {
        let again =
            json!({ "name": monitor.name, "until": "${parameters.until}", "version": "${fit.version}" });
        let mut live = deploy(&monitor.which);
        live["gate"] = monitor.gate.as_deref().into();
        steps.push(json!({ "name": "measure", "do": "run_monitor", "with": again }));
        steps.push(json!({ "name": "promote", "do": "deploy", "with": live }));
    }
    let window = measured.window;
    let parameters =
        json!({ "from": window.map(|w| w.from.as_str()), "until": window.map(|w| w.until.as_str()) });
    let definition = json!({ "parameters": parameters, "steps": steps });
    let name = format!("{PREFIX}{}", monitor.name);
    super::pipelines::put(&name, &definition.to_string())?;
    super::pipelines::run(&name, "{}")
}

/// What a monitor's function is told, and the function, quoted.
///
/// # Errors
/// 42704 where there is no such alert of the current user's; 42501 for another role's, and for a function that may not be
/// called; 55000 where the monitor has none.
pub fn call(alert: i64) -> Result<(String, Jsonb)> {
    let sql = "SELECT a.role::oid, a.monitor, a.role::text, m.on_alert, pg_catalog.jsonb_build_object('alert', a.id,
            'monitor', a.monitor, 'model', d.name, 'version', v.version, 'message', a.message,
            'drift_share', q.drift_share, 'culprits', q.culprits, 'rows', q.row_count, 'window_from', q.window_from,
            'window_until', q.window_until, 'action', a.action, 'pipeline_run', a.pipeline_run, 'raised', a.raised)
        FROM damson_drift.alerts a
        JOIN damson_catalog.models d ON d.id = a.model
        LEFT JOIN damson_drift.measurements q ON q.id = a.measurement
        LEFT JOIN damson_catalog.versions v ON v.id = q.version
        LEFT JOIN damson_drift.monitors m ON m.name = a.monitor AND m.role = a.role
        WHERE a.id = $1 AND pg_catalog.pg_has_role($2, a.role::oid, 'USAGE')";
    let row = write(sql, &[alert.into(), current_user().into()])?.one()?;
    let row = row.ok_or_else(|| {
        Error::new(Code::NoSuchObject, format!("alert {alert} does not exist"))
            .hint("SELECT alert, monitor, message FROM damson.alerts shows those of your roles.")
    })?;
    let monitor: String = row.get(1)?;
    if row.get::<Oid>(0)? != current_user() {
        return Err(of_another(&monitor, &row.get::<String>(2)?));
    }
    let function = row.get::<Option<TextArray>>(3)?.map(|f| f.without_nulls("on_alert")).transpose()?;
    let Some([schema, name]) = function.as_deref() else {
        let message = format!("monitor \"{monitor}\" calls no function");
        return Err(Error::new(Code::NotReady, message)
            .hint("CALL damson.monitor(..., on_alert => 'name') gives it one."));
    };
    check_callable(schema, name)?;
    let quoted = |name: &str| crate::pg::verb::identifier(name);
    Ok((format!("{}.{}", quoted(schema), quoted(name)), row.get(4)?))
}

/// Refuses a function that somebody else could have written who may not act as the current user: calling it would run
/// his code with the user's rights.
///
/// # Errors
/// 42501; 42704 where it is gone.
pub(super) fn check_callable(schema: &str, name: &str) -> Result<()> {
    let sql = "SELECT p.prosecdef OR o.rolsuper OR pg_catalog.pg_has_role(p.proowner, $3, 'MEMBER'), o.rolname::text
        FROM pg_catalog.pg_proc p
        JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
        JOIN pg_catalog.pg_roles o ON o.oid = p.proowner
        WHERE n.nspname = $1::name AND p.proname = $2::name AND p.prokind = 'f'
            AND p.proargtypes::text = 'jsonb'::regtype::oid::text";
    let row = read(sql, &[schema.into(), name.into(), current_user().into()])?.one()?;
    let row = row.ok_or_else(|| {
        Error::new(Code::NoSuchObject, format!("function {schema}.{name}(jsonb) does not exist any more"))
    })?;
    if row.get::<bool>(0)? {
        return Ok(());
    }
    let message = format!("function {schema}.{name}(jsonb) belongs to role \"{}\"", row.get::<String>(1)?);
    Err(Error::new(Code::Privilege, message)
        .detail("It would run with your rights, and its owner could change what it does.")
        .hint("Take a function of yours, one of a member of your role, or one that is SECURITY DEFINER."))
}
