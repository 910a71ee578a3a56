//! How training images vary: each is changed anew in each epoch, as its place in the training and the seed say.

use crate::network::Shape;
use crate::random::Stream;
use serde::{Deserialize, Serialize};

/// How training images are varied.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Augment {
    /// Half of them are mirrored, left to right.
    pub flip: bool,
    /// Each is moved by up to an eighth of its height and width; what comes in is the mean.
    pub crop: bool,
    /// The side of a square, as a share of the image's, that becomes the mean (DeVries and Taylor 2017); 0 for none.
    pub cutout: f32,
    /// Each is mixed with another, and so are their targets, by shares drawn from a beta distribution with this
    /// parameter twice (Zhang et al. 2018); 0 for none.
    pub mixup: f32,
}

/// A change of one image: whether it is mirrored, by how much it is moved down and right, and rows and columns
/// (from and to) that are cut out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Change {
    pub(crate) flip: bool,
    pub(crate) down: isize,
    pub(crate) right: isize,
    pub(crate) hole: [usize; 4],
}

impl Change {
    /// Whether a pixel of the changed image is cut out.
    #[inline]
    pub(crate) fn hides(&self, row: usize, column: usize) -> bool {
        let [top, bottom, left, right] = self.hole;
        top <= row && row < bottom && left <= column && column < right
    }
}

impl Augment {
    /// Draws a change for an image of this shape.
    pub fn draw(self, shape: Shape, stream: &mut Stream) -> Change {
        let mut change = Change { flip: self.flip && stream.draw() & 1 == 1, ..Change::default() };
        if self.crop {
            let mut shift = |side: usize| {
                let most = (side / 8).max(1).min(side - 1);
                stream.below(2 * most + 1) as isize - most as isize
            };
            (change.down, change.right) = (shift(shape.height), shift(shape.width));
        }
        if self.cutout > 0.0 {
            // The square's middle lies anywhere, so that its edge may stand out of the image.
            let mut range = |side: usize| {
                let (half, middle) = ((self.cutout * side as f32 / 2.0).ceil() as usize, stream.below(side));
                [middle.saturating_sub(half), (middle + half).min(side)]
            };
            let ([top, bottom], [left, right]) = (range(shape.height), range(shape.width));
            change.hole = [top, bottom, left, right];
        }
        change
    }

    /// Draws the partner of an image among `n`, and the share that the image itself keeps, at least half; all of it
    /// where nothing is mixed.
    pub fn mix(self, n: usize, stream: &mut Stream) -> (usize, f32) {
        if self.mixup == 0.0 {
            return (0, 1.0);
        }
        let partner = stream.below(n);
        // Johnk 1964: a beta variate from powers of uniform ones.
        for _ in 0..1000 {
            let mut power = || stream.unit().powf(1.0 / f64::from(self.mixup));
            let (a, b) = (power(), power());
            if a + b > 0.0 && a + b <= 1.0 {
                let share = (a / (a + b)) as f32;
                return (partner, share.max(1.0 - share));
            }
        }
        (partner, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_what_is_asked_for_and_the_same_by_the_same_seed() {
        let shape = Shape::new(16, 24, 3);
        let all = Augment { flip: true, crop: true, cutout: 0.25, mixup: 0.4 };
        let draw = |augment: Augment, i| {
            let mut stream = Stream::new(5, [i, 0, 0]);
            (augment.draw(shape, &mut stream), augment.mix(100, &mut stream))
        };
        assert_eq!(draw(Augment::default(), 3), (Change::default(), (0, 1.0)));
        let drawn: Vec<_> = (0..400).map(|i| draw(all, i)).collect();
        assert_eq!(drawn, (0..400).map(|i| draw(all, i)).collect::<Vec<_>>());
        let flips = drawn.iter().filter(|d| d.0.flip).count();
        assert!((160..240).contains(&flips), "{flips}");
        assert!(drawn.iter().all(|(c, _)| c.down.abs() <= 2 && c.right.abs() <= 3));
        let cut = |c: &Change| {
            (0..16).flat_map(|r| (0..24).map(move |p| (r, p))).filter(|(r, p)| c.hides(*r, *p)).count()
        };
        assert!(drawn.iter().all(|(c, _)| (6..=24).contains(&cut(c))));
        assert!(drawn.iter().any(|(c, _)| cut(c) == 24));
        let shares: Vec<f32> = drawn.iter().map(|(_, (_, share))| *share).collect();
        assert!(shares.iter().all(|s| (0.5..=1.0).contains(s)));
        // The mean of max(b, 1 - b) for b of Beta(0.4, 0.4) is 0.840.
        let mean = shares.iter().sum::<f32>() / 400.0;
        assert!((mean - 0.840).abs() < 0.03, "{mean}");
    }
}
