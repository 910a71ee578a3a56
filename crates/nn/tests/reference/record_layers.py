"""Records what PyTorch makes of one small network for each kind of layer: outputs, loss, and all gradients.

Run in an environment with torch, numpy and safetensors:  python record_layers.py
It writes layers.safetensors beside itself; tests/layers.rs compares. Modules are put together so that their state_dict
has the names that the engine gives.
"""

from pathlib import Path

import numpy as np
import torch
from _losses import record_losses
from safetensors.numpy import save_file
from torch import nn

torch.set_num_threads(1)
out = {}


class Residual(nn.Module):
    def __init__(self, layers, shortcut=()):
        super().__init__()
        self.layers, self.shortcut = nn.Sequential(*layers), nn.Sequential(*shortcut)

    def forward(self, x):
        return self.layers(x) + self.shortcut(x)


class Concat(nn.Module):
    def __init__(self, *branches):
        super().__init__()
        self.branches = nn.ModuleList(nn.Sequential(*b) for b in branches)

    def forward(self, x):
        return torch.cat([b(x) for b in self.branches], 1)


class PixelNorm(nn.LayerNorm):
    """A layer norm over the channels of each pixel."""

    def forward(self, x):
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)




conv, bn, relu = nn.Conv2d, nn.BatchNorm2d, nn.ReLU
head = lambda n: [nn.Flatten(), nn.Linear(n, 4)]
cases = {
    "norms": ((8, 7, 3), lambda: [
        conv(3, 20, 3, padding=1, bias=False), bn(20), relu(), conv(20, 12, 3, padding=1), nn.GroupNorm(3, 12), relu(),
        PixelNorm(12), nn.Flatten(), nn.Linear(12 * 56, 18), nn.BatchNorm1d(18), nn.SiLU(), nn.LayerNorm(18),
        nn.Linear(18, 4)]),
    "residual": ((9, 8, 3), lambda: [
        conv(3, 16, 3, padding=1, bias=False), bn(16), relu(),
        Residual([conv(16, 16, 3, padding=1), bn(16), relu(), conv(16, 16, 3, padding=1), bn(16)]), relu(),
        Residual([conv(16, 24, 3, stride=2, padding=1), bn(24)], [conv(16, 24, 1, stride=2, bias=False), bn(24)]),
        relu(), nn.AdaptiveAvgPool2d(1), *head(24)]),
    "concat": ((6, 7, 3), lambda: [
        conv(3, 6, 1), relu(), Concat([], [conv(6, 5, 3, padding=1), relu()], [nn.AvgPool2d(3, 1, 1), conv(6, 17, 1)]),
        conv(28, 8, 3, padding=1), nn.AdaptiveMaxPool2d(1), *head(8)]),
    "mobile": ((9, 8, 3), lambda: [
        conv(3, 20, 3, stride=2, padding=1), bn(20), relu(), conv(20, 20, 3, padding=1, groups=20), bn(20), relu(),
        conv(20, 33, 1, bias=False), bn(33), relu(), conv(33, 33, 3, stride=2, padding=1, groups=33), nn.Tanh(),
        *head(33 * 3 * 2)]),
    "groups": ((7, 6, 4), lambda: [
        conv(4, 32, 3, padding=1, groups=2), nn.GELU(), conv(32, 64, 3, padding=2, dilation=2, groups=2), nn.Sigmoid(),
        conv(64, 12, (3, 1), stride=(2, 1), padding=(1, 0), groups=4), nn.LeakyReLU(0.2),
        conv(12, 9, 3, padding=1, dilation=1), nn.Softmax(1), nn.MaxPool2d(3, 2, 1), *head(9 * 2 * 3)]),
    "series": ((1, 31, 2), lambda: [
        nn.Conv1d(2, 7, 5, padding=2), nn.ReLU(), nn.Conv1d(7, 6, 3, stride=2, padding=1), nn.Tanh(),
        nn.Conv1d(6, 5, 3, dilation=3, padding=3), nn.SiLU(), *head(5 * 16)]),
}
for seed, (name, (shape, layers)) in enumerate(cases.items()):
    torch.manual_seed(seed)
    rows, (height, width, channels) = 20, shape
    model = nn.Sequential(*layers())
    with torch.no_grad():
        for key, p in model.named_parameters():
            # No norm may be one that changes nothing.
            p.mul_(1.3).add_(0.1 * torch.randn(p.shape))
    x = np.random.default_rng(seed).normal(size=(rows, height, width, channels)).astype(np.float32)
    y = np.random.default_rng(seed + 100).integers(0, 4, rows)
    normal = ((x - x.mean((0, 1, 2), dtype=np.float64)) / x.std((0, 1, 2), dtype=np.float64)).astype(np.float32)
    given = torch.tensor(normal).permute(0, 3, 1, 2)
    if height == 1:
        given = given[:, :, 0, :]

    def record(prefix, values):
        for key, value in values:
            if "num_batches" not in key:
                out[f"{name}/{prefix}/{key}"] = value.detach().numpy().copy()

    record("start", model.state_dict().items())
    model.eval()
    with torch.no_grad():
        out[f"{name}/outputs"] = model(given).numpy().copy()
    model.train()
    loss = nn.functional.cross_entropy(model(given), torch.tensor(y), label_smoothing=0.1)
    loss.backward()
    record("gradient", ((k, p.grad) for k, p in model.named_parameters()))
    record("after", ((k, v) for k, v in model.state_dict().items() if "running" in k))
    out[f"{name}/inputs"], out[f"{name}/labels"] = x, y.astype(np.float32)
    out[f"{name}/loss"] = np.array([loss.item()], dtype=np.float32)
    print(name, loss.item())

# Losses and rules that other files do not hold: clipping, and the losses themselves.
z, y = torch.randn(9, 4) * 2, torch.randn(9, 4)
classes, binary = torch.randint(0, 4, (9,)), torch.randint(0, 2, (9, 4)).float()
zs = z.clone().requires_grad_()
losses = {
    "smoothed": lambda: nn.functional.cross_entropy(zs, classes, label_smoothing=0.15),
    "squared": lambda: nn.functional.mse_loss(zs, y),
    "huber": lambda: nn.functional.huber_loss(zs, y, delta=0.7),
    "binary": lambda: nn.functional.binary_cross_entropy_with_logits(zs, binary),
    "focal": lambda: (-((1 - zs.softmax(1)) ** 2 * zs.log_softmax(1)).gather(1, classes[:, None])).mean(),
}
record_losses(out, zs, losses)
for name, value in {"z": z, "y": y, "classes": classes.float(), "binary": binary}.items():
    out[f"loss/given/{name}"] = value.numpy().copy()
save_file(out, str(Path(__file__).parent / "layers.safetensors"))
