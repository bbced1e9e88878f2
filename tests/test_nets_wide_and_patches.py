"""The wide ResNet, the vision transformer and the mixer: published counts, NumPy, and a net's properties."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.signal import correlate
from scipy.special import erf

from lrn import nets
from lrn.types import Net

KEY = jax.random.key(0)


@pytest.fixture(autouse=True)
def quick_compile():
    """Compile without optimization: the tests compare values, and compilation takes most of their time."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def draw(*shape: int, seed: int = 1) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def close(a, b, tolerance: float = 1e-5) -> None:
    """Assert equal trees, to ``tolerance`` of the largest entry of each leaf."""
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=0, atol=tolerance * max(1.0, float(np.abs(y).max())))


SMALL = {
    "wide_resnet": nets.wide_resnet(3, 10, 1, dropout=0.3),
    "vit": nets.vit(3, 4, 8, 1, 2, hidden=6, dropout=0.3),
    "mixer": nets.mixer(3, 4, 8, 1, token_hidden=5, hidden=6, dropout=0.3),
}
NETS = pytest.mark.parametrize("net", [pytest.param(net, id=name) for name, net in SMALL.items()])


def count(net: Net, size: int, channels: int = 3) -> int:
    params, _ = jax.eval_shape(net.init, KEY, jnp.zeros((2, size, size, channels)))
    return sum(p.size for p in jax.tree.leaves(params))


def test_parameters_are_those_of_the_papers_networks():
    # The numbers of the released networks: 36.5M for WRN-28-10 in the paper's table 4, and the checkpoints of
    # Mixer-S/16, and below of Mixer-B/16, ViT-Ti/16 and ViT-B/16, for ImageNet.
    assert count(nets.wide_resnet(10), 32) == 36_479_194
    assert count(nets.mixer(1000, 16, 512, 8), 224) == 18_528_264


@pytest.mark.slow
def test_parameters_are_those_of_the_papers_larger_networks():
    assert count(nets.wide_resnet(10, 34, 10), 32) == 46_160_474
    assert count(nets.wide_resnet(10, 16, 4), 32) == 2_748_890
    more = 27 * 16 + 2 * 16 + 9 * 16 * 64 + 16 * 64  # the stem, and what takes its 32 channels in place of 16
    assert count(nets.wide_resnet(10, 16, 2, stem=32), 32) == 2_748_890 + more
    assert count(nets.vit(1000, 16, 192, 12, 3), 224) == 5_717_416
    assert count(nets.vit(1000, 16, 768, 12, 12), 224) == 86_567_656
    assert count(nets.mixer(1000, 16, 768, 12), 224) == 59_880_472
    assert count(nets.vit(10), 32) == 5_362_762
    assert count(nets.mixer(10), 32) == 4_360_970


