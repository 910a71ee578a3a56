"""Records how two models' answers to the same rows differ, by scikit-learn and SciPy: shadow.json.

Two logistic regressions on breast cancer and two linear ones on diabetes, on all and on the first columns.
"""

import json
import pathlib

import numpy as np
from scipy.stats import pearsonr
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import accuracy_score, max_error, mean_absolute_error, root_mean_squared_error
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def classes(load, keep):
    x, y = load(return_X_y=True)
    champion = make_pipeline(StandardScaler(), LogisticRegression()).fit(x, y).predict_proba(x)
    challenger = make_pipeline(StandardScaler(), LogisticRegression()).fit(x[:, :keep], y).predict_proba(x[:, :keep])
    decided = [p.argmax(axis=1) for p in (champion, challenger)]
    distance = np.abs(champion - challenger).sum(axis=1) / 2
    expected = {"agreement": accuracy_score(*decided)}
    for c in range(champion.shape[1]):
        expected[f"share of {c}"] = float((decided[1] == c).mean() - (decided[0] == c).mean())
    zeros = np.zeros_like(distance)
    expected["mean_absolute_difference"] = mean_absolute_error(zeros, distance)
    expected["root_mean_squared_difference"] = root_mean_squared_error(zeros, distance)
    expected["largest_difference"] = max_error(zeros, distance)
    if champion.shape[1] == 2:
        expected["correlation"] = pearsonr(champion[:, 1], challenger[:, 1]).statistic
    return {"classes": champion.shape[1], "champion": champion.ravel().tolist(), "challenger": challenger.ravel().tolist(), "expected": expected}


def numbers():
    x, y = load_diabetes(return_X_y=True)
    champion = LinearRegression().fit(x, y).predict(x)
    challenger = LinearRegression().fit(x[:, :3], y).predict(x[:, :3])
    challenger[:10] = champion[:10]
    expected = {
        "agreement": accuracy_score(champion.astype(str), challenger.astype(str)),
        "mean": challenger.mean() - champion.mean(),
        "mean_absolute_difference": mean_absolute_error(champion, challenger),
        "root_mean_squared_difference": root_mean_squared_error(champion, challenger),
        "largest_difference": max_error(champion, challenger),
        "correlation": pearsonr(champion, challenger).statistic,
    }
    return {"classes": 0, "champion": champion.tolist(), "challenger": challenger.tolist(), "expected": expected}


cases = {"cancer": classes(load_breast_cancer, 3), "wine": classes(load_wine, 2), "diabetes": numbers()}
pathlib.Path(__file__).with_suffix(".json").write_text(json.dumps(cases) + "\n")
