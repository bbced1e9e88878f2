"""Linear codecs: principal components, and rotations of the codes of another codec.

Both are references for metrics of disentanglement. A rotation keeps all that codes tell, and mixes what each
one tells.
"""

from __future__ import annotations

import jax.numpy as jnp

from lrn import check
from lrn.representation.codes import Codec
from lrn.types import Array


def pca(x: Array, codes: int) -> Codec:
    """The principal components of inputs, each with variance 1 over ``x``, and the linear map back.

    The codes are in the order of the variances of the components; their signs are arbitrary. A component
    without variance has codes of 0. `Codec.decode` gives the best reconstruction that is linear in the codes,
    which may leave the range of pixels.

    Args:
        x: inputs, floats [n, ...].
        codes: the number of components, at most n - 1 and at most the values of an input.

    Raises:
        InputError: there are not that many components.
    """
    shape, flat = x.shape[1:], x.reshape(x.shape[0], -1)
    check.integer("codes", codes, 1)
    most = min(flat.shape[0] - 1, flat.shape[1])
    if codes > most:
        raise check.InputError(
            f"inputs of shape {x.shape} have {most} principal components, and {codes} are asked for; take "
            "fewer codes."
        )
    mean = jnp.mean(flat, axis=0, keepdims=True)
    _, spread, axes = jnp.linalg.svd(flat - mean, full_matrices=False)
    deviation = spread[:codes] / jnp.sqrt(flat.shape[0])
    # A component without variance, but for rounding, has codes of 0 and no part in the output.
    varies = deviation > max(flat.shape) * jnp.finfo(flat.dtype).eps * deviation[0]
    inverse = jnp.where(varies, 1 / jnp.where(varies, deviation, 1), 0)
    into, back = axes[:codes].T * inverse[None], axes[:codes] * deviation[:, None]

    def encode(x: Array) -> Array:
        return jnp.matmul(x.reshape(x.shape[0], -1) - mean, into, precision="highest")

    def decode(z: Array) -> Array:
        return (jnp.matmul(z, back, precision="highest") + mean).reshape(z.shape[0], *shape)

    return Codec(encode, decode)


def rotated(codec: Codec, rotation: Array) -> Codec:
    """A codec whose codes are ``codes @ rotation``, with the same reconstructions.

    Args:
        codec: of codes [n, z]. rotation: [z, z], orthogonal.

    Raises:
        InputError: the rotation is not square.
    """
    if rotation.ndim != 2 or rotation.shape[0] != rotation.shape[1]:
        raise check.InputError(f"a rotation must be [z, z], got shape {rotation.shape}.")
    return Codec(
        lambda x: jnp.matmul(codec.encode(x), rotation, precision="highest"),
        lambda z: codec.decode(jnp.matmul(z, rotation.T, precision="highest")),
    )
