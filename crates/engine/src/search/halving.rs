//! The schedules of successive halving and Hyperband: how many candidates get how much of the resource, rung by rung.

/// One rung: so many candidates, each with so much of the resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rung {
    /// Candidates that are tried.
    pub candidates: usize,
    /// What each may use: rows, trees, epochs.
    pub resource: u64,
}

/// Successive halving (Jamieson, Talwalkar 2016), by the arithmetic of scikit-learn's `HalvingGridSearchCV` with
/// `min_resources='exhaust'`: each rung keeps one candidate of `factor` and gives each `factor` times as much; the
/// first begins with the most that lets the last come to at most `most`, but with at least `least`.
pub fn halving(candidates: usize, factor: usize, least: u64, most: u64) -> Vec<Rung> {
    let (factor, eta) = (factor.max(2), factor.max(2) as u64);
    let needed = 1 + floor_log(candidates as u64, eta);
    let least = least.max(most / eta.saturating_pow(needed - 1)).clamp(1, most.max(1));
    let possible = 1 + floor_log(most / least, eta);
    let mut left = candidates;
    (0..needed.min(possible))
        .map(|i| {
            let rung = Rung { candidates: left, resource: (least * eta.saturating_pow(i)).min(most) };
            left = left.div_ceil(factor);
            rung
        })
        .collect()
}

/// Hyperband (Li, Jamieson, DeSalvo, Rostamizadeh, Talwalkar 2018, algorithm 1 with the whole numbers of its table
/// 1): a bracket of successive halving for each trade of many candidates with little against few with all. `units`
/// is R, the most that a candidate may use, in units of the least.
pub fn hyperband(units: u64, eta: usize) -> Vec<Vec<Rung>> {
    let eta = eta.max(2) as u64;
    let most = floor_log(units, eta);
    let bracket = |s: u32| {
        let n = u64::from((most + 1) / (s + 1)) * eta.saturating_pow(s);
        (0..=s)
            .map(|i| Rung {
                candidates: (n / eta.saturating_pow(i)) as usize,
                resource: units / eta.saturating_pow(s - i),
            })
            .collect()
    };
    (0..=most).rev().map(bracket).collect()
}

/// The greatest power of `base` that is at most `n`, as its exponent; 0 for 0.
pub fn floor_log(n: u64, base: u64) -> u32 {
    n.checked_ilog(base).unwrap_or(0)
}
