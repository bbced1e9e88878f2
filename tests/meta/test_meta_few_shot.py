"""Few-shot tasks from a table of classes: the draws, draws that must not happen, and the table itself."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn import nets
from lrn.data.few_shot import by_class, omniglot, shrink
from lrn.data.glyphs import glyphs
from lrn.meta.episode import Episode, TaskFamily, check_family, draw
from lrn.meta.families.few_shot import few_shot, turned

CLASSES, EXAMPLES = 12, 6
DATA = Path(os.environ.get("LRN_DATA_DIR", "nowhere")) / "omniglot"


def table() -> Any:
    """Pictures that encode their class and example in the middle, and their turn by a mark."""
    images = np.zeros((CLASSES, EXAMPLES, 3, 3, 1), np.uint8)
    images[:, :, 1, 1, 0] = 10 * np.arange(CLASSES)[:, None] + np.arange(EXAMPLES)
    images[:, :, 0, 0, 0] = 255
    return images


def drawn(family: TaskFamily, count: int) -> Episode:
    """Tasks of the family, in host memory."""
    return jax.device_get(jax.jit(lambda key: draw(family, key, count))(jax.random.key(0)))


def who(x):
    """The class and the example of pictures [n, 3, 3, 1]."""
    number = np.rint(np.asarray(x)[:, 1, 1, 0] * 255).astype(int)
    return number // 10, number % 10


def test_tasks_are_classes_and_examples_without_repeats():
    family = few_shot(table(), ways=5, shots=2, queries=3)
    check_family(family)
    given = drawn(family, 200)
    assert given.support["x"].shape == (200, 10, 3, 3, 1)
    firsts = []
    for i in range(200):
        support, query = (jax.tree.map(lambda x: x[i], part) for part in (given.support, given.query))  # noqa: B023
        code = given.code[i]
        assert len(set(code.tolist())) == 5
        classes, examples = who(support["x"])
        np.testing.assert_array_equal(classes, code[np.asarray(support["y"])])
        asked, others = who(query["x"])
        np.testing.assert_array_equal(asked, code[np.asarray(query["y"])])
        # No drawing occurs in both sets, or twice in a set.
        seen = list(zip([*classes, *asked], [*examples, *others]))
        assert len(set(seen)) == 25
        np.testing.assert_array_equal(np.bincount(support["y"], minlength=5), 2)
        firsts.append(code[0])
    counts = np.bincount(firsts, minlength=CLASSES)
    assert counts.min() > 0
    assert counts.max() < 40  # 17 are expected


def test_turned_classes_are_other_classes():
    given = drawn(few_shot(table(), 5, 1, 1, rotations=True), 100)
    code = given.code
    assert code.max() >= 3 * CLASSES
    for i in range(100):
        np.testing.assert_array_equal(who(given.support["x"][i])[0], code[i] % CLASSES)
        corner = given.support["x"][i][:, [0, 2, 2, 0], [0, 0, 2, 2], 0].argmax(1)
        np.testing.assert_array_equal(corner, code[i] // CLASSES)  # anticlockwise


def test_turns_are_numpys():
    x, turn = np.random.default_rng(0).random((1, 2, 4, 4, 3)), jax.jit(turned)
    for quarter in range(4):
        np.testing.assert_allclose(turn(x, np.array([quarter])), np.rot90(x, quarter, axes=(2, 3)), rtol=1e-6)


def test_labels_that_are_not_shuffled_belong_to_their_class():
    code = drawn(few_shot(table(), 4, 1, 1, shuffled=False), 100).code
    np.testing.assert_array_equal(code % 4, np.broadcast_to(np.arange(4), code.shape))
    assert len(np.unique(code)) == CLASSES


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(ways=13), "13 ways need as many classes and the data has 12"),
        (dict(ways=1), "ways must be at least 2"),
        (dict(shots=4, queries=3), "4 shots and 3 queries need 7 examples of a class and the data has 6"),
        (dict(queries=0), "queries must be at least 1"),
        (dict(ways=7, shuffled=False), "without shuffled labels"),
        (dict(images=jnp.zeros((3, 4, 5))), r"images must be \[classes, examples"),
        (dict(images=jnp.zeros((9, 4, 5, 6, 1)), rotations=True), "square images"),
    ],
)
def test_bad_few_shot_tasks(settings, message):
    with pytest.raises(ValueError, match=message):
        few_shot(**{"images": table(), "ways": 5, "shots": 1, "queries": 1, **settings})


def test_by_class_keeps_every_class_apart():
    labels = np.array([2, 0, 2, 1, 0, 1, 2])
    images = np.arange(7)[:, None]
    np.testing.assert_array_equal(by_class(images, labels)[..., 0], [[1, 4], [3, 5], [0, 2]])
    with pytest.raises(ValueError, match="class 0 has 2 examples"):
        by_class(images, labels, 3)
    with pytest.raises(ValueError, match="7 images and 3 labels"):
        by_class(images, labels[:3])
    assert by_class(np.zeros((4, 3)), np.array(["a", "a", "b", "b"]).tolist()).shape == (2, 2, 3)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="there are no images"):
        by_class(images[:0], labels[:0])


def test_shrinking_keeps_the_ink():
    """Each new pixel is the mean over its area, also if the sizes do not divide."""
    images = np.random.default_rng(0).integers(0, 256, (3, 2, 10, 10, 1), np.uint8)
    halved = shrink(images, 5)
    expected = images.reshape(3, 2, 5, 2, 5, 2, 1).mean((3, 5))
    assert np.abs(halved - expected).max() <= 0.51
    odd = shrink(images, 4)
    assert odd.shape == (3, 2, 4, 4, 1)
    np.testing.assert_allclose(odd.mean((2, 3, 4)), images.mean((2, 3, 4)), atol=0.5)
    with pytest.raises(ValueError, match="takes uint8 pixels, got float64"):
        shrink(images / 255, 5)


@pytest.mark.skipif(not DATA.is_dir(), reason="omniglot is not in LRN_DATA_DIR")
@pytest.mark.parametrize(("split", "counts"), [("mixed", (1100, 100, 423)), ("alphabets", (813, 151, 659))])
def test_omniglot_has_no_character_in_two_parts(split, counts):
    parts = [omniglot(part, split=split, size=14) for part in ("train", "validation", "test")]
    assert tuple(len(p.names) for p in parts) == counts
    assert len({name for p in parts for name in p.names}) == sum(counts)
    for p in parts:
        assert p.images.shape == (len(p.names), 20, 14, 14, 1)
        assert 0.02 < p.images.mean() / 255 < 0.2  # ink on black
    if split == "alphabets":
        alphabets = [{name.split("/")[0] for name in p.names} for p in parts]
        assert not alphabets[0] & alphabets[1]
        assert not (alphabets[0] | alphabets[1]) & alphabets[2]


@pytest.mark.parametrize("script", ["hebrew", "greek"])
def test_glyphs_of_a_script_are_told_apart(script):
    """The nearest of four other drawings of each letter is far more often right than by chance."""
    made = glyphs(script, examples=6, size=14)
    assert len(made.names) == len(set(made.names)) == len(made.images)
    assert all(name.startswith(script) for name in made.names)
    flat = made.images.reshape(*made.images.shape[:2], -1).astype(np.float32)
    known, asked = flat[:, :4].reshape(-1, flat.shape[2]), flat[:, 4:].reshape(-1, flat.shape[2])
    nearest = ((asked[:, None] - known[None]) ** 2).sum(-1).argmin(1) // 4
    accuracy = (nearest == np.repeat(np.arange(len(flat)), 2)).mean()
    assert accuracy > 10 / len(flat)
    assert flat.max(-1).min() > 100  # every drawing has ink


def test_glyphs_are_the_same_for_a_seed_and_no_other():
    one, again, other = (glyphs("lao", examples=2, size=14, seed=seed).images for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any((2, 3, 4)).all()
    check_family(few_shot(one, 5, 1, 1))  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="did you mean latin"):
        glyphs("latn")


@pytest.mark.parametrize("down", ["stride", "pool"])
@pytest.mark.parametrize("norm", ["none", "batch", "group", "layer"])
def test_conv4_is_the_same_in_both_forms(down, norm):
    x = np.random.default_rng(0).random((3, 28, 28, 1), np.float32)
    made = [nets.conv4(None, 8, down=down, norm=norm, conv=form) for form in ("lax", "matmul")]

    @jax.jit
    def outputs(x):
        params, net_state = made[0].init(jax.random.key(1), x)
        both = [net.apply(params, net_state, x, train=True)[0] for net in made]
        return *both, made[0].apply(params, net_state, x[:1])[0]

    one, other, alone = map(np.asarray, outputs(x))
    assert one.shape == (3, 8 * (4 if down == "stride" else 1))
    np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)
    if norm in ("none", "group", "layer"):  # each example alone
        np.testing.assert_allclose(alone, one[:1], rtol=1e-3, atol=1e-4)


def test_conv4_counts():
    """The network of MAML for Omniglot: 4 blocks of 64, then 5 classes of the mean over the image."""
    net = nets.conv4(5, 64, reduce="mean")
    params, _ = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((2, 28, 28, 1)))
    count = sum(p.size for p in jax.tree.leaves(params))
    assert count == (9 * 64 + 64) + 3 * (9 * 64 * 64 + 64) + (64 * 5 + 5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(width=0), "width must be at least 1"),
        (dict(width=12, norm="group"), "multiple of 8"),
        (dict(down="both"), "down 'both' is not known"),
        (dict(norm="instance"), "norm 'instance' is not known"),
        (dict(momentum=1.0), "momentum must lie between 0 and 0.9999"),
        (dict(reduce="max"), "reduce 'max' is not known"),
    ],
)
def test_bad_conv4(settings, message):
    with pytest.raises(ValueError, match=message):
        nets.conv4(**settings)
