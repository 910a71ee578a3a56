"""Records what PyTorch makes of a small network: losses, gradients, and weights after steps of its optimisers.

Run in an environment with torch, numpy and safetensors:  python record.py
It writes pytorch.safetensors beside itself; tests/pytorch.rs compares.
"""

from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file
from torch import nn

torch.manual_seed(7)
torch.set_num_threads(1)


def network():
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding="same"),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 20, 4, padding="same"),
        nn.ReLU(),
        nn.AvgPool2d(3, 2),
        nn.Conv2d(20, 5, 2, stride=2, padding="valid"),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(5 * 2 * 1, 18),
        nn.ReLU(),
        nn.Linear(18, 4),
    )


rows = 24
images = np.random.default_rng(3).integers(0, 256, (rows, 19, 14, 3), dtype=np.uint8)
labels = np.random.default_rng(4).integers(0, 4, rows)
x = torch.tensor(images, dtype=torch.float64)
x = ((x - x.mean((0, 1, 2))) / x.std((0, 1, 2), correction=0)).float().permute(0, 3, 1, 2)
y = torch.tensor(labels)

out = {"images": images, "labels": labels.astype(np.float32)}
start = network()
with torch.no_grad():
    # Far enough from zero that no relu dies.
    for p in start.parameters():
        p.mul_(1.6)


def record(prefix, model):
    for name, value in model.state_dict().items():
        out[f"{prefix}/{name}"] = value.numpy().copy()


record("start", start)
optimizers = {
    "gradient": (lambda p: torch.optim.SGD(p, lr=1.0), 1),
    "sgd": (lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=0.01), 6),
    "nesterov": (lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.8, nesterov=True), 6),
    "adam": (lambda p: torch.optim.Adam(p, lr=0.01, weight_decay=0.01), 6),
    "adamw": (lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1), 6),
}
for name, (make, steps) in optimizers.items():
    model = network()
    model.load_state_dict(start.state_dict())
    optimizer = make(model.parameters())
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        losses.append(loss.item())
        if name == "gradient":
            for key, p in model.named_parameters():
                out[f"gradient/{key}"] = p.grad.numpy().copy()
        optimizer.step()
    out[f"{name}/loss"] = np.array(losses, dtype=np.float32)
    if name != "gradient":
        record(name, model)
with torch.no_grad():
    out["start/outputs"] = start(x).numpy().copy()
save_file(out, str(Path(__file__).parent / "pytorch.safetensors"))
print({k: v.tolist() for k, v in out.items() if k.endswith("loss")})
