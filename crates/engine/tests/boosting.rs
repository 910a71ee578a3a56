//! Boosting against LightGBM's recorded trees and quality, and the promises of the learner's contract.
//! `reference/boosting.py` made the recordings.

#![allow(clippy::unwrap_used)]

use engine::algorithms::find;
use engine::learner::{Algorithm, Cx, Model, Observer, Silent};
use engine::params::Values;
use engine::run::Table;
use engine::schema::{Chunk, Feature, FeatureKind, Schema, Task};
use engine::{Kind, Result};
use serde_json::Value;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

fn algorithm() -> &'static dyn Algorithm {
    find("boosting").unwrap()
}

fn values(json: &str) -> Values {
    Values::parse("boosting", algorithm().info().params, json).unwrap()
}

fn train_bytes(table: &Table, params: &str, seed: u64, threads: usize) -> Result<Vec<u8>> {
    let stop = AtomicBool::new(false);
    let cx = Cx { seed, stop: &stop, observer: &Silent };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| algorithm().fit(&values(params), table.schema(), table, &cx))
}

fn train(table: &Table, params: &str) -> Result<Box<dyn Model>> {
    algorithm().load(&train_bytes(table, params, 1, 2)?, table.schema())
}

fn score(model: &dyn Model, table: &Table) -> Vec<f64> {
    let mut out = vec![0.0; table.schema().rows * model.outputs()];
    model.score(&table.chunk(0..table.schema().rows), &mut out).unwrap();
    out
}

/// The same training with shards that forget everything between rounds, as a server's aggregate runs it.
fn train_in_shards(table: &Table, params: &str, seed: u64, shards: usize) -> Vec<u8> {
    let stop = AtomicBool::new(false);
    let cx = Cx { seed, stop: &stop, observer: &Silent };
    let (params, schema) = (values(params), table.schema());
    let mut job = algorithm().start(&params, schema, &cx).unwrap();
    loop {
        let state = job.state().unwrap();
        let mut sum = algorithm().attach(&params, schema, &state).unwrap();
        sum.finish(&cx).unwrap();
        for s in 0..shards {
            let mut shard = algorithm().attach(&params, schema, &state).unwrap();
            let (from, to) = (schema.rows * s / shards, schema.rows * (s + 1) / shards);
            for first in (from..to).step_by(97) {
                shard.accumulate(&table.chunk(first..(first + 97).min(to)), &cx).unwrap();
            }
            shard.finish(&cx).unwrap();
            sum.combine(&shard.partial().unwrap()).unwrap();
        }
        if let Some(model) = job.update(&sum.partial().unwrap(), &cx).unwrap() {
            return model;
        }
    }
}

fn schema(levels: &[u32], task: Task, classes: usize, rows: usize) -> Schema {
    let features = levels.iter().enumerate().map(|(i, levels)| Feature {
        name: format!("x{i}"),
        kind: if *levels == 0 { FeatureKind::Numeric } else { FeatureKind::Category { levels: *levels } },
    });
    Schema { features: features.collect(), image: None, task, classes, positive: vec![], rows }
}

/// Rows with numbers, missing values and a category of 12 levels; the target depends on all of them.
fn mixed(rows: usize, task: Task, classes: usize) -> Table {
    let mut state = 7u64;
    let mut draw = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as f64 / f64::from(1u32 << 31)
    };
    let (mut x, mut y) = (vec![], vec![]);
    for _ in 0..rows {
        let row = [
            draw() * 10.0,
            (draw() * 20.0).floor(),
            if draw() < 0.2 { f64::NAN } else { draw() },
            (draw() * 12.0).floor(),
        ];
        let value = row[0].sin() * 2.0
            + row[1] * 0.1
            + if row[2].is_nan() { 1.0 } else { row[2] }
            + (row[3] * 1.7).cos();
        y.push(match task {
            Task::Regression => value + draw(),
            _ => ((value + 1.5 + draw()) * classes as f64 / 7.0).floor().clamp(0.0, classes as f64 - 1.0),
        });
        x.extend(row);
    }
    Table::new(schema(&[0, 0, 0, 12], task, classes, rows), x, y).unwrap()
}

