//! A network made ready to run: one list of operations in order, shapes inferred, relu fused into the operation
//! before it, and the place of every value decided. Built once from a [`Network`]; training and scoring walk its
//! nodes in order, and backward.
//!
//! Invariants: node `i` writes tensor `i + 1`, and reads tensors before it; tensor 0 is the input. From the first
//! layer with weights on, channels are padded to whole blocks of 16; weights of padded channels are zero, and stay
//! zero, so their values and gradients do too. A tensor that a convolution reads has a halo of zeros as wide as
//! that convolution needs.

mod build;
mod fold;
mod memory;

use crate::kernels::activation::Activation;
use crate::kernels::{BLOCK, Window};
use crate::network::{Layer, Network, Shape};
pub use memory::Memory;
use std::ops::Range;
use std::sync::Arc;

/// No network may have more weights than this.
pub const MAX_WEIGHTS: usize = 1 << 28;
/// No image may need more values than this, in all feature maps with their halos.
const MAX_VALUES: usize = 1 << 26;
const MAX_LAYERS: usize = 1024;

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
    /// One without a halo.
    pub fn new(shape: Shape, channels: usize) -> Grid {
        let Shape { height, width, .. } = shape;
        Grid { height, width, channels, top: 0, left: 0, rows: height, columns: width }
    }

    /// Widens the halo to at least so many rows above and pixels on the left, and below and on the right.
    fn widen(&mut self, before: [usize; 2], after: [usize; 2]) {
        let below = (self.rows - self.top - self.height).max(after[0]);
        let right = (self.columns - self.left - self.width).max(after[1]);
        (self.top, self.left) = (self.top.max(before[0]), self.left.max(before[1]));
        (self.rows, self.columns) = (self.top + self.height + below, self.left + self.width + right);
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
        let from = self.at(r, 0, [0, 0]);
        from..from + self.width * self.channels
    }

    /// Where the pixel `before` pixels above and left of (`row`, `column`) begins.
    pub fn at(&self, row: usize, column: usize, before: [usize; 2]) -> usize {
        (row + self.top - before[0]) * self.stride() + (column + self.left - before[1]) * self.channels
    }

    /// Whether there is one.
    pub fn has_halo(&self) -> bool {
        (self.rows, self.columns) != (self.height, self.width)
    }

    /// Zeroes the halo.
    pub fn clear_halo(&self, values: &mut [f32]) {
        let mut from = 0;
        for r in 0..self.height {
            let row = self.row(r);
            values[from..row.start].fill(0.0);
            from = row.end;
        }
        values[from..self.size()].fill(0.0);
    }
}

/// What one operation gives to the next.
#[derive(Debug, Clone)]
pub struct Tensor {
    /// Its true shape.
    pub shape: Shape,
    /// Where its values lie.
    pub value: Grid,
    /// Where its gradient lies.
    pub grad: Grid,
    /// Whether it came out of a relu, so that its gradient is zero where it is not positive.
    pub relu: bool,
    /// Where each true channel lies among the padded ones, in PyTorch's order; in order from 0 where it is none. An
    /// image that was flattened is a row whose values PyTorch counts channel by channel.
    pub order: Option<Arc<Vec<u32>>>,
    /// Whether weights lie before it, so that a gradient must reach it.
    pub trained: bool,
    /// The nodes that read it.
    pub readers: Vec<usize>,
}

impl Tensor {
    /// Where each true channel lies among the padded ones.
    pub fn places(&self) -> Vec<u32> {
        match &self.order {
            Some(order) => order.to_vec(),
            None => (0..self.shape.channels as u32).collect(),
        }
    }
}

/// A convolution's or dense layer's place among the weights: `groups` times `[blocks][k][BLOCK]`, then the biases,
/// padded as the outputs are.
#[derive(Debug, Clone, Copy, Default)]
pub struct Weights {
    /// Where they start.
    pub at: usize,
    /// Values of a kernel, padded channels included.
    pub k: usize,
    /// Blocks of output channels of a group.
    pub blocks: usize,
    /// Groups of channels.
    pub groups: usize,
    /// Output channels of all groups.
    pub outputs: usize,
    /// Whether there is a bias; where there is none, its place holds zeros.
    pub bias: bool,
    /// Weights that reach an output, for the spread of the first ones.
    pub fan_in: usize,
}

impl Weights {
    /// Where the weights lie.
    pub fn weights(&self) -> Range<usize> {
        self.at..self.at + self.groups * self.group_len()
    }

    /// Weights of a group.
    pub fn group_len(&self) -> usize {
        self.k * self.blocks * BLOCK
    }

