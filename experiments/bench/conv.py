"""``python -m experiments.bench conv [cnn|layers|resnet] [--peers] [--json FILE]``: the cost of convolutions.

cnn: one training step (forward, backward, optimizer) of the small CNN on 28x28 images in batches of 128,
    for each
form of the convolution; as jitted steps in a Python loop and inside a scan, for one seed and
for eight vmapped.
resnet: one training step of ResNet-18 on 32x32x3 images in batches of 32.
layers: the value and both gradients of single layers inside a scan, in lrn's form and in four others.

With --peers the benchmark measures the same step in PyTorch too. PyTorch runs in a process of its own
with one thread for each processor, and is idle while lrn is measured. lrn and PyTorch are measured in
turn in every round. The table has medians over the rounds, and medians of the ratios within a round to
the faster of PyTorch's two memory layouts. The exit code is 1 if a scan of the small CNN takes more than
1.25 times PyTorch's time.
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
import tyro
from jax import lax

from experiments.bench._peer_process import PeerProcess
from lrn import nets
from lrn.types import Array, Net
from lrn.xla.runtime import processors

LIMIT = 1.25  # the largest ratio of a seed-step's time to PyTorch's


@dataclasses.dataclass
class Args:
    """What to measure."""

    part: Annotated[Literal["cnn", "layers", "resnet"], tyro.conf.Positional] = "cnn"
    """The part to measure."""
    peers: bool = False
    """Measure PyTorch in the same rounds; torch must be installed."""
    optimizer: Literal["sgd", "adam"] = "sgd"
    """SGD with momentum .9, or Adam, for lrn and PyTorch."""
    rounds: int = 7
    """The number of rounds."""
    steps: int = 10
    """Steps in one measurement of a fast form; slow forms take 2."""
    seeds: int = 8
    """The number of vmapped seeds."""
    lax: bool = True
    """Measure the compiler's convolution too, which takes minutes in a scan on CPU."""
    json: Path | None = None
    """A file for the figures, as JSON."""


class Way(NamedTuple):
    """A computation to time.

    call: runs it. steps: the number of seed-steps in a call. temporary_bytes: its working memory.
    """

    call: Callable[[], Any]
    steps: int
    temporary_bytes: int


def training(
    net: Net, shape: tuple[int, ...], optimizer: str, way: str, seeds: int, steps: int, name_axis: bool
) -> Way:
    """Training steps of ``seeds`` vmapped networks in a Python "loop" or in a "scan"."""
    update = optax.adam(1e-3) if optimizer == "adam" else optax.sgd(1e-2, momentum=0.9)

    def init(key: Array) -> Any:
        params, state = net.init(key, jnp.zeros(shape))
        return params, state, update.init(params)

    def step(carry: Any, batch: Any) -> tuple[Any, Array]:
        params, state, moments = carry
        images, labels = batch

        def loss(params: Any) -> tuple[Array, Any]:
            logits, new_state = net.apply(params, state, images, train=True)
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), new_state

        (value, new_state), gradient = jax.value_and_grad(loss, has_aux=True)(params)
        updates, moments = update.update(gradient, moments, params)
        return (optax.apply_updates(params, updates), new_state, moments), value

    lanes = () if seeds == 1 else (seeds,)
    axis = nets.LANES if name_axis else None

    def over_seeds(f: Callable[..., Any]) -> Callable[..., Any]:
        return jax.vmap(f, axis_name=axis) if lanes else f

    key = jax.random.key(0)
    carry = jax.jit(over_seeds(init))(jax.random.split(key, seeds) if lanes else key)
    batches = (
        jax.random.uniform(key, (steps, *lanes, *shape)),
        jax.random.randint(jax.random.fold_in(key, 1), (steps, *lanes, shape[0]), 0, 10),
    )
    if way == "scan":
        run = jax.jit(lambda carry, batches: lax.scan(over_seeds(step), carry, batches))
        compiled = run.lower(carry, batches).compile()
        call = lambda: compiled(carry, batches)  # noqa: E731
    else:
        one = [jax.tree.map(lambda x, i=i: x[i], batches) for i in range(steps)]
        compiled = jax.jit(over_seeds(step)).lower(carry, one[0]).compile()

        def call() -> Any:
            now = carry
            for batch in one:
                now, _ = compiled(now, batch)
            return now

    return Way(call, steps * seeds, _temporary_bytes(compiled))


