"""Benchmarks: ``python -m experiments.bench NAME`` runs the ``main(argv) -> int`` of the file NAME."""
