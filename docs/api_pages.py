"""The pages of the reference: one for each package, with its modules in the order of their names."""

from __future__ import annotations

import ast
import pkgutil
from pathlib import Path

import lrn

ROOT = Path(lrn.__file__).parent


def write(folder: Path) -> None:
    """Write the pages, and an index of them, as MyST Markdown."""
    folder.mkdir(parents=True)
    packages = sorted(p.name for p in pkgutil.iter_modules([str(ROOT)]) if p.ispkg and p.name != "templates")
    lines = ["# Reference", "", "Every public name, by package.", ""]
    for name in ("", *packages):
        page = f"lrn.{name}" if name else "lrn"
        (folder / f"{page}.md").write_text(_page(page, ROOT / name, deep=bool(name)), encoding="utf-8")
        lines.append(f"- [`{page}`]({page}.md): {_summary((ROOT / name) / '__init__.py')}")
    toctree = [
        "",
        "```{toctree}",
        ":hidden:",
        "",
        *(f"lrn.{n}" if n else "lrn" for n in ("", *packages)),
        "```",
        "",
    ]
    (folder / "index.md").write_text("\n".join(lines + toctree), encoding="utf-8")


def _page(package: str, folder: Path, deep: bool) -> str:
    lines = [f"# {package}", "", _summary(folder / "__init__.py"), ""]
    for path in sorted(folder.rglob("*.py") if deep else folder.glob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        if "templates" in parts or any(p.startswith("_") for p in parts):
            continue
        module = ".".join((package, *parts))
        lines += [f"## {'.'.join(parts)}", "", "```{eval-rst}", f".. automodule:: {module}", "```", ""]
    return "\n".join(lines)


def _summary(path: Path) -> str:
    doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(doc.split("\n\n")[0].split())
