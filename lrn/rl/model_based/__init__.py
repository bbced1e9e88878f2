"""Reinforcement learning with a learned model of the environment: plan in it, or learn from imagined steps.

- `dyna` learns a table of outcomes and replays it (Sutton 1990).
- `dynamics` is an ensemble of probabilistic networks. `pets` plans in the ensemble by the cross-entropy
  method `cem` (Chua et al. 2018); `mbpo` trains SAC on short rollouts in it (Janner et al. 2019).
"""
