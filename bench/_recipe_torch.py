"""PyTorch's side of _recipe.py, at its best on a CPU (channels_last): the layers of Damson's presets, its variation of images,
PyTorch's own optimisers, losses and OneCycleLR. Run by _recipe.py with an interpreter that has torch; a line an epoch, and
what it reached as JSON at the end.

python _recipe_torch.py IMAGES.npz PARAMS THREADS ROWS
"""

import json
import sys
import time

import numpy as np
import torch
from _torch_networks import network
from torch import nn

data, params, threads, rows = np.load(sys.argv[1]), json.loads(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
torch.set_num_threads(threads)
torch.manual_seed(0)
form = {"memory_format": torch.channels_last}
epochs, batch_size = params["epochs"], params["batch_size"]


def split(part, every=1):
    x = torch.from_numpy(data[f"{part}_x"][::every]).permute(0, 3, 1, 2).contiguous(**form)
    return x, torch.from_numpy(data[f"{part}_y"][::every])


x, y = split("train", max(1, len(data["train_y"]) // rows) if rows else 1)
test_x, test_y = split("test", max(1, len(data["test_y"]) // rows) if rows else 1)
started = time.perf_counter()
# Channel by channel in pieces: the whole as doubles would not fit everywhere.
mean = torch.tensor([x[:, c].double().mean() for c in range(x.shape[1])]).float().view(1, -1, 1, 1)
spread = torch.tensor([x[:, c].double().std(correction=0) for c in range(x.shape[1])]).float().view(1, -1, 1, 1)


def varied(images):
    """Mirrored and moved as crates/nn/src/augment.rs does it; what comes in is the mean, which is 0."""
    kind = params.get("augment", "none")
    if "flip" in kind:
        flip = torch.rand(len(images)) < 0.5
        images = torch.where(flip.view(-1, 1, 1, 1), images.flip(3), images)
    if "crop" in kind:
        most, side = max(1, x.shape[2] // 8), x.shape[2]
        padded = nn.functional.pad(images, [most] * 4)
        at = torch.randint(0, 2 * most + 1, (len(images), 2)).tolist()
        images = torch.stack([p[:, r : r + side, c : c + side] for p, (r, c) in zip(padded, at)])
    return images.contiguous(**form)


model = nn.Sequential(*network(params["architecture"], x.shape[2], x.shape[1], params["dropout"])).to(**form)
rate, decay = params["learning_rate"], params.get("weight_decay", 0.0)
optimizer = torch.optim.Adam(model.parameters(), lr=rate, weight_decay=decay)
steps = epochs * -(-len(x) // batch_size)
schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=rate, total_steps=steps + 1, cycle_momentum=False)
criterion = nn.CrossEntropyLoss(label_smoothing=params.get("label_smoothing", 0.0))
for epoch in range(epochs):
    model.train()
    total = 0.0
    for batch in torch.randperm(len(x)).split(batch_size):
        optimizer.zero_grad(set_to_none=True)
        images = varied((x[batch].float() - mean) / spread)
        loss = criterion(model(images), y[batch])
        loss.backward()
        if params.get("max_grad_norm", 0) > 0:
            nn.utils.clip_grad_norm_(model.parameters(), params["max_grad_norm"])
        optimizer.step()
        schedule.step()
        total += loss.item() * len(batch)
    minutes = (time.perf_counter() - started) / 60
    print(f"epoch {epoch + 1} of {epochs}: loss {total / len(x):.4f}, {minutes:.1f} minutes", flush=True)
seconds = time.perf_counter() - started
model.eval()
with torch.inference_mode():
    right = sum(
        int((model((images.float() - mean) / spread).argmax(1) == labels).sum())
        for images, labels in zip(test_x.split(256), test_y.split(256), strict=True)
    )
print(json.dumps({"accuracy": right / len(test_y), "minutes": seconds / 60, "rate": len(x) * epochs / seconds,
                  "torch": torch.__version__}))
