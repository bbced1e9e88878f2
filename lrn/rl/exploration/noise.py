"""Noise of unit variance for continuous actions, white or colored: the color is its correlation in time.

White noise changes direction at every step, so that an agent stays close to where it was. Red noise pushes in
one direction for a whole episode. Pink noise, of power 1/f, lies between the two, and Eberhard et al. (2023)
find it the best default over many tasks. All kinds have the same variance and differ only in correlation.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrn import check
from lrn.types import Array, Key, State


class Sample(Protocol):
    """``sample(key, state, steps) -> (noise [steps, *shape], state)``."""

    def __call__(self, key: Key, state: State, steps: int) -> tuple[Array, State]:
        """The next ``steps`` values; ``steps`` calls for one value each give the same distribution."""
        ...


class Noise(NamedTuple):
    """A noise process that continues from call to call. Its state is arrays, so it can be saved and resumed.

    init: ``init(key, shape) -> state``, with one independent process for each entry of ``shape``, such as
        [environments, dim].
    sample: ``sample(key, state, steps) -> (noise [steps, *shape], state)``, the next values; every entry is
        N(0, 1).
    """

    init: Callable[[Key, tuple[int, ...]], State]
    sample: Sample


def white() -> Noise:
    """Independent normal noise."""

    def init(key: Key, shape: tuple[int, ...]) -> Array:
        del key
        return jnp.zeros(shape)  # only the shape is used

    def sample(key: Key, state: Array, steps: int) -> tuple[Array, Array]:
        return jax.random.normal(key, (steps, *state.shape)), state

    return Noise(init, sample)


def ornstein_uhlenbeck(theta: ArrayLike = 0.15, dt: ArrayLike = 1.0) -> Noise:
    """Ornstein-Uhlenbeck noise, stationary from its start: autocorrelation exp(-theta dt k) at lag k.

    Steps use the exact solution (Uhlenbeck & Ornstein 1930), so they are right for any ``theta dt``. The
    defaults are those of DDPG (Lillicrap et al. 2016).

    Args:
        theta: rate of return to zero, above 0, per unit of time.
        dt: time of one step, above 0.

    Raises:
        ValueError: theta or dt is not positive.
    """
    check.positive("theta", theta)
    check.positive("dt", dt)

    def init(key: Key, shape: tuple[int, ...]) -> Array:
        return jax.random.normal(key, shape)

    def sample(key: Key, state: Array, steps: int) -> tuple[Array, Array]:
        keep = jnp.exp(-jnp.asarray(theta, jnp.float32) * dt)
        spread = jnp.sqrt(-jnp.expm1(-2.0 * jnp.asarray(theta, jnp.float32) * dt))

        def body(x: Array, fresh: Array) -> tuple[Array, Array]:
            x = keep * x + spread * fresh
            return x, x

        state, noise = jax.lax.scan(body, state, jax.random.normal(key, (steps, *state.shape)))
        return noise, state

    return Noise(init, sample)


class ColoredState(NamedTuple):
    """State of colored noise.

    segment: the current segment, [length, *shape].
    position: int32, the index of the next value in the segment.
    """

    segment: Array
    position: Array


def colored(beta: ArrayLike, length: int) -> Noise:
    """Gaussian noise of power 1/f^beta, in independent segments: beta 0 is white, 1 pink, 2 red.

    Each segment is drawn in the frequency domain (Timmer & König 1995). The lowest frequency is 1/length, so
    the length limits how long values are correlated. The mean of a segment has the power of the lowest
    frequency.

    Args:
        beta: the exponent; may be traced.
        length: steps of a segment; use the length of an episode (Eberhard et al. 2023).

    Raises:
        InputError: length is below 2, beta is not within [-10, 10], or the power of the lowest frequency,
            length^beta, exceeds float32.
    """
    check.integer("length", length, low=2)
    check.between("beta", beta, -10.0, 10.0)
    if isinstance(beta, numbers.Real) and float(beta) * math.log10(length) > 37:
        raise check.InputError(
            f"noise of power 1/f^{beta:g} in segments of {length:,} steps has a power of {length:,}^{beta:g} "
            "at its lowest frequency, beyond float32; choose a smaller beta, or shorter segments."
        )

    def init(key: Key, shape: tuple[int, ...]) -> ColoredState:
        return ColoredState(spectral_noise(key, beta, length, shape), jnp.int32(0))

    def sample(key: Key, state: ColoredState, steps: int) -> tuple[Array, ColoredState]:
        shape = state.segment.shape[1:]

        def used_up(carry: Any) -> Array:
            return carry[1].position >= length

        def renew(carry: Any) -> Any:
            key, use = jax.random.split(carry[0])
            return key, ColoredState(spectral_noise(use, beta, length, shape), jnp.int32(0))

        def body(carry: Any, _: None) -> Any:
            # A while loop of at most one turn in place of a cond: under vmap a cond would compute an FFT at
            # every step, while the loop turns only when some lane needs a new segment.
            key, state = jax.lax.while_loop(used_up, renew, carry)
            noise = jax.lax.dynamic_index_in_dim(state.segment, state.position, keepdims=False)
            return (key, state._replace(position=state.position + 1)), noise

        (_, state), noise = jax.lax.scan(body, (key, state), length=steps)
        return noise, state

    return Noise(init, sample)


def pink(length: int) -> Noise:
    """Noise of power 1/f, in segments of ``length`` steps: see `colored`."""
    return colored(1.0, length)


def either(first: Noise, second: Noise, which: ArrayLike) -> Noise:
    """The first noise where ``which`` is below one half, else the second: two noises in one program.

    Args:
        first: a noise.
        second: another.
        which: may be traced, so that a sweep has both.
    """

    def init(key: Key, shape: tuple[int, ...]) -> tuple[State, State]:
        one, two = jax.random.split(key)
        return first.init(one, shape), second.init(two, shape)

    def sample(key: Key, state: tuple[State, State], steps: int) -> tuple[Array, tuple[State, State]]:
        keys = jax.random.split(key)
        (a, one), (b, two) = first.sample(keys[0], state[0], steps), second.sample(keys[1], state[1], steps)
        return jnp.where(jnp.asarray(which, a.dtype) < 0.5, a, b), (one, two)

    return Noise(init, sample)


def spectral_noise(key: Key, beta: ArrayLike, length: int, shape: tuple[int, ...]) -> Array:
    """Segments of Gaussian noise of power 1/f^beta, [length, *shape], each entry N(0, 1).

    Fourier coefficients are drawn with the amplitude f^(-beta / 2) and divided by the standard deviation that
    they add up to. So the variance of an entry is 1 over draws, while the variance within one segment varies.
    """
    k = jnp.arange(length // 2 + 1)
    alone = (k == 0) | (2 * k == length)  # the mean and the Nyquist frequency have no conjugate and are real
    amplitude = (jnp.maximum(k, 1) / length) ** (-jnp.asarray(beta, jnp.float32) / 2)
    amplitude = amplitude * length / jnp.sqrt((jnp.where(alone, 2.0, 4.0) * amplitude**2).sum())
    draws = jax.random.normal(key, (2, *shape, k.size))
    alone, amplitude = jnp.broadcast_to(alone, draws[0].shape), jnp.broadcast_to(amplitude, draws[0].shape)
    real = jnp.where(alone, jnp.sqrt(2.0) * draws[0], draws[0])
    imaginary = jnp.where(alone, 0.0, draws[1])
    noise = jnp.fft.irfft(amplitude * jax.lax.complex(real, imaginary), n=length, axis=-1)
    return jnp.moveaxis(noise, -1, 0)
