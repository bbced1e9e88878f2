"""Body only in the inner loop (Oh et al. 2021): the head stays, the features move to it.

The mirror image of `lrn.meta.anil`: what is learned fast are the features.
"""

from __future__ import annotations

from lrn.meta.learner import MetaLearner
from lrn.meta.maml import MAMLConfig, maml
from lrn.meta.problem import Problem
from lrn.types import Example


def boil(problem: Problem, config: MAMLConfig) -> MetaLearner:
    """MAML whose inner loop changes the body alone; metrics as for `maml`."""
    return maml(problem, config, adapted="body")


def example() -> Example:
    """As `lrn.meta.maml.example`."""
    from lrn.meta import maml as module

    return module.example_of(boil)
