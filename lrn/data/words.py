"""Texts as arrays of token ids: words of a vocabulary, or hashed n-grams of characters; 0 is no token."""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from lrn import check

_WORD = re.compile(r"[^\W_]+")


def words(text: str) -> list[str]:
    """The words of a text in lower case: runs of letters and digits of any script."""
    return _WORD.findall(str(text).lower())


def vocabulary(texts: Iterable[str], least: int = 1) -> tuple[str, ...]:
    """The words that occur ``least`` times or more, the most frequent first, equals in alphabetical order."""
    check.integer("least", least, 1)
    counts = Counter(word for text in texts for word in words(text))
    return tuple(sorted((w for w, n in counts.items() if n >= least), key=lambda w: (-counts[w], w)))


def word_tokens(texts: Sequence[str], known: Sequence[str], length: int | None = None) -> np.ndarray:
    """Token ids int32 [texts, length] of the words: 1 + a word's place in ``known``.

    Unknown words are left out.

    Args:
        texts: the texts.
        known: the vocabulary, each word once.
        length: the number of tokens that are kept of each text; None: those of the longest text.

    Raises:
        InputError: the vocabulary is empty or has a word twice, or there are no texts.
    """
    if not known or len(set(known)) < len(known):
        raise check.InputError("the vocabulary must have at least one word, and each word once.")
    place = {word: i + 1 for i, word in enumerate(known)}
    return _padded([[place[w] for w in words(text) if w in place] for text in texts], length)


def character_tokens(
    texts: Sequence[str], buckets: int, sizes: Sequence[int] = (3,), length: int | None = None
) -> np.ndarray:
    """Token ids int32 [texts, length] of the words' n-grams of characters (Bojanowski et al. 2017, fastText).

    A word is marked by "<" and ">" at its ends, so "cat" has the 3-grams "<ca", "cat" and "at>". An n-gram's
    id is 1 + its CRC-32 modulo ``buckets``, the same in every process.

    Args:
        texts: the texts.
        buckets: the number of ids but 0.
        sizes: the numbers of characters of an n-gram.
        length: the number of tokens that are kept of each text; None: those of the longest text.

    Raises:
        InputError: a number is out of its range, or there are no texts.
    """
    check.integer("buckets", buckets, 1)
    for size in sizes:
        check.integer("every entry of sizes", size, 1)

    def ids(text: str) -> list[int]:
        marked = [f"<{word}>" for word in words(text)]
        grams = [w[i : i + n] for w in marked for n in sizes for i in range(len(w) - n + 1)]
        return [1 + zlib.crc32(gram.encode()) % buckets for gram in grams]

    return _padded([ids(text) for text in texts], length)


def _padded(rows: list[list[int]], length: int | None) -> np.ndarray:
    if not rows:
        raise check.InputError("there are no texts; give at least one.")
    length = max(1, *map(len, rows)) if length is None else length
    check.integer("length", length, 1)
    out = np.zeros((len(rows), length), np.int32)
    for row, ids in zip(out, rows):
        row[: len(ids[:length])] = ids[:length]
    return out
