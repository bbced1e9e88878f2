"""Intervention scores: set one code, decode, and see which factors a frozen regressor finds changed.

A score of codes alone, such as MIG, says what codes know. It does not say that a code can be used: a decoder
may ignore a code that the encoder fills, or change other factors too. The intervention swaps one code of a
row for that of another row, decodes, and lets a regressor that was trained on real data read the factors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lrn import check
from lrn.arrays import nan_where
from lrn.representation import factors as given
from lrn.representation.mcc import best
from lrn.types import Array, Key

Map = Callable[[Any], Any]


class Interventions(NamedTuple):
    """What setting each code does.

    score: scalar, the mean over factors of ``target - off_target``. It is 1 where each factor has a code that
        moves it as far as a change of all codes would, and moves nothing else; 0 where a code moves all
        factors alike, or none; at least -1 where responses are at most 1.
    code: int [factors], the code matched with each factor, one code for each.
    target: [factors], the response of a factor to its code.
    off_target: [factors], the mean response of the other factors to that code.
    response: [dim, factors], the mean absolute change of a factor when a code is set to that of another row,
        in units of its change when all codes are.
    """

    score: Array
    code: Array
    target: Array
    off_target: Array
    response: Array


def interventions(key: Key, decode: Map, regressor: Map, codes: Any, swaps: int = 1) -> Interventions:
    """Swap each code of each row for that of a random other row, decode, and read the factors.

    The new values come from the codes' own marginals, so that no code leaves the range that the decoder
    knows. Codes that depend on each other leave their joint range, as any intervention does.

    Args:
        key: the key of the partners; models that are compared should share it.
        decode: ``decode(codes [n, dim]) -> observations [n, ...]``.
        regressor: ``regressor(observations) -> floats [n, factors]``, frozen; a factor with unordered values
            may be several columns, one for the probability of each.
        codes: floats [n, dim], n of 2 or more, of real rows.
        swaps: the number of partners of each row; the cost is ``(dim + 1) swaps + 1`` decodings of n rows.

    Raises:
        InputError: codes are wrong, there are fewer codes than factors, the decoder's output has no row for
            each row of codes, or the regressor cannot take it or gives no floats [n, factors].
    """
    check.integer("swaps", swaps, 1)
    x, bad = given.as_codes(codes)
    n, dim = x.shape
    _check(decode, regressor, x)

    def read(z: Array) -> Array:
        return regressor(decode(z)).astype(jnp.float32)

    def measured(key: Key, x: Array, bad: Array) -> Interventions:
        before = read(x)

        def change(each: tuple[Array, Array]) -> Array:
            """The mean absolute change [factors] when the codes of a mask [dim] are those of partners [n]."""
            partner, mask = each
            return jnp.mean(jnp.abs(read(jnp.where(mask[None], x[partner], x)) - before), axis=0)

        masks = jnp.concatenate([jnp.eye(dim, dtype=bool), jnp.ones((1, dim), bool)])
        changes = []
        for each in jax.random.split(key, swaps):
            # A cycle through a random order gives each row a partner other than itself.
            order = jax.random.permutation(each, n)
            partner = jnp.zeros(n, jnp.int32).at[order].set(jnp.roll(order, 1))
            partners = jnp.broadcast_to(partner[None], (dim + 1, n))
            changes.append(jax.lax.map(change, (partners, masks)))
        mean = jnp.mean(jnp.stack(changes), axis=0)
        whole = mean[-1][None]
        response = jnp.where(whole > 0, mean[:-1] / jnp.where(whole > 0, whole, 1), 0.0)
        return matched(nan_where(bad | ~jnp.all(jnp.isfinite(mean)), response))

    return jax.jit(measured)(key, x, bad)


@jax.jit
def matched(response: Array) -> Interventions:
    """The score of responses [dim, factors], two factors or more and at least as many codes."""
    others = (jnp.sum(response, axis=1, keepdims=True) - response) / (response.shape[1] - 1)
    code = best(response - others)
    target, off = (jnp.take_along_axis(table, code[None], axis=0)[0] for table in (response, others))
    return Interventions(jnp.mean(target - off), code, target, off, response)


def _check(decode: Map, regressor: Map, codes: Array) -> None:
    """Raise InputError unless decoder, regressor and codes fit together, before anything is computed."""
    shape = jax.ShapeDtypeStruct(codes.shape, codes.dtype)
    try:
        seen = jax.eval_shape(decode, shape)
    except (TypeError, ValueError) as error:
        raise check.InputError(f"the decoder cannot take codes of shape {codes.shape}: {error}") from error
    rows = {leaf.shape[:1] for leaf in jax.tree.leaves(seen)}
    if rows != {codes.shape[:1]}:
        raise check.InputError(
            f"the decoder must give one observation for each of the {codes.shape[0]} rows of codes, got "
            f"{jax.tree.map(lambda leaf: leaf.shape, seen)}; return observations [n, ...]."
        )
    try:
        read = jax.eval_shape(regressor, seen)
    except (TypeError, ValueError) as error:
        raise check.InputError(
            f"the regressor cannot take the decoder's output of shape "
            f"{jax.tree.map(lambda leaf: leaf.shape, seen)}: {error}"
        ) from error
    fits = getattr(read, "ndim", 0) == 2 and read.shape[0] == codes.shape[0]
    if not fits or not jnp.issubdtype(read.dtype, jnp.floating):
        raise check.InputError(
            f"the regressor must give floats [{codes.shape[0]}, factors], got "
            f"{jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), read)}."
        )
    given.several("the intervention score", read.shape[1], "factors")
    if codes.shape[1] < read.shape[1]:
        raise check.InputError(
            f"each factor needs a code of its own, got {codes.shape[1]} codes for {read.shape[1]} factors; "
            "let the regressor leave factors out."
        )
