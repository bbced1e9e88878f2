"""Do the tabular methods reach the exact solution, at the rates theory gives? (C4)

Claim. Value iteration, policy iteration, TD(0), TD(lambda), SARSA and Q-learning converge to the exact
solution of a finite MDP, as fast as theory says.

Design. Each seed draws a random MDP (a Garnet), whose exact solution comes from a linear solve. The study
measures the error along every method.

Value iteration: one sweep multiplies the largest error by at most the discount (a theorem, checked at every
sweep). In the long run the factor is exactly the discount, since the remaining error is the same in all
states.

Policy iteration: no improvement has a larger factor (a theorem too). The method ends exactly at the optimum,
after fewer improvements than a tenth of the sweeps that value iteration needs for a change below 1e-11.

Learning from samples, with step sizes that depend on the number n of visits of the updated entry: the error
has two parts, the remainder of the initial error, and noise. Let D be the rate at which the initial error
decays: 1 - discount for TD(0), SARSA and Q-learning, and (1 - discount)/(1 - discount lambda) for
TD(lambda).

- 1/n: the initial error falls like n^-D, which for D < 1/2 is slower than the noise: slope -D in a log-log
  plot. With discount .8 and lambda .5 the slopes are -.2 and -.333. This is the step size to avoid.
- n^-.6: the initial error is soon forgotten, and the mean squared noise is of the order of the step size:
  slope -.3.
- 1/(1 + (1 - discount)(n - 1)), the rescaled linear step: the initial error falls like 1/n, the noise like
  n^-1/2: slope -.5, the best possible.

Slopes are fitted over the last decade of steps, to the root of the mean squared error over entries and over
replicates on the same MDP. All environments truncate episodes after ten steps, and learners bootstrap there.
SARSA is compared with the values of its own exploring policy; with exploration that fades, with the optimal
policy.

Set beforehand. Slopes must lie within .05 of theory for 1/n, where the law has no noise; within .1 for n^-.6;
and in [-.7, -.4] for the rescaled step, whose transient, of slope -1, is as large as its noise at the start
of the decade. These intervals tell the laws from each other. Final errors must be below 2% of the largest
value. Not blind: pilots on seeds 1000 to 1009 fixed the number of steps and replicates, moved the interval
of the rescaled step from -.65 to -.7 (where its transient puts it), and dropped one prediction: that the
second improvement of a policy gains a larger factor than the first. Newton's method promises that near the
optimum only, and the pilot could not decide it. A first run on seeds 0 to 9, with 12 replicates, left four
slopes undecided and refuted none; the noise in the pilots called for 32 replicates.

Controls. The two exact solvers agree and satisfy Bellman's equation; with a constant step size the error
stops falling (slope 0 within .1); a learner that takes truncations for terminations stays over 10% off.

    python -m experiments.rl.tabular_convergence --preset quick

Time on two cores: 51 s for quick. What to expect from quick: 20 of 22 predictions hold. Two stay undecided,
SARSA and Q-learning with the rescaled step: their entries, (state, action) pairs, are visited less often than
states are, so that their transient outlasts the budget (slope -.66).
"""

from __future__ import annotations

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
    Within,
    by_regime,
    equal_budgets,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lrn.study.context import Context
    from lrn.table import Table

METHODS = ("TD(0)", "TD(lambda)", "SARSA", "Q-learning")
STEPS = ("1/n", "n^-0.6", "rescaled linear", "constant")
GLIE = "SARSA, exploration fading"
CUT = "TD(0), cuts taken for ends"
CHUNKS = 100


