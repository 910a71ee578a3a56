//! Pages of the worst that there can be: hostile text everywhere, and far more of everything than anybody has.

#![allow(clippy::unwrap_used)] // helpers of tests are tests too

use engine::drift::histogram::{Bars, Drawn};
use engine::drift::quality::Issue;
use engine::drift::{Finding, Role};
use engine::evaluation::Scored;
use engine::evaluation::figures::{Examined, Figures};
use engine::explain::Ranked;
use engine::train::{Metric, RoundMetric};
use report::drift::Drift;
use report::lineage::{Lineage, Step};
use report::model::{Model, Param};
use report::plot::{self, Measured, Plot};

const HOSTILE: &str = "</script><script>alert('&\"')</script><img src=x onerror=alert(1)>";

fn hostile(i: usize) -> String {
    format!("{i} {HOSTILE}")
}

fn figures(classes: usize) -> Figures {
    let labels: Vec<String> = (0..classes).map(hostile).collect();
    let rows = 2000;
    let y: Vec<f64> = (0..rows).map(|i| (i % classes) as f64).collect();
    let p = |i: usize, c: usize| ((i * 7919 + c * 104_729) % 1000) as f64 / 1000.0 + 0.01;
    let scores = (0..rows).flat_map(|i| {
        let all: f64 = (0..classes).map(|c| p(i, c)).sum();
        (0..classes).map(move |c| p(i, c) / all)
    });
    Scored::new(&labels, y, scores.collect(), vec![]).unwrap().figures(None).unwrap()
}

fn drawn(columns: usize, sides: usize) -> Vec<Drawn> {
    let one = |i: usize| {
        let bars = if i.is_multiple_of(2) {
            Bars::Values {
                labels: (0..11).map(hostile).collect(),
                others: 0,
                shares: vec![vec![1.0 / 11.0; 11]; sides],
            }
        } else {
            let edges = (0..25).map(f64::from).collect();
            Bars::Ranges { edges, shares: vec![vec![1.0 / 24.0; 24]; sides] }
        };
        Drawn {
            name: hostile(i),
            role: Some(Role::Feature),
            time: false,
            bars: Some(bars),
            missing: vec![0.1; sides],
        }
    };
    (0..columns).map(one).collect()
}

/// Everything that a model can have, `n` times.
fn model(n: usize) -> Model {
    let pairs = || (0..n).map(|i| (hostile(i), HOSTILE.repeat(20))).collect();
    let params = || {
        (0..n.min(100)).map(|i| Param { name: hostile(i), value: HOSTILE.repeat(20), given: true }).collect()
    };
    let step = |i: usize| Step {
        kind: if i.is_multiple_of(3) { "model".into() } else { "table".into() },
        name: hostile(i),
        version: i.is_multiple_of(3).then_some(1),
        column: Some(hostile(i)),
        usage: HOSTILE.into(),
        of: "m@1".into(),
    };
    Model {
        name: HOSTILE.into(),
        version: Some(1),
        description: Some(HOSTILE.repeat(n)),
        task: "classification".into(),
        algorithm: "boosting".into(),
        target: Some(HOSTILE.into()),
        features: (0..n).map(hostile).collect(),
        classes: (0..n).map(hostile).collect(),
        card: pairs(),
        says: pairs(),
        params: params(),
        preprocess: params(),
        warnings: vec![HOSTILE.repeat(50); n],
        source: Some(HOSTILE.repeat(n)),
        train_rows: u64::MAX,
        test_rows: 1,
        seconds: Some(f64::NAN),
        trained: Some(HOSTILE.into()),
        trained_by: Some(HOSTILE.into()),
        headline: Some((HOSTILE.into(), f64::INFINITY)),
        metrics: (0..n).map(|i| Metric { split: "test".into(), name: hostile(i), value: 1e300 }).collect(),
        rounds: (0..n * 50)
            .map(|i| RoundMetric {
                round: i,
                name: hostile(i % 20),
                value: if i.is_multiple_of(7) { f64::NAN } else { 1.0 },
            })
            .collect(),
        drawable: true,
        figures: Some(figures(30)),
        given: Some((
            HOSTILE.repeat(n),
            Examined { rows: 1, figures: Some(figures(2)), ..Examined::default() },
        )),
        importance: Some((
            "gain",
            (0..n).map(|i| Ranked { name: hostile(i), importance: i as f64, deviation: None }).collect(),
        )),
        columns: drawn(n, 1),
        lineage: Lineage {
            own: "m@1".into(),
            upstream: (0..n.min(300)).map(step).collect(),
            filled: (0..n.min(300)).map(|i| (hostile(i + 1000), vec![hostile(i)])).collect(),
            downstream: vec![],
        },
        history: (0..n)
            .map(|i| Measured {
                at: i as f64 * 86_400.0,
                by: hostile(i % 20),
                rows: 5,
                share: Some(0.5),
                state: HOSTILE.into(),
                culprits: vec![hostile(i); 50],
            })
            .collect(),
        written: HOSTILE.into(),
    }
}

