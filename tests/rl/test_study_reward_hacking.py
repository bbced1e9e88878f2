"""The study of reward hacking: its worlds and flaws, its verdict, and the planted errors that it catches."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from treatment import judge, way

from experiments.rl import _bonus_corridor as corridor
from experiments.rl import _flawed_rewards as worlds
from experiments.rl import _hacking_agents as agents
from experiments.rl import _hacking_records as records
from experiments.rl import reward_hacking as study
from experiments.rl._bonus_corridor import ABANDONED, BLIND, DARK, LIT, NONE, PAID, WEIGHTS
from experiments.rl._flawed_rewards import ACTIONS, ERRORS, MEANS, STATES
from experiments.rl._hacking_agents import (
    EXPLOITED,
    FLAWED,
    FOUND,
    HACKABLE,
    OFF,
    PERFECT,
    PROXY,
    READS,
    SAME,
    SECOND,
    TRUE,
    TWIN,
    WIDTHS,
    arm,
)
from experiments.rl.reward_hacking import STUDY, Config
from lrn import check, table
from lrn.rl import mdp
from lrn.rl.exploration.bonus import Transitions
from lrn.study import Findings
from lrn.study.context import Context
from lrn.xla.runtime import jit_brief

CONFIG, SEEDS = Config(), list(range(20))
SMALL = Config(2048, (MEANS,), (), 1024, 2, 0)


def value_of(name, metric, values):
    """The value of a cell in a sound experiment where the claim is true, but for ``values``."""
    if (name, metric) in values:
        return values[name, metric]
    if metric == EXPLOITED:
        usual = {SECOND: 0.0, PERFECT: 1.0}
        return next((v for k, v in usual.items() if name.endswith(k)), values.get(metric, 0.8))
    if metric == ABANDONED:
        usual = {NONE: 0.0, BLIND: 0.0, PAID: 1.0}
        return next((v for k, v in usual.items() if name.startswith(k)), values.get(metric, 0.8))
    if name.endswith(SAME):
        return float(metric == TRUE)
    return values.get(metric, {TRUE: 0.9, PROXY: 0.9, FOUND: 0.6, HACKABLE: 1.0}.get(metric, 0.0))


def made(values):
    """A table of twenty seeds."""
    cells = {c for p in STUDY.predicted(CONFIG) for c in p.cells}
    cells |= {c for x in STUDY.controlled(CONFIG) for c in x.check.cells if not c.metric.startswith("given")}
    rows, spread = [], np.linspace(-0.02, 0.02, len(SEEDS))
    for name, metric, step in sorted({(c.arm, c.metric, c.step or 10**6) for c in cells}):
        value = value_of(name, metric, values)
        shares = metric in (EXPLOITED, FOUND, TRUE, PROXY) or name.startswith(("bonuses", "weight"))
        each = value + spread * (shares and 0 < value < 1)
        rows.append(table.rows(name, SEEDS, step, metric, np.full(len(SEEDS), each)))
    return table.concat(rows)


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ({}, "supported"),
        ({EXPLOITED: 0.2, ABANDONED: 0.2}, "refuted"),
        ({ABANDONED: 0.2}, "mixed"),
        ({("bonuses, dark", ABANDONED): 0.1}, "mixed"),  # only where something random can be watched
        ({EXPLOITED: 0.5, ABANDONED: 0.5}, "open"),
        ({(arm(MEANS, SECOND), EXPLOITED): 0.3}, "invalid"),  # twins pass for exploiters
        ({(arm(ERRORS, PERFECT), EXPLOITED): 0.9}, "invalid"),
        ({(arm(ERRORS, PERFECT), OFF): 0.1}, "invalid"),  # the best policy is not the best
        ({(arm(MEANS, TWIN, 32), TRUE): 0.2}, "invalid"),  # nothing is learned
        ({(arm(MEANS, SAME), HACKABLE): 1.0}, "invalid"),
        ({(corridor.arm(BLIND, LIT, 1.0), ABANDONED): 1.0}, "invalid"),
        ({(corridor.arm(PAID, DARK, 1.0), ABANDONED): 0.0}, "invalid"),
    ],
)
def test_the_verdict_follows_from_the_numbers(values, verdict):
    result = judge(STUDY, CONFIG, "full", made(values))
    assert result["verdict"] == verdict, result["reason"]


def test_a_task_that_fails_without_a_bonus_is_not_asked():
    result = judge(STUDY, CONFIG, "full", made({(corridor.arm(NONE, LIT), ABANDONED): 1.0}))
    outcomes = {r["name"]: r["outcome"] for r in result["regimes"]}
    assert outcomes["bonuses, screen lit"] == "not applicable"


def test_the_answer_gives_shares_by_width_and_bonus():
    said = study.answer(Findings(judge(STUDY, CONFIG, "full", made({("bonuses, dark", ABANDONED): 0.1}))))
    assert said.startswith(
        "Agents exploit 80% [79, 81] of the flaws where the reward has errors (80, 80, 80%"
    )
    assert "80% with 2, 8, 32 units; 60% [59, 61] of these rewards have a flaw) and 80% [79, 81]" in said
    assert "abandon the task in 80% [79, 81] of the runs where random pixels can be watched (counts" in said
    assert "and in 10% [9, 11] of the runs where nothing random can be watched (counts" in said


@pytest.fixture(scope="module")
def drawn():
    """A world of each family, with the discounted visits of its best and of a random policy."""

    def both(key):
        made = [worlds.world(family, key) for family in worlds.FLAWS]
        other = jax.random.dirichlet(key, jnp.ones(ACTIONS), (STATES,))
        best = [jax.nn.one_hot(worlds.greedy(w.end, w.true), ACTIONS) for w in made]
        return made, [[worlds.visits(w.end, p) for p in (b, other)] for w, b in zip(made, best)], other

    made, visits, other = jit_brief(both, level=0)(jax.random.key(3))
    return dict(zip(worlds.FLAWS, made)), dict(zip(worlds.FLAWS, visits)), other


@pytest.mark.parametrize("family", [ERRORS, MEANS])
def test_best_policies_and_visits_are_those_of_the_library(drawn, family):
    """Exact returns agree with the library's MDP of the same world, which is solved by policy iteration."""
    world, (best, other), policy = drawn[0][family], drawn[1][family], drawn[2]
    model, live = worlds.model(world.end, world.true), ~np.asarray(world.end)
    solved = mdp.solve(model)
    np.testing.assert_allclose((best * world.true).sum(), model.initial @ solved.values, rtol=1e-4)
    theirs = np.asarray(mdp.state_visits(model, policy))
    np.testing.assert_allclose(np.asarray(other.sum(-1))[live], theirs[live], rtol=1e-3, atol=1e-5)


