"""CIFAR-10: small color photographs in ten classes (Krizhevsky 2009).

Some copies of the set were compressed again as JPEG. Accuracies on such copies can differ slightly, so
report the file (``Dataset.sha256``) beside a number.
"""

from functools import partial

from lrn.data import convert
from lrn.data.columns import Image, Label
from lrn.data.spec import DataSpec, Remote, Split

_HOME = "https://huggingface.co/datasets/uoft-cs/cifar10/resolve/0b2714987fa478483af9968de7c934580d0bb9a2/plain_text/"

SPEC = DataSpec(
    name="cifar10",
    about="60,000 photographs in ten classes, 32x32 RGB.",
    columns={
        "image": Image(32, 32, 3),
        "label": Label(
            10,
            ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
        ),
    },
    splits={
        "train": Split(
            50_000,
            (
                Remote(
                    _HOME + "train-00000-of-00001.parquet",
                    "sha256:8428b53a88a11ac374111006708df51469e315a22ac6d66470afd9c78d2ae883",
                ),
            ),
        ),
        "test": Split(
            10_000,
            (
                Remote(
                    _HOME + "test-00000-of-00001.parquet",
                    "sha256:841389e6f2d64f28bf17310e430aebac20ec3ba611a3c5e231dc93c645ce84de",
                ),
            ),
        ),
    },
    license="none stated by the authors",
    citation="Krizhevsky, Learning multiple layers of features from tiny images, 2009",
    home="https://huggingface.co/datasets/uoft-cs/cifar10",
    convert=partial(convert.parquet, rename={"img": "image"}),
)
