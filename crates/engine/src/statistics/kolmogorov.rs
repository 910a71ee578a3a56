//! Distributions of the Kolmogorov-Smirnov statistic, as SciPy computes them.

use statrs::function::gamma::ln_gamma;

/// The two-sided p-value of the two-sample statistic `d` of samples of `n` and `m`: exact up to 10,000 rows each,
/// by lattice paths (Hodges 1958); above that by the one-sample distribution of `n m / (n + m)` rows.
pub fn two_samples(d: f64, n: usize, m: usize) -> f64 {
    if n.max(m) <= 10_000 {
        return exact(d, n, m).clamp(0.0, 1.0);
    }
    let (n, m) = (n as f64, m as f64);
    one_sample((n * m / (n + m)).round(), d).clamp(0.0, 1.0)
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The share of lattice paths from (0, 0) to (m, n) that leave the band `|x / m - y / n| < d`.
fn exact(d: f64, n: usize, m: usize) -> f64 {
    let (m, n) = (m.max(n), m.min(n));
    let g = gcd(m, n);
    let lcm = (m / g) as f64 * n as f64;
    // The statistic is a multiple of 1 / lcm.
    let h = (d * lcm).round();
    if h == 0.0 {
        return 1.0;
    }
    // For one x at a time: of all paths to (x, y), the share that stayed inside.
    let (mg, ng) = ((m / g) as f64, (n / g) as f64);
    let outside = |x: usize, y: usize| (x as f64 * ng - y as f64 * mg).abs() >= h;
    let mut inside = vec![0.0; n + 1];
    for (y, share) in inside.iter_mut().enumerate() {
        // Along x = 0 there is one path.
        *share = f64::from(u8::from(!outside(0, y)));
    }
    for x in 1..=m {
        if outside(x, 0) {
            inside[0] = 0.0;
        }
        for y in 1..=n {
            // Of all paths to (x, y), x / (x + y) come from (x - 1, y), the others from (x, y - 1).
            let from_left = x as f64 / (x + y) as f64;
            let share = inside[y] * from_left + inside[y - 1] * (1.0 - from_left);
            inside[y] = if outside(x, y) { 0.0 } else { share };
        }
    }
    1.0 - inside[n]
}

/// `P(D_n >= x)` of the two-sided one-sample statistic (Simard & L'Ecuyer 2011, as SciPy's `kstwo`).
fn one_sample(n: f64, x: f64) -> f64 {
    let t = n * x;
    if x >= 1.0 {
        return 0.0;
    }
    if t <= 0.5 {
        return 1.0;
    }
    if t <= 1.0 {
        // Ruben & Gambino 1982: the product n! (2 x - 1 / n)^n.
        return 1.0 - (ln_gamma(n + 1.0) - n * n.ln() + n * (2.0 * t - 1.0).ln()).exp();
    }
    let squared = t * x;
    if t >= n - 1.0 {
        return 2.0 * (1.0 - x).powf(n);
    }
    if x >= 0.5 || (n <= 140.0 && squared > 4.0) || (n > 140.0 && squared >= 2.2) {
        return if squared >= 370.0 { 0.0 } else { 2.0 * smirnov(n, x) };
    }
    if n <= 140.0 || (n <= 100_000.0 && n * x.powf(1.5) <= 1.4) {
        return 1.0 - durbin(n as usize, x);
    }
    1.0 - pelz_good(n, x)
}

/// `P(D_n^+ >= x)` of the one-sided statistic (Birnbaum & Tingey 1951).
fn smirnov(n: f64, x: f64) -> f64 {
    let last = (n * (1.0 - x)).floor() as usize;
    let mut sum = 0.0;
    for j in 0..=last {
        let j = j as f64;
        let (a, b) = (x + j / n, 1.0 - x - j / n);
        let ways = ln_gamma(n + 1.0) - ln_gamma(j + 1.0) - ln_gamma(n - j + 1.0);
        let rest =
            if n - j > 0.0 && b <= 0.0 { f64::NEG_INFINITY } else { (n - j) * b.max(f64::MIN_POSITIVE).ln() };
        sum += (ways + (j - 1.0) * a.ln() + rest).exp();
    }
    (x * sum).clamp(0.0, 1.0)
}

/// `P(D_n < d)` by the power of a matrix (Durbin 1973; Marsaglia, Tsang & Wang 2003).
fn durbin(n: usize, d: f64) -> f64 {
    let k = (n as f64 * d).ceil() as usize;
    let h = k as f64 - n as f64 * d;
    let m = 2 * k - 1;
    let mut matrix = vec![0.0; m * m];
    for i in 0..m {
        for j in 0..m {
            matrix[i * m + j] = f64::from(u8::from(i + 1 >= j));
        }
    }
    for i in 0..m {
        let power = h.powi(i as i32 + 1);
        matrix[i * m] -= power;
        matrix[(m - 1) * m + i] -= h.powi((m - i) as i32);
    }
    if 2.0 * h > 1.0 {
        matrix[(m - 1) * m] += (2.0 * h - 1.0).powi(m as i32);
    }
    for i in 0..m {
        for j in 0..m {
            if i + 1 > j {
                let mut factor = 1.0;
                (1..=i + 1 - j).for_each(|g| factor /= g as f64);
                matrix[i * m + j] *= factor;
            }
        }
    }
    let (power, mut exponent) = matrix_power(&matrix, m, n);
    let mut value = power[(k - 1) * m + k - 1];
    for i in 1..=n {
        value *= i as f64 / n as f64;
        if value < 1e-140 {
            value *= 1e140;
            exponent -= 140;
        }
    }
    value * 10f64.powi(exponent)
}

/// `matrix^n` and the power of ten that it is to be multiplied by.
fn matrix_power(matrix: &[f64], m: usize, n: usize) -> (Vec<f64>, i32) {
    if n == 1 {
        return (matrix.to_vec(), 0);
    }
    let (half, exponent) = matrix_power(matrix, m, n / 2);
    let (mut power, mut exponent) = (product(&half, &half, m), 2 * exponent);
    if n % 2 == 1 {
        power = product(&power, matrix, m);
    }
    if power[m / 2 * m + m / 2] > 1e140 {
        power.iter_mut().for_each(|v| *v *= 1e-140);
        exponent += 140;
    }
    (power, exponent)
}

fn product(a: &[f64], b: &[f64], m: usize) -> Vec<f64> {
    let mut c = vec![0.0; m * m];
    for i in 0..m {
        for (k, a) in a[i * m..(i + 1) * m].iter().enumerate() {
            c[i * m..(i + 1) * m].iter_mut().zip(&b[k * m..(k + 1) * m]).for_each(|(c, b)| *c += a * b);
        }
    }
    c
}

/// `P(D_n < x)` by the series of Pelz & Good 1976.
fn pelz_good(n: f64, x: f64) -> f64 {
    use std::f64::consts::PI;
    let z = n.sqrt() * x;
    let (z2, z4, z6) = (z * z, z.powi(4), z.powi(6));
    let pi2 = PI * PI;
    let (mut k0, mut k1, mut k2, mut k3) = (0.0, 0.0, 0.0, 0.0);
    let terms = (16.0 * z / PI).ceil() as i32 + 10;
    for k in 0..terms {
        let m = 2.0 * f64::from(k) + 1.0;
        let m2 = m * m;
        let q = (-pi2 * m2 / (8.0 * z2)).exp();
        k0 += q;
        k1 += (pi2 / 4.0 * m2 - z2) * q;
        k2 += (6.0 * z6
            + 2.0 * z4
            + pi2 * (2.0 * z4 - 5.0 * z2) * m2 / 4.0
            + pi2 * pi2 * (1.0 - 2.0 * z2) * m2 * m2 / 16.0)
            * q;
        k3 += (-30.0 * z6 - 90.0 * z6 * z2
            + pi2 / 4.0 * (135.0 * z4 - 96.0 * z6) * m2
            + pi2 * pi2 / 16.0 * (212.0 * z4 - 60.0 * z2) * m2 * m2
            + pi2.powi(3) / 64.0 * (5.0 - 30.0 * z2) * m2.powi(3))
            * q;
    }
    let root = (2.0 * PI).sqrt();
    k0 *= root / z;
    k1 *= (PI / 2.0).sqrt() / (3.0 * z4);
    k2 *= (PI / 2.0).sqrt() / (36.0 * z6 * z);
    k3 *= (PI / 2.0).sqrt() / (3240.0 * z6 * z4);
    let (mut second, mut third) = (0.0, 0.0);
    for k in 1..=terms {
        let k2 = f64::from(k) * f64::from(k);
        let q = (-pi2 * k2 / (2.0 * z2)).exp();
        second += k2 * q;
        third += (3.0 * pi2 * k2 * z2 - pi2 * pi2 * k2 * k2) * q;
    }
    k2 -= second * pi2 * (PI / 2.0).sqrt() / (18.0 * z2 * z);
    k3 += third * (PI / 2.0).sqrt() / (108.0 * z6);
    (k0 + k1 / n.sqrt() + k2 / n + k3 / (n * n.sqrt())).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Recorded from SciPy's `kstwo.sf` by tests/reference/statistics.py.
    #[test]
    fn one_sample_agrees_with_scipy() {
        for (n, x, expected) in KSTWO {
            let found = one_sample(*n, *x);
            assert!((found - expected).abs() <= 1e-9 + 1e-6 * expected, "{n} {x}: {found} for {expected}");
        }
    }

    const KSTWO: &[(f64, f64, f64)] = include!("../../tests/reference/kstwo.txt");
}
