//! A network in a card that scores: its weights, and room for a group of images. Batches go through group by group, with
//! batch norms folded.

use super::body::{Body, signed};
use super::card::{Card, Kernel, Memory, Plain, Shape, Task};
use crate::Error;
use crate::data::Inputs;
use crate::device::Loaded;
use crate::plan;
use crate::score::Predictor;
use std::rc::Rc;

/// Images of a group.
const MOST: usize = 1024;

/// A network's place in a card.
pub struct Resident {
    body: Body,
    /// Images of a group.
    images: usize,
    /// Means of channels, then scales, in f64.
    normal: Memory,
    sent: Memory,
    outputs: Memory,
    /// Places of the outputs.
    last: Memory,
    out: Vec<f32>,
}

impl Resident {
    /// Takes a network in, with at most `room` bytes for the values of a group of images, and at least one image.
    ///
    /// # Errors
    /// `Error::Memory` when there is no room.
    pub fn new(card: &Rc<dyn Card>, network: &Predictor, room: usize) -> Result<Resident, Error> {
        let (plan, weights, normal) = network.folded();
        let images = (room / 4 / plan::Memory::new(plan, false).image().max(1)).clamp(1, MOST);
        let (input, last) = (plan.network.input.len(), plan.output());
        let outputs = images * network.plan().outputs();
        Ok(Resident {
            body: Body::new(card, plan, weights, images, false)?,
            images,
            normal: Memory::of(card, &normal.flat())?,
            sent: Memory::zeros(card, 8 * input * images)?,
            outputs: Memory::zeros(card, 4 * outputs)?,
            last: Memory::of(card, &signed(&last.places()))?,
            out: vec![0.0; outputs],
        })
    }

    fn group(&mut self, network: &Predictor, sent: (&[u8], i32), n: usize) -> Result<(), Error> {
        let (plan, ..) = network.folded();
        let first = &plan.tensors[0];
        self.body.clear(0, first, n)?;
        self.sent.put(sent.0)?;
        let channels = plan.network.input.channels;
        let task = Task {
            y: (&first.value).into(),
            images: n as i32,
            kind: sent.1,
            places: channels as i32,
            ..Task::default()
        };
        let items = Shape::items(n * first.value.height * first.value.width * channels);
        self.body.launch(
            Kernel::Input,
            items,
            &task,
            [self.body.at(0), self.sent.at(), self.normal.at(), 0, 0],
        )?;
        for i in 0..plan.nodes.len() {
            self.body.node(plan, i, n)?;
        }
        let last = plan.output();
        let places = last.places().len();
        let task =
            Task { y: (&last.value).into(), images: n as i32, places: places as i32, ..Task::default() };
        let items = Shape::items(n * last.value.height * last.value.width * places);
        let from = self.body.at(plan.tensors.len() - 1);
        self.body.launch(Kernel::Gather, items, &task, [self.outputs.at(), from, 0, 0, self.last.at()])
    }
}

impl Loaded for Resident {
    fn bytes(&self) -> u64 {
        let own = [&self.normal, &self.sent, &self.outputs, &self.last];
        self.body.bytes() + own.into_iter().map(|m| m.len() as u64).sum::<u64>()
    }

    fn outputs(&mut self, network: &Predictor, inputs: Inputs, out: &mut [f64]) -> Result<(), Error> {
        network.rows(inputs, out)?;
        let (size, width) = (network.plan().network.input.len(), network.plan().outputs());
        for (g, out) in out.chunks_mut(self.images * width).enumerate() {
            let n = out.len() / width;
            let these = g * self.images * size..(g * self.images + n) * size;
            let sent = match inputs {
                Inputs::Bytes(v) => (&v[these], 0),
                Inputs::Doubles(v) => (Plain::bytes(&v[these]), 1),
                Inputs::Numbers(v) => (Plain::bytes(&v[these]), 2),
            };
            self.group(network, sent, n)?;
            let values = &mut self.out[..out.len()];
            self.outputs.get(values)?;
            out.iter_mut().zip(values).for_each(|(o, v)| *o = f64::from(*v));
        }
        Ok(())
    }
}
