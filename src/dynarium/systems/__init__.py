"""Systems: the true worlds. Each is a frozen dataclass; ``WORLDS`` maps a name to a function that returns one."""

from collections.abc import Callable

from dynarium.registry import Registry
from dynarium.systems.base import System

_BUILTIN: dict[str, dict[str, str]] = {
    "Bouncing balls": {
        "bouncing-ball": "dynarium.systems.ball:bouncing_ball",
        "bouncing-ball-gravity": "dynarium.systems.ball:bouncing_ball_gravity",
        "bouncing-ball-hexagon": "dynarium.systems.ball:bouncing_ball_hexagon",
        "bouncing-ball-octagon": "dynarium.systems.ball:bouncing_ball_octagon",
        "bouncing-ball-actions": "dynarium.systems.pushed_ball:bouncing_ball_actions",
        "gravity": "dynarium.systems.sets:gravity",
        "pong": "dynarium.systems.pong:Pong",
    },
    "Hamiltonian systems": {
        "mass-spring": "dynarium.systems.mass_spring:mass_spring",
        "pendulum": "dynarium.systems.pendulum:pendulum",
        "double-pendulum": "dynarium.systems.double_pendulum:double_pendulum",
        "double-pendulum-light": "dynarium.systems.double_pendulum:double_pendulum_light",
        "two-body": "dynarium.systems.n_body:two_body",
        "three-body": "dynarium.systems.n_body:three_body",
        "n-body": "dynarium.systems.n_body:n_body",
    },
    "Hamiltonian systems in colour": {
        "mass-spring-colors": "dynarium.systems.mass_spring:mass_spring_colors",
        "mass-spring-colors-friction": "dynarium.systems.mass_spring:mass_spring_colors_friction",
        "mass-spring-suite": "dynarium.systems.mass_spring:mass_spring_suite",
        "pendulum-colors": "dynarium.systems.pendulum:pendulum_colors",
        "pendulum-colors-friction": "dynarium.systems.pendulum:pendulum_colors_friction",
        "double-pendulum-colors": "dynarium.systems.double_pendulum:double_pendulum_colors",
        "double-pendulum-colors-friction": "dynarium.systems.double_pendulum:double_pendulum_colors_friction",
        "double-pendulum-suite": "dynarium.systems.double_pendulum:double_pendulum_suite",
        "two-body-colors": "dynarium.systems.n_body:two_body_colors",
        "two-body-colors-friction": "dynarium.systems.n_body:two_body_colors_friction",
        "two-body-suite": "dynarium.systems.n_body:two_body_suite",
    },
    "Several dynamics in one set": {
        "gravity-3": "dynarium.systems.sets:gravity_3",
        "gravity-6": "dynarium.systems.sets:gravity_6",
        "gravity-16": "dynarium.systems.sets:gravity_16",
        "mass-spring-3": "dynarium.systems.sets:mass_spring_3",
        "pendulum-3": "dynarium.systems.sets:pendulum_3",
        "double-pendulum-3": "dynarium.systems.sets:double_pendulum_3",
        "two-body-3": "dynarium.systems.sets:two_body_3",
        "mixed-physics-2023": "dynarium.systems.sets:mixed_physics_2023",
        "mixed-physics-2025": "dynarium.systems.sets:mixed_physics_2025",
        "mixed-physics-2025-double-pendulum": "dynarium.systems.sets:mixed_physics_2025_double_pendulum",
    },
    "Moving dots and rooms": {
        "moving-dot": "dynarium.systems.dots:moving_dot",
        "moving-dots": "dynarium.systems.dots:moving_dots",
        "two-rooms": "dynarium.systems.two_rooms:two_rooms",
        "two-rooms-random": "dynarium.systems.two_rooms:two_rooms_random",
        "dot-obstacles": "dynarium.systems.obstacles:dot_obstacles",
    },
    "Digits and robots": {
        "moving-digits": "dynarium.systems.moving_digits:moving_digits",
        "moving-digits-deterministic": "dynarium.systems.moving_digits:moving_digits_deterministic",
        "moving-digits-srvp": "dynarium.systems.moving_digits:moving_digits_srvp",
        "robot-push": "dynarium.systems.robot_push:robot_push",
    },
    "Switching systems": {
        "nascar": "dynarium.systems.nascar:nascar",
        "nascar-pixels": "dynarium.systems.nascar:nascar_pixels",
        "nascar-original": "dynarium.systems.nascar:nascar_original",
        "lorenz": "dynarium.systems.lorenz:lorenz",
        "lorenz-pixels": "dynarium.systems.lorenz:lorenz_pixels",
        "lorenz-original": "dynarium.systems.lorenz:lorenz_original",
        "switching-pendulum": "dynarium.systems.switching_pendulum:switching_pendulum",
        "switching-pendulum-pixels": "dynarium.systems.switching_pendulum:switching_pendulum_pixels",
        "switching-pendulum-original": "dynarium.systems.switching_pendulum:switching_pendulum_original",
    },
    "Equations of a few lines": {
        "duffing": "dynarium.systems.oscillators:duffing",
        "van-der-pol": "dynarium.systems.oscillators:van_der_pol",
        "forced-pendulum": "dynarium.systems.oscillators:forced_pendulum",
        "pendulum-16x16": "dynarium.systems.oscillators:pendulum_16x16",
        "quadratic-kinetic": "dynarium.systems.oscillators:quadratic_kinetic",
        "quadratic-potential": "dynarium.systems.oscillators:quadratic_potential",
        "lotka-volterra": "dynarium.systems.populations:lotka_volterra",
        "kuramoto": "dynarium.systems.populations:kuramoto",
        "matching-pennies": "dynarium.systems.populations:matching_pennies",
        "rock-paper-scissors": "dynarium.systems.populations:rock_paper_scissors",
    },
    "System identification": {
        "random-lti": "dynarium.systems.identification:random_lti",
        "wiener-hammerstein": "dynarium.systems.identification:wiener_hammerstein",
        "parallel-wiener-hammerstein": "dynarium.systems.identification:parallel_wiener_hammerstein",
        "hammerstein": "dynarium.systems.identification:hammerstein",
        "duffing-driven": "dynarium.systems.driven:duffing_driven",
        "bouc-wen": "dynarium.systems.driven:bouc_wen",
        "cascaded-tanks": "dynarium.systems.driven:cascaded_tanks",
    },
}

