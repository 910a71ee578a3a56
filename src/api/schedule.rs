//! `damson.schedule` and `damson.unschedule`.

use crate::catalog::pipelines::about;
use crate::catalog::queue::{Terms, Work};
use crate::catalog::schedules::{self, Schedule};
use crate::pg::datum::Text;
use crate::pg::error::answer;
use pgrx::prelude::*;
use serde_json::json;

#[pg_extern(sql = r#"
CREATE PROCEDURE damson.schedule(
    name text,
    cron text,
    command text,
    time_zone text DEFAULT 'UTC',
    priority bigint DEFAULT 0,
    retries bigint DEFAULT 0,
    timeout double precision DEFAULT NULL)
LANGUAGE c
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
COMMENT ON PROCEDURE damson.schedule(text, text, text, text, bigint, bigint, double precision) IS
'Runs SQL as a job again and again, at the times that cron syntax says.
cron is minute, hour, day, month and weekday, or @hourly, @daily, @weekly, @monthly, @yearly, on the clock of
time_zone. A time that comes while the last job has not ended is left out; times that were missed, as the server was down,
make one job. A name that is taken is changed. The other arguments are those of damson.submit.
Example: CALL damson.schedule(''nightly'', ''30 2 * * *'', ''SELECT damson.pipeline(''''churn'''')'', time_zone => ''Europe/Paris'');';
"#)]
fn schedule(
    name: Text,
    cron: Text,
    command: Text,
    time_zone: Option<Text>,
    priority: Option<i64>,
    retries: Option<i64>,
    timeout: Option<f64>,
) {
    answer(|| {
        let command = json!({ "sql": &*command });
        let about = about(&command);
        schedules::put(&Schedule {
            name: &name,
            cron: &cron,
            time_zone: time_zone.as_deref().unwrap_or("UTC"),
            work: &Work { kind: "sql", about: about.as_deref(), command: &command },
            terms: Terms {
                priority: priority.unwrap_or(0),
                retries: retries.unwrap_or(0),
                timeout,
                delay: 0.0,
            },
        })
    })
}

#[pg_extern(sql = r#"
CREATE PROCEDURE damson.unschedule(name text, missing_ok boolean DEFAULT false)
LANGUAGE c
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
COMMENT ON PROCEDURE damson.unschedule(text, boolean) IS
'Drops a schedule; a job that it has made goes on.
With missing_ok, a schedule that does not exist is a notice and not an error.
Example: CALL damson.unschedule(''nightly'');';
"#)]
fn unschedule(name: Text, missing_ok: Option<bool>) {
    answer(|| {
        if !schedules::remove(&name, missing_ok.unwrap_or(false))? {
            notice!("schedule \"{}\" does not exist, skipping", &*name);
        }
        Ok(())
    })
}
