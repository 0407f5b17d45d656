"""The published sets of several dynamics, for meta-learning and continual learning."""

import math
from collections.abc import Iterable

from dynarium.systems.ball import BouncingBall
from dynarium.systems.multitask import MultiTask


def gravity_ball(direction: int, angle: tuple[float, float] = (45.0, 135.0)) -> BouncingBall:
    """Return a ball under a gravity of 2.5 towards ``direction`` sixteenths of a turn: 0 right, 4 down, 8 left, 12 up."""
    turn = 2 * math.pi * direction / 16
    pull = (round(2.5 * math.cos(turn), 12) + 0.0, round(2.5 * math.sin(turn), 12) + 0.0)
    return BouncingBall(
        steps=30, dt=0.25, gravity=pull, inset=0.0, init_std=8.0, angle=angle, speed=(5.0, 10.0), walls_visible=False
    )


def gravities(directions: Iterable[int]) -> MultiTask:
    """Return the set of the given directions of gravity."""
    return MultiTask(worlds=tuple(gravity_ball(k) for k in directions))


def gravity() -> BouncingBall:
    """Return a ball under a gravity of 2.5 that pulls down (Jiang et al. 2023, the single set)."""
    return gravity_ball(4)


def gravity_3() -> MultiTask:
    """Return balls under 3 directions of gravity."""
    return gravities((0, 6, 11))


def gravity_6() -> MultiTask:
    """Return balls under 6 directions of gravity."""
    return gravities((0, 3, 6, 9, 11, 14))


def gravity_16() -> MultiTask:
    """Return balls under 16 directions of gravity (Jiang et al. 2023, section 5)."""
    return gravities(range(16))
