//! Steps on the CPU. A batch is dealt to lanes, whose number depends on the batch alone; each lane takes its images in
//! order through the network on one thread, and the lanes' gradients are added in order. So results are the same on any number
//! of threads.
//!
//! A batch goes through the network in phases, which end where a batch norm needs all lanes. Without batch norms
//! there is one phase, forward and backward, and a lane takes as many images through it at once as the cache holds;
//! else a lane keeps all its images from phase to phase. A phase ends before a joint convolution, too, whose products
//! all threads compute together.

use super::{Batch, Found, Stepper};
use crate::augment::Change;
use crate::buffer::Buffer;
use crate::data::{self, Normal};
use crate::kernels::{self, BLOCK, Isa, Rows as Pixels, Window};
use crate::optimizer::{self, Update, Weights};
use crate::pass::{self, Gathered, Joint, Kept, Pass, Prepared, Room, Scratch, Sums, Workspace};
use crate::plan::{Conv, Memory, Op, Plan};
use crate::{Error, Stop, parallel};
use std::ops::Range;
use std::sync::{Arc, Mutex};

/// A fixed share of every batch, with sums of its own.
struct Lane {
    sums: Buffer,
    kept: Vec<Kept>,
    /// All its images, where they meet others between phases.
    work: Option<Workspace>,
    gathered: Gathered,
    /// What joint convolutions hold of its images.
    room: Option<Room>,
    images: usize,
    found: Found,
}
/// Nodes to go through in one piece: forward, and backward from the first on.
#[derive(Debug, Clone, PartialEq)]
struct Phase {
    forward: Range<usize>,
    backward: Range<usize>,
    /// Whether it is the first, which takes the images in.
    begins: bool,
    /// Whether the loss lies between.
    turns: bool,
    /// What needs all lanes at its end.
    end: Option<End>,
}

/// What all lanes work out together, by its node.
#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    /// A batch norm's mean and variance.
    Values(usize),
    /// A batch norm's share in the gradient.
    Grads(usize),
    /// Products of a joint convolution.
    Joint(Joint),
}

fn phases(plan: &Plan) -> Vec<Phase> {
    let (stops, n) = (plan.stops(), plan.nodes.len());
    let is_joint = |stop: usize| matches!(plan.nodes[stop].op, Op::Conv(_));
    let back = |stop: usize| if is_joint(stop) { End::Joint(Joint::Weights(stop)) } else { End::Grads(stop) };
    let phase = Phase { forward: 0..0, backward: 0..0, begins: false, turns: false, end: None };
    let mut phases: Vec<Phase> = vec![];
    let mut from = 0;
    for stop in stops.iter().copied() {
        let end = if is_joint(stop) { End::Joint(Joint::Outputs(stop)) } else { End::Values(stop) };
        phases.push(Phase {
            forward: from..stop,
            begins: phases.is_empty(),
            end: Some(end),
            ..phase.clone()
        });
        from = stop;
    }
    let last = stops.last().map_or(0, |s| s + 1);
    let (end, begins) = (stops.last().copied().map(back), phases.is_empty());
    phases.push(Phase { forward: from..n, backward: last..n, begins, turns: true, end });
    for (i, stop) in stops.iter().copied().enumerate().rev() {
        if is_joint(stop) && plan.tensors[plan.nodes[stop].inputs[0]].trained {
            phases.push(Phase { end: Some(End::Joint(Joint::Inputs(stop))), ..phase.clone() });
        }
        let before = if i > 0 { Some(stops[i - 1]) } else { None };
        let backward = before.map_or(0, |s| s + 1)..stop + 1;
        phases.push(Phase { backward, end: before.map(back), ..phase.clone() });
    }
    phases
}
/// The CPU as what takes steps, with all that it needs, allocated once.
pub struct Lanes {
    plan: Plan,
    normal: Normal,
    isa: Isa,
    memory: Arc<Memory>,
    phases: Vec<Phase>,
    prepared: Vec<Prepared>,
    norms: Vec<pass::Batch>,
    lanes: Vec<Lane>,
    /// Workspaces, where lanes do not keep their own, and scratch: one of each a thread.
    work: Mutex<Vec<Workspace>>,
    scratch: Mutex<Vec<Scratch>>,
    grads: Buffer,
    /// Sums of weight gradients of joint convolutions.
    sums: Buffer,
}

