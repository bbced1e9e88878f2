"""Benchmarks of reinforcement learning: known returns, and speed."""
