//! Lowers a network's layers to nodes, shape by shape.

use super::{
    Conv, Grid, Line, MAX_LAYERS, MAX_VALUES, MAX_WEIGHTS, Node, Norm, Op, Over, Plan, Route, Table, Tensor,
    Weights,
};
use crate::Error;
use crate::kernels::BLOCK;
use crate::kernels::activation::Activation;
use crate::network::{self, Kind, Layer, Network, Padding, Pair, Shape};
use std::collections::HashSet;
use std::sync::Arc;

/// Pairs of input and output channels from which on a convolution of few pixels is joint: its weights in Winograd's planes,
/// and the sums of their gradient, outgrow the caches.
const JOINT: usize = 1 << 16;

fn padded(channels: usize) -> usize {
    channels.div_ceil(BLOCK) * BLOCK
}

/// A layer that does not fit, by name and kind.
struct At<'a> {
    name: &'a str,
    path: String,
    layer: &'a Layer,
}

impl At<'_> {
    fn bad(&self, what: impl std::fmt::Display) -> Error {
        Error::Shape(format!("layer {} ({}) {what}", self.name, self.layer.kind()))
    }
}

/// Settings of a convolution, whatever the user calls it.
struct Wanted {
    filters: usize,
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: Padding,
    dilation: [usize; 2],
    groups: usize,
    bias: bool,
}

struct Builder {
    plan: Plan,
    names: HashSet<String>,
    /// Tensors that more than the layer at hand reads, so that no relu may be fused into them.
    shared: Vec<usize>,
    /// Whether an operation was met that needs padded channels where there are none.
    pads: bool,
}

impl Plan {
    /// Infers all shapes.
    ///
    /// # Errors
    /// `Error::Shape`, naming the first layer that does not fit what it gets.
    pub fn new(network: &Network) -> Result<Plan, Error> {
        Plan::with_frozen(network, &[])
    }

    /// The same, where the layers of these names (and all inside of them) keep their weights in training.
    ///
    /// # Errors
    /// `Error::Shape`, also where there is no such layer.
    pub fn with_frozen(network: &Network, frozen: &[String]) -> Result<Plan, Error> {
        let input = network.input;
        if input.checked_len().is_none_or(|n| n == 0 || n > MAX_VALUES) {
            return Err(Error::Shape(format!("an input of {input} is empty or too large")));
        }
        let mut builder = Builder::new(network, input.channels);
        builder.network(network)?;
        if builder.pads {
            builder = Builder::new(network, padded(input.channels));
            builder.network(network)?;
        }
        builder.finish(frozen)
    }
}

impl Builder {
    fn new(network: &Network, channels: usize) -> Builder {
        let grid = Grid::new(network.input, channels);
        let first = Tensor {
            shape: network.input,
            value: grid,
            grad: grid,
            relu: false,
            order: None,
            trained: false,
            readers: vec![],
        };
        let plan = Plan {
            network: network.clone(),
            nodes: vec![],
            tensors: vec![first],
            lines: vec![],
            weights: 0,
            trained: 0,
            summed: 0,
            joined: 0,
            frozen: vec![],
        };
        Builder { plan, names: HashSet::new(), shared: vec![], pads: false }
    }

    fn network(&mut self, network: &Network) -> Result<(), Error> {
        self.list(&network.layers, 0, "").map(|_| ())
    }

    /// Adds layers that follow each other; gives the last one's output.
    fn list(&mut self, layers: &[Layer], mut from: usize, prefix: &str) -> Result<usize, Error> {
        for (i, layer) in layers.iter().enumerate() {
            let name = layer.name.clone().unwrap_or_else(|| format!("{prefix}{i}"));
            let at = At { name: &name, path: format!("{prefix}{i}"), layer };
            if !self.names.insert(name.clone()) {
                return Err(at.bad("has the name of another layer"));
            }
            if self.plan.lines.len() >= MAX_LAYERS {
                return Err(at.bad(format!("is one more than {MAX_LAYERS}")));
            }
            from = self.add(&at, from)?;
            if self.plan.values() > MAX_VALUES {
                return Err(at.bad(format!("takes the network over {MAX_VALUES} values an image")));
            }
        }
        Ok(from)
    }

