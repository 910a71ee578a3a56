//! Eigenvalues and eigenvectors of a symmetric matrix: Householder's tridiagonal form, then implicit QL (Bowdler,
//! Martin, Reinsch & Wilkinson 1968, as in EISPACK's `tred2` and `tql2`). Our own because it stops when asked, and
//! gives the same bits on any number of threads.

use crate::dense::{dot, vectorized};
use crate::error::{Error, Result};
use crate::learner::Cx;

/// QL steps for one eigenvalue; two or three are usual.
const MOST_STEPS: usize = 60;

/// Eigenvalues, from the greatest to the least, and the eigenvectors of unit length, one a row.
pub struct Eigen {
    /// Descending.
    pub values: Vec<f64>,
    /// `n * n` values.
    pub vectors: Vec<f64>,
}

/// Decomposes `a`, `n` square, of which the lower triangle is read. Takes about `6 n^3` multiplications.
///
/// # Errors
/// A cancel; `Kind::Internal` when the steps do not converge, which values that are not finite cause.
pub fn symmetric(a: &[f64], n: usize, cx: &Cx) -> Result<Eigen> {
    // The full square: rows are then vectors to work along.
    let mut a: Vec<f64> = (0..n * n)
        .map(|at| (at / n, at % n))
        .map(|(i, j)| if i >= j { a[i * n + j] } else { a[j * n + i] })
        .collect();
    let (mut diagonal, mut beside) = (vec![0.0; n], vec![0.0; n]);
    // Reflections H_k = I - v v' / h make a tridiagonal from the last row up; row k keeps its v.
    let mut h = vec![0.0; n];
    for k in (1..n).rev() {
        cx.check()?;
        let (above, row) = a.split_at_mut(k * n);
        let v = &mut row[..k];
        let rest = v[..k - 1].iter().fold(0.0f64, |m, x| m.max(x.abs()));
        if rest == 0.0 {
            beside[k] = v[k - 1];
            continue;
        }
        let scale = rest.max(v[k - 1].abs());
        v.iter_mut().for_each(|x| *x /= scale);
        let square = dot(v, v);
        let g = if v[k - 1] >= 0.0 { -square.sqrt() } else { square.sqrt() };
        beside[k] = scale * g;
        h[k] = square - v[k - 1] * g;
        v[k - 1] -= g;
        let mut p: Vec<f64> = (0..k).map(|i| dot(&above[i * n..i * n + k], v) / h[k]).collect();
        let half = dot(&p, v) / (2.0 * h[k]);
        p.iter_mut().zip(&*v).for_each(|(p, v)| *p -= half * v);
        for i in 0..k {
            let (vi, pi) = (v[i], p[i]);
            let row = &mut above[i * n..i * n + k];
            row.iter_mut().zip(&*v).zip(&p).for_each(|((x, v), p)| *x -= vi * p + pi * v);
        }
    }
    diagonal.iter_mut().enumerate().for_each(|(i, d)| *d = a[i * n + i]);
    // The product of the reflections, H_1 first: row i is to become eigenvector i.
    let mut z = vec![0.0; n * n];
    (0..n).for_each(|i| z[i * n + i] = 1.0);
    for k in 1..n {
        cx.check()?;
        if h[k] == 0.0 {
            continue;
        }
        let v = &a[k * n..k * n + k];
        for i in 0..k {
            let row = &mut z[i * n..i * n + k];
            let part = dot(row, v) / h[k];
            row.iter_mut().zip(v).for_each(|(x, v)| *x -= part * v);
        }
    }
    beside.rotate_left(1);
    ql(&mut diagonal, &mut beside, &mut z, n, cx)?;

    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|i, j| diagonal[*j].total_cmp(&diagonal[*i]));
    let values = order.iter().map(|i| diagonal[*i]).collect();
    let vectors = order.iter().flat_map(|i| z[i * n..(i + 1) * n].iter().copied()).collect();
    Ok(Eigen { values, vectors })
}

