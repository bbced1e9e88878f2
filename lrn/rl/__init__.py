"""Reinforcement learning: pure cores, one algorithm or idea in each file.

- Tables and linear functions, with exact answers to compare to: `mdp`, `tabular`, `linear`, `bandits`.
- The maths of returns and advantages: `returns`.
- Deep agents: `ppo`, `dqn`, `sac` and so on, each made by a factory that returns an `agent.Agent`.
- Environments: `env` wraps those of gymnax and your own.
"""