def _temporary_bytes(compiled: Any) -> int:
    return compiled.memory_analysis().temp_size_in_bytes


def unblocked(x: Array, kernel: Array) -> Array:
    """The matmul form over the whole batch at once; the backward pass stores the patches."""
    flat = jnp.concatenate([s for row in _shifted(x) for s in row], axis=-1)
    return flat @ kernel.reshape(-1, kernel.shape[3])


def sum_of_nine(x: Array, kernel: Array) -> Array:
    """The sum of nine products, one for each shift."""
    return sum(
        (s @ kernel[i, j] for i, row in enumerate(_shifted(x)) for j, s in enumerate(row)), jnp.zeros(())
    )


def patches(x: Array, kernel: Array) -> Array:
    """Patches by `lax.conv_general_dilated_patches`, channel-major."""
    flat = lax.conv_general_dilated_patches(
        x, (3, 3), (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return flat @ jnp.moveaxis(kernel, 2, 0).reshape(-1, kernel.shape[3])


def _shifted(x: Array) -> list[list[Array]]:
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    return [[padded[:, i : i + x.shape[1], j : j + x.shape[2]] for j in range(3)] for i in range(3)]


LAYERS = {  # the shape of the input [batch, height, width, channels], and the output channels
    "cnn conv_1": ((128, 14, 14, 32), 64),
    "resnet stage 0": ((32, 32, 32, 64), 64),
    "resnet stage 1": ((32, 16, 16, 128), 128),
    "resnet stage 3": ((32, 4, 4, 512), 512),
}
FORMS: dict[str, Callable[[Array, Array], Array]] = {
    "matmul": lambda x, kernel: nets.conv2d(x, kernel, conv="matmul"),
    "unblocked": unblocked,
    "sum of nine": sum_of_nine,
    "patches": patches,
    "lax": lambda x, kernel: nets.conv2d(x, kernel, conv="lax"),
}


def layer(form: str, shape: tuple[int, ...], features: int, seeds: int, steps: int) -> Way:
    """The value and both gradients of the sum of squares of one 3x3 layer's outputs, inside a scan."""

    def loss(x: Array, kernel: Array) -> Array:
        return jnp.sum(FORMS[form](x, kernel) ** 2)

    def step(carry: Any, _: None) -> tuple[Any, Array]:
        value, gradients = jax.value_and_grad(loss, argnums=(0, 1))(*carry)
        return jax.tree.map(lambda x, g: x - 1e-9 * g, carry, gradients), value

    def run(x: Array, kernel: Array) -> Any:
        return lax.scan(step, (x, kernel), length=steps)

    lanes = () if seeds == 1 else (seeds,)
    key = jax.random.key(0)
    carry = (
        jax.random.normal(key, (*lanes, *shape)),
        jax.random.normal(jax.random.fold_in(key, 1), (*lanes, 3, 3, shape[3], features)) * 0.05,
    )
    compiled = jax.jit(jax.vmap(run, axis_name=nets.LANES) if lanes else run).lower(*carry).compile()
    return Way(lambda: compiled(*carry), steps * seeds, _temporary_bytes(compiled))


def ways(args: Args) -> dict[str, Way]:
    """The computations of lrn to time, by name."""
    if args.part == "layers":
        return {
            f"{name}, {form}{f', {seeds} seeds' if seeds > 1 else ''}": layer(form, *shape, seeds, 2)
            for name, shape in LAYERS.items()
            for seeds in ((1, args.seeds) if name.startswith("cnn") else (1,))
            for form in FORMS
            if not (form == "lax" and seeds > 1)
        }
    if args.part == "resnet":
        return {
            f"{form}, {way}": training(
                nets.resnet18(10, conv=form), (32, 32, 32, 3), args.optimizer, way, 1, 1, True
            )
            for form, way in (("matmul", "loop"), ("matmul", "scan"), ("lax", "loop"))
        }
    made = {}
    for form in ("matmul", "lax") if args.lax else ("matmul",):
        for seeds in (1, args.seeds):
            for way in ("loop", "scan"):
                slow = form == "lax" and (way == "scan" or seeds > 1)
                steps = 2 if slow else max(2, args.steps // (4 if seeds > 1 else 1))
                net = nets.cnn(10, conv=form)
                title = f"{form}, {way}" + (f", {seeds} seeds vmapped" if seeds > 1 else "")
                shape = (128, 28, 28, 1)
                made[title] = training(net, shape, args.optimizer, way, seeds, steps, True)
                if form == "matmul" and seeds > 1:
                    title += ", axis unnamed"
                    made[title] = training(net, shape, args.optimizer, way, seeds, steps, False)
    return made


def milliseconds(way: Way) -> float:
    """One measurement: the milliseconds of a seed-step."""
    begin = time.perf_counter()
    jax.block_until_ready(way.call())
    return (time.perf_counter() - begin) / way.steps * 1e3


def main(argv: list[str]) -> int:
    """Measure and print; see the module's docstring."""
    args = tyro.cli(Args, args=argv, prog="python -m experiments.bench conv", description=__doc__)
    peer = None
    if args.peers and args.part != "layers":
        script, remedy = Path(__file__).with_name("_torch.py"), "install it, or leave out --peers"
        peer = PeerProcess(Path(sys.executable), script, "torch", sleep=False, remedy=remedy)
    peer_version = peer.versions if peer else None
    ours = ways(args)
    measured: dict[str, list[float]] = {name: [] for name in ours}
    for way in ours.values():
        milliseconds(way)
    layouts = ("contiguous", "channels_last") if peer else ()
    for layout in layouts:
        measured[f"torch, {layout}"] = []
    for _ in range(args.rounds):
        for layout in layouts:
            steps = args.steps if args.part == "cnn" else 1
            asked = {"network": args.part, "layout": layout, "optimizer": args.optimizer, "steps": steps}
            assert peer
            measured[f"torch, {layout}"].append(peer.ask(asked)["milliseconds"])
        for name, way in ours.items():
            measured[name].append(milliseconds(way))
    if peer:
        peer.close()
    best = min((measured[f"torch, {layout}"] for layout in layouts), key=statistics.median, default=None)
    figures = {
        name: {
            "milliseconds": statistics.median(times),
            "milliseconds_quartiles": statistics.quantiles(times, n=4) if len(times) > 1 else times * 3,
            "temporary_bytes": ours[name].temporary_bytes if name in ours else None,
            "ratio": statistics.median(t / b for t, b in zip(times, best)) if best else None,
        }
        for name, times in measured.items()
    }
    machine = f"{jax.devices()[0].device_kind} {platform.machine()}, {processors()} processors"
    print(f"{machine}, jax {jax.__version__}, torch {peer_version}, medians of {args.rounds} rounds")
    print(f"{'':50}{'ms a seed-step':>15}{'quartiles':>18}{'temporary MB':>14}{'of torch':>10}")
    for name, f in figures.items():
        low, _, high = f["milliseconds_quartiles"]
        memory = "" if f["temporary_bytes"] is None else f"{f['temporary_bytes'] / 1e6:.0f}"
        ratio = "" if f["ratio"] is None else f"{f['ratio']:.2f}"
        print(f"{name:50}{f['milliseconds']:15.2f}{f'{low:.2f}-{high:.2f}':>18}{memory:>14}{ratio:>10}")
    limited = ("matmul, scan", f"matmul, scan, {args.seeds} seeds vmapped")
    over = [name for name in limited if best and args.part == "cnn" and (figures[name]["ratio"] or 0) > LIMIT]
    for name in over:
        print(f"over the limit of {LIMIT} times PyTorch: {name}")
    if args.json:
        settings = dataclasses.asdict(args) | {"json": None}
        about = {"machine": machine, "jax": jax.__version__, "torch": peer_version, "load": os.getloadavg()}
        args.json.write_text(
            json.dumps({"args": settings, "about": about, "limit": LIMIT, "figures": figures}, indent=1)
        )
    return 1 if over else 0
