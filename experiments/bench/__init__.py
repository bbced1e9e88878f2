"""Benchmarks: ``python -m experiments.bench NAME``; each is a file with ``main(argv) -> int``."""