def test_the_chosen_error_is_the_first_flaw(drawn):
    """Where a draw harms, the reward that is learned is one that harms; survival pay always does."""
    harm = np.asarray(drawn[0][MEANS].harm)
    assert harm.shape == (3, 3, worlds.DRAWS)
    assert harm[2].min() > 1  # pay for survival
    assert harm[1, 0].max() < worlds.HARM  # a tenth for progress harms nobody
    many = np.asarray(drawn[0][ERRORS].harm)
    assert many.min() > -1e-4
    assert many[:, 2].mean() > many[:, 0].mean()


def test_play_follows_the_model(drawn):
    """Moves, rewards and starts of the environment have the frequencies of the exact model."""
    world = drawn[0][MEANS]
    env, goal = worlds.played(world.end, world.true), int(world.end.argmax())
    place = 7 if goal != 7 else 8

    def play(keys):
        starts = jax.vmap(lambda k: env.reset(k)[1].place)(keys)
        spot = worlds.Spot(jnp.int32(place), jnp.int32(0))
        return starts, jax.vmap(lambda k: env.move(k, spot, jnp.int32(1)))(keys), worlds.everywhere()

    starts, (after, step), all_seen = jax.device_get(
        jit_brief(play)(jax.random.split(jax.random.key(0), 4000))
    )
    counts = np.bincount(starts, minlength=STATES)
    assert counts[goal] == 0
    assert np.delete(counts, goal).min() > 60
    model = worlds.model(world.end, world.true)
    seen = np.bincount(after.place, minlength=STATES) / 4000
    np.testing.assert_allclose(seen, model.transitions[place, 1], atol=0.03)
    np.testing.assert_allclose(step.reward, np.full(4000, world.true[place, 1]))
    np.testing.assert_array_equal(step.terminated, after.place == goal)
    np.testing.assert_array_equal(step.final_observation, all_seen[after.place])


