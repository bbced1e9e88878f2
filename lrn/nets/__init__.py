"""Networks as `Net(init, apply)`: MLPs, CNNs, decoders, ResNets, transformers; bridges from flax, functions.

Only this package imports flax; cores see only `lrn.types.Net`. `conv`, `deconv` and `pool` hold the forms
that measurements found to be fastest on each backend.
"""

from lrn.nets.bridge import from_flax, from_function
from lrn.nets.cnn import CNN, cnn
from lrn.nets.cnn1d import CNN1d, cnn1d
from lrn.nets.conv import Conv, conv2d
from lrn.nets.conv4 import Conv4, conv4
from lrn.nets.decoder import ConvDecoder, conv_decoder, dsprites_decoder, dsprites_encoder, mlp_decoder
from lrn.nets.deconv import conv_transpose2d
from lrn.nets.mask_decoder import mask_decoder
from lrn.nets.masked import masked_vit, sequence_transformer, token_transformer
from lrn.nets.mixer import Mixer, mixer
from lrn.nets.mlp import MLP, mlp
from lrn.nets.noisy import NoisyMLP, noisy_mlp
from lrn.nets.pool import max_pool
from lrn.nets.projector import Projector, projector
from lrn.nets.recurrent import GRU, gru_actor_critic
from lrn.nets.resnet import ResNet, resnet18
from lrn.nets.size import of_size, parameter_count
from lrn.nets.text import NgramBag, ngram_bag
from lrn.nets.torch_weights import torch_weights
from lrn.nets.vit import ViT, vit
from lrn.nets.wide_resnet import WideResNet, wide_resnet
from lrn.types import LANES

__all__ = [
    "CNN",
    "GRU",
    "LANES",
    "MLP",
    "CNN1d",
    "Conv",
    "Conv4",
    "ConvDecoder",
    "Mixer",
    "NgramBag",
    "NoisyMLP",
    "Projector",
    "ResNet",
    "ViT",
    "WideResNet",
    "cnn",
    "cnn1d",
    "conv2d",
    "conv4",
    "conv_decoder",
    "conv_transpose2d",
    "dsprites_decoder",
    "dsprites_encoder",
    "from_flax",
    "from_function",
    "gru_actor_critic",
    "mask_decoder",
    "masked_vit",
    "max_pool",
    "mixer",
    "mlp",
    "mlp_decoder",
    "ngram_bag",
    "noisy_mlp",
    "of_size",
    "parameter_count",
    "projector",
    "resnet18",
    "sequence_transformer",
    "token_transformer",
    "torch_weights",
    "vit",
    "wide_resnet",
]