    fn add(&mut self, at: &At, from: usize) -> Result<usize, Error> {
        let line = self.plan.lines.len();
        let shape = self.plan.tensors[from].shape;
        let (name, path, layer) = (at.name.to_string(), at.path.clone(), at.layer.clone());
        self.plan.lines.push(Line { name, path, layer, shape, parameters: 0 });
        let (to, parameters) = self.lower(at, from)?;
        self.plan.lines[line].shape = self.plan.tensors[to].shape;
        self.plan.lines[line].parameters = parameters;
        Ok(to)
    }

    /// Adds one layer; gives its output, and how many weights it has.
    fn lower(&mut self, at: &At, from: usize) -> Result<(usize, usize), Error> {
        let shape = self.plan.tensors[from].shape;
        let flat = Shape::flat(shape.channels);
        match at.layer.kind.clone() {
            Kind::Conv2d { filters, kernel_size, stride, padding, dilation, groups, bias } => {
                let (kernel, stride, dilation) = (kernel_size.0, stride.0, dilation.0);
                let wanted = Wanted { filters, kernel, stride, padding, dilation, groups, bias };
                self.conv(at, from, wanted)
            }
            Kind::Conv1d { filters, kernel_size, stride, padding, dilation, groups, bias } => {
                if shape.height != 1 {
                    return Err(at.bad(format!("needs a series, an image of one row, found {shape}")));
                }
                let padding = match padding {
                    Padding::Pixels(Pair([_, n])) => Padding::Pixels(Pair([0, n])),
                    other => other,
                };
                let (kernel, stride, dilation) = ([1, kernel_size], [1, stride], [1, dilation]);
                let wanted = Wanted { filters, kernel, stride, padding, dilation, groups, bias };
                self.conv(at, from, wanted)
            }
            Kind::DepthwiseConv2d { kernel_size, stride, padding, dilation, bias } => {
                let (filters, groups) = (shape.channels, shape.channels);
                let (kernel, stride, dilation) = (kernel_size.0, stride.0, dilation.0);
                let wanted = Wanted { filters, kernel, stride, padding, dilation, groups, bias };
                self.conv(at, from, wanted)
            }
            Kind::Dense { units, bias } => self.dense(at, from, units, bias),
            Kind::Embedding { tables } => self.embedding(at, from, &tables),
            Kind::MaxPool2d { kernel_size, stride, padding } => {
                self.pool(at, from, true, kernel_size, stride.unwrap_or(kernel_size), padding)
            }
            Kind::AvgPool2d { kernel_size, stride, padding } => {
                self.pool(at, from, false, kernel_size, stride.unwrap_or(kernel_size), padding)
            }
            Kind::GlobalAvgPool {} | Kind::GlobalMaxPool {} => {
                let max = matches!(at.layer.kind, Kind::GlobalMaxPool {});
                let kernel = [shape.height, shape.width];
                let op = Op::Pool { max, kernel, stride: [1, 1], before: [0, 0] };
                Ok((self.node(at, op, vec![from], flat, None)?, 0))
            }
            Kind::Flatten {} => {
                let tensor = &self.plan.tensors[from];
                let (pixels, channels) = (shape.height * shape.width, tensor.value.channels);
                let order = match &tensor.order {
                    Some(order) => order.clone(),
                    None => {
                        let place = |i: usize| ((i % pixels) * channels + i / pixels) as u32;
                        Arc::new((0..shape.len()).map(place).collect())
                    }
                };
                let order = Some(order).filter(|o| o.iter().enumerate().any(|(i, p)| i != *p as usize));
                let to = self.node(
                    at,
                    Op::Flatten,
                    vec![from],
                    Shape::flat(shape.len()),
                    Some(pixels * channels),
                )?;
                self.plan.tensors[to].order = order;
                Ok((to, 0))
            }
            Kind::BatchNorm { momentum, epsilon } => {
                if !(0.0..=1.0).contains(&momentum) {
                    return Err(at.bad(format!("has a momentum of {momentum}, expected 0 to 1")));
                }
                let norm = self.norm(at, from, epsilon)?;
                let op = Op::BatchNorm { norm, running: 0, momentum, frozen: false };
                Ok((self.node(at, op, vec![from], shape, None)?, 2 * shape.channels))
            }
            Kind::LayerNorm { epsilon } => {
                let op = Op::GroupNorm { norm: self.norm(at, from, epsilon)?, over: Over::Pixel };
                Ok((self.node(at, op, vec![from], shape, None)?, 2 * shape.channels))
            }
            Kind::GroupNorm { groups, epsilon } => {
                if groups == 0 || !shape.channels.is_multiple_of(groups) {
                    let channels = shape.channels;
                    return Err(
                        at.bad(format!("has {groups} groups, which do not divide {channels} channels"))
                    );
                }
                let op = Op::GroupNorm { norm: self.norm(at, from, epsilon)?, over: Over::Groups(groups) };
                Ok((self.node(at, op, vec![from], shape, None)?, 2 * shape.channels))
            }
            Kind::Relu {} => {
                let fuses = from > 0
                    && !self.shared.contains(&from)
                    && matches!(self.plan.nodes[from - 1].op, Op::Conv(_) | Op::BatchNorm { .. } | Op::Add);
                if fuses {
                    self.plan.tensors[from].relu = true;
                    return Ok((from, 0));
                }
                self.each(at, from, Activation::Relu)
            }
            Kind::LeakyRelu { slope } => {
                if !slope.is_finite() {
                    return Err(at.bad("has a slope that is not finite"));
                }
                self.each(at, from, Activation::LeakyRelu(slope))
            }
            Kind::Gelu {} => self.each(at, from, Activation::Gelu),
            Kind::Silu {} => self.each(at, from, Activation::Silu),
            Kind::Sigmoid {} => self.each(at, from, Activation::Sigmoid),
            Kind::Tanh {} => self.each(at, from, Activation::Tanh),
            Kind::Softmax {} => Ok((self.node(at, Op::Softmax, vec![from], shape, None)?, 0)),
            Kind::Dropout { rate } => {
                if !(0.0..1.0).contains(&rate) {
                    return Err(at.bad(format!("has a rate of {rate}, expected 0 <= rate < 1")));
                }
                let op = Op::Dropout { rate, stream: self.plan.lines.len() - 1 };
                Ok((self.node(at, op, vec![from], shape, None)?, 0))
            }
            Kind::Residual { layers, shortcut } => {
                self.shared.push(from);
                let main = self.list(&layers, from, &format!("{}.layers.", at.path))?;
                let main_is_shared = self.shared.len();
                self.shared.push(main);
                let beside = self.list(&shortcut, from, &format!("{}.shortcut.", at.path))?;
                self.shared.truncate(main_is_shared - 1);
                let (a, b) = (self.plan.tensors[main].shape, self.plan.tensors[beside].shape);
                if a != b {
                    let hint =
                        if shortcut.is_empty() { "; give it a shortcut that makes them alike" } else { "" };
                    return Err(at.bad(format!("adds {a} to {b}{hint}")));
                }
                self.needs_blocks(&[main, beside]);
                Ok((self.node(at, Op::Add, vec![main, beside], a, None)?, 0))
            }
            Kind::Concat { branches } => {
                if branches.is_empty() {
                    return Err(at.bad("has no branches"));
                }
                let before = self.shared.len();
                self.shared.push(from);
                let mut ends = vec![];
                for (i, branch) in branches.iter().enumerate() {
                    let end = self.list(branch, from, &format!("{}.branches.{i}.", at.path))?;
                    self.shared.push(end);
                    ends.push(end);
                }
                self.shared.truncate(before);
                let shapes: Vec<Shape> = ends.iter().map(|e| self.plan.tensors[*e].shape).collect();
                let first = shapes[0];
                if let Some(other) =
                    shapes.iter().find(|s| (s.height, s.width) != (first.height, first.width))
                {
                    return Err(at.bad(format!("joins {first} and {other}, which differ in their pixels")));
                }
                let channels = shapes.iter().map(|s| s.channels).sum();
                let shape = Shape { channels, ..first };
                Ok((self.node(at, Op::Concat, ends, shape, Some(padded(channels)))?, 0))
            }
        }
    }

