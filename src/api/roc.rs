//! `damson.roc`: the ROC curve.

use crate::pg::datum::Text;
use crate::pg::error::answer;
use crate::pg::evaluation::{self, Asked};
use engine::evaluation::Columns;
use pgrx::prelude::*;

#[pg_extern(sql = r#"
CREATE FUNCTION damson.roc(
    model text,
    source text,
    target text DEFAULT NULL,
    class text DEFAULT NULL,
    weight text DEFAULT NULL,
    points bigint DEFAULT 200)
RETURNS TABLE (threshold double precision, fpr double precision, tpr double precision)
LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE ROWS 200
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
COMMENT ON FUNCTION damson.roc IS
'The ROC curve of a classification: shares of negatives and of positives that are called positive, by threshold.
The first point''s threshold is Infinity: no row is called positive. Points on a straight line between others are left
out, as scikit-learn''s roc_curve does, and at most points are kept, evenly along the curve.
source is a relation''s name or a SELECT; it is read with your rights. target is the column of true answers, by default
the one that the model was trained on; weight a column of row weights. class is set against the rest: the second of two
classes by default. Of sets of labels it is a label.
Example: SELECT * FROM damson.roc(''churn'', ''customers_2026'', class => ''yes'');';
"#)]
fn roc(
    model: Text,
    source: Text,
    target: Option<Text>,
    class: Option<Text>,
    weight: Option<Text>,
    points: Option<i64>,
) -> TableIterator<'static, (name!(threshold, f64), name!(fpr, f64), name!(tpr, f64))> {
    let found = answer(|| {
        let columns = Columns { target: target.as_deref(), weight: weight.as_deref() };
        let points = evaluation::count("points", points, 200, 2, 1_000_000)?;
        let asked = Asked { verb: "roc", model: &model, source: &source, columns, other: None };
        evaluation::run(asked, |scorer, frame, cx| {
            let (scored, class) = scorer.scored_against_rest(frame, columns, class.as_deref(), cx)?;
            scored.roc(class, points)
        })
    });
    TableIterator::new(found.into_iter().map(|p| (p.threshold, p.fpr, p.tpr)))
}
