//! Trees against scikit-learn's recorded ones, question by question. `tests/reference/forest.py` made the recordings;
//! `tests/forest.rs` has the tests of quality.

use super::*;
use crate::learner::{Model, Silent};
use crate::run::{self, Table};
use serde_json::Value;
use std::sync::atomic::AtomicBool;

pub fn params(json: &str, classes: usize) -> Params {
    let task = if classes > 0 { Task::Classification } else { Task::Regression };
    let schema = Schema::numeric(2, task, classes, 10);
    Params::read::<DecisionTree>(&Values::parse("decision_tree", params::TREE, json).unwrap(), &schema)
        .unwrap()
}

fn reference() -> Value {
    serde_json::from_str(include_str!("../../../tests/reference/forest.json")).unwrap()
}

/// A small set of scikit-learn's, as single precision, which its trees take.
fn data(name: &str, weighted: bool) -> Table {
    let text = match name {
        "iris" => include_str!("../../../tests/reference/data/iris.csv"),
        "wine" => include_str!("../../../tests/reference/data/wine.csv"),
        _ => include_str!("../../../tests/reference/data/diabetes.csv"),
    };
    let rows: Vec<Vec<f64>> =
        text.lines().map(|l| l.split(',').map(|v| v.parse().unwrap()).collect()).collect();
    let width = rows[0].len() - 1;
    let y: Vec<f64> = rows.iter().map(|r| r[width]).collect();
    let x = rows.iter().flat_map(|r| r[..width].iter().map(|v| f64::from(*v as f32))).collect();
    let (task, classes) = if name == "diabetes" { (Task::Regression, 0) } else { (Task::Classification, 3) };
    let table = Table::new(Schema::numeric(width, task, classes, y.len()), x, y).unwrap();
    if !weighted {
        return table;
    }
    let n = table.schema().rows;
    table.with_weight((0..n).map(|i| 1.0 + (i % 3) as f64).collect()).unwrap()
}

fn grow<G: Grove>(table: &Table, json: &str) -> Forest {
    let stop = AtomicBool::new(false);
    let cx = Cx { seed: 1, stop: &stop, observer: &Silent };
    let values = Values::parse(G::INFO.name, G::INFO.params, json).unwrap();
    let params = Params::read::<G>(&values, table.schema()).unwrap();
    run::fit::<Grower<G>>(&params, table.schema(), table, &cx).unwrap()
}

fn number(v: &Value) -> f64 {
    v.as_f64().unwrap()
}

/// Compares the branches at `at` and at the front of `nodes`, which are in preorder.
fn compare(forest: &Forest, at: usize, nodes: &mut std::slice::Iter<Value>, what: &str) {
    let (node, theirs) = (&forest.trees.nodes[at], nodes.next().unwrap());
    let near = |a: f64, b: f64| (a - b).abs() <= 1e-6 * (1.0 + b.abs());
    assert_eq!(forest.trees.rows[at], theirs["rows"].as_u64().unwrap(), "{what}: {theirs}");
    if node.child == 0 {
        assert_eq!(theirs["feature"].as_i64(), Some(-2), "{what}: a leaf, not {theirs}");
        let value: Vec<f64> = theirs["value"].as_array().unwrap().iter().map(number).collect();
        let mut ours = vec![0.0; forest.outputs()];
        forest.add(at as u32, &mut ours);
        assert!(ours.iter().zip(&value).all(|(a, b)| near(*a, *b)), "{what}: {ours:?}, not {value:?}");
        return;
    }
    assert_eq!(
        i64::from(node.feature),
        theirs["feature"].as_i64().unwrap(),
        "{what}: {node:?}, not {theirs}"
    );
    assert!(near(node.value, number(&theirs["threshold"])), "{what}: {node:?}, not {theirs}");
    let gain = f64::from(forest.trees.gains[at]);
    assert!(near(gain, number(&theirs["decrease"])), "{what}: decrease {gain}, not {theirs}");
    compare(forest, node.child as usize, nodes, what);
    compare(forest, node.child as usize + 1, nodes, what);
}

