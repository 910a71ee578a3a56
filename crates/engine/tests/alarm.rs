//! Alarms against SciPy's tests and statsmodels' correction, recorded by reference/alarm.py; and how often they are false.

#![allow(clippy::unwrap_used)]

use engine::Kind;
use engine::drift::Baseline;
use engine::drift::alarm::{Rules, Watch};
use engine::drift::baseline::Predictions;
use engine::evaluation::Measurement;
use engine::frame::{Column, Data, Dictionary, Frame};
use engine::learner::{Cx, Silent};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;
use std::sync::atomic::AtomicBool;

static GO: AtomicBool = AtomicBool::new(false);
const CX: Cx = Cx { seed: 0, stop: &GO, observer: &Silent };
const NAMES: [&str; 6] = ["age", "sex", "bmi", "bp", "s1", "s6"];

fn frame(columns: Vec<(&str, Data)>) -> Frame {
    let columns: Vec<Column> =
        columns.into_iter().map(|(name, data)| Column { name: name.into(), data, missing: vec![] }).collect();
    Frame { rows: columns[0].len(), columns }
}

fn baseline(frame: &Frame) -> Baseline {
    let features: Vec<usize> = (0..frame.columns.len()).collect();
    Baseline::record(frame, &features, None, &Predictions::default(), &CX).unwrap()
}

fn watch(baseline: &Baseline, frame: &Frame, rules: &str) -> Watch {
    let rules = Rules::parse(rules).unwrap();
    baseline.watch(frame, &Predictions::default(), vec![], &rules, &CX).unwrap()
}

fn recorded() -> Value {
    serde_json::from_str(include_str!("reference/alarm.json")).unwrap()
}

/// The recorded columns of some rows, bmi shifted.
fn patients(record: &Value, rows: std::ops::Range<usize>, shift: f64) -> Frame {
    let column = |name: &'static str| {
        let all = record["columns"][name].as_array().unwrap();
        let moved = if name == "bmi" { shift } else { 0.0 };
        let values = all[rows.clone()].iter().map(|v| v.as_f64().map_or(f64::NAN, |v| v + moved));
        (name, Data::F64(values.collect()))
    };
    frame(NAMES.into_iter().map(column).collect())
}

#[test]
fn significance_is_that_of_scipy_and_statsmodels() {
    let record = recorded();
    let then = baseline(&patients(&record, 0..250, 0.0));
    for window in record["windows"].as_array().unwrap() {
        let now = patients(&record, 250..442, window["shift"].as_f64().unwrap());
        let found = watch(&then, &now, "{}");
        assert_eq!(found.columns.len(), NAMES.len());
        for column in &found.columns {
            let name = column.finding.column.as_deref().unwrap();
            let expected = window["significance"][name].as_f64().unwrap();
            assert!(
                (column.significance - expected).abs() < 1e-9,
                "{name}: {} for {expected}",
                column.significance
            );
        }
    }
}

