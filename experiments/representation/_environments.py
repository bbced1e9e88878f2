"""What `experiments.representation.invariance` trains and judges: all candidates of all methods in one place.

A place has environments of which the last is the new one, whose spurious feature is turned around. All
candidates of all methods, trained in all other environments and without each of them, are trained side by
side on the same batches, in one program. Only the model that is told the environment also sees the new one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.representation._turned import Place
from lrn import config
from lrn.representation.environments import without
from lrn.representation.erm import ERMConfig, erm
from lrn.representation.group_dro import GroupDROConfig, group_dro
from lrn.representation.irm import irm
from lrn.representation.penalized import PenaltyConfig
from lrn.representation.selection import Scores
from lrn.representation.told import told, with_code
from lrn.representation.vrex import vrex
from lrn.supervised.learner import weights
from lrn.supervised.losses import cross_entropy
from lrn.supervised.optimizers import OptimizerConfig
from lrn.types import Array, Batch, Key, Learner, Net, PyTree

ERM, IRM, VREX, DRO = "ERM", "IRM", "V-REx", "group DRO"
INVARIANT, TOLD = "invariant inputs", "told the environment"
METHODS, CONTROLS = (ERM, IRM, VREX, DRO), (INVARIANT, TOLD)
# The two axes of every menu: learning rates, and the strength of what a method adds to the risk: ERM's weight
# decay, the penalties of IRM and V-REx, group DRO's rate. All but the rate 1 are in the ranges of DomainBed.
STRENGTHS = {
    ERM: (1e-6, 1e-5, 1e-4, 1e-3),
    IRM: (1.0, 30.0, 1e3, 3e4),
    VREX: (1.0, 30.0, 1e3, 3e4),
    DRO: (1e-3, 1e-2, 1e-1, 1.0),
}
LEVELS = 4
USUAL_L2 = 1e-5  # of the methods other than ERM
LEFT_OUT = ", left out"


class Trained(NamedTuple):
    """A method's training.

    factory: ``factory(config) -> Learner``. configs: its candidates, stacked. seen: from the drawn batch to
    what the method sees of it. folds: whether it is also trained without each environment.
    """

    factory: Callable[..., Learner]
    configs: Any
    seen: Callable[[Batch], Batch]
    folds: bool


def trainings(place: Place, steps: int) -> dict[str, Trained]:
    """All methods by name; a menu is [rates, strengths], flattened."""
    adam = [OptimizerConfig("adam", rate) for rate in place.rates]
    net, plain, coded = place.nets
    known = place.environments

    def menu(name: str, make: Callable[[OptimizerConfig, float], Any]) -> Any:
        return config.stack([make(o, strength) for o in adam for strength in STRENGTHS[name]])

    def old(name: str) -> Callable[[Batch], Batch]:
        return lambda batch: {"x": batch[name][:known], "y": batch["y"][:known]}

    def penalty(optimizer: OptimizerConfig, strength: float) -> PenaltyConfig:
        return PenaltyConfig(optimizer, penalty=strength, begin=steps // 3, l2=USUAL_L2)

    decays = menu(ERM, lambda optimizer, strength: ERMConfig(optimizer, l2=strength))
    rates = menu(DRO, lambda optimizer, strength: GroupDROConfig(optimizer, rate=strength, l2=USUAL_L2))
    seen = old("x")
    return {
        ERM: Trained(partial(erm, net, cross_entropy), decays, seen, True),
        IRM: Trained(partial(irm, net, cross_entropy, estimate="pairs"), menu(IRM, penalty), seen, True),
        VREX: Trained(partial(vrex, net, cross_entropy), menu(VREX, penalty), seen, True),
        DRO: Trained(partial(group_dro, net, cross_entropy), rates, seen, True),
        INVARIANT: Trained(partial(erm, plain, cross_entropy), decays, old("invariant"), False),
        TOLD: Trained(
            partial(told, coded, cross_entropy), decays, lambda b: {"x": b["x"], "y": b["y"]}, False
        ),
    }


def everything(place: Place, steps: int) -> Learner:
    """All trainings side by side, with the same batches and keys.

    The state is {method: leaves [candidates, ...], method + `LEFT_OUT`: leaves [environments, candidates,
    ...]}; the metric ``loss`` is the mean over all trainings.
    """
    methods = trainings(place, steps)

    def lanes(training: Trained, fold: Any, batch: Batch) -> Batch:
        given = training.seen(batch)
        return given if fold is None else without(given, fold)

    def over(name: str, function: Callable[..., Any], *states: Any) -> Any:
        """A function of (config, fold, *state), over candidates and, for ``left out``, over folds."""
        training = methods[name.removesuffix(LEFT_OUT)]
        mapped = jax.vmap(partial(function, training), (0, None, *(0 for _ in states)))
        if not name.endswith(LEFT_OUT):
            return mapped(training.configs, None, *states)
        folds = jnp.arange(place.environments)
        return jax.vmap(mapped, (None, 0, *(0 for _ in states)))(training.configs, folds, *states)

    names = [n + s for n, t in methods.items() for s in ("", LEFT_OUT) if t.folds or not s]

    def init(key: Key, batch: Batch) -> PyTree:
        def one(training: Trained, own: Any, fold: Any) -> PyTree:
            return training.factory(config=own).init(key, lanes(training, fold, batch))

        return {name: over(name, one) for name in names}

    def step(key: Key, state: PyTree, batch: Batch) -> tuple[PyTree, dict[str, Array]]:
        def one(training: Trained, own: Any, fold: Any, before: PyTree) -> Any:
            after, metrics = training.factory(config=own).step(key, before, lanes(training, fold, batch))
            return after, metrics["loss"]

        found = {name: over(name, one, state[name]) for name in names}
        losses = jnp.stack([jnp.mean(loss) for _, loss in found.values()])
        return {name: after for name, (after, _) in found.items()}, {"loss": jnp.mean(losses)}

    return Learner(init, step)


def judged(place: Place, steps: int, own: tuple[PyTree, Mapping[str, Any]], shared: Any) -> dict[str, Array]:
    """The accuracies of one seed, by method and one of these words.

    "validation": on validation rows of each environment to train in, [candidates, environments]. "left out":
    the same, of networks that were trained without the environment. "known": the mean of "validation" over
    environments, [candidates]. "chosen on", "test": on two halves of the new environment, [candidates].

    Args:
        place: the place. steps: of the trainings.
        own: the state after `everything` and the data of the seed. shared: the data for all seeds.
    """
    state, rows = own
    methods, known = trainings(place, steps), place.environments
    sets = place.sets(rows, shared)
    validation, test = sets["validation"], sets["test"]
    found: dict[str, Array] = {}

    def right(net: Net, trained: Any, x: Array, y: Array) -> Array:
        params, net_state = weights(getattr(trained, "model", trained))
        output = net.apply(params, net_state, x)[0].reshape(x.shape[0])
        return (output > 0) == y

    for name, training in methods.items():
        net = place.nets[{INVARIANT: 1, TOLD: 2}.get(name, 0)]
        column = "invariant" if name == INVARIANT else "x"

        def inputs(x: Array, e: Any, name: str = name) -> Array:
            return with_code(x, e, known + 1) if name == TOLD else x

        def accuracy(
            trained: Any, e: Array, net: Net = net, column: str = column, inputs: Any = inputs
        ) -> Array:
            x, y = validation[column][e], validation["y"][e]
            return jnp.mean(right(net, trained, inputs(x, e), y), dtype=jnp.float32)

        every = jnp.arange(known)
        found[f"{name} validation"] = jax.vmap(jax.vmap(accuracy, (None, 0)), (0, None))(state[name], every)
        x, y = inputs(test[column][0], known), test["y"][0]
        hits = jax.vmap(partial(right, net), (0, None, None))(state[name], x, y)
        half = hits.shape[1] // 2
        found[f"{name} chosen on"] = jnp.mean(hits[:, :half], axis=1, dtype=jnp.float32)
        found[f"{name} test"] = jnp.mean(hits[:, half:], axis=1, dtype=jnp.float32)
        found[f"{name} known"] = jnp.mean(found[f"{name} validation"], axis=1)
        if training.folds:
            of_fold = jax.vmap(jax.vmap(accuracy, (0, None)))
            found[f"{name} left out"] = of_fold(state[name + LEFT_OUT], every).T
    return found


def scores(found: Mapping[str, np.ndarray], name: str) -> Scores:
    """What the rules look at, [seeds, candidates, ...], of a method."""
    return Scores(found[f"{name} validation"], found.get(f"{name} left out"), found[f"{name} chosen on"])
