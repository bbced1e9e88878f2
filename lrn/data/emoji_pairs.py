"""Emoji as pairs: a drawing by Google, one by Twitter, and a text of its name, as arrays for samplers."""

from __future__ import annotations

import numpy as np

from lrn import check
from lrn.data.dataset import Dataset
from lrn.data.words import character_tokens, vocabulary, word_tokens

TOKENS = ("characters", "words")


def emoji_pairs(
    emoji: Dataset,
    *,
    tokens: str = "words",
    keywords: bool = True,
    buckets: int = 4095,
    length: int | None = None,
) -> tuple[dict[str, np.ndarray], int]:
    """The columns of pairs, and the number of token ids, with 0.

    Args:
        emoji: ``lrn.data.load("emoji")``, or some of its rows.
        tokens: "words" of the vocabulary of these rows, or "characters", hashed 3-grams of them.
        keywords: whether the text has the keywords behind the name. The name tells an emoji from all others;
            keywords are shared by emoji of a kind.
        buckets: the number of ids of n-grams of characters.
        length: the number of tokens that are kept of each text; None: those of the longest text.

    Returns:
        ``{"image": uint8 [rows, 48, 48, 3], "other": the same by the other artist, "text": int32
        [rows, length], "label": int32 [rows], the category}``, and the number of ids. Row i of all columns is
        one emoji. The label is for the trap of hits by class alone; no method may use it.

    Raises:
        InputError: the kind of tokens is unknown, or a number is out of its range.
    """
    check.choice("tokens", tokens, TOKENS)
    check.boolean("keywords", keywords)
    texts = [str(name) for name in emoji["name"]]
    if keywords:
        texts = [f"{name} {str(more).replace('|', ' ')}" for name, more in zip(texts, emoji["keywords"])]
    if tokens == "words":
        known = vocabulary(texts)
        ids, count = word_tokens(texts, known, length), len(known) + 1
    else:
        ids, count = character_tokens(texts, buckets, (3,), length), buckets + 1
    columns = {
        "image": emoji["image_google"],
        "other": emoji["image_twitter"],
        "text": ids,
        "label": np.unique(emoji["category"], return_inverse=True)[1].astype(np.int32),
    }
    return columns, count
