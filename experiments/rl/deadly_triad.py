"""Is it the three together? Bootstrapping, function approximation, off-policy data. (I6)

Claim. Tabular learning converges; bootstrapping with function approximation on off-policy data is unstable:
it diverges or overfits.

Design. The study runs every combination of the three factors, with all else equal. All cells learn values
of one fixed policy, so that "off-policy" means one thing only: the distribution of the states and actions
that are updated.

- bootstrap: the target is either the reward plus the estimate of the next value, or the whole Monte-Carlo
  return of the policy. The simulator plays on from each state and action, so the return needs no importance
  weights.
- approximation: a table (on the continuous task a grid with one entry for each cell), a linear function of 64
  random Fourier features (plain gradient steps), or a network (Adam). There is no target network and no
  replay of the agent's own data, since these are known to help.
- off-policy: data from random actions that start all over the state space, or from the policy itself.

Baird's star, in expectation: eight cells, each a linear iteration whose spectral radius tells whether it
diverges, and sampled TD and TDC from the usual weights. gymnax's FourRooms (finite) and MountainCar
(continuous states): 2 x 3 x 2 cells. Two more arms maximize over actions, as Q-learning does, on off-policy
data, one without a target network and one with it.

What counts as unstable. First, soft divergence (van Hasselt et al. 2018): at any time of training some |Q| of
the data exceeds r_max/(1 - discount), which no policy can earn, by over a quarter. The quarter is needed
since a network that only regresses on returns overshoots the bound too. Second, getting worse: the final
error is more than .1 above the lowest error along the training. The error is the root mean squared error on
the policy's own states, divided by the root mean square of the values there. So overfitting counts if it
costs a tenth of the values. Slow learning is not unstable: its values stay within the bound, and its error,
however large, never rises. (The error itself would not do as a criterion, since it also depends on what an
approximator, such as a coarse grid, can represent.)

Set beforehand. In the cell with all three factors at least half of the seeds should be unstable ("is
unstable" is no claim about rare accidents), and without one of the factors under a tenth of the runs. Not
blind: pilots on seeds 1000 to 1003 chose budgets, replaced the final error by its rise, restricted the
bound to actions in the data (values of other actions are extrapolations of a network, with returns as
targets too), set the quarter (Monte-Carlo cells reached 1.09 bounds), and made the bootstrapped action a
sampled one, so that on-policy data are really on-policy. Learning rates were set once for all cells of an
approximator, and not tuned.

Controls. Baird's iteration grows at the rate of its spectral radius; an arm with a thousandth of the learning
rate has learned next to nothing at the end and does not count as unstable; Monte Carlo on the policy's own
data learns.

    python -m experiments.rl.deadly_triad --preset quick

Time on two cores: 54 s for quick. What to expect from quick: mixed. Baird's star behaves as in the books,
and no Monte-Carlo learner is ever unstable. But linear features are stable with all three factors, and on
MountainCar a bootstrapping network exceeds the bound on its own policy's data too. So off-policy data are
neither sufficient nor necessary. On FourRooms, Q-learning diverges without limit in every seed without a
target network, and in none with a target network.
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
    Within,
    by_regime,
    equal_budgets,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lrn.study.context import Context
    from lrn.table import Table

TASKS = ("FourRooms", "MountainCar")
KINDS = ("table", "linear", "net")
RATES = {"table": 0.5, "linear": 0.5, "net": 1e-3}
DISCOUNT = 0.99
BOUND = 1 / (1 - DISCOUNT)  # all rewards lie in [-1, 1]
CAP, RISE, EXCESS = 10.0, 0.1, 1.25
BAIRD_RATE, BAIRD_CORRECTION = 0.01, 0.05
TRIAD = (True, True)
WITHOUT = {  # the cells (kind, bootstrap, off-policy) that lack a factor; they may lack others too
    "without approximation": [("table", b, o) for b in (True, False) for o in (True, False)],
    "without bootstrap": [(k, False, o) for k in KINDS[1:] for o in (True, False)],
    "without off-policy data": [(k, True, False) for k in KINDS[1:]],
}
JUDGED = ("x", "action", "return")


@dataclass(frozen=True)
class Config:
    """Settings.

    tasks: names of tasks, any of FourRooms and MountainCar.
    updates: gradient steps of a training.
    batch: transitions in a gradient step.
    transitions: transitions in each data set.
    rollouts: the largest number of steps of a Monte-Carlo return.
    hidden: widths of the network's hidden layers.
    features: number of Fourier features.
    grid: number of cells of the table along each dimension.
    baird_steps: environment steps of the sampled runs on Baird's star.
    """

    tasks: tuple[str, ...] = TASKS
    updates: int = 8000
    batch: int = 32
    transitions: int = 4096
    rollouts: int = 300
    hidden: tuple[int, ...] = (32, 32)
    features: int = 64
    grid: int = 24
    baird_steps: int = 3000

    def __post_init__(self) -> None:
        """Check the ranges."""
        for task in self.tasks:
            check.choice("task", task, TASKS)
        for name in ("updates", "batch", "rollouts", "features", "grid"):
            check.integer(name, getattr(self, name), low=1)
        check.integer("baird_steps", self.baird_steps, low=30)
        check.integer("transitions", self.transitions, low=256)
        if self.transitions % 256 or self.updates % 20:
            raise check.InputError(
                f"transitions must be a multiple of 256 and updates of 20, got {self.transitions} and "
                f"{self.updates}; round them."
            )


def arm(task: str, kind: str, bootstrap: bool, off_policy: bool) -> str:
    """The name of a cell of the grid."""
    target = "bootstrap" if bootstrap else "Monte Carlo"
    return f"{task}: {kind}, {target}, {'off' if off_policy else 'on'}-policy"


def greedy_arm(task: str, target_network: bool) -> str:
    """The name of an arm that maximizes over actions."""
    return f"{task}: net, Q-learning, off-policy{', target network' if target_network else ''}"


def slow_arm(task: str) -> str:
    """The name of the arm that hardly learns."""
    return f"{task}: net, Monte Carlo, on-policy, a thousandth of the rate"


def predictions(config: Config) -> Sequence[Prediction]:
    """The predictions of the claim, on Baird's star and on each task."""
    found: list[Prediction] = [
        Within(
            statement="Baird's star, in expectation: with all three factors the iteration diverges.",
            cell=Cell("Baird: features, bootstrap, off-policy", "log radius"),
            low=1e-4,
            high=1.0,
            regime="Baird",
        ),
        Exact(
            statement="Baird's star, in expectation: none of the other seven cells diverges.",
            cell=Cell("Baird: a factor less", "log radius above 0"),
            value=0.0,
            atol=1e-9,
            regime="Baird",
        ),
        Within(
            statement="Baird's star, sampled: the weights of TD grow over tenfold.",
            cell=Cell("Baird: sampled TD", "log10 growth"),
            low=1.0,
            high=30.0,
            regime="Baird",
        ),
        Within(
            statement="Baird's star, sampled: those of TDC do not, by over a half.",
            cell=Cell("Baird: sampled TDC", "log10 growth"),
            low=-5.0,
            high=0.176,
            regime="Baird",
        ),
        Exact(
            statement="Baird's star, in expectation: TDC and emphatic TD do not diverge.",
            cell=Cell("Baird: TDC and emphatic TD", "log radius above 0"),
            value=0.0,
            atol=1e-9,
            regime="Baird",
        ),
    ]
    for task in config.tasks:
        found += [_unstable(arm(task, kind, *TRIAD), f"{task}, {kind}") for kind in KINDS[1:]]
        found.append(_unstable(greedy_arm(task, False), f"{task}, Q-learning"))
        found += [
            Within(
                statement=f"{task}, {without}: under a tenth of the runs are unstable.",
                cell=Cell(f"{task}: {without}", "unstable"),
                low=-0.01,
                high=0.1,
                regime=f"{task}, {without}",
            )
            for without in WITHOUT
        ]
    return found


