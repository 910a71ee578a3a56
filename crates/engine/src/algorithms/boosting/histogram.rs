//! Binned rows, and sums of gradients by bin: the loop that training spends its time in.
//!
//! A row's first and second derivative travel as two integers in one `i64`, `g << shift | h`, so that one addition
//! sums both. Runs of [`RUN`] rows are summed like that; no half can overflow within a run (see [`Units`]). Then
//! the sums are unpacked into pairs of `i64`. Derivatives that need more bits travel as pairs, which one addition of a
//! vector sums. Integer sums are exact: they depend on no order.

use super::super::trees::bins::Bins;
use super::super::trees::nodes::{BinSet, has};
use super::lanes::{self, Lanes};
use super::loss::renew;
use crate::dense;
use crate::error::Result;
use crate::learner::Cx;
use serde::{Deserialize, Serialize};

/// Rows summed in packed form before they are unpacked.
pub const RUN: usize = 4096;
/// Rows brought together before they are summed.
const NEAR: usize = 64;
/// Bytes of the sums of lanes that are summed side by side, at most.
const PANEL: usize = 1 << 16;

/// Sums of both derivatives: packed in one number, or a pair. Those of lanes that nobody reads may wrap.
pub trait Both: Copy {
    /// Of no row.
    const ZERO: Self;
    /// The sum.
    fn plus(self, other: Self) -> Self;
    /// The difference.
    fn minus(self, other: Self) -> Self;
}

impl Both for i64 {
    const ZERO: i64 = 0;
    #[inline(always)]
    fn plus(self, other: i64) -> i64 {
        self.wrapping_add(other)
    }
    #[inline(always)]
    fn minus(self, other: i64) -> i64 {
        self.wrapping_sub(other)
    }
}

impl Both for [i64; 2] {
    const ZERO: [i64; 2] = [0; 2];
    #[inline(always)]
    fn plus(self, other: [i64; 2]) -> [i64; 2] {
        [self[0].wrapping_add(other[0]), self[1].wrapping_add(other[1])]
    }
    #[inline(always)]
    fn minus(self, other: [i64; 2]) -> [i64; 2] {
        [self[0].wrapping_sub(other[0]), self[1].wrapping_sub(other[1])]
    }
}

/// Both derivatives of a row, as they are held.
trait Row: Copy + PartialEq {
    /// As they are summed.
    type Sum: Both;
    /// Those of a row that adds nothing.
    const ZERO: Self;
    fn widen(self) -> Self::Sum;
}

impl Row for i64 {
    type Sum = i64;
    const ZERO: i64 = 0;
    #[inline(always)]
    fn widen(self) -> i64 {
        self
    }
}

impl Row for [i32; 2] {
    type Sum = [i64; 2];
    const ZERO: [i32; 2] = [0; 2];
    #[inline(always)]
    fn widen(self) -> [i64; 2] {
        self.map(i64::from)
    }
}

/// Both derivatives of each row, as integers.
pub enum Derivatives {
    /// Packed.
    Packed(Vec<i64>),
    /// Pairs, of more bits.
    Wide(Vec<[i32; 2]>),
}

impl Default for Derivatives {
    fn default() -> Derivatives {
        Derivatives::Packed(vec![])
    }
}

/// What integer gradients stand for.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Units {
    /// One unit of the first derivative: a power of two.
    pub g: f64,
    /// One unit of the second derivative: a power of two, or 1 where it is 1 in every row.
    pub h: f64,
    /// Bits of the second derivative's sum in a run.
    pub shift: u32,
    /// Whether derivatives have too many bits to be packed.
    pub wide: bool,
    /// Whether the second derivative is 1 in every row.
    pub constant: bool,
}

/// The least power of two that is not less than `x`; 1 for 0.
pub fn power_above(x: f64) -> f64 {
    if x <= 0.0 || !x.is_finite() {
        return 1.0;
    }
    2f64.powi(x.log2().ceil().clamp(-900.0, 900.0) as i32)
}

