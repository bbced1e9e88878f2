"""Causal models against the algebra of a linear model, the prior of the noise, and SciPy's tests of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from lrn.check import InputError
from lrn.fair import scm as causal
from lrn.fair.mechanisms import additive, binary, categorical, ordinal
from lrn.fair.scm import Mechanism, scm

N = 4000
TABLE = np.array([[0.2, 0.5, 0.3, 0.0], [0.1, 0.2, 0.3, 0.4]])
LOGITS = np.array([[0.5, -1.0, 0.3], [-0.5, 1.0, 0.0]])


def chosen(table, a):
    return jnp.asarray(table)[a.astype(int)]


# Not in causal order: scm sorts the mechanisms.
MODEL = scm(
    additive("y", ("a", "m"), lambda v: 1 + 2 * v["a"] - v["m"], 1.5),
    Mechanism("d", ("y", "m"), lambda v, noise: v["y"] * v["m"]),
    binary("a", (), lambda v: jnp.asarray(0.4)),
    additive("m", ("a",), lambda v: 0.5 * v["a"], 0.7),
    ordinal("o", ("a",), lambda v: 3 * chosen(TABLE, v["a"])),
    categorical("c", ("a",), lambda v: chosen(LOGITS, v["a"]), 3),
)
DRAW = jax.jit(lambda key: causal.draw_noise(MODEL, key, N))
OBSERVE = jax.jit(lambda noise: causal.observe(MODEL, noise))
ABDUCT = jax.jit(lambda values, key: causal.abduct(MODEL, values, key))
OTHER = jax.jit(lambda values, a, key: causal.counterfactual(MODEL, values, {"a": a}, key))


@pytest.fixture(scope="module")
def rows():
    noise = jax.device_get(DRAW(jax.random.key(0)))
    return noise, jax.device_get(OBSERVE(noise))


def test_variables_follow_from_their_noise(rows):
    noise, found = rows
    sampled = jax.jit(lambda key: causal.sample(MODEL, key, N))(jax.random.key(0))
    for name, value in found.items():
        np.testing.assert_allclose(sampled[name], value, atol=2e-5)
    assert sampled.keys() == found.keys() == set(MODEL.names)
    a = (noise["a"] >= 0.6).astype(float)
    m = 0.5 * a + 0.7 * noise["m"]
    y = 1 + 2 * a - m + 1.5 * noise["y"]
    o = (noise["o"][:, None] >= np.cumsum(TABLE, 1)[a.astype(int), :3]).sum(1)
    c = (LOGITS[a.astype(int)] + noise["c"]).argmax(1)
    for name, wanted in {"a": a, "m": m, "y": y, "d": y * m, "o": o, "c": c}.items():
        np.testing.assert_allclose(found[name], wanted, atol=2e-5)
        assert found[name].dtype == np.float32


def test_discrete_variables_have_their_chances(rows):
    _, found = rows
    for a in (0, 1):
        own = found["a"] == a
        for name, chance in {"o": TABLE[a], "c": special.softmax(LOGITS[a])}.items():
            shares = np.bincount(found[name][own].astype(int), minlength=len(chance)) / own.sum()
            assert np.abs(shares - chance).max() < 5 * np.sqrt(0.25 / own.sum())
    assert abs(found["a"].mean() - 0.4) < 5 * np.sqrt(0.24 / N)


def test_counterfactuals_of_additive_mechanisms_are_exact(rows):
    _, found = rows
    other = OTHER(found, 1 - found["a"], jax.random.key(1))
    change = 1 - 2 * found["a"]
    np.testing.assert_array_equal(other["a"], 1 - found["a"])
    np.testing.assert_allclose(other["m"], found["m"] + 0.5 * change, atol=1e-5)
    np.testing.assert_allclose(other["y"], found["y"] + 1.5 * change, atol=1e-5)
    np.testing.assert_allclose(other["d"], other["y"] * other["m"], rtol=1e-6)


def test_nothing_changes_without_an_intervention(rows):
    _, found = rows
    same = OTHER(found, found["a"], jax.random.key(2))
    for name, value in found.items():
        np.testing.assert_allclose(same[name], value, atol=2e-5)


def test_abducted_noise_has_the_distribution_of_the_prior(rows):
    _, found = rows
    noise = jax.device_get(ABDUCT(found, jax.random.key(3)))
    assert stats.kstest(noise["a"], "uniform").pvalue > 1e-3
    assert stats.kstest(noise["o"], "uniform").pvalue > 1e-3
    for column in noise["c"].T:
        assert stats.kstest(column, "gumbel_r").pvalue > 1e-3
    together = np.corrcoef(np.column_stack([noise["c"], noise["o"], noise["a"]]).T)
    assert np.abs(together - np.eye(5)).max() < 5 / np.sqrt(N)


def test_couplings_of_discrete_variables(rows):
    _, found = rows
    other = OTHER(found, np.ones(N), jax.random.key(4))
    moved = found["a"] == 0
    assert (other["o"] >= found["o"])[moved].all()  # the chances of group 1 are higher everywhere
    # From the chances of both worlds: a uniform noise leaves 0 at .2 in one world and at .1 in the other.
    start = moved & (found["o"] == 0)
    assert abs((other["o"][start] == 0).mean() - 0.5) < 5 * np.sqrt(0.25 / start.sum())
    # Gumbel noise: nobody leaves category 1, which gains on both others.
    assert (other["c"] == 1)[moved & (found["c"] == 1)].all()
    shares = np.bincount(other["c"][moved].astype(int), minlength=3) / moved.sum()
    assert np.abs(shares - special.softmax(LOGITS[1])).max() < 5 * np.sqrt(0.25 / moved.sum())


def test_interventions_are_not_conditions():
    # u causes a and y: the effect of a is 1, the difference between the groups is larger.
    model = scm(
        additive("u", (), lambda v: 0.0),
        binary("a", ("u",), lambda v: jax.nn.sigmoid(2 * v["u"])),
        additive("y", ("u", "a"), lambda v: v["a"] + v["u"]),
    )
    run = jax.jit(
        lambda key, value: (
            causal.sample(model, key, N),
            causal.sample(causal.intervene(model, {"a": value}), key, N)["y"],
        )
    )
    (seen, one), (_, zero) = (run(jax.random.key(5), value) for value in (1.0, 0.0))
    np.testing.assert_allclose(one - zero, 1, atol=1e-5)
    gap = seen["y"][seen["a"] == 1].mean() - seen["y"][seen["a"] == 0].mean()
    assert gap > 1.5
    sweep = lambda v, key: causal.sample(causal.intervene(model, {"a": v}), key, N)["y"]  # noqa: E731
    swept = jax.jit(jax.vmap(sweep, (0, None)))(np.array([0.0, 1.0]), jax.random.key(5))
    np.testing.assert_allclose(swept, [zero, one], atol=1e-5)


def test_gradients_pass_through_a_counterfactual(rows):
    _, found = rows
    few = {name: value[:6] for name, value in found.items()}
    run = lambda a, key: causal.counterfactual(MODEL, few, {"a": a}, key)["y"].mean()  # noqa: E731
    slope = jax.jit(jax.value_and_grad(run))
    assert float(slope(0.5, jax.random.key(6))[1]) == pytest.approx(1.5, abs=1e-5)
    assert np.isnan(slope(np.nan, jax.random.key(6))).all()


@pytest.mark.usefixtures("key_reuse_checks")
@pytest.mark.slow
def test_no_key_is_used_twice():
    def run(key):
        first, second = jax.random.split(key)
        values = causal.sample(MODEL, first, 3)
        return causal.counterfactual(MODEL, values, {"a": 1.0}, second)

    assert np.isfinite(jax.tree.leaves(jax.jit(run)(jax.random.key(9)))).all()


def test_descendants():
    assert set(causal.descendants(MODEL, "m")) == {"y", "d"}
    assert set(causal.descendants(MODEL, "a")) == {"m", "y", "d", "o", "c"}
    assert causal.descendants(MODEL, "d") == ()


def test_impossible_values_are_refused_and_nan_under_jit(rows):
    _, found = rows
    wrong = {name: value.copy() for name, value in found.items()}
    wrong["o"][0], wrong["o"][1] = 4, 0.5  # no such value
    wrong["c"][2] = -1
    impossible = int(np.argmax(found["a"] == 0))
    wrong["o"][impossible] = 3  # has chance 0 in group 0
    hidden = OTHER(wrong, np.ones(N), jax.random.key(7))
    for row in {0, 1, 2, impossible}:
        assert all(np.isnan(value[row]) for value in hidden.values())
    assert np.isfinite([value[50:] for value in hidden.values()]).all()
    loose = scm(ordinal("o", (), lambda v: TABLE[0]))
    with pytest.raises(InputError, match="'o' cannot give back 2 of 3 observed values, such as 4"):
        causal.abduct(loose, {"o": np.array([4.0, 1, 3])}, jax.random.key(8))
    crooked = scm(Mechanism("x", (), lambda v, e: 2 * e, lambda k, n: jnp.ones(n), lambda v, x: x))
    with pytest.raises(InputError, match="mend the mechanism or its inverse"):
        causal.abduct(crooked, {"x": np.ones(2)})


def test_unknown_noise_is_nan_in_decisions_and_in_gradients():
    above = lambda v, noise: (noise > 0).astype(jnp.float32)  # noqa: E731
    model = scm(Mechanism("x", (), above, lambda key, n: jnp.ones(n)))
    found = jax.jit(lambda noise: causal.observe(model, {"x": noise})["x"])(np.array([-1, np.nan, 1]))
    np.testing.assert_array_equal(found, [0, np.nan, 1])
    plain = scm(additive("x", (), lambda v: 0.0, 2.0))
    slope = jax.jit(jax.grad(lambda noise: causal.observe(plain, {"x": noise})["x"].sum()))
    np.testing.assert_array_equal(slope(np.array([1, np.nan], np.float32)), [2, np.nan])


def test_models_that_are_none():
    a, b = additive("a", ("b",), lambda v: v["b"]), additive("b", ("a",), lambda v: v["a"])
    with pytest.raises(InputError, match="got list; unpack a list with a star"):
        scm([a, b])  # pyright: ignore
    with pytest.raises(InputError, match=r"parents of 'a' must be a tuple of names, got the string 'b'"):
        scm(a._replace(parents="b"))
    with pytest.raises(InputError, match="cycle, a -> b -> a"):
        scm(a, b)
    with pytest.raises(InputError, match="parent of 'a' 'b' is not known"):
        scm(a)
    with pytest.raises(InputError, match="'a' has two mechanisms"):
        scm(a, a)
    with pytest.raises(InputError, match="at least one mechanism"):
        scm()
    with pytest.raises(InputError, match="scale must be"):
        additive("a", (), lambda v: 0, 0.0)
    with pytest.raises(InputError, match="k must be at least 2"):
        categorical("c", (), lambda v: np.zeros(1), 1)


def trace(function, *args):
    """Trace without compiling: these errors need no values."""
    return jax.eval_shape(lambda: function(*args))


def test_bad_arguments(rows):
    noise, found = rows
    few = {name: value[:4] for name, value in found.items()}
    with pytest.raises(InputError, match="n must be at least 1"):
        trace(causal.sample, MODEL, jax.random.key(0), 0)
    with pytest.raises(InputError, match="noise has no entry 'm'"):
        trace(causal.observe, MODEL, {name: value for name, value in noise.items() if name != "m"})
    with pytest.raises(InputError, match="noise must have one entry for each individual"):
        trace(causal.observe, MODEL, noise | {"m": np.ones(3, np.float32)})
    with pytest.raises(InputError, match="the value of 'a' must hold numbers"):
        causal.intervene(MODEL, {"a": "b"})
    for wrong, message in [
        (categorical("c", (), lambda v: np.zeros(6), 3), r"the logits of 'c' must have shape \[2, 3\]"),
        (ordinal("c", (), lambda v: np.ones((5, 3))), r"the chances of 'c' must have shape \[2, k\]"),
        (additive("c", (), lambda v: np.ones(5)), "the mean of 'c' must be a number"),
    ]:
        with pytest.raises(InputError, match=message):
            trace(causal.sample, scm(wrong), jax.random.key(0), 2)
    with pytest.raises(InputError, match="intervened variable 'b' is not known"):
        causal.intervene(MODEL, {"b": 1})
    with pytest.raises(InputError, match="the value of 'a' is not finite"):
        causal.intervene(MODEL, {"a": np.nan})
    with pytest.raises(InputError, match="number or \\[n\\], got shape"):
        causal.intervene(MODEL, {"a": np.ones((2, 2))})
    with pytest.raises(InputError, match="observed has no variable 'm'"):
        trace(
            causal.abduct,
            MODEL,
            {name: value for name, value in few.items() if name != "m"},
            jax.random.key(0),
        )
    with pytest.raises(InputError, match="give a key to draw it"):
        trace(causal.abduct, MODEL, few)
    with pytest.raises(InputError, match="m must be numbers, one for each of the 4"):
        trace(causal.abduct, MODEL, few | {"m": np.ones(3)}, jax.random.key(0))
    with pytest.raises(InputError, match="reads 'z', which is not among its parents"):
        trace(causal.sample, scm(additive("x", (), lambda v: v["z"])), jax.random.key(0), 2)
    long = Mechanism("x", (), lambda v, e: jnp.ones(3), lambda key, n: jnp.ones(n))
    with pytest.raises(InputError, match="gave shape"):
        trace(causal.sample, scm(long), jax.random.key(0), 1)
    closed = scm(Mechanism("x", (), lambda v, e: e, lambda key, n: jnp.ones(n)))
    with pytest.raises(InputError, match="neither an inverse nor a draw"):
        trace(causal.abduct, closed, {"x": np.ones(2)})
    with pytest.raises(InputError, match="the variable 'q' is not known"):
        causal.descendants(MODEL, "q")
