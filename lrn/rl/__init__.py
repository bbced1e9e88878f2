"""Reinforcement learning: pure cores, one algorithm or idea a file.

Exact: `mdp`, `tabular`, `linear`, `bandits`. Maths: `returns`. Deep agents, each a factory that returns an
`agent.Agent`: `ppo`, `dqn`, `sac` and so on. Environments come from `env` (gymnax, or your own).
"""
