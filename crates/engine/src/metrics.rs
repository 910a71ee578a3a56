//! How good predictions are: metrics from arrays, as scikit-learn defines them. Called by evaluation, hold-out
//! tests and cross-validation.
//!
//! Invariants: nothing here panics or fails. A metric that is undefined for the data is left out of the answer, so
//! every number given is finite. There are no metrics at all for no rows, for lengths that do not agree, for
//! values that are not finite, for weights that sum to nothing, and for class numbers that are not below `classes`.
//! An empty `weight` means that every row weighs 1.

mod multilabel;

pub use multilabel::multilabel;

use crate::centers::Centers;
use crate::error::Result;
use crate::schema::Task;
use crate::split::first_shuffled;
use rayon::prelude::*;
use std::collections::HashSet;
use std::ops::Range;

/// A metric by name, with its value.
pub type Metric = (&'static str, f64);

/// The metric that models of a task are compared by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Headline {
    /// Its name in the answers of this module.
    pub name: &'static str,
    /// Whether a larger value is a better model.
    pub larger_is_better: bool,
}

/// The headline metric of a task; `classes` is read for a classification.
pub fn headline(task: Task, classes: usize) -> Headline {
    let (name, larger_is_better) = match task {
        Task::Regression => ("rmse", false),
        Task::Classification if classes == 2 => ("auc", true),
        Task::Classification => ("accuracy", true),
        Task::Multilabel => ("f1_micro", true),
        Task::Clustering => ("silhouette", true),
        Task::Ranking => ("ndcg", true),
        Task::Anomaly => ("auc", true),
        Task::Embedding => ("explained_variance", true),
    };
    Headline { name, larger_is_better }
}

/// Metrics of numeric predictions, `y`, `prediction` and `weight` holding a value a row:
/// `rmse`, `mae`, `medae` (weighted median), `r2` and `explained_variance` (both from two rows on; for a constant
/// target 1 when the predictions are exact, else 0), and `mape` (a share; left out where a target is 0).
pub fn regression(y: &[f64], prediction: &[f64], weight: &[f64]) -> Vec<Metric> {
    let Some(weights) = Weights::new(y.len(), weight) else { return vec![] };
    if prediction.len() != y.len() || !finite(y) || !finite(prediction) {
        return vec![];
    }
    let error = |i: usize| y[i] - prediction[i];
    let square_error = weights.mean(|i| error(i) * error(i));
    let mut metrics = vec![
        ("rmse", square_error.sqrt()),
        ("mae", weights.mean(|i| error(i).abs())),
        ("medae", weights.median(|i| error(i).abs())),
    ];
    if y.len() > 1 {
        let (center, bias) = (weights.mean(|i| y[i]), weights.mean(error));
        // The mean of equal numbers is not always that number in floating point.
        let constant = y.iter().all(|v| *v == y[0]);
        let variance = if constant { 0.0 } else { weights.mean(|i| (y[i] - center) * (y[i] - center)) };
        let explained = |unexplained: f64| match (variance == 0.0, unexplained == 0.0) {
            (false, _) => 1.0 - unexplained / variance,
            (true, exact) => f64::from(u8::from(exact)),
        };
        metrics.push(("r2", explained(square_error)));
        metrics
            .push(("explained_variance", explained(weights.mean(|i| (error(i) - bias) * (error(i) - bias)))));
    }
    if y.iter().all(|v| *v != 0.0) {
        metrics.push(("mape", weights.mean(|i| error(i).abs() / y[i].abs().max(f64::EPSILON))));
    }
    defined(metrics)
}

