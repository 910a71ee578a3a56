//! `damson.expire_versions`: policies of retention, carried out now.

use crate::catalog::retention;
use crate::pg::datum::Text;
use crate::pg::error::answer;
use pgrx::prelude::*;

#[pg_extern(sql = r#"
CREATE FUNCTION damson.expire_versions(model text DEFAULT NULL)
RETURNS TABLE (model text, version bigint, bytes bigint)
LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE ROWS 10
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
COMMENT ON FUNCTION damson.expire_versions IS
'Removes the artifacts of versions that the policies of models do not keep: of one model, or of all that you own.
Trainings and deployments do so for their model; a schedule does it for those that rest. A row a version, with the bytes
that it took. The metrics and the history of such a version stay.
Example: CALL damson.schedule(''expire'', ''@daily'', ''SELECT count(*) FROM damson.expire_versions()'');';
"#)]
#[allow(clippy::type_complexity)] // It is the SQL function's result.
fn expire_versions(
    model: Option<Text>,
) -> TableIterator<'static, (name!(model, Text), name!(version, i64), name!(bytes, i64))> {
    let expired = answer(|| retention::expire_versions(model.as_deref()));
    TableIterator::new(expired.into_iter().map(|(model, version, bytes)| (Text(model), version, bytes)))
}
