"""Gridworlds drawn as text, among them cliff walking, frozen lake and the four rooms."""

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
FROZEN_LAKE = {
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
    """A gridworld: one character a cell, actions up, right, down, left (0 to 3).

    Bumping into a wall or the edge is to stay. States are the cells that one can be in, row by row (see
    `cells`). Episodes start at an "S", any of them alike.

    Args:
        rows: the map, a string of lines or a list of them. "#" is a wall.
        slip: probability of moving sideways instead, either side alike; may be traced.
        rewards: letter -> reward of arriving at such a cell; ``{"G": 1}`` by default.
        step_reward: added to every step.
        terminal: letters of the cells that end the episode.
        restart: letters of the cells that send one back to the start at once.
        discount: in [0, 1].

    Raises:
        ValueError: rows of different length, no start, or a slip out of [0, 1].
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
    # Where each move leads [state, action, next state], and the letter that it arrives at.
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
    """The row and column [state, 2] of each state of `gridworld`."""
    grid = _grid(rows)
    return np.array([(y, x) for y, r in enumerate(grid) for x, c in enumerate(r) if c not in "#" + restart])


def _grid(rows: str | Sequence[str]) -> list[str]:
    grid = rows.strip("\n").split("\n") if isinstance(rows, str) else list(rows)
    if not grid or not grid[0] or any(len(row) != len(grid[0]) for row in grid):
        raise check.InputError("the rows of a map must be equally long and not empty; fill with '.'.")
    return grid


def cliff_walking(discount: ArrayLike = 1.0) -> MDP:
    """Cliff walking (Sutton and Barto 2018, example 6.6): -1 a step, -100 and back to the start for a fall.

    The shortest way, 13 steps, runs along the cliff.
    """
    rows = ["............"] * 3 + ["S" + "C" * 10 + "G"]
    return gridworld(rows, rewards={"C": -99.0}, step_reward=-1.0, discount=discount)


def frozen_lake(size: int = 4, slip: Any = 2 / 3, discount: ArrayLike = 0.99) -> MDP:
    """Frozen lake with gymnasium's maps of 4x4 or 8x8 and its slipping: 1/3 ahead, 1/3 to either side.

    Raises:
        ValueError: another size.
    """
    check.choice("size", str(size), [str(n) for n in FROZEN_LAKE])
    return gridworld(FROZEN_LAKE[size], slip=slip, discount=discount)


def four_rooms(slip: Any = 0.0, discount: ArrayLike = 0.99) -> MDP:
    """Four rooms joined by narrow doors, start and goal in opposite ones (Sutton, Precup and Singh 1999)."""
    return gridworld(FOUR_ROOMS, slip=slip, discount=discount)
