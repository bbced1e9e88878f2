"""``python -m experiments.bench NAME [options]``: runs the ``main(argv)`` of a file in this folder."""

import importlib
import sys
from pathlib import Path

from lrn import check


def main(argv: list[str]) -> int:
    """Run the benchmark that ``argv[0]`` names, with the other words as its options.

    A dot in the name stands for a subfolder: ``rl.speed``.

    Returns:
        The exit code: that of the benchmark, or 2 if the name or an option is wrong.
    """
    root = Path(__file__).parent
    known = sorted(
        ".".join(path.relative_to(root).with_suffix("").parts)
        for path in root.rglob("*.py")
        if not path.name.startswith("_")
    )
    if not argv or argv[0] in ("-h", "--help"):
        print(f"usage: python -m experiments.bench NAME [--json FILE]\nbenchmarks: {', '.join(known)}")
        return 0 if argv else 2
    if argv[0] not in known:
        print(f"error: there is no benchmark {argv[0]!r}; {check.nearest(argv[0], known)}", file=sys.stderr)
        return 2
    try:
        return importlib.import_module(f"experiments.bench.{argv[0]}").main(argv[1:])
    except check.InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
