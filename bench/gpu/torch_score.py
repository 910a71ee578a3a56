"""The networks of gpu_score.rs in PyTorch on the same card, from images of bytes in the host's memory to outputs in the host's
memory, as there: channels_last in f32, and in bf16 compiled. Prints `NAME KIND images-per-second`."""

import sys
import time

try:
    import torch
    from torch import nn
except ImportError:
    sys.exit(print("skipped: no PyTorch here"))
from _torch_networks import network

if not torch.cuda.is_available():
    sys.exit(print("skipped: PyTorch finds no GPU"))

IMAGES, BATCH = 4096, 1024
images = torch.randint(0, 256, (IMAGES, 3, 32, 32), dtype=torch.uint8).contiguous(memory_format=torch.channels_last)
for name in ("cnn_small", "resnet9"):
    for kind, dtype in (("f32", torch.float32), ("bf16-compiled", torch.bfloat16)):
        model = nn.Sequential(*network(name, 32, 3, 0.0)).cuda().eval().to(dtype=dtype, memory_format=torch.channels_last)
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