def _unstable(name: str, regime: str) -> Prediction:
    return Within(
        statement=f"{name}: at least half of the seeds are unstable.",
        cell=Cell(name, "unstable"),
        low=0.5,
        high=1.01,
        regime=regime,
    )


def controls(config: Config) -> Sequence[Control]:
    """Controls that fail if the experiment, or its measure of divergence, is broken."""
    found = [
        Control(
            Exact(
                statement="Baird's star: the expected iteration grows as its spectral radius says.",
                cell=Cell("Baird: features, bootstrap, off-policy", "growth over radius"),
                value=1.0,
                atol=1e-6,
            )
        )
    ]
    for task in config.tasks:
        slow = slow_arm(task)
        learns = Within(
            statement=f"{task}: Monte Carlo with a network on the policy's own data has an error below .5.",
            cell=Cell(arm(task, "net", False, False), "error"),
            low=-0.01,
            high=0.5,
        )
        unlearned = Within(
            statement=f"{task}: at a thousandth of the rate the error stays above .7.",
            cell=Cell(slow, "error"),
            low=0.7,
            high=CAP,
        )
        innocent = Exact(
            statement=f"{task}: and that is not called unstable.",
            cell=Cell(slow, "unstable"),
            value=0.0,
        )
        found += map(Control, (learns, unlearned, innocent))
        found += [equal_budgets(what, cells(task)) for what in ("steps", "samples")]
    return found


