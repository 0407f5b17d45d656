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
        "pong": "dynarium.systems.pong:Pong",
    },
)

__all__ = ["WORLDS", "System"]
