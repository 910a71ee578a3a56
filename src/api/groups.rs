//! `damson.groups`: the groups of a model that has a model for each.

use crate::catalog::resolve;
use crate::pg::datum::{Jsonb, Text};
use crate::pg::error::{Error, answer};
use engine::Kind;
use engine::groups::key;
use pgrx::prelude::*;

#[pg_extern(sql = r#"
CREATE FUNCTION damson.groups(model text)
RETURNS TABLE (
    group_key jsonb, train_rows bigint, test_rows bigint, metric text, value double precision, left_out text)
LANGUAGE c STABLE STRICT PARALLEL RESTRICTED ROWS 1000
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
COMMENT ON FUNCTION damson.groups(text) IS
'The groups of a model that was trained with group_by, and how good the model is in each.
group_key is an object with the value of each column of group_by. value is the model''s main metric, on the rows of the
group that were held out, or else on those that it was trained on; NULL where they do not define it. left_out says why
a group has no model of its own; its rows are then scored by the policy for unknown groups.
Example: SELECT group_key ->> ''region'' AS region, value FROM damson.groups(''price'') ORDER BY value DESC LIMIT 10;';
"#)]
#[allow(clippy::type_complexity)] // It is that of the SQL function.
fn groups(
    model: Text,
) -> TableIterator<
    'static,
    (
        name!(group_key, Jsonb),
        name!(train_rows, i64),
        name!(test_rows, i64),
        name!(metric, Option<Text>),
        name!(value, Option<f64>),
        name!(left_out, Option<Text>),
    ),
> {
    let rows = answer(|| {
        let resolved = resolve(&model)?;
        let router = resolved.scorer.groups().ok_or_else(|| {
            let message = format!("model \"{}\" has no groups", resolved.model);
            Error::new(Kind::Unsupported, message)
                .hint("Train it with groups: damson.train(..., group_by => '{region}').")
        })?;
        let text = |s: &str| (!s.is_empty()).then(|| Text(s.to_string()));
        let row = |e: &engine::groups::Entry| {
            let key = Jsonb(key::json(&e.key, router.columns()));
            let metric = e.value.and(text(router.metric()));
            (key, e.train_rows as i64, e.test_rows as i64, metric, e.value, text(&e.left_out))
        };
        Ok(router.entries().iter().map(row).collect::<Vec<_>>())
    });
    TableIterator::new(rows)
}
