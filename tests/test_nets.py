"""Networks against flax layers, scipy and finite differences; then the properties of every Net."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx
from jax import lax
from jax.test_util import check_grads
from scipy.signal import correlate

from lrn import nets
from lrn.nets import blocks as in_parts
from lrn.nets import conv as convolution
from lrn.nets import winograd

KEY = jax.random.key(0)


@pytest.fixture(autouse=True)
def quick_compile():
    """Compile without optimization: the tests compare values, and compilation takes most of their time."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def draw(*shape: int, seed: int = 1) -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def close(a, b, tolerance: float = 1e-5) -> None:
    """Assert equal trees, to ``tolerance`` of the largest entry of each leaf."""
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=0, atol=tolerance * max(1.0, float(np.abs(y).max())))


def small_resnet(blocks=(1,), **options) -> nets.ResNet:
    return nets.ResNet(3, blocks, width=8, **options)


def every_net():
    yield "mlp", nets.mlp(3, (8,), dropout=0.3), (4, 6)
    yield "cnn", nets.cnn(3, (4, 5), (8,), dropout=0.3), (4, 9, 8, 2)
    yield "resnet, batch norm", nets.from_flax(small_resnet()), (4, 8, 8, 2)
    yield "resnet, group norm", nets.from_flax(small_resnet(norm="group")), (4, 8, 8, 2)


NETS = pytest.mark.parametrize(("net", "shape"), [pytest.param(n, s, id=i) for i, n, s in every_net()])


