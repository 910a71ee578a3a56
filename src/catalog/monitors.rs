//! Monitors: what is watched, how and when. Tables and views are in `sql/monitors.sql`; a monitor runs as a job of its
//! schedule (`pg::monitoring` does what the job does). `measurements` has what they saw, `alerts` what they raised.

use super::models::{self, missing};
use super::queue::{self, Terms, Work};
use super::reference::{PRODUCTION, Reference, Which, check_name};
use super::resolve::{Resolved, resolve};
use super::schedules::{self, Schedule};
use super::{read, write};
use crate::pg::datum::{Jsonb, TextArray, cstring};
use crate::pg::error::{Code, Error, Result};
use crate::pg::role::{Settings, current_user};
use crate::pg::spi;
use engine::Kind;
use engine::drift::alarm::Rules;
use engine::gate::Gate;
use pgrx::pg_sys::Oid;
use serde_json::json;

/// What the schedule of a monitor and the pipeline that trains for it are called: this before its name.
pub const PREFIX: &str = "monitor ";

/// A monitor to be.
pub struct Wanted<'a> {
    /// Its name, one in the database.
    pub name: &'a str,
    /// `name` or `name@alias`, or `name@7` for an alert alone.
    pub model: &'a str,
    /// A relation or a SELECT.
    pub source: &'a str,
    /// When it runs, as cron says it; none for by hand only.
    pub schedule: Option<&'a str>,
    /// The column whose times deal rows to windows.
    pub time_column: Option<&'a str>,
    /// How long a window is, as an interval.
    pub window_size: Option<&'a str>,
    /// Where the clock hangs.
    pub time_zone: &'a str,
    /// What raises an alarm, as JSON.
    pub thresholds: &'a str,
    /// `alert`, `retrain` or `promote`.
    pub action: &'a str,
    /// A function of `jsonb` that is told of alarms.
    pub on_alert: Option<&'a str>,
    /// What to train on; the source of the version's training where there is none.
    pub retrain_source: Option<&'a str>,
    /// What a new version must meet to go live.
    pub gate: Option<&'a str>,
}

/// A monitor.
pub struct Monitor {
    /// Its name.
    pub name: String,
    /// Who made it.
    pub role: Oid,
    /// The model's row.
    pub model: i64,
    /// The model's name.
    pub model_name: String,
    /// The alias or the version that it watches.
    pub which: String,
    /// A relation or a SELECT.
    pub source: String,
    /// What the source's names are looked up in.
    pub search_path: String,
    /// The column whose times deal rows to windows.
    pub time_column: Option<String>,
    /// How long a window is.
    pub window_size: Option<String>,
    /// Where the clock hangs.
    pub time_zone: String,
    /// What raises an alarm.
    pub rules: Rules,
    /// What is done then.
    pub action: String,
    /// What to train on.
    pub retrain_source: Option<String>,
    /// What a new version must meet to go live.
    pub gate: Option<String>,
    /// Whether a function is told of alarms.
    pub calls: bool,
}

/// Makes a monitor with its schedule, in the place of the one of that name. The caller has checked what needs the source.
///
/// # Errors
/// 22023 for what is none; 42704 for the model, the version or the function; 42501 for another role's monitor, and where
/// the model is to be trained and is another's.
pub fn put(wanted: &Wanted) -> Result<()> {
    queue::check_submitter()?;
    let name = check_name("monitor name", wanted.name)?;
    let rules = Jsonb(wanted.thresholds.into());
    let reference = Reference::parse(wanted.model)?;
    check_action(wanted, &reference)?;
    let (from_size, function) = (wanted.window_size, wanted.on_alert.map(function).transpose()?);
    if let Some(size) = from_size {
        check_size(size)?;
    }
    let path = "SELECT pg_catalog.current_setting('search_path')";
    let path: String = only(spi::select(path, &[])?)?.get(0)?;
    let which = super::reference::suffix(wanted.model);
    let sql = "INSERT INTO damson_drift.monitors AS m (name, role, model, which, source, search_path, time_column,
            window_size, time_zone, thresholds, action, on_alert, retrain_source, gate)
        SELECT $1, $2::regrole, d.id, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14
        FROM damson_catalog.models d WHERE d.name = $3
        ON CONFLICT (name) DO UPDATE SET role = excluded.role, model = excluded.model, which = excluded.which,
            source = excluded.source, search_path = excluded.search_path, time_column = excluded.time_column,
            window_size = excluded.window_size, time_zone = excluded.time_zone, thresholds = excluded.thresholds,
            action = excluded.action, on_alert = excluded.on_alert, retrain_source = excluded.retrain_source,
            gate = excluded.gate, changed = pg_catalog.now()
        WHERE pg_catalog.pg_has_role($2, m.role::oid, 'USAGE')
        RETURNING m.id";
    let params = [
        name.into(),
        current_user().into(),
        reference.model.into(),
        which.into(),
        wanted.source.into(),
        (&path).into(),
        wanted.time_column.into(),
        wanted.window_size.into(),
        wanted.time_zone.into(),
        (&rules).into(),
        wanted.action.into(),
        function.as_ref().into(),
        wanted.retrain_source.into(),
        wanted.gate.into(),
    ];
    if write(sql, &params)?.is_empty() {
        let message = format!("permission denied to change monitor \"{name}\"");
        return Err(Error::new(Code::Privilege, message).hint("It is another role's; choose another name."));
    }
    let schedule = format!("{PREFIX}{name}");
    match wanted.schedule {
        None => schedules::remove(&schedule, true).map(drop),
        Some(cron) => schedules::put(&Schedule {
            name: &schedule,
            cron,
            time_zone: wanted.time_zone,
            work: &Work {
                kind: "run_monitor",
                about: Some(name),
                command: &json!({ "with": { "name": name } }),
            },
            terms: Terms::default(),
        }),
    }
}