/// Lanes of a batch: 8 images or more each, 16 where weights are many, since each lane has sums of its own.
fn lanes(plan: &Plan, batch: usize) -> usize {
    let images = if plan.joined > 1 << 20 { 16 } else { 8 };
    batch.div_ceil(images).clamp(1, 16)
}

/// Convolutions whose weights' gradients wait for the batch, with the size of their input and output.
fn late(plan: &Plan) -> impl Iterator<Item = (usize, &Conv, usize, usize)> {
    let late = plan.convolutions().filter(|(_, c)| c.late);
    late.map(|(i, c)| (i, c, c.weights.k, plan.tensors[i + 1].grad.channels))
}

/// Bytes that a trainer takes on so many threads, beside the rows and the weights.
pub fn memory(plan: &Plan, batch: usize, threads: usize) -> u64 {
    let memory = Memory::new(plan, true);
    let n = lanes(plan, batch);
    let threads = threads.clamp(1, n);
    let images = if plan.stops().is_empty() { pass::group(&memory) * threads } else { batch.div_ceil(n) * n };
    let kept: usize = late(plan).map(|(_, _, k, outputs)| (k + outputs) * batch.div_ceil(n) * n).sum();
    let sums = plan.summed * n + plan.weights;
    let scratch = Scratch::len(plan, true) * threads + pass::prepared_len(plan, true);
    let joint = Room::len(plan, batch.div_ceil(n)) * n + Room::sums(plan);
    4 * (memory.image() * images + kept + sums + scratch + joint) as u64
}
impl Lanes {
    /// Room to train a network with batches of rows that `normal` normalises.
    pub fn new(plan: &Plan, normal: Normal, batch: usize, isa: Isa) -> Lanes {
        let batch = batch.max(1);
        let n = lanes(plan, batch);
        let most = batch.div_ceil(n);
        let memory = Arc::new(Memory::new(plan, true));
        let phases = phases(plan);
        let kept = || {
            late(plan).map(|(node, _, k, outputs)| Kept {
                node,
                inputs: Buffer::new(k * most),
                grads: Buffer::new(outputs * most),
            })
        };
        let lane = || Lane {
            sums: Buffer::new(plan.summed),
            kept: kept().collect(),
            work: (phases.len() > 1).then(|| Workspace::new(&memory, most)),
            gathered: Gathered::default(),
            room: Room::new(plan, most),
            images: 0,
            found: Found::default(),
        };
        let lanes = (0..n).map(|_| lane()).collect();
        Lanes {
            plan: plan.clone(),
            normal,
            isa,
            memory,
            phases,
            prepared: vec![],
            norms: vec![],
            lanes,
            work: Mutex::default(),
            scratch: Mutex::default(),
            grads: Buffer::new(plan.weights),
            sums: Buffer::new(Room::sums(plan)),
        }
    }

    /// Moves the running means and variances of batch norms.
    fn remember(&self, weights: &mut Weights) {
        for (node, batch) in self.plan.nodes.iter().zip(&self.norms) {
            if let Op::BatchNorm { norm, running, momentum, frozen: false } = node.op {
                batch.remember(&norm, running, momentum, &mut weights.values);
            }
        }
        if !weights.average.is_empty() {
            let running = self.plan.trained..;
            weights.average[running.clone()].copy_from_slice(&weights.values[running]);
        }
    }

