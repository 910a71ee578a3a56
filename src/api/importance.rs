//! `damson.importance`: how much each input matters to a model.

use crate::catalog::resolve;
use crate::pg::datum::Text;
use crate::pg::error::{Error, Result, answer};
use crate::pg::query::{self, Wanted};
use crate::pg::{settings, work};
use engine::Kind;
use engine::explain::{Draw, Importance, Ranked};
use pgrx::prelude::*;

#[pg_extern(sql = r#"
CREATE FUNCTION damson.importance(
    model text,
    source text DEFAULT NULL,
    target text DEFAULT NULL,
    method text DEFAULT NULL,
    repeats bigint DEFAULT 5,
    max_rows bigint DEFAULT 100000,
    seed bigint DEFAULT 0)
RETURNS TABLE (feature text, importance double precision, deviation double precision)
LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE ROWS 30
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
COMMENT ON FUNCTION damson.importance IS
'How much each column matters to a model, the most important first.
method is gain (what splits on the column gained, or for linear models the effect of one standard deviation; sums to
1), split (how many splits ask about it) or permutation: how much worse the model''s headline metric becomes on the rows
of source when the column is shuffled, the mean and standard deviation over repeats. Without a method it is
permutation where there is a source, else gain. target is the column of true answers in source; at most max_rows rows
are drawn from it by seed. What a column''s features add is summed.
Example: SELECT * FROM damson.importance(''churn'', ''customers_2026'');';
"#)]
#[allow(clippy::type_complexity)] // It is the SQL function's result.
fn importance(
    model: Text,
    source: Option<Text>,
    target: Option<Text>,
    method: Option<Text>,
    repeats: Option<i64>,
    max_rows: Option<i64>,
    seed: Option<i64>,
) -> TableIterator<'static, (name!(feature, Text), name!(importance, f64), name!(deviation, Option<f64>))> {
    let found = answer(|| {
        let resolved = resolve(&model)?;
        let scorer = &*resolved.scorer;
        let method = method.as_deref().unwrap_or(if source.is_some() { "permutation" } else { "gain" });
        match (method, &source) {
            ("gain", None) => Ok(scorer.importance(Importance::Gain)?),
            ("split", None) => Ok(scorer.importance(Importance::Split)?),
            ("permutation", Some(source)) => {
                let repeats = within("repeats", repeats.unwrap_or(5), 1, 1000)?;
                let most = within("max_rows", max_rows.unwrap_or(100_000), 1, i64::from(u32::MAX))?;
                let target = target.as_deref();
                let mut wanted: Vec<String> = scorer.card().inputs.iter().map(|i| i.name.clone()).collect();
                wanted.extend(target.or(scorer.card().target.as_deref()).map(String::from));
                let frame = query::read(source, Wanted::Only(&wanted), settings::max_memory())?;
                let title = work::Title { verb: "importance", object: &resolved.model };
                let seed = seed.unwrap_or(0) as u64;
                let work = work::run(title, seed, |cx| {
                    scorer.permutation_importance(&frame, target, repeats, Draw { most, seed }, cx)
                })?;
                Ok::<Vec<Ranked>, Error>(work.value)
            }
            ("permutation", None) => {
                Err(Error::new(Kind::Parameter, "permutation importance needs a source")
                    .hint("Name rows with true answers: source => 'relation or SELECT'."))
            }
            ("gain" | "split", Some(_)) => {
                let message = format!("importance by {method} is the model's own and takes no source");
                Err(Error::new(Kind::Parameter, message)
                    .hint("Leave the source out, or use method => 'permutation'."))
            }
            _ => Err(Error::new(
                Kind::Parameter,
                format!("method is \"{method}\", expected gain, split or permutation"),
            )),
        }
    });
    TableIterator::new(found.into_iter().map(|r| (r.name.into(), r.importance, r.deviation)))
}

/// A whole number in its range.
pub(super) fn within(name: &str, value: i64, least: i64, most: i64) -> Result<usize> {
    if (least..=most).contains(&value) {
        return Ok(value as usize);
    }
    Err(Error::new(Kind::Parameter, format!("{name} is {value}, expected {least} .. {most}")))
}
