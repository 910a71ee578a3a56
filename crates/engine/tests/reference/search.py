"""Records what scikit-learn's and Optuna's searches do, for the tests of the search.

    pip install scikit-learn optuna==5.0.0 && python search.py

Reads data/*.csv (see glm.py) and writes search.json beside itself.
"""

import json
import math
import pathlib

import numpy as np
import optuna
import sklearn
from optuna.samplers._tpe import sampler as tpe
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV, PredefinedSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

here = pathlib.Path(__file__).parent
out = dict(scikit_learn=sklearn.__version__, optuna=optuna.__version__)


def read(name):
    table = np.loadtxt(here / "data" / f"{name}.csv", delimiter=",")
    return table[:, :-1], table[:, -1]


# Grids, on folds by the row's number.
out["grids"] = []
for data, algorithm, model, name, values, metric, scoring, fixed in [
    ("diabetes", "ridge", Ridge(), "alpha", [0.1, 1.0, 10.0, 100.0], "rmse", "neg_root_mean_squared_error", {}),
    ("breast_cancer", "logistic", LogisticRegression(tol=1e-12, max_iter=100_000), "C", [0.01, 0.1, 1.0, 10.0],
     "log_loss", "neg_log_loss", {"tol": 1e-11, "max_iter": 10_000}),
]:
    x, y = read(data)
    folds = PredefinedSplit(np.arange(len(y)) % 3)
    step = type(model).__name__.lower()
    search = GridSearchCV(make_pipeline(StandardScaler(), model), {f"{step}__{name}": values}, scoring=scoring, cv=folds)
    found = search.fit(x, y).cv_results_
    out["grids"].append(dict(
        data=data, algorithm=algorithm, params=fixed, name=name, values=values, metric=metric,
        mean=(-found["mean_test_score"]).tolist(), std=found["std_test_score"].tolist(),
        best=int(np.argmax(found["mean_test_score"])),
    ))

# Schedules of successive halving. The grid is the dummies' constant, which changes nothing.
out["halving"] = []
for rows, classes, candidates, factor, cv in [
    (1000, 0, 9, 3, 3), (1000, 2, 20, 3, 5), (150, 3, 6, 2, 5), (10_000, 2, 64, 4, 3), (500, 0, 100, 3, 3),
    (60, 2, 50, 3, 5), (5000, 0, 1, 3, 3), (442, 0, 12, 2, 3),
]:
    x = np.zeros((rows, 1))
    if classes:
        y, model, grid = np.arange(rows) % classes, DummyClassifier(), {"random_state": list(range(candidates))}
    else:
        y, model, grid = np.arange(rows) / 1.0, DummyRegressor(strategy="constant"), {"constant": list(range(candidates))}
    search = HalvingGridSearchCV(model, grid, factor=factor, cv=cv, random_state=0).fit(x, y)
    out["halving"].append(dict(
        rows=rows, classes=classes, candidates=candidates, factor=factor, folds=cv,
        n_candidates=search.n_candidates_, n_resources=[int(r) for r in search.n_resources_],
    ))

# The Parzen estimator on a fixed history.
space = dict(
    c=optuna.distributions.CategoricalDistribution(["a", "b", "d"]),
    k=optuna.distributions.IntDistribution(1, 200),
    leaves=optuna.distributions.IntDistribution(7, 255, log=True),
    rate=optuna.distributions.FloatDistribution(1e-4, 1.0, log=True),
    x=optuna.distributions.FloatDistribution(-5, 5),
)
rng = np.random.default_rng(3)
# None twice: which of two equal values has the wider kernel is left to numpy's sort, which is not stable.
some_k = iter(rng.permutation(np.arange(1, 201)).tolist())
some_leaves = iter(rng.permutation(np.arange(7, 256)).tolist())


def point():
    return dict(
        c=["a", "b", "d"][rng.integers(3)], k=next(some_k), leaves=int(next(some_leaves)),
        rate=float(10 ** rng.uniform(-4, 0)), x=float(rng.uniform(-5, 5)),
    )


def loss(p):
    return ((p["x"] - 1) ** 2 + (math.log10(p["rate"]) + 2) ** 2 + abs(p["k"] - 70) / 50
            + abs(math.log(p["leaves"] / 63)) + (0 if p["c"] == "b" else 0.7))


optuna.logging.set_verbosity(optuna.logging.ERROR)
out["parzen"] = []
for trials in (12, 40):
    history = [point() for _ in range(trials)]
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(multivariate=True, seed=1))
    for p in history:
        study.add_trial(optuna.trial.create_trial(params=p, distributions=space, value=loss(p)))
    sampler = study.sampler
    done = study.get_trials(deepcopy=False)
    below, above = tpe._split_trials(study, done, tpe.default_gamma(len(done)))
    low = sampler._build_parzen_estimator(study, space, below, handle_below=True)
    high = sampler._build_parzen_estimator(study, space, above, handle_below=False)
    points = [point() for _ in range(30)]
    inner = {n: np.array([d.to_internal_repr(p[n]) for p in points]) for n, d in space.items()}
    chosen = []
    trial = optuna.trial.create_trial(params={}, distributions={}, state=optuna.trial.TrialState.RUNNING)
    trial.number = len(done)
    chosen = [sampler._sample(study, trial, space) for _ in range(2000)]
    quantiles = np.linspace(0.02, 0.98, 49)
    out["parzen"].append(dict(
        history=history, losses=[loss(p) for p in history], points=points,
        score=(low.log_pdf(inner) - high.log_pdf(inner)).tolist(), samples=len(chosen), shares=quantiles.tolist(),
        quantiles={n: np.quantile([p[n] for p in chosen], quantiles).tolist() for n in ("rate", "x", "leaves", "k")},
        choices={v: sum(p["c"] == v for p in chosen) / len(chosen) for v in "abd"},
    ))

(here / "search.json").write_text(json.dumps(out, indent=1) + "\n")
