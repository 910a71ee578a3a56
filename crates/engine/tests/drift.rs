//! Drift against Evidently's numbers, recorded by reference/drift.py, and detectors against river's.

#![allow(clippy::unwrap_used)]

use engine::decision::Decision;
use engine::drift::baseline::Predictions;
use engine::drift::compare::{Finding, between};
use engine::drift::quality::quality;
use engine::drift::quick::{Statistics, quick};
use engine::drift::stream::Detector;
use engine::drift::{Baseline, Choices, ColumnBaseline, Distribution, Role, Shape, exact, small};
use engine::frame::{Column, Data, Dictionary, Frame};
use engine::learner::{Cx, Silent};
use engine::schema::Task;
use engine::{Kind, Result};
use flate2::read::GzDecoder;
use serde_json::Value;
use std::io::Read;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

static GO: AtomicBool = AtomicBool::new(false);
const CX: Cx = Cx { seed: 0, stop: &GO, observer: &Silent };

fn column(name: &str, data: Data) -> Column {
    Column { name: name.into(), data, missing: vec![] }
}

fn frame(columns: Vec<Column>) -> Frame {
    Frame { rows: columns[0].len(), columns }
}

fn texts<'a>(values: impl Iterator<Item = Option<&'a str>>) -> Data {
    let mut found = Dictionary::default();
    for value in values {
        let code = value.map_or(Dictionary::MISSING, |v| found.intern(v));
        found.codes.push(code);
    }
    Data::Text(found)
}

/// Cells as pandas would type them: whole numbers, numbers, or labels; an empty cell is missing.
fn typed(name: &str, kind: &str, cells: &[&str]) -> Column {
    let cell = |c: &&str| if ["", "?", "NA"].contains(c) { None } else { Some(c.to_string()) };
    if kind == "categories" {
        let cells: Vec<Option<String>> = cells.iter().map(cell).collect();
        return column(name, texts(cells.iter().map(Option::as_deref)));
    }
    let whole: Option<Vec<i32>> = cells.iter().map(|c| c.parse().ok()).collect();
    match whole {
        Some(v) => column(name, Data::I32(v)),
        None => column(name, Data::F64(cells.iter().map(|c| c.parse().unwrap_or(f64::NAN)).collect())),
    }
}

fn rows(text: &str) -> Vec<Vec<&str>> {
    text.lines().filter(|l| !l.trim().is_empty()).map(|l| l.split(',').map(str::trim).collect()).collect()
}

fn build(names: &[String], columns: &Value, rows: &[&Vec<&str>]) -> Frame {
    let one = |(name, found): (&String, &Value)| {
        let at = names.iter().position(|n| n == name).unwrap();
        let cells: Vec<&str> = rows.iter().map(|r| r[at]).collect();
        typed(name, found["kind"].as_str().unwrap(), &cells)
    };
    frame(columns.as_object().unwrap().iter().map(one).collect())
}

fn real(path: &str) -> Option<String> {
    let Some(folder) = std::env::var_os("DAMSON_DATA") else {
        eprintln!("skipped: DAMSON_DATA names no folder of real data");
        return None;
    };
    let file = std::fs::File::open(PathBuf::from(folder).join(path)).unwrap();
    let mut text = String::new();
    GzDecoder::new(file).read_to_string(&mut text).unwrap();
    Some(text)
}

const ADULT: [&str; 15] = [
    "age",
    "workclass",
    "fnlwgt",
    "education",
    "education_num",
    "marital_status",
    "occupation",
    "relationship",
    "race",
    "sex",
    "capital_gain",
    "capital_loss",
    "hours_per_week",
    "native_country",
    "income",
];

