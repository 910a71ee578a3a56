//! Two versions of a model on the same rows: how their answers differ, and, where the true answers are known, which
//! is better. Caller: the server's `shadow`.

use super::Columns;
use crate::error::{Error, Kind, Result};
use crate::frame::{Frame, Selection};
use crate::learner::Cx;
use crate::schema::Task;
use crate::scorer::Scorer;
use std::collections::BTreeSet;

/// Classes whose shares are told; a target can have thousands.
const CLASSES: usize = 50;

/// One comparison of a champion with its challenger.
#[derive(Debug, Clone, PartialEq)]
pub struct Compared {
    /// What is compared: a metric, `share of CLASS`, `mean`, or one of the measures of how much they differ.
    pub name: String,
    /// Its value for the champion, and for the challenger; none for a measure of both.
    pub pair: Option<(f64, f64)>,
    /// The challenger's value less the champion's, or the measure of both.
    pub value: f64,
    /// Rows that it is of.
    pub rows: usize,
}

/// The answers of a model to some rows: a value a row, or the probabilities of its classes row by row.
#[derive(Debug, Clone, Copy)]
pub struct Answers<'a> {
    /// The classes; empty for numbers.
    pub classes: &'a [String],
    /// `rows * max(1, classes.len())` values.
    pub scores: &'a [f64],
    /// The class that each row is decided to be of; empty for numbers.
    pub decided: &'a [usize],
}

impl Answers<'_> {
    fn rows(&self) -> usize {
        self.scores.len() / self.classes.len().max(1)
    }

    fn probability(&self, row: usize, class: &str) -> f64 {
        let at = self.classes.iter().position(|c| c == class);
        at.map_or(0.0, |at| self.scores[row * self.classes.len() + at])
    }
}

/// Scores all rows of a frame by two versions of one model and compares them; `columns` of true answers are wanted for
/// metrics. Rows that either version answers nothing to (of groups that it does not know) are left out, but of metrics,
/// which each version is measured by as in an evaluation.
///
/// # Errors
/// `Kind::Unsupported` for clusters and embeddings, whose numbers mean nothing from one version to another;
/// `Kind::Data` for no rows; those of scoring and of evaluation.
pub fn compare(
    champion: &Scorer,
    challenger: &Scorer,
    frame: &Frame,
    columns: Option<Columns>,
    cx: &Cx,
) -> Result<Vec<Compared>> {
    let task = champion.card().task;
    if matches!(task, Task::Clustering | Task::Embedding) || task != challenger.card().task {
        let message = format!("answers of {} do not compare from one version to another", task.name());
        return Err(Error::new(Kind::Unsupported, message));
    }
    if frame.rows == 0 {
        return Err(Error::new(Kind::Data, "the source has no rows, expected one or more"));
    }
    let all = Selection::All(frame.rows);
    let (mut a, mut b) = (champion.score_rows(frame, all, cx)?, challenger.score_rows(frame, all, cx)?);
    let (width_a, width_b) = (champion.outputs(), challenger.outputs());
    let answered: Vec<usize> =
        (0..frame.rows).filter(|i| !a[i * width_a].is_nan() && !b[i * width_b].is_nan()).collect();
    keep(&mut a, width_a, &answered);
    keep(&mut b, width_b, &answered);
    let decide = |scorer: &Scorer, scores: &[f64]| -> Vec<usize> {
        match task {
            Task::Classification => scores.chunks(scorer.outputs()).map(|p| scorer.decide(p)).collect(),
            _ => vec![],
        }
    };
    let (decided_a, decided_b) = (decide(champion, &a), decide(challenger, &b));
    let mut found = if task == Task::Multilabel {
        differences_of_sets((champion, &a), (challenger, &b))
    } else {
        differences(
            Answers { classes: &champion.card().classes, scores: &a, decided: &decided_a },
            Answers { classes: &challenger.card().classes, scores: &b, decided: &decided_b },
        )
    };
    if let Some(columns) = columns {
        let measure = |scorer: &Scorer| scorer.evaluate(frame, columns, None, 0.95, cx);
        let (before, after) = (measure(champion)?, measure(challenger)?);
        for m in before {
            if let Some(n) = after.iter().find(|n| n.name == m.name) {
                found.push(pair(&m.name, m.value, n.value, n.rows));
            }
        }
    }
    Ok(found)
}

fn keep(scores: &mut Vec<f64>, width: usize, rows: &[usize]) {
    if rows.len() * width < scores.len() {
        *scores = rows.iter().flat_map(|i| scores[i * width..(i + 1) * width].iter().copied()).collect();
    }
}

fn pair(name: &str, champion: f64, challenger: f64, rows: usize) -> Compared {
    Compared { name: name.into(), pair: Some((champion, challenger)), value: challenger - champion, rows }
}

