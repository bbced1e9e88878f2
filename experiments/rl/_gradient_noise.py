"""The noise of policy gradients on random MDPs whose exact gradient is known, and what the noise costs.

The MDPs are Garnets with discount .95. Their policy is a softmax of a table of logits. All estimators learn
from whole episodes of one policy. The noise of an estimator is given in steps of play: over so many steps its
mean has as large a variance, summed over the entries, as the exact gradient's squared norm. An episode counts
as 1 / (1 - discount) = 20 steps, the sum of the weights of its steps, and not as the 100 that are played.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from lrn.rl import mdp, returns
from lrn.rl.mdp.environment import draw
from lrn.study import Above, Cell, Exact, Prediction, Within
from lrn.study.context import Context
from lrn.study.controls import Control
from lrn.study.curves import first_time
from lrn.study.select import select
from lrn.types import Array, Key
from lrn.xla.runtime import brief_options

DISCOUNT, ACTIONS, BRANCHING, LENGTH = 0.95, 3, 3, 100
COUNTED, STEPS, CHUNKS = 20, 1024, 20  # steps that an episode counts as, steps of a sampled update
LAMBDA, LAMBDAS, CRITIC_ERROR = 0.95, (0.0, 0.5, 0.95, 1.0), 0.5
RATES = (0.25, 1.0, 4.0, 16.0, 64.0, 256.0)
STRIDE, PATH = 0.125, 800  # length of a step of the path to the stages, in logits, and number of these steps
STAGES = {"start": 0.0, "half-way": 0.5, "late": 0.9}  # the share of the possible gain that is reached
WHOLE, PLAIN, BASELINE = "whole return", "rewards to go", "rewards to go less V"
PRACTICE, WRONG = f"GAE {LAMBDA:g}, true V", "without discount^t"
EXACT, NEAR = "exact gradients", 0.9
ASCENTS = (EXACT, *(f"ascent by {x}" for x in (PLAIN, PRACTICE)))
NOISE, UNBIASED, BIAS, GAIN, REACHED = "noise", "squared t", "bias", "gain", "reached"
SLOWER, MEAN, READ = "over twice the updates", "mean gain", (0.1, 0.3, 1.0)


def at(states: int, what: str, stage: str = "") -> str:
    """The name of an estimator at a stage, or of an ascent, on MDPs of so many states."""
    return f"{states} states{stage and ', '}{stage}: {what}"


def poor(lambda_: float) -> str:
    """The name of GAE with a critic that is off by half of the spread of the values."""
    return f"GAE {lambda_:g}, poor critic"


ESTIMATORS = (WHOLE, PLAIN, BASELINE, PRACTICE, *map(poor, LAMBDAS))


class Known(NamedTuple):
    """What is exactly known of a softmax policy: values and discounted visits [state], return, gradient."""

    values: Array
    visits: Array
    objective: Array
    gradient: Array


def exactly(world: mdp.MDP, logits: Array) -> Known:
    """The exact values, return and gradient of softmax(``logits`` [state, action]).

    At this discount nothing is lost without the refinement in `mdp.softmax_policy_gradient`, and the program
    compiles in a fraction of the time; a test compares the two.
    """
    policy = jax.nn.softmax(logits)
    chain, rewards = mdp.under(world, policy)
    later = jnp.linalg.inv(jnp.eye(world.states) - DISCOUNT * chain)  # visits, [from, to]
    values, visits = later @ rewards, world.initial @ later
    advantage = mdp.action_values(world, values) - values[:, None]
    return Known(values, visits, world.initial @ values, visits[:, None] * policy * advantage)


def optimum(world: mdp.MDP) -> Array:
    """The return of the best policy, a scalar, by sweeps enough for single precision."""
    values = jax.lax.fori_loop(0, 500, lambda _, v: mdp.optimal_backup(world, v), jnp.zeros(world.states))
    return world.initial @ values


def staged(world: mdp.MDP, start: Array, best: Array) -> tuple[Array, Array]:
    """The logits [stage, state, action] at which exact ascent first reaches each stage, and their gains."""
    levels, zeros = jnp.array([*STAGES.values()]), jnp.zeros_like(world.rewards)

    def step(carry: Any, _: Any) -> Any:
        logits, held, share = carry
        now = exactly(world, logits)
        waiting = share < levels
        held = jnp.where(waiting[:, None, None], logits[None], held)
        share = jnp.where(waiting, (now.objective - start) / (best - start), share)
        return (logits + STRIDE * now.gradient / jnp.linalg.norm(now.gradient), held, share), None

    first = (zeros, jnp.zeros((len(STAGES), *zeros.shape)), jnp.where(levels > 0, -1.0, 0.0))
    (_, held, share), _ = jax.lax.scan(step, first, length=PATH)
    return held, share


def expected(world: mdp.MDP, logits: Array, critic: Array, lambda_: Array) -> Array:
    """The exact expectation of the GAE gradient [state, action] with a critic [state] and a lambda."""
    policy = jax.nn.softmax(logits)
    chain, _ = mdp.under(world, policy)
    delta, decay = mdp.action_values(world, critic) - critic[:, None], DISCOUNT * lambda_
    later = jnp.linalg.inv(jnp.eye(world.states) - decay * chain) @ (policy * delta).sum(-1)
    advantage = delta + decay * (world.transitions @ later)
    advantage = advantage - (policy * advantage).sum(-1, keepdims=True)
    return exactly(world, logits).visits[:, None] * policy * advantage


class Play(NamedTuple):
    """Whole episodes, [time, n] each: states before and after each action, actions, and rewards."""

    before: Array
    action: Array
    after: Array
    reward: Array


def played(world: mdp.MDP, logits: Array, key: Key, n: int) -> Play:
    """Play n episodes with a softmax policy."""
    chances, targets = jax.lax.top_k(world.transitions, BRANCHING)  # all next states there are
    acts, moves, starts = (jnp.cumsum(p, -1) for p in (jax.nn.softmax(logits), chances, world.initial))
    u = jax.random.uniform(key, (LENGTH + 1, n, 2))

    def step(state: Array, u: Array) -> Any:
        action = draw(u[0], acts[state])
        after = targets[state, action, draw(u[1], moves[state, action])]
        return after, (state, action, after)

    first = jax.vmap(lambda x: draw(x[0], starts))(u[0])
    _, (before, action, after) = jax.lax.scan(jax.vmap(step), first, u[1:])
    return Play(before, action, after, world.rewards[before, action])


def advantages(seen: Play, values: Array, lambda_: ArrayLike) -> Array:
    """GAE [time, n] with values [state]."""
    never = jnp.zeros_like(seen.reward)
    return returns.gae(seen.reward, values[seen.before], values[seen.after], never, never, DISCOUNT, lambda_)


def weighed(seen: Play, weight: Array, policy: Array) -> Array:
    """The gradient [n, state, action] of each episode: the sum of score times ``weight`` [time, n]."""
    states, actions = policy.shape
    entry = seen.before * actions + seen.action
    summed = jax.vmap(lambda w, x: jax.ops.segment_sum(w, x, states * actions), 1)(weight, entry)
    summed = summed.reshape(-1, states, actions)
    # The score of an action is its indicator less the policy's probabilities.
    return summed - summed.sum(-1, keepdims=True) * policy[None]


def gradients(seen: Play, values: Array, critic: Array, policy: Array) -> dict[str, Array]:
    """The gradients of n episodes, [episode, state, action], by every estimator."""
    to_go = returns.discounted_returns(seen.reward, jnp.zeros_like(seen.reward), DISCOUNT)
    poorly = jax.vmap(lambda x: advantages(seen, critic, x))(jnp.array(LAMBDAS))
    above = to_go - values[seen.before]
    weights = {
        WHOLE: jnp.broadcast_to(to_go[0], to_go.shape), PLAIN: to_go, BASELINE: above,
        PRACTICE: advantages(seen, values, LAMBDA), **dict(zip(map(poor, LAMBDAS), poorly)), WRONG: above,
    }  # fmt: skip
    factors = jnp.stack([jnp.ones(LENGTH) if k in (WHOLE, WRONG) else fading() for k in weights])
    stacked = jnp.stack([*weights.values()]) * factors[..., None]
    return dict(zip(weights, jax.vmap(lambda w: weighed(seen, w, policy))(stacked)))


def fading() -> Array:
    """discount^t, [time]."""
    return DISCOUNT ** jnp.arange(LENGTH)


def noise(world: mdp.MDP, logits: Array, key: Key, episodes: int) -> dict[str, dict[str, Array]]:
    """By estimator its noise (log2 of steps), its bias (over the gradient) and a mean squared t of its mean.

    The last is 1 where the mean over episodes is the exact expectation, up to 12% for the number of chunks.
    """
    critic_key, play_key = jax.random.split(key)
    known = exactly(world, logits)
    error = CRITIC_ERROR * known.values.std() * jax.random.normal(critic_key, known.values.shape)
    critic, size = known.values + error, (known.gradient**2).sum()

    def chunk(i: Array) -> dict[str, tuple[Array, Array]]:
        seen = played(world, logits, jax.random.fold_in(play_key, i), episodes // CHUNKS)
        own = gradients(seen, known.values, critic, jax.nn.softmax(logits))
        return {k: (g.mean(0), g.var(0, ddof=1).sum()) for k, g in own.items()}

    poorly = jax.vmap(lambda x: expected(world, logits, critic, x))(jnp.array(LAMBDAS))
    theories, measured = dict(zip(map(poor, LAMBDAS), poorly)), {}
    for name, (means, variance) in jax.lax.map(chunk, jnp.arange(CHUNKS)).items():
        theory = theories.get(name, known.gradient)
        t = (means.mean(0) - theory) / (means.std(0, ddof=1) / CHUNKS**0.5 + 1e-12)
        measured[name] = {
            NOISE: jnp.log2(variance.mean() / size * COUNTED),
            BIAS: jnp.sqrt(((theory - known.gradient) ** 2).sum() / size),
            UNBIASED: (t**2).mean(),
        }
    return measured


def ascents(world: mdp.MDP, start: Array, best: Array, rate: Array, key: Key, updates: int) -> Array:
    """The share of the possible gain before each update and after the last, [ascent, updates + 1].

    The first of `ASCENTS` follows exact gradients, the others means over the episodes of `STEPS` steps.
    """
    episodes = round(STEPS / COUNTED)

    def sampled(logits: Array, values: Array, key: Key) -> Array:
        seen = played(world, logits, key, episodes)
        to_go = returns.discounted_returns(seen.reward, jnp.zeros_like(seen.reward), DISCOUNT)
        weights = jnp.stack([to_go, advantages(seen, values, LAMBDA)]) * fading()[None, :, None]
        return jax.vmap(lambda w: weighed(seen, w, jax.nn.softmax(logits)).mean(0))(weights)

    def step(logits: Array, i: Array) -> Any:
        known = jax.vmap(lambda x: exactly(world, x))(logits)
        # Both estimators are computed for both ascents that sample, and each takes its own.
        found = jax.vmap(sampled, (0, 0, None))(logits[1:], known.values[1:], jax.random.fold_in(key, i))
        gradient = jnp.stack([known.gradient[0], found[0, 0], found[1, 1]])
        return logits + rate * gradient, (known.objective - start) / (best - start)

    first = jnp.zeros((len(ASCENTS), *world.rewards.shape))
    return jax.lax.scan(step, first, jnp.arange(updates + 1))[1].T


def measured(states: int, episodes: int, updates: int, seed: Any) -> dict[str, Array]:
    """All that is measured on a seed's MDP: noise by stage and estimator, and the ascents at each rate.

    Returns:
        "gain" [stage], "noise/stage/estimator" and alike for "bias" and "squared t", and for each of
        `ASCENTS` the shares of the possible gain [rate, updates + 1].
    """
    world_key, noise_key, ascent_key = jax.random.split(jax.random.key(seed), 3)
    world = mdp.garnet(world_key, states, ACTIONS, BRANCHING, DISCOUNT)
    start, best = exactly(world, jnp.zeros_like(world.rewards)).objective, optimum(world)
    logits, gain = staged(world, start, best)
    by_stage = jax.lax.map(lambda x: noise(world, x, noise_key, episodes), logits)
    found = {
        f"{metric}/{stage}/{name}": values[i]
        for name, metrics in by_stage.items()
        for metric, values in metrics.items()
        for i, stage in enumerate(STAGES)
    }
    rates = jnp.array(RATES)
    climbed = jax.vmap(lambda rate: ascents(world, start, best, rate, ascent_key, updates), out_axes=1)(rates)
    return {GAIN: gain, **dict(zip(ASCENTS, climbed)), **found}


def measure(config: Any, context: Context, states: int, others: Sequence[int]) -> None:
    """Measure noise and ascents on MDPs of so many states, choose rates on other seeds, and record."""

    def compute() -> dict[str, Any]:
        options = brief_options(0 if context.preset == "smoke" else 1)
        of = jax.vmap(partial(measured, states, config.episodes, config.updates))
        seeds = np.asarray([*context.seeds, *others], np.uint32)
        return jax.device_get(jax.jit(of, compiler_options=options)(seeds))

    found, n = context.once(f"{states} states", compute), len(context.seeds)
    for label, values in found.items():
        if "/" in label:
            metric, stage, estimator = label.split("/")
            context.record(at(states, estimator, stage), metric, values[:n])
    for stage, gains in zip(STAGES, found[GAIN][:n].T):
        context.record(at(states, stage), GAIN, gains)
    chosen, updates = select({k: found[k][n:].mean(-1).T for k in ASCENTS}, "higher"), {}
    for k, choice in chosen.items():
        name, curves = at(states, k), found[k][:n, choice.only]
        updates[k] = first_time(np.arange(config.updates + 1), curves, NEAR)
        context.chosen(name, choice, len(RATES))
        context.given(name, {"updates": curves.shape[1] - 1})
        context.record(name, REACHED, np.isfinite(updates[k]).astype(float))
        for i in range(config.updates + 1):
            context.record(name, GAIN, curves[:, i], i)
        for share in READ:
            most = round(share * config.updates)
            context.record(name, MEAN, curves[:, : most + 1].mean(1), most)
        known = np.minimum(updates[k], config.updates)  # an ascent that never arrives takes at least these
        context.record(name, SLOWER, (known > 2 * updates[EXACT]).astype(float))


def guards(states: int, stage: str) -> list[Control]:
    """What shows that an estimator, its exact expectation or the test of the two is broken."""
    checks: list[Prediction] = []
    for name in ESTIMATORS:
        cell = Cell(at(states, name, stage), UNBIASED)
        said = f"{cell.arm}: its mean is exact, by a mean squared t of 1/2 to 2."
        checks.append(Within(statement=said, cell=cell, low=0.5, high=2.0))
    wrong = Cell(at(states, WRONG, stage), UNBIASED)
    checks.append(Above(statement=f"{wrong.arm}: found out, by a squared t over 2.", cell=wrong, bound=2.0))
    low, high = (Cell(at(states, poor(x), stage), BIAS) for x in (0.0, 1.0))
    checks.append(Above(statement=f"{low.arm}: biased by over .05.", cell=low, bound=0.05))
    checks.append(Exact(statement=f"{high.arm}: no bias.", cell=high, value=0.0, atol=1e-3))
    return [*map(Control, checks)]
