//! Schedules: commands that become jobs when their time comes. Times are civil, in the schedule's time zone: the
//! engine says which minute is next (`engine::cron`), the server knows the time zones.

use super::queue::{self, Terms, Work};
use super::{read, write};
use crate::pg::datum::Jsonb;
use crate::pg::error::{Code, Error, Result};
use crate::pg::role::current_user;
use engine::Kind;
use engine::cron::Cron;
use serde_json::Value;

/// A schedule to be.
pub struct Schedule<'a> {
    /// Its name, one in the database.
    pub name: &'a str,
    /// When, as cron says it.
    pub cron: &'a str,
    /// Where the clock hangs.
    pub time_zone: &'a str,
    /// What.
    pub work: &'a Work<'a>,
    /// How.
    pub terms: Terms,
}

/// Makes a schedule, or changes the one of that name.
///
/// # Errors
/// 22023 for a schedule or time zone that is none; 42501 for another role's.
pub fn put(schedule: &Schedule) -> Result<()> {
    queue::check_submitter()?;
    let name = super::reference::check_name("schedule name", schedule.name)?;
    let terms = schedule.terms.check()?;
    let cron = Cron::parse(schedule.cron)?;
    let known = "SELECT EXISTS (SELECT FROM pg_catalog.pg_timezone_names z WHERE pg_catalog.lower(z.name) = pg_catalog.lower($1))";
    let found = read(known, &[schedule.time_zone.into()])?.one()?;
    if !found.ok_or_else(|| Error::internal("a select returned no row"))?.get::<bool>(0)? {
        let message = format!("time zone \"{}\" is unknown", schedule.time_zone);
        return Err(
            Error::new(Kind::Parameter, message).hint("SELECT name FROM pg_timezone_names shows them.")
        );
    }
    let settings = queue::session_settings()?;
    let mut command = schedule.work.command.clone();
    command["kind"] = schedule.work.kind.into();
    command["about"] = schedule.work.about.into();
    let command = Jsonb::from(&command);
    let sql = "INSERT INTO damson_catalog.schedules AS s (name, role, cron, time_zone, command, settings, priority,
            timeout, retries)
        VALUES ($1, $2::regrole, $3, $4, $5, $6, $7, $8, $9)
        ON CONFLICT (name) DO UPDATE SET role = excluded.role, cron = excluded.cron, time_zone = excluded.time_zone,
            command = excluded.command, settings = excluded.settings, priority = excluded.priority,
            timeout = excluded.timeout, retries = excluded.retries
        WHERE pg_catalog.pg_has_role($2, s.role::oid, 'USAGE')
        RETURNING s.id";
    let params = [
        name.into(),
        current_user().into(),
        schedule.cron.into(),
        schedule.time_zone.into(),
        (&command).into(),
        (&settings).into(),
        terms.priority.into(),
        terms.timeout.into(),
        terms.retries.into(),
    ];
    let Some(row) = write(sql, &params)?.one()? else {
        let message = format!("permission denied to change schedule \"{name}\"");
        return Err(Error::new(Code::Privilege, message).hint("It is another role's; choose another name."));
    };
    let id: i64 = row.get(0)?;
    if !advance(id, &cron, schedule.time_zone)? {
        let message = format!("schedule \"{}\" never comes", schedule.cron);
        return Err(Error::new(Kind::Parameter, message));
    }
    crate::worker::wake_at_commit();
    Ok(())
}

/// Drops a schedule; the jobs that it made stay. Says whether there was one.
///
/// # Errors
/// 42501 for another role's; 42704 unless `missing_ok`.
pub fn remove(name: &str, missing_ok: bool) -> Result<bool> {
    crate::pg::change::check_possible();
    let sql = "DELETE FROM damson_catalog.schedules s
        WHERE s.name = $1 AND pg_catalog.pg_has_role($2, s.role::oid, 'USAGE')";
    let gone = write(sql, &[name.into(), current_user().into()])?.processed > 0;
    if !gone && !missing_ok {
        return Err(Error::new(Code::NoSuchObject, format!("schedule \"{name}\" does not exist"))
            .hint("SELECT name FROM damson.schedules shows those of your roles."));
    }
    Ok(gone)
}

/// Sets when a schedule is due next. Says whether it is ever.
fn advance(id: i64, cron: &Cron, time_zone: &str) -> Result<bool> {
    let sql = "SELECT pg_catalog.floor(EXTRACT(EPOCH FROM pg_catalog.timezone($1, pg_catalog.clock_timestamp())))::bigint";
    let row = write(sql, &[time_zone.into()])?.one()?;
    let now: i64 = row.ok_or_else(|| Error::internal("a select returned no row"))?.get(0)?;
    let next = cron.next(now);
    // A minute that the clock skips in spring comes an hour later; one that it shows twice in autumn counts once.
    let sql = "UPDATE damson_catalog.schedules SET next_due = pg_catalog.timezone(
            time_zone, pg_catalog.timezone('UTC', pg_catalog.to_timestamp($2::float8))) WHERE id = $1";
    write(sql, &[id.into(), next.map(|t| t as f64).into()])?;
    Ok(next.is_some())
}

/// Makes jobs of the schedules that are due: one each, also when more than one of its times was missed, and none while
/// its last job has not ended.
///
/// # Errors
/// Only faults of the catalog.
pub fn make_jobs() -> Result<()> {
    let sql =
        "SELECT s.id, s.cron, s.time_zone, s.command::text, coalesce(j.state, '') IN ('waiting', 'running')
        FROM damson_catalog.schedules s LEFT JOIN damson_catalog.jobs j ON j.id = s.last_job
        WHERE s.next_due <= pg_catalog.clock_timestamp() FOR UPDATE OF s SKIP LOCKED";
    for row in &write(sql, &[])? {
        let (id, text, time_zone, command): (i64, String, String, String) =
            (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
        let command: Value = serde_json::from_str(&command).unwrap_or_default();
        if !row.get::<bool>(4)? {
            let sql = "WITH j AS (
                    INSERT INTO damson_catalog.jobs (kind, about, command, settings, role, state, priority, due, timeout,
                        retries, schedule)
                    SELECT $2, $3, s.command - '{kind,about}'::text[], s.settings, s.role, 'waiting', s.priority,
                        pg_catalog.clock_timestamp(), s.timeout, s.retries, s.id
                    FROM damson_catalog.schedules s WHERE s.id = $1
                    RETURNING id, schedule)
                UPDATE damson_catalog.schedules s SET last_job = j.id FROM j WHERE s.id = j.schedule";
            write(
                sql,
                &[
                    id.into(),
                    command["kind"].as_str().unwrap_or("sql").into(),
                    command["about"].as_str().into(),
                ],
            )?;
        }
        advance(id, &Cron::parse(&text)?, &time_zone)?;
    }
    Ok(())
}
