"""The networks of gpu_score.rs in PyTorch on the same card, from images of bytes in the host's memory to outputs in the host's
memory, as there: channels_last in f32, and in bf16 compiled. Prints `NAME KIND images-per-second`."""

import sys
import time

try:
    import torch
    from torch import nn
except ImportError:
    sys.exit(print("skipped: no PyTorch here"))

if not torch.cuda.is_available():
    sys.exit(print("skipped: PyTorch finds no GPU"))

IMAGES, BATCH = 4096, 1024


def unit(a, b):
    return nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU())


class Residual(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.inner = nn.Sequential(unit(width, width), unit(width, width))

    def forward(self, x):
        return x + self.inner(x)


def cnn_small():
    layers, width = [], 3
    for filters in (32, 64, 64):
        layers += [nn.Conv2d(width, filters, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        width = filters
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(64 * 16, 128), nn.ReLU(), nn.Linear(128, 10))


def resnet9():
    return nn.Sequential(
        unit(3, 64), unit(64, 128), nn.MaxPool2d(2), Residual(128), unit(128, 256), nn.MaxPool2d(2), unit(256, 512),
        nn.MaxPool2d(2), Residual(512), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(512, 10),
    )


images = torch.randint(0, 256, (IMAGES, 3, 32, 32), dtype=torch.uint8).contiguous(memory_format=torch.channels_last)
for name, make in (("cnn_small", cnn_small), ("resnet9", resnet9)):
    for kind, dtype in (("f32", torch.float32), ("bf16-compiled", torch.bfloat16)):
        model = make().cuda().eval().to(dtype=dtype, memory_format=torch.channels_last)
        run = torch.compile(model) if kind == "bf16-compiled" else model

        def score():
            outputs = []
            for i in range(0, IMAGES, BATCH):
                x = images[i : i + BATCH].cuda().to(dtype=dtype, memory_format=torch.channels_last)
                outputs.append(run((x - 127.5) / 74.0))
            return torch.cat(outputs).float().cpu()

        with torch.inference_mode():
            for _ in range(3):
                score()
            best = float("inf")
            for _ in range(5):
                torch.cuda.synchronize()
                begun = time.perf_counter()
                score()
                best = min(best, time.perf_counter() - begun)
        print(f"{name} {kind} {IMAGES / best:.0f}")
