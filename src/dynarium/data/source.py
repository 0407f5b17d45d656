"""Where batches come from: a dataset on disk, or a world that makes them as they are asked for.

Batch i of an epoch is a pure function of (seed, epoch, i), so that resuming needs nothing but two numbers, and models and
trainer cannot tell a file from a world.
"""

from collections.abc import Iterator
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import torch

from dynarium.data.dataset import BATCH_FIELDS, Dataset, as_batch
from dynarium.data.generate import draw, seeded
from dynarium.data.reader import Reader, members, prefetched
from dynarium.errors import UserError
from dynarium.systems import System
from dynarium.types import SequenceBatch


@runtime_checkable
class Source(Protocol):
    """Anything that gives batches."""

    @property
    def batches_per_epoch(self) -> int:
        """Number of batches of an epoch."""
        ...

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of one sequence of every field."""
        ...

    def batches(self, epoch: int, start: int = 0) -> Iterator[SequenceBatch]:
        """Yield the batches of an epoch from batch ``start`` on."""
        ...


class StoredSource:
    """Batches of a stored dataset.

    Args:
        dataset: Where to read.
        split: Split to read.
        batch_size: Sequences of a batch over all ranks; rank r of w gets every w-th of them.
        steps: Random windows of so many steps; ``None``: whole sequences.
        tasks: Only the sequences of these tasks; ``None``: all.
        shuffle: A new order (and new windows) every epoch; otherwise the stored order, windows from the start.
        drop_last: Leave out a last, smaller batch.
        seed: Seed of order and windows.
        rank: This process.
        world_size: Number of processes.
        device: Device of the batches; frames stay ``uint8`` on the way.
        in_memory: Hold the split on the device: ``auto`` where it fits into a quarter of a GPU's free memory.

    Raises:
        UserError: The split has fewer sequences than a batch, sequences are shorter than a window, the ranks do not
            divide the batch, or the dataset does not have these tasks.
    """

    def __init__(
        self,
        dataset: Dataset,
        split: str,
        *,
        batch_size: int = 32,
        steps: int | None = None,
        tasks: tuple[int, ...] | None = None,
        shuffle: bool = True,
        drop_last: bool = True,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        device: torch.device | str | None = None,
        in_memory: bool | Literal["auto"] = "auto",
    ) -> None:
        of_task = None if tasks is None else list(members(dataset, split, tasks).values())
        self._chosen = np.arange(dataset.size(split)) if of_task is None else np.sort(np.concatenate(of_task))
        n = len(self._chosen)
        if batch_size < 1 or batch_size % world_size:
            raise UserError(f"batch_size: expected a multiple of the {world_size} processes, got {batch_size}")
        if drop_last and n < batch_size:
            raise UserError(f"batch_size: {batch_size} is more than the {n} sequences of split {split!r}")
        self._reader = Reader(dataset, split, steps=steps, device=device, in_memory=in_memory)
        self.dataset, self.split, self.batch_size, self.steps = dataset, split, batch_size, steps
        self.shuffle, self.seed, self.rank, self.world_size = shuffle, seed, rank, world_size
        self.batches_per_epoch = n // batch_size if drop_last else -(-n // batch_size)
        self.shapes = self._reader.shapes

    def order(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the sequences of an epoch in their order and the first step of each window."""
        if not self.shuffle:
            return self._chosen, np.zeros(len(self._chosen), dtype=np.int64)
        random = np.random.Generator(np.random.Philox(key=[self.seed, epoch]))
        order = random.permutation(self._chosen)
        return order, self._reader.starts(order, random)

    def batches(self, epoch: int, start: int = 0) -> Iterator[SequenceBatch]:
        """Yield the batches of an epoch from batch ``start`` on, read ahead by one thread."""
        order, first = self.order(epoch)

        def read(i: int) -> SequenceBatch:
            mine = slice(i * self.batch_size + self.rank, min((i + 1) * self.batch_size, len(order)), self.world_size)
            return self._reader.read(order[mine], first[mine])

        return prefetched(read, start, self.batches_per_epoch)


class OnlineSource:
    """Batches made by a world as they are asked for: endless, never the same sequence twice, distinct for every rank.

    Args:
        world: The world.
        batch_size: Sequences of a batch over all ranks.
        batches_per_epoch: How many batches are called an epoch.
        steps: Steps of a sequence; default the world's.
        seed: Seed of everything.
        rank: This process.
        world_size: Number of processes.
        device: Where the world is simulated and drawn.
    """

    def __init__(
        self,
        world: System,
        *,
        batch_size: int = 32,
        batches_per_epoch: int = 156,
        steps: int | None = None,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        device: torch.device | str = "cpu",
    ) -> None:
        if batch_size < 1 or batch_size % world_size:
            raise UserError(f"batch_size: expected a multiple of the {world_size} processes, got {batch_size}")
        self.world, self.n, self.batches_per_epoch = world, batch_size // world_size, batches_per_epoch
        self.steps = world.steps if steps is None else steps
        self.seed, self.rank, self.world_size, self.device = seed, rank, world_size, torch.device(device)
        one = draw(world, 1, self.steps, seeded(0, device=device))
        self.shapes = {name: tuple(value.shape[1:]) for name, value in one.items() if name in BATCH_FIELDS}

    def batches(self, epoch: int, start: int = 0) -> Iterator[SequenceBatch]:
        """Yield the batches of an epoch from batch ``start`` on, made ahead by one thread."""

        def make(i: int) -> SequenceBatch:
            generator = seeded(self.seed, "online", epoch, i, self.rank, device=self.device)
            before = ((epoch * self.batches_per_epoch + i) * self.world_size + self.rank) * self.n
            made = draw(self.world, self.n, self.steps, generator, first=before)  # so that every task has its turn
            return as_batch({name: value for name, value in made.items() if name in BATCH_FIELDS})

        return prefetched(make, start, self.batches_per_epoch)
