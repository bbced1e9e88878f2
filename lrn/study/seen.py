"""What an arm was given and has seen: its budgets, batches of its training, and items it is judged on.

jax is imported inside of functions, since listing studies loads no jax.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def budgets(config: Any, options: Mapping[str, Any]) -> dict[str, float]:
    """The budgets of one arm of a fit: steps, an agent's environment steps, samples where it draws batches.

    Args:
        config: the arm's config; an agent's config has ``interactions``, environment steps per step.
        options: the options of `lrn.train.fit`.

    Returns:
        From a name in `lrn.study.BUDGETS` to an amount over the whole training.
    """
    steps = float(options["steps"])
    amounts = {"steps": steps}
    if isinstance(played := getattr(config, "interactions", None), int):
        amounts["environment steps"] = steps * played
    if (sampler := options.get("sampler")) is not None and (size := _batch_size(sampler, options)):
        amounts["samples"] = steps * size
    return amounts


def _batch_size(sampler: Any, options: Mapping[str, Any]) -> int | None:
    """The length of a drawn batch's leading axis; None where the sampler draws a key or other scalars."""
    import jax

    batch = jax.eval_shape(sampler.draw, jax.random.key(0), _data_of(options, 0))
    return next((leaf.shape[0] for leaf in jax.tree.leaves(batch) if leaf.shape), None)


def drawn(options: Mapping[str, Any], seed: int, batches: int = 8) -> list[Any]:
    """Some batches as a fit with these options draws them for one seed; its data where it has no sampler."""
    import jax

    data = _data_of(options, seed)
    if (sampler := options.get("sampler")) is None:
        return [data]
    draw = jax.jit(sampler.draw)
    return [draw(jax.random.key(i), data) for i in range(batches)]


def _data_of(options: Mapping[str, Any], seed: int) -> Any:
    """The data that one seed of a fit sees; ``seed`` is the seed's place among the seeds."""
    import jax

    from lrn.train.seeds import merge

    own = jax.tree.map(lambda x: np.asarray(x)[seed], dict(options.get("per_seed") or {}))
    return jax.tree.map(jax.numpy.asarray, merge(options.get("data"), own))


def shared_items(arm: str, items: np.ndarray, trained_on: Any) -> int:
    """How many items are also among the training items.

    Args:
        arm: the arm's name, for messages.
        items: the judged items [items, ...].
        trained_on: nested arrays [..., *item] of training items; arrays of other shapes are left out.

    Raises:
        ValueError: no training array has the shape of an item.
    """
    shape = items.shape[1:]
    like_items = [
        rows for rows in _arrays(trained_on) if rows.shape[max(rows.ndim - len(shape), 0) :] == shape
    ]
    if not shape or not like_items:
        raise ValueError(
            f"nothing that {arm!r} was trained on has the shape {list(shape)} of an item; pass "
            "trained_on= the training arrays, or compare rows by judged_on_rows."
        )
    known = {item for rows in like_items for item in _fingerprints(rows, shape)}
    return sum(item in known for item in _fingerprints(items, shape))


def _arrays(data: Any) -> list[np.ndarray]:
    """All arrays of numbers in nested data."""
    import jax

    from lrn.types import is_key

    return [np.asarray(x) for x in jax.tree.leaves(data) if not is_key(x)]


def _fingerprints(rows: np.ndarray, shape: tuple[int, ...]) -> list[bytes]:
    """The bytes of each item; items that differ only by dtype or rounding have the same bytes.

    Args:
        rows: [..., *shape].
        shape: the shape of an item.
    """
    rounded = np.round(np.asarray(rows, np.float64), 4) + 0.0  # no negative zero
    return [item.tobytes() for item in np.ascontiguousarray(rounded.reshape(-1, *shape), np.float32)]
