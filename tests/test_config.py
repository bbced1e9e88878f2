"""Configs as pytrees: floats are leaves, other fields are static."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn import check
from lrn.config import config, grid, stack


@config
class Inner:
    """A config inside of another config."""

    rate: float = 0.5


@config
class Outer:
    """Floats, an int, a string and a config."""

    eps: float = 0.1
    steps: int = 3
    norm: str = "linf"
    inner: Inner = Inner()

    def __post_init__(self):
        check.positive("eps", self.eps)
        check.integer("steps", self.steps, low=1)


def test_floats_are_leaves_and_the_rest_is_structure():
    assert jax.tree.leaves(Outer()) == [0.1, 0.5]
    assert jax.tree.structure(Outer()) == jax.tree.structure(Outer(eps=0.2))
    assert jax.tree.structure(Outer()) != jax.tree.structure(Outer(steps=4))
    names = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_flatten_with_path(Outer())[0]]
    assert names == [".eps", ".inner.rate"]


def test_a_sweep_is_one_program():
    traces = []

    @jax.jit
    @jax.vmap
    def f(c):
        traces.append(c.steps)
        return c.eps * c.steps + c.inner.rate

    swept = stack([*grid(Outer(), eps=[1.0, 2.0]).values()])
    assert f(swept).tolist() == pytest.approx([3.5, 6.5])
    f(stack([*grid(Outer(), eps=[3.0, 4.0]).values()]))
    assert traces == [3]


def test_gradients_flow_to_a_config():
    grad = jax.grad(lambda c: c.eps**2 * c.steps)(Outer(eps=2.0))
    assert grad.eps == pytest.approx(12.0)


def test_configs_are_frozen_and_replaced_under_trace():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Outer().eps = 1.0  # pyright: ignore[reportAttributeAccessIssue]
    # The checks run again here, and accept a traced value.
    assert jax.jit(lambda e: dataclasses.replace(Outer(), eps=e).eps)(jnp.float32(3)) == 3


@config
class Two:
    """Two floats and a config."""

    rate: float = 1.0
    bonus: float = 0.0
    inner: Inner = Inner()


def test_grid_is_the_product_and_its_arms_say_what_they_are():
    made = grid(Two(), rate=[1e-3, 2.5e-4], bonus=[0.0, 0.01])
    assert {name: (c.rate, c.bonus) for name, c in made.items()} == {
        "rate=0.001, bonus=0": (1e-3, 0.0),
        "rate=0.001, bonus=0.01": (1e-3, 0.01),
        "rate=0.00025, bonus=0": (2.5e-4, 0.0),
        "rate=0.00025, bonus=0.01": (2.5e-4, 0.01),
    }
    assert list(made) == sorted(made, key=lambda name: (-made[name].rate, made[name].bonus))
    assert grid(Two(rate=3.0)) == {"default": Two(rate=3.0)}
    assert list(grid(Two(), inner=[Inner(0.25)])) == ["inner=Inner(rate=0.25)"]  # pyright: ignore


def test_the_names_of_a_grid_tell_values_apart():
    """Floats may be numbers of any kind; a lane computes in float32."""
    close = [0.1234567, 0.1234568, 1e-30, 1e30, -1.0, 5, np.float32(0.1), np.float64(0.7)]
    assert [name[5:] for name in grid(Two(), rate=close)] == [
        "0.1234567", "0.1234568", "1e-30", "1e+30", "-1", "5", "0.1", "0.7",
    ]  # fmt: skip
    assert list(grid(Two(), rate=np.array([1e-4, 1e-5]))) == ["rate=0.0001", "rate=1e-05"]  # pyright: ignore


BAD = {
    "zero eps": (lambda: Outer(eps=0.0), "eps must be a finite number above 0, got 0.0"),
    "infinite eps": (lambda: Outer(eps=float("inf")), "eps must be a finite number above 0"),
    "a bool for a number": (lambda: Outer(eps=True), "not the bool True"),
    "a string for a number": (lambda: Outer(eps="big"), "must be a number, not 'big'"),  # pyright: ignore
    "a float for an int": (lambda: Outer(steps=2.5), "whole number"),  # pyright: ignore
    "zero steps": (lambda: Outer(steps=0), "at least 1"),
    "a grid over an int": (lambda: grid(Outer(), steps=[1, 2]), "no float field of Outer"),
    "a grid over a misspelt name": (lambda: grid(Outer(), epss=[0.1]), "did you mean eps"),
    "an empty grid": (lambda: grid(Outer(), eps=[]), "is empty"),
    "a value twice in a grid": (
        lambda: grid(Two(), rate=[0.1, 1.0, 0.1]),
        "rate has a value twice: 0.1, 1, 0.1",
    ),
    "one value as far as a lane can tell": (
        lambda: grid(Two(), rate=[0.1, 0.1 + 1e-12]),
        "has a value twice",
    ),
    "a grid over words": (lambda: grid(Outer(), eps=["big"]), "must be a number, not 'big'"),  # pyright: ignore
    "nothing to stack": (lambda: stack([]), "at least one config"),
    "two kinds of config": (lambda: stack([Outer(), Inner()]), "only floats can be swept"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_sentence(case):
    make, sentence = BAD[case]
    with pytest.raises(ValueError, match=sentence) as raised:
        make()
    assert "\n" not in str(raised.value)
