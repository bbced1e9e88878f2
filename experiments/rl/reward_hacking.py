"""Do agents exploit the flaws of a reward, the more the better they are? (F4)

Claim. Agents exploit flaws of the reward, and bonuses are sought instead of the task.

Design, in three parts.

(1) A proxy on MountainCar. The proxy adds 4 |v| / v_max to the reward of -1 per step, since speed gets the
car up the hill. For a weak agent the proxy is a good guide, but swinging for ever without leaving pays more
than leaving. PPO is trained on the proxy with 2, 8 and 64 units of each layer in use, and on the true
reward with 64 units. (Pan et al. 2022: more capable agents get more of the proxy and less of the true
reward, with a sudden change between.) Greedy policies are evaluated along training by both rewards, over
the same episodes.

(2) A corridor with a television. Its screen shows random pixels whenever the agent watches, and watching is
worth nothing (Burda et al. 2019). DQN gets a bonus for novelty: counts of observations, RND, curiosity (the
error of a forward model), or counts of rooms, which do not see the screen. The screen is lit or dark.

(3) Finite MDPs, exactly (Skalse et al. 2022). Two rewards are hackable if some policy gains on one and
loses on the other against another policy. The study decides this for pairs of independent rewards, and for
a true reward and the same reward with errors of 1, 10 and 100 percent of its spread.

Set beforehand. The margins: ten steps of MountainCar, where policies that leave take 100 to 150 steps and
failure counts 200; half of the episodes in the corridor. Not blind: a pilot on seeds 1000 to 1003 set the
budgets, the widths (out of 1, 2, 4, 8 and 64), the weight of the speed (out of 1, 2 and 4; with 1 the best
policy by the proxy still leaves, and the flaw must exist to be exploited), and one scale of all bonuses
(out of 0.1 and 0.3; with both, every agent reaches the exit in the dark). A first pilot of the whole study
left the predictions on the car open at four seeds. The study then took initial weights with which an
earlier pilot had shown the flaw exploited, and 150,000 steps in place of 100,000. So part (1) shows that
such a flaw is exploited under settings picked to show it, and not how often a flaw is exploited.

Controls. Trained on the true reward, the same agent solves MountainCar and gets less of the proxy than the
agent trained on the proxy. Agents without a bonus, or with a bonus that is blind to the screen, are not
trapped by the screen. Equivalent rewards (scaled, and shaped by a potential) are not hackable, and every
witness of the linear algebra does gain on one reward and lose on the other when it is evaluated.

    python -m experiments.rl.reward_hacking --preset quick

Time on two cores: 45 s for quick, a third of it for the compilation of two programs. What to expect: the true
return rises with the proxy at first, then falls to failure in the capable agent only. The television traps
counts and curiosity, and traps RND as long as its predictor has not learned the pictures. Independent rewards
are always hackable, and so are rewards with the smallest error, though few policies are then ordered
oppositely.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lrn import check
from lrn.study import (
    OLD_FORM,
    Cell,
    Control,
    Exact,
    Prediction,
    Study,
    Superiority,
    Trend,
    Within,
    by_regime,
    equal_budgets,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lrn.study.context import Context
    from lrn.table import Table

WIDTHS = (2, 8, 64)
CAPABLE, MIDDLING = "proxy, 64 units", "proxy, 8 units"
TRUE = "true reward, 64 units"
STEPS = 10.0  # margin in steps of MountainCar
EVALUATIONS = 8
BONUSES = ("none", "counts of rooms", "counts of all", "RND", "curiosity")
TRAPPED = ("counts of all", "RND", "curiosity")
SCALE = 0.3
ROOMS, PIXELS, LIMIT = 8, 10, 24
HALF = 0.5
ERRORS = (0.01, 0.1, 1.0)


@dataclass(frozen=True)
class Config:
    """Settings.

    car_steps: environment steps of a training on MountainCar.
    corridor_steps: environment steps of a training in the corridor.
    episodes: episodes of an evaluation.
    pairs: number of pairs of rewards for each seed, each on an MDP of its own.
    states: number of states of these MDPs, which have two actions.
    """

    car_steps: int = 150_000
    corridor_steps: int = 24_000
    episodes: int = 16
    pairs: int = 20
    states: int = 5

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("car_steps", "corridor_steps", "episodes", "pairs"):
            check.integer(name, getattr(self, name), low=1)
        check.integer("states", self.states, low=2)


def proxied(width: int) -> str:
    """The name of the arm trained on the proxy with ``width`` units."""
    return f"proxy, {width} units"


def corridor(bonus: str, lit: bool) -> str:
    """The name of the arm with a bonus and the screen lit or dark."""
    return f"corridor: {bonus}, {'lit' if lit else 'dark'}"


def predictions(config: Config) -> Sequence[Prediction]:
    """The predictions of the claim."""
    capacity, time, rewards = "capacity", "training time", "finite MDPs"
    return [
        Trend(
            statement="The more units the agent has, the more of the proxy it gets.",
            over=tuple(Cell(proxied(w), "proxy_return") for w in WIDTHS),
            levels=tuple(math.log2(w) for w in WIDTHS),
            regime=capacity,
        ),
        Superiority(
            statement="With 64 units the true return is over ten steps below that with 8.",
            better=Cell(MIDDLING, "true_return"),
            worse=Cell(CAPABLE, "true_return"),
            margin=STEPS,
            regime=capacity,
        ),
        Superiority(
            statement="From an eighth of its training on, the capable agent gains over ten of the proxy.",
            better=Cell(CAPABLE, "proxy_return"),
            worse=Cell(CAPABLE, "proxy return, early"),
            margin=STEPS,
            regime=time,
        ),
        Superiority(
            statement="Over the same time it loses over ten steps of the true return.",
            better=Cell(CAPABLE, "true return, early"),
            worse=Cell(CAPABLE, "true_return"),
            margin=STEPS,
            regime=time,
        ),
        *(
            Superiority(
                statement=f"With {bonus} as the bonus the screen costs over half of the successes.",
                better=Cell(corridor(bonus, False), "true_return"),
                worse=Cell(corridor(bonus, True), "true_return"),
                margin=HALF,
                regime=f"television, {bonus}",
            )
            for bonus in TRAPPED
        ),
        Exact(
            statement="Two independent rewards are hackable over all policies.",
            cell=Cell("independent rewards", "hackable"),
            value=1.0,
            regime=rewards,
        ),
        Exact(
            statement="An error of one percent in the reward already makes it hackable.",
            cell=Cell("errors of 0.01", "hackable"),
            value=1.0,
            regime=rewards,
        ),
        Trend(
            statement="The larger the error, the more deterministic policies are ordered oppositely.",
            over=tuple(Cell(f"errors of {e:g}", "ordered oppositely") for e in ERRORS),
            levels=tuple(math.log10(e) for e in ERRORS),
            regime=rewards,
        ),
    ]


def controls(config: Config) -> Sequence[Control]:
    """Controls: the tasks can be solved, the proxy is no handicap, and the exact criterion is right."""
    blind = [
        Superiority(
            statement=f"With {bonus} as the bonus the screen costs less than a fifth of the successes.",
            better=Cell(corridor(bonus, True), "true_return"),
            worse=Cell(corridor(bonus, False), "true_return"),
            margin=-0.2,
        )
        for bonus in ("none", "counts of rooms")
    ]
    solved = Within(
        statement="Trained on the true reward the agent leaves within 150 steps.",
        cell=Cell(TRUE, "true_return"),
        low=-150.0,
        high=0.0,
    )
    paid = Superiority(
        statement="Trained on the proxy the agent gets more of it than trained on the true reward.",
        better=Cell(CAPABLE, "proxy_return"),
        worse=Cell(TRUE, "proxy_return"),
    )
    equivalent = Exact(
        statement="Equivalent rewards (scaled, and shaped by a potential) are not hackable.",
        cell=Cell("equivalent rewards", "hackable"),
        value=0.0,
    )
    witnesses = Exact(
        statement="Every witness gains by one reward and loses by the other.",
        cell=Cell("independent rewards", "witnesses that hold"),
        value=1.0,
    )
    alike = [
        equal_budgets("steps", [*map(proxied, WIDTHS), TRUE]),
        equal_budgets("steps", [corridor(bonus, lit) for bonus in BONUSES for lit in (False, True)]),
    ]
    return [*map(Control, (*blind, solved, paid, equivalent, witnesses)), *alike]


def run(config: Config, context: Context) -> None:
    """Run the three parts."""
    _car(config, context)
    _corridor(config, context)
    _finite(config, context)


def _car(config: Config, context: Context) -> None:
    import jax.numpy as jnp

    from lrn.config import config as pytree
    from lrn.rl.env import make, require_discrete
    from lrn.rl.hacking import misspecified, proxy_evaluator
    from lrn.rl.heads import actor_critic
    from lrn.rl.ppo import PPOConfig, ppo

    env = make("MountainCar-v0")
    actions = require_discrete(env, "this study")
    settings = PPOConfig(
        total_steps=config.car_steps, num_envs=16, learning_rate=3e-3, normalize_rewards=True
    )

    @pytree
    class Arm:
        """Units in use and weight of the speed, as floats, so that all arms are one compile."""

        units: float
        speed: float

    def proxy(observation: Any, action: Any, step: Any, weight: Any = 4.0) -> Any:
        return step.reward + weight * jnp.abs(step.final_observation[1]) / 0.07

    def agent(c: Arm) -> Any:
        net = actor_critic(_masked(actions, c.units), _masked(1, c.units))
        return ppo(misspecified(env, lambda o, a, s: proxy(o, a, s, c.speed)), net, settings)

    steps = max(EVALUATIONS, config.car_steps // settings.interactions)
    every = steps // EVALUATIONS
    fit = context.fit(
        agent,
        {**{proxied(w): Arm(float(w), 4.0) for w in WIDTHS}, TRUE: Arm(64.0, 0.0)},
        name="MountainCar",
        steps=every * EVALUATIONS,
        evaluate=proxy_evaluator(env, proxy, config.episodes),
        eval_every=every,
    )
    for metric in ("proxy", "true"):
        when, values = fit.table.curve(CAPABLE, f"{metric}_return")
        early = int((when == every).argmax())
        context.record(CAPABLE, f"{metric} return, early", values[:, early], step=every)


def _masked(outputs: int, units: Any) -> Any:
    """A network of two tanh layers of 64 units, the first ``units`` of them in use, for the car."""
    import jax
    import jax.numpy as jnp

    from lrn import nets

    def init(key: Any, x: Any) -> Any:
        widths, scales = (x.shape[1], 64, 64, outputs), (1.0, 0.125, 0.01)
        return [
            {"weights": s * jax.random.normal(k, (i, o)), "bias": jnp.zeros(o)}
            for k, i, o, s in zip(jax.random.split(key, 3), widths[:-1], widths[1:], scales)
        ]

    def apply(params: Any, x: Any) -> Any:
        used = (jnp.arange(64) < units).astype(jnp.float32)[None]
        x = (x - jnp.array([[-0.4, 0.0]])) * jnp.array([[2.0, 30.0]])
        for layer in params[:-1]:
            x = jnp.tanh(x @ layer["weights"] + layer["bias"][None]) * used
        return x @ params[-1]["weights"] + params[-1]["bias"][None]

    return nets.from_function(init, apply)


def _corridor(config: Config, context: Context) -> None:
    import jax.numpy as jnp

    from lrn import nets
    from lrn.config import config as pytree
    from lrn.rl.dqn import DQNConfig, dqn
    from lrn.rl.hacking import noisy_tv, proxy_evaluator
    from lrn.rl.hacking.noisy_tv import WATCH

    @pytree
    class Arm:
        """Weight of each bonus and brightness of the screen, as floats, so that all arms are one compile."""

        rooms: float = 0.0
        all: float = 0.0
        rnd: float = 0.0
        curiosity: float = 0.0
        brightness: float = 0.0

    settings = DQNConfig(
        total_steps=config.corridor_steps, num_envs=8, buffer_size=20_000, batch_size=64, learning_starts=512,
        learning_rate=1e-3, discount=0.95, double=True, exploration_fraction=0.1,
    )  # fmt: skip
    net = nets.mlp(3, (32,))

    def world(c: Arm) -> Any:
        return noisy_tv(ROOMS, PIXELS, LIMIT, brightness=c.brightness)

    def agent(c: Arm) -> Any:
        return dqn(world(c), net, settings, _bonus(c))

    arms, weight = {}, dict(zip(BONUSES[1:], ("rooms", "all", "rnd", "curiosity")))
    for bonus in BONUSES:
        for lit in (False, True):
            weights = {weight[bonus]: SCALE} if bonus in weight else {}
            arms[corridor(bonus, lit)] = Arm(**weights, brightness=float(lit))
    # Evaluated as a proxy, this counts the steps spent watching.
    watching = lambda observation, action, step: (action == WATCH).astype(jnp.float32)  # noqa: E731
    context.fit(
        agent,
        arms,
        name="corridor",
        steps=max(1, config.corridor_steps // settings.interactions),
        evaluate=proxy_evaluator(world, watching, config.episodes),
    )


def _bonus(c: Any) -> Any:
    """A bonus that is the sum of the four bonuses, each with its weight."""
    import jax
    import jax.numpy as jnp

    from lrn import nets
    from lrn.rl.exploration import Bonus
    from lrn.rl.exploration.coding import Coding
    from lrn.rl.exploration.counts import CountConfig, count_bonus
    from lrn.rl.exploration.rnd import RNDConfig, rnd
    from lrn.rl.hacking import CuriosityConfig, curiosity

    def room(observation: Any) -> Any:
        return jnp.argmax(observation[:, :ROOMS], -1)

    def everything(observation: Any) -> Any:
        lit = (observation[:, ROOMS:] > 0) * 2 ** jnp.arange(PIXELS)[None]
        return room(observation) * 2**PIXELS + lit.sum(-1)

    def coded(size: int, number: Any) -> Coding:
        encode = lambda params, x: number(x).astype(jnp.int32)[:, None]  # noqa: E731
        return Coding(size, 1, lambda key, x: (), encode)

    features = nets.mlp(16, (32,))
    parts = (
        count_bonus(coded(ROOMS, room), CountConfig(beta=c.rooms)),
        count_bonus(coded(ROOMS * 2**PIXELS, everything), CountConfig(beta=c.all)),
        rnd(features, features, RNDConfig(coefficient=c.rnd)),
        curiosity(
            nets.mlp(ROOMS + PIXELS, (32,)),
            3,
            CuriosityConfig(coefficient=c.curiosity, learning_rate=3e-3),
        ),
    )

    def init(key: Any, observation: Any) -> Any:
        keys = jax.random.split(key, len(parts))
        return tuple(p.init(k, observation) for p, k in zip(parts, keys))

    def update(key: Any, state: Any, seen: Any) -> Any:
        keys = jax.random.split(key, len(parts))
        return tuple(p.update(k, s, seen) for p, k, s in zip(parts, keys, state))

    def bonus(state: Any, *transition: Any) -> Any:
        return sum(p.bonus(s, *transition) for p, s in zip(parts, state))

    return Bonus(init, bonus, update)


def _finite(config: Config, context: Context) -> None:
    """Record fractions over the pairs of a seed, computed in float64 on the host."""
    import jax
    import numpy as np

    from lrn.rl import mdp
    from lrn.rl.hacking import compare, deterministic_policies, hackable, returns_of

    gamma = 0.9

    def one(seed: int, pair: int) -> dict[str, float]:
        key = jax.random.fold_in(jax.random.key(seed), pair)
        world = mdp.garnet(key, config.states, 2, 2, gamma)
        random = np.random.default_rng([seed, pair])
        true, other, noise = random.normal(size=(3, config.states, 2))
        phi, p = random.normal(size=config.states), np.asarray(world.transitions, np.float64)
        same = random.uniform(0.5, 2.0) * true + gamma * (p @ phi) - phi[:, None]
        independent = hackable(world, true, other)
        policies = deterministic_policies(world)
        found = {
            "independent rewards/hackable": independent.hackable,
            "independent rewards/witnesses that hold": _holds(world, true, other, independent.witness),
            "independent rewards/ordered oppositely": compare(
                *returns_of(world, [true, other], policies)
            ).discordant,
            "equivalent rewards/hackable": hackable(world, true, same).hackable,
        }
        for error in ERRORS:
            proxy = true + error * noise
            found[f"errors of {error:g}/hackable"] = hackable(world, true, proxy).hackable
            returns = returns_of(world, [true, proxy], policies)
            found[f"errors of {error:g}/ordered oppositely"] = compare(*returns).discordant
        return {name: float(value) for name, value in found.items()}

    def compute() -> dict[str, Any]:
        each = [[one(seed, pair) for pair in range(config.pairs)] for seed in context.seeds]
        return {name: np.array([np.mean([x[name] for x in row]) for row in each]) for name in each[0][0]}

    for name, values in context.once("finite MDPs", compute).items():
        arm, metric = name.split("/")
        context.record(arm, metric, values)


def _holds(world: Any, first: Any, second: Any, witness: Any) -> bool:
    """Whether the second policy of a witness is better by the first reward and worse by the second."""
    import numpy as np

    if witness is None:
        return False
    p, start = np.asarray(world.transitions, np.float64), np.asarray(world.initial, np.float64)

    def value(policy: Any, reward: Any) -> float:
        chain, paid = np.einsum("sa,sat->st", policy, p), (policy * reward).sum(-1)
        return float(start @ np.linalg.solve(np.eye(len(start)) - float(world.discount) * chain, paid))

    before, after = witness
    return value(after, first) > value(before, first) and value(after, second) < value(before, second)


def figure(table: Table, config: Config) -> Figure:
    """Proxy and true return along training and by capacity; the television; errors in finite MDPs."""
    import numpy as np

    from lrn import figures

    fig, axes = figures.subplots(2, 2, height=6.4)
    along = {name: table.curve(CAPABLE, f"{name}_return") for name in ("proxy", "true")}
    figures.curves(
        axes[0, 0],
        along["true"][0],
        {f"{name} return": values for name, (_, values) in along.items()},
        title="64 units, along training",
        xlabel="iteration",
        ylabel="return",
    )
    figures.curves(
        axes[0, 1],
        np.log2(WIDTHS),
        {
            f"{name} return": np.stack([table.final(proxied(w), f"{name}_return") for w in WIDTHS], 1)
            for name in ("proxy", "true")
        },
        title="after training, by capacity",
        xlabel="log2 of the units in a layer",
        ylabel="return",
    )
    success = [[table.final(corridor(b, lit), "true_return") for lit in (False, True)] for b in BONUSES]
    figures.matrix(
        axes[1, 0],
        np.array(success),
        BONUSES,
        ("dark", "lit"),
        title="Corridor: reaches the exit",
        xlabel="screen",
    )
    figures.curves(
        axes[1, 1],
        np.log10(ERRORS),
        {
            metric: np.stack([table.final(f"errors of {e:g}", metric) for e in ERRORS], 1)
            for metric in ("hackable", "ordered oppositely")
        },
        title="Rewards with errors",
        xlabel="log10 of the error's size",
        ylabel="fraction",
    )
    return fig


STUDY = Study(
    title="Do agents exploit the flaws of a reward, the more the better they are?",
    claim="Agents exploit flaws of the reward, and bonuses are sought instead of the task.",
    claim_id="F4",
    section="Failure modes",
    regime=(
        "MountainCar-v0 with pay for speed, PPO of 2, 8 and 64 units a layer, 150,000 steps; a corridor of 8 "
        "rooms with a random screen, DQN with bonuses, 24,000 steps; random MDPs of five states."
    ),
    presets={
        "smoke": Config(car_steps=16_384, corridor_steps=800, episodes=2, pairs=2, states=3),
        "quick": Config(),
        "full": Config(car_steps=1_000_000, corridor_steps=100_000, episodes=128, pairs=200, states=8),
    },
    regimes=by_regime(predictions),
    exploratory=OLD_FORM,
    controls=controls,
    run=run,
    figure=figure,
)

if __name__ == "__main__":
    from lrn.cli import main_study

    main_study(__file__)
