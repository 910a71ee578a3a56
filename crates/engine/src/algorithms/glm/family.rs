//! Families of distributions: what targets they take, their variance, their likelihood, and the sums that a pass
//! of Newton's method needs of each row. Formulas are those of McCullagh and Nelder (1989), as in statsmodels.

use super::link::Link;
use crate::dense;
use crate::error::{Error, Kind, Result};
use serde::{Deserialize, Serialize};
use statrs::function::gamma::{digamma, ln_gamma};

/// A distribution of the exponential family.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Family {
    /// The normal distribution.
    Gaussian,
    /// Two classes, or a share in `0 ..= 1`.
    Binomial,
    /// Counts whose variance is the mean.
    Poisson,
    /// Amounts above 0 whose variance is proportional to the square of the mean.
    Gamma,
    /// Counts with variance `mean + alpha mean^2` (NB2).
    NegativeBinomial {
        /// `alpha`, above 0.
        alpha: f64,
    },
    /// Amounts of 0 or more with variance proportional to `mean^power`.
    Tweedie {
        /// Between 1 and 2, both excluded: at the ends it is Poisson's and gamma's.
        power: f64,
    },
}

/// What the rows of a step give, a value a row and per unit of weight.
pub struct Rows {
    /// The linear predictor, with the offset. Given.
    pub margin: [f64; dense::MAX_ROWS],
    /// Minus the log-likelihood, times the dispersion, up to what no coefficient changes. Infinite outside the domain.
    pub loss: [f64; dense::MAX_ROWS],
    /// Its derivative by the predictor.
    pub slope: [f64; dense::MAX_ROWS],
    /// Its second derivative, or the expected one: never negative.
    pub curvature: [f64; dense::MAX_ROWS],
    /// Its second derivative by the predictor and another parameter, for those that have one.
    pub cross: [f64; dense::MAX_ROWS],
}

impl Rows {
    /// All zero.
    pub fn new() -> Box<Rows> {
        let zero = [0.0; dense::MAX_ROWS];
        Box::new(Rows { margin: zero, loss: zero, slope: zero, curvature: zero, cross: zero })
    }
}

