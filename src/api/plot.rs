//! `damson.plot`: one drawing.

use super::report::own_baseline;
use crate::catalog::{Resolved, models, reports, resolve};
use crate::pg::datum::Text;
use crate::pg::error::{Code, Error, Result, answer};
use crate::pg::evaluation::{self, Asked};
use crate::pg::work;
use engine::Kind;
use engine::evaluation::Columns;
use engine::explain::{Draw, Importance};
use pgrx::prelude::*;
use report::plot::{self, Needs, Plot, Svg};

/// Rows that permutation importance is measured on.
const RANKED: usize = 100_000;

#[pg_extern(sql = r#"
CREATE FUNCTION damson.plot(
    model text,
    plot text,
    source text DEFAULT NULL,
    target text DEFAULT NULL,
    class text DEFAULT NULL,
    weight text DEFAULT NULL,
    column_name text DEFAULT NULL)
RETURNS text
LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
COMMENT ON FUNCTION damson.plot IS
'One drawing of a model as SVG.
plot is roc, pr, calibration, gain, lift, probabilities or confusion (of a classification), predictions, residuals or
errors (of a regression), importance, learning_curve, lineage, or distribution (of column_name). From a shell:
psql -Atc "SELECT damson.plot(''churn'', ''roc'')" > roc.svg. model is name, name@alias or name@7.
Without a source, answers are those of the rows that the training held out, or scored out of fold; with one, of its rows:
source, target, class and weight are as in damson.roc. Of several classes all are drawn, the most frequent 8, unless class
names one. importance is by permutation where there is a source. distribution is that of the training, beside that of
source where there is one; it and single rows of the training are for the model''s owner only.
Example: SELECT damson.plot(''churn'', ''calibration'', source => ''customers_2026'');';
"#)]
fn plot(
    model: Text,
    plot: Text,
    source: Option<Text>,
    target: Option<Text>,
    class: Option<Text>,
    weight: Option<Text>,
    column_name: Option<Text>,
) -> Text {
    answer(|| {
        let plot = Plot::parse(&plot)?;
        let columns = Columns { target: target.as_deref(), weight: weight.as_deref() };
        let source = source.as_deref();
        let svg = match plot.needs() {
            Needs::Figures => of_figures(plot, &model, source, columns, class.as_deref())?,
            Needs::Model => importance(&model, source, columns)?,
            Needs::Catalog => of_catalog(plot, &*resolve(&model)?)?,
            Needs::Column => distribution(&*resolve(&model)?, source, column_name.as_deref())?,
        };
        Ok::<String, Error>(svg.into_file())
    })
    .into()
}

fn of_figures(
    plot: Plot,
    model: &str,
    source: Option<&str>,
    columns: Columns,
    class: Option<&str>,
) -> Result<Svg> {
    let resolved = resolve(model)?;
    if let Some(source) = source {
        let asked = Asked { verb: "plot", model, source, columns, other: None };
        return evaluation::run(asked, |scorer, frame, cx| {
            let class = class.map(|c| scorer.against_rest(Some(c))).transpose()?;
            let figures = scorer.scored(frame, columns, cx)?.figures(class);
            let figures = figures.ok_or_else(|| none_drawn(plot, scorer.card().task.name()))?;
            plot::of_figures(plot, &figures)
        });
    }
    let Some(mut figures) = reports::figures(&resolved)? else {
        let message = format!(
            "version {} of model \"{}\" kept no figures of rows that it did not learn from",
            resolved.version, resolved.model
        );
        return Err(Error::new(Code::NotReady, message)
            .hint("Name rows with true answers: source => 'relation or SELECT'."));
    };
    if let Some(class) = class {
        resolved.scorer.against_rest(Some(class))?;
        figures.curves.retain(|c| c.label == class);
        if figures.curves.is_empty() {
            let message = format!("no curve of class \"{class}\" was kept at the training");
            return Err(Error::new(Code::NotReady, message)
                .hint("Name rows with true answers: source => 'relation or SELECT'."));
        }
    }
    Ok(plot::of_figures(plot, &figures)?)
}

fn none_drawn(plot: Plot, task: &str) -> engine::Error {
    engine::Error::new(Kind::Unsupported, format!("there is no plot {} of {task}", plot.name()))
}

fn importance(model: &str, source: Option<&str>, columns: Columns) -> Result<Svg> {
    let Some(source) = source else {
        return Ok(plot::importance(&resolve(model)?.scorer.importance(Importance::Gain)?)?);
    };
    let asked = Asked { verb: "importance", model, source, columns, other: None };
    let ranked = evaluation::run(asked, |scorer, frame, cx| {
        let draw = Draw { most: RANKED, seed: scorer.card().seed };
        scorer.permutation_importance(frame, columns.target, 5, draw, cx)
    })?;
    Ok(plot::importance(&ranked)?)
}

fn of_catalog(plot: Plot, resolved: &Resolved) -> Result<Svg> {
    if plot == Plot::Lineage {
        return Ok(reports::lineage(resolved)?.draw()?.0);
    }
    plot::learning_curves(&reports::rounds(resolved)?)?.into_iter().next().ok_or_else(|| {
        let algorithm = &resolved.scorer.card().algorithm;
        let message = format!("the training by \"{algorithm}\" measured nothing round by round");
        Error::new(Kind::Unsupported, message)
    })
}

fn distribution(resolved: &Resolved, source: Option<&str>, column: Option<&str>) -> Result<Svg> {
    let Some(column) = column else {
        return Err(Error::new(Kind::Parameter, "plot distribution needs a column")
            .hint("Name it: column_name => 'age'."));
    };
    let Some(baseline) = own_baseline(resolved)? else {
        if reports::owned(resolved)? {
            let message = "the version remembers nothing of the rows that it was trained on";
            return Err(Error::new(Code::NotReady, message));
        }
        return Err(models::denied("see the rows of", &resolved.model)
            .hint("Only its owner may, or a member of its owner."));
    };
    let asked = super::drift::Asked {
        choices: Default::default(),
        share: engine::drift::compare::DRIFT_SHARE,
        chosen: Some(vec![column.to_string()]),
    };
    let scorer = &*resolved.scorer;
    let drawn = match source {
        Some(source) => {
            let found = super::drift::find(resolved, source, &asked, None, |_, frame, given, cx| {
                scorer.drawn(&baseline, Some((frame, given)), cx)
            });
            found?.1
        }
        None => {
            let title = work::Title { verb: "plot", object: &resolved.model };
            work::run(title, 0, |cx| scorer.drawn(&baseline, None, cx))?.value
        }
    };
    let drawn = drawn.iter().find(|d| d.name == column).ok_or_else(|| {
        let names: Vec<&str> = baseline.columns.iter().take(40).map(|c| c.name.as_str()).collect();
        engine::Error::new(Kind::UnknownColumn, format!("the baseline has no column \"{column}\""))
            .hint(format!("It has: {}.", names.join(", ")))
    })?;
    Ok(plot::distribution(drawn, false)?)
}
