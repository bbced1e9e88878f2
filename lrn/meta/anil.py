"""ANIL, almost no inner loop (Raghu et al. 2020): the inner loop adapts the head; the body's features stay.

The features of the support set are computed once, so inner steps cost next to nothing. ANIL is as good as
MAML where MAML's gain comes from reuse of features rather than from rapid learning of new features.
"""

from __future__ import annotations

from lrn.meta.learner import MetaLearner
from lrn.meta.maml import MAMLConfig, maml
from lrn.meta.problem import Problem
from lrn.types import Example, Goal


def anil(problem: Problem, config: MAMLConfig) -> MetaLearner:
    """MAML whose inner loop changes only the head; metrics and errors as for `lrn.meta.maml.maml`."""
    return maml(problem, config, adapted="head")


def example() -> Example:
    """The network and tasks of `lrn.meta.maml.example`."""
    from lrn.meta import maml as module

    return module.example_of(anil)._replace(solves=Goal("loss", below=5.5))
