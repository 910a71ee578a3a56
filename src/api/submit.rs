//! `damson.submit`, `damson.cancel_job` and `damson.wait_for_job`.

use crate::catalog::pipelines::about;
use crate::catalog::queue::{self, Terms, Work};
use crate::pg::datum::Text;
use crate::pg::error::answer;
use crate::pg::work::wait_until;
use pgrx::prelude::*;
use serde_json::json;

#[pg_extern(sql = r#"
CREATE FUNCTION damson.submit(
    command text,
    priority bigint DEFAULT 0,
    retries bigint DEFAULT 0,
    timeout double precision DEFAULT NULL,
    delay double precision DEFAULT 0)
RETURNS bigint
LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
COMMENT ON FUNCTION damson.submit IS
'Runs SQL in the background, as a job; gives the job''s number.
The job begins when your transaction commits, and runs as one transaction with the rights that your role has when it
runs; settings such as search_path are those of now. It survives crashes: what it did and that it is done are written
together, so it is done once or, if it fails, not at all. After an error it is tried again so many times as retries says,
later and later; timeout and delay are seconds. Jobs of higher priority come first. damson.jobs shows all, with the
first row that each gave.
Example: SELECT damson.submit(''REFRESH MATERIALIZED VIEW sales_by_day'', retries => 3, timeout => 600);';
"#)]
fn submit(
    command: Text,
    priority: Option<i64>,
    retries: Option<i64>,
    timeout: Option<f64>,
    delay: Option<f64>,
) -> i64 {
    answer(|| {
        let terms = Terms {
            priority: priority.unwrap_or(0),
            retries: retries.unwrap_or(0),
            timeout,
            delay: delay.unwrap_or(0.0),
        };
        let command = json!({ "sql": &*command });
        let about = about(&command);
        queue::submit(&Work { kind: "sql", about: about.as_deref(), command: &command }, terms)
    })
}

#[pg_extern(sql = r#"
CREATE PROCEDURE damson.cancel_job(job bigint)
LANGUAGE c
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
COMMENT ON PROCEDURE damson.cancel_job(bigint) IS
'Cancels a job that waits or runs.
One that runs is interrupted at once and leaves nothing behind. Members of the role that submitted it may cancel it.
Example: CALL damson.cancel_job(17);';
"#)]
fn cancel_job(job: i64) {
    answer(|| queue::cancel(job))
}

#[pg_extern(sql = r#"
CREATE FUNCTION damson.wait_for_job(job bigint, timeout double precision DEFAULT NULL)
RETURNS text
LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
COMMENT ON FUNCTION damson.wait_for_job IS
'Waits until a job has ended, and gives its state: succeeded, failed, cancelled or skipped.
After timeout seconds it gives the state that the job has by then. A job begins only after the transaction that
submitted it has committed, so wait in another one.
Example: SELECT damson.wait_for_job(17, timeout => 60);';
"#)]
fn wait_for_job(job: i64, timeout: Option<f64>) -> Text {
    answer(|| {
        let ended = || {
            let state = queue::state(job)?;
            let over = !matches!(state.as_str(), "blocked" | "waiting" | "running");
            Ok((state, over))
        };
        wait_until(timeout, ended).map(Text)
    })
}
