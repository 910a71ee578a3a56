//! Decision trees, forests and isolation forests: quality against scikit-learn's recorded one, and what they promise.
//! `reference/forest.py` made the recordings; `src/algorithms/forest/tests.rs` compares trees question by question.

#![allow(clippy::unwrap_used)]

use engine::algorithms::find;
use engine::learner::{Cx, Model, Observer, Silent};
use engine::params::Values;
use engine::run::Table;
use engine::schema::{Feature, FeatureKind, Schema, Task};
use engine::{Kind, Result};
use serde_json::Value;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const ALL: [&str; 3] = ["decision_tree", "random_forest", "extra_trees"];

fn train_watched(
    algorithm: &str,
    table: &Table,
    params: &str,
    seed: u64,
    observer: &dyn Observer,
) -> Result<Box<dyn Model>> {
    let stop = AtomicBool::new(false);
    let algorithm = find(algorithm)?;
    let values = Values::parse(algorithm.info().name, algorithm.info().params, params)?;
    let bytes = algorithm.fit(&values, table.schema(), table, &Cx { seed, stop: &stop, observer })?;
    algorithm.load(&bytes, table.schema())
}

fn train(algorithm: &str, table: &Table, params: &str) -> Result<Box<dyn Model>> {
    train_watched(algorithm, table, params, 1, &Silent)
}

fn score(model: &dyn Model, table: &Table) -> Vec<f64> {
    let mut out = vec![0.0; table.schema().rows * model.outputs()];
    model.score(&table.chunk(0..table.schema().rows), &mut out).unwrap();
    out
}

fn schema(levels: &[u32], task: Task, classes: usize, rows: usize) -> Schema {
    let features = levels.iter().enumerate().map(|(i, levels)| Feature {
        name: format!("x{i}"),
        kind: if *levels == 0 { FeatureKind::Numeric } else { FeatureKind::Category { levels: *levels } },
    });
    Schema { features: features.collect(), image: None, task, classes, positive: vec![], rows }
}

fn reference() -> Value {
    serde_json::from_str(include_str!("reference/forest.json")).unwrap()
}

fn small(name: &str) -> Vec<Vec<f64>> {
    let path = format!("{}/tests/reference/data/{name}.csv", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|l| l.split(',').map(|v| v.parse().unwrap()).collect()).collect()
}