    /// Where the biases lie.
    pub fn bias(&self) -> Range<usize> {
        let end = self.weights().end;
        end..end + self.outputs.div_ceil(BLOCK) * BLOCK
    }

    /// Weights and biases with padding.
    pub fn len(&self) -> usize {
        self.bias().end - self.at
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where output `o`'s weight `k` lies.
    pub fn place(&self, o: usize, k: usize) -> usize {
        let each = self.outputs / self.groups;
        let (group, o) = (o / each, o % each);
        self.at + group * self.group_len() + (o / BLOCK * self.k + k) * BLOCK + o % BLOCK
    }
}

/// How a convolution is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// Winograd's, for 3x3 kernels without stride or dilation.
    Winograd,
    /// Pixel by pixel, group by group; a dense layer is one of a single pixel.
    Direct,
    /// Channel by channel.
    Depthwise,
}

/// A convolution with bias, and relu where the output says so.
#[derive(Debug, Clone, Copy)]
pub struct Conv {
    /// Pixels of the kernel.
    pub kernel: [usize; 2],
    /// Pixels between neighbouring outputs.
    pub stride: [usize; 2],
    /// Pixels between neighbours of the kernel.
    pub dilation: [usize; 2],
    /// Rows of zeros above the image, and pixels on its left.
    pub before: [usize; 2],
    /// Channels of a group's input, with padding where there is one group.
    pub inputs: usize,
    /// How it is computed.
    pub route: Route,
    /// Whether its weights' gradient waits for the whole batch: where there is one pixel a row to sum over.
    pub late: bool,
    /// Whether training takes all images of a batch through it together: it has many weights and few pixels.
    pub joint: bool,
    /// Whether the largest of each two by two outputs is what it gives, in scoring.
    pub pools: bool,
    /// Whether the user calls it dense.
    pub dense: bool,
    /// Its weights.
    pub weights: Weights,
}

impl Conv {
    /// Pixels that the kernel spans, less one.
    pub fn reach(&self) -> [usize; 2] {
        [0, 1].map(|d| self.dilation[d] * (self.kernel[d] - 1))
    }

    /// Pixels of the kernel.
    pub fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// Channels of a group's output as its gradient holds them: with padding where there is one group.
    pub fn group_outputs(&self) -> usize {
        let w = &self.weights;
        if w.groups == 1 { w.blocks * BLOCK } else { w.outputs / w.groups }
    }

    /// A row's window over pixels that lie as in `grid`, `stride` pixels from output to output, `run` values a tap.
    pub fn window(&self, grid: &Grid, pixels: usize, stride: usize, run: usize) -> Window {
        let gap = self.dilation[1] * grid.channels;
        let whole = run == grid.channels && self.dilation[1] == 1;
        Window {
            pixels,
            step: stride * grid.channels,
            rows: self.kernel[0],
            stride: self.dilation[0] * grid.stride(),
            columns: if whole { 1 } else { self.kernel[1] },
            gap,
            run: if whole { run * self.kernel[1] } else { run },
        }
    }
}

/// The place of a normalising layer's scale and shift among the weights, `width` values each.
#[derive(Debug, Clone, Copy)]
pub struct Norm {
    /// Where the scale starts; the shift follows it.
    pub at: usize,
    /// Values of each, padded.
    pub width: usize,
    /// Added to the variance.
    pub epsilon: f32,
}

impl Norm {
    /// Where the scale lies.
    pub fn scale(&self) -> Range<usize> {
        self.at..self.at + self.width
    }

    /// Where the shift lies.
    pub fn shift(&self) -> Range<usize> {
        self.at + self.width..self.at + 2 * self.width
    }
}

/// What a group or layer norm takes mean and variance over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// The channels of each pixel.
    Pixel,
    /// Each of so many groups of channels, over all pixels.
    Groups(usize),
}

/// A table of an embedding.
#[derive(Debug, Clone, Copy)]
pub struct Table {
    /// Where its codes lie in the input.
    pub feature: usize,
    /// Its rows.
    pub categories: usize,
    /// Values a row.
    pub dim: usize,
    /// Where it starts among the weights, row by row.
    pub at: usize,
}