    fn each(&mut self, at: &At, from: usize, f: Activation) -> Result<(usize, usize), Error> {
        let shape = self.plan.tensors[from].shape;
        Ok((self.node(at, Op::Activation(f), vec![from], shape, None)?, 0))
    }

    /// Notes that these tensors must have padded channels.
    fn needs_blocks(&mut self, tensors: &[usize]) {
        self.pads |= tensors.iter().any(|t| !self.plan.tensors[*t].value.channels.is_multiple_of(BLOCK));
    }

    fn norm(&mut self, at: &At, from: usize, epsilon: f32) -> Result<Norm, Error> {
        if !(epsilon > 0.0 && epsilon.is_finite()) {
            return Err(at.bad(format!("has an epsilon of {epsilon}, expected more than 0")));
        }
        self.needs_blocks(&[from]);
        Ok(Norm { at: 0, width: self.plan.tensors[from].value.channels, epsilon })
    }

    fn pool(
        &mut self,
        at: &At,
        from: usize,
        max: bool,
        kernel: Pair,
        stride: Pair,
        padding: Pair,
    ) -> Result<(usize, usize), Error> {
        let shape = self.plan.tensors[from].shape;
        let sides = [shape.height, shape.width];
        let mut out = [0; 2];
        for d in 0..2 {
            let (k, s, p) = (kernel.0[d], stride.0[d], padding.0[d]);
            if k == 0 || s == 0 {
                return Err(at.bad("needs a kernel_size and stride of at least 1"));
            }
            if p > k / 2 {
                return Err(
                    at.bad(format!("has a padding of {padding}, more than half its kernel_size {kernel}"))
                );
            }
            if k > sides[d] + 2 * p {
                return Err(at.bad(format!("has a kernel_size of {kernel}, too large for its input {shape}")));
            }
            out[d] = (sides[d] + 2 * p - k) / s + 1;
        }
        let shape = Shape::new(out[0], out[1], shape.channels);
        let op = Op::Pool { max, kernel: kernel.0, stride: stride.0, before: padding.0 };
        Ok((self.node(at, op, vec![from], shape, None)?, 0))
    }

