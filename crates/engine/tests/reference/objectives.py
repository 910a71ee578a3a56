"""Records objectives.json: LightGBM's starts, trees and hold-out quality for each objective, on real data.

The small sets are those of scikit-learn; their rows are written to the record, so that tests need nothing else.
Run: DAMSON_DATA=... python objectives.py > objectives.json
"""

import json
import os
import warnings

import lightgbm as lgb
import numpy as np
import pandas as pd
from sklearn import datasets, metrics

warnings.filterwarnings("ignore")
DATA = os.environ["DAMSON_DATA"]
ONE = {"verbosity": -1, "num_leaves": 6, "min_data_in_leaf": 15, "learning_rate": 1.0, "deterministic": True, "seed": 1,
       "force_col_wise": True, "num_threads": 2, "min_data_in_bin": 3}
MANY = {"verbosity": -1, "num_leaves": 15, "min_data_in_leaf": 10, "learning_rate": 0.05, "deterministic": True, "seed": 1,
        "num_threads": 2}


def short(v):
    """Ten digits."""
    if isinstance(v, dict):
        return {k: short(x) for k, x in v.items()}
    if isinstance(v, (list, tuple, np.ndarray)):
        return [short(x) for x in v]
    return float(f"{v:.10g}") if isinstance(v, (float, np.floating)) else v


def deviance(name, y, p, alpha):
    """The loss that an objective minimises, of predictions."""
    if name in ("regression", "huber"):
        return float(np.sqrt(np.mean((p - y) ** 2)))
    if name == "regression_l1":
        return float(np.mean(abs(p - y)))
    if name == "quantile":
        return float(metrics.mean_pinball_loss(y, p, alpha=alpha))
    power = {"poisson": 1, "tweedie": 1.5, "gamma": 2}[name]
    return float(metrics.mean_tweedie_deviance(y, p, power=power))


def one_tree(name, x, y, weight=None, group=None, **more):
    """A tree grown at a learning rate of 1: raw scores of the rows, which are the start plus the leaf values."""
    params = ONE | {"objective": name} | more
    rounds = params.pop("rounds", 1)
    data = lgb.Dataset(x, y, weight=weight, group=group, params=params)
    model = lgb.train(params, data, num_boost_round=rounds)
    start = lgb.train(params | {"min_data_in_leaf": len(y)}, lgb.Dataset(x, y, weight=weight, group=group), 1)
    raw = model.predict(x, raw_score=True)
    start = start.predict(x[:1], raw_score=True)[0]
    return {"objective": name, "params": more, "weighted": weight is not None, "start": start, "raw": raw}


