"""The trainings of `linearity`: networks on synthetic tasks and on images of one side."""

from __future__ import annotations

import functools
from typing import Any

import jax.numpy as jnp
import numpy as np

from experiments.robust import _clouds as clouds
from experiments.robust._bent import Units, bent
from experiments.robust._vulnerability import BATCH, Ball, Test, drawn, judge, learner, resized
from lrn.config import config as pytree
from lrn.data.dataset import split
from lrn.data.sampler import minibatch
from lrn.data.seeded import Parts, for_seeds
from lrn.robust.pgd import PGDConfig, pgd
from lrn.study.context import Context
from lrn.supervised.optimizers import OptimizerConfig

RATE = 2e-3  # of Adam
# In units of the Gaussians: the Linf radius, that of the notes.
EPS = 0.05
# The norm and the radius of the tasks of few dimensions, in units: half of the radius at which an accurate
# classifier is right everywhere.
LOW = {"spheres": ("l2", 0.075), "tilted": ("linf", 0.3)}


@pytree
class Arm:
    """One network: its units, and floats of its task. dense: 1 for dense means. raw: 1 without scaling.

    rate: of Adam.
    """

    units: Units = Units()
    dense: float = 0.0
    raw: float = 0.0
    eps: float = 0.0
    rate: float = RATE


def on_gaussians(context: Context, d: int, arms: dict[str, Arm], groups: int, width: int, plan: Any) -> None:
    """Train on 2 d examples and judge.

    Args:
        groups: the number of kinds of means, among which the arms divide in order.
        plan: (training steps, judged examples, steps of APGD, queries of Square).
    """
    ball = Ball("linf", EPS * clouds.UNIT, *plan[2:])

    def make(seed: Any, rows: Any, arm: Arm) -> Any:
        return clouds.gaussians(seed, rows, d, arm.dense)

    more = functools.partial(_theory, d)
    _procedural(
        context, arms, _network(width, 1.0), make, ball, 2 * d, RATE, plan, {"groups": groups, "more": more}
    )


def on_low(context: Context, task: str, arms: dict[str, Arm], width: int, plan: Any) -> None:
    """Train on 5000 examples of a task of few dimensions and judge; ``plan`` as for `on_gaussians`."""
    norm, eps = LOW[task]
    ball = Ball(norm, eps * clouds.UNIT, *plan[2:])

    def make(seed: Any, rows: Any, arm: Arm) -> Any:
        del arm
        return getattr(clouds, task)(seed, rows)

    _procedural(context, arms, _network(width, clouds.SCALES[task]), make, ball, 5000, 1e-2, plan, {})


def _network(width: int, scales: Any) -> Any:
    """From an arm to its network for the synthetic tasks, which divides its inputs by ``scales``."""

    def net_of(arm: Arm) -> Any:
        return bent(
            2,
            width,
            arm.units,
            lambda x: clouds.from_box(x) / jnp.where(arm.raw > 0, 1.0, jnp.atleast_2d(scales)),
        )

    return net_of


def _theory(d: int, lane: Any, x: Any, y: Any, robust: Any) -> dict[str, Any]:
    """What a linear network attains by theory; the difference to the attack's result on these examples."""
    arm, p = lane
    u = p["w"] @ (p["v"][:, 1] - p["v"][:, 0])
    bias = p["b"] @ (p["v"][:, 1] - p["v"][:, 0]) + p["c"][1] - p["c"][0]
    exact = jnp.mean((2 * y - 1) * (clouds.from_box(x) @ u + bias) > EPS * jnp.abs(u).sum())
    theory = clouds.linear_attacked(u, bias, clouds.mean_of(d, arm.dense), EPS)
    return {"beyond exact": robust - exact, "theory": theory}


def _procedural(
    context: Context,
    arms: Any,
    net_of: Any,
    make: Any,
    ball: Ball,
    n: int,
    rate: float,
    plan: Any,
    extra: Any,
) -> None:
    """Train on the first n rows of a synthetic task, and judge on the next ones."""
    seeds = np.asarray(context.seeds, np.uint32)
    steps, judged, *_ = plan

    def settings(arm: Arm) -> OptimizerConfig:
        del arm
        return OptimizerConfig("adam", rate, schedule="cosine", steps=steps)

    def seen(arm: Arm, batch: Any) -> Any:
        return dict(zip("xy", make(batch["seed"], batch["rows"], arm)))

    factory = functools.partial(learner, net_of, settings, None, seen)
    per_seed = {"seed": seeds}
    fit = context.fit(factory, arms, steps=steps, sampler=drawn(n), data={}, per_seed=per_seed)
    rows = np.tile(np.arange(n, n + judged), (len(seeds), 1))
    test = Test(rows, (), lambda seed, rows, _, arm: make(seed, rows, arm), **extra)
    judge(context, next(iter(arms)), [(fit, arms)], net_of, test, ball)


def image_parts(context: Context, dataset: str, train: int, images: int) -> Parts:
    """Training and test rows that each seed draws, from all digits or from MNIST's own parts."""
    parts = for_seeds(dataset, context.seeds, drawn=dataset == "digits")
    rows = parts.train_rows[:, :train], parts.test_rows[:, :images]
    if dataset != "digits":
        rows = [
            np.stack([split(seed, all_rows.shape[1], (n / all_rows.shape[1],))[0] for seed in context.seeds])
            for all_rows, n in ((parts.train_rows, train), (parts.test_rows, images))
        ]
    return parts._replace(train_rows=rows[0], test_rows=rows[1])


def on_images(
    context: Context,
    parts: Parts,
    sides: tuple[int, int],
    clean: Any,
    attacked: Any,
    width: int,
    plan: Any,
    eps: Any,
) -> None:
    """Train on images of one side, ``clean`` arms and adversarially trained ones, and judge.

    Args:
        parts: from `image_parts`. sides: side and base, see `resized`. clean, attacked: from names to arms.
        plan: as for `on_gaussians`. eps: the Linf radius.
    """
    side, base = sides
    train = resized(parts.train, side, base)
    test = train if parts.test is parts.train else resized(parts.test, side, base)

    def settings(arm: Arm) -> OptimizerConfig:
        return OptimizerConfig("adam", arm.rate, schedule="cosine", steps=plan[0])

    def net_of(arm: Arm) -> Any:
        return bent(10, width, arm.units, lambda x: x.reshape(x.shape[0], -1))

    def against(arm: Arm) -> Any:
        return pgd(PGDConfig(eps=arm.eps, step_size=arm.eps / 3, steps=5, keep="last"))

    def examples(seed: Any, rows: Any, shared: Any, arm: Arm) -> Any:
        del seed, arm
        return jnp.asarray(shared["image"][rows], jnp.float32) / 255, shared["label"][rows]

    fits = []
    for attack, arms in ((None, clean), (against, attacked)):
        factory = functools.partial(learner, net_of, settings, attack, lambda arm, batch: batch)
        drawn_rows = {"sampler": minibatch(BATCH, rows="rows"), "per_seed": {"rows": parts.train_rows}}
        if arms:
            fits.append((context.fit(factory, arms, steps=plan[0], data=train, **drawn_rows), arms))
    for arm in attacked:
        context.judged_on_parts(arm, parts._replace(train=train, test=test), "image")
    judge(
        context,
        f"{side}x{side}",
        fits,
        net_of,
        Test(parts.test_rows, test, examples),
        Ball("linf", eps, *plan[2:]),
    )
