//! The queue of jobs. Callers: the verbs that submit, cancel and wait, and `src/worker`.
//!
//! ```text
//! blocked ──► waiting ──► running ──► succeeded | failed | cancelled
//!    └► skipped   ▲           │
//!                 └───────────┘ after an error or an interruption, while tries are left
//! ```
//!
//! A job is claimed by the launcher, in a transaction of its own: `running`, and one attempt more. Its worker then
//! does the work and writes `succeeded` in one transaction, and only where the attempt is still the one that it was
//! started for. So what a job does inside the database happens once, whatever dies in between; a job that was cancelled
//! or begun anew meanwhile leaves nothing behind.

use super::{read, write};
use crate::pg::datum::{Jsonb, TextArray};
use crate::pg::error::{Code, Error, Result};
use crate::pg::role::{self, current_user};
use crate::pg::spi;
use engine::Kind;
use pgrx::pg_sys::Oid;
use serde_json::Value;

/// How often a job is begun again after its worker died, so that one that kills its server ends at last.
const INTERRUPTIONS: i64 = 20;
/// How often a job is begun again whose worker could not even begin, later and later: half a minute in all.
const FALSE_STARTS: i64 = 8;

/// How a job is to be run.
#[derive(Debug, Clone, Copy, Default)]
pub struct Terms {
    /// The higher the sooner.
    pub priority: i64,
    /// Times that it is tried again after an error.
    pub retries: i64,
    /// Seconds that it may take.
    pub timeout: Option<f64>,
    /// Seconds before it may begin.
    pub delay: f64,
}

impl Terms {
    /// Checks the numbers.
    ///
    /// # Errors
    /// 22023 for one that is out of range.
    pub fn check(self) -> Result<Terms> {
        let refused = |message: String| Err(Error::new(Kind::Parameter, message));
        if !(0..=100).contains(&self.retries) {
            return refused(format!("retries is {}, expected 0 to 100", self.retries));
        }
        if let Some(timeout) = self.timeout.filter(|t| !(*t > 0.0 && *t <= 1e8)) {
            return refused(format!("timeout is {timeout}, expected a number of seconds above 0"));
        }
        if !(0.0..=1e9).contains(&self.delay) {
            return refused(format!("delay is {}, expected a number of seconds from 0", self.delay));
        }
        Ok(self)
    }
}

/// What a job does: its kind, what it is about, and its command.
#[derive(Debug, Clone)]
pub struct Work<'a> {
    /// `sql`, `train`, ...
    pub kind: &'a str,
    /// Such as the model's name, for people who look.
    pub about: Option<&'a str>,
    /// `{"sql": ...}` or `{"with": {argument: value}}`.
    pub command: &'a Value,
}

/// A step of a run of a pipeline.
pub struct Place<'a> {
    /// The run.
    pub run: i64,
    /// The step's name.
    pub step: &'a str,
    /// The steps that must have succeeded before.
    pub after: &'a [String],
}

/// What the current session has set that a job must find again. Read before the search path is pinned.
///
/// # Errors
/// Only the server's.
pub fn session_settings() -> Result<Jsonb> {
    let sql = "SELECT pg_catalog.jsonb_object_agg(s, pg_catalog.current_setting(s)) FROM pg_catalog.unnest(
        '{search_path,TimeZone,DateStyle,IntervalStyle,damson.device,damson.threads,damson.max_memory,damson.runner,
        damson.checkpoint_interval}'::pg_catalog.text[]) s";
    let row = spi::select(sql, &[])?.one()?;
    row.ok_or_else(|| Error::internal("the session has no settings"))?.get(0)
}