fn reference() -> Value {
    serde_json::from_str(include_str!("reference/boosting.json")).unwrap()
}

fn numbers(v: &Value) -> Vec<f64> {
    v.as_array().unwrap().iter().map(|x| x.as_f64().unwrap_or(f64::NAN)).collect()
}

#[test]
fn grows_the_trees_of_lightgbm() {
    let reference = reference();
    let x: Vec<f64> = reference["x"].as_array().unwrap().iter().flat_map(numbers).collect();
    for case in reference["small"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let (y, raw) = (numbers(&case["y"]), numbers(&case["raw"]));
        let binary = name.starts_with("binary");
        let (task, classes) = if binary { (Task::Classification, 2) } else { (Task::Regression, 0) };
        let table = Table::new(schema(&[0, 0, 0, 8], task, classes, y.len()), x.clone(), y).unwrap();
        let table = table.with_weight(numbers(&case["weight"])).unwrap();
        let mut params = serde_json::json!({"trees": 1, "learning_rate": 1.0, "num_leaves": 8,
            "min_data_in_leaf": 10, "min_data_per_group": 20});
        if name == "regression_penalised" {
            params["lambda_l1"] = 2.0.into();
            params["lambda_l2"] = 5.0.into();
            params["max_depth"] = 3.into();
        }
        let model = train(&table, &params.to_string()).unwrap();
        let out = score(&*model, &table);
        let mut worst: f64 = 0.0;
        for (i, raw) in raw.iter().enumerate() {
            let ours = if binary { (out[2 * i + 1] / out[2 * i]).ln() } else { out[i] };
            worst = worst.max((ours - raw).abs());
        }
        assert!(worst < 1e-4, "{name}: a raw score differs by {worst}");
        let gains = model.importance(table.schema());
        let mut expected = vec![0.0; 4];
        for split in case["splits"].as_array().unwrap() {
            expected[split["feature"].as_u64().unwrap() as usize] += split["gain"].as_f64().unwrap();
        }
        for (ours, theirs) in gains.iter().zip(&expected) {
            assert!((ours - theirs).abs() <= 1e-3 * theirs.abs().max(1.0), "{name}: {gains:?} {expected:?}");
        }
    }
}

#[test]
fn threads_and_shards_do_not_change_a_byte() {
    let more = r#"{"trees": 6, "num_leaves": 12, "bagging_fraction": 0.7, "feature_fraction": 0.8,
        "early_stopping_round": 3, "min_data_per_group": 10}"#;
    let plain = r#"{"trees": 4, "num_leaves": 9}"#;
    for (task, classes) in [(Task::Regression, 0), (Task::Classification, 2), (Task::Classification, 4)] {
        // More rows than one block, so that threads have something to share.
        let table = mixed(20_000, task, classes);
        let weight = (0..20_000).map(|i| 0.5 + f64::from(i % 7)).collect();
        let weighted = table.clone().with_weight(weight).unwrap();
        for (table, params) in [(&table, plain), (&table, more), (&weighted, plain)] {
            let one = train_bytes(table, params, 5, 1).unwrap();
            for threads in [2, 4] {
                assert_eq!(
                    one,
                    train_bytes(table, params, 5, threads).unwrap(),
                    "{threads} threads, {task:?} {classes}"
                );
            }
            assert_eq!(one, train_bytes(table, params, 5, 2).unwrap());
        }
        let small = mixed(900, task, classes);
        for params in [plain, more] {
            let one = train_bytes(&small, params, 5, 1).unwrap();
            for shards in [1, 2, 7] {
                assert_eq!(
                    one,
                    train_in_shards(&small, params, 5, shards),
                    "{shards} shards, {task:?} {classes}"
                );
            }
        }
    }
}

