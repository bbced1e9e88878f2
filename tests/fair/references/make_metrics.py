"""How metrics.json was made: fairlearn 0.15.0 and AIF360 0.6.1 on 150 drawn rows.

The project needs neither; both were installed in an environment of their own:

pip install fairlearn==0.15.0 aif360==0.6.1 && python tests/fair/references/make_metrics.py
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd
from aif360.datasets import BinaryLabelDataset  # pyright: ignore[reportMissingImports]
from aif360.metrics import (  # pyright: ignore[reportMissingImports]
    BinaryLabelDatasetMetric,
    ClassificationMetric,
)
from fairlearn import metrics as fairlearn  # pyright: ignore[reportMissingImports]
from sklearn.metrics import accuracy_score, balanced_accuracy_score, precision_score

RNG = np.random.default_rng(16)
N = 150
GROUP = RNG.choice(3, N, p=[0.5, 0.3, 0.2])
Y = RNG.binomial(1, np.array([0.5, 0.4, 0.3])[GROUP])
D = RNG.binomial(1, np.where(Y == 1, 0.7, 0.3) - 0.05 * GROUP)
WEIGHT = RNG.integers(1, 8, N) / 4
X = np.round(RNG.normal(size=(N, 3)) + 0.5 * Y[:, None], 6)
BINARY = np.minimum(GROUP, 1)  # AIF360 compares two groups

FAIRLEARN = {
    "demographic_parity_difference": (fairlearn.demographic_parity_difference, {}),
    "demographic_parity_ratio": (fairlearn.demographic_parity_ratio, {}),
    "demographic_parity_difference_overall": (
        fairlearn.demographic_parity_difference,
        {"method": "to_overall"},
    ),
    "demographic_parity_ratio_overall": (fairlearn.demographic_parity_ratio, {"method": "to_overall"}),
    "equal_opportunity_difference": (fairlearn.equal_opportunity_difference, {}),
    "equal_opportunity_ratio": (fairlearn.equal_opportunity_ratio, {}),
    "equalized_odds_max": (fairlearn.equalized_odds_difference, {}),
    "equalized_odds_mean": (fairlearn.equalized_odds_difference, {"agg": "mean"}),
    "equalized_odds_ratio": (fairlearn.equalized_odds_ratio, {}),
}
BY_GROUP = {
    "selection_rate": fairlearn.selection_rate,
    "true_positive_rate": fairlearn.true_positive_rate,
    "false_positive_rate": fairlearn.false_positive_rate,
    "true_negative_rate": fairlearn.true_negative_rate,
    "false_negative_rate": fairlearn.false_negative_rate,
    "positive_predictive_value": precision_score,
    "accuracy": accuracy_score,
    "balanced_accuracy": balanced_accuracy_score,
}


def by_fairlearn(weight):
    params = {"sensitive_features": GROUP, "sample_weight": weight}
    found = {name: float(f(Y, D, **params, **kwargs)) for name, (f, kwargs) in FAIRLEARN.items()}
    frame = fairlearn.MetricFrame(
        metrics=BY_GROUP, y_true=Y, y_pred=D, sensitive_features=GROUP,
        sample_params={name: {"sample_weight": weight} for name in BY_GROUP},
    )  # fmt: skip
    return found | {"by_group": {name: frame.by_group[name].tolist() for name in BY_GROUP}}


def by_aif360():
    def dataset(labels):
        frame = pd.DataFrame({"group": BINARY, "label": labels, **{f"x{i}": X[:, i] for i in range(3)}})
        return BinaryLabelDataset(df=frame, label_names=["label"], protected_attribute_names=["group"])

    groups = {"unprivileged_groups": [{"group": 1}], "privileged_groups": [{"group": 0}]}
    metric = ClassificationMetric(dataset(Y), dataset(D), **groups)
    only_x = BinaryLabelDataset(
        df=pd.DataFrame({"label": D, **{f"x{i}": X[:, i] for i in range(3)}}).assign(group=0.0),
        label_names=["label"], protected_attribute_names=["group"],
    )  # fmt: skip
    return {
        "average_abs_odds_difference": metric.average_abs_odds_difference(),
        "statistical_parity_difference": metric.statistical_parity_difference(),
        "equal_opportunity_difference": metric.equal_opportunity_difference(),
        "disparate_impact": metric.disparate_impact(),
        "false_discovery_rate_difference": metric.false_discovery_rate_difference(),
        "theil_index": metric.theil_index(),
        "generalized_entropy_index_2": metric.generalized_entropy_index(2),
        "generalized_entropy_index_.5": metric.generalized_entropy_index(0.5),
        "coefficient_of_variation": metric.coefficient_of_variation(),
        "between_group_generalized_entropy_index": metric.between_group_generalized_entropy_index(2),
        "consistency": BinaryLabelDatasetMetric(only_x).consistency(5).item(),
    }


if __name__ == "__main__":
    rows = {"y": Y, "decision": D, "group": GROUP, "weight": WEIGHT, "x": X}
    content = {
        "rows": {name: value.tolist() for name, value in rows.items()},
        "fairlearn": by_fairlearn(None),
        "fairlearn_weighted": by_fairlearn(WEIGHT),
        "aif360": {name: float(value) for name, value in by_aif360().items()},
    }
    Path(__file__).with_name("metrics.json").write_text(json.dumps(content) + "\n")
