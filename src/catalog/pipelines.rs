//! Pipelines and their runs. A step is a job that is blocked until the steps that it needs have succeeded; the launcher
//! lets it go (`promote`), with their results in the places of its references.

use super::queue::{self, Place, Terms, Work};
use super::{read, write};
use crate::pg::datum::{Jsonb, TextArray};
use crate::pg::error::{Code, Error, Result};
use crate::pg::role::current_user;
use engine::pipeline::{Pipeline, Step, resolve};
use serde_json::{Map, Value};

/// Stores a pipeline under a name, in the place of the current user's one of that name.
///
/// # Errors
/// 22023 for what is no pipeline; 42501 where the name is another role's.
pub fn put(name: &str, definition: &str) -> Result<()> {
    queue::check_submitter()?;
    let name = super::reference::check_name("pipeline name", name)?;
    let pipeline = Pipeline::parse(definition)?;
    for step in &pipeline.steps {
        check_verb(step)?;
        terms(step).check()?;
    }
    let sql =
        "INSERT INTO damson_catalog.pipelines AS p (name, role, definition) VALUES ($1, $2::regrole, $3)
        ON CONFLICT (name) DO UPDATE SET definition = excluded.definition, role = excluded.role,
            changed = pg_catalog.clock_timestamp()
        WHERE pg_catalog.pg_has_role($2, p.role::oid, 'USAGE')";
    let stored = Jsonb(definition.into());
    if write(sql, &[name.into(), current_user().into(), (&stored).into()])?.processed == 0 {
        let message = format!("permission denied to change pipeline \"{name}\"");
        return Err(Error::new(Code::Privilege, message).hint("It is another role's; choose another name."));
    }
    Ok(())
}

/// Whether a verb is a function or a procedure of the extension's.
///
/// # Errors
/// 42704 for one that is neither.
pub fn is_procedure(verb: &str) -> Result<bool> {
    let sql = "SELECT pg_catalog.bool_or(p.prokind = 'p') FROM pg_catalog.pg_proc p
        WHERE p.pronamespace = 'damson'::regnamespace AND p.proname = $1::name AND p.prokind IN ('f', 'p')";
    let row = read(sql, &[verb.into()])?.one()?;
    match row.map(|row| row.get::<Option<bool>>(0)).transpose()?.flatten() {
        Some(procedure) => Ok(procedure),
        None => Err(Error::new(
            Code::NoSuchObject,
            format!("there is no verb \"{verb}\", expected sql or one of damson's"),
        )
        .hint("Steps do sql, train, search, evaluate, drift, score_into, deploy, rollback and the like.")),
    }
}

fn check_verb(step: &Step) -> Result<()> {
    if step.verb == "sql" {
        return Ok(());
    }
    is_procedure(&step.verb)
        .map(drop)
        .map_err(|e| Error { message: format!("step \"{}\": {}", step.name, e.message), ..e })
}

fn terms(step: &Step) -> Terms {
    Terms { retries: step.retries, timeout: step.timeout, ..Terms::default() }
}

/// What a step or a job is about, for people who look.
pub fn about(command: &Value) -> Option<String> {
    let named = ["model", "name", "target_table"].iter().find_map(|key| command["with"][*key].as_str());
    let text = named.or_else(|| command["sql"].as_str())?;
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    Some(if line.chars().count() > 80 { line.chars().take(77).chain("...".chars()).collect() } else { line })
}

/// Starts a run of a pipeline. Gives its number.
///
/// # Errors
/// 42704 where there is no such pipeline of the current user's; 22023 for parameters that it does not have.
pub fn run(name: &str, parameters: &str) -> Result<i64> {
    queue::check_submitter()?;
    let settings = queue::session_settings()?;
    let sql = "SELECT p.id, p.definition::text FROM damson_catalog.pipelines p
        WHERE p.name = $1 AND pg_catalog.pg_has_role($2, p.role::oid, 'USAGE')";
    let row = write(sql, &[name.into(), current_user().into()])?.one()?;
    let row = row.ok_or_else(|| {
        Error::new(Code::NoSuchObject, format!("pipeline \"{name}\" does not exist"))
            .hint("SELECT name FROM damson.pipelines shows those of your roles.")
    })?;
    let pipeline = Pipeline::parse(&row.get::<String>(1)?)?;
    let parameters = Jsonb::from(&Value::Object(pipeline.with_parameters(parameters)?));
    let sql =
        "INSERT INTO damson_catalog.pipeline_runs (pipeline, parameters, role) VALUES ($1, $2, $3::regrole)
        RETURNING id";
    let row = write(sql, &[row.get::<i64>(0)?.into(), (&parameters).into(), current_user().into()])?.one()?;
    let run: i64 = row.ok_or_else(|| Error::internal("an insert returned no row"))?.get(0)?;
    for step in &pipeline.steps {
        submit(run, step, &settings)?;
    }
    crate::worker::wake_at_commit();
    Ok(run)
}

