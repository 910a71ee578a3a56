//! Convolutions of many weights and few pixels, in training: all images of a batch at once, so that each weight is read
//! once a step, and no lane needs sums of its own for their gradient. Lanes transform what they hold, all threads
//! compute the products plane by plane, and lanes take these back with the next piece of their nodes.

use super::conv::{GAP, TILES, Tiling};
use super::{Pass, Prepared, Workspace};
use crate::buffer::Buffer;
use crate::kernels::winograd::{self, PLANES, Pitch, Tile};
use crate::kernels::{BLOCK, Finish, Isa, Rows, Window, conv_row, weight_grad};
use crate::parallel;
use crate::plan::{Conv, Grid, Op, Plan};
use crate::{Error, Stop};

/// What of a joint convolution is computed, by its node.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Joint {
    /// Its outputs.
    Outputs(usize),
    /// The gradients of its weights.
    Weights(usize),
    /// The gradients of its inputs.
    Inputs(usize),
}

impl Joint {
    fn node(self) -> usize {
        let (Joint::Outputs(i) | Joint::Weights(i) | Joint::Inputs(i)) = self;
        i
    }
}

/// Transformed values of all images of a lane, in planes: as many channels as a convolution has inputs, and outputs.
#[derive(Debug, Default)]
pub struct Room {
    pub(super) inputs: Buffer,
    pub(super) outputs: Buffer,
}

/// Transforms tiles, as [`winograd::inputs`] does.
type Transform = fn(Isa, &[f32], &[Tile], Pitch, &mut [f32], usize);

/// A plane's tiles, and their products.
type Part<'a> = (&'a [f32], &'a mut [f32]);

/// Tiles of an image, input and output channels of each joint convolution. Its gradients may have more tiles than it.
fn joint(plan: &Plan) -> impl Iterator<Item = (usize, usize, usize)> {
    plan.convolutions().filter(|(_, c)| c.joint).map(|(i, c)| {
        let (from, to) = (&plan.tensors[plan.nodes[i].inputs[0]].value, &plan.tensors[i + 1].value);
        (tiles(from).max(tiles(to)), c.inputs, to.channels)
    })
}

/// Tiles of one image.
fn tiles(grid: &Grid) -> usize {
    Tiling::new(grid, grid.size()).count
}

impl Room {
    fn sizes(plan: &Plan, images: usize) -> [usize; 2] {
        let size = |tiles: usize, channels: usize| PLANES * (images * tiles * channels + GAP);
        joint(plan)
            .fold([0; 2], |most, (tiles, a, b)| [most[0].max(size(tiles, a)), most[1].max(size(tiles, b))])
    }

    /// For so many images of a network; none where it has no joint convolutions.
    pub fn new(plan: &Plan, images: usize) -> Option<Room> {
        let [inputs, outputs] = Room::sizes(plan, images);
        (inputs > 0).then(|| Room { inputs: Buffer::new(inputs), outputs: Buffer::new(outputs) })
    }

    /// Values that it takes.
    pub fn len(plan: &Plan, images: usize) -> usize {
        Room::sizes(plan, images).iter().sum()
    }

    /// Values that the sums of weight gradients take, for all lanes.
    pub fn sums(plan: &Plan) -> usize {
        joint(plan).map(|(_, a, b)| PLANES * a * b).max().unwrap_or(0)
    }

    /// Transforms what a lane of `n` images holds.
    pub fn spread(&mut self, cx: &Pass, job: Joint, work: &Workspace, n: usize) -> Result<(), Error> {
        let (i, plan) = (job.node(), cx.plan);
        let Op::Conv(c) = &plan.nodes[i].op else { return Ok(()) };
        let input = plan.nodes[i].inputs[0];
        let (from, to) = (&plan.tensors[input], &plan.tensors[i + 1]);
        let reach = c.reach();
        let x = || (&from.value, work.values(plan, input, n));
        let dy = || (&to.grad, work.grads(plan, i + 1, n));
        match job {
            Joint::Outputs(_) => {
                transform(cx, winograd::inputs, x(), (&to.value, c.before), &mut self.inputs)
            }
            Joint::Inputs(_) => {
                let before = [reach[0] - c.before[0], reach[1] - c.before[1]];
                transform(cx, winograd::inputs, dy(), (&from.grad, before), &mut self.outputs)
            }
            Joint::Weights(_) => {
                transform(cx, winograd::inputs, x(), (&to.grad, c.before), &mut self.inputs)?;
                transform(cx, winograd::grads, dy(), (&to.grad, [0, 0]), &mut self.outputs)
            }
        }
    }

