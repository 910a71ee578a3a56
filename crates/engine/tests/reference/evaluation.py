"""Records evaluation.json: scikit-learn's curves, fairlearn's formulas, and bootstrapped standard errors of metrics.

Run: python evaluation.py > evaluation.json
"""

import json

import numpy as np
import sklearn
from sklearn import metrics as m
from sklearn.calibration import calibration_curve
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.naive_bayes import GaussianNB

rng = np.random.default_rng(11)


def delong(y, p):
    """The standard error of DeLong, DeLong and Clarke-Pearson 1988, written from the paper."""
    a, b = p[y == 1], p[y == 0]
    wins = (a[:, None] > b[None, :]) + 0.5 * (a[:, None] == b[None, :])
    return np.sqrt(wins.mean(1).var(ddof=1) / len(a) + wins.mean(0).var(ddof=1) / len(b))


def wilson(hits, n, z=1.959963984540054):
    p = hits / n
    center, half = p + z * z / (2 * n), z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return [(center - half) / (1 + z * z / n), (center + half) / (1 + z * z / n)]


def bootstrap(measure, n, draws=4000):
    """Standard deviations of metrics over resampled rows."""
    found = [measure(rng.integers(0, n, n)) for _ in range(draws)]
    return {k: float(np.std([f[k] for f in found])) for k in found[0]}


def binary(y, p):
    d = (p >= 0.5).astype(int)
    return {
        "f1": m.f1_score(y, d),
        "mcc": m.matthews_corrcoef(y, d),
        "balanced_accuracy": m.balanced_accuracy_score(y, d),
        "average_precision": m.average_precision_score(y, p),
        "log_loss": m.log_loss(y, p),
        "brier": m.brier_score_loss(y, p),
        "auc": m.roc_auc_score(y, p),
        "accuracy": m.accuracy_score(y, d),
    }


def multiclass(y, p):
    d = p.argmax(1)
    macro = {"average": "macro", "zero_division": 0}
    return {
        "f1_macro": m.f1_score(y, d, **macro),
        "precision_macro": m.precision_score(y, d, **macro),
        "recall_macro": m.recall_score(y, d, **macro),
        "auc_ovr": m.roc_auc_score(y, p, multi_class="ovr"),
        "log_loss": m.log_loss(y, p),
    }


def regression(y, p):
    return {
        "rmse": m.root_mean_squared_error(y, p),
        "mae": m.mean_absolute_error(y, p),
        "mape": m.mean_absolute_percentage_error(y, p),
        "r2": m.r2_score(y, p),
        "explained_variance": m.explained_variance_score(y, p),
    }


def fairness(y, d, w, group):
    """fairlearn's MetricFrame, demographic_parity_* and equalized_odds_*, from their documentation."""
    found, rates = {}, {"selection": [], "tpr": [], "fpr": []}
    for g in np.unique(group):
        i = group == g
        mean = lambda v, k: float(np.average(v[i & k], weights=w[i & k]))
        every = np.ones(len(y), bool)
        found[f"{g} selection_rate"] = mean(d, every)
        found[f"{g} true_positive_rate"] = mean(d, y == 1)
        found[f"{g} false_positive_rate"] = mean(d, y == 0)
        found[f"{g} precision"] = mean(y, d == 1)
        found[f"{g} accuracy"] = mean((y == d).astype(float), every)
        rates["selection"].append(found[f"{g} selection_rate"])
        rates["tpr"].append(found[f"{g} true_positive_rate"])
        rates["fpr"].append(found[f"{g} false_positive_rate"])
    gap = {k: max(v) - min(v) for k, v in rates.items()}
    ratio = {k: min(v) / max(v) for k, v in rates.items()}
    found["demographic_parity_difference"] = gap["selection"]
    found["demographic_parity_ratio"] = ratio["selection"]
    found["equalized_odds_difference"] = max(gap["tpr"], gap["fpr"])
    found["equalized_odds_ratio"] = min(ratio["tpr"], ratio["fpr"])
    return found


def curves(y, p, w):
    fpr, tpr, at = m.roc_curve(y, p, sample_weight=w)
    precision, recall, pr_at = m.precision_recall_curve(y, p, sample_weight=w, drop_intermediate=True)
    found = {
        "roc": [at[1:].tolist(), fpr.tolist(), tpr.tolist()],
        "pr": [pr_at.tolist(), precision.tolist(), recall.tolist()],
    }
    for strategy in ["uniform", "quantile"]:
        if w is None:
            observed, predicted = calibration_curve(y, p, n_bins=7, strategy=strategy)
            found[strategy] = [predicted.tolist(), observed.tolist()]
    return found


x, y = load_breast_cancer(return_X_y=True)
cancer = np.round(cross_val_predict(LogisticRegression(max_iter=10000), x[:, :2], y, cv=5, method="predict_proba")[:, 1], 3)
w = (np.arange(len(y)) % 3 + 1).astype(float)
decided = (cancer >= 0.5).astype(int)
group = np.array(["a", "b", "c"])[np.digitize(x[:, 4], [0.09, 0.1])]
wine, kind = load_wine(return_X_y=True)
wines = np.round(cross_val_predict(GaussianNB(), wine[:, :2], kind, cv=5, method="predict_proba"), 6)
wines = wines / wines.sum(1, keepdims=True)
dx, dy = load_diabetes(return_X_y=True)
diabetes = np.round(cross_val_predict(LinearRegression(), dx, dy, cv=5), 3)

print(
    json.dumps(
        {
            "scikit-learn": sklearn.__version__,
            "cancer": {
                "y": y.tolist(),
                "p": cancer.tolist(),
                "group": group.tolist(),
                "weight": w.tolist(),
                "plain": curves(y, cancer, None),
                "weighted": curves(y, cancer, w),
                "confusion": m.confusion_matrix(y, decided).tolist(),
                "fairness": fairness(y, decided, np.ones(len(y)), group),
                "fairness weighted": fairness(y, decided, w, group),
                "delong": delong(y, cancer),
                "wilson": {
                    "accuracy": wilson((y == decided).sum(), len(y)),
                    "precision": wilson((y & decided).sum(), decided.sum()),
                    "recall": wilson((y & decided).sum(), y.sum()),
                },
                "bootstrap": bootstrap(lambda i: binary(y[i], cancer[i]), len(y)),
            },
            "wine": {
                "y": kind.tolist(),
                "p": wines.ravel().tolist(),
                "bootstrap": bootstrap(lambda i: multiclass(kind[i], wines[i]), len(kind), 2000),
            },
            "diabetes": {
                "y": dy.tolist(),
                "p": diabetes.tolist(),
                "bootstrap": bootstrap(lambda i: regression(dy[i], diabetes[i]), len(dy)),
            },
        },
        separators=(",", ":"),
    )
)
