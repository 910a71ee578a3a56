//! Metrics against numbers that scikit-learn gave for the same arrays (`reference/metrics.py`), and their manners
//! on arrays that have no metrics.

#![allow(clippy::unwrap_used)]

use engine::labels::LabelSets;
use engine::metrics::{Metric, classification, clustering, headline, multilabel, ranking, regression};
use engine::schema::Task;

fn numbers(v: &serde_json::Value) -> Vec<f64> {
    v.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

fn value(metrics: &[Metric], name: &str) -> Option<f64> {
    metrics.iter().find(|m| m.0 == name).map(|m| m.1)
}

/// Rows of zeros and ones as the numbers of sets.
fn sets(rows: &[f64], labels: usize) -> (Vec<f64>, LabelSets) {
    let mut sets = LabelSets::new(labels);
    rows.chunks(labels).for_each(|row| sets.push((0..labels).filter(|l| row[*l] == 1.0)));
    ((0..sets.len()).map(|i| i as f64).collect(), sets)
}

#[test]
fn agree_with_scikit_learn() {
    let recorded: serde_json::Value = serde_json::from_str(include_str!("reference/metrics.json")).unwrap();
    let cases = recorded["cases"].as_array().unwrap();
    assert!(cases.len() >= 23);
    for case in cases {
        let (y, p, w) = (numbers(&case["y"]), numbers(&case["prediction"]), numbers(&case["weight"]));
        let classes = case["classes"].as_u64().unwrap() as usize;
        let found = match case["kind"].as_str().unwrap() {
            "regression" => regression(&y, &p, &w),
            "classification" => classification(&y, &p, classes, &w),
            "multilabel" => {
                let (y, sets) = sets(&y, classes);
                multilabel(&y, &sets, &p, case["at"].as_f64().unwrap(), &w)
            }
            _ => clustering(&p, classes, &y),
        };
        let expected = case["metrics"].as_object().unwrap();
        let names: Vec<&str> = found.iter().map(|m| m.0).collect();
        assert_eq!(found.len(), expected.len(), "{}: {names:?} for {expected:?}", case["name"]);
        for (name, expected) in expected {
            let (found, expected) = (value(&found, name).unwrap(), expected.as_f64().unwrap());
            let near = (found - expected).abs() <= 1e-12 * expected.abs().max(1.0);
            assert!(near, "{} of {}: {found}, scikit-learn has {expected}", name, case["name"]);
        }
    }
}

#[test]
fn no_rows_have_no_metrics() {
    assert!(regression(&[], &[], &[]).is_empty());
    assert!(classification(&[], &[], 2, &[]).is_empty());
    assert!(multilabel(&[], &LabelSets::new(2), &[], 0.5, &[]).is_empty());
    assert!(clustering(&[], 2, &[]).is_empty());
}

#[test]
fn nan_infinity_and_misfits_have_no_metrics() {
    for bad in [f64::NAN, f64::INFINITY] {
        assert!(regression(&[1.0, 2.0], &[1.0, bad], &[]).is_empty());
        assert!(regression(&[1.0, bad], &[1.0, 2.0], &[]).is_empty());
        assert!(regression(&[1.0, 2.0], &[1.0, 2.0], &[1.0, bad]).is_empty());
        assert!(classification(&[0.0, 1.0], &[0.5, 0.5, bad, 0.5], 2, &[]).is_empty());
        assert!(classification(&[0.0, bad], &[0.5; 4], 2, &[]).is_empty());
        assert!(clustering(&[1.0, 2.0, bad], 1, &[0.0, 1.0, 1.0]).is_empty());
        assert!(clustering(&[1.0, 2.0, 3.0], 1, &[0.0, 1.0, bad]).is_empty());
    }
    let (y, two) = sets(&[1.0, 0.0, 0.0, 1.0], 2);
    assert!(!multilabel(&y, &two, &[0.5; 4], 0.5, &[]).is_empty());
    for bad in [&[0.5, f64::NAN, 0.5, 0.5][..], &[0.5; 3]] {
        assert!(multilabel(&y, &two, bad, 0.5, &[]).is_empty());
    }
    assert!(multilabel(&[0.0, 2.0], &two, &[0.5; 4], 0.5, &[]).is_empty(), "a set that there is not");
    assert!(multilabel(&[0.0, f64::NAN], &two, &[0.5; 4], 0.5, &[]).is_empty());
    assert!(regression(&[1.0, 2.0], &[1.0], &[]).is_empty());
    assert!(regression(&[1.0, 2.0], &[1.0, 2.0], &[1.0]).is_empty());
    assert!(regression(&[1.0, 2.0], &[1.0, 2.0], &[0.0, 0.0]).is_empty());
    assert!(regression(&[1.0, 2.0], &[1.0, 2.0], &[2.0, -1.0]).is_empty());
    assert!(classification(&[0.0, 2.0], &[0.5; 4], 2, &[]).is_empty());
    assert!(classification(&[0.0, 0.5], &[0.5; 4], 2, &[]).is_empty());
    assert!(classification(&[0.0, -1.0], &[0.5; 4], 2, &[]).is_empty());
    assert!(classification(&[0.0, 0.0], &[0.5; 2], 1, &[]).is_empty());
    assert!(classification(&[0.0, 0.0], &[0.5; 3], 2, &[]).is_empty());
    assert!(clustering(&[1.0, 2.0, 3.0], 2, &[0.0, 1.0]).is_empty());
    assert!(clustering(&[1.0, 2.0], 1, &[0.0, 0.0]).is_empty(), "one cluster");
    assert!(clustering(&[1.0, 2.0], 1, &[0.0, 1.0]).is_empty(), "a cluster a row");
}

#[test]
fn one_row_leaves_out_what_needs_two() {
    let one = regression(&[2.0], &[1.0], &[]);
    assert_eq!((value(&one, "rmse"), value(&one, "medae")), (Some(1.0), Some(1.0)));
    assert_eq!((value(&one, "r2"), value(&one, "explained_variance")), (None, None));
}

#[test]
fn one_class_leaves_out_what_ranks() {
    let found = classification(&[1.0, 1.0], &[0.2, 0.8, 0.6, 0.4], 2, &[]);
    assert_eq!((value(&found, "auc"), value(&found, "average_precision")), (None, None));
    assert_eq!((value(&found, "accuracy"), value(&found, "mcc")), (Some(0.5), Some(0.0)));
}

#[test]
fn overflow_leaves_out_a_metric() {
    let found = regression(&[1e300, 1.0], &[-1e300, 1.0], &[]);
    assert!(found.iter().all(|m| m.1.is_finite()) && value(&found, "mae").is_some());
    assert_eq!(value(&found, "rmse"), None);
}

#[test]
fn weight_of_two_counts_as_two_rows() {
    let (y, p) = ([1.0, 2.0, 4.0], [1.5, 1.0, 4.0]);
    let doubled = regression(&[1.0, 2.0, 2.0, 4.0], &[1.5, 1.0, 1.0, 4.0], &[]);
    assert_eq!(regression(&y, &p, &[1.0, 2.0, 1.0]), doubled);
}

#[test]
fn silhouette_of_many_rows_is_near_that_of_all() {
    // Two clouds on a line: 5,000 rows are sampled to 2,000.
    let x: Vec<f64> = (0..5000).map(|i| f64::from(i % 2) * 3.0 + f64::from(i / 2 % 997) / 997.0).collect();
    let cluster: Vec<f64> = (0..5000).map(|i| f64::from(i % 2)).collect();
    // Mean distance within a cloud is 1/3; to the other it is 3.
    let found = value(&clustering(&x, 1, &cluster), "silhouette").unwrap();
    assert!((found - (1.0 - 1.0 / 9.0)).abs() < 0.01, "{found}");
}

#[test]
fn clusters_are_numbered_at_will() {
    let x: Vec<f64> = (0..300).map(|i| f64::from(i * 37 % 101)).collect();
    let cluster: Vec<f64> = x.iter().map(|x| (x / 30.0).floor()).collect();
    let renumbered =
        |to: fn(f64) -> f64| clustering(&x, 1, &cluster.iter().map(|c| to(*c)).collect::<Vec<_>>());
    let expected = clustering(&x, 1, &cluster);
    assert_eq!(expected.len(), 3);
    // Noise is -1; then gaps, fractions, and numbers that are no places of a table.
    assert_eq!(renumbered(|c| c - 1.0), expected);
    assert_eq!(renumbered(|c| c * 7.0), expected);
    assert_eq!(renumbered(|c| c + 0.5), expected);
    assert_eq!(renumbered(|c| c * 1e9 - 5e8), expected);
}

#[test]
fn headline_is_among_the_metrics_of_its_task() {
    let two = classification(&[0.0, 1.0], &[0.6, 0.4, 0.2, 0.8], 2, &[]);
    let three = classification(&[0.0, 1.0], &[0.6, 0.2, 0.2, 0.1, 0.8, 0.1], 3, &[]);
    let clusters = clustering(&[1.0, 2.0, 9.0], 1, &[0.0, 0.0, 1.0]);
    for (task, classes, metrics, larger) in [
        (Task::Regression, 0, regression(&[1.0, 2.0], &[1.0, 3.0], &[]), false),
        (Task::Classification, 2, two, true),
        (Task::Classification, 3, three, true),
        (Task::Clustering, 0, clusters, true),
    ] {
        let headline = headline(task, classes);
        assert!(value(&metrics, headline.name).is_some(), "{}", headline.name);
        assert_eq!(headline.larger_is_better, larger);
    }
}

#[test]
fn rankings_are_measured_by_query() {
    // By hand: 7 + 0 + 1/2 + 3/log2(5) of 7 + 3/log2(3) + 1/2; nothing relevant; two tied rows.
    let y = [3.0, 2.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0];
    let score = [0.9, 0.2, 0.5, 0.4, 3.0, 1.0, 0.7, 0.7];
    let group = [5, 5, 5, 5, 2, 2, 9, 9];
    let found = ranking(&y, &score, &group);
    let value = |name: &str| found.iter().find(|m| m.0 == name).unwrap().1;
    for name in ["ndcg", "ndcg@5", "ndcg@10"] {
        assert!((value(name) - 0.917_168_5).abs() < 1e-6, "{name}: {}", value(name));
    }
    assert!((value("map") - (0.805_555_6 + 1.0 + 0.5) / 3.0).abs() < 1e-6, "{}", value("map"));
    // The order of rows does not matter; negative relevances, and lengths that do not agree, have no metrics.
    let turned = |v: &[f64]| v.iter().rev().copied().collect::<Vec<f64>>();
    let groups: Vec<u64> = group.iter().rev().copied().collect();
    assert_eq!(ranking(&turned(&y), &turned(&score), &groups), found);
    assert!(ranking(&[-1.0, 1.0], &[0.0, 1.0], &[1, 1]).is_empty());
    assert!(ranking(&y, &score, &group[1..]).is_empty());
}
