"""BOIL, body only in the inner loop (Oh et al. 2021): the inner loop adapts the body; the head stays.

BOIL is the opposite of `lrn.meta.anil`: the features are learned rapidly.
"""

from __future__ import annotations

from lrn.meta.learner import MetaLearner
from lrn.meta.maml import MAMLConfig, maml
from lrn.meta.problem import Problem
from lrn.types import Example, Goal


def boil(problem: Problem, config: MAMLConfig) -> MetaLearner:
    """MAML whose inner loop changes only the body; metrics and errors as for `lrn.meta.maml.maml`."""
    return maml(problem, config, adapted="body")


def example() -> Example:
    """The network and tasks of `lrn.meta.maml.example`."""
    from lrn.meta import maml as module

    return module.example_of(boil)._replace(solves=Goal("loss", below=5.2))
