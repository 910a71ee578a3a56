//! Curves, tables, fairness and intervals against scikit-learn's, fairlearn's formulas and bootstrapped errors
//! (`reference/evaluation.py`), and their manners on rows that have none.

#![allow(clippy::unwrap_used)] // helpers of tests are tests too

use engine::Kind;
use engine::evaluation::Scored;
use engine::evaluation::curves::Strategy;
use engine::frame::{Column, Data, Dictionary};
use serde_json::Value;

fn recorded() -> Value {
    serde_json::from_str(include_str!("reference/evaluation.json")).unwrap()
}

fn numbers(v: &Value) -> Vec<f64> {
    v.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

fn labels(k: usize) -> Vec<String> {
    (0..k).map(|c| c.to_string()).collect()
}

fn near(found: &[f64], expected: &[f64], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (a, b)) in found.iter().zip(expected).enumerate() {
        assert!((a - b).abs() <= 1e-12 * b.abs().max(1.0), "{what} [{i}]: {a}, expected {b}");
    }
}

fn cancer(weighted: bool) -> Scored {
    let case = &recorded()["cancer"];
    let scores = numbers(&case["p"]).into_iter().flat_map(|p| [1.0 - p, p]).collect();
    let weight = if weighted { numbers(&case["weight"]) } else { vec![] };
    Scored::new(&labels(2), numbers(&case["y"]), scores, weight).unwrap()
}

fn groups(of: &[&str]) -> Column {
    let mut d = Dictionary::default();
    for g in of {
        let code = if *g == "NULL" { Dictionary::MISSING } else { d.intern(g) };
        d.codes.push(code);
    }
    Column { name: "sex".into(), data: Data::Text(d), missing: vec![] }
}

#[test]
fn curves_agree_with_scikit_learn() {
    let case = &recorded()["cancer"];
    for (weighted, key) in [(false, "plain"), (true, "weighted")] {
        let (scored, expected) = (cancer(weighted), &case[key]);
        let roc = scored.roc(1, 1_000_000).unwrap();
        assert_eq!((roc[0].threshold, roc[0].fpr, roc[0].tpr), (f64::INFINITY, 0.0, 0.0));
        near(
            &roc.iter().skip(1).map(|p| p.threshold).collect::<Vec<_>>(),
            &numbers(&expected["roc"][0]),
            "at",
        );
        near(&roc.iter().map(|p| p.fpr).collect::<Vec<_>>(), &numbers(&expected["roc"][1]), "fpr");
        near(&roc.iter().map(|p| p.tpr).collect::<Vec<_>>(), &numbers(&expected["roc"][2]), "tpr");
        let pr = scored.pr_curve(1, 1_000_000).unwrap();
        near(&pr.iter().filter_map(|p| p.threshold).collect::<Vec<_>>(), &numbers(&expected["pr"][0]), "at");
        near(&pr.iter().map(|p| p.precision).collect::<Vec<_>>(), &numbers(&expected["pr"][1]), "precision");
        near(&pr.iter().map(|p| p.recall).collect::<Vec<_>>(), &numbers(&expected["pr"][2]), "recall");
        assert_eq!(pr.last().unwrap().threshold, None);
    }
    for (strategy, key) in [(Strategy::Uniform, "uniform"), (Strategy::Quantile, "quantile")] {
        let bins = cancer(false).calibration(1, 7, strategy);
        near(&bins.iter().map(|b| b.predicted).collect::<Vec<_>>(), &numbers(&case["plain"][key][0]), key);
        near(&bins.iter().map(|b| b.observed).collect::<Vec<_>>(), &numbers(&case["plain"][key][1]), key);
        assert_eq!(bins.iter().map(|b| b.rows).sum::<usize>(), 569);
    }
    for cell in cancer(false).confusion() {
        let (actual, predicted): (usize, usize) =
            (cell.actual.parse().unwrap(), cell.predicted.parse().unwrap());
        assert_eq!(cell.rows as u64, case["confusion"][actual][predicted].as_u64().unwrap());
        assert_eq!(cell.weight, cell.rows as f64);
    }
}

#[test]
fn thinned_curves_keep_their_ends_and_their_area() {
    let scored = cancer(false);
    let area = |points: usize| -> f64 {
        let roc = scored.roc(1, points).unwrap();
        assert!(roc.len() <= points && (roc[0].fpr, roc[0].tpr) == (0.0, 0.0), "{points}");
        assert_eq!((roc[roc.len() - 1].fpr, roc[roc.len() - 1].tpr), (1.0, 1.0), "{points}");
        roc.windows(2).map(|p| (p[1].fpr - p[0].fpr) * (p[1].tpr + p[0].tpr) / 2.0).sum()
    };
    let whole = area(1_000_000);
    assert!((area(30) - whole).abs() < 0.01 && (area(2) - 0.5).abs() < 1e-12);
    let pr = scored.pr_curve(1, 10).unwrap();
    assert!(pr.len() <= 10 && pr[0].recall == 1.0 && pr[pr.len() - 1].threshold.is_none());
    assert!(pr.windows(2).all(|p| p[0].recall >= p[1].recall));
}