/// Refuses what could not run as the current user, or would run with rights that this call has for a moment only.
///
/// # Errors
/// 55000 for a role that may not log in; 42501 inside a restricted operation.
pub fn check_submitter() -> Result<()> {
    crate::pg::change::check_possible();
    if role::in_restricted_operation() {
        let message = "cannot submit a job within a security-restricted operation";
        return Err(Error::new(Code::Privilege, message));
    }
    let sql = "SELECT r.rolname::text, r.rolcanlogin FROM pg_catalog.pg_roles r WHERE r.oid = $1";
    let row = read(sql, &[current_user().into()])?.one()?;
    let row = row.ok_or_else(|| Error::new(Code::NoSuchObject, "the current role does not exist"))?;
    if !row.get::<bool>(1)? {
        let message =
            format!("role \"{}\" may not log in, so that no job can run as it", row.get::<String>(0)?);
        return Err(Error::new(Code::NotReady, message)
            .hint("Submit as a role that may log in, or ALTER ROLE ... LOGIN."));
    }
    Ok(())
}

/// Puts a job into the queue, as the current user's. Gives its number.
///
/// # Errors
/// Those of [`check_submitter`] and of [`Terms::check`].
pub fn submit(work: &Work, terms: Terms) -> Result<i64> {
    check_submitter()?;
    let settings = session_settings()?;
    let job = insert(work, terms.check()?, &settings, None)?;
    crate::worker::wake_at_commit();
    Ok(job)
}

/// Puts a step of a pipeline's run into the queue: it waits for other steps.
///
/// # Errors
/// Those of [`Terms::check`].
pub fn submit_step(work: &Work, terms: Terms, settings: &Jsonb, place: &Place) -> Result<i64> {
    insert(work, terms.check()?, settings, Some(place))
}

fn insert(work: &Work, terms: Terms, settings: &Jsonb, place: Option<&Place>) -> Result<i64> {
    let sql = "INSERT INTO damson_catalog.jobs (kind, about, command, settings, role, state, priority, due, timeout,
            retries, pipeline_run, step, after)
        VALUES ($1, $2, $3, $4, $5::regrole, $6, $7,
            pg_catalog.clock_timestamp() + pg_catalog.make_interval(secs => $8), $9, $10, $11, $12, $13)
        RETURNING id";
    let command = Jsonb::from(work.command);
    let after = place.map(|p| TextArray(p.after.iter().cloned().map(Some).collect()));
    let params = [
        work.kind.into(),
        work.about.into(),
        (&command).into(),
        settings.into(),
        current_user().into(),
        if place.is_some() { "blocked" } else { "waiting" }.into(),
        terms.priority.into(),
        terms.delay.into(),
        terms.timeout.into(),
        terms.retries.into(),
        place.map(|p| p.run).into(),
        place.map(|p| p.step).into(),
        after.as_ref().into(),
    ];
    let row = write(sql, &params)?.one()?;
    row.ok_or_else(|| Error::internal("an insert returned no row"))?.get(0)
}

/// A job of the current user's roles: its state.
///
/// # Errors
/// 42704 where there is none that he may see.
pub fn state(job: i64) -> Result<String> {
    let sql = "SELECT j.state FROM damson_catalog.jobs j
        WHERE j.id = $1 AND pg_catalog.pg_has_role($2, j.role::oid, 'USAGE')";
    let row = write(sql, &[job.into(), current_user().into()])?.one()?;
    row.ok_or_else(|| no_job(job))?.get(0)
}

fn no_job(job: i64) -> Error {
    Error::new(Code::NoSuchObject, format!("job {job} does not exist"))
        .hint("SELECT job, kind, state FROM damson.jobs shows those of your roles.")
}

/// Cancels a job that has not ended: one that runs is interrupted, and what it did is undone.
///
/// # Errors
/// 42704 where there is none that the current user may cancel; 55000 where it has ended.
pub fn cancel(job: i64) -> Result<()> {
    crate::pg::change::check_possible();
    let sql = "UPDATE damson_catalog.jobs j SET state = 'cancelled', finished = pg_catalog.clock_timestamp()
        WHERE j.id = $1 AND pg_catalog.pg_has_role($2, j.role::oid, 'USAGE')
            AND j.state IN ('blocked', 'waiting', 'running')
        RETURNING j.pid";
    let Some(row) = write(sql, &[job.into(), current_user().into()])?.one()? else {
        let state = state(job)?;
        return Err(Error::new(Code::NotReady, format!("job {job} has ended already: it {}", ended(&state))));
    };
    if row.get::<Option<i32>>(0)?.is_some() {
        interrupt(&[job])?;
    }
    crate::worker::wake_at_commit();
    Ok(())
}

