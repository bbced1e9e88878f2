"""Networks without their last layer: the same body, whose features the last layer would take."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn import nets

FAMILIES = {
    "mlp": lambda classes: nets.mlp(classes, (6,)),
    "cnn": lambda classes: nets.cnn(classes, (3,), (5,)),
    "conv4": lambda classes: nets.conv4(classes, 3, blocks=2, reduce="mean"),
    "resnet18": lambda classes: nets.resnet18(classes, 2, norm="group"),
    "wide_resnet": lambda classes: nets.wide_resnet(classes, 10, 1, stem=2),
    "vit": lambda classes: nets.vit(classes, 4, 8, 1, 2, hidden=6),
    "mixer": lambda classes: nets.mixer(classes, 4, 8, 1, token_hidden=5, hidden=6),
}


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_the_head_takes_the_features(family):
    body, whole = family(None), family(3)
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 8, 8, 1)), jnp.float32)

    def both(key):
        (of_body, state), (of_whole, _) = body.init(key, x), whole.init(key, x)
        logits, _ = whole.apply(of_whole, state, x)
        return of_body, of_whole, logits, body.apply(of_body, state, x)[0]

    compiled = jax.jit(both, compiler_options={"xla_backend_optimization_level": 0})
    of_body, of_whole, logits, features = compiled(jax.random.key(0))
    head = of_whole.pop("head")
    jax.tree.map(np.testing.assert_array_equal, of_body, of_whole)
    assert features.ndim == 2
    np.testing.assert_allclose(features @ head["kernel"] + head["bias"][None], logits, rtol=1e-4, atol=1e-5)