def cells(task: str) -> list[str]:
    """The names of all trainings of a task."""
    both = (True, False)
    grid = [arm(task, kind, bootstrap, off) for kind in KINDS for bootstrap in both for off in both]
    return [*grid, greedy_arm(task, False), greedy_arm(task, True), slow_arm(task)]


def run(config: Config, context: Context) -> None:
    """Run Baird's star, then the grid of cells on each task."""
    _baird_expected(context)
    _baird_sampled(config, context)
    for task in config.tasks:
        _grid(task, config, context)


def _baird_arm(kind: str, bootstrap: bool, off_policy: bool) -> str:
    return arm("Baird", kind, bootstrap, off_policy)


def _baird_expected(context: Context) -> None:
    """Record the growth of the eight cells as linear iterations, in double precision."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from lrn.rl import linear, mdp
    from lrn.rl.linear import baird

    def log_radius(matrix: Any) -> float:
        return float(np.log(np.abs(np.linalg.eigvals(np.asarray(matrix))).max()))

    radii = {}
    with jax.enable_x64(True):
        star, x = mdp.baird(DISCOUNT), jnp.asarray(baird.features(), float)
        target, everywhere = jnp.asarray(baird.target(), float), jnp.full(7, 1 / 7)
        values = mdp.policy_values(star, target)
        for kind, features in (("features", x), ("table", jnp.eye(7))):
            for off, weighting in ((True, everywhere), (False, mdp.stationary(star, target))):
                m = linear.moments(star, features, target, weighting)
                whole = linear.Moments(m.c, features.T @ (weighting * values), m.c)  # regression on returns
                for bootstrap, moments in ((True, m), (False, whole)):
                    step = jnp.eye(features.shape[1]) - BAIRD_RATE * moments.a
                    radii[kind, bootstrap, off] = log_radius(step)
        m = linear.moments(star, x, target, everywhere)
        # Run the iteration, to compare its growth with the spectral radius of its matrix.
        iterate = jax.jit(
            lambda w, k: jax.lax.fori_loop(0, k, lambda _, v: linear.expected_td(m, v, BAIRD_RATE), w)
        )
        start = jnp.asarray(baird.initial_weights(), float)
        early, late = (float(jnp.abs(iterate(start, k)).max()) for k in (20_000, 21_000))
        emphatic = linear.moments(star, x, target, linear.emphasis(star, target, everywhere))
        tdc = jax.vmap(lambda z: linear.expected_tdc(m, z[:8], z[8:], BAIRD_RATE / 2, BAIRD_CORRECTION))(
            jnp.eye(16)
        )
        cured = (log_radius(jnp.concatenate(tdc, 1)), log_radius(jnp.eye(8) - BAIRD_RATE * emphatic.a))
    # All seeds get the same numbers, since nothing here is random.
    every_seed = np.ones(len(context.seeds))
    for cell, radius in radii.items():
        context.record(_baird_arm(*cell), "log radius", radius * every_seed)
    triad = ("features", True, True)
    growth = np.log(late / early) / 1000 / radii[triad]
    context.record(_baird_arm(*triad), "growth over radius", growth * every_seed)
    less = max(radius for cell, radius in radii.items() if cell != triad)
    context.record("Baird: a factor less", "log radius above 0", max(less, 0.0) * every_seed)
    context.record("Baird: TDC and emphatic TD", "log radius above 0", max(*cured, 0.0) * every_seed)


def _baird_sampled(config: Config, context: Context) -> None:
    """Run sampled TD and TDC from the usual weights."""
    import jax.numpy as jnp
    import numpy as np

    from lrn.rl import linear, mdp
    from lrn.rl.linear import baird
    from lrn.rl.tabular import Schedule

    env, start, every = mdp.as_env(mdp.baird()), baird.initial_weights(), config.baird_steps // 30
    td = linear.LinearTDConfig(DISCOUNT, Schedule(BAIRD_RATE), interactions=every)
    tdc = linear.TDCConfig(DISCOUNT, Schedule(BAIRD_RATE / 2), Schedule(BAIRD_CORRECTION), interactions=every)
    options: dict[str, Any] = {
        "steps": 30,
        "evaluate": lambda learner, c, key, state, data: {"norm": jnp.linalg.norm(state.learnt.weights)},
        "eval_every": 1,
    }
    given = (env, baird.features(), baird.target())
    fits = {
        "TD": context.fit(
            lambda c: linear.semi_gradient_td(*given, c, baird.behavior(), start),
            {"Baird: sampled TD": td},
            **options,
        ),
        "TDC": context.fit(
            lambda c: linear.tdc(*given, c, baird.behavior(), start), {"Baird: sampled TDC": tdc}, **options
        ),
    }
    for name, fit in fits.items():
        norm = fit.table.final(f"Baird: sampled {name}", "norm")
        growth = np.log10(norm / np.linalg.norm(np.asarray(start)))
        context.record(f"Baird: sampled {name}", "log10 growth", growth, step=30)


class World(NamedTuple):
    """A task.

    env: the environment, without its time limit.
    policy: ``policy(observation) -> probabilities [action]``, the policy whose values are learned.
    start: ``start(key) -> (observation, state)``, the environment's own start.
    anywhere: ``anywhere(key) -> (observation, state)``, a start anywhere in the state space.
    scale: ``scale(observation) -> [2]``, inputs of the learners, within [-1, 1].
    """

    env: Any
    policy: Any
    start: Any
    anywhere: Any
    scale: Any


def _world(task: str) -> World:
    import jax
    import jax.numpy as jnp
    import numpy as np

    from lrn.rl import mdp
    from lrn.rl.env import make
    from lrn.rl.mdp.gridworld import FOUR_ROOMS

    epsilon = 0.1
    if task == "FourRooms":
        env = make("FourRooms-misc", max_steps_in_episode=10**6)
        anywhere = make("FourRooms-misc", max_steps_in_episode=10**6, resample_init_pos=True)
        rooms = mdp.four_rooms()  # its actions are those of gymnax
        best = np.zeros((13, 13, 4), np.float32)
        places = mdp.cells(FOUR_ROOMS)
        best[places[:, 0], places[:, 1]] = mdp.solve(rooms).policy
        table = jnp.asarray((1 - epsilon) * best + epsilon / 4)

        def shortest(observation: Any) -> Any:
            y, x = observation[0].astype(int), observation[1].astype(int)
            return table[y, x]

        return World(env, shortest, env.reset, anywhere.reset, lambda o: o[:2] / 6 - 1)
    env = make("MountainCar-v0", max_steps_in_episode=10**6)

    def pump(observation: Any) -> Any:
        push = jnp.where(observation[1] >= 0, 2, 0)
        return (1 - epsilon) * jax.nn.one_hot(push, 3) + epsilon / 3

    def anywhere_in_box(key: Any) -> Any:
        reset_key, place_key = jax.random.split(key)
        _, state = env.reset(reset_key)
        low, high = jnp.array([-1.2, -0.07]), jnp.array([0.5, 0.07])
        place = jax.random.uniform(place_key, (2,), minval=low, maxval=high)
        return place, state.replace(position=place[0], velocity=place[1])

    middle, half = jnp.array([-0.3, 0.0]), jnp.array([0.9, 0.07])
    return World(env, pump, env.reset, anywhere_in_box, lambda o: (o - middle) / half)


def _data(world: World, seed: Any, config: Config) -> dict[str, Any]:
    """Transitions [2, n, ...] of both data sets, on-policy first, with returns; and states for evaluation."""
    import jax
    import jax.numpy as jnp

    env, walkers, stride = world.env, 128, 16
    actions = env.actions.n

    def choose(key: Any, p: Any) -> Any:
        return jax.random.categorical(key, jnp.log(p))

    def stretch(key: Any, start: Any, act: Any, restart: int | None) -> Any:
        """Every ``stride``-th step of one walker."""
        first, rest = jax.random.split(key)

        def step(carry: Any, x: Any) -> Any:
            observation, state = carry
            t, key = x
            act_key, move_key, start_key = jax.random.split(key, 3)
            action = choose(act_key, act(observation))
            after, out = env.move(move_key, state, action)
            over = out.terminated if restart is None else out.terminated | ((t + 1) % restart == 0)
            fresh = start(start_key)
            ahead = (out.final_observation, after)
            carry = jax.tree.map(lambda new, old: jnp.where(over, new, old), fresh, ahead)
            return carry, (observation, action, out.reward, out.terminated, out.final_observation, after)

        steps = stride * (config.transitions // walkers)
        rows = jax.lax.scan(step, start(first), (jnp.arange(steps), jax.random.split(rest, steps)))[1]
        return jax.tree.map(lambda x: x[stride - 1 :: stride], rows)

    def play_on(key: Any, observation: Any, state: Any, action: Any, terminated: Any) -> Any:
        """The policy's discounted returns [n] from the given states and first actions, played to the end."""

        def unfinished(carry: Any) -> Any:
            t, *_, weight, _ = carry
            return (t < config.rollouts) & (weight.max() > 1e-3)

        def step(carry: Any) -> Any:
            t, key, state, action, weight, total = carry
            key, act_key, move_key = jax.random.split(key, 3)
            after, out = jax.vmap(env.move)(jax.random.split(move_key, action.size), state, action)
            total = total + weight * out.reward
            weight = DISCOUNT * weight * (1.0 - out.terminated)
            following = choose(act_key, jax.vmap(world.policy)(out.final_observation))
            return t + 1, key, after, following, weight, total

        start = (0, key, state, action, 1.0 - terminated, jnp.zeros(action.size))
        return jax.lax.while_loop(unfinished, step, start)[-1]

    def collect(key: Any, start: Any, act: Any, restart: int | None, repeats: int) -> Any:
        walk_key, act_key, return_key = jax.random.split(key, 3)
        rows = jax.vmap(lambda k: stretch(k, start, act, restart))(jax.random.split(walk_key, walkers))
        rows = jax.tree.map(lambda x: x.reshape(config.transitions, *x.shape[2:]), rows)
        observation, action, reward, terminated, following, after = rows
        next_action = choose(act_key, jax.vmap(world.policy)(following))
        later = jnp.zeros(config.transitions)
        for k in jax.random.split(return_key, repeats):
            later += play_on(k, following, after, next_action, terminated) / repeats
        return {
            "x": jax.vmap(world.scale)(observation),
            "action": action,
            "reward": reward,
            "terminated": terminated.astype(jnp.float32),
            "x_next": jax.vmap(world.scale)(following),
            "next_action": next_action,
            "return": reward + DISCOUNT * later,
        }

    def random(observation: Any) -> Any:
        del observation
        return jnp.full(actions, 1 / actions)

    own_key, other_key, judge_key = jax.random.split(jax.random.key(seed), 3)
    own = collect(own_key, world.start, world.policy, None, 1)
    other = collect(other_key, world.anywhere, random, 20, 1)
    judged = collect(judge_key, world.start, world.policy, None, 4)
    sets = jax.tree.map(lambda a, b: jnp.stack([a, b]), own, other)
    return {**sets, **{f"judged {k}": judged[k][::4] for k in JUDGED}}


