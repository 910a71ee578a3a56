//! Binned rows as records of bytes, and the two loops that training spends its time in: sums by bin, and dealing a
//! node's rows to its children.
//!
//! A record has a row's bins, its target and its weight side by side, so that a row that is anywhere in memory costs
//! one cache miss. Records travel: a small node's rows are sent to the job, which grows the rest of the tree.

use super::super::trees::bins::Bins;
use super::super::trees::nodes::{BinSet, has};
use crate::error::{Error, Result};
use crate::learner::Cx;
use serde::{Deserialize, Serialize};

/// What is summed of a row's target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sum {
    /// Two classes, unweighted: rows in the lower half of one number, rows of class 1 in the upper half.
    Two,
    /// The weight of each class.
    Classes(usize),
    /// The weight, and the weighted target.
    Mean,
}

/// The layout of a record and of sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Format {
    /// Bins: one byte a useful feature.
    pub lanes: usize,
    /// What is summed.
    pub sum: Sum,
    /// Whether rows have weights.
    pub weighted: bool,
    /// Bytes of a target.
    target: usize,
    /// Bytes of a record.
    pub stride: usize,
}

/// Bits of an entry that name a row; the others say how often it was drawn.
pub const ROW_BITS: u32 = 28;

/// The row of an entry.
#[inline]
pub fn row_of(entry: u32) -> usize {
    (entry & ((1 << ROW_BITS) - 1)) as usize
}

/// An entry: a row, and how often it was drawn.
#[inline]
pub fn entry(row: usize, times: u32) -> u32 {
    times << ROW_BITS | row as u32
}

/// Refuses more rows than entries can name, or counts can hold.
pub fn check_rows(rows: usize) -> Result<()> {
    let most = 1 << ROW_BITS;
    if rows > most {
        let message = format!("{rows} rows, expected at most {most}");
        return Err(Error::new(crate::Kind::Unsupported, message).hint("Train on a sample of the rows."));
    }
    Ok(())
}

impl Format {
    /// The format for so many useful features.
    pub fn new(lanes: usize, classes: usize, weighted: bool) -> Format {
        let sum = match classes {
            0 => Sum::Mean,
            2 if !weighted => Sum::Two,
            k => Sum::Classes(k),
        };
        let target = match sum {
            Sum::Mean => 8,
            Sum::Classes(k) if k > 256 => 4,
            _ => 1,
        };
        let bytes = lanes + target + if weighted { 8 } else { 0 };
        // A power of two keeps a record within one cache line, where that wastes little.
        let round = bytes.next_power_of_two();
        let stride = if round * 4 <= bytes * 5 { round } else { bytes.next_multiple_of(4) };
        Format { lanes, sum, weighted, target, stride }
    }

    /// Numbers in the sums of a bin.
    pub fn channels(&self) -> usize {
        match self.sum {
            Sum::Two => 1,
            Sum::Classes(k) => k + usize::from(self.weighted),
            Sum::Mean => 2 + usize::from(self.weighted),
        }
    }

    /// The rows of sums.
    #[inline]
    pub fn rows(&self, sums: &[i64]) -> i64 {
        match self.sum {
            Sum::Two => sums[0] & 0xffff_ffff,
            _ if self.weighted => sums.last().copied().unwrap_or(0),
            Sum::Mean => sums[0],
            Sum::Classes(_) => sums.iter().sum(),
        }
    }

    /// The weight of sums.
    pub fn weight(&self, sums: &[i64]) -> i64 {
        match self.sum {
            Sum::Two => sums[0] & 0xffff_ffff,
            Sum::Mean => sums[0],
            Sum::Classes(k) => sums[..k].iter().sum(),
        }
    }

    /// Writes a record's target: a class, or a target in its unit.
    pub fn set_target(&self, record: &mut [u8], target: i64) {
        record[self.lanes..self.lanes + self.target].copy_from_slice(&target.to_le_bytes()[..self.target]);
    }

    /// Writes a record's weight, in its unit.
    pub fn set_weight(&self, record: &mut [u8], weight: i64) {
        let at = self.lanes + self.target;
        record[at..at + 8].copy_from_slice(&weight.to_le_bytes());
    }