/// The two sides of a case, or none where the data is not there.
fn sides(name: &str, case: &Value) -> Option<(Frame, Frame)> {
    let (data, columns) = (&case["data"], &case["columns"]);
    if let Some(file) = data["file"].as_str() {
        let text = std::fs::read_to_string(format!("tests/reference/data/{file}.csv")).unwrap();
        let cut = data["cut"].as_u64().unwrap() as usize;
        let mut all = rows(&text);
        let names: Vec<String> = (0..all[0].len()).map(|i| i.to_string()).collect();
        let labels: Vec<String>;
        if let Some(modulo) = data["labels"].as_i64() {
            let last = all[0].len() - 1;
            labels =
                all.iter().map(|r| format!("c{}", r[last].parse::<f64>().unwrap() as i64 % modulo)).collect();
            all.iter_mut().zip(&labels).for_each(|(r, l)| r[last] = l);
        }
        let side = |rows: &[Vec<&str>]| build(&names, columns, &rows.iter().collect::<Vec<_>>());
        return Some((side(&all[..cut]), side(&all[cut..])));
    }
    if let Some(path) = data["real"].as_str() {
        let text = real(path)?;
        let mut all = rows(&text);
        if name == "adult" {
            let text = real("adult/adult.test.gz")?;
            let mut others = rows(&text);
            others.iter_mut().for_each(|r| r[14] = r[14].trim_end_matches('.'));
            let names = ADULT.map(String::from);
            let side = |rows: &[Vec<&str>]| build(&names, columns, &rows.iter().collect::<Vec<_>>());
            return Some((side(&all), side(&others)));
        }
        let names: Vec<String> = all.remove(0).into_iter().map(String::from).collect();
        let (before, now): (Vec<&Vec<&str>>, Vec<&Vec<&str>>) = match data["month"].as_i64() {
            Some(month) => {
                let of = |m: i64| all.iter().filter(|r| r[1] == m.to_string()).collect();
                (of(1), of(month))
            }
            None => {
                let of = |m: &str| all.iter().filter(|r| r[1].starts_with(m)).collect();
                (of("2011-01"), of("2011-02"))
            }
        };
        return Some((build(&names, columns, &before), build(&names, columns, &now)));
    }
    let side = |values: &Value| {
        let values = values.as_array().unwrap();
        if columns["x"]["kind"] == "categories" {
            return frame(vec![column("x", texts(values.iter().map(Value::as_str)))]);
        }
        let number = |v: &Value| if v == "inf" { f64::INFINITY } else { v.as_f64().unwrap_or(f64::NAN) };
        frame(vec![column(
            "x",
            match values.iter().map(Value::as_i64).collect::<Option<Vec<i64>>>() {
                Some(whole) => Data::I64(whole),
                None => Data::F64(values.iter().map(number).collect()),
            },
        )])
    };
    Some((side(&data["reference"]), side(&data["current"])))
}

fn recorded() -> serde_json::Map<String, Value> {
    serde_json::from_str(include_str!("reference/drift.json")).unwrap()
}

fn check(what: &str, finding: &Finding, expected: &Value) {
    if expected.is_null() {
        assert_eq!(finding.method, "missing", "{what}");
        return;
    }
    assert_eq!(finding.method, expected["method"].as_str().unwrap(), "{what}");
    assert_eq!(finding.threshold, expected["threshold"].as_f64().unwrap(), "{what}");
    match expected["score"].as_f64() {
        Some(score) => {
            let found = finding.score();
            // Evidently sums floating-point numbers in the order of a set: whether a permutation that is exactly as far
            // counts as such is then up to the last bit. Here all of them count.
            let ties = if finding.method == "tvd" { 0.002 } else { 0.0 };
            let allowed = 1e-6 * score.abs().max(1.0) + ties;
            assert!((found - score).abs() <= allowed, "{what}: {found} for {score}");
        }
        None => assert!(finding.score().is_nan(), "{what}: {} for none", finding.score()),
    }
    assert_eq!(finding.drifted, expected["drifted"].as_bool().unwrap(), "{what}");
}