#[test]
fn grows_the_trees_of_scikit_learn() {
    for case in reference()["trees"].as_array().unwrap() {
        let (name, weighted) = (case["data"].as_str().unwrap(), case["weighted"].as_bool().unwrap());
        let table = data(name, weighted);
        let forest = grow::<DecisionTree>(&table, &case["params"].to_string());
        let what = format!("{name}, weighted {weighted}, {}", case["params"]);
        let mut nodes = case["nodes"].as_array().unwrap().iter();
        compare(&forest, 0, &mut nodes, &what);
        assert_eq!(nodes.len(), 0, "{what}");
        let importance = forest.importance(table.schema());
        for (ours, theirs) in importance.iter().zip(case["importance"].as_array().unwrap()) {
            assert!((ours - number(theirs)).abs() < 1e-6, "{what}: {importance:?}");
        }
    }
}

/// Grown from sums, and grown from rows: the same tree.
#[test]
fn branches_from_rows_are_those_from_sums() {
    let n = 30_000usize;
    let draw = |i: u64| draw::unit(mix(3, i));
    let mut schema = Schema::numeric(4, Task::Classification, 3, n);
    schema.features[3].kind = crate::schema::FeatureKind::Category { levels: 9 };
    let mut x = vec![];
    let mut y = vec![];
    for i in 0..n as u64 {
        let few = |i, n: f64| (draw(i) * n).floor();
        let row = [few(4 * i, 90.0) / 90.0, few(4 * i + 1, 7.0), few(4 * i + 2, 50.0), few(4 * i + 3, 9.0)];
        y.push(((row[0] * 2.0 + (row[3] * 2.0).sin() + row[1] * 0.1).floor()).clamp(0.0, 2.0));
        x.extend(row);
    }
    for classes in [2, 3, 0] {
        let task = if classes > 0 { Task::Classification } else { Task::Regression };
        let schema = Schema { task, classes, ..schema.clone() };
        let target: Vec<f64> =
            y.iter().map(|y| y.min(classes as f64 - 1.0).max(0.0) + f64::from(classes == 0) * y).collect();
        // Fewer rows than are worth sums, each many times: a tree of the same shares.
        let rows: Vec<usize> = (0..n).filter(|i| i % 10 == 0).collect();
        let few: Vec<f64> = rows.iter().flat_map(|i| x[i * 4..i * 4 + 4].to_vec()).collect();
        let y: Vec<f64> = rows.iter().map(|i| target[*i]).collect();
        let many = Schema { rows: rows.len() * 12, ..schema.clone() };
        let few = Table::new(Schema { rows: rows.len(), ..schema.clone() }, few.clone(), y.clone()).unwrap();
        let repeated = Table::new(many, few.chunk(0..rows.len()).x.repeat(12), y.repeat(12)).unwrap();
        let small = grow::<DecisionTree>(&few, r#"{"max_depth": 6}"#);
        let large = grow::<DecisionTree>(&repeated, r#"{"max_depth": 6}"#);
        assert!(rows.len() as u64 <= SMALL && repeated.schema().rows as u64 > NEAR);
        assert_eq!(small.trees.nodes, large.trees.nodes, "{classes} classes");
        assert!(small.trees.nodes.len() > 20);
    }
}

#[test]
fn pruning_and_best_first_keep_whole_subtrees() {
    let table = data("wine", false);
    let leaves = |json: &str| {
        let forest = grow::<DecisionTree>(&table, json);
        forest.trees.nodes.iter().filter(|n| n.child == 0).count()
    };
    assert_eq!(leaves(r#"{"max_leaf_nodes": 4}"#), 4);
    assert_eq!(leaves(r#"{"ccp_alpha": 1.0}"#), 1);
    assert!(leaves(r#"{"ccp_alpha": 0.01}"#) < leaves("{}"));
}
