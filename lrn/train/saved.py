"""Read a training's states, table and failures from its folder, without data, sampler or factory."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lrn import check
from lrn.table import Table
from lrn.train import checkpoint, structure
from lrn.train.log import Failure, Log
from lrn.types import PyTree, is_key


class Training(NamedTuple):
    """The newest checkpoint of a training, finished or not.

    state: the states, leaves [arms, seeds, ...].
    table: all metric rows until the checkpoint, in order of step.
    failures: the first failure of each lane that became non-finite.
    arms, seeds: the names of the two leading axes of ``state``.
    step: the number of steps done.
    steps: the number of steps in the latest call of `lrn.train.fit`.
    """

    state: PyTree
    table: Table
    failures: list[Failure]
    arms: tuple[str, ...]
    seeds: tuple[int, ...]
    step: int
    steps: int

    def arm(self, name: str) -> PyTree:
        """The states of one arm, leaves [seeds, ...].

        Raises:
            ValueError: there is no such arm.
        """
        return one_arm(self.state, self.arms, name)

    def lane(self, arm: str, seed: int) -> PyTree:
        """The state of one arm and seed, as the learner's `step` and `policy` take it.

        Raises:
            ValueError: there is no such arm or seed.
        """
        return one_lane(self.state, self.arms, self.seeds, arm, seed)


def load(folder: Path | str, like: Any = None) -> Training:
    """Load what `lrn.train.fit` saved in a folder: the newest checkpoint that is not damaged.

    A `checkpoint.DamageWarning` reports newer checkpoints that are damaged. The states come back as the
    NamedTuples of which the learner made them; `load` imports the modules of these classes by their names.

    Args:
        folder: the folder given to `fit`; for a study ``runs/<study>/<hash>/checkpoints/<training>``.
        like: one state of the same learner, or its shapes from `jax.eval_shape`, or the learner itself if it
            makes its own data. It is needed only where a class of the states cannot be found by its name: a
            class that was made in a function or in a notebook, or that is no NamedTuple.

    Raises:
        InputError: the folder has no training, a class of the states cannot be found, or the leaves of
            ``like`` differ from those of the states.
        checkpoint.DamageError: all checkpoints in the folder are damaged.
    """
    folder = Path(folder)
    reader = Log("", (), (), folder, (), print, writes=False)
    saved = checkpoint.read(folder, lambda meta: reader.damage(meta) if "parts" in meta else None)
    if saved is None:
        raise check.InputError(f"{folder} holds no training{_nearby(folder)}")
    identity = saved.meta.get("identity")
    if not isinstance(identity, Mapping) or saved.form is None:
        kind = (
            "a study's arrays"
            if "names" in saved.meta
            else "no training, or one of an earlier version of lrn"
        )
        raise check.InputError(
            f"{folder} holds {kind}; give a folder that `fit` of this version has written."
        )
    for warning in saved.warnings:
        warnings.warn(warning, checkpoint.DamageWarning, stacklevel=2)
    arms, seeds = tuple(identity["arms"]), tuple(identity["seeds"])
    form, of_state = structure.child(saved.form, "state")
    leaves = saved.leaves[of_state]
    state = structure.rebuild(form, leaves) if like is None else _as(like, leaves, folder)
    reader.restore(saved.meta)
    return Training(
        jax.tree.map(lambda x: by_lane(x, len(arms), len(seeds)), state),
        reader.table(),
        reader.failures,
        arms,
        seeds,
        saved.step,
        saved.meta["steps"],
    )


def by_lane(leaf: Any, arms: int, seeds: int) -> jax.Array:
    """A leaf [lanes, ...] as [arms, seeds, ...], on the device unless JAX would round its dtype."""
    leaf = leaf.reshape(arms, seeds, *leaf.shape[1:])
    if is_key(leaf) or jax.dtypes.canonicalize_dtype(leaf.dtype) == leaf.dtype:
        return jnp.asarray(leaf)
    return leaf


def one_arm(state: PyTree, arms: tuple[str, ...], name: str) -> PyTree:
    """The states of one arm, leaves [seeds, ...], from states [arms, seeds, ...]."""
    check.choice("arm", name, arms)
    return jax.tree.map(lambda x: x[arms.index(name)], state)


def one_lane(state: PyTree, arms: tuple[str, ...], seeds: tuple[int, ...], arm: str, seed: int) -> PyTree:
    """The state of one arm and seed, from states [arms, seeds, ...]."""
    check.choice("arm", arm, arms)
    if seed not in seeds:
        raise check.InputError(f"seed {seed!r} was not trained; choose from {', '.join(map(str, seeds))}.")
    return jax.tree.map(lambda x: x[arms.index(arm), seeds.index(seed)], state)


def _as(like: Any, leaves: list[Any], folder: Path) -> PyTree:
    """The leaves in the structure of ``like``, see `load`."""
    if callable(getattr(like, "init", None)):
        try:
            like = jax.eval_shape(like.init, jax.random.key(0), None)
        except Exception as error:
            raise check.InputError(
                f"like= is a learner whose init wants a batch ({type(error).__name__} without one); pass one "
                "of its states, or jax.eval_shape(learner.init, key, batch)."
            ) from error
    named, treedef = jax.tree_util.tree_flatten_with_path(like)
    if len(named) != len(leaves):
        raise check.InputError(
            f"the states in {folder} have {len(leaves)} arrays and like= has {len(named)}; "
            "pass a state of the same learner."
        )
    for (path, wanted), leaf in zip(named, leaves):
        wanted = jax.eval_shape(lambda x: x, wanted)
        if (leaf.shape[1:], leaf.dtype) != (wanted.shape, wanted.dtype):
            raise check.InputError(
                f"the states in {folder} have {leaf.dtype}{list(leaf.shape[1:])} at "
                f"{jax.tree_util.keystr(path) or 'their top'} and like= has "
                f"{wanted.dtype}{list(wanted.shape)}; pass a state of the same learner and settings."
            )
    return jax.tree.unflatten(treedef, leaves)


def _nearby(folder: Path) -> str:
    """The end of an error's sentence, which names the folders of trainings within ``folder``, if any."""
    if not folder.is_dir():
        return ": there is no such folder; give the one that `fit` was given."
    trainings = sorted(
        {str(f.parent) for depth in ("*", "checkpoints/*") for f in folder.glob(f"{depth}/step_*")}
    )
    if not trainings:
        return "; give the folder that `fit` was given."
    return f"; give one of {', '.join(trainings[:5])}{', ...' if len(trainings) > 5 else ''}."
