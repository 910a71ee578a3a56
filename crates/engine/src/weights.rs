//! A network's weights for other tools, as safetensors under the names of PyTorch's `state_dict`, and back into a model.
//! Callers: `damson.export_weights` and `damson.import_weights`.

use crate::algorithms;
use crate::artifact::{self, Card};
use crate::error::{Error, Kind, Result};
use crate::learner::Model;
use crate::prepare::Prepared;
use crate::schema::Schema;

/// A model with what it was packed with.
struct Opened {
    card: Card,
    prepared: Prepared,
    schema: Schema,
    model: Box<dyn Model>,
}

fn open(bytes: &[u8]) -> Result<Opened> {
    let (card, prepared, payload) = artifact::unpack(bytes)?;
    if card.group_by > 0 {
        return Err(none("models by group have no weights to exchange"));
    }
    let algorithm = algorithms::find(&card.algorithm)?;
    if algorithm.info().version != card.algorithm_version {
        let (name, found, known) = (&card.algorithm, card.algorithm_version, algorithm.info().version);
        let message =
            format!("the model was written by {name} version {found}, this engine reads version {known}");
        return Err(Error::new(Kind::Unsupported, message).hint("Train the model again."));
    }
    let schema = prepared.schema(card.task, card.classes.len(), card.train_rows as usize);
    let model = algorithm.load(payload, &schema)?;
    Ok(Opened { card, prepared, schema, model })
}

fn none(message: impl Into<String>) -> Error {
    Error::new(Kind::Unsupported, message).hint("Networks have some: algorithm => 'cnn'.")
}

fn no_network(card: &Card) -> Error {
    none(format!("a model of algorithm \"{}\" has no weights to exchange", card.algorithm))
}

/// The weights of a stored model.
///
/// # Errors
/// `Kind::Unsupported` for a model that is no network; `Kind::Corrupt` for bytes that are no model.
pub fn export(artifact: &[u8]) -> Result<Vec<u8>> {
    let Opened { card, model, .. } = open(artifact)?;
    model.tensors().map(<[u8]>::to_vec).ok_or_else(|| no_network(&card))
}

/// A stored model with other weights, as a model of its own, and its card.
///
/// # Errors
/// Those of [`export`]; `Kind::Data` for anything but safetensors of exactly its network, naming the tensor.
pub fn import(artifact: &[u8], tensors: &[u8]) -> Result<(Vec<u8>, Card)> {
    let Opened { card, prepared, schema, model } = open(artifact)?;
    let replaced = model.with_tensors(tensors).map_err(|e| match e.kind {
        // Damaged are the bytes that somebody brought, not what is stored here.
        Kind::Corrupt => Error { kind: Kind::Data, ..e }.hint(
            "Save them with safetensors.torch.save_file(model.state_dict(), ...), in float32, of the same network; \
             damson.export_weights shows names and shapes.",
        ),
        _ => e,
    })?;
    let payload = replaced.ok_or_else(|| no_network(&card))?;
    algorithms::find(&card.algorithm)?.load(&payload, &schema)?;
    Ok((artifact::pack(&card, &prepared, &payload)?, card))
}
