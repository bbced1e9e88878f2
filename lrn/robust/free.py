"""Free adversarial training: one gradient moves the weights and the perturbation (Shafahi et al. 2019)."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from lrn import check
from lrn.config import config
from lrn.robust.attack import check_eps
from lrn.robust.losses import cross_entropy, is_correct
from lrn.robust.norms import NORMS, by_example, distance, narrow, steepest_direction, widen
from lrn.robust.training import begin, read
from lrn.supervised.averages import AverageConfig
from lrn.supervised.learner import SupervisedState, update
from lrn.supervised.optimizers import OptimizerConfig
from lrn.types import Array, Batch, Example, Goal, Key, Learner, Metrics, Net, Params


@config
class FreeConfig:
    """Settings of free adversarial training.

    optimizer: the optimizer's config. Its lengths count updates, of which a step has ``replays``.
    average: the config of the averaged weights; it counts updates too.
    eps: the radius of the ball, in the unit of the pixels, which lie in [0, 1].
    step_ratio: the length of a step of the perturbation, as a multiple of eps; 1 in the paper.
    replays: the number of updates on each batch, m in the paper, whose best on CIFAR-10 is 8.
    norm: the norm of the ball, one of `lrn.robust.norms.NORMS`; the paper has "linf".
    """

    optimizer: OptimizerConfig = OptimizerConfig()
    average: AverageConfig = AverageConfig()
    eps: float = 8 / 255
    step_ratio: float = 1.0
    replays: int = 8
    norm: str = "linf"

    def __post_init__(self) -> None:
        check.choice("norm", self.norm, NORMS)
        check_eps(self.eps, self.norm)
        check.positive("step_ratio", self.step_ratio)
        check.integer("replays", self.replays, 1)


class FreeState(NamedTuple):
    """State of free adversarial training.

    training: the weights, their optimizer and average, and the number of updates; its weights are those to
        evaluate.
    perturbation: the perturbation of each place in the batch [batch, ...], in float32 or wider. The next
        batch begins with it.
    """

    training: SupervisedState
    perturbation: Array


def free(net: Net, config: FreeConfig) -> Learner:
    """Train ``net`` for free: one step is ``replays`` updates on one batch.

    An update computes one gradient, in training mode, by the parameters and by the inputs, at the inputs
    plus the perturbation, clipped to the box. The gradient updates the parameters, and moves the
    perturbation by a step within the ball (algorithm 1 of the paper; as in its code, the perturbation
    itself is not clipped to the box). The perturbation starts at zero and is carried over to the next
    batch, whose size must be the same.

    A step costs ``replays`` steps of standard training: divide the number of batches by ``replays`` for
    equal cost.

    The metrics are means over the updates of the step: ``loss``, the cross-entropy at the perturbed inputs
    in nats, ``accuracy`` there in [0, 1], in training mode, and ``gradient_norm``, before clipping.

    Args:
        net: the network, whose logits are [batch, classes].
        config: the settings; its floats may be swept.

    Raises:
        ValueError: at trace time, for a batch that `check_inputs` refuses, or of another shape than that of
            ``init``.
    """

    def init(key: Key, batch: Batch) -> FreeState:
        return FreeState(begin(net, config, key, batch), jnp.zeros_like(widen(read(batch)[0])))

    def step(key: Key, state: FreeState, batch: Batch) -> tuple[FreeState, Metrics]:
        x, y = read(batch)
        if x.shape != state.perturbation.shape:
            raise check.InputError(
                f"free training needs batches of one shape, got {state.perturbation.shape} at first and "
                f"{x.shape} now; draw batches of equal size."
            )

        def replay(state: FreeState, key: Key) -> tuple[FreeState, dict[str, Array]]:
            return _update(net, config, key, state, x, y)

        state, metrics = jax.lax.scan(replay, state, jax.random.split(key, config.replays))
        return state, {name: jnp.mean(values) for name, values in metrics.items()}

    return Learner(init, step)


def _update(
    net: Net, config: FreeConfig, key: Key, state: FreeState, x: Array, y: Array
) -> tuple[FreeState, dict[str, Array]]:
    training, perturbation = state
    moved = widen(x) + perturbation
    inside = (moved >= 0) & (moved <= 1)

    def loss(params: Params, z: Array):
        logits, net_state = net.apply(params, training.net_state, z, key=key, train=True)
        return jnp.mean(cross_entropy(logits, y)), (net_state, jnp.mean(is_correct(logits, y)))

    (value, (net_state, accuracy)), (gradient, slope) = jax.value_and_grad(
        loss, argnums=(0, 1), has_aux=True
    )(training.params, narrow(jnp.clip(moved, 0, 1), x))
    # The derivative by the perturbation is zero where the box clips it.
    direction = steepest_direction(jnp.where(inside, slope, 0), config.norm)
    eps = by_example(config.eps, moved)
    perturbation = in_ball(perturbation + config.step_ratio * eps * direction, eps, config.norm)
    metrics = {"loss": value, "accuracy": accuracy, "gradient_norm": optax.tree.norm(gradient)}
    return FreeState(update(config, training, gradient, net_state), perturbation), metrics


def in_ball(perturbation: Array, eps: ArrayLike, norm: str) -> Array:
    """The perturbation [batch, ...] in the ball around 0: clipped for Linf, else scaled down."""
    eps = by_example(jnp.asarray(eps), perturbation)
    if norm == "linf":
        return jnp.clip(perturbation, -eps, eps)
    size = by_example(distance(perturbation, jnp.zeros_like(perturbation), norm), perturbation)
    return perturbation * jnp.where(size > eps, eps / jnp.where(size > 0, size, 1), 1)


def example() -> Example:
    """A small network on the digits."""
    from lrn import data, nets
    from lrn.data.sampler import minibatch

    net = nets.mlp(10, (32,), dropout=0.1)
    return Example(
        factory=lambda config: free(net, config),
        config=FreeConfig(OptimizerConfig(learning_rate=0.01), eps=0.1, replays=3),
        data=dict(data.load("digits", "train")),
        sampler=minibatch(32),
        solves=Goal("accuracy", above=0.75),
    )
