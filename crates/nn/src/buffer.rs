//! Memory for activations and weights: f32 values that start on a cache line (64 bytes), so that no vector
//! load of a row crosses one. Taken once, before the first step.

use std::ops::{Deref, DerefMut};

const LINE: usize = 64;

/// Zeroed, aligned f32 values of a fixed number.
#[derive(Debug, Default)]
pub struct Buffer {
    values: Vec<f32>,
    start: usize,
    len: usize,
}

impl Buffer {
    /// `len` zeros.
    pub fn new(len: usize) -> Self {
        let values = vec![0.0f32; len + LINE / 4];
        // The address is only read: the vector never grows, so it stays where it is.
        let start = (LINE - values.as_ptr() as usize % LINE) % LINE / 4;
        Buffer { values, start, len }
    }

    /// Makes it so long, if it is not; what it holds is then zeros.
    pub fn fit(&mut self, len: usize) {
        if self.len != len {
            *self = Buffer::new(len);
        }
    }
}

impl Clone for Buffer {
    fn clone(&self) -> Self {
        let mut copy = Buffer::new(self.len);
        copy.copy_from_slice(self);
        copy
    }
}

impl Deref for Buffer {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        &self.values[self.start..self.start + self.len]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.values[self.start..self.start + self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_on_a_cache_line() {
        for len in [0, 1, 17, 4096] {
            let buffer = Buffer::new(len);
            assert_eq!((buffer.as_ptr() as usize % LINE, buffer.len()), (0, len));
            assert_eq!(buffer.clone().as_ptr() as usize % LINE, 0);
        }
    }
}
