"""A batch of pretraining on four devices gives the gradients of one device.

`tests/test_four_devices.py` runs this file again on four virtual devices.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from lrn import nets, train
from lrn.check import InputError
from lrn.ssl import gather
from lrn.ssl.alignment_uniformity import AlignmentUniformityConfig, alignment_uniformity
from lrn.ssl.barlow_twins import BarlowTwinsConfig, barlow_twins
from lrn.ssl.byol import BYOLConfig, byol
from lrn.ssl.cross_modal import CLIPConfig, Modality, clip
from lrn.ssl.deep_cluster import DeepClusterConfig, deep_cluster
from lrn.ssl.dino import DINOConfig, dino
from lrn.ssl.info_nce import InfoNCEConfig, bilinear, contrastive
from lrn.ssl.moco import MoCoConfig, moco
from lrn.ssl.nce import NCEConfig, nce
from lrn.ssl.semi_paired import SemiPairedConfig, semi_paired
from lrn.ssl.sigreg import LeJEPAConfig, lejepa
from lrn.ssl.simclr import SimCLRConfig, nt_xent, simclr
from lrn.ssl.simsiam import SimSiamConfig, simsiam
from lrn.ssl.swav import SwAVConfig, swav
from lrn.ssl.vicreg import VICRegConfig, vicreg
from lrn.ssl.w_mse import WMSEConfig, w_mse
from lrn.supervised.optimizers import OptimizerConfig
from lrn.train.lanes import Lanes
from lrn.types import PARTS, Net, Sampler
from lrn.xla.parts import parts

four = pytest.mark.skipif(jax.device_count() < 4, reason="runs on four devices, in test_four_devices.py")
# The change of the parameters by a step is minus the gradient, so a gradient of another scale shows.
SGD = OptimizerConfig("sgd", learning_rate=1.0, momentum=0.0)
X = np.random.default_rng(0).normal(size=(16, 6)).astype(np.float32)
ENCODER, HEAD, PREDICTOR = nets.mlp(8, (12,)), nets.mlp(4, (8,)), nets.mlp(4, (8,))


def noisy(key, x):
    return x + 0.5 * jax.random.normal(key, x.shape)


TWO = ENCODER, HEAD, noisy
# Networks with BatchNorm, which must normalize the shares of the devices as one batch.
NORMALIZED = ENCODER, nets.projector(4, (8,), norm_output=True), nets.projector(4, (8,)), noisy
PROJECTED = ENCODER, nets.projector(4, (8,)), noisy
MODALITIES = Modality(*PROJECTED), Modality(*TWO)
LEARNERS = {
    "simclr": simclr(*TWO, SimCLRConfig(SGD, temperature=0.2)),
    "simclr in groups": simclr(*TWO, SimCLRConfig(SGD, temperature=0.2, group=8)),
    "contrastive": contrastive(*TWO, InfoNCEConfig(SGD, symmetric=True), bilinear()),
    "nce": nce(*TWO, NCEConfig(SGD)),
    "moco": moco(*TWO, MoCoConfig(SGD, queue=24)),
    "simsiam": simsiam(ENCODER, HEAD, PREDICTOR, noisy, SimSiamConfig(SGD)),
    "byol": byol(*NORMALIZED, BYOLConfig(SGD)),
    "barlow_twins": barlow_twins(*TWO, BarlowTwinsConfig(SGD)),
    "vicreg": vicreg(*TWO, VICRegConfig(SGD)),
    "w_mse": w_mse(*TWO, WMSEConfig(SGD, size=8)),
    "lejepa": lejepa(*TWO, LeJEPAConfig(SGD, directions=16)),
    "alignment_uniformity": alignment_uniformity(*TWO, AlignmentUniformityConfig(SGD)),
    "swav": swav(*PROJECTED, SwAVConfig(SGD, prototypes=8, local_views=1, queue=24), noisy),
    "deep_cluster": deep_cluster(*PROJECTED, DeepClusterConfig(SGD, prototypes=8, bank=24)),
    "dino": dino(*PROJECTED, DINOConfig(SGD, prototypes=8, local_views=1, momentum=0.9), noisy),
    "clip": clip(*MODALITIES, CLIPConfig(SGD)),
    "semi_paired": semi_paired(*MODALITIES, SemiPairedConfig(SGD)),
}


def batch_of(name, x):
    """The entries that a method reads: the halves of an example are an image and its text."""
    if name == "clip":
        return {"image": x[:, :3], "text": x[:, 3:]}
    if name == "semi_paired":
        alone = {"image_alone": x[8:, :3], "text_alone": x[8:, 3:]}
        return {"image": x[:8, :3], "text": x[:8, 3:], **alone}
    return {"x": x}


def one_step(name, devices: int):
    """The gradient of the first step on some devices, the memory after it and its metrics."""
    learner = LEARNERS[name]

    def step(x):
        state = learner.init(jax.random.key(0), batch_of(name, x))
        after, metrics = learner.step(jax.random.key(1), state, batch_of(name, x))
        change = jax.tree.map(jnp.subtract, state.training.params, after.training.params)
        parts_of = {"gradient": change, "memory": after.memory, "metrics": dict(metrics)}
        return {**parts_of, "states": after.training.net_state}

    return on_devices(step, devices)


def on_devices(function, devices: int):
    """The function's value for the batch X, which all devices have whole."""
    if devices == 1:
        return jax.device_get(jax.jit(function)(X))
    lanes = Lanes(1, parts=devices)
    return jax.tree.map(lambda x: x[0], lanes.get(lanes.jit(function, (True,))(lanes.put(X[None]))))


