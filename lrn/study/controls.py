"""Controls: conditions without which an experiment means nothing, and the budgets that each arm was given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lrn import check
from lrn.study.predictions import Cell, Exact, Prediction, Same

# The budgets of an arm, each recorded as its metric "given: ..."; `Context.fit` records the first three.
# steps: steps of the learner. samples: examples or tasks drawn over all steps. environment steps, pulls: over
# the whole training. gradient steps, updates (of tables): where a study counts them apart from the learner's
# steps. gradients: of one example, where the steps of methods cost unequally (`lrn.meta.compute`).
# candidates: settings that were tried.
BUDGETS = (
    "steps", "samples", "environment steps", "gradient steps", "gradients", "updates", "pulls", "candidates",
)  # fmt: skip
OVERLAP = "judged items that were trained on"
MISTAKEN = "judged arrays that were not trained under this name"


@dataclass(frozen=True)
class Control:
    """A condition without which the experiment means nothing, whether or not the claim is true.

    check: the condition, as a prediction.
    consequence: "invalid" if the control's failure voids the verdict, "flag" if it only marks a row.
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
        InputError: ``what`` is not in `BUDGETS`.
    """
    check.choice("budget", what, BUDGETS)
    return f"given: {what}"


def equal_budgets(what: str, arms: Sequence[str]) -> Control:
    """A control: the arms were given exactly the same amount of the budget ``what``, one of `BUDGETS`."""
    arms = tuple(dict.fromkeys(arms))
    return Control(
        Same(
            statement=f"As many {what} for {', '.join(arms[:-1])} and {arms[-1]}.",
            over=tuple(Cell(arm, given(what)) for arm in arms),
        )
    )


def exact_budget(what: str, arm: str, amount: float, within: float = 0.0) -> Control:
    """A control: the arm was given ``amount`` of the budget ``what``, plus or minus ``within``.

    ``within`` allows for steps that cannot be divided, such as those of a last rollout.
    """
    statement = f"{arm} was given {amount:g} {what}" + (f", within {within:g}." if within else ".")
    return Control(Exact(statement=statement, cell=Cell(arm, given(what)), value=amount, atol=within))


def no_overlap(arm: str) -> Control:
    """A control: the arm was judged on no item that it was trained on; see `Context.judged_on`."""
    statement = f"{arm} was judged on nothing that it was trained on."
    return Control(Exact(statement=statement, cell=Cell(arm, OVERLAP), value=0.0))


def own_state(arm: str) -> Control:
    """A control: the arrays judged under the arm's name were trained under this name.

    See `Context.judged_state`.
    """
    statement = f"What was judged as {arm} was trained as such."
    return Control(Exact(statement=statement, cell=Cell(arm, MISTAKEN), value=0.0))
