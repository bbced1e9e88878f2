"""A registration changes with each of its statements; its seeds follow from it; power is simulated."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import studies

from lrn import check, stats, table
from lrn.study import Above, Cell, Regime, Share, Superiority, power, register
from lrn.study.discover import StudyFile

STUDY, CONFIG = studies.STUDY, studies.Config()


def file_of(tmp_path, study=STUDY):
    return StudyFile("mine", tmp_path / "mine.py", study, "")


def test_a_registration_sees_what_is_stated_and_nothing_else():
    now = register.registration(STUDY)
    changes = (
        {"claim": "Another."},
        {"controls": ()},
        {"alpha": 0.01},
        {"seeds": {"smoke": 2, "quick": 20}},
        {"presets": {**STUDY.presets, "quick": dataclasses.replace(CONFIG, gap=2.0)}},
        {"regimes": tuple(dataclasses.replace(r, name="x") for r in STUDY.asked(CONFIG))},
    )
    seen = [register.registration(dataclasses.replace(STUDY, **c)) for c in changes]
    assert len({now, *seen}) == len(seen) + 1
    for texts in ({"title": "t"}, {"figure": None}, {"answer": str}, {"tour": True}):
        assert register.registration(dataclasses.replace(STUDY, **texts)) == now


def test_seeds_are_drawn_from_it():
    sha256 = register.registration(STUDY)
    many = register.drawn_seeds(sha256, "quick", 2000)
    assert len(set(many)) == 2000
    assert many[:10] == register.drawn_seeds(sha256, "quick", 10)
    assert min(many) >= register.FIRST_DRAWN
    assert max(many) < 2**32
    assert not set(many) & set(register.drawn_seeds(sha256, "full", 2000))
    assert not set(many) & set(register.drawn_seeds("0" * 64, "quick", 2000))
    # The seeds spread over the whole range, because they come from a hash.
    assert abs(np.mean(many) / 2**31 - 1) < 0.1
    # The seeds are equal on all machines and in all versions: `sha256sum` of "<hash> quick 0" and so on.
    assert register.drawn_seeds("0" * 64, "quick", 3) == FIRST_THREE


FIRST_THREE = (2846188251, 1183279610, 3966767764)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({}, ""),
        ({"config": dataclasses.replace(CONFIG, gap=3.0)}, "settings of the preset were changed"),
        ({"seeds": range(10)}, "not those drawn"),
        ({"count": 12}, "another number of seeds"),
        ({"study": dataclasses.replace(STUDY, claim="Another.")}, "not the one that was registered"),
        ({"study": dataclasses.replace(STUDY, exploratory="of the old form")}, "of the old form"),
        ({"forget": True}, "was not registered"),
    ],
)
def test_what_is_not_as_registered_is_exploratory(change, why, tmp_path):
    written = register.register(file_of(tmp_path))
    assert json.loads(written.read_text())["sha256"] == register.registration(STUDY)
    study_file = file_of(tmp_path, change.get("study", STUDY))
    if "forget" in change:
        written.unlink()
    drawn = register.drawn_seeds(register.registration(study_file.study), "quick", change.get("count", 10))
    said = register.exploratory(study_file, "quick", change.get("config", CONFIG), change.get("seeds", drawn))
    assert why in said
    assert bool(why) == bool(said)


def test_second_seeds_are_others_and_their_run_is_a_replication(tmp_path):
    register.register(file_of(tmp_path))
    sha256 = register.registration(STUDY)
    first, second = register.drawn_seeds(sha256, "quick", 10), register.second_seeds(sha256, "quick", 10)
    assert len(second) == 10
    assert not set(first) & set(second)
    assert register.exploratory(file_of(tmp_path), "quick", CONFIG, second) == register.REPLICATION
    nine = register.second_seeds(sha256, "quick", 9)
    assert "another number of seeds" in register.exploratory(file_of(tmp_path), "quick", CONFIG, nine)


def test_what_cannot_be_registered(tmp_path):
    with pytest.raises(check.InputError, match="cannot be registered"):
        register.register(file_of(tmp_path, dataclasses.replace(STUDY, exploratory="old")))
    (tmp_path / "mine.registered.json").write_text("[]")
    with pytest.raises(check.InputError, match="is no registration"):
        register.registered(file_of(tmp_path))


# Power.

NOISE = np.random.RandomState(3).randn(2, 12)


def pilot(gap=0.8):
    a = gap + NOISE[0] - NOISE[0].mean()
    rows = [("a", "m", a), ("b", "m", np.zeros(12)), ("a", "solved", (np.arange(12) < 9).astype(float))]
    return table.concat([table.rows(arm, np.arange(12), 0, metric, v) for arm, metric, v in rows])


def one(prediction):
    return dataclasses.replace(STUDY, regimes=(Regime(name="r", primary=(prediction,)),), controls=())


OVER = Superiority(statement="", key="gap", better=Cell("a", "m"), worse=Cell("b", "m"))


def test_the_power_of_a_normal_difference_is_that_of_the_test():
    study, spread = one(OVER), NOISE[0].std(ddof=1)
    rng = np.random.default_rng(0)
    for effect in (0.4, 0.9):
        (chance,) = power.chances(study, CONFIG, pilot(), {"gap": effect}, counts=(15,), studies=150)
        draws = rng.normal(effect, spread, (500, 15))
        expected = np.mean([stats.mean_test(d, alternative="greater") <= 0.05 for d in draws])
        assert chance.holds == pytest.approx(expected, abs=0.13)
        assert chance.holds + chance.fails + chance.open == pytest.approx(1)


def test_more_seeds_decide_more_and_the_least_number_is_told():
    chances = power.chances(one(OVER), CONFIG, pilot(0.7), counts=(8, 15, 40), studies=80)
    shares = [c.holds for c in chances]
    assert shares == sorted(shares)
    assert shares[0] < 0.8 < shares[-1]
    least = power.enough(chances)["r"]
    assert least == next(c.seeds for c in chances if c.holds >= 0.8)
    assert power.enough(chances, power=1.01) == {"r": None}
    # An effect in the opposite direction fails.
    (other,) = power.chances(one(OVER), CONFIG, pilot(), {"gap": -2.0}, counts=(10,), studies=50)
    assert other.fails > 0.9


def test_shares_and_bounds_are_shifted_to_what_is_stated():
    solved = Share(statement="", key="s", cell=Cell("a", "solved"), bound=0.5)
    assert np.mean(solved.shifted(np.stack(solved.values(pilot())), 0.25)) == 0.25
    above = Above(statement="", key="a", cell=Cell("a", "m"), bound=0.0)
    assert above.judge(list(above.shifted(np.stack(above.values(pilot())), 3.0))).effect == pytest.approx(3.0)
    (chance,) = power.chances(one(solved), CONFIG, pilot(), {"s": 1.0}, counts=(10,), studies=20)
    assert chance.holds == 1


def test_bad_input_of_power():
    with pytest.raises(check.InputError, match="key 'gab' is not known; did you mean gap"):
        power.chances(one(OVER), CONFIG, pilot(), {"gab": 1.0})
    few = table.concat([table.rows(arm, np.arange(5), 0, "m", np.arange(5.0)) for arm in "ab"])
    with pytest.raises(check.InputError, match="the pilot has 5 seeds and a spread takes 8"):
        power.chances(one(OVER), CONFIG, few)
    values = {"a": np.r_[np.zeros(8), np.nan], "b": np.zeros(9)}
    lost = table.concat([table.rows(arm, np.arange(9), 0, "m", v) for arm, v in values.items()])
    with pytest.raises(check.InputError, match="seeds of the pilot failed"):
        power.chances(one(OVER), CONFIG, lost)
