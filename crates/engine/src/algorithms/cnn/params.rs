//! Parameters of `cnn`, checked against each other and against the data's shape.

use crate::error::{Error, Kind, Result};
use crate::params::{Param, Values};
use crate::schema::{Schema, Task};
use nn::data::Augment;
use nn::network::{Network, Shape};
use nn::optimizer::{Optimizer, Schedule};
use nn::plan::Plan;
use nn::train::{Loss, Options};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

pub(super) const PARAMS: &[Param] = &[
    Param::choice(
        "architecture",
        "cnn_small",
        &["cnn_small", "lenet", "mlp"],
        "Layers by name: a small convolutional network, LeNet, or dense layers only (for tables).",
    ),
    Param::json(
        "layers",
        "null",
        "Layers as a JSON list, instead of an architecture: conv2d (filters, kernel_size, stride, padding), relu, \
         max_pool2d and avg_pool2d (kernel_size, stride), global_avg_pool, flatten, dense (units), dropout (rate). \
         The outputs are added.",
    )
    .optional(),
    Param::json(
        "shape",
        "null",
        "The shape [height, width, channels] of rows that are numbers; an image column has its own.",
    )
    .optional(),
    Param::int("epochs", 10, 1, 10_000, "Passes over the rows."),
    Param::int("batch_size", 64, 1, 65_536, "Rows a step."),
    Param::float("learning_rate", 0.0, 1e-7, 10.0, "Step size at its peak; 0.003 for adam and adamw, 0.05 for sgd when left out.")
        .optional()
        .alias(&["lr"]),
    Param::choice("optimizer", "adam", &["adam", "adamw", "sgd"], "How a gradient becomes a step."),
    Param::float("momentum", 0.9, 0.0, 0.9999, "Share of the last step that stays, for sgd."),
    Param::bool("nesterov", true, "Whether sgd with momentum looks ahead."),
    Param::float("weight_decay", 0.0, 0.0, 1.0, "L2 penalty; with adamw a shrinking of the weights themselves."),
    Param::choice(
        "schedule",
        "one_cycle",
        &["constant", "cosine", "one_cycle"],
        "How the learning rate moves: not, down along a cosine, or up for 30 % of the training and then down.",
    ),
    Param::float("dropout", 0.25, 0.0, 0.95, "Share of values that the dropout layers of an architecture zero."),
    Param::choice(
        "augment",
        "none",
        &["none", "flip", "crop", "flip_crop"],
        "How training images vary: mirrored left to right, moved by up to an eighth of their size, or both.",
    ),
];

/// What a row is to the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// Its image.
    Images,
    /// Its features, as numbers of a given shape.
    Features,
}

/// Checked parameters, with the network they describe.
#[derive(Debug, Clone)]
pub struct Params {
    pub(super) source: Source,
    pub(super) plan: Arc<Plan>,
    /// All but the seed, which is the training's.
    pub(super) options: Options,
    pub(super) classes: usize,
}

pub(super) fn read(values: &Values, schema: &Schema) -> Result<Params> {
    let (source, input) = input(values, schema)?;
    let classes = if schema.task == Task::Regression { 0 } else { schema.classes };
    let (outputs, architecture) = (classes.max(1), values.text("architecture")?);
    let layers = values.json("layers")?;
    let network = if layers.is_null() {
        if source == Source::Features && input.height * input.width == 1 && architecture != "mlp" {
            let message = format!(
                "architecture \"{architecture}\" needs images, found {} numbers a row",
                input.channels
            );
            return Err(Error::new(Kind::Parameter, message).hint(
                "Use params => '{\"architecture\": \"mlp\"}' for a table, or say how the numbers form an image, \
                 for example '{\"shape\": [8, 8, 1]}'.",
            ));
        }
        Network::preset(architecture, input, values.float("dropout")? as f32, outputs)
            .ok_or_else(|| Error::internal(format!("no architecture \"{architecture}\"")))?
    } else {
        Network::from_json(input, &layers.to_string(), outputs)?
    };
    let plan = Arc::new(Plan::new(&network)?);
    let optimizer = match values.text("optimizer")? {
        "sgd" => {
            Optimizer::Sgd { momentum: values.float("momentum")? as f32, nesterov: values.bool("nesterov")? }
        }
        "adamw" => Optimizer::AdamW,
        _ => Optimizer::Adam,
    };
    let usual = if matches!(optimizer, Optimizer::Sgd { .. }) { 0.05 } else { 0.003 };
    let augment = values.text("augment")?;
    let options = Options {
        loss: if classes > 0 { Loss::CrossEntropy } else { Loss::Squared },
        optimizer,
        learning_rate: values.opt_float("learning_rate")?.unwrap_or(usual),
        schedule: match values.text("schedule")? {
            "constant" => Schedule::Constant,
            "cosine" => Schedule::Cosine,
            _ => Schedule::OneCycle,
        },
        weight_decay: values.float("weight_decay")?,
        batch_size: values.count("batch_size")?,
        epochs: values.count("epochs")?,
        augment: Augment { flip: augment.contains("flip"), crop: augment.contains("crop") },
        seed: 0,
    };
    Ok(Params { source, plan, options, classes })
}

/// What a row is, and its shape.
fn input(values: &Values, schema: &Schema) -> Result<(Source, Shape)> {
    let given = values.json("shape")?;
    if let Some(image) = schema.image {
        if !given.is_null() {
            let message = "parameter \"shape\" of cnn is for numbers, but the rows have an image";
            return Err(
                Error::new(Kind::Parameter, message).hint("Leave \"shape\" out: an image has its own.")
            );
        }
        if schema.width() > 0 {
            let message =
                format!("cnn takes an image or numbers, found an image and {} features", schema.width());
            return Err(Error::new(Kind::Unsupported, message)
                .hint("Leave the other columns out, or leave the image out."));
        }
        return Ok((Source::Images, Shape::new(image.height, image.width, image.channels)));
    }
    if schema.width() == 0 {
        return Err(Error::new(Kind::Data, "the rows have neither an image nor features"));
    }
    if given.is_null() {
        return Ok((Source::Features, Shape::flat(schema.width())));
    }
    let sides: Option<Vec<usize>> = given.as_array().and_then(|v| {
        v.iter().map(|n| n.as_u64().filter(|n| (1..=1 << 16).contains(n)).map(|n| n as usize)).collect()
    });
    match sides.as_deref() {
        Some(&[h, w, c]) if h * w * c == schema.width() => Ok((Source::Features, Shape::new(h, w, c))),
        Some(&[h, w, c]) => {
            let message = format!(
                "parameter \"shape\" of cnn is {h}x{w}x{c}, which is {} numbers, but a row has {}",
                h * w * c,
                schema.width()
            );
            Err(Error::new(Kind::Parameter, message))
        }
        _ => {
            let message =
                format!("parameter \"shape\" of cnn is {given}, expected [height, width, channels]");
            Err(Error::new(Kind::Parameter, message).hint("For example '{\"shape\": [8, 8, 1]}'."))
        }
    }
}
