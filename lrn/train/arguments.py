"""The arguments of `lrn.train.fit`: read into one form, and checked before anything compiles."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from lrn import check
from lrn.config import stack
from lrn.train.program import Evaluate
from lrn.train.seeds import merge
from lrn.types import PyTree, Sampler


def arms_of(configs: Any) -> tuple[tuple[str, ...], Any]:
    """The names of the arms, and their configs stacked into one, leaves [arms]; ``configs`` as of `fit`.

    Raises:
        ValueError: there is no config, or the configs differ in more than floats.
    """
    if isinstance(configs, Mapping):
        named = {str(k): v for k, v in configs.items()}
    elif isinstance(configs, (list, tuple)) and not hasattr(configs, "_fields"):
        named = {str(i): c for i, c in enumerate(configs)}
    else:
        named = {"default": configs}
    if not named:
        raise ValueError("fit needs at least one config, got none; pass a config, a list, or a dict of them.")
    return tuple(named), stack(list(named.values()))


def seeds_of(seeds: Sequence[int]) -> tuple[int, ...]:
    """The seeds as a tuple.

    Raises:
        ValueError: the seeds are not distinct whole numbers in [0, 2^32), or there are none.
    """
    if isinstance(seeds, (str, int)) or not hasattr(seeds, "__iter__"):
        raise ValueError(
            f"seeds must be a sequence of whole numbers, got {seeds!r}; for n seeds give range(n)."
        )
    listed = list(seeds)
    for seed in listed:
        check.integer("seed", seed)
        if seed >= 2**32:
            raise ValueError(f"seed must be below 2^32, got {seed}; choose a smaller one.")
    if not listed or len(set(listed)) != len(listed):
        raise ValueError(
            f"seeds must be one or more distinct numbers, got {listed}; repeat none and give at least one."
        )
    return tuple(int(s) for s in listed)


def lanes_of(
    only: Sequence[tuple[str, int]], arms: tuple[str, ...], seeds: tuple[int, ...], folder: Path | None
) -> np.ndarray:
    """Whether each lane is among the pairs ``only``, bool [lanes].

    Raises:
        InputError: there is a folder, a pair names no lane, or the pairs are not all pairs of some arms and
            some seeds.
    """
    if folder is not None:
        raise check.InputError("only= replays lanes and saves nothing; leave out folder=.")
    grid = np.zeros((len(arms), len(seeds)), bool)
    for pair in only:
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise check.InputError(
                f"only= lists pairs of an arm and a seed, got {pair!r}; give [(arm, seed)]."
            )
        arm, seed = pair
        check.choice("the arm in only=", arm, arms)
        if seed not in seeds:
            raise check.InputError(f"only= names the seed {seed!r}, which is not among seeds={list(seeds)}.")
        grid[arms.index(arm), seeds.index(seed)] = True
    if not grid.any() or grid.sum() != grid.any(1).sum() * grid.any(0).sum():
        raise check.InputError(
            f"only= must name all pairs of its arms and seeds, at least one, got {list(only)}; "
            "call fit for each of them."
        )
    return grid.reshape(-1)


def check_times(
    steps: int,
    eval_every: int | None,
    log_every: int | None,
    chunk: int | None,
    save_every: int | None,
    save_seconds: float,
    evaluate: Evaluate | None,
) -> None:
    """Check the numbers of steps and the seconds between checkpoints.

    Raises:
        InputError: a number is out of range, or there is ``eval_every`` without ``evaluate``.
    """
    check.integer("steps", steps, low=1)
    for label, number in (
        ("steps", steps),
        ("eval_every", eval_every),
        ("log_every", log_every),
        ("chunk", chunk),
        ("save_every", save_every),
    ):
        if number is not None:
            check.integer(label, number, low=1)
            if number >= 2**31:
                raise check.InputError(f"{label} must be below 2^31, got {number}; choose a smaller one.")
    if eval_every is not None and evaluate is None:
        raise check.InputError(
            "eval_every was given and nothing to evaluate; pass evaluate= too, or neither."
        )
    check.positive("save_seconds", save_seconds)


def check_evaluate(evaluate: Evaluate | None) -> None:
    """Check that ``evaluate`` takes five arguments.

    Raises:
        InputError: it takes others.
    """
    if evaluate is None:
        return
    try:
        inspect.signature(evaluate).bind(*[None] * 5)
    except TypeError:
        raise check.InputError(
            f"evaluate takes {inspect.signature(evaluate)}; let it take (learner, config, key, state, data)."
        ) from None
    except ValueError:  # a function without a signature
        return


def check_data(data: PyTree, per_seed: Mapping[str, Any] | None, seeds: int, sampler: Sampler | None) -> None:
    """Check the shapes of the data, and its values by the sampler's own check; ``seeds`` is their number.

    Raises:
        ValueError: the data, the arrays of each seed and the sampler do not fit together.
    """
    if sampler is not None and not isinstance(sampler, Sampler):
        raise ValueError(
            f"sampler must be an lrn Sampler, got {type(sampler).__name__}; wrap the function: Sampler(draw)."
        )
    if sampler is not None and sampler.needs_data and data is None and not per_seed:
        raise ValueError("a sampler was given and no data to draw from; pass data= as a pytree of arrays.")
    for x in jax.tree.leaves(data):
        if np.shape(x) and np.shape(x)[0] == 0:
            raise ValueError("the data has an array without rows; give at least one row.")
    if per_seed:
        if data is not None and not isinstance(data, Mapping):
            raise ValueError("per_seed adds names to data, which must then be a dict of arrays.")
        for label, value in per_seed.items():
            if np.ndim(value) < 1 or np.shape(value)[0] != seeds:
                raise ValueError(
                    f"per_seed[{label!r}] has shape {list(np.shape(value))} and there are {seeds} seeds; "
                    "its first axis is the seed."
                )
        merge(data, per_seed)
    if sampler is not None and sampler.check is not None:
        of_seeds = {k: np.asarray(v) for k, v in (per_seed or {}).items()}
        for i in range(seeds if of_seeds else 1):
            sampler.check(merge(data, {k: v[i] for k, v in of_seeds.items()}))
