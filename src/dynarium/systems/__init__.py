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
        "nascar": "dynarium.systems.nascar:nascar",
        "nascar-original": "dynarium.systems.nascar:nascar_original",
        "nascar-pixels": "dynarium.systems.nascar:nascar_pixels",
        "lorenz": "dynarium.systems.lorenz:lorenz",
        "lorenz-original": "dynarium.systems.lorenz:lorenz_original",
        "lorenz-pixels": "dynarium.systems.lorenz:lorenz_pixels",
        "switching-pendulum": "dynarium.systems.switching_pendulum:switching_pendulum",
        "switching-pendulum-original": "dynarium.systems.switching_pendulum:switching_pendulum_original",
        "switching-pendulum-pixels": "dynarium.systems.switching_pendulum:switching_pendulum_pixels",
        "duffing": "dynarium.systems.oscillators:duffing",
        "van-der-pol": "dynarium.systems.oscillators:van_der_pol",
        "forced-pendulum": "dynarium.systems.oscillators:forced_pendulum",
        "quadratic-kinetic": "dynarium.systems.oscillators:quadratic_kinetic",
        "quadratic-potential": "dynarium.systems.oscillators:quadratic_potential",
        "lotka-volterra": "dynarium.systems.populations:lotka_volterra",
        "kuramoto": "dynarium.systems.populations:kuramoto",
        "matching-pennies": "dynarium.systems.populations:matching_pennies",
        "rock-paper-scissors": "dynarium.systems.populations:rock_paper_scissors",
    },
)

SIZES: dict[str, tuple[int, int, int]] = {
    "gravity": (10_000, 2_000, 2_000),
    "gravity-3": (9_000, 3_000, 3_000),
    "gravity-6": (18_000, 6_000, 6_000),
    "gravity-16": (48_000, 16_000, 16_000),
    # One trajectory, which the published windows cut into examples of training and test.
    "nascar-original": (1, 0, 0),
    "lorenz-original": (1, 0, 0),
    "switching-pendulum-original": (1, 0, 0),
}
"""Published numbers of training, validation and test sequences, where they are not 5000, 500 and 1000."""

__all__ = ["SIZES", "WORLDS", "System"]
