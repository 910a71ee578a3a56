//! Searches: against scikit-learn's and Optuna's (reference/search.py), against the papers' tables, and against chance.

#![allow(clippy::unwrap_used)] // helpers of tests are tests too

use engine::frame::{Column, Data, Dictionary, Frame};
use engine::learner::{Cx, Info, Observer, Silent};
use engine::search::halving::{Rung, halving, hyperband};
use engine::search::space::Space;
use engine::search::{Found, Known, Method, Plan, Status, auto, check, search, tpe};
use engine::split::Split;
use engine::train::Request;
use engine::{Kind, algorithms};
use serde_json::{Value, json};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

static GO: AtomicBool = AtomicBool::new(false);

fn cx() -> Cx<'static> {
    Cx { seed: 0, stop: &GO, observer: &Silent }
}

fn recorded() -> Value {
    serde_json::from_str(include_str!("reference/search.json")).unwrap()
}

fn numbers(v: &Value) -> Vec<f64> {
    v.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

/// One of scikit-learn's data sets, the target last; a class target as text.
fn data(name: &str) -> Frame {
    let path = format!("{}/tests/reference/data/{name}.csv", env!("CARGO_MANIFEST_DIR"));
    let rows: Vec<Vec<f64>> = std::fs::read_to_string(path)
        .unwrap()
        .lines()
        .map(|l| l.split(',').map(|v| v.parse().unwrap()).collect())
        .collect();
    let width = rows[0].len() - 1;
    let column = |name: String, data: Data| Column { name, data, missing: vec![] };
    let mut columns: Vec<Column> =
        (0..width).map(|k| column(format!("x{k}"), Data::F64(rows.iter().map(|r| r[k]).collect()))).collect();
    let y = rows.iter().map(|r| r[width]);
    columns.push(match name {
        "diabetes" => column("y".into(), Data::F64(y.collect())),
        _ => {
            let mut classes = Dictionary::default();
            for v in y {
                let code = classes.intern(&format!("c{v}"));
                classes.codes.push(code);
            }
            column("y".into(), Data::Text(classes))
        }
    });
    Frame { columns, rows: rows.len() }
}

fn request(algorithm: &str) -> Request {
    Request {
        algorithm: algorithm.into(),
        target: Some("y".into()),
        max_memory: 1 << 32,
        ..Request::default()
    }
}

fn plan(method: Method, space: &str) -> Plan {
    Plan { method, space: Some(space.into()), ..Plan::default() }
}

fn thirds(rows: usize) -> Vec<Vec<u32>> {
    (0..3).map(|k| (0..rows as u32).filter(|r| r % 3 == k).collect()).collect()
}

fn info(algorithm: &str) -> &'static Info {
    algorithms::find(algorithm).unwrap().info()
}

/// What must not depend on threads or the clock.
fn outcome(found: &Found) -> String {
    let trials: Vec<Value> = found
        .trials
        .iter()
        .map(|t| {
            json!([t.number, t.algorithm, t.params, t.resource, t.value, t.std, t.error, t.status.name()])
        })
        .collect();
    json!([trials, found.best, engine::artifact::sha256(&found.trained.artifact)]).to_string()
}

fn on<T: Send>(threads: usize, job: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(job)
}

// Agreement -------------------------------------------------------------------------------------------------------

#[test]
fn grids_agree_with_scikit_learn() {
    for case in recorded()["grids"].as_array().unwrap() {
        let name = case["data"].as_str().unwrap();
        let frame = data(name);
        let space = json!({case["name"].as_str().unwrap(): case["values"]}).to_string();
        let plan = Plan {
            given_folds: Some(thirds(frame.rows)),
            metric: Some(case["metric"].as_str().unwrap().into()),
            ..plan(Method::Grid, &space)
        };
        let request =
            Request { params: case["params"].to_string(), ..request(case["algorithm"].as_str().unwrap()) };
        let found = search(&frame, &request, &plan, &cx()).unwrap();
        let (means, deviations) = (numbers(&case["mean"]), numbers(&case["std"]));
        assert_eq!(found.trials.len(), means.len());
        for (trial, (mean, std)) in found.trials.iter().zip(means.iter().zip(&deviations)) {
            let close = |a: f64, b: f64| (a - b).abs() <= 1e-6 * b.abs();
            assert!(
                close(trial.value.unwrap(), *mean),
                "{name} {}: {trial:?}, expected {mean}",
                trial.params
            );
            assert!(close(trial.std.unwrap(), *std), "{name} {}: {trial:?}, expected {std}", trial.params);
        }
        assert_eq!(found.best as u64, case["best"].as_u64().unwrap());
        let chosen: Value = serde_json::from_str(&found.trained.card.params).unwrap();
        assert_eq!(chosen[case["name"].as_str().unwrap()], case["values"][found.best]);
        assert_eq!(found.trained.card.train_rows as usize, frame.rows);
    }
}

