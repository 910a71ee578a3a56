//! A champion and its challenger on the same rows: against scikit-learn's and SciPy's numbers (`reference/shadow.py`), and
//! with models of this engine.

#![allow(clippy::unwrap_used)] // helpers of tests are tests too

use engine::evaluation::shadow::{Answers, differences};
use serde_json::Value;

fn numbers(v: &Value) -> Vec<f64> {
    v.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

fn likeliest(scores: &[f64], classes: usize) -> Vec<usize> {
    let best = |p: &[f64]| (0..p.len()).rev().max_by(|a, b| p[*a].total_cmp(&p[*b])).unwrap();
    if classes == 0 { vec![] } else { scores.chunks(classes).map(best).collect() }
}

#[test]
fn differences_agree_with_scikit_learn_and_scipy() {
    let cases: Value = serde_json::from_str(include_str!("reference/shadow.json")).unwrap();
    for name in ["cancer", "wine", "diabetes"] {
        let case = &cases[name];
        let count = case["classes"].as_u64().unwrap() as usize;
        let classes: Vec<String> = (0..count).map(|c| c.to_string()).collect();
        let (a, b) = (numbers(&case["champion"]), numbers(&case["challenger"]));
        let (decided_a, decided_b) = (likeliest(&a, count), likeliest(&b, count));
        let found = differences(
            Answers { classes: &classes, scores: &a, decided: &decided_a },
            Answers { classes: &classes, scores: &b, decided: &decided_b },
        );
        let expected = case["expected"].as_object().unwrap();
        assert_eq!(found.len(), expected.len(), "{name}: {found:?}");
        for one in found {
            let value = expected[&one.name].as_f64().unwrap();
            assert!(
                (one.value - value).abs() <= 1e-9 * value.abs().max(1.0),
                "{name}: {one:?}, expected {value}"
            );
            assert_eq!(one.rows, a.len() / count.max(1));
        }
    }
}

#[test]
fn the_same_answers_do_not_differ_and_constants_have_no_correlation() {
    let same = Answers { classes: &[], scores: &[1.0, 2.0, 4.0], decided: &[] };
    let found = differences(same, same);
    let of = |name: &str| found.iter().find(|c| c.name == name).unwrap().value;
    assert_eq!(
        (of("agreement"), of("mean"), of("largest_difference"), of("correlation")),
        (1.0, 0.0, 0.0, 1.0)
    );
    let flat = Answers { classes: &[], scores: &[3.0, 3.0, 3.0], decided: &[] };
    assert!(differences(same, flat).iter().all(|c| c.name != "correlation" && c.value.is_finite()));
    assert!(differences(Answers { classes: &[], scores: &[], decided: &[] }, same).is_empty());
}

#[test]
fn a_class_that_only_one_version_knows_counts() {
    let (two, three) =
        (["a".to_string(), "b".to_string()], ["a".to_string(), "b".to_string(), "c".to_string()]);
    let champion = Answers { classes: &two, scores: &[0.5, 0.5, 0.25, 0.75], decided: &[0, 1] };
    let challenger =
        Answers { classes: &three, scores: &[0.25, 0.25, 0.5, 0.25, 0.75, 0.0], decided: &[2, 1] };
    let found = differences(champion, challenger);
    let of = |name: &str| found.iter().find(|c| c.name == name).unwrap();
    assert_eq!((of("agreement").value, of("share of c").pair), (0.5, Some((0.0, 0.5))));
    assert_eq!((of("mean_absolute_difference").value, of("largest_difference").value), (0.25, 0.5));
}
