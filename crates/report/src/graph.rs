//! Boxes with arrows between them, from left to right.

use crate::Result;
use crate::canvas::{self, Anchor, Svg, bold, fill, line, text};
use crate::palette::{AXIS, BOX, INK, MUTED, series};
use std::collections::BTreeMap;

/// A box.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    /// What it is called.
    pub name: String,
    /// What it is, in few words.
    pub note: String,
    /// Whether it is what the drawing is about.
    pub own: bool,
    /// Whether it is a model.
    pub model: bool,
}

const WIDTH: f64 = 196.0;
const HEIGHT: f64 = 40.0;
const APART: f64 = 64.0;
const BELOW: f64 = 12.0;

/// Nodes with edges from one to another. Nodes that nothing goes into stand left.
///
/// # Errors
/// None that a caller could cause.
pub(crate) fn graph(title: &str, nodes: &[Node], edges: &[(usize, usize)]) -> Result<Svg> {
    let columns = columns(nodes.len(), edges);
    let depth = columns.iter().max().map_or(1, |d| d + 1);
    let mut members: Vec<Vec<usize>> = vec![vec![]; depth];
    columns.iter().enumerate().for_each(|(node, column)| members[*column].push(node));
    // Next to what they belong to: by the mean place of their neighbours, from left to right and back.
    let mut place: Vec<f64> = vec![0.0; nodes.len()];
    for column in (0..depth).chain((0..depth).rev()) {
        let key = |node: usize| {
            let near = edges.iter().filter_map(|(a, b)| match node {
                n if n == *a => Some(place[*b]),
                n if n == *b => Some(place[*a]),
                _ => None,
            });
            let (sum, count) = near.fold((0.0, 0.0), |(s, c), p| (s + p, c + 1.0));
            if count > 0.0 { sum / count } else { 0.0 }
        };
        let keys: BTreeMap<usize, f64> = members[column].iter().map(|n| (*n, key(*n))).collect();
        members[column].sort_by(|a, b| keys[a].total_cmp(&keys[b]).then(a.cmp(b)));
        let middle = (members[column].len() as f64 - 1.0) / 2.0;
        for (i, node) in members[column].iter().enumerate() {
            place[*node] = i as f64 - middle;
        }
    }
    let tallest = members.iter().map(Vec::len).max().unwrap_or(1).max(1) as f64;
    let width = WIDTH * depth as f64 + APART * (depth as f64 - 1.0) + 8.0;
    let height = (HEIGHT + BELOW) * tallest + 8.0;
    let corner = |node: usize| {
        let x = 4.0 + (WIDTH + APART) * columns[node] as f64;
        (x, height / 2.0 + place[node] * (HEIGHT + BELOW) - HEIGHT / 2.0)
    };
    canvas::draw(title, (width, height), |c| {
        for (from, to) in edges {
            let (a, b) = (corner(*from), corner(*to));
            let (start, end) = ((a.0 + WIDTH, a.1 + HEIGHT / 2.0), (b.0 - 5.0, b.1 + HEIGHT / 2.0));
            let bend = ((end.0 - start.0).abs() / 2.0).max(30.0);
            let at = |t: f64| {
                let u = 1.0 - t;
                let mix = |p: [f64; 4]| {
                    u * u * u * p[0] + 3.0 * u * u * t * p[1] + 3.0 * u * t * t * p[2] + t * t * t * p[3]
                };
                (mix([start.0, start.0 + bend, end.0 - bend, end.0]), mix([start.1, start.1, end.1, end.1]))
            };
            let curve: Vec<(f64, f64)> = (0..=24).map(|i| at(f64::from(i) / 24.0)).collect();
            c.path(&curve, line(AXIS, 1.2, 1.0))?;
            let tip = [(end.0 + 5.0, end.1), (end.0 - 2.0, end.1 - 3.5), (end.0 - 2.0, end.1 + 3.5)];
            c.polygon(&tip, fill(AXIS, 1.0))?;
        }
        for (i, node) in nodes.iter().enumerate() {
            let (x, y) = corner(i);
            let ends = ((x, y), (x + WIDTH, y + HEIGHT));
            c.rectangle(ends.0, ends.1, fill(BOX, 1.0))?;
            if node.own {
                c.rectangle(ends.0, ends.1, fill(series(0), 0.16))?;
            }
            let edge = if node.model { line(series(0), 1.2, 1.0) } else { line(AXIS, 1.0, 1.0) };
            c.rectangle(ends.0, ends.1, edge)?;
            let name = canvas::fit(&node.name, 12.0, WIDTH - 20.0);
            c.text(&name, (x + 10.0, y + 14.0), &bold(11.0, INK, Anchor::Left))?;
            let note = canvas::fit(&node.note, 10.0, WIDTH - 20.0);
            c.text(&note, (x + 10.0, y + 29.0), &text(10.0, MUTED, Anchor::Left))?;
        }
        Ok(())
    })
}

/// The column of each node: right of all that goes into it. Edges that would close a circle count for nothing.
fn columns(nodes: usize, edges: &[(usize, usize)]) -> Vec<usize> {
    let mut columns = vec![0; nodes];
    // A way without a circle is shorter than there are nodes.
    for _ in 0..nodes {
        let mut moved = false;
        for (from, to) in edges {
            if columns[*to] <= columns[*from] && columns[*from] + 1 < nodes {
                columns[*to] = columns[*from] + 1;
                moved = true;
            }
        }
        if !moved {
            break;
        }
    }
    // A circle pushes columns far to the right: leave none empty.
    let mut used: Vec<usize> = columns.clone();
    used.sort_unstable();
    used.dedup();
    columns.iter().map(|c| used.partition_point(|u| u < c)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_into_another_stands_left_of_it() {
        assert_eq!(columns(4, &[(0, 2), (1, 2), (2, 3), (0, 3)]), [0, 0, 1, 2]);
        assert_eq!(columns(2, &[]), [0, 0]);
    }

    #[test]
    fn circles_end() {
        let found = columns(3, &[(0, 1), (1, 2), (2, 0)]);
        assert!(found.iter().all(|c| *c < 3));
        let nodes: Vec<Node> = (0..3)
            .map(|i| Node { name: format!("n{i}"), note: String::new(), own: false, model: true })
            .collect();
        assert!(graph("a circle", &nodes, &[(0, 1), (1, 2), (2, 0)]).is_ok());
        assert!(graph("nothing", &[], &[]).is_ok());
    }
}
