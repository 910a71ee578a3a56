//! Walks of rows down grown trees, for scoring: nodes of 16 bytes, steps without branches, several walks abreast.
//!
//! A step waits for one node and one value; walks side by side do not wait for one another. One row walks several
//! trees at once, a block of rows one tree at a time. Both take the same steps and give the same leaves as
//! [`Trees::leaf`].

use super::nodes::{NUMERIC, Trees};

/// Walks side by side.
const ABREAST: usize = 8;
/// Rows that walk one tree before the next tree is read: their features stay in the first caches.
const BLOCK: usize = 64;

/// In `Step::question`: rows without a value go left.
const MISSING_LEFT: u32 = 1 << 31;
/// In `Step::question`: it is a question, not a leaf.
const ASKS: u32 = 1 << 30;

/// A question: rows with `x <= value` go to `child`, others behind it. Or a leaf of that value, which is its own child.
#[derive(Debug, Clone, Copy)]
struct Step {
    value: f64,
    child: u32,
    /// The feature, with [`MISSING_LEFT`] and [`ASKS`].
    question: u32,
}

/// Trees laid out for walking. Their questions are all about numbers.
#[derive(Debug, Clone, Default)]
pub struct Walk {
    steps: Vec<Step>,
    roots: Vec<u32>,
}

impl Walk {
    /// Lays out trees that were validated; none where they ask about categories.
    pub fn new(trees: &Trees) -> Option<Walk> {
        let step = |(i, n): (usize, &super::nodes::Node)| {
            if n.child == 0 {
                return Some(Step { value: n.value, child: i as u32, question: 0 });
            }
            let missing = if n.missing_left { MISSING_LEFT } else { 0 };
            let plain = n.set == NUMERIC && n.feature < ASKS;
            plain.then_some(Step { value: n.value, child: n.child, question: n.feature | missing | ASKS })
        };
        let steps = trees.nodes.iter().enumerate().map(step).collect::<Option<Vec<Step>>>()?;
        Some(Walk { steps, roots: trees.roots.clone() })
    }

    #[inline(always)]
    fn next(&self, at: u32, row: &[f64]) -> u32 {
        let step = &self.steps[at as usize];
        let x = row[(step.question & (ASKS - 1)) as usize];
        let left = (x <= step.value) | ((step.question & MISSING_LEFT != 0) & x.is_nan());
        step.child + (u32::from(!left) & (step.question >> 30))
    }

    /// Adds the leaves' values of all trees to raw scores: tree `t` to score `t % scores` of each row, whose scores
    /// are `width` apart. Sums are taken in the order of the trees, whatever the number of rows.
    pub fn add(&self, x: &[f64], features: usize, scores: usize, out: &mut [f64], width: usize) {
        if x.len() == features {
            return self.add_row(x, scores, out);
        }
        for (x, out) in x.chunks(BLOCK * features).zip(out.chunks_mut(BLOCK * width)) {
            for (t, root) in self.roots.iter().enumerate() {
                for (x, out) in x.chunks(ABREAST * features).zip(out.chunks_mut(ABREAST * width)) {
                    let mut at = [*root; ABREAST];
                    loop {
                        let mut moved = 0;
                        for (at, row) in at.iter_mut().zip(x.chunks_exact(features)) {
                            let next = self.next(*at, row);
                            moved |= next ^ *at;
                            *at = next;
                        }
                        if moved == 0 {
                            break;
                        }
                    }
                    for (at, out) in at.iter().zip(out.chunks_exact_mut(width)) {
                        out[t % scores] += self.steps[*at as usize].value;
                    }
                }
            }
        }
    }

    fn add_row(&self, row: &[f64], scores: usize, out: &mut [f64]) {
        for (group, roots) in self.roots.chunks(ABREAST).enumerate() {
            let mut at = [self.roots[0]; ABREAST];
            at.iter_mut().zip(roots).for_each(|(at, root)| *at = *root);
            loop {
                let mut moved = 0;
                for at in &mut at {
                    let next = self.next(*at, row);
                    moved |= next ^ *at;
                    *at = next;
                }
                if moved == 0 {
                    break;
                }
            }
            for (i, at) in at.iter().enumerate().take(roots.len()) {
                out[(group * ABREAST + i) % scores] += self.steps[*at as usize].value;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::nodes::Node;
    use super::*;

    /// Trees of all shapes over three features, from a fixed sequence of numbers.
    fn trees() -> Trees {
        let mut trees = Trees::default();
        let mut seed = 1u64;
        let mut draw = |n: u64| {
            seed = seed.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
            (seed >> 33) % n
        };
        for tree in 0..21 {
            let begin = trees.nodes.len();
            trees.roots.push(begin as u32);
            let (mut at, mut end) = (begin, begin + 1);
            while at < end {
                let asks = end - begin < 2 * tree && (at + 1 == end || draw(3) > 0);
                trees.nodes.push(Node {
                    value: draw(1000) as f64 / 250.0 - 2.0,
                    child: if asks { end as u32 } else { 0 },
                    feature: if asks { draw(3) as u32 } else { 0 },
                    set: NUMERIC,
                    missing_left: asks && draw(2) == 0,
                });
                end += if asks { 2 } else { 0 };
                at += 1;
            }
        }
        trees
    }

    #[test]
    fn one_row_and_many_reach_the_leaves_of_plain_walks() {
        let trees = trees();
        let walk = Walk::new(&trees).unwrap();
        let value = |i: usize| match i % 7 {
            3 => f64::NAN,
            5 => trees.nodes[i % trees.nodes.len()].value,
            _ => (i * 37 % 101) as f64 / 25.0 - 2.0,
        };
        for rows in [1, 7, 8, 9, 64, 200] {
            let x: Vec<f64> = (0..rows * 3).map(value).collect();
            for scores in [1, 3] {
                let mut out = vec![0.25; rows * scores];
                walk.add(&x, 3, scores, &mut out, scores);
                for (row, out) in x.chunks(3).zip(out.chunks(scores)) {
                    let mut plain = vec![0.25; scores];
                    for (t, root) in trees.roots.iter().enumerate() {
                        plain[t % scores] += trees.nodes[trees.leaf(*root, row) as usize].value;
                    }
                    assert_eq!(out, plain);
                }
            }
        }
    }

    #[test]
    fn questions_about_categories_are_left_to_others() {
        let mut trees = trees();
        trees.nodes.iter_mut().filter(|n| n.child != 0).take(1).for_each(|n| n.set = 0);
        assert!(Walk::new(&trees).is_none());
    }
}
