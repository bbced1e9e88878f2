"""What must hold for an experiment to mean anything, and what each arm was given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lrn import check
from lrn.study.predictions import Cell, Exact, Prediction, Same

# What an arm can be given, each a metric "given: ..." of the arm. `Context.fit` records the first three.
# steps: of the learner. samples: examples or tasks drawn, over all steps. environment steps, pulls: in all.
# gradient steps, updates (of tables): where they are counted apart from steps. candidates: settings tried.
# gradients: of one example, where steps of methods cost unequally (`lrn.meta.compute`).
BUDGETS = (
    "steps", "samples", "environment steps", "gradient steps", "gradients", "updates", "pulls", "candidates",
)  # fmt: skip
OVERLAP = "judged items that were trained on"
MISTAKEN = "judged arrays that were not trained under this name"


@dataclass(frozen=True)
class Control:
    """Something that must hold for the experiment to mean anything, whatever the claim.

    consequence: "invalid" when its failure voids the verdict, "flag" when it only marks a row.
    """

    check: Prediction
    consequence: Literal["invalid", "flag"] = "invalid"

    def __post_init__(self) -> None:
        """Check the consequence."""
        check.choice("consequence", self.consequence, ("invalid", "flag"))

    def spec(self) -> dict[str, Any]:
        """The control as JSON."""
        return {**self.check.spec(), "consequence": self.consequence}


def given(what: str) -> str:
    """The metric under which an arm's budget is recorded.

    Raises:
        ValueError: no such budget.
    """
    check.choice("budget", what, BUDGETS)
    return f"given: {what}"


def equal_budgets(what: str, arms: Sequence[str]) -> Control:
    """A control: the arms were given the same ``what``, exactly."""
    arms = tuple(dict.fromkeys(arms))
    return Control(
        Same(
            statement=f"As many {what} for {', '.join(arms[:-1])} and {arms[-1]}.",
            over=tuple(Cell(arm, given(what)) for arm in arms),
        )
    )


def exact_budget(what: str, arm: str, amount: float, within: float = 0.0) -> Control:
    """A control: the arm was given ``amount`` of ``what``, give or take ``within``, as a last rollout."""
    statement = f"{arm} was given {amount:g} {what}" + (f", within {within:g}." if within else ".")
    return Control(Exact(statement=statement, cell=Cell(arm, given(what)), value=amount, atol=within))


def no_overlap(arm: str) -> Control:
    """A control: nothing that the arm was judged on is among what it was trained on."""
    statement = f"{arm} was judged on nothing that it was trained on."
    return Control(Exact(statement=statement, cell=Cell(arm, OVERLAP), value=0.0))


def own_state(arm: str) -> Control:
    """A control: what was judged under the arm's name was trained under it."""
    statement = f"What was judged as {arm} was trained as such."
    return Control(Exact(statement=statement, cell=Cell(arm, MISTAKEN), value=0.0))