    /// The gradient of the mean loss of a batch, which stays in `self.grads`; the sums of its losses.
    fn gradient(&mut self, weights: &[f32], batch: &Batch, stop: Stop) -> Result<Found, Error> {
        pass::prepare(&self.plan, self.isa, weights, true, &mut self.prepared);
        pass::recall(&self.plan, weights, false, &mut self.norms);
        let images = batch.images;
        let n = lanes(&self.plan, images.len()).min(self.lanes.len());
        for phase in self.phases.clone() {
            let mut shares: Vec<(&mut Lane, &[u32], usize)> = vec![];
            for (i, lane) in self.lanes.iter_mut().take(n).enumerate() {
                let (from, to) = (images.len() * i / n, images.len() * (i + 1) / n);
                shares.push((lane, &images[from..to], from));
            }
            let step = Step {
                plan: &self.plan,
                isa: self.isa,
                normal: &self.normal,
                prepared: &self.prepared,
                norms: &self.norms,
                weights,
                batch: *batch,
                stop,
            };
            let (work, scratches, memory) = (&self.work, &self.scratch, &self.memory);
            let results = parallel::each(&mut shares, |_, (lane, images, first)| {
                let mut scratch = borrow(scratches, || Scratch::new(step.plan, true));
                let kept = lane.work.take();
                let keeps = kept.is_some();
                let group = pass::group(memory);
                let mut space = kept.unwrap_or_else(|| borrow(work, || Workspace::new(memory, group)));
                scratch.room = lane.room.take();
                let result = step.lane(&phase, &mut space, &mut scratch, lane, images, *first);
                lane.room = scratch.room.take();
                if keeps {
                    lane.work = Some(space);
                } else {
                    give_back(work, space);
                }
                give_back(scratches, scratch);
                result
            });
            results.into_iter().collect::<Result<(), Error>>()?;
            self.meet(&phase, weights, n, stop)?;
        }
        self.add_lanes(n);
        self.add_late(n);
        let mut found = Found::default();
        self.lanes[..n].iter().for_each(|lane| found.add(lane.found));
        Ok(found)
    }

    /// Works out what a phase's end needs of all lanes.
    fn meet(&mut self, phase: &Phase, weights: &[f32], n: usize, stop: Stop) -> Result<(), Error> {
        let Some(end) = phase.end else { return Ok(()) };
        let lanes = &mut self.lanes[..n];
        if let End::Joint(job) = end {
            let mut rooms: Vec<(usize, &mut Room)> =
                lanes.iter_mut().filter_map(|l| Some((l.images, l.room.as_mut()?))).collect();
            let to = (&mut self.sums[..], &mut self.grads[..]);
            return Room::products(&self.plan, (self.isa, stop), &self.prepared, job, &mut rooms, to);
        }
        let (End::Values(meeting) | End::Grads(meeting)) = end else { return Ok(()) };
        let Op::BatchNorm { norm, .. } = &self.plan.nodes[meeting].op else { return Ok(()) };
        let lanes = lanes.iter().map(|l| &l.gathered);
        if matches!(end, End::Values(_)) {
            self.norms[meeting].measure(norm, weights, lanes);
        } else {
            self.norms[meeting].differentiate(norm, lanes, &mut self.grads);
        }
        Ok(())
    }

    /// Adds the lanes' sums, lane by lane.
    fn add_lanes(&mut self, n: usize) {
        const PIECE: usize = 1 << 12;
        let (lanes, isa) = (&self.lanes[..n], self.isa);
        let mut pieces: Vec<&mut [f32]> = self.grads[..self.plan.summed].chunks_mut(PIECE).collect();
        parallel::each(&mut pieces, |i, piece| {
            let at = i * PIECE..i * PIECE + piece.len();
            piece.copy_from_slice(&lanes[0].sums[at.clone()]);
            for lane in &lanes[1..] {
                kernels::add_assign(isa, piece, &lane.sums[at.clone()]);
            }
        });
    }

