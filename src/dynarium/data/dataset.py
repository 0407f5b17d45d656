"""Reading datasets: a batch is one gather from the memory maps."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dynarium.data.schema import Schema, shard_file
from dynarium.errors import UserError
from dynarium.types import SequenceBatch

BATCH_FIELDS = ("video", "state", "action", "observation", "mask", "length", "task", "parameter")
STEPPED = ("video", "state", "action", "observation", "mask")
"""Fields with a time axis: a window cuts them."""


class Dataset:
    """A dataset on disk, memory-mapped.

    Raises:
        UserError: The directory is no dataset of this format.
    """

    def __init__(self, directory: Path | str) -> None:
        self.directory = Path(directory)
        self.schema = Schema.read(self.directory)
        self._rows: dict[tuple[str, str], list[torch.Tensor]] = {}

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of one sequence of every field."""
        return {name: spec.shape for name, spec in self.schema.fields.items()}

    @property
    def steps(self) -> int:
        """Number of steps of a sequence."""
        return next(self.shapes[name][0] for name in STEPPED if name in self.shapes)

    def size(self, split: str) -> int:
        """Return the number of sequences of a split.

        Raises:
            UserError: There is no such split.
        """
        if split not in self.schema.splits:
            raise UserError(f"{self.directory}: has no split {split!r}; it has {', '.join(self.schema.splits)}")
        return self.schema.splits[split]

    def _maps(self, split: str, name: str) -> list[torch.Tensor]:
        """Return the shards of a field as tensors over the memory maps."""
        key = split, name
        if key not in self._rows:
            self._rows[key] = [
                torch.from_numpy(self._map(shard_file(split, name, k), (n, *self.shapes[name]), name))
                for k, n in enumerate(self.schema.shards[split])
            ]
        return self._rows[key]

    def _map(self, file: str, shape: tuple[int, ...], name: str) -> np.ndarray:
        path = self.directory / file
        try:
            # "c": pages stay shared with the file, and torch gets the writable memory it insists on.
            array = np.load(path, mmap_mode="c", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise UserError(f"{path}: missing or damaged shard ({error})") from None
        if array.shape != shape or array.dtype.name != self.schema.fields[name].dtype:
            wanted = f"{shape} {self.schema.fields[name].dtype}"
            raise UserError(f"{path}: expected {wanted}, got {array.shape} {array.dtype.name}")
        return array

    def gather(
        self,
        split: str,
        indices: Sequence[int] | np.ndarray,
        start: Sequence[int] | np.ndarray | int | None = None,
        steps: int | None = None,
        fields: Sequence[str] | None = None,
    ) -> dict[str, torch.Tensor]:
        """Copy sequences, or windows of them, into new tensors.

        Args:
            split: Split to read.
            indices: Sequences, in any order.
            start: First step of each window; default 0.
            steps: Steps of each window; default all from ``start`` on.
            fields: Fields to read; default all.

        Raises:
            UserError: Unknown split or field, an index or a window out of range, a damaged shard.
        """
        n = self.size(split)
        index = torch.as_tensor(np.asarray(indices), dtype=torch.int64)
        if len(index) and (int(index.min()) < 0 or int(index.max()) >= n):
            raise UserError(
                f"indices: expected 0 .. {n - 1} for split {split!r}, got {int(index.min())} .. {int(index.max())}"
            )
        first = torch.zeros(len(index), dtype=torch.int64)
        if start is not None:
            first = torch.as_tensor(np.asarray(start), dtype=torch.int64).expand(len(index))
        steps = self.steps - int(first.max() if len(first) else 0) if steps is None else steps
        if len(first) and (int(first.min()) < 0 or int(first.max()) + steps > self.steps or steps < 1):
            raise UserError(
                f"window: expected steps within 0 .. {self.steps}, got {steps} steps from {int(first.max())}"
            )
        gathered = {}
        for name in self.shapes if fields is None else fields:
            if name not in self.shapes:
                raise UserError(f"{self.directory}: has no field {name!r}; it has {', '.join(self.shapes)}")
            window = (first, steps) if name in STEPPED and steps < self.steps else None
            gathered[name] = self._gather(self._maps(split, name), index, window)
        if "length" in gathered and steps < self.steps:
            length = gathered["length"]
            gathered["length"] = (length.flatten() - first.to(length.dtype)).clamp(0, steps)
        return gathered

    @staticmethod
    def _gather(
        shards: list[torch.Tensor], index: torch.Tensor, window: tuple[torch.Tensor, int] | None
    ) -> torch.Tensor:
        if len(shards) == 1:
            return select(shards[0], index, window)
        shape = shards[0].shape[1:] if window is None else (window[1], *shards[0].shape[2:])
        out = torch.empty((len(index), *shape), dtype=shards[0].dtype)
        first = 0
        for shard in shards:
            here = ((index >= first) & (index < first + len(shard))).nonzero().squeeze(1)
            if len(here):
                part = None if window is None else (window[0][here], window[1])
                out[here] = select(shard, index[here] - first, part)
            first += len(shard)
        return out

    def read(self, split: str, indices: Any, **window: Any) -> dict[str, np.ndarray]:
        """Like ``gather``, as NumPy arrays."""
        return {name: value.numpy() for name, value in self.gather(split, indices, **window).items()}

    def batch(self, split: str, indices: Any, **window: Any) -> SequenceBatch:
        """Like ``gather``, as a ``SequenceBatch`` (fields that it does not know are left on disk)."""
        fields = window.pop("fields", None) or [name for name in BATCH_FIELDS if name in self.shapes]
        gathered = self.gather(split, indices, fields=fields, **window)
        return as_batch(gathered)

    def __repr__(self) -> str:
        splits = ", ".join(f"{split} {n}" for split, n in self.schema.splits.items())
        return f"Dataset({str(self.directory)!r}: {splits}; {self.shapes})"


def select(shard: torch.Tensor, index: torch.Tensor, window: tuple[torch.Tensor, int] | None) -> torch.Tensor:
    """Gather whole sequences, or windows (first step of each, steps), by one ``index_select`` over contiguous rows."""
    if window is None:
        return shard.reshape(len(shard), -1).index_select(0, index).view(len(index), *shard.shape[1:])
    first, steps = window
    t = shard.shape[1]
    rows = (index * t + first)[:, None] + torch.arange(steps, device=index.device)
    flat = shard.reshape(len(shard) * t, -1).index_select(0, rows.flatten())
    return flat.view(len(index), steps, *shard.shape[2:])


def as_batch(fields: dict[str, torch.Tensor]) -> SequenceBatch:
    """Make a batch of stored fields: one length and one task a sequence, a boolean mask."""
    flat = {name: value.flatten() if name in ("length", "task") else value for name, value in fields.items()}
    return SequenceBatch(**{name: value.bool() if name == "mask" else value for name, value in flat.items()})
