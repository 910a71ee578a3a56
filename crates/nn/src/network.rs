//! A network as its user describes it: an input shape and layers, in JSON or by a preset's name ([`crate::presets`]).
//!
//! ```json
//! [{"type": "conv2d", "filters": 32}, {"type": "batch_norm"}, {"type": "relu"},
//!  {"type": "residual", "layers": [{"type": "conv2d", "filters": 32}, {"type": "relu"}]},
//!  {"type": "global_avg_pool"}, {"type": "dropout", "rate": 0.5}]
//! ```
//!
//! Layers follow each other; `residual` and `concat` hold lists of their own. The list says what comes before the
//! outputs: a flatten (where the list ends in an image) and the dense layer of the outputs are added. A layer may
//! have a `name`: its weights are stored under it, and it can be frozen or looked at by it. Without one its name
//! is its place: `3`, or inside a residual `3.layers.1`.

use crate::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value, json};

/// A layer with its name, where it was given one.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    /// Its name, unique in the network.
    pub name: Option<String>,
    /// What it does.
    pub kind: Kind,
}

/// What a layer does. Sizes of images are down and across; one number in JSON means both.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Kind {
    /// Convolution.
    Conv2d {
        /// Output channels.
        filters: usize,
        /// Pixels of the kernel.
        #[serde(default = "Pair::three")]
        kernel_size: Pair,
        /// Pixels between neighbouring outputs.
        #[serde(default = "Pair::one")]
        stride: Pair,
        /// What is done at the edges.
        #[serde(default)]
        padding: Padding,
        /// Pixels between neighbours of the kernel.
        #[serde(default = "Pair::one", skip_serializing_if = "Pair::is_one")]
        dilation: Pair,
        /// Channels in so many groups, each convolved by itself.
        #[serde(default = "one", skip_serializing_if = "is_one")]
        groups: usize,
        /// Whether a bias is added.
        #[serde(default = "yes", skip_serializing_if = "is_yes")]
        bias: bool,
    },
    /// Convolution of a series: of an image of one row.
    Conv1d {
        /// Output channels.
        filters: usize,
        /// Values of the kernel.
        #[serde(default = "three")]
        kernel_size: usize,
        /// Values between neighbouring outputs.
        #[serde(default = "one")]
        stride: usize,
        /// What is done at the ends.
        #[serde(default)]
        padding: Padding,
        /// Values between neighbours of the kernel.
        #[serde(default = "one", skip_serializing_if = "is_one")]
        dilation: usize,
        /// Channels in so many groups, each convolved by itself.
        #[serde(default = "one", skip_serializing_if = "is_one")]
        groups: usize,
        /// Whether a bias is added.
        #[serde(default = "yes", skip_serializing_if = "is_yes")]
        bias: bool,
    },
    /// Convolution of each channel by itself: as many groups and filters as channels.
    DepthwiseConv2d {
        /// Pixels of the kernel.
        #[serde(default = "Pair::three")]
        kernel_size: Pair,
        /// Pixels between neighbouring outputs.
        #[serde(default = "Pair::one")]
        stride: Pair,
        /// What is done at the edges.
        #[serde(default)]
        padding: Padding,
        /// Pixels between neighbours of the kernel.
        #[serde(default = "Pair::one", skip_serializing_if = "Pair::is_one")]
        dilation: Pair,
        /// Whether a bias is added.
        #[serde(default = "yes", skip_serializing_if = "is_yes")]
        bias: bool,
    },
    /// The greatest value of each window.
    MaxPool2d {
        /// Pixels of the window.
        #[serde(default = "Pair::two")]
        kernel_size: Pair,
        /// Pixels between windows; as large as the window where it is left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stride: Option<Pair>,
        /// Pixels around the image, which no maximum counts.
        #[serde(default = "Pair::zero", skip_serializing_if = "Pair::is_zero")]
        padding: Pair,
    },
    /// The mean of each window.
    AvgPool2d {
        /// Pixels of the window.
        #[serde(default = "Pair::two")]
        kernel_size: Pair,
        /// Pixels between windows; as large as the window where it is left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stride: Option<Pair>,
        /// Pixels around the image, which count as zeros (as in PyTorch).
        #[serde(default = "Pair::zero", skip_serializing_if = "Pair::is_zero")]
        padding: Pair,
    },
    /// The mean of each channel over the image.
    GlobalAvgPool {},
    /// The greatest value of each channel over the image.
    GlobalMaxPool {},
    /// An image as one row of numbers.
    Flatten {},
    /// A full linear layer.
    Dense {
        /// Outputs.
        units: usize,
        /// Whether a bias is added.
        #[serde(default = "yes", skip_serializing_if = "is_yes")]
        bias: bool,
    },
    /// Codes of categories in a row of numbers become rows of tables, which are learnt; the numbers come first. It is the
    /// first layer.
    Embedding {
        /// The tables, in the order of their outputs.
        #[serde(default)]
        tables: Vec<Table>,
    },
    /// Each channel to mean 0 and variance 1 over the batch, then scaled and moved (Ioffe and Szegedy 2015).
    BatchNorm {
        /// The share of a batch in the mean and variance that scoring uses.
        #[serde(default = "tenth")]
        momentum: f32,
        /// Added to the variance.
        #[serde(default = "small")]
        epsilon: f32,
    },
    /// The channels of each pixel to mean 0 and variance 1, then scaled and moved, channel by channel.
    LayerNorm {
        /// Added to the variance.
        #[serde(default = "small")]
        epsilon: f32,
    },
    /// The image of each group of channels to mean 0 and variance 1, then scaled and moved (Wu and He 2018).
    GroupNorm {
        /// Groups of neighbouring channels.
        groups: usize,
        /// Added to the variance.
        #[serde(default = "small")]
        epsilon: f32,
    },
    /// `max(x, 0)`.
    Relu {},
    /// `x`, times `slope` where it is negative.
    LeakyRelu {
        /// The slope of negatives.
        #[serde(default = "hundredth")]
        slope: f32,
    },
    /// `x` times the normal distribution's share below it.
    Gelu {},
    /// `x / (1 + e^-x)`, also called swish.
    Silu {},
    /// `1 / (1 + e^-x)`.
    Sigmoid {},
    /// The hyperbolic tangent.
    Tanh {},
    /// Softmax over the channels of each pixel.
    Softmax {},
    /// Zeroes values at random while training, and scales up the others.
    Dropout {
        /// The share that is zeroed, `0 <= rate < 1`.
        rate: f32,
    },
    /// The sum of what `layers` and `shortcut` make of the input; without a shortcut, the input itself is added.
    #[serde(skip)]
    Residual {
        /// The layers.
        layers: Vec<Layer>,
        /// Those beside them.
        shortcut: Vec<Layer>,
    },
    /// The channels of all branches, one after another; a branch without layers is the input itself.
    #[serde(skip)]
    Concat {
        /// The branches.
        branches: Vec<Vec<Layer>>,
    },
}

