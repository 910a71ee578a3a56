//! Agreement with scikit-learn (`tests/reference/kmeans.py` recorded its numbers), seeding, and the hard cases.

use super::KMeans;
use super::model::Model;
use crate::error::{Kind, Result};
use crate::learner::{Algorithm, Cx, Erased, Learner, Model as _, Observer, Silent};
use crate::params::Values;
use crate::run::{Rows, Table, fit};
use crate::schema::{Chunk, Schema, Task};
use crate::wire;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

fn train_with(params: Value, table: &Table, seed: u64, observer: &dyn Observer) -> Result<Model> {
    let stop = AtomicBool::new(false);
    let cx = Cx { seed, stop: &stop, observer };
    let values = Values::parse("kmeans", KMeans::INFO.params, &params.to_string())?;
    let model = fit::<KMeans>(&KMeans::params(&values, table.schema())?, table.schema(), table, &cx)?;
    model.validate(table.schema())?;
    Ok(model)
}

fn train(params: Value, table: &Table, seed: u64) -> Result<Model> {
    train_with(params, table, seed, &Silent)
}

fn table(x: Vec<f64>, width: usize) -> Table {
    let schema = Schema::numeric(width, Task::Clustering, 0, x.len() / width);
    Table::new(schema, x, vec![]).unwrap()
}

/// Clumps of unit width at the corners of a grid, without a pattern within.
fn clumps(rows: usize, width: usize, clumps: usize) -> Vec<f64> {
    let noise = |i: u64| (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as f64 / (1 << 24) as f64;
    let value = |i: usize| noise(i as u64) + 4.0 * (((i / width % clumps) >> (i % width % 16)) & 1) as f64;
    (0..rows * width).map(value).collect()
}

fn score(model: &Model, table: &Table) -> Vec<f64> {
    let mut out = vec![-1.0; table.len()];
    model.score(&table.chunk(0..table.len()), &mut out).unwrap();
    out
}

fn floats(v: &Value) -> Vec<f64> {
    v.as_array().map_or_else(|| vec![v.as_f64().unwrap()], |items| items.iter().flat_map(floats).collect())
}

/// The recorded cases, each with its table.
fn recorded() -> Vec<(Value, Table)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference");
    let read = |file: &str| std::fs::read_to_string(folder.join(file)).unwrap();
    let all: Value = serde_json::from_str(&read("kmeans.json")).unwrap();
    let with_table = |case: &Value| {
        let text = read(&format!("data/{}.csv", case["data"].as_str().unwrap()));
        let rows: Vec<Vec<f64>> = text
            .lines()
            .map(|l| l.split(',').map(|v| v.parse().unwrap()).collect::<Vec<f64>>())
            .map(|mut row| {
                row.pop();
                row
            })
            .collect();
        let (n, width) = (rows.len(), rows[0].len());
        let mut x = rows.concat();
        for j in (0..width).filter(|_| case["standardise"] == true) {
            let mean = rows.iter().map(|r| r[j]).sum::<f64>() / n as f64;
            let deviation = (rows.iter().map(|r| (r[j] - mean).powi(2)).sum::<f64>() / n as f64).sqrt();
            x.iter_mut().skip(j).step_by(width).for_each(|v| *v = (*v - mean) / deviation);
        }
        let table = table(x, width);
        let weight = (0..n).map(|i| (1 + i % 3) as f64).collect();
        let table = if case["weighted"] == true { table.with_weight(weight).unwrap() } else { table };
        (case.clone(), table)
    };
    all["cases"].as_array().unwrap().iter().map(with_table).collect()
}

