"""Record what torchvision makes of small images, by `python make_torchvision.py`.

The values in the repository are those of torchvision 0.28.0, torch 2.13.0 and Pillow 13.0.0. Only
torchvision's Python functions are used. The stubs let torchvision import where its compiled operators do not
fit the installed torch.
"""

import itertools
import re
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch  # pyright: ignore[reportMissingImports]

stubs = torch.library.Library("torchvision", "DEF")
places = getattr(find_spec("torchvision"), "submodule_search_locations")  # noqa: B009
meta = (Path(places[0]) / "_meta_registrations.py").read_text()
for name in set(re.findall(r"torchvision::(\w+)", meta)) | set(re.findall(r'register_meta\("(\w+)"\)', meta)):
    stubs.define(name + "(Tensor x) -> Tensor")

from torchvision.transforms import RandomResizedCrop  # noqa: E402 # pyright: ignore[reportMissingImports]
from torchvision.transforms import functional as F  # noqa: E402 # pyright: ignore[reportMissingImports]

rng = np.random.default_rng(0)
images = rng.uniform(size=(24, 6, 5, 3)).astype(np.float32)
images[0, 0, 0] = 0.5  # a gray pixel, whose hue is undefined
images[1, 0, 0] = 0.0
images[2, 0, :2] = [[0.7, 0.7, 0.2], [0.1, 0.6, 0.6]]  # ties for the largest channel
orders = np.array(list(itertools.permutations(range(4))))
factors = rng.uniform([0.4, 0.4, 0.0, -0.5], [1.6, 1.6, 2.0, 0.5], (24, 4)).astype(np.float32)
change = [F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, F.adjust_hue]


def channels_first(image):
    return torch.from_numpy(image.transpose(2, 0, 1).copy())


def back(tensor):
    return tensor.numpy().transpose(1, 2, 0)


def jittered(image, order, factor):
    image = channels_first(image)
    for which in order:
        image = change[which](image, float(factor[which]))
    return back(image)


boxes = np.array([[0, 0, 6, 5], [1, 2, 4, 3], [2, 1, 1, 4], [3, 0, 2, 1]])
sizes = [(6, 5), (3, 9)]
crops = {
    f"crop_{h}x{w}": np.stack(
        [
            back(F.resized_crop(channels_first(images[i]), *map(int, box), [h, w], antialias=True))
            for i, box in enumerate(boxes)
        ]
    )
    for h, w in sizes
}

sigmas = np.array([0.1, 0.7, 2.0], np.float32)
blurs = np.stack(
    [back(F.gaussian_blur(channels_first(images[i]), [5, 5], [float(s)] * 2)) for i, s in enumerate(sigmas)]
)

moments = {}
torch.manual_seed(0)
for (height, width), scale in (((28, 32), (0.08, 1.0)), ((8, 40), (0.5, 1.0))):
    blank = torch.zeros(1, height, width)
    drawn = np.array([RandomResizedCrop.get_params(blank, scale, (3 / 4, 4 / 3)) for _ in range(20_000)])
    moments[f"boxes_{height}x{width}"] = np.stack([drawn.mean(0), drawn.std(0)])

np.savez_compressed(
    Path(__file__).with_name("torchvision.npz"),
    images=images,
    orders=orders,
    factors=factors,
    jittered=np.stack([jittered(*given) for given in zip(images, orders, factors)]),
    gray_jittered=np.stack([jittered(x[..., :1], o, f) for x, o, f in zip(images, orders, factors)]),
    gray=np.stack([back(F.rgb_to_grayscale(channels_first(image), 3)) for image in images[:3]]),
    solarized=np.stack([back(F.solarize(channels_first(image), 0.4)) for image in images[:3]]),
    boxes=boxes,
    sigmas=sigmas,
    blurred=blurs,
    **crops,
    **moments,
)
