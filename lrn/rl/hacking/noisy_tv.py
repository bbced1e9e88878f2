"""A corridor with a television: a source of novelty that never ends and leads nowhere (Burda et al. 2019)."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lrn import check
from lrn.rl.env import Discrete, Env, Step
from lrn.types import Array, Key

LEFT, RIGHT, WATCH = 0, 1, 2


class Room(NamedTuple):
    """State of the noisy TV.

    place: int32, the room of the agent.
    screen: the pixels that the screen shows, [pixels].
    time: int32, the step of the episode.
    """

    place: Array
    screen: Array
    time: Array


def noisy_tv(length: int = 10, pixels: int = 8, limit: int = 40, *, brightness: Any = 1.0) -> Env:
    """A row of rooms with a television; leaving the last room to the right pays 1 and ends the episode.

    The actions are to go left (0), to go right (1) and to watch (2). Watching takes a step and shows new
    random black and white pixels; after any other action the screen is dark. Watching pays nothing. The
    observation is the room one-hot, then the pixels: [length + pixels].

    Args:
        length: number of rooms; a random walk takes about ``length**2`` steps to the exit.
        pixels: number of pixels of the screen, which can show ``2**pixels`` pictures.
        limit: steps after which the episode is truncated.
        brightness: number by which a white pixel is observed. 0 gives the same environment without the trap.
            May be traced.

    Raises:
        InputError: a count is below 1, the limit is too short to reach the exit, or the brightness is
        negative
            or not finite.
    """
    check.integer("length", length, 1)
    check.integer("pixels", pixels, 1)
    check.integer("limit", limit, length)
    check.non_negative("brightness", brightness)

    def observe(room: Room) -> Array:
        return jnp.concatenate([jax.nn.one_hot(room.place, length), room.screen])

    def reset(key: Key) -> tuple[Array, Room]:
        del key
        room = Room(jnp.int32(0), jnp.zeros(pixels), jnp.int32(0))
        return observe(room), room

    def move(key: Key, room: Room, action: Array) -> tuple[Room, Step]:
        place = room.place + (action == RIGHT) - (action == LEFT)
        out = place >= length
        picture = jax.random.bernoulli(key, 0.5, (pixels,)).astype(jnp.float32)
        screen = jnp.where(action == WATCH, brightness * picture, 0.0)
        after = Room(jnp.clip(place, 0, length - 1), screen, room.time + 1)
        return after, Step(out.astype(jnp.float32), out, after.time >= limit, observe(after))

    return Env("noisy tv", reset, move, (length + pixels,), Discrete(3), limit)


def position(observation: Array, length: int) -> Array:
    """The room, one-hot [..., length], in observations [..., length + pixels]: the input of a good bonus."""
    return observation[..., :length]
