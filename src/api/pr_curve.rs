//! `damson.pr_curve`: precision and recall by threshold.

use crate::pg::datum::Text;
use crate::pg::error::answer;
use crate::pg::evaluation::{self, Asked};
use engine::evaluation::Columns;
use pgrx::prelude::*;

#[pg_extern(sql = r#"
CREATE FUNCTION damson.pr_curve(
    model text,
    source text,
    target text DEFAULT NULL,
    class text DEFAULT NULL,
    weight text DEFAULT NULL,
    points bigint DEFAULT 200)
RETURNS TABLE (threshold double precision, "precision" double precision, recall double precision)
LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE ROWS 200
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
COMMENT ON FUNCTION damson.pr_curve IS
'Precision and recall of a classification by threshold, as scikit-learn''s precision_recall_curve.
The last point''s threshold is NULL: no row is called positive. Points whose recall is that of both neighbours are left
out, and at most points are kept, evenly by recall.
source is a relation''s name or a SELECT; it is read with your rights. target is the column of true answers, by default
the one that the model was trained on; weight a column of row weights. class is set against the rest: the second of two
classes by default. Of sets of labels it is a label.
Example: SELECT * FROM damson.pr_curve(''churn'', ''customers_2026'') WHERE recall >= 0.8 ORDER BY "precision" DESC LIMIT 1;';
"#)]
fn pr_curve(
    model: Text,
    source: Text,
    target: Option<Text>,
    class: Option<Text>,
    weight: Option<Text>,
    points: Option<i64>,
) -> TableIterator<'static, (name!(threshold, Option<f64>), name!(precision, f64), name!(recall, f64))> {
    let found = answer(|| {
        let columns = Columns { target: target.as_deref(), weight: weight.as_deref() };
        let points = evaluation::count("points", points, 200, 2, 1_000_000)?;
        let asked = Asked { verb: "pr_curve", model: &model, source: &source, columns, other: None };
        evaluation::run(asked, |scorer, frame, cx| {
            let (scored, class) = scorer.scored_against_rest(frame, columns, class.as_deref(), cx)?;
            scored.pr_curve(class, points)
        })
    });
    TableIterator::new(found.into_iter().map(|p| (p.threshold, p.precision, p.recall)))
}
