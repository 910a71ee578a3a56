"""Images a second of PyTorch's training on the networks of tests/speed.rs, batches of 64, Adam.

Run in an environment with torch:  python speed.py
"""

import time

import torch
from torch import nn


def conv(i, o):
    return [nn.Conv2d(i, o, 3, padding=1), nn.ReLU()]


def networks():
    pool, tail = nn.MaxPool2d(2), lambda n: [nn.Flatten(), nn.Linear(n, 128), nn.ReLU()]
    yield "four convolutions", [
        *conv(3, 32), *conv(32, 32), pool, *conv(32, 64), *conv(64, 64), pool, *tail(4096), nn.Linear(128, 10)
    ]
    drop = nn.Dropout(0.25)
    yield "cnn_small", [
        *conv(3, 32), pool, *conv(32, 64), pool, *conv(64, 64), pool, nn.Flatten(), drop,
        nn.Linear(1024, 128), nn.ReLU(), drop, nn.Linear(128, 10),
    ]


    class Residual(nn.Module):
        def __init__(self, *layers):
            super().__init__()
            self.layers = nn.Sequential(*layers)

        def forward(self, x):
            return x + self.layers(x)

    unit = lambda i, o: [nn.Conv2d(i, o, 3, padding=1, bias=False), nn.BatchNorm2d(o), nn.ReLU()]
    yield "resnet9", [
        *unit(3, 64), *unit(64, 128), pool, Residual(*unit(128, 128), *unit(128, 128)), *unit(128, 256), pool,
        *unit(256, 512), pool, Residual(*unit(512, 512), *unit(512, 512)), nn.AdaptiveMaxPool2d(1), nn.Flatten(),
        nn.Linear(512, 10),
    ]


rows, batch = 512, 64
x = torch.randn(rows, 3, 32, 32)
y = torch.arange(rows) % 10
for name, layers in networks():
    for threads in (2,):
        for layout in ("contiguous", "channels_last"):
            torch.set_num_threads(threads)
            form = torch.channels_last if layout == "channels_last" else torch.contiguous_format
            model = nn.Sequential(*layers).to(memory_format=form)
            optimizer = torch.optim.Adam(model.parameters())
            data, best = x.to(memory_format=form), (float("inf"),) * 2
            for _ in range(2):
                wall, cpu = time.perf_counter(), time.process_time()
                for i in range(0, rows, batch):
                    optimizer.zero_grad()
                    nn.functional.cross_entropy(model(data[i : i + batch]), y[i : i + batch]).backward()
                    optimizer.step()
                best = (min(best[0], time.perf_counter() - wall), min(best[1], time.process_time() - cpu))
            print(
                f"{name:18} torch {layout:13} {threads} threads: {rows / best[0]:6.0f} images/s, "
                f"{rows / best[1]:6.0f} a processor second",
                flush=True,
            )
