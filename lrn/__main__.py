"""``python -m lrn``: see `lrn.cli`."""

from lrn.cli import main

if __name__ == "__main__":
    main()
