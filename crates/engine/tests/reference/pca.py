"""Records what scikit-learn's PCA finds, for the tests of pca.

    pip install scikit-learn && python pca.py

Reads data/*.csv (features, then the target), writes pca.json beside itself.
"""

import json
import pathlib

import numpy as np
import sklearn
from sklearn.decomposition import PCA

here = pathlib.Path(__file__).parent
cases = []
for data, standardise, options in [
    ("iris", False, {}),
    ("iris", False, {"n_components": 2, "whiten": True}),
    ("wine", True, {"n_components": 5}),
    ("wine", True, {"n_components": 0.9}),
    ("breast_cancer", True, {"n_components": 10, "whiten": True}),
    ("breast_cancer", True, {"n_components": 0.95}),
    ("digits", False, {"n_components": 20}),
    ("digits", False, {"n_components": 10, "svd_solver": "randomized", "iterated_power": 60}),
]:
    x = np.loadtxt(here / "data" / f"{data}.csv", delimiter=",")[:, :-1]
    if standardise:
        x = (x - x.mean(0)) / x.std(0)
    exact = {**options, "svd_solver": "full"}
    exact.pop("iterated_power", None)
    pca = PCA(**exact).fit(x)
    cases.append({
        "data": data, "standardise": standardise, "params": options,
        "components": pca.components_.tolist(),
        "explained_variance": pca.explained_variance_.tolist(),
        "explained_variance_ratio": pca.explained_variance_ratio_.tolist(),
        "rows": pca.transform(x[::50]).tolist(),
    })

with open(here / "pca.json", "w") as f:
    lines = ",\n".join(json.dumps(c) for c in cases)
    f.write(f'{{"scikit-learn": "{sklearn.__version__}", "cases": [\n{lines}\n]}}\n')
