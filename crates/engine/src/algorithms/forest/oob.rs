//! Out-of-bag estimates (Breiman 2001): each row is predicted by the trees that did not draw it. Sums are of whole
//! numbers, so that they are the same on any shards.

use super::State;
use super::draw::{Poisson, row_key};
use super::params::Params;
use crate::error::Result;
use crate::learner::Cx;
use crate::schema::Chunk;
use serde::{Deserialize, Serialize};

/// Sums over the rows that some tree left out.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct OutOfBag {
    /// Rows that every tree drew.
    never: u64,
    weight: i128,
    /// Weight of the rows whose class is right.
    right: i128,
    /// Log loss, in units of 2^-40.
    loss: i128,
    /// Targets, their squares, and squared errors, in units of the target.
    sum: i128,
    squares: i128,
    errors: i128,
}

/// A loss of 1.
const ONE: f64 = (1u64 << 40) as f64;

/// Folds rows in.
pub fn measure(params: &Params, state: &State, chunk: &Chunk, sums: &mut OutOfBag, cx: &Cx) -> Result<()> {
    let poisson = Poisson::new(params.draw.rate(state.facts.rows));
    let model = &state.model;
    let mut out = vec![0.0; params.classes.max(1)];
    for i in 0..chunk.rows {
        if i % 16 == 0 {
            cx.check()?;
        }
        let (row, y) = (chunk.row(i), chunk.y[i]);
        let key = row_key(chunk.first + i as u64, row, y);
        out.fill(0.0);
        let mut trees = 0;
        for (root, salt) in model.trees.roots.iter().zip(&state.salts) {
            if poisson.draw(*salt, key) == 0 {
                model.add(model.trees.leaf(*root, row), &mut out);
                trees += 1;
            }
        }
        if trees == 0 {
            sums.never += 1;
            continue;
        }
        model.mean(trees, &mut out);
        let weight = i128::from(if state.facts.weighted { state.units.weight(chunk.weight(i)) } else { 1 });
        sums.weight += weight;
        if params.classes == 0 {
            let target = i128::from(state.units.target(y));
            let error = i128::from(state.units.target(out[0])) - target;
            // With the weight of all rows these have 123 bits at most: see `Facts::units`.
            sums.sum += weight * target;
            sums.squares += weight * target * target;
            sums.errors += weight * error * error;
        } else {
            let p = out.get(y as usize).copied().unwrap_or(0.0).clamp(f64::EPSILON, 1.0 - f64::EPSILON);
            sums.right += weight * i128::from(crate::decision::Rule::Likeliest.decide(&out) == y as usize);
            sums.loss += weight * (-p.ln() * ONE).round() as i128;
        }
    }
    Ok(())
}

impl OutOfBag {
    /// Adds another shard's.
    pub fn merge(&mut self, other: &OutOfBag) {
        self.never += other.never;
        self.weight += other.weight;
        self.right += other.right;
        self.loss += other.loss;
        self.sum += other.sum;
        self.squares += other.squares;
        self.errors += other.errors;
    }

    /// The metrics, by name; none where every tree drew every row.
    pub fn metrics(&self, params: &Params, state: &State, cx: &Cx) -> Vec<(String, f64)> {
        if self.never > 0 {
            cx.observer.warning(&format!(
                "{} rows have no out-of-bag estimate, because every tree drew them; more trees would help",
                self.never
            ));
        }
        if self.weight == 0 {
            return vec![];
        }
        let mean = |sum: i128| sum as f64 / self.weight as f64;
        let found = if params.classes > 0 {
            vec![("accuracy", mean(self.right)), ("log_loss", mean(self.loss) / ONE)]
        } else {
            let (errors, center) = (mean(self.errors), mean(self.sum));
            let variance = mean(self.squares) - center * center;
            let r2 =
                if variance > 0.0 { 1.0 - errors / variance } else { f64::from(u8::from(errors == 0.0)) };
            vec![("rmse", errors.sqrt() * state.units.y), ("r2", r2)]
        };
        found.into_iter().filter(|(_, v)| v.is_finite()).map(|(n, v)| (n.to_string(), v)).collect()
    }
}