fn ended(state: &str) -> String {
    if matches!(state, "cancelled" | "skipped") { format!("was {state}") } else { state.to_string() }
}

/// Interrupts what workers of these jobs do, in this database. A worker is known by its type, which only it can have.
///
/// # Errors
/// Only the server's.
pub fn interrupt(jobs: &[i64]) -> Result<()> {
    let types: Vec<String> = jobs.iter().map(|job| crate::worker::job_type(*job)).collect();
    let types = TextArray(types.into_iter().map(Some).collect());
    let sql = "SELECT pg_catalog.pg_cancel_backend(a.pid) FROM pg_catalog.pg_stat_activity a
        WHERE a.backend_type = ANY ($1)
            AND a.datid = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())";
    write(sql, &[(&types).into()])?;
    Ok(())
}

/// A job that a worker is to run.
#[derive(Debug, Clone)]
pub struct Claimed {
    /// Its number.
    pub id: i64,
    /// The start that this is.
    pub attempt: i64,
    /// The role that it runs as.
    pub role: Oid,
}

/// Marks jobs that are due as running: the most urgent ones, as many as the limits allow. Jobs that somebody changes
/// right now are left for later.
///
/// # Errors
/// Only faults of the catalog.
pub fn claim(limit: i64, limit_of_role: i64) -> Result<Vec<Claimed>> {
    let sql = "WITH busy AS (
            SELECT j.role, pg_catalog.count(*) AS n FROM damson_catalog.jobs j WHERE j.state = 'running' GROUP BY j.role
        ), ready AS (
            SELECT j.id, j.priority, j.due, coalesce(b.n, 0) + pg_catalog.row_number() OVER (
                PARTITION BY j.role ORDER BY j.priority DESC, j.due, j.id) AS place
            FROM damson_catalog.jobs j LEFT JOIN busy b ON b.role = j.role
            WHERE j.state = 'waiting' AND j.due <= pg_catalog.clock_timestamp()
        ), chosen AS (
            SELECT r.id FROM ready r WHERE r.place <= $2 ORDER BY r.priority DESC, r.due, r.id
            LIMIT greatest(0, $1 - (SELECT coalesce(pg_catalog.sum(n), 0) FROM busy))
        ), locked AS (
            SELECT j.id FROM damson_catalog.jobs j WHERE j.id IN (SELECT c.id FROM chosen c) AND j.state = 'waiting'
            FOR UPDATE SKIP LOCKED
        )
        UPDATE damson_catalog.jobs j
        SET state = 'running', attempt = j.attempt + 1, started = pg_catalog.clock_timestamp(), pid = NULL,
            finished = NULL, error = NULL, sqlstate = NULL
        FROM locked l WHERE j.id = l.id
        RETURNING j.id, j.attempt, j.role::oid, j.priority, j.due";
    let rows = write(sql, &[limit.into(), limit_of_role.into()])?;
    rows.iter().map(|row| Ok(Claimed { id: row.get(0)?, attempt: row.get(1)?, role: row.get(2)? })).collect()
}

/// Gives back a claim for which no worker could be started: as if it had not been, a second later.
///
/// # Errors
/// Only faults of the catalog.
pub fn unclaim(claimed: &Claimed) -> Result<()> {
    let sql = "UPDATE damson_catalog.jobs SET state = 'waiting', attempt = attempt - 1, started = NULL,
            due = pg_catalog.clock_timestamp() + interval '1 second'
        WHERE id = $1 AND attempt = $2 AND state = 'running'";
    write(sql, &[claimed.id.into(), claimed.attempt.into()])?;
    Ok(())
}

/// A job as its worker finds it.
pub struct Begun {
    /// Its kind.
    pub kind: String,
    /// What to do.
    pub command: Value,
    /// Settings and their values.
    pub settings: Value,
}