#[test]
fn numbers_are_evidentlys() {
    let mut compared = 0;
    for (name, case) in recorded() {
        let Some((reference, current)) = sides(&name, &case) else { continue };
        let columns = case["columns"].as_object().unwrap();
        let found = between(&reference, &current, None, &Choices::default(), 0.5, &CX).unwrap();
        for (column, expected) in columns {
            let finding = found.iter().find(|f| f.column.as_deref() == Some(column)).unwrap();
            check(&format!("{name}, {column} by default"), finding, &expected["default"]);
            for by_method in expected["found"].as_array().unwrap() {
                let method = by_method["method"].as_str().unwrap();
                let choices = format!("{{{column:?}: {method:?}}}");
                let choices = Choices::parse(Some(&choices), None).unwrap();
                let one = [column.clone()];
                let found = between(&reference, &current, Some(&one), &choices, 0.5, &CX).unwrap();
                check(&format!("{name}, {column} by {method}"), &found[1], by_method);
                compared += 1;
            }
        }
        let drifted = columns.values().filter(|c| c["default"]["drifted"] == true).count();
        if columns.values().all(|c| !c["default"].is_null()) {
            assert_eq!(found[0].statistic, drifted as f64 / columns.len() as f64, "{name}");
        }
    }
    assert!(compared > 500, "only {compared} numbers were compared");
}

/// What is stored of columns with few rows or values gives the same numbers as the rows.
#[test]
fn a_baseline_of_few_values_is_exact() {
    for (name, case) in recorded() {
        let Some((reference, current)) = sides(&name, &case) else { continue };
        let features: Vec<usize> = (0..reference.columns.len()).collect();
        let baseline = Baseline::record(&reference, &features, None, &Predictions::default(), &CX).unwrap();
        let baseline = through_bytes(&baseline);
        let found =
            baseline.compare(&current, &Predictions::default(), None, &Choices::default(), 0.5, &CX).unwrap();
        for (column, expected) in case["columns"].as_object().unwrap() {
            let finding = found.iter().find(|f| f.column.as_deref() == Some(column)).unwrap();
            let what = format!("{name}, {column}");
            if finding.error == Some(0.0) {
                check(&what, finding, &expected["default"]);
            } else if let Some(error) = finding.error {
                let score = expected["default"]["score"].as_f64().unwrap();
                assert_eq!(finding.method, "wasserstein", "{what}");
                assert!(
                    (finding.statistic - score).abs() <= error,
                    "{what}: {} for {score}",
                    finding.statistic
                );
                assert!(error < 0.01, "{what}: may be off by {error}");
                assert_eq!(finding.drifted, expected["default"]["drifted"].as_bool().unwrap(), "{what}");
            }
        }
    }
}

fn through_bytes(baseline: &Baseline) -> Baseline {
    let columns = baseline.columns.iter().map(|c| {
        let bytes = c.encode().unwrap();
        let back = ColumnBaseline::decode(&c.name, c.role.name(), &bytes).unwrap();
        assert_eq!(back.encode().unwrap(), bytes);
        back
    });
    Baseline { columns: columns.collect() }
}

/// Numbers that look like chance and repeat.
fn chance(seed: u64, n: usize) -> Vec<f64> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as f64 / (1u64 << 31) as f64
    };
    (0..n).map(|_| next() + next() + next() - 1.5).collect()
}

