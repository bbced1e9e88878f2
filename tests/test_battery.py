"""One battery for all learners. It finds public functions that return a `Learner` or a subclass.

The module of a learner gives a small instance as ``example()``; a module without ``example()`` fails.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pkgutil
from functools import partial
from pathlib import Path
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxpr_as_fun
from test_train import Stop, StopAfter
from toy import same

import lrn
from lrn import train
from lrn.meta.learner import MetaLearner
from lrn.meta.rl.agent import MetaAgent
from lrn.rl.agent import Agent
from lrn.train import checkpoint
from lrn.types import Example, Learner, Mean

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
    """One learner with all that its tests share, so that each function is traced and compiled once.

    The floats of the config are traced, so the factory may not branch on them.
    """

    def __init__(self, example: Example):
        self.learner = example.factory(example.config)
        self.goal = example.solves
        self.config = jax.tree.map(np.float32, example.config)
        self.traces = 0
        data = jax.tree.map(jnp.asarray, example.data)

        @jax.jit
        def init(config, key, batch):
            return example.factory(config).init(key, batch)

        @jax.jit
        def step(config, key, state, batch):
            self.traces += 1
            return example.factory(config).step(key, state, batch)

        def inputs(seed, step):
            """The key and the batch of a step."""
            draw, key = jax.random.split(jax.random.fold_in(jax.random.key(seed), step))
            return key, None if example.sampler is None else example.sampler.draw(draw, data)

        self.inputs = jax.jit(inputs, compiler_options=HASTY)
        self.traced_step = step
        self.step = partial(jax.jit(step, compiler_options=HASTY), self.config)
        begin = partial(jax.jit(init, compiler_options=HASTY), self.config)
        self.states = [begin(*self.inputs(seed, 0)) for seed in range(3)]
        self.after = [self.step(*self.given(seed)) for seed in range(3)]
        traced = (step, (self.config, *self.given(0))), (init, (self.config, *self.inputs(0, 0)))
        self.jaxprs = [(function.trace(*given).jaxpr, given) for function, given in traced]

    def given(self, seed: int):
        """The arguments of a seed's first step."""
        key, batch = self.inputs(seed, 1)
        return key, self.states[seed], batch


@pytest.fixture(scope="module", params=sorted(LEARNERS))
def case(request) -> Case:
    made = getattr(LEARNERS[request.param], "example", None)
    assert made is not None, f"{request.param} defines a learner and no example()"
    return Case(made())


# Some tests are made with one learner of most kinds; `make test-slow` makes them with all learners.
FITTED = {"lrn.meta.maml", "lrn.rl.dqn", "lrn.rl.ppo", "lrn.robust.adversarial_training"}
# Outside of jit each operation compiles alone, which takes a learner longer than all its other tests.
EAGER = {
    "lrn.meta.maml", "lrn.meta.prototypical", "lrn.rl.bandits.play", "lrn.rl.linear.td", "lrn.rl.pqn",
    "lrn.rl.tabular.q_learning", "lrn.supervised.learner",
}  # fmt: skip


# These trainings share one step, and tests of their own compare a sweep with a loop.
SWEPT_ELSEWHERE = {f"lrn.robust.{name}" for name in ("awp", "free", "grad_align", "interpolation")}


def all_but_these_slow(fast: set[str]) -> list:
    """The learners by name, all but those of ``fast`` marked as slow."""
    assert fast <= set(LEARNERS)
    return [n if n in fast else pytest.param(n, marks=pytest.mark.slow) for n in sorted(LEARNERS)]


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


@pytest.mark.parametrize("case", all_but_these_slow(EAGER), indirect=True)
def test_jit_equals_eager(case):
    close(case.after[0], case.learner.step(*case.given(0)))


@pytest.mark.parametrize("case", all_but_these_slow(set(LEARNERS) - SWEPT_ELSEWHERE), indirect=True)
def test_vmap_over_configs_and_seeds_equals_a_loop(case):
    """One program for all lanes."""

    def together(config, lanes):
        configs, stacked = jax.tree.map(lambda *x: jnp.stack(x), *((config, lane) for lane in lanes))
        return jax.vmap(lambda config, given: case.traced_step(config, *given))(configs, stacked)

    stepped = jax.jit(together, compiler_options=HASTY)(case.config, [case.given(s) for s in range(3)])
    close(stepped, jax.tree.map(lambda *x: np.stack([data_of(part) for part in x]), *case.after))


def test_the_second_step_compiles_nothing(case):
    state = case.after[0][0]
    for t in (2, 3):
        key, batch = case.inputs(0, t)
        state, _ = case.step(key, state, batch)
    assert case.traces == 1


# Learners without a goal in their example, and the tests of what they learn or of their exact steps.
LEARNS_ELSEWHERE = {
    "lrn.fair.lagrangian": "fair/test_lagrangian.py",
    "lrn.meta.imaml": "meta/test_meta_step_maml.py",
    "lrn.meta.maml_plus_plus": "meta/test_meta_step_plus_plus.py",
    "lrn.meta.own_episodes": "meta/test_meta_dial.py",
    "lrn.meta.rl.maml_rl": "meta/test_meta_rl_maml.py",
    "lrn.meta.scratch": "meta/test_meta_evaluate.py",
    "lrn.rl.linear.emphatic_td": "rl/test_rl_linear.py",
    "lrn.rl.linear.lstd": "rl/test_rl_linear.py",
    "lrn.rl.linear.td": "rl/test_rl_linear.py",
    "lrn.rl.linear.tdc": "rl/test_rl_linear.py",
    "lrn.rl.model_based.dyna": "rl/test_rl_dyna.py",
    "lrn.rl.tabular.double_q_learning": "rl/test_rl_tabular.py",
    "lrn.rl.tabular.expected_sarsa": "rl/test_rl_tabular.py",
    "lrn.rl.tabular.q_learning": "rl/test_rl_tabular.py",
    "lrn.rl.tabular.sarsa": "rl/test_rl_tabular.py",
    "lrn.rl.tabular.td": "rl/test_rl_tabular.py",
    "lrn.rl.tabular.td_lambda": "rl/test_rl_tabular.py",
}


def test_it_learns(request, case):
    """The example reaches its goal, which it does not begin with."""
    name, goal = request.node.callspec.params["case"], case.goal
    if goal is None:
        assert (Path(__file__).parent / LEARNS_ELSEWHERE[name]).exists()
        return
    state, values = case.states[0], []
    for t in range(1, goal.steps + 1):
        key, batch = case.inputs(0, t)
        state, metrics = case.step(key, state, batch)
        value = metrics[goal.metric]
        values.append(float(value.value if isinstance(value, Mean) else value))
    tenth = max(1, goal.steps // 10)
    first, last = np.nanmean(values[:tenth]), np.nanmean(values[-tenth:])
    assert goal.above < last < goal.below, (first, last)
    assert not goal.above < first < goal.below, (first, last)


def test_no_key_is_used_twice(case, key_reuse_checks):
    # The checker needs only a trace; that of a jaxpr takes a fraction of the time of another trace in Python.
    for jaxpr, given in case.jaxprs:
        jax.jit(jaxpr_as_fun(jaxpr)).trace(*jax.tree.leaves(given))


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
@pytest.mark.parametrize("name", all_but_these_slow(FITTED))
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
