//! Boosting's objectives and rules of growth against LightGBM's recorded starts, trees and hold-out quality.
//! `reference/objectives.py` made the recordings.

#![allow(clippy::unwrap_used, clippy::panic)] // Helpers of tests count as production code to clippy.

use engine::algorithms::find;
use engine::learner::{Algorithm, Cx, Model, Silent};
use engine::params::Values;
use engine::run::Table;
use engine::schema::{Feature, FeatureKind, Schema, Task};
use engine::{Error, Kind, Result, metrics};
use serde_json::{Value, json};
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;

fn algorithm() -> &'static dyn Algorithm {
    find("boosting").unwrap()
}

fn train_bytes(table: &Table, params: &Value, threads: usize) -> Result<Vec<u8>> {
    let stop = AtomicBool::new(false);
    let cx = Cx { seed: 1, stop: &stop, observer: &Silent };
    let values = Values::parse("boosting", algorithm().info().params, &params.to_string())?;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| algorithm().fit(&values, table.schema(), table, &cx))
}

fn train(table: &Table, params: &Value) -> Result<Box<dyn Model>> {
    algorithm().load(&train_bytes(table, params, 2)?, table.schema())
}

fn score(model: &dyn Model, table: &Table) -> Vec<f64> {
    let mut out = vec![0.0; table.schema().rows * model.outputs()];
    model.score(&table.chunk(0..table.schema().rows), &mut out).unwrap();
    out
}

fn reference() -> &'static Value {
    static RECORD: OnceLock<Value> = OnceLock::new();
    RECORD.get_or_init(|| serde_json::from_str(include_str!("reference/objectives.json")).unwrap())
}

fn numbers(v: &Value) -> Vec<f64> {
    v.as_array().unwrap().iter().map(|x| x.as_f64().unwrap_or(f64::NAN)).collect()
}

fn matrix(v: &Value) -> (Vec<f64>, usize) {
    let rows = v.as_array().unwrap();
    (rows.iter().flat_map(numbers).collect(), rows[0].as_array().unwrap().len())
}

fn table(x: Vec<f64>, width: usize, y: Vec<f64>, task: Task, classes: usize) -> Table {
    Table::new(Schema::numeric(width, task, classes, y.len()), x, y).unwrap()
}

/// LightGBM's parameters as ours: features by name.
fn ours(params: &Value) -> Value {
    let mut params = params.clone();
    if let Some(rounds) = params.as_object_mut().unwrap().remove("rounds") {
        params["trees"] = rounds;
    }
    if let Some(sets) = params.get_mut("interaction_constraints") {
        for f in sets.as_array_mut().unwrap().iter_mut().flat_map(|s| s.as_array_mut().unwrap()) {
            *f = json!(format!("x{}", f.as_u64().unwrap() + 1));
        }
    }
    params
}

fn with(base: &Value, more: &Value) -> Value {
    let mut params = base.clone();
    for (name, v) in more.as_object().unwrap() {
        params[name] = v.clone();
    }
    params
}

/// Raw scores from what a model gives.
fn raw(objective: &str, out: &[f64]) -> Vec<f64> {
    match objective {
        "poisson" | "gamma" | "tweedie" => out.iter().map(|p| p.ln()).collect(),
        "binary" => out.chunks(2).map(|p| (p[1] / p[0]).ln()).collect(),
        _ => out.to_vec(),
    }
}

