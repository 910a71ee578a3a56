//! Exact Shapley values of trees: what each feature of a row added to the trees' sum.
//!
//! The path-dependent TreeSHAP of Lundberg, Erion & Lee 2018 (algorithm 2), as LightGBM's `pred_contrib`: a feature
//! that is not known sends a row both ways, in proportion to the training rows that went there. A tree takes
//! `leaves * depth^2` steps. Walks keep their own stack, so that a deep tree cannot exhaust the server's.

use super::nodes::Trees;

/// A feature on the way to a node: the share of rows that come by when it is unknown and when it is known.
#[derive(Debug, Clone, Copy)]
struct Step {
    feature: u32,
    zero: f64,
    one: f64,
    /// The weight of all subsets with as many known features as this step's place.
    weight: f64,
}

/// A node still to be visited, and the way there.
struct Visit {
    node: u32,
    /// Where the parent's path begins, and how long it is.
    path: (usize, usize),
    feature: u32,
    zero: f64,
    one: f64,
}

/// The place of a root's own step.
const NOTHING: u32 = u32::MAX;

/// Scratch for one caller, used again and again.
#[derive(Default)]
pub struct Shap {
    paths: Vec<Step>,
    stack: Vec<Visit>,
    expected: Vec<f64>,
}

impl Shap {
    /// Adds one tree's part to `phi`: a value a feature, then the expected value. `value` is a leaf's value by its
    /// node. After all trees, `phi` sums to the row's score.
    pub fn add(
        &mut self,
        trees: &Trees,
        tree: usize,
        row: &[f64],
        value: &dyn Fn(u32) -> f64,
        phi: &mut [f64],
    ) {
        let root = trees.roots[tree];
        let end = trees.roots.get(tree + 1).map_or(trees.nodes.len(), |r| *r as usize);
        let Some((base, phi)) = phi.split_last_mut() else { return };
        *base += self.expected(trees, root as usize, end, value);
        self.stack.push(Visit { node: root, path: (0, 0), feature: NOTHING, zero: 1.0, one: 1.0 });
        while let Some(visit) = self.stack.pop() {
            let (from, length) = visit.path;
            let begin = from + length;
            let mut depth = length;
            self.paths.truncate(begin);
            self.paths.extend_from_within(from..begin);
            self.paths.push(Step { feature: visit.feature, zero: visit.zero, one: visit.one, weight: 0.0 });
            let path = &mut self.paths[begin..];
            extend(path, depth);
            let node = &trees.nodes[visit.node as usize];
            if node.child == 0 {
                let value = value(visit.node);
                for i in 1..=depth {
                    let step = path[i];
                    phi[step.feature as usize] +=
                        unwound_sum(path, depth, i) * (step.one - step.zero) * value;
                }
                continue;
            }
            let (mut zero, mut one) = (1.0, 1.0);
            if let Some(i) = (1..=depth).find(|i| path[*i].feature == node.feature) {
                (zero, one) = (path[i].zero, path[i].one);
                unwind(path, depth, i);
                depth -= 1;
            }
            let hot = trees.next(visit.node, row);
            for child in [node.child, node.child + 1] {
                let zero = zero * share(trees, visit.node, child);
                let one = if child == hot { one } else { 0.0 };
                // Where no row comes by either way there is nothing to add.
                if zero > 0.0 || one > 0.0 {
                    let path = (begin, depth + 1);
                    self.stack.push(Visit { node: child, path, feature: node.feature, zero, one });
                }
            }
        }
    }

    /// The mean of a tree over its training rows. Children stand behind their parents.
    fn expected(&mut self, trees: &Trees, begin: usize, end: usize, value: &dyn Fn(u32) -> f64) -> f64 {
        self.expected.clear();
        self.expected.resize(end - begin, 0.0);
        for i in (begin..end).rev() {
            let child = trees.nodes[i].child;
            self.expected[i - begin] = if child == 0 {
                value(i as u32)
            } else {
                let part = |c: u32| share(trees, i as u32, c) * self.expected[c as usize - begin];
                part(child) + part(child + 1)
            };
        }
        self.expected.first().copied().unwrap_or(0.0)
    }
}

/// The share of a node's training rows that went to a child of it.
fn share(trees: &Trees, node: u32, child: u32) -> f64 {
    let first = trees.nodes[node as usize].child as usize;
    let both = trees.rows[first] as f64 + trees.rows[first + 1] as f64;
    if both > 0.0 { trees.rows[child as usize] as f64 / both } else { 0.5 }
}

/// Takes the last step of a path, at place `depth`, into the weights.
fn extend(path: &mut [Step], depth: usize) {
    let Step { zero, one, .. } = path[depth];
    path[depth].weight = if depth == 0 { 1.0 } else { 0.0 };
    let all = (depth + 1) as f64;
    for i in (0..depth).rev() {
        path[i + 1].weight += one * path[i].weight * (i + 1) as f64 / all;
        path[i].weight *= zero * (depth - i) as f64 / all;
    }
}

/// Takes step `i` out of a path whose last place is `depth`.
fn unwind(path: &mut [Step], depth: usize, i: usize) {
    let Step { zero, one, .. } = path[i];
    let all = (depth + 1) as f64;
    let mut next = path[depth].weight;
    for j in (0..depth).rev() {
        if one != 0.0 {
            let weight = path[j].weight;
            path[j].weight = next * all / ((j + 1) as f64 * one);
            next = weight - path[j].weight * zero * (depth - j) as f64 / all;
        } else {
            path[j].weight *= all / (zero * (depth - j) as f64);
        }
    }
    for j in i..depth {
        let Step { feature, zero, one, .. } = path[j + 1];
        path[j] = Step { feature, zero, one, weight: path[j].weight };
    }
}

