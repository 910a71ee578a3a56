//! The permutation test of the total variation distance as Evidently runs it: a thousand permutations by NumPy's
//! legacy generator (MT19937, seed 0), so that the p-value is the same where the rows come in the same order. Distances
//! are compared in whole numbers: equal ones count as equal.

use crate::error::Result;
use crate::learner::Cx;

const ITERATIONS: usize = 1000;

/// The share of permutations of `sequence` whose first rows are as far from the others as the reference's counts `a`
/// are from the current `b`.
pub(super) fn p_value(sequence: &[u32], a: &[i64], b: &[i64], cx: &Cx) -> Result<f64> {
    let (n, m) = (a.iter().sum::<i64>(), b.iter().sum::<i64>());
    let all: Vec<i64> = a.iter().zip(b).map(|(a, b)| a + b).collect();
    let distance = |first: &[i64]| -> i128 {
        let part = |(k, f): (usize, &i64)| {
            (i128::from(*f) * i128::from(m) - i128::from(all[k] - f) * i128::from(n)).abs()
        };
        first.iter().enumerate().map(part).sum()
    };
    let observed = distance(a);
    let mut twister = Twister::new(0);
    let mut far = 0;
    let mut order: Vec<u32> = vec![];
    for _ in 0..ITERATIONS {
        cx.check()?;
        order.clear();
        order.extend_from_slice(sequence);
        for i in (1..order.len()).rev() {
            order.swap(i, twister.up_to(i as u32) as usize);
        }
        let mut first = vec![0i64; a.len()];
        order.iter().take(n as usize).for_each(|k| first[*k as usize] += 1);
        far += usize::from(distance(&first) >= observed);
    }
    Ok(far as f64 / ITERATIONS as f64)
}

/// Matsumoto and Nishimura's generator of 1998, seeded by one number.
struct Twister {
    state: [u32; 624],
    next: usize,
}

impl Twister {
    fn new(seed: u32) -> Twister {
        let mut state = [seed; 624];
        for i in 1..624 {
            let before = state[i - 1];
            state[i] = 1_812_433_253u32.wrapping_mul(before ^ (before >> 30)).wrapping_add(i as u32);
        }
        Twister { state, next: 624 }
    }

    fn draw(&mut self) -> u32 {
        if self.next == 624 {
            for i in 0..624 {
                let y = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % 624] & 0x7fff_ffff);
                let mask = if y & 1 == 1 { 0x9908_b0df } else { 0 };
                self.state[i] = self.state[(i + 397) % 624] ^ (y >> 1) ^ mask;
            }
            self.next = 0;
        }
        let mut y = self.state[self.next];
        self.next += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    /// A number from 0 to `most`, by rejection.
    fn up_to(&mut self, most: u32) -> u32 {
        let mask = u32::MAX >> most.leading_zeros().min(31);
        loop {
            let value = self.draw() & mask;
            if value <= most {
                return value;
            }
        }
    }
}
