"""The PyTorch peer of the VAE benchmark, in a process of its own: ``python _vae_torch.py THREADS``.

The process prints its version. Then it reads lines of JSON with a file of weights (those of
`lrn.nets.dsprites_encoder` and `dsprites_decoder`) and images, and answers each with the loss of the first
batch without noise, and the processor and wall seconds of the training steps.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]
from torch.nn import functional as F  # pyright: ignore[reportMissingImports]


class Encoder(nn.Module):
    """The encoder of the dSprites protocol."""

    def __init__(self, codes: int):
        super().__init__()
        shapes = ((1, 32, 4, 1), (32, 32, 4, 1), (32, 64, 2, 0), (64, 64, 2, 0))
        self.convs = nn.ModuleList(nn.Conv2d(i, o, k, 2, p) for i, o, k, p in shapes)
        self.dense, self.head = nn.Linear(1024, 256), nn.Linear(256, 2 * codes)

    def forward(self, x: Any) -> Any:
        """Map images [batch, 1, 64, 64] to moments [batch, 2 codes]."""
        for conv in self.convs:
            x = F.relu(conv(x))
        return self.head(F.relu(self.dense(x.flatten(1))))


class Decoder(nn.Module):
    """The decoder of the dSprites protocol."""

    def __init__(self, codes: int):
        super().__init__()
        self.dense = nn.ModuleList((nn.Linear(codes, 256), nn.Linear(256, 1024)))
        shapes = ((64, 64), (64, 32), (32, 32), (32, 1))
        self.convs = nn.ModuleList(nn.ConvTranspose2d(i, o, 4, 2, 1) for i, o in shapes)

    def forward(self, z: Any) -> Any:
        """Map codes [batch, codes] to logits [batch, 1, 64, 64]."""
        for dense in self.dense:
            z = F.relu(dense(z))
        z = z.reshape(-1, 64, 4, 4)
        for i, conv in enumerate(self.convs):
            z = conv(z) if i == 3 else F.relu(conv(z))
        return z


def load(encoder: Encoder, decoder: Decoder, weights: Any) -> None:
    """Copy lrn's weights. Flattened images are [height, width, channels] there."""

    def put(parameter: Any, value: np.ndarray) -> None:
        parameter.data.copy_(torch.from_numpy(np.ascontiguousarray(value)))

    def dense(layer: Any, name: str) -> None:
        put(layer.weight, weights[f"{name}/kernel"].T)
        put(layer.bias, weights[f"{name}/bias"])

    for i, conv in enumerate(encoder.convs):
        put(conv.weight, weights[f"encoder/conv_{i}/kernel"].transpose(3, 2, 0, 1))
        put(conv.bias, weights[f"encoder/conv_{i}/bias"])
    dense(encoder.dense, "encoder/dense_0")
    dense(encoder.head, "encoder/head")
    kernel = weights["encoder/dense_0/kernel"].reshape(4, 4, 64, -1)
    put(encoder.dense.weight, kernel.transpose(3, 2, 0, 1).reshape(-1, 1024))
    for i, layer in enumerate(decoder.dense):
        dense(layer, f"decoder/dense_{i}")
    kernel, bias = weights["decoder/dense_1/kernel"], weights["decoder/dense_1/bias"]
    put(decoder.dense[1].weight, kernel.reshape(-1, 4, 4, 64).transpose(3, 1, 2, 0).reshape(1024, -1))
    put(decoder.dense[1].bias, bias.reshape(4, 4, 64).transpose(2, 0, 1).reshape(-1))
    for i, conv in enumerate(decoder.convs):
        # A transposed convolution of PyTorch is the gradient of a convolution, so its kernel is turned.
        put(conv.weight, weights[f"decoder/conv_{i}/kernel"][::-1, ::-1].transpose(2, 3, 0, 1))
        put(conv.bias, weights[f"decoder/conv_{i}/bias"])


def main() -> None:
    """Answer the lines of the input until it ends."""
    torch.set_num_threads(int(sys.argv[1]))
    print(f"answer {torch.__version__}", flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        with np.load(asked["file"]) as saved:
            weights = {name: saved[name] for name in saved.files}
        order = torch.channels_last if asked["layout"] == "channels_last" else torch.contiguous_format
        codes = weights["encoder/head/bias"].shape[0] // 2
        encoder, decoder = Encoder(codes), Decoder(codes)
        load(encoder, decoder, weights)
        encoder, decoder = encoder.to(memory_format=order), decoder.to(memory_format=order)
        parameters = [*encoder.parameters(), *decoder.parameters()]
        adam = torch.optim.Adam(parameters, lr=asked["rate"])
        images = torch.from_numpy(weights["images"]).permute(0, 3, 1, 2)
        draw = torch.Generator().manual_seed(0)

        def loss(x: Any, noise: Any, parts: Any = (encoder, decoder), beta: float = asked["beta"]) -> Any:
            mean, log_variance = parts[0](x).chunk(2, 1)
            logits = parts[1](mean + torch.exp(0.5 * log_variance) * noise)
            distortion = F.binary_cross_entropy_with_logits(logits, x, reduction="none").flatten(1).sum(1)
            rate = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1)
            return (distortion + beta * rate).mean()

        def run(
            steps: int,
            images: Any = images,
            order: Any = order,
            draw: Any = draw,
            size: int = asked["batch"],
            codes: int = codes,
            loss: Any = loss,
            adam: Any = adam,
        ) -> None:
            for _ in range(steps):
                rows = torch.randint(0, len(images), (size,), generator=draw)
                x = (images[rows].float() / 255).to(memory_format=order)
                adam.zero_grad(set_to_none=True)
                loss(x, torch.randn(size, codes, generator=draw)).backward()
                adam.step()

        with torch.no_grad():
            first = float(loss((images[: asked["batch"]].float() / 255).to(memory_format=order), 0.0))
        run(3)  # the first steps allocate memory and choose kernels
        used, begin = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
        run(asked["steps"])
        wall, now = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_SELF)
        cpu = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
        print("answer " + json.dumps({"loss": first, "cpu": cpu, "wall": wall}), flush=True)


if __name__ == "__main__":
    main()