/// Trains the recorded cases and compares starts and raw scores.
fn agree(table: &Table, cases: &Value, weight: &[f64]) {
    let one = json!({"trees": 1, "num_leaves": 6, "min_data_in_leaf": 15, "learning_rate": 1.0});
    for case in cases.as_array().unwrap() {
        let objective = case["objective"].as_str().unwrap();
        let weighted = case["weighted"].as_bool().unwrap();
        let table = table.clone().with_weight(if weighted { weight.to_vec() } else { vec![] }).unwrap();
        let params = with(&with(&one, &ours(&case["params"])), &json!({"objective": objective}));
        let what = format!("{params} weighted {weighted}");
        let rows = table.schema().rows;
        // Too few rows for any split: only the start is left.
        let start = train(&table, &with(&params, &json!({"min_data_in_leaf": rows}))).unwrap();
        let start = raw(objective, &score(&*start, &table))[0];
        // Without boost_from_average LightGBM still gives the average where no tree has a split.
        if params["boost_from_average"] != json!(false) {
            let expected = case["start"].as_f64().unwrap();
            assert!((start - expected).abs() <= 1e-7 * (1.0 + expected.abs()), "{what}: {start} {expected}");
        }
        let found = raw(objective, &score(&*train(&table, &params).unwrap(), &table));
        let mut worst: f64 = 0.0;
        for (ours, theirs) in found.iter().zip(numbers(&case["raw"])) {
            worst = worst.max((ours - theirs).abs() / theirs.abs().max(1e-2));
        }
        // LightGBM holds derivatives as 32-bit numbers; and from the second tree on it ranks by a table of sigmoids.
        let table_of_sigmoids = objective == "lambdarank" && params["trees"] != json!(1);
        let allowed = if table_of_sigmoids { 1e-3 } else { 1e-6 };
        println!("{what}: {worst:.2e}");
        if worst > allowed {
            let count = |v: &[f64]| {
                let mut sorted = v.to_vec();
                sorted.sort_by(f64::total_cmp);
                sorted.chunk_by(|a, b| a == b).map(|c| (c[0], c.len())).collect::<Vec<_>>()
            };
            panic!("{what}: differs by {worst}\n{:?}\n{:?}", count(&found), count(&numbers(&case["raw"])));
        }
    }
}

#[test]
fn starts_and_leaves_are_those_of_lightgbm() {
    let small = &reference()["small"]["diabetes"];
    let (x, width) = matrix(&small["x"]);
    let rows = table(x, width, numbers(&small["y"]), Task::Regression, 0);
    agree(&rows, &small["cases"], &numbers(&small["weight"]));
}

#[test]
fn class_weights_are_those_of_lightgbm() {
    let small = &reference()["small"]["breast_cancer"];
    let (x, width) = matrix(&small["x"]);
    let y = numbers(&small["y"]);
    let weight: Vec<f64> = (0..y.len()).map(|i| 0.5 + (i % 3) as f64).collect();
    agree(&table(x, width, y, Task::Classification, 2), &small["cases"], &weight);
}

#[test]
fn rankings_are_those_of_lightgbm() {
    let small = &reference()["small"];
    let (x, width) = matrix(&small["diabetes"]["x"]);
    let ranking = &small["ranking"];
    let y = numbers(&ranking["y"]);
    let (size, n) = (ranking["size"].as_u64().unwrap() as usize, y.len());
    // The last query has the rows that are left over.
    let group = (0..n).map(|i| (i / size).min(n / size) as u64).collect();
    let rows = table(x, width, y, Task::Ranking, 0).with_group(group).unwrap();
    agree(&rows, &ranking["cases"], &[]);
}

/// A file of real data, read by column names; text that is no number is missing.
fn real(path: &str) -> Option<(Vec<String>, Vec<Vec<f64>>)> {
    let Ok(folder) = std::env::var("DAMSON_DATA") else {
        println!("skipped: DAMSON_DATA is not set");
        return None;
    };
    let out = std::process::Command::new("gzip").args(["-dc", &format!("{folder}/{path}")]).output().unwrap();
    assert!(out.status.success(), "{path}");
    let text = String::from_utf8(out.stdout).unwrap();
    let mut lines = text.lines();
    let names = lines.next().unwrap().split(',').map(str::to_string).collect();
    let number = |v: &str| v.parse().unwrap_or(f64::NAN);
    let rows = lines.map(|l| l.split(',').map(number).collect()).collect();
    Some((names, rows))
}

/// Features and target of the rows that `wanted` names.
fn pick(
    names: &[String],
    rows: &[Vec<f64>],
    features: &[&str],
    target: &str,
    task: Task,
    wanted: impl Fn(usize) -> bool,
) -> Table {
    let place = |name: &str| names.iter().position(|n| n == name).unwrap();
    let (columns, target) = (features.iter().map(|f| place(f)).collect::<Vec<_>>(), place(target));
    let rows: Vec<&Vec<f64>> = rows.iter().enumerate().filter(|(i, _)| wanted(*i)).map(|(_, r)| r).collect();
    let x = rows.iter().flat_map(|r| columns.iter().map(|c| r[*c])).collect();
    let y: Vec<f64> = rows.iter().map(|r| r[target]).collect();
    let schema = Schema {
        features: features
            .iter()
            .map(|f| Feature { name: f.to_string(), kind: FeatureKind::Numeric })
            .collect(),
        ..Schema::numeric(0, task, 0, y.len())
    };
    Table::new(schema, x, y).unwrap()
}

