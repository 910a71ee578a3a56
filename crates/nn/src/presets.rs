//! Networks by name, sized to their input.

use crate::network::{Kind, Layer, Network, Padding, Pair, Shape};

/// The names, in the order of the reference.
pub const NAMES: [&str; 7] = ["cnn_small", "lenet", "resnet9", "resnet18", "mobilenet", "mlp", "autoencoder"];

/// A network of that name.
///
/// - `cnn_small`: three 3x3 convolutions of 32, 64 and 64 channels, each with relu and, while the image has at
///   least 4 pixels a side, 2x2 max pooling; dropout, a dense layer of 128, dropout.
/// - `lenet`: LeCun et al. 1998 with relu and max pooling.
/// - `resnet9`: the residual network of David Page's "How to train your ResNet" (2018).
/// - `resnet18`: He et al. 2016, under torchvision's names of weights; images below 64 pixels a side begin with a
///   3x3 convolution instead of a 7x7 one and a pooling.
/// - `mobilenet`: Howard et al. 2017; smaller images are halved less often.
/// - `mlp`: dense layers of 128 and 64, each with dropout.
/// - `autoencoder`: dense layers of 64, 16 (named `code`) and 64.
pub fn preset(name: &str, input: Shape, dropout: f32, outputs: usize) -> Option<Network> {
    let mut b = Builder { layers: vec![], side: input.height.min(input.width), dropout };
    let mut last = "";
    match name {
        "cnn_small" => {
            for filters in [32, 64, 64] {
                b.shrink_after(filters, 3);
            }
            b.push(Kind::Flatten {});
            b.drop();
            b.dense(128, Kind::Relu {});
        }
        "lenet" => {
            b.shrink_after(6, 5);
            b.shrink_after(16, 5);
            b.push(Kind::Flatten {});
            b.dense(120, Kind::Relu {});
            b.dense(84, Kind::Relu {});
        }
        "resnet9" => {
            let unit = |filters| [conv(filters, 3, 1, 1), Layer::from(norm()), Kind::Relu {}.into()];
            let pair = |filters| [unit(filters), unit(filters)].concat();
            b.layers.extend(unit(64));
            b.layers.extend(unit(128));
            b.shrink();
            b.push(Kind::Residual { layers: pair(128), shortcut: vec![] });
            b.layers.extend(unit(256));
            b.shrink();
            b.layers.extend(unit(512));
            b.shrink();
            b.push(Kind::Residual { layers: pair(512), shortcut: vec![] });
            b.push(Kind::GlobalMaxPool {});
            b.drop();
        }
        "resnet18" => {
            if b.side < 64 {
                b.layers.push(conv(64, 3, 1, 1).named("conv1"));
            } else {
                b.layers.push(conv(64, 7, 2, 3).named("conv1"));
            }
            b.layers.push(Layer::from(norm()).named("bn1"));
            b.push(Kind::Relu {});
            if b.side >= 64 {
                let (kernel_size, stride) = (Pair::both(3), Some(Pair::both(2)));
                b.push(Kind::MaxPool2d { kernel_size, stride, padding: Pair::both(1) });
            }
            for (stage, filters) in [64, 128, 256, 512].into_iter().enumerate() {
                for block in 0..2 {
                    let (narrows, place) = (stage > 0 && block == 0, format!("layer{}.{block}", stage + 1));
                    b.block(filters, if narrows { 2 } else { 1 }, narrows, &place);
                }
            }
            b.push(Kind::GlobalAvgPool {});
            b.drop();
            last = "fc";
        }
        "mobilenet" => {
            // An image of 224 is halved five times; each time it is half as large, once less.
            let mut spare = 5usize.saturating_sub((b.side.max(1) as f64 / 4.0).log2().max(1.0) as usize);
            let mut stride = |wanted: usize| {
                let keep = wanted == 2 && spare > 0;
                spare -= usize::from(keep);
                if keep { 1 } else { wanted }
            };
            b.layers.extend([conv(32, 3, stride(2), 1), norm().into(), Kind::Relu {}.into()]);
            let blocks = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)];
            for (filters, wanted) in blocks.into_iter().chain([(512, 1); 5]).chain([(1024, 2), (1024, 1)]) {
                let (one, stride) = (Pair::both(1), Pair::both(stride(wanted)));
                let padding = Padding::Pixels(one);
                let kernel_size = Pair::both(3);
                b.push(Kind::DepthwiseConv2d { kernel_size, stride, padding, dilation: one, bias: false });
                b.layers.extend([norm().into(), Kind::Relu {}.into(), conv(filters, 1, 1, 0)]);
                b.layers.extend([norm().into(), Kind::Relu {}.into()]);
            }
            b.push(Kind::GlobalAvgPool {});
            b.drop();
        }
        "mlp" => {
            b.push(Kind::Flatten {});
            b.dense(128, Kind::Relu {});
            b.dense(64, Kind::Relu {});
        }
        "autoencoder" => {
            b.push(Kind::Flatten {});
            b.dense(64, Kind::Relu {});
            b.layers.push(Layer::from(Kind::Dense { units: 16, bias: true }).named("code"));
            b.push(Kind::Relu {});
            b.dense(64, Kind::Relu {});
        }
        _ => return None,
    }
    let outputs = Layer::from(Kind::Dense { units: outputs, bias: true });
    Some(Network::finish(input, b.layers, if last.is_empty() { outputs } else { outputs.named(last) }))
}

