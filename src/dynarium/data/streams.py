"""Streams of tasks, one after the other, with a memory of what came before (continual learning)."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int

from dynarium.data.dataset import Dataset
from dynarium.data.episodes import numbered
from dynarium.data.reader import Reader, members, prefetched
from dynarium.errors import UserError
from dynarium.types import SequenceBatch


@dataclass(frozen=True, kw_only=True)
class StreamConfig:
    """What comes when in a stream of tasks, and what is kept of it.

    Attributes:
        order: The tasks, one after the other; ``None``: every task once and ``repeats`` of them again, all shuffled.
        repeats: Further visits to random tasks (the field's streams of 18 are 12 tasks and 6 repeats).
        budget: Batches of each visit.
        memory: Sequences that a reservoir keeps of all that were seen; 0: none.
        replay: Share of a batch that comes from the memory.
        shots: Context sequences of each task in a batch; 0: no contexts.
        windows: Where windows start, if the sequences are cut: at a ``random`` step, or at the ``first``.
    """

    order: tuple[int, ...] | None = None
    repeats: int = 6
    budget: int = 2000
    memory: int = 4500
    replay: float = 0.5
    shots: int = 0
    windows: Literal["random", "first"] = "random"

    def __post_init__(self) -> None:
        """Check the configuration.

        Raises:
            UserError: A number is out of range.
        """
        if self.budget < 1 or min(self.repeats, self.memory, self.shots) < 0 or not 0 <= self.replay < 1:
            raise UserError(
                f"stream: expected budget >= 1, repeats, memory, shots >= 0 and 0 <= replay < 1, got {self}"
            )


class TaskStream:
    """Batches of one task after the other, some of each from a reservoir of what was seen before.

    An epoch is the whole stream, from an empty memory on. Within a visit, new sequences come in shuffled passes over the
    task. After each batch its new sequences are offered to the memory, each only when first seen. Where the memory cannot
    give its share yet, further sequences of the current task stand in. With ``shots``, every task in a batch has a context
    of its own: the current one's is drawn from the whole task, that of a replayed one from the memory; none is a query.
    Batch i is a pure function of (seed, epoch, i): the memory is found by index arithmetic, so that resuming reads nothing.

    Args:
        dataset: Where to read; it has the field ``task``.
        split: Split to read.
        config: What comes when.
        batch_size: Sequences of a batch over all ranks; rank r of w gets every w-th of them, and the contexts they need.
        steps: Windows of so many steps; ``None``: whole sequences.
        seed: Seed of everything.
        rank: This process.
        world_size: Number of processes.
        device: Device of the batches; frames stay ``uint8`` on the way.
        in_memory: Hold the split on the device: ``auto`` where it fits into a quarter of a GPU's free memory.

    Raises:
        UserError: The dataset has no tasks or not these, a task has too few sequences for a batch with its context, the
            ranks do not divide the batch, or sequences are shorter than a window.
    """

    def __init__(
        self,
        dataset: Dataset,
        split: str,
        config: StreamConfig = StreamConfig(),
        *,
        batch_size: int = 64,
        steps: int | None = None,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        device: torch.device | str | None = None,
        in_memory: bool | Literal["auto"] = "auto",
    ) -> None:
        if batch_size < 1 or batch_size % world_size:
            raise UserError(f"batch_size: expected a multiple of the {world_size} processes, got {batch_size}")
        self._new = batch_size - (round(config.replay * batch_size) if config.memory else 0)
        if self._new < 1:
            raise UserError(f"replay: {config.replay} leaves no new sequence in a batch of {batch_size}")
        self._members = members(dataset, split, config.order, batch_size + config.shots)
        self._task = np.zeros(dataset.size(split), dtype=np.int64)
        for task, member in self._members.items():
            self._task[member] = task
        self._reader = Reader(dataset, split, steps=steps, device=device, in_memory=in_memory)
        self.config, self.batch_size, self.seed, self.rank, self.world_size = config, batch_size, seed, rank, world_size
        self.order = tuple(self._members) if config.order is None else config.order
        if config.order is None:
            random = np.random.Generator(np.random.Philox(key=[seed, 0], counter=[0, 0, 1, 0]))
            again = random.choice(self.order, config.repeats, replace=config.repeats > len(self.order))
            self.order = tuple(random.permutation(np.concatenate([self.order, again])).tolist())
        self.batches_per_epoch = len(self.order) * config.budget
        self.shapes = self._reader.shapes

    def task_at(self, batch: int) -> int:
        """Return the task that the stream visits at a batch, counted from the stream's beginning."""
        return self.order[batch % self.batches_per_epoch // self.config.budget]

    def memory_at(self, batch: int, epoch: int = 0) -> Int[np.ndarray, " m"]:
        """Return the sequences in the memory before a batch."""
        return self._remembered(*self._history(epoch)[1:], batch)

    def batches(self, epoch: int, start: int = 0) -> Iterator[SequenceBatch]:
        """Yield the batches of an epoch from batch ``start`` on, read ahead by one thread."""
        new, seen, when, slots = self._history(epoch)

        def read(i: int) -> SequenceBatch:
            random = np.random.Generator(np.random.Philox(key=[self.seed, epoch], counter=[0, 0, 0, i + 1]))
            queries, contexts = self._mixed(self.task_at(i), new[i], self._remembered(seen, when, slots, i), random)
            return self._mine(queries, contexts, random)

        return prefetched(read, start, self.batches_per_epoch)

    def _history(self, epoch: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Lay out an epoch.

        Returns:
            The new sequences of each batch [batches, new]; all of them in the order in which they are first seen, the batch
            in which that happens, and the slot of the memory that each is put into (none, where it is too large).
        """
        random = np.random.Generator(np.random.Philox(key=[self.seed, epoch]))
        visits = []
        for task in self.order:
            member = self._members[task]
            batches = len(member) // self._new  # of a pass; a batch has no sequence twice
            passes = [
                random.permutation(member)[: batches * self._new].reshape(batches, self._new)
                for _ in range(-(-self.config.budget // batches))
            ]
            visits.append(np.concatenate(passes)[: self.config.budget])
        new = np.concatenate(visits)
        _, first = np.unique(new, return_index=True)
        first.sort()
        return (
            new,
            new.ravel()[first],
            first // self._new,
            reservoir_slots(random.random(len(first)), self.config.memory),
        )

    def _remembered(self, seen: np.ndarray, when: np.ndarray, slots: np.ndarray, batch: int) -> np.ndarray:
        """Return the memory's content before a batch: of what was put into a slot, the latest."""
        count = int(np.searchsorted(when, batch))
        latest = np.full(self.config.memory, -1)
        kept = (slots[:count] < self.config.memory).nonzero()[0]
        np.maximum.at(latest, slots[kept], kept)
        return seen[latest[latest >= 0]]

    def _mixed(
        self, task: int, new: np.ndarray, memory: np.ndarray, random: np.random.Generator
    ) -> tuple[np.ndarray, dict[int, np.ndarray]]:
        """Return the queries of a batch, task by task, and the context of each task."""
        shots, wanted = self.config.shots, self.batch_size - self._new
        others = random.permutation(np.setdiff1d(self._members[task], new))
        contexts = {task: others[:shots]}
        memory = random.permutation(np.setdiff1d(memory, np.concatenate([new, others[:shots]])))
        asked = np.ones(len(memory), dtype=bool)
        for known in np.unique(self._task[memory]).tolist():
            if known != task:
                given = (self._task[memory] == known).nonzero()[0][:shots]
                contexts[known], asked[given] = memory[given], False
        replayed = memory[asked][:wanted]
        fill = np.setdiff1d(others[shots:], replayed, assume_unique=True)[: wanted - len(replayed)]
        queries = np.concatenate([new, fill, replayed])
        return queries[np.argsort(self._task[queries], kind="stable")], contexts

    def _mine(self, queries: np.ndarray, contexts: dict[int, np.ndarray], random: np.random.Generator) -> SequenceBatch:
        """Read this rank's queries and the contexts of their tasks, from steps that are drawn for all ranks alike."""
        mine = slice(self.rank, None, self.world_size)
        query = self._reader.read(queries[mine], self._starts(queries, random)[mine])
        if not self.config.shots:
            return query
        tasks, counts = np.unique(self._task[queries[mine]], return_counts=True)
        firsts = {task: self._starts(contexts[task], random) for task in sorted(contexts)}
        index, first = (np.concatenate([by_task[task] for task in tasks.tolist()]) for by_task in (contexts, firsts))
        context = numbered(self._reader.read(index, first), [self.config.shots] * len(tasks))
        return replace(numbered(query, counts.tolist()), context=context)

    def _starts(self, index: np.ndarray, random: np.random.Generator) -> np.ndarray:
        return np.zeros_like(index) if self.config.windows == "first" else self._reader.starts(index, random)


def reservoir_slots(uniform: Float[np.ndarray, " n"], size: int) -> Int[np.ndarray, " n"]:
    """Return into which slot of a reservoir of ``size`` each item of a stream is put (Vitter 1985, algorithm R).

    Item m (from 0) fills slot m while there are empty ones; later it takes slot j, uniform in 0..m, if that is one of the
    ``size``. After every item, each of those seen is held with the same probability.

    Args:
        uniform: A number in [0, 1) for each item.
        size: Number of slots.
    """
    item = np.arange(len(uniform))
    return np.where(item < size, item, (uniform * (item + 1)).astype(np.int64))
