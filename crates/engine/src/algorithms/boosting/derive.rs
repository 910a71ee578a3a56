//! What a shard does for objectives that hold their derivatives a row, and for values that are searched for: quantiles
//! of targets and residuals, the threshold of `goss`.

use super::loss::{self, BLOCK, Block, FewLosses};
use super::objective::Objective;
use super::params::Params;
use super::rank::Queries;
use super::select::Cells;
use super::shard::Local;
use super::{Partial, State};
use crate::error::{Error, Result};
use crate::learner::Cx;

impl Local {
    /// The rows by query.
    pub(super) fn queries(&mut self, params: &Params) -> &Queries {
        self.queries.get_or_insert_with(|| Queries::new(&self.group, &self.y, &params.rank))
    }

    /// The derivatives of each row for the tree that comes, times its weight; their ranges, and at the start of a round
    /// of trees the losses.
    pub(super) fn derive(
        &mut self,
        params: &Params,
        state: &State,
        partial: &mut Partial,
        cx: &Cx,
    ) -> Result<()> {
        if self.derived_of == Some(self.trees) {
            return Ok(());
        }
        let k = state.model.base.len();
        let class = self.trees % k;
        self.derived.resize(self.rows, [0.0; 2]);
        // Ranks are those at the start of the round of trees.
        let rank = params.goss.is_some() && (class == 0 || self.importance.is_empty());
        if rank {
            self.importance.resize(self.rows, 0.0);
        }
        let (per_unit, scale) = (1.0 / state.facts.loss_unit(params.objective), loss::softmax_scale(k));
        if params.objective == Objective::Lambdarank {
            self.queries(params);
            if let Some(queries) = &self.queries {
                let lacks = |row: u32, loss: f64| {
                    let mut few = FewLosses::default();
                    few.add(loss * per_unit, self.held_out.get(row as usize) == Some(&true));
                    partial.losses.add(&few);
                };
                queries.derive(&params.rank, &self.y, &self.scores[0], &mut self.derived, lacks, cx)?;
            }
        }
        let mut block = Block::default();
        for from in (0..self.rows).step_by(BLOCK) {
            cx.check()?;
            let mut few = FewLosses::default();
            let rows = from..(from + BLOCK).min(self.rows);
            if k > 1 && class == 0 {
                self.find_chances(rows.clone(), &mut block);
            }
            for i in rows {
                let w = self.weight.get(i).copied().unwrap_or(1.0);
                let y = self.y.at(i);
                let ([g, h], loss) = match params.objective {
                    Objective::Lambdarank => (self.derived[i], 0.0),
                    Objective::Softmax(_) => {
                        let derived =
                            |c: usize| loss::softmax_derivatives(self.chances[c][i], y == c as f64, scale);
                        if rank {
                            let pairs = (0..k).map(derived);
                            self.importance[i] = pairs.map(|[g, h]| (g * h).abs()).sum::<f64>() * w * w;
                        }
                        (derived(class), block.loss(i - from))
                    }
                    objective => {
                        let [g, h, loss] = objective.derive(self.scores[0][i], y);
                        ([g, h], loss)
                    }
                };
                if class == 0 && params.objective != Objective::Lambdarank {
                    few.add(loss * w * per_unit, self.held_out.get(i) == Some(&true));
                }
                let [g, h] = [g * w, h * w];
                self.derived[i] = [g, h];
                partial.max_gradient = partial.max_gradient.max(g.abs());
                partial.max_hessian = partial.max_hessian.max(h);
                if rank {
                    if k == 1 {
                        self.importance[i] = (g * h).abs();
                    }
                    partial.max_importance = partial.max_importance.max(self.importance[i]);
                }
                let residual = y - self.scores[0][i];
                partial.residuals = [partial.residuals[0].min(residual), partial.residuals[1].max(residual)];
            }
            partial.losses.add(&few);
        }
        self.derived_of = Some(self.trees);
        Ok(())
    }

    /// Rounds derivatives to integers; those of rows that stand for others count for them, too.
    pub(super) fn pack(&mut self, state: &State, cx: &Cx) -> Result<()> {
        let (Some(tree), Some(growth)) = (self.growing.first_mut(), state.growth.first()) else {
            return Err(Error::internal("no tree is in growth"));
        };
        let salt = loss::salt(cx.seed, self.trees);
        let mut block = Block::default();
        for from in (0..self.rows).step_by(BLOCK) {
            cx.check()?;
            let rows = from..(from + BLOCK).min(self.rows);
            for i in rows.clone() {
                if let Some(sample) = &state.sample
                    && self.importance[i] < sample.threshold
                {
                    self.derived[i] = self.derived[i].map(|d| d / sample.share);
                }
                [block.g[i - from], block.h[i - from]] = self.derived[i];
            }
            tree.pack(rows, &block, &growth.units, &self.noise, salt);
        }
        Ok(())
    }

    fn weight_units(&self, state: &State, row: usize) -> i128 {
        match self.weight.get(row) {
            Some(w) => (w / state.facts.weight_unit()).round() as i128,
            None => 1,
        }
    }

    /// Counts the targets of rows to learn from.
    pub(super) fn search_targets(&self, state: &State, partial: &mut Partial, cx: &Cx) -> Result<()> {
        let mut cells = Cells::new(&state.ranges);
        if let Some(Some(range)) = state.ranges.first() {
            for (row, y) in self.y.iter().enumerate() {
                if row % 4096 == 0 {
                    cx.check()?;
                }
                if self.held_out.get(row) != Some(&true) {
                    cells.count(0, *range, y, self.weight_units(state, row));
                }
            }
        }
        partial.cells = cells;
        Ok(())
    }

    /// Counts what `goss` ranks rows by.
    pub(super) fn search_importance(&self, state: &State, partial: &mut Partial, cx: &Cx) -> Result<()> {
        let mut cells = Cells::new(&state.ranges);
        if let Some(Some(range)) = state.ranges.first() {
            for (row, importance) in self.importance.iter().enumerate() {
                if row % 4096 == 0 {
                    cx.check()?;
                }
                if self.held_out.get(row) != Some(&true) {
                    cells.count(0, *range, *importance, 1);
                }
            }
        }
        partial.cells = cells;
        Ok(())
    }

    /// Counts the residuals of each leaf's rows.
    pub(super) fn search_residuals(&self, state: &State, partial: &mut Partial, cx: &Cx) -> Result<()> {
        let mut cells = Cells::new(&state.ranges);
        for (search, (leaf, range)) in state.leaves.iter().zip(&state.ranges).enumerate() {
            let Some(range) = range else { continue };
            for rows in self.growing.first().map_or(&[][..], |t| t.rows_of(*leaf)).chunks(4096) {
                cx.check()?;
                for row in rows.iter().map(|r| *r as usize) {
                    cells.count(
                        search,
                        *range,
                        self.y.at(row) - self.scores[0][row],
                        self.weight_units(state, row),
                    );
                }
            }
        }
        partial.cells = cells;
        Ok(())
    }
}
