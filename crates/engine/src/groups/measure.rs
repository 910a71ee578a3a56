//! How good the models of all groups are together.

use crate::error::Result;
use crate::prepare::Roles;
use crate::run::Rows;
use crate::schema::{Buffer, Schema};
use crate::scorer::{measure, measure_clusters};
use std::ops::Range;

/// Some rows of others.
pub(crate) struct Slice<'a> {
    /// All.
    pub rows: &'a dyn Rows,
    /// Those.
    pub range: Range<usize>,
    /// The class that each class of all is among the rows' own; empty where they are the same.
    pub classes: &'a [f64],
}

impl Rows for Slice<'_> {
    fn len(&self) -> usize {
        self.range.len()
    }

    fn read(&self, range: Range<usize>, into: &mut Buffer) -> Result<()> {
        let start = self.range.start;
        self.rows.read(start + range.start..start + range.end, into)?;
        into.first = range.start as u64;
        if !self.classes.is_empty() {
            into.y.iter_mut().for_each(|y| *y = self.classes[*y as usize]);
        }
        Ok(())
    }
}

/// The metrics of rows by their scores, `outputs` a row; those of groups that nothing scores count nowhere. `roles`
/// has a value a row.
pub(crate) fn supervised(
    schema: &Schema,
    outputs: usize,
    scores: &[f64],
    roles: Roles,
) -> Vec<(String, f64)> {
    let scored = |i: &usize| !scores[i * outputs].is_nan();
    let rows = scores.len() / outputs.max(1);
    if (0..rows).all(|i| scored(&i)) {
        return measure(schema.task, schema.classes, scores, roles);
    }
    let kept: Vec<usize> = (0..rows).filter(scored).collect();
    let pick = |v: &[f64]| if v.is_empty() { vec![] } else { kept.iter().map(|i| v[*i]).collect::<Vec<_>>() };
    let scores: Vec<f64> =
        kept.iter().flat_map(|i| &scores[i * outputs..(i + 1) * outputs]).copied().collect();
    let (y, weight, offset) = (pick(roles.y), pick(roles.weight), pick(roles.offset));
    let group: Vec<u64> =
        if roles.group.is_empty() { vec![] } else { kept.iter().map(|i| roles.group[*i]).collect() };
    let roles = Roles { y: &y, sets: None, weight: &weight, offset: &offset, group: &group };
    measure(schema.task, schema.classes, &scores, roles)
}

/// The means over groups, weighted by their rows, of each group's metrics; those that not all groups have are left
/// out. Clusters of different groups have nothing in common, so they are not measured together.
pub(crate) fn unsupervised(
    schema: &Schema,
    rows: &dyn Rows,
    scores: &[f64],
    groups: &[Range<usize>],
) -> Result<Vec<(String, f64)>> {
    let mut sums: Vec<(String, f64, usize)> = vec![];
    let mut measured = 0;
    for range in groups.iter().filter(|r| !r.is_empty()) {
        let slice = Slice { rows, range: range.clone(), classes: &[] };
        let found = measure_clusters(schema, &slice, &scores[range.clone()])?;
        if found.is_empty() {
            continue;
        }
        measured += range.len();
        for (name, value) in found {
            let weighted = value * range.len() as f64;
            match sums.iter_mut().find(|s| s.0 == name) {
                Some(sum) => {
                    sum.1 += weighted;
                    sum.2 += range.len();
                }
                None => sums.push((name, weighted, range.len())),
            }
        }
    }
    let all = sums.into_iter().filter(|s| s.2 == measured);
    Ok(all.map(|(name, sum, rows)| (name, sum / rows as f64)).collect())
}
