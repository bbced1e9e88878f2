"""Tables on the terminal: rows in columns, and the colors of verdicts."""

from __future__ import annotations

from collections.abc import Sequence

STYLE = {"supported": "green", "refuted": "red", "mixed": "yellow", "invalid": "bold red"}
STYLE |= {f"partly {verdict}": STYLE[verdict] for verdict in ("supported", "refuted")}


def print_columns(rows: Sequence[Sequence[str]], styles: Sequence[str]) -> None:
    """Print rows in columns as wide as their longest cell; no cell is cut or folded.

    Args:
        rows: cells [rows][columns]; the first row is the heading.
        styles: the style of each row, as `rich` names it; that of the heading is ignored.
    """
    from rich.console import Console
    from rich.text import Text

    console = Console(soft_wrap=True)
    widths = [max(map(len, column)) for column in zip(*rows)][:-1]
    for number, (row, style) in enumerate(zip(rows, styles)):
        cells = [cell.ljust(width) for cell, width in zip(row, widths)]
        console.print(Text("  ".join([*cells, row[-1]]).rstrip(), "bold" if number == 0 else style))
