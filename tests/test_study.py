"""Predictions, controls and verdicts, on tables whose answer is known."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import studies
from scipy import stats as scipy_stats
from statsmodels.stats.multitest import multipletests

from lrn import stats, study, table
from lrn.study import (
    Cell,
    Control,
    Equivalence,
    Exact,
    Prediction,
    Superiority,
    Trend,
    Within,
    predictions,
    verdict,
)

NOISE = np.random.RandomState(1).randn(6, 10)


def make(**arms):
    """A table with the metric "m": arm name -> values [seeds]."""
    return table.concat([table.rows(arm, np.arange(len(v)), 0, "m", v) for arm, v in arms.items()])


def outcome(prediction: Prediction, alpha=0.05, **arms):
    finding = prediction.find(make(**arms))
    return verdict._outcome(finding, finding.p, finding.p_against, alpha), finding


def over(margin=0.0, **options):
    return Superiority(
        statement="a over b", better=Cell("a", "m"), worse=Cell("b", "m"), margin=margin, **options
    )


def test_superiority_is_a_paired_test():
    base = 10 * NOISE[0]  # a spread between seeds that pairing removes
    decided, finding = outcome(over(), a=base + 1 + 0.1 * NOISE[1], b=base)
    assert decided == "supported"
    assert finding.p == pytest.approx(2**-10)
    d = 1 + 0.1 * NOISE[1]
    low, high = scipy_stats.t.interval(0.95, 9, d.mean(), scipy_stats.sem(d))
    assert finding.interval == pytest.approx((low, high))
    assert finding.effect == pytest.approx(d.mean())


@pytest.mark.parametrize(
    ("margin", "expected"), [(0.0, "supported"), (0.5, "supported"), (1.0, "inconclusive"), (2.0, "refuted")]
)
def test_the_margin_of_superiority(margin, expected):
    assert outcome(over(margin), a=1 + 0.2 * (NOISE[1] - NOISE[1].mean()), b=np.zeros(10))[0] == expected


def test_non_inferiority():
    worse_by_a_little = -0.01 + 0.005 * NOISE[0]
    assert outcome(over(-0.05), a=worse_by_a_little, b=np.zeros(10))[0] == "supported"
    assert outcome(over(0.0), a=worse_by_a_little, b=np.zeros(10))[0] == "refuted"


def test_equivalence_and_within():
    same = Equivalence(statement="", one=Cell("a", "m"), other=Cell("b", "m"), margin=0.5)
    assert outcome(same, a=0.1 * NOISE[0], b=np.zeros(10))[0] == "supported"
    assert outcome(same, a=2 + 0.1 * NOISE[0], b=np.zeros(10))[0] == "refuted"
    assert outcome(same, a=3 * NOISE[0], b=np.zeros(10))[0] == "inconclusive"
    inside = Within(statement="", cell=Cell("a", "m"), low=0.9, high=1.1)
    assert outcome(inside, a=1 + 0.05 * NOISE[0])[0] == "supported"
    assert outcome(inside, a=2 + 0.05 * NOISE[0])[0] == "refuted"


def test_the_median_of_skewed_differences():
    # Nine small gains and one large loss: the mean is below zero, the median above.
    a = np.r_[0.1 + 0.05 * np.abs(NOISE[0][:9]), -30.0]
    median = over(of="median")
    decided, finding = outcome(median, a=a, b=np.zeros(10))
    assert decided == "supported"
    assert finding.p == pytest.approx(11 / 1024)
    assert finding.effect == np.median(a)
    assert finding.interval == (np.sort(a)[1], np.sort(a)[-2])
    assert "exact sign test" in finding.detail
    assert outcome(over(), a=a, b=np.zeros(10))[0] == "inconclusive"
    assert outcome(over(0.12, of="median"), a=a, b=np.zeros(10))[0] == "inconclusive"
    assert outcome(over(0.5, of="median"), a=a, b=np.zeros(10))[0] == "refuted"
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
        assert finding.p == 2.0**-seeds
        assert finding.p_against == 1
        assert finding.n == seeds
    on_the_margin = outcome(over(0.01), a=a, b=b)[1]
    assert on_the_margin.p == on_the_margin.p_against == 1
    outside = outcome(Within(statement="", cell=Cell("a", "m"), low=0, high=0.5), a=a)[1]
    assert outside.p == 1
    assert outside.p_against == 2 * 2.0**-seeds


def test_the_margin_tests_of_a_study_hold_their_level_under_skew():
    """The true mean on the margin, twenty seeds: .11 of exponential differences passed sign flips."""
    rng = np.random.RandomState(8)
    p = []
    for _ in range(400):
        d = 1 - rng.exponential(size=20)
        p.append(over(0.25).judge([d + 0.25, np.zeros(20)]).p)
    assert np.mean(np.array(p) <= 0.05) <= 0.09
    inside = Within(statement="", cell=Cell("a", "m"), low=-5, high=0)
    p = [inside.judge([rng.exponential(size=20) - 1]).p for _ in range(400)]
    assert np.mean(np.array(p) <= 0.05) <= 0.09


def test_trend():
    cells = tuple(Cell(str(i), "m") for i in range(4))
    rising = Trend(statement="", over=cells, levels=(0, 1, 2, 4))
    values = {str(i): x + 0.1 * NOISE[i] for i, x in enumerate((0, 1, 2, 4))}
    decided, finding = outcome(rising, **values)
    assert decided == "supported"
    assert finding.effect == pytest.approx(1, abs=0.1)
    assert outcome(dataclasses.replace(rising, direction="decreasing"), **values)[0] == "refuted"
    assert outcome(rising, **{str(i): NOISE[i] for i in range(4)})[0] == "inconclusive"


def test_exact():
    known = Exact(statement="", cell=Cell("a", "m"), value=1.0, atol=1e-6)
    assert outcome(known, a=np.ones(10))[0] == "supported"
    assert outcome(known, a=np.r_[np.ones(9), 1.001])[0] == "refuted"


def test_a_failed_seed_decides_nothing_unless_said_beforehand():
    a = np.r_[np.ones(9), np.nan]
    decided, finding = outcome(over(), a=a, b=np.zeros(10))
    assert decided == "inconclusive"
    assert "1 of 10 seeds failed" in finding.detail
    assert outcome(over(failed_as=-100.0), a=a, b=np.zeros(10))[0] == "inconclusive"
    assert outcome(over(failed_as=0.5), a=a, b=np.zeros(10))[0] == "supported"


def test_missing_cells_and_unequal_seeds_are_named():
    with pytest.raises(ValueError, match="arm 'b' is not known"):
        over().find(make(a=np.ones(3)))
    with pytest.raises(ValueError, match="metric 'm' is not known; did you mean mm"):
        over().find(table.concat([make(a=np.ones(3)), table.rows("b", [0, 1, 2], 0, "mm", np.ones(3))]))
    with pytest.raises(ValueError, match="different seeds"):
        over().find(make(a=np.ones(3), b=np.ones(4)))


def test_judge_corrects_over_the_predictions_that_have_a_p():
    predictions = (over(), over(0.9), Exact(statement="", cell=Cell("b", "m"), value=0.0))
    made = dataclasses.replace(studies.STUDY, predictions=predictions, controls=())
    verdict = study.judge(made, studies.Config(), "quick", make(a=1 + 0.3 * NOISE[2], b=np.zeros(10)))
    p = [r["p"] for r in verdict["predictions"]]
    adjusted = [r["p_adjusted"] for r in verdict["predictions"]]
    assert p[2] is None
    assert adjusted[2] is None
    np.testing.assert_allclose(adjusted[:2], np.asarray(multipletests(p[:2], method="holm")[1]))


def result(outcome, regime="", consequence=None):
    entry = {"outcome": outcome, "regime": regime, "statement": f"says {regime}."}
    return (
        entry
        if consequence is None
        else entry | {"consequence": consequence, "passed": outcome == "supported"}
    )


S, R, I = "supported", "refuted", "inconclusive"  # noqa: E741


@pytest.mark.parametrize(
    ("preset", "seeds", "outcomes", "controls", "expected"),
    [
        ("quick", 10, [S, S], [], "supported"),
        ("quick", 10, [R, R], [], "refuted"),
        ("quick", 10, [R, I], [], "refuted"),
        ("quick", 10, [S, R], [], "mixed"),
        ("quick", 10, [S, R, I], [], "mixed"),
        ("quick", 10, [S, I], [], "inconclusive"),
        ("quick", 10, [I, I], [], "inconclusive"),
        ("quick", 7, [S, S], [], "underpowered"),
        ("smoke", 10, [S, S], [], "smoke"),
        ("smoke", 10, [S, S], [(R, "invalid")], "smoke"),
        ("quick", 10, [S, S], [(R, "invalid")], "invalid"),
        ("quick", 10, [S, S], [(I, "invalid")], "invalid"),
        ("quick", 10, [S, S], [(S, "invalid"), (R, "flag")], "supported"),
        ("quick", 5, [S, S], [(R, "invalid")], "invalid"),
        ("quick", 5, [S, S], [(I, "invalid")], "underpowered"),
    ],
)
def test_the_verdict_follows_from_the_outcomes(preset, seeds, outcomes, controls, expected):
    predictions = [result(o, f"regime {i}") for i, o in enumerate(outcomes)]
    found, reason = verdict.decide(preset, seeds, predictions, [result(o, "c", c) for o, c in controls])
    assert found == expected
    assert reason
    if verdict == "mixed":
        assert "holds (regime 0)" in reason
        assert "fails (regime 1)" in reason


def test_the_hash_of_a_study_is_of_its_code(tmp_path):
    source = Path(studies.__file__).read_text()

    def hashed(text):
        (tmp_path / "s.py").write_text(text)
        return source.study_sha256(tmp_path / "s.py")

    assert hashed(source) == hashed(source.replace("no training.", "none of it trains.") + "\n# a comment\n")
    assert hashed(source) != hashed(source.replace("gap: float = 1.0", "gap: float = 1.5"))
    assert hashed(source) != hashed(source.replace("a scores above b.", "b scores above a."))


def test_the_hash_of_predictions_sees_margins():
    def hashed(**changes):
        return verdict.predictions_sha256(dataclasses.replace(studies.STUDY, **changes), studies.Config())

    assert hashed() != hashed(predictions=(over(0.1),))
    assert hashed(predictions=(over(0.1),)) != hashed(predictions=(over(0.2),))
    assert hashed() != hashed(controls=())


BAD = {
    "section": (lambda: dataclasses.replace(studies.STUDY, section="Insight"), "did you mean Insights"),
    "no presets": (lambda: dataclasses.replace(studies.STUDY, presets={}), "has no presets"),
    "presets of two kinds": (
        lambda: dataclasses.replace(studies.STUDY, presets={"smoke": studies.Config(), "quick": 3}),
        "instances of one dataclass",
    ),
    "predicts nothing": (lambda: dataclasses.replace(studies.STUDY, predictions=()), "predicts nothing"),
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


def test_false_positives_of_a_whole_study():
    """On null data the chance that any of three predictions is supported stays at alpha (Holm)."""
    rng = np.random.RandomState(7)
    hits = 0
    trials = 1000
    for _ in range(trials):
        d = rng.randn(3, 10)
        p = np.array([stats.sign_flip_test(x, alternative="greater") for x in d])
        hits += bool((np.asarray(stats.holm(p)) < 0.05).any())
    assert scipy_stats.binomtest(hits, trials, 0.05, alternative="greater").pvalue > 0.001


def test_too_many_predictions_for_the_seeds_are_underpowered():
    kinds = ("superiority", "equivalence", "interval")
    predictions = [result(I) | {"kind": kinds[i % 3]} for i in range(14)]
    assert verdict.decide("quick", 8, predictions, [])[0] == "underpowered"  # 14 / 2^8 > .05
    assert verdict.decide("quick", 10, predictions, [])[0] == "inconclusive"


def test_refutation_is_corrected_too():
    """At its margin a prediction is refuted as rarely as it is supported, however many there are."""
    rng = np.random.RandomState(3)
    refuted = 0
    made = dataclasses.replace(
        studies.STUDY,
        controls=(),
        predictions=tuple(
            Superiority(statement=str(i), better=Cell(f"a{i}", "m"), worse=Cell("b", "m")) for i in range(6)
        ),
    )
    for _ in range(200):
        arms = {f"a{i}": rng.randn(10) for i in range(6)}
        verdict = study.judge(made, studies.Config(), "quick", make(**arms, b=np.zeros(10)))
        refuted += any(p["outcome"] == "refuted" for p in verdict["predictions"])
    assert scipy_stats.binomtest(refuted, 200, 0.05, alternative="greater").pvalue > 0.001


def test_cells_of_different_seeds_are_not_paired():
    shifted = table.rows("b", [1, 2, 3], 0, "m", np.ones(3))
    with pytest.raises(ValueError, match="different seeds"):
        over().find(table.concat([make(a=np.ones(3)), shifted]))


def test_the_final_value_is_each_seeds_own():
    rows = [table.rows("a", [0, 1], 5, "m", [1.0, 2.0]), table.rows("a", [1], 9, "m", [3.0])]
    assert table.concat(rows).final("a", "m").tolist() == [1.0, 3.0]


def test_the_hash_is_the_same_for_every_python(tmp_path):
    (tmp_path / "s.py").write_text("def f(x: int = 3):\n    return [x, None, 'a', {}]\n")
    assert source.study_sha256(tmp_path / "s.py")[:16] == "7b859c5e4e03cb13"


@pytest.mark.parametrize(
    "prediction",
    [
        over(0.1),
        dataclasses.replace(over(-0.2), failed_as=-np.inf, regime="here"),
        Equivalence(statement="e", one=Cell("a", "m"), other=Cell("b", "n"), margin=0.3, failed_as=0.0),
        Within(statement="w", cell=Cell("a", "m"), low=-np.inf, high=2.0, failed_as=np.inf),
        Trend(
            statement="t", over=tuple(Cell(a, "m") for a in "abc"), levels=(0, 1.5, 2), direction="decreasing"
        ),
        Exact(statement="x", cell=Cell("a", "m"), value=3.0, atol=1e-6),
    ],
    ids=lambda p: p.kind,
)
def test_a_prediction_comes_back_from_what_was_registered(prediction):
    """So the report can judge again."""
    spec = json.loads(json.dumps(prediction.spec(), allow_nan=False))
    assert predictions.restored(spec) == prediction
    assert predictions.restored(spec).spec() == prediction.spec()


def test_bounds_that_were_written_as_null_are_open_ends():
    spec = Within(statement="w", cell=Cell("a", "m"), low=0.0, high=2.0).spec()
    spec["params"] |= {"low": None}
    assert predictions.restored(spec) == Within(statement="w", cell=Cell("a", "m"), low=-np.inf, high=2.0)


def test_judging_again_gives_the_same(tmp_path):
    rng = np.random.default_rng(0)
    values = make(a=rng.random(9) + 1, b=rng.random(9), oracle=np.ones(9))
    made = dataclasses.replace(
        studies.STUDY,
        predictions=(over(0.2), over(1.5)),
        controls=(Control(Exact(statement="o", cell=Cell("oracle", "m"), value=1.0), "flag"),),
    )
    registered = {
        "predictions": [p.spec() for p in made.predicted(None)],
        "controls": [c.spec() for c in made.controlled(None)],
        "alpha": made.alpha,
        "preset": "quick",
    }
    again = verdict.judge_again(json.loads(json.dumps(registered)), values)
    assert json.dumps(again) == json.dumps(study.judge(made, studies.Config(), "quick", values))
    with pytest.raises(ValueError, match="of the kind 'mine' cannot be judged"):
        predictions.restored(registered["predictions"][0] | {"kind": "mine"})
