"""Methods with their networks for the benchmarks of self-supervised learning, each at its usual settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from lrn import nets
from lrn.ssl.alignment_uniformity import AlignmentUniformityConfig, alignment_uniformity
from lrn.ssl.barlow_twins import BarlowTwinsConfig, barlow_twins
from lrn.ssl.byol import BYOLConfig, byol
from lrn.ssl.deep_cluster import DeepClusterConfig, deep_cluster
from lrn.ssl.dino import DINOConfig, dino
from lrn.ssl.info_nce import InfoNCEConfig, contrastive
from lrn.ssl.latent_prediction import LatentPredictionConfig, latent_prediction
from lrn.ssl.mae import MAEConfig, mae
from lrn.ssl.moco import MoCoConfig, moco
from lrn.ssl.nce import NCEConfig, nce
from lrn.ssl.recipes import gray_images
from lrn.ssl.sigreg import LeJEPAConfig, lejepa
from lrn.ssl.simclr import SimCLRConfig, simclr
from lrn.ssl.simsiam import SimSiamConfig, simsiam
from lrn.ssl.swav import SwAVConfig, swav
from lrn.ssl.vicreg import VICRegConfig, vicreg
from lrn.ssl.views import View
from lrn.ssl.w_mse import WMSEConfig, w_mse
from lrn.supervised.optimizers import OptimizerConfig
from lrn.types import Learner, Net


class Method(NamedTuple):
    """A method: its learner for a config, its config, and the network whose features count."""

    learner: Callable[[Any], Learner]
    config: Any
    net: Net


def flat_methods(view: View, optimizer: Callable[[float], OptimizerConfig]) -> dict[str, Method]:
    """The methods of the table of content and style, some of them without their guard.

    Args:
        view: the view of the set. optimizer: ``optimizer(rate)``; BYOL needs a larger rate.
    """
    encoder, head = nets.mlp(32, (256,)), nets.projector(32, (64,))
    slow, fast = optimizer(3e-3), optimizer(1e-2)
    two = encoder, head, view
    wide, narrow = ((encoder, head, nets.projector(32, (width,)), view) for width in (128, 16))
    made = {
        "SimCLR": (simclr, two, SimCLRConfig(slow, temperature=0.5)),
        "SimCLR, invariance only": (simclr, two, SimCLRConfig(slow, temperature=0.5, negatives=False)),
        "SimSiam": (simsiam, wide, SimSiamConfig(slow)),
        "SimSiam, no stop-gradient": (simsiam, wide, SimSiamConfig(slow, stop_gradient=False)),
        "BYOL": (byol, narrow, BYOLConfig(fast, momentum=0.98)),
        "VICReg": (vicreg, two, VICRegConfig(slow)),
        "VICReg, no variance": (vicreg, two, VICRegConfig(slow, variance=0.0)),
        "Barlow Twins": (barlow_twins, two, BarlowTwinsConfig(slow, redundancy=0.02)),
    }
    return {name: _method(parts, encoder) for name, parts in made.items()}


def image_methods(name: str, optimizer: OptimizerConfig, steps: int) -> dict[str, Method]:
    """All methods for gray images of 28x28 pixels, with a CNN or, where patches are hidden, a transformer.

    Args:
        name: of the data set; digits are not mirrored.
        optimizer: the optimizer of all methods.
        steps: the length of the training, for schedules of momenta.
    """
    view = gray_images(flip=0.5 if name == "fashion_mnist" else 0.0)
    encoder = nets.cnn(None, (16, 32), (128,), kernel=4, down="stride")
    head, predictor = nets.projector(64, (128,)), nets.projector(64, (64,))
    patches = nets.masked_vit(7, 64, 2, 4, hidden=128)
    two, three = (encoder, head, view), (encoder, head, predictor, view)
    weak = gray_images(crop=(0.6, 1.0), strength=0.0, blur=None)  # a masked method needs its pixels
    embedding = {
        "SimCLR": (simclr, two, SimCLRConfig(optimizer, temperature=0.2)),
        "InfoNCE": (contrastive, two, InfoNCEConfig(optimizer, temperature=0.2, symmetric=True)),
        "NCE": (nce, two, NCEConfig(optimizer, temperature=0.2)),
        "MoCo": (moco, two, MoCoConfig(optimizer, momentum=0.98, queue=1024)),
        "alignment and uniformity": (alignment_uniformity, two, AlignmentUniformityConfig(optimizer)),
        "SimSiam": (simsiam, three, SimSiamConfig(optimizer)),
        "BYOL": (byol, three, BYOLConfig(optimizer, momentum=0.98, steps=steps)),
        "Barlow Twins": (barlow_twins, two, BarlowTwinsConfig(optimizer, redundancy=0.02)),
        "VICReg": (vicreg, two, VICRegConfig(optimizer)),
        "W-MSE": (w_mse, two, WMSEConfig(optimizer)),
        "LeJEPA": (lejepa, two, LeJEPAConfig(optimizer)),
        "SwAV": (swav, two, SwAVConfig(optimizer, prototypes=64)),
        "DeepCluster-v2": (deep_cluster, two, DeepClusterConfig(optimizer, prototypes=64, bank=1024)),
        "DINO": (dino, two, DINOConfig(optimizer, prototypes=64, momentum=0.98, steps=steps)),
    }
    masked = {
        "MAE": (
            mae,
            (patches, nets.mask_decoder(49, 16, 64, 1, 4, hidden=128), weak),
            MAEConfig(10, optimizer),
        ),
        "latent prediction": (
            latent_prediction,
            (patches, nets.mask_decoder(64, 16, 64, 1, 4, hidden=128), weak),
            LatentPredictionConfig((2, 2), 6, 2, optimizer, decay=0.98, decay_steps=float(steps)),
        ),
    }
    return {
        **{label: _method(parts, encoder) for label, parts in embedding.items()},
        **{label: _method(parts, patches.net) for label, parts in masked.items()},
    }


def _method(made: tuple[Callable[..., Learner], tuple[Any, ...], Any], net: Net) -> Method:
    factory, parts, config = made
    return Method(lambda c: factory(*parts, c), config, net)
