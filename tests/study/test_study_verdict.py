"""The verdict, on findings with given p-values and on tables with known answers."""

from __future__ import annotations

import dataclasses
import itertools
import json
from typing import Any

import numpy as np
import pytest
import studies
from scipy.special import stdtrit
from scipy.stats import binomtest
from statsmodels.stats.multitest import multipletests

from lrn import stats, study, table
from lrn.study import Above, Cell, Control, Exact, Finding, Findings, Regime, Superiority, verdict

NOISE = np.random.RandomState(1).randn(6, 10)
YES, NO, MAYBE = (1e-4, 1.0), (1.0, 1e-4), (0.5, 0.5)


class Given(Above):
    """A prediction with given p-values, for holding and for failing."""

    kind = "given"


def given(p, how: Any = "short"):
    made = Given(statement=f"{p} {how}", cell=Cell("a", "m"), bound=0.0)
    GIVEN[id(made)] = Finding(0.1, (0.0, 0.2), 10, *p, how=how)
    KEPT.append(made)
    return made


GIVEN: dict[int, Finding] = {}
KEPT: list[Given] = []  # kept alive, so that no other prediction gets the same id


def find(prediction):
    return GIVEN[id(prediction)]


def asked(*primaries, gate=None):
    return Regime(
        name=f"r{len(KEPT)}", primary=tuple(map(given, primaries)), gate=given(gate) if gate else None
    )


def places(*regimes):
    return verdict.places(regimes, find, 0.05)


def outcomes(*regimes):
    return [place.outcome for place in places(*regimes)]


@pytest.mark.parametrize(
    ("regime", "expected"),
    [
        ([YES], "holds"),
        ([NO], "fails"),
        ([MAYBE], "open"),
        # All primaries must hold, each at alpha, without a correction.
        ([(0.05, 1), (0.05, 1), (0.05, 1)], "holds"),
        ([(0.05, 1), (0.05, 1), (0.0501, 1)], "open"),
        # One failing primary is enough, after Holm's correction.
        ([YES, YES, NO], "fails"),
        ([(1, 0.016), MAYBE, MAYBE], "fails"),
        ([(1, 0.017), MAYBE, MAYBE], "open"),
    ],
)
def test_a_regime(regime, expected):
    assert outcomes(asked(*regime)) == [expected]


@pytest.mark.parametrize(
    ("gate", "primary", "expected"),
    [
        (YES, YES, "holds"),
        (YES, NO, "fails"),
        (MAYBE, YES, "not applicable"),
        (NO, YES, "not applicable"),
        (MAYBE, NO, "not applicable"),
        ((0.04, 1), YES, "holds"),
    ],
)
def test_a_gate_opens_a_regime(gate, primary, expected):
    assert outcomes(asked(primary, gate=gate)) == [expected]


def test_over_regimes_hochberg_corrects():
    """If all p-values are at alpha, all regimes hold; a single regime needs alpha over their number."""
    at = (0.05, 1.0)
    assert outcomes(asked(at), asked(at), asked(at)) == ["holds"] * 3
    assert outcomes(asked(at), asked(MAYBE)) == ["open", "open"]
    assert outcomes(asked((0.025, 1)), asked(MAYBE)) == ["holds", "open"]
    rng = np.random.default_rng(0)
    for _ in range(20):
        p = rng.random(4) ** 3
        regimes = places(*(asked((x, 1.0)) for x in p))
        expected = np.asarray(multipletests(p, method="simes-hochberg")[1])
        np.testing.assert_allclose([place.adjusted_holds for place in regimes], expected)
    # A regime whose gate is closed still counts in the correction.
    assert outcomes(asked((0.04, 1)), asked(YES, gate=MAYBE)) == ["open", "not applicable"]


def test_hochberg_is_statsmodels():
    rng = np.random.default_rng(1)
    for n in (1, 2, 5, 9):
        p = np.round(rng.random(n), 1)
        expected = np.asarray(multipletests(p, method="simes-hochberg")[1])
        np.testing.assert_allclose(stats.hochberg(p), expected)
    with pytest.raises(ValueError, match="between 0 and 1"):
        stats.hochberg([0.1, 1.1])


def decide(regimes, controls=(), preset="quick", seeds=10, question=False):
    checks = verdict.checked([Control(given(p), role) for p, role in controls], find, 0.05)
    return verdict.decide(preset, seeds, places(*regimes), checks, 0.05, question)


