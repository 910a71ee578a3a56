//! Centers laid out for the processor, their distances to rows, and the nearest of them to each: where k-means spends
//! its time.
//!
//! Distances are sums of squared differences in the order of the features, one center a lane. That is exact for a
//! row that equals a center (0), needs no shifted data to stay exact far from the origin as ‖x‖² - 2xc + ‖c‖² does,
//! and gives the same bits on every processor and for any grouping of rows and centers.

use crate::dense::vectorized;
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// Centers a group: the doubles of the widest vector register.
pub const LANES: usize = 8;
/// Rows compared with a group at once: enough additions under way to hide how long each takes.
pub const TILE: usize = 4;

/// `count` points of `width` features, in groups of eight: feature by feature, the values of the group's points.
/// Lanes left over in the last group are infinite, so that they are nearest to nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Centers {
    count: usize,
    width: usize,
    lanes: Vec<f64>,
}

impl Centers {
    /// Centers from points of `width` features, one after another.
    pub fn new(points: &[f64], width: usize) -> Centers {
        let count = points.len().checked_div(width).unwrap_or(0);
        let mut lanes = vec![f64::INFINITY; count.div_ceil(LANES) * LANES * width];
        for (c, point) in points.chunks_exact(width.max(1)).enumerate() {
            for (j, v) in point.iter().enumerate() {
                lanes[(c / LANES * width + j) * LANES + c % LANES] = *v;
            }
        }
        Centers { count, width, lanes }
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether rows of that many features can be compared with them.
    pub fn has_width(&self, width: usize) -> bool {
        self.width == width
    }

    /// The features of one.
    pub fn point(&self, c: usize) -> impl Iterator<Item = f64> + '_ {
        let start = c / LANES * self.width * LANES + c % LANES;
        self.lanes[start..].iter().step_by(LANES).take(self.width).copied()
    }

    /// All points, one after another.
    pub fn points(&self) -> Vec<f64> {
        (0..self.count).flat_map(|c| self.point(c)).collect()
    }

    /// Refuses bytes that are no centers of so many finite features.
    ///
    /// # Errors
    /// `Kind::Corrupt`.
    pub fn check(&self, width: usize) -> Result<()> {
        let groups = self.count.div_ceil(LANES);
        let expected = groups.checked_mul(LANES).and_then(|n| n.checked_mul(width));
        if self.count == 0 || width == 0 || self.width != width || expected != Some(self.lanes.len()) {
            return Err(Error::corrupt(format!(
                "{} centers of {} features hold {} values, expected centers of {width} features",
                self.count,
                self.width,
                self.lanes.len()
            )));
        }
        if (0..self.count).any(|c| self.point(c).any(|v| !v.is_finite())) {
            return Err(Error::corrupt("a center is not finite"));
        }
        Ok(())
    }

    /// Lowers `distance` (squared) and sets `nearest` to `base` + the center's number, for those of the rows `x`
    /// that have a center nearer than `distance` says. Of equally near centers the first wins.
    pub fn improve(&self, x: &[f64], base: u32, nearest: &mut [u32], distance: &mut [f64]) {
        vectorized(
            #[inline(always)]
            || {
                let mut tiles = x.chunks_exact(TILE * self.width);
                let mut done = 0;
                for rows in &mut tiles {
                    let out = done..done + TILE;
                    self.tile::<TILE>(rows, base, &mut nearest[out.clone()], &mut distance[out]);
                    done += TILE;
                }
                for row in tiles.remainder().chunks_exact(self.width) {
                    let out = done..done + 1;
                    self.tile::<1>(row, base, &mut nearest[out.clone()], &mut distance[out]);
                    done += 1;
                }
            },
        );
    }

    /// Squared distances of each row of `x` to the first eight centers, into `out`.
    pub fn distances(&self, x: &[f64], out: &mut [[f64; LANES]]) {
        let group = &self.lanes[..self.width * LANES];
        vectorized(
            #[inline(always)]
            || {
                for (row, out) in x.chunks_exact(self.width).zip(out) {
                    [*out] = squares([row], group);
                }
            },
        );
    }

    /// Squared distances of a row to all centers, in place of what `out` has.
    pub fn squares(&self, row: &[f64], out: &mut Vec<f64>) {
        out.clear();
        vectorized(
            #[inline(always)]
            || {
                for group in self.lanes.chunks_exact(self.width * LANES) {
                    let [squares] = squares([row], group);
                    out.extend_from_slice(&squares);
                }
            },
        );
        out.truncate(self.count);
    }

