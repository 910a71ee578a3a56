//! `damson.report`: a version of a model as a page to look at.

use crate::catalog::{Resolved, baselines, reports, resolve};
use crate::pg::datum::Text;
use crate::pg::error::{Code, Result, answer};
use crate::pg::evaluation::{self, Asked};
use crate::pg::work;
use engine::drift::Baseline;
use engine::evaluation::Columns;
use engine::explain::Importance;
use pgrx::prelude::*;

#[pg_extern(sql = r#"
CREATE FUNCTION damson.report(
    model text,
    source text DEFAULT NULL,
    target text DEFAULT NULL,
    weight text DEFAULT NULL)
RETURNS text
LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
COMMENT ON FUNCTION damson.report IS
'A version of a model as one HTML page: its card, metrics with intervals, curves, importance, data, lineage and drift.
The page is a file of its own: it runs nothing, fetches nothing, and is light or dark as its reader''s system is. From a
shell: psql -Atc "SELECT damson.report(''churn'')" > churn.html. model is name, name@alias or name@7.
Curves, confusion matrix and intervals are of the rows that the training held out, or scored out of fold: their figures
are kept with the version (some kilobytes), not the rows. Trained without either, the page has metrics alone and says so.
source, a relation''s name or a SELECT read with your rights, has the model measured on these rows too; target is
their column of true answers, by default the one that the model was trained on, and weight one of row weights.
Distributions of the training''s columns, single residuals and the source''s text show values of rows: they are on the
page of the model''s owner only. Lineage and drift show what you may see of them.
Example: SELECT damson.report(''churn@3'', source => ''customers_2026'');';
"#)]
fn report(model: Text, source: Option<Text>, target: Option<Text>, weight: Option<Text>) -> Text {
    answer(|| page(&model, source, target.as_deref(), weight.as_deref())).into()
}

fn page(model: &str, source: Option<Text>, target: Option<&str>, weight: Option<&str>) -> Result<String> {
    let resolved = resolve(model)?;
    let scorer = &*resolved.scorer;
    let mut page = reports::of(&resolved)?;
    page.importance = scorer.importance(Importance::Gain).ok().map(|ranked| ("gain", ranked));
    if let Some(baseline) = own_baseline(&resolved)? {
        let title = work::Title { verb: "report", object: &resolved.model };
        page.columns = work::run(title, 0, |cx| scorer.drawn(&baseline, None, cx))?.value;
    }
    if let Some(source) = source {
        let columns = Columns { target, weight };
        let asked = Asked { verb: "report", model, source: &source, columns, other: None };
        let found = evaluation::run(asked, |scorer, frame, cx| scorer.examine(frame, columns, None, cx))?;
        if page.importance.is_none() {
            page.importance = Some(("permutation", found.importance.clone()));
        }
        page.given = Some((source.0, found));
    }
    Ok(report::model::page(&page)?)
}

/// What a version remembers of its rows, for its owner; none where it remembers nothing.
pub(super) fn own_baseline(resolved: &Resolved) -> Result<Option<Baseline>> {
    if !reports::owned(resolved)? {
        return Ok(None);
    }
    match baselines::of(resolved) {
        Err(e) if e.code == Code::NotReady => Ok(None),
        found => found.map(Some),
    }
}
