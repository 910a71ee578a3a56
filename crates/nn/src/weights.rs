//! Weights: their first values, and their exchange as safetensors under the names and in the order of PyTorch's
//! `state_dict`, where a layer's name is that of its module: `3.weight` as (out, in / groups, row, column) for a
//! convolution, (out, in, place) for one of a series and (out, in) for a dense layer, where an image counts channel by
//! channel after a flatten; `3.bias`; `0.1.weight` as (categories, values) for table 1 of an embedding; `weight` and `bias` of norms, and `running_mean` and `running_var` of batch norms.

use crate::Error;
use crate::network::Kind;
use crate::plan::{Node, Op, Plan, Route};
use crate::random::Stream;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use std::collections::HashMap;

/// A tensor: its name, its shape in PyTorch, and where each of its values lies in ours.
struct Place {
    name: String,
    shape: Vec<usize>,
    at: Vec<usize>,
    first: First,
}

/// What the first values are.
enum First {
    /// Uniform with that limit, from the stream of that number.
    Uniform(f32, u64),
    Constant(f32),
}

/// All tensors, in the order of the layers.
fn places(plan: &Plan) -> Vec<Place> {
    let mut places = vec![];
    let series =
        |name: &str| plan.lines.iter().any(|l| l.name == name && matches!(l.layer.kind, Kind::Conv1d { .. }));
    for (i, node) in plan.nodes.iter().enumerate() {
        let input = &plan.tensors[node.inputs[0]];
        let mut add = |name: &str, shape: Vec<usize>, at: Vec<usize>, first: First| {
            places.push(Place { name: format!("{}.{name}", node.name), shape, at, first });
        };
        match &node.op {
            Op::Conv(c) => {
                let (w, taps) = (&c.weights, c.taps());
                let each = if c.route == Route::Depthwise { 1 } else { input.shape.channels / w.groups };
                let channels = if w.groups == 1 && c.route != Route::Depthwise {
                    input.places()
                } else {
                    (0..each as u32).collect()
                };
                let kernel = |j: usize| (j % taps) * c.inputs + channels[j / taps] as usize;
                let at = (0..w.outputs).flat_map(|o| (0..each * taps).map(move |j| (o, j)));
                let at = at.map(|(o, j)| w.place(o, kernel(j))).collect();
                let mut shape = vec![w.outputs, each];
                if series(&node.name) {
                    shape.push(taps);
                } else if !c.dense {
                    shape.extend(c.kernel);
                }
                // He et al. 2015 before a relu or the like; of Glorot's kind at the end. Before a norm only the step
                // counts that a rate makes of it: PyTorch's spread, so that its recipes carry over.
                let norm = |n: &Node| matches!(n.op, Op::BatchNorm { .. } | Op::GroupNorm { .. });
                let normed = plan.nodes[i..].iter().any(|n| n.inputs.contains(&(i + 1)) && norm(n));
                let gain = if normed || i + 1 == plan.nodes.len() { 1.0 } else { 6.0 };
                let limit = (gain / w.fan_in as f32).sqrt();
                add("weight", shape, at, First::Uniform(limit, i as u64));
                if w.bias {
                    let at = w.bias().take(w.outputs).collect();
                    add("bias", vec![w.outputs], at, First::Constant(0.0));
                }
            }
            Op::BatchNorm { norm, running, .. } => {
                let at = |first: usize| input.places().iter().map(|p| first + *p as usize).collect();
                let shape = || vec![input.shape.channels];
                add("weight", shape(), at(norm.at), First::Constant(1.0));
                add("bias", shape(), at(norm.at + norm.width), First::Constant(0.0));
                add("running_mean", shape(), at(*running), First::Constant(0.0));
                add("running_var", shape(), at(running + norm.width), First::Constant(1.0));
            }
            Op::GroupNorm { norm, .. } => {
                let at = |first: usize| input.places().iter().map(|p| first + *p as usize).collect();
                let shape = || vec![input.shape.channels];
                add("weight", shape(), at(norm.at), First::Constant(1.0));
                add("bias", shape(), at(norm.at + norm.width), First::Constant(0.0));
            }
            Op::Embedding { tables, .. } => {
                for (j, table) in tables.iter().enumerate() {
                    let len = table.categories * table.dim;
                    // Small beside numbers that were scaled: a category says nothing until it has learnt something.
                    let first = First::Uniform(0.05, (i as u64) << 32 | j as u64);
                    add(
                        &format!("{j}.weight"),
                        vec![table.categories, table.dim],
                        (table.at..table.at + len).collect(),
                        first,
                    );
                }
            }
            _ => {}
        }
    }
    places
}

