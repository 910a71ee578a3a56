//! Weights of convolutions made ready for all images: transformed, and turned round for the gradients of inputs.

use crate::buffer::Buffer;
use crate::kernels::winograd::{self, PLANES};
use crate::kernels::{BLOCK, Isa};
use crate::parallel;
use crate::plan::{Conv, Plan, Route};

/// A convolution's weights, made ready: once a step in training, once for scoring.
#[derive(Debug, Clone, Default)]
pub struct Prepared {
    /// In Winograd's planes.
    pub(super) planes: Buffer,
    /// Inputs and outputs exchanged, the kernel turned round.
    pub(super) turned: Buffer,
    /// These in Winograd's planes.
    pub(super) turned_planes: Buffer,
}

/// Makes all weights ready; for gradients, too, in training.
pub fn prepare(plan: &Plan, isa: Isa, weights: &[f32], training: bool, ready: &mut Vec<Prepared>) {
    ready.resize_with(plan.nodes.len(), Prepared::default);
    let mut turns = vec![];
    for ((i, c), ready) in pairs(plan, ready) {
        if training && plan.tensors[plan.nodes[i].inputs[0]].trained {
            let blocks =
                if c.route == Route::Depthwise { c.weights.blocks } else { c.inputs.div_ceil(BLOCK) };
            let len = turned_len(c);
            ready.turned.fit(len * blocks * c.weights.groups);
            turns.extend(ready.turned.chunks_mut(len).enumerate().map(|(b, out)| (c, b, blocks, out)));
        }
    }
    parallel::each(&mut turns, |_, (c, b, blocks, out)| turn(c, weights, *b / *blocks, *b % *blocks, out));
    let mut planes: Vec<(&[f32], Vec<&mut [f32]>)> = vec![];
    for ((_, c), ready) in pairs(plan, ready) {
        let Prepared { planes: plain, turned, turned_planes } = ready;
        if c.route == Route::Winograd {
            planes.extend(cut(&weights[c.weights.weights()], c.weights.k, plain));
            if !turned.is_empty() {
                planes.extend(cut(turned, turned_len(c) / BLOCK, turned_planes));
            }
        }
    }
    parallel::each(&mut planes, |_, (block, planes)| winograd::weights(isa, block, planes));
}

fn pairs<'a>(
    plan: &'a Plan,
    ready: &'a mut [Prepared],
) -> impl Iterator<Item = ((usize, &'a Conv), &'a mut Prepared)> {
    let nodes = ready.iter_mut().enumerate();
    nodes.filter_map(|(i, r)| match &plan.nodes[i].op {
        crate::plan::Op::Conv(c) => Some(((i, c), r)),
        _ => None,
    })
}

/// Values that [`prepare`] takes.
pub fn prepared_len(plan: &Plan, training: bool) -> usize {
    let each = plan.convolutions().map(|(i, c)| {
        let turns = training && plan.tensors[plan.nodes[i].inputs[0]].trained;
        let weights = c.weights.weights().len();
        let turned =
            if turns { c.inputs.div_ceil(BLOCK).max(1) * c.weights.groups * turned_len(c) } else { 0 };
        let grows = if c.route == Route::Winograd { 4 } else { 0 };
        weights * grows + turned * (1 + grows)
    });
    each.sum()
}

/// Blocks of weights (`9 * k / 9` values of each of 16 outputs) with their parts of each plane.
fn cut<'a>(weights: &'a [f32], k: usize, planes: &'a mut Buffer) -> Vec<(&'a [f32], Vec<&'a mut [f32]>)> {
    let blocks: Vec<&[f32]> = weights.chunks_exact(k * BLOCK).collect();
    let part = k / 9 * BLOCK;
    planes.fit(PLANES * part * blocks.len());
    let mut parts: Vec<Vec<&mut [f32]>> = blocks.iter().map(|_| Vec::with_capacity(PLANES)).collect();
    for (i, piece) in planes.chunks_exact_mut(part).enumerate() {
        parts[i % blocks.len()].push(piece);
    }
    blocks.into_iter().zip(parts).collect()
}

/// Turned weights of one block of input channels of a group.
fn turned_len(c: &Conv) -> usize {
    let each = if c.route == Route::Depthwise { 1 } else { c.group_outputs() };
    c.taps() * each * BLOCK
}

/// Fills the turned weights of block `block` of input channels of `group`: `[tap][output][BLOCK]`.
fn turn(c: &Conv, weights: &[f32], group: usize, block: usize, out: &mut [f32]) {
    let (w, taps) = (&c.weights, c.taps());
    if c.route == Route::Depthwise {
        let from = &weights[w.at + block * taps * BLOCK..][..taps * BLOCK];
        for (tap, out) in out.chunks_exact_mut(BLOCK).enumerate() {
            out.copy_from_slice(&from[(taps - 1 - tap) * BLOCK..][..BLOCK]);
        }
        return;
    }
    let weights = &weights[w.at + group * w.group_len()..][..w.group_len()];
    let channels = (c.inputs - block * BLOCK).min(BLOCK);
    for (tap, out) in out.chunks_exact_mut(c.group_outputs() * BLOCK).enumerate() {
        for (o, out) in out.chunks_exact_mut(BLOCK).enumerate() {
            let first = (o / BLOCK * w.k + (taps - 1 - tap) * c.inputs + block * BLOCK) * BLOCK + o % BLOCK;
            for (i, out) in out[..channels].iter_mut().enumerate() {
                *out = weights[first + i * BLOCK];
            }
        }
    }
}
