"""The PyTorch peers of the robustness benchmark, in a process of their own.

``python _robust_torch.py THREADS FILE``: FILE (npz) holds the weights of the network (``conv_0_weight`` ...
in torch's layout), images ``x`` [n, 1, 28, 28] and labels ``y``. The process prints a line with the installed
libraries and their versions. Then it reads objects with "library", "task" and "eps", a line of JSON each, and
answers with "seconds" and an "accuracy" (`experiments.bench._peer_process`):

autoattack: standard AutoAttack in Linf. pgd: 50 steps of .01 from ten starts.
smoothing: certificates of the first 50 images at sigma .25, n = 100 and 10,000; the accuracy at radius 0.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from scipy.stats import beta, norm
from torch import nn  # pyright: ignore[reportMissingImports]


def network(saved: Any) -> Any:
    """The network of Wong & Kolter (2018) with the saved weights."""
    layers = [
        nn.Conv2d(1, 16, 4, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 4, 2, 1), nn.ReLU(), nn.Flatten(),
        nn.Linear(32 * 7 * 7, 100), nn.ReLU(), nn.Linear(100, 10),
    ]  # fmt: skip
    net = nn.Sequential(*layers).eval()
    for layer, name in zip(
        (layers[0], layers[2], layers[5], layers[7]), ("conv_0", "conv_1", "dense", "head")
    ):
        layer.weight.data = torch.tensor(saved[f"{name}_weight"])
        layer.bias.data = torch.tensor(saved[f"{name}_bias"])
    for parameter in net.parameters():
        parameter.requires_grad_(False)
    return net


def accuracy(net: Any, x: Any, y: Any) -> float:
    """The share of images that get their label."""
    return float((net(x).argmax(1) == y).float().mean())


def pyautoattack(net: Any, x: Any, y: Any, eps: float) -> float:
    """Standard AutoAttack of pyautoattack."""
    from pyautoattack import AutoAttack  # pyright: ignore[reportMissingImports]

    found = AutoAttack(net, norm="Linf", eps=eps, seed=0).run_standard_evaluation(x, y, batch_size=256)
    return accuracy(net, found[0] if isinstance(found, tuple) else found, y)


def torchattacks_autoattack(net: Any, x: Any, y: Any, eps: float) -> float:
    """Standard AutoAttack of torchattacks."""
    import torchattacks  # pyright: ignore[reportMissingImports]

    return accuracy(net, torchattacks.AutoAttack(net, eps=eps, seed=0)(x, y), y)


def torchattacks_pgd(net: Any, x: Any, y: Any, eps: float) -> float:
    """PGD-50 of torchattacks from ten starts, each on what the starts before it left."""
    import torchattacks  # pyright: ignore[reportMissingImports]

    attack = torchattacks.PGD(net, eps=eps, alpha=0.01, steps=50)
    return accuracy(net, torchattacks.MultiAttack([attack] * 10)(x, y), y)


def smoothing(net: Any, x: Any, y: Any, eps: float) -> float:
    """Certificates as in the code of Cohen et al. (2019): batches of 1,000 noisy copies of one image."""
    del eps
    right = 0
    for image, label in zip(x[:50], y[:50]):
        chosen = int(_counts(net, image, 100).argmax())
        hits = int(_counts(net, image, 10_000)[chosen])
        lower = float(beta.ppf(0.001, hits, 10_000 - hits + 1))
        right += lower > 0.5 and chosen == int(label) and 0.25 * float(norm.ppf(lower)) >= 0
    return right / 50


def _counts(net: Any, image: Any, n: int) -> Any:
    found, left = np.zeros(10, int), n
    with torch.no_grad():
        while left:
            size = min(1000, left)
            batch = image.repeat(size, 1, 1, 1)
            found += np.bincount(net(batch + 0.25 * torch.randn_like(batch)).argmax(1).numpy(), minlength=10)
            left -= size
    return found


RUNS: dict[str, Callable[[Any, Any, Any, float], float]] = {
    "pyautoattack autoattack": pyautoattack,
    "torchattacks autoattack": torchattacks_autoattack,
    "torchattacks pgd": torchattacks_pgd,
    "torch smoothing": smoothing,
}


def main() -> None:
    """Answer requests until the input ends."""
    torch.set_num_threads(int(sys.argv[1]))
    saved = np.load(sys.argv[2])
    net, x, y = network(saved), torch.tensor(saved["x"]), torch.tensor(saved["y"]).long()
    versions = []
    for name in ("torch", "pyautoattack", "torchattacks"):
        try:
            versions.append(f"{name}={getattr(importlib.import_module(name), '__version__', '?')}")
        except ImportError:
            continue
    print("answer", *versions, flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        begin = time.perf_counter()
        right = RUNS[f"{asked['library']} {asked['task']}"](net, x, y, asked["eps"])
        spent = time.perf_counter() - begin
        print("answer " + json.dumps({"seconds": spent, "accuracy": right}), flush=True)


if __name__ == "__main__":
    main()