#[test]
fn lloyd_agrees_with_scikit_learn_from_the_same_centers() {
    for (case, table) in recorded() {
        let rows = floats(&case["first_rows"]);
        let init: Vec<&[f64]> = rows.iter().map(|r| table.chunk(*r as usize..*r as usize + 1).x).collect();
        let model = train(json!({"k": case["n_clusters"], "init": init}), &table, 0).unwrap();
        let name = format!("{} weighted {}", case["data"], case["weighted"]);
        assert_eq!(Some(model.iterations()), case["iterations"].as_u64(), "{name}");
        assert_eq!(model.sizes(), floats(&case["sizes"]), "{name}");
        assert!(model.converged());
        let inertia = case["inertia"].as_f64().unwrap();
        assert!((model.inertia() / inertia - 1.0).abs() < 1e-9, "{name}: {} for {inertia}", model.inertia());
        for (found, expected) in model.centers().iter().zip(floats(&case["centers"])) {
            assert!(
                (found - expected).abs() < 1e-9 * expected.abs().max(1.0),
                "{name}: {found} for {expected}"
            );
        }
        let mut sizes = vec![0.0; model.sizes().len()];
        for (i, cluster) in score(&model, &table).iter().enumerate() {
            sizes[*cluster as usize] += table.chunk(i..i + 1).weight(0);
        }
        assert_eq!(sizes, model.sizes(), "{name}: scores are the training's clusters");
    }
}

#[test]
fn mini_batches_come_as_near_as_those_of_scikit_learn() {
    for (case, table) in recorded() {
        let params = json!({"k": case["n_clusters"], "batch_size": 64});
        let inertia: Vec<f64> =
            (0..200).map(|seed| train(params.clone(), &table, seed).unwrap().inertia()).collect();
        let mean = inertia.iter().sum::<f64>() / inertia.len() as f64;
        let expected = case["minibatch"].as_f64().unwrap();
        println!("{} weighted {}: {:.4} of scikit-learn's", case["data"], case["weighted"], mean / expected);
        assert!((mean / expected - 1.0).abs() < 0.04, "{}: {mean}, expected {expected}", case["data"]);
        // Measured on all rows.
        let model = train(params, &table, 0).unwrap();
        assert_eq!(
            model.sizes().iter().sum::<f64>(),
            (0..table.len()).map(|i| table.chunk(i..i + 1).weight(0)).sum::<f64>()
        );
    }
}

#[test]
fn mini_batches_of_a_large_table_need_two_passes() {
    struct Counted<'a>(&'a Table, AtomicUsize);
    impl Rows for Counted<'_> {
        fn len(&self) -> usize {
            self.0.len()
        }
        fn read(&self, range: std::ops::Range<usize>, into: &mut crate::schema::Buffer) -> Result<()> {
            self.1.fetch_add(range.len(), Ordering::Relaxed);
            self.0.read(range, into)
        }
    }
    let table = table(clumps(60_000, 4, 8), 4);
    let stop = AtomicBool::new(false);
    let cx = Cx { seed: 3, stop: &stop, observer: &Silent };
    let values = Values::parse("kmeans", KMeans::INFO.params, r#"{"k": 8, "batch_size": 50}"#).unwrap();
    let params = KMeans::params(&values, table.schema()).unwrap();
    let rows = Counted(&table, AtomicUsize::new(0));
    let model = fit::<KMeans>(&params, table.schema(), &rows, &cx).unwrap();
    assert_eq!(rows.1.into_inner(), 2 * 60_000);
    let all = train(json!({"k": 8}), &table, 3).unwrap();
    assert!(model.inertia() < 1.1 * all.inertia(), "{} for {}", model.inertia(), all.inertia());
    assert!(model.converged() && model.sizes().iter().all(|s| *s > 0.0));
}

