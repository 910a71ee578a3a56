//! A fingerprint of rows that does not depend on their order: the sum of the rows' hashes, in 128 bits. Beside it a
//! digest of their order, which tells rows that changed from rows that only moved.
//!
//! A row's hash is the sum of its values' upper and lower 32 bits, each times an odd number of its column's (the
//! multilinear hashing of Lemire and Kaser 2014, in products that vectors of all machines have). A product of 32 bits by
//! 32 forgets none, so one changed bit always changes the hash of its row; sums of rows are of hashes that were mixed, so
//! rows do not make up for each other.

use crate::dense::vectorized;
use crate::frame::{Column, Data, Frame, Value};
use rayon::prelude::*;
use std::ops::Range;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// Rows hashed at once: their hashes stay in the first-level cache.
pub(crate) const BLOCK: usize = 1 << 11;

/// What identifies the rows of a frame.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Digest {
    /// The same for the same rows in any order.
    pub rows: u128,
    /// The same for the same rows in the same order.
    pub order: u64,
}

impl Digest {
    /// Of the rows, in hex.
    pub fn fingerprint(&self) -> String {
        format!("{:032x}", self.rows)
    }

    /// Of their order, in hex.
    pub fn row_order(&self) -> String {
        format!("{:016x}", self.order)
    }
}

/// The digest of some columns of a frame. Numbers count by value, whatever their type; a missing value by being
/// missing.
pub fn digest(frame: &Frame, columns: &[usize]) -> Digest {
    let hasher = Hasher::new(columns.iter().map(|c| (*c, frame.columns[*c].name.as_str())));
    let mut hashed = vec![vec![]; frame.columns.len()];
    columns.iter().for_each(|c| hashed[*c] = texts(&frame.columns[*c]));
    let blocks: Vec<Digest> = (0..frame.rows.div_ceil(BLOCK))
        .into_par_iter()
        .map(|b| hasher.block(&frame.columns, &hashed, b * BLOCK..((b + 1) * BLOCK).min(frame.rows)))
        .collect();
    blocks.iter().fold(Digest::default(), Digest::followed_by)
}

/// The hashes of the texts that the codes of a column stand for; none of other columns.
fn texts(column: &Column) -> Vec<u64> {
    match &column.data {
        Data::Text(d) | Data::Labels(d) => d.values.iter().map(|t| text_hash(t)).collect(),
        _ => vec![],
    }
}

/// The hash of a byte string, as a column's digest needs it.
pub(crate) fn bytes_hash(bytes: &[u8]) -> u64 {
    xxh3_64(bytes)
}

/// The hash of a text, as a column's digest needs it.
pub fn text_hash(text: &str) -> u64 {
    xxh3_64(text.as_bytes())
}

impl Digest {
    /// That of these rows and of a block after them.
    pub(crate) fn followed_by(self, block: &Digest) -> Digest {
        Digest { rows: self.rows.wrapping_add(block.rows), order: follow(self.order, block.order) }
    }
}

/// Digests blocks of rows, of some columns.
#[derive(Default)]
pub(crate) struct Hasher {
    /// Places of columns, each with its odd numbers.
    columns: Vec<(usize, u64)>,
    start: u64,
}

impl Hasher {
    /// For columns at these places, of these names. Their order does not matter.
    pub(crate) fn new<'a>(columns: impl Iterator<Item = (usize, &'a str)>) -> Hasher {
        let columns: Vec<(usize, u64)> = columns.map(|(place, name)| (place, seed(name))).collect();
        let start = columns.iter().fold(0u64, |sum, c| sum.wrapping_add(c.1));
        Hasher { columns, start }
    }

    /// The places of the columns, ascending.
    pub(crate) fn places(&self) -> Vec<usize> {
        let mut places: Vec<usize> = self.columns.iter().map(|c| c.0).collect();
        places.sort_unstable();
        places
    }

    /// Of a block: at most [`BLOCK`] rows, from a multiple of it on. `texts` has the hashes of each column's texts.
    pub(crate) fn block(&self, columns: &[Column], texts: &[Vec<u64>], rows: Range<usize>) -> Digest {
        self.block_within(columns, texts, rows.len(), |_| rows.clone())
    }

    /// The same, of so many rows, which each column has where `within` says. No texts are needed where none is hashed.
    pub(crate) fn block_within(
        &self,
        columns: &[Column],
        texts: &[Vec<u64>],
        rows: usize,
        within: impl Fn(&Column) -> Range<usize>,
    ) -> Digest {
        let mut hashes = [self.start; BLOCK];
        let hashes = &mut hashes[..rows];
        for (place, seed) in &self.columns {
            let (column, texts) = (&columns[*place], texts.get(*place).map_or(&[][..], |t| t));
            hash_column(column, texts, *seed, within(column).start, hashes);
        }
        hashes.iter().fold(Digest::default(), |d, h| Digest {
            rows: d.rows.wrapping_add(spread(*h)),
            order: follow(d.order, *h),
        })
    }
}

