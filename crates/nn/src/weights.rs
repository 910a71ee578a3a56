//! Weights: their first values, and their exchange as safetensors under the names and in the order of PyTorch's
//! `state_dict` of the same `nn.Sequential`: `0.weight` as (out, in, row, column) for a convolution and (out, in)
//! for a dense layer, where an image counts channel by channel after a flatten; `0.bias`.

use crate::Error;
use crate::kernels::BLOCK;
use crate::plan::{Op, Plan, Weights};
use crate::random::Stream;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

/// A layer's weights, with the shape of its input where that was an image.
struct Place {
    weights: Weights,
    /// The shape in PyTorch.
    shape: Vec<usize>,
    /// Where (output, position in PyTorch's order) lies within a block row: `k`.
    kernel: Vec<usize>,
}

/// All layers with weights. `kernel[j]` is our `k` of PyTorch's `j`-th value of an output.
fn places(plan: &Plan) -> impl Iterator<Item = Place> + '_ {
    plan.ops.iter().enumerate().filter_map(|(i, op)| {
        let (input, outputs) = (&plan.tensors[i], plan.tensors[i + 1].shape.channels);
        let channels = input.shape.channels;
        match *op {
            Op::Conv { kernel, weights, .. } => {
                let taps = kernel * kernel;
                let order = (0..channels * taps).map(|j| (j % taps) * input.value.channels + j / taps);
                let shape = vec![outputs, channels, kernel, kernel];
                Some(Place { weights, shape, kernel: order.collect() })
            }
            Op::Dense { weights } => {
                let order = match input.was {
                    Some(image) => {
                        let pixels = image.height * image.width;
                        let padded = weights.k / pixels;
                        (0..channels).map(|j| (j % pixels) * padded + j / pixels).collect()
                    }
                    None => (0..channels).collect(),
                };
                Some(Place { weights, shape: vec![outputs, channels], kernel: order })
            }
            _ => None,
        }
    })
}

/// Where output `o`'s weight `k` lies.
fn at(w: &Weights, o: usize, k: usize) -> usize {
    w.at + (o / BLOCK * w.k + k) * BLOCK + o % BLOCK
}

/// First weights: uniform with the spread of He et al. 2015 before a relu, of Glorot's kind at the end; biases 0.
pub fn first(plan: &Plan, seed: u64) -> Vec<f32> {
    let mut values = vec![0.0f32; plan.weights];
    let last = plan.tensors.len() - 1;
    for place in places(plan) {
        let w = place.weights;
        let output = plan.ops.iter().position(
            |op| matches!(op, Op::Conv { weights, .. } | Op::Dense { weights } if weights.layer == w.layer),
        );
        let gain = if output == Some(last - 1) { 1.0 } else { 6.0 };
        let limit = (gain / w.fan_in as f32).sqrt();
        let mut stream = Stream::new(seed, [u64::MAX, w.layer as u64, 0]);
        for o in 0..place.shape[0] {
            for k in &place.kernel {
                values[at(&w, o, *k)] = limit * stream.symmetric();
            }
        }
    }
    values
}

/// Weights as safetensors.
///
/// # Errors
/// `Error::Corrupt` when `values` are not those of this network.
pub fn save(plan: &Plan, values: &[f32]) -> Result<Vec<u8>, Error> {
    if values.len() != plan.weights {
        return Err(Error::Corrupt(format!("{} weights, expected {}", values.len(), plan.weights)));
    }
    let mut tensors: Vec<(String, Vec<usize>, Vec<u8>)> = vec![];
    for place in places(plan) {
        let (w, outputs) = (place.weights, place.shape[0]);
        let weight = (0..outputs).flat_map(|o| place.kernel.iter().map(move |k| at(&w, o, *k)));
        let bytes = weight.flat_map(|at| values[at].to_le_bytes()).collect();
        tensors.push((format!("{}.weight", w.layer), place.shape, bytes));
        let bytes = values[w.bias()][..outputs].iter().flat_map(|x| x.to_le_bytes()).collect();
        tensors.push((format!("{}.bias", w.layer), vec![outputs], bytes));
    }
    let failed =
        |e: safetensors::SafeTensorError| Error::Corrupt(format!("the weights cannot be stored: {e}"));
    let views = tensors.iter().map(|(name, shape, bytes)| {
        TensorView::new(Dtype::F32, shape.clone(), bytes).map(|view| (name.clone(), view))
    });
    let views = views.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    safetensors::serialize(views, None).map_err(failed)
}

