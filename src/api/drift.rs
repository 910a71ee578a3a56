//! `damson.drift`: rows beside those that a model was trained on.

use crate::catalog::{Resolved, baselines, resolve};
use crate::pg::datum::{Text, TextArray};
use crate::pg::error::{Result, answer};
use crate::pg::query::{self, Wanted};
use crate::pg::{settings, work};
use engine::drift::baseline::Predictions;
use engine::drift::{Baseline, Choices, Finding, between, compare};
use engine::frame::Frame;
use engine::learner::Cx;
use pgrx::prelude::*;

/// A row of the verbs of drift.
pub(super) type FindingRow =
    (Option<Text>, Text, Text, Option<f64>, Option<f64>, Option<f64>, bool, Option<f64>);

/// A finding as a row; what is undefined is NULL.
pub(super) fn row(finding: Finding) -> FindingRow {
    let shown = finding.shown();
    let role = match (&finding.column, finding.role) {
        (None, _) => "dataset",
        (_, Some(role)) => role.name(),
        (_, None) => "column",
    };
    (
        finding.column.map(Text),
        role.to_string().into(),
        finding.method.to_string().into(),
        shown.statistic,
        shown.p_value,
        shown.threshold,
        finding.drifted,
        shown.error,
    )
}

#[pg_extern(sql = r#"
CREATE FUNCTION damson.drift(
    model text,
    source text,
    method text DEFAULT NULL,
    threshold double precision DEFAULT NULL,
    columns text[] DEFAULT NULL,
    predictions boolean DEFAULT true,
    drift_share double precision DEFAULT 0.5)
RETURNS TABLE (
    "column" text, role text, method text, statistic double precision, p_value double precision,
    threshold double precision, drifted boolean, error double precision)
LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE ROWS 30
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
COMMENT ON FUNCTION damson.drift IS
'Compares rows with those that a model was trained on: its features, its target and its predictions.
model is name, name@alias or name@7. source is a relation''s name or a SELECT; it is read with your rights, once. First
comes the dataset, whose statistic is the share of drifted features and which drifts from drift_share on; then each
feature, the target where the source has it, and, unless predictions is false, what the model predicts now.
Methods, thresholds and defaults are Evidently''s. By default up to 1000 baseline rows numbers are compared by ks, and
categories and numbers of at most 5 values by chisquare or, of 2, by z; from 1001 rows on by wasserstein (in standard
deviations) and jensenshannon. method names another for all columns that it serves: ks, wasserstein, t_test, mannw,
anderson, cramer_von_mises, ed (of numbers), chisquare, z, tvd (of categories), jensenshannon, psi, kl_div, hellinger;
or is a JSON object by column, {"age": "psi", "city": {"method": "z", "threshold": 0.01}}, in which chisquare, z and tvd
also count the values of numbers. threshold is that of the p-value, where there is one, else of the statistic; columns
that the chosen method does not serve keep their default of both.
What the model remembers is small: exact up to 2048 different values a column, grouped beyond. error says how far that may
put the statistic off; 0 where it is exact, NULL where no bound is known. A column without values on one side has method
missing, and has drifted. columns chooses columns, prediction and probability among them. Numbers are shown to 9 digits.
Example: SELECT * FROM damson.drift(''churn'', ''customers_2026'') WHERE drifted;';
"#)]
#[allow(clippy::type_complexity)] // It is the SQL function's result.
fn drift(
    model: Text,
    source: Text,
    method: Option<Text>,
    threshold: Option<f64>,
    columns: Option<TextArray>,
    predictions: Option<bool>,
    drift_share: Option<f64>,
) -> TableIterator<
    'static,
    (
        name!(column, Option<Text>),
        name!(role, Text),
        name!(method, Text),
        name!(statistic, Option<f64>),
        name!(p_value, Option<f64>),
        name!(threshold, Option<f64>),
        name!(drifted, bool),
        name!(error, Option<f64>),
    ),
> {
    let found = answer(|| {
        let asked = Asked::parse(method, threshold, columns, drift_share)?;
        Ok(find(&*resolve(&model)?, &source, &asked, predictions, |_, _, _, _| Ok(()))?.0)
    });
    TableIterator::new(found.into_iter().map(row))
}

/// What is to be compared, and how.
pub(super) struct Asked {
    pub(super) choices: Choices,
    pub(super) share: f64,
    pub(super) chosen: Option<Vec<String>>,
}

impl Asked {
    /// From the arguments that the verbs of drift share.
    pub(super) fn parse(
        method: Option<Text>,
        threshold: Option<f64>,
        columns: Option<TextArray>,
        drift_share: Option<f64>,
    ) -> Result<Asked> {
        Ok(Asked {
            choices: Choices::parse(method.as_deref(), threshold)?,
            share: compare::drift_share(drift_share)?,
            chosen: columns.map(|c| c.without_nulls("columns")).transpose()?,
        })
    }
}

/// Compares rows with a model's; what else is to be known of them is asked meanwhile.
pub(super) fn find<T: Send>(
    resolved: &Resolved,
    source: &str,
    asked: &Asked,
    predictions: Option<bool>,
    also: impl FnOnce(&Baseline, &Frame, &Predictions, &Cx) -> engine::Result<T> + Send,
) -> Result<(Vec<Finding>, T)> {
    let Asked { choices, share, chosen } = asked;
    let chosen = chosen.as_deref();
    let baseline = baselines::of(resolved)?;
    let scorer = &*resolved.scorer;
    let predicts = predictions.unwrap_or(true) && baseline.predicts(chosen);
    let there: Vec<String> = query::describe(source)?.into_iter().map(|c| c.0).collect();
    let mut wanted: Vec<String> = baseline.features(chosen).map(String::from).collect();
    wanted.extend(baseline.target(chosen).filter(|t| there.iter().any(|n| n == t)).map(String::from));
    if predicts {
        let inputs = scorer.card().inputs.iter().map(|i| i.name.clone());
        wanted.extend(inputs.chain(scorer.card().offset.clone()));
    }
    let mut columns: Vec<String> = vec![];
    for name in wanted {
        if !columns.contains(&name) {
            columns.push(name);
        }
    }
    let frame = query::read(source, Wanted::Only(&columns), settings::max_memory())?;
    let title = work::Title { verb: "drift", object: &resolved.model };
    let found = work::run(title, scorer.card().seed, |cx| {
        let given = if predicts { scorer.predictions(&frame, cx)? } else { Predictions::default() };
        let found = baseline.compare(&frame, &given, chosen, choices, *share, cx)?;
        Ok((found, also(&baseline, &frame, &given, cx)?))
    })?;
    Ok(found.value)
}

/// Compares the rows of two sources; what else is to be known of them is asked meanwhile.
pub(super) fn find_between<T: Send>(
    reference: &str,
    source: &str,
    asked: &Asked,
    also: impl FnOnce(&Frame, &Frame, &Cx) -> engine::Result<T> + Send,
) -> Result<(Vec<Finding>, T)> {
    let Asked { choices, share, chosen } = asked;
    let chosen = chosen.as_deref();
    let wanted = chosen.map_or(Wanted::All, Wanted::Only);
    let limit = settings::max_memory();
    let before = query::read(reference, wanted, limit)?;
    let now = query::read(source, wanted, limit.saturating_sub(before.bytes()))?;
    let title = work::Title { verb: "drift", object: "two sources" };
    let found = work::run(title, 0, |cx| {
        let found = between(&before, &now, chosen, choices, *share, cx)?;
        Ok((found, also(&before, &now, cx)?))
    })?;
    Ok(found.value)
}
