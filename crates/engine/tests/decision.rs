//! From scores to decisions: class weights, thresholds, calibration and conformal prediction, on real data.

#![allow(clippy::unwrap_used)] // helpers of tests are tests too

use engine::Kind;
use engine::decision::Options;
use engine::fold::{ColumnType, Fold, SourceColumn, train_folded};
use engine::frame::{Column, Data, Dictionary, Frame, Value};
use engine::learner::{Cx, Silent};
use engine::scorer::Scorer;
use engine::split::Split;
use engine::train::{Request, Trained, train};
use std::sync::atomic::AtomicBool;

static GO: AtomicBool = AtomicBool::new(false);

fn cx() -> Cx<'static> {
    Cx { seed: 7, stop: &GO, observer: &Silent }
}

fn column(name: &str, data: Data) -> Column {
    Column { name: name.into(), data, missing: vec![] }
}

fn texts<'a>(values: impl Iterator<Item = &'a str>) -> Data {
    let mut d = Dictionary::default();
    for v in values {
        let code = d.intern(v);
        d.codes.push(code);
    }
    Data::Text(d)
}

/// A table of scikit-learn: its first `keep` features as `x0` and on, and the last column's class as `label`.
fn table(csv: &str, keep: usize, labels: &[&str]) -> Frame {
    let rows: Vec<Vec<f64>> =
        csv.lines().map(|l| l.split(',').map(|v| v.parse().unwrap()).collect()).collect();
    let mut columns: Vec<Column> =
        (0..keep).map(|c| column(&format!("x{c}"), Data::F64(rows.iter().map(|r| r[c]).collect()))).collect();
    let target = |r: &Vec<f64>| *r.last().unwrap();
    match labels {
        [] => columns.push(column("label", Data::F64(rows.iter().map(target).collect()))),
        _ => columns.push(column("label", texts(rows.iter().map(|r| labels[target(r) as usize])))),
    }
    Frame { columns, rows: rows.len() }
}

/// Breast cancer by its first four features: 212 malignant rows and 357 benign ones.
fn cancer() -> Frame {
    table(include_str!("reference/data/breast_cancer.csv"), 4, &["malignant", "benign"])
}

fn request(algorithm: &str, decision: Options) -> Request {
    Request {
        algorithm: algorithm.into(),
        params: "{}".into(),
        preprocess: "{}".into(),
        target: Some("label".into()),
        task: None,
        features: None,
        weight: None,
        offset: None,
        group: None,
        group_by: vec![],
        unknown_group: None,
        decision,
        split: Split::None,
        time_column: None,
        folds: 0,
        seed: 7,
        max_memory: 1 << 32,
    }
}

fn scores(trained: &Trained, frame: &Frame) -> Vec<f64> {
    let rows: Vec<u32> = (0..frame.rows as u32).collect();
    Scorer::load(&trained.artifact).unwrap().score_rows(frame, &rows, &cx()).unwrap()
}