    fn dense(&mut self, at: &At, from: usize, units: usize, bias: bool) -> Result<(usize, usize), Error> {
        let (shape, k) = (self.plan.tensors[from].shape, self.plan.tensors[from].value.channels);
        if !shape.is_flat() {
            return Err(at.bad(format!("needs a row of numbers, found {shape}; put a flatten before it")));
        }
        if units == 0 {
            return Err(at.bad("needs at least 1 unit"));
        }
        let weights = Weights {
            at: 0,
            k,
            blocks: units.div_ceil(BLOCK),
            groups: 1,
            outputs: units,
            bias,
            fan_in: shape.channels,
        };
        let one = [1, 1];
        let conv = Conv {
            kernel: one,
            stride: one,
            dilation: one,
            before: [0, 0],
            inputs: k,
            route: Route::Direct,
            late: true,
            joint: false,
            pools: false,
            dense: true,
            weights,
        };
        self.check_weights(at, &weights)?;
        let parameters = (shape.channels + usize::from(bias)) * units;
        let to = self.node(at, Op::Conv(conv), vec![from], Shape::flat(units), Some(padded(units)))?;
        Ok((to, parameters))
    }

    fn embedding(
        &mut self,
        at: &At,
        from: usize,
        wanted: &[network::Table],
    ) -> Result<(usize, usize), Error> {
        let shape = self.plan.tensors[from].shape;
        if from != 0 || !shape.is_flat() {
            return Err(at.bad("needs to be the first layer, and to get a row of numbers"));
        }
        let (mut tables, mut weights) = (vec![], 0usize);
        for table in wanted {
            let network::Table { feature, categories, dim } = *table;
            if feature >= shape.channels || wanted.iter().filter(|t| t.feature == feature).count() > 1 {
                let width = shape.channels;
                return Err(at.bad(format!(
                    "has a table of feature {feature}, expected each of 0 .. {width} once at most"
                )));
            }
            let size = categories.checked_mul(dim).filter(|n| (1..=MAX_WEIGHTS).contains(n));
            weights = size.and_then(|n| n.checked_add(weights)).unwrap_or(usize::MAX);
            if size.is_none() || weights > MAX_WEIGHTS {
                return Err(at.bad(format!(
                    "has tables of {categories} categories by {dim}, expected 1 to {MAX_WEIGHTS} weights in all"
                )));
            }
            tables.push(Table { feature, categories, dim, at: 0 });
        }
        let coded = |place: &u32| tables.iter().any(|t| t.feature == *place as usize);
        let numbers: Vec<u32> = (0..shape.channels as u32).filter(|p| !coded(p)).collect();
        let width = tables.iter().map(|t| t.dim).sum::<usize>() + numbers.len();
        let parameters = tables.iter().map(|t| t.categories * t.dim).sum();
        let op = Op::Embedding { numbers: Arc::new(numbers), tables: Arc::new(tables) };
        let to = self.node(at, op, vec![from], Shape::flat(width), Some(padded(width)))?;
        Ok((to, parameters))
    }

