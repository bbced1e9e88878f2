"""One battery for all learners. It finds public functions that return a `Learner` or a subclass.

The module of a learner gives a small instance as ``example()``; a module without ``example()`` fails.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pkgutil
from pathlib import Path
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_train import Stop, StopAfter
from toy import same

import lrn
from lrn import train
from lrn.meta.learner import MetaLearner
from lrn.meta.rl.agent import MetaAgent
from lrn.rl.agent import Agent
from lrn.train import checkpoint
from lrn.types import Example, Learner

KINDS = (Learner, Agent, MetaLearner, MetaAgent)


def find() -> dict[str, Any]:
    """Modules that define a learner, by name."""
    found = {}
    for info in pkgutil.walk_packages(lrn.__path__, "lrn."):
        source = importlib.util.find_spec(info.name)
        # The source is read before an import: most modules define no learner, and some are slow to import.
        text = "" if source is None or source.origin is None else Path(source.origin).read_text()
        if not any(f"-> {kind.__name__}:" in text for kind in KINDS):
            continue
        module = importlib.import_module(info.name)
        if any(
            inspect.isfunction(f)
            and f.__module__ == info.name
            and f.__annotations__.get("return") in (*KINDS, *(kind.__name__ for kind in KINDS))
            for name, f in vars(module).items()
            if not name.startswith("_")
        ):
            found[info.name] = module
    return found


LEARNERS = find()


def test_learners_are_found():
    kinds = {"lrn.robust.adversarial_training", "lrn.rl.ppo", "lrn.meta.maml", "lrn.meta.rl.maml_rl"}
    assert kinds <= set(LEARNERS)


# Quick compilation: these programs run a few times, and compilation takes most of the time.
HASTY = {"xla_backend_optimization_level": 0}


class Case:
    """One learner with all that its tests share, so that each program compiles once."""

    def __init__(self, example: Example):
        self.example = example
        self.learner = example.factory(example.config)
        self.traces = 0
        data = jax.tree.map(jnp.asarray, example.data)

        def counted(key, state, batch):
            self.traces += 1
            return self.learner.step(key, state, batch)

        def inputs(seed, step):
            """The key and the batch of a step."""
            draw, key = jax.random.split(jax.random.fold_in(jax.random.key(seed), step))
            return key, None if example.sampler is None else example.sampler.draw(draw, data)

        self.inputs = jax.jit(inputs, compiler_options=HASTY)
        self.step = jax.jit(counted, compiler_options=HASTY)
        init = jax.jit(self.learner.init, compiler_options=HASTY)
        self.states = [init(*self.inputs(seed, 0)) for seed in range(3)]
        self.after = [self.step(*self.given(seed)) for seed in range(3)]

    def given(self, seed: int):
        """The arguments of a seed's first step."""
        key, batch = self.inputs(seed, 1)
        return key, self.states[seed], batch


@pytest.fixture(scope="module", params=sorted(LEARNERS))
def case(request) -> Case:
    made = getattr(LEARNERS[request.param], "example", None)
    assert made is not None, f"{request.param} defines a learner and no example()"
    return Case(made())


# One learner of most kinds is trained, stopped and resumed; `make test-slow` does so with all learners.
FITTED = {
    "lrn.meta.maml",
    "lrn.rl.dqn",
    "lrn.rl.ppo",
    "lrn.robust.adversarial_training",
}
# Outside of jit each operation compiles alone, which takes these learners longer than all other tests.
LONG_EAGER = {
    "lrn.meta.imaml", "lrn.meta.rl.maml_rl", "lrn.rl.a2c", "lrn.rl.dqn", "lrn.rl.model_based.mbpo",
    "lrn.rl.recurrent_ppo", "lrn.rl.reinforce",
}  # fmt: skip


def slow_if(condition) -> list:
    """The learners by name; those where ``condition`` holds are marked as slow."""
    return [pytest.param(n, marks=pytest.mark.slow) if condition(n) else n for n in sorted(LEARNERS)]