    /// Computes products from what all lanes hold, each of so many images. Gradients of weights are set in `grads`, by
    /// way of `sums`.
    pub fn products(
        plan: &Plan,
        (isa, stop): (Isa, Stop),
        prepared: &[Prepared],
        job: Joint,
        lanes: &mut [(usize, &mut Room)],
        (sums, grads): (&mut [f32], &mut [f32]),
    ) -> Result<(), Error> {
        let i = job.node();
        let Op::Conv(c) = &plan.nodes[i].op else { return Ok(()) };
        let (a, b) = (c.inputs, plan.tensors[i + 1].value.channels);
        let forth = !matches!(job, Joint::Inputs(_));
        let tiles = tiles(&plan.tensors[if forth { i + 1 } else { plan.nodes[i].inputs[0] }].value);
        let (wide, narrow) = if forth { (a, b) } else { (b, a) };
        let mut planes: Vec<Vec<Part>> = (0..PLANES).map(|_| Vec::with_capacity(lanes.len())).collect();
        for (images, room) in lanes {
            let (n, Room { inputs, outputs }) = (*images * tiles, &mut **room);
            let (x, out) = if forth { (inputs, outputs) } else { (outputs, inputs) };
            let parts = x.chunks(n * wide + GAP).zip(out.chunks_mut(n * narrow + GAP));
            for (plane, (x, out)) in planes.iter_mut().zip(parts) {
                plane.push((&x[..n * wide], &mut out[..n * narrow]));
            }
        }
        match job {
            Joint::Outputs(_) => multiply(isa, stop, &prepared[i].planes, (a, b), &mut planes),
            Joint::Inputs(_) => multiply(isa, stop, &prepared[i].turned_planes, (b, a), &mut planes),
            Joint::Weights(_) if plan.is_frozen(c) => Ok(()),
            Joint::Weights(_) => sum(isa, stop, c, b, &planes, (&mut sums[..PLANES * a * b], grads)),
        }
    }
}

/// Takes all tiles of the outputs in `grid` through `kernel`. Their inputs begin `before` pixels before them.
fn transform(
    cx: &Pass,
    kernel: Transform,
    (from, values): (&Grid, &[f32]),
    (grid, before): (&Grid, [usize; 2]),
    out: &mut [f32],
) -> Result<(), Error> {
    let all = Tiling::new(grid, values.len() / from.size() * grid.size());
    let (channels, mut room) = (from.channels, [Tile::default(); TILES]);
    for first in (0..all.count).step_by(TILES) {
        cx.stop.check()?;
        let tiles = all.fill(first, &mut room, (from, before), (grid, grid));
        let pitch = Pitch { row: from.stride(), mask: 0, pixel: channels };
        kernel(cx.isa, values, tiles, pitch, &mut out[first * channels..], all.count * channels + GAP);
    }
    Ok(())
}

/// Multiplies the tiles of each lane by the weights of each plane, `a` values to `b`.
fn multiply(
    isa: Isa,
    stop: Stop,
    weights: &[f32],
    (a, b): (usize, usize),
    planes: &mut [Vec<Part>],
) -> Result<(), Error> {
    let results = parallel::each(planes, |p, lanes| {
        for (x, out) in lanes {
            stop.check()?;
            let window = Window::points(x.len() / a, a, a);
            conv_row(isa, x, window, &weights[p * a * b..][..a * b], out, b, Finish::Plain);
        }
        Ok(())
    });
    results.into_iter().collect()
}

/// Sums the weights' gradient over all tiles, lane by lane, and sets it in `grads`.
fn sum(
    isa: Isa,
    stop: Stop,
    c: &Conv,
    b: usize,
    planes: &[Vec<Part>],
    (sums, grads): (&mut [f32], &mut [f32]),
) -> Result<(), Error> {
    let a = c.inputs;
    let mut pieces: Vec<&mut [f32]> = sums.chunks_exact_mut(a * b).collect();
    let results = parallel::each(&mut pieces, |p, sums| {
        sums.fill(0.0);
        for (x, dy) in &planes[p] {
            stop.check()?;
            let (x, dy) = (Rows { values: x, stride: 0, step: a }, Rows { values: dy, stride: 0, step: b });
            weight_grad(isa, x, Window::points(x.values.len() / a, a, a), dy, 1, sums);
        }
        Ok(())
    });
    results.into_iter().collect::<Result<(), Error>>()?;
    let mut blocks: Vec<&mut [f32]> = grads[c.weights.weights()].chunks_exact_mut(9 * a * BLOCK).collect();
    parallel::each(&mut blocks, |block, dw| {
        dw.fill(0.0);
        winograd::weight_grad(isa, sums, a, block, dw);
    });
    Ok(())
}
