//! Split conformal prediction: intervals and sets that hold the truth in a stated share of cases, whatever the model,
//! as long as rows are exchangeable (Vovk et al. 2005; Lei et al. 2018).
//!
//! A regression's interval is the prediction plus and minus a quantile of the absolute residuals of rows that neither
//! the model nor its calibration learnt from. A classification's set has the classes whose probability is at least one
//! less a quantile of (1 - probability of the true class): the least ambiguous sets (LAC; Sadinle, Lei and Wasserman
//! 2019), which are small and may be empty.

use crate::error::{Error, Kind, Result};
use serde::{Deserialize, Serialize};

/// A quantile of held-out rows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Conformal {
    /// The share of cases that intervals or sets are to cover.
    pub coverage: f64,
    /// The half width of intervals; for sets, one less the least probability.
    pub quantile: f64,
    /// The rows that it was learnt from.
    pub rows: u64,
}

impl Conformal {
    /// Learns from the nonconformity of each held-out row: its absolute residual, or one less the probability of its
    /// true class. The quantile is the `ceil((n + 1) * coverage)`-th smallest; with weights the least one whose
    /// weight, summed up to it, reaches `coverage` of all weights and a mean one.
    ///
    /// # Errors
    /// `Kind::Data` for too few rows to promise the coverage.
    pub fn learn(coverage: f64, nonconformity: &[f64], weight: &[f64]) -> Result<Conformal> {
        let weight = |i: usize| if weight.is_empty() { 1.0 } else { weight[i] };
        let n = nonconformity.len();
        let total: f64 = (0..n).map(weight).sum();
        // What rounding adds must not ask for one row more.
        let needed = coverage * (total + total / n.max(1) as f64) * (1.0 - 1e-12);
        let mut order: Vec<usize> = (0..n).collect();
        order.sort_by(|a, b| nonconformity[*a].total_cmp(&nonconformity[*b]));
        let mut sum = 0.0;
        for i in order {
            sum += weight(i);
            if sum >= needed {
                return Ok(Conformal { coverage, quantile: nonconformity[i], rows: n as u64 });
            }
        }
        let least = (coverage / (1.0 - coverage) - 1e-9).ceil();
        let message = format!("conformal => {coverage} needs at least {least} held-out rows, found {n}");
        Err(Error::new(Kind::Data, message)
            .hint("Ask for less coverage, or hold more rows out: calibration_size."))
    }

    /// Whether a class of that probability belongs to the set.
    #[inline]
    pub fn includes(&self, probability: f64) -> bool {
        1.0 - probability <= self.quantile
    }

    pub(super) fn valid(&self) -> bool {
        self.coverage > 0.0 && self.coverage < 1.0 && self.quantile.is_finite()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantile_is_the_finite_sample_one() {
        let scores: Vec<f64> = (1..=19).rev().map(f64::from).collect();
        let at = |coverage| Conformal::learn(coverage, &scores, &[]).unwrap().quantile;
        // ceil(20 * 0.9) = 18, ceil(20 * 0.95) = 19, ceil(20 * 0.5) = 10.
        assert_eq!((at(0.9), at(0.95), at(0.5), at(0.91)), (18.0, 19.0, 10.0, 19.0));
        let error = Conformal::learn(0.96, &scores, &[]).unwrap_err();
        assert_eq!(error.message, "conformal => 0.96 needs at least 24 held-out rows, found 19");
        assert_eq!(Conformal::learn(0.9, &[], &[]).unwrap_err().kind, Kind::Data);
        assert_eq!(Conformal::learn(0.9, &scores[..9], &[]).unwrap().rows, 9);
        assert!(Conformal::learn(0.9, &scores[..8], &[]).is_err());
    }

    #[test]
    fn equal_weights_change_nothing() {
        let scores: Vec<f64> = (0..50).map(|i| f64::from(i * 37 % 50)).collect();
        let of = |weight: &[f64]| Conformal::learn(0.8, &scores, weight).unwrap().quantile;
        assert_eq!(of(&[]), of(&[3.5; 50]));
    }
}
