"""Adversarial robustness: attacks, adversarial training, and checks that an attack works.

Every attack is a function ``attack(key, logits_fn, x, y) -> x_adv``, made from a config by a factory:
``pgd(PGDConfig(eps=8 / 255, step_size=2 / 255, steps=20))``. Pixels lie in [0, 1], and eps has the same
unit. A network that needs normalized inputs normalizes them inside.
"""
