"""Tables for the benchmarks: one made from a fixed seed, and real ones found through DAMSON_DATA."""

import gzip
import os
from pathlib import Path

import numpy as np
import pandas as pd
from _measure import missing

HIGGS_COLUMNS = [f"x{i}" for i in range(1, 29)]


def higgs_like(rows, seed=20261120):
    """28 float32 features and a class of 0 or 1, shaped like the HIGGS data: log-normal momenta, bounded angles, few
    distinct tags, and seven features that are noisy functions of the others."""
    g = np.random.Generator(np.random.PCG64(seed))
    x = g.standard_normal((rows, 28), dtype=np.float32)
    x[:, 0:21:4] = np.exp(0.5 * x[:, 0:21:4])
    x[:, 1:21:4] = np.float32(1.74) * np.tanh(x[:, 1:21:4])
    angles = x[:, 2:21:4].shape[1]
    x[:, 2:21:4] = (g.random((rows, angles), dtype=np.float32) * 2 - 1) * np.float32(np.pi * 0.555)
    x[:, [8, 12, 16, 20]] = g.integers(0, 3, size=(rows, 4)).astype(np.float32) * np.float32(1.1)
    e = g.standard_normal((rows, 7), dtype=np.float32)
    mass = np.cosh(np.clip(x[:, 1] - x[:, 5], -3, 3)) - np.cos(x[:, 2] - x[:, 6])
    x[:, 21] = np.sqrt(x[:, 0] * x[:, 4] * np.abs(mass)) + 0.2 * e[:, 0]
    x[:, 22] = x[:, 0] + x[:, 4] + 0.3 * e[:, 1]
    x[:, 23] = np.abs(x[:, 3] * x[:, 7]) + 0.3 * e[:, 2]
    x[:, 24] = x[:, 9] * x[:, 11] + 0.5 * e[:, 3]
    x[:, 25] = np.maximum(x[:, 10], x[:, 14]) + 0.3 * e[:, 4]
    x[:, 26] = x[:, 13] ** 2 - x[:, 15] + 0.4 * e[:, 5]
    x[:, 27] = np.sin(x[:, 17] * 2) + x[:, 19] + 0.3 * e[:, 6]
    z = 0.9 * np.tanh(x[:, 21] - 1.3) + 0.5 * (x[:, 22] - 2.2) * (x[:, 23] > 0.6) - 0.6 * x[:, 24]
    z += 0.7 * np.sin(1.5 * x[:, 25]) + 0.35 * x[:, 26] * (x[:, 8] > 1) - 0.5 * np.abs(x[:, 27])
    z += 0.4 * x[:, 3] - 0.3 * x[:, 7] * x[:, 15] + 0.25 * (x[:, 16] > 1) * x[:, 0] + 0.2 * x[:, 18]
    p = 1 / (1 + np.exp(-1.2 * (z.astype(np.float64) - 0.1)))
    return x, (g.random(rows) < p).astype(np.int16)


def higgs_table(connection, rows=1_000_000):
    """The features, the classes, and the name of a table `(id, x1 .. x28, y)` that holds them."""
    x, y = higgs_like(rows)
    frame = pd.DataFrame(x, columns=HIGGS_COLUMNS)
    frame.insert(0, "id", np.arange(1, rows + 1, dtype=np.int32))
    frame["y"] = y
    name = f"bench_higgs_{rows}"
    store(connection, name, frame)
    return x, y, name


TYPES = {"int16": "int2", "int32": "int4", "int64": "int8", "float32": "float4", "float64": "float8"}


def store(connection, name, frame):
    """Makes a table of a frame, once."""
    if not missing(connection, name):
        return
    print(f"  making {name} ...")
    types = [TYPES.get(str(t), "text") for t in frame.dtypes]
    columns = ", ".join(f'"{c}" {t}' for c, t in zip(frame.columns, types, strict=True))
    with connection.transaction():
        connection.execute(f"CREATE UNLOGGED TABLE {name} ({columns})")
        if all(str(t) in TYPES for t in frame.dtypes) and not frame.isna().any(axis=None):
            copy_binary(connection, name, frame)
        else:
            with connection.cursor().copy(f"COPY {name} FROM STDIN (FORMAT csv)") as copy:
                for start in range(0, len(frame), 50_000):
                    copy.write(frame.iloc[start : start + 50_000].to_csv(header=False, index=False))
    connection.execute(f"VACUUM (FREEZE, ANALYZE) {name}")


def copy_binary(connection, name, frame):
    """Numbers without NULL, as the server's binary format has them: twenty times as fast as text."""
    fields = [("count", ">i2")]
    for column, dtype in frame.dtypes.items():
        fields += [(f"size {column}", ">i4"), (column, dtype.newbyteorder(">"))]
    rows = np.empty(len(frame), dtype=fields)
    rows["count"] = frame.shape[1]
    for column, dtype in frame.dtypes.items():
        rows[f"size {column}"] = dtype.itemsize
        rows[column] = frame[column]
    with connection.cursor().copy(f"COPY {name} FROM STDIN (FORMAT binary)") as copy:
        copy.write(b"PGCOPY\n\xff\r\n\0" + bytes(8))
        for start in range(0, len(rows), 20_000):
            copy.write(rows[start : start + 20_000].tobytes())
        copy.write(b"\xff\xff")


def real(path):
    """A gzipped file of DAMSON_DATA, or none with a message."""
    folder = os.environ.get("DAMSON_DATA")
    file = Path(folder or "") / path
    if not folder or not file.exists():
        print(f"  skipped {path}: DAMSON_DATA names no folder that has it")
        return None
    return gzip.open(file, "rt")


def numbered(frame):
    """With an `id` from 1 and short names; rows whose id is a multiple of 5 are tested on."""
    frame.columns = [c.lower().replace("-", "_") for c in frame.columns]
    frame.insert(0, "id", np.arange(1, len(frame) + 1, dtype=np.int32))
    return frame


def kddcup(file):
    """Network connections, 41 numbers, 23 classes of which most are rare."""
    return numbered(pd.read_csv(file, sep="\t")), "target"


def covertype(file):
    """Forest cover, 54 numbers, 7 classes."""
    return numbered(pd.read_csv(file)), "cover_type"


def flights(file):
    """Delays on arrival, with missing values and categories of 16 to 4043 levels."""
    frame = pd.read_csv(file)
    return numbered(frame[frame.arr_delay.notna()].reset_index(drop=True)), "arr_delay"