/// A table of an embedding: a row of `dim` weights for each category.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// The place of the codes in the input's row.
    pub feature: usize,
    /// Categories, whose codes are `0 .. categories`; the last one also stands for what is no code, such as NaN.
    pub categories: usize,
    /// Values a category.
    pub dim: usize,
}

/// Down and across.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair(pub [usize; 2]);

impl Pair {
    /// The same in both directions.
    pub fn both(n: usize) -> Pair {
        Pair([n, n])
    }
    fn zero() -> Pair {
        Pair::both(0)
    }
    fn one() -> Pair {
        Pair::both(1)
    }
    fn two() -> Pair {
        Pair::both(2)
    }
    fn three() -> Pair {
        Pair::both(3)
    }
    fn is_zero(&self) -> bool {
        *self == Pair::zero()
    }
    fn is_one(&self) -> bool {
        *self == Pair::one()
    }
}

impl std::fmt::Display for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "{}x{}", self.0[0], self.0[1])
    }
}

impl Serialize for Pair {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if self.0[0] == self.0[1] { self.0[0].serialize(to) } else { self.0.serialize(to) }
    }
}

impl<'de> Deserialize<'de> for Pair {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Pair, D::Error> {
        let value = Value::deserialize(from)?;
        pair(&value).ok_or_else(|| {
            serde::de::Error::custom(format!("found {value}, expected a count or [down, across]"))
        })
    }
}

fn pair(value: &Value) -> Option<Pair> {
    if let Some(n) = value.as_u64() {
        return usize::try_from(n).ok().map(Pair::both);
    }
    match value.as_array()?.as_slice() {
        [a, b] => Some(Pair([usize::try_from(a.as_u64()?).ok()?, usize::try_from(b.as_u64()?).ok()?])),
        _ => None,
    }
}

/// What a convolution does at the edges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Padding {
    /// Zeros around the image, so that the output has `ceil(input / stride)` pixels; where their number is odd,
    /// one more after than before (as in TensorFlow and, for stride 1, PyTorch).
    #[default]
    Same,
    /// None: the output is smaller.
    Valid,
    /// So many zeros on each side, as in PyTorch.
    Pixels(Pair),
}