def test_a_learned_reward_is_the_mean_of_a_gaussian_process():
    """Compared with the textbook's formula on the labels themselves; many labels of one place count."""
    key, reward = jax.random.key(2), jnp.sin(jnp.arange(STATES) * 1.0)
    got = jit_brief(worlds.learned)(key, reward, jnp.float32(60))
    place_key, noise_key = jax.random.split(key)
    seen = np.asarray(jax.random.randint(place_key, (worlds.MOST_LABELS,), 0, STATES))[:60]
    count = np.bincount(seen, minlength=STATES)
    mean = reward + worlds.NOISE * jax.random.normal(noise_key, (STATES,)) / np.sqrt(np.maximum(count, 1))
    at = np.stack(np.divmod(np.arange(STATES), worlds.SIDE), -1)
    kernel = np.exp(-((at[:, None] - at[None]) ** 2).sum(-1) / 2)
    labels = np.asarray(mean)[seen]  # any labels with these means give the same process
    noisy = kernel[seen][:, seen] + worlds.NOISE**2 * np.eye(60)
    np.testing.assert_allclose(got, kernel[:, seen] @ np.linalg.solve(noisy, labels), atol=1e-3)


def test_who_exploits(drawn):
    """A perfect agent in the place of the learners exploits every flaw, and a copy of the twin none."""
    world = drawn[0][MEANS]

    def both(world):
        flat, true = world.flawed.reshape(-1, STATES, ACTIONS), worlds.greedy(world.end, world.true)
        best = jax.vmap(lambda r: worlds.greedy(world.end, r))(flat)

        def judged(learned):
            actions = jnp.concatenate([jnp.broadcast_to(true[None], (2, STATES)), learned])
            shape = (len(WIDTHS), len(actions), READS, STATES)
            return agents.judged(world, jnp.broadcast_to(actions[None, :, None], shape))

        return jax.lax.map(judged, jnp.stack([best, jnp.broadcast_to(true[None], best.shape)]))

    found = jax.device_get(jit_brief(both, level=0)(world))
    perfect, kept = (found[EXPLOITED][i, 0][:, found["flaw"][i]] for i in range(2))
    assert perfect.min() == 1
    assert kept.max() == 0
    assert found["flaw"].sum() > 8
    np.testing.assert_allclose(found[PROXY][0, :, 2:], 1, atol=1e-3)
    np.testing.assert_allclose(found[TRUE][:, :, :2], 1, atol=1e-3)


def test_units_that_are_not_in_use_do_nothing():
    x = jax.random.normal(jax.random.key(0), (7, 12))
    net = agents.masked(3, jnp.float32(8))
    params, state = net.init(jax.random.key(1), x)
    changed = {**params, "in": params["in"].at[:, 8:].set(5.0), "out": params["out"].at[8:].set(5.0)}
    np.testing.assert_array_equal(net.apply(params, state, x)[0], net.apply(changed, state, x)[0])


def test_twins_and_agents_differ_in_the_reward_alone(drawn):
    world, keys = drawn[0][ERRORS], jax.random.split(jax.random.key(0))
    rates = jnp.arange(15.0).reshape(3, 5)
    rewards, widths, rate, key = agents.grid(ERRORS, world, rates, keys)
    assert rewards.shape == (3, 14, STATES, ACTIONS)
    np.testing.assert_array_equal(rewards[:, :2], np.broadcast_to(world.true, (3, 2, STATES, ACTIONS)))
    np.testing.assert_array_equal(rewards[1, 2 + 3], world.flawed[1, 0])
    np.testing.assert_array_equal(widths[:, 0], WIDTHS)
    np.testing.assert_array_equal(rate[1], [5, 5, 6, 6, 6, 7, 7, 7, 8, 8, 8, 9, 9, 9])
    data = jax.random.key_data(key)
    assert (data[:, 2:] == data[:, :1]).all()
    assert not (data[:, 1] == data[:, 0]).all()


