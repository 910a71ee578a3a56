//! What must be known of targets and weights before a tree grows: their ranges, from which the units follow that
//! make whole numbers of them. Whole numbers have sums that no order changes.

use super::params::Params;
use crate::error::{Error, Kind, Result};
use crate::schema::Chunk;
use serde::{Deserialize, Serialize};

/// The ranges of targets and weights.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Facts {
    /// Rows.
    pub rows: u64,
    /// The least target.
    y_min: f64,
    /// The greatest target.
    y_max: f64,
    /// The greatest weight.
    w_max: f64,
    /// Whether any row weighs other than 1.
    pub weighted: bool,
    /// Whether any weight is not a whole number.
    broken: bool,
    /// Rows of each class.
    classes: Vec<u64>,
}

impl Default for Facts {
    fn default() -> Self {
        Facts {
            rows: 0,
            y_min: f64::INFINITY,
            y_max: f64::NEG_INFINITY,
            w_max: 0.0,
            weighted: false,
            broken: false,
            classes: vec![],
        }
    }
}

/// What whole numbers stand for.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Units {
    /// What target 0 stands for.
    pub center: f64,
    /// One unit of a target, a power of two.
    pub y: f64,
    /// One unit of a weight, a power of two.
    pub w: f64,
}

impl Units {
    /// A target in units.
    pub fn target(&self, y: f64) -> i64 {
        ((y - self.center) / self.y).round() as i64
    }

    /// A weight in units; nothing weighs nothing.
    pub fn weight(&self, w: f64) -> i64 {
        ((w / self.w).round() as i64).max(1)
    }
}

/// The least power of two that is not less than `x`; 1 for 0.
fn power_above(x: f64) -> f64 {
    if x <= 0.0 || !x.is_finite() { 1.0 } else { 2f64.powi(x.log2().ceil().clamp(-1000.0, 1023.0) as i32) }
}

impl Facts {
    /// Folds rows in.
    pub fn add(&mut self, params: &Params, chunk: &Chunk) -> Result<()> {
        self.classes.resize(params.classes, 0);
        self.rows += chunk.rows as u64;
        for (i, y) in chunk.y.iter().enumerate() {
            if !y.is_finite() || (params.classes > 0 && !(*y >= 0.0 && *y < params.classes as f64)) {
                let message = format!("a target is {y}, expected a finite number or a class");
                return Err(Error::new(Kind::Data, message));
            }
            let w = chunk.weight(i);
            self.y_min = self.y_min.min(*y);
            self.y_max = self.y_max.max(*y);
            self.w_max = self.w_max.max(w);
            self.weighted |= w != 1.0;
            self.broken |= w.fract() != 0.0;
            if let Some(rows) = self.classes.get_mut(*y as usize) {
                *rows += 1;
            }
        }
        Ok(())
    }

    /// Adds another shard's.
    pub fn merge(&mut self, other: Facts) {
        self.rows += other.rows;
        self.y_min = self.y_min.min(other.y_min);
        self.y_max = self.y_max.max(other.y_max);
        self.w_max = self.w_max.max(other.w_max);
        self.weighted |= other.weighted;
        self.broken |= other.broken;
        super::add_all(&mut self.classes, &other.classes);
    }

    /// Refuses what cannot be learnt from.
    pub fn check(&self, params: &Params) -> Result<()> {
        if self.rows == 0 {
            return Err(Error::new(Kind::Data, "there are no rows to learn from")
                .hint("Check the filter of the training rows."));
        }
        super::rows::check_rows(usize::try_from(self.rows).unwrap_or(usize::MAX))?;
        if params.classes > 0 && self.classes.iter().filter(|n| **n > 0).count() < 2 {
            let class = self.classes.iter().position(|n| *n > 0).unwrap_or(0);
            let message = format!(
                "all {} rows to learn from are of one class (number {class}), expected two or more",
                self.rows
            );
            return Err(Error::new(Kind::Data, message).hint("Check the filter of the training rows."));
        }
        Ok(())
    }

    /// The units. Rows may be drawn twice as often as there are, and sums of weighted targets still fit in `i64`.
    pub fn units(&self, params: &Params) -> Units {
        let room = 62 - (self.rows.max(2) * 2).ilog2() as i32 - 1;
        let weight_bits = match (self.weighted, params.classes) {
            (false, _) => 0,
            (true, 0) => 16,
            (true, _) => room.min(32),
        };
        let whole = !self.broken && self.w_max <= 2f64.powi(weight_bits);
        let w = if whole { 1.0 } else { power_above(self.w_max) * 2f64.powi(-weight_bits) };
        let (low, high) = (self.y_min.min(self.y_max), self.y_max.max(self.y_min));
        let center = low / 2.0 + high / 2.0;
        let reach = (high - center).max(center - low);
        let y = if reach > 0.0 { power_above(reach) * 2f64.powi(-(room - weight_bits).min(52)) } else { 1.0 };
        Units { center, y, w }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_weights_and_few_targets_stay_exact() {
        let facts = |y_min, y_max, w_max, broken| Facts {
            rows: 1 << 20,
            y_min,
            y_max,
            w_max,
            weighted: w_max != 1.0,
            broken,
            classes: vec![],
        };
        let params = crate::algorithms::forest::tests::params("{}", 0);
        let units = facts(-3.0, 8.0, 7.0, false).units(&params);
        assert_eq!((units.w, units.weight(5.0), units.center), (1.0, 5, 2.5));
        assert_eq!(units.target(8.0) as f64 * units.y + units.center, 8.0);
        // The greatest sum fits.
        let units = facts(-1e300, 1e300, 1e-9, true).units(&params);
        let most = units.target(1e300) as f64 * units.weight(1e-9) as f64 * f64::from(1 << 21);
        assert!(most.abs() <= 2f64.powi(62), "{most}");
    }
}
