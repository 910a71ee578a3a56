"""CIFAR-10, the 50,000 images as JPEG, by `resnet9`: test accuracy and minutes of one call of SQL, and the same recipe in
PyTorch. Takes up to an hour a side on two cores; _recipe.py has the settings."""

import csv
import gzip
import io
import tarfile

import numpy as np
from _measure import connect
from _recipe import folder, run, store

# The network of David Page's "How to train your ResNet" (2018), by PyTorch's own rules. Without his scaling of the outputs
# Adam is what stays stable. Gradients are not clipped: cut to a length of .1 they reached .81 in 10 epochs.
PARAMS = {
    "architecture": "resnet9", "epochs": 12, "batch_size": 400, "optimizer": "adam", "learning_rate": 0.01,
    "schedule": "one_cycle", "weight_decay": 1e-4, "augment": "flip_crop", "dropout": 0.0,
}
GOALS = (0.88, 60.0)
home = folder("cifar10", "cifar10")


def images():
    """Part, class and the JPEG of each image, in the official order."""
    with gzip.open(home / "cifar10_official_order.csv.gz", "rt") as file:
        order = list(csv.DictReader(file))
    jpegs = {}
    for part in ("train", "test"):
        with tarfile.open(home / f"cifar10_jpeg_{part}.tar.gz") as tar:
            jpegs |= {member.name: tar.extractfile(member).read() for member in tar if member.isfile()}
    return [(row["split"], row["class"], jpegs[row["jpeg_path"]]) for row in order]


def pixels():
    """The same as arrays, decoded by Pillow."""
    from PIL import Image

    rows = images()
    classes = sorted({label for _, label, _ in rows})
    arrays = {}
    for part in ("train", "test"):
        some = [(label, jpeg) for of, label, jpeg in rows if of == part]
        arrays[f"{part}_x"] = np.stack([np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB")) for _, jpeg in some])
        arrays[f"{part}_y"] = np.array([classes.index(label) for label, _ in some])
    return arrays


store(connect(), "bench_cifar10", images())
run("cifar10", "bench_cifar10", PARAMS, GOALS, pixels)
