"""The PyTorch peers of the meta-learning benchmark, in their own process: ``python _meta_torch.py THREADS``.

The process prints a line with the installed libraries and their versions. Then it reads objects with
"library", "part" and "iterations", a line of JSON each, and answers with the "seconds" of a meta-iteration of
second-order MAML with one inner step and Adam (`experiments.bench._peer_process`):

sinusoid: 25 tasks of 10 + 10 points, a perceptron 1-40-40-1 with ReLU.
omniglot: 32 tasks of 5 ways with one shot and one query, four strided blocks of 64 channels.

Every iteration draws new tasks, as lrn's does. The pictures are noise, because their content does not
change the time.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import torch  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]
from torch.nn import functional as F  # pyright: ignore[reportMissingImports]

Task = tuple[Any, Any, Any, Any]  # support x and y, query x and y


def perceptron() -> Any:
    """The network of the sinusoids."""
    return nn.Sequential(nn.Linear(1, 40), nn.ReLU(), nn.Linear(40, 40), nn.ReLU(), nn.Linear(40, 1))


def convolutional() -> Any:
    """Four strided blocks without normalization, like ``nets.conv4()``."""
    layers: list[Any] = []
    for channels in (1, 64, 64, 64):
        layers += [nn.Conv2d(channels, 64, 3, stride=2, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(256, 5))


def sinusoids() -> Task:
    """25 tasks; each of the four arrays is [25, 10, 1]."""
    amplitude, phase = 0.1 + 4.9 * torch.rand(25, 1, 1), torch.pi * torch.rand(25, 1, 1)
    x = 10 * torch.rand(25, 20, 1) - 5
    y = amplitude * torch.sin(x + phase)
    return x[:, :10], y[:, :10], x[:, 10:], y[:, 10:]


IMAGES = torch.rand(200, 20, 1, 28, 28)


def pictures() -> Task:
    """32 tasks, x [32, 5, 1, 28, 28] and y [32, 5]."""
    classes = torch.stack([torch.randperm(200)[:5] for _ in range(32)])
    examples = torch.stack([torch.randperm(20)[:2] for _ in range(160)]).reshape(32, 5, 2)
    y = torch.arange(5).expand(32, 5)
    return IMAGES[classes, examples[..., 0]], y, IMAGES[classes, examples[..., 1]], y


# From the name of a part to its network, tasks, loss and inner rate.
PARTS: dict[str, tuple[Callable[[], Any], Callable[[], Task], Any, float]] = {
    "sinusoid": (perceptron, sinusoids, F.mse_loss, 0.01),
    "omniglot": (convolutional, pictures, F.cross_entropy, 0.4),
}


def with_vmap(net: Any, loss: Any, rate: float, tasks: Task) -> Any:
    """The meta-loss by torch.func: one vmap over all tasks."""
    from torch.func import functional_call, grad, vmap  # pyright: ignore[reportMissingImports]

    params = dict(net.named_parameters())

    def one(xs: Any, ys: Any, xq: Any, yq: Any) -> Any:
        def support(params: Any) -> Any:
            return loss(functional_call(net, params, (xs,)), ys)

        slope = grad(support)(params)
        adapted = {name: p - rate * slope[name] for name, p in params.items()}
        return loss(functional_call(net, adapted, (xq,)), yq)

    return vmap(one)(*tasks).mean()


def with_loop(net: Any, loss: Any, rate: float, tasks: Task) -> Any:
    """The meta-loss in plain PyTorch: a loop over tasks, each with a functional copy of the network."""
    from torch.func import functional_call  # pyright: ignore[reportMissingImports]

    params, losses = dict(net.named_parameters()), []
    for xs, ys, xq, yq in zip(*tasks):
        value = loss(functional_call(net, params, (xs,)), ys)
        slopes = torch.autograd.grad(value, list(params.values()), create_graph=True)
        adapted = {name: p - rate * g for (name, p), g in zip(params.items(), slopes)}
        losses.append(loss(functional_call(net, adapted, (xq,)), yq))
    return torch.stack(losses).mean()


def with_higher(net: Any, loss: Any, rate: float, tasks: Task) -> Any:
    """The meta-loss by higher: a context for each task."""
    import higher  # pyright: ignore[reportMissingImports]

    inner, losses = torch.optim.SGD(net.parameters(), lr=rate), []
    for xs, ys, xq, yq in zip(*tasks):
        with higher.innerloop_ctx(net, inner, copy_initial_weights=False) as (copy, steps):
            steps.step(loss(copy(xs), ys))
            losses.append(loss(copy(xq), yq))
    return torch.stack(losses).mean()


def with_torchopt(net: Any, loss: Any, rate: float, tasks: Task) -> Any:
    """The meta-loss by TorchOpt: for each task the network is adapted in place and restored."""
    import torchopt  # pyright: ignore[reportMissingImports]

    inner, losses = torchopt.MetaSGD(net, lr=rate), []
    begin = torchopt.extract_state_dict(net, by="reference")
    state = torchopt.extract_state_dict(inner)
    for xs, ys, xq, yq in zip(*tasks):
        inner.step(loss(net(xs), ys))
        losses.append(loss(net(xq), yq))
        torchopt.recover_state_dict(net, begin)
        torchopt.recover_state_dict(inner, state)
    return torch.stack(losses).mean()


LIBRARIES: dict[str, tuple[str, Callable[..., Any]]] = {
    "torch.func": ("torch", with_vmap),
    "torch": ("torch", with_loop),
    "higher": ("higher", with_higher),
    "torchopt": ("torchopt", with_torchopt),
}


def trainer(library: str, part: str) -> Callable[[int], None]:
    """A function that meta-trains for a given number of iterations."""
    make, draw, loss, rate = PARTS[part]
    net, meta_loss = make(), LIBRARIES[library][1]
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)

    def run(iterations: int) -> None:
        for _ in range(iterations):
            optimizer.zero_grad(set_to_none=True)
            meta_loss(net, loss, rate, draw()).backward()
            optimizer.step()

    run(2)
    return run


def installed() -> dict[str, str]:
    """From the libraries that can be imported to their versions."""
    versions = {}
    for name, (module, _) in LIBRARIES.items():
        try:
            versions[name] = getattr(importlib.import_module(module), "__version__", "")
        except ImportError:
            continue
    return versions


def main() -> None:
    """Answer the lines of the input until it ends."""
    torch.set_num_threads(int(sys.argv[1]))
    print("answer", *(f"{name}={version}" for name, version in installed().items()), flush=True)
    trainers: dict[tuple[str, str], Callable[[int], None]] = {}
    for line in sys.stdin:
        asked = json.loads(line)
        library, part, iterations = asked["library"], asked["part"], asked["iterations"]
        if (library, part) not in trainers:
            trainers[library, part] = trainer(library, part)
        begin = time.perf_counter()
        trainers[library, part](iterations)
        spent = (time.perf_counter() - begin) / iterations
        print("answer " + json.dumps({"seconds": spent}), flush=True)


if __name__ == "__main__":
    main()
