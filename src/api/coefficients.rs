//! `damson.coefficients`: the coefficients of a linear model, and how sure they are.

use crate::catalog::resolve;
use crate::pg::datum::Text;
use crate::pg::error::{Error, answer};
use engine::Kind;
use pgrx::prelude::*;

#[pg_extern(sql = r#"
CREATE FUNCTION damson.coefficients(model text)
RETURNS TABLE (
    class text, term text, estimate double precision, std_error double precision, statistic double precision,
    p_value double precision, lower double precision, upper double precision)
LANGUAGE c STABLE STRICT PARALLEL RESTRICTED ROWS 20
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
COMMENT ON FUNCTION damson.coefficients(text) IS
'The coefficients of a linear model with their standard errors, tests and confidence intervals.
They are for the columns as they are in the source, also where preprocessing standardised them. class is set for models
with coefficients by class: for multinomial the class, for the thresholds of ordinal the class below. statistic is
estimate by error, t for linear and z for the others; p_value is two-sided; lower and upper bound the confidence interval
(parameter confidence_level). What a model does not know is NULL: errors of penalised models, and of columns that got
coefficient 0 for being constant or a combination of others.
Example: SELECT term, estimate, std_error, p_value FROM damson.coefficients(''claims'');';
"#)]
#[allow(clippy::type_complexity)] // It is the SQL function's result.
fn coefficients(
    model: Text,
) -> TableIterator<
    'static,
    (
        name!(class, Option<Text>),
        name!(term, Text),
        name!(estimate, Option<f64>),
        name!(std_error, Option<f64>),
        name!(statistic, Option<f64>),
        name!(p_value, Option<f64>),
        name!(lower, Option<f64>),
        name!(upper, Option<f64>),
    ),
> {
    let rows = answer(|| {
        let resolved = resolve(&model)?;
        let found = resolved.scorer.coefficients();
        if found.is_empty() {
            let algorithm = &resolved.scorer.card().algorithm;
            let message =
                format!("model \"{}\" has no coefficients: its algorithm is {algorithm}", resolved.model);
            return Err(Error::new(Kind::Unsupported, message)
                .hint("damson.describe shows what there is to know of it."));
        }
        let known = |v: f64| (!v.is_nan()).then_some(v);
        let row = |(class, c): (Option<&str>, engine::learner::Coefficient)| {
            (
                class.map(Text::from),
                c.term.into(),
                known(c.estimate),
                known(c.std_error),
                known(c.statistic),
                known(c.p_value),
                known(c.lower),
                known(c.upper),
            )
        };
        Ok(found.into_iter().map(row).collect::<Vec<_>>())
    });
    TableIterator::new(rows)
}
