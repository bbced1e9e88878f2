"""Where a training begins: at step 0, or at the newest checkpoint of the same training in its folder."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from lrn import check, files
from lrn.train import checkpoint
from lrn.train.hashes import sha256
from lrn.train.job import agree
from lrn.train.log import Log
from lrn.train.program import Program


class Start(NamedTuple):
    """Where a training begins.

    step: the number of steps done.
    carry: the program's carry after these steps, as host arrays; None at step 0.
    log_every: the steps of one row: that of the checkpoint, or else that of the caller, which may be None.
    """

    step: int
    carry: Any
    log_every: int | None


def identity(
    name: str,
    arms: Sequence[str],
    seeds: Sequence[int],
    log_every: int | None,
    eval_every: int | None,
    configs: Any,
    program: Program,
) -> dict[str, Any]:
    """JSON values by which a checkpoint is known to be of this training: these are equal in both."""
    # A function in a config prints with its address, which differs between processes. What the function does
    # is part of the program's hash.
    structure = re.sub(r" at 0x[0-9a-f]+", "", str(jax.tree.structure((configs, program.shape))))
    return {
        "name": name,
        "arms": list(arms),
        "seeds": list(seeds),
        "log_every": log_every,
        "eval_every": eval_every,
        "configs": sha256([np.asarray(x) for x in jax.tree.leaves(configs)]),
        "structure": files.sha256_json(structure),
        **program.sha256(),
    }


def find_start(
    folder: Path, identity: Mapping[str, Any], shape: Any, log: Log, steps: int, say: Callable[[str], None]
) -> Start:
    """Find where a training in a folder goes on, and restore its log there.

    Args:
        folder: the folder of the training.
        identity: the `identity` of the training; a ``log_every`` of None agrees with any.
        shape: the form of the carry, as saved.
        log: the training's log.
        steps: the number of steps of the whole training.
        say: receives warnings of damaged checkpoints.

    Raises:
        InputError: the folder holds another training, or one of more steps.
        ValueError: the processes of the job see different checkpoints.
        checkpoint.DamageError: all checkpoints are damaged.
    """
    reader = Log("", (), (), folder, (), say)  # every process checks the checkpoint that it reads

    def damage(meta: Mapping[str, Any]) -> str | None:
        if differ := _differences(meta.get("identity"), identity):
            raise check.InputError(
                f"{folder} holds another training (what differs: {'; '.join(differ)}); "
                "give another folder, or remove this one to begin again."
            )
        return reader.damage(meta)

    loaded = checkpoint.load(folder, shape, damage)
    step = loaded.step if loaded else 0
    if agree(step) != step:
        raise ValueError(
            f"the processes of this job see different checkpoints in {folder}; give a shared folder."
        )
    if loaded is None:
        log.restore(None)
        return Start(0, None, identity["log_every"])
    for warning in loaded.warnings:
        say(warning)
    if step > steps:
        raise check.InputError(
            f"{folder} holds a training of {step} steps, more than the {steps} asked for; "
            f"ask for at least {step}, or give another folder."
        )
    log.restore(loaded.meta)
    return Start(step, loaded.tree, loaded.meta["identity"]["log_every"])


_MEANS = {
    "configs": "the configs",
    "structure": "the static settings or the form of the state",
    "init": "what init computes",
    "step": "what a step computes",
    "evaluation": "the evaluation",
    "data": "the data",
}


def _differences(theirs: Any, ours: Mapping[str, Any]) -> list[str]:
    """What differs between the identity in a checkpoint and that of this training, in words."""
    if not isinstance(theirs, Mapping):
        return ["the version of lrn"]
    if ours["log_every"] is None:
        ours = {**ours, "log_every": theirs.get("log_every")}
    differ = [k for k in ours if theirs.get(k) != ours[k]] + [k for k in theirs if k not in ours]
    short = lambda value: (text := str(value))[:60] + "..." * (len(text) > 60)  # noqa: E731
    return [
        _MEANS.get(k) or f"{k}, {short(theirs.get(k))} there and {short(ours.get(k))} here" for k in differ
    ]
