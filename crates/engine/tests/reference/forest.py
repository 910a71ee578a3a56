"""Records what scikit-learn's trees and forests find, for the tests of decision_tree, random_forest, extra_trees and
isolation_forest.

    pip install scikit-learn pandas && DAMSON_DATA=... python forest.py > forest.json

Reads data/*.csv (features, then the target). Test rows are those with i % 4 = 0 of the small sets, i % 5 = 0 of the
large ones. Qualities are the mean over three seeds.
"""

import json
import os
import pathlib

import numpy as np
import pandas as pd
import sklearn
from sklearn.ensemble import (ExtraTreesClassifier, ExtraTreesRegressor, IsolationForest, RandomForestClassifier,
                              RandomForestRegressor)
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.preprocessing import OrdinalEncoder
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

HERE = pathlib.Path(__file__).parent
DATA = os.environ["DAMSON_DATA"]


def read(name):
    table = np.loadtxt(HERE / "data" / f"{name}.csv", delimiter=",")
    return table[:, :-1], table[:, -1]


def tree(name, model, weighted=False, **params):
    """A tree's nodes in preorder, and its importances. Where features are equally good, scikit-learn takes one by
    chance, and we the first: of several seeds, the tree that names the first ones."""
    x, y = read(name)
    weight = 1.0 + np.arange(len(y)) % 3 if weighted else None
    fitted = [model(random_state=seed, **params).fit(x, y, sample_weight=weight) for seed in range(30)]
    # Nodes are numbered in preorder; but a tree grown best first numbers them as it grows.
    model = min(fitted, key=lambda m: m.tree_.feature.tolist())
    t = model.tree_
    total = t.weighted_n_node_samples[0]
    nodes = []

    def walk(i):
        left, right = t.children_left[i], t.children_right[i]
        n = t.weighted_n_node_samples
        leaf = left < 0
        decrease = 0.0 if leaf else (n[i] * t.impurity[i] - n[left] * t.impurity[left] - n[right] * t.impurity[right])
        nodes.append({"feature": int(t.feature[i]), "threshold": float(t.threshold[i]), "rows": int(t.n_node_samples[i]),
                      "decrease": float(decrease / total), "value": np.ravel(t.value[i]).tolist()})
        if not leaf:
            walk(left)
            walk(right)

    walk(0)
    return {"data": name, "weighted": weighted, "params": params, "nodes": nodes,
            "importance": model.feature_importances_.tolist()}


def quality(model, fit, test, regression=False, **params):
    found = []
    oob = hasattr(model(), "oob_score") and "Extra" not in model.__name__
    for seed in range(3):
        more = {"n_jobs": 2, "oob_score": True} if oob else {}
        m = model(random_state=seed, **more, **params).fit(*fit)
        x, y = test
        if regression:
            here = {"rmse": float(np.sqrt(np.mean((m.predict(x) - y) ** 2)))}
        else:
            p = m.predict_proba(x)
            here = {"accuracy": float(np.mean(m.classes_[p.argmax(1)] == y)), "log_loss": log_loss(y, p)}
            if p.shape[1] == 2:
                here["auc"] = roc_auc_score(y, p[:, 1])
        if oob:
            here["oob"] = m.oob_score_
        found.append(here)
    return {"params": params} | {k: float(np.mean([f[k] for f in found])) for k in found[0]}


def cut(x, y, every):
    test = np.arange(len(y)) % every == 0
    return (x[~test], y[~test]), (x[test], y[test])


def small():
    out = {}
    for name, regression in [("breast_cancer", False), ("wine", False), ("digits", False), ("diabetes", True)]:
        fit, test = cut(*read(name), 4)
        models = (DecisionTreeRegressor, RandomForestRegressor, ExtraTreesRegressor) if regression else (
            DecisionTreeClassifier, RandomForestClassifier, ExtraTreesClassifier)
        for kind, model in zip(("decision_tree", "random_forest", "extra_trees"), models):
            out[f"{name}/{kind}"] = quality(model, fit, test, regression)
    return out