/// First weights: uniform with the spread of He et al. 2015 before a relu, of Glorot's kind at the end and before a norm;
/// biases 0, norms that change nothing.
pub fn first(plan: &Plan, seed: u64) -> Vec<f32> {
    let mut values = vec![0.0f32; plan.weights];
    for place in places(plan) {
        match place.first {
            First::Constant(x) => place.at.iter().for_each(|at| values[*at] = x),
            First::Uniform(limit, stream) => {
                let mut stream = Stream::new(seed, [u64::MAX, stream, 0]);
                place.at.iter().for_each(|at| values[*at] = limit * stream.symmetric());
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
    let tensors: Vec<(String, Vec<usize>, Vec<u8>)> = places(plan)
        .into_iter()
        .map(|p| (p.name, p.shape, p.at.iter().flat_map(|at| values[*at].to_le_bytes()).collect()))
        .collect();
    let failed =
        |e: safetensors::SafeTensorError| Error::Corrupt(format!("the weights cannot be stored: {e}"));
    let views = tensors.iter().map(|(name, shape, bytes)| {
        TensorView::new(Dtype::F32, shape.clone(), bytes).map(|view| (name.clone(), view))
    });
    let views = views.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    safetensors::serialize(views, None).map_err(failed)
}

/// Weights from safetensors; bytes from outside are not trusted. What PyTorch counts beside them
/// (`num_batches_tracked`) is passed over.
///
/// # Errors
/// `Error::Corrupt` for anything but exactly this network's tensors, by name, type and shape, all finite.
pub fn load(plan: &Plan, bytes: &[u8]) -> Result<Vec<f32>, Error> {
    let file = open(bytes)?;
    let mut values = vec![0.0f32; plan.weights];
    let places = places(plan);
    for place in &places {
        take(&file, place, &mut values)?;
    }
    let known: HashMap<&str, ()> = places.iter().map(|p| (p.name.as_str(), ())).collect();
    let stranger =
        file.names().into_iter().find(|n| !known.contains_key(n) && !n.ends_with(".num_batches_tracked"));
    if let Some(name) = stranger {
        return Err(Error::Corrupt(format!("tensor \"{name}\" belongs to no layer")));
    }
    Ok(values)
}

/// Puts into `values` what safetensors hold of this network: for a training that starts from another's weights. A
/// tensor of another shape, such as that of other outputs, is left as it is. Gives the names of those that were
/// taken, and of those that were left.
///
/// # Errors
/// `Error::Corrupt` for bytes that are no safetensors of finite numbers; `Error::Data` where nothing fits.
pub fn transfer(plan: &Plan, bytes: &[u8], values: &mut [f32]) -> Result<(Vec<String>, Vec<String>), Error> {
    let file = open(bytes)?;
    let (mut taken, mut left) = (vec![], vec![]);
    for place in places(plan) {
        let fits = file.tensor(&place.name).is_ok_and(|t| t.shape() == place.shape);
        if fits {
            take(&file, &place, values)?;
            taken.push(place.name);
        } else {
            left.push(place.name);
        }
    }
    if taken.is_empty() {
        return Err(Error::Data(
            "no tensor of the weights to start from fits a layer by name and shape".into(),
        ));
    }
    Ok((taken, left))
}

fn open(bytes: &[u8]) -> Result<SafeTensors<'_>, Error> {
    SafeTensors::deserialize(bytes)
        .map_err(|e| Error::Corrupt(format!("the weights are no safetensors: {e}")))
}

fn take(file: &SafeTensors, place: &Place, values: &mut [f32]) -> Result<(), Error> {
    let tensor = read(file, &place.name, &place.shape)?;
    if place.name.ends_with(".running_var") && tensor.iter().any(|x| *x < 0.0) {
        return Err(Error::Corrupt(format!("tensor \"{}\" holds variances below zero", place.name)));
    }
    for (at, x) in place.at.iter().zip(tensor) {
        values[*at] = x;
    }
    Ok(())
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
    use crate::network::Shape;
    use crate::presets::preset;

    fn plan() -> Plan {
        let network = preset("lenet", Shape::new(9, 8, 3), 0.1, 4).unwrap();
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
        let other = Plan::new(&preset("lenet", Shape::new(9, 8, 3), 0.1, 5).unwrap()).unwrap();
        assert!(matches!(load(&other, &bytes), Err(Error::Corrupt(_))));
        let mut start = first(&other, 9);
        let (taken, left) = transfer(&other, &bytes, &mut start).unwrap();
        assert_eq!(left, ["13.weight", "13.bias"]);
        assert_eq!(taken.len(), 8);
        let strange = Plan::new(&preset("autoencoder", Shape::flat(3), 0.0, 3).unwrap()).unwrap();
        assert!(matches!(transfer(&strange, &bytes, &mut first(&strange, 1)), Err(Error::Data(_))));
    }
}