@dataclass(frozen=True)
class Config:
    """Settings.

    states: number of states of the MDPs for learning from samples.
    actions: number of their actions.
    branching: number of next states of each of their (state, action).
    discount: their discount.
    lambda_: lambda of TD(lambda).
    steps: environment steps of a learner.
    replicates: number of runs on each MDP.
    solved_states: number of states of the MDPs that are solved exactly.
    solved_actions: number of their actions.
    solved_discount: their discount.
    sweeps: number of sweeps of value iteration.
    """

    states: int = 5
    actions: int = 2
    branching: int = 3
    discount: float = 0.8
    lambda_: float = 0.5
    steps: int = 100_000
    replicates: int = 32
    solved_states: int = 50
    solved_actions: int = 4
    solved_discount: float = 0.95
    sweeps: int = 200

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("states", "actions", "branching", "replicates", "solved_states", "solved_actions"):
            check.integer(name, getattr(self, name), low=1)
        check.integer("steps", self.steps, low=CHUNKS)
        check.integer("sweeps", self.sweeps, low=20)
        for name in ("discount", "lambda_", "solved_discount"):
            check.between(name, getattr(self, name), 0.0, 0.999)
        if self.steps % CHUNKS:
            raise check.InputError(f"steps must be a multiple of {CHUNKS}, got {self.steps}; round it.")


def arms_of(method: str) -> list[str]:
    """The names of all arms of a method, in the order of their numbers."""
    return [arm(method, step) for step in STEPS] + {"SARSA": [GLIE], "TD(0)": [CUT]}.get(method, [])


def arm(method: str, step: str) -> str:
    """The name of an arm."""
    return f"{method}, {step}"


def law(config: Config, method: str, step: str) -> tuple[float, float]:
    """The interval of a slope according to theory."""
    decay = 1 - config.discount
    if method == "TD(lambda)":
        decay /= 1 - config.discount * config.lambda_
    if step == "1/n" and decay < 0.5:
        return -decay - 0.05, -decay + 0.05
    if step == "n^-0.6":
        return -0.4, -0.2
    if step == "constant":
        return -0.1, 0.1
    return -0.7, -0.4


def predictions(config: Config) -> Sequence[Prediction]:
    """The predictions of theory."""
    import math

    rate = math.log(config.solved_discount)
    exact = [
        Exact(
            statement="Value iteration: no sweep shrinks the largest error by less than the discount.",
            cell=Cell("value iteration", "excess over discount"),
            value=0.0,
            atol=1e-9,
            regime="value iteration",
        ),
        Within(
            statement="Value iteration: in the long run each sweep shrinks it by the discount, within 2%.",
            cell=Cell("value iteration", "log ratio"),
            low=1.02 * rate,
            high=0.98 * rate,
            regime="value iteration",
        ),
        Exact(
            statement="Policy iteration: no improvement shrinks the largest error by less than the discount.",
            cell=Cell("policy iteration", "excess over discount"),
            value=0.0,
            atol=1e-9,
            regime="policy iteration",
        ),
        Within(
            statement="Policy iteration takes under a tenth of value iteration's sweeps.",
            cell=Cell("policy iteration", "improvements per sweep"),
            low=0.0,
            high=0.1,
            regime="policy iteration",
        ),
        Exact(
            statement="Policy iteration: it ends, exactly at the optimum.",
            cell=Cell("policy iteration", "final error"),
            value=0.0,
            atol=1e-9,
            regime="policy iteration",
        ),
    ]
    slopes = []
    for method in METHODS:
        for step in STEPS[:3]:
            low, high = law(config, method, step)
            slopes.append(
                Within(
                    statement=f"{method} with {step} steps: the error falls with a slope between {low:.2f} "
                    f"and {high:.2f}.",
                    cell=Cell(arm(method, step), "slope"),
                    low=low,
                    high=high,
                    regime=f"{method}, {step}",
                )
            )
    reached = [
        Within(
            statement=f"{method}: the final error is below 2% of the largest value.",
            cell=Cell(arm(method, "rescaled linear"), "relative error"),
            low=-0.01,
            high=0.02,
            regime=method,
        )
        for method in METHODS
    ]
    optimal = Within(
        statement="SARSA whose exploration fades: its greedy policy is within 2% of optimal.",
        cell=Cell(GLIE, "relative loss"),
        low=-0.01,
        high=0.02,
        regime=GLIE,
    )
    return [*exact, *slopes, *reached, optimal]