/// A convolution without bias, for a batch norm to follow.
fn conv(filters: usize, kernel: usize, stride: usize, padding: usize) -> Layer {
    let (kernel_size, stride) = (Pair::both(kernel), Pair::both(stride));
    let padding = Padding::Pixels(Pair::both(padding));
    Kind::Conv2d { filters, kernel_size, stride, padding, dilation: Pair::both(1), groups: 1, bias: false }
        .into()
}

fn norm() -> Kind {
    Kind::BatchNorm { momentum: 0.1, epsilon: 1e-5 }
}

struct Builder {
    layers: Vec<Layer>,
    /// Pixels of the image's shorter side.
    side: usize,
    dropout: f32,
}

impl Builder {
    fn push(&mut self, kind: Kind) {
        self.layers.push(kind.into());
    }

    fn drop(&mut self) {
        if self.dropout > 0.0 {
            self.push(Kind::Dropout { rate: self.dropout });
        }
    }

    fn dense(&mut self, units: usize, activation: Kind) {
        self.push(Kind::Dense { units, bias: true });
        self.push(activation);
        self.drop();
    }

    /// Halves the image, unless it is small.
    fn shrink(&mut self) {
        if self.side >= 4 {
            self.push(Kind::MaxPool2d { kernel_size: Pair::both(2), stride: None, padding: Pair::both(0) });
            self.side /= 2;
        }
    }

    fn shrink_after(&mut self, filters: usize, kernel: usize) {
        let (one, kernel_size) = (Pair::both(1), Pair::both(kernel));
        let padding = Padding::Same;
        self.push(Kind::Conv2d {
            filters,
            kernel_size,
            stride: one,
            padding,
            dilation: one,
            groups: 1,
            bias: true,
        });
        self.push(Kind::Relu {});
        self.shrink();
    }

    /// A basic block of He et al. 2016 under torchvision's names.
    fn block(&mut self, filters: usize, stride: usize, narrows: bool, place: &str) {
        let named = |layer: Layer, name: &str| layer.named(format!("{place}.{name}"));
        let layers = vec![
            named(conv(filters, 3, stride, 1), "conv1"),
            named(norm().into(), "bn1"),
            Kind::Relu {}.into(),
            named(conv(filters, 3, 1, 1), "conv2"),
            named(norm().into(), "bn2"),
        ];
        let mut shortcut = vec![];
        if narrows {
            shortcut.push(named(conv(filters, 1, stride, 0), "downsample.0"));
            shortcut.push(named(norm().into(), "downsample.1"));
        }
        self.push(Kind::Residual { layers, shortcut });
        self.push(Kind::Relu {});
    }
}