/// Metrics of classification, from `y` with a class number a row, and `probabilities` with `classes` values a row,
/// row by row. A row is predicted to be of its most probable class, the lowest of equals.
///
/// Always `accuracy`, `balanced_accuracy` (over the classes present in `y`) and `log_loss` (probabilities clipped
/// to within 2.2e-16 of 0 and 1). For two classes also `auc` and `average_precision` (left out when `y` has one
/// class), `f1`, `precision` and `recall` of class 1 (0 where they would divide by 0), `brier` (of class 1) and
/// `mcc` (0 when `y` or the predictions have one class). For more, `f1_macro`, `precision_macro` and
/// `recall_macro` over the classes present in `y` or the predictions, and `auc_ovr`, the mean over classes of the
/// area of each against the rest (left out when a class is absent from `y`).
pub fn classification(y: &[f64], probabilities: &[f64], classes: usize, weight: &[f64]) -> Vec<Metric> {
    if classes < 2 {
        return vec![];
    }
    let decided: Vec<usize> = probabilities.chunks_exact(classes).map(most_probable).collect();
    decisions(y, probabilities, &decided, classes, weight)
}

/// As [`classification`], where `predicted` has the class that each row is decided to be of.
pub fn decisions(
    y: &[f64],
    probabilities: &[f64],
    predicted: &[usize],
    classes: usize,
    weight: &[f64],
) -> Vec<Metric> {
    let Some(weights) = Weights::new(y.len(), weight) else { return vec![] };
    let known = |c: &f64| *c >= 0.0 && *c < classes as f64 && c.fract() == 0.0;
    if classes < 2
        || y.len().checked_mul(classes) != Some(probabilities.len())
        || predicted.len() != y.len()
        || !finite(probabilities)
        || !y.iter().all(known)
        || !predicted.iter().all(|c| *c < classes)
    {
        return vec![];
    }
    let class = |i: usize| y[i] as usize;
    let row = |i: usize| &probabilities[i * classes..(i + 1) * classes];
    let table = Confusion::new(classes, (0..y.len()).map(|i| (class(i), predicted[i], weights.of(i))));

    let clipped = |i: usize| row(i)[class(i)].clamp(f64::EPSILON, 1.0 - f64::EPSILON);
    let mut metrics = vec![
        ("accuracy", weights.mean(|i| f64::from(u8::from(predicted[i] == class(i))))),
        ("balanced_accuracy", table.balanced_accuracy()),
        ("log_loss", weights.mean(|i| -clipped(i).ln())),
    ];
    // How classes stand against the rest: area under ROC and average precision.
    let against_rest = |some: Range<usize>| -> Vec<Option<(f64, f64)>> {
        let mut keys: Vec<Vec<u64>> = some.clone().map(|_| Vec::with_capacity(y.len())).collect();
        let keyed = weight.is_empty()
            && (0..y.len()).all(|i| {
                let (scores, of) = (&row(i)[some.clone()], class(i));
                let mut each = keys.iter_mut().zip(some.clone()).zip(scores);
                each.all(|((keys, c), p)| rank_key(*p, of == c).map(|key| keys.push(key)).is_some())
            });
        if keyed {
            return keys.into_par_iter().map(areas_of_keys).collect();
        }
        let rows = |c| (0..y.len()).map(|i| (row(i)[c], class(i) == c, weights.of(i))).collect();
        some.into_par_iter().map(|c| areas(rows(c))).collect()
    };
    if classes == 2 {
        if let [Some((auc, average_precision))] = against_rest(1..2)[..] {
            metrics.extend([("auc", auc), ("average_precision", average_precision)]);
        }
        metrics.extend([
            ("f1", table.f1(1)),
            ("precision", table.precision(1)),
            ("recall", table.recall(1)),
            ("brier", weights.mean(|i| (row(i)[1] - y[i]) * (row(i)[1] - y[i]))),
            ("mcc", table.mcc()),
        ]);
    } else {
        metrics.extend([
            ("f1_macro", table.macro_mean(Confusion::f1)),
            ("precision_macro", table.macro_mean(Confusion::precision)),
            ("recall_macro", table.macro_mean(Confusion::recall)),
        ]);
        let groups = (0..classes.div_ceil(TOGETHER)).into_par_iter();
        let areas = groups.map(|g| against_rest(g * TOGETHER..((g + 1) * TOGETHER).min(classes)));
        let areas: Vec<Vec<Option<(f64, f64)>>> = areas.collect();
        if let Some(areas) = areas.into_iter().flatten().collect::<Option<Vec<_>>>() {
            metrics.push(("auc_ovr", mean(areas.into_iter().map(|(area, _)| area))));
        }
    }
    defined(metrics)
}

