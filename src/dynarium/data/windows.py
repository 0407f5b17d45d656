"""Windows of switching sequences: short queries, each with the windows just before it as examples of its dynamics.

Example i of a sequence has as query the steps ``i .. i + 6`` and as domains the three windows that start at i - 9, i - 8
and i - 7, the last of which ends where the query begins (the layout of Farnoosh et al. 2021 as later work on meta-learned
forecasting cuts it).
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float64, Int64

from dynarium.data.dataset import Dataset
from dynarium.data.reader import Reader, prefetched
from dynarium.data.schema import STEPPED
from dynarium.data.writer import atomic_write
from dynarium.errors import UserError
from dynarium.types import SequenceBatch

LENGTH = 7
"""Steps of a window."""
DOMAINS = np.array([-9, -8, -7])
"""First steps of the domain windows, relative to the query's."""
ORIGINAL_TRAIN = 8000
"""Examples that the published split trains on."""

Layout = Literal["leak-free", "original"]


class Windows:
    """The examples of one split of a dataset.

    ``leak-free``: examples of the split's own sequences, every query that has its domains; training and test share no
    trajectory. ``original``: the published split, which takes the sequences of ``train`` (usually one long trajectory),
    has the first 8000 examples for training and the rest for testing, so that examples at the seam share steps, and leaves
    out the first query and the last eight of each sequence.

    Args:
        dataset: Where to read.
        split: Split to read; of the original layout, ``train`` or ``test``.
        layout: ``leak-free`` or ``original``.
        piece: Cut sequences into pieces of so many steps first, whose windows do not overlap; the published double pendulum
            has 200. A rest is left out.
        normalize: Subtract the mean of the observation and divide by its standard deviation, both of training steps only.

    Attributes:
        sequence: Sequence of each example.
        first: First step of each query.
        mean: Mean that is subtracted from the observation; 0 without ``normalize``.
        std: Standard deviation that it is divided by; 1 without ``normalize``.

    Raises:
        UserError: An unknown split or layout, sequences too short for a query and its domains, or too few examples for the
            published split.
    """

    def __init__(
        self,
        dataset: Dataset,
        split: str = "train",
        *,
        layout: Layout = "leak-free",
        piece: int | None = None,
        normalize: bool = True,
    ) -> None:
        if layout not in ("leak-free", "original"):
            raise UserError(f"layout: expected 'leak-free' or 'original', got {layout!r}")
        if layout == "original" and split not in ("train", "test"):
            raise UserError(f"split: the original layout has train and test, got {split!r}")
        self.dataset = dataset
        self.split = "train" if layout == "original" else split
        self.sequence, self.first = _places(dataset, self.split, layout, piece)
        n = len(self.sequence)
        if layout == "original" and n <= ORIGINAL_TRAIN:
            raise UserError(f"layout original: needs more than {ORIGINAL_TRAIN} examples, the sequences give {n}")
        training = slice(ORIGINAL_TRAIN) if layout == "original" else slice(None)
        self.mean, self.std = np.zeros(1), np.ones(1)
        if normalize and "observation" in dataset.shapes:
            if layout == "original":
                self.mean, self.std = _moments(dataset, self.sequence[training], self.first[training])
            else:
                statistics = dataset.schema.fields["observation"].statistics
                self.mean, self.std = np.array(statistics["mean"]), np.array(statistics["std"])
            self.std = np.where(self.std > 0, self.std, 1.0)
        mine = slice(ORIGINAL_TRAIN, None) if (layout, split) == ("original", "test") else training
        self.sequence, self.first = self.sequence[mine], self.first[mine]

    def __len__(self) -> int:
        return len(self.sequence)

    def arrays(self) -> dict[str, np.ndarray]:
        """Read all examples as arrays: ``domains``, ``queries``, ``labels`` and ``latents``.

        Raises:
            UserError: The dataset lacks observation, mode or state.
        """
        lacking = [name for name in ("observation", "mode", "state") if name not in self.dataset.shapes]
        if lacking:
            raise UserError(f"{self.dataset.directory}: has no field {lacking[0]!r}, which the windows hold")
        read = self.dataset.read(self.split, self.sequence, self.first, LENGTH, ["observation", "mode", "state"])
        domains = self.dataset.read(self.split, *self.domains(slice(None)), LENGTH, ["observation"])["observation"]
        return {
            "domains": self._normalized(domains).reshape(-1, len(DOMAINS), *domains.shape[1:]),
            "queries": self._normalized(read["observation"]),
            "labels": read["mode"],
            "latents": read["state"],
        }

    def domains(
        self, index: Int64[np.ndarray, " b"] | slice
    ) -> tuple[Int64[np.ndarray, " d"], Int64[np.ndarray, " d"]]:
        """Return sequence and first step of the domain windows of some examples, three for each."""
        starts = self.first[index][:, None] + DOMAINS
        return self.sequence[index].repeat(len(DOMAINS)), starts.ravel()

    def _normalized(self, observation: np.ndarray) -> np.ndarray:
        return ((observation - self.mean) / self.std).astype(observation.dtype)


