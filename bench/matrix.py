"""Training linear regression, PCA, logistic regression and k-means by one SQL call, from reading the table to the
stored version, against scikit-learn's `fit` on arrays that are in memory already (float32 or float64, whichever is
faster): time, and how well they agree. Two threads each, 1M rows of 28 features as they are (not standardised).

k-means is measured twice: from the same first centers, so that both do the same steps, and as it comes (k-means||
here, k-means++ there; median over seeds). MATRIX=linear,pca,... runs some of it; RUNS sets how often."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "2")

import json  # noqa: E402 (the numbers of threads are read when numpy is)
import statistics  # noqa: E402
import time  # noqa: E402

import numpy as np  # noqa: E402
from _data import HIGGS_COLUMNS, higgs_table  # noqa: E402
from _measure import connect, medians, result  # noqa: E402
from sklearn.cluster import KMeans  # noqa: E402
from sklearn.decomposition import PCA  # noqa: E402
from sklearn.linear_model import LinearRegression, LogisticRegression  # noqa: E402

RUNS = int(os.environ.get("RUNS", "5"))
WANTED = os.environ.get("MATRIX", "linear,pca,logistic,kmeans").split(",")

db = connect()
db.execute("SET damson.threads = 2")
db.execute("SET damson.progress = off")
x32, y, name = higgs_table(db)
x64, y64 = x32.astype(np.float64), y.astype(np.float64)
features = "{" + ",".join(HIGGS_COLUMNS) + "}"


def train(algorithm, target=None, params=None, seed=0):
    db.execute("CALL damson.drop_model('bench_matrix', missing_ok => true)")
    db.execute(
        """SELECT damson.train('bench_matrix', %s, target => %s, algorithm => %s, params => %s, features => %s,
                               preprocess => '{"scale": "none"}', split => 'none', seed => %s)""",
        [name, target, algorithm, json.dumps(params or {}), features, seed],
    )


def described(pattern):
    rows = db.execute("SELECT value FROM damson.describe('bench_matrix') WHERE property ~ %s", [pattern])
    return np.array([float(row[0]) for row in rows])


def phases():
    found = db.execute("SELECT timings FROM damson_catalog.runs ORDER BY id DESC LIMIT 1").fetchone()[0]
    print("  of the last:", ", ".join(f"{phase} {seconds * 1e3:.0f} ms" for phase, seconds in found.items()))


def compare(label, goal, sql, peer):
    """Times both sides in turn; gives the peer fitted on float64."""
    fitted = []

    def fit64():
        fitted[:] = [peer(x64, y64)]

    found = medians({"the SQL call": sql, "scikit-learn, float64": fit64, "scikit-learn, float32": lambda: peer(x32, y)}, RUNS)
    phases()
    other = min(found["scikit-learn, float64"], found["scikit-learn, float32"])
    return fitted[0], lambda: result(label, found["the SQL call"] / other, goal)


def apart(found, expected):
    """The largest difference, relative to the expected values' own size."""
    return np.abs(np.asarray(found) - expected).max() / np.abs(expected).max()


lines = []
if "linear" in WANTED:
    print("linear regression")
    peer, line = compare(
        "linear", 0.3, lambda: train("linear", "y"), lambda x, y: LinearRegression().fit(x, y)
    )
    found = described("^coefficient ")
    print(f"  coefficients differ by {apart(found, peer.coef_):.1e}")
    assert apart(found, peer.coef_) < 1e-5
    lines.append(line)

if "pca" in WANTED:
    print("10 principal components")
    peer, line = compare("pca", 0.5, lambda: train("pca", params={"n_components": 10}), lambda x, _: PCA(10).fit(x))
    found = described("^component [0-9]+: explained_variance$")
    print(f"  variances differ by {apart(found, peer.explained_variance_):.1e}")
    assert apart(found, peer.explained_variance_) < 1e-5
    lines.append(line)

if "logistic" in WANTED:
    print("logistic regression")
    _, line = compare(
        "logistic", 0.5, lambda: train("logistic", "y"), lambda x, y: LogisticRegression().fit(x, y)
    )
    found = described("^coefficient ")
    optimum = LogisticRegression(tol=1e-10, max_iter=1000).fit(x64, y).coef_[0]
    print(f"  coefficients differ by {apart(found, optimum):.1e} from the optimum that lbfgs comes to")
    assert apart(found, optimum) < 1e-5
    lines.append(line)

if "kmeans" in WANTED:
    print("k-means, 8 clusters, from the same centers")
    first = x64[np.arange(8) * (len(x64) // 8)]
    params = {"n_clusters": 8, "init": first.tolist()}
    peer, line = compare(
        "kmeans-same-centers",
        0.6,
        lambda: train("kmeans", params=params),
        lambda x, _: KMeans(8, n_init=1, init=first.astype(x.dtype)).fit(x),
    )
    inertia = described("^inertia$")[0]
    print(f"  inertia {inertia:.6g} and {peer.inertia_:.6g}, {described('^iterations$')[0]:.0f} and {peer.n_iter_} iterations")
    assert inertia <= peer.inertia_ * (1 + 1e-6)
    lines.append(line)

    print("k-means, 8 clusters, each with its own seeding")
    times, inertias = {"sql": [], "float64": [], "float32": []}, {"sql": [], "float64": [], "float32": []}
    for seed in range(RUNS + 2):
        started = time.perf_counter()
        train("kmeans", params={"n_clusters": 8}, seed=seed)
        times["sql"].append(time.perf_counter() - started)
        inertias["sql"].append(described("^inertia$")[0])
        for x in (x64, x32):
            started = time.perf_counter()
            peer = KMeans(8, n_init=1, random_state=seed).fit(x)
            times[str(x.dtype)].append(time.perf_counter() - started)
            inertias[str(x.dtype)].append(peer.inertia_)
    for side, values in times.items():
        print(f"  {side:10} {statistics.median(values) * 1e3:8.0f} ms   inertia {statistics.median(inertias[side]):.6g} (best {min(inertias[side]):.6g})")
    other = min(statistics.median(times["float64"]), statistics.median(times["float32"]))
    lines.append(lambda: result("kmeans", statistics.median(times["sql"]) / other, 0.6))

for line in lines:
    line()
