"""Sequences per second of the worlds, rendering included, against the scripts that made the published sets.

    python benchmarks/generation.py [WORLD ...] [--processes 2] [--seconds 3] [--original]

Each process makes blocks of 256 sequences as ``dynarium data make`` does, on one thread; nothing is written to disk. A
rate is that of all processes together, by the clock; that of a core is by the median CPU time of a block, which other
jobs on the machine disturb little. The latter is compared with the originals, each one process, which were timed once on
a two-core machine. ``--original`` times one here, too, if pymunk is installed: the ball world, a pymunk space for each
sequence, with a small NumPy drawing in place of pygame's, several times faster than the original. Memory is the peak of a
process less what it had before its first block.
"""

import argparse
import math
import multiprocessing
import resource
import statistics
import time

import numpy as np
import torch

from dynarium.data.generate import make_block
from dynarium.data.memory import keep_freed_memory
from dynarium.rendering.hard import disc_rows
from dynarium.systems import WORLDS
from dynarium.systems.ball import BouncingBall

BLOCK = 256
BOX = BouncingBall(steps=30, dt=0.25, init_std=8.0, speed=(5.0, 10.0), walls_visible=False)
"""The world that the original ball script was timed on."""

ORIGINALS: dict[str, float | None] = {
    "box": 462,
    "gravity": 465,
    "gravity-3": 465,
    "gravity-16": 465,
    "mass-spring": 33,
    "pendulum": 6,
    "double-pendulum": 4,
    "two-body": 2.3,
    "mass-spring-3": 21,
    "pendulum-3": 7.5,
    "double-pendulum-3": 3.8,
    "two-body-3": 2.7,
    "double-pendulum-suite": 4,
    "two-body-suite": 2.3,
    "mass-spring-colors": None,
    "pendulum-colors-friction": None,
    "double-pendulum-colors": None,
    "two-body-colors": None,
    "three-body": None,
    "mixed-physics-2023": None,
    "mixed-physics-2025": None,
    "nascar": 35_300 / 250,
    "lorenz": None,
    "switching-pendulum": None,  # the script only cut a given file into windows
    "bouncing-ball": None,
    "bouncing-ball-hexagon": None,
    "pong": None,
    "bouncing-ball-actions": None,
    "moving-dot": 3_500,  # batches of 128 on two cores; 5,700 with larger ones
    "moving-dots": None,
    "moving-digits": 1_603,  # 2,670 for half the steps
    "moving-digits-srvp": None,
    "robot-push": None,
    "two-rooms": None,
    "dot-obstacles": None,
    "forced-pendulum": None,
    "lotka-volterra": None,
    "random-lti": 1562,
    "wiener-hammerstein": 604,
    "parallel-wiener-hammerstein": None,  # the original one has one branch, whatever it is asked for
    "hammerstein": None,
    "duffing-driven": None,
    "bouc-wen": None,
    "cascaded-tanks": None,
}
"""Sequences per second of the original generator of each set; ``None`` where it was not timed."""


def measure(name: str, process: int, seconds: float) -> tuple[float, float, float, int]:
    """Return sequences per second, the same per CPU second, growth of the peak in MiB, and bytes of a sequence."""
    torch.set_num_threads(1)
    keep_freed_memory()  # as the jobs of ``dynarium data make`` do
    world = BOX if name == "box" else WORLDS[name]()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    made = make_block(world, 0, "warm-up", process, world.steps)
    size = sum(array.nbytes for array in made.values()) // BLOCK
    start, cpu = time.perf_counter(), []
    while len(cpu) < 3 or time.perf_counter() - start < seconds:
        before_block = time.process_time()
        make_block(world, process, "train", len(cpu), world.steps)
        cpu.append(time.process_time() - before_block)
    rate = BLOCK * len(cpu) / (time.perf_counter() - start)
    growth = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return rate, BLOCK / statistics.median(cpu), growth, size


def one_by_one(sequences: int = 100) -> float:
    """Make sequences of ``BOX`` the original way, a pymunk space each; return how many a second."""
    import pymunk

    rng, rows = np.random.default_rng(0), disc_rows(3)
    corners = [(2, 2), (2, 30), (30, 30), (30, 2)]
    frames = np.zeros((sequences, BOX.steps, 32, 32))
    states = np.zeros((sequences, BOX.steps, 4), np.float32)
    start = time.perf_counter()
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
    return sequences / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("worlds", nargs="*", default=list(ORIGINALS), help="default: those of the table")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=3.0, help="per world")
    parser.add_argument("--original", action="store_true", help="time the pymunk loop here, too")
    arguments = parser.parse_args()

    if arguments.original:
        print(f"one pymunk loop per sequence, on this machine: {one_by_one():,.0f} sequences/s\n")
    print(f"{arguments.processes} process(es), torch {torch.__version__}, numpy {np.__version__}\n")
    print("| world | sequences/s | of a core | steps/s of a core | original | times | peak MiB | bytes of a sequence |")
    print("|---|---|---|---|---|---|---|---|")
    context = multiprocessing.get_context("spawn")
    for name in arguments.worlds:
        jobs = [(name, process, arguments.seconds) for process in range(arguments.processes)]
        with context.Pool(arguments.processes, maxtasksperchild=1) as pool:
            parts = pool.starmap(measure, jobs, chunksize=1)
        rate, core = sum(part[0] for part in parts), statistics.mean(part[1] for part in parts)
        steps = core * (BOX if name == "box" else WORLDS[name]()).steps
        original = ORIGINALS.get(name)
        compared = f"{original:,.3g} | {core / original:,.0f}" if original else "- | -"
        peak, size = max(part[2] for part in parts), parts[0][3]
        print(
            f"| {name} | {rate:,.0f} | {core:,.0f} | {steps:,.0f} | {compared} | {peak:,.0f} | {size:,} |", flush=True
        )


if __name__ == "__main__":
    main()
