"""Fashion-MNIST: pictures of clothes in the format of MNIST (Xiao, Rasul and Vollgraf 2017)."""

from lrn.data import convert
from lrn.data.columns import Image, Label
from lrn.data.spec import DataSpec, Remote, Split

# The address pins the Hub's revision; the SHA-256 of the two files was not available.
_HOME = (
    "https://huggingface.co/datasets/zalando-datasets/fashion_mnist/resolve/"
    "531be5e2ccc9dba0c201ad3ae567a4f3d16ecdd2/fashion_mnist/"
)

SPEC = DataSpec(
    name="fashion_mnist",
    about="70,000 pictures of clothes in ten classes, 28x28 gray.",
    columns={
        "image": Image(28, 28, 1),
        "label": Label(
            10,
            (
                "T-shirt/top",
                "trouser",
                "pullover",
                "dress",
                "coat",
                "sandal",
                "shirt",
                "sneaker",
                "bag",
                "ankle boot",
            ),
        ),
    },
    splits={
        "train": Split(60_000, (Remote(_HOME + "train-00000-of-00001.parquet"),)),
        "test": Split(10_000, (Remote(_HOME + "test-00000-of-00001.parquet"),)),
    },
    license="MIT",
    citation="Xiao, Rasul and Vollgraf, Fashion-MNIST: a novel image dataset for benchmarking machine "
    "learning algorithms, arXiv:1708.07747",
    home="https://huggingface.co/datasets/zalando-datasets/fashion_mnist",
    convert=convert.parquet,
)
