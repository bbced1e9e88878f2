"""Words of the command line, rearranged before `tyro` parses them."""

from __future__ import annotations

from collections.abc import Sequence

_SINKS = ("tensorboard", "wandb")  # of lrn.train.sinks


def repeat_sinks(argv: Sequence[str]) -> list[str]:
    """Repeat ``--sinks`` before each sink: ``--sinks a b`` becomes ``--sinks a --sinks b``.

    The option then takes one word at a time, and a study's id after the last sink is not taken for a sink.
    """
    words: list[str] = []
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        if word != "--sinks":
            words.append(word)
            continue
        words += ["--sinks", *rest[:1]]
        del rest[:1]
        while rest and rest[0] in _SINKS:
            words += ["--sinks", rest.pop(0)]
    return words


def split_overrides(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Separate ``--config.FIELD VALUE...`` from all other words: only the study knows its fields."""
    base: list[str] = []
    overrides: list[str] = []
    target = base
    for word in argv:
        if word.startswith("--"):
            target = overrides if word.startswith("--config.") else base
        target.append(word)
    return base, overrides


def asks_for_help_on_a_study(base: Sequence[str]) -> bool:
    """Whether the words are ``run ID --help``, whose answer lists the fields of the study's config too."""
    return len(base) > 1 and base[0] == "run" and asks_for_help(base) and not base[1].startswith("-")


def asks_for_help(base: Sequence[str]) -> bool:
    """Whether ``-h`` or ``--help`` is among the words."""
    return bool({"-h", "--help"} & set(base))


def without_help(base: Sequence[str]) -> list[str]:
    """The words without ``-h`` and ``--help``."""
    return [word for word in base if word not in ("-h", "--help")]
