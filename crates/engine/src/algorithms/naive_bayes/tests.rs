//! Agreement with scikit-learn (`tests/reference/naive_bayes.py` recorded its numbers) of this and of `dummy`,
//! missing values, and the hard cases.

use super::{Model, NaiveBayes};
use crate::algorithms::dummy::Dummy;
use crate::error::{Kind, Result};
use crate::learner::{Cx, Learner, Model as _, Silent};
use crate::params::Values;
use crate::run::{Table, fit};
use crate::schema::{FeatureKind, Schema, Task};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::atomic::AtomicBool;

fn train_any<L: Learner>(params: &Value, table: &Table) -> Result<L::Model> {
    let stop = AtomicBool::new(false);
    let cx = Cx { seed: 0, stop: &stop, observer: &Silent };
    let values = Values::parse(L::INFO.name, L::INFO.params, &params.to_string())?;
    let model = fit::<L>(&L::params(&values, table.schema())?, table.schema(), table, &cx)?;
    model.validate(table.schema())?;
    Ok(model)
}

fn train(params: &Value, table: &Table) -> Result<Model> {
    train_any::<NaiveBayes>(params, table)
}

fn floats(v: &Value) -> Vec<f64> {
    v.as_array().map_or_else(|| vec![v.as_f64().unwrap()], |items| items.iter().flat_map(floats).collect())
}

fn recorded() -> Value {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference");
    serde_json::from_str(&std::fs::read_to_string(folder.join("naive_bayes.json")).unwrap()).unwrap()
}

/// Features, targets and the number of features.
fn data(name: &str) -> (Vec<f64>, Vec<f64>, usize) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/data");
    let text = std::fs::read_to_string(folder.join(format!("{name}.csv"))).unwrap();
    let (mut x, mut y, mut width) = (vec![], vec![], 0);
    for line in text.lines() {
        let mut row: Vec<f64> = line.split(',').map(|v| v.parse().unwrap()).collect();
        y.push(row.pop().unwrap());
        width = row.len();
        x.extend(row);
    }
    (x, y, width)
}

fn table(x: Vec<f64>, y: Vec<f64>, classes: usize) -> Table {
    let task = if classes > 0 { Task::Classification } else { Task::Regression };
    Table::new(Schema::numeric(x.len() / y.len(), task, classes, y.len()), x, y).unwrap()
}

fn classes_of(y: &[f64]) -> usize {
    y.iter().fold(0.0f64, |m, v| m.max(*v)) as usize + 1
}

fn log_probabilities(model: &Model, table: &Table, every: usize) -> Vec<f64> {
    let mut out = vec![0.0; model.outputs()];
    let mut all = vec![];
    for i in (0..table.schema().rows).step_by(every) {
        model.log_probabilities(table.chunk(i..i + 1).x, &mut out);
        all.extend_from_slice(&out);
    }
    all
}

fn assert_near(found: &[f64], expected: &[f64], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (f, e)) in found.iter().zip(expected).enumerate() {
        assert!((f - e).abs() <= 1e-9 * e.abs().max(1.0), "{what}: value {i} is {f}, not {e}");
    }
}

#[test]
fn agrees_with_scikit_learn() {
    for case in recorded()["cases"].as_array().unwrap() {
        let (x, y, _) = data(case["data"].as_str().unwrap());
        let (n, k) = (y.len(), classes_of(&y));
        let name = format!("{} {} weighted {}", case["data"], case["params"], case["weighted"]);
        let weight =
            if case["weighted"] == true { (0..n).map(|i| (1 + i % 3) as f64).collect() } else { vec![] };
        let table = table(x, y.clone(), k).with_weight(weight).unwrap();
        let model = train(&case["params"], &table).unwrap();
        assert_near(&log_probabilities(&model, &table, 40), &floats(&case["log_probabilities"]), &name);
        let mut scores = vec![0.0; n * k];
        model.score(&table.chunk(0..n), &mut scores).unwrap();
        let best = |p: &[f64]| (0..k).fold(0, |b, c| if p[c] > p[b] { c } else { b });
        let right = scores.chunks(k).zip(&y).filter(|(p, y)| best(p) == **y as usize).count();
        assert!((right as f64 / n as f64 - case["accuracy"].as_f64().unwrap()).abs() < 1e-12, "{name}");
    }
}

#[test]
fn categories_agree_with_scikit_learn_alone_and_beside_numbers() {
    let all = recorded();
    let (x, y, d) = data("breast_cancer");
    let edges: Vec<Vec<f64>> = all["categories"]["edges"].as_array().unwrap().iter().map(floats).collect();
    let code = |j: usize, v: f64| edges.iter().filter(|e| e[j] <= v).count() as f64;
    for (from, expected) in [(0, &all["categories"]["log_probabilities"]), (d / 2, &all["mixed"])] {
        let x =
            x.iter().enumerate().map(|(at, v)| if at % d >= from { code(at % d, *v) } else { *v }).collect();
        let mut schema = Schema::numeric(d, Task::Classification, 2, y.len());
        schema.features[from..].iter_mut().for_each(|f| f.kind = FeatureKind::Category { levels: 4 });
        let table = Table::new(schema, x, y.clone()).unwrap();
        let model = train(&json!({"alpha": 0.7}), &table).unwrap();
        assert_near(
            &log_probabilities(&model, &table, 40),
            &floats(expected),
            &format!("categories from {from}"),
        );
    }
}

