"""Path-specific effects against path coefficients of a linear model and against nested counterfactuals."""

import jax
import numpy as np
import pytest

from lrn.check import InputError
from lrn.fair.mechanisms import additive, binary
from lrn.fair.path_effects import edges, natural_effects, path_specific, path_specific_effect, with_predictor
from lrn.fair.scm import draw_noise, scm

N = 50
# a -> m -> w -> y, a -> w, m -> y, a -> y, with these coefficients.
AM, AW, MW, AY, MY, WY = 0.5, -0.7, 0.9, 0.3, -1.1, 0.6
LINEAR = scm(
    binary("a", (), lambda v: np.float32(0.5)),
    additive("m", ("a",), lambda v: AM * v["a"]),
    additive("w", ("a", "m"), lambda v: AW * v["a"] + MW * v["m"]),
    additive("y", ("a", "m", "w"), lambda v: AY * v["a"] + MY * v["m"] + WY * v["w"]),
)
PATHS = {
    "direct": ({("a", "y")}, AY),
    "through m alone": ({("a", "m"), ("m", "y")}, AM * MY),
    "through w alone": ({("a", "w"), ("w", "y")}, AW * WY),
    "through m and w": ({("a", "m"), ("m", "w"), ("w", "y")}, AM * MW * WY),
    "all": (edges(LINEAR), AY + AM * MY + AW * WY + AM * MW * WY),
    "none": (set(), 0),
    "an edge that leads nowhere": ({("a", "m")}, 0),
    "an edge without a start": ({("m", "y")}, 0),
}
WEIGHT = np.arange(N) % 3


def squashed(values):
    return 0.5 + 0.1 * values["a"] * values["m"] / (1 + values["m"] ** 2) + 0.2 * values["a"]


MODEL = with_predictor(LINEAR, ("a", "m"), squashed)
NOISE = jax.jit(lambda key: draw_noise(LINEAR, key, N))(jax.random.key(0))
NOISE = {name: np.asarray(value, np.float64) for name, value in NOISE.items()}
NATURAL = jax.jit(lambda noise, a, b, w: natural_effects(MODEL, noise, "a", a, b, weight=w))


def test_effects_of_a_linear_model_are_products_along_the_paths():
    def run(noise, b):
        effect = lambda passing: path_specific_effect(LINEAR, noise, "a", 0.0, b, passing, "y")  # noqa: E731
        return {name: effect(passing) for name, (passing, _) in PATHS.items()}

    with jax.enable_x64(True):
        found = jax.jit(run)(NOISE, 2.0)
        for name, (_, wanted) in PATHS.items():
            assert float(found[name]) == pytest.approx(2 * wanted, abs=1e-12), name


def test_natural_effects_are_nested_counterfactuals_of_the_predictor():
    m = NOISE["m"]
    f = lambda a, m: 0.5 + 0.1 * a * m / (1 + m**2) + 0.2 * a  # noqa: E731
    mean = lambda value: np.average(value - f(0, m), weights=WEIGHT)  # noqa: E731
    wanted = [mean(f(1, m + AM)), mean(f(1, m)), mean(f(0, m + AM))]
    with jax.enable_x64(True):
        found = [float(value) for value in NATURAL(NOISE, 0.0, 1.0, WEIGHT.astype(float))]
    assert found[:3] == pytest.approx(wanted, abs=1e-12)
    assert found[3] == pytest.approx(wanted[0] - wanted[1] - wanted[2], abs=1e-12)
    assert abs(found[3]) > 1e-4


def test_an_attribute_of_each_row_and_the_attribute_itself():
    own = np.arange(N) % 2.0
    world = path_specific(LINEAR, NOISE, "a", own, 1 - own, {("a", "m")})
    np.testing.assert_allclose(world["a"], 1 - own)
    np.testing.assert_allclose(world["m"], AM * (1 - own) + NOISE["m"], atol=1e-6)


def test_bad_input_and_nan_under_jit():
    few = {name: value[:3] for name, value in NOISE.items()}
    with pytest.raises(InputError, match=r"\('y', 'a'\) is no edge of the model; its edges are a -> m"):
        path_specific(LINEAR, few, "a", 0, 1, [("y", "a")])
    with pytest.raises(InputError, match="intervened variable 'b' is not known"):
        path_specific(LINEAR, few, "b", 0, 1, [])
    with pytest.raises(InputError, match="the outcome 'prediction' is not known"):
        natural_effects(LINEAR, few, "a", 0, 1)
    with pytest.raises(InputError, match="two mechanisms"):
        with_predictor(LINEAR, ("a",), squashed, "y")
    with pytest.raises(InputError, match="parent of 'prediction' 'z' is not known"):
        with_predictor(LINEAR, ("z",), squashed)
    assert np.isnan(NATURAL(NOISE, 0.0, 1.0, -WEIGHT)).all()
    assert np.isnan(NATURAL(NOISE, 0.0, np.nan, WEIGHT)).any()