impl Units {
    /// Units for gradients of at most these sizes. A second derivative that is always 1 leaves 38 bits to the
    /// first one, less what a sum over `rows` needs to stay within `i64`; else they have 19 and 20 bits.
    pub fn new(max_g: f64, max_h: Option<f64>, rows: u64) -> Units {
        match max_h {
            None => {
                let bits = 38.min(62 - rows.max(1).ilog2() as i32);
                Units {
                    g: power_above(max_g) * 2f64.powi(-bits + 1),
                    h: 1.0,
                    shift: 13,
                    wide: false,
                    constant: true,
                }
            }
            Some(h) => {
                let g = power_above(max_g) * 2f64.powi(-18);
                Units { g, h: power_above(h) * 2f64.powi(-19), shift: 32, wide: false, constant: false }
            }
        }
    }

    /// The same, with 31 bits for both derivatives, where they are not constant: for derivatives whose greatest dwarf the
    /// usual ones. Sums take twice the room in the caches.
    pub fn finer(self) -> Units {
        if self.constant {
            return self;
        }
        // From 19 and 20 bits, with the sign, to 31 of each and the sign: the greatest possible is 2^30.
        Units { g: self.g * 2f64.powi(-12), h: self.h * 2f64.powi(-11), wide: true, ..self }
    }

    /// The same, with fewer bits.
    pub fn coarser(self, bits: u32) -> Units {
        let times = 2f64.powi(bits as i32);
        Units { g: self.g * times, h: self.h * times, ..self }
    }

    /// As `pack`, for `finer` units and many rows: each to the nearest whole number.
    pub fn pack_wide(&self, g: &[f64], h: &[f64], pairs: &mut [[i32; 2]]) {
        let [per_g, per_h] = [1.0 / self.g, 1.0 / self.h];
        dense::vectorized(
            #[inline(always)]
            || {
                for ((g, h), pair) in g.iter().zip(h).zip(pairs) {
                    *pair = [whole(g * per_g) as i32, whole(h * per_h) as i32];
                }
            },
        );
    }

    /// Sums as numbers.
    pub fn of(&self, sums: &super::split::Sums) -> [f64; 2] {
        [sums.g as f64 * self.g, sums.h as f64 * self.h]
    }

    /// Whether sums over so many rows can stay packed.
    pub fn narrow(&self, rows: u64) -> bool {
        rows <= RUN as u64 && !self.wide
    }

    /// Packs sums over no more rows than that.
    pub fn pack_sums(&self, pairs: &[i64]) -> Vec<i64> {
        pairs.as_chunks::<2>().0.iter().map(|[g, h]| (g << self.shift) + h).collect()
    }

    /// Packs a row's derivatives. Where bits are few, `noise` (32 random bits) decides how they are rounded, so that
    /// sums of many small ones keep their value.
    #[inline(always)]
    pub fn pack(&self, g: f64, h: f64, noise: u32) -> i64 {
        // Units are powers of two: their inverses are exact.
        let (g, h) = (g * (1.0 / self.g), h * (1.0 / self.h));
        if self.constant {
            return whole(g) << 13 | 1;
        }
        // To the nearest whole number after this is added: down after half of one more.
        let lift = |bits: u32| f64::from(bits as i32) * (1.0 / 65536.0) - 0.5;
        (whole(g + lift(noise >> 16)) << 32) + whole(h + lift(noise & 0xffff)).max(0)
    }

    /// As `pack`, for rows whose random bits `salt` makes new.
    pub fn pack_rows(&self, g: &[f64], h: &[f64], noise: &[u32], salt: u64, packed: &mut [i64]) {
        dense::vectorized(
            #[inline(always)]
            || {
                for (((g, h), noise), packed) in g.iter().zip(h).zip(noise).zip(packed) {
                    *packed = self.pack(*g, *h, renew(*noise, salt));
                }
            },
        );
    }
}

/// To the nearest whole number, of numbers below `2^51`, in a way that vectors have.
#[inline(always)]
fn whole(x: f64) -> i64 {
    const MAGIC: f64 = 6_755_399_441_055_744.0;
    (x + MAGIC).to_bits().wrapping_sub(MAGIC.to_bits()) as i64
}

