//! What the measurements of a GPU share: networks by name, the card, images of 3x32x32 bytes.

use nn::cuda::Cuda;
use nn::data::{Inputs, Moments, Normal};
use nn::device::Device;
use nn::network::Shape;
use nn::plan::Plan;
use nn::{Error, presets};

/// The networks that the command line names, else these.
pub fn names() -> Vec<String> {
    let names: Vec<String> = std::env::args().skip(1).collect();
    if names.is_empty() { ["cnn_small", "resnet9"].map(String::from).to_vec() } else { names }
}

/// The card, whose name is printed; or why there is none.
pub fn card() -> Option<Cuda> {
    match Cuda::open() {
        Ok(cuda) => {
            println!("device {}", cuda.name());
            Some(cuda)
        }
        Err(e) => {
            println!("skipped: {e}");
            None
        }
    }
}

/// The shape of the images.
pub fn shape() -> Shape {
    Shape::new(32, 32, 3)
}

/// A stream of bytes that no network finds constant (Knuth's multiplicative hash), as so many images, and what normalises
/// them.
pub fn images(n: usize) -> (Vec<u8>, Normal) {
    let byte = |i: usize| ((i as u32).wrapping_mul(2_654_435_761) >> 24) as u8;
    let images: Vec<u8> = (0..n * shape().len()).map(byte).collect();
    let mut moments = Moments::default();
    moments.add(Inputs::Bytes(&images), shape().channels);
    let normal = Normal::new(&moments, shape().channels);
    (images, normal)
}

/// A network of that name, for ten classes.
///
/// # Errors
/// `Error::Shape` for a name that none has.
pub fn plan(name: &str, dropout: f32) -> Result<Plan, Error> {
    let network = presets::preset(name, shape(), dropout, 10);
    Plan::new(&network.ok_or_else(|| Error::Shape(format!("no network \"{name}\"")))?)
}
