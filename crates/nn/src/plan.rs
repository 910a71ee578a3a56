//! A network made ready to run: shapes inferred, relu fused into the layer before it, and the place of every
//! value decided. Built once from a [`Network`]; training and scoring walk its operations in order.
//!
//! Invariants: tensor `i` is the input of operation `i` and tensor `i + 1` its output. From the first layer with
//! weights on, channels are padded to whole blocks of 16; weights of padded channels are zero, and stay zero,
//! so their values and gradients do too. A tensor that a convolution reads has a halo of zeros as wide as that
//! convolution's padding, written by nobody. Layers with convolution weights come before all dense ones.

use crate::Error;
use crate::kernels::BLOCK;
use crate::network::{Layer, Network, Padding, Shape};
use std::ops::Range;

/// No network may have more weights than this.
pub const MAX_WEIGHTS: usize = 1 << 28;
/// No image may need more values than this, in all feature maps with their halos.
const MAX_VALUES: usize = 1 << 26;
const MAX_LAYERS: usize = 512;

/// Rows of pixels in memory, with a halo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    /// Rows of pixels without the halo.
    pub height: usize,
    /// Pixels a row without the halo.
    pub width: usize,
    /// Values a pixel, with padded channels.
    pub channels: usize,
    /// Rows of halo above.
    pub top: usize,
    /// Pixels of halo on the left.
    pub left: usize,
    /// Rows in all.
    pub rows: usize,
    /// Pixels a row in all.
    pub columns: usize,
}

impl Grid {
    fn new(shape: Shape, channels: usize) -> Grid {
        let Shape { height, width, .. } = shape;
        Grid { height, width, channels, top: 0, left: 0, rows: height, columns: width }
    }

    /// Values in memory.
    pub fn size(&self) -> usize {
        self.rows * self.columns * self.channels
    }

    /// Values between rows.
    pub fn stride(&self) -> usize {
        self.columns * self.channels
    }

    /// Where the pixels of row `r` lie, without the halo.
    pub fn row(&self, r: usize) -> Range<usize> {
        let from = (r + self.top) * self.stride() + self.left * self.channels;
        from..from + self.width * self.channels
    }
}

/// What one operation gives to the next.
#[derive(Debug, Clone, Copy)]
pub struct Tensor {
    /// Its true shape.
    pub shape: Shape,
    /// Where its values lie.
    pub value: Grid,
    /// Where its gradient lies.
    pub grad: Grid,
    /// Whether it came out of a relu, so that its gradient is zero where it is not positive.
    pub relu: bool,
    /// For a row of numbers that was an image: that image's shape.
    pub was: Option<Shape>,
}

/// A convolution's or dense layer's place among the weights.
#[derive(Debug, Clone, Copy)]
pub struct Weights {
    /// Where they start; `[blocks][k][16]`, then the biases.
    pub at: usize,
    /// Values of a kernel, padded channels included.
    pub k: usize,
    /// Blocks of output channels.
    pub blocks: usize,
    /// Weights that reach an output, for the spread of the first ones.
    pub fan_in: usize,
    /// The layer's number, for names.
    pub layer: usize,
    /// Whether a gradient must go on to the layers before.
    pub grad_input: bool,
}

impl Weights {
    /// Where the weights lie.
    pub fn weights(&self) -> Range<usize> {
        self.at..self.at + self.k * self.blocks * BLOCK
    }

    /// Where the biases lie.
    pub fn bias(&self) -> Range<usize> {
        let end = self.weights().end;
        end..end + self.blocks * BLOCK
    }
}

/// One operation.
#[derive(Debug, Clone, Copy)]
pub enum Op {
    /// Convolution, bias, and relu where the output says so.
    Conv {
        /// Pixels of the square kernel, down and across.
        kernel: usize,
        /// Pixels between neighbouring outputs.
        stride: usize,
        /// Rows of zeros above the image.
        top: usize,
        /// Pixels of zeros on its left.
        left: usize,
        /// Its weights.
        weights: Weights,
    },
    /// Matrix product, bias, and relu where the output says so.
    Dense {
        /// Its weights.
        weights: Weights,
    },
    /// Maximum of windows.
    MaxPool {
        /// Pixels of the square window.
        kernel: usize,
        /// Pixels between windows.
        stride: usize,
    },
    /// Mean of windows; the global mean is one window.
    AvgPool {
        /// Pixels down of the window.
        height: usize,
        /// Pixels across.
        width: usize,
        /// Pixels between windows.
        stride: usize,
    },
    /// An image as a row.
    Flatten,
    /// A relu that follows none of the above with weights.
    Relu,
    /// Random zeros while training.
    Dropout {
        /// The share that is zeroed.
        rate: f32,
        /// The layer's number, which names its random stream.
        layer: usize,
    },
}

/// A line of the network's description.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// The layer's kind and settings.
    pub layer: Layer,
    /// What comes out.
    pub shape: Shape,
    /// Its weights and biases, without padding.
    pub parameters: usize,
}

