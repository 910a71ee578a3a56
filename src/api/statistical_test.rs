//! `damson.statistical_test`: whether groups of rows differ.

use crate::pg::datum::Text;
use crate::pg::error::answer;
use crate::pg::query::{self, Wanted};
use crate::pg::{settings, work};
use engine::statistics::{Test, compare};
use pgrx::prelude::*;

#[pg_extern(sql = r#"
CREATE FUNCTION damson.statistical_test(test text, source text, value_column text, group_column text)
RETURNS TABLE (measure text, value double precision)
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE ROWS 10
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
COMMENT ON FUNCTION damson.statistical_test IS
'Whether a column differs between groups of rows: the statistic, its p-value, the size of the effect.
test is t (two means, variances equal), welch (two means), mann_whitney or ks (two distributions), anova (several means) or
chi_square (two columns of labels, whether they are independent). group_column holds the groups, in the order of their
names; rows where either column is missing count for nothing. Definitions and small-sample choices are SciPy''s.
Example: SELECT * FROM damson.statistical_test(''welch'', ''homes'', ''price'', ''renovated'');';
"#)]
fn statistical_test(
    test: Text,
    source: Text,
    value_column: Text,
    group_column: Text,
) -> TableIterator<'static, (name!(measure, Text), name!(value, f64))> {
    let found = answer(|| {
        let test = Test::parse(&test)?;
        let mut columns = vec![value_column.0.clone(), group_column.0.clone()];
        columns.dedup();
        let frame = query::read(&source, Wanted::Only(&columns), settings::max_memory())?;
        let title = work::Title { verb: "test", object: "a source" };
        Ok(work::run(title, 0, |cx| compare(&frame, &value_column, &group_column, test, cx))?.value)
    });
    TableIterator::new(found.into_iter().map(|(name, value)| (name.into(), value)))
}
