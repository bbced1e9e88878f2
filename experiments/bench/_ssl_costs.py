"""Costs of lrn alone: the encoder of MAE, the memory of NT-Xent, operations on a GPU."""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from lrn import nets
from lrn.ssl.masking import random_mask
from lrn.ssl.simclr import nt_xent
from lrn.types import Array, Net

Cost = dict[str, float]  # "cpu" and "wall" seconds
MAE_LIMIT = 1.05  # the most operations over the share of visible places times those of all places
# Working memory is at most this many float32 for each entry of [2n, 2n] and of [2n, d].
MEMORY_LIMIT = 8.0
TF32 = {"A100": 156e12, "H100": 494.7e12, "H200": 494.7e12}  # dense operations a second


def measured(call: Callable[[], Any]) -> Cost:
    """The processor and wall seconds of a call."""
    begin, spent = time.perf_counter(), time.process_time()
    jax.block_until_ready(call())
    return {"cpu": time.process_time() - spent, "wall": time.perf_counter() - begin}


def flops(f: Callable[..., Any], *args: Any) -> float:
    """The floating-point operations of a function, counted before the compiler's passes."""
    counted = jax.jit(f).lower(*args).cost_analysis()
    return float((counted[0] if isinstance(counted, list) else counted)["flops"])  # pyright: ignore


def on_gpu(encoder: Net, head: Net, state: Any, shape: tuple[int, ...], rate: float) -> dict[str, Any]:
    """Print and return the share of the peak rate that ``rate`` examples a second reach.

    Three forward passes of both views count; the views and the loss do not.

    Args:
        encoder, head: the networks. state: the `SupervisedState` of a training of them.
        shape: that of images [n, height, width, channels].
        rate: examples a second of wall time.
    """
    states = state.net_state

    def forward(params: Any, x: Array) -> Array:
        h, _ = encoder.apply(params["encoder"], states["encoder"], x, train=True)
        return head.apply(params["head"], states["head"], h, train=True)[0]

    views = jax.ShapeDtypeStruct((64, *shape[1:]), jnp.float32)
    operations = 2 * 3 * flops(forward, state.params, views) / 64
    kind = jax.devices()[0].device_kind
    peak = next((value for name, value in TF32.items() if name in kind), None)
    share = None if peak is None else operations * rate / peak
    shown = "unknown" if share is None else f"{share:.3f}"
    print(f"  {rate:,.0f} examples a second, {operations / 1e9:.4f} GFLOP each, MFU {shown}", flush=True)
    return {"kind": kind, "examples_a_second": rate, "flop": operations, "mfu": share}


def mae(rounds: int) -> tuple[dict[str, Any], bool]:
    """The encoder of MAE on 32x32 images with 64 places of 4x4 pixels, ViT-tiny's width, four blocks."""
    encoder, batch, places = nets.masked_vit(4, 192, 4, 3), 16, 64
    x = jnp.zeros((batch, 32, 32, 3))
    params, state = encoder.net.init(jax.random.key(0), x)

    def loss(params: Any, kept: Array) -> Array:
        return jnp.sum(jnp.square(encoder.tokens.apply(params, state, (x, kept), train=True)[0]))

    rows = {}
    for visible in (8, 16, 32, 64):
        if visible == places:
            kept = jnp.broadcast_to(jnp.arange(places)[None], (batch, places))
        else:
            kept, _ = random_mask(jax.random.key(1), batch, places, places - visible)
        gradient = jax.jit(jax.grad(loss)).lower(params, kept).compile()
        jax.block_until_ready(gradient(params, kept))
        rows[visible] = (gradient, kept, flops(jax.grad(loss), params, kept))
    spent: dict[int, list[float]] = {visible: [] for visible in rows}
    for _ in range(rounds):
        for visible, (gradient, kept, _) in rows.items():
            spent[visible].append(measured(lambda g=gradient, k=kept: g(params, k))["cpu"])
    print(f"\nmae: {batch} examples\n  visible    share   operations    cpu ms    of all")
    figures, short = {}, False
    for visible in rows:
        work = rows[visible][2] / rows[places][2]
        cpu = statistics.median(spent[visible])
        part = statistics.median(a / b for a, b in zip(spent[visible], spent[places]))
        missed = work > MAE_LIMIT * visible / places
        note = "  beyond its limit" * missed
        line = f"{visible:>9}{visible / places:>9.3f}{work:>13.3f}{1e3 * cpu:>10.1f}{part:>10.3f}{note}"
        print(line, flush=True)
        figures[str(visible)] = {"operations": work, "cpu": cpu, "cpu_of_all": part}
        short |= missed
    return figures, short


def memory(rounds: int) -> tuple[dict[str, Any], bool]:
    """The working memory of NT-Xent; with a [2n, 2n, d] array it would be d times as large."""
    del rounds
    print("\nmemory: NT-Xent, value and gradient; bytes over those of [2n, 2n] and [2n, d]")
    print(f"  {'n':>7}{'d':>7}{'MiB':>10}{'ratio':>8}")
    figures, short = {}, False
    for n, d in ((128, 64), (256, 64), (512, 16), (512, 64), (512, 512)):
        used, ratio = working_memory(functools.partial(nt_xent, temperature=0.5), n, d)
        missed = not 0 < ratio <= MEMORY_LIMIT
        print(f"  {n:>7}{d:>7}{used / 2**20:>10.2f}{ratio:>8.2f}{'  beyond its limit' * missed}", flush=True)
        figures[f"{n} {d}"] = {"bytes": used, "ratio": ratio}
        short |= missed
    return figures, short


def working_memory(loss: Callable[[Array, Array], Array], n: int, d: int) -> tuple[int, float]:
    """The bytes of a loss's value and gradient and their ratio to [2n, 2n] and [2n, d]."""
    z = jax.ShapeDtypeStruct((n, d), jnp.float32)
    found = jax.jit(jax.value_and_grad(loss, (0, 1))).lower(z, z).compile().memory_analysis()
    used = found.temp_size_in_bytes if found else 0
    return used, used / (4 * (2 * n * 2 * n + 2 * n * d))
