//! Statistics against SciPy's, recorded by reference/statistics.py.

#![allow(clippy::unwrap_used)]

use engine::frame::{Column, Data, Frame};
use engine::learner::{Cx, Silent};
use engine::statistics::{Method, Test, compare, correlations, summarize};
use engine::{Kind, Result};
use serde_json::Value;
use std::sync::atomic::AtomicBool;

static GO: AtomicBool = AtomicBool::new(false);
const CX: Cx = Cx { seed: 0, stop: &GO, observer: &Silent };

fn recorded() -> Value {
    serde_json::from_str(include_str!("reference/statistics.json")).unwrap()
}

fn numbers(v: &Value) -> Vec<f64> {
    v.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

fn frame(columns: Vec<(&str, Data)>) -> Frame {
    let columns: Vec<Column> =
        columns.into_iter().map(|(name, data)| Column { name: name.into(), data, missing: vec![] }).collect();
    Frame { rows: columns[0].len(), columns }
}

fn close(found: f64, expected: f64, what: &str) {
    assert!((found - expected).abs() <= 1e-9 * expected.abs() + 1e-13, "{what}: {found} for {expected}");
}

#[test]
fn tests_agree_with_scipy() {
    let recorded = recorded();
    for name in [
        "t",
        "welch",
        "ks",
        "ks large",
        "mann_whitney",
        "mann_whitney exact",
        "anova",
        "chi_square",
        "chi_square 2x2",
    ] {
        let case = &recorded[name];
        let by = numbers(&case["by"]).into_iter().map(|g| g as i32).collect();
        let frame = frame(vec![("x", Data::F64(numbers(&case["x"]))), ("g", Data::I32(by))]);
        let test = Test::parse(name.split(' ').next().unwrap()).unwrap();
        let found = compare(&frame, "x", "g", test, &CX).unwrap();
        for (measure, expected) in case["found"].as_object().unwrap() {
            let value = found.iter().find(|(n, _)| n == measure).unwrap().1;
            close(value, expected.as_f64().unwrap(), &format!("{name} {measure}"));
        }
    }
}

#[test]
fn correlations_agree_with_scipy() {
    let recorded = recorded();
    let case = &recorded["correlation"];
    let frame = frame(vec![("a", Data::F64(numbers(&case["a"]))), ("b", Data::F64(numbers(&case["b"])))]);
    for (name, method) in
        [("pearson", Method::Pearson), ("spearman", Method::Spearman), ("kendall", Method::Kendall)]
    {
        let found = &correlations(&frame, method, &CX).unwrap()[0];
        let expected = numbers(&case["found"][name]);
        close(found.value.unwrap(), expected[0], name);
        close(found.p_value.unwrap().ln(), expected[1].ln(), name);
    }
}

#[test]
fn summaries_agree_with_numpy() {
    let recorded = recorded();
    let case = &recorded["summary"];
    let found = &summarize(&frame(vec![("x", Data::F64(numbers(&case["x"])))]), &CX).unwrap()[0];
    let expected = numbers(&case["found"]);
    close(found.mean.unwrap(), expected[0], "mean");
    close(found.std.unwrap(), expected[1], "std");
    found.quantiles.unwrap().iter().zip(&expected[2..]).for_each(|(f, e)| close(*f, *e, "quantile"));
    assert_eq!(found.distinct, case["distinct"].as_u64().unwrap());
}

#[test]
fn missing_values_and_constants_have_no_numbers() {
    let x = vec![1.0, f64::NAN, 3.0];
    let frame =
        frame(vec![("x", Data::F64(x)), ("c", Data::F64(vec![2.0; 3])), ("n", Data::F64(vec![f64::NAN; 3]))]);
    let found = summarize(&frame, &CX).unwrap();
    assert_eq!((found[0].missing, found[0].mean, found[2].mean, found[2].distinct), (1, Some(2.0), None, 0));
    for method in [Method::Pearson, Method::Spearman, Method::Kendall] {
        let pairs = correlations(&frame, method, &CX).unwrap();
        assert!(pairs.iter().all(|p| p.value.is_none() && p.p_value.is_none()), "{pairs:?}");
        assert_eq!(pairs.iter().map(|p| p.rows).collect::<Vec<_>>(), [2, 0, 0]);
    }
}

#[test]
fn what_cannot_be_tested_is_refused() {
    let frame = frame(vec![
        ("x", Data::F64(vec![1.0, 1.0, 1.0, 1.0])),
        ("g", Data::I32(vec![0, 0, 1, 1])),
        ("three", Data::I32(vec![0, 1, 2, 2])),
        ("alone", Data::I32(vec![0, 1, 1, 1])),
    ]);
    let refused = |value, by, test| -> Kind { compare(&frame, value, by, test, &CX).unwrap_err().kind };
    for test in [Test::T, Test::Welch, Test::MannWhitney, Test::Anova] {
        assert_eq!(refused("x", "g", test), Kind::Data);
    }
    assert_eq!(refused("x", "three", Test::Ks), Kind::Data);
    assert_eq!(refused("x", "alone", Test::T), Kind::Data);
    assert_eq!(refused("x", "x", Test::ChiSquare), Kind::Data);
    assert_eq!(refused("x", "nowhere", Test::T), Kind::UnknownColumn);
    assert!(Test::parse("guess").is_err());
    let none: Result<_> = compare(&Frame::default(), "x", "g", Test::T, &CX);
    assert!(none.is_err());
}