#[test]
fn a_sketch_of_many_rows_is_as_near_as_it_says() {
    let n = 400_000;
    let reference = chance(1, n);
    let heavy: Vec<f64> = reference.iter().map(|x| (x * 6.0).exp()).collect();
    let far: Vec<f64> = reference.iter().map(|x| 1.7e15 + x).collect();
    let few: Vec<f64> = reference.iter().map(|x| (x * 4.0).round() / 3.0).collect();
    let whole: Vec<i32> = reference.iter().map(|x| (x * 500.0) as i32).collect();
    let columns = || {
        vec![
            column("plain", Data::F64(reference.clone())),
            column("real", Data::F32(reference.iter().map(|x| *x as f32).collect())),
            column("heavy", Data::F64(heavy.clone())),
            column("far", Data::F64(far.clone())),
            column("few", Data::F64(few.clone())),
            column("whole", Data::I32(whole.clone())),
        ]
    };
    let reference = frame(columns());
    let shifted: Vec<Column> = columns()
        .into_iter()
        .map(|c| {
            let data = match c.data {
                Data::F64(v) => Data::F64(v[..150_000].iter().map(|x| x + (x.abs() * 0.05)).collect()),
                Data::F32(v) => Data::F32(v[..150_000].iter().map(|x| x + 0.07).collect()),
                Data::I32(v) => Data::I32(v[..150_000].iter().map(|x| x + 60).collect()),
                other => other,
            };
            Column { data, ..c }
        })
        .collect();
    let current = frame(shifted);
    let baseline =
        Baseline::record(&reference, &[0, 1, 2, 3, 4, 5], None, &Predictions::default(), &CX).unwrap();
    let stored: usize = baseline.columns.iter().map(|c| c.encode().unwrap().len()).max().unwrap();
    assert!(stored < 30_000, "{stored} bytes");
    for method in ["wasserstein", "ks", "ed", "t_test"] {
        let choices = Choices::parse(Some(method), None).unwrap();
        let sketched = baseline.compare(&current, &Predictions::default(), None, &choices, 0.5, &CX).unwrap();
        let exact = between(&reference, &current, None, &choices, 0.5, &CX).unwrap();
        for (s, e) in sketched.iter().zip(&exact).skip(1) {
            let error = s.error.unwrap();
            let (a, b) = (s.statistic, e.statistic);
            assert!(
                (a - b).abs() <= error + 1e-9 * b.abs(),
                "{method} {:?}: {a} for {b}, said {error}",
                s.column
            );
            let at_most = if s.column.as_deref() == Some("heavy") { 0.05 } else { 0.02 };
            if method != "ed" {
                assert!(error < at_most, "{method} {:?}: may be off by {error}", s.column);
            }
            if ["few", "whole"].contains(&s.column.as_deref().unwrap()) {
                assert_eq!(error, 0.0, "{method} {:?}", s.column);
            }
        }
    }
}

#[test]
fn baselines_do_not_depend_on_threads() {
    let values = chance(7, 300_000);
    let reference = frame(vec![column("a", Data::F64(values.clone())), column("b", Data::F64(values))]);
    let record = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| Baseline::record(&reference, &[0, 1], None, &Predictions::default(), &CX).unwrap())
    };
    let one = record(1);
    assert_eq!(one, record(2));
    assert_eq!(one, record(7));
}

#[test]
fn detectors_are_rivers() {
    let streams: Vec<Value> = serde_json::from_str(include_str!("reference/drift_stream.json")).unwrap();
    let mut changes = 0;
    for s in &streams {
        let mut state = s["seed"].as_u64().unwrap();
        let cuts = s["cuts"].as_array().unwrap();
        let values: Vec<f64> = (0..s["n"].as_u64().unwrap())
            .map(|i| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let u = (state >> 33) as f64 / (1u64 << 31) as f64;
                let cut = cuts.iter().find(|c| i < c[0].as_u64().unwrap()).unwrap();
                let level = cut[1].as_f64().unwrap();
                if s["kind"] == "bits" { f64::from(u8::from(u < level)) } else { u + level }
            })
            .collect();
        let method = s["method"].as_str().unwrap();
        let mut detector = Detector::parse(method, &s["params"].to_string()).unwrap();
        let found: Vec<u64> =
            detector.changes(&values, &CX).unwrap().iter().map(|c| c.place as u64).collect();
        let expected: Vec<u64> =
            s["places"].as_array().unwrap().iter().map(|p| p.as_u64().unwrap()).collect();
        assert_eq!(found, expected, "{method} {} on {}", s["params"], s["seed"]);
        changes += expected.len();
    }
    assert!(changes > 20, "only {changes} changes");
    assert_eq!(Detector::parse("guess", "{}").err().unwrap().kind, Kind::Parameter);
    assert_eq!(Detector::parse("adwin", "{\"delta\": 2}").err().unwrap().kind, Kind::Parameter);
}