impl Family {
    /// Its name in parameters.
    pub fn name(self) -> &'static str {
        match self {
            Family::Gaussian => "gaussian",
            Family::Binomial => "binomial",
            Family::Poisson => "poisson",
            Family::Gamma => "gamma",
            Family::NegativeBinomial { .. } => "negative_binomial",
            Family::Tweedie { .. } => "tweedie",
        }
    }

    /// The link when nobody asks for one. Gamma's is `log`, as scikit-learn has it; statsmodels starts from `inverse`.
    pub fn default_link(self) -> Link {
        match self {
            Family::Gaussian => Link::Identity,
            Family::Binomial => Link::Logit,
            _ => Link::Log,
        }
    }

    /// The links that make sense with it.
    pub fn links(self) -> &'static [Link] {
        match self {
            Family::Gaussian => &[Link::Identity, Link::Log, Link::Inverse],
            Family::Binomial => &[Link::Logit, Link::Probit, Link::CLogLog, Link::Log, Link::Identity],
            Family::Poisson => &[Link::Log, Link::Identity, Link::Sqrt],
            Family::NegativeBinomial { .. } => &[Link::Log, Link::Identity],
            Family::Gamma => &[Link::Log, Link::Inverse, Link::Identity, Link::InverseSquared],
            Family::Tweedie { .. } => &[Link::Log, Link::Identity],
        }
    }

    /// Whether the dispersion is estimated, by Pearson's chi-square over the residual degrees of freedom; else it is 1.
    pub fn dispersed(self) -> bool {
        matches!(self, Family::Gaussian | Family::Gamma | Family::Tweedie { .. })
    }

    /// Refuses targets that the family does not have.
    pub fn check(self, y: &[f64]) -> Result<()> {
        let (fits, expected): (fn(f64) -> bool, _) = match self {
            Family::Gaussian => return Ok(()),
            Family::Binomial => (|y| (0.0..=1.0).contains(&y), "a share in 0 .. 1"),
            Family::Gamma => (|y| y > 0.0, "a number above 0"),
            Family::Poisson | Family::NegativeBinomial { .. } | Family::Tweedie { .. } => {
                (|y| y >= 0.0, "a number of 0 or more")
            }
        };
        match y.iter().find(|y| !fits(**y)) {
            None => Ok(()),
            Some(found) => {
                let message = format!("a target is {found}, and {} expects {expected}", self.name());
                Err(Error::new(Kind::Data, message)
                    .hint("Leave such rows out in the source, or choose another algorithm."))
            }
        }
    }

    /// The variance at a mean, per unit of dispersion, and its derivative.
    pub fn variance(self, mean: f64) -> (f64, f64) {
        match self {
            Family::Gaussian => (1.0, 0.0),
            Family::Binomial => {
                // Where the mean rounds to 0 or 1 the variance must not vanish before the link's slope does.
                let p = mean.clamp(f64::EPSILON, 1.0 - f64::EPSILON);
                (p * (1.0 - p), 1.0 - 2.0 * p)
            }
            Family::Poisson => (mean, 1.0),
            Family::Gamma => (mean * mean, 2.0 * mean),
            Family::NegativeBinomial { alpha } => (mean + alpha * mean * mean, 1.0 + 2.0 * alpha * mean),
            Family::Tweedie { power } => (mean.powf(power), power * mean.powf(power - 1.0)),
        }
    }

    /// Whether a mean is possible.
    fn holds(self, mean: f64) -> bool {
        match self {
            Family::Gaussian => mean.is_finite(),
            Family::Binomial => (0.0..=1.0).contains(&mean),
            _ => mean > 0.0 && mean.is_finite(),
        }
    }

    /// The mean that each row starts from: halfway between its target and the mean of all.
    pub fn start(self, y: f64, center: f64) -> f64 {
        match self {
            Family::Gaussian => y,
            Family::Binomial => 0.5 * (y + 0.5),
            _ => 0.5 * (y + center.max(1e-10)),
        }
    }

    /// Twice the difference of log-likelihoods between a perfect fit and `mean`, times the dispersion.
    pub fn deviance(self, y: f64, mean: f64) -> f64 {
        let y_ln = |ratio: f64| if y == 0.0 { 0.0 } else { y * ratio.ln() };
        let half = match self {
            Family::Gaussian => 0.5 * (y - mean) * (y - mean),
            Family::Binomial => {
                let (a, b) = (mean.clamp(1e-300, 1.0), (1.0 - mean).clamp(1e-300, 1.0));
                let rest = 1.0 - y;
                y_ln(y / a) + if rest == 0.0 { 0.0 } else { rest * (rest / b).ln() }
            }
            Family::Poisson => y_ln(y / mean) - (y - mean),
            Family::Gamma => (mean / y).ln() + y / mean - 1.0,
            Family::NegativeBinomial { alpha } => {
                y_ln(y / mean) - (y + 1.0 / alpha) * ((1.0 + alpha * y) / (1.0 + alpha * mean)).ln()
            }
            Family::Tweedie { power: p } => {
                y.powf(2.0 - p) / ((1.0 - p) * (2.0 - p)) - y * mean.powf(1.0 - p) / (1.0 - p)
                    + mean.powf(2.0 - p) / (2.0 - p)
            }
        };
        2.0 * half
    }

    /// The log-likelihood of one row of unit weight; for the dispersed families without what the dispersion adds
    /// (see [`Family::log_likelihood`]).
    pub fn log_density(self, y: f64, mean: f64) -> f64 {
        let ln = |x: f64| x.max(1e-300).ln();
        match self {
            Family::Gaussian | Family::Tweedie { .. } => 0.0,
            Family::Binomial => {
                let part = |y: f64, p: f64| if y == 0.0 { 0.0 } else { y * ln(p) };
                part(y, mean) + part(1.0 - y, 1.0 - mean)
            }
            Family::Poisson => (if y == 0.0 { 0.0 } else { y * mean.ln() }) - mean - ln_gamma(y + 1.0),
            Family::Gamma => -y.ln(),
            Family::NegativeBinomial { alpha } => {
                let a = 1.0 / alpha;
                let counted = if y == 0.0 { 0.0 } else { y * (alpha * mean / (1.0 + alpha * mean)).ln() };
                counted - a * (alpha * mean).ln_1p() + ln_gamma(y + a) - ln_gamma(a) - ln_gamma(y + 1.0)
            }
        }
    }

    /// What the log-likelihood of a share of `weight` trials has beside the trials' own: the logarithm of the binomial
    /// coefficient.
    pub fn trials(self, y: f64, weight: f64) -> f64 {
        if self != Family::Binomial || y == 0.0 || y == 1.0 {
            return 0.0;
        }
        let hits = weight * y;
        ln_gamma(weight + 1.0) - ln_gamma(hits + 1.0) - ln_gamma(weight - hits + 1.0)
    }

    /// The log-likelihood of all rows, from the sum of [`Family::log_density`], the deviance, the sum of weights and
    /// the dispersion. NaN for Tweedie, whose density has no closed form.
    pub fn log_likelihood(self, densities: f64, deviance: f64, weight: f64, scale: f64) -> f64 {
        match self {
            Family::Gaussian => {
                -0.5 * (deviance / scale + weight * (scale.ln() + (2.0 * std::f64::consts::PI).ln()))
            }
            Family::Gamma => {
                let k = 1.0 / scale;
                // sum of ln(y / mean) - y / mean is -(deviance / 2) - weight
                k * (-0.5 * deviance - weight) + weight * (k * k.ln() - ln_gamma(k)) + densities
            }
            Family::Tweedie { .. } => f64::NAN,
            _ => densities,
        }
    }

    /// Fills loss, slope and curvature from the margins. The curvature is the observed one for the log link, where it
    /// cannot be negative, and the expected one (Fisher's scoring) for the others.
    pub fn rows(self, link: Link, y: &[f64], rows: &mut Rows) {
        let Rows { margin, loss, slope, curvature, .. } = rows;
        let each = y.iter().zip(&*margin).zip(loss).zip(slope).zip(curvature);
        if link == Link::Log && !matches!(self, Family::Gaussian | Family::Binomial) {
            return dense::vectorized(
                #[inline(always)]
                || {
                    for ((((y, m), loss), slope), curvature) in each {
                        (*loss, *slope, *curvature) = self.log_row(*y, *m);
                    }
                },
            );
        }
        for ((((y, m), loss), slope), curvature) in each {
            let mean = link.mean(*m);
            if !self.holds(mean) || !m.is_finite() {
                (*loss, *slope, *curvature) = (f64::INFINITY, 0.0, 0.0);
                continue;
            }
            let (first, _) = link.slopes(*m);
            let variance = self.variance(mean).0.max(1e-300);
            *loss = 0.5 * self.deviance(*y, mean);
            *slope = (mean - y) / variance * first;
            *curvature = first * first / variance;
        }
    }

    #[inline(always)]
    fn log_row(self, y: f64, m: f64) -> (f64, f64, f64) {
        match self {
            Family::Gamma => {
                let r = y * dense::exp(-m);
                (r + m, 1.0 - r, r)
            }
            Family::NegativeBinomial { alpha } => {
                let mean = dense::exp(m);
                let all = 1.0 + alpha * mean;
                let loss = (y + 1.0 / alpha) * all.ln() - y * m;
                (loss, (mean - y) / all, mean * (1.0 + alpha * y) / (all * all))
            }
            Family::Tweedie { power } => {
                let (a, b) = (y * dense::exp((1.0 - power) * m), dense::exp((2.0 - power) * m));
                (a / (power - 1.0) + b / (2.0 - power), b - a, (2.0 - power) * b + (power - 1.0) * a)
            }
            _ => {
                let mean = dense::exp(m);
                (mean - y * m, mean - y, mean)
            }
        }
    }

    /// The observed second derivative of the loss by the predictor at a mean, which may be negative.
    pub fn observed(self, link: Link, y: f64, m: f64) -> f64 {
        let mean = link.mean(m);
        let (first, second) = link.slopes(m);
        let (variance, change) = self.variance(mean);
        let variance = variance.max(1e-300);
        let expected = first * first / variance;
        expected - (y - mean) * (second / variance - first * first * change / (variance * variance))
    }

    /// For negative binomials: minus the log-likelihood's derivatives by `t = ln alpha`, once and twice, and by `t` and
    /// the predictor together. Log link.
    pub fn dispersion(alpha: f64, y: f64, m: f64) -> (f64, f64, f64) {
        let (a, mean) = (1.0 / alpha, m.exp());
        let all = 1.0 + alpha * mean;
        // With a = 1 / alpha: l = lnG(y + a) - lnG(a) + a ln(a / (a + mean)) + y ln(mean / (a + mean)) + ...
        let first = digamma(y + a) - digamma(a) - all.ln() + 1.0 - (y + a) / (a + mean);
        let second = crate::distributions::trigamma(y + a) - crate::distributions::trigamma(a) + 1.0 / a
            - 2.0 / (a + mean)
            + (y + a) / ((a + mean) * (a + mean));
        // d/dt = -a d/da
        let once = a * first;
        let twice = -(a * first + a * a * second);
        // d slope / dt, slope = (mean - y) / (1 + alpha mean)
        let cross = -(mean - y) * alpha * mean / (all * all);
        (once, twice, cross)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slopes_and_curvatures_are_those_of_the_loss() {
        let families = [
            Family::Gaussian,
            Family::Binomial,
            Family::Poisson,
            Family::Gamma,
            Family::NegativeBinomial { alpha: 0.7 },
            Family::Tweedie { power: 1.4 },
        ];
        for family in families {
            for link in family.links() {
                let y = 0.8;
                for m in [-0.7, 0.25, 0.6] {
                    let at = |m: f64| {
                        let mut rows = Rows::new();
                        rows.margin[0] = m;
                        family.rows(*link, &[y], &mut rows);
                        (rows.loss[0], rows.slope[0])
                    };
                    let h = 1e-5;
                    let ((low, s0), (_, slope), (high, s1)) = (at(m - h), at(m), at(m + h));
                    if !(low.is_finite() && high.is_finite()) {
                        continue;
                    }
                    assert!(((high - low) / (2.0 * h) - slope).abs() < 1e-6, "{family:?} {link:?} {m}");
                    let observed = family.observed(*link, y, m);
                    assert!(((s1 - s0) / (2.0 * h) - observed).abs() < 1e-5, "{family:?} {link:?} {m}");
                }
            }
        }
    }

    #[test]
    fn dispersion_is_the_slope_of_the_likelihood() {
        let (y, m, h) = (3.0, 0.4f64, 1e-5);
        let minus = |t: f64| -Family::NegativeBinomial { alpha: t.exp() }.log_density(y, m.exp());
        let slope = |t: f64, m: f64| {
            let mean = m.exp();
            (mean - y) / (1.0 + t.exp() * mean)
        };
        for t in [-2.0f64, 0.3] {
            let (once, twice, cross) = Family::dispersion(t.exp(), y, m);
            assert!(((minus(t + h) - minus(t - h)) / (2.0 * h) - once).abs() < 1e-7);
            let (a, _, _) = Family::dispersion((t - h).exp(), y, m);
            let (b, _, _) = Family::dispersion((t + h).exp(), y, m);
            assert!(((b - a) / (2.0 * h) - twice).abs() < 1e-6);
            assert!(((slope(t + h, m) - slope(t - h, m)) / (2.0 * h) - cross).abs() < 1e-7);
        }
    }

    #[test]
    fn targets_outside_the_family_are_refused() {
        assert_eq!(Family::Poisson.check(&[1.0, -2.0]).unwrap_err().kind, Kind::Data);
        assert!(Family::Gamma.check(&[0.0]).unwrap_err().message.contains("above 0"));
        assert!(
            Family::Binomial.check(&[1.5]).is_err() && Family::Tweedie { power: 1.5 }.check(&[0.0]).is_ok()
        );
    }
}