/// Metrics of a ranking, from a relevance, a score and the number of its query for each row: means over queries of
/// `ndcg`, `ndcg@5` and `ndcg@10` (gains `2^relevance - 1`, discounts `1 / log2(1 + place)`), and `map` (rows of a
/// relevance above 0 are hits). A query without a relevant row counts 1, as in LightGBM. Rows of equal scores share
/// the mean of what their places count, as in scikit-learn, so that their order does not matter; weights have no part.
/// There are no metrics for a negative relevance.
pub fn ranking(y: &[f64], score: &[f64], group: &[u64]) -> Vec<Metric> {
    let fits = score.len() == y.len() && group.len() == y.len() && !y.is_empty();
    if !fits || !finite(y) || !finite(score) || y.iter().any(|v| *v < 0.0) {
        return vec![];
    }
    let mut order: Vec<usize> = (0..y.len()).collect();
    order.sort_by(|a, b| group[*a].cmp(&group[*b]).then(score[*b].total_cmp(&score[*a])));
    let queries: Vec<&[usize]> = order.chunk_by(|a, b| group[*a] == group[*b]).collect();
    let gain = |row: &usize| y[*row].exp2() - 1.0;
    let discount = |place: usize| 1.0 / (2.0 + place as f64).log2();
    let ndcg = |rows: &&[usize], most: usize| {
        let (mut place, mut found) = (0, 0.0);
        for tied in rows.chunk_by(|a, b| score[*a] == score[*b]) {
            let places = place..(place + tied.len()).min(most).max(place);
            let share = places.map(discount).sum::<f64>() / tied.len() as f64;
            found += share * tied.iter().map(gain).sum::<f64>();
            place += tied.len();
        }
        let mut gains: Vec<f64> = rows.iter().map(gain).collect();
        gains.sort_by(|a, b| b.total_cmp(a));
        let best: f64 = gains.iter().take(most).enumerate().map(|(place, g)| g * discount(place)).sum();
        if best > 0.0 { found / best } else { 1.0 }
    };
    // Of tied rows, the hits count as if they stood at the end: no order is better than another.
    let precision = |rows: &&[usize]| {
        let (mut seen, mut hits, mut sum) = (0.0, 0.0, 0.0);
        for tied in rows.chunk_by(|a, b| score[*a] == score[*b]) {
            let found = tied.iter().filter(|r| y[**r] > 0.0).count() as f64;
            (seen, hits) = (seen + tied.len() as f64, hits + found);
            sum += found * hits / seen;
        }
        if hits > 0.0 { sum / hits } else { 1.0 }
    };
    defined(vec![
        ("ndcg", mean(queries.iter().map(|q| ndcg(q, usize::MAX)))),
        ("ndcg@5", mean(queries.iter().map(|q| ndcg(q, 5)))),
        ("ndcg@10", mean(queries.iter().map(|q| ndcg(q, 10)))),
        ("map", mean(queries.iter().map(precision))),
    ])
}

/// Classes ranked at once: their probabilities of a row share a line of the caches.
const TOGETHER: usize = 8;
/// Rows that the silhouette compares with each other: its cost is the square of them.
const SILHOUETTE_ROWS: usize = 2000;
/// Rows of a block of those that are in memory.
const CLUSTERED_ROWS: usize = 4096;

/// Metrics of a clustering, from encoded rows `x` of `width` features, row by row, and a cluster's number a row:
/// `calinski_harabasz` (larger is better), `davies_bouldin` (smaller is better) and `silhouette` (-1 to 1, larger
/// is better; among 2,000 rows chosen by hash where there are more). All need at least 2 clusters, and fewer
/// clusters than rows. Weights have no part in them.
pub fn clustering(x: &[f64], width: usize, cluster: &[f64]) -> Vec<Metric> {
    if width == 0 || cluster.len().checked_mul(width) != Some(x.len()) {
        return vec![];
    }
    let read = |rows: Range<usize>, into: &mut Vec<f64>| {
        into.clear();
        into.extend_from_slice(&x[rows.start * width..rows.end * width]);
        Ok(())
    };
    // Reading does not fail.
    clustering_by(width, cluster, CLUSTERED_ROWS, read).unwrap_or_default()
}

