//! What every algorithm of the list must do, whatever it learns: one test a promise of `engine::learner`, run over
//! each algorithm and each kind of data that it takes. A new algorithm is tested here by standing in the list.

#![allow(clippy::unwrap_used, clippy::panic)] // Helpers of tests count as production code to clippy.

mod case;

use case::{NEVER, cases, cx};
use engine::algorithms::ALGORITHMS;
use engine::error::{Kind, Result};
use engine::learner::{Input, Sharding};
use engine::params::Values;
use engine::run::{Rows, Table, block_rows};
use engine::schema::{Buffer, Schema, Task};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

#[test]
fn names_and_summaries_are_told() {
    for (i, algorithm) in ALGORITHMS.iter().enumerate() {
        let info = algorithm.info();
        assert!(!info.tasks.is_empty() && info.version > 0 && info.summary.ends_with('.'), "{}", info.name);
        assert!(ALGORITHMS[..i].iter().all(|a| a.info().name != info.name), "{} stands twice", info.name);
        for (j, p) in info.params.iter().enumerate() {
            assert!(p.meaning.ends_with('.'), "{}.{}", info.name, p.name);
            assert!(
                info.params[..j].iter().all(|q| q.name != p.name),
                "{}.{} stands twice",
                info.name,
                p.name
            );
        }
    }
}