def controls(config: Config) -> Sequence[Control]:
    """Controls that fail if the exact solutions or the measurements are broken."""
    del config
    oracle = [
        Exact(
            statement="The exact solutions satisfy Bellman's optimality equation.",
            cell=Cell("policy iteration", "residual"),
            value=0.0,
            atol=1e-9,
        ),
        Exact(
            statement="Value iteration carried on ends where policy iteration does.",
            cell=Cell("value iteration", "gap to policy iteration"),
            value=0.0,
            atol=1e-8,
        ),
    ]
    stuck = [
        Within(
            statement=f"{method} with a constant step stops improving: slope 0 within .1.",
            cell=Cell(arm(method, "constant"), "slope"),
            low=-0.1,
            high=0.1,
        )
        for method in METHODS
    ]
    wrong = Within(
        statement="TD(0) for which cuts are ends stays over 10% off.",
        cell=Cell(CUT, "relative error"),
        low=0.1,
        high=10.0,
    )
    alike = [equal_budgets("updates", arms_of(method)) for method in METHODS]
    return [*map(Control, oracle), *map(Control, stuck), Control(wrong), *alike]


def run(config: Config, context: Context) -> None:
    """Solve exactly, then learn from samples, on a new MDP for each seed."""
    _solve(config, context)
    for method in METHODS:
        _learn(method, config, context)


def _solve(config: Config, context: Context) -> None:
    import jax
    import jax.numpy as jnp
    import numpy as np

    from lrn.rl import mdp

    most = 12  # number of improvements of the policy; more are never needed

    def exact(seed: Any, _: Any) -> dict[str, Any]:
        world = mdp.garnet(
            jax.random.key(seed), config.solved_states, config.solved_actions, 5, config.solved_discount
        )
        best = mdp.solve(world)

        def sweep(values: Any, _: Any) -> Any:
            return mdp.optimal_backup(world, values), jnp.abs(values - best.values).max()

        def improvement(policy: Any, _: Any) -> Any:
            q = mdp.policy_action_values(world, policy)
            error = jnp.abs((policy * q).sum(-1) - best.values).max()
            return mdp.improve(q, policy, 1e-11), error

        zeros = jnp.zeros(world.states)
        carried_on = mdp.value_iteration(world, 1e-11)
        return {
            "sweeps": jax.lax.scan(sweep, zeros, length=config.sweeps)[1],
            "improvements": jax.lax.scan(improvement, mdp.uniform_policy(world), length=most)[1],
            "residual": best.residual,
            "gap": jnp.abs(carried_on.values - best.values).max(),
            "carried on": carried_on.iterations,
        }

    def compute() -> dict[str, Any]:
        with jax.enable_x64(True):
            return context.over_seeds(exact)((np.asarray(context.seeds, np.uint32)), ())

    found = context.once("exact solutions", compute)
    gamma, sweeps, improvements = config.solved_discount, found["sweeps"], found["improvements"]
    half = config.sweeps // 2
    fitted = [np.polyfit(np.arange(half), np.log(e[-half:]), 1)[0] for e in sweeps]
    excess = np.maximum(sweeps[:, 1:] - gamma * sweeps[:, :-1], 0).max(1)
    context.record("value iteration", "excess over discount", excess)
    context.record("value iteration", "log ratio", fitted)
    context.record("value iteration", "gap to policy iteration", found["gap"])
    excess = np.maximum(improvements[:, 1:] - gamma * improvements[:, :-1], 0).max(1)
    context.record("policy iteration", "excess over discount", excess)
    context.record("policy iteration", "final error", improvements[:, -1])
    context.record("policy iteration", "residual", found["residual"])
    context.record("policy iteration", "improvements", (improvements > 1e-9).sum(1))
    share = (improvements > 1e-9).sum(1) / found["carried on"]
    context.record("policy iteration", "improvements per sweep", share)
    for name, errors in (("value iteration", sweeps), ("policy iteration", improvements)):
        for t, error in enumerate(errors.T):
            context.record(name, "error", np.maximum(error, 1e-12), step=t)