def close(a, b, rtol=2e-4, atol=2e-5):
    chex.assert_trees_all_close(*(jax.tree.map(data_of, tree) for tree in (a, b)), rtol=rtol, atol=atol)


def data_of(x):
    return np.asarray(jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x)


def test_the_state_is_arrays_and_keeps_its_form(case):
    state, (after, metrics) = case.states[0], case.after[0]
    assert all(isinstance(x, jax.Array) for x in jax.tree.leaves(state))
    chex.assert_trees_all_equal_structs(after, state)
    chex.assert_trees_all_equal_shapes_and_dtypes(after, state)
    assert isinstance(metrics, dict)
    assert metrics


@pytest.mark.parametrize("case", slow_if(LONG_EAGER.__contains__), indirect=True)
def test_jit_equals_eager(case):
    close(case.after[0], case.learner.step(*case.given(0)))


def test_vmap_over_configs_and_seeds_equals_a_loop(case):
    """One program for all lanes: the factory may not branch on a float of the config."""
    stack = lambda trees: jax.tree.map(lambda *x: jnp.stack(x), *trees)  # noqa: E731
    configs = jax.tree.map(lambda x: jnp.full(3, x), case.example.config)
    together = jax.jit(
        jax.vmap(lambda config, *given: case.example.factory(config).step(*given)), compiler_options=HASTY
    )
    close(together(configs, *stack([case.given(seed) for seed in range(3)])), stack(case.after))
    jax.eval_shape(lambda config, *given: case.example.factory(config).init(*given), *_traced(case))


def _traced(case):
    """A config whose floats are arrays, and the arguments of ``init``."""
    return jax.tree.map(jnp.asarray, case.example.config), *case.inputs(0, 0)


def test_the_second_step_compiles_nothing(case):
    state = case.after[0][0]
    for t in (2, 3):
        key, batch = case.inputs(0, t)
        state, _ = case.step(key, state, batch)
    assert case.traces == 1


def test_no_key_is_used_twice(case, key_reuse_checks):
    # The checker needs only the trace. The functions are new, because jit remembers checked functions.
    jax.jit(lambda *args: case.learner.step(*args)).trace(*case.given(0))
    jax.jit(lambda *args: case.learner.init(*args)).trace(*case.inputs(0, 0))


def test_seeds_differ(case):
    assert not same(case.states[0], case.states[1])


def test_a_saved_state_goes_on_as_the_state(case, tmp_path):
    state = case.after[0][0]
    checkpoint.save(tmp_path, 1, state)
    loaded = checkpoint.load(tmp_path, state)
    assert loaded is not None
    restored = loaded.tree
    assert same(restored, state)
    key, batch = case.inputs(0, 2)
    assert same(case.step(key, restored, batch), case.step(key, state, batch))


# The examples' schedules suit trainings that learn; this training is too short for them.
@pytest.mark.filterwarnings("ignore::lrn.train.ScheduleWarning")
@pytest.mark.parametrize("name", slow_if(lambda name: name not in FITTED))
def test_resumed_equals_uninterrupted(name, tmp_path):
    """The driver trains the learner with two values of each float of its config side by side."""
    example = LEARNERS[name].example()
    floats, structure = jax.tree.flatten(example.config)
    swept = [jax.tree.unflatten(structure, [x * (1 + 1e-3 * i) for x in floats]) for i in range(2)]

    def fit(**options):
        return train.fit(
            example.factory, swept, [0], steps=12, log_every=2, chunk=2, data=example.data,
            sampler=example.sampler, progress=False, **options,
        )  # fmt: skip

    whole = fit()
    assert whole.arms == ("0", "1")
    with pytest.raises(Stop):
        fit(folder=tmp_path, save_every=4, sinks=[StopAfter(3)])
    resumed = fit(folder=tmp_path)
    assert same(resumed.state, whole.state)
    assert same(resumed.table, whole.table)
