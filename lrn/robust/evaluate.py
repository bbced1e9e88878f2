"""Accuracy under attack over a whole test set, in one compiled program."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from lrn import check
from lrn.robust.attack import Attack, LogitsFn, check_examples, in_box
from lrn.robust.losses import is_correct
from lrn.types import Array, Key


def robust_accuracy(
    key: Key, logits_fn: LogitsFn, x: Array, y: Array, attacks: Mapping[str, Attack], batch_size: int = 256
) -> dict[str, Array]:
    """Share of the test set that stays correct under each attack, and under all of them.

    Args:
        key: typed key; each attack gets its own.
        logits_fn: [batch, ...] -> [batch, classes], in evaluation mode.
        x: test inputs [n, ...] in [0, 1].
        y: labels [n].
        attacks: name -> attack; `no_attack` gives clean accuracy.
        batch_size: examples attacked at once: memory grows with it, the number of examples does not matter.

    Returns:
        Name -> accuracy in [0, 1], and under "worst" the share of examples that no attack fools: the figure
        to quote as robust accuracy. All are NaN where a pixel is outside [0, 1] or a label is none of the
        classes, and neither can be read, under jit.

    Raises:
        ValueError: no attacks, an attack called "worst", a batch size below 1, or ``x`` and ``y`` that
            `check_examples` refuses.
    """
    if not attacks:
        raise check.InputError(
            "robust_accuracy needs at least one attack, got none; pass {'clean': no_attack} at least."
        )
    if "worst" in attacks:
        raise check.InputError(
            "'worst' names the accuracy under all attacks together; give that attack another name."
        )
    x, y, valid = _checked(logits_fn, x, y)
    correct = {
        name: correct_under_attack(jax.random.fold_in(key, i), logits_fn, x, y, attack, batch_size)
        for i, (name, attack) in enumerate(attacks.items())
    }
    correct["worst"] = jnp.stack(list(correct.values())).all(axis=0)
    return {
        name: jnp.where(valid.all(), jnp.mean(c, dtype=jnp.float32), jnp.nan) for name, c in correct.items()
    }


def correct_under_attack(
    key: Key, logits_fn: LogitsFn, x: Array, y: Array, attack: Attack, batch_size: int = 256
) -> Array:
    """Whether each example of a test set [n, ...] is still classified correctly under the attack; bool [n].

    The set goes through ``lax.map`` in batches of ``batch_size``, the last one filled up with copies of the
    first example; batch i is attacked with ``fold_in(key, i)``. Safe under jit, and under vmap over keys or
    parameters. An example whose pixels or label are out of range is wrong, where neither can be read.

    Raises:
        ValueError: a batch size below 1, or ``x`` and ``y`` that `check_examples` refuses.
    """
    check.integer("batch_size", batch_size, 1)
    x, y, valid = _checked(logits_fn, x, y)
    n = x.shape[0]
    batch_size = min(batch_size, n)
    batches = -(-n // batch_size)
    index = jnp.arange(batches * batch_size)
    index = jnp.where(index < n, index, 0).reshape(batches, batch_size)

    def attack_batch(args: tuple[Array, Array]) -> Array:
        i, members = args
        x_batch, y_batch = x[members], y[members]
        x_adv = attack(jax.random.fold_in(key, i), logits_fn, x_batch, y_batch)
        return is_correct(logits_fn(x_adv), y_batch)

    return jax.lax.map(attack_batch, (jnp.arange(batches), index)).reshape(-1)[:n] & valid


def _checked(logits_fn: LogitsFn, x: Array, y: Array) -> tuple[Array, Array, Array]:
    """The data as arrays, and which examples are in range: all, where the values can be read; bool [n]."""
    x, y = check_examples(logits_fn, x, y)
    return x, y, in_box(x)  # what is out of range is NaN by now
