"""Exit codes of commands, and what a command prints about an error."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable

from lrn import check, interrupt
from lrn.study import source, store


def exit_code(command: Callable[[], int]) -> int:
    """Run a command and return its exit code.

    An error of the user (bad input, a busy folder, a full disk) is printed as one sentence. Any other error,
    such as a bug in a study, is printed with its traceback.
    """
    try:
        return command()
    except interrupt.Interrupted as stopped:
        print(stopped, file=sys.stderr)
        return stopped.code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `... list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except store.Busy as busy:
        print(f"error: {busy}", file=sys.stderr)
        return 1
    except check.InputError as error:
        return say(error, 2)
    except (ValueError, OSError) as error:
        if raised_by_lrn(error):
            return say(error, 2 if isinstance(error, ValueError) else 1)
        traceback.print_exc()
        return 1
    except Exception:
        traceback.print_exc()
        return 1


def say(error: Exception, code: int) -> int:
    """Print an error as one sentence, with the line of the study that raised it, and return ``code``."""
    if os.environ.get("LRN_DEBUG"):
        traceback.print_exc()
    where = source.line(error)
    print(f"error: {error}" + (f" ({where})" if where and where not in str(error) else ""), file=sys.stderr)
    return code


def raised_by_lrn(error: BaseException) -> bool:
    """Whether a module of lrn raised the error: its message is then a sentence for the user."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and str(trace.tb_frame.f_globals.get("__name__", "")).startswith("lrn.")