/// A network made ready to run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Where it came from.
    pub network: Network,
    /// The operations.
    pub ops: Vec<Op>,
    /// Their inputs and outputs: one more than operations.
    pub tensors: Vec<Tensor>,
    /// The description, layer by layer.
    pub lines: Vec<Line>,
    /// Length of the weights, with padding.
    pub weights: usize,
    /// Length of those of convolutions, which come first.
    pub conv_weights: usize,
}

fn bad(i: usize, layer: &Layer, what: impl std::fmt::Display) -> Error {
    Error::Shape(format!("layer {i} ({}) {what}", layer.kind()))
}

impl Plan {
    /// Infers all shapes.
    ///
    /// # Errors
    /// `Error::Shape`, naming the first layer that does not fit what it gets, by number and kind.
    pub fn new(network: &Network) -> Result<Plan, Error> {
        let input = network.input;
        if input.checked_len().is_none_or(|n| n == 0 || n > MAX_VALUES) {
            return Err(Error::Shape(format!("an input of {input} is empty or too large")));
        }
        if network.layers.len() > MAX_LAYERS {
            return Err(Error::Shape(format!("{} layers, at most {MAX_LAYERS}", network.layers.len())));
        }
        let grid = Grid::new(input, input.channels);
        let first = Tensor { shape: input, value: grid, grad: grid, relu: false, was: None };
        let mut plan = Plan {
            network: network.clone(),
            ops: vec![],
            tensors: vec![first],
            lines: vec![],
            weights: 0,
            conv_weights: 0,
        };
        for (i, layer) in network.layers.iter().enumerate() {
            plan.add(i, layer)?;
        }
        Ok(plan)
    }

    fn last(&self) -> &Tensor {
        &self.tensors[self.tensors.len() - 1]
    }

    /// The shape of the outputs.
    pub fn outputs(&self) -> usize {
        self.last().shape.len()
    }

    fn add(&mut self, i: usize, layer: &Layer) -> Result<(), Error> {
        let from = *self.last();
        let input = from.shape;
        let flat = (input.height, input.width) == (1, 1);
        let mut parameters = 0;
        match *layer {
            Layer::Conv2d { filters, kernel_size, stride, padding } => {
                if self.ops.iter().any(|op| matches!(op, Op::Dense { .. } | Op::Flatten)) {
                    return Err(bad(i, layer, format!("needs an image, found a row of {}", input.channels)));
                }
                if filters == 0 || !(1..256).contains(&kernel_size) || stride == 0 {
                    let what = "needs filters and stride of at least 1, and a kernel_size of 1 to 255";
                    return Err(bad(i, layer, what));
                }
                let (down, across) = match padding {
                    Padding::Valid => ((0, 0), (0, 0)),
                    Padding::Same => {
                        (same(input.height, kernel_size, stride), same(input.width, kernel_size, stride))
                    }
                };
                let (h, w) = (input.height + down.0 + down.1, input.width + across.0 + across.1);
                if kernel_size > h.min(w) {
                    let what = format!("has a kernel_size of {kernel_size}, too large for its input {input}");
                    return Err(bad(i, layer, what));
                }
                let shape =
                    Shape::new((h - kernel_size) / stride + 1, (w - kernel_size) / stride + 1, filters);
                let k = kernel_size * kernel_size;
                let weights = self.weights_of(i, layer, k * from.value.channels, filters)?;
                let weights = Weights { fan_in: k * input.channels, ..weights };
                self.conv_weights = self.weights;
                parameters = k * input.channels * filters + filters;
                let last = self.tensors.len() - 1;
                let value = &mut self.tensors[last].value;
                (value.top, value.left, value.rows, value.columns) = (down.0, across.0, h, w);
                self.output(i, layer, shape, None)?;
                if weights.grad_input && stride == 1 {
                    // The gradient of the input is a convolution of this gradient with the kernel turned round.
                    let last = self.tensors.len() - 1;
                    let grad = &mut self.tensors[last].grad;
                    (grad.top, grad.left) = (kernel_size - 1 - down.0, kernel_size - 1 - across.0);
                    (grad.rows, grad.columns) =
                        (input.height + kernel_size - 1, input.width + kernel_size - 1);
                }
                let (top, left) = (down.0, across.0);
                self.ops.push(Op::Conv { kernel: kernel_size, stride, top, left, weights });
            }
            Layer::Dense { units } => {
                if !flat {
                    let what = format!("needs a row of numbers, found {input}; put a flatten before it");
                    return Err(bad(i, layer, what));
                }
                if units == 0 {
                    return Err(bad(i, layer, "needs at least 1 unit"));
                }
                let weights = self.weights_of(i, layer, from.value.channels, units)?;
                let weights = Weights { fan_in: input.channels, ..weights };
                parameters = (input.channels + 1) * units;
                self.output(i, layer, Shape::flat(units), None)?;
                self.ops.push(Op::Dense { weights });
            }
            Layer::MaxPool2d { kernel_size, stride } | Layer::AvgPool2d { kernel_size, stride } => {
                let stride = stride.unwrap_or(kernel_size);
                if kernel_size == 0 || stride == 0 {
                    return Err(bad(i, layer, "needs a kernel_size and stride of at least 1"));
                }
                if kernel_size > input.height.min(input.width) {
                    let what = format!("has a kernel_size of {kernel_size}, too large for its input {input}");
                    return Err(bad(i, layer, what));
                }
                let out = |n: usize| (n - kernel_size) / stride + 1;
                let shape = Shape::new(out(input.height), out(input.width), input.channels);
                self.output(i, layer, shape, from.was)?;
                self.ops.push(match layer {
                    Layer::MaxPool2d { .. } => Op::MaxPool { kernel: kernel_size, stride },
                    _ => Op::AvgPool { height: kernel_size, width: kernel_size, stride },
                });
            }
            Layer::GlobalAvgPool {} => {
                self.output(i, layer, Shape::flat(input.channels), from.was)?;
                self.ops.push(Op::AvgPool { height: input.height, width: input.width, stride: 1 });
            }
            Layer::Flatten {} => {
                self.output(i, layer, Shape::flat(input.len()), Some(from.was.unwrap_or(input)))?;
                self.ops.push(Op::Flatten);
            }
            Layer::Relu {} => {
                let last = self.tensors.len() - 1;
                if matches!(self.ops.last(), Some(Op::Conv { .. } | Op::Dense { .. })) {
                    self.tensors[last].relu = true;
                } else {
                    self.output(i, layer, input, from.was)?;
                    self.ops.push(Op::Relu);
                }
            }
            Layer::Dropout { rate } => {
                if !(0.0..1.0).contains(&rate) {
                    return Err(bad(i, layer, format!("has a rate of {rate}, expected 0 <= rate < 1")));
                }
                self.output(i, layer, input, from.was)?;
                self.ops.push(Op::Dropout { rate, layer: i });
            }
        }
        if self.values() > MAX_VALUES {
            return Err(bad(i, layer, format!("takes the network over {MAX_VALUES} values an image")));
        }
        self.lines.push(Line { layer: *layer, shape: self.last().shape, parameters });
        Ok(())
    }

