//! What is asked of a card: memory, copies, and launches of the kernels of `kernels.cu`. [`Driver`](super::driver)
//! asks a real one; the tests ask the CPU.

use crate::Error;
use crate::plan::Grid;
use std::rc::Rc;

/// A grid as kernels read it.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub struct Layout {
    height: i32,
    width: i32,
    channels: i32,
    top: i32,
    left: i32,
    rows: i32,
    columns: i32,
}

impl From<&Grid> for Layout {
    fn from(g: &Grid) -> Layout {
        let [height, width, channels] = [g.height, g.width, g.channels].map(|n| n as i32);
        let [top, left, rows, columns] = [g.top, g.left, g.rows, g.columns].map(|n| n as i32);
        Layout { height, width, channels, top, left, rows, columns }
    }
}

/// What a kernel is to do: its `Task`, field by field.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub struct Task {
    /// The input.
    pub x: Layout,
    /// The output.
    pub y: Layout,
    /// A second input; backward, the gradient of the input, whose values are `x`.
    pub z: Layout,
    /// Backward: the output's values, whose gradient is `y`.
    pub o: Layout,
    /// Images.
    pub images: i32,
    /// Pixels of a window.
    pub kernel: [i32; 2],
    /// Pixels between windows.
    pub stride: [i32; 2],
    /// Pixels between neighbours of a window.
    pub dilation: [i32; 2],
    /// Pixels before the image.
    pub before: [i32; 2],
    /// Channels of a group that are read.
    pub inputs: i32,
    /// Channels of a group that are written.
    pub outputs: i32,
    /// Blocks of 16 of them.
    pub blocks: i32,
    /// Groups.
    pub groups: i32,
    /// Values of a kernel.
    pub k: i32,
    /// Whether a relu follows.
    pub relu: i32,
    /// What the kernel makes of it.
    pub kind: i32,
    /// Channels that count.
    pub places: i32,
    /// The first of them in the output.
    pub part: i32,
    /// Whether a gradient is added to what is there.
    pub add: i32,
    /// A number: a slope, a rate, or what is added to a variance.
    pub a: f32,
    /// The numbers of an optimizer's rule.
    pub c: [f32; 6],
}

macro_rules! kernels {
    ($($(#[$doc:meta])* $kernel:ident $name:literal,)*) => {
        /// A kernel of `kernels.cu`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Kernel { $($(#[$doc])* $kernel,)* }

        impl Kernel {
            /// All of them.
            pub const ALL: &[Kernel] = &[$(Kernel::$kernel,)*];

            /// Its name in the source.
            pub fn name(self) -> &'static str {
                match self { $(Kernel::$kernel => $name,)* }
            }
        }
    };
}

kernels! {
    /// Inputs, normalised.
    Input "input",
    /// A convolution or dense layer.
    Conv "conv",
    /// A convolution channel by channel.
    Depthwise "depthwise",
    /// Maxima or means of windows.
    Pool "pool",
    /// An image as a row.
    Flatten "flatten",
    /// Values as they are.
    Copy "copy",
    /// A function of each value.
    Activation "activation",
    /// Softmax over channels.
    Softmax "softmax",
    /// A batch norm.
    Scale "scale",
    /// A layer or group norm.
    Norm "group_norm",
    /// A sum of two tensors.
    Add "add",
    /// Channels of a tensor among others.
    Concat "concat",
    /// Numbers, and rows of tables by codes.
    Embed "embed",
    /// Outputs without padding.
    Gather "gather",
    /// Inputs, varied and normalised.
    Images "images",
    /// Random zeros.
    Dropout "dropout",
    /// Gradient of dropout.
    DropoutGrad "dropout_grad",
    /// Gradients of the outputs, with padding.
    Scatter "scatter",
    /// Gradient of a convolution's input.
    ConvGrad "conv_grad",
    /// Gradient of a convolution's weights, in parts.
    ConvWeights "conv_weights",
    /// Gradient of a convolution channel by channel: its input's.
    DepthwiseGrad "depthwise_grad",
    /// Its weights', in parts.
    DepthwiseWeights "depthwise_weights",
    /// The sum of parts.
    Collect "collect",
    /// Sums a channel, in parts.
    ChannelSums "channel_sums",
    /// Gradients of biases, scales and shifts from such sums.
    Settle "settle",
    /// A batch's mean and variance.
    Measure "measure",
    /// A batch norm's share in the gradient.
    Differentiate "differentiate",
    /// Gradient of a batch norm's input.
    ScaleGrad "scale_grad",
    /// Gradient of a pool's input.
    PoolGrad "pool_grad",
    /// Gradient of what was flattened.
    FlattenGrad "flatten_grad",
    /// Gradients as they are.
    CopyGrad "copy_grad",
    /// Gradient of a function's argument.
    ActivationGrad "activation_grad",
    /// Gradient of softmax.
    SoftmaxGrad "softmax_grad",
    /// Means and spreads of a layer or group norm.
    NormMoments "norm_moments",
    /// Gradient of its input.
    NormGrad "group_norm_grad",
    /// Gradient of a tensor among others.
    ConcatGrad "concat_grad",
    /// Gradient of a table.
    EmbedWeights "embed_weights",
    /// Sums of squares.
    Squares "squares",
    /// What a gradient is shortened by.
    Clip "clip",
    /// Shortens a gradient.
    Shrink "shrink",
    /// A step of gradient descent.
    Sgd "sgd",
    /// A step of Adam.
    Adam "adam",
}

/// Blocks of a launch, and threads of a block.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Blocks across, down and deep.
    pub grid: [u32; 3],
    /// Threads of a block, likewise.
    pub block: [u32; 3],
}

