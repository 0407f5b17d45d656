"""Systems: the true worlds. Each is a frozen dataclass; ``WORLDS`` maps a name to a function that returns one."""

from dynarium.registry import Registry
from dynarium.systems.base import System

WORLDS = Registry(
    "world",
    {
        "bouncing-ball": "dynarium.systems.ball:bouncing_ball",
        "bouncing-ball-gravity": "dynarium.systems.ball:bouncing_ball_gravity",
        "bouncing-ball-hexagon": "dynarium.systems.ball:bouncing_ball_hexagon",
        "bouncing-ball-octagon": "dynarium.systems.ball:bouncing_ball_octagon",
        "gravity": "dynarium.systems.sets:gravity",
        "gravity-3": "dynarium.systems.sets:gravity_3",
        "gravity-6": "dynarium.systems.sets:gravity_6",
        "gravity-16": "dynarium.systems.sets:gravity_16",
        "double-pendulum": "dynarium.systems.double_pendulum:double_pendulum",
        "double-pendulum-3": "dynarium.systems.sets:double_pendulum_3",
        "double-pendulum-colors": "dynarium.systems.double_pendulum:double_pendulum_colors",
        "double-pendulum-colors-friction": "dynarium.systems.double_pendulum:double_pendulum_colors_friction",
        "double-pendulum-light": "dynarium.systems.double_pendulum:double_pendulum_light",
        "double-pendulum-suite": "dynarium.systems.double_pendulum:double_pendulum_suite",
        "mass-spring": "dynarium.systems.mass_spring:mass_spring",
        "mass-spring-3": "dynarium.systems.sets:mass_spring_3",
        "mass-spring-colors": "dynarium.systems.mass_spring:mass_spring_colors",
        "mass-spring-colors-friction": "dynarium.systems.mass_spring:mass_spring_colors_friction",
        "mass-spring-suite": "dynarium.systems.mass_spring:mass_spring_suite",
        "mixed-physics-2023": "dynarium.systems.sets:mixed_physics_2023",
        "mixed-physics-2025": "dynarium.systems.sets:mixed_physics_2025",
        "mixed-physics-2025-double-pendulum": "dynarium.systems.sets:mixed_physics_2025_double_pendulum",
        "n-body": "dynarium.systems.n_body:n_body",
        "pendulum": "dynarium.systems.pendulum:pendulum",
        "pendulum-3": "dynarium.systems.sets:pendulum_3",
        "pendulum-colors": "dynarium.systems.pendulum:pendulum_colors",
        "pendulum-colors-friction": "dynarium.systems.pendulum:pendulum_colors_friction",
        "three-body": "dynarium.systems.n_body:three_body",
        "two-body": "dynarium.systems.n_body:two_body",
        "two-body-3": "dynarium.systems.sets:two_body_3",
        "two-body-colors": "dynarium.systems.n_body:two_body_colors",
        "two-body-colors-friction": "dynarium.systems.n_body:two_body_colors_friction",
        "two-body-suite": "dynarium.systems.n_body:two_body_suite",
        "pong": "dynarium.systems.pong:Pong",
    },
)

SIZES: dict[str, tuple[int, int, int]] = {
    "gravity": (10_000, 2_000, 2_000),
    "gravity-3": (9_000, 3_000, 3_000),
    "gravity-6": (18_000, 6_000, 6_000),
    "gravity-16": (48_000, 16_000, 16_000),
    "mass-spring": (10_000, 3_000, 3_000),
    "pendulum": (10_000, 3_000, 3_000),
    "double-pendulum": (10_000, 3_000, 3_000),
    "two-body": (10_000, 3_000, 3_000),
    "pendulum-3": (9_000, 3_000, 3_000),
    "double-pendulum-3": (9_000, 3_000, 3_000),
    "mass-spring-3": (9_000, 3_000, 3_000),
    "two-body-3": (9_000, 3_000, 3_000),
    "mixed-physics-2023": (36_000, 12_000, 12_000),
    "mixed-physics-2025": (36_000, 12_000, 12_000),
    "mixed-physics-2025-double-pendulum": (36_000, 12_000, 12_000),
}
"""Published numbers of training, validation and test sequences, where they are not 5000, 500 and 1000."""

__all__ = ["SIZES", "WORLDS", "System"]