#[test]
fn row_order_does_not_change_the_model_without_sampling() {
    let table = mixed(3000, Task::Classification, 3);
    let chunk = table.chunk(0..3000);
    let x = (0..3000).rev().flat_map(|i| chunk.row(i).to_vec()).collect();
    let turned = Table::new(table.schema().clone(), x, chunk.y.iter().rev().copied().collect()).unwrap();
    let params = r#"{"trees": 5}"#;
    assert_eq!(train_bytes(&table, params, 1, 2).unwrap(), train_bytes(&turned, params, 1, 1).unwrap());
}

#[test]
fn whole_weights_count_as_repeated_rows() {
    let table = mixed(1500, Task::Regression, 0);
    let chunk = table.chunk(0..1500);
    let times = |i: usize| 1 + i % 3;
    let weighted = table.clone().with_weight((0..1500).map(|i| times(i) as f64).collect()).unwrap();
    let rows: Vec<usize> = (0..1500).flat_map(|i| vec![i; times(i)]).collect();
    let x = rows.iter().flat_map(|i| chunk.row(*i).to_vec()).collect();
    let repeated = schema(&[0, 0, 0, 12], Task::Regression, 0, rows.len());
    let repeated = Table::new(repeated, x, rows.iter().map(|i| chunk.y[*i]).collect()).unwrap();
    // Without a bound on rows a leaf, and with few values, only the weights matter.
    let params = r#"{"trees": 3, "num_leaves": 4, "min_data_in_leaf": 1, "max_bin": 12}"#;
    let (a, b) = (train(&weighted, params).unwrap(), train(&repeated, params).unwrap());
    let gap = |m: &dyn Model, n: &dyn Model| {
        score(m, &table).iter().zip(score(n, &table)).map(|(a, b)| (a - b).abs()).sum::<f64>() / 1500.0
    };
    let plain = train(&table, params).unwrap();
    assert!(gap(&*a, &*b) < 0.02, "{}", gap(&*a, &*b));
    assert!(gap(&*a, &*plain) > gap(&*a, &*b) * 2.0);
}

