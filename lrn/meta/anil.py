"""Almost no inner loop (Raghu et al. 2020): only the head is adapted, the body's features are reused.

Its inner loop sees features, computed once, so its steps cost next to nothing. As good as MAML where MAML's
gain is reuse of features rather than rapid learning of them.
"""

from __future__ import annotations

from lrn.meta.learner import MetaLearner
from lrn.meta.maml import MAMLConfig, maml
from lrn.meta.problem import Problem
from lrn.types import Example


def anil(problem: Problem, config: MAMLConfig) -> MetaLearner:
    """MAML whose inner loop changes the head alone; metrics as for `maml`."""
    return maml(problem, config, adapted="head")


def example() -> Example:
    """As `lrn.meta.maml.example`."""
    from lrn.meta import maml as module

    return module.example_of(anil)
