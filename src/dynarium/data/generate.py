"""Making datasets of worlds, on this machine's cores or on a cluster; the bytes are the same everywhere."""

import hashlib
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import partial as partially
from pathlib import Path

import numpy as np
import torch

from dynarium import config
from dynarium.data.dataset import Dataset
from dynarium.data.jobs import Backend, cluster, run_jobs
from dynarium.data.memory import keep_freed_memory
from dynarium.data.schema import BLOCK
from dynarium.data.writer import Shard, begin, blocks_of, finish, plan_shards, shard_size_for, write_shard
from dynarium.errors import RunError, UserError
from dynarium.systems import System
from dynarium.systems.multitask import MultiTask
from dynarium.types import Trajectory


def seeded(*parts: int | str, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a generator whose stream depends on all parts, e.g. ``(seed, "train", block)``."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def draw(world: System, n: int, steps: int, generator: torch.Generator, first: int = 0) -> dict[str, torch.Tensor]:
    """Draw the sequences ``first .. first + n - 1`` of a split: every field of the world as it is stored.

    Raises:
        RunError: The world produced a state that is not finite.
    """
    deal = world.deal(first, n, generator) if isinstance(world, MultiTask) else world.sample_parameters(n, generator)
    trajectory: Trajectory = world.simulate(deal, steps, generator)
    if not bool(torch.isfinite(trajectory.state).all()):
        raise RunError(f"{type(world).__name__}: a state is not finite; a smaller dt or narrower ranges may help")
    names = ("state", "action", "observation", "parameter", "task", "mode")
    arrays = (
        {"video": world.render(trajectory)} | {name: getattr(trajectory, name) for name in names} | trajectory.extra
    )
    return {
        name: value.float() if value.dtype == torch.float64 else value
        for name, value in arrays.items()
        if value is not None and 0 not in value.shape[1:]  # a world without parameters has no such field
    }


def make_block(world: System, seed: int, split: str, block: int, steps: int) -> dict[str, np.ndarray]:
    """Make one block of 256 sequences: a pure function of (world, seed, split, block, steps)."""
    world = world.of_split(split) if hasattr(world, "of_split") else world  # pyright: ignore[reportAttributeAccessIssue]
    made = draw(world, BLOCK, steps, seeded(seed, split, block), first=block * BLOCK)
    if "video" in made and made["video"].is_floating_point():
        made["video"] = _as_bytes(made["video"], world.gain)  # pyright: ignore[reportAttributeAccessIssue]
    return {name: value.cpu().numpy() for name, value in made.items()}


def _as_bytes(video: torch.Tensor, gain: float) -> torch.Tensor:
    """Return 255 ``gain`` times the frames, rounded.

    Raises:
        RunError: A pixel has no byte.
    """
    scaled = video * (255 * gain)
    low, high = (float(value) for value in scaled.aminmax())
    if not (low >= -0.5 and high < 255.5):
        raise RunError(f"gain {gain:g}: a frame has a pixel at {low if low < 0 else high:g}, beyond the bytes 0 .. 255")
    return scaled.round_().to(torch.uint8)


def make_shard(world: System, partial: Path, shard: Shard, steps: int, seed: int) -> int:
    """Make and write one shard; return how many sequences it holds. Runs in any process."""

    def blocks() -> Iterator[dict[str, np.ndarray]]:
        for block, inside in blocks_of(shard.start, shard.stop):
            made = make_block(world, seed, shard.split, block, steps)
            yield {name: array[inside] for name, array in made.items()}

    threads = torch.get_num_threads()
    keep_freed_memory()  # a block asks for the same large tensors again
    torch.set_num_threads(1)  # blocks are small: processes scale, threads only wait for each other
    try:
        write_shard(partial, shard, blocks())
    finally:
        torch.set_num_threads(threads)
    return shard.stop - shard.start


def make_dataset(
    world: System,
    directory: Path | str,
    *,
    sizes: Mapping[str, int] | None = None,
    steps: int | None = None,
    seed: int = 0,
    workers: int = 1,
    backend: Backend = "loky",
    scheduler: str | None = None,
    shard_size: int | None = None,
    force: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Dataset:
    """Make a dataset of a world. A sequence depends only on (world, seed, split, index).

    Args:
        world: The world.
        directory: Where to write; an interrupted job of the same settings is taken up again.
        sizes: Sequences of each split; default 5000 / 500 / 1000.
        steps: Steps of each sequence; default the world's.
        seed: Seed of everything.
        workers: Number of processes on this machine.
        backend: ``loky``: processes of this machine; ``dask`` or ``ray``: a cluster that shares the file system.
        scheduler: Address of the cluster; without it a local one of ``workers`` processes is started.
        shard_size: Sequences of a shard, a multiple of 256; default about 512 MB, and at least one shard a worker.
        force: Replace an existing dataset.
        progress: Called with (sequences made, sequences wanted).

    Raises:
        UserError: The directory exists, sizes or steps are impossible, or a backend's package is missing.
    """
    sizes = dict(sizes or {"train": 5000, "val": 500, "test": 1000})
    sizes = {split: n for split, n in sizes.items() if n}
    steps = world.steps if steps is None else steps
    if not sizes or min(sizes.values()) < 0:
        got = ", ".join(f"{split} {n}" for split, n in sizes.items()) or "none"
        raise UserError(f"sizes: expected at least one sequence, and no negative number, got {got}")
    if steps < 1:
        raise UserError(f"steps: expected at least 1, got {steps}")
    if workers < 1:
        raise UserError(f"workers: expected at least 1, got {workers}")
    total = sum(sizes.values())
    if shard_size is None:
        limit = shard_size_for(sum(value.nbytes for value in draw(world, 1, steps, seeded(0)).values()))
        shard_size = min(limit, max(1, -(-total // (BLOCK * workers))) * BLOCK)
    if shard_size < 1 or shard_size % BLOCK:
        raise UserError(f"shard_size: expected a multiple of {BLOCK}, got {shard_size}")
    settings = {"world": config.to_dict(world), "sizes": sizes, "steps": steps, "seed": seed, "shard_size": shard_size}
    directory = Path(directory).absolute()
    shards = plan_shards(sizes, shard_size)
    done = 0
    with cluster(backend, workers, scheduler), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "[0-9]+ tasks which were still being processed")  # joblib's, at Ctrl-C
        partial = begin(directory, settings, force=force)
        jobs = [partially(make_shard, world, partial, shard, steps, seed) for shard in shards]
        for made in run_jobs(jobs, workers, backend):
            done += made
            if progress is not None:
                progress(done, total)
    names = {"state": world.state_names, "parameter": world.parameter_names}
    finish(
        partial,
        directory,
        shards,
        names=names,
        dt=world.dt,
        seed=seed,
        generator=settings["world"],
        gain=getattr(world, "gain", None),
    )
    return Dataset(directory)
