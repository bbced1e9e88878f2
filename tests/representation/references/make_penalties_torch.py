"""Makes penalties_torch.json: penalties of invariance by the formulas of their authors' code, in torch 2.13.

IRM: the penalty of facebookresearch/InvariantRiskMinimization. CORAL and MMD: those of DomainBed, the mean
over pairs of environments. Run by ``python make_penalties_torch.py`` where torch is installed.
"""

import itertools
import json
from pathlib import Path

import torch  # pyright: ignore[reportMissingImports]
from torch.nn.functional import (  # pyright: ignore[reportMissingImports]
    binary_cross_entropy_with_logits,
)

GAMMAS = (0.001, 0.01, 0.1, 1, 10, 100, 1000)


def irm(logits, labels):
    scale = torch.ones((), dtype=logits.dtype, requires_grad=True)
    loss = binary_cross_entropy_with_logits(logits * scale, labels)
    return torch.autograd.grad(loss, [scale])[0] ** 2


def coral(x, y):
    moments = []
    for z in (x, y):
        mean = z.mean(0, keepdim=True)
        moments.append((mean, (z - mean).t() @ (z - mean) / (len(z) - 1)))
    return torch.stack([(a - b).pow(2).mean() for a, b in zip(*moments)]).sum()


def mmd(x, y):
    def kernel(a, b):
        square = torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist") ** 2
        return torch.stack([torch.exp(-gamma * square) for gamma in GAMMAS]).sum(0).mean()

    return kernel(x, x) + kernel(y, y) - 2 * kernel(x, y)


def main():
    torch.manual_seed(0)
    logits = torch.randn(3, 20, dtype=torch.float64)
    labels = (torch.rand(3, 20) < 0.5).double()
    spread = torch.tensor([1.0, 2.0, 0.7], dtype=torch.float64)
    features = torch.randn(3, 9, 4, dtype=torch.float64) * spread[:, None, None]
    pairs = list(itertools.combinations(features, 2))
    found = {
        "irm": {
            "logits": logits.tolist(),
            "labels": labels.tolist(),
            "penalty": [irm(z, y).item() for z, y in zip(logits, labels)],
        },
        "features": features.tolist(),
        "coral": torch.stack([coral(x, y) for x, y in pairs]).mean().item(),
        "mmd": torch.stack([mmd(x, y) for x, y in pairs]).mean().item(),
    }
    Path(__file__).with_name("penalties_torch.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