def small():
    d = datasets.load_diabetes(scaled=False)
    x, y = d.data, d.target
    w = 0.5 + np.arange(len(y)) % 4 / 2.0
    cases = [one_tree("regression", x, y)]
    cases += [one_tree("regression_l1", x, y), one_tree("huber", x, y, alpha=30.0)]
    cases += [one_tree("quantile", x, y, alpha=a) for a in (0.1, 0.5, 0.83)]
    cases += [one_tree(o, x, y) for o in ("poisson", "gamma", "tweedie")]
    cases += [one_tree("poisson", x, y, poisson_max_delta_step=0.1), one_tree("tweedie", x, y, tweedie_variance_power=1.1)]
    cases += [one_tree(o, x, y, weight=w) for o in ("regression", "poisson", "gamma", "tweedie")]
    cases += [one_tree("huber", x, y, weight=w, alpha=30.0)]
    cases += [one_tree("regression", x, y, boost_from_average=False), one_tree("regression", x, y, max_delta_step=25.0)]
    cases += [one_tree("regression", x, y, path_smooth=20.0), one_tree("regression", x, y, path_smooth=5.0, lambda_l2=1.0)]
    cases += [one_tree("regression", x, y, monotone_constraints=[0, 0, -1, 1, 0, 0, 0, 0, -1, 0])]
    cases += [one_tree("poisson", x, y, monotone_constraints=[0, 0, 0, 0, -1, 0, 0, 0, -1, 1], rounds=5, learning_rate=0.3)]
    cases += [one_tree("regression", x, y, interaction_constraints=[[2, 8], [0, 3, 5]], num_leaves=10)]
    b = datasets.load_breast_cancer()
    cancer = [one_tree("binary", b.data, b.target), one_tree("binary", b.data, b.target, scale_pos_weight=3.0),
              one_tree("binary", b.data, b.target, is_unbalance=True),
              one_tree("binary", b.data, b.target, weight=0.5 + np.arange(len(b.target)) % 3)]
    rank_y = np.digitize(y, [80, 140, 220]).astype(float)
    sizes = np.full(len(y) // 13, 13)
    sizes = np.append(sizes, len(y) - sizes.sum())
    ranks = [one_tree("lambdarank", x, rank_y, group=sizes, **m) for m in (
        {}, {"lambdarank_norm": False}, {"lambdarank_truncation_level": 3}, {"rounds": 4, "learning_rate": 0.2})]
    return {"diabetes": {"x": x, "y": y, "weight": w, "cases": cases},
            "breast_cancer": {"x": b.data, "y": b.target.astype(float), "cases": cancer},
            "ranking": {"y": rank_y, "size": 13, "cases": ranks}}


def hold_out(x, y, names, alpha, **more):
    test = np.arange(len(y)) % 5 == 0
    out = {}
    for name in names:
        params = {"objective": name, "alpha": alpha, "verbosity": -1, "seed": 1, "num_threads": 2} | more
        if name == "huber":
            params["alpha"] = 50.0
        # The gamma loss of bikes, 1 an hour at night and 1000 by day, takes more rounds to settle.
        m = lgb.train(params, lgb.Dataset(x[~test], y[~test]), 300 if name == "gamma" else 100)
        out[name] = deviance(name, y[test], m.predict(x[test]), alpha)
    return out


def bikes():
    """Counts of bikes by hour; columns that make up the target are left out."""
    d = pd.read_csv(f"{DATA}/bike_sharing/hour.csv.gz")
    return d.drop(columns=[c for c in ("instant", "dteday", "casual", "registered", "cnt") if c in d]), d["cnt"].to_numpy(float)


def flights():
    d = pd.read_csv(f"{DATA}/nycflights13/flights.csv.gz").dropna(subset=["arr_delay"]).iloc[:60000]
    x = d[["month", "day", "dep_time", "dep_delay", "distance", "hour", "minute"]].to_numpy(float)
    return x, d["arr_delay"].to_numpy(float)


def ranking():
    """Homes of a cell of the map, ranked by price: relevance is the quintile."""
    d = pd.read_csv(f"{DATA}/california_housing/housing.csv.gz")
    cell = d["longitude"].round(1) * 1000 + d["latitude"].round(1)
    relevance = pd.qcut(d["median_house_value"], 5, labels=False).to_numpy(float)
    x = d.drop(columns=["median_house_value", "ocean_proximity"]).to_numpy(float)
    codes = pd.factorize(cell)[0]
    test = codes % 5 == 0
    order = lambda m: np.flatnonzero(m)[np.argsort(codes[m], kind="stable")]
    train, held = order(~test), order(test)
    sizes = lambda rows: np.unique(codes[rows], return_counts=True)[1]
    m = lgb.train({"objective": "lambdarank", "verbosity": -1, "seed": 1, "num_threads": 2},
                  lgb.Dataset(x[train], relevance[train], group=sizes(train)), 100)
    scores, out, begin = m.predict(x[held]), [], 0
    for size in sizes(held):
        rows = slice(begin, begin + size)
        begin += size
        gains = 2.0 ** relevance[held][rows] - 1
        places = 1 / np.log2(2 + np.arange(min(10, size)))
        best = np.sort(gains)[::-1][:10] @ places
        found = gains[np.argsort(-scores[rows], kind="stable")][:10] @ places
        out.append(found / best if best > 0 else 1.0)
    return {"ndcg@10": float(np.mean(out)), "queries": len(out)}


def sampled():
    """Hold-out quality of sampling and growing by other rules."""
    d = pd.read_csv(f"{DATA}/california_housing/housing.csv.gz")
    y = d["median_house_value"].to_numpy(float)
    x = d.drop(columns=["median_house_value", "ocean_proximity"]).to_numpy(float)
    test = np.arange(len(y)) % 5 == 0
    cases = {
        "goss": {"data_sample_strategy": "goss"},
        "extra_trees": {"extra_trees": True},
        "bynode": {"feature_fraction_bynode": 0.5},
        "bagging": {"bagging_fraction": 0.5, "bagging_freq": 1},
        "monotone": {"monotone_constraints": [0, 0, 0, 0, 0, 0, 0, 1]},
        "smooth": {"path_smooth": 10.0},
    }
    out = {}
    for name, more in cases.items():
        scores = []
        for seed in (1, 2, 3):
            m = lgb.train({"objective": "regression", "verbosity": -1, "seed": seed, "num_threads": 2} | more,
                          lgb.Dataset(x[~test], y[~test]), 100)
            scores.append(float(np.sqrt(np.mean((m.predict(x[test]) - y[test]) ** 2))))
        out[name] = {"params": more, "rmse": scores}
    return out


bike_x, bike_y = bikes()
flight_x, flight_y = flights()
record = {
    "lightgbm": lgb.__version__,
    "small": small(),
    "bike_sharing": hold_out(bike_x.to_numpy(float), bike_y,
                             ["regression", "regression_l1", "huber", "quantile", "poisson", "gamma", "tweedie"], 0.8),
    "nycflights": hold_out(flight_x, flight_y, ["regression", "regression_l1", "huber", "quantile"], 0.8),
    "ranking": ranking(),
    "sampled": sampled(),
}
print(json.dumps(short(record), separators=(",", ":")))
