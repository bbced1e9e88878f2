"""The command line: ``python -m experiments COMMAND`` in a checkout of lrn, ``lrn COMMAND`` elsewhere.

``--help`` lists the commands. Exit codes: 0, the command succeeded; 1, a run failed; 2, an argument was
wrong; 130 or 143, SIGINT or SIGTERM stopped a run whose state is saved, so that the same command resumes it.
No module of this package imports jax before a study is loaded.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from lrn.cli import dispatch, errors
from lrn.study import discover

__all__ = ["main", "main_study"]


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command and exit with its code.

    Args:
        argv: the arguments without the program's name; those of the process by default.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    code = errors.exit_code(lambda: dispatch.dispatch(words))
    if job := sys.modules.get("lrn.train.job"):  # only a run imports this module, and jax with it
        job.leave(code)
    sys.exit(code)


def main_study(file: str) -> None:
    """``python -m experiments.<area>.<study>``: the command ``run`` for the one study in ``file``."""
    path = Path(file).resolve()
    ids = [name for name, study_path in discover.find().items() if study_path.resolve() == path]
    main(["run", *(ids or [str(path)]), *sys.argv[1:]])
