//! `damson.pipeline`, and what is done with its runs.

use crate::catalog::pipelines;
use crate::pg::datum::Text;
use crate::pg::error::answer;
use pgrx::prelude::*;

#[pg_extern(sql = r#"
CREATE FUNCTION damson.pipeline(
    name text,
    definition text DEFAULT NULL,
    parameters text DEFAULT '{}',
    run boolean DEFAULT true)
RETURNS bigint
LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
COMMENT ON FUNCTION damson.pipeline IS
'Stores a pipeline under a name, and runs it in the background; gives the run''s number.
definition is JSON: {"parameters": {name: default}, "steps": [step, ...]}; without one the stored pipeline runs. A step has
a name; do: sql, or a verb such as train, evaluate, drift, score_into or deploy; sql: the statement, or with: the verb''s
arguments by name; after: the steps that must have succeeded (by default the one before it; [] for none); retries and
timeout as of damson.submit. ${parameters.day} is a parameter of the run, ${fit.version} a column of what step fit gave;
within sql and source they are quoted as literals. Steps are jobs: those that need not wait for each other run side by
side, and when one fails those that need it are skipped. With run => false it is only stored.
Example: SELECT damson.pipeline(''churn'', ''{"steps": [{"name": "fit", "do": "train", "with": {"model": "churn", "source": "customers", "target": "churned"}}, {"name": "live", "do": "deploy", "with": {"model": "churn", "version": "${fit.version}"}}]}'');';
"#)]
fn pipeline(
    name: Text,
    definition: Option<Text>,
    parameters: Option<Text>,
    run: Option<bool>,
) -> Option<i64> {
    answer(|| {
        if let Some(definition) = definition {
            pipelines::put(&name, &definition)?;
        }
        if !run.unwrap_or(true) {
            return Ok(None);
        }
        pipelines::run(&name, parameters.as_deref().unwrap_or("{}")).map(Some)
    })
}

#[pg_extern(sql = r#"
CREATE FUNCTION damson.rerun_pipeline(run bigint)
RETURNS bigint
LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
COMMENT ON FUNCTION damson.rerun_pipeline IS
'Runs the steps of a pipeline''s run again that failed, were cancelled or skipped; gives how many.
What succeeded stays, with its results. The steps are those of the pipeline as it is stored now: mend it first by
damson.pipeline with run => false.
Example: SELECT damson.rerun_pipeline(3);';
"#)]
fn rerun_pipeline(run: i64) -> i64 {
    answer(|| pipelines::run_again(run))
}

#[pg_extern(sql = r#"
CREATE FUNCTION damson.cancel_pipeline(run bigint)
RETURNS bigint
LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
COMMENT ON FUNCTION damson.cancel_pipeline IS
'Cancels the steps of a pipeline''s run that have not ended; gives how many.
A step that runs is interrupted and leaves nothing behind; steps that have succeeded stay.
Example: SELECT damson.cancel_pipeline(3);';
"#)]
fn cancel_pipeline(run: i64) -> i64 {
    answer(|| pipelines::cancel(run))
}

#[pg_extern(sql = r#"
CREATE PROCEDURE damson.drop_pipeline(name text, missing_ok boolean DEFAULT false)
LANGUAGE c
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
COMMENT ON PROCEDURE damson.drop_pipeline(text, boolean) IS
'Drops a pipeline with its runs.
With missing_ok, a pipeline that does not exist is a notice and not an error. What the runs made stays.
Example: CALL damson.drop_pipeline(''churn'');';
"#)]
fn drop_pipeline(name: Text, missing_ok: Option<bool>) {
    answer(|| {
        if !pipelines::remove(&name, missing_ok.unwrap_or(false))? {
            notice!("pipeline \"{}\" does not exist, skipping", &*name);
        }
        Ok(())
    })
}
