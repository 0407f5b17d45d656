"""The published sets of several dynamics, for meta-learning and continual learning."""

import math
from collections.abc import Iterable

from dynarium.systems.ball import BouncingBall
from dynarium.systems.double_pendulum import double_pendulum_g
from dynarium.systems.mass_spring import mass_spring_friction, mass_spring_k
from dynarium.systems.multitask import MultiTask
from dynarium.systems.n_body import two_body_g
from dynarium.systems.pendulum import pendulum_friction, pendulum_g


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


def pendulum_3() -> MultiTask:
    """Return pendulums under a gravity of 2, 3 and 4."""
    return MultiTask(worlds=tuple(pendulum_g(g) for g in (2.0, 3.0, 4.0)))


def double_pendulum_3() -> MultiTask:
    """Return double pendulums under a gravity of 2, 3 and 4."""
    return MultiTask(worlds=tuple(double_pendulum_g(g) for g in (2.0, 3.0, 4.0)))


def mass_spring_3() -> MultiTask:
    """Return masses on springs of stiffness 1, 2 and 3."""
    return MultiTask(worlds=tuple(mass_spring_k(k) for k in (1.0, 2.0, 3.0)))


def two_body_3() -> MultiTask:
    """Return two bodies under a gravity of 1, 2 and 3."""
    return MultiTask(worlds=tuple(two_body_g(g) for g in (1.0, 2.0, 3.0)))


def mixed_physics_2023() -> MultiTask:
    """Return 12 tasks: 4 directions of gravity, pendulums and springs of 4 frictions (Jiang et al. 2023, section 5)."""
    balls = tuple(gravity_ball(k, angle=(0.0, 360.0)) for k in (0, 4, 8, 12))
    frictions = (0.0, 0.05, 0.10, 0.15)
    return MultiTask(
        worlds=(*balls, *map(pendulum_friction, frictions), *map(mass_spring_friction, frictions)),
    )


def mixed_physics_2025() -> MultiTask:
    """Return 12 tasks: 3 each of balls under gravity, pendulums, springs and two bodies (Jiang et al. 2025)."""
    kinds = (gravity_3(), pendulum_3(), mass_spring_3(), two_body_3())
    return MultiTask(worlds=tuple(world for kind in kinds for world in kind.worlds))


def mixed_physics_2025_double_pendulum() -> MultiTask:
    """Return the 12 tasks that the text on the 2025 set lists: double pendulums in place of springs."""
    kinds = (gravity_3(), pendulum_3(), double_pendulum_3(), two_body_3())
    return MultiTask(worlds=tuple(world for kind in kinds for world in kind.worlds))
