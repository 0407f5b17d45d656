"""Sequences of one split, or windows of them, as batches on a device; and reading ahead."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import numpy as np
import torch

from dynarium.data.dataset import Dataset
from dynarium.data.schema import STEPPED
from dynarium.errors import UserError
from dynarium.types import SequenceBatch

AHEAD = 2
"""Batches that the prefetch thread keeps ready."""


class Reader:
    """Reads a split: from the memory maps, or from the device where the split is held there.

    Args:
        dataset: Where to read.
        split: Split to read.
        steps: Windows of so many steps; ``None``: whole sequences.
        device: Device of the batches; frames stay ``uint8`` on the way.
        in_memory: Hold the split on the device: ``auto`` where it fits into a quarter of a GPU's free memory.

    Raises:
        UserError: There is no such split, or its sequences are shorter than a window.
    """

    def __init__(
        self,
        dataset: Dataset,
        split: str,
        *,
        steps: int | None = None,
        device: torch.device | str | None = None,
        in_memory: bool | Literal["auto"] = "auto",
    ) -> None:
        n = dataset.size(split)
        if steps is not None and not 1 <= steps <= dataset.steps:
            raise UserError(f"window: expected 1 .. {dataset.steps} steps, got {steps}")
        self.dataset, self.split, self.steps = dataset, split, steps
        self.device = torch.device(device) if device is not None else None
        self.shapes = {
            name: (steps, *shape[1:]) if steps and name in STEPPED else shape for name, shape in dataset.shapes.items()
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

    def starts(self, index: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Draw the first step of a window of each sequence, uniformly among those without padding."""
        return random.integers(0, self._latest[index] + 1)

    def read(self, index: np.ndarray, first: np.ndarray) -> SequenceBatch:
        """Return the sequences ``index``, windows from the steps ``first`` on: one gather for each field."""
        if self._held is not None:
            return self.dataset.as_batch(self._select(torch.from_numpy(index), torch.from_numpy(first)))
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


def members(dataset: Dataset, split: str, tasks: Sequence[int] | None = None, wanted: int = 1) -> dict[int, np.ndarray]:
    """Return the sequences of each task of a split, in the order of the tasks.

    Raises:
        UserError: The dataset has no field ``task`` or not these tasks, or a task has fewer than ``wanted`` sequences.
    """
    n = dataset.size(split)
    if "task" not in dataset.shapes:
        raise UserError(
            f"{dataset.directory}: has no field 'task' to tell dynamics apart; it has {', '.join(dataset.shapes)}"
        )
    of = dataset.read(split, range(n), fields=["task"])["task"].reshape(-1)
    present = np.unique(of).tolist()
    if unknown := sorted(set(tasks or ()) - set(present)):
        raise UserError(f"tasks: {unknown} are not in split {split!r} of {dataset.directory}; it has {present}")
    found = {task: (of == task).nonzero()[0] for task in present if tasks is None or task in tasks}
    for task, member in found.items():
        if len(member) < wanted:
            raise UserError(f"task {task}: split {split!r} has {len(member)} sequences of it; this needs {wanted}")
    if not found:
        raise UserError("tasks: expected at least one")
    return found


def prefetched(make: Callable[[int], SequenceBatch], start: int, stop: int) -> Iterator[SequenceBatch]:
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