fn deviance(objective: &str, y: &[f64], p: &[f64], alpha: f64) -> f64 {
    let n = y.len() as f64;
    let mean = |loss: &dyn Fn(f64, f64) -> f64| y.iter().zip(p).map(|(y, p)| loss(*y, *p)).sum::<f64>() / n;
    let power = |y: f64, p: f64, k: f64| {
        2.0 * (y.powf(2.0 - k) / ((1.0 - k) * (2.0 - k)) - y * p.powf(1.0 - k) / (1.0 - k)
            + p.powf(2.0 - k) / (2.0 - k))
    };
    match objective {
        "regression_l1" => mean(&|y, p| (y - p).abs()),
        "quantile" => mean(&|y, p| if y >= p { alpha * (y - p) } else { (1.0 - alpha) * (p - y) }),
        "poisson" => mean(&|y, p| 2.0 * (if y > 0.0 { y * (y / p).ln() } else { 0.0 } - y + p)),
        "gamma" => mean(&|y, p| 2.0 * ((p / y).ln() + y / p - 1.0)),
        "tweedie" => mean(&|y, p| power(y, p, 1.5)),
        _ => mean(&|y, p| (y - p).powi(2)).sqrt(),
    }
}

/// Hold-out losses of all recorded objectives: at most 2 % above LightGBM's.
fn held_out(record: &Value, fit: &Table, test: &Table) {
    for (objective, theirs) in record.as_object().unwrap() {
        let alpha = if objective == "huber" { 50.0 } else { 0.8 };
        let trees = if objective == "gamma" { 300 } else { 100 };
        let params = json!({"objective": objective, "alpha": alpha, "trees": trees});
        let out = score(&*train(fit, &params).unwrap(), test);
        let ours = deviance(objective, test.chunk(0..test.schema().rows).y, &out, 0.8);
        let theirs = theirs.as_f64().unwrap();
        println!("{objective}: {ours:.5}, LightGBM {theirs:.5}");
        assert!(ours <= theirs * 1.02, "{objective}: {ours} {theirs}");
    }
}

#[test]
fn bikes_are_as_well_predicted_as_by_lightgbm() {
    let Some((names, rows)) = real("bike_sharing/hour.csv.gz") else { return };
    let known = ["instant", "dteday", "casual", "registered", "cnt"];
    let features: Vec<&str> = names.iter().map(String::as_str).filter(|n| !known.contains(n)).collect();
    let part = |test: bool| pick(&names, &rows, &features, "cnt", Task::Regression, |i| (i % 5 == 0) == test);
    held_out(&reference()["bike_sharing"], &part(false), &part(true));
}

#[test]
fn delays_are_as_well_predicted_as_by_lightgbm() {
    let Some((names, mut rows)) = real("nycflights13/flights.csv.gz") else { return };
    let target = names.iter().position(|n| n == "arr_delay").unwrap();
    rows.retain(|r| !r[target].is_nan());
    rows.truncate(60_000);
    let features = ["month", "day", "dep_time", "dep_delay", "distance", "hour", "minute"];
    let part =
        |test: bool| pick(&names, &rows, &features, "arr_delay", Task::Regression, |i| (i % 5 == 0) == test);
    held_out(&reference()["nycflights"], &part(false), &part(true));
}

const HOMES: [&str; 8] = [
    "longitude",
    "latitude",
    "housing_median_age",
    "total_rooms",
    "total_bedrooms",
    "population",
    "households",
    "median_income",
];

