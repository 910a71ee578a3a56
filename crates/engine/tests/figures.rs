//! What a training keeps of its answers to rows that it did not learn from, and what it makes of other rows.

#![allow(clippy::unwrap_used)] // helpers of tests are tests too

use engine::evaluation::Columns;
use engine::evaluation::figures::{Figures, Part};
use engine::frame::{Column, Data, Dictionary, Frame};
use engine::learner::{Cx, Silent};
use engine::scorer::Scorer;
use engine::split::Split;
use engine::train::{Request, Trained, train};
use std::sync::atomic::AtomicBool;

static GO: AtomicBool = AtomicBool::new(false);

fn cx() -> Cx<'static> {
    Cx { seed: 7, stop: &GO, observer: &Silent }
}

/// A table of scikit-learn: its features as `x0` and on, and the last column as `label`; as text where it has names.
fn table(csv: &str, labels: &[&str]) -> Frame {
    let rows: Vec<Vec<f64>> =
        csv.lines().map(|l| l.split(',').map(|v| v.parse().unwrap()).collect()).collect();
    let last = rows[0].len() - 1;
    let numbers = |c: usize| Data::F64(rows.iter().map(|r| r[c]).collect());
    let mut columns: Vec<Column> =
        (0..last).map(|c| Column { name: format!("x{c}"), data: numbers(c), missing: vec![] }).collect();
    let target = if labels.is_empty() {
        numbers(last)
    } else {
        let mut names = Dictionary::default();
        for row in &rows {
            let code = names.intern(labels[row[last] as usize]);
            names.codes.push(code);
        }
        Data::Text(names)
    };
    columns.push(Column { name: "label".into(), data: target, missing: vec![] });
    Frame { columns, rows: rows.len() }
}

fn cancer() -> Frame {
    table(include_str!("reference/data/breast_cancer.csv"), &["malignant", "benign"])
}

fn request(algorithm: &str) -> Request {
    Request { algorithm: algorithm.into(), target: Some("label".into()), ..Request::default() }
}

fn metric(trained: &Trained, split: &str, name: &str) -> f64 {
    trained.metrics.iter().find(|m| m.split == split && m.name == name).unwrap().value
}

#[test]
fn a_hold_out_keeps_its_metrics_with_intervals_and_curves() {
    let split = Split::Random { test_size: 0.3 };
    let trained = train(cancer(), &Request { split, ..request("logistic") }, &cx()).unwrap();
    let figures = trained.figures.as_ref().unwrap();
    assert_eq!((figures.part, figures.rows, figures.drawn), (Part::Test, 171, 171));
    for m in &figures.measures {
        assert_eq!(m.value, metric(&trained, "test", &m.name), "{}", m.name);
        let (low, high) = m.interval.unwrap();
        assert!(low <= m.value && m.value <= high && low < high, "{}: {low} .. {high}", m.name);
    }
    assert!((figures.curves[0].auc - metric(&trained, "test", "auc")).abs() < 1e-12);
    let matrix = figures.confusion.as_ref().unwrap();
    assert_eq!(matrix.labels, ["benign", "malignant"]);
    let right = (matrix.cells[0] + matrix.cells[3]) as f64 / 171.0;
    assert!((right - metric(&trained, "test", "accuracy")).abs() < 1e-12);
    assert_eq!(Figures::decode(&figures.encode().unwrap()).unwrap(), *figures);
}

#[test]
fn folds_are_drawn_out_of_fold() {
    let trained = train(cancer(), &Request { folds: 5, ..request("logistic") }, &cx()).unwrap();
    let figures = trained.figures.as_ref().unwrap();
    assert_eq!((figures.part, figures.rows), (Part::Folds, 569));
    assert!(figures.measures.is_empty());
    // Of all rows together, and the mean over folds: not the same, and not far apart.
    let mean = metric(&trained, "cv", "auc");
    assert!((figures.curves[0].auc - mean).abs() < 0.01, "{} and {mean}", figures.curves[0].auc);
    let matrix = figures.confusion.as_ref().unwrap();
    let right = (matrix.cells[0] + matrix.cells[3]) as f64 / 569.0;
    assert!((right - metric(&trained, "cv", "accuracy")).abs() < 1e-3);
}

#[test]
fn a_regression_keeps_errors() {
    let csv = include_str!("reference/data/diabetes.csv");
    let split = Split::Random { test_size: 0.25 };
    let trained = train(table(csv, &[]), &Request { split, ..request("ridge") }, &cx()).unwrap();
    let errors = trained.figures.as_ref().unwrap().errors.as_ref().unwrap();
    let squares: f64 = errors.points.iter().map(|(p, y)| f64::from(y - p).powi(2)).sum();
    let rmse = (squares / errors.points.len() as f64).sqrt();
    assert_eq!(errors.points.len(), 111);
    assert!((rmse - metric(&trained, "test", "rmse")).abs() < 1e-3, "{rmse}");
}

#[test]
fn what_was_learnt_from_is_not_drawn() {
    assert_eq!(train(cancer(), &request("logistic"), &cx()).unwrap().figures, None);
    let mut rows = cancer();
    rows.columns.pop();
    let clusters = Request { target: None, ..request("kmeans") };
    assert_eq!(train(rows, &clusters, &cx()).unwrap().figures, None);
}

#[test]
fn figures_do_not_depend_on_threads() {
    let split = Split::Random { test_size: 0.3 };
    let draw = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let request = Request { split, ..request("boosting") };
        pool.install(|| train(cancer(), &request, &cx())).unwrap().figures.unwrap().encode().unwrap()
    };
    assert_eq!(draw(1), draw(3));
}

#[test]
fn other_rows_are_measured_and_drawn() {
    let frame = cancer();
    let trained = train(frame.clone(), &request("logistic"), &cx()).unwrap();
    let scorer = Scorer::load(&trained.artifact).unwrap();
    let found = scorer.examine(&frame, Columns::default(), None, &cx()).unwrap();
    assert_eq!(found.rows, 569);
    let auc = found.measures.iter().find(|m| m.name == "auc").unwrap().value;
    assert_eq!(auc, metric(&trained, "train", "auc"));
    assert_eq!(found.figures.unwrap().part, Part::Given);
    // The model knows by itself which inputs matter.
    assert!(found.importance.is_empty());

    let mut rows = cancer();
    rows.columns.pop();
    let clusters = train(rows.clone(), &Request { target: None, ..request("kmeans") }, &cx()).unwrap();
    let found = Scorer::load(&clusters.artifact).unwrap().examine(&rows, Columns::default(), None, &cx());
    let found = found.unwrap();
    assert!(found.figures.is_none() && found.measures.iter().any(|m| m.name == "silhouette"));
}
