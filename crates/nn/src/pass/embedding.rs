//! Rows of numbers and codes of categories: the numbers as they are, and for each code its row of a table of weights.

use crate::plan::{Table, Tensor};

/// The row of a table that a code means; the last one for what is no code, such as NaN.
fn row(table: &Table, code: f32) -> usize {
    let last = table.categories - 1;
    if code >= 0.0 { (code as usize).min(last) } else { last }
}

/// Numbers first, then the tables' rows, in their order.
pub fn forward(
    (numbers, tables): (&[u32], &[Table]),
    weights: &[f32],
    (from, x): (&Tensor, &[f32]),
    (to, y): (&Tensor, &mut [f32]),
) {
    for (x, y) in x.chunks_exact(from.value.size()).zip(y.chunks_exact_mut(to.value.size())) {
        let (x, y) = (&x[from.value.row(0)], &mut y[to.value.row(0)]);
        y.fill(0.0);
        for (y, place) in y.iter_mut().zip(numbers) {
            *y = x[*place as usize];
        }
        let mut at = numbers.len();
        for table in tables {
            let values = &weights[table.at + row(table, x[table.feature]) * table.dim..][..table.dim];
            y[at..at + table.dim].copy_from_slice(values);
            at += table.dim;
        }
    }
}

/// Adds the gradients of outputs to those of the rows that they came from, image by image.
pub fn weight_grads(
    (numbers, tables): (&[u32], &[Table]),
    (from, x): (&Tensor, &[f32]),
    (to, dy): (&Tensor, &[f32]),
    sums: &mut [f32],
) {
    for (x, dy) in x.chunks_exact(from.value.size()).zip(dy.chunks_exact(to.grad.size())) {
        let (x, dy) = (&x[from.value.row(0)], &dy[to.grad.row(0)]);
        let mut at = numbers.len();
        for table in tables {
            let sums = &mut sums[table.at + row(table, x[table.feature]) * table.dim..][..table.dim];
            sums.iter_mut().zip(&dy[at..at + table.dim]).for_each(|(sum, d)| *sum += d);
            at += table.dim;
        }
    }
}