    fn conv(&mut self, at: &At, from: usize, wanted: Wanted) -> Result<(usize, usize), Error> {
        let Wanted { filters, kernel, stride, padding, dilation, groups, bias } = wanted;
        let tensor = &self.plan.tensors[from];
        let shape = tensor.shape;
        if tensor.order.is_some() || (shape.is_flat() && self.flattened(from)) {
            return Err(at.bad(format!("needs an image, found a row of {}", shape.channels)));
        }
        let numbers = kernel.iter().all(|k| (1..256).contains(k))
            && dilation.iter().all(|d| (1..256).contains(d))
            && stride.iter().all(|s| (1..=1 << 16).contains(s));
        if filters == 0 || !numbers {
            let what = "needs filters and stride of at least 1, and a kernel_size and dilation of 1 to 255";
            return Err(at.bad(what));
        }
        if groups == 0 || !shape.channels.is_multiple_of(groups) || !filters.is_multiple_of(groups) {
            let channels = shape.channels;
            let what =
                format!("has {groups} groups, which do not divide {channels} channels and {filters} filters");
            return Err(at.bad(what));
        }
        let (sides, mut before, mut out) = ([shape.height, shape.width], [0; 2], [0; 2]);
        for d in 0..2 {
            let reach = dilation[d] * (kernel[d] - 1) + 1;
            let (first, last) = match padding {
                Padding::Valid => (0, 0),
                Padding::Same => same(sides[d], reach, stride[d]),
                Padding::Pixels(Pair(p)) => (p[d], p[d]),
            };
            if first >= reach && first > 0 {
                return Err(at.bad(format!("has a padding of {first}, as wide as its kernel")));
            }
            if reach > sides[d] + first + last {
                let kernel = Pair(kernel);
                return Err(at.bad(format!("has a kernel_size of {kernel}, too large for its input {shape}")));
            }
            before[d] = first;
            out[d] = (sides[d] + first + last - reach) / stride[d] + 1;
        }
        let each = shape.channels / groups;
        let depthwise = groups > 1 && each == 1 && filters == groups;
        if groups > 1 {
            self.needs_blocks(&[from]);
        }
        let inputs = if groups == 1 { self.plan.tensors[from].value.channels } else { each };
        let plain = kernel == [3, 3] && stride == [1, 1] && dilation == [1, 1] && groups == 1;
        let route = match () {
            () if depthwise => Route::Depthwise,
            () if plain && inputs.is_multiple_of(BLOCK) && out.iter().all(|n| *n >= 3) => Route::Winograd,
            () => Route::Direct,
        };
        let taps = kernel[0] * kernel[1];
        let weights = Weights {
            at: 0,
            k: if depthwise { taps } else { taps.saturating_mul(inputs) },
            blocks: if depthwise { filters } else { filters / groups }.div_ceil(BLOCK),
            groups: if depthwise { 1 } else { groups },
            outputs: filters,
            bias,
            fan_in: taps * each,
        };
        self.check_weights(at, &weights)?;
        let late = sides == [1, 1] && taps == 1 && groups == 1;
        let conv = Conv {
            kernel,
            stride,
            dilation,
            before,
            inputs,
            route,
            late,
            joint: false,
            pools: false,
            dense: false,
            weights,
        };
        let parameters = (taps * each + usize::from(bias)) * filters;
        let shape = Shape::new(out[0], out[1], filters);
        let to = self.node(at, Op::Conv(conv), vec![from], shape, Some(padded(filters)))?;
        self.halos(&conv, from, to);
        Ok((to, parameters))
    }

    /// Whether a row of numbers was an image.
    fn flattened(&self, mut tensor: usize) -> bool {
        while tensor > 0 {
            let node = &self.plan.nodes[tensor - 1];
            match node.op {
                Op::Flatten | Op::Conv(Conv { dense: true, .. }) => return true,
                Op::Conv(_) => return false,
                _ => tensor = node.inputs[0],
            }
        }
        false
    }

    /// Widens the halos of a convolution's input and of its output's gradient.
    fn halos(&mut self, conv: &Conv, from: usize, to: usize) {
        let (reach, before) = (conv.reach(), conv.before);
        let (input, output) = (self.plan.tensors[from].shape, self.plan.tensors[to].shape);
        let (input, output) = ([input.height, input.width], [output.height, output.width]);
        let (mut after, mut grad_before, mut grad_after) = ([0; 2], [0; 2], [0; 2]);
        for d in 0..2 {
            let tiled = |n: usize| if conv.route == Route::Winograd { n.div_ceil(4) * 4 } else { n };
            let read = (tiled(output[d]) - 1) * conv.stride[d] + reach[d] + 1;
            after[d] = read.saturating_sub(before[d] + input[d]);
            if conv.stride == [1, 1] {
                // The gradient of the input is a convolution of this gradient with the kernel turned round.
                grad_before[d] = reach[d] - before[d];
                let read = tiled(input[d]) + reach[d];
                grad_after[d] = read.saturating_sub(grad_before[d] + output[d]);
                grad_after[d] = grad_after[d].max(tiled(output[d]) - output[d]);
            }
        }
        self.plan.tensors[from].value.widen(before, after);
        self.plan.tensors[to].grad.widen(grad_before, grad_after);
    }

