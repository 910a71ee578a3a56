//! Parameters of `cnn`, checked against each other and against the data's shape.

use super::validation::Stopping;
use crate::error::{Error, Kind, Result};
use crate::params::{Param, Values};
use crate::schema::{Feature, FeatureKind, Schema, Task};
use nn::augment::Augment;
use nn::network::{Kind as Layer, Network, Shape, Table};
use nn::optimizer::{Optimizer, Schedule};
use nn::plan::Plan;
use nn::presets::preset;
use nn::train::{Loss, Options};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

pub(super) const PARAMS: &[Param] = &[
    Param::choice(
        "architecture",
        "cnn_small",
        &["cnn_small", "lenet", "resnet9", "resnet18", "mobilenet", "mlp"],
        "Layers by name: a small convolutional network, LeNet, residual networks of 9 and 18 layers, MobileNet, or \
         dense layers only (for tables).",
    ),
    Param::json(
        "layers",
        "null",
        "Layers as a JSON list, instead of an architecture: conv2d and conv1d (filters, kernel_size, stride, padding, \
         dilation, groups, bias), depthwise_conv2d, max_pool2d and avg_pool2d (kernel_size, stride, padding), \
         global_avg_pool, global_max_pool, flatten, dense (units, bias), batch_norm (momentum, epsilon), layer_norm, \
         group_norm (groups), embedding (first, for categories), relu, leaky_relu (slope), gelu, silu, sigmoid, tanh, softmax, dropout (rate), residual \
         (layers, shortcut), concat (branches). Any may have a name. The outputs are added.",
    )
    .optional(),
    Param::int(
        "embedding_dim",
        16,
        1,
        4096,
        "Numbers that each category becomes, with preprocess categories native; 1.6 times the 0.56th power of their count \
         when left out.",
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
        &["constant", "cosine", "one_cycle", "step"],
        "How the learning rate moves: not, down along a cosine, up for 30 % of the training and then down, or down by \
         gamma every step_size epochs.",
    ),
    Param::int("step_size", 30, 1, 10_000, "Epochs between the steps of schedule step."),
    Param::float("gamma", 0.1, 1e-6, 1.0, "What the learning rate is multiplied with at each step of schedule step."),
    Param::float("max_grad_norm", 0.0, 0.0, 1e6, "Longer gradients are cut to this length; 0 for none."),
    Param::float(
        "ema_decay",
        0.0,
        0.0,
        0.99999,
        "Share of the weights' moving average that stays at each step; the average is what scores. 0 for none.",
    ),
    Param::choice(
        "loss",
        "auto",
        &["auto", "cross_entropy", "focal", "squared", "huber", "binary_cross_entropy"],
        "What training lowers: cross_entropy or focal for classes, squared or huber for numbers, binary_cross_entropy or \
         focal for sets of labels, whose mean over the labels counts; the first of them when left out.",
    ),
    Param::float("label_smoothing", 0.0, 0.0, 0.9, "Share of a row's class that cross_entropy spreads over all classes."),
    Param::float("focal_gamma", 2.0, 0.0, 10.0, "How much less focal counts rows that are right already."),
    Param::float(
        "huber_delta",
        1.0,
        1e-3,
        100.0,
        "Error from which on huber grows straight, in standard deviations of the target.",
    ),
    Param::float("dropout", 0.25, 0.0, 0.95, "Share of values that the dropout layers of an architecture zero."),
    Param::choice(
        "augment",
        "none",
        &["none", "flip", "crop", "flip_crop"],
        "How training images vary: mirrored left to right, moved by up to an eighth of their size, or both.",
    ),
    Param::float(
        "cutout",
        0.0,
        0.0,
        0.9,
        "Side of a square, as a share of the image's, that is blanked in each training image; 0 for none.",
    ),
    Param::float(
        "mixup",
        0.0,
        0.0,
        10.0,
        "Mixes training rows in pairs, by shares of a beta distribution with this parameter twice; 0 for none.",
    ),
    Param::bool(
        "early_stopping",
        false,
        "Whether rows are held out to see when training stops getting better: it ends there, with the weights of its best \
         epoch.",
    ),
    Param::float("validation_fraction", 0.1, 1e-4, 0.9999, "Share of the training rows that early_stopping holds out."),
    Param::int(
        "n_iter_no_change",
        10,
        1,
        10_000,
        "Epochs in a row without a gain, beyond which early_stopping ends the training.",
    ),
    Param::float(
        "tol",
        1e-4,
        0.0,
        1.0,
        "Gain that early_stopping counts, of accuracy or of R2 on the rows held out.",
    ),
    Param::json(
        "freeze",
        "null",
        "Names of layers, such as [\"0\", \"layer1\"], whose weights a training that goes on from a model leaves alone.",
    )
    .optional(),
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
    /// Layers that keep their weights.
    pub(super) frozen: Vec<String>,
    /// All but the seed, which is the training's.
    pub(super) options: Options,
    /// Classes, or labels, or 0.
    pub(super) classes: usize,
    /// Whether a row has a set of labels, and not one class.
    pub(super) multilabel: bool,
    /// What the loss of each label counts in rows that have it; empty where that is 1.
    pub(super) positive: Vec<f32>,
    /// With early stopping.
    pub(super) stopping: Option<Stopping>,
}

