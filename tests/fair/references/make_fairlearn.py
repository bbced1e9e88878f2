"""Make fairlearn's figures for the tests; run in an environment with fairlearn 0.15.0 and scikit-learn 1.9.1.

    python tests/fair/references/make_fairlearn.py

Thresholds: the chance of decision 1 for `NEW_SCORES` in each group, [groups, scores]. Decorrelation: the
first 20 rows at alpha .7. Reductions: error, largest violation, gap, nu and last round on the training data.
"""

from pathlib import Path

import numpy as np
from fairlearn import postprocessing, preprocessing, reductions  # pyright: ignore[reportMissingImports]
from peer_data import NEW_SCORES, SETS, named, scored  # pyright: ignore[reportMissingImports]
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression

HERE = Path(__file__).parent
RATES = ["true_positive_rate", "false_positive_rate", "true_negative_rate", "false_negative_rate"]
PARITIES = ["demographic_parity", *(f"{rate}_parity" for rate in RATES), "equalized_odds"]
GOALS = {
    "accuracy": "accuracy_score",
    "balanced_accuracy": "balanced_accuracy_score",
    "selection_rate": "selection_rate",
    "true_positive_rate": "true_positive_rate",
    "true_negative_rate": "true_negative_rate",
}
MOMENTS = {
    "demographic_parity": reductions.DemographicParity,
    "equalized_odds": reductions.EqualizedOdds,
    "true_positive_rate_parity": reductions.TruePositiveRateParity,
    "error_rate_parity": reductions.ErrorRateParity,
}


class Given(ClassifierMixin, BaseEstimator):
    """A classifier whose chance of 1 is its only feature."""

    classes_ = np.array([0, 1])

    def fit(self, x, y):
        """Nothing is fitted."""
        return self

    def predict_proba(self, x):
        """The feature as the chance of 1."""
        return np.stack([1 - x[:, 0], x[:, 0]], axis=1)

    def __sklearn_is_fitted__(self):
        return True


def thresholds():
    """fairlearn's threshold rules, and its decorrelated features."""
    found = {}
    for name in SETS:
        score, y, group, groups = scored(name)
        for parity in PARITIES:
            for goal in list(GOALS)[: 2 if parity == "equalized_odds" else 5]:
                rule = postprocessing.ThresholdOptimizer(
                    estimator=Given(), constraints=parity, objective=GOALS[goal], prefit=True,
                    predict_method="predict_proba",
                ).fit(score[:, None], y, sensitive_features=group)  # fmt: skip
                chances = [
                    rule._pmf_predict(NEW_SCORES[:, None], sensitive_features=np.full(len(NEW_SCORES), g))[
                        :, 1
                    ]
                    for g in range(groups)
                ]
                found[f"to/{name}/{parity}/{goal}"] = np.stack(chances)
        x, _, group, groups = named(name)
        sensitive = np.eye(groups)[group][:, 1:]
        remover = preprocessing.CorrelationRemover(sensitive_feature_ids=list(range(groups - 1)), alpha=0.7)
        found[f"cr/{name}"] = remover.fit_transform(np.concatenate([sensitive, x], axis=1))[:20]
    return found


def mixtures():
    """fairlearn's exponentiated gradient."""
    found = {}
    for name in SETS:
        x, y, group, _ = named(name)
        for parity, moment in MOMENTS.items():
            for bound in (0.01, 0.05):
                estimator = LogisticRegression(tol=1e-9, max_iter=2000)
                fair = reductions.ExponentiatedGradient(estimator, moment(difference_bound=bound), eps=0.01)
                fair.fit(x, y, sensitive_features=group)
                p = fair._pmf_predict(x)[:, 1]
                error = np.mean(y * (1 - p) + (1 - y) * p)
                violation = fair.constraints_.gamma(lambda _, p=p: p).max()
                row = [error, violation, fair.best_gap_, fair.nu, fair.last_iter_]
                found[f"eg/{name}/{parity}/{bound}"] = np.array(row, float)
                print(f"eg/{name}/{parity}/{bound}", row, flush=True)
    return found


if __name__ == "__main__":
    first = thresholds()
    np.savez_compressed(HERE / "fairlearn.npz", **first)
    np.savez_compressed(HERE / "fairlearn.npz", **first, **mixtures())