#[test]
fn fairness_agrees_with_fairlearn() {
    let case = &recorded()["cancer"];
    let of: Vec<&str> = case["group"].as_array().unwrap().iter().map(|g| g.as_str().unwrap()).collect();
    for (weighted, key) in [(false, "fairness"), (true, "fairness weighted")] {
        let found = cancer(weighted).fairness(1, &groups(&of)).unwrap();
        let expected = case[key].as_object().unwrap();
        assert_eq!(found.len(), expected.len());
        for f in found {
            let name = f.group.map_or(f.name.to_string(), |g| format!("{g} {}", f.name));
            near(&[f.value.unwrap()], &[expected[&name].as_f64().unwrap()], &name);
        }
    }
    let kind = |of: &[&str]| cancer(false).fairness(1, &groups(of)).unwrap_err().kind;
    let mut missing = of.clone();
    missing[7] = "NULL";
    assert_eq!(kind(&missing), Kind::Null);
    assert_eq!(kind(&["a"; 569]), Kind::Data);
    let many: Vec<String> = (0..569).map(|i| i.to_string()).collect();
    assert_eq!(kind(&many.iter().map(String::as_str).collect::<Vec<_>>()), Kind::Data);
}

#[test]
fn a_rate_without_rows_is_unknown() {
    let scores = vec![0.2, 0.8, 0.7, 0.3, 0.4, 0.6, 0.9, 0.1];
    let scored = Scored::new(&labels(2), vec![1.0, 0.0, 0.0, 0.0], scores, vec![]).unwrap();
    let found = scored.fairness(1, &groups(&["a", "a", "b", "b"])).unwrap();
    let of = |name: &str, group: Option<&str>| {
        found.iter().find(|f| f.name == name && f.group.as_deref() == group).unwrap().value
    };
    assert_eq!((of("true_positive_rate", Some("a")), of("true_positive_rate", Some("b"))), (Some(1.0), None));
    // Only one group has positives, so odds are compared by false positives: 0 of 1 against 1 of 2.
    assert_eq!(
        (of("equalized_odds_difference", None), of("equalized_odds_ratio", None)),
        (Some(0.5), Some(0.0))
    );
}

#[test]
fn intervals_have_the_width_of_the_bootstrap() {
    let recorded = recorded();
    let z = 1.959963984540054;
    let wine = &recorded["wine"];
    let diabetes = &recorded["diabetes"];
    let cases = [
        ("cancer", cancer(false)),
        ("wine", Scored::new(&labels(3), numbers(&wine["y"]), numbers(&wine["p"]), vec![]).unwrap()),
        ("diabetes", Scored::new(&[], numbers(&diabetes["y"]), numbers(&diabetes["p"]), vec![]).unwrap()),
    ];
    for (name, scored) in cases {
        let found = scored.measure(None, 0.95);
        for (metric, expected) in recorded[name]["bootstrap"].as_object().unwrap() {
            let m = found.iter().find(|m| m.name == *metric).unwrap();
            let (lower, upper) = m.interval.unwrap();
            assert!(lower <= m.value && m.value <= upper, "{metric} of {name}");
            let (error, expected) = ((upper - lower) / 2.0 / z, expected.as_f64().unwrap());
            assert!(
                (error / expected - 1.0).abs() < 0.12,
                "{metric} of {name}: {error}, bootstrap {expected}"
            );
        }
    }
}

#[test]
fn areas_have_delong_and_shares_have_wilson() {
    let case = &recorded()["cancer"];
    let found = cancer(false).measure(None, 0.95);
    let of = |name: &str| found.iter().find(|m| m.name == name).unwrap();
    let (lower, upper) = of("auc").interval.unwrap();
    near(&[(upper - lower) / 2.0], &[1.959963984540054 * case["delong"].as_f64().unwrap()], "auc");
    for (name, expected) in case["wilson"].as_object().unwrap() {
        let (lower, upper) = of(name).interval.unwrap();
        near(&[lower, upper], &numbers(expected), name);
    }
    assert!(of("calibration_error").interval.is_none());
    // Equal weights count as none; half of the rows at twice the weight widen what they measure.
    let mut equal = cancer(false);
    equal.weight = vec![2.5; 569];
    for (a, b) in equal.measure(None, 0.9).iter().zip(cancer(false).measure(None, 0.9)) {
        near(&[a.value], &[b.value], &a.name);
        if let (Some(a), Some(b)) = (a.interval, b.interval) {
            assert!((a.0 - b.0).abs() < 1e-6 && (a.1 - b.1).abs() < 1e-6);
        }
    }
    let width = |s: &Scored, name: &str| {
        let found = s.measure(None, 0.95);
        let (lower, upper) = found.iter().find(|m| m.name == name).unwrap().interval.unwrap();
        upper - lower
    };
    let mut uneven = cancer(false);
    uneven.weight = (0..569).map(|i| if i % 2 == 0 { 1.0 } else { 20.0 }).collect();
    for name in ["auc", "accuracy", "log_loss", "f1", "average_precision"] {
        assert!(width(&uneven, name) > 1.1 * width(&cancer(false), name), "{name}");
    }
}

