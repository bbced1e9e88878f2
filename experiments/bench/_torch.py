"""The PyTorch peer of the convolution benchmark, in a process of its own: ``python _torch.py THREADS``.

The process reads objects with "network", "layout", "optimizer" and "steps", a line of JSON each, and answers
with the "milliseconds" of a step (`experiments.bench._peer_process`).
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import torch  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]
from torch.nn import functional as F  # pyright: ignore[reportMissingImports]


def small_cnn() -> Any:
    """The network of `lrn.nets.cnn` with its defaults, for 28x28 images."""
    layers: list[Any] = []
    for channels, features in ((1, 32), (32, 64)):
        layers += [nn.Conv2d(channels, features, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(64 * 7 * 7, 10))


class Block(nn.Module):
    """A basic residual block."""

    def __init__(self, channels: int, features: int, stride: int):
        super().__init__()
        self.conv_0 = nn.Conv2d(channels, features, 3, stride, 1, bias=False)
        self.norm_0 = nn.BatchNorm2d(features)
        self.conv_1 = nn.Conv2d(features, features, 3, 1, 1, bias=False)
        self.norm_1 = nn.BatchNorm2d(features)
        self.project = nn.Sequential()
        if stride != 1 or channels != features:
            self.project = nn.Sequential(
                nn.Conv2d(channels, features, 1, stride, bias=False), nn.BatchNorm2d(features)
            )

    def forward(self, x: Any) -> Any:
        """Map [batch, channels, height, width] to features."""
        y = F.relu(self.norm_0(self.conv_0(x)))
        return F.relu(self.norm_1(self.conv_1(y)) + self.project(x))


def resnet18() -> Any:
    """The network of `lrn.nets.resnet18` with its defaults."""
    layers: list[Any] = [nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
    channels = 64
    for stage in range(4):
        for i in range(2):
            layers.append(Block(channels, 64 * 2**stage, 2 if stage and not i else 1))
            channels = 64 * 2**stage
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10))


# From the name of a network to the network and the shape of its input, [batch, channels, height, width].
NETWORKS = {"cnn": (small_cnn, (128, 1, 28, 28)), "resnet": (resnet18, (32, 3, 32, 32))}


def trainer(network: str, layout: str, optimizer: str, batches: int = 4) -> Callable[[int], None]:
    """A function that trains the network for a given number of steps."""
    make, shape = NETWORKS[network]
    order = torch.channels_last if layout == "channels_last" else torch.contiguous_format
    net = make().to(memory_format=order)
    data = [
        (torch.rand(shape).to(memory_format=order), torch.randint(0, 10, shape[:1])) for _ in range(batches)
    ]
    if optimizer == "adam":
        update = torch.optim.Adam(net.parameters(), lr=1e-3)
    else:
        update = torch.optim.SGD(net.parameters(), lr=1e-2, momentum=0.9)

    def run(steps: int) -> None:
        for step in range(steps):
            x, y = data[step % batches]
            update.zero_grad(set_to_none=True)
            F.cross_entropy(net(x), y).backward()
            update.step()

    run(3)
    return run


def main() -> None:
    """Answer the lines of the input until it ends."""
    torch.set_num_threads(int(sys.argv[1]))
    print(f"answer {torch.__version__}", flush=True)
    trainers: dict[tuple[str, ...], Callable[[int], None]] = {}
    for line in sys.stdin:
        asked = json.loads(line)
        which, steps = (asked["network"], asked["layout"], asked["optimizer"]), asked["steps"]
        if which not in trainers:
            trainers[which] = trainer(*which)
        begin = time.perf_counter()
        trainers[which](steps)
        spent = (time.perf_counter() - begin) / steps * 1e3
        print("answer " + json.dumps({"milliseconds": spent}), flush=True)


if __name__ == "__main__":
    main()
