"""Loads the demo's data: `load.py CONNECTION_STRING`.

Always: scikit-learn's digits (images) and breast cancer (a table). When DAMSON_DATA names a folder that has
them: Fashion-MNIST and CIFAR-10 (images), and adult (a table with categories and missing values).

An image is bytea: its raw bytes, row by row, the channels of a pixel side by side.
"""

import gzip
import os
import pathlib
import sys

import numpy as np
import psycopg
from psycopg import sql
from sklearn import datasets

FASHION = ["T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"]
CIFAR = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
ADULT = """age workclass fnlwgt education education_num marital_status occupation relationship race sex
           capital_gain capital_loss hours_per_week native_country income""".split()
ADULT_NUMBERS = {"age", "fnlwgt", "education_num", "capital_gain", "capital_loss", "hours_per_week"}


def load(connection, table, columns, rows, what):
    """Makes `table` anew with `columns` (name: type) and copies `rows` into it."""
    name = sql.Identifier(table)
    fields = sql.SQL(", ").join(sql.SQL("{} {}").format(sql.Identifier(c), sql.SQL(t)) for c, t in columns.items())
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    count = 0
    with connection.cursor() as cursor:
        cursor.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(name))
        cursor.execute(sql.SQL("CREATE TABLE {} ({})").format(name, fields))
        with cursor.copy(sql.SQL("COPY {} ({}) FROM STDIN").format(name, names)) as copy:
            for row in rows:
                copy.write_row(row)
                count += 1
        cursor.execute(sql.SQL("COMMENT ON TABLE {} IS {}").format(name, sql.Literal(what)))
    connection.commit()
    with psycopg.connect(connection.info.dsn, autocommit=True) as other:
        other.execute(sql.SQL("ANALYZE {}").format(name))
    print(f"loaded {table}: {count} rows, {what}")


def digits(connection):
    """8x8 grey images, values 0 to 16 scaled to a byte; every fifth row is for testing."""
    digits = datasets.load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    rows = (
        (i, image.tobytes(), int(label), "test" if i % 5 == 0 else "train")
        for i, (image, label) in enumerate(zip(images, digits.target), start=1)
    )
    columns = {"id": "int PRIMARY KEY", "image": "bytea NOT NULL", "digit": "int NOT NULL", "part": "text NOT NULL"}
    load(connection, "digits", columns, rows, "handwritten digits, 8x8 grey images, raw bytes")


def breast_cancer(connection):
    """Thirty measurements of a tumour; every fifth row is for testing."""
    cancer = datasets.load_breast_cancer()
    names = [name.replace(" ", "_") for name in cancer.feature_names]
    columns = {"id": "int PRIMARY KEY", **{name: "float8" for name in names}, "diagnosis": "text NOT NULL", "part": "text NOT NULL"}
    rows = (
        (i, *map(float, values), str(cancer.target_names[label]), "test" if i % 5 == 0 else "train")
        for i, (values, label) in enumerate(zip(cancer.data, cancer.target), start=1)
    )
    load(connection, "breast_cancer", columns, rows, "30 measurements of a tumour, benign or malignant")


def idx(path):
    """The array of an IDX file of bytes."""
    with gzip.open(path) as file:
        raw = file.read()
    shape = np.frombuffer(raw, ">i4", count=raw[3], offset=4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(shape)


def fashion_mnist(connection, folder):
    def rows():
        number = 0
        for part, stem in [("train", "train"), ("test", "t10k")]:
            images = idx(next(folder.glob(f"{stem}-images*.gz")))
            for image, label in zip(images, idx(next(folder.glob(f"{stem}-labels*.gz")))):
                number += 1
                yield number, image.tobytes(), FASHION[label], part

    columns = {"id": "int PRIMARY KEY", "image": "bytea NOT NULL", "article": "text NOT NULL", "part": "text NOT NULL"}
    load(connection, "fashion_mnist", columns, rows(), "articles of clothing, 28x28 grey images, raw bytes")


def cifar10(connection, folder):
    """The lossless part of the set: a record is its label, then the red, green and blue planes."""

    def rows():
        number = 0
        for part in ["train", "test"]:
            records = np.fromfile(folder / f"cifar10_exact_{part}_subset.bin", np.uint8).reshape(-1, 3073)
            images = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
            for record, image in zip(records, images):
                number += 1
                yield number, image.tobytes(), CIFAR[record[0]], part

    columns = {"id": "int PRIMARY KEY", "image": "bytea NOT NULL", "thing": "text NOT NULL", "part": "text NOT NULL"}
    load(connection, "cifar10", columns, rows(), "things, 32x32 colour images, raw bytes")


def adult(connection, folder):
    def value(name, text):
        text = text.strip().rstrip(".")
        return None if text == "?" else int(text) if name in ADULT_NUMBERS else text

    def rows():
        number = 0
        for part, file in [("train", "adult.data.gz"), ("test", "adult.test.gz")]:
            with gzip.open(folder / file, "rt") as lines:
                for line in lines:
                    fields = line.split(",")
                    if len(fields) == len(ADULT):
                        number += 1
                        yield number, *map(value, ADULT, fields), part

    kinds = {name: "int" if name in ADULT_NUMBERS else "text" for name in ADULT}
    columns = {"id": "int PRIMARY KEY", **kinds, "part": "text NOT NULL"}
    load(connection, "adult", columns, rows(), "census of 1994: does somebody earn more than 50,000 a year")


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: load.py CONNECTION_STRING")
    with psycopg.connect(sys.argv[1]) as connection:
        digits(connection)
        breast_cancer(connection)
        if "DAMSON_DATA" not in os.environ:
            print("DAMSON_DATA is not set: no Fashion-MNIST, CIFAR-10 and adult")
            return
        for loader in (fashion_mnist, cifar10, adult):
            folder = pathlib.Path(os.environ["DAMSON_DATA"]) / loader.__name__
            if folder.is_dir():
                loader(connection, folder)
            else:
                print(f"no {folder}: {loader.__name__} is left out")


if __name__ == "__main__":
    main()
