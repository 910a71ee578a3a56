"""The networks of gpu_train.rs in PyTorch on the same card, from images of bytes in the host's memory to the step: batches of
512 with the same optimizer and augmentation, channels_last, in f32, and in bf16 compiled. Prints `NAME KIND images-per-second`."""

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

IMAGES, BATCH = 8192, 512
images = torch.randint(0, 256, (IMAGES, 3, 32, 32), dtype=torch.uint8).contiguous(memory_format=torch.channels_last)
labels = (torch.arange(IMAGES) % 10).cuda()


def varied(x):
    """Mirrored by chance, moved by up to 4 pixels, and a square of a quarter of the side cut out: a draw a batch is the least
    work that does so, and PyTorch's gain."""
    x = torch.where((torch.rand(len(x), 1, 1, 1, device=x.device) < 0.5), x.flip(3), x)
    down, right, top, left = torch.randint(0, 9, (4,)).tolist()
    x = nn.functional.pad(x, (4, 4, 4, 4))[:, :, down : down + 32, right : right + 32].contiguous(memory_format=torch.channels_last)
    x[:, :, 2 * top : 2 * top + 8, 2 * left : 2 * left + 8] = 0
    return x


for name in ("cnn_small", "resnet9"):
    for kind, dtype in (("f32", torch.float32), ("bf16-compiled", torch.bfloat16)):
        model = nn.Sequential(*network(name, 32, 3, 0.2)).cuda().train().to(memory_format=torch.channels_last)
        run = torch.compile(model) if kind == "bf16-compiled" else model
        optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9, nesterov=True, weight_decay=5e-4)
        loss = nn.CrossEntropyLoss(label_smoothing=0.1)

        def epoch():
            order = torch.randperm(IMAGES)
            for i in range(0, IMAGES, BATCH):
                rows = order[i : i + BATCH]
                x = images[rows].cuda(non_blocking=True).to(torch.float32, memory_format=torch.channels_last)
                x = varied((x - 127.5) / 74.0)
                with torch.autocast("cuda", dtype=dtype, enabled=dtype != torch.float32):
                    value = loss(run(x), labels[rows.cuda()])
                optimizer.zero_grad(set_to_none=True)
                value.backward()
                optimizer.step()
            torch.cuda.synchronize()

        epoch()
        best = float("inf")
        for _ in range(3):
            begun = time.perf_counter()
            epoch()
            best = min(best, time.perf_counter() - begun)
        print(f"{name} {kind} {IMAGES / best:.0f}")
