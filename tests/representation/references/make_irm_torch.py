"""Makes irm_torch.npz: some steps of Arjovsky et al.'s training of Colored MNIST, in torch 2.13, float64.

The steps are those of main.py in facebookresearch/InvariantRiskMinimization: two environments, all rows at
each step, binary cross-entropy, an L2 term on all parameters, the penalty's weight 1 before the annealing
step, the whole loss divided by a weight above 1, Adam. Run by ``python make_irm_torch.py``.
"""

import itertools
from pathlib import Path

import numpy as np
import torch  # pyright: ignore[reportMissingImports]

HIDDEN, INPUTS, ROWS, STEPS = 5, 6, 12, 8
L2, RATE, ANNEAL, WEIGHT = 0.01, 0.02, 4, 300.0


def main():
    torch.manual_seed(1)
    torch.set_default_dtype(torch.float64)
    x = torch.randn(2, ROWS, INPUTS)
    y = (x[..., 0] + 0.5 * torch.randn(2, ROWS) > 0).double()[..., None]
    sizes = (INPUTS, HIDDEN, HIDDEN, 1)
    layers = [torch.nn.Linear(a, b) for a, b in itertools.pairwise(sizes)]
    relu = torch.nn.ReLU()
    net = torch.nn.Sequential(layers[0], relu, layers[1], relu, layers[2])

    def arrays():
        return [
            (layer.weight.detach().numpy().T.copy(), layer.bias.detach().numpy().copy()) for layer in layers
        ]

    def loss_of(logits, labels):
        return torch.nn.functional.binary_cross_entropy_with_logits(logits, labels)

    first, values = arrays(), []
    optimizer = torch.optim.Adam(net.parameters(), lr=RATE)
    for step in range(STEPS):
        risks, penalties = [], []
        for own_x, own_y in zip(x, y):
            logits = net(own_x)
            risks.append(loss_of(logits, own_y))
            scale = torch.ones((), requires_grad=True)
            slope = torch.autograd.grad(loss_of(logits * scale, own_y), [scale], create_graph=True)[0]
            penalties.append(slope**2)
        risk, penalty = torch.stack(risks).mean(), torch.stack(penalties).mean()
        loss = risk + L2 * sum(w.norm().pow(2) for w in net.parameters())
        weight = WEIGHT if step >= ANNEAL else 1.0
        loss = loss + weight * penalty
        if weight > 1.0:
            loss = loss / weight
        values.append((risk.item(), penalty.item()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    saved = {"x": x.numpy(), "y": y.numpy()[..., 0], "values": np.array(values)}
    for name, params in (("first", first), ("last", arrays())):
        for i, (kernel, bias) in enumerate(params):
            saved |= {f"{name} kernel {i}": kernel, f"{name} bias {i}": bias}
    np.savez(Path(__file__).with_name("irm_torch.npz"), **saved)


if __name__ == "__main__":
    main()
