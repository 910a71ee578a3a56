//! Numbers in as few bytes as all of them need: classes and counts in one, what `real` can hold in four, else eight.
//! For a value a row that is read block by block while much else is in memory. Callers: learners.

use std::ops::Range;

/// A list of numbers. Each comes back as it was put in, bit by bit, but for `-0.0`, which may come back as `0.0`.
#[derive(Debug, Clone)]
pub(crate) enum Lean {
    /// Whole numbers from 0 to 255.
    Bytes(Vec<u8>),
    /// What `f32` can hold.
    Singles(Vec<f32>),
    /// Any.
    Doubles(Vec<f64>),
}

impl Default for Lean {
    fn default() -> Lean {
        Lean::Bytes(vec![])
    }
}

impl From<&[f64]> for Lean {
    fn from(values: &[f64]) -> Lean {
        let mut lean = Lean::default();
        lean.extend(values);
        lean
    }
}

impl Lean {
    /// How many.
    pub fn len(&self) -> usize {
        match self {
            Lean::Bytes(v) => v.len(),
            Lean::Singles(v) => v.len(),
            Lean::Doubles(v) => v.len(),
        }
    }

    /// Bytes that they take.
    pub fn bytes(&self) -> u64 {
        let width = match self {
            Lean::Bytes(_) => 1,
            Lean::Singles(_) => 4,
            Lean::Doubles(_) => 8,
        };
        self.len() as u64 * width
    }

    /// Appends numbers.
    pub fn extend(&mut self, values: &[f64]) {
        if matches!(self, Lean::Bytes(_)) && !values.iter().all(|x| f64::from(*x as u8) == *x) {
            *self = Lean::Singles((0..self.len()).map(|i| self.at(i) as f32).collect());
        }
        if matches!(self, Lean::Singles(_)) && !values.iter().all(|x| f64::from(*x as f32) == *x) {
            *self = Lean::Doubles((0..self.len()).map(|i| self.at(i)).collect());
        }
        match self {
            Lean::Bytes(v) => v.extend(values.iter().map(|x| *x as u8)),
            Lean::Singles(v) => v.extend(values.iter().map(|x| *x as f32)),
            Lean::Doubles(v) => v.extend_from_slice(values),
        }
    }

    /// Number `i`.
    #[inline]
    pub fn at(&self, i: usize) -> f64 {
        match self {
            Lean::Bytes(v) => f64::from(v[i]),
            Lean::Singles(v) => f64::from(v[i]),
            Lean::Doubles(v) => v[i],
        }
    }

    /// All, one after another.
    pub fn iter(&self) -> impl Iterator<Item = f64> + '_ {
        (0..self.len()).map(|i| self.at(i))
    }

    /// Some neighbours, in `room` where they are not at hand; it must have room for them.
    pub fn block<'a>(&'a self, range: Range<usize>, room: &'a mut [f64]) -> &'a [f64] {
        let room = &mut room[..range.len()];
        match self {
            Lean::Bytes(v) => room.iter_mut().zip(&v[range]).for_each(|(x, v)| *x = f64::from(*v)),
            Lean::Singles(v) => room.iter_mut().zip(&v[range]).for_each(|(x, v)| *x = f64::from(*v)),
            Lean::Doubles(v) => return &v[range],
        }
        room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_whatever_came_with_them() {
        let parts: [&[f64]; 4] = [&[0.0, 1.0, 255.0], &[0.5, -3.0], &[0.1, f64::INFINITY], &[f64::MAX, 7.0]];
        let mut lean = Lean::default();
        let mut all = vec![];
        for (part, bytes) in parts.into_iter().zip([1, 4, 8, 8]) {
            lean.extend(part);
            all.extend_from_slice(part);
            let width = match &lean {
                Lean::Bytes(_) => 1,
                Lean::Singles(_) => 4,
                Lean::Doubles(_) => 8,
            };
            assert_eq!((width, lean.iter().collect::<Vec<_>>()), (bytes, all.clone()));
            let mut room = [9.0; 8];
            assert_eq!(lean.block(1..all.len() - 1, &mut room), &all[1..all.len() - 1]);
        }
        assert!(matches!(Lean::from(&[256.0][..]), Lean::Singles(_)));
        assert!(matches!(Lean::from(&[-1.0][..]), Lean::Singles(_)));
    }
}
