//! The trained network: layers, normalisation and weights, and how training went.

use super::layer::UpTo;
use super::params::Source;
use crate::error::{Error, Kind, Result};
use crate::learner::Network as _;
use crate::schema::{Chunk, Feature, FeatureKind, Schema, Task};
use nn::data::{Inputs, Normal};
use nn::network::{Kind as Layer, Network, Pair, Shape};
use nn::plan::Plan;
use nn::score::Predictor;
use serde::{Deserialize, Serialize};
use std::sync::OnceLock;

/// A network with its weights. What scoring needs is built from it once, by `validate` after each load.
#[derive(Serialize, Deserialize)]
pub struct Model {
    /// What a row is.
    pub source: Source,
    /// The input's shape.
    pub input: Shape,
    /// All layers, as JSON.
    pub layers: String,
    /// Weights as safetensors, under the names of PyTorch's `nn.Sequential`.
    #[serde(with = "whole")]
    pub weights: Vec<u8>,
    /// How inputs are normalised.
    pub normal: Normal,
    /// Regression: what an output of 0 means, and what a step of 1 does.
    pub target: (f64, f64),
    /// Classes or labels, or 0 for regression.
    pub classes: usize,
    /// Whether the outputs are of labels, each by itself.
    pub multilabel: bool,
    /// Epochs trained.
    pub epochs: usize,
    /// With early stopping: the best epoch, whose weights these are, and its score on the rows held out.
    pub best: Option<(usize, f64)>,
    /// The mean loss of the last epoch, or of the best one.
    pub loss: f64,
    /// The share of right answers in it; 0 for regression.
    pub accuracy: f64,
    /// What `weights` and `layers` say, ready to run.
    #[serde(skip)]
    pub(super) ready: OnceLock<Predictor>,
}

impl Model {
    fn ready(&self) -> Result<&Predictor> {
        if let Some(ready) = self.ready.get() {
            return Ok(ready);
        }
        let network = Network::restore(self.input, &self.layers)?;
        // Layers that do not fit were not written by training.
        let plan = Plan::new(&network).map_err(|e| Error::corrupt(format!("the stored network: {e}")))?;
        let weights = nn::weights::load(&plan, &self.weights)?;
        let ready = Predictor::new(plan, self.normal.clone(), weights)?;
        Ok(self.ready.get_or_init(|| ready))
    }
}

impl crate::learner::Model for Model {
    fn outputs(&self) -> usize {
        self.classes.max(1)
    }

    fn score(&self, chunk: &Chunk, out: &mut [f64]) -> Result<()> {
        let out = &mut out[..chunk.rows * self.outputs()];
        self.ready()?.outputs(self.inputs(chunk), out)?;
        self.finish(out)
    }

    fn network(&self) -> Option<&dyn crate::learner::Network> {
        Some(self)
    }

    fn gains_from_batches(&self) -> bool {
        true
    }

    fn validate(&self, schema: &Schema) -> Result<()> {
        let fits = match self.source {
            Source::Images => schema.image.is_some_and(|i| {
                (i.height, i.width, i.channels) == (self.input.height, self.input.width, self.input.channels)
            }),
            Source::Features => self.input.checked_len() == Some(schema.width()),
        };
        let classes = if schema.task == Task::Regression { 0 } else { schema.classes };
        let multilabel = schema.task == Task::Multilabel;
        if !fits
            || self.classes != classes
            || self.multilabel != multilabel
            || !(self.target.0.is_finite() && self.target.1.is_finite())
        {
            return Err(Error::corrupt("the network does not fit the columns of its model"));
        }
        let plan = self.ready()?.plan();
        let coded = |(i, f): (usize, &Feature)| (f.kind != FeatureKind::Numeric).then_some(i);
        if !plan.network.codes().eq(schema.features.iter().enumerate().filter_map(coded)) {
            return Err(Error::corrupt("the network does not embed the categories of its model"));
        }
        let outputs = plan.outputs();
        if outputs != classes.max(1) {
            let message = format!("the network has {outputs} outputs, expected {}", classes.max(1));
            return Err(Error::corrupt(message));
        }
        Ok(())
    }

    fn layer(&self, name: Option<&str>) -> Result<Option<Box<dyn crate::learner::Model>>> {
        Ok(Some(Box::new(UpTo::new(self, name)?)))
    }

    fn tensors(&self) -> Option<&[u8]> {
        Some(&self.weights)
    }