fn submit(run: i64, step: &Step, settings: &Jsonb) -> Result<()> {
    let about = about(&step.command);
    let work = Work { kind: &step.verb, about: about.as_deref(), command: &step.command };
    queue::submit_step(&work, terms(step), settings, &Place { run, step: &step.name, after: &step.after })
        .map(drop)
}

/// Runs the steps of a run again that failed, were cancelled or skipped, as the pipeline now defines them. Gives how many.
///
/// # Errors
/// 42704 where there is no such run of the current user's; 55000 where nothing is to be done again.
pub fn run_again(run: i64) -> Result<i64> {
    queue::check_submitter()?;
    let settings = queue::session_settings()?;
    let pipeline = Pipeline::parse(&owned(run)?)?;
    let sql = "SELECT j.step, j.state FROM damson_catalog.jobs j WHERE j.pipeline_run = $1 FOR UPDATE";
    let mut states: Vec<(String, String)> = vec![];
    for row in &write(sql, &[run.into()])? {
        states.push((row.get(0)?, row.get(1)?));
    }
    let mut again = 0;
    for step in &pipeline.steps {
        let state = states.iter().find(|(name, _)| *name == step.name).map(|(_, state)| state.as_str());
        match state {
            Some("failed" | "cancelled" | "skipped") => {
                let sql = "UPDATE damson_catalog.jobs SET kind = $3, about = $4, command = $5, settings = $6,
                        role = $7::regrole, state = 'blocked', retries = $8, timeout = $9, after = $10, failures = 0,
                        interruptions = 0, started = NULL, finished = NULL, error = NULL, sqlstate = NULL
                    WHERE pipeline_run = $1 AND step = $2";
                let command = Jsonb::from(&step.command);
                let (about, after) =
                    (about(&step.command), TextArray(step.after.iter().cloned().map(Some).collect()));
                let params = [
                    run.into(),
                    (&step.name).into(),
                    (&step.verb).into(),
                    about.as_deref().into(),
                    (&command).into(),
                    (&settings).into(),
                    current_user().into(),
                    step.retries.into(),
                    step.timeout.into(),
                    (&after).into(),
                ];
                write(sql, &params)?;
                again += 1;
            }
            Some(_) => {}
            None => {
                submit(run, step, &settings)?;
                again += 1;
            }
        }
    }
    for (name, state) in &states {
        let gone = pipeline.steps.iter().all(|s| s.name != *name);
        if gone && matches!(state.as_str(), "failed" | "cancelled" | "skipped") {
            let sql = "DELETE FROM damson_catalog.jobs WHERE pipeline_run = $1 AND step = $2";
            write(sql, &[run.into(), name.into()])?;
        }
    }
    if again == 0 {
        return Err(Error::new(
            Code::NotReady,
            format!("run {run} has no step that failed, was cancelled or skipped"),
        ));
    }
    crate::worker::wake_at_commit();
    Ok(again)
}

/// The definition of the pipeline of a run of the current user's.
fn owned(run: i64) -> Result<String> {
    let sql = "SELECT p.definition::text FROM damson_catalog.pipeline_runs r
        JOIN damson_catalog.pipelines p ON p.id = r.pipeline
        WHERE r.id = $1 AND pg_catalog.pg_has_role($2, p.role::oid, 'USAGE')
            AND pg_catalog.pg_has_role($2, r.role::oid, 'USAGE')";
    let row = write(sql, &[run.into(), current_user().into()])?.one()?;
    let row = row.ok_or_else(|| {
        Error::new(Code::NoSuchObject, format!("run {run} of a pipeline does not exist"))
            .hint("SELECT name, run, state FROM damson.pipelines shows those of your roles.")
    })?;
    row.get(0)
}

/// Cancels what has not ended of a run. Gives how many steps.
///
/// # Errors
/// 42704 where there is no such run of the current user's.
pub fn cancel(run: i64) -> Result<i64> {
    crate::pg::change::check_possible();
    owned(run)?;
    let sql = "UPDATE damson_catalog.jobs j SET state = 'cancelled', finished = pg_catalog.clock_timestamp()
        WHERE j.pipeline_run = $1 AND j.state IN ('blocked', 'waiting', 'running')
        RETURNING j.id, j.pid IS NOT NULL";
    let rows = write(sql, &[run.into()])?;
    let mut begun: Vec<i64> = vec![];
    for row in &rows {
        if row.get::<bool>(1)? {
            begun.push(row.get(0)?);
        }
    }
    queue::interrupt(&begun)?;
    crate::worker::wake_at_commit();
    Ok(rows.len() as i64)
}

