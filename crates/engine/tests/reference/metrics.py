"""Records metrics.json: inputs and scikit-learn's metrics of them. Run: python metrics.py > metrics.json"""

import json

import numpy as np
import sklearn
from sklearn import metrics as m

rng = np.random.default_rng(7)
n = 120


def regression(y, p, w):
    kw = {"sample_weight": w}
    values = {
        "rmse": m.root_mean_squared_error(y, p, **kw),
        "mae": m.mean_absolute_error(y, p, **kw),
        "medae": m.median_absolute_error(y, p, **kw),
        "r2": m.r2_score(y, p, **kw),
        "explained_variance": m.explained_variance_score(y, p, **kw),
    }
    if np.all(y != 0):
        values["mape"] = m.mean_absolute_percentage_error(y, p, **kw)
    return values


def classification(y, p, w):
    k = p.shape[1]
    hard = p.argmax(axis=1)
    kw = {"sample_weight": w}
    macro = {"average": "macro", "zero_division": 0, **kw}
    values = {
        "accuracy": m.accuracy_score(y, hard, **kw),
        "balanced_accuracy": m.balanced_accuracy_score(y, hard, **kw),
        "log_loss": m.log_loss(y, p, labels=range(k), **kw),
    }
    if k == 2:
        if len(set(y)) == 2:
            values["auc"] = m.roc_auc_score(y, p[:, 1], **kw)
            values["average_precision"] = m.average_precision_score(y, p[:, 1], **kw)
        values["f1"] = m.f1_score(y, hard, zero_division=0, **kw)
        values["precision"] = m.precision_score(y, hard, zero_division=0, **kw)
        values["recall"] = m.recall_score(y, hard, zero_division=0, **kw)
        values["brier"] = m.brier_score_loss(y, p[:, 1], labels=[0, 1], pos_label=1, **kw)
        values["mcc"] = m.matthews_corrcoef(y, hard, **kw)
    else:
        values["f1_macro"] = m.f1_score(y, hard, **macro)
        values["precision_macro"] = m.precision_score(y, hard, **macro)
        values["recall_macro"] = m.recall_score(y, hard, **macro)
        if len(set(y)) == k:
            values["auc_ovr"] = m.roc_auc_score(y, p, multi_class="ovr", average="macro", **kw)
    return values


def clustering(x, c):
    return {
        "calinski_harabasz": m.calinski_harabasz_score(x, c),
        "davies_bouldin": m.davies_bouldin_score(x, c),
        "silhouette": m.silhouette_score(x, c),
    }


def probabilities(y, k, digits):
    """Better than chance, rounded so that many are equal."""
    raw = rng.dirichlet(np.ones(k), len(y))
    raw[np.arange(len(y)), y] += 0.3
    p = np.round(raw / raw.sum(axis=1, keepdims=True), digits)
    p[:, 0] = 1 - p[:, 1:].sum(axis=1)
    return np.clip(p, 0, 1)


weight = np.round(rng.uniform(0.2, 3.0, n), 3)
counts = rng.integers(1, 4, n).astype(float)
cases = []


def record(name, kind, y, p, w=None, k=0):
    values = regression(y, p, w) if kind == "regression" else classification(y, p, w)
    cases.append({
        "name": name, "kind": kind, "classes": k, "y": np.asarray(y, float).tolist(),
        "prediction": p.ravel().tolist(), "weight": [] if w is None else w.tolist(), "metrics": values,
    })


y = rng.normal(3, 2, n)
p = y + rng.normal(0.1, 0.7, n)
record("regression", "regression", y, p)
record("weighted regression", "regression", y, p, weight)
record("regression of counted rows", "regression", y, p, counts)
record("odd number of rows", "regression", y[:7], p[:7])
record("two rows", "regression", y[:2], p[:2])
record("zero in the target", "regression", np.round(y), p)
record("constant target", "regression", np.full(n, 2.0), p)
record("constant target, exact", "regression", np.full(n, 2.0), np.full(n, 2.0))

for k in (2, 4):
    y = rng.integers(0, k, n)
    p = probabilities(y, k, 2)
    record(f"{k} classes", "classification", y, p, None, k)
    record(f"{k} classes, weighted", "classification", y, p, weight, k)
y = rng.integers(0, 2, n)
p = probabilities(y, 2, 1)
p[:3] = [[0, 1], [1, 0], [0, 1]]
record("certain and tied", "classification", y, p, None, 2)
record("two classes, none predicted 1", "classification", y, np.tile([0.75, 0.25], (n, 1)), None, 2)
record("class absent from y", "classification", np.where(y == 1, 3, 0), probabilities(y, 5, 2), None, 5)
record("one class in y", "classification", np.zeros(n, int), probabilities(np.zeros(n, int), 2, 2), None, 2)

for k, rows in ((2, 60), (5, 80)):
    c = rng.integers(0, k, rows)
    c[c == 4] = 3
    c[0] = 4 if k == 5 else c[0]  # alone in its cluster
    x = np.round(rng.normal(0, 1, (rows, 3)) + c[:, None], 4)
    cases.append({
        "name": f"{k} clusters", "kind": "clustering", "classes": 3, "y": c.astype(float).tolist(),
        "prediction": x.ravel().tolist(), "weight": [], "metrics": clustering(x, c),
    })



def multilabel(y, p, at, w):
    hard = (p >= at).astype(int)
    kw = {"sample_weight": w}
    of = lambda average: {"average": average, "zero_division": 0, **kw}
    values = {
        "accuracy": m.accuracy_score(y, hard, **kw),
        "hamming_loss": m.hamming_loss(y, hard, **kw),
        "f1_micro": m.f1_score(y, hard, **of("micro")),
        "f1_macro": m.f1_score(y, hard, **of("macro")),
        "f1_samples": m.f1_score(y, hard, **of("samples")),
        "jaccard_samples": m.jaccard_score(y, hard, **of("samples")),
        "precision_macro": m.precision_score(y, hard, **of("macro")),
        "recall_macro": m.recall_score(y, hard, **of("macro")),
        "log_loss": np.mean([m.log_loss(y[:, j], p[:, j], labels=[0, 1], **kw) for j in range(y.shape[1])]),
    }
    if np.all((y.min(axis=0) == 0) & (y.max(axis=0) == 1)):
        values["auc_macro"] = m.roc_auc_score(y, p, average="macro", **kw)
        values["average_precision_macro"] = m.average_precision_score(y, p, average="macro", **kw)
    return values


def labels(name, y, p, at=0.5, w=None):
    cases.append({
        "name": name, "kind": "multilabel", "classes": y.shape[1], "y": y.ravel().astype(float).tolist(), "at": at,
        "prediction": p.ravel().tolist(), "weight": [] if w is None else w.tolist(), "metrics": multilabel(y, p, at, w),
    })


# Some rows have no label, and some of these are given none.
y = (rng.uniform(size=(n, 5)) < [0.5, 0.3, 0.2, 0.1, 0.05]).astype(int)
p = np.round(np.clip(0.55 * y + rng.uniform(0, 0.55, y.shape), 0, 1), 2)
labels("labels", y, p)
labels("labels, weighted", y, p, 0.5, weight)
labels("labels by another threshold", y, p, 0.3)
labels("certain labels", y[:40, :3], np.round(p[:40, :3]))
one = np.array(y)
one[:, 3], one[:, 4] = 0, 1
labels("a label of no row and one of all", one, p)

print(json.dumps({"scikit-learn": sklearn.__version__, "cases": cases}))