/// Called by a worker before it begins; none when there is nothing to begin any more.
///
/// # Errors
/// Only faults of the catalog.
pub fn begin(job: i64, attempt: i64, pid: i32) -> Result<Option<Begun>> {
    let sql = "UPDATE damson_catalog.jobs SET pid = $3 WHERE id = $1 AND attempt = $2 AND state = 'running'
        RETURNING kind, command::text, settings::text";
    let Some(row) = write(sql, &[job.into(), attempt.into(), pid.into()])?.one()? else { return Ok(None) };
    let document = |text: String| {
        serde_json::from_str(&text).map_err(|e| Error::internal(format!("a job's command is damaged: {e}")))
    };
    Ok(Some(Begun { kind: row.get(0)?, command: document(row.get(1)?)?, settings: document(row.get(2)?)? }))
}

/// Ends a job in the transaction of its work.
///
/// # Errors
/// `Kind::Cancelled` when the job is not this attempt's any more: the work must be undone.
pub fn succeed(job: i64, attempt: i64, result: Option<&Jsonb>) -> Result<()> {
    let sql = "UPDATE damson_catalog.jobs
        SET state = 'succeeded', finished = pg_catalog.clock_timestamp(), pid = NULL, result = $3
        WHERE id = $1 AND attempt = $2 AND state = 'running'";
    if write(sql, &[job.into(), attempt.into(), result.into()])?.processed == 0 {
        return Err(Error::new(Kind::Cancelled, format!("job {job} was cancelled while it ran")));
    }
    Ok(())
}

/// Why an attempt failed.
pub struct Failure {
    /// The error's SQLSTATE.
    pub sqlstate: String,
    /// The error's message, with its detail and hint.
    pub message: String,
}

/// Notes that an attempt failed: the job waits for another one, later and later, or has failed. A statement that was
/// cancelled is a job that is; trouble that is no fault of the job's (class 40) costs no try.
///
/// # Errors
/// Only faults of the catalog.
pub fn fail(job: i64, attempt: i64, failure: &Failure) -> Result<()> {
    let sql = "UPDATE damson_catalog.jobs j
        SET state = CASE WHEN $3 = '57014' THEN 'cancelled'
                WHEN $3 LIKE '40%' AND j.attempt < 100 OR j.failures < j.retries THEN 'waiting' ELSE 'failed' END,
            failures = j.failures + CASE WHEN $3 LIKE '40%' THEN 0 ELSE 1 END,
            due = pg_catalog.clock_timestamp() + CASE WHEN $3 LIKE '40%' THEN interval '50 ms'
                ELSE least(interval '1 second' * pg_catalog.pow(2, least(j.failures, 20)), interval '1 hour') END,
            finished = pg_catalog.clock_timestamp(), pid = NULL, sqlstate = $3, error = $4
        WHERE j.id = $1 AND j.attempt = $2 AND j.state = 'running'";
    write(sql, &[job.into(), attempt.into(), (&failure.sqlstate).into(), (&failure.message).into()])?;
    Ok(())
}

/// Notes that a worker ended without a word: the job waits again, unless that happened too often. `watched` says that
/// the launcher which started the worker saw its end: then it was no crash of the server.
///
/// # Errors
/// Only faults of the catalog.
pub fn interrupted(job: i64, attempt: i64, watched: bool) -> Result<()> {
    let sql = "UPDATE damson_catalog.jobs j
        SET state = CASE WHEN NOT r.able OR $4 AND j.pid IS NULL AND j.interruptions >= $5 OR j.interruptions >= $3
                THEN 'failed' ELSE 'waiting' END,
            interruptions = j.interruptions + 1, finished = pg_catalog.clock_timestamp(), pid = NULL,
            due = pg_catalog.clock_timestamp() + CASE WHEN $4
                THEN interval '100 ms' * pg_catalog.pow(2, least(j.interruptions, 10)) ELSE interval '0' END,
            sqlstate = CASE WHEN r.able THEN '57P01' ELSE '28000' END,
            error = CASE WHEN r.name IS NULL THEN 'the role that submitted the job does not exist any more'
                WHEN NOT r.login THEN 'role \"' || r.name || '\" may not log in any more'
                WHEN NOT r.able THEN 'role \"' || r.name || '\" may not connect to this database any more'
                WHEN j.pid IS NULL THEN 'the worker of the job could not begin; the server''s log says why'
                ELSE 'the worker of the job ended before the job did; the server''s log says why' END
        FROM (SELECT q.id, a.rolname::text AS name, coalesce(a.rolcanlogin, false) AS login,
                coalesce(a.rolcanlogin AND (a.rolsuper OR pg_catalog.has_database_privilege(
                    a.oid, pg_catalog.current_database(), 'CONNECT')), false) AS able
            FROM damson_catalog.jobs q LEFT JOIN pg_catalog.pg_roles a ON a.oid = q.role::oid
            WHERE q.id = $1) r
        WHERE j.id = r.id AND j.state = 'running' AND j.attempt = $2";
    let params = [job.into(), attempt.into(), INTERRUPTIONS.into(), watched.into(), FALSE_STARTS.into()];
    write(sql, &params)?;
    Ok(())
}