impl Shape {
    /// A thread an item.
    pub fn items(n: usize) -> Shape {
        Shape { grid: [n.div_ceil(256) as u32, 1, 1], block: [256, 1, 1] }
    }

    /// A block of 256 threads an item.
    pub fn blocks(n: usize) -> Shape {
        Shape { grid: [n as u32, 1, 1], block: [256, 1, 1] }
    }
}

/// Addresses in a card's memory that a kernel gets: what it writes, and what it reads. 0 where it needs none.
pub type Pointers = [u64; 5];

/// A card. What it is asked is done in the order in which it is asked; `read` waits for all of it.
pub trait Card {
    /// What it is, in words.
    fn name(&self) -> String;
    /// Bytes that are free, and bytes that there are.
    fn memory(&self) -> Result<(u64, u64), Error>;
    /// Takes memory; what it holds is nobody's. An address, which is never 0.
    ///
    /// # Errors
    /// `Error::Memory`.
    fn take(&self, bytes: usize) -> Result<u64, Error>;
    /// Gives memory back.
    fn give(&self, at: u64);
    /// Zeroes memory.
    fn zero(&self, at: u64, bytes: usize) -> Result<(), Error>;
    /// Copies to the card.
    fn write(&self, at: u64, from: &[u8]) -> Result<(), Error>;
    /// Copies from the card.
    fn read(&self, at: u64, to: &mut [u8]) -> Result<(), Error>;
    /// Launches a kernel.
    ///
    /// # Safety
    /// The pointers lead to as much memory of this card as the kernel reads and writes for that task.
    unsafe fn launch(
        &self,
        kernel: Kernel,
        shape: Shape,
        task: &Task,
        pointers: Pointers,
    ) -> Result<(), Error>;
}

/// Memory of a card, given back when it is dropped.
pub struct Memory {
    card: Rc<dyn Card>,
    at: u64,
    bytes: usize,
}

impl Memory {
    /// So many zeroed bytes.
    ///
    /// # Errors
    /// `Error::Memory`.
    pub fn zeros(card: &Rc<dyn Card>, bytes: usize) -> Result<Memory, Error> {
        let memory = Memory { card: card.clone(), at: card.take(bytes.max(16))?, bytes };
        card.zero(memory.at, bytes)?;
        Ok(memory)
    }

    /// With these values in it.
    ///
    /// # Errors
    /// `Error::Memory`.
    pub fn of<T: Plain>(card: &Rc<dyn Card>, values: &[T]) -> Result<Memory, Error> {
        let bytes = T::bytes(values);
        let memory = Memory { card: card.clone(), at: card.take(bytes.len().max(16))?, bytes: bytes.len() };
        card.write(memory.at, bytes)?;
        Ok(memory)
    }

    /// Its address.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// Writes values at its beginning, as many as fit.
    ///
    /// # Errors
    /// `Error::Device`.
    pub fn put<T: Plain>(&self, values: &[T]) -> Result<(), Error> {
        let bytes = T::bytes(values);
        self.card.write(self.at, &bytes[..bytes.len().min(self.bytes)])
    }

    /// Reads values from its beginning, as many as there are.
    ///
    /// # Errors
    /// `Error::Device`.
    pub fn get<T: Plain>(&self, values: &mut [T]) -> Result<(), Error> {
        let bytes = T::bytes_mut(values);
        let len = bytes.len().min(self.bytes);
        self.card.read(self.at, &mut bytes[..len])
    }

    /// Its bytes.
    pub fn len(&self) -> usize {
        self.bytes
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.card.give(self.at);
    }
}

/// Numbers that are their bytes.
pub trait Plain: Copy {
    /// The bytes.
    fn bytes(values: &[Self]) -> &[u8] {
        // SAFETY: those who implement it are numbers, which have no padding.
        unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) }
    }

    /// The bytes, to be written.
    fn bytes_mut(values: &mut [Self]) -> &mut [u8] {
        // SAFETY: as above, and any bytes are numbers.
        unsafe { std::slice::from_raw_parts_mut(values.as_mut_ptr().cast(), size_of_val(values)) }
    }
}

impl Plain for u8 {}
impl Plain for i32 {}
impl Plain for u64 {}
impl Plain for f32 {}
impl Plain for f64 {}
