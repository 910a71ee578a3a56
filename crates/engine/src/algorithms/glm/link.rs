//! Links: how the mean depends on the linear predictor. Names are statsmodels'.

use crate::distributions::{normal_cdf, normal_pdf, normal_quantile};
use serde::{Deserialize, Serialize};

/// A link function `g`; the mean is its inverse at the linear predictor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Link {
    /// The predictor itself.
    Identity,
    /// `exp`.
    Log,
    /// `1 / (1 + exp(-m))`.
    Logit,
    /// The normal distribution function.
    Probit,
    /// `1 - exp(-exp(m))`.
    CLogLog,
    /// `1 / m`.
    Inverse,
    /// `1 / sqrt(m)`.
    InverseSquared,
    /// `m^2`.
    Sqrt,
}

impl Link {
    /// Every link.
    pub const ALL: [Link; 8] = [
        Link::Identity,
        Link::Log,
        Link::Logit,
        Link::Probit,
        Link::CLogLog,
        Link::Inverse,
        Link::InverseSquared,
        Link::Sqrt,
    ];

    /// Its name in parameters.
    pub fn name(self) -> &'static str {
        match self {
            Link::Identity => "identity",
            Link::Log => "log",
            Link::Logit => "logit",
            Link::Probit => "probit",
            Link::CLogLog => "cloglog",
            Link::Inverse => "inverse",
            Link::InverseSquared => "inverse_squared",
            Link::Sqrt => "sqrt",
        }
    }

    /// The link of that name.
    pub fn parse(name: &str) -> Option<Link> {
        Link::ALL.into_iter().find(|l| l.name() == name)
    }

    /// The mean at predictor `m`. NaN where the link has none, as `inverse_squared` at a negative one.
    #[inline]
    pub fn mean(self, m: f64) -> f64 {
        match self {
            Link::Identity => m,
            Link::Log => m.exp(),
            Link::Logit => sigmoid(m),
            Link::Probit => normal_cdf(m),
            Link::CLogLog => -(-m.exp()).exp_m1(),
            Link::Inverse => 1.0 / m,
            Link::InverseSquared => 1.0 / m.sqrt(),
            Link::Sqrt => m * m,
        }
    }

    /// The first and second derivative of the mean by the predictor.
    #[inline]
    pub fn slopes(self, m: f64) -> (f64, f64) {
        match self {
            Link::Identity => (1.0, 0.0),
            Link::Log => (m.exp(), m.exp()),
            Link::Logit => {
                let p = sigmoid(m);
                let d = p * sigmoid(-m);
                (d, d * (1.0 - 2.0 * p))
            }
            Link::Probit => (normal_pdf(m), -m * normal_pdf(m)),
            Link::CLogLog => {
                let e = m.exp();
                let d = e * (-e).exp();
                (d, d * (1.0 - e))
            }
            Link::Inverse => (-1.0 / (m * m), 2.0 / (m * m * m)),
            Link::InverseSquared => (-0.5 * m.powf(-1.5), 0.75 * m.powf(-2.5)),
            Link::Sqrt => (2.0 * m, 2.0),
        }
    }

    /// The predictor of a mean.
    pub fn predictor(self, mean: f64) -> f64 {
        match self {
            Link::Identity => mean,
            Link::Log => mean.ln(),
            Link::Logit => (mean / (1.0 - mean)).ln(),
            Link::Probit => normal_quantile(mean),
            Link::CLogLog => (-(-mean).ln_1p()).ln(),
            Link::Inverse => 1.0 / mean,
            Link::InverseSquared => 1.0 / (mean * mean),
            Link::Sqrt => mean.sqrt(),
        }
    }
}

/// `1 / (1 + exp(-m))` without overflow.
#[inline]
pub fn sigmoid(m: f64) -> f64 {
    let e = (-m.abs()).exp();
    if m >= 0.0 { 1.0 / (1.0 + e) } else { e / (1.0 + e) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slopes_are_those_of_the_mean() {
        for link in Link::ALL {
            for m in [0.3, 0.9, 1.7] {
                let h = 1e-5;
                let (below, at, above) = (link.mean(m - h), link.mean(m), link.mean(m + h));
                let (first, second) = link.slopes(m);
                assert!(((above - below) / (2.0 * h) - first).abs() < 1e-7, "{link:?}");
                assert!(((above - 2.0 * at + below) / (h * h) - second).abs() < 1e-4, "{link:?}");
                assert!((link.predictor(at) - m).abs() < 1e-8, "{link:?}");
            }
            assert_eq!(Link::parse(link.name()), Some(link));
        }
    }
}