/// Where each useful feature's bins stand in a histogram of pairs.
#[derive(Debug, Clone, Default)]
pub struct Layout {
    /// The feature's place in the schema.
    pub features: Vec<u32>,
    /// Its first pair; one entry more than features.
    pub starts: Vec<usize>,
}

impl Layout {
    /// The layout that follows from the bins.
    pub fn new(bins: &[Bins]) -> Layout {
        let mut layout = Layout { features: vec![], starts: vec![0] };
        let mut end = 0;
        for (f, bins) in bins.iter().enumerate().filter(|(_, b)| b.useful()) {
            end += bins.total();
            layout.features.push(f as u32);
            layout.starts.push(end);
        }
        layout
    }

    /// Numbers in a histogram.
    pub fn len(&self) -> usize {
        self.starts.last().map_or(0, |end| end * 2)
    }
}

/// Binned rows, row by row: a byte for each lane. Lanes are features, or several features that share one
/// ([`super::lanes`]).
#[derive(Default)]
pub struct Panels {
    lanes: Lanes,
    bins: Vec<u8>,
}

/// Sums of some rows' derivatives, in growth.
#[derive(Default)]
pub struct Sums {
    /// Packed sums, one array a lane; none before there are any.
    packed: Vec<[i64; 256]>,
    /// Rows summed since they were last unpacked.
    pending: usize,
    /// Unpacked sums.
    out: Vec<i64>,
    /// Sums of pairs, one array a lane; none before there are any.
    wide: Vec<[[i64; 2]; 256]>,
}

macro_rules! by_width {
    ($width:expr, $call:ident ( $($arg:expr),* )) => {
        match $width {
            4 => $call::<4, _>($($arg),*),
            8 => $call::<8, _>($($arg),*),
            12 => $call::<12, _>($($arg),*),
            16 => $call::<16, _>($($arg),*),
            20 => $call::<20, _>($($arg),*),
            24 => $call::<24, _>($($arg),*),
            28 => $call::<28, _>($($arg),*),
            _ => $call::<32, _>($($arg),*),
        }
    };
}

impl Panels {
    /// Room for so many features, each with a lane of its own.
    pub fn new(features: usize, rows: usize) -> Panels {
        let lanes = Lanes::apart(features);
        let bins = Vec::with_capacity(lanes.stride() * rows);
        Panels { lanes, bins }
    }

    /// Adds rows without values, to be filled by [`Panels::column_mut`].
    pub fn grow(&mut self, rows: usize) {
        self.bins.resize(self.bins.len() + rows * self.lanes.stride(), 0);
    }

    /// A feature's bins of the rows from `from` on, before [`Panels::share`].
    pub fn column_mut(&mut self, feature: usize, from: usize) -> impl Iterator<Item = &mut u8> {
        let stride = self.lanes.stride();
        self.bins.iter_mut().skip(from * stride + feature).step_by(stride)
    }

    /// All rows are in: lets features share lanes where they can. `layout` says how many bins each has.
    pub fn share(&mut self, layout: &Layout, cx: &Cx) -> Result<()> {
        self.lanes = lanes::share(&mut self.bins, layout, cx)?;
        Ok(())
    }

    /// What tells whether rows go left, where those in the bins `left` of a feature do.
    pub fn question(&self, feature: usize, left: &BinSet) -> Question {
        let (lane, bins) = self.lanes.codes(feature);
        Question { lane, goes: std::array::from_fn(|code| has(left, bins[code])) }
    }

    /// Whether a row goes left.
    #[inline]
    pub fn goes_left(&self, question: &Question, row: u32) -> bool {
        question.goes[usize::from(self.bins[row as usize * self.lanes.stride() + question.lane])]
    }

