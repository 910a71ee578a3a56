//! What a network is fed: images of bytes or numbers, normalised by channel with measured means and spreads.

use crate::Error;
use crate::augment::Change;
use crate::plan::Grid;
use serde::{Deserialize, Serialize};

/// Inputs of rows, one after another, in the order (row of pixels, pixel, channel).
#[derive(Debug, Clone, Copy)]
pub enum Inputs<'a> {
    /// Images of bytes.
    Bytes(&'a [u8]),
    /// Numbers.
    Numbers(&'a [f32]),
    /// Numbers, as scored rows come.
    Doubles(&'a [f64]),
}

impl Inputs<'_> {
    /// Values in all.
    pub fn len(&self) -> usize {
        match self {
            Inputs::Bytes(v) => v.len(),
            Inputs::Numbers(v) => v.len(),
            Inputs::Doubles(v) => v.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Images of bytes that somebody else keeps, such as in a file. Many threads read them at once.
pub trait Images: std::fmt::Debug + Send + Sync {
    /// Bytes of each.
    fn size(&self) -> usize;

    /// An image by its number: lent, or read into `space`.
    ///
    /// # Errors
    /// `Error::Read` where it cannot be had.
    fn image<'a>(&'a self, number: u32, space: &'a mut Vec<u8>) -> Result<&'a [u8], Error>;

    /// Says which images will be asked for soon, so that they can be read ahead.
    fn expect(&self, numbers: &mut dyn Iterator<Item = u32>);
}

/// Where the inputs of a training come from.
#[derive(Debug, Clone, Copy)]
pub enum Feed<'a> {
    /// Memory.
    Here(Inputs<'a>),
    /// Whoever keeps the images.
    Kept {
        /// All that are kept.
        images: &'a dyn Images,
        /// The number of the image of each row.
        rows: &'a [u32],
    },
}

impl<'a> From<Inputs<'a>> for Feed<'a> {
    fn from(inputs: Inputs<'a>) -> Feed<'a> {
        Feed::Here(inputs)
    }
}

impl Feed<'_> {
    /// Values in all.
    pub fn len(&self) -> usize {
        match self {
            Feed::Here(inputs) => inputs.len(),
            Feed::Kept { images, rows } => rows.len() * images.size(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The inputs that a row is among, and its number there; read into `space` where somebody else keeps them.
    ///
    /// # Errors
    /// Those of [`Images::image`].
    pub fn of<'s>(&'s self, row: u32, space: &'s mut Vec<u8>) -> Result<(Inputs<'s>, usize), Error> {
        match self {
            Feed::Here(inputs) => Ok((*inputs, row as usize)),
            Feed::Kept { images, rows } => Ok((Inputs::Bytes(images.image(rows[row as usize], space)?), 0)),
        }
    }

    /// Says which rows are taken next.
    pub fn expect(&self, next: &[u32]) {
        if let Feed::Kept { images, rows } = self {
            images.expect(&mut next.iter().map(|row| rows[*row as usize]));
        }
    }
}

/// Number, mean and sum of squared distances of values, channel by channel; added up without cancellation (Chan,
/// Golub, LeVeque 1979).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Moments {
    count: f64,
    mean: Vec<f64>,
    squares: Vec<f64>,
}

impl Moments {
    /// Adds a block of values, `channels` a pixel.
    pub fn add(&mut self, inputs: Inputs, channels: usize) {
        let values = inputs.len() / channels.max(1);
        if values == 0 {
            return;
        }
        let mut block =
            Moments { count: values as f64, mean: vec![0.0; channels], squares: vec![0.0; channels] };
        match inputs {
            Inputs::Bytes(v) => block.measure(v, |x| f64::from(*x)),
            Inputs::Numbers(v) => block.measure(v, |x| f64::from(*x)),
            Inputs::Doubles(v) => block.measure(v, |x| *x),
        }
        self.merge(&block);
    }

    fn measure<T>(&mut self, values: &[T], number: impl Fn(&T) -> f64) {
        let channels = self.mean.len();
        for pixel in values.chunks_exact(channels) {
            for (mean, x) in self.mean.iter_mut().zip(pixel) {
                *mean += number(x);
            }
        }
        self.mean.iter_mut().for_each(|m| *m /= self.count);
        for pixel in values.chunks_exact(channels) {
            for ((squares, mean), x) in self.squares.iter_mut().zip(&self.mean).zip(pixel) {
                *squares += (number(x) - mean) * (number(x) - mean);
            }
        }
    }

    /// Adds other values.
    pub fn merge(&mut self, other: &Moments) {
        if other.count == 0.0 {
            return;
        }
        if self.count == 0.0 {
            *self = other.clone();
            return;
        }
        let count = self.count + other.count;
        for ((mean, squares), (m, s)) in
            self.mean.iter_mut().zip(&mut self.squares).zip(other.mean.iter().zip(&other.squares))
        {
            let delta = m - *mean;
            *mean += delta * other.count / count;
            *squares += s + delta * delta * self.count * other.count / count;
        }
        self.count = count;
    }

    /// How many values a channel.
    pub fn count(&self) -> f64 {
        self.count
    }

    /// The mean and the standard deviation of a channel; the deviation of a constant one is 1.
    pub fn of(&self, channel: usize) -> (f64, f64) {
        let mean = self.mean.get(channel).copied().unwrap_or(0.0);
        (mean, if self.is_constant(channel) { 1.0 } else { self.variance(channel).sqrt() })
    }

    /// Whether all values of a channel are alike, but for what rounding leaves.
    pub fn is_constant(&self, channel: usize) -> bool {
        let mean = self.mean.get(channel).copied().unwrap_or(0.0);
        self.variance(channel) <= (mean * 1e-7) * (mean * 1e-7)
    }

    fn variance(&self, channel: usize) -> f64 {
        self.squares.get(channel).copied().unwrap_or(0.0) / self.count.max(1.0)
    }
}

/// `(x - mean) / deviation`, channel by channel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Normal {
    mean: Vec<f64>,
    scale: Vec<f64>,
}

impl Normal {
    /// By measured moments.
    pub fn new(moments: &Moments, channels: usize) -> Normal {
        let (mean, scale) = (0..channels).map(|c| moments.of(c)).map(|(m, d)| (m, 1.0 / d)).unzip();
        Normal { mean, scale }
    }

    /// Leaves a channel as it is, such as one of codes.
    pub fn leave(&mut self, channel: usize) {
        if let (Some(mean), Some(scale)) = (self.mean.get_mut(channel), self.scale.get_mut(channel)) {
            (*mean, *scale) = (0.0, 1.0);
        }
    }

    /// The mean and the deviation of each channel.
    pub fn moments(&self) -> (Vec<f64>, Vec<f64>) {
        (self.mean.clone(), self.scale.iter().map(|s| 1.0 / s).collect())
    }

    /// The means, then the scales.
    pub(crate) fn flat(&self) -> Vec<f64> {
        [&self.mean[..], &self.scale[..]].concat()
    }

    /// Whether it fits `channels` channels and is finite.
    pub fn is_valid(&self, channels: usize) -> bool {
        let finite = |v: &[f64]| v.len() == channels && v.iter().all(|x| x.is_finite());
        finite(&self.mean) && finite(&self.scale)
    }
}

/// Writes row `index` of the inputs, `channels` values a pixel, normalised and changed, into a network's input.
pub fn fill(
    inputs: Inputs,
    index: usize,
    channels: usize,
    normal: &Normal,
    grid: &Grid,
    change: Change,
    out: &mut [f32],
) {
    let n = grid.height * grid.width * channels;
    let at = index * n..(index + 1) * n;
    match inputs {
        Inputs::Bytes(v) => write(&v[at], |x| f64::from(*x), channels, normal, grid, change, out),
        Inputs::Numbers(v) => write(&v[at], |x| f64::from(*x), channels, normal, grid, change, out),
        Inputs::Doubles(v) => write(&v[at], |x| *x, channels, normal, grid, change, out),
    }
}

fn write<T>(
    image: &[T],
    number: impl Fn(&T) -> f64,
    channels: usize,
    normal: &Normal,
    grid: &Grid,
    change: Change,
    out: &mut [f32],
) {
    let pixels = grid.width;
    for r in 0..grid.height {
        let out = &mut out[grid.row(r)];
        let from = r as isize - change.down;
        if from < 0 || from >= grid.height as isize {
            out.fill(0.0);
            continue;
        }
        let row = &image[from as usize * pixels * channels..][..pixels * channels];
        for (p, out) in out.chunks_exact_mut(grid.channels).enumerate() {
            let at = if change.flip { pixels - 1 - p } else { p } as isize - change.right;
            if at < 0 || at >= pixels as isize || change.hides(r, p) {
                out.fill(0.0);
                continue;
            }
            let from = &row[at as usize * channels..][..channels];
            for (c, (out, x)) in out.iter_mut().zip(from).enumerate() {
                *out = ((number(x) - normal.mean[c]) * normal.scale[c]) as f32;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_of_parts_are_those_of_the_whole() {
        let values: Vec<f32> = (0..40).map(|i| 1e6 + (i * i % 17) as f32).collect();
        let (mut whole, mut parts) = (Moments::default(), Moments::default());
        whole.add(Inputs::Numbers(&values), 2);
        parts.merge(&Moments::default());
        for part in values.chunks(6) {
            parts.add(Inputs::Numbers(part), 2);
        }
        for c in 0..2 {
            let (a, b) = (whole.of(c), parts.of(c));
            assert!((a.0 - b.0).abs() < 1e-6 && (a.1 - b.1).abs() < 1e-6, "{a:?} {b:?}");
        }
        let mut constant = Moments::default();
        constant.add(Inputs::Bytes(&[7; 30]), 3);
        assert_eq!(constant.of(2), (7.0, 1.0));
    }

    #[test]
    fn fills_normalised_mirrored_and_moved() {
        let grid = Grid { height: 2, width: 3, channels: 1, top: 1, left: 1, rows: 4, columns: 5 };
        let normal = Normal { mean: vec![1.0], scale: vec![2.0] };
        let mut out = vec![0.0; grid.size()];
        let image = Inputs::Bytes(&[9, 9, 9, 9, 9, 9, 1, 2, 3, 4, 5, 6]);
        let mut rows = |change| {
            fill(image, 1, 1, &normal, &grid, change, &mut out);
            [out[grid.row(0)].to_vec(), out[grid.row(1)].to_vec()].concat()
        };
        assert_eq!(rows(Change::default()), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        let flipped = Change { flip: true, ..Change::default() };
        assert_eq!(rows(flipped), [4.0, 2.0, 0.0, 10.0, 8.0, 6.0]);
        let moved = Change { down: 1, right: -1, ..Change::default() };
        assert_eq!(rows(moved), [0.0, 0.0, 0.0, 2.0, 4.0, 0.0]);
        let cut = Change { hole: [0, 1, 1, 3], ..Change::default() };
        assert_eq!(rows(cut), [0.0, 0.0, 0.0, 6.0, 8.0, 10.0]);
    }
}