#[test]
fn sampling_and_growth_are_as_good_as_lightgbm() {
    let Some((names, rows)) = real("california_housing/housing.csv.gz") else { return };
    let part = |test: bool| {
        pick(&names, &rows, &HOMES, "median_house_value", Task::Regression, |i| (i % 5 == 0) == test)
    };
    let (fit, test) = (part(false), part(true));
    for (name, case) in reference()["sampled"].as_object().unwrap() {
        let out = score(&*train(&fit, &case["params"]).unwrap(), &test);
        let ours = deviance("", test.chunk(0..test.schema().rows).y, &out, 0.0);
        let theirs = numbers(&case["rmse"]);
        let worst = theirs.iter().copied().fold(0.0, f64::max);
        println!("{name}: {ours:.0}, LightGBM {theirs:.0?}");
        assert!(ours <= worst * 1.02, "{name}: {ours} {theirs:?}");
    }
}

#[test]
fn homes_are_ranked_as_well_as_by_lightgbm() {
    let Some((names, rows)) = real("california_housing/housing.csv.gz") else { return };
    let place = |name: &str| names.iter().position(|n| n == name).unwrap();
    let (price, long, lat) = (place("median_house_value"), place("longitude"), place("latitude"));
    let mut prices: Vec<f64> = rows.iter().map(|r| r[price]).collect();
    prices.sort_by(f64::total_cmp);
    // Quintiles, linear between two prices, as pandas has them.
    let cut = |q: f64| {
        let at = q * (prices.len() - 1) as f64;
        let low = prices[at as usize];
        low + (prices[(at as usize + 1).min(prices.len() - 1)] - low) * at.fract()
    };
    let cuts = [cut(0.2), cut(0.4), cut(0.6), cut(0.8)];
    let mut codes = std::collections::HashMap::new();
    let mut of = |r: &Vec<f64>| {
        let tenth = |v: f64| (v * 10.0).round_ties_even() as i64;
        let next = codes.len() as u64;
        *codes.entry((tenth(r[long]), tenth(r[lat]))).or_insert(next)
    };
    let group: Vec<u64> = rows.iter().map(&mut of).collect();
    let part = |test: bool| {
        let mut order: Vec<usize> = (0..rows.len()).filter(|i| group[*i].is_multiple_of(5) == test).collect();
        order.sort_by_key(|i| group[*i]);
        let mut sorted: Vec<Vec<f64>> = order.iter().map(|i| rows[*i].clone()).collect();
        sorted.iter_mut().for_each(|r| r[price] = cuts.iter().filter(|c| r[price] > **c).count() as f64);
        let table = pick(&names, &sorted, &HOMES, "median_house_value", Task::Ranking, |_| true);
        table.with_group(order.iter().map(|i| group[*i]).collect()).unwrap()
    };
    let (fit, test) = (part(false), part(true));
    let out = score(&*train(&fit, &json!({})).unwrap(), &test);
    let chunk = test.chunk(0..test.schema().rows);
    let found = metrics::ranking(chunk.y, &out, chunk.group);
    let ours = found.iter().find(|m| m.0 == "ndcg@10").unwrap().1;
    let theirs = reference()["ranking"]["ndcg@10"].as_f64().unwrap();
    println!("ndcg@10: {ours:.5}, LightGBM {theirs:.5}");
    assert!(ours >= theirs - 0.005, "{ours} {theirs}");
}

/// Rows whose target depends on two numbers, one with gaps, and rises with the first.
fn made(rows: usize, task: Task) -> Table {
    let noise = |i: usize, k: u64| {
        let x = (i as u64 * 31 + k).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        ((x ^ (x >> 32)).wrapping_mul(0xD6E8_FEB8_6659_FD93) >> 40) as f64 / f64::from(1 << 24)
    };
    let (mut x, mut y) = (vec![], vec![]);
    for i in 0..rows {
        let (a, b, c) = (noise(i, 1) * 4.0, noise(i, 2) * 6.0, noise(i, 3));
        x.extend([a, b, if c < 0.2 { f64::NAN } else { c }]);
        let value = a + b.sin() + if c < 0.2 { 1.0 } else { c } + noise(i, 4);
        y.push(match task {
            Task::Classification => f64::from(u8::from(value > 3.0)),
            Task::Ranking => (value * 0.6).floor().clamp(0.0, 4.0),
            _ => value + 1.5,
        });
    }
    let classes = if task == Task::Classification { 2 } else { 0 };
    let group = if task == Task::Ranking { (0..rows).map(|i| (i / 20) as u64).collect() } else { vec![] };
    table(x, 3, y, task, classes).with_group(group).unwrap()
}

