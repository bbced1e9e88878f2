"""Does the shape of the reward matter more than the algorithm? (O5)

Claim. Reward shaping matters more than the algorithm: with a good shaping any algorithm solves the task, and
with a bad one any optimizer degenerates.

Design. Three algorithms of different kinds (PPO; DQN, which replays; PQN, on-policy Q-learning) are trained
with four rewards, on a task where the plain reward gives no guidance (MountainCar) and one where it
suffices (CartPole). The rewards are:

- "plain": the environment's own reward.
- "good potential": potential-based shaping (Ng et al. 1999) with a guess of the optimal value.
- "bad potential": the same with the negated guess, which keeps the best policy the best but misleads the
  search.
- "bonus": a bonus for speed on top of the plain reward. The bonus is no difference of potentials and makes
  another policy the best.

All arms are judged by the environment's own reward: the return of the greedy policy, as a score from 0 to 1
(MountainCar: from -200, which is failure, to -100; CartPole: from 0 to 500). All cells use the same seeds.

What "matters more" means. For each seed the 4 x 3 table of scores is decomposed into the variance
components of a two-way layout without repetition: (MS_reward - MS_residual) / 3 for the reward and
(MS_algorithm - MS_residual) / 4 for the algorithm. MS_residual removes noise and interaction from both
without bias. The reward matters more if its component is larger by 0.01, which is the variance of a
standard deviation of ten points.

What "degenerates" means. With the bad reward the algorithm stays ten points short of the score that the same
algorithm reaches with the good potential, in each of the twelve cells. The variance explained by the reward
depends on the choice of rewards. The two bad rewards are the two ways in which shaping is known to go
wrong, and not the worst rewards that were found.

Set beforehand. Ten points is a difference that one would notice. Not blind: a pilot on seeds 1000 to 1002
chose for each algorithm one learning rate of 0.0005, 0.001 and 0.003, by the mean score with the plain and
the good reward over both tasks, and set the budgets. The pilot also saw the bad rewards.

Controls. On random MDPs with terminations and time limits, tabular Q-learning and SARSA with shaping make
exactly the updates of learners whose Q-values start at the potential (Wiewiora 2003). A potential that is
left in at the end of episodes, the usual mistake, makes other updates. With the good potential the best
algorithm solves each task, so that there is something to lose.

    python -m experiments.rl.reward_shaping --preset quick

Time on two cores: 63 to 83 s for quick, more than a third of it for the compilation of six programs (three
algorithms by two tasks; the four rewards are floats of one program). The comparison needs a third algorithm
and a second task, so it is not cut further. `full` trains four times as long.

What to expect: half of the predictions hold. The other half stay undecided at ten seeds, or one of them fails
(mixed), which depends on rounding. The bad potential ruins every algorithm on MountainCar, but PPO
withstands it on CartPole. The bonus for speed, though wrong, gets DQN up the hill within this budget.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from lrn import check
from lrn.study import (
    OLD_FORM,
    Cell,
    Control,
    Exact,
    Prediction,
    Study,
    Superiority,
    Within,
    by_regime,
    exact_budget,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lrn.study.context import Context
    from lrn.table import Table

REWARDS = ("plain", "good potential", "bad potential", "bonus")
ALGORITHMS = ("PPO", "DQN", "PQN")
RATES = {"PPO": 3e-3, "DQN": 5e-4, "PQN": 3e-3}
DISCOUNT = 0.99
POINTS = 0.1  # ten points of a score
ROLLOUT = 2048  # environment steps of the longest rollout
SOLVED = 0.6


class Task(NamedTuple):
    """A task.

    environment: name of the gymnax environment.
    steps: environment steps of a training.
    worst: return that is score 0.
    best: return that is score 1.
    """

    environment: str
    steps: int
    worst: float
    best: float


TASKS = {
    "MountainCar": Task("MountainCar-v0", 80_000, -200.0, -100.0),
    "CartPole": Task("CartPole-v1", 50_000, 0.0, 500.0),
}


@dataclass(frozen=True)
class Config:
    """Settings.

    tasks: names of tasks, any of MountainCar and CartPole.
    algorithms: names of algorithms, two or more of PPO, DQN and PQN.
    length: factor of the environment steps of each task.
    episodes: episodes of an evaluation.
    tabular_steps: environment steps of the control with initialized Q-values.
    """

    tasks: tuple[str, ...] = ("MountainCar", "CartPole")
    algorithms: tuple[str, ...] = ALGORITHMS
    length: float = 1.0
    episodes: int = 32
    tabular_steps: int = 3000

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not self.tasks or len(set(self.tasks)) != len(self.tasks):
            raise check.InputError("tasks must name one or more different tasks; repeat none.")
        for name in self.tasks:
            check.choice("task", name, TASKS)
        if len(set(self.algorithms)) != len(self.algorithms) or len(self.algorithms) < 2:
            raise check.InputError("algorithms must name two or three different ones; repeat none.")
        for name in self.algorithms:
            check.choice("algorithm", name, ALGORITHMS)
        check.positive("length", self.length)
        for name in ("episodes", "tabular_steps"):
            check.integer(name, getattr(self, name), low=1)


def arm(task: str, algorithm: str, reward: str) -> str:
    """The name of an arm."""
    return f"{task}: {algorithm}, {reward}"


def predictions(config: Config) -> Sequence[Prediction]:
    """The predictions of the claim, for each task."""
    return [p for task in config.tasks for p in (_matters(task), *_degenerates(task, config))]


def _matters(task: str) -> Prediction:
    return Superiority(
        statement=f"{task}: the reward explains more of the variance of scores than the algorithm, "
        "by that of a standard deviation of ten points.",
        better=Cell(task, "variance by reward"),
        worse=Cell(task, "variance by algorithm"),
        margin=POINTS**2,
        regime=f"{task}, reward against algorithm",
    )


def _degenerates(task: str, config: Config) -> list[Prediction]:
    return [
        Superiority(
            statement=f"{task}: with the {bad}, {algorithm} stays over ten points short of itself with the "
            "good potential.",
            better=Cell(arm(task, algorithm, "good potential"), "score"),
            worse=Cell(arm(task, algorithm, bad), "score"),
            margin=POINTS,
            regime=f"{task}, {bad}, {algorithm}",
        )
        for bad in ("bad potential", "bonus")
        for algorithm in config.algorithms
    ]


def controls(config: Config) -> Sequence[Control]:
    """Controls: shaping agrees with theory, and the tasks can be solved."""
    exact = [
        Exact(
            statement=f"{method} with shaping equals {method} started at the potential, step by step.",
            cell=Cell(f"tabular: {method}", "deviation"),
            value=0.0,
            atol=1e-3,
        )
        for method in ("Q-learning", "SARSA")
    ]
    slip = Within(
        statement="Shaping with the potential left in at the end of episodes differs from it.",
        cell=Cell("tabular: Q-learning", "deviation, ends kept"),
        low=0.05,
        high=1e6,
    )
    solved = [
        Within(
            statement=f"{task}: with the good potential the best algorithm reaches a score of {SOLVED:.1f}.",
            cell=Cell(task, "best with the good potential"),
            low=SOLVED,
            high=1.01,
        )
        for task in config.tasks
    ]
    budgets = [
        exact_budget(
            "environment steps", arm(task, a, reward), int(TASKS[task].steps * config.length), ROLLOUT
        )
        for task in config.tasks
        for a in config.algorithms
        for reward in REWARDS
    ]
    return [*map(Control, (*exact, slip, *solved)), *budgets]


def run(config: Config, context: Context) -> None:
    """Train every algorithm with every reward, then the tabular control."""
    import numpy as np

    from lrn.config import config as pytree
    from lrn.rl.evaluate import evaluator

    @pytree
    class Arm:
        """Weights of the two potentials and of the bonus, as floats, so that all rewards are one compile."""

        good: float = 0.0
        bad: float = 0.0
        bonus: float = 0.0

    arms = dict(zip(REWARDS, (Arm(), Arm(good=1.0), Arm(bad=1.0), Arm(bonus=1.0))))
    for task in config.tasks:
        setting = TASKS[task]
        env, rewarded, scale = _world(task)
        steps = int(setting.steps * config.length)
        scores = np.empty((len(REWARDS), len(config.algorithms), len(context.seeds)))
        for j, algorithm in enumerate(config.algorithms):
            factory, interactions = _agent(algorithm, env, scale, steps)
            made = lambda c, f=factory, r=rewarded: f(r(c))  # noqa: E731
            fit = context.fit(
                made,
                {arm(task, algorithm, reward): arms[reward] for reward in REWARDS},
                name=f"{task}: {algorithm}",
                steps=max(1, steps // interactions),
                evaluate=evaluator(env, config.episodes),
            )
            for i, reward in enumerate(REWARDS):
                name = arm(task, algorithm, reward)
                returns = fit.table.final(name, "greedy_return")
                score = np.clip((returns - setting.worst) / (setting.best - setting.worst), 0.0, 1.0)
                # A seed whose network became non-finite has failed at the task.
                failed = np.isin(context.seeds, [f.seed for f in fit.failures if f.arm == name])
                scores[i, j] = np.where(failed, 0.0, score)
                context.record(name, "score", scores[i, j], step=steps)
                taken = fit.table.curve(name, "greedy_return")[0][-1] * interactions
                context.given(name, {"environment steps": taken})
        by_reward, by_algorithm, residual = components(scores)
        context.record(task, "variance by reward", by_reward, step=steps)
        context.record(task, "variance by algorithm", by_algorithm, step=steps)
        context.record(task, "residual variance", residual, step=steps)
        best = scores[REWARDS.index("good potential")].max(0)
        context.record(task, "best with the good potential", best, step=steps)
    _tabular(config, context)


def components(scores: Any) -> tuple[Any, Any, Any]:
    """Variance components of a two-way layout [rewards, algorithms, seeds].

    The estimates are unbiased, so they may be negative (Searle, Casella and McCulloch 1992, section 4.3).

    Returns:
        The components of rows, columns and residual, [seeds] each.
    """
    rows, columns = scores.shape[:2]
    grand = scores.mean((0, 1))
    row, column = scores.mean(1) - grand, scores.mean(0) - grand
    rest = scores - grand - row[:, None] - column[None]
    ms_rest = (rest**2).sum((0, 1)) / ((rows - 1) * (columns - 1))
    ms_row = columns * (row**2).sum(0) / (rows - 1)
    ms_column = rows * (column**2).sum(0) / (columns - 1)
    return (ms_row - ms_rest) / columns, (ms_column - ms_rest) / rows, ms_rest


def _world(task: str) -> tuple[Any, Any, Any]:
    """The environment, ``rewarded(config) -> Env``, and shift and scale of observations to order one."""
    import jax.numpy as jnp

    from lrn.rl.env import make
    from lrn.rl.shaping import shaped, with_bonus

    env = make(TASKS[task].environment)
    if task == "MountainCar":
        # The car's energy is 0 at rest in the valley and 1 at the height of the goal. The guessed values lie
        # between that of a hundred discounted steps to the goal, and 0.
        far = (1 - DISCOUNT**100) / (1 - DISCOUNT)

        def energy(o: Any) -> Any:
            return jnp.clip(0.5 + 0.5 * jnp.sin(3 * o[0]) + 0.5 * (o[1] / 0.05) ** 2, 0.0, 1.0)

        good = lambda o: -far * (1 - energy(o))  # noqa: E731
        bad = lambda o: -far * energy(o)  # noqa: E731
        bonus = lambda o: 4.0 * jnp.abs(o[1]) / 0.07  # noqa: E731  # up to 4, against a cost of 1 a step
        order = jnp.array([[-0.4, 0.0]]), jnp.array([[2.0, 30.0]])
    else:
        # The distance to the nearer of the two limits, of the angle and of the track, 1 in the middle.
        def safe(o: Any) -> Any:
            return jnp.clip(1 - jnp.maximum(jnp.abs(o[2]) / 0.2095, jnp.abs(o[0]) / 2.4), 0.0, 1.0)

        good = lambda o: safe(o) / (1 - DISCOUNT)  # noqa: E731
        bad = lambda o: (1 - safe(o)) / (1 - DISCOUNT)  # noqa: E731
        bonus = lambda o: 2.0 * jnp.abs(o[1])  # noqa: E731  # of the cart's speed, in its units
        order = jnp.zeros((1, 4)), jnp.array([[1.0, 1.0, 4.0, 1.0]])

    def rewarded(c: Any) -> Any:
        return with_bonus(
            shaped(env, lambda o: c.good * good(o) + c.bad * bad(o), DISCOUNT),
            lambda before, action, after: c.bonus * bonus(after),
        )

    return env, rewarded, order


def _agent(algorithm: str, env: Any, order: Any, steps: int) -> tuple[Any, int]:
    """``factory(env) -> Agent`` with the chosen settings, and the environment steps per learner step."""
    from lrn import nets
    from lrn.rl.dqn import DQNConfig, dqn
    from lrn.rl.heads import actor_critic
    from lrn.rl.ppo import PPOConfig, ppo
    from lrn.rl.pqn import PQNConfig, pqn

    actions, rate = env.actions.n, RATES[algorithm]
    if algorithm == "PPO":
        settings = PPOConfig(
            total_steps=steps, num_envs=16, learning_rate=rate, discount=DISCOUNT, normalize_rewards=True
        )
        net = _scaled(actor_critic(_tanh(actions, 0.01), _tanh(1, 1.0)), order)
        return (lambda e: ppo(e, net, settings)), settings.interactions
    if algorithm == "DQN":
        settings = DQNConfig(
            total_steps=steps, num_envs=16, buffer_size=16_000, learning_starts=1600, learning_rate=rate,
            discount=DISCOUNT, target_period=100, double=True, exploration_fraction=0.3,
        )  # fmt: skip
        net = _scaled(nets.mlp(actions, (64, 64)), order)
        return (lambda e: dqn(e, net, settings)), settings.interactions
    settings = PQNConfig(
        total_steps=steps, num_envs=16, rollout_length=64, minibatches=8, learning_rate=rate,
        discount=DISCOUNT, lambda_=0.9, exploration_fraction=0.3,
    )  # fmt: skip
    net = _scaled(nets.mlp(actions, (64, 64), layer_norm=True), order)
    return (lambda e: pqn(e, net, settings)), settings.interactions


def _scaled(net: Any, order: Any) -> Any:
    """The network with its observations shifted and scaled to order one."""
    shift, scale = order
    return net._replace(
        init=lambda key, x: net.init(key, (x - shift) * scale),
        apply=lambda params, state, x, **options: net.apply(params, state, (x - shift) * scale, **options),
    )


def _tanh(outputs: int, gain: float) -> Any:
    """PPO's network: two tanh layers of 64, and a linear layer with initial weights scaled by ``gain``."""
    import jax
    import jax.numpy as jnp

    from lrn import nets

    def init(key: Any, x: Any) -> Any:
        widths = (x.shape[1], 64, 64, outputs)
        gains = (2.0**0.5, 2.0**0.5, gain)
        return [
            {"weights": g * jax.random.normal(k, (i, o)) / i**0.5, "bias": jnp.zeros(o)}
            for k, i, o, g in zip(jax.random.split(key, 3), widths[:-1], widths[1:], gains)
        ]

    def apply(params: Any, x: Any) -> Any:
        for layer in params[:-1]:
            x = jnp.tanh(x @ layer["weights"] + layer["bias"][None])
        return x @ params[-1]["weights"] + params[-1]["bias"][None]

    return nets.from_function(init, apply)


