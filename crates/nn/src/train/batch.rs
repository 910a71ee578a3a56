//! A batch of an epoch, and what chance does to its images: the same wherever its step is computed.

use super::{Found, Options, Rows};
use crate::augment::{Augment, Change};
use crate::network::Shape;
use crate::random::Stream;

/// A batch. What chance decides depends on the seed and the place in the training alone.
#[derive(Clone, Copy)]
pub struct Batch<'a> {
    /// All rows.
    pub rows: Rows<'a>,
    /// The numbers of those in the batch.
    pub images: &'a [u32],
    /// How the network is trained.
    pub options: &'a Options,
    /// What binary losses count a target of 1 for, an output; none where that is 1.
    pub positive: &'a [f32],
    /// Epoch and batch, from 0.
    pub at: (usize, usize),
}

/// How an image of a batch is varied.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Variation {
    /// Its own change.
    pub own: Change,
    /// The share of it that stays.
    pub share: f32,
    /// The row that the rest comes from, where there is a rest, and the change of that.
    pub partner: (u32, Change),
}

impl Batch<'_> {
    /// The random stream of an image of the batch, for one use: a layer's number, or what this module takes for itself.
    pub(crate) fn stream(&self, image: usize, use_: u64) -> Stream {
        let (epoch, batch) = (1 + self.at.0 as u64, self.at.1 as u64);
        Stream::new(self.options.seed, [epoch, (batch << 32) | image as u64, use_])
    }

    /// How an image of this shape is varied.
    pub(crate) fn variation(&self, shape: Shape, image: usize) -> Variation {
        let augment = self.options.augment;
        let none = Variation { own: Change::default(), share: 1.0, partner: (0, Change::default()) };
        if augment == Augment::default() {
            return none;
        }
        let mut stream = self.stream(image, u64::MAX);
        let own = augment.draw(shape, &mut stream);
        let (partner, share) = self.partner(image);
        if share >= 1.0 {
            return Variation { own, ..none };
        }
        Variation { own, share, partner: (partner, augment.draw(shape, &mut stream)) }
    }

    /// The row that an image of the batch is mixed with, and the share that it keeps.
    fn partner(&self, image: usize) -> (u32, f32) {
        let (partner, share) =
            self.options.augment.mix(self.images.len(), &mut self.stream(image, u64::MAX - 1));
        (self.images[partner], share)
    }

    /// What the outputs of an image tell, and the gradient of the batch's mean loss by them.
    pub(crate) fn judge(&self, image: usize, outputs: &[f32], gradient: &mut [f32]) -> Found {
        let (loss, row) = (self.options.loss, self.images[image]);
        let each = loss.targets(outputs.len());
        let target = |row: u32| &self.rows.targets[row as usize * each..][..each];
        let weight = self.rows.weights.map_or(1.0, |w| w[row as usize]);
        let share = weight / self.images.len() as f32;
        gradient.fill(0.0);
        let (partner, own) = self.partner(image);
        let mut value = f64::from(own) * loss.add(outputs, target(row), self.positive, share * own, gradient);
        if own < 1.0 {
            let rest = 1.0 - own;
            value +=
                f64::from(rest) * loss.add(outputs, target(partner), self.positive, share * rest, gradient);
        }
        let weight = f64::from(weight);
        let correct = if loss.is_right(outputs, target(row)) { weight } else { 0.0 };
        Found { loss: value * weight, correct, weight }
    }
}
