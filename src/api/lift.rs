//! `damson.lift`: how much likelier the best rows are.

use crate::pg::datum::Text;
use crate::pg::error::answer;
use crate::pg::evaluation::{self, Asked};
use engine::evaluation::Columns;
use pgrx::prelude::*;

#[pg_extern(sql = r#"
CREATE FUNCTION damson.lift(
    model text,
    source text,
    target text DEFAULT NULL,
    class text DEFAULT NULL,
    weight text DEFAULT NULL,
    bins bigint DEFAULT 10)
RETURNS TABLE (bin bigint, "rows" bigint, threshold double precision, captured double precision, rate double precision, lift double precision,
    gain double precision, cumulative_lift double precision)
LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE ROWS 10
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
COMMENT ON FUNCTION damson.lift IS
'How much likelier the rows of the highest probabilities are of a class, in bins of as many rows, the likeliest first.
captured is the rows of the class in a bin, rate their share of it, lift that share over the one among all rows, gain the
share of the class that is captured up to the bin, and threshold the least probability in it. Rows of equal
probability stay together.
source is a relation''s name or a SELECT; it is read with your rights. target is the column of true answers, by default
the one that the model was trained on; weight a column of row weights. class is set against the rest: the second of two
classes by default. Of sets of labels it is a label.
Example: SELECT bin, lift, gain FROM damson.lift(''churn'', ''customers_2026'');';
"#)]
#[allow(clippy::type_complexity)] // It is the SQL function's result.
fn lift(
    model: Text,
    source: Text,
    target: Option<Text>,
    class: Option<Text>,
    weight: Option<Text>,
    bins: Option<i64>,
) -> TableIterator<
    'static,
    (
        name!(bin, i64),
        name!(rows, i64),
        name!(threshold, f64),
        name!(captured, f64),
        name!(rate, f64),
        name!(lift, f64),
        name!(gain, f64),
        name!(cumulative_lift, f64),
    ),
> {
    let found = answer(|| {
        let columns = Columns { target: target.as_deref(), weight: weight.as_deref() };
        let bins = evaluation::count("bins", bins, 10, 1, 10_000)?;
        let asked = Asked { verb: "lift", model: &model, source: &source, columns, other: None };
        evaluation::run(asked, |scorer, frame, cx| {
            let (scored, class) = scorer.scored_against_rest(frame, columns, class.as_deref(), cx)?;
            scored.lift(class, bins)
        })
    });
    TableIterator::new(found.into_iter().map(|b| {
        (b.bin as i64, b.rows as i64, b.threshold, b.captured, b.rate, b.lift, b.gain, b.cumulative_lift)
    }))
}
