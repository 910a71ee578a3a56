//! Random numbers by hash: each depends on what it is for alone, so that neither threads nor shards change it.

/// A fair hash of two numbers (splitmix64).
#[inline]
pub fn mix(a: u64, b: u64) -> u64 {
    let mut z = a.wrapping_add(b.wrapping_mul(0x9E37_79B9_7F4A_7C15)).wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A number in `0 .. 1` from a hash.
pub fn unit(hash: u64) -> f64 {
    (hash >> 11) as f64 * 2f64.powi(-53)
}

/// What makes a row's draws its own: its number and its content, so that shards which number their rows alike draw
/// apart.
pub fn row_key(number: u64, row: &[f64], y: f64) -> u64 {
    let step = |h: u64, x: &f64| (h.rotate_left(23) ^ x.to_bits()).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mix(row.iter().chain([&y]).fold(0, step), number)
}

/// What makes a tree's draws its own. `again` counts how often it was drawn anew.
pub fn tree_salt(seed: u64, tree: u64, again: u64) -> u64 {
    mix(mix(seed, tree), again)
}

/// How often a tree takes a row. A bootstrap of n rows out of n takes each row about Poisson(1) times; this one is
/// exactly that (Oza & Russell 2001), because then each row decides for itself.
#[derive(Debug, Clone)]
pub struct Poisson {
    /// Below which hash a row is taken at most so often.
    limits: [u32; Poisson::MOST as usize],
}

impl Poisson {
    /// The most times that a row is taken; more has a chance of less than 1e-13 at a rate of 1.
    pub const MOST: u32 = 15;

    /// Draws of `rate` rows a row, at most 1.
    pub fn new(rate: f64) -> Poisson {
        let mut limits = [u32::MAX; Poisson::MOST as usize];
        let (mut term, mut sum) = ((-rate).exp(), 0.0);
        for (k, limit) in limits.iter_mut().enumerate() {
            sum += term;
            *limit = (sum * 2f64.powi(32)) as u32;
            term *= rate / (k + 1) as f64;
        }
        Poisson { limits }
    }

    /// How often a tree takes a row.
    #[inline]
    pub fn draw(&self, salt: u64, key: u64) -> u32 {
        // One round of mixing: the key is a hash already.
        let mut z = (key ^ salt).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 29)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let z = (z >> 32) as u32;
        if z < self.limits[0] {
            return 0;
        }
        self.limits.iter().map(|limit| u32::from(z >= *limit)).sum()
    }
}

/// `count` of `0 .. of`, all different, in a random order that begins at `from`; as they come where all are wanted.
pub fn choose(key: u64, from: usize, count: usize, of: usize) -> Vec<u32> {
    if count >= of {
        return if from == 0 { (0..of as u32).collect() } else { vec![] };
    }
    let mut all: Vec<u32> = (0..of as u32).collect();
    let to = (from + count).min(of);
    for i in 0..to {
        // The product's upper half is fair enough for so few.
        let place = (u128::from(mix(key, i as u64)) * (of - i) as u128) >> 64;
        all.swap(i, i + place as usize);
    }
    all.drain(..from.min(to));
    all.truncate(to - from.min(to));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_taken_as_often_as_by_a_bootstrap() {
        for rate in [1.0, 0.3] {
            let (poisson, n) = (Poisson::new(rate), 200_000);
            let mut seen = [0.0; 16];
            (0..n).for_each(|i| seen[poisson.draw(mix(1, 2), row_key(i, &[0.5], 1.0)) as usize] += 1.0);
            let mut expected = (-rate).exp();
            for (k, count) in seen.iter().enumerate().take(5) {
                let sigma = (n as f64 * expected).sqrt();
                assert!((count - n as f64 * expected).abs() < 5.0 * sigma, "{rate}: {k}: {count}");
                expected *= rate / (k + 1) as f64;
            }
        }
    }

    #[test]
    fn chosen_features_are_fair_and_go_on_where_they_stopped() {
        let mut seen = [0; 10];
        for key in 0..10_000 {
            let (some, more) = (choose(key, 0, 3, 10), choose(key, 3, 3, 10));
            assert!(some.iter().all(|f| !more.contains(f)) && some.len() == 3 && more.len() == 3);
            some.iter().for_each(|f| seen[*f as usize] += 1);
        }
        assert!(seen.iter().all(|n| (2750..3250).contains(n)), "{seen:?}");
        assert_eq!(choose(1, 9, 3, 10).len(), 1);
        assert_eq!(choose(1, 0, 9, 4), [0, 1, 2, 3]);
    }
}
