"""Writing datasets that need not fit into memory: sequences are read a block at a time."""

import hashlib
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dynarium.data.dataset import Dataset
from dynarium.data.schema import BLOCK
from dynarium.data.writer import begin, finish, plan_shards, prepared, shard_size_for, write_shard
from dynarium.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Sequences:
    """Sequences that can be read in pieces.

    Attributes:
        sizes: Split -> number of sequences.
        read: ``read(split, start, stop)`` returns the fields of these sequences, as ``write_arrays`` takes them.
        files: What is read, so that a killed job goes on with the same files only.
        names: Field -> name and unit of each entry of its last dimension.
    """

    sizes: Mapping[str, int]
    read: Callable[[str, int, int], Mapping[str, np.ndarray]]
    files: Iterable[Path]
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def write_sequences(
    directory: Path | str, sequences: Sequences, *, source: str, dt: float = 1.0, force: bool = False
) -> Dataset:
    """Write sequences as a dataset, a shard of about 512 MB at a time; a killed job is taken up again by the same call.

    What cannot be written as a dataset at all leaves nothing behind, so that other options can be tried.

    Raises:
        UserError: There are no sequences, frames are out of range, or the directory exists (without ``force``).
    """
    if not 0 < dt < float("inf"):
        raise UserError(f"dt: expected a positive number, got {dt}")
    sizes = {split: n for split, n in sequences.sizes.items() if n}
    if not sizes:
        raise UserError(f"{source}: expected at least one sequence, found none")
    directory, first = Path(directory), next(iter(sizes))
    one = prepared(sequences.read(first, 0, 1), first)
    size = shard_size_for(sum(array.nbytes for array in one.values()))
    marks = sorted(f"{file} {file.stat().st_size}" for file in sequences.files)
    found = hashlib.sha256("\n".join(marks).encode()).hexdigest()
    shapes = {name: list(array.shape[1:]) for name, array in one.items()}
    plan = {"source": source, "sizes": sizes, "shard_size": size, "files": found, "dt": dt, "shapes": shapes}
    partial = begin(directory, plan, force=force)
    shards = plan_shards(sizes, size)
    try:
        for shard in shards:
            blocks = (
                prepared(sequences.read(shard.split, start, min(start + BLOCK, shard.stop)), shard.split)
                for start in range(shard.start, shard.stop, BLOCK)
            )
            write_shard(partial, shard, blocks)
    except UserError:
        shutil.rmtree(partial)
        raise
    finish(partial, directory, shards, names=sequences.names, dt=dt, seed=None, generator={"source": source})
    return Dataset(directory)
