"""Tabular learners on random MDPs: all step sizes, replicates and seeds of a method are one program."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from experiments.rl._tabular_laws import EXPLORING, LIMIT, SARSA, TD, TRACES, Entries, Q, entries
from lrn.rl import mdp, tabular
from lrn.rl.env import Env, merge_truncation

METHODS = (TD, TRACES, SARSA, Q)
RESCALED, POWER, HARMONIC, CONSTANT, CUT = "rescaled", "n^-0.6", "1/n", "constant", "cuts taken for ends"
DISCOUNT, LAMBDA, CHUNKS = 0.8, 0.5, 100
# Of each step size: scale, rate and power of `tabular.Schedule`. The last is the planted error.
STEPS = {
    RESCALED: (1.0, 1 - DISCOUNT, 1.0),
    POWER: (1.0, 1.0, 0.6),
    HARMONIC: (1.0, 1.0, 1.0),
    CONSTANT: (0.1, 1.0, 0.0),
    CUT: (1.0, 1 - DISCOUNT, 1.0),
}


def kinds(method: str) -> list[str]:
    """The step sizes of a method, and for TD(0) the planted error."""
    return [k for k in STEPS if k != CUT or method == TD]


def solved(config: Any, seed: Any, _: Any) -> dict[str, Any]:
    """Largest errors along value iteration and policy iteration, in double precision."""
    world = mdp.garnet(jax.random.key(seed), config.solved, 4, min(5, config.solved), 0.95)
    best = mdp.solve(world)

    def sweep(values: Any, _: Any) -> Any:
        return mdp.optimal_backup(world, values), jnp.abs(values - best.values).max()

    def improvement(policy: Any, _: Any) -> Any:
        q = mdp.policy_action_values(world, policy)
        return mdp.improve(q, policy, 1e-11), jnp.abs((policy * q).sum(-1) - best.values).max()

    swept = jax.lax.scan(sweep, jnp.zeros(world.states), length=config.sweeps)[1]
    improved = jax.lax.scan(improvement, mdp.uniform_policy(world), length=12)[1]
    excess = jnp.maximum(swept[1:] - 0.95 * swept[:-1], 0).max()
    gap = jnp.abs(mdp.value_iteration(world, 1e-11).values - best.values).max()
    return {
        "value iteration: excess over the discount": excess,
        "value iteration: gap to policy iteration": gap,
        "policy iteration: final error": improved[-1],
    }


def told(config: Any, seed: Any, _: Any) -> dict[str, Any]:
    """A seed's MDP and what theory needs to know of it, for `law_of` and `played` to read."""
    world = mdp.garnet(jax.random.key(seed), config.states, config.actions, config.branching, DISCOUNT)
    found = {"world": world, **{m: entries(m, world) for m in METHODS}}
    return {f"{m}: {name}": x for m, fields in found.items() for name, x in fields._asdict().items()}


def law_of(found: Mapping[str, Any], method: str) -> Entries:
    """The entries of one method, leaves [seeds, ...]."""
    return Entries(**{name: found[f"{method}: {name}"] for name in Entries._fields})


def played(found: Mapping[str, Any]) -> mdp.MDP:
    """The MDPs, leaves [seeds, ...]."""
    return mdp.MDP(**{name: found[f"world: {name}"] for name in mdp.MDP._fields})


def learn(config: Any, method: str, own: Any, _: Any) -> dict[str, Any]:
    """Squared errors [kinds, chunks], the means over runs and entries; visits [runs, kinds, entries].

    Args:
        config: the study's.
        method: one of `METHODS`.
        own: a seed, its MDP, and the exact values [entries].
    """
    seed, world, exact = own

    def one(replicate: Any, kind: Any) -> Any:
        learner = learner_of(config, method, world, kind)
        first, rest = jax.random.split(jax.random.fold_in(jax.random.key(seed), replicate + 1))

        def step(state: Any, key: Any) -> Any:
            state, _ = learner.step(key, state, None)
            return state, ((estimates(method, state) - exact) ** 2).mean()

        state, squares = jax.lax.scan(step, learner.init(first, None), jax.random.split(rest, CHUNKS))
        counts = state.learnt.visits if method in (TD, TRACES) else state.visits.ravel()
        return squares, counts.astype(jnp.float32)

    both = jax.vmap(jax.vmap(one, (None, 0)), (0, None))
    squares, counts = both(jnp.arange(config.replicates), jnp.arange(len(kinds(method))))
    return {"squares": squares.mean(0), "counts": counts}


def learner_of(config: Any, method: str, world: mdp.MDP, kind: Any) -> Any:
    """The learner of an arm; ``kind``, the number of its step size, may be traced."""
    numbers: list[Any] = [jnp.array([STEPS[k][i] for k in kinds(method)])[kind] for i in range(3)]
    sizes, every = tabular.Schedule(*numbers), config.steps // CHUNKS
    env, policy = mdp.as_env(world, time_limit=LIMIT), mdp.uniform_policy(world)
    if method == TD:
        wrong = cutting(env, kind == kinds(TD).index(CUT))
        return tabular.td(wrong, policy, tabular.TDConfig(DISCOUNT, sizes, interactions=every))
    if method == TRACES:
        options = tabular.TDLambdaConfig(DISCOUNT, LAMBDA, "accumulating", sizes, interactions=every)
        return tabular.td_lambda(env, policy, options)
    epsilon = tabular.Schedule(EXPLORING if method == SARSA else 1.0)
    options = tabular.ControlConfig(DISCOUNT, sizes, epsilon, interactions=every)
    return (tabular.sarsa if method == SARSA else tabular.q_learning)(env, options)


def cutting(env: Env, cut: Any) -> Env:
    """An environment that calls its cuts ends, where ``cut`` is true: the planted error."""
    merged = merge_truncation(env)

    def move(key: Any, state: Any, action: Any) -> Any:
        (after, right), (_, wrong) = (e.move(key, state, action) for e in (env, merged))
        return after, jax.tree.map(lambda x, y: jnp.where(cut, y, x), right, wrong)

    return env._replace(move=move)


def estimates(method: str, state: Any) -> Any:
    """The estimates [entries] of a learner's state."""
    return state.learnt.values if method in (TD, TRACES) else state.q.ravel()
