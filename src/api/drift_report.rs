//! `damson.drift_report` and `damson.drift_report_between`: rows then and now as pages to look at.

use super::drift::{Asked, find};
use crate::catalog::{reports, resolve};
use crate::pg::datum::{Text, TextArray};
use crate::pg::error::{Result, answer};
use crate::pg::query::{self, Wanted};
use crate::pg::{settings, work};
use engine::drift::histogram::drawn_between;
use engine::drift::quality::quality;
use engine::drift::{Choices, between, compare};
use pgrx::prelude::*;
use report::drift::{Drift, page};

#[pg_extern(sql = r#"
CREATE FUNCTION damson.drift_report(
    model text,
    source text,
    method text DEFAULT NULL,
    threshold double precision DEFAULT NULL,
    columns text[] DEFAULT NULL,
    predictions boolean DEFAULT true,
    drift_share double precision DEFAULT 0.5)
RETURNS text
LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
COMMENT ON FUNCTION damson.drift_report IS
'Rows of today beside those that a model was trained on, as one HTML page: what drifted, and the values then and now.
The arguments and the numbers are those of damson.drift; data quality is that of damson.data_quality. The page is a file of
its own, as that of damson.report. The values of the training are shown to the model''s owner only: others see how far
each column moved.
Example: SELECT damson.drift_report(''churn'', ''customers_2026'');';
"#)]
fn drift_report(
    model: Text,
    source: Text,
    method: Option<Text>,
    threshold: Option<f64>,
    columns: Option<TextArray>,
    predictions: Option<bool>,
    drift_share: Option<f64>,
) -> Text {
    answer(|| {
        let asked = Asked {
            choices: Choices::parse(method.as_deref(), threshold)?,
            share: compare::drift_share(drift_share)?,
            chosen: columns.map(|c| c.without_nulls("columns")).transpose()?,
            predictions: predictions.unwrap_or(true),
        };
        of_model(&model, source.0, &asked)
    })
    .into()
}

fn of_model(model: &str, source: String, asked: &Asked) -> Result<String> {
    let resolved = resolve(model)?;
    let (scorer, owned) = (&*resolved.scorer, reports::owned(&resolved)?);
    let mut drift = Drift {
        name: resolved.model.clone(),
        version: Some(resolved.version),
        written: reports::now()?,
        ..Drift::default()
    };
    let (findings, (rows_then, rows_now, columns, issues)) =
        find(&resolved, &source, asked, |baseline, frame, given, cx| {
            let columns = if owned { scorer.drawn(baseline, Some((frame, given)), cx)? } else { vec![] };
            Ok((baseline.rows(), frame.rows, columns, quality(frame, Some(&baseline.within(frame)), cx)?))
        })?;
    (drift.rows_then, drift.rows_now) = (rows_then, rows_now as u64);
    (drift.source, drift.findings, drift.columns, drift.issues) = (source, findings, columns, issues);
    Ok(page(&drift)?)
}

#[pg_extern(sql = r#"
CREATE FUNCTION damson.drift_report_between(
    reference text,
    source text,
    method text DEFAULT NULL,
    threshold double precision DEFAULT NULL,
    columns text[] DEFAULT NULL,
    drift_share double precision DEFAULT 0.5)
RETURNS text
LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
COMMENT ON FUNCTION damson.drift_report_between IS
'The rows of two relations or SELECTs beside each other, as one HTML page: what drifted, and the values then and now.
The arguments and the numbers are those of damson.drift_between. The page is a file of its own, as that of damson.report.
Example: SELECT damson.drift_report_between(''orders_2025'', ''orders_2026'', method => ''psi'');';
"#)]
fn drift_report_between(
    reference: Text,
    source: Text,
    method: Option<Text>,
    threshold: Option<f64>,
    columns: Option<TextArray>,
    drift_share: Option<f64>,
) -> Text {
    answer(|| {
        let choices = Choices::parse(method.as_deref(), threshold)?;
        let share = compare::drift_share(drift_share)?;
        let chosen = columns.map(|c| c.without_nulls("columns")).transpose()?;
        let wanted = chosen.as_deref().map_or(Wanted::All, Wanted::Only);
        let limit = settings::max_memory();
        let before = query::read(&reference, wanted, limit)?;
        let now = query::read(&source, wanted, limit.saturating_sub(before.bytes()))?;
        let title = work::Title { verb: "drift", object: "two sources" };
        let (findings, columns) = work::run(title, 0, |cx| {
            let findings = between(&before, &now, chosen.as_deref(), &choices, share, cx)?;
            Ok((findings, drawn_between(&before, &now, cx)?))
        })?
        .value;
        let drift = Drift {
            name: reference.0,
            source: source.0,
            rows_then: before.rows as u64,
            rows_now: now.rows as u64,
            findings,
            columns,
            written: reports::now()?,
            ..Drift::default()
        };
        Ok::<String, crate::pg::error::Error>(page(&drift)?)
    })
    .into()
}