impl Params {
    /// Targets a row.
    pub(super) fn targets(&self) -> usize {
        self.options.loss.targets(self.plan.outputs()).max(1)
    }
}

pub(super) fn read(values: &Values, schema: &Schema) -> Result<Params> {
    let (source, input) = input(values, schema)?;
    let classes = if schema.task == Task::Regression { 0 } else { schema.classes };
    let (outputs, architecture) = (classes.max(1), values.text("architecture")?);
    let layers = values.json("layers")?;
    let tables = tables(values, schema)?;
    let mut network = if layers.is_null() {
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
        let mut network = preset(architecture, input, values.float("dropout")? as f32, outputs)
            .ok_or_else(|| Error::internal(format!("no architecture \"{architecture}\"")))?;
        if !tables.is_empty() && architecture == "mlp" {
            network.layers.insert(0, Layer::Embedding { tables: vec![] }.into());
        }
        network
    } else {
        Network::from_json(input, &layers.to_string(), outputs)?
    };
    embed(&mut network, tables)?;
    if network.embeds() && values.float("mixup")? > 0.0 {
        let message = "parameter \"mixup\" of cnn mixes numbers, and the rows have codes of categories";
        return Err(
            Error::new(Kind::Parameter, message).hint("Leave mixup out, or encode categories otherwise.")
        );
    }
    let frozen = names(values.json("freeze")?)?;
    let plan = Arc::new(Plan::with_frozen(&network, &frozen)?);
    let optimizer = match values.text("optimizer")? {
        "sgd" => {
            Optimizer::Sgd { momentum: values.float("momentum")? as f32, nesterov: values.bool("nesterov")? }
        }
        "adamw" => Optimizer::AdamW,
        _ => Optimizer::Adam,
    };
    let usual = if matches!(optimizer, Optimizer::Sgd { .. }) { 0.05 } else { 0.003 };
    let augment = values.text("augment")?;
    let epochs = values.count("epochs")?;
    let options = Options {
        loss: loss(values, schema.task)?,
        optimizer,
        learning_rate: values.opt_float("learning_rate")?.unwrap_or(usual),
        schedule: match values.text("schedule")? {
            "constant" => Schedule::Constant,
            "cosine" => Schedule::Cosine,
            "step" => Schedule::Step {
                every: values.count("step_size")? as f64 / epochs as f64,
                factor: values.float("gamma")?,
            },
            _ => Schedule::OneCycle,
        },
        weight_decay: values.float("weight_decay")?,
        clip: values.float("max_grad_norm")?,
        average: values.float("ema_decay")?,
        batch_size: values.count("batch_size")?,
        epochs,
        augment: Augment {
            flip: augment.contains("flip"),
            crop: augment.contains("crop"),
            cutout: values.float("cutout")? as f32,
            mixup: values.float("mixup")? as f32,
        },
        seed: 0,
    };
    let stopping = match values.bool("early_stopping")? {
        true => Some(Stopping {
            fraction: values.float("validation_fraction")?,
            patience: values.count("n_iter_no_change")?,
            tol: values.float("tol")?,
        }),
        false => None,
    };
    let multilabel = schema.task == Task::Multilabel;
    let positive = schema.positive.iter().map(|w| *w as f32).collect();
    Ok(Params { source, plan, frozen, options, classes, multilabel, positive, stopping })
}

