//! The methods by name, their thresholds, and which one is taken when nobody chose. Names, defaults and rules are
//! Evidently's (0.7).

use crate::error::{Error, Kind, Result};

/// How two distributions are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Kolmogorov and Smirnov's test.
    Ks,
    /// Pearson's chi-square of the current counts against the reference's shares.
    ChiSquare,
    /// The z-test of one proportion: all values but the smallest.
    Z,
    /// Wasserstein's distance in standard deviations of the reference.
    Wasserstein,
    /// Jensen and Shannon's distance.
    JensenShannon,
    /// The population stability index.
    Psi,
    /// Kullback and Leibler's divergence of the reference from the current rows.
    KlDivergence,
    /// Hellinger's distance.
    Hellinger,
    /// The total variation distance, by permutations.
    Tvd,
    /// Student's t-test of the means, variances equal.
    T,
    /// Mann and Whitney's test that the reference is the smaller.
    MannWhitney,
    /// Anderson and Darling's test of two samples.
    AndersonDarling,
    /// Cramer and von Mises's test of two samples.
    CramerVonMises,
    /// The energy distance.
    Energy,
}

/// The type of a column's distribution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Numbers.
    Numbers,
    /// Categories.
    Categories,
}

/// Rows of the reference up to which tests are the default, and beyond which distances are.
pub const SMALL: u64 = 1000;
/// Different values up to which numbers count as categories by default.
pub const FEW: usize = 5;

impl Method {
    /// Every method with its name in SQL.
    pub const ALL: [(&'static str, Method); 14] = [
        ("ks", Method::Ks),
        ("chisquare", Method::ChiSquare),
        ("z", Method::Z),
        ("wasserstein", Method::Wasserstein),
        ("jensenshannon", Method::JensenShannon),
        ("psi", Method::Psi),
        ("kl_div", Method::KlDivergence),
        ("hellinger", Method::Hellinger),
        ("tvd", Method::Tvd),
        ("t_test", Method::T),
        ("mannw", Method::MannWhitney),
        ("anderson", Method::AndersonDarling),
        ("cramer_von_mises", Method::CramerVonMises),
        ("ed", Method::Energy),
    ];

    /// The method of that name, in capitals or not.
    ///
    /// # Errors
    /// `Kind::Parameter`, with the names that there are.
    pub fn parse(name: &str) -> Result<Method> {
        Method::ALL.into_iter().find(|m| m.0.eq_ignore_ascii_case(name)).map(|m| m.1).ok_or_else(|| {
            let names: Vec<&str> = Method::ALL.iter().map(|m| m.0).collect();
            Error::new(Kind::Parameter, format!("method is \"{name}\", expected one of {}", names.join(", ")))
        })
    }

    /// Its name in SQL.
    pub fn name(self) -> &'static str {
        Method::ALL.iter().find(|m| m.1 == self).map_or("", |m| m.0)
    }

    /// Whether it gives a p-value, which is small for drift; else a distance, which is large.
    pub fn tests(self) -> bool {
        use Method::*;
        matches!(self, Ks | ChiSquare | Z | Tvd | T | MannWhitney | AndersonDarling | CramerVonMises)
    }

    /// The threshold when nobody gave one.
    pub fn threshold(self) -> f64 {
        use Method::*;
        if matches!(self, Ks | ChiSquare | Z | T | MannWhitney) { 0.05 } else { 0.1 }
    }

    /// Whether a score, the p-value or the distance, is drift at a threshold. An undefined score is not.
    pub fn drifted(self, score: f64, threshold: f64) -> bool {
        match self {
            Method::Ks | Method::CramerVonMises => score <= threshold,
            Method::Energy => score > threshold,
            _ if self.tests() => score < threshold,
            _ => score >= threshold,
        }
    }

    /// Whether it can compare distributions of that shape. What needs categories can also compare the values of
    /// numbers, one by one.
    pub fn serves(self, shape: Shape) -> bool {
        use Method::*;
        match shape {
            Shape::Numbers => true,
            Shape::Categories => {
                matches!(self, ChiSquare | Z | JensenShannon | Psi | KlDivergence | Hellinger | Tvd)
            }
        }
    }

    /// Whether it compares value by value, whatever the type.
    pub fn counts_values(self) -> bool {
        matches!(self, Method::ChiSquare | Method::Z | Method::Tvd)
    }

    /// The default for a reference of `rows` values and a column with `distinct` different values on both sides
    /// together.
    pub fn default_for(shape: Shape, rows: u64, distinct: usize) -> Method {
        match (shape, rows <= SMALL, distinct) {
            (Shape::Numbers, true, d) if d > FEW => Method::Ks,
            (Shape::Numbers, false, d) if d > FEW => Method::Wasserstein,
            (_, true, d) if d > 2 => Method::ChiSquare,
            (_, true, _) => Method::Z,
            (_, false, _) => Method::JensenShannon,
        }
    }
}
