"""The library's examples of reinforcement learning run, and have fewer than 15 lines."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from test_rl_env import Walk

from lrn import train
from lrn.train import arguments, warn

ROOT = Path(__file__).parents[2]
PAGE, DOCS = (ROOT / "docs" / "library.md").read_text(), (ROOT / "docs" / "rl.md").read_text()


class MyEnv(Walk):
    """`Walk` with observations of two numbers."""

    def _observe(self, state):
        return jnp.stack(state).astype(jnp.float32)


def test_the_examples_of_the_library(monkeypatch):
    section = re.split(r"\n##+ ", PAGE.split("## Reinforcement learning")[1])[0]
    blocks = re.findall(r"```python\n(.*?)```", section, re.S)
    assert len(blocks) == 3
    assert all(len(b.splitlines()) < 15 for b in blocks)
    fit = train.fit
    seen = []

    def short(agent, configs, seeds, *, steps, **options):
        warn.of_schedules(
            arguments.arms_of(configs)[1], steps
        )  # warnings are errors here: the printed code must not warn
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", train.ScheduleWarning)
            result = fit(agent, configs, list(seeds)[:2], steps=2, progress=False, **options)
        seen.append((result, len(seeds), steps))
        return result

    monkeypatch.setattr(train, "fit", short)
    names: dict[str, Any] = {"MyEnv": MyEnv}
    blocks += re.findall(r"```python\n(.*?)```", DOCS, re.S)
    for block in blocks:
        exec(compile(block, "docs/library.md", "exec", dont_inherit=True), names)
    one, sweep, both = (r for r, _, _ in seen)
    assert one.table.final("default", "greedy_return").shape == (2,)
    assert len(sweep.arms) == len(both.arms) == 4
    assert seen[1][1] == 16
    returns = np.asarray(names["advantages"])
    # The return of the last step, at the time limit, is its reward plus the discounted next value.
    assert returns[-1, 0] == pytest.approx(1 + 0.99 * 10)