/// Jobs that count as running: number, attempt, and whether a worker of theirs lives.
///
/// # Errors
/// Only faults of the catalog.
pub fn running() -> Result<Vec<(i64, i64, bool)>> {
    let sql = "SELECT j.id, j.attempt, EXISTS (
            SELECT FROM pg_catalog.pg_stat_activity a WHERE a.backend_type = $1 || j.id::text
                AND a.datid = (SELECT d.oid FROM pg_catalog.pg_database d
                               WHERE d.datname = pg_catalog.current_database()))
        FROM damson_catalog.jobs j WHERE j.state = 'running'";
    let rows = write(sql, &[crate::worker::JOB_TYPE.into()])?;
    rows.iter().map(|row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).collect()
}

/// Ends jobs that have run for longer than they may, and interrupts their workers.
///
/// # Errors
/// Only faults of the catalog.
pub fn expire() -> Result<()> {
    let sql = "WITH late AS (
            SELECT j.id FROM damson_catalog.jobs j
            WHERE j.state = 'running'
                AND j.started + pg_catalog.make_interval(secs => j.timeout) <= pg_catalog.clock_timestamp()
            FOR UPDATE SKIP LOCKED)
        UPDATE damson_catalog.jobs j
        SET state = CASE WHEN j.failures < j.retries THEN 'waiting' ELSE 'failed' END, failures = j.failures + 1,
            due = pg_catalog.clock_timestamp()
                + least(interval '1 second' * pg_catalog.pow(2, least(j.failures, 20)), interval '1 hour'),
            finished = pg_catalog.clock_timestamp(), pid = NULL, sqlstate = '57014',
            error = 'the job ran into its timeout of ' || j.timeout::text || ' s'
        FROM late l WHERE j.id = l.id
        RETURNING j.id";
    let late = write(sql, &[])?.iter().map(|row| row.get(0)).collect::<Result<Vec<i64>>>()?;
    if late.is_empty() { Ok(()) } else { interrupt(&late) }
}

/// Seconds until the next thing is to be done: a job is due, a running one may be late, a schedule comes. None where
/// nothing will be. What is due already but not allowed yet does not count.
///
/// # Errors
/// Only faults of the catalog.
pub fn next_event() -> Result<Option<f64>> {
    let sql = "SELECT EXTRACT(EPOCH FROM pg_catalog.min(t.at) - pg_catalog.clock_timestamp())::float8 FROM (
            SELECT pg_catalog.min(j.due) AS at FROM damson_catalog.jobs j
            WHERE j.state = 'waiting' AND j.due > pg_catalog.clock_timestamp()
            UNION ALL
            SELECT pg_catalog.min(j.started + pg_catalog.make_interval(secs => j.timeout))
            FROM damson_catalog.jobs j WHERE j.state = 'running'
            UNION ALL
            SELECT pg_catalog.min(s.next_due) FROM damson_catalog.schedules s) t";
    let row = write(sql, &[])?.one()?;
    row.ok_or_else(|| Error::internal("an aggregate returned no row"))?.get(0)
}

