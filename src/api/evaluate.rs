//! `damson.evaluate`: a model measured on other rows.

use crate::catalog::resolve;
use crate::pg::datum::Text;
use crate::pg::error::answer;
use crate::pg::query::{self, Wanted};
use crate::pg::{settings, work};
use pgrx::prelude::*;

#[pg_extern(sql = r#"
CREATE FUNCTION damson.evaluate(model text, source text, target text DEFAULT NULL)
RETURNS TABLE (metric text, value double precision)
LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE ROWS 10
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
COMMENT ON FUNCTION damson.evaluate(text, text, text) IS
'Measures a model on rows whose answers are known.
model is name, name@alias or name@7. source is a relation''s name or a SELECT; it is read with your rights. target is
the column of true answers, by default the one that the model was trained on.
Example: SELECT * FROM damson.evaluate(''churn'', ''customers_2026'');';
"#)]
fn evaluate(
    model: Text,
    source: Text,
    target: Option<Text>,
) -> TableIterator<'static, (name!(metric, Text), name!(value, f64))> {
    let metrics = answer(|| {
        let resolved = resolve(&model)?;
        let (scorer, target) = (&*resolved.scorer, target.as_deref());
        let mut wanted: Vec<String> = scorer.card().inputs.iter().map(|i| i.name.clone()).collect();
        let card = scorer.card();
        let others = [target.or(card.target.as_deref()), card.offset.as_deref(), card.group.as_deref()];
        wanted.extend(others.into_iter().flatten().map(String::from));
        let frame = query::read(&source, Wanted::Only(&wanted), settings::max_memory())?;
        let title = work::Title { verb: "evaluate", object: &resolved.model };
        Ok(work::run(title, scorer.card().seed, |cx| scorer.evaluate(&frame, target, cx))?.value)
    });
    TableIterator::new(metrics.into_iter().map(|(name, value)| (name.into(), value)))
}
