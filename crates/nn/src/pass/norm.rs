//! Normalising layers. Layer and group norms take each image by itself; a batch norm needs all images of a batch,
//! whose lanes add up here what they hold, and is then a scale and a shift a channel.

use super::{Held, Pass};
use crate::Error;
use crate::kernels::{self, Isa};
use crate::plan::{Norm, Op, Over, Plan, Tensor};
use std::ops::Range;

/// What a batch norm does to each channel: `y = x scale + shift`, and for the gradient
/// `dx = dy scale + (x - mean) slope + offset`.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    pub scale: Vec<f32>,
    pub shift: Vec<f32>,
    pub mean: Vec<f32>,
    pub slope: Vec<f32>,
    pub offset: Vec<f32>,
    /// The batch's mean and variance, and its number of pixels.
    means: Vec<f64>,
    variances: Vec<f64>,
    count: f64,
}

/// What a lane holds of one channel each: the number of pixels, and two sums.
#[derive(Debug, Clone, Default)]
pub struct Gathered {
    count: f64,
    shift: Vec<f32>,
    sums: Vec<f64>,
    others: Vec<f64>,
}

impl Gathered {
    fn reset(&mut self, width: usize) {
        self.count = 0.0;
        self.shift.resize(width, 0.0);
        for sums in [&mut self.sums, &mut self.others] {
            sums.clear();
            sums.resize(width, 0.0);
        }
    }

    /// Sums of a lane's values and their squares.
    pub fn values(&mut self, isa: Isa, (from, x): Held) {
        let grid = &from.value;
        self.reset(grid.channels);
        for x in x.chunks_exact(grid.size()) {
            if self.count == 0.0 {
                self.shift.copy_from_slice(&x[grid.row(0)][..grid.channels]);
            }
            for r in 0..grid.height {
                let x = &x[grid.row(r)];
                kernels::norm::shifted_sums(isa, x, &self.shift, &mut self.sums, &mut self.others);
            }
            self.count += (grid.height * grid.width) as f64;
        }
    }

    /// Sums of a lane's gradients, and of these times the distance of the values to their mean.
    pub fn grads(&mut self, isa: Isa, batch: &Batch, (from, x): Held, (to, dy): Held) {
        self.reset(from.value.channels);
        for (x, dy) in x.chunks_exact(from.value.size()).zip(dy.chunks_exact(to.grad.size())) {
            for r in 0..from.value.height {
                let (x, dy) = (&x[from.value.row(r)], &dy[to.grad.row(r)]);
                kernels::norm::grad_sums(isa, x, dy, &batch.mean, &mut self.sums, &mut self.others);
            }
        }
    }
}