# Convolution


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding", "blocks"),
    [
        ((7, 6), (3, 3), 1, "SAME", False),
        ((7, 6), (3, 3), 2, "SAME", True),
        ((7, 5), (3, 2), 2, "VALID", False),
        ((6, 7), (5, 5), 1, "VALID", True),
        ((8, 7), (3, 3), 2, 1, True),
        ((7, 7), (1, 1), 2, "SAME", False),
        ((8, 7), (4, 4), 2, 1, True),
        ((9, 8), (3, 6), 3, "VALID", False),
    ],
)
def test_matmul_form_is_the_convolution_in_value_gradient_and_second_order(
    size, kernel, stride, padding, blocks, monkeypatch
):
    if blocks:  # 5 examples in blocks of 2, so one block is padded
        monkeypatch.setattr(convolution, "patch_bytes", lambda *_: in_parts.BLOCK_BYTES // 2)
    x, w = draw(5, *size, 2), draw(*kernel, 2, 3, seed=2)
    close(*(through_second_order(x, w, conv, stride, padding) for conv in ("matmul", "lax")))


def test_a_stride_that_divides_the_kernel_takes_rows_of_blocks():
    def strides(kernel):
        x, w = draw(1, 8, 8, 2), draw(kernel, kernel, 2, 3, seed=2)
        jaxpr = jax.make_jaxpr(lambda x: nets.conv2d(x, w, stride=2, padding=1, conv="matmul"))(x)
        return str(jaxpr).count("strides=(1, 2, 2, 1)")

    assert (strides(4), strides(3)) == (0, 9)


def through_second_order(x, w, conv, stride=1, padding="SAME"):
    """A sum over a convolution: gradients, outputs and the gradient of the gradients' squared norm."""

    def f(x, w):
        y = nets.conv2d(x, w, stride=stride, padding=padding, conv=conv)
        return jnp.sum(jnp.sin(y)), y

    gradient = jax.grad(f, (0, 1), has_aux=True)

    def squared(x, w):
        return sum(jnp.sum(jnp.square(g)) for g in gradient(x, w)[0])

    return jax.jit(lambda x, w: (gradient(x, w), jax.grad(squared, (0, 1))(x, w)))(x, w)


@pytest.mark.parametrize(
    ("size", "padding", "blocks"),
    [((6, 8), "SAME", False), ((7, 5), "SAME", True), ((7, 8), "VALID", False), ((4, 3), 2, True)],
)
def test_winograds_form_is_the_convolution_in_value_gradient_and_second_order(
    size, padding, blocks, monkeypatch
):
    if blocks:  # 5 examples in blocks of 2
        monkeypatch.setattr(winograd, "tile_bytes", lambda *_: convolution.WINOGRAD_BYTES // 2)
    x, w = draw(5, *size, 2), draw(3, 3, 2, 3, seed=2)
    close(*(through_second_order(x, w, conv, padding=padding) for conv in ("winograd", "lax")))


def test_winograds_form_is_taken_where_it_is_faster():
    channels = winograd.CHANNELS
    wide, narrow = (3, 3, channels, channels), (3, 3, channels, channels - 1)
    assert winograd.suits(wide, 1, (7, 7), jnp.dtype("float32"))
    assert not winograd.suits(narrow, 1, (7, 7), jnp.dtype("float32"))
    assert not winograd.suits(wide, 2, (7, 7), jnp.dtype("float32"))
    assert not winograd.suits((5, 5, channels, channels), 1, (7, 7), jnp.dtype("float32"))
    assert not winograd.suits(wide, 1, (1, 1), jnp.dtype("float32"))  # most of its tile would be empty
    assert not winograd.suits(wide, 1, (7, 7), jnp.dtype("bfloat16"))
    x, w = draw(1, 4, 4, channels), draw(*wide, seed=2)
    shapes = [
        str(jax.make_jaxpr(lambda x, w, c=c: nets.conv2d(x, w, conv=c))(x, w)) for c in ("auto", "winograd")
    ]
    assert shapes[0] == shapes[1]
    close(nets.conv2d(x, w), nets.conv2d(x, w, conv="lax"))


def test_winograds_form_is_for_its_kernels_only():
    with pytest.raises(ValueError, match="3x3 kernels of stride 1, got 4x4 and stride 1; use 'auto'"):
        nets.conv2d(draw(1, 8, 8, 2), draw(4, 4, 2, 3), conv="winograd")


@pytest.mark.parametrize(("kernel", "stride"), [((4, 2), 1), ((2, 5), 2)])
def test_same_padding_of_even_kernels_is_flaxs(kernel, stride):
    """An even kernel pads one pixel more after the image than before it, along its own axis."""
    x, w = draw(2, 7, 8, 2), draw(*kernel, 2, 3, seed=2)
    flaxs = nn.Conv(3, kernel, stride, "SAME", use_bias=False)
    expected = jax.jit(flaxs.apply)({"params": {"kernel": w}}, x)
    for conv in ("lax", "matmul"):
        close(jax.jit(lambda x, w, c=conv: nets.conv2d(x, w, stride=stride, conv=c))(x, w), expected)


@pytest.mark.parametrize("conv", ["lax", "matmul"])
def test_convolution_is_scipys_correlation(conv):
    x, w = draw(2, 6, 7, 3), draw(3, 3, 3, 4, seed=2)
    expected = np.stack([[correlate(i, w[..., o], "valid")[..., 0] for o in range(4)] for i in np.array(x)])
    convolved = jax.jit(lambda x, w: nets.conv2d(x, w, padding="VALID", conv=conv))(x, w)
    close(convolved, expected.transpose(0, 2, 3, 1))


def test_convolution_module_is_flaxs_layer():
    x = draw(2, 6, 5, 3)
    variables = {"params": {"kernel": draw(3, 3, 3, 4, seed=2), "bias": draw(4, seed=3)}}
    theirs, ours = nn.Conv(4, (3, 3), strides=2, padding="VALID"), nets.Conv(4, stride=2, padding="VALID")
    close(
        *jax.jit(lambda variables, x: [module.apply(variables, x) for module in (ours, theirs)])(variables, x)
    )


@pytest.mark.parametrize("batch", [1, 2, 3, 4, 6, 7, 11, 12, 13])
def test_blocks_give_what_the_whole_gives(batch, monkeypatch):
    monkeypatch.setattr(in_parts, "BLOCK_BYTES", 400)
    monkeypatch.setattr(in_parts, "LEAST_BYTES", 0)
    sizes = []

    def f(x):
        sizes.append(x.shape[0])
        return jnp.sin(x) * x[:, :1]

    x = draw(batch, 5)
    close(jax.jit(lambda x: in_parts.in_blocks(f, x, 100))(x), np.sin(x) * x[:, :1])
    size = sizes[0]
    blocks = -(-batch // size)
    assert size <= 4
    assert blocks * size - batch < blocks  # at most one row of padding in a block


def test_auto_is_matmul_on_cpu_and_where_weights_are_vmapped(monkeypatch):
    x, w = draw(2, 6, 6, 1), draw(3, 3, 3, 1, 2)

    def uses_lax(f) -> bool:
        return "conv_general_dilated" in str(jax.make_jaxpr(f)(w))

    def one(w):
        return nets.conv2d(x, w)

    assert not uses_lax(lambda w: one(w[0]))
    monkeypatch.setattr(convolution, "on_cpu", lambda: False)
    assert uses_lax(lambda w: one(w[0]))
    assert uses_lax(lambda w: jax.vmap(one)(w))
    assert not uses_lax(lambda w: jax.vmap(one, axis_name=nets.LANES)(w))
    # A function that was jitted before follows a later choice.
    jitted = jax.jit(one)
    jitted(w[0])
    assert not uses_lax(lambda w: jax.vmap(jitted, axis_name=nets.LANES)(w))


# Pooling


@pytest.mark.parametrize(("size", "window"), [((6, 8), 2), ((7, 5), 2), ((7, 9), 3), ((4, 4), 1)])
def test_pooling_is_flaxs_with_its_gradient_at_ties_too(size, window):
    x = np.round(2 * draw(3, *size, 4)) / 2  # many windows have several equal maxima
    weight = draw(3, size[0] // window, size[1] // window, 4, seed=2)

    def flax(x):
        return nn.max_pool(x, (window, window), (window, window))

    def with_gradient(pool, x):
        return pool(x), jax.grad(lambda x: jnp.sum(weight * pool(x)))(x)

    pools = (lambda x: nets.max_pool(x, window), flax)
    close(*jax.jit(lambda x: [with_gradient(pool, x) for pool in pools])(x))


def test_pooling_derivatives_are_finite_differences_in_both_modes_and_second_order():
    x = np.float32(np.random.default_rng(0).permutation(32) / 10.0).reshape(2, 4, 4, 1)  # no ties
    cubes = jax.jit(lambda x: jnp.sum(nets.max_pool(x) ** 3))
    check_grads(cubes, (x,), order=2, modes=["fwd", "rev"], rtol=0.02)


def test_pooling_keeps_a_nan_wherever_it_stands():
    pool = jax.jit(nets.max_pool)
    for i in range(4):
        x = np.ones((1, 2, 2, 1), np.float32)
        x[0, i // 2, i % 2] = np.nan
        assert np.isnan(pool(x)).all()


# Networks against independent implementations


class PlainCNN(nn.Module):
    """The CNN from flax's layers, in the usual order: convolution, bias, ReLU, pooling."""

    @nn.compact
    def __call__(self, x):
        for i, width in enumerate((4, 5)):
            x = nn.relu(nn.Conv(width, (3, 3), name=f"conv_{i}")(x))
            x = nn.max_pool(x, (2, 2), (2, 2))
        return nn.Dense(3, name="head")(x.reshape(x.shape[0], -1))


def test_cnn_is_flaxs_in_value_gradient_and_second_order(monkeypatch):
    monkeypatch.setattr(in_parts, "BLOCK_BYTES", 30_000)  # 5 images in several blocks
    monkeypatch.setattr(in_parts, "LEAST_BYTES", 0)
    net = nets.cnn(3, (4, 5), conv="matmul")
    x = draw(5, 9, 8, 2)
    params, _ = jax.jit(net.init)(KEY, x)
    params = jax.tree.map(lambda p: np.asarray(p) + np.float32(0.1), params)  # biases other than 0

    def outputs(apply):
        def loss(params, x):
            return jnp.mean(jax.nn.logsumexp(apply(params, x), -1) ** 2)

        def adapted(params):  # one inner step, as in MAML
            return loss(jax.tree.map(lambda p, g: p - 0.1 * g, params, jax.grad(loss)(params, x)), x)

        return jax.jit(
            lambda params, x: (apply(params, x), jax.grad(loss, (0, 1))(params, x), jax.grad(adapted)(params))
        )(params, x)

    plain = nets.from_flax(PlainCNN())
    close(
        outputs(lambda params, x: net.apply(params, (), x)[0]), outputs(lambda p, x: plain.apply(p, (), x)[0])
    )


def test_mlp_is_its_formula():
    net = nets.mlp(3, (8, 7))
    x = draw(4, 2, 3)
    p, _ = jax.jit(net.init)(KEY, x)
    h = np.array(x).reshape(4, 6)
    for name in ("dense_0", "dense_1"):
        h = np.maximum(h @ np.array(p[name]["kernel"]), 0)
    close(jax.jit(net.apply)(p, (), x)[0], h @ np.array(p["head"]["kernel"]))


def test_residual_blocks_that_project_agree_between_forms():
    x = draw(3, 7, 8, 2)
    params, state = jax.jit(nets.from_flax(small_resnet((1, 1))).init)(KEY, x)
    assert "project" in params["stage_1_block_0"]
    ours, theirs = (
        jax.jit(nets.from_flax(small_resnet((1, 1), conv=conv)).apply)(params, state, x)
        for conv in ("matmul", "lax")
    )
    close(ours, theirs)


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_resnet18_has_the_papers_parameters(norm):
    params, state = jax.eval_shape(nets.resnet18(10, norm=norm).init, KEY, jnp.zeros((2, 32, 32, 3)))
    assert sum(p.size for p in jax.tree.leaves(params)) == 11_173_962
    # One mean and one variance for each of the 4,800 normalized channels.
    assert sum(s.size for s in jax.tree.leaves(state)) == (2 * 4800 if norm == "batch" else 0)


def test_batch_norm_statistics_are_those_of_the_batch():
    net = nets.from_flax(small_resnet(()))  # the stem alone
    x = draw(16, 8, 8, 2)
    params, state = jax.jit(net.init)(KEY, x)
    apply = jax.jit(net.apply, static_argnames="train")
    _, new = apply(params, state, x, train=True)
    kernel: Any = np.asarray(params["stem"]["kernel"]).transpose(3, 2, 0, 1)
    stem = np.array(lax.conv(x.transpose(0, 3, 1, 2), kernel, (1, 1), "SAME"))
    ours = new["batch_stats"]["norm"]
    close(ours["mean"], 0.1 * stem.mean((0, 2, 3)))  # momentum .9, from mean 0 and variance 1
    close(ours["var"], 0.9 + 0.1 * stem.var((0, 2, 3)))

    def keeps(params, state):
        assert net.apply(params, state, x)[1] is state

    jax.eval_shape(keeps, params, state)
    # Evaluation uses the running statistics, for each example alone; training uses those of the batch.
    whole, part = (np.array(apply(params, new, x[:n])[0]) for n in (16, 2))
    close(whole[:2], part)
    whole, part = (np.array(apply(params, new, x[:n], train=True)[0]) for n in (16, 2))
    assert np.abs(whole[:2] - part).max() > 0.01


def test_normalization_is_inside_the_network():
    x = draw(3, 8, 8, 2)
    mean, std = (0.4, 0.6), (0.2, 0.3)
    by_hand = (x - np.array(mean, np.float32)) / np.array(std, np.float32)
    for make in (
        lambda **options: nets.cnn(3, (4,), **options),
        lambda **options: nets.mlp(3, (4,), **options),
        lambda **options: nets.from_flax(small_resnet((), **options)),
    ):
        params, state = jax.jit(make().init)(KEY, x)
        inside = jax.jit(make(mean=mean, std=std).apply)(params, state, x)
        close(inside, jax.jit(make().apply)(params, state, by_hand))


# Dropout


@pytest.mark.parametrize("net", [nets.mlp(3, (64,), dropout=0.5), nets.cnn(3, (4,), dropout=0.5)])
def test_dropout_acts_in_training_only_by_key_and_keeps_the_mean(net):
    x = draw(2, 8, 8, 1)
    params, _ = jax.jit(net.init)(KEY, x)

    @functools.partial(jax.jit, static_argnums=0)
    def run(train):
        keys = jax.random.split(KEY, 4000)
        return jax.vmap(lambda key: net.apply(params, (), x, key=key, train=train)[0])(keys)

    evaluated, draws = (np.asarray(run(train)) for train in (False, True))
    assert (evaluated[0] == evaluated[1]).all()
    assert (draws == run(True)).all()
    assert (draws[0] != draws[1]).any()
    # The network is linear after its dropout, so the mean over masks is the output without dropout.
    error = draws.std(0) / len(draws) ** 0.5
    assert (np.abs(draws.mean(0) - evaluated[0]) < 5 * error).all()


def test_dropout_rate_may_be_swept():
    x, rates = draw(4, 6), np.array([0.0, 0.5], np.float32)
    params, _ = jax.jit(nets.mlp(3, (64,)).init)(KEY, x)

    def run(rate):
        return nets.mlp(3, (64,), dropout=rate).apply(params, (), x, key=KEY, train=True)[0]

    outputs = np.asarray(jax.jit(jax.vmap(run))(rates))
    close(list(outputs), [jax.jit(run)(rate) for rate in rates])
    assert (outputs[0] != outputs[1]).any()


# Properties of every net


def gradient_of_a_step(net, key, x):
    """The gradient, output and new state of one training pass from fresh parameters."""
    init_key, drop_key = jax.random.split(key)
    params, state = net.init(init_key, x)

    def loss(params):
        out, new = net.apply(params, state, x, key=drop_key, train=True)
        return jnp.mean(out**2), (out, new)

    gradient, (out, new) = jax.grad(loss, has_aux=True)(params)
    assert jax.tree.structure(new) == jax.tree.structure(state)
    return gradient, out, new


@NETS
def test_vmapped_seeds_are_single_seeds(net, shape):
    keys, x = jax.random.split(KEY, 2), draw(*shape)

    def one(key, x):
        return gradient_of_a_step(net, key, x)

    lanes = jax.jit(jax.vmap(one, in_axes=(0, None), axis_name=nets.LANES))(keys, x)
    single = jax.jit(one)
    for i, key in enumerate(keys):
        close(jax.tree.map(lambda leaf, i=i: np.asarray(leaf)[i], lanes), single(key, x), 1e-4)


@NETS
def test_jit_is_eager(net, shape):
    x = draw(*shape)
    params, state = jax.jit(net.init)(KEY, x)
    close(jax.jit(net.apply)(params, state, x), net.apply(params, state, x))


@NETS
def test_keys_are_used_once(net, shape, key_reuse_checks):
    @jax.jit
    def run(key, x):
        init_key, drop_key = jax.random.split(key)
        params, state = net.init(init_key, x)
        return net.apply(params, state, x, key=drop_key, train=True)

    run.trace(jax.random.key(0), draw(*shape))  # which checks the keys


# Bridges


class Asks(nn.Module):
    """A module that reports its mode, under the name of the mode in its constructor."""

    @nn.compact
    def __call__(self, x, deterministic: bool = True, training: bool = False):
        scale = self.param("scale", nn.initializers.ones, ())
        calls = self.variable("counter", "calls", jnp.zeros, ())
        if training:
            calls.value += 1.0
        assert training is not deterministic
        return x * scale * (2.0 if training else 1.0)


def test_from_flax_passes_training_and_carries_every_collection():
    net = nets.from_flax(Asks())
    x = draw(2, 3)

    @jax.jit
    def run():
        params, first = net.init(KEY, x)
        out, after = net.apply(params, first, x, train=True)
        return first, (out, after), net.apply(params, after, x)

    first, trained, evaluated = jax.device_get(run())
    assert first == {"counter": {"calls": 0.0}}
    close(trained, (2 * x, {"counter": {"calls": np.float32(1)}}))
    close(evaluated, (x, {"counter": {"calls": np.float32(1)}}))


def normalized(x, evaluate):
    """A submodule: two layers that differ between training and evaluation."""
    x = nn.BatchNorm(use_running_average=evaluate)(x)
    return nn.Dropout(0.5, deterministic=evaluate)(x)


class AsksTrain(nn.Module):
    @nn.compact
    def __call__(self, x, train=False):
        return normalized(x, not train)


class AsksIsTraining(nn.Module):
    @nn.compact
    def __call__(self, x, *, is_training):
        return normalized(x, not is_training)


class AsksDeterministic(nn.Module):
    @nn.compact
    def __call__(self, x, deterministic: bool | None = None):
        return normalized(x, deterministic)


class AsksUseRunningAverage(nn.Module):
    @nn.compact
    def __call__(self, x, use_running_average=True):
        return normalized(x, use_running_average)


class AsksByField(nn.Module):
    training: bool = False

    @nn.compact
    def __call__(self, x):
        return normalized(x, not self.training)


class Passes(nn.Module):
    """A module that passes on all of its arguments."""

    @nn.compact
    def __call__(self, x, training=False, **options):
        return AsksTrain()(x, train=training, **options)


@pytest.mark.parametrize(
    "module",
    [AsksTrain(), AsksIsTraining(), AsksDeterministic(), AsksUseRunningAverage(), AsksByField(), Passes()],
)
def test_from_flax_trains_by_whatever_name_the_module_asks(module):
    net, x = nets.from_flax(module), draw(64, 5) + 2

    @jax.jit
    def run(x):
        params, state = net.init(KEY, x)
        out, same = net.apply(params, state, x, key=KEY)
        assert same is state
        return out, net.apply(params, state, x, key=KEY, train=True)

    out, (dropped_out, new) = jax.device_get(run(x))
    close(out, x / np.sqrt(1 + 1e-5))  # initial statistics: mean 0 and variance 1; no dropout
    mean, var = jax.tree.leaves(new)
    close(mean, 0.01 * np.mean(x, 0))  # flax's momentum, .99
    close(var, 0.99 + 0.01 * np.var(x, 0))
    centered = (x - np.mean(x, 0)) / np.sqrt(np.var(x, 0) + 1e-5)
    dropped = dropped_out == 0
    assert 0.3 < dropped.mean() < 0.7
    close(dropped_out, np.where(dropped, 0, 2 * centered), 1e-4)


class Forgets(nn.Module):
    """A module that receives its mode and does not pass it on."""

    @nn.compact
    def __call__(self, x, train=False):
        return AsksTrain(name="inner")(x)


class NoFlag(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Sequential([nn.Dense(3), nn.BatchNorm(use_running_average=True)])(x)


class AnyName(nn.Module):
    @nn.compact
    def __call__(self, x, **options):
        return normalized(x, not options.get("learning", False))


class AnotherName(nn.Module):
    @nn.compact
    def __call__(self, x, learning=False):
        return nn.Dropout(0.5, deterministic=not learning)(x)


class NeedsAnotherName(nn.Module):
    @nn.compact
    def __call__(self, x, learning):
        return normalized(x, not learning)


class OwnStatistics(nn.Module):
    @nn.compact
    def __call__(self, x, **options):
        mean = self.variable("statistics", "mean", jnp.zeros, ())
        if options.get("learning"):
            mean.value = x.mean()
        return x - mean.value


class AlwaysTrains(nn.Module):
    layer: str = "batch norm"

    @nn.compact
    def __call__(self, x):
        if self.layer == "batch norm":
            return nn.BatchNorm(use_running_average=False)(x)
        return nn.Dropout(0.5, deterministic=False)(x)


class Attends(nn.Module):
    @nn.compact
    def __call__(self, x, train=False):
        return nn.MultiHeadDotProductAttention(1, dropout_rate=0.5, deterministic=True)(x)


class Spectral(nn.Module):
    @nn.compact
    def __call__(self, x, train=False):
        return nn.SpectralNorm(nn.Dense(2))(x, update_stats=False)


class Late(nn.Module):
    @nn.compact
    def __call__(self, x, train=False):
        return nn.BatchNorm(use_running_average=False)(x) if train else x


class Sows(nn.Module):
    @nn.compact
    def __call__(self, x, train=False):
        self.sow("losses", "size", x.mean())
        return x


@pytest.mark.parametrize(
    ("module", "train", "sentence"),
    [
        (Forgets(), True, "Forgets does not tell its BatchNorm 'inner/BatchNorm_0' that it trains"),
        (NoFlag(), True, "NoFlag does not tell its BatchNorm .* it trains: use_running_average is True"),
        (AnyName(), True, r"AnyName \(its __call__ takes \*\*options\) does not tell its BatchNorm"),
        (AnotherName(), True, r"AnotherName \(its __call__ takes learning\) does not tell its Dropout"),
        (OwnStatistics(), True, r"not move the state of OwnStatistics, whose __call__ takes \*\*options"),
        (AlwaysTrains(), False, "AlwaysTrains does not tell its BatchNorm .* is evaluated"),
        (AlwaysTrains("dropout"), False, "AlwaysTrains does not tell its Dropout .* is evaluated: determ"),
        (Attends(), True, "Attends does not tell its MultiHeadDotProductAttention"),
        (Spectral(), True, "Spectral does not tell its SpectralNorm .* it trains: update_stats is False"),
        (Late(), True, "do not fit Late .*make in evaluation what training uses"),
        (Sows(), True, "changes the form of the collection 'losses' of Sows"),
    ],
)  # fmt: skip
def test_from_flax_refuses_layers_that_would_not_hear_of_the_mode(module, train, sentence):
    net, x = nets.from_flax(module), draw(4, 3)
    variables = jax.eval_shape(net.init, KEY, x)
    with pytest.raises(ValueError, match=sentence) as error:
        jax.eval_shape(lambda params, state: net.apply(params, state, x, key=KEY, train=train), *variables)
    assert "\n" not in str(error.value)


def test_from_flax_leaves_layers_of_a_fixed_mode_alone():
    x = draw(400, 3)
    frozen, dropping, told, changing = (
        nets.from_flax(module, fixed_mode=True)
        for module in (NoFlag(), AlwaysTrains("dropout"), AsksByField(True), AlwaysTrains())
    )

    @jax.jit
    def run(x):
        params, state = frozen.init(KEY, x)
        trained, evaluated = (
            frozen.apply(params, state, x, train=True),
            (frozen.apply(params, state, x)[0], state),
        )
        in_evaluation, _ = dropping.apply({}, (), x, key=KEY)
        return trained, evaluated, in_evaluation, told.apply(*told.init(KEY, x), x, key=KEY, train=True)[0]

    trained, evaluated, in_evaluation, moved = jax.device_get(run(x))
    close(trained, evaluated, 0)
    assert 0.4 < (in_evaluation == 0).mean() < 0.6
    assert not np.array_equal(moved, x)
    with pytest.raises(ValueError, match="AlwaysTrains changes a variable while evaluated"):
        jax.eval_shape(lambda x: changing.apply(*changing.init(KEY, x), x), x)


class Noisy(nn.Module):
    """A module that draws under two names, neither of which is dropout's usual name."""

    @nn.compact
    def __call__(self, x, train: bool = False):
        if not train:
            return jnp.zeros((2, *x.shape))
        return jnp.stack([jax.random.normal(self.make_rng(name), x.shape) for name in ("noise", "paths")])


def test_from_flax_serves_random_numbers_of_any_name():
    net, x = nets.from_flax(Noisy()), draw(50, 4)
    params, state = jax.eval_shape(net.init, KEY, x)
    run = jax.jit(lambda key: net.apply(params, state, x, key=key, train=True)[0])
    one, two = np.asarray(run(KEY))
    assert abs(np.corrcoef(one.ravel(), two.ravel())[0, 1]) < 0.3
    assert not np.array_equal(one, run(jax.random.key(1))[0])
    with pytest.raises(ValueError, match="Noisy draws random numbers while training; pass key="):
        net.apply(params, state, x, train=True)


class CentersOnData(nn.Module):
    """A parameter that starts at the mean of the data, so its initial value needs a computation."""

    @nn.compact
    def __call__(self, x):
        return x - self.param("mean", lambda key, x: x.mean(0), x).reshape(1, -1)


def test_from_flax_takes_parameters_that_depend_on_data():
    net, x = nets.from_flax(CentersOnData()), draw(5, 3)
    close(jax.jit(net.init)(KEY, x)[0]["mean"], x.mean(0))


def test_from_function_is_the_function():
    net = nets.from_function(lambda key, x: jax.random.normal(key, (x.shape[1],)), lambda w, x: x @ w)
    x = draw(4, 3)
    params, state = jax.jit(net.init)(KEY, x)
    out, same = net.apply(params, state, x, key=KEY, train=True)
    close(out, x @ np.asarray(params))
    assert state == same == ()
    set_before = functools.partial(lambda w, x, train: x @ w if not train else x, train=False)
    close(nets.from_function(lambda key, x: params, set_before).apply(params, (), x)[0], x @ params)


# Bad input


def wrong(value: Any) -> Any:
    """A value of a type that the call does not accept."""
    return value


IMAGES: Any = np.zeros((2, 8, 8, 1), np.float32)
KERNEL: Any = np.zeros((3, 3, 1, 2), np.float32)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: nets.cnn(0), "classes must be at least 1"),
        (lambda: nets.cnn(3, wrong(32)), "widths must be a sequence"),
        (lambda: nets.cnn(3, (32, 0)), "every entry of widths must be at least 1"),
        (lambda: nets.mlp(3, wrong((8, 1.5))), "every entry of hidden must be a whole number"),
        (lambda: nets.mlp(3, dropout=1.0), "dropout must be below 1"),
        (lambda: nets.mlp(3, dropout=-0.1), "dropout must lie between 0 and 1"),
        (lambda: nets.cnn(3, std=0.0), "std must be a finite number above 0"),
        (lambda: nets.cnn(3, mean=wrong((0.1, "a"))), "mean must be a number"),
        (lambda: nets.cnn(3, conv="fft"), "conv 'fft' is not known"),
        (lambda: nets.resnet18(3, norm="layer"), "norm 'layer' is not known"),
        (lambda: nets.resnet18(3, 48, norm="group"), "does not divide into 32 groups"),
        (lambda: nets.from_flax(wrong(nn.Dense)), "must be an instance of flax.linen.Module"),
        (lambda: nets.from_flax(wrong(nn.Dense(3).apply)), "use from_function for plain functions"),
        (
            lambda: nets.from_flax(wrong(nnx.Linear(3, 3, rngs=nnx.Rngs(0)))),
            "got Linear; that module is of flax.nnx",
        ),
        (lambda: nets.from_flax(NeedsAnotherName()), "NeedsAnotherName.__call__ asks for 'learning', which"),
        (lambda: nets.from_function(wrong(None), lambda p, x: x), "init must be a function"),
        (
            lambda: nets.from_function(lambda key, x: 0, nn.Dense(3).apply),
            "apply is a method of a flax module",
        ),
        (
            lambda: nets.from_function(lambda key, x: 0, lambda p, x, is_training=False: x),
            "for 'is_training'",
        ),
        (lambda: nets.from_function(lambda key, x: 0, wrong(lambda p, x, rng: x)), "apply asks for 'rng'"),
        (lambda: nets.cnn(3).init(KEY, IMAGES[0]), r"x must be images \[batch, height, width, channels\]"),
        (lambda: nets.cnn(3).init(KEY, IMAGES.astype(jnp.uint8)), "must hold floats, got dtype uint8"),
        (lambda: nets.cnn(3).init(KEY, IMAGES[:0]), "x is empty"),
        (lambda: nets.cnn(3).init(KEY, IMAGES[:, :3]), "at least 4x4 pixels"),
        (lambda: nets.resnet18(3).init(KEY, IMAGES[:, :7]), "at least 8x8 pixels"),
        (lambda: nets.cnn(3, mean=(0.1, 0.2)).init(KEY, IMAGES), "mean has 2 values for 1 channels"),
        (lambda: nets.mlp(3).init(KEY, jnp.zeros(4)), r"x must have shape \[batch, ...\]"),
        (lambda: nets.mlp(3).init(KEY, jnp.zeros((2, 4), jnp.int32)), "must hold floats"),
        (
            lambda: apply(nets.mlp(3), IMAGES, IMAGES[:, :4]),
            "parameters or the state do not fit MLP on x of shape",
        ),
        (
            lambda: apply(nets.cnn(3), IMAGES, jnp.zeros((2, 8, 8, 3))),
            "parameters or the state do not fit CNN",
        ),
        (lambda: nets.mlp(3).apply({}, (), IMAGES), "parameters or the state do not fit MLP"),
        (lambda: without_state(train=False), "or the state do not fit ResNet"),
        (lambda: without_state(train=True), "or the state do not fit ResNet"),
        (lambda: nets.mlp(3).init(KEY, wrong([[0.1]])), "x must be an array, got list"),
        (lambda: apply(nets.mlp(3, dropout=0.1), IMAGES, IMAGES, train=True), "pass key= to apply"),
        (lambda: nets.conv2d(IMAGES, KERNEL[:, :, 0]), "kernel must have shape"),
        (lambda: nets.conv2d(jnp.zeros((2, 8, 8, 3)), KERNEL), "make its third axis the channels"),
        (lambda: nets.conv2d(IMAGES, KERNEL, stride=0), "stride must be at least 1"),
        (lambda: nets.conv2d(IMAGES, KERNEL, padding="FULL"), "padding 'FULL' is not known"),
        (lambda: nets.conv2d(IMAGES, KERNEL, padding=-1), "padding must be at least 0"),
        (lambda: nets.conv2d(IMAGES[:, :2], KERNEL, padding="VALID"), "too small for a 3x3 kernel"),
        (lambda: nets.max_pool(IMAGES[:, :1]), "too small to pool"),
        (lambda: nets.max_pool(IMAGES, 0), "window must be at least 1"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(call, sentence):
    with pytest.raises(ValueError, match=sentence) as error:
        jax.eval_shape(call)  # before anything compiles
    message = str(error.value)
    assert "\n" not in message
    assert message.endswith((".", "?"))


def without_state(train):
    net = nets.from_flax(small_resnet(()))
    params, _ = jax.jit(net.init)(KEY, IMAGES)
    return net.apply(params, (), IMAGES, train=train)


def apply(net, x, other, **options):
    params, state = jax.jit(net.init)(KEY, x)
    return net.apply(params, state, other, **options)