def perfect(steps, end, reward, width, rate, key):
    """In the place of a training: the best policy for the reward, from the first evaluation on."""
    actions = jnp.broadcast_to(worlds.greedy(end, reward)[None], (READS, STATES))
    return {"actions": actions, agents.GRADIENTS: jnp.int32(steps)}


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """A run of a family, as `records.measure` does it, of agents that learn perfectly; and its arrays."""
    context = Context(tmp_path_factory.mktemp("run"), "smoke", (5, 3), lambda _: None, progress=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(agents, "trained", perfect)
        records.measure(SMALL, context, MEANS, [])
    found = Context(context.folder, "smoke", (5, 3), lambda _: None).once(f"{MEANS}, agents", dict)
    return context, found


@pytest.mark.slow
def test_an_agent_learns_and_counts_its_steps(drawn):
    """Eight gradient steps in an iteration; most of the possible gain with 8 units, and not with 0."""
    world, key = drawn[0][MEANS], jax.random.key(0)
    one = jit_brief(lambda w: agents.trained(8192, world.end, world.true, w, jnp.float32(0.01), key))
    gained = [worlds.gains(world.end, (found := one(jnp.int32(w)))["actions"], world.true) for w in (8, 0)]
    assert found[agents.GRADIENTS] == 8192 // 256 * 8
    assert gained[0][-1] > 0.8 > gained[1][-1]


def outcomes(results):
    """By statement the outcome of each control."""
    return {c.check.statement: way(c.check.find(results)) for c in records.guards(SMALL, MEANS)}


def failed(results):
    """The controls that fail."""
    return {k for k, v in outcomes(results).items() if v == "fails"}


def test_a_sound_run_passes_and_twice_the_steps_are_found(ran, tmp_path):
    context, found = ran
    assert context.table().final(arm(MEANS, FLAWED), EXPLOITED).min() == 1
    assert failed(context.table()) == set()
    again = Context(tmp_path, "smoke", (5, 3), lambda _: None, progress=False)
    twice = {**found, agents.GRADIENTS: found[agents.GRADIENTS] * np.array([1, 1] + [2] * 9)}
    again.once = lambda name, compute: twice
    records.measure(SMALL, again, MEANS, [])
    assert {k.split(" for")[0] for k in failed(again.table())} == {"As many gradient steps"}


def test_an_oracle_that_is_a_constant_is_found(ran):
    """The certificate fails where the best policy always takes the first action."""
    _, found = ran
    sound, wrong = records.known(found), records.known({**found, "best": np.zeros_like(found["best"])})
    assert sound[PERFECT][OFF].max() < 1e-3 < wrong[PERFECT][OFF].min()
    assert sound[FLAWED][HACKABLE].min() == 1
    assert sound[SAME][HACKABLE].max() == 0


def test_seeds_keep_their_place(ran):
    context, found = ran
    seeds, values = context.table().final_by_seed(arm(MEANS, TWIN, 8), TRUE)
    assert dict(zip(seeds.tolist(), values.tolist())) == pytest.approx(
        {5: found[TRUE][0, 1, 0, -1], 3: found[TRUE][1, 1, 0, -1]}
    )


def test_a_run_that_comes_back_has_not_abandoned_the_task(monkeypatch):
    """Three evaluations count, and curves that the table sorts by seed come back in the run's order."""
    steps = np.arange(READS)
    by_seed = np.stack([np.r_[np.ones(5), 0, 0, 1], np.r_[np.zeros(5), 1, 1, 1]])  # of seeds 3 and 9
    fit = lambda *a, **k: SimpleNamespace(table=SimpleNamespace(curve=lambda *c: (steps, by_seed)))  # noqa: E731
    context: Any = SimpleNamespace(fit=fit, seeds=(9, 3))
    found = corridor.learn(CONFIG, context, corridor.RND)
    events = found[corridor.arm(corridor.RND, LIT, WEIGHTS[0])]
    np.testing.assert_array_equal(events[:, -1], [0, 1])
    np.testing.assert_array_equal(events[0], [1, 1, 1, 1, 1, 1, 0, 0])


def test_bonuses_see_what_they_should():
    """Counts pay for each new picture, a bonus blind to the screen does not, and pay for watching stays."""
    room, watch = jnp.zeros((2, corridor.ROOMS + corridor.PIXELS)).at[:, 2].set(1.0), jnp.array([2, 1])
    other = room.at[:, corridor.ROOMS].set(1.0)
    paid = {}
    for name, c in {
        "all": corridor.Arm(weight=1.0),
        "rooms": corridor.Arm(blind=1.0),
        "pay": corridor.Arm(pay=1.0),
    }.items():
        bonus = corridor.bonus_of(corridor.COUNTS, c)
        state = bonus.init(jax.random.key(0), room)
        for _ in range(4):
            state = bonus.update(jax.random.key(1), state, Transitions(room, watch, room))
        paid[name] = [bonus.bonus(state, room, watch, after).tolist() for after in (room, other)]
    np.testing.assert_allclose(paid["all"], [[8**-0.5] * 2, [1, 1]], rtol=1e-5)
    np.testing.assert_allclose(paid["rooms"], [[8**-0.5] * 2] * 2, rtol=1e-5)
    np.testing.assert_array_equal(paid["pay"], [[1, 0]] * 2)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"steps": 3000}, "steps must be a multiple of 2048"),
        ({"families": ("bribes",)}, "choose from errors, pay for means"),
        ({"bonuses": (corridor.RND,)}, "bonuses must contain counts"),
        ({"selection": -1}, "selection must be at least 0"),
    ],
)
def test_bad_settings_are_one_sentence(wrong, words):
    with pytest.raises(check.InputError, match=words):
        Config(**wrong)