def large():
    out = {}
    names = [f"c{i}" for i in range(14)] + ["y"]
    csv = lambda f: pd.read_csv(f"{DATA}/adult/{f}", names=names, skipinitialspace=True, na_values="?")
    train = csv("adult.data.gz")
    adult = pd.concat([train, csv("adult.test.gz").iloc[1:]])
    y = adult.pop("y").str.contains(">50K").to_numpy().astype(int)
    words = [c for c in adult if not pd.api.types.is_numeric_dtype(adult[c]) and c != "c0"]
    adult["c0"] = adult["c0"].astype(float)
    adult[words] = OrdinalEncoder().fit_transform(adult[words])
    x, n = adult.to_numpy(), len(train)
    cover = pd.read_csv(f"{DATA}/covertype/covertype_16pct_int.csv.gz").to_numpy()
    homes = pd.read_csv(f"{DATA}/california_housing/housing.csv.gz")
    homes["ocean_proximity"] = OrdinalEncoder().fit_transform(homes[["ocean_proximity"]])
    price = homes.pop("median_house_value").to_numpy()
    classes = (("random_forest", RandomForestClassifier), ("extra_trees", ExtraTreesClassifier))
    for kind, model in classes:
        deep = {"max_depth": 12}
        out[f"adult/{kind}"] = quality(model, (x[:n], y[:n]), (x[n:], y[n:]), **deep)
        out[f"covertype/{kind}"] = quality(model, *cut(cover[:, :-1], cover[:, -1], 5), n_estimators=30)
    out["adult/decision_tree"] = quality(DecisionTreeClassifier, (x[:n], y[:n]), (x[n:], y[n:]), max_depth=8)
    out["covertype/decision_tree"] = quality(DecisionTreeClassifier, *cut(cover[:, :-1], cover[:, -1], 5))
    for kind, model in (("decision_tree", DecisionTreeRegressor), ("random_forest", RandomForestRegressor),
                        ("extra_trees", ExtraTreesRegressor)):
        deep = {"max_depth": 10} if kind == "decision_tree" else {}
        out[f"california/{kind}"] = quality(model, *cut(homes.to_numpy(), price, 5), True, **deep)
    return out


def anomalies():
    """Scores of the small sets; and how well the attacks are found among the connections of kddcup99: all normal
    ones, and each hundredth attack."""
    out = {}
    for name in ("breast_cancer", "wine", "diabetes"):
        x, _ = read(name)
        out[name] = {"scores": (-IsolationForest(n_estimators=400, random_state=0).fit(x).score_samples(x)).tolist()}
    kdd = pd.read_csv(f"{DATA}/kddcup99_10pct/kddcup.tsv.gz", sep="\t")
    attack = kdd["target"].to_numpy() != 11  # 11 are the normal connections
    keep = ~attack | (np.arange(len(kdd)) % 100 == 0)
    x = kdd.drop(columns="target").to_numpy()[keep]
    areas = [roc_auc_score(attack[keep], -IsolationForest(random_state=s).fit(x).score_samples(x)) for s in range(3)]
    out["kddcup99"] = {"rows": int(keep.sum()), "attacks": int(attack[keep].sum()), "auc": float(np.mean(areas))}
    return out


def short(v):
    if isinstance(v, float):
        return float(f"{v:.9g}")
    if isinstance(v, dict):
        return {k: short(x) for k, x in v.items()}
    return [short(x) for x in v] if isinstance(v, list) else v


def trees():
    return [
        tree("iris", DecisionTreeClassifier, max_depth=3),
        tree("iris", DecisionTreeClassifier, True, max_depth=3, criterion="entropy"),
        tree("wine", DecisionTreeClassifier, max_depth=3),
        tree("wine", DecisionTreeClassifier, max_depth=3, criterion="entropy", min_samples_leaf=5),
        tree("wine", DecisionTreeClassifier, True, max_depth=3),
        tree("wine", DecisionTreeClassifier, max_leaf_nodes=5),
        tree("wine", DecisionTreeClassifier, ccp_alpha=0.02),
        tree("wine", DecisionTreeClassifier, min_impurity_decrease=0.05),
        tree("diabetes", DecisionTreeRegressor, max_depth=3),
        tree("diabetes", DecisionTreeRegressor, True, max_depth=4, min_samples_leaf=10),
        tree("diabetes", DecisionTreeRegressor, max_leaf_nodes=12),
        tree("diabetes", DecisionTreeRegressor, ccp_alpha=60.0),
    ]


if __name__ == "__main__":
    print(json.dumps(short({"sklearn": sklearn.__version__, "trees": trees(), "small": small(), "large": large(),
                            "anomalies": anomalies()})))
