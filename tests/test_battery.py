"""One battery for every Learner in lrn, found by itself: a public function that returns a `Learner`.

Its module gives a small instance as ``example()``; a module without one fails here.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pkgutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_train import Stop, StopAfter
from toy import same

import lrn
from lrn import train
from lrn.types import Example, Learner


def find() -> dict[str, object]:
    """Modules that define a learner, by name."""
    found = {}
    for info in pkgutil.walk_packages(lrn.__path__, "lrn."):
        source = importlib.util.find_spec(info.name)
        # Read before it is imported: most modules define no learner, and some are slow to import.
        if source is None or source.origin is None or "-> Learner" not in Path(source.origin).read_text():
            continue
        module = importlib.import_module(info.name)
        if any(
            inspect.isfunction(f)
            and f.__module__ == info.name
            and f.__annotations__.get("return") in (Learner, "Learner")
            for name, f in vars(module).items()
            if not name.startswith("_")
        ):
            found[info.name] = module
    return found


LEARNERS = find()


def test_learners_are_found():
    assert "lrn.robust.adversarial_training" in LEARNERS


@pytest.fixture(scope="module", params=sorted(LEARNERS))
def example(request) -> Example:
    made = getattr(LEARNERS[request.param], "example", None)
    assert made is not None, f"{request.param} defines a learner and no example()"
    return made()


def start(example: Example, seed: int = 0):
    """A learner, its first state, and a function from step to (key, batch)."""
    learner = example.factory(example.config)
    data = jax.tree.map(jnp.asarray, example.data)

    @jax.jit
    def inputs(step):
        draw, key = jax.random.split(jax.random.fold_in(jax.random.key(seed), step))
        return key, None if example.sampler is None else example.sampler.draw(draw, data)

    key, batch = inputs(0)
    return learner, jax.jit(learner.init)(key, batch), inputs


def close(a, b, rtol=2e-4, atol=2e-5):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(data_of(x), data_of(y), rtol=rtol, atol=atol), a, b)


def data_of(x):
    return np.asarray(jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x)


def test_the_state_is_arrays_and_keeps_its_form(example):
    learner, state, inputs = start(example)
    assert all(isinstance(x, jax.Array) for x in jax.tree.leaves(state))
    after, metrics = jax.jit(learner.step)(inputs(1)[0], state, inputs(1)[1])
    assert jax.tree.structure(after) == jax.tree.structure(state)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(
        lambda x: (x.shape, x.dtype), state
    )
    assert isinstance(metrics, dict)
    assert metrics


def test_jit_equals_eager(example):
    learner, state, inputs = start(example)
    key, batch = inputs(1)
    close(jax.jit(learner.step)(key, state, batch), learner.step(key, state, batch))


def test_vmap_over_seeds_equals_a_loop(example):
    learner = example.factory(example.config)
    starts = [start(example, seed) for seed in range(3)]
    states = [s for _, s, _ in starts]
    keyed = [inputs(1) for _, _, inputs in starts]
    loop = [jax.jit(learner.step)(key, state, batch) for state, (key, batch) in zip(states, keyed)]
    stack = lambda trees: jax.tree.map(lambda *x: jnp.stack(x), *trees)  # noqa: E731
    together = jax.jit(jax.vmap(learner.step))(
        stack([k for k, _ in keyed]), stack(states), stack([b for _, b in keyed])
    )
    close(together, stack(loop))


def test_the_second_step_compiles_nothing(example):
    learner, state, inputs = start(example)
    traces = []

    def counted(key, state, batch):
        traces.append(1)
        return learner.step(key, state, batch)

    step = jax.jit(counted)
    for t in (1, 2, 3):
        key, batch = inputs(t)
        state, _ = step(key, state, batch)
    assert len(traces) == 1


def test_no_key_is_used_twice(example, key_reuse_checks):
    learner, state, inputs = start(example)
    key, batch = inputs(1)
    jax.block_until_ready(jax.jit(learner.step)(key, state, batch))
    jax.block_until_ready(jax.jit(learner.init)(inputs(2)[0], batch))


def test_seeds_differ(example):
    _, one, _ = start(example, 0)
    _, two, _ = start(example, 1)
    assert not same(one, two)


def test_every_float_of_the_config_is_traced(example):
    """The factory may not branch on a float: a sweep over each of them runs in one program."""
    floats, structure = jax.tree.flatten(example.config)
    swept = [jax.tree.unflatten(structure, [x * (1 + 1e-3 * i) for x in floats]) for i in range(2)]
    result = train.fit(
        example.factory, swept, [0], steps=2, data=example.data, sampler=example.sampler, progress=False
    )
    assert result.arms == ("0", "1")


def test_resumed_equals_uninterrupted(example, tmp_path):
    def fit(**options):
        return train.fit(
            example.factory, example.config, [0, 1], steps=12, log_every=2, chunk=2, data=example.data,
            sampler=example.sampler, progress=False, **options,
        )  # fmt: skip

    whole = fit()
    with pytest.raises(Stop):
        fit(folder=tmp_path, save_every=4, sinks=[StopAfter(3)])
    resumed = fit(folder=tmp_path)
    assert same(resumed.state, whole.state)
    assert same(resumed.table, whole.table)
