"""lrn's networks in torch, for lightly's side of the benchmarks of self-supervised learning."""

from __future__ import annotations

from typing import Any

import torch  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]
from torch.nn import functional as F  # pyright: ignore[reportMissingImports]


class CNN(nn.Module):
    """`lrn.nets.cnn(None, (32, 64), (128,))` on 28x28 images."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_0, self.conv_1 = nn.Conv2d(1, 32, 3, padding=1), nn.Conv2d(32, 64, 3, padding=1)
        self.dense_0 = nn.Linear(64 * 49, 128)

    def forward(self, x: Any) -> Any:
        """Map [batch, 1, 28, 28] to [batch, 128]."""
        x = F.max_pool2d(F.relu(self.conv_0(x)), 2)
        x = F.max_pool2d(F.relu(self.conv_1(x)), 2)
        return F.relu(self.dense_0(x.permute(0, 2, 3, 1).flatten(1)))  # channels last, as in lrn


class Block(nn.Module):
    """A basic residual block."""

    def __init__(self, channels: int, features: int, stride: int) -> None:
        super().__init__()
        self.conv_0 = nn.Conv2d(channels, features, 3, stride, 1, bias=False)
        self.norm_0 = nn.BatchNorm2d(features)
        self.conv_1 = nn.Conv2d(features, features, 3, 1, 1, bias=False)
        self.norm_1 = nn.BatchNorm2d(features)
        self.projects = stride != 1 or channels != features
        if self.projects:
            self.project = nn.Conv2d(channels, features, 1, stride, bias=False)
            self.norm_project = nn.BatchNorm2d(features)

    def forward(self, x: Any) -> Any:
        """Map [batch, channels, height, width] to features."""
        y = F.relu(self.norm_0(self.conv_0(x)))
        y = self.norm_1(self.conv_1(y))
        return F.relu(y + (self.norm_project(self.project(x)) if self.projects else x))


class ResNet(nn.Module):
    """`lrn.nets.resnet18(None)`."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64)
        channels, blocks = 64, []
        for stage in range(4):
            for i in range(2):
                stride = 2 if stage and not i else 1
                blocks.append((f"stage_{stage}_block_{i}", channels, 64 * 2**stage, stride))
                channels = 64 * 2**stage
        self.order = [name for name, *_ in blocks]
        for name, *sizes in blocks:
            self.add_module(name, Block(*sizes))

    def forward(self, x: Any) -> Any:
        """Map [batch, 3, height, width] to [batch, 512]."""
        x = F.relu(self.norm(self.stem(x)))
        for name in self.order:
            x = getattr(self, name)(x)
        return x.mean((2, 3))


class Projector(nn.Module):
    """`lrn.nets.projector` with one hidden layer."""

    def __init__(self, dim: int, hidden: int, out: int) -> None:
        super().__init__()
        self.dense_0, self.norm_0 = nn.Linear(dim, hidden, bias=False), nn.BatchNorm1d(hidden)
        self.head = nn.Linear(hidden, out)

    def forward(self, x: Any) -> Any:
        """Map [batch, dim] to [batch, out]."""
        return self.head(F.relu(self.norm_0(self.dense_0(x))))


def load(net: Any, saved: Any, name: str) -> Any:
    """The network with lrn's weights, ``name/layer/kernel`` and so on, in the layout of torch."""
    with torch.no_grad():
        for key in saved.files:
            if not key.startswith(f"{name}/"):
                continue
            _, *path, leaf = key.split("/")
            layer, value = net, torch.from_numpy(saved[key])
            for step in path:
                layer = getattr(layer, step)
            if leaf == "kernel":
                value = value.permute(3, 2, 0, 1) if value.ndim == 4 else value.T
            (layer.bias if leaf == "bias" else layer.weight).copy_(value)
    return net.to(memory_format=torch.channels_last)