impl Batch {
    /// Takes mean and variance from all lanes, in order (Chan, Golub, LeVeque 1979).
    pub fn measure<'a>(&mut self, norm: &Norm, weights: &[f32], lanes: impl Iterator<Item = &'a Gathered>) {
        self.count = 0.0;
        self.means = vec![0.0; norm.width];
        self.variances = vec![0.0; norm.width];
        for lane in lanes.filter(|l| l.count > 0.0) {
            let count = self.count + lane.count;
            for c in 0..norm.width {
                let mean = f64::from(lane.shift[c]) + lane.sums[c] / lane.count;
                let squares = (lane.others[c] - lane.sums[c] * lane.sums[c] / lane.count).max(0.0);
                let delta = mean - self.means[c];
                self.means[c] += delta * lane.count / count;
                self.variances[c] += squares + delta * delta * self.count * lane.count / count;
            }
            self.count = count;
        }
        let count = self.count.max(1.0);
        self.variances.iter_mut().for_each(|v| *v /= count);
        self.set(norm, weights);
    }

    /// Takes them from the running ones.
    pub fn recall(&mut self, norm: &Norm, running: usize, weights: &[f32]) {
        let wide = |at: usize| weights[at..at + norm.width].iter().map(|x| f64::from(*x)).collect();
        (self.means, self.variances) = (wide(running), wide(running + norm.width));
        self.set(norm, weights);
    }

    fn set(&mut self, norm: &Norm, weights: &[f32]) {
        let (scale, shift) = (&weights[norm.scale()], &weights[norm.shift()]);
        let spread = |v: f64| 1.0 / (v + f64::from(norm.epsilon)).sqrt();
        self.scale =
            scale.iter().zip(&self.variances).map(|(g, v)| (f64::from(*g) * spread(*v)) as f32).collect();
        self.mean = self.means.iter().map(|m| *m as f32).collect();
        let moved = shift.iter().zip(self.means.iter().zip(&self.scale));
        self.shift = moved.map(|(b, (m, a))| (f64::from(*b) - m * f64::from(*a)) as f32).collect();
        self.slope = vec![0.0; norm.width];
        self.offset = vec![0.0; norm.width];
    }

    /// Takes the batch's own share in the gradient from all lanes, in order; gives the gradients of scale and shift.
    pub fn differentiate<'a>(
        &mut self,
        norm: &Norm,
        lanes: impl Iterator<Item = &'a Gathered>,
        grads: &mut [f32],
    ) {
        let (mut sums, mut products) = (vec![0.0f64; norm.width], vec![0.0f64; norm.width]);
        for lane in lanes {
            for c in 0..norm.width {
                sums[c] += lane.sums[c];
                products[c] += lane.others[c];
            }
        }
        let (scale, shift) = grads[norm.at..norm.shift().end].split_at_mut(norm.width);
        for c in 0..norm.width {
            let spread = 1.0 / (self.variances[c] + f64::from(norm.epsilon)).sqrt();
            scale[c] = (products[c] * spread) as f32;
            shift[c] = sums[c] as f32;
            let a = f64::from(self.scale[c]) / self.count.max(1.0);
            self.slope[c] = (-a * spread * spread * products[c]) as f32;
            self.offset[c] = (-a * sums[c]) as f32;
        }
    }

    /// Moves the running mean and variance towards this batch's, as PyTorch does: its variance is that of a sample.
    pub fn remember(&self, norm: &Norm, running: usize, momentum: f32, weights: &mut [f32]) {
        let sample = self.count / (self.count - 1.0).max(1.0);
        let share = f64::from(momentum);
        for c in 0..norm.width {
            for (at, now) in
                [(running + c, self.means[c]), (running + norm.width + c, self.variances[c] * sample)]
            {
                weights[at] = ((1.0 - share) * f64::from(weights[at]) + share * now) as f32;
            }
        }
    }
}

/// What batch norms do when they use their running means and variances: all in scoring, frozen ones in training.
pub fn recall(plan: &Plan, weights: &[f32], all: bool, norms: &mut Vec<Batch>) {
    norms.resize_with(plan.nodes.len(), Batch::default);
    for (node, batch) in plan.nodes.iter().zip(norms) {
        if let Op::BatchNorm { norm, running, frozen, .. } = &node.op
            && (all || *frozen)
        {
            batch.recall(norm, *running, weights);
        }
    }
}

/// Values that are normalised together: pixels of an image, and channels in each.
struct Set<'a> {
    rows: Range<usize>,
    columns: Range<usize>,
    places: &'a [u32],
}

impl Set<'_> {
    fn each(&self, tensor: &Tensor, mut f: impl FnMut(usize, usize)) {
        let grid = &tensor.value;
        for row in self.rows.clone() {
            for column in self.columns.clone() {
                let at = grid.at(row, column, [0, 0]);
                self.places.iter().for_each(|p| f(at, *p as usize));
            }
        }
    }

    /// Mean, and one over the standard deviation.
    fn moments(&self, tensor: &Tensor, x: &[f32], epsilon: f32) -> (f32, f32) {
        let n = (self.rows.len() * self.columns.len() * self.places.len()) as f64;
        let (mut sum, mut squares) = (0.0f64, 0.0f64);
        self.each(tensor, |at, c| sum += f64::from(x[at + c]));
        let mean = sum / n;
        self.each(tensor, |at, c| squares += (f64::from(x[at + c]) - mean).powi(2));
        (mean as f32, (1.0 / (squares / n + f64::from(epsilon)).sqrt()) as f32)
    }
}

