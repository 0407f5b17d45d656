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
        "pong": "dynarium.systems.pong:Pong",
    },
)

SIZES: dict[str, tuple[int, int, int]] = {
    "gravity": (10_000, 2_000, 2_000),
    "gravity-3": (9_000, 3_000, 3_000),
    "gravity-6": (18_000, 6_000, 6_000),
    "gravity-16": (48_000, 16_000, 16_000),
}
"""Published numbers of training, validation and test sequences, where they are not 5000, 500 and 1000."""

__all__ = ["SIZES", "WORLDS", "System"]