impl Table {
    /// Weights with padding.
    pub fn len(&self) -> usize {
        (self.categories * self.dim).div_ceil(BLOCK) * BLOCK
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// One operation.
#[derive(Debug, Clone)]
pub enum Op {
    /// A convolution or dense layer.
    Conv(Conv),
    /// Maximum or mean of windows; the global ones have one window.
    Pool {
        /// Whether it is the maximum.
        max: bool,
        /// Pixels of the window.
        kernel: [usize; 2],
        /// Pixels between windows.
        stride: [usize; 2],
        /// Pixels around the image.
        before: [usize; 2],
    },
    /// An image as a row.
    Flatten,
    /// A function of each value.
    Activation(Activation),
    /// Softmax over the channels of each pixel.
    Softmax,
    /// Random zeros while training.
    Dropout {
        /// The share that is zeroed.
        rate: f32,
        /// The layer's number, which names its random stream.
        stream: usize,
    },
    /// Batch norm, and relu where the output says so.
    BatchNorm {
        /// Its scale and shift.
        norm: Norm,
        /// Where the mean starts that scoring uses; the variance follows it. Beyond the trained weights.
        running: usize,
        /// The share of a batch in them.
        momentum: f32,
        /// Whether training, too, uses the running ones and leaves them alone.
        frozen: bool,
    },
    /// Layer or group norm.
    GroupNorm {
        /// Its scale and shift.
        norm: Norm,
        /// What over.
        over: Over,
    },
    /// Rows of tables in the place of codes, after the numbers.
    Embedding {
        /// Where the numbers lie in the input.
        numbers: Arc<Vec<u32>>,
        /// The tables.
        tables: Arc<Vec<Table>>,
    },
    /// The sum of two tensors, and relu where the output says so.
    Add,
    /// The channels of several tensors, one after another, without the padding between them.
    Concat,
}

impl Op {
    /// Whether it has no weights.
    pub fn is_plain(&self) -> bool {
        !matches!(self, Op::Conv(_) | Op::BatchNorm { .. } | Op::GroupNorm { .. } | Op::Embedding { .. })
    }
}

/// An operation in its place.
#[derive(Debug, Clone)]
pub struct Node {
    /// What is done.
    pub op: Op,
    /// The tensors that it reads.
    pub inputs: Vec<usize>,
    /// The layer's name: that of its weights.
    pub name: String,
    /// Its place among the layers.
    pub path: String,
}

/// A line of the network's description.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// The layer's name, or its place.
    pub name: String,
    /// Its place among the layers.
    pub path: String,
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
    /// The operations, in order.
    pub nodes: Vec<Node>,
    /// Their input, and the output of each.
    pub tensors: Vec<Tensor>,
    /// The description, layer by layer, those inside of others after them.
    pub lines: Vec<Line>,
    /// Length of all weights with padding: trained ones, then the running means and variances of batch norms.
    pub weights: usize,
    /// Length of the trained ones.
    pub trained: usize,
    /// Length of those whose gradients are summed image by image; they come first.
    pub summed: usize,
    /// Length of these and of those of joint convolutions, which follow.
    pub joined: usize,
    /// Those that training leaves as they are, in order.
    pub frozen: Vec<Range<usize>>,
}

impl Plan {
    /// The outputs.
    pub fn output(&self) -> &Tensor {
        &self.tensors[self.tensors.len() - 1]
    }

    /// Number of outputs.
    pub fn outputs(&self) -> usize {
        self.output().shape.len()
    }

    /// Values that one image needs in all tensors.
    pub fn values(&self) -> usize {
        self.tensors.iter().map(|t| t.value.size()).sum()
    }

    /// Weights and biases without padding.
    pub fn parameters(&self) -> usize {
        self.lines.iter().map(|l| l.parameters).sum()
    }

    /// The batch norms that need a batch's mean and variance: training waits there for all images.
    pub fn meetings(&self) -> Vec<usize> {
        let live = |n: &Node| matches!(n.op, Op::BatchNorm { frozen: false, .. });
        self.nodes.iter().enumerate().filter(|(_, n)| live(n)).map(|(i, _)| i).collect()
    }

    /// Whether training leaves its weights as they are.
    pub fn is_frozen(&self, conv: &Conv) -> bool {
        self.frozen.iter().any(|f| f.contains(&conv.weights.at))
    }

    /// Where training waits for all images: at [`Self::meetings`] and before joint convolutions.
    pub fn stops(&self) -> Vec<usize> {
        let stops = |n: &Node| match &n.op {
            Op::BatchNorm { frozen, .. } => !frozen,
            Op::Conv(c) => c.joint,
            _ => false,
        };
        self.nodes.iter().enumerate().filter(|(_, n)| stops(n)).map(|(i, _)| i).collect()
    }

    /// Convolutions with their nodes.
    pub fn convolutions(&self) -> impl Iterator<Item = (usize, &Conv)> {
        let conv = |(i, node): (usize, _)| match node {
            &Node { op: Op::Conv(ref conv), .. } => Some((i, conv)),
            _ => None,
        };
        self.nodes.iter().enumerate().filter_map(conv)
    }
}