/// The same of rows that `read` gives, encoded, `block` of them at most: twice, from several threads. Sums are cut at
/// blocks.
///
/// # Errors
/// Those of `read`.
pub(crate) fn clustering_by(
    width: usize,
    cluster: &[f64],
    block: usize,
    read: impl Fn(Range<usize>, &mut Vec<f64>) -> Result<()> + Sync,
) -> Result<Vec<Metric>> {
    let rows = cluster.len();
    let members = Members::new(cluster);
    let k = members.sizes.len();
    if width == 0 || k < 2 || k >= rows || !finite(cluster) {
        return Ok(vec![]);
    }
    let blocks: Vec<Range<usize>> =
        (0..rows).step_by(block.max(1)).map(|start| start..(start + block).min(rows)).collect();
    let (mut sums, mut whole) = (vec![0.0; k * width], true);
    let sum_up = |x: &[f64], of: &[usize]| {
        let mut sums = vec![0.0; k * width];
        for (row, c) in x.chunks_exact(width).zip(of) {
            sums[c * width..(c + 1) * width].iter_mut().zip(row).for_each(|(sum, v)| *sum += v);
        }
        (sums, finite(x))
    };
    in_order(&blocks, &members.of, &read, sum_up, |(of_block, all)| {
        sums.iter_mut().zip(of_block).for_each(|(sum, v)| *sum += v);
        whole &= all;
    })?;
    if !whole {
        return Ok(vec![]);
    }
    let mut center = vec![0.0; width];
    for (sums, size) in sums.chunks_exact_mut(width).zip(&members.sizes) {
        for (all, sum) in center.iter_mut().zip(sums) {
            *all += *sum / rows as f64;
            *sum /= *size as f64;
        }
    }
    let centers = sums;
    let center_of = |c: usize| &centers[c * width..(c + 1) * width];
    let (mut within, mut spread) = (0.0, vec![0.0; k]);
    let measure = |x: &[f64], of: &[usize]| {
        let (mut within, mut spread) = (0.0, vec![0.0; k]);
        for (row, c) in x.chunks_exact(width).zip(of) {
            let square = square_distance(row, center_of(*c));
            within += square;
            spread[*c] += square.sqrt();
        }
        (within, spread)
    };
    in_order(&blocks, &members.of, &read, measure, |(of_block, roots)| {
        within += of_block;
        spread.iter_mut().zip(roots).for_each(|(sum, v)| *sum += v);
    })?;
    spread.iter_mut().zip(&members.sizes).for_each(|(sum, size)| *sum /= *size as f64);
    let between: f64 = (0..k).map(|c| members.sizes[c] as f64 * square_distance(center_of(c), &center)).sum();
    // Two clusters with one center would divide by 0; scikit-learn leaves such a pair out, and so does this.
    let similarity = |a: usize, b: usize| {
        let apart = square_distance(center_of(a), center_of(b)).sqrt();
        if a == b || apart == 0.0 { 0.0 } else { (spread[a] + spread[b]) / apart }
    };
    let worst = (0..k).map(|a| (0..k).map(|b| similarity(a, b)).fold(0.0, f64::max));

    let calinski_harabasz =
        if within == 0.0 { 1.0 } else { between * (rows - k) as f64 / (within * (k - 1) as f64) };
    let mut metrics = vec![("calinski_harabasz", calinski_harabasz), ("davies_bouldin", mean(worst))];
    let mut sample: Vec<usize> = (0..rows).collect();
    if rows > SILHOUETTE_ROWS {
        let drawn = first_shuffled(0..u32::try_from(rows).unwrap_or(u32::MAX), 0, SILHOUETTE_ROWS);
        sample = drawn.into_iter().map(|i| i as usize).collect();
    }
    let (mut x, mut row) = (vec![], vec![]);
    for i in &sample {
        read(*i..i + 1, &mut row)?;
        x.extend_from_slice(&row);
    }
    let sampled: Vec<f64> = sample.iter().map(|i| cluster[*i]).collect();
    metrics.extend(silhouette(&x, width, &sampled));
    Ok(defined(metrics))
}

