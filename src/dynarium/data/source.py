"""Where batches come from: a dataset on disk, or a world that makes them as they are asked for.

Batch i of an epoch is a pure function of (seed, epoch, i), so that resuming needs nothing but two numbers, and models and
trainer cannot tell a file from a world.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import torch

from dynarium.data.dataset import BATCH_FIELDS, Dataset, as_batch
from dynarium.data.generate import draw, seeded
from dynarium.data.schema import STEPPED
from dynarium.errors import UserError
from dynarium.systems import System
from dynarium.types import SequenceBatch

AHEAD = 2
"""Batches that the prefetch thread keeps ready."""


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
        shuffle: A new order (and new windows) every epoch; otherwise the stored order, windows from the start.
        drop_last: Leave out a last, smaller batch.
        seed: Seed of order and windows.
        rank: This process.
        world_size: Number of processes.
        device: Device of the batches; frames stay ``uint8`` on the way.
        in_memory: Hold the split on the device: ``auto`` where it fits into a quarter of a GPU's free memory.

    Raises:
        UserError: The split has fewer sequences than a batch, sequences are shorter than a window, or the ranks do not
            divide the batch.
    """

    def __init__(
        self,
        dataset: Dataset,
        split: str,
        *,
        batch_size: int = 32,
        steps: int | None = None,
        shuffle: bool = True,
        drop_last: bool = True,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        device: torch.device | str | None = None,
        in_memory: bool | Literal["auto"] = "auto",
    ) -> None:
        n = dataset.size(split)
        if batch_size < 1 or batch_size % world_size:
            raise UserError(f"batch_size: expected a multiple of the {world_size} processes, got {batch_size}")
        if drop_last and n < batch_size:
            raise UserError(f"batch_size: {batch_size} is more than the {n} sequences of split {split!r}")
        if steps is not None and not 1 <= steps <= dataset.steps:
            raise UserError(f"window: expected 1 .. {dataset.steps} steps, got {steps}")
        self.dataset, self.split, self.batch_size, self.steps = dataset, split, batch_size, steps
        self.shuffle, self.seed, self.rank, self.world_size = shuffle, seed, rank, world_size
        self.device = torch.device(device) if device is not None else None
        self.batches_per_epoch = n // batch_size if drop_last else -(-n // batch_size)
        self.shapes = {
            name: (steps, *shape[1:]) if steps and len(shape) > 1 else shape for name, shape in dataset.shapes.items()
        }
        self._latest = np.full(n, dataset.steps - (steps or dataset.steps))
        if steps is not None and "length" in dataset.shapes:
            lengths = dataset.read(split, range(n), fields=["length"])["length"].reshape(-1).astype(np.int64)
            self._latest = np.clip(lengths - steps, 0, self._latest)  # no padding in a window that can do without
        self._held_on = self.device or torch.device("cpu")
        self._held = self._hold() if in_memory is True or (in_memory == "auto" and self._fits()) else None

    def _fits(self) -> bool:
        if self.device is None or self.device.type != "cuda":
            return False  # on the CPU the page cache does the same
        fields = self.dataset.schema.fields.values()
        size = sum(int(np.prod(spec.shape)) * np.dtype(spec.dtype).itemsize for spec in fields)
        return size * self.dataset.size(self.split) < torch.cuda.mem_get_info(self.device)[0] / 4

    def _hold(self) -> dict[str, torch.Tensor]:
        everything = self.dataset.read(
            self.split, range(self.dataset.size(self.split)), fields=self.dataset.batch_fields
        )
        return {name: torch.from_numpy(array).to(self._held_on) for name, array in everything.items()}

    def order(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the sequences of an epoch in their order and the first step of each window."""
        n = self.dataset.size(self.split)
        if not self.shuffle:
            return np.arange(n), np.zeros(n, dtype=np.int64)
        random = np.random.Generator(np.random.Philox(key=[self.seed, epoch]))
        order = random.permutation(n)
        return order, random.integers(0, self._latest[order] + 1)

    def batches(self, epoch: int, start: int = 0) -> Iterator[SequenceBatch]:
        """Yield the batches of an epoch from batch ``start`` on, read ahead by one thread."""
        order, first = self.order(epoch)

        def read(i: int) -> SequenceBatch:
            mine = slice(i * self.batch_size + self.rank, min((i + 1) * self.batch_size, len(order)), self.world_size)
            return self._read(order[mine], first[mine])

        return _prefetched(read, start, self.batches_per_epoch)

    def _read(self, index: np.ndarray, first: np.ndarray) -> SequenceBatch:
        if self._held is not None:
            return as_batch(self._select(torch.from_numpy(index), torch.from_numpy(first)))
        batch = self.dataset.batch(self.split, index, None if self.steps is None else first, self.steps)
        return batch if self.device is None else batch.to(self.device)

    def _select(self, index: torch.Tensor, first: torch.Tensor) -> dict[str, torch.Tensor]:
        """Gather from what is held on the device."""
        assert self._held is not None
        index, first = index.to(self._held_on), first.to(self._held_on)
        selected = {}
        for name, held in self._held.items():
            if self.steps is None or name not in STEPPED:
                selected[name] = held.index_select(0, index)
            else:
                steps = first[:, None] + torch.arange(self.steps, device=self._held_on)
                selected[name] = held[index[:, None], steps]
        if self.steps is not None and "length" in selected:
            selected["length"] = (selected["length"].flatten() - first).clamp(0, self.steps)
        return selected


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
        self.seed, self.rank, self.device = seed, rank, torch.device(device)
        one = draw(world, 1, self.steps, seeded(0, device=device))
        self.shapes = {name: tuple(value.shape[1:]) for name, value in one.items() if name in BATCH_FIELDS}

    def batches(self, epoch: int, start: int = 0) -> Iterator[SequenceBatch]:
        """Yield the batches of an epoch from batch ``start`` on, made ahead by one thread."""

        def make(i: int) -> SequenceBatch:
            generator = seeded(self.seed, "online", epoch, i, self.rank, device=self.device)
            made = draw(self.world, self.n, self.steps, generator)
            return as_batch({name: value for name, value in made.items() if name in BATCH_FIELDS})

        return _prefetched(make, start, self.batches_per_epoch)


def _prefetched(make: Callable[[int], SequenceBatch], start: int, stop: int) -> Iterator[SequenceBatch]:
    """Yield ``make(start) .. make(stop - 1)``, a few of them made ahead by one thread."""
    with ThreadPoolExecutor(1, thread_name_prefix="prefetch") as thread:
        waiting = [thread.submit(make, i) for i in range(start, min(stop, start + AHEAD))]
        try:
            for i in range(start, stop):
                batch = waiting.pop(0).result()
                if i + AHEAD < stop:
                    waiting.append(thread.submit(make, i + AHEAD))
                yield batch
        finally:
            for future in waiting:
                future.cancel()