    #[inline]
    fn class(&self, record: &[u8]) -> usize {
        if self.target == 1 {
            return usize::from(record[self.lanes]);
        }
        u32::from_le_bytes(record[self.lanes..self.lanes + 4].try_into().unwrap_or_default()) as usize
    }

    /// A record's target.
    #[inline]
    pub fn target(&self, record: &[u8]) -> i64 {
        match self.sum {
            Sum::Mean => {
                i64::from_le_bytes(record[self.lanes..self.lanes + 8].try_into().unwrap_or_default())
            }
            _ => self.class(record) as i64,
        }
    }

    #[inline]
    fn weight_of(&self, record: &[u8]) -> i64 {
        let at = self.lanes + self.target;
        i64::from_le_bytes(record[at..at + 8].try_into().unwrap_or_default())
    }

    /// Adds what one entry's record weighs to sums.
    #[inline]
    fn add(&self, record: &[u8], times: i64, sums: &mut [i64]) {
        let weight = if self.weighted { times * self.weight_of(record) } else { times };
        match self.sum {
            Sum::Two => sums[0] += times | (times * i64::from(record[self.lanes])) << 32,
            Sum::Classes(_) => sums[self.class(record)] += weight,
            Sum::Mean => {
                sums[0] += weight;
                sums[1] += weight * self.target(record);
            }
        }
        if self.weighted
            && let Some(rows) = sums.last_mut()
        {
            *rows += times;
        }
    }
}

/// The bins that a number of rows may lie in: each has 256.
pub const CELLS: usize = 256;
/// Entries that are worked on between two looks at the stop flag.
const RUN: usize = 8192;
/// Features that are summed in one pass over the rows: their sums stay in the second cache.
const PANEL: usize = 32;

/// Sums of a node, and by bin of each of `lanes`: `lanes.len() * CELLS * channels` numbers, added to `by_bin`.
pub fn sum(
    format: &Format,
    records: &[u8],
    entries: &[u32],
    lanes: &[u32],
    by_bin: &mut [i64],
    cx: &Cx,
) -> Result<()> {
    let channels = format.channels();
    for (lanes, by_bin) in lanes.chunks(PANEL).zip(by_bin.chunks_mut(PANEL * CELLS * channels)) {
        for entries in entries.chunks(RUN) {
            cx.check()?;
            match (format.sum, format.weighted) {
                (Sum::Two, _) => add_two(format, records, entries, lanes, by_bin),
                (Sum::Mean, false) => add_mean(format, records, entries, lanes, by_bin),
                _ => add_any(format, records, entries, lanes, by_bin, channels),
            }
        }
    }
    Ok(())
}

#[inline]
fn record<'a>(format: &Format, records: &'a [u8], entry: u32) -> &'a [u8] {
    &records[row_of(entry) * format.stride..][..format.stride]
}

/// Few features are looked at by most forests: their loops are unrolled.
fn add_two(format: &Format, records: &[u8], entries: &[u32], lanes: &[u32], by_bin: &mut [i64]) {
    match lanes.len() {
        1 => add_few::<1>(format, records, entries, lanes, by_bin),
        2 => add_few::<2>(format, records, entries, lanes, by_bin),
        3 => add_few::<3>(format, records, entries, lanes, by_bin),
        4 => add_few::<4>(format, records, entries, lanes, by_bin),
        5 => add_few::<5>(format, records, entries, lanes, by_bin),
        6 => add_few::<6>(format, records, entries, lanes, by_bin),
        7 => add_few::<7>(format, records, entries, lanes, by_bin),
        8 => add_few::<8>(format, records, entries, lanes, by_bin),
        _ => {
            let cells = by_bin.as_chunks_mut::<CELLS>().0;
            for e in entries {
                let record = record(format, records, *e);
                let both = both(format, record, *e);
                for (lane, cells) in lanes.iter().zip(cells.iter_mut()) {
                    cells[usize::from(record[*lane as usize])] += both;
                }
            }
        }
    }
}

/// Rows in the lower half, rows of class 1 in the upper half.
#[inline]
fn both(format: &Format, record: &[u8], entry: u32) -> i64 {
    let times = i64::from(entry >> ROW_BITS);
    times | (times * i64::from(record[format.lanes])) << 32
}