/// No text of others is more than text: it is there, escaped, and nowhere as it was.
fn check(page: &str) {
    assert!(page.len() < 2_000_000, "{} bytes", page.len());
    let lower = page.to_lowercase();
    for mark in ["<script", "</script", "<img", "onerror=alert(1)>"] {
        assert!(!lower.contains(mark), "{mark}");
    }
    assert!(page.contains("&lt;script&gt;"));
    assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
}

#[test]
fn the_page_of_a_model_holds_hostile_text_and_stays_small() {
    for n in [0, 1, 3, 2000] {
        check(&report::model::page(&model(n)).unwrap());
    }
}

#[test]
fn a_model_of_which_nothing_is_known_has_a_page() {
    let page = report::model::page(&Model::default()).unwrap();
    assert!(page.starts_with("<!DOCTYPE html><html lang=\"en\">") && page.ends_with("</html>"));
    assert!(page.contains("Nothing was measured.") && page.contains("No monitor has looked"));
}

#[test]
fn the_page_of_drift_holds_hostile_text_and_stays_small() {
    for n in [0, 1, 2, 2000] {
        let finding = |i: usize| Finding {
            column: Some(hostile(i)),
            role: Some(Role::Feature),
            method: "ks",
            statistic: f64::NAN,
            p_value: Some(0.1),
            threshold: 0.05,
            drifted: i.is_multiple_of(2),
            error: None,
        };
        let issue = |i: usize| Issue {
            column: Some(hostile(i)),
            check: "unseen",
            rows: 1,
            share: 0.5,
            baseline: Some(0.0),
            problem: true,
            detail: HOSTILE.repeat(20),
        };
        let drift = Drift {
            name: HOSTILE.into(),
            version: (n == 2).then_some(3),
            source: HOSTILE.repeat(n + 1),
            findings: (0..n).map(finding).collect(),
            columns: drawn(n, 2),
            issues: (0..n).map(issue).collect(),
            written: HOSTILE.into(),
            ..Drift::default()
        };
        check(&report::drift::page(&drift).unwrap());
    }
}

#[test]
fn drawings_hold_hostile_text() {
    for (name, plot) in Plot::ALL {
        assert_eq!(Plot::parse(name).unwrap(), plot);
    }
    for plot in
        [Plot::Roc, Plot::Pr, Plot::Calibration, Plot::Gain, Plot::Lift, Plot::Probabilities, Plot::Confusion]
    {
        for classes in [2, 9] {
            let file = plot::of_figures(plot, &figures(classes)).unwrap().into_file();
            assert!(!file.contains("<script") && file.contains("&lt;"), "{}", plot.name());
            assert!(file.starts_with("<svg xmlns=") && file.ends_with("</svg>\n"));
        }
    }
    for drawn in drawn(2, 2) {
        assert!(!plot::distribution(&drawn, true).unwrap().into_file().contains("<script"));
    }
}

#[test]
fn drawings_of_nothing_and_of_everything_are_drawn() {
    assert!(plot::importance(&[]).is_ok());
    assert!(plot::learning_curves(&[]).unwrap().is_empty());
    assert!(plot::drift_history(&[]).is_ok());
    let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, f64::MIN, f64::MIN_POSITIVE, 0.0];
    let rounds: Vec<RoundMetric> = odd
        .iter()
        .enumerate()
        .map(|(round, value)| RoundMetric { round, name: "loss".into(), value: *value })
        .collect();
    for some in [&rounds[..], &rounds[..1], &rounds[..3], &rounds[3..4], &rounds[6..]] {
        assert_eq!(plot::learning_curves(some).unwrap().len(), 1);
    }
    let ranked: Vec<Ranked> =
        odd.iter().map(|v| Ranked { name: "x".into(), importance: *v, deviation: None }).collect();
    assert!(plot::importance(&ranked).is_ok());
}
