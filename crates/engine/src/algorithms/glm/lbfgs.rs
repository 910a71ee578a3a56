//! L-BFGS (Nocedal and Wright, algorithm 7.4) turned inside out: the caller owns the loop and evaluates the
//! function, because an evaluation is a pass over rows that may lie elsewhere. A preconditioner stands for the
//! inverse Hessian, scaled to the latest step.

use crate::dense::dot;
use std::collections::VecDeque;

/// Steps that are remembered.
const MEMORY: usize = 12;
/// Shorter steps tried along one direction before giving up.
const TRIES: usize = 30;

/// The optimiser between two evaluations.
#[derive(Default)]
pub struct Lbfgs {
    base: Vec<f64>,
    value: f64,
    gradient: Vec<f64>,
    direction: Vec<f64>,
    slope: f64,
    step: f64,
    tries: usize,
    history: VecDeque<Pair>,
}

struct Pair {
    moved: Vec<f64>,
    changed: Vec<f64>,
    /// `moved . changed`
    product: f64,
    /// `changed . P changed`
    square: f64,
}

/// What to do with the last evaluation.
pub enum Next {
    /// Evaluate here.
    At(Vec<f64>),
    /// No shorter step helps: the best point is as good as rounding allows.
    Stalled(Vec<f64>),
}

impl Lbfgs {
    /// Takes the value and gradient at the point that was asked for last (or the first point), and gives the next.
    pub fn next(
        &mut self,
        point: &[f64],
        value: f64,
        gradient: Vec<f64>,
        precondition: impl Fn(&mut [f64]),
    ) -> Next {
        if !self.base.is_empty() && !self.accepts(value, &gradient) {
            self.tries += 1;
            if self.tries > TRIES {
                return Next::Stalled(std::mem::take(&mut self.base));
            }
            // The minimum of the parabola through what is known, within bounds.
            let rise = value - self.value - self.slope * self.step;
            let best = -0.5 * self.slope * self.step * self.step / rise;
            let (low, high) = (0.1 * self.step, 0.5 * self.step);
            self.step = if best.is_finite() { best.clamp(low, high) } else { low };
            return Next::At(self.along());
        }
        if !self.base.is_empty() {
            self.remember(point, &gradient, &precondition);
        }
        self.base = point.to_vec();
        (self.value, self.gradient) = (value, gradient);
        self.direction = self.descent(&precondition);
        self.slope = dot(&self.gradient, &self.direction);
        if self.slope >= 0.0 {
            self.history.clear();
            self.direction = self.descent(&precondition);
            self.slope = dot(&self.gradient, &self.direction);
        }
        (self.step, self.tries) = (1.0, 0);
        Next::At(self.along())
    }

    fn along(&self) -> Vec<f64> {
        self.base.iter().zip(&self.direction).map(|(b, d)| b + self.step * d).collect()
    }

    /// Armijo's condition; or, where values no longer tell points apart, Hager and Zhang's one on slopes (2005).
    fn accepts(&self, value: f64, gradient: &[f64]) -> bool {
        let armijo = value <= self.value + 1e-4 * self.step * self.slope;
        let level = value <= self.value + 1e-13 * self.value.abs();
        armijo || (level && dot(gradient, &self.direction).abs() <= self.slope.abs())
    }

    fn remember(&mut self, point: &[f64], gradient: &[f64], precondition: &impl Fn(&mut [f64])) {
        let minus = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a - b).collect::<Vec<f64>>();
        let (moved, changed) = (minus(point, &self.base), minus(gradient, &self.gradient));
        let product = dot(&moved, &changed);
        let mut scaled = changed.clone();
        precondition(&mut scaled);
        let square = dot(&changed, &scaled);
        // A convex function has product > 0; rounding may say otherwise near the optimum.
        if product > 1e-14 * (dot(&moved, &moved) * dot(&changed, &changed)).sqrt() && square > 0.0 {
            if self.history.len() == MEMORY {
                self.history.pop_front();
            }
            self.history.push_back(Pair { moved, changed, product, square });
        }
    }

    fn descent(&self, precondition: &impl Fn(&mut [f64])) -> Vec<f64> {
        let add = |a: &mut [f64], by: f64, b: &[f64]| a.iter_mut().zip(b).for_each(|(a, b)| *a += by * b);
        let mut q: Vec<f64> = self.gradient.iter().map(|g| -g).collect();
        let mut parts = Vec::with_capacity(self.history.len());
        for pair in self.history.iter().rev() {
            let part = dot(&pair.moved, &q) / pair.product;
            add(&mut q, -part, &pair.changed);
            parts.push(part);
        }
        precondition(&mut q);
        if let Some(last) = self.history.back() {
            let scale = last.product / last.square;
            q.iter_mut().for_each(|q| *q *= scale);
        }
        for (pair, part) in self.history.iter().zip(parts.into_iter().rev()) {
            let back = dot(&pair.changed, &q) / pair.product;
            add(&mut q, part - back, &pair.moved);
        }
        q
    }
}