    /// Takes place for `k` weights to each of `units` outputs, and a bias each.
    fn weights_of(&mut self, i: usize, layer: &Layer, k: usize, units: usize) -> Result<Weights, Error> {
        let grad_input = self.weights > 0;
        let (at, blocks) = (self.weights, units.div_ceil(BLOCK));
        let more = k.checked_add(1).and_then(|k| k.checked_mul(blocks)).and_then(|n| n.checked_mul(BLOCK));
        match more.and_then(|n| n.checked_add(at)) {
            Some(total) if total <= MAX_WEIGHTS => self.weights = total,
            _ => return Err(bad(i, layer, format!("takes the network over {MAX_WEIGHTS} weights"))),
        }
        Ok(Weights { at, k, blocks, fan_in: k, layer: i, grad_input })
    }

    fn output(&mut self, i: usize, layer: &Layer, shape: Shape, was: Option<Shape>) -> Result<(), Error> {
        let from = self.last().value;
        let channels = match layer {
            Layer::Conv2d { .. } | Layer::Dense { .. } => shape.channels.div_ceil(BLOCK) * BLOCK,
            Layer::Flatten {} => from.height * from.width * from.channels,
            _ => from.channels,
        };
        let size = shape.height.checked_mul(shape.width).and_then(|n| n.checked_mul(channels));
        if size.is_none_or(|n| n > MAX_VALUES) {
            return Err(bad(i, layer, format!("gives {shape}, more than {MAX_VALUES} values")));
        }
        let grid = Grid::new(shape, channels);
        self.tensors.push(Tensor { shape, value: grid, grad: grid, relu: false, was });
        Ok(())
    }

    /// Values that one image needs in all tensors, for estimates of memory.
    pub fn values(&self) -> usize {
        self.tensors.iter().map(|t| t.value.size()).sum()
    }

    /// Weights and biases without padding.
    pub fn parameters(&self) -> usize {
        self.lines.iter().map(|l| l.parameters).sum()
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
        for input in [Shape::new(28, 28, 1), Shape::new(32, 32, 3), Shape::new(8, 8, 1), Shape::flat(3)] {
            for name in ["cnn_small", "lenet", "mlp"] {
                let network = Network::preset(name, input, 0.2, 10).unwrap();
                assert_eq!(Plan::new(&network).unwrap().outputs(), 10, "{name} {input}");
            }
        }
        assert_eq!(Network::preset("vgg", Shape::flat(3), 0.2, 10), None);
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
        assert!(plan(Shape::new(0, 8, 1), "[]").is_err());
        assert!(plan(Shape::new(usize::MAX, 8, 1), "[]").is_err());
    }
}