#[test]
fn halving_has_the_arithmetic_of_scikit_learn() {
    for case in recorded()["halving"].as_array().unwrap() {
        let of = |key: &str| case[key].as_u64().unwrap();
        let least = of("folds") * 2 * of("classes").max(1);
        let rungs = halving(of("candidates") as usize, of("factor") as usize, least, of("rows"));
        let candidates: Vec<usize> = rungs.iter().map(|r| r.candidates).collect();
        let resources: Vec<u64> = rungs.iter().map(|r| r.resource).collect();
        assert_eq!(
            json!([candidates, resources]),
            json!([case["n_candidates"], case["n_resources"]]),
            "{case}"
        );
    }
}

#[test]
fn hyperband_has_the_brackets_of_the_paper() {
    // Li et al. 2018, table 1: R = 81, eta = 3.
    let expected: [&[(usize, u64)]; 5] = [
        &[(81, 1), (27, 3), (9, 9), (3, 27), (1, 81)],
        &[(27, 3), (9, 9), (3, 27), (1, 81)],
        &[(9, 9), (3, 27), (1, 81)],
        &[(6, 27), (2, 81)],
        &[(5, 81)],
    ];
    let found = hyperband(81, 3);
    let plain = |b: &Vec<Rung>| b.iter().map(|r| (r.candidates, r.resource)).collect::<Vec<_>>();
    assert_eq!(found.iter().map(plain).collect::<Vec<_>>(), expected.map(<[_]>::to_vec));
}

const PARZEN: &str = r#"{"num_leaves": {"int": [7, 255], "log": true}, "learning_rate": {"float": [0.0001, 1], "log": true},
    "max_cat_threshold": {"int": [1, 200]}, "lambda_l2": {"float": [0, 10]}, "feature_fraction": [0.1, 0.2, 0.3]}"#;

/// Optuna's names, and those of [`PARZEN`], in its order. Optuna's x of -5 to 5 is a penalty of 0 to 10 there, as no
/// parameter may be negative.
const NAMES: [&str; 5] = ["c", "rate", "x", "k", "leaves"];

fn parzen_point(p: &Value) -> Vec<f64> {
    let choice = ["a", "b", "d"].iter().position(|c| p["c"] == *c).unwrap() as f64;
    let of = |key: &str| p[key].as_f64().unwrap();
    vec![choice, of("x") + 5.0, of("rate"), of("k"), of("leaves")]
}