#[test]
fn predictions_are_remembered_by_task() {
    let classes = ["no".to_string(), "yes".to_string()];
    let given = Predictions::of(Task::Classification, &classes, &[0.8, 0.2, 0.1, 0.9], &Decision::default());
    let reference = frame(vec![column("x", Data::F64(vec![1.0, 2.0]))]);
    let baseline = Baseline::record(&reference, &[0], None, &given, &CX).unwrap();
    let roles: Vec<Role> = baseline.columns.iter().map(|c| c.role).collect();
    assert_eq!(roles, [Role::Feature, Role::Prediction, Role::Probability]);
    let Distribution::Categories(decided) = &baseline.columns[1].distribution else {
        panic!("no categories")
    };
    assert_eq!(
        decided.counts.iter().map(|(l, n)| (l.as_str(), *n)).collect::<Vec<_>>(),
        [("no", 1), ("yes", 1)]
    );
    let found = baseline.compare(&reference, &given, None, &Choices::default(), 0.5, &CX).unwrap();
    assert_eq!(found.len(), 4);
    assert!(found.iter().all(|f| !f.drifted));
    let none = Predictions::of(Task::Embedding, &[], &[1.0, 2.0], &Decision::default());
    assert_eq!(Baseline::record(&reference, &[0], None, &none, &CX).unwrap().columns.len(), 1);
}

#[test]
fn quality_tells_what_is_wrong() {
    let reference = frame(vec![
        column("x", Data::F64((0..100).map(f64::from).collect())),
        column("c", texts((0..100).map(|i| Some(if i % 2 == 0 { "a" } else { "b" })))),
        column("k", Data::I32((0..100).collect())),
        column("gone", Data::F64((0..100).map(f64::from).collect())),
    ]);
    let baseline = Baseline::record(&reference, &[0, 1, 2, 3], None, &Predictions::default(), &CX).unwrap();
    let now = frame(vec![
        column(
            "x",
            Data::F64((0..100).map(|i| if i < 40 { f64::NAN } else { f64::from(i) * 2.0 }).collect()),
        ),
        column("c", texts((0..100).map(|i| Some(if i % 10 == 0 { "<b>&\"new\"" } else { "a" })))),
        column("k", Data::I32(vec![7; 100])),
        column("gone", Data::F64(vec![f64::NAN; 100])),
    ]);
    let found = quality(&now, Some(&baseline), &CX).unwrap();
    let of = |column: Option<&str>, check: &str| {
        let one = found.iter().find(|i| i.column.as_deref() == column && i.check == check);
        one.unwrap_or_else(|| panic!("{check} of {column:?} is not told: {found:?}"))
    };
    assert_eq!((of(Some("x"), "missing").rows, of(Some("x"), "missing").problem), (40, true));
    assert_eq!((of(Some("x"), "out of range").rows, of(Some("x"), "out of range").problem), (50, true));
    assert_eq!((of(Some("c"), "unseen").rows, of(Some("c"), "unseen").problem), (10, true));
    assert!(of(Some("k"), "constant").problem && of(Some("gone"), "empty").problem);
    // Missing x, missing gone, and one k make most of the first 40 rows the same.
    assert!(of(None, "duplicates").rows >= 30);
    let same = quality(&reference, Some(&baseline), &CX).unwrap();
    assert!(same.is_empty(), "{same:?}");
    assert_eq!(quality(&Frame::default(), None, &CX).unwrap_err().kind, Kind::Data);
}