#[test]
fn accepts_each_default_and_refuses_unknown_parameters() {
    for case in cases(200) {
        let info = case.algorithm.info();
        for p in info.params {
            for name in p.aliases.iter().chain([&p.name]) {
                let json = format!("{{\"{name}\": {}}}", p.default_json());
                let values = Values::parse(info.name, info.params, &json)
                    .unwrap_or_else(|e| panic!("{case}: default of {name}: {e}"));
                let started = case.algorithm.start(&values, case.schema(), &cx(&NEVER));
                assert!(started.is_ok(), "{case}: default of {name}: {}", started.err().unwrap());
                assert!(case.algorithm.memory(&values, case.schema(), 2).is_ok(), "{case}: {name}");
            }
        }
        let error = Values::parse(info.name, info.params, r#"{"no_such_parameter": 1}"#).unwrap_err();
        assert_eq!(error.kind, Kind::Parameter);
        assert!(error.message.contains(info.name) && error.message.contains("no_such_parameter"));
    }
}

#[test]
fn gives_the_same_bytes_on_1_2_and_4_threads() {
    // Three blocks or more of five features.
    for case in cases(20_000) {
        let one = case.fit_on(1);
        for threads in [2, 4] {
            case.assert_same(&case.fit_on(threads), &one, true, &format!("{threads} threads"));
        }
    }
}

#[test]
fn repeats_with_the_same_seed() {
    for case in cases(3_000) {
        let (a, b) = (case.fit().unwrap(), case.fit().unwrap());
        case.assert_same(&a, &b, true, "the second training");
    }
}

#[test]
fn what_a_training_knows_of_its_rows_is_what_the_model_answers() {
    let mut known = 0;
    for case in cases(3_000) {
        let (model, outputs) = case.fit_scored(3);
        if let Some(outputs) = outputs {
            known += 1;
            let answers = case.scores(&model);
            assert!(!answers.is_empty() && outputs.len() >= answers.len(), "{case}");
            let other = outputs.iter().zip(&answers).position(|(a, b)| a.to_bits() != b.to_bits());
            assert_eq!(other, None, "{case}");
        }
    }
    assert!(known > 0, "no learner knows its rows");
}

#[test]
fn losing_what_shards_kept_costs_no_bit() {
    for case in cases(20_000) {
        let (n, block) = (case.table.len(), block_rows(case.schema()));
        let shards: Vec<Range<usize>> = match case.algorithm.info().sharding {
            Sharding::Blocks => (0..n).step_by(block).map(|b| b..(b + block).min(n)).collect(),
            Sharding::Exact | Sharding::Whole => std::iter::once(0..n).collect(),
        };
        let model = case.fit_by_shards(&shards, |state, shards| case.in_order(state, shards));
        let model = model.unwrap_or_else(|e| panic!("{case}: {e}"));
        case.assert_same(&model, &case.fit().unwrap(), true, "shards elsewhere");
    }
}

#[test]
fn one_two_and_seven_shards_agree() {
    for case in cases(2_000) {
        let one = case.fit_in_parts(1);
        case.assert_same(&one, &case.fit().unwrap(), true, "one shard against threads");
        if case.algorithm.info().sharding == Sharding::Whole {
            continue;
        }
        for parts in [2, 7] {
            let model = case.fit_in_parts(parts);
            case.assert_same(&model, &one, case.exact(), &format!("{parts} shards"));
        }
    }
}

#[test]
fn empty_shards_change_nothing() {
    for case in cases(1_000) {
        let n = case.table.len();
        let merge = |state: &[u8], shards| case.in_order(state, shards);
        let plain = case.fit_by_shards(std::slice::from_ref(&(0..n)), merge).unwrap();
        let among = case.fit_by_shards(&[0..0, 0..n, n..n, n..n], merge).unwrap();
        case.assert_same(&among, &plain, case.exact(), "empty shards");
    }
}

#[test]
fn merging_is_associative() {
    for case in cases(1_500) {
        if case.algorithm.info().sharding == Sharding::Whole {
            continue;
        }
        let n = case.table.len();
        let shards = [0..n / 3, n / 3..n / 2, n / 2..n];
        // (a + b) + c
        let left = case.fit_by_shards(&shards, |_, mut s| {
            let (c, b) = (s[2].partial()?, s[1].partial()?);
            s[0].combine(&b)?;
            s[0].combine(&c)?;
            s[0].partial()
        });
        // a + (b + c)
        let right = case.fit_by_shards(&shards, |_, mut s| {
            let c = s[2].partial()?;
            s[1].combine(&c)?;
            let bc = s[1].partial()?;
            s[0].combine(&bc)?;
            s[0].partial()
        });
        case.assert_same(&left.unwrap(), &right.unwrap(), case.exact(), "merge order");
    }
}

#[test]
fn unit_weights_change_nothing() {
    for case in cases(1_000) {
        let weighted = case.with(case.table.clone().with_weight(vec![1.0; case.table.len()]).unwrap());
        case.assert_same(&weighted.fit().unwrap(), &case.fit().unwrap(), false, "unit weights");
    }
}

#[test]
fn loaded_models_score_the_same_alone_and_in_a_batch() {
    for case in cases(1_000) {
        let bytes = case.fit().unwrap();
        let model = case.algorithm.load(&bytes, case.schema()).unwrap();
        let all = case.scores(&bytes);
        let k = model.outputs();
        for i in 0..all.len() / k {
            let mut one = vec![f64::NAN; k];
            model.score(&case.table.chunk(i..i + 1), &mut one).unwrap();
            assert_eq!(one, all[i * k..(i + 1) * k], "{case}: row {i}");
            assert!(one.iter().all(|v| v.is_finite()), "{case}: {one:?}");
            if case.schema().task == Task::Classification {
                assert_eq!(k, case.schema().classes);
                let sum: f64 = one.iter().sum();
                assert!(
                    (sum - 1.0).abs() < 1e-9 && one.iter().all(|p| (0.0..=1.0).contains(p)),
                    "{case}: {one:?}"
                );
            } else if case.schema().task == Task::Multilabel {
                assert_eq!(k, case.schema().classes);
                assert!(one.iter().all(|p| (0.0..=1.0).contains(p)), "{case}: {one:?}");
            } else if case.schema().task != Task::Embedding {
                assert_eq!(k, 1);
            }
        }
        assert!(!model.describe(case.schema()).is_empty(), "{case}");
        let importance = model.importance(case.schema());
        assert!(importance.is_empty() || importance.len() == case.schema().width(), "{case}");
        assert!(importance.iter().all(|v| v.is_finite() && *v >= 0.0), "{case}: {importance:?}");
    }
}

#[test]
fn damaged_models_never_panic() {
    for case in cases(150) {
        let bytes = case.fit().unwrap();
        let use_it = |damaged: &[u8]| {
            if let Ok(model) = case.algorithm.load(damaged, case.schema()) {
                let n = case.table.len().min(20);
                let mut out = vec![0.0; n * model.outputs()];
                // Scores may be wrong, or refused: the artifact's checksum is what tells.
                let _ = model.score(&case.table.chunk(0..n), &mut out);
                let _ = (model.describe(case.schema()), model.importance(case.schema()));
            }
        };
        let every = bytes.len().div_ceil(2_000);
        for at in (0..bytes.len()).step_by(every) {
            for mask in [0x01, 0x80, 0xFF] {
                let mut damaged = bytes.clone();
                damaged[at] ^= mask;
                let done = catch_unwind(AssertUnwindSafe(|| use_it(&damaged)));
                assert!(done.is_ok(), "{case}: byte {at} of {} flipped by {mask:#x}", bytes.len());
            }
            assert!(catch_unwind(AssertUnwindSafe(|| use_it(&bytes[..at]))).is_ok(), "{case}: cut at {at}");
        }
        assert!(case.algorithm.load(&bytes[..bytes.len() / 2], case.schema()).is_err(), "{case}");
    }
}

#[test]
fn models_of_another_shape_are_refused() {
    for case in cases(200) {
        let bytes = case.fit().unwrap();
        let mut wider = case.schema().clone();
        wider.features.extend(Schema::numeric(3, wider.task, wider.classes, 0).features);
        let mut other_classes = case.schema().clone();
        other_classes.classes += 2;
        if case.algorithm.info().input != Input::Image {
            assert_eq!(
                case.algorithm.load(&bytes, &wider).err().map(|e| e.kind),
                Some(Kind::Corrupt),
                "{case}"
            );
        }
        if matches!(case.schema().task, Task::Classification | Task::Multilabel) {
            let error = case.algorithm.load(&bytes, &other_classes).err();
            assert_eq!(error.map(|e| e.kind), Some(Kind::Corrupt), "{case}");
        }
    }
}

/// Rows that set the stop flag at one read, and count the reads after it.
struct StopsAt<'a> {
    table: &'a Table,
    at: usize,
    reads: AtomicUsize,
    stop: AtomicBool,
}