    fn check_weights(&self, at: &At, w: &Weights) -> Result<(), Error> {
        let len = w.k.checked_mul(w.blocks).and_then(|n| n.checked_mul(w.groups));
        let len = len.and_then(|n| n.checked_mul(BLOCK)).and_then(|n| n.checked_add(padded(w.outputs)));
        let mut used: usize = self.plan.convolutions().map(|(_, c)| c.weights.len()).sum();
        for node in &self.plan.nodes {
            if let Op::Embedding { tables, .. } = &node.op {
                used += tables.iter().map(Table::len).sum::<usize>();
            }
        }
        if len.and_then(|n| n.checked_add(used)).is_none_or(|n| n > MAX_WEIGHTS) {
            return Err(at.bad(format!("takes the network over {MAX_WEIGHTS} weights")));
        }
        Ok(())
    }

    /// Adds a node; its output's channels are `channels`, or those of its first input.
    fn node(
        &mut self,
        at: &At,
        op: Op,
        inputs: Vec<usize>,
        shape: Shape,
        channels: Option<usize>,
    ) -> Result<usize, Error> {
        let first = &self.plan.tensors[inputs[0]];
        let channels = channels.unwrap_or(first.value.channels);
        let size = shape.height.checked_mul(shape.width).and_then(|n| n.checked_mul(channels));
        if size.is_none_or(|n| n > MAX_VALUES) {
            return Err(at.bad(format!("gives {shape}, more than {MAX_VALUES} values")));
        }
        let grid = Grid::new(shape, channels);
        let keeps = !matches!(op, Op::Conv(_) | Op::Concat | Op::Embedding { .. });
        let order = if keeps { first.order.clone() } else { None };
        let weights = !op.is_plain();
        let trained = weights || inputs.iter().any(|i| self.plan.tensors[*i].trained);
        for input in &inputs {
            self.plan.tensors[*input].readers.push(self.plan.nodes.len());
        }
        let tensor = Tensor { shape, value: grid, grad: grid, relu: false, order, trained, readers: vec![] };
        self.plan.tensors.push(tensor);
        self.plan.nodes.push(Node { op, inputs, name: at.name.to_string(), path: at.path.clone() });
        Ok(self.plan.tensors.len() - 1)
    }

    /// Gives every layer its place among the weights.
    fn finish(self, frozen: &[String]) -> Result<Plan, Error> {
        let mut plan = self.plan;
        if plan.nodes.is_empty() {
            return Err(Error::Shape("a network has no layers".into()));
        }
        plan.join();
        let mut at = 0;
        // Summed image by image; then joint convolutions; then what waits for the batch; then what batch norms gather.
        for stage in 0..5 {
            for node in &mut plan.nodes {
                match (&mut node.op, stage) {
                    (Op::Conv(c), 0) if !c.late && !c.joint => {
                        (c.weights.at, at) = (at, at + c.weights.len())
                    }
                    (Op::GroupNorm { norm, .. }, 0) => (norm.at, at) = (at, at + 2 * norm.width),
                    (Op::Embedding { tables, .. }, 0) => {
                        for table in Arc::make_mut(tables) {
                            (table.at, at) = (at, at + table.len());
                        }
                    }
                    (Op::Conv(c), 1) if c.joint => (c.weights.at, at) = (at, at + c.weights.len()),
                    (Op::Conv(c), 2) if c.late => (c.weights.at, at) = (at, at + c.weights.len()),
                    (Op::BatchNorm { norm, .. }, 3) => (norm.at, at) = (at, at + 2 * norm.width),
                    (Op::BatchNorm { norm, running, .. }, 4) => (*running, at) = (at, at + 2 * norm.width),
                    _ => {}
                }
            }
            match stage {
                0 => plan.summed = at,
                1 => plan.joined = at,
                3 => plan.trained = at,
                _ => {}
            }
        }
        plan.weights = at;
        plan.freeze(frozen)?;
        Ok(plan)
    }
}

