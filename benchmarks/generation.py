"""Sequences per second of the ball worlds, rendering included, against one Python loop per sequence with pymunk.

    python benchmarks/generation.py [--seconds 2] [--block 512] [--threads N] [--skip-original]

Published ball data sets were made with one pymunk space per sequence, one step and one drawing per frame: 462 sequences
a second of 30 frames of 32 x 32 pixels, measured once on a two-core machine. The script times that way again in the
same run if pymunk is installed, with a small NumPy drawing in place of pygame's (several times faster than the
original), so that the ratio is one of the same machine and moment. Each figure is the best of several blocks, on one
thread unless asked otherwise, since data sets are made by one process per core; memory is the growth of the peak.
"""

import argparse
import importlib.util
import math
import resource
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from dynarium.rendering.hard import disc_rows
from dynarium.systems import WORLDS
from dynarium.systems.ball import BouncingBall
from dynarium.systems.base import System

PUBLISHED = 462
"""Sequences per second of the original generator of the box world."""

BOX = BouncingBall(steps=30, dt=0.25, init_std=8.0, speed=(5.0, 10.0), walls_visible=False)
"""The world that the original was timed on."""


def one_by_one(sequences: int) -> None:
    """Make sequences of ``BOX`` the original way: a pymunk space each, a step and a drawing per frame."""
    import pymunk

    rng = np.random.default_rng(0)
    rows = disc_rows(3)
    corners = [(2, 2), (2, 30), (30, 30), (30, 2)]
    frames = np.zeros((sequences, BOX.steps, 32, 32))
    states = np.zeros((sequences, BOX.steps, 4), np.float32)
    for n in range(sequences):
        space = pymunk.Space()
        body = pymunk.Body(1, pymunk.moment_for_circle(1, 0, 3))
        angle, speed = rng.uniform(0, 2 * math.pi), rng.uniform(5, 10)
        body.position = tuple(np.clip(16 + 8 * rng.standard_normal(2), 6, 26).tolist())
        body.velocity = (speed * math.cos(angle), speed * math.sin(angle))
        disc = pymunk.Circle(body, 3)
        disc.elasticity = 1
        space.add(body, disc)
        for a, b in zip(corners, corners[1:] + corners[:1], strict=True):
            wall = pymunk.Segment(space.static_body, a, b, 0)
            wall.elasticity = 1
            space.add(wall)
        for t in range(BOX.steps):
            x, y = int(body.position.x), int(body.position.y)
            for i, half in enumerate(rows):
                frames[n, t, max(y - 3 + i, 0), max(x - half, 0) : x + half] = 1
            space.step(BOX.dt)
            states[n, t] = (*body.position, *body.velocity)


def best_rate(make: Callable[[], None], sequences: int, seconds: float) -> float:
    """Return the highest rate, in sequences per second, of repeated calls of ``make``."""
    make()
    best, end = math.inf, time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        make()
        best = min(best, time.perf_counter() - start)
    return sequences / best


def world_rate(world: System, block: int, seconds: float) -> float:
    """Return sequences per second of parameters, states and frames in blocks of ``block``."""
    generator = torch.Generator().manual_seed(0)

    def make() -> None:
        parameters = world.sample_parameters(block, generator)
        world.render(world.simulate(parameters, world.steps, generator))

    return best_rate(make, block, seconds)


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.0, help="per world")
    parser.add_argument("--block", type=int, default=512, help="sequences made at once; bounds the memory")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--skip-original", action="store_true", help="do not time the pymunk loop")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    worlds: dict[str, System] = {
        "the original's box, 30 frames": BOX,
        "the same, anti-aliased": replace(BOX, rendering="antialiased"),
        "the same, gravity": replace(BOX, gravity=(0.0, 2.5), inset=0.0, angle=(45.0, 135.0)),
        "the same, three balls": replace(BOX, balls=3),
    }
    worlds |= {name: WORLDS[name]() for name in WORLDS if name == "pong" or name.startswith("bouncing-ball")}

    here = None
    if not arguments.skip_original and importlib.util.find_spec("pymunk"):
        here = best_rate(lambda: one_by_one(50), 50, arguments.seconds)
        print(f"one pymunk loop per sequence, in this run: {here:,.0f} sequences/s (published way: {PUBLISHED})\n")
    print(f"blocks of {arguments.block}, {arguments.threads} thread(s), torch {torch.__version__}\n")
    print(f"{'world':<32}{'sequences/s':>12}{f'x {PUBLISHED}/s':>10}{'x here':>9}{'peak MiB':>10}")
    before = peak_mib()
    for name, world in worlds.items():
        rate = world_rate(world, arguments.block, arguments.seconds)
        ratio = f"{rate / here:>9,.0f}" if here else f"{'-':>9}"
        print(f"{name:<32}{rate:>12,.0f}{rate / PUBLISHED:>10,.0f}{ratio}{peak_mib() - before:>+10.0f}")


if __name__ == "__main__":
    main()