def flat(tree):
    return np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)])


def test_outside_of_a_training_nothing_is_divided():
    assert gather.own(X) is X
    assert gather.whole(X) is X
    assert gather.mean(X) is X


# The other methods differ from these in their loss alone, and the loss is computed on all embeddings.
FAST = {"clip", "dino", "moco", "simclr", "swav", "w_mse"}
NAMES = [n if n in FAST else pytest.param(n, marks=pytest.mark.slow) for n in LEARNERS]


@four
@pytest.mark.parametrize("name", NAMES)
def test_four_devices_give_the_gradient_of_one(name):
    one, four = (one_step(name, devices) for devices in (1, 4))
    scale = np.abs(flat(one["gradient"])).max()
    assert scale > 1e-3
    for kind in one:
        if jax.tree.leaves(one[kind]):
            np.testing.assert_allclose(
                flat(four[kind]), flat(one[kind]), rtol=1e-5, atol=1e-5 * max(scale, 1), err_msg=kind
            )


W = np.random.default_rng(1).normal(size=(6, 4)).astype(np.float32)


def embedded(w, x):
    """Embeddings of two views."""
    return jnp.tanh(x @ w), jnp.tanh((x + 0.5 * x[:, ::-1]) @ w)


def through(gathered):
    """The gradient of NT-Xent of embeddings that ``gathered`` takes from the device's own."""

    def loss(w, x):
        a, b = gathered(embedded(w, gather.own(x)))
        return nt_xent(a, b, 0.2)

    return lambda x: jax.grad(loss)(W, x)


def stopped(own):
    """Embeddings of all devices, of which the gradient knows the device's own alone."""

    def of(x):
        everywhere = lax.stop_gradient(gather.whole(x))
        return lax.dynamic_update_slice_in_dim(everywhere, x, lax.axis_index(PARTS) * x.shape[0], 0)

    return jax.tree.map(of, own)


@four
def test_only_the_differentiable_gather_gives_the_gradient():
    """Planted errors: negatives of the own share, and gathered embeddings that are cut from the gradient."""
    right = on_devices(lambda x: jax.grad(lambda w: nt_xent(*embedded(w, x), 0.2))(W), 1)
    kinds = {"whole": gather.whole, "own negatives": lambda tree: tree, "stopped": stopped}
    found = on_devices(lambda x: {n: gather.mean(through(g)(x)) for n, g in kinds.items()}, 4)
    np.testing.assert_allclose(found["whole"], right, rtol=1e-5, atol=1e-5 * np.abs(right).max())
    for error in ("own negatives", "stopped"):
        wrong = found[error]
        assert np.linalg.norm(wrong - right) > 0.2 * np.linalg.norm(right), error


@four
def test_with_the_check_of_varying_values_the_mean_is_too_large():
    """jax.shard_map with check_vma has summed the gradients by replicated parameters already."""
    mesh = jax.make_mesh((4,), (PARTS,), axis_types=(jax.sharding.AxisType.Auto,))

    def mean_gradient(check: bool):
        def gradient(w, x):
            return gather.mean(jax.grad(lambda w: nt_xent(*gather.whole(embedded(w, x)), 0.2))(w))

        specs = jax.P(), jax.P(PARTS)
        return jax.shard_map(gradient, mesh=mesh, in_specs=specs, out_specs=jax.P(), check_vma=check)

    right, large = jax.jit(lambda w, x: (mean_gradient(False)(w, x), mean_gradient(True)(w, x)))(W, X)
    np.testing.assert_allclose(large, 4 * np.asarray(right), rtol=1e-4, atol=1e-6)


def counted():
    """A network with statistics of its own kind: the mean of all inputs."""
    return Net(
        lambda key, x: ((), jnp.zeros(())),
        lambda params, state, x, *, key=None, train=False: (x, 0.9 * state + 0.1 * jnp.mean(x)),
    )


HEADS = {"none": HEAD, "batch": nets.projector(4, (8,)), "own": counted()}


@pytest.mark.parametrize(("batch", "head", "items"), [(6, "none", 6), (16, "batch", 16), (16, "own", 1)])
def test_a_batch_is_divided_unless_a_network_keeps_statistics_of_its_own(batch, head, items):
    learner = simclr(ENCODER, HEADS[head], noisy, SimCLRConfig())
    given = {"x": X[:batch]}
    state = jax.eval_shape(learner.init, jax.random.key(0), given)
    assert learner.divides is not None
    assert learner.divides(state, given) == items


def test_parts_of_a_batch_that_differ_in_size_are_divided_by_what_divides_all():
    learner = semi_paired(*MODALITIES, SemiPairedConfig())
    given = {"image": X[:4, :3], "text": X[:4, 3:], "image_alone": X[:6, :3], "text_alone": X[:6, 3:]}
    state = jax.eval_shape(learner.init, jax.random.key(0), given)
    assert learner.divides is not None
    assert learner.divides(state, given) == 2


@four
def test_a_training_takes_the_devices():
    seen = []

    def view(key, x):
        seen.append(parts())
        return noisy(key, x)

    train.fit(
        lambda config: simclr(ENCODER, HEAD, view, config), SimCLRConfig(SGD), [0], steps=2,
        data={"x": X}, sampler=Sampler(lambda key, data: data), progress=False,
    )  # fmt: skip
    assert max(seen) == 4


@four
def test_a_batch_that_the_devices_do_not_divide_is_refused():
    with pytest.raises(InputError, match="4 devices do not divide a batch of 6"):
        on_devices(lambda x: gather.own(x[:6]), 4)