WORLDS = Registry("world", {name: path for family in _BUILTIN.values() for name, path in family.items()})

SIZES: dict[str, tuple[int, int, int]] = {
    "gravity": (10_000, 2_000, 2_000),
    "gravity-3": (9_000, 3_000, 3_000),
    "gravity-6": (18_000, 6_000, 6_000),
    "gravity-16": (48_000, 16_000, 16_000),
    # One trajectory, which the published windows cut into examples of training and test.
    "nascar-original": (1, 0, 0),
    "lorenz-original": (1, 0, 0),
    "switching-pendulum-original": (1, 0, 0),
    "mass-spring": (10_000, 3_000, 3_000),
    "pendulum": (10_000, 3_000, 3_000),
    "double-pendulum": (10_000, 3_000, 3_000),
    "two-body": (10_000, 3_000, 3_000),
    "pendulum-3": (9_000, 3_000, 3_000),
    "double-pendulum-3": (9_000, 3_000, 3_000),
    "mass-spring-3": (9_000, 3_000, 3_000),
    "two-body-3": (9_000, 3_000, 3_000),
    # An epoch and an evaluation of the original, which trains on a stream.
    "moving-dot": (10_000, 1_000, 10_000),
    "moving-dots": (10_000, 1_000, 10_000),
    # 0.8 MB a sequence: no more than 2 GB; the published 3 million transitions would be 25.
    "two-rooms": (2_000, 200, 500),
    "two-rooms-random": (2_000, 200, 500),
    "mixed-physics-2023": (36_000, 12_000, 12_000),
    "mixed-physics-2025": (36_000, 12_000, 12_000),
    "mixed-physics-2025-double-pendulum": (36_000, 12_000, 12_000),
}
"""Numbers of training, validation and test sequences, as published where not said otherwise, if not 5000, 500 and 1000."""


def families() -> dict[str, list[str]]:
    """Return the names of all worlds by family, in the order of presentation; those that a user registered come last."""
    named = {family: list(worlds) for family, worlds in _BUILTIN.items()}
    known = {name for names in named.values() for name in names}
    others = [name for name in WORLDS if name not in known]
    return named | ({"Others": others} if others else {})


def summary(make: Callable[[], System]) -> str:
    """Return the first sentence on a world, from the docstring of what makes it."""
    first = " ".join((make.__doc__ or "").strip().split("\n\n")[0].split()).removeprefix("Return ")
    return first[:1].upper() + first[1:]


__all__ = ["SIZES", "WORLDS", "System", "families", "summary"]
