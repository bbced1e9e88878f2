"""Reinforcement learning through a learned model: plan in it, or learn from what it imagines.

`dyna` learns a table and replays it (Sutton 1990). `dynamics` is an ensemble of probabilistic networks, which
`pets` plans in by `cem` (Chua et al. 2018) and `mbpo` trains SAC in, by short rollouts (Janner et al. 2019).
"""