#[test]
fn parzen_estimator_agrees_with_optuna() {
    let space = Space::parse(PARZEN, info("boosting")).unwrap();
    let order = ["feature_fraction", "lambda_l2", "learning_rate", "max_cat_threshold", "num_leaves"];
    assert_eq!(space.dimensions.iter().map(|d| d.name.as_str()).collect::<Vec<_>>(), order);
    for case in recorded()["parzen"].as_array().unwrap() {
        let history: Vec<Vec<f64>> = case["history"].as_array().unwrap().iter().map(parzen_point).collect();
        let losses = numbers(&case["losses"]);
        let mut sorted = losses.clone();
        sorted.sort_by(f64::total_cmp);
        let bar = sorted[losses.len().div_ceil(10) - 1];
        let of = |good: bool| -> Vec<&[f64]> {
            let kept = history.iter().zip(&losses).filter(|(_, l)| (**l <= bar) == good);
            kept.map(|(p, _)| p.as_slice()).collect()
        };
        let (below, above) = (tpe::Parzen::new(&space, &of(true)), tpe::Parzen::new(&space, &of(false)));
        for (point, score) in case["points"].as_array().unwrap().iter().zip(numbers(&case["score"])) {
            let point = parzen_point(point);
            let found = below.log_density(&point) - above.log_density(&point);
            assert!(
                (found - score).abs() < 1e-6 * score.abs().max(1.0),
                "{point:?}: {found}, expected {score}"
            );
        }

        // What is proposed next, over many seeds, is distributed as Optuna's choice.
        let tried: Vec<tpe::Tried> = history.iter().cloned().zip(losses).collect();
        let samples = case["samples"].as_u64().unwrap() as usize;
        let chosen: Vec<Vec<f64>> =
            (0..samples as u64).map(|s| tpe::propose(&space, &tried, tried.len(), 1, s).remove(0)).collect();
        // Two samples of 2000: the statistic of Kolmogorov and Smirnov is below 0.062 in 999 of 1000 cases.
        let allowed = 1.95 * (2.0 / samples as f64).sqrt();
        for (d, name) in NAMES.iter().enumerate() {
            let share =
                |x: f64| chosen.iter().filter(|p| p[[0, 2, 1, 3, 4][d]] <= x).count() as f64 / samples as f64;
            if *name == "c" {
                for (choice, label) in ["a", "b", "d"].iter().enumerate() {
                    let found =
                        share(choice as f64) - if choice > 0 { share(choice as f64 - 1.0) } else { 0.0 };
                    let expected = case["choices"][*label].as_f64().unwrap();
                    assert!((found - expected).abs() < allowed, "{label}: {found}, expected {expected}");
                }
                continue;
            }
            let shift = if *name == "x" { 5.0 } else { 0.0 };
            for (expected, q) in numbers(&case["shares"]).iter().zip(numbers(&case["quantiles"][*name])) {
                // Whole numbers jump: the share lies between those on both sides of the jump.
                let (low, high) = (share(q + shift - 1e-9), share(q + shift + 1e-9));
                assert!(
                    low - allowed < *expected && *expected < high + allowed,
                    "{name} at {q}: {low} .. {high}, expected {expected}"
                );
            }
        }
    }
}

#[test]
fn parzen_estimator_beats_chance() {
    // Branin's function over two of the dimensions, and a mixed one over all, from their minima.
    let branin = |p: &[f64]| {
        let (x, y) = (p[1] * 1.5 - 5.0, p[2].log10() * 3.75 + 15.0);
        let pi = std::f64::consts::PI;
        let a = y - 5.1 / (4.0 * pi * pi) * x * x + 5.0 / pi * x - 6.0;
        a * a + 10.0 * (1.0 - 1.0 / (8.0 * pi)) * x.cos() + 10.0 - 0.397887
    };
    let mixed = |p: &[f64]| {
        (p[1] - 6.0).powi(2) / 4.0
            + (p[2].log10() + 2.0).powi(2)
            + (p[3] - 70.0).abs() / 50.0
            + (p[4] / 63.0).ln().abs()
            + if p[0] == 1.0 { 0.0 } else { 0.7 }
    };
    let space = Space::parse(PARZEN, info("boosting")).unwrap();
    for (name, function) in [("branin", &branin as &dyn Fn(&[f64]) -> f64), ("mixed", &mixed)] {
        let seeds = 60;
        let mut wins = 0;
        let (mut estimated, mut random) = (0.0, 0.0);
        for seed in 0..seeds {
            let mut history: Vec<tpe::Tried> = vec![];
            while history.len() < 60 {
                let count = if history.len() < tpe::STARTUP {
                    tpe::STARTUP
                } else {
                    tpe::BATCH.min(60 - history.len())
                };
                let points = tpe::propose(&space, &history, history.len(), count, seed);
                history.extend(points.into_iter().map(|p| (p.clone(), function(&p))));
            }
            let chance = (0..60).map(|t| function(&space.sample(&mut tpe::lots(seed + 1000, t))));
            let best = |losses: &mut dyn Iterator<Item = f64>| losses.fold(f64::INFINITY, f64::min);
            let (a, b) = (best(&mut history.iter().map(|h| h.1)), best(&mut { chance }));
            wins += usize::from(a < b);
            estimated += a / f64::from(seeds as u32);
            random += b / f64::from(seeds as u32);
        }
        println!(
            "{name}: mean best of 60 trials {estimated:.3}, by chance {random:.3}, better in {wins} of {seeds}"
        );
        // Chance alone would give 40 or more of 60 in 7 of 1000 cases.
        assert!(wins >= 40 && estimated < 0.8 * random, "{name}: {estimated} {random} {wins}");
    }
}

// Searching -------------------------------------------------------------------------------------------------------