#[test]
fn missing_values_are_left_out() {
    let (x, y, d) = data("iris");
    let holes = |at: usize| at % d == 1 && (at / d).is_multiple_of(3);
    let with = x.iter().enumerate().map(|(at, v)| if holes(at) { f64::NAN } else { *v }).collect();
    let with_holes = train(&json!({}), &table(with, y.clone(), 3)).unwrap();
    // Column 1 alone, of the rows that have it, says the same of that column.
    let kept: Vec<usize> = (0..y.len()).filter(|i| !holes(i * d + 1)).collect();
    let alone = table(kept.iter().map(|i| x[i * d + 1]).collect(), kept.iter().map(|i| y[*i]).collect(), 3);
    let alone = train(&json!({}), &alone).unwrap();
    let (super::Likelihood::Gaussian { mean, .. }, super::Likelihood::Gaussian { mean: other, .. }) =
        (&with_holes.likelihoods[1], &alone.likelihoods[0])
    else {
        panic!("numbers are normal")
    };
    assert_near(mean, other, "means of what is there");
    // A row without it is scored as by a model without it.
    let three =
        |x: &[f64]| x.iter().enumerate().filter(|(at, _)| at % d != 1).map(|v| *v.1).collect::<Vec<_>>();
    let without = train(&json!({}), &table(three(&x), y, 3)).unwrap();
    let (mut a, mut b) = ([0.0; 3], [0.0; 3]);
    for row in x.chunks(d).step_by(11) {
        let mut hole = row.to_vec();
        hole[1] = f64::NAN;
        with_holes.log_probabilities(&hole, &mut a);
        without.log_probabilities(&three(row), &mut b);
        assert_near(&a, &b, "a row with a hole");
    }
    // A row of nothing has the priors.
    with_holes.log_probabilities(&[f64::NAN; 4], &mut a);
    assert_near(&a, &[(1.0f64 / 3.0).ln(); 3], "nothing known");
}

#[test]
fn refuses_what_cannot_be_learnt() {
    let rows = |x: Vec<f64>| table(x, vec![0.0, 1.0, 0.0, 1.0], 2);
    let error = |params: Value, x: Vec<f64>| train(&params, &rows(x)).unwrap_err();
    let counts = error(json!({"distribution": "multinomial"}), vec![1.0, 2.0, -1.0, 0.0]);
    assert!(counts.kind == Kind::Data && counts.message.contains("\"x1\" is -1"), "{counts}");
    for priors in [json!([0.5]), json!([0.5, 0.6]), json!([1.0, 0.0]), json!("half")] {
        assert_eq!(error(json!({"priors": priors}), vec![0.0; 4]).kind, Kind::Parameter);
    }
    assert_eq!(error(json!({}), vec![1e200, -1e200, 1e200, 0.0]).kind, Kind::Data);
    let one_class = table(vec![1.0, 2.0], vec![1.0, 1.0], 2);
    assert_eq!(train(&json!({}), &one_class).unwrap_err().kind, Kind::Data);
}

#[test]
fn rows_far_from_everything_have_the_priors() {
    let model = train(&json!({}), &table(vec![1.0, 2.0, 1.1, 2.1], vec![0.0, 1.0, 0.0, 1.0], 2)).unwrap();
    let mut out = [0.0; 2];
    model.log_probabilities(&[1e300], &mut out);
    assert_near(&out, &[0.5f64.ln(); 2], "far away");
}

#[test]
fn dummies_agree_with_scikit_learn() {
    let all = recorded();
    let (x, y, _) = data("diabetes");
    let diabetes = table(x, y, 0);
    for case in all["regression"].as_array().unwrap() {
        let model = train_any::<Dummy>(&case["params"], &diabetes).unwrap();
        assert_near(&model.answer, &floats(&case["value"]), &case["params"].to_string());
    }
    let (x, y, _) = data("wine");
    let wine = table(x, y, 3);
    for case in all["classification"].as_array().unwrap() {
        let model = train_any::<Dummy>(&case["params"], &wine).unwrap();
        assert_near(&model.answer, &floats(&case["probabilities"]), &case["params"].to_string());
    }
    let weighted = table(vec![0.0; 3], vec![1.0, 5.0, 9.0], 0).with_weight(vec![1.0, 1.0, 5.0]).unwrap();
    assert_eq!(train_any::<Dummy>(&json!({"strategy": "median"}), &weighted).unwrap().answer, [9.0]);
}

#[test]
fn dummies_refuse_the_strategies_of_another_task() {
    let (numbers, classes) = (table(vec![0.0; 2], vec![1.0, 5.0], 0), table(vec![0.0; 2], vec![1.0, 0.0], 2));
    let kind = |params: Value, table: &Table| train_any::<Dummy>(&params, table).unwrap_err().kind;
    assert_eq!(kind(json!({"strategy": "prior"}), &numbers), Kind::Parameter);
    assert_eq!(kind(json!({"strategy": "median"}), &classes), Kind::Parameter);
    assert_eq!(kind(json!({"strategy": "constant"}), &numbers), Kind::Parameter);
    assert_eq!(kind(json!({"strategy": "constant", "constant": 2}), &classes), Kind::Parameter);
    assert_eq!(kind(json!({"strategy": "quantile", "quantile": 1.5}), &numbers), Kind::Parameter);
}