/// Works on blocks of rows, with the cluster of each, and hands over what came of them in their order.
fn in_order<T: Send>(
    blocks: &[Range<usize>],
    of: &[usize],
    read: &(impl Fn(Range<usize>, &mut Vec<f64>) -> Result<()> + Sync),
    work: impl Fn(&[f64], &[usize]) -> T + Sync,
    mut take: impl FnMut(T),
) -> Result<()> {
    for wave in blocks.chunks(rayon::current_num_threads() * 4) {
        let done: Vec<Result<T>> = wave
            .par_iter()
            .map_init(Vec::new, |x, rows| {
                read(rows.clone(), x)?;
                Ok(work(x, &of[rows.clone()]))
            })
            .collect();
        for found in done {
            take(found?);
        }
    }
    Ok(())
}

/// The mean over rows of (b - a) / max(a, b): a the mean distance to the row's own cluster, b to the nearest other.
/// A row alone in its cluster counts 0.
fn silhouette(x: &[f64], width: usize, cluster: &[f64]) -> Option<Metric> {
    let members = Members::new(cluster);
    let (rows, k) = (cluster.len(), members.sizes.len());
    if k < 2 || k >= rows {
        return None;
    }
    let mut sums = vec![0.0; rows * k];
    let points = Centers::new(x, width);
    sums.par_chunks_mut(k).zip(x.par_chunks_exact(width)).for_each_init(Vec::new, |squares, (sums, row)| {
        points.squares(row, squares);
        // The row itself adds nothing: it is 0 away.
        members.of.iter().zip(&*squares).for_each(|(c, square)| sums[*c] += square.sqrt());
    });
    let score = |(sums, own): (&[f64], &usize)| {
        if members.sizes[*own] == 1 {
            return 0.0;
        }
        let inside = sums[*own] / (members.sizes[*own] - 1) as f64;
        let other = (0..k).filter(|c| c != own).map(|c| sums[c] / members.sizes[c] as f64);
        let outside = other.fold(f64::INFINITY, f64::min);
        let larger = inside.max(outside);
        if larger == 0.0 { 0.0 } else { (outside - inside) / larger }
    };
    Some(("silhouette", mean(sums.chunks(k).zip(&members.of).map(score))))
}

/// Clusters numbered anew, without gaps.
struct Members {
    of: Vec<usize>,
    sizes: Vec<usize>,
}

impl Members {
    fn new(cluster: &[f64]) -> Members {
        // What clusterings give: small whole numbers, -1 for noise.
        const KNOWN: usize = 1 << 16;
        let small = |c: f64| {
            (c + 1.0 >= 0.0 && c < (KNOWN - 1) as f64 && c.fract() == 0.0).then_some((c + 1.0) as usize)
        };
        let mut place_of = vec![0; KNOWN];
        let numbered =
            cluster.iter().map(|c| small(*c).inspect(|n| place_of[*n] = 1)).collect::<Option<Vec<_>>>();
        let of: Vec<usize> = if let Some(numbered) = numbered {
            let mut clusters = 0;
            for place in &mut place_of {
                (*place, clusters) = (clusters, clusters + *place);
            }
            numbered.into_iter().map(|n| place_of[n]).collect()
        } else {
            let found: HashSet<u64> = cluster.iter().map(|c| c.to_bits()).collect();
            let mut numbers: Vec<f64> = found.into_iter().map(f64::from_bits).collect();
            numbers.sort_by(f64::total_cmp);
            cluster.iter().map(|c| numbers.partition_point(|n| n.total_cmp(c).is_lt())).collect()
        };
        let mut sizes = vec![0; of.iter().max().map_or(0, |most| most + 1)];
        of.iter().for_each(|c| sizes[*c] += 1);
        Members { of, sizes }
    }
}

/// Positive weights of rows, and the means that they make.
struct Weights<'a> {
    rows: usize,
    weight: &'a [f64],
    sum: f64,
}