#[test]
fn a_missing_value_takes_the_side_that_was_learnt() {
    // The target is high just where the value is missing.
    let x: Vec<f64> = (0..1000).map(|i| if i % 4 == 0 { f64::NAN } else { f64::from(i % 50) }).collect();
    let y = x.iter().map(|x| if x.is_nan() { 10.0 } else { 0.1 * x }).collect();
    let table = Table::new(schema(&[0], Task::Regression, 0, 1000), x, y).unwrap();
    let out = score(&*train(&table, r#"{"trees": 200}"#).unwrap(), &table);
    assert!((out[0] - 10.0).abs() < 1e-3 && (out[1] - 0.1).abs() < 0.3, "{} {}", out[0], out[1]);
}

#[test]
fn infinite_values_are_large_values() {
    let x: Vec<f64> =
        (0..900).map(|i| [f64::NEG_INFINITY, f64::from(i % 30), f64::INFINITY][i as usize % 3]).collect();
    let y = x.iter().map(|x| x.clamp(-50.0, 80.0)).collect();
    let table = Table::new(schema(&[0], Task::Regression, 0, 900), x, y).unwrap();
    let out = score(&*train(&table, r#"{"trees": 200}"#).unwrap(), &table);
    assert!((out[0] + 50.0).abs() < 0.1 && (out[2] - 80.0).abs() < 0.1, "{} {}", out[0], out[2]);
}

#[test]
fn an_outlier_does_not_hide_the_other_rows() {
    let mut table = mixed(2000, Task::Regression, 0);
    let chunk = table.chunk(0..2000);
    let mut y = chunk.y.to_vec();
    y[0] = 1e9;
    table = Table::new(table.schema().clone(), chunk.x.to_vec(), y).unwrap();
    let out = score(
        &*train(&table, r#"{"trees": 100, "min_data_in_leaf": 1, "learning_rate": 0.5}"#).unwrap(),
        &table,
    );
    let chunk = table.chunk(0..2000);
    let error = (1..2000).map(|i| (out[i] - chunk.y[i]).abs()).sum::<f64>() / 1999.0;
    assert!(error < 0.5, "{error}");
}

#[test]
fn constant_columns_and_targets_give_the_mean() {
    let y: Vec<f64> = (0..100).map(f64::from).collect();
    let constant = Table::new(schema(&[0, 3], Task::Regression, 0, 100), vec![1.0; 200], y).unwrap();
    assert!(score(&*train(&constant, "{}").unwrap(), &constant).iter().all(|p| (p - 49.5).abs() < 1e-9));
    let x = (0..100).map(f64::from).collect();
    let flat = Table::new(schema(&[0], Task::Regression, 0, 100), x, vec![0.1; 100]).unwrap();
    assert!(score(&*train(&flat, "{}").unwrap(), &flat).iter().all(|p| *p == 0.1));
}

#[test]
fn one_row_is_learnt_and_no_row_is_refused() {
    let one = Table::new(schema(&[0], Task::Regression, 0, 1), vec![3.0], vec![7.0]).unwrap();
    assert_eq!(score(&*train(&one, "{}").unwrap(), &one), [7.0]);
    let none = Table::new(schema(&[0], Task::Regression, 0, 0), vec![], vec![]).unwrap();
    assert_eq!(train(&none, "{}").err().unwrap().kind, Kind::Data);
}

#[test]
fn refuses_one_class_and_an_empty_hold_out() {
    let one =
        Table::new(schema(&[0], Task::Classification, 3, 5), vec![1.0, 2.0, 3.0, 4.0, 5.0], vec![2.0; 5])
            .unwrap();
    let error = train(&one, "{}").err().unwrap();
    assert_eq!(error.kind, Kind::Data);
    assert!(error.message.contains("one class (number 2)"), "{}", error.message);
    let two = Table::new(schema(&[0], Task::Regression, 0, 2), vec![1.0, 2.0], vec![1.0, 2.0]).unwrap();
    let error = train(&two, r#"{"early_stopping_round": 5, "validation_fraction": 0.001}"#).err().unwrap();
    assert_eq!(error.kind, Kind::Data);
    assert!(error.hint.unwrap().contains("validation_fraction"));
}

#[test]
fn refuses_parameters_out_of_range() {
    for bad in [
        r#"{"max_bin": 256}"#,
        r#"{"num_leaves": 1}"#,
        r#"{"trees": 0}"#,
        r#"{"learning_rate": 0}"#,
        r#"{"tree": 1}"#,
    ] {
        let error = Values::parse("boosting", algorithm().info().params, bad).unwrap_err();
        assert_eq!(error.kind, Kind::Parameter, "{bad}");
    }
}

struct Losses(std::sync::Mutex<Vec<(usize, String, f64)>>);
impl Observer for Losses {
    fn metric(&self, round: usize, name: &str, value: f64) {
        self.0.lock().unwrap().push((round, name.to_string(), value));
    }
}

#[test]
fn early_stopping_keeps_the_best_round_and_reports_losses() {
    let table = mixed(3000, Task::Classification, 2);
    let (stop, losses) = (AtomicBool::new(false), Losses(Default::default()));
    let cx = Cx { seed: 3, stop: &stop, observer: &losses };
    let params = values(r#"{"trees": 500, "n_iter_no_change": 10, "learning_rate": 0.3}"#);
    let bytes = algorithm().fit(&params, table.schema(), &table, &cx).unwrap();
    let model = algorithm().load(&bytes, table.schema()).unwrap();
    let losses = losses.0.into_inner().unwrap();
    let of = |name: &str| losses.iter().filter(|l| l.1 == name).map(|l| l.2).collect::<Vec<f64>>();
    let (train, valid) = (of("train_loss"), of("valid_loss"));
    let best = 1 + (0..valid.len()).min_by(|a, b| valid[*a].total_cmp(&valid[*b])).unwrap();
    assert_eq!(valid.len(), best + 10);
    assert!(train.windows(2).all(|w| w[1] < w[0]));
    let described = model.describe(table.schema());
    let fact = |name: &str| described.iter().find(|d| d.0 == name).unwrap().1.clone();
    assert_eq!((fact("trees"), fact("best iteration")), (best.to_string(), best.to_string()));
    assert_eq!(fact("validation loss"), format!("{:.6}", valid[best - 1]));
}

#[test]
fn reported_losses_are_those_of_the_model() {
    for (task, classes) in [(Task::Regression, 0), (Task::Classification, 2), (Task::Classification, 4)] {
        let table = mixed(2000, task, classes);
        let model = train(&table, r#"{"trees": 7}"#).unwrap();
        let (out, k) = (score(&*model, &table), model.outputs());
        let chunk = table.chunk(0..2000);
        let loss: f64 = (0..2000)
            .map(|i| {
                if classes == 0 {
                    (out[i] - chunk.y[i]).powi(2)
                } else {
                    -out[i * k + chunk.y[i] as usize].ln()
                }
            })
            .sum::<f64>()
            / 2000.0;
        let described = model.describe(table.schema());
        let reported: f64 = described.iter().find(|d| d.0 == "train loss").unwrap().1.parse().unwrap();
        assert!((reported - loss).abs() < 2e-6, "{reported} {loss}");
    }
}

#[test]
fn one_row_scores_as_it_does_in_a_batch() {
    let table = mixed(500, Task::Classification, 3);
    let model = train(&table, r#"{"trees": 10}"#).unwrap();
    let all = score(&*model, &table);
    for i in [0, 63, 64, 499] {
        let mut one = [0.0; 3];
        model.score(&table.chunk(i..i + 1), &mut one).unwrap();
        assert_eq!(one, all[i * 3..i * 3 + 3]);
        assert!((one.iter().sum::<f64>() - 1.0).abs() < 1e-12);
    }
}

#[test]
fn damaged_bytes_are_refused_or_score_safely() {
    let table = mixed(300, Task::Classification, 3);
    let bytes =
        train_bytes(&table, r#"{"trees": 2, "num_leaves": 5, "min_data_per_group": 5}"#, 1, 1).unwrap();
    let chunk = Chunk { y: &[], weight: &[], ..table.chunk(0..20) };
    let mut refused = 0;
    for i in 0..bytes.len() {
        for flip in [1, 16, 128, 255] {
            let mut damaged = bytes.clone();
            damaged[i] ^= flip;
            match algorithm().load(&damaged, table.schema()) {
                Ok(model) => {
                    model.score(&chunk, &mut vec![0.0; 60]).unwrap();
                    model.describe(table.schema());
                }
                Err(_) => refused += 1,
            }
        }
    }
    assert!(refused > bytes.len() / 2);
    let narrower = schema(&[0, 0, 0], Task::Classification, 3, 1);
    assert_eq!(algorithm().load(&bytes, &narrower).err().unwrap().kind, Kind::Corrupt);
}

#[test]
fn cancels_at_once_on_many_rows() {
    let rows = 300_000;
    let table = mixed(rows, Task::Regression, 0);
    let stop = AtomicBool::new(false);
    let cx = Cx { seed: 1, stop: &stop, observer: &Silent };
    std::thread::scope(|scope| {
        for wait in [20, 150, 700] {
            stop.store(false, Ordering::Relaxed);
            let work = scope.spawn(|| {
                let result = algorithm().fit(&values(r#"{"trees": 100000}"#), table.schema(), &table, &cx);
                (result, Instant::now())
            });
            std::thread::sleep(Duration::from_millis(wait));
            let asked = Instant::now();
            stop.store(true, Ordering::Relaxed);
            let (result, ended) = work.join().unwrap();
            assert_eq!(result.unwrap_err().kind, Kind::Cancelled);
            assert!(ended - asked < Duration::from_millis(100), "{:?}", ended - asked);
        }
    });
}

/// The folder of real data, or none with a message.
fn data() -> Option<String> {
    let folder = std::env::var("DAMSON_DATA").ok();
    if folder.is_none() {
        println!("skipped: DAMSON_DATA is not set");
    }
    folder
}

/// Columns of a CSV file: numbers where every value is one, else text.
fn read(path: &str) -> Vec<Vec<String>> {
    let out = std::process::Command::new("gzip").args(["-dc", path]).output().unwrap();
    assert!(out.status.success(), "{path}");
    let text = String::from_utf8(out.stdout).unwrap();
    let lines = text.lines().filter(|l| l.contains(','));
    lines.map(|l| l.split(',').map(|v| v.trim().to_string()).collect()).collect()
}

/// Encodes rows of text, all but column `target`: codes in order of first appearance for columns with text in them.
fn encode(rows: &[Vec<String>], target: usize) -> (Vec<u32>, Vec<f64>) {
    let missing = |v: &str| v.is_empty() || v == "?";
    let columns: Vec<usize> = (0..rows[0].len()).filter(|c| *c != target).collect();
    let mut x = vec![f64::NAN; rows.len() * columns.len()];
    let mut levels = vec![];
    for (place, c) in columns.iter().enumerate() {
        let text = rows.iter().any(|r| !missing(&r[*c]) && r[*c].parse::<f64>().is_err());
        let mut codes = std::collections::HashMap::new();
        for (i, row) in rows.iter().enumerate().filter(|(_, r)| !missing(&r[*c])) {
            let next = codes.len() as f64;
            x[i * columns.len() + place] =
                if text { *codes.entry(row[*c].clone()).or_insert(next) } else { row[*c].parse().unwrap() };
        }
        levels.push(codes.len() as u32);
    }
    (levels, x)
}

/// Two tables of one encoding: the rows that `test` names apart.
fn cut(
    levels: &[u32],
    x: &[f64],
    y: &[f64],
    task: Task,
    classes: usize,
    test: impl Fn(usize) -> bool,
) -> (Table, Table) {
    let table = |wanted: bool| {
        let rows: Vec<usize> = (0..y.len()).filter(|i| test(*i) == wanted).collect();
        let d = levels.len();
        let x = rows.iter().flat_map(|i| x[i * d..(i + 1) * d].to_vec()).collect();
        Table::new(schema(levels, task, classes, rows.len()), x, rows.iter().map(|i| y[*i]).collect())
            .unwrap()
    };
    (table(false), table(true))
}

fn auc(y: &[f64], p: &[f64]) -> f64 {
    let mut order: Vec<usize> = (0..y.len()).collect();
    order.sort_by(|a, b| p[*a].total_cmp(&p[*b]));
    let (mut rank, mut i) = (0.0, 0);
    while i < order.len() {
        let same = order[i..].iter().take_while(|j| p[**j] == p[order[i]]).count();
        let middle = i as f64 + (same as f64 + 1.0) / 2.0;
        rank += middle * order[i..i + same].iter().filter(|j| y[**j] > 0.5).count() as f64;
        i += same;
    }
    let positive = y.iter().filter(|y| **y > 0.5).count() as f64;
    (rank - positive * (positive + 1.0) / 2.0) / (positive * (y.len() as f64 - positive))
}

#[test]
fn adult_is_as_good_as_lightgbm() {
    let Some(data) = data() else { return };
    let train_rows = read(&format!("{data}/adult/adult.data.gz"));
    let count = train_rows.len();
    let rows = [train_rows, read(&format!("{data}/adult/adult.test.gz"))].concat();
    assert_eq!((count, rows.len()), (32_561, 32_561 + 16_281));
    let y: Vec<f64> = rows.iter().map(|r| f64::from(u8::from(r[14].contains(">50K")))).collect();
    let (levels, x) = encode(&rows, 14);
    let (fit, test) = cut(&levels, &x, &y, Task::Classification, 2, |i| i >= count);
    let model = train(&fit, "{}").unwrap();
    let p: Vec<f64> = score(&*model, &test).chunks(2).map(|p| p[1]).collect();
    let (ours, theirs) =
        (auc(test.chunk(0..16_281).y, &p), reference()["quality"]["adult"]["auc"].as_f64().unwrap());
    println!("adult: AUC {ours:.5}, LightGBM {theirs:.5}");
    assert!(ours >= 0.925 && ours >= theirs - 0.002, "{ours} {theirs}");
}

fn accuracy(out: &[f64], y: &[f64], k: usize) -> f64 {
    let right = out.chunks(k).zip(y).filter(|(p, y)| (0..k).all(|c| p[c] <= p[**y as usize]));
    right.count() as f64 / y.len() as f64
}

#[test]
fn covertype_is_as_good_as_lightgbm() {
    let Some(data) = data() else { return };
    let rows = read(&format!("{data}/covertype/covertype_16pct_int.csv.gz")).split_off(1);
    let y: Vec<f64> = rows.iter().map(|r| r[54].parse::<f64>().unwrap() - 1.0).collect();
    let (levels, x) = encode(&rows, 54);
    let (fit, test) = cut(&levels, &x, &y, Task::Classification, 7, |i| i % 5 == 0);
    let reference = reference();
    let y = test.chunk(0..test.schema().rows).y;
    for (name, params, least) in
        [("covertype", "{}", 0.80), ("covertype_large", r#"{"trees": 200, "num_leaves": 127}"#, 0.87)]
    {
        let start = Instant::now();
        let out = score(&*train(&fit, params).unwrap(), &test);
        let ours = accuracy(&out, y, 7);
        let theirs = reference["quality"][name]["accuracy"].as_f64().unwrap();
        println!("{name}: accuracy {ours:.5}, LightGBM {theirs:.5}, {:.1?}", start.elapsed());
        assert!(ours >= least && ours >= theirs - 0.005, "{name} {ours} {theirs}");
    }
}

#[test]
fn california_is_as_good_as_lightgbm() {
    let Some(data) = data() else { return };
    let rows = read(&format!("{data}/california_housing/housing.csv.gz")).split_off(1);
    let y: Vec<f64> = rows.iter().map(|r| r[8].parse().unwrap()).collect();
    let (levels, x) = encode(&rows, 8);
    let (fit, test) = cut(&levels, &x, &y, Task::Regression, 0, |i| i % 5 == 0);
    let reference = reference();
    let y = test.chunk(0..test.schema().rows).y;
    for (name, params) in
        [("california", "{}"), ("california_large", r#"{"trees": 500, "learning_rate": 0.05}"#)]
    {
        let out = score(&*train(&fit, params).unwrap(), &test);
        let ours = (out.iter().zip(y).map(|(p, y)| (p - y).powi(2)).sum::<f64>() / y.len() as f64).sqrt();
        let theirs = reference["quality"][name]["rmse"].as_f64().unwrap();
        println!("{name}: RMSE {ours:.0}, LightGBM {theirs:.0}");
        assert!(ours <= 49_000.0 && ours <= theirs * 1.02, "{name} {ours} {theirs}");
    }
}

/// Nodes are split ahead of their turn, and yet the tree is the one that grows best leaf first: one leaf more is one
/// split more, and leaves the others as they are.
#[test]
fn a_tree_with_one_leaf_more_has_one_split_more() {
    let table = mixed(6000, Task::Regression, 0);
    let gains = |leaves: usize| {
        let params = format!(r#"{{"n_estimators": 1, "num_leaves": {leaves}, "min_data_in_leaf": 5}}"#);
        let model = train(&table, &params).unwrap();
        (model.importance(table.schema()), model.splits(table.schema()))
    };
    let mut before = gains(2);
    for leaves in 3..=70 {
        let now = gains(leaves);
        let more: Vec<f64> = now.1.iter().zip(&before.1).map(|(now, before)| now - before).collect();
        assert_eq!(more.iter().map(|m| m.abs()).sum::<f64>(), 1.0, "{leaves} leaves: {more:?}");
        for ((now, before), more) in now.0.iter().zip(&before.0).zip(&more) {
            let same = (now - before).abs() <= 1e-9 * before;
            assert_eq!(same, *more == 0.0, "{leaves} leaves: {before} {now}");
        }
        before = now;
    }
}
