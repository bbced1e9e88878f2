"""lrn's docstrings as reStructuredText: fields become lists, names become links, signs stay signs."""

from __future__ import annotations

import re
import sys
from typing import Any

_SECTION = re.compile(r"^(Args|Arguments|Returns|Raises|Yields|Warns|Attributes|Example|Examples|Note):$")
_FIELD = re.compile(r"^(\*{0,2}[A-Za-z_]\w*(?:, \*{0,2}[A-Za-z_]\w*)*): (.*)$")
_LITERAL = re.compile(r"(``.+?``)")
_NAME = re.compile(r"`([A-Za-z_][\w.]*)`")


def setup(app: Any) -> None:
    """Register the hooks, before those of napoleon."""
    app.connect("autodoc-process-docstring", _process, priority=100)
    app.connect("autodoc-skip-member", _skip)


def _skip(app: Any, what: str, name: str, member: Any, skip: bool, options: Any) -> bool | None:
    """Leave out the fields of a NamedTuple, which its docstring explains."""
    return True if type(member).__name__ == "_tuplegetter" else None


def _process(app: Any, what: str, name: str, member: Any, options: Any, lines: list[str]) -> None:
    module = sys.modules.get(getattr(member, "__module__", None) or name)
    lines[:] = [_inline(line, module) for line in _fields(lines)]


def _fields(lines: list[str]) -> list[str]:
    """Lines in which the fields of a config or a tuple, ``name: text``, are the items of a list."""
    result: list[str] = []
    in_section = in_field = False
    for line in lines:
        if _SECTION.match(line):
            in_section, in_field = True, False
        elif in_section and line and not line.startswith(" "):
            in_section = False
        if not in_section and (match := _FIELD.match(line)):
            if not in_field and result and result[-1]:
                result.append("")
            names = ", ".join(f"**{name}**" for name in match[1].split(", "))
            result.append(f"- {names}: {match[2]}")
            in_field = True
        elif in_field and line.startswith("    "):
            result.append("  " + line.strip())
        else:
            if line.startswith("- ") and result and result[-1] and not result[-1].startswith(("- ", "  ")):
                result.append("")
            if in_field and line:
                result.append("")
            in_field = False
            result.append(line)
    return result


def _inline(line: str, module: Any) -> str:
    """A line whose names link to where they are defined, and whose other signs have no meaning."""
    if line.startswith("- **"):
        head, _, rest = line.partition(": ")
        return f"{head}: {_inline(rest, module)}"
    parts = _LITERAL.split(line)
    return "".join(part if part.startswith("``") else _plain(part, module) for part in parts)


def _plain(text: str, module: Any) -> str:
    text = re.sub(r"([*|])", r"\\\1", text)
    text = re.sub(r"(\w)_(?=[\s,.;:)\]\"']|$)", r"\1\\_", text)
    text = re.sub(r"(`[\w.]+`)(?=\w)", r"\1\\ ", text)  # a plural: `Row`s
    return _NAME.sub(lambda match: _link(match[1], module), text)


def _link(name: str, module: Any) -> str:
    if name.startswith("lrn."):
        return f":py:obj:`~{name}`"
    if module is not None and module.__name__.startswith("lrn") and hasattr(module, name.split(".")[0]):
        value = getattr(module, name.split(".")[0])
        home = getattr(value, "__module__", None) or module.__name__
        if str(home).startswith("lrn"):
            return f":py:obj:`{name} <{home}.{name}>`"
    return f"``{name}``"