/// Diagonalises a tridiagonal matrix: `d` its diagonal, `e[i]` beside `d[i]` and `d[i + 1]`; row i of `z` turns along.
fn ql(d: &mut [f64], e: &mut [f64], z: &mut [f64], n: usize, cx: &Cx) -> Result<()> {
    for l in 0..n {
        for step in 0.. {
            cx.check()?;
            // The first negligible element from l on cuts off a block.
            let small = |m: &usize| e[*m].abs() <= f64::EPSILON * (d[*m].abs() + d[*m + 1].abs());
            let m = (l..n - 1).find(small).unwrap_or(n - 1);
            if m == l {
                break;
            }
            if step == MOST_STEPS {
                return Err(Error::internal("the eigenvalues of the covariance do not converge"));
            }
            let g = (d[l + 1] - d[l]) / (2.0 * e[l]);
            let r = g.hypot(1.0);
            let mut g = d[m] - d[l] + e[l] / (g + r.copysign(g));
            let (mut s, mut c, mut p) = (1.0, 1.0, 0.0);
            let mut whole = true;
            for i in (l..m).rev() {
                let (f, b) = (s * e[i], c * e[i]);
                let r = f.hypot(g);
                e[i + 1] = r;
                if r == 0.0 {
                    d[i + 1] -= p;
                    e[m] = 0.0;
                    whole = false;
                    break;
                }
                (s, c) = (f / r, g / r);
                g = d[i + 1] - p;
                let r = (d[i] - g) * s + 2.0 * c * b;
                p = s * r;
                d[i + 1] = g + p;
                g = c * r - b;
                turn(&mut z[i * n..(i + 2) * n], n, s, c);
            }
            if whole {
                d[l] -= p;
                e[l] = g;
                e[m] = 0.0;
            }
        }
    }
    Ok(())
}

/// Turns two neighbouring rows.
fn turn(rows: &mut [f64], n: usize, s: f64, c: f64) {
    let (a, b) = rows.split_at_mut(n);
    vectorized(
        #[inline(always)]
        || {
            for (a, b) in a.iter_mut().zip(b) {
                let f = *b;
                *b = s * *a + c * f;
                *a = c * *a - s * f;
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learner::Silent;
    use std::sync::atomic::AtomicBool;

    #[test]
    fn decomposes() {
        let stop = AtomicBool::new(false);
        let cx = Cx { seed: 0, stop: &stop, observer: &Silent };
        for n in [1usize, 2, 3, 8, 31, 90] {
            let noise = |i: usize| {
                ((i as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as f64 / (1 << 24) as f64 - 0.5
            };
            let mut a = vec![0.0; n * n];
            for i in 0..n {
                for j in 0..=i {
                    a[i * n + j] = noise(i * n + j);
                    a[j * n + i] = a[i * n + j];
                }
            }
            let Eigen { values, vectors } = symmetric(&a, n, &cx).unwrap();
            assert!(values.windows(2).all(|w| w[0] >= w[1]));
            for (k, v) in vectors.chunks(n).enumerate() {
                for i in 0..n {
                    let image: f64 = (0..n).map(|j| a[i * n + j] * v[j]).sum();
                    assert!((image - values[k] * v[i]).abs() < 1e-12, "{n}: vector {k}");
                }
                for (j, w) in vectors.chunks(n).enumerate() {
                    assert!((dot(v, w) - f64::from(j == k)).abs() < 1e-12, "{n}: {j} and {k}");
                }
            }
        }
        let Eigen { values, vectors } =
            symmetric(&[3.0, 0.0, 0.0, 0.0, 5.0, 0.0, 0.0, 0.0, 3.0], 3, &cx).unwrap();
        assert_eq!((values, vectors[1].abs()), (vec![5.0, 3.0, 3.0], 1.0));
        assert_eq!(symmetric(&[0.0; 4], 2, &cx).unwrap().values, [0.0, 0.0]);
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        let cx = Cx { seed: 0, stop: &stop, observer: &Silent };
        assert!(symmetric(&[1.0, 0.0, 1.0, 2.0], 2, &cx).is_err());
    }
}
