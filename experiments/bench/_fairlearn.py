"""fairlearn's side of the fairness benchmarks, in a process with fairlearn's own environment.

``python _fairlearn.py FILE``: FILE (npz) holds ``x`` [n, dim], ``y`` and ``group`` [n], and for some tasks
``train`` and ``test`` (rows), ``cell`` (the intersection of a row), ``score`` and ``decision``. The process
prints a line with the versions. Then it reads lines, each a task and its options as JSON, and answers each
with a line of JSON; a line begins with "answer " so that whatever a library prints is passed over.

logistic, reduction, thresholds: fit on the training rows; the answer has the seconds of the fit, those of
the reduction also as processor time, and the expected decision on the test rows by file name. post: the
thresholds of a fitted model on ``score``.
bootstrap: seconds of some resamples of MetricFrame.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
from fairlearn import __version__ as fairlearn_version  # pyright: ignore[reportMissingImports]
from fairlearn import metrics, postprocessing, reductions  # pyright: ignore[reportMissingImports]
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression

PARITY = {"demographic_parity": reductions.DemographicParity, "equalized_odds": reductions.EqualizedOdds}


class Given(ClassifierMixin, BaseEstimator):
    """A classifier whose chance of 1 is its only feature."""

    classes_ = np.array([0, 1])

    def fit(self, x: Any, y: Any) -> Given:
        """Nothing is fitted."""
        return self

    def predict_proba(self, x: Any) -> np.ndarray:
        """The feature as the chance of 1."""
        return np.stack([1 - x[:, 0], x[:, 0]], axis=1)

    def __sklearn_is_fitted__(self) -> bool:
        return True


def model() -> LogisticRegression:
    """scikit-learn's logistic regression."""
    return LogisticRegression(max_iter=2000)


def rows(saved: Any, name: str) -> tuple[Any, ...]:
    """Features, labels and groups of the rows of a part; all rows where the file names none."""
    part = saved[name] if name in saved else slice(None)
    return saved["x"][part].astype(float), saved["y"][part], saved["group"][part]


def logistic(saved: Any, options: dict[str, Any]) -> dict[str, Any]:
    """The model without a constraint."""
    x, y, _ = rows(saved, "train")
    begin = time.perf_counter()
    fitted = model().fit(x, y)
    seconds = time.perf_counter() - begin
    return {"seconds": seconds, "decision": fitted.predict(rows(saved, "test")[0]).astype(float)}


def reduction(saved: Any, options: dict[str, Any]) -> dict[str, Any]:
    """Exponentiated gradient."""
    x, y, group = rows(saved, "train")
    parity = PARITY[options["constraint"]](difference_bound=options["bound"])
    begin, busy = time.perf_counter(), time.process_time()
    fitted = reductions.ExponentiatedGradient(model(), parity, eps=options.get("eps", 0.01))
    fitted.fit(x, y, sensitive_features=group)
    seconds, busy = time.perf_counter() - begin, time.process_time() - busy
    chance = fitted._pmf_predict(rows(saved, "test")[0])[:, 1]
    rounds = int(fitted.last_iter_ + 1)
    return {"seconds": seconds, "processor_seconds": busy, "decision": chance, "rounds": rounds}


def thresholds(saved: Any, options: dict[str, Any]) -> dict[str, Any]:
    """Logistic regression with thresholds on the same training rows."""
    x, y, group = rows(saved, "train")
    begin = time.perf_counter()
    fitted = postprocessing.ThresholdOptimizer(
        estimator=model(), constraints=options["constraint"], predict_method="predict_proba"
    )
    fitted.fit(x, y, sensitive_features=group)
    seconds = time.perf_counter() - begin
    x, _, group = rows(saved, "test")
    chance = fitted._pmf_predict(x, sensitive_features=group)[:, 1]
    return {"seconds": seconds, "decision": chance}


def post(saved: Any, options: dict[str, Any]) -> dict[str, Any]:
    """Thresholds of given scores, fitted and applied."""
    score = saved["score"].astype(float)[:, None]  # fairlearn 0.15 cannot write its rule into float32
    begin = time.perf_counter()
    fitted = postprocessing.ThresholdOptimizer(
        estimator=Given(), constraints=options["constraint"], prefit=True, predict_method="predict_proba"
    )
    fitted.fit(score, saved["y"], sensitive_features=saved["group"])
    chance = fitted._pmf_predict(score, sensitive_features=saved["group"])[:, 1]
    return {"seconds": time.perf_counter() - begin, "decision": chance}


def bootstrap(saved: Any, options: dict[str, Any]) -> dict[str, Any]:
    """Rates of intersections in resamples of the rows, one MetricFrame each."""
    wanted = {
        "selection_rate": metrics.selection_rate,
        "true_positive_rate": metrics.true_positive_rate,
        "false_positive_rate": metrics.false_positive_rate,
        "accuracy": lambda y, d: float(np.mean(y == d)),
    }
    rng, y, decision, cell = np.random.default_rng(0), saved["y"], saved["decision"], saved["cell"]
    begin = time.perf_counter()
    for _ in range(options["resamples"]):
        drawn = rng.integers(0, len(y), len(y))
        frame = metrics.MetricFrame(
            metrics=wanted, y_true=y[drawn], y_pred=decision[drawn], sensitive_features=cell[drawn]
        )
        frame.by_group  # noqa: B018
    return {"seconds": time.perf_counter() - begin}


TASKS: dict[str, Callable[[Any, dict[str, Any]], dict[str, Any]]] = {
    "logistic": logistic,
    "reduction": reduction,
    "thresholds": thresholds,
    "post": post,
    "bootstrap": bootstrap,
}


def main() -> None:
    """Answer each line of the standard input."""
    print(f"answer fairlearn {fairlearn_version}, scikit-learn {sklearn.__version__}", flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        with np.load(asked["file"]) as file:
            saved = dict(file)
        found = TASKS[asked["task"]](saved, asked)
        if "decision" in found:
            np.save(Path(asked["file"]).with_suffix(".npy"), found.pop("decision"))
        print("answer " + json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