#[test]
fn mini_batches_refuse_what_they_cannot_learn_from() {
    let equal = table(vec![1.0; 300], 3);
    let error = train(json!({"k": 2, "batch_size": 10}), &equal, 0).unwrap_err();
    assert_eq!(error.kind, Kind::Data);
    assert_eq!(
        error.message,
        "the 100 rows sampled for mini-batches have 1 distinct ones, expected at least n_clusters = 2"
    );
    let large = table((0..300).map(|i| f64::from(i) * 1e200).collect(), 3);
    assert_eq!(train(json!({"k": 2, "batch_size": 10}), &large, 0).unwrap_err().kind, Kind::Data);
    for wrong in ["0", "-5", "1.5", "\"all\""] {
        let json = format!(r#"{{"batch_size": {wrong}}}"#);
        let error = Values::parse("kmeans", KMeans::INFO.params, &json).unwrap_err();
        assert_eq!(error.kind, Kind::Parameter, "{wrong}");
    }
    // Others than the default begin: random rows, and given centers.
    let rows = table(clumps(3000, 2, 4), 2);
    let given: Vec<&[f64]> = (0..4).map(|i| rows.chunk(i..i + 1).x).collect();
    for init in [json!("random"), json!(given)] {
        let model = train(json!({"k": 4, "batch_size": 100, "init": init}), &rows, 1).unwrap();
        assert_eq!(model.sizes().iter().sum::<f64>(), 3000.0);
    }
}

#[test]
fn seeding_comes_near_the_best_of_scikit_learn() {
    for (case, table) in recorded() {
        let Some(best) = case["best_of_10"].as_f64() else { continue };
        for (n_init, seeds, limit) in [(10, 0..3, 1.005), (1, 0..20, 1.2)] {
            let mut ratios: Vec<f64> = seeds
                .map(|seed| {
                    train(json!({"k": case["n_clusters"], "n_init": n_init}), &table, seed).unwrap().inertia()
                })
                .map(|inertia| inertia / best)
                .collect();
            ratios.sort_by(f64::total_cmp);
            println!("{} n_init {n_init}: {ratios:.3?}", case["data"]);
            assert!(ratios[0] > 0.98, "better than the best of 10 by this much is a fault of the sum");
            assert!(ratios[ratios.len() / 2] < 1.02, "{}: median {ratios:?}", case["data"]);
            assert!(ratios[ratios.len() - 1] < limit, "{}: {ratios:?}", case["data"]);
        }
    }
}

#[test]
fn random_rows_serve_as_first_centers() {
    let table = table(clumps(500, 3, 4), 3);
    let model = train(json!({"k": 4, "init": "random", "n_init": 5}), &table, 1).unwrap();
    assert!(model.inertia() < train(json!({"k": 3}), &table, 1).unwrap().inertia());
    assert_eq!(model.sizes().iter().sum::<f64>(), 500.0);
}

#[test]
fn same_bytes_on_any_number_of_threads() {
    let table = table(clumps(60_000, 4, 16), 4);
    let bytes = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            wire::encode(&train(json!({"k": 12, "n_init": 2, "max_iter": 5}), &table, 7).unwrap()).unwrap()
        })
    };
    let one = bytes(1);
    assert!(one == bytes(2) && one == bytes(4));
}