@pytest.mark.parametrize(
    ("size", "channels", "p", "d", "h", "t", "k", "depth"), [(32, 3, 4, 24, 40, 7, 10, 3)]
)
def test_parameters_are_the_docstrings_formulas(size, channels, p, d, h, t, k, depth):
    n = (size // p) ** 2
    ends = (p * p * channels + 1) * d + 2 * d + (d + 1) * k
    block = 4 * d * (d + 1) + (2 * d + 1) * h + 5 * d
    for pool, extra in (("token", d + (n + 1) * d), ("mean", n * d)):
        assert count(nets.vit(k, p, d, depth, 2, hidden=h, pool=pool), size) == ends + depth * block + extra
    block = (2 * n + 1) * t + n + (2 * d + 1) * h + 5 * d
    assert count(nets.mixer(k, p, d, depth, token_hidden=t, hidden=h), size) == ends + depth * block


# The forward passes in NumPy


def numbers(tree):
    return jax.tree.map(lambda a: np.asarray(a, np.float64), tree)


def dense(p, x):
    return x @ p["kernel"] + p["bias"]


def layer_norm(p, x):
    centered = x - x.mean(-1, keepdims=True)
    return centered / np.sqrt((centered**2).mean(-1, keepdims=True) + 1e-6) * p["scale"] + p["bias"]


def feed_forward(p, x):
    h = dense(p["in"], x)
    return dense(p["out"], h * (1 + erf(h / np.sqrt(2))) / 2)


def patches(p, x, size):
    rows = range(0, x.shape[1], size)
    columns = range(0, x.shape[2], size)
    flat = [x[:, i : i + size, j : j + size].reshape(len(x), -1) for i in rows for j in columns]
    return dense(p["Dense_0"], np.stack(flat, 1))


def attention(p, x):
    query, key, value = (np.einsum("btd,dhe->bhte", x, p[n]["kernel"]) for n in ("query", "key", "value"))
    query, key, value = (
        a + p[n]["bias"][None, :, None] for a, n in zip((query, key, value), ("query", "key", "value"))
    )
    scores = np.einsum("bhte,bhse->bhts", query, key) / np.sqrt(query.shape[-1])
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    mixed = np.einsum("bhts,bhse->bthe", weights, value)
    return np.einsum("bthe,hed->btd", mixed, p["out"]["kernel"]) + p["out"]["bias"]


def vit_by_hand(p, x, depth, pool):
    h = patches(p["patches"], x, 4)
    if pool == "token":
        h = np.concatenate([np.tile(p["token"], (len(x), 1, 1)), h], 1)
    h = h + p["positions"]
    for i in range(depth):
        block = p[f"block_{i}"]
        h = h + attention(block["attention"], layer_norm(block["norm_0"], h))
        h = h + feed_forward(block["feed_forward"], layer_norm(block["norm_1"], h))
    h = layer_norm(p["norm"], h)
    return dense(p["head"], h[:, 0] if pool == "token" else h.mean(1))


def mixer_by_hand(p, x, depth):
    h = patches(p["patches"], x, 4)
    for i in range(depth):
        block = p[f"block_{i}"]
        mixed = feed_forward(block["tokens"], layer_norm(block["norm_0"], h).transpose(0, 2, 1))
        h = h + mixed.transpose(0, 2, 1)
        h = h + feed_forward(block["channels"], layer_norm(block["norm_1"], h))
    return dense(p["head"], layer_norm(p["norm"], h).mean(1))


def convolution(x, kernel, stride):
    side = kernel.shape[0] // 2
    x = np.pad(x, ((0, 0), (side, side), (side, side), (0, 0)))
    out = np.stack(
        [[correlate(i, kernel[..., o], "valid")[..., 0] for o in range(kernel.shape[3])] for i in x]
    )
    return out.transpose(0, 2, 3, 1)[:, ::stride, ::stride]


def wide_resnet_by_hand(p, state, x):
    def norm(name, p, s, x):
        scale = p[name]["scale"] / np.sqrt(s[name]["var"] + 1e-5)
        return np.maximum((x - s[name]["mean"]) * scale + p[name]["bias"], 0)

    h = convolution(x, p["stem"]["kernel"], 1)
    for group in range(3):
        stride = 2 if group else 1
        b, s = p[f"group_{group}_block_0"], state[f"group_{group}_block_0"]
        active = norm("norm_0", b, s, h)
        y = norm("norm_1", b, s, convolution(active, b["conv_0"]["kernel"], stride))
        y = convolution(y, b["conv_1"]["kernel"], 1)
        h = y + (convolution(active, b["project"]["kernel"], stride) if "project" in b else h)
    return dense(p["head"], norm("norm", p, state, h).mean((1, 2)))


def jittered(tree, seed):
    """Parameters away from their initial values, so that biases, scales and statistics count."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda a: a + 0.1 * rng.uniform(size=a.shape).astype(np.float32), tree)


@pytest.mark.parametrize(
    "net",
    [
        SMALL["wide_resnet"],
        nets.vit(3, 4, 8, 2, 2, hidden=6),
        nets.vit(3, 4, 8, 1, 2, hidden=6, pool="mean"),
        nets.mixer(3, 4, 8, 2, token_hidden=5, hidden=6),
    ],
)
def test_evaluation_is_the_papers_arithmetic(net):
    x = draw(3, 8, 12, 2)
    params, state = jax.jit(net.init)(KEY, x)
    params, state = jittered(params, 1), jittered(state, 2)
    ours, after = jax.jit(net.apply)(params, state, x)
    p, images = numbers(params), np.asarray(x, np.float64)
    if "token" in p or "positions" in p:
        depth = sum(name.startswith("block") for name in p)
        exact = vit_by_hand(p, images, depth, "token" if "token" in p else "mean")
    elif "stem" in p:
        exact = wide_resnet_by_hand(p, numbers(state)["batch_stats"], images)
    else:
        exact = mixer_by_hand(p, images, 2)
    assert ours.shape == (3, 3)
    close(ours, exact, 2e-5)
    close(after, state)


@NETS
def test_each_example_is_on_its_own_in_evaluation(net):
    x = draw(4, 8, 8, 2)
    params, state = jax.jit(net.init)(KEY, x)
    whole = jax.jit(net.apply)(params, state, x)[0]
    changed = x.at[1:].set(draw(3, 8, 8, 2, seed=5))
    close(jax.jit(net.apply)(params, state, changed)[0][:1], whole[:1])


def one_step(net, key, x):
    """The gradient, output and new state of one training pass from fresh parameters."""
    init_key, drop_key = jax.random.split(key)
    params, state = net.init(init_key, x)

    def loss(params):
        out, new = net.apply(params, state, x, key=drop_key, train=True)
        return jnp.mean(out**2), (out, new)

    return jax.grad(loss, has_aux=True)(params)


@pytest.mark.parametrize(
    "net", [pytest.param(n, id=i, marks=[pytest.mark.slow] * (i == "wide_resnet")) for i, n in SMALL.items()]
)
def test_vmapped_seeds_are_single_seeds_and_keys_are_used_once(net, key_reuse_checks):
    x = draw(4, 8, 8, 2)
    step = lambda key, x: one_step(net, key, x)  # noqa: E731
    lanes = jax.jit(jax.vmap(step, in_axes=(0, None), axis_name=nets.LANES))(
        jax.random.split(jax.random.key(3), 2), x
    )
    alone = jax.jit(step)(jax.random.split(jax.random.key(3), 2)[1], x)
    close(jax.tree.map(lambda leaf: leaf[1], lanes), alone, 1e-4)


@pytest.mark.parametrize("name", ["wide_resnet", "vit", "mixer"])
def test_dropout_acts_in_training_only_and_batch_statistics_move(name):
    net, x = SMALL[name], draw(4, 8, 8, 2)
    params, state = jax.jit(net.init)(KEY, x)
    params = jittered(params, 1)
    run = jax.jit(lambda key, train: net.apply(params, state, x, key=key, train=train), static_argnums=1)
    (still, same), (one, moved), (other, _) = (
        run(jax.random.key(i), train) for i, train in ((1, False), (1, True), (2, True))
    )
    close(run(jax.random.key(2), False)[0], still)
    assert np.abs(np.asarray(one) - other).max() > 1e-3
    close(same, state)
    if name == "wide_resnet":
        stem = convolution(np.asarray(x, np.float64), np.asarray(params["stem"]["kernel"], np.float64), 1)
        first = moved["batch_stats"]["group_0_block_0"]["norm_0"]
        close(first["mean"], 0.1 * stem.mean((0, 1, 2)))  # momentum .9, from mean 0 and variance 1
        close(first["var"], 0.9 + 0.1 * stem.var((0, 1, 2)))
    else:
        assert moved == ()


def test_a_swept_dropout_rate():
    x, rates = draw(4, 8, 8, 2), jnp.array([0.0, 0.5])
    for make in (
        lambda rate: nets.wide_resnet(3, 10, 1, dropout=rate),
        lambda rate: nets.mixer(3, 4, 8, 1, dropout=rate),
    ):
        params, state = jax.jit(make(0.0).init)(KEY, x)
        run = jax.jit(
            lambda rate, make=make, p=params, s=state: make(rate).apply(p, s, x, key=KEY, train=True)[0]
        )
        swept = jax.vmap(run)(rates)
        close(swept[0], run(0.0))
        assert np.abs(np.asarray(swept[1] - swept[0])).max() > 1e-3


IMAGES = jnp.zeros((2, 8, 8, 1))


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: nets.wide_resnet(10, 27), "depth must be 6 n \\+ 4, got 27"),
        (lambda: nets.wide_resnet(10, 4), "depth must be at least 10"),
        (lambda: nets.wide_resnet(10, width=0), "every entry of width must be at least 1"),
        (lambda: nets.wide_resnet(10, 10, 1).init(KEY, IMAGES[:, :3]), "at least 4x4 pixels"),
        (lambda: nets.vit(10, width=10, heads=3), "3 heads do not divide the width 10"),
        (lambda: nets.vit(10, pool="max"), "pool 'max' is not known"),
        (lambda: nets.vit(10, dropout=1.0), "dropout must be below 1"),
        (lambda: nets.vit(10, 3).init(KEY, IMAGES), "8x8 do not divide into patches of 3x3"),
        (lambda: nets.mixer(10, 16).init(KEY, IMAGES), "at least 16x16 pixels"),
        (lambda: nets.mixer(10, depth=0), "depth must be at least 1"),
        (lambda: nets.mixer(10).init(KEY, IMAGES[0]), "x must be images"),
        (lambda: other_size(nets.vit(3, 4, 8, 1, 2)), "the parameters or the state do not fit ViT"),
        (lambda: other_size(nets.mixer(3, 4, 8, 1)), "the parameters or the state do not fit Mixer"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(call, sentence):
    with pytest.raises(ValueError, match=sentence) as error:
        call()
    assert "\n" not in str(error.value)


def other_size(net):
    params, state = jax.jit(net.init)(KEY, IMAGES)
    return net.apply(params, state, jnp.zeros((2, 8, 12, 1)))


@pytest.mark.parametrize("parameters", [900, 3000])
def test_a_network_of_a_size_is_the_closest_one(parameters):
    def build(width):
        return nets.mlp(3, (width,))

    found = nets.parameter_count(nets.of_size(build, (4, 4, 1), parameters, widest=300), (4, 4, 1))
    every = [17 * w + 3 * (w + 1) for w in range(1, 300)]
    assert abs(found - parameters) == min(abs(n - parameters) for n in every)
    with pytest.raises(ValueError, match="no network up to width 2"):
        nets.of_size(build, (4, 4, 1), parameters, widest=2)