#[test]
fn every_method_is_the_same_on_any_number_of_threads() {
    let frame = data("breast_cancer");
    let space = r#"{"C": {"float": [0.0001, 100], "log": true}, "preprocess.scale": ["standard", "none"]}"#;
    for method in [Method::Grid, Method::Random, Method::Halving, Method::Hyperband, Method::Tpe] {
        let trials = if method == Method::Grid { None } else { Some(14) };
        let plan = Plan { trials, ..plan(method, space) };
        let run = |threads| on(threads, || search(&frame, &request("logistic"), &plan, &cx()).unwrap());
        let (one, two, four) = (run(1), run(2), run(4));
        assert!(one.trials.iter().all(|t| t.status == Status::Succeeded), "{method:?} {:?}", one.trials);
        assert_eq!(outcome(&one), outcome(&two), "{method:?}");
        assert_eq!(outcome(&one), outcome(&four), "{method:?}");
        let goal = &one.goal;
        let most = one.trials.iter().map(|t| t.resource).max().unwrap();
        let best = one.trials[one.best].value.unwrap();
        assert!(
            one.trials.iter().filter(|t| t.resource == most).all(|t| t.value.unwrap() <= best),
            "{method:?}"
        );
        assert_eq!((goal.metric.as_str(), goal.larger_is_better), ("auc", true));
        assert_eq!(one.ranking()[0], one.best);
        assert_eq!(one.trained.headline.as_ref().unwrap().split, "selection");
    }
}

