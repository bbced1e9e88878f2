"""lightly's side of the benchmarks of self-supervised learning, in a process of its own.

``python _lightly.py THREADS``: the process prints a line with the versions. Then it reads lines of JSON, each
a task with its options and a file of arrays, and answers each with a line of JSON that begins with "answer ".

augment: seconds of the views of ``images`` uint8 [n, height, width(, 3)], one image after another.
train: seconds and losses of a training on ``images`` by a method, from the weights in the file; then the
features of ``train`` and ``test``, if the file has them, go to the file ``out``.

Images are Pillow's, the views are those of lightly's SimCLRTransform (torchvision's transforms), and
torch's DataLoader has ``workers`` processes, whose processor time counts.
"""

from __future__ import annotations

import json
import math
import re
import resource
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from _lightly_nets import CNN, Projector, ResNet, load  # beside this script
from PIL import Image


def stub_operators() -> None:
    """Let torchvision import where its compiled operators do not fit torch; its transforms need none."""
    folder = find_spec("torchvision").submodule_search_locations[0]  # pyright: ignore
    text = (Path(folder) / "_meta_registrations.py").read_text()
    named = re.findall(r"torchvision::(\w+)", text) + re.findall(r'register_meta\("(\w+)"\)', text)
    stubs = torch.library.Library("torchvision", "DEF")
    for name in set(named):
        stubs.define(name + "(Tensor x) -> Tensor")
    KEPT.append(stubs)


KEPT: list[Any] = []  # a library of operators lives as long as its object
try:
    import torchvision  # pyright: ignore[reportMissingImports]
except RuntimeError:
    stub_operators()
    import torchvision  # pyright: ignore[reportMissingImports]

import lightly  # noqa: E402  # pyright: ignore[reportMissingImports]
from lightly.loss import (  # noqa: E402  # pyright: ignore[reportMissingImports]
    NegativeCosineSimilarity,
    NTXentLoss,
    VICRegLoss,
)
from lightly.transforms import SimCLRTransform  # noqa: E402  # pyright: ignore[reportMissingImports]

COLOR = {"cj_strength": 0.5, "gaussian_blur": 0.0, "normalize": None}  # lrn.ssl.recipes.simclr_images()
GRAY = {  # lrn.ssl.recipes.gray_images()
    "cj_strength": 0.5,
    "cj_sat": 0.0,
    "cj_hue": 0.0,
    "min_scale": 0.3,
    "random_gray_scale": 0.0,
    "gaussian_blur": 0.5,
    "sigmas": (0.1, 1.0),
    "hf_prob": 0.0,
    "normalize": None,
}


class Views(torch.utils.data.Dataset):
    """Two views of each image."""

    def __init__(self, images: np.ndarray) -> None:
        self.images = [Image.fromarray(image) for image in images]
        self.transform = SimCLRTransform(input_size=images.shape[1], **(COLOR if images.ndim == 4 else GRAY))

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> Any:
        return self.transform(self.images[i])


def spent() -> float:
    """Processor seconds of this process and of its workers that have ended."""
    return sum(
        used.ru_utime + used.ru_stime
        for used in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def networks(saved: Any, options: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The trained networks by name, and the target networks of BYOL."""
    hidden, out, dim = options["hidden"], options["out"], 128 if options["network"] == "cnn" else 512

    def pair() -> dict[str, Any]:
        encoder = CNN() if options["network"] == "cnn" else ResNet()
        made = {"encoder": encoder, "head": Projector(dim, hidden, out)}
        return {name: load(net, saved, name) for name, net in made.items()}

    nets, target = pair(), {}
    if options["method"] == "byol":
        nets["predictor"] = load(Projector(out, hidden, out), saved, "predictor")
        target = pair()
    return nets, target


def loss_of(options: dict[str, Any], nets: dict[str, Any], target: dict[str, Any], views: Any) -> Any:
    """The loss of two views [batch, channels, height, width], on lrn's scale."""
    z = [nets["head"](nets["encoder"](x)) for x in views]
    if options["method"] == "simclr":
        return LOSSES["simclr"](temperature=options["temperature"])(*z)
    if options["method"] == "vicreg":
        return LOSSES["vicreg"]()(*z)
    with torch.no_grad():
        goals = [target["head"](target["encoder"](x)) for x in views]
    cosine, p = LOSSES["byol"](), [nets["predictor"](each) for each in z]
    return 4 + 2 * (cosine(p[0], goals[1]) + cosine(p[1], goals[0]))


LOSSES = {"simclr": NTXentLoss, "vicreg": VICRegLoss, "byol": NegativeCosineSimilarity}


def train(saved: Any, options: dict[str, Any]) -> dict[str, Any]:
    """Train, and save features; see the module's docstring."""
    torch.manual_seed(options["seed"])
    np.random.seed(options["seed"])  # noqa: NPY002 - lightly draws from it
    nets, target = networks(saved, options)
    parameters = [p for net in nets.values() for p in net.parameters()]
    if options["optimizer"] == "sgd":
        optimizer = torch.optim.SGD(parameters, options["rate"], momentum=0.9)
    else:
        optimizer = torch.optim.Adam(parameters, options["rate"])
    loader = torch.utils.data.DataLoader(
        Views(saved["images"]), options["batch"], True, num_workers=options["workers"], drop_last=True
    )
    begin, cpu, losses = time.perf_counter(), spent(), []
    steps = options["epochs"] * len(loader)
    for _ in range(options["epochs"]):
        for views in loader:
            views = [x.contiguous(memory_format=torch.channels_last) for x in views]
            optimizer.zero_grad(set_to_none=True)
            loss = loss_of(options, nets, target, views)
            loss.backward()
            optimizer.step()
            share = 0.5 * 0.01 * (math.cos(math.pi * len(losses) / steps) + 1)  # BYOL's, from .01 to 0
            with torch.no_grad():
                for name, net in target.items():
                    for slow, fast in zip(net.parameters(), nets[name].parameters()):
                        slow.lerp_(fast, share)
            losses.append(loss.item())
    found = {"cpu": spent() - cpu, "wall": time.perf_counter() - begin, "losses": losses}
    encoder = nets["encoder"].eval()
    if "test" in saved:
        with torch.no_grad():
            features = {
                part: np.concatenate([encoder(pixels(x)).numpy() for x in np.array_split(saved[part], 16)])
                for part in ("train", "test")
            }
        np.savez(options["out_file"], **features)  # pyright: ignore[reportArgumentType]
    return found


def pixels(images: np.ndarray) -> Any:
    """Images uint8 [n, height, width(, 3)] as floats [n, channels, height, width] in [0, 1]."""
    x = torch.from_numpy(images).float() / 255
    return x[:, None] if x.ndim == 3 else x.permute(0, 3, 1, 2)


def augment(saved: Any, options: dict[str, Any]) -> dict[str, Any]:
    """Make both views of all images."""
    views = Views(saved["images"])
    begin, cpu = time.perf_counter(), spent()
    mean = sum(float(view.sum()) for i in range(len(views)) for view in views[i]) / views[0][0].numel()
    seconds = {"cpu": spent() - cpu, "wall": time.perf_counter() - begin}
    return {**seconds, "mean": mean / (2 * len(views))}


def main() -> None:
    """Answer the lines of the input until it ends."""
    torch.set_num_threads(int(sys.argv[1]))
    versions = ", ".join(f"{m.__name__} {m.__version__}" for m in (lightly, torchvision, torch))
    print("answer", versions, flush=True)
    for line in sys.stdin:
        options = json.loads(line)
        found = {"train": train, "augment": augment}[options["task"]](np.load(options["file"]), options)
        print("answer", json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
