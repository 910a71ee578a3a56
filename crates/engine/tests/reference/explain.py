"""Records explain.json: the interventional Shapley values of shap.LinearExplainer for linear models of scikit-learn, and
the likelihoods by feature of its GaussianNB.

Run: python explain.py > explain.json
"""

import json

import numpy as np
import shap
import sklearn
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.linear_model import LinearRegression, LogisticRegression, PoissonRegressor, Ridge
from sklearn.naive_bayes import GaussianNB
from scipy.stats import norm

ROWS = [0, 50, 100]
diabetes, cancer, iris = (load(return_X_y=True) for load in (load_diabetes, load_breast_cancer, load_iris))
# On a scale at which an iterative optimum is as sharp as its tolerance says.
cancer = ((cancer[0] - cancer[0].mean(0)) / cancer[0].std(0) + 3.0, cancer[1])


def short(v):
    return [short(x) for x in v] if isinstance(v, list) else float(f"{v:.12g}")


def case(algorithm, params, data, model, classes=0, width=5):
    """For each row and score the parts of the features, then the base."""
    x, y = data[0][:, :width], data[1]
    model.fit(x, y)
    if isinstance(model, GaussianNB):
        parts = []
        for row in x[ROWS]:
            logs = norm.logpdf(row, model.theta_, np.sqrt(model.var_))
            both = np.column_stack([logs, np.log(model.class_prior_)])
            parts.append([(both[1] - both[0]).tolist()] if classes == 2 else (both - both.mean(0)).tolist())
    else:
        explainer = shap.LinearExplainer(model, shap.maskers.Independent(x, max_samples=len(x)))
        values = explainer.shap_values(x[ROWS])
        values = values.reshape(len(ROWS), width, -1)
        base = np.atleast_1d(explainer.expected_value)
        parts = [[values[i, :, c].tolist() + [base[c]] for c in range(values.shape[2])] for i in range(len(ROWS))]
    return {"algorithm": algorithm, "params": params, "classes": classes, "rows": ROWS, "width": width,
            "x": short(x.ravel().tolist()), "y": y.astype(float).tolist(), "parts": short(parts)}


tight = {"tol": 1e-10, "max_iter": 10000}
print(json.dumps({
    "scikit-learn": sklearn.__version__, "shap": shap.__version__,
    "cases": [
        case("linear", {}, diabetes, LinearRegression()),
        case("ridge", {"alpha": 3.0}, diabetes, Ridge(alpha=3.0)),
        case("poisson", {}, diabetes, PoissonRegressor(alpha=0.0, **tight)),
        case("logistic", {"tol": 1e-10}, cancer, LogisticRegression(**tight), 2),
        case("multinomial", {"tol": 1e-10}, iris, LogisticRegression(**tight), 3, 4),
        case("naive_bayes", {}, iris, GaussianNB(), 3, 4),
        case("naive_bayes", {}, cancer, GaussianNB(), 2),
    ],
}))
