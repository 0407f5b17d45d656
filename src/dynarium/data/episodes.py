"""Episodes: sequences to be understood with the help of a few others of the same dynamics (k-shot meta-learning).

The pairing of queries and contexts is index arithmetic in the main process, a pure function of (seed, epoch, batch): the
contexts of every batch are drawn anew, whoever reads the arrays.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch

from dynarium.data.dataset import Dataset
from dynarium.data.reader import Reader, members, prefetched
from dynarium.errors import UserError
from dynarium.types import SequenceBatch


@dataclass(frozen=True, kw_only=True)
class EpisodeConfig:
    """What an episode is: queries of one task, and context sequences of the same task that are none of them.

    Attributes:
        shots: Context sequences of an episode (15 in Jiang et al. 2023).
        queries: Query sequences of an episode.
        windows: Where windows start, if the sequences are cut: at a ``random`` step, or at the ``first``.
    """

    shots: int = 15
    queries: int = 8
    windows: Literal["random", "first"] = "random"

    def __post_init__(self) -> None:
        """Check the configuration.

        Raises:
            UserError: An episode without a query or a context.
        """
        if self.shots < 1 or self.queries < 1:
            raise UserError(f"episodes: expected at least 1 shot and 1 query, got {self.shots} and {self.queries}")


class EpisodeSource:
    """Batches of episodes: the queries as the batch, episode by episode, the contexts as its ``context``.

    Tasks come in shuffled rounds, so that all are asked equally often; within a task, queries follow a new order every
    epoch. So an epoch, as long as all sequences of the tasks together, has every sequence about once as a query (exactly
    once where the tasks are of one size and the episodes divide it). The contexts are drawn anew for every episode.
    ``episode`` numbers the episodes of a batch from 0, in the queries and in the context.

    Args:
        dataset: Where to read; it has the field ``task``.
        split: Split to read.
        config: What an episode is.
        batch_size: Query sequences of a batch over all ranks; rank r of w gets every w-th of its episodes.
        tasks: Only these tasks; ``None``: all.
        steps: Windows of so many steps; ``None``: whole sequences.
        seed: Seed of everything.
        rank: This process.
        world_size: Number of processes.
        device: Device of the batches; frames stay ``uint8`` on the way.
        in_memory: Hold the split on the device: ``auto`` where it fits into a quarter of a GPU's free memory.

    Raises:
        UserError: The dataset has no tasks or not these, a task has too few sequences for an episode, the episodes and the
            ranks do not divide the batch, or sequences are shorter than a window.
    """

    def __init__(
        self,
        dataset: Dataset,
        split: str,
        config: EpisodeConfig = EpisodeConfig(),
        *,
        batch_size: int = 64,
        tasks: tuple[int, ...] | None = None,
        steps: int | None = None,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        device: torch.device | str | None = None,
        in_memory: bool | Literal["auto"] = "auto",
    ) -> None:
        if batch_size < 1 or batch_size % (config.queries * world_size):
            wanted = f"{config.queries} queries of an episode times {world_size} processes"
            raise UserError(f"batch_size: expected a multiple of the {wanted}, got {batch_size}")
        self._members = list(members(dataset, split, tasks, config.shots + config.queries).values())
        self._reader = Reader(dataset, split, steps=steps, device=device, in_memory=in_memory)
        self.config, self.seed, self.rank, self.world_size = config, seed, rank, world_size
        self.episodes = batch_size // config.queries
        self.batches_per_epoch = max(1, sum(map(len, self._members)) // batch_size)
        self.shapes = self._reader.shapes

    def batches(self, epoch: int, start: int = 0) -> Iterator[SequenceBatch]:
        """Yield the batches of an epoch from batch ``start`` on, read ahead by one thread."""
        random = np.random.Generator(np.random.Philox(key=[self.seed, epoch]))
        orders = [random.permutation(member) for member in self._members]
        k, q = len(orders), self.config.queries
        rounds = -(-self.batches_per_epoch * self.episodes // k)
        tasks = random.permuted(np.tile(np.arange(k), (rounds, 1)), axis=1).ravel()

        def read(i: int) -> SequenceBatch:
            random = np.random.Generator(np.random.Philox(key=[self.seed, epoch], counter=[0, 0, 0, i + 1]))
            queries, contexts = [], []
            for episode in range(i * self.episodes, (i + 1) * self.episodes):
                order = np.roll(
                    orders[tasks[episode]], -(episode // k) * q
                )  # round after round, the next q of the task
                queries.append(order[:q])
                contexts.append(random.choice(order[q:], self.config.shots, replace=False))
            query, context = (self._mine(np.array(index), random) for index in (queries, contexts))
            return replace(query, context=context)

        return prefetched(read, start, self.batches_per_epoch)

    def _mine(self, index: np.ndarray, random: np.random.Generator) -> SequenceBatch:
        """Read this rank's episodes of the sequences [episode, i], from steps that are drawn for all ranks alike."""
        first = np.zeros_like(index) if self.config.windows == "first" else self._reader.starts(index, random)
        mine = slice(self.rank, None, self.world_size)
        return numbered(
            self._reader.read(index[mine].ravel(), first[mine].ravel()), [index.shape[1]] * len(index[mine])
        )