impl<'a> Weights<'a> {
    fn new(rows: usize, weight: &'a [f64]) -> Option<Self> {
        let sum = if weight.is_empty() { rows as f64 } else { weight.iter().sum() };
        let fits = weight.is_empty() || weight.len() == rows;
        (fits && sum.is_finite() && sum > 0.0 && weight.iter().all(|w| *w >= 0.0)).then_some(Weights {
            rows,
            weight,
            sum,
        })
    }

    fn of(&self, i: usize) -> f64 {
        if self.weight.is_empty() { 1.0 } else { self.weight[i] }
    }

    fn mean(&self, value: impl Fn(usize) -> f64) -> f64 {
        (0..self.rows).map(|i| self.of(i) * value(i)).sum::<f64>() / self.sum
    }

    /// The value that half of the weight lies below; where that falls between two values, the middle of them.
    fn median(&self, value: impl Fn(usize) -> f64) -> f64 {
        if self.weight.is_empty() && self.rows > 0 {
            let mut values: Vec<f64> = (0..self.rows).map(value).collect();
            let (_, middle, above) = values.select_nth_unstable_by((self.rows - 1) / 2, f64::total_cmp);
            let next = above.iter().copied().min_by(f64::total_cmp);
            return match next {
                Some(next) if self.rows.is_multiple_of(2) => (*middle + next) / 2.0,
                _ => *middle,
            };
        }
        let mut pairs: Vec<(f64, f64)> =
            (0..self.rows).map(|i| (value(i), self.of(i))).filter(|(_, w)| *w > 0.0).collect();
        pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
        let half = pairs.iter().map(|(_, w)| w).sum::<f64>() / 2.0;
        let mut below = 0.0;
        for (i, (v, w)) in pairs.iter().enumerate() {
            below += w;
            if below >= half {
                let next = pairs.get(i + 1).map_or(*v, |p| p.0);
                return if below - half > f64::EPSILON { *v } else { (v + next) / 2.0 };
            }
        }
        pairs.last().map_or(f64::NAN, |p| p.0)
    }
}

/// Weights by actual and predicted class.
pub(crate) struct Confusion {
    /// Weight of each class in `y`.
    actual: Vec<f64>,
    /// Weight of each class in the predictions.
    predicted: Vec<f64>,
    /// Weight of each class that is rightly predicted.
    right: Vec<f64>,
}

impl Confusion {
    pub(crate) fn new(classes: usize, rows: impl Iterator<Item = (usize, usize, f64)>) -> Self {
        let zeros = || vec![0.0; classes];
        let mut table = Confusion { actual: zeros(), predicted: zeros(), right: zeros() };
        for (actual, predicted, w) in rows {
            table.add(actual, predicted, w);
        }
        table
    }

    /// Adds a weight to a cell.
    pub(crate) fn add(&mut self, actual: usize, predicted: usize, w: f64) {
        self.actual[actual] += w;
        self.predicted[predicted] += w;
        if actual == predicted {
            self.right[actual] += w;
        }
    }

    /// One of the metrics of [`decisions`] that this table alone decides, by name.
    pub(crate) fn metric(&self, name: &str) -> Option<f64> {
        match name {
            "balanced_accuracy" => Some(self.balanced_accuracy()),
            "f1" => Some(self.f1(1)),
            "mcc" => Some(self.mcc()),
            "f1_macro" => Some(self.macro_mean(Confusion::f1)),
            "precision_macro" => Some(self.macro_mean(Confusion::precision)),
            "recall_macro" => Some(self.macro_mean(Confusion::recall)),
            _ => None,
        }
    }

    fn balanced_accuracy(&self) -> f64 {
        mean((0..self.actual.len()).filter(|c| self.actual[*c] > 0.0).map(|c| self.recall(c)))
    }

    /// The mean over the classes that are there, or are decided for.
    fn macro_mean(&self, of: fn(&Confusion, usize) -> f64) -> f64 {
        let present = |c: &usize| self.actual[*c] + self.predicted[*c] > 0.0;
        mean((0..self.actual.len()).filter(present).map(|c| of(self, c)))
    }

    fn precision(&self, c: usize) -> f64 {
        or_zero(self.right[c], self.predicted[c])
    }

