"""The networks of crates/nn/src/presets.rs in PyTorch, for all that compares with it."""

import sys

from torch import nn


class Residual(nn.Module):
    def __init__(self, *layers):
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x):
        return x + self.layers(x)


def unit(i, o):
    return [nn.Conv2d(i, o, 3, padding=1, bias=False), nn.BatchNorm2d(o), nn.ReLU(inplace=True)]


def network(name, side, channels, dropout):
    """As crates/nn/src/presets.rs has it."""
    pool = nn.MaxPool2d(2)
    drop = [nn.Dropout(dropout)] if dropout > 0 else []
    if name == "cnn_small":
        def conv(i, o):
            return [nn.Conv2d(i, o, 3, padding=1), nn.ReLU(inplace=True), pool]

        last = 64 * (side // 8) ** 2
        return [*conv(channels, 32), *conv(32, 64), *conv(64, 64), nn.Flatten(), *drop, nn.Linear(last, 128), nn.ReLU(),
                *drop, nn.Linear(128, 10)]
    if name == "resnet9":
        return [*unit(channels, 64), *unit(64, 128), pool, Residual(*unit(128, 128), *unit(128, 128)), *unit(128, 256), pool,
                *unit(256, 512), pool, Residual(*unit(512, 512), *unit(512, 512)), nn.AdaptiveMaxPool2d(1), nn.Flatten(),
                *drop, nn.Linear(512, 10)]
    sys.exit(f"no network {name} here")
