"""lrn: research notes as running science.

Importing ``lrn`` imports nothing else: each module is imported by its own name
(``from lrn import train``, ``from lrn.robust import pgd``), so that the command
line can list and describe studies without paying for jax. ``lrn.load(folder)``, the
states of a training from its folder, imports what it needs when it is first used.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lrn.train.saved import load as load

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name == "load":
        from lrn.train.saved import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
