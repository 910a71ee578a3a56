//! From scores to decisions: class weights, thresholds, calibration and conformal prediction, on real data.

#![allow(clippy::unwrap_used)] // helpers of tests are tests too

use engine::Kind;
use engine::decision::threshold::{Goal, tune};
use engine::decision::{Calibration, Conformal, Method, Options, Rule};
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

fn wine() -> Frame {
    table(include_str!("reference/data/wine.csv"), 3, &["barolo", "grignolino", "barbera"])
}

fn numbers(v: &serde_json::Value) -> Vec<f64> {
    v.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
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
        key: None,
        max_memory: 1 << 32,
        threads: 2,
        init_model: None,
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
    Options { class_weight: Some(class_weight.into()), ..Options::default() }
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

#[test]
fn agrees_with_scikit_learn() {
    let recorded: serde_json::Value = serde_json::from_str(include_str!("reference/decision.json")).unwrap();
    for case in recorded["cases"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let (y, p, w) = (numbers(&case["y"]), numbers(&case["p"]), numbers(&case["weight"]));
        let k = case["classes"].as_u64().unwrap() as usize;
        // scikit-learn's solver stops at a gradient of 1e-6; pooling adjacent violators is exact.
        for (method, key, tolerance) in
            [(Method::Sigmoid, "sigmoid", 1e-5), (Method::Isotonic, "isotonic", 1e-9)]
        {
            let map = Calibration::learn(method, &p, k, &y, &w).unwrap();
            let mut found = p.clone();
            found.chunks_mut(k).for_each(|row| map.apply(row));
            let off = far(&found, &numbers(&case[key]));
            assert!(off <= tolerance, "{key} of {name} is off by {off}");
        }
        let counts: Vec<f64> = (0..k)
            .map(|c| (0..y.len()).filter(|i| y[*i] == c as f64).map(|i| w.get(i).unwrap_or(&1.0)).sum())
            .collect();
        let labels: Vec<String> = (0..k).map(|c| c.to_string()).collect();
        let balanced = engine::decision::ClassWeight::Balanced.resolve(&labels, &counts).unwrap();
        assert!(far(&balanced, &numbers(&case["balanced"])) < 1e-12, "{name}");

        let yes: Vec<f64> = p.iter().skip(1).step_by(k).copied().collect();
        let hit: Vec<bool> = y.iter().map(|c| *c == 1.0).collect();
        for (goal, recorded) in case["thresholds"].as_object().into_iter().flatten() {
            let goal_of = match goal.as_str() {
                "accuracy" => Goal::Accuracy,
                "balanced_accuracy" => Goal::BalancedAccuracy,
                "f1" => Goal::F1,
                "mcc" => Goal::Mcc,
                "youden" => Goal::Youden,
                "precision_at_recall 0.95" => Goal::PrecisionAtRecall(0.95),
                _ => Goal::RecallAtPrecision(0.95),
            };
            let recorded = numbers(recorded);
            let (at, value) = tune(goal_of, &yes, &hit, &w).unwrap();
            assert!((value - recorded[1]).abs() < 1e-12, "{goal} of {name}: {value}, {recorded:?}");
            // The same rows on either side: ours lies between the least score taken in and the next below it.
            let side = |t: f64| yes.iter().filter(|p| **p >= t).count();
            assert!(
                at <= recorded[0] && side(at) == side(recorded[0]),
                "{goal} of {name}: {at}, {recorded:?}"
            );
        }
        for (coverage, quantile) in case["lac"].as_object().into_iter().flatten() {
            let apart: Vec<f64> = (0..y.len()).map(|i| 1.0 - p[i * k + y[i] as usize]).collect();
            let found = Conformal::learn(coverage.parse().unwrap(), &apart, &[]).unwrap();
            assert!((found.quantile - quantile.as_f64().unwrap()).abs() < 1e-12, "{coverage} of {name}");
        }
    }
}

/// Everything at once.
fn all(threshold: &str, method: &str) -> Options {
    Options {
        class_weight: Some("balanced".into()),
        threshold: Some(threshold.into()),
        calibration: Some(method.into()),
        conformal: Some(0.8),
        calibration_size: None,
    }
}

const COSTS: &str = r#"{"cost": {"barolo": {"barbera": 5}, "barbera": {"barolo": 2, "grignolino": 0.5}}}"#;

fn cases() -> Vec<(Frame, Request)> {
    let held = Options { calibration_size: Some(0.4), ..all("mcc", "isotonic") };
    vec![
        (cancer(), request("boosting", all("f1", "isotonic"))),
        (
            cancer(),
            request("logistic", all(r#"{"recall_at_precision": 0.9, "positive": "malignant"}"#, "sigmoid")),
        ),
        (cancer(), request("logistic", held)),
        (wine(), request("multinomial", all(COSTS, "sigmoid"))),
        (wine(), request("multinomial", all(COSTS, "isotonic"))),
    ]
}

#[test]
fn one_row_decides_as_a_block_does() {
    for (frame, request) in cases() {
        let trained = train(frame.clone(), &request, &cx()).unwrap();
        let scorer = Scorer::load(&trained.artifact).unwrap();
        let block = scores(&trained, &frame);
        let mut row = scorer.row();
        for (i, expected) in block.chunks(scorer.outputs()).enumerate() {
            for (k, input) in scorer.card().inputs.iter().enumerate() {
                scorer
                    .set(&mut row, k, frame.columns[frame.position(&input.name).unwrap()].value(i))
                    .unwrap();
            }
            let found = scorer.score(&mut row).unwrap();
            assert!(far(found, expected) < 1e-9 && (found.iter().sum::<f64>() - 1.0).abs() < 1e-12);
            assert_eq!(scorer.decide(found), scorer.decide(expected), "row {i}");
            assert!(scorer.set_of(found).unwrap().eq(scorer.set_of(expected).unwrap()), "row {i}");
        }
    }
}

#[test]
fn decisions_do_not_depend_on_threads() {
    for (frame, request) in cases() {
        let of = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| train(frame.clone(), &request, &cx()).unwrap().artifact)
        };
        let one = of(1);
        assert!(one == of(2) && one == of(4));
    }
}

#[test]
fn test_rows_have_no_part_in_decisions() {
    let frame = cancer();
    let split = Split::Stratified { test_size: 0.3 };
    let held = Options { calibration_size: Some(0.3), ..all("f1", "isotonic") };
    for decision in [all("f1", "isotonic"), held] {
        let request = Request { split, ..request("logistic", decision) };
        let trained = train(frame.clone(), &request, &cx()).unwrap();
        let labels: Vec<f64> = (0..frame.rows)
            .map(|i| f64::from(u8::from(frame.columns[4].value(i) == Value::Text("malignant"))))
            .collect();
        let test = split.apply(frame.rows, Some(&labels), None, request.seed).unwrap().test;
        // What test rows say in their features changes nothing that is learnt.
        let mut changed = frame.clone();
        if let Data::F64(v) = &mut changed.columns[0].data {
            test.iter().for_each(|i| v[*i as usize] += 100.0);
        }
        let again = train(changed, &request, &cx()).unwrap();
        assert_eq!(trained.card.decision, again.card.decision);
        assert_ne!(trained.metrics, again.metrics);
        assert!(trained.card.decision.calibration.is_some() && trained.card.test_rows == test.len() as u64);
    }
}

#[test]
fn rows_are_dealt_as_the_arguments_say() {
    let trained = |decision: Options| train(cancer(), &request("logistic", decision), &cx()).unwrap().card;
    let card = trained(Options { threshold: Some("f1".into()), ..Options::default() });
    assert_eq!((card.train_rows, card.decision.rows, card.decision.out_of_fold), (569, 569, true));
    let card = trained(Options { conformal: Some(0.9), ..Options::default() });
    assert_eq!((card.train_rows, card.decision.conformal.unwrap().rows), (455, 114));
    let share = Options { calibration_size: Some(0.25), ..Options::default() };
    let card = trained(Options { calibration: Some("sigmoid".into()), ..share.clone() });
    assert_eq!((card.train_rows, card.decision.rows, card.decision.out_of_fold), (427, 142, false));
    let card = trained(Options { calibration: Some("sigmoid".into()), conformal: Some(0.8), ..share });
    assert_eq!((card.train_rows, card.decision.rows, card.decision.conformal.unwrap().rows), (427, 71, 71));
}

#[test]
fn costs_decide_for_the_least_expected_one() {
    let trained = |threshold: &str| {
        let options = Options { threshold: Some(threshold.into()), ..Options::default() };
        train(cancer(), &request("logistic", options), &cx()).unwrap()
    };
    // Classes are benign, malignant. A missed malignant one costs nine false alarms: from a tenth on it is called.
    for (threshold, at) in [
        (r#"{"cost": {"fn": 9}}"#, 0.1),
        (r#"{"cost": {"fp": 9}, "positive": "benign"}"#, 0.1),
        (r#"{"cost": {"malignant": {"benign": 9}}}"#, 0.1),
        ("0.3", 0.3),
        (r#"{"at": 0.7, "positive": "benign"}"#, 0.3),
    ] {
        let trained = trained(threshold);
        let scorer = Scorer::load(&trained.artifact).unwrap();
        for p in scores(&trained, &cancer()).chunks(2).filter(|p| (p[1] - at).abs() > 1e-9) {
            assert_eq!(scorer.decide(p), usize::from(p[1] > at), "{threshold} {p:?}");
        }
    }
    let shown = Scorer::load(&trained(r#"{"cost": {"fn": 9}}"#).artifact).unwrap().describe();
    assert!(shown.contains(&("threshold of malignant".into(), "0.100000".into())), "{shown:?}");
}

#[test]
fn a_tuned_threshold_moves_its_metric() {
    let f1 = |threshold: Option<&str>| {
        let options = Options { threshold: threshold.map(String::from), ..Options::default() };
        let request = Request { split: Split::Stratified { test_size: 0.3 }, ..request("boosting", options) };
        let trained = train(cancer(), &request, &cx()).unwrap();
        let of = |name: &str| trained.metrics.iter().find(|m| m.name == name).unwrap().value;
        (of("recall"), of("precision"), trained.card.decision.rule)
    };
    let ((plain, _, _), (tuned, _, rule)) = (f1(None), f1(Some(r#"{"precision_at_recall": 0.99}"#)));
    assert!(tuned > plain, "recall {tuned} with a threshold for recall, {plain} without");
    assert!(matches!(rule, Rule::Threshold { positive: 1, tuned: Some((_, v)), .. } if v > 0.4), "{rule:?}");
}

#[test]
fn what_cannot_be_decided_is_refused() {
    let kind = |frame: Frame, o: Options| train(frame, &request("boosting", o), &cx()).unwrap_err().kind;
    let diabetes = || table(include_str!("reference/data/diabetes.csv"), 10, &[]);
    let threshold = |t: &str| Options { threshold: Some(t.into()), ..Options::default() };
    for bad in [
        "f2",
        "1.5",
        "-0.1",
        "{",
        "[]",
        "{}",
        r#"{"metric": "f2"}"#,
        r#"{"metric": "f1", "at": 0.5}"#,
        r#"{"cost": {}}"#,
        r#"{"cost": {"fx": 1}}"#,
        r#"{"cost": {"fp": "a"}}"#,
        r#"{"metric": "f1", "positive": "maligant"}"#,
        r#"{"metric": "f1", "positive": 1}"#,
        r#"{"cost": {"maligant": {"benign": 2}}}"#,
        r#"{"precision_at_recall": 2}"#,
        r#"{"cost": {"benign": {"malignant": 2}}, "positive": "benign"}"#,
    ] {
        assert_eq!(kind(cancer(), threshold(bad)), Kind::Parameter, "{bad}");
    }
    assert_eq!(kind(diabetes(), threshold("f1")), Kind::Parameter);
    assert_eq!(kind(wine(), threshold("f1")), Kind::Parameter);
    let unreachable = tune(Goal::RecallAtPrecision(0.9), &[0.9, 0.5], &[false, true], &[]);
    assert_eq!(unreachable.unwrap_err().kind, Kind::Data);
    let calibration = |c: &str| Options { calibration: Some(c.into()), ..Options::default() };
    assert_eq!(kind(cancer(), calibration("platt")), Kind::Parameter);
    assert_eq!(kind(diabetes(), calibration("sigmoid")), Kind::Parameter);
    for coverage in [0.0, 1.0, 1.5, f64::NAN] {
        assert_eq!(
            kind(cancer(), Options { conformal: Some(coverage), ..Options::default() }),
            Kind::Parameter
        );
    }
    assert_eq!(kind(cancer(), Options { conformal: Some(0.999), ..Options::default() }), Kind::Data);
    let size = Options { calibration_size: Some(0.2), ..Options::default() };
    assert_eq!(kind(cancer(), size), Kind::Parameter);
    let few = Frame { columns: cancer().columns, rows: 0 };
    assert_eq!(kind(few, calibration("sigmoid")), Kind::Data);
    let aggregate = train_in_aggregate(&cancer(), &request("boosting", calibration("sigmoid"))).unwrap_err();
    assert_eq!(aggregate.kind, Kind::Unsupported);
}

#[test]
fn an_aggregate_keeps_a_threshold_that_needs_no_rows() {
    let options = Options { threshold: Some(r#"{"cost": {"fn": 9}}"#.into()), ..Options::default() };
    let trained = train_in_aggregate(&cancer(), &request("logistic", options)).unwrap();
    assert_eq!(trained.card.decision.rule, Rule::Cost { costs: vec![0.0, 1.0, 9.0, 0.0] });
}

#[test]
fn hostile_decisions_never_panic() {
    use sha2::{Digest, Sha256};
    for (frame, request) in cases().into_iter().skip(1) {
        let artifact = train(frame.clone(), &request, &cx()).unwrap().artifact;
        let body = artifact.len() - 32;
        for i in (8..body).step_by((body / 1200).max(1)) {
            for flip in [0x01u8, 0x7f, 0xff] {
                let mut bytes = artifact.clone();
                bytes[i] ^= flip;
                let hash = Sha256::digest(&bytes[..body]);
                bytes[body..].copy_from_slice(&hash);
                if let Ok(scorer) = Scorer::load(&bytes) {
                    scorer.describe();
                    for p in scorer
                        .score_rows(&frame, &[0, 1, 2], &cx())
                        .unwrap_or_default()
                        .chunks(scorer.outputs())
                    {
                        assert!(scorer.decide(p) < scorer.card().classes.len());
                        scorer.set_of(p).map(Iterator::count);
                    }
                }
            }
        }
    }
}

#[test]
fn intervals_and_sets_cover_what_they_promise() {
    let Some(folder) = std::env::var_os("DAMSON_DATA") else {
        eprintln!("skipped: DAMSON_DATA names no folder of real data");
        return;
    };
    use std::io::Read;
    let read = |path: &str| {
        let mut text = String::new();
        let file = std::fs::File::open(std::path::Path::new(&folder).join(path)).unwrap();
        flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
        text
    };
    let text = read("california_housing/housing.csv.gz");
    let mut lines = text.lines();
    let names: Vec<&str> = lines.next().unwrap().split(',').collect();
    let rows: Vec<Vec<&str>> = lines.map(|l| l.split(',').collect()).collect();
    let columns = names.iter().enumerate().map(|(c, name)| match *name {
        "ocean_proximity" => column(name, texts(rows.iter().map(|r| r[c]))),
        _ => column(name, Data::F64(rows.iter().map(|r| r[c].parse().unwrap_or(f64::NAN)).collect())),
    });
    let frame = Frame { columns: columns.collect(), rows: rows.len() };
    for coverage in [0.8, 0.9] {
        let options = Options { conformal: Some(coverage), ..Options::default() };
        let request = Request {
            target: Some("median_house_value".into()),
            split: Split::Random { test_size: 0.3 },
            params: r#"{"trees": 60}"#.into(),
            ..request("boosting", options)
        };
        let trained = train(frame.clone(), &request, &cx()).unwrap();
        let of = |name: &str| trained.metrics.iter().find(|m| m.name == name).unwrap().value;
        // 6192 test rows and 2890 to learn from: the standard deviation of the coverage is 0.007 at 0.9.
        assert!((of("coverage") - coverage).abs() < 0.025, "{} for {coverage}", of("coverage"));
        assert!(of("interval_width") < 250_000.0);
    }

    let text = read("adult/adult.data.gz");
    let rows: Vec<Vec<&str>> =
        text.lines().map(|l| l.split(", ").collect()).filter(|r: &Vec<&str>| r.len() == 15).collect();
    let columns = (0..15).map(|c| match c {
        0 | 2 | 4 | 10 | 11 | 12 => {
            column(&format!("c{c}"), Data::F64(rows.iter().map(|r| r[c].parse().unwrap()).collect()))
        }
        14 => column("label", texts(rows.iter().map(|r| r[c]))),
        _ => column(&format!("c{c}"), texts(rows.iter().map(|r| r[c]))),
    });
    let frame = Frame { columns: columns.collect(), rows: rows.len() };
    let options = Options { calibration_size: Some(0.4), ..all("f1", "isotonic") };
    let base = Request {
        split: Split::Stratified { test_size: 0.3 },
        params: r#"{"trees": 40}"#.into(),
        ..request("boosting", options)
    };
    let trained = train(frame.clone(), &base, &cx()).unwrap();
    let plain = train(frame, &Request { decision: weighing("balanced"), ..base }, &cx()).unwrap();
    let of = |t: &Trained, name: &str| t.metrics.iter().find(|m| m.name == name).unwrap().value;
    // Isotonic probabilities are in steps; the step that the quantile falls on belongs to the sets as a whole.
    let coverage = of(&trained, "coverage");
    assert!(coverage > 0.78 && coverage < 0.86, "{coverage}");
    // Balanced weights spoil the probabilities; calibration repairs them.
    assert!(
        of(&trained, "log_loss") < of(&plain, "log_loss") - 0.05,
        "{:?} {:?}",
        trained.metrics,
        plain.metrics
    );
    assert!(of(&trained, "f1") > 0.7);
}
