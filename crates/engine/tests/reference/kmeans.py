"""Records what scikit-learn's KMeans finds, for the tests of kmeans.

    pip install scikit-learn && python kmeans.py

Reads data/*.csv (features, then the target), writes data/digits.csv and kmeans.json beside itself.
"""

import json
import pathlib

import numpy as np
import sklearn
from sklearn import datasets
from sklearn.cluster import KMeans, MiniBatchKMeans

here = pathlib.Path(__file__).parent
x, y = datasets.load_digits(return_X_y=True)
with open(here / "data" / "digits.csv", "w") as f:
    for row, target in zip(x, y):
        f.write(",".join(f"{v:g}" for v in row) + f",{target}\n")



def first_rows(x, k):
    """First centers without a row that is equally near to two: scikit-learn then takes one by rounding noise, and
    Damson the first."""
    for offset in range(100):
        rows = [i * len(x) // k + offset for i in range(k)]
        distances = np.sort(((x[:, None] - x[rows]) ** 2).sum(2), axis=1)
        if (distances[:, 1] - distances[:, 0]).min() > 1e-6:
            return rows
    raise SystemExit("no such rows")


cases = []
for data, k, standardise in [("iris", 3, True), ("wine", 3, True), ("digits", 10, False), ("diabetes", 5, True)]:
    x = np.loadtxt(here / "data" / f"{data}.csv", delimiter=",")[:, :-1]
    if standardise:
        x = (x - x.mean(0)) / x.std(0)
    n = len(x)
    best = KMeans(k, n_init=10, random_state=0).fit(x)
    for weighted in [False, True]:
        w = 1.0 + np.arange(n) % 3 if weighted else np.ones(n)
        rows = first_rows(x, k)
        lloyd = KMeans(k, init=x[rows], n_init=1, algorithm="lloyd", tol=1e-4).fit(x, sample_weight=w)
        cases.append({
            "data": data, "standardise": standardise, "n_clusters": k, "weighted": weighted, "first_rows": rows,
            "best_of_10": None if weighted else best.inertia_,
            "minibatch": -np.mean([
                MiniBatchKMeans(k, batch_size=64, n_init=1, random_state=s).fit(x, sample_weight=w).score(x, sample_weight=w)
                for s in range(200)
            ]),
            "inertia": lloyd.inertia_, "iterations": lloyd.n_iter_, "centers": lloyd.cluster_centers_.tolist(),
            "sizes": np.bincount(lloyd.labels_, weights=w, minlength=k).tolist(),
        })

with open(here / "kmeans.json", "w") as f:
    lines = ",\n".join(json.dumps(c) for c in cases)
    f.write(f'{{"scikit-learn": "{sklearn.__version__}", "cases": [\n{lines}\n]}}\n')