impl Serialize for Padding {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Padding::Same => to.serialize_str("same"),
            Padding::Valid => to.serialize_str("valid"),
            Padding::Pixels(pixels) => pixels.serialize(to),
        }
    }
}

impl<'de> Deserialize<'de> for Padding {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Padding, D::Error> {
        let value = Value::deserialize(from)?;
        match (value.as_str(), pair(&value)) {
            (Some("same"), _) => Ok(Padding::Same),
            (Some("valid"), _) => Ok(Padding::Valid),
            (_, Some(pixels)) => Ok(Padding::Pixels(pixels)),
            _ => Err(serde::de::Error::custom(format!(
                "a padding of {value}, expected \"same\", \"valid\", a count of pixels or [down, across]"
            ))),
        }
    }
}

fn one() -> usize {
    1
}
fn three() -> usize {
    3
}
fn is_one(n: &usize) -> bool {
    *n == 1
}
fn yes() -> bool {
    true
}
fn is_yes(flag: &bool) -> bool {
    *flag
}
fn tenth() -> f32 {
    0.1
}
fn hundredth() -> f32 {
    0.01
}
fn small() -> f32 {
    1e-5
}

impl From<Kind> for Layer {
    fn from(kind: Kind) -> Layer {
        Layer { name: None, kind }
    }
}

impl Layer {
    /// The same layer with a name.
    pub fn named(self, name: impl Into<String>) -> Layer {
        Layer { name: Some(name.into()), ..self }
    }

    /// Its kind's name in JSON.
    pub fn kind(&self) -> &'static str {
        match &self.kind {
            Kind::Conv2d { .. } => "conv2d",
            Kind::Conv1d { .. } => "conv1d",
            Kind::DepthwiseConv2d { .. } => "depthwise_conv2d",
            Kind::MaxPool2d { .. } => "max_pool2d",
            Kind::AvgPool2d { .. } => "avg_pool2d",
            Kind::GlobalAvgPool {} => "global_avg_pool",
            Kind::GlobalMaxPool {} => "global_max_pool",
            Kind::Flatten {} => "flatten",
            Kind::Dense { .. } => "dense",
            Kind::Embedding { .. } => "embedding",
            Kind::BatchNorm { .. } => "batch_norm",
            Kind::LayerNorm { .. } => "layer_norm",
            Kind::GroupNorm { .. } => "group_norm",
            Kind::Relu {} => "relu",
            Kind::LeakyRelu { .. } => "leaky_relu",
            Kind::Gelu {} => "gelu",
            Kind::Silu {} => "silu",
            Kind::Sigmoid {} => "sigmoid",
            Kind::Tanh {} => "tanh",
            Kind::Softmax {} => "softmax",
            Kind::Dropout { .. } => "dropout",
            Kind::Residual { .. } => "residual",
            Kind::Concat { .. } => "concat",
        }
    }

    /// A layer from JSON; errors name it by `place`, its path.
    fn read(value: Value, place: &str) -> Result<Layer, Error> {
        let kind = value.get("type").and_then(Value::as_str).unwrap_or("of no type").to_string();
        let bad = |what: String| Error::Shape(format!("layer {place} ({kind}) is not understood: {what}"));
        let Value::Object(mut fields) = value else {
            return Err(bad("expected an object with a \"type\"".into()));
        };
        let name = match fields.remove("name") {
            None => None,
            Some(Value::String(name)) if !name.is_empty() => Some(name),
            Some(other) => return Err(bad(format!("its name is {other}, expected a text"))),
        };
        let kind = match kind.as_str() {
            "residual" => {
                let layers = fields.remove("layers").ok_or_else(|| bad("it has no \"layers\"".into()))?;
                let shortcut = fields.remove("shortcut").unwrap_or_else(|| json!([]));
                Kind::Residual {
                    layers: read_list(layers, &format!("{place}.layers."))?,
                    shortcut: read_list(shortcut, &format!("{place}.shortcut."))?,
                }
            }
            "concat" => {
                let Some(Value::Array(lists)) = fields.remove("branches") else {
                    return Err(bad("it has no \"branches\", a list of lists of layers".into()));
                };
                let branches = lists.into_iter().enumerate();
                let branches = branches.map(|(i, list)| read_list(list, &format!("{place}.branches.{i}.")));
                Kind::Concat { branches: branches.collect::<Result<_, _>>()? }
            }
            _ => {
                let kind = serde_json::from_value(Value::Object(std::mem::take(&mut fields)));
                kind.map_err(|e| bad(e.to_string()))?
            }
        };
        fields.remove("type");
        match fields.keys().next() {
            Some(field) => Err(bad(format!("unknown field `{field}`"))),
            None => Ok(Layer { name, kind }),
        }
    }

    fn write(&self) -> Value {
        let mut value = match &self.kind {
            Kind::Residual { layers, shortcut } => {
                json!({"type": "residual", "layers": write_list(layers), "shortcut": write_list(shortcut)})
            }
            Kind::Concat { branches } => {
                let branches: Vec<Value> = branches.iter().map(|b| write_list(b)).collect();
                json!({"type": "concat", "branches": branches})
            }
            kind => serde_json::to_value(kind).unwrap_or(Value::Object(Map::new())),
        };
        if let (Some(name), Some(fields)) = (&self.name, value.as_object_mut()) {
            fields.insert("name".into(), json!(name));
        }
        value
    }
}