fn far(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

fn weighing(class_weight: &str) -> Options {
    Options { class_weight: Some(class_weight.into()) }
}

/// Trains as an aggregate on two workers would.
fn train_in_aggregate(frame: &Frame, request: &Request) -> engine::Result<Trained> {
    let kind =
        |c: &Column| if matches!(c.data, Data::Text(_)) { ColumnType::Text } else { ColumnType::Float };
    let columns: Vec<SourceColumn> =
        frame.columns.iter().map(|c| SourceColumn { name: c.name.clone(), kind: kind(c) }).collect();
    let mut pass = |order: &[u8]| -> engine::Result<Option<Vec<u8>>> {
        let mut whole = Fold::attach(order)?;
        for part in 0..2 {
            let mut fold = Fold::attach(order)?;
            let places: Vec<usize> =
                fold.columns().iter().map(|c| frame.position(&c.name)).collect::<Result<_, _>>()?;
            for i in frame.rows * part / 2..frame.rows * (part + 1) / 2 {
                let values: Vec<Value> = places.iter().map(|c| frame.columns[*c].value(i)).collect();
                fold.push(&values, &cx())?;
            }
            whole.combine(&fold.partial(&cx())?, &cx())?;
        }
        whole.partial(&cx()).map(Some)
    };
    train_folded(&columns, request, &mut pass, &cx())
}

#[test]
fn class_weights_are_row_weights() {
    let mut frame = cancer();
    let label = frame.position("label").unwrap();
    let malignant = |i: usize| frame.columns[label].value(i) == Value::Text("malignant");
    let by_class =
        |m: f64, b: f64| -> Vec<f64> { (0..frame.rows).map(|i| if malignant(i) { m } else { b }).collect() };
    let given = by_class(7.0, 1.0);
    // 569 rows, 212 and 357: the rows of either class weigh 284.5 in all.
    let balanced = by_class(569.0 / 424.0, 569.0 / 714.0);
    let features = Some((0..4).map(|c| format!("x{c}")).collect());
    for algorithm in ["logistic", "multinomial", "boosting"] {
        let base = Request { features: features.clone(), ..request(algorithm, Options::default()) };
        for (class_weight, weight) in [(r#"{"malignant": 7}"#, &given), ("balanced", &balanced)] {
            let asked = Request { decision: weighing(class_weight), ..base.clone() };
            let found = train(frame.clone(), &asked, &cx()).unwrap();
            let mut weighted = frame.clone();
            weighted.columns.push(column("w", Data::F64(weight.clone())));
            let expected = Request { weight: Some("w".into()), ..base.clone() };
            let expected = train(weighted, &expected, &cx()).unwrap();
            assert_eq!(far(&scores(&found, &frame), &scores(&expected, &frame)), 0.0, "{algorithm}");
            let plain = train(frame.clone(), &base, &cx()).unwrap();
            assert!(far(&scores(&found, &frame), &scores(&plain, &frame)) > 0.01, "{algorithm}");
        }
    }
    // Weights of rows and of classes multiply; balanced counts what rows weigh: 7 * 212 = 1484 and 357.
    let product = by_class(7.0 * 1841.0 / (2.0 * 1484.0), 1841.0 / (2.0 * 357.0));
    frame.columns.push(column("w", Data::F64(given)));
    frame.columns.push(column("product", Data::F64(product)));
    let both = Request { features, weight: Some("w".into()), ..request("logistic", weighing("balanced")) };
    let found = train(frame.clone(), &both, &cx()).unwrap();
    let expected = Request { weight: Some("product".into()), decision: Options::default(), ..both };
    let expected = train(frame.clone(), &expected, &cx()).unwrap();
    assert!(far(&scores(&found, &frame), &scores(&expected, &frame)) < 1e-9);
}

#[test]
fn an_aggregate_weighs_classes_alike() {
    let frame = cancer();
    for class_weight in ["balanced", r#"{"benign": 0.25}"#] {
        let request = request("boosting", weighing(class_weight));
        let threads = train(frame.clone(), &request, &cx()).unwrap();
        let aggregate = train_in_aggregate(&frame, &request).unwrap();
        assert!(far(&scores(&threads, &frame), &scores(&aggregate, &frame)) < 1e-9, "{class_weight}");
    }
}

#[test]
fn class_weights_are_refused_by_name() {
    let refused =
        |frame: Frame, options: Options| train(frame, &request("boosting", options), &cx()).unwrap_err();
    let unknown = refused(cancer(), weighing(r#"{"maligant": 2}"#));
    assert_eq!(
        (unknown.kind, unknown.message.as_str()),
        (Kind::Parameter, "class_weight names class \"maligant\", which the target does not have")
    );
    let diabetes = table(include_str!("reference/data/diabetes.csv"), 10, &[]);
    assert_eq!(refused(diabetes, weighing("balanced")).kind, Kind::Parameter);
    let request = request("boosting", weighing(r#"{"maligant": 2}"#));
    assert_eq!(train_in_aggregate(&cancer(), &request).unwrap_err().kind, Kind::Parameter);
}