const REGRESSIONS: [&str; 7] =
    ["regression", "regression_l1", "huber", "quantile", "poisson", "gamma", "tweedie"];

#[test]
fn threads_change_no_byte_of_any_objective() {
    let tasks = REGRESSIONS.iter().map(|o| (Task::Regression, *o));
    let cases = tasks.chain([(Task::Classification, "binary"), (Task::Ranking, "lambdarank")]);
    let rules = [
        json!({}),
        json!({"data_sample_strategy": "goss", "learning_rate": 0.5, "extra_trees": true}),
        json!({"bagging_fraction": 0.6, "bagging_freq": 2, "feature_fraction_bynode": 0.7, "path_smooth": 3,
               "early_stopping_round": 2, "grow_policy": "depthwise"}),
    ];
    for (task, objective) in cases {
        let plain = made(20_000, task);
        let weight = (0..20_000).map(|i| 0.5 + f64::from(i % 3)).collect();
        let weighted = plain.clone().with_weight(weight).unwrap();
        for rules in &rules {
            let params = with(&json!({"objective": objective, "trees": 5, "num_leaves": 9}), rules);
            for table in [&plain, &weighted] {
                let one = train_bytes(table, &params, 1).unwrap();
                for threads in [2, 3] {
                    assert!(one == train_bytes(table, &params, threads).unwrap(), "{params} {threads}");
                }
            }
        }
    }
}

/// The same training with shards that forget everything between rounds.
fn train_in_shards(table: &Table, params: &Value, shards: usize) -> Vec<u8> {
    let stop = AtomicBool::new(false);
    let cx = Cx { seed: 1, stop: &stop, observer: &Silent };
    let params = Values::parse("boosting", algorithm().info().params, &params.to_string()).unwrap();
    let schema = table.schema();
    let mut job = algorithm().start(&params, schema, &cx).unwrap();
    loop {
        let state = job.state().unwrap();
        let mut sum = algorithm().attach(&params, schema, &state).unwrap();
        sum.finish(&cx).unwrap();
        for s in 0..shards {
            let mut shard = algorithm().attach(&params, schema, &state).unwrap();
            let cut = |s: usize| schema.rows * s / shards / 20 * 20;
            for first in (cut(s)..cut(s + 1)).step_by(97) {
                shard.accumulate(&table.chunk(first..(first + 97).min(cut(s + 1))), &cx).unwrap();
            }
            shard.finish(&cx).unwrap();
            sum.combine(&shard.partial().unwrap()).unwrap();
        }
        if let Some(model) = job.update(&sum.partial().unwrap(), &cx).unwrap() {
            return model;
        }
    }
}

#[test]
fn shards_that_forget_change_no_byte_of_any_objective() {
    let tasks = REGRESSIONS.iter().map(|o| (Task::Regression, *o));
    let cases = tasks.chain([(Task::Classification, "binary"), (Task::Ranking, "lambdarank")]);
    for (task, objective) in cases {
        let table = made(600, task);
        for rules in [json!({}), json!({"data_sample_strategy": "goss", "learning_rate": 0.5})] {
            let params = with(&json!({"objective": objective, "trees": 4, "num_leaves": 6}), &rules);
            let one = train_bytes(&table, &params, 1).unwrap();
            for shards in [1, 3] {
                assert!(one == train_in_shards(&table, &params, shards), "{params} {shards}");
            }
        }
    }
}

