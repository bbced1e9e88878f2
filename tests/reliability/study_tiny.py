"""A study of a few seconds that does all that a study can do, for the tests that kill it.

It has two trainings (the second uses what a `once` computes from the first), a lane that fails, a recorded
value and a figure. With ``--save-seconds 0.01`` it saves after nearly every chunk.
"""

from dataclasses import dataclass

from lrn.study import Cell, Regime, Study, Superiority


@dataclass(frozen=True)
class Config:
    """The steps of each training, the steps of a chunk, and the size of a batch."""

    steps: int = 120
    chunk: int = 10
    batch: int = 64


def run(config, context):
    import jax
    import jax.numpy as jnp
    import numpy as np
    from toy import ToyConfig, toy, toy_data, toy_mse, toy_sampler

    from lrn.types import Learner, Sampler

    def slow(config):
        """The toy learner, with extra work in every step, whose result is added as tiny noise."""
        learner = toy(config)

        def step(key, state, batch):
            x = jax.random.normal(key, (64, 64))
            x = jax.lax.fori_loop(0, 4, lambda _, x: jnp.tanh(x @ x), x)
            state, metrics = learner.step(key, state, batch)
            params = {**state.params, "v": state.params["v"] + 1e-6 * x[0, :16]}
            return state._replace(params=params), metrics

        return Learner(learner.init, step)

    options = dict(
        steps=config.steps,
        chunk=config.chunk,
        eval_every=70,
        log_every=7,
        sampler=toy_sampler,
        evaluate=toy_mse,
    )
    arms = {"slow": ToyConfig(lr=0.0003), "fast": ToyConfig(lr=0.03)}
    first = context.fit(slow, arms, data=toy_data(), **options)

    def teach():
        x = np.random.RandomState(1).randn(200, 4).astype(np.float32)
        w, v = (np.asarray(first.state.params[name])[1, 0] for name in ("w", "v"))
        return {"x": x, "y": np.tanh(x @ w) @ v}

    taught = context.once("teach", teach)
    shift = np.arange(len(context.seeds), dtype=np.float32)

    def draw(key, data):
        batch = toy_sampler.draw(key, {"x": data["x"], "y": data["y"]})
        return {**batch, "y": batch["y"] + 0.01 * data["shift"]}

    options["sampler"] = Sampler(draw)
    students = {"student": ToyConfig(lr=0.01), "broken": ToyConfig(lr=float("nan"))}
    context.fit(slow, students, data=taught, per_seed={"shift": shift}, **options)
    context.record("teacher", "size", [float(np.abs(taught["y"]).mean())] * len(context.seeds))


def figure(table, config):
    from lrn import figures

    fig, ax = figures.subplots()
    steps, _ = table.curve("fast", "mse")
    figures.curves(ax, steps, {arm: table.curve(arm, "mse")[1] for arm in ("slow", "fast", "student")})
    return fig


STUDY = Study(
    title="a tiny study",
    claim="A higher rate trains faster, within reason.",
    claim_id="T1",
    section="Observations",
    regime="a regression toy",
    presets={"quick": Config(), "smoke": Config(steps=40)},
    regimes=(
        Regime(
            name="a regression toy",
            primary=(
                Superiority(
                    statement="The slow arm keeps the larger error.",
                    better=Cell("slow", "mse"),
                    worse=Cell("fast", "mse"),
                ),
            ),
        ),
    ),
    seeds={"quick": 8, "smoke": 3},
    run=run,
    figure=figure,
)