    /// The gradients that waited for the batch, from what the lanes kept, image by image.
    fn add_late(&mut self, n: usize) {
        let (plan, lanes, isa) = (&self.plan, &self.lanes[..n], self.isa);
        let mut rest = &mut self.grads[plan.joined..];
        let mut pieces: Vec<(usize, usize, &mut [f32])> = vec![];
        let mut biases: Vec<(usize, &mut [f32])> = vec![];
        for (i, (_, c, ..)) in late(plan).enumerate() {
            let w = c.weights;
            let (values, more) = rest.split_at_mut(w.weights().len());
            let (bias, more) = more.split_at_mut(w.bias().len());
            rest = more;
            if w.bias {
                biases.push((i, bias));
            }
            // Two blocks are a vector tile's width.
            pieces.extend(values.chunks_mut(2 * w.k * BLOCK).enumerate().map(|(b, out)| (i, 2 * b, out)));
        }
        parallel::each(&mut pieces, |_, (i, block, out)| {
            out.fill(0.0);
            for lane in lanes.iter().filter(|l| l.images > 0) {
                let kept = &lane.kept[*i];
                let Op::Conv(Conv { weights: w, .. }) = plan.nodes[kept.node].op else { return };
                let inputs = Pixels { values: &kept.inputs, stride: 0, step: w.k };
                let grads = &kept.grads[*block * BLOCK..];
                let grads = Pixels { values: grads, stride: 0, step: w.blocks * BLOCK };
                kernels::weight_grad(isa, inputs, Window::points(lane.images, w.k, w.k), grads, 1, out);
            }
        });
        for (i, bias) in biases {
            bias.fill(0.0);
            for lane in lanes {
                kernels::column_sums(isa, &lane.kept[i].grads[..lane.images * bias.len()], bias);
            }
        }
    }
}
impl Stepper for Lanes {
    fn begin(&mut self, _weights: &Weights) -> Result<(), Error> {
        if self.normal.is_valid(self.plan.network.input.channels) {
            return Ok(());
        }
        Err(Error::Data("the normalisation does not fit the network".into()))
    }

    fn step(
        &mut self,
        weights: &mut Weights,
        batch: &Batch,
        update: Update,
        stop: Stop,
    ) -> Result<Found, Error> {
        let found = self.gradient(&weights.values, batch, stop)?;
        if found.loss.is_finite() {
            optimizer::step(self.isa, &self.plan, update, weights, &mut self.grads);
            self.remember(weights);
        }
        Ok(found)
    }

    fn end(&mut self, _weights: &mut Weights) -> Result<(), Error> {
        Ok(())
    }
}

/// One of what threads share, or a new one where all are in use.
fn borrow<T>(shared: &Mutex<Vec<T>>, new: impl FnOnce() -> T) -> T {
    shared.lock().ok().and_then(|mut free| free.pop()).unwrap_or_else(new)
}

fn give_back<T>(shared: &Mutex<Vec<T>>, item: T) {
    if let Ok(mut free) = shared.lock() {
        free.push(item);
    }
}
/// What all lanes of a step share.
struct Step<'a> {
    plan: &'a Plan,
    isa: Isa,
    normal: &'a Normal,
    prepared: &'a [Prepared],
    norms: &'a [pass::Batch],
    weights: &'a [f32],
    batch: Batch<'a>,
    stop: Stop<'a>,
}

