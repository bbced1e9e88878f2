"""No method of lrn.ssl reads labels. This file finds all methods by itself.

A method's start and first step are traced with labels in the batch. No output may depend on the labels, so
labels that are permuted, or of any other values, change nothing. A trace shows this without a compilation.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from jax.interpreters import partial_eval

import lrn.ssl
from lrn.ssl import simclr
from lrn.supervised import learner as supervised_learner
from lrn.types import Example

LABELS = ("label", "y")
# Learners that are there to use labels, and one whose "y" is the other half of a pair.
EVALUATIONS = {"lrn.ssl.fine_tuning", "lrn.ssl.information.estimate", "lrn.ssl.online_probe"}


def methods() -> list[str]:
    """The modules of lrn.ssl with an ``example()``."""
    found = []
    for info in pkgutil.walk_packages(lrn.ssl.__path__, "lrn.ssl."):
        spec = importlib.util.find_spec(info.name)
        assert spec is not None
        if "\ndef example(" in Path(str(spec.origin)).read_text():
            found.append(info.name)
    return found


def read_labels(example: Example) -> list[str]:
    """The names of the labels on which the state or a metric after the first step depends."""
    learner = example.factory(example.config)
    batch = example.data
    if example.sampler is not None:
        batch = jax.eval_shape(example.sampler.draw, jax.random.key(0), jax.tree.map(jnp.asarray, batch))
    if not isinstance(batch, dict):  # the learner makes its own data, or takes unlabeled arrays
        return []
    if not any(name in batch for name in LABELS):
        rows = jax.tree.leaves(batch)[0].shape[0]
        batch = {**batch, "label": jax.ShapeDtypeStruct((rows,), jnp.int32)}

    def first(batch):
        init_key, step_key = jax.random.split(jax.random.key(0))
        return learner.step(step_key, learner.init(init_key, batch), batch)

    traced = jax.make_jaxpr(first)(batch)
    _, used = partial_eval.dce_jaxpr(traced.jaxpr, [True] * len(traced.jaxpr.outvars))
    names = [path[0].key for path, _ in jax.tree_util.tree_leaves_with_path(batch)]
    return [name for name, read in zip(names, used, strict=True) if read and name in LABELS]


def test_methods_are_found():
    assert {f"lrn.ssl.{name}" for name in ("simclr", "byol", "moco", "vicreg", "sigreg")} <= set(methods())
    assert set(methods()) >= EVALUATIONS


@pytest.mark.parametrize("name", [name for name in methods() if name not in EVALUATIONS])
def test_no_output_depends_on_labels(name):
    assert read_labels(importlib.import_module(name).example()) == []


def test_a_method_that_reads_labels_is_found():
    """Supervised learning, and a method with a small term of the labels in its loss."""
    assert read_labels(supervised_learner.example()) == ["label"]
    honest = simclr.example()

    def peeking(config):
        learner = honest.factory(config)

        def step(key, state, batch):
            after, metrics = learner.step(key, state, batch)
            return after, {**metrics, "loss": metrics["loss"] + 1e-9 * jnp.mean(batch["label"])}

        return learner._replace(step=step)

    assert read_labels(honest) == []
    assert read_labels(honest._replace(factory=peeking)) == ["label"]