    fn with_tensors(&self, tensors: &[u8]) -> Result<Option<Vec<u8>>> {
        let plan = self.ready()?.plan();
        // Read and written again: what else the file holds does not come in.
        let weights = nn::weights::save(plan, &nn::weights::load(plan, tensors)?)?;
        let Model { source, input, target, classes, multilabel, .. } = *self;
        let (layers, normal) = (self.layers.clone(), self.normal.clone());
        crate::wire::encode(&Model {
            source,
            input,
            layers,
            weights,
            normal,
            target,
            classes,
            multilabel,
            epochs: 0,
            best: None,
            loss: 0.0,
            accuracy: 0.0,
            ready: OnceLock::new(),
        })
        .map(Some)
    }

    fn describe(&self, _schema: &Schema) -> Vec<(String, String)> {
        let mut rows = vec![("input".to_string(), self.input.to_string())];
        if let Ok(ready) = self.ready() {
            let plan = ready.plan();
            rows.push(("parameters".into(), plan.parameters().to_string()));
            for line in &plan.lines {
                let parameters = match line.parameters {
                    0 => String::new(),
                    n => format!(", {n} parameters"),
                };
                rows.push((
                    format!("layer {}", line.name),
                    format!("{}: {}{parameters}", settings(&line.layer.kind, line.layer.kind()), line.shape),
                ));
            }
        }
        let (mean, spread) = self.normal.moments();
        let listed = |values: Vec<f64>| values.iter().map(f64::to_string).collect::<Vec<_>>().join(", ");
        rows.push(("input_mean".into(), listed(mean)));
        rows.push(("input_std".into(), listed(spread)));
        if self.epochs == 0 {
            rows.push(("weights".into(), "imported".into()));
            return rows;
        }
        rows.push(("epochs".into(), self.epochs.to_string()));
        if let Some((epoch, score)) = self.best {
            rows.push(("best_epoch".into(), epoch.to_string()));
            rows.push(("best_validation_score".into(), score.to_string()));
        }
        rows.push(("train_loss".into(), self.loss.to_string()));
        if self.classes > 0 {
            rows.push(("train_accuracy".into(), self.accuracy.to_string()));
        }
        rows
    }
}

impl crate::learner::Network for Model {
    fn predictor(&self) -> Result<&Predictor> {
        self.ready()
    }

    fn inputs<'c>(&self, chunk: &Chunk<'c>) -> Inputs<'c> {
        match self.source {
            Source::Images => Inputs::Bytes(chunk.images),
            Source::Features => Inputs::Doubles(chunk.x),
        }
    }

    fn finish(&self, out: &mut [f64]) -> Result<()> {
        if out.iter().any(|z| !z.is_finite()) {
            return Err(Error::new(Kind::Data, "the network's outputs are not finite for these values"));
        }
        if self.classes == 0 {
            out.iter_mut().for_each(|z| *z = self.target.0 + self.target.1 * *z);
            return Ok(());
        }
        if self.multilabel {
            out.iter_mut().for_each(|z| *z = 1.0 / (1.0 + (-*z).exp()));
            return Ok(());
        }
        for row in out.chunks_exact_mut(self.classes) {
            let most = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            row.iter_mut().for_each(|z| *z = (*z - most).exp());
            let sum: f64 = row.iter().sum();
            row.iter_mut().for_each(|z| *z /= sum);
        }
        Ok(())
    }
}

/// A layer in words.
fn settings(layer: &Layer, name: &str) -> String {
    let one = Pair::both(1);
    match layer {
        Layer::Conv2d { filters, kernel_size: k, stride, groups, .. } => {
            let mut text = format!("{name} {k}, {filters} filters");
            if *stride != one {
                let across =
                    if stride.0[0] == stride.0[1] { stride.0[0].to_string() } else { stride.to_string() };
                text += &format!(", stride {across}");
            }
            if *groups > 1 {
                text += &format!(", {groups} groups");
            }
            text
        }
        Layer::Conv1d { filters, kernel_size: k, .. } => format!("{name} {k}, {filters} filters"),
        Layer::MaxPool2d { kernel_size: k, .. }
        | Layer::AvgPool2d { kernel_size: k, .. }
        | Layer::DepthwiseConv2d { kernel_size: k, .. } => format!("{name} {k}"),
        Layer::Dense { units, .. } => format!("{name}, {units} units"),
        Layer::Embedding { tables } => {
            let tables: Vec<String> =
                tables.iter().map(|t| format!("{} x {}", t.categories, t.dim)).collect();
            format!("{name} {}", tables.join(", "))
        }
        Layer::Dropout { rate } => format!("{name} {rate}"),
        _ => name.to_string(),
    }
}

/// Bytes to and from the wire in one piece; serde's own way for a `Vec<u8>` is one by one.
mod whole {
    use serde::de::{Deserializer, Error, Visitor};
    use serde::ser::Serializer;

    pub fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(bytes)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Vec<u8>;
            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }
            fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
                Ok(bytes)
            }
        }
        from.deserialize_byte_buf(Bytes)
    }
}