def few_shot_batches(
    dataset: Dataset,
    split: str,
    *,
    shots: int,
    batch_size: int,
    seed: int,
    sequences: int | None = None,
    tasks: Sequence[int] | None = None,
) -> Iterator[SequenceBatch]:
    """Yield the sequences of a split as queries, each task's with ``shots`` others of that task as the context.

    The contexts are drawn once by the seed, those of fewer shots among those of more; all sequences outside them are
    queries, task by task. Without shots: the sequences as they are stored, without a context.

    Args:
        dataset: Where to read.
        split: Split to read.
        shots: Context sequences of each task.
        batch_size: Queries of a batch; the last one may be smaller, or larger by one: a single query left over joins it, as
            models that normalise by the statistics of a batch have no answer to one alone.
        seed: Seed of the contexts.
        sequences: Only so many queries, the first ones, dealt evenly over the tasks; ``None``: all.
        tasks: Only these tasks; ``None``: all.

    Raises:
        UserError: The dataset has no tasks or not these, a task has no sequence left to ask, or there is no such split.
    """
    for name, value, least in (("shots", shots, 0), ("batch_size", batch_size, 1), ("sequences", sequences, 1)):
        if value is not None and value < least:
            raise UserError(f"{name}: expected at least {least}, got {value}")
    if shots == 0 and tasks is None:
        order = np.arange(dataset.size(split))[:sequences]
        return (dataset.batch(split, order[part]) for part in _parts(len(order), batch_size))
    found = members(dataset, split, tasks, shots + 1)
    contexts, queries = {}, []
    for task, member in found.items():
        drawn = np.random.Generator(np.random.Philox(key=[seed, task])).permutation(member)[:shots]
        contexts[task] = drawn
        queries += [(turn, task, i) for turn, i in enumerate(np.setdiff1d(member, drawn))]
    chosen = sorted(queries)[:sequences]
    index = np.array([i for _, _, i in sorted(chosen, key=lambda query: query[1])])
    of = np.sort(np.array([task for _, task, _ in chosen]))
    return _asked(dataset, split, index, of, contexts if shots else {}, batch_size)


def _asked(
    dataset: Dataset, split: str, index: np.ndarray, of: np.ndarray, contexts: Mapping[int, np.ndarray], batch_size: int
) -> Iterator[SequenceBatch]:
    for part in _parts(len(index), batch_size):
        query = dataset.batch(split, index[part])
        if contexts:
            tasks, counts = np.unique(of[part], return_counts=True)
            given = [contexts[int(task)] for task in tasks]
            context = numbered(dataset.batch(split, np.concatenate(given)), [len(drawn) for drawn in given])
            query = replace(numbered(query, counts.tolist()), context=context)
        yield query


def _parts(n: int, batch_size: int) -> list[slice]:
    """Return which of ``n`` queries are asked together; none of them alone, if it can be helped."""
    starts = list(range(0, n, batch_size))
    if len(starts) > 1 and n % batch_size == 1:
        del starts[-1]
    return [slice(start, end) for start, end in zip(starts, [*starts[1:], n], strict=False)]


def numbered(batch: SequenceBatch, counts: Sequence[int]) -> SequenceBatch:
    """Return a batch whose first ``counts[0]`` sequences are of episode 0, the next ``counts[1]`` of episode 1, and so on."""
    device = next(iter(batch.present().values())).device
    numbers = np.repeat(np.arange(len(counts)), counts)
    return replace(batch, episode=torch.from_numpy(numbers).to(device))