#[test]
fn rungs_get_more_rows_or_more_trees() {
    let frame = data("diabetes");
    let space = r#"{"learning_rate": {"float": [0.02, 0.5], "log": true}, "num_leaves": {"int": [3, 31]}}"#;
    let request =
        Request { params: r#"{"n_estimators": 81, "min_data_in_leaf": 5}"#.into(), ..request("boosting") };
    for (resource, expected) in [
        (None, vec![(9, 49), (3, 147), (1, 441)]),
        (Some("trees".to_string()), vec![(9, 9), (3, 27), (1, 81)]),
    ] {
        let plan = Plan { trials: Some(9), resource: resource.clone(), ..plan(Method::Halving, space) };
        let found = search(&frame, &request, &plan, &cx()).unwrap();
        let mut rungs: Vec<(usize, u64)> = vec![];
        for trial in &found.trials {
            match rungs.last_mut() {
                Some((count, resource)) if *resource == trial.resource => *count += 1,
                _ => rungs.push((1, trial.resource)),
            }
        }
        assert_eq!(rungs, expected, "{resource:?}");
        assert_eq!(found.best, found.trials.len() - 1);
        let params: Value = serde_json::from_str(&found.trained.card.params).unwrap();
        assert_eq!(params["n_estimators"], 81);
        // The best of the first rung is in the second.
        let first =
            found.trials[..9].iter().min_by(|a, b| a.value.unwrap().total_cmp(&b.value.unwrap())).unwrap();
        assert!(found.trials[9..12].iter().any(|t| t.params == first.params));
    }
}

#[test]
fn known_trials_are_not_repeated() {
    let frame = data("wine");
    let space = r#"{"C": {"float": [0.001, 100], "log": true}}"#;
    for method in [Method::Tpe, Method::Random] {
        let of = |trials, earlier: Option<&Found>| Plan {
            trials: Some(trials),
            known: earlier
                .map(|f| Known { fingerprint: f.trained.card.fingerprint.clone(), trials: f.trials.clone() }),
            ..plan(method, space)
        };
        let request = request("multinomial");
        let whole = search(&frame, &request, &of(25, None), &cx()).unwrap();
        let part = search(&frame, &request, &of(13, None), &cx()).unwrap();
        let resumed = search(&frame, &request, &of(25, Some(&part)), &cx()).unwrap();
        assert_eq!(outcome(&whole), outcome(&resumed));
        assert_eq!(resumed.trials.iter().filter(|t| t.reused).count(), 13, "{method:?}");
        assert!(resumed.trials[..13].iter().zip(&part.trials).all(|(a, b)| a.seconds == b.seconds));

        let mut other = frame.clone();
        if let Data::F64(x) = &mut other.columns[0].data {
            x[0] += 1.0;
        }
        let error = search(&other, &request, &of(25, Some(&part)), &cx()).unwrap_err();
        assert_eq!(
            (error.kind, error.message.as_str()),
            (Kind::Data, "the rows are not those of the earlier search")
        );
    }
}

#[test]
fn a_failed_trial_is_recorded_and_the_search_goes_on() {
    let frame = data("wine");
    let space = r#"{"preprocess.missing": ["mean", "error"], "preprocess.columns": [{}, {"nowhere": {"scale": "none"}}]}"#;
    let found = search(&frame, &request("multinomial"), &plan(Method::Grid, space), &cx()).unwrap();
    let failed: Vec<_> = found.trials.iter().filter(|t| t.status == Status::Failed).collect();
    assert_eq!((found.trials.len(), failed.len()), (4, 2));
    assert_eq!(failed[0].error.as_deref(), Some("preprocess names column \"nowhere\", which is no feature"));
    assert!(failed[0].value.is_none());

    let space = r#"{"preprocess.columns": [{"nowhere": {"scale": "none"}}]}"#;
    let error = search(&frame, &request("multinomial"), &plan(Method::Grid, space), &cx()).unwrap_err();
    assert_eq!(error.kind, Kind::UnknownColumn);
    assert_eq!(
        error.message,
        "the only trial failed: preprocess names column \"nowhere\", which is no feature"
    );
}

#[test]
fn a_split_and_outer_folds_are_measured_on_rows_untouched_by_the_choice() {
    let frame = data("breast_cancer");
    let space = r#"{"C": [0.01, 1, 100]}"#;
    let of = |split: &str, found: &Found| {
        found.trained.metrics.iter().find(|m| m.split == split && m.name == "auc").map(|m| m.value)
    };
    let held = Request { split: Split::Stratified { test_size: 0.25 }, ..request("logistic") };
    let found = search(&frame, &held, &plan(Method::Grid, space), &cx()).unwrap();
    assert_eq!((found.trained.card.train_rows, found.trained.card.test_rows), (427, 142));
    assert_eq!(found.trials[0].resource, 427);
    assert!(of("test", &found).unwrap() > 0.97 && of("selection", &found).unwrap() > 0.97);
    assert_eq!(found.trained.headline.as_ref().unwrap().split, "test");

    let outer = Plan { outer_folds: 4, ..plan(Method::Grid, space) };
    let found = search(&frame, &request("logistic"), &outer, &cx()).unwrap();
    assert_eq!(found.trained.card.train_rows, 569);
    assert!(of("nested", &found).unwrap() > 0.97 && of("nested_std", &found).unwrap() < 0.03);
    assert_eq!(found.trained.headline.as_ref().unwrap().split, "nested");
}

#[test]
fn clusters_are_searched_by_a_named_metric() {
    let frame = data("iris");
    let features: Vec<String> = (0..4).map(|k| format!("x{k}")).collect();
    let request = Request { target: None, features: Some(features), ..request("kmeans") };
    let plan = Plan {
        metric: Some("silhouette".into()),
        ..plan(Method::Grid, r#"{"n_clusters": {"int": [2, 5]}}"#)
    };
    let found = search(&frame, &request, &plan, &cx()).unwrap();
    assert_eq!(found.trials[found.best].params, json!({"n_clusters": 2}));
    let error = check(&request, &Plan { metric: None, ..plan }).unwrap_err();
    assert_eq!(error.message, "a search without a target needs a metric");
}

// Ending ----------------------------------------------------------------------------------------------------------

/// A table on which a trial takes a while.
fn large() -> Frame {
    let rows = 60_000;
    let at = |i: usize, k: usize| ((i * 2_654_435_761 + k * 40_503) >> 7) % 1000;
    let mut columns: Vec<Column> = (0..12)
        .map(|k| Column {
            name: format!("x{k}"),
            data: Data::F32((0..rows).map(|i| at(i, k) as f32).collect()),
            missing: vec![],
        })
        .collect();
    let y = (0..rows).map(|i| (at(i, 1) * at(i, 2)) as f64 + at(i, 3) as f64).collect();
    columns.push(Column { name: "y".into(), data: Data::F64(y), missing: vec![] });
    Frame { columns, rows }
}

#[test]
fn a_time_limit_ends_the_search_and_keeps_what_it_found() {
    let frame = large();
    let space = r#"{"n_estimators": [2, 100000], "num_leaves": [4, 8]}"#;
    let limited = Plan { time_limit: Some(3.0), ..plan(Method::Grid, space) };
    let clock = Instant::now();
    let found = search(&frame, &request("boosting"), &limited, &cx()).unwrap();
    assert!(clock.elapsed() < Duration::from_secs(20));
    assert!(found.limited);
    assert_eq!(found.trials[0].status, Status::Succeeded);
    assert!(found.trials.iter().any(|t| t.status == Status::Stopped && t.value.is_none()));
    assert_eq!(found.trials[found.best].params["n_estimators"], 2);

    let limited = Plan { time_limit: Some(0.001), ..plan(Method::Grid, r#"{"n_estimators": [100000]}"#) };
    let error = search(&frame, &request("boosting"), &limited, &cx()).unwrap_err();
    assert_eq!(error.message, "no trial ended within the time limit of 0.001 seconds");
}

#[test]
fn cancel_ends_a_search_at_once() {
    let frame = large();
    for time_limit in [None, Some(600.0)] {
        let stop = AtomicBool::new(false);
        let plan =
            Plan { time_limit, ..plan(Method::Random, r#"{"n_estimators": {"int": [90000, 100000]}}"#) };
        let ended = std::thread::scope(|scope| {
            let work = scope.spawn(|| {
                let cx = Cx { seed: 0, stop: &stop, observer: &Silent };
                // In a pool of its own: a waiting thread of the shared one would take up another test's trials.
                let error = on(2, || search(&frame, &request("boosting"), &plan, &cx).unwrap_err());
                (error.kind, Instant::now())
            });
            std::thread::sleep(Duration::from_millis(1500));
            stop.store(true, Ordering::Relaxed);
            let clock = Instant::now();
            let (kind, ended) = work.join().unwrap();
            assert_eq!(kind, Kind::Cancelled);
            ended.saturating_duration_since(clock)
        });
        println!("cancelled after {} ms", ended.as_millis());
        assert!(ended < Duration::from_millis(1000), "{ended:?}");
    }
}

#[test]
fn progress_counts_trials() {
    #[derive(Default)]
    struct Steps(Mutex<Vec<(usize, usize, String)>>);
    impl Observer for Steps {
        fn progress(&self, done: usize, total: usize, what: &str) {
            self.0.lock().unwrap().push((done, total, what.into()));
        }
    }
    let steps = Steps::default();
    let cx = Cx { seed: 0, stop: &GO, observer: &steps };
    let found =
        search(&data("wine"), &request("multinomial"), &plan(Method::Grid, r#"{"C": [0.1, 1, 10]}"#), &cx);
    assert_eq!(found.unwrap().trials.len(), 3);
    let trials: Vec<usize> =
        steps.0.lock().unwrap().iter().filter(|s| s.2 == "trial" && s.1 == 3).map(|s| s.0).collect();
    assert!(trials.len() >= 3 && trials.contains(&1) && trials.last() == Some(&3), "{trials:?}");
}

// Spaces ----------------------------------------------------------------------------------------------------------

#[test]
fn grids_list_every_point() {
    let grid = |space: &str| {
        let space = Space::parse(space, info("boosting")).unwrap();
        let none = serde_json::Map::new();
        space.grid().unwrap().iter().map(|p| space.values(p, &none, &none).0.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(
        grid(r#"{"num_leaves": [15, 31], "learning_rate": {"float": [0.01, 1], "log": true, "points": 3}}"#),
        [
            r#"{"learning_rate":0.01,"num_leaves":15}"#,
            r#"{"learning_rate":0.01,"num_leaves":31}"#,
            r#"{"learning_rate":0.1,"num_leaves":15}"#,
            r#"{"learning_rate":0.1,"num_leaves":31}"#,
            r#"{"learning_rate":1.0,"num_leaves":15}"#,
            r#"{"learning_rate":1.0,"num_leaves":31}"#,
        ]
    );
    assert_eq!(
        grid(r#"{"max_leaf_nodes": {"int": [10, 31], "step": 10}}"#),
        [r#"{"num_leaves":10}"#, r#"{"num_leaves":20}"#, r#"{"num_leaves":30}"#]
    );
    assert_eq!(grid(r#"{"trees": {"int": [1, 101], "points": 3}}"#).len(), 3);
}

#[test]
fn samples_lie_in_the_space() {
    let space = Space::parse(PARZEN, info("boosting")).unwrap();
    let none = serde_json::Map::new();
    for trial in 0..2000 {
        let (params, _) = space.values(&space.sample(&mut tpe::lots(5, trial)), &none, &none);
        let leaves = params["num_leaves"].as_i64().unwrap();
        let rate = params["learning_rate"].as_f64().unwrap();
        assert!((7..=255).contains(&leaves) && (0.0001..=1.0).contains(&rate), "{params}");
        assert!((1..=200).contains(&params["max_cat_threshold"].as_i64().unwrap()));
    }
}

#[test]
fn refuses_bad_plans() {
    let refused = |algorithm: &str, plan: Plan| {
        let error = check(&request(algorithm), &plan).unwrap_err();
        assert_eq!(error.kind, Kind::Parameter, "{error}");
        error.message
    };
    let space = |space: &str| refused("boosting", plan(Method::Tpe, space));
    assert_eq!(space(r#"{"num_leafs": [3]}"#), "boosting has no parameter \"num_leafs\"");
    assert_eq!(space(r#"{"preprocess.scales": ["none"]}"#), "preprocess has no parameter \"scales\"");
    assert_eq!(
        space(r#"{"num_leaves": {"int": [1, 31]}}"#),
        "parameter \"num_leaves\" of boosting is 1, expected integer (2 .. 32768)"
    );
    assert_eq!(space(r#"{"num_leaves": {"int": [31, 3]}}"#), "the range of \"num_leaves\" is empty: [31,3]");
    assert_eq!(
        space(r#"{"lambda_l2": {"float": [0, 3], "log": true}}"#),
        "the range of \"lambda_l2\" is [0,3], expected values above 0 for a logarithm"
    );
    assert_eq!(
        space(r#"{"num_leaves": {"float": [3, 31]}}"#),
        "parameter \"num_leaves\" of boosting is an integer, found a range of all numbers"
    );
    assert_eq!(
        space(r#"{"num_leaves": []}"#),
        "the space of \"num_leaves\" is empty, expected one or more values"
    );
    assert_eq!(space("{}"), "the space is empty, expected one or more parameters");
    assert_eq!(space("[1]"), "the space is [1], expected an object");
    assert!(space("{").starts_with("the space is not valid JSON"));
    assert_eq!(
        space(r#"{"trees": [1], "n_estimators": [2]}"#),
        "the space names parameter \"n_estimators\" twice, under two names"
    );
    assert!(space(r#"{"num_leaves": {"int": [3, 31], "steps": 2}}"#).contains("expected a range or a list"));
    assert!(space(r#"{"num_leaves": {"int": [3, 31.5]}}"#).contains("expected whole numbers"));
    assert_eq!(
        refused(
            "boosting",
            plan(
                Method::Grid,
                r#"{"num_leaves": {"int": [2, 201], "points": 200}, "max_bin": {"int": [2, 101], "points": 100}}"#
            )
        ),
        "the grid has 100 x 200 points, expected at most 10000"
    );
    let tpe = || plan(Method::Tpe, r#"{"num_leaves": [3, 31]}"#);
    assert_eq!(refused("boosting", Plan { trials: Some(0), ..tpe() }), "trials is 0, expected 1 .. 10000");
    assert_eq!(refused("boosting", Plan { folds: 1, ..tpe() }), "folds is 1, expected 2 .. 100");
    assert_eq!(
        refused("boosting", Plan { outer_folds: 1, ..tpe() }),
        "outer_folds is 1, expected 0 or 2 .. 100"
    );
    assert_eq!(refused("boosting", Plan { factor: 1, ..tpe() }), "factor is 1, expected 2 .. 100");
    for limit in [-1.0, 0.0, f64::NAN] {
        assert!(
            refused("boosting", Plan { time_limit: Some(limit), ..tpe() })
                .contains("expected seconds above 0")
        );
    }
    assert_eq!(
        refused("boosting", Plan { resource: Some("n_estimators".into()), ..tpe() }),
        "resource is \"n_estimators\", which only halving and hyperband take"
    );
    assert_eq!(refused("linear", Plan { space: None, ..tpe() }), "linear has no default space to search");
    let fixed = Request { params: r#"{"max_leaf_nodes": 3}"#.into(), ..request("boosting") };
    assert_eq!(
        check(&fixed, &tpe()).unwrap_err().message,
        "\"num_leaves\" is fixed and in the space at once"
    );
    assert_eq!(check(&request("bosting"), &tpe()).unwrap_err().kind, Kind::UnknownAlgorithm);
    assert_eq!(Method::parse("bayes").unwrap_err().message, "there is no search method \"bayes\"");
    let error =
        search(&data("iris"), &request("boosting"), &Plan { metric: Some("rmse".into()), ..tpe() }, &cx());
    assert_eq!(error.unwrap_err().message, "there is no metric \"rmse\" for classification of 3 classes");
}

#[test]
fn every_algorithm_has_a_default_space_or_says_that_it_has_none() {
    for algorithm in algorithms::ALGORITHMS {
        let info = algorithm.info();
        match engine::search::defaults::space(info, &serde_json::Map::new()) {
            Ok(space) => assert!(!space.dimensions.is_empty()),
            Err(e) => assert_eq!(e.message, format!("{} has no default space to search", info.name)),
        }
    }
    let names = |algorithm: &str| {
        let space = engine::search::defaults::space(info(algorithm), &serde_json::Map::new()).unwrap();
        space.dimensions.into_iter().map(|d| d.name).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(names("boosting"), "feature_fraction lambda_l2 learning_rate min_data_in_leaf num_leaves");
    assert_eq!((names("ridge"), names("logistic")), ("alpha".into(), "C".into()));
}

// Over algorithms -------------------------------------------------------------------------------------------------

#[test]
fn auto_finds_what_serves_and_is_honest() {
    let frame = data("diabetes");
    let of = |params: &str| Request {
        params: params.into(),
        split: Split::Random { test_size: 0.2 },
        ..request("auto")
    };
    let wish = r#"{"time_limit": null, "trials": 16}"#;
    let run = |threads| on(threads, || auto::search(&frame, &of(wish), &cx()).unwrap());
    let found = run(1);
    assert_eq!(outcome(&found), outcome(&run(3)));
    assert_eq!(found.trials.len(), 16);
    assert!(!found.limited);
    let best = &found.trials[found.best];
    assert_eq!(best.algorithm, found.trained.card.algorithm);
    // Linear models are as good as any on these rows; the mean has an RMSE of 77.
    assert!(best.value.unwrap() < 57.0, "{best:?}");
    for algorithm in ["linear", "ridge", "boosting"] {
        assert!(found.trials.iter().any(|t| t.algorithm == algorithm), "{algorithm}");
    }
    let test = found.trained.headline.as_ref().unwrap();
    assert_eq!((test.split.as_str(), test.name.as_str(), found.trained.card.test_rows), ("test", "rmse", 88));
}

#[test]
fn auto_keeps_to_its_time_and_to_named_algorithms() {
    let frame = large();
    let of = |params: &str| Request { params: params.into(), ..request("auto") };
    let clock = Instant::now();
    let found = auto::search(&frame, &of(r#"{"time_limit": 4}"#), &cx()).unwrap();
    assert!(clock.elapsed() < Duration::from_secs(30), "{:?}", clock.elapsed());
    assert!(found.limited && found.trials.len() < 40);
    // Growing shares of the rows: 60000 / 16 is below the least of 4000.
    assert_eq!(found.trials[0].resource, 15_000);

    let found =
        auto::search(&data("iris"), &of(r#"{"trials": 3, "algorithms": ["multinomial"]}"#), &cx()).unwrap();
    assert!(found.trials.iter().all(|t| t.algorithm == "multinomial"));
    assert_eq!(found.trained.card.algorithm, "multinomial");
}

#[test]
fn auto_refuses_bad_wishes() {
    let message = |request: Request| auto::check(&request).unwrap_err().message;
    let of = |params: &str| Request { params: params.into(), ..request("auto") };
    assert_eq!(message(of(r#"{"trees": 3}"#)), "auto has no parameter \"trees\"");
    assert_eq!(message(of(r#"{"metric": 3}"#)), "parameter \"metric\" of auto is 3, expected text");
    assert_eq!(
        message(of(r#"{"algorithms": []}"#)),
        "parameter \"algorithms\" of auto is [], expected a list of one or more names"
    );
    assert_eq!(message(of(r#"{"algorithms": ["bosting"]}"#)), "there is no algorithm \"bosting\"");
    assert!(message(of(r#"{"time_limit": -1}"#)).starts_with("parameter \"time_limit\" of auto is -1"));
    assert_eq!(message(Request { target: None, ..of("{}") }), "algorithm \"auto\" needs a target");
    let error = auto::search(&data("diabetes"), &of(r#"{"algorithms": ["kmeans"]}"#), &cx()).unwrap_err();
    assert_eq!(error.message, "none of the algorithms named does regression");
}
