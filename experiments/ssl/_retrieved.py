"""What networks of the cross-modal study retrieve: trained with pairs, or frozen and aligned afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from experiments.ssl._pairs import DIM, beyond, centered, linear, outputs, refined, turned, unpaired
from lrn.ssl.cross_modal import Modality

Both = tuple[Modality, Modality]
UNALIGNED, UNPAIRED, TRUTH, COPY = "unaligned", "unpaired", "matched from the truth", "rotated copy"
CLASS, LOSS, IN_ORDER = "class alone", "loss", "partners at one place"


def paired(both: Both, names: tuple[str, ...], own: Any, data: Any) -> dict[str, Any]:
    """Recall of networks trained with pairs, on validation and test rows; from "name | part | metric"."""
    rows = own["rows"]["validation"], own["rows"]["test"]

    def judged(state: Any) -> dict[str, Any]:
        seen = [outputs(both, state, part, data, head=True) for part in rows]
        return recalls(dict(zip(("validation", "test"), seen)))

    every = jax.lax.map(judged, own["state"])
    return {f"{name} | {k}": x[i] for i, name in enumerate(names) for k, x in every.items()}


def recalls(given: Mapping[str, Any]) -> dict[str, Any]:
    """Recall by "name | metric", of texts and images by name, all of one shape."""
    text, image = (jnp.stack(x) for x in zip(*given.values()))
    found = jax.lax.map(lambda both: beyond(*both), (text, image))
    return {f"{name} | {m}": x[i] for i, name in enumerate(given) for m, x in found.items()}


def frozen(
    both: Both, menu: Mapping[str, tuple[int, float]], matched: int, rounds: int, own: Any, data: Any
) -> dict[str, Any]:
    """What features of each modality alone reach: as they are, matched, and mapped by n pairs.

    Args:
        both: the networks of images and of texts.
        menu: from the name of a ridge map to its number of pairs and its penalty.
        matched: the number of rows of each modality that are matched. rounds: of the matching.
        own: the rows of a seed by part, the seed, and the state of a training without pairs, leaves [1, ...].
        data: the set.

    Returns:
        From "name | part | metric" to a scalar.
    """
    state = jax.tree.map(lambda x: x[0], own["state"])
    rows = [own["rows"][part] for part in ("train", "validation", "test")]
    raw = [outputs(both, state, part, data, head=False) for part in rows]
    text, image = (centered(*each) for each in zip(*raw))
    keys = jax.random.split(jax.random.fold_in(jax.random.key(7), own["seed"]), 5)
    known = [x[0][:matched] for x in (text, image)]
    copy = turned(keys[0], jnp.concatenate([known[1], image[2]]))
    orders = [jax.random.permutation(k, matched) for k in keys[1:4]]
    sides = [x[order] for order, x in zip(orders, (known[0], known[1], copy[:matched]))]
    ways, losses = jax.lax.map(
        lambda given: unpaired(given[0], given[1], given[2], rounds),
        (jax.random.split(keys[4]), jnp.stack(sides[:2]), jnp.stack(sides[1:])),
    )
    truth, loss = refined(known[0], known[1], jnp.eye(matched) / matched, rounds)
    kinds = jax.nn.one_hot(data["label"][rows[2]], DIM)
    given = {
        UNALIGNED: raw[2],
        UNPAIRED: (text[2] @ ways[0], image[2]),
        TRUTH: (text[2] @ truth, image[2]),
        COPY: (image[2] @ ways[1], copy[matched:]),
        CLASS: (kinds, kinds),
    }
    out = recalls({f"{k} | test": v for k, v in given.items()})
    out |= {f"{k} | test | {LOSS}": x for k, x in ((UNPAIRED, losses[0]), (TRUTH, loss))}
    out[f"{UNPAIRED} | test | {IN_ORDER}"] = jnp.mean(orders[0] == orders[1], dtype=jnp.float32)

    def mapped(given: Any) -> dict[str, Any]:
        way = linear(text[0], image[0], *given)
        return recalls({p: (text[i] @ way, image[i]) for i, p in ((1, "validation"), (2, "test"))})

    every = jax.lax.map(mapped, tuple(map(jnp.asarray, zip(*menu.values()))))
    return out | {f"{who} | {k}": x[i] for i, who in enumerate(menu) for k, x in every.items()}
