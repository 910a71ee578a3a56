"""A recipe for a network on a public set of images, by SQL and by PyTorch: what cifar10.py and fashion_mnist.py share.

Both sides train on the same images with the same layers, optimiser, schedule and variation, and count the right answers among
the same test images. Damson's minutes are those of the statement: reading the table, all epochs, storing the model.

DAMSON_TORCH is a Python that has torch, for the comparison; without it Damson runs alone. DAMSON_BENCH_SIDES=damson or
=pytorch runs one side. DAMSON_BENCH_EPOCHS takes other numbers of epochs, and DAMSON_BENCH_ROWS about so many images of each
part only: a try, for which no goal counts. DAMSON_THREADS is the threads of both sides (2).
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from _measure import connect, missing, result

THREADS = int(os.environ.get("DAMSON_THREADS", "2"))
ROWS = int(os.environ.get("DAMSON_BENCH_ROWS", "0"))
SIDES = os.environ.get("DAMSON_BENCH_SIDES", "damson,pytorch").split(",")
TORCH = os.environ.get("DAMSON_TORCH")


def folder(name, path):
    """The folder of DAMSON_DATA, or the end with a message."""
    found = Path(os.environ.get("DAMSON_DATA") or "/nonexistent", path)
    if not found.is_dir():
        sys.exit(print(f"{name}: skipped (DAMSON_DATA names no folder that has {path})"))
    return found


def store(connection, table, images):
    """Makes the table `(id, part, label, image)`, once. `images` gives part, label and the image's bytes."""
    if not missing(connection, table):
        return
    print(f"  making {table} ...", flush=True)
    with connection.transaction():
        connection.execute(f"CREATE UNLOGGED TABLE {table} (id int, part text, label text, image bytea)")
        with connection.cursor().copy(f"COPY {table} FROM STDIN (FORMAT binary)") as copy:
            copy.set_types(["int4", "text", "text", "bytea"])
            for number, row in enumerate(images, start=1):
                copy.write_row((number, *row))
    connection.execute(f"VACUUM (FREEZE, ANALYZE) {table}")


def epochs(params):
    return int(os.environ.get("DAMSON_BENCH_EPOCHS", params["epochs"]))


def damson(name, table, params, preprocess):
    """Trains by SQL, scores the test images; the share of right answers, minutes and images a second."""
    db = connect()
    db.execute(f"SET damson.threads = {THREADS}")

    def some(part):
        """Of a try every so many images."""
        rows = db.execute(f"SELECT count(*) FROM {table} WHERE part = %s", [part]).fetchone()[0]
        return f"{table} WHERE part = '{part}' AND id % {max(1, rows // ROWS) if ROWS else 1} = 0"

    model = f"bench_{name}"
    source = f"SELECT image, label FROM {some('train')} ORDER BY id"
    db.execute("CALL damson.drop_model(%s, missing_ok => true)", [model])
    db.execute("SET client_min_messages = notice")
    db.add_notice_handler(lambda notice: print(f"    {notice.message_primary}", flush=True))
    started = time.perf_counter()
    rows = db.execute(
        "SELECT train_rows FROM damson.train(%s, %s, 'label', 'cnn', %s, preprocess => %s, split => 'none')",
        [model, source, json.dumps(params), preprocess and json.dumps(preprocess)]).fetchone()[0]
    seconds = time.perf_counter() - started
    version = db.execute("SELECT newest FROM damson.models WHERE name = %s", [model]).fetchone()[0]
    accuracy = db.execute(f"""SELECT avg((damson.classify('{model}@{version}', image) = label)::int)::float8
        FROM {some('test')}""").fetchone()[0]
    return accuracy, seconds / 60, rows * params["epochs"] / seconds


def pytorch(script, data, params):
    """The same by PyTorch, whose minutes do not count the reading of the images."""
    with tempfile.NamedTemporaryFile(suffix=".npz") as file:
        np.savez(file, **data())
        file.flush()
        command = [TORCH, Path(__file__).with_name(script), file.name, json.dumps(params), str(THREADS), str(ROWS)]
        with subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True) as process:
            for line in process.stdout:
                print(f"    {line}", end="", flush=True)
                last = line
        if process.returncode != 0:
            sys.exit(f"{script} ended with {process.returncode}")
    return tuple(json.loads(last)[k] for k in ("accuracy", "minutes", "rate"))


def run(name, table, params, goals, data, preprocess=None):
    """Runs both sides and prints what they reach. `goals` are the accuracy and the minutes; `data` gives `train_x`, `train_y`,
    `test_x`, `test_y` for PyTorch, images as (rows, height, width, channels) of bytes."""
    params = {**params, "epochs": epochs(params)}
    found = {}
    if "damson" in SIDES:
        found["Damson"] = damson(name, table, params, preprocess)
    if "pytorch" in SIDES and TORCH:
        found["PyTorch"] = pytorch("_recipe_torch.py", data, params)
    elif "pytorch" in SIDES:
        print("  PyTorch: left out, DAMSON_TORCH names no Python that has torch")
    for side, (accuracy, minutes, rate) in found.items():
        print(f"  {side:8} {params['epochs']} epochs: test accuracy {accuracy:.4f}, {minutes:.1f} minutes, {rate:.0f} images/s")
    if ROWS or "Damson" not in found:
        print(f"{name}: skipped (a part of the recipe, for which no goal counts)")
        return
    accuracy, minutes, rate = found["Damson"]
    result(f"{name}-accuracy", accuracy, goals[0], ">=", digits=4)
    result(f"{name}-minutes", minutes, goals[1])
    if "PyTorch" in found:
        result(f"{name}-images", rate / found["PyTorch"][2], 1.0, ">=")
