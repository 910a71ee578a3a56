//! Sorting of numbers by their bits: a least-significant-digit radix sort, eleven bits a pass, that skips the digits in
//! which all keys agree. A million `real`s take about 8 ms, where comparing takes 60.

use crate::error::Result;
use crate::learner::{Cx, Silent};
use std::sync::atomic::AtomicBool;

const BITS: u32 = 11;
const BUCKETS: usize = 1 << BITS;
/// Fewer keys are sorted by comparing.
const FEW: usize = 2048;

/// An unsigned whole number.
pub(super) trait Key: Copy + Ord + Default {
    /// Its width in bits.
    const WIDTH: u32;
    /// The digit that begins at bit `shift`.
    fn digit(self, shift: u32) -> usize;
}

impl Key for u32 {
    const WIDTH: u32 = 32;
    #[inline(always)]
    fn digit(self, shift: u32) -> usize {
        (self >> shift) as usize & (BUCKETS - 1)
    }
}

impl Key for u64 {
    const WIDTH: u32 = 64;
    #[inline(always)]
    fn digit(self, shift: u32) -> usize {
        (self >> shift) as usize & (BUCKETS - 1)
    }
}

/// Sorts keys. `room` is scratch that may be used again.
///
/// # Errors
/// When the caller asked to stop; the keys are then in no order.
pub(super) fn sort<K: Key>(keys: &mut Vec<K>, room: &mut Vec<K>, cx: &Cx) -> Result<()> {
    if keys.len() < FEW {
        keys.sort_unstable();
        return Ok(());
    }
    let digits = K::WIDTH.div_ceil(BITS) as usize;
    let mut counts = vec![[0u32; BUCKETS]; digits];
    for key in keys.iter() {
        for (d, counts) in counts.iter_mut().enumerate() {
            counts[key.digit(d as u32 * BITS)] += 1;
        }
    }
    room.resize(keys.len(), K::default());
    for (d, counts) in counts.iter().enumerate() {
        cx.check()?;
        if counts.iter().any(|c| *c as usize == keys.len()) {
            continue;
        }
        let mut next = [0usize; BUCKETS];
        let mut sum = 0;
        for (n, c) in next.iter_mut().zip(counts) {
            *n = sum;
            sum += *c as usize;
        }
        for key in keys.iter() {
            let place = &mut next[key.digit(d as u32 * BITS)];
            room[*place] = *key;
            *place += 1;
        }
        std::mem::swap(keys, room);
    }
    Ok(())
}

/// Sorts so few keys that nobody would want to stop it.
pub(super) fn sort_block(keys: &mut Vec<u64>) {
    static NEVER: AtomicBool = AtomicBool::new(false);
    // It fails only when stopped.
    let _ = sort(keys, &mut vec![], &Cx { seed: 0, stop: &NEVER, observer: &Silent });
}

/// The bits of a number, in its order.
#[inline(always)]
pub(super) fn key64(x: f64) -> u64 {
    let b = (x + 0.0).to_bits();
    b ^ (((b as i64 >> 63) as u64) | 1 << 63)
}

/// The number of [`key64`].
#[inline(always)]
pub(super) fn of64(k: u64) -> f64 {
    f64::from_bits(k ^ (((!k as i64 >> 63) as u64) | 1 << 63))
}

/// As [`key64`], of a `real`.
#[inline(always)]
pub(super) fn key32(x: f32) -> u32 {
    let b = (x + 0.0).to_bits();
    b ^ (((b as i32 >> 31) as u32) | 1 << 31)
}

/// The number of [`key32`].
#[inline(always)]
pub(super) fn of32(k: u32) -> f64 {
    f64::from(f32::from_bits(k ^ (((!k as i32 >> 31) as u32) | 1 << 31)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorts_as_comparing_does() {
        let stop = AtomicBool::new(false);
        let cx = Cx { seed: 0, stop: &stop, observer: &Silent };
        for n in [0, 1, 5, 3000, 70_001] {
            let values: Vec<f64> = (0..n)
                .map(|i: u64| {
                    let z = i.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ i << 7;
                    let x = f64::from_bits(z);
                    if x.is_finite() { x } else { -(i as f64) / 3.0 }
                })
                .collect();
            let mut keys: Vec<u64> = values.iter().map(|x| key64(*x)).collect();
            sort(&mut keys, &mut vec![], &cx).unwrap();
            let mut expected: Vec<f64> = values.iter().map(|x| x + 0.0).collect();
            expected.sort_by(f64::total_cmp);
            assert_eq!(keys.into_iter().map(of64).collect::<Vec<_>>(), expected);
            let small: Vec<f32> =
                values.iter().map(|x| (x / 1e290) as f32).filter(|x| x.is_finite()).collect();
            let mut keys: Vec<u32> = small.iter().map(|x| key32(*x)).collect();
            sort(&mut keys, &mut vec![], &cx).unwrap();
            let mut expected: Vec<f64> = small.iter().map(|x| f64::from(*x + 0.0)).collect();
            expected.sort_by(f64::total_cmp);
            assert_eq!(keys.into_iter().map(of32).collect::<Vec<_>>(), expected);
        }
    }
}