/// How sets of labels for the same rows differ: the `agreement` (the share of rows that are given the very same set), the
/// share of rows with each label, and the mean, root mean squared and largest difference of a label's probability.
fn differences_of_sets(champion: (&Scorer, &[f64]), challenger: (&Scorer, &[f64])) -> Vec<Compared> {
    let sides = [champion, challenger];
    let names = sides.map(|(scorer, _)| &scorer.card().classes);
    let rows = champion.1.len() / names[0].len().max(1);
    let given = sides.map(|(scorer, scores)| -> Vec<BTreeSet<&String>> {
        let set = |p| scorer.labels(p).map(|label| &scorer.card().classes[label]).collect();
        scores.chunks_exact(scorer.outputs()).map(set).collect()
    });
    if rows == 0 || given[1].len() != rows {
        return vec![];
    }
    let both = |name: &str, value: f64| Compared { name: name.into(), pair: None, value, rows };
    let share = |of: &dyn Fn(usize) -> bool| (0..rows).filter(|i| of(*i)).count() as f64 / rows as f64;
    let mut found = vec![both("agreement", share(&|i| given[0][i] == given[1][i]))];
    let mut labels: Vec<&String> = names[0].iter().collect();
    labels.extend(names[1].iter().filter(|label| !names[0].contains(label)));
    for label in labels.iter().take(CLASSES) {
        let [before, after] = [0, 1].map(|side: usize| share(&|i| given[side][i].contains(label)));
        found.push(pair(&format!("share of {label}"), before, after, rows));
    }
    let (mut sum, mut squares, mut largest) = (0.0, 0.0, 0.0f64);
    for label in &labels {
        let places = [0, 1].map(|side: usize| names[side].iter().position(|name| name == *label));
        let p =
            |side: usize, i: usize| places[side].map_or(0.0, |at| sides[side].1[i * names[side].len() + at]);
        for i in 0..rows {
            let apart = (p(1, i) - p(0, i)).abs();
            (sum, squares, largest) = (sum + apart, squares + apart * apart, largest.max(apart));
        }
    }
    let values = (rows * labels.len()) as f64;
    found.push(both("mean_absolute_difference", sum / values));
    found.push(both("root_mean_squared_difference", (squares / values).sqrt()));
    found.push(both("largest_difference", largest));
    found
}

/// How answers to the same rows differ. Of numbers: the `agreement` (the share of rows with the very same one), their
/// means, the mean absolute, root mean squared and largest difference, and Pearson's correlation. Of classes: the
/// share of rows that are decided alike, the share of each class, and the same measures of the total variation distance
/// between the probabilities of a row; the correlation is of the second class of two. What is undefined is left out.
pub fn differences(champion: Answers, challenger: Answers) -> Vec<Compared> {
    let rows = champion.rows();
    if rows == 0 || challenger.rows() != rows {
        return vec![];
    }
    let both = |name: &str, value: f64| Compared { name: name.into(), pair: None, value, rows };
    let mean = |of: &dyn Fn(usize) -> f64| (0..rows).map(of).sum::<f64>() / rows as f64;
    let share = |of: &dyn Fn(usize) -> bool| (0..rows).filter(|i| of(*i)).count() as f64 / rows as f64;
    let mut found = vec![];
    let (distances, correlated): (Vec<f64>, Option<String>) = if champion.classes.is_empty() {
        let (a, b) = (champion.scores, challenger.scores);
        found.push(both("agreement", share(&|i| a[i] == b[i])));
        found.push(pair("mean", mean(&|i| a[i]), mean(&|i| b[i]), rows));
        ((0..rows).map(|i| (b[i] - a[i]).abs()).collect(), Some(String::new()))
    } else {
        let mut classes: Vec<&String> = champion.classes.iter().collect();
        classes.extend(challenger.classes.iter().filter(|c| !champion.classes.contains(c)));
        let of = |answers: &Answers, i: usize| answers.classes[answers.decided[i]].clone();
        found.push(both("agreement", share(&|i| of(&champion, i) == of(&challenger, i))));
        for class in classes.iter().take(CLASSES) {
            let of_class = |answers: &Answers| share(&|i| of(answers, i) == **class);
            found.push(pair(&format!("share of {class}"), of_class(&champion), of_class(&challenger), rows));
        }
        let distance = |i: usize| {
            let apart = |c: &&String| (champion.probability(i, c) - challenger.probability(i, c)).abs();
            classes.iter().map(apart).sum::<f64>() / 2.0
        };
        let second = (classes.len() == 2).then(|| classes[1].clone());
        ((0..rows).map(distance).collect(), second)
    };
    found.push(both("mean_absolute_difference", mean(&|i| distances[i])));
    found.push(both("root_mean_squared_difference", mean(&|i| distances[i] * distances[i]).sqrt()));
    found.push(both("largest_difference", distances.iter().copied().fold(0.0, f64::max)));
    if let Some(class) = correlated {
        let value = |answers: &Answers, i: usize| {
            if answers.classes.is_empty() { answers.scores[i] } else { answers.probability(i, &class) }
        };
        let (mean_a, mean_b) = (mean(&|i| value(&champion, i)), mean(&|i| value(&challenger, i)));
        let product = |x: &Answers, mx: f64, y: &Answers, my: f64| {
            (0..rows).map(|i| (value(x, i) - mx) * (value(y, i) - my)).sum::<f64>()
        };
        let spread =
            product(&champion, mean_a, &champion, mean_a) * product(&challenger, mean_b, &challenger, mean_b);
        if spread > 0.0 {
            let r = product(&champion, mean_a, &challenger, mean_b) / spread.sqrt();
            found.push(both("correlation", r.clamp(-1.0, 1.0)));
        }
    }
    found
}