/// Drops a pipeline with its runs. Says whether there was one.
///
/// # Errors
/// 42704 unless `missing_ok`; 55000 while one of its runs goes on.
pub fn remove(name: &str, missing_ok: bool) -> Result<bool> {
    crate::pg::change::check_possible();
    let sql = "SELECT p.id, EXISTS (
            SELECT FROM damson_catalog.jobs j JOIN damson_catalog.pipeline_runs r ON r.id = j.pipeline_run
            WHERE r.pipeline = p.id AND j.state IN ('blocked', 'waiting', 'running'))
        FROM damson_catalog.pipelines p
        WHERE p.name = $1 AND pg_catalog.pg_has_role($2, p.role::oid, 'USAGE') FOR UPDATE";
    let Some(row) = write(sql, &[name.into(), current_user().into()])?.one()? else {
        return if missing_ok {
            Ok(false)
        } else {
            Err(Error::new(Code::NoSuchObject, format!("pipeline \"{name}\" does not exist")))
        };
    };
    if row.get::<bool>(1)? {
        return Err(Error::new(Code::NotReady, format!("pipeline \"{name}\" is running"))
            .hint("CALL damson.cancel_pipeline(run) ends a run; damson.pipelines shows them."));
    }
    let id: i64 = row.get(0)?;
    for sql in [
        "DELETE FROM damson_catalog.jobs j USING damson_catalog.pipeline_runs r
            WHERE r.pipeline = $1 AND j.pipeline_run = r.id",
        "DELETE FROM damson_catalog.pipeline_runs WHERE pipeline = $1",
        "DELETE FROM damson_catalog.pipelines WHERE id = $1",
    ] {
        write(sql, &[id.into()])?;
    }
    Ok(true)
}

/// Lets steps go whose turn has come, and skips those whose turn will never come.
///
/// # Errors
/// Only faults of the catalog.
pub fn promote() -> Result<()> {
    loop {
        let sql = "SELECT j.id, j.pipeline_run, j.command::text, n.broken, n.open
            FROM damson_catalog.jobs j
            CROSS JOIN LATERAL (
                SELECT pg_catalog.min(d.step || CASE WHEN d.state = 'failed' THEN ' failed' ELSE ' was ' || d.state END)
                           FILTER (WHERE d.state IN ('failed', 'cancelled', 'skipped')) AS broken,
                       pg_catalog.count(*) FILTER (WHERE d.state <> 'succeeded') > 0 AS open
                FROM damson_catalog.jobs d WHERE d.pipeline_run = j.pipeline_run AND d.step = ANY (j.after)) n
            WHERE j.state = 'blocked' AND (n.broken IS NOT NULL OR NOT n.open)
            FOR UPDATE OF j SKIP LOCKED";
        let rows = write(sql, &[])?;
        if rows.is_empty() {
            return Ok(());
        }
        for row in &rows {
            let (job, run): (i64, i64) = (row.get(0)?, row.get(1)?);
            match row.get::<Option<String>>(3)? {
                Some(why) => end(job, "skipped", None, &format!("step {why}"))?,
                None => release(job, run, &row.get::<String>(2)?)?,
            }
        }
    }
}

fn end(job: i64, state: &str, sqlstate: Option<&str>, why: &str) -> Result<()> {
    let sql = "UPDATE damson_catalog.jobs SET state = $2, finished = pg_catalog.clock_timestamp(), sqlstate = $3, error = $4
        WHERE id = $1";
    write(sql, &[job.into(), state.into(), sqlstate.into(), why.into()])?;
    Ok(())
}

fn release(job: i64, run: i64, command: &str) -> Result<()> {
    let sql = "SELECT r.parameters::text, (
            SELECT coalesce(pg_catalog.jsonb_object_agg(d.step, coalesce(d.result, '{}')), '{}')::text
            FROM damson_catalog.jobs d WHERE d.pipeline_run = r.id AND d.state = 'succeeded')
        FROM damson_catalog.pipeline_runs r WHERE r.id = $1";
    let row = write(sql, &[run.into()])?.one()?;
    let row = row.ok_or_else(|| Error::internal("a run of a pipeline is gone"))?;
    let map = |i: usize| -> Result<Map<String, Value>> {
        let text: String = row.get(i)?;
        serde_json::from_str(&text)
            .map_err(|e| Error::internal(format!("a run of a pipeline is damaged: {e}")))
    };
    let template: Value = serde_json::from_str(command)
        .map_err(|e| Error::internal(format!("a job's command is damaged: {e}")))?;
    match resolve(&template, &map(0)?, &map(1)?) {
        Ok(command) => {
            let about = about(&command);
            let command = Jsonb::from(&command);
            let sql = "UPDATE damson_catalog.jobs SET state = 'waiting', command = $2, about = $3,
                due = pg_catalog.clock_timestamp() WHERE id = $1";
            write(sql, &[job.into(), (&command).into(), about.as_deref().into()])?;
            Ok(())
        }
        Err(e) => end(job, "failed", Some("22023"), &e.message),
    }
}