#[test]
fn predictions_follow_monotone_constraints() {
    for (task, objective) in [
        (Task::Regression, "regression"),
        (Task::Regression, "poisson"),
        (Task::Regression, "huber"),
        (Task::Classification, "binary"),
        (Task::Ranking, "lambdarank"),
    ] {
        let table = made(3000, task);
        for (sign, more) in [
            (1, json!({})),
            (-1, json!({"path_smooth": 4, "max_delta_step": 0.5})),
            (1, json!({"grow_policy": "depthwise", "data_sample_strategy": "goss"})),
        ] {
            let params = with(
                &json!({"objective": objective, "trees": 60, "monotone_constraints": {"x1": sign}}),
                &more,
            );
            let model = train(&table, &params).unwrap();
            let k = model.outputs();
            let mut seen = false;
            for row in 0..200 {
                let x = table.chunk(row..row + 1).x.to_vec();
                let line: Vec<f64> = (0..60).flat_map(|i| [f64::from(i) * 0.07, x[1], x[2]]).collect();
                let rows = table_of(line);
                let out: Vec<f64> = score(&*model, &rows).chunks(k).map(|o| o[k - 1]).collect();
                let rises = |w: &[f64]| (w[1] - w[0]) * f64::from(sign) >= -1e-12 * w[0].abs();
                assert!(out.windows(2).all(rises), "{params}: {out:?}");
                seen |= out[0] != out[59];
            }
            // The target rises with x1: a model that may only fall learns nothing from it.
            assert!(seen || sign < 0, "{params}");
        }
    }
    fn table_of(x: Vec<f64>) -> Table {
        let rows = x.len() / 3;
        Table::new(Schema::numeric(3, Task::Regression, 0, rows), x, vec![]).unwrap()
    }
}

#[test]
fn depthwise_trees_fill_their_levels() {
    let table = made(4000, Task::Regression);
    let params = |policy: &str, leaves: usize| json!({"trees": 1, "num_leaves": leaves, "grow_policy": policy, "learning_rate": 1.0, "min_data_in_leaf": 5});
    // All of the first levels, or the best leaves: both have so many leaves, but not the same ones.
    let (by_level, by_gain) = (params("depthwise", 16), params("leafwise", 16));
    let of = |p: &Value| score(&*train(&table, p).unwrap(), &table);
    assert!(of(&by_level) != of(&by_gain));
    let bounded = with(&params("leafwise", 4000), &json!({"max_depth": 4}));
    assert!(of(&by_level) == of(&bounded));
}

#[test]
fn what_does_not_serve_is_refused() {
    let error = |table: &Table, params: Value| -> Error { train(table, &params).err().unwrap() };
    let with_y = |y: f64| {
        let mut targets: Vec<f64> = (0..50).map(|i| f64::from(i % 5) + 1.0).collect();
        targets[7] = y;
        table((0..50).map(f64::from).collect(), 1, targets, Task::Regression, 0)
    };
    for (y, objective, expected) in [
        (-1.0, "poisson", "expected 0 or more"),
        (-0.5, "tweedie", "expected 0 or more"),
        (0.0, "gamma", "expected more than 0"),
        (-2.0, "gamma", "expected more than 0"),
    ] {
        let e = error(&with_y(y), json!({"objective": objective}));
        assert_eq!(e.kind, Kind::Data, "{objective}");
        assert!(e.message.contains(expected) && e.message.contains(objective), "{}", e.message);
    }
    let zeros = table((0..50).map(f64::from).collect(), 1, vec![0.0; 50], Task::Regression, 0);
    assert_eq!(error(&zeros, json!({"objective": "poisson"})).kind, Kind::Data);
    let ranked = |y: f64| {
        let rows = table((0..50).map(f64::from).collect(), 1, vec![y; 50], Task::Ranking, 0);
        rows.with_group(vec![1; 50]).unwrap()
    };
    for y in [-1.0, 0.5, 31.0] {
        assert_eq!(error(&ranked(y), json!({})).kind, Kind::Data, "{y}");
    }
    assert!(error(&ranked(3.0), json!({"label_gain": [0, 1, 2]})).message.contains("label_gain"));
    let alone = table((0..50).map(f64::from).collect(), 1, vec![1.0; 50], Task::Ranking, 0);
    let e = error(&alone, json!({}));
    assert_eq!((e.kind, e.hint.unwrap().contains("group_column")), (Kind::Parameter, true));

    let (regression, binary) = (made(100, Task::Regression), made(100, Task::Classification));
    for (table, params) in [
        (&regression, json!({"objective": "binary"})),
        (&regression, json!({"objective": "lambdarank"})),
        (&binary, json!({"objective": "poisson"})),
        (&binary, json!({"objective": "multiclass"})),
        (&regression, json!({"objective": "quantile", "alpha": 1.0})),
        (&regression, json!({"scale_pos_weight": 2})),
        (&regression, json!({"is_unbalance": true})),
        (&binary, json!({"is_unbalance": true, "scale_pos_weight": 2})),
        (&regression, json!({"pos_bagging_fraction": 0.5})),
        (&binary, json!({"pos_bagging_fraction": 0.5, "bagging_fraction": 0.5})),
        (&regression, json!({"data_sample_strategy": "goss", "top_rate": 0.8, "other_rate": 0.3})),
        (&regression, json!({"data_sample_strategy": "goss", "bagging_fraction": 0.5})),
        (&regression, json!({"monotone_constraints": {"x9": 1}})),
        (&regression, json!({"monotone_constraints": {"x1": 2}})),
        (&regression, json!({"monotone_constraints": [1]})),
        (&regression, json!({"monotone_constraints": "x1"})),
        (&regression, json!({"monotone_constraints": {"x1": 1}, "objective": "regression_l1"})),
        (&regression, json!({"interaction_constraints": [["x1", "nothing"]]})),
        (&regression, json!({"interaction_constraints": [[]]})),
        (&regression, json!({"interaction_constraints": "x1"})),
        (&regression, json!({"label_gain": [3, 1]})),
        (&regression, json!({"label_gain": 7})),
    ] {
        let e = error(table, params.clone());
        assert_eq!((e.kind, e.hint.is_some()), (Kind::Parameter, true), "{params}: {}", e.message);
    }
    for bad in [
        json!({"objective": "l3"}),
        json!({"alpha": 0}),
        json!({"tweedie_variance_power": 2}),
        json!({"grow_policy": "best"}),
        json!({"bagging_freq": 0}),
        json!({"top_rate": 0}),
        json!({"max_delta_step": -1}),
        json!({"path_smooth": -1}),
        json!({"max_cat_to_onehot": 0}),
        json!({"lambdarank_truncation_level": 0}),
    ] {
        assert_eq!(error(&regression, bad.clone()).kind, Kind::Parameter, "{bad}");
    }
}

