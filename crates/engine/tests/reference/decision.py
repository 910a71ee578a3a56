"""Records decision.json: scikit-learn's calibrations and thresholds for the scores of a real model.

Run: python decision.py > decision.json
"""

import json

import numpy as np
import sklearn
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import make_scorer, precision_recall_curve, roc_curve
from sklearn.model_selection import TunedThresholdClassifierCV, cross_val_predict
from sklearn.naive_bayes import GaussianNB
from sklearn.utils.class_weight import compute_class_weight


class Scored(ClassifierMixin, BaseEstimator):
    """Gives the scores that it is asked about: its X are scores."""

    def fit(self, x, y):
        self.classes_ = np.unique(y)
        return self

    def decision_function(self, x):
        return x[:, 0] if x.shape[1] == 1 else x

    def predict(self, x):
        return (x[:, 0] > 0.5).astype(int) if x.shape[1] == 1 else x.argmax(axis=1)


class Probable(Scored):
    decision_function = None

    def predict_proba(self, x):
        return np.column_stack([1 - x[:, 0], x[:, 0]])


def logit(p):
    eps = np.finfo(float).eps
    p = np.clip(p, eps, 1 - eps)
    return np.log(p / (1 - p))


def calibrated(p, y, w, method):
    x = p[:, [1]] if p.shape[1] == 2 else p
    x = logit(x) if method == "sigmoid" else x
    model = CalibratedClassifierCV(FrozenEstimator(Scored().fit(x, y)), method=method, ensemble=False)
    return model.fit(x, y, sample_weight=w).predict_proba(x).tolist()


def thresholds(p, y, w):
    found = {}
    for metric in ["accuracy", "balanced_accuracy", "f1", "matthews_corrcoef"]:
        model = TunedThresholdClassifierCV(
            Probable().fit(p[:, [1]], y), scoring=metric, cv="prefit", refit=False, thresholds=np.unique(p[:, 1])
        )
        model.fit(p[:, [1]], y)
        found["mcc" if metric == "matthews_corrcoef" else metric] = [model.best_threshold_, model.best_score_]
    precision, recall, at = precision_recall_curve(y, p[:, 1], sample_weight=w)
    best = np.where(recall[:-1] >= 0.95, precision[:-1], -1).argmax()
    found["precision_at_recall 0.95"] = [at[best], precision[best]]
    best = np.where(precision[:-1] >= 0.95, recall[:-1], -1).argmax()
    found["recall_at_precision 0.95"] = [at[best], recall[best]]
    fpr, tpr, at = roc_curve(y, p[:, 1], sample_weight=w, drop_intermediate=False)
    best = len(at) - 1 - (tpr - fpr)[::-1].argmax()
    found["youden"] = [at[best], (tpr - fpr)[best]]
    return found


def case(name, x, y, model, weighted):
    p = np.round(cross_val_predict(model, x, y, cv=5, method="predict_proba"), 6)
    w = (np.arange(len(y)) % 3 + 1).astype(float) if weighted else None
    row = {
        "name": name,
        "y": y.tolist(),
        "p": p.ravel().tolist(),
        "weight": [] if w is None else w.tolist(),
        "classes": p.shape[1],
        "sigmoid": np.ravel(calibrated(p, y, w, "sigmoid")).tolist(),
        "isotonic": np.ravel(calibrated(p, y, w, "isotonic")).tolist(),
        "balanced": compute_class_weight("balanced", classes=np.unique(y), y=y, sample_weight=w).tolist(),
    }
    if p.shape[1] == 2 and not weighted:
        row["thresholds"] = thresholds(p, y, w)
    nonconformity = 1 - p[np.arange(len(y)), y]
    if not weighted:
        n = len(y)
        level = lambda c: np.ceil((n + 1) * c) / n
        row["lac"] = {str(c): np.quantile(nonconformity, level(c), method="inverted_cdf") for c in [0.8, 0.9, 0.95]}
    return row


x, y = load_breast_cancer(return_X_y=True)
wine, kind = load_wine(return_X_y=True)
nb = GaussianNB()
cases = [
    case("cancer by logistic", x[:, :4], y, LogisticRegression(max_iter=10000), False),
    case("cancer by naive Bayes, weighted", x[:, :4], y, nb, True),
    case("cancer by naive Bayes", x[:, :2], y, nb, False),
    case("wine by naive Bayes", wine[:, :2], kind, nb, False),
    case("wine by naive Bayes, weighted", wine[:, :2], kind, nb, True),
]
print(json.dumps({"scikit-learn": sklearn.__version__, "cases": cases}, indent=None, separators=(",", ":")))
