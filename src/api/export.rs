//! `damson.openlineage` and `damson.datahub`: lineage for other tools.

use crate::catalog::export::{datahub, openlineage};
use crate::catalog::resolve;
use crate::pg::datum::{Jsonb, Text};
use crate::pg::error::answer;
use pgrx::prelude::*;

#[pg_extern(
    name = "openlineage",
    sql = r#"
CREATE FUNCTION damson.openlineage(model text, namespace text DEFAULT NULL)
RETURNS TABLE (event jsonb)
LANGUAGE c STABLE CALLED ON NULL INPUT PARALLEL RESTRICTED ROWS 5
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
COMMENT ON FUNCTION damson.openlineage(text, text) IS
'The lineage of a version as OpenLineage events (spec 2-0-2), one a row: the training, and each table that it filled.
Events are COMPLETE ones with the facets schema, columnLineage, datasetType, version, jobType, processing_engine and, for
those who may see the source, sql. namespace is that of the datasets, postgres://host:port by default. Send each event to
a collector''s /api/v1/lineage.
Example: SELECT event FROM damson.openlineage(''churn@3'', namespace => ''postgres://db.example.com:5432'');';
"#
)]
fn openlineage_events(
    model: Text,
    namespace: Option<Text>,
) -> TableIterator<'static, (name!(event, Jsonb),)> {
    let events = answer(|| openlineage::events(&*resolve(&model)?, namespace.as_deref()));
    TableIterator::new(events.into_iter().map(|e| (Jsonb::from(&e),)))
}

#[pg_extern(
    name = "datahub",
    sql = r#"
CREATE FUNCTION damson.datahub(model text, env text DEFAULT 'PROD')
RETURNS jsonb
LANGUAGE c STABLE CALLED ON NULL INPUT PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
COMMENT ON FUNCTION damson.datahub(text, text) IS
'The lineage of a version as DataHub metadata: an array of change proposals, as in a file that datahub ingest reads.
It has the model (mlModelGroup), the version (mlModel), the training (dataProcessInstance, mlTrainingRunProperties), and
upstreamLineage by columns for the rows that it was trained on and for the tables that it filled. env is DataHub''s.
Example: SELECT damson.datahub(''churn@3'');';
"#
)]
fn datahub_proposals(model: Text, env: Option<Text>) -> Jsonb {
    answer(|| {
        let all = datahub::proposals(&*resolve(&model)?, env.as_deref().unwrap_or("PROD"))?;
        Ok(Jsonb::from(&all))
    })
}
