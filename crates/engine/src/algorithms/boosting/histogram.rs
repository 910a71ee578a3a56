//! Binned rows, and sums of gradients by bin: the loop that training spends its time in.
//!
//! A row's first and second derivative travel as two integers in one `i64`, `g << shift | h`, so that one addition
//! sums both. Runs of [`RUN`] rows are summed like that; no half can overflow within a run (see [`Units`]). Then
//! the sums are unpacked into pairs of `i64`. Integer sums are exact: they depend on no order.

use super::super::trees::bins::Bins;
use crate::error::Result;
use crate::learner::Cx;
use serde::{Deserialize, Serialize};

/// Rows summed in packed form before they are unpacked.
pub const RUN: usize = 4096;
/// Rows brought together before they are summed.
const NEAR: usize = 64;
/// Features side by side in a panel, at most.
const PANEL: usize = 32;

/// What integer gradients stand for.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Units {
    /// One unit of the first derivative: a power of two.
    pub g: f64,
    /// One unit of the second derivative: a power of two, or 1 where it is 1 in every row.
    pub h: f64,
    /// Bits of the second derivative's sum in a run.
    pub shift: u32,
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
                Units { g: power_above(max_g) * 2f64.powi(-bits + 1), h: 1.0, shift: 13, constant: true }
            }
            Some(h) => {
                let g = power_above(max_g) * 2f64.powi(-18);
                Units { g, h: power_above(h) * 2f64.powi(-19), shift: 32, constant: false }
            }
        }
    }

    /// Packs a row's derivatives. Where bits are few, `noise` (32 random bits) decides how they are rounded, so that
    /// sums of many small ones keep their value.
    #[inline]
    pub fn pack(&self, g: f64, h: f64, noise: u32) -> i64 {
        // Adding a whole number makes the value positive, so that cutting it off rounds down.
        const LIFT: f64 = (1u64 << 40) as f64;
        if self.constant {
            let g = (g * (1.0 / self.g) + (LIFT + 0.5)) as i64 - LIFT as i64;
            return g << 13 | 1;
        }
        const SHARE: f64 = 1.0 / 65536.0;
        let g = (g * (1.0 / self.g) + (LIFT + f64::from(noise >> 16) * SHARE)) as i64 - LIFT as i64;
        let h = (h * (1.0 / self.h) + f64::from(noise & 0xffff) * SHARE) as i64;
        (g << 32) + h
    }
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

/// Binned rows, one byte a value: features side by side in panels, each panel row by row.
#[derive(Default)]
pub struct Panels {
    /// Features in all.
    features: usize,
    panels: Vec<Panel>,
    /// Packed sums, one array a lane.
    sums: Vec<[i64; 256]>,
}

struct Panel {
    /// Lanes: features, rounded up to a width that has a kernel.
    width: usize,
    bins: Vec<u8>,
}

/// Which rows to sum.
pub enum Pick<'a> {
    /// All of them.
    All,
    /// These.
    Some(&'a [u32]),
}

macro_rules! by_width {
    ($width:expr, $call:ident ( $($arg:expr),* )) => {
        match $width {
            4 => $call::<4>($($arg),*),
            8 => $call::<8>($($arg),*),
            12 => $call::<12>($($arg),*),
            16 => $call::<16>($($arg),*),
            20 => $call::<20>($($arg),*),
            24 => $call::<24>($($arg),*),
            28 => $call::<28>($($arg),*),
            _ => $call::<32>($($arg),*),
        }
    };
}

impl Panels {
    /// Room for so many features.
    pub fn new(features: usize, rows: usize) -> Panels {
        let widths =
            (0..features.div_ceil(PANEL)).map(|p| (features - p * PANEL).min(PANEL).next_multiple_of(4));
        let panels = widths.map(|width| Panel { width, bins: Vec::with_capacity(width * rows) }).collect();
        Panels { features, panels, sums: vec![[0; 256]; features.next_multiple_of(4)] }
    }

    /// Adds rows without values, to be filled by [`Panels::column`].
    pub fn grow(&mut self, rows: usize) {
        self.panels.iter_mut().for_each(|p| p.bins.resize(p.bins.len() + rows * p.width, 0));
    }

    /// A feature's bins of the rows from `from` on.
    pub fn column_mut(&mut self, feature: usize, from: usize) -> impl Iterator<Item = &mut u8> {
        let (panel, lane) = (feature / PANEL, feature % PANEL);
        let panel = self.panels.get_mut(panel);
        panel.into_iter().flat_map(move |p| p.bins.iter_mut().skip(from * p.width + lane).step_by(p.width))
    }

    /// A feature's bins: a list and, for row `i`, the place `i * width + lane` in it.
    pub fn column(&self, feature: usize) -> (&[u8], usize, usize) {
        let panel = &self.panels[feature / PANEL];
        (&panel.bins, panel.width, feature % PANEL)
    }

    /// Sums the packed gradients of rows by bin, into pairs.
    pub fn histogram(
        &mut self,
        rows: Pick,
        packed: &[i64],
        units: &Units,
        layout: &Layout,
        cx: &Cx,
    ) -> Result<Vec<i64>> {
        let mut out = vec![0; layout.len()];
        let count = match rows {
            Pick::All => packed.len(),
            Pick::Some(rows) => rows.len(),
        };
        for from in (0..count).step_by(RUN) {
            cx.check()?;
            let to = (from + RUN).min(count);
            for (panel, sums) in self.panels.iter().zip(self.sums.chunks_mut(PANEL)) {
                match rows {
                    Pick::All => by_width!(panel.width, add_run(&panel.bins, packed, from, to, sums)),
                    Pick::Some(rows) => {
                        by_width!(panel.width, add_rows(&panel.bins, packed, &rows[from..to], sums))
                    }
                }
            }
            let mask = (1i64 << units.shift) - 1;
            for (sums, ends) in self.sums.iter_mut().take(self.features).zip(layout.starts.windows(2)) {
                let pairs = &mut out[ends[0] * 2..ends[1] * 2];
                for (sum, pair) in sums.iter_mut().zip(pairs.as_chunks_mut::<2>().0) {
                    pair[0] += *sum >> units.shift;
                    pair[1] += *sum & mask;
                    *sum = 0;
                }
            }
        }
        Ok(out)
    }
}

fn add_run<const W: usize>(bins: &[u8], packed: &[i64], from: usize, to: usize, sums: &mut [[i64; 256]]) {
    let (Some(sums), bins) = (sums.first_chunk_mut::<W>(), bins.as_chunks::<W>().0) else { return };
    for (row, g) in bins[from..to].iter().zip(&packed[from..to]) {
        for (sum, bin) in sums.iter_mut().zip(row) {
            sum[usize::from(*bin)] += *g;
        }
    }
}

/// Rows that lie apart are first brought together: a copy waits for no other, so that many cache misses overlap.
fn add_rows<const W: usize>(bins: &[u8], packed: &[i64], rows: &[u32], sums: &mut [[i64; 256]]) {
    let (Some(sums), bins) = (sums.first_chunk_mut::<W>(), bins.as_chunks::<W>().0) else { return };
    let mut near = [([0; W], 0); NEAR];
    for rows in rows.chunks(NEAR) {
        for (near, row) in near.iter_mut().zip(rows) {
            *near = (bins[*row as usize], packed[*row as usize]);
        }
        for (row, g) in &near[..rows.len()] {
            for (sum, bin) in sums.iter_mut().zip(row) {
                sum[usize::from(*bin)] += *g;
            }
        }
    }
}