S, R, O, N = asked(YES), asked(NO), asked(MAYBE), asked(YES, gate=MAYBE)  # noqa: E741


@pytest.mark.parametrize(
    ("regimes", "expected"),
    [
        ([S], "supported"),
        ([S, S], "supported"),
        ([R], "refuted"),
        ([R, R], "refuted"),
        ([S, R], "mixed"),
        ([S, R, O, N], "mixed"),
        ([S, O], "partly supported"),
        ([S, N], "partly supported"),
        ([R, O], "partly refuted"),
        ([R, N], "partly refuted"),
        ([O], "open"),
        ([O, N], "open"),
        ([N], "open"),
    ],
)
def test_the_verdict_follows_from_the_regimes(regimes, expected):
    word, reason = decide(regimes)
    assert word == expected
    assert reason.endswith(".")
    assert "\n" not in reason
    for regime, words in ((S, "holds"), (R, "fails")):
        assert (words in reason.lower()) == (regime in regimes)


@pytest.mark.parametrize(
    ("controls", "seeds", "expected"),
    [
        ([(NO, "invalid")], 10, "invalid"),
        ([(NO, "invalid")], 5, "invalid"),
        ([(NO, "flag")], 10, "supported"),
        # A control that is only not shown to hold gives a caution.
        ([(MAYBE, "invalid")], 10, "supported"),
        ([(YES, "invalid"), (MAYBE, "flag")], 10, "supported"),
        ([(YES, "invalid")], 7, "underpowered"),
        # One of many guards fails by chance, so Holm's correction applies.
        ([((1, 0.02), "invalid"), *[(MAYBE, "invalid")] * 3], 10, "supported"),
        ([((1, 0.012), "invalid"), *[(MAYBE, "invalid")] * 3], 10, "invalid"),
    ],
)
def test_controls_guard_a_verdict(controls, seeds, expected):
    assert decide([S], controls, seeds=seeds)[0] == expected
    assert decide([S], controls, preset="smoke", seeds=seeds)[0] == "smoke"


def test_exact_guards_have_no_chance_to_err_and_count_for_nothing():
    """A guard that clearly fails voids a study, whatever the number of exact guards that hold."""
    values = {"a": 0.4 + 1e-3 * NOISE[0], "oracle": np.ones(10), "b": np.zeros(10)}
    results = table.concat([table.rows(a, np.arange(10), 0, "m", v) for a, v in values.items()])
    broken = study.Within(statement="at chance", cell=Cell("a", "m"), low=0.1, high=0.3)
    exact = Exact(statement="o", cell=Cell("oracle", "m"), value=1.0)
    made = dataclasses.replace(
        studies.STUDY,
        controls=(Control(broken), *[Control(exact)] * 60),
        regimes=(Regime(name="r", primary=(over("k"),)),),
    )
    assert study.judge(made, studies.Config(), "quick", results)["verdict"] == "invalid"


@pytest.mark.parametrize(("others", "outcome"), [(1.0, "fails"), (0.0, "open")])
def test_a_failed_seed_does_not_save_an_exact_guard(others, outcome):
    """A wrong finite seed fails an exact guard; with right finite seeds, a failed seed leaves it open."""
    exact = Exact(statement="zero", cell=Cell("a", "m"), value=0.0)
    values = np.r_[np.full(9, others), np.nan]
    results = table.rows("a", np.arange(10), 0, "m", values)
    ((_, _, result),) = verdict.checked([Control(exact)], lambda p: p.find(results), 0.05)
    assert result == outcome


def test_an_open_question_is_answered():
    assert decide([], question=True)[0] == "answered"
    assert decide([O], question=True)[0] == "answered"
    assert decide([], [(NO, "invalid")], question=True)[0] == "invalid"


def test_a_refutation_says_how():
    for how, words in (
        ("opposite", "on the wrong side of zero"),
        ("negligible", "negligible"),
        ("short", "short of"),
    ):
        word, reason = decide([Regime(name="r", primary=(given(NO, how),))])
        assert word == "refuted"
        assert words in reason