#[test]
fn shards_elsewhere_find_the_same_clusters() {
    // Shards that lose what they kept and number their rows anew; only the draws differ, so the clumps are found.
    let table = table(clumps(3000, 3, 8), 3);
    let stop = AtomicBool::new(false);
    let cx = Cx { seed: 3, stop: &stop, observer: &Silent };
    let values = Values::parse("kmeans", KMeans::INFO.params, r#"{"k": 8}"#).unwrap();
    let kmeans: &dyn Algorithm = &Erased::<KMeans>::NEW;
    let mut job = kmeans.start(&values, table.schema(), &cx).unwrap();
    let bytes = loop {
        let state = job.state().unwrap();
        let mut total = kmeans.attach(&values, table.schema(), &state).unwrap();
        total.finish(&cx).unwrap();
        for s in 0..3 {
            let mut shard = kmeans.attach(&values, table.schema(), &state).unwrap();
            for block in 0..4 {
                let at = s * 1000 + block * 250;
                let chunk = Chunk { first: block as u64 * 250, ..table.chunk(at..at + 250) };
                shard.accumulate(&chunk, &cx).unwrap();
            }
            shard.finish(&cx).unwrap();
            total.combine(&shard.partial().unwrap()).unwrap();
        }
        if let Some(bytes) = job.update(&total.partial().unwrap(), &cx).unwrap() {
            break bytes;
        }
    };
    let model: Model = wire::decode(&bytes).unwrap();
    let here = train(json!({"k": 8}), &table, 3).unwrap();
    assert!((model.inertia() / here.inertia() - 1.0).abs() < 1e-9, "{} {}", model.inertia(), here.inertia());
    assert_eq!(kmeans.load(&bytes, table.schema()).unwrap().outputs(), 1);
}

#[test]
fn refuses_fewer_distinct_rows_than_clusters() {
    for (x, distinct) in [(vec![1.0, 2.0, 1.0, 2.0, 2.0], 2), (vec![5.0], 1), (vec![0.0, -0.0, 0.0], 1)] {
        for init in [json!("k-means||"), json!("random"), json!([[7.0], [8.0], [9.0]])] {
            let error = train(json!({"k": 3, "init": init}), &table(x.clone(), 1), 0).unwrap_err();
            assert_eq!(error.kind, Kind::Data);
            let message = format!("the data has {distinct} distinct rows, expected at least n_clusters = 3");
            assert_eq!(error.message, message, "{init}");
        }
    }
    assert_eq!(train(json!({"k": 1}), &table(vec![], 1), 0).unwrap_err().kind, Kind::Data);
}

#[test]
fn as_many_distinct_rows_as_clusters_get_one_each() {
    let x: Vec<f64> = (0..3000).map(|i| f64::from(i % 40)).collect();
    let model = train(json!({"k": 40}), &table(x, 1), 0).unwrap();
    assert_eq!((model.inertia(), model.sizes()), (0.0, &[75.0; 40][..]));
}

#[test]
fn one_row_and_constant_columns_are_one_cluster() {
    let model = train(json!({"k": 1}), &table(vec![3.0, 4.0], 2), 0).unwrap();
    assert_eq!((model.centers(), model.inertia()), (vec![3.0, 4.0], 0.0));
    let x: Vec<f64> = (0..100).flat_map(|i| [f64::from(i % 2), 7.0]).collect();
    let model = train(json!({"k": 2}), &table(x, 2), 0).unwrap();
    assert_eq!((model.sizes(), model.inertia()), (&[50.0, 50.0][..], 0.0));
}

#[test]
fn cluster_without_rows_moves_to_the_farthest_row() {
    let x = vec![0.0, 1.0, 10.0, 11.0, 100.0];
    let model = train(json!({"k": 3, "init": [[0.5], [0.5], [-1000.0]]}), &table(x, 1), 0).unwrap();
    let mut centers = model.centers();
    centers.sort_by(f64::total_cmp);
    assert_eq!((centers, model.converged()), (vec![0.5, 10.5, 100.0], true));
}

#[test]
fn weight_of_two_counts_as_two_rows() {
    let x: Vec<f64> = clumps(90, 2, 3);
    let twice: Vec<f64> = x.chunks(2).enumerate().flat_map(|(i, row)| row.repeat(1 + i % 2)).collect();
    let weight = (0..90).map(|i| (1 + i % 2) as f64).collect();
    let init = json!([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0]]);
    let params = json!({"k": 3, "init": init});
    let weighted = train(params.clone(), &table(x, 2).with_weight(weight).unwrap(), 0).unwrap();
    let twice = train(params, &table(twice, 2), 0).unwrap();
    assert_eq!(weighted.sizes(), twice.sizes());
    assert!((weighted.inertia() / twice.inertia() - 1.0).abs() < 1e-12);
}

#[test]
fn far_from_the_origin_is_as_near() {
    let x = clumps(800, 2, 4);
    let init = json!([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0], [4.0, 4.0]]);
    let near = train(json!({"k": 4, "init": init}), &table(x.clone(), 2), 0).unwrap();
    let shift = f64::from(1 << 30);
    let init =
        json!([[shift, shift], [shift + 4.0, shift], [shift, shift + 4.0], [shift + 4.0, shift + 4.0]]);
    let far =
        train(json!({"k": 4, "init": init}), &table(x.iter().map(|v| v + shift).collect(), 2), 0).unwrap();
    assert_eq!(near.sizes(), far.sizes());
    assert!((near.inertia() / far.inertia() - 1.0).abs() < 1e-6);
}

#[test]
fn refuses_what_it_cannot_use() {
    let data = table(clumps(20, 2, 2), 2);
    for params in [
        json!({"init": "k-means++"}),
        json!({"init": 3}),
        json!({"k": 2, "init": [[1.0, 2.0]]}),
        json!({"k": 1, "init": [[1.0]]}),
        json!({"k": 1, "init": [["a", "b"]]}),
        json!({"k": 1, "n_init": 2, "init": [[1.0, 2.0]]}),
        json!({"k": 0}),
        json!({"k": 2, "n_clusters": 2}),
    ] {
        let error = train(params.clone(), &data, 0).unwrap_err();
        assert_eq!(error.kind, Kind::Parameter, "{params}: {error}");
    }
    let no_features = Table::new(Schema::numeric(0, Task::Clustering, 0, 3), vec![], vec![]).unwrap();
    assert_eq!(train(json!({}), &no_features, 0).unwrap_err().kind, Kind::Data);
    let huge = table(vec![1e200, -1e200, 0.0, 1.0], 1);
    assert_eq!(train(json!({"k": 2}), &huge, 0).unwrap_err().kind, Kind::Data);
}

