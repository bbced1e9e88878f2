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
    """Which room the agent is in, what the screen shows, and the time in the episode."""

    place: Array
    screen: Array
    time: Array


def noisy_tv(length: int = 10, pixels: int = 8, limit: int = 40, *, brightness: Any = 1.0) -> Env:
    """Rooms in a row, left to right; leaving the last to the right pays 1 and ends the episode.

    The actions are to go left, to go right, and to watch: a screen of random black and white pixels, new each
    time; the screen is dark otherwise. Watching takes a step and nothing else, so that it is worth nothing.
    Observes the room one-hot, then the pixels.

    Args:
        length: how many rooms; a random walk takes some ``length**2`` steps to the exit.
        pixels: of the screen, which so has ``2**pixels`` pictures.
        limit: steps after which the episode is cut (truncated).
        brightness: what a white pixel is observed as; 0 is the same environment without the trap. May be
            traced.

    Raises:
        InputError: a count below 1, a limit too short to reach the exit, or a brightness below 0 or not
            finite.
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
    """The part of observations [..., length + pixels] that tells the room: what a good novelty looks at."""
    return observation[..., :length]