def _approximator(kind: str, actions: int, config: Config) -> tuple[Any, Any]:
    """The functions ``init(key) -> params`` and ``q(params, x [batch, 2]) -> [batch, action]``."""
    import jax
    import jax.numpy as jnp

    from lrn import nets

    if kind == "net":
        net = nets.mlp(actions, config.hidden)
        return (
            lambda key: net.init(key, jnp.zeros((1, 2)))[0],
            lambda params, x: net.apply(params, (), x)[0],
        )
    if kind == "table":
        g = config.grid

        def cell(x: Any) -> Any:
            at = jnp.clip(((x + 1) / 2 * g).astype(int), 0, g - 1)
            return at[:, 0] * g + at[:, 1]

        return lambda key: jnp.zeros((g * g, actions)), lambda params, x: params[cell(x)]

    def init(key: Any) -> Any:
        w_key, b_key = jax.random.split(key)
        w = jax.random.normal(w_key, (2, config.features)) / 0.3  # a length scale of .3 in [-1, 1]
        b = jax.random.uniform(b_key, (config.features,), maxval=2 * jnp.pi)
        return {"w": w, "b": b, "out": jnp.zeros((config.features, actions))}

    def q(params: Any, x: Any) -> Any:
        w, b = jax.lax.stop_gradient((params["w"], params["b"]))
        return jnp.sqrt(2 / config.features) * jnp.cos(x @ w + b[None]) @ params["out"]

    return init, q