def _tabular(config: Config, context: Context) -> None:
    """Record the largest difference between shaping and starting at the potential, over all updates."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from lrn.rl import mdp, tabular
    from lrn.rl.shaping import shaped, with_reward

    states, actions = 8, 3
    each = 10  # updates between two comparisons
    settings = tabular.ControlConfig(
        discount=DISCOUNT, step_size=tabular.Schedule(0.1), epsilon=tabular.Schedule(0.2), interactions=each
    )

    def learned(method: Any, env: Any, initial: Any, key: Any) -> Any:
        agent = method(env, settings, initial)

        def body(state: Any, t: Any) -> Any:
            state, _ = agent.step(jax.random.fold_in(key, t), state, None)
            return state, state.q

        looks = -(-config.tabular_steps // each)
        first = agent.init(jax.random.fold_in(key, looks), None)
        return jax.lax.scan(body, first, jnp.arange(looks))[1]

    def compare(seed: Any, _: Any) -> dict[str, Any]:
        world_key, phi_key, key = jax.random.split(jax.random.key(seed), 3)
        random = mdp.garnet(world_key, states, actions, 3, DISCOUNT)
        end = jnp.arange(states) == states - 1
        start = jax.nn.one_hot(0, states)
        world = mdp.make(random.transitions, random.rewards, start, DISCOUNT, end)
        table = jnp.where(end, 0.0, jax.random.normal(phi_key, (states,)))
        env = mdp.as_env(world, time_limit=20)

        def slipped(observation: Any, action: Any, step: Any) -> Any:
            later = step.final_observation @ table + 1.0 * step.terminated  # terminal states keep potential 1
            return step.reward + DISCOUNT * later - observation @ table

        zeros, phi = jnp.zeros((states, actions)), jnp.broadcast_to(table[:, None], (states, actions))
        deviation = {}
        for name, method in (("Q-learning", tabular.q_learning), ("SARSA", tabular.sarsa)):
            with_shaping = learned(method, shaped(env, lambda o: o @ table, DISCOUNT), zeros, key)
            deviation[name] = jnp.abs(with_shaping + phi[None] - learned(method, env, phi, key)).max()
        wrong = learned(tabular.q_learning, with_reward(env, slipped, "slip"), zeros, key)
        right = learned(tabular.q_learning, env, phi, key)
        return {**deviation, "slip": jnp.abs(wrong + phi[None] - right).max()}

    seeds = np.asarray(context.seeds, np.uint32)
    found = context.once("shaping and Q-initialization", lambda: context.over_seeds(compare)(seeds, ()))
    for name in ("Q-learning", "SARSA"):
        context.record(f"tabular: {name}", "deviation", found[name], step=config.tabular_steps)
    context.record("tabular: Q-learning", "deviation, ends kept", found["slip"], step=config.tabular_steps)


def figure(table: Table, config: Config) -> Figure:
    """For each task: the scores, rewards by algorithms, and the variance that each of the two explains."""
    import numpy as np

    from lrn import figures, stats

    fig, axes = figures.subplots(len(config.tasks), 2, height=3.2 * len(config.tasks), squeeze=False)
    for (left, right), task in zip(axes, config.tasks):
        scores = np.array(
            [[table.final(arm(task, a, r), "score") for a in config.algorithms] for r in REWARDS]
        )
        figures.matrix(left, scores, REWARDS, config.algorithms, title=f"{task}: score by its own reward")
        parts = {who: table.final(task, f"variance by {who}") for who in ("reward", "algorithm")}
        found = [stats.t_interval(x) for x in parts.values()]
        figures.intervals(
            right,
            list(parts),
            [(i.estimate, i.low, i.high) for i in found],
            points=list(parts.values()),
            title="variance explained by",
            xlabel="variance of scores",
        )
    return fig


STUDY = Study(
    title="Does the shape of the reward matter more than the algorithm?",
    claim="Reward shaping matters more than the algorithm, and a bad one degenerates under any optimizer.",
    claim_id="O5",
    section="Observations",
    regime=(
        "MountainCar-v0 (80,000 steps) and CartPole-v1 (50,000 steps); PPO, DQN and PQN with networks of two "
        "layers of 64; plain reward, a good and a bad potential, a bonus for speed."
    ),
    presets={
        "smoke": Config(
            tasks=("CartPole",), algorithms=("DQN", "PQN"), length=0.1, episodes=2, tabular_steps=200
        ),
        "quick": Config(),
        "full": Config(length=4.0, episodes=128, tabular_steps=20_000),
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