@pytest.mark.parametrize(
    ("prediction", "regimes", "seeds", "verdict"),
    [
        # .9^10 is .35: ten runs of ten do not show "over nine tenths", and .5^10 does show "over half".
        (study.Share(statement="p", cell=Cell("a", "m"), bound=0.9), 1, 10, "underpowered"),
        (study.Share(statement="p", cell=Cell("a", "m"), bound=0.5), 1, 10, "supported"),
        # With ten seeds p is at least 1/1024, and at least 2/1024 for failing outside of two bounds.
        (Above(statement="p", cell=Cell("a", "m"), bound=0.5), 4, 8, "supported"),
        (study.Within(statement="p", cell=Cell("a", "m"), low=0.5, high=2.0), 4, 8, "supported"),
        (study.Within(statement="p", cell=Cell("a", "m"), low=0.5, high=2.0), 7, 8, "underpowered"),
        (study.Within(statement="p", cell=Cell("a", "m"), low=0.5, high=np.inf), 7, 8, "supported"),
        (Exact(statement="p", cell=Cell("a", "m"), value=1.0), 4, 8, "supported"),
    ],
)
def test_what_could_not_come_out_either_way_with_so_few_seeds_is_underpowered(
    prediction, regimes, seeds, verdict
):
    made = dataclasses.replace(
        studies.STUDY,
        regimes=tuple(Regime(name=str(i), primary=(prediction,)) for i in range(regimes)),
        controls=(),
        exploratory="more regimes than a study may have",
    )
    ones = table.rows("a", np.arange(seeds), 0, "m", np.ones(seeds))
    judgment = study.judge(made, studies.Config(), "quick", ones)
    assert judgment["verdict"] == verdict
    assert (": p" in judgment["reason"]) == (verdict == "underpowered")


# Whole studies, on tables.


def over(key, margin=0.0, arm="a"):
    return Superiority(
        statement=f"{arm} over b by {margin}",
        key=key,
        better=Cell(arm, "m"),
        worse=Cell("b", "m"),
        margin=margin,
    )


STUDY = dataclasses.replace(
    studies.STUDY,
    regimes=(
        Regime(name="small", primary=(over("small", 0.2),), secondary=(over("more", 0.5),)),
        Regime(name="large", primary=(over("large", 1.5),), gate=over("any")),
        Regime(name="wide", primary=(over("wide", 0.95),)),
    ),
    controls=(Control(Exact(statement="o", cell=Cell("oracle", "m"), value=1.0), "flag"),),
)


def made_table(gap=1.0):
    arms = {"a": gap + 0.3 * NOISE[0] - 0.3 * NOISE[0].mean(), "b": np.zeros(10), "oracle": np.ones(10)}
    return table.concat([table.rows(a, np.arange(10), 0, "m", v) for a, v in arms.items()])


def judged(**options):
    return study.judge(STUDY, studies.Config(), "quick", made_table(**options))


def test_a_whole_study():
    judgment = judged()
    assert judgment["verdict"] == "mixed"
    assert {r["name"]: r["outcome"] for r in judgment["regimes"]} == {
        "small": "holds", "large": "fails", "wide": "open"
    }  # fmt: skip
    rows = {p["key"]: p for p in judgment["predictions"]}
    assert [(p["key"], p["regime"], p["role"]) for p in judgment["predictions"]] == [
        ("small", "small", "primary"),
        ("more", "small", "secondary"),
        ("any", "large", "gate"),
        ("large", "large", "primary"),
        ("wide", "wide", "primary"),
    ]
    assert (rows["large"]["how"], rows["small"]["how"]) == ("short", "")
    assert rows["small"]["effect"] == pytest.approx(1.0)
    json.dumps(judgment, allow_nan=False)


def test_secondary_predictions_count_for_nothing():
    without = dataclasses.replace(
        STUDY, regimes=tuple(dataclasses.replace(r, secondary=()) for r in STUDY.asked(None))
    )
    judgment = study.judge(without, studies.Config(), "quick", made_table())
    assert judgment["regimes"] == judged()["regimes"]


def test_an_open_prediction_says_what_would_decide_it():
    row = next(p for p in judged()["predictions"] if p["key"] == "wide")
    spread = 0.3 * NOISE[0].std(ddof=1)
    assert row["spread"] == pytest.approx(spread)
    assert row["seeds_needed"] == int(np.ceil(((1.6449 + 0.8416) * spread / 0.05) ** 2))
    reach = (stdtrit(9, 0.95) + stdtrit(9, 0.8)) * spread / 10**0.5
    assert row["detectable"] == pytest.approx(reach)
    assert all("seeds_needed" not in p for p in judged()["predictions"] if p["outcome"] != "open")