#[test]
fn what_drifted_is_told() {
    let record = recorded();
    let then = baseline(&patients(&record, 0..250, 0.0));
    let calm = watch(&then, &patients(&record, 0..250, 0.0), "{}");
    assert!(!calm.alarm && calm.culprits().is_empty() && calm.drift_share == 0.0, "{:?}", calm.culprits());
    let moved = watch(&then, &patients(&record, 250..442, 3.0), "{}");
    assert_eq!((moved.culprits(), moved.alarm), (vec!["bmi".to_string(), "s6".to_string()], true));
    assert!((moved.drift_share - 2.0 / 6.0).abs() < 1e-12);
    assert_eq!(moved.message(), "drifted: bmi, s6 (33 % of the features)");
    assert!(!watch(&then, &patients(&record, 250..442, 3.0), r#"{"drift_share": 0.5}"#).alarm);
    let chosen = watch(&then, &patients(&record, 250..442, 3.0), r#"{"columns": ["age", "bp"]}"#);
    assert!(!chosen.alarm && chosen.columns.len() == 2);
    // As certain as can be, but not far enough for the method that was asked for.
    assert!(
        !watch(
            &then,
            &patients(&record, 250..442, 3.0),
            r#"{"columns": ["bmi"], "method": "psi", "threshold": 9}"#
        )
        .alarm
    );
}

/// Rows of one distribution: smooth numbers, whole numbers with ties, few values, frequent and rare labels, gaps.
fn drawn(rng: &mut ChaCha8Rng, rows: usize) -> Frame {
    let mut smooth = vec![];
    let (mut ties, mut few, mut gaps) = (vec![], vec![], vec![]);
    let (mut labels, mut rare) = (Dictionary::default(), Dictionary::default());
    for _ in 0..rows {
        let u: f64 = rng.random();
        smooth.push(-u.ln());
        ties.push(rng.random_range(0..200) as f64);
        few.push(f64::from(rng.random::<f64>() < 0.02));
        gaps.push(if rng.random::<f64>() < 0.01 { f64::NAN } else { rng.random() });
        let code = labels.intern(&format!("k{}", rng.random_range(0..8)));
        labels.codes.push(code);
        // Zipf's law: thousands of labels that come once.
        let code = rare.intern(&format!("z{}", (1.0 / rng.random_range(0.0001..1.0f64)) as u64));
        rare.codes.push(code);
    }
    frame(vec![
        ("smooth", Data::F64(smooth)),
        ("ties", Data::F64(ties)),
        ("few", Data::F64(few)),
        ("gaps", Data::F64(gaps)),
        ("labels", Data::Text(labels)),
        ("rare", Data::Text(rare)),
    ])
}

#[test]
fn false_alarms_are_as_rare_as_is_stated_whatever_the_sizes() {
    // No distance is asked for, so that tests alone keep the rate; and a column is enough.
    let rules = r#"{"false_positive_rate": 0.05, "drift_share": 0, "method": "psi", "threshold": 0}"#;
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    for (before, now) in [(200, 50), (500, 500), (5000, 300), (20_000, 2000), (300, 3000)] {
        let windows = 200;
        let mut alarms = 0;
        for _ in 0..windows {
            let then = baseline(&drawn(&mut rng, before));
            alarms += u32::from(watch(&then, &drawn(&mut rng, now), rules).alarm);
        }
        // 10 are expected at most; more than 20 of 200 come once in a thousand times.
        assert!(alarms <= 20, "{alarms} of {windows} windows of {now} rows beside {before}");
    }
}

#[test]
fn limits_of_metrics_count_beyond_their_intervals() {
    let rules = r#"{"metrics": {"rmse": 10, "r2": 0.5}, "false_positive_rate": 0.02}"#;
    let parsed = Rules::parse(rules).unwrap();
    assert!((parsed.confidence() - 0.99).abs() < 1e-12);
    let record = recorded();
    let frame = patients(&record, 0..250, 0.0);
    let then = baseline(&frame);
    let measured = |name: &str, value: f64, low: f64, high: f64| Measurement {
        slice: None,
        rows: 250,
        name: name.into(),
        value,
        interval: Some((low, high)),
    };
    let judge = |rmse: Measurement, r2: Measurement| {
        then.watch(&frame, &Predictions::default(), vec![rmse, r2], &parsed, &CX).unwrap()
    };
    let well = judge(measured("rmse", 11.0, 9.0, 13.0), measured("r2", 0.45, 0.4, 0.51));
    assert!(!well.alarm);
    let worse = judge(measured("rmse", 11.0, 10.5, 13.0), measured("r2", 0.45, 0.4, 0.51));
    assert!(worse.alarm && worse.culprits() == ["rmse"]);
    assert_eq!(worse.message(), "beyond its limit: rmse");
    let both = judge(measured("rmse", 11.0, 10.5, 13.0), measured("r2", 0.45, 0.4, 0.49));
    assert_eq!(both.culprits(), ["rmse", "r2"].map(String::from));
    let unknown = then.watch(&frame, &Predictions::default(), vec![], &parsed, &CX).unwrap_err();
    assert_eq!(unknown.kind, Kind::Parameter);
}

#[test]
fn rules_that_are_none_are_refused() {
    for text in [
        "",
        "[]",
        r#"{"share": 0.1}"#,
        r#"{"false_positive_rate": 0}"#,
        r#"{"false_positive_rate": 0.9}"#,
        r#"{"false_positive_rate": "x"}"#,
        r#"{"drift_share": 1.5}"#,
        r#"{"min_rows": 0}"#,
        r#"{"min_rows": 1.5}"#,
        r#"{"columns": []}"#,
        r#"{"columns": "a"}"#,
        r#"{"columns": [1]}"#,
        r#"{"predictions": 1}"#,
        r#"{"method": "none"}"#,
        r#"{"threshold": -1}"#,
        r#"{"metrics": ["auc"]}"#,
        r#"{"metrics": {"auc": "0.9"}}"#,
    ] {
        assert_eq!(Rules::parse(text).unwrap_err().kind, Kind::Parameter, "{text}");
    }
}