#[test]
fn refuses_a_model_of_another_schema_and_damaged_bytes() {
    let kmeans: &dyn Algorithm = &Erased::<KMeans>::NEW;
    let data = table(clumps(50, 3, 2), 3);
    let bytes = wire::encode(&train(json!({"k": 3}), &data, 0).unwrap()).unwrap();
    assert!(kmeans.load(&bytes, data.schema()).is_ok());
    assert_eq!(kmeans.load(&bytes, table(vec![1.0; 2], 2).schema()).err().unwrap().kind, Kind::Corrupt);
    for at in 0..bytes.len() {
        for flip in [1, 0x80, 0xff] {
            let mut bytes = bytes.clone();
            bytes[at] ^= flip;
            // Either refused, or a model that scores without a panic.
            if let Ok(model) = kmeans.load(&bytes, data.schema()) {
                model.score(&data.chunk(0..50), &mut [0.0; 50]).unwrap();
                assert!(!model.describe(data.schema()).is_empty());
            }
        }
    }
}

#[derive(Default)]
struct Listens {
    warnings: Mutex<Vec<String>>,
    inertia: Mutex<Vec<f64>>,
}

impl Observer for Listens {
    fn metric(&self, round: usize, name: &str, value: f64) {
        let mut inertia = self.inertia.lock().unwrap();
        assert_eq!((name, round), ("inertia", inertia.len()));
        inertia.push(value);
    }
    fn warning(&self, message: &str) {
        self.warnings.lock().unwrap().push(message.to_string());
    }
}

#[test]
fn reports_falling_inertia_and_warns_when_cut_short() {
    let data = table(clumps(2000, 8, 37), 8);
    let listens = Listens::default();
    let model = train_with(json!({"k": 20}), &data, 0, &listens).unwrap();
    let inertia = listens.inertia.into_inner().unwrap();
    assert_eq!(inertia.len() as u64, model.iterations());
    assert!(inertia.windows(2).all(|w| w[1] <= w[0]) && model.inertia() <= inertia[inertia.len() - 1]);
    assert!(listens.warnings.into_inner().unwrap().is_empty());

    let listens = Listens::default();
    let model = train_with(json!({"k": 20, "max_iter": 2, "n_init": 2}), &data, 0, &listens).unwrap();
    assert!(!model.converged());
    assert_eq!(listens.warnings.into_inner().unwrap().len(), 1);
    assert_eq!(listens.inertia.into_inner().unwrap().len(), 4);
}

#[test]
fn stops_within_a_tenth_of_a_second() {
    let data = table(clumps(200_000, 10, 1000), 10);
    let stop = AtomicBool::new(false);
    let cx = Cx { seed: 0, stop: &stop, observer: &Silent };
    let values = Values::parse("kmeans", KMeans::INFO.params, r#"{"k": 500, "tol": 0}"#).unwrap();
    let params = KMeans::params(&values, data.schema()).unwrap();
    std::thread::scope(|scope| {
        let work = scope.spawn(|| fit::<KMeans>(&params, data.schema(), &data, &cx).err().unwrap());
        std::thread::sleep(std::time::Duration::from_millis(200));
        let asked = Instant::now();
        stop.store(true, Ordering::Relaxed);
        assert_eq!(work.join().unwrap().kind, Kind::Cancelled);
        let took = asked.elapsed().as_millis();
        assert!(took < 100, "{took} ms");
    });
}

#[test]
fn describes_clusters() {
    let data = table(vec![0.0, 1.0, 9.0], 1);
    let model = train(json!({"k": 2}), &data, 0).unwrap();
    let rows = model.describe(data.schema());
    let value = |name: &str| rows.iter().find(|r| r.0 == name).unwrap().1.clone();
    assert_eq!(
        (value("clusters"), value("inertia"), value("converged")),
        ("2".into(), "0.500000".into(), "true".into())
    );
    let sizes = [value("cluster 0: size"), value("cluster 1: size")];
    assert!(sizes.contains(&"2".to_string()) && sizes.contains(&"1".to_string()));
}
