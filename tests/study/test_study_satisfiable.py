"""`unsatisfiable` finds predictions that cannot hold, or cannot fail."""

from __future__ import annotations

import dataclasses

import pytest
import studies

from lrn.study import (
    Above,
    Below,
    Cell,
    Control,
    Equivalence,
    Exact,
    Regime,
    Share,
    Superiority,
    Trend,
    Within,
)
from lrn.study.satisfiable import unsatisfiable

A, B, C = (Cell(arm, "accuracy") for arm in "abc")


def over(better, worse, margin=0.0):
    return Superiority(statement=f"{better} over {worse}", better=better, worse=worse, margin=margin)


def made(*primaries, controls=(), relations=(), gate=None):
    return dataclasses.replace(
        studies.STUDY,
        regimes=(Regime(name="r", primary=primaries, gate=gate),),
        controls=tuple(map(Control, controls)),
        relations=tuple(relations),
        ranges={"accuracy": (0.0, 1.0)},
    )


FINE = {
    "superiority": made(over(A, B, 0.1)),
    "a number": made(over(A, 0.5)),
    "equivalence": made(Equivalence(statement="", one=A, other=B, margin=0.1)),
    "within": made(Within(statement="", cell=A, low=0.2, high=0.3)),
    "share": made(Share(statement="", cell=Cell("a", "solved"), bound=0.5)),
    "trend": made(Trend(statement="", over=(A, B, C), levels=(0, 1, 3))),
    "above": made(Above(statement="", cell=A, bound=0.9)),
    "below": made(Below(statement="", cell=A, bound=0.1)),
    "no range": made(over(Cell("a", "loss"), Cell("b", "loss"), 100.0)),
    "a control beside it": made(over(A, B), controls=[over(A, C)]),
    "a flag binds nobody": dataclasses.replace(made(over(A, B)), controls=(Control(over(A, B), "flag"),)),
    "a gate": made(Equivalence(statement="", one=A, other=B, margin=0.1), gate=over(A, C, 0.2)),
}


@pytest.mark.parametrize("case", FINE)
def test_what_can_come_out_either_way_passes(case):
    assert unsatisfiable(FINE[case], None) == []


WRONG = {
    "beyond the range": (made(over(A, B, 1.5)), "cannot hold"),
    "certain by the range": (made(over(A, B, -1.5)), "cannot fail"),
    "above nothing": (made(Above(statement="", cell=A, bound=-0.1)), "cannot fail"),
    "held by a control": (made(over(A, B), controls=[over(A, B, 0.1)]), "cannot fail"),
    "barred by a control": (made(over(A, B, 0.1), controls=[over(B, A)]), "cannot hold"),
    "barred by two": (made(over(A, B, 0.1), controls=[over(C, A), over(B, C)]), "cannot hold"),
    "barred by its gate": (made(over(A, B, 0.1), gate=over(B, A)), "cannot hold"),
    "an identity": (made(Above(statement="", cell=A, bound=0.5), controls=[
        Exact(statement="", cell=A, value=1.0)]), "cannot fail"),
    "two that exclude each other": (made(over(A, B, 0.1), over(B, A, 0.1)), "cannot all hold"),
    "controls that contradict": (made(over(A, B), controls=[over(B, C, 0.6), over(C, B, 0.6)]), "contradict"),
    "a constant trend": (made(Trend(statement="", over=(A, B, C), levels=(0, 1, 2)), controls=[
        Exact(statement="", cell=c, value=0.5) for c in (A, B, C)]), "cannot hold"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_is_found(case):
    study, sentence = WRONG[case]
    flagged = unsatisfiable(study, None)
    assert flagged
    assert sentence in flagged[0]


def test_todays_attack_transfer_from_pgd_to_fgsm_is_impossible():
    """Robust accuracy under FGSM is never below that under PGD (a control, to .01), and the yardstick is the
    smaller of the accuracies on the diagonal: so the yardstick exceeds A(PGD, FGSM) by .01 at most.
    """
    diagonal, other = Cell("pgd", "accuracy under PGD"), Cell("pgd", "accuracy under FGSM")
    yardstick = Cell("pgd", "yardstick")
    study = dataclasses.replace(
        studies.STUDY,
        ranges=dict.fromkeys(("accuracy under PGD", "accuracy under FGSM", "yardstick"), (0.0, 1.0)),
        relations=(over(diagonal, yardstick),),
        controls=(Control(over(other, diagonal, -0.01)),),
        regimes=(Regime(name="PGD to FGSM", primary=(over(yardstick, other, 0.1),)),),
    )
    assert "cannot hold" in unsatisfiable(study, None)[0]


def test_deadly_triads_theorem_is_certain():
    """Expected iteration on Baird's star diverges: an exact control of the study, and so no prediction."""
    grown = Cell("Baird's star, expected", "log10 growth")
    study = dataclasses.replace(
        studies.STUDY,
        ranges={"log10 growth": (-20.0, 20.0)},
        controls=(Control(Above(statement="It grows.", cell=grown, bound=1.0)),),
        regimes=(Regime(name="star", primary=(Above(statement="It diverges.", cell=grown, bound=0.0),)),),
    )
    assert unsatisfiable(study, None) == ["star: cannot fail while the controls hold: It diverges."]