fn read_list(value: Value, prefix: &str) -> Result<Vec<Layer>, Error> {
    let Value::Array(list) = value else {
        let whose = if prefix.is_empty() { "layers" } else { prefix.trim_end_matches('.') };
        return Err(Error::Shape(format!("{whose} are not a JSON list of objects")));
    };
    list.into_iter().enumerate().map(|(i, item)| Layer::read(item, &format!("{prefix}{i}"))).collect()
}

fn write_list(layers: &[Layer]) -> Value {
    Value::Array(layers.iter().map(Layer::write).collect())
}

/// Rows, columns and channels of an image or of what a layer makes of it; a row of `n` numbers is `1 x 1 x n`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// Pixels down.
    pub height: usize,
    /// Pixels across.
    pub width: usize,
    /// Values a pixel.
    pub channels: usize,
}

impl Shape {
    /// A shape.
    pub fn new(height: usize, width: usize, channels: usize) -> Self {
        Shape { height, width, channels }
    }

    /// A row of `n` numbers.
    pub fn flat(n: usize) -> Self {
        Shape::new(1, 1, n)
    }

    /// Whether it is a row of numbers.
    pub fn is_flat(&self) -> bool {
        (self.height, self.width) == (1, 1)
    }

    /// Values in all.
    pub fn len(&self) -> usize {
        self.height * self.width * self.channels
    }

    /// Values in all, of a shape from outside, which may claim more than there can be.
    pub fn checked_len(&self) -> Option<usize> {
        self.height.checked_mul(self.width)?.checked_mul(self.channels)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "{}x{}x{}", self.height, self.width, self.channels)
    }
}

/// An input shape and the layers up to and with the outputs.
#[derive(Debug, Clone, PartialEq)]
pub struct Network {
    /// What the first layer gets.
    pub input: Shape,
    /// All layers.
    pub layers: Vec<Layer>,
}

impl Network {
    /// Whether it begins with an embedding.
    pub fn embeds(&self) -> bool {
        matches!(self.layers.first().map(|l| &l.kind), Some(Kind::Embedding { .. }))
    }

    /// The places of the input that hold codes of categories, in the order of their tables.
    pub fn codes(&self) -> impl Iterator<Item = usize> {
        let tables = match self.layers.first().map(|l| &l.kind) {
            Some(Kind::Embedding { tables }) => &tables[..],
            _ => &[],
        };
        tables.iter().map(|t| t.feature)
    }

    /// A network from a JSON list of layers; those that lead to `outputs` are added.
    ///
    /// # Errors
    /// `Error::Shape`, naming the layer, for anything but a list of known layers with known fields.
    pub fn from_json(input: Shape, json: &str, outputs: usize) -> Result<Network, Error> {
        let list: Value = serde_json::from_str(json)
            .map_err(|e| Error::Shape(format!("layers are not a JSON list of objects: {e}")))?;
        Ok(Network::finish(input, read_list(list, "")?, Kind::Dense { units: outputs, bias: true }.into()))
    }

    /// Adds the layer of the outputs, and a flatten where one is needed before it.
    pub(crate) fn finish(input: Shape, mut layers: Vec<Layer>, outputs: Layer) -> Network {
        let flattens =
            |l: &Layer| matches!(l.kind, Kind::Flatten {} | Kind::GlobalAvgPool {} | Kind::GlobalMaxPool {});
        if !input.is_flat() && !layers.iter().any(flattens) {
            layers.push(Kind::Flatten {}.into());
        }
        layers.push(outputs);
        Network { input, layers }
    }