impl Rows for StopsAt<'_> {
    fn len(&self) -> usize {
        self.table.len()
    }
    fn read(&self, range: Range<usize>, into: &mut Buffer) -> Result<()> {
        if self.reads.fetch_add(1, Ordering::SeqCst) + 1 == self.at {
            self.stop.store(true, Ordering::SeqCst);
        }
        self.table.read(range, into)
    }
}

#[test]
fn stops_when_asked() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    for case in cases(20_000) {
        let watched = |at| StopsAt {
            table: &case.table,
            at,
            reads: AtomicUsize::new(0),
            stop: AtomicBool::new(at == 0),
        };
        let start = Instant::now();
        pool.install(|| case.fit()).unwrap();
        let whole = start.elapsed();
        // Before the start, and at the first and second block.
        for at in 0..3 {
            let rows = watched(at);
            if at > case.table.len().div_ceil(block_rows(case.schema())) {
                continue;
            }
            let error = pool.install(|| case.fit_rows(&rows, &rows.stop)).err();
            assert_eq!(error.map(|e| e.kind), Some(Kind::Cancelled), "{case}: at read {at}");
            let more = rows.reads.load(Ordering::SeqCst) - at;
            assert!(more <= 2, "{case}: {more} reads after the stop");
        }
        // And in the middle: the promise is 100 ms; a busy machine gets some slack.
        if whole > Duration::from_millis(60) {
            let stopped = |after: Duration| {
                let stop = AtomicBool::new(false);
                std::thread::scope(|scope| {
                    let asked = scope.spawn(|| {
                        std::thread::sleep(after);
                        stop.store(true, Ordering::SeqCst);
                        Instant::now()
                    });
                    let outcome = pool.install(|| case.fit_rows(&case.table, &stop));
                    let ended = Instant::now();
                    let late = ended.saturating_duration_since(asked.join().unwrap());
                    outcome.err().map(|e| (e.kind, late))
                })
            };
            // The first training may have been the slow one: then this one is done before it is asked.
            let found = [3, 9, 27, 81].into_iter().find_map(|part| stopped(whole / part));
            let (kind, late) = found.unwrap_or_else(|| panic!("{case}: not stopped midway"));
            println!("{case}: stopped after {late:?} of {whole:?}");
            assert_eq!(kind, Kind::Cancelled, "{case}: midway");
            assert!(late < Duration::from_millis(400), "{case}: stopped after {late:?}");
        }
    }
}

#[test]
fn native_learners_take_missing_values() {
    for case in cases(800).iter().filter(|c| c.algorithm.info().input == Input::Native) {
        let d = case.schema().width();
        let all_missing =
            case.changed(0..800, |x, _| x.iter_mut().skip(2).step_by(d).for_each(|v| *v = f64::NAN));
        let scores = all_missing.scores(&all_missing.fit().unwrap());
        assert!(scores.iter().all(|v| v.is_finite()), "{case}");
        // Missing at scoring where training had none.
        let complete =
            case.changed(0..800, |x, _| x.iter_mut().filter(|v| v.is_nan()).for_each(|v| *v = 0.1));
        assert!(all_missing.scores(&complete.fit().unwrap()).iter().all(|v| v.is_finite()), "{case}");
    }
}

#[test]
fn constant_columns_do_no_harm() {
    for case in cases(600) {
        let d = case.schema().width();
        if d == 0 {
            continue;
        }
        for value in [0.0, 2.0] {
            let constant = case.changed(0..600, |x, _| {
                x.iter_mut().skip(1).step_by(d).for_each(|v| *v = value);
            });
            let model = constant.fit().unwrap_or_else(|e| panic!("{case}: {e}"));
            assert!(constant.scores(&model).iter().all(|v| v.is_finite()), "{case}");
            let all = case.changed(0..600, |x, _| x.fill(value));
            if let Err(e) = all.fit() {
                assert_eq!(e.kind, Kind::Data, "{case}: all constant: {e}");
            }
        }
    }
}

#[test]
fn one_row_and_no_rows_are_learnt_or_refused() {
    for case in cases(100) {
        for n in [0, 1, 2] {
            let few = case.changed(0..n, |_, _| {});
            match few.fit() {
                Ok(model) => {
                    assert!(n > 0, "{case}: learnt from no rows");
                    assert!(few.scores(&model).iter().all(|v| v.is_finite()), "{case}: {n} rows");
                }
                Err(e) => assert_eq!(e.kind, Kind::Data, "{case}: {n} rows: {e}"),
            }
        }
    }
}

#[test]
fn one_class_is_a_data_error() {
    for case in cases(300).iter().filter(|c| c.schema().task == Task::Classification) {
        for class in [0.0, 1.0] {
            let error = case.changed(0..300, |_, y| y.fill(class)).fit().err();
            assert_eq!(error.map(|e| e.kind), Some(Kind::Data), "{case}: only class {class}");
        }
    }
}