/// A product by an odd number loses nothing, and what came before counts by how far back it is.
#[inline(always)]
fn follow(order: u64, next: u64) -> u64 {
    order.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(next)
}

/// The fingerprint of some columns of a frame, in hex. The same values give the same fingerprint in any order of
/// rows; numbers count by value, whatever their type.
pub fn fingerprint(frame: &Frame, columns: &[usize]) -> String {
    digest(frame, columns).fingerprint()
}

fn hash_column(column: &Column, texts: &[u64], seed: u64, first: usize, hashes: &mut [u64]) {
    #[inline(always)]
    fn fold<T>(hashes: &mut [u64], values: impl Iterator<Item = T>, seed: u64, bits: impl Fn(T) -> u64) {
        for (h, v) in hashes.iter_mut().zip(values) {
            *h = h.wrapping_add(weighed(bits(v), seed));
        }
    }
    /// Plain numbers, in vector code.
    fn fold_numbers<T: Copy + Into<f64>>(hashes: &mut [u64], values: &[T], seed: u64) {
        vectorized(
            #[inline(always)]
            || fold(hashes, values.iter(), seed, |v| number_bits((*v).into())),
        );
    }
    let rows = first..first + hashes.len();
    match &column.data {
        Data::F32(v) => fold_numbers(hashes, &v[rows], seed),
        Data::F64(v) => fold_numbers(hashes, &v[rows], seed),
        Data::I32(v) if column.missing.is_empty() => fold_numbers(hashes, &v[rows], seed),
        Data::Bool(v) => fold(hashes, v[rows].iter(), seed, |b| BOOLS[usize::from(*b).min(2)]),
        Data::I64(v) => {
            let missing = |i: usize| column.missing.get(i).copied().unwrap_or(false);
            fold(hashes, rows, seed, |i| if missing(i) { MISSING } else { whole_bits(v[i]) });
        }
        Data::Text(d) | Data::Labels(d) => {
            let text = |c: &u32| texts.get(*c as usize).copied().unwrap_or(MISSING);
            fold(hashes, d.codes[rows].iter(), seed, text);
        }
        _ => fold(hashes, rows, seed, |i| value_bits(column.value(i))),
    }
}

/// The hash of one value: numbers count by value, whatever their type.
pub fn hash(value: Value) -> u64 {
    mix(value_bits(value))
}

fn value_bits(value: Value) -> u64 {
    match value {
        Value::Missing => MISSING,
        Value::Number(x) => number_bits(x),
        Value::Bool(b) => number_bits(f64::from(b)),
        Value::Time(t) => mix(t as u64),
        Value::Bytes(b) => bytes_hash(b),
        Value::Picture(p) => p.hash(),
        Value::Text(t) => xxh3_64(t.as_bytes()),
        Value::Vector(v) => v
            .iter()
            .fold(v.len() as u64, |h, x| xxh3_64_with_seed(&number_bits(f64::from(*x)).to_le_bytes(), h)),
    }
}

/// The fingerprint of rows that are seen one at a time; those of shards add up.
#[derive(Debug, Clone, Default)]
pub struct RowHasher {
    seeds: Vec<u64>,
    start: u64,
    /// The sum so far.
    pub sum: u128,
}

impl RowHasher {
    /// For columns of these names, in this order.
    pub fn new<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let seeds: Vec<u64> = names.map(seed).collect();
        let start = seeds.iter().fold(0u64, |sum, s| sum.wrapping_add(*s));
        RowHasher { seeds, start, sum: 0 }
    }

    /// Adds a row, a value a column.
    pub fn add(&mut self, values: &[Value]) {
        let add = |h: u64, (v, s): (&Value, &u64)| h.wrapping_add(weighed(value_bits(*v), *s));
        let hash = values.iter().zip(&self.seeds).fold(self.start, add);
        self.sum = self.sum.wrapping_add(spread(hash));
    }
}

