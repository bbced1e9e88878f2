"""NIL, no inner loop (Raghu et al. 2020): train as MAML or ANIL, then discard the head and compare features.

A query's score for a class is the sum of the cosine similarities between the query's features and those
of the class's support examples. Where NIL is as good as MAML, MAML's gain comes from its features and not
from adaptation.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lrn import check
from lrn.meta.learner import MetaLearner, MetaState, flat
from lrn.meta.maml import MAMLConfig, maml
from lrn.meta.problem import Problem, check_labels, one_hot_or_nan
from lrn.types import Array, Batch, Example, Goal, PyTree


def nil(problem: Problem, config: MAMLConfig, adapted: str = "all") -> MetaLearner:
    """MAML in training, similarity of features at test; arguments and metrics as for `lrn.meta.maml.maml`.

    Raises:
        ValueError: from ``curve``, before anything compiles: the tasks have no labels.
    """
    learner = maml(problem, config, adapted)

    def curve(state: MetaState, support: Batch, x: Array, code: PyTree, steps: int) -> Array:
        del code
        if not jnp.issubdtype(support["y"].dtype, jnp.integer):
            raise check.InputError(
                "nil compares classes and these tasks have no labels; use a classification."
            )
        y = check_labels(support["y"], support["x"].shape[0], problem.outputs)
        body = state.meta["body"]
        of_support = problem.features(body, state.net_state, support, support["x"])
        of_queries = problem.features(body, state.net_state, support, x)
        similarity = _unit(of_queries) @ _unit(of_support).T
        return flat(similarity @ one_hot_or_nan(y, problem.outputs, similarity.dtype), steps)

    return learner._replace(curve=curve)


def _unit(features: Array) -> Array:
    # The maximum is taken before the root: at zero the slope of a root is not finite.
    return features * jax.lax.rsqrt(jnp.maximum((features**2).sum(axis=1, keepdims=True), 1e-16))


def example() -> Example:
    """The network and tasks of `lrn.meta.prototypical.example`."""
    from lrn import nets
    from lrn.meta.episode import episodes
    from lrn.meta.families.blobs import blobs
    from lrn.meta.problem import classification

    problem = classification(nets.mlp(None, (8,)), ways=3)
    return Example(
        factory=lambda config: nil(problem, config),
        config=MAMLConfig(),
        sampler=episodes(blobs(ways=3), 3),
        solves=Goal("loss", below=1.45),
    )