#[test]
fn few_rows_gaps_and_constants_do_no_harm() {
    for objective in REGRESSIONS {
        let params = json!({"objective": objective, "trees": 10});
        let one = table(vec![3.0], 1, vec![7.0], Task::Regression, 0);
        let out = score(&*train(&one, &params).unwrap(), &one);
        assert!((out[0] - 7.0).abs() < 1e-12, "{objective}: {out:?}");
        let constant = table(vec![1.0; 100], 1, vec![2.5; 100], Task::Regression, 0);
        let out = score(&*train(&constant, &params).unwrap(), &constant);
        assert!(out.iter().all(|p| (p - 2.5).abs() < 1e-12), "{objective}");
        let gaps = table(vec![f64::NAN; 100], 1, (1..=100).map(f64::from).collect(), Task::Regression, 0);
        assert!(score(&*train(&gaps, &params).unwrap(), &gaps).iter().all(|p| p.is_finite()));
        // A huge target among small ones.
        let mut y: Vec<f64> = (0..400).map(|i| 1.0 + f64::from(i % 7)).collect();
        y[13] = 1e12;
        let wild = table((0..400).map(|i| f64::from(i % 50)).collect(), 1, y, Task::Regression, 0);
        assert!(score(&*train(&wild, &params).unwrap(), &wild).iter().all(|p| p.is_finite()), "{objective}");
    }
}

#[test]
fn goss_learns_from_few_rows_and_unbiased() {
    let table = made(20_000, Task::Regression);
    let goss = json!({"data_sample_strategy": "goss", "trees": 60});
    let few = json!({"bagging_fraction": 0.05, "trees": 60});
    let loss = |params: &Value| {
        let out = score(&*train(&table, params).unwrap(), &table);
        deviance("", table.chunk(0..20_000).y, &out, 0.0)
    };
    let (all, goss, few) = (loss(&json!({"trees": 60})), loss(&goss), loss(&few));
    println!("all rows {all:.5}, goss {goss:.5}, a twentieth {few:.5}");
    assert!(goss < all * 1.02 && goss < few);
}
