//! Explanations through the whole pipeline: parts sum to the score, importances find what matters, dependence is
//! that of scikit-learn's definition. Linear models against shap; `reference/explain.py` made the recordings.

#![allow(clippy::unwrap_used)]

use engine::Kind;
use engine::algorithms::find;
use engine::explain::{Draw, Importance};
use engine::frame::{Column, Data, Dictionary, Frame, Value as Cell};
use engine::learner::{Cx, Silent};
use engine::params::Values;
use engine::run::Table;
use engine::schema::{Schema, Task};
use engine::scorer::Scorer;
use engine::train::{Request, train};
use serde_json::Value;
use std::sync::atomic::AtomicBool;

static GO: AtomicBool = AtomicBool::new(false);

fn cx() -> Cx<'static> {
    Cx { seed: 3, stop: &GO, observer: &Silent }
}

/// 600 rows: y is 3 a + (5 where color is red) + a little of b; c is noise.
fn frame() -> Frame {
    let n = 600u32;
    let noise = |i: u32, salt: u32| {
        f64::from((i.wrapping_mul(2654435761) ^ salt.wrapping_mul(40503)) >> 16 & 1023) / 512.0 - 1.0
    };
    let column = |name: &str, data| Column { name: name.into(), data, missing: vec![] };
    let a: Vec<f64> = (0..n).map(|i| noise(i, 1)).collect();
    let b: Vec<f64> = (0..n).map(|i| noise(i, 2)).collect();
    let c: Vec<f64> = (0..n).map(|i| noise(i, 3)).collect();
    let mut colors = Dictionary::default();
    for i in 0..n {
        let code = colors.intern(["red", "green", "blue"][(i % 3) as usize]);
        colors.codes.push(code);
    }
    let y: Vec<f64> =
        (0..n as usize).map(|i| 3.0 * a[i] + if i % 3 == 0 { 5.0 } else { 0.0 } + 0.2 * b[i]).collect();
    let class: Vec<u8> = y.iter().map(|y| u8::from(*y > 1.5)).collect();
    let columns = vec![
        column("a", Data::F64(a)),
        column("b", Data::F64(b)),
        column("c", Data::F64(c)),
        column("color", Data::Text(colors)),
        column("y", Data::F64(y.clone())),
        column("class", Data::Bool(class)),
        column("count", Data::F64(y.iter().map(|y| (y + 4.0).floor().max(0.0)).collect())),
        column("positive", Data::F64(y.iter().map(|y| y + 5.0).collect())),
        column("third", Data::I32(y.iter().map(|y| i32::from(*y > 0.5) + i32::from(*y > 3.0)).collect())),
    ];
    Frame { columns, rows: n as usize }
}

fn trained(algorithm: &str, target: &str) -> Scorer {
    let features = ["a", "b", "c", "color"].map(String::from).to_vec();
    let (algorithm, target) = (algorithm.into(), Some(target.into()).filter(|t: &String| !t.is_empty()));
    let request = Request { algorithm, target, features: Some(features), seed: 3, ..Request::default() };
    Scorer::load(&train(frame(), &request, &cx()).unwrap().artifact).unwrap()
}

