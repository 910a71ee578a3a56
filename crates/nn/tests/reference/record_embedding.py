"""Records what PyTorch makes of a network that embeds two categories beside three numbers: outputs, loss, gradients.

Run in an environment with torch, numpy and safetensors:  python record_embedding.py
It writes embedding.safetensors beside itself; tests/embedding.rs compares. Modules are put together so that their
state_dict has the names that the engine gives.
"""

from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file
from torch import nn

torch.set_num_threads(1)
torch.manual_seed(5)
CODES = {1: (7, 3), 4: (12, 5)}
NUMBERS = [0, 2, 3]


class Embed(nn.ModuleList):
    """Numbers first, then the rows of the tables; what is no code has the last row."""

    def forward(self, x):
        rows = []
        for (place, (categories, _)), table in zip(CODES.items(), self):
            code = torch.nan_to_num(x[:, place], nan=categories - 1).long()
            rows.append(table(code))
        return torch.cat([x[:, NUMBERS], *rows], 1)


rng = np.random.default_rng(5)
x = rng.normal(size=(40, 5)).astype(np.float32)
for place, (categories, _) in CODES.items():
    x[:, place] = rng.integers(0, categories, 40)
x[3, 1] = x[8, 4] = np.nan
y = rng.integers(0, 4, 40)
mean, spread = x[:, NUMBERS].mean(0, dtype=np.float64), x[:, NUMBERS].std(0, dtype=np.float64)
given = x.copy()
given[:, NUMBERS] = ((x[:, NUMBERS] - mean) / spread).astype(np.float32)
given = torch.tensor(given)
model = nn.Sequential(
    Embed([nn.Embedding(*size) for size in CODES.values()]), nn.Linear(11, 9), nn.BatchNorm1d(9), nn.ReLU(), nn.Linear(9, 4)
)
out = {"inputs": x, "labels": y.astype(np.float32)}
for key, value in model.state_dict().items():
    if "num_batches" not in key:
        out[f"start/{key}"] = value.detach().numpy().copy()
model.eval()
with torch.no_grad():
    out["outputs"] = model(given).numpy().copy()
model.train()
loss = nn.functional.cross_entropy(model(given), torch.tensor(y))
loss.backward()
out["loss"] = np.array([loss.item()], dtype=np.float32)
for key, p in model.named_parameters():
    out[f"gradient/{key}"] = p.grad.numpy().copy()
save_file(out, str(Path(__file__).parent / "embedding.safetensors"))
print("loss", loss.item())