/// Weights from safetensors; bytes from outside are not trusted.
///
/// # Errors
/// `Error::Corrupt` for anything but exactly this network's tensors, by name, type and shape, all finite.
pub fn load(plan: &Plan, bytes: &[u8]) -> Result<Vec<f32>, Error> {
    let file = SafeTensors::deserialize(bytes)
        .map_err(|e| Error::Corrupt(format!("the weights are no safetensors: {e}")))?;
    let mut values = vec![0.0f32; plan.weights];
    let mut found = 0;
    for place in places(plan) {
        let (w, outputs) = (place.weights, place.shape[0]);
        let weight = read(&file, &format!("{}.weight", w.layer), &place.shape)?;
        for (o, weight) in weight.chunks_exact(place.kernel.len()).enumerate() {
            for (k, x) in place.kernel.iter().zip(weight) {
                values[at(&w, o, *k)] = *x;
            }
        }
        let bias = read(&file, &format!("{}.bias", w.layer), &[outputs])?;
        values[w.bias()][..outputs].copy_from_slice(&bias);
        found += 2;
    }
    if file.len() != found {
        return Err(Error::Corrupt(format!("{} tensors stored, expected {found}", file.len())));
    }
    Ok(values)
}

fn read(file: &SafeTensors, name: &str, shape: &[usize]) -> Result<Vec<f32>, Error> {
    let tensor = file
        .tensor(name)
        .map_err(|e| Error::Corrupt(format!("the weights have no tensor \"{name}\": {e}")))?;
    if tensor.dtype() != Dtype::F32 || tensor.shape() != shape {
        return Err(Error::Corrupt(format!(
            "tensor \"{name}\" is {:?} of {:?}, expected F32 of {shape:?}",
            tensor.dtype(),
            tensor.shape()
        )));
    }
    let values: Vec<f32> =
        tensor.data().as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    if values.iter().any(|x| !x.is_finite()) {
        return Err(Error::Corrupt(format!("tensor \"{name}\" holds values that are not finite")));
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::{Network, Shape};

    fn plan() -> Plan {
        let network = Network::preset("lenet", Shape::new(9, 8, 3), 0.1, 4).unwrap();
        Plan::new(&network).unwrap()
    }

    #[test]
    fn weights_come_back_as_they_were() {
        let plan = plan();
        let values = first(&plan, 3);
        let bytes = save(&plan, &values).unwrap();
        assert_eq!(load(&plan, &bytes).unwrap(), values);
        assert_eq!(values.iter().filter(|x| **x != 0.0).count(), {
            let biases = 6 + 16 + 120 + 84 + 4;
            plan.parameters() - biases
        });
    }

    #[test]
    fn refuses_damaged_weights() {
        let plan = plan();
        let bytes = save(&plan, &first(&plan, 3)).unwrap();
        let refused = |bytes: &[u8]| matches!(load(&plan, bytes), Err(Error::Corrupt(_)));
        assert!(refused(&[]) && refused(&bytes[..bytes.len() - 1]) && refused(&[&bytes[..], &[0]].concat()));
        let mut infinite = bytes.clone();
        let end = infinite.len();
        infinite[end - 4..].copy_from_slice(&f32::INFINITY.to_le_bytes());
        assert!(refused(&infinite));
        // Every byte of the header, one flip each: refused, or the same tensors after all; never a panic.
        let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        for i in 0..header {
            let mut damaged = bytes.clone();
            damaged[i] ^= 1;
            let _ = load(&plan, &damaged);
        }
        let other = Plan::new(&Network::preset("lenet", Shape::new(9, 8, 3), 0.1, 5).unwrap()).unwrap();
        assert!(matches!(load(&other, &bytes), Err(Error::Corrupt(_))));
    }
}
