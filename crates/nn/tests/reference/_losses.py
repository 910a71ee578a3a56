"""What the recorders of losses share."""

import numpy as np


def record_losses(out, scores, losses):
    """Puts each loss, a function of no arguments, and its gradient by `scores` under `loss/NAME`."""
    for name, loss in losses.items():
        scores.grad = None
        value = loss()
        value.backward()
        out[f"loss/{name}"] = np.array([value.item()], dtype=np.float32)
        out[f"loss/{name}/gradient"] = scores.grad.numpy().copy()