    /// The network up to and with the layer of that name or number: what it makes of an input is an embedding.
    ///
    /// # Errors
    /// `Error::Shape` where there is no such layer; only those of the list itself, not inside of others, have
    /// outputs to look at.
    pub fn up_to(&self, layer: &str) -> Result<Network, Error> {
        let is = |(i, l): (usize, &Layer)| l.name.as_deref() == Some(layer) || i.to_string() == layer;
        let Some(last) = self.layers.iter().enumerate().position(is) else {
            let names = self.layers.iter().enumerate();
            let names: Vec<String> =
                names.map(|(i, l)| l.name.clone().unwrap_or_else(|| i.to_string())).collect();
            return Err(Error::Shape(format!("no layer \"{layer}\", there are {}", names.join(", "))));
        };
        Ok(Network { input: self.input, layers: self.layers[..=last].to_vec() })
    }

    /// All layers as JSON, with those that were added.
    pub fn to_json(&self) -> String {
        write_list(&self.layers).to_string()
    }

    /// A network from all its layers, as `to_json` wrote them.
    ///
    /// # Errors
    /// `Error::Corrupt`.
    pub fn restore(input: Shape, json: &str) -> Result<Network, Error> {
        let list = serde_json::from_str(json).map_err(|e| e.to_string());
        let layers = list.and_then(|list| read_list(list, "").map_err(|e| e.to_string()));
        let layers =
            layers.map_err(|e| Error::Corrupt(format!("the stored layers are not understood: {e}")))?;
        Ok(Network { input, layers })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_layers_with_defaults_and_adds_the_outputs() {
        let json = r#"[{"type":"conv2d","filters":8,"name":"first"},{"type":"relu"},{"type":"max_pool2d"},
            {"type":"residual","layers":[{"type":"conv2d","filters":8,"kernel_size":[3,1],"padding":[1,0]}]},
            {"type":"concat","branches":[[],[{"type":"gelu"}]]}]"#;
        let network = Network::from_json(Shape::new(8, 8, 1), json, 10).unwrap();
        let conv = Kind::Conv2d {
            filters: 8,
            kernel_size: Pair::both(3),
            stride: Pair::both(1),
            padding: Padding::Same,
            dilation: Pair::both(1),
            groups: 1,
            bias: true,
        };
        assert_eq!(network.layers[0], Layer::from(conv).named("first"));
        let added: [Layer; 2] = [Kind::Flatten {}.into(), Kind::Dense { units: 10, bias: true }.into()];
        assert_eq!(network.layers[5..], added);
        assert_eq!(Network::restore(network.input, &network.to_json()).unwrap(), network);
        assert_eq!(network.up_to("first").unwrap().layers.len(), 1);
        assert_eq!(network.up_to("2").unwrap().layers.len(), 3);
        assert!(network.up_to("last").unwrap_err().to_string().contains("there are first, 1, 2"));
    }

    #[test]
    fn refuses_unknown_layers_and_fields_by_name() {
        let refuse = |json| Network::from_json(Shape::flat(4), json, 2).unwrap_err().to_string();
        assert!(refuse(r#"[{"type":"relu"},{"type":"dens","units":3}]"#).starts_with("layer 1 (dens)"));
        let unknown = refuse(r#"[{"type":"dense","units":3,"unit":1}]"#);
        assert!(unknown.starts_with("layer 0 (dense)") && unknown.contains("`unit`"), "{unknown}");
        assert!(refuse(r#"[{"type":"relu","x":1}]"#).contains("layer 0 (relu)"));
        assert!(refuse(r#"[{"units":3}]"#).contains("of no type"));
        assert!(refuse("{}").contains("not a JSON list"));
        assert!(refuse(r#"[{"type":"dense","units":-3}]"#).contains("layer 0 (dense)"));
        assert!(refuse("[3]").contains("layer 0 (of no type)"));
        let nested = refuse(r#"[{"type":"residual","layers":[{"type":"relu"},{"type":"rel"}]}]"#);
        assert!(nested.starts_with("layer 0.layers.1 (rel)"), "{nested}");
        let nested = refuse(r#"[{"type":"concat","branches":[[],[{"type":"rel"}]]}]"#);
        assert!(nested.starts_with("layer 0.branches.1.0 (rel)"), "{nested}");
        assert!(refuse(r#"[{"type":"residual"}]"#).contains("no \"layers\""));
        assert!(refuse(r#"[{"type":"residual","layers":[],"with":1}]"#).contains("`with`"));
        assert!(refuse(r#"[{"type":"relu","name":""}]"#).contains("name"));
        assert!(refuse(r#"[{"type":"max_pool2d","kernel_size":[1,2,3]}]"#).contains("[down, across]"));
    }
}
