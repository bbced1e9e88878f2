"""Make OxonFair's figures for the tests; run in an environment with oxonfair 0.3.

    python tests/fair/references/make_oxonfair.py

The accuracy and the gap of its rules under bounds on the gap, on the rows of its search.
"""

import json
from pathlib import Path

import numpy as np
import oxonfair  # pyright: ignore[reportMissingImports]
from oxonfair.utils import group_metrics as gm  # pyright: ignore[reportMissingImports]
from peer_data import scored  # pyright: ignore[reportMissingImports]

BOUNDS = [0.01, 0.05, 0.1, 0.2]
GAPS = {"demographic_parity": gm.demographic_parity, "equal_opportunity": gm.equal_opportunity}


def measured(name: str) -> dict:
    """Accuracy and gap of OxonFair's rules on the scores that it searched."""
    score, y, group, _ = scored(name)
    data = oxonfair.DataDict(y, np.stack([1 - score, score], axis=1), group)
    found = {}
    for gap, metric in GAPS.items():
        for bound in BOUNDS:
            rule = oxonfair.FairPredictor(None, data, group)
            rule.fit(gm.accuracy, metric, bound, grid_width=76)
            values = rule.evaluate_fairness(metrics={"accuracy": gm.accuracy, "gap": metric}, verbose=False)
            found[f"{gap}/{bound}"] = values["updated"].tolist()
    return found


if __name__ == "__main__":
    target = Path(__file__).with_name("oxonfair.json")
    target.write_text(json.dumps({name: measured(name) for name in ("two",)}, indent=1) + "\n")