#[test]
fn lift_ranks_all_rows_once() {
    let scored = cancer(false);
    let bins = scored.lift(1, 10).unwrap();
    assert_eq!(bins.iter().map(|b| b.rows).sum::<usize>(), 569);
    assert_eq!(bins.iter().map(|b| b.captured).sum::<f64>(), 357.0);
    let last = bins[bins.len() - 1];
    assert!((last.gain - 1.0).abs() < 1e-12 && (last.cumulative_lift - 1.0).abs() < 1e-12);
    assert!(bins.windows(2).all(|b| b[0].threshold > b[1].threshold && b[0].gain <= b[1].gain));
    assert!((bins[0].lift - bins[0].rate / (357.0 / 569.0)).abs() < 1e-12 && bins[0].lift > 1.5);
    // All rows alike are one bin, whatever their order.
    let mut alike = scored;
    alike.scores = [0.4, 0.6].repeat(569);
    let bins = alike.lift(1, 10).unwrap();
    assert_eq!((bins.len(), bins[0].rows, bins[0].lift), (1, 569, 1.0));
}

#[test]
fn residuals_are_standardised_where_they_differ() {
    let scored = Scored::new(&[], vec![1.0, 2.0, 6.0], vec![1.0, 1.0, 3.0], vec![]).unwrap();
    let found = scored.residuals().unwrap();
    assert_eq!(found.iter().map(|r| r.residual).collect::<Vec<_>>(), [0.0, 1.0, 3.0]);
    // Mean 4/3; squares 16/9, 1/9, 25/9 over 2.
    let deviation = (42.0f64 / 9.0 / 2.0).sqrt();
    assert!((found[2].standardised.unwrap() - (3.0 - 4.0 / 3.0) / deviation).abs() < 1e-12);
    let mut exact = scored.clone();
    exact.scores = vec![1.0, 2.0, 6.0];
    assert!(exact.residuals().unwrap().iter().all(|r| r.standardised.is_none()));
    let one = Scored::new(&[], vec![1.0], vec![2.0], vec![]).unwrap();
    assert_eq!(one.residuals().unwrap()[0].standardised, None);
    assert_eq!(cancer(false).residuals().unwrap_err().kind, Kind::Unsupported);
}

#[test]
fn one_class_and_one_row_have_no_curves_and_no_intervals() {
    let one = Scored::new(&labels(2), vec![1.0; 3], vec![0.3, 0.7, 0.4, 0.6, 0.9, 0.1], vec![]).unwrap();
    assert_eq!(one.roc(1, 10).unwrap_err().kind, Kind::Data);
    assert_eq!(one.pr_curve(0, 10).unwrap_err().kind, Kind::Data);
    assert_eq!(one.lift(1, 10).unwrap_err().kind, Kind::Data);
    assert!(!one.measure(None, 0.95).is_empty());
    let row = Scored::new(&labels(2), vec![1.0], vec![0.3, 0.7], vec![]).unwrap();
    assert!(row.measure(None, 0.95).iter().all(|m| m.interval.is_none()));
    assert!(Scored::new(&labels(2), vec![1.0], vec![0.3], vec![]).is_err());
    assert!(Scored::new(&labels(2), vec![2.0], vec![0.3, 0.7], vec![]).is_err());
}

#[test]
fn a_million_rows_are_measured_quickly() {
    // A bound only against costs of a higher order: it takes about 2 s here.
    let n = 1_000_000usize;
    let p = |i: usize| (i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) as f64 / u64::MAX as f64;
    let scores: Vec<f64> = (0..n).flat_map(|i| [1.0 - p(i), p(i)]).collect();
    let y: Vec<f64> = (0..n).map(|i| f64::from(u8::from(p(i * 7 + 3) < p(i)))).collect();
    let scored = Scored::new(&labels(2), y, scores, vec![]).unwrap();
    let found = scored.measure(None, 0.95);
    let auc = found.iter().find(|m| m.name == "auc").unwrap();
    let (lower, upper) = auc.interval.unwrap();
    assert!(upper - lower < 0.004 && upper - lower > 0.0005, "{auc:?}");
    assert!(scored.roc(1, 200).unwrap().len() <= 200);
}
