"""Accuracies of several networks under attacks of growing strength, and signs of an illusion."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from lrn.robust.attack import no_attack
from lrn.robust.audit import AuditConfig, audit
from lrn.robust.auto_attack import AutoAttackConfig, attack_all
from lrn.robust.evaluate import robust_accuracy
from lrn.robust.fgsm import FGSMConfig, fgsm
from lrn.robust.overfitting import gradient_alignment, has_collapsed
from lrn.robust.pgd import PGDConfig, pgd
from lrn.robust.rs_fgsm import RSFGSMConfig, rs_fgsm
from lrn.robust.square import SquareConfig, square
from lrn.types import Net

# "APGD" is the first attack of "AutoAttack"; the others are tried on their own.
ATTACKS = ("clean", "FGSM", "PGD-50", "APGD", "Square", "AutoAttack")
COLLAPSED = 0.2  # accuracy under RS-FGSM minus that under PGD-50; above it an overfitting is catastrophic
LEVELS = 7  # gray levels of rounded inputs, less one


def attacked(net: Net, whole: AutoAttackConfig, planted: Any, one: Any, test: Any) -> dict[str, Any]:
    """All figures of one seed's networks on its test images, by name, each [networks].

    Args:
        net: the network.
        whole: AutoAttack in Linf; the other attacks take its radius, and Square its queries.
        planted: bool [networks, 2]. Where the first is true, the inputs of the network are rounded to a few
            gray levels, so that the logits have no gradient; where the second is true, the steps of PGD-50
            are a hundredth of their length.
        one: the seed, the weights (leaves [networks, ...]), and the rows of the test images.
        test: the test set.
    """
    (seed, networks, rows), eps, queries = one, whole.eps, whole.queries
    x, y = jnp.asarray(test["image"][rows], jnp.float32) / 255, test["label"][rows]

    def of(lane: Any) -> dict[str, Any]:
        (params, net_state), (rounded, short) = lane
        key = jax.random.fold_in(jax.random.key(seed), 2)  # the same for all networks
        first, second, third, fourth = jax.random.split(key, 4)

        def logits_fn(z: Any) -> Any:
            z = jnp.where(rounded, jnp.round(LEVELS * z) / LEVELS, z)
            return net.apply(params, net_state, z)[0]

        step_size: Any = jnp.where(short, 0.001, 0.1) * eps
        strong = pgd(PGDConfig(eps=eps, step_size=step_size, steps=50))
        attacks = {
            "clean": no_attack,
            "FGSM": fgsm(FGSMConfig(eps=eps)),
            "RS-FGSM": rs_fgsm(RSFGSMConfig(eps=eps)),
            "PGD-50": strong,
            "Square": square(SquareConfig(eps=eps, queries=queries)),
        }
        accuracy = robust_accuracy(first, logits_fn, x, y, attacks)
        after = attack_all(second, logits_fn, x, y, whole).after
        checks = audit(third, logits_fn, x, y, AuditConfig(eps, queries=queries), strong).numbers
        return {
            **checks,
            **accuracy,
            "APGD": jnp.mean(after["apgd_ce"], dtype=jnp.float32),
            "AutoAttack": jnp.mean(after["square"], dtype=jnp.float32),
            "collapsed": has_collapsed(accuracy["RS-FGSM"], accuracy["PGD-50"], COLLAPSED),
            "alignment": gradient_alignment(fourth, logits_fn, x, y, eps),
        }

    return jax.lax.map(of, (networks, jnp.asarray(planted)))
