//! The lower part of a tree, grown by the job from the records of a small node's rows.

use super::draw::mix;
use super::rows::{self, CELLS, Format, Records, Sum, entry};
use super::split::{Candidate, bins_of, insert};
use super::tree::{Ground, Tree, child_key};
use crate::error::Result;
use crate::learner::Cx;
use std::sync::Arc;

/// Grows all below a node from the records of its rows, in any order.
pub fn grow(
    ground: &Ground,
    parts: Vec<Records>,
    key: u64,
    depth: usize,
    weight: f64,
    cx: &Cx,
) -> Result<Option<Tree>> {
    let mut bytes = vec![];
    let mut times = vec![];
    for part in parts {
        if bytes.is_empty() {
            (bytes, times) = (part.bytes, part.times);
        } else {
            bytes.extend_from_slice(&part.bytes);
            times.extend_from_slice(&part.times);
        }
    }
    let entries: Vec<u32> = times.iter().enumerate().map(|(i, t)| entry(i, u32::from(*t))).collect();
    if entries.is_empty() {
        return Ok(None);
    }
    let weight = if depth == 0 {
        ground.format.weight(&rows::total(&ground.format, &bytes, &entries)) as f64
    } else {
        weight
    };
    let mut tree = Tree::default();
    tree.weight = weight;
    let mut grower = Grower { ground, bytes, entries, scratch: vec![], by_bin: vec![], tree };
    grower.grow(key, depth, cx)?;
    Ok(Some(grower.tree))
}

/// Grows a branch depth first; the rows of a node lie side by side.
struct Grower<'a> {
    ground: &'a Ground<'a>,
    bytes: Vec<u8>,
    entries: Vec<u32>,
    scratch: Vec<u32>,
    by_bin: Vec<i64>,
    tree: Tree,
}

/// A node whose rows are known. The classes in its records are places in `names`.
struct Task {
    at: usize,
    from: usize,
    to: usize,
    sums: Vec<i64>,
    format: Format,
    names: Option<Arc<[u32]>>,
}

/// With fewer rows than this, bins are looked for by their rows, and not one by one.
const SPARSE: usize = 256;

impl Grower<'_> {
    fn grow(&mut self, key: u64, depth: usize, cx: &Cx) -> Result<()> {
        let format = self.ground.format;
        let sums = rows::total(&format, &self.bytes, &self.entries);
        let (node, leaf) = self.ground.node(&format, &sums, None, &mut self.tree);
        self.tree.nodes.push(node.at(key, depth));
        let max_depth = self.ground.params.rules.max_depth;
        let mut stack = vec![];
        if !leaf && depth < max_depth {
            stack.push(Task { at: 0, from: 0, to: self.entries.len(), sums, format, names: None });
        }
        while let Some(mut task) = stack.pop() {
            cx.check()?;
            self.rename(&mut task);
            let Some(found) = self.split(&task, cx)? else { continue };
            let Task { at, from, to, sums, format, names } = task;
            let entries = &mut self.entries[from..to];
            let left = rows::partition(
                &format,
                &self.bytes,
                entries,
                &mut self.scratch,
                found.lane,
                &found.left,
                cx,
            )?;
            let child = self.tree.nodes.len();
            let mut parent = std::mem::take(&mut self.tree.nodes[at]);
            self.ground.question(&mut parent, &found, child, &mut self.tree);
            let right: Vec<i64> = sums.iter().zip(&found.sums).map(|(a, b)| a - b).collect();
            let sides = [(found.sums, from, from + left), (right, from + left, to)];
            for (side, (sums, from, to)) in sides.into_iter().enumerate() {
                let (node, leaf) = self.ground.node(&format, &sums, names.as_deref(), &mut self.tree);
                let (depth, key) = (parent.depth + 1, child_key(parent.key, side as u64));
                self.tree.nodes.push(node.at(key, depth));
                if !leaf && depth < max_depth {
                    stack.push(Task { at: child + side, from, to, sums, format, names: names.clone() });
                }
            }
            self.tree.nodes[at] = parent;
        }
        Ok(())
    }

    /// Numbers the classes of a node anew when most are gone, so that sums are no longer than they must be.
    fn rename(&mut self, task: &mut Task) {
        let Sum::Classes(k) = task.format.sum else { return };
        let left = task.sums[..k].iter().filter(|w| **w > 0).count();
        if k <= 8 || left * 2 > k {
            return;
        }
        let name = |c: usize| task.names.as_ref().and_then(|n| n.get(c).copied()).unwrap_or(c as u32);
        let (mut places, mut names, mut sums) = (vec![0; k], vec![], vec![]);
        for (c, weight) in task.sums[..k].iter().enumerate().filter(|(_, w)| **w > 0) {
            places[c] = names.len() as i64;
            names.push(name(c));
            sums.push(*weight);
        }
        sums.extend_from_slice(&task.sums[k..]);
        for e in &self.entries[task.from..task.to] {
            let record = &mut self.bytes[rows::row_of(*e) * task.format.stride..][..task.format.stride];
            let class = task.format.target(record) as usize;
            task.format.set_target(record, places[class]);
        }
        task.sums = sums;
        // The bytes of a target stay as many as they were.
        task.format.sum = Sum::Classes(names.len());
        task.names = Some(names.into());
    }

    fn split(&mut self, task: &Task, cx: &Cx) -> Result<Option<Candidate>> {
        let key = self.tree.nodes[task.at].key;
        let entries = &self.entries[task.from..task.to];
        let format = &task.format;
        let size = CELLS * format.channels();
        let judge = self.ground.judge(*format, self.tree.weight);
        for attempt in 0.. {
            let lanes = self.ground.lanes(key, attempt);
            if lanes.is_empty() {
                break;
            }
            self.by_bin.resize(self.by_bin.len().max(lanes.len() * size), 0);
            let by_bin = &mut self.by_bin[..lanes.len() * size];
            rows::sum(format, &self.bytes, entries, &lanes, by_bin, cx)?;
            let mut present = vec![[0; 4]; lanes.len()];
            for (lane, present) in lanes.iter().zip(&mut present) {
                if entries.len() < SPARSE {
                    for e in entries {
                        insert(present, self.bytes[rows::row_of(*e) * format.stride + *lane as usize]);
                    }
                } else {
                    *present = [u64::MAX; 4];
                }
            }
            let (found, varied) = judge.best(&task.sums, &lanes, by_bin, &present, mix(key, 4));
            // What was summed is 0 again.
            for (cells, present) in by_bin.chunks_exact_mut(size).zip(&present) {
                if entries.len() < SPARSE {
                    for bin in bins_of(present) {
                        let at = usize::from(bin) * format.channels();
                        cells[at..at + format.channels()].fill(0);
                    }
                } else {
                    cells.fill(0);
                }
            }
            match found {
                Some(found) => {
                    return Ok(Some(found).filter(|f| self.ground.enough(f, self.tree.weight)));
                }
                None if varied => return Ok(None),
                None => {}
            }
        }
        Ok(None)
    }
}
