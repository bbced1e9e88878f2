"""No inner loop (Raghu et al. 2020): train as MAML or ANIL, then throw the head away and compare features.

A query's class scores are the cosine similarities of its features to the support examples', added up by
class. Where it does as well as MAML, MAML's gain was in the features and not in adapting.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lrn import check
from lrn.meta.learner import MetaLearner, MetaState, flat
from lrn.meta.maml import MAMLConfig, maml
from lrn.meta.problem import Problem, check_labels, one_hot_or_nan
from lrn.types import Array, Batch, Example, PyTree


def nil(problem: Problem, config: MAMLConfig, adapted: str = "all") -> MetaLearner:
    """MAML in training, nearest features at test; arguments and metrics as for `lrn.meta.maml.maml`.

    Raises:
        ValueError: from ``curve``, before anything compiles: tasks without labels.
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
        known = problem.features(body, state.net_state, support, support["x"])
        found = problem.features(body, state.net_state, support, x)
        alike = _unit(found) @ _unit(known).T
        return flat(alike @ one_hot_or_nan(y, problem.outputs, alike.dtype), steps)

    return learner._replace(curve=curve)


def _unit(features: Array) -> Array:
    # (The root of a maximum, not the maximum of a root, whose slope at zero is no number.)
    return features * jax.lax.rsqrt(jnp.maximum((features**2).sum(axis=1, keepdims=True), 1e-16))


def example() -> Example:
    """As `lrn.meta.prototypical.example`."""
    from lrn import nets
    from lrn.meta.episode import episodes
    from lrn.meta.families.blobs import blobs
    from lrn.meta.problem import classification

    problem = classification(nets.mlp(None, (8,)), ways=3)
    return Example(
        factory=lambda config: nil(problem, config), config=MAMLConfig(), sampler=episodes(blobs(ways=3), 3)
    )
