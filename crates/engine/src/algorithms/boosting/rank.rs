//! LambdaRank: derivatives of rows from all pairs of rows of their query (Burges 2010; LightGBM's
//! `rank_objective.hpp`).
//!
//! A shard must hold whole queries. Within a query rows keep the order in which they came, which decides between rows
//! of equal scores.

use super::params::RankRules;
use crate::error::Result;
use crate::lean::Lean;
use crate::learner::Cx;

/// The rows of a shard by query.
#[derive(Default)]
pub struct Queries {
    /// Rows, those of a query together.
    order: Vec<u32>,
    /// Where each query ends, and the inverse of the most that its gains can sum to (0 where nothing can be gained).
    ends: Vec<(usize, f64)>,
    /// What a place counts: `1 / log2(2 + place)`.
    discounts: Vec<f64>,
}

impl Queries {
    /// Brings the rows of each group together.
    pub fn new(group: &[u64], y: &Lean, rules: &RankRules) -> Queries {
        let mut order: Vec<u32> = (0..group.len() as u32).collect();
        order.sort_by_key(|row| group[*row as usize]);
        let mut queries = Queries::default();
        let longest = order.chunk_by(|a, b| group[*a as usize] == group[*b as usize]).map(<[u32]>::len).max();
        queries.discounts = (0..longest.unwrap_or(0)).map(|i| 1.0 / (2.0 + i as f64).log2()).collect();
        let mut end = 0;
        for rows in order.chunk_by(|a, b| group[*a as usize] == group[*b as usize]) {
            end += rows.len();
            let mut gains: Vec<f64> = rows.iter().map(|r| gain(rules, y.at(*r as usize))).collect();
            gains.sort_by(|a, b| b.total_cmp(a));
            let most = queries.sum(gains.into_iter(), rules);
            queries.ends.push((end, if most > 0.0 { 1.0 / most } else { 0.0 }));
        }
        queries.order = order;
        queries
    }

    fn sum(&self, gains: impl Iterator<Item = f64>, rules: &RankRules) -> f64 {
        gains.take(rules.truncation).zip(&self.discounts).map(|(g, d)| g * d).sum()
    }

    /// The first row of each query.
    pub fn firsts(&self) -> impl Iterator<Item = u32> {
        let begins = std::iter::once(0).chain(self.ends.iter().map(|e| e.0));
        begins.filter_map(|b| self.order.get(b).copied())
    }

    /// Writes both derivatives of each row, and tells of each query its first row and what it lacks of the best gain
    /// that there could be (0 for a query in which nothing is relevant).
    pub fn derive(
        &self,
        rules: &RankRules,
        y: &Lean,
        scores: &[f64],
        out: &mut [[f64; 2]],
        mut lacks: impl FnMut(u32, f64),
        cx: &Cx,
    ) -> Result<()> {
        let (mut sorted, mut begin): (Vec<u32>, usize) = (vec![], 0);
        for (end, inverse) in &self.ends {
            cx.check()?;
            let rows = &self.order[begin..*end];
            begin = *end;
            sorted.clear();
            sorted.extend_from_slice(rows);
            // Stable: equal scores stay in the order of the rows.
            sorted.sort_by(|a, b| scores[*b as usize].total_cmp(&scores[*a as usize]));
            rows.iter().for_each(|r| out[*r as usize] = [0.0; 2]);
            let found = self.sum(sorted.iter().map(|r| gain(rules, y.at(*r as usize))), rules) * inverse;
            if let Some(first) = rows.first() {
                lacks(*first, if *inverse > 0.0 { 1.0 - found } else { 0.0 });
            }
            if *inverse > 0.0 {
                self.pairs(rules, y, scores, &sorted, *inverse, out, cx)?;
            }
        }
        Ok(())
    }

    #[allow(clippy::too_many_arguments)] // The lists of one query, and what its pairs are worth.
    fn pairs(
        &self,
        rules: &RankRules,
        y: &Lean,
        scores: &[f64],
        sorted: &[u32],
        inverse: f64,
        out: &mut [[f64; 2]],
        cx: &Cx,
    ) -> Result<()> {
        let score = |place: usize| scores[sorted[place] as usize];
        let relevance = |place: usize| y.at(sorted[place] as usize);
        let differ = sorted.len() > 1 && score(0) != score(sorted.len() - 1);
        let mut total = 0.0;
        for i in 0..sorted.len().saturating_sub(1).min(rules.truncation) {
            cx.check()?;
            for j in i + 1..sorted.len() {
                if relevance(i) == relevance(j) {
                    continue;
                }
                let (high, low) = if relevance(i) > relevance(j) { (i, j) } else { (j, i) };
                let apart = score(high) - score(low);
                let gap = gain(rules, relevance(high)) - gain(rules, relevance(low));
                let mut swap = gap * (self.discounts[high] - self.discounts[low]).abs() * inverse;
                if rules.norm && differ {
                    swap /= 0.01 + apart.abs();
                }
                let p = 1.0 / (1.0 + apart.exp());
                let (g, h) = (p * swap, p * (1.0 - p) * swap);
                let [high, low] = [sorted[high] as usize, sorted[low] as usize];
                out[high][0] -= g;
                out[low][0] += g;
                out[high][1] += h;
                out[low][1] += h;
                total += 2.0 * g;
            }
        }
        if rules.norm && total > 0.0 {
            let even = (1.0 + total).log2() / total;
            for row in sorted {
                let [g, h] = &mut out[*row as usize];
                *g *= even;
                *h *= even;
            }
        }
        Ok(())
    }
}

/// What a row of a relevance is worth. The relevance was checked to be in the list.
fn gain(rules: &RankRules, relevance: f64) -> f64 {
    rules.gains.get(relevance as usize).copied().unwrap_or(0.0)
}