impl Plan {
    /// Finds the joint convolutions. A lane keeps its images only where batch norms make it.
    fn join(&mut self) {
        if !self.nodes.iter().any(|n| matches!(n.op, Op::BatchNorm { .. })) {
            return;
        }
        for node in &mut self.nodes {
            let shape = self.tensors[node.inputs[0]].shape;
            if let Op::Conv(c) = &mut node.op {
                let few = shape.height.div_ceil(4) * shape.width.div_ceil(4) <= 4;
                let many = c.inputs * c.weights.blocks * BLOCK >= JOINT;
                c.joint = c.route == Route::Winograd && !c.weights.bias && many && few;
            }
        }
    }

    fn freeze(&mut self, frozen: &[String]) -> Result<(), Error> {
        for name in frozen {
            let under =
                |n: &str| n == name || n.strip_prefix(name.as_str()).is_some_and(|r| r.starts_with('.'));
            let mut found = self.lines.iter().any(|l| under(&l.name) || under(&l.path));
            for node in self.nodes.iter_mut().filter(|n| under(&n.name) || under(&n.path)) {
                found = true;
                match &mut node.op {
                    Op::Conv(c) => self.frozen.push(c.weights.at..c.weights.bias().end),
                    Op::GroupNorm { norm, .. } => self.frozen.push(norm.at..norm.shift().end),
                    Op::Embedding { tables, .. } => {
                        self.frozen.extend(tables.iter().map(|t| t.at..t.at + t.len()));
                    }
                    Op::BatchNorm { norm, frozen, .. } => {
                        *frozen = true;
                        self.frozen.push(norm.at..norm.shift().end);
                    }
                    _ => {}
                }
            }
            if !found {
                let names: Vec<&str> = self.lines.iter().map(|l| l.name.as_str()).collect();
                return Err(Error::Shape(format!(
                    "no layer \"{name}\" to freeze, there are {}",
                    names.join(", ")
                )));
            }
        }
        self.frozen.sort_by_key(|r| r.start);
        self.frozen.dedup();
        Ok(())
    }
}