fn add_few<const N: usize>(
    format: &Format,
    records: &[u8],
    entries: &[u32],
    lanes: &[u32],
    by_bin: &mut [i64],
) {
    let (Some(lanes), Some(cells)) =
        (lanes.first_chunk::<N>(), by_bin.as_chunks_mut::<CELLS>().0.first_chunk_mut::<N>())
    else {
        return;
    };
    let lanes = lanes.map(|lane| lane as usize);
    for e in entries {
        let record = record(format, records, *e);
        let both = both(format, record, *e);
        for (lane, cells) in lanes.iter().zip(cells.iter_mut()) {
            cells[usize::from(record[*lane])] += both;
        }
    }
}

fn add_mean(format: &Format, records: &[u8], entries: &[u32], lanes: &[u32], by_bin: &mut [i64]) {
    let cells = by_bin.as_chunks_mut::<2>().0.as_chunks_mut::<CELLS>().0;
    for e in entries {
        let record = record(format, records, *e);
        let times = i64::from(e >> ROW_BITS);
        let target = times * format.target(record);
        for (lane, cells) in lanes.iter().zip(cells.iter_mut()) {
            let cell = &mut cells[usize::from(record[*lane as usize])];
            cell[0] += times;
            cell[1] += target;
        }
    }
}

fn add_any(
    format: &Format,
    records: &[u8],
    entries: &[u32],
    lanes: &[u32],
    by_bin: &mut [i64],
    channels: usize,
) {
    for e in entries {
        let record = record(format, records, *e);
        let times = i64::from(e >> ROW_BITS);
        for (lane, cells) in lanes.iter().zip(by_bin.chunks_exact_mut(CELLS * channels)) {
            let at = usize::from(record[*lane as usize]) * channels;
            format.add(record, times, &mut cells[at..at + channels]);
        }
    }
}

/// The sums of a node's rows.
pub fn total(format: &Format, records: &[u8], entries: &[u32]) -> Vec<i64> {
    let mut sums = vec![0; format.channels()];
    for e in entries {
        format.add(record(format, records, *e), i64::from(e >> ROW_BITS), &mut sums);
    }
    sums
}

/// Orders a node's rows by side, each side as it was; gives the rows on the left.
pub fn partition(
    format: &Format,
    records: &[u8],
    entries: &mut [u32],
    scratch: &mut Vec<u32>,
    lane: u32,
    left: &BinSet,
    cx: &Cx,
) -> Result<usize> {
    let goes: [bool; CELLS] = std::array::from_fn(|bin| has(left, bin as u8));
    scratch.resize(scratch.len().max(entries.len()), 0);
    let scratch = &mut scratch[..entries.len()];
    let (mut l, mut r) = (0, 0);
    for from in (0..entries.len()).step_by(RUN) {
        cx.check()?;
        for i in from..(from + RUN).min(entries.len()) {
            let entry = entries[i];
            let goes = goes[usize::from(records[row_of(entry) * format.stride + lane as usize])];
            entries[l] = entry;
            scratch[r] = entry;
            l += usize::from(goes);
            r += usize::from(!goes);
        }
    }
    entries[l..].copy_from_slice(&scratch[..r]);
    Ok(l)
}

/// Records of a small node, to send.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Records {
    /// The records.
    pub bytes: Vec<u8>,
    /// How often each was drawn.
    pub times: Vec<u8>,
}

impl Records {
    /// Copies the records of entries.
    pub fn of(format: &Format, records: &[u8], entries: &[u32], cx: &Cx) -> Result<Records> {
        let mut bytes = Vec::with_capacity(entries.len() * format.stride);
        for entries in entries.chunks(RUN) {
            cx.check()?;
            entries.iter().for_each(|e| bytes.extend_from_slice(record(format, records, *e)));
        }
        Ok(Records { bytes, times: entries.iter().map(|e| (e >> ROW_BITS) as u8).collect() })
    }
}

/// The useful features, lane by lane: those whose bins can tell rows apart.
pub fn useful(bins: &[Bins]) -> Vec<u32> {
    bins.iter().enumerate().filter(|(_, b)| b.useful()).map(|(f, _)| f as u32).collect()
}
