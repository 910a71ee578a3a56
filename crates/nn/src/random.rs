//! Random streams that do not depend on threads: each is named by a seed and the place where it is used.

/// A SplitMix64 stream (Steele, Lea, Flood 2014): one multiplication chain a draw, and any number can start it.
#[derive(Debug, Clone)]
pub struct Stream(u64);

impl Stream {
    /// The stream of a seed and a place, such as (epoch, image, layer).
    pub fn new(seed: u64, place: [u64; 3]) -> Stream {
        let mut stream = Stream(seed);
        for number in place {
            let mixed = stream.draw();
            stream = Stream(mixed ^ number.wrapping_mul(0xD6E8_FEB8_6659_FD93));
        }
        stream
    }

    /// What names it: its numbers follow from this one alone.
    pub(crate) fn start(&self) -> u64 {
        self.0
    }

    /// 64 random bits.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number in `0 .. n`.
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.draw()) * n as u128) >> 64) as usize
    }

    /// A number in `-1 .. 1`.
    pub fn symmetric(&mut self) -> f32 {
        (self.draw() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    /// A number in `0 .. 1`.
    pub fn unit(&mut self) -> f64 {
        (self.draw() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Dropout: `y = x / (1 - rate)`, but zero with a probability of `rate`.
    pub fn thin(&mut self, rate: f32, x: &[f32], y: &mut [f32]) {
        let limit = (f64::from(rate) * (1u64 << 32) as f64) as u64;
        let scale = 1.0 / (1.0 - rate);
        for (x, y) in x.chunks(2).zip(y.chunks_mut(2)) {
            let bits = self.draw();
            for ((x, y), bits) in x.iter().zip(y).zip([bits >> 32, bits & 0xFFFF_FFFF]) {
                *y = if bits < limit { 0.0 } else { *x * scale };
            }
        }
    }

    /// Puts a list into random order (Fisher and Yates).
    pub fn shuffle(&mut self, list: &mut [u32]) {
        for i in (1..list.len()).rev() {
            list.swap(i, self.below(i + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thins_by_the_rate_and_keeps_the_mean() {
        let (x, mut y) = (vec![1.0; 100_001], vec![0.0; 100_001]);
        Stream::new(7, [1, 2, 3]).thin(0.25, &x, &mut y);
        let zeros = y.iter().filter(|v| **v == 0.0).count();
        assert!((24_000..26_000).contains(&zeros), "{zeros}");
        assert!((y.iter().sum::<f32>() / 1e5 - 1.0).abs() < 0.02);
    }

    #[test]
    fn streams_of_different_places_differ() {
        let first = |place| Stream::new(1, place).draw();
        assert_eq!(first([1, 2, 3]), first([1, 2, 3]));
        assert_ne!(first([1, 2, 3]), first([1, 3, 2]));
        assert_ne!(first([0, 0, 1]), first([1, 0, 0]));
    }
}
