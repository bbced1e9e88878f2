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
    """The accuracy on a test set under each attack, and under all attacks together.

    Args:
        key: the key from which each attack gets a key of its own.
        logits_fn: the network in evaluation mode, [batch, ...] -> [batch, classes].
        x: test inputs [n, ...] in [0, 1].
        y: labels [n].
        attacks: from name to attack; `no_attack` gives clean accuracy.
        batch_size: the number of examples attacked at once. Memory grows with this number, not with n.

    Returns:
        From name to accuracy in [0, 1]. "worst" is the share of examples that no attack fools; report
        this share as robust accuracy. Under jit, where values cannot be read, all accuracies are NaN if a
        pixel lies outside of [0, 1] or a label outside of the classes.

    Raises:
        ValueError: there are no attacks, an attack has the name "worst", the batch size is below 1, or
            `check_examples` refuses ``x`` and ``y``.
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
    """Whether each example of a test set is classified correctly under the attack, bool [n].

    ``lax.map`` runs over batches of ``batch_size``; copies of the first example pad the last batch. Batch
    i is attacked with ``fold_in(key, i)``. The function may be used under jit, and under vmap over keys
    or parameters. Under jit, where values cannot be read, an example with a pixel or a label out of range
    counts as wrong.

    Args:
        key, logits_fn, x, y, batch_size: as for `robust_accuracy`.
        attack: the attack.

    Raises:
        ValueError: the batch size is below 1, or `check_examples` refuses ``x`` and ``y``.
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
    """The checked data, and bool [n], which is false for examples out of range that could not be refused."""
    x, y = check_examples(logits_fn, x, y)
    return x, y, in_box(x)  # `check_examples` has made examples out of range NaN
