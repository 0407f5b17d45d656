"""Reading datasets: a batch is one gather from the memory maps."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dynarium.data.schema import STEPPED, Schema, shard_file
from dynarium.errors import UserError
from dynarium.types import SequenceBatch

BATCH_FIELDS = ("video", "state", "action", "observation", "mask", "length", "task", "parameter", "mode")


class Dataset:
    """A dataset on disk, memory-mapped.

    Raises:
        UserError: The directory is no dataset of this format.
    """

    def __init__(self, directory: Path | str) -> None:
        self.directory = Path(directory)
        self.schema = Schema.read(self.directory)
        self._open: dict[tuple[str, str], list[np.ndarray]] = {}

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

    def _maps(self, split: str, name: str) -> list[np.ndarray]:
        """Return the memory maps of a field's shards."""
        key = split, name
        if key not in self._open:
            self._open[key] = [
                self._map(shard_file(split, name, k), (n, *self.shapes[name]), name)
                for k, n in enumerate(self.schema.shards[split])
            ]
        return self._open[key]

    def _map(self, file: str, shape: tuple[int, ...], name: str) -> np.ndarray:
        path = self.directory / file
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise UserError(f"{path}: missing or damaged shard ({error})") from None
        if array.shape != shape or array.dtype.name != self.schema.fields[name].dtype:
            wanted = f"{shape} {self.schema.fields[name].dtype}"
            raise UserError(f"{path}: expected {wanted}, got {array.shape} {array.dtype.name}")
        return array

    def read(
        self,
        split: str,
        indices: Sequence[int] | np.ndarray,
        start: Sequence[int] | np.ndarray | int | None = None,
        steps: int | None = None,
        fields: Sequence[str] | None = None,
    ) -> dict[str, np.ndarray]:
        """Copy sequences, or windows of them, into new arrays: one gather from the memory maps for each field.

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
        index = np.asarray(indices, dtype=np.int64)
        if len(index) and (index.min() < 0 or index.max() >= n):
            raise UserError(f"indices: expected 0 .. {n - 1} for split {split!r}, got {index.min()} .. {index.max()}")
        first = np.broadcast_to(np.asarray(0 if start is None else start, dtype=np.int64), index.shape)
        latest = int(first.max(initial=0))
        steps = self.steps - latest if steps is None else steps
        if first.min(initial=0) < 0 or latest + steps > self.steps or steps < 1:
            raise UserError(f"window: expected steps within 0 .. {self.steps}, got {steps} steps from {latest}")
        read = {}
        for name in self.shapes if fields is None else fields:
            if name not in self.shapes:
                raise UserError(f"{self.directory}: has no field {name!r}; it has {', '.join(self.shapes)}")
            window = (first, steps) if name in STEPPED and steps < self.steps else None
            read[name] = _gather(self._maps(split, name), index, window)
        if "length" in read and steps < self.steps:
            read["length"] = np.clip(read["length"].reshape(-1) - first, 0, steps)
        return read

    def batch(
        self,
        split: str,
        indices: Sequence[int] | np.ndarray,
        start: Sequence[int] | np.ndarray | int | None = None,
        steps: int | None = None,
        fields: Sequence[str] | None = None,
    ) -> SequenceBatch:
        """Like ``read``, as a ``SequenceBatch``; by default of all the fields that a batch knows."""
        fields = self.batch_fields if fields is None else fields
        read = self.read(split, indices, start, steps, fields)
        return self.as_batch({name: torch.from_numpy(array) for name, array in read.items()})

    def as_batch(self, fields: dict[str, torch.Tensor]) -> SequenceBatch:
        """Make a batch of what was read; bytes that stand for floating-point frames become these."""
        gain = self.schema.fields["video"].gain if "video" in fields else None
        if gain is not None:
            fields = fields | {"video": fields["video"].float().mul_(1 / (255 * gain))}
        return as_batch(fields)

    @property
    def batch_fields(self) -> list[str]:
        """The fields that a batch knows; others stay on disk."""
        return [name for name in BATCH_FIELDS if name in self.shapes]

    def __repr__(self) -> str:
        splits = ", ".join(f"{split} {n}" for split, n in self.schema.splits.items())
        return f"Dataset({str(self.directory)!r}: {splits}; {self.shapes})"


def _gather(shards: list[np.ndarray], index: np.ndarray, window: tuple[np.ndarray, int] | None) -> np.ndarray:
    if len(shards) == 1:
        return _take(shards[0], index, window)
    shape = shards[0].shape[1:] if window is None else (window[1], *shards[0].shape[2:])
    out = np.empty((len(index), *shape), dtype=shards[0].dtype)
    first = 0
    for shard in shards:
        here = ((index >= first) & (index < first + len(shard))).nonzero()[0]
        if len(here):
            out[here] = _take(shard, index[here] - first, None if window is None else (window[0][here], window[1]))
        first += len(shard)
    return out


def _take(shard: np.ndarray, index: np.ndarray, window: tuple[np.ndarray, int] | None) -> np.ndarray:
    """Gather whole sequences, or windows (first step of each, steps) as rows of one step.

    ``np.take`` releases the interpreter and stays on one thread, so that it never disturbs the threads that train.
    """
    if window is None:
        return np.take(shard.reshape(len(shard), -1), index, axis=0).reshape(len(index), *shard.shape[1:])
    first, steps = window
    t = shard.shape[1]
    rows = (index * t + first)[:, None] + np.arange(steps)
    flat = np.take(shard.reshape(len(shard) * t, -1), rows.ravel(), axis=0)
    return flat.reshape(len(index), steps, *shard.shape[2:])


def as_batch(fields: dict[str, torch.Tensor]) -> SequenceBatch:
    """Make a batch of stored fields: one length and one task a sequence, a boolean mask."""
    flat = {name: value.flatten() if name in ("length", "task") else value for name, value in fields.items()}
    cast: dict[str, Any] = {name: value.bool() if name == "mask" else value for name, value in flat.items()}
    return SequenceBatch(**cast)
