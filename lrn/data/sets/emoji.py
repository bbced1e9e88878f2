"""Emoji: 1,911 emoji with names and keywords, each drawn twice: by Google (Noto) and by Twitter (Twemoji).

The set has real pairs of an image and a text, and of two views of one object. Keywords are joined by "|", in
alphabetical order.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrn.data import convert
from lrn.data.columns import Categorical, Image, Text
from lrn.data.spec import DataSpec, Remote, Split

if TYPE_CHECKING:
    import pyarrow as pa

_SIZE = 48
_TILE, _GAP = 64, 1  # the side of an emoji in a sheet, and the width of the border around it, in pixels

_SHEETS = "https://raw.githubusercontent.com/iamcal/emoji-data/v16.0.0/"
_WORDS = "https://raw.githubusercontent.com/milesj/emojibase/a5fc630a91ca42cddf3f4a66492965600fd3bce8/packages/data/"


def _convert(spec: DataSpec, paths: Sequence[Path]) -> pa.Table:
    """Cut the two sheets of pictures, and join them to names and keywords by code points."""
    import pyarrow as pa

    index, google, twitter, words = paths
    emoji = [e for e in json.loads(index.read_text()) if e["has_img_google"] and e["has_img_twitter"]]
    known = {_bare(w["hexcode"]): w for w in json.loads(words.read_text())}
    described = [known[_bare(e["unified"])] for e in emoji]
    return pa.table(
        {
            "image_google": convert.pictures(_cut(google, emoji)),
            "image_twitter": convert.pictures(_cut(twitter, emoji)),
            "codepoints": pa.array([e["unified"] for e in emoji], pa.string()),
            "name": pa.array([w["label"].lower() for w in described], pa.string()),
            "keywords": pa.array([sorted(w.get("tags", [])) for w in described], pa.list_(pa.string())),
            "category": pa.array([e["category"] for e in emoji], pa.string()),
            "subcategory": pa.array([e["subcategory"] for e in emoji], pa.string()),
        }
    )


def _bare(codepoints: str) -> str:
    """The code points without the selector of a colored picture, which only some sources write."""
    return codepoints.replace("-FE0F", "")


def _cut(sheet: Path, emoji: Sequence[dict[str, Any]]) -> list[bytes]:
    """Each emoji on white, resized, as PNG."""
    from PIL import Image as Pillow

    with Pillow.open(sheet, formats=("PNG",)) as opened:
        whole = opened.convert("RGBA")
    pictures = []
    for e in emoji:
        x, y = (e[axis] * (_TILE + 2 * _GAP) + _GAP for axis in ("sheet_x", "sheet_y"))
        tile = Pillow.new("RGBA", (_TILE, _TILE), "white")
        tile.alpha_composite(whole.crop((x, y, x + _TILE, y + _TILE)))
        encoded = io.BytesIO()
        tile.convert("RGB").resize((_SIZE, _SIZE), Pillow.Resampling.LANCZOS).save(encoded, "PNG")
        pictures.append(encoded.getvalue())
    return pictures


SPEC = DataSpec(
    name="emoji",
    about="1,911 emoji with names and keywords, drawn by Google and by Twitter, 48x48 RGB on white.",
    columns={
        "image_google": Image(_SIZE, _SIZE, 3),
        "image_twitter": Image(_SIZE, _SIZE, 3),
        "codepoints": Text(),
        "name": Text(),
        "keywords": Text(),
        "category": Categorical(),
        "subcategory": Categorical(),
    },
    splits={
        "train": Split(
            1_911,
            (
                Remote(
                    _SHEETS + "emoji.json",
                    "sha256:1d602e65be88772bf8cc368ce16b855d719eeddbafe128d471b80203f494d29f",
                ),
                # These files have no pinned digest: the sheets were compared in the project's package of
                # the same version, not in its repository.
                Remote(_SHEETS + "sheet_google_64.png"),
                Remote(_SHEETS + "sheet_twitter_64.png"),
                Remote(
                    _WORDS + "en/data.raw.json",
                    "sha256:b9e81b26fe2a595120ac7b8d44f8c1e02e1d0cce31137b550ae0fdceb2b409e1",
                ),
            ),
        )
    },
    license="drawings OFL 1.1 and Apache-2.0 (Noto), CC BY 4.0 (Twemoji); names and keywords "
    "Unicode license (CLDR)",
    citation="Google, Noto Emoji; Twitter, Twemoji; Unicode CLDR; as collected by emoji-data 16 and "
    "emojibase 17",
    home="https://github.com/iamcal/emoji-data",
    convert=_convert,
)