#[test]
fn statistics_of_a_planner_show_shifts() {
    let reference = frame(vec![
        column("x", Data::F64(chance(3, 20_000))),
        column("c", texts((0..20_000).map(|i| Some(["a", "b", "c"][i % 3])))),
    ]);
    let baseline = Baseline::record(&reference, &[0, 1], None, &Predictions::default(), &CX).unwrap();
    let known = |shift: f64, c: [f64; 3]| {
        let mut sorted = chance(9, 10_100);
        sorted.sort_by(f64::total_cmp);
        let bounds = (0..=100).map(|i| format!("{}", sorted[i * 100] + shift)).collect();
        let x = Statistics { column: "x".into(), bounds, ..Statistics::default() };
        let common = ["a", "b", "c"].map(String::from).to_vec();
        let c = Statistics { column: "c".into(), common, frequencies: c.to_vec(), ..Statistics::default() };
        [x, c]
    };
    let verdicts = |shift: f64, c: [f64; 3]| -> Vec<bool> {
        let found = quick(&baseline, &known(shift, c), &Choices::default(), 0.5).unwrap();
        found.iter().map(|f| f.drifted).collect()
    };
    let even = [0.334, 0.333, 0.333];
    assert_eq!(verdicts(0.0, even), [false, false, false]);
    assert_eq!(verdicts(0.2, even), [true, true, false]);
    assert_eq!(verdicts(0.0, [0.7, 0.2, 0.1]), [true, false, true]);
    let refused = |statistics: &[Statistics], method: Option<&str>| -> Kind {
        quick(&baseline, statistics, &Choices::parse(method, None).unwrap(), 0.5).unwrap_err().kind
    };
    assert_eq!(refused(&[], None), Kind::Data);
    assert_eq!(refused(&known(0.0, even), Some("ks")), Kind::Parameter);
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let a = frame(vec![column("x", Data::F64(vec![1.0, 2.0]))]);
    let b = frame(vec![column("x", texts([Some("1"), Some("2")].into_iter()))]);
    let c = frame(vec![column("y", Data::F64(vec![1.0, 2.0]))]);
    let kind = |found: Result<Vec<Finding>>| found.unwrap_err().kind;
    let plain = Choices::default();
    assert_eq!(kind(between(&a, &b, None, &plain, 0.5, &CX)), Kind::Type);
    assert_eq!(kind(between(&a, &c, None, &plain, 0.5, &CX)), Kind::UnknownColumn);
    assert_eq!(kind(between(&a, &Frame::default(), None, &plain, 0.5, &CX)), Kind::Data);
    let parse = |text: &str| Choices::parse(Some(text), None);
    let missing = parse("{\"nowhere\": \"ks\"}").unwrap();
    assert_eq!(kind(between(&a, &a, None, &missing, 0.5, &CX)), Kind::UnknownColumn);
    let numbers_only = parse("{\"x\": \"ks\"}").unwrap();
    assert_eq!(kind(between(&b, &b, None, &numbers_only, 0.5, &CX)), Kind::Type);
    for bad in ["guess", "{", "{\"x\": 1}", "{\"x\": {\"threshold\": -1}}", "{\"x\": {\"how\": \"ks\"}}"] {
        assert_eq!(parse(bad).unwrap_err().kind, Kind::Parameter, "{bad}");
    }
    assert_eq!(Choices::parse(None, Some(f64::NAN)).unwrap_err().kind, Kind::Parameter);
}

#[test]
fn damaged_baselines_are_refused() {
    let distribution = small(&column("x", Data::F64(chance(5, 500))), None, &CX).unwrap();
    let good = ColumnBaseline { name: "x".into(), role: Role::Feature, distribution };
    let bytes = good.encode().unwrap();
    let decode = |bytes: &[u8]| ColumnBaseline::decode("x", "feature", bytes);
    assert!(decode(&bytes).is_ok());
    assert_eq!(decode(&bytes[..bytes.len() - 1]).unwrap_err().kind, Kind::Corrupt);
    assert_eq!(ColumnBaseline::decode("x", "spare", &bytes).unwrap_err().kind, Kind::Corrupt);
    for at in 0..bytes.len() {
        let mut other = bytes.clone();
        other[at] ^= 0x91;
        // Whatever a byte does, comparing what is accepted must not fail.
        if let Ok(column) = decode(&other) {
            let baseline = Baseline { columns: vec![column] };
            let now = frame(vec![column_of(&baseline)]);
            let _ = baseline.compare(&now, &Predictions::default(), None, &Choices::default(), 0.5, &CX);
        }
    }
}

fn column_of(baseline: &Baseline) -> Column {
    match baseline.columns[0].distribution.shape() {
        Some(Shape::Categories) => column("x", texts([Some("a")].into_iter())),
        _ => column("x", Data::F64(chance(6, 300))),
    }
}

#[test]
fn labels_of_numbers_are_as_the_server_prints_them() {
    let found = exact(&column("y", Data::I32(vec![1, 0, 1])), Some(Shape::Categories), &CX).unwrap();
    let Distribution::Categories(c) = found else { panic!("no categories") };
    assert_eq!(c.counts.keys().collect::<Vec<_>>(), ["0", "1"]);
}
