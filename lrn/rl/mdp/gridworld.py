"""Gridworlds drawn as text, with cliff walking, frozen lake and the four rooms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jax.typing import ArrayLike

from lrn import check
from lrn.rl.mdp.model import MDP, make

UP, RIGHT, DOWN, LEFT = range(4)
_MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1))

FOUR_ROOMS = """
#############
#.....#.....#
#.....#.....#
#...........#
#S....#.....#
#.....#.....#
##.####.....#
#.....###.###
#.....#..G..#
#.....#.....#
#...........#
#.....#.....#
#############"""
FROZEN_LAKE: dict[int, tuple[str, ...]] = {
    4: ("SFFF", "FHFH", "FFFH", "HFFG"),
    8: ("SFFFFFFF", "FFFFFFFF", "FFFHFFFF", "FFFFFHFF", "FFFHFFFF", "FHHFFFHF", "FHFFHFHF", "FFFHFFFG"),
}


def gridworld(
    rows: str | Sequence[str],
    *,
    slip: Any = 0.0,
    rewards: Mapping[str, Any] | None = None,
    step_reward: Any = 0.0,
    terminal: str = "GH",
    restart: str = "C",
    discount: ArrayLike = 0.99,
) -> MDP:
    """A gridworld from a map with one character for each cell. Actions are up, right, down, left (0 to 3).

    A move into a wall or over the edge leaves the agent where it is. States are the cells that the agent can
    be in, row by row (see `cells`). Episodes start in a cell "S", chosen uniformly.

    Args:
        rows: the map, a string of lines or a list of lines. "#" is a wall.
        slip: probability of moving sideways, half to either side; may be traced.
        rewards: rewards of arriving in a cell, by the letter of the cell; ``{"G": 1}`` by default.
        step_reward: reward that is added at every step.
        terminal: letters of the cells that end the episode.
        restart: letters of the cells that send the agent back to the start at once.
        discount: discount per step, in [0, 1].

    Raises:
        ValueError: the rows differ in length, there is no start, or the slip is out of [0, 1].
    """
    grid = _grid(rows)
    check.between("slip", slip, 0, 1)
    pays = {"G": 1.0} if rewards is None else dict(rewards)
    places = cells(grid, restart)
    index = {tuple(place): i for i, place in enumerate(places.tolist())}
    starts = np.array([grid[y][x] == "S" for y, x in places])
    if not starts.any():
        raise check.InputError('the map has no start; mark one or more cells with "S".')
    initial = starts / starts.sum()
    # The next state of each move [state, action, next state], and the letter of its cell [state, action].
    moves = np.zeros((len(places), 4, len(places)))
    arrives = np.empty((len(places), 4), dtype="<U1")
    for s, (y, x) in enumerate(places):
        for a, (dy, dx) in enumerate(_MOVES):
            inside = 0 <= y + dy < len(grid) and 0 <= x + dx < len(grid[0])
            to = (y + dy, x + dx) if inside and grid[y + dy][x + dx] != "#" else (y, x)
            arrives[s, a] = grid[to[0]][to[1]]
            moves[s, a] = initial if arrives[s, a] in restart else np.eye(len(places))[index[to]]
    paid = step_reward + sum(
        (reward * (arrives == letter) for letter, reward in pays.items()), np.zeros((1, 4))
    )

    def slipping(x: Any) -> Any:
        return (1 - slip) * x + slip / 2 * (x[:, [3, 0, 1, 2]] + x[:, [1, 2, 3, 0]])

    ends = np.array([grid[y][x] in terminal for y, x in places])
    return make(slipping(moves), slipping(paid), initial, discount, ends)


def cells(rows: str | Sequence[str], restart: str = "C") -> np.ndarray:
    """Row and column of each state of `gridworld`, int [state, 2]."""
    grid = _grid(rows)
    return np.array([(y, x) for y, r in enumerate(grid) for x, c in enumerate(r) if c not in "#" + restart])


def _grid(rows: str | Sequence[str]) -> list[str]:
    grid = rows.strip("\n").split("\n") if isinstance(rows, str) else list(rows)
    if not grid or not grid[0] or any(len(row) != len(grid[0]) for row in grid):
        raise check.InputError("the rows of a map must be equally long and not empty; fill with '.'.")
    return grid


def cliff_walking(discount: ArrayLike = 1.0) -> MDP:
    """Cliff walking (Sutton and Barto 2018, example 6.6).

    A step pays -1. A fall from the cliff pays -100 and leads back to the start. The shortest path, of 13
    steps, runs along the cliff.
    """
    rows = ["............"] * 3 + ["S" + "C" * 10 + "G"]
    return gridworld(rows, rewards={"C": -99.0}, step_reward=-1.0, discount=discount)


def frozen_lake(size: int = 4, slip: Any = 2 / 3, discount: ArrayLike = 0.99) -> MDP:
    """Frozen lake with gymnasium's maps and its slipping: 1/3 ahead, 1/3 to either side.

    Args:
        size: side of the map, 4 or 8.
        slip: probability of moving sideways; may be traced.
        discount: discount per step, in [0, 1].

    Raises:
        ValueError: the size is neither 4 nor 8.
    """
    check.choice("size", str(size), [str(n) for n in FROZEN_LAKE])
    return gridworld(FROZEN_LAKE[size], slip=slip, discount=discount)


def four_rooms(slip: Any = 0.0, discount: ArrayLike = 0.99) -> MDP:
    """Four rooms joined by doors, with start and goal in opposite rooms (Sutton, Precup and Singh 1999)."""
    return gridworld(FOUR_ROOMS, slip=slip, discount=discount)