/// The rows that are not to be tested, and those that are; the target stands last.
fn cut(rows: &[Vec<f64>], levels: &[u32], classes: usize, test: impl Fn(usize) -> bool) -> [Table; 2] {
    let task = if classes > 0 { Task::Classification } else { Task::Regression };
    let width = levels.len();
    [false, true].map(|wanted| {
        let rows: Vec<&Vec<f64>> =
            rows.iter().enumerate().filter(|(i, _)| test(*i) == wanted).map(|(_, r)| r).collect();
        let x = rows.iter().flat_map(|r| r[..width].to_vec()).collect();
        let y = rows.iter().map(|r| r[width]).collect();
        Table::new(schema(levels, task, classes, rows.len()), x, y).unwrap()
    })
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

/// Metrics of a model on a table.
fn measure(model: &dyn Model, table: &Table) -> Vec<(&'static str, f64)> {
    let (n, out, k) = (table.schema().rows, score(model, table), model.outputs());
    let y = table.chunk(0..n).y;
    if k == 1 {
        return vec![(
            "rmse",
            (out.iter().zip(y).map(|(p, y)| (p - y).powi(2)).sum::<f64>() / n as f64).sqrt(),
        )];
    }
    let right = out.chunks(k).zip(y).filter(|(p, y)| (0..k).all(|c| p[c] <= p[**y as usize])).count();
    let mut found = vec![("accuracy", right as f64 / n as f64)];
    if k == 2 {
        let p: Vec<f64> = out.chunks(2).map(|p| p[1]).collect();
        found.push(("auc", auc(y, &p)));
    }
    found
}

/// Trains with the recorded parameters and expects what scikit-learn reached, less a tolerance.
fn expect(case: &str, recorded: &Value, [fit, test]: &[Table; 2], accuracy: f64, error: f64) {
    let algorithm = case.split('/').nth(1).unwrap();
    let mut params = recorded["params"].clone();
    let oob = recorded["oob"].as_f64();
    if oob.is_some() {
        params["oob_score"] = true.into();
    }
    // Small tests hang on chance; the recordings too are the mean of three seeds.
    let seeds = if test.schema().rows < 1000 { 3 } else { 1 };
    let start = Instant::now();
    let mut found = vec![];
    for seed in 0..seeds {
        let model = train_watched(algorithm, fit, &params.to_string(), seed, &Silent).unwrap();
        found.extend(measure(&*model, test));
        let estimates = model.estimates().into_iter();
        found.extend(estimates.filter(|e| e.1 == "accuracy" || e.1 == "r2").map(|e| ("oob", e.2)));
    }
    let took = start.elapsed() / seeds as u32;
    for name in ["accuracy", "auc", "rmse", "oob"] {
        let all: Vec<f64> = found.iter().filter(|f| f.0 == name).map(|f| f.1).collect();
        if all.is_empty() {
            continue;
        }
        let (ours, theirs) = (all.iter().sum::<f64>() / all.len() as f64, recorded[name].as_f64().unwrap());
        println!("{case}: {name} {ours:.4}, scikit-learn {theirs:.4}, {took:.1?}");
        let good = match name {
            "rmse" => ours <= theirs * (1.0 + error),
            "oob" => (ours - theirs).abs() < 1.5 * accuracy,
            _ => ours >= theirs - accuracy,
        };
        assert!(good, "{case}: {name} {ours}, scikit-learn {theirs}");
    }
}

#[test]
fn small_sets_are_learnt_as_well_as_by_scikit_learn() {
    let reference = reference();
    for (name, classes) in [("breast_cancer", 2), ("wine", 3), ("digits", 10), ("diabetes", 0)] {
        let rows = small(name);
        let tables = cut(&rows, &vec![0; rows[0].len() - 1], classes, |i| i % 4 == 0);
        for algorithm in ALL {
            let case = format!("{name}/{algorithm}");
            // One tree hangs on single rows: of 45 to 450 tested ones, a few may differ.
            let tolerance = if algorithm == "decision_tree" { 0.04 } else { 0.015 };
            expect(&case, &reference["small"][&case], &tables, tolerance, tolerance);
        }
    }
}

/// The folder of real data, or none with a message.
fn folder() -> Option<String> {
    let folder = std::env::var("DAMSON_DATA").ok();
    if folder.is_none() {
        println!("skipped: DAMSON_DATA is not set");
    }
    folder
}

fn read(path: &str, separator: char) -> Vec<Vec<String>> {
    let out = std::process::Command::new("gzip").args(["-dc", path]).output().unwrap();
    assert!(out.status.success(), "{path}");
    let text = String::from_utf8(out.stdout).unwrap();
    let lines = text.lines().filter(|l| l.contains(separator));
    lines.map(|l| l.split(separator).map(|v| v.trim().to_string()).collect()).collect()
}

/// Numbers, and codes in order of first appearance where a column has words; the target moves to the end.
fn encode(rows: &[Vec<String>], target: usize, y: impl Fn(&str) -> f64) -> (Vec<u32>, Vec<Vec<f64>>) {
    let missing = |v: &str| v.is_empty() || v == "?";
    let columns: Vec<usize> = (0..rows[0].len()).filter(|c| *c != target).collect();
    let mut out = vec![vec![]; rows.len()];
    let mut levels = vec![];
    for c in columns {
        let words = rows.iter().any(|r| !missing(&r[c]) && r[c].parse::<f64>().is_err());
        let mut codes = std::collections::HashMap::new();
        for (row, out) in rows.iter().zip(&mut out) {
            let next = codes.len() as f64;
            out.push(match row[c].as_str() {
                v if missing(v) => f64::NAN,
                v if words => *codes.entry(v.to_string()).or_insert(next),
                v => v.parse().unwrap(),
            });
        }
        levels.push(codes.len() as u32);
    }
    rows.iter().zip(&mut out).for_each(|(row, out)| out.push(y(&row[target])));
    (levels, out)
}

#[test]
fn adult_is_learnt_as_well_as_by_scikit_learn() {
    let Some(data) = folder() else { return };
    let mut rows = read(&format!("{data}/adult/adult.data.gz"), ',');
    let count = rows.len();
    rows.extend(read(&format!("{data}/adult/adult.test.gz"), ','));
    let (levels, rows) = encode(&rows, 14, |y| f64::from(u8::from(y.contains(">50K"))));
    let tables = cut(&rows, &levels, 2, |i| i >= count);
    for algorithm in ALL {
        let case = format!("adult/{algorithm}");
        // Drawn groups of levels are another thing than scikit-learn's drawn thresholds among their codes.
        let tolerance = if algorithm == "extra_trees" { 0.02 } else { 0.003 };
        expect(&case, &reference()["large"][&case], &tables, tolerance, 0.0);
    }
}

#[test]
fn covertype_is_learnt_as_well_as_by_scikit_learn() {
    let Some(data) = folder() else { return };
    let rows = read(&format!("{data}/covertype/covertype_16pct_int.csv.gz"), ',').split_off(1);
    let (levels, rows) = encode(&rows, 54, |y| y.parse::<f64>().unwrap() - 1.0);
    let tables = cut(&rows, &levels, 7, |i| i % 5 == 0);
    for algorithm in ALL {
        let case = format!("covertype/{algorithm}");
        expect(&case, &reference()["large"][&case], &tables, 0.008, 0.0);
    }
}

#[test]
fn california_is_learnt_as_well_as_by_scikit_learn() {
    let Some(data) = folder() else { return };
    let rows = read(&format!("{data}/california_housing/housing.csv.gz"), ',').split_off(1);
    let (levels, rows) = encode(&rows, 8, |y| y.parse().unwrap());
    let tables = cut(&rows, &levels, 0, |i| i % 5 == 0);
    for algorithm in ALL {
        let case = format!("california/{algorithm}");
        // One tree of whole places and prices pays for having at most 255 of each; a mean of many does not.
        let error = if algorithm == "decision_tree" { 0.03 } else { 0.02 };
        expect(&case, &reference()["large"][&case], &tables, 0.01, error);
    }
}

fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0.0; values.len()];
    order.iter().enumerate().for_each(|(rank, i)| ranks[*i] = rank as f64);
    ranks
}

fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
    let (ma, mb) = (mean(a), mean(b));
    let with = |x: &[f64], mx: f64, y: &[f64], my: f64| {
        x.iter().zip(y).map(|(x, y)| (x - mx) * (y - my)).sum::<f64>()
    };
    with(a, ma, b, mb) / (with(a, ma, a, ma) * with(b, mb, b, mb)).sqrt()
}

/// A table without a target.
fn plain(rows: &[Vec<f64>], width: usize) -> Table {
    let x = rows.iter().flat_map(|r| r[..width].to_vec()).collect();
    Table::new(schema(&vec![0; width], Task::Anomaly, 0, rows.len()), x, vec![]).unwrap()
}

#[test]
fn anomaly_scores_are_those_of_scikit_learn() {
    let reference = reference();
    for name in ["breast_cancer", "wine", "diabetes"] {
        let rows = small(name);
        let table = plain(&rows, rows[0].len() - 1);
        let ours = score(&*train("isolation_forest", &table, r#"{"n_estimators": 400}"#).unwrap(), &table);
        let theirs: Vec<f64> = reference["anomalies"][name]["scores"]
            .as_array()
            .unwrap()
            .iter()
            .map(|v| v.as_f64().unwrap())
            .collect();
        let (rank, gap) = (
            correlation(&ranks(&ours), &ranks(&theirs)),
            ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).sum::<f64>() / ours.len() as f64,
        );
        println!("{name}: rank correlation {rank:.4}, mean difference {gap:.4}");
        assert!(rank > 0.95, "{name}: {rank}");
        assert!(gap < 0.02 && ours.iter().all(|s| (0.0..=1.0).contains(s)), "{name}: {gap}");
    }
}

#[test]
fn attacks_are_found_as_well_as_by_scikit_learn() {
    let Some(data) = folder() else { return };
    let rows = read(&format!("{data}/kddcup99_10pct/kddcup.tsv.gz"), '\t').split_off(1);
    let number = |v: &String| v.parse::<f64>().unwrap();
    let rows: Vec<Vec<f64>> = rows.iter().map(|r| r.iter().map(number).collect()).collect();
    let attack = |i: usize| rows[i][41] != 11.0;
    let kept: Vec<usize> = (0..rows.len()).filter(|i| !attack(*i) || i % 100 == 0).collect();
    let y: Vec<f64> = kept.iter().map(|i| f64::from(u8::from(attack(*i)))).collect();
    let reference = &reference()["anomalies"]["kddcup99"];
    assert_eq!(kept.len() as u64, reference["rows"].as_u64().unwrap());
    let chosen: Vec<Vec<f64>> = kept.iter().map(|i| rows[*i].clone()).collect();
    let table = plain(&chosen, 41);
    let mut sum = 0.0;
    for seed in 0..3 {
        let model = train_watched("isolation_forest", &table, "{}", seed, &Silent).unwrap();
        sum += auc(&y, &score(&*model, &table)) / 3.0;
    }
    let theirs = reference["auc"].as_f64().unwrap();
    println!("kddcup99: AUC {sum:.4}, scikit-learn {theirs:.4}");
    assert!(sum >= theirs - 0.02, "{sum} {theirs}");
}

#[test]
fn a_contamination_gives_the_score_that_so_many_rows_exceed() {
    let rows = small("breast_cancer");
    let table = plain(&rows, 30);
    let model = train("isolation_forest", &table, r#"{"contamination": 0.1}"#).unwrap();
    let described = model.describe(table.schema());
    let threshold: f64 = described.iter().find(|d| d.0 == "threshold").unwrap().1.parse().unwrap();
    let above = score(&*model, &table).iter().filter(|s| **s > threshold).count();
    assert!((50..=57).contains(&above), "{above} of 569");
    let error = train("isolation_forest", &table, r#"{"max_samples": 10.5}"#).err().unwrap();
    assert_eq!(error.kind, Kind::Parameter);
}

#[test]
fn what_is_missing_or_of_a_rare_level_is_strange() {
    let rows = 2000;
    let x: Vec<f64> = (0..rows)
        .flat_map(|i| {
            let noise = f64::from(i * 7919 % 1000) / 1000.0;
            [if i == 7 { f64::NAN } else { 1.0 + noise }, f64::from(u8::from(i == 9)), noise]
        })
        .collect();
    let table = Table::new(schema(&[0, 5, 0], Task::Anomaly, 0, rows as usize), x, vec![]).unwrap();
    let model = train("isolation_forest", &table, r#"{"max_samples": 1.0}"#).unwrap();
    let ours = score(&*model, &table);
    let rank = ranks(&ours);
    assert!(rank[7] > 1990.0 && rank[9] > 1990.0, "{} {}", rank[7], rank[9]);
    // A level that training never saw is no usual one.
    let strange = Table::new(schema(&[0, 5, 0], Task::Anomaly, 0, 1), vec![1.5, 4.0, 0.5], vec![]).unwrap();
    assert!(score(&*model, &strange)[0] > ours[0]);
}

/// Numbers that look random.
fn draw(i: usize) -> f64 {
    let x = (i as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let x = (x ^ (x >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    ((x ^ (x >> 32)) >> 11) as f64 / (1u64 << 53) as f64
}

#[test]
fn whole_weights_count_as_repeated_rows() {
    let rows: Vec<Vec<f64>> = (0..400)
        .map(|i| vec![(draw(i) * 40.0).floor(), (draw(i + 999) * 9.0).floor(), draw(i + 5555)])
        .collect();
    for classes in [2, 3, 0] {
        let target = |r: &Vec<f64>| {
            let y = r[0] / 10.0 + r[2];
            if classes == 0 { y } else { y.floor().min(classes as f64 - 1.0) }
        };
        let times = |i: usize| 1 + i % 3;
        let task = if classes == 0 { Task::Regression } else { Task::Classification };
        let of = |chosen: &[usize]| {
            let x = chosen.iter().flat_map(|i| rows[*i][..2].to_vec()).collect();
            let y = chosen.iter().map(|i| target(&rows[*i])).collect();
            Table::new(schema(&[0, 9], task, classes, chosen.len()), x, y).unwrap()
        };
        let each: Vec<usize> = (0..400).collect();
        let repeated: Vec<usize> = each.iter().flat_map(|i| vec![*i; times(*i)]).collect();
        let weighted = of(&each).with_weight(each.iter().map(|i| times(*i) as f64).collect()).unwrap();
        let params = r#"{"max_depth": 5}"#;
        let a = score(&*train("decision_tree", &weighted, params).unwrap(), &of(&each));
        let b = score(&*train("decision_tree", &of(&repeated), params).unwrap(), &of(&each));
        for (a, b) in a.iter().zip(b) {
            assert!((a - b).abs() < 1e-9, "{classes} classes: {a} {b}");
        }
        // Scaling all weights changes little but rounding.
        let scaled = of(&each).with_weight(each.iter().map(|i| times(*i) as f64 * 0.37).collect()).unwrap();
        let c = score(&*train("decision_tree", &scaled, params).unwrap(), &of(&each));
        let gap = a.iter().zip(&c).map(|(a, c)| (a - c).abs()).sum::<f64>() / a.len() as f64;
        // Of equal splits another may be taken.
        assert!(gap < 0.02, "{classes} classes: {gap}");
    }
}

#[test]
fn an_unusual_shape_is_learnt() {
    // One split of one feature, whatever the learner; missing values and the other level tell all.
    for algorithm in ALL {
        let n = 300;
        let x: Vec<f64> = (0..n)
            .flat_map(|i| [if i % 3 == 0 { f64::NAN } else { 5.0 }, (i % 4) as f64, f64::NAN])
            .collect();
        let y: Vec<f64> = (0..n).map(|i| f64::from(u8::from(i % 3 == 0))).collect();
        let table = Table::new(schema(&[0, 4, 0], Task::Classification, 2, n), x, y.clone()).unwrap();
        let model = train(algorithm, &table, r#"{"max_features": 1.0, "max_depth": 3}"#).unwrap();
        let out = score(&*model, &table);
        let right = (0..n).filter(|i| (out[2 * i + 1] > 0.5) == (y[*i] > 0.5)).count();
        assert_eq!(right, n, "{algorithm}");
        // Stumps.
        let stump = train(algorithm, &table, r#"{"max_depth": 1}"#).unwrap();
        let facts = stump.describe(table.schema());
        assert!(facts.contains(&("depth".into(), "1".into())), "{algorithm}: {facts:?}");
    }
}

#[test]
fn a_thousand_classes_are_learnt() {
    let n = 20_000;
    let x: Vec<f64> = (0..n).flat_map(|i| [(i % 1000 / 10) as f64, (i % 10) as f64, draw(i)]).collect();
    let y = (0..n).map(|i| (i % 1000) as f64).collect();
    let table = Table::new(schema(&[0, 0, 0], Task::Classification, 1000, n), x, y).unwrap();
    let start = Instant::now();
    let model = train("random_forest", &table, r#"{"n_estimators": 10, "max_features": 1.0}"#).unwrap();
    let found = measure(&*model, &table)[0].1;
    println!("1000 classes: accuracy {found:.4} in {:?}", start.elapsed());
    assert!(found > 0.99, "{found}");
}

#[test]
fn refuses_what_makes_no_sense() {
    let table =
        Table::new(schema(&[0, 0], Task::Classification, 2, 4), draws(8), vec![0.0, 1.0, 0.0, 1.0]).unwrap();
    for (algorithm, params, what) in [
        ("random_forest", r#"{"max_features": "half"}"#, "max_features"),
        ("random_forest", r#"{"max_features": 3}"#, "max_features"),
        ("random_forest", r#"{"max_features": 0}"#, "max_features"),
        ("random_forest", r#"{"max_features": 1.5}"#, "max_features"),
        ("decision_tree", r#"{"criterion": "squared_error"}"#, "criterion"),
        ("extra_trees", r#"{"oob_score": true}"#, "oob_score"),
        ("extra_trees", r#"{"max_samples": 0.5}"#, "max_samples"),
        ("random_forest", r#"{"max_samples": 2.5}"#, "max_samples"),
        ("random_forest", r#"{"max_depth": 0}"#, "max_depth"),
        ("decision_tree", r#"{"min_samples_split": 1}"#, "min_samples_split"),
        ("decision_tree", r#"{"n_estimators": 5}"#, "n_estimators"),
    ] {
        let error = train(algorithm, &table, params).err().unwrap();
        assert_eq!(error.kind, Kind::Parameter, "{params}");
        assert!(error.message.contains(what), "{}", error.message);
    }
}

#[test]
fn explanations_sum_to_the_score() {
    for (name, classes) in [("diabetes", 0), ("breast_cancer", 2), ("wine", 3)] {
        let rows = small(name);
        let [table, _] = cut(&rows, &vec![0; rows[0].len() - 1], classes, |i| i % 4 == 0);
        let model = train("random_forest", &table, r#"{"n_estimators": 10, "max_depth": 4}"#).unwrap();
        let mut parts = vec![];
        assert!(model.explain(&table.chunk(0..20), &mut parts).unwrap());
        let scores: Vec<f64> = match classes {
            2 => score(&*model, &table).chunks(2).map(|p| p[1]).collect(),
            _ => score(&*model, &table),
        };
        let width = table.schema().width() + 1;
        assert_eq!(parts.len(), 20 * width * if classes == 3 { 3 } else { 1 });
        for (parts, score) in parts.chunks(width).zip(scores) {
            let sum: f64 = parts.iter().sum();
            assert!((sum - score).abs() < 1e-6 * (1.0 + score.abs()), "{name}: {sum} {score}");
        }
    }
}

fn draws(n: usize) -> Vec<f64> {
    (0..n).map(draw).collect()
}

/// Enough rows that shards send sums of the upper nodes, and the rows of the lower ones.
#[test]
fn threads_and_shards_do_not_change_a_byte() {
    let n = 100_000;
    let x: Vec<f64> = (0..n)
        .flat_map(|i| {
            let gap = if i % 17 == 0 { f64::NAN } else { draw(i * 4 + 2) };
            [draw(i * 4), (draw(i * 4 + 1) * 40.0).floor(), gap, (draw(i * 4 + 3) * 12.0).floor(), 1.0]
        })
        .collect();
    let stop = AtomicBool::new(false);
    let cx = Cx { seed: 5, stop: &stop, observer: &Silent };
    let forest = r#"{"n_estimators": 3, "max_depth": 7, "oob_score": true, "max_samples": 0.9}"#;
    let wide = r#"{"n_estimators": 3, "max_depth": 7, "max_features": 1}"#;
    for (algorithm, params, classes, weighted) in [
        ("random_forest", forest, 2, false),
        ("random_forest", forest, 3, true),
        ("random_forest", forest, 0, true),
        ("extra_trees", wide, 2, false),
        ("decision_tree", r#"{"max_depth": 7}"#, 0, false),
    ] {
        let y = x.chunks(5).map(|r| {
            let value = r[0] + (r[3] * 1.7).sin() + if r[2].is_nan() { 1.0 } else { r[2] } + r[1] / 40.0;
            if classes == 0 { value } else { value.floor().clamp(0.0, classes as f64 - 1.0) }
        });
        let task = if classes == 0 { Task::Regression } else { Task::Classification };
        let table = Table::new(schema(&[0, 0, 0, 12, 0], task, classes, n), x.clone(), y.collect()).unwrap();
        let weight = if weighted { (0..n).map(|i| 0.5 + (i % 7) as f64).collect() } else { vec![] };
        let table = table.with_weight(weight).unwrap();
        let learner = find(algorithm).unwrap();
        let values = Values::parse(algorithm, learner.info().params, params).unwrap();
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| learner.fit(&values, table.schema(), &table, &cx)).unwrap()
        };
        let one = on(1);
        assert_eq!(one, on(3), "{algorithm}, {classes} classes: threads");
        // Shards elsewhere, which forget everything between rounds.
        let mut job = learner.start(&values, table.schema(), &cx).unwrap();
        let model = loop {
            let state = job.state().unwrap();
            let mut sum = learner.attach(&values, table.schema(), &state).unwrap();
            sum.finish(&cx).unwrap();
            for cut in [0..1, 1..40_000, 40_000..n] {
                let mut shard = learner.attach(&values, table.schema(), &state).unwrap();
                for from in cut.clone().step_by(7000) {
                    shard.accumulate(&table.chunk(from..(from + 7000).min(cut.end)), &cx).unwrap();
                }
                shard.finish(&cx).unwrap();
                sum.combine(&shard.partial().unwrap()).unwrap();
            }
            if let Some(model) = job.update(&sum.partial().unwrap(), &cx).unwrap() {
                break model;
            }
        };
        assert_eq!(one, model, "{algorithm}, {classes} classes: shards");
    }
}

struct Warnings(Mutex<Vec<String>>);
impl Observer for Warnings {
    fn warning(&self, message: &str) {
        self.0.lock().unwrap().push(message.into());
    }
}

#[test]
fn rows_that_every_tree_drew_are_told_of() {
    let y = (0..200).map(|i| f64::from(i % 2)).collect();
    let table = Table::new(schema(&[0], Task::Classification, 2, 200), draws(200), y).unwrap();
    let seen = Warnings(Mutex::default());
    let params = r#"{"n_estimators": 1, "oob_score": true}"#;
    let model = train_watched("random_forest", &table, params, 3, &seen).unwrap();
    let warnings = seen.0.into_inner().unwrap();
    assert!(warnings.len() == 1 && warnings[0].contains("no out-of-bag estimate"), "{warnings:?}");
    assert_eq!(model.estimates().len(), 2);
}

#[test]
fn cancels_at_once_on_many_rows() {
    let rows = 300_000;
    let x = draws(rows * 6);
    let y = x.chunks(6).map(|r| f64::from(u8::from(r[0] + r[1] * r[2] > 0.7))).collect();
    let table = Table::new(schema(&[0; 6], Task::Classification, 2, rows), x, y).unwrap();
    let stop = AtomicBool::new(false);
    let cx = Cx { seed: 1, stop: &stop, observer: &Silent };
    let algorithm = find("random_forest").unwrap();
    let values = Values::parse("random_forest", algorithm.info().params, r#"{"trees": 1000}"#).unwrap();
    let mut delays = vec![];
    std::thread::scope(|scope| {
        for wait in [20, 150, 700, 1500] {
            stop.store(false, Ordering::Relaxed);
            let work = scope.spawn(|| (algorithm.fit(&values, table.schema(), &table, &cx), Instant::now()));
            std::thread::sleep(Duration::from_millis(wait));
            let asked = Instant::now();
            stop.store(true, Ordering::Relaxed);
            let (result, ended) = work.join().unwrap();
            assert_eq!(result.unwrap_err().kind, Kind::Cancelled);
            let late = ended.saturating_duration_since(asked);
            println!("stopped after {late:?}");
            delays.push(late);
        }
    });
    // Other tests share the processors, so one of four may have had to wait for them.
    delays.sort();
    assert!(delays[2] < Duration::from_millis(400) && delays[3] < Duration::from_secs(2), "{delays:?}");
}

#[test]
#[ignore = "a measurement: cargo test --release --test forest -- --ignored --nocapture"]
fn speed() {
    let (rows, width) = (800_000, 28);
    let x: Vec<f64> = draws(rows * width);
    let y = x
        .chunks(width)
        .map(|r| f64::from(u8::from(r[0] + r[1] * r[2] + (r[3] * 9.0).sin() + r[4] > 1.2 + r[5])))
        .collect();
    let table = Table::new(schema(&vec![0; width], Task::Classification, 2, rows), x, y).unwrap();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    for (algorithm, params) in [
        ("random_forest", r#"{"max_depth": 10}"#),
        ("decision_tree", r#"{"max_depth": 10}"#),
        ("random_forest", r#"{"n_estimators": 10}"#),
    ] {
        let start = Instant::now();
        let model = pool.install(|| train(algorithm, &table, params)).unwrap();
        println!("{algorithm} {params}: {:.2?}, {:?}", start.elapsed(), model.describe(table.schema()));
    }
}
