//! `damson.drift_report` and `damson.drift_report_between`: rows then and now as pages to look at.

use super::drift::{Asked, find, find_between};
use crate::catalog::{reports, resolve};
use crate::pg::datum::{Text, TextArray};
use crate::pg::error::{Result, answer};
use engine::drift::histogram::drawn_between;
use engine::drift::quality::quality;
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
        let asked = Asked::parse(method, threshold, columns, drift_share)?;
        of_model(&model, source.0, &asked, predictions)
    })
    .into()
}

fn of_model(model: &str, source: String, asked: &Asked, predictions: Option<bool>) -> Result<String> {
    let resolved = resolve(model)?;
    let (scorer, owned) = (&*resolved.scorer, reports::owned(&resolved)?);
    let mut drift = Drift {
        name: resolved.model.clone(),
        version: Some(resolved.version),
        written: reports::now()?,
        ..Drift::default()
    };
    let (findings, (rows_then, rows_now, columns, issues)) =
        find(&resolved, &source, asked, predictions, |baseline, frame, given, cx| {
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
        let asked = Asked::parse(method, threshold, columns, drift_share)?;
        let (findings, (rows_then, rows_now, columns)) =
            find_between(&reference, &source, &asked, |before, now, cx| {
                Ok((before.rows as u64, now.rows as u64, drawn_between(before, now, cx)?))
            })?;
        let drift = Drift {
            name: reference.0,
            source: source.0,
            rows_then,
            rows_now,
            findings,
            columns,
            written: reports::now()?,
            ..Drift::default()
        };
        Ok::<String, crate::pg::error::Error>(page(&drift)?)
    })
    .into()
}