/// The two odd numbers of a column, of 32 bits each.
fn seed(name: &str) -> u64 {
    xxh3_64(name.as_bytes()) | 1 << 32 | 1
}

#[inline(always)]
fn weighed(bits: u64, seed: u64) -> u64 {
    const LOW: u64 = 0xffff_ffff;
    ((bits & LOW) * (seed & LOW)).wrapping_add((bits >> 32) * (seed >> 32))
}

#[inline(always)]
fn spread(hash: u64) -> u128 {
    u128::from(mix(hash)) << 64 | u128::from(mix(!hash))
}

const MISSING: u64 = 0x6d69_7373_696e_6721;
/// The bits of false, of true and of a missing truth value.
const BOOLS: [u64; 3] = [0.0f64.to_bits(), 1.0f64.to_bits(), MISSING];

#[inline(always)]
fn number_bits(x: f64) -> u64 {
    // Without branches, for vectors: -0.0 becomes 0.0, and every NaN one value.
    let bits = (x + 0.0).to_bits();
    if x.is_nan() { MISSING } else { bits }
}

/// A whole number: as the same number of another type, where a double has it exactly.
#[inline(always)]
fn whole_bits(v: i64) -> u64 {
    let x = v as f64;
    if x as i128 == i128::from(v) { number_bits(x) } else { mix(v as u64) }
}

/// The finaliser of SplitMix64: every bit of the input moves every bit of the output.
#[inline(always)]
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(values: &[(f64, i32)]) -> Frame {
        let column = |name: &str, data| Column { name: name.into(), data, missing: vec![] };
        let a = column("a", Data::F64(values.iter().map(|v| v.0).collect()));
        let b = column("b", Data::I32(values.iter().map(|v| v.1).collect()));
        Frame { columns: vec![a, b], rows: values.len() }
    }

    #[test]
    fn whole_numbers_count_bit_by_bit() {
        let of = |v: &[i64]| {
            let data = Data::I64(v.to_vec());
            let column = Column { name: "a".into(), data, missing: vec![] };
            fingerprint(&Frame { columns: vec![column], rows: v.len() }, &[0])
        };
        let large = (1 << 53) + 1;
        assert_ne!(of(&[large, 5]), of(&[large - 1, 5]));
        assert_ne!(of(&[i64::MAX]), of(&[i64::MAX - 1]));
        assert_eq!(of(&[large, 5]), of(&[5, large]));
    }

    #[test]
    fn the_order_has_a_digest_of_its_own() {
        let many: Vec<(f64, i32)> = (0..3 * BLOCK as i32).map(|i| (f64::from(i), -i)).collect();
        let of = |v: &[(f64, i32)]| digest(&frame(v), &[0, 1]);
        let mut moved = many.clone();
        moved.swap(5, 2 * BLOCK + 7);
        assert_eq!(of(&many), of(&many));
        assert_eq!(of(&many).rows, of(&moved).rows);
        assert_ne!(of(&many).order, of(&moved).order);
        moved.swap(5, 2 * BLOCK + 7);
        moved.rotate_left(BLOCK);
        assert_eq!(of(&many).rows, of(&moved).rows);
        assert_ne!(of(&many).order, of(&moved).order);
    }

    #[test]
    fn ignores_order_and_sees_one_changed_value() {
        let of = |v: &[(f64, i32)]| fingerprint(&frame(v), &[0, 1]);
        let rows = [(1.0, 2), (2.0, 1), (f64::NAN, 3), (1.0, 2)];
        assert_eq!(of(&rows), of(&[rows[3], rows[2], rows[1], rows[0]]));
        assert_ne!(of(&rows), of(&rows[..3]));
        assert_ne!(of(&[(1.0, 2)]), of(&[(2.0, 1)]));
        assert_ne!(of(&[(1.0, 2)]), of(&[(1.0 + f64::EPSILON, 2)]));
        assert_eq!(of(&[(0.0, 2)]), of(&[(-0.0, 2)]));
        let mut one_by_one = RowHasher::new(["a", "b"].into_iter());
        for (a, b) in rows {
            one_by_one.add(&[Value::number(a), Value::Number(f64::from(b))]);
        }
        assert_eq!(of(&rows), format!("{:032x}", one_by_one.sum));
    }
}
