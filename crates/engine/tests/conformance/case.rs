//! Data for each algorithm, and the ways to train on it: on threads, and through bytes alone.

use engine::algorithms::ALGORITHMS;
use engine::error::{Error, Kind, Result};
use engine::learner::{Algorithm, Cx, Input, Shard, Sharding, Silent};
use engine::params::Values;
use engine::run::{Rows, Table, block_rows};
use engine::schema::{Buffer, FeatureKind, ImageShape, Schema, Task};
use std::ops::Range;
use std::sync::atomic::AtomicBool;

/// Parameters that bound the work of a training: lowered where an algorithm declares them.
const SHORT: &[(&str, i64)] = &[
    ("trees", 12),
    ("n_estimators", 12),
    ("num_iterations", 12),
    ("epochs", 2),
    ("early_stopping_rounds", 0),
];

/// Algorithms that are tested once more, with these parameters: ones by which they work otherwise.
const OTHERWISE: &[(&str, &str)] = &[("kmeans", r#"{"batch_size": 64}"#)];

pub static NEVER: AtomicBool = AtomicBool::new(false);

/// An algorithm and rows that it can learn from.
pub struct Case {
    pub algorithm: &'static dyn Algorithm,
    pub params: Values,
    pub table: Table,
}

impl std::fmt::Display for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let Schema { task, classes, rows, .. } = self.table.schema();
        write!(f, "{} ({}, {classes} classes, {rows} rows)", self.algorithm.info().name, task.name())
    }
}

pub fn cx(stop: &AtomicBool) -> Cx<'_> {
    Cx { seed: 7, stop, observer: &Silent }
}

