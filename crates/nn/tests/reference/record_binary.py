"""Records what PyTorch makes of sets of labels: binary losses with weights of positives, and a network trained by one.

Run in an environment with torch, numpy and safetensors:  python record_binary.py
It writes binary.safetensors beside itself; tests/binary.rs compares. The focal loss is torchvision's sigmoid_focal_loss
without alpha, times the weight of positives.
"""

from pathlib import Path

import numpy as np
import torch
from _losses import record_losses
from safetensors.numpy import save_file
from torch import nn

torch.set_num_threads(1)
torch.manual_seed(3)
out = {}
LABELS = 5
weight = torch.tensor([1.0, 4.0, 0.5, 2.5, 1.0])


def focal(z, y, gamma, weight):
    p = torch.sigmoid(z)
    loss = nn.functional.binary_cross_entropy_with_logits(z, y, reduction="none")
    right = p * y + (1 - p) * (1 - y)
    return (loss * (1 - right) ** gamma * (1 + (weight - 1) * y)).mean()


z, y = torch.randn(9, LABELS) * 3, torch.randint(0, 2, (9, LABELS)).float()
zs = z.clone().requires_grad_()
losses = {
    "plain": lambda: nn.BCEWithLogitsLoss()(zs, y),
    "weighted": lambda: nn.BCEWithLogitsLoss(pos_weight=weight)(zs, y),
    "focal": lambda: focal(zs, y, 2.0, torch.ones(LABELS)),
    "focal weighted": lambda: focal(zs, y, 1.5, weight),
}
record_losses(out, zs, losses)
for name, value in {"z": z, "y": y, "weight": weight}.items():
    out[f"given/{name}"] = value.numpy().copy()

# A network on images, whose rows have sets of labels: one of them has none.
rows, height, width, channels = 20, 6, 7, 3
model = nn.Sequential(nn.Conv2d(channels, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 42, LABELS))
x = np.random.default_rng(1).normal(size=(rows, height, width, channels)).astype(np.float32)
y = torch.tensor((np.random.default_rng(2).uniform(size=(rows, LABELS)) < 0.35).astype(np.float32))
y[7] = 0
normal = ((x - x.mean((0, 1, 2), dtype=np.float64)) / x.std((0, 1, 2), dtype=np.float64)).astype(np.float32)
given = torch.tensor(normal).permute(0, 3, 1, 2)
for key, value in model.state_dict().items():
    out[f"start/{key}"] = value.numpy().copy()
loss = nn.BCEWithLogitsLoss(pos_weight=weight)(model(given), y)
loss.backward()
for key, p in model.named_parameters():
    out[f"gradient/{key}"] = p.grad.numpy().copy()
out["network/loss"] = np.array([loss.item()], dtype=np.float32)
out["network/x"], out["network/y"] = x, y.numpy().copy()
save_file(out, str(Path(__file__).parent / "binary.safetensors"))
print({k: v.item() for k, v in out.items() if v.size == 1})