/// How many jobs are due now and how many run.
///
/// # Errors
/// Only faults of the catalog.
pub fn load() -> Result<(i64, i64)> {
    let sql = "SELECT pg_catalog.count(*) FILTER (WHERE j.state = 'waiting' AND j.due <= pg_catalog.clock_timestamp()),
            pg_catalog.count(*) FILTER (WHERE j.state = 'running')
        FROM damson_catalog.jobs j WHERE j.state IN ('waiting', 'running')";
    let row = write(sql, &[])?.one()?;
    let row = row.ok_or_else(|| Error::internal("an aggregate returned no row"))?;
    Ok((row.get(0)?, row.get(1)?))
}

/// Whether something is to be done now that no launcher of this database sees to, or later, and no clock.
///
/// # Errors
/// Only faults of the catalog.
pub fn is_forgotten() -> Result<bool> {
    let sql = "SELECT w.now AND NOT l.launcher OR w.later AND NOT l.launcher AND NOT l.clock
        FROM (SELECT
                EXISTS (SELECT FROM damson_catalog.jobs j WHERE j.state IN ('blocked', 'running')
                    OR j.state = 'waiting' AND j.due <= pg_catalog.clock_timestamp())
                OR EXISTS (SELECT FROM damson_catalog.schedules s WHERE s.next_due <= pg_catalog.clock_timestamp()) AS now,
                EXISTS (SELECT FROM damson_catalog.jobs j WHERE j.state = 'waiting')
                OR EXISTS (SELECT FROM damson_catalog.schedules s WHERE s.next_due IS NOT NULL) AS later) w
        CROSS JOIN LATERAL (
            SELECT coalesce(pg_catalog.bool_or(a.backend_type = $1 AND a.datid = d.oid), false) AS launcher,
                coalesce(pg_catalog.bool_or(a.backend_type = $2 || d.oid::text), false) AS clock
            FROM pg_catalog.pg_stat_activity a, pg_catalog.pg_database d
            WHERE d.datname = pg_catalog.current_database() AND (w.now OR w.later)) l";
    let params = [crate::worker::LAUNCHER_TYPE.into(), crate::worker::CLOCK_TYPE.into()];
    let row = read(sql, &params)?.one()?;
    row.ok_or_else(|| Error::internal("a select returned no row"))?.get(0)
}

/// Ends the clocks of this database.
///
/// # Errors
/// Only the server's.
pub fn stop_clocks() -> Result<()> {
    let sql = "SELECT pg_catalog.pg_terminate_backend(a.pid) FROM pg_catalog.pg_stat_activity a, pg_catalog.pg_database d
        WHERE d.datname = pg_catalog.current_database() AND a.backend_type = $1 || d.oid::text";
    write(sql, &[crate::worker::CLOCK_TYPE.into()])?;
    Ok(())
}

/// Forgets jobs that ended longer ago than so many days, runs of pipelines as a whole.
///
/// # Errors
/// Only faults of the catalog.
pub fn forget(days: i32) -> Result<()> {
    let sql = "DELETE FROM damson_catalog.jobs j
        WHERE j.state IN ('succeeded', 'failed', 'cancelled', 'skipped')
            AND j.finished < pg_catalog.clock_timestamp() - pg_catalog.make_interval(days => $1)
            AND (j.pipeline_run IS NULL OR NOT EXISTS (
                SELECT FROM damson_catalog.jobs o WHERE o.pipeline_run = j.pipeline_run
                    AND (o.finished IS NULL
                        OR o.finished >= pg_catalog.clock_timestamp() - pg_catalog.make_interval(days => $1))))";
    write(sql, &[days.into()])?;
    let sql = "DELETE FROM damson_catalog.pipeline_runs r
        WHERE r.started < pg_catalog.clock_timestamp() - pg_catalog.make_interval(days => $1)
            AND NOT EXISTS (SELECT FROM damson_catalog.jobs j WHERE j.pipeline_run = r.id)";
    write(sql, &[days.into()])?;
    Ok(())
}