fn check_action(wanted: &Wanted, reference: &Reference) -> Result<()> {
    if !matches!(wanted.action, "alert" | "retrain" | "promote") {
        let message = format!("action is \"{}\", expected alert, retrain or promote", wanted.action);
        return Err(Error::new(Kind::Parameter, message));
    }
    match (wanted.action, wanted.gate) {
        ("promote", None) => {
            return Err(Error::new(Kind::Parameter, "action is promote, and no gate is given")
                .hint("For example gate => 'rmse <= production.rmse and drift_share < 0.1'."));
        }
        ("promote", Some(gate)) => drop(Gate::parse(gate)?),
        (_, Some(_)) => {
            return Err(Error::new(Kind::Parameter, "a gate is given, and action is not promote"));
        }
        ("alert", None) if wanted.retrain_source.is_some() => {
            return Err(Error::new(Kind::Parameter, "retrain_source is given, and action is alert"));
        }
        _ => {}
    }
    if wanted.action == "alert" {
        return Ok(());
    }
    if !matches!(reference.which, Which::Alias(_)) {
        let message = format!("the monitor watches \"{}\", which no training changes", wanted.model);
        return Err(Error::new(Kind::Parameter, message).hint("Watch an alias, such as production."));
    }
    // As of what it will do: to train and to deploy.
    models::check_trainable(reference.model)?.map(drop).ok_or_else(|| missing(reference.model))
}

/// A function of `jsonb` by its name: its schema and its own.
fn function(name: &str) -> Result<TextArray> {
    let sql = "SELECT n.nspname::text, p.proname::text, p.prokind = 'f' FROM pg_catalog.pg_proc p
        JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
        WHERE p.oid = pg_catalog.to_regprocedure($1 OPERATOR(pg_catalog.||) '(jsonb)')";
    let row = spi::select(sql, &[name.into()])?.one()?;
    let row = row.ok_or_else(|| {
        Error::new(Code::NoSuchObject, format!("function {name}(jsonb) does not exist"))
            .hint("on_alert is the name of a function that takes the alert as jsonb.")
    })?;
    let (schema, name): (String, String) = (row.get(0)?, row.get(1)?);
    if !row.get::<bool>(2)? {
        return Err(Error::new(Kind::Parameter, format!("{schema}.{name}(jsonb) is not a function")));
    }
    super::alerts::check_callable(&schema, &name)?;
    Ok(TextArray(vec![Some(schema), Some(name)]))
}

fn check_size(size: &str) -> Result<()> {
    let sql = "SELECT $1::interval > '0'";
    if only(read(sql, &[size.into()])?)?.get::<bool>(0)? {
        return Ok(());
    }
    Err(Error::new(Kind::Parameter, format!("window_size is '{size}', expected an interval above 0")))
}

