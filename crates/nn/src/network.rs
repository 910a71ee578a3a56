//! A network as its user describes it: an input shape and a list of layers, in JSON or by a preset's name.
//!
//! ```json
//! [{"type": "conv2d", "filters": 32}, {"type": "relu"}, {"type": "max_pool2d"},
//!  {"type": "flatten"}, {"type": "dense", "units": 128}, {"type": "relu"}, {"type": "dropout", "rate": 0.5}]
//! ```
//!
//! The list says what comes before the outputs: a flatten (where the list ends in an image) and the dense layer
//! of the outputs are added.

use crate::Error;
use serde::{Deserialize, Serialize};

/// One layer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Layer {
    /// Convolution with a bias.
    Conv2d {
        /// Output channels.
        filters: usize,
        /// Pixels of the square kernel, down and across.
        #[serde(default = "three")]
        kernel_size: usize,
        /// Pixels between neighbouring outputs.
        #[serde(default = "one")]
        stride: usize,
        /// What is done at the edges.
        #[serde(default)]
        padding: Padding,
    },
    /// The greatest value of each window.
    MaxPool2d {
        /// Pixels of the square window.
        #[serde(default = "two")]
        kernel_size: usize,
        /// Pixels between windows; as wide as the window where it is left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stride: Option<usize>,
    },
    /// The mean of each window.
    AvgPool2d {
        /// Pixels of the square window.
        #[serde(default = "two")]
        kernel_size: usize,
        /// Pixels between windows; as wide as the window where it is left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stride: Option<usize>,
    },
    /// The mean of each channel over the image.
    GlobalAvgPool {},
    /// An image as one row of numbers.
    Flatten {},
    /// A full linear layer with a bias.
    Dense {
        /// Outputs.
        units: usize,
    },
    /// `max(x, 0)`.
    Relu {},
    /// Zeroes values at random while training, and scales up the others.
    Dropout {
        /// The share that is zeroed, `0 <= rate < 1`.
        rate: f32,
    },
}

/// What a convolution does at the edges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Padding {
    /// Zeros around the image, so that the output has `ceil(input / stride)` pixels; where their number is odd,
    /// one more after than before (as in TensorFlow and, for stride 1, PyTorch).
    #[default]
    Same,
    /// None: the output is smaller.
    Valid,
}

fn one() -> usize {
    1
}
fn two() -> usize {
    2
}
fn three() -> usize {
    3
}

impl Layer {
    /// Its name in JSON.
    pub fn kind(&self) -> &'static str {
        match self {
            Layer::Conv2d { .. } => "conv2d",
            Layer::MaxPool2d { .. } => "max_pool2d",
            Layer::AvgPool2d { .. } => "avg_pool2d",
            Layer::GlobalAvgPool {} => "global_avg_pool",
            Layer::Flatten {} => "flatten",
            Layer::Dense { .. } => "dense",
            Layer::Relu {} => "relu",
            Layer::Dropout { .. } => "dropout",
        }
    }
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
    /// A network from a JSON list of layers; those that lead to `outputs` are added.
    ///
    /// # Errors
    /// `Error::Shape`, naming the layer, for anything but a list of known layers with known fields.
    pub fn from_json(input: Shape, json: &str, outputs: usize) -> Result<Network, Error> {
        let list: Vec<serde_json::Value> = serde_json::from_str(json)
            .map_err(|e| Error::Shape(format!("layers are not a JSON list of objects: {e}")))?;
        let mut layers = vec![];
        for (i, item) in list.into_iter().enumerate() {
            let kind = item.get("type").and_then(|t| t.as_str()).unwrap_or("of no type").to_string();
            let layer = serde_json::from_value(item)
                .map_err(|e| Error::Shape(format!("layer {i} ({kind}) is not understood: {e}")))?;
            layers.push(layer);
        }
        Ok(Network::finish(input, layers, outputs))
    }

    /// Adds the dense layer of the outputs, and a flatten where one is needed before it.
    fn finish(input: Shape, mut layers: Vec<Layer>, outputs: usize) -> Network {
        let mut flat = (input.height, input.width) == (1, 1);
        for layer in &layers {
            flat |= matches!(layer, Layer::Flatten {} | Layer::GlobalAvgPool {});
        }
        if !flat {
            layers.push(Layer::Flatten {});
        }
        layers.push(Layer::Dense { units: outputs });
        Network { input, layers }
    }

    /// All layers as JSON, with those that were added.
    pub fn to_json(&self) -> String {
        serde_json::to_string(&self.layers).unwrap_or_default()
    }

    /// A network from all its layers, as `to_json` wrote them.
    ///
    /// # Errors
    /// `Error::Corrupt`.
    pub fn restore(input: Shape, json: &str) -> Result<Network, Error> {
        let layers = serde_json::from_str(json)
            .map_err(|e| Error::Corrupt(format!("the stored layers are not understood: {e}")))?;
        Ok(Network { input, layers })
    }

    /// A network of that name, sized to the input: `cnn_small`, `lenet` or `mlp`.
    ///
    /// `cnn_small`: three 3x3 convolutions of 32, 64 and 64 channels, each with relu and, while the image has at
    /// least 4 pixels a side, 2x2 max pooling; dropout, a dense layer of 128, dropout. `lenet`: LeCun et al. 1998
    /// with relu and max pooling. `mlp`: dense layers of 128 and 64, each with dropout.
    pub fn preset(name: &str, input: Shape, dropout: f32, outputs: usize) -> Option<Network> {
        let mut layers = vec![];
        let (relu, rate) = (Layer::Relu {}, dropout);
        let dropout = |layers: &mut Vec<Layer>| {
            if rate > 0.0 {
                layers.push(Layer::Dropout { rate });
            }
        };
        let mut side = input.height.min(input.width);
        let mut conv = |layers: &mut Vec<Layer>, filters, kernel_size| {
            layers.push(Layer::Conv2d { filters, kernel_size, stride: 1, padding: Padding::Same });
            layers.push(relu);
            if side >= 4 {
                layers.push(Layer::MaxPool2d { kernel_size: 2, stride: None });
                side /= 2;
            }
        };
        match name {
            "cnn_small" => {
                for filters in [32, 64, 64] {
                    conv(&mut layers, filters, 3);
                }
                layers.push(Layer::Flatten {});
                dropout(&mut layers);
                layers.extend([Layer::Dense { units: 128 }, relu]);
                dropout(&mut layers);
            }
            "lenet" => {
                conv(&mut layers, 6, 5);
                conv(&mut layers, 16, 5);
                layers.push(Layer::Flatten {});
                for units in [120, 84] {
                    layers.extend([Layer::Dense { units }, relu]);
                    dropout(&mut layers);
                }
            }
            "mlp" => {
                layers.push(Layer::Flatten {});
                for units in [128, 64] {
                    layers.extend([Layer::Dense { units }, relu]);
                    dropout(&mut layers);
                }
            }
            _ => return None,
        }
        Some(Network::finish(input, layers, outputs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_layers_with_defaults_and_adds_the_outputs() {
        let json = r#"[{"type":"conv2d","filters":8},{"type":"relu"},{"type":"max_pool2d"}]"#;
        let network = Network::from_json(Shape::new(8, 8, 1), json, 10).unwrap();
        let conv = Layer::Conv2d { filters: 8, kernel_size: 3, stride: 1, padding: Padding::Same };
        assert_eq!(network.layers[0], conv);
        assert_eq!(network.layers[3..], [Layer::Flatten {}, Layer::Dense { units: 10 }]);
        assert_eq!(Network::restore(network.input, &network.to_json()).unwrap(), network);
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
    }
}