/// The sum of the weights that `unwind` would leave.
fn unwound_sum(path: &[Step], depth: usize, i: usize) -> f64 {
    let Step { zero, one, .. } = path[i];
    let all = (depth + 1) as f64;
    let mut next = path[depth].weight;
    let mut sum = 0.0;
    for j in (0..depth).rev() {
        if one != 0.0 {
            let part = next * all / ((j + 1) as f64 * one);
            sum += part;
            next = path[j].weight - part * zero * (depth - j) as f64 / all;
        } else {
            sum += path[j].weight * all / (zero * (depth - j) as f64);
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::super::nodes::{NUMERIC, Node};
    use super::*;

    fn question(feature: u32, value: f64, child: u32) -> Node {
        Node { value, child, feature, set: NUMERIC, missing_left: false }
    }

    fn leaf(value: f64) -> Node {
        Node { value, child: 0, feature: 0, set: NUMERIC, missing_left: false }
    }

    /// Two trees over four features; the first asks about feature 0 twice on one way, the second has a leaf
    /// that no training row reached.
    fn trees() -> Trees {
        Trees {
            roots: vec![0, 9],
            nodes: vec![
                question(0, 0.0, 1),
                question(1, 0.5, 3),
                question(2, -1.0, 5),
                leaf(1.0),
                question(0, -2.0, 7),
                leaf(-3.0),
                leaf(4.0),
                leaf(0.25),
                leaf(-0.75),
                question(3, 0.0, 10),
                leaf(2.0),
                question(1, 9.0, 12),
                leaf(5.0),
                leaf(7.0),
            ],
            rows: vec![100, 60, 40, 22, 38, 11, 29, 5, 33, 100, 70, 30, 30, 0],
            gains: vec![0.0; 14],
            levels: vec![(vec![], 0); 4],
            ..Trees::default()
        }
    }

    /// The expected value of the trees when only the features in `known` are.
    fn expectation(trees: &Trees, node: u32, row: &[f64], known: u32) -> f64 {
        let n = &trees.nodes[node as usize];
        if n.child == 0 {
            return n.value;
        }
        if known >> n.feature & 1 == 1 {
            return expectation(trees, trees.next(node, row), row, known);
        }
        let part = |c| share(trees, node, c) * expectation(trees, c, row, known);
        part(n.child) + part(n.child + 1)
    }

    #[test]
    fn shapley_values_are_those_of_their_definition() {
        let trees = trees();
        let features = 4;
        let factorial = |n: u32| (1..=n).map(f64::from).product::<f64>();
        for row in [
            [0.5, 0.0, 0.0, 1.0],
            [-1.0, 1.0, -2.0, -1.0],
            [-3.0, 1.0, 3.0, 1.0],
            [-1.0, 0.0, f64::NAN, f64::NAN],
            [1.0, 10.0, -2.0, 3.0],
        ] {
            let value =
                |known| -> f64 { trees.roots.iter().map(|r| expectation(&trees, *r, &row, known)).sum() };
            let mut phi = vec![0.0; features + 1];
            let mut shap = Shap::default();
            (0..2)
                .for_each(|t| shap.add(&trees, t, &row, &|leaf| trees.nodes[leaf as usize].value, &mut phi));
            assert!((phi[features] - value(0)).abs() < 1e-12);
            assert!((phi.iter().sum::<f64>() - value(15)).abs() < 1e-12, "{row:?}");
            for (f, found) in phi.iter().take(features).enumerate() {
                let others = (0u32..16).filter(|s| s >> f & 1 == 0);
                let exact: f64 = others
                    .map(|s| {
                        let n = s.count_ones();
                        let weight =
                            factorial(n) * factorial(features as u32 - n - 1) / factorial(features as u32);
                        weight * (value(s | 1 << f) - value(s))
                    })
                    .sum();
                assert!((found - exact).abs() < 1e-12, "feature {f} of {row:?}: {found} for {exact}");
            }
        }
    }

    #[test]
    fn a_tree_as_deep_as_it_has_leaves_does_not_exhaust_the_stack() {
        let depth = 3000u32;
        // Each question's left child is the next question, its right one a leaf.
        let mut chain = vec![];
        for d in 0..depth {
            if d == 0 {
                chain.push(question(0, 1e9, 1));
            } else {
                let place = chain.len() as u32;
                chain.push(question(d % 7, 1e9, place + 2));
                chain.push(leaf(1.0));
            }
        }
        chain.extend([leaf(3.0), leaf(1.0)]);
        let trees = Trees {
            roots: vec![0],
            rows: vec![1; chain.len()],
            gains: vec![0.0; chain.len()],
            nodes: chain,
            levels: vec![(vec![], 0); 7],
            ..Trees::default()
        };
        let mut phi = vec![0.0; 8];
        Shap::default().add(&trees, 0, &[0.0; 7], &|leaf| trees.nodes[leaf as usize].value, &mut phi);
        assert!((phi.iter().sum::<f64>() - 3.0).abs() < 1e-9, "{phi:?}");
    }
}