def _grid(task: str, config: Config, context: Context) -> None:
    import jax
    import jax.numpy as jnp
    import numpy as np
    import optax

    from lrn.config import config as pytree
    from lrn.types import Learner, Sampler

    world = _world(task)

    @pytree
    class Factors:
        """The factors of a cell, as floats, so that all cells of one approximator are one program."""

        bootstrap: float
        off_policy: float
        rate: float
        greedy: float = 0.0
        follow: float = 1.0  # share by which the target network moves each step; 1 is no target network

    class Fitted(NamedTuple):
        params: Any
        slow: Any
        opt_state: Any
        peak: Any

    def learner(kind: str) -> Any:
        init_params, q = _approximator(kind, world.env.actions.n, config)
        optimizer = optax.scale_by_adam() if kind == "net" else optax.identity()

        def factory(c: Factors) -> Learner:
            def init(key: Any, batch: Any) -> Fitted:
                del batch
                params = init_params(key)
                return Fitted(params, params, optimizer.init(params), jnp.zeros(()))

            def step(key: Any, state: Fitted, batch: Any) -> Any:
                del key
                b = jax.tree.map(lambda x: jnp.where(c.off_policy > 0.5, x[1], x[0]), batch)
                q_next = q(state.slow, b["x_next"])
                rows = jnp.arange(config.batch)
                ahead = jnp.where(c.greedy > 0.5, q_next.max(-1), q_next[rows, b["next_action"]])
                ahead = b["reward"] + DISCOUNT * (1 - b["terminated"]) * ahead
                goal = jnp.where(c.bootstrap > 0.5, ahead, b["return"])

                def loss(params: Any) -> Any:
                    values = q(params, b["x"])[rows, b["action"]]
                    return 0.5 * ((values - goal) ** 2).sum(), values

                (total, values), gradient = jax.value_and_grad(loss, has_aux=True)(state.params)
                if kind == "table":  # each entry moves towards the mean of its targets
                    count = jax.grad(lambda p: q(p, b["x"])[rows, b["action"]].sum())(state.params)
                    gradient = gradient / jnp.maximum(count, 1)
                else:
                    gradient = jax.tree.map(lambda g: g / config.batch, gradient)
                updates, opt_state = optimizer.update(gradient, state.opt_state)
                params = jax.tree.map(lambda p, u: p - c.rate * u, state.params, updates)
                slow = jax.tree.map(lambda s, p: s + c.follow * (p - s), state.slow, params)
                peak = jnp.maximum(state.peak, jnp.abs(values).max())
                # A learner beyond a thousand bounds has diverged; it stops there, before it overflows.
                new = Fitted(params, slow, opt_state, peak)
                kept = state._replace(peak=peak)
                state = jax.tree.map(lambda n, k: jnp.where(peak < 1000 * BOUND, n, k), new, kept)
                return state, {"loss": total / config.batch}

            return Learner(init, step)

        def evaluate(learner: Any, c: Factors, key: Any, state: Fitted, data: Any) -> dict[str, Any]:
            del learner, c, key
            x, action, true = (data[f"judged {k}"] for k in JUDGED)
            off = jnp.sqrt(((q(state.params, x)[jnp.arange(action.size), action] - true) ** 2).mean())
            scale = jnp.sqrt((true**2).mean())
            return {"relative error": off / scale, "peak": state.peak / BOUND}

        return factory, evaluate

    def draw(key: Any, data: Any) -> Any:
        rows = jax.random.randint(key, (config.batch,), 0, config.transitions)
        return {k: v[:, rows] for k, v in data.items() if not k.startswith("judged")}

    data = context.once(
        f"{task} data",
        lambda: context.over_seeds(lambda seed, _: _data(world, seed, config))(
            np.asarray(context.seeds, np.uint32), ()
        ),
    )
    found: dict[str, Any] = {}
    for kind in KINDS:
        cells = {
            arm(task, kind, bootstrap, off): Factors(float(bootstrap), float(off), RATES[kind])
            for bootstrap in (True, False)
            for off in (True, False)
        }
        if kind == "net":
            rate = RATES["net"]
            cells[greedy_arm(task, False)] = Factors(1.0, 1.0, rate, greedy=1.0)
            cells[greedy_arm(task, True)] = Factors(1.0, 1.0, rate, greedy=1.0, follow=0.005)
            cells[slow_arm(task)] = Factors(0.0, 0.0, rate / 1000)
        factory, evaluate = learner(kind)
        fit = context.fit(
            factory, cells, name=f"{task} {kind}", steps=config.updates, per_seed=data,
            sampler=Sampler(draw), evaluate=evaluate, eval_every=config.updates // 20,
        )  # fmt: skip
        for name in cells:
            soft = fit.table.final(name, "peak") > EXCESS
            errors = np.minimum(np.nan_to_num(fit.table.curve(name, "relative error")[1], nan=CAP), CAP)
            rise = errors[:, -1] - errors.min(1)
            unstable = (soft | (rise > RISE)).astype(float)
            for metric, value in (
                ("soft divergence", soft), ("error", errors[:, -1]), ("rise", rise), ("unstable", unstable)
            ):  # fmt: skip
                context.record(name, metric, value, step=config.updates)
            found[name] = unstable
    for without, group in WITHOUT.items():
        share = np.mean([found[arm(task, *cell)] for cell in group], 0)
        context.record(f"{task}: {without}", "unstable", share, step=config.updates)


