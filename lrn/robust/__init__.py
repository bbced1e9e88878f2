"""Adversarial robustness: attacks, audits of attacks, adversarial training, certificates.

Every attack is a function ``attack(key, logits_fn, x, y) -> x_adv``, made from a config by a factory:
``pgd(PGDConfig(eps=8 / 255, step_size=2 / 255, steps=20))``. Pixels lie in [0, 1], and eps has the same
unit. A network that needs normalized inputs normalizes them inside. Every training is a `Learner`.

- Robust accuracy: `auto_attack`, `cascade`, `curve` (many radii), `evaluate`; `audit` and `validity` say
  whether it can be trusted.
- Attacks in a ball: `fgsm`, `rs_fgsm`, `pgd`, `apgd`, `square`; to the nearest point: `fab`, `deepfool`,
  `carlini_wagner`, `hop_skip_jump`; others: `spatial`, `transfer`, `expectation`.
- Trainings on `training`: `adversarial_training`, `interpolation`, `trades`, `mart`, `free`, `grad_align`,
  `awp`; `n_fgsm`, an attack for training; `overfitting`, its signs.
- Certificates: `smoothing`, with the trainings `noise_training`, `smooth_adv`, `macer`, `consistency`; `ibp`
  and `crown`, with `certified_training`; `oracle`, exact answers for small networks.
- Below them: `attack` (the form and its checks), `norms`, `losses`, `closest`.
"""
