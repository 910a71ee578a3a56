"""PyTorch's side of networks.py: images a second of training and of scoring, at its best (channels_last, all in memory as
normalised floats). Run by networks.py with an interpreter that has torch; prints JSON.

python _networks_torch.py NAME SIDE CHANNELS ROWS EPOCHS THREADS
"""

import json
import sys
import time

import torch
from _torch_networks import network
from torch import nn

name, (side, channels, rows, epochs, threads) = sys.argv[1], map(int, sys.argv[2:])
torch.set_num_threads(threads)
torch.manual_seed(0)
form = {"memory_format": torch.channels_last}
model = nn.Sequential(*network(name, side, channels, 0.25)).to(**form)
optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
x = torch.randn(rows, channels, side, side).to(**form)
y = torch.randint(0, 10, (rows,))


def epoch():
    model.train()
    order = torch.randperm(rows)
    for batch in order.split(64):
        optimizer.zero_grad(set_to_none=True)
        nn.functional.cross_entropy(model(x[batch].contiguous(**form)), y[batch]).backward()
        optimizer.step()


def score():
    model.eval()
    with torch.inference_mode():
        for batch in x.split(256):
            model(batch).argmax(1)


def rate(work, times):
    started = time.perf_counter()
    for _ in range(times):
        work()
    return rows * times / (time.perf_counter() - started)


for batch in x[:256].split(64):
    model(batch.contiguous(**form)).sum().backward()
trained = max(rate(epoch, 1) for _ in range(epochs))
score()
print(json.dumps({"train": trained, "score": max(rate(score, 1) for _ in range(3)), "torch": torch.__version__}))