    /// Sums the derivatives of rows by bin. A row whose derivatives are both zero adds nothing and is not read.
    pub fn add(
        &self,
        rows: &[u32],
        derivatives: &Derivatives,
        sums: &mut Sums,
        units: &Units,
        layout: &Layout,
    ) {
        let lanes = self.lanes.stride();
        match derivatives {
            Derivatives::Packed(packed) => {
                sums.packed.resize(lanes, [0; 256]);
                for rows in rows.chunks(RUN) {
                    if sums.pending + rows.len() > RUN {
                        self.unpack(sums, units, layout);
                    }
                    sums.pending += rows.len();
                    add(&self.bins, lanes, rows, packed, &mut sums.packed);
                }
            }
            Derivatives::Wide(pairs) => {
                sums.wide.resize(lanes, [[0; 2]; 256]);
                add(&self.bins, lanes, rows, pairs, &mut sums.wide);
            }
        }
    }

    fn unpack(&self, sums: &mut Sums, units: &Units, layout: &Layout) {
        let mask = (1i64 << units.shift) - 1;
        if sums.out.is_empty() {
            let packed = self.lanes.packed(&mut sums.packed, layout);
            sums.out.extend(packed.iter().flat_map(|p| [p >> units.shift, p & mask]));
        } else if sums.pending > 0 {
            let packed = self.lanes.packed(&mut sums.packed, layout);
            for (pair, p) in sums.out.as_chunks_mut::<2>().0.iter_mut().zip(packed) {
                pair[0] += p >> units.shift;
                pair[1] += p & mask;
            }
        }
        sums.pending = 0;
    }

    /// Takes the sums of all rows that were added: as pairs, or packed where they are `narrow`, which those of up to
    /// [`RUN`] rows can be.
    pub fn take(&self, sums: &mut Sums, units: &Units, layout: &Layout, narrow: bool) -> Vec<i64> {
        let lanes = self.lanes.stride();
        if units.wide {
            sums.wide.resize(lanes, [[0; 2]; 256]);
            return self.lanes.packed(&mut sums.wide, layout).into_flattened();
        }
        sums.packed.resize(lanes, [0; 256]);
        if narrow && sums.out.is_empty() {
            sums.pending = 0;
            return self.lanes.packed(&mut sums.packed, layout);
        }
        self.unpack(sums, units, layout);
        std::mem::take(&mut sums.out)
    }
}

/// A split, ready to be asked of rows.
pub struct Question {
    lane: usize,
    goes: [bool; 256],
}

/// Sums derivatives by bin, a lane after another: those of panels of like width, as each one's sums are to stay in the
/// first cache.
fn add<R: Row>(bins: &[u8], stride: usize, rows: &[u32], derivatives: &[R], sums: &mut [[R::Sum; 256]]) {
    let most = PANEL / size_of::<[R::Sum; 256]>();
    let width = stride.div_ceil(stride.div_ceil(most).max(1)).next_multiple_of(4).max(4);
    let (mut near, mut values) = ([0; NEAR], [R::ZERO; NEAR]);
    let mut count = 0;
    let mut add_near = |rows: &[u32], values: &[R]| {
        for (panel, sums) in sums.chunks_mut(width).enumerate() {
            by_width!(sums.len(), add_rows(bins, stride, panel * width, rows, values, sums));
        }
    };
    for row in rows {
        (near[count], values[count]) = (*row, derivatives[*row as usize]);
        count += usize::from(values[count] != R::ZERO);
        if count == NEAR {
            add_near(&near, &values);
            count = 0;
        }
    }
    add_near(&near[..count], &values[..count]);
}

/// Rows that lie apart are first brought together: a copy waits for no other, so that many cache misses overlap.
fn add_rows<const W: usize, R: Row>(
    bins: &[u8],
    stride: usize,
    offset: usize,
    rows: &[u32],
    values: &[R],
    sums: &mut [[R::Sum; 256]],
) {
    let Some(sums) = sums.first_chunk_mut::<W>() else { return };
    let mut near = [[0; W]; NEAR];
    for (near, row) in near.iter_mut().zip(rows) {
        let at = *row as usize * stride + offset;
        if let Some(row) = bins[at..].first_chunk() {
            *near = *row;
        }
    }
    for (row, value) in near.iter().zip(values) {
        let value = value.widen();
        for (sum, bin) in sums.iter_mut().zip(row) {
            let sum = &mut sum[usize::from(*bin)];
            *sum = sum.plus(value);
        }
    }
}