def test_the_number_of_seeds_that_is_told_decides_in_four_of_five():
    """At the observed effect and spread, by the test of the verdict."""
    told = verdict.seeds_needed(Finding(0.5, (0, 1), 8, 0.2, 0.8, spread=1.0, distance=0.5))
    assert told is not None
    rng = np.random.default_rng(0)
    decided = [stats.mean_test(rng.normal(0.5, 1, told), alternative="greater") <= 0.05 for _ in range(600)]
    assert 0.74 <= np.mean(decided) <= 0.86
    assert verdict.seeds_needed(Finding(0.0, (0, 1), 8, 0.2, 0.8, spread=1.0, distance=1e-4)) is None
    assert verdict.seeds_needed(Finding(0.0, (0, 1), 8, 0.2, 0.8)) is None


def test_judging_again_gives_the_same():
    registered = {
        "regimes": [r.spec() for r in STUDY.asked(None)],
        "controls": [c.spec() for c in STUDY.controlled(None)],
        "alpha": STUDY.alpha,
        "preset": "quick",
        "question": False,
    }
    again = verdict.judge_again(json.loads(json.dumps(registered)), made_table())
    assert json.dumps(again) == json.dumps(judged())
    with pytest.raises(ValueError, match="earlier version"):
        verdict.judge_again({"predictions": []}, made_table())


def test_cautions_name_guards_that_are_not_shown():
    guard = Control(Superiority(statement="shaky", better=Cell("a", "m"), worse=Cell("b", "m"), margin=0.95))
    made = dataclasses.replace(STUDY, controls=(guard, *STUDY.controlled(None)))
    judgment = study.judge(made, studies.Config(), "quick", made_table())
    assert judgment["cautions"] == ["shaky"]
    assert judgment["verdict"] == "mixed"


def test_the_hash_of_predictions_sees_all_that_was_stated():
    def hashed(**changes):
        return verdict.predictions_sha256(dataclasses.replace(STUDY, **changes), studies.Config())

    first, second, third = STUDY.asked(None)
    seen = [
        hashed(),
        hashed(regimes=(first, second)),
        hashed(regimes=(first, second, dataclasses.replace(third, primary=(over("wide", 0.9),)))),
        hashed(regimes=(first, dataclasses.replace(second, gate=None), third)),
        hashed(regimes=(dataclasses.replace(first, secondary=()), second, third)),
        hashed(controls=()),
        hashed(claim="Another."),
        hashed(question=True),
    ]
    assert len(set(seen)) == len(seen)


def test_an_answer_is_made_of_the_findings_alone():
    findings = Findings(judged())
    half = float(stdtrit(9, 0.975)) * 0.3 * NOISE[0].std(ddof=1) / 10**0.5
    low, high = 1 - half, 1 + half
    assert findings["small"].said(100, " points") == f"100 points [{100 * low:.0f}, {100 * high:.0f}]"
    assert findings["small"].said(-1, digits=1) == f"-1.0 [{-high:.1f}, {-low:.1f}]"
    wider = findings["small"].joint(5)
    assert wider.high - 1 == pytest.approx(half * float(stdtrit(9, 0.995) / stdtrit(9, 0.975)))
    assert wider.low == pytest.approx(2 - wider.high)
    assert findings.regimes["large"] == "fails"
    assert set(findings) == {"small", "more", "any", "large", "wide"}
    assert Findings(judged(gap=2.0))["small"].said() != findings["small"].said()
    with pytest.raises(ValueError, match="key 'smal' is not known; did you mean small"):
        findings["smal"]


@pytest.mark.parametrize(("regimes", "primaries"), list(itertools.product((1, 2, 4), (1, 3))))
def test_a_study_whose_effects_lie_on_their_margins_errs_rarely(regimes, primaries):
    """At most .05 of studies have a regime that holds, or one that fails; the bench simulates more."""
    rng = np.random.default_rng([regimes, primaries])
    held = failed = 0
    for _ in range(300):
        made = [asked(*((p, 1 - p) for p in rng.random(primaries))) for _ in range(regimes)]
        results = outcomes(*made)
        held, failed = held + ("holds" in results), failed + ("fails" in results)
    for count in (held, failed):
        assert binomtest(count, 300, 0.05, alternative="greater").pvalue > 0.001
    if primaries == 1:  # and the test does find effects
        assert binomtest(held, 300, 0.05).pvalue > 0.001
