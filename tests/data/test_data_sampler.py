"""Samplers: the rows of their batches, how uniform they are, equality under jit and vmap, and errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from lrn import train
from lrn.data import sampler
from lrn.data.sampler import epoch_batch, full_batch, minibatch, permute
from lrn.types import Sampler

ROWS = 40


def make_data():
    # The pixels of a picture, and its label, tell its row.
    images = np.broadcast_to(np.arange(ROWS, dtype=np.uint8)[:, None, None, None], (ROWS, 2, 2, 1))
    return {
        "image": jnp.asarray(images),
        "label": jnp.arange(ROWS, dtype=jnp.int32),
        "train": jnp.asarray([3, 5, 8, 13, 21, 34]),
        "test": jnp.arange(7),
    }


SAMPLERS = [
    pytest.param(minibatch(8), id="minibatch"),
    pytest.param(minibatch(8, replace=False), id="without-replacement"),
    pytest.param(minibatch(4, rows="train"), id="rows"),
    pytest.param(minibatch(4, rows="train", replace=False), id="rows-without-replacement"),
    pytest.param(full_batch(), id="full"),
    pytest.param(full_batch(rows="train"), id="full-rows"),
]


@pytest.mark.parametrize("draws", SAMPLERS)
def test_form_of_a_batch(draws):
    assert isinstance(draws, Sampler)
    batch = draws.draw(jax.random.key(0), make_data())
    assert set(batch) == {"image", "label"}
    assert batch["image"].dtype == jnp.float32
    assert batch["image"].shape == (len(batch["label"]), 2, 2, 1)
    assert batch["label"].dtype == jnp.int32
    # Picture and label belong to the same row, and the pixels are scaled.
    np.testing.assert_allclose(batch["image"][:, 1, 0, 0] * 255, batch["label"], rtol=1e-6)


@pytest.mark.parametrize("draws", SAMPLERS)
def test_jit_is_eager_and_vmap_is_a_loop(draws):
    data = make_data()
    keys = jax.random.split(jax.random.key(1), 3)
    together = jax.jit(jax.vmap(draws.draw, in_axes=(0, None)))(keys, data)
    jit = jax.jit(draws.draw)
    for i in range(3):
        eager = draws.draw(keys[i], data)
        jitted = jit(keys[i], data)
        for name in eager:
            np.testing.assert_allclose(eager[name], jitted[name], rtol=1e-6)
            np.testing.assert_allclose(eager[name], together[name][i], rtol=1e-6)


@pytest.mark.parametrize("draws", SAMPLERS)
def test_no_key_is_used_twice(draws, key_reuse_checks):
    large = {
        "image": jnp.zeros((2000, 2, 2, 1), jnp.uint8),
        "label": jnp.zeros(2000, jnp.int32),
        "train": jnp.arange(1500),
    }
    for data in (make_data(), large):  # both branches of `permute`
        jax.jit(draws.draw)(jax.random.key(0), data)


def test_one_split_a_seed():
    data = make_data()
    parts = jnp.stack([jnp.arange(0, 10), jnp.arange(20, 30)])
    axes = {"image": None, "label": None, "train": 0}
    keys = jax.random.split(jax.random.key(0), 2)
    batch = jax.vmap(minibatch(6, rows="train").draw, in_axes=(0, axes))(
        keys, {"image": data["image"], "label": data["label"], "train": parts}
    )
    assert batch["label"].shape == (2, 6)
    assert set(np.asarray(batch["label"][0]).tolist()) <= set(range(10))
    assert set(np.asarray(batch["label"][1]).tolist()) <= set(range(20, 30))


@pytest.mark.parametrize("replace", [True, False])
@pytest.mark.parametrize("rows", [None, "train"])
def test_rows_are_drawn_evenly(replace, rows):
    data = make_data()
    draw = jax.jit(jax.vmap(minibatch(5, rows=rows, replace=replace).draw, in_axes=(0, None)))
    labels = np.asarray(draw(jax.random.split(jax.random.key(2), 4000), data)["label"])
    allowed = np.arange(ROWS) if rows is None else np.asarray(data["train"])
    counts = np.array([(labels == row).sum() for row in allowed])
    assert counts.sum() == labels.size  # no other row was drawn
    for place in range(5):
        assert stats.chisquare([(labels[:, place] == row).sum() for row in allowed]).pvalue > 1e-4
    distinct = np.array([len(set(batch)) == 5 for batch in labels.tolist()])
    assert distinct.all() if not replace else not distinct.all()


def test_distinct_keys_give_distinct_batches_and_equal_keys_equal():
    data = make_data()
    draw = jax.jit(minibatch(8).draw)
    draws = [tuple(draw(jax.random.key(s), data)["label"].tolist()) for s in range(30)]
    assert len(set(draws)) == 30
    assert tuple(draw(jax.random.key(3), data)["label"].tolist()) == draws[3]


def test_full_batch_is_everything_in_order():
    data = make_data()
    assert full_batch().draw(jax.random.key(0), data)["label"].tolist() == list(range(ROWS))
    assert full_batch(rows="train").draw(jax.random.key(0), data)["label"].tolist() == [3, 5, 8, 13, 21, 34]


def test_other_columns():
    data = {"x": jnp.ones((4, 3)), "y": jnp.zeros(4), "n": jnp.arange(9)}
    batch = minibatch(2, columns=("x", "y")).draw(jax.random.key(0), data)
    assert batch["x"].shape == (2, 3)
    assert batch["x"].dtype == jnp.float32


def drawn(data, **options):
    """The whole data in order, from each kind of sampler."""
    columns, n = tuple(data), len(next(iter(data.values())))
    key = jax.random.key(0)
    batches = [
        full_batch(columns=columns, **options).draw(key, data),
        minibatch(n, columns=columns, replace=False, **options).draw(key, data),
        epoch_batch(key, 0, data, n, columns=columns, **options),
        jax.jit(full_batch(columns=columns, **options).draw)(key, data),
    ]
    for batch in batches:
        order = np.argsort(np.asarray(batch["row"]))
        yield {name: np.asarray(values)[order] for name, values in batch.items()}


def test_bytes_that_are_no_image_stay_what_they_are():
    data = {
        "row": np.arange(3),
        "label": np.array([0, 4, 255], np.uint8),
        "table": np.array([[0, 1], [2, 3], [4, 255]], np.uint8),
        "mask": np.full((3, 2, 2), 3, np.uint8),
        "short": np.array([1, 2, 3], np.uint16),
        "flag": np.array([True, False, True]),
        "deep": np.full((3, 2, 2, 1), 300, np.int32),
        "video": np.full((3, 2, 2, 2, 1), 51, np.uint8),
    }
    for batch in drawn(data):
        for name, values in data.items():
            np.testing.assert_array_equal(batch[name], values)
            assert batch[name].dtype == jax.dtypes.canonicalize_dtype(values.dtype)


def test_images_are_rescaled():
    pixels = np.array([0, 51, 255], np.uint8)
    cubes = np.broadcast_to(pixels[:, None, None, None], (3, 2, 2, 1))
    for batch in drawn({"row": np.arange(3), "image": pixels, "x": cubes}):
        np.testing.assert_allclose(batch["image"], [0, 0.2, 1], rtol=1e-6)
        np.testing.assert_allclose(batch["x"][:, 1, 1, 0], [0, 0.2, 1], rtol=1e-6)
        assert batch["image"].dtype == batch["x"].dtype == np.float32


def test_what_an_image_is_can_be_said():
    pixels = np.array([[0, 51], [102, 255]], np.uint8)
    mask = np.full((2, 2, 2, 1), 3, np.uint8)
    data = {"row": np.arange(2), "flat": pixels, "mask": mask, "image": pixels}
    for batch in drawn(data, images=["flat"]):
        np.testing.assert_allclose(batch["flat"], [[0, 0.2], [0.4, 1]], rtol=1e-6)
        np.testing.assert_array_equal(batch["mask"], mask)
        np.testing.assert_array_equal(batch["image"], pixels)
    for batch in drawn(data, images=()):
        np.testing.assert_array_equal(batch["mask"], mask)
    for images, sentence in (
        ("flat", "images must be a list of names, got 'flat'"),
        (["flot"], "did you mean flat"),
        (["row"], "as_float scales uint8 pixels"),
    ):
        with pytest.raises(ValueError, match=sentence):
            next(drawn(data, images=images))


WAYS = {
    "minibatch": lambda data: minibatch(2, rows="train").draw(jax.random.key(0), data),
    "full": lambda data: full_batch(rows="train").draw(jax.random.key(0), data),
    "epoch": lambda data: epoch_batch(jax.random.key(0), 0, data, 2, rows="train"),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("row", [ROWS, -1])
def test_rows_that_are_not_there(way, row):
    """A wrong index raises an error where it is known, and gives NaN where it is traced."""
    data = {**make_data(), "train": jnp.array([row, row])}
    with pytest.raises(ValueError, match=f"'train' names row {row} and the data has rows 0 to 39; give"):
        WAYS[way](data)
    batch = jax.jit(WAYS[way])(data)
    assert np.isnan(batch["image"]).all()
    assert (batch["label"] == -1).all()
    edge = {**data, "train": jnp.array([0, ROWS - 1])}
    both = jax.jit(full_batch(rows="train").draw)(jax.random.key(0), edge)
    assert both["label"].tolist() == [0, ROWS - 1]
    np.testing.assert_allclose(both["image"][:, 0, 0, 0] * 255, [0, ROWS - 1], rtol=1e-6)


def test_rows_that_are_not_there_have_no_gradient():
    data = {"image": jnp.ones((4, 3)), "label": jnp.zeros(4), "train": jnp.array([0, 9])}

    def loss(w, data):
        return (full_batch(rows="train").draw(jax.random.key(0), data)["image"] @ w).sum()

    assert np.isnan(jax.jit(jax.grad(loss))(jnp.ones(3), data)).all()


@pytest.mark.parametrize("draws", [minibatch(2, rows="train"), full_batch(rows="train")])
@pytest.mark.parametrize("wrong", [0, 1])
def test_fit_refuses_rows_that_are_not_there(draws, wrong):
    """Indices that all seeds share, and indices for each seed."""

    def unmade(config):
        raise AssertionError("it was traced")

    data = {name: np.asarray(make_data()[name]) for name in ("image", "label")}
    rows = np.array([[0, 1, 39], [3, 4, 40]])
    with pytest.raises(ValueError, match="'train' names row 40"):
        train.fit(unmade, 0.0, [0, 1], steps=3, sampler=draws, data={**data, "train": rows[1]})
    own = {"train": np.roll(rows, wrong, 0)}
    with pytest.raises(ValueError, match="'train' names row 40"):
        train.fit(unmade, 0.0, [0, 1], steps=3, sampler=draws, data=data, per_seed=own)


@pytest.mark.parametrize(("rows", "count"), [(None, ROWS), ("train", 6)])
@pytest.mark.parametrize("batch_size", [1, 4, 6])
def test_a_pass_visits_every_row_once(rows, count, batch_size):
    data = make_data()
    steps = count // batch_size
    key = jax.random.key(4)
    draw = jax.jit(lambda step: epoch_batch(key, step, data, batch_size, rows=rows)["label"])
    passes = []
    for epoch in range(3):
        seen = np.concatenate([draw(epoch * steps + i) for i in range(steps)]).tolist()
        assert len(seen) == len(set(seen)) == steps * batch_size
        assert set(seen) <= set(range(ROWS) if rows is None else data["train"].tolist())
        passes.append(tuple(seen))
    if count // batch_size > 1:
        assert len(set(passes)) == 3  # each pass has a new order
    np.testing.assert_array_equal(draw(1), epoch_batch(key, 1, data, batch_size, rows=rows)["label"])


@pytest.mark.parametrize("size", [1, 2, 5, 100, 1024, 1025, 4096, 4097, 16_384, 16_385])
def test_permute_is_a_permutation(size):
    shuffle = jax.jit(lambda key: permute(key, jnp.arange(size), size))
    for seed in range(3):
        assert sorted(shuffle(jax.random.key(seed)).tolist()) == list(range(size))


def test_permute_of_a_part_is_the_part_of_the_permutation():
    key = jax.random.key(9)
    whole = permute(key, jnp.arange(60_000), 60_000)
    some = jnp.asarray([0, 59_999, 17, 4_242])
    np.testing.assert_array_equal(permute(key, some, 60_000), whole[some])


def test_permute_reaches_every_order_evenly():
    keys = jax.random.split(jax.random.key(0), 12_000)
    orders = np.asarray(jax.jit(jax.vmap(lambda k: permute(k, jnp.arange(5), 5)))(keys))
    _, counts = np.unique(orders, axis=0, return_counts=True)
    assert len(counts) == 120
    assert stats.chisquare(counts).pvalue > 1e-4


@pytest.mark.parametrize("size", [1025, 5000])
def test_permute_by_network_sends_an_index_anywhere_and_two_independently(size):
    keys = jax.random.split(jax.random.key(size), 40_000)
    index = jnp.asarray([0, 1, size - 1])
    out = np.asarray(jax.jit(jax.vmap(lambda k: permute(k, index, size)))(keys))
    bins = out * 8 // size
    share = np.diff(np.ceil(np.arange(9) * size / 8))
    for place in range(3):
        counts = np.bincount(bins[:, place], minlength=8)
        assert stats.chisquare(counts, 40_000 * share / size).pvalue > 1e-4
    for a, b in ((0, 1), (0, 2), (1, 2)):
        pairs = np.histogram2d(bins[:, a], bins[:, b], 8)[0]
        expected = np.outer(pairs.sum(1), pairs.sum(0)) / pairs.sum()
        assert stats.chisquare(pairs.ravel(), expected.ravel(), ddof=14).pvalue > 1e-4
        assert (out[:, a] != out[:, b]).all()
    assert abs((out[:, 1] > out[:, 0]).mean() - 0.5) < 0.01


def test_permute_leaves_no_order_in_a_large_set():
    out = np.asarray(permute(jax.random.key(0), jnp.arange(60_000), 60_000)).astype(float)
    assert abs(np.corrcoef(np.arange(60_000), out)[0, 1]) < 0.02
    assert abs(np.corrcoef(out[1:], out[:-1])[0, 1]) < 0.02
    fixed = (out == np.arange(60_000)).sum()
    assert fixed <= 8  # Poisson with mean 1


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda d: minibatch(0), "batch_size must be at least 1"),
        (lambda d: minibatch(2.0), "batch_size must be a whole number"),  # pyright: ignore[reportArgumentType]
        (lambda d: minibatch(True), "batch_size must be a whole number"),
        (lambda d: minibatch(41).draw(jax.random.key(0), d), "batch_size is 41 and the data has 40 rows"),
        (
            lambda d: minibatch(7, rows="train").draw(jax.random.key(0), d),
            "batch_size is 7 and 'train' has 6 rows",
        ),
        (
            lambda d: minibatch(2, rows="trian").draw(jax.random.key(0), d),
            "no entry 'trian'; did you mean train",
        ),
        (lambda d: minibatch(2, columns=("images",)).draw(jax.random.key(0), d), "did you mean image"),
        (lambda d: minibatch(2, columns=()).draw(jax.random.key(0), d), "at least one name"),
        (
            lambda d: minibatch(2, columns="image").draw(jax.random.key(0), d),
            "must be a list of at least one name",
        ),
        (
            lambda d: minibatch(2, columns=("image", "test")).draw(jax.random.key(0), d),
            "image has 40, test has 7",
        ),
        (lambda d: minibatch(2).draw(jax.random.key(0), d["image"]), "draws from a dict of arrays"),
        (lambda d: minibatch(2).draw(jax.random.key(0), None), "draws from a dict of arrays, got NoneType"),
        (
            lambda d: minibatch(2, rows="image").draw(jax.random.key(0), d),
            "image must list rows as whole numbers",
        ),
        (lambda d: minibatch(2).draw(jax.random.key(0), {**d, "label": jnp.asarray(3)}), "label is a scalar"),
        (lambda d: full_batch().draw(jax.random.key(0), {k: v[:0] for k, v in d.items()}), "has 0 rows"),
        (lambda d: epoch_batch(jax.random.key(0), 0, d, 41), "batch_size is 41"),
        (lambda d: epoch_batch(jax.random.key(0), 0, d, 0), "batch_size must be at least 1"),
        (lambda d: permute(jax.random.key(0), jnp.arange(2), 0), "size must be at least 1"),
        (lambda d: permute(jax.random.key(0), jnp.arange(2), 2**31), "size must be at most 2"),
    ],
)
def test_refusals(call, said):
    with pytest.raises(ValueError, match=said):
        call(make_data())


def test_a_refusal_comes_before_any_compile():
    data = make_data()
    with pytest.raises(ValueError, match="batch_size is 41"):
        jax.jit(minibatch(41).draw).lower(jax.random.key(0), data)


def test_the_data_is_no_constant_of_the_program():
    data = make_data()
    for draws in (minibatch(8), minibatch(8, replace=False), minibatch(4, rows="train")):
        assert jax.make_jaxpr(draws.draw)(jax.random.key(0), data).consts == []


def test_mix_is_a_bijection():
    # Murmur's finalizer is a bijection, so a keyed network of it keeps its full range.
    x = jnp.arange(100_000, dtype=jnp.uint32) * jnp.uint32(40_503)
    assert len(np.unique(np.asarray(sampler._mix(x)))) == 100_000
