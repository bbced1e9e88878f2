"""Predictions on tables with known answers."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import studies
from scipy import stats as scipy_stats

from lrn import table
from lrn.study import (
    Above,
    Below,
    Cell,
    Control,
    Equivalence,
    Exact,
    Prediction,
    Regime,
    Share,
    Superiority,
    Trend,
    Within,
    predictions,
    verdict,
)
from lrn.study.source import study_sha256

NOISE = np.random.RandomState(1).randn(6, 10)


def make(**arms):
    """A table with the metric "m": arm name -> values [seeds]."""
    return table.concat([table.rows(arm, np.arange(len(v)), 0, "m", v) for arm, v in arms.items()])


def outcome(prediction: Prediction, alpha=0.05, **arms):
    finding = prediction.find(make(**arms))
    return verdict._outcome(finding, None, alpha), finding


def over(margin=0.0, **options):
    return Superiority(
        statement="a over b", better=Cell("a", "m"), worse=Cell("b", "m"), margin=margin, **options
    )


def test_superiority_is_a_paired_test():
    base = 10 * NOISE[0]  # a spread between seeds, which pairing removes
    decided, finding = outcome(over(), a=base + 1 + 0.1 * NOISE[1], b=base)
    assert decided == "holds"
    assert finding.p_holds == pytest.approx(2**-10)
    d = 1 + 0.1 * NOISE[1]
    low, high = scipy_stats.t.interval(0.95, 9, d.mean(), scipy_stats.sem(d))
    assert finding.interval == pytest.approx((low, high))
    assert finding.effect == pytest.approx(d.mean())


@pytest.mark.parametrize(
    ("margin", "expected"), [(0.0, "holds"), (0.5, "holds"), (1.0, "open"), (2.0, "fails")]
)
def test_the_margin_of_superiority(margin, expected):
    assert outcome(over(margin), a=1 + 0.2 * (NOISE[1] - NOISE[1].mean()), b=np.zeros(10))[0] == expected


def test_non_inferiority():
    worse_by_a_little = -0.01 + 0.005 * NOISE[0]
    assert outcome(over(-0.05), a=worse_by_a_little, b=np.zeros(10))[0] == "holds"
    assert outcome(over(0.0), a=worse_by_a_little, b=np.zeros(10))[0] == "fails"


def test_equivalence_and_within():
    same = Equivalence(statement="", one=Cell("a", "m"), other=Cell("b", "m"), margin=0.5)
    assert outcome(same, a=0.1 * NOISE[0], b=np.zeros(10))[0] == "holds"
    assert outcome(same, a=2 + 0.1 * NOISE[0], b=np.zeros(10))[0] == "fails"
    assert outcome(same, a=3 * NOISE[0], b=np.zeros(10))[0] == "open"
    inside = Within(statement="", cell=Cell("a", "m"), low=0.9, high=1.1)
    assert outcome(inside, a=1 + 0.05 * NOISE[0])[0] == "holds"
    assert outcome(inside, a=2 + 0.05 * NOISE[0])[0] == "fails"


def test_the_median_of_skewed_differences():
    # Nine small gains and one large loss: the mean is below zero, the median is above zero.
    a = np.r_[0.1 + 0.05 * np.abs(NOISE[0][:9]), -30.0]
    median = over(of="median")
    decided, finding = outcome(median, a=a, b=np.zeros(10))
    assert decided == "holds"
    assert finding.p_holds == pytest.approx(11 / 1024)
    assert finding.effect == np.median(a)
    assert finding.interval == (np.sort(a)[1], np.sort(a)[-2])
    assert "exact sign test" in finding.detail
    assert outcome(over(), a=a, b=np.zeros(10))[0] == "open"
    assert outcome(over(0.12, of="median"), a=a, b=np.zeros(10))[0] == "open"
    assert outcome(over(0.5, of="median"), a=a, b=np.zeros(10))[0] == "fails"
    assert median.spec()["params"]["of"] == "median"
    assert median.spec()["params"] != over().spec()["params"]


def test_a_finding_says_what_its_test_assumes():
    even = outcome(over(), a=NOISE[2], b=np.zeros(10))[1]
    assert even.detail == "mean by sign flips, guarded against skew"
    skewed = 1 - np.exp(1.2 * NOISE[1])
    finding = outcome(over(), a=skewed, b=np.zeros(10))[1]
    expected = scipy_stats.skew(skewed, bias=False)
    assert expected < -1.5
    assert f"with skewness {expected:.1f} the level is doubtful" in finding.detail
    same = Equivalence(statement="", one=Cell("a", "m"), other=Cell("b", "m"), margin=0.5)
    inside = Within(statement="", cell=Cell("a", "m"), low=-9, high=9)
    for prediction in (same, inside):
        assert "doubtful" in outcome(prediction, a=-skewed, b=np.zeros(10))[1].detail
        assert "doubtful" not in outcome(prediction, a=NOISE[2], b=np.zeros(10))[1].detail


@pytest.mark.parametrize("seeds", [1, 2, 10])
def test_differences_without_spread_have_no_p_of_zero(seeds):
    a, b = np.full(seeds, 0.97), np.full(seeds, 0.96)
    for prediction in (
        over(),
        over(0.005),
        over(0.005, of="median"),
        Equivalence(statement="", one=Cell("a", "m"), other=Cell("b", "m"), margin=0.02),
        Within(statement="", cell=Cell("a", "m"), low=0.9, high=1),
        Within(statement="", cell=Cell("a", "m"), low=0.9, high=np.inf),
    ):
        finding = outcome(prediction, a=a, b=b)[1]
        assert finding.p_holds == 2.0**-seeds
        assert finding.p_fails == 1
        assert finding.n == seeds
    on_the_margin = outcome(over(0.01), a=a, b=b)[1]
    assert on_the_margin.p_holds == on_the_margin.p_fails == 1
    outside = outcome(Within(statement="", cell=Cell("a", "m"), low=0, high=0.5), a=a)[1]
    assert outside.p_holds == 1
    assert outside.p_fails == 2 * 2.0**-seeds


def test_the_margin_tests_of_a_study_hold_their_level_under_skew():
    """The true mean lies on the margin, with twenty seeds; plain flips pass .11 of exponential samples."""
    rng = np.random.RandomState(8)
    p = []
    for _ in range(400):
        d = 1 - rng.exponential(size=20)
        p.append(over(0.25).judge([d + 0.25, np.zeros(20)]).p_holds)
    assert np.mean(np.array(p) <= 0.05) <= 0.09
    inside = Within(statement="", cell=Cell("a", "m"), low=-5, high=0)
    p = [inside.judge([rng.exponential(size=20) - 1]).p_holds for _ in range(400)]
    assert np.mean(np.array(p) <= 0.05) <= 0.09


def test_how_a_prediction_fails():
    flat = 0.01 * NOISE[0]
    for mean, margin, how in ((0.5, 1.0, "short"), (0.0, 1.0, "negligible"), (-0.5, 1.0, "opposite")):
        decided, finding = outcome(over(margin), a=mean + flat, b=np.zeros(10))
        assert (decided, finding.how) == ("fails", how)
    # With no margin, or a negative margin, "opposite" is the only way to fail.
    assert outcome(over(), a=flat - 1, b=np.zeros(10))[1].how == "opposite"
    assert outcome(over(-0.5), a=flat - 1, b=np.zeros(10))[1].how == "opposite"


def test_a_side_may_be_a_number():
    value = 1 + 0.1 * NOISE[0]
    finding = outcome(Superiority(statement="", better=Cell("a", "m"), worse=0.5), a=value)[1]
    among_cells = outcome(over(), a=value, b=np.full(10, 0.5))[1]
    assert finding == dataclasses.replace(among_cells, hedges_g=None, probability_of_improvement=None)
    assert outcome(Superiority(statement="", better=0.5, worse=Cell("a", "m")), a=value)[0] == "fails"
    near = Equivalence(statement="", one=Cell("a", "m"), other=1.0, margin=0.2)
    assert outcome(near, a=value)[0] == "holds"


@pytest.mark.parametrize("of", ["mean", "median"])
def test_bounds_on_one_side(of):
    a = 1 + 0.1 * NOISE[0]
    above = Above(statement="", cell=Cell("a", "m"), bound=0.5, of=of)
    below = Below(statement="", cell=Cell("a", "m"), bound=0.5, of=of)
    up, down = outcome(above, a=a), outcome(below, a=a)
    assert (up[0], down[0]) == ("holds", "fails")
    assert down[1].how == "outside"
    # The same test, mirrored twice; effects have the unit of the metric.
    plain = outcome(over(0.5, of=of), a=a, b=np.zeros(10))[1]
    for finding in (up[1], down[1]):
        assert finding.effect == pytest.approx(plain.effect)
        assert finding.interval == pytest.approx(plain.interval)
    assert (up[1].p_holds, up[1].p_fails) == (plain.p_holds, plain.p_fails)
    assert (down[1].p_holds, down[1].p_fails) == (plain.p_fails, plain.p_holds)


@pytest.mark.parametrize(("k", "side", "expected"), [
    (9, "above", "holds"), (8, "above", "open"), (1, "above", "fails"),
    (1, "below", "holds"), (2, "below", "open"), (9, "below", "fails"),
])  # fmt: skip
def test_a_share_is_tested_by_the_binomial(k, side, expected):
    ones = (np.arange(10) < k).astype(float)
    decided, finding = outcome(Share(statement="", cell=Cell("a", "m"), bound=0.5, side=side), a=ones)
    way = {"above": "greater", "below": "less"}[side]
    assert finding.p_holds == pytest.approx(scipy_stats.binomtest(k, 10, 0.5, way).pvalue)
    assert finding.interval == pytest.approx(tuple(scipy_stats.binomtest(k, 10).proportion_ci()))
    assert (decided, finding.effect) == (expected, k / 10)


def test_a_share_of_no_runs_is_no_p_of_zero():
    """Zero events in 20 runs do not show a share under a tenth: .9^20 is .12."""
    finding = outcome(Share(statement="", cell=Cell("a", "m"), bound=0.1, side="below"), a=np.zeros(20))[1]
    assert finding.p_holds == pytest.approx(0.9**20)


def test_a_share_counts_nothing_but_ones_and_zeros():
    with pytest.raises(ValueError, match="values other than 0 and 1"):
        outcome(Share(statement="", cell=Cell("a", "m"), bound=0.5), a=np.full(10, 0.5))


def test_a_cell_may_name_a_step():
    curve = table.concat([table.rows("a", range(10), step, "m", step + NOISE[0]) for step in (0, 5, 9)])
    at = [Above(statement="", cell=Cell("a", "m", s), bound=3.0).find(curve).effect for s in (0, 5, None)]
    assert at == pytest.approx([s + NOISE[0].mean() for s in (0, 5, 9)])
    with pytest.raises(ValueError, match="was not recorded at step 6; choose from 0, 5, 9"):
        Above(statement="", cell=Cell("a", "m", 6), bound=3.0).find(curve)


def test_trend():
    cells = tuple(Cell(str(i), "m") for i in range(4))
    rising = Trend(statement="", over=cells, levels=(0, 1, 2, 4))
    values = {str(i): x + 0.1 * NOISE[i] for i, x in enumerate((0, 1, 2, 4))}
    decided, finding = outcome(rising, **values)
    assert decided == "holds"
    assert finding.effect == pytest.approx(1, abs=0.1)
    assert outcome(dataclasses.replace(rising, direction="decreasing"), **values)[0] == "fails"
    assert outcome(rising, **{str(i): NOISE[i] for i in range(4)})[0] == "open"


def test_exact():
    known = Exact(statement="", cell=Cell("a", "m"), value=1.0, atol=1e-6)
    assert outcome(known, a=np.ones(10))[0] == "holds"
    assert outcome(known, a=np.r_[np.ones(9), 1.001])[0] == "fails"


def test_a_failed_seed_decides_nothing_unless_said_beforehand():
    a = np.r_[np.ones(9), np.nan]
    decided, finding = outcome(over(), a=a, b=np.zeros(10))
    assert decided == "open"
    assert "1 of 10 seeds failed" in finding.detail
    assert outcome(over(failed_as=-100.0), a=a, b=np.zeros(10))[0] == "open"
    assert outcome(over(failed_as=0.5), a=a, b=np.zeros(10))[0] == "holds"


def test_missing_cells_and_unequal_seeds_are_named():
    with pytest.raises(ValueError, match="arm 'b' is not known"):
        over().find(make(a=np.ones(3)))
    with pytest.raises(ValueError, match="metric 'm' is not known; did you mean mm"):
        over().find(table.concat([make(a=np.ones(3)), table.rows("b", [0, 1, 2], 0, "mm", np.ones(3))]))
    with pytest.raises(ValueError, match="different seeds"):
        over().find(make(a=np.ones(3), b=np.ones(4)))


def test_the_hash_of_a_study_is_of_its_code(tmp_path):
    source = Path(studies.__file__).read_text()

    def hashed(text):
        (tmp_path / "s.py").write_text(text)
        return study_sha256(tmp_path / "s.py")

    assert hashed(source) == hashed(source.replace("no training.", "none of it trains.") + "\n# a comment\n")
    assert hashed(source) != hashed(source.replace("gap: float = 1.0", "gap: float = 1.5"))
    assert hashed(source) != hashed(source.replace("a scores above b.", "b scores above a."))


BAD = {
    "section": (lambda: dataclasses.replace(studies.STUDY, section="Insight"), "did you mean Insights"),
    "no presets": (lambda: dataclasses.replace(studies.STUDY, presets={}), "has no presets"),
    "presets of two kinds": (
        lambda: dataclasses.replace(studies.STUDY, presets={"smoke": studies.Config(), "quick": 3}),
        "instances of one dataclass",
    ),
    "predicts nothing": (lambda: dataclasses.replace(studies.STUDY, regimes=()), "predicts nothing"),
    "two numbers": (lambda: Superiority(statement="", better=1.0, worse=0.5), "compares two numbers"),
    "a side without a value": (
        lambda: Superiority(statement="", better=Cell("a", "m"), worse=float("nan")),
        "a side must be a finite number",
    ),
    "no share": (
        lambda: Share(statement="", cell=Cell("a", "m"), bound=1.0),
        "no share lies above 1",
    ),
    "no primary": (lambda: Regime(name="r", primary=()), "regime 'r' predicts nothing"),
    "a name twice": (
        lambda: dataclasses.replace(studies.STUDY, regimes=studies.STUDY.asked(None) * 2),
        "two regimes of 'a beats b' share a name",
    ),
    "a key twice": (
        lambda: dataclasses.replace(studies.STUDY, regimes=(Regime(name="r", primary=(over(key="k"),) * 2),)),
        "two predictions of 'a beats b' share a key",
    ),
    "five regimes": (
        lambda: dataclasses.replace(studies.STUDY, regimes=studies.STUDY.asked(None) * 5),
        "has 5 regimes and a verdict takes at most 4",
    ),
    "four primaries": (
        lambda: dataclasses.replace(studies.STUDY, regimes=(Regime(name="r", primary=(over(),) * 4),)),
        "has 4 primary predictions and may have 3",
    ),
    "alpha": (lambda: dataclasses.replace(studies.STUDY, alpha=1.5), "alpha must lie between"),
    "margin": (
        lambda: Equivalence(statement="", one=Cell("a", "m"), other=Cell("b", "m"), margin=0.0),
        "margin must be",
    ),
    "of": (lambda: over(of="mode"), "of 'mode' is not known"),
    "bounds": (lambda: Within(statement="", cell=Cell("a", "m"), low=1, high=0), "low must be below high"),
    "two levels": (
        lambda: Trend(statement="", over=(Cell("a", "m"), Cell("b", "m")), levels=(0, 1)),
        "three or more",
    ),
    "unsorted levels": (
        lambda: Trend(statement="", over=(Cell("a", "m"),) * 3, levels=(0, 2, 1)),
        "must increase",
    ),
    "direction": (
        lambda: Trend(statement="", over=(Cell("a", "m"),) * 3, levels=(0, 1, 2), direction="up"),  # pyright: ignore
        "direction 'up' is not known",
    ),
    "tolerance": (lambda: Exact(statement="", cell=Cell("a", "m"), value=0, atol=-1), "atol must be"),
    "consequence": (lambda: Control(over(), "ignore"), "consequence 'ignore' is not known"),  # pyright: ignore
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_sentence(case):
    make_it, sentence = BAD[case]
    with pytest.raises(ValueError, match=sentence) as raised:
        make_it()
    assert "\n" not in str(raised.value)


def test_cells_of_different_seeds_are_not_paired():
    shifted = table.rows("b", [1, 2, 3], 0, "m", np.ones(3))
    with pytest.raises(ValueError, match="different seeds"):
        over().find(table.concat([make(a=np.ones(3)), shifted]))


def test_the_final_value_is_each_seeds_own():
    rows = [table.rows("a", [0, 1], 5, "m", [1.0, 2.0]), table.rows("a", [1], 9, "m", [3.0])]
    assert table.concat(rows).final("a", "m").tolist() == [1.0, 3.0]


def test_the_hash_is_the_same_for_every_python(tmp_path):
    (tmp_path / "s.py").write_text("def f(x: int = 3):\n    return [x, None, 'a', {}]\n")
    assert study_sha256(tmp_path / "s.py")[:16] == "7b859c5e4e03cb13"


@pytest.mark.parametrize(
    "prediction",
    [
        over(0.1),
        dataclasses.replace(over(-0.2), failed_as=-np.inf, key="here"),
        Equivalence(statement="e", one=Cell("a", "m"), other=Cell("b", "n"), margin=0.3, failed_as=0.0),
        Within(statement="w", cell=Cell("a", "m"), low=-np.inf, high=2.0, failed_as=np.inf),
        Trend(
            statement="t", over=tuple(Cell(a, "m") for a in "abc"), levels=(0, 1.5, 2), direction="decreasing"
        ),
        Exact(statement="x", cell=Cell("a", "m"), value=3.0, atol=1e-6),
        Above(statement="above", cell=Cell("a", "m", 7), bound=0.5, of="median"),
        Below(statement="below", cell=Cell("a", "m"), bound=-0.5),
        Share(statement="share", cell=Cell("a", "m"), bound=0.5, side="below"),
        Superiority(statement="number", better=Cell("a", "m"), worse=0.5),
        Superiority(statement="number first", better=0.5, worse=Cell("a", "m", 0)),
    ],
    ids=lambda p: p.statement,
)
def test_a_prediction_comes_back_from_what_was_registered(prediction):
    """The report judges again from the restored prediction."""
    spec = json.loads(json.dumps(prediction.spec(), allow_nan=False))
    assert predictions.restored(spec) == prediction
    assert predictions.restored(spec).spec() == prediction.spec()