/// Zeros before and after `n` pixels, for an output of `ceil(n / stride)`.
fn same(n: usize, kernel: usize, stride: usize) -> (usize, usize) {
    let total = ((n.div_ceil(stride) - 1) * stride + kernel).saturating_sub(n);
    (total / 2, total - total / 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Memory;
    use crate::presets::{NAMES, preset};

    fn plan(input: Shape, json: &str) -> Result<Plan, Error> {
        Plan::new(&Network::from_json(input, json, 10)?)
    }

    #[test]
    fn infers_shapes_and_counts_parameters() {
        let json = r#"[{"type":"conv2d","filters":6,"kernel_size":5,"padding":"valid"},{"type":"relu"},
            {"type":"max_pool2d"},{"type":"conv2d","filters":20,"stride":2},{"type":"global_avg_pool"}]"#;
        let plan = plan(Shape::new(28, 28, 1), json).unwrap();
        let shapes: Vec<String> = plan.lines.iter().map(|l| l.shape.to_string()).collect();
        assert_eq!(shapes, ["24x24x6", "24x24x6", "12x12x6", "6x6x20", "1x1x20", "1x1x10"]);
        assert_eq!(plan.parameters(), 156 + 54 * 20 + 20 + 210);
    }

    #[test]
    fn presets_fit_inputs_of_any_size() {
        let inputs =
            [Shape::new(28, 28, 1), Shape::new(32, 32, 3), Shape::new(96, 80, 3), Shape::new(8, 8, 1)];
        for input in inputs.into_iter().chain([Shape::flat(3)]) {
            for name in NAMES {
                let network = preset(name, input, 0.2, 10).unwrap();
                assert_eq!(Plan::new(&network).unwrap().outputs(), 10, "{name} {input}");
            }
        }
        assert_eq!(preset("vgg", Shape::flat(3), 0.2, 10), None);
        // torchvision's resnet18 for ten classes.
        let resnet = Plan::new(&preset("resnet18", Shape::new(224, 224, 3), 0.0, 10).unwrap()).unwrap();
        assert_eq!(resnet.parameters(), 11_181_642);
        assert_eq!(resnet.lines[resnet.lines.len() - 3].shape, Shape::new(7, 7, 512));
        let mobile = Plan::new(&preset("mobilenet", Shape::new(224, 224, 3), 0.0, 1000).unwrap()).unwrap();
        assert_eq!(mobile.parameters(), 4_231_976);
        assert_eq!(mobile.lines[mobile.lines.len() - 3].shape, Shape::new(7, 7, 1024));
    }

    #[test]
    fn names_the_layer_that_does_not_fit() {
        let refuse = |input, json| plan(input, json).unwrap_err().to_string();
        let image = Shape::new(8, 8, 1);
        assert_eq!(
            refuse(image, r#"[{"type":"relu"},{"type":"dense","units":3},{"type":"flatten"}]"#),
            "layer 1 (dense) needs a row of numbers, found 8x8x1; put a flatten before it"
        );
        assert!(
            refuse(image, r#"[{"type":"max_pool2d","kernel_size":9}]"#).starts_with("layer 0 (max_pool2d)")
        );
        assert!(
            refuse(image, r#"[{"type":"flatten"},{"type":"conv2d","filters":3}]"#).contains("needs an image")
        );
        assert!(refuse(image, r#"[{"type":"dropout","rate":1.0}]"#).contains("0 <= rate < 1"));
        let huge = format!(r#"[{{"type":"flatten"}},{{"type":"dense","units":{}}}]"#, u64::MAX);
        assert!(refuse(image, &huge).contains("weights"));
        assert!(refuse(image, r#"[{"type":"conv2d","filters":0}]"#).contains("at least 1"));
        let wide = r#"[{"type":"conv2d","filters":3},{"type":"conv2d","filters":4,"groups":3}]"#;
        assert!(refuse(image, wide).starts_with("layer 1 (conv2d) has 3 groups"));
        let padding = r#"[{"type":"conv2d","filters":3,"padding":3}]"#;
        assert!(refuse(image, padding).contains("as wide as its kernel"));
        let sum = r#"[{"type":"residual","layers":[{"type":"conv2d","filters":3}]}]"#;
        assert_eq!(
            refuse(image, sum),
            "layer 0 (residual) adds 8x8x3 to 8x8x1; give it a shortcut that makes them alike"
        );
        let joined = r#"[{"type":"concat","branches":[[],[{"type":"max_pool2d"}]]}]"#;
        assert!(refuse(image, joined).contains("joins 8x8x1 and 4x4x1"));
        let inner = r#"[{"type":"residual","layers":[{"type":"group_norm","groups":2}]}]"#;
        assert!(refuse(image, inner).starts_with("layer 0.layers.0 (group_norm)"));
        let twice = r#"[{"type":"relu","name":"a"},{"type":"relu","name":"a"}]"#;
        assert!(refuse(image, twice).contains("layer a (relu) has the name of another layer"));
        assert!(refuse(image, r#"[{"type":"conv1d","filters":2}]"#).contains("needs a series"));
        assert!(plan(Shape::new(0, 8, 1), "[]").is_err());
        assert!(plan(Shape::new(usize::MAX, 8, 1), "[]").is_err());
    }

    #[test]
    fn freezes_layers_by_name_and_all_inside() {
        let network = preset("resnet18", Shape::new(32, 32, 3), 0.0, 10).unwrap();
        let freeze = |names: &[&str]| {
            Plan::with_frozen(&network, &names.iter().map(|n| n.to_string()).collect::<Vec<_>>())
        };
        assert_eq!(freeze(&["conv1"]).unwrap().frozen.len(), 1);
        // Two blocks of two convolutions and two norms.
        assert_eq!(freeze(&["layer1"]).unwrap().frozen.len(), 8);
        // The same first block by its place.
        assert_eq!(freeze(&["3"]).unwrap().frozen.len(), 4);
        assert!(freeze(&["layer"]).unwrap_err().to_string().contains("no layer \"layer\" to freeze"));
    }

    #[test]
    fn memory_is_shared_by_what_is_not_needed_at_once() {
        let plan = Plan::new(&preset("resnet18", Shape::new(32, 32, 3), 0.0, 10).unwrap()).unwrap();
        let (training, scoring) = (Memory::new(&plan, true), Memory::new(&plan, false));
        let grads: usize = plan.tensors.iter().map(|t| t.grad.size()).sum();
        assert_eq!(training.values.total(), plan.values());
        assert!(training.grads.total() * 4 < grads, "{} of {grads}", training.grads.total());
        assert!(scoring.image() * 7 < plan.values(), "{} of {}", scoring.image(), plan.values());
    }
}
