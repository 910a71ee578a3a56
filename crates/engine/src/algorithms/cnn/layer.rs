//! What a layer of a network gives for a row: the network up to it, as a model of its own.

use super::model::Model;
use super::params::Source;
use crate::error::{Error, Kind, Result};
use crate::learner;
use crate::schema::{Chunk, Schema};
use nn::data::Inputs;
use nn::network::{Layer, Network};
use nn::plan::Plan;
use nn::score::Predictor;

/// A network up to a layer.
pub struct UpTo {
    source: Source,
    ready: Predictor,
}

impl UpTo {
    /// Up to the layer of that name or place; without one up to the last before the outputs.
    ///
    /// # Errors
    /// `Kind::Parameter` where there is no such layer; `Kind::Corrupt` for damaged weights.
    pub fn new(model: &Model, name: Option<&str>) -> Result<UpTo> {
        let network = Network::restore(model.input, &model.layers)?;
        let names: Vec<String> = network.layers.iter().enumerate().map(called).collect();
        let place = |name: &str| {
            let at = names.iter().position(|n| n == name);
            at.or_else(|| name.parse().ok().filter(|i| *i < names.len())).ok_or_else(|| {
                let message = format!("the network has no layer \"{name}\" whose values it could give");
                Error::new(Kind::Parameter, message).hint(format!("It has: {}.", names.join(", ")))
            })
        };
        let last = match name {
            Some(name) => place(name)?,
            None => names.len().checked_sub(2).ok_or_else(|| {
                let message = "the network has no layer before its outputs";
                Error::new(Kind::Unsupported, message)
            })?,
        };
        let layers = network.layers[..=last].to_vec();
        let plan = Plan::new(&Network { input: network.input, layers })
            .map_err(|e| Error::corrupt(format!("the stored network: {e}")))?;
        let mut values = vec![0.0; plan.weights];
        if plan.weights > 0 {
            let (_, left) = nn::weights::transfer(&plan, &model.weights, &mut values)?;
            if !left.is_empty() {
                return Err(Error::corrupt(format!("the stored network has no weights {}", left.join(", "))));
            }
        }
        Ok(UpTo { source: model.source, ready: Predictor::new(plan, model.normal.clone(), values)? })
    }
}

/// What a layer can be called by.
fn called((place, layer): (usize, &Layer)) -> String {
    layer.name.clone().unwrap_or_else(|| place.to_string())
}

impl learner::Model for UpTo {
    fn outputs(&self) -> usize {
        self.ready.plan().outputs()
    }

    fn score(&self, chunk: &Chunk, out: &mut [f64]) -> Result<()> {
        let inputs = match self.source {
            Source::Images => Inputs::Bytes(chunk.images),
            Source::Features => Inputs::Doubles(chunk.x),
        };
        Ok(self.ready.outputs(inputs, &mut out[..chunk.rows * self.ready.plan().outputs()])?)
    }

    fn validate(&self, _schema: &Schema) -> Result<()> {
        Ok(())
    }

    fn describe(&self, _schema: &Schema) -> Vec<(String, String)> {
        vec![]
    }
}