/// The monitor of that name, of the current user's: who runs one runs what its source and functions do, so nobody else
/// may, whatever his rights.
///
/// # Errors
/// 42704 where there is none that the user may know of; 42501 where it is another role's.
pub fn find(name: &str) -> Result<Monitor> {
    let sql = "SELECT m.role::oid, m.model, d.name, m.which, m.source, m.search_path, m.time_column, m.window_size,
            m.time_zone, m.thresholds::text, m.action, m.retrain_source, m.gate, m.on_alert IS NOT NULL, m.role::text
        FROM damson_drift.monitors m JOIN damson_catalog.models d ON d.id = m.model
        WHERE m.name = $1 AND pg_catalog.pg_has_role($2, m.role::oid, 'USAGE')";
    let row = write(sql, &[name.into(), current_user().into()])?.one()?;
    let row = row.ok_or_else(|| no_monitor(name))?;
    let role: Oid = row.get(0)?;
    if role != current_user() {
        return Err(of_another(name, &row.get::<String>(14)?));
    }
    Ok(Monitor {
        name: name.into(),
        role,
        model: row.get(1)?,
        model_name: row.get(2)?,
        which: row.get(3)?,
        source: row.get(4)?,
        search_path: row.get(5)?,
        time_column: row.get(6)?,
        window_size: row.get(7)?,
        time_zone: row.get(8)?,
        rules: Rules::parse(&row.get::<String>(9)?)?,
        action: row.get(10)?,
        retrain_source: row.get(11)?,
        gate: row.get(12)?,
        calls: row.get(13)?,
    })
}

fn no_monitor(name: &str) -> Error {
    Error::new(Code::NoSuchObject, format!("monitor \"{name}\" does not exist"))
        .hint("SELECT monitor FROM damson.monitors shows those of your roles.")
}

pub(super) fn of_another(name: &str, role: &str) -> Error {
    Error::new(Code::Privilege, format!("monitor \"{name}\" runs as role {role}"))
        .hint("What it reads and calls is that role's: its schedule runs it, or that role does.")
}

/// Drops a monitor with its schedule; its history stays. Says whether there was one.
///
/// # Errors
/// 42704 unless `missing_ok`.
pub fn remove(name: &str, missing_ok: bool) -> Result<bool> {
    crate::pg::change::check_possible();
    let sql = "DELETE FROM damson_drift.monitors m
        WHERE m.name = $1 AND pg_catalog.pg_has_role($2, m.role::oid, 'USAGE')";
    if write(sql, &[name.into(), current_user().into()])?.processed == 0 {
        return if missing_ok { Ok(false) } else { Err(no_monitor(name)) };
    }
    schedules::remove(&format!("{PREFIX}{name}"), true)?;
    Ok(true)
}

/// What goes with a model; `$1` is its row.
pub(super) const DROP: &[&str] = &[
    "DELETE FROM damson_catalog.schedules s USING damson_drift.monitors m
        WHERE m.model = $1 AND s.name = 'monitor ' || m.name AND s.role = m.role AND s.command ->> 'kind' = 'run_monitor'",
    "DELETE FROM damson_drift.monitors WHERE model = $1",
    "DELETE FROM damson_drift.alerts WHERE model = $1",
    "DELETE FROM damson_drift.findings f USING damson_drift.measurements q
        WHERE q.model = $1 AND f.measurement = q.id",
    "DELETE FROM damson_drift.measurements WHERE model = $1",
];

/// A window, its ends as texts that mean the same everywhere.
#[derive(Debug, Clone)]
pub struct Window {
    /// The first moment.
    pub from: String,
    /// The first moment after it.
    pub until: String,
    /// Both on the monitor's clock, without a zone.
    pub civil: (String, String),
}

/// The window that ends at a time, or now.
///
/// # Errors
/// Raises the server's for what is no time.
pub fn window(monitor: &Monitor, until: Option<&str>) -> Result<Option<Window>> {
    let Some(size) = monitor.window_size.as_deref() else { return Ok(None) };
    // Days of an interval are those of the monitor's clock.
    let _settings = Settings::set(&[(c"TimeZone", cstring(&monitor.time_zone)), (c"DateStyle", c"ISO, YMD")]);
    let sql = "SELECT w.f::text, w.u::text, w.f::timestamp::text, w.u::timestamp::text FROM (
            SELECT u.u - $2::interval AS f, u.u
            FROM (SELECT coalesce($1::timestamptz, pg_catalog.clock_timestamp()) AS u) u) w";
    let row = only(read(sql, &[until.into(), size.into()])?)?;
    Ok(Some(Window { from: row.get(0)?, until: row.get(1)?, civil: (row.get(2)?, row.get(3)?) }))
}

/// The version that a monitor watches, or another of its model.
///
/// # Errors
/// As for any reference to a model.
pub fn watched(monitor: &Monitor, version: Option<i64>) -> Result<std::rc::Rc<Resolved>> {
    let model = &monitor.model_name;
    match version {
        Some(version) => resolve(&format!("{model}@{version}")),
        None if monitor.which == PRODUCTION => resolve(model),
        None => resolve(&format!("{model}@{}", monitor.which)),
    }
}

pub(super) fn only(rows: spi::Rows) -> Result<spi::Row> {
    rows.one()?.ok_or_else(|| Error::internal("a statement returned no row"))
}
