//! What a monitor does when it runs: a window of its source beside what the model was trained on. Callers:
//! `damson.monitor`, which checks what can be checked beforehand, and `damson.run_monitor`. All runs with the rights of
//! the current user, who is the one that made the monitor.

use super::datum::cstring;
use super::error::{Error, Result};
use super::query::{self, Wanted as Columns, from_item};
use super::role::Settings;
use super::verb::{identifier, quoted};
use super::{settings, spi, work};
use crate::catalog::measurements::{self, Measured};
use crate::catalog::monitors::{self, Monitor, Wanted, Window};
use crate::catalog::{Resolved, alerts, baselines, resolve};
use engine::Kind;
use engine::drift::Baseline;
use engine::drift::alarm::{Rules, Watch};
use engine::drift::baseline::Predictions;
use engine::evaluation::Columns as Roles;
use engine::frame::{Frame, unknown_column};
use pgrx::pg_sys::{self, Oid};
use std::time::Instant;

/// What a run found.
pub struct Found {
    /// The model's name.
    pub model: String,
    /// The version that was measured.
    pub version: i64,
    /// Rows of the window.
    pub rows: i64,
    /// The share of features that drifted.
    pub drift_share: Option<f64>,
    /// `silent`, `alarm` or `too few rows`.
    pub state: &'static str,
    /// What drifted.
    pub culprits: Vec<String>,
    /// The alert that was raised.
    pub alert: Option<i64>,
    /// The run of the pipeline that trains anew.
    pub pipeline_run: Option<i64>,
}

/// Makes a monitor, after a look at the source without running it.
///
/// # Errors
/// Those of [`monitors::put`]; 42703 for columns that the source lacks; 42804 for a time column that is none.
pub fn make(wanted: &Wanted) -> Result<()> {
    let rules = Rules::parse(wanted.thresholds)?;
    let resolved = resolve(wanted.model)?;
    if resolved.version == 0 {
        return Err(Error::new(Kind::Parameter, "the model is given as text, expected a name"));
    }
    let baseline = baselines::of(&resolved)?;
    let there = query::describe(wanted.source)?;
    match (wanted.time_column, wanted.window_size) {
        (Some(column), Some(_)) => drop(time_type(&there, column)?),
        (None, Some(_)) => return Err(refused("window_size is given, and no time_column")),
        (Some(_), None) => {
            return Err(refused("time_column is given, and no window_size")
                .hint("For example window_size => '7 days'."));
        }
        (None, None) => {}
    }
    let names = || there.iter().map(|c| c.0.as_str());
    for name in columns(&resolved, &baseline, &rules, &there) {
        if !names().any(|n| n == name) {
            return Err(unknown_column(&name, names()).into());
        }
    }
    monitors::put(wanted)
}

fn refused(message: &str) -> Error {
    Error::new(Kind::Parameter, message)
}

/// The type of the time column.
fn time_type(there: &[(String, Oid)], column: &str) -> Result<Oid> {
    let names = there.iter().map(|c| c.0.as_str());
    let found = there.iter().find(|c| c.0 == column);
    let oid = found.ok_or_else(|| Error::from(unknown_column(column, names)))?.1;
    // SAFETY: a catalog look-up.
    let oid = unsafe { pg_sys::getBaseType(oid) };
    if [pg_sys::DATEOID, pg_sys::TIMESTAMPOID, pg_sys::TIMESTAMPTZOID].contains(&oid) {
        return Ok(oid);
    }
    let message = format!(
        "column \"{column}\" is {}, expected a date or a timestamp",
        super::reader::type_name(oid, -1)
    );
    Err(Error::new(Kind::Type, message).hint("Cast it in a SELECT as source: to_timestamp(...) for seconds."))
}

/// The columns that are read of a source.
fn columns(resolved: &Resolved, baseline: &Baseline, rules: &Rules, there: &[(String, Oid)]) -> Vec<String> {
    let chosen = rules.columns.as_deref();
    let card = resolved.scorer.card();
    let is_there = |name: &&str| there.iter().any(|c| c.0 == *name);
    let mut wanted: Vec<String> = baseline.features(chosen).map(String::from).collect();
    wanted.extend(baseline.target(chosen).filter(is_there).map(String::from));
    if !rules.metrics.is_empty() {
        wanted.extend(card.target.iter().chain(&card.group).cloned());
    }
    if !rules.metrics.is_empty() || rules.predictions && baseline.predicts(chosen) {
        wanted.extend(card.inputs.iter().map(|i| i.name.clone()).chain(card.offset.clone()));
    }
    let mut columns: Vec<String> = vec![];
    for name in wanted {
        if !columns.contains(&name) {
            columns.push(name);
        }
    }
    columns
}

