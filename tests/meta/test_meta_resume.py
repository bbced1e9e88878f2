"""A meta-learner's training resumes in another process, bit for bit."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np

from lrn import nets, train
from lrn.meta.adapt import InnerConfig
from lrn.meta.episode import episodes
from lrn.meta.evaluate import evaluator
from lrn.meta.families.sinusoid import sinusoid
from lrn.meta.maml import MAMLConfig, maml
from lrn.meta.problem import regression


def trained(steps: int, folder: Path | None = None) -> train.Fit:
    problem = regression(nets.mlp(None, (8,)))
    learner = lambda config: maml(problem, config)  # noqa: E731
    return train.fit(
        learner,
        MAMLConfig(inner=InnerConfig(steps=2)),
        [0, 1],
        steps=steps,
        sampler=episodes(sinusoid(), 3),
        evaluate=evaluator(problem, sinusoid(), tasks=4, at=(0, 1)),
        folder=folder,
        log_every=1,
        progress=False,
    )


def test_it_goes_on_in_another_process(tmp_path):
    """A config holds functions (the optimizers), whose text differs between processes."""
    call = [sys.executable, __file__, str(tmp_path)]
    subprocess.run(call, check=True, env={**os.environ, "JAX_PLATFORMS": "cpu"}, timeout=300)
    resumed, whole = trained(6, tmp_path), trained(6)
    for a, b in zip(jax.tree.leaves(resumed.state), jax.tree.leaves(whole.state), strict=True):
        np.testing.assert_array_equal(a, b)
    ends = [fit.table.value[fit.table.step > 3] for fit in (resumed, whole)]
    np.testing.assert_array_equal(ends[0], ends[1])
    assert len(ends[0]) > 0


if __name__ == "__main__":
    trained(3, Path(sys.argv[1]))
