"""Training under parity constraints by a Lagrangian with proxies (Cotter, Jiang & Sridharan 2019; TFCO).

Rates of decisions have no gradient. So the model descends on proxies of them, of sigmoids or hinges, while
the multipliers ascend on the true rates: a multiplier rises until the decisions, and not the proxies, keep
their bound. The constraints are those of `lrn.fair.constraints`: each group against all groups, so that two
groups may differ by up to twice the bound. `lrn.fair.iterates` chooses a model, or a mixture, among iterates.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from lrn import check
from lrn.arrays import nan_where
from lrn.config import config
from lrn.fair import constraints, training
from lrn.fair.constraints import Parity
from lrn.fair.model import decide
from lrn.fair.multipliers import ASCENTS, Player, player
from lrn.fair.training import People
from lrn.supervised.averages import AverageConfig
from lrn.supervised.learner import SupervisedState, update
from lrn.supervised.optimizers import OptimizerConfig
from lrn.types import Array, Batch, Example, Key, Learner, Metrics, Net, Params

PROXIES = ("hinge", "sigmoid")


@config
class LagrangianConfig:
    """Settings of constrained training.

    optimizer: the model's optimizer. average: the config of the model's averaged weights.
    constraint: a name in `lrn.fair.constraints.CONSTRAINTS`.
    bound: the largest violation of each constraint, in [0, 1].
    proxy: what stands for a decision in the model's constraints: "sigmoid", the chance of 1; or "hinge",
        which bounds each violation from above.
    ascent: "projected", the Lagrangian's multipliers; or "multiplicative", the proxy-Lagrangian's.
    rate: the learning rate of the multipliers, above 0.
    radius: the largest sum of the multipliers, above 0; for "projected" only.
    """

    optimizer: OptimizerConfig = OptimizerConfig("adam", 0.01)
    average: AverageConfig = AverageConfig()
    constraint: str = "demographic_parity"
    bound: float = 0.01
    proxy: str = "sigmoid"
    ascent: str = "projected"
    rate: float = 0.1
    radius: float = 10.0

    def __post_init__(self) -> None:
        check.choice("constraint", self.constraint, constraints.CONSTRAINTS)
        check.between("bound", self.bound, 0, 1)
        check.choice("proxy", self.proxy, PROXIES)
        check.choice("ascent", self.ascent, ASCENTS)
        check.positive("rate", self.rate)
        check.positive("radius", self.radius)


class LagrangianState(NamedTuple):
    """State of the game.

    model: the state of the network's training. multipliers: the state of the multipliers' player.
    """

    model: SupervisedState
    multipliers: Array


def lagrangian(net: Net, groups: int, config: LagrangianConfig) -> Learner:
    """Train ``net`` on the logistic loss under parity constraints.

    Batches are those of `lrn.fair.training`. A group that a batch lacks has no violation in it, and its
    projected multipliers rest; a batch without weight lacks all groups. The metrics are those of the
    batch: ``loss``, in nats; ``accuracy`` in [0, 1]; ``violation``, the largest of the decisions, and
    ``proxy_violation``, the largest of the proxies; ``multipliers``, their sum divided by the price of the
    loss; and ``gradient_norm``, the L2 norm over all parameters before clipping.

    Args:
        net: a network that gives one logit a row.
        groups: the number of groups.
        config: the settings; its floats may be swept.

    Raises:
        InputError: at trace time, if a batch or an output has the wrong form. A wrong value is
            refused where it can be read; within a jitted training it makes loss and parameters NaN.
    """
    check.integer("groups", groups, 2)

    def init(key: Key, batch: Batch) -> LagrangianState:
        return LagrangianState(
            training.begin(net, config, key, batch, groups), multiplier_player(config, groups).start
        )

    def step(key: Key, state: LagrangianState, batch: Batch) -> tuple[LagrangianState, Metrics]:
        people = training.read(batch, groups)
        given = parity(config.constraint, people, groups)
        other = multiplier_player(config, groups)
        prices = other.prices(state.multipliers)

        def objective(params: Params):
            logit, net_state = training.logits(net, params, state.model.net_state, people.x, key, train=True)
            loss, proxies = (
                training.logistic_loss(logit, people),
                proxy_violations(given, logit, people, config.proxy),
            )
            unfair = jnp.sum(prices[1:] * proxies.reshape(-1))  # the bound has no gradient
            return prices[0] * loss + unfair, (net_state, logit, loss, proxies)

        (_, aux), gradient = jax.value_and_grad(objective, has_aux=True)(state.model.params)
        net_state, logit, loss, proxies = aux
        violations = true_violations(given, decide(jax.nn.sigmoid(logit)), people)
        excess = jnp.where(constraints.present(given), violations - config.bound, 0 * violations)  # NaN stays
        metrics = {
            "loss": loss,
            "accuracy": training.accuracy(logit, people),
            "violation": jnp.max(violations),
            "proxy_violation": jnp.max(proxies),
            "multipliers": jnp.sum(prices[1:]) / prices[0],
            "gradient_norm": optax.tree.norm(gradient),
        }
        model = update(config, state.model, gradient, net_state)
        return LagrangianState(model, other.ascend(state.multipliers, excess.reshape(-1))), metrics

    return Learner(init, step)


def multiplier_player(config: LagrangianConfig, groups: int) -> Player:
    """The player of the multipliers, one for each of the constraints [2, events, groups]."""
    count = constraints.present(constraints.parity(config.constraint, jnp.ones((2, groups)))).size
    return player(config.ascent, count, config.rate, config.radius)


def parity(constraint: str, people: People, groups: int) -> Parity:
    """The constraint of a name on the rows of a batch; all masses are 0 in a batch without weight."""
    mass = constraints.cell_mass(people.y, people.group, people.weights, groups)
    return constraints.parity(constraint, jnp.where(jnp.sum(people.weights) == 0, 0, mass))


def true_violations(given: Parity, decision: Array, people: People) -> Array:
    """The violations of decisions [n], [2, events, groups]; NaN where the weights are."""
    found = constraints.violations(given, _rates(given, decision, people))
    return nan_where(jnp.isnan(people.weights).any(), found)


def proxy_violations(given: Parity, logit: Array, people: People, proxy: str) -> Array:
    """The violations of the proxies of decisions, [2, events, groups].

    A violation is linear in the decisions, with factors of both signs. The hinge ``max(0, 1 + logit)`` stands
    for a decision with a factor above 0, and ``1 - max(0, 1 - logit)`` for one with a factor below 0, so the
    result is at least the true violation. The sigmoid stands for either.

    Args:
        given: the constraint. logit: [n]. people: the rows. proxy: "sigmoid" or "hinge".

    Raises:
        InputError: the proxy is not known.
    """
    check.choice("proxy", proxy, PROXIES)
    if proxy == "sigmoid":
        above = below = _rates(given, jax.nn.sigmoid(logit), people)
    else:
        above = _rates(given, jnp.maximum(1 + logit, 0), people)
        below = _rates(given, 1 - jnp.maximum(1 - logit, 0), people)
    none = jnp.zeros_like(given.mass)
    # Forward mode: where a batch lacks an event, the backward pass would divide 0 by 0.
    factor = jax.jacfwd(lambda rates: constraints.violations(given, rates))(none)
    up = jnp.sum(jnp.maximum(factor, 0) * above[None, None, None], axis=(3, 4))
    down = jnp.sum(jnp.minimum(factor, 0) * below[None, None, None], axis=(3, 4))
    found = constraints.violations(given, none) + up + down
    return nan_where(jnp.isnan(people.weights).any(), found)


def _rates(given: Parity, decision: Array, people: People) -> Array:
    groups = given.mass.shape[1]
    return constraints.cell_rates(decision, people.y, people.group, people.weights, groups)


def example() -> Example:
    """A small network on synthetic people, under equalized odds, with the proxy-Lagrangian's multipliers."""
    from lrn import nets
    from lrn.data.sampler import minibatch

    return Example(
        factory=lambda config: lagrangian(nets.mlp(1, (8,)), 2, config),
        config=LagrangianConfig(constraint="equalized_odds", proxy="hinge", ascent="multiplicative"),
        data=training.example_people(),
        sampler=minibatch(64, columns=("x", "y", "group")),
    )