def figure(table: Table, config: Config) -> Figure:
    """Baird's star, and for each task the share of unstable seeds and the final error of every cell."""
    import numpy as np

    from lrn import figures

    rows = 1 + len(config.tasks)
    fig, axes = figures.subplots(rows, 2, height=3.9 * rows, squeeze=False)
    ax = axes[0][0]
    names = ("Baird: sampled TD", "Baird: sampled TDC")
    curves = {name.removeprefix("Baird: sampled "): table.curve(name, "norm") for name in names}
    steps = next(iter(curves.values()))[0] * (config.baird_steps // 30)
    figures.curves(
        ax,
        steps,
        {k: v for k, (_, v) in curves.items()},
        title="Baird's star, sampled",
        ylabel="norm of weights",
    )
    ax.set_yscale("log")
    ax = axes[0][1]
    cells = [(b, o) for b in (True, False) for o in (True, False)]
    labels = [
        "bootstrap,\noff-policy",
        "bootstrap,\non-policy",
        "Monte Carlo,\noff-policy",
        "Monte Carlo,\non-policy",
    ]
    radius = [
        [1000 * table.final(_baird_arm(kind, b, o), "log radius").mean() for kind in ("table", "features")]
        for b, o in cells
    ]
    figures.matrix(
        ax, np.array(radius), labels, ("table", "features"), title="Growth in 1000 steps (nats)", vmax=3
    )
    for (left, right), task in zip(axes[1:], config.tasks):
        for ax, metric, title, top in (
            (left, "unstable", f"{task}: share unstable", 1.0),
            (right, "error", f"{task}: final error", 1.0),
        ):
            values = [[table.final(arm(task, kind, b, o), metric) for kind in KINDS] for b, o in cells]
            if metric == "unstable":  # a share has no t interval
                values = np.mean(values, -1)
            figures.matrix(ax, values, labels, KINDS, title=title, vmax=top)
    return fig


STUDY = Study(
    title="Is it bootstrapping, approximation and off-policy data together?",
    claim=(
        "Tabular learning converges; bootstrapping with function approximation on off-policy data is "
        "unstable: it diverges or overfits."
    ),
    claim_id="I6",
    section="Insights",
    regime=(
        "Baird's star; gymnax's FourRooms and MountainCar, discount .99, values of a fixed policy and "
        "Q-learning. quick: 4096 transitions, 8000 updates, 64 Fourier features, a 32-32 network."
    ),
    presets={
        "smoke": Config(updates=20, transitions=256, rollouts=20, baird_steps=300),
        "quick": Config(),
        "full": Config(updates=100_000, transitions=32_768, hidden=(128, 128), features=256, batch=64),
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
