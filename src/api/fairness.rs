//! `damson.fairness`: how a classifier treats groups.

use crate::pg::datum::Text;
use crate::pg::error::{Error, answer};
use crate::pg::evaluation::{self, Asked};
use engine::Kind;
use engine::evaluation::Columns;
use pgrx::prelude::*;

#[pg_extern(sql = r#"
CREATE FUNCTION damson.fairness(
    model text,
    source text,
    target text DEFAULT NULL,
    group_column text DEFAULT NULL,
    class text DEFAULT NULL,
    weight text DEFAULT NULL)
RETURNS TABLE (measure text, "group" text, value double precision, "rows" bigint)
LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE ROWS 20
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
COMMENT ON FUNCTION damson.fairness IS
'How a classification treats groups of rows, by fairlearn''s definitions.
For each value of group_column: selection_rate (the share that is decided to be of the class), true_positive_rate,
false_positive_rate, precision and accuracy. Then, where group is NULL, what lies between the groups:
demographic_parity_difference and demographic_parity_ratio of selection rates, equalized_odds_difference and
equalized_odds_ratio, the worse one of true and false positive rates. value is NULL where it is undefined.
source is a relation''s name or a SELECT; it is read with your rights. target is the column of true answers, by default
the one that the model was trained on; weight a column of row weights. class is the
favourable outcome: the second of two classes by default.
Example: SELECT * FROM damson.fairness(''credit'', ''applicants'', group_column => ''sex'', class => ''granted'');';
"#)]
fn fairness(
    model: Text,
    source: Text,
    target: Option<Text>,
    group_column: Option<Text>,
    class: Option<Text>,
    weight: Option<Text>,
) -> TableIterator<
    'static,
    (name!(measure, Text), name!(group, Option<Text>), name!(value, Option<f64>), name!(rows, i64)),
> {
    let found = answer(|| {
        let columns = Columns { target: target.as_deref(), weight: weight.as_deref() };
        let group = group_column.as_deref().ok_or_else(|| {
            Error::new(Kind::Parameter, "fairness needs a column of groups")
                .hint("Name it: group_column => 'column'.")
        })?;
        let asked = Asked { verb: "fairness", model: &model, source: &source, columns, other: Some(group) };
        evaluation::run(asked, |scorer, frame, cx| {
            let class = scorer.positive(class.as_deref())?;
            let groups = &frame.columns[frame.position(group)?];
            scorer.scored(frame, columns, cx)?.fairness(class, groups)
        })
    });
    TableIterator::new(
        found.into_iter().map(|f| (f.name.to_string().into(), f.group.map(Text), f.value, f.rows as i64)),
    )
}