/// Numbers in -0.5 .. 0.5 that look random and are the same everywhere.
fn noise(i: usize) -> f64 {
    let x = (i as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let x = (x ^ (x >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    ((x ^ (x >> 32)) >> 11) as f64 / (1u64 << 53) as f64 - 0.5
}

/// A target that the features tell something of, but not all.
fn target(task: Task, classes: usize, signal: f64, i: usize) -> f64 {
    let value = signal + 0.5 * noise(i + 5_000_011);
    match task {
        Task::Classification => ((value + 0.5) * classes as f64).floor().clamp(0.0, classes as f64 - 1.0),
        Task::Ranking => ((value + 0.5) * 4.0).floor().clamp(0.0, 3.0),
        _ => value,
    }
}

/// The values of a row's target: one, or a 0 or 1 a label.
fn targets(task: Task, classes: usize, signal: f64, i: usize) -> Vec<f64> {
    match task {
        Task::Multilabel => (0..classes)
            .map(|label| signal * [1.0, -1.0][label % 2] + 0.5 * noise(i + 5_000_011 + 31 * label))
            .map(|value| f64::from(u8::from(value > 0.1)))
            .collect(),
        _ => vec![target(task, classes, signal, i)],
    }
}

/// A target that the algorithm takes: some know counts or amounts only.
fn fitting(algorithm: &str, y: f64) -> f64 {
    match algorithm {
        "poisson" | "negative_binomial" => (4.0 * y.exp()).floor(),
        "gamma" | "tweedie" => y.exp(),
        _ => y,
    }
}

/// Rows of the kind that the algorithm asks for: numbers; numbers, missing values and a category; or images.
fn rows(input: Input, task: Task, classes: usize, n: usize) -> Table {
    let mut schema = Schema::numeric(5, task, classes, n);
    let (mut x, mut images, mut y) = (vec![], vec![], vec![]);
    match input {
        Input::Image => {
            schema.features.clear();
            schema.image = Some(ImageShape { height: 8, width: 8, channels: 1 });
            for i in 0..n {
                let level = noise(i);
                images.extend((0..64).map(|p| (128.0 + 90.0 * level + 70.0 * noise(i * 64 + p)) as u8));
                y.extend(targets(task, classes, level, i));
            }
        }
        Input::Matrix { .. } | Input::Native => {
            for i in 0..n {
                let mut row: Vec<f64> = (0..5).map(|j| noise(i * 5 + j)).collect();
                y.extend(targets(task, classes, 0.6 * row[0] - 0.4 * row[1] + row[2] * row[3], i));
                if input == Input::Native {
                    row[4] = ((row[4] + 0.5) * 4.0).floor();
                    if i % 11 == 3 {
                        row[2] = f64::NAN;
                    }
                }
                x.extend(row);
            }
            if input == Input::Native {
                schema.features[4].kind = FeatureKind::Category { levels: 4 };
            }
        }
    }
    if !task.supervised() {
        y.clear();
    }
    let group = if task == Task::Ranking { (0..n).map(|i| (i / QUERY) as u64).collect() } else { vec![] };
    Table::new(schema, x, y).unwrap().with_images(images).unwrap().with_group(group).unwrap()
}

/// Rows of a query, where rows are ranked: shards are cut between queries.
pub const QUERY: usize = 10;

/// The same rows with their targets changed.
fn with_targets(table: &Table, change: impl Fn(f64) -> f64) -> Table {
    let mut buffer = Buffer::default();
    table.read(0..table.len(), &mut buffer).unwrap();
    buffer.y.iter_mut().for_each(|y| *y = change(*y));
    Table::new(table.schema().clone(), buffer.x, buffer.y).unwrap().with_images(buffer.images).unwrap()
}

/// The declared parameters, with those of `SHORT` lowered.
fn short_params(algorithm: &dyn Algorithm) -> Values {
    let info = algorithm.info();
    let declared = |name: &str| info.params.iter().any(|p| p.name == name);
    let chosen: Vec<String> =
        SHORT.iter().filter(|(n, _)| declared(n)).map(|(n, v)| format!("\"{n}\": {v}")).collect();
    Values::parse(info.name, info.params, &format!("{{{}}}", chosen.join(","))).unwrap()
}

/// One case for each algorithm, task and number of classes; an algorithm may refuse three classes.
pub fn cases(n: usize) -> Vec<Case> {
    let mut cases = vec![];
    for algorithm in ALGORITHMS {
        let info = algorithm.info();
        // Images are slow to learn from, and their shards are tested by fewer as well as by more.
        let n = if info.input == Input::Image { n.min(600) } else { n };
        for task in info.tasks {
            let classes: &[usize] = match task {
                Task::Classification => &[2, 3],
                Task::Multilabel => &[1, 4],
                _ => &[0],
            };
            for classes in classes {
                let params = short_params(*algorithm);
                let mut table = rows(info.input, *task, *classes, n);
                if *task == Task::Regression {
                    table = with_targets(&table, |y| fitting(info.name, y));
                }
                match algorithm.start(&params, table.schema(), &cx(&NEVER)) {
                    Err(e) if *classes == 3 && e.kind == Kind::Unsupported => {}
                    Err(e) => panic!("{}: {e}", info.name),
                    Ok(_) => {
                        for (_, json) in OTHERWISE.iter().filter(|o| o.0 == info.name) {
                            let params = Values::parse(info.name, info.params, json).unwrap();
                            cases.push(Case { algorithm: *algorithm, params, table: table.clone() });
                        }
                        cases.push(Case { algorithm: *algorithm, params, table });
                    }
                }
            }
        }
    }
    assert!(cases.len() >= ALGORITHMS.len());
    cases
}

impl Case {
    pub fn schema(&self) -> &Schema {
        self.table.schema()
    }

    pub fn fit(&self) -> Result<Vec<u8>> {
        self.fit_rows(&self.table, &NEVER)
    }

    pub fn fit_rows(&self, rows: &dyn Rows, stop: &AtomicBool) -> Result<Vec<u8>> {
        self.algorithm.fit(&self.params, self.schema(), rows, &cx(stop))
    }

    pub fn fit_on(&self, threads: usize) -> Vec<u8> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| self.fit()).unwrap_or_else(|e| panic!("{self}: {e}"))
    }

    /// The model, and what its training knows of the rows.
    pub fn fit_scored(&self, threads: usize) -> (Vec<u8>, Option<Vec<f64>>) {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let fit = || self.algorithm.fit_from(&self.params, self.schema(), &self.table, None, &cx(&NEVER));
        pool.install(fit).unwrap_or_else(|e| panic!("{self}: {e}"))
    }

    /// The same data with some rows or values replaced.
    pub fn with(&self, table: Table) -> Case {
        Case { algorithm: self.algorithm, params: self.params.clone(), table }
    }

    /// Copies the rows, lets `change` work on features and targets, and makes a table of them again.
    pub fn changed(&self, rows: Range<usize>, change: impl Fn(&mut Vec<f64>, &mut Vec<f64>)) -> Case {
        let mut schema = self.schema().clone();
        schema.rows = rows.len();
        let mut buffer = Buffer::default();
        self.table.read(rows, &mut buffer).unwrap();
        change(&mut buffer.x, &mut buffer.y);
        let table = Table::new(schema, buffer.x, buffer.y).unwrap().with_images(buffer.images).unwrap();
        self.with(table.with_group(buffer.group).unwrap())
    }

    /// A fresh shard of the round, which has seen the rows in blocks: nothing is kept from the round before.
    pub fn shard(&self, state: &[u8], rows: Range<usize>) -> Result<Box<dyn Shard>> {
        let mut shard = self.algorithm.attach(&self.params, self.schema(), state)?;
        let block = block_rows(self.schema());
        for start in rows.clone().step_by(block) {
            shard.accumulate(&self.table.chunk(start..(start + block).min(rows.end)), &cx(&NEVER))?;
        }
        shard.finish(&cx(&NEVER))?;
        Ok(shard)
    }

    /// Trains through bytes alone; `merge` makes one partial of the shards'.
    pub fn fit_by_shards(
        &self,
        shards: &[Range<usize>],
        merge: impl Fn(&[u8], Vec<Box<dyn Shard>>) -> Result<Vec<u8>>,
    ) -> Result<Vec<u8>> {
        let mut job = self.algorithm.start(&self.params, self.schema(), &cx(&NEVER))?;
        for _ in 0..10_000 {
            let state = job.state()?;
            let done: Result<Vec<_>> = shards.iter().map(|rows| self.shard(&state, rows.clone())).collect();
            if let Some(model) = job.update(&merge(&state, done?)?, &cx(&NEVER))? {
                return Ok(model);
            }
        }
        Err(Error::internal("10,000 rounds without a model"))
    }

    /// Merges in order, into a shard without rows.
    pub fn in_order(&self, state: &[u8], shards: Vec<Box<dyn Shard>>) -> Result<Vec<u8>> {
        let mut total = self.shard(state, 0..0)?;
        shards.iter().try_for_each(|s| total.combine(&s.partial()?))?;
        total.partial()
    }

    pub fn fit_in_parts(&self, parts: usize) -> Vec<u8> {
        let n = self.table.len();
        let cut = |i: usize| if i == parts { n } else { n * i / parts / QUERY * QUERY };
        let shards: Vec<Range<usize>> = (0..parts).map(|i| cut(i)..cut(i + 1)).collect();
        let fitted = self.fit_by_shards(&shards, |state, shards| self.in_order(state, shards));
        fitted.unwrap_or_else(|e| panic!("{self} in {parts} shards: {e}"))
    }

    pub fn scores(&self, model: &[u8]) -> Vec<f64> {
        let model = self.algorithm.load(model, self.schema()).unwrap_or_else(|e| panic!("{self}: {e}"));
        let n = self.table.len().min(500);
        let mut out = vec![f64::NAN; n * model.outputs()];
        model.score(&self.table.chunk(0..n), &mut out).unwrap_or_else(|e| panic!("{self}: {e}"));
        out
    }

    /// Bits for bits, or for sums of floating-point numbers that were cut elsewhere, to 1e-8 in the scores.
    pub fn assert_same(&self, a: &[u8], b: &[u8], exact: bool, what: &str) {
        if exact {
            assert!(a == b, "{self}: {what}: the models' bytes differ");
            return;
        }
        for (i, (x, y)) in self.scores(a).iter().zip(self.scores(b)).enumerate() {
            assert!((x - y).abs() <= 1e-8 * (1.0 + y.abs()), "{self}: {what}: score {i} is {x}, not {y}");
        }
    }

    pub fn exact(&self) -> bool {
        self.algorithm.info().sharding == Sharding::Exact
    }
}
