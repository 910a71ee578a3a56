"""Fashion-MNIST by `cnn_small`: test accuracy and minutes of one call of SQL, and the same recipe in PyTorch. Takes some
minutes a side on two cores; _recipe.py has the settings."""

import gzip

import numpy as np
from _measure import connect
from _recipe import folder, run, store

PARAMS = {
    "architecture": "cnn_small", "epochs": 30, "batch_size": 64, "optimizer": "adam", "learning_rate": 0.002,
    "schedule": "one_cycle", "augment": "flip", "dropout": 0.25,
}
GOALS = (0.925, 10.0)
home = folder("fashion_mnist", "fashion_mnist")


def idx(name):
    """The array of an IDX file of bytes."""
    with gzip.open(home / name) as file:
        raw = file.read()
    shape = np.frombuffer(raw, ">i4", count=raw[3], offset=4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(shape)


def parts():
    for part, prefix in (("train", "train"), ("test", "t10k")):
        yield part, idx(f"{prefix}-images-idx3-ubyte.gz"), idx(f"{prefix}-labels-idx1-ubyte.gz")


def images():
    """Part, class and the raw bytes of each image."""
    for part, x, y in parts():
        for image, label in zip(x, y, strict=True):
            yield part, str(label), image.tobytes()


def pixels():
    """The same as arrays."""
    arrays = {}
    for part, x, y in parts():
        arrays |= {f"{part}_x": x[..., None], f"{part}_y": y.astype(np.int64)}
    return arrays


store(connect(), "bench_fashion_mnist", images())
run("fashion_mnist", "bench_fashion_mnist", PARAMS, GOALS, pixels, {"image": [28, 28, 1]})