class WindowSource:
    """Batches of windows: queries, their modes as labels, and their domains as context. A pure function of its seed.

    Args:
        windows: The examples.
        batch_size: Examples of a batch over all ranks; rank r of w gets every w-th of them.
        shuffle: A new order every epoch; otherwise that of the trajectories.
        drop_last: Leave out a last, smaller batch.
        seed: Seed of the order.
        rank: This process.
        world_size: Number of processes.
        device: Device of the batches; frames stay ``uint8`` on the way.
        in_memory: Hold the split on the device: ``auto`` where it fits into a quarter of a GPU's free memory.

    Raises:
        UserError: Fewer examples than a batch, or ranks that do not divide the batch.
    """

    def __init__(
        self,
        windows: Windows,
        *,
        batch_size: int = 32,
        shuffle: bool = True,
        drop_last: bool = True,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        device: torch.device | str | None = None,
        in_memory: bool | Literal["auto"] = "auto",
    ) -> None:
        n = len(windows)
        if batch_size < 1 or batch_size % world_size:
            raise UserError(f"batch_size: expected a multiple of the {world_size} processes, got {batch_size}")
        if drop_last and n < batch_size:
            raise UserError(f"batch_size: {batch_size} is more than the {n} examples")
        self.windows, self.batch_size, self.shuffle, self.seed = windows, batch_size, shuffle, seed
        self.rank, self.world_size = rank, world_size
        self.batches_per_epoch = n // batch_size if drop_last else -(-n // batch_size)
        self._reader = Reader(windows.dataset, windows.split, steps=LENGTH, device=device, in_memory=in_memory)
        self.shapes = {
            name: (LENGTH, *shape[1:]) if name in STEPPED else shape for name, shape in windows.dataset.shapes.items()
        }

    def batches(self, epoch: int, start: int = 0) -> Iterator[SequenceBatch]:
        """Yield the batches of an epoch from batch ``start`` on, read ahead by one thread."""
        order = np.arange(len(self.windows))
        if self.shuffle:
            order = np.random.Generator(np.random.Philox(key=[self.seed, epoch])).permutation(len(self.windows))

        def read(i: int) -> SequenceBatch:
            return self._read(order[i * self.batch_size : (i + 1) * self.batch_size][self.rank :: self.world_size])

        return prefetched(read, start, self.batches_per_epoch)

    def _read(self, index: np.ndarray) -> SequenceBatch:
        queries = self._normalized(self._reader.read(self.windows.sequence[index], self.windows.first[index]))
        domains = self._normalized(self._reader.read(*self.windows.domains(index)))
        episode = torch.arange(len(index), device=next(iter(queries.present().values())).device)
        context = replace(domains, episode=episode.repeat_interleave(len(DOMAINS)))
        return replace(queries, episode=episode, context=context)

    def _normalized(self, batch: SequenceBatch) -> SequenceBatch:
        if batch.observation is None:
            return batch
        mean, std = (torch.from_numpy(value).to(batch.observation) for value in (self.windows.mean, self.windows.std))
        return replace(batch, observation=(batch.observation - mean) / std)


def export_windows(
    dataset: Dataset,
    out: Path | str,
    name: str,
    *,
    layout: Layout = "leak-free",
    piece: int | None = None,
    normalize: bool = True,
    force: bool = False,
) -> list[Path]:
    """Write ``<name>_<split>.npz`` for every split, under the same keys for every world, and return the files.

    ``domains`` [n, 3, 7, p] and ``queries`` [n, 7, p] are observations, ``labels`` [n, 7] modes (int64) and ``latents``
    [n, 7, s] states, all float32 but the labels.

    Raises:
        UserError: A file exists (without ``force``), or the dataset lacks observation, mode or state.
    """
    splits = ("train", "test") if layout == "original" else tuple(dataset.schema.splits)
    files = [Path(out) / f"{name}_{split}.npz" for split in splits]
    existing = [file for file in files if file.exists()]
    if existing and not force:
        raise UserError(f"{existing[0]}: exists already; --force replaces it")
    Path(out).mkdir(parents=True, exist_ok=True)
    for split, file in zip(splits, files, strict=True):
        windows = Windows(dataset, split, layout=layout, piece=piece, normalize=normalize)
        arrays = windows.arrays()
        save: Callable[..., None] = np.savez
        atomic_write(file, lambda stream, arrays=arrays, save=save: save(stream, **arrays))
    return files


def _places(
    dataset: Dataset, split: str, layout: Layout, piece: int | None
) -> tuple[Int64[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
    """Return sequence and first step of every query."""
    piece = dataset.steps if piece is None else piece
    if not 1 <= piece <= dataset.steps:
        raise UserError(f"piece: expected 1 .. {dataset.steps} steps, got {piece}")
    earliest, latest = -int(DOMAINS.min()), piece - LENGTH
    if layout == "original":
        earliest, latest = earliest + 1, latest - 8
    if latest < earliest:
        raise UserError(f"windows: a query of {LENGTH} steps and its domains do not fit into {piece} steps")
    starts = piece * np.arange(dataset.steps // piece)[:, None] + np.arange(earliest, latest + 1)
    n = dataset.size(split)
    return np.arange(n).repeat(starts.size), np.tile(starts.ravel(), n)


def _moments(
    dataset: Dataset, sequence: np.ndarray, first: np.ndarray
) -> tuple[Float64[np.ndarray, " p"], Float64[np.ndarray, " p"]]:
    """Return mean and standard deviation of the observation over the steps that these examples hold, each step once."""
    held = np.zeros((int(sequence.max()) + 1, dataset.steps), dtype=bool)
    for offset in range(int(DOMAINS.min()), LENGTH):
        held[sequence, first + offset] = True
    observation = dataset.read("train", range(len(held)), fields=["observation"])["observation"]
    steps = observation[held].astype(np.float64)
    return steps.mean(0), steps.std(0)