def _learn(method: str, config: Config, context: Context) -> None:
    """Run one method with all its step sizes, replicates and MDPs as one program."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from lrn.rl import mdp, tabular
    from lrn.rl.env import merge_truncation

    gamma, every = config.discount, config.steps // CHUNKS
    decay, exploring = 1 - gamma, 0.3
    # Kinds: 1/n, n^-.6, rescaled, constant, and fading exploration (SARSA) or merged truncation (TD(0)).
    scales, rates = np.array([1, 1, 1, 0.1, 1]), np.array([1, 1, decay, 0, decay])
    powers = np.array([1, 0.6, 1, 0, 1.0])
    if method == "SARSA":
        rates[4], powers[4] = 1, 0.6
    kinds = 5 if method in ("SARSA", "TD(0)") else 4

    def learner(world: Any, kind: Any) -> Any:
        """The learner, the exact values that it estimates, and a function that reads its estimate."""
        env = mdp.as_env(world, time_limit=10)
        numbers: Any = [jnp.asarray(x)[kind] for x in (scales, rates, powers)]
        step = tabular.Schedule(*numbers)
        if method in ("TD(0)", "TD(lambda)"):
            policy = mdp.uniform_policy(world)
            exact = mdp.policy_values(world, policy)
            if method == "TD(lambda)":
                options = tabular.TDLambdaConfig(
                    gamma, config.lambda_, "accumulating", step, interactions=every
                )
                return tabular.td_lambda(env, policy, options), exact, lambda s: s.learnt.values
            merged = merge_truncation(env)

            def move(key: Any, state: Any, action: Any) -> Any:
                (after, result), (_, other) = (e.move(key, state, action) for e in (env, merged))
                return after, jax.tree.map(lambda x, y: jnp.where(kind == 4, y, x), result, other)

            options = tabular.TDConfig(gamma, step, interactions=every)
            return tabular.td(env._replace(move=move), policy, options), exact, lambda s: s.learnt.values
        best = mdp.solve(world).action_values
        if method == "Q-learning":
            options = tabular.ControlConfig(gamma, step, tabular.Schedule(1.0), interactions=every)
            return tabular.q_learning(env, options), best, lambda s: s.q
        fades = kind == 4
        numbers = [jnp.where(fades, x, y) for x, y in ((1.0, exploring), (0.1, 0.0), (0.5, 0.0))]
        epsilon = tabular.Schedule(*numbers)
        options = tabular.ControlConfig(gamma, step, epsilon, interactions=every)
        policy = mdp.uniform_policy(world)
        for _ in range(12):  # iterate to the policy that is epsilon-greedy in its own values
            policy = mdp.epsilon_greedy(mdp.policy_action_values(world, policy), exploring)
        own = mdp.policy_action_values(world, policy)
        return tabular.sarsa(env, options), jnp.where(fades, best, own), lambda s: s.q

    def one(seed: Any, replicate: Any, kind: Any) -> Any:
        world = mdp.garnet(
            jax.random.key(seed), config.states, config.actions, config.branching, config.discount
        )
        method_, exact, read = learner(world, kind)
        first, rest = jax.random.split(jax.random.fold_in(jax.random.key(seed), replicate + 1))

        def step(state: Any, key: Any) -> Any:
            state, _ = method_.step(key, state, None)
            return state, ((read(state) - exact) ** 2).mean()

        state, squares = jax.lax.scan(step, method_.init(first, None), jax.random.split(rest, CHUNKS))
        loss = jnp.zeros(())
        if method == "SARSA":
            best = mdp.solve(world).values
            greedy = mdp.deterministic(world, jnp.argmax(read(state), -1))
            loss = (best - mdp.policy_values(world, greedy)).max()
        visits = state.learnt.visits if method.startswith("TD") else state.visits
        return squares, jnp.abs(exact).max(), loss, visits.sum().astype(jnp.float32)

    def all_of(seed: Any, _: Any) -> Any:
        by_kind = jax.vmap(one, (None, None, 0))
        runs = jax.vmap(by_kind, (None, 0, None))(seed, jnp.arange(config.replicates), jnp.arange(kinds))
        squares, largest, loss, updates = (x.mean(0) for x in runs)
        return {"error": jnp.sqrt(squares), "largest": largest, "loss": loss, "updates": updates}

    def compute() -> dict[str, Any]:
        return context.over_seeds(all_of)(np.asarray(context.seeds, np.uint32), ())

    found = context.once(method, compute)
    t = every * np.arange(1, CHUNKS + 1)
    shown = np.unique(np.round(np.geomspace(1, CHUNKS, 24)).astype(int)) - 1
    decade = shown[shown >= CHUNKS // 10 - 1]
    for kind, name in enumerate(arms_of(method)):
        context.given(name, {"updates": found["updates"][:, kind]})
        error = found["error"][:, kind]
        fits = [np.polyfit(np.log(t[decade]), np.log(e[decade]), 1)[0] for e in error]
        context.record(name, "slope", fits, step=config.steps)
        context.record(name, "relative error", error[:, -1] / found["largest"][:, kind], step=config.steps)
        for i in shown:
            context.record(name, "error", error[:, i], step=int(t[i]))
    if method == "SARSA":
        context.record(GLIE, "relative loss", found["loss"][:, 4] / found["largest"][:, 4], step=config.steps)


def figure(table: Table, config: Config) -> Figure:
    """Errors along the methods, with dotted laws; and every slope with the interval of theory."""
    import numpy as np

    from lrn import figures, stats

    fig, axes = figures.subplots(3, 2, height=11.0)
    solvers = {n: table.curve(n, "error") for n in ("value iteration", "policy iteration")}
    for ax, (name, (steps, values)) in zip(axes[0], solvers.items()):
        figures.curves(ax, steps, {name: values}, title=name.capitalize(), xlabel="", legend=False)
        ax.set(
            yscale="log",
            xlabel="sweep" if name == "value iteration" else "improvement",
            ylabel="largest error",
        )
        first = values[:, 0].mean()
        bound = first * config.solved_discount**steps
        ax.plot(steps, bound, ":", color="gray", label="discount to the step")
        ax.set_ylim(bottom=1e-10)
        if name == "policy iteration":
            ax.set_xlim(0, 6)
        ax.legend()
    for ax, method in zip((*axes[1], axes[2][0]), ("TD(0)", "TD(lambda)", "Q-learning")):
        arms = {step: table.curve(arm(method, step), "error") for step in STEPS}
        steps = arms[STEPS[0]][0]
        figures.curves(ax, steps, {k: v for k, (_, v) in arms.items()}, title=method, ylabel="error (rms)")
        ax.set(xscale="log", yscale="log")
    ax = axes[2][1]
    rows = [(method, step) for method in METHODS for step in STEPS[:3]]
    slopes = [table.final(arm(*row), "slope") for row in rows]
    figures.intervals(
        ax,
        [f"{method}, {step}" for method, step in rows],
        [stats.t_interval(s[np.isfinite(s)]) for s in slopes],
        regions=[law(config, *row) for row in rows],
        reference=None,
        title="Slopes (theory's shaded)",
        xlabel="slope over the last decade",
    )
    ax.tick_params(axis="y", labelsize=7.5)
    return fig


STUDY = Study(
    title="Do tabular methods reach the exact solution, at theory's rates?",
    claim=(
        "Value iteration, policy iteration, TD(0), TD(lambda), SARSA and Q-learning reach the exact solution "
        "of a finite MDP, at the rates theory gives."
    ),
    claim_id="C4",
    section="Concepts",
    regime=(
        "quick: Garnet MDPs, 50 states x 4 actions, discount .95, for the solvers; 5 x 2, discount .8, "
        "100,000 steps of one stream for the learners; episodes cut after ten steps."
    ),
    presets={
        "smoke": Config(steps=2000, replicates=2, solved_states=10, sweeps=40),
        "quick": Config(),
        "full": Config(states=20, actions=4, branching=5, steps=2_000_000, solved_states=200),
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