fn loss(values: &Values, task: Task) -> Result<Loss> {
    let smoothing = values.float("label_smoothing")? as f32;
    let (name, gamma) = (values.text("loss")?, values.float("focal_gamma")? as f32);
    let kind = match task {
        Task::Regression => "numbers",
        Task::Multilabel => "sets of labels",
        _ => "classes",
    };
    Ok(match (name, task) {
        ("auto" | "squared", Task::Regression) => Loss::Squared,
        ("huber", Task::Regression) => Loss::Huber { delta: values.float("huber_delta")? as f32 },
        ("auto" | "binary_cross_entropy", Task::Multilabel) => Loss::Binary,
        ("focal", Task::Multilabel) => Loss::BinaryFocal { gamma },
        ("auto" | "cross_entropy", Task::Classification) => Loss::CrossEntropy { smoothing },
        ("focal", Task::Classification) => Loss::Focal { gamma },
        _ => {
            let message = format!("loss \"{name}\" of cnn does not fit a target of {kind}");
            return Err(Error::new(Kind::Parameter, message).hint(
                "Use cross_entropy or focal for classes, squared or huber for numbers, binary_cross_entropy or focal \
                 for sets of labels.",
            ));
        }
    })
}

/// A table for each feature that is a category: a row a code, and one for values that have none.
fn tables(values: &Values, schema: &Schema) -> Result<Vec<Table>> {
    let dim = values.opt_count("embedding_dim")?;
    let table = |(feature, of): (usize, &Feature)| match of.kind {
        FeatureKind::Numeric => None,
        FeatureKind::Category { levels } => {
            let categories = levels as usize + 1;
            // The rule of thumb of fastai's tabular learner.
            let usual = || (1.6 * (categories as f64).powf(0.56)).round().clamp(1.0, 600.0) as usize;
            Some(Table { feature, categories, dim: dim.unwrap_or_else(usual) })
        }
    };
    Ok(schema.features.iter().enumerate().filter_map(table).collect())
}

/// Gives the network's embedding the tables that the rows need.
fn embed(network: &mut Network, needed: Vec<Table>) -> Result<()> {
    match network.layers.first_mut().map(|l| &mut l.kind) {
        Some(Layer::Embedding { tables }) if tables.is_empty() && !needed.is_empty() => *tables = needed,
        Some(Layer::Embedding { .. }) if needed.is_empty() => {
            let message = "the layers of cnn begin with an embedding, and no feature is a category";
            return Err(Error::new(Kind::Parameter, message)
                .hint("Leave text as categories: preprocess => '{\"categories\": \"native\"}'."));
        }
        Some(Layer::Embedding { .. }) => {
            let message =
                "an embedding of cnn gives its tables, which are those of the categories of the rows";
            return Err(Error::new(Kind::Parameter, message).hint("Write {\"type\": \"embedding\"} alone."));
        }
        _ if needed.is_empty() => {}
        _ => {
            let message =
                "the rows have codes of categories, and the network does not begin with an embedding";
            return Err(Error::new(Kind::Parameter, message).hint(
                "Use architecture mlp, put {\"type\": \"embedding\"} before the layers, or encode categories otherwise.",
            ));
        }
    }
    Ok(())
}

/// Layers by name.
fn names(given: &serde_json::Value) -> Result<Vec<String>> {
    if given.is_null() {
        return Ok(vec![]);
    }
    let list = given.as_array().map(|v| v.iter().map(|n| n.as_str().map(str::to_string)));
    list.and_then(|names| names.collect()).ok_or_else(|| {
        let message = format!("parameter \"freeze\" of cnn is {given}, expected a list of layers' names");
        Error::new(Kind::Parameter, message).hint("For example '{\"freeze\": [\"0\", \"1\"]}'.")
    })
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
