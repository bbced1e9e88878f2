"""A cascade of attacks, each on the examples that the attacks before it left robust (Croce & Hein 2020)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from lrn import check
from lrn.arrays import readable
from lrn.robust.attack import Attack, LogitsFn, check_examples, column, in_box
from lrn.robust.losses import is_correct
from lrn.robust.norms import by_example
from lrn.types import Array, Key

# A radius, or one radius an example [batch], to the attack in that ball.
Family = Callable[[Any], Attack]


class Cascade(NamedTuple):
    """What a cascade of attacks leaves.

    x: the adversarial inputs [n, ...]; the clean input of an example that no attack fools.
    robust: bool [n], whether the network is right on the example after all attacks.
    after: from "clean" and the name of each attack to bool [n]: whether the network is right on the example
        after this attack and all attacks before it.
    """

    x: Array
    robust: Array
    after: Mapping[str, Array]


def cascade(
    key: Key,
    logits_fn: LogitsFn,
    x: Array,
    y: Array,
    eps: ArrayLike,
    attacks: Mapping[str, Family],
    batch_size: int | None = None,
    starts: int = 1,
    among: Array | None = None,
) -> Cascade:
    """Attack a test set, each attack on the examples that are still classified correctly.

    The function is pure, and may be used under jit and under vmap over keys, parameters or radii. Before each
    attack the robust examples are gathered in front, and a loop attacks as many batches as hold any of them;
    so a cascade costs what its robust examples cost, although all shapes are fixed.

    Args:
        key: the key; start s of attack i draws from ``fold_in(fold_in(key, i), s)``, and batch b from
            ``fold_in`` of that key and b.
        logits_fn: the network in evaluation mode, [batch, ...] -> [batch, classes].
        x: test inputs [n, ...] in [0, 1].
        y: labels [n].
        eps: the radius, or one radius for each example [n].
        attacks: from name to a function of the radius that makes the attack, in order, such as
            ``{"pgd": lambda eps: pgd(PGDConfig(eps=eps, step_size=eps / 4))}``.
        batch_size: the number of examples attacked at once; None for 32 on CPU and 512 elsewhere. On CPU a
            small batch costs no more an example, and fewer places of the last batch stay empty.
        starts: how often each attack is tried, each time on the examples that are left; of use for attacks
            that draw random numbers.
        among: bool [n], the examples to attack, by default all; on the others the clean input decides.

    Returns:
        The adversarial inputs and the examples left after each attack. Under jit, where values cannot be
        read, an example with a pixel or a label out of range counts as fooled.

    Raises:
        ValueError: there are no attacks, one has the name "clean", the batch size is below 1, eps has another
            shape, ``among`` is no mask of the examples, an attack refuses the largest eps, or
            `check_examples` refuses ``x`` and ``y``.
    """
    if batch_size is None:
        batch_size = 32 if jax.default_backend() == "cpu" else 512
    check.integer("batch_size", batch_size, 1)
    check.integer("starts", starts, 1)
    if not attacks or "clean" in attacks:
        raise check.InputError(
            f"a cascade needs one attack or more, none of them named 'clean', got {list(attacks)}; rename it."
        )
    x, y = check_examples(logits_fn, x, y)
    valid = in_box(x)
    members = _batches(x.shape[0], batch_size)
    check_families(eps, attacks)
    radii = jnp.broadcast_to(by_example(eps, x).reshape(-1), y.shape)

    def right(z: Array, rows: Array) -> Array:
        return is_correct(logits_fn(z), y[rows])

    def all_right(z: Array) -> Array:
        return jax.lax.map(lambda rows: right(z[rows], rows), members).reshape(-1)[: x.shape[0]] & valid

    after = {"clean": all_right(x)}
    spared = jnp.zeros_like(valid) if among is None else after["clean"] & ~_rows(among, y)
    adversarial, left = x, after["clean"] & ~spared
    for i, (name, family) in enumerate(attacks.items()):

        def attack(batch_key: Key, rows: Array, family: Family = family) -> Array:
            return family(radii[rows])(batch_key, logits_fn, x[rows], y[rows])

        def again(s: Array, so_far: tuple[Array, Array], i: int = i, attack: Callable = attack):
            own_key = jax.random.fold_in(jax.random.fold_in(key, i), s)
            return _attack_rest(own_key, attack, right, members, *so_far)

        adversarial, left = jax.lax.fori_loop(0, starts, again, (adversarial, left))
        after[name] = left | spared
    return Cascade(adversarial, left | spared, after)


def _rows(among: Array, y: Array) -> Array:
    if jnp.shape(among) != y.shape or jnp.asarray(among).dtype != jnp.bool_:
        raise check.InputError(
            f"among must be bools [{y.shape[0]}], one for each example, got shape {jnp.shape(among)} and "
            f"dtype {jnp.asarray(among).dtype}; give a mask, not numbers."
        )
    return jnp.asarray(among)


def check_families(eps: Any, attacks: Mapping[str, Family]) -> None:
    """Let each attack's config check the largest radius, which it cannot read within the compiled loop.

    Args:
        eps: a radius, or several; traced ones cannot be read, and pass.
        attacks: as for `cascade`.

    Raises:
        ValueError: a radius is negative or NaN, or an attack's config refuses the largest one, such as an
            Linf radius above 1.
    """
    if not readable(eps):
        return
    radii = np.asarray(eps)  # jit would trace the methods of a jax array
    least, most = float(radii.min()), float(radii.max())
    check.non_negative("eps", least)
    if most > 0:  # the step sizes of a family at radius 0 may be 0
        for family in attacks.values():
            family(most)


def _attack_rest(
    key: Key,
    attack: Callable[[Key, Array], Array],
    right: Callable[[Array, Array], Array],
    members: Array,
    found: Array,
    left: Array,
) -> tuple[Array, Array]:
    """Attack the examples that are left: the adversarial inputs, and the examples that are left then.

    Args:
        key: the key.
        attack: a key and the rows of a batch -> adversarial inputs of these rows.
        right: inputs of a batch and their rows -> bool [batch], whether the network is right.
        members: the places of each batch, int [batches, size].
        found, left: the adversarial inputs [n, ...] and the examples left so far, bool [n].
    """
    order = jnp.argsort(~left, stable=True)  # the robust ones first
    size, count = members.shape[1], jnp.sum(left)

    def more(carry: tuple[Array, Array, Array]) -> Array:
        return carry[0] * size < count

    def one(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        i, found, left = carry
        rows = order[members[i]]
        adversarial = attack(jax.random.fold_in(key, i), rows)
        # The rows after the last robust one, which fill the batch, keep what they have.
        fooled = (i * size + jnp.arange(size) < count) & ~right(adversarial, rows)
        new = jnp.where(column(fooled, found), adversarial, found[rows])
        return i + 1, found.at[rows].set(new), left.at[rows].set(left[rows] & ~fooled)

    _, found, left = jax.lax.while_loop(more, one, (jnp.zeros((), jnp.int32), found, left))
    return found, left


def _batches(n: int, size: int) -> Array:
    """The places of each batch, int [batches, size]; the last batch is filled from the front."""
    size = min(size, n)
    places = jnp.arange(-(-n // size) * size)
    return jnp.where(places < n, places, places - n).reshape(-1, size)