impl Step<'_> {
    /// Takes a lane's images, the first of which is number `first` of the batch, through a phase.
    fn lane(
        &self,
        phase: &Phase,
        work: &mut Workspace,
        scratch: &mut Scratch,
        lane: &mut Lane,
        images: &[u32],
        first: usize,
    ) -> Result<(), Error> {
        if phase.begins {
            lane.sums.fill(0.0);
            (lane.found, lane.images) = (Found::default(), images.len());
        }
        scratch.clear(phase.backward.clone());
        for (g, group) in images.chunks(work.images()).enumerate() {
            let (n, kept) = (group.len(), g * work.images());
            let first = first + kept;
            let dropout = |image: usize, layer: usize| self.batch.stream(first + image, layer as u64);
            let cx = Pass {
                plan: self.plan,
                isa: self.isa,
                weights: self.weights,
                prepared: self.prepared,
                norms: self.norms,
                dropout: Some(&dropout),
                stop: self.stop,
            };
            if phase.begins {
                self.fill(work, group, first)?;
            }
            work.forward(&cx, phase.forward.clone(), n, scratch)?;
            if phase.turns {
                self.turn(work, lane, group, first);
            }
            let mut sums = Sums { images: &mut lane.sums, kept: &mut lane.kept, first: kept };
            work.backward(&cx, phase.backward.clone(), n, &mut sums, scratch)?;
            match phase.end {
                Some(End::Values(meeting)) => {
                    let from = self.plan.nodes[meeting].inputs[0];
                    lane.gathered
                        .values(self.isa, (&self.plan.tensors[from], work.values(self.plan, from, n)));
                }
                Some(End::Grads(meeting)) => {
                    let from = self.plan.nodes[meeting].inputs[0];
                    let values = (&self.plan.tensors[from], work.values(self.plan, from, n));
                    let grads = (&self.plan.tensors[meeting + 1], work.grads(self.plan, meeting + 1, n));
                    lane.gathered.grads(self.isa, &self.norms[meeting], values, grads);
                }
                Some(End::Joint(job)) => {
                    if let Some(room) = &mut scratch.room {
                        room.spread(&cx, job, work, n)?;
                    }
                }
                None => {}
            }
        }
        scratch.settle(self.plan, self.isa, phase.backward.clone(), &mut lane.sums);
        Ok(())
    }

    /// Writes the inputs of a group.
    fn fill(&self, work: &mut Workspace, group: &[u32], first: usize) -> Result<(), Error> {
        let (input, inputs) = (self.plan.network.input, self.batch.rows.inputs);
        let grid = self.plan.tensors[0].value;
        let (mut other, mut space) = (vec![], vec![]);
        for (i, row) in group.iter().enumerate() {
            self.stop.check()?;
            let image = work.input(self.plan, i);
            let mut write = |row: u32, change: Change, out: &mut [f32]| {
                let (inputs, index) = inputs.of(row, &mut space)?;
                data::fill(inputs, index, input.channels, self.normal, &grid, change, out);
                Ok::<(), Error>(())
            };
            let varied = self.batch.variation(input, first + i);
            write(*row, varied.own, image)?;
            if varied.share < 1.0 {
                let ((partner, change), share) = (varied.partner, varied.share);
                other.resize(grid.size(), 0.0);
                write(partner, change, &mut other)?;
                for (x, y) in image.iter_mut().zip(&other) {
                    *x = share * *x + (1.0 - share) * y;
                }
            }
        }
        Ok(())
    }

    /// From the outputs of a group to their gradients.
    fn turn(&self, work: &mut Workspace, lane: &mut Lane, group: &[u32], first: usize) {
        let (plan, n) = (self.plan, group.len());
        let k = plan.outputs();
        let places = plan.output().order.clone();
        let (outputs, grads) = work.outputs(plan, n);
        let width = outputs.len() / n;
        let (mut gathered, mut gradient) = (vec![0.0f32; k], vec![0.0f32; k]);
        for i in 0..n {
            let (z, dz) = (&outputs[i * width..][..width], &mut grads[i * width..][..width]);
            let at = |j: usize| places.as_ref().map_or(j, |p| p[j] as usize);
            gathered.iter_mut().enumerate().for_each(|(j, v)| *v = z[at(j)]);
            lane.found.add(self.batch.judge(first + i, &gathered, &mut gradient));
            dz.fill(0.0);
            gradient.iter().enumerate().for_each(|(j, v)| dz[at(j)] = *v);
            if plan.output().relu {
                dz.iter_mut().zip(z).for_each(|(d, z)| *d = if *z > 0.0 { *d } else { 0.0 });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::{Network, Shape};

    #[test]
    fn phases_cover_every_node_once_each_way() {
        let norm = r#"{"type":"batch_norm"}"#;
        let conv = r#"{"type":"conv2d","filters":4}"#;
        for json in [
            format!("[{conv}]"),
            format!("[{norm},{conv}]"),
            format!(
                r#"[{conv},{norm},{{"type":"residual","layers":[{conv},{norm}],"shortcut":[{conv},{norm}]}}]"#
            ),
        ] {
            let plan = Plan::new(&Network::from_json(Shape::new(6, 6, 2), &json, 3).unwrap()).unwrap();
            let (phases, n) = (phases(&plan), plan.nodes.len());
            assert_eq!(
                phases.iter().flat_map(|p| p.forward.clone()).collect::<Vec<_>>(),
                (0..n).collect::<Vec<_>>()
            );
            let back = phases.iter().flat_map(|p| p.backward.clone().rev()).collect::<Vec<_>>();
            assert_eq!(back, (0..n).rev().collect::<Vec<_>>());
            assert_eq!(phases.len(), 1 + 2 * plan.meetings().len());
        }
    }
}
