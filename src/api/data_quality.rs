//! `damson.data_quality`: what is wrong with rows.

use crate::catalog::baselines;
use crate::pg::datum::Text;
use crate::pg::error::answer;
use crate::pg::query::{self, Wanted};
use crate::pg::{settings, work};
use engine::drift::quality::quality;
use pgrx::prelude::*;

#[pg_extern(sql = r#"
CREATE FUNCTION damson.data_quality(source text, model text DEFAULT NULL)
RETURNS TABLE (
    "column" text, "check" text, "rows" bigint, share double precision, baseline double precision, problem boolean,
    detail text)
LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE ROWS 30
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
COMMENT ON FUNCTION damson.data_quality IS
'Looks the rows of a relation or SELECT over; with a model, beside the rows that it was trained on.
A row a check that found something: missing, infinite, empty (no row has a value), constant, duplicates (rows that are
like one before them in all columns); with a model also out of range and unseen (labels that training never saw), for its
features and target. rows and share say how many rows have it, baseline the share at training. problem marks what somebody
should look at: more missing values or values out of range than chance would explain (by three standard errors), columns
that became empty or constant, labels that are new, infinite values. Duplicates are told, not judged.
Example: SELECT * FROM damson.data_quality(''customers_2026'', model => ''churn'') WHERE problem;';
"#)]
#[allow(clippy::type_complexity)] // It is the SQL function's result.
fn data_quality(
    source: Text,
    model: Option<Text>,
) -> TableIterator<
    'static,
    (
        name!(column, Option<Text>),
        name!(check, Text),
        name!(rows, i64),
        name!(share, f64),
        name!(baseline, Option<f64>),
        name!(problem, bool),
        name!(detail, Text),
    ),
> {
    let found = answer(|| {
        let baseline = model.as_deref().map(baselines::find).transpose()?;
        let limit = settings::max_memory();
        let frame = match &baseline {
            None => query::read(&source, Wanted::All, limit)?,
            Some(baseline) => {
                let there: Vec<String> = query::describe(&source)?.into_iter().map(|c| c.0).collect();
                let mut wanted: Vec<String> = baseline.features(None).map(String::from).collect();
                wanted
                    .extend(baseline.target(None).filter(|t| there.iter().any(|n| n == t)).map(String::from));
                query::read(&source, Wanted::Only(&wanted), limit)?
            }
        };
        let title = work::Title { verb: "data_quality", object: "a source" };
        Ok(work::run(title, 0, |cx| quality(&frame, baseline.as_ref(), cx))?.value)
    });
    TableIterator::new(found.into_iter().map(|i| {
        (
            i.column.map(Text),
            i.check.to_string().into(),
            i.rows as i64,
            i.share,
            i.baseline,
            i.problem,
            i.detail.into(),
        )
    }))
}