fn numbers(v: &Value) -> Vec<f64> {
    v.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

#[test]
fn linear_models_and_naive_bayes_agree_with_shap_and_scikit_learn() {
    let reference: Value = serde_json::from_str(include_str!("reference/explain.json")).unwrap();
    for case in reference["cases"].as_array().unwrap() {
        let name = case["algorithm"].as_str().unwrap();
        let (classes, width) =
            (case["classes"].as_u64().unwrap() as usize, case["width"].as_u64().unwrap() as usize);
        let (x, y) = (numbers(&case["x"]), numbers(&case["y"]));
        let task = if classes == 0 { Task::Regression } else { Task::Classification };
        let table = Table::new(Schema::numeric(width, task, classes, y.len()), x, y).unwrap();
        let algorithm = find(name).unwrap();
        let params = Values::parse(name, algorithm.info().params, &case["params"].to_string()).unwrap();
        let bytes = algorithm.fit(&params, table.schema(), &table, &cx()).unwrap();
        let model = algorithm.load(&bytes, table.schema()).unwrap();
        for (row, expected) in numbers(&case["rows"]).iter().zip(case["parts"].as_array().unwrap()) {
            let row = *row as usize;
            let mut parts = vec![];
            assert!(model.explain(&table.chunk(row..row + 1), &mut parts).unwrap());
            let expected: Vec<f64> = expected.as_array().unwrap().iter().flat_map(numbers).collect();
            assert_eq!(parts.len(), expected.len(), "{name}");
            let size = expected.iter().fold(1.0f64, |m, v| m.max(v.abs()));
            for (ours, theirs) in parts.iter().zip(&expected) {
                assert!((ours - theirs).abs() < 1e-5 * size, "{name} row {row}: {parts:?} {expected:?}");
            }
        }
    }
}

/// Every algorithm of the linear family, and naive Bayes of two and more classes: parts sum to what the prediction is made
/// of.
#[test]
fn parts_of_linear_models_sum_to_the_prediction() {
    let frame = frame();
    for (algorithm, target) in [
        ("linear", "y"),
        ("ridge", "y"),
        ("lasso", "y"),
        ("elastic_net", "y"),
        ("quantile", "y"),
        ("huber", "y"),
        ("glm", "y"),
        ("poisson", "count"),
        ("negative_binomial", "count"),
        ("gamma", "positive"),
        ("tweedie", "positive"),
        ("logistic", "class"),
        ("ordinal", "class"),
        ("naive_bayes", "class"),
        ("multinomial", "third"),
        ("naive_bayes", "third"),
        ("ordinal", "third"),
    ] {
        let scorer = trained(algorithm, target);
        let mut row = scorer.row();
        for i in [0usize, 1, 2, 77, 599] {
            for input in 0..4 {
                scorer.set(&mut row, input, frame.columns[input].value(i)).unwrap();
            }
            let told = scorer.explain(&mut row).unwrap();
            let sum = told.base + told.contributions.iter().sum::<f64>();
            assert!((sum - told.score).abs() < 1e-9 * sum.abs().max(1.0));
            let scores = scorer.score(&mut row).unwrap();
            let log_link = ["poisson", "negative_binomial", "gamma", "tweedie"].contains(&algorithm);
            let (score, class) = match target {
                "class" => {
                    // As probabilities: of rows that are far from the border nothing else is left.
                    let p = 1.0 / (1.0 + (-told.score).exp());
                    assert!((p - scores[1]).abs() < 1e-9, "{algorithm}: {told:?} {scores:?}");
                    (told.score, Some(1))
                }
                // A score of several classes has no scale of its own; scores of two rows tell more below.
                "third" if algorithm == "ordinal" => (told.score, None),
                "third" => {
                    let best = (0..3).max_by(|a, b| scores[*a].total_cmp(&scores[*b])).unwrap();
                    (told.score, Some(best))
                }
                _ if log_link => (scores[0].ln(), None),
                _ => (scores[0], None),
            };
            assert!(
                (told.score - score).abs() < 1e-6 * score.abs().max(1.0),
                "{algorithm}: {told:?} {score}"
            );
            assert_eq!(told.class, class, "{algorithm} {target}");
        }
    }
}

#[test]
fn models_without_an_exact_answer_say_so() {
    let frame = frame();
    for (algorithm, target) in [("dummy", "y"), ("random_forest", "y"), ("isolation_forest", "")] {
        let scorer = trained(algorithm, target);
        let mut row = scorer.row();
        for input in 0..4 {
            scorer.set(&mut row, input, frame.columns[input].value(0)).unwrap();
        }
        match scorer.explain(&mut row) {
            Ok(told) => {
                assert!((told.score - scorer.score(&mut row).unwrap()[0]).abs() < 1e-9, "{algorithm}")
            }
            Err(e) => {
                assert_eq!(e.kind, Kind::Unsupported);
                assert_eq!(e.message, format!("algorithm \"{algorithm}\" has no exact explanations"));
                assert!(e.hint.unwrap().contains("permutation"));
            }
        }
    }
}

#[test]
fn contributions_sum_to_the_score() {
    let frame = frame();
    for (algorithm, target) in [("boosting", "y"), ("boosting", "class")] {
        let scorer = trained(algorithm, target);
        let mut row = scorer.row();
        for i in [0usize, 1, 2, 77, 599] {
            for input in 0..4 {
                scorer.set(&mut row, input, frame.columns[input].value(i)).unwrap();
            }
            let told = scorer.explain(&mut row).unwrap();
            let sum = told.base + told.contributions.iter().sum::<f64>();
            assert!((sum - told.score).abs() < 1e-9);
            let scores = scorer.score(&mut row).unwrap();
            let expected = if target == "y" { scores[0] } else { (scores[1] / scores[0]).ln() };
            assert!(
                (told.score - expected).abs() < 1e-6 * expected.abs().max(1.0),
                "{algorithm}: {told:?} {expected}"
            );
            assert_eq!(told.class, (target == "class").then_some(1));
        }
    }
}

#[test]
fn importances_rank_what_matters_first() {
    let frame = frame();
    let scorer = trained("boosting", "y");
    let by_gain = scorer.importance(Importance::Gain).unwrap();
    let names: Vec<&str> = by_gain.iter().map(|r| r.name.as_str()).collect();
    assert_eq!(names[..3], ["color", "a", "b"]);
    assert!((by_gain.iter().map(|r| r.importance).sum::<f64>() - 1.0).abs() < 1e-12);
    assert!(scorer.importance(Importance::Split).unwrap().iter().all(|r| r.importance.fract() == 0.0));
    let shuffled =
        scorer.permutation_importance(&frame, None, 5, Draw { most: 10_000, seed: 1 }, &cx()).unwrap();
    let names: Vec<&str> = shuffled.iter().map(|r| r.name.as_str()).collect();
    assert_eq!(names[..2], ["color", "a"]);
    let noise = shuffled.iter().find(|r| r.name == "c").unwrap();
    assert!(noise.importance.abs() < 0.1 * shuffled[0].importance, "{shuffled:?}");
    let again =
        scorer.permutation_importance(&frame, None, 5, Draw { most: 10_000, seed: 1 }, &cx()).unwrap();
    assert_eq!(shuffled, again);
}

#[test]
fn dependence_is_the_mean_score_with_the_value_put_in() {
    let frame = frame();
    let scorer = trained("boosting", "y");
    let points =
        scorer.partial_dependence(&frame, "color", None, 20, Draw { most: 10_000, seed: 0 }, &cx()).unwrap();
    let values: Vec<&str> = points.iter().map(|p| p.value.as_str()).collect();
    assert_eq!(values, ["blue", "green", "red"]);
    let mut row = scorer.row();
    for point in &points {
        let mut sum = 0.0;
        for i in 0..frame.rows {
            for input in 0..3 {
                scorer.set(&mut row, input, frame.columns[input].value(i)).unwrap();
            }
            scorer.set(&mut row, 3, Cell::Text(&point.value)).unwrap();
            sum += scorer.score(&mut row).unwrap()[0];
        }
        assert!((point.average - sum / frame.rows as f64).abs() < 1e-9);
    }
    assert!(points[2].average - points[0].average > 4.0);
    let points =
        scorer.partial_dependence(&frame, "a", None, 11, Draw { most: 10_000, seed: 0 }, &cx()).unwrap();
    assert_eq!(points.len(), 11);
    assert!(points.windows(2).all(|w| w[0].number < w[1].number));
    assert!(points[10].average > points[0].average + 3.0);
    assert!(scorer.partial_dependence(&frame, "y", None, 11, Draw { most: 100, seed: 0 }, &cx()).is_err());
}
