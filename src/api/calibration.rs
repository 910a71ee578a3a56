//! `damson.calibration`: probabilities against what came true.

use crate::pg::datum::Text;
use crate::pg::error::answer;
use crate::pg::evaluation::{self, Asked};
use engine::evaluation::Columns;
use engine::evaluation::curves::Strategy;
use pgrx::prelude::*;

#[pg_extern(sql = r#"
CREATE FUNCTION damson.calibration(
    model text,
    source text,
    target text DEFAULT NULL,
    class text DEFAULT NULL,
    weight text DEFAULT NULL,
    bins bigint DEFAULT 10,
    strategy text DEFAULT 'uniform')
RETURNS TABLE (bin bigint, predicted double precision, observed double precision, "rows" bigint)
LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE ROWS 10
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
COMMENT ON FUNCTION damson.calibration IS
'Probabilities against what came true, by bins of probability, as scikit-learn''s calibration_curve.
predicted is the mean probability of a bin''s rows, observed the share of them that are of the class. strategy cuts bins
at equal distances (uniform) or into as many rows each (quantile); empty bins are left out.
source is a relation''s name or a SELECT; it is read with your rights. target is the column of true answers, by default
the one that the model was trained on; weight a column of row weights. class is set against the rest: the second of two
classes by default. Of sets of labels it is a label.
Example: SELECT * FROM damson.calibration(''churn'', ''customers_2026'', bins => 5);';
"#)]
fn calibration(
    model: Text,
    source: Text,
    target: Option<Text>,
    class: Option<Text>,
    weight: Option<Text>,
    bins: Option<i64>,
    strategy: Option<Text>,
) -> TableIterator<'static, (name!(bin, i64), name!(predicted, f64), name!(observed, f64), name!(rows, i64))>
{
    let found = answer(|| {
        let columns = Columns { target: target.as_deref(), weight: weight.as_deref() };
        let bins = evaluation::count("bins", bins, 10, 1, 10_000)?;
        let strategy = Strategy::parse(strategy.as_deref().unwrap_or("uniform"))?;
        let asked = Asked { verb: "calibration", model: &model, source: &source, columns, other: None };
        evaluation::run(asked, |scorer, frame, cx| {
            let (scored, class) = scorer.scored_against_rest(frame, columns, class.as_deref(), cx)?;
            Ok(scored.calibration(class, bins, strategy))
        })
    });
    TableIterator::new(found.into_iter().map(|b| (b.bin as i64, b.predicted, b.observed, b.rows as i64)))
}
