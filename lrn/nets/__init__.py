"""Networks as `Net(init, apply)`: MLPs, CNNs, ResNets, a ViT and a Mixer; bridges from flax and functions.

Only this package imports flax; cores see only `lrn.types.Net`. `conv` holds convolution and pooling in
the forms that measurements found to be fastest on each backend.
"""

from lrn.nets.bridge import from_flax, from_function
from lrn.nets.cnn import CNN, cnn
from lrn.nets.conv import LANES, Conv, conv2d, max_pool
from lrn.nets.conv4 import Conv4, conv4
from lrn.nets.mixer import Mixer, mixer
from lrn.nets.mlp import MLP, mlp
from lrn.nets.projector import Projector, projector
from lrn.nets.recurrent import GRU, gru_actor_critic
from lrn.nets.resnet import ResNet, resnet18
from lrn.nets.size import of_size, parameter_count
from lrn.nets.vit import ViT, vit
from lrn.nets.wide_resnet import WideResNet, wide_resnet

__all__ = [
    "CNN",
    "GRU",
    "LANES",
    "MLP",
    "Conv",
    "Conv4",
    "Mixer",
    "Projector",
    "ResNet",
    "ViT",
    "WideResNet",
    "cnn",
    "conv2d",
    "conv4",
    "from_flax",
    "from_function",
    "gru_actor_critic",
    "max_pool",
    "mixer",
    "mlp",
    "of_size",
    "parameter_count",
    "projector",
    "resnet18",
    "vit",
    "wide_resnet",
]
