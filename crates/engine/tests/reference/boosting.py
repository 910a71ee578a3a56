"""Records boosting.json: LightGBM's trees on small made-up tables, and its quality on real data.

Run: DAMSON_DATA=... python boosting.py > boosting.json
"""

import json
import os

import lightgbm as lgb
import numpy as np
import pandas as pd
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score

DATA = os.environ["DAMSON_DATA"]


def table():
    """400 rows: two numbers, one number with missing values, one category of 8 levels, a weight."""
    i = np.arange(400)
    a = 1 + (i * 7919 % 1009) / 100.0
    b = 1 + (i * 104729 % 997) / 50.0
    c = 1 + (i * 1299709 % 499) / 25.0
    c[i * 31 % 7 == 0] = np.nan
    d = i * 17 % 23 % 8
    y = np.sin(a) * 3 + 0.2 * b + np.where(np.isnan(c), 2.5, 0.1 * c) + np.array([0, 2, -1, 3, 0.5, -2, 1, 2.5])[d]
    w = 0.5 + i * 13 % 17 / 8.0
    return np.column_stack([a, b, c, d]), y, w


def splits(node):
    """The questions in preorder: feature, threshold (none for a category), gain, rows."""
    if "split_feature" not in node:
        return []
    category = node["decision_type"] == "=="
    here = {
        "feature": node["split_feature"],
        "threshold": None if category else node["threshold"],
        "gain": node["split_gain"],
        "rows": node["internal_count"],
    }
    return [here] + splits(node["left_child"]) + splits(node["right_child"])


def small(name, objective, label, weight, **params):
    x, y, w = table()
    label = label(y)
    params = {"objective": objective, "verbosity": -1, "num_leaves": 8, "min_data_in_leaf": 10, "learning_rate": 1.0,
              "min_data_per_group": 20, "deterministic": True, "seed": 1, "force_col_wise": True} | params
    data = lgb.Dataset(x, label, weight=w if weight else None, categorical_feature=[3], params=params)
    model = lgb.train(params, data, num_boost_round=1)
    dump = model.dump_model()["tree_info"][0]["tree_structure"]
    return {"name": name, "y": label.tolist(), "weight": w.tolist() if weight else [],
            "raw": model.predict(x, raw_score=True).tolist(), "splits": splits(dump)}


def adult():
    names = [f"c{i}" for i in range(14)] + ["y"]
    read = lambda f, skip: pd.read_csv(f"{DATA}/adult/{f}", names=names, skipinitialspace=True, na_values="?", skiprows=skip)
    train, test = read("adult.data.gz", 0), read("adult.test.gz", 0)
    both = pd.concat([train, test])
    both["y"] = both["y"].str.contains(">50K").astype(int)
    for c in names[:-1]:
        if not pd.api.types.is_numeric_dtype(both[c]):
            both[c] = both[c].astype("category")
    return both[: len(train)], both[len(train):]


def every_fifth(frame):
    test = np.arange(len(frame)) % 5 == 0
    return frame[~test], frame[test]


def quality():
    out = {}
    train, test = adult()
    m = lgb.LGBMClassifier(verbosity=-1, random_state=1).fit(train.drop(columns="y"), train["y"])
    out["adult"] = {"auc": roc_auc_score(test["y"], m.predict_proba(test.drop(columns="y"))[:, 1])}
    cover = pd.read_csv(f"{DATA}/covertype/covertype_16pct_int.csv.gz")
    train, test = every_fifth(cover)
    for name, params in [("covertype", {}), ("covertype_large", {"n_estimators": 200, "num_leaves": 127})]:
        m = lgb.LGBMClassifier(verbosity=-1, random_state=1, **params)
        m.fit(train.drop(columns="Cover_Type"), train["Cover_Type"])
        p = m.predict_proba(test.drop(columns="Cover_Type"))
        out[name] = {"accuracy": accuracy_score(test["Cover_Type"], m.classes_[p.argmax(1)]),
                     "log_loss": log_loss(test["Cover_Type"], p)}
    homes = pd.read_csv(f"{DATA}/california_housing/housing.csv.gz")
    homes["ocean_proximity"] = homes["ocean_proximity"].astype("category")
    train, test = every_fifth(homes)
    y = "median_house_value"
    for name, params in [("california", {}), ("california_large", {"n_estimators": 500, "learning_rate": 0.05})]:
        m = lgb.LGBMRegressor(verbosity=-1, random_state=1, **params).fit(train.drop(columns=y), train[y])
        out[name] = {"rmse": float(np.sqrt(np.mean((m.predict(test.drop(columns=y)) - test[y]) ** 2)))}
    return out


def short(v):
    """Nine digits are enough, and keep the file small."""
    if isinstance(v, float):
        return float(f"{v:.9g}")
    if isinstance(v, dict):
        return {k: short(x) for k, x in v.items()}
    return [short(x) for x in v] if isinstance(v, list) else v


print(json.dumps(short({
    "lightgbm": lgb.__version__,
    "x": [[None if np.isnan(v) else v for v in row] for row in table()[0].tolist()],
    "small": [
        small("regression", "regression", lambda y: y, False),
        small("regression_weighted", "regression", lambda y: y, True),
        small("regression_penalised", "regression", lambda y: y, False, lambda_l1=2.0, lambda_l2=5.0, max_depth=3),
        small("binary", "binary", lambda y: (y > 5).astype(float), False),
        small("binary_weighted", "binary", lambda y: (y > 5).astype(float), True),
    ],
    "quality": quality(),
})))