/// Calls `f` for each set of an image.
fn sets(tensor: &Tensor, over: Over, places: &[u32], mut f: impl FnMut(&Set)) {
    let (height, width) = (tensor.shape.height, tensor.shape.width);
    match over {
        Over::Pixel => {
            for (row, column) in (0..height).flat_map(|r| (0..width).map(move |c| (r, c))) {
                f(&Set { rows: row..row + 1, columns: column..column + 1, places });
            }
        }
        Over::Groups(groups) => {
            for part in places.chunks(places.len() / groups) {
                f(&Set { rows: 0..height, columns: 0..width, places: part });
            }
        }
    }
}

/// Layer and group norm. Scale and shift lie where their channels do.
pub fn forward(
    cx: &Pass,
    norm: &Norm,
    over: Over,
    (from, x): Held,
    (to, y): (&Tensor, &mut [f32]),
) -> Result<(), Error> {
    let (scale, shift, places) = (&cx.weights[norm.scale()], &cx.weights[norm.shift()], from.places());
    for (x, y) in x.chunks_exact(from.value.size()).zip(y.chunks_exact_mut(to.value.size())) {
        cx.stop.check()?;
        sets(from, over, &places, |set| {
            let (mean, spread) = set.moments(from, x, norm.epsilon);
            for row in set.rows.clone() {
                for column in set.columns.clone() {
                    let (i, o) = (from.value.at(row, column, [0, 0]), to.value.at(row, column, [0, 0]));
                    for c in set.places.iter().map(|p| *p as usize) {
                        y[o + c] = (x[i + c] - mean) * spread * scale[c] + shift[c];
                    }
                }
            }
        });
    }
    Ok(())
}

/// The gradient of the input; those of scale and shift are added to `sums`.
pub fn backward(
    cx: &Pass,
    norm: &Norm,
    over: Over,
    (from, x): Held,
    (to, dy): Held,
    dx: &mut [f32],
    sums: &mut [f32],
) -> Result<(), Error> {
    let (scale, places) = (&cx.weights[norm.scale()], from.places());
    let (scale_sums, shift_sums) = sums[norm.at..norm.shift().end].split_at_mut(norm.width);
    let images = x.chunks_exact(from.value.size()).zip(dy.chunks_exact(to.grad.size()));
    for ((x, dy), dx) in images.zip(dx.chunks_exact_mut(from.grad.size())) {
        cx.stop.check()?;
        for r in 0..from.grad.height {
            dx[from.grad.row(r)].fill(0.0);
        }
        sets(from, over, &places, |set| {
            let (mean, spread) = set.moments(from, x, norm.epsilon);
            let n = (set.rows.len() * set.columns.len() * set.places.len()) as f64;
            let (mut total, mut product) = (0.0f64, 0.0f64);
            for row in set.rows.clone() {
                for column in set.columns.clone() {
                    let (i, o) = (from.value.at(row, column, [0, 0]), to.grad.at(row, column, [0, 0]));
                    for c in set.places.iter().map(|p| *p as usize) {
                        let (unit, dy) = ((x[i + c] - mean) * spread, dy[o + c]);
                        scale_sums[c] += dy * unit;
                        shift_sums[c] += dy;
                        total += f64::from(dy * scale[c]);
                        product += f64::from(dy * scale[c] * unit);
                    }
                }
            }
            let (total, product) = ((total / n) as f32, (product / n) as f32);
            for row in set.rows.clone() {
                for column in set.columns.clone() {
                    let (i, o) = (from.value.at(row, column, [0, 0]), to.grad.at(row, column, [0, 0]));
                    let d = from.grad.at(row, column, [0, 0]);
                    for c in set.places.iter().map(|p| *p as usize) {
                        let unit = (x[i + c] - mean) * spread;
                        dx[d + c] = spread * (dy[o + c] * scale[c] - total - unit * product);
                    }
                }
            }
        });
    }
    Ok(())
}