    /// For each row: its nearest center, the first of equally near ones; the squared distance to it, and that to the
    /// nearest of the others (infinite where there are none). To be called in [`vectorized`] loops.
    #[inline(always)]
    pub fn two_nearest(&self, rows: [&[f64]; TILE]) -> [(u32, f64, f64); TILE] {
        let mut found = [(0, f64::INFINITY, f64::INFINITY); TILE];
        let mut first = 0;
        for group in self.lanes.chunks_exact(self.width * LANES) {
            for (squares, (nearest, best, second)) in squares(rows, group).iter().zip(&mut found) {
                for (c, square) in squares.iter().enumerate() {
                    let nearer = *square < *best;
                    let passed = if nearer { *best } else { *square };
                    *second = if passed < *second { passed } else { *second };
                    *nearest = if nearer { first + c as u32 } else { *nearest };
                    *best = if nearer { *square } else { *best };
                }
            }
            first += LANES as u32;
        }
        found
    }

    #[inline(always)]
    fn tile<const R: usize>(&self, rows: &[f64], base: u32, nearest: &mut [u32], distance: &mut [f64]) {
        let mut first = base;
        let rows: [&[f64]; R] = std::array::from_fn(|r| &rows[r * self.width..(r + 1) * self.width]);
        for group in self.lanes.chunks_exact(self.width * LANES) {
            let squares = squares(rows, group);
            for ((squares, nearest), distance) in squares.iter().zip(&mut *nearest).zip(&mut *distance) {
                for (c, square) in squares.iter().enumerate() {
                    let nearer = *square < *distance;
                    *nearest = if nearer { first + c as u32 } else { *nearest };
                    *distance = if nearer { *square } else { *distance };
                }
            }
            first += LANES as u32;
        }
    }
}

/// Squared distances of `R` rows to a group of centers.
#[inline(always)]
fn squares<const R: usize>(rows: [&[f64]; R], group: &[f64]) -> [[f64; LANES]; R] {
    let (group, _) = group.as_chunks::<LANES>();
    let rows: [&[f64]; R] = rows.map(|row| &row[..group.len()]);
    let mut sums = [[0.0; LANES]; R];
    for (j, center) in group.iter().enumerate() {
        for (sums, row) in sums.iter_mut().zip(rows) {
            let x = row[j];
            for (sum, c) in sums.iter_mut().zip(center) {
                let difference = x - c;
                *sum += difference * difference;
            }
        }
    }
    sums
}

/// Adds `weight * row` to `sum`.
#[inline(always)]
pub fn add(sum: &mut [f64], row: &[f64], weight: f64) {
    for (sum, v) in sum.iter_mut().zip(row) {
        *sum += weight * v;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers without a pattern, between 0 and 1.
    fn noise(n: usize) -> Vec<f64> {
        (0..n as u64)
            .map(|i| (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as f64 / (1 << 24) as f64)
            .collect()
    }

    #[test]
    fn finds_the_nearest_of_any_number_of_centers() {
        for (k, d, rows) in [(1, 1, 1), (3, 2, 5), (8, 7, 9), (9, 3, 64), (33, 28, 13)] {
            let (points, x) = (noise(k * d), noise(rows * d + 5)[5..].to_vec());
            let centers = Centers::new(&points, d);
            centers.check(d).unwrap();
            assert_eq!(centers.points(), points);
            let (mut nearest, mut distance) = (vec![9; rows], vec![f64::INFINITY; rows]);
            centers.improve(&x, 100, &mut nearest, &mut distance);
            for (i, row) in x.chunks(d).enumerate() {
                let square = |c: usize| -> f64 {
                    row.iter().zip(centers.point(c)).map(|(a, b)| (a - b) * (a - b)).sum()
                };
                let best = (0..k).min_by(|a, b| square(*a).total_cmp(&square(*b))).unwrap();
                assert_eq!((nearest[i], distance[i]), (100 + best as u32, square(best)), "{k} {d} row {i}");
            }
        }
    }

    #[test]
    fn first_of_equally_near_centers_wins() {
        let (mut nearest, mut distance) = ([0; 2], [f64::INFINITY; 2]);
        Centers::new(&[2.0, 1.0, 1.0, 3.0], 1).improve(&[1.0, 2.5], 0, &mut nearest, &mut distance);
        assert_eq!((nearest, distance), ([1, 0], [0.0, 0.25]));
    }

    #[test]
    fn refuses_malformed() {
        let good = Centers::new(&[1.0, 2.0, 3.0, 4.0], 2);
        assert!(good.check(2).is_ok() && good.check(1).is_err());
        assert!(Centers { count: 9, ..good.clone() }.check(2).is_err());
        assert!(Centers { count: usize::MAX, ..good.clone() }.check(2).is_err());
        assert!(Centers { count: 0, ..good.clone() }.check(2).is_err());
        assert!(Centers { count: 3, ..good.clone() }.check(2).is_err(), "a spare lane is not a center");
        assert!(Centers::new(&[1.0, f64::NAN], 2).check(2).is_err());
    }
}