    fn recall(&self, c: usize) -> f64 {
        or_zero(self.right[c], self.actual[c])
    }

    fn f1(&self, c: usize) -> f64 {
        or_zero(2.0 * self.right[c], self.actual[c] + self.predicted[c])
    }

    /// Matthews' correlation coefficient.
    fn mcc(&self) -> f64 {
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        if [&self.actual, &self.predicted].iter().any(|side| side.iter().filter(|w| **w > 0.0).count() < 2) {
            return 0.0;
        }
        let (sum, right) = (self.actual.iter().sum::<f64>(), self.right.iter().sum::<f64>());
        let covariance = right * sum - dot(&self.actual, &self.predicted);
        let variance = |side: &[f64]| sum * sum - dot(side, side);
        or_zero(covariance, (variance(&self.actual) * variance(&self.predicted)).sqrt())
    }
}

/// Area under the ROC curve and average precision of `(score, positive, weight)`; none without both kinds.
pub(crate) fn areas(mut rows: Vec<(f64, bool, f64)>) -> Option<(f64, f64)> {
    let total = |kind: bool| rows.iter().filter(|r| r.1 == kind).map(|r| r.2).sum::<f64>();
    let (positives, negatives) = (total(true), total(false));
    if positives <= 0.0 || negatives <= 0.0 {
        return None;
    }
    rows.sort_by(|a, b| b.0.total_cmp(&a.0));
    let (mut hits, mut misses, mut area, mut average) = (0.0, 0.0, 0.0, 0.0);
    for tied in rows.chunk_by(|a, b| a.0 == b.0) {
        let (before, before_misses) = (hits, misses);
        for (_, positive, w) in tied {
            *if *positive { &mut hits } else { &mut misses } += w;
        }
        area += (misses - before_misses) * (hits + before) / 2.0;
        average += (hits - before) * or_zero(hits, hits + misses);
    }
    Some((area / (positives * negatives), average / positives))
}

/// A score of 0 to 1 and its kind as one integer to sort: the bits of such a number sort as the number does and leave
/// two bits free. None for other scores.
#[inline]
fn rank_key(score: f64, positive: bool) -> Option<u64> {
    (0.0..=1.0).contains(&score).then(|| (score + 0.0).to_bits() << 1 | u64::from(positive))
}

/// As [`areas`], of rows that weigh the same, by their keys.
fn areas_of_keys(mut keys: Vec<u64>) -> Option<(f64, f64)> {
    let positives = keys.iter().filter(|k| **k & 1 == 1).count();
    let negatives = keys.len() - positives;
    if positives == 0 || negatives == 0 {
        return None;
    }
    keys.par_sort_unstable();
    let (mut hits, mut misses, mut area, mut average) = (0usize, 0usize, 0.0, 0.0);
    let mut rest = keys.iter().rev().copied().peekable();
    while let Some(first) = rest.next() {
        let (before, before_misses) = (hits, misses);
        let mut one = Some(first);
        while let Some(key) = one {
            *if key & 1 == 1 { &mut hits } else { &mut misses } += 1;
            one = rest.next_if(|k| k >> 1 == first >> 1);
        }
        area += (misses - before_misses) as f64 * (hits + before) as f64 / 2.0;
        average += (hits - before) as f64 * or_zero(hits as f64, (hits + misses) as f64);
    }
    let (positives, negatives) = (positives as f64, negatives as f64);
    Some((area / (positives * negatives), average / positives))
}

fn most_probable(row: &[f64]) -> usize {
    let mut best = 0;
    for (c, p) in row.iter().enumerate() {
        if *p > row[best] {
            best = c;
        }
    }
    best
}

fn square_distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), v| (sum + v, count + 1.0));
    or_zero(sum, count)
}

fn or_zero(numerator: f64, denominator: f64) -> f64 {
    if denominator == 0.0 { 0.0 } else { numerator / denominator }
}

fn finite(values: &[f64]) -> bool {
    values.iter().all(|v| v.is_finite())
}

/// Leaves out what overflowed.
fn defined(mut metrics: Vec<Metric>) -> Vec<Metric> {
    metrics.retain(|(_, value)| value.is_finite());
    metrics
}