/// Runs a monitor of the current user's. `until` ends the window, `version` measures another version of the model, which
/// then raises no alert.
///
/// # Errors
/// Those of [`monitors::find`], of the model, the source and the comparison.
pub fn run(name: &str, until: Option<&str>, version: Option<i64>) -> Result<Found> {
    super::change::check_possible();
    let clock = Instant::now();
    let monitor = monitors::find(name)?;
    let resolved = monitors::watched(&monitor, version)?;
    let baseline = baselines::of(&resolved)?;
    let window = monitors::window(&monitor, until)?;
    let frame = read(&monitor, &resolved, &baseline, window.as_ref())?;
    let rows = frame.rows as i64;
    let watch = if (frame.rows as u64) < monitor.rules.min_rows {
        None
    } else {
        Some(watch(&monitor, &resolved, &baseline, &frame)?)
    };
    let measured = Measured {
        monitor: &monitor,
        version: &resolved,
        candidate: version.is_some(),
        window: window.as_ref(),
        rows,
        watch: watch.as_ref(),
        seconds: clock.elapsed().as_secs_f64(),
    };
    let measurement = measurements::record(&measured)?;
    let state = measured.state();
    let raised = match &watch {
        Some(watch) if watch.alarm && !measured.candidate => {
            Some(alerts::raise(&measured, measurement, &watch.message())?)
        }
        _ => None,
    };
    let found = watch.as_ref();
    Ok(Found {
        model: resolved.model.clone(),
        version: resolved.version,
        rows,
        drift_share: found.map(|w| w.drift_share).filter(|s| !s.is_nan()),
        state,
        culprits: found.map(Watch::culprits).unwrap_or_default(),
        alert: raised.map(|r| r.0),
        pipeline_run: raised.and_then(|r| r.1),
    })
}

fn read(
    monitor: &Monitor,
    resolved: &Resolved,
    baseline: &Baseline,
    window: Option<&Window>,
) -> Result<Frame> {
    // The names of the source mean what they meant where the monitor was made.
    let _path = Settings::set(&[(c"search_path", cstring(&monitor.search_path))]);
    let there = query::describe(&monitor.source)?;
    let wanted = columns(resolved, baseline, &monitor.rules, &there);
    let source = match (&monitor.time_column, window) {
        (Some(column), Some(window)) => within(&monitor.source, column, time_type(&there, column)?, window)?,
        _ => monitor.source.clone(),
    };
    query::read(&source, Columns::Only(&wanted), settings::max_memory())
}

/// The rows of a source whose time is in a window.
fn within(source: &str, column: &str, of: Oid, window: &Window) -> Result<String> {
    let moment = |zoned: &str, civil: &str| match of {
        pg_sys::TIMESTAMPTZOID => format!("{}::pg_catalog.timestamptz", quoted(zoned)),
        pg_sys::TIMESTAMPOID => format!("{}::pg_catalog.timestamp", quoted(civil)),
        _ => format!("{}::pg_catalog.timestamp::pg_catalog.date", quoted(civil)),
    };
    let column = identifier(column);
    Ok(format!(
        "SELECT * FROM {} WHERE \"damson row\".{column} OPERATOR(pg_catalog.>=) {} AND \"damson row\".{column} OPERATOR(pg_catalog.<) {}",
        from_item(source)?,
        moment(&window.from, &window.civil.0),
        moment(&window.until, &window.civil.1)
    ))
}

fn watch(monitor: &Monitor, resolved: &Resolved, baseline: &Baseline, frame: &Frame) -> Result<Watch> {
    let scorer = &*resolved.scorer;
    let rules = &monitor.rules;
    let predicts = rules.predictions && baseline.predicts(rules.columns.as_deref());
    let title = work::Title { verb: "run_monitor", object: &resolved.model };
    let done = work::run(title, scorer.card().seed, |cx| {
        let given = if predicts { scorer.predictions(frame, cx)? } else { Predictions::default() };
        let measured = if rules.metrics.is_empty() {
            vec![]
        } else {
            scorer.evaluate(frame, Roles { target: None, weight: None }, None, rules.confidence(), cx)?
        };
        baseline.watch(frame, &given, measured, rules, cx)
    })?;
    Ok(done.value)
}

/// Calls the function of a monitor with one of its alerts.
///
/// # Errors
/// Those of [`alerts::call`] and of the function.
pub fn call_on_alert(alert: i64) -> Result<()> {
    let (function, document) = alerts::call(alert)?;
    // Whatever it gives back, of any type, is dropped.
    spi::execute(&format!("SELECT FROM {function}($1)"), &[(&document).into()]).map(drop)
}
