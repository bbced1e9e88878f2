"""Captions of sprites, tokens of words and of characters, and emoji as pairs."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn.check import InputError
from lrn.data import captions
from lrn.data.dataset import Dataset
from lrn.data.emoji_pairs import emoji_pairs
from lrn.data.sprites import Factors, render, sample
from lrn.data.words import character_tokens, vocabulary, word_tokens

CAPTION = jax.jit(captions.caption)


def said(**changed) -> str:
    factors = {"color": 0.0, "shape": 2, "scale": 0.7, "orientation": 0.0, "x": 0.0, "y": 1.0, **changed}
    floats = {name: np.float32(x) for name, x in factors.items()}
    return captions.text(CAPTION(Factors(**{**floats, "shape": np.int32(factors["shape"])}))[None])[0]


def test_a_caption_names_each_factor():
    assert said() == "medium red heart column-1 row-8 turn-1"
    assert said(color=0.97) == said()  # hues are a circle
    assert said(scale=1.0, color=2 / 3, shape=0, x=0.5) == "huge blue square column-5 row-8 turn-1"
    assert said(orientation=np.pi) == "medium red heart column-1 row-8 turn-5"
    assert len(set(captions.WORDS)) == len(captions.WORDS)


@pytest.mark.parametrize(("shape", "period"), [(0, np.pi / 2), (1, np.pi), (2, 2 * np.pi)])
def test_turns_that_look_the_same_have_one_word(shape, period):
    """After its period a shape looks the same; after half of it the word and the picture differ."""
    one, after, half = (
        {"shape": shape, "orientation": angle} for angle in (0.3, 0.3 + period, 0.3 + period / 2)
    )
    whole = {"color": 0.0, "scale": 0.7, "x": 0.5, "y": 0.5}
    pictures = [np.asarray(DRAW(Factors(**whole, **each))) for each in (one, after, half)]
    assert said(**one) == said(**after) != said(**half)
    assert np.abs(pictures[0] - pictures[1]).max() < 1e-3 < 0.1 < np.abs(pictures[0] - pictures[2]).max()


DRAW = jax.jit(lambda factors: render(factors, 32))


def test_pairs_have_captions_of_their_own_and_pictures_of_them():
    made = captions.pairs(jax.random.key(0), 200, 16)
    assert made["image"].shape == (200, 16, 16, 3)
    assert len(np.unique(made["text"], axis=0)) == 200
    assert made["text"].max() < captions.TOKENS
    columns = made["image"].astype(float).sum(axis=(1, 3)) @ np.arange(16)
    center = columns / made["image"].sum(axis=(1, 2, 3))
    assert np.corrcoef(center, made["text"][:, 3])[0, 1] > 0.98  # left and right are those of the picture
    trap = captions.pairs(jax.random.key(0), 200, 16, captions.class_caption)
    assert len(np.unique(trap["text"], axis=0)) == 3
    np.testing.assert_array_equal(trap["image"], made["image"])
    assert captions.text(trap["text"][:1]) == [("square", "ellipse", "heart")[trap["label"][0]]]
    with pytest.raises(InputError, match="ask for at most 7372"):
        captions.pairs(jax.random.key(0), 8000)


def test_words_and_characters_become_ids():
    texts = ["Red heart", "green HEART: heart!", ""]
    known = vocabulary(texts)
    assert known == ("heart", "green", "red")
    np.testing.assert_array_equal(word_tokens(texts, known), [[3, 1, 0], [2, 1, 1], [0, 0, 0]])
    np.testing.assert_array_equal(word_tokens(texts, known[:1], 1), [[1], [1], [0]])
    grams = character_tokens(["cat", "cats"], 1000)
    assert grams.shape == (2, 4)
    assert (grams[0, :2] == grams[1, :2]).all()  # "<ca" and "cat", then "at>" and "ats"
    assert grams[0, 2] != grams[1, 2]
    assert grams[0, 3] == 0
    assert vocabulary(texts, 2) == ("heart",)


def few() -> Dataset:
    picture = np.arange(3 * 4 * 4 * 3, dtype=np.uint8).reshape(3, 4, 4, 3)
    columns = {
        "image_google": picture,
        "image_twitter": picture + 1,
        "name": np.array(["red heart", "cat", "red cat"]),
        "keywords": np.array(["love|heart", "", "cat"]),
        "category": np.array(["symbols", "animals", "animals"]),
    }
    return Dataset("few", "train", columns, "made here", "", "")


def test_rows_of_few_emoji():
    columns, count = emoji_pairs(few())
    np.testing.assert_array_equal(columns["text"], [[3, 2, 4, 2], [1, 0, 0, 0], [3, 1, 1, 0]])
    assert count == 5  # cat, heart, red, love and no word
    np.testing.assert_array_equal(columns["label"], [1, 0, 0])
    np.testing.assert_array_equal(columns["other"], columns["image"] + 1)
    assert emoji_pairs(few(), keywords=False)[0]["text"].shape == (3, 2)


@pytest.mark.real_data
@pytest.mark.parametrize("tokens", ["words", "characters"])
def test_emoji_are_pairs(real, tokens):
    emoji = real("emoji")
    columns, count = emoji_pairs(emoji, tokens=tokens)
    assert {name: len(x) for name, x in columns.items()} == dict.fromkeys(columns, 1911)
    assert 0 <= columns["text"].min() < columns["text"].max() < count
    assert (columns["text"] > 0).any(axis=1).all()
    # Names alone tell nearly all emoji apart.
    assert len(np.unique(emoji_pairs(emoji, tokens=tokens, keywords=False)[0]["text"], axis=0)) > 1880
    assert len(np.unique(columns["label"])) == len(set(emoji["category"]))


@pytest.mark.parametrize(
    ("call", "why"),
    [
        (lambda: word_tokens(["a"], []), "at least one word"),
        (lambda: word_tokens(["a"], ["a", "a"]), "each word once"),
        (lambda: word_tokens([], ["a"]), "no texts"),
        (lambda: character_tokens(["a"], 0), "buckets"),
        (lambda: captions.pairs(jax.random.key(0), 0), "rows"),
        (lambda: emoji_pairs(few(), tokens="letters"), "tokens 'letters'"),
    ],
)
def test_wrong_input_is_refused(call, why):
    with pytest.raises(InputError, match=why):
        call()


def test_captions_have_the_shape_of_the_factors():
    tokens = jax.eval_shape(captions.caption, sample(jax.random.key(0), (2, 3)))
    assert (tokens.shape, tokens.dtype) == ((2, 3, captions.LENGTH), jnp.int32)


def test_a_shape_that_is_none_has_no_words():
    drawn = sample(jax.random.key(0), (3,))._replace(shape=jnp.asarray([3, 0, -1]))
    tokens = np.asarray(jax.jit(captions.caption)(drawn))
    assert (tokens > 0).all(axis=1).tolist() == [False, True, False]
    assert not tokens[[0, 2]].any()
    with pytest.raises(InputError, match="between 0 and 2"):
        captions.caption(drawn)
