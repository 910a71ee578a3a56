"""Records what scikit-learn's naive Bayes classifiers and dummy estimators find, for the tests of naive_bayes and dummy.

    pip install scikit-learn && python naive_bayes.py

Reads data/*.csv (features, then the target), writes naive_bayes.json beside itself.
"""

import json
import pathlib

import numpy as np
import sklearn
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.naive_bayes import BernoulliNB, CategoricalNB, GaussianNB, MultinomialNB

here = pathlib.Path(__file__).parent
cases = []


def read(data):
    rows = np.loadtxt(here / "data" / f"{data}.csv", delimiter=",")
    return rows[:, :-1], rows[:, -1]


def weights(n):
    return 1.0 + np.arange(n) % 3


for data, model, params in [
    ("iris", GaussianNB(), {}),
    ("wine", GaussianNB(var_smoothing=1e-3), {"var_smoothing": 1e-3}),
    ("breast_cancer", GaussianNB(), {}),
    ("digits", GaussianNB(), {}),
    ("wine", GaussianNB(priors=[0.2, 0.3, 0.5]), {"priors": [0.2, 0.3, 0.5]}),
    ("digits", MultinomialNB(alpha=0.5), {"distribution": "multinomial", "alpha": 0.5}),
    ("digits", MultinomialNB(fit_prior=False), {"distribution": "multinomial", "fit_prior": False}),
    ("digits", BernoulliNB(alpha=2.0, binarize=7.0), {"distribution": "bernoulli", "alpha": 2.0, "binarize": 7.0}),
]:
    x, y = read(data)
    for weighted in [False, True]:
        # scikit-learn's smoothing of variances ignores the weights, so weighted normal distributions differ by it.
        if weighted and isinstance(model, GaussianNB):
            continue
        model.fit(x, y, sample_weight=weights(len(x)) if weighted else None)
        cases.append({
            "data": data, "params": params, "weighted": weighted, "accuracy": model.score(x, y),
            "log_probabilities": model.predict_log_proba(x[::40]).tolist(),
        })

# Categories: quarters of each column of breast_cancer.
x, y = read("breast_cancer")
edges = np.quantile(x, [0.25, 0.5, 0.75], axis=0)
codes = np.stack([np.searchsorted(edges[:, j], x[:, j], side="right") for j in range(x.shape[1])], axis=1)
model = CategoricalNB(alpha=0.7).fit(codes, y)
categories = {"edges": edges.tolist(), "alpha": 0.7, "log_probabilities": model.predict_log_proba(codes[::40]).tolist()}
# Both kinds at once: what they say adds up, and the priors count once.
half = x.shape[1] // 2
a, b = GaussianNB().fit(x[:, :half], y), CategoricalNB(alpha=0.7).fit(codes[:, half:], y)
joint = a.predict_joint_log_proba(x[::40, :half]) + b.predict_joint_log_proba(codes[::40, half:]) - np.log(a.class_prior_)
joint -= np.log(np.exp(joint - joint.max(1, keepdims=True)).sum(1, keepdims=True)) + joint.max(1, keepdims=True)
mixed = joint.tolist()

x, y = read("diabetes")
regression = [
    {"params": params, "value": DummyRegressor(**params).fit(x, y).predict(x[:1]).tolist()[0]}
    for params in [{"strategy": "mean"}, {"strategy": "median"}, {"strategy": "quantile", "quantile": 0.0},
                   {"strategy": "quantile", "quantile": 0.21}, {"strategy": "quantile", "quantile": 1.0},
                   {"strategy": "constant", "constant": 12.5}]
]
x, y = read("wine")
classification = [
    {"params": params, "probabilities": DummyClassifier(**params).fit(x, y).predict_proba(x[:1]).tolist()[0]}
    for params in [{"strategy": "prior"}, {"strategy": "most_frequent"}, {"strategy": "uniform"},
                   {"strategy": "constant", "constant": 2}]
]

with open(here / "naive_bayes.json", "w") as f:
    lines = ",\n".join(json.dumps(c) for c in cases)
    f.write(f'{{"scikit-learn": "{sklearn.__version__}", "cases": [\n{lines}\n],\n')
    f.write(f'"categories": {json.dumps(categories)},\n"mixed": {json.dumps(mixed)},\n')
    f.write(f'"regression": {json.dumps(regression)},\n"classification": {json.dumps(classification)}}}\n')
