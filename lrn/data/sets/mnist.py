"""MNIST: handwritten digits, 28x28 gray (LeCun, Bottou, Bengio and Haffner 1998)."""

from lrn.data import convert
from lrn.data.columns import Image, Label
from lrn.data.spec import DataSpec, Remote, Split

_HOME = "https://huggingface.co/datasets/ylecun/mnist/resolve/77f3279092a1c1579b2250db8eafed0ad422088c/mnist/"

SPEC = DataSpec(
    name="mnist",
    about="70,000 handwritten digits, 28x28 gray.",
    columns={"image": Image(28, 28, 1), "label": Label(10, tuple("0123456789"))},
    splits={
        "train": Split(
            60_000,
            (
                Remote(
                    _HOME + "train-00000-of-00001.parquet",
                    "sha256:f2c01285a9f89399335b00ee4e8d499dc4e46db5e39c74903ce5618d895eb3bf",
                ),
            ),
        ),
        "test": Split(
            10_000,
            (
                Remote(
                    _HOME + "test-00000-of-00001.parquet",
                    "sha256:d49fcf556ce25b002b302e318ce4a11098bbfe5d4499c3f35d7c72297c52374b",
                ),
            ),
        ),
    },
    license="CC BY-SA 3.0, as stated by the authors (the Hub page says MIT)",
    citation="LeCun, Bottou, Bengio and Haffner, Gradient-based learning applied to document recognition, "
    "1998",
    home="https://huggingface.co/datasets/ylecun/mnist",
    convert=convert.parquet,
)
